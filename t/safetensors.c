/* safetensors.c - weights/safetensors against the world: the bundled model, files of another
 * writer, the bytes of its own, and every hostile file with its sentence.
 */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/weights.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const vw_weights_ops *ops;
static void *self;
static mock_host mock;

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? vw_json_service() : NULL;
}

static const char *in_source(const char *name)
{
    static char ring[4][1024];
    static int next;
    const char *top = getenv("top_srcdir");
    char *path = ring[next++ % 4];
    snprintf(path, sizeof ring[0], "%s/%s", top ? top : ".", name);
    return path;
}

/* A file of this header and `n` bytes of data, each its own index. */
static const char *make_file(const char *name, const char *header, size_t n)
{
    static unsigned char data[4096];
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        data[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(data + 8, header, length);
    for (size_t i = 0; i < n; i++)
        data[8 + length + i] = (unsigned char)i;
    return folder_write(name, data, 8 + length + n);
}

/* ---- what others wrote ----------------------------------------------------------------------- */

static void test_bundled_model(void)
{
    vw_weights_reader *r;
    vw_weights_tensor t;
    vw_error err = {VW_OK, ""};
    if (!ok(!ops->open(self, in_source("etc/models/tiny-gemma"), &r, &err), "the bundled model: %s",
            err.text))
        return;
    is_int(ops->count(self, r), 47, "5 layers of 9 tensors, the embedding and the norm");
    ok(!ops->find(self, r, "model.embed_tokens.weight", &t, &err), "its embedding");
    ok(t.dtype == VW_BF16 && t.n_dims == 2 && t.shape[0] == 1024 && t.shape[1] == 144,
       "bf16 [1024, 144]");
    is_int(t.bytes, 1024 * 144 * 2, "of so many bytes");
    like(t.file, "etc/models/tiny-gemma/model.safetensors", "in this file");
    is_int(ops->find(self, r, "model.layers.5.mlp.up_proj.weight", &t, &err), VW_E_NOTFOUND,
           "a sixth layer is not there");
    like(err.text, ": no tensor \"model.layers.5.mlp.up_proj.weight\"; the nearest name is "
         "\"model.layers.0.mlp.up_proj.weight\"", "its sentence names the nearest");
    ops->find(self, r, "x", &t, &err);
    like(err.text, ": no tensor \"x\" among 47", "and none where none is near");
    ops->close(self, r);
}

/* t/data/safetensors-bad/expected.tsv: path, accept|reject|either, subject, what it is. */
static void test_expected(void)
{
    char *table = folder_slurp(in_source("t/data/safetensors-bad/expected.tsv"), NULL);
    char *state, *line = strtok_r(table, "\n", &state);
    while ((line = strtok_r(NULL, "\n", &state))) {
        char name[200], verdict[16], subject[200], path[400], quoted[204];
        vw_weights_reader *r = NULL;
        vw_error err = {VW_OK, ""};
        if (sscanf(line, "%199[^\t]\t%15[^\t]\t%199[^\t]", name, verdict, subject) != 3)
            bail_out("not three fields: %s", line);
        snprintf(path, sizeof path, "t/data/safetensors-bad/%s", name);
        vw_status status = ops->open(self, in_source(path), &r, &err);
        if (!strcmp(verdict, "either")) {
            ok(1, "%s: either", name);
        } else if (!strncmp(name, "model-", 6) && strcmp(name, "model-no-weights/")) {
            ok(!status, "%s is well-formed; what is wrong with it is the model's to say", name);
        } else if (!strcmp(verdict, "accept")) {
            vw_weights_tensor t;
            ok(!status, "%s is read: %s", name, err.text);
            ok(status || !strcmp(subject, "-") || !ops->find(self, r, subject, &t, &err),
               "%s holds %s", name, subject);
        } else {
            ok(status == VW_E_FORMAT || status == VW_E_NOTFOUND, "%s is refused: %s", name,
               err.text);
            snprintf(quoted, sizeof quoted, "\"%s\"", subject);
            ok(!strcmp(subject, "-") || strstr(err.text, subject), "%s: the sentence names %s",
               name, subject);
            if (strlen(name) > 1)
                name[strlen(name) - (name[strlen(name) - 1] == '/')] = '\0';
            like(err.text, name, "%s: and the file", name);
        }
        if (!status)
            ops->close(self, r);
    }
    free(table);
}

/* ---- what we write --------------------------------------------------------------------------- */

static void test_bytes(void)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"a\\u000a\":{\"dtype\":\"BF16\",\"shape\":[1,3],\"data_offsets\":[8,14]},"
        "\"s\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[14,15]}}";
    static const char *const pairs[] = {"format", "pt", NULL};
    static const vw_weights_tensor t[] = {
        {.name = "b", .dtype = VW_F32, .n_dims = 1, .shape = {2}},
        {.name = "a\n", .dtype = VW_BF16, .n_dims = 2, .shape = {1, 3}},
        {.name = "s", .dtype = VW_I8, .n_dims = 0}};
    vw_error err = {VW_OK, ""};
    vw_weights_writer *w;
    size_t bytes, length = 0, n = sizeof header - 1;
    ops->create(self, folder_path("w.safetensors"), t, 3, pairs, &w, &err);
    ops->write(self, w, "12345678abcdefz", 15, &err);
    ok(!ops->finish(self, w, &err), "a file is written: %s", err.text);
    char *file = folder_slurp(folder_path("w.safetensors"), &bytes);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | (unsigned char)file[i];
    is_int(length % 64, 56, "its data begins at a multiple of 64");
    ok(length >= n && length < n + 64, "with no more than that of padding");
    is_int(bytes, 8 + length + 15, "nothing follows the data");
    is_mem(file + 8, header, n, "the header is the format's");
    is_int(strspn(file + 8 + n, " "), length - n, "padded with spaces");
    is_mem(file + 8 + length, "12345678abcdefz", 15, "the data in the order of the declaration");
    free(file);
    vw_weights_tensor five = {.name = "x", .dtype = VW_I4, .n_dims = 1, .shape = {2}};
    is_int(ops->create(self, folder_path("i4"), &five, 1, NULL, &w, &err), VW_E_UNSUPPORTED,
           "the format has no int4");
    like(err.text, ": tensor \"x\": the format has no dtype for int4", "its sentence");
    five = (vw_weights_tensor){.name = "x", .dtype = VW_E2M1, .n_dims = 1, .shape = {3}};
    is_int(ops->create(self, folder_path("f4"), &five, 1, NULL, &w, &err), VW_E_INVALID,
           "half a byte is not written");
}

