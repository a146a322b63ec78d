/* inspect_one.c - a descriptor and its option table, as text and as JSON. */
#include "inspect.h"

#include <string.h>

static const struct {
    uint32_t bit;
    const char *name;
} caps[] = {{VW_CAP_THREAD_SAFE, "thread_safe"}, {VW_CAP_PROVISIONAL, "provisional"}};

enum { N_CAPS = sizeof caps / sizeof *caps };

const char *option_type_name(vw_option_type type)
{
    static const char *const names[] = {"",     "bool",   "int",  "size", "real",
                                        "string", "enum", "path", "list", "label"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

void option_limits(const vw_option *o, char *text, size_t room)
{
    text[0] = '\0';
    if (o->type == VW_OPTION_ENUM) {
        for (const char *const *c = o->choices; c && *c; c++) {
            size_t n = strlen(text);
            snprintf(text + n, room - n, "%s%s", n ? ", " : "", *c);
        }
    } else if (o->flags & VW_OPTION_RANGE) {
        snprintf(text, room, "%.12g to %.12g", o->min, o->max);
    }
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_names(const char *what, const char *const *names)
{
    printf("  %-12s", what);
    for (const char *const *n = names; n && *n; n++)
        printf("%s%s", n == names ? "" : ", ", *n);
    putchar('\n');
}

static void print_options(const vw_option *options)
{
    if (!options || !options->key) {
        puts("\nno options");
        return;
    }
    puts("\noptions:");
    for (const vw_option *o = options; o->key; o++) {
        char limits[512];
        option_limits(o, limits, sizeof limits);
        printf("  %s (%s%s%s", o->key, option_type_name(o->type), *limits ? ": " : "", limits);
        if (o->flags & VW_OPTION_REQUIRED)
            printf("; required)\n");
        else
            printf("; default %s)\n", o->def && *o->def ? o->def : "empty");
        printf("      %s\n", o->help ? o->help : "");
    }
}

void inspect_print(const vw_plugin_entry *e)
{
    const vw_plugin *p = e->plugin;
    printf("%s/%s\n", vw_kind_name(e->kind), e->name);
    printf("  %-12s%s\n", "file", e->path);
    if (!p) {
        printf("  %-12s%s\n", "problem", e->problem ? e->problem : "unknown");
        return;
    }
    printf("  %-12s%s\n", "what", p->summary);
    printf("  %-12s%s, %s, by %s, %s\n", "version", p->version, p->license, p->author, p->url);
    printf("  %-12sabi %u.%u, %s %u.%u%s\n", "interface", p->abi_major, p->abi_minor,
           vw_kind_name(p->kind), p->ops_major, p->ops_minor,
           p->ops_major == 0 ? " (provisional)" : "");
    printf("  %-12s%s, score %d%s%s\n", "usable", inspect_verdict(e), e->score,
           e->why && *e->why ? ": " : "", e->why ? e->why : "");
    printf("  %-12s%d\n", "rank", p->rank);
    if (p->needs && *p->needs)
        print_names("needs", p->needs);
    if (p->devices && *p->devices)
        print_names("devices", p->devices);
    printf("  %-12s", "caps");
    int n = 0;
    for (int i = 0; i < N_CAPS; i++)
        if (p->caps & caps[i].bit)
            printf("%s%s", n++ ? ", " : "", caps[i].name);
    puts(n ? "" : "none");
    print_options(p->options);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void add_names(vw_json_writer *w, const char *key, const char *const *names)
{
    vw_json_begin_array(w, key);
    for (const char *const *n = names; n && *n; n++)
        vw_json_add_string(w, NULL, *n);
    vw_json_end_array(w);
}

static void add_option(vw_json_writer *w, const vw_option *o)
{
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "key", o->key);
    vw_json_add_string(w, "type", option_type_name(o->type));
    vw_json_add_string(w, "default", o->def);
    if (o->flags & VW_OPTION_RANGE) {
        vw_json_add_double(w, "min", o->min);
        vw_json_add_double(w, "max", o->max);
    }
    if (o->type == VW_OPTION_ENUM)
        add_names(w, "choices", o->choices);
    vw_json_add_bool(w, "required", (o->flags & VW_OPTION_REQUIRED) != 0);
    vw_json_add_string(w, "help", o->help);
    vw_json_end_object(w);
}

static void add_descriptor(vw_json_writer *w, const vw_plugin *p)
{
    vw_json_add_string(w, "summary", p->summary);
    vw_json_add_string(w, "version", p->version);
    vw_json_add_string(w, "license", p->license);
    vw_json_add_string(w, "author", p->author);
    vw_json_add_string(w, "url", p->url);
    vw_json_add_int(w, "rank", p->rank);
    vw_json_add_uint(w, "ops_major", p->ops_major);
    vw_json_add_uint(w, "ops_minor", p->ops_minor);
    add_names(w, "needs", p->needs);
    add_names(w, "devices", p->devices);
    vw_json_begin_array(w, "caps");
    for (int i = 0; i < N_CAPS; i++)
        if (p->caps & caps[i].bit)
            vw_json_add_string(w, NULL, caps[i].name);
    vw_json_end_array(w);
}

void inspect_add_json(vw_json_writer *w, const vw_plugin_entry *e, int with_options)
{
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "kind", vw_kind_name(e->kind));
    vw_json_add_string(w, "name", e->name);
    vw_json_add_string(w, "path", e->path);
    vw_json_add_string(w, "usable", inspect_verdict(e));
    vw_json_add_int(w, "score", e->score);
    vw_json_add_string(w, "why", e->why);
    vw_json_add_string(w, "problem", e->problem);
    vw_json_add_string(w, "hidden_by", e->hidden_by);
    if (e->plugin)
        add_descriptor(w, e->plugin);
    if (e->plugin && with_options) {
        vw_json_begin_array(w, "options");
        for (const vw_option *o = e->plugin->options; o && o->key; o++)
            add_option(w, o);
        vw_json_end_array(w);
    }
    vw_json_end_object(w);
}
