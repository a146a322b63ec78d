/* convert_item.c - one tensor in its new form.
 *
 * In a folder quantised forms have the names and shapes of published checkpoints (stored.h): int8 by rows and
 * int4 as compressed-tensors writes them, fp8 as DeepSeek-V3, int8 in blocks alike.
 */
#include "core/convert.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "core/quantise.h"

static const struct {
    const char *name;
    vw_dtype dtype;      /* of the codes */
    const char *codes;   /* ending of their name */
    const char *scales;  /* NULL: none */
} forms[CONVERT_FORMS] = {
    [FORM_KEEP] = {"keep", VW_DTYPE_NONE, "", NULL},
    [FORM_F32] = {"f32", VW_F32, "", NULL},
    [FORM_BF16] = {"bf16", VW_BF16, "", NULL},
    [FORM_F16] = {"f16", VW_F16, "", NULL},
    [FORM_INT8_ROWS] = {"int8-rows", VW_I8, "", "_scale"},
    [FORM_INT8_BLOCKS] = {"int8-blocks", VW_I8, "", "_scale_inv"},
    [FORM_FP8_BLOCKS] = {"fp8-blocks", VW_E4M3, "", "_scale_inv"},
    [FORM_INT4_GROUPS] = {"int4-groups", VW_I32, "_packed", "_scale"},
    [FORM_Q8_0] = {"q8_0", VW_BLOCK, "", NULL},
    [FORM_Q4_0] = {"q4_0", VW_BLOCK, "", NULL},
};
enum { GGUF_BLOCK = 32 };
static const vw_block_format int4 = {sizeof int4, "int4", 8, 4, vw_int4_values},
                             q8_0 = {sizeof q8_0, "q8_0", GGUF_BLOCK, 34, vw_q8_0_values},
                             q4_0 = {sizeof q4_0, "q4_0", GGUF_BLOCK, 18, vw_q4_0_values};

const char *vw_convert_form_name(convert_form form) { return forms[form].name; }

static bool is_plain(convert_form f) { return f >= FORM_F32 && f <= FORM_F16; }

static bool is_block(convert_form f) { return f == FORM_Q8_0 || f == FORM_Q4_0; }

