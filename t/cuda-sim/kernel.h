/* kernel.h - makes the kernels of one .cu known to the simulated driver, under their names.
 *
 *     #include "t/cuda-sim/device.h"
 *     #include "kernels/cuda/pointwise.cu"
 *     SIM_KERNEL(vw_rms_norm)
 */
#ifndef CUDA_SIM_KERNEL_H
#define CUDA_SIM_KERNEL_H

#include <string.h>

#include "t/cuda-sim/run.h"

template <class Args> static void sim_call(void (*kernel)(Args), const void *bytes)
{
    Args args;
    memcpy(&args, bytes, sizeof args);
    kernel(args);
}

template <class Args> static constexpr size_t sim_args_bytes(void (*)(Args))
{
    return sizeof(Args);
}

#define SIM_KERNEL(function)                                                                       \
    static sim_kernel sim_kernel_of_##function = {                                                 \
        #function, sim_args_bytes(function),                                                       \
        [](const void *args) { sim_call(function, args); }, nullptr};                              \
    __attribute__((constructor)) static void sim_register_##function()                             \
    {                                                                                              \
        sim_register(&sim_kernel_of_##function);                                                   \
    }

#endif
