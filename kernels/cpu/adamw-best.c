/* adamw-best.c - which of the compiled AdamWs an instruction set gets. */
#include "kernels/cpu/adamw.h"

void vw_adamw_base(const vw_adamw_step *, int64_t, float *, const float *, float *, float *);
void vw_adamw_avx2(const vw_adamw_step *, int64_t, float *, const float *, float *, float *);
void vw_adamw_avx512(const vw_adamw_step *, int64_t, float *, const float *, float *, float *);

vw_adamw_fn vw_adamw_for(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX512
    case VW_CPU_VNNI:
    case VW_CPU_AVX512:
        return vw_adamw_avx512;
#endif
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2:
        return vw_adamw_avx2;
#endif
    default:
        return vw_adamw_base;
    }
}
