/* onednn.h - what the files of gemm/onednn share.
 *
 *     onednn.c          the component, its plans
 *     onednn_weights.c  primitives, and weights in the library's own layout
 *     onednn_run.c      products
 */
#ifndef PLUGINS_GEMM_ONEDNN_H
#define PLUGINS_GEMM_ONEDNN_H

#include "plugins/gemm/checks.h"
#include "plugins/gemm/onednn_layout.h"

typedef struct onednn_config {
    int32_t pack, saturating;
} onednn_config;

typedef struct onednn_gemm {
    const vw_host *host;
    onednn_config config;
    int has_s8; /* may products of bytes be used? */
    dnnl_engine_t engine;
} onednn_gemm;

enum { MAX_SIZES = 12, PACKED_F32 = 1, PACKED_S8 = 2 };

/* One weight of a plan: a primitive for each size of M. */
typedef struct product {
    dnnl_memory_desc_t w;
    dnnl_primitive_t primitive[MAX_SIZES];
    dnnl_memory_desc_t x[MAX_SIZES], y[MAX_SIZES];
} product;

typedef struct onednn_plan {
    plan_weights kept;
    int n_sizes;
    int64_t size[MAX_SIZES], n_max, k;
    product product[VW_GEMM_MAX_WEIGHTS];
} onednn_plan;

static inline vw_status onednn_failed(dnnl_status_t s, const char *what, vw_error *err)
{
    return vw_fail(err, s == dnnl_out_of_memory ? VW_E_NOMEM : VW_E_DEVICE,
                   "oneDNN: %s failed with status %d", what, (int)s);
}

/* y[m, n] = x[m, k] w[k, n]; w in the layout of *w, or in the preferred one, which is written
 * there, when its format kind is "any". */
dnnl_status_t onednn_make(const onednn_gemm *g, int is_s8, int64_t m, int64_t n, int64_t k,
                          dnnl_memory_desc_t *w, dnnl_memory_desc_t *x, dnnl_memory_desc_t *y,
                          dnnl_primitive_t *out);

/* The layout of weights in a pack, which must not depend on M: that for a middling batch. */
vw_status onednn_packed_layout(const onednn_gemm *g, int is_s8, int64_t n, int64_t k,
                               dnnl_memory_desc_t *w, vw_error *err);

/* Scales of an int8 pack, [n]; the sums of codes follow. */
float *onednn_s8_scales(const dnnl_memory_desc_t *md, const void *pack);

/* As the kind has them. */
vw_status onednn_pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err);
vw_status onednn_pack(void *self, const vw_matrix *stored, vw_gemm_format format, int64_t first,
                      int64_t n, void *out, vw_error *err);
vw_status onednn_gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err);
vw_status onednn_run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err);
vw_status onednn_run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err);

#endif
