/* checks.h - what every gemm plugin checks the same way, and the kernels' view of a weight.
 *
 * A problem is looked at once, in plan(); run() only compares what it is given with the plan.  All
 * inline, because a plugin is one shared object that links nothing of ours above the kernels.
 */
#ifndef PLUGINS_GEMM_CHECKS_H
#define PLUGINS_GEMM_CHECKS_H

#include "kernels/ref/blocks.h"
#include "kernels/ref/gemm.h"

#include <vishwamai/gemm.h>

static inline int64_t matrix_n(const vw_matrix *w)
{
    return w->layout == VW_OUT_IN ? w->rows : w->cols;
}

static inline int64_t matrix_k(const vw_matrix *w)
{
    return w->layout == VW_OUT_IN ? w->cols : w->rows;
}

/* The stored matrix for the kernels.  For dgrad the two sides change names: dX[M,K] = dY[M,N] W is
 * a product with the transposed storage. */
static inline vw_gemm_source matrix_source(const vw_matrix *w, vw_gemm_op op)
{
    vw_gemm_source s = {
        .data = w->data,
        .dtype = w->dtype,
        .is_in_out = (w->layout == VW_IN_OUT) != (op == VW_GEMM_DGRAD),
        .row_stride = w->row_stride,
        .scales = w->scales.rows > 0 ? w->scales.data : NULL,
        .scale_dtype = w->scales.dtype,
        .scale_rows = w->scales.rows,
        .scale_cols = w->scales.cols,
        .scale_stride = w->scales.row_stride,
    };
    s.n = op == VW_GEMM_DGRAD ? matrix_k(w) : matrix_n(w);
    s.k = op == VW_GEMM_DGRAD ? matrix_n(w) : matrix_k(w);
    if (w->format) {
        s.block_kind = vw_block_kind_of(w->format->name);
        s.block_elements = w->format->elements;
        s.block_bytes = w->format->bytes;
        s.dequantise = w->format->dequantise;
    }
    return s;
}

static inline int is_weight_dtype(vw_dtype t)
{
    return t == VW_F32 || t == VW_BF16 || t == VW_F16 || t == VW_E4M3 || t == VW_E5M2 ||
           t == VW_I8;
}

static inline vw_status check_matrix(const vw_matrix *w, vw_error *err)
{
    if (w->rows < 0 || w->cols < 0 || w->row_stride < w->cols)
        return vw_fail(err, VW_E_INVALID,
                       "a weight of %lld x %lld with rows %lld apart is not a matrix",
                       (long long)w->rows, (long long)w->cols, (long long)w->row_stride);
    if (w->dtype == VW_BLOCK && !w->format)
        return vw_fail(err, VW_E_INVALID, "a weight in a block format does not say which");
    const vw_scales *s = &w->scales;
    if ((s->rows > 0) != (s->cols > 0))
        return vw_fail(err, VW_E_INVALID, "scale groups of %lld x %lld do not cover a matrix",
                       (long long)s->rows, (long long)s->cols);
    if (s->rows > 0 && s->dtype != VW_F32 && s->dtype != VW_BF16 && s->dtype != VW_F16 &&
        s->dtype != VW_E8M0)
        return vw_fail(err, VW_E_UNSUPPORTED, "scales in %s; f32, bf16, f16 or e8m0 can be used",
                       vw_dtype_name(s->dtype));
    if (s->rows > 0 && s->row_stride < (w->cols + s->cols - 1) / s->cols)
        return vw_fail(err, VW_E_INVALID, "rows of scales overlap: %lld apart",
                       (long long)s->row_stride);
    return VW_OK;
}

