/* bpe.c - any bytes as a tokenizer.json; what loads is used, with the same bytes as text.
 *
 * The vocabulary, the patterns and the steps are all the file's: what must be found here is a file
 * that is let through and then makes encoding read or write where it must not, or never end.
 */
#include "t/fuzz/tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const vw_plugin *vw_plugin_tokenizer_bpe(void);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_tokenizer(vw_plugin_tokenizer_bpe(), "tokenizer.json", "<|im_start|> a\xFF", data, size);
}
