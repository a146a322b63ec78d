/* checksum.c - XXH64, from its specification (xxhash_spec.md, "XXH64 Algorithm"). */
#include "core/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 32, READ_BYTES = 1 << 20 };

static const uint64_t prime1 = 0x9E3779B185EBCA87u, prime2 = 0xC2B2AE3D27D4EB4Fu,
                      prime3 = 0x165667B19E3779F9u, prime4 = 0x85EBCA77C2B2AE63u,
                      prime5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t word(const unsigned char *p, int bytes)
{
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static uint64_t mix(uint64_t lane, uint64_t x)
{
    return rotate(lane + x * prime2, 31) * prime1;
}

static void take_block(vw_checksum *s, const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        s->lane[i] = mix(s->lane[i], word(p + 8 * i, 8));
}

void vw_checksum_begin(vw_checksum *s)
{
    memset(s, 0, sizeof *s);
    s->lane[0] = prime1 + prime2;
    s->lane[1] = prime2;
    s->lane[3] = 0 - prime1;
}

void vw_checksum_add(vw_checksum *s, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    size_t have = s->bytes % BLOCK;
    s->bytes += bytes;
    if (have) {
        size_t n = BLOCK - have < bytes ? BLOCK - have : bytes;
        memcpy(s->rest + have, p, n);
        p += n;
        bytes -= n;
        if (have + n < BLOCK)
            return;
        take_block(s, s->rest);
    }
    for (; bytes >= BLOCK; p += BLOCK, bytes -= BLOCK)
        take_block(s, p);
    if (bytes)
        memcpy(s->rest, p, bytes);
}

uint64_t vw_checksum_end(const vw_checksum *s)
{
    size_t left = s->bytes % BLOCK;
    const unsigned char *p = s->rest;
    uint64_t h = prime5;
    if (s->bytes >= BLOCK) {
        h = rotate(s->lane[0], 1) + rotate(s->lane[1], 7) + rotate(s->lane[2], 12) +
            rotate(s->lane[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ mix(0, s->lane[i])) * prime1 + prime4;
    }
    h += s->bytes;
    for (; left >= 8; p += 8, left -= 8)
        h = rotate(h ^ mix(0, word(p, 8)), 27) * prime1 + prime4;
    if (left >= 4) {
        h = rotate(h ^ word(p, 4) * prime1, 23) * prime2 + prime3;
        p += 4;
        left -= 4;
    }
    for (; left; p++, left--)
        h = rotate(h ^ *p * prime5, 11) * prime1;
    h = (h ^ h >> 33) * prime2;
    h = (h ^ h >> 29) * prime3;
    return h ^ h >> 32;
}

vw_status vw_checksum_file(const char *path, uint64_t *sum, uint64_t *bytes, vw_error *err)
{
    vw_checksum s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "%s: cannot be opened: %s",
                       path, strerror(errno));
    char *buffer = malloc(READ_BYTES);
    ssize_t n = buffer ? 1 : -1;
    vw_checksum_begin(&s);
    while (n > 0) {
        n = read(fd, buffer, READ_BYTES);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            vw_checksum_add(&s, buffer, (size_t)n);
    }
    vw_status st = VW_OK;
    if (n < 0)
        st = buffer ? vw_fail(err, VW_E_IO, "%s: cannot be read: %s", path, strerror(errno))
                    : vw_fail(err, VW_E_NOMEM, "%s: no memory to read it", path);
    free(buffer);
    close(fd);
    if (st)
        return st;
    *sum = vw_checksum_end(&s);
    *bytes = s.bytes;
    return VW_OK;
}
