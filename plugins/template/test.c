/* test.c - load the plugin as the library does, open it and close it.
 *
 * The host here is the least that a plugin may expect, so a test of your own operations can go on
 * from where this one ends: `ops` and `self` are all that it needs.
 */
#include <vishwamai/@KIND@.h>
#include <vishwamai/host.h>

#include <dlfcn.h>
#include <stdlib.h>

static int n_tests, n_failed;

static void ok(int condition, const char *what)
{
    n_tests++;
    n_failed += !condition;
    printf("%sok %d - %s\n", condition ? "" : "not ", n_tests, what);
}

/* ---- a host ---------------------------------------------------------------------------------- */

static long n_blocks; /* allocated and not freed */

static void host_log(void *core, vw_log_level level, const char *format, ...)
{
    va_list args;

    (void)core, (void)level;
    va_start(args, format);
    printf("# ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

static void *host_alloc(void *core, size_t bytes)
{
    void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);

    (void)core;
    n_blocks += block != NULL;
    return block;
}

static void host_free(void *core, void *block)
{
    (void)core;
    n_blocks -= block != NULL;
    free(block);
}

static void host_parallel_for(void *core, int n_parts, vw_part_fn fn, void *arg)
{
    (void)core;
    for (int part = 0; part < n_parts; part++)
        fn(arg, part, n_parts);
}

static int host_n_threads(void *core)
{
    (void)core;
    return 1;
}

static const vw_component *host_component(void *core, vw_kind kind, vw_error *err)
{
    (void)core;
    vw_fail(err, VW_E_NOTFOUND, "this host has no component of kind %d", (int)kind);
    return NULL;
}

static const void *host_service(void *core, const char *name, uint32_t major)
{
    (void)core, (void)name, (void)major;
    return NULL;
}

static void host_count(void *core, const char *counter, uint64_t amount)
{
    (void)core, (void)counter, (void)amount;
}

static const vw_host host = {
    .size = sizeof host,
    .log = host_log,
    .alloc = host_alloc,
    .free = host_free,
    .parallel_for = host_parallel_for,
    .n_threads = host_n_threads,
    .component = host_component,
    .service = host_service,
    .count = host_count,
};

/* ---- the test -------------------------------------------------------------------------------- */

static void test_instance(const vw_plugin *plugin)
{
    void *config = calloc(1, plugin->config_size + 1), *self = NULL;
    vw_error err = {VW_OK, ""};

    ok(plugin->open(&host, config, &self, &err) == VW_OK, "it opens");
    if (err.text[0])
        printf("# %s\n", err.text);
    else
        plugin->close(self);
    ok(n_blocks == 0, "it frees what it allocated");
    free(config);
}

int main(int argc, char **argv)
{
    void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = handle ? dlsym(handle, "vw_plugin_@KIND@_@NAME@") : NULL;
    const vw_plugin *(*describe)(void);
    const vw_plugin *plugin;
    char why[256] = "";

    ok(symbol != NULL, "it exports vw_plugin_@KIND@_@NAME@()");
    if (!symbol) {
        printf("# %s\n", dlerror());
        return 1;
    }
    memcpy(&describe, &symbol, sizeof symbol);
    plugin = describe();
    ok(plugin->abi_major == VW_ABI_MAJOR && plugin->size == sizeof *plugin, "for these headers");
    ok(strcmp(plugin->name, "@NAME@") == 0 && plugin->ops != NULL, "a name and a table");
    printf("# probe: %d, %s\n", (int)plugin->probe(&(vw_probe){sizeof(vw_probe), NULL, "cpu"}, why,
                                                   sizeof why), why);
    test_instance(plugin);
    printf("1..%d\n", n_tests);
    return n_failed > 0;
}
