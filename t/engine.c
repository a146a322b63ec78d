/* engine.c - what users take for granted of an engine, as properties that need no big model.
 *
 * On the bundled model, and on a random one with grouped heads: the same tokens give the same logits
 * however they are fed, paged, forked or batched; limits are errors that change nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "t/engine-case.h"
#include "t/tap/tap.h"

enum { N = 150 };

/* ---- the same logits, however they come about ------------------------------------------------ */

static void test_chunks(const char *path, const char *settings)
{
    static const size_t chunks[] = {1, 2, 63, 64, 65, 149};
    int32_t ids[N];
    with_engine w;
    open_or_die(&w, path, settings);
    size_t values = (size_t)N * (size_t)w.info.vocab_size;
    random_ids(ids, N, w.info.vocab_size, 1);
    float *whole = all_logits(&w, ids, N, 0);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks && whole; i++) {
        float *got = all_logits(&w, ids, N, chunks[i]);
        if (got)
            near_array(got, whole, values, 2e-5, "chunks of %zu equal one (%s)", chunks[i], settings);
        free(got);
    }
    free(whole);
    engine_close(&w);
}

static void test_pages(const char *path)
{
    static const char *const pages[] = {"kv.page_tokens=16", "kv.page_tokens=32",
                                        "kv.page_tokens=7", "kv.page_tokens=1"};
    int32_t ids[N];
    with_engine w;
    open_or_die(&w, path, "kv.page_tokens=64");
    size_t values = (size_t)N * (size_t)w.info.vocab_size;
    random_ids(ids, N, w.info.vocab_size, 2);
    float *want = all_logits(&w, ids, N, 10);
    engine_close(&w);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        open_or_die(&w, path, pages[i]);
        float *got = all_logits(&w, ids, N, 10);
        if (got && want)
            near_array(got, want, values, 2e-5, "%s gives the logits of 64", pages[i]);
        free(got);
        engine_close(&w);
    }
    free(want);
}

/* Threads change nothing at all. */
static void test_threads(void)
{
    int32_t ids[N];
    with_engine w;
    float *want = NULL;
    for (int threads = 1; threads <= 4; threads *= 2) {
        char settings[64];
        snprintf(settings, sizeof settings, "vishwamai.threads=%d", threads);
        open_or_die(&w, NULL, settings);
        random_ids(ids, N, w.info.vocab_size, 3);
        float *got = all_logits(&w, ids, N, 50);
        if (got && want)
            is_mem(got, want, (size_t)N * (size_t)w.info.vocab_size * sizeof *got,
                   "%d threads give the bits of one", threads);
        free(want);
        want = got;
        engine_close(&w);
    }
    free(want);
}

/* Stored more coarsely, the cache moves the logits by a bounded amount, and not by nothing. */
static void test_kv_dtypes(void)
{
    static const struct { const char *settings; double bound; } kv[] = {
        {"kv.dtype=f16", 0.02}, {"kv.dtype=bf16", 0.2}, {"kv.dtype=int8", 0.3}};
    int32_t ids[N];
    with_engine w;
    open_or_die(&w, NULL, "kv.dtype=f32");
    size_t values = (size_t)N * (size_t)w.info.vocab_size;
    random_ids(ids, N, w.info.vocab_size, 4);
    float *want = all_logits(&w, ids, N, 1);
    engine_close(&w);
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++) {
        open_or_die(&w, NULL, kv[i].settings);
        float *got = all_logits(&w, ids, N, 1);
        if (got && want) {
            near_array(got, want, values, kv[i].bound, "%s is near f32", kv[i].settings);
            ok(memcmp(got, want, values * sizeof *got) != 0, "%s is in use", kv[i].settings);
        }
        free(got);
        engine_close(&w);
    }
    free(want);
}

/* Root mean square of a - b over that of b around its mean. */
static double relative_error(const float *a, const float *b, size_t n)
{
    double mean = 0, spread = 0, error = 0;
    for (size_t i = 0; i < n; i++)
        mean += b[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        spread += (b[i] - mean) * (b[i] - mean);
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    }
    return sqrt(error / spread);
}

