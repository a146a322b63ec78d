/* kv.c - the paged cache: pages, block tables, and the sequences that hold them.
 *
 * The pool of a group of layers is a stack of free page numbers and a reference count a page; page p
 * is the p-th page of every layer of the group.  A fork copies tables and counts references; whoever
 * writes to a page that others hold too gets a copy of it first.  Freed sequences are kept and used
 * again, so that a steady state allocates nothing.
 *
 * Several models of a process share [kv] pool_bytes: each has page numbers for all of it, but pages
 * in use are counted together, and a page that is let go is given back to the system when there is
 * another model that may want the memory.  Where the device's memory is no page of the host's, a
 * pool is counted whole when it is made.
 */
#include "core/engine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int32_t pages_for(const vw_engine *e, int64_t tokens)
{
    return (int32_t)((tokens + e->page_tokens - 1) / e->page_tokens);
}

/* Are pages counted as they are taken? */
static bool is_shared_budget(const vw_engine *e)
{
    return e->kv_bytes_limit && (e->device_info.flags & VW_DEVICE_HOST_VISIBLE);
}

/* ---- the pool -------------------------------------------------------------------------------- */

vw_status vw_kv_group_layers(vw_engine *e, vw_error *err)
{
    size_t n = (size_t)vw_cached_layers(e);
    e->kv_layers = vw_core_alloc(e->core, n * sizeof *e->kv_layers);
    if (!e->kv_layers)
        return vw_fail(err, VW_E_NOMEM, "no memory for the cache of %zu layers", n);
    memset(e->kv_layers, 0, n * sizeof *e->kv_layers);
    for (size_t l = 0; l < n; l++) {
        int g = 0;
        while (g < e->n_groups && e->groups[g].window != e->info->caches[l].window)
            g++;
        if (g == MAX_KV_GROUPS)
            return vw_fail(err, VW_E_UNSUPPORTED, "a model with more than %d different windows",
                           MAX_KV_GROUPS);
        if (g == e->n_groups) {
            e->groups[g].window = e->info->caches[l].window;
            e->groups[g].table_width = pages_for(e, e->context);
            e->n_groups++;
        }
        e->kv_layers[l].group = g;
    }
    return VW_OK;
}

/* Bytes of one page of every layer, and the pages that the limit allows: at least one context. */
static vw_status size_pool(vw_engine *e, int32_t *n_pages, vw_error *err)
{
    uint64_t page = 0, limit = e->kv_bytes_limit;
    int64_t need = pages_for(e, e->context);
    for (int32_t l = 0; l < vw_cached_layers(e); l++) {
        if (!e->kv_layers[l].plan)
            return vw_fail(err, VW_E_INVALID, "layer %d has a cache that its forward never uses", l);
        page += e->kv_layers[l].plan->page_bytes;
        e->groups[e->kv_layers[l].group].page_bytes += e->kv_layers[l].plan->page_bytes;
    }
    e->kv_token_bytes = page / (uint64_t)e->page_tokens;
    int64_t want = need * e->max_sequences;
    if (!limit && e->device_info.memory_free_bytes)
        limit = e->device_info.memory_free_bytes / 4;
    if (limit && (uint64_t)want > limit / page)
        want = (int64_t)(limit / page);
    if (want < need && e->kv_bytes_limit)
        return vw_fail(err, VW_E_CONFIG, "[kv] pool_bytes = %llu holds %lld tokens, fewer than one "
                       "context of %lld; give it %llu bytes or lower [engine] ctx_size",
                       (unsigned long long)limit, (long long)want * e->page_tokens,
                       (long long)e->context, (unsigned long long)(page * (uint64_t)need));
    if (want < need)
        want = need;
    if (want > INT32_MAX / 2)
        want = INT32_MAX / 2;
    *n_pages = (int32_t)want;
    e->kv_pool_bytes = page * (uint64_t)want;
    return VW_OK;
}

