/* gemm-weights.c - packing weights, and reading single rows back: compiled once. */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/cpu/gemm-pack.h"
#include "kernels/cpu/gemm.h"

size_t vw_gemm_pack_bytes(vw_gemm_layout layout, int64_t n, int64_t k, int64_t scale_k)
{
    vw_gemm_s8 s = vw_gemm_s8_shape(n, k, scale_k);
    size_t values = (size_t)(s.panels * VW_GEMM_PANEL);
    switch (layout) {
    case VW_GEMM_PANEL_F32: return values * (size_t)k * 4;
    case VW_GEMM_PANEL_BF16: return values * (size_t)((k + 1) / 2) * 4;
    case VW_GEMM_PANEL_F16: return values * (size_t)k * 2;
    case VW_GEMM_PANEL_S8: return vw_gemm_s8_codes(&s) + values * (size_t)s.groups * 8;
    default: return 0;
    }
}

int vw_gemm_keeps_s8(const vw_gemm_source *w, int64_t *scale_k)
{
    if (w->dtype != VW_I8)
        return 0;
    *scale_k = !w->scales ? w->k : w->is_in_out ? w->scale_rows : w->scale_cols;
    return *scale_k >= w->k || *scale_k % VW_GEMM_S8_GROUP == 0 ||
           (*scale_k % 4 == 0 && *scale_k <= VW_GEMM_S8_GROUP);
}

/* Sixteen bits a value, `pair` of them along K side by side. */
static void pack_halves(const vw_gemm_source *w, int pair, int64_t n, uint16_t *out)
{
    int64_t k_end = (w->k + pair - 1) / pair * pair;
    for (int64_t i = 0; i < VW_GEMM_PANEL; i++)
        for (int64_t k = 0; k < k_end; k++) {
            int64_t row = w->is_in_out ? k : n + i, col = w->is_in_out ? n + i : k;
            uint16_t *to = out + (k / pair * VW_GEMM_PANEL + i) * pair + k % pair;
            if (n + i < w->n && k < w->k)
                memcpy(to, (const char *)w->data + (size_t)(row * w->row_stride + col) * 2, 2);
            else
                *to = 0;
        }
}

/* Stored scales of 16 outputs, one for each group of the pack. */
static void copy_scales(const vw_gemm_source *w, const vw_gemm_s8 *s, int64_t n, float *scales)
{
    for (int64_t g = 0; g < s->groups; g++)
        for (int64_t i = 0; i < VW_GEMM_PANEL; i++) {
            int64_t k = g * s->group, row = w->is_in_out ? k : n + i, col = w->is_in_out ? n + i : k;
            scales[g * VW_GEMM_PANEL + i] = n + i < w->n ? vw_ref_scale(w, row, col) : 0.0f;
        }
}

static void pack_s8(const vw_gemm_kernels *kernels, const vw_gemm_source *w, int64_t scale_k,
                    int is_kept, int64_t n, void *pack, float *scratch)
{
    vw_gemm_operand operand = {.source = *w};
    vw_gemm_s8 s = vw_gemm_s8_shape(w->n, w->k, scale_k);
    int64_t panel = n / VW_GEMM_PANEL;
    float *scales = (float *)(uintptr_t)vw_gemm_s8_scales(&s, pack, panel);
    int32_t *sums = (int32_t *)(uintptr_t)vw_gemm_s8_sums(&s, pack, panel);
    if (is_kept)
        operand.source.scales = NULL;
    kernels->expand(&operand, n, 0, w->k, scratch);
    if (is_kept)
        copy_scales(w, &s, n, scales);
    char *codes = (char *)pack + (size_t)(panel * s.k4) * 64;
    kernels->quantise(scratch, w->k, scale_k < w->k ? scale_k : s.groups * s.group, s.group, is_kept,
                      codes, scales, sums);
}

