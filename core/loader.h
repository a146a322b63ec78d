/* loader.h - from a file to a plugin that can be trusted with the rest of the process.
 *
 * The name of the file says kind, name and symbol, so nothing is searched for inside it.
 * Everything that a description promises is checked before any of it is used.
 */
#ifndef VW_CORE_LOADER_H
#define VW_CORE_LOADER_H

#include <vishwamai/vishwamai.h>

/* A loaded plugin.  It stays loaded until the process ends: what it handed out may be anywhere. */
typedef struct vw_module {
    struct vw_module *next;
    vw_kind kind;
    char *name, *path;
    void *handle;
    const vw_plugin *plugin; /* &description */
    vw_plugin description;   /* a copy, with zeros where an older plugin has nothing to say */
    void *ops;               /* a whole table, its holes filled with stubs */
} vw_module;

/* What is being done, for whoever must say where it crashed. */
typedef enum vw_loader_stage {
    VW_STAGE_LOAD = 0, /* dlopen: constructors run */
    VW_STAGE_DESCRIBE, /* calling vw_plugin_<kind>_<name>() and reading what it returns */
    VW_STAGE_PROBE
} vw_loader_stage;

/* Load a file.  `stage`, if not NULL, is kept up to date.  VW_E_ABI, VW_E_FORMAT or VW_E_NOMEM with
 * a sentence that begins with the path; *module is untouched then. */
vw_status vw_loader_open(vw_kind kind, const char *name, const char *path,
                         volatile vw_loader_stage *stage, vw_module **module, vw_error *err);

/* Held while a file is loaded or unloaded, and by who forks in order to load one: a child that was
 * forked meanwhile would find the dynamic linker's lists half made. */
void vw_loader_lock(void);
void vw_loader_unlock(void);

/* Unload a file that nobody has got anything of. */
void vw_loader_close(vw_module *module);

/* Ask a plugin whether it can be used; its score, 0 with a reason in `why`.  `about` may be
 * NULL. */
int32_t vw_loader_probe(const vw_module *module, const vw_probe *about, char *why, size_t room);

/* Does it run on the device of that name?  NULL for any. */
int vw_loader_runs_on(const vw_module *module, const char *device);

/* A name as plugins have: lower case letters, digits and '_'. */
int vw_loader_is_name(const char *name);

#endif
