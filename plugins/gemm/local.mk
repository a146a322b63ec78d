# plugins/gemm/: components of the kind `gemm'.  Makefile.am says how to add one.
noinst_HEADERS += %D%/checks.h %D%/groups.h

plugins_LTLIBRARIES += gemm_ref.la
gemm_ref_la_SOURCES = %D%/ref.c
gemm_ref_la_CFLAGS = $(PLUGIN_CFLAGS)
gemm_ref_la_LIBADD = libkernels_ref.la $(PLUGIN_LIBS)
gemm_ref_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += gemm_cpu.la
gemm_cpu_la_SOURCES = %D%/cpu.c
gemm_cpu_la_CFLAGS = $(PLUGIN_CFLAGS)
gemm_cpu_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(PLUGIN_LIBS)
gemm_cpu_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
