/* gemm-pack-tile.c - one tile of rows laid out for the inner kernel, from a matrix that is not
 * packed ahead.
 *
 * Where a row's values lie side by side, squares of VL x VL are turned in registers; where a
 * column's do, they are copied.  Both store whole vectors, of which the values past the tile's rows
 * are overwritten by the next step, so the last steps are stored exactly.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

/* A tile's rows must fit one vector. */
_Static_assert(VW_GEMM_TILE_ROWS <= VL, "rows of a tile fit one vector");

VW_INLINE void put(float *out, int64_t j, int rows, int64_t k, vf v)
{
    if (j * rows + VL <= k * rows)
        v_store(out + j * rows, v);
    else
        v_store_part(out + j * rows, v, rows);
}

/* Rows side by side. */
static void pack_columns(const float *a, int64_t step, int rows, int64_t k, int64_t readable,
                         float *out)
{
    for (int64_t j = 0; j < k; j++)
        put(out, j, rows, k, readable >= VL ? v_load(a + j * step) : v_load_part(a + j * step, rows));
}

VW_INLINE void pack_square(const float *a, int64_t row, const int rows, int64_t j, int64_t k,
                           float *out)
{
    vf r[VL];
    VW_UNROLL
    for (int i = 0; i < VL; i++)
        r[i] = i < rows ? v_load(a + i * row + j) : v_zero();
    v_transpose(r);
    if ((j + VL - 1) * rows + VL <= k * rows) {
        VW_UNROLL
        for (int i = 0; i < VL; i++)
            v_store(out + (j + i) * rows, r[i]);
    } else {
        for (int i = 0; i < VL; i++)
            put(out, j + i, rows, k, r[i]);
    }
}

VW_INLINE void pack_rows(const float *a, int64_t row, const int rows, int64_t k, float *out)
{
    int64_t j = 0;
    for (; j + VL <= k; j += VL)
        pack_square(a, row, rows, j, k, out);
    for (; j < k; j++)
        for (int i = 0; i < rows; i++)
            out[j * rows + i] = a[i * row + j];
}

void VW_ISA_NAME(vw_gemm_pack_tile)(const float *a, int64_t row, int64_t step, int rows, int64_t k,
                                    int64_t readable, float *out)
{
    if (step != 1) {
        pack_columns(a, step, rows, k, readable, out);
        return;
    }
#define CASE(n) \
    if (rows == n) \
        pack_rows(a, row, n, k, out);
    VW_GEMM_EACH_TILE(CASE)
}