vw_status vw_kv_open(vw_engine *e, vw_error *err)
{
    int32_t n_pages = 0;
    vw_status st = size_pool(e, &n_pages, err);
    e->memory.kv_pool = e->kv_pool_bytes;
    if (st || e->is_plan)
        return st;
    if (!st && e->kv_bytes_limit && !is_shared_budget(e)) {
        if (!vw_core_kv_take(e->core, e->kv_pool_bytes, e->kv_bytes_limit))
            return vw_fail(err, VW_E_FULL, "the models of this process hold %llu of [kv] pool_bytes = "
                           "%llu already, and this one wants %llu; lower [engine] max_sequences or "
                           "raise it", (unsigned long long)vw_core_kv_bytes(e->core),
                           (unsigned long long)e->kv_bytes_limit,
                           (unsigned long long)e->kv_pool_bytes);
        e->kv_counted = e->kv_pool_bytes;
    }
    for (int32_t l = 0; l < vw_cached_layers(e) && !st; l++) {
        kv_layer *layer = &e->kv_layers[l];
        st = e->dev->alloc(e->device->self, layer->plan->page_bytes * (size_t)n_pages,
                           &layer->pages, err);
        if (st)
            st = vw_fail_in(err, st, "the cache of %d pages of %d tokens ([kv] pool_bytes and "
                            "[engine] ctx_size make it smaller)", n_pages, e->page_tokens);
    }
    for (int g = 0; g < e->n_groups && !st; g++) {
        kv_group *k = &e->groups[g];
        k->n_pages = k->n_free = n_pages;
        k->free_pages = vw_core_alloc(e->core, (size_t)n_pages * sizeof *k->free_pages);
        k->references = vw_core_alloc(e->core, (size_t)n_pages * sizeof *k->references);
        if (!k->free_pages || !k->references)
            return vw_fail(err, VW_E_NOMEM, "no memory for the list of %d pages", n_pages);
        memset(k->references, 0, (size_t)n_pages * sizeof *k->references);
        for (int32_t i = 0; i < n_pages; i++)
            k->free_pages[i] = n_pages - 1 - i; /* low pages first */
    }
    return st;
}

static void free_sequence(struct vw_sequence *s)
{
    vw_core *core = s->engine->core;
    for (int g = 0; g < MAX_KV_GROUPS; g++)
        vw_core_release(core, s->table[g]);
    vw_core_release(core, s->tokens);
    vw_core_release(core, s);
}

void vw_kv_close(vw_engine *e)
{
    while (e->spare) {
        struct vw_sequence *s = e->spare;
        e->spare = s->next_spare;
        free_sequence(s);
    }
    if (e->kv_counted) /* sequences that were not freed, or a pool that was counted whole */
        vw_core_kv_give(e->core, e->kv_counted);
    e->kv_counted = 0;
    for (int32_t l = 0; e->kv_layers && l < vw_cached_layers(e); l++)
        e->dev->free(e->device->self, &e->kv_layers[l].pages);
    for (int g = 0; g < e->n_groups; g++) {
        vw_core_release(e->core, e->groups[g].free_pages);
        vw_core_release(e->core, e->groups[g].references);
    }
    vw_core_release(e->core, e->kv_layers);
}

/* ---- pages of a sequence --------------------------------------------------------------------- */

static int32_t page_take(kv_group *k)
{
    int32_t page = k->free_pages[--k->n_free];
    k->references[page] = 1;
    return page;
}

/* Let the system have what lies wholly in a free page; it comes back as zeros when it is touched. */
static void forget_page(vw_engine *e, int g, int32_t page)
{
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int32_t l = 0; l < vw_cached_layers(e); l++) {
        const kv_layer *layer = &e->kv_layers[l];
        uintptr_t at = (uintptr_t)layer->pages.data + layer->plan->page_bytes * (size_t)page;
        uintptr_t first = (at + unit - 1) / unit * unit;
        uintptr_t end = (at + layer->plan->page_bytes) / unit * unit;
        if (layer->group == g && first < end)
            madvise((void *)first, end - first, MADV_DONTNEED);
    }
}

static void page_drop(vw_engine *e, int g, int32_t *page)
{
    kv_group *k = &e->groups[g];
    if (*page >= 0 && --k->references[*page] == 0) {
        k->free_pages[k->n_free++] = *page;
        if (is_shared_budget(e) && vw_core_kv_bytes(e->core) > e->kv_counted)
            forget_page(e, g, *page);
    }
    *page = -1;
}

/* Give back to the budget what was let go. */
static void settle(vw_engine *e)
{
    uint64_t held = 0;
    if (!is_shared_budget(e))
        return;
    for (int g = 0; g < e->n_groups; g++)
        held += e->groups[g].page_bytes * (uint64_t)(e->groups[g].n_pages - e->groups[g].n_free);
    vw_core_kv_give(e->core, e->kv_counted - held);
    e->kv_counted = held;
}

static uint64_t page_of_all(const vw_engine *e)
{
    uint64_t bytes = 0;
    for (int g = 0; g < e->n_groups; g++)
        bytes += e->groups[g].page_bytes;
    return bytes;
}

static vw_status fail_full(const vw_engine *e, int64_t pages, vw_error *err)
{
    return vw_fail(err, VW_E_FULL, "the KV cache is full: %lld pages of %d tokens are needed (%llu "
                   "bytes), and the models of this process hold %llu of [kv] pool_bytes = %llu; free "
                   "sequences of any of them or raise it", (long long)pages, e->page_tokens,
                   (unsigned long long)((uint64_t)pages * page_of_all(e)),
                   (unsigned long long)vw_core_kv_bytes(e->core),
                   (unsigned long long)e->kv_bytes_limit);
}

