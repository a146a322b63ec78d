/* pickle.c - weights/grok1 against hostile pickles: every one is refused with a sentence, and none
 * is run.
 */
#include "plugins/weights/pickle.h"
#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

#include <stdlib.h>

/* A pickle as a program of bytes; numpy's f4 array of two values from the pieces. */
#define PROTO "\x80\x04"
#define RECONSTRUCT "cnumpy.core.multiarray\n_reconstruct\n"
#define NDARRAY "cnumpy\nndarray\n"
#define MAKE RECONSTRUCT "(" NDARRAY "K\x00\x85" "C\x01" "btR" /* ndarray by its three arguments */
#define DTYPE "cnumpy\ndtype\n(X\x02\x00\x00\x00" "f4\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xFF\xFF\xFF\xFFJ\xFF\xFF\xFF\xFFK\x00tb"
#define VALUES "C\x08" "abcdefgh"
#define ARRAY MAKE "(K\x01" "K\x02\x85" DTYPE "\x89" VALUES "tb"

static vw_status scan(const char *bytes, size_t n, vw_error *err)
{
    pickle_array arrays[PICKLE_MAX_ARRAYS];
    int n_arrays = 0;
    /* a copy of its own, so that a read behind the end is one behind an allocation */
    unsigned char *copy = malloc(n ? n : 1);
    if (!copy)
        bail_out("no memory");
    memcpy(copy, bytes, n);
    vw_status st = pickle_arrays(copy, n, "t", arrays, &n_arrays, err);
    for (int i = 0; !st && i < n_arrays; i++)
        if (arrays[i].at > n || arrays[i].bytes > n - arrays[i].at)
            ok(false, "an array within the file");
    free(copy);
    return st;
}

typedef struct hostile {
    const char *what, *bytes;
    size_t n;
    const char *sentence;
} hostile;

#define CASE(what, bytes, sentence) {what, bytes, sizeof(bytes) - 1, sentence}

static const hostile cases[] = {
    CASE("nothing", "", "t: offset 0, pickle instruction 0x00: the file ends before its program does"),
    CASE("os.system by lines", PROTO "cos\nsystem\n(X\x02\x00\x00\x00lstR.",
         "offset 2, pickle instruction 0x63: it names os.system, which no file of arrays needs; it "
         "was not imported"),
    CASE("os.system on the stack", PROTO "\x8C\x02os\x8C\x06system\x93" "(\x8C\x02lstR.",
         "it names os.system"),
    CASE("builtins.eval", PROTO "cbuiltins\neval\n.", "it names builtins.eval"),
    CASE("something else of numpy", PROTO "cnumpy\nload\n.", "it names numpy.load"),
    CASE("control characters in a name", PROTO "c\x1B[2J\nx\n.", "it names ?[2J.x"),
    CASE("a name without an end", PROTO "cnumpy", "the file ends within it"),
    CASE("an instance by INST", PROTO "(ios\nsystem\n.",
         "offset 3, pickle instruction 0x69: it is none of those that files of arrays consist of; it "
         "was not run"),
    CASE("a persistent id", PROTO "Pfile\n.", "pickle instruction 0x50: it is none of those"),
    CASE("an extension", PROTO "\x82\x01.", "pickle instruction 0x82: it is none of those"),
    CASE("protocol 2", "\x80\x02.", "protocol 2; 3, 4 and 5 are known"),
    CASE("protocol 6", "\x80\x06.", "protocol 6; 3, 4 and 5 are known"),
    CASE("a frame beyond the end", PROTO "\x95\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF.",
         "a frame of 18446744073709551615 bytes, but the file has 1 more"),
    CASE("bytes beyond the end", PROTO "B\xFF\xFF\xFF\xFF.",
         "4294967295 bytes, but the file has 1 more"),
    CASE("8-byte length beyond the end", PROTO "\x8E\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F.",
         "9223372036854775807 bytes, but the file has 1 more"),
    CASE("half a length", PROTO "B\x01", "the file ends within it"),
    CASE("a memo that was never set", PROTO "h\x07.", "memo 7 was never set"),
    CASE("a memo far away", PROTO "Nr\xFF\xFF\xFF\x7F.",
         "memo 2147483647; such a file has a few dozen"),
    CASE("a memo of nothing", PROTO "\x94.", "it takes 1 objects and there are 0"),
    CASE("an empty stack", PROTO "\x86.", "it takes 2 objects and there are 0"),
    CASE("a tuple without a mark", PROTO "Nt.", "no mark was set"),
    CASE("a tuple of a mark", PROTO "(N\x86.", "a mark where an object is expected"),
    CASE("a call of a number", PROTO "K\x01)R.",
         "a call of what is no name, or without a tuple; it was not made"),
    CASE("a state for a number", PROTO "K\x01Nb.", "a state for what is no object"),
    CASE("items of a number", PROTO "K\x01NNs.", "items of what is no dictionary"),
    CASE("no array", PROTO "N.",
         "the program ends with 1 objects and 0 arrays; one object that holds arrays is expected"),
    CASE("two objects", PROTO ARRAY "N.", "the program ends with 2 objects and 1 arrays"),
    CASE("bytes behind the end", PROTO ARRAY ".x",
         "the program ends here, but the file goes on for 1 bytes"),
    CASE("three arrays", PROTO "(" ARRAY ARRAY ARRAY "t.",
         "a third array; a tensor has values and perhaps scales"),
    CASE("columns together", PROTO MAKE "(K\x01K\x02\x85" DTYPE "\x88" VALUES "tb.",
         "an array whose columns lie together; rows are expected to"),
    CASE("a shape that is too large", PROTO MAKE "(K\x01K\x03\x85" DTYPE "\x89" VALUES "tb.",
         "the shape of an array does not fit its 8 bytes"),
    CASE("a shape that is too small", PROTO MAKE "(K\x01K\x01\x85" DTYPE "\x89" VALUES "tb.",
         "an array of 8 bytes; its shape makes it 4"),
    CASE("a negative shape", PROTO MAKE "(K\x01J\xFF\xFF\xFF\xFF\x85" DTYPE "\x89" VALUES "tb.",
         "the shape of an array does not fit its 8 bytes"),
    CASE("a scalar", PROTO MAKE "(K\x01)" DTYPE "\x89" VALUES "tb.", "an array of 0 dimensions"),
    CASE("no dtype", PROTO MAKE "(K\x01K\x02\x85N\x89" VALUES "tb.",
         "an array of a dtype that is none of little-endian f4, i1 and bfloat16"),
    CASE("a frombuffer of columns", PROTO "cnumpy.core.numeric\n_frombuffer\n(" VALUES DTYPE
         "K\x02\x85X\x01\x00\x00\x00" "FtR.", "an array whose columns lie together"),
};

