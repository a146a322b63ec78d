/* gguf.c - tokenizer/gguf: the vocabulary that a GGUF file carries.
 *
 * Two kinds: "llama", a SentencePiece vocabulary whose scores order the merges, and "gpt2", byte-level
 * BPE with ranked merges, whose way of splitting a text the file gives by a name only.  A name that is
 * not known here is an error: a wrong split makes a model quietly worse.
 */
#include "plugins/tokenizer/bpe.h"
#include "plugins/tokenizer/chat.h"
#include "plugins/gguf/file.h"

#include <stdlib.h>
#include <unistd.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; /* tokenizer.ggml.token_type */

typedef struct gguf_tokenizer {
    bpe_tokenizer t;
    gguf_file file; /* texts are borrowed from it */
    vw_tokenizer_info info;
    const chat_rule *chat; /* NULL: none, because */
    char no_chat[200];
} gguf_tokenizer;

#define LLAMA3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" \
              "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+" \
                  "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" \
                  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* "tokenizer.ggml.pre": the patterns, one after another, each of which isolates what it matches. */
static const struct {
    const char *name, *patterns[3];
    int whole_first;
} splits[] = {
    {"default", {GPT2}, 0},
    {"gpt-2", {GPT2}, 0},
    {"llama-bpe", {LLAMA3}, 1},
    {"llama3", {LLAMA3}, 1},
    {"qwen2", {QWEN2}, 0},
    {"deepseek-v3", {"\\p{N}{1,3}", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
                     DEEPSEEK3}, 0},
};

static const gguf_key *key_of(const gguf_tokenizer *p, const char *name)
{
    char whole[128];
    snprintf(whole, sizeof whole, "tokenizer.ggml.%s", name);
    return gguf_find(&p->file, whole);
}

