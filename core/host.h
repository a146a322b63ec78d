/* host.h - the core's inside, and the table that it lends to each instance.
 *
 * Every instance has a host table of its own, so that its log lines carry its name, its allocations
 * are its own and its loops obey its `threads`.
 */
#ifndef VW_CORE_HOST_H
#define VW_CORE_HOST_H

#include "core/core.h"
#include "core/loader.h"
#include "core/memory.h"
#include "core/pool.h"

#include <pthread.h>
#include <stdbool.h>

enum { VW_MAX_SERVICES = 16, VW_MAX_COUNTERS = 128, VW_COUNTER_BYTES = 48 };

typedef struct vw_service {
    const char *name;
    uint32_t major;
    const void *table;
} vw_service;

typedef struct vw_counter {
    char name[VW_COUNTER_BYTES];
    _Atomic uint64_t value;
} vw_counter;

typedef struct vw_instance {
    vw_component component; /* first: a component is found back by its address */
    struct vw_instance *next;
    vw_core *core;
    const vw_module *module;
    char *label;            /* "" for the first */
    char name[112];         /* "gemm/cpu", or "gemm/cpu (label)" */
    bool is_shared;
    int threads;            /* cap on the pool; 0: none */
    void *config;
    vw_memory memory;
    vw_host host;
} vw_instance;

struct vw_core {
    const vw_settings *settings;
    vw_log_level log_level;
    vw_memory memory;
    vw_pool *pool;
    vw_instance *instances; /* the newest first */
    struct vw_choice *choices;
    vw_service services[VW_MAX_SERVICES];
    int n_services;
    pthread_mutex_t counters_lock; /* for adding one */
    vw_counter counters[VW_MAX_COUNTERS];
    _Atomic int n_counters;
    _Atomic uint64_t kv_bytes; /* pages in use, of all engines; see kv.c */
};

/* Fill an instance's host table. */
void vw_host_init(vw_instance *instance);

#endif
