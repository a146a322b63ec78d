# core/tools/: the vishwamai command, one file a subcommand.  It sees the public API only.
#
# Uncomment with the first source:
#   bin_PROGRAMS += vishwamai
#   vishwamai_SOURCES = %D%/main.c %D%/run.c
#   vishwamai_LDADD = libvishwamai.la $(JANSSON_LIBS)
#   vishwamai_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
