/* device-loss.c - conformance of cross_entropy: every installed device against the formula, hard
 * labels and teachers, and what must not matter.
 */
#include "t/device-case.h"

#include "kernels/ref/gradient.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

/* What a test asks for; the teacher's k is 0, few, or the whole vocabulary. */
typedef struct loss_case {
    const char *name;
    int64_t rows, n, k;
    float smoothing, cap, alpha, temperature, range;
    int has_lse;
} loss_case;

/* The inputs of a case on the device, and their host copies. */
typedef struct setup {
    grid logits, teacher;
    int32_t *labels, *ids;
    float *lse;
    vw_buffer labels_at, ids_at, lse_at, ce_at, kl_at;
    vw_loss_desc desc;
} setup;

static double lse_of(const float *x, int64_t n, double t)
{
    double sum = 0, max = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, (double)x[i] / t);
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] / t - max);
    return max + log(sum);
}

static setup make_setup(const bench *b, const loss_case *c)
{
    setup s = {.logits = make_grid(b, c->rows, c->n, 1, c->range)};
    s.labels = malloc((size_t)c->rows * sizeof *s.labels);
    for (int64_t t = 0; t < c->rows; t++)
        s.labels[t] = t % 3 == 2 ? -1 : (int32_t)((t * 7919 + 3) % c->n);
    s.desc = (vw_loss_desc){.size = sizeof s.desc, .smoothing = c->smoothing, .cap = c->cap,
                            .is_backward = 1, .scale = 0.25f, .alpha = c->alpha,
                            .temperature = c->temperature};
    to_device(b, s.labels, (size_t)c->rows * 4, &s.labels_at);
    to_device(b, NULL, (size_t)c->rows * 4, &s.ce_at);
    to_device(b, NULL, (size_t)c->rows * 4, &s.kl_at);
    if (c->k > 0) {
        s.teacher = make_grid(b, c->rows, c->k, 2, c->range);
        s.desc.teacher = s.teacher.t;
    }
    if (c->k > 0 && c->k < c->n) {
        s.ids = malloc((size_t)(c->rows * c->k) * sizeof *s.ids);
        s.lse = malloc((size_t)c->rows * sizeof *s.lse);
        for (int64_t t = 0; t < c->rows; t++) {
            /* The whole is twice what the k make up. */
            s.lse[t] = (float)(lse_of(s.teacher.host + t * s.teacher.stride, c->k,
                                      (double)c->temperature) + log(2));
            for (int64_t j = 0; j < c->k; j++) /* every n / k-th word, turned by the row */
                s.ids[t * c->k + j] = (int32_t)((j * (c->n / c->k) + t) % c->n);
        }
        to_device(b, s.ids, (size_t)(c->rows * c->k) * 4, &s.ids_at);
        to_device(b, s.lse, (size_t)c->rows * 4, &s.lse_at);
        s.desc.teacher_ids = vw_tensor_2d(s.ids_at.data, VW_I32, c->rows, c->k);
        s.desc.teacher_lse = c->has_lse ? s.lse_at.data : NULL;
    }
    return s;
}

static void drop_setup(const bench *b, setup *s)
{
    drop(b, &s->logits);
    if (s->desc.teacher.data)
        drop(b, &s->teacher);
    b->ops->free(b->self, &s->labels_at), b->ops->free(b->self, &s->ids_at);
    b->ops->free(b->self, &s->lse_at);
    b->ops->free(b->self, &s->ce_at), b->ops->free(b->self, &s->kl_at);
    free(s->labels), free(s->ids), free(s->lse);
}

/* Row t's terms and gradient by the formula. */
static void expected_row(const loss_case *c, const setup *s, int64_t t, double *ce, double *kl,
                         double *d)
{
    double *z = malloc((size_t)c->n * sizeof *z), *p = malloc((size_t)(c->k + 1) * sizeof *p);
    for (int64_t i = 0; i < c->n; i++)
        z[i] = (double)s->logits.host[t * s->logits.stride + i];
    for (int64_t i = 0; i < c->k; i++)
        p[i] = (double)s->teacher.host[t * s->teacher.stride + i];
    vw_ref_loss loss = {(double)c->smoothing, (double)c->cap, (double)c->alpha,
                        (double)c->temperature, c->k, p, s->ids ? s->ids + t * c->k : NULL,
                        c->has_lse && s->lse ? (double)s->lse[t] : NAN};
    if (c->k == 0)
        loss.temperature = 1;
    vw_ref_cross_entropy(c->n, &loss, z, s->labels[t], ce, kl, d);
    for (int64_t i = 0; i < c->n; i++)
        d[i] *= 0.25;
    free(z), free(p);
}

