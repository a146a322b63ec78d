# plugins/tokenizer/: components of the kind `tokenizer'.  Makefile.am says how to add one.

noinst_HEADERS += \
	%D%/bpe.h \
	%D%/bpe_added.h \
	%D%/bpe_buffer.h \
	%D%/bpe_merge.h \
	%D%/bpe_normal.h \
	%D%/bpe_pattern.h %D%/bpe_pre.h \
	%D%/bpe_split.h \
	%D%/bpe_table.h \
	%D%/chat.h \
	%D%/checkpoint.h \
	%D%/sentencepiece.h \
	%D%/sentencepiece_model.h \
	%D%/sentencepiece_shim.h \
	%D%/utf8.h

# What every tokenizer of a checkpoint folder needs beside its own file.
TOKENIZER_SOURCES = %D%/chat.c %D%/checkpoint.c

plugins_LTLIBRARIES += tokenizer_chars.la
tokenizer_chars_la_SOURCES = %D%/chars.c
tokenizer_chars_la_CFLAGS = $(PLUGIN_CFLAGS)
tokenizer_chars_la_LIBADD = $(PLUGIN_LIBS)
tokenizer_chars_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

if WITH_SENTENCEPIECE
plugins_LTLIBRARIES += tokenizer_sentencepiece.la
tokenizer_sentencepiece_la_SOURCES = $(TOKENIZER_SOURCES) \
	%D%/sentencepiece.c \
	%D%/sentencepiece_chat.c \
	%D%/sentencepiece_encode.c \
	%D%/sentencepiece_gguf.c \
	%D%/sentencepiece_model.c \
	%D%/sentencepiece_shim.cc \
	%D%/sentencepiece_train.c
tokenizer_sentencepiece_la_CFLAGS = $(PLUGIN_CFLAGS)
tokenizer_sentencepiece_la_CXXFLAGS = $(AM_CXXFLAGS) $(SENTENCEPIECE_CFLAGS)
tokenizer_sentencepiece_la_LIBADD = $(SENTENCEPIECE_LIBS) $(PLUGIN_LIBS)
tokenizer_sentencepiece_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif

if WITH_PCRE2
BPE_SOURCES = $(TOKENIZER_SOURCES) \
	%D%/bpe_added.c \
	%D%/bpe_decode.c \
	%D%/bpe_encode.c \
	%D%/bpe_merge.c \
	%D%/bpe_normal.c \
	%D%/bpe_pattern.c \
	%D%/bpe_pre.c \
	%D%/bpe_read.c \
	%D%/bpe_read_steps.c \
	%D%/bpe_split.c \
	%D%/bpe_table.c \
	%D%/bpe_vocabulary.c
BPE_CFLAGS = $(PCRE2_CFLAGS) $(UTF8PROC_CFLAGS)
BPE_LIBS = $(PCRE2_LIBS) $(UTF8PROC_LIBS)
plugins_LTLIBRARIES += tokenizer_bpe.la
tokenizer_bpe_la_SOURCES = %D%/bpe.c %D%/bpe_gguf.c $(BPE_SOURCES)
tokenizer_bpe_la_CFLAGS = $(PLUGIN_CFLAGS) $(BPE_CFLAGS)
tokenizer_bpe_la_LIBADD = $(BPE_LIBS) $(PLUGIN_LIBS)
tokenizer_bpe_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
plugins_LTLIBRARIES += tokenizer_gguf.la
tokenizer_gguf_la_SOURCES = %D%/gguf.c $(BPE_SOURCES) plugins/gguf/file.c
tokenizer_gguf_la_CFLAGS = $(PLUGIN_CFLAGS) $(BPE_CFLAGS)
tokenizer_gguf_la_LIBADD = $(BPE_LIBS) libkernels_ref.la $(PLUGIN_LIBS)
tokenizer_gguf_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif
