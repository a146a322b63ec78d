/* gemm-gradient.c - conformance of dgrad, wgrad and their groups: every installed gemm against sums in
 * double, at shapes around the edges of tiles, panels and blocks of K.
 *
 * An f32 sum of k products in any order differs from the exact one by at most (k + 2) 2^-24 sum |a b|
 * (Higham 2002, section 3.1): that, value by value, is the bound.
 */
#include "t/with_device.h"

#include "t/tap/tap.h"

#include <vishwamai/gemm.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

typedef struct bench {
    const char *name;
    const vw_gemm_ops *ops;
    void *self;
    mock_host *mock;
    bool may_refuse; /* groups that go backward */
} bench;

enum { PAD = 5 }; /* columns between the rows of everything, which nobody may change */

static uint64_t state = 1;

static float uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) * 0x1p-23f - 1;
}

/* A matrix with gaps between its rows; the gaps of results hold 77. */
static vw_tensor matrix(int64_t rows, int64_t cols)
{
    float *x = malloc((size_t)(rows * (cols + PAD) + 1) * sizeof *x);
    for (int64_t i = 0; i < rows * (cols + PAD); i++)
        x[i] = i % (cols + PAD) < cols ? uniform() : 77;
    vw_tensor t = vw_tensor_2d(x, VW_F32, rows, cols);
    t.stride[0] = cols + PAD;
    return t;
}

static vw_tensor copy_of(const vw_tensor *t)
{
    size_t bytes = (size_t)(t->shape[0] * t->stride[0] + 1) * sizeof(float);
    vw_tensor c = *t;
    c.data = memcpy(malloc(bytes), t->data, bytes);
    return c;
}

static float at(const vw_tensor *t, int64_t i, int64_t j)
{
    return ((const float *)t->data)[i * t->stride[0] + j];
}

static vw_gemm_weight weight_of(const vw_tensor *w)
{
    return (vw_gemm_weight){.stored = {.data = w->data, .dtype = VW_F32, .rows = w->shape[0],
                                       .cols = w->shape[1], .row_stride = w->stride[0]}};
}

/* ---- expectations ---------------------------------------------------------------------------- */

/* The largest error by its bound of c = before * is_add + sum of a(i, r) b(r, j): above 1 fails.
 * a is read across its rows or, if it is turned, down its columns. */
static double error_of(const vw_tensor *c, const vw_tensor *before, int is_add, const vw_tensor *a,
                       int is_turned, const vw_tensor *b, int64_t first, int64_t k)
{
    double worst = 0;
    for (int64_t i = 0; i < c->shape[0]; i++)
        for (int64_t j = 0; j < c->shape[1] + PAD; j++) {
            double sum = is_add ? (double)at(before, i, j) : 0, size = fabs(sum);
            if (j >= c->shape[1]) {
                worst = at(c, i, j) == 77 ? worst : INFINITY;
                continue;
            }
            for (int64_t r = first; r < first + k; r++) {
                double x = (double)(is_turned ? at(a, r, i) : at(a, i, r)) * (double)at(b, r, j);
                sum += x;
                size += fabs(x);
            }
            double e = fabs((double)at(c, i, j) - sum) / ((double)(k + 2) * 0x1p-24 * size + 1e-30);
            worst = e <= worst ? worst : e; /* a NaN stays */
        }
    return worst;
}

/* ---- one product ----------------------------------------------------------------------------- */

/* A plan with its workspace, or 0 where the plugin does not offer the product. */
typedef struct planned {
    vw_gemm_plan plan;
    void *workspace;
} planned;

