/* bench_gemm.c - `vishwamai bench gemm`: every gemm against every other and against the machine.
 *
 * The share of the ceiling is that of the nearer one: the time that the arithmetic needs at the
 * measured peak, or that the weights need at the measured read bandwidth, whichever is longer.  Of
 * a device other than the processor no peak is measured: there a large product is its own.
 */
#include "bench_gemm_case.h"
#include "options.h"

#include <stdlib.h>
#include <string.h>

typedef struct gemm_bench {
    bench_choices b;
    word_list shapes, dtypes;
    const char *format_name;
    int64_t n_experts;
    int with_pack;
    vw_gemm_format format;
    bench_device device;
    race r;
    gemm_entry entries[BENCH_MAX_PLUGINS];
    double rate[BENCH_MAX_PLUGINS]; /* operations a second in the last race, for an estimate */
} gemm_bench;

static const command bench_gemm;

/* ---- one race -------------------------------------------------------------------------------- */

/* m rows for each expert's weights. */
static race_work work_of(const gemm_bench *g, const gemm_weights *w, int64_t m)
{
    double n = (double)g->n_experts;
    return (race_work){.ops = 2.0 * n * (double)m * (double)w->n * (double)w->k,
                       .bytes = n * w->stored_bytes,
                       .is_int8 = w->storage.dtype == VW_I8 || w->format != VW_GEMM_STORED};
}

static void print_race(const gemm_bench *g, const gemm_weights *w, int64_t m)
{
    race_work work = work_of(g, w, m);
    char name[64];
    int at = g->n_experts > 1 ? snprintf(name, sizeof name, "%lld of ", (long long)g->n_experts) : 0;
    snprintf(name + at, sizeof name - (size_t)at, "%-5s %5lld x %lld x %lld",
             w->storage.name, (long long)m, (long long)w->n, (long long)w->k);
    for (int i = 0; i < g->r.n; i++) {
        double seconds = g->r.entries[i].seconds;
        race_print_entry(&g->r, i, name);
        if (seconds > 0) {
            printf(" %8.1f GOP/s %7.2f GB/s", work.ops / seconds * 1e-9,
                   work.bytes / seconds * 1e-9);
            race_print_share(&g->r, i, &work);
            if (g->with_pack)
                printf("  pack %.1f ms", g->entries[i].pack_seconds * 1e3);
        }
        race_print_rest(&g->r, i);
    }
    fflush(stdout);
}

static void add_race(gemm_bench *g, const gemm_weights *w, int64_t m)
{
    vw_json_writer *j = &g->b.json;
    race_work work = work_of(g, w, m);
    for (int i = 0; i < g->r.n; i++) {
        double seconds = g->r.entries[i].seconds;
        vw_json_begin_object(j, NULL);
        vw_json_add_string(j, "dtype", w->storage.name);
        vw_json_add_int(j, "m", m);
        vw_json_add_int(j, "n", w->n);
        vw_json_add_int(j, "k", w->k);
        vw_json_add_int(j, "experts", g->n_experts);
        race_add_entry(j, &g->r, i);
        if (seconds > 0) {
            vw_json_add_double(j, "gop_s", work.ops / seconds * 1e-9);
            vw_json_add_double(j, "gb_s", work.bytes / seconds * 1e-9);
            race_add_share(j, &g->r, i, &work);
            vw_json_add_double(j, "pack_seconds", g->entries[i].pack_seconds);
        }
        vw_json_end_object(j);
    }
}

/* Plan for every gemm that can; the others get a note. */
static vw_status plan_all(gemm_bench *g, const gemm_weights *w, int64_t m, const float *x,
                          double *estimates, vw_error *err)
{
    double ops = work_of(g, w, m).ops;
    for (int i = 0; i < g->r.n; i++) {
        contestant *c = &g->r.entries[i];
        if (!g->entries[i].weights)
            continue;
        c->note[0] = '\0';
        estimates[i] = g->rate[i] > 0 ? ops / g->rate[i] : 0;
        vw_status status = gemm_entry_plan(&g->entries[i], m * g->n_experts, x, err);
        if (status == VW_OK && estimates[i] <= g->b.max_seconds)
            status = gemm_entry_error(&g->entries[i], w, x, &c->error, err);
        if (status == VW_E_UNSUPPORTED)
            snprintf(c->note, sizeof c->note, "left out: %.180s", err->text);
        else if (status != VW_OK)
            return vw_fail_in(err, status, "gemm/%s", c->component->plugin->name);
    }
    return VW_OK;
}

