/* kind-gemm.c - every installed gemm against exact products of the dequantised operands.
 *
 * The acceptance cases of gemm.md, section 14, in sizes of seconds: dense shapes (1), a harness that
 * finds planted errors (2), ragged K and N (3, 4), empty dimensions (5), grouped products (6, 7),
 * weight gradients (8), zero blocks (9), NaN and infinity (10), arbitrary scales (11), determinism
 * (13); those of the quantisers (12) are in gemm-kernels.c.  What a gemm says it does not support is
 * left out; gemm/ref and gemm/cpu may leave out nothing.
 */
#include "t/gemm-case.h"
#include "t/tap/tap.h"
#include "t/with_device.h"

#include "kernels/ref/gemm.h"

#include <math.h>
#include <stdlib.h>

static const case_form forms[] = {
    {"f32", VW_F32, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED},
    {"bf16", VW_BF16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED},
    {"f16", VW_F16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED},
    {"e4m3 in blocks of 128 x 128", VW_E4M3, VW_OUT_IN, 128, 128, VW_F32, VW_GEMM_STORED},
    {"e4m3 with e8m0 scales, 1 x 32", VW_E4M3, VW_OUT_IN, 1, 32, VW_E8M0, VW_GEMM_STORED},
    {"e5m2, one bf16 scale", VW_E5M2, VW_OUT_IN, -1, -1, VW_BF16, VW_GEMM_STORED},
    {"int8, one scale a row", VW_I8, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"f32 [in, out]", VW_F32, VW_IN_OUT, 0, 0, VW_F32, VW_GEMM_STORED},
    {"bf16 [in, out]", VW_BF16, VW_IN_OUT, 0, 0, VW_F32, VW_GEMM_STORED},
    {"bf16 as int8", VW_BF16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_INT8},
    {"bf16 as int8 in blocks of 32", VW_BF16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_INT8_BLOCK32},
    {"e4m3, one scale", VW_E4M3, VW_OUT_IN, -1, -1, VW_F32, VW_GEMM_STORED},
    {"e4m3, one scale a row", VW_E4M3, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"f16, one scale a row", VW_F16, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"int8 [in, out], a bf16 scale an output", VW_I8, VW_IN_OUT, -1, 1, VW_BF16, VW_GEMM_STORED},
    {"int8 [in, out], such scales for 24 inputs", VW_I8, VW_IN_OUT, 24, 1, VW_BF16, VW_GEMM_STORED},
    {"int8 in blocks of 128 x 128", VW_I8, VW_OUT_IN, 128, 128, VW_F32, VW_GEMM_STORED},
    {"int4, a bf16 scale for 32", CASE_INT4, VW_OUT_IN, 1, 32, VW_BF16, VW_GEMM_STORED},
    {"int4, one f32 scale a row", CASE_INT4, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"int4 as int8", CASE_INT4, VW_OUT_IN, 1, 32, VW_F32, VW_GEMM_INT8},
};
enum { N_FORMS = sizeof forms / sizeof *forms, GUARD = 5 };

/* One way to open a plugin. */
typedef struct opened {
    mock_host mock;
    mock_instance it;
    with_device device;
    const vw_gemm_ops *ops;
    void *self;
    const char *name;
    case_rounding rounding; /* of activations; to int7 or int8 where weights are int8 or int4 */
} opened;

static bool must_do_all(const opened *o)
{
    return !strncmp(o->name, "ref", 3) || !strncmp(o->name, "cpu", 3);
}

/* Libraries with threads of their own are let have one: on a busy machine theirs wait for ever. */
static int threads_of(const opened *o)
{
    return must_do_all(o) ? 3 : 1;
}

/* ---- one product through the table ---- */

/* A weight of a case as the plugin wants it: in place, or packed 64 rows at a time. */
static vw_status bind_weight(opened *o, const gemm_case *c, vw_gemm_weight *w, void **pack)
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

typedef struct product {
    vw_gemm_problem problem;
    vw_gemm_weight weight[VW_GEMM_MAX_WEIGHTS];
    const vw_gemm_weight *list[VW_GEMM_MAX_WEIGHTS];
    void *pack[VW_GEMM_MAX_WEIGHTS];
    vw_gemm_plan plan;
    void *workspace;
} product;