static int is_text(gguf_text t, const char *text)
{
    return t.bytes == strlen(text) && !memcmp(t.at, text, t.bytes);
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

static int type_of(const gguf_tokenizer *p, uint64_t id)
{
    const gguf_key *types = key_of(p, "token_type");
    return types ? (int)gguf_int(types, id) : NORMAL;
}

/* A file may hold a text twice; the first is found, as in llama.cpp. */
static vw_status add_pieces(gguf_tokenizer *p, const gguf_key *tokens, bpe_added *added, size_t *n,
                            vw_error *err)
{
    const unsigned char *at = NULL;
    uint64_t i = 0;
    gguf_text text;
    vw_status st = VW_OK;
    while (!st && gguf_next_string(tokens, &at, &i, &text)) {
        int32_t id = (int32_t)i - 1;
        int type = type_of(p, (uint64_t)id);
        if (!text.bytes)
            continue;
        if (type == CONTROL || type == USER_DEFINED) {
            bpe_added *a = added + (*n)++;
            *a = (bpe_added){.content = text.at, .n_content = (size_t)text.bytes, .id = id,
                             .is_special = type == CONTROL};
            a->is_mark = chat_is_mark(text.at, (size_t)text.bytes);
        }
        if (type == UNKNOWN)
            p->t.model.unk = id;
        if (type != CONTROL && bpe_model_find(&p->t.model, text.at, (size_t)text.bytes) < 0)
            st = bpe_model_add(&p->t.model, id, text.at, (size_t)text.bytes, err);
    }
    return st;
}

static vw_status add_scores(gguf_tokenizer *p, vw_error *err)
{
    const gguf_key *scores = key_of(p, "scores");
    size_t n = (size_t)p->t.n_ids;
    float *values = p->t.host->alloc(p->t.host->core, (n + 1) * sizeof *values);
    if (!values)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu scores", n);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)gguf_real(scores, i);
    vw_status st = bpe_model_score(&p->t.model, values, err);
    p->t.host->free(p->t.host->core, values);
    return st;
}

static vw_status add_merges(gguf_tokenizer *p, vw_error *err)
{
    const gguf_key *merges = key_of(p, "merges");
    const unsigned char *at = NULL;
    uint64_t i = 0;
    gguf_text m;
    vw_status st = VW_OK;
    while (!st && gguf_next_string(merges, &at, &i, &m)) {
        const char *blank = m.bytes > 1 ? memchr(m.at + 1, ' ', (size_t)m.bytes - 1) : NULL;
        size_t n = blank ? (size_t)(blank - m.at) : 0, rest = blank ? (size_t)m.bytes - n - 1 : 0;
        char whole[1024];
        if (!blank || n + rest > sizeof whole)
            return vw_fail(err, VW_E_FORMAT, "merge %llu is not two pieces", (unsigned long long)i - 1);
        memcpy(whole, m.at, n);
        memcpy(whole + n, blank + 1, rest);
        int32_t left = bpe_model_find(&p->t.model, m.at, n),
                right = bpe_model_find(&p->t.model, blank + 1, rest),
                id = bpe_model_find(&p->t.model, whole, n + rest);
        if (left < 0 || right < 0 || id < 0)
            return vw_fail(err, VW_E_FORMAT, "merge %llu: a piece that the vocabulary lacks",
                           (unsigned long long)i - 1);
        st = bpe_model_merge(&p->t.model, left, right, (int32_t)i, id, err);
    }
    return st;
}

/* ---- the steps ------------------------------------------------------------------------------- */

static vw_status spaces_as_marks(gguf_tokenizer *p, vw_error *err)
{
    const gguf_key *prefix = key_of(p, "add_space_prefix");
    bpe_step *s = p->t.steps + p->t.n_steps++;
    *s = (bpe_step){.kind = BPE_STEP_MARK, .mark = "\xE2\x96\x81"};
    s->puts_in_front = !prefix || gguf_int(prefix, 0);
    p->t.decoder.strips_first = s->puts_in_front;
    p->t.decoder.has_bytes = 1;
    p->t.decoder.replace[0].from = "\xE2\x96\x81";
    p->t.decoder.replace[0].n_from = 3;
    p->t.decoder.replace[0].to = " ";
    p->t.decoder.replace[0].n_to = p->t.decoder.n_replace = 1;
    bpe_model_find_bytes(&p->t.model);
    return add_scores(p, err);
}

static vw_status bytes_as_letters(gguf_tokenizer *p, vw_error *err)
{
    gguf_text pre = gguf_string(key_of(p, "pre"));
    size_t s = 0;
    if (!pre.bytes)
        pre = (gguf_text){"default", 7};
    while (s < sizeof splits / sizeof *splits && !is_text(pre, splits[s].name))
        s++;
    if (s == sizeof splits / sizeof *splits)
        return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer.ggml.pre is \"%.*s\", a way of splitting text "
                       "that is not known here", (int)(pre.bytes < 60 ? pre.bytes : 60), pre.at);
    for (int i = 0; i < 3 && splits[s].patterns[i]; i++) {
        bpe_step *step = p->t.steps + p->t.n_steps;
        *step = (bpe_step){.kind = BPE_STEP_CUT, .behaviour = BPE_ISOLATED};
        const char *pattern = splits[s].patterns[i];
        vw_status st = bpe_pattern_regex(&step->pattern, p->t.host, pattern, strlen(pattern), err);
        if (st)
            return st;
        p->t.n_steps++;
    }
    p->t.steps[p->t.n_steps++] = (bpe_step){.kind = BPE_STEP_BYTES};
    p->t.model.whole_first = splits[s].whole_first;
    p->t.decoder.is_byte_level = 1;
    return add_merges(p, err);
}

/* ---- loading --------------------------------------------------------------------------------- */

static int32_t id_key(const gguf_tokenizer *p, const char *name)
{
    const gguf_key *k = key_of(p, name);
    int64_t id = k ? gguf_int(k, 0) : -1;
    return id >= 0 && id < p->t.n_ids ? (int32_t)id : -1;
}

