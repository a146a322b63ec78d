/* loader.c - plugins found, refused, chosen and opened; every sentence of a refusal.
 *
 * The plugins are those of t/bad; most of them are broken on purpose, each in one way.
 */
#include "core/core.h"
#include "core/registry.h"
#include "t/tap/tap.h"

#include <vishwamai/device.h>
#include <vishwamai/gemm.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ENTRIES = 64 };

static char folder[4096]; /* of t/bad's plugins, absolute */
static char made[64];     /* a folder of our own */

/* ---- broken plugins -------------------------------------------------------------------------- */

/* What the sentence says after the path; NULL for a plugin that is good. */
static const struct {
    const char *name, *problem;
} expected[] = {
    {"crash_at_load", " crashed while it was loaded (signal 11, Segmentation fault)"},
    {"crash_in_probe", " crashed in its probe (signal 11, Segmentation fault)"},
    {"crash_in_symbol",
     " crashed in vw_plugin_verifier_crash_in_symbol() (signal 11, Segmentation fault)"},
    {"empty_license", " has an empty license in its description; name, summary, version, license, "
                      "author and url are mandatory"},
    {"exit_in_probe", " ended the process in its probe"},
    {"good", NULL},
    {"loop_in_probe", " did not come back within 5 seconds in its probe"},
    {"missing_operation", ": it does not have the operation check(), which every verifier needs"},
    {"no_probe", " has no probe() in its description"},
    {"no_symbol", " does not export vw_plugin_verifier_no_symbol(); a plugin defines it with "
                  "VW_PLUGIN_DEFINE(verifier, no_symbol)"},
    {"no_table", " has no table of operations in its description"},
    {"null", " returns no description"},
    {"refuses", NULL},
    {"stopped", NULL}, /* its child is late when this program was stopped meanwhile; see there */
    {"twin_options", ": its option \"depth\" stands twice in its table"},
    {"undefined_symbol", " cannot be loaded: undefined symbol: vw_nobody_defines_this"},
    {"wrong_abi", " was built for version 2 of the plugin interface and this is version 1; build "
                  "it again with these headers"},
    {"wrong_default", ": its option \"depth\" has the default \"ten\": not a number; an integer "
                      "from 1 to 9"},
    {"wrong_kind", " is of kind balance by its description and of kind verifier by its file name"},
    {"wrong_name", " is called \"another\" by its description and \"wrong_name\" by its file name"},
    {"wrong_need", " needs \"gem\", which is no kind of component"},
    {"wrong_offset",
     ": its option \"depth\" at offset 8 does not fit its configuration of 8 bytes"},
    {"wrong_operations",
     " was built for version 0.2 of the verifier operations and this is version "
     "0.1; build it again with these headers"},
    {"wrong_table", ": its table of operations says it has 3 bytes; it begins with "
                    "sizeof(vw_verifier_ops), which is 16 here"},
};

typedef struct seen {
    int n;
    struct {
        char name[64], problem[1600], hidden_by[4096], why[256];
        const vw_plugin *plugin;
        int32_t score;
    } entries[MAX_ENTRIES];
} seen;

static int see(void *arg, const vw_plugin_entry *e)
{
    seen *s = arg;

    if (s->n == MAX_ENTRIES)
        return 1;
    snprintf(s->entries[s->n].name, sizeof s->entries[0].name, "%s", e->name);
    snprintf(s->entries[s->n].problem, sizeof s->entries[0].problem, "%s",
             e->problem ? e->problem : "");
    snprintf(s->entries[s->n].hidden_by, sizeof s->entries[0].hidden_by, "%s",
             e->hidden_by ? e->hidden_by : "");
    snprintf(s->entries[s->n].why, sizeof s->entries[0].why, "%s", e->why);
    s->entries[s->n].plugin = e->plugin;
    s->entries[s->n++].score = e->score;
    return 0;
}

static int find(const seen *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->entries[i].name, name) == 0)
            return i;
    return -1;
}

