/* gemm-finish.c - from sums to results: residual, activation, gate, soft cap.
 *
 * Each result is stored once.  A row's ragged end goes through a whole vector too, so that a result
 * does not depend on where in a row, or in whose part, it stands.
 */
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vmath.h"

static inline vm_f act(vw_gemm_act a, vm_f x)
{
    switch (a) {
    case VW_GEMM_ACT_GELU_TANH: {
        vm_f inner = vm_fma(x * x * x, vm_set(0.044715f), x);
        return vm_times_sigmoid(x, 1.5957691216057308f * inner);
    }
    case VW_GEMM_ACT_GELU_ERF: return x * vm_normal_cdf(x);
    case VW_GEMM_ACT_SILU: return vm_times_sigmoid(x, x);
    case VW_GEMM_ACT_RELU: return vm_select(x < 0, vm_set(0), x);
    default: return x;
    }
}

static inline vm_f finish(const vw_gemm_job *job, vm_f sum, vm_f up, vm_f old)
{
    switch (job->finish) {
    case VW_GEMM_FINISH_ADD: return old + sum;
    case VW_GEMM_FINISH_ACTIVATE: return act(job->act, sum);
    case VW_GEMM_FINISH_GATED: return act(job->act, sum) * up;
    case VW_GEMM_FINISH_SOFTCAP: return job->cap * vm_tanh(sum / job->cap);
    default: return sum;
    }
}

void VMATH_NAME(vw_gemm_finish)(const vw_gemm_job *job, const float *c, const float *up,
                                int64_t c_stride, int64_t m, int64_t n, float *y,
                                int64_t y_stride);

void VMATH_NAME(vw_gemm_finish)(const vw_gemm_job *job, const float *c, const float *up,
                                int64_t c_stride, int64_t m, int64_t n, float *y, int64_t y_stride)
{
    int is_add = job->finish == VW_GEMM_FINISH_ADD;
    for (int64_t i = 0; i < m; i++, c += c_stride, y += y_stride) {
        int64_t j = 0;
        for (; j + VMATH_LANES <= n; j += VMATH_LANES)
            vm_store(y + j, finish(job, vm_load(c + j), up ? vm_load(up + j) : vm_set(0),
                                   is_add ? vm_load(y + j) : vm_set(0)));
        if (j < n) {
            int64_t rest = n - j;
            vm_store_part(y + j,
                          finish(job, vm_load_part(c + j, rest, 0),
                                 up ? vm_load_part(up + j, rest, 0) : vm_set(0),
                                 is_add ? vm_load_part(y + j, rest, 0) : vm_set(0)),
                          rest);
        }
        up = up ? up + c_stride : NULL;
    }
}
