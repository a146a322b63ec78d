/* status.c - the library's version and the words for its status codes. */
#include <vishwamai/vishwamai.h>

const char *vw_version(void)
{
    return VW_VERSION;
}

const char *vw_status_text(vw_status status)
{
    switch (status) {
    case VW_OK:
        return "success";
    case VW_E_INVALID:
        return "invalid argument";
    case VW_E_NOMEM:
        return "out of memory";
    case VW_E_IO:
        return "input or output failed";
    case VW_E_FORMAT:
        return "malformed file";
    case VW_E_NOTFOUND:
        return "not found";
    case VW_E_UNSUPPORTED:
        return "not supported";
    case VW_E_CONFIG:
        return "wrong settings";
    case VW_E_ABI:
        return "incompatible plugin";
    case VW_E_DEVICE:
        return "device failed";
    case VW_E_FULL:
        return "full";
    case VW_E_INTERRUPTED:
        return "interrupted";
    case VW_E_TIMEOUT:
        return "timed out";
    case VW_E_CHANGED:
        return "changed underneath";
    }
    return "unknown status";
}
