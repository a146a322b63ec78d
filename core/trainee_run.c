/* trainee_run.c - one micro-batch: onto the device, forward, backward, and its losses back.
 */
#include "core/trainee.h"

#include <math.h>
#include <string.h>

static const vw_gemm_rounding roundings[] = {
    [VW_PRECISION_F32] = VW_GEMM_ROUND_NONE,
    [VW_PRECISION_BF16] = VW_GEMM_ROUND_BF16,
    [VW_PRECISION_F16] = VW_GEMM_ROUND_F16,
    [VW_PRECISION_FP8] = VW_GEMM_ROUND_E4M3,
};

static int32_t max_documents(const vw_trainee *t)
{
    int64_t most = t->options.max_tokens;
    return t->options.max_documents > 0 && t->options.max_documents < most
               ? t->options.max_documents
               : (int32_t)most;
}

/* ---- buffers --------------------------------------------------------------------------------- */

static size_t staging_words(const vw_trainee *t)
{
    return 4 * (size_t)t->options.max_tokens + 2 * (size_t)max_documents(t) + 2;
}

/* Counts of a micro-batch: loads as i64, then shares as f32. */
static size_t count_bytes(const vw_trainee *t)
{
    return (size_t)t->n_routers * (size_t)t->n_experts * (sizeof(int64_t) + sizeof(float));
}

uint64_t vw_trainee_run_bytes(const vw_trainee *t)
{
    return staging_words(t) * sizeof(int32_t) + 2 * (size_t)t->options.max_tokens * sizeof(float) +
           count_bytes(t);
}

vw_status vw_trainee_open_run(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    trainee_staging *s = &t->staging;
    size_t tokens = (size_t)t->options.max_tokens;
    s->words = staging_words(t);
    s->host = vw_core_alloc(t->core, s->words * sizeof *s->host);
    t->losses_host = vw_core_alloc(t->core, 2 * tokens * sizeof *t->losses_host);
    t->counts_host = vw_core_alloc(t->core, count_bytes(t) + 1);
    if (!s->host || !t->losses_host || !t->counts_host)
        return vw_fail(err, VW_E_NOMEM, "no memory for micro-batches of %zu tokens", tokens);
    memset(s->host, 0, s->words * sizeof *s->host);
    s->ids = s->host;
    s->positions = s->ids + tokens;
    s->wanted = s->positions + tokens;
    s->labels = s->wanted + tokens;
    s->starts = s->labels + tokens;
    s->n_keys = s->starts + max_documents(t) + 1;
    vw_status st = e->dev->alloc(dev, s->words * sizeof *s->host, &s->device, err);
    if (!st)
        st = e->dev->alloc(dev, 2 * tokens * sizeof(float), &t->losses, err);
    if (!st)
        st = e->dev->alloc(dev, count_bytes(t) + 1, &t->counts, err);
    return st;
}

void vw_trainee_close_run(vw_trainee *t)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    e->dev->free(dev, &t->counts);
    e->dev->free(dev, &t->losses);
    e->dev->free(dev, &t->staging.device);
    vw_core_release(t->core, t->counts_host);
    vw_core_release(t->core, t->losses_host);
    vw_core_release(t->core, t->staging.host);
}

/* ---- a forward ------------------------------------------------------------------------------- */

static lesson new_lesson(const vw_trainee *t)
{
    size_t counts = (size_t)t->n_routers * (size_t)t->n_experts;
    lesson l = {.rounding =
                    t->options.fp8_history ? VW_GEMM_ROUND_NONE : roundings[t->options.precision],
                .ce = t->losses.data,
                .loads = t->counts.data,
                .n_experts = t->n_experts};
    if (l.ce)
        l.kl = l.ce + t->options.max_tokens;
    if (l.loads)
        l.shares = (float *)(l.loads + counts);
    return l;
}

