/* attention-kernels.c - the CPU kernels of attention and of the pointwise set, one instruction set
 * after the other, below any plugin.
 *
 * `wide` is the same source with vectors of 16 floats, which the compiler splits into what the
 * baseline has (t/local.mk): so the code of AVX-512 runs on a machine that has none of it.
 */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/pointwise.h"
#include "kernels/ref/quant.h"
#include "t/tap/tap.h"

#define VW_ISA base
#include "kernels/cpu/vmath.h"

#include <stdlib.h>

extern const vw_attention_kernels vw_attention_wide;
extern const vw_pointwise vw_pointwise_wide;

typedef struct variant {
    const char *name;
    const vw_attention_kernels *attention;
    const vw_pointwise *pw;
} variant;

static uint64_t random_state = 3;

static float uniform(float low, float high)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (float)(random_state >> 40) * 0x1p-24f;
}

/* ---- functions ----------------------------------------------------------------------------- */

/* Distance in units of the last place of the exact value, taken as a float. */
static double ulps(float got, double exact)
{
    float at = (float)exact;
    int exponent;
    if (got == at)
        return 0;
    frexpf(at, &exponent);
    return fabs((double)got - exact) / ldexp(1, exponent - 24 > -149 ? exponent - 24 : -149);
}

/* Over floats of all sizes: every 1009th bit pattern that is finite and within the function's
 * range of normal results. */
static void test_functions(const variant *v)
{
    double worst_exp = 0, worst_tanh = 0, worst_silu = 0, worst_gelu = 0;
    for (uint32_t bits = 0; bits < 0x7F800000u; bits += 1009 * 8)
        for (int sign = -1; sign <= 1; sign += 2) {
            float x[8], y[8];
            for (uint32_t i = 0; i < 8; i++)
                x[i] = (float)sign * vw_bits_f32(bits + 1009 * i);
            if (fabsf(x[7]) < 87) {
                v->pw->exp_sum(8, x, 0, 1, y);
                for (int i = 0; i < 8; i++)
                    worst_exp = fmax(worst_exp, ulps(y[i], exp((double)x[i])));
            }
            memcpy(y, x, sizeof y);
            v->pw->softcap(8, 1, y);
            for (int i = 0; i < 8; i++)
                worst_tanh = fmax(worst_tanh, ulps(y[i], tanh((double)x[i])));
            if (fabsf(x[7]) > 16)
                continue;
            v->pw->gate(VW_POINTWISE_SILU, 8, x, NULL, y);
            for (int i = 0; i < 8; i++)
                worst_silu =
                    fmax(worst_silu, fabs((double)y[i] - (double)x[i] / (1 + exp(-(double)x[i]))));
            v->pw->gate(VW_POINTWISE_GELU_TANH, 8, x, NULL, y);
            for (int i = 0; i < 8; i++)
                worst_gelu =
                    fmax(worst_gelu,
                         fabs((double)y[i] - vw_ref_activate(VW_REF_GELU_TANH, (double)x[i])));
        }
    near(worst_exp, 0, 2, "%s: exp, units of the last place", v->name);
    near(worst_tanh, 0, 4, "%s: tanh, units of the last place", v->name);
    near(worst_silu, 0, 2e-6, "%s: silu up to 16, absolute", v->name);
    near(worst_gelu, 0, 1e-6, "%s: gelu, absolute", v->name);
}

static void test_exp2(void)
{
    double worst = 0;
    for (float x = -125.9f; x < 127.9f; x += 0.00371f)
        worst = fmax(worst, ulps(vm_exp2(vm_set(x))[0], exp2((double)x)));
    near(worst, 0, 2, "exp2, units of the last place");
    ok(vm_exp2(vm_set(-INFINITY))[0] == 0 && vm_exp2_below(vm_set(-1e30f))[0] == 0, "2^-inf is 0");
    ok(vm_exp2(vm_set(128))[0] == INFINITY && vm_exp(vm_set(1e30f))[0] == INFINITY, "2^128 is inf");
    ok(vm_exp2_below(vm_set(0))[0] == 1, "2^0 is 1");
    vm_f nan = vm_bits((vm_u){0} + 0xFFFFFFFFu), odd = vm_bits((vm_u){0} + 0x7FC00001u);
    ok(isnan(vm_exp2(nan)[0]) && isnan(vm_exp2_below(nan)[0]) && isnan(vm_exp2_below(odd)[0]) &&
           isnan(vm_exp(odd)[0]) && isnan(vm_tanh(nan)[0]) && isnan(vm_normal_cdf(odd)[0]),
       "NaN stays, whatever its bits");
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Norm, rope and softmax of rows of every length up to some vectors. */
static void test_rows(const variant *v)
{
    double norm = 0, soft = 0, turned = 0;
    for (int64_t n = 1; n <= 100; n++) {
        float x[100], y[100], freq[50];
        double exact[100], want[100];
        for (int i = 0; i < n; i++)
            exact[i] = (double)(x[i] = uniform(-3, 3));
        vw_ref_rms_norm(n, exact, NULL, 0, 1e-6, want);
        v->pw->rms_norm(n, x, NULL, NULL, 0, 1e-6f, y);
        for (int i = 0; i < n; i++)
            norm = fmax(norm, fabs((double)y[i] - want[i]));
        memcpy(want, exact, sizeof want);
        for (int i = 0; i < n / 2; i++)
            freq[i] = uniform(0, 1);
        vw_ref_rope(n % 2, 0, n / 2 * 2, freq, 1, 777777, want);
        vw_pointwise_rope r = {n % 2, 1, n, 0, n / 2 * 2, freq, 1};
        memcpy(y, x, sizeof y);
        v->pw->rope(&r, 777777, y);
        for (int i = 0; i < n; i++)
            turned = fmax(turned, fabs((double)y[i] - want[i]));
        vw_ref_softmax(n, exact);
        v->pw->softmax(n, x);
        for (int i = 0; i < n; i++)
            soft = fmax(soft, fabs((double)x[i] - exact[i]));
    }
    near(norm, 0, 2e-6, "%s: rms_norm of 1 to 100 values", v->name);
    near(turned, 0, 1e-6, "%s: rope of 1 to 50 pairs", v->name);
    near(soft, 0, 2e-7, "%s: softmax of 1 to 100 values", v->name);
}

/* ---- attention ----------------------------------------------------------------------------- */

typedef struct set_up {
    vw_attention_flash f;
    int64_t queries, S;
    float *q, *k, *v;
    char *pages;
    int32_t *table;
    vw_attention_head head;
    void *scratch;
} set_up;

static void *aligned(size_t bytes)
{
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory, 0xFF, bytes);
    return memory;
}