/* What no plugin of this kind can do, or what contradicts itself. */
static inline vw_status check_problem(const vw_gemm_problem *p, vw_error *err)
{
    if (p->op == VW_GEMM_WGRAD && (p->max_m < 0 || p->n_weights != 1))
        return vw_fail(err, VW_E_INVALID, "wgrad is planned with one weight's shape and 0 or more "
                       "rows; not with %d and %lld", (int)p->n_weights, (long long)p->max_m);
    if (p->op == VW_GEMM_WGRAD && p->epilogue > VW_GEMM_ADD)
        return vw_fail(err, VW_E_UNSUPPORTED, "wgrad stores or adds");
    if (p->op == VW_GEMM_WGRAD)
        return check_matrix(&p->weights[0]->stored, err);
    if (p->n_weights < 1 || p->n_weights > VW_GEMM_MAX_WEIGHTS || p->max_m < 0)
        return vw_fail(err, VW_E_INVALID, "a plan for %d weights and %lld rows",
                       (int)p->n_weights, (long long)p->max_m);
    if (p->x_dtype != VW_F32 || p->y_dtype != VW_F32)
        return vw_fail(err, VW_E_UNSUPPORTED, "activations %s and results %s; only f32 is possible",
                       vw_dtype_name(p->x_dtype), vw_dtype_name(p->y_dtype));
    if (p->op == VW_GEMM_DGRAD && (p->n_weights != 1 || p->epilogue > VW_GEMM_ADD))
        return vw_fail(err, VW_E_UNSUPPORTED, "dgrad takes one weight and stores or adds");
    for (int i = 0; i < p->n_weights; i++) {
        vw_status s = check_matrix(&p->weights[i]->stored, err);
        if (s != VW_OK)
            return s;
        if (matrix_k(&p->weights[i]->stored) != matrix_k(&p->weights[0]->stored))
            return vw_fail(err, VW_E_INVALID, "weights of one plan have %lld and %lld inputs",
                           (long long)matrix_k(&p->weights[0]->stored),
                           (long long)matrix_k(&p->weights[i]->stored));
    }
    if (p->epilogue == VW_GEMM_GATED &&
        (p->n_weights != 2 ||
         matrix_n(&p->weights[0]->stored) != matrix_n(&p->weights[1]->stored)))
        return vw_fail(err, VW_E_INVALID, "a gated product needs two weights of equal shape");
    if (p->epilogue == VW_GEMM_SOFTCAP && !(p->cap > 0))
        return vw_fail(err, VW_E_INVALID, "a soft cap of %g; it must be above 0", (double)p->cap);
    return VW_OK;
}

/* What most gemms do not offer. */
static inline vw_status check_no_rounding(const vw_gemm_problem *p, vw_error *err)
{
    return p->rounding == VW_GEMM_ROUND_NONE
               ? VW_OK
               : vw_fail(err, VW_E_UNSUPPORTED, "operands are used as they are, not rounded");
}

/* Rounding of f32 weights in place, and no epilogue that is more than a sum. */
static inline vw_status check_rounding(const vw_gemm_problem *p, vw_error *err)
{
    int is_f32 = p->rounding == VW_GEMM_ROUND_NONE || p->epilogue <= VW_GEMM_ADD;
    if (p->rounding > VW_GEMM_ROUND_E4M3)
        return vw_fail(err, VW_E_UNSUPPORTED, "operands are rounded to bf16, f16 or e4m3");
    for (int i = 0; p->rounding != VW_GEMM_ROUND_NONE && i < p->n_weights; i++)
        is_f32 &= p->weights[i]->stored.dtype == VW_F32 && !p->weights[i]->pack &&
                  p->weights[i]->format == VW_GEMM_STORED;
    return is_f32 ? VW_OK
                  : vw_fail(err, VW_E_UNSUPPORTED,
                            "rounded products take f32 weights in place, and store or add");
}

/* How many results a run writes. */
static inline int n_results(const vw_gemm_problem *p)
{
    return p->epilogue == VW_GEMM_GATED ? 1 : p->n_weights;
}

static inline int is_same_weight_kind(const vw_gemm_weight *a, const vw_gemm_weight *b)
{
    const vw_matrix *s = &a->stored, *t = &b->stored;
    return s->dtype == t->dtype && s->layout == t->layout && s->rows == t->rows &&
           s->cols == t->cols && s->format == t->format && s->scales.rows == t->scales.rows &&
           s->scales.cols == t->scales.cols && a->format == b->format && !a->pack == !b->pack &&
           a->layout == b->layout;
}

