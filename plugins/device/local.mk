# plugins/device/: components of the kind `device'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += device_cpu.la
device_cpu_la_SOURCES = %D%/cpu.c %D%/cpu_pointwise.c %D%/cpu_rows.c %D%/cpu.h
device_cpu_la_CFLAGS = $(PLUGIN_CFLAGS)
device_cpu_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(PLUGIN_LIBS)
device_cpu_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
