/* attention-flash.c - the arithmetic of flash attention; compiled once per instruction set.
 *
 * Both products, scores = q K^T and o += p V, are one micro-kernel: a few rows whose values are
 * broadcast, times two vectors that stream from a strip of 16 floats.  MR rows by two vectors of
 * sums stay in registers.  Rows that do not see the same keys share what they have in common; the
 * few keys that only some of them see are added row by row, so that a hidden key is never touched.
 */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/vmath.h"

vw_attention_load_fn VMATH_NAME(vw_attention_load);
extern const vw_attention_kernels VMATH_NAME(vw_attention);

enum { ROWS = VW_ATTENTION_ROWS, TILE = VW_ATTENTION_TILE, STRIP = VW_ATTENTION_STRIP };
enum { CHUNK = VW_ATTENTION_CHUNK, P_STRIDE = TILE + STRIP };
#define LANES VMATH_LANES
enum { MR = LANES == 16 ? 12 : 6 }; /* what the registers hold: 32 of AVX-512, else 16 */

static const float no_max = -1e30f; /* finite, so that no difference of maxima is a NaN */

/* ---- the micro-kernel ------------------------------------------------------------------------ */

/* The two vectors of 32 or fewer columns: b0 and b1 advance 16 floats a step. */
typedef struct columns {
    const float *b0, *b1;
    int64_t c0, c1; /* where their sums go in a row of c */
} columns;

#define UNROLL _Pragma("GCC unroll 16")

__attribute__((always_inline)) static inline void micro(int mr, int64_t steps, const float *a,
                                                        int64_t lda, columns col, float *c,
                                                        int64_t ldc, int is_add)
{
    vm_f sum[MR][2];
    UNROLL
    for (int r = 0; r < mr; r++) {
        sum[r][0] = is_add ? vm_load(c + r * ldc + col.c0) : vm_set(0);
        sum[r][1] = is_add ? vm_load(c + r * ldc + col.c1) : vm_set(0);
    }
    for (int64_t k = 0; k < steps; k++) {
        vm_f b0 = vm_load(col.b0 + k * STRIP), b1 = vm_load(col.b1 + k * STRIP);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vm_f x = vm_set(a[r * lda + k]);
            sum[r][0] = vm_fma(x, b0, sum[r][0]);
            sum[r][1] = vm_fma(x, b1, sum[r][1]);
        }
    }
    UNROLL
    for (int r = 0; r < mr; r++) {
        vm_store(c + r * ldc + col.c0, sum[r][0]);
        vm_store(c + r * ldc + col.c1, sum[r][1]);
    }
}

static void multiply(int mr, int64_t steps, const float *a, int64_t lda, columns col, float *c,
                     int64_t ldc, int is_add)
{
    switch (mr) {
    case 1:
        micro(1, steps, a, lda, col, c, ldc, is_add);
        break;
    case 2:
        micro(2, steps, a, lda, col, c, ldc, is_add);
        break;
    case 3:
        micro(3, steps, a, lda, col, c, ldc, is_add);
        break;
    case 4:
        micro(4, steps, a, lda, col, c, ldc, is_add);
        break;
    case 5:
        micro(5, steps, a, lda, col, c, ldc, is_add);
        break;
    case 6:
        micro(6, steps, a, lda, col, c, ldc, is_add);
        break;
#if VMATH_LANES == 16
    case 7:
        micro(7, steps, a, lda, col, c, ldc, is_add);
        break;
    case 8:
        micro(8, steps, a, lda, col, c, ldc, is_add);
        break;
    case 9:
        micro(9, steps, a, lda, col, c, ldc, is_add);
        break;
    case 10:
        micro(10, steps, a, lda, col, c, ldc, is_add);
        break;
    case 11:
        micro(11, steps, a, lda, col, c, ldc, is_add);
        break;
    case 12:
        micro(12, steps, a, lda, col, c, ldc, is_add);
        break;
#endif
    default:
        break;
    }
}

/* Vectors that one call takes: two, which are one strip on AVX2, half a strip on SSE and two strips
 * on AVX-512.  `strip` of strips that are `step` floats apart, `part` within it. */
static inline columns columns_at(const float *strips, int64_t step, int64_t strip, int64_t n_strips,
                                 int64_t part)
{
    const float *at = strips + strip * step + part;
    int64_t c = strip * STRIP + part;
    if (LANES < STRIP)
        return (columns){at, at + LANES, c, c + LANES};
    if (strip + 1 < n_strips)
        return (columns){at, at + step, c, c + STRIP};
    return (columns){at, at, c, c}; /* the last one alone, computed twice */
}

enum { STRIPS_A_CALL = LANES < STRIP ? 1 : 2, PART = LANES < STRIP ? 2 * LANES : STRIP };

/* ---- one piece of work ----------------------------------------------------------------------- */

typedef struct piece {
    const vw_attention_flash *f;
    int64_t n;                  /* rows */
    int64_t lo[ROWS], hi[ROWS]; /* keys that each sees */
    int n_groups, size;         /* rows are taken in groups of at most `size` <= MR */
    float *q, *p;               /* [ROWS][q_stride], [ROWS][P_STRIDE] */
    int64_t q_stride;
    float *tile; /* of the loader */
    void *part;  /* a state for chunks after the first */
} piece;

