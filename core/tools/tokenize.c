/* tokenize.c - `vishwamai tokenize`: text to token ids, and back. */
#include "answer.h"
#include "save.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct tokenize {
    choices c;
    const char *text, *file, *tokens, *out, *save;
    int with_bos, is_decoding, shows_pieces, is_training;
    int64_t vocab_size;
    opened o;
    id_list ids;
} tokenize;

static vw_status encode(tokenize *t, vw_error *err)
{
    if (t->text)
        return input_encode(t->o.engine, t->text, strlen(t->text), t->with_bos, &t->ids, err);
    char *text;
    size_t bytes;
    vw_status status = input_read_dup(t->file, &text, &bytes, err);
    if (status == VW_OK) {
        status = input_encode(t->o.engine, text, bytes, t->with_bos, &t->ids, err);
        free(text);
    }
    return status;
}

/* One line a token: its id, and its bytes with everything outside ASCII escaped. */
static vw_status print_pieces(tokenize *t, vw_error *err)
{
    for (size_t i = 0; i < t->ids.n; i++) {
        char *text;
        size_t bytes;
        vw_status status = vw_engine_decode_dup(t->o.engine, t->ids.ids + i, 1, &text, &bytes, err);
        if (status != VW_OK)
            return status;
        printf("%7d  '", t->ids.ids[i]);
        for (size_t k = 0; k < bytes; k++) {
            unsigned char c = (unsigned char)text[k];
            if (c < 32 || c > 126 || c == '\'' || c == '\\')
                printf("\\x%02X", c);
            else
                putchar(c);
        }
        puts("'");
        free(text);
    }
    return VW_OK;
}

static vw_status print_ids(tokenize *t, vw_error *err)
{
    if (t->c.is_json) {
        vw_json_writer w = {0};
        vw_json_begin_object(&w, NULL);
        add_ids(&w, "tokens", t->ids.ids, t->ids.n);
        vw_json_end_object(&w);
        return print_json(&w, err);
    }
    if (t->shows_pieces)
        return print_pieces(t, err);
    for (size_t i = 0; i < t->ids.n; i++)
        printf("%s%d", i ? " " : "", t->ids.ids[i]);
    putchar('\n');
    return VW_OK;
}

static vw_status decode(tokenize *t, vw_error *err)
{
    char *text;
    size_t bytes;
    vw_status status = input_ids("--tokens", t->tokens, &t->ids, err);
    if (status == VW_OK)
        status = check_ids(&t->o, t->ids.ids, t->ids.n, err);
    if (status == VW_OK)
        status = vw_engine_decode_dup(t->o.engine, t->ids.ids, t->ids.n, &text, &bytes, err);
    if (status != VW_OK)
        return status;
    if (t->c.is_json) {
        vw_json_writer w = {0};
        vw_json_begin_object(&w, NULL);
        vw_json_add_bytes(&w, "text", text, bytes);
        vw_json_end_object(&w);
        status = print_json(&w, err);
    } else {
        fwrite(text, 1, bytes, stdout);
    }
    free(text);
    return status;
}

/* Ids as a file that `vishwamai train` reads: two bytes each, little endian, or four for a name that
 * ends in .u32. */
static vw_status save_ids(const tokenize *t, vw_error *err)
{
    size_t n = strlen(t->save);
    size_t width = n > 4 && strcmp(t->save + n - 4, ".u32") == 0 ? 4 : 2;
    unsigned char *data = malloc(t->ids.n * width + 1), *at = data;
    vw_status status = data ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for %s", t->save);
    for (size_t i = 0; i < t->ids.n && status == VW_OK; i++) {
        uint32_t id = (uint32_t)t->ids.ids[i];
        if (width == 2 && id > 65535)
            status = vw_fail(err, VW_E_INVALID, "%s: token %u does not fit two bytes; a name that "
                             "ends in .u32 gives four", t->save, id);
        for (size_t k = 0; k < width; k++)
            *at++ = (unsigned char)(id >> 8 * k);
    }
    if (status == VW_OK)
        status = save_file(t->save, data, t->ids.n * width, err);
    free(data);
    return status;
}

static vw_status learn(tokenize *t, vw_error *err)
{
    vw_status status = open_core(&t->c, &t->o, err);
    if (status != VW_OK)
        return status;
    const char *plugin = vw_settings_get(t->o.settings, "tokenizer", "plugin");
    if (!plugin || strcmp(plugin, "auto") == 0)
        return vw_fail(err, VW_E_CONFIG, "--train needs the kind of tokenizer: --set "
                       "tokenizer.plugin=sentencepiece, or chars");
    if (mkdir(t->out, 0777) != 0 && errno != EEXIST)
        return vw_fail(err, VW_E_IO, "cannot make the folder %s: %s", t->out, strerror(errno));
    return vw_tokenizer_train(t->o.core, t->file, (int32_t)t->vocab_size, t->out, err);
}

