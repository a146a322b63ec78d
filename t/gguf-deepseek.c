/* gguf-deepseek.c - DeepSeek models in GGUF files: experts that stay in the file, and keys that are wrong.
 *
 * What the files compute is held against transformers in gguf.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

enum { N_TOKENS = 12 };

static const int32_t tokens[N_TOKENS] = {0, 21, 92, 2, 44, 69, 30, 20, 2, 72, 27, 93};

static const char *model_file(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s.gguf", source_file("t/data/gguf"), name);
    return path;
}

/* ---- experts that stay in the file ----------------------------------------------------------- */

static float *logits_with(const char *settings, size_t chunk, size_t *n)
{
    with_engine w;
    float *x = NULL;
    if (engine_open(&w, model_file("deepseek-split"), settings)) {
        x = all_logits(&w, tokens, N_TOKENS, chunk);
        *n = N_TOKENS * (size_t)w.info.vocab_size;
    } else {
        ok(false, "%s: %s", settings, w.err.text);
    }
    engine_close(&w);
    return x;
}

static void test_streaming(void)
{
    with_engine w;
    for (size_t chunk = 0; chunk < 2; chunk++) { /* at once, and one by one */
        size_t n = 0, n_streamed = 0;
        float *resident = logits_with("gemm.plugin=cpu", chunk, &n);
        float *streamed = logits_with("gemm.plugin=cpu model.expert_memory=160K", chunk, &n_streamed);
        ok(resident && streamed && n == n_streamed && !memcmp(resident, streamed, n * sizeof *streamed),
           "slices of a tensor come from the file: the same bits, fed %s", chunk ? "one by one" : "at once");
        free(resident);
        free(streamed);
    }
    ok(!engine_open(&w, model_file("deepseek-split"),
                    "gemm.plugin=cpu gemm.cpu.activations=int8 model.expert_memory=160K"),
       "not where they would be packed");
    like(w.err.text, "tensor \"blk.1.ffn_gate_exps.weight\": [model] expert_memory runs experts as they "
         "lie in the file, and gemm/cpu would pack them", "its sentence");
    engine_close(&w);
}

/* ---- keys that are wrong --------------------------------------------------------------------- */

/* GGUF's types of values; another name; the slices of a tensor. */
enum { UINT = 4, REAL = 6, TEXT = 8, RENAME, SLICES };

/* A key of deepseek-split changed, or its name, or the shape of a tensor. */
static const struct {
    const char *key;
    int type;
    double number;
    const char *text, *message;
} edits[] = {
    {"general.architecture", TEXT, 0, "deepseek3", "no model"},
    {"deepseek2.block_count", UINT, 0, NULL, "\"deepseek2.block_count\" is 0"},
    {"deepseek2.block_count", UINT, 2, NULL, "is no part of this model"},
    {"deepseek2.block_count", UINT, 4, NULL, "no tensor \"blk.3."},
    {"deepseek2.block_count", UINT, 4e9, NULL, "\"deepseek2.block_count\" is 4000000000"},
    {"deepseek2.block_count", RENAME, 0, "x", "\"deepseek2.block_count\" is missing"},
    {"deepseek2.embedding_length", UINT, 255, NULL, "token_embd.weight\" has shape [97, 256]"},
    {"deepseek2.feed_forward_length", UINT, 97, NULL, "has shape [96, 256]"},
    {"deepseek2.attention.head_count", UINT, 4, NULL,
     "has shape [256, 60]; the file's keys make it [256, 80]"},
    {"deepseek2.attention.head_count", UINT, 0, NULL, "attention.head_count\" is 0"},
    {"deepseek2.attention.head_count_kv", UINT, 2, NULL, "expected 1 latent, or a key for each of 3 heads"},
    {"deepseek2.attention.q_lora_rank", UINT, 31, NULL, "has shape [120, 32]; the file's keys make it [120, 31]"},
    {"deepseek2.attention.kv_lora_rank", UINT, 63, NULL, "attention.key_length 72 and value_length 64; a "
     "latent of kv_lora_rank 63 and 8 rotated values makes them 71 and 63"},
    {"deepseek2.attention.key_length", UINT, 71, NULL, "makes them 72 and 64"},
    {"deepseek2.attention.key_length_mla", UINT, 8, NULL, "heads of 8 values with 8 that are rotated"},
    {"deepseek2.attention.key_length_mla", UINT, 41, NULL, "make it [123, 32]"},
    {"deepseek2.attention.value_length_mla", UINT, 21, NULL, "has shape [256, 60]"},
    {"deepseek2.rope.dimension_count", UINT, 7, NULL, "7 that are rotated (rope.dimension_count)"},
    {"deepseek2.expert_count", UINT, 12, NULL, "has shape [8, 256]"},
    {"deepseek2.expert_count", UINT, 1e6, NULL, "\"deepseek2.expert_count\" is 1000000"},
    {"deepseek2.expert_used_count", UINT, 9, NULL, "expert_used_count is 9, but expert_count is 8"},
    {"deepseek2.expert_used_count", UINT, 0, NULL, "none of these may be 0"},
    {"deepseek2.expert_used_count", UINT, 5, NULL, "2 groups of 2 experts cannot give 5 experts a token"},
    {"deepseek2.expert_feed_forward_length", UINT, 33, NULL, "make it [33, 256]"},
    {"deepseek2.expert_shared_count", UINT, 2, NULL, "make it [64, 256]"},
    {"deepseek2.expert_group_count", UINT, 3, NULL, "expert_group_count must divide the experts"},
    {"deepseek2.expert_group_used_count", UINT, 5, NULL, "and expert_group_used_count be no more"},
    {"deepseek2.expert_gating_func", UINT, 3, NULL, "expert_gating_func is 3; known are 1, a softmax"},
    {"deepseek2.expert_weights_scale", REAL, HUGE_VAL, NULL, "\"deepseek2.expert_weights_scale\" is no finite number"},
    {"deepseek2.leading_dense_block_count", UINT, 2, NULL, "tensor \"blk.1.exp_probs_b.bias\" is no part of this model"},
    {"deepseek2.attention.layer_norm_rms_epsilon", REAL, 0, NULL,
     "attention.layer_norm_rms_epsilon is 0; expected a small positive number"},
    {"blk.1.ffn_gate_exps.weight", SLICES, 4, NULL,
     "has shape [4, 32, 256]; the file's keys make it [8, 32, 256]"},
    {"deepseek2.rope.freq_base", REAL, 0.5, NULL, "rope.freq_base is 0.5; it must be above 1"},
    {"deepseek2.rope.scaling.type", TEXT, 0, "pear", "is \"pear\" with factor 8"},
    {"deepseek2.rope.scaling.factor", REAL, -2, NULL, "the factor of yarn is -2; it must be above 0"},
    {"deepseek2.rope.scaling.factor", REAL, 1e13, NULL, "the factor of yarn is 1e+13; it must be above 0 and no more"},
    {"deepseek2.rope.scaling.yarn_beta_fast", REAL, 0, NULL, "the beta_fast of yarn is 0"},
    {"deepseek2.rope.scaling.yarn_log_multiplier", REAL, -1, NULL, "mscale_all_dim -10"},
    {"deepseek2.rope.scaling.yarn_log_multiplier", RENAME, 0, "x",
     "rope.scaling.yarn_log_multiplier is missing"},
    {"deepseek2.rope.scaling.yarn_beta_slow", RENAME, 0, "deepseek2.attention.temperature_scale",
     "attention.temperature_scale is 2; DeepSeek's attention has one scale"},
};

