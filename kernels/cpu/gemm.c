/* gemm.c - one thread's part of a product: which way it goes, and the blocking.
 *
 *   few rows, weights in place [out, in]   row path: dot products, gemm-dot.c
 *   few rows, packed weights               gemm-stream.c, f32 activations
 *   one row, blocks of quantised weights   gemm-blocks.c, quantised activations
 *   all else, and all int8 products        tiles
 *
 * Tiles, from outside in: rows of X in blocks whose sums fit the L2 cache; panels of weights in groups
 * of 4, whose sums stay in a scratch of the thread until they are complete, so that each result is
 * stored once and a gate finds both its halves; K in blocks, of which a panel fits the L1 cache; then
 * panels and tiles.  A weight that is not f32 panels is expanded once for a block of rows.
 */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/cpu/gemm-pack.h"
#include "kernels/cpu/gemm.h"

enum {
    BLOCK_ROWS = 264, /* rows of X, at most, of which a block of K and the sums share the L2 cache */
    BLOCK_K = 384,    /* values along K of an f32 block, of which a panel fits L1; a multiple of 4 */
    CHUNK = 256,      /* outputs of the row path that are finished together */
    WIDTH = VW_GEMM_GROUP * VW_GEMM_PANEL
};

typedef struct scratch {
    float *sums, *up; /* [BLOCK_ROWS][WIDTH], or [few rows][CHUNK] */
    float *panels;    /* [panels of a tile][BLOCK_K][16] */
} scratch;

/* ---- workspace: packed rows of X and their scales, then one scratch a part ---- */

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static size_t sums_bytes(int64_t max_m)
{
    size_t rows = (size_t)(max_m < BLOCK_ROWS ? max_m : BLOCK_ROWS) + VW_GEMM_MAX_ROWS;
    size_t few = VW_GEMM_FEW_ROWS * CHUNK;
    return round_up((rows * WIDTH > few ? rows * WIDTH : few) * sizeof(float));
}

size_t vw_gemm_scratch_bytes(int64_t max_m, int is_gated)
{
    return sums_bytes(max_m) * (is_gated ? 2 : 1) +
           round_up(VW_GEMM_MAX_PANELS * VW_GEMM_PANEL * BLOCK_K * sizeof(float));
}

static size_t rows_bytes(int64_t m, int64_t k)
{
    return round_up((size_t)m * (size_t)((k + 3) / 4) * 16) + round_up((size_t)m * sizeof(float));
}

size_t vw_gemm_workspace(const vw_gemm_kernels *kernels, int64_t max_m, int64_t k, int is_gated,
                         int n_parts)
{
    (void)kernels;
    return rows_bytes(max_m, k) + (size_t)n_parts * vw_gemm_scratch_bytes(max_m, is_gated);
}

static scratch scratch_at(const vw_gemm_job *job, char *at)
{
    scratch s = {.sums = (float *)(void *)at};
    at += sums_bytes(job->m);
    if (job->finish == VW_GEMM_FINISH_GATED) {
        s.up = (float *)(void *)at;
        at += sums_bytes(job->m);
    }
    s.panels = (float *)(void *)at;
    return s;
}

static float *row_scales(const vw_gemm_job *job)
{
    char *rows = job->workspace;
    return (float *)(void *)(rows + round_up((size_t)job->m * (size_t)((job->k + 3) / 4) * 16));
}

/* ---- tiles along M: as even as can be, so that none computes rows that do not exist ---- */

static int64_t n_tiles(const vw_gemm_job *job)
{
    return (job->m + job->kernels->rows - 1) / job->kernels->rows;
}

static int64_t tile_start(const vw_gemm_job *job, int64_t t)
{
    int64_t n = n_tiles(job), rest = job->m % n;
    return t * (job->m / n) + (t < rest ? t : rest);
}

static int tile_rows(const vw_gemm_job *job, int64_t t)
{
    return (int)(tile_start(job, t + 1) - tile_start(job, t));
}

/* ---- blocks of K: packed rows lie block by block, so that a block of all rows is one run ---- */

static int64_t block_k(const vw_gemm_job *job, const vw_gemm_operand *w)
{
    if (job->blocks)
        return VW_GEMM_BLOCKS_K / job->kernels->panels;
    if (!job->codes)
        return BLOCK_K;
    vw_gemm_s8 s = vw_gemm_s8_shape(1, job->k, w->scale_k);
    return n_tiles(job) == 1 ? s.k4 * 4 : VW_GEMM_S8_GROUP / s.group * s.group;
}

/* ---- which way ---- */

