/* models.c - several models in one process: what each says does not depend on the others, and what
 * their caches hold together stays within [kv] pool_bytes.
 */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>

#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

enum { N = 60 };

static vw_settings *settings;
static vw_core *core;
static vw_error err;

static void core_or_die(const char *pool)
{
    char base[4096], second[4200];
    snprintf(base, sizeof base, "model:one.path=%s", source_file("etc/models/tiny-vishwamai"));
    snprintf(second, sizeof second, "model:two.path=%s", source_file("etc/models/tiny-gemma"));
    if (vw_settings_new(&settings, &err) || vw_settings_assign(settings, base, "test", &err) ||
        vw_settings_assign(settings, second, "test", &err) ||
        vw_settings_assign(settings, "model:two.weights=int8", "test", &err) ||
        vw_settings_assign(settings, "engine.ctx_size=128", "test", &err) ||
        vw_settings_assign(settings, "kv.page_tokens=16", "test", &err) ||
        vw_settings_assign(settings, pool, "test", &err) ||
        vw_core_new(settings, &core, &err))
        bail_out("%s", err.text);
}

static void core_close(void)
{
    vw_core_free(core);
    vw_settings_free(settings);
}

static vw_engine *engine_or_die(const char *label)
{
    vw_engine_options o = {.size = sizeof o, .label = label, .no_tokenizer = 1};
    vw_engine *e;
    if (vw_engine_open(core, &o, &e, &err))
        bail_out("%s", err.text);
    return e;
}

static vw_sequence *sequence_or_die(vw_engine *e)
{
    vw_sequence *s;
    if (vw_sequence_new(e, &s, &err))
        bail_out("%s", err.text);
    return s;
}

typedef struct rows {
    float *to;
    size_t width;
} rows;

static vw_status keep(void *arg, size_t feed, int64_t position, const float *logits, vw_error *e)
{
    rows *r = arg;
    (void)feed;
    (void)e;
    memcpy(r->to + (size_t)position * r->width, logits, r->width * sizeof *logits);
    return VW_OK;
}

/* A token of each engine in turn; alone with the second NULL. */
static void feed_in_turn(vw_engine *const e[2], rows r[2])
{
    vw_sequence *s[2] = {e[0] ? sequence_or_die(e[0]) : NULL, e[1] ? sequence_or_die(e[1]) : NULL};
    uint64_t state = 5;
    for (int i = 0; i < N; i++) {
        int32_t id = (int32_t)(folder_random(&state) % 1000);
        for (int j = 0; j < 2; j++) {
            vw_feed feed = {s[j], &id, 1, VW_WANT_ALL};
            if (e[j] && vw_engine_feed(e[j], &feed, 1, keep, &r[j], &err))
                bail_out("%s", err.text);
        }
    }
    vw_sequence_free(s[0]);
    vw_sequence_free(s[1]);
}

static rows rows_for(vw_engine *e)
{
    vw_engine_info info = {.size = sizeof info};
    vw_engine_get_info(e, &info);
    rows r = {calloc((size_t)N * (size_t)info.vocab_size, sizeof(float)), (size_t)info.vocab_size};
    if (!r.to)
        bail_out("no memory");
    return r;
}

static void test_together(const char *pool)
{
    core_or_die(pool);
    vw_engine *e[2] = {engine_or_die("one"), engine_or_die("two")};
    rows together[2] = {rows_for(e[0]), rows_for(e[1])}, alone[2] = {rows_for(e[0]), rows_for(e[1])};
    feed_in_turn(e, together);
    is_int(vw_core_kv_bytes(core), 0, "freed sequences hold nothing (%s)", pool);
    vw_engine_close(e[0]);
    vw_engine_close(e[1]);
    for (int j = 0; j < 2; j++) {
        vw_engine *one[2] = {j ? NULL : engine_or_die("one"), j ? engine_or_die("two") : NULL};
        feed_in_turn(one, alone);
        vw_engine_close(one[j]);
        is_mem(together[j].to, alone[j].to, N * alone[j].width * sizeof(float),
               "model %d: the same bits together and alone (%s)", j + 1, pool);
        free(together[j].to);
        free(alone[j].to);
    }
    core_close();
}

static vw_status grow(vw_sequence *s, vw_engine *e, int64_t n)
{
    static int32_t ids[128];
    vw_feed feed = {s, ids, n, VW_WANT_NOTHING};
    return vw_engine_feed(e, &feed, 1, NULL, NULL, &err);
}

/* The budget is a context and a page of the second, which is the larger: when the first has taken
 * two pages, the second cannot have its whole context; and can, when they are given back. */
