/* gguf.c - tokenizer/gguf: the vocabulary that a GGUF file carries.
 *
 * Two kinds: "llama", a SentencePiece vocabulary whose scores order the merges, and "gpt2", byte-level
 * BPE with ranked merges, whose way of splitting a text the file gives by a name only.  A name that is
 * not known here is an error: a wrong split makes a model quietly worse.
 */
#include "plugins/gguf/file.h"
#include "plugins/tokenizer/bpe_pre.h"
#include "plugins/tokenizer/bpe_table.h"

#include <stdlib.h>
#include <unistd.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; /* tokenizer.ggml.token_type */

typedef struct gguf_tokenizer {
    bpe_plugin b;
    gguf_file file; /* texts are borrowed from it */
} gguf_tokenizer;

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
            p->b.t.model.unk = id;
        if (type != CONTROL && bpe_model_find(&p->b.t.model, text.at, (size_t)text.bytes) < 0)
            st = bpe_model_add(&p->b.t.model, id, text.at, (size_t)text.bytes, err);
    }
    return st;
}

static vw_status add_scores(gguf_tokenizer *p, vw_error *err)
{
    const gguf_key *scores = key_of(p, "scores");
    size_t n = (size_t)p->b.t.n_ids;
    float *values = p->b.t.host->alloc(p->b.t.host->core, (n + 1) * sizeof *values);
    if (!values)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu scores", n);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)gguf_real(scores, i);
    vw_status st = bpe_model_score(&p->b.t.model, values, err);
    p->b.t.host->free(p->b.t.host->core, values);
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
        int32_t left = bpe_model_find(&p->b.t.model, m.at, n),
                right = bpe_model_find(&p->b.t.model, blank + 1, rest),
                id = bpe_model_find(&p->b.t.model, whole, n + rest);
        if (left < 0 || right < 0 || id < 0)
            return vw_fail(err, VW_E_FORMAT, "merge %llu: a piece that the vocabulary lacks",
                           (unsigned long long)i - 1);
        st = bpe_model_merge(&p->b.t.model, left, right, (int32_t)i, id, err);
    }
    return st;
}

/* ---- the steps ------------------------------------------------------------------------------- */

static vw_status spaces_as_marks(gguf_tokenizer *p, vw_error *err)
{
    const gguf_key *prefix = key_of(p, "add_space_prefix");
    bpe_step *s = p->b.t.steps + p->b.t.n_steps++;
    *s = (bpe_step){.kind = BPE_STEP_MARK, .mark = "\xE2\x96\x81"};
    s->puts_in_front = !prefix || gguf_int(prefix, 0);
    p->b.t.decoder.strips_first = s->puts_in_front;
    p->b.t.decoder.has_bytes = 1;
    p->b.t.decoder.replace[0].from = "\xE2\x96\x81";
    p->b.t.decoder.replace[0].n_from = 3;
    p->b.t.decoder.replace[0].to = " ";
    p->b.t.decoder.replace[0].n_to = p->b.t.decoder.n_replace = 1;
    bpe_model_find_bytes(&p->b.t.model);
    return add_scores(p, err);
}

static vw_status bytes_as_letters(gguf_tokenizer *p, vw_error *err)
{
    gguf_text pre = gguf_string(key_of(p, "pre"));
    if (!pre.bytes)
        pre = (gguf_text){"default", 7};
    const bpe_pre *known = bpe_pre_by_name(pre.at, (size_t)pre.bytes);
    if (!known)
        return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer.ggml.pre is \"%.*s\", a way of splitting text "
                       "that is not known here", (int)(pre.bytes < 60 ? pre.bytes : 60), pre.at);
    for (int i = 0; i < BPE_PRE_PATTERNS && known->patterns[i]; i++) {
        bpe_step *step = p->b.t.steps + p->b.t.n_steps;
        *step = (bpe_step){.kind = BPE_STEP_CUT, .behaviour = BPE_ISOLATED};
        const char *pattern = known->patterns[i];
        vw_status st = bpe_pattern_regex(&step->pattern, p->b.t.host, pattern, strlen(pattern), err);
        if (st)
            return st;
        p->b.t.n_steps++;
    }
    p->b.t.steps[p->b.t.n_steps++] = (bpe_step){.kind = BPE_STEP_BYTES};
    p->b.t.model.whole_first = known->whole_first;
    p->b.t.decoder.is_byte_level = 1;
    return add_merges(p, err);
}

/* ---- loading --------------------------------------------------------------------------------- */

static int32_t id_key(const gguf_tokenizer *p, const char *name)
{
    const gguf_key *k = key_of(p, name);
    int64_t id = k ? gguf_int(k, 0) : -1;
    return id >= 0 && id < p->b.t.n_ids ? (int32_t)id : -1;
}

