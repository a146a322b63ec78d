/* trainee-model.c - models in training from their first values to their files.
 *
 * A new model begins as it should and can learn by heart, experts are counted and steered, what is
 * saved runs in the engine, and what is wrong is said.
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

/* ---- new models ------------------------------------------------------------------------------ */

static const char fresh_settings[] =
    "model.plugin=vishwamai model.vishwamai.vocab_size=211 model.vishwamai.hidden_dim=32 "
    "model.vishwamai.num_layers=2 model.vishwamai.num_heads=4 model.vishwamai.num_kv_heads=2 "
    "model.vishwamai.head_dim=8 model.vishwamai.mlp_dim=48 model.vishwamai.num_experts=4 "
    "model.vishwamai.dropout_rate=0 model.vishwamai.max_seq_len=64 model.vishwamai.router=sigmoid";

static void test_fresh(void)
{
    const vw_trainee_options o = {.max_tokens = 64, .seed = 3};
    int32_t ids[64], labels[64], starts[] = {0, 16, 32, 48, 64};
    with_trainee w;
    trainee_open_or_die(&w, NULL, &o, fresh_settings);
    trainee_fill(ids, labels, 64, 211);
    vw_micro_batch micro = {.n_tokens = 64,
                            .ids = ids,
                            .labels = labels,
                            .n_documents = 4,
                            .starts = starts,
                            .divisor = 64,
                            .loss_scale = 1};
    vw_losses losses = trainee_learn(&w, &micro);
    double first = losses.cross_entropy / 64;
    /* Logits of a new model have a deviation of about 0.02 sqrt(width) = 0.1. */
    ok(fabs(first - log(211)) < 0.05 * log(211), "a new model's loss is about ln V: %.3f, %.3f",
       first, log(211));
    for (int i = 0; i < 400; i++) {
        trainee_descend(&w, 0.5f);
        losses = trainee_learn(&w, &micro);
    }
    ok(losses.cross_entropy / 64 < 0.5, "four sequences are learnt by heart: %.3f",
       losses.cross_entropy / 64);
    trainee_close(&w);
}

/* Two models of one seed are the same, of two seeds are not, and values have the deviation asked
 * for. */
static void test_first_values(void)
{
    vw_trainee_options o = {.max_tokens = 16, .seed = 3};
    with_trainee a, b;
    trainee_open_or_die(&a, NULL, &o, fresh_settings);
    trainee_open_or_die(&b, NULL, &o, fresh_settings);
    size_t bytes = (size_t)a.info.n_values * sizeof(float);
    ok(memcmp(a.info.values, b.info.values, bytes) == 0, "one seed, one model");
    trainee_close(&b);
    o.seed = 4;
    trainee_open_or_die(&b, NULL, &o, fresh_settings);
    ok(memcmp(a.info.values, b.info.values, bytes) != 0, "another seed, another model");
    vw_trainee_param p = trainee_param(&a, "model.embed_tokens.weight");
    double mean = 0, square = 0, n = (double)p.n;
    for (int64_t i = 0; i < p.n; i++) {
        mean += (double)p.values[i] / n;
        square += (double)p.values[i] * p.values[i] / n;
    }
    /* 6752 values: the mean is off by 0.02 / 82, the deviation by a 116th of itself; five of
     * each. */
    ok(fabs(mean) < 5 * 0.02 / sqrt(n) && fabs(sqrt(square) - 0.02) < 5 * 0.02 / sqrt(2 * n),
       "first values: mean %.1e, deviation %.5f", mean, sqrt(square));
    trainee_close(&a);
    trainee_close(&b);
}

/* ---- experts --------------------------------------------------------------------------------- */

