/* attention-decode.cu - attention of a few queries: the keys are split, the parts combined.
 *
 * A block has one token, eight heads of one key head and a part of the keys.  It reads each key
 * with eight lanes and each value with as many as its row fills, 16 bytes a lane, and leaves a
 * maximum, a sum of weights and a weighted sum of values for vw_attention_combine.
 */
#include "kernels/cuda/attention-cache.h"

enum { HEADS = VW_ATTENTION_HEADS };

/* What a block of decode keeps in shared memory beside its queries. */
typedef struct decode_tile {
    int64_t place[KEYS];
    int token[KEYS];
    float z[HEADS][KEYS];
    float weight[KEYS][HEADS];
    float grown[HEADS]; /* exp(old maximum - new) */
} decode_tile;

typedef struct decode_block {
    int slot, sequence, head, first_head, n_heads; /* slot: sequence * FEW + its query */
    int row, begin, end;                           /* of q; its keys in this part */
} decode_block;

/* Which work this block has; 0: none.  A part without keys is still a part. */
static __device__ inline int decode_begin(const vw_attention_args &a, decode_block *d)
{
    int group = a.q_heads / a.k_heads, blocks = (group + HEADS - 1) / HEADS;
    d->slot = blockIdx.x / (a.k_heads * blocks);
    d->head = blockIdx.x / blocks % a.k_heads;
    d->first_head = blockIdx.x % blocks * HEADS;
    d->n_heads = group - d->first_head < HEADS ? group - d->first_head : HEADS;
    d->first_head += d->head * group;
    d->sequence = d->slot / FEW;
    int first = a.query_start[d->sequence], n = a.query_start[d->sequence + 1] - first;
    int i = d->slot % FEW, S = a.n_keys[d->sequence], split = VW_ATTENTION_SPLIT_OF(S);
    if (n > FEW || i >= n)
        return 0;
    span s = visible(a, i + S - n, S);
    d->row = first + i;
    d->begin = max((int)blockIdx.y * split, s.lo);
    d->end = min((int)(blockIdx.y + 1) * split, s.hi);
    if (d->begin >= d->end)
        d->begin = d->end = 0;
    return 1;
}

/* Scores of the tile's keys: eight lanes a key. */
template <int T>
static __device__ inline void decode_scores(const vw_attention_args &a, const decode_block &d,
                                            int tile, const float *qs, decode_tile &t)
{
    int part = threadIdx.x % 8;
#pragma unroll 2
    for (int at = threadIdx.x / 8; at < KEYS; at += 16) {
        int is_seen = tile + at >= d.begin && tile + at < d.end;
        float sum[HEADS], mine = 0.0f;
#pragma unroll
        for (int h = 0; h < HEADS; h++)
            sum[h] = 0.0f;
        if (is_seen) {
            const char *row = key_row<T>(a, t.place[at], t.token[at]);
            for (int c = part * 8; c < a.k_pitch; c += 64) {
                vw_eight<T> e = vw_load_eight<T>(row, c);
#pragma unroll
                for (int h = 0; h < HEADS; h++)
                    if (h < d.n_heads)
#pragma unroll
                        for (int i = 0; i < 8; i++)
                            sum[h] = fmaf(qs[h * a.k_pitch + c + i], vw_eight_value<T>(e, i),
                                          sum[h]);
            }
        }
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
#pragma unroll
            for (int step = 1; step < 8; step *= 2)
                sum[h] += __shfl_xor_sync(VW_FULL_WARP, sum[h], step);
            mine = part == h ? sum[h] : mine;
        }
        if (is_seen)
            mine = cap_score(a, mine * scale_of<T>(a, t.place[at], t.token[at], 0) * a.scale);
        t.z[part][at] = mine;
    }
}

/* Weights of the tile's keys; a warp has two heads, their maxima and sums. */
static __device__ inline void decode_weights(const decode_block &d, int tile, decode_tile &t,
                                             float *max, float *sum)
{
    int lane = threadIdx.x % VW_WARP, warp = threadIdx.x / VW_WARP;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int h = warp * 2 + i;
        float z[2], w[2], most = NO_MAXIMUM;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int key = tile + lane + 32 * j;
            z[j] = t.z[h][lane + 32 * j];
            w[j] = key >= d.begin && key < d.end;
            most = w[j] > 0.0f ? fmaxf(most, z[j]) : most;
        }
        most = fmaxf(max[i], warp_max(most));
        float grown = weight_of(max[i], most);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            w[j] = w[j] > 0.0f ? weight_of(z[j], most) : 0.0f;
            t.weight[lane + 32 * j][h] = w[j];
        }
        sum[i] = fmaf(sum[i], grown, warp_sum(w[0] + w[1]));
        max[i] = most;
        if (lane == 0)
            t.grown[h] = grown;
    }
}

