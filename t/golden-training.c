/* golden-training.c - losses and gradients of whole models against PyTorch's autograd.
 *
 * t/data/goldens/train-* hold what etc/goldens/training.py found in float64.  For every parameter
 * the largest error of its gradient must stay below 1e-4 of that gradient's root mean square;
 * losses, auxiliary losses and logits must agree too.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "t/tap/tap.h"
#include "t/with_engine.h"
#include "t/with_trainee.h"

static const struct {
    const char *golden, *checkpoint;
} models[] = {{"train-dense", "train-dense"},
              {"train-softmax", "train-softmax"},
              {"train-sigmoid", "train-sigmoid"},
              {"train-zloss", "train-zloss"},
              {"train-gemma", "gemma-mqa-f16"}};

static const char *golden_folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "t/data/goldens/%s", name);
    return source_file(path);
}

/* Over the root mean square; what is zero throughout (an expert that no token took) must be it. */
static double worst_error(const float *got, const float *want, size_t n)
{
    double square = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        square += (double)want[i] * want[i];
        double error = fabs((double)got[i] - (double)want[i]);
        worst = error > worst || !isfinite(error) ? error : worst;
    }
    return worst > 0 ? worst / sqrt(square / (double)n) : 0;
}

static void compare_gradients(with_trainee *w, const char *folder, const char *what)
{
    size_t n_trained = 0;
    for (size_t i = 0; i < w->info.n_params; i++) {
        vw_trainee_param p;
        char name[256];
        size_t n;
        vw_trainee_get_param(w->trainee, i, &p);
        n_trained += p.is_trained;
        if (!p.is_trained)
            continue;
        snprintf(name, sizeof name, "gradient.%s", p.name);
        float *want = golden_tensor(w->core, folder, name, &n);
        double error = worst_error(p.gradient, want, n);
        ok(n == (size_t)p.n && error < 1e-4, "%s: %s is %.1e of its rms off", what, p.name, error);
        free(want);
    }
    ok(n_trained > 0, "%s: %zu parameters have gradients", what, n_trained);
}

static void compare_losses(const vw_losses *losses, const char *folder, const char *what)
{
    double want = golden_number(folder, "cross_entropy"), aux = golden_number(folder, "auxiliary");
    double n = (double)losses->n_scored;
    ok((double)losses->n_scored == golden_number(folder, "scored"), "%s: scored tokens", what);
    ok(fabs(losses->cross_entropy - want) < 1e-5 * want, "%s: loss %.7g, and %.7g in float64", what,
       losses->cross_entropy, want);
    ok(fabs(losses->balance / n - aux) <= 1e-5 * aux, "%s: auxiliary loss %.7g, and %.7g", what,
       losses->balance / n, aux);
    ok(losses->is_finite, "%s: losses are finite", what);
}

typedef struct kept_rows {
    float *to;
    int64_t vocab, n;
} kept_rows;

static vw_status keep_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    kept_rows *k = arg;
    (void)err;
    memcpy(k->to + first * k->vocab, logits.data, vw_tensor_bytes(&logits));
    k->n += logits.shape[0];
    return VW_OK;
}

/* Rows of logits, wanted of every position. */
static void compare_logits(with_trainee *w, const golden_batch *g, const char *folder,
                           const char *what)
{
    vw_micro_batch micro = golden_micro(g);
    size_t n;
    float *want = golden_tensor(w->core, folder, "logits", &n);
    kept_rows kept = {calloc(n, sizeof(float)), w->info.model->vocab_size, 0};
    micro.labels = g->ids; /* any: all are then scored */
    if (!kept.to || vw_trainee_logits(w->trainee, &micro, keep_rows, &kept, &w->err))
        bail_out("%s", w->err.text);
    ok(kept.n == g->n_tokens, "%s: a row for each token", what);
    near_array(kept.to, want, n, 2e-4 * golden_number(folder, "logits_std"), "%s: logits", what);
    free(kept.to);
    free(want);
}

static void test_model(size_t m, const char *gemm, const char *attention)
{
    char folder[4096], what[128], settings[128];
    vw_trainee_options o = {.path = golden_folder(models[m].checkpoint), .max_tokens = 64};
    with_trainee w;
    snprintf(folder, sizeof folder, "%s", golden_folder(models[m].golden));
    snprintf(what, sizeof what, "%s, %s, %s", models[m].golden, gemm, attention);
    snprintf(settings, sizeof settings, "gemm.plugin=%s attention.plugin=%s", gemm, attention);
    bool is_open = trainee_open(&w, &o, settings);
    ok(is_open, "%s opens: %s", what, is_open ? "ok" : w.err.text);
    if (!is_open) {
        trainee_close(&w);
        return;
    }
    golden_batch g = golden_batch_read(w.core, folder);
    vw_micro_batch micro = golden_micro(&g);
    vw_losses losses = trainee_learn(&w, &micro), plain;
    compare_losses(&losses, folder, what);
    compare_gradients(&w, folder, what);
    compare_logits(&w, &g, folder, what);
    vw_status st = vw_trainee_evaluate(w.trainee, &micro, &plain, &w.err);
    ok(!st && plain.cross_entropy == losses.cross_entropy,
       "%s: the loss without gradients is the same", what);
    golden_batch_free(&g);
    trainee_close(&w);
}

int main(void)
{
    static const char *const gemms[] = {"ref", "cpu", "blas"};
    static const char *const attentions[] = {"ref", "flash"};
    for (size_t g = 0; g < sizeof gemms / sizeof *gemms; g++) {
        if (!has_plugin(VW_KIND_GEMM, gemms[g])) {
            skip_unless_required(gemms[g], 1, "gemm/%s is not built", gemms[g]);
            continue;
        }
        for (size_t a = 0; a < sizeof attentions / sizeof *attentions; a++)
            for (size_t m = 0; m < sizeof models / sizeof *models; m++)
                test_model(m, gemms[g], attentions[a]);
    }
    return done_testing();
}
