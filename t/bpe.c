/* bpe.c - tokenizer/bpe against the reference library, and on files that are wrong.
 *
 * t/data/tokenizers holds a small tokenizer.json of every published style, with the ids that
 * Hugging Face tokenizers gives (etc/goldens/bpe.py).  With three arguments, PLUGIN FOLDER TEXTS, the
 * program prints the ids of every text of a JSON array instead, for the scripts' long checks.
 */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/tokenizer.h>

#include <stdlib.h>

enum { MAX_IDS = 1 << 17 };

static const vw_json *json;
static mock_host mock;
static const vw_plugin *plugin;
static const vw_tokenizer_ops *ops;
static int32_t ids[MAX_IDS];

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? json : NULL;
}

static const char *const styles[] = {"gpt2", "deepseek", "llama3", "qwen", "falcon",
                                     "llama2", "gemma", "metaspace", "words", "odd"};
enum { N_STYLES = sizeof styles / sizeof *styles };

static const char *style_path(const char *style, const char *file)
{
    static char path[2][2048];
    static int next;
    const char *top = getenv("top_srcdir");
    char *to = path[next++ % 2];
    snprintf(to, sizeof path[0], "%s/t/data/tokenizers/%s%s%s", top ? top : ".", style,
             *file ? "/" : "", file);
    return to;
}

static vw_json_doc *open_json(const char *path)
{
    vw_json_doc *doc;
    vw_error err;
    if (json->open_file(path, &doc, &err))
        bail_out("%s", err.text);
    return doc;
}

static bool loads(const char *folder, mock_instance *it, vw_error *err)
{
    if (mock_try_open(&mock, plugin, NULL, it, err))
        bail_out("%s", err->text);
    return !ops->load(it->component.self, folder, err);
}

/* ---- ids ------------------------------------------------------------------------------------- */

static int same_ids(size_t n, const vw_json_value *want)
{
    if (n != json->count(want))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i] != json->integer(json->at(want, i)))
            return 0;
    return 1;
}

static size_t decode(void *self, size_t n, char *text, size_t room)
{
    size_t at = 0, bytes;
    for (size_t i = 0; i < n; i++, at += bytes)
        if (ops->piece(self, ids[i], i == 0, 1, text + at, room - at, &bytes, NULL) ||
            at + bytes > room)
            return (size_t)-1;
    return at;
}

static void test_style(const char *style)
{
    static char text[MAX_IDS];
    mock_instance it;
    vw_error err = {VW_OK, ""};
    vw_tokenizer_info info;
    size_t n, bytes;
    int n_ids = 0, n_special = 0, n_back = 0;
    if (!ok(loads(style_path(style, ""), &it, &err), "%s loads: %s", style, err.text))
        return;
    void *self = it.component.self;
    vw_json_doc *doc = open_json(style_path(style, "golden.json"));
    const vw_json_value *root = json->root(doc), *cases = json->get(root, "cases");
    int is_exact = 0, n_cases = (int)json->count(cases);
    json->get_bool(doc, root, "exact", 0, &is_exact, NULL);
    for (int i = 0; i < n_cases; i++) {
        const vw_json_value *c = json->at(cases, (size_t)i);
        const char *in = json->string(json->get(c, "text"), &bytes);
        n_special += !ops->encode(self, in, bytes, 1, ids, MAX_IDS, &n, &err) &&
                     same_ids(n, json->get(c, "special"));
        int same = !ops->encode(self, in, bytes, 0, ids, MAX_IDS, &n, &err) &&
                   same_ids(n, json->get(c, "ids"));
        if (!same)
            diag("%s: text %d differs: %s", style, i, err.text);
        n_ids += same;
        /* U+2581 is what some vocabularies write for a space, and <0x41> for a byte. */
        n_back += (decode(self, n, text, sizeof text) == bytes && !memcmp(text, in, bytes)) ||
                  strstr(in, "\xE2\x96\x81") || strstr(in, "<0x");
    }
    is_int(n_ids, n_cases, "%s: the reference's ids of all %d texts", style, n_cases);
    is_int(n_special, n_cases, "%s: and with special tokens parsed", style);
    if (is_exact)
        is_int(n_back, n_cases, "%s: and back to the byte", style);
    ok(!ops->info(self, &info, &err) &&
       info.vocab_size == json->integer(json->get(root, "vocab_size")), "%s: vocabulary", style);
    json->close(doc);
    mock_close(&mock, &it);
}

