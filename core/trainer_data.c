/* trainer_data.c - from [data] to batches: the tokenizer, what it makes of the files, the two
 * halves.
 *
 * The tokenizer is the one of data.tokenizer, of the checkpoint that a run goes on from, or of the
 * model; a new model without any gets one that is learnt from the training data.  Whichever it is,
 * its files lie in OUT/tokenizer from then on, so that every checkpoint can take them along.
 */
#include "core/trainer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/checksum.h"

static vw_dataset_options data_options(const vw_config_data *d)
{
    return (vw_dataset_options){.format = (vw_data_format)d->format,
                                .by_blank_line = d->documents == 1,
                                .scores_prompts = d->prompt_loss,
                                .finds_documents = d->packing == 1};
}

/* OUT/tokenizer, made if it is not there. */
static vw_status own_folder(const vw_trainer *t, char path[VW_CHECKPOINT_PATH], vw_error *err)
{
    snprintf(path, VW_CHECKPOINT_PATH, "%.4080s/tokenizer", t->out);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return vw_fail(err, VW_E_IO, "cannot make the folder %s: %s", path, strerror(errno));
    return VW_OK;
}

static vw_status learn_tokenizer(vw_trainer *t, vw_error *err)
{
    const char *plugin = vw_settings_get(vw_core_settings(t->core), "tokenizer", "plugin");
    if (!plugin || !strcmp(plugin, "auto"))
        return vw_fail(
            err, VW_E_CONFIG,
            "a new model needs a tokenizer: set data.tokenizer to a folder "
            "that holds one, or [tokenizer] plugin = chars (or sentencepiece) to learn one from "
            "the data");
    vw_status st = own_folder(t, t->tokenizer_folder, err);
    return st ? st
              : vw_tokenizer_train(t->core, t->data.train, (int32_t)t->data.vocab_size,
                                   t->tokenizer_folder, err);
}

/* ---- opening one ----------------------------------------------------------------------------- */

static bool holds_ids(const vw_config_data *d)
{
    size_t n = strlen(d->train);
    const char *end = d->train + (n < 4 ? n : n - 4);
    if (d->format != VW_DATA_AUTO)
        return d->format == VW_DATA_U16 || d->format == VW_DATA_U32;
    return !strcmp(end, ".bin") || !strcmp(end, ".u16") || !strcmp(end, ".u32");
}

/* Of the tokenizer's files, whatever folder they lie in. */
static vw_status sum_tokenizer(vw_trainer *t, vw_error *err)
{
    const vw_tokenizer_ops *ops = t->tokenizer->ops;
    const char *const *name = ops->files(t->tokenizer->self);
    char path[VW_CHECKPOINT_PATH];
    if (!name)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "tokenizer/%s does not say which files it consists of, so a "
                       "model that uses it cannot be saved",
                       t->tokenizer->plugin->name);
    t->tokenizer_sum = 0;
    for (; *name; name++) {
        uint64_t sum, bytes;
        snprintf(path, sizeof path, "%.3800s/%s", t->tokenizer_folder, *name);
        vw_status st = vw_checksum_file(path, &sum, &bytes, err);
        if (st && st != VW_E_NOTFOUND)
            return st;
        if (!st)
            t->tokenizer_sum = t->tokenizer_sum * 31 + sum;
    }
    return VW_OK;
}

static vw_status load_tokenizer(vw_trainer *t, vw_error *err)
{
    vw_probe about = {sizeof about, t->tokenizer_folder, NULL};
    vw_status st =
        vw_core_instance_open(t->core, VW_KIND_TOKENIZER, NULL, &about, &t->tokenizer, err);
    if (st)
        return st;
    const vw_tokenizer_ops *ops = t->tokenizer->ops;
    t->encoder = (vw_encoder){
        .ops = ops, .self = t->tokenizer->self, .info = {.size = sizeof t->encoder.info}};
    if ((st = ops->load(t->tokenizer->self, t->tokenizer_folder, err)) ||
        (st = ops->info(t->tokenizer->self, &t->encoder.info, err)))
        return st;
    return sum_tokenizer(t, err);
}

static vw_status open_tokenizer(vw_trainer *t, vw_error *err)
{
    const char *from = *t->data.tokenizer ? t->data.tokenizer
                       : *t->resumed_from ? t->resumed_from
                                          : t->model_path;
    if (from)
        snprintf(t->tokenizer_folder, sizeof t->tokenizer_folder, "%s", from);
    vw_error why;
    bool needs = !holds_ids(&t->data) || *t->data.tokenizer;
    vw_status st = from || !needs ? VW_OK : learn_tokenizer(t, err);
    if (!st && *t->tokenizer_folder && (st = load_tokenizer(t, &why))) {
        if (needs) {
            if (err)
                *err = why;
            return st;
        }
        vw_core_instance_close(t->core, t->tokenizer);
        t->tokenizer = NULL;
        st = VW_OK;
    }
    if (!st && t->tokenizer) {
        char own[VW_CHECKPOINT_PATH];
        st = own_folder(t, own, err);
        if (!st && strcmp(own, t->tokenizer_folder))
            st = vw_trainer_copy_tokenizer(t, own, err);
        snprintf(t->tokenizer_folder, sizeof t->tokenizer_folder, "%s", own);
    }
    if (!t->tokenizer)
        t->encoder = (vw_encoder){
            .info = {.size = sizeof t->encoder.info, .bos = -1, .eos = -1, .pad = -1, .unk = -1}};
    return st;
}

