/* sentencepiece_model.c - walks the protobuf of a tokenizer.model.
 *
 * Field numbers are those of sentencepiece_model.proto; of a field that is given twice the last one
 * counts, as everywhere in protobuf.
 */
#include "plugins/tokenizer/sentencepiece_model.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_BYTES ((size_t)100 << 20) /* the largest vocabularies of the field take 5 MB */
enum { MAX_PIECES = 4 << 20, MAX_PIECE_BYTES = 4096, MAX_USER_DEFINED = 1 << 20 };

enum { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5 };

/* A stretch of a message that is still to be read. */
typedef struct wire {
    const uint8_t *at, *end;
} wire;

typedef struct wire_field {
    uint32_t number;
    int type;       /* WIRE_... */
    uint64_t value; /* of a varint or fixed */
    wire bytes;     /* of WIRE_BYTES */
} wire_field;

typedef struct model_reader {
    sp_model *model;
    const char *path;
    sp_text charsmap, decharsmap; /* of the normaliser and of its inverse */
    uint64_t model_type;
    int64_t n_user_defined;
    vw_error *err;
} model_reader;

sp_text sp_text_of(const char *text)
{
    return (sp_text){text, (uint32_t)strlen(text)};
}

VW_PRINTF(2, 3)
static vw_status refuse(const model_reader *r, const char *format, ...)
{
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return vw_fail(r->err, VW_E_FORMAT, "%s: not a usable SentencePiece model: %s", r->path, what);
}

/* ---- the wire format ------------------------------------------------------------------------- */

static int read_varint(wire *w, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return 1;
    }
    return 0;
}