static void test_balance(void)
{
    const vw_trainee_options o = {0};
    const char *const bias_name = "model.layers.1.mlp.gate.e_score_correction_bias";
    uint64_t loads[7];
    float before[7];
    double mean = 0;
    int32_t n;
    with_trainee w;
    trainee_open_or_die(&w, "train-sigmoid", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-sigmoid"));
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
        ok(!st && bias.values[e] == want,
           "expert %d had %llu of a mean of %.2f: its bias moves by %g", e,
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
    trainee_open_or_die(&w, NULL, &o, settings);
    trainee_fill(ids, labels, 64, 211);
    vw_micro_batch micro = {.n_tokens = 64,
                            .ids = ids,
                            .labels = labels,
                            .n_documents = 1,
                            .starts = starts,
                            .divisor = 64,
                            .loss_scale = 1};
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

/* ---- files ----------------------------------------------------------------------------------- */

/* What is saved runs in the engine, all at once and token by token, and gives the trainee's
 * logits. */
static void test_saved_runs(const char *model)
{
    const vw_trainee_options o = {0};
    char folder[300];
    with_trainee w;
    with_engine e;
    size_t n;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    snprintf(folder, sizeof folder, "%s-saved", folder_path(model));
    mkdir(folder, 0700);
    vw_status st = vw_trainee_save(w.trainee, folder, VW_F32, &w.err);
    ok(st == VW_OK, "%s is written: %s", model, st ? w.err.text : "ok");
    float *want = golden_tensor(w.core, trainee_model(model), "logits", &n);
    double std = golden_number(trainee_model(model), "logits_std");
    ok(engine_open(&e, folder, "engine.ctx_size=64"), "%s: the engine opens it: %s", model,
       e.err.text);
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
    trainee_open_or_die(&w, "train-softmax", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-softmax"));
    vw_micro_batch micro = golden_micro(&g);
    snprintf(folder, sizeof folder, "%s", folder_path("half"));
    mkdir(folder, 0700);
    vw_status st = vw_trainee_save(w.trainee, folder, VW_BF16, &w.err);
    again.path = folder;
    trainee_open_or_die(&half, NULL, &again, "");
    vw_trainee_evaluate(w.trainee, &micro, &a, NULL);
    vw_trainee_evaluate(half.trainee, &micro, &b, NULL);
    ok(!st && a.cross_entropy != b.cross_entropy &&
           fabs(a.cross_entropy - b.cross_entropy) < 0.02 * a.cross_entropy,
       "a model kept in bf16 is nearly the same: %.4f and %.4f", a.cross_entropy, b.cross_entropy);
    st = vw_trainee_load(half.trainee, trainee_model("train-dense"), &half.err);
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
    trainee_open_or_die(&w, "train-softmax", &o, "engine.ctx_size=64");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-softmax"));
    vw_micro_batch micro = golden_micro(&g);
    vw_status st = vw_trainee_engine(w.trainee, &e, &w.err);
    if (st || vw_score(e, g.ids, 9, 1, &before, NULL, &w.err))
        bail_out("%s", w.err.text);
    trainee_learn(&w, &micro);
    trainee_descend(&w, 0.1f);
    vw_score(e, g.ids, 9, 1, &after, NULL, &w.err);
    ok(isfinite(after) && before != after, "an engine on the masters sees every update");
    golden_batch_free(&g);
    trainee_close(&w);
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static void test_bad_micro(void)
{
    const vw_trainee_options o = {.max_tokens = 8, .max_documents = 2};
    int32_t ids[9] = {1, 2, 3}, labels[9] = {2, 3, -1}, starts[4] = {0, 3}, three[4] = {0, 1, 2, 3};
    int32_t outside[3] = {1, 97, 3}, backwards[3] = {0, 3, 3};
    with_trainee w;
    trainee_open_or_die(&w, "train-dense", &o, "");
    const vw_micro_batch good = {.n_tokens = 3,
                                 .ids = ids,
                                 .labels = labels,
                                 .n_documents = 1,
                                 .starts = starts,
                                 .divisor = 2,
                                 .loss_scale = 1};
    vw_micro_batch bad = good;
    bad.n_tokens = 9;
    trainee_refuses(&w, &bad, "a micro-batch of 9 tokens; 1 to 8 were said to come");
    bad = good;
    bad.ids = outside;
    trainee_refuses(&w, &bad, "token 97 at 1 of a micro-batch is not in the vocabulary of 97");
    bad = good;
    bad.labels = outside;
    trainee_refuses(&w, &bad,
                    "label 97 at 1 of a micro-batch is not in the vocabulary of 97, nor -1");
    bad = good;
    bad.n_documents = 3;
    bad.starts = three;
    trainee_refuses(&w, &bad, "a micro-batch of 3 documents; 1 to 2 were said to come");
    bad = good;
    bad.n_documents = 2;
    bad.starts = backwards;
    trainee_refuses(&w, &bad, "document 1 of a micro-batch begins at 3 and ends at 3 of 3 tokens");
    bad = good;
    bad.divisor = 0;
    trainee_refuses(&w, &bad, "gradients cannot be divided by 0 tokens");
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
    vw_trainee_options o = {.path = trainee_model("train-dense"), .max_tokens = 0};
    refuse_open(&o, "", "a micro-batch of 0 tokens; 1 to 16777216 can be trained on");
    o.max_tokens = 8;
    o.lora.rank = 5000;
    refuse_open(&o, "", "an adapter of rank 5000; 1 to 4096 make sense, 0 is none");
    o.lora = (vw_lora){.rank = 2, .alpha = 1, .targets = targets};
    refuse_open(&o, "", "an adapter for \"qq_proj\": this model has no block of that name");
    o.lora.rank = 0;
    refuse_open(&o, "gemm.plugin=cpu gemm.cpu.pack=yes",
                "gemm/cpu packs its weights, which a model that "
                "changes cannot have");
    o.is_frozen = true;
    with_trainee w;
    int32_t ids[3] = {1, 2, 3}, starts[2] = {0, 3};
    vw_micro_batch m = {.n_tokens = 3,
                        .ids = ids,
                        .labels = ids,
                        .n_documents = 1,
                        .starts = starts,
                        .divisor = 3,
                        .loss_scale = 1};
    trainee_open_or_die(&w, NULL, &o, "");
    trainee_refuses(&w, &m, "nothing of this model is trained");
    vw_losses losses;
    vw_status st = vw_trainee_evaluate(w.trainee, &m, &losses, &w.err);
    ok(!st && losses.n_scored == 3, "a frozen model can still be evaluated");
    trainee_close(&w);
}

int main(void)
{
    folder_make();
    for (size_t i = 0; i < N_MODELS; i++)
        test_saved_runs(models[i]);
    test_fresh();
    test_first_values();
    test_balance();
    test_capacity();
    test_half();
    test_engine();
    test_bad_micro();
    test_bad_open();
    return done_testing();
}
