#!/bin/sh
# fullsize.t - a few layers of DeepSeek-V3 and Grok-1 at their real size, with holes for data; the whole
# is `make check-fullsize'.  Twelve of Grok-1's, since its files' order is not that of the layers.
exec perl "${top_srcdir:-.}/t/fullsize/check" deepseek-v3:4 grok-1:12 grok-1-keyfan:3
