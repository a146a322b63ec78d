/* tape.c - tapes of parts of a model, many alive at once, as a pipeline uses them.
 *
 * A model of two layers as two stages, two micro-batches in flight: both forward through both
 * stages, then backward in the order of a pipeline, input gradients first and weight gradients when
 * all else is done.  What comes out is what one tape of the whole model gives, micro-batch after
 * micro-batch.
 */
#include <stdlib.h>
#include <string.h>

#include "core/trainee.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"
#include "t/with_trainee.h"

enum { STAGES = 2, MICROS = 2, MAX_TOKENS = 64 };

/* A micro-batch as the device would have it; here device memory is the host's. */
typedef struct staged {
    batch b;
    lesson l;
    int32_t starts[8], positions[MAX_TOKENS], wanted[MAX_TOKENS], labels[MAX_TOKENS];
    float ce[MAX_TOKENS], kl[MAX_TOKENS];
    int64_t loads[64];
    float shares[64];
    vw_tape *tape[STAGES];
    float *hidden, *d_hidden; /* between the stages */
} staged;

static void stage_micro(staged *s, const golden_batch *g, int64_t first, int64_t documents,
                        double divisor, int32_t n_experts)
{
    int32_t *own = s->starts, from = g->starts[first], n = g->starts[first + documents] - from;
    s->b = (batch){.n_tokens = n,
                   .n_sequences = (int32_t)documents,
                   .ids = g->ids + from,
                   .positions = s->positions,
                   .wanted = s->wanted,
                   .query_start = own};
    for (int64_t d = 0; d < documents; d++) {
        int32_t length = g->starts[first + d + 1] - g->starts[first + d];
        own[d] = g->starts[first + d] - from;
        own[d + 1] = own[d] + length;
        for (int32_t i = 0; i < length; i++)
            s->positions[own[d] + i] = i;
        s->b.max_keys = s->b.max_queries_one = length > s->b.max_keys ? length : s->b.max_keys;
    }
    for (int32_t i = 0; i < n; i++)
        if (g->labels[from + i] >= 0) {
            s->wanted[s->b.n_wanted] = i;
            s->labels[s->b.n_wanted++] = g->labels[from + i];
        }
    s->l = (lesson){.labels = s->labels,
                    .ce = s->ce,
                    .kl = s->kl,
                    .loads = s->loads,
                    .shares = s->shares,
                    .n_experts = n_experts,
                    .loss = {.scale = (float)(1 / divisor)},
                    .router_scale = (float)((double)s->b.n_wanted / divisor)};
}

static forward forward_of(vw_trainee *t, staged *s, vw_error *err)
{
    return (forward){.cx = {&vw_nn_table},
                     .engine = t->engine,
                     .mode = CX_RUN,
                     .err = err,
                     .batch = &s->b,
                     .max_tokens = MAX_TOKENS,
                     .max_sequences = 4,
                     .logit_rows = t->logit_rows,
                     .arena = &t->arena,
                     .lesson = &s->l};
}

static void die_if(vw_status st, const vw_error *err)
{
    if (st)
        bail_out("%s", err->text);
}

static void make_tapes(vw_trainee *t, staged *s, vw_error *err)
{
    size_t bytes = MAX_TOKENS * (size_t)t->engine->info->width * sizeof(float);
    for (int stage = 0; stage < STAGES; stage++) {
        forward f = forward_of(t, s, err);
        die_if(vw_tape_new(&f, stage, stage + 1, 0, &s->tape[stage]), err);
        ok(f.arena_peak <= t->arena.bytes, "a stage needs no more scratch than the whole");
        die_if(vw_tape_allocate(s->tape[stage], err), err);
    }
    s->hidden = calloc(1, bytes);
    s->d_hidden = calloc(1, bytes);
    if (!s->hidden || !s->d_hidden)
        bail_out("no memory");
}

static void run_forward(vw_trainee *t, staged *s, int stage, vw_error *err)
{
    forward f = forward_of(t, s, err);
    die_if(vw_tape_forward(s->tape[stage], &f, stage ? s->hidden : NULL, stage ? NULL : s->hidden),
           err);
}

static void run_backward(vw_trainee *t, staged *s, int stage, vw_backward what, vw_error *err)
{
    forward f = forward_of(t, s, err);
    die_if(vw_tape_backward(s->tape[stage], &f, what, stage ? NULL : s->d_hidden,
                            stage ? s->d_hidden : NULL),
           err);
}

/* One tape of the whole model, document groups one after another. */
static float *learn_in_turn(with_trainee *w, const golden_batch *g, const int64_t *first)
{
    vw_losses losses;
    die_if(vw_trainee_zero(w->trainee, &w->err), &w->err);
    for (int m = 0; m < MICROS; m++) {
        int32_t starts[8];
        int64_t documents = first[m + 1] - first[m];
        for (int64_t d = 0; d <= documents; d++)
            starts[d] = g->starts[first[m] + d] - g->starts[first[m]];
        vw_micro_batch micro = golden_micro(g);
        micro.ids += g->starts[first[m]];
        micro.labels += g->starts[first[m]];
        micro.n_tokens = starts[documents];
        micro.n_documents = (int32_t)documents;
        micro.starts = starts;
        die_if(vw_trainee_learn(w->trainee, &micro, &losses, &w->err), &w->err);
    }
    return trainee_gradients(w);
}

static void test_pipeline(const char *model)
{
    static const int64_t first[MICROS + 1] = {0, 2, 3};
    static staged s[MICROS];
    char folder[4096];
    snprintf(folder, sizeof folder, "t/data/goldens/%s", model);
    vw_trainee_options o = {
        .path = source_file(folder), .max_tokens = MAX_TOKENS, .max_documents = 4};
    with_trainee w;
    if (!trainee_open(&w, &o, ""))
        bail_out("%s", w.err.text);
    vw_trainee *t = w.trainee;
    golden_batch g = golden_batch_read(w.core, o.path);
    float *want = learn_in_turn(&w, &g, first);
    for (int m = 0; m < MICROS; m++) {
        stage_micro(&s[m], &g, first[m], first[m + 1] - first[m], (double)g.n_scored, t->n_experts);
        make_tapes(t, &s[m], &w.err);
    }
    die_if(vw_trainee_zero(t, &w.err), &w.err);
    for (int m = 0; m < MICROS; m++)
        for (int stage = 0; stage < STAGES; stage++)
            run_forward(t, &s[m], stage, &w.err);
    for (int m = 0; m < MICROS; m++)
        for (int stage = STAGES; stage-- > 0;)
            run_backward(t, &s[m], stage, VW_BACKWARD_INPUT, &w.err);
    for (int m = 0; m < MICROS; m++)
        for (int stage = STAGES; stage-- > 0;)
            run_backward(t, &s[m], stage, VW_BACKWARD_WEIGHT, &w.err);
    double worst = 0;
    for (uint64_t i = 0; i < w.info.n_trained; i++) {
        double d = w.info.gradients[i] - want[i];
        worst = d * d > worst * worst ? d : worst;
    }
    ok(worst * worst < 1e-12, "%s: two stages, two micro-batches in flight: %.1e apart", model,
       worst);
    for (int m = 0; m < MICROS; m++) {
        for (int stage = 0; stage < STAGES; stage++)
            vw_tape_free(s[m].tape[stage]);
        free(s[m].hidden);
        free(s[m].d_hidden);
    }
    free(want);
    golden_batch_free(&g);
    trainee_close(&w);
}

int main(void)
{
    test_pipeline("train-dense");
    test_pipeline("train-softmax");
    return done_testing();
}