/* Lanes side by side on one row of values: a power of two, at most a warp. */
static __device__ inline int lanes_of(int pitch)
{
    int lanes = 1;
    while (lanes < VW_WARP && lanes * 8 < pitch)
        lanes *= 2;
    return lanes;
}

/* Values of the tile, weighted; a lane has eight columns (and eight more, 256 on) of every head. */
template <int T, int WIDE>
static __device__ inline void decode_values(const vw_attention_args &a, const decode_block &d,
                                            int tile, int lanes, const decode_tile &t,
                                            float (*sum)[HEADS][8])
{
    int column = threadIdx.x % lanes * 8;
#pragma unroll
    for (int i = 0; i < WIDE * HEADS * 8; i++)
        sum[i / (HEADS * 8)][i / 8 % HEADS][i % 8] *= t.grown[i / 8 % HEADS];
#pragma unroll(WIDE == 1 ? 2 : 1)
    for (int at = threadIdx.x / lanes; at < KEYS; at += 128 / lanes) {
        if (tile + at < d.begin || tile + at >= d.end)
            continue;
        const char *row = value_row<T>(a, t.place[at], t.token[at]);
        float scale = scale_of<T>(a, t.place[at], t.token[at], !a.is_latent);
#pragma unroll
        for (int w = 0; w < WIDE; w++) {
            if (column + 256 * w >= a.v_pitch)
                continue;
            vw_eight<T> e = vw_load_eight<T>(row, column + 256 * w);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float v = vw_eight_value<T>(e, i) * scale;
#pragma unroll
                for (int h = 0; h < HEADS; h++)
                    sum[w][h][i] = fmaf(t.weight[at][h], v, sum[w][h][i]);
            }
        }
    }
}

/* The lanes' sums, added in a fixed order, become the block's part. */
template <int WIDE>
static __device__ inline void decode_end(const vw_attention_args &a, const decode_block &d,
                                         int lanes, float (*sum)[HEADS][8], float *total)
{
    int column = threadIdx.x % lanes * 8, warp = threadIdx.x / VW_WARP;
    for (int step = lanes; step < VW_WARP; step *= 2)
#pragma unroll
        for (int i = 0; i < WIDE * HEADS * 8; i++) {
            float *x = &sum[i / (HEADS * 8)][i / 8 % HEADS][i % 8];
            *x += __shfl_xor_sync(VW_FULL_WARP, *x, step);
        }
    for (int turn = 0; turn < 4; turn++) {
        __syncthreads();
        if (warp != turn || (int)threadIdx.x % VW_WARP >= lanes)
            continue;
#pragma unroll
        for (int i = 0; i < WIDE * HEADS * 8; i++) {
            int w = i / (HEADS * 8), h = i / 8 % HEADS, at = column + 256 * w + i % 8;
            if (at < a.v_pitch)
                total[h * a.v_pitch + at] =
                    turn ? total[h * a.v_pitch + at] + sum[w][h][i % 8] : sum[w][h][i % 8];
        }
    }
    __syncthreads();
    int64_t part = (int64_t)(d.slot * a.n_splits + blockIdx.y) * a.q_heads + d.first_head;
    for (int i = threadIdx.x; i < d.n_heads * a.v_pitch; i += 128)
        a.part[part * a.v_pitch + i] = total[i];
}

