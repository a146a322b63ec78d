/* gguf.c - a DeepSeek model as a GGUF file describes it: the keys of llama.cpp's `deepseek2`.
 *
 * Files come in two forms.  The older one has what the latent becomes, keys and values of all heads, in
 * one matrix as published; the newer one has it in two, by heads and that of keys turned, and then
 * gives the sizes of the cache as key_length and value_length, and those of heads under other keys.
 */
#include "deepseek.h"

#include "plugins/gguf/keys.h"

#include <math.h>

enum { SOFTMAX = 1, SIGMOID = 2 }; /* expert_gating_func */

/* ---- sizes ----------------------------------------------------------------------------------- */

static vw_status check_cache(const deepseek *m, const gguf_view *v, int64_t key, int64_t value,
                             vw_error *err)
{
    int64_t kv_heads;
    vw_status st = gguf_key_int(v, "attention.head_count_kv", 1, 4096, 1, &kv_heads, err);
    if (st)
        return st;
    if (kv_heads != 1 && kv_heads != m->heads)
        return vw_fail(err, VW_E_FORMAT, "attention.head_count_kv is %lld; expected 1 latent, or a key "
                       "for each of %d heads", (long long)kv_heads, m->heads);
    if (gguf_has_key(v, "attention.key_length_mla") &&
        (key != m->kv_rank + m->rope || value != m->kv_rank))
        return vw_fail(err, VW_E_FORMAT, "attention.key_length %lld and value_length %lld; a latent of "
                       "kv_lora_rank %d and %d rotated values makes them %d and %d", (long long)key,
                       (long long)value, m->kv_rank, m->rope, m->kv_rank + m->rope, m->kv_rank);
    return VW_OK;
}

/* Keys and values of a head: under names of their own when the plain ones speak of the latent. */
static vw_status read_heads(deepseek *m, const gguf_view *v, vw_error *err)
{
    int64_t key, value, head_key, head_value;
    vw_status st;
    if ((st = gguf_key_int(v, "attention.key_length", 1, 1 << 16, -1, &key, err)) ||
        (st = gguf_key_int(v, "attention.value_length", 1, 1 << 16, -1, &value, err)) ||
        (st = gguf_key_int(v, "attention.key_length_mla", 1, 1 << 14, key, &head_key, err)) ||
        (st = gguf_key_int(v, "attention.value_length_mla", 1, 1 << 14, value, &head_value, err)))
        return st;
    if (head_key <= m->rope || m->rope % 2 || head_key > 1 << 14 || head_value > 1 << 14)
        return vw_fail(err, VW_E_FORMAT, "heads of %lld values with %d that are rotated "
                       "(rope.dimension_count) and %lld behind: expected an even number of rotated ones, "
                       "and others beside them", (long long)head_key, m->rope, (long long)head_value);
    m->nope = (int32_t)head_key - m->rope;
    m->dv = (int32_t)head_value;
    return check_cache(m, v, key, value, err);
}

static vw_status read_shape(deepseek *m, const gguf_view *v, vw_error *err)
{
    const gguf_size sizes[] = {
        {"embedding_length", &m->width, 1, 1 << 20, -1},
        {"feed_forward_length", &m->ffn, 1, 1 << 22, -1},
        {"attention.head_count", &m->heads, 1, 4096, -1},
        {"attention.q_lora_rank", &m->q_rank, 1, 1 << 20, 0},
        {"attention.kv_lora_rank", &m->kv_rank, 1, 1 << 15, -1},
        {"rope.dimension_count", &m->rope, 2, 1 << 14, -1},
        {"block_count", &m->n_layers, 1, DEEPSEEK_MAX_LAYERS, -1},
        {"nextn_predict_layers", &m->n_further, 0, 1, 0},
    };
    double temperature;
    vw_status st = gguf_key_sizes(v, sizes, sizeof sizes / sizeof *sizes, err);
    if (st || (st = gguf_key_real(v, "attention.temperature_scale", 0, &temperature, err)))
        return st;
    if (temperature != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "attention.temperature_scale is %g; DeepSeek's attention "
                       "has one scale for all positions", temperature);
    m->n_layers -= m->n_further; /* they are counted here */
    if (m->n_layers < 1)
        return vw_fail(err, VW_E_FORMAT, "block_count is %d, all of which nextn_predict_layers takes",
                       m->n_further);
    m->is_split = gguf_has_tensor(v, "blk.0.attn_k_b.weight");
    return read_heads(m, v, err);
}