static int is_row_path(const vw_gemm_job *job, const vw_gemm_operand *w)
{
    vw_dtype t = w->source.dtype;
    return !job->codes && !job->blocks && !job->is_one_path && job->x_step == 1 &&
           job->m <= VW_GEMM_FEW_ROWS &&
           w->layout == VW_GEMM_IN_PLACE && !w->source.is_in_out &&
           (t == VW_F32 || t == VW_BF16 || t == VW_F16 || t == VW_E4M3 || t == VW_E5M2 ||
            t == VW_I8 || t == VW_BLOCK);
}

/* f32 panels need no widening, so tiles overtake it early; the sums are the same. */
static int is_stream_path(const vw_gemm_job *job, const vw_gemm_operand *w)
{
    int64_t few = w->layout == VW_GEMM_PANEL_F32 ? 3 : VW_GEMM_FEW_ROWS;
    return !job->codes && job->m <= few && w->layout != VW_GEMM_IN_PLACE &&
           w->layout != VW_GEMM_PANEL_BLOCKS;
}

int vw_gemm_needs_prepare(const vw_gemm_job *job)
{
    for (int i = 0; i < job->n_weights; i++)
        if (!is_row_path(job, &job->w[i]) && !is_stream_path(job, &job->w[i]))
            return job->m > 0;
    return 0;
}

/* One row of X in blocks. */
static int64_t x_blocks_bytes(const vw_gemm_job *job)
{
    return job->k / VW_GEMM_BLOCK * VW_GEMM_X_BLOCK_BYTES;
}

/* One tile of rows, f32. */
static void prepare_f32(const vw_gemm_job *job, int64_t t)
{
    int64_t start = tile_start(job, t), rows = tile_rows(job, t);
    const float *x = job->x + start * job->x_stride;
    for (int64_t k = 0; k < job->k; k += BLOCK_K) {
        int64_t len = job->k - k < BLOCK_K ? job->k - k : BLOCK_K;
        job->kernels->pack_x(x + k * job->x_step, job->x_stride, job->x_step, (int)rows, len,
                             (float *)job->workspace + k * job->m + start * len);
    }
}

void vw_gemm_prepare(const vw_gemm_job *job, int part, int n_parts)
{
    int64_t n = n_tiles(job), k4 = (job->k + 3) / 4;
    for (int64_t t = n * part / n_parts; t < n * (part + 1) / n_parts; t++) {
        int64_t start = tile_start(job, t);
        if (job->blocks)
            job->blocks->pack_x(job->x + start * job->x_stride, job->x_stride, tile_rows(job, t),
                                job->k, (char *)job->workspace + start * x_blocks_bytes(job));
        else if (job->codes)
            job->codes->pack_x(job->x + start * job->x_stride, job->x_stride, tile_rows(job, t),
                               job->k, k4,
                               (char *)job->workspace + start * k4 * job->codes->x_bytes,
                               row_scales(job) + start);
        else
            prepare_f32(job, t);
    }
}

/* ---- few rows ---- */

