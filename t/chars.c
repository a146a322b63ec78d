/* chars.c - tokenizer/chars: an alphabet learnt, written, read back; texts there and back; and
 * files that are no alphabet.
 */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/tokenizer.h>

#include <stdlib.h>
#include <sys/stat.h>

static const vw_tokenizer_ops *ops;
static void *self;

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? vw_json_service() : NULL;
}

static void open_with(mock_host *mock, mock_instance *it, const char *const *settings)
{
    mock_host_init(mock);
    mock->service = service;
    if (!mock_open(mock, mock_plugin(VW_KIND_TOKENIZER, "chars"), settings, it))
        bail_out("tokenizer/chars does not open");
    ops = it->component.ops;
    self = it->component.self;
}

static vw_status learn(const char *text, int32_t vocab_size, vw_error *err)
{
    size_t bytes = strlen(text);
    vw_tokenizer_training x = {sizeof x, &text, &bytes, 1, vocab_size, folder_make()};
    return ops->train(self, &x, err);
}

/* Ids of a text, then their bytes; true when they are the text again. */
static bool there_and_back(const char *text, int32_t *ids, size_t *n)
{
    char back[256];
    size_t at = 0, bytes;
    if (ops->encode(self, text, strlen(text), 0, ids, 64, n, NULL) || *n > 64)
        return false;
    for (size_t i = 0; i < *n; i++, at += bytes)
        if (ops->piece(self, ids[i], i == 0, 0, back + at, sizeof back - at, &bytes, NULL))
            return false;
    return at == strlen(text) && !memcmp(back, text, at);
}

static void test_alphabet(void)
{
    mock_host mock;
    mock_instance it;
    vw_error err;
    vw_tokenizer_info info;
    int32_t ids[64];
    size_t n, bytes;
    char text[8];
    open_with(&mock, &it, (const char *const[]){"eos=yes", NULL});
    /* In the order of code points: newline space " \ a b e-acute euro clef. */
    is_int(learn("ba\"\\ \n\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E"
                 "ab",
                 0, &err),
           VW_OK, "an alphabet is learnt");
    char *file = folder_slurp(folder_path("chars.json"), &bytes);
    is_str(file,
           "{\"alphabet\": \"\\u000a \\u0022\\u005cab\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\", "
           "\"eos\": true}\n",
           "and written in the order of code points");
    free(file);
    is_int(folder_count(".tmp"), 0, "nothing temporary is left");
    const char *const *names = ops->files(self);
    ok(!strcmp(names[0], "chars.json") && !names[1], "it is one file");
    is_int(ops->info(self, &info, &err), VW_E_INVALID, "not loaded yet");
    like(err.text, "no tokenizer is loaded", "and its sentence");
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", folder_path("."));
    is_int(ops->load(self, folder, &err), VW_OK, "loaded");
    is_int(ops->info(self, &info, &err), VW_OK, "and known");
    is_int(info.vocab_size, 10, "nine characters and EOS");
    is_int(info.eos, 9, "EOS is the last");
    ok(info.n_stop == 1 && info.stop[0] == 9 && info.bos == -1 && info.unk == -1,
       "the only special one");
    ok(there_and_back("a\xE2\x82\xAC\n\xF0\x9D\x84\x9E\xC3\xA9 \"b\\", ids, &n), "a text and back");
    is_int(n, 9, "a token a character");
    static const int32_t want[] = {4, 7, 0, 8, 6, 1, 2, 5, 3};
    is_mem(ids, want, sizeof want, "the ids are places in the alphabet");
    is_int(ops->piece(self, 9, 0, 0, text, 8, &bytes, &err) ? -1 : (int)bytes, 0,
           "EOS gives no text");
    is_int(ops->piece(self, 9, 0, 1, text, 8, &bytes, &err) ? -1 : (int)bytes, 5, "unless shown");
    is_int(ops->piece(self, 10, 0, 0, text, 8, &bytes, &err), VW_E_INVALID, "an id too many");
    like(err.text, "token id 10, expected 0 to 9", "and its sentence");
    is_int(ops->encode(self, "ab\xC3\xA8", 4, 0, ids, 64, &n, &err), VW_E_INVALID, "a stranger");
    like(err.text, "U+00E8 at offset 2 is not one of the 9 characters", "and its sentence");
    is_int(ops->encode(self, "a\x80", 2, 0, ids, 64, &n, &err), VW_E_INVALID, "no UTF-8");
    like(err.text, "byte 0x80 at offset 1 is not UTF-8", "and its sentence");
    is_int(ops->encode(self, "abab", 4, 0, ids, 2, &n, &err) ? -1 : (int)n, 4,
           "without room it counts");
    is_int(ops->load(self, folder, &err), VW_E_INVALID, "loaded twice");
    like(err.text, "a tokenizer is loaded already", "and its sentence");
    mock_close(&mock, &it);
}

static void test_refusals(void)
{
    static const struct {
        const char *file, *sentence;
        vw_status status;
    } cases[] = {
        {"{\"eos\": true}", "\"alphabet\" is empty", VW_E_FORMAT},
        {"{\"alphabet\": \"ba\"}", "character 1 of \"alphabet\" is not after the one before it",
         VW_E_FORMAT},
        {"{\"alphabet\": \"aa\"}", "code points ascend", VW_E_FORMAT},
        {"{\"alphabet\": 3}", "\"alphabet\"", VW_E_FORMAT},
        {"{\"alphabet\": \"ab\", \"eos\": 3}", "\"eos\"", VW_E_FORMAT},
        {"[", "chars.json", VW_E_FORMAT},
    };
    mock_host mock;
    mock_instance it;
    vw_error err;
    open_with(&mock, &it, NULL);
    is_int(learn("", 0, &err), VW_E_FORMAT, "an empty text");
    like(err.text, "there is no text to learn an alphabet from", "and its sentence");
    is_int(learn("ab\xFF", 0, &err), VW_E_FORMAT, "no UTF-8");
    like(err.text, "text 1: byte 0xFF at offset 2 is not UTF-8", "and its sentence");
    is_int(learn("abc", 5, &err), VW_E_CONFIG, "another size");
    like(err.text, "a vocabulary of 5 is wanted, and the texts have 3 characters",
         "and its sentence");
    is_int(learn("abc", 3, &err), VW_OK, "the right size");
    const char *text = "abc", *nowhere = folder_path("nowhere");
    size_t bytes = 3;
    vw_tokenizer_training x = {sizeof x, &text, &bytes, 1, 0, nowhere};
    is_int(ops->train(self, &x, &err), VW_E_IO, "a folder that is not there");
    like(err.text, "nowhere/chars.json", "is named");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[1024];
        folder_text("chars.json", cases[i].file);
        snprintf(folder, sizeof folder, "%s", folder_path("."));
        is_int(ops->load(self, folder, &err), cases[i].status, "refused: %s", cases[i].file);
        like(err.text, cases[i].sentence, "and its sentence");
    }
    mock_close(&mock, &it);
}

int main(void)
{
    folder_make();
    test_alphabet();
    test_refusals();
    return done_testing();
}
