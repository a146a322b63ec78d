/* registry.h - which plugins there are, and the ones that are loaded.
 *
 * Files are found by name in the folders of places.h; of two files of the same name the first is
 * used and the other is hidden.  A file is loaded once in a process, for all cores, and never
 * unloaded.  Any thread.
 */
#ifndef VW_CORE_REGISTRY_H
#define VW_CORE_REGISTRY_H

#include "core/loader.h"

/* A plugin by name, tried in a child process before it is loaded here.  VW_E_NOTFOUND says what
 * there is and where was searched; VW_E_ABI what is wrong with the file. */
vw_status vw_registry_open(vw_kind kind, const char *name, const vw_module **module,
                           vw_error *err);

/* What `auto` means: the highest rank whose probe says yes; then the higher score; then the first
 * name.  `why` gets what the probe said.  VW_E_NOTFOUND lists every candidate with its reason. */
vw_status vw_registry_choose(vw_kind kind, const vw_probe *about, const vw_module **module,
                             char *why, size_t room, vw_error *err);

#endif
