/* gemm-check.c - what is demanded of the matrix kernels of any instruction set.
 *
 * Weights lie right before a page that cannot be read, so that reading past a row's end is a crash and
 * not luck; results have a guard around them.  The bound of an element is the textbook one for a sum
 * in any order: (K + 4) * 2^-24 * sum |x w| (Higham 2002, section 3.1).
 */
#include "t/gemm-check.h"

#include "kernels/cpu/gemm-pack.h"
#include "kernels/ref/quant.h"
#include "t/tap/tap.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct shape {
    int m, n, k;
} shape;

/* A weight to test with: how it is stored and how it is given to the kernels. */
typedef struct form {
    const char *name;
    vw_dtype dtype;
    int is_in_out;
    int scale_rows, scale_cols; /* 0: none; -1: the whole dimension */
    vw_gemm_layout layout;
    int scale_k; /* PANEL_S8: 0 for the whole row */
} form;

typedef struct problem {
    vw_gemm_job job;
    float *values;      /* [N][K], what the weight is worth */
    float *x, *want, *bound;
    char *workspace;
    void *map[4], *pack[4], *scales[4];
    size_t map_bytes[4];
    int n_maps;
} problem;

static uint64_t seed = 1;

/* A normal-like number in (-3, 3). */
static float number(void)
{
    float sum = 0;
    for (int i = 0; i < 3; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(seed >> 40) * 0x1p-23f - 1.0f;
    }
    return sum;
}

/* `bytes` that end where the readable memory ends. */
static void *guarded(problem *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page) / page * page;
    char *map = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        bail_out("no memory for a guarded weight");
    mprotect(map + whole, page, PROT_NONE);
    p->map[p->n_maps] = map;
    p->map_bytes[p->n_maps++] = whole + page;
    return map + whole - bytes;
}

static void put(vw_dtype dtype, void *data, size_t i, float x)
{
    uint8_t *p = data;
    uint16_t h = dtype == VW_BF16 ? vw_f32_to_bf16(x) : vw_f32_to_f16(x);
    switch (dtype) {
    case VW_F32: memcpy(p + 4 * i, &x, 4); break;
    case VW_BF16: case VW_F16: memcpy(p + 2 * i, &h, 2); break;
    case VW_E4M3: p[i] = vw_f32_to_e4m3(x); break;
    case VW_E5M2: p[i] = vw_f32_to_e5m2(x); break;
    default: p[i] = (uint8_t)(int8_t)nearbyintf(x * 42);
    }
}

/* A random stored matrix. */
static vw_gemm_source make_source(problem *p, const form *f, int n, int k)
{
    int rows = f->is_in_out ? k : n, cols = f->is_in_out ? n : k;
    int64_t stride = cols + (f->is_in_out ? 3 : 0);
    vw_gemm_source s = {.dtype = f->dtype, .is_in_out = f->is_in_out, .n = n, .k = k,
                        .row_stride = stride};
    size_t size = vw_dtype_bits(f->dtype) / 8, count = rows ? (size_t)((rows - 1) * stride + cols) : 0;
    void *data = guarded(p, count * size);
    for (size_t i = 0; i < count; i++)
        put(f->dtype, data, i, number());
    s.data = data;
    if (f->scale_rows) {
        s.scale_rows = f->scale_rows < 0 ? (rows ? rows : 1) : f->scale_rows;
        s.scale_cols = f->scale_cols < 0 ? (cols ? cols : 1) : f->scale_cols;
        s.scale_stride = (cols + s.scale_cols - 1) / s.scale_cols;
        size_t scales = (size_t)((rows + s.scale_rows - 1) / s.scale_rows * s.scale_stride);
        float *scale = p->scales[p->n_maps - 1] = malloc((scales + 1) * sizeof *scale);
        for (size_t i = 0; i < scales; i++)
            scale[i] = 0.01f * (2 + number());
        s.scales = scale;
        s.scale_dtype = VW_F32;
    }
    return s;
}

