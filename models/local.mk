# models/: model families, one folder each, built as plugins of the kind `model'.

GGUF_KEYS = plugins/gguf/keys.c plugins/gguf/keys.h

plugins_LTLIBRARIES += model_deepseek.la
DEEPSEEK = %D%/deepseek/config.c %D%/deepseek/deepseek.c %D%/deepseek/deepseek.h %D%/deepseek/gguf.c \
	%D%/deepseek/params.c %D%/deepseek/respell.c %D%/deepseek/yarn.c
model_deepseek_la_SOURCES = $(DEEPSEEK) $(GGUF_KEYS)
model_deepseek_la_LIBADD = $(PLUGIN_LIBS)
model_deepseek_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
model_deepseek_la_CFLAGS = $(PLUGIN_CFLAGS)

plugins_LTLIBRARIES += model_gemma.la
GEMMA = %D%/gemma/config.c %D%/gemma/gemma.c %D%/gemma/gemma.h %D%/gemma/gguf.c %D%/gemma/params.c \
	%D%/gemma/respell.c
model_gemma_la_SOURCES = $(GEMMA) $(GGUF_KEYS)
model_gemma_la_LIBADD = $(PLUGIN_LIBS)
model_gemma_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
model_gemma_la_CFLAGS = $(PLUGIN_CFLAGS)

plugins_LTLIBRARIES += model_grok.la
model_grok_la_SOURCES = %D%/grok/config.c %D%/grok/grok.c %D%/grok/grok.h %D%/grok/params.c
model_grok_la_LIBADD = $(PLUGIN_LIBS)
model_grok_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
model_grok_la_CFLAGS = $(PLUGIN_CFLAGS)

plugins_LTLIBRARIES += model_vishwamai.la
model_vishwamai_la_SOURCES = %D%/vishwamai/config.c %D%/vishwamai/params.c \
	%D%/vishwamai/vishwamai.c %D%/vishwamai/vishwamai.h
model_vishwamai_la_LIBADD = $(PLUGIN_LIBS)
model_vishwamai_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
model_vishwamai_la_CFLAGS = $(PLUGIN_CFLAGS)
