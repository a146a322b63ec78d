/* attention-load.c - a tile of keys and values from pages, as floats; once per instruction set.
 *
 * f32 pages of a multiple of 64 tokens hold tiles as the arithmetic wants them: nothing moves.  All
 * others are gathered, page by page, into the caller's scratch and widened on the way.
 */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vmath.h"

vw_attention_load_fn VMATH_NAME(vw_attention_load);

enum { STRIP = VW_ATTENTION_STRIP, TILE = VW_ATTENTION_TILE };

/* The tokens [token, token + n) of a page, which are keys [at, at + n) of the tile. */
typedef struct stretch {
    const char *base; /* of the head in its page */
    int64_t token, at, n;
} stretch;

static inline const char *element(vw_dtype dtype, const char *from, int64_t i)
{
    return from + (size_t)i * (vw_dtype_bits(dtype) / 8);
}

static inline vm_f widen(vw_dtype dtype, const char *from)
{
    switch (dtype) {
    case VW_BF16:
        return vm_from_bf16((const uint16_t *)(const void *)from);
    case VW_F16:
        return vm_from_f16((const uint16_t *)(const void *)from);
    case VW_I8:
        return vm_from_i8((const int8_t *)from);
    default:
        return vm_load((const float *)(const void *)from);
    }
}

/* The two loops are inlined with a constant dtype, so that they hold no switch. */
#define WITH_DTYPE(call) \
    switch (p->dtype) {  \
    case VW_BF16:        \
        call(VW_BF16);   \
        break;           \
    case VW_F16:         \
        call(VW_F16);    \
        break;           \
    case VW_I8:          \
        call(VW_I8);     \
        break;           \
    default:             \
        call(VW_F32);    \
    }

/* Strips of 16 tokens to strips of 16 keys: vectors stay what they are. */
__attribute__((always_inline)) static inline void
key_strips(vw_dtype dtype, const vw_attention_page *p, stretch s, float *keys)
{
    const float *scales = (const float *)(const void *)s.base;
    for (int64_t i = 0; i < s.n; i += STRIP) {
        int64_t token = s.token + i;
        const char *from = element(dtype, s.base + p->keys_at, token * p->dk);
        float *to = keys + (s.at + i) / STRIP * p->dk * STRIP;
        vm_f scale[STRIP / VMATH_LANES];
        for (int64_t part = 0; part < STRIP; part += VMATH_LANES)
            scale[part / VMATH_LANES] = dtype == VW_I8 ? vm_load(scales + token + part) : vm_set(1);
        for (int64_t d = 0; d < p->dk; d++, to += STRIP)
            for (int64_t part = 0; part < STRIP; part += VMATH_LANES) {
                vm_f x = widen(dtype, element(dtype, from, d * STRIP + part));
                vm_store(to + part, dtype == VW_I8 ? x * scale[part / VMATH_LANES] : x);
            }
    }
}

static void keys_by_strips(const vw_attention_page *p, stretch s, float *keys)
{
#define CALL(dtype) key_strips(dtype, p, s, keys)
    WITH_DTYPE(CALL)
#undef CALL
}

/* Pages of an odd number of tokens: value by value. */
static void keys_by_values(const vw_attention_page *p, stretch s, float *keys)
{
    const float *scales = (const float *)(const void *)s.base;
    for (int64_t d = 0; d < p->dk; d++)
        for (int64_t i = 0; i < s.n; i++) {
            int64_t key = s.at + i, token = s.token + i;
            float x =
                (float)vw_dtype_get(p->dtype, s.base + p->keys_at, (size_t)(d * p->tokens + token));
            keys[(key / STRIP * p->dk + d) * STRIP + key % STRIP] =
                p->dtype == VW_I8 ? x * scales[token] : x;
        }
}

