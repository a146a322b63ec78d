/* gemm-block.c - weights in block formats, in place: a row at a time as f32, or a panel of them.
 *
 * Blocks become f32 in plain loops that the compiler turns into vectors of this instruction set,
 * with the same roundings as the reference, so that values are equal to the bit.  The row path
 * keeps what it widened in L1 and multiplies it with every row of X at once; tiles get it as
 * panels.  A format without a loop here goes through its own dequantiser.
 */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/cpu/gemm-tile.h"
#include "kernels/ref/blocks.h"

enum { RUN = 256 }; /* values that are widened at once: one block of a K format, eight of the others */

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return vw_f16_to_f32(h);
}

static void wide_q8_0(const uint8_t *p, int n, float *restrict out)
{
    for (; n > 0; n--, p += 34, out += 32) {
        const int8_t *q = (const int8_t *)p + 2;
        float d = half_at(p);
        for (int j = 0; j < 32; j++)
            out[j] = (float)q[j] * d;
    }
}

/* Sixteen codes as f32, times a scale: a product of two exact numbers, rounded once. */
#ifdef __AVX2__
static inline void store_codes(__m128i codes, float scale, float *out)
{
    __m256 d = _mm256_set1_ps(scale);
    __m256i low = _mm256_cvtepi8_epi32(codes), high = _mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(low), d));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(high), d));
}

static void wide_q4_0(const uint8_t *p, int n, float *restrict out)
{
    const __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    for (; n > 0; n--, p += 18, out += 32) {
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)(p + 2));
        float d = half_at(p);
        store_codes(_mm_sub_epi8(_mm_and_si128(q, mask), eight), d, out);
        store_codes(_mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(q, 4), mask), eight), d, out + 16);
    }
}

/* Sixteen bytes are 32 codes, the low nibble in front of the high one. */
static void wide_int4(const uint8_t *p, int n, float *restrict out)
{
    const __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    for (; n >= 4; n -= 4, p += 16, out += 32) {
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i low = _mm_sub_epi8(_mm_and_si128(q, mask), eight);
        __m128i high = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(q, 4), mask), eight);
        store_codes(_mm_unpacklo_epi8(low, high), 1, out);
        store_codes(_mm_unpackhi_epi8(low, high), 1, out + 16);
    }
    vw_int4_values(p, n, out);
}

/* Runs of 16 values share a scale; the shifts are by whole bits of bytes, so a mask follows. */
static void wide_q6_k(const uint8_t *p, int n, float *restrict out)
{
    const __m128i low_mask = _mm_set1_epi8(15), high_mask = _mm_set1_epi8(48), half_range = _mm_set1_epi8(32);
    for (; n > 0; n--, p += 210, out += 256) {
        float d = half_at(p + 208);
        for (int run = 0; run < 16; run++) {
            int half = run / 8, part = run % 8 / 2, at = run % 2 * 16;
            const uint8_t *l = p + half * 64 + part % 2 * 32 + at, *h = p + 128 + half * 32 + at;
            __m128i low = _mm_loadu_si128((const __m128i *)(const void *)l);
            __m128i high = _mm_loadu_si128((const __m128i *)(const void *)h);
            low = _mm_and_si128(_mm_srl_epi16(low, _mm_cvtsi32_si128(part / 2 * 4)), low_mask);
            high = _mm_srl_epi16(_mm_slli_epi16(high, 4), _mm_cvtsi32_si128(2 * part));
            if (part > 1) /* a 16-bit shift to the left has lost the upper bits of the upper byte */
                high = _mm_srl_epi16(_mm_loadu_si128((const __m128i *)(const void *)h),
                                     _mm_cvtsi32_si128(2 * part - 4));
            low = _mm_or_si128(low, _mm_and_si128(high, high_mask));
            store_codes(_mm_sub_epi8(low, half_range),
                        d * (float)(int8_t)p[192 + half * 8 + part * 2 + run % 2],
                        out + half * 128 + part * 32 + at);
        }
    }
}
#else
static void wide_q4_0(const uint8_t *p, int n, float *restrict out)
{
    for (; n > 0; n--, p += 18, out += 32) {
        float d = half_at(p);
        for (int j = 0; j < 16; j++)
            out[j] = (float)((p[2 + j] & 15) - 8) * d;
        for (int j = 0; j < 16; j++)
            out[16 + j] = (float)((p[2 + j] >> 4) - 8) * d;
    }
}

