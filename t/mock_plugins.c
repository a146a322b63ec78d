/* mock_plugins.c - finding the plugins of a kind, as the loader would, for tests that have none. */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLUGINS = 64, MAX_PATH = 4096 };

typedef const vw_plugin *(*entry_fn)(void);

const char *mock_kind_name(vw_kind kind)
{
    static const char *const names[VW_KIND_COUNT] = {
        "none",      "device",  "gemm",      "attention", "comm",      "balance",  "pipeline",
        "tokenizer", "weights", "optimizer", "model",     "reasoning", "verifier",
    };
    return (unsigned)kind < VW_KIND_COUNT ? names[kind] : "unknown";
}

static bool is_empty(const char *text)
{
    return !text || !*text;
}

/* What is wrong with a descriptor, or NULL.  The first three fields are read before the others. */
static const char *judge(const vw_plugin *p, vw_kind kind, const char *name)
{
    if (!p)
        return "the entry gives no descriptor";
    if (p->abi_major != VW_ABI_MAJOR || p->size < offsetof(vw_plugin, ops) + sizeof p->ops)
        return "another ABI, or a short descriptor";
    if (p->kind != kind || !p->name || strcmp(p->name, name))
        return "kind or name differ from the file's";
    if (is_empty(p->name) || is_empty(p->summary) || is_empty(p->version) || is_empty(p->license) ||
        is_empty(p->author) || is_empty(p->url))
        return "a mandatory text is empty";
    if (!p->probe || !p->open || !p->close || !p->ops)
        return "probe, open, close or ops is missing";
    if (!p->options != !p->config_size)
        return "options without a configuration, or the reverse";
    for (const vw_option *o = p->options; o && o->key; o++)
        if (o->offset >= p->config_size || !o->help || !*o->help)
            return "an option outside of the configuration, or without help";
    return NULL;
}

/* Load FOLDER/KIND_NAME.so; a failure is an assertion's. */
static const vw_plugin *load(const char *path, vw_kind kind, const char *name)
{
    char symbol[256];
    const vw_plugin *plugin;
    const char *wrong;
    entry_fn entry;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *address;

    if (!library) {
        ok(false, "%s loads: %s", path, dlerror());
        return NULL;
    }
    snprintf(symbol, sizeof symbol, "vw_plugin_%s_%s", mock_kind_name(kind), name);
    address = dlsym(library, symbol);
    memcpy(&entry, &address, sizeof entry);
    plugin = entry ? entry() : NULL;
    wrong = judge(plugin, kind, name);
    ok(!wrong, "%s/%s: the descriptor is in order%s%s", mock_kind_name(kind), name,
       wrong ? ": " : "", wrong ? wrong : "");
    return wrong ? NULL : plugin;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in one folder that are not there yet: of two files of one name the first folder's
 * counts. */
static int list_folder(const char *folder, const char *kind, char **names, char **paths, int n)
{
    size_t prefix = strlen(kind) + 1;
    struct dirent *entry;
    DIR *dir = opendir(folder);

    while (dir && n < MAX_PLUGINS && (entry = readdir(dir)) != NULL) {
        const char *file = entry->d_name;
        size_t length = strlen(file);
        char path[MAX_PATH];
        int i = 0;

        if (length < prefix + 4 || strncmp(file, kind, prefix - 1) || file[prefix - 1] != '_' ||
            strcmp(file + length - 3, ".so"))
            continue;
        names[n] = strndup(file + prefix, length - prefix - 3);
        if (!names[n])
            bail_out("no memory");
        while (i < n && strcmp(names[i], names[n]))
            i++;
        if (i < n || snprintf(path, sizeof path, "%s/%s", folder, file) >= MAX_PATH) {
            free(names[n]);
            continue;
        }
        paths[n++] = strdup(path);
    }
    if (dir)
        closedir(dir);
    return n;
}

static int list_path(const char *kind, char **names, char **paths)
{
    const char *path = getenv("VW_PLUGIN_PATH");
    char *copy = path ? strdup(path) : NULL, *state = NULL;
    int n = 0;

    if (!copy || !*copy)
        bail_out("VW_PLUGIN_PATH must name the folders of the plugins");
    for (char *folder = strtok_r(copy, ":", &state); folder; folder = strtok_r(NULL, ":", &state))
        n = list_folder(folder, kind, names, paths, n);
    free(copy);
    return n;
}

int mock_plugins(vw_kind kind, void (*each)(const vw_plugin *plugin, void *arg), void *arg)
{
    char *names[MAX_PLUGINS], *sorted[MAX_PLUGINS], *paths[MAX_PLUGINS];
    int n = list_path(mock_kind_name(kind), names, paths), n_good = 0;

    memcpy(sorted, names, (size_t)n * sizeof *names);
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int i = 0; i < n; i++) {
        const vw_plugin *plugin;
        int at = 0;

        while (names[at] != sorted[i])
            at++;
        plugin = load(paths[at], kind, names[at]);
        if (plugin) {
            each(plugin, arg);
            n_good++;
        }
    }
    for (int i = 0; i < n; i++) {
        free(names[i]);
        free(paths[i]);
    }
    return n_good;
}

const vw_plugin *mock_plugin(vw_kind kind, const char *name)
{
    char *names[MAX_PLUGINS], *paths[MAX_PLUGINS];
    int n = list_path(mock_kind_name(kind), names, paths);
    const vw_plugin *found = NULL;

    for (int i = 0; i < n; i++) {
        if (!strcmp(names[i], name))
            found = load(paths[i], kind, name);
        free(names[i]);
        free(paths[i]);
    }
    return found;
}
