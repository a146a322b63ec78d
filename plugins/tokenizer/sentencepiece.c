/* sentencepiece.c - tokenizer/sentencepiece: the tokenizer.model of a checkpoint folder.
 *
 * Encoding is the library's, to the id.  Pieces come back from our own table, because a stream
 * needs the exact bytes of one id: the library's decoder mends broken characters, which in a stream
 * are only half of one.
 */
#include "plugins/tokenizer/sentencepiece.h"

#include <stdlib.h>
#include <unistd.h>

static void *allocate(const sp_plugin *sp, size_t bytes)
{
    return sp->host->alloc(sp->host->core, bytes);
}

/* ---- loading --------------------------------------------------------------------------------- */

static vw_status open_shim(sp_plugin *sp, const char *bytes, size_t n, sp_shim **shim,
                           vw_error *err)
{
    char why[300];
    int failed = sp_shim_open(bytes, n, shim, why, sizeof why);
    if (!failed)
        return VW_OK;
    *shim = NULL;
    return vw_fail(err, failed == 2 ? VW_E_NOMEM : VW_E_FORMAT, "%s: not a usable SentencePiece "
                   "model: %s", sp->path, failed == 2 ? "no memory" : why);
}

/* Where the model puts a space in front of a text, a second instance that does not: the same file
 * with add_dummy_prefix = false behind it, since the last word counts. */
static vw_status open_shims(sp_plugin *sp, vw_error *err)
{
    static const char no_prefix[] = {0x1A, 2, 0x18, 0}; /* normalizer_spec.add_dummy_prefix: 0 */
    const sp_model *m = &sp->model;
    vw_status status = open_shim(sp, m->file, m->bytes, &sp->shim, err);
    sp->rest = sp->shim;
    if (status || !m->adds_prefix)
        return status;
    char *copy = allocate(sp, m->bytes + sizeof no_prefix);
    if (!copy)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory to load it", sp->path);
    memcpy(copy, m->file, m->bytes);
    memcpy(copy + m->bytes, no_prefix, sizeof no_prefix);
    status = open_shim(sp, copy, m->bytes + sizeof no_prefix, &sp->rest, err);
    sp->host->free(sp->host->core, copy);
    return status;
}

int32_t sp_find_special(const void *self, const char *text)
{
    const sp_plugin *sp = self;
    return sp_model_find(&sp->model, sp_text_of(text), 1u << SP_CONTROL | 1u << SP_USER_DEFINED);
}

/* What the vocabulary itself says. */
static void fill_info(sp_plugin *sp)
{
    const sp_model *m = &sp->model;
    sp->info = (vw_tokenizer_info){.size = sizeof sp->info, .vocab_size = m->n_pieces,
                                   .unk = m->unk};
    sp->info.bos = sp_model_find(m, m->bos, 1u << SP_CONTROL);
    sp->info.eos = sp_model_find(m, m->eos, 1u << SP_CONTROL);
    sp->info.pad = sp_model_find(m, m->pad, 1u << SP_CONTROL);
}

/* Grok-1's program puts no BOS in front of a text, and neither its files nor a configuration say so;
 * no other vocabulary has these marks. */
static int is_grok(const sp_plugin *sp, const checkpoint *c)
{
    return !strcmp(c->family, "grok") || !strcmp(c->family, "grok-1") ||
           (sp_find_special(sp, "<|separator|>") >= 0 && sp_find_special(sp, "<|control1|>") >= 0);
}

/* What the files beside it say.  Families that publish a tokenizer.model begin a text with BOS
 * unless they say otherwise, but for Grok-1. */
static vw_status read_beside(sp_plugin *sp, const char *folder, vw_error *err)
{
    checkpoint c = {.host = sp->host, .json = sp->json, .folder = folder, .find = sp_find_special,
                    .tokenizer = sp};
    vw_status status = checkpoint_read(&c, &sp->info, err);
    if (status)
        return status;
    sp->info.adds_bos = (c.adds_bos < 0 ? !is_grok(sp, &c) : c.adds_bos) && sp->info.bos >= 0;
    sp->info.adds_eos = c.adds_eos > 0 && sp->info.eos >= 0;
    sp->chat = chat_rule_of(&c, sp->no_chat, sizeof sp->no_chat);
    checkpoint_free(&c);
    return VW_OK;
}

static void unload(sp_plugin *sp)
{
    if (sp->rest != sp->shim)
        sp_shim_close(sp->rest);
    sp_shim_close(sp->shim);
    sp->rest = sp->shim = NULL;
    sp->host->free(sp->host->core, sp->control.ids);
    sp->host->free(sp->host->core, sp->turns.ids);
    sp->control.ids = sp->turns.ids = NULL;
    sp_model_free(sp->host, &sp->model);
    sp->host->free(sp->host->core, sp->path);
    sp->path = NULL;
    free(sp->gguf);
    sp->gguf = NULL;
}

static vw_status load(void *self, const char *folder, vw_error *err)
{
    sp_plugin *sp = self;
    if (sp->path)
        return vw_fail(err, VW_E_INVALID, "%s is loaded already", sp->path);
    checkpoint in = {.host = sp->host, .folder = folder};
    if (!(sp->path = checkpoint_path(&in, "tokenizer.model")))
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    vw_status status = sp_model_read(sp->host, sp->path, &sp->model, err);
    if (!status) {
        fill_info(sp);
        status = open_shims(sp, err);
    }
    if (!status)
        status = sp_specials_make(sp, sp_is_control, &sp->control, err);
    if (!status)
        status = sp_specials_make(sp, sp_is_turn, &sp->turns, err);
    if (!status)
        status = read_beside(sp, folder, err);
    if (status)
        unload(sp);
    return status;
}

