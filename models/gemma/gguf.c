/* gguf.c - a Gemma model as a GGUF file describes it: its keys, and the names of its tensors.
 *
 * The keys are those of llama.cpp's converter.  It says nothing of the rotation of local layers and of
 * Gemma 3's pattern, which it knows by the architecture; and it stores norms as 1 + w already.
 */
#include "gemma.h"

#include "plugins/gguf/keys.h"

#include <math.h>

static vw_status read_sizes(gemma *g, const gguf_view *v, vw_error *err)
{
    const gguf_size sizes[] = {
        {"block_count", &g->n_layers, 1, GEMMA_MAX_LAYERS, -1},
        {"embedding_length", &g->width, 1, 1 << 20, -1},
        {"feed_forward_length", &g->ffn, 1, 1 << 22, -1},
        {"attention.head_count", &g->heads, 1, 4096, -1},
        {"attention.head_count_kv", &g->kv_heads, 1, 4096, -1},
        {"attention.key_length", &g->head_dim, 1, 4096, 256},
    };
    int64_t value;
    vw_status st = gguf_key_sizes(v, sizes, sizeof sizes / sizeof *sizes, err);
    if (st || (st = gguf_key_int(v, "attention.value_length", 1, 4096, g->head_dim, &value, err)))
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
    char name[GGUF_KEY_ROOM];
    const char *type;
    int64_t window = 0;
    vw_status st;
    g->query_scalar = gemma_gguf_query_scalar(g);
    g->position_factor[GLOBAL] = g->position_factor[LOCAL] = 1.0;
    if ((st = gguf_key_real(v, "rope.freq_base", g->version == 3 ? 1e6 : 1e4, &g->theta[GLOBAL], err)) ||
        (st = gguf_key_real(v, "rope.freq_base_swa", g->version == 3 ? 1e4 : g->theta[GLOBAL],
                       &g->theta[LOCAL], err)) ||
        (st = v->json->get_string(v->doc, v->root, gguf_key_name(v, "rope.scaling.type", name),
                                  "none", &type, err)))
        return st;
    if (!strcmp(type, "linear"))
        st = gguf_key_real(v, "rope.scaling.factor", 1.0, &g->position_factor[GLOBAL], err);
    else if (strcmp(type, "none") != 0)
        st = vw_fail(err, VW_E_UNSUPPORTED, "%s is \"%s\"; expected none or linear", name, type);
    if (st || g->version == 1)
        return st;
    if ((st = gguf_key_int(v, "attention.sliding_window", 1, INT32_MAX, g->version == 2 ? 4096 : -1, &window,
                      err)) ||
        (st = gguf_key_real(v, "attn_logit_softcapping", g->version == 2 ? 50.0 : 0, &g->attention_cap,
                       err)) ||
        (st = gguf_key_real(v, "final_logit_softcapping", g->version == 2 ? 30.0 : 0, &g->final_cap, err)))
        return st;
    g->window = (int32_t)window;
    for (int32_t l = 0; l < g->n_layers; l++)
        g->is_local[l] = (l + 1) % pattern != 0;
    return VW_OK;
}

vw_status gemma_configure_gguf(gemma *g, const vw_json *json, const vw_json_doc *config,
                               vw_error *err)
{
    gguf_view v;
    vw_status st = gguf_view_of(json, config, &v, err);
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
        (st = gguf_vocabulary(&v, &g->vocab_size, &g->info, err)) ||
        (st = gguf_key_real(&v, "attention.layer_norm_rms_epsilon", 1e-6, &g->eps, err)) ||
        (st = gguf_key_int(&v, "context_length", 1, 1 << 24, 8192, &g->max_positions, err)))
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
