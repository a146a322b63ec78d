/* config.c - what a published config.json says about a Gemma model.
 *
 * Every number is checked for sense before anything is sized by it.  The text part of a multimodal
 * Gemma 3 is an object of its own, which leaves out what equals the class default.  Old files say
 * "hidden_act": "gelu" and mean the tanh form; the family has no other, so only a contradiction is an
 * error.
 */
#include "gemma.h"

#include <math.h>

/* The text part of the file, and the version, by "model_type". */
static vw_status find_text(gemma *g, const vw_json *json, const vw_json_doc *doc,
                           const vw_json_value **text, vw_error *err)
{
    static const struct {
        const char *type;
        int version;
    } types[] = {{"gemma", 1}, {"gemma2", 2}, {"gemma3_text", 3}, {"gemma3", 3}};
    const char *type;
    *text = json->root(doc);
    vw_status st = json->get_string(doc, *text, "model_type", "", &type, err);
    if (st)
        return st;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].type))
            g->version = types[i].version;
    if (!g->version)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: model_type is \"%s\"; this plugin runs "
                       "\"gemma\", \"gemma2\", \"gemma3_text\" and the text of \"gemma3\"", type);
    if (strcmp(type, "gemma3") != 0)
        return VW_OK;
    *text = json->get(*text, "text_config");
    if (json->type(*text) != VW_JSON_OBJECT)
        return vw_fail(err, VW_E_FORMAT, "config.json: model_type is \"gemma3\", but \"text_config\" "
                       "is missing or no object");
    return VW_OK;
}

static vw_status check_activation(const vw_json *json, const vw_json_doc *doc,
                                  const vw_json_value *text, vw_error *err)
{
    const char *const tanh_form = "gelu_pytorch_tanh", *key = "hidden_activation", *act;
    vw_status st = json->get_string(doc, text, key, "", &act, err);
    if (!st && !*act) {
        key = "hidden_act";
        st = json->get_string(doc, text, key, tanh_form, &act, err);
    }
    if (st)
        return st;
    if (strcmp(act, tanh_form) != 0 && strcmp(act, "gelu") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: %s is \"%s\"; Gemma uses \"%s\"", key,
                       act, tanh_form);
    return VW_OK;
}

static int is_set(const vw_json *json, const vw_json_value *object, const char *key)
{
    const vw_json_value *v = json->get(object, key);
    return v && json->type(v) != VW_JSON_NULL;
}