/* The same vocabulary out of a GGUF file gives the same ids. */
static void test_gguf(const char *style)
{
    const vw_plugin *bpe = plugin;
    mock_instance it;
    vw_error err = {VW_OK, ""};
    char path[2100];
    size_t n, bytes;
    int n_same = 0;
    plugin = mock_plugin(VW_KIND_TOKENIZER, "gguf");
    snprintf(path, sizeof path, "%s/../gguf/vocab-%s.gguf", style_path("", ""), style);
    ops = plugin->ops;
    if (!ok(loads(path, &it, &err), "%s out of a GGUF file loads: %s", style, err.text))
        return;
    vw_json_doc *doc = open_json(style_path(style, "golden.json"));
    const vw_json_value *cases = json->get(json->root(doc), "cases");
    for (size_t i = 0; i < json->count(cases); i++) {
        const char *in = json->string(json->get(json->at(cases, i), "text"), &bytes);
        n_same += !ops->encode(it.component.self, in, bytes, 0, ids, MAX_IDS, &n, &err) &&
                  same_ids(n, json->get(json->at(cases, i), "ids"));
    }
    is_int(n_same, (long long)json->count(cases), "%s: the reference's ids of all its texts", style);
    json->close(doc);
    mock_close(&mock, &it);
    plugin = bpe;
    ops = plugin->ops;
}

/* The bundled model's SentencePiece vocabulary, against the ids of its own reference. */
static void test_gguf_spm(void)
{
    const vw_plugin *bpe = plugin;
    mock_instance it;
    vw_error err = {VW_OK, ""};
    char path[2100], text[8192];
    size_t n, bytes;
    vw_tokenizer_info info;
    plugin = mock_plugin(VW_KIND_TOKENIZER, "gguf");
    ops = plugin->ops;
    snprintf(path, sizeof path, "%s/../gguf/vocab-spm.gguf", style_path("", ""));
    if (!ok(loads(path, &it, &err), "a SentencePiece vocabulary loads: %s", err.text))
        return;
    ops->info(it.component.self, &info, &err);
    ok(info.bos == 2 && info.eos == 1 && info.unk == 3 && info.adds_bos, "its special ids");
    snprintf(path, sizeof path, "%s/../../../etc/models/tiny-gemma/reference.json", style_path("", ""));
    vw_json_doc *doc = open_json(path);
    const vw_json_value *list = json->get(json->root(doc), "tokenize");
    for (size_t i = 0; i < json->count(list); i++) {
        const char *in = json->string(json->get(json->at(list, i), "text"), &bytes);
        ok(!ops->encode(it.component.self, in, bytes, 0, ids, MAX_IDS, &n, &err) &&
           same_ids(n, json->get(json->at(list, i), "ids_without_bos")), "its ids of text %zu", i);
        ok(decode(it.component.self, n, text, sizeof text) == bytes && !memcmp(text, in, bytes),
           "and back");
    }
    json->close(doc);
    mock_close(&mock, &it);
    plugin = bpe;
    ops = plugin->ops;
}

/* Random bytes and random valid characters come back through a vocabulary that has every byte. */
static size_t random_text(uint64_t *state, int is_valid, char *text, size_t room)
{
    size_t n = 0, want = folder_random(state) % (room - 4);
    while (n < want) {
        uint64_t r = folder_random(state);
        uint32_t c = (uint32_t)(r >> 32) % (r & 1 ? 0x80 : r & 2 ? 0x800 : r & 4 ? 0x10000 : 0x110000);
        if (!is_valid && r & 8)
            text[n++] = (char)(r >> 8);
        else if (c < 0x80)
            text[n++] = (char)c;
        else if (c >= 0xD800 && c < 0xE000)
            continue;
        else {
            unsigned lead = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
            text[n++] = (char)((0xF00u >> lead) | c >> 6 * (lead - 1));
            for (unsigned k = lead - 1; k-- > 0;)
                text[n++] = (char)(0x80 | (c >> 6 * k & 63));
        }
    }
    return n;
}

