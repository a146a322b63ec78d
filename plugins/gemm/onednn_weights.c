/* onednn_weights.c - primitives of oneDNN, and weights in the layout that it prefers. */
#include "plugins/gemm/onednn.h"

#include "kernels/ref/quant.h"

/* ---- primitives ---- */

dnnl_status_t onednn_make(const onednn_gemm *g, int is_s8, int64_t m, int64_t n, int64_t k,
                          dnnl_memory_desc_t *w, dnnl_memory_desc_t *x, dnnl_memory_desc_t *y,
                          dnnl_primitive_t *out)
{
    dnnl_dims_t x_dims = {m, k}, y_dims = {m, n};
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t desc;
    dnnl_status_t s;
    if ((s = dnnl_memory_desc_init_by_tag(x, 2, x_dims, is_s8 ? dnnl_u8 : dnnl_f32, dnnl_ab)) ||
        (s = dnnl_memory_desc_init_by_tag(y, 2, y_dims, is_s8 ? dnnl_s32 : dnnl_f32, dnnl_ab)) ||
        (s = dnnl_matmul_desc_init(&matmul, x, w, NULL, y)) ||
        (s = dnnl_primitive_desc_create(&desc, &matmul, NULL, g->engine, NULL)))
        return s;
    *w = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    s = out ? dnnl_primitive_create(out, desc) : dnnl_success;
    dnnl_primitive_desc_destroy(desc);
    return s;
}

vw_status onednn_packed_layout(const onednn_gemm *g, int is_s8, int64_t n, int64_t k,
                               dnnl_memory_desc_t *w, vw_error *err)
{
    dnnl_dims_t dims = {k, n};
    dnnl_memory_desc_t x, y;
    dnnl_status_t s = dnnl_memory_desc_init_by_tag(w, 2, dims, is_s8 ? dnnl_s8 : dnnl_f32,
                                                   dnnl_format_tag_any);
    if (s == dnnl_success)
        s = onednn_make(g, is_s8, 128, n, k, w, &x, &y, NULL);
    if (s != dnnl_success)
        return onednn_failed(s, "choosing a layout", err);
    if (!onednn_is_plain_blocked(w))
        return vw_fail(err, VW_E_UNSUPPORTED, "oneDNN prefers a layout that cannot be written here");
    return VW_OK;
}

/* ---- weights ---- */

/* 0: in place. */
static uint32_t choose_layout(const onednn_gemm *g, const vw_matrix *w, vw_gemm_format format)
{
    if (format == VW_GEMM_INT8)
        return PACKED_S8;
    return w->dtype == VW_F32 && !g->config.pack && w->scales.rows == 0 ? 0 : PACKED_F32;
}

vw_status onednn_pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    const onednn_gemm *g = self;
    int64_t n = matrix_n(stored), k = matrix_k(stored);
    dnnl_memory_desc_t md;
    vw_status s = check_matrix(stored, err);
    if (s != VW_OK)
        return s;
    if (!is_weight_dtype(stored->dtype) || format == VW_GEMM_INT8_BLOCK32 || n == 0 || k == 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "gemm/onednn runs f32, bf16, f16, e4m3, e5m2 and int8 "
                                              "weights that are not empty, in no groups of 32");
    if (format == VW_GEMM_INT8 && !g->has_s8)
        return vw_fail(err, VW_E_UNSUPPORTED, "oneDNN's products of 8-bit numbers saturate on a CPU "
                                              "without VNNI; saturating = yes runs them "
                                              "nevertheless, for a race");
    uint32_t l = choose_layout(g, stored, format);
    size_t bytes = 0;
    if (l) {
        s = onednn_packed_layout(g, l == PACKED_S8, n, k, &md, err);
        if (s != VW_OK)
            return s;
        bytes = (dnnl_memory_desc_get_size(&md) + 63) / 64 * 64;
        if (l == PACKED_S8)
            bytes += (size_t)n * (sizeof(float) + sizeof(int32_t));
    }
    *layout = l;
    *pack_bytes = bytes;
    return VW_OK;
}

