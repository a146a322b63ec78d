/* trainee-match.c - hidden states that are compared with a teacher's: the loss and the projections'
 * gradients against f64 sums over the states themselves, the whole objective's slope against
 * differences, and what is saved.
 */
#include "core/trainee.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"
#include "t/with_trainee.h"

enum { WIDTH = 20, BORDERS_MAX = 8 };
static const double weight = 3;

static vw_status ignore_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    (void)arg, (void)first, (void)logits, (void)err;
    return VW_OK;
}

typedef struct states { /* of one batch: the student's at its borders, and a teacher's */
    int32_t borders, width, after[BORDERS_MAX];
    float *x[BORDERS_MAX];
    float *h[BORDERS_MAX];
    const float *hidden[BORDERS_MAX];
} states;

static states states_of(with_trainee *w, const vw_micro_batch *m)
{
    states s = {.borders = w->info.model->n_layers, .width = w->info.model->width};
    for (int32_t b = 0; b < s.borders; b++) {
        s.after[b] = b;
        s.x[b] = malloc((size_t)m->n_tokens * (size_t)s.width * sizeof(float));
        s.h[b] = malloc((size_t)m->n_tokens * WIDTH * sizeof(float));
        for (int64_t i = 0; i < m->n_tokens * WIDTH; i++)
            s.h[b][i] = (float)sin(0.37 * (double)i + b);
        s.hidden[b] = s.h[b];
    }
    return s;
}

static void states_free(states *s)
{
    for (int32_t b = 0; b < s->borders; b++) {
        free(s->x[b]);
        free(s->h[b]);
    }
}

static vw_trainee_param projection(with_trainee *w, int32_t border)
{
    char name[64];
    snprintf(name, sizeof name, "distill.projection.%d.weight", border);
    return trainee_param(w, name);
}

/* Mean over borders, tokens and values of (W x - h)^2, in f64, and dW of `border`. */
static double reference(with_trainee *w, const states *s, int64_t n, int32_t border, float *dw)
{
    double sum = 0, values = (double)s->borders * (double)n * WIDTH;
    memset(dw, 0, (size_t)WIDTH * (size_t)s->width * sizeof *dw);
    for (int32_t b = 0; b < s->borders; b++) {
        vw_trainee_param p = projection(w, b);
        for (int64_t t = 0; t < n; t++)
            for (int32_t i = 0; i < WIDTH; i++) {
                const float *x = s->x[b] + t * s->width;
                double miss = -(double)s->h[b][t * WIDTH + i];
                for (int32_t k = 0; k < s->width; k++)
                    miss += (double)p.values[i * s->width + k] * (double)x[k];
                sum += miss * miss;
                for (int32_t k = 0; k < s->width && b == border; k++)
                    dw[i * s->width + k] += (float)(2 * weight * miss * (double)x[k] / values);
            }
    }
    return sum / values;
}

static void test_projections(const char *model)
{
    const vw_trainee_options o = {.hidden_width = WIDTH, .seed = 4};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch m = golden_micro(&g);
    states s = states_of(&w, &m);
    float *dw = malloc((size_t)WIDTH * (size_t)s.width * sizeof *dw);
    vw_trainee_tap(w.trainee, s.borders, s.after, s.x);
    if (!dw || vw_trainee_logits(w.trainee, &m, ignore_rows, NULL, &w.err))
        bail_out("%s", w.err.text);
    vw_trainee_tap(w.trainee, 0, NULL, NULL);
    m.distil.hidden = s.hidden;
    m.distil.hidden_weight = weight;
    vw_losses l = trainee_learn(&w, &m);
    for (int32_t b = 0; b < s.borders; b++) {
        vw_trainee_param p = projection(&w, b);
        double want = reference(&w, &s, m.n_tokens, b, dw), got = l.hidden / (double)l.n_scored;
        ok(fabs(got - want) < 1e-5 * want, "%s: what is missed, %.7g, is %.7g", model, got, want);
        double off = gradient_difference(p.gradient, dw, (size_t)p.n);
        ok(off < 1e-4, "%s: the gradient of projection %d is off by %.1e", model, b, off);
    }
    free(dw);
    states_free(&s);
    golden_batch_free(&g);
    trainee_close(&w);
}

static double objective(with_trainee *w, const vw_micro_batch *m)
{
    vw_losses l = trainee_learn(w, m);
    return (l.cross_entropy + m->distil.hidden_weight * l.hidden) / (double)l.n_scored;
}

