/* plugin.h - what a plugin tells the core about itself.
 *
 * A plugin is one shared object that implements one component: a gemm, a model, a way of reasoning.
 * Its file is <kind>_<name>.so and it exports a single function, vw_plugin_<kind>_<name>(), which
 * returns the constant description below.  The core reads abi_major, abi_minor and size before it
 * looks at anything else; those three never move.  Fields are added at the end only, so an old
 * plugin runs under a new core and sees zeros where it has nothing to say.
 */
#ifndef VISHWAMAI_PLUGIN_H
#define VISHWAMAI_PLUGIN_H

#include <vishwamai/option.h>
#include <vishwamai/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_ABI_MAJOR 1
#define VW_ABI_MINOR 0

typedef struct vw_host vw_host; /* host.h */

typedef enum vw_kind {
    VW_KIND_NONE = 0,
    VW_KIND_DEVICE,
    VW_KIND_GEMM,
    VW_KIND_ATTENTION,
    VW_KIND_COMM,
    VW_KIND_BALANCE,
    VW_KIND_PIPELINE,
    VW_KIND_TOKENIZER,
    VW_KIND_WEIGHTS,
    VW_KIND_OPTIMIZER,
    VW_KIND_MODEL,
    VW_KIND_REASONING,
    VW_KIND_VERIFIER,
    VW_KIND_COUNT
} vw_kind;

/* Ranks: which plugin `auto` prefers. */
enum {
    VW_RANK_NEVER = 0,      /* only when asked for by name */
    VW_RANK_FALLBACK = 64,
    VW_RANK_NORMAL = 128,
    VW_RANK_PREFERRED = 256
};

enum {
    VW_CAP_THREAD_SAFE = 1, /* one `self` may be used by several threads at a time */
    VW_CAP_PROVISIONAL = 2  /* not for production: a reference or a demonstration */
};

/* What a probe is asked about. */
typedef struct vw_probe {
    size_t size;
    const char *folder; /* the model folder for model, weights and tokenizer; else NULL */
    const char *device; /* name of the device in use ("cpu", "cuda"), or NULL when none is chosen */
} vw_probe;

typedef struct vw_plugin {
    uint32_t abi_major; /* VW_ABI_MAJOR at build time: must be equal */
    uint32_t abi_minor; /* VW_ABI_MINOR at build time: may be older or newer */
    size_t size;        /* sizeof(vw_plugin) at build time */

    vw_kind kind;
    uint32_t ops_major; /* of the kind's table, VW_<KIND>_OPS_MAJOR; 0 is provisional */
    uint32_t ops_minor;

    /* All mandatory and not empty.  name: lower case, digits, '_'; as in the file name. */
    const char *name, *summary, *version, *license, *author, *url;

    int32_t rank;
    uint32_t caps;
    const char *const *needs;   /* kinds it asks the host for, NULL-terminated; may be NULL */
    const char *const *devices; /* names of devices it runs on, NULL-terminated; NULL: any */

    size_t config_size;         /* of the struct that `options` fills; 0 without options */
    const vw_option *options;   /* ends with VW_OPTION_END; NULL without options */

    /* May this component be used here?  Returns a score (higher is better; at most 1000), or 0 with
     * a sentence in `why`; with a score, `why` may say what was found ("AVX2, FMA").  Required.
     * Cheap, no side effects, called before open and by `inspect`, possibly in a child process. */
    int32_t (*probe)(const vw_probe *about, char *why, size_t why_bytes);

    /* Make an instance.  `config` points to config_size bytes filled from the settings; it and all
     * strings in it live until close returns.  `host` lives longer than every instance.  *self may
     * be NULL for a component without state.  Required. */
    vw_status (*open)(const vw_host *host, const void *config, void **self, vw_error *err);

    /* Release everything.  Nothing else of the instance is used afterwards.  Required. */
    void (*close)(void *self);

    const void *ops; /* the kind's table, vw_<kind>_ops, which begins with its size.  Required. */
} vw_plugin;

/* The exported symbol: the only thing a plugin defines outside static. */
#if defined(__GNUC__)
#define VW_EXPORT __attribute__((visibility("default")))
#else
#define VW_EXPORT
#endif
#ifdef __cplusplus
#define VW_PLUGIN_LINKAGE extern "C"
#else
#define VW_PLUGIN_LINKAGE extern
#endif

/* VW_PLUGIN_DEFINE(gemm, mine) { return &description; } */
#define VW_PLUGIN_DEFINE(kind, name)                                                   \
    VW_PLUGIN_LINKAGE VW_EXPORT const vw_plugin *vw_plugin_##kind##_##name(void);      \
    const vw_plugin *vw_plugin_##kind##_##name(void)

#define VW_PLUGIN_HEADER VW_ABI_MAJOR, VW_ABI_MINOR, sizeof(vw_plugin)

#ifdef __cplusplus
}
#endif
#endif
