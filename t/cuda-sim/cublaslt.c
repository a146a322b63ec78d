/* cublaslt.c - libcublasLt for tests: as much of it as gemm/cublaslt calls, on the simulated device.
 *
 * It is strict where the library is quick to trust: a product must be the one that its algorithm was
 * chosen for, with pointers as aligned as was said then; every matrix must lie within its memory by
 * its own leading dimension; D may overlap nothing that is read; 8-bit operands obey the rules of
 * the manual (A transposed, multiples of 16).  What it refuses it explains in a line on standard
 * error.  Products wait in the stream as everything does, and fill the workspace with NaN.
 *
 * VW_CUBLASLT=t/cuda-sim/.libs/libcuda.so, beside VW_CUDA_DRIVER, makes gemm/cublaslt load it.
 */
#include "t/cuda-sim/driver.h"
#include "t/cuda-sim/memory.h"

#include <vishwamai/dtype.h>

#include <cublasLt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x4C742121, WORKSPACE = 64 << 10, WORKSPACE_FROM_K = 128 };

typedef struct operation {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t transpose_a, transpose_b;
} operation;

typedef struct layout {
    cudaDataType_t type;
    int64_t rows, cols, ld;
} layout;

typedef struct preference {
    uint64_t workspace;
    uint32_t scheme, align[4]; /* of A, B, C, D */
} preference;

/* What is in an algorithm's eight words. */
typedef struct algorithm {
    uint64_t magic, problem, workspace;
    uint32_t align[4];
} algorithm;

static long n_handles, n_described; /* that live; under the driver's lock */

static void count(long *what, long n)
{
    sim_begin(0);
    *what += n;
    sim_end(CUDA_SUCCESS);
}

static cublasStatus_t refuse(cublasStatus_t status, const char *why)
{
    sim_explain("cublasLt: %s", why);
    return status;
}