/* Nothing changes for the model at a weight of 0; at another the slope of the whole objective along
 * the gradient is the gradient's square: of everything, or of one matrix below the border alone, whose
 * part goes through the projection. */
static void test_slope(const char *model, double hidden_weight, const char *only)
{
    const vw_trainee_options o = {.hidden_width = WIDTH, .seed = 4}, plain = {0};
    with_trainee w, without;
    trainee_open_or_die(&w, model, &o, "");
    trainee_open_or_die(&without, model, &plain, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch m = golden_micro(&g);
    trainee_learn(&without, &m);
    states s = states_of(&w, &m);
    m.distil.hidden = s.hidden;
    trainee_learn(&w, &m);
    size_t n = (size_t)w.info.n_trained;
    double off = 0, square = 0;
    for (size_t i = 0; i < (size_t)without.info.n_trained; i++)
        off = fmax(off, fabs((double)w.info.gradients[i] - (double)without.info.gradients[i]));
    ok(off == 0, "%s: a weight of 0 is plain training", model);
    m.distil.hidden_weight = hidden_weight;
    trainee_learn(&w, &m);
    float *d = trainee_gradients(&w);
    if (only) {
        vw_trainee_param p = trainee_param(&w, only);
        size_t first = (size_t)(p.gradient - w.info.gradients), end = first + (size_t)p.n;
        for (size_t i = 0; i < n; i++)
            d[i] = i >= first && i < end ? d[i] : 0;
    }
    for (size_t i = 0; i < n; i++)
        square += (double)d[i] * d[i];
    double step = 2e-3 / sqrt(square), side[2];
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < n; i++)
            w.info.values[i] += (float)((k ? -2 : 1) * step * (double)d[i]);
        side[k] = objective(&w, &m);
    }
    double slope = (side[0] - side[1]) / (2 * step);
    ok(fabs(slope - square) < 0.005 * square, "%s: slope %.6g along a gradient of square %.6g%s%s",
       model, slope, square, only ? ", of " : "", only ? only : "");
    free(d);
    states_free(&s);
    golden_batch_free(&g);
    trainee_close(&w);
    trainee_close(&without);
}

/* A projection is kept beside the model, and comes back. */
static void test_kept(void)
{
    const vw_trainee_options o = {.hidden_width = WIDTH, .seed = 4},
                             other = {.hidden_width = WIDTH, .seed = 5};
    char folder[300];
    with_trainee w, again;
    trainee_open_or_die(&w, "train-dense", &o, "");
    trainee_open_or_die(&again, "train-dense", &other, "");
    snprintf(folder, sizeof folder, "%s", folder_path("projections"));
    mkdir(folder, 0700);
    size_t bytes = (size_t)projection(&w, 0).n * sizeof(float);
    ok(memcmp(projection(&w, 0).values, projection(&again, 0).values, bytes) != 0,
       "another seed, another projection");
    vw_status st = vw_trainee_save_projections(w.trainee, folder, &w.err);
    if (!st)
        st = vw_trainee_load_projections(again.trainee, folder, &w.err);
    ok(!st, "kept and read: %s", st ? w.err.text : "ok");
    is_mem(projection(&again, 0).values, projection(&w, 0).values, bytes, "the same values");
    st = vw_trainee_save(w.trainee, folder, VW_F32, &w.err);
    trainee_close(&again);
    const vw_trainee_options saved = {.path = folder};
    trainee_open_or_die(&again, NULL, &saved, "");
    ok(!st && again.info.parameters == w.info.parameters && again.info.n_params < w.info.n_params,
       "the saved model has none of them");
    trainee_close(&again);
    trainee_close(&w);
}

static void test_not_said(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    trainee_open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch m = golden_micro(&g);
    states s = states_of(&w, &m);
    m.distil.hidden = s.hidden;
    trainee_refuses(&w, &m, "hidden states of a teacher, which were not said to come");
    states_free(&s);
    golden_batch_free(&g);
    trainee_close(&w);
}

int main(void)
{
    folder_make();
    test_projections("train-dense");
    test_projections("train-softmax");
    test_slope("train-dense", 0.5, NULL);
    test_slope("train-dense", 40, "model.layers.0.mlp.up_proj.weight");
    test_slope("train-dense", 40, "model.embed_tokens.weight");
    test_slope("train-dense", 40, "model.layers.1.mlp.down_proj.weight"); /* the last layer's */
    test_kept();
    test_not_said();
    return done_testing();
}
