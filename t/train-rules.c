/* train-rules.c - learning rates against the formula of the papers, the loss scale and the batch
 * size as state machines, the order of an epoch, and the checksum against published values.
 */
#include "core/checksum.h"
#include "core/permutation.h"
#include "core/train_rules.h"
#include "t/folder.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_rates(void)
{
    vw_rate_schedule c = {VW_DECAY_COSINE, 1e-3, 1e-4, 100, 2000};
    near(vw_learning_rate(&c, 0), 1e-3 / 101, 1e-18, "the first step of the warm-up");
    near(vw_learning_rate(&c, 99), 1e-3 * 100 / 101, 1e-18, "the last step of the warm-up");
    near(vw_learning_rate(&c, 100), 1e-3, 1e-18, "the peak");
    near(vw_learning_rate(&c, 1050), 5.5e-4, 1e-16, "half way down the cosine: the mean of both");
    near(vw_learning_rate(&c, 100 + 1900 / 3.0), 1e-4 + 9e-4 * 0.75, 1e-16,
         "a third: cos 60 degrees");
    near(vw_learning_rate(&c, 2000), 1e-4, 1e-18, "the end");
    near(vw_learning_rate(&c, 1e9), 1e-4, 0, "and beyond it");
    c.decay = VW_DECAY_LINEAR;
    near(vw_learning_rate(&c, 575), 1e-3 - 9e-4 / 4, 1e-16, "linear: a quarter of the way");
    c.decay = VW_DECAY_CONSTANT;
    near(vw_learning_rate(&c, 5000), 1e-3, 0, "constant");
    near(vw_learning_rate(&c, 0), 1e-3 / 101, 1e-18, "constant, but for the warm-up");
    c = (vw_rate_schedule){VW_DECAY_COSINE, 1, 0, 0, 0};
    near(vw_learning_rate(&c, 0), 0, 0, "no steps at all");
}

static void test_loss_scale(void)
{
    vw_loss_scale s = {65536, 0, 2000}, off = {1, 0, 0};
    int skipped = 0;
    for (int i = 0; i < 1999; i++)
        skipped += !vw_loss_scale_update(&s, true);
    near(s.scale, 65536, 0, "1999 finite steps change nothing");
    skipped += !vw_loss_scale_update(&s, true);
    near(s.scale, 131072, 0, "the 2000th doubles the scale");
    is_int(skipped, 0, "and none is skipped");
    ok(!vw_loss_scale_update(&s, false), "a step that is not finite is skipped");
    near(s.scale, 65536, 0, "and halves it");
    for (int i = 0; i < 40; i++)
        vw_loss_scale_update(&s, false);
    near(s.scale, 1, 0, "not below 1");
    s.interval = 1;
    for (int i = 0; i < 40; i++)
        vw_loss_scale_update(&s, true);
    near(s.scale, 16777216, 0, "not above 2^24");
    ok(vw_loss_scale_update(&off, true) && !vw_loss_scale_update(&off, false) && off.scale == 1,
       "off, it only tells what is finite");
}

static void test_batch_size(void)
{
    vw_batch_size b = {32, 8, 100, 10, 0}, fixed = {32, 8, 128, 0, 0};
    for (int i = 0; i < 9; i++)
        vw_batch_size_update(&b, true, false);
    vw_batch_size_update(&b, true, true);
    is_int(b.size, 32, "a clipped step begins the count anew");
    for (int i = 0; i < 10; i++)
        vw_batch_size_update(&b, true, false);
    is_int(b.size, 64, "ten stable steps double it");
    for (int i = 0; i < 10; i++)
        vw_batch_size_update(&b, true, false);
    is_int(b.size, 100, "at most to its limit");
    for (int i = 0; i < 6; i++)
        vw_batch_size_update(&b, false, false);
    is_int(b.size, 8, "what is not finite halves it, down to its least");
    vw_batch_size_update(&fixed, false, false);
    is_int(fixed.size, 32, "a fixed one stays");
}

static void test_permutation(void)
{
    static unsigned char seen[5000];
    int wrong = 0, same = 0;
    for (uint64_t n = 1; n <= 5000; n += n < 70 ? 1 : 493) {
        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t at = vw_permute(7, n, i);
            wrong += at >= n || seen[at];
            seen[at < n ? at : 0] = 1;
        }
    }
    is_int(wrong, 0, "every place of every order is taken once");
    for (uint64_t i = 0; i < 1000; i++)
        same += vw_permute(1, 1000, i) == vw_permute(2, 1000, i);
    ok(same < 10, "two seeds share %d of 1000 places; one is expected", same);
    /* Neighbours stay neighbours about twice in a random order. */
    same = 0;
    for (uint64_t i = 0; i + 1 < 1000; i++)
        same +=
            llabs((long long)vw_permute(3, 1000, i) - (long long)vw_permute(3, 1000, i + 1)) == 1;
    ok(same < 12, "%d of 999 neighbours stay so; two are expected", same);
    ok(vw_permute(1, (uint64_t)1 << 62, 5) < (uint64_t)1 << 62, "an order of 2^62 things");
}

/* The values that the library's own test prints for these texts. */
static void test_checksum(void)
{
    static const struct {
        const char *text;
        uint64_t sum;
    } cases[] = {
        {"", 0xEF46DB3751D8E999u},
        {"a", 0xD24EC4F1A98C6E5Bu},
        {"abc", 0x44BC2CF5AD770999u},
        {"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1u},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vw_checksum whole, bytes;
        vw_checksum_begin(&whole);
        vw_checksum_add(&whole, cases[i].text, strlen(cases[i].text));
        vw_checksum_begin(&bytes);
        for (const char *c = cases[i].text; *c; c++)
            vw_checksum_add(&bytes, c, 1);
        ok(vw_checksum_end(&whole) == cases[i].sum, "XXH64 of '%s'", cases[i].text);
        ok(vw_checksum_end(&bytes) == cases[i].sum, "and byte by byte");
    }
    uint64_t sum, n;
    vw_error err;
    folder_make();
    const char *path = folder_text("abc", "abc");
    ok(vw_checksum_file(path, &sum, &n, &err) == VW_OK && sum == cases[2].sum && n == 3,
       "of a file");
    is_int(vw_checksum_file(folder_path("none"), &sum, &n, &err), VW_E_NOTFOUND, "of none");
    like(err.text, "none: cannot be opened: No such file", "and its sentence");
    is_int(vw_checksum_file(folder_path("."), &sum, &n, &err), VW_E_IO, "of a folder");
    like(err.text, "cannot be read: Is a directory", "and its sentence");
}

/* training.md 5.2: floor(i (12 - 1) / (6 - 1)), and 12 - 6 + i. */
static void test_layers(void)
{
    static const int32_t uniform[] = {0, 2, 4, 6, 8, 11}, last[] = {6, 7, 8, 9, 10, 11};
    for (int32_t i = 0; i < 6; i++) {
        is_int(vw_teacher_layer(i, 6, 12, false), uniform[i], "evenly spaced: layer %d", i);
        is_int(vw_teacher_layer(i, 6, 12, true), last[i], "the last ones: layer %d", i);
    }
    is_int(vw_teacher_layer(3, 4, 2, false), 1, "of a teacher with fewer layers the last is the last");
    is_int(vw_teacher_layer(0, 1, 12, false), 11, "an only layer is the last");
}

int main(void)
{
    test_layers();
    test_rates();
    test_loss_scale();
    test_batch_size();
    test_permutation();
    test_checksum();
    return done_testing();
}
