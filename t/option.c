/* option.c - one option at a time: texts to values, and the words for what is wrong. */
#include "core/nearest.h"
#include "core/option.h"
#include "t/tap/tap.h"

#include <locale.h>
#include <stdlib.h>
#include <vishwamai/vishwamai.h>

static const char *const colours[] = {"red", "green", "blue", NULL};
static vw_texts *texts;
static vw_error err;

/* Parse into `field`; "" when it went well, else the words. */
static const char *parse(vw_option_type type, const char *text, void *field)
{
    const vw_option o = {"key", type, NULL, 0, 0, colours, 0, 0, "help"};

    return vw_option_parse(&o, text, "/folder", texts, field, &err) == VW_OK ? "" : err.text;
}

static const char *parse_range(vw_option_type type, const char *text, double min, double max)
{
    const vw_option o = {"key", type, NULL, min, max, colours, 0, VW_OPTION_RANGE, "help"};
    double unused[2];

    return vw_option_parse(&o, text, NULL, texts, unused, &err) == VW_OK ? "" : err.text;
}

static void test_bool(void)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false",
                                                                                "off", "0"};
    int32_t value;

    for (int i = 0; i < 4; i++) {
        value = 7;
        ok(!*parse(VW_OPTION_BOOL, yes[i], &value) && value == 1, "bool: %s", yes[i]);
        ok(!*parse(VW_OPTION_BOOL, no[i], &value) && value == 0, "bool: %s", no[i]);
    }
    is_str(parse(VW_OPTION_BOOL, "2", &value), "neither yes nor no; yes or no", "bool: 2");
}

static void test_int(void)
{
    int64_t value = 5;

    ok(!*parse(VW_OPTION_INT, "-9223372036854775808", &value) && value == INT64_MIN, "the least");
    ok(!*parse(VW_OPTION_INT, "9223372036854775807", &value) && value == INT64_MAX, "the largest");
    value = 5;
    is_str(parse(VW_OPTION_INT, "9223372036854775808", &value), "out of range; an integer",
           "one more");
    is_int(value, 5, "a wrong value is not written");
    is_str(parse(VW_OPTION_INT, "1e3", &value), "\"e3\" after the number; an integer", "1e3");
    is_str(parse(VW_OPTION_INT, "0x10", &value), "\"x10\" after the number; an integer", "0x10");
    is_str(parse(VW_OPTION_INT, "--1", &value), "not a number; an integer", "--1");
    is_str(parse(VW_OPTION_INT, " 1", &value), "not a number; an integer", "a blank before");
    is_str(parse(VW_OPTION_INT, "", &value), "the value is missing; an integer", "nothing");
    is_str(parse_range(VW_OPTION_INT, "0", 1, 9), "out of range; an integer from 1 to 9", "below");
    is_str(parse_range(VW_OPTION_INT, "10", 1, 9), "out of range; an integer from 1 to 9", "above");
    is_str(parse_range(VW_OPTION_INT, "9", 1, 9), "", "a bound belongs to its range");
    is_str(parse_range(VW_OPTION_INT, "0", 1, 9.3e18), "out of range; an integer of at least 1",
           "a range without an upper end");
}

static void test_size(void)
{
    uint64_t value;

    ok(!*parse(VW_OPTION_SIZE, "0", &value) && value == 0, "0");
    ok(!*parse(VW_OPTION_SIZE, "64K", &value) && value == 65536, "64K");
    ok(!*parse(VW_OPTION_SIZE, "3m", &value) && value == 3145728, "3m");
    ok(!*parse(VW_OPTION_SIZE, "2G", &value) && value == 2147483648u, "2G");
    ok(!*parse(VW_OPTION_SIZE, "16777215T", &value) && value == 16777215ull << 40, "nearly 2^64");
    is_str(parse(VW_OPTION_SIZE, "16777216T", &value),
           "out of range; a size such as 65536, 64K, 16M or 2G", "2^64");
    is_str(parse(VW_OPTION_SIZE, "-1", &value),
           "not a number; a size such as 65536, 64K, 16M or 2G", "-1");
    is_str(parse(VW_OPTION_SIZE, "4KB", &value),
           "\"B\" after the number; a size such as 65536, 64K, 16M or 2G", "4KB");
}