static void product_free(opened *o, product *p)
{
    if (p->plan.problem.size)
        o->ops->plan_free(o->self, &p->plan);
    free(p->workspace);
    for (int i = 0; i < VW_GEMM_MAX_WEIGHTS; i++)
        free(p->pack[i]);
    memset(p, 0, sizeof *p);
}

/* A plan for n weights; false when the plugin does not support it. */
static bool product_make(opened *o, const gemm_case *const *cases, int n, vw_gemm_problem problem,
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

static bool one_weight(opened *o, const gemm_case *c, int64_t max_m, product *p)
{
    return product_make(o, &c, 1, (vw_gemm_problem){.max_m = max_m}, p);
}

/* y [m, n] with GUARD floats behind each row, all 77 before. */
static float *new_result(int64_t m, int64_t n)
{
    size_t count = (size_t)(m * (n + GUARD)) + GUARD;
    float *y = malloc(count * sizeof *y);
    for (size_t i = 0; i < count; i++)
        y[i] = 77.0f;
    return y;
}

static bool is_guarded(const float *y, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int j = 0; j < GUARD; j++)
            if (y[i * (n + GUARD) + n + j] != 77.0f)
                return false;
    return true;
}

static vw_tensor rows_of(float *data, int64_t m, int64_t n, int64_t stride)
{
    vw_tensor t = vw_tensor_2d(data, VW_F32, m, n);
    t.stride[0] = stride;
    return t;
}

/* Run the first m rows; NULL when run() failed or allocated. */
static float *run(opened *o, product *p, const gemm_case *c, int64_t m)
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

static bool is_right(opened *o, product *p, const gemm_case *c, int64_t m)
{
    float *y = run(o, p, c, m);
    const char *wrong = !y ? "it did not run" : case_wrong(c, y, c->n + GUARD, m);
    if (!wrong && !is_guarded(y, m, c->n))
        wrong = "something beside the result was written";
    if (wrong)
        diag("%s: %s, M %lld N %lld K %lld: %s", o->name, c->form->name, (long long)m,
             (long long)c->n, (long long)c->k, wrong);
    free(y);
    return !wrong;
}

/* ---- 1, 3, 4, 11: shapes ---- */

typedef struct shape {
    int64_t n, k;
} shape;

static case_rounding rounding_of(const opened *o, const case_form *f)
{
    bool is_quantised = f->format != VW_GEMM_STORED || f->dtype == VW_I8 || f->dtype == CASE_INT4;
    return o->rounding == CASE_WEIGHT || is_quantised ? o->rounding : CASE_EXACT;
}

static void check_shapes(opened *o, const char *what, const shape *shapes, int n_shapes,
                         const int64_t *ms, int n_ms)
{
    for (int f = 0; f < N_FORMS; f++) {
        int n_right = 0, n_run = 0;
        for (int s = 0; s < n_shapes; s++) {
            gemm_case c;
            product p;
            case_make(&c, &forms[f], ms[n_ms - 1], shapes[s].n, shapes[s].k);
            case_expect(&c, rounding_of(o, &forms[f]));
            bool is_there = one_weight(o, &c, c.m, &p);
            for (int i = 0; is_there && i < n_ms; i++) {
                n_right += is_right(o, &p, &c, ms[i]);
                n_run++;
            }
            if (is_there)
                product_free(o, &p);
            case_free(&c);
        }
        if (n_run)
            is_int(n_right, n_run, "%s: %s, %s", o->name, what, forms[f].name);
    }
}

static void check_all_shapes(opened *o)
{
    /* the seven of section 11, an eighth of them and less; the seventh is wide for a test */
    static const shape dense[] = {{264, 896}, {72, 896}, {1536, 96}, {512, 128}, {112, 1024},
                                  {256, 448}, {448, 128}};
    static const shape k_tails[] = {{40, 1},   {40, 16},  {40, 17},   {40, 100}, {40, 112},
                                    {40, 144}, {40, 576}, {40, 1552}, {24, 2112}};
    static const shape n_tails[] = {{1, 64}, {7, 64}, {8, 100}, {24, 33}, {576, 40}, {1031, 17}};
    static const int64_t few[] = {1, 7, 64}, tails[] = {1, 3, 33}, edges[] = {1, 33, 129};
    check_shapes(o, "dense shapes", dense, 7, few, 3);
    check_shapes(o, "ragged K", k_tails, 9, tails, 3);
    check_shapes(o, "ragged N", n_tails, 6, edges, 3);
}

