/* nn_moe_adapt.c - adapters of experts: y += scale B A dropout(x), by groups. */
#include "core/nn_moe.h"

bool vw_moe_is_adapted(const moe_work *m, int matrix)
{
    return m->experts->adapters[matrix].first != NULL;
}

static bool drops_inputs(const forward *f, const expert_adapters *a)
{
    return f->lesson && f->lesson->drops && a->first->dropout > 0;
}

static void drop_rows(forward *f, const moe_work *m, int matrix, vw_tensor x, vw_tensor y)
{
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->dropout(e->device->self, e->stream,
                                    m->experts->adapters[matrix].first->dropout, f->lesson->seed,
                                    m->stream + (uint64_t)matrix, x, y, f->err));
}

/* x as the adapter sees it, in scratch if it is another. */
static vw_tensor adapter_input(forward *f, const moe_work *m, int matrix, vw_tensor x)
{
    if (!drops_inputs(f, &m->experts->adapters[matrix]))
        return x;
    vw_tensor y = vw_scratch(f, x.shape[0], x.shape[1]);
    drop_rows(f, m, matrix, x, y);
    return y;
}

static void scale_rows(forward *f, float a, vw_tensor x)
{
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->axpby(e->device->self, e->stream, a, x, 0, x, f->err));
}

static vw_tensor adapter_low(forward *f, const moe_work *m, const expert_adapters *a, vw_tensor x)
{
    vw_tensor low = vw_scratch(f, m->slots, a->first->down->spec->rows);
    vw_moe_multiply(f, m, a->first->down, VW_GEMM_FORWARD, 1, a->down, VW_GEMM_STORE, x, &low);
    scale_rows(f, a->first->scale, low);
    return low;
}

void vw_moe_adapt(forward *f, const moe_work *m, int matrix, vw_tensor x, vw_tensor y)
{
    const expert_adapters *a = &m->experts->adapters[matrix];
    if (!a->first)
        return;
    size_t mark = f->arena_used;
    vw_tensor low = adapter_low(f, m, a, adapter_input(f, m, matrix, x));
    vw_moe_multiply(f, m, a->first->up, VW_GEMM_FORWARD, 1, a->up, VW_GEMM_ADD, low, &y);
    f->arena_used = mark;
}

void vw_moe_adapt_backward(forward *f, const moe_work *m, int matrix, vw_tensor x, vw_tensor dy,
                           vw_tensor dx)
{
    const expert_adapters *a = &m->experts->adapters[matrix];
    vw_engine *e = f->engine;
    if (!a->first)
        return;
    size_t mark = f->arena_used;
    vw_tensor in = adapter_input(f, m, matrix, x), low = adapter_low(f, m, a, in);
    vw_moe_learn(f, m, a->first->up, a->up, dy, low, a->d_up);
    vw_moe_multiply(f, m, a->first->up, VW_GEMM_DGRAD, 1, a->up, VW_GEMM_STORE, dy, &low);
    scale_rows(f, a->first->scale, low);
    vw_moe_learn(f, m, a->first->down, a->down, low, in, a->d_down);
    if (dx.data && !drops_inputs(f, a)) {
        vw_moe_multiply(f, m, a->first->down, VW_GEMM_DGRAD, 1, a->down, VW_GEMM_ADD, low, &dx);
    } else if (dx.data) {
        vw_moe_multiply(f, m, a->first->down, VW_GEMM_DGRAD, 1, a->down, VW_GEMM_STORE, low, &in);
        drop_rows(f, m, matrix, in, in);
        if (vw_runs(f))
            vw_check(f, e->dev->axpby(e->device->self, e->stream, 1, in, 1, dx, f->err));
    }
    f->arena_used = mark;
}
