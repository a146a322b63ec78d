# etc/: what is installed or shipped beside the code.

# An INI reader with inih's interface, for systems without the package.
EXTRA_DIST += %D%/inih/ini.h %D%/inih/ini.c
if !WITH_INIH
noinst_LTLIBRARIES += libini.la
libini_la_SOURCES = %D%/inih/ini.c %D%/inih/ini.h
endif

pkgconfig_DATA = %D%/vishwamai.pc

# The bundled default model.
tinygemmadir = $(vwdatadir)/models/tiny-gemma
dist_tinygemma_DATA = \
	%D%/models/tiny-gemma/README.md \
	%D%/models/tiny-gemma/config.json \
	%D%/models/tiny-gemma/generation_config.json \
	%D%/models/tiny-gemma/model.safetensors \
	%D%/models/tiny-gemma/reference.json \
	%D%/models/tiny-gemma/tokenizer.model \
	%D%/models/tiny-gemma/tokenizer_config.json

# INI presets, found by `include = presets/NAME.ini': dist_presets_DATA += %D%/presets/NAME.ini

# Hand-written manual pages: dist_man_MANS += %D%/man/NAME.1
