/* permutation.h - a seeded order of n things that needs no memory.
 *
 * Which thing comes at place i is computed from the seed and i alone, so a position in a shuffled
 * epoch is one number, and a resumed run takes up the order exactly where it was.
 */
#ifndef VW_CORE_PERMUTATION_H
#define VW_CORE_PERMUTATION_H

#include <stdint.h>

/* A number from a number; the generator behind everything seeded here (splitmix64, Steele et al.
 * 2014). */
uint64_t vw_mix(uint64_t x);

/* A bijection of [0, n) for every seed; n >= 1, i < n. */
uint64_t vw_permute(uint64_t seed, uint64_t n, uint64_t i);

#endif
