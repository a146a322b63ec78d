/* spm_builder.h - builds the protobuf of a tokenizer.model, right or wrong, for tests.
 */
#ifndef VW_T_SPM_BUILDER_H
#define VW_T_SPM_BUILDER_H

#include <stddef.h>
#include <stdint.h>

enum { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER, SPM_UNUSED, SPM_BYTE };

typedef struct spm_builder {
    unsigned char bytes[1 << 16];
    size_t n;
    int32_t n_pieces;
} spm_builder;

/* A field: its number with a varint, with bytes, or with four bytes of a float. */
void spm_varint(spm_builder *b, unsigned field, uint64_t value);
void spm_bytes(spm_builder *b, unsigned field, const void *data, size_t n);
void spm_float(spm_builder *b, unsigned field, float value);

/* A piece; returns its id. */
int32_t spm_piece(spm_builder *b, const char *text, int type, float score);

/* trainer_spec: 1 unigram, 2 BPE ...; the names of BOS and EOS. */
void spm_trainer(spm_builder *b, int model_type, int byte_fallback, const char *bos,
                 const char *eos);

/* normalizer_spec; no table where n is 0. */
void spm_normalizer(spm_builder *b, int adds_prefix, int trims, const void *table, size_t n);

/* The table that makes plain characters of n full-width ones (U+FF01 to U+FF3F). */
enum { SPM_TABLE_UNITS = 256 * 32 };
size_t spm_fullwidth_table(const char *plain, size_t n, unsigned char *table, size_t room);

#endif
