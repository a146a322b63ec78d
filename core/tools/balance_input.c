/* balance_input.c - loads, placements and batches from files, and the loads that are to be expected.
 */
#include "balance_job.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A rectangle of numbers. */
typedef struct table {
    double *values;
    size_t n_rows, n_columns, n, room;
} table;

/* ---- CSV ------------------------------------------------------------------------------------- */

static vw_status add_value(table *t, double value, const char *path, vw_error *err)
{
    if (t->n == t->room) {
        size_t room = 2 * t->room + 1024;
        double *grown = room < SIZE_MAX / sizeof *grown
            ? realloc(t->values, room * sizeof *grown) : NULL;
        if (!grown)
            return vw_fail(err, VW_E_NOMEM, "%s: no memory for its numbers", path);
        t->values = grown;
        t->room = room;
    }
    t->values[t->n++] = value;
    return VW_OK;
}

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

/* One line of numbers with commas between them; *p goes to the end of the line. */
static vw_status read_row(table *t, const char **p, const char *path, size_t line, vw_error *err)
{
    for (size_t column = 1;; column++) {
        char *end;
        double value;
        *p = skip_blanks(*p);
        value = strtod(*p, &end); /* which would look for a number on the next line, too */
        const char *next = skip_blanks(end);
        if (isspace((unsigned char)**p) || end == *p || (*next && *next != ',' && *next != '\n'))
            return vw_fail(err, VW_E_FORMAT,
                           "%s:%zu: column %zu: '%.*s' is not a number; numbers with commas between "
                           "them are expected, and no header",
                           path, line, column, (int)fmin(24, (double)strcspn(*p, ",\r\n")), *p);
        vw_status status = add_value(t, value, path, err);
        if (status != VW_OK)
            return status;
        *p = next + (*next == ',');
        if (*next != ',')
            return VW_OK;
    }
}

static vw_status parse_table(table *t, const char *text, size_t bytes, const char *path,
                             vw_error *err)
{
    const char *p = text;
    if (strlen(text) != bytes)
        return vw_fail(err, VW_E_FORMAT, "%s: a zero byte; text is expected", path);
    for (size_t line = 1; *p; line++, p += *p == '\n') {
        size_t before = t->n;
        if (!*skip_blanks(p) || *skip_blanks(p) == '\n') {
            p = skip_blanks(p);
            continue;
        }
        vw_status status = read_row(t, &p, path, line, err);
        if (status != VW_OK)
            return status;
        if (t->n_rows > 0 && t->n - before != t->n_columns)
            return vw_fail(err, VW_E_FORMAT,
                           "%s:%zu: %zu columns, and the first row has %zu; all rows must be of one "
                           "length", path, line, t->n - before, t->n_columns);
        t->n_columns = t->n - before;
        t->n_rows++;
    }
    if (t->n_rows == 0)
        return vw_fail(err, VW_E_FORMAT, "%s: there is no row of numbers in it", path);
    if (t->n_rows > INT32_MAX || t->n_columns > INT32_MAX)
        return vw_fail(err, VW_E_FORMAT, "%s: more rows or columns than can be counted", path);
    return VW_OK;
}

static vw_status read_table(table *t, const char *path, vw_error *err)
{
    char *text;
    size_t bytes;
    vw_status status = input_read_dup(path, &text, &bytes, err);
    if (status != VW_OK)
        return status;
    status = parse_table(t, text, bytes, path, err);
    free(text);
    return status;
}

/* The table must have the layers of the problem and so many columns. */
static vw_status check_shape(const table *t, const balance_input *in, size_t columns,
                             const char *what, const char *path, vw_error *err)
{
    if (t->n_rows != (size_t)in->problem.n_layers || t->n_columns != columns)
        return vw_fail(err, VW_E_FORMAT, "%s: %zu rows of %zu; %d layers of %zu %s are expected",
                       path, t->n_rows, t->n_columns, in->problem.n_layers, columns, what);
    return VW_OK;
}

/* ---- loads ----------------------------------------------------------------------------------- */

void balance_forecast(const double *history, size_t n_steps, size_t n, const forecast *f,
                      double *expected)
{
    for (size_t i = 0; i < n; i++) {
        double level = history[i], trend = 0;
        for (size_t step = 1; step < n_steps; step++) {
            double last = level;
            level = f->average * history[step * n + i] + (1 - f->average) * (level + trend);
            trend = f->trend * (level - last) + (1 - f->trend) * trend;
        }
        expected[i] = level + trend > 0 || !isfinite(level) ? level + trend : 0;
    }
}

