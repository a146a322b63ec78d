/* balance_high.c - preferred, but its probe says no. */
#include "bad.h"

static int32_t refuse(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about, (void)why, (void)why_bytes;
    return 0;
}

VW_PLUGIN_DEFINE(balance, high)
{
    static vw_plugin p;

    p = good_balance("high");
    p.rank = VW_RANK_PREFERRED;
    p.probe = refuse;
    return &p;
}
