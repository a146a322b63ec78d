/* balance_never.c - used only when asked for by name. */
#include "bad.h"

VW_PLUGIN_DEFINE(balance, never)
{
    static vw_plugin p;

    p = good_balance("never");
    p.rank = VW_RANK_NEVER;
    return &p;
}
