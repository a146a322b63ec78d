/* json.c - the service "json", and the writer behind --json.
 *
 * What a document says is compared with what RFC 8259 says it says; what the writer prints is read
 * back by the reader, which is another program's parser.
 */
#include "core/json.h"
#include "core/json_write.h"
#include "t/folder.h"
#include "t/tap/tap.h"

#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const vw_json *json;

/* Parse a text that must be right. */
static vw_json_doc *parse(const char *text)
{
    vw_json_doc *doc = NULL;
    vw_error err = {VW_OK, ""};
    if (json->open_text(text, strlen(text), "text", &doc, &err))
        bail_out("%s: %s", text, err.text);
    return doc;
}

static void test_values(void)
{
    vw_json_doc *doc = parse("{\"z\":1,\"a\":[true,null,-2.5e1,\"x\\u0000y\"],\"m\":{\"k\":\"v\"},"
                             "\"big\":9223372036854775807,\"small\":-9223372036854775808,"
                             "\"wide\":1000000000000000019884624838656,"
                             "\"text\":\"9223372036854775808 \\\" 99999999999999999999\"}");
    const vw_json_value *root = json->root(doc), *a = json->get(root, "a");
    const char *key;
    size_t bytes;
    is_int(json->type(root), VW_JSON_OBJECT, "the root is an object");
    is_int(json->count(root), 7, "of seven members");
    json->member(root, 0, &key);
    is_str(key, "z", "members come in the order of the file: the first");
    json->member(root, 2, &key);
    is_str(key, "m", "the third");
    ok(!json->member(root, 7, &key), "no eighth member");
    is_int(json->count(a), 4, "an array of four");
    is_int(json->type(json->at(a, 0)), VW_JSON_BOOL, "true is a bool");
    is_int(json->integer(json->at(a, 0)), 1, "and 1");
    is_int(json->type(json->at(a, 1)), VW_JSON_NULL, "null is null");
    near(json->real(json->at(a, 2)), -25, 0, "a real");
    is_mem(json->string(json->at(a, 3), &bytes), "x\0y", 3, "a string with a zero byte");
    is_int(bytes, 3, "has three bytes");
    ok(!json->at(a, 4) && !json->at(root, 0), "nothing outside an array");
    ok(json->integer(json->get(root, "big")) == INT64_MAX, "2^63 - 1 is exact");
    ok(json->integer(json->get(root, "small")) == INT64_MIN, "-2^63 is exact");
    is_int(json->type(json->get(root, "wide")), VW_JSON_REAL, "a wider integer is a real");
    near(json->real(json->get(root, "wide")), 1e30, 1e14, "of its size");
    is_str(json->string(json->get(root, "text"), NULL),
           "9223372036854775808 \" 99999999999999999999", "digits in a string stay");
    is_int(json->type(json->get(root, "none")), VW_JSON_MISSING, "a missing member has no type");
    is_int(json->count(NULL), 0, "and no members");
    is_str(json->string(NULL, NULL), "", "and no text");
    is_int(json->integer(json->at(a, 2)), 0, "a real is no integer");
    json->close(doc);
    json->close(NULL);
}

/* More members than a linear search is used for. */
static void test_many_members(void)
{
    enum { N = 1000 };
    vw_json_writer w = {0};
    char key[24];
    int n_found = 0;
    vw_json_begin_object(&w, NULL);
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "key-%d", i * 7919 % N);
        vw_json_add_int(&w, key, i);
    }
    vw_json_end_object(&w);
    vw_json_doc *doc = parse(vw_json_text(&w, NULL));
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "key-%d", i * 7919 % N);
        n_found += json->integer(json->get(json->root(doc), key)) == i;
    }
    is_int(n_found, N, "each of %d members is found", N);
    ok(!json->get(json->root(doc), "key-1000"), "and no other");
    json->close(doc);
    vw_json_writer_free(&w);
}

