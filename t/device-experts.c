/* device-experts.c - conformance of the mixture of experts: routing, sorting, combining and their
 * gradients, every installed device against kernels/ref/gradient.h and against the sentences of
 * device.h.
 */
#include "t/device-case.h"

#include "kernels/ref/gradient.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

/* ---- routing --------------------------------------------------------------------------------- */

typedef struct route_case {
    const char *name;
    int64_t tokens, experts;
    vw_route_desc desc;
    int has_bias;
} route_case;

static const route_case routes[] = {
    {"base", 33, 8, {.top_k = 2, .is_normalised = 1, .scale = 1}, 0},
    {"Grok", 9, 8, {.top_k = 2, .scale = 1}, 0},
    {"one expert", 5, 3, {.top_k = 1, .is_normalised = 1, .scale = 1}, 0},
    {"all experts", 5, 3, {.top_k = 3, .is_normalised = 1, .scale = 1}, 0},
    {"DeepSeek", 40, 256, {.top_k = 8, .is_sigmoid = 1, .is_normalised = 1, .n_groups = 8,
                           .top_groups = 4, .group_best = 2, .scale = 2.5f}, 1},
    {"groups by their best", 17, 60, {.top_k = 6, .n_groups = 6, .top_groups = 3, .group_best = 1,
                                      .scale = 16}, 0},
    {"sigmoid", 17, 16, {.top_k = 4, .is_sigmoid = 1, .scale = 1}, 1},
};

static vw_ref_route ref_of(const vw_route_desc *d, const float *bias)
{
    return (vw_ref_route){d->top_k,      d->is_sigmoid, d->is_normalised, d->n_groups,
                          d->top_groups, d->group_best, (double)d->scale, bias};
}

static void test_route(const bench *b, const route_case *c)
{
    int64_t k = c->desc.top_k, rows = c->tokens, n = c->experts;
    grid x = make_grid(b, rows, n, 1, 2), w = make_grid(b, rows, k, 0, 0);
    grid shares = make_grid(b, rows, n, 2, 0), bias = make_grid(b, 1, n, 0, 0.05f);
    double *in = doubles(&x), *want = doubles(&w), *p = doubles(&shares), worst = 0;
    int32_t *ids = malloc((size_t)(rows * k) * 4), *right = malloc((size_t)(rows * k) * 4);
    float *lse = malloc((size_t)rows * 4);
    vw_buffer ids_at, lse_at;
    vw_route_desc desc = c->desc;
    desc.size = sizeof desc;
    desc.bias = c->has_bias ? bias.buffer.data : NULL;
    to_device(b, NULL, (size_t)(rows * k) * 4, &ids_at);
    to_device(b, NULL, (size_t)rows * 4, &lse_at);
    must(b->ops->moe_route(b->self, b->stream, &desc, x.t,
                           vw_tensor_2d(ids_at.data, VW_I32, rows, k), w.t, shares.t, lse_at.data,
                           &err), "moe_route: %s", c->name);
    from_device(b, ids, ids_at.data, (size_t)(rows * k) * 4);
    from_device(b, lse, lse_at.data, (size_t)rows * 4);
    vw_ref_route r = ref_of(&desc, c->has_bias ? bias.host : NULL);
    for (int64_t t = 0; t < rows; t++) {
        double *s = p + t * n, all = 0, sum = 0;
        vw_ref_route_scores(n, &r, in + t * n, s);
        vw_ref_route_choose(n, &r, s, right + t * k);
        vw_ref_route_weights(n, &r, s, right + t * k, want + t * k);
        for (int64_t i = 0; i < n; i++)
            all += s[i], sum += exp(in[t * n + i]);
        for (int64_t i = 0; i < n; i++)
            s[i] /= all;
        worst = fmax(worst, fabs((double)lse[t] - log(sum)));
    }
    is_mem(ids, right, (size_t)(rows * k) * 4, "%s: %s: experts", b->name, c->name);
    expect(b, &w, want, 1e-6, "weights");
    expect(b, &shares, p, 1e-6, "shares");
    near(worst, 0, 2e-6, "%s: log sum exp", b->name);
    b->ops->free(b->self, &ids_at), b->ops->free(b->self, &lse_at);
    drop(b, &x), drop(b, &w), drop(b, &shares), drop(b, &bias);
    free(in), free(want), free(p), free(ids), free(right), free(lse);
}

