/* gradient-formulas.c - every formula of kernels/ref/gradient.h against central differences of the
 * function whose gradient it claims to be.
 *
 * The test function is a weighted sum of outputs, or the loss itself.  With a step of h a central
 * difference is off by h^2 times a third derivative and by rounding over h: at 1e-5 both are below
 * 1e-9 here, and the bound is 1e-6 of the largest gradient.
 */
#include "kernels/ref/gradient.h"

#include "t/tap/tap.h"

#include <stdlib.h>

static uint64_t state = 1;

static double uniform(double low, double high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (double)(state >> 11) * 0x1p-53;
}

static void fill(double *x, int64_t n, double range)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = uniform(-range, range);
}

typedef double (*function)(const double *x, const void *arg);

/* The largest difference between `claimed` and the central difference, over the largest gradient. */
static double error_of(function f, const void *arg, double *x, int64_t n, const double *claimed)
{
    const double h = 1e-5;
    double worst = 0, largest = 1e-300;
    for (int64_t i = 0; i < n; i++) {
        double at = x[i];
        x[i] = at + h;
        double above = f(x, arg);
        x[i] = at - h;
        double below = f(x, arg), slope = (above - below) / (2 * h);
        x[i] = at;
        worst = fmax(worst, fabs(slope - claimed[i]));
        largest = fmax(largest, fabs(slope));
    }
    return worst / largest;
}

static void check(function f, const void *arg, double *x, int64_t n, const double *claimed,
                  const char *what)
{
    near(error_of(f, arg, x, n, claimed), 0, 1e-6, "%s", what);
    double *wrong = malloc((size_t)n * sizeof *wrong);
    memcpy(wrong, claimed, (size_t)n * sizeof *wrong);
    int64_t largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fabs(wrong[i]) > fabs(wrong[largest]) ? i : largest;
    wrong[largest] *= 1.0001;
    ok(error_of(f, arg, x, n, wrong) > 1e-6, "%s: a planted error of 1e-4 shows", what);
    free(wrong);
}

/* ---- norm, activations, softmax -------------------------------------------------------------- */

enum { N = 37 };

typedef struct norm_case {
    const float *w;
    double weight[N];
} norm_case;

static double norm_sum(const double *x, const void *arg)
{
    const norm_case *c = arg;
    double y[N], sum = 0;
    vw_ref_rms_norm(N, x, c->w, 1, 1e-3, y);
    for (int i = 0; i < N; i++)
        sum += c->weight[i] * y[i];
    return sum;
}

/* The gradient by w is that of a sum which is linear in it. */
static double norm_sum_of_w(const double *w, const void *arg)
{
    const double *x = arg, *weight = x + N;
    double y[N], sum = 0;
    vw_ref_rms_norm(N, x, NULL, 0, 1e-3, y);
    for (int i = 0; i < N; i++)
        sum += weight[i] * y[i] * (1 + w[i]);
    return sum;
}

static void test_norm(void)
{
    norm_case c;
    double x[2 * N], w[N], d_x[N] = {0}, d_w[N] = {0}, none[N] = {0};
    float weights[N];
    fill(x, N, 2), fill(c.weight, N, 1), fill(w, N, 1);
    for (int i = 0; i < N; i++)
        w[i] = (double)(weights[i] = (float)w[i]);
    c.w = weights;
    vw_ref_rms_norm_backward(N, x, weights, 1, 1e-3, c.weight, d_x, d_w);
    check(norm_sum, &c, x, N, d_x, "rms_norm by x");
    memcpy(x + N, c.weight, sizeof c.weight);
    check(norm_sum_of_w, x, w, N, d_w, "rms_norm by w");
    c.w = NULL;
    vw_ref_rms_norm_backward(N, x, NULL, 0, 1e-3, c.weight, none, NULL);
    check(norm_sum, &c, x, N, none, "rms_norm without a weight");
}

static double act_sum(const double *x, const void *arg)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += vw_ref_activate(*(const vw_ref_act *)arg, x[i]) * (i % 3 + 1);
    return sum;
}

static void test_activations(void)
{
    static const char *const names[] = {"none", "gelu_tanh", "gelu_erf", "silu", "relu"};
    for (int a = VW_REF_NONE; a <= VW_REF_RELU; a++) {
        vw_ref_act act = (vw_ref_act)a;
        double x[N], d[N];
        fill(x, N, 5);
        for (int i = 0; i < N; i++)
            d[i] = vw_ref_activate_slope(act, x[i]) * (i % 3 + 1);
        check(act_sum, &act, x, N, d, names[a]);
    }
}

