/* dataset.c - texts, JSON lines and ids as documents; the cut for validation; and the batches made
 * of them: every token once an epoch, labels one further, prompts not scored, positions that
 * resume.
 *
 * The encoder is a test's own: a byte is its id, so every expectation can be read off the text.
 */
#include "core/batches.h"
#include "t/folder.h"
#include "t/tap/tap.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { BOS = 256, EOS = 257, VOCAB = 258 };

static vw_status encode(void *self, const char *text, size_t bytes, int parse_special, int32_t *ids,
                        size_t room, size_t *n, vw_error *err)
{
    (void)self;
    (void)parse_special;
    (void)err;
    for (size_t i = 0; i < bytes && i < room; i++)
        ids[i] = (unsigned char)text[i];
    *n = bytes;
    return VW_OK;
}

/* "uTEXT;" and "aTEXT;" for the turns, and an "a" for the answer to come.  A tokenizer whose self is
 * not NULL leaves thoughts out of answers. */
static vw_status chat(void *self, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
                      size_t room, size_t *n, vw_error *err)
{
    char text[400] = "";
    for (size_t i = 0; i < n_messages; i++) {
        const char *said = messages[i].text, *thought = strstr(said, "</think>");
        if (strcmp(messages[i].role, i % 2 ? "assistant" : "user"))
            return vw_fail(err, VW_E_INVALID, "message %zu has the role \"%s\"", i + 1,
                           messages[i].role);
        sprintf(text + strlen(text), "%c%s;", *messages[i].role,
                self && thought ? thought + 8 : said);
    }
    strcat(text, "a");
    return encode(NULL, text, strlen(text), 0, ids, room, n, err);
}

static const vw_tokenizer_ops ops = {.size = sizeof ops, .encode = encode, .chat = chat};
static int something;
static const vw_encoder talking = {
    &ops, NULL, {.eos = EOS, .bos = BOS, .adds_bos = 1, .n_stop = 1, .stop = {';'}}, VOCAB};
static const vw_encoder forgetful = {
    &ops, &something, {.eos = -1, .bos = -1, .n_stop = 1, .stop = {';'}}, VOCAB};
static const vw_encoder plain = {&ops, NULL, {.eos = -1, .bos = -1}, 256};
static const vw_encoder marked = {&ops, NULL, {.eos = EOS, .bos = BOS, .adds_bos = 1}, VOCAB};
static const vw_encoder no_tokenizer = {NULL, NULL, {.eos = EOS, .bos = -1}, 100};
static const vw_dataset_options whole = {.format = VW_DATA_AUTO};

/* A data set as text: bytes as they are, BOS ^, EOS $, a document's end |, an unscored token in
 * (). */
static const char *shown(const vw_dataset *d)
{
    static char text[4096];
    size_t n = 0;
    int64_t document = 0;
    for (int64_t i = 0; i < d->n && n < sizeof text - 8; i++) {
        int32_t id = vw_dataset_id(d, i);
        bool is_scored = !d->is_scored || d->is_scored[i];
        n += (size_t)sprintf(text + n, is_scored ? "%c" : "(%c)",
                             id == BOS   ? '^'
                             : id == EOS ? '$'
                                         : id);
        if (i + 1 == d->starts[document + 1]) {
            text[n++] = '|';
            document++;
        }
    }
    text[n] = '\0';
    return document == d->n_documents ? text : "documents and tokens do not end together";
}

static void reads(const vw_encoder *e, const char *name, const char *content, vw_dataset_options o,
                  const char *want, const char *what)
{
    vw_dataset d;
    vw_error err = {VW_OK, ""};
    const char *path = folder_text(name, content);
    if (ok(vw_dataset_open(e, path, &o, &d, &err) == VW_OK, "%s is read %s", what, err.text)) {
        is_str(shown(&d), want, "%s: its documents", what);
        vw_dataset_close(&d);
    }
}

