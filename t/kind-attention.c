/* kind-attention.c - conformance of the attention kind: every installed plugin against the formula.
 *
 * A fixture holds a batch: for each sequence its keys and values, of which the last n are this
 * call's. The cache is filled through append alone, into pages in shuffled order whose pool was
 * full of NaN, with table entries past the end that point nowhere.  Expected values are those of
 * kernels/ref/attention.h on the values as the cache's dtype rounds them; that formula in turn is
 * held against the vectors of the specification (section 15).  The bounds are the specification's
 * B32: 1 - cos < 1e-11, each element within 5e-4 of the root mean square, lse within 2e-5.
 */
#include "kernels/ref/attention.h"
#include "kernels/ref/quant.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/attention.h>

#include <stdlib.h>
#include <string.h>

enum { NOWHERE = 2147480000, MAX_SEQUENCES = 8 };

typedef struct bench {
    const char *name;
    const vw_attention_ops *ops;
    void *self;
    mock_host *mock;
} bench;

static vw_error err;

/* ---- fixtures -------------------------------------------------------------------------------- */

typedef struct shape {
    int q_heads, k_heads, dk, dv;
    int is_causal, window;
    float cap;
    vw_dtype dtype;
    int page;
    int is_latent;
} shape;

typedef struct fixture {
    shape s;
    float scale;
    int n_sequences;
    int n[MAX_SEQUENCES], S[MAX_SEQUENCES]; /* queries and keys of each */
    float *q[MAX_SEQUENCES], *k[MAX_SEQUENCES], *v[MAX_SEQUENCES];
    int64_t n_queries, max_keys;
    float *out, *lse; /* of the last run, rows of the batch end to end */
} fixture;

static uint64_t random_state = 7;

static float uniform(float low, float high)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (float)(random_state >> 40) * 0x1p-24f;
}

static float *random_rows(int64_t rows, int64_t width)
{
    float *x = malloc((size_t)(rows * width + 1) * sizeof *x);
    for (int64_t i = 0; i < rows * width; i++)
        x[i] = uniform(-1.7f, 1.7f);
    return x;
}

static fixture make_fixture(shape s, int n_sequences, const int *n, const int *S)
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

static void free_fixture(fixture *f)
{
    for (int b = 0; b < f->n_sequences; b++)
        free(f->q[b]), free(f->k[b]), free(f->v[b]);
    free(f->out), free(f->lse);
}

static vw_attention_problem problem_of(const fixture *f)
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

/* The pool, and everything that says which pages belong to whom. */
typedef struct cache {
    vw_attention_plan plan;
    char *pages, *pages_base, *workspace, *workspace_base;
    int32_t *table, start[MAX_SEQUENCES + 1], n_keys[MAX_SEQUENCES];
    int64_t stride;
    vw_attention_batch batch;
} cache;

static char *aligned(size_t bytes, int fill, char **base)
{
    *base = malloc(bytes + 512);
    memset(*base, fill, bytes + 512);
    return *base + (256 - (uintptr_t)*base % 256);
}

static cache make_cache(const bench *b, const fixture *f)
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

static void free_cache(const bench *b, cache *c)
{
    b->ops->plan_free(b->self, &c->plan);
    free(c->pages_base), free(c->workspace_base), free(c->table);
}

/* The batch in which each sequence has the queries [from[b], to[b]) of its keys. */
static void set_batch(const fixture *f, cache *c, const int *from, const int *to)
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

/* Append keys [from[b], to[b]) of every sequence. */
static void append(const bench *b, const fixture *f, cache *c, const int *from, const int *to)
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
    if (b->ops->append(b->self, &c->plan, NULL, &c->batch, tk, tv, c->pages, c->workspace, &err) !=
        VW_OK)
        ok(0, "%s: append: %s", b->name, err.text);
    free(k), free(v);
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

/* Attend with rows [from[b], from[b] + n) of q, which stand at the end of to[b] keys; the
 * results go to the same rows of out and lse. */