static double softmax_sum(const double *x, const void *arg)
{
    const double *weight = arg;
    double y[N], sum = 0;
    memcpy(y, x, sizeof y);
    vw_ref_softmax(N, y);
    for (int i = 0; i < N; i++)
        sum += weight[i] * y[i];
    return sum;
}

static void test_softmax(void)
{
    double x[N], weight[N], y[N], d[N];
    fill(x, N, 3), fill(weight, N, 1);
    memcpy(y, x, sizeof y);
    vw_ref_softmax(N, y);
    vw_ref_softmax_backward(N, y, weight, d);
    check(softmax_sum, weight, x, N, d, "softmax");
}

/* ---- losses ---------------------------------------------------------------------------------- */

static double loss_at(const double *x, const void *arg)
{
    return vw_ref_cross_entropy(N, arg, x, 11, NULL, NULL, NULL);
}

static double lse_of(const double *x, double t)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += exp(x[i] / t);
    return log(sum);
}

static void test_losses(void)
{
    enum { K = 5 };
    static const int32_t ids[K] = {30, 11, 2, 0, 36};
    double x[N], teacher[N], few[K], d[N];
    fill(x, N, 4), fill(teacher, N, 4);
    for (int j = 0; j < K; j++)
        few[j] = teacher[ids[j]];
    const vw_ref_loss cases[] = {
        {0, 0, 0, 1, 0, NULL, NULL, NAN},
        {0.1, 0, 0, 1, 0, NULL, NULL, NAN},
        {0.1, 3, 0, 1, 0, NULL, NULL, NAN},
        {0, 0, 0.5, 2, N, teacher, NULL, NAN},
        {0.2, 6, 0.7, 1.5, N, teacher, NULL, NAN},
        {0, 0, 1, 4, N, teacher, NULL, NAN},
        {0, 0, 0.5, 2, K, few, ids, lse_of(teacher, 2)},
        {0.1, 5, 0.5, 3, K, few, ids, lse_of(teacher, 3)},
        {0, 0, 0.5, 2, K, few, ids, NAN},
    };
    static const char *const names[] = {
        "cross-entropy", "with smoothing", "and a cap", "with a teacher", "all of it",
        "the teacher alone", "a teacher's largest", "with smoothing and a cap",
        "and nothing about the others"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vw_ref_cross_entropy(N, &cases[i], x, 11, NULL, NULL, d);
        check(loss_at, &cases[i], x, N, d, names[i]);
    }
}

/* What training.md states of distillation, as properties. */
static void test_teacher(void)
{
    double x[N], t[N], d[N], kl, ce, largest = 0, mean_x = 0, mean_t = 0, spread = 0;
    fill(x, N, 4);
    vw_ref_loss same = {0, 0, 1, 2, N, x, NULL, NAN};
    vw_ref_cross_entropy(N, &same, x, 3, &ce, &kl, d);
    for (int i = 0; i < N; i++)
        largest = fmax(largest, fabs(d[i]));
    near(kl, 0, 1e-14, "a teacher that says the same: KL 0");
    near(largest, 0, 1e-15, "and no gradient");

    fill(t, N, 4);
    vw_ref_loss hot = {0, 0, 1, 1000, N, t, NULL, NAN};
    for (int i = 0; i < N; i++)
        mean_x += x[i] / N, mean_t += t[i] / N;
    for (int i = 0; i < N; i++)
        spread += pow(x[i] - mean_x - (t[i] - mean_t), 2) / (2 * N);
    near(vw_ref_cross_entropy(N, &hot, x, 3, NULL, NULL, NULL) / spread, 1, 0.005,
         "at a large temperature T^2 KL is half the mean square of the centred difference");

    /* A bucket for the rest gives a lower bound of the true KL (log-sum inequality). */
    static const int32_t ids[] = {1, 7, 20};
    double few[] = {t[1], t[7], t[20]}, less;
    vw_ref_loss full = {0, 0, 1, 2, N, t, NULL, NAN}, part = {0, 0, 1, 2, 3, few, ids, lse_of(t, 2)};
    vw_ref_cross_entropy(N, &full, x, 3, NULL, &kl, NULL);
    vw_ref_cross_entropy(N, &part, x, 3, NULL, &less, NULL);
    ok(less > 0 && less < kl, "the largest logits alone: %g is below %g", less, kl);
}