/* ---- the library ----------------------------------------------------------------------------- */

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    CUresult result = sim_end(sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE));
    if (result != CUDA_SUCCESS || !(*handle = malloc(1)))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    count(&n_handles, 1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    count(&n_handles, -1);
    if (n_handles == 0 && n_described) {
        sim_explain("cublasLt: %ld descriptions outlive the library", n_described);
        if (getenv("VW_CUDA_SIM_STRICT"))
            abort();
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- descriptions ---------------------------------------------------------------------------- */

static void *new_copy(const void *from, size_t bytes)
{
    void *copy = malloc(bytes);
    if (copy) {
        memcpy(copy, from, bytes);
        count(&n_described, 1);
    }
    return copy;
}

static cublasStatus_t drop(void *description)
{
    free(description);
    count(&n_described, -1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *to, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    const operation o = {compute, scale, CUBLAS_OP_N, CUBLAS_OP_N};
    return (*to = new_copy(&o, sizeof o)) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description)
{
    return drop(description);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t bytes)
{
    operation *o = (operation *)(void *)description;
    int32_t *to = what == CUBLASLT_MATMUL_DESC_TRANSA   ? &o->transpose_a
                  : what == CUBLASLT_MATMUL_DESC_TRANSB ? &o->transpose_b
                                                        : NULL;
    if (!to || bytes != sizeof *to)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "a product's attribute that is not simulated");
    memcpy(to, value, bytes);
    return *to == CUBLAS_OP_N || *to == CUBLAS_OP_T ? CUBLAS_STATUS_SUCCESS
                                                    : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *to, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    const layout l = {type, (int64_t)rows, (int64_t)cols, ld};
    if (l.rows < 1 || l.cols < 1 || l.ld < l.rows)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "a matrix whose columns overlap, or without any");
    return (*to = new_copy(&l, sizeof l)) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t description)
{
    return drop(description);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *to)
{
    const preference p = {0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return (*to = new_copy(&p, sizeof p)) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t description)
{
    return drop(description);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t description,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes)
{
    preference *p = (preference *)(void *)description;
    void *to = NULL;
    size_t size = sizeof(uint32_t);
    switch (what) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: to = &p->workspace, size = 8; break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: to = &p->scheme; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: to = &p->align[0]; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: to = &p->align[1]; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: to = &p->align[2]; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: to = &p->align[3]; break;
    default: break;
    }
    if (!to || bytes != size)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "a preference that is not simulated");
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- what is a product ----------------------------------------------------------------------- */

typedef struct problem {
    operation operation;
    layout a, b, d;
} problem;

static problem problem_of(const void *operation_, const void *a, const void *b, const void *d)
{
    problem p;
    memset(&p, 0, sizeof p);
    memcpy(&p.operation, operation_, sizeof p.operation);
    memcpy(&p.a, a, sizeof p.a);
    memcpy(&p.b, b, sizeof p.b);
    memcpy(&p.d, d, sizeof p.d);
    return p;
}

static size_t element_bytes(cudaDataType_t t)
{
    return t == CUDA_R_32F ? 4 : t == CUDA_R_16BF || t == CUDA_R_16F ? 2 : 1;
}

static int is_fp8(cudaDataType_t t)
{
    return t == CUDA_R_8F_E4M3 || t == CUDA_R_8F_E5M2;
}

static int64_t inner(const problem *p)
{
    return p->operation.transpose_a ? p->a.rows : p->a.cols;
}

static const char *what_is_wrong(const problem *p)
{
    const operation *o = &p->operation;
    int64_t m = o->transpose_a ? p->a.cols : p->a.rows;
    int64_t k = o->transpose_b ? p->b.cols : p->b.rows;
    int64_t n = o->transpose_b ? p->b.rows : p->b.cols;
    if (m != p->d.rows || n != p->d.cols || k != inner(p))
        return "matrices that do not fit together";
    if (o->scale != CUDA_R_32F || p->d.type != CUDA_R_32F)
        return "scales and results other than f32 are not simulated";
    if (o->compute == CUBLAS_COMPUTE_32F_FAST_TF32 && p->a.type != CUDA_R_32F)
        return "tf32 is a way of f32";
    if (o->compute != CUBLAS_COMPUTE_32F && o->compute != CUBLAS_COMPUTE_32F_FAST_TF32)
        return "another way of computing";
    if (!is_fp8(p->a.type) || !is_fp8(p->b.type))
        return p->a.type == p->b.type && !is_fp8(p->a.type) ? NULL : "operands of two types";
    if (p->a.type == CUDA_R_8F_E5M2 && p->b.type == CUDA_R_8F_E5M2)
        return "e5m2 by e5m2";
    if (!o->transpose_a || o->transpose_b)
        return "fp8 wants A transposed and B not";
    if (m % 16 || n % 16 || k % 16 || p->a.ld % 16 || p->b.ld % 16 || p->d.ld * 4 % 16)
        return "fp8 wants multiples of 16";
    return NULL;
}

static uint64_t hash_of(const problem *p)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof *p; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
    return h;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t what,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wishes, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t *found, int *n_found)
{
    const preference *wish = (const preference *)(const void *)wishes;
    problem p = problem_of(what, a, b, d);
    const char *wrong = what_is_wrong(&p);
    int is_wide = is_fp8(p.a.type) && (wish->align[0] < 16 || wish->align[1] < 16 ||
                                       wish->align[3] < 16);
    if (!handle || memcmp(c, d, sizeof(layout)) || n_wanted < 1)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "a question without a handle, or C is not D");
    *n_found = 0;
    if (wrong || is_wide)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, wrong ? wrong : "fp8 wants 16 aligned bytes");
    algorithm chosen = {.magic = MAGIC, .problem = hash_of(&p)};
    if (inner(&p) >= WORKSPACE_FROM_K && wish->workspace >= WORKSPACE &&
        (wish->scheme & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE))
        chosen.workspace = WORKSPACE;
    memcpy(chosen.align, wish->align, sizeof chosen.align);
    memset(found, 0, sizeof *found);
    memcpy(&found->algo, &chosen, sizeof chosen);
    found->workspaceSize = chosen.workspace;
    *n_found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- running it ------------------------------------------------------------------------------ */

typedef struct arguments {
    problem p;
    float alpha, beta;
    const void *a, *b;
    float *d;
    unsigned char *workspace;
    size_t workspace_bytes;
} arguments;

static float number_at(const void *data, cudaDataType_t type, int64_t i)
{
    switch ((int)type) {
    case CUDA_R_16BF: return vw_bf16_to_f32(((const uint16_t *)data)[i]);
    case CUDA_R_16F: return vw_f16_to_f32(((const uint16_t *)data)[i]);
    case CUDA_R_8F_E4M3: return vw_e4m3_to_f32(((const uint8_t *)data)[i]);
    case CUDA_R_8F_E5M2: return vw_e5m2_to_f32(((const uint8_t *)data)[i]);
    default: return ((const float *)data)[i];
    }
}

