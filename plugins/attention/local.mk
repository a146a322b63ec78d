# plugins/attention/: components of the kind `attention'.  Makefile.am says how to add one.

noinst_HEADERS += %D%/checks.h %D%/flash.h

plugins_LTLIBRARIES += attention_ref.la
attention_ref_la_SOURCES = %D%/ref.c
attention_ref_la_CFLAGS = $(PLUGIN_CFLAGS)
attention_ref_la_LIBADD = libkernels_ref.la $(PLUGIN_LIBS)
attention_ref_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

plugins_LTLIBRARIES += attention_flash.la
attention_flash_la_SOURCES = %D%/flash.c %D%/flash_dense.c
attention_flash_la_CFLAGS = $(PLUGIN_CFLAGS)
attention_flash_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(PLUGIN_LIBS)
attention_flash_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

if WITH_CUDA
plugins_LTLIBRARIES += attention_cuda_ref.la
attention_cuda_ref_la_SOURCES = %D%/cuda_ref.c $(CUDA_DRIVER)
nodist_attention_cuda_ref_la_SOURCES = kernels/cuda/attention-append_fatbin.c \
	kernels/cuda/attention-decode_fatbin.c kernels/cuda/attention-prefill_fatbin.c
attention_cuda_ref_la_CFLAGS = $(PLUGIN_CFLAGS) $(CUDA_CFLAGS)
attention_cuda_ref_la_LIBADD = $(PLUGIN_LIBS)
attention_cuda_ref_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif
