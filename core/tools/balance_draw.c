/* balance_draw.c - the load of each device, before and after, as a drawing for a paper.
 *
 * On top, where there are several layers, the imbalance of each; below, the devices of a few
 * layers, those that were worst before.  Dark bars are after, light ones before; the dashed line is
 * the mean.
 */
#include "balance_job.h"

#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 900, LEFT = 64, RIGHT = 20, PANEL = 150, GAP = 56, HEAD = 76, MAX_PANELS = 6 };

#define BEFORE svg_palette[4]
#define AFTER  svg_palette[0]

typedef struct drawing {
    const balance_input *in;
    const balance_result *r;
    svg s;
    double *before, *after; /* [P] */
    int32_t *expert, *count;
} drawing;

/* A round number of at least x / 4: the step of an axis. */
static double axis_step(double x)
{
    double power = pow(10, floor(log10(x / 4)));
    double steps[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (steps[i] * power * 4 >= x)
            return steps[i] * power;
    return 10 * power;
}

/* Axis and grid for values up to `top`; `y` is the upper edge. */
static void draw_axis(svg *s, double y, double top, const char *title)
{
    double step = axis_step(top);
    char label[32];
    svg_words(s, LEFT, y - 10, 12, SVG_START, SVG_INK, title);
    for (int i = 0; i * step <= top * 1.0001; i++) {
        double at = y + PANEL * (1 - i * step / top);
        snprintf(label, sizeof label, "%g", i * step);
        svg_line(s, LEFT, at, WIDTH - RIGHT, at, SVG_FAINT, 0.7, 0);
        svg_words(s, LEFT - 6, at + 3.5, 10, SVG_END, SVG_INK, label);
    }
}

/* Two bars for each of n things, numbered below as far as the numbers fit. */
static void draw_bars(svg *s, double y, double top, int n, const double *before,
                      const double *after, const char *what)
{
    double pitch = (double)(WIDTH - LEFT - RIGHT) / n, bar = 0.4 * pitch;
    int every = 1;
    char tip[96], label[16];
    snprintf(label, sizeof label, "%d", n - 1);
    while (every * pitch < svg_width(label, 10) + 4)
        every++;
    for (int i = 0; i < n; i++) {
        double x = LEFT + i * pitch + 0.1 * pitch;
        double low = PANEL * before[i] / top, high = PANEL * after[i] / top;
        snprintf(tip, sizeof tip, "%s %d: %.6g before, %.6g after", what, i, before[i], after[i]);
        svg_box(s, x, y + PANEL - low, bar, low, BEFORE, tip);
        svg_box(s, x + bar, y + PANEL - high, bar, high, AFTER, tip);
        snprintf(label, sizeof label, "%d", i);
        if (i % every == 0)
            svg_words(s, x + bar, y + PANEL + 13, 10, SVG_MIDDLE, SVG_INK, label);
    }
    svg_line(s, LEFT, y + PANEL, WIDTH - RIGHT, y + PANEL, SVG_INK, 1, 0);
    svg_words(s, (double)(LEFT + WIDTH - RIGHT) / 2, y + PANEL + 28, 11, SVG_MIDDLE, SVG_INK, what);
}

static double largest(const double *x, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, x[i]);
    return most > 0 ? most : 1;
}

/* The devices of one layer. */
static void draw_layer(drawing *d, size_t layer, double y)
{
    const vw_balance_problem *p = &d->in->problem;
    const double *load = p->load + layer * (size_t)p->n_experts;
    const balance_layer *l = &d->r->layers[layer];
    double total = 0, speeds = 0, top, mean;
    char title[160];
    balance_before(p, layer, d->expert);
    balance_times(p, load, d->expert, d->count, d->before);
    balance_times(p, load, d->r->expert + layer * (size_t)p->n_replicas, d->count, d->after);
    for (int32_t e = 0; e < p->n_experts; e++)
        total += load[e];
    for (int32_t k = 0; k < p->n_devices; k++)
        speeds += p->speed ? p->speed[k] : 1;
    mean = total / speeds;
    top = 1.05 * fmax(largest(d->before, p->n_devices), largest(d->after, p->n_devices));
    snprintf(title, sizeof title, "layer %zu: %s of each device; largest over mean %.3f before, "
             "%.3f after", layer, p->speed ? "time" : "load", l->before, l->after);
    draw_axis(&d->s, y, top, title);
    draw_bars(&d->s, y, top, p->n_devices, d->before, d->after, "device");
    svg_line(&d->s, LEFT, y + PANEL * (1 - mean / top), WIDTH - RIGHT, y + PANEL * (1 - mean / top),
             SVG_INK, 1.2, 1);
}

