/* run.c - blocks, their threads, and where threads meet.
 *
 * One fiber runs threads of a block one after another until one of them has to wait; then another
 * fiber goes on with the rest.  When all have begun, those whose wait is over are resumed, round
 * after round.  A round that resumes nobody is a kernel that would hang a device.
 *
 * VW_CUDA_SIM_ORDER=backwards starts the threads of a block from the last to the first and resumes
 * them likewise: what depends on the order of threads, because a barrier is missing, then shows.
 */
#include "t/cuda-sim/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "t/cuda-sim/fiber.h"

enum {
    MAX_THREADS = 1024,
    LANES = 32,
    MAX_GROUPS = 8,     /* masks in use at a time in one warp */
    POISONED_BLOCKS = 4 /* of a launch: filling shared memory costs more than a small block */
};

sim_dim sim_thread_index, sim_block_index, sim_block_size, sim_grid_size;

/* ---- kernels -------------------------------------------------------------------------------- */

static sim_kernel *kernels;

void sim_register(sim_kernel *kernel)
{
    kernel->next = kernels;
    kernels = kernel;
}

const sim_kernel *sim_find_kernel(const char *name)
{
    const sim_kernel *k = kernels;
    while (k && strcmp(k->name, name) != 0)
        k = k->next;
    return k;
}

/* ---- the block that runs -------------------------------------------------------------------- */

typedef struct group { /* threads that meet: a block, or the lanes of a mask */
    uint32_t mask;
    sim_meeting what;
    unsigned arrived, wanted;
    uint32_t lanes;      /* of a mask: who has come */
    unsigned generation; /* meetings so far */
    uint64_t values[2][LANES];
} group;

typedef struct waiter { /* a fiber, and the thread that waits in it */
    sim_fiber *fiber;
    unsigned thread;
    const group *at; /* NULL: free */
    unsigned generation;
} waiter;

static struct {
    const sim_kernel *kernel;
    const void *args;
    unsigned n_threads, n_begun, n_waiting;
    waiter waiters[MAX_THREADS];
    unsigned n_waiters; /* that have a fiber */
    waiter *self;       /* who runs */
    group block;
    group warps[MAX_THREADS / LANES][MAX_GROUPS];
    int is_running, has_failed, is_backwards;
    char *shared;
    size_t shared_bytes, shared_room;
} now;

static void become(unsigned thread)
{
    unsigned x = sim_block_size.x, y = sim_block_size.y;
    sim_thread_index = (sim_dim){thread % x, thread / x % y, thread / x / y};
}

static unsigned this_thread(void)
{
    return now.self->thread;
}

unsigned sim_lane(void)
{
    return this_thread() % LANES;
}

void *sim_dynamic_shared(void)
{
    if (!now.shared_bytes)
        sim_fail("it has no dynamic shared memory");
    return now.shared + now.shared_room - now.shared_bytes;
}

/* ---- failing -------------------------------------------------------------------------------- */

static void say(const char *text)
{
    fprintf(stderr, "# cuda-sim: %s, block %u,%u,%u: %s\n", now.kernel->name, sim_block_index.x,
            sim_block_index.y, sim_block_index.z, text);
}

void sim_fail(const char *format, ...)
{
    char text[256];
    va_list args;
    int n = snprintf(text, sizeof text, "thread %u: ", this_thread());
    va_start(args, format);
    vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    va_end(args);
    say(text);
    now.has_failed = 1;
    sim_fiber_leave(now.self->fiber, sim_fiber_main()); /* a failed block is never resumed */
}

int sim_is_running(void)
{
    return now.is_running;
}

static void say_stuck(void)
{
    char text[256];
    for (unsigned i = 0; i < now.n_waiters; i++) {
        const group *g = now.waiters[i].at;
        if (!g)
            continue;
        if (g == &now.block)
            snprintf(text, sizeof text, "a barrier is reached by %u of its %u threads", g->arrived,
                     g->wanted);
        else
            snprintf(text, sizeof text, "warp %u: lanes %08x came to an exchange among %08x",
                     now.waiters[i].thread / LANES, g->lanes, g->mask);
        say(text);
        return;
    }
}

/* ---- threads -------------------------------------------------------------------------------- */

/* What a fiber does: begin threads until none is left. */
static void run_threads(void *arg)
{
    waiter *self = arg;
    while (now.n_begun < now.n_threads) {
        unsigned i = now.n_begun++;
        self->thread = now.is_backwards ? now.n_threads - 1 - i : i;
        now.self = self;
        become(self->thread);
        now.kernel->run(now.args);
    }
    sim_fiber_leave(self->fiber, sim_fiber_main());
}

/* A fiber comes back only when its thread waits or when all have begun. */
static int begin_threads(void)
{
    while (now.n_begun < now.n_threads && !now.has_failed) {
        waiter *w = &now.waiters[now.n_waiters];
        if (!w->fiber && !(w->fiber = sim_fiber_new()))
            return -1;
        now.n_waiters++;
        sim_fiber_reset(w->fiber, run_threads, w);
        sim_fiber_switch(sim_fiber_main(), w->fiber);
    }
    return 0;
}

