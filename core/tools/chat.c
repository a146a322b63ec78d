/* chat.c - `vishwamai chat`: a conversation.
 *
 * The cache is kept between turns: each turn's conversation is encoded anew, the sequence is cut
 * back to what both have in common, and only the rest is computed.  When the context is full the
 * oldest question and its answer are forgotten.  Works the same with a pipe as input; then there is
 * no prompt sign, and each answer ends with a newline.
 */
#include "answer.h"
#include "interrupt.h"
#include "models.h"
#include "transcript.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat {
    choices c;
    manner m;
    const char *system;
    opened o;
    vw_sampling sampling;
    transcript talk;
    loaded_models models;
    id_list ids;    /* the conversation as encoded for this turn */
    answer a;
    int is_terminal;
} chat;

/* ---- reading a question ---------------------------------------------------------------------- */

/* One line; a backslash at its end continues it.  Returns 0 at the end of the input, and when
 * Ctrl-C ended the read: the lines before it are no question. */
static int read_question(const chat *ch, char **text, size_t *bytes)
{
    char *line = NULL;
    size_t room = 0;
    FILE *to = open_memstream(text, bytes);
    int is_more = 1, n_lines = 0;
    while (to && is_more) {
        if (ch->is_terminal) {
            fputs(n_lines ? ". " : "> ", stdout);
            fflush(stdout);
        }
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0)
            break;
        n_lines++;
        if (n > 0 && line[n - 1] == '\n')
            n--;
        is_more = n > 0 && line[n - 1] == '\\';
        fwrite(line, 1, (size_t)(n - is_more), to);
        if (is_more)
            fputc('\n', to);
    }
    free(line);
    if (to && fclose(to) == 0 && n_lines && !ferror(stdin))
        return 1;
    free(*text);
    *text = NULL;
    return 0;
}

/* A read that Ctrl-C ended: say how to leave, and go on reading. */
static int was_only_interrupted(void)
{
    if (!interrupt_seen() || feof(stdin))
        return 0;
    clearerr(stdin);
    fputs("\n(/exit or Ctrl-D ends the conversation)\n", stderr);
    return 1;
}

/* ---- answering ------------------------------------------------------------------------------- */

/* Tokens that the next answer should have room for. */
static size_t room_for_answer(const chat *ch)
{
    int64_t quarter = ch->o.info.context / 4;
    return (size_t)(ch->m.max_tokens >= 0 && ch->m.max_tokens < quarter ? ch->m.max_tokens
                                                                       : quarter);
}

/* Encode the conversation, forgetting its oldest part until the context has room. */
static vw_status fit(chat *ch, vw_error *err)
{
    size_t n_forgotten = 0;
    for (;;) {
        vw_status status = transcript_encode(&ch->talk, ch->o.engine, &ch->ids, err);
        if (status != VW_OK)
            return status;
        if (ch->ids.n + room_for_answer(ch) <= (size_t)ch->o.info.context ||
            !transcript_drop_oldest(&ch->talk))
            break;
        n_forgotten += 2;
    }
    if (n_forgotten)
        fprintf(stderr, "(the context of %lld tokens is full: forgot the %zu oldest messages)\n",
                (long long)ch->o.info.context, n_forgotten);
    return VW_OK;
}

static loaded_model *speaker(const chat *ch)
{
    return &ch->models.list[ch->models.current];
}

/* How many tokens of the conversation the sequence holds already; one at least is fed again. */
static size_t shared_prefix(const chat *ch)
{
    const id_list *cached = &speaker(ch)->cached;
    size_t n = 0, most = ch->ids.n ? ch->ids.n - 1 : 0;
    while (n < most && n < cached->n && ch->ids.ids[n] == cached->ids[n])
        n++;
    return n;
}

/* Note what the sequence holds after a generation, whatever its end. */
static vw_status remember(chat *ch, vw_error *err)
{
    id_list *cached = &speaker(ch)->cached;
    cached->n = 0;
    vw_status status = id_list_add(cached, ch->ids.ids, ch->ids.n, err);
    if (status == VW_OK)
        status = id_list_add(cached, ch->a.tokens.ids, ch->a.tokens.n, err);
    size_t length = (size_t)vw_sequence_length(speaker(ch)->sequence);
    if (cached->n > length)
        cached->n = length;
    return status;
}

