/* draws.h - random numbers that are the same on every machine and in every run. */
#ifndef VW_PIPELINE_DRAWS_H
#define VW_PIPELINE_DRAWS_H

#include <stdint.h>

/* Not 0. */
typedef struct draws {
    uint64_t state;
} draws;

/* xorshift64*: a whole number from 0 to n - 1. */
static inline int32_t draw(draws *d, int32_t n)
{
    d->state ^= d->state >> 12;
    d->state ^= d->state << 25;
    d->state ^= d->state >> 27;
    return (int32_t)((d->state * 2685821657736338717u >> 33) * (uint64_t)n >> 31);
}

#endif
