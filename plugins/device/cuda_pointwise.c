/* cuda_pointwise.c - norms, rope, softmax and the elementwise operations of device/cuda.
 *
 * Each operation checks its tensors, fills the kernel's struct and queues one launch.
 */
#include "plugins/device/cuda.h"

_Static_assert((int)VW_ACT_GELU_TANH == 1 && (int)VW_ACT_GELU_ERF == 2 && (int)VW_ACT_SILU == 3 &&
                   (int)VW_ACT_RELU == 4,
               "vw_gate numbers the activations as device.h does");

/* Does every row begin at a multiple of 16 bytes?  NULL does. */
static int is_wide(const vw_tensor *t)
{
    return (uintptr_t)t->data % 16 == 0 && (t->shape[0] < 2 || t->stride[0] % 4 == 0);
}

/* ---- row by row ----------------------------------------------------------------------------- */

vw_status cuda_rms_norm(void *self, vw_stream *s, vw_tensor x, vw_tensor residual, vw_tensor w,
                        float w_offset, float eps, vw_tensor y, vw_error *err)
{
    int64_t rows = x.shape[0], n = x.shape[1];
    vw_status st = device_check("rms_norm", "x", &x, VW_F32, -1, -1, err);
    if (!st)
        st = device_check("rms_norm", "y", &y, VW_F32, rows, n, err);
    if (!st && residual.data)
        st = device_check("rms_norm", "residual", &residual, VW_F32, rows, n, err);
    if (st)
        return st;
    if (w.data && (w.dtype != VW_F32 || vw_tensor_bytes(&w) != (size_t)n * sizeof(float)))
        return vw_fail(err, VW_E_INVALID, "rms_norm: w must be f32 [%lld], as wide as x",
                       (long long)n);
    vw_rms_norm_args args = {
        .x = x.data,
        .residual = residual.data,
        .w = w.data,
        .y = y.data,
        .cols = n,
        .x_stride = x.stride[0],
        .residual_stride = residual.stride[0],
        .y_stride = y.stride[0],
        .w_offset = w_offset,
        .eps = eps,
        .is_wide = n % 4 == 0 && is_wide(&x) && is_wide(&y) && (uintptr_t)w.data % 16 == 0 &&
                   (!residual.data || is_wide(&residual)),
    };
    return cuda_launch(self, s, CUDA_RMS_NORM, n ? rows : 0, cuda_threads(n), &args, sizeof args,
                       "rms_norm", err);
}

vw_status cuda_softmax(void *self, vw_stream *s, vw_tensor x, vw_error *err)
{
    vw_status st = device_check("softmax", "x", &x, VW_F32, -1, -1, err);
    if (st)
        return st;
    vw_softmax_args args = {x.data, x.shape[1], x.stride[0]};
    return cuda_launch(self, s, CUDA_SOFTMAX, x.shape[1] ? x.shape[0] : 0, cuda_threads(x.shape[1]),
                       &args, sizeof args, "softmax", err);
}

vw_status cuda_rope(void *self, vw_stream *s, vw_tensor x, const int32_t *positions,
                    const vw_rope_desc *r, vw_error *err)
{
    if (r->dims < 0 || r->dims % 2 || r->first < 0 || r->first + r->dims > r->head_dim)
        return vw_fail(err, VW_E_INVALID, "rope: values %d to %d of a head of %d are no even part",
                       r->first, r->first + r->dims, r->head_dim);
    vw_status st = device_check("rope", "x", &x, VW_F32, -1, (int64_t)r->heads * r->head_dim, err);
    if (st)
        return st;
    uint32_t chunks = ((uint32_t)r->dims / 2 + VW_TURN_PAIRS - 1) / VW_TURN_PAIRS;
    vw_rope_args args = {
        .x = x.data,
        .positions = positions,
        .inv_freq = r->inv_freq,
        .stride = x.stride[0],
        .heads = r->heads,
        .head_dim = r->head_dim,
        .first = r->first,
        .dims = r->dims,
        .is_pairs = r->pairing == VW_ROPE_PAIRS,
        .chunks = chunks,
        .scale = r->scale,
    };
    return cuda_launch(self, s, CUDA_ROPE, x.shape[0] * chunks, VW_TURN_PAIRS, &args, sizeof args,
                       "rope", err);
}

