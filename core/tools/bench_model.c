/* bench_model.c - `vishwamai bench model`: a whole model, as it is used.
 *
 * Each measurement is a process of its own, which loads the model, answers one short prompt (the
 * time to the first token), then prefills P random tokens and decodes N.  Configurations (the
 * settings as given, and each --vs with its own changes) and outside programs (--rival) take turns,
 * and the medians of the rounds are told.  Shares are of the ceilings that the same process measures
 * when it is done.
 */
#include "bench.h"

#include "bench_process.h"
#include "interrupt.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIGURATIONS = 8, MAX_RIVALS = 8, MAX_ROUNDS = 100, SHORT_PROMPT = 8 };

typedef struct model_bench {
    bench_choices b;
    int64_t n_prompt, n_decode, depth;
    word_list vs, rivals;
} model_bench;

/* What one process finds. */
typedef struct findings {
    double load, first_token;    /* seconds from the start */
    double prefill, decode;      /* seconds */
    int64_t n_prompt, n_decode;
    uint64_t peak_bytes, token_bytes, weight_bytes;
    double token_ops;            /* of one prefilled token, without attention and head */
    double head_ops;
    ceilings top;                /* right after it */
    char what[160];
} findings;

/* ---- in the child ---------------------------------------------------------------------------- */

typedef struct job {
    const model_bench *bench;
    const char *vs; /* NULL: the settings as given */
} job;

static vw_status feed(vw_sequence *s, vw_engine *engine, const int32_t *ids, int64_t n,
                      vw_error *err)
{
    vw_feed one = {s, ids, n, VW_WANT_LAST};
    return vw_engine_feed(engine, &one, 1, NULL, NULL, err);
}

/* Multiply-adds, counted two, from what the engine says of the model.  The share of the weights
 * that a token reads leaves out experts that sleep and an embedding that is only looked up. */
static void count_ops(const vw_engine_info *info, findings *f)
{
    double share = info->weight_bytes ? (double)info->token_bytes / (double)info->weight_bytes : 1;
    double head = (double)info->vocab_size * info->width;
    f->head_ops = 2 * head;
    f->token_ops = 2 * ((double)info->parameters * share - head);
}

static vw_status time_feeds(const model_bench *g, opened *o, vw_sequence *s, const int32_t *ids,
                            findings *f, vw_error *err)
{
    vw_status status = vw_sequence_truncate(s, 0, err);
    double began = now_seconds();
    if (status == VW_OK && f->n_prompt)
        status = feed(s, o->engine, ids, f->n_prompt, err);
    f->prefill = now_seconds() - began;
    if (status == VW_OK)
        status = vw_sequence_truncate(s, 0, err);
    if (status == VW_OK && g->depth)
        status = feed(s, o->engine, ids, g->depth, err);
    began = now_seconds();
    for (int64_t i = 0; i < f->n_decode && status == VW_OK; i++)
        status = feed(s, o->engine, ids + i, 1, err);
    f->decode = now_seconds() - began;
    return status;
}

/* Sizes that fit the context of a small model. */
static vw_status fit(const model_bench *g, const vw_engine_info *info, findings *f, vw_error *err)
{
    f->n_prompt = g->n_prompt >= 0 ? g->n_prompt : info->context < 512 ? info->context : 512;
    f->n_decode = g->n_decode;
    if (f->n_prompt > info->context || g->depth + f->n_decode > info->context)
        return vw_fail(err, VW_E_CONFIG, "-p %lld, -n %lld and --depth %lld do not fit the context "
                       "of %lld tokens", (long long)f->n_prompt, (long long)f->n_decode,
                       (long long)g->depth, (long long)info->context);
    return VW_OK;
}

static int32_t *random_ids(const vw_engine_info *info, vw_error *err)
{
    int32_t *ids = malloc((size_t)info->context * sizeof *ids);
    bench_random random = {5};
    for (int64_t i = 0; ids && i < info->context; i++)
        ids[i] = (int32_t)(bench_random_bits(&random) % (uint32_t)info->vocab_size);
    if (!ids)
        vw_fail(err, VW_E_NOMEM, "no memory for %lld token ids", (long long)info->context);
    return ids;
}

