# reasoning/: methods, one folder each, built as plugins of the kind `reasoning' (reasoning_direct.la).

plugins_LTLIBRARIES += reasoning_direct.la
reasoning_direct_la_SOURCES = %D%/direct/direct.c
reasoning_direct_la_CFLAGS = $(PLUGIN_CFLAGS)
reasoning_direct_la_LIBADD = $(PLUGIN_LIBS)
reasoning_direct_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
