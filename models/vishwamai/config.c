/* config.c - the sizes of a base model: read from a checkpoint's config.json, or written for a new
 * one from the options of [model.vishwamai].
 *
 * The file's keys are those that published models of this shape use, so that their tools can read
 * it.
 */
#include "vishwamai.h"

#include <math.h>

static const char *const routers[] = {"softmax", "sigmoid", NULL};

#define INT(key, def, min, max, help)                                                           \
    {                                                                                           \
#key, VW_OPTION_INT, def, min, max, NULL, offsetof(base_options, key), VW_OPTION_RANGE, \
            help                                                                                \
    }
#define REAL(key, def, min, max, help)                                                           \
    {                                                                                            \
#key, VW_OPTION_REAL, def, min, max, NULL, offsetof(base_options, key), VW_OPTION_RANGE, \
            help                                                                                 \
    }

const vw_option base_option_table[] = {
    INT(vocab_size, "131072", 1, 1 << 24, "of a new model: words; a tokenizer's count wins"),
    INT(hidden_dim, "768", 1, 1 << 20, "of a new model: width of the residual stream"),
    INT(num_layers, "24", 1, 1000, "of a new model: layers"),
    INT(num_heads, "12", 1, 4096, "of a new model: query heads"),
    INT(num_kv_heads, "4", 1, 4096, "of a new model: key and value heads"),
    INT(head_dim, "64", 2, 4096, "of a new model: size of a head"),
    INT(mlp_dim, "3072", 1, 1 << 22, "of a new model: width of the gated MLP"),
    INT(max_seq_len, "2048", 1, 1 << 24, "of a new model: context"),
    INT(num_experts, "1", 0, 4096, "of a new model: experts of a layer; 0 or 1: dense"),
    INT(top_k, "2", 1, 64, "of a new model: experts a token takes"),
    INT(expert_dim, "0", 0, 1 << 22, "of a new model: width of an expert; 0: mlp_dim"),
    INT(num_shared_experts, "0", 0, 64,
        "of a new model: experts that every token takes besides, as one MLP of so many widths"),
    INT(num_dense_layers, "0", 0, 1000, "of a new model: first layers that have no experts"),
    {"router", VW_OPTION_ENUM, "softmax", 0, 0, routers, offsetof(base_options, router), 0,
     "of a new model: softmax with an auxiliary loss, or sigmoid with a balancing bias"},
    REAL(capacity, "0", 0, 1000,
         "of a new model: slots of an expert, 1 for even load; 0: no limit"),
    REAL(aux_weight, "0.01", 0, 100,
         "of a new model: weight of the softmax router's auxiliary loss"),
    REAL(router_z_weight, "0", 0, 100,
         "of a new model: weight of the mean square of log sum exp of the router's logits; 0: none"),
    REAL(dropout_rate, "0.1", 0, 0.99, "of a new model: of embedding and residuals, in training"),
    REAL(init_scale, "1", 0, 100, "of a new model: multiplies the first values, 0.02"),
    REAL(rope_theta, "10000", 1, 1e9, "of a new model: base of the rotations"),
    REAL(norm_eps, "1e-6", 1e-12, 1, "of a new model: added to the mean square in norms"),
    {"tie_embeddings", VW_OPTION_BOOL, "yes", 0, 0, NULL, offsetof(base_options, tie_embeddings), 0,
     "of a new model: the head is the embedding"},
    VW_OPTION_END,
};

/* ---- reading --------------------------------------------------------------------------------- */

static vw_status check_family(const vw_json *json, const vw_json_doc *doc,
                              const vw_json_value *root, vw_error *err)
{
    const char *type, *act;
    vw_status st;
    if ((st = json->get_string(doc, root, "model_type", "", &type, err)) ||
        (st = json->get_string(doc, root, "hidden_act", "silu", &act, err)))
        return st;
    if (strcmp(type, "vishwamai") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "config.json: model_type is \"%s\"; this plugin runs "
                       "\"vishwamai\"",
                       type);
    if (strcmp(act, "silu") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "config.json: hidden_act is \"%s\"; this family has "
                       "\"silu\"",
                       act);
    return VW_OK;
}

