/* attention-case.c - batches, caches, and how far a result is from the formula.
 *
 * Expected values are those of kernels/ref/attention.h on the values as the cache's dtype rounds
 * them.  The bounds are the specification's B32: 1 - cos < 1e-11, each element within 5e-4 of the
 * root mean square, lse within 2e-5.
 */
#include "t/attention-case.h"

#include "kernels/ref/attention.h"
#include "kernels/ref/quant.h"
#include "t/tap/tap.h"

#include <stdlib.h>
#include <string.h>

enum { NOWHERE = 2147480000, UNTOUCHED = 0xA5 /* each byte of what run must not write */ };

static vw_error err;

/* ---- fixtures -------------------------------------------------------------------------------- */

static uint64_t random_state = 7;

float uniform(float low, float high)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (float)(random_state >> 40) * 0x1p-24f;
}

float *random_rows(int64_t rows, int64_t width)
{
    float *x = malloc((size_t)(rows * width + 1) * sizeof *x);
    for (int64_t i = 0; i < rows * width; i++)
        x[i] = uniform(-1.7f, 1.7f);
    return x;
}

fixture make_fixture(shape s, int n_sequences, const int *n, const int *S)
{
    fixture f = {.s = s, .scale = 1.0f / sqrtf((float)s.dk), .n_sequences = n_sequences};
    for (int b = 0; b < n_sequences; b++) {
        f.n[b] = n[b], f.S[b] = S[b];
        f.q[b] = random_rows(n[b], s.q_heads * s.dk);
        f.k[b] = random_rows(S[b], s.k_heads * s.dk);
        f.v[b] = random_rows(S[b], s.k_heads * s.dv);
        f.n_queries += n[b];
        f.max_keys = S[b] > f.max_keys ? S[b] : f.max_keys;
    }
    f.out = malloc((size_t)(f.n_queries * s.q_heads * s.dv + 1) * sizeof(float));
    f.lse = malloc((size_t)(f.n_queries * s.q_heads + 1) * sizeof(float));
    return f;
}

void free_fixture(fixture *f)
{
    for (int b = 0; b < f->n_sequences; b++)
        free(f->q[b]), free(f->k[b]), free(f->v[b]);
    free(f->out), free(f->lse);
}

vw_attention_problem problem_of(const fixture *f)
{
    const shape *s = &f->s;
    vw_attention_problem p = {
        .size = sizeof p,
        .q_heads = s->q_heads,
        .k_heads = s->k_heads,
        .dk = s->dk,
        .dv = s->dv,
        .is_causal = s->is_causal,
        .window = s->window,
        .scale = f->scale,
        .cap = s->cap,
        .is_latent = s->is_latent,
        .q_dtype = VW_F32,
        .kv_dtype = s->dtype,
        .page_tokens = s->page,
        .max_sequences = f->n_sequences + 1,
        .max_keys = f->max_keys + 1,
    };
    for (int b = 0; b < f->n_sequences; b++)
        p.max_queries += f->n[b] > f->S[b] ? f->n[b] : f->S[b];
    return p;
}

static char *aligned(size_t bytes, int fill, char **base)
{
    *base = malloc(bytes + 512);
    memset(*base, fill, bytes + 512);
    return *base + (256 - (uintptr_t)*base % 256);
}

cache make_cache(const bench *b, const fixture *f)
{
    cache c = {0};
    vw_attention_problem p = problem_of(f);
    int pages = 0;
    if (b->ops->plan(b->self, &p, &c.plan, &err) != VW_OK)
        bail_out("%s: plan: %s", b->name, err.text);
    c.stride = f->max_keys / f->s.page + 3;
    c.table = malloc((size_t)(c.stride * (f->n_sequences + 1)) * sizeof *c.table);
    for (int64_t i = 0; i < c.stride * f->n_sequences; i++)
        c.table[i] = NOWHERE;
    for (int s = 0; s < f->n_sequences; s++)
        for (int i = 0; i < (f->S[s] + f->s.page - 1) / f->s.page; i++)
            c.table[s * c.stride + i] = pages++;
    for (int i = pages * 7; i > 0 && pages > 1; i--) { /* swap the numbers of two pages */
        int32_t *at[2] = {NULL, NULL}, which[2] = {(int)uniform(0, (float)pages - 0.01f),
                                                   (int)uniform(0, (float)pages - 0.01f)};
        for (int64_t j = 0; j < c.stride * f->n_sequences; j++)
            for (int w = 0; w < 2; w++)
                if (c.table[j] == which[w])
                    at[w] = &c.table[j];
        *at[0] = which[1], *at[1] = which[0];
        if (pages > 40)
            i -= 6;
    }
    c.pages = aligned((size_t)pages * c.plan.page_bytes, 0xFF, &c.pages_base);
    c.workspace = aligned(c.plan.workspace_bytes, 0xA5, &c.workspace_base);
    return c;
}

