/* convert_config.c - what stands beside the tensors: config.json, the index of shards, and the files
 * that only travel.
 *
 * quantization_config says which form the matrices have, in the words of the published checkpoints
 * of that form, so that other programs read the folder too.
 */
#include "core/convert.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/checkpoint.h"
#include "core/json.h"

enum { MOST_BYTES = 64 << 20 }; /* of a file that only travels */

static vw_status write_json(const conversion *c, const char *name, vw_json_writer *w, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    size_t bytes;
    const char *text = vw_json_text(w, &bytes);
    vw_status st = vw_convert_path(c, name, path, err);
    if (!st)
        st = text ? vw_file_write(path, text, bytes, err)
                  : vw_fail(err, VW_E_NOMEM, "no memory for %s", path);
    vw_json_writer_free(w);
    return st;
}

vw_status vw_convert_write_index(conversion *c, vw_error *err)
{
    vw_json_writer w = {0};
    char shard[VW_SHARD_NAME];
    uint64_t total = 0;
    for (size_t i = 0; i < c->n_items; i++)
        total += c->items[i].bytes;
    vw_json_begin_object(&w, NULL);
    vw_json_begin_object(&w, "metadata");
    vw_json_add_uint(&w, "total_size", total);
    vw_json_end_object(&w);
    vw_json_begin_object(&w, "weight_map");
    for (size_t i = 0; i < c->n_items; i++)
        for (int p = 0; p < c->items[i].n_pieces && !c->items[i].continues; p++)
            vw_json_add_string(&w, c->items[i].pieces[p].tensor.name,
                               vw_convert_shard(c, c->items[i].shard, shard));
    vw_json_end_object(&w);
    vw_json_end_object(&w);
    return write_json(c, "model.safetensors.index.json", &w, err);
}

/* ---- config.json ----------------------------------------------------------------------------- */

void vw_convert_put_value(vw_json_writer *w, const char *key, const vw_json_value *v)
{
    const vw_json *json = vw_json_service();
    const char *name, *text;
    size_t bytes;
    switch (json->type(v)) {
    case VW_JSON_BOOL: vw_json_add_bool(w, key, json->integer(v) != 0); break;
    case VW_JSON_INTEGER: vw_json_add_int(w, key, json->integer(v)); break;
    case VW_JSON_REAL: vw_json_add_real(w, key, json->real(v)); break;
    case VW_JSON_STRING:
        text = json->string(v, &bytes);
        vw_json_add_bytes(w, key, text, bytes);
        break;
    case VW_JSON_ARRAY:
        vw_json_begin_array(w, key);
        for (size_t i = 0; i < json->count(v); i++)
            vw_convert_put_value(w, NULL, json->at(v, i));
        vw_json_end_array(w);
        break;
    case VW_JSON_OBJECT:
        vw_json_begin_object(w, key);
        for (size_t i = 0; i < json->count(v); i++) {
            const vw_json_value *member = json->member(v, i, &name);
            vw_convert_put_value(w, name, member);
        }
        vw_json_end_object(w);
        break;
    default: vw_json_add_null(w, key);
    }
}

/* Modules whose matrix stayed as it was, but for the embedding, which is no linear module. */
static void put_ignored(const conversion *c, vw_json_writer *w, const char *key)
{
    char name[512];
    vw_json_begin_array(w, key);
    for (size_t i = 0; i < c->n_items; i++) {
        const item *it = &c->items[i];
        if (!it->spec || !it->spec->rows || it->form == c->form || it->continues)
            continue;
        snprintf(name, sizeof name, "%s", it->new_name);
        char *ending = strstr(name, ".weight");
        if (ending && !strstr(name, "embed"))
            *ending = '\0';
        if (ending && !*ending)
            vw_json_add_string(w, NULL, name);
    }
    vw_json_end_array(w);
}

static void put_blocks(vw_json_writer *w, const char *method)
{
    vw_json_add_string(w, "quant_method", method);
    vw_json_add_string(w, "activation_scheme", "dynamic");
    vw_json_begin_array(w, "weight_block_size");
    vw_json_add_int(w, NULL, CONVERT_BLOCK);
    vw_json_add_int(w, NULL, CONVERT_BLOCK);
    vw_json_end_array(w);
}

static void put_compressed(const conversion *c, vw_json_writer *w)
{
    bool is_int4 = c->form == FORM_INT4_GROUPS;
    vw_json_add_string(w, "quant_method", "compressed-tensors");
    vw_json_add_string(w, "format", is_int4 ? "pack-quantized" : "int-quantized");
    vw_json_add_string(w, "quantization_status", "compressed");
    vw_json_begin_object(w, "config_groups");
    vw_json_begin_object(w, "group_0");
    vw_json_begin_array(w, "targets");
    vw_json_add_string(w, NULL, "Linear");
    vw_json_end_array(w);
    vw_json_begin_object(w, "weights");
    vw_json_add_int(w, "num_bits", is_int4 ? 4 : 8);
    vw_json_add_string(w, "type", "int");
    vw_json_add_bool(w, "symmetric", 1);
    vw_json_add_bool(w, "dynamic", 0);
    vw_json_add_string(w, "strategy", is_int4 ? "group" : "channel");
    if (is_int4)
        vw_json_add_int(w, "group_size", c->group);
    vw_json_end_object(w);
    vw_json_add_null(w, "input_activations");
    vw_json_add_null(w, "output_activations");
    vw_json_end_object(w);
    vw_json_end_object(w);
    put_ignored(c, w, "ignore");
}

