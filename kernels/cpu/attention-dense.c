/* attention-dense.c - the arithmetic of attention's gradients; compiled once per instruction set.
 *
 * All five products of a tile are one micro-kernel: a few rows of broadcast values times two vectors.
 * It wants the vectors side by side, so keys and values are packed twice, as they come and turned
 * (a score's sum runs over the columns of a head, a query's gradient over keys), once for all rows.
 *
 *     S = Q K^T        rows of q,  turned keys        P  = 2^(scale log2e S - lse log2e)
 *     dP = dO V^T      rows of dO, turned values      dS = scale P (dP - delta)
 *     dQ += dS K       rows of dS, keys
 *     dK += dS^T Q     columns of dS, q
 *     dV += P^T dO     columns of P, dO
 *
 * P and dS are 0 where a row does not see a key, and groups of rows or keys skip what none of them
 * sees, which is half of a tile on the diagonal.
 */
#include "kernels/cpu/attention-dense.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vmath.h"

extern const vw_dense_kernels VMATH_NAME(vw_dense);

#define LANES VMATH_LANES
enum {
    ROWS = VW_DENSE_ROWS,
    TILE = VW_DENSE_TILE,
    P_STRIDE = TILE + 16, /* so that rows do not all fall into one cache set */
    WIDE = 2 * LANES,     /* columns of the micro-kernel */
    MR = LANES == 16 ? 12 : 6
};

/* ---- the micro-kernel ------------------------------------------------------------------------ */

/* c[r][0 .. WIDE) (+)= sum over k of a[r * row + k * step] * b[k * b_step + 0 .. WIDE). */
typedef struct product {
    const float *a;
    int64_t row, step;
    const float *b;
    int64_t b_step, steps;
    float *c;
    int64_t c_stride;
    int is_add;
} product;

#define UNROLL _Pragma("GCC unroll 16")

__attribute__((always_inline)) static inline void micro(const int mr, const product *p)
{
    vm_f sum[MR][2];
    const float *a = p->a, *b = p->b;
    UNROLL
    for (int r = 0; r < mr; r++) {
        sum[r][0] = p->is_add ? vm_load(p->c + r * p->c_stride) : vm_set(0);
        sum[r][1] = p->is_add ? vm_load(p->c + r * p->c_stride + LANES) : vm_set(0);
    }
    for (int64_t k = 0; k < p->steps; k++, a += p->step, b += p->b_step) {
        vm_f b0 = vm_load(b), b1 = vm_load(b + LANES);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vm_f x = vm_set(a[r * p->row]);
            sum[r][0] = vm_fma(x, b0, sum[r][0]);
            sum[r][1] = vm_fma(x, b1, sum[r][1]);
        }
    }
    UNROLL
    for (int r = 0; r < mr; r++) {
        vm_store(p->c + r * p->c_stride, sum[r][0]);
        vm_store(p->c + r * p->c_stride + LANES, sum[r][1]);
    }
}

static void multiply(int mr, const product *p)
{
    switch (mr) {
    case 1: micro(1, p); break;
    case 2: micro(2, p); break;
    case 3: micro(3, p); break;
    case 4: micro(4, p); break;
    case 5: micro(5, p); break;
    case 6: micro(6, p); break;
#if VMATH_LANES == 16
    case 7: micro(7, p); break;
    case 8: micro(8, p); break;
    case 9: micro(9, p); break;
    case 10: micro(10, p); break;
    case 11: micro(11, p); break;
    case 12: micro(12, p); break;
#endif
    default: break;
    }
}

/* All columns of a product, WIDE at a time. */
static void multiply_wide(int mr, product p, int64_t columns)
{
    for (int64_t c = 0; c < columns; c += WIDE, p.b += WIDE, p.c += WIDE)
        multiply(mr, &p);
}

/* ---- what one piece of work holds ------------------------------------------------------------ */

typedef struct piece {
    const vw_dense *a;
    const vw_dense_head *head;
    int64_t from, to;                 /* keys */
    int64_t dk, dv;                   /* padded */
    float *q, *d_out, *d_q;           /* a block of rows, [ROWS][dk] or [dv] */
    float *p, *ds;                    /* [ROWS][P_STRIDE] */
    float *lse, *delta;               /* [ROWS] */
    float *keys;                      /* [chunk][dk] */
    float *turned_keys, *turned_values; /* [tile][dk][TILE], [tile][dv][TILE] */
    float *d_k, *d_v;                 /* [chunk][dk], [chunk][dv] */
    /* the block */
    int64_t first, n_rows;
    int64_t lo[ROWS], hi[ROWS]; /* keys that each row sees */
} piece;