/* ---- experts --------------------------------------------------------------------------------- */

/* Converters of some years have left out how experts are grouped; the published V3 and R1 are. */
static void warn_of_groups(const deepseek *m, const gguf_view *v)
{
    const vw_host *host = m->host;
    if (m->is_sigmoid && m->n_experts == 256 && !gguf_has_key(v, "expert_group_count"))
        host->log(host->core, VW_LOG_WARN, "the file does not say how its %d experts are grouped "
                  "(deepseek2.expert_group_count); if it is DeepSeek-V3 or R1, set [model.deepseek] "
                  "expert_groups = 8 and expert_groups_used = 4, or its choice of experts is another",
                  m->n_experts);
}

static vw_status read_choice(deepseek *m, const gguf_view *v, vw_error *err)
{
    int64_t gating;
    char name[64];
    vw_status st;
    if ((st = gguf_key_int(v, "expert_gating_func", 0, 1000, SOFTMAX, &gating, err)) ||
        (st = v->json->get_bool(v->doc, v->root, "deepseek2.expert_weights_norm", 0, &m->is_normalised,
                                err)) ||
        (st = gguf_key_real(v, "expert_weights_scale", 1, &m->route_scale, err)))
        return st;
    if (gating > SIGMOID)
        return vw_fail(err, VW_E_UNSUPPORTED, "deepseek2.expert_gating_func is %lld; known are 1, a "
                       "softmax, and 2, a sigmoid", (long long)gating);
    if (m->route_scale == 0) /* as good as not said */
        m->route_scale = 1;
    m->is_sigmoid = gating == SIGMOID;
    m->group_best = m->is_sigmoid ? 2 : 1;
    snprintf(name, sizeof name, "blk.%d.exp_probs_b.bias", m->n_dense);
    m->has_bias = gguf_has_tensor(v, name);
    if (m->options->expert_groups) {
        m->n_groups = (int32_t)m->options->expert_groups;
        m->top_groups = (int32_t)m->options->expert_groups_used;
    }
    warn_of_groups(m, v);
    return VW_OK;
}

static vw_status read_experts(deepseek *m, const gguf_view *v, vw_error *err)
{
    const gguf_size sizes[] = {
        {"expert_count", &m->n_experts, 0, DEEPSEEK_MAX_EXPERTS, 0},
        {"expert_shared_count", &m->n_shared, 0, 64, 0},
        {"expert_used_count", &m->top_k, 0, DEEPSEEK_MAX_EXPERTS, 0},
        {"expert_feed_forward_length", &m->expert_ffn, 0, 1 << 22, 0},
        {"leading_dense_block_count", &m->n_dense, 0, DEEPSEEK_MAX_LAYERS, 0},
        {"expert_group_count", &m->n_groups, 0, DEEPSEEK_MAX_EXPERTS, 1},
        {"expert_group_used_count", &m->top_groups, 0, DEEPSEEK_MAX_EXPERTS, 1},
    };
    vw_status st = gguf_key_sizes(v, sizes, sizeof sizes / sizeof *sizes, err);
    if (st)
        return st;
    if (m->n_groups < 2)
        m->n_groups = m->top_groups = 1;
    if (!m->n_experts || m->n_dense > m->n_layers)
        m->n_dense = m->n_layers;
    if (!m->n_experts)
        return VW_OK;
    if (!m->top_k || !m->expert_ffn || !m->top_groups)
        return vw_fail(err, VW_E_FORMAT, "%d experts, of which a token takes %d (expert_used_count), each "
                       "of %d values (expert_feed_forward_length), from %d groups "
                       "(expert_group_used_count): none of these may be 0", m->n_experts, m->top_k,
                       m->expert_ffn, m->top_groups);
    return read_choice(m, v, err);
}

/* ---- positions ------------------------------------------------------------------------------- */

/* The factors on cosines and sines that a file could ask for beside; DeepSeek's are 1. */
static vw_status expect_one(const gguf_view *v, const char *key, vw_error *err)
{
    double value;
    vw_status st = gguf_key_real(v, key, 1, &value, err);
    if (st || value == 1)
        return st;
    return vw_fail(err, VW_E_UNSUPPORTED, "deepseek2.%s is %g; this family has 1", key, value);
}

