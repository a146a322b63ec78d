/* engine.c - what users take for granted of an engine, as properties that need no big model.
 *
 * On the bundled model, and on a random one with grouped heads: the same tokens give the same logits
 * however they are fed, paged, forked or batched; text is whole; limits are errors that change
 * nothing; a decoded token allocates nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/generate_service.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

enum { N = 150 };

static const vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};

static void random_ids(int32_t *ids, size_t n, int32_t vocab, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = 3 + (int32_t)((seed >> 8) % (unsigned)(vocab - 3));
    }
}

static void open_or_die(with_engine *w, const char *path, const char *settings)
{
    if (!engine_open(w, path, settings))
        bail_out("%s", w->err.text);
}

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

static vw_sequence *sequence(with_engine *w)
{
    vw_sequence *s;
    if (vw_sequence_new(w->engine, &s, &w->err))
        bail_out("%s", w->err.text);
    return s;
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

/* ---- programs of another age ------------------------------------------------------------------ */

/* A program that was compiled when the structs were shorter: nothing behind its own is read or
 * written. */
static void test_sizes(void)
{
    const size_t shorter = offsetof(vw_engine_info, n_stop);
    unsigned char untouched[sizeof(vw_engine_info)];
    with_engine w;
    vw_engine_info info;
    vw_engine *e;
    open_or_die(&w, NULL, "engine.ctx_size=64");
    memset(&info, 0xA5, sizeof info);
    memset(untouched, 0xA5, sizeof untouched);
    info.size = shorter;
    vw_engine_get_info(w.engine, &info);
    is_int(info.vocab_size, w.info.vocab_size, "a shorter struct is filled");
    is_int((long long)info.size, (long long)shorter, "says how far");
    is_mem((char *)&info + shorter, untouched, sizeof info - shorter, "and nothing behind it is");
    info.size = sizeof info + 8;
    vw_engine_get_info(w.engine, &info);
    is_int((long long)info.size, sizeof info, "of a longer one, what is known");
    vw_engine_options o = {.size = offsetof(vw_engine_options, only_plan), .no_tokenizer = 1,
                           .only_plan = 1};
    if (vw_engine_open(w.core, &o, &e, &w.err))
        bail_out("%s", w.err.text);
    vw_sequence *s;
    int32_t id = 5;
    if (vw_sequence_new(e, &s, &w.err))
        bail_out("%s", w.err.text);
    vw_feed feed = {s, &id, 1, VW_WANT_NOTHING};
    is_int(vw_engine_feed(e, &feed, 1, NULL, NULL, &w.err), VW_OK, "an option that it did not know is not set");
    vw_sequence_free(s);
    vw_engine_close(e);
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
    is_str(w.err.text, "the context is full: 64 tokens and 1 more exceed its 64 ([engine] ctx_size, "
           "--ctx-size)", "and says so");
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

/* ---- generation ------------------------------------------------------------------------------ */

typedef struct shown {
    char text[4096];
    size_t n;
    bool is_valid;
    int n_pieces;
    double logprob;
} shown;

static bool is_utf8(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < n; ) {
        size_t more = p[i] < 0x80 ? 0 : p[i] >= 0xF0 ? 3 : p[i] >= 0xE0 ? 2 : p[i] >= 0xC2 ? 1 : 9;
        if (more == 9 || i + more >= n)
            return false;
        for (size_t j = 1; j <= more; j++)
            if ((p[i + j] & 0xC0) != 0x80)
                return false;
        i += more + 1;
    }
    return true;
}

static int show(void *arg, const vw_piece *piece)
{
    shown *s = arg;
    s->is_valid = s->is_valid && is_utf8(piece->text, piece->text_bytes);
    if (s->n + piece->text_bytes < sizeof s->text) {
        memcpy(s->text + s->n, piece->text, piece->text_bytes);
        s->n += piece->text_bytes;
        s->text[s->n] = '\0';
    }
    s->n_pieces += piece->token >= 0;
    s->logprob += piece->logprob;
    return 0;
}

static vw_generate_stats generate(with_engine *w, const char *prompt, const vw_sampling *sampling,
                                  const char *const *stop, int64_t max_tokens, shown *out,
                                  int32_t *ids, size_t room)
{
    int32_t prompt_ids[256];
    size_t n;
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sequence *s = sequence(w);
    memset(out, 0, sizeof *out);
    out->is_valid = true;
    if (vw_engine_encode(w->engine, prompt, strlen(prompt), -1, prompt_ids, 256, &n, &w->err))
        bail_out("%s", w->err.text);
    vw_generate_options o = {.size = sizeof o, .prompt = prompt_ids, .n_prompt = n,
                             .max_tokens = max_tokens, .sampling = sampling, .stop = stop,
                             .on_piece = show, .arg = out};
    vw_status st = vw_generate(w->engine, s, &o, ids, room, &stats, &w->err);
    ok(st == VW_OK, "generates: %s", st ? w->err.text : "ok");
    vw_sequence_free(s);
    return stats;
}

