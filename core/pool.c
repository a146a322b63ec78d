/* pool.c - one word that announces a loop, and one counter that ends it.
 *
 * The caller writes the loop down and then changes `word`, which holds a running number and how
 * many threads take part.  A worker watches the word: when it changes and the worker is among
 * those, it does its parts and counts `pending` down; the caller, having done its own, waits for
 * zero.  A worker that is not among them must not even read the loop, which the caller may be
 * rewriting by then.
 *
 * Whoever has watched in vain for a while sleeps on a condition variable, having raised a flag
 * first.  Flag and word are sequentially consistent: either the one who goes to sleep sees the
 * change, or the one who makes the change sees the flag.
 */
#include "core/pool.h"
#include "core/cpus.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum {
    CACHE_LINE = 64,
    MAX_THREADS = 1024,
    IDLE_NANOSECONDS = 100000, /* a worker watches this long for the next loop */
    JOIN_NANOSECONDS = 200000, /* the caller, for the others to finish */
    PAUSES = 32                /* between two looks at the clock */
};

/* A place to sleep, used when watching has lasted too long. */
typedef struct bed {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    _Atomic int is_asleep;
} bed;

typedef struct worker {
    _Alignas(CACHE_LINE) struct vw_pool *pool;
    bed bed;
    pthread_t thread;
    int index; /* 1 .. threads - 1; the caller is 0 */
    int cpu;   /* to be pinned to, or -1 */
} worker;

struct vw_pool {
    _Alignas(CACHE_LINE) _Atomic uint64_t word; /* number << 16 | threads that take part */
    _Alignas(CACHE_LINE) _Atomic int pending;   /* workers that are not done */

    _Alignas(CACHE_LINE) vw_part_fn fn; /* the loop */
    void *arg;
    int n_parts, n_threads;

    _Alignas(CACHE_LINE) bed caller;
    pthread_mutex_t turn; /* held by the thread whose loop runs */
    int threads, started;
    bool is_crowded;      /* more threads than processors: watching would only be in the way */
    worker *workers;      /* [threads]; [0] is not used */
};

/* Is this thread inside a part? */
static _Thread_local bool is_inside;

static const uint64_t QUIT = 0xFFFF; /* as the number of threads */

/* ---- waiting --------------------------------------------------------------------------------- */

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* What someone waits for. */
typedef bool (*condition)(vw_pool *pool, uint64_t value);

static bool has_changed(vw_pool *pool, uint64_t seen)
{
    return atomic_load(&pool->word) != seen;
}

static bool are_done(vw_pool *pool, uint64_t unused)
{
    (void)unused;
    return atomic_load(&pool->pending) == 0;
}

static bool watch(vw_pool *pool, condition is_true, uint64_t value, int64_t nanoseconds)
{
    int64_t end = 0;

    if (pool->is_crowded) {
        for (int i = 0; i < 4; i++) {
            if (is_true(pool, value))
                return true;
            sched_yield();
        }
        return is_true(pool, value);
    }
    for (;;) {
        for (int i = 0; i < PAUSES; i++) {
            if (is_true(pool, value))
                return true;
            pause_cpu();
        }
        if (end == 0)
            end = now() + nanoseconds;
        else if (now() > end)
            return false;
    }
}

static void sleep_until(vw_pool *pool, bed *b, condition is_true, uint64_t value)
{
    pthread_mutex_lock(&b->mutex);
    atomic_store(&b->is_asleep, 1);
    while (!is_true(pool, value))
        pthread_cond_wait(&b->wake, &b->mutex);
    atomic_store(&b->is_asleep, 0);
    pthread_mutex_unlock(&b->mutex);
}

static void wake(bed *b)
{
    if (!atomic_load(&b->is_asleep))
        return;
    pthread_mutex_lock(&b->mutex);
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->mutex);
}

/* ---- working --------------------------------------------------------------------------------- */

static void do_parts(vw_part_fn fn, void *arg, int first, int step, int n_parts)
{
    is_inside = true;
    for (int part = first; part < n_parts; part += step)
        fn(arg, part, n_parts);
    is_inside = false;
}

static void *work(void *arg)
{
    worker *w = arg;
    vw_pool *pool = w->pool;
    uint64_t seen = 0;

    if (w->cpu >= 0)
        vw_cpus_pin(w->cpu);
    for (;;) {
        uint64_t n;
        if (!watch(pool, has_changed, seen, IDLE_NANOSECONDS))
            sleep_until(pool, &w->bed, has_changed, seen);
        seen = atomic_load(&pool->word);
        n = seen & 0xFFFF;
        if (n == QUIT)
            return NULL;
        if ((uint64_t)w->index >= n)
            continue;
        do_parts(pool->fn, pool->arg, w->index, pool->n_threads, pool->n_parts);
        if (atomic_fetch_sub(&pool->pending, 1) == 1)
            wake(&pool->caller);
    }
}