/* The next field; 0 where the bytes are no field.  Groups, long out of use, are none. */
static int read_field(wire *w, wire_field *f)
{
    uint64_t tag, length;
    if (!read_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
        return 0;
    f->number = (uint32_t)(tag >> 3);
    f->type = (int)(tag & 7);
    f->value = 0;
    size_t room = (size_t)(w->end - w->at), width = 0;
    switch (f->type) {
    case WIRE_VARINT:
        return read_varint(w, &f->value);
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        width = f->type == WIRE_FIXED64 ? 8 : 4;
        if (width > room)
            return 0;
        for (size_t i = 0; i < width; i++)
            f->value |= (uint64_t)w->at[i] << 8 * i;
        w->at += width;
        return 1;
    case WIRE_BYTES:
        if (!read_varint(w, &length) || length > (uint64_t)(w->end - w->at))
            return 0;
        f->bytes = (wire){w->at, w->at + length};
        w->at += length;
        return 1;
    default:
        return 0;
    }
}

static sp_text text_of(const wire_field *f)
{
    return (sp_text){(const char *)f->bytes.at, (uint32_t)(f->bytes.end - f->bytes.at)};
}

/* ---- the parts of a model -------------------------------------------------------------------- */

static int same(sp_text a, sp_text b)
{
    return a.bytes == b.bytes && !memcmp(a.at, b.at, a.bytes);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "<0x0A>" stands for, or -1. */
static int byte_of(sp_text t)
{
    if (t.bytes != 6 || memcmp(t.at, "<0x", 3) || t.at[5] != '>' || hex_digit(t.at[3]) < 0 ||
        hex_digit(t.at[4]) < 0)
        return -1;
    return 16 * hex_digit(t.at[3]) + hex_digit(t.at[4]);
}

static vw_status check_piece(model_reader *r, int32_t id, sp_piece *p)
{
    sp_model *m = r->model;
    int byte;
    if (!p->text.bytes || memchr(p->text.at, 0, p->text.bytes))
        return refuse(r, "piece %d is empty or holds a zero byte", id);
    if (p->text.bytes > MAX_PIECE_BYTES)
        return refuse(r, "piece %d has %u bytes, expected at most %d", id, p->text.bytes,
                      MAX_PIECE_BYTES);
    if (p->type == SP_UNKNOWN && m->unk >= 0)
        return refuse(r, "pieces %d and %d are both of the type unknown", m->unk, id);
    if (p->type == SP_UNKNOWN)
        m->unk = id;
    if (p->type == SP_USER_DEFINED && ++r->n_user_defined > MAX_USER_DEFINED)
        return refuse(r, "more than %d user-defined pieces", MAX_USER_DEFINED);
    if (p->type != SP_BYTE)
        return VW_OK;
    if ((byte = byte_of(p->text)) < 0)
        return refuse(r, "piece %d is of the type byte, but not of the form <0x0A>", id);
    p->byte = (uint8_t)byte;
    m->byte_id[byte] = id;
    m->has_bytes = 1;
    return VW_OK;
}

static vw_status read_piece(model_reader *r, wire w, int32_t id)
{
    sp_piece *p = r->model->pieces + id;
    wire_field f;
    *p = (sp_piece){.type = SP_NORMAL, .text = {(const char *)w.at, 0}};
    while (w.at < w.end) {
        if (!read_field(&w, &f))
            return refuse(r, "piece %d is damaged", id);
        if (f.number > 3)
            continue;
        if (f.type != (f.number == 1 ? WIRE_BYTES : f.number == 2 ? WIRE_FIXED32 : WIRE_VARINT))
            return refuse(r, "piece %d: field %u has the wire type %d", id, f.number, f.type);
        if (f.number == 1)
            p->text = text_of(&f);
        if (f.number == 2 && !isfinite(vw_bits_f32((uint32_t)f.value)))
            return refuse(r, "piece %d has no finite score", id);
        if (f.number == 2)
            p->score = vw_bits_f32((uint32_t)f.value);
        if (f.number == 3 && (f.value < SP_NORMAL || f.value > SP_BYTE))
            return refuse(r, "piece %d is of the type %llu, expected 1 to 6", id,
                          (unsigned long long)f.value);
        if (f.number == 3)
            p->type = (uint8_t)f.value;
    }
    return check_piece(r, id, p);
}

static vw_status read_trainer_spec(model_reader *r, wire w)
{
    sp_model *m = r->model;
    wire_field f;
    while (w.at < w.end) {
        if (!read_field(&w, &f))
            return refuse(r, "its trainer_spec is damaged");
        if (f.number == 3 && f.type == WIRE_VARINT)
            r->model_type = f.value;
        if (f.number == 24 && f.type == WIRE_VARINT)
            m->space_is_suffix = f.value != 0;
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 44)
            m->unk_surface = text_of(&f);
        if (f.number == 46)
            m->bos = text_of(&f);
        if (f.number == 47)
            m->eos = text_of(&f);
        if (f.number == 48)
            m->pad = text_of(&f);
    }
    return VW_OK;
}

/* A normalizer_spec; the flags of the inverse are nobody's business. */
static vw_status read_normalizer_spec(model_reader *r, wire w, sp_text *charsmap, int *adds_prefix,
                                      int *trims)
{
    wire_field f;
    while (w.at < w.end) {
        if (!read_field(&w, &f))
            return refuse(r, "its normalizer_spec is damaged");
        if (f.number == 2 && f.type == WIRE_BYTES)
            *charsmap = text_of(&f);
        if (f.number == 3 && f.type == WIRE_VARINT && adds_prefix)
            *adds_prefix = f.value != 0;
        if (f.number == 4 && f.type == WIRE_VARINT && trims)
            *trims = f.value != 0;
    }
    return VW_OK;
}

/* The normaliser's table: u32 size of a double array, the array, then the replacement texts, each
 * ended by a zero byte.  A unit of the array holds a label or a value (top bit), whether a value
 * hangs on it (bit 8), and the offset of its children (bits 10 to 30, times 256 with bit 9), which
 * is combined with a unit's own place and the next byte by exclusive or.  The library follows them
 * unchecked, so every place that any byte can lead to must lie inside. */
static vw_status check_charsmap(const model_reader *r, sp_text map)
{
    uint32_t size;
    if (!map.bytes)
        return VW_OK;
    if (map.bytes < 5)
        return refuse(r, "the normaliser's table has %u bytes", map.bytes);
    memcpy(&size, map.at, 4);
    const char *units = map.at + 4, *texts = units + size;
    if (size == 0 || size % 1024 || size >= map.bytes - 4)
        return refuse(r, "the normaliser's table claims %u bytes of %u", size, map.bytes - 4);
    uint32_t n = size / 4, n_texts = map.bytes - 4 - size;
    if (texts[n_texts - 1])
        return refuse(r, "the normaliser's last text has no end");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t unit, leaf;
        memcpy(&unit, units + 4 * (size_t)i, 4);
        if (unit >> 31 && i > 0)
            continue;
        uint32_t child = i ^ ((unit >> 10 & 0x1FFFFF) << (unit >> 6 & 8));
        if ((child | 255) >= n)
            return refuse(r, "the normaliser's table leads outside itself");
        memcpy(&leaf, units + 4 * (size_t)child, 4);
        if ((unit >> 8 & 1) && (leaf & 0x7FFFFFFF) >= n_texts)
            return refuse(r, "the normaliser's table names a text outside itself");
    }
    return VW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static vw_status count_pieces(const model_reader *r, wire w, int32_t *n)
{
    wire_field f;
    *n = 0;
    while (w.at < w.end) {
        if (!read_field(&w, &f))
            return refuse(r, "damaged or cut short at byte %zu",
                          (size_t)(w.at - (const uint8_t *)r->model->file));
        if (f.number <= 5 && f.type != WIRE_BYTES)
            return refuse(r, "field %u has the wire type %d", f.number, f.type);
        if (f.number == 1 && ++*n > MAX_PIECES)
            return refuse(r, "more than %d pieces", MAX_PIECES);
    }
    return *n ? VW_OK : refuse(r, "it holds no pieces");
}

static vw_status read_parts(model_reader *r, wire w)
{
    sp_model *m = r->model;
    vw_status status = VW_OK;
    wire_field f;
    while (w.at < w.end && !status && read_field(&w, &f)) {
        if (f.number == 1)
            status = read_piece(r, f.bytes, m->n_pieces++);
        else if (f.number == 2)
            status = read_trainer_spec(r, f.bytes);
        else if (f.number == 3)
            status = read_normalizer_spec(r, f.bytes, &r->charsmap, &m->adds_prefix, &m->trims);
        else if (f.number == 5)
            status = read_normalizer_spec(r, f.bytes, &r->decharsmap, NULL, NULL);
    }
    if (!status && (r->model_type < 1 || r->model_type > 4))
        status = refuse(r, "model type %llu, expected 1 to 4", (unsigned long long)r->model_type);
    if (!status && m->unk < 0)
        status = refuse(r, "no piece is of the type unknown");
    if (!status)
        status = check_charsmap(r, r->charsmap);
    if (!status)
        status = check_charsmap(r, r->decharsmap);
    return status;
}

vw_status sp_model_parse(const vw_host *host, const char *path, char *file, size_t bytes,
                         sp_model *m, vw_error *err)
{
    wire all = {(const uint8_t *)file, (const uint8_t *)file + bytes};
    model_reader r = {.model = m, .path = path, .model_type = 1, .err = err};
    int32_t n;
    *m = (sp_model){.file = file, .bytes = bytes, .unk = -1, .adds_prefix = 1, .trims = 1};
    m->bos = sp_text_of("<s>");
    m->eos = sp_text_of("</s>");
    m->pad = sp_text_of("<pad>");
    m->unk_surface = sp_text_of(" \xE2\x81\x87 ");
    for (int i = 0; i < 256; i++)
        m->byte_id[i] = -1;
    vw_status status = count_pieces(&r, all, &n);
    if (!status && !(m->pieces = host->alloc(host->core, (size_t)n * sizeof *m->pieces)))
        status = vw_fail(err, VW_E_NOMEM, "%s: no memory for %d pieces", path, n);
    if (!status)
        status = read_parts(&r, all);
    if (status)
        sp_model_free(host, m);
    return status;
}

vw_status sp_model_read(const vw_host *host, const char *path, sp_model *m, vw_error *err)
{
    struct stat st;
    size_t n = 0;
    ssize_t got = 1;
    char *file = NULL;
    vw_status status = VW_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s", path,
                       strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        status = vw_fail(err, VW_E_IO, "%s: not a regular file", path);
    else if ((uint64_t)st.st_size > MAX_BYTES)
        status = vw_fail(err, VW_E_FORMAT, "%s: %lld bytes, expected a SentencePiece model of at "
                         "most %zu", path, (long long)st.st_size, MAX_BYTES);
    else if (!(file = host->alloc(host->core, (size_t)st.st_size + 1)))
        status = vw_fail(err, VW_E_NOMEM, "%s: no memory to read it", path);
    while (!status && got && n < (size_t)st.st_size) {
        got = read(fd, file + n, (size_t)st.st_size - n);
        if (got < 0 && errno != EINTR)
            status = vw_fail(err, VW_E_IO, "cannot read %s: %s", path, strerror(errno));
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (!status)
        return sp_model_parse(host, path, file, n, m, err);
    host->free(host->core, file);
    return status;
}

void sp_model_free(const vw_host *host, sp_model *m)
{
    host->free(host->core, m->pieces);
    host->free(host->core, m->file);
    m->pieces = NULL;
    m->file = NULL;
}

int32_t sp_model_find(const sp_model *m, sp_text text, unsigned type_mask)
{
    for (int32_t i = 0; i < m->n_pieces; i++)
        if (type_mask >> m->pieces[i].type & 1 && same(m->pieces[i].text, text))
            return i;
    return -1;
}