static vw_status fill_info(gguf_tokenizer *p, int is_bpe, vw_error *err)
{
    const gguf_key *bos = key_of(p, "add_bos_token"), *eos = key_of(p, "add_eos_token");
    gguf_text text = gguf_string(gguf_find(&p->file, "tokenizer.chat_template"));
    checkpoint c = {.host = p->t.host, .find = bpe_find, .tokenizer = &p->t};
    p->info = (vw_tokenizer_info){.size = sizeof p->info, .vocab_size = p->t.n_ids,
                                  .bos = id_key(p, "bos_token_id"), .eos = id_key(p, "eos_token_id"),
                                  .pad = id_key(p, "padding_token_id"), .unk = p->t.model.unk};
    p->info.adds_bos = p->info.bos >= 0 && (bos ? gguf_int(bos, 0) != 0 : !is_bpe);
    p->info.adds_eos = p->info.eos >= 0 && gguf_int(eos, 0) != 0;
    checkpoint_add_ends(&c, &p->info);
    checkpoint_add_stop(&p->info, id_key(p, "eot_token_id"));
    if (text.bytes) {
        c.chat_template = p->t.host->alloc(p->t.host->core, (size_t)text.bytes + 1);
        if (!c.chat_template)
            return vw_fail(err, VW_E_NOMEM, "no memory for a chat template");
        memcpy(c.chat_template, text.at, (size_t)text.bytes);
        c.chat_template[text.bytes] = '\0';
    }
    p->chat = chat_rule_of(&c, p->no_chat, sizeof p->no_chat);
    checkpoint_free(&c);
    return VW_OK;
}

static vw_status read_all(gguf_tokenizer *p, vw_error *err)
{
    const vw_host *host = p->t.host;
    const gguf_key *tokens = key_of(p, "tokens"), *merges = key_of(p, "merges");
    gguf_text model = gguf_string(key_of(p, "model"));
    int is_bpe = is_text(model, "gpt2");
    size_t n_added = 0;
    if (!is_bpe && !is_text(model, "llama"))
        return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer.ggml.model is \"%.*s\"; \"llama\" and \"gpt2\" "
                       "are read", (int)(model.bytes < 60 ? model.bytes : 60), model.at);
    if (!tokens || tokens->element != GGUF_STRING || !tokens->count || tokens->count > BPE_MAX_IDS)
        return vw_fail(err, VW_E_FORMAT, "tokenizer.ggml.tokens is missing or no list of texts");
    p->t.n_ids = (int32_t)tokens->count;
    vw_status st = bpe_model_make(&p->t.model, host, p->t.n_ids,
                                  is_bpe && merges ? (size_t)merges->count : 0, err);
    bpe_added *added = host->alloc(host->core, ((size_t)p->t.n_ids + 1) * sizeof *added);
    if (!st && !added)
        st = vw_fail(err, VW_E_NOMEM, "no memory for a vocabulary");
    if (!st)
        st = add_pieces(p, tokens, added, &n_added, err);
    if (!st)
        st = is_bpe ? bytes_as_letters(p, err) : spaces_as_marks(p, err);
    if (!st)
        st = bpe_take_added(&p->t, added, n_added, err);
    host->free(host->core, added);
    if (!st)
        st = bpe_decode_all(&p->t, err);
    return st ? st : fill_info(p, is_bpe, err);
}

static void unload(gguf_tokenizer *p)
{
    bpe_free(&p->t);
    gguf_close(&p->file);
}

static vw_status load(void *self, const char *path, vw_error *err)
{
    gguf_tokenizer *p = self;
    size_t n = strlen(path) + 1;
    if (p->t.path)
        return vw_fail(err, VW_E_INVALID, "%s is loaded already", p->t.path);
    vw_status st = gguf_open(&p->file, p->t.host, path, err);
    if (st)
        return st;
    bpe_buffer_init(&p->t.matches, p->t.host);
    bpe_buffer_init(&p->t.decoded, p->t.host);
    p->t.path = p->t.host->alloc(p->t.host->core, n);
    if (!p->t.path)
        st = vw_fail(err, VW_E_NOMEM, "no memory for a path");
    else
        memcpy(p->t.path, path, n);
    if (!st && (st = read_all(p, err)))
        st = vw_fail_in(err, st, "%s", path);
    if (st)
        unload(p);
    return st;
}

