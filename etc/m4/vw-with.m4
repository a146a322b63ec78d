dnl vw-with.m4 - one way to look for a library, for every --with option.
dnl
dnl VW_WITH(NAME, PURPOSE, DEFAULT, LANGUAGE, CANDIDATES, PROLOGUE, BODY, PACKAGE)
dnl
dnl Adds --with-NAME[=DIR|yes|no|auto].  CANDIDATES are pkg-config modules, tried in order; a candidate
dnl without a .pc file is tried as -lCANDIDATE on the default paths, and under DIR if one was given.
dnl What counts is never that a file exists but that the program PROLOGUE + BODY compiles and links
dnl in LANGUAGE (C or C++).
dnl
dnl DEFAULT is `auto' (left out when missing) or `required' (an error when missing).  Asked for with
dnl yes or DIR and missing is an error that names what was looked for and the Debian PACKAGE that has it.
dnl
dnl Any other word is a DIR, and one that is no folder is an error.
dnl
dnl Sets, for NAME = blas:  BLAS_CFLAGS, BLAS_LIBS (substituted), HAVE_BLAS (config.h), the Automake
dnl conditional WITH_BLAS, vw_have_blas=yes|no, and a line of the closing summary.

AC_DEFUN([VW_WITH], [
  m4_pushdef([VW_up], m4_translit([$1], [a-z-], [A-Z_]))
  AC_ARG_WITH([$1],
    [AS_HELP_STRING([--with-$1@<:@=DIR|yes|no|auto@:>@], [$2 (default: $3)])],
    [vw_ask=$withval], [vw_ask=$3])
  AS_IF([test "$vw_ask" != required], [VW_FOLDER([$1])])
  VW_up[]_CFLAGS= VW_up[]_LIBS= vw_have_$1=no vw_how=
  AS_CASE([$vw_ask],
    [no], [AS_IF([test "$3" = required],
             [AC_MSG_ERROR([$1 cannot be left out: $2])])
           vw_why="switched off"],
    [AC_MSG_CHECKING([for $1])
     AC_LANG_PUSH([$4])
     for vw_try in $5; do
       AS_CASE([$vw_ask],
         [/*],
           [vw_lib=
            for vw_dir in "$vw_ask/lib" "$vw_ask/lib64"; do
              AS_IF([ls "$vw_dir/lib$vw_try".* >/dev/null 2>&1], [vw_lib=$vw_dir; break])
            done
            dnl Without this the linker would go on to the default paths and find another one.
            AS_IF([test -z "$vw_lib"], [continue])
            vw_cflags="-I$vw_ask/include"
            vw_libs="-L$vw_lib -Wl,-rpath,$vw_lib -l$vw_try"],
         [AS_IF([test -n "$PKG_CONFIG" && $PKG_CONFIG --exists $vw_try 2>/dev/null],
           [vw_cflags=`$PKG_CONFIG --cflags $vw_try`
            vw_libs=`$PKG_CONFIG --libs $vw_try`],
           [vw_cflags= vw_libs=-l$vw_try])])
       vw_save_CPPFLAGS=$CPPFLAGS vw_save_CXXFLAGS=$CXXFLAGS vw_save_LIBS=$LIBS
       CPPFLAGS="$CPPFLAGS $vw_cflags" LIBS="$vw_libs $LIBS"
       dnl The language of AM_CXXFLAGS: clang 14 by itself speaks C++14.
       CXXFLAGS="-std=c++17 $CXXFLAGS"
       AC_LINK_IFELSE([AC_LANG_PROGRAM([$6], [$7])],
         [VW_up[]_CFLAGS=$vw_cflags VW_up[]_LIBS=$vw_libs vw_have_$1=yes vw_how=$vw_try])
       CPPFLAGS=$vw_save_CPPFLAGS CXXFLAGS=$vw_save_CXXFLAGS LIBS=$vw_save_LIBS
       AS_IF([test $vw_have_$1 = yes], [break])
     done
     AC_LANG_POP([$4])
     AC_MSG_RESULT([$vw_have_$1${vw_how:+ ($vw_how)}])
     vw_why="looked for $5 as a pkg-config module or -lNAME; Debian has it in $8"
     AS_IF([test $vw_have_$1 = no && test "$vw_ask" != auto],
       [AC_MSG_ERROR([$1 was asked for and is missing ($2).
  Looked for: a program that links with one of: $5 (pkg-config module, or -lNAME), --with-$1=$vw_ask.
  On Debian it is in $8; config.log has the compiler's words.])])])
  AS_IF([test $vw_have_$1 = yes],
    [AC_DEFINE([HAVE_]VW_up, [1], [Define to 1 if $1 is used: $2.])
     VW_SUMMARY([$1], [yes], [$2: $vw_how])],
    [VW_SUMMARY([$1], [no], [$2: $vw_why])])
  AC_SUBST(VW_up[]_CFLAGS)
  AC_SUBST(VW_up[]_LIBS)
  AM_CONDITIONAL([WITH_]VW_up, [test $vw_have_$1 = yes])
  m4_popdef([VW_up])
])

dnl VW_FOLDER(NAME): what --with-NAME says is yes, no, auto or a folder, which is made absolute.
AC_DEFUN([VW_FOLDER], [
  AS_CASE([$vw_ask], [yes|no|auto], [],
    [AS_IF([test -d "$vw_ask"], [vw_ask=`cd "$vw_ask" && pwd`],
       [AC_MSG_ERROR([--with-$1=$vw_ask: no such folder; the folder of $1, yes, no or auto])])])
])

dnl VW_SUMMARY(NAME, yes|no, TEXT): a line of configure's closing words.
AC_DEFUN([VW_SUMMARY], [
  AS_IF([test "$2" = yes],
    [vw_built="$vw_built
    $1: $3"],
    [vw_left_out="$vw_left_out
    $1: $3"])
])

dnl VW_WITH_CUDA: --with-cuda[=DIR|yes|no|auto], DIR being the toolkit's folder.  The tools that
dnl turn a .cu into something a C plugin can carry are nvcc and bin2c; no library is linked, because a
dnl plugin opens the driver at run time.  Sets NVCC, NVCCFLAGS, BIN2C, CUDA_DIR, CUDA_CFLAGS and
dnl WITH_CUDA.  The default of NVCCFLAGS is machine code for Ampere and Hopper, and PTX that the driver
dnl of any later device compiles; a kernel's numbers are those of its text, so there is no fast-math.
AC_DEFUN([VW_WITH_CUDA], [
  AC_ARG_WITH([cuda],
    [AS_HELP_STRING([--with-cuda@<:@=DIR|yes|no|auto@:>@], [CUDA toolkit (default: auto)])],
    [vw_ask=$withval], [vw_ask=auto])
  VW_FOLDER([cuda])
  AC_ARG_VAR([NVCC], [CUDA compiler])
  AC_ARG_VAR([NVCCFLAGS], [CUDA compiler flags: optimisation and target devices])
  : ${NVCCFLAGS="-O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_80,code=compute_80"}
  vw_have_cuda=no CUDA_DIR= CUDA_CFLAGS= BIN2C=
  AS_CASE([$vw_ask],
    [no], [vw_why="switched off" NVCC=],
    [AS_CASE([$vw_ask],
       [yes|auto], [vw_path=$PATH:/usr/local/cuda/bin vw_where="PATH and /usr/local/cuda/bin"],
       [vw_path=$vw_ask/bin vw_where=$vw_ask/bin])
     AC_PATH_PROG([NVCC], [nvcc], [], [$vw_path])
     AS_IF([test -n "$NVCC"],
       [vw_bin=`AS_DIRNAME(["$NVCC"])`
        CUDA_DIR=`AS_DIRNAME(["$vw_bin"])`
        AC_PATH_PROG([BIN2C], [bin2c], [], [$vw_bin])])
     AS_IF([test -n "$NVCC" && test -n "$BIN2C" && test -r "$CUDA_DIR/include/cuda.h"],
       [vw_have_cuda=yes CUDA_CFLAGS="-I$CUDA_DIR/include"])
     vw_why="looked for nvcc and bin2c in $vw_where, and for include/cuda.h"
     AS_IF([test $vw_have_cuda = no && test "$vw_ask" != auto],
       [AC_MSG_ERROR([cuda was asked for and is missing.
  Looked for: nvcc and, beside it, bin2c in $vw_where, and its include/cuda.h; --with-cuda=$vw_ask.])])])
  AS_IF([test $vw_have_cuda = yes],
    [VW_SUMMARY([cuda], [yes], [device/cuda and its company: $CUDA_DIR])],
    [VW_SUMMARY([cuda], [no], [CUDA toolkit: $vw_why])])
  AC_SUBST([CUDA_DIR])
  AC_SUBST([CUDA_CFLAGS])
  AM_CONDITIONAL([WITH_CUDA], [test $vw_have_cuda = yes])
  dnl The header alone: the library is opened at run time, and the header is not of the strict kind.
  CUBLASLT_CFLAGS=
  AS_IF([test $vw_have_cuda = yes && test -r "$CUDA_DIR/include/cublasLt.h"],
    [CUBLASLT_CFLAGS="-isystem $CUDA_DIR/include -DVW_CUDA_DIR='\"$CUDA_DIR\"'"
     VW_SUMMARY([cublaslt], [yes], [gemm/cublaslt: $CUDA_DIR/include/cublasLt.h])],
    [VW_SUMMARY([cublaslt], [no], [gemm/cublaslt: looked for cublasLt.h in the toolkit])])
  AC_SUBST([CUBLASLT_CFLAGS])
  AM_CONDITIONAL([WITH_CUBLASLT], [test -n "$CUBLASLT_CFLAGS"])
])
