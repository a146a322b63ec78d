/* cpu.c - asking the CPU. */
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const char *vw_cpu_isa_name(vw_cpu_isa isa)
{
    static const char *const names[VW_CPU_ISAS] = {"baseline", "avx2", "avx512", "vnni"};
    return (unsigned)isa < VW_CPU_ISAS ? names[isa] : "unknown";
}

static int is_built(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2: return 1;
#endif
#ifdef HAVE_ISA_AVX512
    case VW_CPU_AVX512: return 1;
#endif
#ifdef HAVE_ISA_VNNI
    case VW_CPU_VNNI: return 1;
#endif
    default: return isa == VW_CPU_BASELINE;
    }
}

#if defined(__x86_64__)
/* Not a name that every compiler's test knows. */
static int has_f16c(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/* The compiler's own test looks at the operating system's side (saved registers) too. */
static int is_offered(vw_cpu_isa isa)
{
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               has_f16c();
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    switch (isa) {
    case VW_CPU_AVX2: return avx2;
    case VW_CPU_AVX512: return avx512;
    case VW_CPU_VNNI: return avx512 && __builtin_cpu_supports("avx512vnni");
    default: return 1;
    }
#else
    return isa == VW_CPU_BASELINE;
#endif
}

static int choose_asked(const char *asked, vw_cpu_isa *isa, char *why, size_t why_bytes)
{
    for (int i = 0; i < VW_CPU_ISAS; i++) {
        if (strcmp(asked, vw_cpu_isa_name((vw_cpu_isa)i)) != 0)
            continue;
        if (!is_built((vw_cpu_isa)i) || !is_offered((vw_cpu_isa)i)) {
            snprintf(why, why_bytes, "VW_CPU = %s: %s", asked,
                     is_built((vw_cpu_isa)i) ? "this CPU does not have it"
                                             : "this build does not have it");
            return 0;
        }
        *isa = (vw_cpu_isa)i;
        return 1;
    }
    snprintf(why, why_bytes,
             "VW_CPU = %s: not an instruction set; baseline, avx2, avx512 or vnni can be asked for",
             asked);
    return 0;
}

int vw_cpu_choose(vw_cpu_isa *isa, char *why, size_t why_bytes)
{
    const char *asked = getenv("VW_CPU");
    if (asked && *asked)
        return choose_asked(asked, isa, why, why_bytes);
    *isa = VW_CPU_BASELINE;
    for (int i = 0; i < VW_CPU_ISAS; i++)
        if (is_built((vw_cpu_isa)i) && is_offered((vw_cpu_isa)i))
            *isa = (vw_cpu_isa)i;
    return 1;
}