static void test_hostile(void)
{
    vw_error err = {VW_OK, ""};
    ok(!scan(PROTO ARRAY ".", sizeof(PROTO ARRAY), &err), "an array: %s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err = (vw_error){VW_OK, ""};
        is_int(scan(cases[i].bytes, cases[i].n, &err), VW_E_FORMAT, "%s is refused", cases[i].what);
        like(err.text, cases[i].sentence, "%s: its sentence", cases[i].what);
    }
}

/* More of a thing than there is room for; and tuples within tuples, within themselves. */
static void test_abuse(void)
{
    static const struct {
        const char *what, *begin, *again, *end;
    } abuse[] = {
        {"a million numbers", PROTO, "K\x01", "."},
        {"tuples in tuples", PROTO ")", "\x85", "."},
        {"the same thing a million times", PROTO "Nq\x01", "h\x01", "."},
        {"doubled tuples", PROTO "N", "q\x01h\x01\x86", "."},
        {"a million marks", PROTO, "(", "."},
        {"a million memos", PROTO "N", "\x94", "."},
    };
    enum { TIMES = 100000 };
    for (size_t i = 0; i < sizeof abuse / sizeof *abuse; i++) {
        size_t b = strlen(abuse[i].begin), a = strlen(abuse[i].again), n = b + a * TIMES + 1;
        char *bytes = malloc(n);
        vw_error err = {VW_OK, ""};
        if (!bytes)
            bail_out("no memory");
        memcpy(bytes, abuse[i].begin, b);
        for (size_t k = 0; k < TIMES; k++)
            memcpy(bytes + b + a * k, abuse[i].again, a);
        bytes[n - 1] = '.';
        is_int(scan(bytes, n, &err), VW_E_FORMAT, "%s: refused", abuse[i].what);
        ok(strstr(err.text, "more objects than a file of two arrays has; it was not run") ||
               strstr(err.text, "memo 512; such a file has a few dozen"), "its sentence: %s", err.text);
        free(bytes);
    }
    static const char itself[] = PROTO MAKE "q\x01(h\x01h\x01h\x01h\x01h\x01tb.";
    vw_error err;
    is_int(scan(itself, sizeof itself - 1, &err), VW_E_FORMAT, "an object that is its own state");
}

/* Every file of the golden checkpoint, whole, cut at each byte, and with each byte of its head
 * changed: never a crash, and never an array outside. */
static void test_files(void)
{
    unsigned refused = 0, n_files = 0;
    for (int i = 0; i < 15; i++) {
        char name[200];
        size_t n;
        vw_error err;
        snprintf(name, sizeof name, "t/data/goldens/grok-original/ckpt-0/tensor%05d_000", i);
        char *bytes = folder_slurp(source_file(name), &n);
        n_files += !scan(bytes, n, &err);
        for (size_t k = 0; k < n; k += n > 1000 && k > 600 ? 97 : 1)
            refused += scan(bytes, k, &err) == 0;
        for (size_t k = 0; k < n && k < 400; k++) {
            char was = bytes[k];
            for (int bit = 0; bit < 8; bit++) {
                bytes[k] = (char)(was ^ 1 << bit);
                scan(bytes, n, &err);
            }
            bytes[k] = was;
        }
        free(bytes);
    }
    is_int(n_files, 15, "Python's own files of protocols 3, 4 and 5 are read");
    is_int(refused, 0, "and none that was cut short");
}

int main(void)
{
    test_hostile();
    test_abuse();
    test_files();
    return done_testing();
}
