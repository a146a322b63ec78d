/* svg.c - SVG text, grown in memory, and what makes words fit. */
#include "svg.h"

#include "save.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const svg_colour svg_palette[SVG_N_COLOURS] = {
    0x123a5e, /* navy */
    0x7b3f98, /* violet */
    0xc75a28, /* rust */
    0x45a5b5, /* teal */
    0xf0b83c, /* amber */
    0xeaf2c4, /* pale green */
};

/* Of a font's size: what capitals and digits rise above the base line, and a line's height. */
static const double CAPITAL = 0.73, LINE = 1.0;

enum { SMALLEST = 6 }; /* a font's size that can still be read in print */

/* ---- text ------------------------------------------------------------------------------------ */

static int make_room(svg *s, size_t more)
{
    if (s->failed)
        return 0;
    if (more < s->room - s->bytes)
        return 1;
    size_t room = 2 * s->room + more + 4096;
    char *grown = realloc(s->text, room);
    if (!grown) {
        s->failed = 1;
        return 0;
    }
    s->text = grown;
    s->room = room;
    return 1;
}

static void put(svg *s, const char *text, size_t bytes)
{
    if (!make_room(s, bytes + 1))
        return;
    memcpy(s->text + s->bytes, text, bytes);
    s->bytes += bytes;
    s->text[s->bytes] = '\0';
}

VW_PRINTF(2, 3) static void putf(svg *s, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text)
        s->failed = 1;
    else
        put(s, text, (size_t)n);
}

/* ` name="12.5"`: two decimals are enough, and zeros at the end are left out. */
static void put_number(svg *s, const char *name, double x)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%.2f", isfinite(x) && fabs(x) < 1e9 ? x : 0.0);
    while (n > 1 && text[n - 1] == '0')
        n--;
    if (text[n - 1] == '.')
        n--;
    putf(s, " %s=\"%.*s\"", name, n, text);
}

/* Words as XML text: markup is escaped, control characters become blanks. */
static void put_escaped(svg *s, const char *words)
{
    for (const char *p = words; *p; p++) {
        if (*p == '&')
            put(s, "&amp;", 5);
        else if (*p == '<')
            put(s, "&lt;", 4);
        else if (*p == '>')
            put(s, "&gt;", 4);
        else
            put(s, (unsigned char)*p < 32 ? " " : p, 1);
    }
}

/* ---- words that fit -------------------------------------------------------------------------- */

double svg_width(const char *words, double size)
{
    /* Advance widths of ' ' .. '~', in 1/1000 em. */
    static const short advance[95] = {
        318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636,
        636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698,
        770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732,
        684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635,
        634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,
        525, 636, 337, 636, 838,
    };
    int sum = 0;
    for (const unsigned char *p = (const unsigned char *)words; *p; p++) {
        if (*p >= 32 && *p < 127)
            sum += advance[*p - 32];
        else if ((*p & 0xC0) != 0x80)
            sum += *p < 32 ? advance[0] : 1000;
    }
    return sum * size / 1000;
}

/* Relative luminance of sRGB. */
static double luminance(svg_colour c)
{
    static const double weight[3] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        double x = (c >> (16 - 8 * i) & 255) / 255.0;
        sum += weight[i] * (x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4));
    }
    return sum;
}