/* ---- dropout --------------------------------------------------------------------------------- */

/* Known answers of Philox4x32-10 that come with Random123 (kat_vectors): counter, key, result. */
static void test_philox(void)
{
    static const struct {
        uint64_t low, high, key;
        uint32_t want[4];
    } known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t got[4];
        vw_ref_philox(known[i].key, known[i].high, known[i].low, got);
        is_mem(got, known[i].want, sizeof got, "Philox4x32-10, vector %zu", i);
    }
}

/* ---- routing --------------------------------------------------------------------------------- */

typedef struct route_case {
    vw_ref_route route;
    const int32_t *ids;
    const double *d_weights, *f;
    double balance, z;
} route_case;

enum { E = 16 };

static double routed(const double *logits, const void *arg)
{
    const route_case *c = arg;
    double s[E], w[E], sum = 0, all = 0, lse = 0, total = 0;
    vw_ref_route_scores(E, &c->route, logits, s);
    vw_ref_route_weights(E, &c->route, s, c->ids, w);
    for (int64_t j = 0; j < c->route.k; j++)
        total += w[j] * c->d_weights[j];
    for (int i = 0; i < E; i++) {
        all += s[i];
        sum += c->f[i] * s[i];
        lse += exp(logits[i]);
    }
    return total + c->balance * sum / all + c->z * log(lse) * log(lse);
}

static void test_routing(void)
{
    static const vw_ref_route routes[] = {{2, 0, 0, 0, 0, 0, 1, NULL},
                                          {3, 0, 1, 0, 0, 0, 1, NULL},
                                          {4, 1, 1, 4, 2, 2, 2.5, NULL},
                                          {1, 1, 0, 0, 0, 0, 1, NULL}};
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        double x[E], s[E], f[E], d_w[4], d[E] = {0};
        int32_t ids[4];
        fill(x, E, 2), fill(f, E, 1), fill(d_w, 4, 1);
        vw_ref_route_scores(E, &routes[i], x, s);
        vw_ref_route_choose(E, &routes[i], s, ids);
        route_case c = {routes[i], ids, d_w, f, 0.3, 0.01};
        vw_ref_route_backward(E, &routes[i], x, ids, d_w, c.balance, f, c.z, d);
        check(routed, &c, x, E, d, "router");
    }
}

/* By hand: 8 experts in 4 groups; scores in tenths. */
static void test_choice(void)
{
    static const double s[8] = {0.9, 0.1, 0.6, 0.5, 0.3, 0.2, 0.7, 0.05};
    static const float bias[8] = {0, 0, 0, 0, 0.5f, 0.5f, 0, 0};
    int32_t ids[2];
    vw_ref_route r = {2, 1, 1, 0, 0, 0, 1, NULL};
    vw_ref_route_choose(8, &r, s, ids);
    ok(ids[0] == 0 && ids[1] == 6, "the two largest: 0 and 6");
    r.n_groups = 4, r.top_groups = 1, r.group_best = 2; /* sums 1.0 1.1 0.5 0.75 */
    vw_ref_route_choose(8, &r, s, ids);
    ok(ids[0] == 2 && ids[1] == 3, "of the group with the largest sum of two: 2 and 3");
    r.group_best = 1; /* 0.9 0.6 0.3 0.7 */
    vw_ref_route_choose(8, &r, s, ids);
    ok(ids[0] == 0 && ids[1] == 1, "of the group with the largest score: 0 and 1");
    r.bias = bias, r.group_best = 2; /* 1.0 1.1 1.5 0.75 */
    vw_ref_route_choose(8, &r, s, ids);
    ok(ids[0] == 4 && ids[1] == 5, "a bias moves the choice: 4 and 5");
    double w[2];
    r.scale = 2.5;
    vw_ref_route_weights(8, &r, s, ids, w);
    near(w[0], 2.5 * 0.3 / 0.5, 1e-15, "but not the weights");
}

int main(void)
{
    test_norm();
    test_activations();
    test_softmax();
    test_losses();
    test_teacher();
    test_philox();
    test_routing();
    test_choice();
    return done_testing();
}