static uint64_t number_at(const char *at, size_t bytes)
{
    uint64_t x = 0;
    memcpy(&x, at, bytes);
    return x;
}

/* Where a key's name is, after its length. */
static char *key_in(char *bytes, size_t n, const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 8; i + length + 12 < n; i++)
        if (number_at(bytes + i - 8, 8) == length && !memcmp(bytes + i, key, length))
            return bytes + i;
    bail_out("there is no key %s", key);
    return NULL;
}

static void change(char *bytes, size_t n, size_t i)
{
    char *at = key_in(bytes, n, edits[i].key), *value = at + strlen(edits[i].key) + 4;
    uint32_t whole = (uint32_t)edits[i].number;
    float real = (float)edits[i].number;
    if (edits[i].type == RENAME) { /* as long as before: x, or the beginning of another name */
        size_t length = strlen(edits[i].key), given = strlen(edits[i].text);
        memset(at, 'x', length);
        memcpy(at, edits[i].text, given < length ? given : length);
        return;
    }
    if (edits[i].type == SLICES) {
        memcpy(value + 16, &whole, 4);
        return;
    }
    if ((int)number_at(value - 4, 4) != edits[i].type)
        bail_out("%s is of another type", edits[i].key);
    if (edits[i].type == TEXT)
        memcpy(value + 8, edits[i].text, (size_t)number_at(value, 8));
    else if (edits[i].type == UINT)
        memcpy(value, &whole, 4);
    else
        memcpy(value, &real, 4);
}

static void test_keys(void)
{
    with_engine w;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        size_t n;
        char *bytes = folder_slurp(model_file("deepseek-split"), &n);
        change(bytes, n, i);
        const char *path = folder_write("changed.gguf", bytes, n);
        bool is_open = engine_open(&w, path, "");
        ok(!is_open && strstr(w.err.text, edits[i].message), "%s, %g %s: %s", edits[i].key,
           edits[i].number, edits[i].text ? edits[i].text : "", is_open ? "opens" : w.err.text);
        engine_close(&w);
        free(bytes);
    }
    ok(!engine_open(&w, model_file("deepseek-split"), "model.deepseek.mtp=on"), "no drafts from here");
    like(w.err.text, "the layer that drafts is read from published folders alone", "its sentence");
    engine_close(&w);
    ok(!engine_open(&w, model_file("deepseek-split"), "model.deepseek.attention=naive"), "nor naive");
    like(w.err.text, "needs keys and values of a head in one matrix (attn_kv_b)", "its sentence");
    engine_close(&w);
}

int main(void)
{
    folder_make();
    test_streaming();
    test_keys();
    return done_testing();
}
