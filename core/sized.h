/* sized.h - structs of the application's interface that begin with their size, across versions.
 *
 * They grow at their end alone.  A program that was compiled with an older header has a shorter one,
 * one with a newer header a longer one; what both know goes over, and the rest is zero or untouched.
 */
#ifndef VW_CORE_SIZED_H
#define VW_CORE_SIZED_H

#include <stddef.h>
#include <string.h>

/* A caller's struct as this library knows it, of `bytes` bytes. */
static inline void vw_sized_take(void *to, const void *callers, size_t bytes)
{
    size_t theirs;
    memcpy(&theirs, callers, sizeof theirs);
    memset(to, 0, bytes);
    memcpy(to, callers, theirs < bytes ? theirs : bytes);
    memcpy(to, &bytes, sizeof bytes);
}

/* Fill a caller's struct, as far as it goes; its size then tells what was filled. */
static inline void vw_sized_give(void *callers, const void *from, size_t bytes)
{
    size_t theirs;
    memcpy(&theirs, callers, sizeof theirs);
    if (theirs < bytes)
        bytes = theirs;
    if (bytes < sizeof bytes)
        return;
    memcpy(callers, from, bytes);
    memcpy(callers, &bytes, sizeof bytes);
}

#endif
