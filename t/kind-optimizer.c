/* kind-optimizer.c - what holds for every update rule, and sgd against its formula in double.
 *
 * Any rule must go down a quadratic, do nothing at a learning rate of 0 without decay, treat
 * grad_scale as a factor of the gradient, give the same bits for the same input however the work is
 * cut into parts, and touch nothing but its parameter and state.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/optimizer.h>

#include <math.h>
#include <stdlib.h>

enum { GUARDS = 8 };
static const float guard = -12345.5f;

/* One parameter with everything that belongs to it, each array with guards behind it. */
typedef struct subject {
    int64_t rows, cols, n;
    int32_t n_states;
    vw_optimizer_state states[VW_OPTIMIZER_MAX_STATES];
    float *parameter, *gradient, *state[VW_OPTIMIZER_MAX_STATES];
} subject;

/* What a check works on. */
typedef struct bench {
    const vw_optimizer_ops *ops;
    void *self;
    mock_host *mock;
} bench;

static float *array(int64_t n)
{
    float *values = malloc(((size_t)n + GUARDS) * sizeof *values);

    if (!values)
        bail_out("no memory");
    for (int64_t i = 0; i < n + GUARDS; i++)
        values[i] = i < n ? 0 : guard;
    return values;
}

static bool is_guarded(const float *values, int64_t n)
{
    for (int i = 0; i < GUARDS; i++)
        if (values[n + i] != guard)
            return false;
    return true;
}

/* Values in (-1, 1), the same on every machine. */
static float draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*seed >> 40) / 0x1p23 - 1);
}

static subject subject_new(const bench *b, int64_t rows, int64_t cols, uint64_t seed)
{
    subject s = {.rows = rows, .cols = cols, .n = rows * cols};

    s.n_states = b->ops->states(b->self, rows, cols, s.states);
    if (s.n_states < 0 || s.n_states > VW_OPTIMIZER_MAX_STATES)
        bail_out("%d states", s.n_states);
    for (int32_t i = 0; i < s.n_states; i++) {
        if (!s.states[i].name || !*s.states[i].name || s.states[i].n < 0 ||
            s.states[i].n > 16 * s.n + 1024)
            bail_out("state %d has no name, or %lld values for a parameter of %lld", i,
                     (long long)s.states[i].n, (long long)s.n);
        s.state[i] = array(s.states[i].n);
    }
    s.parameter = array(s.n);
    s.gradient = array(s.n);
    for (int64_t i = 0; i < s.n; i++) {
        s.parameter[i] = draw(&seed);
        s.gradient[i] = draw(&seed);
    }
    return s;
}

static void subject_free(subject *s)
{
    free(s->parameter);
    free(s->gradient);
    for (int32_t i = 0; i < s->n_states; i++)
        free(s->state[i]);
}

static vw_status step(const bench *b, const subject *s, int64_t number, double rate, double scale,
                      double decay, vw_error *err)
{
    vw_update u = {.size = sizeof u, .step = number, .learning_rate = rate, .grad_scale = scale,
                   .weight_decay = decay, .n = s->n, .rows = s->rows, .cols = s->cols,
                   .parameter = s->parameter, .gradient = s->gradient};
    bool is_kept = true;

    for (int32_t i = 0; i < s->n_states; i++)
        u.state[i] = s->state[i];
    vw_status status = b->ops->update(b->self, NULL, &u, err);
    if (status)
        return status;
    for (int32_t i = 0; i < s->n_states; i++)
        is_kept = is_kept && is_guarded(s->state[i], s->states[i].n);
    if (!is_kept || !is_guarded(s->parameter, s->n) || !is_guarded(s->gradient, s->n))
        return vw_fail(err, VW_E_INVALID, "it wrote behind an array");
    return VW_OK;
}

/* The gradient of f(x) = sum of c (x - t)^2 / 2, with c from 0.5 to 2 and t within 1. */
static void quadratic(const subject *s, uint64_t seed)
{
    for (int64_t i = 0; i < s->n; i++) {
        double c = 1.25 + 0.75 * (double)draw(&seed);
        s->gradient[i] = (float)(c * (s->parameter[i] - (double)draw(&seed)));
    }
}

