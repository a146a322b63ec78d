/* verifier_undefined_symbol.c - it calls a function that nobody has. */
#include "bad.h"

void vw_nobody_defines_this(void);

VW_PLUGIN_DEFINE(verifier, undefined_symbol)
{
    static vw_plugin p;

    p = good_verifier("undefined_symbol");
    vw_nobody_defines_this();
    return &p;
}
