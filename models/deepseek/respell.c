/* respell.c - the other way to write a DeepSeek model down: GGUF's keys and tensors for one with a
 * config.json, a config.json and the published tensors for one from a GGUF file.
 *
 * A GGUF file gets the newer form: what the latent becomes by heads, that of keys turned, and the experts of
 * a layer in one tensor.  Back, the heads are joined again.
 */
#include "deepseek.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what cannot be said --------------------------------------------------------------------- */

static const char *no_gguf(const deepseek *m)
{
    if (m->n_drafts)
        return "the layer that drafts; leave [model.deepseek] mtp off";
    if (!m->is_interleaved)
        return "that rotation pairs halves (rope_interleave)";
    if (m->factor == 1)
        return NULL;
    if (m->mscale != m->mscale_all)
        return "an mscale that is not mscale_all_dim";
    return m->truncates ? NULL : "that the ends of YaRN's ramp are no whole numbers (truncate)";
}

static const char *no_config(const deepseek *m)
{
    if (m->n_experts && m->is_sigmoid != m->has_bias)
        return "sigmoids without biases that steer, or biases without sigmoids";
    if (m->n_experts && !m->is_sigmoid && m->is_normalised && m->route_scale != 1)
        return "a factor of weights that a softmax has normed";
    return NULL;
}

/* ---- configurations -------------------------------------------------------------------------- */

/* A number that stays a real one, with the fewest digits that say which f32 it is: GGUF has no others,
 * and 1e-6 as one of them is meant to be 1e-6. */
static void put_real(FILE *to, const char *before, const char *key, double x)
{
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if ((float)atof(text) == (float)x)
            break;
    }
    fprintf(to, ",\"%s%s\":%s%s", before, key, text, strpbrk(text, ".en") ? "" : ".0");
}

static void put_int(FILE *to, const char *before, const char *key, int64_t x)
{
    fprintf(to, ",\"%s%s\":%lld", before, key, (long long)x);
}

typedef struct number {
    const char *key;
    int64_t value;
} number;

static void put_ints(FILE *to, const char *before, const number *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_int(to, before, list[i].key, list[i].value);
}

static const char arch[] = "deepseek2.";

static void put_gguf_experts(const deepseek *m, FILE *to)
{
    const number list[] = {
        {"expert_count", m->n_experts}, {"expert_used_count", m->n_experts ? m->top_k : 0},
        {"expert_shared_count", m->n_experts ? m->n_shared : 0},
        {"expert_feed_forward_length", m->n_experts ? m->expert_ffn : m->ffn},
        {"leading_dense_block_count", m->n_dense}};
    put_ints(to, arch, list, sizeof list / sizeof *list);
    if (!m->n_experts)
        return;
    put_int(to, arch, "expert_gating_func", m->is_sigmoid ? 2 : 1);
    put_real(to, arch, "expert_weights_scale", m->route_scale);
    fprintf(to, ",\"%sexpert_weights_norm\":%s", arch, m->is_normalised ? "true" : "false");
    if (m->n_groups > 1) {
        put_int(to, arch, "expert_group_count", m->n_groups);
        put_int(to, arch, "expert_group_used_count", m->top_groups);
    }
}

static void put_gguf(const deepseek *m, FILE *to)
{
    const number list[] = {
        {"context_length", m->max_positions}, {"embedding_length", m->width},
        {"block_count", m->n_layers}, {"feed_forward_length", m->ffn},
        {"vocab_size", m->vocab_size}, {"attention.head_count", m->heads},
        {"attention.head_count_kv", 1}, {"attention.kv_lora_rank", m->kv_rank},
        {"attention.key_length", m->kv_rank + m->rope}, {"attention.value_length", m->kv_rank},
        {"attention.key_length_mla", m->nope + m->rope}, {"attention.value_length_mla", m->dv},
        {"rope.dimension_count", m->rope}};
    fprintf(to, "{\"general.architecture\":\"deepseek2\"");
    put_ints(to, arch, list, sizeof list / sizeof *list);
    if (m->q_rank)
        put_int(to, arch, "attention.q_lora_rank", m->q_rank);
    put_gguf_experts(m, to);
    put_real(to, arch, "attention.layer_norm_rms_epsilon", m->eps);
    put_real(to, arch, "rope.freq_base", m->theta);
    if (m->factor != 1) {
        fprintf(to, ",\"%srope.scaling.type\":\"yarn\"", arch);
        put_real(to, arch, "rope.scaling.factor", m->factor);
        put_int(to, arch, "rope.scaling.original_context_length", (int64_t)m->original);
        put_real(to, arch, "rope.scaling.yarn_log_multiplier", 0.1 * m->mscale_all);
        put_real(to, arch, "rope.scaling.yarn_beta_fast", m->beta_fast);
        put_real(to, arch, "rope.scaling.yarn_beta_slow", m->beta_slow);
    }
    fputc('}', to);
}