static void attend(const bench *b, const fixture *f, cache *c, const int *first, const int *from,
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
    long long allocs = b->mock->n_allocs;
    if (b->ops->run(b->self, &c->plan, NULL, &c->batch, tq, c->pages, to_, l, c->workspace, &err) !=
        VW_OK)
        ok(0, "%s: run: %s", b->name, err.text);
    if (b->mock->n_allocs != allocs)
        ok(0, "%s: run allocates", b->name);
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
}

static const int zeros[MAX_SEQUENCES];

/* Fill the cache in one call and attend with all queries in one. */
static void attend_once(const bench *b, fixture *f)
{
    cache c = make_cache(b, f);
    int from[MAX_SEQUENCES];
    for (int s = 0; s < f->n_sequences; s++)
        from[s] = f->S[s] - f->n[s];
    append(b, f, &c, zeros, f->S);
    attend(b, f, &c, zeros, from, f->S, f->out, f->lse);
    free_cache(b, &c);
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

/* Expected out and lse of the whole fixture. */
static void formula(const fixture *f, float *out, float *lse)
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

/* The worst of the three measures, each as a share of its bound: above 1 is a failure. */
static double distance(const float *got, const float *want, int64_t n, const float *lse,
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

static double distance_of(const fixture *f, const float *out, const float *lse)
{
    int64_t n = f->n_queries * f->s.q_heads * f->s.dv, m = f->n_queries * f->s.q_heads;
    float *want = malloc((size_t)(n + 1) * 4), *want_lse = malloc((size_t)(m + 1) * 4);
    formula(f, want, want_lse);
    double d = distance(out, want, n, lse, want_lse, m);
    free(want), free(want_lse);
    return d;
}

/* One fixture of one sequence, in one call, against the formula. */
static void check(const bench *b, shape s, int n, int S, const char *what)
{
    fixture f = make_fixture(s, 1, &n, &S);
    attend_once(b, &f);
    double d = distance_of(&f, f.out, f.lse);
    ok(d <= 1,
       "%s: %s: %d on %d, heads %d/%d, %d/%d, causal %d, window %d, cap %g, %s, pages of %d",
       b->name, what, n, S, s.q_heads, s.k_heads, s.dk, s.dv, s.is_causal, s.window, (double)s.cap,
       vw_dtype_name(s.dtype), s.page);
    if (!(d <= 1))
        diag("%g of the bound", d);
    free_fixture(&f);
}

/* ---- the vectors of the specification -------------------------------------------------------- */

typedef struct vector {
    const char *name;
    int n, S, q_heads, k_heads, dk, dv, is_causal, window;
    float cap;
    double out1, out2, dq1, dq2, dk1, dk2, dv1, dv2;
    double lse[4 * 6];
    double last[4];
} vector;

static const vector vectors[] = {
    {"A1",
     4,
     4,
     2,
     2,
     8,
     8,
     1,
     0,
     0,
     -2.51325780689,
     -3.47638363431,
     0.0953111532836,
     0.354318624871,
     0,
     -0.220983216871,
     0.875,
     2.11221108278,
     {0.8838834765, 0.03235541589, 1.256503083, 1.42566543, -0.7733980419, -0.3012217305,
      1.600427886, 1.533781087},
     {-0.659148819127, -0.284148819127, 0.0908511808731, 0.465851180873}},
    {"A2",
     3,
     7,
     4,
     2,
     8,
     8,
     1,
     0,
     0,
     0.0967438223703,
     1.96323452865,
     -0.258474961935,
     -3.13575140998,
     0,
     0.670397621087,
     -0.375,
     -0.967915950156,
     {1.839697434, 1.8368341, 2.2469869, 1.812981875, 2.408798568, 2.198603644, 1.756611698,
      2.044392839, 2.159126513, 1.522762557, 1.92012129, 1.90204584},
     {-0.264669165504, 0.110330834496, 0.356033714932, -0.0936607993097}},
    {"A3",
     5,
     7,
     4,
     2,
     8,
     8,
     1,
     3,
     0,
     1.52463570339,
     3.02504605576,
     -0.643504656939,
     -1.08888736779,
     0,
     2.3040796755,
     0.25,
     5.44003997149,
     {1.612467947,  1.357876706, 1.193846261, 1.194535574,  1.222805142, 1.132977609, 1.32670334,
      0.7769641356, 1.254557356, 1.446114721, 0.8915102731, 1.029816283, 1.132977609, 1.32670334,
      0.7769641356, 1.28907579,  1.452816615, 1.381961346,  1.300279493, 1.341701557},
     {0.175031680879, 0.550031680879, 0.400793961604, -0.824968319121}},
    {"A4",
     4,
     6,
     4,
     1,
     8,
     8,
     1,
     0,
     0.5f,
     -11.819326235,
     -42.3982299288,
     -0.161836960597,
     -1.05893763608,
     -0.0250346243275,
     -0.153021230719,
     0,
     1.20037662281,
     {1.381539157, 1.439648251, 1.834574296, 1.86804538, 1.088195512, 1.634328942, 1.696355229,
      1.845580073, 1.281910449, 1.419666562, 1.687957664, 2.000086133, 0.803132267, 1.572863461,
      1.586553819, 1.834017403},
     {-0.351527904314, 0.0234720956856, 0.398472095686, 0.0273541830925}},
    {"A5",
     6,
     9,
     4,
     2,
     8,
     8,
     1,
     4,
     0.75f,
     1.59762302337,
     17.9278940662,
     -0.358850978854,
     -2.30073723824,
     -0.0662002088768,
     1.87989097197,
     0.375,
     4.98534924525,
     {1.643819755, 1.676645247, 1.651479524, 1.448777585, 1.623052769, 1.566457082,
      1.356203998, 1.430185776, 1.063235208, 1.650717332, 1.451616353, 1.642148266,
      1.364540362, 1.431110138, 1.356203998, 1.430185776, 1.063235208, 1.650717332,
      1.389377949, 1.545743417, 1.451145253, 1.653519555, 1.401572335, 1.526653481},
     {0.683775531604, -0.00951257462537, -0.372103603555, -0.316224468396}},
    {"A7",
     5,
     2,
     2,
     1,
     8,
     8,
     1,
     0,
     0,
     -7.08513419275,
     -11.8261047616,
     0.00154319969146,
     0.836119323402,
     0,
     0.534779286793,
     -0.375,
     2.90381771334,
     {INFINITY, INFINITY, INFINITY, -0.3535533906, 0.966436211, INFINITY, INFINITY, INFINITY,
      -0.9059805634, 1.168295583},
     {-0.956112626247, -0.581112626247, -0.206112626247, 0.168887373753}},
    {"A8",
     3,
     5,
     2,
     2,
     12,
     8,
     0,
     0,
     0,
     -0.315508370415,
     2.6018860284,
     0.0765491292014,
     0.980834926593,
     0,
     -0.0249113509026,
     0.75,
     4.10488446115,
     {1.899190754, 1.715125041, 1.914756439, 1.823750028, 1.459155558, 1.911657534},
     {-0.568538610749, -0.193538610749, 0.181461389251, 0.338149063509}},
};

/* ((a i + b h + c d) mod m - half) / div over [rows, heads, width], the first row being `first`. */
static void fill_pattern(float *x, int rows, int heads, int width, int a, int b, int c, int m,
                         int half, float div, int first)
{
    for (int i = 0; i < rows; i++)
        for (int h = 0; h < heads; h++)
            for (int d = 0; d < width; d++)
                *x++ = i < first ? 0 : (float)((a * (i - first) + b * h + c * d) % m - half) / div;
}

/* Both sums of a tensor, to 1e-6 of the sum of its terms' sizes. */
static void check_sums(const bench *b, const char *what, const float *x, int64_t n, double s1,
                       double s2)
{
    double sum1 = 0, sum2 = 0, size1 = 1, size2 = 1;
    for (int64_t i = 0; i < n; i++) {
        double weight = (double)(i % 7 + 1);
        sum1 += (double)x[i], sum2 += weight * (double)x[i];
        size1 += fabs((double)x[i]), size2 += weight * fabs((double)x[i]);
    }
    near(sum1, s1, 1e-6 * size1, "%s: %s, sum", b->name, what);
    near(sum2, s2, 1e-6 * size2, "%s: %s, weighted sum", b->name, what);
}

static fixture vector_fixture(const vector *t, int page)
{
    shape s = {t->q_heads, t->k_heads, t->dk,  t->dv, t->is_causal,
               t->window,  t->cap,     VW_F32, page,  0};
    fixture f = make_fixture(s, 1, &t->n, &t->S);
    fill_pattern(f.q[0], t->n, t->q_heads, t->dk, 3, 5, 7, 11, 5, 4, 0);
    fill_pattern(f.k[0], t->S, t->k_heads, t->dk, 5, 3, 2, 13, 6, 4, 0);
    fill_pattern(f.v[0], t->S, t->k_heads, t->dv, 2, 7, 3, 17, 8, 8, 0);
    return f;
}

static void test_vectors(const bench *b)
{
    static const int pages[] = {1, 3, 16, 64};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
            const vector *t = &vectors[i];
            fixture f = vector_fixture(t, pages[p]);
            double worst = 0;
            attend_once(b, &f);
            check_sums(b, t->name, f.out, (int64_t)t->n * t->q_heads * t->dv, t->out1, t->out2);
            for (int h = 0; h < t->q_heads; h++)
                for (int row = 0; row < t->n; row++) {
                    double want = t->lse[h * t->n + row];
                    double got = (double)f.lse[row * t->q_heads + h];
                    worst = got == want ? worst : fmax(worst, fabs(got - want));
                }
            near(worst, 0, 1e-6, "%s: %s, lse, pages of %d", b->name, t->name, pages[p]);
            for (int d = 0; d < 4; d++)
                near(f.out[(t->n - 1) * t->q_heads * t->dv + d], t->last[d], 1e-6,
                     "%s: %s, last row", b->name, t->name);
            free_fixture(&f);
        }
}

/* ---- grids ----------------------------------------------------------------------------------- */

static void test_grid(const bench *b)
{
    static const int pairs[][2] = {{113, 203}, {1, 217}, {70, 70}, {5, 2}, {65, 129}, {128, 64}};
    static const int heads[][2] = {{1, 1}, {6, 2}, {8, 1}, {3, 3}};
    static const int sizes[][2] = {{32, 32},   {40, 40},   {59, 59},   {64, 64},   {96, 96},
                                   {111, 111}, {128, 128}, {192, 128}, {256, 256}, {1, 3}};
    int turn = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof pairs / sizeof *pairs; j++, turn++) {
            const int *h = heads[turn % 4];
            shape s = {h[0], h[1], sizes[i][0], sizes[i][1], turn % 3 != 0, 0, 0, VW_F32, 64, 0};
            check(b, s, pairs[j][0], pairs[j][1], "grid");
        }
    shape many = {48, 8, 64, 64, 1, 0, 0, VW_F32, 64, 0};
    check(b, many, 17, 77, "grid");
    shape large = {8, 1, 256, 256, 1, 0, 0, VW_F32, 64, 0};
    check(b, large, 257, 513, "grid");
    shape deep = {2, 1, 64, 64, 1, 0, 0, VW_F32, 64, 0};
    check(b, deep, 3, 1700, "several chunks");
    check(b, deep, 1, 4096, "several chunks");
    check(b, deep, 700, 1200, "several chunks");
}

