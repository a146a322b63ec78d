/* gemm-check-blocks.c - what is demanded of products with GGUF's blocks and quantised activations, of
 * any instruction set.
 *
 * The reference is the definition: codes of vw_ref_quantise_int for each 32 activations, exact integer
 * sums of a block, all else in double.  What is left to a kernel is a chain of float roundings, one
 * a block and two in each term, which bounds an element by (blocks + 3) * 2^-24 * sum |terms|.
 */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/ref/quant.h"
#include "t/gemm-check.h"
#include "t/tap/tap.h"

#include <stdlib.h>

typedef struct format {
    const char *name;
    vw_block_kind kind;
    int bytes;
    void (*dequantise)(const void *, int64_t, float *);
} format;

static const format formats[] = {
    {"q8_0", VW_BLOCK_Q8_0, 34, vw_ref_q8_0},
    {"q4_0", VW_BLOCK_Q4_0, 18, vw_ref_q4_0},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

typedef struct shape {
    int m, n, k;
} shape;

/* Rows and outputs around the sizes of tiles and panels, K around the block that is done at once. */
static const shape shapes[] = {{1, 64, 64},   {1, 100, 1056}, {1, 7, 32},    {2, 33, 96},
                               {5, 16, 1024}, {6, 40, 2080},  {13, 130, 64}, {29, 17, 1056},
                               {270, 20, 64}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef enum values { RANDOM, EXTREME } values;

typedef struct problem {
    vw_gemm_job job;
    float *x;
    uint8_t *data;
    void *pack;
    double *want, *bound;
} problem;

static uint32_t seed;

static uint32_t random_bits(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static float random_number(void)
{
    return (float)((int)(random_bits() & 0xFFFF) - 0x8000) * 0x1p-14f;
}

/* Scales of either sign and three decades; codes of all kinds, or all at one end or the other. */
static void fill_weight(const format *f, values v, size_t n_blocks, uint8_t *data)
{
    for (size_t b = 0; b < n_blocks; b++, data += f->bytes) {
        uint16_t d = vw_f32_to_f16(random_number() * (b % 3 ? 0.1f : 0.001f));
        memcpy(data, &d, 2);
        for (int i = 2; i < f->bytes; i++)
            data[i] = v == RANDOM ? (uint8_t)random_bits()
                      : f->kind == VW_BLOCK_Q4_0 ? (b % 2 ? 0x00 : 0xFF) : (b % 2 ? 0x80 : 0x7F);
    }
}

static int code_of(const format *f, const uint8_t *block, int i)
{
    if (f->kind == VW_BLOCK_Q8_0)
        return (int8_t)block[2 + i];
    return (block[2 + i % 16] >> (i / 16 * 4) & 15) - 8;
}

static void expect(problem *p, const format *f)
{
    const int64_t k = p->job.k, n = p->job.w[0].source.n;
    int8_t codes[32];
    memset(p->want, 0, (size_t)(p->job.m * n) * sizeof *p->want);
    memset(p->bound, 0, (size_t)(p->job.m * n) * sizeof *p->bound);
    for (int64_t m = 0; m < p->job.m; m++)
        for (int64_t b = 0; b < k / 32; b++) {
            double scale = vw_ref_quantise_int(p->x + m * p->job.x_stride + b * 32, 32,
                                               p->job.blocks->most, codes);
            for (int64_t j = 0; j < n; j++) {
                const uint8_t *block = p->data + (j * (k / 32) + b) * f->bytes;
                uint16_t d;
                int sum = 0;
                memcpy(&d, block, 2);
                for (int i = 0; i < 32; i++)
                    sum += code_of(f, block, i) * codes[i];
                p->want[m * n + j] += sum * scale * vw_f16_to_f32(d);
                p->bound[m * n + j] += fabs(sum * scale * vw_f16_to_f32(d)) *
                                       (double)(k / 32 + 3) * 0x1p-24;
            }
        }
}

static void make_problem(problem *p, const vw_gemm_kernels *kernels, const vw_gemm_blocks *blocks,
                         const format *f, shape s, values v)
{
    const size_t m = (size_t)s.m, n = (size_t)s.n, n_blocks = n * (size_t)s.k / 32;
    memset(p, 0, sizeof *p);
    seed = (uint32_t)(s.m * 1000003 + s.n * 1009 + s.k);
    p->x = malloc(m * (size_t)(s.k + 5) * sizeof *p->x);
    for (size_t i = 0; i < m * (size_t)(s.k + 5); i++)
        p->x[i] = v == RANDOM ? random_number() : i / 32 % 3 ? 2.0f : -2.0f;
    p->data = malloc(n_blocks * (size_t)f->bytes);
    fill_weight(f, v, n_blocks, p->data);
    p->job = (vw_gemm_job){.kernels = kernels, .m = s.m, .k = s.k, .x = p->x, .x_stride = s.k + 5,
                           .x_step = 1, .n_weights = 1, .blocks = blocks};
    vw_gemm_operand *w = &p->job.w[0];
    w->layout = VW_GEMM_PANEL_BLOCKS;
    w->source = (vw_gemm_source){.data = p->data, .dtype = VW_BLOCK, .n = s.n, .k = s.k,
                                 .row_stride = s.k, .block_kind = (int)f->kind,
                                 .block_elements = 32, .block_bytes = f->bytes,
                                 .dequantise = f->dequantise};
    w->scale_k = s.k;
    w->pack = p->pack = aligned_alloc(64, (vw_gemm_blocks_bytes(&w->source) + 63) / 64 * 64);
    for (int first = 0; first < s.n; first += 64)
        vw_gemm_pack(kernels, &w->source, w->layout, s.k, 0, first,
                     s.n - first < 64 ? s.n - first : 64, p->pack, NULL);
    p->want = malloc(m * n * sizeof *p->want);
    p->bound = malloc(m * n * sizeof *p->bound);
    expect(p, f);
}

static void free_problem(problem *p)
{
    free(p->x), free(p->data), free(p->pack), free(p->want), free(p->bound);
}

static float *run(const problem *p, int n_parts)
{
    vw_gemm_job job = p->job;
    int64_t n = job.w[0].source.n;
    float *y = malloc((size_t)(job.m * n) * sizeof *y);
    job.workspace = aligned_alloc(256, vw_gemm_workspace(job.kernels, job.m, job.k, 0, n_parts) + 256);
    job.y[0] = y;
    job.y_stride[0] = n;
    for (int i = 0; i < n_parts; i++)
        vw_gemm_prepare(&job, i, n_parts);
    for (int i = 0; i < n_parts; i++)
        vw_gemm_multiply(&job, i, n_parts);
    free(job.workspace);
    return y;
}

static int is_within(const problem *p, const float *y)
{
    for (int64_t i = 0; i < p->job.m * p->job.w[0].source.n; i++)
        if (!(fabs(y[i] - p->want[i]) <= p->bound[i]))
            return 0;
    return 1;
}

/* Each row alone gives its row of the batch, bit for bit. */
static int is_batch_of_rows(const problem *p, const float *y)
{
    int64_t n = p->job.w[0].source.n, n_same = 0;
    for (int64_t i = 0; i < p->job.m; i += 7) {
        problem row = *p;
        row.job.m = 1;
        row.job.x += i * p->job.x_stride;
        float *one = run(&row, 1);
        n_same += !memcmp(one, y + i * n, (size_t)n * sizeof *one);
        free(one);
    }
    return n_same == (p->job.m + 6) / 7;
}

static void check_products(const vw_gemm_kernels *kernels, const vw_gemm_blocks *blocks,
                           const format *f, values v)
{
    int n_right = 0, n_same = 0, n_rows = 0, n_found = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        problem p;
        make_problem(&p, kernels, blocks, f, shapes[i], v);
        float *one = run(&p, 1), *three = run(&p, 3);
        size_t count = (size_t)(shapes[i].m * shapes[i].n);
        n_right += is_within(&p, one);
        n_same += !memcmp(one, three, count * sizeof *one);
        n_rows += is_batch_of_rows(&p, one);
        p.data[f->bytes - 1] ^= 0x10; /* one code of the first output, by 1 or by 16 */
        if (v == RANDOM)
            expect(&p, f);
        n_found += !is_within(&p, one);
        free(one), free(three);
        free_problem(&p);
    }
    const char *what = v == RANDOM ? "random codes" : "codes at their limits";
    is_int(n_right, N_SHAPES, "%s: %s, codes up to %d: the definition, %s", kernels->name, f->name,
           blocks->most, what);
    is_int(n_same, N_SHAPES, "%s: %s, codes up to %d: the same in 3 parts, %s", kernels->name, f->name,
           blocks->most, what);
    is_int(n_rows, N_SHAPES, "%s: %s, codes up to %d: a row alone is that of a batch, %s",
           kernels->name, f->name, blocks->most, what);
    is_int(n_found, v == RANDOM ? N_SHAPES : 0, "%s: %s, codes up to %d: one changed code is found, %s",
           kernels->name, f->name, blocks->most, what);
}

/* A pack gives back the values that were stored, as single rows and as panels. */
static void check_values(const vw_gemm_kernels *kernels, const format *f)
{
    problem p;
    int n_rows = 0, n_values = 0;
    float *want = malloc(1056 * sizeof *want), *got = malloc(1056 * sizeof *got);
    float *panel = malloc(960 * VW_GEMM_PANEL * sizeof *panel);
    make_problem(&p, kernels, &kernels->blocks[0], f, (shape){1, 19, 1056}, RANDOM);
    kernels->expand(&p.job.w[0], 16, 96, 960, panel);
    for (int n = 0; n < 19; n++) {
        vw_ref_weight_row(&p.job.w[0].source, n, want);
        vw_gemm_gather_row(&p.job.w[0], n, 1.0f, got);
        n_rows += !memcmp(got, want, 1056 * sizeof *want);
        for (int k = 0; n >= 16 && k < 960; k++)
            n_values += panel[k * VW_GEMM_PANEL + n - 16] == want[96 + k];
    }
    is_int(n_rows, 19, "%s: %s: rows of a pack to the bit", kernels->name, f->name);
    is_int(n_values, 3 * 960, "%s: %s: panels of a pack to the bit", kernels->name, f->name);
    free(want), free(got), free(panel);
    free_problem(&p);
}

/* A NaN stays in its row of X, and in its output. */
static void check_nan(const vw_gemm_kernels *kernels, const format *f)
{
    problem p;
    int n_right = 0;
    uint16_t nan = 0x7E00;
    make_problem(&p, kernels, &kernels->blocks[0], f, (shape){9, 40, 96}, RANDOM);
    p.x[4 * p.job.x_stride + 50] = NAN;
    memcpy((char *)p.pack + vw_gemm_blocks_bytes(&p.job.w[0].source) / 3 + 2 * 9, &nan, 2);
    float *y = run(&p, 2);
    for (int i = 0; i < 9 * 40; i++)
        n_right += (isnan(y[i]) != 0) == (i / 40 == 4 || i % 40 == 16 + 9);
    is_int(n_right, 9 * 40, "%s: %s: NaN stays in its row and its output", kernels->name, f->name);
    free(y);
    free_problem(&p);
}

void check_blocks(const vw_gemm_kernels *kernels)
{
    for (int f = 0; f < N_FORMATS; f++) {
        for (int i = 0; i < 2; i++) {
            check_products(kernels, &kernels->blocks[i], &formats[f], RANDOM);
            check_products(kernels, &kernels->blocks[i], &formats[f], EXTREME);
        }
        check_values(kernels, &formats[f]);
        check_nan(kernels, &formats[f]);
    }
}
