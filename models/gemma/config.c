/* config.c - what a published config.json says about a Gemma model.
 *
 * Every number is checked for sense before anything is sized by it.  Old files say "hidden_act":
 * "gelu" and mean the tanh form; the family has no other, so only a contradiction is an error.
 */
#include "gemma.h"

#include <math.h>

static vw_status check_family(const vw_json *json, const vw_json_doc *doc,
                              const vw_json_value *root, vw_error *err)
{
    const char *type;
    vw_status st = json->get_string(doc, root, "model_type", "", &type, err);
    if (st)
        return st;
    if (strcmp(type, "gemma") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "config.json: model_type is \"%s\"; this plugin runs \"gemma\" (Gemma 1)", type);
    return VW_OK;
}

static vw_status check_activation(const vw_json *json, const vw_json_doc *doc,
                                  const vw_json_value *root, vw_error *err)
{
    const char *const tanh_form = "gelu_pytorch_tanh", *key = "hidden_activation", *act;
    vw_status st = json->get_string(doc, root, key, "", &act, err);
    if (!st && !*act) {
        key = "hidden_act";
        st = json->get_string(doc, root, key, tanh_form, &act, err);
    }
    if (st)
        return st;
    if (strcmp(act, tanh_form) != 0 && strcmp(act, "gelu") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: %s is \"%s\"; Gemma uses \"%s\"", key,
                       act, tanh_form);
    return VW_OK;
}

/* What later versions of the family and rope scaling would need; refused, not ignored. */
static vw_status refuse_unknown(const vw_json *json, const vw_json_value *root, vw_error *err)
{
    static const char *const keys[] = {"rope_scaling", "sliding_window", "attn_logit_softcapping",
                                       "final_logit_softcapping"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const vw_json_value *v = json->get(root, keys[i]);
        if (v && json->type(v) != VW_JSON_NULL)
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "config.json: \"%s\" is set; Gemma 1 has none and this plugin would "
                           "compute something else", keys[i]);
    }
    return VW_OK;
}

/* Theta moved into rope_parameters in newer files. */
static vw_status read_theta(gemma *g, const vw_json *json, const vw_json_doc *doc,
                            const vw_json_value *root, vw_error *err)
{
    const vw_json_value *nested = json->get(root, "rope_parameters");
    const char *type = "default";
    vw_status st = json->get_real(doc, root, "rope_theta", 10000.0, &g->rope_theta, err);
    if (!st && nested && json->type(nested) == VW_JSON_OBJECT) {
        st = json->get_real(doc, nested, "rope_theta", g->rope_theta, &g->rope_theta, err);
        if (!st)
            st = json->get_string(doc, nested, "rope_type", "default", &type, err);
    }
    if (st)
        return st;
    if (strcmp(type, "default") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: rope_type is \"%s\"; Gemma 1 uses "
                       "\"default\"", type);
    if (!(g->rope_theta > 1.0) || !isfinite(g->rope_theta))
        return vw_fail(err, VW_E_FORMAT, "config.json: rope_theta is %g; it must be above 1",
                       g->rope_theta);
    return VW_OK;
}

static vw_status read_sizes(gemma *g, const vw_json *json, const vw_json_doc *doc,
                            const vw_json_value *root, vw_error *err)
{
    const struct {
        const char *key;
        int32_t *to;
        int64_t max, def;
    } sizes[] = {
        {"num_hidden_layers", &g->n_layers, 1000, -1},
        {"hidden_size", &g->width, 1 << 20, -1},
        {"intermediate_size", &g->ffn, 1 << 22, -1},
        {"vocab_size", &g->vocab_size, 1 << 24, -1},
        {"num_attention_heads", &g->heads, 4096, -1},
        {"num_key_value_heads", &g->kv_heads, 4096, 16},
        {"head_dim", &g->head_dim, 4096, 256},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value;
        vw_status st = json->get_int(doc, root, sizes[i].key, 1, sizes[i].max, sizes[i].def, &value,
                                     err);
        if (st)
            return st;
        if (value < 0)
            return vw_fail(err, VW_E_FORMAT, "config.json: \"%s\" is missing", sizes[i].key);
        *sizes[i].to = (int32_t)value;
    }
    if (g->heads % g->kv_heads)
        return vw_fail(err, VW_E_FORMAT, "config.json: num_attention_heads %d is no multiple of "
                       "num_key_value_heads %d", g->heads, g->kv_heads);
    if (g->head_dim % 2)
        return vw_fail(err, VW_E_FORMAT, "config.json: head_dim %d is odd; rotation needs pairs",
                       g->head_dim);
    return VW_OK;
}

static vw_status read_token(const vw_json *json, const vw_json_doc *doc, const vw_json_value *root,
                            const char *key, int32_t vocab_size, int32_t *id, vw_error *err)
{
    const vw_json_value *v = json->get(root, key);
    int64_t value = -1;
    vw_status st = VW_OK;
    if (v && json->type(v) == VW_JSON_ARRAY) /* several: the first is the main one */
        value = json->count(v) ? json->integer(json->at(v, 0)) : -1;
    else
        st = json->get_int(doc, root, key, -1, vocab_size - 1, -1, &value, err);
    if (!st)
        *id = (int32_t)value;
    return st;
}

vw_status gemma_configure(gemma *g, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    const vw_json_value *root = json->root(config);
    vw_status st;
    int tied;
    if ((st = check_family(json, config, root, err)) ||
        (st = check_activation(json, config, root, err)) ||
        (st = refuse_unknown(json, root, err)) || (st = read_sizes(g, json, config, root, err)) ||
        (st = read_theta(g, json, config, root, err)) ||
        (st = json->get_real(config, root, "rms_norm_eps", 1e-6, &g->eps, err)) ||
        (st = json->get_int(config, root, "max_position_embeddings", 1, 1 << 24, 8192,
                            &g->max_positions, err)) ||
        (st = json->get_bool(config, root, "tie_word_embeddings", 1, &tied, err)) ||
        (st = read_token(json, config, root, "bos_token_id", g->vocab_size, &g->info.bos, err)) ||
        (st = read_token(json, config, root, "eos_token_id", g->vocab_size, &g->info.eos, err)) ||
        (st = read_token(json, config, root, "pad_token_id", g->vocab_size, &g->info.pad, err)))
        return st;
    if (!tied)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: tie_word_embeddings is false; Gemma's "
                       "head is its embedding");
    if (!(g->eps > 0) || g->eps > 1)
        return vw_fail(err, VW_E_FORMAT, "config.json: rms_norm_eps is %g; expected a small "
                       "positive number such as 1e-6", g->eps);
    return VW_OK;
}
