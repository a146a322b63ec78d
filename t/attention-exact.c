/* attention-exact.c - attention against numbers that are known otherwise: the vectors of the
 * specification (attention.md, section 15), and the slopes of a loss by finite differences.
 *
 * The formula of kernels/ref, which every other test of attention leans on, is itself judged here.
 */
#include "t/attention-case.h"

#include "t/tap/tap.h"
#include "t/with_device.h"

#include <stdlib.h>
#include <string.h>

/* ---- the vectors of the specification -------------------------------------------------------- */

typedef struct vector {
    const char *name;
    int n, S, q_heads, k_heads, dk, dv, is_causal, window;
    float cap;
    double out1, out2, dq1, dq2, dk1, dk2, dv1, dv2;
    double lse[4 * 6];
    double last[4];
} vector;

static const vector vectors[] = {
    {"A1",
     4,
     4,
     2,
     2,
     8,
     8,
     1,
     0,
     0,
     -2.51325780689,
     -3.47638363431,
     0.0953111532836,
     0.354318624871,
     0,
     -0.220983216871,
     0.875,
     2.11221108278,
     {0.8838834765, 0.03235541589, 1.256503083, 1.42566543, -0.7733980419, -0.3012217305,
      1.600427886, 1.533781087},
     {-0.659148819127, -0.284148819127, 0.0908511808731, 0.465851180873}},
    {"A2",
     3,
     7,
     4,
     2,
     8,
     8,
     1,
     0,
     0,
     0.0967438223703,
     1.96323452865,
     -0.258474961935,
     -3.13575140998,
     0,
     0.670397621087,
     -0.375,
     -0.967915950156,
     {1.839697434, 1.8368341, 2.2469869, 1.812981875, 2.408798568, 2.198603644, 1.756611698,
      2.044392839, 2.159126513, 1.522762557, 1.92012129, 1.90204584},
     {-0.264669165504, 0.110330834496, 0.356033714932, -0.0936607993097}},
    {"A3",
     5,
     7,
     4,
     2,
     8,
     8,
     1,
     3,
     0,
     1.52463570339,
     3.02504605576,
     -0.643504656939,
     -1.08888736779,
     0,
     2.3040796755,
     0.25,
     5.44003997149,
     {1.612467947,  1.357876706, 1.193846261, 1.194535574,  1.222805142, 1.132977609, 1.32670334,
      0.7769641356, 1.254557356, 1.446114721, 0.8915102731, 1.029816283, 1.132977609, 1.32670334,
      0.7769641356, 1.28907579,  1.452816615, 1.381961346,  1.300279493, 1.341701557},
     {0.175031680879, 0.550031680879, 0.400793961604, -0.824968319121}},
    {"A4",
     4,
     6,
     4,
     1,
     8,
     8,
     1,
     0,
     0.5f,
     -11.819326235,
     -42.3982299288,
     -0.161836960597,
     -1.05893763608,
     -0.0250346243275,
     -0.153021230719,
     0,
     1.20037662281,
     {1.381539157, 1.439648251, 1.834574296, 1.86804538, 1.088195512, 1.634328942, 1.696355229,
      1.845580073, 1.281910449, 1.419666562, 1.687957664, 2.000086133, 0.803132267, 1.572863461,
      1.586553819, 1.834017403},
     {-0.351527904314, 0.0234720956856, 0.398472095686, 0.0273541830925}},
    {"A5",
     6,
     9,
     4,
     2,
     8,
     8,
     1,
     4,
     0.75f,
     1.59762302337,
     17.9278940662,
     -0.358850978854,
     -2.30073723824,
     -0.0662002088768,
     1.87989097197,
     0.375,
     4.98534924525,
     {1.643819755, 1.676645247, 1.651479524, 1.448777585, 1.623052769, 1.566457082,
      1.356203998, 1.430185776, 1.063235208, 1.650717332, 1.451616353, 1.642148266,
      1.364540362, 1.431110138, 1.356203998, 1.430185776, 1.063235208, 1.650717332,
      1.389377949, 1.545743417, 1.451145253, 1.653519555, 1.401572335, 1.526653481},
     {0.683775531604, -0.00951257462537, -0.372103603555, -0.316224468396}},
    {"A7",
     5,
     2,
     2,
     1,
     8,
     8,
     1,
     0,
     0,
     -7.08513419275,
     -11.8261047616,
     0.00154319969146,
     0.836119323402,
     0,
     0.534779286793,
     -0.375,
     2.90381771334,
     {INFINITY, INFINITY, INFINITY, -0.3535533906, 0.966436211, INFINITY, INFINITY, INFINITY,
      -0.9059805634, 1.168295583},
     {-0.956112626247, -0.581112626247, -0.206112626247, 0.168887373753}},
    {"A8",
     3,
     5,
     2,
     2,
     12,
     8,
     0,
     0,
     0,
     -0.315508370415,
     2.6018860284,
     0.0765491292014,
     0.980834926593,
     0,
     -0.0249113509026,
     0.75,
     4.10488446115,
     {1.899190754, 1.715125041, 1.914756439, 1.823750028, 1.459155558, 1.911657534},
     {-0.568538610749, -0.193538610749, 0.181461389251, 0.338149063509}},
};

