/* expert-cache.c - experts that are read when they are needed change no bit of any result, are
 * counted, make room for one another, and fail with a sentence.
 */
#include "core/expert_cache.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

/* Of the bundled model. */
enum { N = 40, LAYERS = 5, EXPERTS = 8, TOP = 2 };

static const char *model;

static void open_or_die(with_engine *w, const char *path, const char *settings)
{
    if (!engine_open(w, path, settings))
        bail_out("%s", w->err.text);
}

static void random_ids(int32_t *ids, const with_engine *w)
{
    uint64_t state = 3;
    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)(folder_random(&state) % (uint64_t)w->info.vocab_size);
}

static vw_expert_stats stats_of(const with_engine *w)
{
    vw_expert_stats s = {.size = sizeof s};
    vw_engine_expert_stats(w->engine, &s);
    return s;
}

/* ---- the same bits --------------------------------------------------------------------------- */

static void test_same(const char *base, const char *settings)
{
    int32_t ids[N];
    char all[300];
    with_engine w;
    open_or_die(&w, model, base);
    random_ids(ids, &w);
    size_t bytes = (size_t)N * (size_t)w.info.vocab_size * sizeof(float);
    float *whole = all_logits(&w, ids, N, 0), *single = all_logits(&w, ids, N, 1);
    is_int(stats_of(&w).n_slots, 0, "nothing is streamed unless it is asked for");
    engine_close(&w);
    snprintf(all, sizeof all, "%s %s", base, settings);
    open_or_die(&w, model, all);
    float *got = all_logits(&w, ids, N, 0);
    if (got && whole)
        is_mem(got, whole, bytes, "a prompt (%s)", all);
    free(got);
    got = all_logits(&w, ids, N, 1);
    if (got && single)
        is_mem(got, single, bytes, "token after token (%s)", all);
    free(got);
    free(whole);
    free(single);
    engine_close(&w);
}

/* ---- counters -------------------------------------------------------------------------------- */

static void test_counters(size_t slots)
{
    int32_t ids[N];
    char settings[100];
    with_engine w;
    open_or_die(&w, model, "model.expert_memory=1M");
    uint64_t slot = stats_of(&w).slot_bytes;
    engine_close(&w);
    snprintf(settings, sizeof settings, "model.expert_memory=%llu model.expert_pin=0",
             (unsigned long long)(slot * slots));
    open_or_die(&w, model, settings);
    random_ids(ids, &w);
    free(all_logits(&w, ids, N, 1));
    vw_expert_stats s = stats_of(&w);
    is_int(s.n_slots, slots < LAYERS * EXPERTS ? slots : LAYERS * EXPERTS, "%zu experts fit", slots);
    is_int(s.n_experts, LAYERS * EXPERTS, "of all");
    is_int(s.hits + s.misses, N * LAYERS * TOP, "every use is a hit or a miss");
    /* The last expert's last block is not whole. */
    ok(s.bytes_read <= s.misses * slot && s.bytes_read > s.misses * (slot - 4096),
       "a miss reads one slot (%llu bytes)", (unsigned long long)slot);
    if (slots == 1) { /* two different ones in each layer: whatever comes, it is another's turn */
        is_int(s.misses, N * LAYERS * TOP, "one slot: all are misses");
        is_int(s.evictions, N * LAYERS * TOP - 1, "and all but the first evict");
    } else if (slots >= LAYERS * EXPERTS) {
        is_int(s.evictions, 0, "room for all: none is evicted");
        ok(s.misses <= LAYERS * EXPERTS, "each is read once at most (%llu)",
           (unsigned long long)s.misses);
    } else {
        is_int(s.evictions, s.misses - slots, "each miss evicts, once the slots are full");
    }
    ok(s.read_seconds > 0 && s.wait_seconds <= s.read_seconds, "waiting is part of reading");
    engine_close(&w);
}

/* ---- who goes -------------------------------------------------------------------------------- */