static void test_real(void)
{
    double value;

    ok(!*parse(VW_OPTION_REAL, "-1.5e-3", &value) && value == -1.5e-3, "-1.5e-3");
    is_str(parse(VW_OPTION_REAL, "inf", &value), "not a number; a number", "inf");
    is_str(parse(VW_OPTION_REAL, "0x1p3", &value), "\"x1p3\" after the number; a number", "0x1p3");
    is_str(parse(VW_OPTION_REAL, "1e999", &value), "out of range; a number", "1e999");
    is_str(parse(VW_OPTION_REAL, "1,5", &value), "\",5\" after the number; a number", "1,5");
    if (setlocale(LC_ALL, "de_DE.UTF-8"))
        ok(!*parse(VW_OPTION_REAL, "1.5", &value) && value == 1.5, "1.5 in a German program");
    else
        skip(1, "no German locale here");
    setlocale(LC_ALL, "C");
}

static void test_texts(void)
{
    const char *const *list;
    const char *text, *again;
    int32_t choice;

    ok(!*parse(VW_OPTION_ENUM, "blue", &choice) && choice == 2, "a choice");
    is_str(parse(VW_OPTION_ENUM, "Blue", &choice), "not one of its choices; red, green or blue",
           "not a choice");
    ok(!*parse(VW_OPTION_PATH, "a/b", &text) && strcmp(text, "/folder/a/b") == 0, "relative");
    ok(!*parse(VW_OPTION_PATH, "/a/b", &text) && strcmp(text, "/a/b") == 0, "absolute");
    ok(!*parse(VW_OPTION_PATH, "", &text) && strcmp(text, "") == 0, "no path");
    ok(!*parse(VW_OPTION_STRING, "a; b", &text) && strcmp(text, "a; b") == 0, "a text");
    ok(!*parse(VW_OPTION_STRING, "a; b", &again) && text == again, "a text is kept once");
    ok(!*parse(VW_OPTION_LIST, " a, b c,,d ,", &list) && strcmp(list[0], "a") == 0 &&
           strcmp(list[1], "b c") == 0 && strcmp(list[2], "d") == 0 && !list[3],
       "a list");
    ok(!*parse(VW_OPTION_LIST, "", &list) && !list[0], "an empty list");
}

static void test_nearest(void)
{
    static const struct {
        const char *word, *known, *best;
    } cases[] = {
        {"thread", "threads", "threads"}, {"dtyep", "dtype", "dtype"}, {"x", "y", NULL},
        {"cpuu", "cpu", "cpu"},           {"gpu", "blas", NULL},       {"", "cpu", NULL},
        {"max_branchs", "max_branches", "max_branches"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vw_nearest nearest = vw_nearest_to(cases[i].word);
        vw_nearest_offer(&nearest, cases[i].known);
        is_str(nearest.best, cases[i].best, "\"%s\" among \"%s\"", cases[i].word, cases[i].known);
    }
}

static void test_words(void)
{
    static const vw_option options[] = {
        {"depth", VW_OPTION_INT, "3", 1, 9, NULL, 0, VW_OPTION_RANGE, "how deep"},
        {"token", VW_OPTION_STRING, NULL, 0, 0, NULL, 8, VW_OPTION_REQUIRED, "a password"},
        VW_OPTION_END,
    };
    vw_option table[] = {{"gemm", VW_OPTION_LABEL, "", 0, 0, (const char *const[]){"gemm", NULL}, 0,
                          0, "which product"},
                         VW_OPTION_END},
              *label = table;
    char *text = NULL, said[64];
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);

    if (!file)
        bail_out("no memory");
    vw_options_print("reasoning.deep", options, file);
    fclose(file);
    is_str(text, "[reasoning.deep]\n"
                 "; how deep (an integer from 1 to 9)\ndepth = 3\n"
                 "; a password (a text, required)\n;token = \n"
                 "; threads of the pool that it uses, at most; 0: all (an integer from 0 to 1024)\n"
                 "threads = 0\n",
           "a table as a section");
    free(text);
    vw_option_expects(label, said, sizeof said);
    is_str(said, "the label of a section [gemm:label]", "a label names its kind");
    ok(vw_options_validate(label, 8, &err) == VW_OK, "a table with it");
    label->choices = (const char *const[]){"gmm", NULL};
    is_int(vw_options_validate(label, 8, &err), VW_E_ABI, "a kind that does not exist");
    is_str(err.text, "its option \"gemm\" is a label of no kind", "its sentence");
    is_str(vw_status_text(VW_E_FULL), "full", "the words of a status");
    is_str(vw_status_text((vw_status)5), "unknown status", "and of none");
    is_str(vw_version(), VW_VERSION, "the version");
}

int main(void)
{
    texts = vw_texts_new();
    test_bool();
    test_int();
    test_size();
    test_real();
    test_texts();
    test_nearest();
    test_words();
    vw_texts_free(texts);
    return done_testing();
}
