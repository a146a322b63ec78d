/* trainer_distil.c - [distill]: a second model whose opinion of every token is learnt from.
 *
 * Teacher and student are two instances of any families with one vocabulary: the same pieces at the
 * same ids.  The teacher runs each micro-batch first, and its rows of logits wait in device memory
 * until the student's loss asks for them.  L = alpha T^2 KL(teacher || student) + (1 - alpha) CE.
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
        "their logits cannot be compared. Let the teacher write text instead (vishwamai run -m) "
        "and train the student on that, with its own tokenizer",
        t->distill.teacher, what);
}

static vw_status compare_vocabularies(vw_trainer *t, const char *folder, vw_error *err)
{
    vw_trainee_info teacher;
    char what[160];
    vw_trainee_get_info(t->teacher, &teacher);
    if (teacher.model->vocab_size != t->info.model->vocab_size) {
        snprintf(what, sizeof what, "%d and %d tokens", teacher.model->vocab_size,
                 t->info.model->vocab_size);
        return differ(t, what, err);
    }
    if (!t->tokenizer)
        return VW_OK;
    vw_probe about = {sizeof about, folder, NULL};
    const vw_component *its;
    vw_status st =
        vw_core_instance_open(t->core, VW_KIND_TOKENIZER, t->distill.teacher, &about, &its, err);
    if (st)
        return vw_fail_in(err, st, "the teacher's tokenizer");
    vw_encoder e = {.ops = its->ops, .self = its->self, .info = {.size = sizeof e.info}};
    if (!(st = e.ops->load(e.self, folder, err)) && !(st = e.ops->info(e.self, &e.info, err)))
        for (int32_t id = 0; id < e.info.vocab_size && !st; id++)
            if (!same_piece(&e, &t->encoder, id)) {
                snprintf(what, sizeof what, "token %d is another piece", id);
                st = differ(t, what, err);
            }
    vw_core_instance_close(t->core, its);
    return st;
}

/* ---- the teacher ----------------------------------------------------------------------------- */

vw_status vw_trainer_open_teacher(vw_trainer *t, vw_error *err)
{
    const char *label = t->distill.teacher;
    vw_config_model model;
    char section[80];
    if (!*label)
        return VW_OK;
    vw_section_write(section, sizeof section, VW_KIND_MODEL, label, NULL);
    vw_status st =
        vw_settings_bind(vw_core_settings(t->core), section, vw_model_options, &model, err);
    if (st)
        return st;
    if (!*model.path)
        return vw_fail(err, VW_E_CONFIG,
                       "distill.teacher = %s: [%s] path is needed, the teacher's folder", label,
                       section);
    vw_trainee_options o = {.label = label,
                            .path = model.path,
                            .is_frozen = true,
                            .max_tokens = t->trainee_options.max_tokens,
                            .max_documents = t->trainee_options.max_documents,
                            .progress = t->options.progress,
                            .progress_arg = t->options.progress_arg};
    if ((st = vw_trainee_open(t->core, &o, &t->teacher, err)))
        return vw_fail_in(err, st, "the teacher");
    if (vw_trainee_device(t->teacher) != vw_trainee_device(t->trainee))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "the teacher and the student are on different devices");
    if ((st = compare_vocabularies(t, model.path, err)))
        return st;
    size_t bytes = (size_t)o.max_tokens * (size_t)t->info.model->vocab_size * sizeof(float);
    return t->dev->alloc(t->device, bytes, &t->teacher_rows, err);
}

void vw_trainer_close_teacher(vw_trainer *t)
{
    if (t->dev)
        t->dev->free(t->device, &t->teacher_rows);
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
    if (!t->teacher || m->n_documents == 0)
        return VW_OK;
    size_t span = vw_profile_begin(t->profile, "teacher");
    vw_status st = vw_trainee_logits(t->teacher, m, keep_rows, t, err);
    vw_profile_end(t->profile, span, 0, 0);
    m->distil = (vw_distillation){t->distill.alpha, t->distill.temperature, give_rows, t};
    return st;
}