static void test_refusals(void)
{
    static seen s;
    char want[5000];
    vw_error err;
    int i;

    snprintf(want, sizeof want, "%ld", (long)getpid());
    setenv("VW_T_STOPPED", want, 1);
    ok(vw_plugins_visit(VW_KIND_VERIFIER, NULL, see, &s, &err) == VW_OK, "a folder of bad plugins");
    unsetenv("VW_T_STOPPED");
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        const char *name = expected[k].name, *problem = expected[k].problem;
        i = find(&s, name);
        if (!ok(i >= 0, "%s is listed", name))
            continue;
        if (problem)
            snprintf(want, sizeof want, "%s/verifier_%s.so%s", folder, name, problem);
        is_str(s.entries[i].problem, problem ? want : "", "%s: its sentence", name);
        ok((s.entries[i].plugin == NULL) == (problem != NULL), "%s: usable or not", name);
    }
    for (i = 1; i < s.n; i++)
        if (strcmp(s.entries[i - 1].name, s.entries[i].name) >= 0)
            break;
    is_int(i, s.n, "sorted by name");
    i = find(&s, "good");
    is_int(i < 0 ? -1 : s.entries[i].score, 10, "the good one's score");
    i = find(&s, "refuses");
    is_str(i < 0 ? "" : s.entries[i].why, "there is no moon tonight", "a refusal has its reason");
    i = find(&s, "short_description");
    snprintf(want, sizeof want,
             "%s/verifier_short_description.so has a description of 40 bytes where "
             "at least %d belong; it begins with VW_PLUGIN_HEADER",
             folder, (int)(offsetof(vw_plugin, ops) + sizeof(void *)));
    is_str(i < 0 ? "" : s.entries[i].problem, want, "short_description: its sentence");
    i = find(&s, "in_dependency");
    like(i < 0 ? "" : s.entries[i].problem,
         "does not define vw_plugin_verifier_in_dependency() but finds it in ",
         "in_dependency: its sentence");
    like(i < 0 ? "" : s.entries[i].problem, "elsewhere.so", "in_dependency: names the other file");
}

/* ---- files that are no shared objects, and hidden ones --------------------------------------- */

static const char *const files[] = {"pipeline_text.so", "pipeline_Loud.so", "pipeline_.so",
                                    "balance_low.so", "gem_x.so"};

static void remove_files(void)
{
    char path[256];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", made, files[i]);
        unlink(path);
    }
    rmdir(made);
}

static void write_file(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", made, name);
    file = fopen(path, "w");
    if (!file)
        bail_out("cannot write %s", path);
    fputs(text, file);
    fclose(file);
}

static void test_files(void)
{
    static seen s;
    char path[9000], want[5000];
    vw_error err;
    int i;

    write_file("pipeline_text.so",
               "this is no shared object, however long it may be made to be, and it is "
               "long enough to hold the header of one\n");
    write_file("pipeline_Loud.so", "neither is this");
    write_file("pipeline_.so", "nor this, which has no name");
    write_file("balance_low.so", "hidden, if it comes second");
    write_file("gem_x.so", "not a kind");
    snprintf(path, sizeof path, ":%s::%s", folder, made);
    setenv("VW_PLUGIN_PATH", path, 1);
    ok(vw_plugins_visit(VW_KIND_PIPELINE, NULL, see, &s, &err) == VW_OK, "a folder of other files");
    is_int(s.n, 2, "files with the shape of a plugin's name");
    i = find(&s, "text");
    snprintf(want, sizeof want, "%s/pipeline_text.so cannot be loaded: invalid ELF header", made);
    is_str(i < 0 ? "" : s.entries[i].problem, want, "not a shared object: its sentence");
    i = find(&s, "Loud");
    snprintf(want, sizeof want,
             "%s/pipeline_Loud.so has a name that is not lower case letters, digits "
             "and '_'",
             made);
    is_str(i < 0 ? "" : s.entries[i].problem, want, "not a plugin's name: its sentence");
    s.n = 0;
    vw_plugins_visit(VW_KIND_BALANCE, NULL, see, &s, &err);
    i = find(&s, "low");
    is_str(i < 0 ? "" : s.entries[i].hidden_by, "", "the first file of a name is used");
    snprintf(want, sizeof want, "%s/balance_low.so", folder);
    is_str(i < 0 ? "" : s.entries[i + 1].hidden_by, want, "the second is hidden by the first");
    ok(i >= 0 && s.entries[i + 1].plugin == NULL, "and cannot be used");
}

static void test_current_directory(void)
{
    static seen s;
    vw_error err;

    if (chdir(folder) != 0)
        bail_out("cannot enter %s", folder);
    unsetenv("VW_PLUGIN_PATH");
    vw_plugins_visit(VW_KIND_BALANCE, NULL, see, &s, &err);
    is_int(find(&s, "low"), -1, "the current directory is not searched by itself");
    s.n = 0;
    setenv("VW_PLUGIN_PATH", ".", 1);
    vw_plugins_visit(VW_KIND_BALANCE, NULL, see, &s, &err);
    ok(find(&s, "low") >= 0, "it is when the user says so");
    setenv("VW_PLUGIN_PATH", folder, 1);
}