/* Want one expert of a layer, look at its bytes, let it go. */
static vw_status use(vw_engine *e, int32_t layer, int32_t expert, vw_error *err)
{
    int32_t offsets[EXPERTS + 1], first, last;
    for (int32_t i = 0; i <= EXPERTS; i++)
        offsets[i] = i > expert;
    vw_expert_cache_want(e->cache, layer, offsets);
    vw_status st = vw_expert_cache_next(e->cache, &first, &last, err);
    if (st) {
        vw_expert_cache_abandon(e->cache);
        return st;
    }
    if (first != expert || last != expert + 1)
        return vw_fail(err, VW_E_INVALID, "experts %d to %d came", first, last);
    vw_expert_cache_release(e->cache, first, last);
    return vw_expert_cache_next(e->cache, &first, &last, err) ? VW_E_INVALID
           : first != last ? vw_fail(err, VW_E_INVALID, "more than was wanted")
                           : VW_OK;
}

/* Ten experts in turn, and room for nine: the one used longest ago is always the next, so nothing
 * helps but to keep some whatever happens. */
static void test_turns(const char *pin, uint64_t least, uint64_t most)
{
    enum { ROUNDS = 20, IN_TURN = 10 };
    char settings[100];
    with_engine w;
    vw_error err = {VW_OK, ""};
    vw_status st = VW_OK;
    open_or_die(&w, model, "model.expert_memory=1M");
    uint64_t slot = stats_of(&w).slot_bytes;
    engine_close(&w);
    snprintf(settings, sizeof settings, "model.expert_memory=%llu model.expert_pin=%s",
             (unsigned long long)(slot * (IN_TURN - 1)), pin);
    open_or_die(&w, model, settings);
    for (int i = 0; i < ROUNDS * IN_TURN && !st; i++)
        st = use(w.engine, i % IN_TURN / 5, i % 5, &err);
    vw_expert_stats s = stats_of(&w);
    is_int(st, VW_OK, "experts in turn: %s", err.text);
    ok(s.hits >= least && s.hits <= most, "expert_pin = %s: %llu hits", pin,
       (unsigned long long)s.hits);
    engine_close(&w);
}

