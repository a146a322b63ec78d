/* gemm.cu - matrix products of f32 activations with weights as they are stored.
 *
 * One tile kernel for every shape, type, layout and scale, and two kernels for few rows of X, where
 * a product is a reading of the weight: vw_gemm_row(s) gives eight lanes to an output and so reads
 * whole lines of weights stored [out, in]; vw_gemm_cols gives a lane to an output of weights stored
 * [in, out].  gemm.h says in which order all of them add.
 */
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/gemm-weight.h"

enum { OFFSETS, ROW_IDS, MASKED };                        /* vw_group_form */
enum { TILE = VW_GEMM_TILE, CHUNK = VW_GEMM_CHUNK, PERIOD = VW_GEMM_PERIOD,
       PARTS = VW_GEMM_PARTS, FEW = VW_GEMM_FEW, PITCH = TILE + 4 };

static __device__ inline void finish(const vw_gemm_args &a, int64_t row, int n, float sum)
{
    vw_finish(a.y + row * a.y_stride + n, sum, a.epilogue, a.activation, a.cap);
}

/* Inputs [k, k + 8) of output n, aligned and all in range, as they lie; and as numbers. */
template <int T>
static __device__ inline vw_eight<T> chunk_at(const vw_gemm_matrix &w, const vw_gemm_bytes &b,
                                              int n, int k)
{
    return vw_load_eight<T>(b.data, n * w.row_stride + k);
}

template <int T>
static __device__ inline void chunk_values(const vw_gemm_matrix &w, const vw_gemm_bytes &b, int n,
                                           int k, const vw_eight<T> &e, float *value)
{
    float scale = b.scales ? vw_scale_at(w, b, n, k) : 1.0f;
#pragma unroll
    for (int i = 0; i < CHUNK; i++)
        value[i] = vw_eight_value<T>(e, i) * scale;
}

/* Inputs [k, k + 8) of a row of X, aligned and all there. */
static __device__ inline void inputs_at(const float *x, int k, float *value)
{
    float4 low = __ldg((const float4 *)(x + k)), high = __ldg((const float4 *)(x + k) + 1);
    value[0] = low.x, value[1] = low.y, value[2] = low.z, value[3] = low.w;
    value[4] = high.x, value[5] = high.y, value[6] = high.z, value[7] = high.w;
}

/* ---- few rows, weights [out, in]: eight lanes an output ---- */

/* One chunk for every row; the zeros behind the last input are added as everywhere. */
template <int T, int ROWS>
static __device__ inline void add_ragged(const vw_gemm_args &a, int n, int k, float *sum)
{
#pragma unroll 1
    for (int i = k; i < k + CHUNK; i++) {
        float w = vw_weight_at<T>(a.matrix, a.bytes, n, i);
#pragma unroll
        for (int m = 0; m < ROWS; m++)
            if (m < a.m)
                sum[m] = fmaf(i < a.matrix.k ? a.x[m * a.x_stride + i] : 0.0f, w, sum[m]);
    }
}

template <int T, int ROWS>
static __device__ inline void add_chunk(const vw_gemm_args &a, int n, int k, const vw_eight<T> &e,
                                        float *sum)
{
    float w[CHUNK];
    chunk_values<T>(a.matrix, a.bytes, n, k, e, w);
#pragma unroll
    for (int m = 0; m < ROWS; m++)
        if (m < a.m) {
            float x[CHUNK];
            inputs_at(a.x + m * a.x_stride, k, x);
#pragma unroll
            for (int i = 0; i < CHUNK; i++)
                sum[m] = fmaf(x[i], w[i], sum[m]);
        }
}

template <int T, int ROWS> static __device__ inline void few_rows(const vw_gemm_args &a)
{
    enum { FLIGHT = ROWS == 1 ? 4 : 2 }; /* chunks a lane has asked for before it uses the first */
    const vw_gemm_matrix &w = a.matrix;
    int part = threadIdx.x % PARTS, n = blockIdx.x * VW_GEMM_ROWS_OUTPUTS + threadIdx.x / PARTS;
    int at = n < w.n ? n : w.n - 1, k = part * CHUNK;
    float sum[ROWS], mine = 0.0f;
#pragma unroll
    for (int m = 0; m < ROWS; m++)
        sum[m] = 0.0f;
    for (int turn = w.is_vector ? w.k / (PERIOD * FLIGHT) : 0; turn > 0; turn--) {
        vw_eight<T> e[FLIGHT];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++)
            e[i] = chunk_at<T>(w, a.bytes, at, k + i * PERIOD);
#pragma unroll
        for (int i = 0; i < FLIGHT; i++, k += PERIOD)
            add_chunk<T, ROWS>(a, at, k, e[i], sum);
    }
    for (; k - part * CHUNK < w.k; k += PERIOD)
        add_ragged<T, ROWS>(a, at, k, sum);
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
#pragma unroll
        for (int step = 1; step < PARTS; step *= 2)
            sum[m] += __shfl_xor_sync(VW_FULL_WARP, sum[m], step);
        mine = part == m ? sum[m] : mine;
    }
    if (part < ROWS && part < a.m && n < w.n)
        finish(a, part, n, mine);
}