static void test_windows_and_caps(const bench *b)
{
    static const int windows[] = {1, 2, 63, 64, 65, 128, 203, 1000};
    static const float caps[] = {0.5f, 30, 50};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        shape s = {4, 2, 32, 32, 1, windows[i], 0, VW_F32, 64, 0};
        check(b, s, 113, 203, "window");
        s.is_causal = 0;
        check(b, s, 113, 203, "window");
        s.page = 3;
        check(b, s, 1, 203, "window");
        s.is_causal = 1, s.page = 16;
        check(b, s, 20, 203, "window");
    }
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        shape s = {4, 2, 40, 40, 1, 0, caps[i], VW_F32, 64, 0};
        check(b, s, 70, 131, "cap");
        s.window = 33;
        check(b, s, 70, 131, "cap and window");
    }
    shape chunks = {2, 2, 32, 32, 1, 600, 20, VW_F32, 16, 0};
    check(b, chunks, 40, 1300, "window over chunks");
}

static void test_dtypes(const bench *b)
{
    static const vw_dtype types[] = {VW_BF16, VW_F16, VW_I8, VW_F32};
    static const int pages[] = {1, 3, 16, 61, 64, 128};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
            shape s = {6, 2, 40, 24, 1, 0, 0, types[t], pages[p], 0};
            check(b, s, 19, 83, "cache");
            check(b, s, 1, 150, "cache");
        }
}