/* After 300 steps every value's gradient is small, or at least much smaller than at first. */
static vw_status check_descent(const bench *b, int64_t rows, int64_t cols, vw_error *err)
{
    subject s = subject_new(b, rows, cols, 1), first = subject_new(b, rows, cols, 1);
    vw_status status = VW_OK;

    quadratic(&first, 2);
    for (int64_t i = 1; i <= 300 && status == VW_OK; i++) {
        quadratic(&s, 2);
        status = step(b, &s, i, 0.02, 1, 0, err);
    }
    quadratic(&s, 2);
    for (int64_t i = 0; i < s.n && status == VW_OK; i++)
        if (!(fabsf(s.gradient[i]) <= fmaxf(fabsf(first.gradient[i]) / 4, 0.1f)))
            status =
                vw_fail(err, VW_E_INVALID, "value %lld: a gradient of %g is %g after 300 steps",
                        (long long)i, (double)first.gradient[i], (double)s.gradient[i]);
    subject_free(&s);
    subject_free(&first);
    return status;
}

static vw_status check_vector(const bench *b, vw_error *err)
{
    return check_descent(b, 1, 37, err);
}

static vw_status check_matrix(const bench *b, vw_error *err)
{
    return check_descent(b, 12, 9, err);
}

/* No learning rate, no decay: the parameter keeps its bits. */
static vw_status check_standstill(const bench *b, vw_error *err)
{
    subject s = subject_new(b, 5, 7, 3), copy = subject_new(b, 5, 7, 3);
    vw_status status = VW_OK;

    for (int64_t i = 1; i <= 3 && status == VW_OK; i++)
        status = step(b, &s, i, 0, 1, 0, err);
    if (status == VW_OK && memcmp(s.parameter, copy.parameter, (size_t)s.n * sizeof(float)))
        status = vw_fail(err, VW_E_INVALID, "a learning rate of 0 changes the parameter");
    if (status == VW_OK && memcmp(s.gradient, copy.gradient, (size_t)s.n * sizeof(float)))
        status = vw_fail(err, VW_E_INVALID, "it changes the gradient");
    subject_free(&s);
    subject_free(&copy);
    return status;
}

/* A gradient scaled by 1/4, which is exact, and one that is four times smaller. */
static vw_status check_scale(const bench *b, vw_error *err)
{
    subject s = subject_new(b, 6, 5, 4), small = subject_new(b, 6, 5, 4);
    vw_status status = VW_OK;

    for (int64_t i = 0; i < small.n; i++)
        small.gradient[i] /= 4;
    for (int64_t i = 1; i <= 4 && status == VW_OK; i++) {
        status = step(b, &s, i, 0.01, 0.25, 0.1, err);
        if (status == VW_OK)
            status = step(b, &small, i, 0.01, 1, 0.1, err);
    }
    for (int64_t i = 0; i < s.n && status == VW_OK; i++)
        if (fabsf(s.parameter[i] - small.parameter[i]) > 1e-6f)
            status = vw_fail(err, VW_E_INVALID, "value %lld: %g, with a smaller gradient %g",
                             (long long)i, (double)s.parameter[i], (double)small.parameter[i]);
    subject_free(&s);
    subject_free(&small);
    return status;
}

/* The same bits with one thread and with five, whose parts run backwards. */
static vw_status check_threads(const bench *b, vw_error *err)
{
    subject s = subject_new(b, 301, 333, 5), copy = subject_new(b, 301, 333, 5);
    vw_status status = VW_OK;

    for (int64_t i = 1; i <= 3 && status == VW_OK; i++) {
        b->mock->n_threads = 1;
        b->mock->is_backwards = false;
        status = step(b, &s, i, 0.02, 0.5, 0.1, err);
        b->mock->n_threads = 5;
        b->mock->is_backwards = true;
        if (status == VW_OK)
            status = step(b, &copy, i, 0.02, 0.5, 0.1, err);
    }
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
    if (status == VW_OK && memcmp(s.parameter, copy.parameter, (size_t)s.n * sizeof(float)))
        status = vw_fail(err, VW_E_INVALID, "another number of threads gives other bits");
    subject_free(&s);
    subject_free(&copy);
    return status;
}

typedef vw_status (*check_fn)(const bench *b, vw_error *err);
static const struct {
    const char *name;
    check_fn check;
} checks[] = {
    {"goes down a quadratic, as a vector", check_vector},
    {"and as a matrix", check_matrix},
    {"stands still at a learning rate of 0", check_standstill},
    {"grad_scale is a factor of the gradient", check_scale},
    {"threads change no bit", check_threads},
};
enum { N_CHECKS = sizeof checks / sizeof *checks };