/* ---- few rows, weights [in, out]: a lane an output, a warp a part ---- */

template <int T>
static __device__ inline void few_columns(const vw_gemm_args &a, float (*parts)[FEW][VW_WARP])
{
    const vw_gemm_matrix &w = a.matrix;
    int lane = threadIdx.x % VW_WARP, part = threadIdx.x / VW_WARP;
    int n = blockIdx.x * VW_GEMM_COLS_OUTPUTS + lane;
    float sum[FEW], s[PARTS];
#pragma unroll
    for (int m = 0; m < FEW; m++)
        sum[m] = 0.0f;
    for (int k = part * CHUNK; k - part * CHUNK < w.k; k += PERIOD)
        add_ragged<T, FEW>(a, n, k, sum);
#pragma unroll
    for (int m = 0; m < FEW; m++)
        parts[part][m][lane] = sum[m];
    __syncthreads();
    if (part >= a.m || n >= w.n) /* from here each warp has a row */
        return;
#pragma unroll
    for (int i = 0; i < PARTS; i++)
        s[i] = parts[i][part][lane];
    finish(a, part, n, ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])));
}

/* ---- any number of rows: tiles of 64 rows and 64 outputs, four by four a thread ---- */

/* A row of X or an output goes down a column of its tile, so that reading it takes a few wide loads
 * that neighbours share. */
template <int T>
static __device__ inline void load_weights(const vw_gemm_matrix &w, const vw_gemm_bytes &b, int n,
                                           int k, int at, float (*ws)[PITCH])
{
    int column = threadIdx.x % TILE;
    if (w.is_vector && n + column < w.n && k + at + CHUNK <= w.k) {
        float value[CHUNK];
        chunk_values<T>(w, b, n + column, k + at, chunk_at<T>(w, b, n + column, k + at), value);
#pragma unroll
        for (int i = 0; i < CHUNK; i++)
            ws[at + i][column] = value[i];
        return;
    }
#pragma unroll 1
    for (int i = at; i < at + CHUNK; i++)
        ws[i][column] = vw_weight_at<T>(w, b, n + column, k + i);
}

static __device__ inline void load_inputs(const vw_gemm_tile_args &a, int64_t first, int m, int k,
                                          int at, float (*xs)[PITCH])
{
    const vw_gemm_args &p = a.product;
    int row = threadIdx.x % TILE;
    if (p.matrix.is_vector && row < m && k + at + CHUNK <= p.matrix.k) {
        float value[CHUNK];
        inputs_at(p.x + (first + row) * p.x_stride, k + at, value);
#pragma unroll
        for (int i = 0; i < CHUNK; i++)
            xs[at + i][row] = value[i];
        return;
    }
#pragma unroll 1
    for (int i = at; i < at + CHUNK; i++) {
        int64_t place = a.is_x_transposed ? (k + i) * p.x_stride + first + row
                                          : (first + row) * p.x_stride + k + i;
        xs[i][row] = row < m && k + i < p.matrix.k ? p.x[place] : 0.0f;
    }
}

/* The sums of rows [first, first + m) with one weight, m at most TILE, into xs. */
template <int T>
static __device__ inline void sums_of(const vw_gemm_tile_args &a, const vw_gemm_bytes &b,
                                      int64_t first, int m, float (*xs)[PITCH],
                                      float (*ws)[PITCH])
{
    int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    float sum[PARTS][4][4];
#pragma unroll
    for (int i = 0; i < PARTS * 16; i++)
        sum[i / 16][i / 4 % 4][i % 4] = 0.0f;
    for (int k = 0; k < a.product.matrix.k; k += PERIOD) {
        __syncthreads();
        for (int at = threadIdx.x / TILE * CHUNK; at < PERIOD; at += 4 * CHUNK) {
            load_weights<T>(a.product.matrix, b, blockIdx.x * TILE, k, at, ws);
            load_inputs(a, first, m, k, at, xs);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < PERIOD; i++) {
            float4 x4 = *(const float4 *)&xs[i][row], w4 = *(const float4 *)&ws[i][column];
            float x[4] = {x4.x, x4.y, x4.z, x4.w}, w[4] = {w4.x, w4.y, w4.z, w4.w};
#pragma unroll
            for (int j = 0; j < 16; j++)
                sum[i / CHUNK][j / 4][j % 4] =
                    fmaf(x[j / 4], w[j % 4], sum[i / CHUNK][j / 4][j % 4]);
        }
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 16; j++) {
        int r = j / 4, c = j % 4;
        xs[row + r][column + c] = ((sum[0][r][c] + sum[1][r][c]) + (sum[2][r][c] + sum[3][r][c])) +
                                  ((sum[4][r][c] + sum[5][r][c]) + (sum[6][r][c] + sum[7][r][c]));
    }
    __syncthreads();
}

