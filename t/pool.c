/* pool.c - the thread pool: every part once, by the thread it belongs to, whoever calls. */
#include "core/cpus.h"
#include "core/pool.h"
#include "t/tap/tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PARTS = 37, CALLERS = 3, ROUNDS = 2000 };

static vw_pool *new_pool(int threads)
{
    vw_pool *pool = NULL;
    vw_error err;

    if (vw_pool_new(threads, &pool, &err) != VW_OK)
        bail_out("%s", err.text);
    return pool;
}

typedef struct counts {
    _Atomic int of_part[PARTS];
    pthread_t thread[PARTS];
    _Atomic int n_parts;
} counts;

static void count(void *arg, int part, int n_parts)
{
    counts *c = arg;

    atomic_fetch_add(&c->of_part[part], 1);
    c->thread[part] = pthread_self();
    atomic_store(&c->n_parts, n_parts);
}

static void test_parts(int threads)
{
    vw_pool *pool = new_pool(threads);
    counts c;
    int wrong = 0, moved = 0;

    is_int(vw_pool_threads(pool), threads, "%d threads", threads);
    for (int n = 0; n <= PARTS; n++)
        for (int cap = 0; cap <= threads + 1; cap++) {
            int used = cap > 0 && cap < threads ? cap : threads;
            used = n < used ? n : used;
            memset(&c, 0, sizeof c);
            vw_pool_run(pool, cap, n, count, &c);
            for (int i = 0; i < PARTS; i++)
                wrong += c.of_part[i] != (i < n);
            for (int i = 0; i < n; i++)
                moved += !pthread_equal(c.thread[i], c.thread[i % used]);
            wrong += n > 0 && !pthread_equal(c.thread[0], pthread_self());
            wrong += n > 0 && c.n_parts != n;
        }
    is_int(wrong, 0, "%d threads: every part once, the first by the caller", threads);
    is_int(moved, 0, "%d threads: part p by thread p mod threads", threads);
    vw_pool_free(pool);
}

/* A loop within a part runs in the same thread. */
typedef struct nest {
    vw_pool *pool;
    _Atomic int inner, strayed;
} nest;

typedef struct inner {
    nest *nest;
    pthread_t outer;
} inner;

static void inside(void *arg, int part, int n_parts)
{
    inner *i = arg;

    (void)part, (void)n_parts;
    atomic_fetch_add(&i->nest->inner, 1);
    if (!pthread_equal(i->outer, pthread_self()))
        atomic_fetch_add(&i->nest->strayed, 1);
}

static void outside(void *arg, int part, int n_parts)
{
    inner i = {arg, pthread_self()};

    (void)part, (void)n_parts;
    vw_pool_run(i.nest->pool, 0, 5, inside, &i);
}

static void test_nested(void)
{
    nest n = {new_pool(3), 0, 0};

    vw_pool_run(n.pool, 0, 7, outside, &n);
    is_int(n.inner, 35, "loops within parts: every part of every loop");
    is_int(n.strayed, 0, "in the thread of the outer part");
    vw_pool_free(n.pool);
}

/* Several threads with one pool. */
typedef struct caller {
    vw_pool *pool;
    long sum;
    pthread_t thread;
} caller;

static void add(void *arg, int part, int n_parts)
{
    long *sums = arg;

    (void)n_parts;
    sums[part] += part + 1;
}

static void *call(void *arg)
{
    caller *c = arg;
    long sums[4] = {0};

    for (int i = 0; i < ROUNDS; i++)
        vw_pool_run(c->pool, 0, 4, add, sums);
    c->sum = sums[0] + sums[1] + sums[2] + sums[3];
    return NULL;
}

static void test_callers(void)
{
    vw_pool *pool = new_pool(2), *other = new_pool(2);
    caller callers[CALLERS];

    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (caller){i == 0 ? other : pool, 0, 0};
        if (pthread_create(&callers[i].thread, NULL, call, &callers[i]) != 0)
            bail_out("no thread");
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        is_int(callers[i].sum, 10L * ROUNDS, "caller %d of two pools", i);
    }
    vw_pool_free(pool);
    vw_pool_free(other);
}

/* The workers are asleep when the loop comes, and the caller sleeps until a slow part is done. */
static void slow(void *arg, int part, int n_parts)
{
    (void)n_parts;
    if (part == 1)
        usleep(20000);
    count(arg, part, n_parts);
}

static void test_sleep(void)
{
    vw_pool *pool = new_pool(2);
    counts c;
    int wrong = 0;

    for (int i = 0; i < 5; i++) {
        usleep(2000);
        memset(&c, 0, sizeof c);
        vw_pool_run(pool, 0, 2, slow, &c);
        wrong += c.of_part[0] != 1 || c.of_part[1] != 1;
    }
    is_int(wrong, 0, "a pool that slept, and a caller that had to");
    vw_pool_free(pool);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nothing(void *arg, int part, int n_parts)
{
    (void)arg, (void)part, (void)n_parts;
}

/* More threads than processors must be slower, not stuck. */
static void test_crowd(void)
{
    vw_cpus cpus;
    vw_pool *pool;
    double start;

    vw_cpus_find(&cpus);
    ok(cpus.usable >= 1 && cpus.n >= cpus.usable, "%d of %d processors are usable", cpus.usable,
       cpus.n);
    pool = new_pool(4 * cpus.usable);
    start = seconds();
    for (int i = 0; i < 200; i++)
        vw_pool_run(pool, 0, 4 * cpus.usable, nothing, NULL);
    ok(seconds() - start < 5, "four threads a processor: %.0f us a loop",
       (seconds() - start) / 200 * 1e6);
    vw_pool_free(pool);
    pool = new_pool(0);
    is_int(vw_pool_threads(pool), cpus.usable, "0 threads: the usable processors");
    start = seconds();
    for (int i = 0; i < 10000; i++)
        vw_pool_run(pool, 0, cpus.usable, nothing, NULL);
    diag("an empty loop takes %.2f us", (seconds() - start) / 10000 * 1e6);
    vw_pool_free(pool);
}

static void test_limits(void)
{
    vw_pool *pool = NULL;
    vw_error err;

    is_int(vw_pool_new(-1, &pool, &err), VW_E_INVALID, "-1 threads");
    is_str(err.text, "a pool of -1 threads; 1 to 1024", "its sentence");
    vw_pool_free(NULL);
}

int main(void)
{
    test_parts(1);
    test_parts(2);
    test_parts(5);
    test_nested();
    test_callers();
    test_sleep();
    test_crowd();
    test_limits();
    return done_testing();
}
