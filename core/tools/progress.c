/* progress.c - drawing the bar. */
#include "progress.h"

#include "interrupt.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 30 };

/* The bar that is on the screen; the command has one thread that draws. */
static struct {
    double began, drawn; /* seconds; 0: no work under way */
    int is_drawn;
} bar;

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes as MiB, everything else as it is. */
static void print_amount(uint64_t done, uint64_t total, const char *unit)
{
    if (strcmp(unit, "bytes") == 0)
        fprintf(stderr, " %llu/%llu MiB", (unsigned long long)(done >> 20),
                (unsigned long long)(total >> 20));
    else
        fprintf(stderr, " %llu/%llu %s", (unsigned long long)done, (unsigned long long)total, unit);
}

static void draw(const char *what, uint64_t done, uint64_t total, const char *unit, double elapsed)
{
    double part = total ? (double)done / (double)total : 0;
    int filled = (int)(part * BAR_WIDTH);
    fprintf(stderr, "\r%s [", what);
    for (int i = 0; i < BAR_WIDTH; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "] %3.0f %%", 100 * part);
    print_amount(done, total, unit);
    if (part > 0.05 && part < 1)
        fprintf(stderr, ", %.0f s left", elapsed * (1 - part) / part);
    fputs("\033[K", stderr);
    fflush(stderr);
    bar.is_drawn = 1;
}

int progress_show(void *arg, const char *what, uint64_t done, uint64_t total, const char *unit)
{
    (void)arg;
    if (isatty(STDERR_FILENO)) {
        double now = now_seconds();
        if (bar.began == 0)
            bar.began = now;
        if (now - bar.began > 0.5 && now - bar.drawn > 0.1) {
            draw(what, done, total, unit ? unit : "", now - bar.began);
            bar.drawn = now;
        }
    }
    return interrupt_seen();
}

void progress_end(void)
{
    if (bar.is_drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    memset(&bar, 0, sizeof bar);
}
