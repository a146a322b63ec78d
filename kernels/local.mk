# kernels/: what plugins call.  Knows nothing above itself.
#
# ref/ is plain C and the specification.  cpu/ is fast: each source of CPU_KERNELS is compiled once
# for every instruction set, with VW_ISA set to base, avx2, avx512 or vnni, so that its functions
# must carry that word in their names; sources of one instruction set alone go to its own list.
# Whoever dispatches (cpu/ sources in CPU_DISPATCH, compiled once, for the baseline) asks the CPU at
# run time; HAVE_ISA_AVX2, HAVE_ISA_AVX512 and HAVE_ISA_VNNI say what was built.  Never -march=native.

# What VNNI changes of the matrix kernels; the rest is AVX-512's.
GEMM_S8_KERNELS = \
	%D%/cpu/gemm-prepare.c %D%/cpu/gemm-table.c %D%/cpu/gemm-tile-blocks.c %D%/cpu/gemm-tile-s8.c \
	%D%/cpu/gemm-one-blocks.c %D%/cpu/gemm-open.c %D%/cpu/gemm-prepare-blocks.c \
	%D%/cpu/gemm-block-load.h
GEMM_KERNELS = $(GEMM_S8_KERNELS) \
	%D%/cpu/gemm-block.c %D%/cpu/gemm-dot.c %D%/cpu/gemm-expand.c %D%/cpu/gemm-finish.c \
	%D%/cpu/gemm-pack-tile.c %D%/cpu/gemm-quantise.c %D%/cpu/gemm-round.c \
	%D%/cpu/gemm-stream.c %D%/cpu/gemm-tile.c \
	%D%/cpu/gemm.h %D%/cpu/gemm-blocks.h %D%/cpu/gemm-load.h %D%/cpu/gemm-pack.h %D%/cpu/gemm-tile.h \
	%D%/cpu/simd.h %D%/cpu/simd_avx2.h %D%/cpu/simd_avx512.h %D%/cpu/simd_base.h

CPU_KERNELS = $(GEMM_KERNELS) \
	%D%/cpu/adamw.c %D%/cpu/adamw.h \
	%D%/cpu/attention-dense.c %D%/cpu/attention-dense.h \
	%D%/cpu/attention-flash.c %D%/cpu/attention-load.c %D%/cpu/attention.h \
	%D%/cpu/gradient.c %D%/cpu/gradient.h \
	%D%/cpu/pointwise.c %D%/cpu/pointwise.h %D%/cpu/vmath.h
CPU_DISPATCH = \
	%D%/cpu/adamw-best.c \
	%D%/cpu/gemm.c %D%/cpu/gemm-blocks.c %D%/cpu/gemm-product.c %D%/cpu/gemm-product.h %D%/cpu/gemm-weights.c \
	%D%/cpu/cpu.c %D%/cpu/cpu.h \
	%D%/cpu/attention-page.c \
	%D%/cpu/gradient-loss.c %D%/cpu/route.c \
	%D%/cpu/pointwise-best.c %D%/cpu/pointwise-pick.c
AVX2_KERNELS =
AVX512_KERNELS =
VNNI_KERNELS = $(GEMM_S8_KERNELS)

noinst_LTLIBRARIES += libkernels_ref.la libkernels_base.la libkernels_cpu.la

libkernels_ref_la_SOURCES = \
	%D%/ref/attention.c %D%/ref/attention-page.c %D%/ref/attention.h \
	%D%/ref/blocks.c %D%/ref/blocks.h \
	%D%/ref/gemm.c %D%/ref/gemm.h \
	%D%/ref/gradient.c %D%/ref/gradient.h \
	%D%/ref/pointwise.c %D%/ref/pointwise.h \
	%D%/ref/quant.c %D%/ref/quant.h
libkernels_ref_la_CFLAGS = $(KERNEL_CFLAGS)

