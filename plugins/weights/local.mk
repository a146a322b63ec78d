# plugins/weights/: components of the kind `weights'.  Makefile.am says how to add one.
noinst_HEADERS += %D%/find.h %D%/gguf_write.h %D%/grok1.h %D%/mapped.h %D%/output.h \
	%D%/pickle.h %D%/safetensors.h plugins/gguf/file.h plugins/gguf/parts.h

plugins_LTLIBRARIES += weights_safetensors.la
weights_safetensors_la_SOURCES = \
	%D%/find.c \
	%D%/mapped.c \
	%D%/output.c \
	%D%/safetensors.c \
	%D%/safetensors_header.c \
	%D%/safetensors_open.c \
	%D%/safetensors_write.c
weights_safetensors_la_CFLAGS = $(PLUGIN_CFLAGS)
weights_safetensors_la_LIBADD = $(PLUGIN_LIBS)
weights_safetensors_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += weights_gguf.la
# The container, which the tokenizer of a GGUF vocabulary reads too.
GGUF_SOURCES = plugins/gguf/file.c plugins/gguf/parts.c
weights_gguf_la_SOURCES = %D%/find.c %D%/gguf.c %D%/gguf_write.c %D%/mapped.c %D%/output.c \
	$(GGUF_SOURCES)
weights_gguf_la_CFLAGS = $(PLUGIN_CFLAGS)
weights_gguf_la_LIBADD = libkernels_ref.la $(PLUGIN_LIBS)
weights_gguf_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += weights_grok1.la
weights_grok1_la_SOURCES = %D%/find.c %D%/grok1.c %D%/grok1_tree.c %D%/mapped.c %D%/pickle.c
weights_grok1_la_CFLAGS = $(PLUGIN_CFLAGS)
weights_grok1_la_LIBADD = $(PLUGIN_LIBS)
weights_grok1_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
