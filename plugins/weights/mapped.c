/* mapped.c - stretches of mapped files. */
#include "plugins/weights/mapped.h"

#include <sys/mman.h>
#include <unistd.h>

enum { PREFETCH_BYTES = 1 << 24 /* looked at and mapped in one go */ };

static mapped_file file_of(const vw_weights_reader *r, mapped_nth nth, const unsigned char *data,
                           size_t bytes)
{
    mapped_file f;
    for (size_t i = 0; (f = nth(r, i)).path; i++)
        if (data >= f.map && data <= f.map + f.bytes && bytes <= (size_t)(f.map + f.bytes - data))
            break;
    return f;
}

vw_status mapped_locate(const vw_weights_reader *r, mapped_nth nth, const char *path, const void *data,
                        size_t bytes, const char **file, uint64_t *offset, vw_error *err)
{
    mapped_file f = file_of(r, nth, data, bytes);
    if (!f.path)
        return vw_fail(err, VW_E_INVALID, "%s: these bytes are of none of its files", path);
    *file = f.path;
    *offset = (uint64_t)((const unsigned char *)data - f.map);
    return VW_OK;
}

/* Is every page of [at, at + bytes) in memory already? */
static int is_resident(void *at, size_t bytes, size_t page)
{
    unsigned char present[PREFETCH_BYTES / 4096 + 1];
    size_t n = (bytes + page - 1) / page;
    if (n > sizeof present || mincore(at, bytes, present) != 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (!(present[i] & 1))
            return 0;
    return 1;
}

/* What is in the page cache is mapped at once, which a million page faults would do for ten times the
 * price; what is not is asked for and not waited for. */
void mapped_prefetch(const vw_weights_reader *r, mapped_nth nth, const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data / page * page;
    uintptr_t end = (uintptr_t)data + bytes;
    if (!bytes || !file_of(r, nth, data, bytes).path)
        return;
    for (; at < end; at += PREFETCH_BYTES) {
        size_t n = end - at < PREFETCH_BYTES ? end - at : PREFETCH_BYTES;
#ifdef MADV_POPULATE_READ
        if (is_resident((void *)at, n, page) && madvise((void *)at, n, MADV_POPULATE_READ) == 0)
            continue;
#endif
        madvise((void *)at, n, MADV_WILLNEED);
    }
}

/* Whole pages only: the first and the last may belong to a neighbour that is still in use. */
void mapped_release(const vw_weights_reader *r, mapped_nth nth, const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)data + bytes) / page * page;
    if (first < end && file_of(r, nth, data, bytes).path)
        madvise((void *)first, end - first, MADV_DONTNEED);
}