/* Re-quantised weights.  One scale a row of about normal values is amax / 127 with amax = 3.3 sigma,
 * so a weight is off by 3.3 / 127 / sqrt(12) = 0.75 % of sigma, and so is a product; 21 products in a
 * row add up to 0.75 % * sqrt(21) = 3.4 % at most.  Quantised activations, with outliers, cost about
 * twice that again, and with one bit less four times; scales for 32 values (amax = 2.1 sigma) cost
 * less. */
static void test_weight_formats(void)
{
    static const struct { const char *settings; double bound; } formats[] = {
        {"gemm.plugin=cpu model.weights=int8", 0.034},
        {"gemm.plugin=cpu model.weights=int8_block32", 0.025},
        {"gemm.plugin=cpu model.weights=int8 gemm.cpu.activations=int8", 0.1},
        {"gemm.plugin=cpu model.weights=int8 gemm.cpu.activations=int7", 0.2},
        {"gemm.plugin=ref model.weights=int8", 0.034},
    };
    int32_t ids[N];
    with_engine w;
    open_or_die(&w, NULL, "");
    size_t values = (size_t)N * (size_t)w.info.vocab_size;
    random_ids(ids, N, w.info.vocab_size, 5);
    float *want = all_logits(&w, ids, N, 0);
    engine_close(&w);
    for (size_t i = 0; i < sizeof formats / sizeof *formats && want; i++) {
        open_or_die(&w, NULL, formats[i].settings);
        float *got = all_logits(&w, ids, N, 0);
        double error = got ? relative_error(got, want, values) : 1;
        ok(error < formats[i].bound, "%s: %.2f %% of the spread, below %.1f %%", formats[i].settings,
           100 * error, 100 * formats[i].bound);
        ok(error > 1e-4, "%s is in use", formats[i].settings);
        free(got);
        engine_close(&w);
    }
    free(want);
}

/* ---- sequences ------------------------------------------------------------------------------- */

typedef struct last_rows { /* of up to 9 feeds */
    float *row[9];
    size_t vocab;
} last_rows;

static vw_status keep_last(void *arg, size_t feed, int64_t position, const float *logits,
                           vw_error *err)
{
    last_rows *r = arg;
    (void)position;
    (void)err;
    memcpy(r->row[feed], logits, r->vocab * sizeof *logits);
    return VW_OK;
}

static last_rows rows_new(const with_engine *w)
{
    last_rows r = {.vocab = (size_t)w->info.vocab_size};
    for (int i = 0; i < 9; i++)
        if (!(r.row[i] = calloc(r.vocab, sizeof(float))))
            bail_out("no memory");
    return r;
}

static void rows_free(last_rows *r)
{
    for (int i = 0; i < 9; i++)
        free(r->row[i]);
}

static void feed_last(with_engine *w, vw_sequence *s, const int32_t *ids, int64_t n, float *row)
{
    last_rows r = {.row = {row}, .vocab = (size_t)w->info.vocab_size};
    vw_feed feed = {s, ids, n, VW_WANT_LAST};
    vw_status st = vw_engine_feed(w->engine, &feed, 1, keep_last, &r, &w->err);
    ok(st == VW_OK, "%lld tokens are fed: %s", (long long)n, st ? w->err.text : "ok");
}

/* Nine sequences fed together, against each fed alone; with is_exact to the last bit. */
static void test_batch(const char *settings, bool is_exact)
{
    int32_t ids[9][40];
    vw_feed feeds[9];
    with_engine w;
    open_or_die(&w, NULL, settings);
    last_rows alone = rows_new(&w), together = rows_new(&w);
    for (int i = 0; i < 9; i++) {
        vw_sequence *s = sequence(&w);
        int64_t n = 40 - 4 * i;
        random_ids(ids[i], 40, w.info.vocab_size, 10 + (unsigned)i);
        feed_last(&w, s, ids[i], n, alone.row[i]);
        vw_sequence_free(s);
    }
    for (int i = 0; i < 9; i++)
        feeds[i] = (vw_feed){sequence(&w), ids[i], 40 - 4 * i, VW_WANT_LAST};
    vw_status st = vw_engine_feed(w.engine, feeds, 9, keep_last, &together, &w.err);
    ok(st == VW_OK, "nine sequences in one call: %s", st ? w.err.text : "ok");
    for (int i = 0; i < 9; i++) {
        if (is_exact)
            is_mem(together.row[i], alone.row[i], alone.vocab * sizeof(float),
                   "sequence %d, the bits of alone", i);
        else
            near_array(together.row[i], alone.row[i], alone.vocab, 2e-5, "sequence %d, as if alone",
                       i);
        vw_sequence_free(feeds[i].sequence);
    }
    rows_free(&alone);
    rows_free(&together);
    engine_close(&w);
}

