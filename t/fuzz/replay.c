/* replay.c - a fuzz target as an ordinary test: every file of its corpus once.
 *
 * t/fuzz-NAME.t links t/fuzz/NAME.c, which defines LLVMFuzzerTestOneInput(), with this main.  The
 * corpus is t/fuzz/corpus/NAME/; a file that once broke a parser stays there for good.  An input
 * passes when the target comes back; under the sanitizers that says a lot.  Besides the corpus, every
 * file is replayed cut in half and with each of some bytes flipped, so that damage of the commonest
 * kind is seen by every `make check`.
 */
#include "t/tap/tap.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 16 << 20, N_FLIPS = 64 };

/* The whole file in memory, or NULL.  The caller frees it. */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = file ? malloc(MAX_BYTES) : NULL;

    *size = data ? fread(data, 1, MAX_BYTES, file) : 0;
    if (file)
        fclose(file);
    return data;
}

/* Hand over exactly `size` bytes in a block of that size, so that a read past the end is seen. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        bail_out("out of memory");
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void feed_damaged(uint8_t *data, size_t size)
{
    size_t step = size / N_FLIPS + 1;

    feed(data, size / 2);
    for (size_t i = 0; i < size; i += step) {
        data[i] ^= 0x55;
        feed(data, size);
        data[i] ^= 0x55;
    }
}

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* "fuzz-ini.t", perhaps behind libtool's "lt-", names "ini". */
static void target_name(const char *program, char *name, size_t size)
{
    const char *start = strstr(strrchr(program, '/') ? strrchr(program, '/') : program, "fuzz-");

    if (!start)
        bail_out("%s is not called fuzz-NAME.t", program);
    snprintf(name, size, "%s", start + strlen("fuzz-"));
    name[strcspn(name, ".")] = 0;
}

int main(int argc, char **argv)
{
    const char *top = getenv("top_srcdir");
    char name[64], folder[2048], path[4096];
    struct dirent **files = NULL;
    int n_files;

    (void)argc;
    target_name(argv[0], name, sizeof name);
    snprintf(folder, sizeof folder, "%s/t/fuzz/corpus/%s", top ? top : ".", name);
    n_files = scandir(folder, &files, is_file, alphasort);
    if (n_files < 0)
        bail_out("no corpus in %s", folder);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    ok(1, "%s: no input at all", name);
    for (int i = 0; i < n_files; i++) {
        size_t size;
        uint8_t *data;

        snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
        data = read_file(path, &size);
        if (ok(data, "%s: %s is read", name, files[i]->d_name)) {
            feed(data, size);
            feed_damaged(data, size);
            ok(1, "%s: %s, whole and damaged", name, files[i]->d_name);
        }
        free(data);
        free(files[i]);
    }
    free(files);
    return done_testing();
}
