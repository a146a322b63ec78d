/* memory.c - allocations with walls around them.
 *
 * An allocation lies at the end of its own mapping, with a page behind it that always faults; what
 * rounding to 256 bytes leaves is filled with a pattern and looked at when it is freed.  While no
 * work runs, all of it is closed, so a host function that follows a device pointer faults as well.
 * The handler says which of the two it was: a kernel's fault ends the launch, the host's ends the
 * program.  New memory is full of NaN: a device promises nothing about it.
 */
#include "t/cuda-sim/memory.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "t/cuda-sim/run.h"

enum { GRAIN = 256, WALL = 0xCB };

typedef struct region {
    char *map, *data;
    size_t map_bytes, bytes; /* without the wall's page; as asked for */
    int device;              /* -1: pinned memory of the host */
    struct region *next;
} region;

static region *regions;
static size_t used;
static int is_open;

size_t sim_memory_total(void)
{
    const char *text = getenv("VW_CUDA_SIM_MEMORY"); /* in MiB */
    return (text ? strtoull(text, NULL, 10) : 8192) << 20;
}

size_t sim_memory_used(int device)
{
    (void)device;
    return used;
}

/* ---- faults --------------------------------------------------------------------------------- */

static const region *region_near(const char *at)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (const region *r = regions; r; r = r->next)
        if (at >= r->map && at < r->map + r->map_bytes + page)
            return r;
    return NULL;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    const char *at = info->si_addr;
    const region *r = region_near(at);
    (void)context;
    if (sim_is_running()) {
        if (r)
            sim_fail("touches byte %td of an allocation of %zu bytes", at - r->data, r->bytes);
        sim_fail("touches address %p, which is no memory of the device", (const void *)at);
    }
    if (r && r->device >= 0)
        fprintf(stderr, "# cuda-sim: the host touches byte %td of device memory of %zu bytes\n",
                at - r->data, r->bytes);
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_faults(void)
{
    static int is_done;
    struct sigaction action = {0};
    if (is_done)
        return;
    is_done = 1;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* ---- allocations ---------------------------------------------------------------------------- */

static region *new_region(int device, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + GRAIN - 1) / GRAIN * GRAIN;
    region *r = malloc(sizeof *r);
    if (!r)
        return NULL;
    r->map_bytes = (room + page - 1) / page * page;
    r->map =
        mmap(NULL, r->map_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->map == MAP_FAILED) {
        free(r);
        return NULL;
    }
    mprotect(r->map + r->map_bytes, page, PROT_NONE);
    r->data = r->map + r->map_bytes - room;
    r->bytes = bytes;
    r->device = device;
    memset(r->map, WALL, r->map_bytes);
    memset(r->data, 0xFF, bytes);
    r->next = regions;
    regions = r;
    return r;
}

/* What of its wall still stands? */
static int is_whole(const region *r)
{
    size_t before = (size_t)(r->data - r->map), i = before ? 0 : r->bytes;
    while (i < r->map_bytes && (unsigned char)r->map[i] == WALL)
        i = i + 1 == before ? before + r->bytes : i + 1;
    if (i == r->map_bytes)
        return 1;
    fprintf(stderr, "# cuda-sim: byte %td of an allocation of %zu bytes was written\n",
            r->map + i - r->data, r->bytes);
    return 0;
}

static int free_region(void *at, int is_pinned)
{
    region **link = &regions;
    while (*link && (*link)->data != at)
        link = &(*link)->next;
    region *r = *link;
    if (!r || (r->device < 0) != is_pinned)
        return -1;
    *link = r->next;
    mprotect(r->map, r->map_bytes, PROT_READ);
    int status = is_whole(r) ? 0 : -1;
    munmap(r->map, r->map_bytes + (size_t)sysconf(_SC_PAGESIZE));
    if (!is_pinned)
        used -= r->bytes;
    free(r);
    return status;
}

void *sim_memory_new(int device, size_t bytes)
{
    watch_faults();
    if (bytes > sim_memory_total() - used)
        return NULL;
    region *r = new_region(device, bytes);
    if (!r)
        return NULL;
    used += bytes;
    if (!is_open)
        mprotect(r->map, r->map_bytes, PROT_NONE);
    return r->data;
}

int sim_memory_free(void *at)
{
    return free_region(at, 0);
}

void sim_memory_forget(int device)
{
    for (region *r = regions, *next; r; r = next) {
        next = r->next;
        if (r->device == device)
            free_region(r->data, 0);
    }
}

int sim_memory_has(int device, const void *at, size_t bytes)
{
    for (const region *r = regions; r; r = r->next)
        if (r->device == device && (const char *)at >= r->data &&
            (const char *)at + bytes <= r->data + r->bytes)
            return 1;
    return 0;
}

void *sim_pinned_new(size_t bytes)
{
    region *r = new_region(-1, bytes);
    return r ? r->data : NULL;
}

int sim_pinned_free(void *at)
{
    return free_region(at, 1);
}

int sim_pinned_has(const void *at)
{
    for (const region *r = regions; r; r = r->next)
        if (r->device < 0 && (const char *)at >= r->data && (const char *)at < r->data + r->bytes)
            return 1;
    return 0;
}

static void protect(int how)
{
    for (const region *r = regions; r; r = r->next)
        if (r->device >= 0)
            mprotect(r->map, r->map_bytes, how);
}

void sim_memory_open(void)
{
    if (!is_open)
        protect(PROT_READ | PROT_WRITE);
    is_open = 1;
}

void sim_memory_close(void)
{
    if (is_open)
        protect(PROT_NONE);
    is_open = 0;
}
