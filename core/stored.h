/* stored.h - how a parameter of the model lies in a checkpoint: under which names, in which form.
 *
 *     NAME                                     f32, bf16, f16, f64; a block format of a GGUF file
 *     NAME + NAME_scale_inv                    e4m3, e5m2, int8 in blocks, of 128 x 128 unless
 *                                              quantization_config says (DeepSeek-V3)
 *     NAME + NAME_scale                        e4m3, e5m2, int8 with one scale, or one a row, or one
 *                                              for a group of a row (compressed-tensors)
 *     NAME_packed + NAME_scale + NAME_shape    four bits, eight in an int32 (compressed-tensors,
 *                                              "pack-quantized")
 *
 * A parameter may be a slice of a tensor of three dimensions, as the experts of a GGUF file are.
 *
 * Who asks gets a matrix that a gemm runs as it lies; scales may be in another shard.
 */
#ifndef VW_CORE_STORED_H
#define VW_CORE_STORED_H

#include "core/engine.h"

typedef struct vw_stored {
    vw_weights_tensor tensor; /* what holds the values or the codes */
    vw_matrix matrix;         /* zeros for a vector */
    vw_weights_tensor parts[3]; /* all that belongs to it: that tensor, its scales, its shape */
    int n_parts;
    bool is_absent;           /* optional, and the file lacks it: nothing else is set */
} vw_stored;

/* Find a parameter and check shape, dtype and scales against what config.json makes of it; the error
 * names file, tensor and what is expected. */
vw_status vw_stored_find(vw_engine *e, const vw_param_spec *spec, vw_stored *out, vw_error *err);

/* Does a name without the model's prefix belong to the parameter `base`?  By what is left of the
 * name behind it: "" or one of the endings above. */
bool vw_stored_is_ending(const char *rest);

/* One for "[3, 4]" in messages. */
void vw_stored_shape(const vw_weights_tensor *t, char *text, size_t room);

#endif