static void put_config_experts(const deepseek *m, int is_v3, FILE *to)
{
    const number list[] = {
        {"n_routed_experts", m->n_experts}, {"first_k_dense_replace", m->n_dense},
        {"moe_layer_freq", 1}};
    const number more[] = {
        {"n_shared_experts", m->n_shared}, {"num_experts_per_tok", m->top_k},
        {"moe_intermediate_size", m->expert_ffn}, {"n_group", m->n_groups},
        {"topk_group", m->top_groups}};
    put_ints(to, "", list, sizeof list / sizeof *list);
    if (!m->n_experts)
        return;
    put_ints(to, "", more, sizeof more / sizeof *more);
    fprintf(to, ",\"topk_method\":\"%s\",\"scoring_func\":\"%s\",\"norm_topk_prob\":%s",
            is_v3 ? "noaux_tc" : m->n_groups > 1 ? "group_limited_greedy" : "greedy",
            is_v3 ? "sigmoid" : "softmax", m->is_normalised ? "true" : "false");
    put_real(to, "", "routed_scaling_factor", m->route_scale);
}

static void put_config(const deepseek *m, FILE *to)
{
    int is_v3 = m->is_sigmoid || !m->n_experts;
    const number list[] = {
        {"hidden_size", m->width}, {"num_hidden_layers", m->n_layers},
        {"intermediate_size", m->ffn}, {"num_attention_heads", m->heads},
        {"num_key_value_heads", m->heads}, {"kv_lora_rank", m->kv_rank},
        {"qk_nope_head_dim", m->nope}, {"qk_rope_head_dim", m->rope}, {"v_head_dim", m->dv},
        {"vocab_size", m->vocab_size}, {"max_position_embeddings", m->max_positions},
        {"num_nextn_predict_layers", 0}};
    const number ids[] = {{"bos_token_id", m->info.bos}, {"eos_token_id", m->info.eos},
                          {"pad_token_id", m->info.pad}};
    fprintf(to, "{\"architectures\":[\"DeepseekV%dForCausalLM\"],\"model_type\":\"deepseek_v%d\","
            "\"hidden_act\":\"silu\",\"attention_bias\":false,\"tie_word_embeddings\":%s", is_v3 ? 3 : 2,
            is_v3 ? 3 : 2, m->is_tied ? "true" : "false");
    put_ints(to, "", list, sizeof list / sizeof *list);
    if (m->q_rank)
        put_int(to, "", "q_lora_rank", m->q_rank);
    else
        fputs(",\"q_lora_rank\":null", to);
    put_config_experts(m, is_v3, to);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].value >= 0)
            put_int(to, "", ids[i].key, ids[i].value);
    put_real(to, "", "rms_norm_eps", m->eps);
    put_real(to, "", "rope_theta", m->theta);
    if (m->factor == 1) {
        fputs(",\"rope_scaling\":null}", to);
        return;
    }
    fputs(",\"rope_scaling\":{\"type\":\"yarn\"", to);
    put_real(to, "", "factor", m->factor);
    put_int(to, "", "original_max_position_embeddings", (int64_t)m->original);
    put_real(to, "", "beta_fast", m->beta_fast);
    put_real(to, "", "beta_slow", m->beta_slow);
    put_real(to, "", "mscale", m->mscale);
    put_real(to, "", "mscale_all_dim", m->mscale_all);
    fputs("}}", to);
}

