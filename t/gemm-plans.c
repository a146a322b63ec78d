/* gemm-plans.c - what a plan may hold beside one weight and a plain result: several weights, epilogues,
 * gradients (gemm.md, section 14, case 8); and rows gathered from a weight. */
#include "t/gemm-product.h"
#include "t/tap/tap.h"

#include "kernels/ref/gemm.h"

#include <math.h>
#include <stdlib.h>

/* ---- several weights, epilogues, gather ---- */

static void check_together(opened *o, const int which[3], int64_t k)
{
    static const int64_t widths[] = {48, 16, 33};
    gemm_case c[3];
    const gemm_case *list[3];
    product p;
    vw_error err;
    for (int i = 0; i < 3; i++) {
        case_make(&c[i], &case_forms[which[i]], 20, widths[i], k);
        memcpy(c[i].x, c[0].x, sizeof(float) * (size_t)(20 * k));
        case_expect(&c[i], CASE_EXACT);
        product_expect(o, &c[i]);
        list[i] = &c[i];
    }
    if (product_make(o, list, 3, (vw_gemm_problem){.max_m = 20}, &p)) {
        int n_right = 0;
        for (int64_t m = 2; m <= 20; m += 18) {
            float *y[3];
            vw_tensor out[3];
            for (int i = 0; i < 3; i++) {
                y[i] = new_result(m, widths[i]);
                out[i] = rows_of(y[i], m, widths[i], widths[i] + GUARD);
            }
            vw_status s = o->ops->run(o->self, &p.plan, NULL, rows_of(c[0].x, m, k, k), p.list,
                                      out, p.workspace, &err);
            for (int i = 0; i < 3; i++) {
                n_right += s == VW_OK && is_guarded(y[i], m, widths[i]) &&
                           !case_wrong(&c[i], y[i], widths[i] + GUARD, m);
                free(y[i]);
            }
        }
        is_int(n_right, 6, "%s: three weights in one plan: %s, %s, %s", o->name, c[0].form->name,
               c[1].form->name, c[2].form->name);
        product_free(o, &p);
    }
    for (int i = 0; i < 3; i++)
        case_free(&c[i]);
}

/* The last: rows of activations, blocks of them, and f32. */
void check_several(opened *o)
{
    check_together(o, (const int[3]){F32, BF16, BF16}, 70);
    check_together(o, (const int[3]){FIRST_GGUF, FIRST_GGUF + 2, FIRST_GGUF + 3}, 256);
    check_together(o, (const int[3]){BF16_AS_INT8, FIRST_GGUF + 2, BF16}, 256);
}

/* What becomes of the exact sums. */
static void apply(gemm_case *c, const gemm_case *up, const vw_gemm_problem *p)
{
    vw_gemm_act act = (vw_gemm_act)p->activation;
    for (int64_t i = 0; i < c->m * c->n; i++) {
        double s = c->want[i];
        c->want[i] = p->epilogue == VW_GEMM_ADD        ? 77 + s
                     : p->epilogue == VW_GEMM_ACTIVATE ? vw_ref_act(act, s)
                     : p->epilogue == VW_GEMM_GATED    ? vw_ref_act(act, s) * up->want[i]
                                                       : p->cap * tanh(s / p->cap);
    }
}

static void check_epilogue(opened *o, vw_gemm_problem problem, const char *name)
{
    gemm_case c[2];
    const gemm_case *list[2] = {&c[0], &c[1]};
    product p;
    for (int i = 0; i < 2; i++)
        case_make(&c[i], &case_forms[BF16], 21, 85, 60);
    for (int i = 0; i < 85 * 60; i++) /* another weight for the gate */
        ((uint16_t *)c[1].data)[i] = ((uint16_t *)c[0].data)[85 * 60 - 1 - i];
    case_expect(&c[1], CASE_EXACT);
    apply(&c[0], &c[1], &problem);
    problem.max_m = 21;
    if (product_make(o, list, problem.epilogue == VW_GEMM_GATED ? 2 : 1, problem, &p)) {
        ok(product_is_right(o, &p, &c[0], 3) && product_is_right(o, &p, &c[0], 21),
           "%s: %s, activation %d", o->name, name, (int)problem.activation);
        product_free(o, &p);
    }
    case_free(&c[0]);
    case_free(&c[1]);
}

