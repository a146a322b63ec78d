/* gguf.c - GGUF files: blocks to the bit, whole models against the reference, hostile headers.
 *
 * t/data/gguf comes from the gguf package (etc/goldens/gguf_files.py): blocks of every format with what
 * its dequantisers make of them, and small models whose logits reference.py and, of DeepSeeks,
 * transformers computed from the dequantised weights (gguf_deepseek.py).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vishwamai/weights.h>

#include "kernels/ref/blocks.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

#include "core/json.h"

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? vw_json_service() : NULL;
}

/* ---- what a reader gives --------------------------------------------------------------------- */

typedef struct opened_file {
    mock_instance it;
    const vw_weights_ops *ops;
    vw_weights_reader *reader;
} opened_file;

static mock_host mock;

static void open_file(opened_file *f, const char *plugin, const char *path)
{
    vw_error err;
    const vw_plugin *p = mock_plugin(VW_KIND_WEIGHTS, plugin);
    if (!p || mock_try_open(&mock, p, NULL, &f->it, &err))
        bail_out("no plugin weights/%s", plugin);
    f->ops = f->it.component.ops;
    if (f->ops->open(f->it.component.self, path, &f->reader, &err))
        bail_out("%s", err.text);
}

static void close_file(opened_file *f)
{
    f->ops->close(f->it.component.self, f->reader);
    mock_close(&mock, &f->it);
}

static const void *tensor_of(opened_file *f, const char *name, size_t *bytes)
{
    vw_weights_tensor t;
    vw_error err;
    if (f->ops->find(f->it.component.self, f->reader, name, &t, &err))
        bail_out("%s", err.text);
    *bytes = t.bytes;
    return t.data;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void test_blocks(void)
{
    static const struct {
        const char *name;
        size_t elements, bytes;
        void (*dequantise)(const void *, int64_t, float *);
    } formats[] = {
        {"q4_0", 32, 18, vw_ref_q4_0},   {"q4_1", 32, 20, vw_ref_q4_1},
        {"q5_0", 32, 22, vw_ref_q5_0},   {"q5_1", 32, 24, vw_ref_q5_1},
        {"q8_0", 32, 34, vw_ref_q8_0},   {"q4_k", 256, 144, vw_ref_q4_k},
        {"q5_k", 256, 176, vw_ref_q5_k}, {"q6_k", 256, 210, vw_ref_q6_k},
    };
    opened_file f;
    open_file(&f, "safetensors", source_file("t/data/gguf/blocks.safetensors"));
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char name[32];
        size_t n_blocks, n_values;
        snprintf(name, sizeof name, "%s.blocks", formats[i].name);
        const void *blocks = tensor_of(&f, name, &n_blocks);
        snprintf(name, sizeof name, "%s.values", formats[i].name);
        const void *want = tensor_of(&f, name, &n_values);
        n_blocks /= formats[i].bytes;
        is_int((long long)n_values, (long long)(n_blocks * formats[i].elements * 4), "%s: sizes",
               formats[i].name);
        float *got = malloc(n_values);
        formats[i].dequantise(blocks, (int64_t)n_blocks, got);
        is_mem(got, want, n_values, "%s: %zu blocks to the bit", formats[i].name, n_blocks);
        is_int((int)vw_block_kind_of(formats[i].name), (int)i + 1, "%s: known by name",
               formats[i].name);
        free(got);
    }
    is_int((int)vw_block_kind_of("iq4_nl"), VW_BLOCK_OTHER, "another format is not mistaken for one");
    close_file(&f);
}

/* ---- models ---------------------------------------------------------------------------------- */

/* `near`: how far logits may be off, in their standard deviations: each of them, or where activations
 * are quantised (above 0.01) their root mean square, which then must not be nothing either. */