static int64_t q_stride(const vw_attention_flash *f)
{
    return (vw_attention_strips(f->page.dk) + 1) * STRIP;
}

static void set_rows(piece *w, const vw_attention_head *head, int64_t first)
{
    const vw_attention_flash *f = w->f;
    for (int64_t r = 0; r < w->n; r++) {
        int64_t query = (first + r) / f->group, h = (first + r) % f->group;
        const float *from = head->q + query * head->q_stride + h * f->page.dk;
        vw_attention_reach(f, head, first + r, 1, &w->lo[r], &w->hi[r]);
        for (int64_t d = 0; d < f->page.dk; d++)
            w->q[r * w->q_stride + d] = from[d] * f->q_scale;
    }
    w->n_groups = (int)((w->n + MR - 1) / MR);
    w->size = (int)((w->n + w->n_groups - 1) / w->n_groups);
}

static int group_rows(const piece *w, int group)
{
    int64_t left = w->n - (int64_t)group * w->size;
    return (int)(left < w->size ? left : w->size);
}

/* p = q K^T for the strips that hold keys [from, to) of the tile at key `first`; a group of rows
 * skips those that its last row, which sees furthest, does not see. */
static void score_tile(piece *w, const vw_attention_tile *tile, int64_t first, int64_t from,
                       int64_t to)
{
    int64_t dk = w->f->page.dk, strips = vw_attention_strips(to);
    for (int64_t s = from / STRIP; s < strips; s += STRIPS_A_CALL)
        for (int64_t part = 0; part < STRIP; part += PART) {
            columns col = columns_at(tile->keys, STRIP * dk, s, strips, part);
            for (int g = 0; g < w->n_groups; g++) {
                int64_t row = (int64_t)g * w->size;
                if (w->hi[row + group_rows(w, g) - 1] <= first + s * STRIP)
                    continue;
                multiply(group_rows(w, g), dk, w->q + row * w->q_stride, w->q_stride, col,
                         w->p + row * P_STRIDE, P_STRIDE, 0);
            }
        }
}

static inline vm_f lane_index(int64_t first)
{
    vm_f x;
    for (int i = 0; i < LANES; i++)
        x[i] = (float)(first + i);
    return x;
}

static inline float exp2_one(float x)
{
    return vm_exp2_below(vm_set(x))[0];
}

static void scale_row(float *o, int64_t n, float factor)
{
    for (int64_t d = 0; d < n; d += LANES)
        vm_store(o + d, vm_load(o + d) * factor);
}

/* Scores of keys [lo, hi) of a row become 2^(z - max), all others of their vectors 0. */
static void soften_row(const vw_attention_flash *f, float *p, int64_t lo, int64_t hi,
                       vw_attention_state *state, int64_t row)
{
    int64_t first = lo / LANES * LANES;
    float old = state->max[row], max;
    vm_f top = vm_set(old), sum = vm_set(0);
    for (int64_t i = first; i < hi; i += LANES) {
        vm_f z = vm_load(p + i);
        if (f->cap > 0)
            z = f->cap * vm_tanh(z);
        if (i < lo || i + LANES > hi) {
            vm_f index = lane_index(i);
            z = vm_select((index >= (float)lo) & (index < (float)hi), z, vm_set(-INFINITY));
        }
        vm_store(p + i, z);
        top = vm_max(z, top);
    }
    max = vm_max_lane(top);
    for (int64_t i = first; i < hi; i += LANES) {
        vm_f e = vm_exp2_below(vm_load(p + i) - max);
        vm_store(p + i, e);
        sum += e;
    }
    if (max > old) {
        float factor = exp2_one(old - max);
        if (state->sum[row] != 0)
            scale_row(state->o + row * state->o_stride, state->o_stride - STRIP, factor);
        state->sum[row] *= factor;
        state->max[row] = max;
    }
    state->sum[row] += vm_sum(sum);
}

/* o += p V for rows [row, row + mr), keys [from, to) of the tile, one call's columns. */
static void add_values(const piece *w, int64_t row, int mr, int64_t from, int64_t to, columns col,
                       vw_attention_state *state)
{
    if (from >= to)
        return;
    col.b0 += from * STRIP;
    col.b1 += from * STRIP;
    multiply(mr, to - from, w->p + row * P_STRIDE + from, P_STRIDE, col,
             state->o + row * state->o_stride, state->o_stride, 1);
}

/* The keys of a tile that a row sees, and those that a group of rows sees in common. */
static void clip(const piece *w, int64_t row, int64_t first, int64_t *lo, int64_t *hi)
{
    *lo = w->lo[row] > first ? w->lo[row] - first : 0;
    *hi = w->hi[row] < first + TILE ? w->hi[row] - first : TILE;
    if (*hi < *lo)
        *hi = *lo;
}

