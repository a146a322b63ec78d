/* loader.c - dlopen, one symbol, and a description taken at nobody's word. */
#include "core/loader.h"
#include "core/kind.h"
#include "core/option.h"
#include "core/stubs.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>

/* A description as it was in interface 1.0; later fields come after. */
enum { MIN_DESCRIPTION = offsetof(vw_plugin, ops) + sizeof(void *) };

static pthread_mutex_t linking = PTHREAD_MUTEX_INITIALIZER;

void vw_loader_lock(void)
{
    pthread_mutex_lock(&linking);
}

void vw_loader_unlock(void)
{
    pthread_mutex_unlock(&linking);
}

int vw_loader_is_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && n < 48 && name[n] == '\0';
}

/* "undefined symbol: f" from "/path/x.so: undefined symbol: f". */
static const char *loader_words(const char *path)
{
    const char *words = dlerror();
    size_t n = strlen(path);

    if (!words)
        return "the system gives no reason";
    if (strncmp(words, path, n) == 0 && strncmp(words + n, ": ", 2) == 0)
        return words + n + 2;
    return words;
}

/* The exported function, provided that it is in this very file. */
static vw_status find_symbol(void *handle, vw_kind kind, const char *name, const char *path,
                             const vw_plugin *(**function)(void), vw_error *err)
{
    char symbol[128];
    struct link_map *map;
    void *found;
    Dl_info where, here;

    snprintf(symbol, sizeof symbol, "vw_plugin_%s_%s", vw_kind_name(kind), name);
    dlerror();
    found = dlsym(handle, symbol);
    if (!found)
        return vw_fail(err, VW_E_ABI, "%s does not export %s(); a plugin defines it with "
                       "VW_PLUGIN_DEFINE(%s, %s)", path, symbol, vw_kind_name(kind), name);
    if (!dladdr(found, &where) || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 ||
        !dladdr(map->l_ld, &here))
        return vw_fail(err, VW_E_ABI, "%s exports %s(), but the system cannot say from where", path,
                       symbol);
    if (where.dli_fbase != here.dli_fbase)
        return vw_fail(err, VW_E_ABI, "%s does not define %s() but finds it in %s; a plugin is one "
                       "file", path, symbol, where.dli_fname);
    memcpy(function, &found, sizeof found);
    return VW_OK;
}

/* ---- the description ------------------------------------------------------------------------- */

static vw_status check_version(const vw_plugin *p, const char *path, vw_error *err)
{
    if (p->abi_major != VW_ABI_MAJOR)
        return vw_fail(err, VW_E_ABI,
                       "%s was built for version %u of the plugin interface and this "
                       "is version %d; build it again with these headers",
                       path, (unsigned)p->abi_major, VW_ABI_MAJOR);
    if (p->size < MIN_DESCRIPTION || p->size > 1 << 16)
        return vw_fail(err, VW_E_ABI, "%s has a description of %zu bytes where at least %d belong; "
                       "it begins with VW_PLUGIN_HEADER", path, p->size, (int)MIN_DESCRIPTION);
    return VW_OK;
}

static vw_status check_texts(const vw_plugin *p, const char *path, vw_error *err)
{
    const struct {
        const char *what, *text;
    } texts[] = {{"name", p->name},       {"summary", p->summary}, {"version", p->version},
                 {"license", p->license}, {"author", p->author},   {"url", p->url}};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!texts[i].text || !*texts[i].text)
            return vw_fail(err, VW_E_ABI, "%s has an empty %s in its description; name, summary, "
                           "version, license, author and url are mandatory", path, texts[i].what);
    return VW_OK;
}

static vw_status check_identity(const vw_plugin *p, vw_kind kind, const char *name,
                                const char *path, vw_error *err)
{
    const vw_kind_info *info = vw_kind_get(kind);
    const char *said = vw_kind_name(p->kind);

    if (p->kind != kind)
        return vw_fail(err, VW_E_ABI, "%s is of kind %s by its description and of kind %s by its "
                       "file name", path, said ? said : "nothing", info->name);
    if (strcmp(p->name, name) != 0)
        return vw_fail(err, VW_E_ABI, "%s is called \"%.64s\" by its description and \"%s\" by its "
                       "file name", path, p->name, name);
    if (p->ops_major != info->ops_major ||
        (info->ops_major == 0 && p->ops_minor != info->ops_minor))
        return vw_fail(err, VW_E_ABI,
                       "%s was built for version %u.%u of the %s operations and this "
                       "is version %u.%u; build it again with these headers",
                       path, (unsigned)p->ops_major, (unsigned)p->ops_minor, info->name,
                       (unsigned)info->ops_major, (unsigned)info->ops_minor);
    return VW_OK;
}