/* ---- sgd against its formula ----------------------------------------------------------------- */

/* Each step starts from the f32 values that the last one left, so the bound is that of one step:
 * eight roundings of the largest term that takes part. */
static vw_status check_formula(const bench *b, double momentum, bool nesterov, vw_error *err)
{
    const double rate = 0.03, scale = 0.7, decay = 0.05, u = 0x1p-24;
    subject s = subject_new(b, 7, 11, 6);
    double want[77] = {0}, bound[77] = {0};
    vw_status status = VW_OK;

    for (int64_t k = 1; k <= 6 && status == VW_OK; k++) {
        for (int64_t i = 0; i < s.n; i++) {
            double p = s.parameter[i], old = momentum > 0 ? s.state[0][i] : 0;
            double g = scale * s.gradient[i] + decay * p, v = momentum * old + g;
            double size = fabs(scale * s.gradient[i]) + fabs(decay * p) + fabs(momentum * old);
            want[i] = p - rate * (nesterov ? g + momentum * v : v);
            bound[i] = 8 * u * (fabs(p) + rate * 2 * size);
        }
        status = step(b, &s, k, rate, scale, decay, err);
        for (int64_t i = 0; i < s.n && status == VW_OK; i++)
            if (!(fabs(s.parameter[i] - want[i]) <= bound[i]))
                status = vw_fail(err, VW_E_INVALID, "step %lld, value %lld: %.9g, not %.9g",
                                 (long long)k, (long long)i, (double)s.parameter[i], want[i]);
    }
    subject_free(&s);
    return status;
}

static void test_sgd(const vw_plugin *plugin)
{
    static const struct {
        const char *settings[3];
        double momentum;
        bool nesterov;
    } cases[] = {
        {{NULL}, 0, false},
        {{"momentum=0.9", NULL}, 0.9, false},
        {{"momentum=0.75", "nesterov=yes", NULL}, 0.75, true},
    };
    vw_error err = {VW_OK, ""};
    mock_instance it;
    mock_host mock;

    mock_host_init(&mock);
    for (int i = 0; i < 3; i++) {
        bench b = {.mock = &mock};
        if (!mock_open(&mock, plugin, cases[i].settings, &it))
            continue;
        b.ops = it.component.ops;
        b.self = it.component.self;
        vw_optimizer_state state[VW_OPTIMIZER_MAX_STATES];
        is_int(b.ops->states(b.self, 3, 5, state), i > 0, "sgd %d: states", i);
        if (i > 0)
            is_int(state[0].n, 15, "sgd %d: values of it", i);
        err.text[0] = '\0';
        ok(check_formula(&b, cases[i].momentum, cases[i].nesterov, &err) == VW_OK,
           "sgd %d: the formula in double %s", i, err.text);
        if (i > 0) {
            ok(check_formula(&b, cases[i].momentum + 1e-4, cases[i].nesterov, NULL) != VW_OK,
               "sgd %d, planted: a momentum off by 1e-4", i);
            ok(check_formula(&b, cases[i].momentum, !cases[i].nesterov, NULL) != VW_OK,
               "sgd %d, planted: the other momentum", i);
        }
        mock_close(&mock, &it);
    }
    is_int(mock_try_open(&mock, plugin, (const char *const[]){"nesterov=yes", NULL}, &it, &err),
           VW_E_CONFIG, "sgd: nesterov without momentum");
    like(err.text, "nesterov = yes needs a momentum above 0", "and its sentence");
}

/* ---- adamw against its formula --------------------------------------------------------------- */

typedef struct adamw_numbers {
    double beta1, beta2, eps, rate, scale, decay;
} adamw_numbers;

/* One step in double from the f32 state that the last one left.  Every number is rounded a few times
 * on its way (constants, products, sums), so the bound is eight roundings of the terms' sizes; the
 * quotient inherits them from its parts.  `last` is how many steps are taken; the formula uses c, the
 * plugin is given `decay`. */
