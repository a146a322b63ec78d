/* attention.h - attention as its formula: one row at a time, in double precision.
 *
 * The specification of the attention kind.  Letters as in attention.h of the interface: Dk and Dv
 * head sizes, S keys; a query at position p among the keys, with p = i + S - n for query i of n.
 */
#ifndef KERNELS_REF_ATTENTION_H
#define KERNELS_REF_ATTENTION_H

#include <vishwamai/dtype.h>

typedef struct vw_ref_attention {
    int64_t dk, dv;
    int is_causal;
    int64_t window; /* keys a query sees, its own included; 0: all */
    double scale, cap;
} vw_ref_attention;

/* The keys [*lo, *hi) of S that a query at position p sees; *lo = *hi when there are none. */
static inline void vw_ref_visible(int is_causal, int64_t window, int64_t p, int64_t S, int64_t *lo,
                                  int64_t *hi)
{
    int64_t first = window > 0 && p - window + 1 > 0 ? p - window + 1 : 0;
    int64_t last = is_causal && p + 1 < S ? p + 1 : S;
    *lo = first < last ? first : 0;
    *hi = first < last ? last : 0;
}

/* Where the keys and values of one sequence and one key head are.  `key` and `value` return row j,
 * in their own memory or in `space` of dk or dv floats. */
typedef struct vw_ref_kv {
    const float *(*key)(const void *from, int64_t j, float *space);
    const float *(*value)(const void *from, int64_t j, float *space);
    const void *from;
} vw_ref_kv;

/* One query row of one head against S keys: out [dv]; returns the natural log of the sum of exp
 * z, +inf with out = 0 where nothing is visible.  space: vw_ref_attend_space(a, S) bytes,
 * aligned to 8. */
double vw_ref_attend(const vw_ref_attention *a, const float *q, int64_t p, int64_t S,
                     const vw_ref_kv *kv, float *out, void *space);
size_t vw_ref_attend_space(const vw_ref_attention *a, int64_t S);

/* Rows of [n, heads * width] values, `stride` apart. */
typedef struct vw_ref_rows {
    float *data;
    int64_t stride;
} vw_ref_rows;

/* One dense sequence of n queries and n keys, and its forward's results. */
typedef struct vw_ref_attention_pass {
    vw_ref_attention a;
    int64_t n, q_heads, k_heads;
    vw_ref_rows q, k, v, out, d_out;
    const float *lse; /* [n][q_heads] */
} vw_ref_attention_pass;

/* delta = d_out . out of query i, head h; and, with it, the gradient of that query. */
double vw_ref_attend_delta(const vw_ref_attention_pass *pass, int64_t i, int64_t h);
void vw_ref_attend_dq(const vw_ref_attention_pass *pass, double delta, int64_t i, int64_t h,
                      float *dq, double *space);

/* The gradients of key and value j of key head g; delta [n][q_heads].  Sums over query heads in
 * rising order, then queries.  space: dk + dv doubles here, dk above. */
void vw_ref_attend_dkv(const vw_ref_attention_pass *pass, const double *delta, int64_t j, int64_t g,
                       float *dk, float *dv, double *space);

/* ---- pages ----------------------------------------------------------------------------------- */

/* How attention/ref keeps one page of G tokens.  For each key head: keys [G][dk] and values
 * [G][dv] of `dtype`; int8 has a float scale a token for keys and for values before them. 
 * Latent pages hold keys alone, whose first dv values are the values. */
typedef struct vw_ref_page_layout {
    vw_dtype dtype;
    int64_t tokens, heads, dk, dv;
    int is_latent;
    size_t head_bytes, page_bytes;
} vw_ref_page_layout;

void vw_ref_page_plan(vw_ref_page_layout *layout); /* fills the two sizes from the rest */

/* Write one token; v is not read when the layout is latent. */
void vw_ref_page_put(const vw_ref_page_layout *layout, void *page, int64_t token, int64_t head,
                     const float *k, const float *v);

/* A sequence's pages, as `from` of a vw_ref_kv with the two functions below. */
typedef struct vw_ref_pages {
    const vw_ref_page_layout *layout;
    const char *pages;
    const int32_t *table;
    int64_t head;
} vw_ref_pages;

const float *vw_ref_page_key(const void *from, int64_t j, float *space);
const float *vw_ref_page_value(const void *from, int64_t j, float *space);

#endif
