/* attention-page.c - pages of flash attention, and the states of its softmax: compiled once. */
#include "kernels/cpu/attention-dense.h"
#include "kernels/cpu/attention.h"
#include "kernels/ref/quant.h"

enum { STRIP = VW_ATTENTION_STRIP };

void vw_attention_page_plan(vw_attention_page *p)
{
    size_t bytes = vw_dtype_bits(p->dtype) / 8, scales = 0;
    int64_t columns = vw_attention_strips(p->is_latent ? p->dk : p->dv) * STRIP;
    if (p->dtype == VW_I8)
        scales = (size_t)p->tokens * sizeof(float) * (p->is_latent ? 1 : 2);
    p->key_strip = p->tokens % STRIP ? p->tokens : STRIP;
    p->keys_at = (scales + 63) / 64 * 64;
    p->values_at = p->keys_at;
    if (!p->is_latent)
        p->values_at += ((size_t)(p->tokens * p->dk) * bytes + 63) / 64 * 64;
    size_t end = p->values_at + (size_t)(p->tokens * columns) * bytes;
    p->head_bytes = (end + 63) / 64 * 64;
    p->page_bytes = p->head_bytes * (size_t)p->heads;
}

/* Where the values of a row go: runs of `run` values, `step` elements from run to run. */
typedef struct row_place {
    int64_t first, run, step;
} row_place;

enum { BLOCK = 64 }; /* values of a row that are narrowed at a time; a multiple of both runs */

/* Narrow n values; int8 with the scale of the row's largest, which stands behind them: so every
 * block of a row gets the row's scale from the project's one quantiser.  Returns the scale. */
static float narrow(vw_dtype dtype, const float *x, int64_t n, float largest, void *codes)
{
    float with_largest[BLOCK + 1];
    switch (dtype) {
    case VW_BF16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)codes)[i] = vw_f32_to_bf16(x[i]);
        return 1;
    case VW_F16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)codes)[i] = vw_f32_to_f16(x[i]);
        return 1;
    case VW_I8:
        memcpy(with_largest, x, (size_t)n * sizeof *x);
        with_largest[n] = largest;
        return vw_ref_quantise_int8(with_largest, n + 1, codes);
    default:
        memcpy(codes, x, (size_t)n * sizeof *x);
        return 1;
    }
}

static void scatter(size_t bytes, char *to, row_place place, const char *codes, int64_t n)
{
    char *at = to + (size_t)place.first * bytes;
    size_t run = (size_t)place.run * bytes;
    for (int64_t i = 0; i < n; i += place.run, at += (size_t)place.step * bytes, codes += run) {
        size_t left = (size_t)(n - i) * bytes;
        if (run == sizeof(float)) /* a copy of constant size is one instruction */
            memcpy(at, codes, sizeof(float));
        else
            memcpy(at, codes, left < run ? left : run);
    }
}

static float largest_of(const float *x, int64_t n)
{
    float largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = largest != largest || fabsf(x[i]) <= largest ? largest : fabsf(x[i]);
    return largest;
}

static void put_row(const vw_attention_page *p, char *to, row_place place, float *scale,
                    const float *x, int64_t n)
{
    float codes[BLOCK + 1], row_scale = 1, largest = p->dtype == VW_I8 ? largest_of(x, n) : 0;
    size_t bytes = vw_dtype_bits(p->dtype) / 8;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        row_scale = narrow(p->dtype, x + i, m, largest, codes);
        scatter(bytes, to, place, (const char *)codes, m);
        place.first += BLOCK / place.run * place.step;
    }
    if (p->dtype == VW_I8)
        *scale = row_scale;
}

void vw_attention_page_put(const vw_attention_page *p, void *page, int64_t token, int64_t head,
                           const float *k, const float *v)
{
    char *base = (char *)page + (size_t)head * p->head_bytes;
    float *scales = (float *)(void *)base;
    row_place columns = {token * STRIP, STRIP, p->tokens * STRIP};
    if (p->is_latent) {
        put_row(p, base + p->values_at, columns, scales + token, k, p->dk);
        return;
    }
    row_place keys = {token / p->key_strip * p->key_strip * p->dk + token % p->key_strip, 1,
                      p->key_strip};
    put_row(p, base + p->keys_at, keys, scales + token, k, p->dk);
    put_row(p, base + p->values_at, columns, scales + p->tokens + token, v, p->dv);
}

/* ---- states ---------------------------------------------------------------------------------- */

/* Rows of o are 16 values longer than needed, so that they do not all fall into one cache set. */
static int64_t o_stride(const vw_attention_flash *f)
{
    return (vw_attention_strips(f->page.dv) + 1) * STRIP;
}

size_t vw_attention_state_bytes(const vw_attention_flash *f, int64_t rows)
{
    int64_t scalars = (2 * rows + STRIP - 1) / STRIP * STRIP;
    return (size_t)(rows * o_stride(f) + scalars) * sizeof(float);
}

vw_attention_state vw_attention_state_at(const vw_attention_flash *f, int64_t rows, void *memory)
{
    float *o = memory;
    int64_t stride = o_stride(f);
    return (vw_attention_state){o, stride, o + rows * stride, o + rows * stride + rows};
}

/* q, p, the loader's tile, and one state: `attend` of attention-flash.c takes them so. */
size_t vw_attention_scratch_bytes(const vw_attention_flash *f)
{
    int64_t rows = VW_ATTENTION_ROWS, q = rows * (vw_attention_strips(f->page.dk) + 1) * STRIP;
    int64_t p = rows * (VW_ATTENTION_TILE + STRIP);
    return (size_t)(q + p + vw_attention_tile_floats(&f->page)) * sizeof(float) +
           vw_attention_state_bytes(f, rows);
}

float vw_attention_finish(const vw_attention_flash *f, const vw_attention_state *state, int64_t row,
                          float *out)
{
    const float *o = state->o + row * state->o_stride;
    float sum = state->sum[row];
    if (sum == 0) {
        memset(out, 0, (size_t)f->page.dv * sizeof *out);
        return INFINITY;
    }
    for (int64_t d = 0; d < f->page.dv; d++)
        out[d] = o[d] / sum;
    return (float)((double)state->max[row] * 0.69314718055994530942 + log((double)sum));
}

void vw_attention_reach(const vw_attention_flash *f, const vw_attention_head *head, int64_t first,
                        int64_t n, int64_t *lo, int64_t *hi)
{
    int64_t p0 = head->place + first / f->group, p1 = head->place + (first + n - 1) / f->group;
    *hi = f->is_causal && p1 + 1 < head->n_keys ? p1 + 1 : head->n_keys;
    *lo = f->window > 0 && p0 - f->window + 1 > 0 ? p0 - f->window + 1 : 0;
    if (*hi <= *lo)
        *lo = *hi = 0;
}

const vw_attention_kernels *vw_attention_for(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX512
    case VW_CPU_VNNI:
    case VW_CPU_AVX512:
        return &vw_attention_avx512;
#endif
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2:
        return &vw_attention_avx2;
#endif
    default:
        return &vw_attention_base;
    }
}

const vw_dense_kernels *vw_dense_for(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX512
    case VW_CPU_VNNI:
    case VW_CPU_AVX512:
        return &vw_dense_avx512;
#endif
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2:
        return &vw_dense_avx2;
#endif
    default:
        return &vw_dense_base;
    }
}