/* ---- 2: would an error be found? ---- */

static void check_harness(void)
{
    gemm_case c;
    case_make(&c, &forms[3], 256, 1024, 384);
    float *y = malloc(sizeof *y * 256 * 1024);
    for (int i = 0; i < 256 * 1024; i++)
        y[i] = (float)c.want[i];
    ok(!case_wrong(&c, y, 1024, 256), "the harness accepts a result rounded once");
    for (int i = 0; i < 128; i++)
        memset(y + (i + 128) * 1024 + 256, 0, 128 * sizeof *y);
    ok(case_wrong(&c, y, 1024, 256) != NULL, "the harness finds a zeroed tile");
    for (int m = 0; m < 256; m++)
        for (int n = 0; n < 1024; n++)
            y[m * 1024 + n] = (float)vw_ref_dot(c.x + m * 384, c.values + n * 384, 256);
    ok(case_wrong(&c, y, 1024, 256) != NULL, "the harness finds a missing block of K");
    for (int i = 0; i < 256 * 1024; i++)
        y[i] = (float)c.want[i];
    float *scales = c.scales;
    memmove(scales + 1, scales, 5 * sizeof *scales);
    case_expect(&c, CASE_EXACT);
    ok(case_wrong(&c, y, 1024, 256) != NULL, "the harness finds scales shifted by a block");
    free(y);
    case_free(&c);
}

/* ---- 5: nothing to do ---- */

static void check_empty(opened *o)
{
    gemm_case c;
    product p;
    vw_error err;
    case_make(&c, &forms[0], 4, 12, 20);
    vw_tensor nothing = rows_of(NULL, 0, 12, 12);
    if (!one_weight(o, &c, 4, &p))
        return;
    is_int(o->ops->run(o->self, &p.plan, NULL, rows_of(NULL, 0, 20, 20), p.list, &nothing,
                       p.workspace, &err), VW_OK, "%s: no rows", o->name);
    float *y = new_result(5, 12), x[100] = {0};
    vw_tensor out = rows_of(y, 5, 12, 12 + GUARD);
    is_int(o->ops->run(o->self, &p.plan, NULL, rows_of(x, 5, 20, 20), p.list, &out, p.workspace,
                       &err), VW_E_INVALID, "%s: more rows than planned are an error", o->name);
    ok(y[0] == 77.0f, "%s: and leave the result as it was", o->name);
    free(y);
    product_free(o, &p);
    case_free(&c);
    for (int add = 0; add < 2 && must_do_all(o); add++) {
        const gemm_case *list = &c;
        case_make(&c, &forms[0], 3, 12, 0);
        if (product_make(o, &list, 1,
                         (vw_gemm_problem){.max_m = 3,
                                           .epilogue = add ? VW_GEMM_ADD : VW_GEMM_STORE}, &p)) {
            y = run(o, &p, &c, 3);
            ok(y && y[0] == (add ? 77.0f : 0.0f) && y[2 * 17 + 11] == (add ? 77.0f : 0.0f),
               "%s: no inputs: %s", o->name, add ? "the old result stays" : "zeros");
            free(y);
            product_free(o, &p);
        }
        case_free(&c);
    }
}

/* ---- several weights, epilogues, gather ---- */

