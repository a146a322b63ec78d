/* kind-gemm.c - every installed gemm against exact products of the dequantised operands.
 *
 * The acceptance cases of gemm.md, section 14, in sizes of seconds: dense shapes (1), a harness that
 * finds planted errors (2), ragged K and N (3, 4), empty dimensions (5), grouped products (6, 7:
 * gemm-groups.c), weight gradients (8: gemm-plans.c), zero blocks (9), NaN and infinity (10), arbitrary
 * scales (11), determinism (13); those of the quantisers (12) are in gemm-kernels.c.  What a gemm says
 * it does not support is left out; gemm/ref and gemm/cpu may leave out nothing.
 */
#include "t/gemm-product.h"
#include "t/tap/tap.h"

#include "kernels/ref/gemm.h"

#include <math.h>
#include <stdlib.h>

/* ---- 1, 3, 4, 11: shapes ---- */

typedef struct shape {
    int64_t n, k;
} shape;

static void check_shapes(opened *o, const char *what, int first_form, int n_forms,
                         const shape *shapes, int n_shapes, const int64_t *ms, int n_ms)
{
    for (int f = first_form; f < first_form + n_forms; f++) {
        int n_right = 0, n_run = 0;
        for (int s = 0; s < n_shapes; s++) {
            gemm_case c;
            product p;
            case_make(&c, &case_forms[f], ms[n_ms - 1], shapes[s].n, shapes[s].k);
            product_expect(o, &c);
            bool is_there = product_make_one(o, &c, c.m, &p);
            for (int i = 0; is_there && i < n_ms; i++) {
                n_right += product_is_right(o, &p, &c, ms[i]);
                n_run++;
            }
            if (is_there)
                product_free(o, &p);
            case_free(&c);
        }
        if (n_run)
            is_int(n_right, n_run, "%s: %s, %s", o->name, what, case_forms[f].name);
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
    /* whole blocks of 256 or 32, and parts of them */
    static const shape blocks[] = {{40, 256}, {72, 1024}, {17, 2304}, {33, 96}, {8, 100}, {1, 33}};
    check_shapes(o, "dense shapes", 0, FIRST_GGUF, dense, 7, few, 3);
    check_shapes(o, "ragged K", 0, FIRST_GGUF, k_tails, 9, tails, 3);
    check_shapes(o, "ragged N", 0, FIRST_GGUF, n_tails, 6, edges, 3);
    check_shapes(o, "blocks", FIRST_GGUF, N_CASE_FORMS - FIRST_GGUF, blocks, 6, tails, 3);
}

/* ---- 2: would an error be found? ---- */

static void check_harness(void)
{
    gemm_case c;
    case_make(&c, &case_forms[E4M3_BLOCKS], 256, 1024, 384);
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
    case_make(&c, &case_forms[F32], 4, 12, 20);
    vw_tensor nothing = rows_of(NULL, 0, 12, 12);
    if (!product_make_one(o, &c, 4, &p))
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
        case_make(&c, &case_forms[F32], 3, 12, 0);
        if (product_make(o, &list, 1,
                         (vw_gemm_problem){.max_m = 3,
                                           .epilogue = add ? VW_GEMM_ADD : VW_GEMM_STORE}, &p)) {
            y = product_run(o, &p, &c, 3);
            ok(y && y[0] == (add ? 77.0f : 0.0f) && y[2 * 17 + 11] == (add ? 77.0f : 0.0f),
               "%s: no inputs: %s", o->name, add ? "the old result stays" : "zeros");
            free(y);
            product_free(o, &p);
        }
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
        case_make(&c, &case_forms[E4M3_BLOCKS], 20, 300, 300); /* e4m3, scales [3][3] */
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
        if (product_make_one(o, &c, 20, &p)) {
            float *y = product_run(o, &p, &c, 20);
            int n_zero = 0;
            for (int j = 0; y && i < 3 && j < 20 * 128; j++)
                n_zero += y[j / 128 * (300 + GUARD) + 128 + j % 128] == 0.0f;
            is_int(n_zero, i < 3 ? 20 * 128 : 0, "%s: blocks of zeros, case %d", o->name, i);
            for (int64_t m = 4; i < 3 && m <= 20; m += 16)
                ok(product_is_right(o, &p, &c, m), "%s: the rest is right, M %d", o->name, (int)m);
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
    for (int f = 0; f < N_CASE_FORMS; f++) {
        gemm_case c;
        const gemm_case *list = &c;
        product p;
        int n_same = 0, n_rows = 0, n_runs = o->device.is_simulated ? 4 : 20;
        case_make(&c, &case_forms[f], 128, 200, 300);
        if (product_make(o, &list, 1, (vw_gemm_problem){.max_m = 128, .is_batch_invariant = 1},
                         &p)) {
            float *first = product_run(o, &p, &c, 128);
            size_t bytes = sizeof(float) * 128 * (200 + GUARD);
            product_free(o, &p);
            for (int i = 0; first && i < n_runs; i++) {
                o->mock.n_threads = i < 3 ? 1 << i : 3;
                o->mock.is_backwards = i & 1;
                if (!product_make(o, &list, 1,
                                  (vw_gemm_problem){.max_m = 128, .is_batch_invariant = 1}, &p))
                    break;
                float *y = product_run(o, &p, &c, 128);
                n_same += y && !memcmp(y, first, bytes);
                free(y);
                gemm_case row = c;
                row.x = c.x + i * 300;
                y = product_run(o, &p, &row, 1);
                n_rows += y && !memcmp(y, first + i * (200 + GUARD), 200 * sizeof *y);
                free(y);
                product_free(o, &p);
            }
            is_int(n_same, n_runs, "%s: %s, %d runs on 1 to 4 threads give the same bits", o->name,
                   case_forms[f].name, n_runs);
            is_int(n_rows, n_runs, "%s: %s, a row alone is the row of a batch", o->name,
                   case_forms[f].name);
            free(first);
            o->mock.n_threads = threads_of(o);
            o->mock.is_backwards = false;
        }
        case_free(&c);
    }
}

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
    case_make(&c, &case_forms[F32], 33, 40, 144);
    if (product_make_one(o, &c, 33, &p)) {
        float *y = product_run(o, &p, &c, 33);
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
    check_several(o);
    check_gather(o);
    if (o->rounding == CASE_EXACT) {
        check_empty(o);
        check_epilogues(o);
        check_specials(o);
        check_gradients(o);
    }
    if (o->ops->run_grouped || must_do_all(o))
        check_groups(o);
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