static vw_status read_sizes(base_model *m, const vw_json *json, const vw_json_doc *doc,
                            const vw_json_value *root, vw_error *err)
{
    const struct {
        const char *key;
        int32_t *to;
        int64_t min, max, def;
    } sizes[] = {
        {"num_hidden_layers", &m->n_layers, 1, 1000, -1},
        {"hidden_size", &m->width, 1, 1 << 20, -1},
        {"intermediate_size", &m->ffn, 1, 1 << 22, -1},
        {"vocab_size", &m->vocab_size, 1, 1 << 24, -1},
        {"num_attention_heads", &m->heads, 1, 4096, -1},
        {"num_key_value_heads", &m->kv_heads, 1, 4096, -1},
        {"head_dim", &m->head_dim, 2, 4096, 64},
        {"num_experts", &m->n_experts, 0, 4096, 0},
        {"num_experts_per_tok", &m->top_k, 1, 64, 2},
        {"moe_intermediate_size", &m->expert_ffn, 1, 1 << 22, -2},
        {"n_shared_experts", &m->n_shared, 0, 64, 0},
        {"first_k_dense_replace", &m->n_dense, 0, 1000, 0},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value;
        vw_status st = json->get_int(doc, root, sizes[i].key, sizes[i].min, sizes[i].max,
                                     sizes[i].def, &value, err);
        if (st)
            return st;
        if (value == -1)
            return vw_fail(err, VW_E_FORMAT, "config.json: \"%s\" is missing", sizes[i].key);
        *sizes[i].to = value == -2 ? m->ffn : (int32_t)value;
    }
    return VW_OK;
}

static vw_status check_sizes(const base_model *m, vw_error *err)
{
    if (m->heads % m->kv_heads)
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: num_attention_heads %d is no multiple of "
                       "num_key_value_heads %d",
                       m->heads, m->kv_heads);
    if (m->head_dim % 2)
        return vw_fail(err, VW_E_FORMAT, "config.json: head_dim %d is odd; rotation needs pairs",
                       m->head_dim);
    if (m->n_experts > 1 && m->top_k > m->n_experts)
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: num_experts_per_tok is %d, but there are %d "
                       "experts",
                       m->top_k, m->n_experts);
    if ((int64_t)m->n_shared * m->expert_ffn > 1 << 22)
        return vw_fail(err, VW_E_FORMAT, "config.json: n_shared_experts %d of %d are too wide",
                       m->n_shared, m->expert_ffn);
    return VW_OK;
}

static vw_status read_router(base_model *m, const vw_json *json, const vw_json_doc *doc,
                             const vw_json_value *root, vw_error *err)
{
    const char *router;
    vw_status st;
    if ((st = json->get_string(doc, root, "scoring_func", "softmax", &router, err)) ||
        (st = json->get_bool(doc, root, "norm_topk_prob", 1, &m->is_normalised, err)) ||
        (st = json->get_real(doc, root, "routed_scaling_factor", 1, &m->route_scale, err)) ||
        (st = json->get_real(doc, root, "router_aux_loss_coef", 0, &m->balance, err)) ||
        (st = json->get_real(doc, root, "router_z_loss_coef", 0, &m->z_loss, err)) ||
        (st = json->get_real(doc, root, "capacity_factor", 0, &m->capacity, err)))
        return st;
    if (!(m->z_loss >= 0) || !isfinite(m->z_loss))
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: router_z_loss_coef is %g; it must not be below 0", m->z_loss);
    m->is_sigmoid = strcmp(router, "sigmoid") == 0;
    if (!m->is_sigmoid && strcmp(router, "softmax") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "config.json: scoring_func is \"%s\"; \"softmax\" or "
                       "\"sigmoid\" would be right",
                       router);
    if (!(m->balance >= 0) || !(m->capacity >= 0) || !isfinite(m->balance) ||
        !isfinite(m->capacity) || !isfinite(m->route_scale))
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: router_aux_loss_coef %g, capacity_factor %g and "
                       "routed_scaling_factor %g must be numbers, the first two not below 0",
                       m->balance, m->capacity, m->route_scale);
    return VW_OK;
}

static vw_status read_reals(base_model *m, const vw_json *json, const vw_json_doc *doc,
                            const vw_json_value *root, vw_error *err)
{
    vw_status st;
    if ((st = json->get_real(doc, root, "rms_norm_eps", 1e-6, &m->eps, err)) ||
        (st = json->get_real(doc, root, "rope_theta", 10000, &m->rope_theta, err)) ||
        (st = json->get_real(doc, root, "dropout", 0, &m->dropout, err)) ||
        (st = json->get_real(doc, root, "initializer_range", 0.02, &m->init_std, err)))
        return st;
    if (!(m->eps > 0) || m->eps > 1)
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: rms_norm_eps is %g; expected a small positive "
                       "number such as 1e-6",
                       m->eps);
    if (!(m->rope_theta >= 1) || !isfinite(m->rope_theta))
        return vw_fail(err, VW_E_FORMAT, "config.json: rope_theta is %g; it must be at least 1",
                       m->rope_theta);
    if (!(m->dropout >= 0) || m->dropout >= 1)
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: dropout is %g; from 0 to below 1 would be right", m->dropout);
    if (!(m->init_std >= 0) || !isfinite(m->init_std))
        return vw_fail(err, VW_E_FORMAT,
                       "config.json: initializer_range is %g; it must not be below 0", m->init_std);
    return VW_OK;
}

