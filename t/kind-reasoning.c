/* kind-reasoning.c - what holds for every way of reasoning, with a scripted model.
 *
 * The model is a function of the prompt and the seed, so a search is the same each time.  It counts:
 * no call may begin after the budget of tokens is used up or the sink has said stop, every result is
 * given back, thoughts hang on thoughts that came before, and the answer comes last and once.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/reasoning.h>

#include <stdlib.h>

enum { ROOM = 256, MAX_EVENTS = 4096 };

/* The scripted model; one request's particulars are kept for direct's tests. */
struct vw_generator {
    int64_t budget, n_tokens; /* allowed and used */
    int n_calls, n_late;      /* of all functions; after the budget or the stop */
    int fail_at;              /* the call that fails, from 1; 0: none */
    bool is_stopped;          /* the sink has said so */
    const char *reply;        /* what it always says; NULL: see write_reply */
    char prompt[ROOM], stop[32];
    vw_generate_request last;
};

/* free_results() is given no generator, hence not in it. */
static int n_live_results;

static uint64_t hash(const char *text, uint64_t h)
{
    while (*text)
        h = (h ^ (unsigned char)*text++) * 0x100000001b3u;
    return h;
}

static vw_status begin_call(vw_generator *g, vw_error *err)
{
    g->n_calls++;
    g->n_late += g->is_stopped || g->n_tokens >= g->budget;
    if (g->n_calls == g->fail_at)
        return vw_fail(err, VW_E_DEVICE, "the scripted model is out of order");
    return VW_OK;
}

/* Words a search may look for; one word is one token. */
static int write_reply(const vw_generate_request *r, char *text, size_t room)
{
    static const char *const words[] = {"Step", "1:",    "sure",  "7",         "+",
                                        "5\n",  "so",    "maybe", "\n",        "answer",
                                        "is:",  "24.\n", "0.5",   "impossible"};
    uint64_t h = hash(r->prompt, 0xcbf29ce484222325u ^ r->seed);
    int n = 1 + (int)(h % 30);

    if (n > r->max_tokens)
        n = r->max_tokens;
    *text = '\0';
    for (int i = 0; i < n; i++) {
        size_t used = strlen(text);
        h = hash("x", h);
        snprintf(text + used, room - used, "%s ", words[(h >> 20) % 14]);
    }
    return n;
}

static vw_status generate(vw_generator *g, const vw_generate_request *requests, size_t n,
                          vw_generate_result *results, vw_error *err)
{
    vw_status status = begin_call(g, err);

    if (status)
        return status;
    for (size_t i = 0; i < n; i++)
        if (!requests[i].prompt || requests[i].max_tokens < 1)
            return vw_fail(err, VW_E_INVALID, "a request without a prompt or tokens");
    for (size_t i = 0; i < n; i++) {
        char text[ROOM * 2];
        int n_tokens = write_reply(&requests[i], text, sizeof text);
        results[i] = (vw_generate_result){strdup(g->reply ? g->reply : text), 3, n_tokens,
                                          -0.5 * n_tokens, n_tokens < requests[i].max_tokens};
        n_live_results++;
        g->n_tokens += n_tokens;
        g->last = requests[i];
        snprintf(g->prompt, sizeof g->prompt, "%s", requests[i].prompt);
        snprintf(g->stop, sizeof g->stop, "%s", requests[i].stop ? requests[i].stop[0] : "");
    }
    return VW_OK;
}

static void free_results(vw_generate_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (results[i].text) {
            free(results[i].text);
            results[i].text = NULL;
            n_live_results--;
        }
}

static vw_status score(vw_generator *g, const vw_score_request *requests, size_t n,
                       vw_score_result *results, vw_error *err)
{
    vw_status status = begin_call(g, err);

    for (size_t i = 0; i < n && status == VW_OK; i++) {
        uint64_t h = hash(requests[i].continuation, hash(requests[i].prompt, 7));
        results[i] = (vw_score_result){-(double)(h % 1000) / 100, 1, h % 2};
    }
    return status;
}

static const vw_generate_service service = {sizeof service, generate, free_results, score};