static void test_budget(void)
{
    vw_engine_info info[2] = {{.size = sizeof *info}, {.size = sizeof *info}};
    char pool[64];
    core_or_die("kv.pool_bytes=0");
    vw_engine *e[2] = {engine_or_die("one"), engine_or_die("two")};
    uint64_t page[2];
    for (int j = 0; j < 2; j++) {
        vw_engine_get_info(e[j], &info[j]);
        page[j] = info[j].kv_token_bytes * 16;
        vw_engine_close(e[j]);
    }
    core_close();
    int large = page[1] > page[0];
    uint64_t budget = 8 * page[large] + page[!large];
    snprintf(pool, sizeof pool, "kv.pool_bytes=%llu", (unsigned long long)budget);
    core_or_die(pool);
    vw_engine *big = engine_or_die(large ? "two" : "one"), *small = engine_or_die(large ? "one" : "two");
    vw_sequence *s = sequence_or_die(small), *b = sequence_or_die(big);
    is_int(grow(s, small, 17), VW_OK, "the small one takes two pages");
    is_int(vw_core_kv_bytes(core), 2 * page[!large], "which are counted");
    is_int(grow(b, big, 128), VW_E_FULL, "then a context of the big one is too much");
    like(err.text, "the models of this process hold", "which is said");
    like(err.text, "raise it", "with what to do");
    is_int(vw_sequence_length(b), 0, "and nothing was appended");
    is_int(vw_core_kv_bytes(core), 2 * page[!large], "nor counted");
    is_int(grow(b, big, 100), VW_OK, "less of it fits");
    vw_sequence_free(s);
    is_int(vw_core_kv_bytes(core), 7 * page[large], "the small one lets go");
    is_int(grow(b, big, 28), VW_OK, "and the big one has its context");
    vw_sequence *f;
    is_int(vw_sequence_fork(b, &f, &err), VW_OK, "a fork takes no page");
    is_int(vw_core_kv_bytes(core), 8 * page[large], "and counts none");
    vw_sequence_free(f);
    vw_engine_close(small);
    is_int(vw_core_kv_bytes(core), 8 * page[large], "a closed model takes nobody's pages along");
    vw_sequence_free(b);
    vw_engine_close(big);
    is_int(vw_core_kv_bytes(core), 0, "at the end nothing is held");
    core_close();
}

static void test_names(void)
{
    char label[64];
    core_or_die("kv.pool_bytes=0");
    vw_settings_assign(settings, "gemm:three.plugin=ref", "test", &err);
    is_str(vw_settings_label(settings, VW_KIND_MODEL, 0, label, sizeof label), "one", "the first");
    is_str(vw_settings_label(settings, VW_KIND_MODEL, 1, label, sizeof label), "two", "the second");
    ok(!vw_settings_label(settings, VW_KIND_MODEL, 2, label, sizeof label), "no third");
    is_str(vw_settings_label(settings, VW_KIND_GEMM, 0, label, sizeof label), "three", "of a gemm");
    vw_engine_options o = {.size = sizeof o, .label = "tow"};
    vw_engine *e;
    is_int(vw_engine_open(core, &o, &e, &err), VW_E_NOTFOUND, "a name that is not there");
    like(err.text, "there is no [model:tow]; did you mean [model:two]?",
         "the sentence");
    core_close();
}

/* Opened for what it would take, a model cannot be run. */
static void test_plan(void)
{
    core_or_die("kv.pool_bytes=0");
    vw_engine_options o = {.size = sizeof o, .label = "one", .no_tokenizer = 1, .only_plan = 1};
    vw_engine *e;
    vw_memory_plan plan = {.size = sizeof plan}, real = plan;
    if (vw_engine_open(core, &o, &e, &err))
        bail_out("%s", err.text);
    vw_engine_get_plan(e, &plan);
    vw_sequence *s = sequence_or_die(e);
    is_int(grow(s, e, 1), VW_E_INVALID, "a model that was opened for its plan");
    like(err.text, "opened for its memory plan alone", "says so");
    vw_sequence_free(s);
    vw_engine_close(e);
    e = engine_or_die("one");
    vw_engine_get_plan(e, &real);
    is_mem(&plan, &real, sizeof plan, "what it would take is what it takes");
    vw_engine_close(e);
    core_close();
}

int main(void)
{
    test_names();
    test_plan();
    test_together("kv.pool_bytes=0");
    test_together("kv.pool_bytes=64M");
    test_budget();
    return done_testing();
}