static void wide_int4(const uint8_t *p, int n, float *restrict out)
{
    vw_int4_values(p, n, out);
}

static void wide_q6_k(const uint8_t *p, int n, float *restrict out)
{
    for (; n > 0; n--, p += 210, out += 256) {
        float d = half_at(p + 208);
        for (int run = 0; run < 16; run++) { /* of 16 values, which share a scale */
            int half = run / 8, part = run % 8 / 2, at = run % 2 * 16;
            const uint8_t *low = p + half * 64 + part % 2 * 32 + at, *high = p + 128 + half * 32 + at;
            int low_shift = part / 2 * 4, high_shift = 2 * part;
            float ds = d * (float)(int8_t)p[192 + half * 8 + part * 2 + run % 2];
            float *to = out + half * 128 + part * 32 + at;
            for (int l = 0; l < 16; l++)
                to[l] = ds * (float)(((low[l] >> low_shift & 15) |
                                      (high[l] >> high_shift & 3) << 4) - 32);
        }
    }
}

#endif

static void wide_q4_k(const uint8_t *p, int n, float *restrict out)
{
    for (; n > 0; n--, p += 144, out += 256) {
        const uint8_t *s = p + 4;
        float d = half_at(p), dmin = half_at(p + 2);
        for (int j = 0; j < 8; j++) {
            const uint8_t *q = p + 16 + j / 2 * 32;
            int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
            int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
            float ds = d * (float)scale, dm = dmin * (float)min;
            if (j % 2)
                for (int l = 0; l < 32; l++)
                    out[j * 32 + l] = ds * (float)(q[l] >> 4) - dm;
            else
                for (int l = 0; l < 32; l++)
                    out[j * 32 + l] = ds * (float)(q[l] & 15) - dm;
        }
    }
}

/* Values [first, first + n) of row `row`, times the scales that lie beside. */
static void scale_run(const vw_gemm_source *w, int64_t row, int64_t first, int64_t n,
                      float *restrict out)
{
    for (int64_t k = 0, end; k < n; k = end) {
        end = ((first + k) / w->scale_cols + 1) * w->scale_cols - first;
        if (end > n)
            end = n;
        float scale = vw_ref_scale(w, row, first + k);
        for (int64_t j = k; j < end; j++)
            out[j] *= scale;
    }
}

/* Values [first, first + n) of row `row`, first a multiple of RUN, into out, which has room for
 * whole blocks. */
static void widen(const vw_gemm_source *w, int64_t row, int64_t first, int64_t n, float *out)
{
    int64_t blocks = (n + w->block_elements - 1) / w->block_elements;
    const uint8_t *p = (const uint8_t *)w->data +
                       (row * (w->row_stride / w->block_elements) + first / w->block_elements) *
                           w->block_bytes;
    switch (w->block_kind) {
    case VW_BLOCK_Q8_0: wide_q8_0(p, (int)blocks, out); break;
    case VW_BLOCK_Q4_0: wide_q4_0(p, (int)blocks, out); break;
    case VW_BLOCK_Q4_K: wide_q4_k(p, (int)blocks, out); break;
    case VW_BLOCK_Q6_K: wide_q6_k(p, (int)blocks, out); break;
    case VW_BLOCK_INT4: wide_int4(p, (int)blocks, out); break;
    default: w->dequantise(p, blocks, out);
    }
    if (w->scales)
        scale_run(w, row, first, n, out);
}