void free_cache(const bench *b, cache *c)
{
    b->ops->plan_free(b->self, &c->plan);
    free(c->pages_base), free(c->workspace_base), free(c->table);
}

void set_batch(const fixture *f, cache *c, const int *from, const int *to)
{
    int64_t n = 0, most = 0;
    for (int s = 0; s < f->n_sequences; s++) {
        c->start[s] = (int32_t)n;
        c->n_keys[s] = to[s];
        n += to[s] - from[s];
        most = to[s] - from[s] > most ? to[s] - from[s] : most;
    }
    c->start[f->n_sequences] = (int32_t)n;
    c->batch = (vw_attention_batch){f->n_sequences, n,         c->start,    c->n_keys,
                                    c->table,       c->stride, f->max_keys, most};
}

bool append(const bench *b, const fixture *f, cache *c, const int *from, const int *to)
{
    int64_t wk = (int64_t)f->s.k_heads * f->s.dk, wv = (int64_t)f->s.k_heads * f->s.dv;
    set_batch(f, c, from, to);
    int64_t n = c->batch.n_queries;
    float *k = malloc((size_t)(n * (wk + 3) + 1) * sizeof *k),
          *v = malloc((size_t)(n * wv + 1) * 4);
    for (int s = 0; s < f->n_sequences; s++)
        for (int i = from[s]; i < to[s]; i++) {
            int64_t row = c->start[s] + i - from[s];
            memcpy(k + row * (wk + 3), f->k[s] + i * wk, (size_t)wk * 4);
            memcpy(v + row * wv, f->v[s] + i * wv, (size_t)wv * 4);
        }
    vw_tensor tk = vw_tensor_2d(k, VW_F32, n, wk), tv = vw_tensor_2d(v, VW_F32, n, wv);
    tk.stride[0] = wk + 3;
    bool is_good =
        !b->ops->append(b->self, &c->plan, NULL, &c->batch, tk, tv, c->pages, c->workspace, &err);
    if (!is_good)
        ok(0, "%s: append: %s", b->name, err.text);
    free(k), free(v);
    return is_good;
}

/* The core may take back the pages that no query's window reaches any more. */
static void drop_old_pages(const fixture *f, cache *c, const int *from)
{
    for (int s = 0; s < f->n_sequences && f->s.window > 0; s++) {
        int lowest = from[s] - f->s.window + 1;
        for (int page = 0; page < lowest / f->s.page; page++)
            c->table[s * c->stride + page] = NOWHERE;
    }
}

static int is_untouched(const float *x)
{
    const unsigned char *bytes = (const unsigned char *)x;
    return bytes[0] == UNTOUCHED && !memcmp(bytes, bytes + 1, 3);
}

bool attend(const bench *b, const fixture *f, cache *c, const int *first, const int *from,
            const int *to, float *out, float *lse)
{
    int64_t wq = (int64_t)f->s.q_heads * f->s.dk, wo = (int64_t)f->s.q_heads * f->s.dv, row = 0;
    drop_old_pages(f, c, from);
    set_batch(f, c, from, to);
    int64_t n = c->batch.n_queries;
    float *q = malloc((size_t)(n * (wq + 1) + 1) * 4), *o = malloc((size_t)(n * (wo + 5) + 1) * 4);
    float *l = malloc((size_t)(n * f->s.q_heads + 1) * 4);
    for (int s = 0; s < f->n_sequences; s++)
        for (int i = 0; i < to[s] - from[s]; i++)
            memcpy(q + (c->start[s] + i) * (wq + 1), f->q[s] + (first[s] + i) * wq, (size_t)wq * 4);
    vw_tensor tq = vw_tensor_2d(q, VW_F32, n, wq), to_ = vw_tensor_2d(o, VW_F32, n, wo);
    tq.stride[0] = wq + 1;
    to_.stride[0] = wo + 5;
    memset(o, UNTOUCHED, (size_t)(n * (wo + 5) + 1) * 4);
    memset(l, UNTOUCHED, (size_t)(n * f->s.q_heads + 1) * 4);
    long long allocs = b->mock->n_allocs;
    bool is_good =
        !b->ops->run(b->self, &c->plan, NULL, &c->batch, tq, c->pages, to_, l, c->workspace, &err);
    if (!is_good)
        ok(0, "%s: run: %s", b->name, err.text);
    bool is_frugal = b->mock->n_allocs == allocs;
    if (!is_frugal)
        ok(0, "%s: run allocates", b->name);
    bool is_inside = is_untouched(o + n * (wo + 5)) && is_untouched(l + n * f->s.q_heads);
    for (int64_t i = 0; i < n * 5; i++)
        is_inside = is_inside && is_untouched(o + i / 5 * (wo + 5) + wo + i % 5);
    if (!is_inside)
        ok(0, "%s: run writes outside the rows of out and lse", b->name);
    for (int s = 0; s < f->n_sequences; s++) {
        for (int i = 0; i < to[s] - from[s]; i++) {
            memcpy(out + (row + first[s] + i) * wo, o + (c->start[s] + i) * (wo + 5),
                   (size_t)wo * 4);
            memcpy(lse + (row + first[s] + i) * f->s.q_heads, l + (c->start[s] + i) * f->s.q_heads,
                   (size_t)f->s.q_heads * 4);
        }
        row += f->n[s];
    }
    free(q), free(o), free(l);
    return is_good && is_frugal && is_inside;
}