/* What is in the slots is what is in the file. */
static void test_bytes(void)
{
    with_engine w, whole;
    vw_error err = {VW_OK, ""};
    int n_right = 0;
    open_or_die(&w, model, "model.expert_memory=16M");
    open_or_die(&whole, model, "gemm.plugin=ref"); /* runs in place: data is the file's */
    for (int32_t l = 0; l < LAYERS; l++)
        for (int32_t i = 0; i < EXPERTS && use(w.engine, l, i, &err) == VW_OK; i++)
            for (int j = 0; j < 3; j++) {
                const vw_param *p = w.engine->experts[l].params[3 * i + j];
                const vw_param *q = whole.engine->experts[l].params[3 * i + j];
                n_right += p->weight.stored.data != q->weight.stored.data &&
                           !memcmp(p->weight.stored.data, q->weight.stored.data, p->bytes);
            }
    is_int(n_right, LAYERS * EXPERTS * 3, "every matrix has its bytes %s", err.text);
    engine_close(&whole);
    engine_close(&w);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

static void refused(const char *path, const char *settings, const char *sentence)
{
    with_engine w;
    ok(!engine_open(&w, path, settings), "refused: %s", settings);
    like(w.err.text, sentence, "%s", sentence);
    engine_close(&w);
}

/* The file is cut while the model is open, within the last expert, and whole again later. */
static void test_cut_file(void)
{
    char name[4096], path[4096];
    size_t bytes;
    with_engine w;
    vw_error err = {VW_OK, ""};
    int32_t ids[N];
    snprintf(name, sizeof name, "%s/config.json", model);
    char *text = folder_slurp(name, &bytes);
    folder_write("config.json", text, bytes);
    free(text);
    snprintf(name, sizeof name, "%s/model.safetensors", model);
    text = folder_slurp(name, &bytes);
    snprintf(path, sizeof path, "%s", folder_write("model.safetensors", text, bytes));
    snprintf(name, sizeof name, "%s", path);
    *strrchr(name, '/') = '\0';
    open_or_die(&w, name, "model.expert_memory=1M model.expert_pin=0");
    is_int(use(w.engine, LAYERS - 1, EXPERTS - 1, &err), VW_OK, "the last expert: %s", err.text);
    for (int32_t i = 0; i < EXPERTS - 1; i++) /* it goes */
        use(w.engine, 0, i, &err);
    if (truncate(path, (off_t)bytes - 4096))
        bail_out("cannot cut %s", path);
    is_int(use(w.engine, LAYERS - 1, EXPERTS - 1, &err), VW_E_IO, "a file that was cut");
    like(err.text, "expert 7 of layer 4 with experts", "names the expert");
    like(err.text, "model.layers.4.mlp.experts.7.gate_proj.weight", "and its tensor");
    like(err.text, path, "and the file");
    like(err.text, "it ends before byte", "and says what happened");
    is_int(use(w.engine, 0, 0, &err), VW_OK, "other experts can be used: %s", err.text);
    if (truncate(path, 0) == 0)
        folder_write("model.safetensors", text, bytes);
    is_int(use(w.engine, LAYERS - 1, EXPERTS - 1, &err), VW_OK, "whole again: %s", err.text);
    free(text);
    random_ids(ids, &w);
    float *logits = all_logits(&w, ids, N, 0);
    ok(logits != NULL, "and the model runs");
    free(logits);
    engine_close(&w);
}

/* A step that failed while its experts were on their way leaves every slot to be filled; those of the
 * next step wait until they are. */
static void test_abandoned(void)
{
    int32_t offsets[EXPERTS + 1];
    char settings[100];
    with_engine w;
    vw_error err = {VW_OK, ""};
    open_or_die(&w, model, "model.expert_memory=1M");
    uint64_t slot = stats_of(&w).slot_bytes;
    engine_close(&w);
    snprintf(settings, sizeof settings, "model.expert_memory=%llu model.expert_reads=1 "
             "model.expert_io=pread", (unsigned long long)(2 * slot));
    open_or_die(&w, model, settings);
    for (int32_t i = 0; i <= EXPERTS; i++)
        offsets[i] = i < 2 ? i : 2;
    for (int32_t i = 0; i < 20 && err.code == VW_OK; i++) {
        vw_expert_cache_want(w.engine->cache, 0, offsets);
        vw_expert_cache_abandon(w.engine->cache);
        use(w.engine, 1 + i % 4, i % EXPERTS, &err);
    }
    is_int(err.code, VW_OK, "experts behind those of a step that failed: %s", err.text);
    engine_close(&w);
}

/* ---- no allocation --------------------------------------------------------------------------- */

static void test_allocations(void)
{
    int32_t ids[N];
    with_engine w;
    uint64_t before = 0;
    vw_sequence *s = NULL;
    vw_error err = {VW_OK, ""};
    vw_status st;
    open_or_die(&w, model, "model.expert_memory=400K");
    random_ids(ids, &w);
    st = vw_sequence_new(w.engine, &s, &err);
    for (int i = 0; i < N && !st; i++) {
        vw_feed feed = {s, ids + i, 1, VW_WANT_LAST};
        st = vw_engine_feed(w.engine, &feed, 1, NULL, NULL, &err);
        if (i == 0)
            before = vw_core_allocations(w.core);
    }
    is_int(st, VW_OK, "tokens one by one: %s", err.text);
    ok(stats_of(&w).evictions > N, "with experts that come and go");
    is_int(vw_core_allocations(w.core) - before, 0, "allocate nothing");
    vw_sequence_free(s);
    engine_close(&w);
}

int main(void)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s", source_file("etc/models/tiny-vishwamai"));
    model = path;
    folder_make();
    test_same("vishwamai.threads=1", "model.expert_memory=160K");
    test_same("vishwamai.threads=2", "model.expert_memory=160K");
    test_same("vishwamai.threads=2", "model.expert_memory=500K model.expert_io=pread");
    test_same("vishwamai.threads=2", "model.expert_memory=2M model.expert_reads=1 "
                                     "model.expert_direct=no");
    test_same("vishwamai.threads=1", "model.expert_memory=100M model.expert_pin=0.9");
    test_same("vishwamai.threads=2 gemm.plugin=ref", "model.expert_memory=400K");
    test_counters(1);
    test_counters(7);
    test_counters(100);
    test_turns("0", 0, 0);
    test_turns("0.5", 19 * 4 - 4, 19 * 9);
    test_bytes();
    test_cut_file();
    test_abandoned();
    test_allocations();
    refused(model, "model.expert_memory=1000", "one expert takes");
    refused(model, "model.expert_memory=1M model.weights=int8", "would pack them in another form");
    refused(source_file("etc/models/tiny-gemma"), "model.expert_memory=1M",
            "this model has no experts");
    return done_testing();
}