/* What the sink saw. */
typedef struct trace {
    vw_generator *g;
    int n, n_answers, n_orphans, stop_after;
    bool is_answer_last;
    int32_t thoughts[MAX_EVENTS];
    int n_thoughts;
    uint64_t hash;
    char answer[ROOM];
} trace;

static int sink(void *arg, const vw_reasoning_event *e)
{
    trace *t = arg;
    bool is_known = e->parent == -1;

    for (int i = 0; i < t->n_thoughts; i++)
        is_known = is_known || t->thoughts[i] == e->parent;
    t->n_orphans += !is_known;
    if (e->kind == VW_EVENT_THOUGHT && t->n_thoughts < MAX_EVENTS)
        t->thoughts[t->n_thoughts++] = e->id;
    t->is_answer_last = e->kind == VW_EVENT_ANSWER;
    t->n_answers += t->is_answer_last;
    if (t->is_answer_last)
        snprintf(t->answer, sizeof t->answer, "%s", e->text);
    t->hash = hash(e->text ? e->text : "", t->hash * 31 + (uint64_t)e->kind + (uint64_t)e->id);
    t->g->is_stopped = ++t->n == t->stop_after || t->g->is_stopped;
    return t->g->is_stopped;
}

/* One search.  The answer's room is followed by guards. */
static vw_status solve(const vw_component *c, vw_generator *g, trace *t, int64_t budget,
                       size_t room, char *answer, vw_error *err)
{
    const vw_reasoning_ops *ops = c->ops;
    vw_reasoning_problem p = {.size = sizeof p,
                              .text = "4 5 6 10",
                              .max_tokens = budget,
                              .seed = 99,
                              .generator = g,
                              .generate = &service};
    vw_status status;

    g->budget = budget;
    t->g = g;
    memset(answer, 'z', ROOM);
    status = ops->solve(c->self, &p, sink, t, answer, room, err);
    if (n_live_results)
        return vw_fail(err, VW_E_INVALID, "%d results are not given back", n_live_results);
    if (g->n_late)
        return vw_fail(err, VW_E_INVALID, "%d calls after the budget or the stop", g->n_late);
    if (t->n_orphans)
        return vw_fail(err, VW_E_INVALID, "%d events hang on a thought nobody had", t->n_orphans);
    for (size_t i = room; i < ROOM; i++)
        if (answer[i] != 'z')
            return vw_fail(err, VW_E_INVALID, "it wrote behind the room for the answer");
    return status;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static vw_status check_answer(const vw_component *c, vw_error *err)
{
    static const size_t rooms[3] = {ROOM, 4, 1};

    for (int i = 0; i < 3; i++) {
        vw_generator g = {0};
        trace t = {0};
        char answer[ROOM];
        vw_status status = solve(c, &g, &t, 100000, rooms[i], answer, err);

        if (status)
            return status;
        if (!memchr(answer, '\0', rooms[i]))
            return vw_fail(err, VW_E_INVALID, "the answer has no end");
        if (t.n_answers != 1 || !t.is_answer_last)
            return vw_fail(err, VW_E_INVALID, "%d answers, or something after it", t.n_answers);
        if (strncmp(answer, t.answer, strlen(answer)) || (i == 0 && strcmp(answer, t.answer)))
            return vw_fail(err, VW_E_INVALID, "the event says \"%s\", the caller gets \"%s\"",
                           t.answer, answer);
    }
    return VW_OK;
}

/* Any budget gives an answer or a sentence. */
static vw_status check_budget(const vw_component *c, vw_error *err)
{
    static const int64_t budgets[] = {1, 2, 7, 40, 1000, INT64_MAX};

    for (int i = 0; i < 6; i++) {
        vw_generator g = {0};
        trace t = {0};
        char answer[ROOM];
        vw_error said = {VW_OK, ""};
        vw_status status = solve(c, &g, &t, budgets[i], ROOM, answer, &said);

        if (status && (status == VW_E_INVALID || !*said.text))
            return vw_fail(err, VW_E_INVALID, "a budget of %lld: %s", (long long)budgets[i],
                           said.text);
    }
    return VW_OK;
}

static vw_status check_again(const vw_component *c, vw_error *err)
{
    vw_generator g[2] = {{0}, {0}};
    trace t[2] = {{0}, {0}};
    char answer[2][ROOM];

    for (int i = 0; i < 2; i++) {
        vw_status status = solve(c, &g[i], &t[i], 500, ROOM, answer[i], err);
        if (status)
            return status;
    }
    if (strcmp(answer[0], answer[1]) || t[0].hash != t[1].hash || g[0].n_calls != g[1].n_calls)
        return vw_fail(err, VW_E_INVALID, "the same seed gives another search");
    return VW_OK;
}

/* The first, second ... call fails: the model's own words reach the caller. */
static vw_status check_failure(const vw_component *c, vw_error *err)
{
    for (int at = 1; at <= 6; at++) {
        vw_generator g = {.fail_at = at};
        trace t = {0};
        char answer[ROOM];
        vw_error said = {VW_OK, ""};
        vw_status status = solve(c, &g, &t, 100000, ROOM, answer, &said);

        if (g.n_calls < at)
            break;
        if (status != VW_E_DEVICE || !strstr(said.text, "out of order"))
            return vw_fail(err, VW_E_INVALID, "call %d failed; the caller hears %d: %s", at, status,
                           said.text);
    }
    return VW_OK;
}

/* A sink that says stop at the first, second ... event. */
static vw_status check_stop(const vw_component *c, vw_error *err)
{
    for (int at = 1; at <= 4; at++) {
        vw_generator g = {0};
        trace t = {.stop_after = at};
        char answer[ROOM];
        vw_status status = solve(c, &g, &t, 100000, ROOM, answer, err);

        if (status && status != VW_E_INTERRUPTED)
            return status;
    }
    return VW_OK;
}

static const struct {
    const char *name;
    vw_status (*check)(const vw_component *c, vw_error *err);
} checks[] = {
    {"one answer, and it is the last event", check_answer},
    {"the budget holds", check_budget},
    {"the same seed, the same search", check_again},
    {"a failing model is reported", check_failure},
    {"the sink can stop it", check_stop},
};
enum { N_CHECKS = sizeof checks / sizeof *checks };

/* Memory that runs out after 0, 1, 2 ... blocks: an error, and nothing kept (mock_close counts). */
static void test_memory(const vw_plugin *plugin, mock_host *mock, const vw_component *c)
{
    int n_bad = 0;

    for (int n = 0; n < 8; n++) {
        vw_generator g = {0};
        trace t = {0};
        char answer[ROOM];
        vw_error said = {VW_OK, ""};
        vw_status status;
        mock->fail_after = n;
        status = solve(c, &g, &t, 1000, ROOM, answer, &said);
        mock->fail_after = -1;
        n_bad += status != VW_OK && (status != VW_E_NOMEM || !*said.text);
    }
    is_int(n_bad, 0, "%s: no memory is an error with words", plugin->name);
}

/* ---- direct ---------------------------------------------------------------------------------- */

static void test_direct(const vw_plugin *plugin)
{
    static const char *const settings[] = {"prompt=Q: {problem}\nA {problem}:", "temperature=0.25",
                                           "max_tokens=12", "stop=\n\n, END", NULL};
    mock_host mock;
    mock_instance it;
    vw_generator g = {.reply = " \n gr\xc3\xbc\xc3\x9f dich \t"};
    trace t = {0};
    char answer[ROOM];
    vw_error err = {VW_OK, ""};

    mock_host_init(&mock);
    mock.is_quiet = true;
    if (!mock_open(&mock, plugin, settings, &it))
        return;
    is_int(solve(&it.component, &g, &t, 1000, ROOM, answer, &err), VW_OK, "direct: solves");
    is_int(g.n_calls, 1, "direct: one call");
    is_str(g.prompt, "Q: 4 5 6 10\nA 4 5 6 10:", "direct: the prompt");
    is_str(g.stop, "\n\n", "direct: the first stop text");
    is_int(g.last.max_tokens, 12, "direct: its own limit");
    is_int(g.last.seed, 99, "direct: the seed");
    near(g.last.temperature, 0.25, 0, "direct: the temperature");
    is_str(answer, "gr\xc3\xbc\xc3\x9f dich", "direct: the answer is trimmed");
    is_int(mock.n_logged, 0, "direct: no warning");
    g.n_tokens = 0;
    is_int(solve(&it.component, &g, &t, 5, 6, answer, &err), VW_OK, "direct: little room");
    is_str(answer, "gr\xc3\xbc", "direct: cut at a whole character");
    is_str(t.answer, "gr\xc3\xbc\xc3\x9f dich", "direct: the event is not cut");
    is_int(mock.n_logged, 1, "direct: and a warning");
    is_int(g.last.max_tokens, 5, "direct: the budget is below its limit");
    g.n_tokens = 0;
    is_int(solve(&it.component, &g, &t, 0, ROOM, answer, &err), VW_E_INVALID, "direct: no budget");
    like(err.text, "a budget of 0 tokens leaves nothing to generate", "and its sentence");
    mock_close(&mock, &it);
    is_int(mock_try_open(&mock, plugin, (const char *const[]){"prompt=Go!", NULL}, &it, &err),
           VW_E_CONFIG, "direct: a prompt without the problem");
    like(err.text, "prompt = Go!: it must hold {problem}", "and its sentence");
}

/* ---- planted errors -------------------------------------------------------------------------- */

enum { LEAK, OVERSPEND, ORPHAN, NO_ANSWER, LATE_THOUGHT, OVERRUN, DEAF, FICKLE, SILENT, N_PLANTS };

static vw_status wrong_solve(void *self, const vw_reasoning_problem *p, vw_reasoning_sink tell,
                             void *arg, char *answer, size_t room, vw_error *err)
{
    static int calls;
    int how = *(int *)self, n = how == OVERSPEND ? 50 : how == DEAF ? 3 : 1;
    vw_reasoning_event thought = {VW_EVENT_THOUGHT, 1, how == ORPHAN ? 7 : -1, "hm", 0};
    vw_reasoning_event last = {VW_EVENT_ANSWER, 2, 1, "", 0};

    calls++;
    for (int i = 0; i < n; i++) {
        vw_generate_request request = {p->text, 8, 0, how == FICKLE ? (uint64_t)calls : 0, NULL};
        vw_generate_result result = {0};
        vw_status status = p->generate->generate(p->generator, &request, 1, &result, err);
        if (status)
            return how == SILENT ? VW_OK : status;
        if (tell(arg, &thought) && how != DEAF)
            n = 0;
        snprintf(answer, how == OVERRUN ? room + 3 : room, "%s", result.text);
        last.text = answer;
        if (how == LEAK) /* kept as far as the count knows, so that a leak checker stays calm */
            free(result.text);
        else
            p->generate->free_results(&result, 1);
    }
    if (how != NO_ANSWER)
        tell(arg, &last);
    if (how == LATE_THOUGHT)
        tell(arg, &thought);
    return VW_OK;
}

static void plant(void)
{
    static const struct {
        const char *name;
        int check;
    } plants[N_PLANTS] = {
        [LEAK] = {"results kept", 0},
        [OVERSPEND] = {"a budget overspent", 1},
        [ORPHAN] = {"a thought without a parent", 0},
        [NO_ANSWER] = {"no answer", 0},
        [LATE_THOUGHT] = {"a thought after the answer", 0},
        [OVERRUN] = {"an answer too long", 0},
        [DEAF] = {"a search that does not stop", 4},
        [FICKLE] = {"a seed of its own", 2},
        [SILENT] = {"a failure kept quiet", 3},
    };
    static const vw_reasoning_ops ops = {sizeof ops, wrong_solve};

    for (int how = 0; how < N_PLANTS; how++) {
        vw_component c = {NULL, &ops, &how};
        vw_error err = {VW_OK, ""};
        ok(checks[plants[how].check].check(&c, &err) != VW_OK, "planted: %s: %s", plants[how].name,
           err.text);
        n_live_results = 0;
    }
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;

    (void)arg;
    mock_host_init(&mock);
    mock.is_quiet = true;
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    for (int i = 0; i < N_CHECKS; i++) {
        vw_error err = {VW_OK, ""};
        ok(checks[i].check(&it.component, &err) == VW_OK, "%s: %s %s", plugin->name, checks[i].name,
           err.text);
    }
    test_memory(plugin, &mock, &it.component);
    mock_close(&mock, &it);
    if (!strcmp(plugin->name, "direct"))
        test_direct(plugin);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_REASONING, test_one, NULL) > 0, "there are plugins");
    plant();
    return done_testing();
}
