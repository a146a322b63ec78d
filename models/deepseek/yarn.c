/* yarn.c - positions of a DeepSeek model: which frequencies rotate, and what they do to the scale.
 *
 * YaRN (Peng et al. 2023, arXiv 2309.00071, section 3.2): frequencies that turn often within the
 * original context stay, those that turn less than once are divided by the factor, between them lies
 * a ramp.  DeepSeek multiplies the scale of attention by the square of
 *
 *     get_mscale(s, a) = 0.1 a ln s + 1        for s > 1
 *
 * at a = mscale_all_dim, and cosines and sines by the quotient of those of mscale and mscale_all_dim.
 */
#include "deepseek.h"

#include <math.h>

static double get_mscale(double factor, double a)
{
    return factor > 1 ? 0.1 * a * log(factor) + 1 : 1;
}

static const double MOST = 1e12; /* of a number of YaRN; the original context is written down as a whole one */

static vw_status above_zero(const char *what, double value, vw_error *err)
{
    if (value > 0 && value <= MOST)
        return VW_OK;
    return vw_fail(err, VW_E_FORMAT, "the %s of yarn is %g; it must be above 0 and no more than %g", what,
                   value, MOST);
}

static vw_status check_positions(const deepseek *m, vw_error *err)
{
    vw_status st;
    if (!(m->theta > 1) || !isfinite(m->theta))
        return vw_fail(err, VW_E_FORMAT, "%s is %g; it must be above 1", m->words->theta, m->theta);
    if (m->factor == 1)
        return VW_OK;
    if ((st = above_zero("factor", m->factor, err)) ||
        (st = above_zero("original context", m->original, err)) ||
        (st = above_zero("beta_fast", m->beta_fast, err)) ||
        (st = above_zero("beta_slow", m->beta_slow, err)))
        return st;
    if (!(m->mscale >= 0) || !(m->mscale_all >= 0) || m->mscale > 100 || m->mscale_all > 100)
        return vw_fail(err, VW_E_FORMAT, "yarn with mscale %g and mscale_all_dim %g; expected numbers from "
                       "0 to 100", m->mscale, m->mscale_all);
    return VW_OK;
}

static vw_status read_yarn(deepseek *m, const vw_json *json, const vw_json_doc *doc,
                           const vw_json_value *v, vw_error *err)
{
    vw_status st;
    if ((st = json->get_real(doc, v, "factor", 1, &m->factor, err)) ||
        (st = json->get_real(doc, v, "original_max_position_embeddings",
                             (double)m->max_positions, &m->original, err)) ||
        (st = json->get_real(doc, v, "beta_fast", 32, &m->beta_fast, err)) ||
        (st = json->get_real(doc, v, "beta_slow", 1, &m->beta_slow, err)) ||
        (st = json->get_real(doc, v, "mscale", 1, &m->mscale, err)) ||
        (st = json->get_real(doc, v, "mscale_all_dim", 0, &m->mscale_all, err)))
        return st;
    return json->get_bool(doc, v, "truncate", 1, &m->truncates, err);
}

/* Published files have rope_theta and rope_scaling; newer ones rope_parameters with all of it. */
vw_status deepseek_read_positions(deepseek *m, const vw_json *json, const vw_json_doc *doc,
                                  vw_error *err)
{
    const vw_json_value *root = json->root(doc), *v = json->get(root, "rope_parameters");
    const char *type;
    vw_status st = json->get_real(doc, root, "rope_theta", 1e4, &m->theta, err);
    m->factor = 1;
    if (json->type(v) != VW_JSON_OBJECT)
        v = json->get(root, "rope_scaling");
    if (!st && json->type(v) == VW_JSON_OBJECT) {
        if ((st = json->get_real(doc, v, "rope_theta", m->theta, &m->theta, err)) ||
            (st = json->get_string(doc, v, "type", "default", &type, err)) ||
            (st = json->get_string(doc, v, "rope_type", type, &type, err)))
            return st;
        if (!strcmp(type, "yarn"))
            st = read_yarn(m, json, doc, v, err);
        else if (strcmp(type, "default") != 0)
            return vw_fail(err, VW_E_UNSUPPORTED, "config.json: rope_type is \"%s\"; DeepSeek uses "
                           "\"default\" or \"yarn\"", type);
    }
    return st ? st : json->get_bool(doc, root, "rope_interleave", 1, &m->is_interleaved, err);
}

/* The pair that turns `turns` times within the original context. */
static double pair_of(const deepseek *m, double turns)
{
    const double pi = 3.14159265358979323846;
    return m->rope * log(m->original / (turns * 2 * pi)) / (2 * log(m->theta));
}

static double ramp(const deepseek *m, int i)
{
    double low = pair_of(m, m->beta_fast), high = pair_of(m, m->beta_slow);
    if (m->truncates) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, m->rope - 1);
    double at = (i - low) / (high == low ? 0.001 : high - low);
    return fmin(fmax(at, 0), 1);
}

vw_status deepseek_make_rotation(deepseek *m, vw_error *err)
{
    const vw_rope_pairing pairing = m->is_interleaved ? VW_ROPE_PAIRS : VW_ROPE_HALF;
    vw_status st = check_positions(m, err);
    if (st)
        return st;
    double all = get_mscale(m->factor, m->mscale_all);
    float turn = (float)(get_mscale(m->factor, m->mscale) / all);
    m->inv_freq = m->host->alloc(m->host->core, (size_t)m->rope / 2 * sizeof *m->inv_freq);
    if (!m->inv_freq)
        return vw_fail(err, VW_E_NOMEM, "no memory for a rotation of %d values", m->rope);
    for (int i = 0; i < m->rope / 2; i++) {
        double f = pow(m->theta, -2.0 * i / m->rope), share = m->factor != 1 ? ramp(m, i) : 0;
        m->inv_freq[i] = (float)(f * (1 - share) + f / m->factor * share);
    }
    m->q_rope = (vw_nn_rope){pairing, m->nope + m->rope, m->nope, m->rope, m->inv_freq, turn};
    m->k_rope = (vw_nn_rope){pairing, m->kv_rank + m->rope, m->kv_rank, m->rope, m->inv_freq, turn};
    m->scale = (float)(all * all / sqrt(m->nope + m->rope));
    return VW_OK;
}
