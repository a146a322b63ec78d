/* disk.c - reads of ranges of files: all bytes come, in any number of pieces at a time, by threads
 * and by io_uring; what cannot be read is a sentence.
 */
#include "core/disk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "t/folder.h"
#include "t/tap/tap.h"

enum { FILE_BYTES = (5 << 20) + 12345, N_READS = 24 };

static vw_settings *settings;
static vw_core *core;
static unsigned char *content;

static vw_disk *disk_or_die(const vw_disk_options *o)
{
    vw_disk *d;
    vw_error err;
    if (vw_disk_open(core, o, &d, &err))
        bail_out("%s", err.text);
    return d;
}

static int32_t file_or_die(vw_disk *d, const char *path)
{
    int32_t file = -1;
    vw_error err;
    if (vw_disk_file(d, path, &file, &err))
        bail_out("%s", err.text);
    return file;
}

static unsigned char *memory(size_t bytes)
{
    void *block;
    if (posix_memalign(&block, VW_DISK_ALIGNMENT, bytes))
        bail_out("no memory");
    return block;
}

/* Ranges at random, several of them at the file's end; whatever order they come back in. */
static void test_reads(const char *path, vw_disk_options o, const char *what)
{
    static vw_disk_read reads[N_READS];
    vw_disk *d = disk_or_die(&o);
    int32_t file = file_or_die(d, path), same = file_or_die(d, path);
    uint64_t state = 7, most = FILE_BYTES / VW_DISK_ALIGNMENT;
    size_t n_back = 0, n_right = 0, needed = 0;
    vw_disk_stats stats;
    is_int(same, file, "%s: a file is opened once", what);
    for (int i = 0; i < N_READS; i++) {
        uint64_t first = folder_random(&state) % most, n = 1 + folder_random(&state) % (most - first);
        if (i % 4 == 0)
            n = most - first + 1; /* past the end */
        uint64_t offset = first * VW_DISK_ALIGNMENT, left = FILE_BYTES - offset;
        size_t bytes = (size_t)n * VW_DISK_ALIGNMENT;
        reads[i] = (vw_disk_read){.file = file, .offset = offset, .bytes = bytes,
                                  .needed = bytes < left ? bytes : (size_t)left, .to = memory(bytes)};
        needed += reads[i].needed;
        vw_disk_begin(d, &reads[i]);
    }
    for (vw_disk_read *r; (r = vw_disk_next(d, true)); n_back++)
        n_right += !r->problem && !memcmp(r->to, content + r->offset, r->needed);
    is_int(n_back, N_READS, "%s: every read comes back once", what);
    is_int(n_right, N_READS, "%s: with the bytes of the file", what);
    vw_disk_get_stats(d, &stats);
    is_int(stats.bytes, needed, "%s: bytes are counted", what);
    ok(stats.seconds > 0, "%s: and the time (by %s, %s)", what, stats.method,
       stats.is_direct ? "direct" : "through the cache");
    ok(vw_disk_next(d, false) == NULL && vw_disk_next(d, true) == NULL, "%s: no more", what);
    for (int i = 0; i < N_READS; i++)
        free(reads[i].to);
    vw_disk_close(d);
}

/* One read that fails, beside one that does not. */
static void test_failure(vw_disk_options o, const char *bad, uint64_t offset, const char *good,
                         const char *sentence, const char *what)
{
    vw_disk *d = disk_or_die(&o);
    vw_error err = {VW_OK, ""};
    unsigned char *to = memory(2 * VW_DISK_ALIGNMENT);
    vw_disk_read first = {.file = file_or_die(d, bad), .offset = offset, .bytes = VW_DISK_ALIGNMENT,
                          .needed = VW_DISK_ALIGNMENT, .to = to};
    vw_disk_read second = {.file = file_or_die(d, good), .bytes = VW_DISK_ALIGNMENT,
                           .needed = VW_DISK_ALIGNMENT, .to = to + VW_DISK_ALIGNMENT};
    vw_disk_begin(d, &first);
    vw_disk_begin(d, &second);
    int n = 0;
    while (vw_disk_next(d, true))
        n++;
    ok(n == 2 && first.problem && !second.problem, "%s: that read fails, the other does not", what);
    is_int(vw_disk_explain(d, &first, &err), VW_E_IO, "%s", what);
    like(err.text, sentence, "%s: the sentence", what);
    like(err.text, bad, "%s: names the file", what);
    ok(!memcmp(second.to, content, VW_DISK_ALIGNMENT), "%s: the other has its bytes", what);
    vw_disk_close(d);
    free(to);
}

int main(void)
{
    static const struct { vw_disk_options o; const char *what; } ways[] = {
        {{1, true, true}, "one thread"}, {{8, true, true}, "eight threads"},
        {{3, false, true}, "three threads, through the cache"},
        {{1, true, false}, "one at a time"}, {{8, true, false}, "eight at a time"},
        {{1000, false, false}, "as many as may be"},
    };
    vw_error err;
    uint64_t state = 1;
    if (vw_settings_new(&settings, &err) || vw_core_new(settings, &core, &err))
        bail_out("%s", err.text);
    folder_make();
    content = malloc(FILE_BYTES);
    for (size_t i = 0; content && i < FILE_BYTES; i++)
        content[i] = (unsigned char)folder_random(&state);
    const char *path = folder_write("file", content, FILE_BYTES);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        uint64_t end = FILE_BYTES / VW_DISK_ALIGNMENT * VW_DISK_ALIGNMENT;
        test_reads(path, ways[i].o, ways[i].what);
        test_failure(ways[i].o, path, end, path, "it ends before byte", ways[i].what);
        test_failure(ways[i].o, path, end + VW_DISK_ALIGNMENT, path, "was longer when it was opened",
                     ways[i].what);
        /* Address 0 of this process: the one file here whose reads fail as a broken disk's do. */
        test_failure(ways[i].o, "/proc/self/mem", 0, path,
                     "bytes 0 to 4096 cannot be read: Input/output error", ways[i].what);
    }
    vw_disk *d = disk_or_die(&ways[0].o);
    int32_t file;
    is_int(vw_disk_file(d, folder_path("nowhere"), &file, &err), VW_E_IO, "a file that is not there");
    like(err.text, "cannot open", "is named");
    vw_disk_close(d);
    free(content);
    vw_core_free(core);
    vw_settings_free(settings);
    return done_testing();
}
