/* kind-verifier.c - what holds for every verifier, and the verdicts of exact.
 *
 * A verifier judges what a model wrote, so any bytes may come: it must say one of the verdicts, give
 * the same one twice, and stay within the room for its reason.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/verifier.h>

#include <stdlib.h>

enum { ROOM = 64 };

static const struct {
    const char *problem, *answer, *expected;
} texts[] = {
    {"What is 2 + 2?", "4", "4"},
    {"What is 2 + 2?", "four", NULL},
    {"", "", ""},
    {"1 2 3 4", "(1 + 2 + 3) * 4 = 24", "24"},
    {"?", " \t\n ", "x"},
    {"?", "\xff\xfe\x80 half of a character \xe2\x82", "\xe2\x82\xac"},
    {"?", "99999999999999999999999999999999e999999999999999999999", "1"},
    {"?", "%s%n%d {problem} \\ \" '", "%s"},
};
enum { N_TEXTS = sizeof texts / sizeof *texts };

/* One text judged twice, with room for a reason of `room` bytes. */
static vw_status check_text(const vw_component *c, const char *problem, const char *answer,
                            const char *expected, size_t room, vw_error *err)
{
    const vw_verifier_ops *ops = c->ops;
    char reason[2][ROOM + 1];
    vw_verdict verdict[2] = {(vw_verdict)-1, (vw_verdict)-1};

    memset(reason, 'z', sizeof reason);
    for (int i = 0; i < 2; i++) {
        vw_status status =
            ops->check(c->self, problem, answer, expected, &verdict[i], reason[i], room, err);
        if (status)
            return status;
        if (!memchr(reason[i], '\0', room) || !*reason[i])
            return vw_fail(err, VW_E_INVALID, "no reason, or one without an end");
        for (size_t k = room; k <= ROOM; k++)
            if (reason[i][k] != 'z')
                return vw_fail(err, VW_E_INVALID, "it wrote behind the room for the reason");
    }
    if ((int)verdict[0] < VW_VERDICT_UNKNOWN || verdict[0] > VW_VERDICT_POSSIBLE)
        return vw_fail(err, VW_E_INVALID, "verdict %d", (int)verdict[0]);
    if (verdict[0] != verdict[1] || strcmp(reason[0], reason[1]))
        return vw_fail(err, VW_E_INVALID, "two calls gave two verdicts");
    return VW_OK;
}

static vw_status check_texts(const vw_component *c, vw_error *err)
{
    vw_status status = VW_OK;

    for (int i = 0; i < N_TEXTS && status == VW_OK; i++) {
        status = check_text(c, texts[i].problem, texts[i].answer, texts[i].expected, ROOM, err);
        if (status == VW_OK)
            status = check_text(c, texts[i].problem, texts[i].answer, texts[i].expected, 8, err);
    }
    return status;
}

/* A hundred thousand characters, which a model can well produce. */
static vw_status check_long(const vw_component *c, vw_error *err)
{
    size_t n = 100000;
    char *text = malloc(n + 1);
    vw_status status;

    if (!text)
        bail_out("no memory");
    memset(text, '(', n);
    text[n] = '\0';
    status = check_text(c, "1 2 3 4", text, "24", ROOM, err);
    memset(text, '7', n);
    if (status == VW_OK)
        status = check_text(c, text, text, text, ROOM, err);
    free(text);
    return status;
}

/* ---- exact ----------------------------------------------------------------------------------- */