static vw_status read_token(const vw_json *json, const vw_json_doc *doc, const vw_json_value *root,
                            const char *key, int32_t vocab_size, int32_t *id, vw_error *err)
{
    int64_t value;
    vw_status st = json->get_int(doc, root, key, -1, vocab_size - 1, -1, &value, err);
    if (!st)
        *id = (int32_t)value;
    return st;
}

vw_status base_configure(base_model *m, const vw_json *json, const vw_json_doc *config,
                         vw_error *err)
{
    const vw_json_value *root = json->root(config);
    vw_status st;
    if ((st = check_family(json, config, root, err)) ||
        (st = read_sizes(m, json, config, root, err)) || (st = check_sizes(m, err)) ||
        (st = read_router(m, json, config, root, err)) ||
        (st = read_reals(m, json, config, root, err)) ||
        (st = json->get_int(config, root, "max_position_embeddings", 1, 1 << 24, 2048,
                            &m->max_positions, err)) ||
        (st = json->get_bool(config, root, "tie_word_embeddings", 1, &m->is_tied, err)) ||
        (st = read_token(json, config, root, "bos_token_id", m->vocab_size, &m->info.bos, err)) ||
        (st = read_token(json, config, root, "eos_token_id", m->vocab_size, &m->info.eos, err)) ||
        (st = read_token(json, config, root, "pad_token_id", m->vocab_size, &m->info.pad, err)))
        return st;
    return VW_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct text {
    char *to;
    size_t room, n;
} text;

VW_PRINTF(2, 3)
static void put(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->n < t->room ? t->to + t->n : NULL, t->n < t->room ? t->room - t->n : 0,
                      format, args);
    va_end(args);
    t->n += n > 0 ? (size_t)n : 0;
}

static void put_int(text *t, const char *key, int64_t value)
{
    put(t, "  \"%s\": %lld,\n", key, (long long)value);
}

static void put_real(text *t, const char *key, double value)
{
    put(t, "  \"%s\": %.17g,\n", key, value);
}

static void put_token(text *t, const char *key, int32_t id)
{
    if (id >= 0)
        put_int(t, key, id);
}

static void put_experts(text *t, const base_options *o)
{
    put_int(t, "num_experts", o->num_experts);
    put_int(t, "num_experts_per_tok", o->top_k);
    put_int(t, "moe_intermediate_size", o->expert_dim ? o->expert_dim : o->mlp_dim);
    put_int(t, "n_shared_experts", o->num_shared_experts);
    put_int(t, "first_k_dense_replace", o->num_dense_layers);
    put(t, "  \"scoring_func\": \"%s\",\n  \"norm_topk_prob\": true,\n", routers[o->router]);
    put_real(t, "router_aux_loss_coef", o->router ? 0 : o->aux_weight);
    if (o->router_z_weight > 0)
        put_real(t, "router_z_loss_coef", o->router_z_weight);
    put_real(t, "capacity_factor", o->capacity);
}

vw_status base_new_config(void *self, const vw_new_model *about, char *to, size_t room,
                          vw_error *err)
{
    const base_options *o = ((const base_model *)self)->options;
    text t = {to, room, 0};
    put(&t,
        "{\n  \"architectures\": [\"VishwamaiForCausalLM\"],\n  \"model_type\": \"vishwamai\",\n"
        "  \"hidden_act\": \"silu\",\n");
    put_int(&t, "vocab_size", about->vocab_size ? about->vocab_size : o->vocab_size);
    put_int(&t, "hidden_size", o->hidden_dim);
    put_int(&t, "num_hidden_layers", o->num_layers);
    put_int(&t, "num_attention_heads", o->num_heads);
    put_int(&t, "num_key_value_heads", o->num_kv_heads);
    put_int(&t, "head_dim", o->head_dim);
    put_int(&t, "intermediate_size", o->mlp_dim);
    put_int(&t, "max_position_embeddings",
            about->max_positions ? about->max_positions : o->max_seq_len);
    if (o->num_experts > 1)
        put_experts(&t, o);
    put_real(&t, "rms_norm_eps", o->norm_eps);
    put_real(&t, "rope_theta", o->rope_theta);
    put_real(&t, "dropout", o->dropout_rate);
    put_real(&t, "initializer_range", 0.02 * o->init_scale);
    put_token(&t, "bos_token_id", about->vocab_size ? about->bos : -1);
    put_token(&t, "eos_token_id", about->vocab_size ? about->eos : -1);
    put_token(&t, "pad_token_id", about->vocab_size ? about->pad : -1);
    put(&t, "  \"tie_word_embeddings\": %s\n}\n", o->tie_embeddings ? "true" : "false");
    return t.n < room ? VW_OK
                      : vw_fail(err, VW_E_INVALID,
                                "a configuration of %zu characters does "
                                "not fit into %zu",
                                t.n, room);
}
