/* type.h - the stored types that matrix and attention kernels are made for, in C and CUDA.
 *
 * They also are the order in which a plugin lists its kernels by type. */
#ifndef KERNELS_CUDA_TYPE_H
#define KERNELS_CUDA_TYPE_H

enum {
    VW_TYPE_F32,
    VW_TYPE_BF16,
    VW_TYPE_F16,
    VW_TYPE_I8,
    VW_TYPE_E4M3,
    VW_TYPE_E5M2,
    VW_TYPE_COUNT,
    VW_TYPE_E8M0 = VW_TYPE_COUNT /* scales alone */
};

#endif
