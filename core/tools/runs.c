/* runs.c - `vishwamai runs`: the runs of a folder side by side.
 *
 * A word names a run's folder, or one that holds such folders.  The list is in the order of the
 * best validation loss; --diff shows the settings in which they differ.
 */
#include "runs.h"

#include "answer.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct runs {
    choices c;
    const char *plot;
    int shows_settings;
    run *list;
    size_t n;
} runs;

/* ---- finding --------------------------------------------------------------------------------- */

static vw_status add_run(runs *r, const char *path, vw_error *err)
{
    run *grown = realloc(r->list, (r->n + 1) * sizeof *grown);
    if (!grown)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu runs", r->n + 1);
    r->list = grown;
    vw_status status = run_read(path, grown + r->n, err);
    r->n += status == VW_OK;
    return status;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* A run, or the runs in a folder. */
static vw_status add_folder(runs *r, const char *path, vw_error *err)
{
    struct dirent **names;
    size_t before = r->n;
    vw_status status = add_run(r, path, err);
    if (status != VW_E_NOTFOUND)
        return status;
    int n = scandir(path, &names, is_visible, alphasort);
    status = VW_OK;
    for (int i = 0; i < n; i++) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, names[i]->d_name);
        vw_status one = status == VW_OK ? add_run(r, inner, err) : status;
        status = one == VW_E_NOTFOUND || one == VW_E_IO ? VW_OK : one;
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    if (status == VW_OK && r->n == before)
        return vw_fail(err, VW_E_NOTFOUND,
                       "%s: no run is here: no metrics.jsonl in it or in its folders", path);
    return status;
}

static int by_loss(const void *a, const void *b)
{
    double x = ((const run *)a)->best_loss, y = ((const run *)b)->best_loss;
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return (x > y) - (x < y);
}

/* ---- showing --------------------------------------------------------------------------------- */

static const run_point *last_of(const run *r)
{
    static const run_point none = {NAN, NAN, NAN, NAN, NAN, NAN};
    return r->n_points ? r->points + r->n_points - 1 : &none;
}

/* Ten columns; what needs more, such as the loss of a run that diverged, is told with its exponent. */
static void print_cell(double value, int decimals)
{
    if (isnan(value))
        printf("  %10s", "-");
    else if (fabs(value) < (decimals ? 1e5 : 1e10))
        printf("  %10.*f", decimals, value);
    else
        printf("  %10.3e", value);
}

static void print_table(const runs *r)
{
    printf("%-24s  %10s  %10s  %10s  %10s  %10s  %10s\n", "run", "step", "train", "best val",
           "at step", "tokens/s", "seconds");
    for (size_t i = 0; i < r->n; i++) {
        const run *one = r->list + i;
        const run_point *last = last_of(one);
        printf("%-24s", one->name);
        print_cell(last->step, 0);
        print_cell(one->last_train_loss, 4);
        print_cell(one->best_loss, 4);
        print_cell(one->best_step, 0);
        print_cell(last->tokens_per_second, 0);
        print_cell(last->seconds, 1);
        putchar('\n');
    }
}

static int differs(const runs *r, const char *key)
{
    const char *first = run_setting_of(r->list, key);
    for (size_t i = 1; i < r->n; i++) {
        const char *other = run_setting_of(r->list + i, key);
        if (!first != !other || (first && strcmp(first, other)))
            return 1;
    }
    return 0;
}

/* Keys of all runs, each once, where the values are not all the same. */
static void print_settings(const runs *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->list[i].n_settings; k++) {
            const char *key = r->list[i].settings[k].key;
            int is_new = 1;
            for (size_t j = 0; j < i; j++)
                is_new = is_new && !run_setting_of(r->list + j, key);
            if (!is_new || !differs(r, key))
                continue;
            printf("%s:", key);
            for (size_t j = 0; j < r->n; j++) {
                const char *value = run_setting_of(r->list + j, key);
                printf("%s %s = %s", j ? "," : "", r->list[j].name, value ? value : "(not set)");
            }
            putchar('\n');
        }
}

static void add_known(vw_json_writer *w, const char *key, double value)
{
    if (!isnan(value))
        vw_json_add_double(w, key, value);
}

static vw_status print_all_json(const runs *r, vw_error *err)
{
    vw_json_writer w = {0};
    vw_json_begin_object(&w, NULL);
    vw_json_begin_array(&w, "runs");
    for (size_t i = 0; i < r->n; i++) {
        const run *one = r->list + i;
        const run_point *last = last_of(one);
        vw_json_begin_object(&w, NULL);
        vw_json_add_string(&w, "path", one->path);
        add_known(&w, "step", last->step);
        add_known(&w, "tokens", last->tokens);
        add_known(&w, "train_loss", one->last_train_loss);
        add_known(&w, "best_loss", one->best_loss);
        add_known(&w, "best_step", one->best_step);
        add_known(&w, "tokens_per_second", last->tokens_per_second);
        add_known(&w, "seconds", last->seconds);
        vw_json_end_object(&w);
    }
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

static vw_status work(runs *r, const word_list *words, vw_error *err)
{
    vw_status status = VW_OK;
    for (size_t i = 0; i < words->n && status == VW_OK; i++)
        status = add_folder(r, words->words[i], err);
    if (status == VW_OK && words->n == 0)
        status = add_folder(r, ".", err);
    if (status != VW_OK)
        return status;
    qsort(r->list, r->n, sizeof *r->list, by_loss);
    if (r->c.is_json)
        status = print_all_json(r, err);
    else
        print_table(r);
    if (r->shows_settings && !r->c.is_json)
        print_settings(r);
    if (status == VW_OK && r->plot)
        status = runs_plot(r->list, r->n, r->plot, err);
    return status;
}

static int runs_main(int argc, char **argv)
{
    runs r = {0};
    word_list words = {0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt what[] = {
        {0, "diff", OPT_FLAG, &r.shows_settings, NULL, "show the settings in which the runs differ",
         NULL, 0, 0},
        {0, "plot", OPT_TEXT, &r.plot, "FILE.svg", "draw the losses over the steps", NULL, 0, 0},
        END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&r.c), END_OPTIONS};
    const opt_group groups[] = {{"what is shown", what}, {"general", general}, {NULL, NULL}};
    if (options_parse(&command_runs, groups, argc, argv, &words, &status)) {
        status = STATUS_OK;
        if (work(&r, &words, &err) != VW_OK)
            status = report(&err);
    }
    for (size_t i = 0; i < r.n; i++)
        run_free(r.list + i);
    free(r.list);
    word_list_free(&words);
    assignments_free(&r.c.set);
    return status;
}

const command command_runs = {"runs",
                              "[DIR ...] [options]",
                              "list, compare and draw training runs",
                              "DIR is the folder of a run (train.out), or one that holds several; "
                              "the current one if none is\n"
                              "given.  The best validation loss comes first.\n",
                              "  vishwamai runs runs --diff\n"
                              "  vishwamai runs runs/a runs/b --plot curves.svg\n",
                              runs_main};
