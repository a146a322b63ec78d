/* registry.c - listing files, loading each once, choosing among them. */
#include "core/registry.h"
#include "core/examine.h"
#include "core/nearest.h"
#include "core/places.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- files ----------------------------------------------------------------------------------- */

typedef struct plugin_file {
    vw_kind kind;
    char *name, *path;
    size_t order;         /* of being found: folder by folder */
    const char *hidden_by; /* path of an earlier one of the list, or NULL */
} plugin_file;

typedef struct file_list {
    plugin_file *list;
    size_t n, room;
    bool has_no_memory;
} file_list;

static void files_free(file_list *files)
{
    for (size_t i = 0; i < files->n; i++) {
        free(files->list[i].name);
        free(files->list[i].path);
    }
    free(files->list);
}

static void files_add(file_list *files, vw_kind kind, const char *name, size_t name_bytes,
                      const char *folder, const char *entry)
{
    char path[VW_PLACE_BYTES + 300];
    plugin_file *f;

    if (files->n == files->room) {
        size_t room = files->room ? 2 * files->room : 32;
        f = realloc(files->list, room * sizeof *f);
        if (!f) {
            files->has_no_memory = true;
            return;
        }
        files->list = f;
        files->room = room;
    }
    snprintf(path, sizeof path, "%s/%s", folder, entry);
    f = &files->list[files->n];
    *f = (plugin_file){kind, strndup(name, name_bytes), strdup(path), files->n, NULL};
    files->n++;
    if (!f->name || !f->path)
        files->has_no_memory = true;
}

/* <kind>_<name>.so, of the kind wanted (VW_KIND_NONE: any). */
static void consider(file_list *files, vw_kind wanted, const char *folder, const char *entry)
{
    size_t n = strlen(entry);
    const char *line = strchr(entry, '_');
    char word[32];
    vw_kind kind;

    if (!line || n < 4 || strcmp(entry + n - 3, ".so") != 0 ||
        (size_t)(line - entry) >= sizeof word || line + 1 >= entry + n - 3)
        return;
    memcpy(word, entry, (size_t)(line - entry));
    word[line - entry] = '\0';
    kind = vw_kind_from_name(word);
    if (kind != VW_KIND_NONE && (wanted == VW_KIND_NONE || wanted == kind))
        files_add(files, kind, line + 1, n - 3 - (size_t)(line + 1 - entry), folder, entry);
}

static int compare_files(const void *left, const void *right)
{
    const plugin_file *a = left, *b = right;
    int by_name;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    by_name = strcmp(a->name, b->name);
    return by_name ? by_name : a->order < b->order ? -1 : 1;
}

static vw_status files_find(vw_kind wanted, file_list *files, vw_error *err)
{
    char folder[VW_PLACE_BYTES];

    memset(files, 0, sizeof *files);
    for (size_t i = 0; vw_place_plugins(i, folder, sizeof folder); i++) {
        DIR *dir = opendir(folder);
        struct dirent *entry;
        while (dir && (entry = readdir(dir)) != NULL)
            consider(files, wanted, folder, entry->d_name);
        if (dir)
            closedir(dir);
    }
    if (files->has_no_memory) {
        files_free(files);
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    }
    if (files->n > 0)
        qsort(files->list, files->n, sizeof *files->list, compare_files);
    for (size_t i = 1; i < files->n; i++) {
        plugin_file *before = &files->list[i - 1], *f = &files->list[i];
        if (f->kind == before->kind && strcmp(f->name, before->name) == 0)
            f->hidden_by = before->hidden_by ? before->hidden_by : before->path;
    }
    return VW_OK;
}

/* ---- loaded plugins -------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static vw_module *modules;

/* The lock is held. */
static vw_module *find_locked(const char *path)
{
    vw_module *m = modules;

    while (m && strcmp(m->path, path) != 0)
        m = m->next;
    return m;
}

static const vw_module *find_loaded(const char *path)
{
    const vw_module *m;

    pthread_mutex_lock(&lock);
    m = find_locked(path);
    pthread_mutex_unlock(&lock);
    return m;
}

/* Load a file unless it is.  The lock is not held meanwhile, as a constructor may take its time; of
 * two threads that load the same file, the second uses what the first has put in. */