/* Every number as it stands in the file must be a load, or the forecast would hide it. */
static vw_status check_loads(const table *t, const char *path, vw_error *err)
{
    for (size_t i = 0; i < t->n; i++)
        if (!(t->values[i] >= 0) || !isfinite(t->values[i]))
            return vw_fail(err, VW_E_INVALID,
                           "%s: layer %zu, expert %zu: a load of %g; loads must be finite and not "
                           "negative", path, i / t->n_columns, i % t->n_columns, t->values[i]);
    return VW_OK;
}

vw_status balance_read_loads(balance_input *in, const word_list *files, const forecast *f,
                             vw_error *err)
{
    table all = {0};
    size_t rows = 0, columns = 0;
    vw_status status = VW_OK;
    for (size_t i = 0; i < files->n && status == VW_OK; i++) {
        table one = {0};
        status = read_table(&one, files->words[i], err);
        if (status == VW_OK)
            status = check_loads(&one, files->words[i], err);
        if (status == VW_OK && i > 0 && (one.n_rows != rows || one.n_columns != columns))
            status = vw_fail(err, VW_E_FORMAT,
                             "%s: %zu rows of %zu, and %s has %zu rows of %zu; all steps must be of "
                             "one size", files->words[i], one.n_rows, one.n_columns,
                             files->words[0], rows, columns);
        rows = one.n_rows;
        columns = one.n_columns;
        for (size_t k = 0; k < one.n && status == VW_OK; k++)
            status = add_value(&all, one.values[k], files->words[i], err);
        free(one.values);
    }
    if (status == VW_OK) {
        balance_forecast(all.values, files->n, rows * columns, f, all.values);
        in->load = all.values;
        in->problem.load = all.values;
        in->problem.n_layers = (int32_t)rows;
        in->problem.n_experts = (int32_t)columns;
        return VW_OK;
    }
    free(all.values);
    return status;
}

/* ---- placements and batches ------------------------------------------------------------------ */

/* layers[].phy2log of an answer. */
static vw_status read_answer(table *t, const char *text, size_t bytes, const char *path,
                             vw_error *err)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc = NULL;
    vw_status status = json->open_text(text, bytes, path, &doc, err);
    if (status != VW_OK)
        return status;
    const vw_json_value *layers = json->get(json->root(doc), "layers");
    t->n_rows = json->count(layers);
    if (json->type(layers) != VW_JSON_ARRAY || t->n_rows == 0)
        status = vw_fail(err, VW_E_FORMAT, "%s: it has no \"layers\" with a placement", path);
    for (size_t l = 0; l < t->n_rows && status == VW_OK; l++) {
        const vw_json_value *slots = json->get(json->at(layers, l), "phy2log");
        size_t n = json->type(slots) == VW_JSON_ARRAY ? json->count(slots) : 0;
        if (n == 0 || (l > 0 && n != t->n_columns))
            status = vw_fail(err, VW_E_FORMAT, "%s: layer %zu: no \"phy2log\" of as many slots as "
                             "in the first layer", path, l);
        t->n_columns = n;
        for (size_t s = 0; s < n && status == VW_OK; s++)
            status = json->type(json->at(slots, s)) == VW_JSON_INTEGER
                ? add_value(t, (double)json->integer(json->at(slots, s)), path, err)
                : vw_fail(err, VW_E_FORMAT, "%s: layer %zu, slot %zu: not a whole number", path, l,
                          s);
    }
    json->close(doc);
    return status;
}

static vw_status read_placement(table *t, const char *path, vw_error *err)
{
    char *text;
    size_t bytes;
    vw_status status = input_read_dup(path, &text, &bytes, err);
    if (status != VW_OK)
        return status;
    const char *p = text;
    while (isspace((unsigned char)*p))
        p++;
    status = *p == '{' ? read_answer(t, text, bytes, path, err)
                       : parse_table(t, text, bytes, path, err);
    free(text);
    return status;
}