float *onednn_s8_scales(const dnnl_memory_desc_t *md, const void *pack)
{
    size_t codes = (dnnl_memory_desc_get_size(md) + 63) / 64 * 64;
    return (float *)(void *)((char *)(uintptr_t)pack + codes);
}

static void pack_row(const dnnl_memory_desc_t *md, int is_s8, int64_t n, const float *row,
                     int64_t k, int8_t *codes, void *pack)
{
    float *scales = onednn_s8_scales(md, pack);
    int32_t sum = 0;
    if (is_s8)
        scales[n] = vw_ref_quantise_int8(row, k, codes);
    for (int64_t j = 0; j < md->padded_dims[0]; j++) {
        int64_t at = onednn_offset(md, j, n);
        if (is_s8) {
            ((int8_t *)pack)[at] = j < k ? codes[j] : 0;
            sum += j < k ? codes[j] : 0;
        } else {
            ((float *)pack)[at] = j < k ? row[j] : 0;
        }
    }
    if (is_s8)
        ((int32_t *)(void *)(scales + md->dims[1]))[n] = sum;
}

vw_status onednn_pack(void *self, const vw_matrix *stored, vw_gemm_format format, int64_t first,
                      int64_t n, void *out, vw_error *err)
{
    onednn_gemm *g = self;
    vw_gemm_source w = matrix_source(stored, VW_GEMM_FORWARD);
    int is_s8 = choose_layout(g, stored, format) == PACKED_S8;
    dnnl_memory_desc_t md;
    vw_status s = onednn_packed_layout(g, is_s8, w.n, w.k, &md, err);
    if (s != VW_OK)
        return s;
    float *row = g->host->alloc(g->host->core, (size_t)w.k * (sizeof(float) + 1));
    if (!row)
        return vw_fail(err, VW_E_NOMEM, "no memory to pack weights");
    for (int64_t i = first; i < first + n; i++) {
        vw_ref_weight_row(&w, i, row);
        pack_row(&md, is_s8, i, row, w.k, (int8_t *)(row + w.k), out);
    }
    for (int64_t i = w.n; first + n == w.n && i < md.padded_dims[1]; i++)
        for (int64_t k = 0; k < md.padded_dims[0]; k++)
            memset((char *)out + onednn_offset(&md, k, i) * (is_s8 ? 1 : 4), 0, is_s8 ? 1 : 4);
    g->host->free(g->host->core, row);
    return VW_OK;
}

static void read_row(const dnnl_memory_desc_t *md, int is_s8, const void *pack, int64_t n, int64_t k,
                     float *out)
{
    for (int64_t j = 0; j < k; j++) {
        int64_t at = onednn_offset(md, j, n);
        out[j] = is_s8 ? ((const int8_t *)pack)[at] * onednn_s8_scales(md, pack)[n]
                       : ((const float *)pack)[at];
    }
}

vw_status onednn_gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    vw_gemm_source source = matrix_source(&w->stored, VW_GEMM_FORWARD);
    dnnl_memory_desc_t md;
    (void)stream;
    if (!is_rows_f32(&y, y.shape[0], source.k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)source.k);
    if (w->pack) {
        vw_status s = onednn_packed_layout(self, w->layout == PACKED_S8, source.n, source.k, &md,
                                           err);
        if (s != VW_OK)
            return s;
    }
    for (int64_t i = 0; i < y.shape[0]; i++) {
        float *out = (float *)y.data + i * y.stride[0];
        memset(out, 0, (size_t)source.k * sizeof *out);
        if (rows[i] < 0 || rows[i] >= source.n)
            continue;
        if (w->pack)
            read_row(&md, w->layout == PACKED_S8, w->pack, rows[i], source.k, out);
        else
            vw_ref_weight_row(&source, rows[i], out);
        for (int64_t k = 0; k < source.k; k++)
            out[k] *= scale;
    }
    return VW_OK;
}