__attribute__((always_inline)) static inline void value_strips(vw_dtype dtype,
                                                               const vw_attention_page *p,
                                                               stretch s, const float *scales,
                                                               int64_t columns, float *to)
{
    for (int64_t c = 0; c < vw_attention_strips(columns); c++) {
        const char *from = element(dtype, s.base + p->values_at, (c * p->tokens + s.token) * STRIP);
        float *row = to + (c * TILE + s.at) * STRIP;
        for (int64_t i = 0; i < s.n; i++, row += STRIP)
            for (int64_t part = 0; part < STRIP; part += VMATH_LANES) {
                vm_f x = widen(dtype, element(dtype, from, i * STRIP + part));
                vm_store(row + part, dtype == VW_I8 ? x * scales[s.token + i] : x);
            }
    }
}

static void values(const vw_attention_page *p, stretch s, const float *scales, int64_t columns,
                   float *to)
{
#define CALL(dtype) value_strips(dtype, p, s, scales, columns, to)
    WITH_DTYPE(CALL)
#undef CALL
}

/* 16 keys of 16 columns, of which `n` are wanted, become as many rows of 16 keys. */
static void turn_block(const float *rows, int64_t n, float *keys)
{
    for (int64_t d = 0; d < STRIP; d += VL)
        for (int64_t j = 0; j < STRIP; j += VL) {
            vf square[VL];
            VW_UNROLL
            for (int i = 0; i < VL; i++)
                square[i] = v_load(rows + (j + i) * STRIP + d);
            v_transpose(square);
            VW_UNROLL
            for (int i = 0; i < VL; i++)
                if (d + i < n)
                    v_store(keys + (d + i) * STRIP + j, square[i]);
        }
}

/* Latent: keys are the values turned round.  Behind key n lies what nobody looks at. */
static void turn(const vw_attention_page *p, int64_t n, const float *rows, float *keys)
{
    for (int64_t j = 0; j < n; j += STRIP)
        for (int64_t d = 0; d < p->dk; d += STRIP)
            turn_block(rows + (d / STRIP * TILE + j) * STRIP, p->dk - d,
                       keys + (j / STRIP * p->dk + d) * STRIP);
}

static void gather(const vw_attention_page *p, stretch s, float *keys, float *rows)
{
    const float *scales = (const float *)(const void *)s.base;
    if (p->is_latent) {
        values(p, s, scales, p->dk, rows);
        return;
    }
    if (p->key_strip == STRIP)
        keys_by_strips(p, s, keys);
    else
        keys_by_values(p, s, keys);
    values(p, s, scales + p->tokens, p->dv, rows);
}

static const char *head_base(const vw_attention_page *p, const vw_attention_head *head, int64_t key)
{
    return head->pages + (size_t)head->table[key / p->tokens] * p->page_bytes +
           (size_t)head->head * p->head_bytes;
}

static void gather_pages(const vw_attention_flash *f, const vw_attention_head *head, int64_t from,
                         int64_t to, float *keys, float *rows)
{
    const vw_attention_page *p = &f->page;
    int64_t first = from / TILE * TILE, end = first + TILE, next;
    for (int64_t key = first; key < to; key = next) {
        int64_t token = key % p->tokens, page_end = key - token + p->tokens;
        next = page_end < end ? page_end : end;
        if (next > from) {
            int64_t n = (next < head->n_keys ? next : head->n_keys) - key;
            gather(p, (stretch){head_base(p, head, key), token, key - first, n}, keys, rows);
        }
    }
    if (p->is_latent)
        turn(p, to - first, rows, keys);
}

void VMATH_NAME(vw_attention_load)(const vw_attention_flash *f, const vw_attention_head *head,
                                   int64_t from, int64_t to, float *scratch, vw_attention_tile *out)
{
    const vw_attention_page *p = &f->page;
    if (p->dtype == VW_F32 && p->tokens % TILE == 0 && !p->is_latent) {
        int64_t token = from / TILE * TILE % p->tokens;
        const char *base = head_base(p, head, from);
        out->keys = (const float *)(const void *)(base + p->keys_at) + token * p->dk;
        out->values = (const float *)(const void *)(base + p->values_at) + token * STRIP;
        out->value_step = p->tokens * STRIP;
        return;
    }
    float *rows = scratch + vw_attention_strips(p->dk) * STRIP * TILE;
    gather_pages(f, head, from, to, scratch, rows);
    *out = (vw_attention_tile){scratch, rows, TILE * STRIP};
}
