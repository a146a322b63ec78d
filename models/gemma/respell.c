/* respell.c - the other way to write a Gemma model down: GGUF's keys for one with a config.json, a
 * config.json for one from a GGUF file.
 *
 * GGUF leaves to the architecture which layers are local, their rotation and the query scale
 * (gguf.c); a model that differs there cannot be said in it and is refused.
 */
#include "gemma.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const architectures[] = {"", "gemma", "gemma2", "gemma3"};

/* A number that stays a real one: JSON tells 10000.0 from 10000, and GGUF too. */
static void put_real(FILE *to, const char *before, double x)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", x);
    fprintf(to, "%s%s%s", before, text, strpbrk(text, ".en") ? "" : ".0");
}

static const char *cannot_say(const gemma *g)
{
    const int32_t pattern = g->version == 3 ? 6 : 2;
    for (int32_t l = 0; l < g->n_layers && g->version > 1; l++)
        if (g->is_local[l] != ((l + 1) % pattern != 0))
            return "which layers see a window only";
    if (fabs(g->query_scalar - gemma_gguf_query_scalar(g)) > 1e-9)
        return "query_pre_attn_scalar";
    if (g->version == 3 && g->theta[LOCAL] != 1e4)
        return "the rotation of local layers";
    return g->position_factor[LOCAL] != 1 ? "a factor of local layers' positions" : NULL;
}

static void put_gguf(const gemma *g, FILE *to)
{
    const char *a = architectures[g->version];
    fprintf(to, "{\"general.architecture\":\"%s\",\"%s.context_length\":%lld,"
            "\"%s.embedding_length\":%d,\"%s.block_count\":%d,\"%s.feed_forward_length\":%d,"
            "\"%s.attention.head_count\":%d,\"%s.attention.head_count_kv\":%d,"
            "\"%s.attention.key_length\":%d,\"%s.attention.value_length\":%d,\"%s.vocab_size\":%d", a,
            a, (long long)g->max_positions, a, g->width, a, g->n_layers, a, g->ffn, a, g->heads, a,
            g->kv_heads, a, g->head_dim, a, g->head_dim, a, g->vocab_size);
    fprintf(to, ",\"%s.attention.layer_norm_rms_epsilon\":", a);
    put_real(to, "", g->eps);
    fprintf(to, ",\"%s.rope.freq_base\":", a);
    put_real(to, "", g->theta[GLOBAL]);
    if (g->version > 1)
        fprintf(to, ",\"%s.attention.sliding_window\":%d", a, g->window);
    if (g->attention_cap > 0) {
        fprintf(to, ",\"%s.attn_logit_softcapping\":", a);
        put_real(to, "", g->attention_cap);
    }
    if (g->final_cap > 0) {
        fprintf(to, ",\"%s.final_logit_softcapping\":", a);
        put_real(to, "", g->final_cap);
    }
    if (g->position_factor[GLOBAL] != 1) {
        fprintf(to, ",\"%s.rope.scaling.type\":\"linear\",\"%s.rope.scaling.factor\":", a, a);
        put_real(to, "", g->position_factor[GLOBAL]);
    }
    fputc('}', to);
}

/* Nine digits: GGUF's numbers are f32, and 1e-6 as one of them is meant to be 1e-6. */
static void put_key(FILE *to, const char *key, double x)
{
    fprintf(to, ",\"%s\":%.9g", key, x);
}

static void put_config(const gemma *g, FILE *to)
{
    static const char *const classes[] = {"", "Gemma", "Gemma2", "Gemma3"};
    fprintf(to, "{\"architectures\":[\"%sForCausalLM\"],\"model_type\":\"%s%s\","
            "\"hidden_size\":%d,\"num_hidden_layers\":%d,\"intermediate_size\":%d,"
            "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"head_dim\":%d,"
            "\"vocab_size\":%d,\"max_position_embeddings\":%lld,\"hidden_activation\":"
            "\"gelu_pytorch_tanh\"", classes[g->version], architectures[g->version],
            g->version == 3 ? "_text" : "", g->width, g->n_layers, g->ffn, g->heads, g->kv_heads,
            g->head_dim, g->vocab_size, (long long)g->max_positions);
    put_key(to, "rms_norm_eps", g->eps);
    put_key(to, "rope_theta", g->theta[GLOBAL]);
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"bos_token_id", g->info.bos}, {"eos_token_id", g->info.eos},
               {"pad_token_id", g->info.pad}};
    for (size_t i = 0; i < 3; i++)
        if (ids[i].id >= 0)
            fprintf(to, ",\"%s\":%d", ids[i].key, ids[i].id);
    if (g->version > 1) {
        fprintf(to, ",\"sliding_window\":%d", g->window);
        put_key(to, "query_pre_attn_scalar", g->query_scalar);
    }
    const double caps[] = {g->attention_cap, g->final_cap};
    static const char *const keys[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    for (int i = 0; i < 2 && g->version > 1; i++)
        if (caps[i] > 0)
            put_key(to, keys[i], caps[i]);
        else
            fprintf(to, ",\"%s\":null", keys[i]);
    if (g->version == 3) {
        put_key(to, "rope_local_base_freq", g->theta[LOCAL]);
        fputs(",\"sliding_window_pattern\":6", to);
    }
    if (g->position_factor[GLOBAL] != 1) {
        fputs(",\"rope_scaling\":{\"rope_type\":\"linear\"", to);
        put_key(to, "factor", g->position_factor[GLOBAL]);
        fputc('}', to);
    }
    fputc('}', to);
}

static vw_status make_config(gemma *g, vw_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    if (!to)
        return vw_fail(err, VW_E_NOMEM, "no memory for a configuration");
    if (g->is_gguf)
        put_config(g, to);
    else
        put_gguf(g, to);
    int failed = fclose(to);
    if (!failed)
        g->other_config = g->host->alloc(g->host->core, bytes + 1);
    if (!failed && g->other_config)
        memcpy(g->other_config, text, bytes + 1);
    free(text);
    return failed || !g->other_config ? vw_fail(err, VW_E_NOMEM, "no memory for a configuration")
                                      : VW_OK;
}

vw_status gemma_respell(void *self, vw_spelling *out, vw_error *err)
{
    gemma *g = self;
    const vw_host *host = g->host;
    size_t n = g->info.n_params;
    const char *what = g->is_gguf ? NULL : cannot_say(g);
    if (what)
        return vw_fail(err, VW_E_UNSUPPORTED, "a GGUF file of \"%s\" cannot say %s, in which this "
                       "model differs from the published ones", architectures[g->version], what);
    vw_status st = g->other_config ? VW_OK : make_config(g, err);
    if (st)
        return st;
    if (!g->other_names)
        g->other_names = host->alloc(host->core, n * sizeof *g->other_names);
    if (!g->pieces)
        g->pieces = host->alloc(host->core, n * sizeof *g->pieces);
    if (!g->other_names || !g->pieces)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu names", n);
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        if (g->is_gguf)
            at = (size_t)snprintf(g->other_names[i], sizeof *g->other_names, "model.");
        gemma_param_name(g, i, !g->is_gguf, g->other_names[i] + at, sizeof *g->other_names - at);
        g->pieces[i] = (vw_respelt){.name = g->other_names[i], .param = i, .rows = g->specs[i].rows};
    }
    *out = (vw_spelling){.size = sizeof *out,
                         .is_gguf = !g->is_gguf,
                         .architecture = architectures[g->version],
                         .config = g->other_config,
                         .n_pieces = n,
                         .pieces = g->pieces,
                         .vector_shift = g->is_gguf ? -1 : 1};
    return VW_OK;
}