static void refuses(const vw_encoder *e, const char *path, vw_dataset_options o, vw_status status,
                    const char *sentence)
{
    vw_dataset d;
    vw_error err = {VW_OK, ""};
    is_int(vw_dataset_open(e, path, &o, &d, &err), status, "refused: %s", sentence);
    like(err.text, sentence, "in these words");
}

static void test_text(void)
{
    const vw_dataset_options blank = {.by_blank_line = true};
    reads(&plain, "a.txt", "one\n\ntwo\n", whole, "one\n\ntwo\n|", "a text");
    reads(&marked, "a.txt", "one", whole, "^one$|", "a text between BOS and EOS");
    reads(&marked, "a.txt", "one\n\ntwo\n\n\n\n three", blank, "^one\n$|^two\n$|^ three$|",
          "by blank lines");
    reads(&marked, "a.txt", "\r\none\r\n\r\ntwo\r\n \n", blank, "^one\r\n$|^two\r\n \n$|",
          "with carriage returns");
    refuses(&plain, folder_text("empty.txt", ""), whole, VW_E_FORMAT,
            "empty.txt: empty: there is no text");
    refuses(&marked, folder_text("empty.txt", "\n \n\n"), blank, VW_E_FORMAT,
            "there is no text to learn from");
    refuses(&plain, folder_text("bad.txt", "one\ntw\xE9o"), whole, VW_E_FORMAT,
            "bad.txt:2: byte 0xE9 at offset 6 is not UTF-8; convert the file");
    refuses(&plain, folder_text("bad.txt", "\xC0\x80"), whole, VW_E_FORMAT,
            "byte 0xC0 at offset 0");
    refuses(&plain, folder_text("bad.txt", "\xED\xA0\x80"), whole, VW_E_FORMAT,
            "byte 0xED at offset 0");
    refuses(&plain, folder_text("bad.txt", "x\xF4\x90\x80\x80"), whole, VW_E_FORMAT,
            "byte 0xF4 at offset 1");
    refuses(&plain, folder_text("bad.txt", "x\xE2\x82"), whole, VW_E_FORMAT,
            "byte 0xE2 at offset 1");
    refuses(&plain, folder_path("none.txt"), whole, VW_E_NOTFOUND,
            "none.txt: cannot be opened: No such file");
    refuses(&no_tokenizer, folder_text("a.txt", "one"), whole, VW_E_CONFIG,
            "text needs a tokenizer, and the model has none; set data.tokenizer");
    vw_encoder small = marked;
    small.vocab_size = 100;
    refuses(&small, folder_text("a.txt", "bcd~"), whole, VW_E_FORMAT,
            "the tokenizer gives token 100, but the model's vocabulary has 100");
}

static void test_jsonl(void)
{
    vw_dataset_options prompts = {.scores_prompts = true};
    reads(&marked, "a.jsonl", "{\"text\": \"one\", \"id\": 3}\n\n{\"text\":\"t\\u0077o\"}", whole,
          "^one$|^two$|", "JSON lines");
    reads(&marked, "a.jsonl",
          "{\"prompt\": \"Q\", \"completion\": \"A\"}\n{\"input\":\"q\",\"output\":\"a\"}\n", whole,
          "^(Q)A$|^(q)a$|", "prompts are not scored");
    reads(&marked, "a.jsonl", "{\"question\": \"Q\", \"thought\": \"T\", \"answer\": \"A\"}",
          prompts, "^QTA$|", "unless asked; a thought stands before its answer");
    refuses(&marked, folder_text("bad.jsonl", "{\"text\": \"a\"}\n{\"text\": "), whole, VW_E_FORMAT,
            "bad.jsonl:2");
    refuses(&marked, folder_text("bad.jsonl", "[1]"), whole, VW_E_FORMAT,
            "bad.jsonl:1: a JSON object is expected on each line");
    refuses(&marked, folder_text("bad.jsonl", "\n{\"text\": 7}"), whole, VW_E_FORMAT,
            "bad.jsonl:2: \"text\" is no string");
    refuses(&marked, folder_text("bad.jsonl", "{\"prompt\": \"Q\"}"), whole, VW_E_FORMAT,
            "bad.jsonl:1: neither \"text\" nor \"messages\" nor a \"prompt\" with its "
            "\"completion\"");
    refuses(&marked, folder_text("bad.jsonl", "{\"text\": \"\xFF\"}"), whole, VW_E_FORMAT,
            "bad.jsonl:1");
}

