/* inspect_memory.c - what a model would take, without loading it. */
#include "inspect.h"

#include <stdio.h>

typedef struct part {
    const char *key, *words;
    uint64_t bytes;
} part;

enum { N_PARTS = 8 };

static void list_parts(const vw_memory_plan *p, part parts[N_PARTS])
{
    const part all[N_PARTS] = {
        {"in_place", "weights that run where the file is mapped", p->in_place},
        {"packed", "weights that are copied", p->packed},
        {"streamed", "experts that stay in the file ([model] expert_memory)", p->streamed},
        {"expert_cache", "memory for those in use", p->expert_cache},
        {"kv_pool", "cache of keys and values at most ([kv] pool_bytes)", p->kv_pool},
        {"kv_context", "of it, one sequence of full length ([engine] ctx_size)", p->kv_context},
        {"scratch", "activations of a batch ([engine] batch_tokens)", p->scratch},
        {"total", "all but what stays in the file", p->total},
    };
    for (int i = 0; i < N_PARTS; i++)
        parts[i] = all[i];
}

static void print(const vw_engine_info *info, const part *parts, const vw_expert_stats *experts)
{
    printf("\nmemory of %s: %s, context %lld\n", info->path, info->description,
           (long long)info->context);
    for (int i = 0; i < N_PARTS; i++)
        if (parts[i].bytes)
            printf("  %12.1f MiB  %s\n", (double)parts[i].bytes / (1 << 20), parts[i].words);
    if (experts->n_slots)
        printf("%d of %d experts fit, %.1f MiB each; an expert is %.2f reads\n", experts->n_slots,
               experts->n_experts, (double)experts->slot_bytes / (1 << 20),
               (double)experts->n_ranges / experts->n_experts);
}

static void add(vw_json_writer *w, const part *parts, const vw_expert_stats *experts)
{
    vw_json_begin_object(w, "memory");
    for (int i = 0; i < N_PARTS; i++)
        vw_json_add_uint(w, parts[i].key, parts[i].bytes);
    if (experts->n_slots) {
        vw_json_add_int(w, "experts", experts->n_experts);
        vw_json_add_int(w, "experts_in_memory", experts->n_slots);
        vw_json_add_uint(w, "expert_bytes", experts->slot_bytes);
        vw_json_add_uint(w, "expert_reads", experts->n_ranges);
    }
    vw_json_end_object(w);
}

vw_status inspect_memory(choices *c, opened *o, vw_json_writer *w, vw_error *err)
{
    vw_memory_plan plan = {.size = sizeof plan};
    vw_expert_stats experts = {.size = sizeof experts};
    part parts[N_PARTS];
    c->needs_no_tokenizer = c->needs_no_weights = 1;
    vw_status status = open_model(c, o, err);
    if (status != VW_OK)
        return status;
    vw_engine_get_plan(o->engine, &plan);
    vw_engine_expert_stats(o->engine, &experts);
    list_parts(&plan, parts);
    if (c->is_json)
        add(w, parts, &experts);
    else
        print(&o->info, parts, &experts);
    return VW_OK;
}