const int zeros[MAX_SEQUENCES];

bool attend_once(const bench *b, fixture *f)
{
    cache c = make_cache(b, f);
    int from[MAX_SEQUENCES];
    for (int s = 0; s < f->n_sequences; s++)
        from[s] = f->S[s] - f->n[s];
    bool is_good = append(b, f, &c, zeros, f->S) &&
                   attend(b, f, &c, zeros, from, f->S, f->out, f->lse);
    free_cache(b, &c);
    return is_good;
}

/* ---- expectation ----------------------------------------------------------------------------- */

/* A row as the cache keeps it: int8 has one scale a token and head. */
static void round_row(vw_dtype dtype, float *x, int64_t n)
{
    for (int64_t i = 0; i < n && dtype == VW_BF16; i++)
        x[i] = vw_bf16_to_f32(vw_f32_to_bf16(x[i]));
    for (int64_t i = 0; i < n && dtype == VW_F16; i++)
        x[i] = vw_f16_to_f32(vw_f32_to_f16(x[i]));
    if (dtype == VW_I8)
        vw_ref_round_int8(x, n);
}

typedef struct dense {
    const float *k, *v;
    int64_t k_stride, v_stride;
} dense;

static const float *dense_key(const void *from, int64_t j, float *space)
{
    (void)space;
    return ((const dense *)from)->k + j * ((const dense *)from)->k_stride;
}

static const float *dense_value(const void *from, int64_t j, float *space)
{
    (void)space;
    return ((const dense *)from)->v + j * ((const dense *)from)->v_stride;
}

void formula(const fixture *f, float *out, float *lse)
{
    const shape *s = &f->s;
    vw_ref_attention a = {s->dk, s->dv, s->is_causal, s->window, (double)f->scale, (double)s->cap};
    void *space = malloc(vw_ref_attend_space(&a, f->max_keys));
    int64_t row = 0, wk = (int64_t)s->k_heads * s->dk, wv = (int64_t)s->k_heads * s->dv;
    for (int b = 0; b < f->n_sequences; b++) {
        float *k = malloc((size_t)(f->S[b] * wk + 1) * 4),
              *v = malloc((size_t)(f->S[b] * wv + 1) * 4);
        memcpy(k, f->k[b], (size_t)(f->S[b] * wk) * 4);
        memcpy(v, f->v[b], (size_t)(f->S[b] * wv) * 4);
        for (int64_t i = 0; i < (int64_t)f->S[b] * s->k_heads; i++) {
            round_row(s->dtype, k + i * s->dk, s->dk);
            round_row(s->dtype, v + i * s->dv, s->dv);
        }
        for (int i = 0; i < f->n[b]; i++, row++)
            for (int h = 0; h < s->q_heads; h++) {
                int g = h / (s->q_heads / s->k_heads);
                dense from = {k + g * s->dk, s->is_latent ? k : v + g * s->dv, wk,
                              s->is_latent ? wk : wv};
                vw_ref_kv kv = {dense_key, dense_value, &from};
                lse[row * s->q_heads + h] = (float)vw_ref_attend(
                    &a, f->q[b] + (i * s->q_heads + h) * s->dk, i + f->S[b] - f->n[b], f->S[b], &kv,
                    out + (row * s->q_heads + h) * s->dv, space);
            }
        free(k), free(v);
    }
    free(space);
}