static void test_latent(const bench *b)
{
    static const vw_dtype types[] = {VW_F32, VW_BF16, VW_F16, VW_I8};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        shape s = {16, 1, 72, 64, 1, 0, 0, types[t], 64, 1};
        check(b, s, 4, 131, "latent");
        s.page = 3;
        check(b, s, 2, 50, "latent");
    }
    shape full = {16, 1, 576, 512, 1, 0, 0, VW_F32, 64, 1};
    check(b, full, 2, 600, "latent");
}

/* ---- what must not matter -------------------------------------------------------------------- */

/* Two runs of equal data give equal bits. */
static void same(const bench *b, const fixture *f, const float *out, const float *lse,
                 const char *what)
{
    is_mem(out, f->out, (size_t)(f->n_queries * f->s.q_heads * f->s.dv) * 4, "%s: %s", b->name,
           what);
    is_mem(lse, f->lse, (size_t)(f->n_queries * f->s.q_heads) * 4, "%s: %s, lse", b->name, what);
}

static void test_pages(const bench *b)
{
    static const int pages[] = {1, 16, 61, 256}, n = 9, S = 300;
    shape s = {4, 2, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    float *out = f.out, *lse = f.lse;
    attend_once(b, &f);
    f.out = malloc((size_t)(n * 160) * 4), f.lse = malloc((size_t)(n * 4) * 4);
    for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
        f.s.page = pages[p];
        attend_once(b, &f);
        same(b, &f, out, lse, "another page size changes no bit");
    }
    free(out), free(lse);
    free_fixture(&f);
}