vw_status vw_kv_check(const vw_engine *e, int64_t pages, vw_error *err)
{
    for (int g = 0; g < e->n_groups; g++)
        if (!e->groups[g].window && pages > e->groups[g].n_free)
            return vw_fail(err, VW_E_FULL, "the KV cache is full: %lld pages of %d tokens are needed "
                           "and %d of %d are free; free sequences or raise [kv] pool_bytes",
                           (long long)pages, e->page_tokens, e->groups[g].n_free,
                           e->groups[g].n_pages);
    if (is_shared_budget(e) && vw_core_kv_bytes(e->core) > e->kv_counted &&
        vw_core_kv_bytes(e->core) + (uint64_t)pages * page_of_all(e) > e->kv_bytes_limit)
        return fail_full(e, pages, err);
    return VW_OK;
}

/* A private copy of a page that others hold too. */
static vw_status page_copy(vw_engine *e, int g, int32_t *page, vw_error *err)
{
    int32_t from = *page, to = page_take(&e->groups[g]);
    for (int32_t l = 0; l < vw_cached_layers(e); l++) {
        const kv_layer *layer = &e->kv_layers[l];
        size_t bytes = layer->plan->page_bytes;
        char *pages = layer->pages.data;
        if (layer->group != g)
            continue;
        vw_status st = e->dev->copy(e->device->self, e->stream, pages + bytes * (size_t)to,
                                    pages + bytes * (size_t)from, bytes, err);
        if (st) {
            page_drop(e, g, &to);
            return st;
        }
    }
    page_drop(e, g, page);
    *page = to;
    return VW_OK;
}

/* The page that the next key falls in, or -1.  It may be there before any key is: a token that
 * nobody sees passed through it. */
static int32_t next_page(const struct vw_sequence *s, int g)
{
    int64_t i = s->n_keys / s->engine->page_tokens;
    return i < s->engine->groups[g].table_width ? s->table[g][i] : -1;
}

static bool needs_copy(const struct vw_sequence *s, int g)
{
    int32_t page = next_page(s, g);
    return page >= 0 && s->engine->groups[g].references[page] > 1;
}

int32_t vw_kv_pages_needed(const struct vw_sequence *s, int64_t n)
{
    const vw_engine *e = s->engine;
    int32_t most = 0;
    for (int g = 0; g < e->n_groups && n > 0; g++) {
        int32_t need = needs_copy(s, g);
        for (int32_t i = pages_for(e, s->n_keys); i < pages_for(e, s->n_keys + n); i++)
            need += s->table[g][i] < 0; /* one may have been taken ahead */
        if (need > most)
            most = need;
    }
    return most;
}

/* For the most that they may turn out to be; settle() gives back the rest. */
static bool take_budget(vw_engine *e, int32_t pages)
{
    uint64_t bytes = (uint64_t)pages * page_of_all(e);
    if (!bytes || !is_shared_budget(e))
        return true;
    if (!vw_core_kv_take(e->core, bytes, e->kv_bytes_limit))
        return false;
    e->kv_counted += bytes;
    return true;
}

vw_status vw_kv_reserve(struct vw_sequence *s, int64_t n, vw_error *err)
{
    vw_engine *e = s->engine;
    int32_t need = vw_kv_pages_needed(s, n);
    for (int g = 0; g < e->n_groups; g++)
        if (need > e->groups[g].n_free)
            return vw_fail(err, VW_E_FULL, "the KV cache is full: %d pages of %d tokens are needed "
                           "and %d of %d are free; free sequences or raise [kv] pool_bytes", need,
                           e->page_tokens, e->groups[g].n_free, e->groups[g].n_pages);
    if (!take_budget(e, need))
        return fail_full(e, need, err);
    vw_status st = VW_OK;
    for (int g = 0; g < e->n_groups && n > 0 && !st; g++) {
        if (needs_copy(s, g))
            st = page_copy(e, g, &s->table[g][s->n_keys / e->page_tokens], err);
        for (int32_t i = pages_for(e, s->n_keys); i < pages_for(e, s->n_keys + n) && !st; i++)
            if (s->table[g][i] < 0)
                s->table[g][i] = page_take(&e->groups[g]);
    }
    settle(e);
    return st;
}

void vw_kv_slide(struct vw_sequence *s)
{
    vw_engine *e = s->engine;
    for (int g = 0; g < e->n_groups; g++) {
        int64_t first_visible = s->n_keys - e->groups[g].window + 1;
        if (!e->groups[g].window || first_visible <= 0)
            continue;
        for (int64_t i = first_visible / e->page_tokens - 1; i >= 0 && s->table[g][i] >= 0; i--)
            page_drop(e, g, &s->table[g][i]);
    }
    settle(e);
}