static void test_round_trip(const char *style)
{
    enum { N = 3000 };
    mock_instance it;
    vw_error err;
    char in[400], text[4096];
    uint64_t state = 5;
    int n_same = 0, n_counted = 0;
    if (!loads(style_path(style, ""), &it, &err))
        bail_out("%s", err.text);
    void *self = it.component.self;
    for (int i = 0; i < N; i++) {
        size_t n = 0, all = 0, bytes = random_text(&state, i % 2, in, sizeof in);
        if (ops->encode(self, in, bytes, 0, ids, MAX_IDS, &n, &err))
            continue;
        ops->encode(self, in, bytes, 0, NULL, 0, &all, NULL);
        n_counted += all == n;
        n_same += decode(self, n, text, sizeof text) == bytes && !memcmp(text, in, bytes);
    }
    is_int(n_same, N, "%s: %d random texts come back, half of them no UTF-8", style, N);
    is_int(n_counted, N, "%s: and are counted without room", style);
    mock_close(&mock, &it);
}

/* ---- what the files beside it say ------------------------------------------------------------ */

static int32_t id_of(void *self, const char *token)
{
    size_t n;
    return ops->encode(self, token, strlen(token), 1, ids, 1, &n, NULL) || n != 1 ? -1 : ids[0];
}

static void test_info(void)
{
    const struct {
        const char *style, *bos, *eos;
        int adds_bos, n_stop;
    } want[] = {{"gpt2", "<|endoftext|>", "<|endoftext|>", 0, 1},
                {"deepseek", "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
                 "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", 1, 1},
                {"llama3", "<|begin_of_text|>", "<|eot_id|>", 1, 2}, /* and <|end_of_text|> */
                {"qwen", NULL, "<|im_end|>", 0, 2},
                {"gemma", "<bos>", "<eos>", 1, 2}, /* and <end_of_turn> */
                {"words", "[CLS]", "[SEP]", 1, 1}};
    vw_error err;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        mock_instance it;
        vw_tokenizer_info info;
        if (!loads(style_path(want[i].style, ""), &it, &err))
            bail_out("%s", err.text);
        void *self = it.component.self;
        ops->info(self, &info, &err);
        is_int(info.bos, want[i].bos ? id_of(self, want[i].bos) : -1, "%s: BOS", want[i].style);
        is_int(info.eos, id_of(self, want[i].eos), "%s: EOS", want[i].style);
        is_int(info.adds_bos, want[i].adds_bos, "%s: begins with BOS", want[i].style);
        is_int(info.adds_eos, !strcmp(want[i].style, "words"), "%s: ends with EOS", want[i].style);
        is_int(info.n_stop, want[i].n_stop, "%s: what stops", want[i].style);
        mock_close(&mock, &it);
    }
}

/* ---- chat ------------------------------------------------------------------------------------ */

#define BAR "\xEF\xBD\x9C"
#define DS_BOS "<" BAR "begin\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"
#define DS_EOS "<" BAR "end\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"
#define DS_USER "<" BAR "User" BAR ">"
#define DS_ASSISTANT "<" BAR "Assistant" BAR ">"

/* Is the conversation what this text is with its special tokens parsed? */
static void is_chat(void *self, const vw_chat_message *m, size_t n_messages, const char *want,
                    const char *what)
{
    static int32_t got[4096];
    size_t n = 0, n_want = 0;
    vw_error err = {VW_OK, ""};
    vw_status st = ops->chat(self, m, n_messages, got, 4096, &n, &err);
    ops->encode(self, want, strlen(want), 1, ids, MAX_IDS, &n_want, NULL);
    ok(!st && n == n_want && !memcmp(got, ids, n * sizeof *ids), "%s %s", what, err.text);
}

