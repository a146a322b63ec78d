/* settings.c - INI files and assignments: what is accepted, what is refused and with which words.
 *
 * Each t/ini/NAME.ini that has a NAME.txt must be refused with exactly the lines of it.  The
 * plugins that are installed for it are those of t/bad.
 */
#include "core/places.h"
#include "core/sections.h"
#include "core/settings.h"
#include "t/tap/tap.h"

#include <stdlib.h>
#include <unistd.h>

static vw_settings *new_settings(void)
{
    vw_settings *settings = NULL;
    vw_error err;

    if (vw_settings_new(&settings, &err) != VW_OK)
        bail_out("%s", err.text);
    return settings;
}

/* ---- bad files ------------------------------------------------------------------------------- */

/* The text of a file, with @SEARCHED@ replaced by the folders that plugins are looked for in. */
static void read_expected(const char *path, char *text, size_t room)
{
    static const char mark[] = "@SEARCHED@";
    char line[2048], *at;
    FILE *file = fopen(path, "r");
    size_t used = 0;

    if (!file)
        bail_out("cannot read %s", path);
    while (fgets(line, sizeof line, file)) {
        at = strstr(line, mark);
        if (!at) {
            used += (size_t)snprintf(text + used, room - used, "%s", line);
            continue;
        }
        used += (size_t)snprintf(text + used, room - used, "%.*s", (int)(at - line), line);
        vw_place_plugins_text(text + used, room - used);
        used += strlen(text + used);
        used += (size_t)snprintf(text + used, room - used, "%s", at + sizeof mark - 1);
    }
    fclose(file);
    if (used > 0 && text[used - 1] == '\n')
        text[used - 1] = '\0';
}

static void test_bad_file(const char *name)
{
    vw_settings *settings = new_settings();
    char path[64], expected[8192];
    vw_error err = {VW_OK, ""};

    snprintf(path, sizeof path, "%s.txt", name);
    read_expected(path, expected, sizeof expected);
    snprintf(path, sizeof path, "%s.ini", name);
    if (vw_settings_read(settings, path, &err) == VW_OK)
        vw_settings_check(settings, &err);
    is_int(err.code, VW_E_CONFIG, "%s is refused", path);
    is_str(err.text, expected, "%s: every wrong line, with its words", path);
    vw_settings_free(settings);
}

