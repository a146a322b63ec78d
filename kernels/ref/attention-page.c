/* attention-page.c - the pages of attention/ref: tokens one after another, nothing clever. */
#include "kernels/ref/attention.h"
#include "kernels/ref/quant.h"

static size_t value_bytes(const vw_ref_page_layout *l)
{
    return vw_dtype_bits(l->dtype) / 8;
}

static size_t scales_bytes(const vw_ref_page_layout *l)
{
    if (l->dtype != VW_I8)
        return 0;
    return (size_t)l->tokens * (l->is_latent ? 1 : 2) * sizeof(float);
}

void vw_ref_page_plan(vw_ref_page_layout *l)
{
    int64_t width = l->dk + (l->is_latent ? 0 : l->dv);
    size_t bytes = scales_bytes(l) + (size_t)(l->tokens * width) * value_bytes(l);
    l->head_bytes = (bytes + 63) / 64 * 64;
    l->page_bytes = l->head_bytes * (size_t)l->heads;
}

/* Row `token` of the keys, or of the values behind all keys. */
static char *row_of(const vw_ref_page_layout *l, char *head, int64_t token, int is_value)
{
    int64_t skip = is_value ? l->tokens * l->dk + token * l->dv : token * l->dk;
    return head + scales_bytes(l) + (size_t)skip * value_bytes(l);
}

static void put_row(const vw_ref_page_layout *l, char *row, float *scale, const float *x, int64_t n)
{
    switch (l->dtype) {
    case VW_I8:
        *scale = vw_ref_quantise_int8(x, n, (int8_t *)row);
        break;
    case VW_BF16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)row)[i] = vw_f32_to_bf16(x[i]);
        break;
    case VW_F16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)row)[i] = vw_f32_to_f16(x[i]);
        break;
    default:
        memcpy(row, x, (size_t)n * sizeof *x);
    }
}

void vw_ref_page_put(const vw_ref_page_layout *l, void *page, int64_t token, int64_t head,
                     const float *k, const float *v)
{
    char *base = (char *)page + (size_t)head * l->head_bytes;
    float *scales = (float *)base;
    put_row(l, row_of(l, base, token, 0), scales + token, k, l->dk);
    if (!l->is_latent)
        put_row(l, row_of(l, base, token, 1), scales + l->tokens + token, v, l->dv);
}

static const float *get_row(const vw_ref_page_layout *l, const char *row, float scale, int64_t n,
                            float *space)
{
    if (l->dtype == VW_F32)
        return (const float *)row;
    for (int64_t i = 0; i < n; i++)
        space[i] = (float)vw_dtype_get(l->dtype, row, (size_t)i) * scale;
    return space;
}

static const float *get(const vw_ref_pages *p, int64_t j, int is_value, int64_t n, float *space)
{
    const vw_ref_page_layout *l = p->layout;
    int64_t token = j % l->tokens;
    const char *page = p->pages + (size_t)p->table[j / l->tokens] * l->page_bytes;
    char *head = (char *)(uintptr_t)page + (size_t)p->head * l->head_bytes;
    float scale = l->dtype == VW_I8 ? ((const float *)head)[token + is_value * l->tokens] : 1;
    return get_row(l, row_of(l, head, token, is_value), scale, n, space);
}

const float *vw_ref_page_key(const void *from, int64_t j, float *space)
{
    const vw_ref_pages *p = from;
    return get(p, j, 0, p->layout->dk, space);
}

/* A latent page's value is the beginning of its key. */
const float *vw_ref_page_value(const void *from, int64_t j, float *space)
{
    const vw_ref_pages *p = from;
    return get(p, j, !p->layout->is_latent, p->layout->dv, space);
}
