# t/cuda-sim/: a simulated NVIDIA driver, for tests of the cuda plugins where there is no device.
#
# VW_CUDA_DRIVER=t/cuda-sim/.libs/libcuda.so in the environment makes plugins load it.  A file of
# kernels is added with a .cc of its own; plugins/cuda/driver.h tells the whole story.

CUDA_SIM_KERNELS = %D%/faulty.cc %D%/pointwise.cc %D%/rows.cc %D%/sample.cc %D%/gemm.cc \
	%D%/gemm-gather.cc %D%/parts.cc \
	%D%/attention-append.cc %D%/attention-decode.cc %D%/attention-prefill.cc
CUDA_SIM_SOURCES = %D%/driver.c %D%/streams.c %D%/queue.c %D%/memory.c %D%/run.c %D%/fiber.c \
	%D%/driver.h %D%/queue.h %D%/memory.h %D%/run.h %D%/fiber.h %D%/kernel.h %D%/device.h %D%/faulty.h

if WITH_CUDA
check_LTLIBRARIES += %D%/libcuda.la
endif
t_cuda_sim_libcuda_la_SOURCES = $(CUDA_SIM_SOURCES) $(CUDA_SIM_KERNELS)
if WITH_CUBLASLT
t_cuda_sim_libcuda_la_SOURCES += %D%/cublaslt.c
endif
t_cuda_sim_libcuda_la_CFLAGS = $(AM_CFLAGS) $(CUDA_CFLAGS) $(CUBLASLT_CFLAGS) -fvisibility=default
t_cuda_sim_libcuda_la_CXXFLAGS = $(AM_CXXFLAGS) -ffp-contract=off -Wno-unknown-pragmas
t_cuda_sim_libcuda_la_LIBADD = -lpthread -lm
t_cuda_sim_libcuda_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere \
	-export-symbols-regex '^cu(blasLt)?[A-Z]'

# What is proved with it: the simulation itself, device/cuda, and the kinds' conformance tests.
if WITH_CUDA
check_PROGRAMS += t/cuda-driver.t t/cuda-device.t
endif
t_cuda_driver_t_SOURCES = t/cuda-driver.c $(CUDA_DRIVER)
t_cuda_driver_t_CFLAGS = $(AM_CFLAGS) $(CUDA_CFLAGS)
t_cuda_driver_t_LDADD = t/tap/libtap.la
t_cuda_device_t_SOURCES = t/cuda-device.c
t_cuda_device_t_LDADD = $(MOCK_LIBS) -lpthread
script_tests += t/gpu-check.t t/cuda-absent.t t/cuda-conformance.t t/cuda-engine.t t/cuda-kernels.t
if WITH_CUBLASLT
check_PROGRAMS += t/cuda-cublaslt.t
endif
t_cuda_cublaslt_t_SOURCES = t/cuda-cublaslt.c
t_cuda_cublaslt_t_CFLAGS = $(AM_CFLAGS) $(CUBLASLT_CFLAGS)
t_cuda_cublaslt_t_LDADD = $(MOCK_LIBS) -lpthread