static vw_status print_turn(const chat *ch, vw_error *err)
{
    vw_json_writer w = {0};
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "role", "assistant");
    vw_json_add_bytes(&w, "text", ch->a.text ? ch->a.text : "", ch->a.bytes);
    add_ids(&w, "tokens", ch->a.tokens.ids, ch->a.tokens.n);
    vw_json_add_string(&w, "finish", answer_finish(&ch->a));
    vw_json_add_uint(&w, "prompt_tokens", ch->ids.n);
    vw_json_add_uint(&w, "cached_tokens", speaker(ch)->cached.n);
    vw_json_begin_object(&w, "seconds");
    vw_json_add_double(&w, "prompt", ch->a.stats.prompt_seconds);
    vw_json_add_double(&w, "decode", ch->a.stats.decode_seconds);
    vw_json_end_object(&w);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

/* The answer as it is kept: without the blank that stands between "Assistant:" and it. */
static vw_status keep_answer(chat *ch, vw_error *err)
{
    const char *text = ch->a.text ? ch->a.text : "";
    size_t bytes = ch->a.bytes;
    if (ch->talk.is_plain && bytes && *text == ' ') {
        text++;
        bytes--;
    }
    return transcript_add(&ch->talk, "assistant", text, bytes, err);
}

static vw_status generate(chat *ch, vw_error *err)
{
    size_t n_shared = shared_prefix(ch);
    manner m = ch->m;
    word_list stop = {NULL, 0};
    vw_status status = vw_sequence_truncate(speaker(ch)->sequence, (int64_t)n_shared, err);
    speaker(ch)->cached.n = n_shared;
    if (status == VW_OK && ch->talk.is_plain) {
        stop.words = malloc((m.stop.n + 2) * sizeof *stop.words);
        if (!stop.words)
            return vw_fail(err, VW_E_NOMEM, "no memory for stop strings");
        for (size_t i = 0; i < m.stop.n; i++)
            stop.words[stop.n++] = m.stop.words[i];
        stop.words[stop.n++] = TRANSCRIPT_STOP;
        stop.words[stop.n] = NULL;
        m.stop = stop;
    }
    ch->a.tokens.n = ch->a.bytes = 0;
    if (status == VW_OK)
        status = answer_generate(&ch->o, speaker(ch)->sequence, ch->ids.ids + n_shared,
                                 ch->ids.n - n_shared, &m, &ch->sampling, &ch->a, err);
    word_list_free(&stop);
    return status;
}

static vw_status answer_question(chat *ch, const char *text, size_t bytes, vw_error *err)
{
    vw_status status = transcript_add(&ch->talk, "user", text, bytes, err);
    if (status == VW_OK)
        status = fit(ch, err);
    if (status == VW_OK) {
        interrupt_watch(ch->o.engine);
        status = generate(ch, err);
    }
    if (status != VW_OK) {
        /* What the sequence holds is not known any more; the next turn begins with an empty one. */
        vw_error ignored = {VW_OK, ""};
        vw_sequence_truncate(speaker(ch)->sequence, 0, &ignored);
        speaker(ch)->cached.n = 0;
        transcript_drop_last(&ch->talk);
        return status;
    }
    if (ch->c.is_json)
        status = print_turn(ch, err);
    else
        putchar('\n');
    fflush(stdout);
    if (status == VW_OK)
        status = remember(ch, err);
    return status == VW_OK ? keep_answer(ch, err) : status;
}

/* ---- the conversation ------------------------------------------------------------------------ */

/* Errors that the next question may not have. */
static int is_survivable(vw_status status)
{
    return status == VW_E_FULL || status == VW_E_INTERRUPTED || status == VW_E_INVALID ||
           status == VW_E_NOTFOUND;
}

/* Go on with another model; the conversation stays, and so does what each has computed of it. */
static vw_status change_model(chat *ch, const char *name, vw_error *err)
{
    char names[400];
    vw_status status = *name ? models_use(&ch->models, name, &ch->o, err) : VW_OK;
    if (status != VW_OK)
        return status;
    ch->talk.is_plain = 0; /* it may have a template of its own */
    models_list(&ch->models, ch->o.settings, names, sizeof names);
    fprintf(stderr, "(%s; models: %s)\n", ch->o.info.description, names);
    return VW_OK;
}

