# plugins/device/: components of the kind `device'.  Makefile.am says how to add one.

plugins_LTLIBRARIES += device_cpu.la
device_cpu_la_SOURCES = %D%/cpu.c %D%/cpu_backward.c %D%/cpu_experts.c %D%/cpu_pointwise.c \
	%D%/cpu_reduce.c %D%/cpu_round.c %D%/cpu_rows.c %D%/checks.h %D%/cpu.h
device_cpu_la_CFLAGS = $(PLUGIN_CFLAGS)
device_cpu_la_LIBADD = libkernels_cpu.la libkernels_ref.la $(PLUGIN_LIBS)
device_cpu_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)

if WITH_CUDA
plugins_LTLIBRARIES += device_cuda.la
device_cuda_la_SOURCES = %D%/cuda.c %D%/cuda_pointwise.c %D%/cuda_rows.c %D%/cuda_staging.c \
	%D%/cuda.h %D%/checks.h $(CUDA_DRIVER)
nodist_device_cuda_la_SOURCES = kernels/cuda/pointwise_fatbin.c kernels/cuda/rows_fatbin.c \
	kernels/cuda/sample_fatbin.c
device_cuda_la_CFLAGS = $(PLUGIN_CFLAGS) $(CUDA_CFLAGS)
device_cuda_la_LIBADD = $(PLUGIN_LIBS) -lpthread
device_cuda_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
endif
