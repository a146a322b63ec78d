/* gemm-groups.c - grouped products: each group's rows are those of its own dense product, bit for
 * bit; rows of no group are zeros or are not touched (gemm.md, section 14, cases 6 and 7). */
#include "t/gemm-product.h"
#include "t/tap/tap.h"

#include <stdlib.h>

enum { N = 64, MAX_GROUPS = 16 };

/* The second is packed: rows are laid out first. */
static const int form_numbers[] = {BF16, BF16_AS_INT8, FIRST_GGUF, FIRST_GGUF + 1, FIRST_GGUF + 2,
                                   FIRST_GGUF + 3};

/* Experts with their packs, one plan, rows of X, and a workspace. */
typedef struct experts {
    opened *o;
    const case_form *form;
    char name[96]; /* of both */
    int32_t is_batch_invariant;
    gemm_case c[MAX_GROUPS];
    vw_gemm_weight weight[MAX_GROUPS];
    const vw_gemm_weight *list[MAX_GROUPS];
    void *pack[MAX_GROUPS], *workspace;
    vw_gemm_plan plan;
    int64_t rows, k;
    float *x, *y, *want;
} experts;

/* The same rows as another expert's, but each at another place. */
static void make_expert(experts *e, int g)
{
    gemm_case *c = &e->c[g];
    case_make(c, e->form, 1, N, e->k);
    const vw_matrix *w = &c->stored;
    size_t row = w->format ? (size_t)(w->row_stride / w->format->elements * w->format->bytes)
                           : (size_t)w->row_stride * vw_dtype_bits(w->dtype) / 8;
    uint8_t *all = malloc(2 * N * row);
    memcpy(all, w->data, N * row);
    memcpy(all + N * row, w->data, N * row);
    memcpy(c->data, all + (size_t)g * row, N * row);
    free(all);
}

static bool experts_make(experts *e, int64_t rows)
{
    vw_error err = {.text = ""};
    opened *o = e->o;
    snprintf(e->name, sizeof e->name, "%s, %s", o->name, e->form->name);
    e->rows = rows;
    e->k = e->form->block ? 256 : 96; /* a whole block */
    for (int g = 0; g < MAX_GROUPS; g++) {
        make_expert(e, g);
        if (bind_weight(o, &e->c[g], &e->weight[g], &e->pack[g]) != VW_OK)
            return false; /* a format that this one does not have */
        e->list[g] = &e->weight[g];
    }
    vw_gemm_problem p = {.size = sizeof p, .max_m = rows, .n_weights = 1,
                         .weights = {e->list[0]}, .x_dtype = VW_F32, .y_dtype = VW_F32,
                         .is_batch_invariant = e->is_batch_invariant};
    vw_status st = o->ops->plan(o->self, &p, &e->plan, &err);
    if (st == VW_E_UNSUPPORTED && e->is_batch_invariant)
        return false;
    if (st != VW_OK) {
        ok(0, "%s: a plan for groups: %s", e->name, err.text);
        return false;
    }
    e->workspace = aligned_alloc(256, (e->plan.workspace_bytes + 256) / 256 * 256);
    e->x = malloc(sizeof(float) * (size_t)(rows * e->k));
    e->y = malloc(sizeof(float) * (size_t)rows * N);
    e->want = malloc(sizeof(float) * (size_t)rows * N);
    for (int64_t i = 0; i < rows * e->k; i++)
        e->x[i] = case_number();
    for (int64_t i = 0; i < rows * N; i++)
        e->y[i] = e->want[i] = 77.0f;
    return true;
}

static void experts_free(experts *e)
{
    for (int g = 0; g < MAX_GROUPS; g++) {
        case_free(&e->c[g]);
        free(e->pack[g]);
    }
    if (e->plan.problem.size && e->o->ops->plan_free)
        e->o->ops->plan_free(e->o->self, &e->plan);
    free(e->workspace);
    free(e->x);
    free(e->y);
    free(e->want);
}

/* The dense product of m rows with one expert, or zeros, into `want`. */
static void expect(experts *e, int group, int64_t first, int64_t m)
{
    vw_error err;
    vw_tensor y = vw_tensor_2d(e->want + first * N, VW_F32, m, N);
    if (m > 0 && group < 0)
        memset(y.data, 0, sizeof(float) * (size_t)m * N);
    else if (m > 0)
        e->o->ops->run(e->o->self, &e->plan, NULL, vw_tensor_2d(e->x + first * e->k, VW_F32, m, e->k),
                       &e->list[group], &y, e->workspace, &err);
}

