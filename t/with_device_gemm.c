/* with_device_gemm.c - the gemm table that goes through a device. */
#include "t/with_device.h"

#include "t/tap/tap.h"

#include <string.h>

enum { MOST = 80 }; /* weights of a grouped product */

static const vw_gemm_ops *behind(const with_device *w)
{
    return w->ops;
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    with_device *w = self;
    return behind(w)->supports(w->self, p, err);
}

static vw_status pack_size(void *self, const vw_matrix *m, vw_gemm_format format, size_t *bytes,
                           uint32_t *layout, vw_error *err)
{
    with_device *w = self;
    return behind(w)->pack_size(w->self, m, format, bytes, layout, err);
}

static vw_status pack(void *self, const vw_matrix *m, vw_gemm_format format, int64_t first,
                      int64_t n, void *memory, vw_error *err)
{
    with_device *w = self;
    return behind(w)->pack(w->self, m, format, first, n, memory, err);
}

static vw_status make_plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    with_device *w = self;
    return behind(w)->plan(w->self, p, out, err);
}

static void plan_free(void *self, vw_gemm_plan *p)
{
    with_device *w = self;
    behind(w)->plan_free(w->self, p);
}

static vw_tensor lend_tensor(with_device *w, vw_tensor t, bool is_result)
{
    t.data = lend(w, t.data, vw_tensor_bytes(&t), is_result);
    return t;
}

static vw_gemm_weight lend_weight(with_device *w, const vw_gemm_weight *from)
{
    vw_gemm_weight to = *from;
    vw_matrix *m = &to.stored;
    vw_error err;
    size_t pack_bytes = 0;
    uint32_t layout;
    if (from->pack)
        behind(w)->pack_size(w->self, m, from->format, &pack_bytes, &layout, &err);
    to.pack = lend(w, from->pack, pack_bytes, false);
    m->data = lend(w, m->data,
                   (size_t)(m->rows * m->row_stride) * vw_dtype_bits(m->dtype) / 8, false);
    if (m->scales.rows > 0)
        m->scales.data = lend(w, m->scales.data,
                              (size_t)((m->rows + m->scales.rows - 1) / m->scales.rows *
                                       m->scales.row_stride) *
                                  vw_dtype_bits(m->scales.dtype) / 8, false);
    return to;
}

/* The weights of a call, on the device. */
typedef struct lent_weights {
    vw_gemm_weight weight[MOST];
    const vw_gemm_weight *list[MOST];
} lent_weights;

static void lend_weights(with_device *w, const vw_gemm_weight *const *from, int n,
                         lent_weights *to)
{
    if (n > MOST)
        bail_out("a test with %d weights", n);
    for (int i = 0; i < n; i++) {
        to->weight[i] = lend_weight(w, from[i]);
        to->list[i] = &to->weight[i];
    }
}

static void lend_results(with_device *w, const vw_gemm_problem *p, const vw_tensor *y,
                         vw_tensor *to)
{
    int n = p->epilogue == VW_GEMM_GATED ? 1 : p->n_weights;
    for (int i = 0; i < n; i++)
        to[i] = lend_tensor(w, y[i], true);
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    with_device *w = self;
    lent_weights on;
    vw_tensor to[VW_GEMM_MAX_WEIGHTS];
    (void)stream, (void)workspace;
    lend_weights(w, weights, p->problem.n_weights, &on);
    lend_results(w, &p->problem, y, to);
    vw_status s = behind(w)->run(w->self, p, w->stream, lend_tensor(w, x, false), on.list, to,
                                 lend_workspace(w, p->workspace_bytes), err);
    return give_back(w, s, err);
}

static size_t n_rows(const vw_groups *g, const vw_tensor *x)
{
    return (size_t)(g->form == VW_GROUP_ROW_IDS  ? x->shape[0]
                    : g->form == VW_GROUP_MASKED ? g->n_groups
                                                 : g->n_groups + 1);
}

static vw_status run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err)
{
    with_device *w = self;
    lent_weights on;
    vw_tensor to[VW_GEMM_MAX_WEIGHTS];
    vw_groups g = *groups;
    (void)stream, (void)workspace;
    lend_weights(w, weights, p->problem.n_weights * g.n_groups, &on);
    lend_results(w, &p->problem, y, to);
    g.rows = lend(w, g.rows, n_rows(groups, &x) * sizeof *g.rows, false);
    vw_status s = behind(w)->run_grouped(w->self, p, w->stream, lend_tensor(w, x, false), on.list,
                                         &g, to, lend_workspace(w, p->workspace_bytes), err);
    return give_back(w, s, err);
}

static vw_status run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                           vw_tensor x, vw_tensor dw, void *workspace, vw_error *err)
{
    with_device *w = self;
    (void)stream, (void)workspace;
    vw_status s = behind(w)->run_wgrad(w->self, p, w->stream, lend_tensor(w, dy, false),
                                       lend_tensor(w, x, false), lend_tensor(w, dw, true),
                                       lend_workspace(w, p->workspace_bytes), err);
    return give_back(w, s, err);
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *weight,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    with_device *w = self;
    vw_gemm_weight on = lend_weight(w, weight);
    (void)stream;
    vw_status s = behind(w)->gather(w->self, w->stream, &on,
                                    lend(w, rows, (size_t)y.shape[0] * sizeof *rows, false), scale,
                                    lend_tensor(w, y, true), err);
    return give_back(w, s, err);
}

void with_device_fill_gemm(with_device *w)
{
    const vw_gemm_ops *own = behind(w);
    w->gemm = (vw_gemm_ops){.size = sizeof w->gemm, .supports = supports, .pack_size = pack_size,
                            .pack = pack, .plan = make_plan, .plan_free = plan_free, .run = run,
                            .run_grouped = own->run_grouped ? run_grouped : NULL,
                            .run_wgrad = own->run_wgrad ? run_wgrad : NULL, .gather = gather};
}