/* A group's rows in rising order of keys: those before the common keys, these, those after. */
static void add_group(const piece *w, int64_t row, int mr, int64_t first, columns col,
                      vw_attention_state *state)
{
    int64_t lo[MR], hi[MR], from = 0, to = TILE;
    for (int r = 0; r < mr; r++) {
        clip(w, row + r, first, &lo[r], &hi[r]);
        from = lo[r] > from ? lo[r] : from;
        to = hi[r] < to ? hi[r] : to;
    }
    if (to <= from) {
        for (int r = 0; r < mr; r++)
            add_values(w, row + r, 1, lo[r], hi[r], col, state);
        return;
    }
    for (int r = 0; r < mr; r++)
        add_values(w, row + r, 1, lo[r], from, col, state);
    add_values(w, row, mr, from, to, col, state);
    for (int r = 0; r < mr; r++)
        add_values(w, row + r, 1, to, hi[r], col, state);
}

/* Keys [lo, hi), which are in one tile. */
static void attend_tile(piece *w, const vw_attention_head *head, int64_t lo, int64_t hi,
                        vw_attention_state *state)
{
    const vw_attention_flash *f = w->f;
    int64_t first = lo / TILE * TILE, strips = vw_attention_strips(f->page.dv);
    vw_attention_tile tile;
    VMATH_NAME(vw_attention_load)(f, head, lo, hi, w->tile, &tile);
    score_tile(w, &tile, first, lo - first, hi - first);
    for (int64_t r = 0; r < w->n; r++) {
        int64_t from, to;
        clip(w, r, first, &from, &to);
        if (from < to)
            soften_row(f, w->p + r * P_STRIDE, from, to, state, r);
    }
    for (int64_t s = 0; s < strips; s += STRIPS_A_CALL)
        for (int64_t part = 0; part < STRIP; part += PART) {
            columns col = columns_at(tile.values, tile.value_step, s, strips, part);
            for (int g = 0; g < w->n_groups; g++)
                add_group(w, (int64_t)g * w->size, group_rows(w, g), first, col, state);
        }
}

/* All tiles of a chunk that any row sees, from an empty state. */
static void attend_chunk(piece *w, const vw_attention_head *head, int64_t chunk, int64_t lo,
                         int64_t hi, vw_attention_state *state)
{
    int64_t from = chunk * CHUNK, to = from + CHUNK;
    from = lo > from ? lo : from;
    to = hi < to ? hi : to;
    memset(state->o, 0, (size_t)(w->n * state->o_stride) * sizeof *state->o);
    for (int64_t r = 0; r < w->n; r++) {
        state->max[r] = no_max;
        state->sum[r] = 0;
    }
    for (int64_t next; from < to; from = next) {
        next = (from / TILE + 1) * TILE;
        attend_tile(w, head, from, next < to ? next : to, state);
    }
}

/* ---- what is exported ------------------------------------------------------------------------ */

/* An empty side leaves the other as it is, to the bit. */
static void fold(const vw_attention_flash *f, int64_t n, vw_attention_state *total,
                 const vw_attention_state *part)
{
    int64_t width = vw_attention_strips(f->page.dv) * STRIP;
    for (int64_t r = 0; r < n; r++) {
        float *o = total->o + r * total->o_stride, a = 1, b = 1;
        const float *add = part->o + r * part->o_stride;
        if (part->sum[r] == 0)
            continue;
        if (total->sum[r] == 0) {
            memcpy(o, add, (size_t)width * sizeof *o);
            total->max[r] = part->max[r];
            total->sum[r] = part->sum[r];
            continue;
        }
        if (part->max[r] > total->max[r]) {
            a = exp2_one(total->max[r] - part->max[r]);
            total->max[r] = part->max[r];
        } else {
            b = exp2_one(part->max[r] - total->max[r]);
        }
        for (int64_t d = 0; d < width; d += LANES)
            vm_store(o + d, vm_fma(vm_set(b), vm_load(add + d), vm_load(o + d) * a));
        total->sum[r] = total->sum[r] * a + part->sum[r] * b;
    }
}

static float *take(char **memory, int64_t floats)
{
    float *at = (float *)(void *)*memory;
    *memory += (size_t)((floats + STRIP - 1) / STRIP * STRIP) * sizeof(float);
    return at;
}

static void attend(const vw_attention_flash *f, const vw_attention_head *head, int64_t first,
                   int64_t n, int64_t from, int64_t to, vw_attention_state *state, void *scratch)
{
    char *memory = scratch;
    piece w = {.f = f, .n = n, .q_stride = q_stride(f)};
    int64_t lo, hi;
    w.q = take(&memory, ROWS * w.q_stride);
    w.p = take(&memory, ROWS * P_STRIDE);
    w.tile = take(&memory, vw_attention_tile_floats(&f->page));
    w.part = memory;
    set_rows(&w, head, first);
    vw_attention_reach(f, head, first, n, &lo, &hi);
    attend_chunk(&w, head, from, lo, hi, state);
    for (int64_t chunk = from + 1; chunk < to; chunk++) {
        vw_attention_state part = vw_attention_state_at(f, n, w.part);
        attend_chunk(&w, head, chunk, lo, hi, &part);
        fold(f, n, state, &part);
    }
}

const vw_attention_kernels VMATH_NAME(vw_attention) = {.attend = attend, .fold = fold};