double distance(const float *got, const float *want, int64_t n, const float *lse,
                const float *want_lse, int64_t n_lse)
{
    double ab = 0, aa = 0, bb = 0, worst = 0, lse_worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)got[i], y = (double)want[i];
        ab += x * y, aa += x * x, bb += y * y;
        if (!(fabs(x - y) <= worst))
            worst = fabs(x - y);
    }
    for (int64_t i = 0; i < n_lse; i++)
        if (lse[i] != want_lse[i] && !(fabs((double)lse[i] - (double)want_lse[i]) <= lse_worst))
            lse_worst = fabs((double)lse[i] - (double)want_lse[i]);
    double rms = sqrt(bb / (n > 0 ? (double)n : 1)) + 1e-30;
    double cosine = aa + bb > 0 ? 1 - 2 * ab / (aa + bb) : 0;
    double result = fmax(worst / (5e-4 * rms), fmax(cosine / 1e-11, lse_worst / 2e-5));
    return worst == worst && lse_worst == lse_worst && cosine == cosine ? result : INFINITY;
}

double distance_of(const fixture *f, const float *out, const float *lse)
{
    int64_t n = f->n_queries * f->s.q_heads * f->s.dv, m = f->n_queries * f->s.q_heads;
    float *want = malloc((size_t)(n + 1) * 4), *want_lse = malloc((size_t)(m + 1) * 4);
    formula(f, want, want_lse);
    double d = distance(out, want, n, lse, want_lse, m);
    free(want), free(want_lse);
    return d;
}

/* ---- dense batches --------------------------------------------------------------------------- */

/* The sequences' rows, end to end. */
static float *end_to_end(const fixture *f, float *const *rows, int64_t width)
{
    float *all = malloc((size_t)(f->n_queries * width + 1) * sizeof *all), *to = all;
    for (int i = 0; i < f->n_sequences; i++) {
        memcpy(to, rows[i], (size_t)(f->n[i] * width) * sizeof *all);
        to += f->n[i] * width;
    }
    return all;
}

/* A tensor of gradients full of NaN: what backward does not write shows. */
static vw_tensor unwritten(float **data, int64_t rows, int64_t cols)
{
    *data = malloc((size_t)(rows * cols + 1) * sizeof **data);
    for (int64_t i = 0; i < rows * cols; i++)
        (*data)[i] = NAN;
    return vw_tensor_2d(*data, VW_F32, rows, cols);
}

void run_backward(const bench *b, fixture *f, const float *d_out, grads *g)
{
    const shape *s = &f->s;
    int64_t wq = (int64_t)s->q_heads * s->dk, wk = (int64_t)s->k_heads * s->dk;
    int64_t wv = (int64_t)s->k_heads * s->dv, wo = (int64_t)s->q_heads * s->dv, n = f->n_queries;
    float *q = end_to_end(f, f->q, wq), *k = end_to_end(f, f->k, wk), *v = end_to_end(f, f->v, wv);
    vw_attention_problem p = problem_of(f);
    vw_attention_plan plan;
    int32_t start[MAX_SEQUENCES + 1] = {0};
    char *workspace;
    p.is_dense = 1;
    for (int i = 0; i < f->n_sequences; i++)
        start[i + 1] = start[i] + f->n[i];
    vw_attention_batch batch = {.n_sequences = f->n_sequences, .n_queries = n,
                                .query_start = start, .max_queries_one = f->max_keys};
    vw_tensor tq = vw_tensor_2d(q, VW_F32, n, wq), tk = vw_tensor_2d(k, VW_F32, n, wk);
    vw_tensor tv = vw_tensor_2d(v, VW_F32, n, wv), to = vw_tensor_2d(f->out, VW_F32, n, wo);
    vw_tensor td = vw_tensor_2d((float *)(uintptr_t)d_out, VW_F32, n, wo);
    vw_tensor dq = unwritten(&g->dq, n, wq), dk = unwritten(&g->dk, n, wk);
    vw_tensor dv = unwritten(&g->dv, n, wv);
    ok(b->ops->plan(b->self, &p, &plan, &err) == VW_OK, "%s: a dense plan", b->name);
    workspace = aligned_alloc(256, (plan.workspace_bytes + 511) / 256 * 256);
    memset(workspace, 0x5A, (plan.workspace_bytes + 511) / 256 * 256);
    ok(b->ops->run_dense(b->self, &plan, NULL, &batch, tq, tk, tv, to, f->lse, workspace, &err) ==
           VW_OK, "%s: run_dense", b->name);
    ok(b->ops->backward(b->self, &plan, NULL, &batch, tq, tk, tv, to, f->lse, td, dq, dk, dv,
                        workspace, &err) == VW_OK, "%s: backward", b->name);
    is_int(workspace[plan.workspace_bytes], 0x5A, "%s: the workspace is enough", b->name);
    b->ops->plan_free(b->self, &plan);
    free(workspace), free(q), free(k), free(v);
}

void free_grads(grads *g)
{
    free(g->dq), free(g->dk), free(g->dv);
}
