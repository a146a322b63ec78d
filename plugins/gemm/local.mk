# plugins/gemm/: components of the kind `gemm'.  Makefile.am says how to add one.
noinst_HEADERS += %D%/checks.h %D%/cpu.h %D%/cublaslt_product.h %D%/cublaslt_way.h \
	%D%/cuda_weights.h %D%/groups.h %D%/onednn.h %D%/onednn_layout.h

plugins_LTLIBRARIES += gemm_ref.la
gemm_ref_la_SOURCES = %D%/ref.c
gemm_ref_la_CFLAGS = $(PLUGIN_CFLAGS)
gemm_ref_la_LIBADD = libkernels_ref.la $(PLUGIN_LIBS)
gemm_ref_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += gemm_cpu.la
gemm_cpu_la_SOURCES = %D%/cpu.c %D%/cpu_products.c
gemm_cpu_la_CFLAGS = $(PLUGIN_CFLAGS)
gemm_cpu_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(PLUGIN_LIBS)
gemm_cpu_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

if WITH_BLAS
plugins_LTLIBRARIES += gemm_blas.la
gemm_blas_la_SOURCES = %D%/blas.c
gemm_blas_la_CFLAGS = $(PLUGIN_CFLAGS) $(BLAS_CFLAGS)
gemm_blas_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(BLAS_LIBS) $(PLUGIN_LIBS)
gemm_blas_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif

if WITH_ONEDNN
plugins_LTLIBRARIES += gemm_onednn.la
gemm_onednn_la_SOURCES = %D%/onednn.c %D%/onednn_run.c %D%/onednn_weights.c
gemm_onednn_la_CFLAGS = $(PLUGIN_CFLAGS) $(ONEDNN_CFLAGS)
gemm_onednn_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(ONEDNN_LIBS) $(PLUGIN_LIBS)
gemm_onednn_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif

if WITH_CUDA
plugins_LTLIBRARIES += gemm_cuda_ref.la
gemm_cuda_ref_la_SOURCES = %D%/cuda_ref.c $(CUDA_DRIVER)
nodist_gemm_cuda_ref_la_SOURCES = kernels/cuda/gemm_fatbin.c kernels/cuda/gemm-gather_fatbin.c
gemm_cuda_ref_la_CFLAGS = $(PLUGIN_CFLAGS) $(CUDA_CFLAGS)
gemm_cuda_ref_la_LIBADD = libkernels_ref.la $(PLUGIN_LIBS)
gemm_cuda_ref_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif

if WITH_CUBLASLT
plugins_LTLIBRARIES += gemm_cublaslt.la
gemm_cublaslt_la_SOURCES = %D%/cublaslt.c %D%/cublaslt_product.c $(CUDA_DRIVER)
nodist_gemm_cublaslt_la_SOURCES = kernels/cuda/parts_fatbin.c kernels/cuda/gemm-gather_fatbin.c
gemm_cublaslt_la_CFLAGS = $(PLUGIN_CFLAGS) $(CUBLASLT_CFLAGS)
gemm_cublaslt_la_LIBADD = libkernels_ref.la -lpthread $(PLUGIN_LIBS)
gemm_cublaslt_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif
