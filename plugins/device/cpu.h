/* cpu.h - what the parts of device/cpu share: the instance, and how work is split over threads. */
#ifndef PLUGINS_DEVICE_CPU_H
#define PLUGINS_DEVICE_CPU_H

#include "kernels/cpu/pointwise.h"

#include <vishwamai/device.h>

typedef struct cpu_device {
    const vw_host *host;
    vw_cpu_isa isa;
    const vw_pointwise *pw;
} cpu_device;

/* Units [from, to) of an operation. */
typedef void (*cpu_units_fn)(const void *arg, int64_t from, int64_t to);

/* Run units 0 .. n_units - 1, each of `unit_values` values.  Small work stays in this thread: a
 * token's row costs less than waking another one.  The result must not depend on the cut. */
void cpu_split(const cpu_device *dev, int64_t n_units, int64_t unit_values, cpu_units_fn fn,
               const void *arg);

/* Parts that cpu_split would use. */
int cpu_split_parts(const cpu_device *dev, int64_t n_units, int64_t unit_values);

/* VW_OK if t is a matrix of that dtype with its values side by side and at least `rows` x `cols`
 * (exactly, where not negative); words the error with the operation's and the tensor's name. */
vw_status cpu_check(const char *op, const char *name, const vw_tensor *t, vw_dtype dtype,
                    int64_t rows, int64_t cols, vw_error *err);

static inline float *cpu_row(const vw_tensor *t, int64_t row)
{
    return (float *)t->data + row * t->stride[0];
}

/* cpu_pointwise.c */
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

#endif
