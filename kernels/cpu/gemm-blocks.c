/* gemm-blocks.c - packs of blocks of few bits, and the walk over them with one row: compiled once. */
#include "kernels/cpu/gemm-blocks.h"

enum { STREAMS = VW_GEMM_MAX_PANELS, INT4_WORDS = 4 };

/* A stored block: numbers of half precision and words, and where they begin in it. */
typedef struct block_shape {
    int halves, halves_at, words, words_at;
} block_shape;

static block_shape shape_of(const vw_gemm_source *w)
{
    switch (w->block_kind) {
    case VW_BLOCK_Q4_K: return (block_shape){2, 0, 35, 4};
    default: return (block_shape){1, 0, (w->block_bytes - 2) / 4, 2};
    }
}

/* Whole blocks of activations, and of int4 scales that change between them. */
static int is_int4(const vw_gemm_source *w)
{
    vw_dtype t = w->scale_dtype;
    return w->block_kind == VW_BLOCK_INT4 && w->scales && w->k % VW_GEMM_BLOCK == 0 &&
           (t == VW_F32 || t == VW_BF16 || t == VW_F16) &&
           (w->scale_cols >= w->k || w->scale_cols % VW_GEMM_BLOCK == 0);
}

int vw_gemm_is_blocks(const vw_gemm_source *w)
{
    int kind = w->block_kind;
    return w->dtype == VW_BLOCK && !w->is_in_out && w->k > 0 &&
           (is_int4(w) ||
            (w->k % w->block_elements == 0 && !w->scales &&
             (kind == VW_BLOCK_Q8_0 || kind == VW_BLOCK_Q4_0 || kind == VW_BLOCK_Q4_K ||
              kind == VW_BLOCK_Q6_K)));
}

