/* settings_read.c - INI files into the store, with what they include.
 *
 * An include stands in the first lines of a file, so whatever it sets is read before, and therefore
 * yields to, what the file itself sets.  A file that is wrong anywhere leaves the settings as they
 * were; all that is wrong with it and its includes is reported at once, misspelt keys among them.
 */
#include "core/ini_reader.h"
#include "core/places.h"
#include "core/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 16, MAX_FILES = 256 };

/* A file that is being read; `from` included it. */
typedef struct source {
    struct source *from;
    vw_settings *settings;
    vw_problems *problems;
    const char *path, *folder;
    struct stat stat;
    int depth;
    int number;       /* its place in the order of files */
    size_t first;     /* settings before its own, its includes' included */
    bool has_begun;   /* something other than an include was seen */
    bool has_no_memory;
} source;

static void read_file(vw_settings *settings, vw_problems *problems, source *from,
                      const char *include, int line, const char *path);

static vw_origin origin_of(source *s, int line)
{
    char where[VW_PLACE_BYTES + 16];
    vw_origin origin = {NULL, s->folder, s->number, line};

    snprintf(where, sizeof where, "%s:%d", s->path, line);
    origin.where = vw_texts_keep(s->settings->texts, where);
    if (!origin.where)
        s->has_no_memory = true;
    return origin;
}

/* Only plain files are included: a file from outside may not make us wait at a terminal or a
 * pipe. */
static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Where the file of an include line is: beside the file that says so, or in the data folder. */
static bool find_include(const source *s, const char *name, char *path, size_t room)
{
    const char *slash = strrchr(s->path, '/');
    int n = slash ? (int)(slash - s->path) + 1 : 0;
    int bytes = *name == '/' ? snprintf(path, room, "%s", name)
                             : snprintf(path, room, "%.*s%s", n, s->path, name);

    if (bytes < 0 || (size_t)bytes >= room)
        return false;
    return is_file(path) || (*name != '/' && vw_place_data(name, path, room) && is_file(path));
}

static void include(source *s, int line, const char *name)
{
    char path[VW_PLACE_BYTES];

    if (s->has_begun)
        vw_problems_add(s->problems, s->number, line, "%s:%d: include = %s: an include after "
                        "something else; includes are the first lines of a file", s->path, line,
                        name);
    else if (*name == '\0')
        vw_problems_add(s->problems, s->number, line, "%s:%d: include = : the value is missing; "
                        "the path of a file", s->path, line);
    else if (!find_include(s, name, path, sizeof path))
        vw_problems_add(s->problems, s->number, line, "%s:%d: include = %s: no such file; a path "
                        "relative to this file, or a preset of the data folder", s->path, line,
                        name);
    else
        read_file(s->settings, s->problems, s, name, line, path);
}

static void on_section(void *arg, int line, const char *section)
{
    source *s = arg;
    vw_section_line entry = {vw_texts_keep(s->settings->texts, section), origin_of(s, line)};

    s->has_begun = true;
    if (!entry.section || !entry.origin.where || !vw_settings_add_section(s->settings, &entry))
        s->has_no_memory = true;
}

/* The same key of the same section, earlier in this very file. */
static const vw_setting *find_twin(const source *s, const vw_setting *setting)
{
    for (size_t i = s->first; i < s->settings->n; i++) {
        const vw_setting *other = &s->settings->list[i];
        if (other->origin.file == s->number && strcmp(other->key, setting->key) == 0 &&
            strcmp(other->section, setting->section) == 0)
            return other;
    }
    return NULL;
}

static void on_setting(void *arg, int line, const char *section, const char *key, const char *value)
{
    source *s = arg;
    vw_texts *texts = s->settings->texts;
    vw_setting setting = {NULL, NULL, NULL, {NULL, NULL, 0, 0}};
    const vw_setting *twin;

    if (*section == '\0' && strcmp(key, "include") == 0) {
        include(s, line, value);
        return;
    }
    s->has_begun = true;
    setting.origin = origin_of(s, line);
    setting.section = vw_texts_keep(texts, section);
    setting.key = vw_texts_keep(texts, key);
    setting.value = vw_texts_keep(texts, value);
    if (!setting.origin.where || !setting.section || !setting.key || !setting.value) {
        s->has_no_memory = true;
        return;
    }
    twin = find_twin(s, &setting);
    if (*section == '\0')
        vw_problems_add(s->problems, s->number, line, "%s:%d: %s = %s: a setting outside of any "
                        "section; only includes stand before the first [section]", s->path, line,
                        key, value);
    else if (twin)
        vw_settings_complain(s->problems, &setting, "set already in line %d; keep one of the two",
                             twin->origin.line);
    else if (!vw_settings_add(s->settings, &setting))
        s->has_no_memory = true;
}