static vw_status work(tokenize *t, vw_error *err)
{
    if (t->is_training)
        return learn(t, err);
    vw_status status = open_model(&t->c, &t->o, err);
    if (status != VW_OK)
        return status;
    if (t->is_decoding)
        return decode(t, err);
    status = encode(t, err);
    if (status == VW_OK && t->save)
        status = save_ids(t, err);
    if (status == VW_OK && (!t->save || t->c.is_json || t->shows_pieces))
        status = print_ids(t, err);
    return status;
}

static int check_words(const tokenize *t)
{
    if (t->is_training && (!t->file || !t->out || t->text || t->tokens || t->is_decoding))
        return wrong_use(&command_tokenize, "--train needs -f FILE, --out DIR and no text");
    if (!t->is_training && (t->out || t->vocab_size))
        return wrong_use(&command_tokenize, "--out and --vocab-size belong to --train");
    if ((t->is_training || t->is_decoding) && (t->save || t->shows_pieces || t->with_bos))
        return wrong_use(&command_tokenize, "--save, --pieces and --bos belong to encoding, not "
                         "to %s", t->is_training ? "--train" : "--decode");
    if (t->shows_pieces && t->c.is_json)
        return wrong_use(&command_tokenize, "--pieces is for people; it does not go with --json");
    if (t->is_decoding && (!t->tokens || t->text || t->file))
        return wrong_use(&command_tokenize, "--decode needs --tokens IDS and no text");
    if (!t->is_decoding && (t->tokens || !t->text == !t->file))
        return wrong_use(&command_tokenize, "one of -p TEXT, -f FILE and --decode --tokens IDS is "
                         "needed");
    return STATUS_OK;
}

static int tokenize_main(int argc, char **argv)
{
    tokenize t = {0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt input[] = {
        {'p', "prompt", OPT_TEXT, &t.text, "TEXT", "the text to encode", NULL, 0, 0},
        {'f', "file", OPT_TEXT, &t.file, "FILE", "a file with it; -: standard input", NULL, 0, 0},
        {0, "bos", OPT_FLAG, &t.with_bos, NULL, "put the beginning-of-text token in front", NULL,
         0, 0},
        {0, "pieces", OPT_FLAG, &t.shows_pieces, NULL, "print one token a line, with its bytes",
         NULL, 0, 0},
        {0, "decode", OPT_FLAG, &t.is_decoding, NULL, "the other way: ids to text", NULL, 0, 0},
        {0, "tokens", OPT_TEXT, &t.tokens, "IDS", "the ids to decode: \"681 978\"", NULL, 0, 0},
        {0, "save", OPT_TEXT, &t.save, "FILE", "write the ids as `train' reads them: .u16 or .u32", NULL, 0,
         0},
        MODEL_OPTIONS(&t.c), END_OPTIONS};
    const opt learning[] = {
        {0, "train", OPT_FLAG, &t.is_training, NULL,
         "learn a tokenizer from -f, a file or a folder, with [tokenizer] plugin", NULL, 0, 0},
        {0, "vocab-size", OPT_INT, &t.vocab_size, "N", "its tokens (default: as the plugin likes)", NULL, 1,
         1 << 24},
        {'o', "out", OPT_TEXT, &t.out, "DIR", "the folder that gets it", NULL, 0, 0}, END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&t.c), VERBOSE_OPTION(&t.c), END_OPTIONS};
    const opt_group groups[] = {{"model and text", input}, {"learning a tokenizer", learning},
                                {"general", general}, {NULL, NULL}};
    if (options_parse(&command_tokenize, groups, argc, argv, NULL, &status)) {
        status = check_words(&t);
        if (status == STATUS_OK && work(&t, &err) != VW_OK)
            status = report(&err);
    }
    close_opened(&t.o);
    id_list_free(&t.ids);
    assignments_free(&t.c.set);
    return status;
}

const command command_tokenize = {
    "tokenize", "[-m DIR] -p TEXT | -f FILE | --decode --tokens IDS | --train -f FILE --out DIR [options]",
    "turn text into token ids, or ids into text", NULL,
    "  vishwamai tokenize -p \"Hello, world\" --bos\n"
    "  vishwamai tokenize --decode --tokens \"976 549 940 952 870\"\n"
    "  vishwamai tokenize --train -f book.txt --vocab-size 1024 --out words --set "
    "tokenizer.plugin=sentencepiece\n", tokenize_main};
