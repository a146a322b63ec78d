/* kind-tokenizer.c - what every tokenizer must do, on the bundled model.
 *
 * The ids come from etc/models/tiny-gemma/reference.json, which another implementation wrote; what
 * is true of any byte-fallback vocabulary without a normaliser (every text comes back to the byte)
 * is asked of random texts.
 */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/tokenizer.h>

#include <pthread.h>
#include <stdlib.h>

enum { MAX_IDS = 4096, MAX_TEXT = 8192 };

typedef struct subject {
    mock_host mock;
    mock_instance it;
    const vw_tokenizer_ops *ops;
    void *self;
    const char *name;
    vw_tokenizer_info info;
} subject;

static const vw_json *json;
static const vw_json_value *reference;

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? json : NULL;
}

static const char *model_folder(void)
{
    static char path[1024];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof path, "%s/etc/models/tiny-gemma", top ? top : ".");
    return path;
}

/* The same vocabulary, as the plugin wants it: a folder, or a GGUF file. */
static const char *model_path(const char *plugin)
{
    static char path[1024];
    const char *top = getenv("top_srcdir");
    if (strcmp(plugin, "gguf") != 0)
        return model_folder();
    snprintf(path, sizeof path, "%s/t/data/gguf/vocab-spm.gguf", top ? top : ".");
    return path;
}

/* The bytes of some ids, as a stream would print them; -1 when an id is refused. */
static long decode(const subject *s, const int32_t *ids, size_t n, char *text, size_t room)
{
    size_t at = 0, bytes;
    for (size_t i = 0; i < n; i++) {
        if (s->ops->piece(s->self, ids[i], i == 0, 0, text + at, room - at, &bytes, NULL))
            return -1;
        at += bytes;
        if (at > room)
            return -1;
    }
    return (long)at;
}

static int same_ids(const int32_t *ids, size_t n, const vw_json_value *want, size_t skip_ids)
{
    if (n + skip_ids != json->count(want))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i] != json->integer(json->at(want, i + skip_ids)))
            return 0;
    return 1;
}

/* ---- against the other implementation -------------------------------------------------------- */

static void test_info(subject *s)
{
    is_int(s->info.vocab_size, 1024, "%s: vocabulary", s->name);
    is_int(s->info.pad, 0, "%s: pad", s->name);
    is_int(s->info.eos, 1, "%s: eos", s->name);
    is_int(s->info.bos, 2, "%s: bos", s->name);
    is_int(s->info.unk, 3, "%s: unk", s->name);
    is_int(s->info.adds_bos, 1, "%s: a text begins with BOS", s->name);
    is_int(s->info.adds_eos, 0, "%s: and does not end with EOS", s->name);
    ok(s->info.n_stop == 1 && s->info.stop[0] == 1, "%s: eos alone ends a generation", s->name);
}

static void test_reference(subject *s)
{
    const vw_json_value *list = json->get(reference, "tokenize");
    int32_t ids[MAX_IDS];
    char text[MAX_TEXT];
    size_t n, bytes;
    vw_error err = {VW_OK, ""};
    for (size_t i = 0; i < json->count(list); i++) {
        const char *in = json->string(json->get(json->at(list, i), "text"), &bytes);
        ok(!s->ops->encode(s->self, in, bytes, 0, ids, MAX_IDS, &n, &err) &&
           same_ids(ids, n, json->get(json->at(list, i), "ids_without_bos"), 0),
           "%s: the reference's ids of text %zu", s->name, i);
        long got = decode(s, ids, n, text, sizeof text);
        ok(got == (long)bytes && !memcmp(text, in, bytes), "%s: and back", s->name);
    }
    list = json->get(reference, "greedy");
    for (size_t i = 0; i < json->count(list); i++) {
        const vw_json_value *new_ids = json->get(json->at(list, i), "new");
        const char *in = json->string(json->get(json->at(list, i), "prompt"), &bytes);
        ok(!s->ops->encode(s->self, in, bytes, 0, ids, MAX_IDS, &n, &err) &&
           same_ids(ids, n, json->get(json->at(list, i), "prompt_tokens"), 1),
           "%s: the reference's ids of prompt %zu, behind BOS", s->name, i);
        const char *want = json->string(json->get(json->at(list, i), "text"), &bytes);
        for (n = 0; n < json->count(new_ids) && n < MAX_IDS; n++)
            ids[n] = (int32_t)json->integer(json->at(new_ids, n));
        long got = decode(s, ids, n, text, sizeof text);
        ok(got == (long)bytes && !memcmp(text, want, bytes), "%s: the text of its continuation",
           s->name);
    }
}

/* ---- what is always true --------------------------------------------------------------------- */