static vw_status race_one(gemm_bench *g, const gemm_weights *w, int64_t m, vw_error *err)
{
    double estimates[BENCH_MAX_PLUGINS] = {0};
    size_t n = (size_t)(m * g->n_experts * w->k);
    float *x = malloc(n * sizeof *x);
    bench_random random = {7};
    if (!x)
        return vw_fail(err, VW_E_NOMEM, "no memory for the activations");
    for (size_t i = 0; i < n; i++)
        x[i] = bench_random_real(&random);
    vw_status status = plan_all(g, w, m, x, estimates, err);
    if (status == VW_OK)
        status = race_run(&g->b, &g->r, estimates, err);
    for (int i = 0; i < g->r.n; i++) {
        contestant *c = &g->r.entries[i];
        if (status == VW_OK && c->seconds > 0)
            g->rate[i] = work_of(g, w, m).ops / c->seconds;
        gemm_entry_unplan(&g->entries[i]);
    }
    free(x);
    if (status != VW_OK)
        return status;
    if (g->b.c.is_json)
        add_race(g, w, m);
    else
        print_race(g, w, m);
    return VW_OK;
}

/* ---- all races ------------------------------------------------------------------------------- */

static vw_status bind_all(gemm_bench *g, const gemm_weights *w, vw_error *err)
{
    for (int i = 0; i < g->r.n; i++) {
        contestant *c = &g->r.entries[i];
        gemm_entry *e = &g->entries[i];
        *e = (gemm_entry){.device = &g->device, .ops = c->component->ops,
                          .self = c->component->self, .n_experts = (int32_t)g->n_experts};
        c->run = gemm_entry_run;
        c->wait = gemm_entry_wait;
        c->state = e;
        c->note[0] = '\0';
        vw_status status = gemm_entry_bind(e, g->b.o.core, w, err);
        if (status == VW_E_UNSUPPORTED) {
            snprintf(c->note, sizeof c->note, "left out: %.180s", err->text);
            gemm_entry_free(e);
        } else if (status != VW_OK) {
            return vw_fail_in(err, status, "gemm/%s", c->component->plugin->name);
        }
    }
    return VW_OK;
}

/* All M of one N, K and dtype, from small to large as they stand in the list. */
static vw_status race_weights(gemm_bench *g, const gemm_shape *shapes, int n_shapes,
                              const gemm_storage *storage, vw_error *err)
{
    gemm_weights w;
    memset(g->rate, 0, sizeof g->rate);
    vw_status status = gemm_weights_make(&w, &shapes[0], storage, g->format, err);
    if (status != VW_OK)
        return status;
    status = bind_all(g, &w, err);
    for (int i = 0; i < n_shapes && status == VW_OK; i++)
        status = race_one(g, &w, shapes[i].m, err);
    for (int i = 0; i < g->r.n; i++)
        if (g->entries[i].device)
            gemm_entry_free(&g->entries[i]);
    gemm_weights_free(&w);
    return status;
}

static vw_status race_dtype(gemm_bench *g, const gemm_shape *shapes, int n, const char *name,
                            vw_error *err)
{
    gemm_storage storage;
    gemm_storage_named(name, &storage); /* as check_words has seen */
    vw_status status = VW_OK;
    for (int i = 0, end; i < n && status == VW_OK; i = end) {
        for (end = i + 1; end < n && shapes[end].n == shapes[i].n && shapes[end].k == shapes[i].k;)
            end++;
        status = race_weights(g, shapes + i, end - i, &storage, err);
    }
    return status;
}

/* ---- words ----------------------------------------------------------------------------------- */

enum { MAX_SHAPES = 64 };

static int read_shapes(const gemm_bench *g, gemm_shape *shapes)
{
    static const int64_t ms[] = {1, 8, 32, 128, 512}, sizes[] = {2048, 4096};
    int n = 0;
    if (!g->shapes.n)
        for (int s = 0; s < 2; s++)
            for (int m = 0; m < 5; m++)
                shapes[n++] = (gemm_shape){ms[m], sizes[s], sizes[s]};
    for (size_t i = 0; i < g->shapes.n && n < MAX_SHAPES; i++) {
        long long m, k, out;
        char rest;
        if (sscanf(g->shapes.words[i], "%lld,%lld,%lld%c", &m, &out, &k, &rest) != 3 || m < 1 ||
            out < 1 || k < 1 || m > 1 << 20 || out > 1 << 20 || k > 1 << 20)
            return -wrong_use(&bench_gemm, "--shape %s: M,N,K is expected, as in 32,4096,4096",
                              g->shapes.words[i]);
        shapes[n++] = (gemm_shape){m, out, k};
    }
    return n;
}

