/* attention-prefill.cu - attention of many queries.
 *
 * A block has 32 rows, tokens and the heads that share a key head side by side, and walks tiles of
 * 64 keys.  Queries, keys and values pass through shared memory in slices of 32 columns, so that any
 * head size fits; scores and results stay in registers.
 */
#include "kernels/cuda/attention-cache.h"

enum { ROWS = VW_ATTENTION_ROWS, SLICE = 32, SLICE_PITCH = SLICE + 4, P_PITCH = KEYS + 4 };

typedef struct prefill_tile {
    int64_t place[KEYS];
    int token[KEYS];
    float q[ROWS][SLICE_PITCH];
    float kv[KEYS][SLICE_PITCH];
    float weight[ROWS][P_PITCH];
} prefill_tile;

/* The block's rows: row r is token r / group, head r % group of the key head's. */
typedef struct prefill_block {
    int sequence, head, group, first, n_tokens, S, first_row, n_rows;
} prefill_block;

static __device__ inline int prefill_begin(const vw_attention_args &a, prefill_block *b)
{
    b->sequence = blockIdx.x / a.tiles_a_sequence;
    b->head = blockIdx.y;
    b->group = a.q_heads / a.k_heads;
    b->first = a.query_start[b->sequence];
    b->n_tokens = a.query_start[b->sequence + 1] - b->first;
    b->S = a.n_keys[b->sequence];
    b->first_row = blockIdx.x % a.tiles_a_sequence * ROWS;
    int left = b->n_tokens * b->group - b->first_row;
    b->n_rows = left < ROWS ? left : ROWS;
    return b->n_tokens > FEW && left > 0;
}

static __device__ inline span row_span(const vw_attention_args &a, const prefill_block &b, int row)
{
    int token = (b.first_row + row) / b.group;
    span none = {0, 0};
    return row < b.n_rows ? visible(a, token + b.S - b.n_tokens, b.S) : none;
}

/* Columns [from, from + 32) of the tile's keys or values; zeros for keys that no row sees. */
template <int T>
static __device__ inline void load_slice(const vw_attention_args &a, const span &all, int tile,
                                         int from, int is_value, prefill_tile &t)
{
    int at = threadIdx.x / 4, column = threadIdx.x % 4 * 8;
    int pitch = is_value && !a.is_latent ? a.v_pitch : a.k_pitch;
    float *to = &t.kv[at][column];
    if (tile + at < all.lo || tile + at >= all.hi || from + column >= pitch) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            to[i] = 0.0f;
        return;
    }
    const char *row = is_value ? value_row<T>(a, t.place[at], t.token[at])
                               : key_row<T>(a, t.place[at], t.token[at]);
    float scale = scale_of<T>(a, t.place[at], t.token[at], is_value && !a.is_latent);
    vw_eight<T> e = vw_load_eight<T>(row, from + column);
#pragma unroll
    for (int i = 0; i < 8; i++)
        to[i] = vw_eight_value<T>(e, i) * scale;
}

static __device__ inline void load_queries(const vw_attention_args &a, const prefill_block &b,
                                           int from, prefill_tile &t)
{
    int column = threadIdx.x % SLICE;
    for (int row = threadIdx.x / SLICE; row < ROWS; row += 8) {
        int place = b.first_row + row, head = b.head * b.group + place % b.group;
        const float *q = a.q + (b.first + place / b.group) * a.q_stride + head * a.dk;
        t.q[row][column] = row < b.n_rows && from + column < a.dk ? q[from + column] : 0.0f;
    }
}

/* Four rows of a warp times keys lane and lane + 32. */
template <int T>
static __device__ inline void prefill_scores(const vw_attention_args &a, const prefill_block &b,
                                             const span &all, int tile, prefill_tile &t,
                                             float (*z)[2])
{
    int lane = threadIdx.x % VW_WARP, row = threadIdx.x / VW_WARP * 4;
#pragma unroll
    for (int i = 0; i < 8; i++)
        z[i / 2][i % 2] = 0.0f;
    for (int from = 0; from < a.dk; from += SLICE) {
        __syncthreads();
        load_queries(a, b, from, t);
        load_slice<T>(a, all, tile, from, 0, t);
        __syncthreads();
#pragma unroll 2
        for (int d = 0; d < SLICE; d += 4) {
            float4 k0 = *(const float4 *)&t.kv[lane][d], k1 = *(const float4 *)&t.kv[lane + 32][d];
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float4 q = *(const float4 *)&t.q[row + r][d];
                z[r][0] = fmaf(q.y, k0.y, fmaf(q.x, k0.x, z[r][0]));
                z[r][0] = fmaf(q.w, k0.w, fmaf(q.z, k0.z, z[r][0]));
                z[r][1] = fmaf(q.y, k1.y, fmaf(q.x, k1.x, z[r][1]));
                z[r][1] = fmaf(q.w, k1.w, fmaf(q.z, k1.z, z[r][1]));
            }
        }
    }
}

