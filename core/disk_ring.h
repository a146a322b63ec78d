/* disk_ring.h - io_uring for disk.c; without liburing there is never a ring. */
#ifndef VW_CORE_DISK_RING_H
#define VW_CORE_DISK_RING_H

#include "core/disk.h"

/* A part of a read, as it is handed to the system. */
typedef struct vw_disk_piece {
    vw_disk_read *read; /* NULL: free */
    int fd;
    uint64_t offset;
    size_t bytes;
    char *to;
} vw_disk_piece;

typedef struct vw_disk_ring vw_disk_ring;

/* For `depth` pieces at a time; NULL where the library or the system has none. */
vw_disk_ring *vw_disk_ring_new(vw_core *core, int32_t depth);
void vw_disk_ring_free(vw_core *core, vw_disk_ring *ring);

/* Ask for a piece; submit what was asked for. */
void vw_disk_ring_read(vw_disk_ring *ring, vw_disk_piece *piece);
void vw_disk_ring_submit(vw_disk_ring *ring);

/* A piece that has come back, with its bytes or a negative errno; NULL: none yet. */
vw_disk_piece *vw_disk_ring_next(vw_disk_ring *ring, bool waits, int64_t *result);

#endif
