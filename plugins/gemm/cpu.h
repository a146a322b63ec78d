/* cpu.h - what the parts of gemm/cpu share: the instance, and products of which nothing is packed
 * ahead.
 */
#ifndef PLUGINS_GEMM_CPU_H
#define PLUGINS_GEMM_CPU_H

#include "kernels/cpu/gemm-product.h"
#include "plugins/gemm/checks.h"
#include "plugins/gemm/groups.h"

typedef struct cpu_config {
    int32_t pack, activations;
} cpu_config;

typedef struct cpu_gemm {
    const vw_host *host;
    const vw_gemm_kernels *kernels;
    cpu_config config;
} cpu_gemm;

/* cpu.c: rows [first, first + m) of x and of the results as a job of kernels/cpu/gemm.h. */
vw_gemm_job cpu_job(const cpu_gemm *g, const vw_gemm_problem *p,
                    const vw_gemm_weight *const *weights, const vw_tensor *x, const vw_tensor *y,
                    int64_t first, int64_t m, void *workspace);

/* cpu_products.c */

/* Does a product of m rows of this problem have both its sides packed on the way? */
int cpu_is_product(const vw_gemm_problem *p, int64_t m);

/* Workspace for them. */
size_t cpu_product_bytes(const cpu_gemm *g, const vw_gemm_problem *p);

/* x and y are as run()'s, checked; the walk is at its beginning. */
void cpu_run_product(const cpu_gemm *g, const vw_gemm_problem *p, const vw_tensor *x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace);
void cpu_run_groups(const cpu_gemm *g, const vw_gemm_problem *p, group_walk walk,
                    const vw_gemm_weight *const *weights, void *workspace);

vw_status cpu_run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                        vw_tensor x, vw_tensor dw, void *workspace, vw_error *err);
vw_status cpu_run_grouped_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                                vw_tensor x, const vw_groups *groups, const vw_tensor *dw,
                                void *workspace, vw_error *err);

#endif
