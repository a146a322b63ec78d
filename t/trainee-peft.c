/* trainee-peft.c - adapters that PEFT wrote, on every kind of block: logits, loss and gradients against
 * PyTorch's (etc/goldens/adapters.py), and the same adapters in training, merged, and mixed up.
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

/* Largest error over the root mean square. */
static double error_of(const float *got, const float *want, size_t n)
{
    return gradient_difference(got, want, n);
}

/* ---- in inference ---------------------------------------------------------------------------- */

static void test_engine(const char *base, const char *adapter, const char *ids_name, size_t n,
                        const char *gemm)
{
    char settings[5000], folder[4096];
    const vw_trainee_options plain = {0};
    with_engine w;
    with_trainee files;
    size_t count, values;
    snprintf(folder, sizeof folder, "%s", trainee_model(adapter));
    snprintf(settings, sizeof settings, "engine.ctx_size=64 gemm.plugin=%s model.adapter=%s", gemm,
             folder);
    trainee_open_or_die(&files, "train-dense", &plain, "");
    float *ids = golden_tensor(files.core, folder, ids_name, &count);
    float *want = golden_tensor(files.core, folder, "logits", &values);
    int32_t tokens[64];
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)ids[i];
    bool is_open = engine_open(&w, trainee_model(base), settings);
    ok(is_open, "%s, gemm/%s: opens: %s", adapter, gemm, is_open ? "ok" : w.err.text);
    for (int way = 0; way < 2 && is_open; way++) {
        float *got = all_logits(&w, tokens, n, way);
        near_array(got, want, n * (size_t)w.info.vocab_size,
                   2e-4 * golden_number(folder, "logits_std"), "%s, gemm/%s: logits, %s", adapter,
                   gemm, way ? "token by token" : "at once");
        free(got);
    }
    engine_close(&w);
    trainee_close(&files);
    free(want);
    free(ids);
}

/* ---- in training ----------------------------------------------------------------------------- */

static const char *const all[] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                  "down_proj", "embed_tokens", "lm_head", NULL};

/* PEFT has A of a table the other way round. */
static bool is_table(const char *name)
{
    return strstr(name, "lora_embedding_A") != NULL;
}

static void compare_gradients(with_trainee *w, const char *folder)
{
    size_t n_trained = 0, n_tables = 0;
    double worst = 0;
    for (size_t i = 0; i < w->info.n_params; i++) {
        vw_trainee_param p;
        char name[256];
        size_t n;
        vw_trainee_get_param(w->trainee, i, &p);
        if (!p.is_trained)
            continue;
        snprintf(name, sizeof name, "gradient.%s", p.name);
        float *want = golden_tensor(w->core, folder, name, &n), *turned = malloc(n * sizeof *turned);
        if (!turned || n != (size_t)p.n)
            bail_out("%s: %zu values", name, n);
        for (size_t k = 0; k < n; k++)
            turned[is_table(name) ? k % (size_t)p.rows * (size_t)p.cols + k / (size_t)p.rows : k] =
                want[k];
        double error = error_of(p.gradient, turned, n);
        if (error >= 1e-4)
            ok(false, "%s is %.1e of its rms off", p.name, error);
        worst = fmax(worst, error);
        n_tables += is_table(name);
        n_trained++;
        free(turned);
        free(want);
    }
    ok(n_trained == 130 && n_tables == 1 && worst < 1e-4,
       "gradients of %zu factors, the worst %.1e of its rms off", n_trained, worst);
}

static vw_trainee_options adapted(const char *adapter)
{
    return (vw_trainee_options){
        .lora = {.rank = 3, .alpha = 5, .targets = all, .adapter = adapter}};
}

