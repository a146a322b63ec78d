# plugins/balance/: components of the kind `balance'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += balance_ref.la
balance_ref_la_SOURCES = %D%/ref.c
balance_ref_la_CFLAGS = $(PLUGIN_CFLAGS)
balance_ref_la_LIBADD = $(PLUGIN_LIBS)
balance_ref_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
