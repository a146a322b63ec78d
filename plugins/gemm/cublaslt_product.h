/* cublaslt_product.h - NVIDIA's cublasLt, opened at run time: one matrix product, and what was once
 * found out about it.
 *
 * The library has no matrices, only column-major ones, so a row of ours is a column of its: the
 * weight [N, K] is its A, K x N and transposed; the activations [M, K] are its B, K x M; the result
 * [M, N] is its C and D, N x M.  lt_shape speaks its language.
 *
 * The library's choice of an algorithm takes it tens of microseconds and holds for one shape and
 * one alignment, so choices are kept for as long as the plugin is open.
 *
 * VW_CUBLASLT=FILE in the environment names another library than libcublasLt.so of the toolkit's
 * version: for one that lies where the loader does not look, and for tests.
 */
#ifndef PLUGINS_GEMM_CUBLASLT_PRODUCT_H
#define PLUGINS_GEMM_CUBLASLT_PRODUCT_H

#include <vishwamai/device.h>

#include <cublasLt.h>
#include <pthread.h>

#define LT_FUNCTIONS(X)                                                                            \
    X(cublasLtGetVersion)                                                                          \
    X(cublasLtCreate)                                                                              \
    X(cublasLtDestroy)                                                                             \
    X(cublasLtMatmul)                                                                              \
    X(cublasLtMatmulAlgoGetHeuristic)                                                              \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)

typedef struct lt_api {
#define LT_MEMBER(function) __typeof__(&function) function;
    LT_FUNCTIONS(LT_MEMBER)
#undef LT_MEMBER
} lt_api;

/* D[m, n] = op(A) op(B) (+ D), f32 results and sums.  All zeros where nothing is said, since shapes
 * are compared as bytes. */
typedef struct lt_shape {
    int64_t m, n, k, lda, ldb, ldd;
    int32_t a_type, b_type;   /* cudaDataType */
    int32_t compute;          /* cublasComputeType_t */
    int32_t transpose_a, transpose_b;
    int32_t align_a, align_b, align_d; /* bytes; lt_multiply fills them in */
} lt_shape;

/* A shape in the library's words, and the algorithm it chose. */
typedef struct lt_choice {
    lt_shape shape;
    int is_used;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
} lt_choice;

enum { LT_CHOICES = 1024 };

typedef struct lt_library {
    lt_api api;
    void *file;
    cublasLtHandle_t handle;
    size_t workspace_bytes;
    pthread_mutex_t lock; /* of the choices */
    int n_choices, has_lock;
    lt_choice choices[LT_CHOICES];
} lt_library;

/* Load the library alone, and say which it is; no device is touched.  Nothing is left open. */
vw_status lt_look(char *version, size_t bytes, vw_error *err);

/* Load it and make a handle on the current context.  Whatever happened, lt_close() ends it. */
vw_status lt_open(lt_library *lt, size_t workspace_bytes, vw_error *err);
void lt_close(lt_library *lt);

/* Queue one product on `stream`; `beta` is 0 or 1, d may hold anything when it is 0.  `workspace`
 * has lt->workspace_bytes, aligned to 256.  VW_E_UNSUPPORTED where the library knows no way. */
vw_status lt_multiply(lt_library *lt, const lt_shape *shape, const void *a, const void *b,
                      float beta, void *d, void *workspace, vw_stream *stream, vw_error *err);

#endif