static void test_route_backward(const bench *b, const route_case *c, int has_losses)
{
    int64_t k = c->desc.top_k, rows = c->tokens, n = c->experts;
    grid x = make_grid(b, rows, n, 1, 2), d_w = make_grid(b, rows, k, 0, 1);
    grid d = make_grid(b, rows, n, 2, 1);
    double *in = doubles(&x), *g = doubles(&d_w), *want = doubles(&d), f[256], sum = 0;
    double *s = malloc((size_t)n * sizeof *s);
    int32_t *ids = malloc((size_t)(rows * k) * 4);
    int64_t load[256];
    vw_buffer ids_at, load_at;
    vw_route_desc desc = c->desc;
    vw_ref_route r = ref_of(&desc, NULL);
    for (int64_t i = 0; i < n; i++)
        sum += (double)(load[i] = i * 3 + 1);
    for (int64_t i = 0; i < n; i++)
        f[i] = (double)load[i] / sum;
    vw_route_losses losses = {.balance = 0.3f, .z = 0.01f};
    for (int64_t t = 0; t < rows; t++) {
        vw_ref_route_scores(n, &r, in + t * n, s);
        vw_ref_route_choose(n, &r, s, ids + t * k);
        vw_ref_route_backward(n, &r, in + t * n, ids + t * k, g + t * k,
                              has_losses ? (double)losses.balance : 0, has_losses ? f : NULL,
                              has_losses ? (double)losses.z : 0, want + t * n);
    }
    to_device(b, ids, (size_t)(rows * k) * 4, &ids_at);
    losses.load = to_device(b, load, (size_t)n * sizeof *load, &load_at);
    must(b->ops->moe_route_backward(b->self, b->stream, &desc, has_losses ? &losses : NULL, x.t,
                                    vw_tensor_2d(ids_at.data, VW_I32, rows, k), d_w.t, d.t, 1,
                                    &err), "moe_route_backward: %s", c->name);
    expect(b, &d, want, 2e-6, has_losses ? "with its losses" : "through the weights");
    b->ops->free(b->self, &ids_at), b->ops->free(b->self, &load_at);
    drop(b, &x), drop(b, &d_w), drop(b, &d);
    free(in), free(g), free(want), free(s), free(ids);
}

/* Equal scores: the lower index wins; and a row without order gets an answer. */
static void test_ties(const bench *b)
{
    static const float rows[2][6] = {{1, 1, 1, 1, 1, 1}, {0, 2, 0, 2, 0, 2}};
    static const int32_t want[6] = {0, 1, 2, 1, 3, 5};
    vw_buffer x, ids_at, w_at;
    int32_t ids[6];
    vw_tensor none = {0};
    vw_route_desc desc = {.size = sizeof desc, .top_k = 3, .is_normalised = 1, .scale = 1};
    to_device(b, rows, sizeof rows, &x);
    to_device(b, NULL, sizeof ids, &ids_at), to_device(b, NULL, sizeof ids, &w_at);
    must(b->ops->moe_route(b->self, b->stream, &desc, vw_tensor_2d(x.data, VW_F32, 2, 6),
                           vw_tensor_2d(ids_at.data, VW_I32, 2, 3),
                           vw_tensor_2d(w_at.data, VW_F32, 2, 3), none, NULL, &err), "moe_route");
    from_device(b, ids, ids_at.data, sizeof ids);
    is_mem(ids, want, sizeof want, "%s: ties go to the lower index", b->name);
    b->ops->free(b->self, &x), b->ops->free(b->self, &ids_at), b->ops->free(b->self, &w_at);
}

/* ---- sorting and combining ------------------------------------------------------------------- */

/* Slots of a case, sorted here the slow way. */
typedef struct slots {
    int64_t tokens, k;
    int32_t experts, capacity;
    int32_t *ids, *offsets, *token, *place;
    int64_t *load;
} slots;

static slots make_slots(int64_t tokens, int64_t k, int32_t experts, int32_t capacity)
{
    size_t n = (size_t)(tokens * k);
    slots s = {tokens, k, experts, capacity, malloc(n * 4 + 4), calloc((size_t)experts + 1, 4),
               malloc(n * 4 + 4), malloc(n * 4 + 4), calloc((size_t)experts, sizeof(int64_t))};
    int32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        s.ids[i] = (int32_t)uniform(-0.3f, (float)experts); /* few of expert 0, some of none */
        s.ids[i] = i % 11 == 10 ? (i % 2 ? -1 : experts) : s.ids[i];
        s.place[i] = -1;
    }
    for (int32_t e = 0; e < experts; e++) {
        for (size_t i = 0; i < n; i++) {
            if (s.ids[i] != e)
                continue;
            if (s.load[e]++ < (capacity ? capacity : INT32_MAX)) {
                s.token[at] = (int32_t)i / (int32_t)k;
                s.place[i] = at++;
            }
        }
        s.offsets[e + 1] = at;
    }
    while ((size_t)at < n)
        s.token[at++] = -1;
    return s;
}

