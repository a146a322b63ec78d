/* host.h - what the core lends to a plugin.
 *
 * Plugins do not link the library.  Everything they need from it is in this table, so a plugin is
 * unit-tested against a mock of it.  The table and everything it returns outlive the instance it
 * was given to.  All members may be called from any thread unless their comment says otherwise; all
 * are there in every core, since ABI 1.0.
 */
#ifndef VISHWAMAI_HOST_H
#define VISHWAMAI_HOST_H

#include <vishwamai/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vw_log_level { VW_LOG_ERROR, VW_LOG_WARN, VW_LOG_INFO, VW_LOG_DEBUG } vw_log_level;

/* Part `part` of `n_parts`.  Called once for each part, by any thread of the pool. */
typedef void (*vw_part_fn)(void *arg, int part, int n_parts);

/* An opened component: its table and its instance. */
typedef struct vw_component {
    const vw_plugin *plugin;
    const void *ops;
    void *self;
} vw_component;

struct vw_host {
    size_t size;
    void *core; /* the core's own; pass it as the first argument below */

    /* Log one line under the component's name.  Never ends in a newline.  The text is copied. */
    void (*log)(void *core, vw_log_level level, const char *format, ...) VW_PRINTF(3, 4);

    /* Memory aligned to 64 bytes, counted, not zeroed; NULL when there is none.  The instance frees
     * it before its close returns.  free accepts NULL. */
    void *(*alloc)(void *core, size_t bytes);
    void (*free)(void *core, void *memory);

    /* Run fn for parts 0 .. n_parts - 1 and return when all are done.
     *
     * Costs about a microsecond.  Parts are handed to threads in a fixed way (part p always goes to
     * thread p mod threads), so that data stays in one core's cache from call to call.  n_parts may
     * exceed the threads.  A call from within a part runs its parts one after another in the
     * calling thread.  Allocates nothing. */
    void (*parallel_for)(void *core, int n_parts, vw_part_fn fn, void *arg);

    /* Threads that parallel_for of this component uses: the pool, capped by its `threads`
     * option. */
    int (*n_threads)(void *core);

    /* Another component that this one `needs`: the one that the settings wire to it.  NULL with an
     * error when there is none.  It lives until the close of this instance returns.  Only from
     * open(). */
    const vw_component *(*component)(void *core, vw_kind kind, vw_error *err);

    /* A versioned service table by name ("nn", "generate", "json"), or NULL if this core has none
     * of that name and `major`.  Begins with its size. */
    const void *(*service)(void *core, const char *name, uint32_t major);

    /* Add to a counter of the core by its name, of which the first 47 bytes count.  A core keeps
     * 128 names and drops more; only its own tests read them so far. */
    void (*count)(void *core, const char *counter, uint64_t amount);
};

#ifdef __cplusplus
}
#endif
#endif