/* What multiplies scores is said as a tenth of mscale_all_dim; mscale is not said and equal to it in all
 * published models. */
static vw_status read_yarn(deepseek *m, const gguf_view *v, vw_error *err)
{
    double multiplier;
    vw_status st;
    if ((st = gguf_key_real(v, "rope.scaling.original_context_length", (double)m->max_positions,
                            &m->original, err)) ||
        (st = gguf_key_real(v, "rope.scaling.yarn_beta_fast", 32, &m->beta_fast, err)) ||
        (st = gguf_key_real(v, "rope.scaling.yarn_beta_slow", 1, &m->beta_slow, err)) ||
        (st = gguf_key_real(v, "rope.scaling.yarn_log_multiplier", 0, &multiplier, err)) ||
        (st = expect_one(v, "rope.scaling.yarn_ext_factor", err)) ||
        (st = expect_one(v, "rope.scaling.yarn_attn_factor", err)) ||
        (st = expect_one(v, "rope.scaling.attn_factor", err)))
        return st;
    if (!gguf_has_key(v, "rope.scaling.yarn_log_multiplier"))
        return vw_fail(err, VW_E_UNSUPPORTED, "deepseek2.rope.scaling.type is yarn, but "
                       "rope.scaling.yarn_log_multiplier is missing: what the stretching does to "
                       "attention cannot be known; convert the model anew");
    m->mscale = m->mscale_all = 10 * multiplier;
    m->truncates = 1;
    return VW_OK;
}

static vw_status read_positions(deepseek *m, const gguf_view *v, vw_error *err)
{
    char name[GGUF_KEY_ROOM];
    const char *type;
    vw_status st;
    m->is_interleaved = 1;
    if ((st = gguf_key_real(v, "rope.freq_base", 1e4, &m->theta, err)) ||
        (st = gguf_key_real(v, "rope.scaling.factor", 1, &m->factor, err)) ||
        (st = v->json->get_string(v->doc, v->root, gguf_key_name(v, "rope.scaling.type", name), "none",
                                  &type, err)))
        return st;
    if (!strcmp(type, "yarn"))
        return read_yarn(m, v, err);
    if (strcmp(type, "none") != 0 && (strcmp(type, "linear") != 0 || m->factor != 1))
        return vw_fail(err, VW_E_UNSUPPORTED, "%s is \"%s\" with factor %g; DeepSeek's positions are as "
                       "they are (none) or yarn", name, type, m->factor);
    m->factor = 1;
    return VW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static const deepseek_words words = {
    "expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count",
    "expert_weights_scale", "attention.layer_norm_rms_epsilon", "rope.freq_base",
};

vw_status deepseek_configure_gguf(deepseek *m, const vw_json *json, const vw_json_doc *config,
                                  vw_error *err)
{
    gguf_view v;
    vw_status st = gguf_view_of(json, config, &v, err);
    if (st)
        return st;
    if (strcmp(v.architecture, "deepseek2") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "general.architecture is \"%s\"; this plugin runs "
                       "\"deepseek2\"", v.architecture);
    m->is_gguf = 1;
    m->words = &words;
    if ((st = gguf_vocabulary(&v, &m->vocab_size, &m->info, err)) || (st = read_shape(m, &v, err)) ||
        (st = read_experts(m, &v, err)) ||
        (st = gguf_key_int(&v, "context_length", 1, 1 << 24, 4096, &m->max_positions, err)) ||
        (st = read_positions(m, &v, err)) ||
        (st = gguf_key_real(&v, "attention.layer_norm_rms_epsilon", 1e-6, &m->eps, err)))
        return st;
    m->is_tied = !gguf_has_tensor(&v, "output.weight");
    if (m->options->mtp)
        return vw_fail(err, VW_E_UNSUPPORTED, "[model.deepseek] mtp is on; the layer that drafts is read "
                       "from published folders alone");
    if (m->is_split && m->options->attention == NAIVE)
        return vw_fail(err, VW_E_UNSUPPORTED, "[model.deepseek] attention = naive needs keys and values of "
                       "a head in one matrix (attn_kv_b); this file has attn_k_b and attn_v_b, for "
                       "absorbed");
    return VW_OK;
}