static void check_several(opened *o, const int which[3], int64_t k)
{
    static const int64_t widths[] = {48, 16, 33};
    gemm_case c[3];
    const gemm_case *list[3];
    product p;
    vw_error err;
    for (int i = 0; i < 3; i++) {
        case_make(&c[i], &forms[which[i]], 20, widths[i], k);
        memcpy(c[i].x, c[0].x, sizeof(float) * (size_t)(20 * k));
        case_expect(&c[i], rounding_of(o, &forms[which[i]]));
        list[i] = &c[i];
    }
    if (product_make(o, list, 3, (vw_gemm_problem){.max_m = 20}, &p)) {
        int n_right = 0;
        for (int64_t m = 2; m <= 20; m += 18) {
            float *y[3];
            vw_tensor out[3];
            for (int i = 0; i < 3; i++) {
                y[i] = new_result(m, widths[i]);
                out[i] = rows_of(y[i], m, widths[i], widths[i] + GUARD);
            }
            vw_status s = o->ops->run(o->self, &p.plan, NULL, rows_of(c[0].x, m, k, k), p.list, out,
                                      p.workspace, &err);
            for (int i = 0; i < 3; i++) {
                n_right += s == VW_OK && is_guarded(y[i], m, widths[i]) &&
                           !case_wrong(&c[i], y[i], widths[i] + GUARD, m);
                free(y[i]);
            }
        }
        is_int(n_right, 6, "%s: three weights in one plan: %s, %s, %s", o->name, c[0].form->name,
               c[1].form->name, c[2].form->name);
        product_free(o, &p);
    }
    for (int i = 0; i < 3; i++)
        case_free(&c[i]);
}

/* What becomes of the exact sums. */
static void apply(gemm_case *c, const gemm_case *up, const vw_gemm_problem *p)
{
    vw_gemm_act act = (vw_gemm_act)p->activation;
    for (int64_t i = 0; i < c->m * c->n; i++) {
        double s = c->want[i];
        c->want[i] = p->epilogue == VW_GEMM_ADD        ? 77 + s
                     : p->epilogue == VW_GEMM_ACTIVATE ? vw_ref_act(act, s)
                     : p->epilogue == VW_GEMM_GATED    ? vw_ref_act(act, s) * up->want[i]
                                                       : p->cap * tanh(s / p->cap);
    }
}

static void check_epilogue(opened *o, vw_gemm_problem problem, const char *name)
{
    gemm_case c[2];
    const gemm_case *list[2] = {&c[0], &c[1]};
    product p;
    for (int i = 0; i < 2; i++)
        case_make(&c[i], &forms[1], 21, 85, 60);
    for (int i = 0; i < 85 * 60; i++) /* another weight for the gate */
        ((uint16_t *)c[1].data)[i] = ((uint16_t *)c[0].data)[85 * 60 - 1 - i];
    case_expect(&c[1], CASE_EXACT);
    apply(&c[0], &c[1], &problem);
    problem.max_m = 21;
    if (product_make(o, list, problem.epilogue == VW_GEMM_GATED ? 2 : 1, problem, &p)) {
        ok(is_right(o, &p, &c[0], 3) && is_right(o, &p, &c[0], 21), "%s: %s, activation %d", o->name,
           name, (int)problem.activation);
        product_free(o, &p);
    }
    case_free(&c[0]);
    case_free(&c[1]);
}

static void check_epilogues(opened *o)
{
    check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_ADD}, "added to what was there");
    check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_SOFTCAP, .cap = 20}, "soft cap");
    for (int act = VW_ACT_GELU_TANH; act <= VW_ACT_RELU; act++) {
        check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_ACTIVATE,
                                            .activation = (vw_activation)act}, "activated");
        check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_GATED,
                                            .activation = (vw_activation)act}, "gated");
    }
}

static void check_gather(opened *o)
{
    static const int32_t rows[] = {3, 0, 36, -1, 37, 3};
    for (int f = 0; f < N_FORMS; f++) {
        gemm_case c;
        vw_gemm_weight w;
        vw_error err = {.text = ""};
        void *pack;
        float y[6 * 70];
        int n_right = 0;
        case_make(&c, &forms[f], 1, 37, 70);
        if (bind_weight(o, &c, &w, &pack) == VW_OK) {
            vw_status s = o->ops->gather(o->self, NULL, &w, rows, 3.0f, rows_of(y, 6, 70, 70), &err);
            for (int i = 0; i < 6 && s == VW_OK; i++)
                for (int k = 0; k < 70; k++) {
                    bool is_in = rows[i] >= 0 && rows[i] < 37;
                    float want = is_in ? 3.0f * c.values[rows[i] * 70 + k] : 0;
                    n_right += fabsf(y[i * 70 + k] - want) <= 1e-6f * fabsf(want);
                }
            is_int(n_right, 6 * 70, "%s: gathered rows of %s%s", o->name, forms[f].name, err.text);
        }
        free(pack);
        case_free(&c);
    }
}

