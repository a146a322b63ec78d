/* config.c - what a published config.json says about a DeepSeek model.
 *
 * Every number is checked for sense before anything is sized by it.  V2 and V3 choose experts
 * differently; newer files do not say how, so the model's type gives the defaults.  What the family's
 * files never have and would have to be computed otherwise is refused by name.
 */
#include "deepseek.h"

#include <math.h>

enum { MAX_BLOCK = 1 << 20 };

static vw_status missing(const char *key, vw_error *err)
{
    return vw_fail(err, VW_E_FORMAT, "config.json: \"%s\" is missing", key);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static vw_status expect(const vw_json *json, const vw_json_doc *doc, const vw_json_value *in,
                        const char *key, const char *one, const char *other, const char **found,
                        vw_error *err)
{
    vw_status st = json->get_string(doc, in, key, one, found, err);
    if (st || !strcmp(*found, one) || (other && !strcmp(*found, other)))
        return st;
    return vw_fail(err, VW_E_UNSUPPORTED, "config.json: %s is \"%s\"; this plugin knows \"%s\"%s%s%s",
                   key, *found, one, other ? " and \"" : "", other ? other : "", other ? "\"" : "");
}

/* The weights are read as the file has them, so only what would mean other numbers counts. */
static vw_status check_quantisation(const vw_json *json, const vw_json_doc *doc, vw_error *err)
{
    const vw_json_value *v = json->get(json->root(doc), "quantization_config");
    const vw_json_value *block = json->get(v, "weight_block_size");
    const char *text;
    vw_status st;
    if (json->type(v) != VW_JSON_OBJECT)
        return VW_OK;
    if ((st = json->get_string(doc, v, "quant_method", "fp8", &text, err)) ||
        !strcmp(text, "compressed-tensors")) /* as `convert` writes it too */
        return st;
    if (strcmp(text, "fp8") != 0 && strcmp(text, "blockwise_int8") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: quant_method is \"%s\"; this plugin knows "
                       "\"fp8\", \"blockwise_int8\" and \"compressed-tensors\"", text);
    if ((st = expect(json, doc, v, "fmt", "e4m3", NULL, &text, err)) ||
        (st = expect(json, doc, v, "scale_fmt", "float", "ue8m0", &text, err)))
        return st;
    for (size_t i = 0; block && i < 2; i++) {
        int64_t size = json->count(block) == 2 ? json->integer(json->at(block, i)) : 0;
        if (size < 1 || size > MAX_BLOCK)
            return vw_fail(err, VW_E_FORMAT, "config.json: weight_block_size must be two numbers from 1 "
                           "to %d, such as [128, 128]", MAX_BLOCK);
    }
    return VW_OK;
}

static vw_status refuse_unknown(const vw_json *json, const vw_json_doc *doc, vw_error *err)
{
    const vw_json_value *root = json->root(doc);
    const char *text;
    int has_bias;
    int64_t every;
    vw_status st;
    if ((st = expect(json, doc, root, "hidden_act", "silu", NULL, &text, err)) ||
        (st = json->get_bool(doc, root, "attention_bias", 0, &has_bias, err)) ||
        (st = json->get_int(doc, root, "moe_layer_freq", 1, 1 << 20, 1, &every, err)) ||
        (st = check_quantisation(json, doc, err)))
        return st;
    if (has_bias)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: attention_bias is true; DeepSeek's "
                       "projections have none");
    if (every != 1)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: moe_layer_freq is %lld; here every layer "
                       "behind the dense ones is a mixture", (long long)every);
    return VW_OK;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

typedef struct size_key {
    const char *key;
    int32_t *to;
    int64_t min, max, def; /* def -1: must be there */
} size_key;

static vw_status read_sizes(const size_key *keys, size_t n, const vw_json *json,
                            const vw_json_doc *doc, vw_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t value;
        vw_status st = json->get_int(doc, json->root(doc), keys[i].key, keys[i].min, keys[i].max,
                                     keys[i].def, &value, err);
        if (st)
            return st;
        if (value < 0)
            return missing(keys[i].key, err);
        *keys[i].to = (int32_t)value;
    }
    return VW_OK;
}