static vw_status check_adamw(const bench *b, int64_t rows, int64_t cols, int64_t last,
                             adamw_numbers c, double decay, vw_error *err)
{
    const double u = 0x1p-24;
    subject s = subject_new(b, rows, cols, 7);
    double *want = calloc((size_t)s.n, sizeof *want), *bound = calloc((size_t)s.n, sizeof *bound);
    vw_status status = VW_OK;

    if (!want || !bound)
        bail_out("no memory");
    for (int64_t t = 1; t <= last && status == VW_OK; t++) {
        for (int64_t i = 0; i < s.n; i++) {
            double p = s.parameter[i], g = c.scale * s.gradient[i];
            double m = c.beta1 * s.state[0][i] + (1 - c.beta1) * g;
            double v = c.beta2 * s.state[1][i] + (1 - c.beta2) * g * g;
            double below = sqrt(v / (1 - pow(c.beta2, (double)t))) + c.eps;
            double rate = c.rate / (1 - pow(c.beta1, (double)t)) / below;
            double size = fabs(c.beta1 * s.state[0][i]) + fabs((1 - c.beta1) * g);
            want[i] = p - rate * m - c.rate * c.decay * p;
            bound[i] = 8 * u * (fabs(p) * (0.25 + c.rate * c.decay) + 2 * rate * size);
        }
        status = step(b, &s, t, c.rate, c.scale, decay, err);
        for (int64_t i = 0; i < s.n && status == VW_OK; i++)
            if (!(fabs(s.parameter[i] - want[i]) <= bound[i]))
                status = vw_fail(err, VW_E_INVALID, "step %lld, value %lld: %.9g, not %.9g",
                                 (long long)t, (long long)i, (double)s.parameter[i], want[i]);
        for (int64_t i = 0; i < s.n; i++)
            s.gradient[i] = -0.5f * s.gradient[i] + 0.01f * (float)t;
    }
    free(want);
    free(bound);
    subject_free(&s);
    return status;
}

/* A million steps later nothing overflows, and the bias corrections have become 1. */
static vw_status check_late_step(const bench *b, adamw_numbers c, vw_error *err)
{
    subject s = subject_new(b, 1, 19, 8);
    vw_status status = VW_OK;

    for (int64_t i = 0; i < s.n; i++) {
        s.state[0][i] = s.gradient[i];
        s.state[1][i] = s.gradient[i] * s.gradient[i];
    }
    float before = s.parameter[4], sign = s.gradient[4] > 0 ? 1 : -1;
    status = step(b, &s, 1000000, c.rate, 1, 0, err);
    double moved = (double)(before - s.parameter[4]) * (double)sign, g = fabs(s.gradient[4]);
    double want = c.rate * g / (g + c.eps);
    if (status == VW_OK && !(fabs(moved - want) <= 1e-6 * want + 2 * 0x1p-24))
        status = vw_fail(err, VW_E_INVALID, "a constant gradient moves by %.9g, not by %.9g", moved,
                         want);
    subject_free(&s);
    return status;
}

static void test_adamw_refusals(const bench *b)
{
    subject s = subject_new(b, 2, 3, 9);
    vw_error err = {VW_OK, ""};
    vw_update u = {.size = sizeof u, .step = 0, .n = 6, .rows = 2, .cols = 3,
                   .parameter = s.parameter, .gradient = s.gradient,
                   .state = {s.state[0], s.state[1]}};

    is_int(b->ops->update(b->self, NULL, &u, &err), VW_E_INVALID, "adamw: step 0");
    like(err.text, "its step 0 is below 1", "and its sentence");
    u.step = 1;
    u.n = 5;
    is_int(b->ops->update(b->self, NULL, &u, &err), VW_E_INVALID, "adamw: n");
    like(err.text, "5 values are no matrix of 2 x 3", "and its sentence");
    u.n = 6;
    u.state[1] = NULL;
    is_int(b->ops->update(b->self, NULL, &u, &err), VW_E_INVALID, "adamw: no second moment");
    like(err.text, "the parameter, its gradient or its state is missing", "and its sentence");
    u.state[1] = s.state[1];
    u.grad_scale = NAN;
    is_int(b->ops->update(b->self, NULL, &u, &err), VW_E_INVALID, "adamw: NaN");
    like(err.text, "gradient scale nan, weight decay 0: all must be finite", "and its sentence");
    subject_free(&s);
}

