/* fullsize-grok.c - a checkpoint with Grok-1's names and shapes and holes for values, as xAI
 * published it and under keyfan's names: it opens in seconds, every tensor that the model wants is
 * there in its shape, and what is missing or misshapen is named.
 *
 * fullsize-grok.t full: 64 layers of the published sizes, 318 GB and 631 GB of holes; else a few
 * layers of them.
 */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/model.h>
#include <vishwamai/weights.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { V = 131072, D = 6144, F = 32768, E = 8, KV = 1024 };

static int n_layers = 3;

/* ---- pickles with holes ---------------------------------------------------------------------- */

/* A literal, its zero bytes too. */
#define PUT(text, to) fwrite(text, 1, sizeof(text) - 1, to)

static void put_shape(FILE *to, const int64_t *shape, int n)
{
    fputc('(', to);
    for (int i = 0; i < n; i++) {
        fputc('J', to);
        for (int b = 0; b < 4; b++)
            fputc((int)(shape[i] >> 8 * b & 255), to);
    }
    fputc('t', to);
}

/* As numpy pickles an array, with a hole where its values would be. */
static void put_array(FILE *to, const char *type, int64_t bytes, const int64_t *shape, int n)
{
    for (int i = 0; i < n; i++)
        bytes *= shape[i];
    fputs("cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n", to);
    PUT("K\0\x85" "C\1btR(K\1", to);
    put_shape(to, shape, n);
    fputs("cnumpy\ndtype\n(", to);
    if (*type == 'b')
        fputs("cml_dtypes\nbfloat16\n", to);
    else
        fprintf(to, "X%c%c%c%c%s", 2, 0, 0, 0, type);
    PUT("\x89\x88tR(K\3X\1\0\0\0<NNNJ\xFF\xFF\xFF\xFFJ\xFF\xFF\xFF\xFFK\0tb\x89\x8E", to);
    for (int b = 0; b < 8; b++)
        fputc((int)(bytes >> 8 * b & 255), to);
    fseeko(to, bytes, SEEK_CUR);
    fputs("tb", to);
}

static void write_leaf(size_t i, const int64_t *shape, int n, int64_t blocks)
{
    char name[64];
    int64_t scales[3];
    snprintf(name, sizeof name, "ckpt-0/tensor%05zu_000", i);
    FILE *to = fopen(folder_path(name), "wb");
    if (!to)
        bail_out("cannot write %s", name);
    fputs("\x80\x04", to);
    if (blocks) {
        memcpy(scales, shape, sizeof *scales * (size_t)n);
        scales[n - 2] = blocks;
        fputs("c__main__\nQuantizedWeight8bit\n)\x81}(X", to);
        PUT("\6\0\0\0weight", to);
        put_array(to, "i1", 1, shape, n);
        PUT("X\6\0\0\0scales", to);
        put_array(to, "bf16", 2, scales, n);
        fputs("ub", to);
    } else {
        put_array(to, "f4", 4, shape, n);
    }
    fputc('.', to);
    if (fclose(to))
        bail_out("cannot write %s", name);
}

typedef struct leaf {
    int64_t shape[3];
    int n, blocks;
} leaf;

/* The published table, formats.md section 4. */
static const leaf leaves[12] = {
    {{E, D, F}, 3, 1}, {{E, F, D}, 3, 8}, {{E, D, F}, 3, 1}, {{D, KV}, 2, 1}, {{D, D}, 2, 8},
    {{D, D}, 2, 1}, {{D, KV}, 2, 1}, {{D}, 1, 0}, {{D}, 1, 0}, {{D}, 1, 0}, {{D}, 1, 0}, {{D, E}, 2, 0},
};

static void write_original(void)
{
    static const int64_t embedding[] = {V, D}, norm[] = {D};
    mkdir(folder_path("ckpt-0"), 0777);
    write_leaf(0, embedding, 2, 0);
    write_leaf(1, norm, 1, 0);
    for (int i = 0; i < 12 * n_layers; i++)
        write_leaf(2 + (size_t)i, leaves[i % 12].shape, leaves[i % 12].n, leaves[i % 12].blocks);
}