static void test_training(void)
{
    char folder[4096], merged[300], kept[320];
    snprintf(folder, sizeof folder, "%s", trainee_model("peft-experts"));
    vw_trainee_options o = adapted(folder);
    with_trainee w, one;
    trainee_open_or_die(&w, "train-sigmoid", &o, "");
    golden_batch g = golden_batch_read(w.core, folder);
    vw_micro_batch micro = golden_micro(&g);
    vw_losses losses = trainee_learn(&w, &micro), again;
    double want = golden_number(folder, "cross_entropy");
    ok(fabs(losses.cross_entropy - want) < 1e-5 * want, "loss %.7g, and %.7g in float64",
       losses.cross_entropy, want);
    compare_gradients(&w, folder);

    snprintf(merged, sizeof merged, "%s", folder_path("merged"));
    snprintf(kept, sizeof kept, "%s", folder_path("kept"));
    mkdir(merged, 0700);
    mkdir(kept, 0700);
    vw_status st = vw_trainee_save(w.trainee, merged, VW_F32, &w.err);
    if (!st)
        st = vw_trainee_save_adapter(w.trainee, kept, &w.err);
    ok(!st, "model and adapter are written %s", w.err.text);
    o = (vw_trainee_options){.path = merged};
    trainee_open_or_die(&one, NULL, &o, "");
    vw_trainee_evaluate(one.trainee, &micro, &again, NULL);
    ok(fabs(again.cross_entropy - losses.cross_entropy) < 2e-5 * want,
       "merged, experts, embedding and head too: loss %.6f", again.cross_entropy);
    trainee_close(&one);
    size_t n = 0, m = 0;
    char *ours = folder_slurp(folder_path("kept/adapter_model.safetensors"), &n);
    char theirs_path[4200];
    snprintf(theirs_path, sizeof theirs_path, "%s/adapter_model.safetensors", folder);
    char *theirs = folder_slurp(theirs_path, &m);
    o = adapted(kept);
    trainee_open_or_die(&one, "train-sigmoid", &o, "");
    vw_trainee_evaluate(one.trainee, &micro, &again, NULL);
    ok(again.cross_entropy == losses.cross_entropy, "and what was written is what was read");
    ok(n > 60000 && m > 60000, "of %zu bytes, PEFT's own %zu", n, m);
    free(ours);
    free(theirs);
    trainee_close(&one);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* ---- dropout --------------------------------------------------------------------------------- */

static double loss_of(with_trainee *w, const vw_micro_batch *m)
{
    vw_losses l = trainee_learn(w, m);
    return (l.cross_entropy + l.balance) / (double)l.n_scored;
}

/* With the same seed the same inputs are dropped, so that differences show the gradient. */
static void test_dropout(const char *model)
{
    vw_trainee_options o = {.lora = {.rank = 3, .alpha = 6, .dropout = 0.3, .targets = all}, .seed = 3};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g);
    size_t n = (size_t)w.info.n_trained;
    micro.seed = 11;
    for (int i = 0; i < 3; i++) {
        trainee_learn(&w, &micro);
        trainee_descend(&w, 0.05f);
    }
    double here = loss_of(&w, &micro), square = 0, side[2];
    float *d = trainee_gradients(&w), *kept = malloc(n * sizeof *kept);
    if (!kept)
        bail_out("no memory");
    memcpy(kept, w.info.values, n * sizeof *kept);
    vw_trainee_options again = o;
    again.recompute_layers = 1;
    micro.seed = 12;
    ok(loss_of(&w, &micro) != here, "%s: another seed drops other inputs of adapters", model);
    micro.seed = 11;
    for (size_t i = 0; i < n; i++)
        square += (double)d[i] * d[i];
    for (int s = 0; s < 2; s++) {
        double step = (s ? -1e-3 : 1e-3) / sqrt(square);
        for (size_t i = 0; i < n; i++)
            w.info.values[i] = (float)((double)kept[i] + step * (double)d[i]);
        side[s] = loss_of(&w, &micro);
    }
    double slope = (side[0] - side[1]) / (2e-3 / sqrt(square));
    ok(fabs(slope - square) < 0.02 * square,
       "%s: with dropout, slope %.5g along a gradient of square %.5g", model, slope, square);
    trainee_close(&w);
    trainee_open_or_die(&w, model, &again, "");
    memcpy(w.info.values, kept, n * sizeof *kept);
    trainee_learn(&w, &micro);
    is_mem(w.info.gradients, d, n * sizeof *d, "%s: the same bits when layers are run again", model);
    free(kept);
    free(d);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void test_tied(void)
{
    static const char *const head[] = {"lm_head", NULL};
    vw_trainee_options o = {.path = trainee_model("gemma-mha"),
                            .max_tokens = 64,
                            .lora = {.rank = 2, .alpha = 4, .targets = head, .is_merged = true}};
    with_trainee w;
    ok(!trainee_open(&w, &o, ""), "an adapter of a head that is the embedding is not merged");
    like(w.err.text,
         "this model's head is its embedding, so an adapter of one of them cannot be merged into the "
         "other; keep it beside the model (train.final = no, and model.adapter = FOLDER to run it), "
         "or leave lm_head out of lora.targets",
         "in words");
    trainee_close(&w);
}

static void refuse_adapter(const char *config, const char *file, size_t bytes, const char *why)
{
    char settings[5000];
    with_engine w;
    mkdir(folder_path("bad"), 0700);
    folder_text("bad/adapter_config.json", config);
    folder_write("bad/adapter_model.safetensors", file, bytes);
    snprintf(settings, sizeof settings, "engine.ctx_size=64 model.adapter=%s", folder_path("bad"));
    ok(!engine_open(&w, trainee_model("train-sigmoid"), settings), "refused: %s", why);
    like(w.err.text, why, "in words");
    engine_close(&w);
}

static void test_refused(void)
{
    static const char plain[] = "{\"peft_type\": \"LORA\", \"lora_alpha\": 4, \"r\": 1}";
    /* Of one expert alone. */
    static const char header[] =
        "{\"base_model.model.model.layers.1.mlp.experts.0.gate_proj.lora_A.weight\":{\"dtype\":"
        "\"F32\",\"shape\":[1,36],\"data_offsets\":[0,144]},"
        "\"base_model.model.model.layers.1.mlp.experts.0.gate_proj.lora_B.weight\":{\"dtype\":"
        "\"F32\",\"shape\":[18,1],\"data_offsets\":[144,216]}}";
    char file[8 + sizeof header + 216] = {0};
    uint64_t n = sizeof header - 1;
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    refuse_adapter(plain, file, 8 + n + 216,
                   "the adapters of \"model.layers.1.mlp.experts.0.gate_proj.weight\" and "
                   "\"model.layers.1.mlp.experts.1.gate_proj.weight\" differ; all experts of a layer "
                   "are adapted alike, with one rank, or none is");
    refuse_adapter("{\"peft_type\": \"LORA\", \"use_dora\": true}", file, 8 + n + 216,
                   "peft_type is \"LORA\" with use_dora; plain \"LORA\" can be run");
    refuse_adapter("{\"peft_type\": \"LORA\", \"alpha_pattern\": {\"q_proj\": 3}}", file, 8 + n + 216,
                   "alpha_pattern gives blocks factors of their own; one lora_alpha for all can be run");
}

int main(void)
{
    folder_make();
    test_engine("gemma-mha", "peft-gemma", "tokens", 20, "cpu");
    test_engine("gemma-mha", "peft-gemma", "tokens", 20, "ref");
    test_engine("train-sigmoid", "peft-experts", "ids", 9, "cpu");
    test_engine("train-sigmoid", "peft-experts", "ids", 9, "ref");
    if (has_plugin(VW_KIND_GEMM, "blas"))
        test_engine("train-sigmoid", "peft-experts", "ids", 9, "blas");
    test_training();
    test_dropout("train-sigmoid");
    test_dropout("train-softmax");
    test_tied();
    test_refused();
    return done_testing();
}
