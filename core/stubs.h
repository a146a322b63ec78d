/* stubs.h - what stands in a kind's table where a plugin has nothing.
 *
 * No caller of an operation tests for NULL: an optional operation that can fail says
 * VW_E_UNSUPPORTED and who lacks what, and one that cannot fail does nothing.  A required operation
 * has no stub, so a hole that remains after filling is a broken plugin.
 */
#ifndef VW_CORE_STUBS_H
#define VW_CORE_STUBS_H

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

#define VW_STUBS(kind)                                                                           \
    extern const vw_##kind##_ops vw_##kind##_stubs;                                              \
    extern const char *const vw_##kind##_operations[];
VW_STUBS(device)
VW_STUBS(gemm)
VW_STUBS(attention)
VW_STUBS(comm)
VW_STUBS(balance)
VW_STUBS(pipeline)
VW_STUBS(tokenizer)
VW_STUBS(weights)
VW_STUBS(optimizer)
VW_STUBS(model)
VW_STUBS(reasoning)
VW_STUBS(verifier)
#undef VW_STUBS

/* Make a whole table from a plugin's: its own operations, stubs for what it lacks or does not know
 * yet.  `table` has the kind's ops_bytes.  VW_E_ABI names a required operation that is missing. */
vw_status vw_stubs_fill(vw_kind kind, const void *ops, void *table, vw_error *err);

/* A stub sees nothing of its plugin but `self`; the core says whose it is while it is open. */
void vw_stubs_opened(vw_kind kind, const void *self, const char *plugin);
void vw_stubs_closed(vw_kind kind, const void *self, const char *plugin);

#endif