#define SAID(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"
#define TALK(...) "{\"messages\": [" __VA_ARGS__ "]}\n"

static void test_chat(void)
{
    static const char two[] = TALK(SAID("user", "Q") "," SAID("assistant", "A") "," SAID(
        "user", "R") "," SAID("assistant", "B"));
    static const char thought[] = TALK(SAID("user", "Q") "," SAID("assistant", "t</think>A") "," SAID(
        "user", "R") "," SAID("assistant", "B"));
    vw_dataset_options prompts = {.scores_prompts = true};
    vw_encoder endless = talking;
    reads(&talking, "c.jsonl", two, whole, "(u)(Q)(;)(a)A;(u)(R)(;)(a)B;|",
          "a conversation, of which answers and their ends are scored,");
    reads(&talking, "c.jsonl", two, prompts, "uQ;aA;uR;aB;|", "or all of it");
    reads(&forgetful, "c.jsonl", thought, whole,
          "(u)(Q)(;)(a)t</think>A;|(u)(Q)(;)(a)(A)(;)(u)(R)(;)(a)B;|",
          "a thought is learnt, and gone where the next answer is,");
    reads(&talking, "c.jsonl", TALK(SAID("user", "Q") "," SAID("assistant", "")), whole,
          "(u)(Q)(;)(a);|", "an answer of nothing");
    refuses(&talking, folder_text("bad.jsonl", TALK(SAID("user", "Q"))), whole, VW_E_FORMAT,
            "bad.jsonl:1: the last of \"messages\" is not the assistant's: it would not be learnt");
    refuses(&talking, folder_text("bad.jsonl", "\n" TALK(SAID("bot", "Q") "," SAID("assistant", "A"))),
            whole, VW_E_INVALID, "bad.jsonl:2: message 1 has the role \"bot\"");
    refuses(&talking, folder_text("bad.jsonl", TALK("{\"role\": \"user\", \"content\": [1]}," SAID(
                                                   "assistant", "A"))),
            whole, VW_E_FORMAT,
            "bad.jsonl:1: message 1 lacks a \"role\" or a \"content\" that is a text");
    refuses(&talking, folder_text("bad.jsonl", "{\"messages\": 7}"), whole, VW_E_FORMAT,
            "bad.jsonl:1: \"messages\" is no list of at most 4096 messages");
    endless.info.n_stop = 0;
    refuses(&endless, folder_text("bad.jsonl", two), whole, VW_E_UNSUPPORTED,
            "bad.jsonl:1: the tokenizer's turns have no token that ends an answer");
    endless = talking;
    endless.vocab_size = 'u';
    refuses(&endless, folder_text("bad.jsonl", two), whole, VW_E_FORMAT,
            "bad.jsonl:1: the tokenizer gives token 117, but the model's vocabulary has 117");
}