static void test_bad_files(void)
{
    static const char *const names[] = {"lines",   "values",   "names", "bytes",
                                        "outside", "includes", "loop",  "labels"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        test_bad_file(names[i]);
}

static void count_errors(void *arg, vw_log_level level, const char *line)
{
    if (level == VW_LOG_ERROR && strstr(line, "not one of its choices"))
        ++*(int *)arg;
}

static void test_too_many(void)
{
    vw_settings *settings = new_settings();
    char value[32];
    vw_error err;
    int lines = 1, n_told = 0;

    for (int i = 0; i < 100; i++) {
        snprintf(value, sizeof value, "value number %d", i);
        vw_settings_set(settings, "kv", "dtype", value, "test", &err);
    }
    vw_settings_listen(settings, count_errors, &n_told);
    is_int(vw_settings_check(settings, &err), VW_E_CONFIG, "a hundred problems");
    is_int(n_told, 100, "who listens is told of each");
    for (const char *c = err.text; *c; c++)
        lines += *c == '\n';
    snprintf(value, sizeof value, "\n... and %d more", 100 - (lines - 1));
    like(err.text, value, "the last line counts those that do not fit");
    vw_settings_free(settings);
}

static void test_missing_file(void)
{
    vw_settings *settings = new_settings();
    vw_error err;

    is_int(vw_settings_read(settings, "nowhere.ini", &err), VW_E_CONFIG,
           "a file that is not there");
    is_str(err.text, "nowhere.ini: cannot be opened: No such file or directory", "its sentence");
    vw_settings_read(settings, "sub", &err);
    is_str(err.text, "sub: a folder; the path of a file", "a folder");
    vw_settings_set(settings, "kv", "dtype", "f16", "before", &err);
    vw_settings_read(settings, "lines.ini", &err);
    is_str(vw_settings_get(settings, "kv", "dtype"), "f16", "a bad file changes nothing");
    is_str(vw_settings_get(settings, "kv", "page_tokens"), NULL, "a bad file adds nothing");
    vw_settings_free(settings);
}

/* ---- good ones ------------------------------------------------------------------------------- */

static void test_good_file(void)
{
    vw_settings *settings = new_settings();
    vw_config_model model;
    vw_config_kv kv;
    vw_sampling sampling;
    char here[4096], path[4200];
    vw_error err = {VW_OK, ""};

    ok(vw_settings_read(settings, "good.ini", &err) == VW_OK &&
           vw_settings_check(settings, &err) == VW_OK,
       "a good file: %s", err.text);
    is_str(vw_settings_get(settings, "kv", "dtype"), "int8", "a file wins over what it includes");
    is_str(vw_settings_origin(settings, "kv", "dtype"), "good.ini:5", "an origin");
    is_str(vw_settings_origin(settings, "kv", "page_tokens"), "part.ini:3", "an included origin");
    is_str(vw_settings_get(settings, "kv", "pool_bytes"), NULL, "not set");
    is_str(vw_settings_get(settings, "balance:second.needy", "leaks"), "yes", "a labelled section");
    ok(vw_settings_bind(settings, "kv", vw_kv_options, &kv, &err) == VW_OK, "[kv] is bound");
    is_int(kv.dtype, 3, "a choice");
    is_int(kv.page_tokens, 16, "an integer");
    is_int(kv.pool_bytes, 0, "a default");
    ok(vw_settings_bind(settings, "sampling", vw_sampling_options, &sampling, &err) == VW_OK,
       "[sampling] is bound");
    near(sampling.temperature, 0.5, 0, "a number without a leading 0");
    near(sampling.min_p, 1e-3, 0, "no blanks around the '='");
    is_int(sampling.seed, 7, "a '+'");
    is_int(sampling.ignore_eos, 1, "on");
    ok(vw_settings_bind(settings, "model", vw_model_options, &model, &err) == VW_OK,
       "[model] is bound");
    snprintf(path, sizeof path, "%s/models/here", getcwd(here, sizeof here) ? here : "");
    is_str(model.path, path, "a path is relative to the file that says it");
    is_str(model.kind.plugin, "auto", "the kind's common options");
    vw_settings_free(settings);
}

static void test_assign(void)
{
    vw_settings *settings = new_settings();
    vw_config_kv kv = {77, 77, 77};
    vw_error err;

    ok(vw_settings_assign(settings, "balance:a.needy.leaks=a=b", "--set #1", &err) == VW_OK,
       "split at the first '=' and the last dot before it");
    is_str(vw_settings_get(settings, "balance:a.needy", "leaks"), "a=b", "section, key and value");
    ok(vw_settings_assign(settings, "model.path=/a.b=c.d", "--set #2", &err) == VW_OK &&
           strcmp(vw_settings_get(settings, "model", "path"), "/a.b=c.d") == 0,
       "dots after the '=' do not count");
    vw_settings_assign(settings, "plugin=ref", "--set #3", &err);
    is_str(err.text, "--set #3: \"plugin=ref\": no '.' between section and key; write "
                     "section.key=value, as in gemm.plugin=ref", "no section");
    vw_settings_assign(settings, "gemm.plugin", "--set #4", &err);
    is_str(err.text, "--set #4: \"gemm.plugin\": no '='; write section.key=value, as in "
                     "gemm.plugin=ref", "no value");
    vw_settings_assign(settings, ".plugin=ref", "--set #5", &err);
    is_str(err.text, "--set #5: \".plugin=ref\": section or key is empty; write section.key=value, "
                     "as in gemm.plugin=ref", "an empty section");
    is_int(vw_settings_check(settings, &err), VW_E_CONFIG, "checked with the rest");
    is_str(err.text, "--set #1: [balance:a.needy] leaks = a=b: neither yes nor no; yes or no",
           "its words");
    vw_settings_set(settings, "gmm", "plugin", "ref", "-x", &err);
    vw_settings_check(settings, &err);
    like(err.text, "-x: [gmm] plugin = ref: no such section; did you mean [gemm]?",
         "an unknown section that is in no file");
    vw_settings_set(settings, "kv", "dtype", "f64", "-y", &err);
    is_int(vw_settings_bind(settings, "kv", vw_kv_options, &kv, &err), VW_E_CONFIG, "not bound");
    is_str(err.text, "-y: [kv] dtype = f64: not one of its choices; f32, f16, bf16 or int8",
           "the words of binding");
    is_int(kv.page_tokens, 77, "a struct that cannot be filled is left as it was");
    vw_settings_free(settings);
}

/* ---- printing -------------------------------------------------------------------------------- */

static char *printed(const vw_settings *settings)
{
    char *text = NULL;
    size_t bytes = 0;
    vw_error err;
    FILE *file = open_memstream(&text, &bytes);

    if (!file || vw_settings_print(settings, file, &err) != VW_OK)
        bail_out("cannot print");
    fclose(file);
    return text;
}

static void test_print(void)
{
    static const char path[] = "printed.ini";
    vw_settings *settings = new_settings(), *again = new_settings();
    char folder[] = "/tmp/vw-settings-XXXXXX", copy[128];
    vw_error err = {VW_OK, ""};
    char *text;
    FILE *file;

    vw_settings_read(settings, "good.ini", &err);
    vw_settings_assign(settings, "kv.dtype=f16", "--set #1", &err);
    vw_settings_assign(settings, "model.path=two\nlines", "--set #2", &err);
    text = printed(settings);
    like(text, "\ndtype = f16                     ; --set #1, not good.ini:5, part.ini:2\n",
         "what is in force, and what it overrides");
    like(text, "\n; path has a value that no file can hold (--set #2, not part.ini:6)\n",
         "a value with two lines");
    like(text, "\nbatch_tokens = 512              ; default\n", "a default");
    if (!mkdtemp(folder))
        bail_out("no folder of our own");
    snprintf(copy, sizeof copy, "%s/%s", folder, path);
    file = fopen(copy, "w");
    if (!file)
        bail_out("cannot write %s", copy);
    fputs(text, file);
    fclose(file);
    ok(vw_settings_read(again, copy, &err) == VW_OK && vw_settings_check(again, &err) == VW_OK,
       "what is printed can be read: %s", err.text);
    is_str(vw_settings_get(again, "balance:second.needy", "leaks"), "yes", "and says the same");
    unlink(copy);
    rmdir(folder);
    free(text);
    vw_settings_free(settings);
    vw_settings_free(again);
}

static void test_sections(void)
{
    const char *section, *help;
    vw_section_name name;
    size_t n = 0;
    vw_error err;

    for (const vw_option *o; (o = vw_core_section(n, &section, &help)) != NULL; n++)
        ok(*help && (vw_section_parse(section).core || vw_section_parse(section).kind),
           "[%s]: %s", section, help);
    is_int(n, 9 + VW_KIND_COUNT - 1, "the core's sections and one for each kind");
    name = vw_section_parse("gemm:big.blas");
    ok(name.kind == VW_KIND_GEMM && strcmp(name.label, "big") == 0 &&
           strcmp(name.plugin, "blas") == 0,
       "a section's name taken apart");
    ok(vw_section_parse("gemm.").kind == VW_KIND_NONE, "an empty plugin");
    ok(vw_section_parse("gemm:.x").kind == VW_KIND_NONE, "an empty label");
    ok(vw_section_parse("gemm.a.b").kind == VW_KIND_NONE, "two dots");
    ok(vw_data_path("no such thing", (char[4096]){0}, 4096, &err) == VW_E_NOTFOUND, "no data");
    like(err.text, "no such thing is not installed (searched: ", "its sentence");
}

int main(void)
{
    const char *build = getenv("top_builddir"), *source = getenv("top_srcdir");
    char path[4096];

    snprintf(path, sizeof path, "%s/t/bad/.libs", build ? build : ".");
    setenv("VW_PLUGIN_PATH", path, 1);
    snprintf(path, sizeof path, "%s/t/ini", source ? source : ".");
    if (chdir(path) != 0)
        bail_out("cannot enter %s", path);
    test_bad_files();
    test_too_many();
    test_missing_file();
    test_good_file();
    test_assign();
    test_print();
    test_sections();
    return done_testing();
}