/* Resume whoever has not to wait any more; returns how many. */
static unsigned resume_some(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < now.n_waiters && !now.has_failed; i++) {
        waiter *w = &now.waiters[now.is_backwards ? now.n_waiters - 1 - i : i];
        if (!w->at || w->at->generation == w->generation)
            continue;
        w->at = NULL;
        now.n_waiting--;
        now.self = w;
        become(w->thread);
        n++;
        sim_fiber_switch(sim_fiber_main(), w->fiber);
    }
    return n;
}

static void wait_for(const group *g, unsigned generation)
{
    waiter *self = now.self;
    self->at = g;
    self->generation = generation;
    now.n_waiting++;
    sim_fiber_switch(self->fiber, sim_fiber_main());
}

/* ---- meetings ------------------------------------------------------------------------------- */

void sim_barrier(void)
{
    group *g = &now.block;
    unsigned generation = g->generation;
    if (++g->arrived == g->wanted) {
        g->arrived = 0;
        g->generation++;
        return;
    }
    wait_for(g, generation);
}

static group *find_group(uint32_t mask)
{
    group *groups = now.warps[this_thread() / LANES];
    for (int i = 0; i < MAX_GROUPS; i++) {
        if (!groups[i].mask) {
            groups[i].mask = mask;
            groups[i].wanted = (unsigned)__builtin_popcount(mask);
        }
        if (groups[i].mask == mask)
            return &groups[i];
    }
    sim_fail("a warp uses more than %d masks", MAX_GROUPS);
}

const uint64_t *sim_exchange(sim_meeting what, uint32_t mask, uint64_t value)
{
    unsigned lane = sim_lane();
    if (!(mask >> lane & 1))
        sim_fail("lane %u is not in the mask %08x of its own exchange", lane, mask);
    group *g = find_group(mask);
    if (g->arrived && g->what != what)
        sim_fail("lanes of mask %08x meet in different operations", mask);
    unsigned generation = g->generation;
    g->what = what;
    g->values[generation % 2][lane] = value;
    g->lanes |= 1u << lane;
    if (++g->arrived == g->wanted) {
        g->arrived = 0;
        g->lanes = 0;
        g->generation++;
    } else {
        wait_for(g, generation);
    }
    return g->values[generation % 2];
}

/* ---- launches ------------------------------------------------------------------------------- */

/* Where device.h puts __shared__ arrays; the linker gives its ends. */
static char anchor __attribute__((section("sim_shared"), used));
extern char __start_sim_shared[] __attribute__((visibility("hidden")));
extern char __stop_sim_shared[] __attribute__((visibility("hidden")));

/* Dynamic shared memory ends where a page begins that nobody may touch. */
static int reserve_shared(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = 256 << 10;
    now.shared_bytes = (bytes + 15) / 16 * 16;
    if (now.shared)
        return now.shared_bytes <= room ? 0 : -1;
    char *memory =
        mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    mprotect(memory + room, page, PROT_NONE);
    now.shared = memory;
    now.shared_room = room;
    return now.shared_bytes <= room ? 0 : -1;
}

static void clear_block(void)
{
    now.n_begun = now.n_waiting = now.n_waiters = 0;
    now.has_failed = 0;
    now.block = (group){.wanted = now.n_threads};
    for (unsigned w = 0; w < (now.n_threads + LANES - 1) / LANES; w++)
        for (int i = 0; i < MAX_GROUPS && now.warps[w][i].mask; i++)
            memset(&now.warps[w][i], 0, sizeof now.warps[w][i]);
    for (unsigned i = 0; i < now.n_threads; i++)
        now.waiters[i].at = NULL;
}

static int run_block(uint64_t number)
{
    clear_block();
    if (number < POISONED_BLOCKS) {
        memset(__start_sim_shared, 0xFF, (size_t)(__stop_sim_shared - __start_sim_shared));
        memset(now.shared + now.shared_room - now.shared_bytes, 0xFF, now.shared_bytes);
    }
    if (begin_threads()) {
        say("no memory for its threads");
        return -1;
    }
    while (now.n_waiting && !now.has_failed)
        if (!resume_some()) {
            say_stuck();
            return -1;
        }
    return now.has_failed ? -1 : 0;
}

int sim_launch(const sim_kernel *kernel, sim_dim grid, sim_dim block, size_t shared_bytes,
               const void *args)
{
    const char *order = getenv("VW_CUDA_SIM_ORDER");
    uint64_t n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    (void)anchor;
    now.kernel = kernel;
    now.args = args;
    now.n_threads = block.x * block.y * block.z;
    now.is_backwards = order && strcmp(order, "backwards") == 0;
    sim_block_size = block;
    sim_grid_size = grid;
    if (reserve_shared(shared_bytes)) {
        fprintf(stderr, "# cuda-sim: %s: no %zu bytes of shared memory\n", kernel->name,
                shared_bytes);
        return -1;
    }
    int status = 0;
    now.is_running = 1;
    for (uint64_t i = 0; i < n_blocks && !status; i++) {
        uint64_t b = now.is_backwards ? n_blocks - 1 - i : i;
        sim_block_index = (sim_dim){(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y),
                                    (unsigned)(b / grid.x / grid.y)};
        status = run_block(i);
    }
    now.is_running = 0;
    return status;
}