static int make_rounding_plan(const bench *b, vw_gemm_op op, vw_gemm_epilogue epilogue,
                              int64_t max_m, const vw_gemm_weight *w, vw_gemm_rounding rounding,
                              planned *p)
{
    vw_gemm_problem problem = {.size = sizeof problem, .op = op, .max_m = max_m, .n_weights = 1,
                               .weights = {w}, .x_dtype = VW_F32, .y_dtype = VW_F32,
                               .epilogue = epilogue, .rounding = rounding};
    if (b->ops->plan(b->self, &problem, &p->plan, &err) != VW_OK)
        return 0;
    size_t bytes = (p->plan.workspace_bytes + 511) / 256 * 256;
    p->workspace = memset(aligned_alloc(256, bytes), 0x5A, bytes);
    return 1;
}

static int make_plan(const bench *b, vw_gemm_op op, vw_gemm_epilogue epilogue, int64_t max_m,
                     const vw_gemm_weight *w, planned *p)
{
    return make_rounding_plan(b, op, epilogue, max_m, w, VW_GEMM_ROUND_NONE, p);
}

static void drop_plan(const bench *b, planned *p)
{
    is_int(((char *)p->workspace)[p->plan.workspace_bytes], 0x5A, "%s: the workspace is enough",
           b->name);
    b->ops->plan_free(b->self, &p->plan);
    free(p->workspace);
}

/* dX[M,K] = dY[M,N] W, stored and added. */
static void test_dgrad(const bench *b, int64_t m, int64_t n, int64_t k)
{
    vw_tensor w = matrix(n, k), dy = matrix(m, n), dx = matrix(m, k), before = copy_of(&dx);
    vw_gemm_weight weight = weight_of(&w);
    const vw_gemm_weight *list = &weight;
    for (int is_add = 0; is_add < 2; is_add++) {
        planned p;
        memcpy(dx.data, before.data, (size_t)(m * dx.stride[0]) * sizeof(float));
        if (!make_plan(b, VW_GEMM_DGRAD, is_add ? VW_GEMM_ADD : VW_GEMM_STORE, m, list, &p)) {
            skip(1, "gemm/%s: %s", b->name, err.text);
            continue;
        }
        ok(b->ops->run(b->self, &p.plan, NULL, dy, &list, &dx, p.workspace, &err) == VW_OK &&
               error_of(&dx, &before, is_add, &dy, 0, &w, 0, n) <= 1,
           "%s: dX %s, M %d, N %d, K %d", b->name, is_add ? "added" : "stored", (int)m, (int)n,
           (int)k);
        drop_plan(b, &p);
    }
    free(w.data), free(dy.data), free(dx.data), free(before.data);
}

/* dW[N,K] = dY^T X, stored and added. */
static void test_wgrad(const bench *b, int64_t m, int64_t n, int64_t k)
{
    vw_tensor x = matrix(m, k), dy = matrix(m, n), dw = matrix(n, k), before = copy_of(&dw);
    vw_gemm_weight weight = weight_of(&dw);
    weight.stored.data = NULL;
    for (int is_add = 0; is_add < 2 && b->ops->run_wgrad; is_add++) {
        planned p;
        memcpy(dw.data, before.data, (size_t)(n * dw.stride[0]) * sizeof(float));
        if (!make_plan(b, VW_GEMM_WGRAD, is_add ? VW_GEMM_ADD : VW_GEMM_STORE, m, &weight, &p)) {
            skip(1, "gemm/%s: %s", b->name, err.text);
            continue;
        }
        ok(b->ops->run_wgrad(b->self, &p.plan, NULL, dy, x, dw, p.workspace, &err) == VW_OK &&
               error_of(&dw, &before, is_add, &dy, 1, &x, 0, m) <= 1,
           "%s: dW %s, M %d, N %d, K %d", b->name, is_add ? "added" : "stored", (int)m, (int)n,
           (int)k);
        drop_plan(b, &p);
    }
    free(x.data), free(dy.data), free(dw.data), free(before.data);
}