static void copy_style(const char *style, const char *chat_template)
{
    size_t n;
    char *whole = folder_slurp(style_path(style, "tokenizer.json"), &n);
    folder_write("tokenizer.json", whole, n);
    free(whole);
    whole = folder_slurp(style_path(style, "tokenizer_config.json"), &n);
    folder_write("tokenizer_config.json", whole, n);
    free(whole);
    remove(folder_path("chat_template.jinja"));
    if (chat_template)
        folder_text("chat_template.jinja", chat_template);
}

static void test_chat(const char *folder)
{
    const vw_chat_message talk[] = {{"system", "Be brief."}, {"user", "Hi " DS_EOS "<|im_end|>"},
                                    {"assistant", "<think>hm</think>Yes"}, {"user", " and? "}};
    static const char deepseek_talk[] = DS_BOS "Be brief." DS_USER "Hi ";
    char want[512];
    mock_instance it;
    vw_error err;
    size_t n = 0;

    if (!loads(style_path("qwen", ""), &it, &err))
        bail_out("%s", err.text);
    const vw_chat_message plain[] = {{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Yes"},
                                     {"user", " and? "}};
    is_chat(it.component.self, plain, 4, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
            "Hi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\n and? <|im_end|>\n"
            "<|im_start|>assistant\n", "ChatML");
    int32_t end = id_of(it.component.self, "<|im_end|>");
    ops->chat(it.component.self, talk, 2, ids, MAX_IDS, &n, &err);
    int n_end = 0;
    for (size_t i = 0; i < n; i++)
        n_end += ids[i] == end;
    is_int(n_end, 2, "a message cannot end its turn");
    mock_close(&mock, &it);

    copy_style("deepseek", NULL);
    if (!loads(folder, &it, &err))
        bail_out("%s", err.text);
    const vw_chat_message clean[] = {talk[0], {"user", "Hi "}, talk[2], talk[3]};
    snprintf(want, sizeof want, "%s" DS_ASSISTANT "Yes" DS_EOS DS_USER " and? " DS_ASSISTANT,
             deepseek_talk);
    is_chat(it.component.self, clean, 4, want, "DeepSeek-V3, by its vocabulary");
    is_int(ops->chat(it.component.self, clean, 3, ids, MAX_IDS, &n, &err), VW_E_INVALID,
           "an answer at the end");
    is_str(err.text, "the last message is the assistant's; expected the user's, which it is to answer",
           "its sentence");
    mock_close(&mock, &it);

    copy_style("deepseek", "{{ '" DS_ASSISTANT "<think>\\n' }}");
    if (!loads(folder, &it, &err))
        bail_out("%s", err.text);
    snprintf(want, sizeof want, "%s" DS_ASSISTANT "Yes" DS_EOS DS_USER " and? " DS_ASSISTANT
             "<think>\n", deepseek_talk);
    is_chat(it.component.self, clean, 4, want, "DeepSeek-R1, by its template");
    mock_close(&mock, &it);

    copy_style("deepseek", "{% if thinking %}" DS_ASSISTANT "{{ '</think>' }}");
    if (!loads(folder, &it, &err))
        bail_out("%s", err.text);
    snprintf(want, sizeof want, "%s" DS_ASSISTANT "</think>Yes" DS_EOS DS_USER " and? " DS_ASSISTANT
             "</think>", deepseek_talk);
    is_chat(it.component.self, clean, 4, want, "DeepSeek-V3.1, by its template");
    mock_close(&mock, &it);

    copy_style("deepseek", "{{ messages[0].role }}: something new");
    if (!loads(folder, &it, &err))
        bail_out("%s", err.text);
    is_int(ops->chat(it.component.self, clean, 2, ids, MAX_IDS, &n, &err), VW_E_UNSUPPORTED,
           "a template that is not known");
    like(err.text, "its chat template is none of those that are known here", "its sentence");
    mock_close(&mock, &it);
    remove(folder_path("chat_template.jinja"));
    remove(folder_path("tokenizer_config.json"));
}

/* ---- files that are wrong -------------------------------------------------------------------- */

#define MODEL(vocab, merges) "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}"

static void test_hostile(const char *folder)
{
    static const struct {
        const char *text, *says;
    } files[] = {
        {"[]", "model"},
        {"{\"model\":7}", "\"model\" is missing or no object"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model.type is \"Unigram\"; this plugin reads \"BPE\""},
        {"{\"model\":{\"vocab\":[]}}", "model.vocab is missing or no object"},
        {"{\"model\":{\"vocab\":{\"a\":0}}}", "model.merges is missing or no array"},
        {MODEL("{}", "[]") "}", "the vocabulary is empty"},
        {MODEL("{\"a\":-1}", "[]") "}", "the piece \"a\" has an id that is no number from 0 to 16777215"},
        {MODEL("{\"a\":99999999}", "[]") "}", "the piece \"a\" has an id that is no number"},
        {MODEL("{\"a\":\"0\"}", "[]") "}", "the piece \"a\" has an id that is no number"},
        {MODEL("{\"a\":0,\"b\":0}", "[]") "}", "the pieces \"a\" and \"b\" have the same id 0"},
        {MODEL("{\"a\":0}", "[\"a\"]") "}", "merge 0 is not two pieces"},
        {MODEL("{\"a\":0}", "[[\"a\",1]]") "}", "merge 0 is not two pieces"},
        {MODEL("{\"a\":0}", "[\"a c\"]") "}", "merge 0: \"c\" is no piece of the vocabulary"},
        {MODEL("{\"a\":0}", "[[\"a\",\"a\"]]") "}", "merge 0: \"aa\" is no piece of the vocabulary"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}",
         "unk_token \"u\" is no piece"},
        {MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[{\"id\":1}]}",
         "the added token with the id 1 has no content"},
        {MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[{\"content\":\"x\"}]}",
         "an added token \"of added_tokens\" has an id that is no number"},
        {MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]}",
         "the added token \"a\" has the id 1, but the vocabulary has it as 0"},
        {MODEL("{\"a\":0}", "[]") ",\"normalizer\":{\"type\":\"Lowercase\"}}",
         "normalizer: the type \"Lowercase\" is not supported"},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}}",
         "pre_tokenizer: the type \"BertPreTokenizer\" is not supported"},
        {MODEL("{\"a\":0}", "[]") ",\"decoder\":{\"type\":\"WordPiece\"}}",
         "decoder: the type \"WordPiece\" is not supported"},
        {MODEL("{\"a\":0}", "[]") ",\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}}",
         "decoder: Strip of more than one space in front"},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Sequence\"}}",
         "a Sequence without an array \"pretokenizers\", or nested too deep"},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{}}}",
         "a pattern that has neither \"String\" nor \"Regex\""},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"\"}}}",
         "a pattern is empty"},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}}}",
         "the pattern \"(\": missing closing parenthesis, at byte 1"},
        {MODEL("{\"a\":0}", "[]")
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"}}}",
         "&& in a class is not supported"},
        {MODEL("{\"a\":0}", "[]")
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"}}}",
         "a class in a class is not supported"},
        {MODEL("{\"a\":0}", "[]")
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\\\W]\"}}}",
         "\\W in a class is not supported"},
        {MODEL("{\"a\":0}", "[]")
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Odd\"}}",
         "behavior is \"Odd\"; expected Removed, Isolated"},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"x\"}}",
         "prepend_scheme is \"x\"; expected always, first or never"},
        {MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\"}}",
         "replacement \"\" is not one character"},
        {MODEL("{\"a\":0}", "[]") ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",9],"
         "\"sep\":[\"a\",0]}}", "post_processor: token id 9, expected 0 to 0"},
        {MODEL("{\"a\":0}", "[]") ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
         "[{\"SpecialToken\":{\"id\":\"a\"}},{\"SpecialToken\":{\"id\":\"a\"}},{\"Sequence\":{}}],"
         "\"special_tokens\":{\"a\":{\"ids\":[0]}}}}",
         "more than one token in front of or behind a text"},
        {MODEL("{\"a\":0}", "[]"), "tokenizer.json"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        mock_instance it;
        vw_error err = {VW_OK, ""};
        folder_text("tokenizer.json", files[i].text);
        bool is_loaded = loads(folder, &it, &err);
        ok(!is_loaded && strstr(err.text, "tokenizer.json"), "file %zu is refused by name", i);
        like(err.text, files[i].says, "its sentence");
        mock_close(&mock, &it);
    }
}

