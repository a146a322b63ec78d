/* bpe_pre.c - the named ways of splitting a text. */
#include "plugins/tokenizer/bpe_pre.h"

#include <string.h>

#define LLAMA3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" \
              "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+" \
                  "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" \
                  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char bpe_pre_gpt2[] = GPT2;

static const bpe_pre known[] = {
    {"default", {GPT2}, 0},
    {"gpt-2", {GPT2}, 0},
    {"llama-bpe", {LLAMA3}, 1},
    {"llama3", {LLAMA3}, 1},
    {"qwen2", {QWEN2}, 0},
    {"deepseek-v3", {"\\p{N}{1,3}", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
                     DEEPSEEK3}, 0},
};
enum { N_KNOWN = sizeof known / sizeof *known };

const bpe_pre *bpe_pre_by_name(const char *name, size_t bytes)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strlen(known[i].name) == bytes && !memcmp(known[i].name, name, bytes))
            return &known[i];
    return NULL;
}

static int is_same(const char *pattern, const char *given)
{
    for (; *given; given++) {
        int is_end = *given == '\r' || *given == '\n';
        if (is_end && (*pattern++ != '\\' || *pattern++ != (*given == '\r' ? 'r' : 'n')))
            return 0;
        if (!is_end && *pattern++ != *given)
            return 0;
    }
    return !*pattern;
}

/* "default", the first, is a name for files that have none. */
const bpe_pre *bpe_pre_by_patterns(const char *const *patterns, int n, int whole_first)
{
    for (size_t i = 1; i < N_KNOWN; i++) {
        int same = 0;
        while (same < n && same < BPE_PRE_PATTERNS && known[i].patterns[same] &&
               is_same(known[i].patterns[same], patterns[same]))
            same++;
        int is_all = same == n && (n == BPE_PRE_PATTERNS || !known[i].patterns[n]);
        if (is_all && known[i].whole_first == whole_first)
            return &known[i];
    }
    return NULL;
}
