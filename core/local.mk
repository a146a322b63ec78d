# core/: libvishwamai.  Sources, one line each, in alphabetical order.
#
# libcore.la holds the whole library with its internals reachable (for the tests);
# libvishwamai.la is the same objects behind the exported vw_* names.

noinst_LTLIBRARIES += libcore.la

libcore_la_CFLAGS = $(AM_CFLAGS) $(INIH_CFLAGS) $(JANSSON_CFLAGS)
libcore_la_LIBADD = $(INIH_LIBS) $(JANSSON_LIBS)
libcore_la_SOURCES =

# With the first source:
#   lib_LTLIBRARIES += libvishwamai.la
libvishwamai_la_SOURCES =
libvishwamai_la_LIBADD = libcore.la
libvishwamai_la_LDFLAGS = -version-info 0:0:0 -no-undefined -export-symbols-regex '^vw_' \
	$(ZDEFS_LDFLAGS)

# Headers that are installed: vwinclude_HEADERS += %D%/include/vishwamai/NAME.h
# Headers that are not:       libcore_la_SOURCES += %D%/NAME.h