template <int T, int WIDE>
static __device__ inline void decode(const vw_attention_args &a, float *qs, decode_tile &t)
{
    decode_block d;
    float sum[WIDE][HEADS][8], max[2] = {NO_MAXIMUM, NO_MAXIMUM}, norm[2] = {0.0f, 0.0f};
    int lanes = lanes_of(a.v_pitch), warp = threadIdx.x / VW_WARP;
    if (!decode_begin(a, &d))
        return;
#pragma unroll
    for (int i = 0; i < WIDE * HEADS * 8; i++)
        sum[i / (HEADS * 8)][i / 8 % HEADS][i % 8] = 0.0f;
    for (int i = threadIdx.x; i < d.n_heads * a.k_pitch; i += 128) {
        int h = i / a.k_pitch, c = i % a.k_pitch;
        qs[i] = c < a.dk ? a.q[d.row * a.q_stride + (d.first_head + h) * a.dk + c] : 0.0f;
    }
    for (int tile = d.begin / KEYS * KEYS; tile < d.end; tile += KEYS) {
        int key = tile + threadIdx.x;
        if (threadIdx.x < KEYS && key >= d.begin && key < d.end) {
            t.place[threadIdx.x] = place_of(a, d.sequence, d.head, key);
            t.token[threadIdx.x] = key % a.page_tokens;
        }
        __syncthreads();
        decode_scores<T>(a, d, tile, qs, t);
        __syncthreads();
        decode_weights(d, tile, t, max, norm);
        __syncthreads();
        decode_values<T, WIDE>(a, d, tile, lanes, t, sum);
        __syncthreads();
    }
    decode_end<WIDE>(a, d, lanes, sum, qs);
    int64_t part = (int64_t)(d.slot * a.n_splits + blockIdx.y) * a.q_heads + d.first_head;
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (threadIdx.x % VW_WARP == 0 && warp * 2 + i < d.n_heads) {
            a.part_norm[2 * (part + warp * 2 + i)] = max[i];
            a.part_norm[2 * (part + warp * 2 + i) + 1] = norm[i];
        }
}

/* A block makes one row of one head whole. */
extern "C" __global__ void __launch_bounds__(128) vw_attention_combine(const vw_attention_args a)
{
    int slot = blockIdx.x / a.q_heads, head = blockIdx.x % a.q_heads, sequence = slot / FEW;
    int first = a.query_start[sequence], n = a.query_start[sequence + 1] - first;
    int S = a.n_keys[sequence], split = VW_ATTENTION_SPLIT_OF(S), i = slot % FEW;
    if (n > FEW || i >= n)
        return;
    int n_parts = min((S + split - 1) / split, a.n_splits);
    const float *norm = a.part_norm + 2 * ((int64_t)slot * a.n_splits * a.q_heads + head);
    const float *part = a.part + ((int64_t)slot * a.n_splits * a.q_heads + head) * a.v_pitch;
    float max = NO_MAXIMUM, sum = 0.0f;
    for (int s = 0; s < n_parts; s++)
        max = fmaxf(max, norm[2 * s * a.q_heads]);
    for (int s = 0; s < n_parts; s++)
        sum = fmaf(norm[2 * s * a.q_heads + 1], weight_of(norm[2 * s * a.q_heads], max), sum);
    span seen = visible(a, i + S - n, S);
    for (int c = threadIdx.x; c < a.dv; c += blockDim.x) {
        float x = 0.0f;
        for (int s = 0; s < n_parts; s++)
            x = fmaf(part[(int64_t)s * a.q_heads * a.v_pitch + c],
                     weight_of(norm[2 * s * a.q_heads], max), x);
        a.out[(first + i) * a.out_stride + head * a.dv + c] = seen.hi > seen.lo ? x / sum : 0.0f;
    }
    if (threadIdx.x == 0 && a.lse)
        a.lse[(int64_t)(first + i) * a.q_heads + head] =
            seen.hi > seen.lo ? max + logf(sum) : __uint_as_float(0x7F800000u);
}

#define KERNEL(name, T, WIDE)                                                                      \
    extern "C" __global__ void __launch_bounds__(128)                                              \
        vw_attention_decode_##name(const vw_attention_args a)                                      \
    {                                                                                              \
        VW_DYNAMIC_SHARED(float, qs);                                                              \
        __shared__ decode_tile t;                                                                  \
        decode<T, WIDE>(a, qs, t);                                                                 \
    }

KERNEL(256_f32, VW_TYPE_F32, 1)
KERNEL(256_bf16, VW_TYPE_BF16, 1)
KERNEL(256_f16, VW_TYPE_F16, 1)
KERNEL(256_i8, VW_TYPE_I8, 1)
KERNEL(512_f32, VW_TYPE_F32, 2)
KERNEL(512_bf16, VW_TYPE_BF16, 2)
KERNEL(512_f16, VW_TYPE_F16, 2)
KERNEL(512_i8, VW_TYPE_I8, 2)
