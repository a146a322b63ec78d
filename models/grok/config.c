/* config.c - what a configuration says about a Grok-1 model.
 *
 * xAI published constants in a program (run.py), others wrote config.json files for their
 * conversions, each with names of its own.  A quantity is looked for under all of them; what none
 * says has the value of run.py.  "hidden_act" is not read: some of those files say silu or gelu,
 * and the model has one activation, GELU in its tanh form.
 */
#include "grok.h"

#include <math.h>

typedef struct source {
    const vw_json *json;
    const vw_json_doc *doc;
    const vw_json_value *root;
} source;

static int is_set(const source *s, const char *key)
{
    const vw_json_value *v = s->json->get(s->root, key);
    return v && s->json->type(v) != VW_JSON_NULL;
}

enum { MOST_KEYS = 3 };

/* The first of the keys that is there, else the first. */
static const char *key_of(const source *s, const char *const keys[MOST_KEYS])
{
    for (int i = 0; i < MOST_KEYS && keys[i]; i++)
        if (is_set(s, keys[i]))
            return keys[i];
    return keys[0];
}

/* Grok-2 has the same class names and more to compute. */
static vw_status refuse_unknown(const source *s, vw_error *err)
{
    static const char *const later[] = {"final_logit_softcapping", "router_logit_softcapping",
                                        "sliding_window", "rope_scaling", "rope_type",
                                        "moe_intermediate_size", NULL};
    int is_residual;
    for (const char *const *key = later; *key; key++)
        if (is_set(s, *key))
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "config.json: \"%s\" is set; Grok-1 has none and this plugin would "
                           "compute something else", *key);
    vw_status st = s->json->get_bool(s->doc, s->root, "residual_moe", 0, &is_residual, err);
    if (!st && is_residual)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: residual_moe is true: a dense MLP "
                       "beside the experts, which Grok-2 has; this plugin runs Grok-1");
    return st;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* run.py gives a factor of which two thirds count, up to a multiple of 8. */
static vw_status read_widening(grok *g, const source *s, vw_error *err)
{
    double factor;
    vw_status st = s->json->get_real(s->doc, s->root, "widening_factor", 0, &factor, err);
    if (st)
        return st;
    if (!(factor * g->width >= 2) || factor * g->width > 1 << 24)
        return vw_fail(err, VW_E_FORMAT, "config.json: neither \"intermediate_size\" nor a "
                       "\"widening_factor\" says how wide an expert is");
    g->ffn = ((int32_t)(factor * g->width) * 2 / 3 + 7) / 8 * 8;
    return VW_OK;
}

static vw_status read_sizes(grok *g, const source *s, vw_error *err)
{
    const struct {
        const char *keys[MOST_KEYS];
        int32_t *to;
        int64_t max, def; /* -1: must be there */
    } sizes[] = {
        {{"num_hidden_layers", "num_layers"}, &g->n_layers, GROK_MAX_LAYERS, -1},
        {{"hidden_size", "emb_size"}, &g->width, 1 << 20, -1},
        {{"vocab_size"}, &g->vocab_size, 1 << 24, -1},
        {{"num_attention_heads", "num_q_heads"}, &g->heads, 4096, -1},
        {{"num_key_value_heads", "num_kv_heads"}, &g->kv_heads, 4096, -1},
        {{"head_dim", "key_size"}, &g->head_dim, 4096, 0},
        {{"intermediate_size"}, &g->ffn, 1 << 22, 0},
        {{"num_local_experts", "num_experts"}, &g->n_experts, GROK_MAX_EXPERTS, 8},
        {{"num_experts_per_tok", "num_selected_experts"}, &g->top_k, 64, 2},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *key = key_of(s, sizes[i].keys);
        int64_t value;
        vw_status st = s->json->get_int(s->doc, s->root, key, 1, sizes[i].max, sizes[i].def,
                                        &value, err);
        if (st)
            return st;
        if (value < 0)
            return vw_fail(err, VW_E_FORMAT, "config.json: \"%s\" is missing", key);
        *sizes[i].to = (int32_t)value;
    }
    return g->ffn ? VW_OK : read_widening(g, s, err);
}

