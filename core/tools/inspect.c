/* inspect.c - `vishwamai inspect`: what is installed, what it can do here, and how it is set.
 *
 * Everything comes from the descriptors and the probes, so it cannot drift from the components.
 */
#include "inspect.h"

#include "core/nearest.h"

#include <string.h>

typedef struct inspect {
    choices c;
    int is_ini, is_exists;
    char kind_text[32], name[64]; /* name "": all of the kind */
    vw_kind kind;
    vw_plugin_entry found;        /* the one that was asked for, when there is one */
    int n_found;
    vw_json_writer json;
    opened *o;
} inspect;

/* ---- the tables for people ------------------------------------------------------------------- */

const char *inspect_verdict(const vw_plugin_entry *e)
{
    return e->hidden_by ? "hidden" : !e->plugin ? "broken" : e->score > 0 ? "yes" : "no";
}

enum { NAMES = 24, REASONS = 44, WIDTH = 100 }; /* columns: of the names, before the reasons, in all */

/* Words from the column of the reasons on, at most WIDTH columns wide if they have blanks. */
static void print_folded(const char *text)
{
    while (strlen(text) > WIDTH - REASONS) {
        int n = WIDTH - REASONS;
        while (n > 0 && text[n] != ' ')
            n--;
        if (n == 0)
            n = (int)strcspn(text, " ");
        printf("%.*s\n", n, text);
        text += n;
        text += *text == ' ';
        if (!*text)
            return;
        printf("%*s", REASONS, "");
    }
    printf("%s\n", text);
}

/* The sentence beside the verdict. */
static void print_reason(const vw_plugin_entry *e)
{
    char text[2048];
    if (e->hidden_by)
        snprintf(text, sizeof text, "%s, by %s", e->path, e->hidden_by);
    else if (e->problem)
        snprintf(text, sizeof text, "%s", e->problem);
    else
        snprintf(text, sizeof text, "%s%s%s", e->plugin->summary, e->why && *e->why ? ": " : "",
                 e->why ? e->why : "");
    print_folded(text);
}

static int print_row(void *arg, const vw_plugin_entry *e)
{
    inspect *in = arg;
    if (in->n_found++ == 0)
        printf("%-*s %-6s %4s %5s  %s\n", NAMES, "component", "usable", "rank", "score",
               "what it is, and what its probe says");
    char name[96];
    snprintf(name, sizeof name, "%s/%s", vw_kind_name(e->kind), e->name);
    printf("%-*s %-6s ", NAMES, name, inspect_verdict(e));
    if (e->plugin && !e->hidden_by)
        printf("%4d %5d  ", e->plugin->rank, e->score);
    else
        printf("%4s %5s  ", "-", "-");
    print_reason(e);
    return 0;
}

static int add_row(void *arg, const vw_plugin_entry *e)
{
    inspect *in = arg;
    in->n_found++;
    inspect_add_json(&in->json, e, 0);
    return 0;
}

/* Keep the one entry that counts: entries of the same name that are hidden come with hidden_by. */
static int find_one(void *arg, const vw_plugin_entry *e)
{
    inspect *in = arg;
    if (strcmp(e->name, in->name) != 0 || e->hidden_by)
        return 0;
    if (!in->is_ini && !in->is_exists) {
        if (in->c.is_json)
            inspect_add_json(&in->json, e, 1);
        else
            inspect_print(e);
    }
    if (in->is_ini && e->plugin) {
        char section[96];
        snprintf(section, sizeof section, "%s.%s", vw_kind_name(e->kind), e->name);
        vw_options_print(section, e->plugin->options, stdout);
    }
    in->n_found = 1;
    in->found = (vw_plugin_entry){.kind = e->kind, .plugin = e->plugin};
    return 1;
}

/* ---- what was asked for ---------------------------------------------------------------------- */

static vw_status read_name(inspect *in, const char *word, vw_error *err)
{
    const char *slash = strchr(word, '/');
    snprintf(in->kind_text, sizeof in->kind_text, "%.*s",
             slash ? (int)(slash - word) : (int)strlen(word), word);
    snprintf(in->name, sizeof in->name, "%s", slash ? slash + 1 : "");
    in->kind = vw_kind_from_name(in->kind_text);
    if (in->kind != VW_KIND_NONE)
        return VW_OK;
    char kinds[256] = "";
    for (int k = VW_KIND_NONE + 1; k < VW_KIND_COUNT; k++) {
        size_t n = strlen(kinds);
        snprintf(kinds + n, sizeof kinds - n, "%s%s", n ? ", " : "", vw_kind_name((vw_kind)k));
    }
    return vw_fail(err, VW_E_CONFIG, "there is no kind '%s'; the kinds are %s", in->kind_text,
                   kinds);
}

/* A section that no plugin owns: the core's, or what is common to a kind. */
static vw_status print_core_section(const char *name, vw_error *err)
{
    const vw_option *options;
    const char *section, *help;
    vw_nearest nearest = vw_nearest_to(name);
    for (size_t i = 0; (options = vw_core_section(i, &section, &help)) != NULL; i++) {
        if (strcmp(section, name) == 0) {
            printf("; %s\n", help);
            vw_options_print(section, options, stdout);
            return VW_OK;
        }
        vw_nearest_offer(&nearest, section);
    }
    if (nearest.best)
        return vw_fail(err, VW_E_CONFIG, "there is no section [%s]; did you mean [%s]?", name,
                       nearest.best);
    return vw_fail(err, VW_E_CONFIG, "there is no section [%s]; `vishwamai config' prints them all",
                   name);
}

