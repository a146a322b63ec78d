/* gemm-product.c - one thread's part of a product whose sides are packed on the way.
 *
 * From outside in: rows of A in blocks; K in stretches, of which a block of A is packed whole, since
 * it serves all columns; columns in groups of 64, whose sums stay in the L2 cache while the stretch's
 * blocks of K pass by; one panel of B, packed right before its tiles, which never leaves L1.
 */
#include "kernels/cpu/gemm-product.h"

#include "kernels/ref/quant.h"

enum {
    BLOCK_ROWS = 264, /* of A, about */
    BLOCK_K = 384,    /* of B's panel */
    STRETCH = 6 * BLOCK_K, /* of K, of which A is packed at once */
    GROUP = VW_GEMM_GROUP, /* panels whose sums are held at once */
    PACK_STEPS = 32,       /* of K: lines of a turned A that are read once and stay in L1 */
    MAX_WIDE = VW_GEMM_MAX_PANELS * VW_GEMM_PANEL,
    SCALES = BLOCK_K / VW_GEMM_SCALE_GROUP
};
_Static_assert(BLOCK_K % VW_GEMM_SCALE_GROUP == 0, "a block of K holds whole groups of a scale");
_Static_assert(VW_GEMM_SCALE_GROUP % VW_GEMM_PANEL == 0, "a panel lies in one block of a scale");

