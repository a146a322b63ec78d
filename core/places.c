/* places.c - search paths, and the folder that this library was loaded from. */
#include "core/places.h"

#include <vishwamai/vishwamai.h>

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VW_PLUGINSDIR
#define VW_PLUGINSDIR "/usr/local/lib/vishwamai"
#endif
#ifndef VW_DATADIR
#define VW_DATADIR "/usr/local/share/vishwamai"
#endif

/* "<folder of this library>/<below>" */
static bool beside_library(const char *below, char *path, size_t room)
{
    char resolved[PATH_MAX];
    char *slash;
    Dl_info info;
    int n;

    if (!dladdr((const void *)VW_PLUGINSDIR, &info) || !info.dli_fname ||
        !realpath(info.dli_fname, resolved))
        return false;
    slash = strrchr(resolved, '/');
    if (!slash)
        return false;
    *slash = '\0';
    n = snprintf(path, room, "%s/%s", resolved, below);
    return n > 0 && (size_t)n < room;
}

/* Entry i of a colon separated list, empty entries not counted.  False after the last. */
static bool list_entry(const char *list, size_t i, char *entry, size_t room)
{
    for (const char *at = list ? list : ""; *at;) {
        size_t n = strcspn(at, ":");
        if (n > 0 && i-- == 0) {
            if (n >= room)
                return false;
            memcpy(entry, at, n);
            entry[n] = '\0';
            return true;
        }
        at += n + (at[n] == ':');
    }
    return false;
}

static size_t list_length(const char *list)
{
    char entry[VW_PLACE_BYTES];
    size_t n = 0;

    while (list_entry(list, n, entry, sizeof entry))
        n++;
    return n;
}

/* Folder i of a search: the list, then beside the library, then the one of configure. */
static bool search_folder(const char *list, const char *beside, const char *configured, size_t i,
                          char *path, size_t room)
{
    size_t n = list_length(list);

    if (i < n)
        return list_entry(list, i, path, room);
    if (i == n && beside_library(beside, path, room))
        return true;
    if (i <= n + 1) {
        snprintf(path, room, "%s", configured);
        return true;
    }
    return false;
}

static void make_absolute(char *path, size_t room)
{
    char resolved[PATH_MAX], here[PATH_MAX];
    char relative[VW_PLACE_BYTES];

    if (realpath(path, resolved) && strlen(resolved) < room) {
        memcpy(path, resolved, strlen(resolved) + 1);
    } else if (*path != '/' && getcwd(here, sizeof here)) {
        snprintf(relative, sizeof relative, "%s", path);
        snprintf(path, room, "%s/%s", here, relative);
    }
}

/* Where plugins lie below the library's folder: libtool builds both into one folder, .libs. */
static const char *below_library(void)
{
    char folder[VW_PLACE_BYTES];
    size_t n = beside_library("", folder, sizeof folder) ? strlen(folder) : 0;

    return n > 7 && strcmp(folder + n - 7, "/.libs/") == 0 ? "." : "vishwamai";
}

/* VW_PLUGIN_PATH_ONLY=1: what is installed on this machine is none of this process's business. */
static bool is_path_only(void)
{
    const char *only = getenv("VW_PLUGIN_PATH_ONLY");

    return only && strcmp(only, "1") == 0;
}

static bool plugin_folder(size_t i, char *path, size_t room)
{
    if (is_path_only() && i >= list_length(getenv("VW_PLUGIN_PATH")))
        return false;
    if (!search_folder(getenv("VW_PLUGIN_PATH"), below_library(), VW_PLUGINSDIR, i, path, room))
        return false;
    make_absolute(path, room);
    return true;
}

bool vw_place_plugins(size_t i, char *path, size_t room)
{
    char earlier[VW_PLACE_BYTES];

    /* The same folder twice would list every plugin as hidden by itself. */
    for (size_t at = 0; plugin_folder(at, path, room); at++) {
        bool is_new = true;
        for (size_t j = 0; is_new && j < at && plugin_folder(j, earlier, sizeof earlier); j++)
            is_new = strcmp(earlier, path) != 0;
        if (is_new && i-- == 0)
            return true;
    }
    return false;
}

void vw_place_plugins_text(char *text, size_t room)
{
    char path[VW_PLACE_BYTES];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; used < room && vw_place_plugins(i, path, sizeof path); i++)
        used += (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", path);
}

static bool data_folder(const char *list, size_t i, char *path, size_t room)
{
    return search_folder(list, "../share/vishwamai", VW_DATADIR, i, path, room);
}

bool vw_place_data(const char *name, char *path, size_t room)
{
    char folder[VW_PLACE_BYTES];
    const char *list = getenv("VW_DATA_PATH");

    for (size_t i = 0; data_folder(list, i, folder, sizeof folder); i++) {
        int n = snprintf(path, room, "%s/%s", folder, name);
        if (n > 0 && (size_t)n < room && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

vw_status vw_data_path(const char *name, char *path, size_t room, vw_error *err)
{
    char folder[VW_PLACE_BYTES], folders[1024] = "";
    const char *list = getenv("VW_DATA_PATH");
    size_t used = 0;

    if (vw_place_data(name, path, room))
        return VW_OK;
    for (size_t i = 0; used < sizeof folders &&
                       data_folder(list, i, folder, sizeof folder); i++)
        used += (size_t)snprintf(folders + used, sizeof folders - used, "%s%s", i ? ", " : "",
                                 folder);
    return vw_fail(err, VW_E_NOTFOUND, "%s is not installed (searched: %s)", name, folders);
}
