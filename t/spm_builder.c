/* spm_builder.c - protobuf's wire format, written: a key (field << 3 | type), then the value. */
#include "t/spm_builder.h"
#include "t/tap/tap.h"

#include <stdio.h>
#include <string.h>

static void put(spm_builder *b, const void *data, size_t n)
{
    if (n > sizeof b->bytes - b->n)
        bail_out("a model of more than %zu bytes", sizeof b->bytes);
    memcpy(b->bytes + b->n, data, n);
    b->n += n;
}

static void put_number(spm_builder *b, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 127) | (value > 127 ? 128 : 0));
        put(b, &byte, 1);
        value >>= 7;
    } while (value);
}

void spm_varint(spm_builder *b, unsigned field, uint64_t value)
{
    put_number(b, field << 3);
    put_number(b, value);
}

void spm_bytes(spm_builder *b, unsigned field, const void *data, size_t n)
{
    put_number(b, field << 3 | 2);
    put_number(b, n);
    put(b, data, n);
}

void spm_float(spm_builder *b, unsigned field, float value)
{
    put_number(b, field << 3 | 5);
    put(b, &value, 4);
}

int32_t spm_piece(spm_builder *b, const char *text, int type, float score)
{
    static spm_builder piece;
    piece.n = 0;
    spm_bytes(&piece, 1, text, strlen(text));
    spm_float(&piece, 2, score);
    if (type != SPM_NORMAL)
        spm_varint(&piece, 3, (uint64_t)type);
    spm_bytes(b, 1, piece.bytes, piece.n);
    return b->n_pieces++;
}

void spm_trainer(spm_builder *b, int model_type, int byte_fallback, const char *bos,
                 const char *eos)
{
    static spm_builder spec;
    spec.n = 0;
    spm_varint(&spec, 3, (uint64_t)model_type);
    spm_varint(&spec, 35, (uint64_t)byte_fallback);
    spm_bytes(&spec, 46, bos, strlen(bos));
    spm_bytes(&spec, 47, eos, strlen(eos));
    spm_bytes(b, 2, spec.bytes, spec.n);
}

void spm_normalizer(spm_builder *b, int adds_prefix, int trims, const void *table, size_t n)
{
    static spm_builder spec;
    spec.n = 0;
    if (n)
        spm_bytes(&spec, 2, table, n);
    spm_varint(&spec, 3, (uint64_t)adds_prefix);
    spm_varint(&spec, 4, (uint64_t)trims);
    spm_bytes(b, 3, spec.bytes, spec.n);
}

/* Units of the double array: the children of the node at i stand at (i ^ offset) ^ byte.  The way
 * EF BC xx has its levels in blocks of 256 units of their own, and each end its leaf in another. */
size_t spm_fullwidth_table(const char *plain, size_t n, unsigned char *table, size_t room)
{
    static uint32_t units[SPM_TABLE_UNITS];
    const uint32_t level[3] = {256, 512, 768}, leaf = 1024;
    uint32_t bytes = (uint32_t)((leaf + 256 * n) * 4), at = 0;
    if (4 + bytes + 2 * n > room || bytes > sizeof units)
        bail_out("too many characters");
    memset(units, 0, sizeof units);
    units[0] = (0 ^ level[0]) << 10;
    at = level[0] ^ 0xEF;
    units[at] = (at ^ level[1]) << 10 | 0xEF;
    at = level[1] ^ 0xBC;
    units[at] = (at ^ level[2]) << 10 | 0xBC;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t last = (uint32_t)plain[i] - 0x20 + 0x80; /* U+FF00 + c - 0x20 */
        at = level[2] ^ last;
        units[at] = (at ^ (leaf + 256 * i)) << 10 | 1 << 8 | last;
        units[leaf + 256 * i] = 1u << 31 | 2 * i;
        table[4 + bytes + 2 * i] = (unsigned char)plain[i];
        table[4 + bytes + 2 * i + 1] = 0;
    }
    memcpy(table, &bytes, 4);
    memcpy(table + 4, units, bytes);
    return 4 + bytes + 2 * n;
}
