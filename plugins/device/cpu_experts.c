/* cpu_experts.c - the mixture of experts of device/cpu: which experts a token takes, where its slots
 * go, and how its results come back together.
 */
#include "plugins/device/cpu.h"

/* ---- routing --------------------------------------------------------------------------------- */

typedef struct route_job {
    const cpu_device *dev;
    vw_route route;
    vw_tensor logits, ids, weights, shares, d_logits;
    float *lse;
    float balance, z;
    const float *f; /* [E] or NULL */
    int is_added;
} route_job;

static int32_t *ids_row(const vw_tensor *ids, int64_t t)
{
    return (int32_t *)ids->data + t * ids->stride[0];
}

static void route_units(const void *arg, int64_t from, int64_t to)
{
    const route_job *job = arg;
    for (int64_t t = from; t < to; t++)
        vw_route_token(job->dev->pw, job->logits.shape[1], &job->route, cpu_row(&job->logits, t),
                       ids_row(&job->ids, t), cpu_row(&job->weights, t),
                       job->shares.data ? cpu_row(&job->shares, t) : NULL,
                       job->lse ? job->lse + t : NULL);
}

static void route_back_units(const void *arg, int64_t from, int64_t to)
{
    const route_job *job = arg;
    for (int64_t t = from; t < to; t++)
        vw_route_token_backward(job->dev->pw, job->logits.shape[1], &job->route,
                                cpu_row(&job->logits, t), ids_row(&job->ids, t),
                                cpu_row(&job->weights, t), job->balance, job->f, job->z,
                                job->is_added, cpu_row(&job->d_logits, t));
}

static vw_status check_groups(const char *op, const vw_route_desc *r, int64_t experts,
                              int64_t *choosable, vw_error *err)
{
    *choosable = experts;
    if (r->n_groups <= 1)
        return VW_OK;
    int64_t size = experts / r->n_groups;
    if (experts % r->n_groups || r->top_groups < 1 || r->top_groups > r->n_groups ||
        r->group_best < 1 || r->group_best > size)
        return vw_fail(err, VW_E_INVALID,
                       "%s: %d groups of %lld experts, the best %d by their best %d, do not work out",
                       op, (int)r->n_groups, (long long)experts, (int)r->top_groups,
                       (int)r->group_best);
    *choosable = r->top_groups * size;
    return VW_OK;
}

static vw_status check_route(const char *op, const vw_route_desc *r, const vw_tensor *logits,
                             const vw_tensor *ids, const vw_tensor *weights, route_job *job,
                             vw_error *err)
{
    int64_t rows = logits->shape[0], experts = logits->shape[1], choosable;
    vw_status st = device_check(op, "logits", logits, VW_F32, -1, -1, err);
    if (st == VW_OK && experts > VW_ROUTE_MAX_EXPERTS)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: %lld experts; %d are possible", op,
                       (long long)experts, VW_ROUTE_MAX_EXPERTS);
    if (st == VW_OK)
        st = check_groups(op, r, experts, &choosable, err);
    if (st == VW_OK && (r->top_k < 1 || r->top_k > choosable))
        return vw_fail(err, VW_E_INVALID, "%s: %d experts a token of %lld to choose from", op,
                       (int)r->top_k, (long long)choosable);
    if (st == VW_OK)
        st = device_check(op, "ids", ids, VW_I32, rows, r->top_k, err);
    if (st == VW_OK)
        st = device_check(op, "weights", weights, VW_F32, rows, r->top_k, err);
    job->route = (vw_route){r->top_k,      r->is_sigmoid, r->is_normalised, r->n_groups,
                            r->top_groups, r->group_best, r->scale,         r->bias};
    return st;
}

vw_status cpu_moe_route(void *self, vw_stream *s, const vw_route_desc *route, vw_tensor logits,
                        vw_tensor ids, vw_tensor weights, vw_tensor shares, float *lse,
                        vw_error *err)
{
    route_job job = {.dev = self, .logits = logits, .ids = ids, .weights = weights,
                     .shares = shares, .lse = lse};
    (void)s;
    vw_status st = check_route("moe_route", route, &logits, &ids, &weights, &job, err);
    if (st == VW_OK && shares.data)
        st = device_check("moe_route", "shares", &shares, VW_F32, logits.shape[0], logits.shape[1],
                          err);
    if (st == VW_OK)
        cpu_split(self, logits.shape[0], 8 * logits.shape[1], route_units, &job);
    return st;
}