static void test_adamw(const vw_plugin *plugin)
{
    static const char *const settings[][4] = {
        {NULL}, {"beta1=0.8", "beta2=0.999", "eps=1e-3", NULL}, {"beta1=0", NULL}};
    static const adamw_numbers numbers[] = {{0.9, 0.95, 1e-8, 0.01, 0.7, 0.1},
                                            {0.8, 0.999, 1e-3, 0.003, 1, 0},
                                            {0, 0.95, 1e-8, 0.1, 0.25, 0.5}};
    vw_error err = {VW_OK, ""};
    mock_instance it;
    mock_host mock;

    mock_host_init(&mock);
    for (int i = 0; i < 3; i++) {
        bench b = {.mock = &mock};
        if (!mock_open(&mock, plugin, settings[i], &it))
            continue;
        b.ops = it.component.ops;
        b.self = it.component.self;
        adamw_numbers c = numbers[i], wrong = c;
        err.text[0] = '\0';
        ok(check_adamw(&b, 7, 11, 8, c, c.decay, &err) == VW_OK, "adamw %d: the formula %s", i, err.text);
        ok(check_adamw(&b, 150, 333, 2, c, c.decay, &err) == VW_OK, "adamw %d: a larger one", i);
        ok(check_late_step(&b, c, &err) == VW_OK, "adamw %d: after long %s", i, err.text);
        wrong.beta2 *= 1 - 1e-4;
        ok(check_adamw(&b, 7, 11, 8, wrong, c.decay, NULL) != VW_OK, "adamw %d, planted: beta2", i);
        wrong = c;
        wrong.decay += 1e-3;
        ok(check_adamw(&b, 7, 11, 8, wrong, c.decay, NULL) != VW_OK, "adamw %d, planted: decay", i);
        wrong = c;
        wrong.eps += 1e-4;
        ok(check_adamw(&b, 7, 11, 8, wrong, c.decay, NULL) != VW_OK, "adamw %d, planted: eps", i);
        if (i == 0)
            test_adamw_refusals(&b);
        mock_close(&mock, &it);
    }
}

/* ---- planted errors -------------------------------------------------------------------------- */

static int32_t no_state(void *self, int64_t rows, int64_t cols, vw_optimizer_state *states)
{
    (void)self, (void)rows, (void)cols, (void)states;
    return 0;
}

/* Plain descent with one thing wrong, which *self tells. */
static vw_status wrong_update(void *self, vw_stream *stream, const vw_update *u, vw_error *err)
{
    int how = *(int *)self;
    int64_t n = u->n;

    (void)stream, (void)err;
    if (how == 0)
        n = u->n - 1; /* the last value is left out */
    if (how == 4)
        n = u->n + 1; /* one too many */
    for (int64_t i = 0; i < n; i++) {
        float g = u->gradient[i] * (float)(how == 2 ? 1 : u->grad_scale);
        float rate = (float)(how == 1 ? fmax(u->learning_rate, 0.01) : u->learning_rate);
        u->parameter[i] -= how == 3 ? -rate * g : rate * g;
    }
    return VW_OK;
}

static void plant(void)
{
    static const struct {
        const char *name;
        int check;
    } plants[] = {
        {"a value left out", 0}, {"a rate of its own", 2}, {"grad_scale forgotten", 3},
        {"the sign", 1},         {"a value too many", 0},
    };
    static const vw_optimizer_ops ops = {sizeof ops, no_state, wrong_update};
    mock_host mock;

    mock_host_init(&mock);
    for (int how = 0; how < 5; how++) {
        bench b = {&ops, &how, &mock};
        vw_error err = {VW_OK, ""};
        ok(checks[plants[how].check].check(&b, &err) != VW_OK, "planted: %s: %s", plants[how].name,
           err.text);
    }
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    bench b = {.mock = &mock};
    vw_error err = {VW_OK, ""};

    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    b.ops = it.component.ops;
    b.self = it.component.self;
    for (int i = 0; i < N_CHECKS; i++) {
        err.text[0] = '\0';
        ok(checks[i].check(&b, &err) == VW_OK, "%s: %s %s", plugin->name, checks[i].name, err.text);
    }
    mock_close(&mock, &it);
    if (!strcmp(plugin->name, "sgd"))
        test_sgd(plugin);
    if (!strcmp(plugin->name, "adamw"))
        test_adamw(plugin);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_OPTIMIZER, test_one, NULL) > 0, "there are plugins");
    plant();
    return done_testing();
}
