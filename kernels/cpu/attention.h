/* attention.h - flash attention on the CPU: what a plan fixes, and the functions of one instruction
 * set.
 *
 * The query heads that share a key head and the queries of a sequence lie on one axis of rows: row
 * = query * group + head within the group.  Keys are taken in tiles of 64 from key 0 on, tiles in
 * chunks of 512.  Within a chunk the softmax is online; each finished chunk is folded into the
 * total.  Both borders depend on the key's number alone and every sum runs in rising order of keys,
 * so a row's result is the same bits whether it comes alone or among others, whether one thread
 * takes all chunks or many take one each, and whatever the pages are.
 */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"

#include <vishwamai/dtype.h>

enum {
    VW_ATTENTION_ROWS = 48,   /* rows of one piece of work */
    VW_ATTENTION_TILE = 64,   /* keys of a tile */
    VW_ATTENTION_CHUNK = 512, /* keys of a chunk */
    VW_ATTENTION_STRIP = 16   /* keys or values that lie side by side in memory */
};

/* A page of G tokens of one key head:
 *
 *   int8 only: scales of keys [G], scales of values [G]
 *   keys       strips of 16 tokens, each [dk][16], so that 16 scores are one vector after dk steps;
 *              one strip of G tokens when G is not a multiple of 16
 *   values     strips of 16 columns, each [G][16], the last one padded
 *
 * A latent page holds the keys in the form of values, since its values are their beginning. */
typedef struct vw_attention_page {
    vw_dtype dtype;
    int64_t tokens, heads, dk, dv;
    int is_latent;
    int64_t key_strip;         /* tokens of a strip of keys: 16 or G */
    size_t keys_at, values_at; /* from the head's beginning */
    size_t head_bytes, page_bytes;
} vw_attention_page;

/* Fill the offsets and sizes from the first five fields. */
void vw_attention_page_plan(vw_attention_page *page);

/* Write token `token` of a page; v is not read when the page is latent. */
void vw_attention_page_put(const vw_attention_page *layout, void *page, int64_t token, int64_t head,
                           const float *k, const float *v);

/* What a plan fixes. */
typedef struct vw_attention_flash {
    vw_attention_page page;
    int64_t group; /* query heads of a key head */
    int is_causal;
    int64_t window;
    float q_scale; /* times q: scores in base 2, or divided by the cap */
    float cap;     /* cap * log2 e, 0 without */
} vw_attention_flash;

static inline int64_t vw_attention_strips(int64_t n)
{
    return (n + VW_ATTENTION_STRIP - 1) / VW_ATTENTION_STRIP;
}

/* One sequence and key head: where its queries start and its keys are. */
typedef struct vw_attention_head {
    const float *q; /* first query, first query head of the group; heads dk apart */
    int64_t q_stride;
    int64_t place; /* position of the first query among the keys; may be negative */
    int64_t n_keys;
    const char *pages;
    const int32_t *table;
    int64_t head;
} vw_attention_head;

/* Softmax in progress: sums of 2^(z - max) v and of 2^(z - max).  sum = 0: no key yet. */
typedef struct vw_attention_state {
    float *o; /* [rows][o_stride] */
    int64_t o_stride;
    float *max, *sum; /* [rows] */
} vw_attention_state;

/* Memory of a state of `rows` rows, and how it is laid out. */
size_t vw_attention_state_bytes(const vw_attention_flash *f, int64_t rows);
vw_attention_state vw_attention_state_at(const vw_attention_flash *f, int64_t rows, void *memory);

/* Memory that `attend` needs beside the state; aligned to 64. */
size_t vw_attention_scratch_bytes(const vw_attention_flash *f);

/* The keys [*lo, *hi) that rows [first, first + n) see between them. */
void vw_attention_reach(const vw_attention_flash *f, const vw_attention_head *head, int64_t first,
                        int64_t n, int64_t *lo, int64_t *hi);

typedef struct vw_attention_kernels {
    /* Rows [first, first + n) against the chunks [from, to); writes the state. */
    void (*attend)(const vw_attention_flash *f, const vw_attention_head *head, int64_t first,
                   int64_t n, int64_t from, int64_t to, vw_attention_state *state, void *scratch);
    /* total += part, n rows. */
    void (*fold)(const vw_attention_flash *f, int64_t n, vw_attention_state *total,
                 const vw_attention_state *part);
} vw_attention_kernels;

/* The kernels to run on an instruction set that vw_cpu_choose() gave. */
const vw_attention_kernels *vw_attention_for(vw_cpu_isa isa);

extern const vw_attention_kernels vw_attention_base, vw_attention_avx2, vw_attention_avx512;

/* A row of a finished state: out [dv], and the natural log of the sum; 0 and +inf without a key. */
float vw_attention_finish(const vw_attention_flash *f, const vw_attention_state *state, int64_t row,
                          float *out);

/* ---- between the kernels' files -------------------------------------------------------------- */

/* A tile of keys as the arithmetic reads it: four strips of 16 keys [dk][16], and for each 16
 * columns of values a strip [64][16], value_step floats from strip to strip. */
typedef struct vw_attention_tile {
    const float *keys, *values;
    int64_t value_step;
} vw_attention_tile;

/* Point at the tile in its page if it lies there as it should, else gather it into `scratch`.  Only
 * pages that hold keys [from, to) of the sequence, which are in the tile, are touched: those before a
 * window may be gone.  The functions are vw_attention_load_avx2 and so on. */
typedef void vw_attention_load_fn(const vw_attention_flash *f, const vw_attention_head *head,
                                  int64_t from, int64_t to, float *scratch, vw_attention_tile *out);

/* Floats of the loader's scratch. */
static inline int64_t vw_attention_tile_floats(const vw_attention_page *page)
{
    int64_t strips_k = vw_attention_strips(page->dk), strips_v = vw_attention_strips(page->dv);
    int64_t values = page->is_latent ? strips_k : strips_v;
    return (strips_k + values) * VW_ATTENTION_STRIP * VW_ATTENTION_TILE;
}

#endif