static int check_words(gemm_bench *g, const gemm_shape *shapes, int n)
{
    static const char *const formats[] = {"stored", "int8", "int8_block32"};
    gemm_storage storage;
    for (size_t i = 0; i < g->dtypes.n; i++) {
        if (!gemm_storage_named(g->dtypes.words[i], &storage))
            return wrong_use(&bench_gemm, "--dtype %s: f32, bf16, f16, int8, e4m3, q8_0, q4_0, "
                             "q4_k, q6_k or int4 is expected", g->dtypes.words[i]);
        for (int j = 0; storage.blocks && j < n; j++)
            if (shapes[j].k % storage.blocks->elements)
                return wrong_use(&bench_gemm, "--dtype %s: K is %lld, expected a multiple of %d",
                                 storage.name, (long long)shapes[j].k,
                                 (int)storage.blocks->elements);
    }
    for (int i = 0; i < 3; i++)
        if (strcmp(formats[i], g->format_name) == 0) {
            g->format = (vw_gemm_format)i;
            return STATUS_OK;
        }
    return wrong_use(&bench_gemm, "--format %s: stored, int8 or int8_block32 is expected",
                     g->format_name);
}

static vw_status work(gemm_bench *g, const gemm_shape *shapes, int n, vw_error *err)
{
    static const char *const only_f32[] = {"f32"};
    const char *const *dtypes = g->dtypes.n ? g->dtypes.words : only_f32;
    size_t n_dtypes = g->dtypes.n ? g->dtypes.n : 1;
    vw_status status = bench_begin(&g->b, VW_KIND_GEMM, &g->r, err);
    if (status == VW_OK)
        status = bench_device_open(&g->b, &g->device, err);
    for (size_t i = 0; i < n_dtypes && status == VW_OK; i++)
        status = race_dtype(g, shapes, n, dtypes[i], err);
    bench_device_close(&g->device);
    return bench_end(&g->b, &g->r, status, err);
}

int bench_gemm_main(int argc, char **argv)
{
    gemm_bench *g = calloc(1, sizeof *g);
    gemm_shape shapes[MAX_SHAPES];
    int status = STATUS_FAILED;
    vw_error err = {VW_OK, ""};
    if (!g)
        return status;
    g->b.repeats = 7;
    g->b.max_seconds = 2;
    g->format_name = "stored";
    g->n_experts = 1;
    const opt work_options[] = {
        {0, "shape", OPT_LIST, &g->shapes, "M,N,K",
         "rows, outputs, inputs; repeatable (default: M = 1 8 32 128 512, N = K = 2048 and 4096)",
         NULL, 0, 0},
        {0, "dtype", OPT_LIST, &g->dtypes, "NAME",
         "of the weights: f32, bf16, f16, int8, e4m3, or blocks: q8_0, q4_0, q4_k, q6_k, int4; "
         "repeatable (default f32)", NULL, 0, 0},
        {0, "format", OPT_TEXT, &g->format_name, "NAME",
         "run them stored, or re-quantised as int8 or int8_block32", NULL, 0, 0},
        {0, "experts", OPT_INT, &g->n_experts, "N",
         "M rows for each of N weights, as one grouped product (default 1)", NULL, 1,
         BENCH_MAX_EXPERTS},
        {0, "pack", OPT_FLAG, &g->with_pack, NULL, "tell how long packing a weight takes", NULL, 0,
         0},
        BENCH_OPTIONS(&g->b), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&g->b.c), END_OPTIONS};
    const opt_group groups[] = {{"work", work_options}, {"general", general}, {NULL, NULL}};
    const char *slash = strchr(argv[0], '/');
    g->b.name = slash ? slash + 1 : NULL;
    if (options_parse(&bench_gemm, groups, argc, argv, NULL, &status)) {
        int n = 0;
        n = read_shapes(g, shapes);
        status = n < 0 ? -n : check_words(g, shapes, n);
        if (status == STATUS_OK && work(g, shapes, n, &err) != VW_OK)
            status = report(&err);
    }
    assignments_free(&g->b.c.set);
    word_list_free(&g->shapes);
    word_list_free(&g->dtypes);
    free(g);
    return status;
}

static const command bench_gemm = {
    "bench gemm", "[options]  (or gemm/NAME)", "race the gemm plugins",
    "int8 weights have one scale a row, e4m3 one for each 128 x 128, int4 one for 128 of a row.\n"
    "The error is the largest of some outputs against double arithmetic, relative to the root mean\n"
    "square.  Shares of a peak are of the f32 one, and for int8 weights of the int8 one.\n",
    "  vishwamai bench gemm/cpu --shape 1,4096,4096 --shape 512,4096,4096 --dtype bf16\n",
    bench_gemm_main};
