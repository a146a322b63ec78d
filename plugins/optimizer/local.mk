# plugins/optimizer/: components of the kind `optimizer'.  Makefile.am says how to add one.

noinst_HEADERS += %D%/checks.h

plugins_LTLIBRARIES += optimizer_adamw.la
optimizer_adamw_la_SOURCES = %D%/adamw.c
optimizer_adamw_la_CFLAGS = $(PLUGIN_CFLAGS)
optimizer_adamw_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(PLUGIN_LIBS)
optimizer_adamw_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += optimizer_sgd.la
optimizer_sgd_la_SOURCES = %D%/sgd.c
optimizer_sgd_la_CFLAGS = $(PLUGIN_CFLAGS)
optimizer_sgd_la_LIBADD = $(PLUGIN_LIBS)
optimizer_sgd_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