static const struct {
    const char *answer, *expected;
    vw_verdict plain, loose, marked; /* by default; case, tolerance 1e-3; after = #### */
} cases[] = {
#define R VW_VERDICT_RIGHT
#define W VW_VERDICT_WRONG
    {"Paris", " Paris\n", R, R, R},
    {"paris", "Paris", W, R, W},
    {"Paris", "Paris, France", W, W, W},
    {"", "x", W, W, W},
    {"18", "18.0", R, R, R},
    {"+18.", "18", R, R, R},
    {"1.8e1", "18", R, R, R},
    {"1,000", "1000", R, R, R},
    {"1,234,567.50", "1234567.5", R, R, R},
    {"1,00", "100", W, W, W},
    {"1000,000", "1000000", W, W, W},
    {".5", "0.5", R, R, R},
    {"-0", "0", R, R, R},
    {"-5", "5", W, W, W},
    {"100", "10", W, W, W},
    {"0.001", "1e-3", R, R, R},
    {"105", "15", W, W, W},
    {"123456789012345678901234567891", "123456789012345678901234567890", W, R, W},
    {"123456789012345678901234567890.0", "123456789012345678901234567890", R, R, R},
    {"3.1415", "3.1416", W, R, W},
    {"0.0004", "0", W, R, W},
    {"1e400", "1e401", W, W, W},
    {"nan", "nan", R, R, R},
    {"nan", "NaN", W, R, W},
    {"0x10", "16", W, W, W},
    {"18 apples", "18", W, W, W},
    {"1e", "1", W, W, W},
    {".", "0", W, W, W},
    {"2 + 16 = 18 #### 18", "18", W, W, R},
    {"#### 3 and then #### 4", "#### 4.0", W, W, R},
#undef R
#undef W
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* How many cases an instance judges otherwise than the table's column says. */
static int judge_cases(const vw_component *c, int column, bool is_loud)
{
    const vw_verifier_ops *ops = c->ops;
    int n_wrong = 0;

    for (int i = 0; i < N_CASES; i++) {
        vw_verdict got = VW_VERDICT_UNKNOWN, want;
        char reason[200] = "";
        ops->check(c->self, "", cases[i].answer, cases[i].expected, &got, reason, sizeof reason,
                   NULL);
        want = column == 0 ? cases[i].plain : column == 1 ? cases[i].loose : cases[i].marked;
        n_wrong += got != want;
        if (got != want && is_loud)
            diag("\"%s\" for \"%s\": %d, not %d: %s", cases[i].answer, cases[i].expected, (int)got,
                 (int)want, reason);
    }
    return n_wrong;
}

static void test_exact(const vw_plugin *plugin)
{
    static const char *const settings[4][4] = {
        {NULL},
        {"ignore_case=yes", "tolerance=1e-3", NULL},
        {"after=####", NULL},
        {"numeric=no", NULL},
    };
    mock_instance it;
    mock_host mock;

    mock_host_init(&mock);
    for (int i = 0; i < 4; i++) {
        if (!mock_open(&mock, plugin, settings[i], &it))
            continue;
        if (i < 3)
            is_int(judge_cases(&it.component, i, true), 0, "exact: %d cases, settings %d", N_CASES,
                   i);
        else
            ok(judge_cases(&it.component, 0, false) > 5, "planted: numbers taken as text");
        mock_close(&mock, &it);
    }
}

/* The sentences, and the one verdict that needs no text. */
static void test_reasons(const vw_component *c)
{
    const vw_verifier_ops *ops = c->ops;
    vw_verdict verdict;
    char reason[200];

    ops->check(c->self, "?", "17", "18", &verdict, reason, sizeof reason, NULL);
    is_str(reason, "expected \"18\", got \"17\"", "exact: why it is wrong");
    ops->check(c->self, "?", "18.0", "18", &verdict, reason, sizeof reason, NULL);
    is_str(reason, "the answer is the expected number", "exact: why it is right");
    ops->check(c->self, "?", "x", "x", &verdict, reason, sizeof reason, NULL);
    is_str(reason, "the answer is the expected text", "exact: the same text");
    ops->check(c->self, "?", "18", NULL, &verdict, reason, sizeof reason, NULL);
    is_str(reason, "no expected answer is known", "exact: nothing to compare with");
    is_int(verdict, VW_VERDICT_UNKNOWN, "exact: and no verdict then");
    is_int(ops->check(c->self, "?", "18", "18", &verdict, NULL, 0, NULL), VW_OK,
           "exact: no reason wanted");
}

/* ---- planted errors -------------------------------------------------------------------------- */

static vw_status wrong_check(void *self, const char *problem, const char *answer,
                             const char *expected, vw_verdict *verdict, char *reason,
                             size_t reason_bytes, vw_error *err)
{
    int how = *(int *)self;
    static int calls;

    (void)problem, (void)answer, (void)expected, (void)err;
    *verdict = how == 1 ? (vw_verdict)9 : how == 2 ? (vw_verdict)(++calls % 2) : VW_VERDICT_WRONG;
    snprintf(reason, how == 0 ? 20 : reason_bytes, how == 3 ? "" : "a sentence of some length");
    return VW_OK;
}

static void plant(void)
{
    static const char *const names[4] = {"a reason too long", "no such verdict", "fickle",
                                         "no reason"};
    static const vw_verifier_ops ops = {sizeof ops, wrong_check};

    for (int how = 0; how < 4; how++) {
        vw_component c = {NULL, &ops, &how};
        vw_error err = {VW_OK, ""};
        ok(check_texts(&c, &err) != VW_OK, "planted: %s: %s", names[how], err.text);
    }
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    vw_error err = {VW_OK, ""};

    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    ok(check_texts(&it.component, &err) == VW_OK, "%s: any text %s", plugin->name, err.text);
    ok(check_long(&it.component, &err) == VW_OK, "%s: a long text %s", plugin->name, err.text);
    if (!strcmp(plugin->name, "exact")) {
        test_reasons(&it.component);
        test_exact(plugin);
    }
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_VERIFIER, test_one, NULL) > 0, "there are plugins");
    plant();
    return done_testing();
}
