/* mock_host.h - a stand-in for the core, so that a plugin is tested alone.
 *
 * Plugins do not link the library: all they need comes in a vw_host table.  Here is a small one that
 * counts memory, runs parallel parts one after another (backwards if asked, so that code which
 * depends on their order shows), logs to standard error, and hands out what the test puts in.  With
 * it come the steps that the real loader takes: find the plugins of a kind in $VW_PLUGIN_PATH, check
 * the descriptor, fill the options, open.
 *
 *     static void test_one(const vw_plugin *plugin, void *arg)
 *     {
 *         mock_host mock;
 *         mock_instance it;
 *         mock_host_init(&mock);
 *         if (!mock_open(&mock, plugin, NULL, &it))
 *             return;
 *         const vw_balance_ops *ops = it.component.ops;
 *         ...
 *         mock_close(&mock, &it);
 *     }
 *     int main(void)
 *     {
 *         ok(mock_plugins(VW_KIND_BALANCE, test_one, NULL) > 0, "there are plugins");
 *         return done_testing();
 *     }
 */
#ifndef VW_MOCK_HOST_H
#define VW_MOCK_HOST_H

#include <vishwamai/host.h>

#include <stdatomic.h>
#include <stdbool.h>

/* Where the test looks and what it sets; mock_host_init() fills in the defaults. */
typedef struct mock_host {
    vw_host host;            /* give &mock.host to a plugin */
    atomic_llong n_allocs;   /* calls of alloc so far */
    atomic_llong n_live;     /* blocks not freed yet */
    atomic_llong fail_after; /* allocs that still succeed; negative (the default): all of them */
    atomic_llong n_parallel; /* calls of parallel_for so far */
    atomic_llong n_logged;   /* lines of warning or error so far */
    int n_threads;           /* what n_threads() says; 1 */
    bool is_backwards;       /* run parts from the last to the first */
    bool is_quiet;           /* log nothing; counting goes on */
    const vw_component *component[VW_KIND_COUNT]; /* what component() finds; NULL: an error */
    /* Hooks, NULL by default: service() then finds nothing and count() forgets. */
    const void *(*service)(void *arg, const char *name, uint32_t major);
    void (*count)(void *arg, const char *counter, uint64_t amount);
    void *arg; /* of the hooks */
} mock_host;

void mock_host_init(mock_host *mock);

enum { MOCK_MAX_LISTS = 16 };

/* An opened plugin. */
typedef struct mock_instance {
    vw_component component;      /* plugin, ops, self */
    void *config;                /* the plugin's options, filled */
    void *owned[MOCK_MAX_LISTS]; /* what the lists in it point to */
    int n_owned;
} mock_instance;

/* Open a plugin with its default options, except `settings`: "key=value" strings that outlive the
 * instance, ended by NULL; NULL for none.  The plugin's probe is asked first: a 0 is one skipped
 * assertion with its reason (a failure under VW_REQUIRE=kind/name), an error of open a failed one;
 * both return false. */
bool mock_open(mock_host *mock, const vw_plugin *plugin, const char *const *settings,
               mock_instance *out);

/* The same without assertions or probe, for tests of open's own errors.  A setting that the plugin
 * does not know, or a text that is no value of its type, ends the program: the test is wrong. */
vw_status mock_try_open(mock_host *mock, const vw_plugin *plugin, const char *const *settings,
                        mock_instance *out, vw_error *err);

/* Close, free the options, and assert that no memory of the host is left. */
void mock_close(mock_host *mock, mock_instance *instance);

/* Load the plugin of that name from $VW_PLUGIN_PATH; NULL if there is none. */
const vw_plugin *mock_plugin(vw_kind kind, const char *name);

/* Call `each` for every installed plugin of a kind, sorted by name, and return how many there were.
 * A descriptor that is not in order is a failed assertion and is left out.  Without VW_PLUGIN_PATH
 * the test bails out.  Libraries stay loaded until the program ends. */
int mock_plugins(vw_kind kind, void (*each)(const vw_plugin *plugin, void *arg), void *arg);

/* "gemm", "attention" ... */
const char *mock_kind_name(vw_kind kind);

#endif
