/* answer.c - generating with the text kept and streamed. */
#include "answer.h"

#include "interrupt.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

static int keep(answer *a, const char *text, size_t bytes)
{
    if (bytes >= a->room - a->bytes) {
        size_t room = 2 * a->room + bytes + 256;
        char *grown = realloc(a->text, room);
        if (!grown) {
            a->is_out_of_room = 1;
            return 0;
        }
        a->text = grown;
        a->room = room;
    }
    memcpy(a->text + a->bytes, text, bytes);
    a->bytes += bytes;
    a->text[a->bytes] = '\0';
    return 1;
}

/* Ends the generation when Ctrl-C was pressed or nobody reads any more. */
static int on_piece(void *arg, const vw_piece *piece)
{
    answer *a = arg;
    if (a->shows_progress)
        progress_end();
    if (piece->text_bytes) {
        if (!keep(a, piece->text, piece->text_bytes))
            return 1;
        if (a->is_streamed) {
            fwrite(piece->text, 1, piece->text_bytes, stdout);
            if (fflush(stdout) != 0)
                return 1;
        }
    }
    return interrupt_seen();
}

/* Room for the ids of all tokens that can come. */
static vw_status make_room(const opened *o, const manner *m, answer *a, vw_error *err)
{
    int64_t most = o->info.context;
    if (m->max_tokens >= 0 && m->max_tokens < most)
        most = m->max_tokens;
    a->tokens.n = a->bytes = 0;
    if (a->tokens.room >= (size_t)most && a->tokens.ids)
        return VW_OK;
    id_list_free(&a->tokens);
    a->tokens.ids = malloc(((size_t)most + 1) * sizeof *a->tokens.ids);
    if (!a->tokens.ids)
        return vw_fail(err, VW_E_NOMEM, "no memory for %lld token ids", (long long)most);
    a->tokens.room = (size_t)most;
    return VW_OK;
}

vw_status answer_generate(opened *o, vw_sequence *sequence, const int32_t *prompt, size_t n_prompt,
                          const manner *m, const vw_sampling *sampling, answer *a, vw_error *err)
{
    vw_generate_options options = {.size = sizeof options};
    vw_status status = make_room(o, m, a, err);
    if (status != VW_OK)
        return status;
    options.prompt = prompt;
    options.n_prompt = n_prompt;
    options.max_tokens = m->max_tokens;
    options.sampling = sampling;
    options.stop = m->stop.words;
    options.uncached = m->is_uncached;
    options.on_piece = on_piece;
    options.arg = a;
    options.progress = a->shows_progress ? progress_show : NULL;
    a->stats = (vw_generate_stats){.size = sizeof a->stats};
    status = vw_generate(o->engine, sequence, &options, a->tokens.ids, a->tokens.room, &a->stats,
                         err);
    if (a->shows_progress)
        progress_end();
    if (status != VW_OK)
        return status;
    a->tokens.n = (size_t)a->stats.n_tokens;
    if (a->is_out_of_room)
        return vw_fail(err, VW_E_NOMEM, "no memory for the text");
    return VW_OK;
}

void answer_free(answer *a)
{
    free(a->text);
    id_list_free(&a->tokens);
    *a = (answer){0};
}

const char *answer_finish(const answer *a)
{
    switch (a->stats.finish) {
    case VW_FINISH_LENGTH:
        return "length";
    case VW_FINISH_EOS:
        return "eos";
    case VW_FINISH_STOP_STRING:
        return "stop";
    case VW_FINISH_CONTEXT:
        return "context";
    case VW_FINISH_CALLBACK:
    case VW_FINISH_INTERRUPTED:
        return "interrupted";
    }
    return "unknown";
}

void add_ids(vw_json_writer *w, const char *key, const int32_t *ids, size_t n)
{
    vw_json_begin_array(w, key);
    for (size_t i = 0; i < n; i++)
        vw_json_add_int(w, NULL, ids[i]);
    vw_json_end_array(w);
}

vw_status print_json_part(vw_json_writer *w, vw_error *err)
{
    size_t bytes;
    const char *text = vw_json_take(w, &bytes);
    if (!text)
        return vw_fail(err, VW_E_NOMEM, "no memory for the answer");
    if (fwrite(text, 1, bytes, stdout) != bytes)
        return vw_fail(err, VW_E_IO, "cannot write the answer");
    return VW_OK;
}

vw_status print_json(vw_json_writer *w, vw_error *err)
{
    vw_status status = print_json_part(w, err);
    if (status == VW_OK && (fputc('\n', stdout) == EOF || fflush(stdout) != 0))
        status = vw_fail(err, VW_E_IO, "cannot write the answer");
    vw_json_writer_free(w);
    return status;
}