/* What each weight is worth, by the plain definitions. */
static void values_of(const vw_gemm_operand *w, int is_kept, float *out)
{
    int64_t group = w->scale_k < w->source.k ? w->scale_k : w->source.k;
    for (int64_t n = 0; n < w->source.n; n++, out += w->source.k) {
        vw_ref_weight_row(&w->source, n, out);
        for (int64_t k = 0; w->layout == VW_GEMM_PANEL_S8 && !is_kept && k < w->source.k; k += group)
            vw_ref_round_int8(out + k, w->source.k - k < group ? w->source.k - k : group);
    }
}

static void add_weight(problem *p, const vw_gemm_kernels *kernels, const form *f, int n, int k)
{
    int i = p->job.n_weights++, is_kept;
    vw_gemm_operand *w = &p->job.w[i];
    int64_t kept_k;
    w->source = make_source(p, f, n, k);
    w->layout = f->layout;
    w->scale_k = f->scale_k ? f->scale_k : k ? k : 1;
    is_kept = f->layout == VW_GEMM_PANEL_S8 && vw_gemm_keeps_s8(&w->source, &kept_k);
    if (is_kept)
        w->scale_k = kept_k;
    if (i == 0) {
        p->values = malloc(((size_t)n * (size_t)k + 1) * sizeof(float));
        values_of(w, is_kept, p->values);
    }
    if (f->layout != VW_GEMM_IN_PLACE) {
        float *scratch = malloc(((size_t)k + 1) * VW_GEMM_PANEL * sizeof(float));
        size_t bytes = vw_gemm_pack_bytes(f->layout, n, k, w->scale_k);
        w->pack = p->pack[i] = aligned_alloc(64, (bytes + 64) / 64 * 64);
        for (int first = 0; first < n; first += 64) /* as the core does, a few rows at a time */
            vw_gemm_pack(kernels, &w->source, f->layout, w->scale_k, is_kept, first,
                         n - first < 64 ? n - first : 64, p->pack[i], scratch);
        free(scratch);
    }
}

static void make_problem(problem *p, const vw_gemm_kernels *kernels, const form *f, shape s)
{
    memset(p, 0, sizeof *p);
    seed = (uint64_t)(s.m * 1000003 + s.n * 1009 + s.k);
    p->x = malloc(((size_t)s.m * (size_t)(s.k + 5) + 1) * sizeof(float));
    for (int i = 0; i < s.m * (s.k + 5); i++)
        p->x[i] = number();
    p->job = (vw_gemm_job){.kernels = kernels, .m = s.m, .k = s.k, .x = p->x, .x_stride = s.k + 5,
                            .x_step = 1};
    add_weight(p, kernels, f, s.n, s.k);
    p->want = malloc(((size_t)s.m * (size_t)s.n + 1) * sizeof(float));
    p->bound = malloc(((size_t)s.m * (size_t)s.n + 1) * sizeof(float));
    for (int m = 0; m < s.m; m++)
        for (int n = 0; n < s.n; n++) {
            double sum = 0, size = 0;
            for (int k = 0; k < s.k; k++) {
                double t = (double)p->x[m * (s.k + 5) + k] * p->values[(size_t)n * (size_t)s.k + (size_t)k];
                sum += t;
                size += fabs(t);
            }
            p->want[m * s.n + n] = (float)sum;
            p->bound[m * s.n + n] = (float)((s.k + 4) * 0x1p-24 * size);
        }
}

static void free_problem(problem *p)
{
    for (int i = 0; i < 4; i++) {
        free(p->pack[i]);
        free(p->scales[i]);
    }
    for (int i = 0; i < p->n_maps; i++)
        munmap(p->map[i], p->map_bytes[i]);
    free(p->values);
    free(p->x);
    free(p->want);
    free(p->bound);
}

