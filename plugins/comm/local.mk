# plugins/comm/: components of the kind `comm'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += comm_self.la
comm_self_la_SOURCES = %D%/self.c
comm_self_la_CFLAGS = $(PLUGIN_CFLAGS)
comm_self_la_LIBADD = $(PLUGIN_LIBS)
comm_self_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
