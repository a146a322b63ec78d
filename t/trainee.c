/* trainee.c - what a step of training must do whatever the model's sizes, as properties.
 *
 * On the goldens' small models, dense and with both routers: how a step is cut into micro-batches,
 * parts that are recomputed, chunks, threads or documents changes nothing but rounding, and mostly
 * not even that.
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

static const char *const models[] = {"train-dense", "train-softmax", "train-sigmoid"};
enum { N_MODELS = sizeof models / sizeof *models };

/* ---- the same bits --------------------------------------------------------------------------- */

static void test_bits(const char *model)
{
    static const struct {
        int32_t recompute;
        const char *settings;
    } ways[] = {{1, "vishwamai.threads=1"},
                {2, "vishwamai.threads=1"},
                {0, "vishwamai.threads=2"},
                {1, "vishwamai.threads=3"}};
    size_t n = trainee_trained(model);
    for (int dropped = 0; dropped < 2; dropped++) {
        vw_losses want, got;
        vw_trainee_options o = {.dropout = dropped * 0.3};
        float *first = trainee_learn_once(model, &o, "vishwamai.threads=1", &want);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            o.recompute_layers = ways[i].recompute;
            float *again = trainee_learn_once(model, &o, ways[i].settings, &got);
            ok(memcmp(first, again, n * sizeof *first) == 0 &&
                   want.cross_entropy == got.cross_entropy && want.balance == got.balance,
               "%s, dropout %.1f: parts of %d layers, %s: the same bits", model, dropped * 0.3,
               ways[i].recompute, ways[i].settings);
            free(again);
        }
        free(first);
    }
}

static void test_dropout_drops(void)
{
    vw_trainee_options o = {0};
    vw_losses plain, own, dropped, evaluated;
    with_trainee w;
    free(trainee_learn_once("train-dense", &o, "", &plain));
    o.dropout = -1;
    free(trainee_learn_once("train-dense", &o, "", &own));
    ok(plain.cross_entropy == own.cross_entropy, "a model's own dropout of 0 is none");
    o.dropout = 0.3;
    free(trainee_learn_once("train-dense", &o, "", &dropped));
    ok(plain.cross_entropy != dropped.cross_entropy, "dropout changes the loss");
    trainee_open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch micro = golden_micro(&g);
    vw_trainee_evaluate(w.trainee, &micro, &evaluated, NULL);
    ok(plain.cross_entropy == evaluated.cross_entropy, "and not the one that is evaluated");
    golden_batch_free(&g);
    trainee_close(&w);
}

/* With the masks held still the loss is a smooth function: its slope along the gradient is the
 * gradient's square. */
static void test_dropout_gradient(const char *model)
{
    const vw_trainee_options o = {.dropout = 0.2};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g);
    trainee_learn(&w, &micro);
    float *d = trainee_gradients(&w);
    double square = 0, loss[2];
    for (uint64_t i = 0; i < w.info.n_trained; i++)
        square += (double)d[i] * d[i];
    const double step = 1e-3 / sqrt(square);
    for (int side = 0; side < 2; side++) {
        double by = side ? -2 * step : step;
        for (uint64_t i = 0; i < w.info.n_trained; i++)
            w.info.values[i] += (float)(by * (double)d[i]);
        vw_losses l = trainee_learn(&w, &micro);
        loss[side] = l.cross_entropy / (double)l.n_scored;
    }
    double slope = (loss[0] - loss[1]) / (2 * step);
    ok(fabs(slope - square) < 0.02 * square,
       "%s, dropout: slope %.5g along a gradient of square %.5g", model, slope, square);
    free(d);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* Weight gradients that are queued and run later are those that are made at once. */
static void test_queue(const char *model)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g);
    trainee_learn(&w, &micro);
    float *want = trainee_gradients(&w);
    vw_losses losses;
    vw_trainee_zero(w.trainee, NULL);
    vw_status st = vw_trainee_learn_as(w.trainee, &micro, VW_BACKWARD_INPUT, &losses, &w.err);
    float *input_alone = trainee_gradients(&w);
    ok(memcmp(input_alone, want, (size_t)w.info.n_trained * sizeof *want) != 0,
       "%s: they are not made before they are asked for", model);
    free(input_alone);
    if (!st)
        st = vw_trainee_learn_as(w.trainee, NULL, VW_BACKWARD_WEIGHT, &losses, &w.err);
    float *got = trainee_gradients(&w);
    ok(st == VW_OK, "%s: backward in two parts: %s", model, st ? w.err.text : "ok");
    is_mem(got, want, (size_t)w.info.n_trained * sizeof *got, "%s: queued weight gradients", model);
    free(want);
    free(got);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* ---- the same but for rounding --------------------------------------------------------------- */

