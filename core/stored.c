/* stored.c - finding a parameter and what belongs to it in a checkpoint. */
#include "core/stored.h"

#include <string.h>

#include "core/json.h"

enum { CODES = 8 }; /* of an int32 */

static const char block_scales[] = "_scale_inv", row_scales[] = "_scale", packed[] = "_packed",
                  shape[] = "_shape";
static const vw_block_format int4 = {sizeof int4, "int4", CODES, 4, vw_int4_values};

bool vw_stored_is_ending(const char *rest)
{
    return !*rest || !strcmp(rest, block_scales) || !strcmp(rest, row_scales) ||
           !strcmp(rest, packed) || !strcmp(rest, shape);
}

void vw_stored_shape(const vw_weights_tensor *t, char *text, size_t room)
{
    size_t at = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < t->n_dims && at < room; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld", i ? ", " : "",
                               (long long)t->shape[i]);
    if (at < room)
        snprintf(text + at, room - at, "]");
}

static vw_status find(vw_engine *e, const char *name, const char *ending, vw_weights_tensor *t,
                      vw_error *err)
{
    char whole[600];
    snprintf(whole, sizeof whole, "%s%s", name, ending);
    return e->wts->find(e->weights->self, e->reader, whole, t, err);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Who says what shape a tensor has to have. */
static const char *maker(const vw_engine *e)
{
    const vw_json *json = vw_json_service();
    return json->get(json->root(e->config), "general.architecture") ? "the file's keys make"
                                                                    : "config.json makes";
}

static vw_status check_shape(const vw_engine *e, const vw_param_spec *spec, const vw_weights_tensor *t,
                             vw_error *err)
{
    char have[160];
    bool is_turned = t->layout == VW_IN_OUT;
    int64_t rows = is_turned ? spec->cols : spec->rows, cols = is_turned ? spec->rows : spec->cols;
    bool fits = spec->n_slices ? t->n_dims == 3 && t->shape[0] == spec->n_slices &&
                                     t->shape[1] == rows && t->shape[2] == cols
                : spec->rows   ? t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols
                               : t->n_dims == 1 && t->shape[0] == spec->cols;
    if (fits)
        return VW_OK;
    vw_stored_shape(t, have, sizeof have);
    if (spec->n_slices)
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" has shape %s; %s it [%d, %lld, %lld]",
                       t->file, t->name, have, maker(e), spec->n_slices, (long long)rows,
                       (long long)cols);
    if (spec->rows)
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" has shape %s; %s it [%lld, %lld]", t->file,
                       t->name, have, maker(e), (long long)rows, (long long)cols);
    return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" has shape %s; %s it [%lld]", t->file, t->name,
                   have, maker(e), (long long)spec->cols);
}

/* One slice of it, as if it were a tensor by itself. */
static void take_slice(const vw_param_spec *spec, vw_weights_tensor *t)
{
    t->bytes /= (size_t)spec->n_slices;
    t->data = (const char *)t->data + (size_t)spec->slice * t->bytes;
    t->n_dims = 2;
    t->shape[0] = t->shape[1];
    t->shape[1] = t->shape[2];
}

/* Eight codes in an int32, a row's last one filled up; the shape before that stands beside. */
static vw_status check_packed(vw_engine *e, const char *name, const vw_param_spec *spec,
                              vw_stored *out, vw_error *err)
{
    char have[160];
    const vw_weights_tensor *t = &out->tensor;
    vw_weights_tensor s;
    int64_t words = (spec->cols + CODES - 1) / CODES, said[2];
    if (t->dtype != VW_I32 || t->n_dims != 2 || t->shape[0] != spec->rows || t->shape[1] != words) {
        vw_stored_shape(t, have, sizeof have);
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is %s %s; config.json and four bits a "
                       "value make it int32 [%lld, %lld]", t->file, t->name, vw_dtype_name(t->dtype),
                       have, (long long)spec->rows, (long long)words);
    }
    if (find(e, name, shape, &s, NULL))
        return VW_OK;
    if (s.dtype != VW_I64 || s.n_dims != 1 || s.shape[0] != 2)
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is no int64 [2]", s.file, s.name);
    memcpy(said, s.data, sizeof said);
    out->parts[out->n_parts++] = s;
    if (said[0] == spec->rows && said[1] == spec->cols)
        return VW_OK;
    return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" says [%lld, %lld]; config.json makes it "
                   "[%lld, %lld]", s.file, s.name, (long long)said[0], (long long)said[1],
                   (long long)spec->rows, (long long)spec->cols);
}

/* ---- scales ---------------------------------------------------------------------------------- */

static bool is_scale(vw_dtype t)
{
    return t == VW_F32 || t == VW_BF16 || t == VW_F16;
}

/* The block of a file's scales, [128, 128] unless config.json's quantization_config says. */
static void scale_block(vw_engine *e, int64_t block[2])
{
    const vw_json *json = vw_json_service();
    const vw_json_value *v = json->get(json->root(e->config), "quantization_config");
    v = v ? json->get(v, "weight_block_size") : NULL;
    for (size_t i = 0; i < 2; i++) {
        int64_t size = v ? json->integer(json->at(v, i)) : 0;
        block[i] = size > 0 && size <= INT32_MAX ? size : 128;
    }
}