/* Each getter with what it takes, what it refuses, and the sentence. */
static void test_getters(void)
{
    vw_json_doc *doc = parse("{\"n\":5,\"r\":1.5,\"b\":false,\"s\":\"gelu\",\"null\":null,"
                             "\"list\":[1],\"nul\":\"a\\u0000\",\"rope\":{\"factor\":\"x\\u001b\"},"
                             "\"long\":\"01234567890123456789012345678901234567890123456789\"}");
    const vw_json_value *root = json->root(doc);
    vw_error err = {VW_OK, ""};
    int64_t n = -1;
    double r = -1;
    int b = -1;
    const char *s = NULL;

    ok(!json->get_int(doc, root, "n", 5, 5, 0, &n, &err) && n == 5, "an integer in its range");
    ok(!json->get_int(doc, root, "none", 0, 9, 7, &n, &err) && n == 7, "a default");
    ok(!json->get_int(doc, root, "null", 0, 9, 8, &n, &err) && n == 8, "null counts as missing");
    ok(!json->get_int(doc, NULL, "n", 0, 9, 3, &n, &err) && n == 3, "so does a missing object");
    is_int(json->get_int(doc, root, "n", 6, 9, 0, &n, &err), VW_E_FORMAT, "below the range");
    is_str(err.text, "text: \"n\" is 5, expected an integer from 6 to 9", "its sentence");
    is_int(n, 3, "and nothing is written");
    json->get_int(doc, root, "r", 0, 9, 0, &n, &err);
    is_str(err.text, "text: \"r\" is 1.5, expected an integer from 0 to 9", "a real is no integer");
    json->get_int(doc, root, "list", 0, 9, 0, &n, &err);
    is_str(err.text, "text: \"list\" is an array, expected an integer from 0 to 9", "nor an array");
    json->get_int(doc, root, "long", 0, 9, 0, &n, &err);
    is_str(err.text, "text: \"long\" is the string \"01234567890123456789012345678901234567890123"
           "...\", expected an integer from 0 to 9", "a long value is cut in the sentence");
    json->get_int(doc, json->get(root, "list"), "n", 0, 9, 0, &n, &err);
    is_str(err.text, "text: \"list\" is an array, expected an object", "a member of an array");

    ok(!json->get_real(doc, root, "r", 0, &r, &err) && r == 1.5, "a real");
    ok(!json->get_real(doc, root, "n", 0, &r, &err) && r == 5, "an integer is a real too");
    ok(!json->get_real(doc, root, "none", 2, &r, &err) && r == 2, "its default");
    json->get_real(doc, json->get(root, "rope"), "factor", 0, &r, &err);
    is_str(err.text, "text: \"rope.factor\" is the string \"x?\", expected a number",
           "the way to a member is told, control characters are not");
    ok(!json->get_bool(doc, root, "b", 1, &b, &err) && b == 0, "a bool");
    json->get_bool(doc, root, "n", 1, &b, &err);
    is_str(err.text, "text: \"n\" is 5, expected true or false", "an integer is no bool");
    ok(!json->get_string(doc, root, "s", "", &s, &err) && !strcmp(s, "gelu"), "a string");
    json->get_string(doc, root, "b", "", &s, &err);
    is_str(err.text, "text: \"b\" is false, expected a string", "a bool is no string");
    json->get_string(doc, root, "nul", "", &s, &err);
    is_str(err.text, "text: \"nul\" is the string \"a?\", expected a string without a zero byte",
           "a zero byte is no part of a C string");
    json->close(doc);

    doc = parse("[[1],[{\"deep\":[0,true]}]]");
    json->get_int(doc, json->at(json->at(json->root(doc), 1), 0), "deep", 0, 1, 0, &n, &err);
    is_str(err.text, "text: \"[1][0].deep\" is an array, expected an integer from 0 to 1",
           "the way through arrays");
    json->get_int(doc, json->root(doc), "n", 0, 1, 0, &n, &err);
    is_str(err.text, "text: holds an array, expected an object", "the root itself");
    json->close(doc);
}

static const struct {
    const char *text, *sentence;
} bad[] = {
    {"", "text: line 1, column 0: not valid JSON: unexpected token near end of file"},
    {"{\"a\":1,\"a\":2}",
     "text: line 1, column 10: the key \"a\" is given twice"},
    {"{\"a\":1,\n \"\\u0061\":2}",
     "text: line 2, column 9: the key \"\\u0061\" is given twice"},
    {"[{\"\\\"k\\\\\":1,\"\\\"k\\\\\":99999999999999999999}]",
     "text: line 1, column 19: the key \"\\\"k\\\\\" is given twice"},
    {"{\"a\":1} x",
     "text: line 1, column 9: not valid JSON: end of file expected near 'x'"},
    {"{\"a\":1e999}",
     "text: line 1, column 10: not valid JSON: real number overflow near '1e999'"},
    {"{\"a\":NaN}", "text: line 1, column 8: not valid JSON: invalid token near 'NaN'"},
    {"[\"\xC0\xAF\"]",
     "text: line 1, column 2: not valid JSON: unable to decode byte 0xc0 near '\"'"},
    {"[\"\\ud800\"]", "text: line 1, column 9: not valid JSON: invalid Unicode '\\uD800' near "
     "'\"\\ud800\"'"},
};

