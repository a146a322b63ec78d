/* checkpoints.c - checkpoints that do not fit: each is refused with a sentence that names the culprit.
 *
 * The folders of t/data/safetensors-bad are opened as models; expected.tsv says which are good and
 * what the message of the others must name.  Then configurations, each wrong in one place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t/tap/tap.h"
#include "t/with_engine.h"

static const char bad[] = "t/data/safetensors-bad";

/* ---- the folders ----------------------------------------------------------------------------- */

static void test_folder(const char *name, const char *verdict, const char *subject)
{
    char path[8192];
    with_engine w;
    snprintf(path, sizeof path, "%s/%s", source_file(bad), name);
    bool is_open = engine_open(&w, path, "");
    if (strcmp(verdict, "accept") == 0) {
        ok(is_open, "%s opens: %s", name, is_open ? "ok" : w.err.text);
    } else {
        ok(!is_open, "%s is refused", name);
        if (strcmp(subject, "-") != 0)
            like(w.err.text, subject, "%s: the message names %s", name, subject);
        else
            ok(w.err.text[0] != '\0', "%s: there is a message", name);
    }
    engine_close(&w);
}

static void test_folders(void)
{
    char line[1024];
    int n = 0;
    snprintf(line, sizeof line, "%s/expected.tsv", bad);
    FILE *f = fopen(source_file(line), "r");
    if (!f)
        bail_out("%s is missing", line);
    while (fgets(line, sizeof line, f)) {
        char *save = NULL, *name = strtok_r(line, "\t", &save),
             *verdict = strtok_r(NULL, "\t", &save), *subject = strtok_r(NULL, "\t", &save);
        if (!subject || name[strlen(name) - 1] != '/')
            continue;
        name[strlen(name) - 1] = '\0';
        test_folder(name, verdict, subject);
        n++;
    }
    fclose(f);
    ok(n >= 30, "%d folders", n);
}

/* ---- the exact sentences --------------------------------------------------------------------- */

static void expect_sentence(const char *name, const char *tail)
{
    char path[8192], want[16384];
    with_engine w;
    snprintf(path, sizeof path, "%s/%s", source_file(bad), name);
    ok(!engine_open(&w, path, ""), "%s is refused", name);
    snprintf(want, sizeof want, "%s/%s", path, tail);
    is_str(w.err.text, want, "%s says so", name);
    engine_close(&w);
}

static void test_sentences(void)
{
    expect_sentence("model-transposed", "model.safetensors: tensor "
                    "\"model.layers.0.mlp.down_proj.weight\" has shape [12, 8]; config.json makes it "
                    "[8, 12]");
    expect_sentence("model-rank", "model.safetensors: tensor \"model.norm.weight\" has shape [1, 8]; "
                    "config.json makes it [8]");
    expect_sentence("model-surplus", "model.safetensors: tensor "
                    "\"model.layers.0.self_attn.q_norm.weight\" is no part of this model (Gemma 1, "
                    "1 layers, 0.00 M parameters); the checkpoint and its config.json do not belong "
                    "together");
}

/* ---- configurations -------------------------------------------------------------------------- */

typedef struct config_case {
    const char *key, *value; /* replaces or adds "key": value; NULL value removes it */
    const char *message;     /* part of the sentence; NULL: is accepted */
} config_case;

static const config_case configs[] = {
    {"pad_token_id", "0", NULL},
    {"hidden_act", "\"gelu\"", NULL},
    {"model_type", "\"llama\"", "model_type is \"llama\""},
    {"hidden_activation", "\"silu\"", "hidden_activation is \"silu\"; Gemma uses "
                                      "\"gelu_pytorch_tanh\""},
    {"hidden_size", NULL, "\"hidden_size\" is missing"},
    {"hidden_size", "\"8\"", "hidden_size"},
    {"hidden_size", "-8", "hidden_size"},
    {"hidden_size", "8.5", "hidden_size"},
    {"num_hidden_layers", "0", "num_hidden_layers"},
    {"num_hidden_layers", "99999999999999999999999", "config.json"},
    {"num_hidden_layers", "2", "model.layers.1.input_layernorm.weight"},
    {"vocab_size", "17", "model.embed_tokens.weight"},
    {"head_dim", "3", "head_dim 3 is odd"},
    {"num_key_value_heads", "3", "is no multiple of num_key_value_heads 3"},
    {"rms_norm_eps", "-1", "rms_norm_eps is -1"},
    {"rope_theta", "0", "rope_theta is 0"},
    {"rope_scaling", "{\"type\": \"linear\", \"factor\": 2}", "\"rope_scaling\" is set"},
    {"sliding_window", "4096", "\"sliding_window\" is set"},
    {"tie_word_embeddings", "false", "tie_word_embeddings is false"},
    {"bos_token_id", "16", "bos_token_id"},
    {"max_position_embeddings", "0", "max_position_embeddings"},
};

