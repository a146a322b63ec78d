/* gemm.h - fast matrix products on a CPU: Y[M,N] = X[M,K] W[N,K]^T with f32 sums.
 *
 * Kernels make no threads and allocate nothing.  A caller fills a vw_gemm_job and lets each thread
 * run its part; all parts of the first step must be done before the second begins:
 *
 *     vw_gemm_prepare(job, part, n_parts)   lay the activations out (and quantise them)
 *     vw_gemm_multiply(job, part, n_parts)  outputs of the parts are disjoint
 *
 * How an output is summed never depends on how many parts there are, so results are bitwise equal
 * for any number of threads.  The panel path sums over k in ascending order for every M; the row
 * path, which is used for few rows of weights in place, has its own order (see
 * vw_gemm_job.is_one_path).
 *
 * Weights are read where they lie, or from a pack: panels of 16 outputs, K running inside, the same
 * on every instruction set, so that a pack may be kept in a file.  Tiles, on the other hand, are as
 * wide as the instruction set likes; they take one or more panels side by side.
 */
#ifndef KERNELS_CPU_GEMM_H
#define KERNELS_CPU_GEMM_H

#include "kernels/ref/gemm.h"

enum {
    VW_GEMM_PANEL = 16,       /* outputs of a panel */
    VW_GEMM_MAX_ROWS = 16,    /* rows of X in a tile, at most, over all instruction sets */
    VW_GEMM_MAX_PANELS = 4,   /* panels of a tile, at most */
    VW_GEMM_GROUP = 4,        /* panels that are multiplied before their sums are finished */
    VW_GEMM_FEW_ROWS = 8,     /* up to so many rows of X weights are used as they are read */
    VW_GEMM_WEIGHTS = 4,      /* weights of one job, at most */
    VW_GEMM_SCALE_GROUP = 128 /* values along k, and outputs of a weight, of one scale of e4m3 */
};

/* How a weight lies in memory. */
typedef enum vw_gemm_layout {
    VW_GEMM_IN_PLACE = 0,  /* as stored; vw_gemm_source says how */
    VW_GEMM_PANEL_F32,     /* f32 [panel][K][16] */
    VW_GEMM_PANEL_BF16,    /* bf16 [panel][ceil(K / 2)][16][2] */
    VW_GEMM_PANEL_F16,     /* f16 [panel][K][16] */
    VW_GEMM_PANEL_S8,      /* int8 [panel][K4][16][4], K4 = ceil(K / 4) padded to whole groups; then
                              f32 scales [panel][groups][16]; then int32 sums of the codes, same */
    VW_GEMM_PANEL_BLOCKS   /* blocks of few bits, of 16 outputs interleaved: gemm-blocks.h */
} vw_gemm_layout;

typedef struct vw_gemm_operand {
    vw_gemm_source source; /* n and k always; the rest in place */
    vw_gemm_layout layout;
    const void *pack;
    int64_t scale_k;       /* PANEL_S8: values a scale covers along K, a multiple of 4, or K */
} vw_gemm_operand;

typedef enum vw_gemm_finish {
    VW_GEMM_FINISH_STORE = 0,
    VW_GEMM_FINISH_ADD,
    VW_GEMM_FINISH_ACTIVATE,
    VW_GEMM_FINISH_GATED,
    VW_GEMM_FINISH_SOFTCAP
} vw_gemm_finish;

typedef struct vw_gemm_kernels vw_gemm_kernels;
typedef struct vw_gemm_codes vw_gemm_codes;
typedef struct vw_gemm_blocks vw_gemm_blocks;

typedef struct vw_gemm_job {
    const vw_gemm_kernels *kernels;
    int64_t m, k;
    const float *x;
    int64_t x_stride, x_step; /* from row to row, and along K; only tiles take a step other than 1 */
    int n_weights;
    vw_gemm_operand w[VW_GEMM_WEIGHTS];
    float *y[VW_GEMM_WEIGHTS];
    int64_t y_stride[VW_GEMM_WEIGHTS];
    vw_gemm_finish finish;
    vw_gemm_act act;
    float cap;
    int is_one_path; /* a row's sums must not depend on m: never take the row path */
    const vw_gemm_codes *codes; /* quantise activations so, one scale a row; all weights PANEL_S8 */
    const vw_gemm_blocks *blocks; /* quantise them in blocks of 32; all weights PANEL_BLOCKS */
    void *workspace; /* vw_gemm_workspace() bytes, aligned to 64 */
} vw_gemm_job;

