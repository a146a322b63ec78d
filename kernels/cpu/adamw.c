/* adamw.c - AdamW on vectors; compiled once for every instruction set.
 *
 * Seven streams of memory and thirty operations a value: what counts is that each array is touched
 * once.  The last, incomplete vector goes through the same operations as the others.
 */
#include "kernels/cpu/adamw.h"

#include "kernels/cpu/vmath.h"

void VMATH_NAME(vw_adamw)(const vw_adamw_step *step, int64_t n, float *p, const float *gradient,
                          float *m, float *v);

typedef struct values {
    vm_f p, m, v;
} values;

static inline values advance(const vw_adamw_step *s, values x, vm_f gradient)
{
    vm_f g = gradient * s->grad_scale;
    x.m = vm_fma(x.m, vm_set(s->beta1), g * s->rest1);
    x.v = vm_fma(x.v, vm_set(s->beta2), g * g * s->rest2);
    vm_f below = vm_fma(vm_sqrt(x.v), vm_set(s->root), vm_set(s->eps));
    x.p -= vm_fma(x.p, vm_set(s->shrink), x.m * s->rate / below);
    return x;
}

void VMATH_NAME(vw_adamw)(const vw_adamw_step *step, int64_t n, float *p, const float *gradient,
                          float *m, float *v)
{
    int64_t i = 0;
    for (; i + VMATH_LANES <= n; i += VMATH_LANES) {
        values x = {vm_load(p + i), vm_load(m + i), vm_load(v + i)};
        x = advance(step, x, vm_load(gradient + i));
        vm_store(p + i, x.p);
        vm_store(m + i, x.m);
        vm_store(v + i, x.v);
    }
    if (i == n)
        return;
    values x = {vm_load_part(p + i, n - i, 0), vm_load_part(m + i, n - i, 0),
                vm_load_part(v + i, n - i, 0)};
    x = advance(step, x, vm_load_part(gradient + i, n - i, 0));
    vm_store_part(p + i, x.p, n - i);
    vm_store_part(m + i, x.m, n - i);
    vm_store_part(v + i, x.v, n - i);
}
