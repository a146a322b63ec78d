/* inspect_memory.c - what memory a model takes, from its files' headers alone.
 *
 * The engine opens it for its plan: names, shapes and scales are checked as for a run, and every size
 * is the one that a run with the same settings would have.
 */
#include "inspect.h"

#include <inttypes.h>

static void print_bytes(const char *what, uint64_t bytes, const char *note)
{
    printf("%-24s %12.3f GB  %s\n", what, (double)bytes / 1e9, note);
}

static void print_plan(const vw_engine_info *i)
{
    char cache[160];
    snprintf(cache, sizeof cache, "%" PRIu64 " bytes a token; %" PRId64 " pages of %" PRId64 " tokens",
             i->kv_token_bytes, (int64_t)(i->kv_pool_bytes / (i->kv_token_bytes *
             (uint64_t)i->page_tokens)), i->page_tokens);
    printf("%s\n%s; device/%s, gemm/%s, attention/%s, weights/%s\n\n", i->path, i->description,
           i->device, i->gemm, i->attention, i->weights);
    print_bytes("weights, mapped", i->weight_bytes - i->copied_bytes,
                "run where the file lies: memory may hold any part of them");
    print_bytes("weights, copied", i->copied_bytes, "packed or converted into memory");
    print_bytes("  of both, experts", i->expert_bytes, "of which a router chooses a few a token");
    print_bytes("cache", i->kv_pool_bytes, cache);
    print_bytes("activations, workspace", i->scratch_bytes, "of one batch");
    print_bytes("memory that must be", i->copied_bytes + i->kv_pool_bytes + i->scratch_bytes,
                "without the mapped weights");
    print_bytes("with all weights", i->weight_bytes + i->kv_pool_bytes + i->scratch_bytes, "");
}

static vw_status print_json_plan(const vw_engine_info *i, vw_error *err)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"parameters", i->parameters},       {"weight_bytes", i->weight_bytes},
                   {"copied_bytes", i->copied_bytes},   {"expert_bytes", i->expert_bytes},
                   {"kv_token_bytes", i->kv_token_bytes}, {"kv_pool_bytes", i->kv_pool_bytes},
                   {"scratch_bytes", i->scratch_bytes}};
    vw_json_writer w = {0};
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "path", i->path);
    vw_json_add_string(&w, "description", i->description);
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
        vw_json_add_int(&w, numbers[n].key, (int64_t)numbers[n].value);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

vw_status inspect_memory(const choices *c, vw_error *err)
{
    const vw_engine_options options = {.size = sizeof options, .no_tokenizer = 1, .plan_only = 1};
    opened o = {NULL, NULL, NULL, {0}, 0};
    vw_status status = open_core(c, &o, err);
    if (status == VW_OK)
        status = vw_engine_open(o.core, &options, &o.engine, err);
    if (status == VW_OK) {
        vw_engine_get_info(o.engine, &o.info);
        if (c->is_json)
            status = print_json_plan(&o.info, err);
        else
            print_plan(&o.info);
    }
    close_opened(&o);
    return status;
}