/* ---- 9, 10: zeros, NaN, infinity ---- */

static void check_specials(opened *o)
{
    static const float zero_scales[] = {0, 1e-4f / 448, 1};
    for (int i = 0; i < 4; i++) {
        gemm_case c;
        product p;
        case_make(&c, &forms[3], 20, 300, 300); /* e4m3, scales [3][3] */
        uint8_t *codes = c.data;
        float *scales = c.scales;
        if (i < 3) { /* a whole row of blocks of zeros: those outputs are exactly 0 */
            memset(codes + 128 * 300, 0, 128 * 300);
            for (int g = 0; g < 3; g++)
                scales[3 + g] = zero_scales[i];
        } else { /* code NaN in output 9, an infinite scale in outputs 256 and up, a NaN in x */
            codes[9 * 300 + 5] = 0x7F;
            scales[8] = INFINITY;
            for (int n = 256; n < 300; n++)
                codes[n * 300 + 299] = 0x38;
            c.x[5 * 300 + 7] = NAN;
        }
        case_expect(&c, CASE_EXACT);
        if (one_weight(o, &c, 20, &p)) {
            float *y = run(o, &p, &c, 20);
            int n_zero = 0;
            for (int j = 0; y && i < 3 && j < 20 * 128; j++)
                n_zero += y[j / 128 * (300 + GUARD) + 128 + j % 128] == 0.0f;
            is_int(n_zero, i < 3 ? 20 * 128 : 0, "%s: blocks of zeros, case %d", o->name, i);
            for (int64_t m = 4; i < 3 && m <= 20; m += 16)
                ok(is_right(o, &p, &c, m), "%s: the rest is right, M %d", o->name, (int)m);
            int n_nan = 0;
            for (int j = 0; y && i == 3 && j < 20 * 256; j++) {
                int m = j / 256, n = j % 256;
                n_nan += (isnan(y[m * (300 + GUARD) + n]) != 0) == (m == 5 || n == 9);
            }
            is_int(n_nan, i == 3 ? 20 * 256 : 0, "%s: NaN in its row and column, case %d", o->name, i);
            int n_odd = 0;
            for (int j = 0; y && i == 3 && j < 20 * 44; j++)
                n_odd += !isfinite(y[j / 44 * (300 + GUARD) + 256 + j % 44]);
            is_int(n_odd, i == 3 ? 20 * 44 : 0, "%s: an infinite scale reaches its outputs", o->name);
            free(y);
            product_free(o, &p);
        }
        case_free(&c);
    }
}

/* ---- 13: determinism ---- */

static void check_determinism(opened *o)
{
    for (int f = 0; f < N_FORMS; f++) {
        gemm_case c;
        const gemm_case *list = &c;
        product p;
        int n_same = 0, n_rows = 0, n_runs = o->device.is_simulated ? 4 : 20;
        case_make(&c, &forms[f], 128, 200, 300);
        if (product_make(o, &list, 1, (vw_gemm_problem){.max_m = 128, .is_batch_invariant = 1},
                         &p)) {
            float *first = run(o, &p, &c, 128);
            size_t bytes = sizeof(float) * 128 * (200 + GUARD);
            product_free(o, &p);
            for (int i = 0; first && i < n_runs; i++) {
                o->mock.n_threads = i < 3 ? 1 << i : 3;
                o->mock.is_backwards = i & 1;
                if (!product_make(o, &list, 1,
                                  (vw_gemm_problem){.max_m = 128, .is_batch_invariant = 1}, &p))
                    break;
                float *y = run(o, &p, &c, 128);
                n_same += y && !memcmp(y, first, bytes);
                free(y);
                gemm_case row = c;
                row.x = c.x + i * 300;
                y = run(o, &p, &row, 1);
                n_rows += y && !memcmp(y, first + i * (200 + GUARD), 200 * sizeof *y);
                free(y);
                product_free(o, &p);
            }
            is_int(n_same, n_runs, "%s: %s, %d runs on 1 to 4 threads give the same bits", o->name,
                   forms[f].name, n_runs);
            is_int(n_rows, n_runs, "%s: %s, a row alone is the row of a batch", o->name, forms[f].name);
            free(first);
            o->mock.n_threads = threads_of(o);
            o->mock.is_backwards = false;
        }
        case_free(&c);
    }
}

