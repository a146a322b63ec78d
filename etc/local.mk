# etc/: what is installed or shipped beside the code.

# Folders that only travel: they go into the distribution whole.
EXTRA_DIST += $(wildcard $(srcdir)/etc/benchmarks $(srcdir)/etc/decisions $(srcdir)/etc/examples \
	$(srcdir)/etc/goldens)

# An INI reader with inih's interface, for systems without the package.
EXTRA_DIST += %D%/inih/ini.h %D%/inih/ini.c
if !WITH_INIH
noinst_LTLIBRARIES += libini.la
libini_la_SOURCES = %D%/inih/ini.c %D%/inih/ini.h
endif

pkgconfig_DATA = %D%/vishwamai.pc

# A small model in the layout in which Gemma is published: what the tests hold everything to.
tinygemmadir = $(vwdatadir)/models/tiny-gemma
dist_tinygemma_DATA = \
	%D%/models/tiny-gemma/README.md \
	%D%/models/tiny-gemma/config.json \
	%D%/models/tiny-gemma/generation_config.json \
	%D%/models/tiny-gemma/model.safetensors \
	%D%/models/tiny-gemma/reference.json \
	%D%/models/tiny-gemma/tokenizer.json \
	%D%/models/tiny-gemma/tokenizer.model \
	%D%/models/tiny-gemma/tokenizer_config.json

# The default model, of the base architecture, and how it was made.
tinyvishwamaidir = $(vwdatadir)/models/tiny-vishwamai
dist_tinyvishwamai_DATA = \
	%D%/models/tiny-vishwamai/README.md \
	%D%/models/tiny-vishwamai/config.json \
	%D%/models/tiny-vishwamai/model.safetensors \
	%D%/models/tiny-vishwamai/tokenizer.model
EXTRA_DIST += %D%/models/recipe/corpus.py

# INI presets, found by `include = presets/NAME.ini'.
dist_presets_DATA += \
	%D%/presets/deepseek-v3-one-machine.ini \
	%D%/presets/gpt2-124m.ini \
	%D%/presets/greedy.ini \
	%D%/presets/grok-1-one-machine.ini \
	%D%/presets/int8.ini \
	%D%/presets/lively.ini \
	%D%/presets/nanogpt-shakespeare.ini \
	%D%/presets/reference.ini \
	%D%/presets/small-cache.ini \
	%D%/presets/tiny-vishwamai.ini

# Task files for `vishwamai eval'.
tasksdir = $(vwdatadir)/tasks
dist_tasks_DATA = %D%/tasks/sample.jsonl

# Manual pages.  Their option tables come from the program's own, so they are made after it.
man_pages = %D%/man/vishwamai.1 %D%/man/vishwamai.ini.5
nodist_man_MANS = $(man_pages)
EXTRA_DIST += %D%/man/vishwamai.1.in %D%/man/vishwamai.ini.5.in %D%/man/generate %D%/man/help.awk
CLEANFILES += $(man_pages)
MAKE_PAGE = $(AM_V_GEN)$(MKDIR_P) etc/man && VERSION=$(PACKAGE_VERSION) pluginsdir=$(pluginsdir) \
	datadir=$(vwdatadir) $(SHELL) $(srcdir)/etc/man/generate
etc/man/vishwamai.1: etc/man/vishwamai.1.in etc/man/generate etc/man/help.awk $(bin_PROGRAMS)
	$(MAKE_PAGE) $(srcdir)/etc/man/vishwamai.1.in > $@
etc/man/vishwamai.ini.5: etc/man/vishwamai.ini.5.in etc/man/generate $(bin_PROGRAMS) \
		$(plugins_LTLIBRARIES)
	$(MAKE_PAGE) $(srcdir)/etc/man/vishwamai.ini.5.in > $@