static float *take(float **memory, int64_t floats)
{
    float *at = *memory;
    *memory += (floats + 15) / 16 * 16;
    return at;
}

static void copy_row(const float *x, int64_t n, int64_t padded, float *to)
{
    memcpy(to, x, (size_t)n * sizeof *x);
    memset(to + n, 0, (size_t)(padded - n) * sizeof *x);
}

/* VL rows of a multiple of VL columns, in squares that are turned in registers. */
static void turn_rows(const float *x, int64_t stride, int64_t width, float *to)
{
    for (int64_t d = 0; d < width; d += VL) {
        vf square[VL];
        VW_UNROLL
        for (int i = 0; i < VL; i++)
            square[i] = v_load(x + i * stride + d);
        v_transpose(square);
        VW_UNROLL
        for (int i = 0; i < VL; i++)
            v_store(to + (d + i) * TILE, square[i]);
    }
}

/* Rows x [n][width] as [width][TILE]; zeros for the rows that are missing. */
static void turn(const float *x, int64_t stride, int64_t n, int64_t width, float *to)
{
    int64_t whole = n / VL * VL, even = width / VL * VL;
    for (int64_t j = 0; j < whole; j += VL)
        turn_rows(x + j * stride, stride, even, to + j);
    for (int64_t j = 0; j < n; j++)
        for (int64_t d = j < whole ? even : 0; d < width; d++)
            to[d * TILE + j] = x[j * stride + d];
    for (int64_t d = 0; d < width && n < TILE; d++)
        memset(to + d * TILE + n, 0, (size_t)(TILE - n) * sizeof *to);
}

static void pack_chunk(piece *w)
{
    const vw_dense_head *h = w->head;
    for (int64_t j = w->from; j < w->to; j++)
        copy_row(h->k + j * h->k_stride, w->a->dk, w->dk, w->keys + (j - w->from) * w->dk);
    for (int64_t j = w->from; j < w->to; j += TILE) {
        int64_t n = w->to - j < TILE ? w->to - j : TILE, at = j - w->from;
        turn(h->k + j * h->k_stride, h->k_stride, n, w->a->dk, w->turned_keys + at * w->dk);
        turn(h->v + j * h->v_stride, h->v_stride, n, w->a->dv, w->turned_values + at * w->dv);
    }
    memset(w->d_k, 0, (size_t)((w->to - w->from) * w->dk) * sizeof *w->d_k);
    memset(w->d_v, 0, (size_t)((w->to - w->from) * w->dv) * sizeof *w->d_v);
}

/* ---- a block of rows ------------------------------------------------------------------------- */

static float dot(int64_t n, const float *x, const float *y)
{
    vm_f sum = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum = vm_fma(vm_load(x + i), vm_load(y + i), sum);
    if (i < n)
        sum = vm_fma(vm_load_part(x + i, n - i, 0), vm_load_part(y + i, n - i, 0), sum);
    return vm_sum(sum);
}

static void load_block(piece *w)
{
    const vw_dense *a = w->a;
    const vw_dense_head *h = w->head;
    for (int64_t r = 0; r < w->n_rows; r++) {
        int64_t i = (w->first + r) / a->group, of = (w->first + r) % a->group;
        const float *d_out = h->d_out + i * h->d_out_stride + of * a->dv;
        copy_row(h->q + i * h->q_stride + of * a->dk, a->dk, w->dk, w->q + r * w->dk);
        copy_row(d_out, a->dv, w->dv, w->d_out + r * w->dv);
        w->delta[r] = dot(a->dv, d_out, h->out + i * h->out_stride + of * a->dv);
        w->lse[r] = h->lse[i * h->lse_stride + of] * 1.44269504088896341f;
        vw_dense_reach(a, h->n, i, &w->lo[r], &w->hi[r]);
    }
    memset(w->d_q, 0, (size_t)(w->n_rows * w->dk) * sizeof *w->d_q);
}

