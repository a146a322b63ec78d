/* gemm-check-blocks.c - what is demanded of products with blocks of few bits and quantised activations,
 * of any instruction set.
 *
 * The reference is the definition: codes of vw_ref_quantise_int for each 32 activations, exact integer
 * sums of a block, all else in double.  What is left to a kernel is a chain of float roundings, one
 * a block (two where it has a minimum) and two in each term, which bounds an element by
 * (blocks + 3) * 2^-24 * sum |terms|.
 *
 * Of the formats that are unpacked the chain is known, and with it every bit.
 */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/ref/quant.h"
#include "t/gemm-check.h"
#include "t/tap/tap.h"

#include <stdlib.h>

typedef struct format {
    const char *name;
    vw_block_kind kind;
    int values, bytes;
    void (*dequantise)(const void *, int64_t, float *);
    int n_halves, halves_at; /* numbers of half precision */
    int a_code;              /* a byte that holds codes */
    int group;               /* int4: values of a scale; 0: all */
    vw_dtype scale_dtype;
    int is_exact;            /* the chain of roundings is known */
} format;

static void int4_values(const void *blocks, int64_t n, float *out)
{
    vw_int4_values(blocks, n, out);
}

static const format formats[] = {
    {"q8_0", VW_BLOCK_Q8_0, 32, 34, vw_ref_q8_0, 1, 0, 33, 0, VW_F32, 0},
    {"q4_0", VW_BLOCK_Q4_0, 32, 18, vw_ref_q4_0, 1, 0, 17, 0, VW_F32, 0},
    {"q4_k", VW_BLOCK_Q4_K, 256, 144, vw_ref_q4_k, 2, 0, 143, 0, VW_F32, 1},
    {"q6_k", VW_BLOCK_Q6_K, 256, 210, vw_ref_q6_k, 1, 208, 127, 0, VW_F32, 1},
    {"int4, bf16 for 64", VW_BLOCK_INT4, 8, 4, int4_values, 0, 0, 3, 64, VW_BF16, 1},
    {"int4, f16 for 32", VW_BLOCK_INT4, 8, 4, int4_values, 0, 0, 3, 32, VW_F16, 1},
    {"int4, f32 for a row", VW_BLOCK_INT4, 8, 4, int4_values, 0, 0, 3, 0, VW_F32, 1},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

typedef struct shape {
    int m, n, k;
} shape;

/* Rows and outputs around the sizes of tiles and panels, K around the block that is done at once; it
 * is rounded up to whole blocks of the format. */
static const shape shapes[] = {{1, 64, 64},   {1, 100, 1056}, {1, 7, 32},    {2, 33, 96},
                               {5, 16, 1024}, {6, 40, 2080},  {13, 130, 64}, {29, 17, 1056},
                               {270, 20, 64}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef enum values { RANDOM, EXTREME } values;

typedef struct problem {
    vw_gemm_job job;
    float *x;
    uint8_t *data, *scales;
    void *pack;
    double *want, *bound;
    float *exact;
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

/* Codes at one end or the other, under scales of 6 and 8 bits that are largest. */
static uint8_t extreme(const format *f, size_t block, int byte)
{
    if (f->kind == VW_BLOCK_Q8_0)
        return block % 2 ? 0x80 : 0x7F;
    if (f->kind == VW_BLOCK_Q4_K && byte < 16)
        return 0xFF;
    if (f->kind == VW_BLOCK_Q6_K && byte >= 192)
        return block / 2 % 2 ? 0x80 : 0x7F;
    return block % 2 ? 0x00 : 0xFF;
}

/* Scales of either sign and three decades; codes of all kinds, or all at one end or the other. */
static void fill_weight(const format *f, values v, size_t n_blocks, uint8_t *data)
{
    for (size_t b = 0; b < n_blocks; b++, data += f->bytes) {
        for (int i = 0; i < f->bytes; i++)
            data[i] = v == RANDOM ? (uint8_t)random_bits() : extreme(f, b, i);
        for (int i = 0; i < f->n_halves; i++) {
            uint16_t d = vw_f32_to_f16(random_number() * (b % 3 ? 0.1f : 0.001f));
            memcpy(data + f->halves_at + 2 * i, &d, 2);
        }
    }
}

static int group_of(const format *f, int64_t k)
{
    return f->group ? f->group : (int)k;
}

/* Scales beside, a group of them for each row. */
static void fill_scales(const format *f, size_t n, uint8_t *scales)
{
    for (size_t i = 0; i < n; i++) {
        float x = random_number() * (i % 3 ? 0.1f : 0.001f);
        uint16_t half = f->scale_dtype == VW_BF16 ? vw_f32_to_bf16(x) : vw_f32_to_f16(x);
        if (f->scale_dtype == VW_F32)
            memcpy(scales + 4 * i, &x, 4);
        else
            memcpy(scales + 2 * i, &half, 2);
    }
}

/* 32 values: scale * part[of 16] * code - min. */
typedef struct terms {
    int code[32], part[2];
    float scale, min;
} terms;

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return vw_f16_to_f32(h);
}

static void read_q4_k(const uint8_t *p, int b, terms *t)
{
    const uint8_t *s = p + 4 + b % 4;
    int scale = b < 4 ? s[0] & 63 : (s[8] & 15) + (s[0] >> 6) * 16;
    int min = b < 4 ? s[4] & 63 : (s[8] >> 4) + (s[4] >> 6) * 16;
    t->scale = half_at(p) * (float)scale;
    t->min = half_at(p + 2) * (float)min;
    for (int i = 0; i < 32; i++)
        t->code[i] = p[16 + b / 2 * 32 + i] >> (b % 2 * 4) & 15;
}

static void read_q6_k(const uint8_t *p, int b, terms *t)
{
    t->scale = half_at(p + 208);
    for (int i = 0; i < 2; i++)
        t->part[i] = (int8_t)p[192 + 2 * b + i];
    for (int i = 0; i < 32; i++)
        t->code[i] = (p[b / 4 * 64 + b % 2 * 32 + i] >> (b % 4 / 2 * 4) & 15) +
                     (p[128 + b / 4 * 32 + i] >> (b % 4 * 2) & 3) * 16 - 32;
}

/* Block b of 32 values of output n. */
static void read_terms(const problem *p, const format *f, int64_t n, int64_t b, terms *t)
{
    const vw_gemm_source *w = &p->job.w[0].source;
    const uint8_t *row = p->data + n * (w->k / f->values) * f->bytes;
    const uint8_t *at = row + b * 32 / f->values * f->bytes;
    *t = (terms){.part = {1, 1}};
    switch (f->kind) {
    case VW_BLOCK_Q4_K: read_q4_k(at, (int)(b % 8), t); return;
    case VW_BLOCK_Q6_K: read_q6_k(at, (int)(b % 8), t); return;
    case VW_BLOCK_INT4:
        t->scale = vw_ref_scale(w, n, b * 32);
        for (int i = 0; i < 32; i++)
            t->code[i] = (at[i / 2] >> (i % 2 * 4) & 15) - 8;
        return;
    default:
        t->scale = half_at(at);
        for (int i = 0; i < 32; i++)
            t->code[i] = f->kind == VW_BLOCK_Q8_0 ? (int8_t)at[2 + i]
                                                  : (at[2 + i % 16] >> (i / 16 * 4) & 15) - 8;
    }
}

/* SIMDe has a fused multiply-add where the compiler may use that of the machine. */
#ifdef __FMA__
enum { EMULATION_FUSES = 1 };
#else
enum { EMULATION_FUSES = 0 };
#endif

/* As the vectors of an instruction set have it: with one rounding, or with two. */
static float multiply_add(const problem *p, float a, float b, float c)
{
    const char *name = p->job.kernels->name;
    int is_fused = strncmp(name, "emulated", 8) ? strcmp(name, "base") != 0 : EMULATION_FUSES;
    volatile float product = a * b;
    return is_fused ? fmaf(a, b, c) : product + c;
}

/* What a block adds to one element, of which row and output are given by their places in the arrays. */
static void add_terms(problem *p, const terms *t, const int8_t *codes, float scale, size_t at)
{
    int64_t n_roundings = p->job.k / 32 * (t->min != 0 ? 2 : 1) + 3;
    int sum = 0, all = 0;
    for (int i = 0; i < 32; i++) {
        sum += t->part[i / 16] * t->code[i] * codes[i];
        all += codes[i];
    }
    double product = (double)t->scale * sum * scale, less = (double)t->min * all * scale;
    p->want[at] += product - less;
    p->bound[at] += (fabs(product) + fabs(less)) * (double)n_roundings * 0x1p-24;
    if (t->min != 0)
        p->exact[at] = multiply_add(p, -t->min, scale * (float)all, p->exact[at]);
    p->exact[at] = multiply_add(p, (float)sum, t->scale * scale, p->exact[at]);
}

static void expect(problem *p, const format *f)
{
    const int64_t k = p->job.k, m = p->job.m, n = p->job.w[0].source.n;
    float *scales = malloc((size_t)m * sizeof *scales);
    int8_t *codes = malloc((size_t)m * 32);
    terms t;
    memset(p->want, 0, (size_t)(m * n) * sizeof *p->want);
    memset(p->bound, 0, (size_t)(m * n) * sizeof *p->bound);
    memset(p->exact, 0, (size_t)(m * n) * sizeof *p->exact);
    for (int64_t b = 0; b < k / 32; b++) {
        for (int64_t i = 0; i < m; i++)
            scales[i] = vw_ref_quantise_int(p->x + i * p->job.x_stride + b * 32, 32,
                                            p->job.blocks->most, codes + i * 32);
        for (int64_t j = 0; j < n; j++) {
            read_terms(p, f, j, b, &t);
            for (int64_t i = 0; i < m; i++)
                add_terms(p, &t, codes + i * 32, scales[i], (size_t)(i * n + j));
        }
    }
    free(scales), free(codes);
}

static void make_weight(problem *p, const format *f, shape s, values v)
{
    const size_t n_blocks = (size_t)s.n * (size_t)(s.k / f->values);
    const int group = group_of(f, s.k), groups = (s.k + group - 1) / group;
    vw_gemm_operand *w = &p->job.w[0];
    p->data = malloc(n_blocks * (size_t)f->bytes);
    fill_weight(f, v, n_blocks, p->data);
    w->layout = VW_GEMM_PANEL_BLOCKS;
    w->source = (vw_gemm_source){.data = p->data, .dtype = VW_BLOCK, .n = s.n, .k = s.k,
                                 .row_stride = s.k, .block_kind = (int)f->kind,
                                 .block_elements = f->values, .block_bytes = f->bytes,
                                 .dequantise = f->dequantise};
    if (f->kind == VW_BLOCK_INT4) {
        w->source.scales = p->scales = malloc((size_t)(s.n * groups) * 4);
        w->source.scale_dtype = f->scale_dtype;
        w->source.scale_rows = 1, w->source.scale_cols = group, w->source.scale_stride = groups;
        fill_scales(f, (size_t)(s.n * groups), p->scales);
    }
    w->scale_k = s.k;
    w->pack = p->pack = aligned_alloc(64, (vw_gemm_blocks_bytes(&w->source) + 63) / 64 * 64);
    for (int first = 0; first < s.n; first += 64)
        vw_gemm_pack(p->job.kernels, &w->source, w->layout, s.k, 0, first,
                     s.n - first < 64 ? s.n - first : 64, p->pack, NULL);
}

static void make_problem(problem *p, const vw_gemm_kernels *kernels, const vw_gemm_blocks *blocks,
                         const format *f, shape s, values v)
{
    s.k = (s.k + f->values - 1) / f->values * f->values;
    const size_t m = (size_t)s.m, n = (size_t)s.n;
    memset(p, 0, sizeof *p);
    seed = (uint32_t)(s.m * 1000003 + s.n * 1009 + s.k);
    p->x = malloc(m * (size_t)(s.k + 5) * sizeof *p->x);
    for (size_t i = 0; i < m * (size_t)(s.k + 5); i++)
        p->x[i] = v == RANDOM ? random_number() : i / 32 % 3 ? 2.0f : -2.0f;
    p->job = (vw_gemm_job){.kernels = kernels, .m = s.m, .k = s.k, .x = p->x, .x_stride = s.k + 5,
                           .x_step = 1, .n_weights = 1, .blocks = blocks};
    make_weight(p, f, s, v);
    p->want = malloc(m * n * sizeof *p->want);
    p->bound = malloc(m * n * sizeof *p->bound);
    p->exact = malloc(m * n * sizeof *p->exact);
    expect(p, f);
}

static void free_problem(problem *p)
{
    free(p->x), free(p->data), free(p->scales), free(p->pack);
    free(p->want), free(p->bound), free(p->exact);
}

/* The results of all weights, one behind the other. */
static float *run(const problem *p, int n_parts)
{
    vw_gemm_job job = p->job;
    int64_t n = 0;
    for (int i = 0; i < job.n_weights; i++)
        n += job.w[i].source.n;
    float *y = malloc((size_t)(job.m * n) * sizeof *y), *at = y;
    job.workspace = aligned_alloc(256, vw_gemm_workspace(job.kernels, job.m, job.k, 0, n_parts) + 256);
    for (int i = 0; i < job.n_weights; i++) {
        job.y[i] = at;
        job.y_stride[i] = job.w[i].source.n;
        at += job.m * job.w[i].source.n;
    }
    for (int i = 0; i < n_parts; i++)
        vw_gemm_prepare(&job, i, n_parts);
    for (int i = 0; i < n_parts; i++)
        vw_gemm_multiply(&job, i, n_parts);
    free(job.workspace);
    return y;
}

static int is_within(const problem *p, const format *f, const float *y)
{
    int64_t count = p->job.m * p->job.w[0].source.n;
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(y[i] - p->want[i]) <= p->bound[i]))
            return 0;
    return !f->is_exact || !memcmp(y, p->exact, (size_t)count * sizeof *y);
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
        n_right += is_within(&p, f, one);
        n_same += !memcmp(one, three, count * sizeof *one);
        n_rows += is_batch_of_rows(&p, one);
        p.data[f->a_code] ^= 0x10; /* one code of the first output, by 1 or by 16 */
        if (v == RANDOM)
            expect(&p, f);
        n_found += !is_within(&p, f, one);
        free(one), free(three);
        free_problem(&p);
    }
    const char *what = v == RANDOM ? "random codes" : "codes at their limits";
    is_int(n_right, N_SHAPES, "%s: %s, codes up to %d: %s, %s", kernels->name, f->name, blocks->most,
           f->is_exact ? "every bit" : "the definition", what);
    is_int(n_same, N_SHAPES, "%s: %s, codes up to %d: the same in 3 parts, %s", kernels->name, f->name,
           blocks->most, what);
    is_int(n_rows, N_SHAPES, "%s: %s, codes up to %d: a row alone is that of a batch, %s",
           kernels->name, f->name, blocks->most, what);
    is_int(n_found, v == RANDOM ? N_SHAPES : 0, "%s: %s, codes up to %d: one changed code is found, %s",
           kernels->name, f->name, blocks->most, what);
}