/* As a signal would, at the moment when the first token is shown. */
static int interrupt_at_first(void *arg, const vw_piece *piece)
{
    with_engine *w = arg;
    if (piece->token >= 0)
        vw_engine_interrupt(w->engine);
    return 0;
}

static void test_interrupt(with_engine *w)
{
    int32_t prompt[20], ids[8];
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sequence *s = sequence(w);
    random_ids(prompt, 20, w->info.vocab_size, 40);
    vw_generate_options o = {.size = sizeof o, .prompt = prompt, .n_prompt = 20, .max_tokens = 8,
                             .sampling = &greedy, .on_piece = interrupt_at_first, .arg = w};
    vw_status st = vw_generate(w->engine, s, &o, ids, 8, &stats, &w->err);
    ok(st == VW_OK, "an interrupted generation is no error: %s", st ? w->err.text : "ok");
    is_int(stats.finish, VW_FINISH_INTERRUPTED, "its end is told");
    is_int(stats.n_tokens, 1, "what came is kept");
    is_int(vw_sequence_length(s), 20, "the sequence holds the prompt");
    vw_sequence_truncate(s, 0, &w->err);
    vw_engine_interrupt(w->engine);
    o.on_piece = NULL;
    st = vw_generate(w->engine, s, &o, ids, 8, &stats, &w->err);
    ok(st == VW_OK, "an interrupt from before does not end a generation: %s",
       st ? w->err.text : "ok");
    is_int(stats.n_tokens, 8, "it goes to its end");
    vw_sequence_free(s);
}

static void test_stop_strings(with_engine *w)
{
    static const char *const stops[][3] = {{"crown", NULL}, {"not bear", "xyz", NULL},
                                           {"ear the cr", "the crowd", NULL}, {"zzz", NULL}};
    shown all, cut;
    generate(w, "ROMEO:\n", &greedy, NULL, 40, &all, NULL, 0);
    for (size_t i = 0; i < 4; i++) {
        vw_generate_stats stats = generate(w, "ROMEO:\n", &greedy, stops[i], 40, &cut, NULL, 0);
        const char *at = strstr(all.text, stops[i][0]);
        is_int(stats.finish, at ? VW_FINISH_STOP_STRING : VW_FINISH_LENGTH, "\"%s\" stops or not",
               stops[i][0]);
        is_int(cut.n, at ? at - all.text : (long)all.n, "all before \"%s\" and nothing of it",
               stops[i][0]);
        ok(memcmp(cut.text, all.text, cut.n) == 0, "and it is the same text");
    }
}

static void test_seeds(with_engine *w)
{
    vw_sampling warm = {.temperature = 1.2, .top_p = 1, .repeat_penalty = 1, .seed = 7};
    shown a, b;
    generate(w, "ROMEO:\n", &warm, NULL, 60, &a, NULL, 0);
    generate(w, "ROMEO:\n", &warm, NULL, 60, &b, NULL, 0);
    is_str(a.text, b.text, "the same seed, the same text");
    ok(a.is_valid, "every piece is whole UTF-8");
    warm.seed = 8;
    generate(w, "ROMEO:\n", &warm, NULL, 60, &b, NULL, 0);
    ok(strcmp(a.text, b.text) != 0, "another seed, another text");
    warm.top_k = 1;
    generate(w, "ROMEO:\n", &warm, NULL, 60, &a, NULL, 0);
    generate(w, "ROMEO:\n", &greedy, NULL, 60, &b, NULL, 0);
    is_str(a.text, b.text, "top-k 1 is greedy");
}

static void test_penalties(with_engine *w)
{
    vw_sampling s = greedy;
    int32_t plain[100] = {0}, penalised[100] = {0};
    shown out;
    generate(w, "ROMEO:\n", &greedy, NULL, 100, &out, plain, 100);
    s.frequency_penalty = 100; /* no token twice in a row of this length */
    s.repeat_last_n = -1;
    s.ignore_eos = 1;
    vw_generate_stats stats = generate(w, "ROMEO:\n", &s, NULL, 100, &out, penalised, 100);
    int repeats = 0;
    for (int i = 0; i < stats.n_tokens; i++)
        for (int j = 0; j < i; j++)
            repeats += penalised[i] == penalised[j];
    is_int(repeats, 0, "a large frequency penalty lets no token come twice");
    s.frequency_penalty = 0;
    s.repeat_penalty = 1.3;
    generate(w, "ROMEO:\n", &s, NULL, 100, &out, penalised, 100);
    ok(memcmp(plain, penalised, sizeof plain) != 0, "a repeat penalty changes the text");
}