/* Whole numbers from 0 to `most`. */
static vw_status check_whole(const table *t, double most, const char *what, const char *path,
                             vw_error *err)
{
    for (size_t i = 0; i < t->n; i++)
        if (!(t->values[i] >= 0) || t->values[i] > most || t->values[i] != floor(t->values[i]))
            return vw_fail(err, VW_E_FORMAT,
                           "%s: layer %zu, column %zu: %g is no %s; whole numbers from 0 to %.0f "
                           "are", path, i / t->n_columns, i % t->n_columns, t->values[i], what,
                           most);
    return VW_OK;
}

vw_status balance_read_previous(balance_input *in, const char *path, vw_error *err)
{
    table t = {0};
    vw_status status = read_placement(&t, path, err);
    if (status == VW_OK)
        status = check_shape(&t, in, (size_t)in->problem.n_replicas, "slots", path, err);
    if (status == VW_OK)
        status = check_whole(&t, in->problem.n_experts - 1, "expert", path, err);
    if (status == VW_OK && !(in->previous = malloc(t.n * sizeof *in->previous)))
        status = vw_fail(err, VW_E_NOMEM, "%s: no memory for its slots", path);
    for (size_t i = 0; i < t.n && status == VW_OK; i++)
        in->previous[i] = (int32_t)t.values[i];
    in->problem.previous = in->previous;
    free(t.values);
    return status;
}

vw_status balance_read_batch(balance_input *in, const char *path, vw_error *err)
{
    table t = {0};
    vw_status status = read_table(&t, path, err);
    if (status == VW_OK)
        status = check_shape(&t, in, (size_t)in->problem.n_experts, "experts", path, err);
    if (status == VW_OK)
        status = check_whole(&t, 4503599627370495.0, "number of tokens", path, err);
    if (status == VW_OK && !(in->batch = malloc(t.n * sizeof *in->batch)))
        status = vw_fail(err, VW_E_NOMEM, "%s: no memory for its tokens", path);
    for (size_t i = 0; i < t.n && status == VW_OK; i++)
        in->batch[i] = (int64_t)t.values[i];
    free(t.values);
    return status;
}

/* ---- devices --------------------------------------------------------------------------------- */

static vw_status read_list(balance_input *in, table *t, const char *list, const char *option,
                           vw_error *err)
{
    vw_status status = parse_table(t, list, strlen(list), option, err);
    if (status == VW_OK && t->n_rows != 1)
        status = vw_fail(err, VW_E_CONFIG, "%s: one list is expected", option);
    if (status == VW_OK && in->problem.n_devices == 0)
        in->problem.n_devices = (int32_t)t->n;
    if (status == VW_OK && t->n != (size_t)in->problem.n_devices)
        status = vw_fail(err, VW_E_CONFIG, "%s: %zu numbers; one for each of %d devices is expected",
                         option, t->n, in->problem.n_devices);
    return status;
}

vw_status balance_read_speeds(balance_input *in, const char *list, vw_error *err)
{
    table t = {0};
    vw_status status = read_list(in, &t, list, "--speeds", err);
    if (status == VW_OK) {
        in->problem.speed = in->speed = t.values;
        return VW_OK;
    }
    free(t.values);
    return status;
}

vw_status balance_read_slots(balance_input *in, const char *list, vw_error *err)
{
    table t = {0};
    vw_status status = read_list(in, &t, list, "--slots", err);
    double sum = 0;
    for (size_t i = 0; i < t.n && status == VW_OK; i++) {
        sum += t.values[i];
        if (t.values[i] != floor(t.values[i]) || !(t.values[i] >= 1) || sum > INT32_MAX)
            status = vw_fail(err, VW_E_CONFIG, "--slots: device %zu: %g is no number of slots; a "
                             "whole number from 1 is expected", i, t.values[i]);
    }
    if (status == VW_OK && !(in->slots = malloc(t.n * sizeof *in->slots)))
        status = vw_fail(err, VW_E_NOMEM, "no memory for the slots");
    for (size_t i = 0; i < t.n && status == VW_OK; i++)
        in->slots[i] = (int32_t)t.values[i];
    if (status == VW_OK && in->problem.n_replicas == 0)
        in->problem.n_replicas = (int32_t)sum;
    in->problem.slots = in->slots;
    free(t.values);
    return status;
}

void balance_input_free(balance_input *in)
{
    free(in->load);
    free(in->previous);
    free(in->speed);
    free(in->slots);
    free(in->batch);
    *in = (balance_input){0};
}