static void test_model(const char *name, const char *settings, double near)
{
    char path[4096], what[256];
    size_t n_tokens, n_logits;
    opened_file f;
    with_engine w;
    snprintf(path, sizeof path, "%s/%s.safetensors", source_file("t/data/gguf"), name);
    open_file(&f, "safetensors", path);
    int32_t *tokens = malloc(4096);
    float *want = malloc(1 << 20);
    const void *data = tensor_of(&f, "tokens", &n_tokens);
    memcpy(tokens, data, n_tokens);
    data = tensor_of(&f, "logits", &n_logits);
    memcpy(want, data, n_logits);
    close_file(&f);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n_logits / 4; i++) {
        sum += want[i];
        squares += (double)want[i] * want[i];
    }
    double mean = sum / (double)(n_logits / 4);
    double std = sqrt(squares / (double)(n_logits / 4) - mean * mean);
    snprintf(path, sizeof path, "%s/%s.gguf", source_file("t/data/gguf"), name);
    bool is_open = engine_open(&w, path, settings);
    ok(is_open, "%s opens with %s: %s", name, settings, is_open ? "ok" : w.err.text);
    static const size_t chunks[] = {0, 1, 7, 40}; /* 0: at once */
    for (size_t c = 0; c < 4 && is_open; c++) {
        const size_t chunk = chunks[c];
        float *got = all_logits(&w, tokens, n_tokens / 4, chunk);
        double off = 0;
        for (size_t i = 0; got && i < n_logits / 4; i++)
            off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        off = sqrt(off / (double)(n_logits / 4)) / std;
        snprintf(what, sizeof what, "%s, %s, chunks of %zu", name, settings, chunk);
        if (got && near <= 0.01)
            near_array(got, want, n_logits / 4, (float)(near * std), "%s", what);
        else if (got)
            ok(off > 1e-3 && off < near, "%s: off by %.4f", what, off);
        free(got);
    }
    engine_close(&w);
    free(tokens);
    free(want);
}

/* ---- files that are wrong -------------------------------------------------------------------- */

/* A small file: two keys, one tensor of two Q8_0 blocks. */
static size_t small_file(unsigned char *to)
{
    static const char head[] = "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"
        "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0\6\0\0\0\0\0\0\0gemma2"
        "\21\0\0\0\0\0\0\0general.alignment\4\0\0\0\40\0\0\0"
        "\4\0\0\0\0\0\0\0list\11\0\0\0\10\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0a\2\0\0\0\0\0\0\0bc"
        "\3\0\0\0\0\0\0\0a.b\2\0\0\0\40\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0";
    size_t n = sizeof head - 1, data = (n + 31) / 32 * 32;
    memset(to, 0, data + 68);
    memcpy(to, head, n);
    return data + 68;
}

static bool opens(const vw_weights_ops *ops, void *self, const void *bytes, size_t n, vw_error *err)
{
    vw_weights_reader *reader;
    vw_weights_tensor t;
    *err = (vw_error){VW_OK, ""};
    if (ops->open(self, folder_write("x.gguf", bytes, n), &reader, err))
        return false;
    for (size_t i = 0; i < ops->count(self, reader); i++)
        if (ops->tensor(self, reader, i, &t, err) || (t.bytes && ((const char *)t.data)[t.bytes - 1] == 1))
            diag("a tensor that cannot be read");
    ops->close(self, reader);
    return true;
}

