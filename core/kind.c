/* kind.c - the list of kinds. */
#include "core/kind.h"
#include "core/stubs.h"

#include <vishwamai/attention.h>
#include <vishwamai/balance.h>
#include <vishwamai/comm.h>
#include <vishwamai/device.h>
#include <vishwamai/gemm.h>
#include <vishwamai/model.h>
#include <vishwamai/optimizer.h>
#include <vishwamai/pipeline.h>
#include <vishwamai/reasoning.h>
#include <vishwamai/tokenizer.h>
#include <vishwamai/verifier.h>
#include <vishwamai/weights.h>

#define KIND(UPPER, lower, help)                                                                 \
    [VW_KIND_##UPPER] = {#lower, help, VW_##UPPER##_OPS_MAJOR, VW_##UPPER##_OPS_MINOR,           \
                         sizeof(vw_##lower##_ops), vw_##lower##_operations, &vw_##lower##_stubs}

static const vw_kind_info kinds[VW_KIND_COUNT] = {
    KIND(DEVICE, device, "memory, streams and the pointwise operations of a processor"),
    KIND(GEMM, gemm, "products of activations with stored weights"),
    KIND(ATTENTION, attention, "attention over a paged cache of keys and values"),
    KIND(COMM, comm, "moving data between ranks"),
    KIND(BALANCE, balance, "placing the experts of a mixture on devices"),
    KIND(PIPELINE, pipeline, "the order of micro-batches in a pipeline of stages"),
    KIND(TOKENIZER, tokenizer, "text to token ids and back"),
    KIND(WEIGHTS, weights, "reading and writing files of named tensors"),
    KIND(OPTIMIZER, optimizer, "the update rule of training"),
    KIND(MODEL, model, "a family of language models"),
    KIND(REASONING, reasoning, "ways from a problem to an answer with a model"),
    KIND(VERIFIER, verifier, "judging answers"),
};

static int is_kind(vw_kind kind)
{
    return kind > VW_KIND_NONE && kind < VW_KIND_COUNT;
}

const vw_kind_info *vw_kind_get(vw_kind kind)
{
    return &kinds[kind];
}

const char *vw_kind_name(vw_kind kind)
{
    return is_kind(kind) ? kinds[kind].name : NULL;
}

const char *vw_kind_help(vw_kind kind)
{
    return is_kind(kind) ? kinds[kind].help : NULL;
}

vw_kind vw_kind_from_name(const char *name)
{
    for (int kind = VW_KIND_NONE + 1; kind < VW_KIND_COUNT; kind++)
        if (strcmp(kinds[kind].name, name) == 0)
            return (vw_kind)kind;
    return VW_KIND_NONE;
}