/* ((a i + b h + c d) mod m - half) / div over [rows, heads, width], the first row being `first`. */
static void fill_pattern(float *x, int rows, int heads, int width, int a, int b, int c, int m,
                         int half, float div, int first)
{
    for (int i = 0; i < rows; i++)
        for (int h = 0; h < heads; h++)
            for (int d = 0; d < width; d++)
                *x++ = i < first ? 0 : (float)((a * (i - first) + b * h + c * d) % m - half) / div;
}

/* Both sums of a tensor, to 1e-6 of the sum of its terms' sizes. */
static void check_sums(const bench *b, const char *what, const float *x, int64_t n, double s1,
                       double s2)
{
    double sum1 = 0, sum2 = 0, size1 = 1, size2 = 1;
    for (int64_t i = 0; i < n; i++) {
        double weight = (double)(i % 7 + 1);
        sum1 += (double)x[i], sum2 += weight * (double)x[i];
        size1 += fabs((double)x[i]), size2 += weight * fabs((double)x[i]);
    }
    near(sum1, s1, 1e-6 * size1, "%s: %s, sum", b->name, what);
    near(sum2, s2, 1e-6 * size2, "%s: %s, weighted sum", b->name, what);
}

static fixture vector_fixture(const vector *t, int page)
{
    shape s = {t->q_heads, t->k_heads, t->dk,  t->dv, t->is_causal,
               t->window,  t->cap,     VW_F32, page,  0};
    fixture f = make_fixture(s, 1, &t->n, &t->S);
    fill_pattern(f.q[0], t->n, t->q_heads, t->dk, 3, 5, 7, 11, 5, 4, 0);
    fill_pattern(f.k[0], t->S, t->k_heads, t->dk, 5, 3, 2, 13, 6, 4, 0);
    fill_pattern(f.v[0], t->S, t->k_heads, t->dv, 2, 7, 3, 17, 8, 8, 0);
    return f;
}

static void test_vectors(const bench *b)
{
    static const int pages[] = {1, 3, 16, 64};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
            const vector *t = &vectors[i];
            fixture f = vector_fixture(t, pages[p]);
            double worst = 0;
            attend_once(b, &f);
            check_sums(b, t->name, f.out, (int64_t)t->n * t->q_heads * t->dv, t->out1, t->out2);
            for (int h = 0; h < t->q_heads; h++)
                for (int row = 0; row < t->n; row++) {
                    double want = t->lse[h * t->n + row];
                    double got = (double)f.lse[row * t->q_heads + h];
                    worst = got == want ? worst : fmax(worst, fabs(got - want));
                }
            near(worst, 0, 1e-6, "%s: %s, lse, pages of %d", b->name, t->name, pages[p]);
            for (int d = 0; d < 4; d++)
                near(f.out[(t->n - 1) * t->q_heads * t->dv + d], t->last[d], 1e-6,
                     "%s: %s, last row", b->name, t->name);
            free_fixture(&f);
        }
}

/* ---- dense forward and gradients ------------------------------------------------------------- */

