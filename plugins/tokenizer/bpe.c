/* bpe.c - tokenizer/bpe: the tokenizer.json of a checkpoint folder.
 *
 * The same text gives the same ids as in the reference library (tokenizers); what that library does
 * and this plugin cannot is an error while loading.
 */
#include "plugins/tokenizer/bpe_table.h"

#include <stdlib.h>
#include <unistd.h>

/* Added tokens that a message must not forge. */
static void set_marks(bpe_tokenizer *t)
{
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < t->added[s].n; i++) {
            bpe_added *a = t->added[s].tokens + i;
            a->is_mark = chat_is_mark(a->content, a->n_content);
        }
}

static vw_status fill_info(bpe_plugin *p, const char *folder, vw_error *err)
{
    checkpoint c = {.host = p->t.host, .json = p->t.json, .folder = folder, .find = bpe_find,
                    .tokenizer = &p->t};
    int32_t before, after;
    vw_status st = bpe_read_ends(&p->t, &before, &after, err);
    p->info = (vw_tokenizer_info){.size = sizeof p->info, .vocab_size = p->t.n_ids, .bos = before,
                                  .eos = after, .pad = -1, .unk = p->t.model.unk};
    if (st || (st = checkpoint_read(&c, &p->info, err)))
        return st;
    p->info.adds_bos = p->info.bos >= 0 && (c.adds_bos < 0 ? before >= 0 : c.adds_bos);
    p->info.adds_eos = p->info.eos >= 0 && (c.adds_eos < 0 ? after >= 0 : c.adds_eos);
    st = bpe_table_set_chat(p, &c, err);
    checkpoint_free(&c);
    return st ? vw_fail_in(err, st, "%s", folder) : VW_OK;
}

static vw_status load(void *self, const char *folder, vw_error *err)
{
    bpe_plugin *p = self;
    checkpoint in = {.host = p->t.host, .folder = folder};
    vw_json_doc *doc;
    if (p->t.path)
        return vw_fail(err, VW_E_INVALID, "%s is loaded already", p->t.path);
    char *path = checkpoint_path(&in, "tokenizer.json");
    if (!path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    vw_status st = p->t.json->open_file(path, &doc, err);
    if (!st)
        st = bpe_read(&p->t, path, doc, err);
    p->t.host->free(p->t.host->core, path);
    if (!st) {
        set_marks(&p->t);
        st = fill_info(p, folder, err);
    }
    if (st)
        bpe_free(&p->t);
    return st;
}

/* ---- the description ------------------------------------------------------------------------- */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "reads the tokenizer.json of a model folder");
        return 1;
    }
    int n = snprintf(path, sizeof path, "%s/tokenizer.json", about->folder);
    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK)) {
        snprintf(why, why_bytes, "%s holds no readable tokenizer.json", about->folder);
        return 0;
    }
    snprintf(why, why_bytes, "found tokenizer.json");
    return 400; /* where there is a tokenizer.model too, that is what the family trained with */
}

static vw_status open_plugin(const vw_host *host, const void *config, void **self, vw_error *err)
{
    const bpe_config *cfg = config;
    const vw_json *json = host->service(host->core, "json", VW_JSON_MAJOR);
    if (!json)
        return vw_fail(err, VW_E_ABI, "tokenizer/bpe needs version %d of the service \"json\", "
                       "which this core does not have", VW_JSON_MAJOR);
    bpe_plugin *p = host->alloc(host->core, sizeof *p);
    if (!p)
        return vw_fail(err, VW_E_NOMEM, "no memory for tokenizer/bpe");
    memset(p, 0, sizeof *p);
    p->t.host = host;
    p->t.json = json;
    p->thinking = cfg->thinking;
    *self = p;
    return VW_OK;
}

static void close_plugin(void *self)
{
    bpe_plugin *p = self;
    const vw_host *host = p->t.host;
    bpe_free(&p->t);
    free(p->gguf);
    host->free(host->core, p);
}

static const vw_tokenizer_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = bpe_table_info,
    .encode = bpe_table_encode,
    .piece = bpe_table_piece,
    .chat = bpe_table_chat,
    .gguf_keys = bpe_gguf_keys,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_TOKENIZER,
    .ops_major = VW_TOKENIZER_OPS_MAJOR,
    .ops_minor = VW_TOKENIZER_OPS_MINOR,
    .name = "bpe",
    .summary = "tokenizer.json files with byte-pair encoding: DeepSeek, GPT-2, Llama 3, Qwen",
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

VW_PLUGIN_DEFINE(tokenizer, bpe)
{
    return &description;
}