vw_status cpu_moe_route_backward(void *self, vw_stream *s, const vw_route_desc *route,
                                 const vw_route_losses *losses, vw_tensor logits, vw_tensor ids,
                                 vw_tensor d_weights, vw_tensor d_logits, int32_t is_added,
                                 vw_error *err)
{
    route_job job = {.dev = self, .logits = logits, .ids = ids, .weights = d_weights,
                     .d_logits = d_logits, .is_added = is_added};
    int64_t experts = logits.shape[1], slots = 0;
    float f[VW_ROUTE_MAX_EXPERTS];
    (void)s;
    vw_status st = check_route("moe_route_backward", route, &logits, &ids, &d_weights, &job, err);
    if (st == VW_OK)
        st = device_check("moe_route_backward", "d_logits", &d_logits, VW_F32, logits.shape[0],
                          experts, err);
    if (st != VW_OK)
        return st;
    if (losses)
        job.z = losses->z;
    if (losses && losses->balance != 0) {
        for (int64_t e = 0; e < experts; e++)
            slots += losses->load[e];
        for (int64_t e = 0; e < experts; e++)
            f[e] = slots > 0 ? (float)((double)losses->load[e] / (double)slots) : 0;
        job.balance = losses->balance;
        job.f = f;
    }
    cpu_split(self, logits.shape[0], 8 * experts, route_back_units, &job);
    return VW_OK;
}

/* ---- sorting --------------------------------------------------------------------------------- */

/* Counts into offsets[1 ...]; then offsets become ends that do not exceed the capacity. */
static void count_slots(const vw_tensor *ids, int32_t experts, int32_t capacity, int32_t *offsets,
                        int64_t *load)
{
    memset(offsets, 0, (size_t)(experts + 1) * sizeof *offsets);
    for (int64_t t = 0; t < ids->shape[0]; t++)
        for (int64_t j = 0; j < ids->shape[1]; j++) {
            int32_t e = ids_row(ids, t)[j];
            if (e >= 0 && e < experts)
                offsets[e + 1]++;
        }
    for (int32_t e = 0; e < experts; e++) {
        int32_t n = offsets[e + 1];
        if (load)
            load[e] += n;
        offsets[e + 1] = offsets[e] + (capacity > 0 && n > capacity ? capacity : n);
    }
}

vw_status cpu_moe_sort(void *self, vw_stream *s, vw_tensor ids, int32_t experts, int32_t capacity,
                       int32_t *offsets, int32_t *token, int32_t *place, int64_t *load,
                       void *workspace, vw_error *err)
{
    int32_t *next = workspace; /* the next free place of each expert */
    int64_t rows = ids.shape[0], k = ids.shape[1];
    (void)self, (void)s;
    vw_status st = device_check("moe_sort", "ids", &ids, VW_I32, -1, -1, err);
    if (st != VW_OK)
        return st;
    if (experts < 1 || capacity < 0 || rows * k > INT32_MAX)
        return vw_fail(err, VW_E_INVALID, "moe_sort: %d experts, capacity %d, %lld slots",
                       (int)experts, (int)capacity, (long long)(rows * k));
    count_slots(&ids, experts, capacity, offsets, load);
    memcpy(next, offsets, (size_t)experts * sizeof *next);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t j = 0; j < k; j++) {
            int32_t e = ids_row(&ids, t)[j];
            int has_room = e >= 0 && e < experts && next[e] < offsets[e + 1];
            place[t * k + j] = has_room ? next[e] : -1;
            if (has_room)
                token[next[e]++] = (int32_t)t;
        }
    for (int64_t p = offsets[experts]; p < rows * k; p++)
        token[p] = -1;
    return VW_OK;
}