/* ---- the table ------------------------------------------------------------------------------- */

static vw_status not_loaded(vw_error *err)
{
    return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
}

static vw_status info(void *self, vw_tokenizer_info *out, vw_error *err)
{
    const gguf_tokenizer *p = self;
    if (!p->t.path)
        return not_loaded(err);
    *out = p->info;
    return VW_OK;
}

static vw_status encode(void *self, const char *text, size_t bytes, int parse_special, int32_t *ids,
                        size_t room, size_t *n, vw_error *err)
{
    const gguf_tokenizer *p = self;
    bpe_ids out = {ids, room, 0};
    if (!p->t.path)
        return not_loaded(err);
    vw_status st = bpe_encode(&p->t, text, bytes, parse_special ? BPE_ALL : BPE_NO_SPECIAL, 1, &out,
                              err);
    if (!st)
        *n = out.n;
    return st;
}

static vw_status piece(void *self, int32_t id, int is_first, int show_special, char *text,
                       size_t room, size_t *bytes, vw_error *err)
{
    const gguf_tokenizer *p = self;
    return p->t.path ? bpe_piece(&p->t, id, is_first, show_special, text, room, bytes, err)
                     : not_loaded(err);
}

typedef struct destination {
    const gguf_tokenizer *p;
    bpe_ids out;
} destination;

static vw_status put_text(void *arg, const char *text, size_t bytes, vw_error *err)
{
    destination *d = arg;
    return bpe_encode(&d->p->t, text, bytes, BPE_NO_MARKS, d->out.n == 0, &d->out, err);
}

static vw_status put_mark(void *arg, const char *mark, vw_error *err)
{
    destination *d = arg;
    int32_t id = bpe_find(&d->p->t, mark);
    if (id < 0)
        return put_text(arg, mark, strlen(mark), err);
    bpe_push(&d->out, id);
    return VW_OK;
}

static vw_status chat(void *self, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
                      size_t room, size_t *n, vw_error *err)
{
    const gguf_tokenizer *p = self;
    destination d = {p, {ids, room, 0}};
    const chat_sink sink = {&d, put_mark, put_text};
    if (!p->t.path)
        return not_loaded(err);
    if (!p->chat)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: %s", p->t.path, p->no_chat);
    if (chat_begins_with_bos(p->chat) && p->info.bos >= 0)
        bpe_push(&d.out, p->info.bos);
    vw_status st = chat_write(p->t.host, p->chat, messages, n_messages, &sink, err);
    if (!st)
        *n = d.out.n;
    return st;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    size_t n = about && about->folder ? strlen(about->folder) : 0;
    if (!n) {
        snprintf(why, why_bytes, "reads the vocabulary of a *.gguf file");
        return 1;
    }
    if (n < 5 || strcmp(about->folder + n - 5, ".gguf") || access(about->folder, R_OK)) {
        snprintf(why, why_bytes, "%s is no readable *.gguf file", about->folder);
        return 0;
    }
    snprintf(why, why_bytes, "a GGUF file");
    return 500;
}

static vw_status open_plugin(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config;
    gguf_tokenizer *p = host->alloc(host->core, sizeof *p);
    if (!p)
        return vw_fail(err, VW_E_NOMEM, "no memory for tokenizer/gguf");
    memset(p, 0, sizeof *p);
    p->t.host = host;
    *self = p;
    return VW_OK;
}

static void close_plugin(void *self)
{
    gguf_tokenizer *p = self;
    const vw_host *host = p->t.host;
    unload(p);
    host->free(host->core, p);
}

static const vw_tokenizer_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = info,
    .encode = encode,
    .piece = piece,
    .chat = chat,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_TOKENIZER,
    .ops_major = VW_TOKENIZER_OPS_MAJOR,
    .ops_minor = VW_TOKENIZER_OPS_MINOR,
    .name = "gguf",
    .summary = "the vocabulary of a GGUF file: SentencePiece-like or byte-level BPE",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_plugin,
    .close = close_plugin,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(tokenizer, gguf)
{
    return &description;
}
