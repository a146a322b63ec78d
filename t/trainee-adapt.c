/* trainee-adapt.c - adapters and teachers.
 *
 * An adapter begins as nothing, is all that learns, and is the same beside the model, merged into
 * it, and loaded again; a teacher that is the student teaches nothing.
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

/* ---- adapters -------------------------------------------------------------------------------- */

static const char *const q_and_o[] = {"q_proj", "o_proj", NULL};

/* The engine with the adapter beside the model, and the merged model: the same but for rounding. */
static void compare_adapted(const char *model, const char *merged, const char *kept,
                            const golden_batch *g)
{
    char settings[512];
    with_engine beside, one;
    snprintf(settings, sizeof settings, "engine.ctx_size=64 model.adapter=%s", kept);
    bool is_open = engine_open(&beside, trainee_model(model), settings);
    ok(is_open, "%s: the engine runs an adapter: %s", model, is_open ? "ok" : beside.err.text);
    is_open = engine_open(&one, merged, "engine.ctx_size=64") && is_open;
    size_t n = (size_t)g->n_tokens;
    float *a = is_open ? all_logits(&beside, g->ids, n, 0) : NULL;
    float *b = is_open ? all_logits(&one, g->ids, n, 1) : NULL;
    if (a && b)
        near_array(a, b, n * (size_t)one.info.vocab_size,
                   1e-4 * golden_number(trainee_model(model), "logits_std"),
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
    trainee_open_or_die(&base, model, &plain, "");
    trainee_open_or_die(&w, model, &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
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
        trainee_descend(&w, 0.05f);
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
    trainee_open_or_die(&base, NULL, &o, "");
    vw_losses again;
    vw_trainee_evaluate(base.trainee, &micro, &again, NULL);
    ok(fabs(again.cross_entropy - after.cross_entropy) < 1e-5 * after.cross_entropy,
       "%s: merged, the loss is %.6f and was %.6f", model, again.cross_entropy,
       after.cross_entropy);
    trainee_close(&base);
    o = (vw_trainee_options){.lora = {.rank = 3, .alpha = 6, .targets = q_and_o, .adapter = kept}};
    trainee_open_or_die(&base, model, &o, "");
    vw_trainee_evaluate(base.trainee, &micro, &again, NULL);
    ok(again.cross_entropy == after.cross_entropy, "%s: loaded again, the adapter is the same",
       model);
    trainee_close(&base);
    compare_adapted(model, merged, kept, &g);
    golden_batch_free(&g);
    trainee_close(&w);
}

/* An adapter's gradient is the full matrix's, seen through the other factor: with y = W x + s B
 * A x, dA = s B^T dW and dB = s dW A^T. */
static void test_adapter_gradient(void)
{
    static const char *const q[] = {"q_proj", NULL};
    enum { RANK = 2, K = 36, N = 60 };
    const char *name = "model.layers.0.self_attn.q_proj.weight";
    vw_trainee_options o = {.lora = {.rank = RANK, .alpha = 3, .targets = q}, .seed = 1};
    const vw_trainee_options plain = {0};
    with_trainee w, full;
    trainee_open_or_die(&w, "train-dense", &o, "");
    trainee_open_or_die(&full, "train-dense", &plain, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch micro = golden_micro(&g);
    trainee_learn(&w, &micro);
    trainee_learn(&full, &micro); /* B is zero, so the two models are one */
    vw_trainee_param a =
        trainee_param(&w, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    vw_trainee_param b =
        trainee_param(&w, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    vw_trainee_param d = trainee_param(&full, name);
    float want[N * RANK];
    for (int i = 0; i < N; i++)
        for (int r = 0; r < RANK; r++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += (double)d.gradient[i * K + k] * (double)a.values[r * K + k];
            want[i * RANK + r] = (float)(1.5 * sum);
        }
    ok(b.n == N * RANK && gradient_difference(b.gradient, want, N * RANK) < 1e-4, "dB = s dW A^T");
    float zero[RANK * K] = {0};
    ok(a.n == RANK * K && memcmp(a.gradient, zero, sizeof zero) == 0,
       "dA = s B^T dW, and B is zero");
    golden_batch_free(&g);
    trainee_close(&w);
    trainee_close(&full);
}

/* ---- adapters from outside ------------------------------------------------------------------- */

static void refuse_adapter(const char *folder, const char *why)
{
    char settings[512];
    with_engine w;
    snprintf(settings, sizeof settings, "engine.ctx_size=64 model.adapter=%s", folder);
    ok(!engine_open(&w, trainee_model("train-dense"), settings), "refused: %s", why);
    like(w.err.text, why, "and it says why");
    engine_close(&w);
}

static void test_bad_adapters(void)
{
    static const char config[] = "{\"peft_type\": \"LORA\", \"lora_alpha\": 4, \"r\": 2}";
    static const char other[] = "{\"peft_type\": \"IA3\"}";
    /* one tensor, f32 [1, 1], as safetensors has it */
    static const char file[] =
        "\x60\0\0\0\0\0\0\0{\"base_model.model.lm_tail.lora_A.weight\":{\"dtype\":\"F32\","
        "\"shape\":[1,1],\"data_offsets\":[0,4]}}   \0\0\0\0";
    char folder[300];
    refuse_adapter(folder_path("no-adapter"), "adapter_config.json");
    snprintf(folder, sizeof folder, "%s", folder_path("bad-adapter"));
    mkdir(folder, 0700);
    folder_text("bad-adapter/adapter_config.json", other);
    refuse_adapter(folder, "peft_type is \"IA3\"; plain \"LORA\" can be run");
    folder_text("bad-adapter/adapter_config.json", config);
    refuse_adapter(folder, "adapter_model.safetensors");
    static char own[sizeof file];
    memcpy(own, file, sizeof file);
    memcpy(strstr(own + 8, ".lora_A.weight"), ".base_layer.ww", 14);
    folder_write("bad-adapter/adapter_model.safetensors", own, sizeof own - 1);
    refuse_adapter(folder, "is the base model's own; let PEFT save the adapter alone "
                           "(save_embedding_layers=False)");
    folder_write("bad-adapter/adapter_model.safetensors", file, sizeof file - 1);
    refuse_adapter(
        folder, "tensor \"base_model.model.lm_tail.lora_A.weight\" adapts no matrix of this model");
}

/* ---- a teacher ------------------------------------------------------------------------------- */

typedef struct lecture { /* a teacher's rows of logits, of the scored positions */
    float *rows;
    int64_t vocab;
} lecture;

static vw_status note_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    lecture *l = arg;
    (void)err;
    memcpy(l->rows + first * l->vocab, logits.data, vw_tensor_bytes(&logits));
    return VW_OK;
}

static vw_status read_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    const lecture *l = arg;
    (void)err;
    memcpy(logits.data, l->rows + first * l->vocab, vw_tensor_bytes(&logits));
    return VW_OK;
}

static double objective(with_trainee *w, const vw_micro_batch *m)
{
    vw_losses l;
    double a = m->distil.alpha, t = m->distil.temperature;
    if (vw_trainee_evaluate(w->trainee, m, &l, &w->err))
        bail_out("%s", w->err.text);
    return (a * t * t * l.divergence + (1 - a) * l.cross_entropy) / (double)l.n_scored;
}

static void test_teacher(void)
{
    const vw_trainee_options o = {.has_teacher = true, .logit_rows = 5};
    with_trainee w;
    trainee_open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch micro = golden_micro(&g);
    size_t n = (size_t)w.info.n_trained;
    lecture l = {malloc((size_t)g.n_scored * 97 * sizeof(float)), 97};
    if (!l.rows || vw_trainee_logits(w.trainee, &micro, note_rows, &l, &w.err))
        bail_out("%s", w.err.text);
    trainee_learn(&w, &micro);
    float *plain = trainee_gradients(&w);

    micro.distil = (vw_distillation){.alpha = 1, .temperature = 2, .rows = read_rows, .arg = &l};
    vw_losses losses = trainee_learn(&w, &micro);
    double left = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        left += (double)w.info.gradients[i] * w.info.gradients[i];
        square += (double)plain[i] * plain[i];
    }
    ok(fabs(losses.divergence) < 1e-4 && left < 1e-8 * square,
       "a teacher that is the student has nothing to teach: KL %.1e, gradient %.1e",
       losses.divergence, sqrt(left / square));
    micro.distil.alpha = 0;
    trainee_learn(&w, &micro);
    is_mem(w.info.gradients, plain, n * sizeof *plain, "a weight of 0 is plain training");

    /* A teacher that shouts: the slope of the whole objective along its gradient is its square. */
    for (int64_t i = 0; i < g.n_scored * 97; i++)
        l.rows[i] *= 1.5f;
    micro.distil.alpha = 0.5;
    trainee_learn(&w, &micro);
    float *d = trainee_gradients(&w);
    for (size_t i = 0, first = 1; i < n; i++, first = 0)
        square = (first ? 0 : square) + (double)d[i] * d[i];
    double step = 1e-3 / sqrt(square), side[2];
    for (int s = 0; s < 2; s++) {
        for (size_t i = 0; i < n; i++)
            w.info.values[i] += (float)((s ? -2 : 1) * step * (double)d[i]);
        side[s] = objective(&w, &micro);
    }
    double slope = (side[0] - side[1]) / (2 * step);
    ok(fabs(slope - square) < 0.02 * square,
       "distillation: slope %.5g along a gradient of square %.5g", slope, square);
    free(d);
    free(plain);
    free(l.rows);
    golden_batch_free(&g);
    trainee_close(&w);
}

static void test_no_teacher(void)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    trainee_open_or_die(&w, "train-dense", &o, "");
    golden_batch g = golden_batch_read(w.core, trainee_model("train-dense"));
    vw_micro_batch micro = golden_micro(&g);
    micro.distil = (vw_distillation){.alpha = 0.5, .temperature = 2, .rows = read_rows};
    trainee_refuses(&w, &micro, "a teacher, which was not said to come");
    golden_batch_free(&g);
    trainee_close(&w);
}

int main(void)
{
    folder_make();
    for (size_t i = 0; i < N_MODELS; i++)
        test_adapter(models[i]);
    test_adapter_gradient();
    test_bad_adapters();
    test_teacher();
    test_no_teacher();
    return done_testing();
}
