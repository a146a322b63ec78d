/* verifier_in_dependency.c - the symbol of its name is in a library that it is linked with. */
#include "bad.h"

extern const vw_plugin *vw_plugin_verifier_in_dependency(void);
extern const vw_plugin *(*const vw_keeps_the_library)(void);
const vw_plugin *(*const vw_keeps_the_library)(void) = vw_plugin_verifier_in_dependency;
