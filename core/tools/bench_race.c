/* bench_race.c - how a race is run, who takes part, and what is told of it. */
#include "bench.h"

#include "interrupt.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Seconds after which the ceilings are measured again: another program may have lowered them. */
static const double CEILINGS_EVERY = 10;

/* ---- numbers --------------------------------------------------------------------------------- */

uint32_t bench_random_bits(bench_random *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 32);
}

float bench_random_real(bench_random *r)
{
    return (float)(int32_t)bench_random_bits(r) * 0x1p-31f;
}

int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_of(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/* ---- ratios, round by round ------------------------------------------------------------------ */

static double seconds_in(const race *r, int i, int round)
{
    return r->seconds[i * r->n_rounds + round];
}

static spread quartiles(double *values, int n)
{
    double middle = median_of(values, n);
    return (spread){values[(n - 1) / 4], middle, values[n - 1 - (n - 1) / 4]};
}

static spread seconds_of_rounds(const race *r, int i)
{
    double values[BENCH_MAX_ROUNDS];
    for (int n = 0; n < r->n_rounds; n++)
        values[n] = seconds_in(r, i, n);
    return quartiles(values, r->n_rounds);
}

static int best_rival(const race *r, int i)
{
    int best = -1;
    for (int k = 0; k < r->n; k++)
        if (k != i && r->entries[k].seconds > 0 &&
            (best < 0 || r->entries[k].seconds < r->entries[best].seconds))
            best = k;
    return best;
}

spread race_to_best_rival(const race *r, int i)
{
    int rival = best_rival(r, i);
    double values[BENCH_MAX_ROUNDS];
    if (rival < 0 || r->entries[i].seconds <= 0)
        return (spread){0, 0, 0};
    for (int n = 0; n < r->n_rounds; n++)
        values[n] = seconds_in(r, rival, n) / seconds_in(r, i, n);
    return quartiles(values, r->n_rounds);
}

/* Of an entry that took part: its share of the mean of the ceilings before and after each round. */
static spread share_of(const race *r, int i, const race_work *work, int *is_memory)
{
    double values[BENCH_MAX_ROUNDS];
    int n_memory = 0;
    for (int n = 0; n < r->n_rounds; n++) {
        const ceilings *a = &r->tops[n], *b = &r->tops[n + 1];
        double peak = work->is_int8 ? a->int8 + b->int8 : a->f32 + b->f32;
        double read = r->entries[i].read > 0 ? 2 * r->entries[i].read : a->read + b->read;
        double compute = peak > 0 ? 2 * work->ops / peak : 0, memory = 2 * work->bytes / read;
        n_memory += memory > compute;
        values[n] = 100 * (memory > compute ? memory : compute) / seconds_in(r, i, n);
    }
    *is_memory = 2 * n_memory > r->n_rounds;
    return quartiles(values, r->n_rounds);
}

/* ---- a race ---------------------------------------------------------------------------------- */

/* Run an entry `inner` times; the seconds of one. */
static vw_status time_runs(contestant *e, int64_t inner, double *seconds, vw_error *err)
{
    vw_status status = VW_OK;
    double began = now_seconds();
    for (int64_t k = 0; k < inner && status == VW_OK; k++)
        status = e->run(e->state, e->i++, err);
    if (status == VW_OK && e->wait)
        status = e->wait(e->state, err);
    *seconds = (now_seconds() - began) / (double)inner;
    return status;
}

/* One run to know how long it takes; `inner` runs make a round of at least 20 milliseconds. */
static vw_status warm_up(const bench_choices *b, contestant *e, double estimate, int64_t *inner,
                         vw_error *err)
{
    double seconds;
    *inner = 0;
    if (e->note[0])
        return VW_OK;
    if (estimate > b->max_seconds) {
        snprintf(e->note, sizeof e->note, "left out: about %.0f s a run", estimate);
        return VW_OK;
    }
    vw_status status = time_runs(e, 1, &seconds, err);
    if (status == VW_OK && seconds < b->max_seconds)
        status = time_runs(e, 1, &seconds, err);
    *inner = seconds < 0.02 ? (int64_t)(0.02 / (seconds + 1e-9)) + 1 : 1;
    return status;
}

static vw_status measure_ceilings(bench_choices *b, vw_error *err)
{
    double now = 0;
    if (!b->elsewhere)
        return ceilings_measure(b->o.core, &b->top, CEILINGS_EVERY, err);
    if (b->top.when > 0 && now_seconds() - b->top.when < CEILINGS_EVERY)
        return VW_OK;
    vw_status status = bench_copy_rate(b->elsewhere, &now, err);
    b->top.device = b->elsewhere->name;
    b->top.read = now > b->top.read ? now : b->top.read;
    b->top.when = now_seconds();
    return status;
}

/* Where the ceilings are now; of another device they hold still. */
static ceilings look(const bench_choices *b)
{
    return b->elsewhere ? b->top : ceilings_look(b->o.core, &b->top);
}

/* The threads of an entry, which may be a library's own, go on watching for work and are in the way of
 * the next: OpenBLAS's for about 30 milliseconds, at 2^26 cycles. */
static void let_threads_sleep(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

/* A short entry first runs once more off the clock, which wakes its threads. */
static vw_status time_round(contestant *e, int64_t inner, double *seconds, vw_error *err)
{
    let_threads_sleep();
    vw_status status = inner > 1 ? time_runs(e, 1, seconds, err) : VW_OK;
    return status == VW_OK ? time_runs(e, inner, seconds, err) : status;
}

static vw_status run_round(bench_choices *b, race *r, int round, const int64_t *inner,
                           vw_error *err)
{
    vw_status status = VW_OK;
    for (int k = 0; k < r->n && status == VW_OK; k++) {
        int i = round % 2 ? r->n - 1 - k : k;
        if (!r->entries[i].note[0])
            status = time_round(&r->entries[i], inner[i], &r->seconds[i * r->n_rounds + round],
                                err);
        if (status == VW_OK && interrupt_seen())
            status = vw_fail(err, VW_E_INTERRUPTED, "interrupted");
    }
    let_threads_sleep();
    r->tops[round + 1] = look(b);
    return status;
}

static void race_free(race *r)
{
    free(r->seconds);
    free(r->tops);
    r->seconds = NULL;
    r->tops = NULL;
}

static vw_status make_rounds(race *r, int64_t n_rounds, vw_error *err)
{
    race_free(r);
    r->n_rounds = (int)n_rounds;
    r->seconds = calloc((size_t)r->n * (size_t)n_rounds, sizeof *r->seconds);
    r->tops = calloc((size_t)n_rounds + 1, sizeof *r->tops);
    return r->seconds && r->tops ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the times");
}

vw_status race_run(bench_choices *b, race *r, const double *work_seconds, vw_error *err)
{
    int64_t inner[BENCH_MAX_PLUGINS];
    vw_status status = make_rounds(r, b->repeats, err);
    if (status == VW_OK)
        status = measure_ceilings(b, err);
    for (int i = 0; i < r->n && status == VW_OK; i++) {
        r->entries[i].seconds = 0;
        status = warm_up(b, &r->entries[i], work_seconds ? work_seconds[i] : 0, &inner[i], err);
    }
    if (status == VW_OK)
        r->tops[0] = look(b);
    for (int round = 0; round < r->n_rounds && status == VW_OK; round++)
        status = run_round(b, r, round, inner, err);
    for (int i = 0; i < r->n && status == VW_OK; i++)
        if (!r->entries[i].note[0])
            r->entries[i].seconds = seconds_of_rounds(r, i).middle;
    return status;
}
void race_print_entry(const race *r, int i, const char *work)
{
    const contestant *c = &r->entries[i];
    printf("%-30s %c%-8s", work, i == r->subject ? '*' : ' ', c->component->plugin->name);
    if (c->seconds > 0)
        printf(" %10.3f ms", c->seconds * 1e3);
}

void race_print_rest(const race *r, int i)
{
    const contestant *c = &r->entries[i];
    spread ratio = race_to_best_rival(r, i);
    if (!c->seconds)
        printf("  %s", c->note);
    else if (ratio.middle > 0)
        printf("  %5.2fx best rival (%.2f..%.2f)", ratio.middle, ratio.low, ratio.high);
    if (c->seconds > 0 && c->error >= 0)
        printf("  error %.1e", c->error);
    putchar('\n');
}

void race_add_entry(vw_json_writer *w, const race *r, int i)
{
    const contestant *c = &r->entries[i];
    spread ratio = race_to_best_rival(r, i);
    vw_json_add_string(w, "plugin", c->component->plugin->name);
    if (!c->seconds) {
        vw_json_add_string(w, "left_out", c->note);
        return;
    }
    vw_json_add_double(w, "seconds", c->seconds);
    if (ratio.middle > 0) {
        vw_json_add_double(w, "ratio_to_best_rival", ratio.middle);
        vw_json_add_double(w, "ratio_low", ratio.low);
        vw_json_add_double(w, "ratio_high", ratio.high);
    }
    if (c->error >= 0)
        vw_json_add_double(w, "error", c->error);
}

void race_print_share(const race *r, int i, const race_work *work)
{
    int is_memory;
    spread s = share_of(r, i, work, &is_memory);
    printf(" %5.1f %% of %s (%.0f..%.0f)", s.middle, is_memory ? "read" : "peak", s.low, s.high);
}

void race_add_share(vw_json_writer *w, const race *r, int i, const race_work *work)
{
    int is_memory;
    spread s = share_of(r, i, work, &is_memory);
    vw_json_add_double(w, "percent_of_ceiling", s.middle);
    vw_json_add_double(w, "percent_low", s.low);
    vw_json_add_double(w, "percent_high", s.high);
    vw_json_add_string(w, "ceiling", is_memory ? "read" : "peak");
}

/* ---- who takes part -------------------------------------------------------------------------- */

typedef struct entering {
    bench_choices *b;
    race *r;
    const char *device; /* the chosen one; NULL: devices themselves race */
    vw_status status;
    vw_error *err;
} entering;

/* A plugin that names no device is the processor's. */
static int runs_on(const vw_plugin *plugin, const char *device)
{
    const char *const *name = plugin->devices;
    while (name && *name && strcmp(*name, device) != 0)
        name++;
    return name ? *name != NULL : strcmp(device, "cpu") == 0;
}

static int enter(void *arg, const vw_plugin_entry *e)
{
    entering *in = arg;
    int is_subject = in->b->name && strcmp(in->b->name, e->name) == 0;
    if (e->hidden_by || in->r->n == BENCH_MAX_PLUGINS)
        return 0;
    if (!e->plugin || e->score <= 0) {
        if (is_subject)
            in->status = vw_fail(in->err, VW_E_UNSUPPORTED, "%s/%s cannot be used here: %s",
                                 vw_kind_name(e->kind), e->name,
                                 e->problem ? e->problem : e->why ? e->why : "its probe says no");
        return in->status != VW_OK;
    }
    if (in->device && !runs_on(e->plugin, in->device)) {
        if (is_subject)
            in->status = vw_fail(in->err, VW_E_UNSUPPORTED, "%s/%s does not run on the device %s",
                                 vw_kind_name(e->kind), e->name, in->device);
        return in->status != VW_OK;
    }
    contestant *c = &in->r->entries[in->r->n];
    *c = (contestant){.error = -1};
    in->status = vw_core_plugin(in->b->o.core, e->kind, e->name, &c->component, in->err);
    if (in->status != VW_OK)
        return 1;
    if (is_subject)
        in->r->subject = in->r->n;
    in->r->n++;
    return 0;
}

vw_status bench_begin(bench_choices *b, vw_kind kind, race *r, vw_error *err)
{
    const vw_component *device = NULL;
    vw_probe about = {.size = sizeof about};
    entering in = {b, r, NULL, VW_OK, err};
    *r = (race){.subject = -1};
    interrupt_watch(NULL);
    vw_status status = open_core(&b->c, &b->o, err);
    if (status == VW_OK)
        status = vw_core_component(b->o.core, VW_KIND_DEVICE, NULL, NULL, &device, err);
    about.device = device ? device->plugin->name : NULL;
    in.device = kind == VW_KIND_DEVICE ? NULL : about.device;
    if (status == VW_OK)
        status = vw_plugins_visit(kind, &about, enter, &in, err);
    if (status == VW_OK)
        status = in.status;
    if (status == VW_OK && r->n == 0)
        status = vw_fail(err, VW_E_NOTFOUND, "no plugin of the kind %s can be used here",
                         vw_kind_name(kind));
    if (status == VW_OK && b->name && r->subject < 0)
        status = vw_fail(err, VW_E_NOTFOUND, "%s/%s is not installed ('vishwamai inspect %s' lists "
                         "what is)", vw_kind_name(kind), b->name, vw_kind_name(kind));
    vw_json_begin_object(&b->json, NULL);
    vw_json_add_string(&b->json, "bench", vw_kind_name(kind));
    vw_json_begin_array(&b->json, "races");
    return status;
}

vw_status bench_end(bench_choices *b, race *r, vw_status status, vw_error *err)
{
    vw_json_end_array(&b->json);
    if (status == VW_OK)
        status = measure_ceilings(b, err);
    if (status == VW_OK && b->c.is_json) {
        ceilings_add_json(&b->json, &b->top);
        vw_json_end_object(&b->json);
        status = print_json(&b->json, err);
    } else if (status == VW_OK) {
        ceilings_print(&b->top);
    }
    vw_json_writer_free(&b->json);
    race_free(r);
    ceilings_release(&b->top);
    close_opened(&b->o);
    assignments_free(&b->c.set);
    return status;
}

/* ---- the device ------------------------------------------------------------------------------ */

vw_status bench_device_open(bench_choices *b, bench_device *d, vw_error *err)
{
    const vw_component *device;
    vw_status status = vw_core_component(b->o.core, VW_KIND_DEVICE, NULL, NULL, &device, err);
    if (status != VW_OK)
        return status;
    *d = (bench_device){.name = device->plugin->name, .ops = device->ops, .self = device->self};
    d->is_elsewhere = strcmp(d->name, "cpu") != 0;
    b->elsewhere = d->is_elsewhere ? d : NULL;
    return d->ops->stream_new(d->self, &d->stream, err);
}

void bench_device_close(bench_device *d)
{
    if (d->stream)
        d->ops->stream_free(d->self, d->stream);
    d->stream = NULL;
}

vw_status bench_alloc(const bench_device *d, size_t bytes, const void *from_host, vw_buffer *buffer,
                      vw_error *err)
{
    vw_status status = d->ops->alloc(d->self, bytes ? bytes : 256, buffer, err);
    if (status == VW_OK && from_host)
        status = d->ops->upload(d->self, d->stream, buffer->data, from_host, bytes, err);
    if (status == VW_OK && from_host)
        status = d->ops->synchronize(d->self, d->stream, err);
    return status;
}

void bench_free(const bench_device *d, vw_buffer *buffer)
{
    d->ops->free(d->self, buffer);
    *buffer = (vw_buffer){NULL, 0, 0};
}

vw_status bench_wait(const bench_device *d, vw_error *err)
{
    return d->ops->synchronize(d->self, d->stream, err);
}

vw_status bench_copy_rate(const bench_device *d, double *rate, vw_error *err)
{
    enum { ROUNDS = 5, COPIES = 8 };
    const size_t bytes = (size_t)512 << 20;
    vw_buffer from = {0}, to = {0};
    vw_status status = bench_alloc(d, bytes, NULL, &from, err);
    if (status == VW_OK)
        status = bench_alloc(d, bytes, NULL, &to, err);
    if (status == VW_OK) /* zeros may be moved faster than other values */
        status = d->ops->fill(d->self, d->stream, from.data, 0x5A, bytes, err);
    *rate = 0;
    for (int round = 0; round < ROUNDS && status == VW_OK; round++) {
        status = bench_wait(d, err);
        double began = now_seconds();
        for (int i = 0; i < COPIES && status == VW_OK; i++)
            status = d->ops->copy(d->self, d->stream, i % 2 ? from.data : to.data,
                                  i % 2 ? to.data : from.data, bytes, err);
        if (status == VW_OK)
            status = bench_wait(d, err);
        double now = 2.0 * COPIES * (double)bytes / (now_seconds() - began);
        *rate = now > *rate ? now : *rate;
    }
    bench_free(d, &from);
    bench_free(d, &to);
    return status;
}

vw_status bench_download(const bench_device *d, void *to_host, const vw_buffer *from, size_t bytes,
                         vw_error *err)
{
    vw_status status = d->ops->download(d->self, d->stream, to_host, from->data, bytes, err);
    return status == VW_OK ? d->ops->synchronize(d->self, d->stream, err) : status;
}
