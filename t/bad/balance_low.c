/* balance_low.c - a fallback that can always be used. */
#include "bad.h"

VW_PLUGIN_DEFINE(balance, low)
{
    static vw_plugin p;

    p = good_balance("low");
    p.rank = VW_RANK_FALLBACK;
    return &p;
}