/* A pack gives back the values that were stored, as single rows and as panels, and holds no byte
 * more than the file, whole panels apart. */
static void check_values(const vw_gemm_kernels *kernels, const format *f)
{
    problem p;
    int n_rows = 0, n_values = 0;
    float *want = malloc(1280 * sizeof *want), *got = malloc(1280 * sizeof *got);
    float *panel = malloc(960 * VW_GEMM_PANEL * sizeof *panel);
    make_problem(&p, kernels, &kernels->blocks[0], f, (shape){1, 19, 1056}, RANDOM);
    const vw_gemm_operand *w = &p.job.w[0];
    size_t row = (size_t)(w->source.k / f->values * f->bytes);
    if (p.scales)
        row += (size_t)w->source.scale_stride * vw_dtype_bits(f->scale_dtype) / 8;
    is_int((long long)vw_gemm_blocks_bytes(&w->source), (long long)(32 * row),
           "%s: %s: a pack is as large as what is stored", kernels->name, f->name);
    kernels->expand(w, 16, 96, 960, panel);
    for (int n = 0; n < 19; n++) {
        vw_ref_weight_row(&w->source, n, want);
        vw_gemm_gather_row(w, n, 1.0f, got);
        n_rows += !memcmp(got, want, (size_t)w->source.k * sizeof *want);
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
    uint32_t nan = 0x7FFF7FFF; /* in every format of a scale */
    make_problem(&p, kernels, &kernels->blocks[0], f, (shape){9, 40, 96}, RANDOM);
    size_t bytes = f->kind == VW_BLOCK_INT4 && f->scale_dtype == VW_F32 ? 4 : 2;
    p.x[4 * p.job.x_stride + 50] = NAN;
    memcpy((char *)p.pack + vw_gemm_blocks_bytes(&p.job.w[0].source) / 3 + bytes * 9, &nan, bytes);
    float *y = run(&p, 2);
    for (int i = 0; i < 9 * 40; i++)
        n_right += (isnan(y[i]) != 0) == (i / 40 == 4 || i % 40 == 16 + 9);
    is_int(n_right, 9 * 40, "%s: %s: NaN stays in its row and its output", kernels->name, f->name);
    free(y);
    free_problem(&p);
}

/* Weights of different formats share the activations of one product, for rows and for tiles. */
static void check_mixture(const vw_gemm_kernels *kernels, int m)
{
    problem p[VW_GEMM_WEIGHTS], all;
    static const int which[VW_GEMM_WEIGHTS] = {2, 3, 0, 4};
    int n_same = 0;
    for (int i = 0; i < VW_GEMM_WEIGHTS; i++) {
        make_problem(&p[i], kernels, &kernels->blocks[0], &formats[which[i]], (shape){m, 20 + 9 * i, 512},
                     RANDOM);
        memcpy(p[i].x, p[0].x, (size_t)(m * 517) * sizeof(float));
    }
    all = p[0];
    all.job.n_weights = VW_GEMM_WEIGHTS;
    for (int i = 1; i < VW_GEMM_WEIGHTS; i++)
        all.job.w[i] = p[i].job.w[0];
    float *y = run(&all, 3), *at = y;
    for (int i = 0; i < VW_GEMM_WEIGHTS; i++) {
        float *one = run(&p[i], 1);
        size_t count = (size_t)(m * (20 + 9 * i));
        n_same += !memcmp(at, one, count * sizeof *one);
        at += count;
        free(one);
    }
    is_int(n_same, VW_GEMM_WEIGHTS, "%s: four formats in one product, %d rows", kernels->name, m);
    free(y);
    for (int i = 0; i < VW_GEMM_WEIGHTS; i++)
        free_problem(&p[i]);
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
    check_mixture(kernels, 1);
    check_mixture(kernels, 9);
}
