/* gemm_partial.c - a table of an older version, without the operations that came later. */
#include "bad.h"

#include <vishwamai/gemm.h>

static vw_status supports(void *self, const vw_gemm_problem *problem, vw_error *err)
{
    (void)self, (void)problem;
    return vw_fail(err, VW_E_UNSUPPORTED, "nothing");
}

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    (void)self, (void)stored, (void)format, (void)pack_bytes, (void)layout;
    return vw_fail(err, VW_E_UNSUPPORTED, "nothing");
}

static vw_status plan(void *self, const vw_gemm_problem *problem, vw_gemm_plan *plan_,
                      vw_error *err)
{
    (void)self, (void)problem, (void)plan_;
    return vw_fail(err, VW_E_UNSUPPORTED, "nothing");
}

static vw_status run(void *self, const vw_gemm_plan *plan_, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    (void)self, (void)plan_, (void)stream, (void)x, (void)weights, (void)y, (void)workspace;
    return vw_fail(err, VW_E_UNSUPPORTED, "nothing");
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *weight,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    (void)self, (void)stream, (void)weight, (void)rows, (void)scale, (void)y;
    return vw_fail(err, VW_E_UNSUPPORTED, "nothing");
}

static const vw_gemm_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .pack_size = pack_size,
    .plan = plan,
    .run = run,
    .gather = gather,
};

VW_PLUGIN_DEFINE(gemm, partial)
{
    static vw_plugin p;

    p = good_plugin(VW_KIND_GEMM, "partial", VW_GEMM_OPS_MINOR, &ops);
    p.ops_major = VW_GEMM_OPS_MAJOR;
    return &p;
}