/* ---- the table ------------------------------------------------------------------------------- */

static vw_status info(void *self, vw_tokenizer_info *out, vw_error *err)
{
    const sp_plugin *sp = self;
    if (!sp->path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    *out = sp->info;
    return VW_OK;
}

static vw_status encode(void *self, const char *text, size_t bytes, int parse_special, int32_t *ids,
                        size_t room, size_t *n, vw_error *err)
{
    const sp_plugin *sp = self;
    sp_ids out = {ids, room, 0};
    if (!sp->path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    vw_status status =
        sp_encode(sp, text, bytes, parse_special ? SP_SPECIAL : SP_EXACT, 1, &out, err);
    if (!status)
        *n = out.n;
    return status;
}

/* Copy with U+2581 as a space.  Returns the full count. */
static size_t unescape(sp_text t, char *text, size_t room)
{
    size_t n = 0;
    for (uint32_t i = 0; i < t.bytes; n++) {
        int is_space = t.bytes - i >= 3 && !memcmp(t.at + i, "\xE2\x96\x81", 3);
        if (n < room)
            text[n] = is_space ? ' ' : t.at[i];
        i += is_space ? 3 : 1;
    }
    return n;
}

static size_t copy_text(sp_text t, char *text, size_t room)
{
    memcpy(text, t.at, t.bytes < room ? t.bytes : room);
    return t.bytes;
}

static vw_status piece(void *self, int32_t id, int is_first, int show_special, char *text,
                       size_t room, size_t *bytes, vw_error *err)
{
    const sp_plugin *sp = self;
    const sp_model *m = &sp->model;
    if (!sp->path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    if (id < 0 || id >= m->n_pieces)
        return vw_fail(err, VW_E_INVALID, "token id %d, expected 0 to %d", id, m->n_pieces - 1);
    const sp_piece *p = m->pieces + id;
    sp_text t = p->text, byte = {(const char *)&p->byte, 1};
    int strips = is_first && !m->space_is_suffix && (m->adds_prefix || m->trims);
    switch (p->type) {
    case SP_CONTROL:
        *bytes = show_special ? copy_text(t, text, room) : 0;
        break;
    case SP_UNKNOWN:
        *bytes = copy_text(show_special ? t : m->unk_surface, text, room);
        break;
    case SP_BYTE:
        *bytes = copy_text(byte, text, room);
        break;
    default:
        if (strips && t.bytes >= 3 && !memcmp(t.at, "\xE2\x96\x81", 3))
            t = (sp_text){t.at + 3, t.bytes - 3};
        *bytes = unescape(t, text, room);
    }
    return VW_OK;
}

static const char *const *files(void *self)
{
    static const char *const names[] = {"tokenizer.model", "tokenizer_config.json",
                                        "generation_config.json", NULL};
    (void)self;
    return names;
}

/* ---- the description ------------------------------------------------------------------------- */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "reads the tokenizer.model of a model folder");
        return 1;
    }
    int n = snprintf(path, sizeof path, "%s/tokenizer.model", about->folder);
    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK)) {
        snprintf(why, why_bytes, "%s holds no readable tokenizer.model", about->folder);
        return 0;
    }
    snprintf(why, why_bytes, "found tokenizer.model");
    return 500;
}

static vw_status open_plugin(const vw_host *host, const void *config, void **self, vw_error *err)
{
    const vw_json *json = host->service(host->core, "json", VW_JSON_MAJOR);
    if (!json)
        return vw_fail(err, VW_E_ABI, "tokenizer/sentencepiece needs version %d of the service "
                       "\"json\", which this core does not have", VW_JSON_MAJOR);
    sp_plugin *sp = host->alloc(host->core, sizeof *sp);
    if (!sp)
        return vw_fail(err, VW_E_NOMEM, "no memory for tokenizer/sentencepiece");
    memset(sp, 0, sizeof *sp);
    sp->host = host;
    sp->json = json;
    sp->config = config;
    *self = sp;
    return VW_OK;
}

static void close_plugin(void *self)
{
    sp_plugin *sp = self;
    unload(sp);
    sp->host->free(sp->host->core, sp);
}

static const char *const algorithms[] = {"bpe", "unigram", NULL};

static const vw_option options[] = {
    {"algorithm", VW_OPTION_ENUM, "bpe", 0, 0, algorithms, offsetof(sp_config, algorithm), 0,
     "learning: how pieces are found"},
    VW_OPTION_END,
};

static const vw_tokenizer_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = info,
    .encode = encode,
    .piece = piece,
    .chat = sp_chat_ids,
    .train = sp_train,
    .files = files,
    .gguf_keys = sp_gguf_keys,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_TOKENIZER,
    .ops_major = VW_TOKENIZER_OPS_MAJOR,
    .ops_minor = VW_TOKENIZER_OPS_MINOR,
    .name = "sentencepiece",
    .summary = "tokenizer.model files, encoded by libsentencepiece: Gemma, Llama, Grok",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .config_size = sizeof(sp_config),
    .options = options,
    .probe = probe,
    .open = open_plugin,
    .close = close_plugin,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(tokenizer, sentencepiece)
{
    return &description;
}
