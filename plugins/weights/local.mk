# plugins/weights/: components of the kind `weights'.  Makefile.am says how to add one.
noinst_HEADERS += %D%/safetensors.h

plugins_LTLIBRARIES += weights_safetensors.la
weights_safetensors_la_SOURCES = \
	%D%/safetensors.c \
	%D%/safetensors_header.c \
	%D%/safetensors_open.c \
	%D%/safetensors_write.c
weights_safetensors_la_CFLAGS = $(PLUGIN_CFLAGS)
weights_safetensors_la_LIBADD = $(PLUGIN_LIBS)
weights_safetensors_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
