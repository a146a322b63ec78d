/* trainee_params.c - masters and gradients: where they lie, and their first values.
 *
 * Values are one stretch of memory and gradients another: first what is trained, in one order in
 * both, then masters that no gradient moves.  Each parameter begins at a multiple of 64 bytes.  A
 * matrix that an adapter freezes stays as the file stores it, unless the products round their
 * inputs and so want f32.
 */
#include "core/trainee.h"

#include <math.h>
#include <string.h>

enum { UNIT = 16, CHUNK = 1 << 16, INVENTED = 4096 };

static size_t values_of(const vw_param_spec *s)
{
    return (size_t)(s->rows ? s->rows : 1) * (size_t)s->cols;
}

static size_t padded(const vw_param_spec *s)
{
    return (values_of(s) + UNIT - 1) / UNIT * UNIT;
}

/* ---- the list -------------------------------------------------------------------------------- */

static vw_status describe_fresh(vw_engine *e, vw_error *err)
{
    vw_status st = vw_params_new(e, err);
    e->prefix = e->info->prefixes ? *e->info->prefixes : NULL;
    for (size_t i = 0; i < e->info->n_params && !st; i++) {
        e->params[i].spec = &e->info->params[i];
        if (!e->info->params[i].is_optional)
            e->param_list[i] = &e->params[i];
    }
    return st;
}

vw_status vw_trainee_list_params(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    vw_status st = t->is_fresh ? describe_fresh(e, err) : VW_OK;
    if (st)
        return st;
    /* With adapters of all, and a projection a layer. */
    size_t room = 3 * e->info->n_params + 2 + (size_t)e->info->n_layers;
    t->params = vw_core_alloc(t->core, room * sizeof *t->params);
    t->names = vw_core_alloc(t->core, (e->info->n_params + 1) * sizeof *t->names);
    if (!t->params || !t->names)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of parameters");
    for (size_t i = 0; i < e->info->n_params; i++)
        if (e->param_list[i]) {
            vw_param_name(e, &e->info->params[i], t->names[t->n_params], sizeof *t->names);
            t->params[t->n_params++] = e->param_list[i];
            t->parameters += values_of(e->param_list[i]->spec);
        }
    return VW_OK;
}

/* ---- where they lie -------------------------------------------------------------------------- */

/* Is it an adapter's, or a projection, and not the model's own? */
static bool is_added(const vw_trainee *t, const vw_param *p)
{
    const adapter_list *a = &t->engine->adapters;
    return (a->params && p >= a->params && p < a->params + 2 * a->n) ||
           (t->projections && p >= t->projections && p < t->projections + t->n_projections);
}

const char *vw_trainee_name(const vw_trainee *t, size_t i)
{
    return is_added(t, t->params[i]) ? t->params[i]->spec->name : t->names[i];
}

static bool is_trained(const vw_trainee *t, const vw_param *p)
{
    if (t->options.is_frozen || p->spec->is_steered)
        return false;
    return !vw_lora_is_on(t) || is_added(t, p);
}

static bool has_master(const vw_trainee *t, const vw_param *p)
{
    return t->is_fresh || is_trained(t, p) || is_added(t, p) || p->spec->is_steered ||
           (p->spec->rows && t->options.precision != VW_PRECISION_F32);
}

/* The gemm must run f32 in place: a master that changes cannot be packed. */
static vw_status check_in_place(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    vw_matrix m = {.dtype = VW_F32, .rows = 256, .cols = 256, .row_stride = 256};
    size_t bytes;
    uint32_t layout;
    vw_status st = e->mm->pack_size(e->gemm->self, &m, VW_GEMM_STORED, &bytes, &layout, err);
    if (!st && bytes)
        st = vw_fail(err, VW_E_CONFIG,
                     "gemm/%s packs its weights, which a model that changes cannot "
                     "have; take another [gemm] plugin, or its option that packs off",
                     e->gemm->plugin->name);
    return st;
}

static void point(const vw_trainee *t, vw_param *p, float *values, float *gradient)
{
    const vw_param_spec *s = p->spec;
    (void)t;
    p->gradient = gradient;
    p->values = values;
    p->bytes = values_of(s) * sizeof(float);
    if (!s->rows) {
        p->vector = values;
        return;
    }
    p->weight = (vw_gemm_weight){.stored = {.data = values,
                                            .dtype = VW_F32,
                                            .layout = VW_OUT_IN,
                                            .rows = s->rows,
                                            .cols = s->cols,
                                            .row_stride = s->cols}};
}

static vw_status take_memory(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    for (size_t i = 0; i < t->n_params; i++) {
        const vw_param *p = t->params[i];
        t->n_trained += is_trained(t, p) ? padded(p->spec) : 0;
        t->n_values += has_master(t, p) ? padded(p->spec) : 0;
    }
    if (t->is_estimate)
        return VW_OK;
    vw_status st = e->dev->alloc(dev, (t->n_values + UNIT) * sizeof(float), &t->values, err);
    if (!st)
        st = e->dev->alloc(dev, (t->n_trained + UNIT) * sizeof(float), &t->gradients, err);
    return st ? vw_fail_in(err, st, "masters and gradients of %llu values",
                           (unsigned long long)t->n_values)
              : VW_OK;
}

