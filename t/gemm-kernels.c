/* gemm-kernels.c - the matrix kernels of every instruction set that this machine has, and the plain
 * quantisers against the vectors of gemm.md, section 15. */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/quant.h"
#include "t/gemm-check.h"
#include "t/tap/tap.h"

#include <stdlib.h>

static uint64_t fnv(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void check_e4m3(void)
{
    static const struct {
        float x;
        uint8_t code;
    } codes[] = {
        {0, 0x00}, {-0.0f, 0x80}, {0x1p-11f, 0x00}, {0x1p-10f, 0x00}, {3 * 0x1p-11f, 0x01},
        {0x1p-9f, 0x01}, {3 * 0x1p-10f, 0x02}, {0x1p-6f, 0x08}, {1, 0x38}, {1.0625f, 0x38},
        {1.1875f, 0x3a}, {-1.0625f, 0xb8}, {17, 0x58}, {19, 0x5a}, {447, 0x7e}, {448, 0x7e},
        {464, 0x7e}, {1e9f, 0x7e}, {INFINITY, 0x7e}, {NAN, 0x7f},
    };
    float table[256];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        is_int(vw_f32_to_e4m3(codes[i].x), codes[i].code, "e4m3 of %g", (double)codes[i].x);
    for (int i = 0; i < 256; i++)
        table[i] = vw_e4m3_to_f32((uint8_t)i);
    ok(fnv(table, sizeof table) == 0xdad1d9c50f749ca5u, "the 256 values of e4m3");
}

static void check_quantiser(void)
{
    float x[128], scale;
    uint8_t codes[128];
    for (int i = 0; i < 128; i++)
        x[i] = (float)(((37 * i) % 101) - 50) * 0.125f * (float)(1 + i % 3);
    vw_ref_quantise_e4m3(x, 128, 1, 128, 1, 128, 0, codes, &scale);
    is_int(vw_f32_bits(scale), 0x3d2b6db7, "scale of a group");
    ok(fnv(codes, 128) == 0xc7b2f45109989dc1u, "codes of a group");
    vw_ref_quantise_e4m3(x, 128, 1, 128, 1, 128, 1, codes, &scale);
    is_int(vw_f32_bits(scale), 0x3d800000, "scale that is a power of two");
    ok(fnv(codes, 128) == 0xa76c368d809ece86u, "codes for a scale that is a power of two");
    memset(x, 0, sizeof x);
    vw_ref_quantise_e4m3(x, 128, 1, 128, 1, 128, 0, codes, &scale);
    is_int(vw_f32_bits(scale), 0x346facad, "scale of zeros");
    vw_ref_quantise_e4m3(x, 128, 1, 128, 1, 128, 1, codes, &scale);
    is_int(vw_f32_bits(scale), 0x34800000, "scale of zeros, a power of two");
    is_int(fnv(codes, 128), fnv(x, 128), "codes of zeros");
    float pair[2] = {1.078125f, 0.101074219f};
    vw_ref_quantise_e4m3(pair, 2, 1, 2, 1, 128, 0, codes, &scale);
    is_int(codes[1], 0x63, "form A: times one over the scale");
    pair[0] = 1.53125f, pair[1] = 0.00534057617f;
    vw_ref_quantise_e4m3(pair, 2, 1, 2, 1, 128, 0, codes, &scale);
    is_int(codes[1], 0x3d, "form A, not a division by the scale");
    float odd[3] = {INFINITY, 448, NAN};
    is_int(vw_ref_quantise_e4m3(odd, 3, 1, 3, 1, 128, 0, codes, &scale), 2, "not finite: counted");
    ok(scale == 1 && codes[0] == 0x7e && codes[1] == 0x7e && codes[2] == 0x7f,
       "amax over the finite values, infinity saturates, NaN is NaN");
}

/* The product whose every partial sum is exact: one answer for all. */
static void check_exact(const vw_gemm_kernels *kernels)
{
    enum { M = 5, N = 136, K = 272 };
    static uint8_t a[M * K], b[N * K];
    static float x[M * K], y[M * N], b_scales[2 * 3];
    static uint16_t y16[M * N];
    for (int m = 0; m < M; m++)
        for (int k = 0; k < K; k++) {
            a[m * K + k] = vw_f32_to_e4m3((float)((7 * m + 3 * k) % 17 - 8));
            x[m * K + k] = vw_e4m3_to_f32(a[m * K + k]) * ldexpf(1, (m + 2 * (k / 128)) % 5 - 2);
        }
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            b[n * K + k] = vw_f32_to_e4m3((float)((5 * n + 11 * k) % 13 - 6));
            b_scales[n / 128 * 3 + k / 128] = ldexpf(1, (n / 128 + 3 * (k / 128)) % 4 - 1);
        }
    ok(fnv(a, sizeof a) == 0x5ef58cb949126ce5u && fnv(b, sizeof b) == 0x2e71a256a758a05fu,
       "operands of the exact product");
    vw_gemm_job job = {.kernels = kernels, .m = M, .k = K, .x = x, .x_stride = K, .x_step = 1, .n_weights = 1,
                       .y = {y}, .y_stride = {N}};
    job.w[0].source = (vw_gemm_source){.data = b, .dtype = VW_E4M3, .n = N, .k = K,
                                       .row_stride = K, .scales = b_scales, .scale_dtype = VW_F32,
                                       .scale_rows = 128, .scale_cols = 128, .scale_stride = 3};
    job.workspace = aligned_alloc(256, vw_gemm_workspace(kernels, M, K, 0, 1) + 256);
    for (job.is_one_path = 0; job.is_one_path < 2; job.is_one_path++) {
        if (vw_gemm_needs_prepare(&job))
            vw_gemm_prepare(&job, 0, 1);
        vw_gemm_multiply(&job, 0, 1);
        for (int i = 0; i < M * N; i++)
            y16[i] = vw_f32_to_bf16(y[i]);
        ok(fnv(y, sizeof y) == 0x7f5641dab4fe7ca7u && fnv(y16, sizeof y16) == 0x2c957f55e5554f72u,
           "%s: the exact product of e4m3 in blocks, %s", kernels->name,
           job.is_one_path ? "tiles" : "rows");
    }
    free(job.workspace);
}