static forward new_forward(vw_trainee *t, cx_mode mode, const batch *b, lesson *l, vw_error *err)
{
    return (forward){.cx = {t->profile ? &t->profiled : &vw_nn_table},
                     .profile = t->profile,
                     .engine = t->engine,
                     .mode = mode,
                     .err = err,
                     .batch = b,
                     .max_tokens = t->options.max_tokens,
                     .max_sequences = max_documents(t),
                     .logit_rows = t->logit_rows,
                     .arena = &t->arena,
                     .lesson = l};
}

static vw_status run_range(forward *f, int32_t first, int32_t last)
{
    vw_engine *e = f->engine;
    f->arena_used = 0;
    vw_status st = e->mdl->forward(e->model->self, &f->cx, e->param_list, first, last);
    return f->status ? f->status : st;
}

/* With f->arg, which is then the trainee, what is tapped goes where it is wanted. */
static vw_status run_whole(forward *f)
{
    vw_engine *e = f->engine;
    const vw_trainee *t = f->arg;
    vw_status st = VW_OK;
    int32_t first = 0, i = 0;
    for (; t && i < t->n_taps && t->tapped[i] < e->info->n_layers - 1 && !st; i++) {
        f->hidden_out = t->taps[i];
        st = run_range(f, first, t->tapped[i] + 1);
        first = t->tapped[i] + 1;
        f->hidden_in = f->hidden_out;
    }
    f->hidden_out = t && i < t->n_taps ? t->taps[i] : NULL;
    return st ? st : run_range(f, first, e->info->n_layers);
}

static vw_status no_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    (void)arg, (void)first, (void)logits, (void)err;
    return VW_OK;
}

/* Every way in which this trainee will run: plain, with a teacher, recorded. */
vw_status vw_trainee_measure(vw_trainee *t, vw_error *err)
{
    int64_t n = t->options.max_tokens;
    batch b = {.n_tokens = n, .n_wanted = n, .n_sequences = 1, .max_keys = n, .max_queries_one = n};
    lesson l = new_lesson(t);
    forward f = new_forward(t, CX_MEASURE, &b, &l, err);
    l.distil.rows = t->options.has_teacher ? no_rows : NULL;
    vw_status st = run_whole(&f);
    if (!st && --b.n_wanted > 0)
        st = run_whole(&f);
    b.n_wanted = n;
    l.drops = true;
    l.dropout = (float)t->options.dropout;
    l.projections = t->projection_list;
    if (!st && !t->options.is_frozen)
        st = vw_tape_new(&f, 0, t->engine->info->n_layers,
                         t->n_projections ? 1 : t->options.recompute_layers, &t->tape);
    t->arena_bytes = f.arena_peak;
    return st;
}

/* ---- a micro-batch onto the device ----------------------------------------------------------- */

static vw_status check_documents(const vw_trainee *t, const vw_micro_batch *m, vw_error *err)
{
    if (m->n_documents < 1 || m->n_documents > max_documents(t))
        return vw_fail(err, VW_E_INVALID,
                       "a micro-batch of %d documents; 1 to %d were said to come", m->n_documents,
                       max_documents(t));
    for (int32_t d = 0; d < m->n_documents; d++)
        if (m->starts[0] != 0 || m->starts[d + 1] <= m->starts[d] ||
            m->starts[m->n_documents] != m->n_tokens)
            return vw_fail(err, VW_E_INVALID,
                           "document %d of a micro-batch begins at %d and ends at %d "
                           "of %lld tokens",
                           d, m->starts[d], m->starts[d + 1], (long long)m->n_tokens);
    return VW_OK;
}

static vw_status check_micro(const vw_trainee *t, const vw_micro_batch *m, vw_error *err)
{
    int32_t vocab = t->engine->info->vocab_size;
    if (m->distil.rows && !t->options.has_teacher)
        return vw_fail(err, VW_E_INVALID, "a teacher, which was not said to come");
    if (m->distil.hidden && !t->n_projections)
        return vw_fail(err, VW_E_INVALID, "hidden states of a teacher, which were not said to come");
    if (m->n_tokens < 1 || m->n_tokens > t->options.max_tokens)
        return vw_fail(err, VW_E_INVALID,
                       "a micro-batch of %lld tokens; 1 to %lld were said to come",
                       (long long)m->n_tokens, (long long)t->options.max_tokens);
    for (int64_t i = 0; i < m->n_tokens; i++) {
        if (m->ids[i] < 0 || m->ids[i] >= vocab)
            return vw_fail(err, VW_E_INVALID,
                           "token %d at %lld of a micro-batch is not in the "
                           "vocabulary of %d",
                           m->ids[i], (long long)i, vocab);
        if (m->labels[i] < -1 || m->labels[i] >= vocab)
            return vw_fail(err, VW_E_INVALID,
                           "label %d at %lld of a micro-batch is not in the "
                           "vocabulary of %d, nor -1",
                           m->labels[i], (long long)i, vocab);
    }
    return check_documents(t, m, err);
}