/* ---- safetensors with a hole ----------------------------------------------------------------- */

static void write_safetensors(const vw_model_info *info)
{
    char *header;
    size_t bytes;
    uint64_t end = 0;
    FILE *text = open_memstream(&header, &bytes);
    for (size_t i = 0; text && i < info->n_params; i++) {
        const vw_param_spec *s = &info->params[i];
        uint64_t n = (uint64_t)(s->rows ? s->rows : 1) * (uint64_t)s->cols * 2;
        char rows[32] = "";
        if (s->is_optional)
            continue;
        if (s->rows)
            snprintf(rows, sizeof rows, "%lld,", (long long)s->rows);
        fprintf(text, "%c\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s%lld],\"data_offsets\":[%llu,%llu]}",
                i ? ',' : '{', s->name, rows, (long long)s->cols, (unsigned long long)end,
                (unsigned long long)(end + n));
        end += n;
    }
    if (!text || fputc('}', text) < 0 || fclose(text))
        bail_out("no memory");
    FILE *to = fopen(folder_path("model.safetensors"), "wb");
    if (!to)
        bail_out("cannot write");
    for (int b = 0; b < 8; b++)
        fputc((int)(bytes >> 8 * b & 255), to);
    fwrite(header, 1, bytes, to);
    fflush(to);
    if (ftruncate(fileno(to), (off_t)(8 + bytes + end)) || fclose(to))
        bail_out("no room for %llu bytes of holes", (unsigned long long)end);
    free(header);
}

/* ---- what is found --------------------------------------------------------------------------- */

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? vw_json_service() : NULL;
}

/* Every parameter, with its shape; returns the bytes of values and scales. */
static uint64_t check_tensors(const vw_weights_ops *ops, void *self, vw_weights_reader *r,
                              const vw_model_info *info)
{
    uint64_t bytes = 0;
    size_t n_right = 0, n_wanted = 0;
    for (size_t i = 0; i < info->n_params; i++) {
        const vw_param_spec *s = &info->params[i];
        vw_weights_tensor t;
        vw_error err;
        n_wanted += !s->is_optional;
        if (ops->find(self, r, s->name, &t, &err))
            continue;
        int64_t rows = t.layout == VW_IN_OUT ? t.shape[1] : t.shape[0],
                cols = t.layout == VW_IN_OUT ? t.shape[0] : t.shape[1];
        n_right += s->rows ? t.n_dims == 2 && rows == s->rows && cols == s->cols
                           : t.n_dims == 1 && t.shape[0] == s->cols;
        bytes += t.bytes;
        if (t.scales.rows)
            bytes += (uint64_t)(t.shape[0] / t.scales.rows * t.shape[1] * 2);
    }
    is_int(n_right, n_wanted, "every tensor is there in its shape");
    is_int(ops->count(self, r), n_wanted, "and no other");
    return bytes;
}