/* A pattern that needs for ever ends in a sentence. */
static void test_endless_pattern(const char *folder)
{
    mock_instance it;
    vw_error err = {VW_OK, ""};
    size_t n;
    folder_text("tokenizer.json", MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Split\","
                "\"pattern\":{\"Regex\":\"(a|a)+$\"},\"behavior\":\"Isolated\"}}");
    ok(loads(folder, &it, &err), "a pattern that backtracks for ever loads");
    is_int(ops->encode(it.component.self, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 46, 0, ids,
                       MAX_IDS, &n, &err), VW_E_FORMAT, "and gives up");
    like(err.text, "the pattern \"(a|a)+$\" gives up on a text of 46 bytes: match limit exceeded",
         "in a sentence");
    mock_close(&mock, &it);
}

static void test_no_memory(void)
{
    long long n = 0, n_right = 0;
    mock_instance it;
    vw_error err;
    size_t count;
    const char *text = "a caf\xC3\xA9 <|im_start|> 123";
    loads(style_path("odd", "none"), &it, &err);
    long long live = mock.n_live;
    for (; n < 10000; n++) {
        mock.fail_after = n;
        vw_status st = ops->load(it.component.self, style_path("odd", ""), &err);
        if (!st)
            break;
        n_right += st == VW_E_NOMEM && mock.n_live == live;
    }
    mock.fail_after = -1;
    is_int(n_right, n, "load without memory at each of %lld places", n);
    n_right = 0;
    live = mock.n_live;
    for (n = 0; n < 10000; n++) {
        mock.fail_after = n;
        vw_status st = ops->encode(it.component.self, text, strlen(text), 0, ids, MAX_IDS, &count, &err);
        if (!st)
            break;
        n_right += st == VW_E_NOMEM && mock.n_live == live;
    }
    mock.fail_after = -1;
    is_int(n_right, n, "encode without memory at each of %lld places", n);
    ok(n > 5, "there are such places");
    mock_close(&mock, &it);
}

