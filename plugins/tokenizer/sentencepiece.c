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

static char *path_in(const sp_plugin *sp, const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2, end = strlen(folder);
    char *path = allocate(sp, n);
    while (end > 1 && folder[end - 1] == '/')
        end--;
    if (path)
        snprintf(path, n, "%.*s/%s", (int)end, folder, name);
    return path;
}

/* ---- the settings beside the model ----------------------------------------------------------- */

/* A JSON file of the folder; a missing one is a NULL document and no error. */
static vw_status open_json(const sp_plugin *sp, const char *folder, const char *name,
                           vw_json_doc **doc, vw_error *err)
{
    char *path = path_in(sp, folder, name);
    *doc = NULL;
    if (!path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    vw_status status = access(path, F_OK) ? VW_OK : sp->json->open_file(path, doc, err);
    sp->host->free(sp->host->core, path);
    return status;
}

static void add_stop(vw_tokenizer_info *info, int32_t id)
{
    for (int32_t i = 0; i < info->n_stop; i++)
        if (info->stop[i] == id)
            return;
    if (id >= 0 && info->n_stop < VW_TOKENIZER_MAX_EOS)
        info->stop[info->n_stop++] = id;
}

/* eos_token_id is one id or several; the first one is *eos if the model names none. */
static vw_status read_eos(sp_plugin *sp, const vw_json_doc *doc, const char *file, int *found,
                          vw_error *err)
{
    const vw_json *json = sp->json;
    const vw_json_value *v = json->get(json->root(doc), "eos_token_id");
    int64_t id;
    if (json->type(v) != VW_JSON_ARRAY) {
        vw_status status =
            json->get_int(doc, json->root(doc), "eos_token_id", 0, INT32_MAX, -1, &id, err);
        if (status || id < 0)
            return status;
        add_stop(&sp->info, (int32_t)id);
    }
    for (size_t i = 0; i < json->count(v); i++) {
        id = json->integer(json->at(v, i));
        if (json->type(json->at(v, i)) != VW_JSON_INTEGER || id < 0 || id > INT32_MAX)
            return vw_fail(err, VW_E_FORMAT, "%s: \"eos_token_id\" has an element %zu that is no "
                           "token id", file, i);
        add_stop(&sp->info, (int32_t)id);
    }
    *found = 1;
    return VW_OK;
}

static vw_status read_id(sp_plugin *sp, const vw_json_doc *doc, const char *key, int32_t *out,
                         vw_error *err)
{
    int64_t id;
    if (*out >= 0)
        return VW_OK;
    vw_status status =
        sp->json->get_int(doc, sp->json->root(doc), key, -1, INT32_MAX, -1, &id, err);
    if (!status)
        *out = (int32_t)id;
    return status;
}

/* generation_config.json decides what ends a text, config.json where that is silent. */
static vw_status read_configs(sp_plugin *sp, const char *folder, vw_error *err)
{
    static const char *const files[] = {"generation_config.json", "config.json"};
    const char *family = "";
    int found = 0;
    for (int i = 0; i < 2; i++) {
        vw_json_doc *doc;
        vw_status status = open_json(sp, folder, files[i], &doc, err);
        if (!status && doc) {
            if (!found)
                status = read_eos(sp, doc, files[i], &found, err);
            if (!status)
                status = read_id(sp, doc, "bos_token_id", &sp->info.bos, err);
            if (!status)
                status = read_id(sp, doc, "pad_token_id", &sp->info.pad, err);
            if (!status && i == 1)
                status = sp->json->get_string(doc, sp->json->root(doc), "model_type", "", &family,
                                              err);
            if (!status && !strncmp(family, "gemma3", 6) && sp->chat == SP_CHAT_GEMMA)
                sp->chat = SP_CHAT_GEMMA_SYSTEM;
        }
        sp->json->close(doc);
        if (status)
            return status;
    }
    if (sp->info.eos < 0 && sp->info.n_stop)
        sp->info.eos = sp->info.stop[0];
    return VW_OK;
}

/* Families that publish a tokenizer.model begin a text with BOS unless they say otherwise. */
static vw_status read_tokenizer_config(sp_plugin *sp, const char *folder, vw_error *err)
{
    vw_json_doc *doc;
    int adds_bos = 1, adds_eos = 0;
    vw_status status = open_json(sp, folder, "tokenizer_config.json", &doc, err);
    if (!status && doc) {
        const vw_json_value *root = sp->json->root(doc);
        status = sp->json->get_bool(doc, root, "add_bos_token", 1, &adds_bos, err);
        if (!status)
            status = sp->json->get_bool(doc, root, "add_eos_token", 0, &adds_eos, err);
    }
    sp->json->close(doc);
    sp->info.adds_bos = adds_bos && sp->info.bos >= 0;
    sp->info.adds_eos = adds_eos && sp->info.eos >= 0;
    return status;
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

/* What the vocabulary itself says. */
static void fill_info(sp_plugin *sp)
{
    static const char *const ends[] = {"<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>",
                                       "<|end|>", "<|end_of_text|>", "<|endoftext|>"};
    const unsigned special = 1u << SP_CONTROL | 1u << SP_USER_DEFINED;
    const sp_model *m = &sp->model;
    sp->info = (vw_tokenizer_info){.size = sizeof sp->info, .vocab_size = m->n_pieces,
                                   .unk = m->unk};
    sp->info.bos = sp_model_find(m, m->bos, 1u << SP_CONTROL);
    sp->info.eos = sp_model_find(m, m->eos, 1u << SP_CONTROL);
    sp->info.pad = sp_model_find(m, m->pad, 1u << SP_CONTROL);
    add_stop(&sp->info, sp->info.eos);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        add_stop(&sp->info, sp_model_find(m, sp_text_of(ends[i]), special));
    sp->turn_begin = sp_model_find(m, sp_text_of("<start_of_turn>"), special);
    sp->turn_end = sp_model_find(m, sp_text_of("<end_of_turn>"), special);
    sp->chat = sp->turn_begin >= 0 && sp->turn_end >= 0 ? SP_CHAT_GEMMA : SP_CHAT_NONE;
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
}

static vw_status load(void *self, const char *folder, vw_error *err)
{
    sp_plugin *sp = self;
    if (sp->path)
        return vw_fail(err, VW_E_INVALID, "%s is loaded already", sp->path);
    if (!(sp->path = path_in(sp, folder, "tokenizer.model")))
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
        status = read_configs(sp, folder, err);
    if (!status)
        status = read_tokenizer_config(sp, folder, err);
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