/* ---- value by value ------------------------------------------------------------------------- */

static int is_dense(const vw_tensor *t)
{
    return !t->data || t->stride[0] == t->shape[1];
}

/* Dense tensors are one long row, so that narrow rows fill their blocks. */
static vw_status run_each(cuda_device *dev, vw_stream *s, cuda_kernel kernel, vw_each_args *args,
                          vw_tensor x, vw_tensor up, vw_tensor y, const char *what, vw_error *err)
{
    int64_t rows = x.shape[0], cols = x.shape[1];
    args->is_wide = is_wide(&x) && (!up.data || is_wide(&up)) && is_wide(&y);
    if (is_dense(&x) && is_dense(&up) && is_dense(&y) && rows > 0) {
        cols *= rows;
        rows = 1;
        args->is_wide = !(((uintptr_t)x.data | (uintptr_t)up.data | (uintptr_t)y.data) % 16);
    }
    if (cols / VW_CHUNK >= INT32_MAX)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: %lld values are too many for one launch", what,
                       (long long)cols);
    args->x = x.data, args->up = up.data, args->y = y.data;
    args->x_stride = x.stride[0], args->up_stride = up.stride[0], args->y_stride = y.stride[0];
    args->cols = cols;
    args->chunks = cuda_chunks(cols);
    return cuda_launch(dev, s, kernel, rows * args->chunks, VW_CHUNK_THREADS, args, sizeof *args,
                       what, err);
}

static const vw_tensor no_tensor;

vw_status cuda_gate(void *self, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up,
                    vw_tensor y, vw_error *err)
{
    vw_each_args args = {.act = (int32_t)act};
    if ((unsigned)act > VW_ACT_RELU)
        return vw_fail(err, VW_E_UNSUPPORTED, "gate: activation %d is not known", (int)act);
    vw_status st = device_check("gate", "gate", &gate, VW_F32, -1, -1, err);
    if (!st && up.data)
        st = device_check("gate", "up", &up, VW_F32, gate.shape[0], gate.shape[1], err);
    if (!st)
        st = device_check("gate", "y", &y, VW_F32, gate.shape[0], gate.shape[1], err);
    return st ? st : run_each(self, s, CUDA_GATE, &args, gate, up, y, "gate", err);
}

vw_status cuda_activate(void *self, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor y,
                        vw_error *err)
{
    return cuda_gate(self, s, act, x, no_tensor, y, err);
}

/* With b = 0 the old y is not read, whatever it holds. */
vw_status cuda_axpby(void *self, vw_stream *s, float a, vw_tensor x, float b, vw_tensor y,
                     vw_error *err)
{
    vw_each_args args = {.a = a, .b = b};
    vw_status st = device_check("axpby", "x", &x, VW_F32, -1, -1, err);
    if (!st)
        st = device_check("axpby", "y", &y, VW_F32, x.shape[0], x.shape[1], err);
    if (st)
        return st;
    vw_tensor old = y;
    if (!(b < 0 || b > 0 || b != b))
        old = no_tensor;
    return run_each(self, s, CUDA_AXPBY, &args, x, old, y, "axpby", err);
}

vw_status cuda_softcap(void *self, vw_stream *s, float cap, vw_tensor x, vw_error *err)
{
    vw_each_args args = {.a = cap};
    if (!(cap > 0))
        return vw_fail(err, VW_E_INVALID, "softcap: the cap must be above 0, not %g", (double)cap);
    vw_status st = device_check("softcap", "x", &x, VW_F32, -1, -1, err);
    return st ? st : run_each(self, s, CUDA_SOFTCAP, &args, x, no_tensor, x, "softcap", err);
}
