/* metrics.c - lines written, and taken back. */
#include "core/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/checkpoint.h"
#include "core/dataset.h"
#include "core/json.h"
#include "core/json_write.h"

/* The step of a line; -1 when it is none, as where a machine stopped in its middle. */
static int64_t step_of(const char *line, size_t bytes)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    int64_t step = -1;
    if (json->open_text(line, bytes, "metrics.jsonl", &doc, NULL))
        return -1;
    if (json->get_int(doc, json->root(doc), "step", 0, INT64_MAX, -1, &step, NULL))
        step = -1;
    json->close(doc);
    return step;
}

static vw_status take_back(const char *path, int64_t step, vw_error *err)
{
    char *text;
    size_t bytes, kept = 0;
    vw_status st = vw_file_read_dup(path, &text, &bytes, err);
    if (st == VW_E_NOTFOUND)
        return VW_OK;
    if (st)
        return st;
    for (char *at = text, *end = text + bytes, *stop; at < end; at = stop + 1) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            break;
        size_t n = (size_t)(stop + 1 - at);
        int64_t its = step_of(at, n);
        if (its >= 0 && its <= step) {
            memmove(text + kept, at, n);
            kept += n;
        }
    }
    st = kept == bytes ? VW_OK : vw_file_write(path, text, kept, err);
    free(text);
    return st;
}

vw_status vw_metrics_open(vw_metrics *m, const char *out, int64_t step, vw_error *err)
{
    if ((size_t)snprintf(m->path, sizeof m->path, "%s/metrics.jsonl", out) >= sizeof m->path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", out);
    vw_status st = take_back(m->path, step, err);
    if (st)
        return st;
    m->file = fopen(m->path, "a");
    return m->file ? VW_OK : vw_fail(err, VW_E_IO, "cannot write %s: %s", m->path, strerror(errno));
}

static void add_known(vw_json_writer *w, const char *key, double value)
{
    if (!isnan(value))
        vw_json_add_double(w, key, value);
}

vw_status vw_metrics_add(vw_metrics *m, const vw_train_event *e, vw_error *err)
{
    vw_json_writer w = {0};
    size_t bytes;
    vw_json_begin_object(&w, NULL);
    vw_json_add_int(&w, "step", e->step);
    vw_json_add_uint(&w, "tokens", e->tokens);
    vw_json_add_double(&w, "epoch", e->epoch);
    add_known(&w, "train_loss", e->train_loss);
    add_known(&w, "val_loss", e->val_loss);
    add_known(&w, "learning_rate", e->learning_rate);
    add_known(&w, "grad_norm", e->grad_norm);
    add_known(&w, "loss_scale", e->loss_scale);
    vw_json_add_int(&w, "batch_size", e->batch_size);
    add_known(&w, "tokens_per_second", e->tokens_per_second);
    add_known(&w, "mfu", e->mfu);
    add_known(&w, "load_imbalance", e->load_imbalance);
    if (e->idle_experts >= 0)
        vw_json_add_int(&w, "idle_experts", e->idle_experts);
    vw_json_add_double(&w, "seconds", e->seconds);
    vw_json_end_object(&w);
    const char *text = vw_json_text(&w, &bytes);
    bool failed = !text || fwrite(text, 1, bytes, m->file) != bytes ||
                  fputc('\n', m->file) == EOF || fflush(m->file) != 0;
    vw_status st = VW_OK;
    if (failed)
        st = vw_fail(err, VW_E_IO, "cannot write %s: %s", m->path, strerror(errno));
    vw_json_writer_free(&w);
    return st;
}

void vw_metrics_close(vw_metrics *m)
{
    if (m->file)
        fclose(m->file);
    m->file = NULL;
}