static vw_status take_blocks(vw_engine *e, const vw_weights_tensor *s, vw_matrix *m, vw_error *err)
{
    char have[160];
    int64_t block[2];
    scale_block(e, block);
    int64_t rows = (m->rows + block[0] - 1) / block[0], cols = (m->cols + block[1] - 1) / block[1];
    if (!is_scale(s->dtype) || s->n_dims != 2 || s->shape[0] != rows || s->shape[1] != cols) {
        vw_stored_shape(s, have, sizeof have);
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is %s %s; blocks of %lldx%lld make it "
                       "f32 [%lld, %lld]", s->file, s->name, vw_dtype_name(s->dtype), have,
                       (long long)block[0], (long long)block[1], (long long)rows, (long long)cols);
    }
    m->scales = (vw_scales){s->data, s->dtype, block[0], block[1], cols};
    return VW_OK;
}

/* The values of a row that share one of `n` scales: equal parts, or as quantization_config says. */
static int64_t group_of(vw_engine *e, int64_t cols, int64_t n)
{
    const vw_json *json = vw_json_service();
    const vw_json_value *v = json->get(json->root(e->config), "quantization_config");
    static const char *const path[] = {"config_groups", "group_0", "weights", "group_size", NULL};
    for (const char *const *key = path; v && *key; key++)
        v = json->get(v, *key);
    int64_t said = v ? json->integer(v) : 0;
    if (said > 0 && said <= INT32_MAX && (cols + said - 1) / said == n)
        return said;
    return n > 0 && cols % n == 0 ? cols / n : 0;
}

static vw_status take_groups(vw_engine *e, const vw_weights_tensor *s, vw_matrix *m, vw_error *err)
{
    char have[160];
    int64_t rows = s->n_dims >= 1 ? s->shape[0] : 1, cols = s->n_dims >= 2 ? s->shape[1] : 1;
    bool is_one = rows == 1 && cols == 1, is_known = s->n_dims <= 2 && is_scale(s->dtype);
    int64_t group = group_of(e, m->cols, cols);
    if (!is_known || !(is_one || rows == m->rows) || group < 1) {
        vw_stored_shape(s, have, sizeof have);
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is %s %s; expected f32, bf16 or f16, one "
                       "scale, or %lld rows of scales for equal parts of %lld values", s->file,
                       s->name, vw_dtype_name(s->dtype), have, (long long)m->rows,
                       (long long)m->cols);
    }
    m->scales = (vw_scales){s->data, s->dtype, is_one ? m->rows : 1, group, cols};
    return VW_OK;
}

static vw_status find_scales(vw_engine *e, const char *name, vw_stored *out, vw_error *err)
{
    vw_matrix *m = &out->matrix;
    vw_weights_tensor s;
    if (m->format != &int4 && m->dtype != VW_E4M3 && m->dtype != VW_E5M2 && m->dtype != VW_I8)
        return VW_OK;
    bool is_by_row = find(e, name, row_scales, &s, NULL) == VW_OK;
    vw_status st = is_by_row ? VW_OK : find(e, name, block_scales, &s, err);
    if (st)
        return vw_fail_in(err, st, "tensor \"%s\" is %s and needs its scales", name,
                          m->format ? m->format->name : vw_dtype_name(m->dtype));
    out->parts[out->n_parts++] = s;
    return is_by_row ? take_groups(e, &s, m, err) : take_blocks(e, &s, m, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

vw_status vw_stored_find(vw_engine *e, const vw_param_spec *spec, vw_stored *out, vw_error *err)
{
    char name[512];
    vw_weights_tensor *t = &out->tensor;
    vw_matrix *m = &out->matrix;
    memset(out, 0, sizeof *out);
    vw_param_name(e, spec, name, sizeof name);
    vw_status st = find(e, name, "", t, err);
    bool is_packed = st == VW_E_NOTFOUND && spec->rows && find(e, name, packed, t, NULL) == VW_OK;
    out->is_absent = st == VW_E_NOTFOUND && !is_packed && spec->is_optional;
    if (out->is_absent)
        return VW_OK;
    if (st && !is_packed)
        return st;
    st = is_packed ? VW_OK : check_shape(e, spec, t, err);
    if (!st && spec->n_slices)
        take_slice(spec, t);
    out->parts[out->n_parts++] = *t;
    if (!st && is_packed)
        st = check_packed(e, name, spec, out, err);
    if (st || !spec->rows)
        return st;
    *m = (vw_matrix){.data = t->data, .dtype = t->dtype, .layout = t->layout, .rows = t->shape[0],
                     .cols = t->shape[1], .row_stride = t->shape[1], .scales = t->scales,
                     .format = t->format};
    if (is_packed) {
        m->cols = spec->cols;
        m->dtype = VW_BLOCK;
        m->format = &int4;
        m->row_stride = t->shape[1] * CODES;
    }
    return m->scales.rows ? VW_OK : find_scales(e, name, out, err);
}