static void test_ids(void)
{
    const uint16_t narrow[] = {'a', 'b', EOS, 'c', EOS};
    const uint32_t wide[] = {'a', 'b', 70000};
    vw_dataset_options documents = {.finds_documents = true};
    vw_encoder large = marked;
    vw_dataset d;
    vw_error err;
    const char *path = folder_write("ids.bin", narrow, sizeof narrow);
    is_int(vw_dataset_open(&marked, path, &documents, &d, &err), VW_OK, "ids of two bytes");
    is_str(shown(&d), "ab$|c$|", "with documents");
    vw_dataset_close(&d);
    is_int(vw_dataset_open(&marked, path, &whole, &d, &err), VW_OK, "or one document");
    is_str(shown(&d), "ab$c$|", "as they are");
    vw_dataset_close(&d);
    large.vocab_size = 70001;
    path = folder_write("ids.u32", wide, sizeof wide);
    is_int(vw_dataset_open(&large, path, &whole, &d, &err), VW_OK, "ids of four bytes");
    is_int(vw_dataset_id(&d, 2), 70000, "the last of them");
    vw_dataset_close(&d);
    refuses(&marked, path, whole, VW_E_FORMAT,
            "ids.u32: token 2 is 70000, but the model's vocabulary has 258; the file was made with "
            "another");
    refuses(&marked, folder_write("ids.u16", narrow, 3), whole, VW_E_FORMAT,
            "3 bytes are no whole number of 2-byte ids");
    refuses(&marked, folder_write("ids.bin", narrow, 0), whole, VW_E_FORMAT, "ids.bin: empty");
    refuses(&plain, folder_write("ids.u16", "a\0b\0", 4), documents, VW_E_CONFIG,
            "documents end with EOS, and the tokenizer has none; set data.packing = crossing");
}

static void test_folder(void)
{
    vw_dataset d;
    vw_error err;
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", folder_path("many"));
    mkdir(folder, 0777);
    folder_text("many/2.jsonl", "{\"text\":\"two\"}");
    folder_text("many/1.txt", "one");
    folder_text("many/.hidden", "no");
    is_int(vw_dataset_open(&marked, folder, &whole, &d, &err), VW_OK, "a folder");
    is_str(shown(&d), "^one$|^two$|", "in the order of names");
    vw_dataset_close(&d);
    refuses(&marked, folder_text("many/3.u16", "a") ? folder : "", whole, VW_E_UNSUPPORTED,
            "3.u16: a file of ids is given alone, not in a folder");
}