static void store_block(const piece *w)
{
    const vw_dense *a = w->a;
    for (int64_t r = 0; r < w->n_rows; r++) {
        int64_t i = (w->first + r) / a->group, of = (w->first + r) % a->group;
        memcpy(w->head->d_q + i * w->head->d_q_stride + of * a->dk, w->d_q + r * w->dk,
               (size_t)a->dk * sizeof(float));
    }
}

/* Keys [*lo, *hi) of the tile at key `first` that rows [r, r + mr) see between them. */
static void seen(const piece *w, int64_t r, int mr, int64_t first, int64_t *lo, int64_t *hi)
{
    int64_t end = w->to - first < TILE ? w->to - first : TILE;
    *lo = w->lo[r] > first ? w->lo[r] - first : 0;
    *hi = w->hi[r + mr - 1] - first < end ? w->hi[r + mr - 1] - first : end;
    if (*hi <= *lo)
        *lo = *hi = 0;
}

/* Rows from `r` on in groups as even as can be: how many the next one has. */
static int next_group(int64_t n, int64_t r)
{
    int64_t groups = (n + MR - 1) / MR, size = (n + groups - 1) / groups;
    return (int)(n - r < size ? n - r : size);
}

/* Scores and their gradients of one tile, for the keys that a group of rows sees. */
static void score_group(piece *w, int64_t r, int mr, int64_t first)
{
    int64_t lo, hi;
    seen(w, r, mr, first, &lo, &hi);
    const float *keys = w->turned_keys + (first - w->from) * w->dk;
    const float *values = w->turned_values + (first - w->from) * w->dv;
    for (int64_t c = lo / WIDE * WIDE; c < hi; c += WIDE) {
        product s = {w->q + r * w->dk, w->dk, 1, keys + c, TILE, w->a->dk,
                     w->p + r * P_STRIDE + c, P_STRIDE, 0};
        product d = {w->d_out + r * w->dv, w->dv, 1, values + c, TILE, w->a->dv,
                     w->ds + r * P_STRIDE + c, P_STRIDE, 0};
        multiply(mr, &s);
        multiply(mr, &d);
    }
}

static inline vm_f lane_index(int64_t first)
{
    vm_f x;
    for (int i = 0; i < LANES; i++)
        x[i] = (float)(first + i);
    return x;
}

/* One vector of a row: S and dP become P and dS, whole or where `first` + lane is in [lo, hi). */
__attribute__((always_inline)) static inline void soften(const piece *w, int64_t r, int64_t at,
                                                         const int has_cap, const int is_part,
                                                         int64_t lo, int64_t hi)
{
    const float log2e = 1.44269504088896341f;
    float *p = w->p + r * P_STRIDE + at, *ds = w->ds + r * P_STRIDE + at;
    vm_f z = vm_load(p), slope = vm_set(w->a->scale);
    if (has_cap) {
        vm_f t = vm_tanh(z * (w->a->scale / w->a->cap));
        slope *= 1 - t * t;
        z = vm_fma(t, vm_set(w->a->cap * log2e), vm_set(-w->lse[r]));
    } else {
        z = vm_fma(z, vm_set(w->a->scale * log2e), vm_set(-w->lse[r]));
    }
    vm_f e = vm_exp2(z), d = e * (vm_load(ds) - w->delta[r]) * slope;
    if (is_part) {
        vm_f index = lane_index(at);
        vm_i is_seen = (index >= (float)lo) & (index < (float)hi);
        e = vm_select(is_seen, e, vm_set(0));
        d = vm_select(is_seen, d, vm_set(0));
    }
    vm_store(p, e);
    vm_store(ds, d);
}

__attribute__((always_inline)) static inline void soften_row(const piece *w, int64_t r, int64_t lo,
                                                             int64_t hi, const int has_cap)
{
    for (int64_t c = 0; c < TILE; c += LANES) {
        if (c + LANES <= lo || c >= hi) {
            vm_store(w->p + r * P_STRIDE + c, vm_set(0));
            vm_store(w->ds + r * P_STRIDE + c, vm_set(0));
        } else if (c < lo || c + LANES > hi) {
            soften(w, r, c, has_cap, 1, lo, hi);
        } else {
            soften(w, r, c, has_cap, 0, lo, hi);
        }
    }
}

