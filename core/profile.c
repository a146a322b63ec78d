/* profile.c - spans in memory, and their JSON. */
#include "core/profile.h"

#include <stdlib.h>
#include <time.h>

#include "core/checkpoint.h"
#include "core/json_write.h"

typedef struct span {
    const char *name;
    double begin, end; /* seconds */
    uint64_t bytes, flops;
} span;

struct vw_profile {
    span *spans;
    size_t n, room;
    bool is_on;
    double began;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

vw_status vw_profile_new(size_t room, vw_profile **profile, vw_error *err)
{
    vw_profile *p = calloc(1, sizeof *p);
    if (p)
        p->spans = calloc(room, sizeof *p->spans);
    if (!p || !p->spans) {
        free(p);
        return vw_fail(err, VW_E_NOMEM, "no memory for a profile of %zu spans", room);
    }
    p->room = room;
    p->began = now();
    *profile = p;
    return VW_OK;
}

void vw_profile_free(vw_profile *p)
{
    if (p)
        free(p->spans);
    free(p);
}

void vw_profile_switch(vw_profile *p, bool is_on)
{
    if (p)
        p->is_on = is_on;
}

size_t vw_profile_begin(vw_profile *p, const char *name)
{
    if (!p || !p->is_on || p->n == p->room)
        return SIZE_MAX;
    p->spans[p->n] = (span){name, now(), 0, 0, 0};
    return p->n++;
}

void vw_profile_end(vw_profile *p, size_t i, uint64_t bytes, uint64_t flops)
{
    if (!p || i == SIZE_MAX)
        return;
    p->spans[i].end = now();
    p->spans[i].bytes = bytes;
    p->spans[i].flops = flops;
}

static void add_span(vw_json_writer *w, const vw_profile *p, const span *s)
{
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "name", s->name);
    vw_json_add_string(w, "ph", "X");
    vw_json_add_int(w, "pid", 1);
    vw_json_add_int(w, "tid", 1);
    vw_json_add_double(w, "ts", 1e6 * (s->begin - p->began));
    vw_json_add_double(w, "dur", 1e6 * (s->end - s->begin));
    if (s->bytes || s->flops) {
        vw_json_begin_object(w, "args");
        vw_json_add_uint(w, "bytes", s->bytes);
        vw_json_add_uint(w, "flops", s->flops);
        vw_json_end_object(w);
    }
    vw_json_end_object(w);
}

vw_status vw_profile_write(const vw_profile *p, const char *path, vw_error *err)
{
    vw_json_writer w = {0};
    size_t bytes;
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "displayTimeUnit", "ms");
    vw_json_begin_array(&w, "traceEvents");
    for (size_t i = 0; i < p->n; i++)
        if (p->spans[i].end > 0)
            add_span(&w, p, &p->spans[i]);
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    const char *text = vw_json_text(&w, &bytes);
    vw_status st = text ? vw_file_write(path, text, bytes, err)
                        : vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    vw_json_writer_free(&w);
    return st;
}
