/* dtype.h - the number formats, and how one value of each becomes a float and back.
 *
 * A leaf: it includes nothing of ours, so that the kernels, which know nothing above them, may use
 * it too.  The conversions are the plain definition; kernels have wide versions that are tested
 * against these.  Formats: formats.md of the specification, IEEE 754, OCP 8-bit floating point.
 */
#ifndef VISHWAMAI_DTYPE_H
#define VISHWAMAI_DTYPE_H

#include <math.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vw_dtype {
    VW_DTYPE_NONE = 0,
    VW_F64,
    VW_F32,
    VW_BF16,  /* upper half of an f32 */
    VW_F16,   /* IEEE binary16 */
    VW_E4M3,  /* e4m3fn: bias 7, largest 448, no infinities, NaN 0x7F and 0xFF */
    VW_E5M2,  /* IEEE-like, bias 15, infinities and NaN */
    VW_E8M0,  /* unsigned exponent, a scale: 2^(e-127), 255 is NaN */
    VW_E2M1,  /* fp4, two a byte, low nibble first */
    VW_I4,    /* signed, two a byte, low nibble first */
    VW_I8,
    VW_U8,
    VW_I16,
    VW_U16,
    VW_I32,
    VW_U32,
    VW_I64,
    VW_U64,
    VW_BOOL,
    VW_BLOCK, /* elements in a named block format (vw_block_format): GGUF's and the like */
    VW_DTYPE_COUNT
} vw_dtype;

/* Bits of one element; 0 for NONE and BLOCK, whose elements have no size of their own. */
static inline unsigned vw_dtype_bits(vw_dtype t)
{
    switch (t) {
    case VW_F64: case VW_I64: case VW_U64: return 64;
    case VW_F32: case VW_I32: case VW_U32: return 32;
    case VW_BF16: case VW_F16: case VW_I16: case VW_U16: return 16;
    case VW_E4M3: case VW_E5M2: case VW_E8M0: case VW_I8: case VW_U8: case VW_BOOL: return 8;
    case VW_E2M1: case VW_I4: return 4;
    default: return 0;
    }
}

/* The name users read and write: "f32", "bf16" ... */
static inline const char *vw_dtype_name(vw_dtype t)
{
    static const char *const names[VW_DTYPE_COUNT] = {
        "none", "f64", "f32", "bf16", "f16", "e4m3", "e5m2", "e8m0", "e2m1", "int4", "int8",
        "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool", "block",
    };
    return (unsigned)t < VW_DTYPE_COUNT ? names[t] : "unknown";
}