static void test_every_id(subject *s)
{
    char text[MAX_TEXT];
    size_t bytes;
    int n_valid = 0, n_hidden = 0, n_cut = 0;
    vw_error err = {VW_OK, ""};
    for (int32_t id = 0; id < s->info.vocab_size; id++) {
        n_valid += !s->ops->piece(s->self, id, 0, 0, text, sizeof text, &bytes, &err);
        n_hidden += bytes == 0;
        size_t all;
        text[1] = '#';
        s->ops->piece(s->self, id, 0, 0, text, bytes ? 1 : 0, &all, &err);
        n_cut += all == bytes && text[1] == '#';
    }
    is_int(n_valid, s->info.vocab_size, "%s: every id has a text", s->name);
    is_int(n_hidden, 3, "%s: which is empty for pad, bos and eos alone", s->name);
    is_int(n_cut, s->info.vocab_size, "%s: and is counted in full where there is no room", s->name);
    ok(!s->ops->piece(s->self, s->info.bos, 1, 1, text, sizeof text, &bytes, &err) && bytes == 5 &&
       !memcmp(text, "<bos>", 5), "%s: control pieces show when asked for", s->name);
    is_int(s->ops->piece(s->self, s->info.vocab_size, 0, 0, text, sizeof text, &bytes, &err),
           VW_E_INVALID, "%s: an id too many", s->name);
    is_str(err.text, "token id 1024, expected 0 to 1023", "%s: its sentence", s->name);
    is_int(s->ops->piece(s->self, -1, 0, 0, text, sizeof text, &bytes, &err), VW_E_INVALID,
           "%s: an id below zero", s->name);
}

/* Random bytes, a part of them text, come back as they are: that is what byte pieces are for. */
static size_t random_text(uint64_t *state, char *text, size_t room)
{
    static const char *const words[] = {"ROMEO:\n", " the", "caf\xC3\xA9", "  ", "\n\n",
                                        "\xE4\xBD\xA0", "\xF0\x9F\x98\x80", "<bos>", "<0x41>",
                                        "\xE2\x96\x81", "1234"};
    size_t n = 0, want = folder_random(state) % room;
    while (n < want) {
        uint64_t r = folder_random(state);
        const char *word = words[r % 11];
        size_t len = strlen(word);
        if (r >> 32 & 1 && n + len <= want) {
            memcpy(text + n, word, len);
            n += len;
        } else {
            text[n++] = (char)(r >> 40);
        }
    }
    return n;
}

/* U+2581 is what a space becomes, so it comes back as one: the only text that does not return. */
static size_t spaces(char *text, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; out++) {
        int is_mark = n - i >= 3 && !memcmp(text + i, "\xE2\x96\x81", 3);
        text[out] = is_mark ? ' ' : text[i];
        i += is_mark ? 3 : 1;
    }
    return out;
}

static void test_round_trip(subject *s)
{
    enum { N = 2000 };
    int n_same = 0, n_counted = 0;
    uint64_t state = 7;
    int32_t ids[MAX_IDS], few[4];
    char in[300], text[MAX_TEXT];
    for (int i = 0; i < N; i++) {
        size_t n = 0, all = 0, bytes = random_text(&state, in, sizeof in);
        if (s->ops->encode(s->self, in, bytes, 0, ids, MAX_IDS, &n, NULL))
            continue;
        s->ops->encode(s->self, in, bytes, 0, few, 4, &all, NULL);
        n_counted += all == n && !memcmp(few, ids, (n < 4 ? n : 4) * sizeof *ids);
        bytes = spaces(in, bytes);
        n_same += decode(s, ids, n, text, sizeof text) == (long)bytes && !memcmp(in, text, bytes);
    }
    is_int(n_same, N, "%s: %d random texts come back to the byte", s->name, N);
    is_int(n_counted, N, "%s: and are counted in full where there is no room", s->name);
}

static void test_special(subject *s)
{
    int32_t ids[64];
    size_t n = 0;
    vw_error err = {VW_OK, ""};
    ok(!s->ops->encode(s->self, "<bos>a<eos>", 11, 1, ids, 64, &n, &err) && n == 3 &&
       ids[0] == s->info.bos && ids[2] == s->info.eos, "%s: control pieces are parsed", s->name);
    s->ops->encode(s->self, "<bos>a<eos>", 11, 0, ids, 64, &n, &err);
    int n_special = 0;
    for (size_t i = 0; i < n; i++)
        n_special += ids[i] == s->info.bos || ids[i] == s->info.eos;
    is_int(n_special, 0, "%s: only when asked for", s->name);
    ok(!s->ops->encode(s->self, NULL, 0, 1, NULL, 0, &n, &err) && n == 0, "%s: no text, no ids",
       s->name);
}

static void test_chat(subject *s)
{
    const vw_chat_message hello = {"user", "hello"};
    int32_t ids[64];
    size_t n = 99;
    vw_error err = {VW_OK, ""};
    if (!s->ops->chat) {
        skip(2, "%s has no chat", s->name);
        return;
    }
    is_int(s->ops->chat(s->self, &hello, 1, ids, 64, &n, &err), VW_E_UNSUPPORTED,
           "%s: this model is none for chat", s->name);
    is_int(n, 99, "%s: nothing is written", s->name);
}

