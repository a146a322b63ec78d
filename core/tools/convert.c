/* convert.c - `vishwamai convert`: a model's files again, in another form. */
#include "interrupt.h"
#include "opened.h"
#include "progress.h"

#include "core/json_write.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tensors of one kind: their names differ in numbers alone, which stand as *. */
typedef struct class {
    char name[192], from[32], to[32], why[48];
    vw_convert_action action;
    int64_t n;
    uint64_t before, after;
    double error; /* the largest */
} class;

typedef struct convert {
    choices c;
    const char *out, *form, *shard_size;
    int64_t group;
    word_list include, exclude;
    opened o;
    class *classes;
    size_t n_classes;
    int is_out_of_room;
} convert;

static const char *const actions[] = {"copied", "converted", "unmatched"};

/* ---- the report ------------------------------------------------------------------------------ */

static void class_name(const char *name, char *to, size_t room)
{
    size_t n = 0;
    for (; *name && n + 2 < room; name++) {
        if (!isdigit((unsigned char)*name))
            to[n++] = *name;
        else if (n == 0 || to[n - 1] == '.' || to[n - 1] == '*')
            to[n++] = '*';
        else
            to[n++] = *name;
        if (n > 1 && to[n - 1] == '*' && to[n - 2] == '*')
            n--;
    }
    to[n] = '\0';
}

static void note(void *arg, const vw_converted *t)
{
    convert *v = arg;
    class c = {.action = t->action};
    class_name(t->name, c.name, sizeof c.name);
    snprintf(c.from, sizeof c.from, "%s", t->from);
    snprintf(c.to, sizeof c.to, "%s", t->to);
    snprintf(c.why, sizeof c.why, "%s", t->why ? t->why : "");
    size_t i = v->n_classes;
    while (i-- > 0)
        if (!strcmp(v->classes[i].name, c.name) && !strcmp(v->classes[i].to, c.to) &&
            !strcmp(v->classes[i].from, c.from) && v->classes[i].action == c.action)
            break;
    if (i == (size_t)-1) {
        class *more = realloc(v->classes, (v->n_classes + 1) * sizeof *more);
        if (!more) {
            v->is_out_of_room = 1;
            return;
        }
        v->classes = more;
        v->classes[i = v->n_classes++] = c;
    }
    class *to = &v->classes[i];
    to->n++;
    to->before += t->bytes_before;
    to->after += t->bytes_after;
    to->error = fmax(to->error, t->relative_error);
}

static vw_status print_json_report(const convert *v, vw_error *err)
{
    vw_json_writer w = {0};
    size_t bytes;
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "out", v->out);
    vw_json_begin_array(&w, "tensors");
    for (size_t i = 0; i < v->n_classes; i++) {
        const class *c = &v->classes[i];
        vw_json_begin_object(&w, NULL);
        vw_json_add_string(&w, "name", c->name);
        vw_json_add_int(&w, "count", c->n);
        vw_json_add_string(&w, "action", actions[c->action]);
        vw_json_add_string(&w, "from", c->from);
        vw_json_add_string(&w, "to", c->to);
        vw_json_add_string(&w, "why", *c->why ? c->why : NULL);
        vw_json_add_uint(&w, "bytes_before", c->before);
        vw_json_add_uint(&w, "bytes_after", c->after);
        vw_json_add_double(&w, "relative_error", c->error);
        vw_json_end_object(&w);
    }
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    const char *text = vw_json_text(&w, &bytes);
    if (text)
        puts(text);
    vw_json_writer_free(&w);
    return text ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the report");
}

static void print_report(const convert *v)
{
    uint64_t before = 0, after = 0;
    printf("%5s  %-52s %-11s %-12s %10s %10s  %s\n", "", "", "from", "to", "MiB", "MiB", "error");
    for (size_t i = 0; i < v->n_classes; i++) {
        const class *c = &v->classes[i];
        printf("%5lld  %-52s %-11s %-12s %10.2f %10.2f  ", (long long)c->n, c->name, c->from, c->to,
               (double)c->before / (1 << 20), (double)c->after / (1 << 20));
        if (c->action == VW_CONVERT_CONVERTED)
            printf("%.2g\n", c->error);
        else
            printf("%s%s%s\n", actions[c->action], *c->why ? ": " : "", c->why);
        before += c->before;
        after += c->after;
    }
    printf("%.2f MiB are now %.2f MiB: %s\n", (double)before / (1 << 20), (double)after / (1 << 20),
           v->out);
}

/* ---- the work -------------------------------------------------------------------------------- */