/* ---- choosing and opening -------------------------------------------------------------------- */

/* A core with settings "a=b" ... NULL; the settings are kept by the caller. */
static vw_core *core_with(vw_settings **settings, const char *const *assignments)
{
    vw_core *core = NULL;
    vw_error err;

    if (vw_settings_new(settings, &err) != VW_OK)
        bail_out("%s", err.text);
    for (; *assignments; assignments++)
        if (vw_settings_assign(*settings, *assignments, "test", &err) != VW_OK)
            bail_out("%s", err.text);
    if (vw_core_new(*settings, &core, &err) != VW_OK)
        diag("%s", err.text);
    return core;
}

static void end(vw_core *core, vw_settings *settings)
{
    vw_core_free(core);
    vw_settings_free(settings);
}

static void test_auto(void)
{
    static const char *const none[] = {NULL}, *const high[] = {"balance.plugin=high", NULL},
                      *const never[] = {"balance.plugin=never", NULL},
                      *const elsewhere[] = {"balance.plugin=elsewhere", NULL};
    const vw_component *a = NULL, *b = NULL;
    vw_settings *settings;
    vw_error err;
    vw_core *core = core_with(&settings, none);

    ok(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &a, &err) == VW_OK, "auto opens one");
    is_str(a ? a->plugin->name : "", "low", "auto: the highest rank that can be used here");
    ok(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &b, &err) == VW_OK && a == b,
       "asked again, the same instance");
    ok(vw_core_instance_open(core, VW_KIND_BALANCE, NULL, NULL, &b, &err) == VW_OK && a != b,
       "an instance of one's own");
    vw_core_instance_close(core, b);
    ok(vw_core_plugin(core, VW_KIND_BALANCE, "never", &b, &err) == VW_OK, "a plugin by name");
    is_int(vw_core_component(core, VW_KIND_COMM, NULL, NULL, &b, &err), VW_E_NOTFOUND,
           "a kind without plugins");
    like(err.text, "[comm] plugin = auto: no comm plugin is installed (searched: ", "its sentence");
    is_int(vw_core_component(core, (vw_kind)77, NULL, NULL, &b, &err), VW_E_INVALID, "no kind");
    is_int(vw_core_plugin(core, VW_KIND_VERIFIER, "crash_at_load", &b, &err), VW_E_ABI,
           "one that crashes, by name");
    like(err.text, "crashed while it was loaded", "it is tried elsewhere first");
    end(core, settings);

    core = core_with(&settings, high);
    is_int(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &b, &err), VW_E_UNSUPPORTED,
           "by name, and its probe says no");
    is_str(err.text,
           "[balance] plugin = high: balance/high cannot be used here: it gives no reason",
           "its sentence");
    end(core, settings);

    core = core_with(&settings, never);
    ok(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &b, &err) == VW_OK &&
           strcmp(b->plugin->name, "never") == 0,
       "rank 0 is used when it is named");
    end(core, settings);

    core = core_with(&settings, elsewhere);
    vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &b, &err);
    is_str(err.text,
           "[balance] plugin = elsewhere: balance/elsewhere does not run on the device here",
           "by name, and for another device");
    end(core, settings);
}

static void test_auto_without_choice(void)
{
    static const char *const none[] = {NULL};
    const vw_component *c;
    vw_settings *settings;
    vw_core *core;
    vw_error err;

    setenv("VW_PLUGIN_PATH", made, 1);
    core = core_with(&settings, none);
    is_int(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &c, &err), VW_E_NOTFOUND,
           "auto among broken plugins alone");
    like(err.text, "no balance plugin can be used here: low: ", "it says why, for each");
    end(core, settings);
    setenv("VW_PLUGIN_PATH", folder, 1);
}