/* The vectors as dense batches: S queries, the first of which have no gradient. */
static void test_gradient_vectors(const bench *b)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const vector *t = &vectors[i];
        if (t->n > t->S)
            continue;
        vector square = *t;
        square.n = t->S;
        fixture f = vector_fixture(&square, 64);
        int skip_rows = t->S - t->n;
        float d_out[9 * 4 * 8];
        grads g;
        fill_pattern(f.q[0], t->S, t->q_heads, t->dk, 3, 5, 7, 11, 5, 4, skip_rows);
        fill_pattern(d_out, t->S, t->q_heads, t->dv, 7, 2, 5, 9, 4, 8, skip_rows);
        run_backward(b, &f, d_out, &g);
        check_sums(b, t->name, f.out + skip_rows * t->q_heads * t->dv,
                   (int64_t)t->n * t->q_heads * t->dv, t->out1, t->out2);
        check_sums(b, "dQ", g.dq + skip_rows * t->q_heads * t->dk,
                   (int64_t)t->n * t->q_heads * t->dk, t->dq1, t->dq2);
        check_sums(b, "dK", g.dk, (int64_t)t->S * t->k_heads * t->dk, t->dk1, t->dk2);
        check_sums(b, "dV", g.dv, (int64_t)t->S * t->k_heads * t->dv, t->dv1, t->dv2);
        free_grads(&g);
        free_fixture(&f);
    }
}

/* loss = sum of d_out * out, by the formula. */
static double loss(const fixture *f, const float *d_out)
{
    int64_t n = f->n_queries * f->s.q_heads * f->s.dv;
    float *out = malloc((size_t)n * 4), *lse = malloc((size_t)(f->n_queries * f->s.q_heads) * 4);
    double sum = 0;
    formula(f, out, lse);
    for (int64_t i = 0; i < n; i++)
        sum += (double)d_out[i] * (double)out[i];
    free(out), free(lse);
    return sum;
}

/* The slope of the loss along a random direction against the gradient's share of it, for two
 * sequences in a batch with everything at once. */
static void test_gradient_slope(const bench *b, shape s)
{
    static const int n[] = {7, 12};
    const double step = 2e-3;
    fixture f = make_fixture(s, 2, n, n);
    int64_t widths[3] = {(int64_t)s.q_heads * s.dk, (int64_t)s.k_heads * s.dk,
                         (int64_t)s.k_heads * s.dv};
    float *d_out = random_rows(19, s.q_heads * s.dv);
    grads g;
    run_backward(b, &f, d_out, &g);
    for (int which = 0; which < 3; which++) {
        const float *grad = which == 0 ? g.dq : which == 1 ? g.dk : g.dv;
        double share = 0, slope = 0, size = 0;
        float *direction = random_rows(19, widths[which]);
        for (int64_t i = 0; i < 19 * widths[which]; i++) {
            share += (double)grad[i] * (double)direction[i];
            size += fabs((double)grad[i] * (double)direction[i]);
        }
        for (int sign = 1; sign >= -1; sign -= 2) {
            fixture moved = f;
            int64_t at = 0;
            for (int q = 0; q < 2; q++) {
                float **side = which == 0 ? moved.q : which == 1 ? moved.k : moved.v;
                float *x = malloc((size_t)(n[q] * widths[which]) * 4);
                for (int64_t i = 0; i < n[q] * widths[which]; i++, at++)
                    x[i] = side[q][i] + (float)(sign * step) * direction[at];
                side[q] = x;
            }
            slope += sign * loss(&moved, d_out) / (2 * step);
            for (int q = 0; q < 2; q++)
                free(which == 0 ? moved.q[q] : which == 1 ? moved.k[q] : moved.v[q]);
        }
        near(slope, share, 2e-4 * size, "%s: slope along %s, window %d, cap %g", b->name,
             which == 0   ? "q"
             : which == 1 ? "k"
                          : "v",
             s.window, (double)s.cap);
        free(direction);
    }
    free(d_out);
    free_grads(&g);
    free_fixture(&f);
}

static void test_gradients(const bench *b)
{
    if (!b->ops->backward || !b->ops->run_dense) {
        skip(1, "%s has no backward", b->name);
        return;
    }
    shape plain = {4, 4, 8, 8, 1, 0, 0, VW_F32, 64, 0},
          all = {4, 2, 12, 8, 1, 5, 1.5f, VW_F32, 64, 0};
    test_gradient_vectors(b);
    test_gradient_slope(b, plain);
    test_gradient_slope(b, all);
}

static void test_exact(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    (void)arg;
    mock_host_init(&mock);
    with_device device;
    if (!with_device_open(&device, plugin, &mock))
        return;
    if (!mock_open(&mock, plugin, NULL, &it)) {
        with_device_close(&device);
        return;
    }
    bench b = {.name = plugin->name, .mock = &mock};
    b.ops = with_device_attention(&device, &it, &b.self);
    test_vectors(&b);
    test_gradients(&b);
    mock_close(&mock, &it);
    with_device_close(&device);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_ATTENTION, test_exact, NULL) > 0, "there are attentions");
    return done_testing();
}
