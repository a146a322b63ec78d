/* opened.c - opening things in order, and closing them in the reverse one. */
#include "opened.h"

#include "interrupt.h"
#include "progress.h"

#include <string.h>
#include <unistd.h>

/* An option such as --temp: its setting is "section.key", cut at the last dot. */
static vw_status set_by_name(vw_settings *settings, const assignment *a, const char *where,
                             vw_error *err)
{
    char section[64];
    const char *dot = strrchr(a->setting, '.');
    snprintf(section, sizeof section, "%.*s", (int)(dot - a->setting), a->setting);
    return vw_settings_set(settings, section, dot + 1, a->value, where, err);
}

static vw_status set_all(const choices *c, vw_settings *settings, vw_error *err)
{
    vw_status status = VW_OK;
    int n_set = 0;
    for (size_t i = 0; i < c->set.n && status == VW_OK; i++) {
        const assignment *a = &c->set.items[i];
        char where[48];
        if (a->setting) {
            snprintf(where, sizeof where, "--%s", a->name);
            status = set_by_name(settings, a, where, err);
        } else {
            snprintf(where, sizeof where, "--set #%d", ++n_set);
            status = vw_settings_assign(settings, a->value, where, err);
        }
    }
    if (status == VW_OK && c->is_verbose && !vw_settings_get(settings, "log", "level"))
        status = vw_settings_set(settings, "log", "level", "info", "--verbose", err);
    if (status == VW_OK && c->model) {
        char section[64];
        snprintf(section, sizeof section, "model%s%.50s", c->name ? ":" : "",
                 c->name ? c->name : "");
        status = vw_settings_set(settings, section, "path", c->model, "-m", err);
    }
    return status;
}

/* Elsewhere -c is the context's size, so a number is more often that than the name of a file. */
static vw_status read_settings(vw_settings *settings, const char *file, vw_error *err)
{
    int64_t number;
    if (parse_int(file, &number) && access(file, F_OK) != 0)
        return vw_fail(err, VW_E_CONFIG, "-c %s: the path of an INI file is expected; --ctx-size %s "
                       "sets the context", file, file);
    return vw_settings_read(settings, file, err);
}

/* As report() does it; warnings are logged. */
static void print_problem(void *arg, vw_log_level level, const char *line)
{
    if (level != VW_LOG_ERROR)
        return;
    fprintf(stderr, "vishwamai: %s\n", line);
    ++*(int *)arg;
}

vw_status open_settings(const choices *c, opened *o, vw_error *err)
{
    int n_printed = 0;
    if (o->settings)
        return VW_OK;
    vw_status status = vw_settings_new(&o->settings, err);
    if (status != VW_OK)
        return status;
    vw_settings_listen(o->settings, c->told ? c->told : print_problem,
                       c->told ? c->told_arg : &n_printed);
    if (c->file)
        status = read_settings(o->settings, c->file, err);
    if (status == VW_OK)
        status = set_all(c, o->settings, err);
    if (status == VW_OK)
        status = vw_settings_check(o->settings, err);
    vw_settings_listen(o->settings, NULL, NULL);
    if (n_printed > 0) /* all of them; the error holds but the first */
        err->text[0] = '\0';
    return status;
}

vw_status open_core(const choices *c, opened *o, vw_error *err)
{
    if (o->core)
        return VW_OK;
    vw_status status = open_settings(c, o, err);
    if (status == VW_OK)
        status = vw_core_new(o->settings, &o->core, err);
    return status;
}

vw_status open_model(const choices *c, opened *o, vw_error *err)
{
    double began = now_seconds();
    vw_engine_options options = {.size = sizeof options};
    options.no_tokenizer = c->needs_no_tokenizer;
    options.label = c->name;
    options.only_plan = c->needs_no_weights;
    options.progress = progress_show;
    interrupt_watch(NULL);
    vw_status status = open_core(c, o, err);
    if (status == VW_OK)
        status = vw_engine_open(o->core, &options, &o->engine, err);
    progress_end();
    if (status != VW_OK)
        return status;
    interrupt_watch(o->engine);
    o->load_seconds = now_seconds() - began;
    o->info.size = sizeof o->info;
    vw_engine_get_info(o->engine, &o->info);
    if (c->is_verbose)
        fprintf(stderr, "%s: %s\nusing gemm/%s, attention/%s, device/%s, weights/%s%s%s; "
                "%.1f MiB of weights, context %lld\n", o->info.path, o->info.description,
                o->info.gemm, o->info.attention, o->info.device, o->info.weights,
                o->info.tokenizer ? ", tokenizer/" : "",
                o->info.tokenizer ? o->info.tokenizer : "",
                (double)o->info.weight_bytes / (1 << 20), (long long)o->info.context);
    return VW_OK;
}

void close_opened(opened *o)
{
    interrupt_unwatch();
    vw_engine_close(o->engine);
    vw_core_free(o->core);
    vw_settings_free(o->settings);
    memset(o, 0, sizeof *o);
}

vw_status check_ids(const opened *o, const int32_t *ids, size_t n, vw_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= o->info.vocab_size)
            return vw_fail(err, VW_E_INVALID, "token %d is not in the vocabulary of %d tokens",
                           ids[i], o->info.vocab_size);
    return VW_OK;
}
