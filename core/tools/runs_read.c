/* runs_read.c - a run's metrics.jsonl and config.ini, read with patience.
 *
 * A run may be under way while it is looked at, so a last line without its end is left out; so is
 * one that is no JSON.
 */
#include "runs.h"

#include "input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- metrics --------------------------------------------------------------------------------- */

static double number(const vw_json *json, const vw_json_doc *doc, const char *key)
{
    double value;
    return json->get_real(doc, json->root(doc), key, NAN, &value, NULL) == VW_OK ? value : NAN;
}

static int read_point(const char *line, size_t bytes, run_point *p)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    if (json->open_text(line, bytes, "metrics.jsonl", &doc, NULL) != VW_OK)
        return 0;
    *p = (run_point){number(json, doc, "step"),
                     number(json, doc, "tokens"),
                     number(json, doc, "train_loss"),
                     number(json, doc, "val_loss"),
                     number(json, doc, "tokens_per_second"),
                     number(json, doc, "seconds")};
    json->close(doc);
    return !isnan(p->step);
}

static vw_status read_metrics(run *r, vw_error *err)
{
    char path[4096], *text;
    size_t bytes, room = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", r->path);
    vw_status status = input_read_dup(path, &text, &bytes, err);
    if (status != VW_OK)
        return status;
    for (char *at = text, *end;
         status == VW_OK && (end = memchr(at, '\n', (size_t)(text + bytes - at))); at = end + 1) {
        if (r->n_points == room) {
            room = 2 * room + 256;
            run_point *grown = realloc(r->points, room * sizeof *grown);
            if (!grown) {
                status = vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu lines", path, room);
                break;
            }
            r->points = grown;
        }
        r->n_points += (size_t)read_point(at, (size_t)(end - at), r->points + r->n_points);
    }
    free(text);
    return status;
}

static void summarise(run *r)
{
    r->best_loss = r->best_step = r->last_train_loss = NAN;
    for (size_t i = 0; i < r->n_points; i++) {
        const run_point *p = r->points + i;
        if (!isnan(p->train_loss))
            r->last_train_loss = p->train_loss;
        if (!isnan(p->val_loss) && (isnan(r->best_loss) || p->val_loss < r->best_loss)) {
            r->best_loss = p->val_loss;
            r->best_step = p->step;
        }
    }
}

/* ---- settings -------------------------------------------------------------------------------- */

static char *trim(char *text)
{
    text += strspn(text, " \t");
    for (size_t n = strlen(text); n && strchr(" \t\r\n", text[n - 1]); n--)
        text[n - 1] = '\0';
    return text;
}

static void add_setting(run *r, const char *section, char *line)
{
    char *equals = strchr(line, '='), *comment = strstr(line, " ;"), key[200];
    if (!equals)
        return;
    if (comment)
        *comment = '\0';
    *equals = '\0';
    snprintf(key, sizeof key, "%.90s.%.90s", section, trim(line));
    run_setting *grown = realloc(r->settings, (r->n_settings + 1) * sizeof *grown);
    if (!grown)
        return;
    r->settings = grown;
    run_setting *s = grown + r->n_settings;
    *s = (run_setting){strdup(key), strdup(trim(equals + 1))};
    r->n_settings += s->key && s->value;
}

/* What the library printed: [section] lines and key = value lines. */
static void read_settings(run *r)
{
    char path[4096], *text, section[100] = "";
    size_t bytes;
    snprintf(path, sizeof path, "%s/config.ini", r->path);
    if (input_read_dup(path, &text, &bytes, NULL) != VW_OK)
        return;
    for (char *at = text, *end; *at; at = end) {
        end = at + strcspn(at, "\n");
        if (*end)
            *end++ = '\0';
        if (*at == '[')
            snprintf(section, sizeof section, "%.*s", (int)strcspn(at + 1, "]"), at + 1);
        else if (*at != ';')
            add_setting(r, section, at);
    }
    free(text);
}

const char *run_setting_of(const run *r, const char *key)
{
    for (size_t i = 0; i < r->n_settings; i++)
        if (strcmp(r->settings[i].key, key) == 0)
            return r->settings[i].value;
    return NULL;
}

/* ---- a run ----------------------------------------------------------------------------------- */

vw_status run_read(const char *path, run *r, vw_error *err)
{
    *r = (run){.path = strdup(path)};
    if (!r->path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    for (size_t n = strlen(r->path); n > 1 && r->path[n - 1] == '/'; n--)
        r->path[n - 1] = '\0';
    const char *slash = strrchr(r->path, '/');
    r->name = slash && slash[1] ? slash + 1 : r->path;
    vw_status status = read_metrics(r, err);
    if (status != VW_OK) {
        run_free(r);
        return status;
    }
    summarise(r);
    read_settings(r);
    return VW_OK;
}

void run_free(run *r)
{
    for (size_t i = 0; i < r->n_settings; i++) {
        free(r->settings[i].key);
        free(r->settings[i].value);
    }
    free(r->settings);
    free(r->points);
    free(r->path);
    *r = (run){0};
}