static vw_status run(experts *e, vw_group_form f, int n_groups, const int32_t *rows)
{
    vw_error err;
    vw_groups groups = {.form = f, .n_groups = n_groups, .rows = rows};
    vw_tensor y = vw_tensor_2d(e->y, VW_F32, e->rows, N);
    return e->o->ops->run_grouped(e->o->self, &e->plan, NULL,
                                  vw_tensor_2d(e->x, VW_F32, e->rows, e->k), e->list, &groups, &y,
                                  e->workspace, &err);
}

static bool is_as_expected(const experts *e)
{
    return memcmp(e->y, e->want, sizeof(float) * (size_t)e->rows * N) == 0;
}

/* Rows end to end: by offsets, then by ids with rows of no group between the groups. */
static void check_contiguous(experts *e)
{
    static const int32_t sizes[8] = {0, 1, 127, 128, 129, 0, 300, 64};
    int32_t offsets[9] = {0}, ids[760];
    bool is_row_array_read = !e->o->device.is_used; /* else what is wrong in it is left out */
    int n = 0;
    if (!experts_make(e, 760))
        return;
    for (int g = 0; g < 8; g++) {
        offsets[g + 1] = offsets[g] + sizes[g];
        expect(e, g, offsets[g], sizes[g]);
    }
    is_int(run(e, VW_GROUP_OFFSETS, 8, offsets), VW_OK, "%s: groups by offsets", e->name);
    ok(is_as_expected(e), "%s: are the dense products, and other rows are left alone", e->name);
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < sizes[g]; i++)
            ids[n++] = g;
        ids[n++] = -1;
    }
    while (n < 760)
        ids[n++] = -1;
    for (int first = 0, last; first < 760; first = last) {
        for (last = first; last < 760 && ids[last] == ids[first];)
            last++;
        expect(e, ids[first], first, last - first);
    }
    is_int(run(e, VW_GROUP_ROW_IDS, 8, ids), VW_OK, "%s: groups by the id of each row", e->name);
    ok(is_as_expected(e), "%s: are the dense products, and rows of no group are zeros", e->name);
    memset(offsets, 0, sizeof offsets);
    is_int(run(e, VW_GROUP_OFFSETS, 8, offsets), VW_OK, "%s: all groups empty", e->name);
    ids[700] = 8;
    memcpy(e->want + 700 * N, e->y + 700 * N, N * sizeof *e->want);
    is_int(run(e, VW_GROUP_ROW_IDS, 8, ids), is_row_array_read ? VW_E_INVALID : VW_OK,
           "%s: a group that is not there", e->name);
    offsets[8] = 761;
    if (is_row_array_read)
        is_int(run(e, VW_GROUP_OFFSETS, 8, offsets), VW_E_INVALID, "%s: rows that are not there",
               e->name);
    ok(is_as_expected(e), "%s: and nothing was written for these", e->name);
}

/* A fixed number of rows a group, of which the first counts[g] exist. */
static void check_masked(experts *e, int64_t max_m, const int32_t *counts, int n_groups)
{
    if (!experts_make(e, max_m * n_groups))
        return;
    for (int g = 0; g < n_groups; g++)
        expect(e, g, g * max_m, counts[g]);
    is_int(run(e, VW_GROUP_MASKED, n_groups, counts), VW_OK, "%s: masked, %d groups of %d rows",
           e->name, n_groups, (int)max_m);
    ok(is_as_expected(e), "%s: are the dense products, and rows past a count are left alone",
       e->name);
}

static void check_form(const experts *with)
{
    static const int32_t small[] = {8, 0, 3, 1}, middle[] = {20, 19, 0, 1},
                         wide[] = {100, 33, 0, 7}, none[] = {0, 0, 0, 0}, one[] = {1, 1, 0, 1},
                         /* a distribution that once made another library wait for ever */
        skewed[] = {401, 143, 0, 0, 0, 0, 0, 57, 50, 0, 3, 1, 123, 0, 0, 22};
    for (int i = 0; i < 7; i++) {
        experts e = *with;
        switch (i) {
        case 0: check_contiguous(&e); break;
        case 1: check_masked(&e, 8, small, 4); break;
        case 2: check_masked(&e, 20, middle, 4); break;
        case 3: check_masked(&e, 100, wide, 4); break;
        case 4: check_masked(&e, 20, none, 4); break;
        case 5: check_masked(&e, 1, one, 4); break;
        default: check_masked(&e, 410, skewed, 16);
        }
        experts_free(&e);
    }
}

void check_groups(opened *o)
{
    for (size_t f = 0; f < sizeof form_numbers / sizeof *form_numbers; f++)
        for (int32_t invariant = 0; invariant < 2; invariant++) /* 1: one path for any number of rows */
            check_form(&(experts){.o = o, .form = &case_forms[form_numbers[f]],
                                  .is_batch_invariant = invariant});
}