static void test_fork(void)
{
    int32_t ids[N], other[20];
    with_engine w;
    vw_sequence *trunk, *branch;
    open_or_die(&w, NULL, "");
    last_rows r = rows_new(&w);
    random_ids(ids, N, w.info.vocab_size, 20);
    random_ids(other, 20, w.info.vocab_size, 21);
    trunk = sequence(&w);
    feed_last(&w, trunk, ids, 100, r.row[0]);
    vw_engine_get_info(w.engine, &w.info);
    int64_t free_pages = w.info.kv_pages_free;
    ok(vw_sequence_fork(trunk, &branch, &w.err) == VW_OK, "a sequence forks");
    vw_engine_get_info(w.engine, &w.info);
    is_int(w.info.kv_pages_free, free_pages, "a fork takes no pages");
    feed_last(&w, branch, other, 20, r.row[1]);
    feed_last(&w, trunk, ids + 100, 20, r.row[2]);
    vw_sequence_free(branch);
    vw_sequence *fresh = sequence(&w);
    feed_last(&w, fresh, ids, 120, r.row[3]);
    near_array(r.row[2], r.row[3], r.vocab, 2e-5, "the branch left its trunk alone");
    vw_sequence_truncate(fresh, 100, &w.err);
    is_int(vw_sequence_length(fresh), 100, "a sequence is cut");
    feed_last(&w, fresh, other, 20, r.row[4]);
    near_array(r.row[1], r.row[4], r.vocab, 2e-5, "the branch equals a cut and refed sequence");
    vw_sequence_free(fresh);
    vw_sequence_free(trunk);
    vw_engine_get_info(w.engine, &w.info);
    is_int(w.info.kv_pages_free, w.info.kv_pages, "no page is lost");
    rows_free(&r);
    engine_close(&w);
}