static vw_status read_shape(deepseek *m, const vw_json *json, const vw_json_doc *doc, vw_error *err)
{
    int32_t kv_heads = 0;
    const size_key keys[] = {
        {"num_hidden_layers", &m->n_layers, 1, DEEPSEEK_MAX_LAYERS, -1},
        {"hidden_size", &m->width, 1, 1 << 20, -1},
        {"vocab_size", &m->vocab_size, 1, 1 << 24, -1},
        {"intermediate_size", &m->ffn, 1, 1 << 22, -1},
        {"num_attention_heads", &m->heads, 1, 4096, -1},
        {"num_key_value_heads", &kv_heads, 0, 4096, 0},
        {"q_lora_rank", &m->q_rank, 1, 1 << 20, 0},
        {"kv_lora_rank", &m->kv_rank, 1, 1 << 15, -1},
        {"qk_nope_head_dim", &m->nope, 1, 1 << 14, -1},
        {"qk_rope_head_dim", &m->rope, 2, 1 << 14, -1},
        {"v_head_dim", &m->dv, 1, 1 << 14, -1},
        {"num_nextn_predict_layers", &m->n_further, 0, DEEPSEEK_MAX_FURTHER, 0},
    };
    vw_status st = read_sizes(keys, sizeof keys / sizeof *keys, json, doc, err);
    if (st)
        return st;
    if (m->rope % 2)
        return vw_fail(err, VW_E_FORMAT, "config.json: qk_rope_head_dim %d is odd; rotation needs "
                       "pairs", m->rope);
    if (kv_heads && kv_heads != m->heads)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: num_key_value_heads is %d and "
                       "num_attention_heads %d; latent attention has a key for every head", kv_heads,
                       m->heads);
    return VW_OK;
}

/* ---- experts --------------------------------------------------------------------------------- */

vw_status deepseek_check(const deepseek *m, vw_error *err)
{
    const deepseek_words *w = m->words;
    if (!(m->eps > 0) || m->eps > 1)
        return vw_fail(err, VW_E_FORMAT, "%s is %g; expected a small positive number such as 1e-6",
                       w->eps, m->eps);
    if (!m->n_experts)
        return VW_OK;
    if (m->top_k > m->n_experts)
        return vw_fail(err, VW_E_FORMAT, "%s is %d, but %s is %d", w->used, m->top_k, w->experts,
                       m->n_experts);
    if (m->n_experts % m->n_groups || m->top_groups > m->n_groups)
        return vw_fail(err, VW_E_FORMAT, "%d of %d groups (%s, %s) of %d experts: %s must divide the "
                       "experts, and %s be no more", m->top_groups, m->n_groups, w->groups_used,
                       w->groups, m->n_experts, w->groups, w->groups_used);
    int32_t size = m->n_experts / m->n_groups;
    if (m->top_groups * size < m->top_k || (m->n_groups > 1 && size < m->group_best))
        return vw_fail(err, VW_E_FORMAT, "%d groups of %d experts cannot give %d experts a "
                       "token", m->top_groups, size, m->top_k);
    if (!isfinite(m->route_scale))
        return vw_fail(err, VW_E_FORMAT, "%s is not finite", w->scale);
    return VW_OK;
}

/* V2 takes the softmax and the largest score of a group, V3 sigmoids with a bias and a group's two
 * largest; V2 does not scale weights that it has made to sum to one. */
static vw_status read_choice(deepseek *m, int is_v2, const vw_json *json, const vw_json_doc *doc,
                             vw_error *err)
{
    const vw_json_value *root = json->root(doc);
    const char *method, *scores;
    vw_status st;
    if ((st = json->get_string(doc, root, "topk_method", is_v2 ? "greedy" : "noaux_tc", &method,
                               err)) ||
        (st = expect(json, doc, root, "scoring_func", is_v2 ? "softmax" : "sigmoid", NULL, &scores,
                     err)) ||
        (st = json->get_bool(doc, root, "norm_topk_prob", !is_v2, &m->is_normalised, err)) ||
        (st = json->get_real(doc, root, "routed_scaling_factor", is_v2 ? 1.0 : 2.5, &m->route_scale,
                             err)))
        return st;
    m->is_sigmoid = m->has_bias = !is_v2;
    m->group_best = is_v2 ? 1 : 2;
    if (is_v2 && m->is_normalised)
        m->route_scale = 1;
    if (is_v2 && !strcmp(method, "greedy"))
        m->n_groups = m->top_groups = 1;
    else if (strcmp(method, is_v2 ? "group_limited_greedy" : "noaux_tc") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: topk_method is \"%s\"; %s", method,
                       is_v2 ? "DeepSeek-V2 uses \"greedy\" or \"group_limited_greedy\""
                             : "DeepSeek-V3 uses \"noaux_tc\"");
    return VW_OK;
}