/* ---- for the script -------------------------------------------------------------------------- */

static int print_ids(const char *folder, const char *texts)
{
    mock_instance it;
    vw_error err;
    if (!loads(folder, &it, &err))
        return fprintf(stderr, "%s\n", err.text), 1;
    vw_json_doc *doc = open_json(texts);
    for (size_t i = 0; i < json->count(json->root(doc)); i++)
        for (int special = 0; special < 2; special++) {
            size_t bytes, n = 0;
            const char *in = json->string(json->at(json->root(doc), i), &bytes);
            if (ops->encode(it.component.self, in, bytes, special, ids, MAX_IDS, &n, &err))
                printf("%s", err.text);
            if (n > MAX_IDS)
                bail_out("a text of %zu tokens, and room for %d", n, MAX_IDS);
            for (size_t k = 0; k < n; k++)
                printf("%s%d", k ? " " : "", ids[k]);
            putchar('\n');
        }
    json->close(doc);
    plugin->close(it.component.self);
    free(it.config);
    return 0;
}

int main(int argc, char **argv)
{
    json = vw_json_service();
    mock_host_init(&mock);
    mock.service = service;
    plugin = mock_plugin(VW_KIND_TOKENIZER, argc == 4 ? argv[1] : "bpe");
    if (!plugin) {
        skip_unless_required("tokenizer/bpe", 1, "tokenizer/bpe is not built");
        return done_testing();
    }
    ops = plugin->ops;
    if (argc == 4)
        return print_ids(argv[2], argv[3]);
    const char *folder = folder_make();
    for (int i = 0; i < N_STYLES; i++)
        test_style(styles[i]);
    test_gguf("gpt2");
    test_gguf("deepseek");
    test_gguf_spm();
    test_round_trip("gpt2");
    test_round_trip("deepseek");
    test_round_trip("llama3");
    test_info();
    test_chat(folder);
    test_hostile(folder);
    test_endless_pattern(folder);
    test_no_memory();
    return done_testing();
}
