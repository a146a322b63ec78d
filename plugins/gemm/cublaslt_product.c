/* cublaslt_product.c - finding cublasLt, describing a product to it, remembering its choices. */
#include "plugins/gemm/cublaslt_product.h"

#include <dlfcn.h>
#include <stdlib.h>

#define LT_TEXT_(text) #text
#define LT_TEXT(text)  LT_TEXT_(text)
static const char file_name[] = "libcublasLt.so." LT_TEXT(CUBLAS_VER_MAJOR);

/* ---- the library ----------------------------------------------------------------------------- */

static vw_status failed(cublasStatus_t s, const char *what, vw_error *err)
{
    return vw_fail(err, s == CUBLAS_STATUS_ALLOC_FAILED    ? VW_E_NOMEM
                        : s == CUBLAS_STATUS_NOT_SUPPORTED ? VW_E_UNSUPPORTED
                                                           : VW_E_DEVICE,
                   "cublasLt: %s failed with status %d%s", what, (int)s,
                   s == CUBLAS_STATUS_NOT_SUPPORTED   ? " (not supported)"
                   : s == CUBLAS_STATUS_INVALID_VALUE ? " (invalid value)"
                   : s == CUBLAS_STATUS_ALLOC_FAILED  ? " (no memory)"
                                                      : "");
}

/* By the loader's rules, then in the folder of the toolkit that this was built with. */
static void *open_file(int flags)
{
    static const char *const places[] = {"", VW_CUDA_DIR "/lib64/", VW_CUDA_DIR "/lib/"};
    const char *chosen = getenv("VW_CUBLASLT");
    char path[512];
    void *file = NULL;
    if (chosen && *chosen)
        return dlopen(chosen, flags);
    for (size_t i = 0; i < sizeof places / sizeof *places && !file; i++) {
        snprintf(path, sizeof path, "%s%s", places[i], file_name);
        file = dlopen(path, flags);
    }
    return file;
}

static vw_status load(lt_api *api, void **file, int flags, vw_error *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
#define LT_ENTRY(function) {#function, offsetof(lt_api, function)},
        LT_FUNCTIONS(LT_ENTRY)
#undef LT_ENTRY
    };
    const char *chosen = getenv("VW_CUBLASLT");
    *file = open_file(RTLD_LAZY | RTLD_LOCAL | flags);
    if (!*file && chosen && *chosen)
        return vw_fail(err, VW_E_DEVICE, "VW_CUBLASLT cannot be loaded: %s", dlerror());
    if (!*file)
        return vw_fail(err, VW_E_DEVICE, "%s is not there: install cuBLAS, or let VW_CUBLASLT name "
                       "the file", file_name);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *address = dlsym(*file, functions[i].name);
        if (!address)
            return vw_fail(err, VW_E_DEVICE, "cublasLt has no %s: it is not %s", functions[i].name,
                           file_name);
        memcpy((char *)api + functions[i].offset, &address, sizeof address);
    }
    return VW_OK;
}

vw_status lt_look(char *version, size_t bytes, vw_error *err)
{
    lt_api api;
    void *file = NULL;
    vw_status s = load(&api, &file, 0, err);
    if (s == VW_OK)
        snprintf(version, bytes, "cublasLt %zu", api.cublasLtGetVersion());
    if (file)
        dlclose(file);
    return s;
}

/* It stays in memory when its last user is gone: it holds on to the driver. */
vw_status lt_open(lt_library *lt, size_t workspace_bytes, vw_error *err)
{
    memset(lt, 0, sizeof *lt);
    lt->workspace_bytes = workspace_bytes;
    vw_status s = load(&lt->api, &lt->file, RTLD_NODELETE, err);
    if (s != VW_OK)
        return s;
    if (pthread_mutex_init(&lt->lock, NULL))
        return vw_fail(err, VW_E_NOMEM, "no memory for a lock");
    lt->has_lock = 1;
    cublasStatus_t made = lt->api.cublasLtCreate(&lt->handle);
    if (made == CUBLAS_STATUS_SUCCESS)
        return VW_OK;
    lt->handle = NULL;
    return failed(made, "opening it on this device", err);
}

/* ---- a product in its words ------------------------------------------------------------------ */

static void forget(const lt_api *api, lt_choice *c)
{
    if (c->operation)
        api->cublasLtMatmulDescDestroy(c->operation);
    if (c->a)
        api->cublasLtMatrixLayoutDestroy(c->a);
    if (c->b)
        api->cublasLtMatrixLayoutDestroy(c->b);
    if (c->d)
        api->cublasLtMatrixLayoutDestroy(c->d);
    memset(c, 0, sizeof *c);
}

void lt_close(lt_library *lt)
{
    for (int i = 0; i < LT_CHOICES; i++)
        if (lt->choices[i].is_used)
            forget(&lt->api, &lt->choices[i]);
    if (lt->handle)
        lt->api.cublasLtDestroy(lt->handle);
    if (lt->has_lock)
        pthread_mutex_destroy(&lt->lock);
    if (lt->file)
        dlclose(lt->file);
    memset(lt, 0, sizeof *lt);
}

static cublasStatus_t new_layout(const lt_api *api, cublasLtMatrixLayout_t *layout, int type,
                                 int64_t rows, int64_t cols, int64_t ld)
{
    return api->cublasLtMatrixLayoutCreate(layout, (cudaDataType)type, (uint64_t)rows,
                                           (uint64_t)cols, ld);
}