/* What a version does not have and would have to compute otherwise; refused, not ignored. */
static vw_status refuse_unknown(const gemma *g, const vw_json *json, const vw_json_doc *doc,
                                const vw_json_value *text, vw_error *err)
{
    static const char *const later[] = {"rope_scaling", "sliding_window", "attn_logit_softcapping",
                                        "final_logit_softcapping", NULL};
    int is_bidirectional;
    for (const char *const *key = later; g->version == 1 && *key; key++)
        if (is_set(json, text, *key))
            return vw_fail(err, VW_E_UNSUPPORTED, "config.json: \"%s\" is set; Gemma 1 has none and "
                           "this plugin would compute something else", *key);
    vw_status st = json->get_bool(doc, text, "use_bidirectional_attention", 0, &is_bidirectional, err);
    if (!st && is_bidirectional)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: use_bidirectional_attention is true; this "
                       "plugin looks back only");
    return st;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static vw_status read_sizes(gemma *g, const vw_json *json, const vw_json_doc *doc,
                            const vw_json_value *text, vw_error *err)
{
    const struct {
        const char *key;
        int32_t *to;
        int64_t max, def, def3; /* -1: must be there; def3: the class default of Gemma 3 */
    } sizes[] = {
        {"num_hidden_layers", &g->n_layers, GEMMA_MAX_LAYERS, -1, 26},
        {"hidden_size", &g->width, 1 << 20, -1, 2304},
        {"intermediate_size", &g->ffn, 1 << 22, -1, 9216},
        {"vocab_size", &g->vocab_size, 1 << 24, -1, 262208},
        {"num_attention_heads", &g->heads, 4096, -1, 8},
        {"num_key_value_heads", &g->kv_heads, 4096, g->version == 1 ? 16 : 4, 4},
        {"head_dim", &g->head_dim, 4096, 256, 256},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value, def = g->version == 3 ? sizes[i].def3 : sizes[i].def;
        vw_status st = json->get_int(doc, text, sizes[i].key, 1, sizes[i].max, def, &value, err);
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

/* ---- attention ------------------------------------------------------------------------------- */

/* A soft-cap: null is none, a missing key the class default. */
static vw_status read_cap(const vw_json *json, const vw_json_doc *doc, const vw_json_value *text,
                          const char *key, double def, double *out, vw_error *err)
{
    vw_status st = VW_OK;
    *out = 0;
    if (json->type(json->get(text, key)) != VW_JSON_NULL)
        st = json->get_real(doc, text, key, def, out, err);
    if (!st && !(*out >= 0 && isfinite(*out)))
        return vw_fail(err, VW_E_FORMAT, "config.json: %s is %g; expected a positive number or null",
                       key, *out);
    return st;
}

/* Which layers see a window only: "layer_types" in newer files; else Gemma 2 alternates and Gemma 3
 * has one global layer at the end of each `sliding_window_pattern`. */
static vw_status read_scopes(gemma *g, const vw_json *json, const vw_json_doc *doc,
                             const vw_json_value *text, vw_error *err)
{
    const vw_json_value *types = json->get(text, "layer_types");
    int64_t pattern = 2, window;
    vw_status st = json->get_int(doc, text, "sliding_window", 1, INT32_MAX, 4096, &window, err);
    if (!st && g->version == 3)
        st = json->get_int(doc, text, is_set(json, text, "_sliding_window_pattern") ?
                           "_sliding_window_pattern" : "sliding_window_pattern", 1, 1 << 20, 6,
                           &pattern, err);
    if (st)
        return st;
    if (json->type(types) == VW_JSON_ARRAY && json->count(types) != (size_t)g->n_layers)
        return vw_fail(err, VW_E_FORMAT, "config.json: layer_types has %zu elements for %d layers",
                       json->count(types), g->n_layers);
    for (int32_t l = 0; l < g->n_layers; l++) {
        g->is_local[l] = (l + 1) % pattern != 0;
        if (json->type(types) != VW_JSON_ARRAY)
            continue;
        const char *type = json->string(json->at(types, (size_t)l), NULL);
        g->is_local[l] = !strcmp(type, "sliding_attention");
        if (!g->is_local[l] && strcmp(type, "full_attention") != 0)
            return vw_fail(err, VW_E_FORMAT, "config.json: layer_types[%d] is \"%s\"; expected "
                           "\"sliding_attention\" or \"full_attention\"", l, type);
    }
    g->window = (int32_t)window;
    return VW_OK;
}

/* One rotation out of an object that may say its type, base and factor. */
static vw_status read_rotation(gemma *g, int scope, const vw_json *json, const vw_json_doc *doc,
                               const vw_json_value *v, vw_error *err)
{
    const char *type;
    vw_status st;
    if (json->type(v) != VW_JSON_OBJECT)
        return VW_OK;
    if ((st = json->get_string(doc, v, "type", "default", &type, err)) ||
        (st = json->get_string(doc, v, "rope_type", type, &type, err)) ||
        (st = json->get_real(doc, v, "rope_theta", g->theta[scope], &g->theta[scope], err)))
        return st;
    if (!strcmp(type, "default"))
        return VW_OK;
    if (strcmp(type, "linear") != 0 || g->version == 1)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: rope_type is \"%s\"; Gemma %d uses "
                       "%s", type, g->version, g->version == 1 ? "\"default\"" :
                       "\"default\" or \"linear\"");
    return json->get_real(doc, v, "factor", 1.0, &g->position_factor[scope], err);
}

/* Published files have rope_theta, rope_local_base_freq and rope_scaling; newer ones rope_parameters,
 * with an object for each kind of layer where there are two. */
static vw_status read_rotations(gemma *g, const vw_json *json, const vw_json_doc *doc,
                                const vw_json_value *text, vw_error *err)
{
    const vw_json_value *nested = json->get(text, "rope_parameters"),
                        *full = json->get(nested, "full_attention"),
                        *sliding = json->get(nested, "sliding_attention");
    vw_status st;
    g->position_factor[GLOBAL] = g->position_factor[LOCAL] = 1.0;
    if ((st = json->get_real(doc, text, "rope_theta", g->version == 3 ? 1e6 : 1e4,
                             &g->theta[GLOBAL], err)) ||
        (st = json->get_real(doc, text, "rope_local_base_freq",
                             g->version == 3 ? 1e4 : g->theta[GLOBAL], &g->theta[LOCAL], err)) ||
        (st = read_rotation(g, GLOBAL, json, doc, json->get(text, "rope_scaling"), err)) ||
        (st = read_rotation(g, GLOBAL, json, doc, full ? full : nested, err)))
        return st;
    if (g->version != 3)
        g->theta[LOCAL] = g->theta[GLOBAL];
    if ((st = read_rotation(g, LOCAL, json, doc, sliding, err)))
        return st;
    for (int s = 0; s < N_SCOPES; s++) {
        if (!(g->theta[s] > 1.0) || !isfinite(g->theta[s]))
            return vw_fail(err, VW_E_FORMAT, "config.json: rope_theta is %g; it must be above 1",
                           g->theta[s]);
        if (!(g->position_factor[s] > 0) || !isfinite(g->position_factor[s]))
            return vw_fail(err, VW_E_FORMAT, "config.json: the factor of the rotation is %g; it must "
                           "be above 0", g->position_factor[s]);
    }
    return VW_OK;
}

static vw_status read_attention(gemma *g, const vw_json *json, const vw_json_doc *doc,
                                const vw_json_value *text, vw_error *err)
{
    const int is_capped = g->version == 2;
    vw_status st;
    g->query_scalar = g->head_dim;
    if ((st = read_rotations(g, json, doc, text, err)) || g->version == 1)
        return st;
    if ((st = read_scopes(g, json, doc, text, err)) ||
        (st = read_cap(json, doc, text, "attn_logit_softcapping", is_capped ? 50.0 : 0,
                       &g->attention_cap, err)) ||
        (st = read_cap(json, doc, text, "final_logit_softcapping", is_capped ? 30.0 : 0,
                       &g->final_cap, err)) ||
        (st = json->get_real(doc, text, "query_pre_attn_scalar", 256.0, &g->query_scalar, err)))
        return st;
    if (!(g->query_scalar > 0) || !isfinite(g->query_scalar))
        return vw_fail(err, VW_E_FORMAT, "config.json: query_pre_attn_scalar is %g; it must be above "
                       "0", g->query_scalar);
    return VW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* A token id; the text part of a multimodal file may leave it to the whole. */
static vw_status read_token(const vw_json *json, const vw_json_doc *doc, const vw_json_value *text,
                            const char *key, int32_t vocab_size, int32_t *id, vw_error *err)
{
    const vw_json_value *in = is_set(json, text, key) ? text : json->root(doc),
                        *v = json->get(in, key);
    int64_t value = -1;
    vw_status st = VW_OK;
    if (v && json->type(v) == VW_JSON_ARRAY) /* several: the first is the main one */
        value = json->count(v) ? json->integer(json->at(v, 0)) : -1;
    else
        st = json->get_int(doc, in, key, -1, vocab_size - 1, -1, &value, err);
    if (!st && (value < -1 || value >= vocab_size))
        return vw_fail(err, VW_E_FORMAT, "config.json: %s begins with %lld, which is no token of %d",
                       key, (long long)value, vocab_size);
    if (!st)
        *id = (int32_t)value;
    return st;
}

vw_status gemma_configure(gemma *g, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    const vw_json_value *text;
    vw_status st;
    int tied;
    if ((st = find_text(g, json, config, &text, err)) ||
        (st = check_activation(json, config, text, err)) ||
        (st = refuse_unknown(g, json, config, text, err)) ||
        (st = read_sizes(g, json, config, text, err)) ||
        (st = read_attention(g, json, config, text, err)) ||
        (st = json->get_real(config, text, "rms_norm_eps", 1e-6, &g->eps, err)) ||
        (st = json->get_int(config, text, "max_position_embeddings", 1, 1 << 24,
                            g->version == 3 ? 131072 : 8192, &g->max_positions, err)) ||
        (st = json->get_bool(config, text, "tie_word_embeddings", 1, &tied, err)) ||
        (st = read_token(json, config, text, "bos_token_id", g->vocab_size, &g->info.bos, err)) ||
        (st = read_token(json, config, text, "eos_token_id", g->vocab_size, &g->info.eos, err)) ||
        (st = read_token(json, config, text, "pad_token_id", g->vocab_size, &g->info.pad, err)))
        return st;
    if (!tied)
        return vw_fail(err, VW_E_UNSUPPORTED, "config.json: tie_word_embeddings is false; Gemma's "
                       "head is its embedding");
    if (!(g->eps > 0) || g->eps > 1)
        return vw_fail(err, VW_E_FORMAT, "config.json: rms_norm_eps is %g; expected a small "
                       "positive number such as 1e-6", g->eps);
    return VW_OK;
}