/* Workspace for up to max_m rows, split in up to n_parts parts. */
size_t vw_gemm_workspace(const vw_gemm_kernels *kernels, int64_t max_m, int64_t k, int is_gated,
                         int n_parts);

/* Does this job need vw_gemm_prepare before vw_gemm_multiply? */
int vw_gemm_needs_prepare(const vw_gemm_job *job);
void vw_gemm_prepare(const vw_gemm_job *job, int part, int n_parts);
void vw_gemm_multiply(const vw_gemm_job *job, int part, int n_parts);

/* The second step with a scratch of the caller's, vw_gemm_scratch_bytes(m, is_gated), aligned to
 * 64; the workspace is not needed where the first step is not. */
void vw_gemm_multiply_in(const vw_gemm_job *job, int part, int n_parts, void *scratch);
size_t vw_gemm_scratch_bytes(int64_t max_m, int is_gated);

/* ---- packs ---- */

size_t vw_gemm_pack_bytes(vw_gemm_layout layout, int64_t n, int64_t k, int64_t scale_k);

/* Can the codes and scales of a stored int8 matrix be kept in a pack?  *scale_k receives what its
 * scales cover along K. */
int vw_gemm_keeps_s8(const vw_gemm_source *w, int64_t *scale_k);

/* Lay outputs [first, first + n) of `w`, from a multiple of 16, into the whole pack.  For PANEL_S8
 * they are quantised (vw_ref_quantise_int8 in groups of scale_k), unless is_kept says that they are
 * stored int8 whose codes and scales are taken over.  `scratch` holds 16 K floats. */
void vw_gemm_pack(const vw_gemm_kernels *kernels, const vw_gemm_source *w, vw_gemm_layout layout,
                  int64_t scale_k, int is_kept, int64_t first, int64_t n, void *pack,
                  float *scratch);

/* Output n of a weight as f32, times `scale`. */
void vw_gemm_gather_row(const vw_gemm_operand *w, int64_t n, float scale, float *out);

/* ---- one instruction set ---- */

/* One tile's worth of arguments: rows x 16 * panels sums over `steps` of K. */
typedef struct vw_gemm_tile {
    int64_t k;                               /* steps along K (of 4 values for int8) */
    const void *x;                           /* [k][rows]: one column of the packed rows a step */
    const void *w[VW_GEMM_MAX_PANELS];       /* [k][16] each */
    const float *scale[VW_GEMM_MAX_PANELS];  /* int8: [groups][16] */
    const int32_t *sum[VW_GEMM_MAX_PANELS];  /* int8: [groups][16] */
    int64_t group_k;                         /* int8: steps of a scale group */
    float *c;                                /* sums, [rows][c_stride] */
    int64_t c_stride;
    int is_first;                            /* start from zero rather than from c */
    int64_t fetch;                           /* prefetch so many bytes behind each panel's block ... */
    int fetch_step;                          /* ... and so many more with every step */
    int64_t fetch_turn, fetch_jump;          /* one row: from this step on, so many bytes further */
    int rows;                                /* blocks */
    int panels;                              /* blocks, one row */
    int64_t c_panel;                         /* ... from panel to panel in c */
    vw_dtype scale_dtype;                    /* ... of Q4_0 and int4; group_k in blocks */
} vw_gemm_tile;

/* Products of quantised activations with int8 weights: exact int32 sums of each scale group, times
 * the weight's scale, added in f32. */
struct vw_gemm_codes {
    int most;    /* the largest magnitude of an activation's code */
    int x_bytes; /* of four of them: 4 as u8, 8 as s16 */
    /* x rows [0, rows) as [k4][rows] of x_bytes, K padded with zeros; scales [rows]. */
    void (*pack_x)(const float *x, int64_t x_stride, int rows, int64_t k, int64_t k4, void *out,
                   float *scales);
    void (*const *tile)(const vw_gemm_tile *t); /* [rows - 1] */
    void (*one)(const vw_gemm_tile *t);         /* one row, VW_GEMM_MAX_PANELS panels */
};

