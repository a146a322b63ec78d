/* groups.h - a grouped product as a walk over runs of rows, each of one group.
 *
 * The three forms of vw_groups differ only in how the runs are found.  Everything is checked before
 * the first run is handed out, so that a bad array leaves the results as they were.
 */
#ifndef PLUGINS_GEMM_GROUPS_H
#define PLUGINS_GEMM_GROUPS_H

#include "plugins/gemm/checks.h"

typedef struct group_walk {
    const vw_groups *groups;
    int64_t n_rows, rows_a_group; /* of x; rows_a_group only masked */
    vw_tensor x, y[VW_GEMM_MAX_WEIGHTS]; /* flattened to two dimensions */
    int64_t next;
    /* the run that group_walk_next found */
    int32_t group; /* -1: rows of no group */
    int64_t first, m;
} group_walk;

/* [G, max_m, D] as [G * max_m, D]; 0 if the groups' rows do not lie evenly. */
static inline int flatten(vw_tensor *t)
{
    if (t->n_dims == 2)
        return 1;
    if (t->n_dims != 3 || (t->shape[0] > 1 && t->stride[0] != t->shape[1] * t->stride[1]))
        return 0;
    *t = (vw_tensor){t->data, t->dtype, 2, {t->shape[0] * t->shape[1], t->shape[2], 1, 1},
                     {t->stride[1], t->stride[2], 1, 1}};
    return 1;
}

static inline vw_status check_group_rows(const group_walk *w, int64_t max_m, vw_error *err)
{
    const vw_groups *g = w->groups;
    int64_t last = 0;
    for (int64_t i = 0; g->form == VW_GROUP_ROW_IDS && i < w->n_rows; i++)
        if (g->rows[i] < -1 || g->rows[i] >= g->n_groups)
            return vw_fail(err, VW_E_INVALID, "row %lld belongs to group %d of %d", (long long)i,
                           (int)g->rows[i], (int)g->n_groups);
    for (int32_t i = 0; g->form == VW_GROUP_OFFSETS && i <= g->n_groups; i++) {
        if (g->rows[i] < last || g->rows[i] > w->n_rows)
            return vw_fail(err, VW_E_INVALID, "group %d ends at row %d of %lld, after %lld", (int)i,
                           (int)g->rows[i], (long long)w->n_rows, (long long)last);
        last = g->rows[i];
    }
    for (int32_t i = 0; g->form == VW_GROUP_MASKED && i < g->n_groups; i++)
        if (g->rows[i] < 0 || g->rows[i] > w->rows_a_group || g->rows[i] > max_m)
            return vw_fail(err, VW_E_INVALID, "group %d has %d rows of %lld", (int)i,
                           (int)g->rows[i], (long long)w->rows_a_group);
    return VW_OK;
}

static inline vw_status check_group_weights(const vw_gemm_problem *p,
                                            const vw_gemm_weight *const *weights,
                                            int32_t n_groups, vw_error *err)
{
    for (int32_t i = 0; i < n_groups * p->n_weights; i++)
        if (!is_same_weight_kind(weights[i], p->weights[i % p->n_weights]))
            return vw_fail(err, VW_E_INVALID,
                           "weight %d of group %d is not of the plan's shape and format",
                           (int)(i % p->n_weights), (int)(i / p->n_weights));
    return VW_OK;
}

/* Everything but the array of rows, which a gemm on another device cannot read. */
static inline vw_status group_walk_check(group_walk *w, const vw_gemm_plan *plan,
                                         const vw_gemm_weight *const *weights,
                                         const vw_groups *groups, const vw_tensor *x,
                                         const vw_tensor *y, vw_error *err)
{
    const vw_gemm_problem *p = &plan->problem;
    memset(w, 0, sizeof *w);
    w->groups = groups;
    w->x = *x;
    if (p->op == VW_GEMM_WGRAD || groups->n_groups < 0 || !flatten(&w->x))
        return vw_fail(err, VW_E_INVALID, "a grouped product is forward or dgrad, of even rows");
    w->n_rows = w->x.shape[0];
    if (!is_rows_f32(&w->x, w->n_rows, matrix_source(&p->weights[0]->stored, p->op).k))
        return vw_fail(err, VW_E_INVALID, "grouped activations are not of the plan's width");
    for (int i = 0; i < n_results(p); i++) {
        w->y[i] = y[i];
        if (!flatten(&w->y[i]) ||
            !is_rows_f32(&w->y[i], w->n_rows, matrix_source(&p->weights[i]->stored, p->op).n))
            return vw_fail(err, VW_E_INVALID, "grouped result %d is not of the plan's shape", i);
    }
    if (groups->form == VW_GROUP_MASKED && groups->n_groups > 0)
        w->rows_a_group = w->n_rows / groups->n_groups;
    else if (w->n_rows > p->max_m)
        return vw_fail(err, VW_E_INVALID, "%lld rows; the plan is for %lld", (long long)w->n_rows,
                       (long long)p->max_m);
    return check_group_weights(p, weights, groups->n_groups, err);
}

static inline vw_status group_walk_begin(group_walk *w, const vw_gemm_plan *plan,
                                         const vw_gemm_weight *const *weights,
                                         const vw_groups *groups, const vw_tensor *x,
                                         const vw_tensor *y, vw_error *err)
{
    vw_status s = group_walk_check(w, plan, weights, groups, x, y, err);
    return s != VW_OK ? s : check_group_rows(w, plan->problem.max_m, err);
}

/* Step to the next run that has rows; 0 when there is none. */
static inline int group_walk_next(group_walk *w)
{
    const vw_groups *g = w->groups;
    if (g->form == VW_GROUP_ROW_IDS) {
        if (w->next >= w->n_rows)
            return 0;
        w->first = w->next;
        w->group = g->rows[w->first];
        while (w->next < w->n_rows && g->rows[w->next] == w->group)
            w->next++;
        w->m = w->next - w->first;
        return 1;
    }
    while (w->next < g->n_groups) {
        int32_t i = (int32_t)w->next++;
        w->group = i;
        w->first = g->form == VW_GROUP_OFFSETS ? g->rows[i] : i * w->rows_a_group;
        w->m = g->form == VW_GROUP_OFFSETS ? g->rows[i + 1] - g->rows[i] : g->rows[i];
        if (w->m > 0)
            return 1;
    }
    return 0;
}

/* The rows of the walk's run belong to no group: zeros, which an ADD adds. */
static inline void clear_group_rows(const group_walk *w, const vw_gemm_problem *p)
{
    for (int i = 0; i < n_results(p) && p->epilogue != VW_GEMM_ADD; i++)
        for (int64_t r = w->first; r < w->first + w->m; r++)
            memset((float *)w->y[i].data + r * w->y[i].stride[0], 0,
                   (size_t)w->y[i].shape[1] * sizeof(float));
}

/* Of weight gradients: the tensors, then the offsets. */
static inline vw_status check_grouped_wgrad(const vw_gemm_problem *p, const vw_groups *groups,
                                            const vw_tensor *dy, const vw_tensor *x,
                                            const vw_tensor *dw, vw_error *err)
{
    group_walk all = {.groups = groups, .n_rows = x->shape[0]};
    vw_status s = check_wgrad(p, dy, x, dw, groups->n_groups, err);
    if (s == VW_OK && groups->form != VW_GROUP_OFFSETS)
        return vw_fail(err, VW_E_UNSUPPORTED, "weight gradients of groups that are not offsets");
    return s != VW_OK ? s : check_group_rows(&all, p->max_m, err);
}

#endif
