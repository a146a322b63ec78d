/* runs_plot.c - loss curves. */
#include "runs.h"

#include "svg.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 760, HEIGHT = 440, LEFT = 64, RIGHT = 20, TOP = 44, BOTTOM = 52 };
enum { MAX_TICKS = 12, MAX_LINES = 8 }; /* of the axes: below, across */

typedef struct frame {
    double most_step, least, most; /* of the axes */
} frame;

static double x_of(const frame *f, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / f->most_step;
}

static double y_of(const frame *f, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (f->most - loss) / (f->most - f->least);
}

/* 1, 2 or 5 times a power of ten, so that a range has at most `ticks` of them. */
static double tick_of(double range, int ticks)
{
    double step = pow(10, floor(log10(range / ticks)));
    while (range / step > ticks)
        step *= range / (2 * step) <= ticks ? 2 : range / (5 * step) <= ticks ? 5 : 10;
    return step;
}

static void widen(frame *f, double loss)
{
    if (isnan(loss))
        return;
    f->least = loss < f->least ? loss : f->least;
    f->most = loss > f->most ? loss : f->most;
}

static frame frame_of(const run *runs, size_t n)
{
    frame f = {1, INFINITY, -INFINITY};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < runs[i].n_points; k++) {
            const run_point *p = runs[i].points + k;
            f.most_step = p->step > f.most_step ? p->step : f.most_step;
            widen(&f, p->train_loss);
            widen(&f, p->val_loss);
        }
    double tick = tick_of(fmax(f.most - f.least, 1e-3), MAX_LINES);
    f.least = tick * floor(f.least / tick);
    f.most = tick * ceil(f.most / tick);
    if (!(f.most > f.least))
        f.most = f.least + tick;
    return f;
}

static void draw_axes(svg *s, const frame *f)
{
    char words[40];
    double tick = tick_of(f->most - f->least, MAX_LINES), y;
    int digits = tick < 0.1 ? 2 : tick < 1 ? 1 : 0;
    for (int i = 0; i <= MAX_LINES && (y = f->least + i * tick) < f->most + tick / 2; i++) {
        svg_line(s, LEFT, y_of(f, y), WIDTH - RIGHT, y_of(f, y), SVG_FAINT, 1, 0);
        snprintf(words, sizeof words, "%.*f", digits, y);
        svg_words(s, LEFT - 8, y_of(f, y) + 4, 12, SVG_END, SVG_INK, words);
    }
    tick = tick_of(f->most_step, MAX_TICKS);
    for (double x = 0; x <= f->most_step; x += tick) {
        svg_line(s, x_of(f, x), HEIGHT - BOTTOM, x_of(f, x), HEIGHT - BOTTOM + 5, SVG_GREY, 1, 0);
        snprintf(words, sizeof words, "%g", x);
        svg_words(s, x_of(f, x), HEIGHT - BOTTOM + 20, 12, SVG_MIDDLE, SVG_INK, words);
    }
    svg_words(s, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10, 13, SVG_MIDDLE, SVG_INK, "step");
    svg_words(s, LEFT, TOP - 10, 13, SVG_END, SVG_INK, "loss");
}

/* Lines from point to point of one of the two losses. */
static void draw_curve(svg *s, const frame *f, const run *r, int is_validation, svg_colour colour)
{
    double last_x = NAN, last_y = NAN;
    for (size_t i = 0; i < r->n_points; i++) {
        double loss = is_validation ? r->points[i].val_loss : r->points[i].train_loss;
        if (isnan(loss))
            continue;
        double x = x_of(f, r->points[i].step), y = y_of(f, loss);
        if (!isnan(last_x))
            svg_line(s, last_x, last_y, x, y, colour, is_validation ? 2.5 : 1, 0);
        last_x = x;
        last_y = y;
    }
}

vw_status runs_plot(const run *runs, size_t n, const char *path, vw_error *err)
{
    svg s = {0};
    frame f = frame_of(runs, n);
    double x = LEFT + 30;
    if (!isfinite(f.least))
        return vw_fail(err, VW_E_INVALID, "no run tells a loss yet: there is nothing to draw");
    svg_begin(&s, WIDTH, HEIGHT, "loss over steps");
    draw_axes(&s, &f);
    for (size_t i = 0; i < n; i++) {
        svg_colour colour = svg_palette[i * 2 % (SVG_N_COLOURS - 1)];
        draw_curve(&s, &f, runs + i, 0, colour);
        draw_curve(&s, &f, runs + i, 1, colour);
        x = svg_key(&s, x, TOP - 14, 12, colour, 0, runs[i].name);
    }
    svg_words(&s, WIDTH - RIGHT, TOP + 14, 11, SVG_END, SVG_GREY,
              "thick: validation, thin: training");
    vw_status status = svg_save(&s, path, err);
    svg_free(&s);
    return status;
}
