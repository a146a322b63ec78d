/* checksum.h - a 64-bit checksum of bytes: XXH64 with seed 0 (Collet), for files that must be
 * whole.
 *
 * It finds what disks, copies and interrupted writes do to a file; it keeps nobody from changing
 * one on purpose.
 */
#ifndef VW_CORE_CHECKSUM_H
#define VW_CORE_CHECKSUM_H

#include <vishwamai/status.h>

#include <stddef.h>
#include <stdint.h>

typedef struct vw_checksum {
    uint64_t lane[4];
    uint64_t bytes;         /* taken in so far */
    unsigned char rest[32]; /* what does not fill a block yet */
} vw_checksum;

void vw_checksum_begin(vw_checksum *sum);
void vw_checksum_add(vw_checksum *sum, const void *data, size_t bytes);
uint64_t vw_checksum_end(const vw_checksum *sum);

/* Of a whole file.  The error names it. */
vw_status vw_checksum_file(const char *path, uint64_t *sum, uint64_t *bytes, vw_error *err);

#endif
