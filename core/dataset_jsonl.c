/* dataset_jsonl.c - a JSON object a line.
 *
 *     {"text": ...}                                       a document
 *     {"prompt" | "input" | "question": ...,              a prompt, which is not scored,
 *      "thought": ...,                                    what comes before the answer, if anything,
 *      "completion" | "output" | "answer": ...}           and the answer
 *     {"messages": [{"role": ..., "content": ...}, ...]}  a conversation (dataset_chat.c)
 *
 * Other members are left alone: published data sets carry many.
 */
#include "core/dataset_line.h"

#include <stdlib.h>

#include "core/places.h"

/* The first of some members that is there; *text is NULL when none is. */
static vw_status find(const vw_dataset_line *l, const char *const *keys, const char **text, size_t *bytes,
                      vw_error *err)
{
    *text = NULL;
    for (; *keys; keys++) {
        const vw_json_value *v = l->json->get(l->root, *keys);
        if (!v)
            continue;
        if (l->json->type(v) != VW_JSON_STRING)
            return vw_fail(err, VW_E_FORMAT, "%s: \"%s\" is no string", l->where, *keys);
        *text = l->json->string(v, bytes);
        return VW_OK;
    }
    return VW_OK;
}

static vw_status add_exchange(vw_dataset_memory *m, const vw_encoder *e, const vw_dataset_line *l,
                              const vw_dataset_options *o, const char *prompt, size_t prompt_bytes,
                              const char *answer, size_t answer_bytes, vw_error *err)
{
    static const char *const thoughts[] = {"thought", NULL};
    const char *thought;
    size_t thought_bytes;
    vw_status st = find(l, thoughts, &thought, &thought_bytes, err);
    if (!st)
        st =
            vw_dataset_add_text(m, e, prompt, prompt_bytes, true, o->scores_prompts, false, l->where, err);
    if (!st && thought)
        st = vw_dataset_add_text(m, e, thought, thought_bytes, false, true, false, l->where, err);
    if (!st)
        st = vw_dataset_add_text(m, e, answer, answer_bytes, false, true, false, l->where, err);
    return st;
}

static vw_status add_line(vw_dataset_memory *m, const vw_encoder *e, const vw_dataset_line *l,
                          const vw_dataset_options *o, vw_error *err)
{
    static const char *const texts[] = {"text", NULL};
    static const char *const prompts[] = {"prompt", "input", "question", NULL};
    static const char *const answers[] = {"completion", "output", "answer", NULL};
    const char *text, *prompt, *answer;
    size_t bytes, prompt_bytes, answer_bytes;
    vw_status st;
    if (l->json->type(l->root) != VW_JSON_OBJECT)
        return vw_fail(err, VW_E_FORMAT, "%s: a JSON object is expected on each line", l->where);
    const vw_json_value *messages = l->json->get(l->root, "messages");
    if (messages)
        return vw_dataset_add_chat(m, e, l, messages, o, err);
    if ((st = find(l, texts, &text, &bytes, err)) ||
        (st = find(l, prompts, &prompt, &prompt_bytes, err)) ||
        (st = find(l, answers, &answer, &answer_bytes, err)))
        return st;
    if (text)
        st = vw_dataset_add_text(m, e, text, bytes, true, true, false, l->where, err);
    else if (prompt && answer)
        st = add_exchange(m, e, l, o, prompt, prompt_bytes, answer, answer_bytes, err);
    else
        return vw_fail(err, VW_E_FORMAT,
                       "%s: neither \"text\" nor \"messages\" nor a \"prompt\" with its "
                       "\"completion\" (or \"input\" and \"output\", \"question\" and \"answer\")",
                       l->where);
    return st ? st : vw_dataset_end_document(m, e, err);
}

vw_status vw_dataset_read_jsonl(vw_dataset_memory *m, const vw_encoder *e, const char *path,
                                const vw_dataset_options *o, vw_error *err)
{
    const vw_json *json = vw_json_service();
    char *text, where[VW_PLACE_BYTES + 32];
    size_t bytes;
    long number = 0;
    vw_status st = vw_file_read_dup(path, &text, &bytes, err);
    if (st)
        return st;
    for (const char *at = text, *end = text + bytes; at < end && !st; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = stop ? (size_t)(stop - at) : (size_t)(end - at);
        vw_json_doc *doc;
        snprintf(where, sizeof where, "%s:%ld", path, number + 1);
        if (strspn(at, " \t\r") < n && !(st = json->open_text(at, n, where, &doc, err))) {
            vw_dataset_line l = {json, doc, json->root(doc), where};
            st = add_line(m, e, &l, o, err);
            json->close(doc);
        }
        at += n + 1;
    }
    free(text);
    return st;
}