/* Scores become weights in shared memory; *grown is what the row's sums shrink by. */
static __device__ inline void prefill_weights(const vw_attention_args &a, const span &seen,
                                              int tile, int row, const float *z, prefill_tile &t,
                                              float *max, float *norm, float *grown)
{
    int lane = threadIdx.x % VW_WARP;
    float x[2], most = NO_MAXIMUM;
    *grown = 1.0f;
    t.weight[row][lane] = t.weight[row][lane + 32] = 0.0f;
    if (tile >= seen.hi || tile + KEYS <= seen.lo)
        return;
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int key = tile + lane + 32 * j;
        x[j] = cap_score(a, z[j] * a.scale);
        most = key >= seen.lo && key < seen.hi ? fmaxf(most, x[j]) : most;
    }
    most = fmaxf(*max, warp_max(most));
    *grown = weight_of(*max, most);
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int key = tile + lane + 32 * j;
        x[j] = key >= seen.lo && key < seen.hi ? weight_of(x[j], most) : 0.0f;
        t.weight[row][lane + 32 * j] = x[j];
    }
    *norm = fmaf(*norm, *grown, warp_sum(x[0] + x[1]));
    *max = most;
}

/* sum[r] of column `lane` += weights times values; masked where a row does not see all keys. */
template <int IS_MASKED>
static __device__ inline void add_values(const span *seen, int tile, const prefill_tile &t,
                                         float *sum)
{
    int lane = threadIdx.x % VW_WARP, row = threadIdx.x / VW_WARP * 4;
#pragma unroll 1
    for (int at = 0; at < KEYS; at += 4) {
        float v[4] = {t.kv[at][lane], t.kv[at + 1][lane], t.kv[at + 2][lane], t.kv[at + 3][lane]};
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float4 w4 = *(const float4 *)&t.weight[row + r][at];
            float w[4] = {w4.x, w4.y, w4.z, w4.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int key = tile + at + i;
                float x = !IS_MASKED || (key >= seen[r].lo && key < seen[r].hi) ? v[i] : 0.0f;
                sum[r] = fmaf(w[i], x, sum[r]);
            }
        }
    }
}

/* SLICES: enough for dv columns in slices of 32. */
template <int T, int SLICES>
static __device__ inline void prefill(const vw_attention_args &a, prefill_tile &t)
{
    prefill_block b;
    if (!prefill_begin(a, &b))
        return;
    int lane = threadIdx.x % VW_WARP, row = threadIdx.x / VW_WARP * 4;
    float sum[SLICES][4], max[4], norm[4];
    span seen[4], all = row_span(a, b, 0);
    all.hi = row_span(a, b, b.n_rows - 1).hi;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        seen[r] = row_span(a, b, row + r);
        max[r] = NO_MAXIMUM, norm[r] = 0.0f;
#pragma unroll
        for (int c = 0; c < SLICES; c++)
            sum[c][r] = 0.0f;
    }
    for (int tile = all.lo / KEYS * KEYS; tile < all.hi; tile += KEYS) {
        float z[4][2], grown;
        int key = tile + threadIdx.x, is_masked = 0;
        if (threadIdx.x < KEYS && key >= all.lo && key < all.hi) {
            t.place[threadIdx.x] = place_of(a, b.sequence, b.head, key);
            t.token[threadIdx.x] = key % a.page_tokens;
        }
        prefill_scores<T>(a, b, all, tile, t, z);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            prefill_weights(a, seen[r], tile, row + r, z[r], t, &max[r], &norm[r], &grown);
            is_masked |= tile < seen[r].lo || tile + KEYS > seen[r].hi;
#pragma unroll
            for (int c = 0; c < SLICES; c++)
                sum[c][r] *= grown;
        }
#pragma unroll
        for (int c = 0; c < SLICES; c++) {
            if (c * SLICE >= a.dv)
                continue;
            __syncthreads();
            load_slice<T>(a, all, tile, c * SLICE, 1, t);
            __syncthreads();
            if (is_masked)
                add_values<1>(seen, tile, t, sum[c]);
            else
                add_values<0>(seen, tile, t, sum[c]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int place = b.first_row + row + r, head = b.head * b.group + place % b.group;
        int64_t i = b.first + place / b.group;
        float share = seen[r].lo == seen[r].hi ? 0.0f : 1.0f / norm[r];
        if (row + r >= b.n_rows)
            continue;
#pragma unroll
        for (int c = 0; c < SLICES; c++)
            if (c * SLICE + lane < a.dv)
                a.out[i * a.out_stride + head * a.dv + c * SLICE + lane] = sum[c][r] * share;
        if (lane == 0 && a.lse)
            a.lse[i * a.q_heads + head] = seen[r].lo == seen[r].hi ? __uint_as_float(0x7F800000u)
                                                                   : max[r] + logf(norm[r]);
    }
}

#define KERNEL(name, T, SLICES)                                                                    \
    extern "C" __global__ void __launch_bounds__(256, SLICES > 8 ? 1 : 2)                          \
        vw_attention_prefill_##name(const vw_attention_args a)                                     \
    {                                                                                              \
        __shared__ __align__(16) prefill_tile t; /* read four floats at a time */                  \
        prefill<T, SLICES>(a, t);                                                                  \
    }

KERNEL(256_f32, VW_TYPE_F32, 8)
KERNEL(256_bf16, VW_TYPE_BF16, 8)
KERNEL(256_f16, VW_TYPE_F16, 8)
KERNEL(256_i8, VW_TYPE_I8, 8)
KERNEL(512_f32, VW_TYPE_F32, 16)
KERNEL(512_bf16, VW_TYPE_BF16, 16)
KERNEL(512_f16, VW_TYPE_F16, 16)
KERNEL(512_i8, VW_TYPE_I8, 16)