static void test_bad_texts(void)
{
    vw_json_doc *doc = (vw_json_doc *)&doc;
    vw_error err;
    char deep[132];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        is_int(json->open_text(bad[i].text, strlen(bad[i].text), "text", &doc, &err), VW_E_FORMAT,
               "bad text %zu is refused", i);
        is_str(err.text, bad[i].sentence, "its sentence");
    }
    ok(doc == (vw_json_doc *)&doc, "nothing is written when a text is refused");
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    ok(!json->open_text(deep, 128, "text", &doc, &err), "64 levels are read");
    json->close(doc);
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    is_int(json->open_text(deep, 130, "text", &doc, &err), VW_E_FORMAT, "65 are refused");
    is_str(err.text, "text: nested deeper than 64 levels", "its sentence");
    /* Brackets in strings are no levels: as levels, these would be too many. */
    char text[256];
    snprintf(text, sizeof text, "[\"\\\"%.*s\", \"]]\"]", 65, deep);
    doc = parse(text);
    is_int(json->count(json->root(doc)), 2, "brackets in strings are no levels: two strings");
    deep[65] = '\0';
    is_str(json->string(json->at(json->root(doc), 0), NULL) + 1, deep, "the first, as written");
    is_str(json->string(json->at(json->root(doc), 1), NULL), "]]", "the second");
    json->close(doc);
    char *many = malloc(20u << 20);
    memset(many, ',', 20u << 20);
    is_int(json->open_text(many, 20u << 20, "text", &doc, &err), VW_E_FORMAT, "20 million values");
    is_str(err.text, "text: holds more than 8388608 values", "its sentence");
    free(many);
}

static void test_files(void)
{
    vw_json_doc *doc;
    vw_error err;
    char want[1200];
    const char *path = folder_text("good.json", "{\"n\":1}\n");
    ok(!json->open_file(path, &doc, &err), "a file is read");
    is_int(json->integer(json->get(json->root(doc), "n")), 1, "its member");
    json->close(doc);
    path = folder_path("none.json");
    is_int(json->open_file(path, &doc, &err), VW_E_NOTFOUND, "a missing file");
    snprintf(want, sizeof want, "cannot open %s: No such file or directory", path);
    is_str(err.text, want, "its sentence");
    path = folder_path("pipe.json");
    if (!mkfifo(path, 0600)) {
        is_int(json->open_file(path, &doc, &err), VW_E_IO, "a pipe does not hang us");
        snprintf(want, sizeof want, "%s: not a regular file", path);
        is_str(err.text, want, "its sentence");
    }
    path = folder_text("huge.json", "{}");
    if (!truncate(path, (off_t)200 << 20)) {
        is_int(json->open_file(path, &doc, &err), VW_E_FORMAT, "200 MiB are refused unread");
        snprintf(want, sizeof want, "%s: 209715200 bytes of JSON, expected at most 104857600",
                 path);
        is_str(err.text, want, "its sentence");
    }
    path = folder_text("bad.json", "{\"a\": }");
    json->open_file(path, &doc, &err);
    snprintf(want, sizeof want, "%s: line 1, column 7: not valid JSON: unexpected token near '}'",
             path);
    is_str(err.text, want, "a bad file is named");
}