static void test_scores(with_engine *w)
{
    int32_t ids[70];
    size_t n, n_greedy;
    double logprob;
    shown out;
    if (vw_engine_encode(w->engine, "ROMEO:\n", 7, -1, ids, 70, &n, &w->err))
        bail_out("%s", w->err.text);
    vw_generate_stats stats = generate(w, "ROMEO:\n", &greedy, NULL, 40, &out, ids + n, 40);
    vw_status st = vw_score(w->engine, ids, n + (size_t)stats.n_tokens, n, &logprob, &n_greedy,
                            &w->err);
    ok(st == VW_OK, "scores: %s", st ? w->err.text : "ok");
    near(logprob, stats.logprob, 1e-3, "a score is the sum of the log-probabilities");
    near(out.logprob, stats.logprob, 1e-3, "and so are the pieces'");
    is_int(n_greedy, stats.n_tokens, "every greedy token is the most likely one");
}

/* Random ids, byte pieces among them: each piece valid, the whole equal to decoding at once. */
/* What ways of reasoning get: the text that vw_generate shows, and its scores. */
static void test_service(with_engine *w)
{
    static const char *const stop[] = {"crown", NULL};
    const vw_generate_service *service = &vw_generate_table;
    vw_generator *g = (vw_generator *)w->engine;
    vw_generate_request requests[] = {{"ROMEO:\nI", 12, 0, 1, NULL}, {"ROMEO:\n", 40, 0, 1, stop}};
    vw_generate_result results[2];
    shown all, cut;
    generate(w, requests[0].prompt, &greedy, NULL, 12, &all, NULL, 0);
    generate(w, requests[1].prompt, &greedy, stop, 40, &cut, NULL, 0);
    vw_status st = service->generate(g, requests, 2, results, &w->err);
    ok(st == VW_OK, "the service generates: %s", st ? w->err.text : "ok");
    if (st)
        return;
    is_str(results[0].text, all.text, "the text that is shown, its first blank too");
    is_int(results[0].is_stopped, 0, "ended by length");
    is_str(results[1].text, cut.text, "nothing of a stop string");
    is_int(results[1].is_stopped, 1, "ended by it");
    vw_score_request asked = {requests[0].prompt, results[0].text};
    vw_score_result score;
    st = service->score(g, &asked, 1, &score, &w->err);
    ok(st == VW_OK, "the service scores: %s", st ? w->err.text : "ok");
    if (!st && score.n_tokens == results[0].n_tokens)
        near(score.logprob, results[0].logprob, 1e-3, "as it generated");
    service->free_results(results, 2);
    vw_engine_interrupt(w->engine);
    is_int(service->generate(g, requests, 2, results, &w->err), VW_E_INTERRUPTED, "interrupted");
}

static void test_decode(with_engine *w)
{
    int32_t ids[400];
    char *text;
    size_t bytes;
    random_ids(ids, 400, w->info.vocab_size, 50);
    if (vw_engine_decode_dup(w->engine, ids, 400, &text, &bytes, &w->err))
        bail_out("%s", w->err.text);
    ok(is_utf8(text, bytes), "400 random ids decode to UTF-8");
    ok(bytes > 400, "and to some text");
    free(text);
}

static int count_allocations(void *arg, const vw_piece *piece)
{
    uint64_t **at = arg;
    (void)piece;
    vw_core *core = (vw_core *)(void *)at[1];
    if (*at[0] == 0)
        *at[0] = vw_core_allocations(core);
    return 0;
}

static void test_allocations(const char *settings)
{
    int32_t prompt[] = {2, 681, 978, 966};
    uint64_t before = 0;
    with_engine w;
    open_or_die(&w, NULL, settings);
    uint64_t *arg[2] = {&before, (uint64_t *)(void *)w.core};
    vw_sampling warm = {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05,
                        .repeat_penalty = 1.1, .repeat_last_n = 64, .seed = 1, .ignore_eos = 1};
    vw_generate_options o = {.size = sizeof o, .prompt = prompt, .n_prompt = 4, .max_tokens = 200,
                             .sampling = &warm, .on_piece = count_allocations, .arg = arg};
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sequence *s = sequence(&w);
    vw_status st = vw_generate(w.engine, s, &o, NULL, 0, &stats, &w.err);
    ok(st == VW_OK && stats.n_tokens == 200, "200 tokens: %s", st ? w.err.text : "ok");
    ok(before > 0, "allocations are counted");
    is_int(vw_core_allocations(w.core) - before, 0, "none for a decoded token (%s)", settings);
    vw_sequence_free(s);
    engine_close(&w);
}

int main(void)
{
    const char *odd = source_file("t/data/goldens/gemma-odd-bf16");
    with_engine w;
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
    test_sizes();
    test_limits();
    test_full_pool();
    open_or_die(&w, NULL, "");
    test_interrupt(&w);
    if (w.info.has_tokenizer) {
        test_stop_strings(&w);
        test_seeds(&w);
        test_penalties(&w);
        test_scores(&w);
        test_service(&w);
        test_decode(&w);
    } else {
        skip_unless_required("tokenizer/sentencepiece", 6, "tokenizer/sentencepiece is not built");
    }
    engine_close(&w);
    test_allocations("vishwamai.threads=2");
    test_allocations("vishwamai.threads=1 gemm.plugin=ref attention.plugin=ref");
    return done_testing();
}
