/* expert_layout.h - where in its files an expert lies, and where that goes in memory. */
#ifndef VW_CORE_EXPERT_LAYOUT_H
#define VW_CORE_EXPERT_LAYOUT_H

#include "core/disk.h"
#include "core/engine.h"

enum { VW_EXPERT_TENSORS = 6 }; /* gate, up, down, and the scales of each in that order */

typedef struct vw_expert_place { /* of a tensor */
    const void *mapped;          /* NULL: there is none */
    size_t slot_at;
} vw_expert_place;

typedef struct vw_expert_range { /* of a file, rounded out to what a disk reads */
    int32_t file;
    uint64_t offset;
    size_t bytes, needed, slot_at;
} vw_expert_range;

typedef struct vw_expert_layout {
    int32_t n_ranges;
    vw_expert_range ranges[VW_EXPERT_TENSORS];
    vw_expert_place places[VW_EXPERT_TENSORS];
    uint64_t bytes;    /* of the tensors */
    size_t slot_bytes; /* of all ranges */
} vw_expert_layout;

/* params: gate, up and down as they are in the map. */
vw_status vw_expert_lay_out(vw_engine *e, vw_disk *disk, vw_param *const *params,
                            vw_expert_layout *layout, vw_error *err);

#endif