static void test_shapes(const bench *b)
{
    static const int64_t shapes[][3] = {
        {1, 1, 1},    {7, 5, 3},      {30, 50, 70},  {64, 65, 128}, {13, 400, 17}, {300, 40, 33},
        {2, 2100, 9}, {2050, 20, 18}, {270, 16, 96}, {0, 4, 5},     {33, 384, 64}, {6, 385, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        test_dgrad(b, shapes[i][0], shapes[i][1], shapes[i][2]);
        test_wgrad(b, shapes[i][0], shapes[i][1], shapes[i][2]);
    }
}

/* What is left of x in e4m3 with the scale amax / 448, in double by the definition of the format: 3
 * bits behind the point from 2^-6 to 448, a step of 2^-9 below.  Next to a tie the quotient's own
 * rounding decides: there it is formed as the kind's formula says (gemm.md section 4, form A). */
static double e4m3_by_definition(float x, float amax)
{
    double scale = (double)fmaxf(amax, 1e-4f) / 448, v = fabs((double)x) / scale;
    int exponent;
    frexp(v, &exponent);
    double step = ldexp(1, exponent - 1 > -6 ? exponent - 1 - 3 : -9), part = v / step;
    if (fabs(part - floor(part) - 0.5) < 1e-5) {
        float s = fmaxf(amax, 1e-4f) / 448, inverse = 1 / s;
        part = (double)vw_e4m3_to_f32(vw_f32_to_e4m3(fabsf(x) * inverse)) / step;
    }
    return copysign(fmin(rint(part) * step, 448) * scale, (double)x);
}

static void round_group(vw_tensor *t, int64_t i, int64_t j, int64_t rows, int64_t cols)
{
    float amax = 0;
    for (int64_t r = i; r < i + rows && r < t->shape[0]; r++)
        for (int64_t c = j; c < j + cols && c < t->shape[1]; c++)
            amax = fmaxf(amax, fabsf(at(t, r, c)));
    for (int64_t r = i; r < i + rows && r < t->shape[0]; r++)
        for (int64_t c = j; c < j + cols && c < t->shape[1]; c++) {
            float *x = (float *)t->data + r * t->stride[0] + c;
            *x = (float)e4m3_by_definition(*x, amax);
        }
}

/* A copy of a matrix whose values are those of the format, of e4m3 in groups of rows x cols. */
static vw_tensor rounded(const vw_tensor *t, vw_gemm_rounding rounding, int64_t rows, int64_t cols)
{
    vw_tensor c = copy_of(t);
    float *x = c.data;
    if (rounding == VW_GEMM_ROUND_E4M3) {
        for (int64_t i = 0; i < t->shape[0]; i += rows)
            for (int64_t j = 0; j < t->shape[1]; j += cols)
                round_group(&c, i, j, rows, cols);
        return c;
    }
    for (int64_t i = 0; i < t->shape[0] * t->stride[0]; i++)
        x[i] = rounding == VW_GEMM_ROUND_BF16 ? vw_bf16_to_f32(vw_f32_to_bf16(x[i]))
                                              : vw_f16_to_f32(vw_f32_to_f16(x[i]));
    return c;
}

static vw_tensor turned(const vw_tensor *t)
{
    vw_tensor c = matrix(t->shape[1], t->shape[0]);
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (int64_t j = 0; j < t->shape[1]; j++)
            ((float *)c.data)[j * c.stride[0] + i] = at(t, i, j);
    return c;
}

/* Magnitudes over many powers of two, so that one scale for all would lose most of them; some
 * groups are zeros. */
static void spread(vw_tensor *t)
{
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (int64_t j = 0; j < t->shape[1]; j++) {
            float *x = (float *)t->data + i * t->stride[0] + j;
            *x = i / 128 == 1 && j / 128 == 1 ? 0 : ldexpf(*x, (int)((i * 7 + j / 16) % 23) - 11);
        }
}

/* Products of rounded operands are the f32 products of what rounding leaves of them: within the
 * bound of the double sum of that, and beyond it of the exact operands'.  A dequantised value of
 * e4m3 is itself off by up to 4 roundings of f32 on either side: of the scale, of the product, of
 * the copy. */
static void test_rounding(const bench *b, vw_gemm_rounding rounding, int64_t m, int64_t n,
                          int64_t k)
{
    vw_tensor w = matrix(n, k), x = matrix(m, k), dy = matrix(m, n), y = matrix(m, n);
    vw_tensor dx = matrix(m, k), dw = matrix(n, k);
    int is_e4m3 = rounding == VW_GEMM_ROUND_E4M3;
    const char *how = is_e4m3 ? "e4m3" : rounding == VW_GEMM_ROUND_F16 ? "f16" : "bf16";
    double more = is_e4m3 ? 8 : 0;
    if (is_e4m3)
        spread(&w), spread(&x), spread(&dy);
    vw_tensor w_ = rounded(&w, rounding, 128, 128), wt = turned(&w), wt_ = turned(&w_);
    vw_tensor x_ = rounded(&x, rounding, 1, 128), dy_ = rounded(&dy, rounding, 1, 128);
    vw_tensor x_down = rounded(&x, rounding, 128, 1), dy_down = rounded(&dy, rounding, 128, 1);
    vw_gemm_weight weight = weight_of(&w);
    const vw_gemm_weight *list = &weight;
    planned p;
    if (!make_rounding_plan(b, VW_GEMM_FORWARD, VW_GEMM_STORE, m, list, rounding, &p)) {
        skip(1, "gemm/%s: %s", b->name, err.text);
    } else {
        ok(b->ops->run(b->self, &p.plan, NULL, x, &list, &y, p.workspace, &err) == VW_OK &&
               error_of(&y, &y, 0, &x_, 0, &wt_, 0, k) <= 1 + more / (double)(k + 2) &&
               error_of(&y, &y, 0, &x, 0, &wt, 0, k) > 2,
           "%s: forward of %d rows, rounded to %s", b->name, (int)m, how);
        drop_plan(b, &p);
        make_rounding_plan(b, VW_GEMM_DGRAD, VW_GEMM_STORE, m, list, rounding, &p);
        ok(b->ops->run(b->self, &p.plan, NULL, dy, &list, &dx, p.workspace, &err) == VW_OK &&
               error_of(&dx, &dx, 0, &dy_, 0, &w_, 0, n) <= 1 + more / (double)(n + 2),
           "%s: dX, rounded to %s", b->name, how);
        drop_plan(b, &p);
        make_rounding_plan(b, VW_GEMM_WGRAD, VW_GEMM_STORE, m, list, rounding, &p);
        ok(b->ops->run_wgrad(b->self, &p.plan, NULL, dy, x, dw, p.workspace, &err) == VW_OK &&
               error_of(&dw, &dw, 0, &dy_down, 1, &x_down, 0, m) <= 1 + more / (double)(m + 2),
           "%s: dW of %d rows, rounded to %s", b->name, (int)m, how);
        drop_plan(b, &p);
    }
    free(w.data), free(x.data), free(dy.data), free(y.data), free(dx.data), free(dw.data);
    free(wt.data), free(wt_.data), free(w_.data), free(x_.data), free(dy_.data);
    free(x_down.data), free(dy_down.data);
}

/* ---- groups ---------------------------------------------------------------------------------- */

enum { GROUPS = 6, ROWS = 130 };
static const int32_t offsets[GROUPS + 1] = {0, 3, 3, 50, 51, 120, 128}; /* two rows of no group */

static vw_tensor rows_of(const vw_tensor *t, int group)
{
    return vw_tensor_rows(*t, offsets[group], offsets[group + 1] - offsets[group]);
}

static int is_same(const vw_tensor *a, const vw_tensor *b)
{
    return !memcmp(a->data, b->data, (size_t)(a->shape[0] * a->stride[0]) * sizeof(float));
}

/* The weights of all groups, one matrix each. */
typedef struct experts {
    vw_tensor w[GROUPS];
    vw_gemm_weight weights[GROUPS];
    const vw_gemm_weight *list[GROUPS];
} experts;

static void make_experts(experts *e, int64_t n, int64_t k)
{
    for (int g = 0; g < GROUPS; g++) {
        e->w[g] = matrix(n, k);
        e->weights[g] = weight_of(&e->w[g]);
        e->list[g] = &e->weights[g];
    }
}

static void drop_experts(experts *e)
{
    for (int g = 0; g < GROUPS; g++)
        free(e->w[g].data);
}

static void set_threads(const bench *b, int threads)
{
    b->mock->n_threads = threads;
    b->mock->is_backwards = threads > 1;
}

/* Forward and dgrad of groups are those of each group alone, bit for bit; other rows stay.  Where a
 * plugin may refuse it says why and writes nothing. */
static void test_groups(const bench *b, vw_gemm_op op, vw_gemm_epilogue epilogue,
                        vw_gemm_rounding rounding, int64_t n, int64_t k)
{
    int is_back = op == VW_GEMM_DGRAD;
    vw_groups groups = {VW_GROUP_OFFSETS, GROUPS, offsets};
    experts e;
    planned p;
    if (!b->ops->run_grouped) {
        skip(1, "gemm/%s has no groups", b->name);
        return;
    }
    vw_tensor x = matrix(ROWS, is_back ? n : k), y = matrix(ROWS, is_back ? k : n);
    vw_tensor alone = copy_of(&y);
    make_experts(&e, n, k);
    for (int threads = 1; threads <= 3; threads++) {
        vw_tensor together = copy_of(&y);
        set_threads(b, threads);
        if (!make_rounding_plan(b, op, epilogue, ROWS, e.list[0], rounding, &p)) {
            skip(1, "gemm/%s: %s", b->name, err.text);
            free(together.data);
            break;
        }
        memcpy(alone.data, y.data, (size_t)(ROWS * y.stride[0]) * sizeof(float));
        for (int g = 0; g < GROUPS; g++) {
            vw_tensor part = rows_of(&alone, g);
            b->ops->run(b->self, &p.plan, NULL, rows_of(&x, g), &e.list[g], &part, p.workspace,
                        &err);
        }
        vw_status s = b->ops->run_grouped(b->self, &p.plan, NULL, x, e.list, &groups, &together,
                                          p.workspace, &err);
        if (s == VW_E_UNSUPPORTED && is_back && b->may_refuse)
            ok(is_same(&together, &y) && err.text[0], "%s: refused: %s", b->name, err.text);
        else
            ok(s == VW_OK && is_same(&together, &alone), "%s: groups %s%s as each alone, %d threads",
               b->name, is_back ? "back" : "forward", rounding ? ", rounded," : "", threads);
        drop_plan(b, &p);
        free(together.data);
    }
    set_threads(b, 1);
    drop_experts(&e);
    free(x.data), free(y.data), free(alone.data);
}

/* Weight gradients of groups: as run_wgrad of each; a group without rows has none. */
static void test_grouped_wgrad(const bench *b, vw_gemm_epilogue epilogue, vw_gemm_rounding rounding,
                               int64_t n, int64_t k)
{
    vw_tensor x = matrix(ROWS, k), dy = matrix(ROWS, n), one[GROUPS], all[GROUPS];
    vw_groups groups = {VW_GROUP_OFFSETS, GROUPS, offsets};
    experts e;
    planned p;
    make_experts(&e, n, k);
    for (int threads = 1; threads <= 3 && b->ops->run_grouped_wgrad; threads += 2) {
        int n_same = 0;
        double worst = 0;
        set_threads(b, threads);
        if (!make_rounding_plan(b, VW_GEMM_WGRAD, epilogue, ROWS, e.list[0], rounding, &p)) {
            skip(1, "gemm/%s: %s", b->name, err.text);
            break;
        }
        for (int g = 0; g < GROUPS; g++)
            one[g] = copy_of(&e.w[g]), all[g] = copy_of(&e.w[g]);
        vw_status s = b->ops->run_grouped_wgrad(b->self, &p.plan, NULL, dy, x, &groups, all,
                                                p.workspace, &err);
        for (int g = 0; g < GROUPS; g++) {
            b->ops->run_wgrad(b->self, &p.plan, NULL, rows_of(&dy, g), rows_of(&x, g), one[g],
                              p.workspace, &err);
            n_same += is_same(&one[g], &all[g]);
            worst = rounding
                        ? 0
                        : fmax(worst, error_of(&all[g], &e.w[g], epilogue == VW_GEMM_ADD, &dy, 1,
                                               &x, offsets[g], offsets[g + 1] - offsets[g]));
            free(one[g].data), free(all[g].data);
        }
        ok(s == VW_OK && n_same == GROUPS && worst <= 1,
           "%s: weight gradients of groups %s%s, %d threads", b->name,
           epilogue == VW_GEMM_ADD ? "added" : "stored", rounding ? ", rounded" : "", threads);
        drop_plan(b, &p);
    }
    set_threads(b, 1);
    drop_experts(&e);
    free(x.data), free(dy.data);
}

/* ---- what must not matter, what is refused --------------------------------------------------- */

/* Products large enough to be cut, with 1 to 4 threads. */
static void test_threads(const bench *b, vw_gemm_rounding rounding)
{
    vw_tensor x = matrix(200, 90), dy = matrix(200, 300), w = matrix(300, 90);
    vw_tensor dx = matrix(200, 90), dw = matrix(300, 90), first = copy_of(&dx);
    vw_tensor first_w = copy_of(&dw);
    vw_gemm_weight weight = weight_of(&w);
    const vw_gemm_weight *list = &weight;
    for (int threads = 1; threads <= 4; threads++) {
        planned back, grad;
        set_threads(b, threads);
        if (!make_rounding_plan(b, VW_GEMM_DGRAD, VW_GEMM_STORE, 200, list, rounding, &back))
            break;
        if (!make_rounding_plan(b, VW_GEMM_WGRAD, VW_GEMM_STORE, 200, list, rounding, &grad))
            bail_out("%s: %s", b->name, err.text);
        b->ops->run(b->self, &back.plan, NULL, dy, &list, &dx, back.workspace, &err);
        b->ops->run_wgrad(b->self, &grad.plan, NULL, dy, x, dw, grad.workspace, &err);
        if (threads == 1) {
            memcpy(first.data, dx.data, (size_t)(200 * dx.stride[0]) * sizeof(float));
            memcpy(first_w.data, dw.data, (size_t)(300 * dw.stride[0]) * sizeof(float));
        } else {
            ok(is_same(&dx, &first) && is_same(&dw, &first_w), "%s: %d threads change no bit%s",
               b->name, threads, rounding ? ", rounded" : "");
        }
        drop_plan(b, &back), drop_plan(b, &grad);
    }
    set_threads(b, 1);
    free(x.data), free(dy.data), free(w.data), free(dx.data), free(dw.data);
    free(first.data), free(first_w.data);
}

static void test_refusals(const bench *b)
{
    vw_tensor x = matrix(4, 6), dy = matrix(4, 5), dw = matrix(5, 6), narrow = matrix(5, 5);
    vw_gemm_weight weight = weight_of(&dw);
    planned p;
    if (!b->ops->run_wgrad || !make_plan(b, VW_GEMM_WGRAD, VW_GEMM_ADD, 4, &weight, &p)) {
        skip(1, "gemm/%s has no wgrad", b->name);
    } else {
        is_int(b->ops->run_wgrad(b->self, &p.plan, NULL, dy, x, narrow, p.workspace, &err),
               VW_E_INVALID, "%s: a narrow gradient", b->name);
        like(err.text, "weight gradient 0 is [5, 5]; it must be [5, 6]", "%s", err.text);
        is_int(b->ops->run_wgrad(b->self, &p.plan, NULL, x, x, dw, p.workspace, &err),
               VW_E_INVALID, "%s: a dY of another width", b->name);
        like(err.text, "wgrad of shapes that are not the plan's", "%s", err.text);
        drop_plan(b, &p);
    }
    free(x.data), free(dy.data), free(dw.data), free(narrow.data);
}

/* The bound must see one product that is left out, and one value in a gap. */
static void test_detector(void)
{
    vw_tensor a = matrix(9, 300), c = matrix(9, 7), w = matrix(300, 7);
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < 7; j++) {
            float sum = 0;
            for (int r = 0; r < 300; r++)
                sum += at(&a, i, r) * at(&w, r, j);
            ((float *)c.data)[i * c.stride[0] + j] = sum;
        }
    ok(error_of(&c, &c, 0, &a, 0, &w, 0, 300) <= 1, "a plain f32 sum is within the bound");
    ok(error_of(&c, &c, 0, &a, 0, &w, 0, 299) > 1, "a product too many is not");
    ((float *)c.data)[8] = 0;
    ok(error_of(&c, &c, 0, &a, 0, &w, 0, 300) > 1, "nor is a value between the rows");
    free(a.data), free(c.data), free(w.data);
}

