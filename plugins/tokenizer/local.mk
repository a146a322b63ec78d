# plugins/tokenizer/: components of the kind `tokenizer'.  Makefile.am says how to add one.

noinst_HEADERS += \
	%D%/sentencepiece.h \
	%D%/sentencepiece_model.h \
	%D%/sentencepiece_shim.h

plugins_LTLIBRARIES += tokenizer_chars.la
tokenizer_chars_la_SOURCES = %D%/chars.c
tokenizer_chars_la_CFLAGS = $(PLUGIN_CFLAGS)
tokenizer_chars_la_LIBADD = $(PLUGIN_LIBS)
tokenizer_chars_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

if WITH_SENTENCEPIECE
plugins_LTLIBRARIES += tokenizer_sentencepiece.la
tokenizer_sentencepiece_la_SOURCES = \
	%D%/sentencepiece.c \
	%D%/sentencepiece_chat.c \
	%D%/sentencepiece_encode.c \
	%D%/sentencepiece_model.c \
	%D%/sentencepiece_shim.cc \
	%D%/sentencepiece_train.c
tokenizer_sentencepiece_la_CFLAGS = $(PLUGIN_CFLAGS)
tokenizer_sentencepiece_la_CXXFLAGS = $(AM_CXXFLAGS) $(SENTENCEPIECE_CFLAGS)
tokenizer_sentencepiece_la_LIBADD = $(SENTENCEPIECE_LIBS) $(PLUGIN_LIBS)
tokenizer_sentencepiece_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif
