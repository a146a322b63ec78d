#!/bin/sh
# fullsize-deepseek.t - four layers of DeepSeek-V3 at their real size, with holes for data; the whole is
# `make check-fullsize'.
exec perl "${top_srcdir:-.}/t/fullsize/check" deepseek-v3 4