/* ---- sequences ------------------------------------------------------------------------------- */

vw_status vw_sequence_new(vw_engine *e, vw_sequence **out, vw_error *err)
{
    struct vw_sequence *s = e->spare;
    if (s) {
        e->spare = s->next_spare;
        s->next_spare = NULL;
        *out = s;
        return VW_OK;
    }
    s = vw_core_alloc(e->core, sizeof *s);
    if (!s)
        return vw_fail(err, VW_E_NOMEM, "no memory for a sequence");
    memset(s, 0, sizeof *s);
    s->engine = e;
    s->tokens = vw_core_alloc(e->core, (size_t)e->context * sizeof *s->tokens);
    bool is_whole = s->tokens != NULL;
    for (int g = 0; g < e->n_groups && is_whole; g++) {
        size_t bytes = (size_t)e->groups[g].table_width * sizeof *s->table[g];
        s->table[g] = vw_core_alloc(e->core, bytes);
        is_whole = s->table[g] != NULL;
        if (is_whole)
            memset(s->table[g], 0xFF, bytes); /* -1: no page */
    }
    if (!is_whole) {
        free_sequence(s);
        return vw_fail(err, VW_E_NOMEM, "no memory for a sequence of %lld tokens",
                       (long long)e->context);
    }
    *out = s;
    return VW_OK;
}

vw_status vw_sequence_fork(vw_sequence *trunk, vw_sequence **out, vw_error *err)
{
    vw_engine *e = trunk->engine;
    vw_sequence *s;
    vw_status st = vw_sequence_new(e, &s, err);
    if (st)
        return st;
    s->length = trunk->length;
    s->n_drafted = trunk->n_drafted;
    s->n_keys = trunk->n_keys;
    memcpy(s->tokens, trunk->tokens, (size_t)trunk->length * sizeof *s->tokens);
    for (int g = 0; g < e->n_groups; g++) /* not what was taken ahead: both would write there */
        for (int32_t i = 0; i < pages_for(e, trunk->n_keys); i++) {
            s->table[g][i] = trunk->table[g][i];
            if (s->table[g][i] >= 0)
                e->groups[g].references[s->table[g][i]]++;
        }
    *out = s;
    return VW_OK;
}

/* Keys of the first n tokens: all, but for padding where the model hides it. */
static int64_t keys_of(const vw_sequence *s, int64_t n)
{
    const vw_model_info *info = s->engine->info;
    int64_t keys = n;
    for (int64_t i = 0; info->hides_pad && i < n; i++)
        keys -= s->tokens[i] == info->pad;
    return keys;
}

/* A page that slid out of a window cannot come back, so a windowed sequence cannot be cut there. */
static bool has_lost(const vw_sequence *s, int64_t n) /* n keys */
{
    const vw_engine *e = s->engine;
    for (int g = 0; g < e->n_groups; g++) {
        int64_t first = n - e->groups[g].window + 1;
        if (n > 0 && e->groups[g].window && s->table[g][(first > 0 ? first : 0) / e->page_tokens] < 0)
            return true;
    }
    return false;
}

vw_status vw_sequence_truncate(vw_sequence *s, int64_t n, vw_error *err)
{
    vw_engine *e = s->engine;
    if (n < 0 || n > s->length)
        return vw_fail(err, VW_E_INVALID, "a sequence of %lld tokens cannot be cut to %lld",
                       (long long)s->length, (long long)n);
    int64_t keys = keys_of(s, n);
    if (has_lost(s, keys))
        return vw_fail(err, VW_E_UNSUPPORTED, "the tokens before position %lld have left the sliding "
                       "window; feed the sequence again from its start", (long long)n);
    for (int g = 0; g < e->n_groups; g++)
        for (int32_t i = pages_for(e, keys); i < e->groups[g].table_width; i++)
            page_drop(e, g, &s->table[g][i]);
    settle(e);
    s->length = n;
    if (s->n_drafted >= n) /* the last one's place depends on the token after it */
        s->n_drafted = n > 0 ? n - 1 : 0;
    s->n_keys = keys;
    return VW_OK;
}

int64_t vw_sequence_length(const vw_sequence *s)
{
    return s->length;
}

void vw_sequence_free(vw_sequence *s)
{
    if (!s)
        return;
    vw_engine *e = s->engine;
    for (int g = 0; g < e->n_groups; g++)
        for (int32_t i = 0; i < e->groups[g].table_width; i++)
            page_drop(e, g, &s->table[g][i]);
    settle(e);
    s->length = s->n_keys = s->n_drafted = 0;
    s->next_spare = e->spare;
    e->spare = s;
}
