/* perplexity.c - `vishwamai perplexity`: how well a model predicts a text.
 *
 * The mean natural-log loss over consecutive windows of N positions that do not overlap.  Where the
 * tokenizer adds a beginning-of-text token it is the first position of each window and the N - 1
 * tokens after it are scored; otherwise a window is N tokens and its first is not scored.  The file
 * is encoded once; a short last window counts.
 */
#include "answer.h"
#include "interrupt.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>

typedef struct perplexity {
    choices c;
    const char *file;
    int64_t window, max_windows;
    int is_decoding, is_ids;
    opened o;
    id_list ids;
    int32_t *tokens; /* of one window */
    double loss;     /* sum, nats */
    uint64_t scored;
} perplexity;

/* log p of one token from a row of logits, in double. */
static double log_probability(const float *row, int32_t n, int32_t token)
{
    double top = row[0], sum = 0;
    for (int32_t i = 1; i < n; i++)
        top = row[i] > top ? row[i] : top;
    for (int32_t i = 0; i < n; i++)
        sum += exp(row[i] - top);
    return row[token] - top - log(sum);
}

typedef struct scoring {
    const int32_t *tokens;
    int32_t vocab_size;
    double logprob;
} scoring;

static vw_status on_row(void *arg, size_t feed, int64_t position, const float *row, vw_error *err)
{
    scoring *s = arg;
    (void)feed;
    (void)err;
    s->logprob += log_probability(row, s->vocab_size, s->tokens[position + 1]);
    return VW_OK;
}

/* As vw_score(tokens, n, 1), but one token at a time through the cache. */
static vw_status score_decoding(const perplexity *p, size_t n, double *logprob, vw_error *err)
{
    scoring s = {p->tokens, p->o.info.vocab_size, 0};
    vw_sequence *sequence = NULL;
    vw_status status = vw_sequence_new(p->o.engine, &sequence, err);
    for (size_t i = 0; i + 1 < n && status == VW_OK; i++) {
        vw_feed one = {sequence, p->tokens + i, 1, VW_WANT_LAST};
        status = vw_engine_feed(p->o.engine, &one, 1, on_row, &s, err);
    }
    vw_sequence_free(sequence);
    *logprob = s.logprob;
    return status;
}

/* Of ids without a tokenizer the model alone can tell. */
static int begins_with_bos(const perplexity *p)
{
    const vw_engine_info *info = &p->o.info;
    return info->adds_bos == 1 || (p->is_ids && !info->has_tokenizer && info->bos >= 0);
}

/* Score ids[first ..): at most `step` of them. */
static vw_status score_window(perplexity *p, size_t first, size_t step, vw_error *err)
{
    int has_bos = begins_with_bos(p);
    size_t n = 0, count = p->ids.n - first < step ? p->ids.n - first : step;
    double logprob = 0;
    if (has_bos)
        p->tokens[n++] = p->o.info.bos;
    for (size_t i = 0; i < count; i++)
        p->tokens[n++] = p->ids.ids[first + i];
    if (n < 2)
        return VW_OK;
    vw_status status = p->is_decoding
        ? score_decoding(p, n, &logprob, err)
        : vw_score(p->o.engine, p->tokens, n, 1, &logprob, NULL, err);
    if (status == VW_OK) {
        p->loss -= logprob;
        p->scored += n - 1;
    }
    return status;
}

static vw_status score_all(perplexity *p, vw_error *err)
{
    size_t step = (size_t)p->window - (size_t)begins_with_bos(p);
    size_t n_windows = (p->ids.n + step - 1) / step;
    if (p->max_windows > 0 && n_windows > (size_t)p->max_windows)
        n_windows = (size_t)p->max_windows;
    p->tokens = malloc((size_t)p->window * sizeof *p->tokens);
    if (!p->tokens)
        return vw_fail(err, VW_E_NOMEM, "no memory for a window of %lld tokens",
                       (long long)p->window);
    vw_status status = VW_OK;
    for (size_t i = 0; i < n_windows && status == VW_OK; i++) {
        if (progress_show(NULL, "perplexity", i, n_windows, "windows"))
            status = vw_fail(err, VW_E_INTERRUPTED, "interrupted after %zu of %zu windows", i,
                             n_windows);
        else
            status = score_window(p, i * step, step, err);
    }
    progress_end();
    if (status == VW_OK && p->scored == 0)
        return vw_fail(err, VW_E_INVALID, "%s: too short: no token can be scored", p->file);
    return status;
}

/* ---- experts --------------------------------------------------------------------------------- */

/* How evenly a layer's experts were used by the text. */
typedef struct use {
    double imbalance; /* the fullest over the mean */
    int32_t idle;
} use;

static use use_of(const uint64_t *loads, int32_t n)
{
    uint64_t sum = 0, most = 0;
    use u = {0, 0};
    for (int32_t i = 0; i < n; i++) {
        sum += loads[i];
        most = loads[i] > most ? loads[i] : most;
        u.idle += loads[i] == 0;
    }
    u.imbalance = sum ? (double)most * n / (double)sum : 0;
    return u;
}

static void add_layer(vw_json_writer *w, const uint64_t *loads, int32_t n)
{
    use u = use_of(loads, n);
    vw_json_begin_object(w, NULL);
    vw_json_begin_array(w, "loads");
    for (int32_t i = 0; i < n; i++)
        vw_json_add_uint(w, NULL, loads[i]);
    vw_json_end_array(w);
    vw_json_add_double(w, "imbalance", u.imbalance);
    vw_json_add_int(w, "idle", u.idle);
    vw_json_end_object(w);
}