/* ---- folders and shards ---------------------------------------------------------------------- */

#define U8(name, n, begin, end) \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" n "],\"data_offsets\":[" begin "," end "]}"
#define ONE(name, n) "{" U8(name, n, "0", n) "}"

static void test_folder(void)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    vw_weights_tensor t;
    char want[2400];
    mkdir(folder_path("m"), 0700);
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_NOTFOUND, "an empty folder");
    snprintf(want, sizeof want, "%s: neither model.safetensors nor model.safetensors.index.json "
             "nor any other *.safetensors", folder_path("m"));
    is_str(err.text, want, "its sentence");
    make_file("m/x.safetensors", ONE("lone", "2"), 2);
    ok(!ops->open(self, folder_path("m/"), &r, &err) && !ops->find(self, r, "lone", &t, &err),
       "a lone file of any name is found");
    ops->close(self, r);
    make_file("m/y.safetensors", ONE("other", "3"), 3);
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_NOTFOUND, "of two nobody knows which");
    snprintf(want, sizeof want, "%s: several *.safetensors and no model.safetensors.index.json "
             "that joins them; name one file", folder_path("m"));
    is_str(err.text, want, "its sentence");
    ok(!ops->open(self, folder_path("m/y.safetensors"), &r, &err), "one can be named");
    ops->close(self, r);

    folder_text("m/model.safetensors.index.json", "{\"metadata\":{\"total_size\":5},\"weight_map\":"
                "{\"other\":\"y.safetensors\",\"lone\":\"x.safetensors\"}}");
    ok(!ops->open(self, folder_path("m"), &r, &err), "an index joins them: %s", err.text);
    is_int(ops->count(self, r), 2, "both tensors");
    ops->tensor(self, r, 0, &t, &err);
    is_str(t.name, "lone", "ordered over the shards");
    is_str(t.file, folder_path("m/x.safetensors"), "each with its file");
    ops->close(self, r);
    ok(!ops->open(self, folder_path("m/model.safetensors.index.json"), &r, &err),
       "by its own name");
    ops->close(self, r);
    make_file("m/model.safetensors", ONE("whole", "1"), 1);
    ops->open(self, folder_path("m"), &r, &err);
    ok(!ops->find(self, r, "whole", &t, &err), "model.safetensors goes before an index");
    ops->close(self, r);
    unlink(folder_path("m/model.safetensors"));
}

