/* trainee.c - what a model in training must do whatever its sizes, as properties.
 *
 * On the goldens' small models, dense and with both routers: how a step is cut into micro-batches,
 * parts that are recomputed, chunks, threads or documents changes nothing but rounding, and mostly not
 * even that; adapters begin as nothing; a saved model runs; what is wrong is said.
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

static const char *model_folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "t/data/goldens/%s", name);
    return source_file(path);
}

static void open_or_die(with_trainee *w, const char *model, const vw_trainee_options *changes,
                        const char *settings)
{
    vw_trainee_options o = *changes;
    if (!o.path && model)
        o.path = model_folder(model);
    if (!o.max_tokens)
        o.max_tokens = 64;
    if (!trainee_open(w, &o, settings))
        bail_out("%s", w->err.text);
}

/* Largest difference over the reference's root mean square. */
static double difference(const float *a, const float *b, size_t n)
{
    double square = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        square += (double)b[i] * b[i];
        worst = d > worst || !isfinite(d) ? d : worst;
    }
    return square > 0 ? worst / sqrt(square / (double)n) : worst;
}

/* Gradients of the golden batch with these options and settings. */
static float *learn_once(const char *model, const vw_trainee_options *o, const char *settings,
                         vw_losses *losses)
{
    with_trainee w;
    open_or_die(&w, model, o, settings);
    golden_batch g = golden_batch_read(w.core, model_folder(model));
    vw_micro_batch micro = golden_micro(&g);
    micro.seed = 7;
    *losses = trainee_learn(&w, &micro);
    float *gradients = trainee_gradients(&w);
    golden_batch_free(&g);
    trainee_close(&w);
    return gradients;
}

static size_t trained_values(const char *model)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    open_or_die(&w, model, &o, "");
    size_t n = (size_t)w.info.n_trained;
    trainee_close(&w);
    return n;
}

/* ---- the same bits ---------------------------------------------------------------------------------- */

static void test_bits(const char *model)
{
    static const struct {
        int32_t recompute;
        const char *settings;
    } ways[] = {{1, "vishwamai.threads=1"}, {2, "vishwamai.threads=1"}, {0, "vishwamai.threads=2"},
                {1, "vishwamai.threads=3"}};
    size_t n = trained_values(model);
    for (int dropped = 0; dropped < 2; dropped++) {
        vw_losses want, got;
        vw_trainee_options o = {.dropout = dropped * 0.3};
        float *first = learn_once(model, &o, "vishwamai.threads=1", &want);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            o.recompute_layers = ways[i].recompute;
            float *again = learn_once(model, &o, ways[i].settings, &got);
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
    free(learn_once("train-dense", &o, "", &plain));
    o.dropout = -1;
    free(learn_once("train-dense", &o, "", &own));
    ok(plain.cross_entropy == own.cross_entropy, "a model's own dropout of 0 is none");
    o.dropout = 0.3;
    free(learn_once("train-dense", &o, "", &dropped));
    ok(plain.cross_entropy != dropped.cross_entropy, "dropout changes the loss");
    open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder("train-dense"));
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
    open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder(model));
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
    ok(fabs(slope - square) < 0.02 * square, "%s, dropout: slope %.5g along a gradient of square %.5g",
       model, slope, square);
    free(d);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* Weight gradients that are queued and run later are those that are made at once. */
static void test_queue(const char *model)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder(model));
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

/* ---- the same but for rounding ----------------------------------------------------------------------- */

/* Document by document, divided by the tokens of all. */
static void test_accumulation(const char *model)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder(model));
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
    double bound = whole.balance > 0 ? 0.05 : 3e-5, apart = difference(got, want, n);
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
    open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder("train-dense"));
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
    float *first = learn_once("train-dense", &o, "", &want);
    size_t n = trained_values("train-dense");
    for (size_t i = 0; i < 2; i++) {
        o.logit_rows = rows[i];
        open_or_die(&w, "train-dense", &o, "");
        golden_batch g = golden_batch_read(w.core, model_folder("train-dense"));
        vw_micro_batch micro = golden_micro(&g);
        got = trainee_learn(&w, &micro);
        double apart = difference(w.info.gradients, first, n);
        ok(apart < 3e-5 && fabs(got.cross_entropy - want.cross_entropy) < 1e-5 * want.cross_entropy,
           "a loss in chunks of %d rows is the whole: %.1e", (int)rows[i], apart);
        golden_batch_free(&g);
        trainee_close(&w);
    }
    free(first);
}

