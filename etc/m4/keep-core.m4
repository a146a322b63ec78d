dnl keep-core.m4 - let a source folder be called core.
dnl
dnl Autoconf's generated scripts tidy up after every test with `rm -f core ...`, meaning a crash dump;
dnl one of its macros even says `rm -rf core`.  Our library lives in core/, so the word is taken out of
dnl every macro that emits such a line.  configure.ac includes this file before anything else, because
dnl the macros must be rewritten before they are used.  Names that this Autoconf does not define are
dnl skipped: the list covers several versions.  t/configure-core.t looks into the result.

m4_define([_VW_KEEP_CORE],
  [m4_ifdef([$1],
    [m4_define([$1], m4_bpatsubst(m4_dquote(m4_defn([$1])), [\(rm -r?f\( -r\)?\) core ], [\1 ]))])])

m4_foreach_w([vw_macro],
  [_AC_INIT_PREPARE _AC_COMPILE_IFELSE _AC_LINK_IFELSE _AC_RUN_IFELSE _AC_PREPROC_IFELSE
   _AC_COMPILE_IFELSE_BODY _AC_LINK_IFELSE_BODY _AC_RUN_IFELSE_BODY _AC_PREPROC_IFELSE_BODY
   AC_PROG_CC_C_O _AM_PROG_CC_C_O],
  [_VW_KEEP_CORE(m4_defn([vw_macro]))])
