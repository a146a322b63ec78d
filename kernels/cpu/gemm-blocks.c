/* gemm-blocks.c - packs of GGUF's blocks of 32, and the walk over them with one row: compiled once. */
#include "kernels/cpu/gemm-blocks.h"

enum { STREAMS = VW_GEMM_MAX_PANELS };

int vw_gemm_is_blocks(const vw_gemm_source *w)
{
    return w->dtype == VW_BLOCK && !w->is_in_out && w->k % VW_GEMM_BLOCK == 0 &&
           (w->block_kind == VW_BLOCK_Q8_0 || w->block_kind == VW_BLOCK_Q4_0);
}

size_t vw_gemm_blocks_bytes(const vw_gemm_source *w)
{
    int64_t panels = (w->n + VW_GEMM_PANEL - 1) / VW_GEMM_PANEL;
    return (size_t)(panels * VW_GEMM_PANEL * (w->k / VW_GEMM_BLOCK)) * (size_t)w->block_bytes;
}

/* A block is a scale of 2 bytes and words of 4. */
static int words_of(const vw_gemm_source *w)
{
    return (w->block_bytes - 2) / 4;
}

void vw_gemm_pack_blocks(const vw_gemm_source *w, int64_t n, void *pack)
{
    const int64_t blocks = w->k / VW_GEMM_BLOCK, bytes = w->block_bytes;
    const int words = words_of(w);
    vw_gemm_operand operand = {.source = *w, .pack = pack};
    char *out = (char *)(uintptr_t)vw_gemm_blocks_panel(&operand, n / VW_GEMM_PANEL);
    memset(out, 0, (size_t)(blocks * bytes * VW_GEMM_PANEL));
    for (int i = 0; i < VW_GEMM_PANEL && n + i < w->n; i++) {
        const char *in = (const char *)w->data +
                         (n + i) * (w->row_stride / VW_GEMM_BLOCK) * bytes;
        for (int64_t b = 0; b < blocks; b++, in += bytes) {
            char *to = out + b * bytes * VW_GEMM_PANEL;
            memcpy(to + 2 * i, in, 2);
            for (int j = 0; j < words; j++)
                memcpy(to + 32 + (j * VW_GEMM_PANEL + i) * 4, in + 2 + 4 * j, 4);
        }
    }
}

void vw_gemm_blocks_row(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t n_blocks,
                        void *out)
{
    const int64_t bytes = w->source.block_bytes, i = n % VW_GEMM_PANEL;
    const int words = words_of(&w->source);
    const char *in = vw_gemm_blocks_panel(w, n / VW_GEMM_PANEL) + first * bytes * VW_GEMM_PANEL;
    for (char *to = out; n_blocks > 0; n_blocks--, to += bytes, in += bytes * VW_GEMM_PANEL) {
        memcpy(to, in + 2 * i, 2);
        for (int j = 0; j < words; j++)
            memcpy(to + 2 + 4 * j, in + 32 + (j * VW_GEMM_PANEL + i) * 4, 4);
    }
}

/* Several panels at once, each the beginning of a stream of its own: memory likes that, and what is
 * fetched ahead of a panel's end is the panel that comes next. */
void vw_gemm_blocks_one(const vw_gemm_job *job, const vw_gemm_operand *w, int64_t panel,
                        int64_t n_panels, float *c)
{
    int64_t apart = n_panels / STREAMS;
    vw_gemm_tile t = {.k = job->k / VW_GEMM_BLOCK, .x = job->workspace, .is_first = 1,
                      .c_panel = apart * VW_GEMM_PANEL};
    for (int64_t p = 0; p < apart; p++) {
        for (int i = 0; i < STREAMS; i++)
            t.w[i] = vw_gemm_blocks_panel(w, panel + p + i * apart);
        t.c = c + p * VW_GEMM_PANEL;
        job->blocks->one[vw_gemm_is_q4(w)](&t);
    }
    for (int64_t p = apart * STREAMS; p < n_panels; p++) {
        t.w[0] = vw_gemm_blocks_panel(w, panel + p);
        t.c = c + p * VW_GEMM_PANEL;
        job->blocks->rest[vw_gemm_is_q4(w)](&t);
    }
}
