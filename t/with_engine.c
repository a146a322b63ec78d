/* with_engine.c - see with_engine.h. */
#include "t/with_engine.h"

#include <stdlib.h>
#include <string.h>

#include "t/tap/tap.h"

bool engine_open(with_engine *w, const char *path, const char *assignments)
{
    vw_engine_options options = {.size = sizeof options, .path = path, .no_tokenizer = 1};
    char text[1024], *save = NULL;
    memset(w, 0, sizeof *w);
    snprintf(text, sizeof text, "%s", assignments);
    w->info.size = sizeof w->info;
    vw_status st = vw_settings_new(&w->settings, &w->err);
    for (char *a = strtok_r(text, " ", &save); a && !st; a = strtok_r(NULL, " ", &save))
        st = vw_settings_assign(w->settings, a, "test", &w->err);
    if (!st)
        st = vw_core_new(w->settings, &w->core, &w->err);
    if (!st)
        st = vw_engine_open(w->core, &options, &w->engine, &w->err);
    if (!st)
        vw_engine_get_info(w->engine, &w->info);
    return st == VW_OK;
}

void engine_close(with_engine *w)
{
    vw_engine_close(w->engine);
    vw_core_free(w->core);
    vw_settings_free(w->settings);
    memset(w, 0, sizeof *w);
}

const char *source_file(const char *name)
{
    static char path[4][4096];
    static int next;
    const char *top = getenv("top_srcdir");
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", top ? top : ".", name);
    return path[next];
}

typedef struct search {
    const char *name;
    bool is_found;
} search;

static int look(void *arg, const vw_plugin_entry *entry)
{
    search *s = arg;
    if (entry->plugin && entry->score > 0 && strcmp(entry->name, s->name) == 0)
        s->is_found = true;
    return s->is_found;
}

bool has_plugin(vw_kind kind, const char *name)
{
    search s = {name, false};
    vw_plugins_visit(kind, NULL, look, &s, NULL);
    return s.is_found;
}

typedef struct rows {
    float *to;
    size_t vocab;
} rows;

static vw_status keep_row(void *arg, size_t feed, int64_t position, const float *logits,
                          vw_error *err)
{
    rows *r = arg;
    (void)feed;
    (void)err;
    memcpy(r->to + (size_t)position * r->vocab, logits, r->vocab * sizeof *logits);
    return VW_OK;
}

float *all_logits(with_engine *w, const int32_t *tokens, size_t n, size_t chunk)
{
    vw_sequence *s = NULL;
    rows r = {NULL, (size_t)w->info.vocab_size};
    r.to = calloc(n * r.vocab, sizeof *r.to);
    vw_status st = r.to ? vw_sequence_new(w->engine, &s, &w->err) : VW_E_NOMEM;
    for (size_t at = 0; at < n && !st; ) {
        size_t count = chunk && chunk < n - at ? chunk : n - at;
        vw_feed feed = {s, tokens + at, (int64_t)count, VW_WANT_ALL};
        st = vw_engine_feed(w->engine, &feed, 1, keep_row, &r, &w->err);
        at += count;
    }
    vw_sequence_free(s);
    if (st) {
        ok(false, "logits of %zu tokens: %s", n, w->err.text);
        free(r.to);
        return NULL;
    }
    return r.to;
}