/* A stored matrix that gets a master is copied, dequantised, and its bytes let go. */
static vw_status adopt(vw_trainee *t, vw_param *p, float *to, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    if (t->is_fresh || t->is_estimate || is_added(t, p))
        return VW_OK;
    if (!p->spec->rows)
        return e->dev->copy(dev, e->stream, to, p->vector, values_of(p->spec) * sizeof(float), err);
    return vw_param_dequantise(e, p, to, err);
}

static void let_go(vw_trainee *t, vw_param *p)
{
    vw_engine *e = t->engine;
    if (t->is_fresh || is_added(t, p))
        return;
    e->dev->synchronize(e->device->self, e->stream, NULL);
    e->dev->free(e->device->self, &p->buffer);
    e->dev->free(e->device->self, &p->scales);
}

vw_status vw_trainee_lay_out(vw_trainee *t, vw_error *err)
{
    vw_status st = check_in_place(t, err);
    if (!st)
        st = take_memory(t, err);
    float *trained = t->is_estimate ? (float *)INVENTED : t->values.data;
    float *gradient = t->is_estimate ? (float *)INVENTED : t->gradients.data;
    float *other = trained + t->n_trained;
    for (size_t i = 0; i < t->n_params && !st; i++) {
        vw_param *p = t->params[i];
        bool learns = is_trained(t, p);
        float **next = learns ? &trained : &other;
        if (!has_master(t, p))
            continue;
        st = adopt(t, p, *next, err);
        let_go(t, p);
        point(t, p, *next, learns ? gradient : NULL);
        *next += padded(p->spec);
        gradient += learns ? padded(p->spec) : 0;
    }
    return st;
}

void vw_trainee_free_params(vw_trainee *t)
{
    vw_engine *e = t->engine;
    e->dev->free(e->device->self, &t->values);
    e->dev->free(e->device->self, &t->gradients);
    vw_core_release(t->core, t->names);
    vw_core_release(t->core, t->params);
}

/* ---- first values ---------------------------------------------------------------------------- */

/* splitmix64's finaliser: a number for each place. */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static double uniform(uint64_t x)
{
    return ((double)(x >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller 1958: two of them from two uniform ones. */
void vw_normal_values(uint64_t seed, uint64_t stream, double std, float *to, size_t n)
{
    uint64_t key = mix(seed ^ mix(stream));
    for (size_t i = 0; i < n; i += 2) {
        double r = std * sqrt(-2 * log(uniform(mix(key + i))));
        double angle = 6.283185307179586 * uniform(mix(key + i + 1));
        to[i] = (float)(r * cos(angle));
        if (i + 1 < n)
            to[i + 1] = (float)(r * sin(angle));
    }
}

typedef struct first_values {
    const vw_param_spec *spec;
    uint64_t seed, param;
    float *to;
    size_t n;
} first_values;

static void fill_part(void *arg, int part, int n_parts)
{
    const first_values *v = arg;
    size_t first = (size_t)part * CHUNK, n = v->n - first < CHUNK ? v->n - first : CHUNK;
    (void)n_parts;
    if (v->spec->init == VW_INIT_NORMAL)
        vw_normal_values(v->seed, v->param << 32 | (uint64_t)part, v->spec->init_std, v->to + first,
                         n);
    for (size_t i = 0; i < n && v->spec->init != VW_INIT_NORMAL; i++)
        v->to[first + i] = v->spec->init == VW_INIT_ONES ? 1.0f : 0.0f;
}

/* Through the host, since a device has no random numbers of this kind. */
static vw_status fill_param(vw_trainee *t, size_t i, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    vw_param *p = t->params[i];
    bool is_visible = e->device_info.flags & VW_DEVICE_HOST_VISIBLE;
    size_t n = values_of(p->spec);
    float *host = is_visible ? p->values : vw_core_alloc(t->core, n * sizeof *host);
    if (!host)
        return vw_fail(err, VW_E_NOMEM, "no memory for the first values of %s", p->spec->name);
    first_values v = {p->spec, t->options.seed, i, host, n};
    vw_core_parallel_for(t->core, (int)((n + CHUNK - 1) / CHUNK), fill_part, &v);
    if (is_visible)
        return VW_OK;
    vw_status st = e->dev->upload(dev, e->stream, p->values, host, n * sizeof *host, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    vw_core_release(t->core, host);
    return st;
}

vw_status vw_trainee_fill(vw_trainee *t, vw_error *err)
{
    vw_status st = VW_OK;
    for (size_t i = 0; i < t->n_params && !st; i++)
        if (t->is_fresh || is_added(t, t->params[i]))
            st = fill_param(t, i, err);
    if (!st && vw_lora_is_on(t) && t->options.lora.adapter)
        st = vw_trainee_load(t, t->options.lora.adapter, err);
    if (!st)
        st = vw_trainee_rescale(t, err);
    return st ? st : t->engine->dev->synchronize(t->engine->device->self, t->engine->stream, err);
}
