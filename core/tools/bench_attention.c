/* bench_attention.c - `vishwamai bench attention`: decoding and prefilling over a paged cache. */
#include "bench_attention_case.h"

#include <stdlib.h>
#include <string.h>

typedef struct attention_bench {
    bench_choices b;
    word_list shapes, heads;
    const char *kv_name;
    vw_dtype kv_dtype;
    bench_device device;
    race r;
    attention_entry entries[BENCH_MAX_PLUGINS];
    double rate[BENCH_MAX_PLUGINS];
} attention_bench;

static const command bench_attention;

/* ---- one race -------------------------------------------------------------------------------- */

static void tell(attention_bench *g, const attention_case *w)
{
    race_work work = {attention_case_ops(w), attention_case_bytes(w), 0};
    vw_json_writer *j = &g->b.json;
    char name[64];
    snprintf(name, sizeof name, "%-4s %4lld of %6lld  %d/%d x %d", vw_dtype_name(w->kv_dtype),
             (long long)w->n_queries, (long long)w->n_keys, w->q_heads, w->k_heads, w->dim);
    for (int i = 0; i < g->r.n; i++) {
        double seconds = g->r.entries[i].seconds;
        if (g->b.c.is_json) {
            vw_json_begin_object(j, NULL);
            vw_json_add_int(j, "queries", w->n_queries);
            vw_json_add_int(j, "keys", w->n_keys);
            vw_json_add_int(j, "q_heads", w->q_heads);
            vw_json_add_int(j, "k_heads", w->k_heads);
            vw_json_add_int(j, "dim", w->dim);
            vw_json_add_string(j, "kv_dtype", vw_dtype_name(w->kv_dtype));
            race_add_entry(j, &g->r, i);
            if (seconds > 0) {
                vw_json_add_double(j, "gop_s", work.ops / seconds * 1e-9);
                vw_json_add_double(j, "gb_s", work.bytes / seconds * 1e-9);
                race_add_share(j, &g->r, i, &work);
            }
            vw_json_end_object(j);
            continue;
        }
        race_print_entry(&g->r, i, name);
        if (seconds > 0) {
            printf(" %8.1f GOP/s %7.2f GB/s", work.ops / seconds * 1e-9,
                   work.bytes / seconds * 1e-9);
            race_print_share(&g->r, i, &work);
        }
        race_print_rest(&g->r, i);
    }
    fflush(stdout);
}

static vw_status enter_all(attention_bench *g, const attention_case *w, double *estimates,
                           vw_error *err)
{
    for (int i = 0; i < g->r.n; i++) {
        contestant *c = &g->r.entries[i];
        attention_entry *e = &g->entries[i];
        *e = (attention_entry){.device = &g->device, .ops = c->component->ops,
                               .self = c->component->self};
        c->run = attention_entry_run;
        c->wait = attention_entry_wait;
        c->state = e;
        c->note[0] = '\0';
        estimates[i] = g->rate[i] > 0 ? attention_case_ops(w) / g->rate[i] : 0;
        if (estimates[i] > g->b.max_seconds)
            continue;
        vw_status status = attention_entry_make(e, w, err);
        if (status == VW_OK)
            status = attention_entry_error(e, &c->error, err);
        if (status == VW_E_UNSUPPORTED)
            snprintf(c->note, sizeof c->note, "left out: %.180s", err->text);
        else if (status != VW_OK)
            return vw_fail_in(err, status, "attention/%s", c->component->plugin->name);
    }
    return VW_OK;
}

static vw_status race_one(attention_bench *g, attention_case *w, vw_error *err)
{
    double estimates[BENCH_MAX_PLUGINS] = {0};
    vw_status status = attention_case_fill(w, err);
    if (status == VW_OK)
        status = enter_all(g, w, estimates, err);
    if (status == VW_OK)
        status = race_run(&g->b, &g->r, estimates, err);
    for (int i = 0; i < g->r.n; i++) {
        if (status == VW_OK && g->r.entries[i].seconds > 0)
            g->rate[i] = attention_case_ops(w) / g->r.entries[i].seconds;
        attention_entry_free(&g->entries[i]);
    }
    attention_case_free(w);
    if (status == VW_OK)
        tell(g, w);
    return status;
}

/* ---- words ----------------------------------------------------------------------------------- */

/* n whole numbers apart by commas; 0 when the text is something else. */
static int read_numbers(const char *text, int n, long long *out)
{
    for (int i = 0; i < n; i++) {
        char *end;
        out[i] = strtoll(text, &end, 10);
        if (end == text || out[i] < 1 || out[i] > 1 << 24 || *end != (i + 1 < n ? ',' : '\0'))
            return 0;
        text = end + 1;
    }
    return 1;
}

