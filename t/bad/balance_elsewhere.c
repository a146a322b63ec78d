/* balance_elsewhere.c - it runs on a device that is not the one in use. */
#include "bad.h"

static const char *const devices[] = {"moon", NULL};

VW_PLUGIN_DEFINE(balance, elsewhere)
{
    static vw_plugin p;

    p = good_balance("elsewhere");
    p.rank = VW_RANK_PREFERRED;
    p.devices = devices;
    return &p;
}
