# plugins/gemm/: components of the kind `gemm'.  Makefile.am says how to add one.
#
# Those that need a library come with its conditional:
#   if WITH_BLAS
#   plugins_LTLIBRARIES += gemm_blas.la
#   gemm_blas_la_SOURCES = %D%/blas.c
#   gemm_blas_la_CFLAGS = $(PLUGIN_CFLAGS) $(BLAS_CFLAGS)
#   gemm_blas_la_LIBADD = $(BLAS_LIBS) $(PLUGIN_LIBS)
#   gemm_blas_la_LDFLAGS = $(PLUGIN_LDFLAGS)
#   endif
# and the same with WITH_ONEDNN, ONEDNN_CFLAGS, ONEDNN_LIBS.
