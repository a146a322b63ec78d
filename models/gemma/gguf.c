/* gguf.c - a Gemma model as a GGUF file describes it: its keys, and the names of its tensors.
 *
 * The keys are those of llama.cpp's converter.  It says nothing of the rotation of local layers and of
 * Gemma 3's pattern, which it knows by the architecture; and it stores norms as 1 + w already.
 */
#include "gemma.h"

#include <math.h>

/* A key under the architecture's name. */
static const char *full(const gguf_view *v, const char *key, char *name, size_t room)
{
    snprintf(name, room, "%s.%s", v->architecture, key);
    return name;
}

static vw_status get_int(const gguf_view *v, const char *key, int64_t min, int64_t max, int64_t def,
                         int64_t *out, vw_error *err)
{
    char name[128];
    full(v, key, name, sizeof name);
    vw_status st = v->json->get_int(v->doc, v->root, name, min, max, def, out, err);
    if (!st && *out < 0 && min >= 0)
        return vw_fail(err, VW_E_FORMAT, "\"%s\" is missing", name);
    return st;
}

static vw_status get_real(const gguf_view *v, const char *key, double def, double *out, vw_error *err)
{
    char name[128];
    return v->json->get_real(v->doc, v->root, full(v, key, name, sizeof name), def, out, err);
}

static vw_status read_sizes(gemma *g, const gguf_view *v, vw_error *err)
{
    const struct {
        const char *key;
        int32_t *to;
        int64_t max, def;
    } sizes[] = {
        {"block_count", &g->n_layers, GEMMA_MAX_LAYERS, -1},
        {"embedding_length", &g->width, 1 << 20, -1},
        {"feed_forward_length", &g->ffn, 1 << 22, -1},
        {"attention.head_count", &g->heads, 4096, -1},
        {"attention.head_count_kv", &g->kv_heads, 4096, -1},
        {"attention.key_length", &g->head_dim, 4096, 256},
    };
    int64_t value;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        vw_status st = get_int(v, sizes[i].key, 1, sizes[i].max, sizes[i].def, &value, err);
        if (st)
            return st;
        *sizes[i].to = (int32_t)value;
    }
    vw_status st = get_int(v, "attention.value_length", 1, 4096, g->head_dim, &value, err);
    if (st)
        return st;
    if (value != g->head_dim || g->head_dim % 2 || g->heads % g->kv_heads)
        return vw_fail(err, VW_E_FORMAT, "heads %d, KV heads %d, key_length %d, value_length %lld do "
                       "not fit together", g->heads, g->kv_heads, g->head_dim, (long long)value);
    return VW_OK;
}

double gemma_gguf_query_scalar(const gemma *g)
{
    if (g->version == 2 && g->n_layers == 46)
        return (double)g->width / g->heads;
    if (g->version == 3 && g->n_layers == 62)
        return (double)g->width / g->heads;
    return g->head_dim;
}

static vw_status read_attention(gemma *g, const gguf_view *v, vw_error *err)
{
    const int64_t pattern = g->version == 3 ? 6 : 2;
    char name[128];
    const char *type;
    int64_t window = 0;
    vw_status st;
    g->query_scalar = gemma_gguf_query_scalar(g);
    g->position_factor[GLOBAL] = g->position_factor[LOCAL] = 1.0;
    if ((st = get_real(v, "rope.freq_base", g->version == 3 ? 1e6 : 1e4, &g->theta[GLOBAL], err)) ||
        (st = get_real(v, "rope.freq_base_swa", g->version == 3 ? 1e4 : g->theta[GLOBAL],
                       &g->theta[LOCAL], err)) ||
        (st = v->json->get_string(v->doc, v->root, full(v, "rope.scaling.type", name, sizeof name),
                                  "none", &type, err)))
        return st;
    if (!strcmp(type, "linear"))
        st = get_real(v, "rope.scaling.factor", 1.0, &g->position_factor[GLOBAL], err);
    else if (strcmp(type, "none") != 0)
        st = vw_fail(err, VW_E_UNSUPPORTED, "%s is \"%s\"; expected none or linear", name, type);
    if (st || g->version == 1)
        return st;
    if ((st = get_int(v, "attention.sliding_window", 1, INT32_MAX, g->version == 2 ? 4096 : -1, &window,
                      err)) ||
        (st = get_real(v, "attn_logit_softcapping", g->version == 2 ? 50.0 : 0, &g->attention_cap,
                       err)) ||
        (st = get_real(v, "final_logit_softcapping", g->version == 2 ? 30.0 : 0, &g->final_cap, err)))
        return st;
    g->window = (int32_t)window;
    for (int32_t l = 0; l < g->n_layers; l++)
        g->is_local[l] = (l + 1) % pattern != 0;
    return VW_OK;
}

/* The vocabulary's size is the number of rows of the embedding: few files say it in a key. */
static vw_status read_vocabulary(gemma *g, const gguf_view *v, vw_error *err)
{
    const vw_json_value *shape = v->json->get(v->root, "shape:token_embd.weight");
    int64_t value = v->json->integer(v->json->at(shape, 0));
    vw_status st = VW_OK;
    if (v->json->count(shape) != 2 || value < 1 || value > 1 << 24)
        return vw_fail(err, VW_E_FORMAT, "token_embd.weight is missing or no table of embeddings");
    g->vocab_size = (int32_t)value;
    const struct {
        const char *key;
        int32_t *to;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &g->info.bos},
               {"tokenizer.ggml.eos_token_id", &g->info.eos},
               {"tokenizer.ggml.padding_token_id", &g->info.pad}};
    for (size_t i = 0; i < 3 && !st; i++) {
        st = v->json->get_int(v->doc, v->root, ids[i].key, -1, g->vocab_size - 1, -1, &value, err);
        if (!st)
            *ids[i].to = (int32_t)value;
    }
    return st;
}

vw_status gemma_configure_gguf(gemma *g, const vw_json *json, const vw_json_doc *config,
                               vw_error *err)
{
    gguf_view v = {json, config, json->root(config), ""};
    vw_status st = json->get_string(config, v.root, "general.architecture", "", &v.architecture, err);
    if (st)
        return st;
    g->version = !strcmp(v.architecture, "gemma")    ? 1
                 : !strcmp(v.architecture, "gemma2") ? 2
                 : !strcmp(v.architecture, "gemma3") ? 3
                                                     : 0;
    if (!g->version)
        return vw_fail(err, VW_E_UNSUPPORTED, "general.architecture is \"%s\"; this plugin runs "
                       "\"gemma\", \"gemma2\" and \"gemma3\"", v.architecture);
    g->is_gguf = 1;
    if ((st = read_sizes(g, &v, err)) || (st = read_attention(g, &v, err)) ||
        (st = read_vocabulary(g, &v, err)) ||
        (st = get_real(&v, "attention.layer_norm_rms_epsilon", 1e-6, &g->eps, err)) ||
        (st = get_int(&v, "context_length", 1, 1 << 24, 8192, &g->max_positions, err)))
        return st;
    for (int s = 0; s < N_SCOPES; s++)
        if (!(g->theta[s] > 1) || !isfinite(g->theta[s]) || !(g->position_factor[s] > 0))
            return vw_fail(err, VW_E_FORMAT, "a rotation of base %g and factor %g", g->theta[s],
                           g->position_factor[s]);
    if (!(g->eps > 0) || g->eps > 1 || !(g->attention_cap >= 0) || !(g->final_cap >= 0))
        return vw_fail(err, VW_E_FORMAT, "epsilon %g, soft-caps %g and %g: expected small, positive",
                       g->eps, g->attention_cap, g->final_cap);
    return VW_OK;
}