static void test_case(const bench *b, const loss_case *c)
{
    setup s = make_setup(b, c);
    double *d = malloc((size_t)c->n * sizeof *d), squares = 0, worst = 0, terms = 0;
    float *ce = malloc((size_t)c->rows * 4), *kl = malloc((size_t)c->rows * 4);
    must(b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data,
                               s.ce_at.data, s.kl_at.data, &err), "%s", c->name);
    float *got = fetch(b, &s.logits);
    from_device(b, ce, s.ce_at.data, (size_t)c->rows * 4);
    from_device(b, kl, s.kl_at.data, (size_t)c->rows * 4);
    for (int64_t t = 0; t < c->rows; t++) {
        double want_ce = 0, want_kl = 0;
        memset(d, 0, (size_t)c->n * sizeof *d);
        if (s.labels[t] >= 0)
            expected_row(c, &s, t, &want_ce, &want_kl, d);
        terms = fmax(terms, fabs((double)ce[t] - want_ce) / (1 + fabs(want_ce)));
        terms = fmax(terms, fabs((double)kl[t] - want_kl) / (1 + fabs(want_kl)));
        for (int64_t i = 0; i < c->n; i++) {
            double e = fabs((double)got[t * c->n + i] - d[i]);
            worst = e <= worst ? worst : e;
            squares += d[i] * d[i];
        }
    }
    near(worst / (sqrt(squares / (double)(c->rows * c->n)) + 1e-30), 0, 3e-5,
         "%s: %s: gradient, error by its rms", b->name, c->name);
    near(terms, 0, 1e-6, "%s: %s: loss", b->name, c->name);
    drop_setup(b, &s);
    free(d), free(ce), free(kl), free(got);
}

static void test_cases(const bench *b)
{
    static const loss_case cases[] = {
        {"one word", 3, 1, 0, 0, 0, 0, 0, 3, 0},
        {"labels", 7, 65, 0, 0, 0, 0, 0, 3, 0},
        {"labels, a large vocabulary", 3, 50304, 0, 0, 0, 0, 0, 9, 0},
        {"smoothing", 7, 1001, 0, 0.1f, 0, 0, 0, 5, 0},
        {"a cap", 7, 1001, 0, 0.1f, 4, 0, 0, 9, 0},
        {"a teacher", 7, 1001, 1001, 0, 0, 0.5f, 2, 5, 0},
        {"a teacher alone", 4, 333, 333, 0, 0, 1, 1, 5, 0},
        {"a teacher, smoothing and a cap", 7, 1001, 1001, 0.1f, 6, 0.3f, 3, 9, 0},
        {"a teacher's largest", 7, 1001, 64, 0, 0, 0.5f, 2, 5, 1},
        {"a teacher's largest and a cap", 7, 1001, 64, 0.1f, 6, 0.7f, 2, 5, 1},
        {"nothing but a teacher's largest", 7, 1001, 64, 0, 0, 0.5f, 2, 5, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        test_case(b, &cases[i]);
}

/* A row in a chunk of its own and with 3 threads is the row in one large chunk, bit for bit. */
static void test_chunks(const bench *b)
{
    static const loss_case c = {"chunks", 9, 20011, 0, 0.1f, 0, 0, 0, 5, 0};
    random_state = 7;
    setup whole = make_setup(b, &c);
    random_state = 7;
    setup cut = make_setup(b, &c);
    b->ops->cross_entropy(b->self, b->stream, &whole.desc, whole.logits.t, whole.labels_at.data,
                          whole.ce_at.data, NULL, &err);
    b->mock->n_threads = 3;
    b->mock->is_backwards = true;
    for (int64_t t = 0; t < c.rows; t += 4) {
        int64_t n = c.rows - t < 4 ? c.rows - t : 4;
        b->ops->cross_entropy(b->self, b->stream, &cut.desc, vw_tensor_rows(cut.logits.t, t, n),
                              (const int32_t *)cut.labels_at.data + t,
                              (float *)cut.ce_at.data + t, NULL, &err);
    }
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
    float *one = fetch(b, &whole.logits), *many = fetch(b, &cut.logits);
    is_mem(many, one, sizeof *one * (size_t)(c.rows * c.n), "%s: chunks change no bit", b->name);
    drop_setup(b, &whole), drop_setup(b, &cut);
    free(one), free(many);
}

/* A teacher that is the student adds nothing: exactly. */
static void test_same(const bench *b)
{
    static const loss_case c = {"same", 3, 999, 999, 0, 0, 1, 2, 5, 0};
    setup s = make_setup(b, &c);
    size_t bytes = (size_t)(c.rows * s.teacher.stride) * 4;
    vw_buffer copy;
    float kl[3], *z = malloc(bytes);
    for (int64_t t = 0; t < c.rows; t++)
        memcpy(z + t * s.teacher.stride, s.logits.host + t * s.logits.stride, (size_t)c.n * 4);
    to_device(b, z, bytes, &copy);
    s.desc.teacher.data = copy.data;
    b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, NULL,
                          s.kl_at.data, &err);
    from_device(b, kl, s.kl_at.data, sizeof kl);
    float *got = fetch(b, &s.logits), largest = 0;
    for (int64_t i = 0; i < c.rows * c.n; i++)
        largest = fmaxf(largest, fabsf(got[i]));
    ok(kl[0] == 0 && kl[1] == 0, "%s: a teacher that says the same: KL %g", b->name, (double)kl[0]);
    near((double)largest, 0, 1e-9, "%s: and no gradient", b->name);
    b->ops->free(b->self, &copy);
    drop_setup(b, &s);
    free(got), free(z);
}

/* The loss alone leaves no gradient; masked rows are 0; labels that do not exist are NaN. */
static void test_rows(const bench *b)
{
    static const loss_case c = {"rows", 3, 100, 0, 0, 0, 0, 0, 3, 0};
    setup s = make_setup(b, &c);
    static const int32_t labels[3] = {-5, 100, 99};
    float ce[3];
    b->ops->upload(b->self, b->stream, s.labels_at.data, labels, sizeof labels, &err);
    b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, s.ce_at.data,
                          NULL, &err);
    from_device(b, ce, s.ce_at.data, sizeof ce);
    float *got = fetch(b, &s.logits);
    ok(ce[0] == 0 && got[0] == 0 && got[99] == 0, "%s: a masked row", b->name);
    ok(isnan(ce[1]) && isnan(got[100]), "%s: a label outside the vocabulary gives NaN", b->name);
    ok(isfinite(ce[2]) && isfinite(got[200]), "%s: in its row alone", b->name);
    drop_setup(b, &s);
    free(got);
    s = make_setup(b, &c);
    s.desc.is_backward = 0;
    b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, s.ce_at.data,
                          NULL, &err);
    from_device(b, ce, s.ce_at.data, sizeof ce);
    double d[100], want;
    expected_row(&c, &s, 0, &want, NULL, d);
    near((double)ce[0], want, 1e-6 * (1 + want), "%s: the loss alone", b->name);
    drop_setup(b, &s);
}

