/* answer.h - one generation as `run`, `chat` and `eval` need it: the same options, and the text
 * both kept and, if wanted, streamed to standard output.
 */
#ifndef VW_TOOLS_ANSWER_H
#define VW_TOOLS_ANSWER_H

#include "input.h"
#include "opened.h"

#include "core/json_write.h"

/* How to generate; begin with zeros and max_tokens as the subcommand likes it. */
typedef struct manner {
    int64_t max_tokens;
    word_list stop;
    int is_uncached;
} manner;

/* `standard` is the text of what max_tokens begins with. */
#define MANNER_OPTIONS(m, standard)                                                            \
    {'n', "predict", OPT_INT, &(m)->max_tokens, "N",                                           \
     "new tokens at most; -1: until the text or the context ends (default: " standard ")",     \
     NULL, -1, 1e12},                                                                          \
    {'r', "stop", OPT_LIST, &(m)->stop, "TEXT", "end before this text; repeatable", NULL, 0, 0}, \
    {0, "no-cache", OPT_FLAG, &(m)->is_uncached, NULL,                                         \
     "compute every token from scratch, as a proof of the cache", NULL, 0, 0}

/* Options that stand for settings of [sampling] and [engine]. */
#define SAMPLING_OPTIONS(c)                                                                    \
    {0, "temp", OPT_SETTING, &(c)->set, "X", "temperature; 0: always the likeliest token",     \
     "sampling.temperature", 0, 0},                                                            \
    {0, "top-k", OPT_SETTING, &(c)->set, "N", "keep the N likeliest tokens; 0: all",           \
     "sampling.top_k", 0, 0},                                                                  \
    {0, "top-p", OPT_SETTING, &(c)->set, "X", "keep the likeliest that sum to X; 1: all",      \
     "sampling.top_p", 0, 0},                                                                  \
    {0, "min-p", OPT_SETTING, &(c)->set, "X", "drop what is below X times the likeliest; 0: off", \
     "sampling.min_p", 0, 0},                                                                  \
    {0, "repeat-penalty", OPT_SETTING, &(c)->set, "X", "penalty of tokens seen lately; 1: off", \
     "sampling.repeat_penalty", 0, 0},                                                         \
    {0, "repeat-last-n", OPT_SETTING, &(c)->set, "N", "tokens that penalties look back on",    \
     "sampling.repeat_last_n", 0, 0},                                                          \
    {0, "presence-penalty", OPT_SETTING, &(c)->set, "X", "penalty of tokens seen; 0: off",     \
     "sampling.presence_penalty", 0, 0},                                                       \
    {0, "frequency-penalty", OPT_SETTING, &(c)->set, "X", "penalty for each time seen; 0: off", \
     "sampling.frequency_penalty", 0, 0},                                                      \
    {'s', "seed", OPT_SETTING, &(c)->set, "N", "of the random draws; -1: another each time",     \
     "sampling.seed", 0, 0},                                                                   \
    {0, "ignore-eos", OPT_SETTING, &(c)->set, NULL, "go on after the end of text",             \
     "sampling.ignore_eos", 0, 0}

#define CONTEXT_OPTION(c)                                                                      \
    {0, "ctx-size", OPT_SETTING, &(c)->set, "N", "context in tokens (default: the model's)",   \
     "engine.ctx_size", 0, 0}

/* What came of it; begin with zeros. */
typedef struct answer {
    char *text; /* 0-terminated, NULL when empty */
    size_t bytes, room;
    id_list tokens;
    vw_generate_stats stats;
    int is_streamed;    /* print text as it comes */
    int shows_progress; /* a bar while the prompt is computed */
    int is_out_of_room; /* no memory for the text */
} answer;

/* Generate after the sequence.  `a` keeps what it is told to show; text and tokens are begun anew. */
vw_status answer_generate(opened *o, vw_sequence *sequence, const int32_t *prompt, size_t n_prompt,
                          const manner *m, const vw_sampling *sampling, answer *a, vw_error *err);
void answer_free(answer *a);

/* "length", "eos", "stop", "context", "interrupted". */
const char *answer_finish(const answer *a);

/* ids as a JSON array; to standard output a whole document, or what is left of it, with its newline;
 * and what there is of a long one so far. */
void add_ids(vw_json_writer *w, const char *key, const int32_t *ids, size_t n);
vw_status print_json(vw_json_writer *w, vw_error *err);
vw_status print_json_part(vw_json_writer *w, vw_error *err);

#endif
