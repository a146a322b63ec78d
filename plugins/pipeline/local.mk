# plugins/pipeline/: components of the kind `pipeline'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += pipeline_gpipe.la
pipeline_gpipe_la_SOURCES = %D%/gpipe.c %D%/steps.h
pipeline_gpipe_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_gpipe_la_LIBADD = $(PLUGIN_LIBS)
pipeline_gpipe_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += pipeline_1f1b.la
pipeline_1f1b_la_SOURCES = %D%/1f1b.c %D%/steps.h
pipeline_1f1b_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_1f1b_la_LIBADD = $(PLUGIN_LIBS)
pipeline_1f1b_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += pipeline_zb1p.la
pipeline_zb1p_la_SOURCES = %D%/zb1p.c %D%/steps.h
pipeline_zb1p_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_zb1p_la_LIBADD = $(PLUGIN_LIBS)
pipeline_zb1p_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += pipeline_dualpipe.la
pipeline_dualpipe_la_SOURCES = %D%/dualpipe.c %D%/eight_steps.c %D%/eight_steps.h \
	%D%/steps.h
pipeline_dualpipe_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_dualpipe_la_LIBADD = $(PLUGIN_LIBS)
pipeline_dualpipe_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += pipeline_dualpipev.la
pipeline_dualpipev_la_SOURCES = %D%/dualpipev.c %D%/eight_steps.c %D%/eight_steps.h \
	%D%/steps.h
pipeline_dualpipev_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_dualpipev_la_LIBADD = $(PLUGIN_LIBS)
pipeline_dualpipev_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += pipeline_search.la
pipeline_search_la_SOURCES = %D%/search.c %D%/buffers.c %D%/buffers.h %D%/draws.h \
	%D%/eight_steps.c %D%/eight_steps.h %D%/greedy.c %D%/greedy.h %D%/hunt.c %D%/hunt.h \
	%D%/moves.c %D%/moves.h %D%/steps.h
pipeline_search_la_CFLAGS = $(PLUGIN_CFLAGS)
pipeline_search_la_LIBADD = $(PLUGIN_LIBS)
pipeline_search_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