static void test_refusals(const bench *b)
{
    static const loss_case c = {"refusals", 2, 50, 5, 0, 0, 0.5f, 2, 3, 0};
    setup s = make_setup(b, &c);
    s.desc.temperature = 0;
    is_int(b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, NULL,
                                 NULL, &err), VW_E_INVALID, "%s: temperature", b->name);
    like(err.text, "cross_entropy: a temperature of 0; it must be above 0", "%s", err.text);
    s.desc.temperature = 1;
    s.desc.smoothing = 1;
    is_int(b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, NULL,
                                 NULL, &err), VW_E_INVALID, "%s: smoothing", b->name);
    like(err.text, "cross_entropy: a smoothing of 1; 0 up to, not with, 1", "%s", err.text);
    s.desc.smoothing = 0;
    s.desc.teacher_ids.data = NULL;
    is_int(b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, NULL,
                                 NULL, &err), VW_E_INVALID, "%s: teacher", b->name);
    like(err.text, "teacher is [2, 5]; [2, 50] would be right", "%s", err.text);
    s.desc.teacher_ids.data = s.ids_at.data;
    s.desc.teacher.shape[1] = 51;
    is_int(b->ops->cross_entropy(b->self, b->stream, &s.desc, s.logits.t, s.labels_at.data, NULL,
                                 NULL, &err), VW_E_UNSUPPORTED, "%s: too many", b->name);
    like(err.text, "51 logits of the teacher a row; 1 to 1024 of 50 are possible", "%s", err.text);
    drop_setup(b, &s);
}

/* The bound must see a label that is off by one, and a forgotten smoothing. */
static void test_detector(const bench *b)
{
    enum { N = 50 };
    double z[N], right[N], wrong[N], squares = 0, worst = 0;
    vw_ref_loss loss = {0.1, 0, 0, 1, 0, NULL, NULL, NAN}, plain = loss;
    for (int i = 0; i < N; i++)
        z[i] = (double)uniform(-3, 3);
    plain.smoothing = 0.099;
    vw_ref_cross_entropy(N, &loss, z, 3, NULL, NULL, right);
    vw_ref_cross_entropy(N, &plain, z, 3, NULL, NULL, wrong);
    for (int i = 0; i < N; i++) {
        squares += right[i] * right[i];
        worst = fmax(worst, fabs(right[i] - wrong[i]));
    }
    ok(worst / sqrt(squares / N) > 3e-5, "%s: a smoothing of 0.099 for 0.1 shows", b->name);
}

static void test_device(const bench *b)
{
    if (offers(b, offsetof(vw_device_ops, cross_entropy), "cross_entropy")) {
        test_detector(b);
        test_cases(b);
        test_chunks(b);
        test_same(b);
        test_rows(b);
        test_refusals(b);
    }
}

int main(void)
{
    return test_devices(test_device);
}
