/* cuda_weights.h - a weight of the gemm kind in the words of the CUDA matrix kernels.
 *
 * Stored formats run in place: here their description becomes the kernels' vw_gemm_matrix.  The
 * re-quantised formats are packed on the host, by the quantiser of gemm/ref and so with its bits.
 */
#ifndef PLUGINS_GEMM_CUDA_WEIGHTS_H
#define PLUGINS_GEMM_CUDA_WEIGHTS_H

#include "kernels/cuda/gemm.h"
#include "kernels/ref/quant.h"
#include "plugins/gemm/checks.h"

enum { WEIGHT_PACK_LAYOUT = 1 };

/* A pack: codes [N][K rounded up to 16], then f32 scales [N][groups of K]. */
static inline int64_t pack_stride(const vw_matrix *w)
{
    return (w->cols + 15) / 16 * 16;
}

static inline int64_t pack_group(const vw_matrix *w, vw_gemm_format format)
{
    return format == VW_GEMM_INT8_BLOCK32 ? 32 : w->cols > 0 ? w->cols : 1;
}

static inline int64_t pack_groups(const vw_matrix *w, vw_gemm_format format)
{
    int64_t group = pack_group(w, format);
    return (w->cols + group - 1) / group;
}

static inline vw_status check_weight(const vw_matrix *w, vw_gemm_format format, vw_error *err)
{
    vw_status s = check_matrix(w, err);
    if (s != VW_OK)
        return s;
    if (!is_weight_dtype(w->dtype))
        return vw_fail(err, VW_E_UNSUPPORTED, "weights in %s; f32, bf16, f16, e4m3, e5m2 and int8 "
                       "run on this device", vw_dtype_name(w->dtype));
    if (w->rows > INT32_MAX - VW_GEMM_TILE || w->cols > INT32_MAX - VW_GEMM_TILE)
        return vw_fail(err, VW_E_UNSUPPORTED, "a weight of %lld x %lld is too large for this gemm",
                       (long long)w->rows, (long long)w->cols);
    if (format != VW_GEMM_STORED && w->layout != VW_OUT_IN)
        return vw_fail(err, VW_E_UNSUPPORTED, "only weights stored [out, in] are re-quantised");
    return VW_OK;
}

static inline vw_status weight_pack_size(const vw_matrix *stored, vw_gemm_format format,
                                         size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    vw_status s = check_weight(stored, format, err);
    if (s != VW_OK)
        return s;
    *pack_bytes = 0;
    *layout = 0;
    if (format != VW_GEMM_STORED) {
        *layout = WEIGHT_PACK_LAYOUT;
        *pack_bytes = (size_t)stored->rows * ((size_t)pack_stride(stored) +
                                              (size_t)pack_groups(stored, format) * sizeof(float));
    }
    return VW_OK;
}

/* Stored rows [first, first + n) into a pack; `row` holds K floats. */
static inline void weight_pack(const vw_matrix *stored, vw_gemm_format format, int64_t first,
                               int64_t n, void *memory, float *row)
{
    int64_t k = stored->cols, stride = pack_stride(stored), group = pack_group(stored, format);
    int64_t n_groups = pack_groups(stored, format);
    float *scales = (float *)(void *)((char *)memory + stored->rows * stride);
    vw_gemm_source source = matrix_source(stored, VW_GEMM_FORWARD);
    for (int64_t i = first; i < first + n; i++) {
        int8_t *codes = (int8_t *)memory + i * stride;
        vw_ref_weight_row(&source, i, row);
        for (int64_t j = 0; j < n_groups; j++)
            scales[i * n_groups + j] = vw_ref_quantise_int8(
                row + j * group, k - j * group < group ? k - j * group : group, codes + j * group);
    }
}

/* What is computed with, in the words of the stored form: a pack is an int8 matrix with scales. */
static inline vw_matrix run_matrix(const vw_gemm_weight *w)
{
    vw_matrix m = w->stored;
    if (w->format == VW_GEMM_STORED)
        return m;
    m.dtype = VW_I8;
    m.data = w->pack;
    m.row_stride = pack_stride(&w->stored);
    m.scales = (vw_scales){(const char *)w->pack + m.rows * m.row_stride, VW_F32, 1,
                           pack_group(&w->stored, w->format), pack_groups(&w->stored, w->format)};
    return m;
}

/* The kernels' word for a dtype that check_weight() has let pass. */
static inline int kernel_type(vw_dtype t)
{
    switch (t) {
    case VW_BF16: return VW_TYPE_BF16;
    case VW_F16: return VW_TYPE_F16;
    case VW_I8: return VW_TYPE_I8;
    case VW_E4M3: return VW_TYPE_E4M3;
    case VW_E5M2: return VW_TYPE_E5M2;
    case VW_E8M0: return VW_TYPE_E8M0;
    default: return VW_TYPE_F32;
    }
}

static inline vw_gemm_bytes bytes_of(const vw_matrix *m)
{
    return (vw_gemm_bytes){m->data, m->scales.rows > 0 ? m->scales.data : NULL};
}

static inline int32_t at_most_i32(int64_t x)
{
    return x < INT32_MAX ? (int32_t)x : INT32_MAX;
}

/* log2 of a group's columns; 31 where one group has them all; -1 where it is no power of two. */
static inline int32_t scale_shift(const vw_matrix *m)
{
    int64_t columns = m->scales.cols;
    if (columns >= m->cols)
        return 31;
    for (int32_t shift = 0; shift < 31; shift++)
        if (columns == (int64_t)1 << shift)
            return shift;
    return -1;
}

static inline int is_aligned(const void *p, size_t to)
{
    return (uintptr_t)p % to == 0;
}

/* May eight elements of a row be read at once? */
static inline int has_aligned_chunks(const vw_matrix *m)
{
    size_t bytes = vw_dtype_bits(m->dtype) / 8;
    return is_aligned(m->data, bytes == 1 ? 8 : 16) && m->row_stride % (bytes == 4 ? 4 : 8) == 0;
}

/* x may be NULL where there is none. */
static inline vw_gemm_matrix matrix_of(const vw_matrix *m, vw_gemm_op op, const vw_tensor *x)
{
    int has_scales = m->scales.rows > 0;
    int is_chunk_scaled = !has_scales || m->scales.cols % VW_GEMM_CHUNK == 0 ||
                          m->scales.cols >= m->cols;
    vw_gemm_matrix w = {
        .is_in_out = (m->layout == VW_IN_OUT) != (op == VW_GEMM_DGRAD),
        .row_stride = m->row_stride,
        .scale_type = kernel_type(m->scales.dtype),
        .scale_rows = has_scales ? at_most_i32(m->scales.rows) : 1,
        .scale_cols = has_scales ? at_most_i32(m->scales.cols) : 1,
        .scale_stride = m->scales.row_stride,
        .scale_shift = has_scales ? scale_shift(m) : 31,
    };
    w.n = (int32_t)(w.is_in_out ? m->cols : m->rows);
    w.k = (int32_t)(w.is_in_out ? m->rows : m->cols);
    w.is_vector = !w.is_in_out && is_chunk_scaled && has_aligned_chunks(m) && x &&
                  is_aligned(x->data, 16) && x->stride[0] % 4 == 0;
    return w;
}

#endif
