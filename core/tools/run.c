/* run.c - `vishwamai run`: continue a text.
 *
 * Without --json, standard output holds the continuation and nothing else, streamed; everything
 * that is said about it goes to standard error.
 */
#include "answer.h"
#include "interrupt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct run {
    choices c;
    manner m;
    const char *text, *file, *tokens;
    opened o;
    id_list prompt;
    answer a;
} run;

static vw_status read_prompt(run *r, vw_error *err)
{
    if (r->tokens) {
        vw_status status = input_ids("--tokens", r->tokens, &r->prompt, err);
        return status == VW_OK ? check_ids(&r->o, r->prompt.ids, r->prompt.n, err) : status;
    }
    if (r->text)
        return input_encode(r->o.engine, r->text, strlen(r->text), -1, &r->prompt, err);
    char *text;
    size_t bytes;
    vw_status status = input_read_dup(r->file, &text, &bytes, err);
    if (status == VW_OK) {
        status = input_encode(r->o.engine, text, bytes, -1, &r->prompt, err);
        free(text);
    }
    return status;
}

static double rate(int64_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static void add_experts(vw_json_writer *w, const vw_expert_stats *s)
{
    vw_json_begin_object(w, "experts");
    vw_json_add_int(w, "count", s->n_experts);
    vw_json_add_int(w, "in_memory", s->n_slots);
    vw_json_add_uint(w, "slot_bytes", s->slot_bytes);
    vw_json_add_uint(w, "hits", s->hits);
    vw_json_add_uint(w, "misses", s->misses);
    vw_json_add_uint(w, "evictions", s->evictions);
    vw_json_add_uint(w, "bytes_read", s->bytes_read);
    vw_json_add_double(w, "read_seconds", s->read_seconds);
    vw_json_add_double(w, "wait_seconds", s->wait_seconds);
    vw_json_add_double(w, "bytes_per_second",
                       rate((int64_t)s->bytes_read, s->read_seconds));
    vw_json_add_string(w, "method", s->method);
    vw_json_add_bool(w, "direct", s->is_direct);
    vw_json_end_object(w);
}

static vw_status print_answer(const run *r, vw_error *err)
{
    vw_json_writer w = {0};
    vw_expert_stats experts = {.size = sizeof experts};
    vw_engine_expert_stats(r->o.engine, &experts);
    vw_json_begin_object(&w, NULL);
    add_ids(&w, "prompt_tokens", r->prompt.ids, r->prompt.n);
    add_ids(&w, "tokens", r->a.tokens.ids, r->a.tokens.n);
    if (r->o.info.has_tokenizer)
        vw_json_add_bytes(&w, "text", r->a.text ? r->a.text : "", r->a.bytes);
    vw_json_add_string(&w, "finish", answer_finish(&r->a));
    if (r->a.stats.n_drafted) {
        vw_json_begin_object(&w, "drafts");
        vw_json_add_int(&w, "proposed", r->a.stats.n_drafted);
        vw_json_add_int(&w, "accepted", r->a.stats.n_accepted);
        vw_json_end_object(&w);
    }
    vw_json_begin_object(&w, "seconds");
    vw_json_add_double(&w, "load", r->o.load_seconds);
    vw_json_add_double(&w, "prompt", r->a.stats.prompt_seconds);
    vw_json_add_double(&w, "decode", r->a.stats.decode_seconds);
    vw_json_end_object(&w);
    if (experts.n_slots)
        add_experts(&w, &experts);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

static void say_speed(const run *r)
{
    const vw_generate_stats *s = &r->a.stats;
    fprintf(stderr, "loaded in %.2f s; prompt: %lld tokens in %.3f s, %.1f/s; "
            "new: %lld tokens in %.3f s, %.1f/s; ended by %s\n", r->o.load_seconds,
            (long long)s->n_prompt, s->prompt_seconds, rate(s->n_prompt, s->prompt_seconds),
            (long long)s->n_tokens, s->decode_seconds, rate(s->n_tokens, s->decode_seconds),
            answer_finish(&r->a));
    if (s->n_drafted)
        fprintf(stderr, "%lld of %lld drafted tokens were right\n", (long long)s->n_accepted,
                (long long)s->n_drafted);
}

static void say_experts(const run *r)
{
    vw_expert_stats s = {.size = sizeof s};
    vw_engine_expert_stats(r->o.engine, &s);
    if (s.n_slots)
        fprintf(stderr, "experts: %d of %d fit in memory; %llu hits, %llu misses, %llu evictions; "
                "%.1f MiB read%s in %.3f s (%s), %.0f MB/s; %.3f s waited for\n", s.n_slots,
                s.n_experts, (unsigned long long)s.hits, (unsigned long long)s.misses,
                (unsigned long long)s.evictions, (double)s.bytes_read / (1 << 20),
                s.is_direct ? " past the page cache" : "", s.read_seconds, s.method,
                rate((int64_t)s.bytes_read, s.read_seconds) * 1e-6, s.wait_seconds);
}

/* A continuation without text: its ids, when there is no tokenizer. */
static void print_bare_ids(const run *r)
{
    for (size_t i = 0; i < r->a.tokens.n; i++)
        printf("%s%d", i ? " " : "", r->a.tokens.ids[i]);
    putchar('\n');
}

static vw_status work(run *r, vw_error *err)
{
    vw_sequence *sequence = NULL;
    vw_sampling sampling;
    r->c.needs_no_tokenizer = r->tokens != NULL;
    r->a.is_streamed = !r->c.is_json;
    r->a.shows_progress = 1;
    vw_status status = open_model(&r->c, &r->o, err);
    if (status == VW_OK)
        status = vw_sampling_from_settings(r->o.settings, &sampling, err);
    if (status == VW_OK)
        status = read_prompt(r, err);
    if (status == VW_OK)
        status = vw_sequence_new(r->o.engine, &sequence, err);
    if (status == VW_OK)
        status = answer_generate(&r->o, sequence, r->prompt.ids, r->prompt.n, &r->m, &sampling,
                                 &r->a, err);
    vw_sequence_free(sequence);
    if (status != VW_OK)
        return status;
    if (r->c.is_json)
        status = print_answer(r, err);
    else if (!r->o.info.has_tokenizer)
        print_bare_ids(r);
    else if (isatty(STDOUT_FILENO))
        putchar('\n');
    if (r->c.is_verbose) {
        say_speed(r);
        say_experts(r);
    }
    return status;
}

static int run_main(int argc, char **argv)
{
    run r = {.m.max_tokens = 128};
    int status;
    vw_error err = {VW_OK, ""};
    const opt prompt[] = {
        {'p', "prompt", OPT_TEXT, &r.text, "TEXT", "the text to continue", NULL, 0, 0},
        {'f', "file", OPT_TEXT, &r.file, "FILE", "a file with it; -: standard input", NULL, 0, 0},
        {0, "tokens", OPT_TEXT, &r.tokens, "IDS", "its token ids, as they are: \"2 7 9\"", NULL,
         0, 0},
        MODEL_OPTIONS(&r.c), CONTEXT_OPTION(&r.c), END_OPTIONS};
    const opt generation[] = {MANNER_OPTIONS(&r.m, "128"), SAMPLING_OPTIONS(&r.c), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&r.c), VERBOSE_OPTION(&r.c), END_OPTIONS};
    const opt_group groups[] = {{"model and prompt", prompt}, {"generation", generation},
                                {"general", general}, {NULL, NULL}};
    if (options_parse(&command_run, groups, argc, argv, NULL, &status)) {
        if (!!r.text + !!r.file + !!r.tokens != 1)
            status = wrong_use(&command_run, "one of -p TEXT, -f FILE and --tokens IDS is needed");
        else if (work(&r, &err) != VW_OK)
            status = report(&err);
        else if (interrupt_seen())
            status = STATUS_INTERRUPTED;
    }
    close_opened(&r.o);
    answer_free(&r.a);
    id_list_free(&r.prompt);
    word_list_free(&r.m.stop);
    assignments_free(&r.c.set);
    return status;
}

const command command_run = {
    "run", "[-m DIR] -p TEXT [options]", "continue a text",
    "A -p or -f text is encoded as the model's tokenizer configuration says.  Ctrl-C ends the\n"
    "generation; what came is kept and the exit status is 130.  'vishwamai config' shows the\n"
    "defaults of the settings that --temp and its like change.\n",
    "  vishwamai run -p \"ROMEO:\" -n 64 --temp 0\n"
    "  vishwamai run --tokens \"2 681 978\" -n 8 --json\n", run_main};
