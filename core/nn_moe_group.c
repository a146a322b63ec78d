/* nn_moe_group.c - products of all experts of a layer at once.
 *
 * Counts stay on the device: a grouped product is told where each expert's rows are by an array
 * there.
 */
#include "core/nn_moe.h"

static const gemm_plan *plan_group(forward *f, const moe_work *m, vw_gemm_op op, int32_t n,
                                   const vw_gemm_weight *const *w, vw_gemm_epilogue epilogue)
{
    product p = {.op = op,
                 .n = n,
                 .name = "the experts",
                 .epilogue = epilogue,
                 .activation = epilogue == VW_GEMM_GATED ? m->desc->activation : VW_ACT_NONE,
                 .max_m = f->max_tokens * m->desc->top_k};
    for (int32_t i = 0; i < n; i++)
        p.w[i] = w[i];
    return vw_plan_gemm(f, &p);
}

static vw_groups groups_of(const moe_work *m)
{
    return (vw_groups){VW_GROUP_OFFSETS, m->last - m->first, m->offsets + m->first};
}

/* For a gemm without grouped products, where the host can read the offsets. */
static vw_status run_one_by_one(forward *f, const moe_work *m, const gemm_plan *p, vw_tensor x,
                                const vw_gemm_weight *const *w, const vw_tensor *y)
{
    vw_engine *e = f->engine;
    int n = p->plan.problem.n_weights;
    vw_status st = e->dev->synchronize(e->device->self, e->stream, f->err);
    for (int32_t g = m->first; g < m->last && !st; g++) {
        int64_t first = m->offsets[g], rows = m->offsets[g + 1] - first;
        vw_tensor part[VW_GEMM_MAX_WEIGHTS];
        for (int i = 0; i < n; i++)
            part[i] = y[i].data ? vw_tensor_rows(y[i], first, rows) : y[i];
        if (rows)
            st = e->mm->run(e->gemm->self, &p->plan, e->stream, vw_tensor_rows(x, first, rows),
                            w + (ptrdiff_t)g * n, part, e->workspace.data, f->err);
    }
    return st;
}

void vw_moe_multiply(forward *f, const moe_work *m, const vw_param *scales, vw_gemm_op op, int32_t n,
                     const vw_gemm_weight *const *w, vw_gemm_epilogue epilogue, vw_tensor x,
                     const vw_tensor *y)
{
    size_t mark = f->arena_used;
    vw_engine *e = f->engine;
    const gemm_plan *p = plan_group(f, m, op, n, w, epilogue);
    vw_groups groups = groups_of(m);
    if (!p)
        return;
    x = vw_scaled(f, scales, op == VW_GEMM_DGRAD ? VW_OPERAND_GRADIENT : VW_OPERAND_INPUT, x);
    f->arena_used = mark;
    if (!vw_runs(f))
        return;
    vw_status st = e->mm->run_grouped(e->gemm->self, &p->plan, e->stream, x,
                                      w + (ptrdiff_t)m->first * n, &groups, y, e->workspace.data,
                                      f->err);
    if (st == VW_E_UNSUPPORTED && (e->device_info.flags & VW_DEVICE_HOST_VISIBLE))
        st = run_one_by_one(f, m, p, x, w, y);
    vw_check(f, st);
}

static vw_status learn_one_by_one(forward *f, const moe_work *m, const gemm_plan *p, vw_tensor dy,
                                  vw_tensor x, const vw_tensor *dw)
{
    vw_engine *e = f->engine;
    vw_status st = e->dev->synchronize(e->device->self, e->stream, f->err);
    for (int32_t g = 0; g < m->experts->n && !st; g++) {
        int64_t first = m->offsets[g], rows = m->offsets[g + 1] - first;
        if (rows)
            st = e->mm->run_wgrad(e->gemm->self, &p->plan, e->stream,
                                  vw_tensor_rows(dy, first, rows), vw_tensor_rows(x, first, rows),
                                  dw[g], e->workspace.data, f->err);
    }
    return st;
}

void vw_moe_learn(forward *f, const moe_work *m, const vw_param *scales,
                  const vw_gemm_weight *const *w, vw_tensor dy, vw_tensor x, const vw_tensor *dw)
{
    size_t mark = f->arena_used;
    vw_engine *e = f->engine;
    const gemm_plan *p = dw[0].data ? plan_group(f, m, VW_GEMM_WGRAD, 1, w, VW_GEMM_ADD) : NULL;
    vw_groups groups = groups_of(m);
    if (!p)
        return;
    x = vw_scaled(f, scales, VW_OPERAND_INPUT, x);
    dy = vw_scaled(f, scales, VW_OPERAND_GRADIENT, dy);
    f->arena_used = mark;
    if (!vw_runs(f))
        return;
    vw_status st = e->mm->run_grouped_wgrad(e->gemm->self, &p->plan, e->stream, dy, x, &groups, dw,
                                            e->workspace.data, f->err);
    if (st == VW_E_UNSUPPORTED && (e->device_info.flags & VW_DEVICE_HOST_VISIBLE))
        st = learn_one_by_one(f, m, p, dy, x, dw);
    vw_check(f, st);
}