/* All tokens at once, in pieces, and one by one. */
static void test_pieces(const bench *b, shape s, int S)
{
    static const char *const names[] = {"in pieces", "one by one"};
    fixture f = make_fixture(s, 1, &S, &S);
    attend_once(b, &f);
    for (int way = 0; way < 2; way++) {
        cache c = make_cache(b, &f);
        memset(f.out, 0xFF, (size_t)(S * s.q_heads * s.dv) * 4);
        for (int from = 0, to; from < S; from = to) {
            int piece = way ? 1 : from == 0 ? 100 : 28;
            to = from + piece < S ? from + piece : S;
            append(b, &f, &c, &from, &to);
            attend(b, &f, &c, &from, &from, &to, f.out, f.lse);
        }
        double d = distance_of(&f, f.out, f.lse);
        ok(d <= 1, "%s: %d tokens %s, window %d, cap %g", b->name, S, names[way], s.window,
           (double)s.cap);
        free_cache(b, &c);
    }
    free_fixture(&f);
}

/* A batch of different lengths; then each sequence alone, which must give the same bits; then the
 * batch with more threads, parts in reverse. */
static void test_batch(const bench *b)
{
    static const int n[] = {0, 1, 17, 1, 64, 3, 1}, S[] = {5, 1, 17, 1100, 130, 0, 700};
    enum { B = 7 };
    shape s = {4, 2, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, B, n, S);
    int64_t row = 0;
    attend_once(b, &f);
    ok(distance_of(&f, f.out, f.lse) <= 1, "%s: a batch of %d lengths", b->name, B);
    for (int i = 0; i < B; i++) {
        fixture one = make_fixture(s, 1, &n[i], &S[i]);
        memcpy(one.q[0], f.q[i], (size_t)(n[i] * 160) * 4);
        memcpy(one.k[0], f.k[i], (size_t)(S[i] * 80) * 4);
        memcpy(one.v[0], f.v[i], (size_t)(S[i] * 80) * 4);
        attend_once(b, &one);
        same(b, &one, f.out + row * 160, f.lse + row * 4, "alone as in the batch");
        row += n[i];
        free_fixture(&one);
    }
    float *out = f.out, *lse = f.lse;
    f.out = malloc((size_t)(row * 160) * 4), f.lse = malloc((size_t)(row * 4) * 4);
    for (int threads = 2; threads <= 5; threads += 3) {
        b->mock->n_threads = threads;
        b->mock->is_backwards = threads == 5;
        attend_once(b, &f);
        same(b, &f, out, lse, "threads change no bit");
    }
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
    free(out), free(lse);
    free_fixture(&f);
}