static void test_states(subject *s, const vw_plugin *plugin)
{
    mock_instance it;
    vw_tokenizer_info info;
    int32_t id;
    size_t n;
    vw_error err = {VW_OK, ""};
    is_int(s->ops->load(s->self, model_path(s->name), &err), VW_E_INVALID, "%s: loads once", s->name);
    if (!mock_open(&s->mock, plugin, NULL, &it))
        return;
    void *self = it.component.self;
    is_int(s->ops->info(self, &info, &err), VW_E_INVALID, "%s: no info before load", s->name);
    is_int(s->ops->encode(self, "a", 1, 0, &id, 1, &n, &err), VW_E_INVALID, "%s: no ids", s->name);
    is_int(s->ops->piece(self, 0, 0, 0, NULL, 0, &n, &err), VW_E_INVALID, "%s: no text", s->name);
    is_int(s->ops->load(self, folder_path("none"), &err), VW_E_NOTFOUND, "%s: no folder", s->name);
    like(err.text, folder_path("none"), "%s: which is named", s->name);
    ok(!s->ops->load(self, model_path(s->name), &err), "%s: loads after a failure: %s", s->name,
       err.text);
    plugin->close(self);
    free(it.config);
}

/* Memory of the host may run out at any allocation of load. */
static void test_no_memory(subject *s, const vw_plugin *plugin)
{
    long long n = 0, n_right = 0;
    mock_instance it;
    vw_error err;
    if (!mock_open(&s->mock, plugin, NULL, &it))
        return;
    long long live = s->mock.n_live;
    for (; n < 1000; n++) {
        s->mock.fail_after = n;
        vw_status status = s->ops->load(it.component.self, model_path(s->name), &err);
        if (!status)
            break;
        n_right += status == VW_E_NOMEM && s->mock.n_live == live;
    }
    s->mock.fail_after = -1;
    is_int(n_right, n, "%s: load without memory at each of %lld places", s->name, n);
    plugin->close(it.component.self);
    free(it.config);
}

typedef struct worker {
    subject *s;
    int n_right;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    const vw_json_value *list = json->get(reference, "tokenize");
    int32_t ids[MAX_IDS];
    char text[MAX_TEXT];
    size_t n, bytes;
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < json->count(list); i++) {
            const char *in = json->string(json->get(json->at(list, i), "text"), &bytes);
            if (!w->s->ops->encode(w->s->self, in, bytes, 0, ids, MAX_IDS, &n, NULL) &&
                same_ids(ids, n, json->get(json->at(list, i), "ids_without_bos"), 0) &&
                decode(w->s, ids, n, text, sizeof text) == (long)bytes)
                w->n_right++;
        }
    return NULL;
}

static void test_threads(subject *s)
{
    pthread_t thread[4];
    worker w[4];
    int want = 20 * (int)json->count(json->get(reference, "tokenize"));
    for (int i = 0; i < 4; i++) {
        w[i] = (worker){s, 0};
        pthread_create(thread + i, NULL, work, w + i);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        is_int(w[i].n_right, want, "%s: thread %d encodes and decodes", s->name, i);
    }
}

/* What reads other files than the bundled model's is asked here only what it says to a folder. */
static bool reads_the_model(const vw_plugin *plugin)
{
    char why[300] = "";
    vw_probe about = {sizeof about, model_folder(), NULL};
    if (plugin->probe(&about, why, sizeof why) > 0)
        return true;
    ok(why[0] != '\0', "%s: %s", plugin->name, why);
    return false;
}

static void test_plugin(const vw_plugin *plugin, void *arg)
{
    subject s = {.name = plugin->name};
    vw_error err = {VW_OK, ""};
    (void)arg;
    if (!reads_the_model(plugin))
        return;
    mock_host_init(&s.mock);
    s.mock.service = service;
    if (!mock_open(&s.mock, plugin, NULL, &s.it))
        return;
    s.ops = s.it.component.ops;
    s.self = s.it.component.self;
    s.info.size = sizeof s.info;
    if (ok(!s.ops->load(s.self, model_path(s.name), &err), "%s loads: %s", s.name, err.text) &&
        ok(!s.ops->info(s.self, &s.info, &err), "%s says what it is", s.name)) {
        test_info(&s);
        test_reference(&s);
        test_every_id(&s);
        test_round_trip(&s);
        test_special(&s);
        test_chat(&s);
        test_states(&s, plugin);
        test_no_memory(&s, plugin);
        test_threads(&s);
    }
    mock_close(&s.mock, &s.it);
}

int main(void)
{
    char path[1100];
    vw_json_doc *doc;
    vw_error err;
    json = vw_json_service();
    snprintf(path, sizeof path, "%s/reference.json", model_folder());
    if (json->open_file(path, &doc, &err))
        bail_out("%s", err.text);
    reference = json->root(doc);
    folder_make();
    if (mock_plugins(VW_KIND_TOKENIZER, test_plugin, NULL) == 0)
        skip_unless_required("tokenizer/sentencepiece", 1, "no tokenizer is built");
    json->close(doc);
    return done_testing();
}
