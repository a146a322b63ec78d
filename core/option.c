/* option.c - texts to values, and back to words. */
#include "core/option.h"
#include "core/kind.h"

#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <stdlib.h>

enum { MAX_OPTIONS = 256 };

static const struct {
    size_t bytes, alignment;
} types[] = {
    [VW_OPTION_BOOL] = {sizeof(int32_t), _Alignof(int32_t)},
    [VW_OPTION_INT] = {sizeof(int64_t), _Alignof(int64_t)},
    [VW_OPTION_SIZE] = {sizeof(uint64_t), _Alignof(uint64_t)},
    [VW_OPTION_REAL] = {sizeof(double), _Alignof(double)},
    [VW_OPTION_STRING] = {sizeof(char *), _Alignof(char *)},
    [VW_OPTION_ENUM] = {sizeof(int32_t), _Alignof(int32_t)},
    [VW_OPTION_PATH] = {sizeof(char *), _Alignof(char *)},
    [VW_OPTION_LIST] = {sizeof(char **), _Alignof(char **)},
    [VW_OPTION_LABEL] = {sizeof(char *), _Alignof(char *)},
};

static bool is_type(vw_option_type type)
{
    return type >= VW_OPTION_BOOL && type <= VW_OPTION_LABEL;
}

size_t vw_option_bytes(vw_option_type type)
{
    return is_type(type) ? types[type].bytes : 0;
}

const vw_option *vw_option_find(const vw_option *options, const char *key)
{
    for (const vw_option *o = options; o && o->key; o++)
        if (strcmp(o->key, key) == 0)
            return o;
    return NULL;
}

/* ---- words ----------------------------------------------------------------------------------- */

static void expects_choice(const vw_option *o, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (const char *const *c = o->choices; c && *c && used < room; c++) {
        const char *before = c == o->choices ? "" : c[1] ? ", " : " or ";
        int n = snprintf(text + used, room - used, "%s%s", before, *c);
        used += n > 0 ? (size_t)n : 0;
    }
}

static void expects_number(const vw_option *o, const char *what, char *text, size_t room)
{
    bool has_top = o->max < 9.2e18;

    if (!(o->flags & VW_OPTION_RANGE))
        snprintf(text, room, "%s", what);
    else if (has_top)
        snprintf(text, room, "%s from %.15g to %.15g", what, o->min, o->max);
    else
        snprintf(text, room, "%s of at least %.15g", what, o->min);
}

void vw_option_expects(const vw_option *o, char *text, size_t room)
{
    switch (o->type) {
    case VW_OPTION_BOOL:
        snprintf(text, room, "yes or no");
        return;
    case VW_OPTION_INT:
        expects_number(o, "an integer", text, room);
        return;
    case VW_OPTION_SIZE:
        expects_number(o, "a size such as 65536, 64K, 16M or 2G", text, room);
        return;
    case VW_OPTION_REAL:
        expects_number(o, "a number", text, room);
        return;
    case VW_OPTION_STRING:
        snprintf(text, room, "a text");
        return;
    case VW_OPTION_ENUM:
        expects_choice(o, text, room);
        return;
    case VW_OPTION_PATH:
        snprintf(text, room, "a path");
        return;
    case VW_OPTION_LIST:
        snprintf(text, room, "words with commas between");
        return;
    case VW_OPTION_LABEL:
        snprintf(text, room, "the label of a section [%s:label]", o->choices[0]);
        return;
    }
    snprintf(text, room, "nothing");
}

/* "wrong; expected" */
static vw_status wrong(const vw_option *o, vw_error *err, const char *what)
{
    char expected[512];

    vw_option_expects(o, expected, sizeof expected);
    return vw_fail(err, VW_E_CONFIG, "%s; %s", what, expected);
}

/* ---- values ---------------------------------------------------------------------------------- */

static vw_status check_range(const vw_option *o, double value, vw_error *err)
{
    if ((o->flags & VW_OPTION_RANGE) && !(value >= o->min && value <= o->max))
        return wrong(o, err, "out of range");
    return VW_OK;
}

static vw_status parse_bool(const vw_option *o, const char *text, int32_t *value, vw_error *err)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) {
            *value = (int32_t)(i & 1);
            return VW_OK;
        }
    return wrong(o, err, "neither yes nor no");
}

