/* sampling.c - penalties on the host's side, the draw on the device's.
 *
 * The filters and the draw are the device's, so that a row of a wide vocabulary need not cross to
 * the host.  Penalties look back on the sequence; only when one is on is the row visited here.
 */
#include "core/sampling.h"

#include <string.h>
#include <sys/random.h>

#include "core/sections.h"

vw_status vw_sampling_from_settings(const vw_settings *settings, vw_sampling *sampling,
                                    vw_error *err)
{
    return vw_settings_bind(settings, "sampling", vw_sampling_options, sampling, err);
}

static bool has_penalties(const vw_sampling *w)
{
    return w->repeat_last_n != 0 && (w->repeat_penalty != 1 || w->presence_penalty != 0 ||
                                     w->frequency_penalty != 0);
}

vw_status vw_sampler_open(sampler *s, vw_engine *e, const vw_sampling *with, vw_error *err)
{
    memset(s, 0, sizeof *s);
    s->engine = e;
    s->with = *with;
    s->seed = (uint64_t)with->seed;
    if (with->seed < 0 && getrandom(&s->seed, sizeof s->seed, 0) != (ssize_t)sizeof s->seed)
        return vw_fail(err, VW_E_IO, "the system gave no random seed; set [sampling] seed");
    if (has_penalties(with)) {
        size_t bytes = (size_t)e->info->vocab_size * sizeof *s->counts;
        s->counts = vw_core_alloc(e->core, bytes);
        s->plain = vw_core_alloc(e->core, (size_t)e->info->vocab_size * sizeof *s->plain);
        if (!s->counts || !s->plain)
            return vw_fail(err, VW_E_NOMEM, "no memory to count %d tokens", e->info->vocab_size);
        memset(s->counts, 0, bytes);
    }
    return VW_OK;
}

void vw_sampler_close(sampler *s)
{
    if (s->engine) {
        vw_core_release(s->engine->core, s->counts);
        vw_core_release(s->engine->core, s->plain);
    }
    memset(s, 0, sizeof *s);
}

/* Keskar et al. 2019 (repeat); presence and frequency as OpenAI's API defines them. */
static float penalised(const vw_sampling *w, float logit, int32_t count)
{
    logit = (float)(logit > 0 ? logit / w->repeat_penalty : logit * w->repeat_penalty);
    return (float)(logit - w->presence_penalty - w->frequency_penalty * count);
}

static void penalise(sampler *s, const vw_sequence *sequence, int64_t n, float *row)
{
    int64_t first = 0;
    if (s->with.repeat_last_n > 0 && s->with.repeat_last_n < n)
        first = n - s->with.repeat_last_n;
    for (int64_t i = first; i < n; i++)
        s->counts[sequence->tokens[i]]++;
    for (int64_t i = first; i < n; i++) {
        int32_t id = sequence->tokens[i];
        if (s->counts[id])
            row[id] = penalised(&s->with, row[id], s->counts[id]);
        s->counts[id] = 0;
    }
}

/* Uniform in [0, 1) from seed and position: two rounds of splitmix64 (Steele et al. 2014). */
static double uniform(uint64_t seed, uint64_t position)
{
    uint64_t z = seed + position * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < 2; i++) {
        z += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
    }
    return (double)(z >> 11) * 0x1p-53;
}

/* Results lie at the start of the sampling space: token, then its log-probability. */
static vw_status sample(sampler *s, vw_tensor row, const vw_sample_desc *desc, int32_t *token,
                        float *logprob, vw_error *err)
{
    vw_engine *e = s->engine;
    void *dev = e->device->self;
    char *space = e->sample_space.data;
    struct { int32_t token; float logprob; } result;
    vw_status st = e->dev->sample(dev, e->stream, row, desc, (int32_t *)space,
                                  (float *)(space + sizeof result.token),
                                  space + SAMPLE_RESULT_BYTES, err);
    if (!st)
        st = e->dev->download(dev, e->stream, &result, space, sizeof result, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    if (!st) {
        *token = result.token;
        *logprob = result.logprob;
    }
    return st;
}

/* *log_sum: log sum exp of the row before penalties, which the device tells by the share of the
 * likeliest token. */
static vw_status apply_penalties(sampler *s, const vw_sequence *sequence, int64_t length,
                                 vw_tensor row, double *log_sum, vw_error *err)
{
    const vw_sample_desc likeliest = {0, 0, 1, 0, 0};
    vw_engine *e = s->engine;
    float *values, logprob;
    int32_t best;
    vw_status st = sample(s, row, &likeliest, &best, &logprob, err);
    if (!st)
        st = vw_row_to_host(e, row, &values, err);
    if (st)
        return st;
    memcpy(s->plain, values, vw_tensor_bytes(&row));
    *log_sum = (double)s->plain[best] - logprob;
    penalise(s, sequence, length, values);
    if (values == row.data)
        return VW_OK;
    return e->dev->upload(e->device->self, e->stream, row.data, values, vw_tensor_bytes(&row), err);
}

vw_status vw_sampler_draw(sampler *s, const vw_sequence *sequence, int64_t length, vw_tensor row,
                          int32_t *token, float *logprob, vw_error *err)
{
    vw_sample_desc desc = {(float)s->with.temperature, (int32_t)s->with.top_k,
                           (float)s->with.top_p, (float)s->with.min_p,
                           uniform(s->seed, (uint64_t)length)};
    double log_sum = 0;
    vw_status st = s->counts ? apply_penalties(s, sequence, length, row, &log_sum, err) : VW_OK;
    if (!st)
        st = sample(s, row, &desc, token, logprob, err);
    if (!st && s->counts)
        *logprob = (float)(s->plain[*token] - log_sum);
    return st;
}