static void drop_slots(slots *s)
{
    free(s->ids), free(s->offsets), free(s->token), free(s->place), free(s->load);
}

static void test_sort(const bench *b, int64_t tokens, int64_t k, int32_t experts, int32_t capacity)
{
    slots s = make_slots(tokens, k, experts, capacity);
    size_t n = (size_t)(tokens * k), ends = (size_t)experts + 1;
    int32_t *got = malloc((n + ends) * sizeof *got);
    int64_t *load = malloc(ends * sizeof *load);
    vw_buffer ids, offsets, token, place, counts, space;
    to_device(b, s.ids, n * 4, &ids);
    to_device(b, NULL, ends * 4, &offsets);
    to_device(b, NULL, n * 4, &token), to_device(b, NULL, n * 4, &place);
    to_device(b, s.load, (size_t)experts * 8, &counts);
    to_device(b, NULL, b->ops->reduce_bytes(b->self, tokens * k, experts), &space);
    must(b->ops->moe_sort(b->self, b->stream, vw_tensor_2d(ids.data, VW_I32, tokens, k), experts,
                          capacity, offsets.data, token.data, place.data, counts.data, space.data,
                          &err), "moe_sort: %d experts, capacity %d", experts, capacity);
    from_device(b, got, offsets.data, ends * 4);
    is_mem(got, s.offsets, ends * 4, "%s: offsets", b->name);
    from_device(b, got, token.data, n * 4);
    is_mem(got, s.token, n * 4, "%s: the tokens of the places", b->name);
    from_device(b, got, place.data, n * 4);
    is_mem(got, s.place, n * 4, "%s: the places of the slots", b->name);
    from_device(b, load, counts.data, (size_t)experts * 8);
    int64_t e = 0;
    while (e < experts && load[e] == 2 * s.load[e])
        e++;
    is_int(e, experts, "%s: load is added, dropped slots too", b->name);
    b->ops->free(b->self, &ids), b->ops->free(b->self, &offsets), b->ops->free(b->self, &token);
    b->ops->free(b->self, &place), b->ops->free(b->self, &counts), b->ops->free(b->self, &space);
    drop_slots(&s);
    free(got), free(load);
}

static void test_combine(const bench *b, int64_t tokens, int64_t k, int64_t d, int has_weights)
{
    slots s = make_slots(tokens, k, 6, 5);
    grid rows = make_grid(b, tokens * k, d, 1, 1), w = make_grid(b, tokens, k, 1, 1);
    grid y = make_grid(b, tokens, d, 3, 1);
    double *in = doubles(&rows), *weight = doubles(&w), *want = doubles(&y);
    vw_tensor none = {0};
    vw_buffer place;
    to_device(b, s.place, (size_t)(tokens * k) * 4, &place);
    for (int64_t i = 0; i < tokens * k; i++)
        for (int64_t j = 0; j < d && s.place[i] >= 0; j++)
            want[i / k * d + j] += (has_weights ? weight[i] : 1) * in[s.place[i] * d + j];
    must(b->ops->moe_combine(b->self, b->stream, rows.t, place.data, (int32_t)k,
                             has_weights ? w.t : none, y.t, 1, &err), "moe_combine");
    expect(b, &y, want, 1e-6, has_weights ? "combined by weights" : "gathered back");
    for (int64_t i = 0; i < tokens * d; i++)
        want[i] -= (double)y.host[i / d * y.stride + i % d];
    must(b->ops->moe_combine(b->self, b->stream, rows.t, place.data, (int32_t)k,
                             has_weights ? w.t : none, y.t, 0, &err), "moe_combine");
    expect(b, &y, want, 1e-6, "and written");
    b->ops->free(b->self, &place);
    drop(b, &rows), drop(b, &w), drop(b, &y);
    drop_slots(&s);
    free(in), free(weight), free(want);
}

