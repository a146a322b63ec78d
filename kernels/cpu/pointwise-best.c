/* pointwise-best.c - the tables of an instruction set. */
#include "kernels/cpu/gradient.h"

const vw_pointwise *vw_pointwise_for(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX512
    case VW_CPU_VNNI:
    case VW_CPU_AVX512:
        return &vw_pointwise_avx512;
#endif
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2:
        return &vw_pointwise_avx2;
#endif
    default:
        return &vw_pointwise_base;
    }
}

const vw_gradients *vw_gradients_for(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX512
    case VW_CPU_VNNI:
    case VW_CPU_AVX512:
        return &vw_gradients_avx512;
#endif
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2:
        return &vw_gradients_avx2;
#endif
    default:
        return &vw_gradients_base;
    }
}