size_t vw_gemm_blocks_bytes(const vw_gemm_source *w)
{
    int64_t panels = (w->n + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL;
    return (size_t)(panels * vw_gemm_blocks_at(w, w->k / VW_GEMM_BLOCK));
}

/* ---- Q6_K ---- */

/* In front of the codes: d, and a scale for each 16 values. */
enum { SIXES_AT = (2 + 16) * VW_GEMM_PANEL };

static uint32_t word_at(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static void put_word(void *p, uint32_t word)
{
    memcpy(p, &word, sizeof word);
}

/* Codes 4 s ... 4 s + 3 of a stored block: where their lower four bits lie, and their upper two. */
typedef struct six {
    int low, low_shift, high, high_shift;
} six;

static six six_at(int s)
{
    int half = s / 32, run = s / 8 % 4;
    return (six){half * 64 + s % 16 * 4, run / 2 * 4, 128 + half * 32 + s % 8 * 4, 2 * run};
}

static void pack_q6_k(const uint8_t *in, int64_t i, char *unit)
{
    memcpy(unit + 2 * i, in + 208, 2);
    for (int j = 0; j < 16; j++)
        unit[(2 + j) * VW_GEMM_PANEL + i] = (char)in[192 + j];
    for (int j = 0; j < 16; j++) {
        char *to = unit + SIXES_AT + (j * 3 * VW_GEMM_PANEL + i) * 4;
        uint32_t code[4];
        for (int s = 0; s < 4; s++) {
            six at = six_at(j * 4 + s);
            code[s] = (word_at(in + at.low) >> at.low_shift & 0x0F0F0F0F) |
                      (word_at(in + at.high) >> at.high_shift & 0x03030303) << 4;
        }
        for (int s = 0; s < 3; s++)
            put_word(to + s * VW_GEMM_PANEL * 4,
                     code[s] | (code[3] >> (4 - 2 * s) & 0x03030303) << 6);
    }
}

static void unpack_q6_k(const char *unit, int64_t i, uint8_t *out)
{
    memset(out, 0, 192);
    memcpy(out + 208, unit + 2 * i, 2);
    for (int j = 0; j < 16; j++)
        out[192 + j] = (uint8_t)unit[(2 + j) * VW_GEMM_PANEL + i];
    for (int j = 0; j < 16; j++) {
        const char *from = unit + SIXES_AT + (j * 3 * VW_GEMM_PANEL + i) * 4;
        uint32_t code[4] = {0};
        for (int s = 0; s < 3; s++) {
            code[s] = word_at(from + s * VW_GEMM_PANEL * 4);
            code[3] |= (code[s] >> 6 & 0x03030303) << (4 - 2 * s);
        }
        for (int s = 0; s < 4; s++) {
            six at = six_at(j * 4 + s);
            put_word(out + at.low, word_at(out + at.low) | (code[s] & 0x0F0F0F0F) << at.low_shift);
            put_word(out + at.high, word_at(out + at.high) |
                                        (code[s] >> 4 & 0x03030303) << at.high_shift);
        }
    }
}

/* ---- GGUF's formats ---- */

static void pack_row(const vw_gemm_source *w, int64_t n, char *panel)
{
    const block_shape s = shape_of(w);
    const int64_t bytes = w->block_bytes, i = n % VW_GEMM_PANEL;
    const char *in = (const char *)w->data + n * (w->row_stride / w->block_elements) * bytes;
    for (int64_t b = 0; b < w->k / w->block_elements; b++, in += bytes) {
        char *to = panel + b * bytes * VW_GEMM_PANEL;
        if (w->block_kind == VW_BLOCK_Q6_K) {
            pack_q6_k((const uint8_t *)in, i, to);
            continue;
        }
        for (int j = 0; j < s.halves; j++)
            memcpy(to + (j * VW_GEMM_PANEL + i) * 2, in + s.halves_at + 2 * j, 2);
        to += s.halves * VW_GEMM_PANEL * 2;
        for (int j = 0; j < s.words; j++)
            memcpy(to + (j * VW_GEMM_PANEL + i) * 4, in + s.words_at + 4 * j, 4);
    }
}

static void block_row(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t n_blocks, char *out)
{
    const block_shape s = shape_of(&w->source);
    const int64_t bytes = w->source.block_bytes, i = n % VW_GEMM_PANEL;
    const char *in = vw_gemm_blocks_panel(w, n / VW_GEMM_PANEL) + first * bytes * VW_GEMM_PANEL;
    for (; n_blocks > 0; n_blocks--, out += bytes, in += bytes * VW_GEMM_PANEL) {
        const char *words = in + s.halves * VW_GEMM_PANEL * 2;
        if (w->source.block_kind == VW_BLOCK_Q6_K) {
            unpack_q6_k(in, i, (uint8_t *)out);
            continue;
        }
        for (int j = 0; j < s.halves; j++)
            memcpy(out + s.halves_at + 2 * j, in + (j * VW_GEMM_PANEL + i) * 2, 2);
        for (int j = 0; j < s.words; j++)
            memcpy(out + s.words_at + 4 * j, words + (j * VW_GEMM_PANEL + i) * 4, 4);
    }
}

/* ---- int4 ---- */

/* Where code v of 32 lies: as stored, and as packed, nibbles counted from the low one of byte 0; the
 * bytes of four values of one half are those of a word. */
static int packed_nibble(int v)
{
    return v % 16 * 2 + v / 16;
}

static const char *int4_words(const vw_gemm_operand *w, int64_t n, int64_t block)
{
    const vw_gemm_source *s = &w->source;
    int is_first = block * VW_GEMM_BLOCK % vw_gemm_group(s) == 0;
    return vw_gemm_blocks_panel(w, n / VW_GEMM_PANEL) + vw_gemm_blocks_at(s, block) +
           (is_first ? vw_gemm_scale_bytes(s) * VW_GEMM_PANEL : 0) + n % VW_GEMM_PANEL * 4;
}

static void pack_int4_row(const vw_gemm_operand *w, int64_t n)
{
    const vw_gemm_source *s = &w->source;
    const int64_t group = vw_gemm_group(s), i = n % VW_GEMM_PANEL;
    const int scale_bytes = vw_gemm_scale_bytes(s);
    const uint8_t *in = (const uint8_t *)s->data + n * (s->row_stride / 2);
    for (int64_t b = 0; b < s->k / VW_GEMM_BLOCK; b++, in += 16) {
        uint8_t nibbles[16] = {0};
        for (int v = 0; v < VW_GEMM_BLOCK; v++)
            nibbles[packed_nibble(v) / 2] |= (uint8_t)((in[v / 2] >> (v % 2 * 4) & 15)
                                                       << (packed_nibble(v) % 2 * 4));
        char *to = (char *)(uintptr_t)int4_words(w, n, b);
        for (int j = 0; j < INT4_WORDS; j++)
            memcpy(to + j * VW_GEMM_PANEL * 4, nibbles + 4 * j, 4);
        if (b * VW_GEMM_BLOCK % group == 0)
            memcpy(to - i * 4 - (VW_GEMM_PANEL - i) * scale_bytes,
                   (const char *)s->scales + (n / s->scale_rows * s->scale_stride +
                                              b * VW_GEMM_BLOCK / s->scale_cols) * scale_bytes,
                   (size_t)scale_bytes);
    }
}

/* Blocks of 8 values. */
static void int4_row(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t n_blocks,
                     uint8_t *out)
{
    memset(out, 0, (size_t)n_blocks * 4);
    for (int64_t k = first * 8; k < (first + n_blocks) * 8; k++) {
        int at = packed_nibble((int)(k % VW_GEMM_BLOCK));
        const char *words = int4_words(w, n, k / VW_GEMM_BLOCK);
        int code = words[at / 8 * VW_GEMM_PANEL * 4 + at / 2 % 4] >> (at % 2 * 4) & 15;
        out[k / 2 - first * 4] |= (uint8_t)(code << (k % 2 * 4));
    }
}

float vw_gemm_blocks_scale(const vw_gemm_operand *w, int64_t n, int64_t k)
{
    const vw_gemm_source *s = &w->source;
    if (s->block_kind != VW_BLOCK_INT4)
        return 1;
    int64_t block = k / vw_gemm_group(s) * vw_gemm_group(s) / VW_GEMM_BLOCK;
    return (float)vw_dtype_get(s->scale_dtype,
                               vw_gemm_blocks_panel(w, n / VW_GEMM_PANEL) +
                                   vw_gemm_blocks_at(s, block),
                               (size_t)(n % VW_GEMM_PANEL));
}

/* ---- all ---- */

void vw_gemm_pack_blocks(const vw_gemm_source *w, int64_t n, void *pack)
{
    vw_gemm_operand operand = {.source = *w, .pack = pack};
    char *panel = (char *)(uintptr_t)vw_gemm_blocks_panel(&operand, n / VW_GEMM_PANEL);
    memset(panel, 0, (size_t)vw_gemm_blocks_at(w, w->k / VW_GEMM_BLOCK));
    for (int i = 0; i < VW_GEMM_PANEL && n + i < w->n; i++)
        if (w->block_kind == VW_BLOCK_INT4)
            pack_int4_row(&operand, n + i);
        else
            pack_row(w, n + i, panel);
}

void vw_gemm_blocks_row(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t n_blocks,
                        void *out)
{
    if (w->source.block_kind == VW_BLOCK_INT4)
        int4_row(w, n, first, n_blocks, out);
    else
        block_row(w, n, first, n_blocks, out);
}

/* ---- one row ---- */

/* Several panels at once, each the beginning of a stream of its own: memory likes that, and what is
 * fetched ahead of a panel's end is the panel that comes next. */
void vw_gemm_blocks_one(const vw_gemm_job *job, const vw_gemm_operand *w, int64_t panel,
                        int64_t n_panels, float *c)
{
    const vw_gemm_block_format *format = vw_gemm_format_of(job->blocks, &w->source);
    int64_t apart = n_panels / STREAMS;
    vw_gemm_tile t = {.k = job->k / VW_GEMM_BLOCK, .x = job->workspace, .is_first = 1,
                      .panels = STREAMS, .c_panel = apart * VW_GEMM_PANEL,
                      .scale_dtype = vw_gemm_scale_dtype(&w->source),
                      .group_k = vw_gemm_group(&w->source) / VW_GEMM_BLOCK};
    for (int64_t p = 0; p < apart; p++) {
        for (int i = 0; i < STREAMS; i++)
            t.w[i] = vw_gemm_blocks_panel(w, panel + p + i * apart);
        t.c = c + p * VW_GEMM_PANEL;
        format->one(&t);
    }
    t.panels = 1;
    for (int64_t p = apart * STREAMS; p < n_panels; p++) {
        t.w[0] = vw_gemm_blocks_panel(w, panel + p);
        t.c = c + p * VW_GEMM_PANEL;
        format->one(&t);
    }
}