/* Document by document, divided by the tokens of all. */
static void test_accumulation(const char *model)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g);
    vw_losses whole = trainee_learn(&w, &micro), sum = {0};
    size_t n = (size_t)w.info.n_trained;
    float *want = trainee_gradients(&w);
    vw_trainee_zero(w.trainee, NULL);
    for (int64_t d = 0; d < g.n_documents; d++) {
        int32_t starts[2] = {0, g.starts[d + 1] - g.starts[d]};
        vw_losses one;
        micro.n_tokens = starts[1];
        micro.ids = g.ids + g.starts[d];
        micro.labels = g.labels + g.starts[d];
        micro.n_documents = 1;
        micro.starts = starts;
        if (vw_trainee_learn(w.trainee, &micro, &one, &w.err))
            bail_out("%s", w.err.text);
        vw_losses_add(&sum, &one);
    }
    float *got = trainee_gradients(&w);
    /* A router's auxiliary loss is one of its micro-batch, so its sum is another function. */
    double bound = whole.balance > 0 ? 0.05 : 3e-5, apart = gradient_difference(got, want, n);
    ok(apart < bound, "%s: %d micro-batches are one batch: %.1e", model, (int)g.n_documents, apart);
    ok(sum.n_scored == whole.n_scored &&
           fabs(sum.cross_entropy - whole.cross_entropy) < 1e-5 * whole.cross_entropy,
       "%s: packed documents are separate documents: loss %.7g and %.7g", model, sum.cross_entropy,
       whole.cross_entropy);
    free(want);
    free(got);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* Without the limits between documents the loss is another: the mask is real. */
static void test_mask(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    vw_losses apart, joined;
    trainee_open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch micro = golden_micro(&g);
    int32_t starts[2] = {0, (int32_t)g.n_tokens};
    vw_status st = vw_trainee_evaluate(w.trainee, &micro, &apart, &w.err);
    micro.n_documents = 1;
    micro.starts = starts;
    if (!st)
        st = vw_trainee_evaluate(w.trainee, &micro, &joined, &w.err);
    ok(!st && fabs(apart.cross_entropy - joined.cross_entropy) > 1e-3,
       "documents that see each other have another loss");
    golden_batch_free(&g);
    trainee_close(&w);
}

/* A chunk of the head of one row, of seven, of all. */
static void test_chunks(void)
{
    static const int64_t rows[] = {1, 7};
    with_trainee w;
    vw_trainee_options o = {0};
    vw_losses want, got;
    float *first = trainee_learn_once("train-dense", &o, "", &want);
    size_t n = trainee_trained("train-dense");
    for (size_t i = 0; i < 2; i++) {
        o.logit_rows = rows[i];
        trainee_open_or_die(&w, "train-dense", &o, "");
        golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
        vw_micro_batch micro = golden_micro(&g);
        got = trainee_learn(&w, &micro);
        double apart = gradient_difference(w.info.gradients, first, n);
        ok(apart < 3e-5 && fabs(got.cross_entropy - want.cross_entropy) < 1e-5 * want.cross_entropy,
           "a loss in chunks of %d rows is the whole: %.1e", (int)rows[i], apart);
        golden_batch_free(&g);
        trainee_close(&w);
    }
    free(first);
}

/* How far gradients in a precision are from those in f32; negative, with a skip, where the gemm
 * has no such products. */
static double precision_error(const char *model, vw_precision precision, const char *name,
                              const float *want, size_t n)
{
    vw_trainee_options o = {.path = trainee_model(model), .max_tokens = 64, .precision = precision};
    with_trainee w;
    vw_losses losses;
    bool is_open = trainee_open(&w, &o, "");
    if (!is_open)
        skip(1, "%s: %s", name, w.err.text);
    trainee_close(&w);
    if (!is_open)
        return -1;
    float *got = trainee_learn_once(model, &o, "", &losses);
    double apart = gradient_difference(got, want, n);
    free(got);
    return apart;
}

/* f16 rounds to 11 bits and bf16 to 8, so its errors are eight times as large, give or take a
 * factor of three; e4m3 has 4 bits: sixteen times as large again. */
static void test_precision(const char *model)
{
    vw_losses losses;
    const vw_trainee_options o = {0};
    size_t n = trainee_trained(model);
    float *want = trainee_learn_once(model, &o, "", &losses);
    double f16 = precision_error(model, VW_PRECISION_F16, "f16", want, n);
    double bf16 = precision_error(model, VW_PRECISION_BF16, "bf16", want, n);
    double fp8 = precision_error(model, VW_PRECISION_FP8, "fp8", want, n);
    if (f16 >= 0 && bf16 >= 0)
        ok(f16 > 1e-4 && bf16 < 1 && bf16 > 8 / 3.0 * f16 && bf16 < 8 * 3 * f16,
           "%s: gradients are %.1e of their rms off in f16, %.1e in bf16", model, f16, bf16);
    if (bf16 >= 0 && fp8 >= 0)
        ok(fp8 > 16 / 3.0 * bf16 && fp8 < 16 * 3 * bf16, "%s: and %.1e in fp8", model, fp8);
    free(want);
}

/* The first update has no history and scales each tensor by its own largest magnitude; without a
 * margin the second one, of the same values, has that very scale, and so gives the same bits.  What
 * is evaluated between them leaves no trace, a margin and a forgotten history do. */