void check_epilogues(opened *o)
{
    check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_ADD}, "added to what was there");
    check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_SOFTCAP, .cap = 20}, "soft cap");
    for (int act = VW_ACT_GELU_TANH; act <= VW_ACT_RELU; act++) {
        check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_ACTIVATE,
                                            .activation = (vw_activation)act}, "activated");
        check_epilogue(o, (vw_gemm_problem){.epilogue = VW_GEMM_GATED,
                                            .activation = (vw_activation)act}, "gated");
    }
}

void check_gather(opened *o)
{
    static const int32_t rows[] = {3, 0, 36, -1, 37, 3};
    for (int f = 0; f < N_CASE_FORMS; f++) {
        gemm_case c;
        vw_gemm_weight w;
        vw_error err = {.text = ""};
        void *pack;
        float y[6 * 70];
        int n_right = 0;
        case_make(&c, &case_forms[f], 1, 37, 70);
        if (bind_weight(o, &c, &w, &pack) == VW_OK) {
            vw_status s = o->ops->gather(o->self, NULL, &w, rows, 3.0f, rows_of(y, 6, 70, 70), &err);
            for (int i = 0; i < 6 && s == VW_OK; i++)
                for (int k = 0; k < 70; k++) {
                    bool is_in = rows[i] >= 0 && rows[i] < 37;
                    float want = is_in ? 3.0f * c.values[rows[i] * 70 + k] : 0;
                    n_right += fabsf(y[i * 70 + k] - want) <= 1e-6f * fabsf(want);
                }
            is_int(n_right, 6 * 70, "%s: gathered rows of %s%s", o->name, case_forms[f].name, err.text);
        }
        free(pack);
        case_free(&c);
    }
}

/* ---- 8: gradients ---- */

/* dW[N,K] = dY^T X, or added to what is there; dY is the first 50 of X's columns. */
static void check_weight_gradient(opened *o, vw_gemm_epilogue epilogue)
{
    gemm_case c;
    const gemm_case *list = &c;
    product p;
    vw_error err;
    case_make(&c, &case_forms[F32], 130, 50, 70);
    for (int64_t m = 0; m <= 130; m += 65) {
        gemm_case grad = {.form = &case_forms[F32], .m = 50, .n = 70};
        if (!product_make(o, &list, 1, (vw_gemm_problem){.op = VW_GEMM_WGRAD, .max_m = 130,
                                                         .epilogue = epilogue}, &p))
            break;
        grad.want = calloc(50 * 70, sizeof(double));
        for (int i = 0; i < 50 * 70; i++) {
            grad.want[i] = epilogue == VW_GEMM_ADD ? 77 : 0;
            for (int r = 0; r < m; r++)
                grad.want[i] += (double)c.x[r * 70 + i / 70] * c.x[r * 70 + i % 70];
        }
        float *dw = new_result(50, 70);
        vw_status s = o->ops->run_wgrad(o->self, &p.plan, NULL, rows_of(c.x, m, 50, 70),
                                        rows_of(c.x, m, 70, 70), rows_of(dw, 50, 70, 70 + GUARD),
                                        p.workspace, &err);
        if (s != VW_E_UNSUPPORTED)
            ok(s == VW_OK && is_guarded(dw, 50, 70) && !case_wrong(&grad, dw, 70 + GUARD, 50),
               "%s: gradient of the weight over %d rows, %s", o->name, (int)m,
               epilogue == VW_GEMM_ADD ? "added" : "stored");
        free(dw);
        free(grad.want);
        product_free(o, &p);
    }
    case_free(&c);
}

void check_gradients(opened *o)
{
    gemm_case c;
    const gemm_case *list = &c;
    product p;
    for (int in_out = 0; in_out < 2; in_out++) { /* dX[M,K] = dY[M,N] W: the transposed weight */
        gemm_case back;
        case_make(&c, &case_forms[in_out ? BF16_IN_OUT : BF16], 30, 50, 70);
        back = c;
        back.k = 50, back.n = 70;
        back.want = calloc(30 * 70, sizeof(double));
        for (int m = 0; m < 30; m++)
            for (int k = 0; k < 70; k++)
                for (int n = 0; n < 50; n++)
                    back.want[m * 70 + k] += (double)c.x[m * 50 + n] * c.values[n * 70 + k];
        if (product_make(o, &list, 1, (vw_gemm_problem){.op = VW_GEMM_DGRAD, .max_m = 30}, &p)) {
            ok(product_is_right(o, &p, &back, 2) && product_is_right(o, &p, &back, 30),
               "%s: gradient of the input", o->name);
            product_free(o, &p);
        }
        free(back.want);
        case_free(&c);
    }
    check_weight_gradient(o, VW_GEMM_STORE);
    check_weight_gradient(o, VW_GEMM_ADD);
}
