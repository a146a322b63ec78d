/* new.c - `vishwamai new`: the folder of a new plugin, from the installed template.
 *
 * Every file of the template is copied, and in it @KIND@ and @NAME@ become what was asked for; of
 * the files KIND.c the one of the kind becomes NAME.c.  The folder appears only when it is whole.
 */
#include "answer.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAME = 32, MAX_PATH = 4096 };

typedef struct new_plugin {
    choices c;
    const char *folder; /* --dir */
    const char *kind, *name;
    char template[MAX_PATH];
    int n_files;
} new_plugin;

/* ---- names ----------------------------------------------------------------------------------- */

static vw_status check_names(const new_plugin *n, vw_error *err)
{
    if (vw_kind_from_name(n->kind) == VW_KIND_NONE)
        return vw_fail(err, VW_E_CONFIG, "there is no kind '%s' ('vishwamai inspect' shows them)",
                       n->kind);
    size_t length = strlen(n->name);
    if (length == 0 || length > MAX_NAME || !islower((unsigned char)n->name[0]) ||
        strspn(n->name, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
        return vw_fail(err, VW_E_CONFIG,
                       "'%s' cannot name a plugin: a letter, then letters, digits "
                       "or '_', all lower case, at most %d",
                       n->name, MAX_NAME);
    return VW_OK;
}

/* Print text with the placeholders replaced. */
static void fill_in(const new_plugin *n, const char *text, size_t bytes, FILE *to)
{
    const struct {
        const char *word, *value;
    } words[] = {{"@KIND@", n->kind}, {"@NAME@", n->name}};
    for (size_t i = 0; i < bytes;) {
        size_t length = 0;
        for (size_t k = 0; k < sizeof words / sizeof *words && !length; k++) {
            length = strlen(words[k].word);
            if (length <= bytes - i && memcmp(text + i, words[k].word, length) == 0)
                fputs(words[k].value, to);
            else
                length = 0;
        }
        if (!length)
            fputc(text[i++], to);
        i += length;
    }
}

/* ---- copying --------------------------------------------------------------------------------- */

static vw_status write_file(const new_plugin *n, const char *path, const char *text, size_t bytes,
                            int is_executable, vw_error *err)
{
    FILE *to = fopen(path, "wbx");
    if (!to)
        return vw_fail(err, VW_E_IO, "%s: cannot be made: %s", path, strerror(errno));
    fill_in(n, text, bytes, to);
    if (fclose(to) != 0 || (is_executable && chmod(path, 0755) != 0))
        return vw_fail(err, VW_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    return VW_OK;
}

/* KIND.c: the source of a plugin of that kind. */
static int is_of_kind(const char *name, const char *kind)
{
    size_t length = strlen(kind);
    return strncmp(name, kind, length) == 0 && strcmp(name + length, ".c") == 0;
}

/* Not what this project's own build keeps beside the template, nor another kind's source. */
static int is_of_template(const new_plugin *n, const char *name)
{
    int is_a_kinds = 0;
    for (int k = VW_KIND_NONE + 1; k < VW_KIND_COUNT; k++)
        is_a_kinds |= is_of_kind(name, vw_kind_name((vw_kind)k));
    return name[0] != '.' && strcmp(name, "local.mk") != 0 &&
           (!is_a_kinds || is_of_kind(name, n->kind));
}

static vw_status copy_file(new_plugin *n, const char *name, const char *folder, vw_error *err)
{
    char from[2 * MAX_PATH], to[2 * MAX_PATH];
    char *text;
    size_t bytes;
    struct stat about;
    snprintf(from, sizeof from, "%s/%s", n->template, name);
    if (stat(from, &about) != 0 || !S_ISREG(about.st_mode))
        return VW_OK;
    vw_status status = input_read_dup(from, &text, &bytes, err);
    if (status != VW_OK)
        return status;
    if (is_of_kind(name, n->kind))
        snprintf(to, sizeof to, "%s/%s.c", folder, n->name);
    else
        snprintf(to, sizeof to, "%s/%s", folder, name);
    status = write_file(n, to, text, bytes, (about.st_mode & S_IXUSR) != 0, err);
    free(text);
    n->n_files += status == VW_OK;
    return status;
}

static vw_status copy_all(new_plugin *n, const char *folder, vw_error *err)
{
    DIR *dir = opendir(n->template);
    if (!dir)
        return vw_fail(err, VW_E_IO, "%s: cannot be read: %s", n->template, strerror(errno));
    vw_status status = VW_OK;
    struct dirent *entry;
    while (status == VW_OK && (entry = readdir(dir)) != NULL)
        if (is_of_template(n, entry->d_name))
            status = copy_file(n, entry->d_name, folder, err);
    closedir(dir);
    if (status == VW_OK && n->n_files == 0)
        status = vw_fail(err, VW_E_NOTFOUND, "%s: the plugin template is empty", n->template);
    return status;
}

/* Remove the folder of a copy that failed: it holds plain files only. */
static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        char path[2 * MAX_PATH];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(folder);
}

static vw_status work(new_plugin *n, vw_error *err)
{
    char temporary[MAX_PATH];
    const char *folder = n->folder ? n->folder : n->name;
    vw_status status = check_names(n, err);
    if (status == VW_OK)
        status = vw_data_path("template", n->template, sizeof n->template, err);
    if (status != VW_OK)
        return status;
    if (access(folder, F_OK) == 0)
        return vw_fail(err, VW_E_INVALID, "%s: exists already", folder);
    snprintf(temporary, sizeof temporary, "%s.%ld", folder, (long)getpid());
    if (mkdir(temporary, 0777) != 0)
        return vw_fail(err, VW_E_IO, "%s: cannot be made: %s", folder, strerror(errno));
    status = copy_all(n, temporary, err);
    if (status == VW_OK && rename(temporary, folder) != 0)
        status = vw_fail(err, VW_E_IO, "%s: cannot be made: %s", folder, strerror(errno));
    if (status != VW_OK) {
        remove_folder(temporary);
        return status;
    }
    if (n->c.is_json) {
        vw_json_writer w = {0};
        vw_json_begin_object(&w, NULL);
        vw_json_add_string(&w, "folder", folder);
        vw_json_add_string(&w, "kind", n->kind);
        vw_json_add_string(&w, "name", n->name);
        vw_json_add_int(&w, "files", n->n_files);
        vw_json_end_object(&w);
        return print_json(&w, err);
    }
    printf("%s: the plugin %s/%s; now: cd %s && make && VW_PLUGIN_PATH=. vishwamai inspect %s/%s\n",
           folder, n->kind, n->name, folder, n->kind, n->name);
    return VW_OK;
}

static int new_main(int argc, char **argv)
{
    new_plugin n = {.c = {0}};
    word_list words = {NULL, 0};
    opened o = {NULL, NULL, NULL, {0}, 0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt options[] = {
        {0, "dir", OPT_TEXT, &n.folder, "DIR", "the folder to make (default: NAME)", NULL, 0, 0},
        CHOICE_OPTIONS(&n.c), END_OPTIONS};
    const opt_group groups[] = {{"options", options}, {NULL, NULL}};
    if (options_parse(&command_new, groups, argc, argv, &words, &status)) {
        if (words.n != 2) {
            status = wrong_use(&command_new, "KIND and NAME are needed");
        } else {
            n.kind = words.words[0];
            n.name = words.words[1];
            if (open_settings(&n.c, &o, &err) != VW_OK || work(&n, &err) != VW_OK)
                status = report(&err);
        }
    }
    close_opened(&o);
    word_list_free(&words);
    assignments_free(&n.c.set);
    return status;
}

const command command_new = {
    "new", "KIND NAME [--dir DIR]", "make the folder of a new plugin",
    "The folder builds with make and pkg-config alone, against the installed headers.\n",
    "  vishwamai new gemm mine && cd mine && make\n"
    "  VW_PLUGIN_PATH=. vishwamai run --set gemm.plugin=mine -p \"ROMEO:\"\n", new_main};
