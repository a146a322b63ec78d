/* cpu_round.c - a whole tensor of device/cpu in e4m3 with one scale: delayed scaling.
 *
 * The largest magnitude is found first and by itself; a maximum does not depend on the order, so
 * the bits do not depend on the threads.
 */
#include "plugins/device/cpu.h"

#include "kernels/ref/quant.h"

#include <stdatomic.h>

typedef struct round_job {
    vw_tensor x, y;
    float scale;
    atomic_uint *most; /* bits of the largest magnitude, which are ordered like the values */
} round_job;

static void amax_units(const void *arg, int64_t from, int64_t to)
{
    const round_job *job = arg;
    for (int64_t t = from; t < to; t++) {
        unsigned amax = vw_f32_bits(vw_ref_amax(cpu_row(&job->x, t), job->x.shape[1]));
        unsigned old = atomic_load(job->most);
        while (old < amax && !atomic_compare_exchange_weak(job->most, &old, amax))
            continue;
    }
}

static void round_units(const void *arg, int64_t from, int64_t to)
{
    const round_job *job = arg;
    int64_t n = job->x.shape[1];
    for (int64_t t = from; t < to; t++) {
        float *y = cpu_row(&job->y, t);
        if (y != cpu_row(&job->x, t))
            memcpy(y, cpu_row(&job->x, t), (size_t)n * sizeof *y);
        vw_ref_round_e4m3(y, n, job->scale);
    }
}

vw_status cpu_round_e4m3(void *self, vw_stream *s, vw_tensor x, float *record, int32_t is_recorded,
                         vw_tensor y, vw_error *err)
{
    const cpu_device *dev = self;
    atomic_uint most = 0;
    round_job job = {.x = x, .y = y, .most = &most};
    (void)s;
    vw_status st = device_check("round_e4m3", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("round_e4m3", "y", &y, VW_F32, x.shape[0], x.shape[1], err);
    if (st != VW_OK)
        return st;
    cpu_split(dev, x.shape[0], x.shape[1], amax_units, &job);
    float amax = vw_bits_f32(atomic_load(&most));
    job.scale = record[0] > 0 ? record[0] : vw_ref_e4m3_scale(amax);
    cpu_split(dev, x.shape[0], x.shape[1], round_units, &job);
    if (is_recorded && amax > record[1])
        record[1] = amax;
    return VW_OK;
}