static inline uint32_t vw_f32_bits(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
static inline float vw_bits_f32(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }

static inline float vw_bf16_to_f32(uint16_t h) { return vw_bits_f32((uint32_t)h << 16); }

/* Round to nearest even; a NaN stays a NaN. */
static inline uint16_t vw_f32_to_bf16(float x)
{
    uint32_t u = vw_f32_bits(x);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

static inline float vw_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023;
    if (exp == 31)
        return vw_bits_f32(sign | 0x7F800000 | man << 13);
    if (exp == 0) {
        float x = (float)man * 0x1p-24f;
        return sign ? -x : x;
    }
    return vw_bits_f32(sign | (exp + 112) << 23 | man << 13);
}

/* Round to nearest even, overflow to infinity, subnormals kept. */
static inline uint16_t vw_f32_to_f16(float x)
{
    uint32_t u = vw_f32_bits(x), sign = (u >> 16) & 0x8000, a = u & 0x7FFFFFFF;
    if (a > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | ((a >> 13) & 1023));
    if (a >= 0x477FF000)
        return (uint16_t)(sign | 0x7C00);
    if (a < 0x38800000) {
        float m = vw_bits_f32(a) * 0x1p24f;
        return (uint16_t)(sign | (uint32_t)nearbyintf(m));
    }
    a -= 0x38000000;
    return (uint16_t)(sign | (a + 0xFFF + ((a >> 13) & 1)) >> 13);
}

static inline float vw_e4m3_to_f32(uint8_t c)
{
    unsigned exp = (c >> 3) & 15, man = c & 7;
    float x;
    if ((c & 0x7F) == 0x7F)
        return vw_bits_f32(0x7FC00000);
    x = exp ? vw_bits_f32((exp + 120) << 23 | man << 20) : (float)man * 0x1p-9f;
    return c & 0x80 ? -x : x;
}

/* Round to nearest even, saturating at 448 (infinities too); NaN gives 0x7F. */
static inline uint8_t vw_f32_to_e4m3(float x)
{
    uint32_t u = vw_f32_bits(x), a = u & 0x7FFFFFFF;
    uint8_t sign = (uint8_t)((u >> 24) & 0x80);
    if (a > 0x7F800000)
        return 0x7F;
    if (a >= 0x43E00000)
        return (uint8_t)(sign | 0x7E);
    if (a < 0x3C800000)
        return (uint8_t)(sign | (uint8_t)nearbyintf(vw_bits_f32(a) * 0x1p9f));
    a -= 0x3C000000;
    return (uint8_t)(sign | (a + 0x7FFFF + ((a >> 20) & 1)) >> 20);
}

static inline float vw_e5m2_to_f32(uint8_t c) { return vw_f16_to_f32((uint16_t)(c << 8)); }

/* Round to nearest even, overflow to infinity as IEEE. */
static inline uint8_t vw_f32_to_e5m2(float x)
{
    uint32_t u = vw_f32_bits(x), a = u & 0x7FFFFFFF;
    uint8_t sign = (uint8_t)((u >> 24) & 0x80);
    if (a > 0x7F800000)
        return (uint8_t)(sign | 0x7F);
    if (a >= 0x47700000)
        return (uint8_t)(sign | 0x7C);
    if (a < 0x38800000)
        return (uint8_t)(sign | (uint8_t)nearbyintf(vw_bits_f32(a) * 0x1p16f));
    a -= 0x38000000;
    return (uint8_t)(sign | (a + 0xFFFFF + ((a >> 21) & 1)) >> 21);
}

static inline float vw_e8m0_to_f32(uint8_t c)
{
    if (c == 255)
        return vw_bits_f32(0x7FC00000);
    return c ? vw_bits_f32((uint32_t)c << 23) : 0x1p-127f;
}

static inline float vw_e2m1_to_f32(uint8_t nibble)
{
    static const float value[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    return nibble & 8 ? -value[nibble & 7] : value[nibble & 7];
}

/* Element i of an array of a plain dtype, as a double; NaN for what has no value. */
static inline double vw_dtype_get(vw_dtype t, const void *data, size_t i)
{
    const uint8_t *p = (const uint8_t *)data;
    uint16_t h;
    switch (t) {
    case VW_F64: { double x; memcpy(&x, p + 8 * i, 8); return x; }
    case VW_F32: { float x; memcpy(&x, p + 4 * i, 4); return x; }
    case VW_BF16: memcpy(&h, p + 2 * i, 2); return vw_bf16_to_f32(h);
    case VW_F16: memcpy(&h, p + 2 * i, 2); return vw_f16_to_f32(h);
    case VW_E4M3: return vw_e4m3_to_f32(p[i]);
    case VW_E5M2: return vw_e5m2_to_f32(p[i]);
    case VW_E8M0: return vw_e8m0_to_f32(p[i]);
    case VW_E2M1: return vw_e2m1_to_f32((uint8_t)(p[i / 2] >> (i % 2 * 4) & 15));
    case VW_I4: return (double)((int)((p[i / 2] >> (i % 2 * 4) & 15) ^ 8) - 8);
    case VW_I8: return (double)((const int8_t *)data)[i];
    case VW_U8: case VW_BOOL: return p[i];
    case VW_I16: { int16_t x; memcpy(&x, p + 2 * i, 2); return x; }
    case VW_U16: memcpy(&h, p + 2 * i, 2); return h;
    case VW_I32: { int32_t x; memcpy(&x, p + 4 * i, 4); return x; }
    case VW_U32: { uint32_t x; memcpy(&x, p + 4 * i, 4); return x; }
    case VW_I64: { int64_t x; memcpy(&x, p + 8 * i, 8); return (double)x; }
    case VW_U64: { uint64_t x; memcpy(&x, p + 8 * i, 8); return (double)x; }
    default: return (double)vw_bits_f32(0x7FC00000);
    }
}

/* The block format "int4": eight codes in four bytes, low nibble first, each 8 more than its value,
 * whose scales lie beside (compressed-tensors' "pack-quantized", four bits). */
static inline void vw_int4_values(const void *blocks, int64_t n_blocks, float *out)
{
    const uint8_t *p = (const uint8_t *)blocks;
    for (int64_t i = 0; i < 4 * n_blocks; i++) {
        out[2 * i] = (float)((p[i] & 15) - 8);
        out[2 * i + 1] = (float)((p[i] >> 4) - 8);
    }
}

#ifdef __cplusplus
}
#endif
#endif