static void test_split(void)
{
    const vw_dataset_options blank = {.by_blank_line = true};
    vw_dataset all, train, validation;
    vw_error err;
    vw_dataset_open(&plain, folder_text("a.txt", "0123456789\n\nabcdefgh"), &blank, &all, &err);
    is_int(vw_dataset_split_last(&all, 0.2, &train, &validation, &err), VW_OK, "the last fifth");
    is_str(shown(&train), "0123456789\n|abcd|", "is cut off the rest");
    is_str(shown(&validation), "efgh|", "and stands alone");
    vw_dataset_close(&train);
    vw_dataset_close(&validation);
    is_int(vw_dataset_split_last(&all, 0.01, &train, &validation, &err), VW_E_CONFIG, "too little");
    like(err.text, "19 tokens; with data.validation_share = 0.01 one part has less than two",
         "in words");
    vw_dataset_close(&all);

    char text[4000] = "";
    for (int i = 0; i < 400; i++)
        sprintf(text + strlen(text), "%03d\n\n", i);
    vw_dataset_open(&plain, folder_text("a.txt", text), &blank, &all, &err);
    is_int(vw_dataset_split_documents(&all, 0.25, 5, &train, &validation, &err), VW_OK, "by draws");
    is_int(train.n_documents + validation.n_documents, 400, "every document is in one part");
    ok(abs((int)validation.n_documents - 100) < 35, "about a quarter: %d; four deviations are 35",
       (int)validation.n_documents);
    int shared = 0;
    for (int64_t i = 0; i < train.n_documents; i++)
        for (int64_t k = 0; k < validation.n_documents; k++)
            shared +=
                !memcmp(train.ids + train.starts[i], validation.ids + validation.starts[k], 12);
    is_int(shared, 0, "and none in both");
    vw_dataset_close(&train);
    vw_dataset_close(&validation);
    vw_dataset_close(&all);
    vw_dataset_open(&plain, folder_text("a.txt", "alone"), &blank, &all, &err);
    is_int(vw_dataset_split_documents(&all, 0.5, 1, &train, &validation, &err), VW_E_CONFIG,
           "one document");
    like(err.text,
         "draws whole documents, and of 1 with data.validation_share = 0.5 none is left for",
         "in words");
    vw_dataset_close(&all);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* A text of n different ids, so that a token tells where it stands. */
static vw_dataset numbers(int64_t n, const int64_t *starts, int64_t n_documents)
{
    vw_dataset d = {.n = n, .n_documents = n_documents, .starts = starts};
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    for (int64_t i = 0; ids && i < n; i++)
        ids[i] = (int32_t)i;
    d.ids = ids;
    return d;
}

/* Labels follow their tokens, and positions begin where starts say. */
static bool is_shifted(const vw_batch *b)
{
    for (int32_t d = 0; d < b->n_documents; d++)
        for (int32_t i = b->starts[d]; i < b->starts[d + 1]; i++)
            if (b->labels[i] != b->ids[i] + 1 ||
                (i > b->starts[d] && b->ids[i] != b->ids[i - 1] + 1))
                return false;
    return b->starts[b->n_documents] == b->n_tokens;
}

static void test_windows(void)
{
    int64_t starts[] = {0, 1000};
    vw_dataset d = numbers(1000, starts, 1);
    vw_batches_options o = {.context = 10, .is_shuffled = true, .seed = 4};
    vw_batches b;
    vw_batch batch, again;
    vw_error err;
    unsigned char seen[1000] = {0};
    int repeated = 0, wrong = 0, offsets = 0;
    vw_batches_open(&d, &o, "data", &b, &err);
    vw_batch_new(30, &batch, &err);
    vw_batch_new(30, &again, &err);
    vw_position at = {0, 0}, other;
    int64_t count = vw_batches_count(&b, 0);
    for (int64_t i = 0; i < count; i++) {
        vw_batches_next(&b, &at, 1, &batch);
        wrong += !is_shifted(&batch) || batch.n_tokens != 10 || batch.n_scored != 10;
        for (int k = 0; k < 10; k++)
            repeated += seen[batch.ids[k]]++;
    }
    is_int(wrong, 0, "windows of 10, each label one further");
    is_int(repeated, 0, "no token twice in an epoch");
    ok(count == 99 || count == 98, "%d windows of 999 labels", (int)count);
    ok(at.epoch == 1 && at.index == 0, "then the next epoch begins");
    for (uint64_t e = 0; e < 20; e++)
        offsets += vw_batches_unit(&b, (vw_position){e, 0}).from % 10 !=
                   vw_batches_unit(&b, (vw_position){e + 1, 0}).from % 10;
    ok(offsets > 10, "whose windows mostly begin elsewhere: %d of 20", offsets);

    /* The position is all there is: one that was kept gives the same batches. */
    at = (vw_position){3, vw_batches_count(&b, 3) - 2};
    other = at;
    vw_batches_next(&b, &at, 3, &batch);
    vw_batches_next(&b, &other, 3, &again);
    ok(batch.n_documents == 3 && at.epoch == 4 && at.index == 1,
       "a batch over the end of an epoch");
    is_mem(batch.ids, again.ids, 30 * sizeof *batch.ids,
           "and the same again from the same position");
    vw_batches_close(&b);
    o.is_shuffled = false;
    vw_batches_open(&d, &o, "data", &b, &err);
    at = (vw_position){0, 0};
    vw_batches_next(&b, &at, 2, &batch);
    ok(batch.ids[0] == 0 && batch.ids[10] == 10 && is_shifted(&batch), "in order, if asked");
    int64_t index = 0, tokens = 0;
    while (vw_batches_walk(&b, &index, 1, 3, &batch))
        tokens += batch.n_scored;
    is_int(tokens, 999, "a walk scores every token but the first, the short last window too");
    vw_batches_close(&b);
    o.context = 1000;
    is_int(vw_batches_open(&d, &o, "d.txt", &b, &err), VW_E_CONFIG, "a text shorter than a window");
    like(err.text, "d.txt: 1000 tokens are fewer than one window of data.max_length = 1000 "
         "and the token after it; lower that, or give more", "in words");
    d.n = 1;
    is_int(vw_batches_open(&d, &o, "d.txt", &b, &err), VW_E_CONFIG, "one token");
    like(err.text, "d.txt: a single token: there is nothing to predict", "in words");
    vw_batch_free(&batch);
    vw_batch_free(&again);
    free((void *)d.ids);
}

static void test_packed(void)
{
    int64_t starts[] = {0, 5, 7, 19, 21, 40};
    vw_dataset d = numbers(40, starts, 5);
    vw_batches_options o = {.context = 11, .least = 3, .is_packed = true};
    vw_batches b;
    vw_batch batch;
    vw_error err;
    vw_position at = {0, 0};
    is_int(vw_batches_open(&d, &o, "d.txt", &b, &err), VW_E_FORMAT,
           "a document longer than the context");
    like(err.text, "d.txt: document 5 has 19 tokens, the context is 11; set data.long_documents",
         "in words");
    o.longer = VW_LONG_SPLIT;
    vw_batches_open(&d, &o, "d.txt", &b, &err);
    is_int(b.n_left_out, 2, "documents below min_length are left out");
    is_int(vw_batches_count(&b, 0), 4, "a long one is split");
    vw_batch_new(22, &batch, &err);
    vw_batches_next(&b, &at, 99, &batch);
    ok(is_shifted(&batch), "labels stay within their document");
    is_int(batch.n_documents, 2, "as many as there is room for");
    is_int(batch.n_tokens, 4 + 11, "without padding");
    vw_batches_next(&b, &at, 99, &batch);
    is_int(batch.n_tokens, 11 + 7 + 4, "the rest of it, and the first of the next epoch");
    ok(at.epoch == 1 && at.index == 1 && is_shifted(&batch), "which has begun");
    vw_batches_close(&b);
    o.longer = VW_LONG_TRUNCATE;
    vw_batches_open(&d, &o, "d.txt", &b, &err);
    is_int(vw_batches_count(&b, 0), 3, "or is cut");
    vw_batches_close(&b);
    o.least = 100;
    is_int(vw_batches_open(&d, &o, "d.txt", &b, &err), VW_E_CONFIG, "nothing is long enough");
    like(err.text, "d.txt: none of its 5 documents has data.min_length = 100 tokens", "in words");
    vw_batch_free(&batch);
    free((void *)d.ids);
}

/* A prompt's tokens are read and not scored; the first token of the answer is. */
static void test_masks(void)
{
    vw_dataset d;
    vw_batches b;
    vw_batch batch;
    vw_error err;
    vw_position at = {0, 0};
    vw_batches_options o = {.context = 16, .is_packed = true};
    vw_dataset_open(&marked, folder_text("m.jsonl", "{\"prompt\":\"QR\",\"completion\":\"A\"}"),
                    &whole, &d, &err);
    vw_batches_open(&d, &o, "m", &b, &err);
    vw_batch_new(16, &batch, &err);
    vw_batches_next(&b, &at, 1, &batch);
    static const int32_t ids[] = {BOS, 'Q', 'R', 'A'}, labels[] = {-1, -1, 'A', EOS};
    is_mem(batch.ids, ids, sizeof ids, "prompt and answer are read");
    is_mem(batch.labels, labels, sizeof labels, "the answer and EOS are scored");
    is_int(batch.n_scored, 2, "and counted");
    vw_batch_free(&batch);
    vw_batches_close(&b);
    vw_dataset_close(&d);
}

int main(void)
{
    folder_make();
    test_text();
    test_jsonl();
    test_chat();
    test_ids();
    test_folder();
    test_split();
    test_windows();
    test_packed();
    test_masks();
    return done_testing();
}