static void test_hostile(void)
{
    static const struct {
        size_t at;
        const char *bytes;
        size_t n;
        const char *says;
    } edits[] = {
        {0, "GGUX", 4, "not a GGUF file: it does not begin with \"GGUF\""},
        {4, "\4", 1, "GGUF version 4, expected 2 or 3"},
        {4, "\0\0\0\3", 4, "expected 2 or 3 (a big-endian file)"},
        {8, "\377\377\377\377\377", 5, "tensors do not fit into"},
        {16, "\377\377\377\377\377", 5, "keys do not fit into"},
        {24, "\0", 1, "a key's name has 0 bytes, expected 1 to 65535"},
        {24, "\0\0\0\0\1", 5, "the name of a key at byte 32 has"},
        {52, "\15", 1, "key \"general.architecture\" has a value of type 13, expected 0 to 12"},
        {56, "\377\377", 2, "a string at byte"},
        {95, "\7", 1, "key \"general.alignment\" is 32, expected a bool, 0 or 1"},
        {99, "\7", 1, "general.alignment is 7, expected a power of two from 8"},
        {119, "\11", 1, "key \"list\" is an array of arrays"},
        {119, "\15", 1, "key \"list\" has a value of type 13, expected 0 to 12"},
        {131, "\377\377", 2, "a string at byte 139 has 65535 bytes, but the file ends after"},
        {123, "\377\377\377", 3, "key \"list\" has 16777215 elements, but the file ends after"},
        {150, "\0", 1, "a tensor's name has 0 bytes, expected 1 to 1024"},
        {161, "\5", 1, "tensor \"a.b\" has 5 dimensions, expected 1 to 4"},
        {165, "\0", 1, "tensor \"a.b\": dimension 0 is 0"},
        {172, "\177", 1, "tensor \"a.b\": dimension"},
        /* 2^58 + 2 values of eight bytes: 16 bytes modulo 2^64 */
        {165, "\1\0\0\0\0\0\0\2\2\0\0\0\0\0\0\0\34\0\0\0", 20,
         "tensor \"a.b\": dimension 0 is 144115188075855873"},
        {165, "\41", 1, "tensor \"a.b\": rows of 33 values are no whole blocks of q8_0"},
        {181, "\7\1", 2, "tensor \"a.b\" is of ggml's type 263, which is not read here (a private one"},
        {181, "\12", 1, "tensor \"a.b\" is of ggml's type 10, which is not read here"},
        {185, "\1", 1, "its offset 1 is no multiple of the alignment 32"},
        {185, "\40", 1, "tensor \"a.b\": 68 bytes at offset 32 of the data, but the file ends after"},
    };
    unsigned char good[512], bad[512];
    size_t n = small_file(good);
    mock_instance it;
    vw_error err;
    if (mock_try_open(&mock, mock_plugin(VW_KIND_WEIGHTS, "gguf"), NULL, &it, &err))
        bail_out("%s", err.text);
    const vw_weights_ops *ops = it.component.ops;
    void *self = it.component.self;
    ok(opens(ops, self, good, n, &err), "a small file opens: %s", err.text);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        memcpy(bad, good, n);
        memcpy(bad + edits[i].at, edits[i].bytes, edits[i].n);
        ok(!opens(ops, self, bad, n, &err), "edit %zu is refused", i);
        like(err.text, edits[i].says, "its sentence");
    }
    int n_short = 0, n_silent = 0;
    for (size_t cut = 0; cut < n; cut++) {
        n_short += !opens(ops, self, good, cut, &err);
        n_silent += err.code != VW_OK && !err.text[0];
    }
    is_int(n_short, (long long)n, "a file cut at any byte is refused");
    for (size_t at = 0; at < n - 68; at++)
        for (int v = 0; v < 6; v++) {
            static const unsigned char values[] = {0, 1, 0x7F, 0x80, 0xFE, 0xFF};
            memcpy(bad, good, n);
            bad[at] = values[v];
            if (!opens(ops, self, bad, n, &err))
                n_silent += !err.text[0];
        }
    is_int(n_silent, 0, "every byte of the header changed: a sentence or a sound file");
    mock_close(&mock, &it);
}

/* ---- models in parts --------------------------------------------------------------------------- */

typedef struct builder {
    unsigned char bytes[1024];
    size_t n;
} builder;

static void put(builder *b, const void *data, size_t n)
{
    memcpy(b->bytes + b->n, data, n);
    b->n += n;
}

static void put_number(builder *b, uint64_t x, size_t n) { put(b, &x, n); }

static void put_text(builder *b, const char *text)
{
    put_number(b, strlen(text), 8);
    put(b, text, strlen(text));
}

/* A part with one f32 tensor of four values. */
static const char *write_part(const char *file, int no, int count, int total, const char *tensor)
{
    builder b = {.n = 0};
    const float values[] = {1, 2, 3, (float)no};
    put(&b, "GGUF\3\0\0\0", 8);
    put_number(&b, 1, 8);
    put_number(&b, 4, 8);
    put_text(&b, "general.architecture");
    put_number(&b, 8, 4);
    put_text(&b, no ? "" : "gemma");
    put_text(&b, "split.no");
    put_number(&b, 2, 4);
    put_number(&b, (uint64_t)no, 2);
    put_text(&b, "split.count");
    put_number(&b, 2, 4);
    put_number(&b, (uint64_t)count, 2);
    put_text(&b, "split.tensors.count");
    put_number(&b, 5, 4);
    put_number(&b, (uint64_t)total, 4);
    put_text(&b, tensor);
    put_number(&b, 1, 4);
    put_number(&b, 4, 8);
    put_number(&b, 0, 4);
    put_number(&b, 0, 8);
    while (b.n % 32)
        put(&b, "", 1);
    put(&b, values, sizeof values);
    return folder_write(file, b.bytes, b.n);
}

