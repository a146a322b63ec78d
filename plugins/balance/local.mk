# plugins/balance/: components of the kind `balance'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += balance_eplb.la balance_static.la balance_vishwamai.la

balance_eplb_la_SOURCES = %D%/eplb.c %D%/eplb_place.c %D%/eplb_place.h %D%/bound.c %D%/bound.h
balance_eplb_la_CFLAGS = $(PLUGIN_CFLAGS)
balance_eplb_la_LIBADD = $(PLUGIN_LIBS)
balance_eplb_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

balance_static_la_SOURCES = %D%/static.c %D%/bound.c %D%/bound.h
balance_static_la_CFLAGS = $(PLUGIN_CFLAGS)
balance_static_la_LIBADD = $(PLUGIN_LIBS)
balance_static_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

balance_vishwamai_la_SOURCES = %D%/vishwamai.c \
	%D%/attempt.c %D%/attempt.h %D%/bound.c %D%/bound.h %D%/eplb_place.c %D%/eplb_place.h \
	%D%/field.c %D%/field.h %D%/layer.c %D%/layer.h %D%/search.c %D%/search.h %D%/split.c %D%/split.h
balance_vishwamai_la_CFLAGS = $(PLUGIN_CFLAGS)
balance_vishwamai_la_LIBADD = $(PLUGIN_LIBS)
balance_vishwamai_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