static vw_status visit_one(inspect *in, const vw_probe *about, vw_error *err)
{
    vw_status status = vw_plugins_visit(in->kind, about, find_one, in, err);
    if (status == VW_OK && !in->n_found)
        return vw_fail(err, VW_E_NOTFOUND, "%s/%s is not installed ('vishwamai inspect %s' lists "
                       "what is)", in->kind_text, in->name, in->kind_text);
    if (status == VW_OK && in->is_ini && !in->found.plugin)
        return vw_fail(err, VW_E_NOTFOUND, "%s/%s cannot be used ('vishwamai inspect %s/%s' says "
                       "why)", in->kind_text, in->name, in->kind_text, in->name);
    return status;
}

/* Of a model folder, when nothing else was asked for. */
static int wants_memory(const inspect *in)
{
    return in->c.model && in->kind == VW_KIND_NONE;
}

static vw_status visit_all(inspect *in, const vw_probe *about, vw_error *err)
{
    if (!in->c.is_json) {
        vw_status status = vw_plugins_visit(in->kind, about, print_row, in, err);
        if (status == VW_OK && !in->n_found)
            puts("no component is installed");
        if (status == VW_OK && wants_memory(in))
            status = inspect_memory(&in->c, in->o, &in->json, err);
        return status;
    }
    vw_json_begin_object(&in->json, NULL);
    vw_json_begin_array(&in->json, "components");
    vw_status status = vw_plugins_visit(in->kind, about, add_row, in, err);
    vw_json_end_array(&in->json);
    if (status == VW_OK && wants_memory(in))
        status = inspect_memory(&in->c, in->o, &in->json, err);
    vw_json_end_object(&in->json);
    return status;
}

static vw_status work(inspect *in, const char *word, vw_error *err)
{
    vw_probe about = {.size = sizeof about, .folder = in->c.model};
    if (in->is_ini && !strchr(word, '/'))
        return print_core_section(word, err);
    vw_status status = word ? read_name(in, word, err) : VW_OK;
    if (status == VW_OK)
        status = *in->name ? visit_one(in, &about, err) : visit_all(in, &about, err);
    if (status == VW_OK && in->c.is_json && !in->is_ini && !in->is_exists)
        status = print_json(&in->json, err);
    return status;
}

/* Exit status 0 when it is installed and can be loaded, 1 when not; nothing is printed. */
static int exists(inspect *in, const char *word)
{
    vw_error err = {VW_OK, ""};
    vw_status status = work(in, word, &err);
    if (status == VW_E_CONFIG)
        return report(&err);
    return status == VW_OK && in->found.plugin ? STATUS_OK : STATUS_FAILED;
}

static int inspect_main(int argc, char **argv)
{
    inspect in = {.kind = VW_KIND_NONE};
    word_list words = {NULL, 0};
    opened o = {NULL, NULL, NULL, {0}, 0};
    int status;
    vw_error err = {VW_OK, ""};
    in.o = &o;
    const opt options[] = {
        {0, "ini", OPT_FLAG, &in.is_ini, NULL, "print a section for an INI file, with comments",
         NULL, 0, 0},
        {0, "exists", OPT_FLAG, &in.is_exists, NULL,
         "print nothing; exit status 0 if KIND/NAME is installed, else 1", NULL, 0, 0},
        {'m', "model", OPT_TEXT, &in.c.model, "DIR", "ask the probes about this model; without a name: and its memory",
         NULL, 0, 0},
        CHOICE_OPTIONS(&in.c), END_OPTIONS};
    const opt_group groups[] = {{"options", options}, {NULL, NULL}};
    if (options_parse(&command_inspect, groups, argc, argv, &words, &status)) {
        const char *word = words.n ? words.words[0] : NULL;
        if (words.n > 1)
            status = wrong_use(&command_inspect, "'%s' is not expected here", words.words[1]);
        else if (word && *word && word[strlen(word) - 1] == '/')
            status = wrong_use(&command_inspect, "'%s' names no component: KIND/NAME", word);
        else if (in.is_ini && !word)
            status = wrong_use(&command_inspect, "--ini needs KIND/NAME, or a section such as kv");
        else if (in.is_exists && (!word || !strchr(word, '/')))
            status = wrong_use(&command_inspect, "--exists needs KIND/NAME");
        else if (in.is_exists)
            status = exists(&in, word);
        else if (open_settings(&in.c, &o, &err) != VW_OK || work(&in, word, &err) != VW_OK)
            status = report(&err);
    }
    close_opened(&o);
    vw_json_writer_free(&in.json);
    word_list_free(&words);
    assignments_free(&in.c.set);
    return status;
}

const command command_inspect = {
    "inspect", "[KIND | KIND/NAME | --ini SECTION] [options]", "show the components that are installed",
    "Without a name: a line for each component, with what its probe says about this machine.\n"
    "`auto' takes the usable one of the highest rank, among equals the one of the highest score,\n"
    "and never one of rank 0.\n"
    "With KIND/NAME: everything about one component, its options included.\n"
    "With --ini and the name of a section of the core, or of a kind: its options and their defaults.\n"
    "With -m and no name: what the model would take in memory besides, as the settings say; its files\n"
    "are checked and not loaded.\n",
    "  vishwamai inspect gemm\n"
    "  vishwamai inspect gemm/cpu\n"
    "  vishwamai inspect --ini gemm/cpu >> my.ini\n"
    "  vishwamai inspect --ini sampling\n"
    "  vishwamai inspect --exists gemm/blas && echo there\n"
    "  vishwamai inspect -m /models/DeepSeek-V3\n", inspect_main};