/* ---- 8: gradients ---- */

/* dW[N,K] = dY^T X, or added to what is there; dY is the first 50 of X's columns. */
static void check_weight_gradient(opened *o, vw_gemm_epilogue epilogue)
{
    gemm_case c;
    const gemm_case *list = &c;
    product p;
    vw_error err;
    case_make(&c, &forms[0], 130, 50, 70);
    for (int64_t m = 0; m <= 130; m += 65) {
        gemm_case grad = {.form = &forms[0], .m = 50, .n = 70};
        if (!product_make(o, &list, 1, (vw_gemm_problem){.op = VW_GEMM_WGRAD, .max_m = 130,
                                                         .epilogue = epilogue}, &p))
            break;
        grad.want = calloc(50 * 70, sizeof(double));
        for (int i = 0; i < 50 * 70; i++) {
            grad.want[i] = epilogue == VW_GEMM_ADD ? 77 : 0;
            for (int r = 0; r < m; r++)
                grad.want[i] += (double)c.x[r * 70 + i / 70] * c.x[r * 70 + i % 70];
        }
        float *dw = new_result(50, 70);
        vw_status s = o->ops->run_wgrad(o->self, &p.plan, NULL, rows_of(c.x, m, 50, 70),
                                        rows_of(c.x, m, 70, 70), rows_of(dw, 50, 70, 70 + GUARD),
                                        p.workspace, &err);
        if (s != VW_E_UNSUPPORTED)
            ok(s == VW_OK && is_guarded(dw, 50, 70) && !case_wrong(&grad, dw, 70 + GUARD, 50),
               "%s: gradient of the weight over %d rows, %s", o->name, (int)m,
               epilogue == VW_GEMM_ADD ? "added" : "stored");
        free(dw);
        free(grad.want);
        product_free(o, &p);
    }
    case_free(&c);
}

static void check_gradients(opened *o)
{
    gemm_case c;
    const gemm_case *list = &c;
    product p;
    for (int in_out = 0; in_out < 2; in_out++) { /* dX[M,K] = dY[M,N] W: the transposed weight */
        gemm_case back;
        case_make(&c, &forms[in_out ? 8 : 1], 30, 50, 70);
        back = c;
        back.k = 50, back.n = 70;
        back.want = calloc(30 * 70, sizeof(double));
        for (int m = 0; m < 30; m++)
            for (int k = 0; k < 70; k++)
                for (int n = 0; n < 50; n++)
                    back.want[m * 70 + k] += (double)c.x[m * 50 + n] * c.values[n * 70 + k];
        if (product_make(o, &list, 1, (vw_gemm_problem){.op = VW_GEMM_DGRAD, .max_m = 30}, &p)) {
            ok(is_right(o, &p, &back, 2) && is_right(o, &p, &back, 30), "%s: gradient of the input",
               o->name);
            product_free(o, &p);
        }
        free(back.want);
        case_free(&c);
    }
    check_weight_gradient(o, VW_GEMM_STORE);
    check_weight_gradient(o, VW_GEMM_ADD);
}

void check_groups(const vw_gemm_ops *ops, void *self, const char *name, bool is_row_array_read);

/* ---- every way to open every plugin ---- */

static bool has_option(const vw_plugin *plugin, const char *key)
{
    for (const vw_option *p = plugin->options; p && p->key; p++)
        if (!strcmp(p->key, key))
            return true;
    return false;
}

static bool has_choice(const vw_plugin *plugin, const char *key, const char *choice)
{
    for (const vw_option *p = plugin->options; p && p->key; p++)
        for (const char *const *c = p->choices; c && *c && !strcmp(p->key, key); c++)
            if (!strcmp(*c, choice))
                return true;
    return false;
}

/* f32 by f32 with 10 bits of each fraction kept, cut off or rounded: 2^-9 of the sizes of the terms,
 * and not what f32 gives. */
