/* gemm-pack.h - where things lie in a pack of int8 codes.
 *
 * Codes first, then all scales, then all sums of codes (what an offset of the activations must be
 * corrected by).  A scale group longer than 2048 values is split into groups of equal scale: a
 * block of K that fits the cache is whole groups then, on every instruction set the same, and the
 * int32 sum of a group cannot overflow.
 */
#ifndef KERNELS_CPU_GEMM_PACK_H
#define KERNELS_CPU_GEMM_PACK_H

#include "kernels/cpu/gemm.h"

enum { VW_GEMM_S8_GROUP = 2048 };

typedef struct vw_gemm_s8 {
    int64_t panels, k4; /* steps of four values along K */
    int64_t group;      /* values of a scale group, a multiple of 4 */
    int64_t groups;     /* along K */
} vw_gemm_s8;

static inline vw_gemm_s8 vw_gemm_s8_shape(int64_t n, int64_t k, int64_t scale_k)
{
    vw_gemm_s8 s = {.panels = (n + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL, .k4 = (k + 3) / 4};
    s.group = scale_k >= k ? s.k4 * 4 : scale_k;
    s.group = s.group > VW_GEMM_S8_GROUP ? VW_GEMM_S8_GROUP : s.group < 4 ? 4 : s.group;
    s.groups = (s.k4 * 4 + s.group - 1) / s.group;
    return s;
}

static inline size_t vw_gemm_s8_codes(const vw_gemm_s8 *s)
{
    return (size_t)(s->panels * s->k4) * 4 * VW_GEMM_PANEL;
}

/* Of one panel: [groups][16]. */
static inline const float *vw_gemm_s8_scales(const vw_gemm_s8 *s, const void *pack, int64_t panel)
{
    const char *scales = (const char *)pack + vw_gemm_s8_codes(s);
    return (const float *)(const void *)scales + panel * s->groups * VW_GEMM_PANEL;
}

static inline const int32_t *vw_gemm_s8_sums(const vw_gemm_s8 *s, const void *pack, int64_t panel)
{
    const float *sums = vw_gemm_s8_scales(s, pack, s->panels) + panel * s->groups * VW_GEMM_PANEL;
    return (const int32_t *)(const void *)sums;
}

#endif