/* Products of rounded values: near, but not the same; a power of two as loss scale is exact. */
static void test_precision(void)
{
    static const struct { vw_precision precision; const char *name; double bound; } modes[] = {
        {VW_PRECISION_BF16, "bf16", 0.5}, {VW_PRECISION_F16, "f16", 0.06},
        {VW_PRECISION_FP8, "fp8", 5}};
    vw_losses want, got;
    vw_trainee_options o = {0};
    size_t n = trained_values("train-dense");
    float *first = learn_once("train-dense", &o, "", &want);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        with_trainee w;
        o.path = model_folder("train-dense");
        o.max_tokens = 64;
        o.precision = modes[i].precision;
        bool is_open = trainee_open(&w, &o, "");
        if (!is_open)
            skip(1, "%s: %s", modes[i].name, w.err.text);
        trainee_close(&w);
        if (!is_open)
            continue;
        float *again = learn_once("train-dense", &o, "", &got);
        double apart = difference(again, first, n);
        ok(apart < modes[i].bound && apart > 1e-4, "%s gradients are %.1e of f32's rms away",
           modes[i].name, apart);
        free(again);
    }
    free(first);
}

static void test_loss_scale(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    open_or_die(&w, "train-softmax", &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder("train-softmax"));
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

/* ---- steady state ------------------------------------------------------------------------------------- */

static void test_allocations(const char *model, int32_t recompute)
{
    const vw_trainee_options o = {.recompute_layers = recompute};
    with_trainee w;
    open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder(model));
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
    vw_trainee_options o = {.path = model_folder(model), .max_tokens = 64};
    vw_training_memory before;
    uint64_t values = 0;
    with_trainee w;
    open_or_die(&w, model, &o, "");
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

/* ---- new models ------------------------------------------------------------------------------------------ */

static const char fresh_settings[] =
    "model.plugin=vishwamai model.vishwamai.vocab_size=211 model.vishwamai.hidden_dim=32 "
    "model.vishwamai.num_layers=2 model.vishwamai.num_heads=4 model.vishwamai.num_kv_heads=2 "
    "model.vishwamai.head_dim=8 model.vishwamai.mlp_dim=48 model.vishwamai.num_experts=4 "
    "model.vishwamai.dropout_rate=0 model.vishwamai.max_seq_len=64 model.vishwamai.router=sigmoid";

static void fill_batch(int32_t *ids, int32_t *labels, size_t n, int32_t vocab)
{
    uint64_t state = 5;
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(folder_random(&state) % (uint64_t)vocab);
    for (size_t i = 0; i < n; i++)
        labels[i] = ids[(i + 1) % n];
}

/* Plain descent on what learn leaves. */
static void descend(with_trainee *w, float rate)
{
    for (uint64_t i = 0; i < w->info.n_trained; i++)
        w->info.values[i] -= rate * w->info.gradients[i];
}

static void test_fresh(void)
{
    const vw_trainee_options o = {.max_tokens = 64, .seed = 3};
    int32_t ids[64], labels[64], starts[] = {0, 16, 32, 48, 64};
    with_trainee w;
    open_or_die(&w, NULL, &o, fresh_settings);
    fill_batch(ids, labels, 64, 211);
    vw_micro_batch micro = {.n_tokens = 64, .ids = ids, .labels = labels, .n_documents = 4,
                            .starts = starts, .divisor = 64, .loss_scale = 1};
    vw_losses losses = trainee_learn(&w, &micro);
    double first = losses.cross_entropy / 64;
    /* Logits of a new model have a deviation of about 0.02 sqrt(width) = 0.1. */
    ok(fabs(first - log(211)) < 0.05 * log(211), "a new model's loss is about ln V: %.3f, %.3f", first,
       log(211));
    for (int i = 0; i < 400; i++) {
        descend(&w, 0.5f);
        losses = trainee_learn(&w, &micro);
    }
    ok(losses.cross_entropy / 64 < 0.5, "four sequences are learnt by heart: %.3f",
       losses.cross_entropy / 64);
    trainee_close(&w);
}

/* Two models of one seed are the same, of two seeds are not, and values have the deviation asked for. */
static void test_first_values(void)
{
    vw_trainee_options o = {.max_tokens = 16, .seed = 3};
    with_trainee a, b;
    open_or_die(&a, NULL, &o, fresh_settings);
    open_or_die(&b, NULL, &o, fresh_settings);
    size_t bytes = (size_t)a.info.n_values * sizeof(float);
    ok(memcmp(a.info.values, b.info.values, bytes) == 0, "one seed, one model");
    trainee_close(&b);
    o.seed = 4;
    open_or_die(&b, NULL, &o, fresh_settings);
    ok(memcmp(a.info.values, b.info.values, bytes) != 0, "another seed, another model");
    vw_trainee_param p = trainee_param(&a, "model.embed_tokens.weight");
    double mean = 0, square = 0, n = (double)p.n;
    for (int64_t i = 0; i < p.n; i++) {
        mean += (double)p.values[i] / n;
        square += (double)p.values[i] * p.values[i] / n;
    }
    /* 6752 values: the mean is off by 0.02 / 82, the deviation by a 116th of itself; five of each. */
    ok(fabs(mean) < 5 * 0.02 / sqrt(n) && fabs(sqrt(square) - 0.02) < 5 * 0.02 / sqrt(2 * n),
       "first values: mean %.1e, deviation %.5f", mean, sqrt(square));
    trainee_close(&a);
    trainee_close(&b);
}

/* ---- experts ----------------------------------------------------------------------------------------------- */

static void test_balance(void)
{
    const vw_trainee_options o = {0};
    const char *const bias_name = "model.layers.1.mlp.gate.e_score_correction_bias";
    uint64_t loads[7];
    float before[7];
    double mean = 0;
    int32_t n;
    with_trainee w;
    open_or_die(&w, "train-sigmoid", &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder("train-sigmoid"));
    vw_micro_batch micro = golden_micro(&g);
    trainee_learn(&w, &micro);
    vw_trainee_param bias = trainee_param(&w, bias_name);
    ok(!bias.is_trained && !bias.gradient, "no gradient moves a balancing bias");
    vw_status st = vw_trainee_loads(w.trainee, 0, loads, 7, &n, &w.err);
    for (int32_t e = 0; e < n && !st; e++)
        mean += (double)loads[e] / n;
    ok(!st && n == 7 && fabs(mean * n - 3.0 * (double)g.n_tokens) < 1e-6,
       "a router's loads add up to three a token");
    memcpy(before, bias.values, sizeof before);
    st = vw_trainee_balance(w.trainee, 0.25, &w.err);
    for (int32_t e = 0; e < 7; e++) {
        double off = mean - (double)loads[e];
        float want = before[e] + (float)(off > 0 ? 0.25 : off < 0 ? -0.25 : 0);
        ok(!st && bias.values[e] == want, "expert %d had %llu of a mean of %.2f: its bias moves by %g", e,
           (unsigned long long)loads[e], mean, (double)(want - before[e]));
    }
    vw_trainee_loads(w.trainee, 0, loads, 7, &n, NULL);
    ok(loads[0] + loads[1] + loads[2] == 0, "loads are counted anew");
    golden_batch_free(&g);
    trainee_close(&w);
}

/* With room for fewer slots than come, some are dropped and counted. */
static void test_capacity(void)
{
    char settings[700];
    const vw_trainee_options o = {.max_tokens = 64};
    int32_t ids[64], labels[64], starts[] = {0, 64};
    with_trainee w;
    uint64_t loads[4], want = 0;
    int32_t n;
    snprintf(settings, sizeof settings, "%s model.vishwamai.capacity=0.5", fresh_settings);
    open_or_die(&w, NULL, &o, settings);
    fill_batch(ids, labels, 64, 211);
    vw_micro_batch micro = {.n_tokens = 64, .ids = ids, .labels = labels, .n_documents = 1,
                            .starts = starts, .divisor = 64, .loss_scale = 1};
    vw_losses losses = trainee_learn(&w, &micro);
    for (int32_t r = 0; r < 2; r++) {
        vw_trainee_loads(w.trainee, r, loads, 4, &n, NULL);
        for (int32_t e = 0; e < n; e++)
            want += loads[e] > 16 ? loads[e] - 16 : 0; /* 0.5 * 64 tokens * 2 of 4 experts */
    }
    ok(losses.is_finite && want > 0 && vw_trainee_dropped(w.trainee) == want,
       "%llu slots found their expert full", (unsigned long long)want);
    trainee_close(&w);
}

/* ---- adapters ------------------------------------------------------------------------------------------------ */

static const char *const q_and_o[] = {"q_proj", "o_proj", NULL};

/* The engine with the adapter beside the model, and the merged model: the same but for rounding. */
static void compare_adapted(const char *model, const char *merged, const char *kept,
                            const golden_batch *g)
{
    char settings[512];
    with_engine beside, one;
    snprintf(settings, sizeof settings, "engine.ctx_size=64 model.adapter=%s", kept);
    bool is_open = engine_open(&beside, model_folder(model), settings);
    ok(is_open, "%s: the engine runs an adapter: %s", model, is_open ? "ok" : beside.err.text);
    is_open = engine_open(&one, merged, "engine.ctx_size=64") && is_open;
    size_t n = (size_t)g->n_tokens;
    float *a = is_open ? all_logits(&beside, g->ids, n, 0) : NULL;
    float *b = is_open ? all_logits(&one, g->ids, n, 1) : NULL;
    if (a && b)
        near_array(a, b, n * (size_t)one.info.vocab_size,
                   2e-4 * golden_number(model_folder(model), "logits_std"),
                   "%s: merging changes logits by rounding", model);
    free(a);
    free(b);
    engine_close(&beside);
    engine_close(&one);
}

static void test_adapter(const char *model)
{
    vw_trainee_options o = {.lora = {.rank = 3, .alpha = 6, .targets = q_and_o}, .seed = 1};
    const vw_trainee_options plain = {0};
    with_trainee w, base;
    vw_losses without, with, after;
    open_or_die(&base, model, &plain, "");
    open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder(model));
    vw_micro_batch micro = golden_micro(&g);
    vw_trainee_evaluate(base.trainee, &micro, &without, NULL);
    with = trainee_learn(&w, &micro);
    ok(with.cross_entropy == without.cross_entropy, "%s: a new adapter changes nothing", model);
    size_t trained = 0;
    for (size_t i = 0; i < w.info.n_params; i++) {
        vw_trainee_param p;
        vw_trainee_get_param(w.trainee, i, &p);
        trained += p.is_trained;
        if (p.is_trained && !strstr(p.name, "lora_"))
            ok(false, "%s is trained", p.name);
    }
    ok(trained > 0 && w.info.n_trained < base.info.n_trained, "%s: %zu small matrices are trained",
       model, trained);
    for (int i = 0; i < 5; i++) {
        descend(&w, 0.05f);
        trainee_learn(&w, &micro);
    }
    vw_trainee_evaluate(w.trainee, &micro, &after, NULL);
    ok(after.cross_entropy < with.cross_entropy, "%s: an adapter learns: %.4f from %.4f", model,
       after.cross_entropy, with.cross_entropy);

    /* merged, it is the same model; kept and loaded again, the same adapter */
    char merged[300], kept[320];
    snprintf(merged, sizeof merged, "%s", folder_path(model));
    snprintf(kept, sizeof kept, "%s-adapter", merged);
    mkdir(merged, 0700);
    mkdir(kept, 0700);
    vw_status st = vw_trainee_save(w.trainee, merged, VW_F32, &w.err);
    if (!st)
        st = vw_trainee_save_adapter(w.trainee, kept, &w.err);
    ok(st == VW_OK, "%s: model and adapter are written: %s", model, st ? w.err.text : "ok");
    trainee_close(&base);
    o = (vw_trainee_options){.path = merged};
    open_or_die(&base, NULL, &o, "");
    vw_losses again;
    vw_trainee_evaluate(base.trainee, &micro, &again, NULL);
    ok(fabs(again.cross_entropy - after.cross_entropy) < 1e-5 * after.cross_entropy,
       "%s: merged, the loss is %.6f and was %.6f", model, again.cross_entropy, after.cross_entropy);
    trainee_close(&base);
    o = (vw_trainee_options){.lora = {.rank = 3, .alpha = 6, .targets = q_and_o, .adapter = kept}};
    open_or_die(&base, model, &o, "");
    vw_trainee_evaluate(base.trainee, &micro, &again, NULL);
    ok(again.cross_entropy == after.cross_entropy, "%s: loaded again, the adapter is the same", model);
    trainee_close(&base);
    compare_adapted(model, merged, kept, &g);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* An adapter's gradient is the full matrix's, seen through the other factor: with y = W x + s B A x,
 * dA = s B^T dW and dB = s dW A^T. */
static void test_adapter_gradient(void)
{
    static const char *const q[] = {"q_proj", NULL};
    enum { RANK = 2, K = 36, N = 60 };
    const char *name = "model.layers.0.self_attn.q_proj.weight";
    vw_trainee_options o = {.lora = {.rank = RANK, .alpha = 3, .targets = q}, .seed = 1};
    const vw_trainee_options plain = {0};
    with_trainee w, full;
    open_or_die(&w, "train-dense", &o, "");
    open_or_die(&full, "train-dense", &plain, "");
    golden_batch g = golden_batch_read(w.core, model_folder("train-dense"));
    vw_micro_batch micro = golden_micro(&g);
    trainee_learn(&w, &micro);
    trainee_learn(&full, &micro); /* B is zero, so the two models are one */
    vw_trainee_param a = trainee_param(&w, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    vw_trainee_param b = trainee_param(&w, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    vw_trainee_param d = trainee_param(&full, name);
    float want[N * RANK];
    for (int i = 0; i < N; i++)
        for (int r = 0; r < RANK; r++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += (double)d.gradient[i * K + k] * (double)a.values[r * K + k];
            want[i * RANK + r] = (float)(1.5 * sum);
        }
    ok(b.n == N * RANK && difference(b.gradient, want, N * RANK) < 1e-4, "dB = s dW A^T");
    float zero[RANK * K] = {0};
    ok(a.n == RANK * K && memcmp(a.gradient, zero, sizeof zero) == 0, "dA = s B^T dW, and B is zero");
    golden_batch_free(&g);
    trainee_close(&w);
    trainee_close(&full);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* What is saved runs in the engine, all at once and token by token, and gives the trainee's logits. */
static void test_saved_runs(const char *model)
{
    const vw_trainee_options o = {0};
    char folder[300];
    with_trainee w;
    with_engine e;
    size_t n;
    open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder(model));
    snprintf(folder, sizeof folder, "%s-saved", folder_path(model));
    mkdir(folder, 0700);
    vw_status st = vw_trainee_save(w.trainee, folder, VW_F32, &w.err);
    ok(st == VW_OK, "%s is written: %s", model, st ? w.err.text : "ok");
    float *want = golden_tensor(w.core, model_folder(model), "logits", &n);
    double std = golden_number(model_folder(model), "logits_std");
    ok(engine_open(&e, folder, "engine.ctx_size=64"), "%s: the engine opens it: %s", model, e.err.text);
    for (size_t chunk = 0; chunk < 2 && e.engine; chunk++)
        for (int64_t d = 0; d < g.n_documents; d++) {
            size_t first = (size_t)g.starts[d], count = (size_t)g.starts[d + 1] - first;
            size_t vocab = (size_t)e.info.vocab_size;
            float *got = all_logits(&e, g.ids + first, count, chunk);
            if (got)
                near_array(got, want + first * vocab, count * vocab, 2e-4 * std,
                           "%s: logits of document %d, %s", model, (int)d,
                           chunk ? "token by token" : "all at once");
            free(got);
        }
    free(want);
    engine_close(&e);
    golden_batch_free(&g);
    trainee_close(&w);
}

static void test_half(void)
{
    const vw_trainee_options o = {0};
    vw_trainee_options again = {0};
    char folder[300];
    with_trainee w, half;
    vw_losses a, b;
    open_or_die(&w, "train-softmax", &o, "");
    golden_batch g = golden_batch_read(w.core, model_folder("train-softmax"));
    vw_micro_batch micro = golden_micro(&g);
    snprintf(folder, sizeof folder, "%s", folder_path("half"));
    mkdir(folder, 0700);
    vw_status st = vw_trainee_save(w.trainee, folder, VW_BF16, &w.err);
    again.path = folder;
    open_or_die(&half, NULL, &again, "");
    vw_trainee_evaluate(w.trainee, &micro, &a, NULL);
    vw_trainee_evaluate(half.trainee, &micro, &b, NULL);
    ok(!st && a.cross_entropy != b.cross_entropy &&
           fabs(a.cross_entropy - b.cross_entropy) < 0.02 * a.cross_entropy,
       "a model kept in bf16 is nearly the same: %.4f and %.4f", a.cross_entropy, b.cross_entropy);
    st = vw_trainee_load(half.trainee, model_folder("train-dense"), &half.err);
    ok(st == VW_E_FORMAT, "another model is not loaded into this one");
    like(half.err.text, "config.json is not the configuration of the model that is trained",
         "and it says why");
    st = vw_trainee_load(half.trainee, folder_path("nothing"), &half.err);
    ok(st == VW_E_NOTFOUND, "nothing is loaded from nowhere");
    like(half.err.text, "config.json cannot be read", "and it says why");
    golden_batch_free(&g);
    trainee_close(&half);
    trainee_close(&w);
}

/* The engine inside the trainee sees what was learnt. */
static void test_engine(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    vw_engine *e;
    double before, after;
    open_or_die(&w, "train-softmax", &o, "engine.ctx_size=64");
    golden_batch g = golden_batch_read(w.core, model_folder("train-softmax"));
    vw_micro_batch micro = golden_micro(&g);
    vw_status st = vw_trainee_engine(w.trainee, &e, &w.err);
    if (st || vw_score(e, g.ids, 9, 1, &before, NULL, &w.err))
        bail_out("%s", w.err.text);
    trainee_learn(&w, &micro);
    descend(&w, 0.1f);
    vw_score(e, g.ids, 9, 1, &after, NULL, &w.err);
    ok(isfinite(after) && before != after, "an engine on the masters sees every update");
    golden_batch_free(&g);
    trainee_close(&w);
}

/* ---- what is wrong ------------------------------------------------------------------------------------------------- */

static void refuse_micro(with_trainee *w, const vw_micro_batch *micro, const char *why)
{
    vw_losses losses;
    vw_status st = vw_trainee_learn(w->trainee, micro, &losses, &w->err);
    ok(st == VW_E_INVALID, "refused: %s", why);
    like(w->err.text, why, "and it says why");
}

static void test_bad_micro(void)
{
    const vw_trainee_options o = {.max_tokens = 8, .max_documents = 2};
    int32_t ids[9] = {1, 2, 3}, labels[9] = {2, 3, -1}, starts[4] = {0, 3}, three[4] = {0, 1, 2, 3};
    int32_t outside[3] = {1, 97, 3}, backwards[3] = {0, 3, 3};
    with_trainee w;
    open_or_die(&w, "train-dense", &o, "");
    const vw_micro_batch good = {.n_tokens = 3, .ids = ids, .labels = labels, .n_documents = 1,
                                 .starts = starts, .divisor = 2, .loss_scale = 1};
    vw_micro_batch bad = good;
    bad.n_tokens = 9;
    refuse_micro(&w, &bad, "a micro-batch of 9 tokens; 1 to 8 were said to come");
    bad = good;
    bad.ids = outside;
    refuse_micro(&w, &bad, "token 97 at 1 of a micro-batch is not in the vocabulary of 97");
    bad = good;
    bad.labels = outside;
    refuse_micro(&w, &bad, "label 97 at 1 of a micro-batch is not in the vocabulary of 97, nor -1");
    bad = good;
    bad.n_documents = 3;
    bad.starts = three;
    refuse_micro(&w, &bad, "a micro-batch of 3 documents; 1 to 2 were said to come");
    bad = good;
    bad.n_documents = 2;
    bad.starts = backwards;
    refuse_micro(&w, &bad, "document 1 of a micro-batch begins at 3 and ends at 3 of 3 tokens");
    bad = good;
    bad.divisor = 0;
    refuse_micro(&w, &bad, "gradients cannot be divided by 0 tokens");
    trainee_close(&w);
}

static void refuse_open(const vw_trainee_options *o, const char *settings, const char *why)
{
    with_trainee w;
    bool is_open = trainee_open(&w, o, settings);
    ok(!is_open, "refused: %s", why);
    like(w.err.text, why, "and it says why");
    trainee_close(&w);
}

static void test_bad_open(void)
{
    static const char *const targets[] = {"q_proj", "qq_proj", NULL};
    vw_trainee_options o = {.path = model_folder("train-dense"), .max_tokens = 0};
    refuse_open(&o, "", "a micro-batch of 0 tokens; 1 to 16777216 can be trained on");
    o.max_tokens = 8;
    o.lora.rank = 5000;
    refuse_open(&o, "", "an adapter of rank 5000; 1 to 4096 make sense, 0 is none");
    o.lora = (vw_lora){.rank = 2, .alpha = 1, .targets = targets};
    refuse_open(&o, "", "an adapter for \"qq_proj\": this model has no block of that name");
    o.lora.rank = 0;
    refuse_open(&o, "gemm.plugin=cpu gemm.cpu.pack=yes", "gemm/cpu packs its weights, which a model that "
                "changes cannot have");
    o.is_frozen = true;
    with_trainee w;
    int32_t ids[3] = {1, 2, 3}, starts[2] = {0, 3};
    vw_micro_batch m = {.n_tokens = 3, .ids = ids, .labels = ids, .n_documents = 1, .starts = starts,
                        .divisor = 3, .loss_scale = 1};
    open_or_die(&w, NULL, &o, "");
    refuse_micro(&w, &m, "nothing of this model is trained");
    vw_losses losses;
    vw_status st = vw_trainee_evaluate(w.trainee, &m, &losses, &w.err);
    ok(!st && losses.n_scored == 3, "a frozen model can still be evaluated");
    trainee_close(&w);
}

int main(void)
{
    folder_make();
    for (size_t i = 0; i < N_MODELS; i++) {
        test_bits(models[i]);
        test_queue(models[i]);
        test_accumulation(models[i]);
        test_allocations(models[i], 0);
        test_allocations(models[i], 1);
        test_estimate(models[i]);
        test_saved_runs(models[i]);
        test_adapter(models[i]);
    }
    test_dropout_drops();
    test_dropout_gradient("train-dense");
    test_dropout_gradient("train-sigmoid");
    test_mask();
    test_chunks();
    test_precision();
    test_loss_scale();
    test_fresh();
    test_first_values();
    test_balance();
    test_capacity();
    test_adapter_gradient();
    test_half();
    test_engine();
    test_bad_micro();
    test_bad_open();
    return done_testing();
}