/* Any bits at all, and in the second half all values next to each other around the smallest: the
 * kernels' e4m3 is the plain one's, to the bit, in every width and with a ragged last group. */
static void check_rounding(const vw_gemm_kernels *kernels)
{
    static const int widths[] = {1, 2, VW_GEMM_PANEL};
    enum { K = 300, N = K * VW_GEMM_PANEL };
    static float x[N], y[N], column[K];
    uint32_t state = 1;
    int n_wrong = 0;
    for (int turn = 0; turn < 60; turn++) {
        int wide = turn % 4 == 3 ? kernels->rows : widths[turn % 4];
        for (int i = 0; i < N; i++) {
            state = state * 1664525 + 1013904223;
            x[i] = turn % 3 == 0   ? vw_bits_f32(state)
                   : turn % 3 == 1 ? ldexpf((float)(int32_t)state, -31 - (int)(state >> 3) % 20)
                                   : ldexpf((float)(i % 500), -11) * (state & 1 ? 1 : -1);
        }
        memcpy(y, x, sizeof x);
        kernels->round_groups(y, K, wide);
        for (int c = 0; c < wide; c++) {
            for (int k = 0; k < K; k++)
                column[k] = x[k * wide + c];
            for (int k = 0; k < K; k += 128) {
                int n = K - k < 128 ? K - k : 128;
                vw_ref_round_e4m3(column + k, n, vw_ref_e4m3_scale(vw_ref_amax(column + k, n)));
            }
            for (int k = 0; k < K; k++)
                n_wrong += isnan(column[k])
                               ? !isnan(y[k * wide + c])
                               : vw_f32_bits(column[k]) != vw_f32_bits(y[k * wide + c]);
        }
        memcpy(y, x, sizeof x);
        float scale = vw_ref_e4m3_scale(kernels->amax(y, K, VW_GEMM_PANEL, K - 1));
        float amax = 0;
        for (int r = 0; r < VW_GEMM_PANEL; r++)
            amax = fmaxf(amax, vw_ref_amax(x + r * K, K - 1));
        n_wrong += scale != vw_ref_e4m3_scale(amax);
        kernels->round_by(scale, N, y);
        vw_ref_round_e4m3(x, N, scale);
        for (int i = 0; i < N; i++)
            n_wrong += isnan(x[i]) ? !isnan(y[i]) : vw_f32_bits(x[i]) != vw_f32_bits(y[i]);
    }
    is_int(n_wrong, 0, "%s: e4m3 and back as the plain quantiser, to the bit", kernels->name);
}

/* The plain one is what quantising to codes and scales leaves. */
static void check_plain_rounding(void)
{
    float x[200], scale[2];
    uint8_t codes[200];
    int n_wrong = 0;
    for (int i = 0; i < 200; i++)
        x[i] = (float)((37 * i) % 101 - 50) * ldexpf(1, i % 13);
    vw_ref_quantise_e4m3(x, 200, 1, 200, 1, 128, 0, codes, scale);
    for (int g = 0; g < 2; g++)
        vw_ref_round_e4m3(x + 128 * g, g ? 72 : 128,
                          vw_ref_e4m3_scale(vw_ref_amax(x + 128 * g, g ? 72 : 128)));
    for (int i = 0; i < 200; i++)
        n_wrong += x[i] != vw_e4m3_to_f32(codes[i]) * scale[i / 128];
    is_int(n_wrong, 0, "rounding is quantising and back");
}

int main(void)
{
    const vw_gemm_kernels *sets[VW_CPU_ISAS] = {&vw_gemm_kernels_base};
#ifdef HAVE_ISA_AVX2
    sets[VW_CPU_AVX2] = &vw_gemm_kernels_avx2;
#endif
#ifdef HAVE_ISA_AVX512
    sets[VW_CPU_AVX512] = &vw_gemm_kernels_avx512;
#endif
#ifdef HAVE_ISA_VNNI
    sets[VW_CPU_VNNI] = &vw_gemm_kernels_vnni;
#endif
    check_e4m3();
    check_quantiser();
    check_plain_rounding();
    for (int i = 0; i < VW_CPU_ISAS; i++) {
        vw_cpu_isa isa;
        char why[128];
        setenv("VW_CPU", vw_cpu_isa_name((vw_cpu_isa)i), 1);
        if (!vw_cpu_choose(&isa, why, sizeof why)) {
            skip_unless_required(vw_cpu_isa_name((vw_cpu_isa)i), 1, "%s", why);
            continue;
        }
        check_exact(sets[i]);
        check_rounding(sets[i]);
        check_kernels(sets[i]);
        check_blocks(sets[i]);
    }
    setenv("VW_CPU", "mmx", 1);
    vw_cpu_isa isa;
    char why[128];
    ok(!vw_cpu_choose(&isa, why, sizeof why), "an instruction set that does not exist");
    is_str(why, "VW_CPU = mmx: not an instruction set; baseline, avx2, avx512 or vnni can be asked "
                "for", "is an error with this sentence");
    return done_testing();
}