static int check_words(attention_bench *g)
{
    static const vw_dtype known[] = {VW_F32, VW_F16, VW_BF16, VW_I8};
    long long x[3];
    for (size_t i = 0; i < g->shapes.n; i++)
        if (!read_numbers(g->shapes.words[i], 2, x) || x[0] > x[1])
            return wrong_use(&bench_attention, "--shape %s: Q,S with Q <= S is expected, as in "
                             "1,4096", g->shapes.words[i]);
    for (size_t i = 0; i < g->heads.n; i++)
        if (!read_numbers(g->heads.words[i], 3, x) || x[0] % x[1])
            return wrong_use(&bench_attention, "--heads %s: Hq,Hk,D with Hq a multiple of Hk is "
                             "expected, as in 8,1,256", g->heads.words[i]);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(g->kv_name, vw_dtype_name(known[i])) == 0) {
            g->kv_dtype = known[i];
            return STATUS_OK;
        }
    return wrong_use(&bench_attention, "--kv %s: f32, f16, bf16 or int8 is expected", g->kv_name);
}

static vw_status race_all(attention_bench *g, vw_error *err)
{
    static const char *const usual_shapes[] = {"1,1024", "1,4096", "1,16384", "512,512",
                                               "512,2048"};
    static const char *const usual_heads[] = {"8,1,256", "32,8,128"};
    const char *const *shapes = g->shapes.n ? g->shapes.words : usual_shapes;
    const char *const *heads = g->heads.n ? g->heads.words : usual_heads;
    size_t n_shapes = g->shapes.n ? g->shapes.n : 5, n_heads = g->heads.n ? g->heads.n : 2;
    vw_status status = VW_OK;
    for (size_t h = 0; h < n_heads; h++) {
        memset(g->rate, 0, sizeof g->rate);
        for (size_t s = 0; s < n_shapes && status == VW_OK; s++) {
            long long shape[2] = {1, 1}, head[3] = {1, 1, 1};
            read_numbers(shapes[s], 2, shape);
            read_numbers(heads[h], 3, head);
            attention_case w = {shape[0], shape[1], (int32_t)head[0], (int32_t)head[1],
                                (int32_t)head[2], g->kv_dtype, NULL, NULL, NULL};
            status = race_one(g, &w, err);
        }
    }
    return status;
}

static vw_status work(attention_bench *g, vw_error *err)
{
    vw_status status = bench_begin(&g->b, VW_KIND_ATTENTION, &g->r, err);
    if (status == VW_OK)
        status = bench_device_open(&g->b, &g->device, err);
    if (status == VW_OK)
        status = race_all(g, err);
    bench_device_close(&g->device);
    return bench_end(&g->b, &g->r, status, err);
}

int bench_attention_main(int argc, char **argv)
{
    attention_bench *g = calloc(1, sizeof *g);
    int status = STATUS_FAILED;
    vw_error err = {VW_OK, ""};
    if (!g)
        return status;
    g->b.repeats = 7;
    g->b.max_seconds = 2;
    g->kv_name = "f32";
    const opt work_options[] = {
        {0, "shape", OPT_LIST, &g->shapes, "Q,S",
         "queries at the end of S keys; repeatable (default: Q = 1 and 512, several S)", NULL, 0,
         0},
        {0, "heads", OPT_LIST, &g->heads, "HQ,HK,D",
         "query heads, key heads, head size; repeatable (default 8,1,256 and 32,8,128)", NULL, 0,
         0},
        {0, "kv", OPT_TEXT, &g->kv_name, "NAME", "dtype of the cache: f32, f16, bf16, int8", NULL,
         0, 0},
        BENCH_OPTIONS(&g->b), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&g->b.c), END_OPTIONS};
    const opt_group groups[] = {{"work", work_options}, {"general", general}, {NULL, NULL}};
    const char *slash = strchr(argv[0], '/');
    g->b.name = slash ? slash + 1 : NULL;
    if (options_parse(&bench_attention, groups, argc, argv, NULL, &status)) {
        status = check_words(g);
        if (status == STATUS_OK && work(g, &err) != VW_OK)
            status = report(&err);
    }
    assignments_free(&g->b.c.set);
    word_list_free(&g->shapes);
    word_list_free(&g->heads);
    free(g);
    return status;
}

static const command bench_attention = {
    "bench attention", "[options]  (or attention/NAME)", "race the attention plugins",
    "Causal attention of Q query tokens at the end of S keys, pages of 64 tokens.  The error is\n"
    "the largest of some outputs against double arithmetic on the keys and values before they\n"
    "were stored.\n",
    "  vishwamai bench attention/flash --shape 1,4096 --heads 8,1,256 --kv f16\n",
    bench_attention_main};