static void write_config(const char *to, const char *key, const char *value)
{
    static char text[8192];
    char line[8192];
    size_t n = 0;
    snprintf(line, sizeof line, "%s/model-good/config.json", bad);
    FILE *f = fopen(source_file(line), "r");
    if (!f)
        bail_out("%s is missing", line);
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    f = fopen(to, "w");
    if (!f)
        bail_out("%s cannot be written", to);
    fputs("{", f);
    if (value)
        fprintf(f, "\"%s\": %s", key, value);
    bool is_first = !value;
    /* The file has one flat member a line or all on one; split at commas outside brackets. */
    char *at = strchr(text, '{') + 1;
    while (*at) {
        int depth = 0;
        bool is_string = false;
        char *end = at;
        for (; *end; end++) {
            if (*end == '"' && end[-1] != '\\')
                is_string = !is_string;
            if (is_string)
                continue;
            if (depth == 0 && (*end == ',' || *end == '}'))
                break;
            depth += *end == '[' || *end == '{';
            depth -= *end == ']' || *end == '}';
        }
        char quoted[128], *name = strchr(at, '"');
        snprintf(quoted, sizeof quoted, "\"%s\"", key);
        if (name && name < end && strncmp(name, quoted, strlen(quoted)) != 0) {
            fprintf(f, "%s%.*s", is_first ? "" : ",", (int)(end - at), at);
            is_first = false;
        }
        if (*end != ',')
            break;
        at = end + 1;
    }
    fputs("}\n", f);
    fclose(f);
}

static void link_file(const char *folder, const char *from, const char *name)
{
    char to[4096], absolute[4096];
    snprintf(to, sizeof to, "%s/%s", folder, name);
    unlink(to);
    if (!realpath(from, absolute) || symlink(absolute, to) != 0)
        bail_out("%s cannot be linked", to);
}

static void test_configs(const char *folder)
{
    char path[4096], weights[4096];
    snprintf(path, sizeof path, "%s/config.json", folder);
    snprintf(weights, sizeof weights, "%s/model-good/model.safetensors", bad);
    link_file(folder, source_file(weights), "model.safetensors");
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        const config_case *c = &configs[i];
        with_engine w;
        write_config(path, c->key, c->value);
        bool is_open = engine_open(&w, folder, "");
        if (!c->message) {
            ok(is_open, "%s = %s: %s", c->key, c->value, is_open ? "ok" : w.err.text);
        } else {
            ok(!is_open, "%s = %s is refused", c->key, c->value ? c->value : "nothing");
            like(w.err.text, c->message, "and the message says so");
        }
        engine_close(&w);
    }
}

/* ---- a tokenizer of another model ------------------------------------------------------------ */

static void test_tokenizer(const char *folder)
{
    char path[4096], want[8192];
    with_engine w;
    if (!has_plugin(VW_KIND_TOKENIZER, "sentencepiece")) {
        skip(2, "tokenizer/sentencepiece is not built");
        return;
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    write_config(path, "pad_token_id", "0");
    link_file(folder, source_file("etc/models/tiny-gemma/tokenizer.model"), "tokenizer.model");
    ok(!engine_open(&w, folder, ""), "a tokenizer with more tokens than the vocabulary is refused");
    snprintf(want, sizeof want, "%s: the tokenizer has 1024 tokens, but \"vocab_size\" of config.json "
             "is 16; they do not belong together", folder);
    is_str(w.err.text, want, "and the message says so");
    engine_close(&w);
}

int main(void)
{
    char folder[] = "/tmp/vw-checkpoints-XXXXXX", path[4096];
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.model"};
    if (!mkdtemp(folder))
        bail_out("no temporary folder");
    test_folders();
    test_sentences();
    test_configs(folder);
    test_tokenizer(folder);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return done_testing();
}