static vw_status load(vw_kind kind, const char *name, const char *path, const vw_module **module,
                      vw_error *err)
{
    vw_module *mine = NULL, *first;
    vw_status status;

    *module = find_loaded(path);
    if (*module)
        return VW_OK;
    status = vw_loader_open(kind, name, path, NULL, &mine, err);
    if (status != VW_OK)
        return status;
    pthread_mutex_lock(&lock);
    first = find_locked(path);
    if (!first) {
        mine->next = modules;
        modules = mine;
    }
    pthread_mutex_unlock(&lock);
    if (first)
        vw_loader_close(mine);
    *module = first ? first : mine;
    return VW_OK;
}

/* ---- by name --------------------------------------------------------------------------------- */

/* The first file of that name.  Nothing is listed for it: the name says which file it is. */
static bool find_file(vw_kind kind, const char *name, char *path, size_t room)
{
    char folder[VW_PLACE_BYTES];

    for (size_t i = 0; vw_place_plugins(i, folder, sizeof folder); i++) {
        int n = snprintf(path, room, "%s/%s_%s.so", folder, vw_kind_name(kind), name);
        if (n > 0 && (size_t)n < room && access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static vw_status not_found(vw_kind kind, const char *name, vw_error *err)
{
    vw_nearest nearest = vw_nearest_to(name);
    char folders[512], names[400] = "none", meant[80] = "";
    file_list files;
    size_t used = 0;
    vw_status status = files_find(kind, &files, err);

    if (status != VW_OK)
        return status;
    for (size_t i = 0; i < files.n && used < sizeof names; i++) {
        if (files.list[i].hidden_by)
            continue;
        vw_nearest_offer(&nearest, files.list[i].name);
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                 files.list[i].name);
    }
    if (nearest.best)
        snprintf(meant, sizeof meant, "; did you mean \"%s\"?", nearest.best);
    vw_place_plugins_text(folders, sizeof folders);
    status =
        vw_fail(err, VW_E_NOTFOUND, "no %s plugin of this name%s (installed: %s; searched: %s)",
                vw_kind_name(kind), meant, names, folders);
    files_free(&files);
    return status;
}

vw_status vw_registry_open(vw_kind kind, const char *name, const vw_module **module, vw_error *err)
{
    char path[VW_PLACE_BYTES + 300];
    vw_examination found;
    vw_status status;

    if (!vw_loader_is_name(name) || !find_file(kind, name, path, sizeof path))
        return not_found(kind, name, err);
    *module = find_loaded(path);
    if (*module)
        return VW_OK;
    status = vw_examine(kind, name, path, NULL, &found, err);
    if (status != VW_OK)
        return status;
    if (!found.is_good)
        return vw_fail(err, VW_E_ABI, "%s", found.problem);
    return load(kind, name, path, module, err);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* A file's verdict: from the plugin itself if it is loaded, else from a child process. */
static vw_status examine(const plugin_file *f, const vw_probe *about, vw_examination *found,
                         vw_error *err)
{
    const vw_module *m = find_loaded(f->path);

    memset(found, 0, sizeof *found);
    if (!vw_loader_is_name(f->name)) {
        snprintf(found->problem, sizeof found->problem, "%s has a name that is not lower case "
                 "letters, digits and '_'", f->path);
        return VW_OK;
    }
    if (!m)
        return vw_examine(f->kind, f->name, f->path, about, found, err);
    found->is_good = 1;
    found->rank = m->plugin->rank;
    found->runs_here = vw_loader_runs_on(m, about ? about->device : NULL);
    found->score = vw_loader_probe(m, about, found->why, sizeof found->why);
    return VW_OK;
}

static vw_status visit_file(const plugin_file *f, const vw_probe *about,
                            int (*visit)(void *arg, const vw_plugin_entry *entry), void *arg,
                            int *is_over, vw_error *err)
{
    vw_plugin_entry entry = {f->kind, f->name, f->path, NULL, NULL, f->hidden_by, 0, ""};
    char problem[VW_PLACE_BYTES + 400];
    const vw_module *module;
    vw_examination found;
    vw_error why;
    vw_status status;

    if (f->hidden_by) {
        snprintf(problem, sizeof problem, "%s is hidden by %s", f->path, f->hidden_by);
        entry.problem = problem;
        *is_over = visit(arg, &entry);
        return VW_OK;
    }
    status = examine(f, about, &found, err);
    if (status != VW_OK)
        return status;
    if (!found.is_good) {
        entry.problem = found.problem;
    } else if (load(f->kind, f->name, f->path, &module, &why) != VW_OK) {
        entry.problem = why.text;
    } else {
        entry.plugin = module->plugin;
        entry.score = found.score;
        entry.why = found.why;
    }
    *is_over = visit(arg, &entry);
    return VW_OK;
}

vw_status vw_plugins_visit(vw_kind kind, const vw_probe *about,
                           int (*visit)(void *arg, const vw_plugin_entry *entry), void *arg,
                           vw_error *err)
{
    file_list files;
    vw_status status = files_find(kind, &files, err);
    int is_over = 0;

    if (status != VW_OK)
        return status;
    for (size_t i = 0; i < files.n && status == VW_OK && !is_over; i++)
        status = visit_file(&files.list[i], about, visit, arg, &is_over, err);
    files_free(&files);
    return status;
}

/* ---- auto ------------------------------------------------------------------------------------ */

/* One candidate: why it cannot be chosen, or NULL. */
static const char *refusal(const vw_examination *found, const vw_probe *about, char *text,
                           size_t room)
{
    if (!found->is_good)
        return found->problem;
    if (found->rank <= VW_RANK_NEVER)
        return "only by name";
    if (!found->runs_here) {
        snprintf(text, room, "does not run on %s", about->device);
        return text;
    }
    return found->score > 0 ? NULL : found->why;
}

/* "name: why" after what the others say; those that say the same say it together. */
static void add_reason(char *reasons, size_t room, const char *name, const char *why)
{
    size_t used = strlen(reasons), n_name = strlen(name), n;
    char same[600];

    n = (size_t)snprintf(same, sizeof same, ": %s", why);
    for (char *at = strstr(reasons, same); at; at = strstr(at + 1, same))
        if (n < sizeof same && (at[n] == '\0' || at[n] == ';') && used + n_name + 2 < room) {
            memmove(at + n_name + 2, at, strlen(at) + 1);
            memcpy(at, ", ", 2);
            memcpy(at + 2, name, n_name);
            return;
        }
    if (snprintf(reasons + used, room - used, "%s%s: %s", used ? "; " : "", name, why) < 0)
        reasons[used] = '\0';
}

static bool is_better(const vw_examination *a, const vw_examination *b)
{
    return a->rank != b->rank ? a->rank > b->rank : a->score > b->score;
}

static vw_status choose(const file_list *files, vw_kind kind, const vw_probe *about,
                        const plugin_file **chosen, vw_examination *best, vw_error *err)
{
    char reasons[1000] = "", text[128], folders[256];

    *chosen = NULL;
    memset(best, 0, sizeof *best);
    for (size_t i = 0; i < files->n; i++) {
        const plugin_file *f = &files->list[i];
        vw_examination found;
        const char *no;
        vw_status status;
        if (f->hidden_by)
            continue;
        status = examine(f, about, &found, err);
        if (status != VW_OK)
            return status;
        no = refusal(&found, about, text, sizeof text);
        if (no)
            add_reason(reasons, sizeof reasons, f->name, no);
        if (!no && (!*chosen || is_better(&found, best))) {
            *chosen = f;
            *best = found;
        }
    }
    if (*chosen)
        return VW_OK;
    vw_text_trim(reasons);
    vw_place_plugins_text(folders, sizeof folders);
    if (*reasons == '\0')
        return vw_fail(err, VW_E_NOTFOUND, "no %s plugin is installed (searched: %s)",
                       vw_kind_name(kind), folders);
    return vw_fail(err, VW_E_NOTFOUND, "no %s plugin can be used here: %s", vw_kind_name(kind),
                   reasons);
}

vw_status vw_registry_choose(vw_kind kind, const vw_probe *about, const vw_module **module,
                             char *why, size_t room, vw_error *err)
{
    const plugin_file *chosen;
    vw_examination best;
    file_list files;
    vw_status status = files_find(kind, &files, err);

    if (status != VW_OK)
        return status;
    status = choose(&files, kind, about, &chosen, &best, err);
    if (status == VW_OK)
        status = load(kind, chosen->name, chosen->path, module, err);
    if (status == VW_OK)
        snprintf(why, room, "%s", best.why);
    files_free(&files);
    return status;
}
