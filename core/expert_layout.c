/* expert_layout.c - an expert's tensors as few ranges of files.
 *
 * A tensor keeps its distance to the block that it begins in, so it is as aligned in memory as it
 * would be in the map.
 */
#include "core/expert_layout.h"

#include <stdlib.h>
#include <string.h>

enum { GAP_BYTES = 64 << 10 }; /* gaps up to this are read rather than skipped */

typedef struct tensor {
    int32_t number, file;
    uint64_t offset;
    size_t bytes;
} tensor;

static int by_place(const void *a, const void *b)
{
    const tensor *s = a, *t = b;
    if (s->file != t->file)
        return s->file < t->file ? -1 : 1;
    return s->offset < t->offset ? -1 : s->offset > t->offset;
}

static vw_status find(vw_engine *e, vw_disk *disk, const vw_param *w, int32_t number, tensor *t,
                      vw_expert_place *place, vw_error *err)
{
    const vw_matrix *m = &w->weight.stored;
    const char *path;
    place->mapped = number < 3 ? m->data : m->scales.data;
    *t = (tensor){.number = number, .file = -1};
    if (!place->mapped)
        return VW_OK;
    t->bytes = number < 3 ? w->bytes : w->scale_bytes;
    vw_status st = e->wts->locate(e->weights->self, e->reader, place->mapped, t->bytes, &path,
                                  &t->offset, err);
    if (!st)
        st = vw_disk_file(disk, path, &t->file, err);
    return st ? vw_fail_in(err, st, "[model] expert_memory: \"%s\"", w->spec->name) : VW_OK;
}

static uint64_t round_down(uint64_t at)
{
    return at / VW_DISK_ALIGNMENT * VW_DISK_ALIGNMENT;
}

vw_status vw_expert_lay_out(vw_engine *e, vw_disk *disk, vw_param *const *params,
                            vw_expert_layout *x, vw_error *err)
{
    tensor t[VW_EXPERT_TENSORS];
    memset(x, 0, sizeof *x);
    for (int32_t i = 0; i < VW_EXPERT_TENSORS; i++) {
        vw_status st = find(e, disk, params[i % 3], i, &t[i], &x->places[i], err);
        if (st)
            return st;
    }
    qsort(t, VW_EXPERT_TENSORS, sizeof *t, by_place);
    vw_expert_range *r = NULL;
    for (int i = 0; i < VW_EXPERT_TENSORS; i++) {
        uint64_t end = t[i].offset + t[i].bytes;
        if (t[i].file < 0)
            continue;
        if (!r || r->file != t[i].file || t[i].offset > r->offset + r->needed + GAP_BYTES) {
            size_t slot_at = r ? r->slot_at + r->bytes : 0;
            r = &x->ranges[x->n_ranges++];
            *r = (vw_expert_range){.file = t[i].file, .offset = round_down(t[i].offset),
                                   .slot_at = slot_at};
        }
        if (end - r->offset > r->needed)
            r->needed = (size_t)(end - r->offset);
        r->bytes = (size_t)round_down(r->needed + VW_DISK_ALIGNMENT - 1);
        x->places[t[i].number].slot_at = r->slot_at + (size_t)(t[i].offset - r->offset);
        x->bytes += t[i].bytes;
        x->slot_bytes = r->slot_at + r->bytes;
    }
    return VW_OK;
}
