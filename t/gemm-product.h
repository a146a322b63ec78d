/* gemm-product.h - products through a gemm's table: how a plugin was opened, a plan with its weights, one
 * run and its verdict.  What kind-gemm.t checks with them is in kind-gemm.c, gemm-plans.c and
 * gemm-groups.c.
 */
#ifndef T_GEMM_PRODUCT_H
#define T_GEMM_PRODUCT_H

#include "t/gemm-case.h"
#include "t/with_device.h"

enum { GUARD = 5 }; /* floats behind each row of a result, all 77 */

/* One way to open a plugin. */
typedef struct opened {
    mock_host mock;
    mock_instance it;
    with_device device;
    const vw_gemm_ops *ops;
    void *self;
    const char *name;
    case_rounding rounding; /* of activations; to int7 or int8 where weights are int8 or in blocks */
} opened;

typedef struct product {
    vw_gemm_problem problem;
    vw_gemm_weight weight[VW_GEMM_MAX_WEIGHTS];
    const vw_gemm_weight *list[VW_GEMM_MAX_WEIGHTS];
    void *pack[VW_GEMM_MAX_WEIGHTS];
    vw_gemm_plan plan;
    void *workspace;
} product;

/* May this one leave nothing out? */
bool must_do_all(const opened *o);
/* Libraries with threads of their own are let have one: on a busy machine theirs wait for ever. */
int threads_of(const opened *o);

/* A weight of a case as the plugin wants it: in place, or packed 64 rows at a time; free(*pack). */
vw_status bind_weight(opened *o, const gemm_case *c, vw_gemm_weight *w, void **pack);

/* A plan for n weights; false when the plugin does not support it. */
bool product_make(opened *o, const gemm_case *const *cases, int n, vw_gemm_problem problem,
                  product *p);
bool product_make_one(opened *o, const gemm_case *c, int64_t max_m, product *p);
void product_free(opened *o, product *p);

/* The product that this one makes of a case: a weight whose format it does not run in place may have
 * activations of few bits, one scale a row, or for 32 values where the weight is in blocks. */
void product_expect(opened *o, gemm_case *c);

/* Run the first m rows; NULL when run() failed or allocated.  Else [m, n] to free, with its guards. */
float *product_run(opened *o, product *p, const gemm_case *c, int64_t m);
/* The same, and is it what the case wants? */
bool product_is_right(opened *o, product *p, const gemm_case *c, int64_t m);

/* y [m, n] with its guards, all 77. */
float *new_result(int64_t m, int64_t n);
bool is_guarded(const float *y, int64_t m, int64_t n);
vw_tensor rows_of(float *data, int64_t m, int64_t n, int64_t stride);

/* gemm-plans.c: several weights in one plan, epilogues, gathered rows, gradients. */
void check_several(opened *o);
void check_epilogues(opened *o);
void check_gather(opened *o);
void check_gradients(opened *o);

/* gemm-groups.c */
void check_groups(opened *o);

#endif
