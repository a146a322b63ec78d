/* tokenizer.c - any bytes as a tokenizer.model; what loads is used, with the same bytes as text.
 *
 * The library behind the plugin is not instrumented: what must be found here is a model that our
 * own walk lets through and that the library then dies of.
 */
#include "t/fuzz/tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const vw_plugin *vw_plugin_tokenizer_sentencepiece(void);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_tokenizer(vw_plugin_tokenizer_sentencepiece(), "tokenizer.model", "<start_of_turn> a\xFF", data,
                          size);
}