static vw_status read_experts(deepseek *m, int is_v2, const vw_json *json, const vw_json_doc *doc,
                              vw_error *err)
{
    const int64_t v3 = is_v2 ? 0 : 1;
    const size_key keys[] = {
        {"n_routed_experts", &m->n_experts, 0, DEEPSEEK_MAX_EXPERTS, v3 ? 256 : 0},
        {"n_shared_experts", &m->n_shared, 0, 64, v3},
        {"num_experts_per_tok", &m->top_k, 1, DEEPSEEK_MAX_EXPERTS, v3 ? 8 : 1},
        {"moe_intermediate_size", &m->expert_ffn, 1, 1 << 22, v3 ? 2048 : 1407},
        {"first_k_dense_replace", &m->n_dense, 0, DEEPSEEK_MAX_LAYERS, v3 ? 3 : 0},
        {"n_group", &m->n_groups, 1, DEEPSEEK_MAX_EXPERTS, v3 ? 8 : 1},
        {"topk_group", &m->top_groups, 1, DEEPSEEK_MAX_EXPERTS, v3 ? 4 : 1},
    };
    vw_status st = read_sizes(keys, sizeof keys / sizeof *keys, json, doc, err);
    if (st)
        return st;
    if (!m->n_experts || m->n_dense > m->n_layers)
        m->n_dense = m->n_layers;
    if (!m->n_experts)
        return VW_OK;
    return read_choice(m, is_v2, json, doc, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* A token id, or the first of several. */
static vw_status read_token(const vw_json *json, const vw_json_doc *doc, const char *key,
                            int32_t vocab_size, int32_t *id, vw_error *err)
{
    const vw_json_value *v = json->get(json->root(doc), key);
    int64_t value = -1;
    vw_status st = VW_OK;
    if (v && json->type(v) == VW_JSON_ARRAY)
        value = json->count(v) ? json->integer(json->at(v, 0)) : -1;
    else
        st = json->get_int(doc, json->root(doc), key, -1, vocab_size - 1, -1, &value, err);
    if (!st && (value < -1 || value >= vocab_size))
        return vw_fail(err, VW_E_FORMAT, "config.json: %s begins with %lld, which is no token of %d",
                       key, (long long)value, vocab_size);
    if (!st)
        *id = (int32_t)value;
    return st;
}

static const deepseek_words words = {
    "n_routed_experts", "config.json: num_experts_per_tok", "n_group", "topk_group",
    "config.json: routed_scaling_factor", "config.json: rms_norm_eps", "config.json: rope_theta",
};

vw_status deepseek_configure(deepseek *m, const vw_json *json, const vw_json_doc *doc, vw_error *err)
{
    const vw_json_value *root = json->root(doc);
    const char *type;
    vw_status st = json->get_string(doc, root, "model_type", "", &type, err);
    if (st)
        return st;
    m->words = &words;
    int is_v2 = !strcmp(type, "deepseek_v2");
    if (!is_v2 && strcmp(type, "deepseek_v3") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: model_type is \"%s\"; this plugin runs "
                       "\"deepseek_v3\" and \"deepseek_v2\"", type);
    if ((st = refuse_unknown(json, doc, err)) || (st = read_shape(m, json, doc, err)) ||
        (st = read_experts(m, is_v2, json, doc, err)) ||
        (st = json->get_int(doc, root, "max_position_embeddings", 1, 1 << 24, is_v2 ? 2048 : 4096,
                            &m->max_positions, err)) ||
        (st = deepseek_read_positions(m, json, doc, err)) ||
        (st = json->get_real(doc, root, "rms_norm_eps", 1e-6, &m->eps, err)) ||
        (st = json->get_bool(doc, root, "tie_word_embeddings", 0, &m->is_tied, err)) ||
        (st = read_token(json, doc, "bos_token_id", m->vocab_size, &m->info.bos, err)) ||
        (st = read_token(json, doc, "eos_token_id", m->vocab_size, &m->info.eos, err)) ||
        (st = read_token(json, doc, "pad_token_id", m->vocab_size, &m->info.pad, err)))
        return st;
    if (m->options->mtp && !m->n_further)
        return vw_fail(err, VW_E_CONFIG, "[model.deepseek] mtp is on, but config.json says "
                       "num_nextn_predict_layers 0: this checkpoint has no layer that drafts");
    m->n_drafts = m->options->mtp ? 1 : 0;
    return VW_OK;
}