static vw_status measure_opened(const model_bench *g, opened *o, double began, findings *f,
                                vw_error *err)
{
    vw_sequence *s = NULL;
    int32_t *ids = random_ids(&o->info, err);
    vw_status status = ids ? fit(g, &o->info, f, err) : VW_E_NOMEM;
    if (status == VW_OK)
        status = vw_sequence_new(o->engine, &s, err);
    if (status == VW_OK)
        status = feed(s, o->engine, ids,
                      o->info.context > SHORT_PROMPT ? SHORT_PROMPT : 1, err);
    f->first_token = now_seconds() - began;
    if (status == VW_OK)
        status = time_feeds(g, o, s, ids, f, err);
    f->token_bytes = o->info.token_bytes;
    f->weight_bytes = o->info.weight_bytes;
    count_ops(&o->info, f);
    snprintf(f->what, sizeof f->what, "%s; gemm/%s, attention/%s, device/%s", o->info.description,
             o->info.gemm, o->info.attention, o->info.device);
    vw_sequence_free(s);
    free(ids);
    return status;
}

static vw_status measure(void *arg, void *result, vw_error *err)
{
    const job *j = arg;
    findings *f = result;
    choices c = j->bench->b.c;
    opened o = {NULL, NULL, NULL, {0}, 0};
    double began = now_seconds();
    assignment *set = calloc(c.set.n + 1, sizeof *set);
    if (!set)
        return vw_fail(err, VW_E_NOMEM, "no memory for the settings");
    if (c.set.n)
        memcpy(set, c.set.items, c.set.n * sizeof *set);
    c.set.items = set;
    if (j->vs)
        set[c.set.n++] = (assignment){NULL, j->vs, "vs"};
    c.needs_no_tokenizer = 1;
    vw_status status = open_model(&c, &o, err);
    f->load = now_seconds() - began;
    if (status == VW_OK)
        status = measure_opened(j->bench, &o, began, f, err);
    f->peak_bytes = peak_memory();
    if (status == VW_OK)
        status = ceilings_measure(o.core, &f->top, 0, err);
    ceilings_release(&f->top);
    close_opened(&o);
    free(set);
    return status;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

typedef struct series {
    double load[MAX_ROUNDS], first_token[MAX_ROUNDS], prefill[MAX_ROUNDS], decode[MAX_ROUNDS],
        seconds[MAX_ROUNDS], share_f32[MAX_ROUNDS], share_int8[MAX_ROUNDS], share_read[MAX_ROUNDS];
    findings last;
    uint64_t peak_bytes; /* the largest */
    char *output;        /* of a rival's last run */
} series;

typedef struct rounds {
    series own[MAX_CONFIGURATIONS], rival[MAX_RIVALS];
    int n_own, n_rivals, n;
} rounds;

/* What the ceilings right after a run make of it. */
static void add_shares(series *s, int n)
{
    const findings *f = &s->last;
    double ops = f->token_ops * (double)f->n_prompt + f->head_ops;
    double bytes = (double)f->token_bytes * (double)f->n_decode;
    double rate = f->n_prompt && f->prefill > 0 ? ops / f->prefill : 0;
    s->share_f32[n] = 100 * rate / f->top.f32;
    s->share_int8[n] = 100 * rate / f->top.int8;
    s->share_read[n] = f->n_decode && f->decode > 0 ? 100 * bytes / f->decode / f->top.read : 0;
}

static vw_status run_own(const model_bench *g, rounds *r, int i, vw_error *err)
{
    series *s = &r->own[i];
    job j = {g, i ? g->vs.words[i - 1] : NULL};
    memset(&s->last, 0, sizeof s->last);
    vw_status status = in_child(measure, &j, &s->last, sizeof s->last, err);
    s->load[r->n] = s->last.load;
    s->first_token[r->n] = s->last.first_token;
    s->prefill[r->n] = s->last.prefill;
    s->decode[r->n] = s->last.decode;
    add_shares(s, r->n);
    s->peak_bytes = s->last.peak_bytes > s->peak_bytes ? s->last.peak_bytes : s->peak_bytes;
    return status;
}

static vw_status run_rival(const model_bench *g, rounds *r, int i, vw_error *err)
{
    series *s = &r->rival[i];
    uint64_t peak = 0;
    free(s->output);
    s->output = NULL;
    vw_status status = run_outside(g->rivals.words[i], &s->seconds[r->n], &peak, &s->output, err);
    s->peak_bytes = peak > s->peak_bytes ? peak : s->peak_bytes;
    return status;
}

static vw_status run_rounds(const model_bench *g, rounds *r, vw_error *err)
{
    vw_status status = VW_OK;
    int n = r->n_own + r->n_rivals;
    for (r->n = 0; r->n < g->b.repeats && status == VW_OK; r->n++)
        for (int k = 0; k < n && status == VW_OK; k++) {
            int i = r->n % 2 ? n - 1 - k : k;
            status = i < r->n_own ? run_own(g, r, i, err) : run_rival(g, r, i - r->n_own, err);
            if (progress_show(NULL, "runs", (uint64_t)(r->n * n + k + 1),
                              (uint64_t)(g->b.repeats * n), "") && status == VW_OK)
                status = vw_fail(err, VW_E_INTERRUPTED, "interrupted");
        }
    progress_end();
    return status;
}

/* ---- telling --------------------------------------------------------------------------------- */

/* Medians and shares of one configuration. */
typedef struct summary {
    double load, first_token, prefill_rate, decode_rate, share_f32, share_int8, share_read;
} summary;

static summary summarise(const rounds *r, series *s)
{
    const findings *f = &s->last;
    double prefill = median_of(s->prefill, r->n), decode = median_of(s->decode, r->n);
    summary m = {.load = median_of(s->load, r->n), .first_token = median_of(s->first_token, r->n),
                 .share_f32 = median_of(s->share_f32, r->n),
                 .share_int8 = median_of(s->share_int8, r->n),
                 .share_read = median_of(s->share_read, r->n)};
    if (f->n_prompt && prefill > 0)
        m.prefill_rate = (double)f->n_prompt / prefill;
    if (f->n_decode && decode > 0)
        m.decode_rate = (double)f->n_decode / decode;
    return m;
}

static void print_own(const model_bench *g, const summary *m, const summary *base, const series *s,
                      int i)
{
    printf("%s%s\n  %s\n", i ? "--vs " : "as given", i ? g->vs.words[i - 1] : "", s->last.what);
    printf("  prefill %lld: %9.2f tokens/s, %5.1f %% of the f32 peak, %.1f %% of the int8 peak\n",
           (long long)s->last.n_prompt, m->prefill_rate, m->share_f32, m->share_int8);
    printf("  decode  %lld: %9.2f tokens/s, %5.1f %% of the read bandwidth (%.1f MB a token)\n",
           (long long)s->last.n_decode, m->decode_rate, m->share_read,
           (double)s->last.token_bytes * 1e-6);
    printf("  load %.2f s, first token after %.2f s, peak memory %.1f MB (weights %.1f MB)\n",
           m->load, m->first_token, (double)s->peak_bytes * 1e-6,
           (double)s->last.weight_bytes * 1e-6);
    if (i && m->prefill_rate > 0 && m->decode_rate > 0)
        printf("  as given is %.2fx as fast in prefill, %.2fx in decode\n",
               base->prefill_rate / m->prefill_rate, base->decode_rate / m->decode_rate);
}

static void add_own(vw_json_writer *w, const model_bench *g, const summary *m, const series *s,
                    int i)
{
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "vs", i ? g->vs.words[i - 1] : NULL);
    vw_json_add_string(w, "what", s->last.what);
    vw_json_add_int(w, "prompt_tokens", s->last.n_prompt);
    vw_json_add_double(w, "prefill_tokens_s", m->prefill_rate);
    vw_json_add_double(w, "prefill_percent_of_f32_peak", m->share_f32);
    vw_json_add_double(w, "prefill_percent_of_int8_peak", m->share_int8);
    vw_json_add_int(w, "decode_tokens", s->last.n_decode);
    vw_json_add_double(w, "decode_tokens_s", m->decode_rate);
    vw_json_add_double(w, "decode_percent_of_read", m->share_read);
    vw_json_add_uint(w, "token_bytes", s->last.token_bytes);
    vw_json_add_uint(w, "weight_bytes", s->last.weight_bytes);
    vw_json_add_uint(w, "peak_bytes", s->peak_bytes);
    vw_json_add_double(w, "load_seconds", m->load);
    vw_json_add_double(w, "first_token_seconds", m->first_token);
    vw_json_end_object(w);
}

