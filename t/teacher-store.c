/* teacher-store.c - a teacher's largest logits: kept in files and found again, and what a student
 * learns from them against f64 sums over both models' logits.
 */
#include "core/teacher_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/trainee.h"
#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"
#include "t/with_trainee.h"

enum { V = 97 };
static const double temperature = 1.5, alpha = 0.6;

/* ---- files ----------------------------------------------------------------------------------- */

static const vw_component *weights_of(vw_core *core)
{
    const vw_component *weights;
    vw_error err;
    if (vw_core_plugin(core, VW_KIND_WEIGHTS, "safetensors", &weights, &err))
        bail_out("%s", err.text);
    return weights;
}

/* Row r, whose logits fall from r by 1/8 each, which f16 has exactly. */
static void make_row(int64_t r, int32_t k, int32_t *ids, float *logits, float *lse)
{
    for (int32_t i = 0; i < k; i++) {
        ids[i] = (int32_t)((r + 7 * i) % 2000);
        logits[i] = (float)r - (float)i / 8;
    }
    *lse = (float)r / 4;
}

static void test_files(vw_core *core)
{
    enum { K = 1000, ROWS = 11300 }; /* in two files */
    const vw_fact facts[] = {{"colour", "red"}}, others[] = {{"colour", "blue"}};
    vw_store_shape shape = {ROWS, K, 2000, 2, false};
    static int32_t ids[K], got[K];
    static float logits[K], values[K];
    float lse, found;
    vw_store_writer *w;
    vw_store *s;
    vw_error err = {VW_OK, ""};
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", folder_path("store"));
    is_int(vw_store_open(core, weights_of(core), folder, facts, 1, &s, &err), VW_E_NOTFOUND,
           "no store");
    if (vw_store_create(core, weights_of(core), folder, &shape, &w, &err))
        bail_out("%s", err.text);
    vw_status st = VW_OK;
    for (int64_t r = 0; r < ROWS - 3 && !st; r++) {
        make_row(r, K, ids, logits, &lse);
        if (r != 5)
            st = vw_store_add(w, r, 1, ids, logits, &lse, &err);
    }
    is_int(st, VW_OK, "rows are written %s", err.text);
    is_int(vw_store_add(w, 3, 1, ids, logits, &lse, &err), VW_E_INVALID, "not out of their order");
    like(err.text, "rows 3 to 4 of a store of 11300, of which 11297 are written", "in words");
    is_int(vw_store_finish(w, "a test", facts, 1, &err), VW_OK, "a store is there %s", err.text);
    vw_store_end(w);

    is_int(vw_store_open(core, weights_of(core), folder, others, 1, &s, &err), VW_E_CONFIG,
           "made of something else");
    like(err.text, "was written with colour = red, now it is blue; write another", "in words");
    if (vw_store_open(core, weights_of(core), folder, facts, 1, &s, &err))
        bail_out("%s", err.text);
    int wrong = 0;
    for (int64_t r = 0; r < ROWS - 3; r += r < 20 || r > ROWS - 10 ? 1 : 97) {
        make_row(r, K, ids, logits, &lse);
        if (r == 5)
            continue;
        st = vw_store_read(s, r, got, values, &found, &err);
        wrong += st || found != lse || memcmp(got, ids, sizeof ids);
        for (int i = 0; i < K; i++)
            wrong += values[i] != -(float)i / 8;
    }
    is_int(wrong, 0, "rows are what they were, less their largest logit");
    is_int(vw_store_read(s, 5, got, values, &found, &err), VW_E_FORMAT,
           "a row that was never asked for");
    like(err.text, "row 5 holds a token outside the vocabulary of 2000, or a number that is none",
         "in words");
    is_int(vw_store_read(s, ROWS - 1, got, values, &found, &err), VW_E_FORMAT, "nor at the end");
    vw_store_close(s);
}

/* ---- the loss -------------------------------------------------------------------------------- */

typedef struct lecture {
    double *rows; /* [n][V] of the student, or the teacher */
} lecture;

static vw_status note_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    lecture *l = arg;
    (void)err;
    for (int64_t i = 0; i < logits.shape[0] * V; i++)
        l->rows[first * V + i] = (double)((const float *)logits.data)[i];
    return VW_OK;
}

static double lse_of(const double *z, double t)
{
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += exp(z[i] / t);
    return log(sum);
}