static vw_status converse(chat *ch, vw_error *err)
{
    for (;;) {
        char *text = NULL;
        size_t bytes = 0;
        interrupt_watch(NULL);
        if (!read_question(ch, &text, &bytes)) {
            if (was_only_interrupted())
                continue;
            return VW_OK;
        }
        vw_status status = VW_OK;
        int is_end = strcmp(text, "/exit") == 0;
        if (strcmp(text, "/clear") == 0)
            transcript_clear(&ch->talk);
        else if (strncmp(text, "/model", 6) == 0 && (!text[6] || text[6] == ' '))
            status = change_model(ch, text + 6 + strspn(text + 6, " "), err);
        else if (text[0] == '/' && !is_end)
            fprintf(stderr, "(/clear forgets the conversation, /model NAME goes on with another "
                    "model, /exit ends it)\n");
        else if (bytes && !is_end)
            status = answer_question(ch, text, bytes, err);
        free(text);
        if (is_end)
            return VW_OK;
        if (is_survivable(status))
            report(err);
        else if (status != VW_OK)
            return status;
    }
}

static vw_status work(chat *ch, vw_error *err)
{
    ch->is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !ch->c.is_json;
    ch->a.is_streamed = !ch->c.is_json;
    ch->a.shows_progress = 1;
    vw_status status = open_model(&ch->c, &ch->o, err);
    if (status == VW_OK)
        status = vw_sampling_from_settings(ch->o.settings, &ch->sampling, err);
    if (status == VW_OK)
        status = models_begin(&ch->models, &ch->c, &ch->o, err);
    if (status == VW_OK && ch->system)
        status = transcript_add(&ch->talk, "system", ch->system, strlen(ch->system), err);
    if (status == VW_OK && ch->is_terminal)
        fprintf(stderr, "%s.  /clear forgets, /exit ends, \\ at a line's end continues it, Ctrl-C "
                "ends an answer.\n", ch->o.info.description);
    interrupt_outlive();
    if (status == VW_OK)
        status = converse(ch, err);
    return status;
}

static int chat_main(int argc, char **argv)
{
    chat ch = {.m.max_tokens = -1};
    int status;
    vw_error err = {VW_OK, ""};
    const opt model[] = {
        MODEL_OPTIONS(&ch.c), CONTEXT_OPTION(&ch.c),
        {0, "system", OPT_TEXT, &ch.system, "TEXT", "what the model is told first", NULL, 0, 0},
        END_OPTIONS};
    const opt generation[] = {MANNER_OPTIONS(&ch.m, "-1"), SAMPLING_OPTIONS(&ch.c), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&ch.c), VERBOSE_OPTION(&ch.c), END_OPTIONS};
    const opt_group groups[] = {{"model", model}, {"generation", generation},
                                {"general", general}, {NULL, NULL}};
    if (options_parse(&command_chat, groups, argc, argv, NULL, &status) && work(&ch, &err) != VW_OK)
        status = report(&err);
    interrupt_unwatch();
    models_free(&ch.models, &ch.o);
    close_opened(&ch.o);
    transcript_free(&ch.talk);
    answer_free(&ch.a);
    id_list_free(&ch.ids);
    word_list_free(&ch.m.stop);
    assignments_free(&ch.c.set);
    return status;
}

const command command_chat = {
    "chat", "[-m DIR] [options]", "talk with a model",
    "Reads questions from standard input, a line each; a backslash at the end of a line continues\n"
    "it.  /clear forgets the conversation, /model NAME goes on with the [model:NAME] of the settings\n"
    "(/model alone lists them, /model - is the first), /exit or the end of the input ends it, Ctrl-C\n"
    "ends an answer.  A model with a chat template gets it; another one gets a transcript, with\n"
    "\"User:\" and \"Assistant:\" before the lines.  With --json, each answer is a line:\n"
    "{\"role\":\"assistant\",\"text\":...,\"tokens\":[...],\"finish\":...,\"prompt_tokens\":N,\n"
    "\"cached_tokens\":N,\"seconds\":{...}}.\n",
    "  vishwamai chat -m /models/gemma-2b-it --system \"Answer briefly.\"\n", chat_main};