/* White where its contrast (of WCAG 2) is higher than that of the ink. */
svg_colour svg_on(svg_colour fill)
{
    double l = luminance(fill) + 0.05;
    return 1.05 / l >= l / (luminance(SVG_INK) + 0.05) ? SVG_PAPER : SVG_INK;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

void svg_begin(svg *s, double width, double height, const char *title)
{
    put(s, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39);
    put_number(s, "width", width);
    put_number(s, "height", height);
    putf(s, " viewBox=\"0 0 %.0f %.0f\"", ceil(width), ceil(height));
    putf(s, " font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\">\n");
    putf(s, "<title>");
    put_escaped(s, title);
    putf(s, "</title>\n<defs><pattern id=\"hatch\" width=\"4\" height=\"4\" "
            "patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
            "<rect width=\"1.3\" height=\"4\" fill=\"#fff\"/></pattern></defs>\n");
    putf(s, "<rect width=\"100%%\" height=\"100%%\" fill=\"#%06x\"/>\n", SVG_PAPER);
}

static void put_place(svg *s, double x, double y, double width, double height)
{
    put_number(s, "x", x);
    put_number(s, "y", y);
    put_number(s, "width", fmax(width, 0));
    put_number(s, "height", fmax(height, 0));
}

void svg_box(svg *s, double x, double y, double width, double height, svg_colour fill,
             const char *tip)
{
    put(s, "<rect", 5);
    put_place(s, x, y, width, height);
    putf(s, " fill=\"#%06x\" stroke=\"#%06x\" stroke-width=\"0.5\"", fill, SVG_INK);
    if (!tip) {
        put(s, "/>\n", 3);
        return;
    }
    put(s, "><title>", 8);
    put_escaped(s, tip);
    put(s, "</title></rect>\n", 16);
}

void svg_hatch(svg *s, double x, double y, double width, double height)
{
    put(s, "<rect", 5);
    put_place(s, x, y, width, height);
    putf(s, " fill=\"url(#hatch)\" fill-opacity=\"0.55\" pointer-events=\"none\"/>\n");
}

void svg_line(svg *s, double x1, double y1, double x2, double y2, svg_colour colour, double width,
              int is_dashed)
{
    put(s, "<line", 5);
    put_number(s, "x1", x1);
    put_number(s, "y1", y1);
    put_number(s, "x2", x2);
    put_number(s, "y2", y2);
    putf(s, " stroke=\"#%06x\"", colour);
    put_number(s, "stroke-width", width);
    putf(s, "%s/>\n", is_dashed ? " stroke-dasharray=\"5 3\"" : "");
}

void svg_words(svg *s, double x, double y, double size, svg_anchor anchor, svg_colour colour,
               const char *words)
{
    static const char *const anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    put(s, "<text", 5);
    put_number(s, "x", x);
    put_number(s, "y", y);
    put_number(s, "font-size", size);
    putf(s, "%s fill=\"#%06x\">", anchors[anchor], colour);
    put_escaped(s, words);
    put(s, "</text>\n", 8);
}

int svg_label(svg *s, double x, double y, double width, double height, double size,
              svg_colour fill, const char *words)
{
    double wide = svg_width(words, 1), fits = fmin(size, height / LINE);
    if (wide > 0)
        fits = fmin(fits, 0.96 * width / wide);
    if (!(fits >= SMALLEST))
        return 0;
    svg_words(s, x + width / 2, y + (height + CAPITAL * fits) / 2, fits, SVG_MIDDLE, svg_on(fill),
              words);
    return 1;
}

double svg_key(svg *s, double x, double y, double size, svg_colour fill, int is_hatched,
               const char *words)
{
    double side = size, top = y - (CAPITAL * size + side) / 2;
    svg_box(s, x, top, side, side, fill, NULL);
    if (is_hatched)
        svg_hatch(s, x, top, side, side);
    svg_words(s, x + 1.4 * side, y, size, SVG_START, SVG_INK, words);
    return x + 1.4 * side + svg_width(words, size) + 1.5 * size;
}

/* ---- the file -------------------------------------------------------------------------------- */

vw_status svg_save(svg *s, const char *path, vw_error *err)
{
    put(s, "</svg>\n", 7);
    if (s->failed)
        return vw_fail(err, VW_E_NOMEM, "no memory for the drawing");
    if (strcmp(path, "-") != 0)
        return save_file(path, s->text, s->bytes, err);
    if (fwrite(s->text, 1, s->bytes, stdout) != s->bytes || fflush(stdout) != 0)
        return vw_fail(err, VW_E_IO, "standard output: cannot be written: %s", strerror(errno));
    return VW_OK;
}

void svg_free(svg *s)
{
    free(s->text);
    *s = (svg){0};
}