/* dK and dV of the tile, in groups of keys; a group takes the rows that see any of it. */
static void add_keys(const piece *w, int64_t first)
{
    int64_t n = w->to - first < TILE ? w->to - first : TILE, at = first - w->from;
    int mr;
    for (int64_t j = 0; j < n; j += mr) {
        mr = next_group(n, j);
        int64_t r0 = 0, r1 = w->n_rows;
        while (r0 < r1 && w->hi[r0] <= first + j)
            r0++;
        while (r1 > r0 && w->lo[r1 - 1] >= first + j + mr)
            r1--;
        product k = {w->ds + r0 * P_STRIDE + j, 1, P_STRIDE, w->q + r0 * w->dk, w->dk, r1 - r0,
                     w->d_k + (at + j) * w->dk, w->dk, 1};
        product v = {w->p + r0 * P_STRIDE + j, 1, P_STRIDE, w->d_out + r0 * w->dv, w->dv, r1 - r0,
                     w->d_v + (at + j) * w->dv, w->dv, 1};
        multiply_wide(mr, k, w->dk);
        multiply_wide(mr, v, w->dv);
    }
}

static void block_tile(piece *w, int64_t first)
{
    int64_t lo, hi;
    int mr;
    for (int64_t r = 0; r < w->n_rows; r += mr) {
        mr = next_group(w->n_rows, r);
        score_group(w, r, mr, first);
    }
    for (int64_t r = 0; r < w->n_rows; r++) {
        seen(w, r, 1, first, &lo, &hi);
        if (w->a->cap > 0)
            soften_row(w, r, lo, hi, 1);
        else
            soften_row(w, r, lo, hi, 0);
    }
    for (int64_t r = 0; r < w->n_rows; r += mr) {
        mr = next_group(w->n_rows, r);
        seen(w, r, mr, first, &lo, &hi);
        product q = {w->ds + r * P_STRIDE + lo, P_STRIDE, 1,
                     w->keys + (first - w->from + lo) * w->dk, w->dk, hi - lo, w->d_q + r * w->dk,
                     w->dk, 1};
        multiply_wide(mr, q, w->dk);
    }
    add_keys(w, first);
}

/* ---- a chunk --------------------------------------------------------------------------------- */

static void store_keys(const piece *w)
{
    const vw_dense_head *h = w->head;
    for (int64_t j = w->from; j < w->to; j++) {
        memcpy(h->d_k + j * h->d_k_stride, w->d_k + (j - w->from) * w->dk,
               (size_t)w->a->dk * sizeof(float));
        memcpy(h->d_v + j * h->d_v_stride, w->d_v + (j - w->from) * w->dv,
               (size_t)w->a->dv * sizeof(float));
    }
}

static void backward(const vw_dense *a, const vw_dense_head *head, int64_t from, int64_t to,
                     float *memory)
{
    piece w = {.a = a, .head = head, .from = from, .to = to, .dk = vw_dense_padded(a->dk),
               .dv = vw_dense_padded(a->dv)};
    int64_t chunk = (to - from + TILE - 1) / TILE * TILE, rows = head->n * a->group;
    w.q = take(&memory, ROWS * w.dk), w.d_q = take(&memory, ROWS * w.dk);
    w.d_out = take(&memory, ROWS * w.dv);
    w.p = take(&memory, ROWS * P_STRIDE), w.ds = take(&memory, ROWS * P_STRIDE);
    w.lse = take(&memory, ROWS), w.delta = take(&memory, ROWS);
    w.keys = take(&memory, chunk * w.dk);
    w.turned_keys = take(&memory, chunk * w.dk), w.turned_values = take(&memory, chunk * w.dv);
    w.d_k = take(&memory, chunk * w.dk), w.d_v = take(&memory, chunk * w.dv);
    pack_chunk(&w);
    for (w.first = 0; w.first < rows; w.first += ROWS) {
        w.n_rows = rows - w.first < ROWS ? rows - w.first : ROWS;
        if (!vw_dense_block_sees(a, head->n, w.first, from, to))
            continue;
        load_block(&w);
        for (int64_t first = from; first < to; first += TILE)
            if (vw_dense_block_sees(a, head->n, w.first, first, first + TILE))
                block_tile(&w, first);
        store_block(&w);
    }
    store_keys(&w);
}

static void add(int64_t n, const float *part, float *to)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vm_store(to + i, vm_load(to + i) + vm_load(part + i));
    for (; i < n; i++)
        to[i] += part[i];
}

const vw_dense_kernels VMATH_NAME(vw_dense) = {.backward = backward, .add = add};