static void print_rival(const model_bench *g, const rounds *r, series *s, int i)
{
    printf("--rival %s\n  %.2f s a run, peak memory %.1f MB; its last output:\n",
           g->rivals.words[i], median_of(s->seconds, r->n), (double)s->peak_bytes * 1e-6);
    for (const char *at = s->output ? s->output : ""; *at;) {
        size_t n = strcspn(at, "\n");
        printf("  | %.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

static void add_rival(vw_json_writer *w, const model_bench *g, const rounds *r, series *s, int i)
{
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "command", g->rivals.words[i]);
    vw_json_add_double(w, "seconds", median_of(s->seconds, r->n));
    vw_json_add_uint(w, "peak_bytes", s->peak_bytes);
    vw_json_add_string(w, "output", s->output);
    vw_json_end_object(w);
}

static vw_status tell(model_bench *g, rounds *r, vw_error *err)
{
    vw_json_writer *w = &g->b.json;
    summary base = {0};
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "bench", "model");
    vw_json_begin_array(w, "configurations");
    for (int i = 0; i < r->n_own; i++) {
        summary m = summarise(r, &r->own[i]);
        base = i ? base : m;
        if (g->b.c.is_json)
            add_own(w, g, &m, &r->own[i], i);
        else
            print_own(g, &m, &base, &r->own[i], i);
    }
    vw_json_end_array(w);
    vw_json_begin_array(w, "rivals");
    for (int i = 0; i < r->n_rivals; i++)
        if (g->b.c.is_json)
            add_rival(w, g, r, &r->rival[i], i);
        else
            print_rival(g, r, &r->rival[i], i);
    vw_json_end_array(w);
    if (!g->b.c.is_json) {
        ceilings_print(&r->own[0].last.top);
        return VW_OK;
    }
    ceilings_add_json(w, &r->own[0].last.top);
    vw_json_end_object(w);
    return print_json(w, err);
}

static vw_status work(model_bench *g, vw_error *err)
{
    rounds *r = calloc(1, sizeof *r);
    if (!r)
        return vw_fail(err, VW_E_NOMEM, "no memory for the measurements");
    r->n_own = 1 + (int)g->vs.n;
    r->n_rivals = (int)g->rivals.n;
    interrupt_watch(NULL);
    vw_status status = run_rounds(g, r, err);
    if (status == VW_OK)
        status = tell(g, r, err);
    for (int i = 0; i < r->n_rivals; i++)
        free(r->rival[i].output);
    free(r);
    return status;
}

static const command bench_models;

int bench_model_main(int argc, char **argv)
{
    model_bench g = {.b.repeats = 3, .n_prompt = -1, .n_decode = 64};
    int status;
    vw_error err = {VW_OK, ""};
    const opt work_options[] = {
        MODEL_OPTIONS(&g.b.c), CONTEXT_OPTION(&g.b.c),
        {'p', "n-prompt", OPT_INT, &g.n_prompt, "N",
         "tokens to prefill (default 512, or the context)", NULL, 0, 1e9},
        {'n', "n-gen", OPT_INT, &g.n_decode, "N", "tokens to decode (default 64)", NULL, 0, 1e9},
        {0, "depth", OPT_INT, &g.depth, "N", "tokens in the cache before decoding (default 0)",
         NULL, 0, 1e9},
        {'r', "repeats", OPT_INT, &g.b.repeats, "N", "rounds (default 3)", NULL, 1, MAX_ROUNDS},
        {0, "vs", OPT_LIST, &g.vs, "SECTION.KEY=VALUE",
         "measure with this setting as well, in turns; repeatable", NULL, 0, 0},
        {0, "rival", OPT_LIST, &g.rivals, "COMMAND",
         "run this shell command in turns and show its output; repeatable", NULL, 0, 0},
        END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&g.b.c), END_OPTIONS};
    const opt_group groups[] = {{"work", work_options}, {"general", general}, {NULL, NULL}};
    if (options_parse(&bench_models, groups, argc, argv, NULL, &status)) {
        if (g.vs.n >= MAX_CONFIGURATIONS || g.rivals.n > MAX_RIVALS)
            status = wrong_use(&bench_models, "at most %d --vs and %d --rival",
                               MAX_CONFIGURATIONS - 1, MAX_RIVALS);
        else if (work(&g, &err) != VW_OK)
            status = report(&err);
    }
    vw_json_writer_free(&g.b.json);
    assignments_free(&g.b.c.set);
    word_list_free(&g.vs);
    word_list_free(&g.rivals);
    return status;
}

static const command bench_models = {
    "bench model", "[-m DIR] [options]", "race whole models and programs",
    "Random tokens.  Prefill counts the arithmetic of the weights (attention left out, the head\n"
    "once); decode counts the bytes of the weights that a token reads.  Every measurement is a\n"
    "process of its own, so that load time and peak memory are those of one model.\n",
    "  vishwamai bench model -m /models/gemma-2b -p 512 -n 64 --vs gemm.plugin=blas\n"
    "  vishwamai bench model --rival \"llama-bench -m gemma-2b.gguf -p 512 -n 64\"\n",
    bench_model_main};