static vw_status stage(vw_trainee *t, const vw_micro_batch *m, batch *b, lesson *l, vw_error *err)
{
    vw_engine *e = t->engine;
    trainee_staging *s = &t->staging;
    const int32_t *dev = s->device.data;
    vw_status st = check_micro(t, m, err);
    if (st)
        return st;
    *b = (batch){.n_tokens = m->n_tokens, .n_sequences = m->n_documents};
    memcpy(s->ids, m->ids, (size_t)m->n_tokens * sizeof *s->ids);
    memcpy(s->starts, m->starts, ((size_t)m->n_documents + 1) * sizeof *s->starts);
    for (int32_t d = 0; d < m->n_documents; d++) {
        int32_t n = m->starts[d + 1] - m->starts[d];
        s->n_keys[d] = n;
        b->max_keys = n > b->max_keys ? n : b->max_keys;
        for (int32_t i = 0; i < n; i++)
            s->positions[m->starts[d] + i] = i;
    }
    b->max_queries_one = b->max_keys;
    for (int64_t i = 0; i < m->n_tokens; i++)
        if (m->labels[i] >= 0) {
            s->wanted[b->n_wanted] = (int32_t)i;
            s->labels[b->n_wanted++] = m->labels[i];
        }
    b->ids = dev + (s->ids - s->host);
    b->positions = dev + (s->positions - s->host);
    b->wanted = dev + (s->wanted - s->host);
    b->query_start = dev + (s->starts - s->host);
    b->n_keys = dev + (s->n_keys - s->host);
    l->labels = dev + (s->labels - s->host);
    return e->dev->upload(e->device->self, e->stream, s->device.data, s->host,
                          s->words * sizeof *s->host, err);
}

/* ---- its losses ------------------------------------------------------------------------------ */

static bool has_teacher(const vw_micro_batch *m)
{
    return m->distil.rows || m->distil.k;
}