static void put_quantization(const conversion *c, vw_json_writer *w)
{
    vw_json_begin_object(w, "quantization_config");
    if (c->form == FORM_FP8_BLOCKS) {
        put_blocks(w, "fp8");
        vw_json_add_string(w, "fmt", "e4m3");
    } else if (c->form == FORM_INT8_BLOCKS) {
        put_blocks(w, "blockwise_int8");
    } else {
        put_compressed(c, w);
    }
    vw_json_end_object(w);
}

vw_status vw_convert_write_config(conversion *c, vw_error *err)
{
    static const char *const dtypes[] = {[FORM_F32] = "float32", [FORM_BF16] = "bfloat16",
                                         [FORM_F16] = "float16"};
    const vw_json *json = vw_json_service();
    const vw_json_value *root = json->root(c->config ? c->config : c->engine->config);
    const char *dtype = c->form >= FORM_F32 && c->form <= FORM_F16 ? dtypes[c->form] : NULL;
    vw_json_writer w = {0};
    vw_json_begin_object(&w, NULL);
    for (size_t i = 0; i < json->count(root); i++) {
        const char *key;
        const vw_json_value *v = json->member(root, i, &key);
        bool is_dtype = !strcmp(key, "torch_dtype") || !strcmp(key, "dtype");
        if (is_dtype && dtype)
            vw_json_add_string(&w, key, dtype);
        else if (c->form == FORM_KEEP || strcmp(key, "quantization_config") != 0)
            vw_convert_put_value(&w, key, v);
    }
    if (c->form > FORM_F16)
        put_quantization(c, &w);
    vw_json_end_object(&w);
    return write_json(c, "config.json", &w, err);
}

/* ---- what only travels ----------------------------------------------------------------------- */

/* No weights, nothing that is written anew, nothing that is true of the source alone. */
static bool travels(const char *name)
{
    static const char *const endings[] = {".safetensors", ".index.json", ".gguf", ".bin", ".pt",
                                          ".pth", ".tmp", NULL};
    size_t n = strlen(name);
    for (const char *const *e = endings; *e; e++)
        if (n >= strlen(*e) && !strcmp(name + n - strlen(*e), *e))
            return false;
    return name[0] != '.' && strcmp(name, "config.json") != 0 && strcmp(name, "checksums") != 0;
}

static vw_status copy_file(const conversion *c, const char *from, const char *name, size_t bytes,
                           vw_error *err)
{
    char path[VW_PLACE_BYTES];
    vw_status st = vw_convert_path(c, name, path, err);
    char *data = st ? NULL : vw_core_alloc(c->core, bytes + 1);
    FILE *f = data ? fopen(from, "rb") : NULL;
    if (!st && !data)
        st = vw_fail(err, VW_E_NOMEM, "no memory to copy %s", from);
    if (!st && (!f || fread(data, 1, bytes, f) != bytes))
        st = vw_fail(err, VW_E_IO, "cannot read %s: %s", from, strerror(errno));
    if (f)
        fclose(f);
    if (!st)
        st = vw_file_write(path, data, bytes, err);
    vw_core_release(c->core, data);
    return st;
}

vw_status vw_convert_copy_files(conversion *c, vw_error *err)
{
    const char *folder = c->engine->path;
    struct dirent **names;
    char from[VW_PLACE_BYTES];
    struct stat about;
    vw_status st = VW_OK;
    if (c->spelling.size) {
        vw_core_log(c->core, VW_LOG_WARN, "the vocabulary stays in %s; a tokenizer.model or "
                    "tokenizer.json beside the new files makes them read text", folder);
        return VW_OK;
    }
    int n = scandir(folder, &names, NULL, alphasort);
    if (n < 0)
        return vw_fail(err, VW_E_IO, "%s: cannot be read: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        bool fits = snprintf(from, sizeof from, "%s/%s", folder, names[i]->d_name) <
                    (int)sizeof from;
        if (!st && fits && travels(names[i]->d_name) && !stat(from, &about) && S_ISREG(about.st_mode)) {
            if (about.st_size > MOST_BYTES)
                vw_core_log(c->core, VW_LOG_WARN, "%s is not copied: %lld MiB", from,
                            (long long)about.st_size >> 20);
            else
                st = copy_file(c, from, names[i]->d_name, (size_t)about.st_size, err);
        }
        free(names[i]);
    }
    free(names);
    return st;
}