/* Pages that a trunk has taken ahead (a feed that failed, or drafts, leave such) are its own. */
static void test_fork_ahead(void)
{
    int32_t ids[51], other[20];
    with_engine w;
    vw_sequence *trunk, *branch;
    open_or_die(&w, NULL, "kv.page_tokens=16");
    last_rows r = rows_new(&w);
    random_ids(ids, 51, w.info.vocab_size, 22);
    random_ids(other, 20, w.info.vocab_size, 23);
    trunk = sequence(&w);
    feed_last(&w, trunk, ids, 30, r.row[0]);
    if (vw_kv_reserve(trunk, 20, &w.err) || vw_sequence_fork(trunk, &branch, &w.err))
        bail_out("%s", w.err.text);
    feed_last(&w, trunk, ids + 30, 20, r.row[0]);
    feed_last(&w, branch, other, 20, r.row[0]);
    feed_last(&w, trunk, ids + 50, 1, r.row[0]);
    vw_sequence_free(branch);
    vw_sequence_free(trunk);
    vw_sequence *fresh = sequence(&w);
    feed_last(&w, fresh, ids, 51, r.row[1]);
    near_array(r.row[0], r.row[1], r.vocab, 2e-5, "pages that were taken ahead are not shared");
    vw_sequence_free(fresh);
    vw_engine_get_info(w.engine, &w.info);
    is_int(w.info.kv_pages_free, w.info.kv_pages, "nor lost");
    rows_free(&r);
    engine_close(&w);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void test_limits(void)
{
    int32_t ids[65], wrong = 5000;
    with_engine w;
    open_or_die(&w, NULL, "engine.ctx_size=64 kv.page_tokens=16 engine.max_sequences=2");
    random_ids(ids, 65, w.info.vocab_size, 30);
    last_rows r = rows_new(&w);
    vw_sequence *s = sequence(&w), *t = sequence(&w);
    feed_last(&w, s, ids, 64, r.row[0]);
    vw_feed one_more = {s, ids, 1, VW_WANT_LAST};
    is_int(vw_engine_feed(w.engine, &one_more, 1, NULL, NULL, &w.err), VW_E_FULL,
           "one token beyond a full context is refused");
    is_str(w.err.text, "the context is full: 64 tokens and 1 more exceed its 64 ([engine] ctx_size)",
           "and says so");
    is_int(vw_sequence_length(s), 64, "nothing was appended");
    vw_feed bad = {t, &wrong, 1, VW_WANT_LAST};
    is_int(vw_engine_feed(w.engine, &bad, 1, NULL, NULL, &w.err), VW_E_INVALID, "a wrong id");
    is_str(w.err.text, "token 5000 at position 0 is not in the vocabulary of 1024", "named");
    vw_sequence_free(s);
    vw_sequence_free(t);
    vw_engine_interrupt(w.engine);
    t = sequence(&w);
    vw_feed feed = {t, ids, 64, VW_WANT_LAST};
    is_int(vw_engine_feed(w.engine, &feed, 1, NULL, NULL, &w.err), VW_E_INTERRUPTED, "interrupted");
    is_int(vw_sequence_length(t), 0, "an interrupted feed appends nothing");
    is_int(vw_engine_feed(w.engine, &feed, 1, NULL, NULL, &w.err), VW_OK, "and the next one runs");
    vw_sequence_free(t);
    rows_free(&r);
    engine_close(&w);
}

static void test_full_pool(void)
{
    int32_t ids[64];
    with_engine w;
    open_or_die(&w, NULL, "engine.ctx_size=64 kv.page_tokens=16");
    uint64_t context_bytes = w.info.kv_token_bytes * 64;
    engine_close(&w);
    char settings[128];
    snprintf(settings, sizeof settings, "engine.ctx_size=64 kv.page_tokens=16 kv.pool_bytes=%llu",
             (unsigned long long)(context_bytes + context_bytes / 2));
    open_or_die(&w, NULL, settings);
    is_int(w.info.kv_pages, 6, "a pool of one and a half contexts");
    random_ids(ids, 64, w.info.vocab_size, 31);
    vw_feed a = {sequence(&w), ids, 64, VW_WANT_LAST}, b = {sequence(&w), ids, 33, VW_WANT_LAST};
    is_int(vw_engine_feed(w.engine, &a, 1, NULL, NULL, &w.err), VW_OK, "the first fits");
    is_int(vw_engine_feed(w.engine, &b, 1, NULL, NULL, &w.err), VW_E_FULL, "the second does not");
    like(w.err.text, "the KV cache is full: 3 pages of 16 tokens are needed and 2 of 6 are free",
         "and says what is needed and what there is");
    is_int(vw_sequence_length(b.sequence), 0, "nothing was appended");
    vw_sequence_free(a.sequence);
    is_int(vw_engine_feed(w.engine, &b, 1, NULL, NULL, &w.err), VW_OK, "freed pages serve again");
    vw_sequence_free(b.sequence);
    engine_close(&w);
    snprintf(settings, sizeof settings, "engine.ctx_size=64 kv.pool_bytes=1000");
    ok(!engine_open(&w, NULL, settings), "a pool smaller than a context is refused");
    like(w.err.text, "[kv] pool_bytes = 1000 holds 0 tokens, fewer than one context of 64", "named");
    engine_close(&w);
}

int main(void)
{
    const char *odd = source_file("t/data/goldens/gemma-odd-bf16");
    setenv("VW_MODEL", source_file("etc/models/tiny-gemma"), 1);
    test_chunks(NULL, "engine.batch_tokens=512");
    test_chunks(NULL, "engine.batch_tokens=48 kv.page_tokens=16");
    test_chunks(odd, "engine.batch_tokens=512 attention.plugin=ref");
    test_pages(NULL);
    test_pages(odd);
    test_threads();
    test_kv_dtypes();
    test_weight_formats();
    test_batch("engine.batch_tokens=64", false);
    test_batch("engine.batch_tokens=64 engine.batch_invariant=yes", true);
    test_fork();
    test_fork_ahead();
    test_limits();
    test_full_pool();
    return done_testing();
}