template <int T>
static __device__ inline void product(const vw_gemm_tile_args &a, const vw_gemm_bytes &b,
                                      int64_t first, int m, float (*xs)[PITCH],
                                      float (*ws)[PITCH])
{
    int column = threadIdx.x % TILE, n = blockIdx.x * TILE + column;
    sums_of<T>(a, b, first, m, xs, ws);
#pragma unroll 1
    for (int row = threadIdx.x / TILE; row < m && n < a.product.matrix.n; row += 4)
        finish(a.product, first + row, n, xs[row][column]);
}

/* Rows of no group: zeros, which an ADD adds. */
static __device__ inline void clear(const vw_gemm_args &p, int64_t first, int m)
{
    int n = blockIdx.x * TILE + threadIdx.x % TILE;
    if (n >= p.matrix.n || p.epilogue == VW_FINISH_ADD)
        return;
    for (int row = threadIdx.x / TILE; row < m; row += 4)
        p.y[(first + row) * p.y_stride + n] = 0.0f;
}

enum { NO_GROUP = -1, ELSEWHERE = -2 };

/* A stretch of rows of one group, and where to look for the next. */
typedef struct run_of_rows {
    int64_t first, last;
    int group; /* of this launch's; NO_GROUP: rows to clear; ELSEWHERE: not for this launch */
    int next;  /* what comes next: a group, or a row of the tile */
} run_of_rows;

/* Rows [first, last) of the next group with rows in the tile. */
static __device__ inline int next_group(const vw_gemm_tile_args &a, int64_t begin, int64_t end,
                                        run_of_rows *run)
{
    while (run->next < a.n_here) {
        int i = run->next++, g = a.first_group + i;
        int64_t first = a.form == OFFSETS ? a.rows[g] : (int64_t)g * a.rows_a_group;
        int64_t last = a.form == OFFSETS ? a.rows[g + 1]
                       : first + (a.rows[g] < a.rows_a_group ? a.rows[g] : a.rows_a_group);
        run->group = i;
        run->first = first > begin ? first : begin;
        run->last = last < end ? last : end;
        if (run->first < run->last)
            return 1;
    }
    return 0;
}

/* The next rows of the tile with one id. */
static __device__ inline int next_ids(const vw_gemm_tile_args &a, int64_t begin, int64_t end,
                                      run_of_rows *run)
{
    run->first = begin + run->next;
    if (run->first >= end)
        return 0;
    int g = a.rows[run->first], i = g - a.first_group;
    for (run->last = run->first + 1; run->last < end && a.rows[run->last] == g;)
        run->last++;
    run->group = g == -1 ? NO_GROUP : i >= 0 && i < a.n_here ? i : ELSEWHERE;
    run->next = (int)(run->last - begin);
    return 1;
}

/* The block's 64 rows, group by group.  Whatever the arrays say, nothing outside is touched. */
template <int T>
static __device__ inline void tile(const vw_gemm_tile_args &a, float (*xs)[PITCH],
                                   float (*ws)[PITCH])
{
    int64_t begin = (int64_t)blockIdx.y * TILE, end = begin + TILE;
    run_of_rows run = {begin, 0, 0, 0};
    end = end < a.product.m ? end : a.product.m;
    run.last = end;
    while (a.form == VW_GEMM_DENSE ? run.next++ == 0
           : a.form == ROW_IDS     ? next_ids(a, begin, end, &run)
                                   : next_group(a, begin, end, &run)) {
        int m = (int)(run.last - run.first);
        if (run.group >= 0)
            product<T>(a, a.group[run.group], run.first, m, xs, ws);
        else if (run.group == NO_GROUP && a.first_group == 0)
            clear(a.product, run.first, m);
    }
}

/* ---- the kernels ---- */

#define KERNELS(name, T)                                                                           \
    extern "C" __global__ void __launch_bounds__(128) vw_gemm_row_##name(const vw_gemm_args a)     \
    {                                                                                              \
        few_rows<T, 1>(a);                                                                         \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(128, 4) vw_gemm_rows_##name(const vw_gemm_args a) \
    {                                                                                              \
        few_rows<T, FEW>(a);                                                                       \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) vw_gemm_cols_##name(const vw_gemm_args a)    \
    {                                                                                              \
        __shared__ float parts[PARTS][FEW][VW_WARP];                                               \
        few_columns<T>(a, parts);                                                                  \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        vw_gemm_tile_##name(const vw_gemm_tile_args a)                                             \
    {                                                                                              \
        __shared__ __align__(16) float xs[PERIOD][PITCH], ws[PERIOD][PITCH];                       \
        tile<T>(a, xs, ws);                                                                        \
    }

KERNELS(f32, VW_TYPE_F32)
KERNELS(bf16, VW_TYPE_BF16)
KERNELS(f16, VW_TYPE_F16)
KERNELS(e4m3, VW_TYPE_E4M3)
KERNELS(e5m2, VW_TYPE_E5M2)
KERNELS(i8, VW_TYPE_I8)