/* Shards and an index that do not say the same. */
static void test_disagreement(void)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    char want[2400];
    folder_text("m/model.safetensors.index.json", "{\"weight_map\":{\"lone\":\"x.safetensors\"}}");
    make_file("m/x.safetensors", "{" U8("lone", "2", "0", "2") "," U8("more", "2", "2", "4") "}",
              4);
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_FORMAT, "a tensor nobody asks for");
    snprintf(want, sizeof want, "%s: tensor \"more\" is in this shard, but not in %s",
             folder_path("m/x.safetensors"), folder_path("m/model.safetensors.index.json"));
    is_str(err.text, want, "its sentence");
    make_file("m/x.safetensors", ONE("lone", "2"), 2);
    make_file("m/z.safetensors", ONE("lone", "3"), 3);
    folder_text("m/model.safetensors.index.json", "{\"weight_map\":{\"lone\":\"x.safetensors\","
                "\"other\":\"y.safetensors\",\"z\":\"z.safetensors\"}}");
    ops->open(self, folder_path("m"), &r, &err);
    like(err.text, "z.safetensors: tensor \"z\" is not in this shard, where ", "a wrong shard");
    make_file("m/z.safetensors", "{" U8("lone", "0", "0", "0") "," U8("z", "1", "0", "1") "}", 1);
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_FORMAT, "a tensor in two shards");
    snprintf(want, sizeof want, "%s: tensor \"lone\" is in this shard, but %s looks for it in %s",
             folder_path("m/z.safetensors"), folder_path("m/model.safetensors.index.json"),
             folder_path("m/x.safetensors"));
    is_str(err.text, want, "its sentence");
    unlink(folder_path("m/z.safetensors"));
    folder_text("m/model.safetensors.index.json", "{\"weight_map\":{\"lone\":\"x.safetensors\","
                "\"other\":\"x.safetensors\"}}");
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_FORMAT, "an index that is wrong");
    snprintf(want, sizeof want, "%s: tensor \"other\" is not in this shard, where %s says it is",
             folder_path("m/x.safetensors"), folder_path("m/model.safetensors.index.json"));
    is_str(err.text, want, "its sentence");
}

/* An index that names no files, or the wrong ones. */
static void test_bad_index(void)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    char want[2400];
    folder_text("m/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"x.safetensors\","
                "\"b\":\"z.safetensors\"}}");
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_NOTFOUND, "a missing shard");
    snprintf(want, sizeof want, "%s: shard 2 of 2 is missing: cannot open %s: No such file or "
             "directory", folder_path("m/model.safetensors.index.json"),
             folder_path("m/z.safetensors"));
    is_str(err.text, want, "its sentence");
    folder_text("m/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../../x\"}}");
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_FORMAT, "a way out of the folder");
    snprintf(want, sizeof want, "%s: weight_map: tensor \"a\" is said to lie in \"../../x\", "
             "expected the name of a file beside the index",
             folder_path("m/model.safetensors.index.json"));
    is_str(err.text, want, "its sentence");
    folder_text("m/model.safetensors.index.json", "{\"weight_map\":{}}");
    is_int(ops->open(self, folder_path("m"), &r, &err), VW_E_FORMAT, "an index of nothing");
    snprintf(want, sizeof want, "%s: no weight_map, expected an object from tensor names to file "
             "names", folder_path("m/model.safetensors.index.json"));
    is_str(err.text, want, "its sentence");
    if (!mkfifo(folder_path("pipe.safetensors"), 0600))
        is_int(ops->open(self, folder_path("pipe.safetensors"), &r, &err), VW_E_IO,
               "a pipe does not hang us");
}

/* ---- sentences ------------------------------------------------------------------------------- */

#define KNOWN "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F4 I16 U16 F16 BF16 I32 U32 F32 I64 U64 F64"

static const struct {
    const char *header;
    size_t n;
    const char *sentence; /* after "PATH: " */
} bad[] = {
    {"[]", 0, "the header does not begin with {; this is no safetensors file"},
    {"{", 0, "line 1, column 1: not valid JSON: string or '}' expected near end of file"},
    {"{\"a\":1}", 0, "tensor \"a\": not an object with dtype, shape and data_offsets"},
    {"{\"a\":{\"shape\":[],\"data_offsets\":[0,1]}}", 1,
     "tensor \"a\": no dtype, expected one of " KNOWN},
    {"{\"a\":{\"dtype\":\"C64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8,
     "tensor \"a\": dtype \"C64\" is unknown, expected one of " KNOWN},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1,
     "tensor \"a\": no shape, expected an array of sizes"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,-1],\"data_offsets\":[0,1]}}", 1,
     "tensor \"a\": dimension 1 of its shape is no size, expected an integer from 0 to 2^63 - 1"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     "tensor \"a\": 9 dimensions, expected at most 8"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"offsets\":[0,1]}}", 1,
     "tensor \"a\": no data_offsets, expected [begin, end]"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.5]}}", 1,
     "tensor \"a\": data_offsets are no offsets, expected [begin, end] in bytes of the data"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1,
     "tensor \"a\": data_offsets [1, 0] end before they begin"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0,
     "tensor \"a\": F32 [4294967296, 4294967296, 0] is no whole number of bytes below 2^61"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
     "tensor \"a\": F4 [3] is no whole number of bytes below 2^61"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,8]}}", 8,
     "tensor \"a\": data_offsets [0, 8] hold 8 bytes, expected 24 for F32 [2, 3]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7,
     "tensor \"a\": ends at byte 8 of the data, but the file holds only 7; it is cut short"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5,
     "tensor \"b\": begins at byte 3 of the data, inside tensor \"a\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}", 8,
     "tensor \"b\": begins at byte 6 of the data, but bytes 4 to 6 before it belong to no tensor"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 6,
     "bytes 4 to 6 of the data belong to no tensor"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object of strings"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__ \"k\" is not a string"},
    {"{\"a\x7F\\u001b[31m\":1}", 0,
     "tensor \"a??[31m\": not an object with dtype, shape and data_offsets"},
};