static int64_t ceil_div(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- the cut --------------------------------------------------------------------------------- */

static int64_t wide_of(const vw_product *p)
{
    return p->kernels->panels * VW_GEMM_PANEL;
}

/* Columns in units of the tile's width, over all weights. */
static int64_t n_units(const vw_product *p)
{
    int64_t units = 0;
    for (int i = 0; i < p->n_weights; i++)
        units += ceil_div(p->w[i].source.n, wide_of(p));
    return units;
}

double vw_product_work(const vw_product *p)
{
    int64_t n = 0;
    for (int i = 0; i < p->n_weights; i++)
        n += p->w[i].source.n;
    return (double)p->m * (double)n * (double)p->k / 40;
}

/* Multiply-adds of the largest part, and what a packed value costs in those. */
static double cost_of(const vw_product *p, int rows, int cols)
{
    const double packed = 24;
    double tiles = (double)ceil_div(ceil_div(p->m, p->kernels->rows), rows);
    double units = (double)ceil_div(n_units(p), cols);
    double m = tiles * p->kernels->rows, n = units * (double)wide_of(p);
    return (double)p->k * (m * n + packed * (m + n * (double)ceil_div((int64_t)m, BLOCK_ROWS)));
}

vw_product_cut vw_product_cut_for(const vw_product *p, int most)
{
    vw_product_cut best = {1, 1};
    double least = cost_of(p, 1, 1);
    int64_t tiles = ceil_div(p->m, p->kernels->rows), units = n_units(p);
    for (int rows = 1; rows <= most && rows <= tiles; rows++) {
        int cols = (int)min(most / rows, units);
        double cost = cols > 0 ? cost_of(p, rows, cols) : least;
        if (cost < least) {
            least = cost;
            best = (vw_product_cut){rows, cols};
        }
    }
    return best;
}

/* ---- scratch --------------------------------------------------------------------------------- */

size_t vw_product_scratch(const vw_gemm_kernels *kernels, int64_t m, int64_t k)
{
    int64_t rows = min(m, BLOCK_ROWS + VW_GEMM_MAX_ROWS) + VW_GEMM_MAX_ROWS;
    int64_t a = rows * min(k, STRETCH), b = (int64_t)kernels->panels * VW_GEMM_PANEL * BLOCK_K;
    return (size_t)(a + b + VW_GEMM_MAX_ROWS * MAX_WIDE + 64) * sizeof(float);
}

/* What a thread is at. */
typedef struct block {
    const vw_product *p;
    float *a, *b, *edge;
    int64_t row, m;    /* rows of the block */
    int64_t from, k;   /* the stretch of K */
    int64_t first, len; /* the block of K within it */
    struct {            /* e4m3: scales of B's blocks of outputs [n, n + 128), from k on */
        int weight;     /* -1: none yet */
        int64_t n, k;
        float s[SCALES];
    } scales;
} block;

/* ---- rows of A in tiles as even as can be ---- */

static int64_t n_tiles(const block *b)
{
    return ceil_div(b->m, b->p->kernels->rows);
}

static int64_t tile_start(const block *b, int64_t t)
{
    int64_t n = n_tiles(b), rest = b->m % n;
    return t * (b->m / n) + min(t, rest);
}

/* Packed A: blocks of K one after another, in each the tiles, in each [k][rows]. */
static float *packed(const block *b, int64_t first, int64_t len, int64_t start)
{
    return b->a + first * b->m + start * len;
}

static void round_rows(const block *b, int64_t first, int64_t len)
{
    const vw_product *p = b->p;
    if (p->round_to == VW_BF16 || p->round_to == VW_F16)
        p->kernels->round(p->round_to, len * b->m, packed(b, first, len, 0));
    for (int64_t t = 0; p->round_to == VW_E4M3 && t < n_tiles(b); t++) {
        int64_t start = tile_start(b, t);
        p->kernels->round_groups(packed(b, first, len, start), len,
                                 (int)(tile_start(b, t + 1) - start));
    }
}

/* The stretch's A, a few steps of K at a time for all tiles: of a turned A these are lines that
 * hold the rows of several tiles. */
static void pack_rows(const block *b)
{
    const vw_product *p = b->p;
    for (int64_t first = 0, len; first < b->k; first += len) {
        len = min(b->k - first, BLOCK_K);
        int64_t steps = p->a_step == 1 ? len : PACK_STEPS;
        for (int64_t at = 0; at < len; at += steps)
            for (int64_t t = 0; t < n_tiles(b); t++) {
                int64_t start = tile_start(b, t), rows = tile_start(b, t + 1) - start;
                const float *from = p->a + (b->row + start) * p->a_row +
                                    (b->from + first + at) * p->a_step;
                p->kernels->pack_tile(from, p->a_row, p->a_step, (int)rows, min(len - at, steps),
                                      p->m - b->row - start,
                                      packed(b, first, len, start) + at * rows);
            }
        round_rows(b, first, len);
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* The tile's sums start from C unless this is the first of K and nothing is added to. */
static int starts_at_zero(const block *b)
{
    return b->from + b->first == 0 && !b->p->is_add;
}

/* A tile with fewer columns than vectors: by way of a copy. */
static void edge_tile(const block *b, vw_gemm_tile *t, int rows, int64_t n)
{
    float *c = t->c;
    int64_t stride = t->c_stride;
    for (int i = 0; i < rows && !t->is_first; i++)
        memcpy(b->edge + i * MAX_WIDE, c + i * stride, (size_t)n * sizeof *c);
    t->c = b->edge;
    t->c_stride = MAX_WIDE;
    b->p->kernels->tile[rows - 1](t);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * stride, b->edge + i * MAX_WIDE, (size_t)n * sizeof *c);
    t->c = c;
    t->c_stride = stride;
}

/* Ask for the sums of a tile before it is their turn. */
static void fetch_sums(const float *c, int64_t stride, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++)
        __builtin_prefetch(c + i * stride, 1);
}

/* Where B's values for output n and step k lie; NULL beyond the last output. */
static const char *source_at(const vw_gemm_source *w, int64_t n, int64_t k)
{
    int64_t row = w->is_in_out ? k : n, col = w->is_in_out ? n : k;
    if (n >= w->n || w->dtype == VW_BLOCK)
        return NULL;
    return (const char *)w->data + (size_t)(row * w->row_stride + col) * vw_dtype_bits(w->dtype) / 8;
}

/* Tile j asks for some of what will be packed next: stored [in, out] a line in every row, which the
 * first tile does alone; stored [out, in] the runs of one output each. */
static void fetch_panel(const vw_gemm_source *w, const char *next, int64_t j, vw_gemm_tile *t)
{
    size_t row_bytes = (size_t)w->row_stride * vw_dtype_bits(w->dtype) / 8;
    t->fetch = 0;
    t->fetch_step = 0;
    if (!next || j >= (w->is_in_out ? 1 : VW_GEMM_PANEL))
        return;
    t->fetch = next + (w->is_in_out ? 0 : (size_t)j * row_bytes) - (const char *)t->w[0];
    t->fetch_step = (int)(w->is_in_out ? row_bytes : vw_dtype_bits(w->dtype) / 8);
}

/* The scales of the block of K for the 128 outputs of which n is one.  Every thread finds its own:
 * they are read right before they are packed, and the threads need not meet. */
static const float *block_scales(block *b, int i, int64_t n)
{
    const vw_gemm_source *w = &b->p->w[i].source;
    int64_t k = b->from + b->first, stride = w->row_stride;
    n -= n % VW_GEMM_SCALE_GROUP;
    if (b->scales.weight == i && b->scales.n == n && b->scales.k == k)
        return b->scales.s;
    b->scales.weight = i, b->scales.n = n, b->scales.k = k;
    int64_t outputs = min(w->n - n, VW_GEMM_SCALE_GROUP);
    for (int64_t g = 0; g * VW_GEMM_SCALE_GROUP < b->len; g++, k += VW_GEMM_SCALE_GROUP) {
        int64_t inputs = min(b->len - g * VW_GEMM_SCALE_GROUP, VW_GEMM_SCALE_GROUP);
        const float *at = (const float *)w->data + (w->is_in_out ? k * stride + n : n * stride + k);
        b->scales.s[g] =
            vw_ref_e4m3_scale(w->is_in_out ? b->p->kernels->amax(at, stride, inputs, outputs)
                                           : b->p->kernels->amax(at, stride, outputs, inputs));
    }
    return b->scales.s;
}

static void round_panel(block *b, int i, int64_t n, float *panel)
{
    const vw_product *p = b->p;
    if (p->round_to == VW_BF16 || p->round_to == VW_F16)
        p->kernels->round(p->round_to, b->len * VW_GEMM_PANEL, panel);
    if (p->round_to != VW_E4M3)
        return;
    if (!p->is_b_in_blocks) {
        p->kernels->round_groups(panel, b->len, VW_GEMM_PANEL);
        return;
    }
    const float *scales = block_scales(b, i, n);
    for (int64_t g = 0, k = 0; k < b->len; g++, k += VW_GEMM_SCALE_GROUP)
        p->kernels->round_by(scales[g], min(b->len - k, VW_GEMM_SCALE_GROUP) * VW_GEMM_PANEL,
                             panel + k * VW_GEMM_PANEL);
}

/* Columns [n, n + wide) of weight i: pack B's panels, then all tiles, while the panel at `next`
 * comes from memory. */
static void multiply_unit(block *b, int i, int64_t n, const char *next)
{
    const vw_product *p = b->p;
    const vw_gemm_operand *w = &p->w[i];
    int64_t wide = wide_of(p), width = min(w->source.n - n, wide), stride = p->c_stride[i];
    vw_gemm_tile t = {.k = b->len, .c_stride = stride, .is_first = starts_at_zero(b)};
    for (int q = 0; q < p->kernels->panels; q++) {
        float *panel = b->b + q * BLOCK_K * VW_GEMM_PANEL;
        int64_t at = n + q * VW_GEMM_PANEL;
        t.w[q] = at < w->source.n ? panel : t.w[q - 1];
        if (at < w->source.n) {
            p->kernels->expand(w, at, b->from + b->first, b->len, panel);
            round_panel(b, i, at, panel);
        }
    }
    for (int64_t j = 0; j < n_tiles(b); j++) {
        int64_t start = tile_start(b, j), rows = tile_start(b, j + 1) - start;
        t.x = packed(b, b->first, b->len, start);
        t.c = p->c[i] + (b->row + start) * stride + n;
        fetch_panel(&w->source, next, j, &t);
        if (j + 1 < n_tiles(b))
            fetch_sums(t.c + rows * stride, stride, tile_start(b, j + 2) - start - rows);
        if (width < wide)
            edge_tile(b, &t, (int)rows, width);
        else
            p->kernels->tile[rows - 1](&t);
    }
}

/* Units [begin, end) of columns, counted over all weights, for one stretch of K. */
static void multiply_columns(block *b, int64_t begin, int64_t end)
{
    int64_t before = 0, wide = wide_of(b->p);
    int64_t group = GROUP > b->p->kernels->panels ? GROUP / b->p->kernels->panels : 1;
    for (int i = 0; i < b->p->n_weights; i++) {
        const vw_gemm_source *w = &b->p->w[i].source;
        int64_t here = ceil_div(w->n, wide);
        int64_t first = begin > before ? begin - before : 0, last = min(end - before, here);
        before += here;
        for (int64_t unit = first; unit < last; unit += group)
            for (b->first = 0; b->first < b->k; b->first += b->len) {
                int64_t to = min(unit + group, last), k = b->from + b->first;
                b->len = min(b->k - b->first, BLOCK_K);
                for (int64_t u = unit; u < to; u++) {
                    const char *next = u + 1 < to ? source_at(w, (u + 1) * wide, k)
                                       : b->first + b->len < b->k
                                           ? source_at(w, unit * wide, k + b->len)
                                           : source_at(w, to * wide, b->from);
                    multiply_unit(b, i, u * wide, next);
                }
            }
    }
}

/* Without a K the sums are 0. */
static void store_zeros(const vw_product *p)
{
    for (int i = 0; i < p->n_weights && !p->is_add; i++)
        for (int64_t r = 0; r < p->m; r++)
            memset(p->c[i] + r * p->c_stride[i], 0, (size_t)p->w[i].source.n * sizeof(float));
}

void vw_product_run(const vw_product *p, vw_product_cut cut, int part, void *scratch)
{
    int64_t tiles = ceil_div(p->m, p->kernels->rows), units = n_units(p);
    int64_t r = part / cut.cols, c = part % cut.cols;
    int64_t row = min(tiles * r / cut.rows * p->kernels->rows, p->m);
    int64_t rows = min(tiles * (r + 1) / cut.rows * p->kernels->rows, p->m) - row;
    int64_t blocks = ceil_div(rows, BLOCK_ROWS);
    block b = {.p = p, .a = scratch, .scales.weight = -1};
    b.b = b.a + (min(p->m, BLOCK_ROWS + VW_GEMM_MAX_ROWS) + VW_GEMM_MAX_ROWS) * min(p->k, STRETCH);
    b.edge = b.b + (int64_t)p->kernels->panels * VW_GEMM_PANEL * BLOCK_K;
    if (p->k == 0 && part == 0)
        store_zeros(p);
    for (int64_t i = 0; i < blocks; i++) {
        b.row = row + rows * i / blocks;
        b.m = row + rows * (i + 1) / blocks - b.row;
        for (b.from = 0; b.from < p->k; b.from += b.k) {
            b.k = min(p->k - b.from, STRETCH);
            pack_rows(&b);
            multiply_columns(&b, units * c / cut.cols, units * (c + 1) / cut.cols);
        }
    }
}