/* The last key is NaN: only rows that see it may know.  Then unused memory full of NaN, which
 * make_cache() always gives, was already in every other test. */
static void test_hidden(const bench *b)
{
    static const int n = 30, S = 130;
    shape s = {3, 3, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    float *out = f.out, *lse = f.lse;
    attend_once(b, &f);
    f.out = malloc((size_t)(n * 120) * 4), f.lse = malloc((size_t)(n * 3) * 4);
    for (int i = 0; i < 120; i++)
        f.k[0][(S - 1) * 120 + i] = f.v[0][(S - 1) * 120 + i] = NAN;
    attend_once(b, &f);
    is_mem(f.out, out, (size_t)((n - 1) * 120) * 4, "%s: a NaN key leaks into no earlier row",
           b->name);
    ok(f.out[n * 120 - 1] != f.out[n * 120 - 1], "%s: and shows in its own", b->name);
    free(out), free(lse);
    free_fixture(&f);
}

static void test_nothing(const bench *b)
{
    static const int n = 0, S = 0;
    shape s = {2, 1, 8, 8, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    attend_once(b, &f);
    ok(1, "%s: no tokens", b->name);
    f.n_sequences = 0;
    attend_once(b, &f);
    ok(1, "%s: no sequences", b->name);
    f.n_sequences = 1;
    free_fixture(&f);
}

static void test_refusals(const bench *b)
{
    static const int n = 2, S = 4;
    shape good = {4, 2, 8, 8, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(good, 1, &n, &S);
    vw_attention_problem p = problem_of(&f), bad;
    vw_attention_plan plan = {0};
    is_int(b->ops->supports(b->self, &p, &err), VW_OK, "%s: supported", b->name);
    bad = p, bad.q_heads = 5;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: 5 on 2 heads", b->name);
    like(err.text, "5", "%s: %s", b->name, err.text);
    bad = p, bad.kv_dtype = VW_I32;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: int32", b->name);
    like(err.text, "int32", "%s: %s", b->name, err.text);
    bad = p, bad.dk = 0;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: no width", b->name);
    bad = p, bad.page_tokens = 0;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: no page", b->name);
    is_int(plan.state == NULL, 1, "%s: no plan was made", b->name);

    cache c = make_cache(b, &f);
    float out[64];
    memset(out, 0x11, sizeof out);
    set_batch(&f, &c, zeros, f.S);
    vw_tensor q = vw_tensor_2d(f.q[0], VW_F32, 2, 33), o = vw_tensor_2d(out, VW_F32, 2, 32);
    is_int(b->ops->run(b->self, &c.plan, NULL, &c.batch, q, c.pages, o, NULL, c.workspace, &err),
           VW_E_INVALID, "%s: a wrong q", b->name);
    float before[64];
    memset(before, 0x11, sizeof before);
    is_mem(out, before, sizeof out, "%s: out is untouched", b->name);
    free_cache(b, &c);
    free_fixture(&f);
}

/* The measure must see a zeroed tile, a swapped head and a shifted scale. */
static void test_detector(const bench *b)
{
    static const int n = 70, S = 140;
    shape s = {4, 2, 32, 32, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    int64_t size = (int64_t)n * 128;
    float *want = malloc((size_t)size * 4), *lse = malloc((size_t)n * 16);
    formula(&f, want, lse);
    memcpy(f.out, want, (size_t)size * 4);
    ok(distance(f.out, want, size, lse, lse, n * 4) <= 1, "%s: equal is near", b->name);
    f.out[size - 1] += 1e-3f;
    ok(distance(f.out, want, size, lse, lse, n * 4) > 1, "%s: one element shows", b->name);
    f.out[size - 1] = NAN;
    ok(distance(f.out, want, size, lse, lse, n * 4) > 1, "%s: one NaN shows", b->name);
    f.scale *= 1.0001f;
    formula(&f, f.out, f.lse);
    ok(distance(f.out, want, size, lse, lse, n * 4) > 1, "%s: a shifted scale shows", b->name);
    memcpy(f.out, want, (size_t)size * 4);
    memcpy(f.lse, lse, (size_t)n * 16);
    f.lse[3] += 3e-5f;
    ok(distance(f.out, want, size, f.lse, lse, n * 4) > 1, "%s: a shifted lse shows", b->name);
    free(want), free(lse);
    free_fixture(&f);
}

/* ---- dense forward and gradients ------------------------------------------------------------- */

typedef struct grads {
    float *d_out, *dq, *dk, *dv;
} grads;

/* Forward and backward of a fixture whose sequences are dense, rows end to end. */
static void run_backward(const bench *b, fixture *f, const float *d_out, grads *g)
{
    const shape *s = &f->s;
    int64_t wq = (int64_t)s->q_heads * s->dk, wk = (int64_t)s->k_heads * s->dk;
    int64_t wv = (int64_t)s->k_heads * s->dv, wo = (int64_t)s->q_heads * s->dv, n = f->n_queries;
    cache c = make_cache(b, f);
    float *q = malloc((size_t)(n * wq) * 4), *k = malloc((size_t)(n * wk) * 4),
          *v = malloc((size_t)(n * wv) * 4);
    set_batch(f, &c, zeros, f->S);
    for (int i = 0; i < f->n_sequences; i++) {
        memcpy(q + c.start[i] * wq, f->q[i], (size_t)(f->n[i] * wq) * 4);
        memcpy(k + c.start[i] * wk, f->k[i], (size_t)(f->n[i] * wk) * 4);
        memcpy(v + c.start[i] * wv, f->v[i], (size_t)(f->n[i] * wv) * 4);
    }
    *g = (grads){NULL, malloc((size_t)(n * wq) * 4), malloc((size_t)(n * wk) * 4),
                 malloc((size_t)(n * wv) * 4)};
    vw_tensor tq = vw_tensor_2d(q, VW_F32, n, wq), tk = vw_tensor_2d(k, VW_F32, n, wk);
    vw_tensor tv = vw_tensor_2d(v, VW_F32, n, wv), to = vw_tensor_2d(f->out, VW_F32, n, wo);
    vw_tensor td = vw_tensor_2d((float *)(uintptr_t)d_out, VW_F32, n, wo);
    ok(b->ops->run_dense(b->self, &c.plan, NULL, &c.batch, tq, tk, tv, to, f->lse, c.workspace,
                         &err) == VW_OK,
       "%s: run_dense", b->name);
    ok(b->ops->backward(b->self, &c.plan, NULL, &c.batch, tq, tk, tv, to, f->lse, td,
                        vw_tensor_2d(g->dq, VW_F32, n, wq), vw_tensor_2d(g->dk, VW_F32, n, wk),
                        vw_tensor_2d(g->dv, VW_F32, n, wv), c.workspace, &err) == VW_OK,
       "%s: backward", b->name);
    free(q), free(k), free(v);
    free_cache(b, &c);
}

static void free_grads(grads *g)
{
    free(g->dq), free(g->dk), free(g->dv);
}

/* The vectors as dense batches: S queries, the first of which have no gradient. */
static void test_gradient_vectors(const bench *b)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const vector *t = &vectors[i];
        if (t->n > t->S)
            continue;
        vector square = *t;
        square.n = t->S;
        fixture f = vector_fixture(&square, 64);
        int skip_rows = t->S - t->n;
        float d_out[9 * 4 * 8];
        grads g;
        fill_pattern(f.q[0], t->S, t->q_heads, t->dk, 3, 5, 7, 11, 5, 4, skip_rows);
        fill_pattern(d_out, t->S, t->q_heads, t->dv, 7, 2, 5, 9, 4, 8, skip_rows);
        run_backward(b, &f, d_out, &g);
        check_sums(b, t->name, f.out + skip_rows * t->q_heads * t->dv,
                   (int64_t)t->n * t->q_heads * t->dv, t->out1, t->out2);
        check_sums(b, "dQ", g.dq + skip_rows * t->q_heads * t->dk,
                   (int64_t)t->n * t->q_heads * t->dk, t->dq1, t->dq2);
        check_sums(b, "dK", g.dk, (int64_t)t->S * t->k_heads * t->dk, t->dk1, t->dk2);
        check_sums(b, "dV", g.dv, (int64_t)t->S * t->k_heads * t->dv, t->dv1, t->dv2);
        free_grads(&g);
        free_fixture(&f);
    }
}

/* loss = sum of d_out * out, by the formula. */
static double loss(const fixture *f, const float *d_out)
{
    int64_t n = f->n_queries * f->s.q_heads * f->s.dv;
    float *out = malloc((size_t)n * 4), *lse = malloc((size_t)(f->n_queries * f->s.q_heads) * 4);
    double sum = 0;
    formula(f, out, lse);
    for (int64_t i = 0; i < n; i++)
        sum += (double)d_out[i] * (double)out[i];
    free(out), free(lse);
    return sum;
}

/* The slope of the loss along a random direction against the gradient's share of it, for two
 * sequences in a batch with everything at once. */
static void test_gradient_slope(const bench *b, shape s)
{
    static const int n[] = {7, 12};
    const double step = 2e-3;
    fixture f = make_fixture(s, 2, n, n);
    int64_t widths[3] = {(int64_t)s.q_heads * s.dk, (int64_t)s.k_heads * s.dk,
                         (int64_t)s.k_heads * s.dv};
    float *d_out = random_rows(19, s.q_heads * s.dv);
    grads g;
    run_backward(b, &f, d_out, &g);
    for (int which = 0; which < 3; which++) {
        const float *grad = which == 0 ? g.dq : which == 1 ? g.dk : g.dv;
        double share = 0, slope = 0, size = 0;
        float *direction = random_rows(19, widths[which]);
        for (int64_t i = 0; i < 19 * widths[which]; i++) {
            share += (double)grad[i] * (double)direction[i];
            size += fabs((double)grad[i] * (double)direction[i]);
        }
        for (int sign = 1; sign >= -1; sign -= 2) {
            fixture moved = f;
            int64_t at = 0;
            for (int q = 0; q < 2; q++) {
                float **side = which == 0 ? moved.q : which == 1 ? moved.k : moved.v;
                float *x = malloc((size_t)(n[q] * widths[which]) * 4);
                for (int64_t i = 0; i < n[q] * widths[which]; i++, at++)
                    x[i] = side[q][i] + (float)(sign * step) * direction[at];
                side[q] = x;
            }
            slope += sign * loss(&moved, d_out) / (2 * step);
            for (int q = 0; q < 2; q++)
                free(which == 0 ? moved.q[q] : which == 1 ? moved.k[q] : moved.v[q]);
        }
        near(slope, share, 2e-4 * size, "%s: slope along %s, window %d, cap %g", b->name,
             which == 0   ? "q"
             : which == 1 ? "k"
                          : "v",
             s.window, (double)s.cap);
        free(direction);
    }
    free(d_out);
    free_grads(&g);
    free_fixture(&f);
}

static void test_gradients(const bench *b)
{
    if (!b->ops->backward || !b->ops->run_dense) {
        skip(1, "%s has no backward", b->name);
        return;
    }
    shape plain = {4, 4, 8, 8, 1, 0, 0, VW_F32, 64, 0},
          all = {4, 2, 12, 8, 1, 5, 1.5f, VW_F32, 64, 0};
    test_gradient_vectors(b);
    test_gradient_slope(b, plain);
    test_gradient_slope(b, all);
}

static void test_attention(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    bench b = {plugin->name, it.component.ops, it.component.self, &mock};
    test_detector(&b);
    test_vectors(&b);
    test_refusals(&b);
    test_nothing(&b);
    test_grid(&b);
    test_windows_and_caps(&b);
    test_dtypes(&b);
    test_latent(&b);
    test_pages(&b);
    shape pieces = {6, 2, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    test_pieces(&b, pieces, 129);
    pieces.window = 40, pieces.cap = 5, pieces.page = 16;
    test_pieces(&b, pieces, 129);
    test_batch(&b);
    test_hidden(&b);
    test_gradients(&b);
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_ATTENTION, test_attention, NULL) > 0, "there are attentions");
    return done_testing();
}