static cublasStatus_t describe(const lt_api *api, const lt_shape *s, lt_choice *c)
{
    int32_t op_a = s->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    int32_t op_b = s->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t st = api->cublasLtMatmulDescCreate(&c->operation,
                                                      (cublasComputeType_t)s->compute, CUDA_R_32F);
    if (!st)
        st = api->cublasLtMatmulDescSetAttribute(c->operation, CUBLASLT_MATMUL_DESC_TRANSA, &op_a,
                                                 sizeof op_a);
    if (!st)
        st = api->cublasLtMatmulDescSetAttribute(c->operation, CUBLASLT_MATMUL_DESC_TRANSB, &op_b,
                                                 sizeof op_b);
    if (!st)
        st = new_layout(api, &c->a, s->a_type, s->transpose_a ? s->k : s->m,
                        s->transpose_a ? s->m : s->k, s->lda);
    if (!st)
        st = new_layout(api, &c->b, s->b_type, s->transpose_b ? s->n : s->k,
                        s->transpose_b ? s->k : s->n, s->ldb);
    return st ? st : new_layout(api, &c->d, CUDA_R_32F, s->m, s->n, s->ldd);
}

/* Sums of parts of K are added through the workspace, in an order; never into D by who is first. */
static cublasStatus_t choose(const lt_library *lt, const lt_shape *s, lt_choice *c)
{
    const lt_api *api = &lt->api;
    uint64_t workspace = lt->workspace_bytes;
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t what;
        const void *value;
        size_t bytes;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme, sizeof scheme},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &s->align_a, sizeof s->align_a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &s->align_b, sizeof s->align_b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &s->align_d, sizeof s->align_d},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &s->align_d, sizeof s->align_d},
    };
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    cublasStatus_t st = api->cublasLtMatmulPreferenceCreate(&preference);
    if (st)
        return st;
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && !st; i++)
        st = api->cublasLtMatmulPreferenceSetAttribute(preference, wishes[i].what, wishes[i].value,
                                                       wishes[i].bytes);
    memset(&found, 0, sizeof found);
    if (!st)
        st = api->cublasLtMatmulAlgoGetHeuristic(lt->handle, c->operation, c->a, c->b, c->d, c->d,
                                                 preference, 1, &found, &n);
    api->cublasLtMatmulPreferenceDestroy(preference);
    if (st || n < 1)
        return st ? st : CUBLAS_STATUS_NOT_SUPPORTED;
    c->algorithm = found.algo;
    return found.state;
}

static vw_status make_choice(const lt_library *lt, const lt_shape *s, lt_choice *c, vw_error *err)
{
    memset(c, 0, sizeof *c);
    c->shape = *s;
    c->is_used = 1;
    cublasStatus_t st = describe(&lt->api, s, c);
    const char *what = "describing a product";
    if (!st) {
        what = "choosing an algorithm";
        st = choose(lt, s, c);
    }
    if (!st)
        return VW_OK;
    forget(&lt->api, c);
    return failed(st, what, err);
}

/* ---- what is known --------------------------------------------------------------------------- */

static uint32_t place_of(const lt_shape *s)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < sizeof *s; i++)
        h = (h ^ p[i]) * 16777619u;
    return h % LT_CHOICES;
}

/* The choice for a shape, made now if it is new.  A choice that is kept never moves or goes; when
 * there is no room for one more, *own is it, and the caller forgets it. */
static vw_status find_choice(lt_library *lt, const lt_shape *s, lt_choice *own,
                             const lt_choice **found, vw_error *err)
{
    uint32_t at = place_of(s);
    vw_status st = VW_OK;
    pthread_mutex_lock(&lt->lock);
    while (lt->choices[at].is_used && memcmp(&lt->choices[at].shape, s, sizeof *s))
        at = (at + 1) % LT_CHOICES;
    *found = &lt->choices[at];
    if (!lt->choices[at].is_used && lt->n_choices >= LT_CHOICES - LT_CHOICES / 4) {
        *found = own;
        st = make_choice(lt, s, own, err);
    } else if (!lt->choices[at].is_used) {
        st = make_choice(lt, s, &lt->choices[at], err);
        lt->n_choices += st == VW_OK;
    }
    pthread_mutex_unlock(&lt->lock);
    return st;
}

/* More than 16 bytes help no algorithm. */
static int32_t alignment_of(const void *p)
{
    uintptr_t at = (uintptr_t)p;
    return at % 16 == 0 ? 16 : at % 8 == 0 ? 8 : at % 4 == 0 ? 4 : at % 2 == 0 ? 2 : 1;
}

vw_status lt_multiply(lt_library *lt, const lt_shape *shape, const void *a, const void *b,
                      float beta, void *d, void *workspace, vw_stream *stream, vw_error *err)
{
    const float one = 1.0f;
    const lt_choice *c;
    lt_choice own = {0};
    lt_shape s = *shape;
    s.align_a = alignment_of(a);
    s.align_b = alignment_of(b);
    s.align_d = alignment_of(d);
    vw_status st = find_choice(lt, &s, &own, &c, err);
    if (st != VW_OK)
        return st;
    cublasStatus_t done = lt->api.cublasLtMatmul(
        lt->handle, c->operation, &one, a, c->a, b, c->b, &beta, d, c->d, d, c->d, &c->algorithm,
        workspace, lt->workspace_bytes, (cudaStream_t)stream);
    if (c == &own)
        forget(&lt->api, &own);
    return done == CUBLAS_STATUS_SUCCESS ? VW_OK : failed(done, "a product", err);
}