static void test_sentences(void)
{
    vw_weights_reader *r = NULL;
    vw_error err;
    char want[1600];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path = make_file("bad.safetensors", bad[i].header, bad[i].n);
        is_int(ops->open(self, path, &r, &err), VW_E_FORMAT, "bad file %zu is refused", i);
        snprintf(want, sizeof want, "%s: %s", path, bad[i].sentence);
        is_str(err.text, want, "its sentence");
    }
    const char *path = folder_write("bad.safetensors", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
    ops->open(self, path, &r, &err);
    snprintf(want, sizeof want, "%s: a header of 18446744073709551615 bytes, expected at most "
             "100000000; this is no safetensors file", path);
    is_str(err.text, want, "a header of 2^64 - 1 bytes");
    path = folder_write("bad.safetensors", "\x03\0\0\0\0\0\0\0{}", 10);
    ops->open(self, path, &r, &err);
    snprintf(want, sizeof want, "%s: a header of 3 bytes in a file of 10; it is cut short", path);
    is_str(err.text, want, "a header longer than the file");
    path = folder_write("bad.safetensors", "1234567", 7);
    ops->open(self, path, &r, &err);
    snprintf(want, sizeof want, "%s: 7 bytes, too short for a safetensors file", path);
    is_str(err.text, want, "a file of seven bytes");
    path = folder_write("bad.safetensors", "", 0);
    ops->open(self, path, &r, &err);
    snprintf(want, sizeof want, "%s: an empty file", path);
    is_str(err.text, want, "a file of none");
}

/* ---- the probe ------------------------------------------------------------------------------- */

static void test_probe(const vw_plugin *plugin)
{
    char why[256], want[1300];
    vw_probe about = {.size = sizeof about, .folder = folder_path("m")};
    ok(plugin->probe(&about, why, sizeof why) > 0, "a folder with shards");
    is_str(why, "found 3 safetensors files", "the reason");
    about.folder = in_source("etc/models/tiny-gemma");
    ok(plugin->probe(&about, why, sizeof why) > 0, "the bundled model");
    is_str(why, "found model.safetensors", "the reason");
    mkdir(folder_path("e"), 0700);
    about.folder = folder_path("e");
    is_int(plugin->probe(&about, why, sizeof why), 0, "an empty folder");
    snprintf(want, sizeof want, "%s holds no *.safetensors", about.folder);
    is_str(why, want, "the reason");
    about.folder = folder_path("none");
    is_int(plugin->probe(&about, why, sizeof why), 0, "no folder");
}

static void test_no_service(const vw_plugin *plugin)
{
    mock_instance it;
    vw_error err = {VW_OK, ""};
    mock.service = NULL;
    is_int(mock_try_open(&mock, plugin, NULL, &it, &err), VW_E_ABI, "a core without JSON");
    is_str(err.text, "weights/safetensors needs version 1 of the service \"json\", which this core "
           "does not have", "its sentence");
    mock.service = service;
}

int main(void)
{
    mock_instance it;
    const vw_plugin *plugin = mock_plugin(VW_KIND_WEIGHTS, "safetensors");
    if (!plugin)
        bail_out("weights/safetensors is not there");
    folder_make();
    mock_host_init(&mock);
    mock.is_quiet = true;
    test_no_service(plugin);
    if (!mock_open(&mock, plugin, NULL, &it))
        return done_testing();
    ops = it.component.ops;
    self = it.component.self;
    test_bundled_model();
    test_expected();
    test_bytes();
    test_folder();
    test_disagreement();
    test_bad_index();
    test_sentences();
    test_probe(plugin);
    mock_close(&mock, &it);
    return done_testing();
}