/* Run in n_parts; y [m, n] with guards of 3 floats before each row and after the last. */
static float *run(problem *p, int n_parts)
{
    vw_gemm_job job = p->job;
    int64_t n = job.w[0].source.n, stride = n + 3;
    size_t count = (size_t)(job.m * stride + 3);
    float *y = malloc(count * sizeof *y);
    for (size_t i = 0; i < count; i++)
        y[i] = 77.0f;
    job.workspace = aligned_alloc(256, vw_gemm_workspace(job.kernels, job.m, job.k,
                                                         job.finish == VW_GEMM_FINISH_GATED,
                                                         n_parts) + 256);
    job.y[0] = y + 3;
    job.y_stride[0] = stride;
    for (int i = 0; i < n_parts && vw_gemm_needs_prepare(&job); i++)
        vw_gemm_prepare(&job, i, n_parts);
    for (int i = 0; i < n_parts; i++)
        vw_gemm_multiply(&job, i, n_parts);
    for (int64_t i = 0; i <= job.m; i++)
        for (int j = 0; j < 3; j++)
            if (y[i * stride + j] != 77.0f)
                y[3] = NAN; /* shows in any comparison */
    free(job.workspace);
    return y;
}

static int is_within(const problem *p, const float *y)
{
    int64_t n = p->job.w[0].source.n;
    for (int64_t i = 0; i < p->job.m; i++)
        for (int64_t j = 0; j < n; j++) {
            float got = y[3 + i * (n + 3) + j], want = p->want[i * n + j];
            if (!(fabsf(got - want) <= p->bound[i * n + j] + 1e-30f)) {
                diag("m %lld n %lld: %g, not %g", (long long)i, (long long)j, (double)got,
                     (double)want);
                return 0;
            }
        }
    return 1;
}

static int is_same(const problem *p, const float *a, const float *b)
{
    return memcmp(a, b, (size_t)(p->job.m * (p->job.w[0].source.n + 3)) * sizeof *a) == 0;
}

static const form forms[] = {
    {"f32", VW_F32, 0, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"bf16", VW_BF16, 0, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"f16", VW_F16, 0, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"e4m3", VW_E4M3, 0, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"e5m2", VW_E5M2, 0, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"e4m3, blocks of 128 x 128", VW_E4M3, 0, 128, 128, VW_GEMM_IN_PLACE, 0},
    {"e4m3, groups of 3 x 5", VW_E4M3, 0, 3, 5, VW_GEMM_IN_PLACE, 0},
    {"int8, a scale a row", VW_I8, 0, 1, -1, VW_GEMM_IN_PLACE, 0},
    {"int8, groups of 32", VW_I8, 0, 1, 32, VW_GEMM_IN_PLACE, 0},
    {"f32 [in, out]", VW_F32, 1, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"bf16 [in, out]", VW_BF16, 1, 0, 0, VW_GEMM_IN_PLACE, 0},
    {"e4m3 [in, out], blocks of 32 x 16", VW_E4M3, 1, 32, 16, VW_GEMM_IN_PLACE, 0},
    {"f32 packed", VW_F32, 0, 0, 0, VW_GEMM_PANEL_F32, 0},
    {"f32 packed from [in, out]", VW_F32, 1, 0, 0, VW_GEMM_PANEL_F32, 0},
    {"bf16 packed", VW_BF16, 0, 0, 0, VW_GEMM_PANEL_BF16, 0},
    {"f16 packed", VW_F16, 0, 0, 0, VW_GEMM_PANEL_F16, 0},
    {"bf16 as int8", VW_BF16, 0, 0, 0, VW_GEMM_PANEL_S8, 0},
    {"f32 as int8, groups of 32", VW_F32, 0, 0, 0, VW_GEMM_PANEL_S8, 32},
    {"stored int8 packed", VW_I8, 0, 1, -1, VW_GEMM_PANEL_S8, 0},
};
enum { N_FORMS = sizeof forms / sizeof *forms };

