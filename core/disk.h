/* disk.h - reads of long ranges of files, many at once, past the page cache where that is possible.
 *
 * What the cache of experts reads with.  Reads are queued, cut into pieces and done in the order in
 * which they were queued, several pieces at a time: by io_uring where it was built in and the system
 * lets it be used, else by a few threads that wait in pread().  Queueing and collecting are one
 * thread's; they allocate nothing.
 */
#ifndef VW_CORE_DISK_H
#define VW_CORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

/* Of offsets, sizes and memory, so that any disk's blocks divide it. */
enum { VW_DISK_ALIGNMENT = 4096 };

typedef struct vw_disk vw_disk;

typedef struct vw_disk_read {
    int32_t file;      /* of vw_disk_file() */
    uint64_t offset;   /* aligned */
    size_t bytes;      /* aligned; may reach past the end of the file */
    size_t needed;     /* of them; fewer is an error */
    void *to;          /* aligned */
    /* The disk's own, until the read comes back: */
    struct vw_disk_read *next;
    size_t begun;      /* bytes whose pieces were handed out */
    int32_t n_pieces;  /* of those, the pieces that have not come back */
    /* Then: */
    int problem;       /* an errno; -1: the file ends too early; 0: all is there */
} vw_disk_read;

typedef struct vw_disk_options {
    int32_t depth;     /* pieces under way at a time */
    bool is_direct;    /* past the page cache */
    bool no_uring;     /* threads, whatever there is */
} vw_disk_options;

typedef struct vw_disk_stats {
    const char *method; /* "io_uring", "pread" */
    bool is_direct;     /* of every file */
    uint64_t bytes;     /* that came */
    double seconds;     /* while any read was under way */
} vw_disk_stats;

vw_status vw_disk_open(vw_core *core, const vw_disk_options *options, vw_disk **disk,
                       vw_error *err);
/* Waits for the reads that are under way. */
void vw_disk_close(vw_disk *disk);

/* Open a file, or find it open.  A file system that refuses to be read directly is read through its
 * cache. */
vw_status vw_disk_file(vw_disk *disk, const char *path, int32_t *file, vw_error *err);

/* Queue a read, which the caller keeps and leaves alone until it comes back. */
void vw_disk_begin(vw_disk *disk, vw_disk_read *read);

/* A read that has come back.  NULL when there is none: with `waits`, when none is under way. */
vw_disk_read *vw_disk_next(vw_disk *disk, bool waits);

/* The sentence for a read that failed: "FILE: cannot be read at byte N: Input/output error". */
vw_status vw_disk_explain(const vw_disk *disk, const vw_disk_read *read, vw_error *err);

void vw_disk_get_stats(vw_disk *disk, vw_disk_stats *stats);

#endif
