dnl vw-compiler.m4 - warnings, instruction sets, sanitizers: what the compiler can do for us.

dnl VW_APPEND_FLAGS(VARIABLE, FLAGS): appends to VARIABLE those FLAGS that the compiler of the current
dnl language takes without a murmur.
AC_DEFUN([VW_APPEND_FLAGS], [
  for vw_flag in $2; do
    AC_MSG_CHECKING([whether $[]_AC_CC takes $vw_flag])
    vw_save=$[]_AC_LANG_PREFIX[]FLAGS
    _AC_LANG_PREFIX[]FLAGS="$[]_AC_LANG_PREFIX[]FLAGS -Werror $vw_flag"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([int vw_flag_test;])],
      [AC_MSG_RESULT([yes]); $1="$$1 $vw_flag"],
      [AC_MSG_RESULT([no])])
    _AC_LANG_PREFIX[]FLAGS=$vw_save
  done
])

dnl VW_ISA(NAME, FLAGS, BODY): can the C compiler build BODY, which uses intrinsics, with FLAGS?
dnl Sets NAME_CFLAGS, the conditional HAVE_ISA_NAME and, in config.h, HAVE_ISA_NAME.  Nothing is asked
dnl of the machine that builds: the instruction set is chosen where the program runs.
AC_DEFUN([VW_ISA], [
  AC_MSG_CHECKING([whether $CC builds $1 code])
  vw_isa=no
  vw_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS $2"
  AS_CASE([$host_cpu], [x86_64],
    [AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <immintrin.h>]], [$3])], [vw_isa=yes])])
  CFLAGS=$vw_save_CFLAGS
  AC_MSG_RESULT([$vw_isa])
  AS_IF([test $vw_isa = yes],
    [AC_SUBST([$1_CFLAGS], ["$2"])
     AC_DEFINE([HAVE_ISA_$1], [1], [Define to 1 if kernels for $1 are built.])
     vw_isas="$vw_isas $1"])
  AM_CONDITIONAL([HAVE_ISA_$1], [test $vw_isa = yes])
])

dnl VW_SANITIZERS: --enable-sanitizers=LIST and --enable-fuzzing.  The flags go into CFLAGS and LDFLAGS
dnl themselves, so that no target can escape them: a plain program cannot load an instrumented plugin.
AC_DEFUN([VW_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers=LIST], [address,undefined or thread (default: no)])],
    [], [enable_sanitizers=no])
  AC_ARG_ENABLE([fuzzing],
    [AS_HELP_STRING([--enable-fuzzing], [build the libFuzzer programs of t/fuzz; needs clang])],
    [], [enable_fuzzing=no])
  vw_sanitize=
  AS_CASE([$enable_sanitizers],
    [no], [],
    [yes], [vw_sanitize="-fsanitize=address,undefined"],
    [vw_sanitize="-fsanitize=$enable_sanitizers"])
  AS_IF([test -n "$vw_sanitize"],
    [vw_sanitize="$vw_sanitize -fno-omit-frame-pointer -fno-sanitize-recover=all"])
  FUZZ_LDFLAGS=
  AS_IF([test "$enable_fuzzing" = yes],
    [vw_sanitize="$vw_sanitize -fsanitize=fuzzer-no-link"
     FUZZ_LDFLAGS=-fsanitize=fuzzer])
  AC_SUBST([FUZZ_LDFLAGS])
  AC_SUBST([SHORT_TEXTS], [${vw_sanitize:+1}])
  AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" = yes])

  dnl The runtime of a sanitizer is found when the program starts: clang keeps it in the executable
  dnl alone, and libtool links a C++ shared object with -nostdlib, where gcc adds no runtime either.
  dnl A shared object then has undefined symbols by design.
  ZDEFS_LDFLAGS="-Wl,-z,defs"
  AS_IF([test -n "$vw_sanitize"],
    [ZDEFS_LDFLAGS=
     CFLAGS="$CFLAGS -O1 $vw_sanitize" CXXFLAGS="$CXXFLAGS -O1 $vw_sanitize"
     LDFLAGS="$LDFLAGS $vw_sanitize"
     AC_MSG_CHECKING([whether $CC links with $vw_sanitize])
     AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
       [AC_MSG_RESULT([no])
        AC_MSG_ERROR([$CC cannot link with $vw_sanitize.
  With clang on Debian the runtimes are in libclang-rt-14-dev; fuzzing needs CC=clang.])])])
  AC_SUBST([ZDEFS_LDFLAGS])
])
