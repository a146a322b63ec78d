/* trainer_distil.c - [distill]: a second model whose opinion of every token is learnt from.
 *
 * Teacher and student are two instances of any families with one vocabulary: the same pieces at the
 * same ids.  The teacher runs each micro-batch first, and its rows of logits wait in device memory
 * until the student's loss asks for them.  L = alpha T^2 KL(teacher || student) + (1 - alpha) CE.
 * With distill.intermediate_weight what leaves some of its layers waits beside them, for what leaves
 * the student's.
 */
#include "core/trainer.h"

#include <stdlib.h>

/* ---- one vocabulary -------------------------------------------------------------------------- */

static bool same_piece(const vw_encoder *a, const vw_encoder *b, int32_t id)
{
    char x[512], y[512];
    size_t n = 0, m = 0;
    vw_status st = a->ops->piece(a->self, id, 0, 1, x, sizeof x, &n, NULL);
    if (st || b->ops->piece(b->self, id, 0, 1, y, sizeof y, &m, NULL))
        return false;
    return n == m && !memcmp(x, y, n < sizeof x ? n : sizeof x);
}

static vw_status differ(const vw_trainer *t, const char *what, vw_error *err)
{
    return vw_fail(
        err, VW_E_CONFIG,
        "distill.teacher = %s: its vocabulary and the student's differ (%s), so "
        "their logits cannot be compared. Let the teacher write text instead and train the student "
        "on that, with its own tokenizer: vishwamai run -m TEACHER -p PROMPT -n 500 --json >> "
        "taught.jsonl for as many prompts as there are, then vishwamai train -f taught.jsonl",
        t->distill.teacher, what);
}

static vw_status compare_sizes(vw_trainer *t, vw_error *err)
{
    vw_trainee_info teacher;
    char what[160];
    vw_trainee_get_info(t->teacher, &teacher);
    if (teacher.model->vocab_size != t->info.model->vocab_size) {
        snprintf(what, sizeof what, "%d and %d tokens", teacher.model->vocab_size,
                 t->info.model->vocab_size);
        return differ(t, what, err);
    }
    return VW_OK;
}

static vw_status compare_pieces(vw_trainer *t, const char *folder, vw_error *err)
{
    char what[160];
    if (!t->tokenizer)
        return VW_OK;
    vw_probe about = {sizeof about, folder, NULL};
    const vw_component *its;
    char section[64];
    vw_section_write(section, sizeof section, VW_KIND_MODEL, t->distill.teacher, NULL);
    const char *label = vw_settings_get(vw_core_settings(t->core), section, "tokenizer");
    vw_status st = vw_core_instance_open(t->core, VW_KIND_TOKENIZER, label, &about, &its, err);
    if (st)
        return vw_fail_in(err, st, "the teacher's tokenizer");
    vw_encoder e = {.ops = its->ops, .self = its->self, .info = {.size = sizeof e.info}};
    if (!(st = e.ops->load(e.self, folder, err)) && !(st = e.ops->info(e.self, &e.info, err)))
        for (int32_t id = 0, n = t->encoder.info.vocab_size;
             id < (n > e.info.vocab_size ? n : e.info.vocab_size) && !st; id++)
            if (!same_piece(&e, &t->encoder, id)) {
                snprintf(what, sizeof what, "token %d is another piece", id);
                st = differ(t, what, err);
            }
    vw_core_instance_close(t->core, its);
    return st;
}

/* ---- hidden states --------------------------------------------------------------------------- */

static vw_status open_hidden(vw_trainer *t, vw_error *err)
{
    vw_trainee_info teacher;
    int32_t borders = t->info.model->n_layers, n = 0;
    bool is_last = t->distill.intermediate_layer_mapping == 1;
    if (t->distill.intermediate_weight <= 0)
        return VW_OK;
    vw_trainee_get_info(t->teacher, &teacher);
    int32_t layers = teacher.model->n_layers;
    if (is_last && layers < borders)
        return vw_fail(
            err, VW_E_CONFIG,
            "distill.teacher = %s has %d layers, the student %d; "
            "distill.intermediate_layer_mapping = last_layers wants a teacher of as many "
            "layers at least",
            t->distill.teacher, layers, borders);
    size_t one = (size_t)t->trainee_options.max_tokens * (size_t)teacher.model->width;
    t->tapped = calloc((size_t)borders, sizeof *t->tapped);
    t->taps = calloc((size_t)borders, sizeof *t->taps);
    t->hidden = calloc((size_t)borders, sizeof *t->hidden);
    if (!t->tapped || !t->taps || !t->hidden)
        return vw_fail(err, VW_E_NOMEM, "no memory for hidden states");
    vw_status st =
        t->dev->alloc(t->device, (size_t)borders * one * sizeof(float), &t->hidden_states, err);
    for (int32_t b = 0; b < borders && !st; b++) { /* several borders may have one layer */
        int32_t layer = vw_teacher_layer(b, borders, layers, is_last);
        if (n == 0 || t->tapped[n - 1] != layer) {
            t->tapped[n] = layer;
            t->taps[n] = (float *)t->hidden_states.data + (size_t)n * one;
            n++;
        }
        t->hidden[b] = t->taps[n - 1];
    }
    if (!st)
        vw_trainee_tap(t->teacher, n, t->tapped, t->taps);
    return st;
}

/* ---- the teacher ----------------------------------------------------------------------------- */

static vw_status read_model(const vw_trainer *t, vw_config_model *model, vw_error *err)
{
    char section[80];
    vw_section_write(section, sizeof section, VW_KIND_MODEL, t->distill.teacher, NULL);
    vw_status st =
        vw_settings_bind(vw_core_settings(t->core), section, vw_model_options, model, err);
    if (!st && !*model->path)
        st = vw_fail(err, VW_E_CONFIG,
                     "distill.teacher = %s: [%s] path is needed, the teacher's folder",
                     t->distill.teacher, section);
    return st;
}

