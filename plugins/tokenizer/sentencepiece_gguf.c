/* sentencepiece_gguf.c - the vocabulary as a GGUF file has it, under the keys of llama.cpp.
 *
 * Its tokenizer "llama" is SentencePiece's BPE with byte fallback; types of pieces have the same
 * numbers in both.
 */
#include "plugins/tokenizer/sentencepiece.h"

#include <stdio.h>
#include <stdlib.h>

static void put_text(FILE *to, sp_text t)
{
    fputc('"', to);
    for (uint32_t i = 0; i < t.bytes; i++) {
        unsigned char c = (unsigned char)t.at[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < ' ')
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

static void put_pieces(FILE *to, const sp_model *m)
{
    fputs(",\"tokenizer.ggml.tokens\":[", to);
    for (int32_t i = 0; i < m->n_pieces; i++) {
        fputs(i ? "," : "", to);
        put_text(to, m->pieces[i].text);
    }
    fputs("],\"tokenizer.ggml.scores\":[", to);
    for (int32_t i = 0; i < m->n_pieces; i++) /* a real one each: no array of whole numbers */
        fprintf(to, "%s%.9e", i ? "," : "", (double)m->pieces[i].score);
    fputs("],\"tokenizer.ggml.token_type\":[", to);
    for (int32_t i = 0; i < m->n_pieces; i++)
        fprintf(to, "%s%d", i ? "," : "", m->pieces[i].type);
    fputc(']', to);
}

static void put_id(FILE *to, const char *name, int32_t id)
{
    if (id >= 0)
        fprintf(to, ",\"tokenizer.ggml.%s_token_id\":%d", name, id);
}

vw_status sp_gguf_keys(void *self, const char **json, vw_error *err)
{
    sp_plugin *sp = self;
    const vw_tokenizer_info *info = &sp->info;
    size_t bytes;
    FILE *to;
    if (!sp->path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    free(sp->gguf);
    sp->gguf = NULL;
    if (!(to = open_memstream(&sp->gguf, &bytes)))
        return vw_fail(err, VW_E_NOMEM, "no memory for the keys of a vocabulary");
    fputs("{\"tokenizer.ggml.model\":\"llama\",\"tokenizer.ggml.pre\":\"default\"", to);
    put_pieces(to, &sp->model);
    put_id(to, "bos", info->bos);
    put_id(to, "eos", info->eos);
    put_id(to, "unknown", info->unk);
    put_id(to, "padding", info->pad);
    fprintf(to, ",\"tokenizer.ggml.add_bos_token\":%s,\"tokenizer.ggml.add_eos_token\":%s,"
            "\"tokenizer.ggml.add_space_prefix\":%s}", info->adds_bos ? "true" : "false",
            info->adds_eos ? "true" : "false", sp->model.adds_prefix ? "true" : "false");
    if (fclose(to))
        return vw_fail(err, VW_E_NOMEM, "no memory for the keys of a vocabulary");
    *json = sp->gguf;
    return VW_OK;
}