static set_up make(vw_attention_page page, int64_t group, int64_t queries, int64_t S, int causal,
                   int64_t window)
{
    set_up s = {.queries = queries, .S = S};
    vw_attention_page_plan(&page);
    s.f = (vw_attention_flash){page, group, causal, window, 1.44269504f / sqrtf((float)page.dk), 0};
    int64_t pages = (S + page.tokens - 1) / page.tokens;
    s.q = aligned((size_t)(queries * group * page.dk) * 4);
    s.k = aligned((size_t)(S * page.dk) * 4);
    s.v = aligned((size_t)(S * page.dv) * 4);
    s.pages = aligned((size_t)pages * page.page_bytes);
    s.table = aligned((size_t)pages * 4);
    for (int64_t i = 0; i < queries * group * page.dk; i++)
        s.q[i] = uniform(-2, 2);
    for (int64_t j = 0; j < S; j++) {
        s.table[j / page.tokens] = (int32_t)(pages - 1 - j / page.tokens);
        for (int64_t d = 0; d < page.dk; d++)
            s.k[j * page.dk + d] = uniform(-2, 2);
        for (int64_t d = 0; d < page.dv; d++)
            s.v[j * page.dv + d] = page.is_latent ? s.k[j * page.dk + d] : uniform(-2, 2);
        vw_attention_page_put(&page, s.pages + (size_t)s.table[j / page.tokens] * page.page_bytes,
                              j % page.tokens, 0, s.k + j * page.dk, s.v + j * page.dv);
        if (page.dtype == VW_I8) {
            vw_ref_round_int8(s.k + j * page.dk, page.dk);
            if (page.is_latent)
                memcpy(s.v + j * page.dv, s.k + j * page.dk, (size_t)page.dv * 4);
            else
                vw_ref_round_int8(s.v + j * page.dv, page.dv);
        }
    }
    s.head = (vw_attention_head){s.q, group * page.dk, S - queries, S, s.pages, s.table, 0};
    s.scratch = aligned(vw_attention_scratch_bytes(&s.f));
    return s;
}

static void done(set_up *s)
{
    free(s->q), free(s->k), free(s->v), free(s->pages), free(s->table), free(s->scratch);
}

static const float *key_row(const void *from, int64_t j, float *space)
{
    const set_up *s = from;
    (void)space;
    return s->k + j * s->f.page.dk;
}

static const float *value_row(const void *from, int64_t j, float *space)
{
    const set_up *s = from;
    (void)space;
    return s->v + j * s->f.page.dv;
}

/* Rows [first, first + n) by the kernel, chunk by chunk or in one call; out [n][dv], lse [n]. */
static void by_kernel(const variant *v, set_up *s, int64_t first, int64_t n, int in_chunks,
                      float *out, float *lse)
{
    int64_t chunks = (s->S + VW_ATTENTION_CHUNK - 1) / VW_ATTENTION_CHUNK;
    size_t bytes = vw_attention_state_bytes(&s->f, n);
    void *memory[2] = {aligned(bytes), aligned(bytes)};
    vw_attention_state total = vw_attention_state_at(&s->f, n, memory[0]);
    v->attention->attend(&s->f, &s->head, first, n, 0, in_chunks ? 1 : chunks, &total, s->scratch);
    for (int64_t c = 1; in_chunks && c < chunks; c++) {
        vw_attention_state part = vw_attention_state_at(&s->f, n, memory[1]);
        v->attention->attend(&s->f, &s->head, first, n, c, c + 1, &part, s->scratch);
        v->attention->fold(&s->f, n, &total, &part);
    }
    for (int64_t r = 0; r < n; r++)
        lse[r] = vw_attention_finish(&s->f, &total, r, out + r * s->f.page.dv);
    free(memory[0]), free(memory[1]);
}

