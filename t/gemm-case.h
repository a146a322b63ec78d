/* gemm-case.h - a matrix product to test a gemm plugin with, its exact result, and the limits that
 * decide whether a result is right (gemm.md, section 14). */
#ifndef T_GEMM_CASE_H
#define T_GEMM_CASE_H

#include <vishwamai/gemm.h>

#include <stdbool.h>

/* A block format, and where its blocks have f16 scales (-1: nowhere); the rest may be any bits. */
typedef struct case_block {
    vw_block_format format;
    int scale_at[2];
} case_block;

/* How the weight of a case is stored and what it is computed as. */
typedef struct case_form {
    const char *name;
    vw_dtype dtype;
    vw_layout layout;
    int64_t scale_rows, scale_cols; /* 0: none; -1: the whole dimension */
    vw_dtype scale_dtype;
    vw_gemm_format format;
    const case_block *block; /* with VW_BLOCK */
} case_form;

/* All that a gemm of this project knows; some by their place, those of GGUF last. */
enum { F32 = 0, BF16 = 1, E4M3_BLOCKS = 3, BF16_IN_OUT = 8, BF16_AS_INT8 = 9,
       FIRST_GGUF = 20, N_CASE_FORMS = 24 };
extern const case_form case_forms[N_CASE_FORMS];

/* What a gemm does to the rows of X before it multiplies. */
typedef enum case_rounding {
    CASE_EXACT,
    CASE_INT7,  /* to codes of at most 63, one scale for x_group values */
    CASE_INT8,  /* of at most 127 */
    CASE_WEIGHT /* to the weight's own format: f16 and fp8 with one scale a row, fp8 as e4m3 */
} case_rounding;

/* Y = X W^T with everything it takes.  All of it is plain memory; case_free frees it. */
typedef struct gemm_case {
    const case_form *form;
    int64_t m, n, k;
    float *x;       /* [m, k] */
    void *data;     /* the stored weight */
    void *scales;
    vw_matrix stored;
    float *values;  /* [n, k]: what the weight is worth in its format */
    double *want;   /* [m, n] */
    int64_t x_group; /* values of a row of x that are rounded together; 0: the whole row */
    bool is_coarse; /* limits for sums of fp8 tensor cores, which keep fewer bits */
    double typical; /* the size of a sum whose terms do not cancel more than chance has it */
} gemm_case;

void case_make(gemm_case *c, const case_form *form, int64_t m, int64_t n, int64_t k);
/* Again after x, data or scales were changed, and for a gemm that rounds. */
void case_expect(gemm_case *c, case_rounding rounding);
void case_free(gemm_case *c);

/* A number in (-3, 3), near normal; the same sequence on every machine. */
float case_number(void);

/* 1 - 2 sum(xy) / sum(x^2 + y^2); 0 when both are all zero.  Rows are `stride` apart. */
double case_diff(const float *y, int64_t stride, const double *want, int64_t m, int64_t n,
                 int64_t n_total);

/* The limits G for f32 results, on the first m rows: diff < 1e-9 overall and < 5e-8 on every 64 x 64
 * tile, every element within 2^-16 of itself plus 1e-5 of the rms of its 1 x 128 segment or of a
 * typical sum, NaN and infinities where they belong.  Coarse: 1e-6, 5e-5, 2^-8 and 2e-3, as for
 * results in bf16.  A reason that they are broken, or NULL. */
const char *case_wrong(const gemm_case *c, const float *y, int64_t stride, int64_t m);

#endif