void vw_gemm_pack(const vw_gemm_kernels *kernels, const vw_gemm_source *w, vw_gemm_layout layout,
                  int64_t scale_k, int is_kept, int64_t first, int64_t n, void *pack,
                  float *scratch)
{
    vw_gemm_operand operand = {.source = *w};
    for (int64_t i = first; i < first + n; i += VW_GEMM_PANEL) {
        int64_t panel = i / VW_GEMM_PANEL;
        switch (layout) {
        case VW_GEMM_PANEL_F32:
            kernels->expand(&operand, i, 0, w->k, (float *)pack + panel * w->k * VW_GEMM_PANEL);
            break;
        case VW_GEMM_PANEL_BF16:
            pack_halves(w, 2, i, (uint16_t *)pack + panel * ((w->k + 1) / 2) * 32);
            break;
        case VW_GEMM_PANEL_F16:
            pack_halves(w, 1, i, (uint16_t *)pack + panel * w->k * VW_GEMM_PANEL);
            break;
        case VW_GEMM_PANEL_BLOCKS: vw_gemm_pack_blocks(w, i, pack); break;
        default: pack_s8(kernels, w, scale_k, is_kept, i, pack, scratch);
        }
    }
}

/* Value k of output i of a panel. */
static float packed_value(const vw_gemm_operand *w, const vw_gemm_s8 *s, int64_t panel, int64_t i,
                          int64_t k)
{
    const uint16_t *half = w->pack;
    switch (w->layout) {
    case VW_GEMM_PANEL_F32:
        return ((const float *)w->pack)[(panel * w->source.k + k) * VW_GEMM_PANEL + i];
    case VW_GEMM_PANEL_BF16: {
        int64_t pairs = (w->source.k + 1) / 2;
        return vw_bf16_to_f32(half[((panel * pairs + k / 2) * VW_GEMM_PANEL + i) * 2 + k % 2]);
    }
    case VW_GEMM_PANEL_F16:
        return vw_f16_to_f32(half[(panel * w->source.k + k) * VW_GEMM_PANEL + i]);
    default: {
        const int8_t *code = (const int8_t *)w->pack +
                             ((panel * s->k4 + k / 4) * VW_GEMM_PANEL + i) * 4 + k % 4;
        return *code * vw_gemm_s8_scales(s, w->pack, panel)[k / s->group * VW_GEMM_PANEL + i];
    }
    }
}

void vw_gemm_gather_row(const vw_gemm_operand *w, int64_t n, float scale, float *out)
{
    const vw_gemm_source *source = &w->source;
    vw_gemm_s8 s = vw_gemm_s8_shape(source->n, source->k, w->scale_k);
    if (w->layout == VW_GEMM_PANEL_BLOCKS) {
        uint8_t block[VW_GEMM_MAX_BLOCK_BYTES];
        const int e = source->block_elements;
        for (int64_t k = 0; k < source->k; k += e) {
            vw_gemm_blocks_row(w, n, k / e, 1, block);
            source->dequantise(block, 1, out + k);
            float beside = vw_gemm_blocks_scale(w, n, k);
            for (int i = 0; i < e; i++)
                out[k + i] = out[k + i] * beside * scale;
        }
    } else if (w->layout != VW_GEMM_IN_PLACE) {
        for (int64_t k = 0; k < source->k; k++)
            out[k] = scale * packed_value(w, &s, n / VW_GEMM_PANEL, n % VW_GEMM_PANEL, k);
    } else if (source->dtype == VW_F32 && !source->scales && !source->is_in_out) {
        const float *row = (const float *)source->data + n * source->row_stride;
        for (int64_t k = 0; k < source->k; k++)
            out[k] = scale * row[k];
    } else if (source->dtype == VW_BF16 && !source->scales && !source->is_in_out) {
        const char *row = (const char *)source->data + (size_t)(n * source->row_stride) * 2;
        for (int64_t k = 0; k < source->k; k++) {
            uint16_t half;
            memcpy(&half, row + 2 * k, sizeof half);
            out[k] = scale * vw_bf16_to_f32(half);
        }
    } else {
        vw_ref_weight_row(source, n, out);
        for (int64_t k = 0; k < source->k; k++)
            out[k] *= scale;
    }
}