/* All rows against the formula; in chunks and row by row the same bits. */
static void check(const variant *v, set_up *s, const char *what)
{
    const vw_attention_page *p = &s->f.page;
    vw_ref_attention a = {p->dk, p->dv, s->f.is_causal, s->f.window, 1 / sqrt((double)p->dk), 0};
    vw_ref_kv kv = {key_row, value_row, s};
    int64_t n = s->queries * s->f.group, wrong = 0;
    float *out = aligned((size_t)(n * p->dv) * 4), *lse = aligned((size_t)n * 4);
    float *again = aligned((size_t)(n * p->dv) * 4), *lse2 = aligned((size_t)n * 4);
    float *want = aligned((size_t)p->dv * 4);
    void *space = aligned(vw_ref_attend_space(&a, s->S));
    double worst = 0;

    by_kernel(v, s, 0, n, 0, out, lse);
    for (int64_t r = 0; r < n; r++) {
        double exact = vw_ref_attend(&a, s->q + r * p->dk, s->S - s->queries + r / s->f.group, s->S,
                                     &kv, want, space);
        if ((double)lse[r] != exact)
            worst = fmax(worst, fabs((double)lse[r] - exact) / 4);
        for (int64_t d = 0; d < p->dv; d++)
            if (!(fabsf(out[r * p->dv + d] - want[d]) <= 4e-6f))
                wrong++;
    }
    ok(wrong == 0 && worst < 2e-6, "%s: %s: %lld rows, %lld keys, %d/%d, %s", v->name, what,
       (long long)n, (long long)s->S, (int)p->dk, (int)p->dv, vw_dtype_name(p->dtype));
    by_kernel(v, s, 0, n, 1, again, lse2);
    wrong = memcmp(out, again, (size_t)(n * p->dv) * 4) || memcmp(lse, lse2, (size_t)n * 4);
    for (int64_t r = 0; r < n; r++)
        by_kernel(v, s, r, 1, 0, again + r * p->dv, lse2 + r);
    wrong += memcmp(out, again, (size_t)(n * p->dv) * 4) || memcmp(lse, lse2, (size_t)n * 4);
    is_int(wrong, 0, "%s: %s: in chunks and row by row the same bits", v->name, what);
    free(out), free(lse), free(again), free(lse2), free(want), free(space);
}

static void test_attention(const variant *v)
{
    for (int rows = 1; rows <= VW_ATTENTION_ROWS; rows++) {
        vw_attention_page page = {.dtype = VW_F32, .tokens = 64, .heads = 1, .dk = 20, .dv = 36};
        set_up s = make(page, rows % 3 ? 1 : 3, rows % 3 ? rows : rows / 3, 130, 1, 0);
        check(v, &s, "every count of rows");
        done(&s);
    }
    static const vw_dtype types[] = {VW_F32, VW_I8};
    for (int i = 0; i < 8; i++) {
        int is_latent = i / 2 % 2, tokens = i / 4 ? 16 : 5;
        vw_attention_page page = {
            types[i % 2], tokens, 1, 50, is_latent ? 40 : 17, is_latent, 0, 0, 0, 0, 0};
        set_up s = make(page, 4, 7, 99, 1, 0);
        check(v, &s, is_latent ? "latent pages" : "pages");
        done(&s);
    }
    vw_attention_page page = {.dtype = VW_F32, .tokens = 128, .heads = 1, .dk = 64, .dv = 64};
    set_up deep = make(page, 2, 5, 1700, 1, 0), window = make(page, 1, 40, 1300, 1, 555);
    set_up open = make(page, 2, 9, 30, 0, 0), empty = make(page, 1, 12, 4, 1, 0);
    check(v, &deep, "chunks");
    check(v, &window, "window over chunks");
    check(v, &open, "no mask");
    check(v, &empty, "rows without a key");
    done(&deep), done(&window), done(&open), done(&empty);
}

static void test_variant(const variant *v)
{
    test_functions(v);
    test_rows(v);
    test_attention(v);
}

int main(void)
{
    variant base = {"base", &vw_attention_base, &vw_pointwise_base};
    variant wide = {"wide", &vw_attention_wide, &vw_pointwise_wide};
    vw_cpu_isa best;
    char why[160];
    test_exp2();
    test_variant(&base);
    test_variant(&wide);
    if (vw_cpu_choose(&best, why, sizeof why) && best != VW_CPU_BASELINE) {
        variant native = {vw_cpu_isa_name(best), vw_attention_for(best), vw_pointwise_for(best)};
        test_variant(&native);
    } else {
        skip(1, "no more than the baseline here");
    }
    return done_testing();
}