static void test_delayed(const char *model, const char *settings)
{
    vw_trainee_options o = {.precision = VW_PRECISION_FP8, .fp8_history = 4};
    with_trainee w;
    vw_losses losses;
    int64_t n_history;
    trainee_open_or_die(&w, model, &o, settings);
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g), part = micro;
    int32_t starts[2] = {0, 3};
    size_t n = (size_t)w.info.n_trained;
    micro.loss_scale = 65536;
    trainee_learn(&w, &micro);
    float *first = trainee_gradients(&w), *history = vw_trainee_history(w.trainee, &n_history);
    float *kept = malloc((size_t)n_history * sizeof *kept);
    vw_trainee_updated(w.trainee, NULL);
    memcpy(kept, history, (size_t)n_history * sizeof *kept);
    part.n_tokens = 3, part.n_documents = 1, part.starts = starts;
    vw_trainee_evaluate(w.trainee, &part, &losses, NULL);
    trainee_learn(&w, &micro);
    is_mem(w.info.gradients, first, n * sizeof *first, "%s: the scale of the update before", model);
    memset(history, 0, (size_t)n_history * sizeof *history);
    history[4] = history[8] = 1e3f; /* of the first matrix and its gradients: far too large */
    vw_trainee_rescale(w.trainee, NULL);
    trainee_learn(&w, &micro);
    ok(memcmp(w.info.gradients, first, n * sizeof *first) != 0, "%s: another history matters",
       model);
    trainee_close(&w);

    trainee_open_or_die(&w, model, &o, "vishwamai.threads=3");
    memcpy(vw_trainee_history(w.trainee, &n_history), kept, (size_t)n_history * sizeof *kept);
    vw_trainee_rescale(w.trainee, NULL);
    trainee_learn(&w, &micro);
    is_mem(w.info.gradients, first, n * sizeof *first, "%s: a history that is put back", model);
    trainee_close(&w);
    o.fp8_margin = 0.5;
    trainee_open_or_die(&w, model, &o, settings);
    trainee_learn(&w, &micro);
    is_mem(w.info.gradients, first, n * sizeof *first, "%s: no history, no margin", model);
    vw_trainee_updated(w.trainee, NULL);
    trainee_learn(&w, &micro);
    ok(memcmp(w.info.gradients, first, n * sizeof *first) != 0, "%s: then there is one", model);
    trainee_close(&w);
    golden_batch_free(&g);
    free(first), free(kept);
}

static void test_loss_scale(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    trainee_open_or_die(&w, "train-softmax", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-softmax"));
    vw_micro_batch micro = golden_micro(&g);
    size_t n = (size_t)w.info.n_trained;
    trainee_learn(&w, &micro);
    float *want = trainee_gradients(&w);
    micro.loss_scale = 1024;
    trainee_learn(&w, &micro);
    for (size_t i = 0; i < n; i++)
        want[i] *= 1024;
    is_mem(w.info.gradients, want, n * sizeof *want, "a loss scale of 1024 multiplies by 1024");
    free(want);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* ---- steady state ---------------------------------------------------------------------------- */

static void test_allocations(const char *model, int32_t recompute)
{
    const vw_trainee_options o = {.recompute_layers = recompute};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g);
    trainee_learn(&w, &micro);
    uint64_t before = vw_core_allocations(w.core);
    for (int i = 0; i < 3; i++)
        trainee_learn(&w, &micro);
    ok(vw_core_allocations(w.core) == before, "%s, parts of %d: a step allocates nothing", model,
       recompute);
    golden_batch_free(&g);
    trainee_close(&w);
}

static void test_estimate(const char *model)
{
    vw_trainee_options o = {.path = trainee_model(model), .max_tokens = 64};
    vw_training_memory before;
    uint64_t values = 0;
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    vw_status st = vw_trainee_estimate(w.core, &o, &before, &values, &w.err);
    ok(!st && memcmp(&before, &w.info.memory, sizeof before) == 0 && values == w.info.n_trained,
       "%s: the estimate is what is then taken: %s", model, st ? w.err.text : "ok");
    o.max_tokens = 32;
    vw_training_memory half, parts;
    st = vw_trainee_estimate(w.core, &o, &half, NULL, &w.err);
    ok(!st && half.activations < before.activations, "%s: fewer tokens keep less", model);
    o.recompute_layers = 1;
    st = vw_trainee_estimate(w.core, &o, &parts, NULL, &w.err);
    ok(!st && parts.activations < half.activations, "%s: recomputed layers keep less", model);
    trainee_close(&w);
}

int main(void)
{
    for (size_t i = 0; i < N_MODELS; i++) {
        test_bits(models[i]);
        test_queue(models[i]);
        test_accumulation(models[i]);
        test_allocations(models[i], 0);
        test_allocations(models[i], 1);
        test_estimate(models[i]);
    }
    test_dropout_drops();
    test_dropout_gradient("train-dense");
    test_dropout_gradient("train-sigmoid");
    test_mask();
    test_chunks();
    test_precision("train-dense");
    for (size_t i = 0; i < N_MODELS; i++)
        test_delayed(models[i], "vishwamai.threads=1");
    test_loss_scale();
    return done_testing();
}
