/* sentencepiece_train.c - a tokenizer.model learnt from texts by the library, written whole or not
 * at all.
 */
#include "plugins/tokenizer/sentencepiece.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { DEFAULT_VOCABULARY = 8192 };

static vw_status write_model(const char *folder, const char *model, size_t bytes, vw_error *err)
{
    char path[4096], temporary[4128];
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer.model", folder) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    FILE *to = fopen(temporary, "wb");
    if (!to)
        return vw_fail(err, VW_E_IO, "cannot write %s: %s", temporary, strerror(errno));
    int failed = fwrite(model, 1, bytes, to) != bytes || fflush(to) != 0 || fsync(fileno(to)) != 0;
    int reason = errno;
    failed = fclose(to) != 0 || failed;
    if (!failed && rename(temporary, path) == 0)
        return VW_OK;
    reason = failed ? reason : errno;
    unlink(temporary);
    return vw_fail(err, VW_E_IO, "cannot write %s: %s", path, strerror(reason));
}

vw_status sp_train(void *self, const vw_tokenizer_training *x, vw_error *err)
{
    const sp_plugin *sp = self;
    char why[400] = "", *model;
    size_t bytes = 0, total = 0;
    for (size_t i = 0; i < x->n_texts; i++)
        total += x->bytes[i];
    if (total == 0)
        return vw_fail(err, VW_E_FORMAT, "there is no text to learn a vocabulary from");
    sp_shim_training wish = {x->texts,
                             x->bytes,
                             x->n_texts,
                             x->vocab_size ? x->vocab_size : DEFAULT_VOCABULARY,
                             sp->host->n_threads(sp->host->core),
                             sp->config->algorithm};
    int failed = sp_shim_train(&wish, &model, &bytes, why, sizeof why);
    if (failed)
        return vw_fail(err, failed == 2 ? VW_E_NOMEM : VW_E_CONFIG,
                       "a vocabulary of %d cannot be learnt "
                       "from these texts: %s",
                       wish.vocab_size, failed == 2 ? "no memory" : why);
    vw_status status = write_model(x->folder, model, bytes, err);
    sp_shim_free(model);
    return status;
}