/* The student's projections are as wide as the teacher, whose memory depends on the student's. */
vw_status vw_trainer_find_hidden_width(vw_trainer *t, vw_error *err)
{
    vw_config_model model;
    vw_trainee *teacher;
    vw_trainee_info info;
    if (*t->distill.teacher_cache && t->distill.intermediate_weight > 0)
        return vw_fail(err, VW_E_CONFIG,
                       "distill.intermediate_weight = %g compares hidden states, which "
                       "distill.teacher_cache does not hold; set it to 0, or the other to nothing",
                       t->distill.intermediate_weight);
    if (!*t->distill.teacher || t->distill.intermediate_weight <= 0)
        return VW_OK;
    vw_status st = read_model(t, &model, err);
    if (st)
        return st;
    vw_trainee_options o = {
        .label = t->distill.teacher, .path = model.path, .is_frozen = true, .max_tokens = 1};
    if ((st = vw_trainee_open(t->core, &o, &teacher, err)))
        return vw_fail_in(err, st, "the teacher");
    vw_trainee_get_info(teacher, &info);
    t->trainee_options.hidden_width = info.model->width;
    vw_trainee_close(teacher);
    return VW_OK;
}

static vw_status open_model(vw_trainer *t, const vw_config_model *model, vw_trainee **teacher,
                            vw_error *err)
{
    vw_trainee_options o = {.label = t->distill.teacher,
                            .path = model->path,
                            .is_frozen = true,
                            .max_tokens = t->trainee_options.max_tokens,
                            .max_documents = t->trainee_options.max_documents,
                            .progress = t->options.progress,
                            .progress_arg = t->options.progress_arg};
    vw_status st = vw_trainee_open(t->core, &o, teacher, err);
    return st ? vw_fail_in(err, st, "the teacher") : VW_OK;
}

vw_status vw_trainer_open_teacher_alone(vw_trainer *t, vw_error *err)
{
    vw_config_model model;
    if (!*t->distill.teacher || !*t->distill.teacher_cache)
        return vw_fail(err, VW_E_CONFIG,
                       "a teacher is asked beforehand with distill.teacher = LABEL and "
                       "distill.teacher_cache = FOLDER, where what it says will be written");
    vw_status st = read_model(t, &model, err);
    if (!st)
        st = open_model(t, &model, &t->trainee, err);
    return st ? st : compare_pieces(t, model.path, err);
}

vw_status vw_trainer_open_teacher(vw_trainer *t, vw_error *err)
{
    vw_config_model model;
    if (!*t->distill.teacher || *t->distill.teacher_cache)
        return VW_OK;
    vw_status st = read_model(t, &model, err);
    if (!st)
        st = open_model(t, &model, &t->teacher, err);
    if (st)
        return st;
    if (vw_trainee_device(t->teacher) != vw_trainee_device(t->trainee))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "the teacher and the student are on different devices");
    if ((st = compare_sizes(t, err)) || (st = compare_pieces(t, model.path, err)))
        return st;
    size_t bytes = (size_t)t->trainee_options.max_tokens * (size_t)t->info.model->vocab_size * sizeof(float);
    st = t->dev->alloc(t->device, bytes, &t->teacher_rows, err);
    return st ? st : open_hidden(t, err);
}

void vw_trainer_close_teacher(vw_trainer *t)
{
    if (t->dev) {
        t->dev->free(t->device, &t->teacher_rows);
        t->dev->free(t->device, &t->hidden_states);
    }
    free(t->tapped);
    free(t->taps);
    free(t->hidden);
    vw_trainee_close(t->teacher);
}

static vw_status copy_rows(vw_trainer *t, vw_stream *stream, float *to, int64_t to_stride,
                           const float *from, int64_t from_stride, int64_t rows, vw_error *err)
{
    size_t row = (size_t)t->info.model->vocab_size;
    vw_status st = VW_OK;
    if (to_stride == from_stride && to_stride == (int64_t)row)
        return t->dev->copy(t->device, stream, to, from, (size_t)rows * row * sizeof *to, err);
    for (int64_t i = 0; i < rows && !st; i++)
        st = t->dev->copy(t->device, stream, to + i * to_stride, from + i * from_stride,
                          row * sizeof *to, err);
    return st;
}

static vw_status keep_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    vw_trainer *t = arg;
    int64_t row = t->info.model->vocab_size;
    return copy_rows(t, vw_trainee_stream(t->teacher), (float *)t->teacher_rows.data + first * row,
                     row, logits.data, logits.stride[0], logits.shape[0], err);
}

static vw_status give_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    vw_trainer *t = arg;
    int64_t row = t->info.model->vocab_size;
    return copy_rows(t, vw_trainee_stream(t->trainee), logits.data, logits.stride[0],
                     (const float *)t->teacher_rows.data + first * row, row, logits.shape[0], err);
}

vw_status vw_trainer_ask_teacher(vw_trainer *t, vw_micro_batch *m, vw_error *err)
{
    if (t->store)
        return vw_trainer_ask_cache(t, m, err);
    if (!t->teacher || m->n_documents == 0)
        return VW_OK;
    size_t span = vw_profile_begin(t->profile, "teacher");
    vw_status st = vw_trainee_logits(t->teacher, m, keep_rows, t, err);
    vw_profile_end(t->profile, span, 0, 0);
    m->distil = (vw_distillation){.alpha = t->distill.alpha,
                                  .temperature = t->distill.temperature,
                                  .rows = give_rows,
                                  .arg = t,
                                  .hidden_weight = t->distill.intermediate_weight,
                                  .hidden = t->hidden};
    return st;
}
