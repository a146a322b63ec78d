/* svg.c - the drawings' writer: words that fit and are escaped, and a palette that is told apart in
 * print without colour and by every eye.
 *
 * Lightness is CIE L* (1976) of sRGB; colour blindness is simulated by the matrices of Machado,
 * Oliveira and Fernandes (2009) at full severity; a difference is that of CIE L*a*b*, of which 2.3
 * can just be noticed.
 */
#include "core/tools/svg.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- colours --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    double m[3][3];
} eyes[] = {
    {"common", {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}},
    {"protanope",
     {{0.152286, 1.052583, -0.204868},
      {0.114503, 0.786281, 0.099216},
      {-0.003882, -0.048116, 1.051998}}},
    {"deuteranope",
     {{0.367322, 0.860646, -0.227968},
      {0.280085, 0.672501, 0.047413},
      {-0.011820, 0.042940, 0.968881}}},
    {"tritanope",
     {{1.255528, -0.076749, -0.178779},
      {-0.078411, 0.930809, 0.147602},
      {0.004733, 0.691367, 0.303900}}},
};

static double f_of_lab(double t)
{
    return t > 0.008856 ? cbrt(t) : 7.787 * t + 16.0 / 116;
}

static void lab_of(svg_colour c, const double eye[3][3], double lab[3])
{
    static const double xyz[3][3] = {
        {0.4124, 0.3576, 0.1805}, {0.2126, 0.7152, 0.0722}, {0.0193, 0.1192, 0.9505}};
    static const double white[3] = {0.95047, 1, 1.08883};
    double linear[3], seen[3], f[3];

    for (int i = 0; i < 3; i++) {
        double x = (c >> (16 - 8 * i) & 255) / 255.0;
        linear[i] = x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4);
    }
    for (int i = 0; i < 3; i++)
        seen[i] = fmin(1, fmax(0, eye[i][0] * linear[0] + eye[i][1] * linear[1] +
                                      eye[i][2] * linear[2]));
    for (int i = 0; i < 3; i++)
        f[i] = f_of_lab((xyz[i][0] * seen[0] + xyz[i][1] * seen[1] + xyz[i][2] * seen[2]) /
                        white[i]);
    lab[0] = 116 * f[1] - 16;
    lab[1] = 500 * (f[0] - f[1]);
    lab[2] = 200 * (f[1] - f[2]);
}

static void test_palette(void)
{
    for (size_t e = 0; e < sizeof eyes / sizeof *eyes; e++) {
        double lab[SVG_N_COLOURS][3], nearest = INFINITY;
        for (int i = 0; i < SVG_N_COLOURS; i++)
            lab_of(svg_palette[i], eyes[e].m, lab[i]);
        for (int i = 0; i < SVG_N_COLOURS; i++)
            for (int k = 0; k < i; k++)
                nearest = fmin(nearest, hypot(hypot(lab[i][0] - lab[k][0], lab[i][1] - lab[k][1]),
                                              lab[i][2] - lab[k][2]));
        ok(nearest > 15, "%s eye: colours differ by %.1f or more", eyes[e].name, nearest);
        for (int i = 1; i < SVG_N_COLOURS && e == 0; i++)
            ok(lab[i][0] - lab[i - 1][0] >= 11, "colour %d is lighter than the one before by %.1f",
               i, lab[i][0] - lab[i - 1][0]);
    }
    is_int(svg_on(svg_palette[0]), SVG_PAPER, "white words on the darkest");
    is_int(svg_on(svg_palette[SVG_N_COLOURS - 1]), SVG_INK, "dark words on the lightest");
}

/* ---- words ----------------------------------------------------------------------------------- */