/* KL over the k likeliest tokens of the teacher and, as one more, all others together. */
static double divergence(const double *teacher, const double *student, const int32_t *ids, int32_t k)
{
    double p_rest = 1, q_rest = 1, kl = 0;
    for (int32_t i = 0; i < k; i++) {
        double p = exp(teacher[ids[i]] / temperature - lse_of(teacher, temperature));
        double q = exp(student[ids[i]] / temperature - lse_of(student, temperature));
        kl += p * log(p / q);
        p_rest -= p;
        q_rest -= q;
    }
    return k < V ? kl + p_rest * log(p_rest / q_rest) : kl;
}

static const double *sorted_by;

static int larger_first(const void *a, const void *b)
{
    double x = sorted_by[*(const int32_t *)a], y = sorted_by[*(const int32_t *)b];
    return x < y ? 1 : x > y ? -1 : 0;
}

static void best_of(const double *row, int32_t k, int32_t *best)
{
    int32_t all[V];
    for (int32_t i = 0; i < V; i++)
        all[i] = i;
    sorted_by = row;
    qsort(all, V, sizeof *all, larger_first);
    memcpy(best, all, (size_t)k * sizeof *best);
}

static double objective(with_trainee *w, const vw_micro_batch *m)
{
    vw_losses l;
    if (vw_trainee_evaluate(w->trainee, m, &l, &w->err))
        bail_out("%s", w->err.text);
    return (alpha * temperature * temperature * l.divergence + (1 - alpha) * l.cross_entropy) /
           (double)l.n_scored;
}

static void check_slope(with_trainee *w, const vw_micro_batch *m, int32_t k)
{
    size_t n = (size_t)w->info.n_trained;
    float *d = trainee_gradients(w), *kept = malloc(n * sizeof *kept);
    double square = 0, side[2];
    if (!kept)
        bail_out("no memory");
    memcpy(kept, w->info.values, n * sizeof *kept);
    for (size_t i = 0; i < n; i++)
        square += (double)d[i] * d[i];
    for (int s = 0; s < 2; s++) {
        double step = (s ? -1e-3 : 1e-3) / sqrt(square);
        for (size_t i = 0; i < n; i++)
            w->info.values[i] = (float)((double)kept[i] + step * (double)d[i]);
        side[s] = objective(w, m);
    }
    double slope = (side[0] - side[1]) / (2e-3 / sqrt(square));
    ok(fabs(slope - square) < 0.02 * square,
       "%d of %d: slope %.5g along a gradient of square %.5g", k, V, slope, square);
    memcpy(w->info.values, kept, n * sizeof *kept);
    free(kept);
    free(d);
}

static void test_loss(int32_t k)
{
    const vw_trainee_options o = {.logit_rows = 5};
    with_trainee w;
    trainee_open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch m = golden_micro(&g);
    size_t n = (size_t)g.n_scored;
    lecture student = {malloc(n * V * sizeof(double))}, teacher = {malloc(n * V * sizeof(double))};
    int32_t *ids = malloc(n * (size_t)k * sizeof *ids);
    float *logits = malloc(n * (size_t)k * sizeof *logits), *lse = malloc(n * sizeof *lse);
    if (!student.rows || !teacher.rows || !ids || !logits || !lse)
        bail_out("no memory");
    if (vw_trainee_logits(w.trainee, &m, note_rows, &student, &w.err))
        bail_out("%s", w.err.text);
    double want = 0;
    for (size_t r = 0; r < n; r++) {
        double *row = teacher.rows + r * V;
        for (int i = 0; i < V; i++)
            row[i] = 2 * sin((double)(r * 31 + (size_t)(i * i)));
        best_of(row, k, ids + r * (size_t)k);
        double best = row[ids[r * (size_t)k]];
        for (int32_t i = 0; i < k; i++)
            logits[r * (size_t)k + (size_t)i] = (float)(row[ids[r * (size_t)k + (size_t)i]] - best);
        lse[r] = (float)(lse_of(row, temperature) - best / temperature);
        want += divergence(row, student.rows + r * V, ids + r * (size_t)k, k);
    }
    m.distil = (vw_distillation){
        .alpha = alpha, .temperature = temperature, .k = k, .ids = ids, .logits = logits, .lse = lse};
    vw_losses losses = trainee_learn(&w, &m);
    ok(fabs(losses.divergence - want) < 2e-5 * want,
       "%d of %d: KL %.7g, by f64 sums %.7g", k, V, losses.divergence, want);
    check_slope(&w, &m, k);
    free(lse);
    free(logits);
    free(ids);
    free(teacher.rows);
    free(student.rows);
    golden_batch_free(&g);
    trainee_close(&w);
}

int main(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    folder_make();
    trainee_open_or_die(&w, "train-dense", &o, "");
    test_files(w.core);
    trainee_close(&w);
    test_loss(1);
    test_loss(8);
    test_loss(V);
    return done_testing();
}