static void on_wrong(void *arg, int line, const char *shown, const char *what)
{
    source *s = arg;

    s->has_begun = true;
    if (*shown)
        vw_problems_add(s->problems, s->number, line, "%s:%d: \"%s\": %s", s->path, line, shown,
                        what);
    else
        vw_problems_add(s->problems, s->number, line, "%s:%d: %s", s->path, line, what);
}

/* A problem with a whole file: at the line that includes it, else by its own name. */
VW_PRINTF(5, 6)
static void complain(vw_problems *problems, const source *from, const char *include_text, int line,
                     const char *format, ...)
{
    char what[512];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (from)
        vw_problems_add(problems, from->number, line, "%s:%d: include = %s: %s", from->path, line,
                        include_text, what);
    else
        vw_problems_add(problems, 0, 0, "%s: %s", include_text, what);
}

/* The folder of a file, absolute, so that a later change of directory moves nothing. */
static const char *folder_of(vw_texts *texts, const char *path)
{
    char resolved[PATH_MAX], folder[VW_PLACE_BYTES];
    const char *slash = strrchr(path, '/');

    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return vw_texts_keep(texts, realpath(folder, resolved) ? resolved : folder);
}

static bool is_loop(const source *s)
{
    for (const source *up = s->from; up; up = up->from)
        if (up->stat.st_dev == s->stat.st_dev && up->stat.st_ino == s->stat.st_ino)
            return true;
    return false;
}

static void read_file(vw_settings *settings, vw_problems *problems, source *from,
                      const char *include_text, int line, const char *path)
{
    const vw_ini_events events = {NULL, on_section, on_setting, on_wrong};
    vw_ini_events mine = events;
    source s = {from,        settings,      problems, path, folder_of(settings->texts, path), {0},
                from ? from->depth + 1 : 1, settings->n_files, settings->n, false, false};
    FILE *file = fopen(path, "re");
    vw_error err;

    if (!file) {
        complain(problems, from, include_text, line, "cannot be opened: %s", strerror(errno));
        return;
    }
    if (fstat(fileno(file), &s.stat) != 0 || S_ISDIR(s.stat.st_mode))
        complain(problems, from, include_text, line, "a folder; the path of a file");
    else if (is_loop(&s))
        complain(problems, from, include_text, line,
                 "includes itself; take one of the includes out");
    else if (s.depth > MAX_DEPTH)
        complain(problems, from, include_text, line, "includes nested deeper than %d", MAX_DEPTH);
    else if (settings->n_files >= MAX_FILES)
        complain(problems, from, include_text, line, "more than %d files", MAX_FILES);
    else {
        settings->n_files++;
        mine.arg = &s;
        if (vw_ini_read(file, &mine, &err) != VW_OK)
            complain(problems, from, include_text, line, "%s", err.text);
        if (s.has_no_memory || !s.folder)
            complain(problems, from, include_text, line, "out of memory");
    }
    fclose(file);
}

vw_status vw_settings_read(vw_settings *settings, const char *path, vw_error *err)
{
    vw_problems problems = {NULL, 0, 0, 0};
    size_t n = settings->n, n_sections = settings->n_sections;
    char found[VW_PLACE_BYTES];
    vw_status status;

    if (access(path, F_OK) != 0 && *path != '/' && vw_place_data(path, found, sizeof found) &&
        is_file(found))
        path = found;
    read_file(settings, &problems, NULL, path, 0, path);
    if (problems.n > 0 && settings->n_files > 0)
        vw_settings_find_problems(settings, &problems);
    status = vw_settings_end(settings, &problems, err);
    if (status != VW_OK) {
        settings->n = n;
        settings->n_sections = n_sections;
    }
    return status;
}
