/* sentencepiece_shim.cc - libsentencepiece as C sees it: no exception out, no log. */
#include "plugins/tokenizer/sentencepiece_shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

namespace sentencepiece {
namespace logging {
void SetMinLogLevel(int level); /* exported by the library, missing in its header */
}
}

struct sp_shim {
    sentencepiece::SentencePieceProcessor processor;
};

namespace {

enum { FAILED = 1, NO_MEMORY = 2, ONLY_FATAL = 3, MAX_LINE = 4000 };

int failed(const char *reason, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "%s", reason);
    return FAILED;
}

/* The lines of all texts.  The library leaves out long ones, so they are cut here, after a space or
 * between two characters. */
class lines : public sentencepiece::SentenceIterator {
  public:
    explicit lines(const sp_shim_training *t) : training(t)
    {
        Next();
    }
    bool done() const override
    {
        return is_done;
    }
    const std::string &value() const override
    {
        return line;
    }
    sentencepiece::util::Status status() const override
    {
        return {};
    }
    void Next() override
    {
        while (text < training->n_texts && at >= training->bytes[text]) {
            text++;
            at = 0;
        }
        is_done = text == training->n_texts;
        if (is_done)
            return;
        const char *from = training->texts[text] + at;
        size_t left = training->bytes[text] - at;
        const void *end = memchr(from, '\n', left);
        size_t n = end ? static_cast<const char *>(end) - from : left;
        size_t taken = end ? n + 1 : n;
        if (n > MAX_LINE)
            n = taken = cut(from);
        line.assign(from, n);
        at += taken;
    }

  private:
    static size_t cut(const char *from)
    {
        for (size_t n = MAX_LINE; n > MAX_LINE / 2; n--)
            if (from[n - 1] == ' ')
                return n;
        size_t n = MAX_LINE;
        while ((from[n] & 0xC0) == 0x80)
            n--;
        return n;
    }
    const sp_shim_training *training;
    size_t text = 0, at = 0;
    bool is_done = false;
    std::string line;
};

/* As the library's command takes them. */
std::string wishes(const sp_shim_training *t)
{
    std::string words = t->is_unigram ? "--model_type=unigram" : "--model_type=bpe";
    words += " --vocab_size=" + std::to_string(t->vocab_size);
    words += " --num_threads=" + std::to_string(t->threads);
    words += " --pad_id=0 --eos_id=1 --bos_id=2 --unk_id=3 --pad_piece=<pad> --eos_piece=<eos>"
             " --bos_piece=<bos> --user_defined_symbols=\n --byte_fallback=true --split_digits=true"
             " --character_coverage=0.9999 --normalization_rule_name=identity"
             " --add_dummy_prefix=false --remove_extra_whitespaces=false"
             " --allow_whitespace_only_pieces=true";
    return words;
}

} // namespace

int sp_shim_train(const sp_shim_training *training, char **model, size_t *bytes, char *why,
                  size_t why_bytes)
{
    try {
        sentencepiece::logging::SetMinLogLevel(ONLY_FATAL);
        lines iterator(training);
        std::string learnt;
        const auto status =
            sentencepiece::SentencePieceTrainer::Train(wishes(training), &iterator, &learnt);
        if (!status.ok())
            return failed(status.error_message(), why, why_bytes);
        char *copy = static_cast<char *>(std::malloc(learnt.size() + 1));
        if (!copy)
            return NO_MEMORY;
        std::memcpy(copy, learnt.data(), learnt.size());
        *model = copy;
        *bytes = learnt.size();
        return 0;
    } catch (const std::bad_alloc &) {
        return NO_MEMORY;
    } catch (const std::exception &e) {
        return failed(e.what(), why, why_bytes);
    } catch (...) {
        return failed("an unknown exception", why, why_bytes);
    }
}

void sp_shim_free(char *model)
{
    std::free(model);
}

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