static void test_combine_backward(const bench *b, int64_t tokens, int64_t k, int64_t d)
{
    slots s = make_slots(tokens, k, 6, 5);
    grid rows = make_grid(b, tokens * k, d, 1, 1), w = make_grid(b, tokens, k, 1, 1);
    grid d_y = make_grid(b, tokens, d, 3, 1), d_w = make_grid(b, tokens, k, 0, 1);
    double *in = doubles(&rows), *weight = doubles(&w), *g = doubles(&d_y), *want = doubles(&d_w);
    double *d_rows = doubles(&rows);
    vw_buffer place;
    to_device(b, s.place, (size_t)(tokens * k) * 4, &place);
    for (int64_t i = 0; i < tokens * k; i++) {
        want[i] = 0;
        for (int64_t j = 0; j < d && s.place[i] >= 0; j++) {
            want[i] += g[i / k * d + j] * in[s.place[i] * d + j];
            d_rows[s.place[i] * d + j] = weight[i] * g[i / k * d + j];
        }
    }
    must(b->ops->moe_combine_backward(b->self, b->stream, rows.t, place.data, w.t, d_y.t, rows.t,
                                      d_w.t, &err), "moe_combine_backward");
    expect(b, &d_w, want, 3e-6, "by the weights");
    expect(b, &rows, d_rows, 1e-6, "by the rows, in place; places without a slot stay");
    b->ops->free(b->self, &place);
    drop(b, &rows), drop(b, &w), drop(b, &d_y), drop(b, &d_w);
    drop_slots(&s);
    free(in), free(weight), free(g), free(want), free(d_rows);
}

/* The gradient of a table with repeated ids: scatter_add with many rows, in order, for any threads. */
static void test_embedding(const bench *b, int64_t n, int64_t d)
{
    grid x = make_grid(b, n, d, 0, 1), first = make_grid(b, 13, d, 0, 0);
    int32_t *ids = malloc((size_t)n * 4);
    double *in = doubles(&x), *want = doubles(&first);
    vw_buffer ids_at;
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(i * i % 13);
        for (int64_t j = 0; j < d; j++)
            want[ids[i] * d + j] += in[i * d + j];
    }
    to_device(b, ids, (size_t)n * 4, &ids_at);
    float *bits = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        b->mock->n_threads = threads;
        b->ops->fill(b->self, b->stream, first.buffer.data, 0, (size_t)(13 * d) * 4, &err);
        must(b->ops->scatter_add(b->self, b->stream, x.t, ids_at.data, NULL, first.t, &err),
             "scatter_add");
        expect(b, &first, want, 2e-6, "scatter_add of repeated rows");
        float *got = fetch(b, &first);
        if (bits)
            is_mem(got, bits, (size_t)(13 * d) * 4, "%s: %d threads", b->name, threads);
        free(bits);
        bits = got;
    }
    b->mock->n_threads = 1;
    b->ops->free(b->self, &ids_at);
    drop(b, &x), drop(b, &first);
    free(ids), free(in), free(want), free(bits);
}

static void test_refusals(const bench *b)
{
    grid x = make_grid(b, 2, 8, 0, 1), w = make_grid(b, 2, 3, 0, 1);
    vw_tensor none = {0}, ids = w.t;
    vw_route_desc desc = {.size = sizeof desc, .top_k = 3, .scale = 1, .n_groups = 3,
                          .top_groups = 1, .group_best = 2};
    ids.dtype = VW_I32;
    is_int(b->ops->moe_route(b->self, b->stream, &desc, x.t, ids, w.t, none, NULL, &err),
           VW_E_INVALID, "%s: groups", b->name);
    like(err.text, "3 groups of 8 experts, the best 1 by their best 2, do not work out", "%s",
         err.text);
    desc.n_groups = 4;
    is_int(b->ops->moe_route(b->self, b->stream, &desc, x.t, ids, w.t, none, NULL, &err),
           VW_E_INVALID, "%s: too many", b->name);
    like(err.text, "moe_route: 3 experts a token of 2 to choose from", "%s", err.text);
    is_int(b->ops->moe_sort(b->self, b->stream, ids, 0, 0, NULL, NULL, NULL, NULL, NULL, &err),
           VW_E_INVALID, "%s: no experts", b->name);
    like(err.text, "moe_sort: 0 experts, capacity 0, 6 slots", "%s", err.text);
    drop(b, &x), drop(b, &w);
}

static void test_device(const bench *b)
{
    test_embedding(b, 500, 33);
    test_embedding(b, 200, 700);
    if (offers(b, offsetof(vw_device_ops, moe_route), "mixture of experts")) {
        for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
            test_route(b, &routes[i]);
            test_route_backward(b, &routes[i], 0);
            test_route_backward(b, &routes[i], 1);
        }
        test_ties(b);
        test_sort(b, 0, 2, 4, 0);
        test_sort(b, 1, 1, 1, 0);
        test_sort(b, 300, 3, 16, 0);
        test_sort(b, 300, 3, 16, 40);
        test_combine(b, 20, 2, 65, 1);
        test_combine(b, 20, 2, 65, 0);
        test_combine_backward(b, 20, 2, 65);
        test_refusals(b);
    }
}

int main(void)
{
    return test_devices(test_device);
}