vw_status vw_convert_form_of(const char *name, bool is_gguf, convert_form *form, vw_error *err)
{
    *form = FORM_KEEP;
    for (int f = FORM_F32; name && f < CONVERT_FORMS; f++)
        if (!strcmp(name, forms[f].name) && (is_plain(f) || is_gguf == is_block(f)))
            *form = (convert_form)f;
    if (!name || *form)
        return VW_OK;
    return vw_fail(err, VW_E_CONFIG, "--quant %s: expected f32, bf16, f16, %s", name,
                   is_gguf ? "q8_0 or q4_0 for a GGUF file"
                           : "int8-rows, int8-blocks, fp8-blocks or int4-groups for a folder");
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static bool is_whole(const item *it)
{
    return !it->part.is_turned && it->part.rows == it->spec->rows;
}

/* Of what is written; rows 0: a vector. */
static int64_t rows_of(const item *it)
{
    return it->part.is_turned ? it->spec->cols : it->part.rows;
}

static int64_t cols_of(const item *it)
{
    return it->part.is_turned ? it->part.rows : it->spec->cols;
}

/* ---- which form ------------------------------------------------------------------------------ */

static bool matches(const char *const *patterns, const char *name)
{
    for (; patterns && *patterns; patterns++)
        if (!fnmatch(*patterns, name, 0))
            return true;
    return false;
}

/* Why a parameter is not quantised unless it is named: NULL when it is. */
static const char *why_not(const conversion *c, const item *it)
{
    const vw_param_spec *s = it->spec;
    const vw_convert_options *o = c->options;
    if (!s->rows && !is_plain(c->form))
        return "a vector";
    if (matches(o->exclude, it->name))
        return "excluded";
    if (o->include && *o->include && !matches(o->include, it->name))
        return "not included";
    if (is_block(c->form) && cols_of(it) % GGUF_BLOCK)
        return "rows are no whole blocks";
    if (it->is_joined && !is_plain(c->form))
        return "joined from several";
    if (o->include && *o->include)
        return NULL;
    if (s->is_steered)
        return "a bias of a router";
    if (is_plain(c->form))
        return NULL;
    if (s->is_exact)
        return "a router";
    return s->split == VW_SPLIT_VOCABULARY ? "an embedding or head" : NULL;
}

/* As it is, but for rows that are cut out, turned or joined: these are written anew, in the same
 * precision if that is one. */
static convert_form kept(const conversion *c, const item *it, bool is_coded)
{
    if (is_coded && (c->form != FORM_KEEP || c->spelling.size || it->source.tensor.layout == VW_IN_OUT))
        return FORM_F32;
    for (convert_form f = FORM_F32; !is_whole(it) && f <= FORM_F16; f++)
        if (it->source.tensor.dtype == forms[f].dtype)
            return f;
    return is_whole(it) ? FORM_KEEP : FORM_F32;
}

/* What is kept and has scales of its own would contradict a configuration that names one form, and
 * what lies turned would be misread. */
static convert_form choose_form(const conversion *c, item *it)
{
    const vw_stored *s = &it->source;
    bool is_turned = s->tensor.layout == VW_IN_OUT;
    bool is_coded = s->n_parts > 1 || s->tensor.format || is_turned;
    it->why = NULL;
    if (!it->spec)
        return FORM_KEEP;
    if (!it->spec->rows && (c->is_gguf || c->spelling.size))
        return FORM_F32; /* llama.cpp has norms in f32 alone, */
    if (it->spec->is_exact && c->is_gguf)
        return FORM_F32; /* and routers */
    if (c->form == FORM_KEEP)
        return kept(c, it, is_coded);
    it->why = why_not(c, it);
    if (it->why)
        return kept(c, it, is_coded);
    return !is_coded && is_whole(it) && s->tensor.dtype == forms[c->form].dtype ? FORM_KEEP : c->form;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void add_piece(item *it, char **name, const char *ending, vw_dtype dtype, int32_t n_dims,
                      int64_t d0, int64_t d1)
{
    const char *base = it->new_name;
    vw_weights_tensor *t = &it->pieces[it->n_pieces++].tensor;
    *t = (vw_weights_tensor){.name = *name, .dtype = dtype, .n_dims = n_dims, .shape = {d0, d1}};
    t->bytes = (size_t)(d0 * (n_dims > 1 ? d1 : 1)) * vw_dtype_bits(dtype) / 8;
    it->bytes += t->bytes;
    *name += sprintf(*name, "%s%s", base, ending) + 1;
}

static int64_t parts(int64_t n, int64_t of) { return (n + of - 1) / of; }

/* Its own name, with room for those of the pieces behind it. */
static vw_status name_item(conversion *c, item *it, vw_error *err)
{
    char base[512];
    it->name = it->new_name = it->source.tensor.name;
    if (!it->spec)
        return VW_OK;
    vw_param_name(c->engine, it->spec, base, sizeof base);
    const char *other = c->spelling.size ? it->part.name : base;
    it->names = vw_core_alloc(c->core, strlen(base) + 1 + MAX_PIECES * (strlen(other) + 16));
    if (!it->names)
        return vw_fail(err, VW_E_NOMEM, "no memory for a name");
    it->name = it->new_name = strcpy(it->names, base);
    if (c->spelling.size)
        it->new_name = other;
    return VW_OK;
}

/* A tensor of a GGUF file alone is written under another name; what it has beside is left out. */
static vw_status keep(const conversion *c, item *it)
{
    for (int i = 0; i < it->source.n_parts && (it->spec || !c->spelling.size); i++) {
        vw_weights_tensor *t = &it->pieces[it->n_pieces++].tensor;
        *t = it->source.parts[i];
        if (c->spelling.size)
            t->name = it->new_name;
        it->bytes += t->bytes;
    }
    return VW_OK;
}

/* A slice is a tensor of three dimensions to which others are added. */
static void make_slice(item *it)
{
    for (int i = 0; i < it->n_pieces; i++) {
        vw_weights_tensor *t = &it->pieces[i].tensor;
        t->n_dims = 3;
        t->shape[2] = t->shape[1];
        t->shape[1] = t->shape[0];
        t->shape[0] = 1;
    }
}

static void add_pieces(conversion *c, item *it)
{
    int64_t rows = rows_of(it), cols = cols_of(it);
    char *name = it->names + strlen(it->names) + 1;
    vw_dtype dtype = forms[it->form].dtype;
    const char *scales = forms[it->form].scales;
    if (!rows)
        add_piece(it, &name, "", dtype, 1, cols, 0);
    else if (it->form == FORM_INT4_GROUPS)
        add_piece(it, &name, forms[it->form].codes, dtype, 2, rows, parts(cols, 8));
    else
        add_piece(it, &name, "", dtype, 2, rows, cols);
    if (is_block(it->form)) {
        vw_weights_tensor *t = &it->pieces[0].tensor;
        t->format = it->form == FORM_Q8_0 ? &q8_0 : &q4_0;
        it->bytes = t->bytes = (size_t)(rows * cols / GGUF_BLOCK * t->format->bytes);
    }
    if (it->form == FORM_INT8_ROWS)
        add_piece(it, &name, scales, VW_F32, 2, rows, 1);
    else if (it->form == FORM_INT4_GROUPS)
        add_piece(it, &name, scales, VW_BF16, 2, rows, parts(cols, c->group));
    else if (scales)
        add_piece(it, &name, scales, VW_F32, 2, parts(rows, CONVERT_BLOCK), parts(cols, CONVERT_BLOCK));
    if (it->form == FORM_INT4_GROUPS)
        add_piece(it, &name, "_shape", VW_I64, 1, 2, 0);
}

vw_status vw_convert_plan_item(conversion *c, item *it, vw_error *err)
{
    vw_status st = name_item(c, it, err);
    if (st)
        return st;
    it->form = choose_form(c, it);
    if (it->form == FORM_KEEP)
        st = keep(c, it);
    else
        add_pieces(c, it);
    if (it->part.is_slice)
        make_slice(it);
    return st;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct encoder {
    conversion *c;
    item *it;
    vw_matrix source, target; /* the target's values, for the error */
    int64_t rows, cols;
    float shift;              /* of vectors, between the spellings */
    double *squares;          /* [parts][2]: of the difference, of the values */
    int is_out_of_room, is_not_finite;
} encoder;

static void encode_rows(const encoder *w, int64_t first, int64_t n, const float *x)
{
    const item *it = w->it;
    int64_t k = w->cols, block = first / CONVERT_BLOCK;
    char *codes = it->pieces[0].bytes;
    float *scales = it->pieces[1].bytes;
    switch (it->form) {
    case FORM_F32: memcpy(codes + first * k * 4, x, (size_t)(n * k) * 4); break;
    case FORM_BF16:
    case FORM_F16:
        for (int64_t i = 0; i < n * k; i++) {
            uint16_t h = it->form == FORM_BF16 ? vw_f32_to_bf16(x[i]) : vw_f32_to_f16(x[i]);
            memcpy(codes + (first * k + i) * 2, &h, 2);
        }
        break;
    case FORM_INT8_ROWS:
        vw_quantise_int8(x, n, k, 1, k, (int8_t *)codes + first * k, scales + first);
        break;
    case FORM_INT8_BLOCKS:
        vw_quantise_int8(x, n, k, CONVERT_BLOCK, CONVERT_BLOCK, (int8_t *)codes + first * k,
                         scales + block * parts(k, CONVERT_BLOCK));
        break;
    case FORM_FP8_BLOCKS:
        vw_quantise_e4m3(x, n, k, CONVERT_BLOCK, CONVERT_BLOCK, (uint8_t *)codes + first * k,
                         scales + block * parts(k, CONVERT_BLOCK));
        break;
    case FORM_Q8_0:
        vw_quantise_q8_0(x, n * k / GGUF_BLOCK, (uint8_t *)codes + first * k / GGUF_BLOCK * 34);
        break;
    case FORM_Q4_0:
        vw_quantise_q4_0(x, n * k / GGUF_BLOCK, (uint8_t *)codes + first * k / GGUF_BLOCK * 18);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            vw_quantise_int4(x + i * k, k, w->c->group,
                             (uint32_t *)(void *)codes + (first + i) * parts(k, 8),
                             (uint16_t *)(void *)scales + (first + i) * parts(k, w->c->group));
    }
}

/* Rows [first, first + n) of what is written, from the file's; `row` has room for one of these. */
static void read_rows(const encoder *w, int64_t first, int64_t n, float *row, float *x)
{
    const vw_respelt *part = &w->it->part;
    int64_t k = w->cols;
    for (int64_t i = 0; i < n && !part->is_turned; i++) {
        vw_dequantise_row(&w->source, part->first + first + i, row);
        memcpy(x + i * k, row, (size_t)k * sizeof *x);
    }
    for (int64_t j = 0; j < k && part->is_turned; j++) {
        vw_dequantise_row(&w->source, part->first + j, row);
        for (int64_t i = 0; i < n; i++)
            x[i * k + j] = row[first + i];
    }
}

/* 128 rows: a whole number of blocks. */
static void encode_part(void *arg, int part, int n_parts)
{
    encoder *w = arg;
    int64_t first = (int64_t)part * CONVERT_BLOCK, k = w->cols, room = (k > w->rows ? k : w->rows) + 256;
    int64_t n = w->rows - first < CONVERT_BLOCK ? w->rows - first : CONVERT_BLOCK;
    float *x = vw_core_alloc(w->c->core, (size_t)(n * k + 2 * room) * sizeof *x), *row;
    (void)n_parts;
    if (!x) {
        __atomic_store_n(&w->is_out_of_room, 1, __ATOMIC_RELAXED);
        return;
    }
    row = x + n * k;
    read_rows(w, first, n, row, x);
    for (int64_t i = 0; i < n * k; i++) {
        x[i] += w->shift;
        if (!isfinite(x[i]))
            __atomic_store_n(&w->is_not_finite, 1, __ATOMIC_RELAXED);
    }
    if (is_plain(w->it->form) || !__atomic_load_n(&w->is_not_finite, __ATOMIC_RELAXED))
        encode_rows(w, first, n, x);
    for (int64_t i = 0; i < n && w->squares; i++) {
        vw_dequantise_row(&w->target, first + i, row);
        for (int64_t j = 0; j < k; j++) {
            double d = (double)row[j] - (double)x[i * k + j];
            w->squares[2 * part] += d * d;
            w->squares[2 * part + 1] += (double)x[i * k + j] * x[i * k + j];
        }
    }
    vw_core_release(w->c->core, x);
}

/* What was written, as it will be read. */
static void set_target(encoder *w)
{
    const item *it = w->it;
    const piece *codes = it->pieces, *scales = it->pieces + 1;
    vw_matrix *m = &w->target;
    *m = (vw_matrix){.data = codes->bytes, .dtype = codes->tensor.dtype, .rows = w->rows,
                     .cols = w->cols, .row_stride = w->cols};
    m->format = codes->tensor.format;
    if (it->n_pieces > 1)
        m->scales = (vw_scales){scales->bytes, scales->tensor.dtype, CONVERT_BLOCK, CONVERT_BLOCK,
                                scales->tensor.shape[1]};
    if (it->form == FORM_INT8_ROWS || it->form == FORM_INT4_GROUPS) {
        m->scales.rows = 1;
        m->scales.cols = it->form == FORM_INT8_ROWS ? w->cols : w->c->group;
    }
    if (it->form == FORM_INT4_GROUPS) {
        m->dtype = VW_BLOCK;
        m->format = &int4;
        m->row_stride = parts(w->cols, 8) * 8;
    }
}

void vw_convert_drop(conversion *c, item *it)
{
    for (int i = 0; i < it->n_pieces; i++) {
        vw_core_release(c->core, it->pieces[i].bytes);
        it->pieces[i].bytes = NULL;
    }
}

vw_status vw_convert_encode(conversion *c, item *it, double *relative_error, vw_error *err)
{
    const vw_param_spec *s = it->spec;
    encoder w = {.c = c, .it = it, .source = it->source.matrix, .cols = cols_of(it),
                 .rows = s->rows ? rows_of(it) : 1};
    int n_parts = (int)parts(w.rows, CONVERT_BLOCK);
    if (!s->rows) {
        const vw_weights_tensor *t = &it->source.tensor;
        w.shift = c->spelling.size ? (float)c->spelling.vector_shift : 0;
        w.source = (vw_matrix){.data = t->data, .dtype = t->dtype, .rows = 1, .cols = s->cols,
                               .row_stride = s->cols};
    }
    for (int i = 0; i < it->n_pieces; i++)
        if (!(it->pieces[i].bytes = vw_core_alloc(c->core, it->pieces[i].tensor.bytes + 8)))
            w.is_out_of_room = 1;
    w.squares = vw_core_alloc(c->core, (size_t)(2 * n_parts) * sizeof *w.squares);
    if (!w.squares || w.is_out_of_room) {
        vw_core_release(c->core, w.squares);
        return vw_fail(err, VW_E_NOMEM, "no memory for tensor \"%s\"", it->name);
    }
    memset(w.squares, 0, (size_t)(2 * n_parts) * sizeof *w.squares);
    set_target(&w);
    vw_core_parallel_for(c->core, n_parts, encode_part, &w);
    if (it->form == FORM_INT4_GROUPS)
        memcpy(it->pieces[2].bytes, (int64_t[]){w.rows, w.cols}, 16);
    double off = 0, all = 0;
    for (int i = 0; i < n_parts; i++) {
        off += w.squares[2 * i];
        all += w.squares[2 * i + 1];
    }
    vw_core_release(c->core, w.squares);
    if (w.is_out_of_room)
        return vw_fail(err, VW_E_NOMEM, "no memory for rows of tensor \"%s\"", it->name);
    if (w.is_not_finite && !is_plain(it->form))
        return vw_fail(err, VW_E_FORMAT, "tensor \"%s\" has values that are not finite; %s has no code "
                       "for them", it->name, forms[it->form].name);
    if (!isfinite(off) && !w.is_not_finite)
        return vw_fail(err, VW_E_FORMAT, "tensor \"%s\" has values that are too large for %s", it->name,
                       forms[it->form].name);
    *relative_error = all > 0 ? sqrt(off / all) : 0;
    return VW_OK;
}