/* Outputs [first, first + n) for all rows of X, on the path of few rows. */
static void few_rows(const vw_gemm_job *job, const vw_gemm_operand *w, int64_t first, int64_t n,
                     float *sums)
{
    int most = is_row_path(job, w) ? job->kernels->dot_rows : 4, m;
    if (job->blocks) {
        vw_gemm_blocks_one(job, w, first / VW_GEMM_PANEL, (n + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL,
                           sums);
        return;
    }
    for (int64_t i = 0; i < job->m; i += m) {
        m = (int)(job->m - i < most ? job->m - i : most);
        const float *x = job->x + i * job->x_stride;
        if (is_row_path(job, w))
            job->kernels->dot(&w->source, first, n, x, job->x_stride, m, sums + i * CHUNK, CHUNK);
        else
            job->kernels->stream(w, first / VW_GEMM_PANEL, (n + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL,
                                 x, job->x_stride, m, sums + i * CHUNK, CHUNK);
    }
}

/* Outputs [first, last) of result i. */
static void multiply_few(const vw_gemm_job *job, int i, int64_t first, int64_t last, scratch s)
{
    for (int64_t n = first; n < last; n += CHUNK) {
        int64_t len = last - n < CHUNK ? last - n : CHUNK;
        few_rows(job, &job->w[i], n, len, s.sums);
        if (s.up)
            few_rows(job, &job->w[1], n, len, s.up);
        job->kernels->finish(job, s.sums, s.up, CHUNK, job->m, len, job->y[i] + n,
                             job->y_stride[i]);
    }
}

/* ---- tiles ---- */

/* A block of tiles, panels and K. */
typedef struct block {
    int64_t first_tile, last_tile;
    int64_t panel; /* the first */
    int n_panels;
    int64_t k, k_len;
} block;

/* Where panel p's block lies as f32; expanded into `to` if it must be. */
static const float *find_panel(const vw_gemm_job *job, const vw_gemm_operand *w, const block *b,
                               int p, float *to)
{
    if (w->layout == VW_GEMM_PANEL_F32)
        return (const float *)w->pack + ((b->panel + p) * job->k + b->k) * VW_GEMM_PANEL;
    job->kernels->expand(w, (b->panel + p) * VW_GEMM_PANEL, b->k, b->k_len, to);
    return to;
}

/* Panels straight from memory: each tile fetches a share of the block that follows.  With one tile
 * there is nothing to wait for, and a short distance will do. */
static void fetch_next_block(vw_gemm_tile *t, const block *b)
{
    int64_t tiles = b->last_tile - b->first_tile;
    t->fetch = tiles == 1 ? 512 : t->k * 64;
    t->fetch_step = (int)(64 / tiles) + (tiles > 1);
}

/* A panel is expanded right before its tiles, and always in the same place: it never leaves L1. */
static void tiles_f32(const vw_gemm_job *job, const vw_gemm_operand *w, const block *b,
                      float *panels, float *sums)
{
    int wide = job->kernels->panels;
    int64_t first_row = tile_start(job, b->first_tile);
    for (int p = 0; p < b->n_panels; p += wide) {
        vw_gemm_tile t = {.k = b->k_len, .c_stride = WIDTH, .is_first = b->k == 0};
        if (w->layout == VW_GEMM_PANEL_F32)
            fetch_next_block(&t, b);
        for (int i = 0; i < wide; i++) /* a panel too few: the last one again, to be ignored */
            t.w[i] = p + i < b->n_panels
                         ? find_panel(job, w, b, p + i, panels + i * BLOCK_K * VW_GEMM_PANEL)
                         : t.w[i - 1];
        for (int64_t i = b->first_tile; i < b->last_tile; i++) {
            int64_t start = tile_start(job, i);
            int rows = tile_rows(job, i);
            t.x = (const float *)job->workspace + b->k * job->m + start * b->k_len;
            t.c = sums + (start - first_row) * WIDTH + p * VW_GEMM_PANEL;
            job->kernels->tile[rows - 1](&t);
            t.fetch += t.fetch_step * t.k;
        }
    }
}

static void tiles_s8(const vw_gemm_job *job, const vw_gemm_operand *w, const block *b, float *sums)
{
    vw_gemm_s8 s = vw_gemm_s8_shape(w->source.n, job->k, w->scale_k);
    int wide = job->m == 1 ? VW_GEMM_MAX_PANELS : job->kernels->panels;
    int64_t first_row = tile_start(job, b->first_tile), group = b->k / s.group;
    for (int p = 0; p < b->n_panels; p += wide) {
        vw_gemm_tile t = {.k = (b->k_len + 3) / 4,
                          .c_stride = WIDTH,
                          .is_first = b->k == 0,
                          .group_k = s.group / 4};
        fetch_next_block(&t, b);
        t.fetch_turn = t.k - t.fetch / 64; /* used when there is one row: all of K is in the block */
        t.fetch_jump = (wide - 1) * s.k4 * 64;
        for (int i = 0; i < wide; i++) {
            int64_t q = b->panel + (p + i < b->n_panels ? p + i : b->n_panels - 1);
            t.w[i] = (const char *)w->pack + (size_t)(q * s.k4 + b->k / 4) * 64;
            t.scale[i] = vw_gemm_s8_scales(&s, w->pack, q) + group * VW_GEMM_PANEL;
            t.sum[i] = vw_gemm_s8_sums(&s, w->pack, q) + group * VW_GEMM_PANEL;
        }
        for (int64_t i = b->first_tile; i < b->last_tile; i++) {
            int64_t start = tile_start(job, i);
            int rows = tile_rows(job, i);
            t.x = (const char *)job->workspace +
                  (start * s.k4 + b->k / 4 * rows) * job->codes->x_bytes;
            t.c = sums + (start - first_row) * WIDTH + p * VW_GEMM_PANEL;
            if (job->m == 1)
                job->codes->one(&t);
            else
                job->codes->tile[rows - 1](&t);
            t.fetch += t.fetch_step * t.k;
        }
    }
}

static void tiles_blocks(const vw_gemm_job *job, const vw_gemm_operand *w, const block *b,
                         char *panels, float *sums)
{
    const vw_gemm_block_format *format = vw_gemm_format_of(job->blocks, &w->source);
    int wide = job->kernels->panels;
    int64_t first_row = tile_start(job, b->first_tile), at = b->k / VW_GEMM_BLOCK;
    for (int p = 0; p < b->n_panels; p += wide) {
        vw_gemm_tile t = {.k = b->k_len / VW_GEMM_BLOCK, .c_stride = WIDTH, .is_first = b->k == 0};
        for (int i = 0; i < wide; i++) {
            char *open = panels + i * VW_GEMM_BLOCKS_K / VW_GEMM_BLOCK * VW_GEMM_OPEN_BYTES;
            t.w[i] = p + i < b->n_panels ? open : t.w[i - 1];
            if (p + i < b->n_panels)
                format->open(w, b->panel + p + i, at, t.k, open);
        }
        for (int64_t i = b->first_tile; i < b->last_tile; i++) {
            int64_t start = tile_start(job, i);
            t.rows = tile_rows(job, i);
            t.x = (const char *)job->workspace + start * x_blocks_bytes(job) +
                  at * t.rows * VW_GEMM_X_BLOCK_BYTES;
            t.c = sums + (start - first_row) * WIDTH + p * VW_GEMM_PANEL;
            format->tile(&t);
        }
    }
}

/* The scales of the rows, which int8 sums lack. */
static void scale_rows(const vw_gemm_job *job, int64_t first, int64_t last, int64_t n, float *sums)
{
    const float *scale = row_scales(job);
    for (int64_t i = first; i < last; i++)
        for (int64_t j = 0; j < n; j++)
            sums[(i - first) * WIDTH + j] *= scale[i];
}

/* All of K for one block of tiles and panels. */
static void block_sums(const vw_gemm_job *job, const vw_gemm_operand *w, block *b, float *panels,
                       float *sums)
{
    int64_t step = block_k(job, w);
    for (b->k = 0; b->k < job->k; b->k += step) {
        b->k_len = job->k - b->k < step ? job->k - b->k : step;
        if (job->blocks)
            tiles_blocks(job, w, b, (char *)panels, sums);
        else if (job->codes)
            tiles_s8(job, w, b, sums);
        else
            tiles_f32(job, w, b, panels, sums);
    }
    int64_t first = tile_start(job, b->first_tile), last = tile_start(job, b->last_tile);
    if (job->k == 0)
        memset(sums, 0, (size_t)((last - first) * WIDTH) * sizeof *sums);
    else if (job->codes)
        scale_rows(job, first, last, WIDTH, sums);
}

/* Outputs [first, last) of result i. */
static void multiply_tiles(const vw_gemm_job *job, int i, int64_t first, int64_t last, scratch s)
{
    int64_t tiles = n_tiles(job), most = BLOCK_ROWS / job->kernels->rows;
    int64_t blocks = (tiles + most - 1) / most; /* as even as can be, as the tiles are */
    block b;
    for (int64_t at = 0; at < blocks; at++) {
        b.first_tile = tiles * at / blocks;
        b.last_tile = tiles * (at + 1) / blocks;
        int64_t row = tile_start(job, b.first_tile), m = tile_start(job, b.last_tile) - row;
        for (int64_t n = first; n < last; n += WIDTH) {
            int64_t len = last - n < WIDTH ? last - n : WIDTH;
            b.panel = n / VW_GEMM_PANEL;
            b.n_panels = (int)((len + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL);
            block_sums(job, &job->w[i], &b, s.panels, s.sums);
            if (s.up)
                block_sums(job, &job->w[1], &b, s.panels, s.up);
            job->kernels->finish(job, s.sums, s.up, WIDTH, m, len,
                                 job->y[i] + row * job->y_stride[i] + n, job->y_stride[i]);
        }
    }
}

/* ---- the part of a thread: a run of panels, counted over all weights ---- */

static int64_t panels_of(const vw_gemm_operand *w)
{
    return (w->source.n + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL;
}

void vw_gemm_multiply(const vw_gemm_job *job, int part, int n_parts)
{
    int is_gated = job->finish == VW_GEMM_FINISH_GATED;
    vw_gemm_multiply_in(job, part, n_parts,
                        (char *)job->workspace + rows_bytes(job->m, job->k) +
                            (size_t)part * vw_gemm_scratch_bytes(job->m, is_gated));
}

void vw_gemm_multiply_in(const vw_gemm_job *job, int part, int n_parts, void *memory)
{
    int results = job->finish == VW_GEMM_FINISH_GATED ? 1 : job->n_weights;
    int64_t total = 0, before = 0;
    scratch s = scratch_at(job, memory);
    for (int i = 0; i < results && job->m > 0; i++)
        total += panels_of(&job->w[i]);
    int64_t begin = total * part / n_parts, end = total * (part + 1) / n_parts;
    for (int i = 0; i < results && total > 0; i++) {
        const vw_gemm_operand *w = &job->w[i];
        int64_t here = panels_of(w);
        int64_t first = begin > before ? begin - before : 0;
        int64_t last = end < before + here ? end - before : here;
        before += here;
        if (first >= last)
            continue;
        int64_t n = last * VW_GEMM_PANEL < w->source.n ? last * VW_GEMM_PANEL : w->source.n;
        if ((job->blocks && job->m == 1 && job->k > 0) || is_row_path(job, w) ||
            is_stream_path(job, w))
            multiply_few(job, i, first * VW_GEMM_PANEL, n, s);
        else
            multiply_tiles(job, i, first * VW_GEMM_PANEL, n, s);
    }
}