/* "x GB" of a layer's int8 with its scales, its norms and router; and what is outside of layers. */
static uint64_t expected_bytes(void)
{
    uint64_t bytes = ((uint64_t)V * D + D) * 4;
    for (int i = 0; i < 12; i++) {
        uint64_t n = 1, scales = 0;
        const leaf *l = &leaves[i];
        for (int d = 0; d < l->n; d++)
            n *= (uint64_t)l->shape[d];
        if (l->blocks)
            scales = n / (uint64_t)l->shape[l->n - 2] * (uint64_t)l->blocks * 2;
        bytes += (uint64_t)n_layers * (l->blocks ? n + scales : 4 * n);
    }
    return bytes;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void load_model(mock_instance *model, const char *config)
{
    vw_json_doc *doc;
    vw_error err = {VW_OK, ""};
    const vw_model_ops *ops = model->component.ops;
    if (vw_json_service()->open_text(config, strlen(config), "its config", &doc, &err) ||
        ops->load(model->component.self, vw_json_service(), doc, &err))
        bail_out("%s", err.text);
    vw_json_service()->close(doc);
}

static void test_original(mock_host *mock, mock_instance *model)
{
    mock_instance it;
    vw_weights_reader *r;
    vw_error err = {VW_OK, ""};
    if (!mock_open(mock, mock_plugin(VW_KIND_WEIGHTS, "grok1"), NULL, &it))
        bail_out("weights/grok1 does not open");
    const vw_weights_ops *ops = it.component.ops;
    double start = now();
    if (ops->open(it.component.self, folder_path(""), &r, &err))
        bail_out("%s", err.text);
    ok(now() - start < 10, "%d pickles open in seconds", 2 + 12 * n_layers);
    load_model(model, ops->config(it.component.self, r));
    const vw_model_info *info = ((const vw_model_ops *)model->component.ops)->info(model->component.self);
    is_int(info->n_layers, n_layers, "the shapes tell the layers");
    is_int(info->q_heads, 48, "the heads");
    is_int(info->caches[0].k_heads, 8, "and the key heads");
    is_int(check_tensors(ops, it.component.self, r, info), expected_bytes(), "so many bytes");
    ops->close(it.component.self, r);
    unlink(folder_path("ckpt-0/tensor00020_000"));
    is_int(ops->open(it.component.self, folder_path(""), &r, &err), VW_E_FORMAT, "a missing file");
    like(err.text, "file 21 of ", "is told by its place");
    like(err.text, "ckpt-0/tensor00020_000: No such file", "and by its name");
    static const int64_t wrong[] = {D, E + 1, 2};
    write_leaf(20, wrong, 3, 0);
    is_int(ops->open(it.component.self, folder_path(""), &r, &err), VW_E_FORMAT, "a misshapen one");
    like(err.text, "tensor00020_000: multi_head_attention.value has 3 dimensions; 2 are expected",
         "is told by its name");
    write_leaf(20, leaves[6].shape, 2, 7);
    is_int(ops->open(it.component.self, folder_path(""), &r, &err), VW_E_FORMAT, "wrong scales");
    like(err.text, "tensor00020_000: the scales of multi_head_attention.value do not fit it",
         "are told by its name");
    folder_text("ckpt-0/tensor00000_001", "x");
    is_int(ops->open(it.component.self, folder_path(""), &r, &err), VW_E_UNSUPPORTED, "another host");
    like(err.text, "tensor00000_001 is of a second host; the published checkpoint is of one",
         "is told");
    unlink(folder_path("ckpt-0/tensor00000_001"));
    unlink(folder_path("ckpt-0/tensor00020_000"));
    alarm(20);
    if (!mkfifo(folder_path("ckpt-0/tensor00020_000"), 0600))
        is_int(ops->open(it.component.self, folder_path(""), &r, &err), VW_E_IO, "a pipe does not hang us");
    alarm(0);
    mock_close(mock, &it);
}

static void test_safetensors(mock_host *mock, const vw_model_info *info)
{
    mock_instance it;
    vw_weights_reader *r;
    vw_error err = {VW_OK, ""};
    if (!mock_open(mock, mock_plugin(VW_KIND_WEIGHTS, "safetensors"), NULL, &it))
        bail_out("weights/safetensors does not open");
    const vw_weights_ops *ops = it.component.ops;
    write_safetensors(info);
    double start = now();
    if (ops->open(it.component.self, folder_path("model.safetensors"), &r, &err))
        bail_out("%s", err.text);
    ok(now() - start < 10, "%zu tensors under keyfan's names open in seconds", info->n_params - 1);
    check_tensors(ops, it.component.self, r, info);
    ops->close(it.component.self, r);
    mock_close(mock, &it);
}

int main(int argc, char **argv)
{
    mock_host mock, files; /* each counts its own memory */
    mock_instance model;
    if (argc > 1 && !strcmp(argv[1], "full"))
        n_layers = 64;
    folder_make();
    mock_host_init(&mock);
    mock_host_init(&files);
    mock.is_quiet = files.is_quiet = true;
    mock.service = files.service = service;
    if (!mock_open(&mock, mock_plugin(VW_KIND_MODEL, "grok"), NULL, &model))
        bail_out("model/grok does not open");
    write_original();
    test_original(&files, &model);
    test_safetensors(&files, ((const vw_model_ops *)model.component.ops)->info(model.component.self));
    mock_close(&mock, &model);
    return done_testing();
}
