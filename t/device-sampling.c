/* device-sampling.c - every installed device's sampling: filters one by one on a row whose shares are
 * known, and all together on a large vocabulary against a sampler that sorts.
 */
#include "t/device-case.h"

#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

/* One draw from one row of n logits. */
static int32_t draw(const bench *b, const float *logits, int64_t n, vw_sample_desc desc,
                    float *logprob)
{
    vw_buffer row, out, space;
    int32_t result[2];
    size_t bytes = b->ops->sample_bytes(b->self, 1, n);
    to_device(b, logits, (size_t)n * 4, &row);
    to_device(b, NULL, sizeof result, &out);
    to_device(b, NULL, bytes, &space);
    must(b->ops->sample(b->self, b->stream, vw_tensor_2d(row.data, VW_F32, 1, n), &desc, out.data,
                        (float *)out.data + 1, space.data, &err),
         "sample");
    from_device(b, result, out.data, sizeof result);
    if (logprob)
        memcpy(logprob, &result[1], sizeof *logprob);
    b->ops->free(b->self, &row);
    b->ops->free(b->self, &out);
    b->ops->free(b->self, &space);
    return result[0];
}

static void test_greedy(const bench *b)
{
    float row[600], logprob;
    double sum = 0;
    for (int i = 0; i < 600; i++)
        row[i] = uniform(-4, 4);
    row[77] = row[5] = row[599] = 6;
    for (int i = 0; i < 600; i++)
        sum += exp((double)row[i]);
    vw_sample_desc desc = {.top_p = 1};
    is_int(draw(b, row, 600, desc, &logprob), 5, "%s: greedy, ties to the lower id", b->name);
    near(logprob, 6 - log(sum), 1e-6, "%s: log-probability", b->name);
    row[300] = NAN;
    is_int(draw(b, row, 600, desc, NULL), 5, "%s: NaN is not the largest", b->name);
}

/* p = 0.05, 0.4, 0.1, 0.3, 0.15 by id: which tokens can each filter draw, and with what share? */
static void test_filters(const bench *b)
{
    static const double p[] = {0.05, 0.4, 0.1, 0.3, 0.15};
    static const struct {
        vw_sample_desc desc;
        const char *drawn; /* for uniform = 0.04, 0.14 .. 0.94 */
    } cases[] = {
        {{1, 0, 1, 0, 0}, "0111123334"},
        {{1, 2, 1, 0, 0}, "1111113333"},
        {{1, 1, 1, 0, 0}, "1111111111"},
        {{1, 9, 1, 0, 0}, "0111123334"},
        {{1, 0, 0.6f, 0, 0}, "1111113333"},
        {{1, 0, 0.0f, 0, 0}, "1111111111"},
        {{1, 0, 0.75f, 0, 0}, "1111133344"},
        {{1, 2, 0.5f, 0, 0}, "1111111111"}, /* 0.4 of the 0.7 that top-k leaves is above half */
        {{1, 0, 1, 0.5f, 0}, "1111113333"},
        {{1, 0, 1, 1, 0}, "1111111111"},
        {{0.01f, 0, 1, 0, 0}, "1111111111"},
    };
    float row[5], twin[4] = {1, 1, 1, 1};
    for (int i = 0; i < 5; i++)
        row[i] = (float)log(p[i]) + 3;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char drawn[11] = "";
        vw_sample_desc desc = cases[c].desc;
        for (int i = 0; i < 10; i++) {
            desc.uniform = 0.04 + 0.1 * i;
            drawn[i] = (char)('0' + draw(b, row, 5, desc, NULL));
        }
        is_str(drawn, cases[c].drawn, "%s: top_k %d, top_p %g, min_p %g, temperature %g", b->name,
               desc.top_k, (double)desc.top_p, (double)desc.min_p, (double)desc.temperature);
    }
    vw_sample_desc two = {1, 2, 1, 0, 0.99};
    is_int(draw(b, twin, 4, two, NULL), 1, "%s: of equals top-k keeps the lower ids", b->name);
}

/* A large vocabulary: the filter by heap against one by sorting. */
static const float *sorting;

static int by_value(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    return sorting[i] != sorting[j] ? (sorting[i] < sorting[j] ? 1 : -1) : (i < j ? -1 : 1);
}

static int by_id(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    return (i > j) - (i < j);
}

static int32_t sorted_draw(const float *row, int32_t n, vw_sample_desc d)
{
    int32_t *ids = malloc((size_t)n * sizeof *ids), m = 0, kept = d.top_k > 0 ? d.top_k : n, token;
    double total = 0, sum = 0;
    for (int32_t i = 0; i < n; i++)
        ids[i] = i;
    sorting = row;
    qsort(ids, (size_t)n, sizeof *ids, by_value);
    double best = (double)row[ids[0]], t = (double)d.temperature;
    for (int32_t i = 0; i < kept; i++)
        total += exp(((double)row[ids[i]] - best) / t);
    for (sum = 0; m < kept && (m == 0 || sum < (double)d.top_p * total); m++)
        sum += exp(((double)row[ids[m]] - best) / t);
    while (m > 1 && exp(((double)row[ids[m - 1]] - best) / t) < (double)d.min_p)
        m--;
    qsort(ids, (size_t)m, sizeof *ids, by_id);
    for (int32_t i = total = 0; i < m; i++)
        total += exp(((double)row[ids[i]] - best) / t);
    token = ids[m - 1];
    sum = 0;
    for (int32_t i = 0; i < m; i++) {
        sum += exp(((double)row[ids[i]] - best) / t);
        if (sum > d.uniform * total) {
            token = ids[i];
            break;
        }
    }
    free(ids);
    return token;
}

static void test_large_vocabulary(const bench *b)
{
    static const vw_sample_desc descs[] = {
        {0.8f, 40, 1, 0, 0.3}, {0.7f, 0, 0.9f, 0, 0.6},   {1, 64, 0.95f, 0.05f, 0.9},
        {1.5f, 0, 1, 0, 0.5},  {0.9f, 0, 0.999f, 0, 0.7}, {1, 5000, 0.5f, 0, 0.2},
    };
    enum { N = 100003 };
    float *row = malloc(N * sizeof *row);
    for (int i = 0; i < N; i++)
        row[i] = 3 * uniform(-1, 1) + 4 * uniform(0, 1) * uniform(0, 1) * uniform(0, 1);
    for (size_t i = 0; i < sizeof descs / sizeof *descs; i++)
        is_int(draw(b, row, N, descs[i], NULL), sorted_draw(row, N, descs[i]),
               "%s: vocabulary of %d, filters %zu", b->name, N, i);
    free(row);
}

static void test_device(const bench *b)
{
    test_greedy(b);
    test_filters(b);
    test_large_vocabulary(b);
}

int main(void)
{
    return test_devices(test_device);
}
