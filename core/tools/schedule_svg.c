/* schedule_svg.c - schedules as a chart: a row for each rank, a box for each step.
 *
 * The colour says the kind, the number the micro-batch; a number that is underlined belongs to the
 * rank's second chunk.  A pair is a box in two halves.  What is grey is idle.
 * Several schedules stand one below the other on one scale of time, so that lengths compare.
 */
#include "schedule.h"

#include <math.h>
#include <stdio.h>

enum {
    LEFT = 58, RIGHT = 58, TOP = 50,    /* margins of the drawing; the legend is in the top one */
    TITLE = 30, AXIS = 40,              /* above and below a schedule's rows */
    ROW = 26, GAP = 4, FOOT = 4,        /* of a box, where the underline is */
    NARROWEST = 760, WIDEST = 2400,     /* of the time axis */
    COMFORT = 19                        /* pixels for the shortest step, if that is not too wide */
};

#define IDLE_GREY 0xe9e9e9u

static svg_colour colour_of(vw_step_kind kind)
{
    switch (kind) {
    case VW_STEP_FORWARD:
        return svg_palette[4];
    case VW_STEP_BACKWARD:
        return svg_palette[0];
    case VW_STEP_INPUT_GRAD:
        return svg_palette[1];
    default:
        return svg_palette[3];
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* At the foot of a box that ends at y: black or white, whichever shows on its colour. */
static void draw_underline(svg *s, double x, double y, double width, svg_colour fill)
{
    double inset = fmin(3, width / 4);

    svg_line(s, x + inset, y - 3, x + width - inset, y - 3, svg_on(fill), 1.6, 0);
}

/* A box with the number of its micro-batch, without the letter: the colour says that. */
static void draw_box(svg *s, const timed_schedule *t, const vw_step *step, double x, double y,
                     double width, double height, const char *tip)
{
    char name[64];
    svg_colour fill = colour_of(step->kind);
    double foot = step->chunk > 0 ? FOOT : 0;

    svg_box(s, x, y, width, height, fill, tip);
    if (step->chunk > 0)
        draw_underline(s, x, y + height, width, fill);
    vw_step_text(&t->schedule, step, name, sizeof name);
    for (char *p = name; *p; p++)
        if (*p == '\'')
            *p = '\0';
    svg_label(s, x + 1, y, width - 2, height - foot, 11, fill, name + 1);
}

static void draw_step(svg *s, const timed_schedule *t, const vw_step *step,
                      const vw_step_time *time, double x, double y, double scale)
{
    double width = (time->end - time->start) * scale;
    char name[64], tip[160];

    x += time->start * scale;
    vw_step_text(&t->schedule, step, name, sizeof name);
    snprintf(tip, sizeof tip, "%s: %g to %g, %d activations", name, time->start, time->end,
             time->live);
    if (step->kind != VW_STEP_OVERLAP) {
        draw_box(s, t, step, x, y, width, ROW, tip);
        return;
    }
    vw_step f = {VW_STEP_FORWARD, step->chunk, step->micro, -1, -1, -1};
    vw_step b = {VW_STEP_BACKWARD, step->other_chunk, step->other_micro, -1, -1, -1};
    draw_box(s, t, &f, x, y, width, ROW / 2.0, tip);
    draw_box(s, t, &b, x, y + ROW / 2.0, width, ROW / 2.0, tip);
}

static void draw_rank(svg *s, const timed_schedule *t, int32_t r, double x, double y, double scale)
{
    char words[32];
    double width = t->times.makespan * scale;

    snprintf(words, sizeof words, "rank %d", r);
    svg_words(s, x - 8, y + ROW / 2.0 + 4, 11, SVG_END, SVG_INK, words);
    svg_box(s, x, y, width, ROW, IDLE_GREY, NULL);
    for (size_t i = 0; i < t->schedule.n_steps[r]; i++)
        if (t->schedule.steps[r][i].kind <= VW_STEP_OVERLAP)
            draw_step(s, t, &t->schedule.steps[r][i], &t->times.steps[r][i], x, y, scale);
    snprintf(words, sizeof words, "%d", t->times.peak_activations[r]);
    svg_words(s, x + width + 18, y + ROW / 2.0 + 4, 11, SVG_MIDDLE, SVG_INK, words);
}

/* ---- around them ----------------------------------------------------------------------------- */

/* Ticks at 1, 2 or 5 times a power of ten, about ten of them. */
static void draw_axis(svg *s, double x, double y, double makespan, double scale)
{
    double rough = makespan / 10, power = rough > 0 ? pow(10, floor(log10(rough))) : 1;
    double tick = power * (rough > 5 * power ? 10 : rough > 2 * power ? 5 : rough > power ? 2 : 1);
    char words[32];

    svg_line(s, x, y, x + makespan * scale, y, SVG_INK, 1, 0);
    for (int i = 0; i * tick <= makespan * (1 + 1e-9); i++) {
        snprintf(words, sizeof words, "%g", i * tick);
        svg_line(s, x + i * tick * scale, y, x + i * tick * scale, y + 4, SVG_INK, 1, 0);
        svg_words(s, x + i * tick * scale, y + 16, 10, SVG_MIDDLE, SVG_INK, words);
    }
}

static double height_of(const timed_schedule *t)
{
    return TITLE + t->schedule.n_ranks * (ROW + GAP) + AXIS;
}

static void draw_schedule(svg *s, const timed_schedule *t, double y, double scale)
{
    char words[256];
    double end = LEFT + t->times.makespan * scale;

    snprintf(words, sizeof words, "%s: %d ranks, %d micro-batches, makespan %.4g, bubble %.1f %%",
             t->name, t->schedule.n_ranks, t->schedule.n_micro, t->times.makespan,
             100 * t->times.bubble);
    svg_words(s, LEFT, y + TITLE - 12, 13, SVG_START, SVG_INK, words);
    svg_words(s, end + 18, y + TITLE - 5, 9, SVG_MIDDLE, SVG_INK, "activations");
    y += TITLE;
    for (int32_t r = 0; r < t->schedule.n_ranks; r++, y += ROW + GAP)
        draw_rank(s, t, r, LEFT, y, scale);
    draw_axis(s, LEFT, y + 2, t->times.makespan, scale);
}

/* Which kinds and second chunks there are, in any of them. */
typedef struct present {
    int kinds[VW_STEP_OVERLAP + 1], has_directions, has_way_back;
} present;

static present look(const timed_schedule *all, int n)
{
    present p = {.has_way_back = 0};

    for (int i = 0; i < n; i++) {
        const vw_schedule *s = &all[i].schedule;
        p.has_directions |= s->n_directions > 1;
        p.has_way_back |= s->n_chunks > 1 && s->n_directions == 1;
        for (int32_t r = 0; r < s->n_ranks; r++)
            for (size_t k = 0; k < s->n_steps[r]; k++)
                if (s->steps[r][k].kind <= VW_STEP_OVERLAP)
                    p.kinds[s->steps[r][k].kind] = 1;
    }
    if (p.kinds[VW_STEP_OVERLAP])
        p.kinds[VW_STEP_FORWARD] = p.kinds[VW_STEP_BACKWARD] = 1;
    return p;
}

static void draw_legend(svg *s, const timed_schedule *all, int n, double x, double y)
{
    static const char *const words[] = {"", "forward (F)", "backward (B)", "input gradient (I)",
                                        "weight gradient (W)"};
    present p = look(all, n);

    for (int kind = VW_STEP_FORWARD; kind <= VW_STEP_WEIGHT_GRAD; kind++)
        if (p.kinds[kind])
            x = svg_key(s, x, y, 11, colour_of((vw_step_kind)kind), 0, words[kind]);
    if (p.kinds[VW_STEP_OVERLAP]) {
        svg_box(s, x, y - 10, 11, 6, colour_of(VW_STEP_FORWARD), NULL);
        svg_box(s, x, y - 4, 11, 6, colour_of(VW_STEP_BACKWARD), NULL);
        svg_words(s, x + 15.4, y, 11, SVG_START, SVG_INK, "overlapped");
        x += 15.4 + svg_width("overlapped", 11) + 16.5;
    }
    if (p.has_directions || p.has_way_back) {
        double end = svg_key(s, x, y, 11, colour_of(VW_STEP_FORWARD), 0,
                    p.has_directions && p.has_way_back ? "second chunk of a rank"
                    : p.has_directions                 ? "second direction"
                                                       : "the way back");
        draw_underline(s, x, y + 1.5, 11, colour_of(VW_STEP_FORWARD));
        x = end;
    }
    svg_key(s, x, y, 11, IDLE_GREY, 0, "idle");
}

/* The width of the legend, drawn for nobody. */
static double legend_width(void)
{
    return svg_width("forward (F)backward (B)input gradient (I)weight gradient (W)overlapped"
                     "second chunk of a rankidle", 11) + 7 * 32;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static double shortest(const timed_schedule *t)
{
    double least = 0;

    for (size_t i = 0; i < t->schedule.n_steps[0]; i++) {
        double takes = t->times.steps[0][i].end - t->times.steps[0][i].start;
        if (t->schedule.steps[0][i].kind <= VW_STEP_OVERLAP && takes > 0 &&
            (least == 0 || takes < least))
            least = takes;
    }
    return least;
}

void schedule_draw(svg *s, const timed_schedule *all, int n)
{
    double makespan = 0, height = TOP, least = 0, wide;
    char title[128];

    for (int i = 0; i < n; i++) {
        double one = shortest(&all[i]);
        makespan = fmax(makespan, all[i].times.makespan);
        height += height_of(&all[i]);
        if (one > 0 && (least == 0 || one < least))
            least = one;
    }
    wide = least > 0 ? COMFORT / least * makespan : NARROWEST;
    wide = wide < NARROWEST ? NARROWEST : wide > WIDEST ? WIDEST : wide;
    wide = fmax(wide, legend_width());
    snprintf(title, sizeof title, "pipeline schedule%s: %s%s", n > 1 ? "s" : "", all[0].name,
             n > 1 ? " and others" : "");
    svg_begin(s, LEFT + wide + RIGHT, height, title);
    draw_legend(s, all, n, LEFT, 30);
    height = TOP;
    for (int i = 0; i < n; i++) {
        draw_schedule(s, &all[i], height, makespan > 0 ? wide / makespan : 0);
        height += height_of(&all[i]);
    }
}