/* "500M", "5G", "1000000". */
static int parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char number[32];
    size_t n = strlen(text);
    const char *unit = n ? strchr(units, toupper((unsigned char)text[n - 1])) : NULL;
    int64_t value, most;
    int shift = unit && *unit ? 10 * (int)(unit - units + 1) : 0;
    snprintf(number, sizeof number, "%.*s", (int)(shift ? n - 1 : n), text);
    most = INT64_MAX >> shift;
    if (n >= sizeof number || !parse_int(number, &value) || value < 1 || value > most)
        return 0;
    *bytes = (uint64_t)value << shift;
    return 1;
}

static vw_status work(convert *v, uint64_t shard_bytes, vw_error *err)
{
    vw_convert_options o = {.size = sizeof o,
                            .to = v->out,
                            .form = v->form,
                            .group = v->group,
                            .shard_bytes = shard_bytes,
                            .include = v->include.words,
                            .exclude = v->exclude.words,
                            .on_tensor = note,
                            .arg = v,
                            .progress = progress_show};
    interrupt_watch(NULL);
    vw_status status = open_core(&v->c, &v->o, err);
    if (status == VW_OK)
        status = vw_convert(v->o.core, &o, err);
    progress_end();
    if (status == VW_OK && v->is_out_of_room)
        status = vw_fail(err, VW_E_NOMEM, "%s is written, but there is no memory for the report",
                         v->out);
    if (status == VW_OK && v->c.is_json)
        return print_json_report(v, err);
    if (status == VW_OK)
        print_report(v);
    return status;
}

static int convert_main(int argc, char **argv)
{
    convert v = {0};
    uint64_t shard_bytes = 0;
    int status;
    vw_error err = {VW_OK, ""};
    const opt what[] = {
        {'o', "out", OPT_TEXT, &v.out, "DIR",
         "the folder to write, which is not there yet; or a file: NAME.gguf", NULL, 0, 0},
        {0, "quant", OPT_TEXT, &v.form, "FORM",
         "f32, bf16, f16; or, of the matrices of products, int8-rows, int8-blocks, fp8-blocks, "
         "int4-groups; q8_0, q4_0 of a GGUF file (default: as they are)", NULL, 0, 0},
        {0, "group-size", OPT_INT, &v.group, "N", "values of a scale of int4-groups (default: 32)",
         NULL, 1, 1 << 20},
        {0, "include", OPT_LIST, &v.include, "PATTERN",
         "convert the tensors of such names alone, embedding and router too; repeatable", NULL, 0, 0},
        {0, "exclude", OPT_LIST, &v.exclude, "PATTERN", "leave such tensors as they are; repeatable",
         NULL, 0, 0},
        {0, "shard-size", OPT_TEXT, &v.shard_size, "BYTES",
         "of a file, at most: 500M, 5G (default: one file)", NULL, 0, 0},
        MODEL_OPTIONS(&v.c), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&v.c), VERBOSE_OPTION(&v.c), END_OPTIONS};
    const opt_group groups[] = {{"from and to", what}, {"general", general}, {NULL, NULL}};
    if (options_parse(&command_convert, groups, argc, argv, NULL, &status)) {
        status = STATUS_OK;
        if (!v.out)
            status = wrong_use(&command_convert, "-o DIR is needed");
        else if (!v.form && (v.include.n || v.exclude.n || v.group))
            status = wrong_use(&command_convert, "--include, --exclude and --group-size say what "
                               "--quant FORM does, which is not given");
        else if (v.shard_size && !parse_size(v.shard_size, &shard_bytes))
            status = wrong_use(&command_convert, "--shard-size %s: expected bytes, as 500M or 5G",
                               v.shard_size);
        else if (work(&v, shard_bytes, &err) != VW_OK)
            status = report(&err);
    }
    close_opened(&v.o);
    free(v.classes);
    word_list_free(&v.include);
    word_list_free(&v.exclude);
    assignments_free(&v.c.set);
    return status;
}

const command command_convert = {
    "convert", "-m DIR -o DIR [--quant FORM] [options]", "write a model's files in another form",
    "The folder is a model for every other command, and for other programs that read its form: int8\n"
    "rows and int4 groups are written as compressed-tensors has them, fp8 and int8 blocks as\n"
    "DeepSeek-V3's files. Gemma and DeepSeek go to a GGUF file and back. Tensors lie in the order of the model,\n"
    "the three matrices of an expert in one stretch, the experts of a layer one after another.\n",
    "  vishwamai convert -m /models/gemma-2b -o gemma-2b-int8 --quant int8-rows\n"
    "  vishwamai convert -m /models/gemma-2b -o small --quant int4-groups --exclude '*down_proj*'\n"
    "  vishwamai convert -m big -o sharded --shard-size 5G\n"
    "  vishwamai convert -m /models/gemma-2b -o gemma-2b.gguf --quant q8_0\n", convert_main};