static vw_status check_functions(const vw_plugin *p, const char *path, vw_error *err)
{
    const char *missing = !p->probe ? "probe" : !p->open ? "open" : !p->close ? "close" : NULL;

    if (missing)
        return vw_fail(err, VW_E_ABI, "%s has no %s() in its description", path, missing);
    if (!p->ops)
        return vw_fail(err, VW_E_ABI, "%s has no table of operations in its description", path);
    return VW_OK;
}

static vw_status check_needs(const vw_plugin *p, const char *path, vw_error *err)
{
    for (const char *const *need = p->needs; need && *need; need++)
        if (vw_kind_from_name(*need) == VW_KIND_NONE)
            return vw_fail(err, VW_E_ABI, "%s needs \"%.64s\", which is no kind of component", path,
                           *need);
    return VW_OK;
}

static vw_status describe(vw_module *m, const vw_plugin *p, vw_error *err)
{
    vw_status status;

    if (!p)
        return vw_fail(err, VW_E_ABI, "%s returns no description", m->path);
    status = check_version(p, m->path, err);
    if (status != VW_OK)
        return status;
    memcpy(&m->description, p, p->size < sizeof *p ? p->size : sizeof *p);
    m->plugin = p = &m->description;
    if ((status = check_texts(p, m->path, err)) != VW_OK ||
        (status = check_identity(p, m->kind, m->name, m->path, err)) != VW_OK ||
        (status = check_functions(p, m->path, err)) != VW_OK ||
        (status = check_needs(p, m->path, err)) != VW_OK)
        return status;
    status = vw_options_validate(p->options, p->config_size, err);
    if (status == VW_OK)
        status = vw_stubs_fill(m->kind, p->ops, m->ops, err);
    return status == VW_OK ? VW_OK : vw_fail_in(err, status, "%s", m->path);
}

/* ---- the file -------------------------------------------------------------------------------- */

void vw_loader_close(vw_module *m)
{
    if (m->handle) {
        vw_loader_lock();
        dlclose(m->handle);
        vw_loader_unlock();
    }
    free(m->name);
    free(m->path);
    free(m->ops);
    free(m);
}

static vw_module *module_new(vw_kind kind, const char *name, const char *path)
{
    vw_module *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->kind = kind;
    m->name = strdup(name);
    m->path = strdup(path);
    m->ops = calloc(1, vw_kind_get(kind)->ops_bytes);
    if (m->name && m->path && m->ops)
        return m;
    vw_loader_close(m);
    return NULL;
}

vw_status vw_loader_open(vw_kind kind, const char *name, const char *path,
                         volatile vw_loader_stage *stage, vw_module **module, vw_error *err)
{
    vw_module *m = module_new(kind, name, path);
    const vw_plugin *(*function)(void) = NULL;
    volatile vw_loader_stage unused = VW_STAGE_LOAD;
    vw_status status;

    if (!m)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    stage = stage ? stage : &unused;
    *stage = VW_STAGE_LOAD;
    vw_loader_lock();
    m->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    vw_loader_unlock();
    if (!m->handle) {
        status = vw_fail(err, VW_E_FORMAT, "%s cannot be loaded: %s", path, loader_words(path));
    } else {
        *stage = VW_STAGE_DESCRIBE;
        status = find_symbol(m->handle, kind, name, path, &function, err);
        if (status == VW_OK)
            status = describe(m, function(), err);
    }
    if (status == VW_OK)
        *module = m;
    else
        vw_loader_close(m);
    return status;
}

int32_t vw_loader_probe(const vw_module *module, const vw_probe *about, char *why, size_t room)
{
    const vw_probe nothing = {sizeof nothing, NULL, NULL};
    int32_t score;

    why[0] = '\0';
    score = module->plugin->probe(about ? about : &nothing, why, room);
    why[room - 1] = '\0';
    vw_text_trim(why);
    if (score <= 0 && why[0] == '\0')
        snprintf(why, room, "it gives no reason");
    return score > 0 ? score : 0;
}

int vw_loader_runs_on(const vw_module *module, const char *device)
{
    const char *const *d = module->plugin->devices;

    if (!d || !device)
        return 1;
    for (; *d; d++)
        if (strcmp(*d, device) == 0)
            return 1;
    return 0;
}