static void check_tf32(opened *o)
{
    gemm_case c;
    product p;
    case_make(&c, &forms[0], 33, 40, 144);
    if (one_weight(o, &c, 33, &p)) {
        float *y = run(o, &p, &c, 33);
        int n_within = 0, n_off = 0;
        for (int i = 0; y && i < 33 * 40; i++) {
            const float *x = c.x + i / 40 * 144, *w = c.values + i % 40 * 144;
            double sizes = 0, off = fabs(y[i / 40 * (40 + GUARD) + i % 40] - c.want[i]);
            for (int k = 0; k < 144; k++)
                sizes += fabs((double)x[k] * (double)w[k]);
            n_within += off <= 0x1p-9 * sizes;
            n_off += off > 0x1p-16 * sizes;
        }
        is_int(n_within, 33 * 40, "%s: within the rounding of both operands", o->name);
        ok(n_off > 0, "%s: and it is tf32", o->name);
        free(y);
        product_free(o, &p);
    }
    case_free(&c);
}

typedef enum way { AS_IT_IS, TO_INT7, TO_INT8, TO_WEIGHT, TF32 } way;

static void check_everything(opened *o)
{
    check_all_shapes(o);
    check_several(o, (const int[3]){0, 1, 1}, 70);
    check_several(o, (const int[3]){17, 6, 1}, 96); /* int4, int8 and bf16 */
    check_gather(o);
    if (o->rounding == CASE_EXACT) {
        check_empty(o);
        check_epilogues(o);
        check_specials(o);
        check_gradients(o);
        if (o->ops->run_grouped || must_do_all(o))
            check_groups(o->ops, o->self, o->name, !o->device.is_used);
    }
    check_determinism(o);
}

static void check_opened(const vw_plugin *plugin, const char *setting, const char *name, way how)
{
    opened o = {.name = name};
    const char *settings[3] = {setting, NULL, NULL};
    mock_host_init(&o.mock);
    o.mock.n_threads = threads_of(&o);
    o.mock.is_quiet = true;
    if (!with_device_open(&o.device, plugin, &o.mock))
        return;
    if (o.device.is_simulated && has_option(plugin, "workspace")) /* each call has a new one */
        settings[setting != NULL] = "workspace=64K";
    if (!mock_open(&o.mock, plugin, settings, &o.it)) {
        with_device_close(&o.device);
        return;
    }
    o.ops = with_device_gemm(&o.device, &o.it, &o.self);
    o.rounding = how == TO_INT7 ? CASE_INT7 : how == TO_INT8 ? CASE_INT8
                 : how == TO_WEIGHT ? CASE_WEIGHT : CASE_EXACT;
    if (how == TF32)
        check_tf32(&o);
    else
        check_everything(&o);
    mock_close(&o.mock, &o.it);
    with_device_close(&o.device);
}

static void check_plugin(const vw_plugin *plugin, void *arg)
{
    char name[64];
    (void)arg;
    check_opened(plugin, NULL, plugin->name, AS_IT_IS);
    snprintf(name, sizeof name, "%s, packed", plugin->name);
    if (has_option(plugin, "pack"))
        check_opened(plugin, "pack=yes", name, AS_IT_IS);
    snprintf(name, sizeof name, "%s, int8 activations", plugin->name);
    if (has_choice(plugin, "activations", "int8"))
        check_opened(plugin, "activations=int8", name, TO_INT8);
    snprintf(name, sizeof name, "%s, int7 activations", plugin->name);
    if (has_choice(plugin, "activations", "int7"))
        check_opened(plugin, "activations=int7", name, TO_INT7);
    snprintf(name, sizeof name, "%s, rounded activations", plugin->name);
    if (has_choice(plugin, "activations", "rounded"))
        check_opened(plugin, "activations=rounded", name, TO_WEIGHT);
    snprintf(name, sizeof name, "%s, tf32", plugin->name);
    if (has_option(plugin, "tf32"))
        check_opened(plugin, "tf32=yes", name, TF32);
}

int main(void)
{
    check_harness();
    ok(mock_plugins(VW_KIND_GEMM, check_plugin, NULL) > 0, "there are gemms");
    return done_testing();
}
