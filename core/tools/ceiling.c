/* ceiling.c - running the loops on all threads at once. */
#include "ceiling.h"

#include "ceiling_loops.h"
#include "progress.h"

#include <string.h>
#include <sys/mman.h>

enum { N_REPEATS = 5 };
static const size_t READ_BYTES = (size_t)512 << 20;
static const double ARITHMETIC_SECONDS = 0.05;

/* One measurement: every thread does the same amount. */
typedef struct task {
    const ceiling_loops *loops;
    double (*arithmetic)(int64_t rounds);
    int64_t rounds;
    uint64_t (*read)(const void *data, size_t bytes);
    char *data;
    size_t part_bytes;
    volatile double sink;
} task;

static void do_part(void *arg, int part, int n_parts)
{
    task *t = arg;
    (void)n_parts;
    if (t->arithmetic)
        t->sink = t->arithmetic(t->rounds);
    else
        t->sink = (double)t->read(t->data + (size_t)part * t->part_bytes, t->part_bytes);
}

static double seconds_of(vw_core *core, task *t)
{
    double began = now_seconds();
    vw_core_parallel_for(core, vw_core_threads(core), do_part, t);
    return now_seconds() - began;
}

static double rate_of_arithmetic(vw_core *core, task *t, double (*fn)(int64_t), double ops)
{
    double best = 0;
    t->arithmetic = fn;
    t->rounds = 1 << 16;
    double seconds = seconds_of(core, t);
    while (seconds < ARITHMETIC_SECONDS) {
        t->rounds *= seconds < ARITHMETIC_SECONDS / 8 ? 8 : 2;
        seconds = seconds_of(core, t);
    }
    for (int i = 0; i < N_REPEATS; i++) {
        double rate = ops * (double)t->rounds * vw_core_threads(core) / seconds_of(core, t);
        best = rate > best ? rate : best;
    }
    t->arithmetic = NULL;
    return best;
}

static void touch(void *arg, int part, int n_parts)
{
    task *t = arg;
    (void)n_parts;
    memset(t->data + (size_t)part * t->part_bytes, 1, t->part_bytes);
}

static vw_status rate_of_reading(vw_core *core, task *t, double *rate, vw_error *err)
{
    int threads = vw_core_threads(core);
    uint64_t (*const patterns[])(const void *, size_t) = {t->loops->read1, t->loops->read4};
    t->part_bytes = READ_BYTES / (size_t)threads & ~(size_t)4095;
    t->data = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->data == MAP_FAILED)
        return vw_fail(err, VW_E_NOMEM, "no memory (%zu MiB) to measure its bandwidth",
                       READ_BYTES >> 20);
    madvise(t->data, READ_BYTES, MADV_HUGEPAGE);
    vw_core_parallel_for(core, threads, touch, t);
    for (int i = 0; i < 2 * N_REPEATS; i++) {
        t->read = patterns[i % 2];
        double now = (double)t->part_bytes * threads / seconds_of(core, t);
        *rate = now > *rate ? now : *rate;
    }
    munmap(t->data, READ_BYTES);
    return VW_OK;
}

vw_status ceilings_measure(vw_core *core, ceilings *c, double seconds, vw_error *err)
{
    task t = {.loops = ceiling_loops_here()};
    if (c->when > 0 && now_seconds() - c->when < seconds)
        return VW_OK;
    double f32 = rate_of_arithmetic(core, &t, t.loops->f32, t.loops->f32_ops);
    double int8 = rate_of_arithmetic(core, &t, t.loops->int8, t.loops->int8_ops);
    c->threads = vw_core_threads(core);
    c->isa = t.loops->isa;
    c->f32 = f32 > c->f32 ? f32 : c->f32;
    c->int8 = int8 > c->int8 ? int8 : c->int8;
    vw_status status = rate_of_reading(core, &t, &c->read, err);
    c->when = now_seconds();
    return status;
}

void ceilings_print(const ceilings *c)
{
    if (c->device) {
        printf("ceiling (device/%s): a copy within its memory reads plus writes %.1f GB/s\n",
               c->device, c->read * 1e-9);
        return;
    }
    printf("ceilings (%d threads, %s): read %.1f GB/s, f32 %.1f GFLOP/s, int8 %.1f GOP/s\n",
           c->threads, c->isa, c->read * 1e-9, c->f32 * 1e-9, c->int8 * 1e-9);
}

void ceilings_add_json(vw_json_writer *w, const ceilings *c)
{
    vw_json_begin_object(w, "ceilings");
    if (c->device) {
        vw_json_add_string(w, "device", c->device);
        vw_json_add_double(w, "read_gb_s", c->read * 1e-9);
        vw_json_end_object(w);
        return;
    }
    vw_json_add_int(w, "threads", c->threads);
    vw_json_add_string(w, "isa", c->isa);
    vw_json_add_double(w, "read_gb_s", c->read * 1e-9);
    vw_json_add_double(w, "f32_gflop_s", c->f32 * 1e-9);
    vw_json_add_double(w, "int8_gop_s", c->int8 * 1e-9);
    vw_json_end_object(w);
}