static void test_writer(void)
{
    static const char odd[] = "\"\\/\b\f\n\r\t\x01\x7F é\xFF\xE2\x82"
                              " \xF0\x9F\x99\x82\xED\xA0\x80\0z";
    vw_json_writer w = {0};
    size_t bytes;
    vw_json_begin_object(&w, NULL);
    vw_json_begin_array(&w, "tokens");
    vw_json_add_int(&w, NULL, 2);
    vw_json_add_int(&w, NULL, INT64_MIN);
    vw_json_end_array(&w);
    vw_json_begin_object(&w, "empty");
    vw_json_end_object(&w);
    vw_json_add_uint(&w, "u", UINT64_MAX);
    vw_json_add_bool(&w, "b", 3);
    vw_json_add_null(&w, "n");
    vw_json_add_string(&w, "s", NULL);
    vw_json_add_float(&w, "f", 0.1f);
    vw_json_add_float(&w, "nan", NAN);
    vw_json_add_double(&w, "inf", -INFINITY);
    vw_json_add_double(&w, "d", 0.1);
    vw_json_end_object(&w);
    is_str(vw_json_text(&w, &bytes),
           "{\"tokens\":[2,-9223372036854775808],\"empty\":{},\"u\":18446744073709551615,"
           "\"b\":true,\"n\":null,\"s\":null,\"f\":0.1,\"nan\":null,\"inf\":null,\"d\":0.1}",
           "a document of everything");
    is_int(bytes, strlen(w.text), "and its length");
    vw_json_writer_free(&w);

    vw_json_begin_array(&w, NULL);
    vw_json_add_int(&w, NULL, 1);
    is_str(vw_json_take(&w, &bytes), "[1", "the begin of a document");
    is_int(bytes, 2, "and its length");
    vw_json_add_int(&w, NULL, 2);
    is_str(vw_json_take(&w, &bytes), ",2", "goes on");
    vw_json_end_array(&w);
    is_str(vw_json_text(&w, &bytes), "]", "to its end");
    vw_json_writer_free(&w);

    vw_json_add_bytes(&w, NULL, odd, sizeof odd - 1);
    is_str(vw_json_text(&w, NULL),
           "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u007f é\uFFFD\uFFFD\uFFFD \xF0\x9F\x99\x82"
           "\uFFFD\uFFFD\uFFFD\\u0000z\"", "escapes, and U+FFFD for each byte that is no UTF-8");
    vw_json_writer_free(&w);
    is_str(vw_json_text(&w, &bytes), "", "an empty writer holds nothing");
    vw_json_writer_free(&w);
}

/* A number that is written and read again by another parser is the same number. */
static void test_round_trip(void)
{
    enum { N = 20000 };
    uint64_t state = 1;
    int n_floats = 0, n_doubles = 0;
    vw_json_writer w = {0};
    float *floats = malloc(N * sizeof *floats);
    double *doubles = malloc(N * sizeof *doubles);
    vw_json_begin_array(&w, NULL);
    for (int i = 0; i < N; i++) {
        uint64_t bits = folder_random(&state);
        uint32_t half = (uint32_t)(bits >> 32);
        memcpy(doubles + i, &bits, 8);
        memcpy(floats + i, &half, 4);
        if (!isfinite(doubles[i]))
            doubles[i] = 5e-324;
        if (!isfinite(floats[i]))
            floats[i] = 1e-45f;
        vw_json_add_float(&w, NULL, floats[i]);
        vw_json_add_double(&w, NULL, doubles[i]);
    }
    vw_json_end_array(&w);
    vw_json_doc *doc = parse(vw_json_text(&w, NULL));
    for (int i = 0; i < N; i++) {
        const vw_json_value *root = json->root(doc);
        n_floats += (float)json->real(json->at(root, 2 * (size_t)i)) == floats[i];
        n_doubles += json->real(json->at(root, 2 * (size_t)i + 1)) == doubles[i];
    }
    is_int(n_floats, N, "%d random floats come back", N);
    is_int(n_doubles, N, "%d random doubles come back", N);
    json->close(doc);
    vw_json_writer_free(&w);
    free(floats);
    free(doubles);
}

static void test_locale(void)
{
    vw_json_writer w = {0};
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) {
        skip(2, "no locale with a decimal comma");
        return;
    }
    vw_json_add_double(&w, NULL, 1.5);
    is_str(vw_json_text(&w, NULL), "1.5", "a decimal comma of the locale is not written");
    vw_json_doc *doc = parse("1.5");
    near(json->real(json->root(doc)), 1.5, 0, "nor read");
    json->close(doc);
    vw_json_writer_free(&w);
    setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    json = vw_json_service();
    folder_make();
    test_values();
    test_many_members();
    test_getters();
    test_bad_texts();
    test_files();
    test_writer();
    test_round_trip();
    test_locale();
    return done_testing();
}