static inline int is_rows_f32(const vw_tensor *t, int64_t rows, int64_t cols)
{
    return t->dtype == VW_F32 && t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols &&
           (cols <= 1 || t->stride[1] == 1) && (rows <= 1 || t->stride[0] >= cols);
}

/* x, weights and y against the plan; m receives the rows. */
static inline vw_status check_run(const vw_gemm_plan *plan, const vw_gemm_weight *const *planned,
                                  const vw_tensor *x, const vw_gemm_weight *const *weights,
                                  const vw_tensor *y, int64_t *m, vw_error *err)
{
    const vw_gemm_problem *p = &plan->problem;
    const vw_matrix *first = &planned[0]->stored;
    int64_t k = p->op == VW_GEMM_DGRAD ? matrix_n(first) : matrix_k(first);
    *m = x->shape[0];
    if (!is_rows_f32(x, *m, k) || *m < 0 || *m > p->max_m)
        return vw_fail(err, VW_E_INVALID, "activations [%lld, %lld]; the plan is for [<= %lld, %lld]",
                       (long long)x->shape[0], (long long)x->shape[1], (long long)p->max_m,
                       (long long)k);
    for (int i = 0; i < p->n_weights; i++)
        if (!is_same_weight_kind(weights[i], planned[i]))
            return vw_fail(err, VW_E_INVALID, "weight %d is not of the plan's shape and format", i);
    for (int i = 0; i < n_results(p); i++) {
        int64_t n = p->op == VW_GEMM_DGRAD ? matrix_k(first) : matrix_n(&planned[i]->stored);
        if (!is_rows_f32(&y[i], *m, n))
            return vw_fail(err, VW_E_INVALID, "result %d is [%lld, %lld]; it must be [%lld, %lld]",
                           i, (long long)y[i].shape[0], (long long)y[i].shape[1], (long long)*m,
                           (long long)n);
    }
    return VW_OK;
}

/* dY, X and n_dw gradients of weights against the plan. */
static inline vw_status check_wgrad(const vw_gemm_problem *p, const vw_tensor *dy,
                                    const vw_tensor *x, const vw_tensor *dw, int64_t n_dw,
                                    vw_error *err)
{
    int64_t m = x->shape[0], n, k;
    if (p->op != VW_GEMM_WGRAD)
        return vw_fail(err, VW_E_INVALID, "wgrad with a plan for another product");
    n = matrix_n(&p->weights[0]->stored);
    k = matrix_k(&p->weights[0]->stored);
    if (m > p->max_m || !is_rows_f32(dy, m, n) || !is_rows_f32(x, m, k))
        return vw_fail(err, VW_E_INVALID, "wgrad of shapes that are not the plan's");
    for (int64_t i = 0; i < n_dw; i++)
        if (!is_rows_f32(&dw[i], n, k))
            return vw_fail(err, VW_E_INVALID,
                           "weight gradient %lld is [%lld, %lld]; it must be [%lld, %lld]",
                           (long long)i, (long long)dw[i].shape[0], (long long)dw[i].shape[1],
                           (long long)n, (long long)k);
    return VW_OK;
}

/* run() may outlive the problem's weight descriptions, so a plan keeps copies and points at them. */
typedef struct plan_weights {
    vw_gemm_weight copy[VW_GEMM_MAX_WEIGHTS];
    const vw_gemm_weight *list[VW_GEMM_MAX_WEIGHTS];
} plan_weights;

static inline void keep_weights(plan_weights *kept, vw_gemm_plan *plan, const vw_gemm_problem *p)
{
    plan->problem = *p;
    for (int i = 0; i < p->n_weights && i < VW_GEMM_MAX_WEIGHTS; i++) {
        kept->copy[i] = *p->weights[i];
        kept->list[i] = &kept->copy[i];
        plan->problem.weights[i] = &kept->copy[i];
    }
}

#endif