/* Weights in blocks of one format, where k counts blocks of 32 values (gemm-blocks.h). */
typedef struct vw_gemm_block_format {
    /* Blocks [first, first + n) of a panel as tiles read them; `first` begins a block of the file's. */
    void (*open)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n, char *out);
    void (*tile)(const vw_gemm_tile *t); /* of opened panels */
    void (*one)(const vw_gemm_tile *t);  /* one row, packed panels: VW_GEMM_MAX_PANELS, or one */
} vw_gemm_block_format;

/* Products of activations quantised in blocks of 32 with weights that are: exact int32 sums of a
 * block, times both scales, added in f32. */
struct vw_gemm_blocks {
    int most; /* the largest magnitude of an activation's code */
    /* x rows [0, rows) for a tile, K of whole blocks; gemm-blocks.h has the layout. */
    void (*pack_x)(const float *x, int64_t x_stride, int rows, int64_t k, void *out);
    vw_gemm_block_format formats[4]; /* Q8_0; Q4_0 and int4; Q4_K; Q6_K */
};

struct vw_gemm_kernels {
    const char *name;
    int rows, panels; /* of the largest tile */
    int dot_rows;     /* rows of x that `dot` takes at once */

    /* [rows - 1]: sums in f32. */
    void (*const *tile)(const vw_gemm_tile *t);

    /* Activations of 8 bits, codes up to 127, and of 7 bits, up to 63.  The latter is faster where
     * the instructions that multiply bytes saturate, since with 7 bits they are exact. */
    vw_gemm_codes s8, s7;
    const vw_gemm_blocks *blocks; /* [0] with codes up to 127, [1] up to 63 */

    /* x rows [0, rows) as [k][rows]. */
    void (*pack_x)(const float *x, int64_t x_stride, int64_t x_step, int rows, int64_t k,
                   float *out);
    /* One tile of rows as [k][rows], whichever of row and step is 1; `readable` values may be read
     * from the first on where row is 1. */
    void (*pack_tile)(const float *a, int64_t row, int64_t step, int rows, int64_t k,
                      int64_t readable, float *out);
    /* n packed values to BF16 or F16, to nearest even, and back. */
    void (*round)(vw_dtype dtype, int64_t n, float *x);
    /* Packed values to e4m3 and back, as vw_ref_round_e4m3: n of one scale; and [k][wide], wide
     * that of a tile or a panel, of which each column has groups of 128 along k, scaled by what is
     * in them. */
    void (*round_by)(float scale, int64_t n, float *x);
    void (*round_groups)(float *x, int64_t k, int wide);
    /* The largest finite magnitude of a matrix. */
    float (*amax)(const float *x, int64_t stride, int64_t rows, int64_t cols);

    /* Outputs [n, n + 16) and inputs [first, first + k) as f32 [k][16]; zeros past the last output. */
    void (*expand)(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k, float *out);

    /* A panel of f32 [k][16] as int8 [ceil(k / 4)][16][4], one scale for scale_k values; scales and
     * sums of codes [groups][16], a group being `group` values, of which scale_k is a multiple.
     * With is_kept the values are codes already and the scales stand. */
    void (*quantise)(const float *panel, int64_t k, int64_t scale_k, int64_t group, int is_kept,
                     void *codes, float *scales, int32_t *sums);

    /* Row path: c[i][j] for n outputs of a weight stored [out, in], m <= dot_rows.  Output j is
     * row `first + j`. */
    void (*dot)(const vw_gemm_source *w, int64_t first, int64_t n, const float *x,
                int64_t x_stride, int m, float *c, int64_t c_stride);
    /* m <= 4 rows of x against whole panels of a pack: c[i][16 * p + j]; the sums of the tiles. */
    void (*stream)(const vw_gemm_operand *w, int64_t panel, int64_t n_panels, const float *x,
                   int64_t x_stride, int m, float *c, int64_t c_stride);

    /* Sums [m][n] to results. */
    void (*finish)(const vw_gemm_job *job, const float *c, const float *up, int64_t c_stride,
                   int64_t m, int64_t n, float *y, int64_t y_stride);
};

extern const vw_gemm_kernels vw_gemm_kernels_base, vw_gemm_kernels_avx2, vw_gemm_kernels_avx512,
    vw_gemm_kernels_vnni;

#endif
