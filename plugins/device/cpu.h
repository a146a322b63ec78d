/* cpu.h - what the parts of device/cpu share: the instance, and how work is split over threads. */
#ifndef PLUGINS_DEVICE_CPU_H
#define PLUGINS_DEVICE_CPU_H

#include "kernels/cpu/gradient.h"
#include "plugins/device/checks.h"

#include <vishwamai/device.h>

typedef struct cpu_device {
    const vw_host *host;
    vw_cpu_isa isa;
    const vw_pointwise *pw;
    const vw_gradients *grads;
} cpu_device;

/* Units [from, to) of an operation. */
typedef void (*cpu_units_fn)(const void *arg, int64_t from, int64_t to);

/* Run units 0 .. n_units - 1, each of `unit_values` values.  Small work stays in this thread: a
 * token's row costs less than waking another one.  The result must not depend on the cut. */
void cpu_split(const cpu_device *dev, int64_t n_units, int64_t unit_values, cpu_units_fn fn,
               const void *arg);

/* Parts that cpu_split would use. */
int cpu_split_parts(const cpu_device *dev, int64_t n_units, int64_t unit_values);

static inline float *cpu_row(const vw_tensor *t, int64_t row)
{
    return (float *)t->data + row * t->stride[0];
}

/* cpu_pointwise.c */
vw_status cpu_check_rope(const char *op, const vw_tensor *x, const vw_rope_desc *r,
                         vw_pointwise_rope *rope, vw_error *err);
vw_status cpu_rms_norm(void *self, vw_stream *s, vw_tensor x, vw_tensor residual, vw_tensor w,
                       float w_offset, float eps, vw_tensor y, vw_error *err);
vw_status cpu_rope(void *self, vw_stream *s, vw_tensor x, const int32_t *positions,
                   const vw_rope_desc *rope, vw_error *err);
vw_status cpu_activate(void *self, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor y,
                       vw_error *err);
vw_status cpu_gate(void *self, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up,
                   vw_tensor y, vw_error *err);
vw_status cpu_axpby(void *self, vw_stream *s, float a, vw_tensor x, float b, vw_tensor y,
                    vw_error *err);
vw_status cpu_softcap(void *self, vw_stream *s, float cap, vw_tensor x, vw_error *err);
vw_status cpu_softmax(void *self, vw_stream *s, vw_tensor x, vw_error *err);

/* cpu_rows.c */
vw_status cpu_gather(void *self, vw_stream *s, vw_tensor x, const int32_t *rows, vw_tensor y,
                     vw_error *err);
vw_status cpu_scatter_add(void *self, vw_stream *s, vw_tensor x, const int32_t *rows,
                          const float *weight, vw_tensor y, vw_error *err);
vw_status cpu_top_k(void *self, vw_stream *s, vw_tensor x, int32_t k, vw_tensor values,
                    vw_tensor indices, vw_error *err);
vw_status cpu_convert(void *self, vw_stream *s, vw_tensor x, vw_tensor y, vw_tensor scales,
                      vw_error *err);
size_t cpu_sample_bytes(void *self, int64_t tokens, int64_t vocabulary);
vw_status cpu_sample(void *self, vw_stream *s, vw_tensor logits, const vw_sample_desc *desc,
                     int32_t *token, float *logprob, void *workspace, vw_error *err);

/* cpu_backward.c */
vw_status cpu_rope_backward(void *self, vw_stream *s, vw_tensor d_x, const int32_t *positions,
                            const vw_rope_desc *rope, vw_error *err);
vw_status cpu_activate_backward(void *self, vw_stream *s, vw_activation act, vw_tensor x,
                                vw_tensor d_y, vw_tensor d_x, int32_t is_added, vw_error *err);
vw_status cpu_gate_backward(void *self, vw_stream *s, vw_activation act, vw_tensor gate,
                            vw_tensor up, vw_tensor d_y, vw_tensor d_gate, vw_tensor d_up,
                            vw_error *err);
vw_status cpu_softcap_backward(void *self, vw_stream *s, float cap, vw_tensor y, vw_tensor d_y,
                               vw_error *err);
vw_status cpu_softmax_backward(void *self, vw_stream *s, vw_tensor y, vw_tensor d_y,
                               vw_error *err);
vw_status cpu_cross_entropy(void *self, vw_stream *s, const vw_loss_desc *loss, vw_tensor logits,
                            const int32_t *labels, float *ce, float *kl, vw_error *err);
vw_status cpu_dropout(void *self, vw_stream *s, float p, uint64_t seed, uint64_t stream,
                      vw_tensor x, vw_tensor y, vw_error *err);

/* cpu_reduce.c */
size_t cpu_reduce_bytes(void *self, int64_t rows, int64_t cols);
vw_status cpu_rms_norm_backward(void *self, vw_stream *s, vw_tensor x, vw_tensor w, float w_offset,
                                float eps, vw_tensor d_y, vw_tensor d_x, int32_t is_added,
                                vw_tensor d_w, void *workspace, vw_error *err);
vw_status cpu_sum_rows(void *self, vw_stream *s, vw_tensor x, vw_tensor y, void *workspace,
                       vw_error *err);
vw_status cpu_sum_squares(void *self, vw_stream *s, vw_tensor x, double *result, void *workspace,
                          vw_error *err);

/* cpu_experts.c */
vw_status cpu_moe_route(void *self, vw_stream *s, const vw_route_desc *route, vw_tensor logits,
                        vw_tensor ids, vw_tensor weights, vw_tensor shares, float *lse,
                        vw_error *err);
vw_status cpu_moe_route_backward(void *self, vw_stream *s, const vw_route_desc *route,
                                 const vw_route_losses *losses, vw_tensor logits, vw_tensor ids,
                                 vw_tensor d_weights, vw_tensor d_logits, int32_t is_added,
                                 vw_error *err);
vw_status cpu_moe_sort(void *self, vw_stream *s, vw_tensor ids, int32_t experts, int32_t capacity,
                       int32_t *offsets, int32_t *token, int32_t *place, int64_t *load,
                       void *workspace, vw_error *err);
vw_status cpu_moe_combine(void *self, vw_stream *s, vw_tensor rows, const int32_t *place,
                          int32_t top_k, vw_tensor weights, vw_tensor y, int32_t is_added,
                          vw_error *err);
vw_status cpu_moe_combine_backward(void *self, vw_stream *s, vw_tensor rows, const int32_t *place,
                                   vw_tensor weights, vw_tensor d_y, vw_tensor d_rows,
                                   vw_tensor d_weights, vw_error *err);

/* cpu_round.c */
vw_status cpu_round_e4m3(void *self, vw_stream *s, vw_tensor x, float *record, int32_t is_recorded,
                         vw_tensor y, vw_error *err);

#endif
