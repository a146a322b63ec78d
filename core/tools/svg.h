/* svg.h - drawings as SVG text: boxes, lines, words that fit, colours that everybody can tell apart.
 *
 * Units are pixels, y grows downwards.  A drawing grows in memory and reaches its file whole, so a
 * failed command leaves no half of one.  Memory that runs out is remembered and told once, by
 * svg_save().
 *
 *     svg s = {0};
 *     svg_begin(&s, 640, 400, "load of each device");
 *     svg_box(&s, 10, 10, 80, 20, svg_palette[2], "for whoever points at it");
 *     svg_label(&s, 10, 10, 80, 20, 11, svg_palette[2], "words inside the box");
 *     status = svg_save(&s, path, err);                 also after an error before
 *     svg_free(&s);
 */
#ifndef VW_TOOLS_SVG_H
#define VW_TOOLS_SVG_H

#include <vishwamai/status.h>

#include <stddef.h>
#include <stdint.h>

typedef uint32_t svg_colour; /* 0xRRGGBB */

/* From dark to light.  Each is lighter than the one before by 11 or more of the 100 steps of CIE
 * L*, so that they stay apart in print without colour and in every kind of colour blindness
 * (t/svg.c measures it).  svg_on() is black or white, whichever reads better on a colour. */
enum { SVG_N_COLOURS = 6 };
extern const svg_colour svg_palette[SVG_N_COLOURS];
#define SVG_INK 0x222222u
#define SVG_GREY 0x888888u
#define SVG_FAINT 0xdddddd
#define SVG_PAPER 0xffffffu
svg_colour svg_on(svg_colour fill);

typedef enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END } svg_anchor;

/* Zeros are an empty drawing. */
typedef struct svg {
    char *text;
    size_t bytes, room;
    int failed; /* no memory: everything since is dropped */
} svg;

/* White paper with a title for whoever cannot see it. */
void svg_begin(svg *s, double width, double height, const char *title);

/* A filled box with a thin edge; `tip` shows when it is pointed at, NULL for none.  svg_hatch()
 * lays white stripes over a box: a second meaning (the other direction) beside the colour. */
void svg_box(svg *s, double x, double y, double width, double height, svg_colour fill,
             const char *tip);
void svg_hatch(svg *s, double x, double y, double width, double height);

void svg_line(svg *s, double x1, double y1, double x2, double y2, svg_colour colour, double width,
              int is_dashed);

/* One line of words; y is the base line, x the start, middle or end. */
void svg_words(svg *s, double x, double y, double size, svg_anchor anchor, svg_colour colour,
               const char *words);

/* Words in the middle of a box, on the colour of its fill; smaller than `size`, down to 6, where
 * they would not fit.  Returns 0, and draws nothing, when even that is too wide or too high. */
int svg_label(svg *s, double x, double y, double width, double height, double size,
              svg_colour fill, const char *words);

/* An entry of a legend: a small box of the colour (hatched or not) and words beside it, on the base
 * line y.  Returns the x behind it, where the next entry may begin. */
double svg_key(svg *s, double x, double y, double size, svg_colour fill, int is_hatched,
               const char *words);

/* How wide words will be at most: the advance widths of DejaVu Sans, the widest of the fonts that
 * a drawing names; what is not ASCII counts as one em for each character. */
double svg_width(const char *words, double size);

/* End the drawing and write it to a file (under a temporary name, then renamed), or to standard
 * output for "-". */
vw_status svg_save(svg *s, const char *path, vw_error *err);
void svg_free(svg *s);

#endif