static void test_parts(void)
{
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                        "m-00003-of-00003.gguf"};
    static const struct {
        int part, no, count, total;
        const char *tensor, *says;
    } edits[] = {
        {1, 2, 3, 3, "b", "00002-of-00003.gguf: split.no 2 and split.count 3; by its name it is part 2 of 3"},
        {2, 2, 4, 3, "c", "00003-of-00003.gguf: split.no 2 and split.count 4; by its name it is part 3"},
        {2, 2, 1, 3, "c", "split.no 2 and split.count 1"},
        {2, 2, 3, 3, "a", "tensor \"a\" is in "},
        {0, 0, 3, 5, "a", "split.tensors.count is 5, the 3 parts have 3"},
        {0, 0, 2, 3, "a", "split.count is 2, so that its name should end in -00001-of-00002.gguf"},
    };
    mock_instance it;
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    vw_weights_tensor t;
    if (mock_try_open(&mock, mock_plugin(VW_KIND_WEIGHTS, "gguf"), NULL, &it, &err))
        bail_out("%s", err.text);
    const vw_weights_ops *ops = it.component.ops;
    void *self = it.component.self;
    static const char *const tensors[] = {"c", "a", "b"};
    for (int i = 0; i < 3; i++)
        write_part(names[i], i, 3, 3, tensors[i]);
    for (int i = 0; i < 3; i++) { /* any of them stands for all */
        ok(!ops->open(self, folder_path(names[i]), &r, &err), "by part %d: %s", i + 1, err.text);
        is_int(ops->count(self, r), 3, "all tensors");
        is_int(ops->tensor(self, r, 1, &t, &err), VW_OK, "in the order of their names");
        is_str(t.name, "b", "over the parts");
        is_str(t.file, folder_path(names[2]), "each with its file");
        ok(!ops->find(self, r, "b", &t, &err) && ((const float *)t.data)[3] == 2, "and its values");
        like(ops->config(self, r), "\"general.architecture\":\"gemma\"", "the first part's keys");
        ops->release(self, r, t.data, t.bytes);
        ops->close(self, r);
    }
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        for (int k = 0; k < 3; k++)
            write_part(names[k], k, 3, 3, (const char *[]){"a", "b", "c"}[k]);
        write_part(names[edits[i].part], edits[i].no, edits[i].count, edits[i].total, edits[i].tensor);
        is_int(ops->open(self, folder_path(names[0]), &r, &err), VW_E_FORMAT, "edit %zu of a part", i);
        like(err.text, edits[i].says, "its sentence");
    }
    write_part("lone.gguf", 0, 3, 3, "a");
    is_int(ops->open(self, folder_path("lone.gguf"), &r, &err), VW_E_FORMAT, "a part under another name");
    like(err.text, "lone.gguf: split.count is 3, so that its name should end in -00001-of-00003.gguf",
         "its sentence");
    write_part("n-00001-of-00002.gguf", 0, 2, 2, "a");
    is_int(ops->open(self, folder_path("n-00001-of-00002.gguf"), &r, &err), VW_E_NOTFOUND, "a missing part");
    like(err.text, "part 2 of 2: cannot open ", "its sentence");
    mock_close(&mock, &it);
}

int main(void)
{
    static const struct {
        const char *settings;
        double near;
    } ways[] = {
        {"gemm.plugin=ref attention.plugin=ref", 2e-4},
        {"gemm.plugin=cpu attention.plugin=flash", 2e-4},
        {"gemm.plugin=cpu attention.plugin=flash gemm.cpu.activations=int8", 0.03},
        {"gemm.plugin=cpu attention.plugin=flash gemm.cpu.activations=int7", 0.06},
    };
    static const struct {
        const char *name;
        bool has_blocks; /* that activations are quantised for */
        double more;     /* of these errors: where the choice was close, other experts are taken */
    } models[] = {{"gemma-f", false, 0}, {"gemma2-mixed", true, 1}, {"gemma3-mixed", true, 1},
                  {"deepseek-whole", false, 0}, {"deepseek-split", true, 4}};
    mock_host_init(&mock);
    mock.service = service;
    folder_make();
    test_blocks();
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (size_t m = 0; m < sizeof models / sizeof *models; m++)
            if (ways[i].near < 0.01)
                test_model(models[m].name, ways[i].settings, ways[i].near);
            else if (models[m].has_blocks)
                test_model(models[m].name, ways[i].settings, models[m].more * ways[i].near);
    test_hostile();
    test_parts();
    return done_testing();
}