libkernels_base_la_SOURCES = $(CPU_KERNELS)
libkernels_base_la_CFLAGS = $(KERNEL_CFLAGS) -DVW_ISA=base

libkernels_cpu_la_SOURCES = $(CPU_DISPATCH)
libkernels_cpu_la_CFLAGS = $(KERNEL_CFLAGS)
libkernels_cpu_la_LIBADD = libkernels_base.la

if HAVE_ISA_AVX2
noinst_LTLIBRARIES += libkernels_avx2.la
libkernels_avx2_la_SOURCES = $(CPU_KERNELS) $(AVX2_KERNELS)
libkernels_avx2_la_CFLAGS = $(KERNEL_CFLAGS) $(AVX2_CFLAGS) -DVW_ISA=avx2
libkernels_cpu_la_LIBADD += libkernels_avx2.la
endif

if HAVE_ISA_AVX512
noinst_LTLIBRARIES += libkernels_avx512.la
libkernels_avx512_la_SOURCES = $(CPU_KERNELS) $(AVX512_KERNELS)
libkernels_avx512_la_CFLAGS = $(KERNEL_CFLAGS) $(AVX512_CFLAGS) -DVW_ISA=avx512
libkernels_cpu_la_LIBADD += libkernels_avx512.la
endif

if HAVE_ISA_VNNI
noinst_LTLIBRARIES += libkernels_vnni.la
libkernels_vnni_la_SOURCES = $(VNNI_KERNELS)
libkernels_vnni_la_CFLAGS = $(KERNEL_CFLAGS) $(VNNI_CFLAGS) -DVW_ISA=vnni
libkernels_cpu_la_LIBADD += libkernels_vnni.la
endif

# cuda/: kernels for NVIDIA devices; plugins/cuda/driver.h says how to add a file.  nvcc makes a fat
# binary of each and bin2c a C array, vw_fatbin_NAME, which the plugin that uses it compiles in:
#
#   nodist_gemm_mine_la_SOURCES = kernels/cuda/NAME_fatbin.c
#
# The compiler's report (registers, stack, spills) stays beside it for t/cuda-kernels.t.
CUDA_KERNELS = %D%/cuda/pointwise.cu %D%/cuda/rows.cu %D%/cuda/sample.cu %D%/cuda/gemm.cu \
	%D%/cuda/gemm-gather.cu %D%/cuda/parts.cu \
	%D%/cuda/attention-append.cu %D%/cuda/attention-decode.cu %D%/cuda/attention-prefill.cu
CUDA_INCLUDES = %D%/cuda/cuda.h \
	%D%/cuda/number.h %D%/cuda/order.h %D%/cuda/pointwise.h %D%/cuda/reduce.h \
	%D%/cuda/type.h %D%/cuda/load.h %D%/cuda/gemm.h %D%/cuda/attention.h \
	%D%/cuda/epilogue.h %D%/cuda/gemm-weight.h %D%/cuda/parts.h \
	%D%/cuda/attention-cache.h
CUDA_DRIVER = plugins/cuda/driver.c plugins/cuda/driver.h

kernels/cuda/%.fatbin: kernels/cuda/%.cu $(CUDA_INCLUDES)
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN)$(NVCC) -std=c++17 -I$(top_srcdir) $(NVCCFLAGS) -Xptxas -v -fatbin -o $@ $< \
	    > $@.report 2>&1 || { cat $@.report >&2; rm -f $@.report; exit 1; }

kernels/cuda/%_fatbin.c: kernels/cuda/%.fatbin
	$(AM_V_GEN)$(BIN2C) --const --type longlong --name vw_fatbin_`echo $* | tr - _` $< > $@.new && \
	    mv $@.new $@

.PRECIOUS: kernels/cuda/%.fatbin
EXTRA_DIST += $(CUDA_KERNELS) $(CUDA_INCLUDES) $(CUDA_DRIVER)
CLEANFILES += kernels/cuda/*.fatbin kernels/cuda/*.fatbin.report kernels/cuda/*_fatbin.c