static const shape shapes[] = {
    {1, 1, 1}, {1, 7, 17}, {1, 100, 300}, {1, 300, 520}, {2, 40, 100}, {3, 33, 64}, {4, 129, 257},
    {5, 17, 31}, {8, 64, 512}, {9, 65, 300}, {16, 16, 256}, {33, 129, 100}, {2, 5, 0}, {12, 7, 0},
    {29, 200, 515}, {900, 18, 40}, {1, 130, 4103}, {10, 36, 4100},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* Every form in every shape: right, the same in 1, 2 and 5 parts, nothing else written. */
static void check_sums(const vw_gemm_kernels *kernels)
{
    for (int f = 0; f < N_FORMS; f++) {
        int n_right = 0, n_same = 0;
        for (int s = 0; s < N_SHAPES; s++) {
            problem p;
            make_problem(&p, kernels, &forms[f], shapes[s]);
            float *one = run(&p, 1), *two = run(&p, 2), *five = run(&p, 5);
            int right = is_within(&p, one);
            if (!right)
                diag("%s: M %d N %d K %d", forms[f].name, shapes[s].m, shapes[s].n, shapes[s].k);
            n_right += right;
            n_same += is_same(&p, one, two) && is_same(&p, one, five);
            free(one), free(two), free(five);
            free_problem(&p);
        }
        is_int(n_right, N_SHAPES, "%s: %s is right in every shape", kernels->name, forms[f].name);
        is_int(n_same, N_SHAPES, "%s: %s, in 1, 2 and 5 parts the same bits", kernels->name,
               forms[f].name);
    }
}

/* A row alone gives what it gives in a batch: packed weights always, others on one path. */
static void check_batches(const vw_gemm_kernels *kernels)
{
    for (int f = 0; f < N_FORMS; f++) {
        problem p;
        int n_same = 0;
        make_problem(&p, kernels, &forms[f], (shape){33, 70, 300});
        p.job.is_one_path = 1;
        float *all = run(&p, 2);
        for (int m = 0; m < 33; m++) {
            problem row = p;
            row.job.m = 1;
            row.job.x += m * p.job.x_stride;
            row.job.is_one_path = forms[f].layout == VW_GEMM_IN_PLACE;
            float *y = run(&row, 1);
            n_same += memcmp(y + 3, all + 3 + m * 73, 70 * sizeof *y) == 0;
            free(y);
        }
        is_int(n_same, 33, "%s: %s, a row alone is the row of a batch", kernels->name,
               forms[f].name);
        free(all);
        free_problem(&p);
    }
}

/* Quantised activations by the definition: a row's codes, integer sums a group, two roundings. */
static void plain_codes(const problem *p, float *want)
{
    const vw_gemm_operand *w = &p->job.w[0];
    int64_t k = p->job.k, n_out = w->source.n;
    vw_gemm_s8 s = vw_gemm_s8_shape(n_out, k, w->scale_k);
    int8_t *codes = malloc((size_t)k + 1);
    for (int64_t m = 0; m < p->job.m; m++) {
        float x_scale = vw_ref_quantise_int(p->x + m * p->job.x_stride, k, p->job.codes->most,
                                            codes);
        for (int64_t n = 0; n < n_out; n++) {
            const int8_t *q = (const int8_t *)w->pack + n / 16 * s.k4 * 64 + n % 16 * 4;
            float total = 0;
            for (int64_t g = 0; g < s.groups; g++) {
                int64_t end = (g + 1) * s.group < k ? (g + 1) * s.group : k;
                int32_t sum = 0;
                for (int64_t j = g * s.group; j < end; j++)
                    sum += codes[j] * q[j / 4 * 64 + j % 4];
                float part = (float)sum * vw_gemm_s8_scales(&s, w->pack, n / 16)[g * 16 + n % 16];
                total = g == 0 ? part : total + part;
            }
            want[m * n_out + n] = total * x_scale;
        }
    }
    free(codes);
}

static void check_codes(const vw_gemm_kernels *kernels, const vw_gemm_codes *codes)
{
    for (int f = 0; f < N_FORMS; f++) {
        int n_exact = 0, n_same = 0;
        if (forms[f].layout != VW_GEMM_PANEL_S8)
            continue;
        for (int i = 0; i < N_SHAPES; i++) {
            problem p;
            make_problem(&p, kernels, &forms[f], shapes[i]);
            p.job.codes = codes;
            plain_codes(&p, p.want);
            memset(p.bound, 0, (size_t)(shapes[i].m * shapes[i].n) * sizeof *p.bound);
            float *one = run(&p, 1), *three = run(&p, 3);
            n_exact += is_within(&p, one);
            n_same += is_same(&p, one, three);
            free(one), free(three);
            free_problem(&p);
        }
        is_int(n_exact, N_SHAPES, "%s: %s with codes up to %d is the plain sum, bit for bit",
               kernels->name, forms[f].name, codes->most);
        is_int(n_same, N_SHAPES, "%s: %s with codes up to %d in 3 parts", kernels->name,
               forms[f].name, codes->most);
    }
}

/* Weights of one product, each with groups of its own, of which a block of K is a whole number. */
static void check_groups(const vw_gemm_kernels *kernels, const vw_gemm_codes *codes)
{
    static const form rows = {"int8, a scale a row", VW_I8, 0, 1, -1, VW_GEMM_PANEL_S8, 0},
                      groups = {"int8, groups of 48", VW_I8, 0, 1, 48, VW_GEMM_PANEL_S8, 0};
    enum { M = 40, N = 20, K = 4152 };
    problem both, alone;
    int n_right = 0;
    float *second = malloc(M * N * sizeof *second);
    make_problem(&both, kernels, &rows, (shape){M, N, K});
    add_weight(&both, kernels, &groups, N, K);
    both.job.codes = codes;
    both.job.y[1] = second;
    both.job.y_stride[1] = N;
    alone = both;
    alone.job.n_weights = 1;
    alone.job.w[0] = both.job.w[1];
    plain_codes(&alone, alone.want);
    float *y = run(&both, 3);
    for (int i = 0; i < M * N; i++)
        n_right += second[i] == alone.want[i];
    is_int(n_right, M * N, "%s: groups of 48 beside whole rows, codes up to %d", kernels->name,
           codes->most);
    free(y), free(second);
    free_problem(&both);
}

/* The largest sums there are: every code of both sides at its limit, of either sign. */
static void check_extremes(const vw_gemm_kernels *kernels, const vw_gemm_codes *codes)
{
    static const int limits[] = {-128, -127, 127};
    static const form stored = {"stored int8 packed", VW_I8, 0, 1, -1, VW_GEMM_PANEL_S8, 0};
    int n_exact = 0;
    for (int i = 0; i < 6; i++) {
        problem p;
        make_problem(&p, kernels, &stored, (shape){7, 20, 2052});
        vw_gemm_operand *w = &p.job.w[0];
        vw_gemm_s8 s = vw_gemm_s8_shape(20, 2052, w->scale_k);
        memset(p.pack[0], limits[i / 2], vw_gemm_s8_codes(&s));
        int32_t *sums = (int32_t *)(uintptr_t)vw_gemm_s8_sums(&s, p.pack[0], 0);
        for (int64_t j = 0; j < s.panels * s.groups * VW_GEMM_PANEL; j++)
            sums[j] = limits[i / 2] * (int)(j / VW_GEMM_PANEL % s.groups ? 4 : s.group);
        for (int j = 0; j < 7 * (2052 + 5); j++)
            p.x[j] = i % 2 ? -1.0f : 1.0f;
        p.job.codes = codes;
        plain_codes(&p, p.want);
        memset(p.bound, 0, 7 * 20 * sizeof *p.bound);
        float *y = run(&p, 1);
        n_exact += is_within(&p, y);
        free(y);
        free_problem(&p);
    }
    is_int(n_exact, 6, "%s: codes up to %d, the largest sums there are", kernels->name,
           codes->most);
}

/* Every epilogue against the plain one, on rows of weights, on packs and on tiles. */
static void check_finishes(const vw_gemm_kernels *kernels)
{
    static const char *const names[] = {"store", "add", "activate", "gated", "softcap"};
    for (int finish = VW_GEMM_FINISH_ADD; finish <= VW_GEMM_FINISH_SOFTCAP; finish++)
        for (int act = VW_GEMM_ACT_GELU_TANH; act <= VW_GEMM_ACT_RELU; act++) {
            int n_right = 0;
            for (int i = 0; i < 4; i++) {
                problem p;
                make_problem(&p, kernels, &forms[i & 1 ? 12 : 0], (shape){i & 2 ? 21 : 2, 53, 40});
                vw_gemm_operand second = p.job.w[0];
                p.job.finish = (vw_gemm_finish)finish;
                p.job.act = (vw_gemm_act)act;
                p.job.cap = 5;
                if (finish == VW_GEMM_FINISH_GATED) {
                    p.job.n_weights = 2;
                    p.job.w[1] = second; /* the same weight: act(s) * s */
                }
                for (int j = 0; j < p.job.m * 53; j++) {
                    double s = p.want[j], a = vw_ref_act((vw_gemm_act)act, s);
                    p.want[j] = (float)(finish == VW_GEMM_FINISH_ADD        ? 77 + s
                                        : finish == VW_GEMM_FINISH_ACTIVATE ? a
                                        : finish == VW_GEMM_FINISH_GATED    ? a * s
                                                                            : 5 * tanh(s / 5));
                    p.bound[j] = p.bound[j] * (2 + 2 * fabsf((float)s)) +
                                 1e-6f * (1 + fabsf(p.want[j]));
                }
                float *one = run(&p, 1), *four = run(&p, 4);
                n_right += is_within(&p, one) && is_same(&p, one, four);
                free(one), free(four);
                free_problem(&p);
            }
            is_int(n_right, 4, "%s: %s, activation %d", kernels->name, names[finish], act);
            if (finish == VW_GEMM_FINISH_ADD || finish == VW_GEMM_FINISH_SOFTCAP)
                break;
        }
}

static void check_gather(const vw_gemm_kernels *kernels)
{
    int n_right = 0;
    float row[100];
    for (int f = 0; f < N_FORMS; f++) {
        problem p;
        int right = 1;
        make_problem(&p, kernels, &forms[f], (shape){1, 37, 100});
        for (int n = 0; n < 37; n++) {
            vw_gemm_gather_row(&p.job.w[0], n, 2.0f, row);
            for (int k = 0; k < 100; k++)
                right &= row[k] == 2.0f * p.values[n * 100 + k];
        }
        n_right += right;
        if (!right)
            diag("%s: rows read back are not what they were", forms[f].name);
        free_problem(&p);
    }
    is_int(n_right, N_FORMS, "%s: single rows of every form", kernels->name);
}

/* A value that is no number stays where it is: in its output, or in its row of X. */
static void check_nan(const vw_gemm_kernels *kernels)
{
    for (int f = 0; f < 2; f++)
        for (int m = 2; m <= 20; m += 18) {
            problem p;
            int n_right = 0;
            make_problem(&p, kernels, &forms[f ? 5 : 0], (shape){m, 40, 100});
            if (f)
                ((uint8_t *)(uintptr_t)p.job.w[0].source.data)[9 * 100 + 3] = 0x7F;
            else
                ((float *)(uintptr_t)p.job.w[0].source.data)[9 * 100 + 3] = NAN;
            p.x[1 * 105 + 7] = NAN;
            float *y = run(&p, 2);
            for (int i = 0; i < m; i++)
                for (int j = 0; j < 40; j++)
                    n_right += (isnan(y[3 + i * 43 + j]) != 0) == (i == 1 || j == 9);
            is_int(n_right, m * 40, "%s: NaN stays in its row and column, M %d", kernels->name, m);
            free(y);
            free_problem(&p);
        }
}

void check_kernels(const vw_gemm_kernels *kernels)
{
    check_sums(kernels);
    check_batches(kernels);
    check_codes(kernels, &kernels->s8);
    check_codes(kernels, &kernels->s7);
    check_groups(kernels, &kernels->s8);
    check_groups(kernels, &kernels->s7);
    check_extremes(kernels, &kernels->s8);
    check_extremes(kernels, &kernels->s7);
    check_finishes(kernels);
    check_gather(kernels);
    check_nan(kernels);
}
