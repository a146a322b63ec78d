/* with_engine.h - a test opens a model with a few settings, and closes it again.
 */
#ifndef VW_T_WITH_ENGINE_H
#define VW_T_WITH_ENGINE_H

#include <stdbool.h>
#include <vishwamai/vishwamai.h>

typedef struct with_engine {
    vw_settings *settings;
    vw_core *core;
    vw_engine *engine;
    vw_engine_info info;
    vw_error err; /* why, when opening failed */
} with_engine;

/* `path` NULL: the bundled model.  `assignments` ("gemm.plugin=ref ...") separated by blanks. */
bool engine_open(with_engine *w, const char *path, const char *assignments);
void engine_close(with_engine *w);

/* A file below $top_srcdir. */
const char *source_file(const char *name);

/* Is there a plugin of this name whose probe says yes? */
bool has_plugin(vw_kind kind, const char *name);

/* Logits of every position, [n][vocab], freed by the caller; NULL with a failed assertion.
 * chunk: tokens fed at once; 0: all. */
float *all_logits(with_engine *w, const int32_t *tokens, size_t n, size_t chunk);

#endif