static void test_gemm(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    with_device device;
    (void)arg;
    mock_host_init(&mock);
    mock.is_quiet = true;
    if (!with_device_open(&device, plugin, &mock))
        return;
    if (!mock_open(&mock, plugin, NULL, &it)) {
        with_device_close(&device);
        return;
    }
    bench b = {.name = plugin->name, .mock = &mock, .may_refuse = device.is_used};
    b.ops = with_device_gemm(&device, &it, &b.self);
    test_shapes(&b);
    test_rounding(&b, VW_GEMM_ROUND_BF16, 3, 70, 50);
    test_rounding(&b, VW_GEMM_ROUND_BF16, 40, 70, 50);
    test_rounding(&b, VW_GEMM_ROUND_F16, 40, 70, 50);
    test_rounding(&b, VW_GEMM_ROUND_E4M3, 3, 70, 50);
    test_rounding(&b, VW_GEMM_ROUND_E4M3, 129, 300, 400);
    test_rounding(&b, VW_GEMM_ROUND_E4M3, 400, 145, 140);
    test_groups(&b, VW_GEMM_FORWARD, VW_GEMM_STORE, VW_GEMM_ROUND_NONE, 70, 90);
    test_groups(&b, VW_GEMM_FORWARD, VW_GEMM_ADD, VW_GEMM_ROUND_NONE, 33, 400);
    test_groups(&b, VW_GEMM_FORWARD, VW_GEMM_STORE, VW_GEMM_ROUND_E4M3, 200, 150);
    test_groups(&b, VW_GEMM_DGRAD, VW_GEMM_STORE, VW_GEMM_ROUND_NONE, 70, 90);
    test_groups(&b, VW_GEMM_DGRAD, VW_GEMM_ADD, VW_GEMM_ROUND_NONE, 400, 33);
    test_groups(&b, VW_GEMM_DGRAD, VW_GEMM_ADD, VW_GEMM_ROUND_E4M3, 200, 150);
    if (b.ops->run_grouped_wgrad) {
        test_grouped_wgrad(&b, VW_GEMM_STORE, VW_GEMM_ROUND_NONE, 70, 90);
        test_grouped_wgrad(&b, VW_GEMM_ADD, VW_GEMM_ROUND_NONE, 33, 100);
        test_grouped_wgrad(&b, VW_GEMM_ADD, VW_GEMM_ROUND_E4M3, 33, 100);
    } else {
        skip(1, "gemm/%s has no weight gradients of groups", b.name);
    }
    test_threads(&b, VW_GEMM_ROUND_NONE);
    test_threads(&b, VW_GEMM_ROUND_E4M3);
    test_refusals(&b);
    mock_close(&mock, &it);
    with_device_close(&device);
}

int main(void)
{
    test_detector();
    ok(mock_plugins(VW_KIND_GEMM, test_gemm, NULL) > 0, "there are gemms");
    return done_testing();
}
