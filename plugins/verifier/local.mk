# plugins/verifier/: components of the kind `verifier'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += verifier_exact.la
verifier_exact_la_SOURCES = %D%/exact.c
verifier_exact_la_CFLAGS = $(PLUGIN_CFLAGS)
verifier_exact_la_LIBADD = $(PLUGIN_LIBS)
verifier_exact_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