static vw_status draw_overview(drawing *d, double y, vw_error *err)
{
    int n = d->in->problem.n_layers;
    double *x = malloc(2 * (size_t)n * sizeof *x), top;
    if (!x)
        return vw_fail(err, VW_E_NOMEM, "no memory for the drawing");
    for (int l = 0; l < n; l++) {
        x[l] = d->r->layers[l].before;
        x[n + l] = d->r->layers[l].after;
    }
    top = 1.05 * largest(x, 2 * n);
    draw_axis(&d->s, y, top, "largest over mean of each layer; 1 is the best");
    draw_bars(&d->s, y, top, n, x, x + n, "layer");
    svg_line(&d->s, LEFT, y + PANEL * (1 - 1 / top), WIDTH - RIGHT, y + PANEL * (1 - 1 / top),
             SVG_INK, 1.2, 1);
    free(x);
    return VW_OK;
}

/* The layer that was worst before, of those that are not drawn yet. */
static size_t next_worst(const drawing *d, const size_t *drawn, int n_drawn)
{
    size_t best = 0;
    int is_found = 0;
    for (size_t l = 0; l < (size_t)d->in->problem.n_layers; l++) {
        int is_drawn = 0;
        for (int i = 0; i < n_drawn; i++)
            is_drawn |= drawn[i] == l;
        if (!is_drawn &&
            (!is_found || d->r->layers[l].before > d->r->layers[best].before)) {
            best = l;
            is_found = 1;
        }
    }
    return best;
}

static vw_status draw_all(drawing *d, vw_error *err)
{
    const vw_balance_problem *p = &d->in->problem;
    int n_panels = p->n_layers < MAX_PANELS ? p->n_layers : MAX_PANELS, has_overview;
    size_t drawn[MAX_PANELS];
    char title[256];
    double y = HEAD, x;
    vw_status status = VW_OK;
    has_overview = p->n_layers > 1;
    snprintf(title, sizeof title, "balance/%s: %d experts in %d slots on %d devices", d->r->plugin,
             p->n_experts, p->n_replicas, p->n_devices);
    svg_begin(&d->s, WIDTH, HEAD + (n_panels + has_overview) * (PANEL + GAP), title);
    svg_words(&d->s, LEFT, 22, 15, SVG_START, SVG_INK, title);
    x = svg_key(&d->s, LEFT, 44, 11, BEFORE, 0,
                p->previous ? "before: the previous placement" : "before: experts by number");
    x = svg_key(&d->s, x, 44, 11, AFTER, 0, "after");
    svg_line(&d->s, x, 40, x + 22, 40, SVG_INK, 1.2, 1);
    svg_words(&d->s, x + 28, 44, 11, SVG_START, SVG_INK, "mean");
    if (p->n_layers > n_panels)
        svg_words(&d->s, WIDTH - RIGHT, 44, 11, SVG_END, SVG_INK, "drawn: the layers worst before");
    if (has_overview) {
        status = draw_overview(d, y, err);
        y += PANEL + GAP;
    }
    for (int i = 0; i < n_panels && status == VW_OK; i++, y += PANEL + GAP) {
        drawn[i] = next_worst(d, drawn, i);
        draw_layer(d, drawn[i], y);
    }
    return status;
}

vw_status balance_draw(const balance_input *in, const balance_result *r, const char *path,
                       vw_error *err)
{
    size_t n_devices = (size_t)in->problem.n_devices;
    drawing d = {.in = in, .r = r};
    d.before = malloc(n_devices * sizeof *d.before);
    d.after = malloc(n_devices * sizeof *d.after);
    d.expert = malloc((size_t)in->problem.n_replicas * sizeof *d.expert);
    d.count = malloc((size_t)in->problem.n_experts * sizeof *d.count);
    vw_status status = d.before && d.after && d.expert && d.count
        ? draw_all(&d, err) : vw_fail(err, VW_E_NOMEM, "no memory for the drawing");
    if (status == VW_OK)
        status = svg_save(&d.s, path, err);
    svg_free(&d.s);
    free(d.before);
    free(d.after);
    free(d.expert);
    free(d.count);
    return status;
}