static void test_needs(void)
{
    static const char *const good[] = {"balance.plugin=needy", "verifier.plugin=good",
                                       "balance.needy.threads=1", "vishwamai.threads=2", NULL},
                      *const asks[] = {"balance.plugin=needy", "verifier.plugin=good",
                                       "balance.needy.asks_for_gemm=yes", NULL},
                      *const refused[] = {"balance.plugin=needy", "verifier.plugin=refuses", NULL};
    const vw_component *c;
    vw_settings *settings;
    vw_error err;
    vw_core *core = core_with(&settings, good);
    uint64_t before = vw_core_allocations(core);

    ok(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &c, &err) == VW_OK,
       "a component that needs another");
    is_str(((const vw_component *)c->self)->plugin->name, "good", "it got what the settings say");
    is_int(vw_core_counter(core, "opened"), 2, "it counted");
    is_int(vw_core_counter(core, "nothing"), 0, "nobody counted");
    is_int(vw_core_component(core, VW_KIND_BALANCE, "second", NULL, &c, &err), VW_E_NOTFOUND,
           "a label without a section");
    is_str(err.text, "there is no [balance:second]; the labels of this kind are: none",
           "is not an instance with defaults");
    ok(vw_core_allocations(core) > before, "its configuration is among the allocations");
    end(core, settings);

    core = core_with(&settings, asks);
    is_int(vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &c, &err), VW_E_CONFIG,
           "a component that asks for more than it needs");
    is_str(err.text, "balance/needy: it asks for a gemm, which is not among the needs of its "
                     "description", "its sentence");
    end(core, settings);

    core = core_with(&settings, refused);
    vw_core_component(core, VW_KIND_BALANCE, NULL, NULL, &c, &err);
    is_str(err.text,
           "balance/needy needs a verifier: [verifier] plugin = refuses: verifier/refuses "
           "cannot be used here: there is no moon tonight",
           "a need that cannot be met");
    end(core, settings);
}

/* A table without the optional operations: each call is answered. */
static void test_stubs(void)
{
    static const char *const none[] = {NULL};
    const vw_component *c = NULL;
    vw_settings *settings;
    vw_error err;
    vw_core *core = core_with(&settings, none);
    vw_tensor t = {NULL, VW_F32, 2, {0, 0, 0, 0}, {0, 0, 0, 0}};
    const vw_gemm_ops *ops;

    ok(vw_core_plugin(core, VW_KIND_GEMM, "partial", &c, &err) == VW_OK, "a table with holes");
    if (!c)
        bail_out("%s", err.text);
    ops = c->ops;
    is_int(ops->size, sizeof *ops, "the table is whole");
    is_int(ops->run_wgrad(c->self, NULL, NULL, t, t, t, NULL, &err), VW_E_UNSUPPORTED, "a stub");
    is_str(err.text, "gemm/partial does not have the optional operation run_wgrad()",
           "it names plugin and operation");
    ops->plan_free(c->self, NULL);
    ok(1, "a stub that returns nothing");
    end(core, settings);
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { N_THREADS = 8 };

static pthread_barrier_t together;

static void *open_one(void *arg)
{
    const vw_module *module = NULL;
    vw_error err;

    pthread_barrier_wait(&together);
    if (vw_registry_open(VW_KIND_BALANCE, arg, &module, &err) != VW_OK)
        return NULL;
    return (void *)module;
}

/* A file is one module, however many threads ask for it first. */
static void test_threads(void)
{
    static char names[][8] = {"high", "low", "needy", "never"};
    pthread_t threads[N_THREADS];

    pthread_barrier_init(&together, NULL, N_THREADS);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        void *first = NULL, *module;
        int n_same = 0;
        for (int i = 0; i < N_THREADS; i++)
            if (pthread_create(&threads[i], NULL, open_one, names[n]) != 0)
                bail_out("no thread");
        for (int i = 0; i < N_THREADS; i++) {
            pthread_join(threads[i], &module);
            first = i ? first : module;
            n_same += module && module == first;
        }
        is_int(n_same, N_THREADS, "balance/%s is loaded once for %d threads", names[n], N_THREADS);
    }
    pthread_barrier_destroy(&together);
}

int main(void)
{
    const char *build = getenv("top_builddir");
    char path[4000];

    snprintf(path, sizeof path, "%s/t/bad/.libs", build ? build : ".");
    if (!realpath(path, folder))
        bail_out("no plugins in %s", path);
    snprintf(made, sizeof made, "/tmp/vw-loader-XXXXXX");
    if (!mkdtemp(made))
        bail_out("no folder of our own");
    setenv("VW_PLUGIN_PATH", folder, 1);
    test_threads();
    test_refusals();
    test_files();
    setenv("VW_PLUGIN_PATH", folder, 1);
    test_current_directory();
    test_auto();
    test_auto_without_choice();
    test_needs();
    test_stubs();
    remove_files();
    return done_testing();
}
