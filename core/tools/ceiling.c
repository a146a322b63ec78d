/* ceiling.c - running the loops on all threads at once. */
#include "ceiling.h"

#include "ceiling_loops.h"
#include "progress.h"

#include <string.h>
#include <sys/mman.h>

enum { N_REPEATS = 5, N_LOOKS = 2, N_SLICES = 4 };
static const size_t READ_BYTES = (size_t)512 << 20;
static const double ARITHMETIC_SECONDS = 0.05, LOOK_SECONDS = 0.008;

/* One measurement: every thread does the same amount. */
typedef struct task {
    const ceiling_loops *loops;
    double (*arithmetic)(int64_t rounds);
    int64_t rounds;
    uint64_t (*read)(const void *data, size_t bytes);
    char *data;
    size_t part_bytes;
} task;

static void do_part(void *arg, int part, int n_parts)
{
    const task *t = arg;
    volatile double sink; /* or the compiler leaves the loops out */
    (void)n_parts;
    if (t->arithmetic)
        sink = t->arithmetic(t->rounds);
    else
        sink = (double)t->read(t->data + (size_t)part * t->part_bytes, t->part_bytes);
    (void)sink;
}

static double seconds_of(vw_core *core, task *t)
{
    double began = now_seconds();
    vw_core_parallel_for(core, vw_core_threads(core), do_part, t);
    return now_seconds() - began;
}

/* The best of `repeats` runs of at least `least` seconds. */
static double rate_of_arithmetic(vw_core *core, task *t, double (*fn)(int64_t), double ops,
                                 double least, int repeats)
{
    double best = 0;
    t->arithmetic = fn;
    t->rounds = 1 << 14;
    double seconds = seconds_of(core, t);
    while (seconds < least) {
        t->rounds *= seconds < least / 8 ? 8 : 2;
        seconds = seconds_of(core, t);
    }
    for (int i = 0; i < repeats; i++) {
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

static size_t part_bytes(const vw_core *core)
{
    return READ_BYTES / (size_t)vw_core_threads(core) & ~(size_t)4095;
}

/* Memory to read, in place before it is measured. */
static vw_status find_memory(vw_core *core, ceilings *c, vw_error *err)
{
    if (c->memory)
        return VW_OK;
    void *p = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return vw_fail(err, VW_E_NOMEM, "no memory (%zu MiB) to measure its bandwidth",
                       READ_BYTES >> 20);
    c->memory = p;
    madvise(p, READ_BYTES, MADV_HUGEPAGE);
    vw_core_parallel_for(core, vw_core_threads(core), touch,
                         &(task){.data = p, .part_bytes = part_bytes(core)});
    return VW_OK;
}

void ceilings_release(ceilings *c)
{
    if (c->memory)
        munmap(c->memory, READ_BYTES);
    c->memory = NULL;
}

/* Once through slice `i` of `n` of the memory, in one stream a thread or, when i is odd, in four. */
static double rate_of_reading(vw_core *core, task *t, const ceilings *c, int i, int n)
{
    t->part_bytes = part_bytes(core) / (size_t)n & ~(size_t)4095;
    t->data = c->memory + (size_t)(i % n) * t->part_bytes * (size_t)vw_core_threads(core);
    t->read = i % 2 ? t->loops->read4 : t->loops->read1;
    return (double)t->part_bytes * vw_core_threads(core) / seconds_of(core, t);
}

vw_status ceilings_measure(vw_core *core, ceilings *c, double seconds, vw_error *err)
{
    task t = {.loops = ceiling_loops_here()};
    if (c->when > 0 && now_seconds() - c->when < seconds)
        return VW_OK;
    vw_status status = find_memory(core, c, err);
    if (status != VW_OK)
        return status;
    double f32 = rate_of_arithmetic(core, &t, t.loops->f32, t.loops->f32_ops, ARITHMETIC_SECONDS,
                                    N_REPEATS);
    double int8 = rate_of_arithmetic(core, &t, t.loops->int8, t.loops->int8_ops,
                                     ARITHMETIC_SECONDS, N_REPEATS);
    c->threads = vw_core_threads(core);
    c->isa = t.loops->isa;
    c->f32 = f32 > c->f32 ? f32 : c->f32;
    c->int8 = int8 > c->int8 ? int8 : c->int8;
    for (int i = 0; i < 2 * N_REPEATS; i++) {
        double read = rate_of_reading(core, &t, c, i, 1);
        c->read = read > c->read ? read : c->read;
    }
    c->when = now_seconds();
    return VW_OK;
}

double ceiling_of_f32(vw_core *core)
{
    task t = {.loops = ceiling_loops_here()};
    return rate_of_arithmetic(core, &t, t.loops->f32, t.loops->f32_ops, ARITHMETIC_SECONDS, N_REPEATS);
}

ceilings ceilings_look(vw_core *core, const ceilings *measured)
{
    ceilings c = *measured;
    task t = {.loops = ceiling_loops_here()};
    c.read = 0;
    for (int i = 0; i < N_SLICES; i++) {
        double read = rate_of_reading(core, &t, measured, i, N_SLICES);
        c.read = read > c.read ? read : c.read;
    }
    c.f32 = rate_of_arithmetic(core, &t, t.loops->f32, t.loops->f32_ops, LOOK_SECONDS, N_LOOKS);
    c.int8 = rate_of_arithmetic(core, &t, t.loops->int8, t.loops->int8_ops, LOOK_SECONDS, N_LOOKS);
    return c;
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