/* What a tensor core keeps of an f32. */
static float as_tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xFFFFE000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Vector i of op(A)'s rows or op(B)'s columns, as f32. */
static void read_vector(const problem *p, const layout *l, const void *data, int is_column,
                        int64_t i, float *to)
{
    for (int64_t k = 0; k < inner(p); k++) {
        to[k] = number_at(data, l->type, is_column ? i * l->ld + k : k * l->ld + i);
        if (p->operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32)
            to[k] = as_tf32(to[k]);
    }
}

static void run(const void *args)
{
    const arguments *x = args;
    const problem *p = &x->p;
    int64_t k = inner(p);
    float *a = malloc((size_t)(k * p->d.rows) * sizeof *a), *b = malloc((size_t)k * sizeof *b);
    if (!a || !b)
        sim_fail("no memory for a product");
    for (int64_t i = 0; i < p->d.rows; i++)
        read_vector(p, &p->a, x->a, p->operation.transpose_a, i, a + i * k);
    for (int64_t j = 0; j < p->d.cols; j++) {
        read_vector(p, &p->b, x->b, !p->operation.transpose_b, j, b);
        for (int64_t i = 0; i < p->d.rows; i++) {
            float *d = x->d + j * p->d.ld + i, sum = 0;
            for (int64_t n = 0; n < k; n++)
                sum = fmaf(a[i * k + n], b[n], sum);
            *d = x->alpha * sum + (x->beta != 0 ? x->beta * *d : 0.0f);
        }
    }
    memset(x->workspace, 0xFF, x->workspace_bytes);
    free(a);
    free(b);
}

static sim_kernel kernel = {"cublasLtMatmul", sizeof(arguments), run, NULL};

typedef struct extent {
    const char *from, *to;
} extent;

static extent extent_of(const layout *l, const void *data)
{
    size_t bytes = (size_t)((l->cols - 1) * l->ld + l->rows) * element_bytes(l->type);
    return (extent){data, (const char *)data + bytes};
}

static int overlap(extent a, extent b)
{
    return a.from < b.to && b.from < a.to;
}

static const char *where_is_it_wrong(const arguments *x, const algorithm *chosen, size_t workspace)
{
    extent a = extent_of(&x->p.a, x->a), b = extent_of(&x->p.b, x->b), d = extent_of(&x->p.d, x->d);
    extent w = {(const char *)x->workspace, (const char *)x->workspace + workspace};
    const extent all[] = {a, b, d, w};
    const uint32_t align[] = {chosen->align[0], chosen->align[1], chosen->align[3], 256};
    for (int i = 0; i < 4; i++) {
        if (i == 3 && !workspace)
            continue;
        if (!sim_memory_has(sim_device(), all[i].from, (size_t)(all[i].to - all[i].from)))
            return "a matrix or the workspace leaves its memory";
        if ((uintptr_t)all[i].from % align[i])
            return "a pointer is less aligned than was said";
    }
    if (overlap(d, a) || overlap(d, b) || overlap(w, a) || overlap(w, b) || overlap(w, d))
        return "the result or the workspace overlaps something else";
    if (chosen->magic != MAGIC || chosen->problem != hash_of(&x->p))
        return "the algorithm was chosen for another product";
    return workspace < chosen->workspace ? "the workspace is too small" : NULL;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t what, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    arguments x = {.p = problem_of(what, a_layout, b_layout, d_layout), .a = a, .b = b, .d = d,
                   .workspace = workspace};
    sim_op op = {.kind = SIM_KERNEL_RUN, .kernel = &kernel, .grid = {1, 1, 1}, .block = {1, 1, 1},
                 .args = &x};
    algorithm chosen;
    memcpy(&chosen, algo, sizeof chosen);
    memcpy(&x.alpha, alpha, sizeof x.alpha);
    memcpy(&x.beta, beta, sizeof x.beta);
    x.workspace_bytes = (size_t)chosen.workspace;
    CUresult result = sim_begin(SIM_CONTEXT);
    const char *wrong = result                        ? "no current context"
                        : !handle                     ? "no handle"
                        : !sim_is_stream((CUstream)stream) ? "no stream of the driver's"
                        : c != d || memcmp(c_layout, d_layout, sizeof(layout))
                            ? "another C than D"
                            : where_is_it_wrong(&x, &chosen, workspace_bytes);
    if (!wrong)
        result = sim_enqueue((CUstream)stream, &op);
    sim_end(result);
    if (wrong)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, wrong);
    return result ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}
