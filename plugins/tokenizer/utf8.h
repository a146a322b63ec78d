/* utf8.h - one character of UTF-8 at a time, for the tokenizers.
 */
#ifndef VW_TOKENIZER_UTF8_H
#define VW_TOKENIZER_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the UTF-8 character at p, or 0: none (the well-formed sequences of the Unicode standard,
 * table 3-7). */
static inline size_t utf8_length(const char *text, size_t room)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 :
               p[0] < 0xF5 ? 4 : 0;
    if (n == 0 || n > room)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

/* The character at p, which is whole; *n bytes. */
static inline uint32_t utf8_get(const char *text, size_t *n)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80)
        return *n = 1, p[0];
    if (p[0] < 0xE0)
        return *n = 2, (p[0] & 31u) << 6 | (p[1] & 63u);
    if (p[0] < 0xF0)
        return *n = 3, (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    return *n = 4, (p[0] & 7u) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u);
}

/* Write a character below U+0800; returns its bytes. */
static inline size_t utf8_put(uint32_t c, char *to)
{
    if (c < 0x80)
        return to[0] = (char)c, 1;
    to[0] = (char)(0xC0 | c >> 6);
    to[1] = (char)(0x80 | (c & 63));
    return 2;
}

/* Bytes of the white space at p, which is one whole character at least, or 0.  Unicode's property
 * White_Space. */
static inline size_t utf8_space(const char *text)
{
    size_t n;
    uint32_t c = utf8_get(text, &n);
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000 ? n : 0;
}

#endif