/* One output for m rows of X, m a constant. */
VW_INLINE void dot_one(const int m, const vw_gemm_source *w, int64_t n, const float *x,
                       int64_t x_stride, float *c, int64_t c_stride)
{
    _Alignas(64) float row[RUN];
    vf sum[4][2];
    float rest[4] = {0};
    VW_UNROLL
    for (int i = 0; i < m; i++)
        sum[i][0] = sum[i][1] = v_set1(0);
    for (int64_t k = 0; k < w->k; k += RUN) {
        int64_t len = w->k - k < RUN ? w->k - k : RUN, at = 0;
        widen(w, n, k, len, row);
        for (; at + 2 * VL <= len; at += 2 * VL) {
            vf a = v_load(row + at), b = v_load(row + at + VL);
            VW_UNROLL
            for (int i = 0; i < m; i++) {
                const float *xi = x + i * x_stride + k + at;
                sum[i][0] = v_fma(a, v_load(xi), sum[i][0]);
                sum[i][1] = v_fma(b, v_load(xi + VL), sum[i][1]);
            }
        }
        for (; at < len; at++)
            for (int i = 0; i < m; i++)
                rest[i] += row[at] * x[i * x_stride + k + at];
    }
    VW_UNROLL
    for (int i = 0; i < m; i++)
        c[i * c_stride] = v_sum(v_add(sum[i][0], sum[i][1])) + rest[i];
}

void VW_ISA_NAME(vw_gemm_dot_block)(const vw_gemm_source *w, int64_t first, int64_t n,
                                    const float *x, int64_t x_stride, int m, float *c,
                                    int64_t c_stride)
{
    for (int64_t j = 0; j < n; j++)
        switch (m) {
        case 1: dot_one(1, w, first + j, x, x_stride, c + j, c_stride); break;
        case 2: dot_one(2, w, first + j, x, x_stride, c + j, c_stride); break;
        case 3: dot_one(3, w, first + j, x, x_stride, c + j, c_stride); break;
        default: dot_one(4, w, first + j, x, x_stride, c + j, c_stride);
        }
}

/* The same of a weight in place or in a pack. */
static void widen_operand(const vw_gemm_operand *w, int64_t row, int64_t first, int64_t n, float *out)
{
    uint8_t blocks[RUN / 32 * 34]; /* the most that so many values take, of any format */
    if (w->layout == VW_GEMM_IN_PLACE) {
        widen(&w->source, row, first, n, out);
        return;
    }
    vw_gemm_source s = w->source;
    const int e = s.block_elements;
    vw_gemm_blocks_row(w, row, first / e, (n + e - 1) / e, blocks);
    s.data = blocks;
    s.scales = NULL;
    widen(&s, 0, 0, n, out);
    for (int64_t j = 0; w->source.scales && j < n; j++)
        out[j] *= vw_gemm_blocks_scale(w, row, first + j);
}

/* Outputs [n, n + 16) and inputs [first, first + k) as f32 [k][16]; zeros past the last output.  A
 * block of 256 may begin before `first`. */
void VW_ISA_NAME(vw_gemm_expand_block)(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k,
                                       float *out)
{
    _Alignas(64) float rows[VW_GEMM_PANEL][RUN];
    for (int64_t at = 0, len; at < k; at += len) {
        int64_t skip = (first + at) % w->source.block_elements;
        len = k - at < RUN - skip ? k - at : RUN - skip;
        for (int r = 0; r < VW_GEMM_PANEL; r++) {
            if (n + r < w->source.n)
                widen_operand(w, n + r, first + at - skip, skip + len, rows[r]);
            else
                memset(rows[r], 0, sizeof rows[r]);
        }
        for (int64_t j = 0; j < len; j++)
            for (int r = 0; r < VW_GEMM_PANEL; r++)
                out[(at + j) * VW_GEMM_PANEL + r] = rows[r][skip + j];
    }
}
