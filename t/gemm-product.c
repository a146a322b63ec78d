/* gemm-product.c - binding weights, planning, running, judging. */
#include "t/gemm-product.h"
#include "t/tap/tap.h"

#include <stdlib.h>

bool must_do_all(const opened *o)
{
    return !strncmp(o->name, "ref", 3) || !strncmp(o->name, "cpu", 3);
}

int threads_of(const opened *o)
{
    return must_do_all(o) ? 3 : 1;
}

vw_status bind_weight(opened *o, const gemm_case *c, vw_gemm_weight *w, void **pack)
{
    vw_error err;
    size_t bytes;
    *pack = NULL;
    *w = (vw_gemm_weight){.stored = c->stored, .format = c->form->format};
    vw_status s = o->ops->pack_size(o->self, &c->stored, w->format, &bytes, &w->layout, &err);
    if (s != VW_OK || bytes == 0)
        return s;
    *pack = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    memset(*pack, 0x5A, bytes);
    for (int64_t i = 0; s == VW_OK && i < c->n; i += 64)
        s = o->ops->pack(o->self, &c->stored, w->format, i, c->n - i < 64 ? c->n - i : 64, *pack,
                         &err);
    w->pack = *pack;
    w->stored.data = NULL; /* the file's pages are gone */
    return s;
}

void product_free(opened *o, product *p)
{
    if (p->plan.problem.size && o->ops->plan_free)
        o->ops->plan_free(o->self, &p->plan);
    free(p->workspace);
    for (int i = 0; i < VW_GEMM_MAX_WEIGHTS; i++)
        free(p->pack[i]);
    memset(p, 0, sizeof *p);
}

bool product_make(opened *o, const gemm_case *const *cases, int n, vw_gemm_problem problem,
                  product *p)
{
    vw_error err = {.text = ""};
    memset(p, 0, sizeof *p);
    vw_status s = VW_OK;
    for (int i = 0; i < n && s == VW_OK; i++) {
        s = bind_weight(o, cases[i], &p->weight[i], &p->pack[i]);
        p->list[i] = problem.weights[i] = &p->weight[i];
    }
    problem.size = sizeof problem;
    problem.n_weights = n;
    problem.x_dtype = problem.y_dtype = VW_F32;
    p->problem = problem;
    if (s == VW_OK)
        s = o->ops->supports(o->self, &problem, &err);
    if (s == VW_OK)
        s = o->ops->plan(o->self, &problem, &p->plan, &err);
    if (s != VW_OK) {
        if (s != VW_E_UNSUPPORTED || (must_do_all(o) && problem.op == VW_GEMM_FORWARD))
            ok(0, "%s: plan for %s: %s", o->name, cases[0]->form->name, err.text);
        product_free(o, p);
        return false;
    }
    p->workspace = aligned_alloc(256, (p->plan.workspace_bytes + 256) / 256 * 256);
    return true;
}

bool product_make_one(opened *o, const gemm_case *c, int64_t max_m, product *p)
{
    return product_make(o, &c, 1, (vw_gemm_problem){.max_m = max_m}, p);
}

float *new_result(int64_t m, int64_t n)
{
    size_t count = (size_t)(m * (n + GUARD)) + GUARD;
    float *y = malloc(count * sizeof *y);
    for (size_t i = 0; i < count; i++)
        y[i] = 77.0f;
    return y;
}

bool is_guarded(const float *y, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int j = 0; j < GUARD; j++)
            if (y[i * (n + GUARD) + n + j] != 77.0f)
                return false;
    return true;
}

vw_tensor rows_of(float *data, int64_t m, int64_t n, int64_t stride)
{
    vw_tensor t = vw_tensor_2d(data, VW_F32, m, n);
    t.stride[0] = stride;
    return t;
}

float *product_run(opened *o, product *p, const gemm_case *c, int64_t m)
{
    vw_error err = {.text = ""};
    float *result = new_result(m, c->n);
    vw_tensor y = rows_of(result, m, c->n, c->n + GUARD);
    long long allocs = o->mock.n_allocs;
    vw_status s = o->ops->run(o->self, &p->plan, NULL, rows_of(c->x, m, c->k, c->k), p->list, &y,
                              p->workspace, &err);
    if (s == VW_OK && o->mock.n_allocs == allocs)
        return result;
    diag("%s: run: %s", o->name, s == VW_OK ? "it allocated" : err.text);
    free(result);
    return NULL;
}

bool product_is_right(opened *o, product *p, const gemm_case *c, int64_t m)
{
    float *y = product_run(o, p, c, m);
    const char *wrong = !y ? "it did not run" : case_wrong(c, y, c->n + GUARD, m);
    if (!wrong && !is_guarded(y, m, c->n))
        wrong = "something beside the result was written";
    if (wrong)
        diag("%s: %s, M %lld N %lld K %lld: %s", o->name, c->form->name, (long long)m,
             (long long)c->n, (long long)c->k, wrong);
    free(y);
    return !wrong;
}

void product_expect(opened *o, gemm_case *c)
{
    const case_form *f = c->form;
    vw_error err;
    size_t pack_bytes = 0;
    uint32_t layout;
    bool is_int8 = f->format != VW_GEMM_STORED || f->dtype == VW_I8;
    if (f->dtype == VW_BLOCK && !is_int8 && (o->rounding == CASE_INT7 || o->rounding == CASE_INT8)) {
        o->ops->pack_size(o->self, &c->stored, f->format, &pack_bytes, &layout, &err);
        c->x_group = 32;
    }
    if (o->rounding == CASE_WEIGHT || (o->rounding != CASE_EXACT && (is_int8 || pack_bytes)))
        case_expect(c, o->rounding);
}
