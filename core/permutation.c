/* permutation.c - a Feistel network on the smallest even number of bits that holds n; a result
 * that is not below n goes through it again (cycle walking, Black and Rogaway 2002), on average
 * less than four times.
 */
#include "core/permutation.h"

enum { ROUNDS = 6 };

uint64_t vw_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

uint64_t vw_permute(uint64_t seed, uint64_t n, uint64_t i)
{
    int half = 1;
    while (half < 32 && n > (uint64_t)1 << 2 * half)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t next = left ^ (vw_mix(seed ^ vw_mix(round << 56 ^ right)) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
