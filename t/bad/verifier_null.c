/* verifier_null.c - it describes nothing. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, null)
{
    return NULL;
}
