/* sentencepiece_shim.cc - libsentencepiece as C sees it: no exception out, no log. */
#include "plugins/tokenizer/sentencepiece_shim.h"

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>

namespace sentencepiece {
namespace logging {
void SetMinLogLevel(int level); /* exported by the library, missing in its header */
}
}

struct sp_shim {
    sentencepiece::SentencePieceProcessor processor;
};

namespace {

enum { FAILED = 1, NO_MEMORY = 2, ONLY_FATAL = 3 };

int failed(const char *reason, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "%s", reason);
    return FAILED;
}

} // namespace

int sp_shim_open(const char *model, size_t bytes, sp_shim **shim, char *why, size_t why_bytes)
{
    sp_shim *s = nullptr;
    try {
        sentencepiece::logging::SetMinLogLevel(ONLY_FATAL);
        s = new sp_shim;
        const auto status = s->processor.LoadFromSerializedProto({model, bytes});
        if (status.ok()) {
            *shim = s;
            return 0;
        }
        failed(status.error_message(), why, why_bytes);
    } catch (const std::bad_alloc &) {
        delete s;
        return NO_MEMORY;
    } catch (const std::exception &e) {
        failed(e.what(), why, why_bytes);
    } catch (...) {
        failed("an unknown exception", why, why_bytes);
    }
    delete s;
    return FAILED;
}

void sp_shim_close(sp_shim *shim)
{
    delete shim;
}

int sp_shim_encode(const sp_shim *shim, const char *text, size_t bytes, int32_t *ids, size_t room,
                   size_t *n, char *why, size_t why_bytes)
{
    try {
        std::vector<int> out;
        const auto status = shim->processor.Encode({text, bytes}, &out);
        if (!status.ok())
            return failed(status.error_message(), why, why_bytes);
        *n = out.size();
        for (size_t i = 0; i < out.size() && i < room; i++)
            ids[i] = out[i];
        return 0;
    } catch (const std::bad_alloc &) {
        return NO_MEMORY;
    } catch (const std::exception &e) {
        return failed(e.what(), why, why_bytes);
    } catch (...) {
        return failed("an unknown exception", why, why_bytes);
    }
}
