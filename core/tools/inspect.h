/* inspect.h - one component, told in full. */
#ifndef VW_TOOLS_INSPECT_H
#define VW_TOOLS_INSPECT_H

#include "answer.h"

/* "yes", "no", "hidden" (another file of its name comes first) or "broken". */
const char *inspect_verdict(const vw_plugin_entry *e);

/* Print the descriptor and the options for people; or add them as a JSON object. */
void inspect_print(const vw_plugin_entry *e);
void inspect_add_json(vw_json_writer *w, const vw_plugin_entry *e, int with_options);

/* What the model of the choices would take in memory; as JSON a member "memory". */
vw_status inspect_memory(choices *c, opened *o, vw_json_writer *w, vw_error *err);

/* "int", "size" ...; and the range or the choices as text ("1 to 64", "a, b"), "" without any. */
const char *option_type_name(vw_option_type type);
void option_limits(const vw_option *o, char *text, size_t room);

#endif