/* What the vocabulary of a new model has to be; of an old one it is checked later. */
static vw_status choose_vocabulary(vw_trainer *t, vw_error *err)
{
    int64_t least = t->tokenizer ? t->encoder.info.vocab_size : 0, wanted = t->data.vocab_size;
    if (wanted && wanted < least)
        return vw_fail(err, VW_E_CONFIG,
                       "data.vocab_size = %lld: the tokenizer in %s has %lld tokens",
                       (long long)wanted, t->tokenizer_folder, (long long)least);
    if (!wanted && !least && !t->model_path)
        return vw_fail(err, VW_E_CONFIG,
                       "a new model that learns from a file of ids needs "
                       "data.vocab_size, or data.tokenizer");
    t->encoder.vocab_size = (int32_t)(wanted ? wanted : least);
    return VW_OK;
}

vw_status vw_trainer_open_tokenizer(vw_trainer *t, vw_error *err)
{
    if (!*t->data.train)
        return vw_fail(err, VW_E_CONFIG, "data.train is needed: the file or folder to learn from");
    vw_status st = open_tokenizer(t, err);
    return st ? st : choose_vocabulary(t, err);
}

/* ---- data ------------------------------------------------------------------------------------ */

uint64_t vw_trainer_sum_data(const vw_dataset *d)
{
    vw_checksum sum;
    int64_t stride = d->n > 1 << 24 ? d->n >> 24 : 1;
    vw_checksum_begin(&sum);
    vw_checksum_add(&sum, &d->n, sizeof d->n);
    for (int64_t i = 0; i < d->n; i += stride) {
        int32_t id = vw_dataset_id(d, i);
        vw_checksum_add(&sum, &id, sizeof id);
    }
    return vw_checksum_end(&sum);
}

static vw_status open_sets(vw_trainer *t, vw_error *err)
{
    const vw_config_data *d = &t->data;
    vw_dataset_options o = data_options(d);
    vw_status st = vw_dataset_open(&t->encoder, d->train, &o, &t->everything, err);
    if (st)
        return st;
    t->data_sum = vw_trainer_sum_data(&t->everything);
    if (*d->validation) {
        t->train_set = t->everything;
        t->train_set.memory = NULL;
        return vw_dataset_open(&t->encoder, d->validation, &o, &t->validation_set, err);
    }
    if (d->validation_split == 1)
        return vw_dataset_split_documents(&t->everything, d->validation_share,
                                          (uint64_t)t->train.seed, &t->train_set,
                                          &t->validation_set, err);
    return vw_dataset_split_last(&t->everything, d->validation_share, &t->train_set,
                                 &t->validation_set, err);
}

/* Micro-batches of up to `rows` windows. */
vw_status vw_trainer_open_data(vw_trainer *t, vw_error *err)
{
    const vw_config_data *d = &t->data;
    vw_batches_options o = {.context = d->max_length,
                            .least = d->min_length,
                            .is_packed = d->packing == 1,
                            .is_shuffled = d->shuffle && !t->is_asking,
                            .is_still = *t->distill.teacher_cache != 0,
                            .longer = (vw_long_documents)d->long_documents,
                            .seed = (uint64_t)t->train.seed};
    if (t->info.model) {
        int32_t vocab = t->info.model->vocab_size;
        if (t->encoder.info.vocab_size > vocab)
            return vw_fail(err, VW_E_FORMAT,
                           "the tokenizer in %s has %d tokens, the model's vocabulary %d; "
                           "they do not belong together",
                           t->tokenizer_folder, t->encoder.info.vocab_size, vocab);
        t->encoder.vocab_size = vocab;
    }
    vw_status st = open_sets(t, err);
    if (st || (st = vw_batches_open(&t->train_set, &o, d->train, &t->batches, err)))
        return st;
    o.is_shuffled = false;
    o.may_be_short = true;
    st = vw_batches_open(&t->validation_set, &o, *d->validation ? d->validation : d->train,
                         &t->validation, err);
    if (st)
        return vw_fail_in(err, st, "the validation data");
    if (t->batches.n_left_out)
        vw_core_log(t->core, VW_LOG_WARN,
                    "%lld documents of %s are shorter than data.min_length = %lld and "
                    "are left out",
                    (long long)t->batches.n_left_out, d->train, (long long)d->min_length);
    return vw_batch_new(t->trainee_options.max_tokens, &t->micro, err);
}

void vw_trainer_close_data(vw_trainer *t)
{
    vw_batch_free(&t->micro);
    vw_batches_close(&t->validation);
    vw_batches_close(&t->batches);
    vw_dataset_close(&t->validation_set);
    vw_dataset_close(&t->train_set);
    vw_dataset_close(&t->everything);
    vw_core_instance_close(t->core, t->tokenizer);
}

vw_status vw_trainer_copy_tokenizer(const vw_trainer *t, const char *folder, vw_error *err)
{
    if (!t->tokenizer)
        return VW_OK;
    const vw_tokenizer_ops *ops = t->tokenizer->ops;
    vw_status st = VW_OK;
    for (const char *const *name = ops->files(t->tokenizer->self); *name && !st; name++) {
        char from[VW_CHECKPOINT_PATH], to[VW_CHECKPOINT_PATH], *text;
        size_t bytes;
        snprintf(from, sizeof from, "%.3800s/%s", t->tokenizer_folder, *name);
        snprintf(to, sizeof to, "%.3800s/%s", folder, *name);
        st = vw_file_read_dup(from, &text, &bytes, err);
        if (st == VW_E_NOTFOUND) {
            st = VW_OK;
            continue;
        }
        if (!st) {
            st = vw_file_write(to, text, bytes, err);
            free(text);
        }
    }
    return st;
}