static void test_words(void)
{
    static const char escaped[] = "a&amp;b &lt;c&gt; \"d\" \xC3\xA9";
    svg s = {0};

    near(svg_width("0000000000", 10), 1303 / 20.48, 0.05,
         "ten digits of DejaVu Sans, 1303/2048 em each");
    near(svg_width("\xC3\xA9\xE2\x82\xAC", 10), 20, 1e-9, "one em for what is not ASCII");
    near(svg_width("", 10), 0, 0, "no words, no width");
    svg_words(&s, 1, 2.5, 10, SVG_END, SVG_INK, "a&b <c> \"d\" \xC3\xA9");
    like(s.text, escaped, "markup is escaped, UTF-8 stays");
    like(s.text, "x=\"1\" y=\"2.5\" font-size=\"10\" text-anchor=\"end\"", "place, size, anchor");
    svg_free(&s);
    svg_words(&s, 1, 2, 10, SVG_START, SVG_INK, "a\nb\001c");
    like(s.text, ">a b c</text>", "a control character is a blank");
    svg_free(&s);
}

/* The size of the font that a label got; 0 when it was not drawn. */
static double label_size(double width, double height, const char *words)
{
    svg s = {0};
    int is_drawn = svg_label(&s, 0, 0, width, height, 12, SVG_PAPER, words);
    const char *at = is_drawn ? strstr(s.text, "font-size=\"") : NULL;
    double size = at ? strtod(at + 11, NULL) : 0;

    svg_free(&s);
    return size;
}

static void test_labels(void)
{
    static const char words[] = "expert 17";
    double size;

    near(label_size(200, 20, words), 12, 0, "room enough: the size asked for");
    size = label_size(40, 20, words);
    ok(size >= 6 && size < 12, "a narrow box: smaller, %.2f", size);
    ok(svg_width(words, size) <= 40, "and it fits");
    near(label_size(200, 7, words), 7, 0, "a low box: as high as the box");
    near(label_size(20, 20, words), 0, 0, "too narrow to be read: nothing");
    near(label_size(200, 3, words), 0, 0, "too low to be read: nothing");
}

/* ---- a drawing ------------------------------------------------------------------------------- */

static void test_drawing(void)
{
    char path[] = "svg-test-XXXXXX", missing[64], text[4096];
    svg s = {0};
    vw_error err = {VW_OK, ""};
    int fd = mkstemp(path);
    FILE *file;
    size_t n;
    double x;

    if (fd < 0)
        bail_out("no temporary file");
    close(fd);
    svg_begin(&s, 100.5, 50, "a <title>");
    svg_box(&s, 1, 2, 3, -4, svg_palette[1], "tip & more");
    svg_hatch(&s, 1, 2, 3, 4);
    svg_line(&s, 0, 1, NAN, 3, SVG_GREY, 1, 1);
    x = svg_key(&s, 10, 20, 10, svg_palette[2], 1, "forward");
    ok(x >= 10 + 14 + svg_width("forward", 10), "the next entry of a legend is behind the words");
    is_int(svg_save(&s, path, &err), VW_OK, "saved %s", err.text);
    svg_free(&s);
    file = fopen(path, "rb");
    n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[n] = '\0';
    if (file)
        fclose(file);
    like(text, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100.5\" height=\"50\" "
               "viewBox=\"0 0 101 50\"", "the head");
    like(text, "<title>a &lt;title&gt;</title>", "the title");
    like(text, "height=\"0\" fill=\"#7b3f98\"", "no negative size");
    like(text, "<title>tip &amp; more</title></rect>", "a tip");
    like(text, "url(#hatch)", "stripes");
    like(text, "x2=\"0\" y2=\"3\"", "what is no number is 0");
    like(text, "stroke-dasharray", "dashes");
    is_str(text + n - 7, "</svg>\n", "the end");
    unlink(path);
    snprintf(missing, sizeof missing, "%s/no/such.svg", path);
    svg_begin(&s, 1, 1, "x");
    is_int(svg_save(&s, missing, &err), VW_E_IO, "a folder that is not there");
    like(err.text, "such.svg: cannot be written: No such file or directory",
         "and the sentence");
    svg_free(&s);
}

int main(void)
{
    test_palette();
    test_words();
    test_labels();
    test_drawing();
    return done_testing();
}