/* What stands after a number that ended at `end`. */
static vw_status check_end(const vw_option *o, const char *text, const char *end, vw_error *err)
{
    char what[256];

    if (end == text)
        return wrong(o, err, "not a number");
    if (*end == '\0')
        return VW_OK;
    if (o->type == VW_OPTION_INT && *end == '.')
        return wrong(o, err, "not a whole number");
    snprintf(what, sizeof what, "\"%.64s\" after the number", end + (*end == ' '));
    vw_text_trim(what);
    return wrong(o, err, what);
}

static vw_status parse_int(const vw_option *o, const char *text, int64_t *value, vw_error *err)
{
    const char *digits = text + (*text == '-' || *text == '+');
    char *end = (char *)text;
    long long parsed = 0;
    vw_status status;

    errno = 0;
    if (*digits >= '0' && *digits <= '9')
        parsed = strtoll(text, &end, 10);
    status = check_end(o, text, end, err);
    if (status != VW_OK)
        return status;
    if (errno == ERANGE)
        return wrong(o, err, "out of range");
    *value = parsed;
    return check_range(o, (double)parsed, err);
}

static vw_status parse_size(const vw_option *o, const char *text, uint64_t *value, vw_error *err)
{
    static const char units[] = "KMGT";
    char *end = (char *)text;
    unsigned long long parsed = 0;
    const char *unit;
    vw_status status;
    int shift = 0;

    errno = 0;
    if (*text >= '0' && *text <= '9')
        parsed = strtoull(text, &end, 10);
    unit = end > text && *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        shift = 10 * (int)(unit - units + 1);
        end++;
    }
    status = check_end(o, text, end, err);
    if (status != VW_OK)
        return status;
    if (errno == ERANGE || parsed > UINT64_MAX >> shift)
        return wrong(o, err, "out of range");
    *value = (uint64_t)parsed << shift;
    return check_range(o, (double)*value, err);
}

/* strtod() in the C locale, whatever the program has chosen: a file means the same everywhere. */
static double plain_strtod(const char *text, char **end)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0), before;
    double value;

    if (!plain)
        return strtod(text, end);
    before = uselocale(plain);
    value = strtod(text, end);
    uselocale(before);
    freelocale(plain);
    return value;
}

static vw_status parse_real(const vw_option *o, const char *text, double *value, vw_error *err)
{
    size_t plain = strspn(text, "+-.0123456789eE"); /* no hexadecimals, infinities, NaN */
    char number[64], *end = number;
    double parsed = 0;
    vw_status status;

    if (plain >= sizeof number)
        return wrong(o, err, "too many digits");
    memcpy(number, text, plain);
    number[plain] = '\0';
    parsed = plain_strtod(number, &end);
    status = check_end(o, text, text + (end - number), err);
    if (status != VW_OK)
        return status;
    if (parsed - parsed != 0)
        return wrong(o, err, "out of range");
    *value = parsed;
    return check_range(o, parsed, err);
}

static vw_status parse_enum(const vw_option *o, const char *text, int32_t *value, vw_error *err)
{
    for (int32_t i = 0; o->choices[i]; i++)
        if (strcmp(text, o->choices[i]) == 0) {
            *value = i;
            return VW_OK;
        }
    return wrong(o, err, "not one of its choices");
}

static vw_status parse_path(const char *text, const char *folder, vw_texts *texts,
                            const char **value, vw_error *err)
{
    char path[4096];
    int n;

    if (*text == '\0' || *text == '/' || !folder || *folder == '\0')
        n = snprintf(path, sizeof path, "%s", text);
    else
        n = snprintf(path, sizeof path, "%s/%s", folder, text);
    if (n < 0 || (size_t)n >= sizeof path)
        return vw_fail(err, VW_E_CONFIG, "the path is too long; at most %zu bytes",
                       sizeof path - 1);
    *value = vw_texts_keep(texts, path);
    return *value ? VW_OK : vw_fail(err, VW_E_NOMEM, "out of memory");
}

static vw_status parse_texts(const vw_option *o, const char *text, const char *folder,
                             vw_texts *texts, void *field, vw_error *err)
{
    const void *kept;

    if (*text == '\0' && (o->flags & VW_OPTION_REQUIRED))
        return wrong(o, err, "the value is missing");
    if (!field)
        return VW_OK;
    if (o->type == VW_OPTION_PATH)
        return parse_path(text, folder, texts, field, err);
    if (o->type == VW_OPTION_LIST)
        kept = *(const char *const **)field = vw_texts_list(texts, text);
    else
        kept = *(const char **)field = vw_texts_keep(texts, text);
    return kept ? VW_OK : vw_fail(err, VW_E_NOMEM, "out of memory");
}

