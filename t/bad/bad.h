/* bad.h - a verifier in which everything is right, for plugins that break one thing of it.
 *
 * Each file in this folder is a plugin that the loader must refuse with a sentence of its own, or
 * one that it must handle in a special way.  t/loader.c holds the sentences.
 */
#ifndef VW_T_BAD_H
#define VW_T_BAD_H

#include <vishwamai/balance.h>
#include <vishwamai/verifier.h>

static inline int32_t good_probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "for tests");
    return 10;
}

static inline vw_status good_open(const vw_host *host, const void *config, void **self,
                                  vw_error *err)
{
    (void)config, (void)err;
    *self = (void *)host;
    return VW_OK;
}

static inline void good_close(void *self)
{
    (void)self;
}

static inline vw_status good_check(void *self, const char *problem, const char *answer,
                                   const char *expected, vw_verdict *verdict, char *reason,
                                   size_t reason_bytes, vw_error *err)
{
    (void)self, (void)problem, (void)answer, (void)expected, (void)err;
    *verdict = VW_VERDICT_UNKNOWN;
    snprintf(reason, reason_bytes, "never");
    return VW_OK;
}

static inline vw_plugin good_plugin(vw_kind kind, const char *name, uint32_t ops_minor,
                                    const void *ops)
{
    vw_plugin p;

    memset(&p, 0, sizeof p);
    p.abi_major = VW_ABI_MAJOR;
    p.abi_minor = VW_ABI_MINOR;
    p.size = sizeof p;
    p.kind = kind;
    p.ops_minor = ops_minor;
    p.name = name;
    p.summary = "a plugin for the loader's tests";
    p.version = "1";
    p.license = "Apache-2.0";
    p.author = "the VishwamAI developers";
    p.url = "https://github.com/VishwamAI";
    p.rank = VW_RANK_NORMAL;
    p.probe = good_probe;
    p.open = good_open;
    p.close = good_close;
    p.ops = ops;
    return p;
}

static inline vw_plugin good_verifier(const char *name)
{
    static const vw_verifier_ops ops = {sizeof ops, good_check};

    return good_plugin(VW_KIND_VERIFIER, name, VW_VERIFIER_OPS_MINOR, &ops);
}

static inline vw_status good_place(void *self, const vw_balance_problem *problem,
                                   const vw_balance_placement *placement, vw_error *err)
{
    (void)self, (void)problem, (void)placement;
    return vw_fail(err, VW_E_UNSUPPORTED, "for tests");
}

static inline vw_plugin good_balance(const char *name)
{
    static const vw_balance_ops ops = {.size = sizeof ops, .place = good_place};
    vw_plugin p = good_plugin(VW_KIND_BALANCE, name, VW_BALANCE_OPS_MINOR, &ops);

    p.ops_major = VW_BALANCE_OPS_MAJOR;
    return p;
}

#endif
