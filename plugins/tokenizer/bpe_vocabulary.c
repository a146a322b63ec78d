/* bpe_vocabulary.c - texts and ids, pairs and ranks: the tables behind bpe_merge.c.
 *
 * Two open-addressed hash tables.  They are made once, as large as the file says, and never grow:
 * at most half full, so that a search ends.
 */
#include "plugins/tokenizer/bpe_merge.h"

#include <stdlib.h>

/* FNV-1a with a finish: texts are short. */
static uint64_t hash_text(const char *text, size_t bytes)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

static uint64_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 31;
}

static size_t table_size(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

vw_status bpe_model_make(bpe_model *m, const vw_host *host, int32_t n_ids, size_t n_merges,
                         vw_error *err)
{
    size_t n = (size_t)n_ids;
    *m = (bpe_model){.host = host, .n_ids = n_ids, .unk = -1, .prefix = "", .suffix = ""};
    bpe_buffer_init(&m->texts, host);
    memset(m->byte_id, -1, sizeof m->byte_id);
    m->n_slots = table_size(n);
    m->n_pairs_room = table_size(n_merges);
    m->spans = host->alloc(host->core, (n + 1) * sizeof *m->spans);
    m->slots = host->alloc(host->core, m->n_slots * sizeof *m->slots);
    m->pairs = host->alloc(host->core, m->n_pairs_room * sizeof *m->pairs);
    if (!m->spans || !m->slots || !m->pairs) {
        bpe_model_free(m);
        return vw_fail(err, VW_E_NOMEM, "no memory for a vocabulary of %d pieces and %zu merges",
                       n_ids, n_merges);
    }
    memset(m->spans, 0, (n + 1) * sizeof *m->spans);
    memset(m->slots, 0, m->n_slots * sizeof *m->slots);
    memset(m->pairs, -1, m->n_pairs_room * sizeof *m->pairs);
    return VW_OK;
}

void bpe_model_free(bpe_model *m)
{
    const vw_host *host = m->host;
    if (!host)
        return;
    host->free(host->core, m->spans);
    host->free(host->core, m->slots);
    host->free(host->core, m->pairs);
    host->free(host->core, m->rank_of);
    bpe_buffer_free(&m->texts);
    *m = (bpe_model){0};
}

const char *bpe_model_text(const bpe_model *m, int32_t id, size_t *bytes)
{
    *bytes = m->spans[id].bytes;
    return m->texts.at + m->spans[id].at;
}

/* The slot of a text: the one that holds it, or the empty one where it belongs. */
static size_t text_slot(const bpe_model *m, const char *text, size_t bytes)
{
    size_t i = hash_text(text, bytes) & (m->n_slots - 1);
    for (; m->slots[i]; i = (i + 1) & (m->n_slots - 1)) {
        bpe_span s = m->spans[m->slots[i] - 1];
        if (s.bytes == bytes && !memcmp(m->texts.at + s.at, text, bytes))
            break;
    }
    return i;
}

int32_t bpe_model_find(const bpe_model *m, const char *text, size_t bytes)
{
    return bytes ? (int32_t)m->slots[text_slot(m, text, bytes)] - 1 : -1;
}

vw_status bpe_model_add(bpe_model *m, int32_t id, const char *text, size_t bytes, vw_error *err)
{
    const int shown = bytes < 64 ? (int)bytes : 64;
    if (id < 0 || id >= m->n_ids)
        return vw_fail(err, VW_E_FORMAT, "the piece \"%.*s\" has the id %d, expected 0 to %d", shown,
                       text, id, m->n_ids - 1);
    if (!bytes || bytes > UINT32_MAX - 1 - m->texts.n)
        return vw_fail(err, VW_E_FORMAT, "the piece with the id %d has %zu bytes", id, bytes);
    size_t slot = text_slot(m, text, bytes);
    if (m->slots[slot])
        return vw_fail(err, VW_E_FORMAT, "the piece \"%.*s\" has the ids %u and %d", shown,
                       text, m->slots[slot] - 1, id);
    if (m->spans[id].bytes)
        return vw_fail(err, VW_E_FORMAT, "the pieces \"%.*s\" and \"%.*s\" have the same id %d",
                       (int)(m->spans[id].bytes < 64 ? m->spans[id].bytes : 64),
                       m->texts.at + m->spans[id].at, shown, text, id);
    m->spans[id] = (bpe_span){(uint32_t)m->texts.n, (uint32_t)bytes};
    bpe_buffer_add(&m->texts, text, bytes);
    if (m->texts.is_failed)
        return vw_fail(err, VW_E_NOMEM, "no memory for the texts of a vocabulary");
    m->slots[slot] = (uint32_t)id + 1;
    return VW_OK;
}

static size_t pair_slot(const bpe_model *m, int32_t left, int32_t right)
{
    size_t i = hash_pair(left, right) & (m->n_pairs_room - 1);
    while (m->pairs[i].left >= 0 && (m->pairs[i].left != left || m->pairs[i].right != right))
        i = (i + 1) & (m->n_pairs_room - 1);
    return i;
}

vw_status bpe_model_merge(bpe_model *m, int32_t left, int32_t right, int32_t rank, int32_t id,
                          vw_error *err)
{
    if (left < 0 || right < 0 || id < 0)
        return vw_fail(err, VW_E_INVALID, "a merge of pieces that do not exist");
    m->pairs[pair_slot(m, left, right)] = (bpe_pair){left, right, rank, id};
    return VW_OK;
}

const bpe_pair *bpe_model_pair(const bpe_model *m, int32_t left, int32_t right)
{
    const bpe_pair *p = m->pairs + pair_slot(m, left, right);
    return p->left >= 0 ? p : NULL;
}

/* ---- scores ---------------------------------------------------------------------------------- */

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return x > y ? -1 : x < y;
}

vw_status bpe_model_score(bpe_model *m, const float *scores, vw_error *err)
{
    const vw_host *host = m->host;
    size_t n = (size_t)m->n_ids;
    int32_t rank = 0;
    scored *sorted = host->alloc(host->core, (n + 1) * sizeof *sorted);
    m->rank_of = host->alloc(host->core, (n + 1) * sizeof *m->rank_of);
    if (!sorted || !m->rank_of) {
        host->free(host->core, sorted);
        return vw_fail(err, VW_E_NOMEM, "no memory for %d scores", m->n_ids);
    }
    for (size_t i = 0; i < n; i++)
        sorted[i] = (scored){scores[i], (int32_t)i};
    qsort(sorted, n, sizeof *sorted, by_score);
    for (size_t i = 0; i < n; i++) {
        rank += i && sorted[i].score != sorted[i - 1].score; /* equal scores: the leftmost */
        m->rank_of[sorted[i].id] = rank;
    }
    host->free(host->core, sorted);
    return VW_OK;
}

void bpe_model_find_bytes(bpe_model *m)
{
    m->has_bytes = 1;
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        m->byte_id[b] = bpe_model_find(m, name, 6);
    }
}