static void announce(vw_pool *pool, uint64_t n_threads, int n_woken)
{
    uint64_t number = atomic_load_explicit(&pool->word, memory_order_relaxed) >> 16;

    atomic_store(&pool->word, (number + 1) << 16 | n_threads);
    for (int i = 1; i < n_woken; i++)
        wake(&pool->workers[i].bed);
}

void vw_pool_run(vw_pool *pool, int cap, int n_parts, vw_part_fn fn, void *arg)
{
    int n = cap > 0 && cap < pool->threads ? cap : pool->threads;

    n = n_parts < n ? n_parts : n;
    if (is_inside) {
        for (int part = 0; part < n_parts; part++)
            fn(arg, part, n_parts);
        return;
    }
    if (n <= 1) {
        do_parts(fn, arg, 0, 1, n_parts);
        return;
    }
    pthread_mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->arg = arg;
    pool->n_parts = n_parts;
    pool->n_threads = n;
    atomic_store_explicit(&pool->pending, n - 1, memory_order_relaxed);
    announce(pool, (uint64_t)n, n);
    do_parts(fn, arg, 0, n, n_parts);
    if (!watch(pool, are_done, 0, JOIN_NANOSECONDS))
        sleep_until(pool, &pool->caller, are_done, 0);
    pthread_mutex_unlock(&pool->turn);
}

int vw_pool_threads(const vw_pool *pool)
{
    return pool->threads;
}

/* ---- making and ending ----------------------------------------------------------------------- */

static void bed_init(bed *b)
{
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->wake, NULL);
    atomic_init(&b->is_asleep, 0);
}

static void bed_destroy(bed *b)
{
    pthread_mutex_destroy(&b->mutex);
    pthread_cond_destroy(&b->wake);
}

/* Signals are the business of the program's own threads. */
static int start_worker(worker *w)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* A worker for each processor but the caller's, when there is exactly one thread for each. */
static int cpu_of(const vw_cpus *cpus, int threads, int caller_cpu, int index)
{
    int mine = 0;

    if (threads != cpus->usable || cpus->n != cpus->usable)
        return -1;
    for (int i = 0; i < cpus->n; i++)
        if (cpus->list[i] == caller_cpu)
            mine = i;
    return cpus->list[(mine + index) % cpus->n];
}

static vw_status start(vw_pool *pool, const vw_cpus *cpus, vw_error *err)
{
    int caller_cpu = sched_getcpu();

    for (int i = 1; i < pool->threads; i++) {
        worker *w = &pool->workers[i];
        int error;
        w->pool = pool;
        w->index = i;
        w->cpu = cpu_of(cpus, pool->threads, caller_cpu, i);
        bed_init(&w->bed);
        error = start_worker(w);
        if (error) {
            bed_destroy(&w->bed);
            return vw_fail(err, VW_E_NOMEM, "cannot start thread %d of %d: %s", i + 1,
                           pool->threads, strerror(error));
        }
        pool->started = i;
    }
    return VW_OK;
}

static vw_pool *allocate(int threads)
{
    size_t bytes = sizeof(worker) * (size_t)threads;
    vw_pool *pool = aligned_alloc(CACHE_LINE, sizeof *pool);
    worker *workers = aligned_alloc(CACHE_LINE, bytes);

    if (!pool || !workers) {
        free(pool);
        free(workers);
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    memset(workers, 0, bytes);
    pool->workers = workers;
    pool->threads = threads;
    return pool;
}

vw_status vw_pool_new(int threads, vw_pool **pool, vw_error *err)
{
    vw_cpus cpus;
    vw_pool *p;
    vw_status status;

    vw_cpus_find(&cpus);
    if (threads == 0)
        threads = cpus.usable;
    if (threads < 1 || threads > MAX_THREADS)
        return vw_fail(err, VW_E_INVALID, "a pool of %d threads; 1 to %d", threads, MAX_THREADS);
    p = allocate(threads);
    if (!p)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    p->is_crowded = threads > cpus.usable;
    pthread_mutex_init(&p->turn, NULL);
    bed_init(&p->caller);
    status = start(p, &cpus, err);
    if (status != VW_OK) {
        vw_pool_free(p);
        return status;
    }
    *pool = p;
    return VW_OK;
}

void vw_pool_free(vw_pool *pool)
{
    if (!pool)
        return;
    announce(pool, QUIT, pool->started + 1);
    for (int i = 1; i <= pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        bed_destroy(&pool->workers[i].bed);
    }
    bed_destroy(&pool->caller);
    pthread_mutex_destroy(&pool->turn);
    free(pool->workers);
    free(pool);
}