/* Into `w`, or as a line for people. */
static vw_status tell_experts(const perplexity *p, vw_json_writer *w, vw_error *err)
{
    const vw_engine_info *info = &p->o.info;
    use worst = {0, 0};
    uint64_t *loads = malloc(((size_t)info->n_experts + 1) * sizeof *loads);
    vw_status status =
        loads ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for %d experts", info->n_experts);
    if (w)
        vw_json_begin_array(w, "experts");
    for (int32_t i = 0; i < info->n_expert_layers && status == VW_OK; i++) {
        int32_t n;
        status = vw_engine_expert_loads(p->o.engine, i, loads, info->n_experts, &n, err);
        if (status != VW_OK)
            break;
        use u = use_of(loads, n);
        worst.imbalance = fmax(worst.imbalance, u.imbalance);
        worst.idle += u.idle;
        if (w)
            add_layer(w, loads, n);
    }
    if (w)
        vw_json_end_array(w);
    if (!w && status == VW_OK)
        printf("experts: the fullest has %.3f of the mean load, in the worst of %d layers; %d got no "
               "token\n", worst.imbalance, info->n_expert_layers, worst.idle);
    free(loads);
    return status;
}

/* ---- what is told ---------------------------------------------------------------------------- */

static vw_status print_result(const perplexity *p, vw_error *err)
{
    double nll = p->loss / (double)p->scored;
    if (p->c.is_json) {
        vw_json_writer w = {0};
        vw_json_begin_object(&w, NULL);
        vw_json_add_uint(&w, "tokens", p->scored);
        vw_json_add_double(&w, "nll", nll);
        vw_json_add_double(&w, "perplexity", exp(nll));
        vw_status status = p->o.info.n_expert_layers ? tell_experts(p, &w, err) : VW_OK;
        vw_json_end_object(&w);
        if (status != VW_OK)
            vw_json_writer_free(&w);
        return status == VW_OK ? print_json(&w, err) : status;
    }
    printf("perplexity %.4f; mean loss %.5f nats over %llu tokens, windows of %lld\n", exp(nll),
           nll, (unsigned long long)p->scored, (long long)p->window);
    return p->o.info.n_expert_layers ? tell_experts(p, NULL, err) : VW_OK;
}

static vw_status work(perplexity *p, vw_error *err)
{
    char *text = NULL;
    size_t bytes;
    p->c.needs_no_tokenizer = p->is_ids;
    vw_status status = open_model(&p->c, &p->o, err);
    if (status == VW_OK)
        status = input_read_dup(p->file, &text, &bytes, err);
    if (status == VW_OK)
        status = p->is_ids ? input_ids(p->file, text, &p->ids, err)
                           : input_encode(p->o.engine, text, bytes, 0, &p->ids, err);
    free(text);
    if (status != VW_OK)
        return status;
    if (p->window == 0)
        p->window = p->o.info.context < 512 ? p->o.info.context : 512;
    if (p->window > p->o.info.context)
        return vw_fail(err, VW_E_CONFIG, "--ctx %lld: the context is %lld tokens",
                       (long long)p->window, (long long)p->o.info.context);
    status = score_all(p, err);
    return status == VW_OK ? print_result(p, err) : status;
}

static int perplexity_main(int argc, char **argv)
{
    perplexity p = {0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt input[] = {
        {'f', "file", OPT_TEXT, &p.file, "FILE", "the text; -: standard input", NULL, 0, 0},
        {0, "ids", OPT_FLAG, &p.is_ids, NULL,
         "the file holds token ids, as 'tokenize' prints them, and no text", NULL, 0, 0},
        {0, "ctx", OPT_INT, &p.window, "N",
         "positions of a window (default: the context, at most 512)", NULL, 2, 1e9},
        {0, "chunks", OPT_INT, &p.max_windows, "N", "windows at most; 0: all", NULL, 0, 1e12},
        {0, "decode", OPT_FLAG, &p.is_decoding, NULL,
         "feed one token at a time, through the cache", NULL, 0, 0},
        MODEL_OPTIONS(&p.c), CONTEXT_OPTION(&p.c), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&p.c), VERBOSE_OPTION(&p.c), END_OPTIONS};
    const opt_group groups[] = {{"model and text", input}, {"general", general}, {NULL, NULL}};
    if (options_parse(&command_perplexity, groups, argc, argv, NULL, &status)) {
        if (!p.file)
            status = wrong_use(&command_perplexity, "-f FILE is needed");
        else if (work(&p, &err) != VW_OK)
            status = report(&err);
    }
    close_opened(&p.o);
    free(p.tokens);
    id_list_free(&p.ids);
    assignments_free(&p.c.set);
    return status;
}

const command command_perplexity = {
    "perplexity", "[-m DIR] -f FILE [options]", "measure how well a model predicts a text",
    "The mean natural-log loss over consecutive windows of N positions that do not overlap.\n"
    "Where the tokenizer adds a beginning-of-text token it is the first position of each window\n"
    "and is not scored; otherwise the first token of a window is not scored.  The short last\n"
    "window counts.  With --ids no tokenizer is needed: a beginning-of-text token is put in front\n"
    "where the model has one.  Of a model with experts it is also told how evenly the text used them.\n",
    "  vishwamai perplexity -f book.txt --ctx 256 --json\n", perplexity_main};