vw_status vw_option_parse(const vw_option *o, const char *text, const char *folder,
                          vw_texts *texts, void *field, vw_error *err)
{
    union {
        int32_t small;
        int64_t integer;
        uint64_t size;
        double real;
    } value;
    vw_status status = VW_E_CONFIG;

    if (o->type == VW_OPTION_STRING || o->type == VW_OPTION_PATH || o->type == VW_OPTION_LIST ||
        o->type == VW_OPTION_LABEL)
        return parse_texts(o, text, folder, texts, field, err);
    memset(&value, 0, sizeof value);
    if (*text == '\0')
        return wrong(o, err, "the value is missing");
    if (o->type == VW_OPTION_BOOL)
        status = parse_bool(o, text, &value.small, err);
    else if (o->type == VW_OPTION_INT)
        status = parse_int(o, text, &value.integer, err);
    else if (o->type == VW_OPTION_SIZE)
        status = parse_size(o, text, &value.size, err);
    else if (o->type == VW_OPTION_REAL)
        status = parse_real(o, text, &value.real, err);
    else if (o->type == VW_OPTION_ENUM)
        status = parse_enum(o, text, &value.small, err);
    if (status == VW_OK && field)
        memcpy(field, &value, vw_option_bytes(o->type));
    return status;
}

/* ---- a table from outside -------------------------------------------------------------------- */

static bool is_key(const char *key)
{
    size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && n < 50 && key[n] == '\0';
}

static vw_status validate(const vw_option *options, const vw_option *o, size_t config_size,
                          vw_error *err)
{
    vw_error why;

    if (!is_key(o->key))
        return vw_fail(err, VW_E_ABI,
                       "its option \"%.64s\" has a key that is not lower case letters, "
                       "digits and '_'",
                       o->key);
    if (vw_option_find(options, o->key) != o)
        return vw_fail(err, VW_E_ABI, "its option \"%s\" stands twice in its table", o->key);
    if (!is_type(o->type))
        return vw_fail(err, VW_E_ABI, "its option \"%s\" has the unknown type %d", o->key,
                       (int)o->type);
    if (!o->help || !*o->help)
        return vw_fail(err, VW_E_ABI, "its option \"%s\" has no help", o->key);
    if (o->offset % types[o->type].alignment != 0 || o->offset > config_size ||
        config_size - o->offset < types[o->type].bytes)
        return vw_fail(
            err, VW_E_ABI,
            "its option \"%s\" at offset %zu does not fit its configuration of %zu bytes", o->key,
            o->offset, config_size);
    if (o->type == VW_OPTION_ENUM && (!o->choices || !o->choices[0]))
        return vw_fail(err, VW_E_ABI, "its option \"%s\" has no choices", o->key);
    if (o->type == VW_OPTION_LABEL &&
        (!o->choices || !o->choices[0] || vw_kind_from_name(o->choices[0]) == VW_KIND_NONE))
        return vw_fail(err, VW_E_ABI, "its option \"%s\" is a label of no kind", o->key);
    if ((o->flags & VW_OPTION_RANGE) && !(o->min <= o->max))
        return vw_fail(err, VW_E_ABI, "its option \"%s\" has an empty range", o->key);
    if (o->flags & VW_OPTION_REQUIRED)
        return VW_OK;
    if (!o->def)
        return vw_fail(err, VW_E_ABI, "its option \"%s\" has no default", o->key);
    if (vw_option_parse(o, o->def, NULL, NULL, NULL, &why) != VW_OK)
        return vw_fail(err, VW_E_ABI, "its option \"%s\" has the default \"%.64s\": %s", o->key,
                       o->def, why.text);
    return VW_OK;
}

vw_status vw_options_validate(const vw_option *options, size_t config_size, vw_error *err)
{
    size_t n = 0;

    for (const vw_option *o = options; o && o->key; o++) {
        vw_status status = validate(options, o, config_size, err);
        if (status != VW_OK)
            return status;
        if (++n > MAX_OPTIONS)
            return vw_fail(err, VW_E_ABI, "its option table has no end; it needs VW_OPTION_END");
    }
    return VW_OK;
}