/* ---- combining ------------------------------------------------------------------------------- */

typedef struct combine_job {
    const cpu_device *dev;
    vw_tensor rows, weights, y, d_rows, d_weights;
    const int32_t *place;
    int64_t k;
    int is_added;
} combine_job;

/* The row of slot j of token t, or NULL. */
static float *row_at(const combine_job *job, const vw_tensor *rows, int64_t t, int64_t j)
{
    int64_t p = job->place[t * job->k + j];
    return p >= 0 && p < rows->shape[0] ? cpu_row(rows, p) : NULL;
}

static void combine_units(const void *arg, int64_t from, int64_t to)
{
    const combine_job *job = arg;
    int64_t n = job->y.shape[1];
    for (int64_t t = from; t < to; t++) {
        float *y = cpu_row(&job->y, t);
        int is_begun = job->is_added;
        for (int64_t j = 0; j < job->k; j++) {
            const float *x = row_at(job, &job->rows, t, j);
            if (!x)
                continue;
            job->dev->pw->axpby(n, job->weights.data ? cpu_row(&job->weights, t)[j] : 1, x,
                                is_begun ? 1 : 0, y);
            is_begun = 1;
        }
        if (!is_begun)
            memset(y, 0, (size_t)n * sizeof *y);
    }
}

static void combine_back_units(const void *arg, int64_t from, int64_t to)
{
    const combine_job *job = arg;
    int64_t n = job->y.shape[1];
    for (int64_t t = from; t < to; t++)
        for (int64_t j = 0; j < job->k; j++) {
            const float *x = row_at(job, &job->rows, t, j), *d_y = cpu_row(&job->y, t);
            float *d_w = &cpu_row(&job->d_weights, t)[j];
            *d_w = x ? job->dev->grads->dot(n, d_y, x) : 0;
            if (x)
                job->dev->pw->axpby(n, cpu_row(&job->weights, t)[j], d_y, 0,
                                    row_at(job, &job->d_rows, t, j));
        }
}

vw_status cpu_moe_combine(void *self, vw_stream *s, vw_tensor rows, const int32_t *place,
                          int32_t top_k, vw_tensor weights, vw_tensor y, int32_t is_added,
                          vw_error *err)
{
    (void)s;
    vw_status st = device_check("moe_combine", "y", &y, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("moe_combine", "rows", &rows, VW_F32, -1, y.shape[1], err);
    if (st == VW_OK && weights.data)
        st = device_check("moe_combine", "weights", &weights, VW_F32, y.shape[0], top_k, err);
    if (st != VW_OK)
        return st;
    combine_job job = {.dev = self, .rows = rows, .weights = weights, .y = y, .place = place,
                       .k = top_k, .is_added = is_added};
    cpu_split(self, y.shape[0], top_k * y.shape[1], combine_units, &job);
    return VW_OK;
}

vw_status cpu_moe_combine_backward(void *self, vw_stream *s, vw_tensor rows, const int32_t *place,
                                   vw_tensor weights, vw_tensor d_y, vw_tensor d_rows,
                                   vw_tensor d_weights, vw_error *err)
{
    const char *op = "moe_combine_backward";
    int64_t n = d_y.shape[1], tokens = d_y.shape[0], k = weights.shape[1];
    (void)s;
    vw_status st = device_check(op, "d_y", &d_y, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check(op, "rows", &rows, VW_F32, -1, n, err);
    if (st == VW_OK)
        st = device_check(op, "weights", &weights, VW_F32, tokens, -1, err);
    if (st == VW_OK)
        st = device_check(op, "d_rows", &d_rows, VW_F32, rows.shape[0], n, err);
    if (st == VW_OK)
        st = device_check(op, "d_weights", &d_weights, VW_F32, tokens, k, err);
    if (st != VW_OK)
        return st;
    combine_job job = {.dev = self, .rows = rows, .weights = weights, .y = d_y, .d_rows = d_rows,
                       .d_weights = d_weights, .place = place, .k = k};
    cpu_split(self, tokens, k * n, combine_back_units, &job);
    return VW_OK;
}