static vw_status make_config(deepseek *m, vw_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    if (!to)
        return vw_fail(err, VW_E_NOMEM, "no memory for a configuration");
    if (m->is_gguf)
        put_config(m, to);
    else
        put_gguf(m, to);
    int failed = fclose(to);
    if (!failed)
        m->other_config = m->host->alloc(m->host->core, bytes + 1);
    if (!failed && m->other_config)
        memcpy(m->other_config, text, bytes + 1);
    free(text);
    return failed || !m->other_config ? vw_fail(err, VW_E_NOMEM, "no memory for a configuration")
                                      : VW_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void put(deepseek *m, size_t *n, deepseek_place place, vw_respelt piece)
{
    size_t i = (*n)++;
    if (!m->pieces)
        return;
    deepseek_name(place, !m->is_gguf, m->other_names[i]);
    piece.name = m->other_names[i];
    m->pieces[i] = piece;
}

static void put_whole(deepseek *m, size_t *n, size_t param, int is_slice)
{
    put(m, n, m->places[param],
        (vw_respelt){.param = param, .rows = m->specs[param].rows, .is_slice = is_slice});
}

/* kv_b, of which each head has its keys' rows first, as slices. */
static void split_heads(deepseek *m, size_t *n, size_t param)
{
    const int32_t layer = m->places[param].layer, both = m->nope + m->dv;
    for (int32_t h = 0; h < m->heads; h++)
        put(m, n, (deepseek_place){ROLE_K_B, layer, h},
            (vw_respelt){.param = param, .first = (int64_t)h * both, .rows = m->nope, .is_turned = 1,
                       .is_slice = 1});
    for (int32_t h = 0; h < m->heads; h++)
        put(m, n, (deepseek_place){ROLE_V_B, layer, h},
            (vw_respelt){.param = param, .first = (int64_t)h * both + m->nope, .rows = m->dv,
                       .is_slice = 1});
}

/* The other way; `param` is the first of the heads' keys. */
static void join_heads(deepseek *m, size_t *n, size_t param)
{
    const deepseek_place place = {ROLE_KV_B, m->places[param].layer, 0};
    for (size_t h = 0; h < (size_t)m->heads; h++) {
        put(m, n, place, (vw_respelt){.param = param + h, .rows = m->kv_rank, .is_turned = 1});
        put(m, n, place, (vw_respelt){.param = param + (size_t)m->heads + h, .rows = m->dv});
    }
}

static size_t list_pieces(deepseek *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->info.n_params; i++) {
        const deepseek_place *p = &m->places[i];
        int is_expert = p->role >= ROLE_EXPERT && p->role < ROLE_EXPERT + N_MLP && !m->is_gguf;
        if (p->role == ROLE_KV_B && !m->is_gguf)
            split_heads(m, &n, i);
        else if (p->role == ROLE_K_B && p->number == 0)
            join_heads(m, &n, i);
        else if (is_expert && p->role == ROLE_EXPERT && p->number == 0)
            for (size_t matrix = 0; matrix < N_MLP; matrix++)
                for (size_t e = 0; e < (size_t)m->n_experts; e++)
                    put_whole(m, &n, i + e * N_MLP + matrix, 1);
        else if (!is_expert && p->role != ROLE_K_B && p->role != ROLE_V_B)
            put_whole(m, &n, i, 0);
    }
    return n;
}

static vw_status make_pieces(deepseek *m, vw_error *err)
{
    const vw_host *host = m->host;
    size_t n = list_pieces(m);
    m->other_names = host->alloc(host->core, n * sizeof *m->other_names);
    m->pieces = host->alloc(host->core, n * sizeof *m->pieces);
    if (!m->other_names || !m->pieces)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu names", n);
    m->n_pieces = list_pieces(m);
    return VW_OK;
}

vw_status deepseek_respell(void *self, vw_spelling *out, vw_error *err)
{
    deepseek *m = self;
    const char *what = m->is_gguf ? no_config(m) : no_gguf(m);
    vw_status st = VW_OK;
    if (what)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s cannot say %s", m->is_gguf
                       ? "a config.json of this family" : "a GGUF file of \"deepseek2\"", what);
    if (!m->other_config)
        st = make_config(m, err);
    if (!st && !m->n_pieces)
        st = make_pieces(m, err);
    if (st)
        return st;
    *out = (vw_spelling){.size = sizeof *out, .is_gguf = !m->is_gguf, .architecture = "deepseek2",
                         .config = m->other_config, .n_pieces = m->n_pieces, .pieces = m->pieces};
    return VW_OK;
}
