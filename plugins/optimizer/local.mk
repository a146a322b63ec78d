# plugins/optimizer/: components of the kind `optimizer'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += optimizer_sgd.la
optimizer_sgd_la_SOURCES = %D%/sgd.c
optimizer_sgd_la_CFLAGS = $(PLUGIN_CFLAGS)
optimizer_sgd_la_LIBADD = $(PLUGIN_LIBS)
optimizer_sgd_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