static vw_status collect(vw_trainee *t, const batch *b, bool has_teacher, vw_losses *losses,
                         vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    size_t room = (size_t)t->options.max_tokens, n = (size_t)b->n_wanted;
    float *host = t->losses_host;
    const float *from = t->losses.data;
    vw_status st = e->dev->download(dev, e->stream, host, from, n * sizeof *host, err);
    if (!st && has_teacher)
        st = e->dev->download(dev, e->stream, host + room, from + room, n * sizeof *host, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    if (st)
        return st;
    *losses = (vw_losses){.n_scored = b->n_wanted};
    for (size_t i = 0; i < n; i++) {
        losses->cross_entropy += (double)host[i];
        losses->divergence += has_teacher ? (double)host[room + i] : 0;
    }
    st = vw_trainee_count(t, b->n_tokens, b->n_wanted, losses, err);
    losses->is_finite = isfinite(losses->cross_entropy) && isfinite(losses->divergence) &&
                        isfinite(losses->balance);
    return st;
}

void vw_losses_add(vw_losses *sum, const vw_losses *one)
{
    bool is_finite = (sum->is_finite || !sum->n_scored) && (one->is_finite || !one->n_scored);
    sum->n_scored += one->n_scored;
    sum->cross_entropy += one->cross_entropy;
    sum->divergence += one->divergence;
    sum->balance += one->balance;
    sum->hidden += one->hidden;
    sum->is_finite = is_finite;
}

/* ---- learning and evaluating ----------------------------------------------------------------- */

vw_status vw_trainee_zero(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    return e->dev->fill(e->device->self, e->stream, t->gradients.data, 0, t->gradients.bytes, err);
}

static vw_status clear_counts(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    return e->dev->fill(e->device->self, e->stream, t->counts.data, 0, t->counts.bytes, err);
}

static vw_status learn_weights(vw_trainee *t, vw_error *err)
{
    batch b = {0};
    lesson l = new_lesson(t);
    forward f = new_forward(t, CX_RUN, &b, &l, err);
    l.is_recorded = true;
    return vw_tape_backward(t->tape, &f, VW_BACKWARD_WEIGHT, NULL, NULL);
}

vw_status vw_trainee_learn(vw_trainee *t, const vw_micro_batch *m, vw_losses *losses, vw_error *err)
{
    return vw_trainee_learn_as(t, m, VW_BACKWARD_BOTH, losses, err);
}

vw_status vw_trainee_learn_as(vw_trainee *t, const vw_micro_batch *m, vw_backward what,
                              vw_losses *losses, vw_error *err)
{
    batch b;
    lesson l = new_lesson(t);
    forward f = new_forward(t, CX_RUN, &b, &l, err);
    if (!t->tape || !t->n_trained)
        return vw_fail(err, VW_E_INVALID, "nothing of this model is trained");
    if (what == VW_BACKWARD_WEIGHT)
        return learn_weights(t, err);
    vw_status st = stage(t, m, &b, &l, err);
    if (!st)
        st = clear_counts(t, err);
    if (st)
        return st;
    if (!b.n_wanted || !(m->divisor > 0)) {
        *losses = (vw_losses){.is_finite = true};
        return b.n_wanted ? vw_fail(err, VW_E_INVALID, "gradients cannot be divided by %g tokens",
                                    m->divisor)
                          : VW_OK;
    }
    l.loss.scale = (float)(m->loss_scale / m->divisor);
    l.loss.smoothing = (float)m->label_smoothing;
    l.distil = m->distil;
    l.is_recorded = true;
    l.projections = m->distil.hidden ? t->projection_list : NULL;
    l.hidden_scale = (float)(m->loss_scale * m->distil.hidden_weight * (double)b.n_wanted /
                             m->divisor / (double)(t->n_projections ? t->n_projections : 1));
    l.misses = t->misses.data;
    l.drops = true;
    l.dropout = (float)t->options.dropout;
    l.seed = m->seed;
    l.router_scale = (float)(m->loss_scale * (double)b.n_wanted / m->divisor);
    st = vw_tape_forward(t->tape, &f, NULL, NULL);
    if (!st)
        st = vw_tape_backward(t->tape, &f, what, NULL, NULL);
    if (!st)
        st = collect(t, &b, has_teacher(m), losses, err);
    if (!st && l.projections)
        st = vw_trainee_collect_misses(t, b.n_tokens, losses, err);
    return st;
}

vw_status vw_trainee_evaluate(vw_trainee *t, const vw_micro_batch *m, vw_losses *losses,
                              vw_error *err)
{
    batch b;
    lesson l = new_lesson(t);
    forward f = new_forward(t, CX_RUN, &b, &l, err);
    vw_status st = stage(t, m, &b, &l, err);
    l.is_replay = true; /* loads are those of training */
    l.distil = m->distil;
    if (!st)
        st = clear_counts(t, err);
    if (!st)
        st = run_whole(&f);
    return st ? st : collect(t, &b, has_teacher(m), losses, err);
}

vw_status vw_trainee_logits(vw_trainee *t, const vw_micro_batch *m, vw_trainee_rows rows, void *arg,
                            vw_error *err)
{
    batch b;
    lesson l = new_lesson(t);
    forward f = new_forward(t, CX_RUN, &b, &l, err);
    vw_status st = stage(t, m, &b, &l, err);
    l.is_replay = true;
    l.on_rows = rows;
    l.arg = arg;
    f.arg = t;
    if (!st)
        st = run_whole(&f);
    return st ? st : t->engine->dev->synchronize(t->engine->device->self, t->engine->stream, err);
}