static vw_status fill_info(gguf_tokenizer *p, int is_bpe, vw_error *err)
{
    const gguf_key *bos = key_of(p, "add_bos_token"), *eos = key_of(p, "add_eos_token");
    gguf_text text = gguf_string(gguf_find(&p->file, "tokenizer.chat_template"));
    checkpoint c = {.host = p->b.t.host, .find = bpe_find, .tokenizer = &p->b.t};
    p->b.info = (vw_tokenizer_info){.size = sizeof p->b.info, .vocab_size = p->b.t.n_ids,
                                  .bos = id_key(p, "bos_token_id"), .eos = id_key(p, "eos_token_id"),
                                  .pad = id_key(p, "padding_token_id"), .unk = p->b.t.model.unk};
    p->b.info.adds_bos = p->b.info.bos >= 0 && (bos ? gguf_int(bos, 0) != 0 : !is_bpe);
    p->b.info.adds_eos = p->b.info.eos >= 0 && gguf_int(eos, 0) != 0;
    checkpoint_add_ends(&c, &p->b.info);
    checkpoint_add_stop(&p->b.info, id_key(p, "eot_token_id"));
    if (text.bytes) {
        c.chat_template = p->b.t.host->alloc(p->b.t.host->core, (size_t)text.bytes + 1);
        if (!c.chat_template)
            return vw_fail(err, VW_E_NOMEM, "no memory for a chat template");
        memcpy(c.chat_template, text.at, (size_t)text.bytes);
        c.chat_template[text.bytes] = '\0';
    }
    vw_status st = bpe_table_set_chat(&p->b, &c, err);
    checkpoint_free(&c);
    return st;
}

static vw_status read_all(gguf_tokenizer *p, vw_error *err)
{
    const vw_host *host = p->b.t.host;
    const gguf_key *tokens = key_of(p, "tokens"), *merges = key_of(p, "merges");
    gguf_text model = gguf_string(key_of(p, "model"));
    int is_bpe = is_text(model, "gpt2");
    size_t n_added = 0;
    if (!is_bpe && !is_text(model, "llama"))
        return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer.ggml.model is \"%.*s\"; \"llama\" and \"gpt2\" "
                       "are read", (int)(model.bytes < 60 ? model.bytes : 60), model.at);
    if (!tokens || tokens->element != GGUF_STRING || !tokens->count || tokens->count > BPE_MAX_IDS)
        return vw_fail(err, VW_E_FORMAT, "tokenizer.ggml.tokens is missing or no list of texts");
    p->b.t.n_ids = (int32_t)tokens->count;
    vw_status st = bpe_model_make(&p->b.t.model, host, p->b.t.n_ids,
                                  is_bpe && merges ? (size_t)merges->count : 0, err);
    bpe_added *added = host->alloc(host->core, ((size_t)p->b.t.n_ids + 1) * sizeof *added);
    if (!st && !added)
        st = vw_fail(err, VW_E_NOMEM, "no memory for a vocabulary");
    if (!st)
        st = add_pieces(p, tokens, added, &n_added, err);
    if (!st)
        st = is_bpe ? bytes_as_letters(p, err) : spaces_as_marks(p, err);
    if (!st)
        st = bpe_take_added(&p->b.t, added, n_added, err);
    host->free(host->core, added);
    if (!st)
        st = bpe_decode_all(&p->b.t, err);
    return st ? st : fill_info(p, is_bpe, err);
}

static void unload(gguf_tokenizer *p)
{
    bpe_free(&p->b.t);
    gguf_close(&p->file);
}

static vw_status load(void *self, const char *path, vw_error *err)
{
    gguf_tokenizer *p = self;
    size_t n = strlen(path) + 1;
    if (p->b.t.path)
        return vw_fail(err, VW_E_INVALID, "%s is loaded already", p->b.t.path);
    vw_status st = gguf_open(&p->file, p->b.t.host, path, err);
    if (st)
        return st;
    bpe_buffer_init(&p->b.t.matches, p->b.t.host);
    bpe_buffer_init(&p->b.t.decoded, p->b.t.host);
    p->b.t.path = p->b.t.host->alloc(p->b.t.host->core, n);
    if (!p->b.t.path)
        st = vw_fail(err, VW_E_NOMEM, "no memory for a path");
    else
        memcpy(p->b.t.path, path, n);
    if (!st && (st = read_all(p, err)))
        st = vw_fail_in(err, st, "%s", path);
    if (st)
        unload(p);
    return st;
}

/* ---- the description ------------------------------------------------------------------------- */

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
    const bpe_config *cfg = config;
    gguf_tokenizer *p = host->alloc(host->core, sizeof *p);
    if (!p)
        return vw_fail(err, VW_E_NOMEM, "no memory for tokenizer/gguf");
    memset(p, 0, sizeof *p);
    p->b.t.host = host;
    p->b.thinking = cfg->thinking;
    *self = p;
    return VW_OK;
}

static void close_plugin(void *self)
{
    gguf_tokenizer *p = self;
    const vw_host *host = p->b.t.host;
    unload(p);
    host->free(host->core, p);
}

static const vw_tokenizer_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = bpe_table_info,
    .encode = bpe_table_encode,
    .piece = bpe_table_piece,
    .chat = bpe_table_chat,
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
    .config_size = sizeof(bpe_config),
    .options = bpe_table_options,
    .probe = probe,
    .open = open_plugin,
    .close = close_plugin,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(tokenizer, gguf)
{
    return &description;
}
