# plugins/pipeline/: components of the kind `pipeline'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += pipeline_gpipe.la
pipeline_gpipe_la_SOURCES = %D%/gpipe.c
pipeline_gpipe_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_gpipe_la_LIBADD = $(PLUGIN_LIBS)
pipeline_gpipe_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
