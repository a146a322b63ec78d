/* load.h - stored numbers as floats, one at a time or eight side by side.
 *
 * Stored values of any dtype reach the arithmetic through these few functions, so that a kernel is
 * written once and instantiated for each; number.h says what they are worth.  Eight elements are
 * what a lane takes at once: 32, 16 or 8 bytes, in pieces of at most 16.
 */
#ifndef KERNELS_CUDA_LOAD_H
#define KERNELS_CUDA_LOAD_H

#include "kernels/cuda/number.h"
#include "kernels/cuda/type.h"

/* One element of type T from the low bits of a word. */
template <int T> static __device__ inline float vw_value(unsigned bits);
template <> __device__ inline float vw_value<VW_TYPE_F32>(unsigned bits)
{
    return __uint_as_float(bits);
}
template <> __device__ inline float vw_value<VW_TYPE_BF16>(unsigned bits)
{
    return vw_from_bf16((uint16_t)bits);
}
template <> __device__ inline float vw_value<VW_TYPE_F16>(unsigned bits)
{
    return vw_from_f16((uint16_t)bits);
}
template <> __device__ inline float vw_value<VW_TYPE_E4M3>(unsigned bits)
{
    return vw_from_e4m3((uint8_t)bits);
}
template <> __device__ inline float vw_value<VW_TYPE_E5M2>(unsigned bits)
{
    return vw_from_e5m2((uint8_t)bits);
}
template <> __device__ inline float vw_value<VW_TYPE_I8>(unsigned bits)
{
    return (float)(int8_t)bits;
}

template <int T> struct vw_element {
    enum { BYTES = T == VW_TYPE_F32 ? 4 : T == VW_TYPE_BF16 || T == VW_TYPE_F16 ? 2 : 1 };
};

/* Element i at p. */
template <int T> static __device__ inline float vw_load(const void *p, int64_t i)
{
    const unsigned char *at = (const unsigned char *)p + i * vw_element<T>::BYTES;
    if (vw_element<T>::BYTES == 4)
        return __uint_as_float(*(const unsigned *)at);
    if (vw_element<T>::BYTES == 2)
        return vw_value<T>(*(const unsigned short *)at);
    return vw_value<T>(*at);
}

/* The bytes of eight elements, not yet converted: a loop can have several of them in flight. */
template <int T> struct vw_eight {
    unsigned word[2 * vw_element<T>::BYTES];
};

template <int WORDS>
static __device__ inline void vw_load_words(const unsigned char *at, unsigned *word)
{
#pragma unroll
    for (int i = 0; i < WORDS; i += 4) {
        uint4 u = __ldg((const uint4 *)at + i / 4);
        word[i] = u.x, word[i + 1] = u.y, word[i + 2] = u.z, word[i + 3] = u.w;
    }
}
template <> __device__ inline void vw_load_words<2>(const unsigned char *at, unsigned *word)
{
    uint2 u = __ldg((const uint2 *)at);
    word[0] = u.x, word[1] = u.y;
}

/* Elements [i, i + 8) at p, aligned to 16 bytes, or to 8 where an element has one byte. */
template <int T> static __device__ inline vw_eight<T> vw_load_eight(const void *p, int64_t i)
{
    vw_eight<T> e;
    vw_load_words<2 * vw_element<T>::BYTES>((const unsigned char *)p + i * vw_element<T>::BYTES,
                                            e.word);
    return e;
}

template <int T> static __device__ inline float vw_eight_value(const vw_eight<T> &e, int i)
{
    const int bits = 8 * vw_element<T>::BYTES;
    return vw_value<T>(e.word[i * bits / 32] >> i * bits % 32);
}

/* A scale, whose type is known only at run time. */
static __device__ inline float vw_load_scale(const void *p, int type, int64_t i)
{
    switch (type) {
    case VW_TYPE_F32: return ((const float *)p)[i];
    case VW_TYPE_BF16: return vw_from_bf16(((const uint16_t *)p)[i]);
    case VW_TYPE_F16: return vw_from_f16(((const uint16_t *)p)[i]);
    default: return vw_from_e8m0(((const uint8_t *)p)[i]);
    }
}

#endif