static vw_status check_sizes(grok *g, vw_error *err)
{
    if (g->heads % g->kv_heads)
        return vw_fail(err, VW_E_FORMAT, "config.json: %d query heads are no multiple of %d KV "
                       "heads", g->heads, g->kv_heads);
    if (!g->head_dim && g->width % g->heads)
        return vw_fail(err, VW_E_FORMAT, "config.json: a width of %d is no multiple of %d heads, "
                       "and neither \"head_dim\" nor \"key_size\" says how large a head is",
                       g->width, g->heads);
    if (!g->head_dim)
        g->head_dim = g->width / g->heads;
    if (g->head_dim % 2)
        return vw_fail(err, VW_E_FORMAT, "config.json: heads of %d values; rotation needs pairs",
                       g->head_dim);
    if (g->top_k > g->n_experts)
        return vw_fail(err, VW_E_FORMAT, "config.json: a token takes %d experts of %d", g->top_k,
                       g->n_experts);
    return VW_OK;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static vw_status read_numbers(grok *g, const source *s, vw_error *err)
{
    const struct {
        const char *keys[MOST_KEYS];
        double *to, def;
    } numbers[] = {
        {{"rms_norm_eps"}, &g->eps, 1e-5},
        {{"rope_theta"}, &g->rope_theta, 1e4},
        {{"embedding_multiplier_scale"}, &g->embedding_multiplier, sqrt(g->width)},
        {{"output_multiplier_scale"}, &g->output_multiplier, 0.57735026918962576},
        {{"attn_output_multiplier"}, &g->attention_multiplier, 1 / sqrt(g->head_dim)},
        {{"max_attn_value", "attn_logit_softcapping", "max_attn_val"}, &g->attention_cap, 30},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const char *key = key_of(s, numbers[i].keys);
        vw_status st = s->json->get_real(s->doc, s->root, key, numbers[i].def, numbers[i].to, err);
        if (st)
            return st;
        if (!(*numbers[i].to > 0) || !isfinite(*numbers[i].to))
            return vw_fail(err, VW_E_FORMAT, "config.json: %s is %g; it must be above 0", key,
                           *numbers[i].to);
    }
    if (g->eps > 1)
        return vw_fail(err, VW_E_FORMAT, "config.json: rms_norm_eps is %g; expected a small "
                       "positive number such as 1e-5", g->eps);
    return VW_OK;
}

static vw_status read_tokens(grok *g, const source *s, vw_error *err)
{
    const struct {
        const char *keys[MOST_KEYS];
        int32_t *to;
        int64_t def;
    } tokens[] = {
        {{"pad_token_id", "pad_token"}, &g->info.pad, 0},
        {{"bos_token_id"}, &g->info.bos, 1},
        {{"eos_token_id", "eos_token"}, &g->info.eos, 2},
    };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        int64_t id;
        vw_status st = s->json->get_int(s->doc, s->root, key_of(s, tokens[i].keys), -1,
                                        g->vocab_size - 1, tokens[i].def, &id, err);
        if (st)
            return st;
        *tokens[i].to = id < g->vocab_size ? (int32_t)id : -1;
    }
    return VW_OK;
}

vw_status grok_configure(grok *g, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    static const char *const lengths[MOST_KEYS] = {"max_position_embeddings", "sequence_len"};
    const source s = {json, config, json->root(config)};
    vw_status st;
    if ((st = refuse_unknown(&s, err)) || (st = read_sizes(g, &s, err)) ||
        (st = check_sizes(g, err)) || (st = read_numbers(g, &s, err)) ||
        (st = read_tokens(g, &s, err)))
        return st;
    return json->get_int(config, s.root, key_of(&s, lengths), 1, 1 << 24, 8192, &g->max_positions,
                         err);
}
