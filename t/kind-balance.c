/* kind-balance.c - what holds for every placement of experts, whatever the algorithm.
 *
 * Every expert has a slot, equal input gives equal output, nothing else is written, wrong input is
 * an error, and no rank is loaded above a bound that greedy placement is proved to keep
 * (plugins/balance/ref.c): an algorithm that does worse is worse than greedy.
 *
 * Letters: L layers, E experts, R slots, G groups, N nodes, P ranks, T a layer's whole load.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/balance.h>

#include <math.h>
#include <stdlib.h>

enum { MAX_LOADS = 2048, GUARD = -77 };

typedef enum shape { EVEN, RANDOM, ZIPF, ONE_HOT, ZERO, N_SHAPES } shape;

static const char *const shape_names[N_SHAPES] = {"even", "random", "zipf", "one hot", "zero"};

static const struct {
    int32_t layers, experts, replicas, groups, nodes, ranks;
} sizes[] = {
    {1, 1, 1, 1, 1, 1},      {1, 1, 4, 1, 1, 4},      {2, 8, 8, 1, 1, 4},   {3, 8, 12, 1, 1, 4},
    {1, 8, 16, 1, 1, 8},     {2, 12, 16, 4, 2, 8},    {1, 16, 20, 2, 1, 5}, {1, 256, 288, 1, 1, 32},
    {1, 256, 320, 1, 1, 64}, {1, 256, 320, 8, 8, 64}, {2, 7, 21, 1, 1, 3},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* Loads between 0 and about a million; the same numbers on every machine. */
static double load_of(shape kind, int32_t expert, int32_t n_experts, uint64_t *seed)
{
    switch (kind) {
    case EVEN:
        return 100;
    case RANDOM:
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        return exp((double)(*seed >> 40) / 0x1p24 * 4);
    case ZIPF:
        return floor(1000000.0 / (1 + (97 * expert + 13) % n_experts));
    case ONE_HOT:
        return expert == n_experts / 2 ? 1000 : 0;
    default:
        return 0;
    }
}

static vw_balance_problem problem_of(int size, shape kind, double *load)
{
    uint64_t seed = 42;
    vw_balance_problem p = {
        .size = sizeof p,
        .n_layers = sizes[size].layers,
        .n_experts = sizes[size].experts,
        .n_replicas = sizes[size].replicas,
        .n_groups = sizes[size].groups,
        .n_nodes = sizes[size].nodes,
        .n_ranks = sizes[size].ranks,
        .load = load,
    };

    for (int32_t i = 0; i < p.n_layers * p.n_experts; i++)
        load[i] = load_of(kind, i % p.n_experts, p.n_experts, &seed);
    return p;
}

/* The largest load of a rank, when each copy of an expert gets an equal share. */
static double largest(const vw_balance_problem *p, const double *load, const int32_t *placement)
{
    int32_t slots = p->n_replicas / p->n_ranks;
    double most = 0;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        double sum = 0;
        for (int32_t s = r * slots; s < (r + 1) * slots; s++) {
            int32_t copies = 0;
            for (int32_t i = 0; i < p->n_replicas; i++)
                copies += placement[i] == placement[s];
            sum += load[placement[s]] / copies;
        }
        most = fmax(most, sum);
    }
    return most;
}

/* The proved bound, and the least that any placement without copies could reach. */
static void bounds(const vw_balance_problem *p, const double *load, double *greedy, double *single)
{
    double total = 0, heaviest = 0, mean, copy;

    for (int32_t e = 0; e < p->n_experts; e++) {
        total += load[e];
        heaviest = fmax(heaviest, load[e]);
    }
    mean = total / p->n_ranks;
    copy = fmin(heaviest, fmax(total / (p->n_replicas - p->n_experts + 1), mean));
    *greedy = mean + (1 - 1.0 / p->n_ranks) * copy;
    *single = fmax(heaviest, mean);
}

static vw_status check_slots(const vw_balance_problem *p, const int32_t *placement, vw_error *err)
{
    for (int32_t s = 0; s < p->n_replicas; s++)
        if (placement[s] < 0 || placement[s] >= p->n_experts)
            return vw_fail(err, VW_E_INVALID, "slot %d holds expert %d", s, placement[s]);
    for (int32_t e = 0; e < p->n_experts; e++) {
        int32_t s = 0;
        while (s < p->n_replicas && placement[s] != e)
            s++;
        if (s == p->n_replicas)
            return vw_fail(err, VW_E_INVALID, "expert %d has no slot", e);
    }
    return VW_OK;
}

static vw_status check_loads(const vw_balance_problem *p, const double *load,
                             const int32_t *placement, vw_error *err)
{
    double most = largest(p, load, placement), greedy, single;

    bounds(p, load, &greedy, &single);
    if (most > greedy * (1 + 1e-6))
        return vw_fail(err, VW_E_INVALID, "a rank's load of %g is above the greedy bound %g", most,
                       greedy);
    if (greedy < single && most > single)
        return vw_fail(err, VW_E_INVALID, "a load of %g; without copies it could be %g", most,
                       single);
    return VW_OK;
}

/* Room for n slots, with a guard behind them. */
static int32_t *guarded(size_t n)
{
    int32_t *placement = malloc((n + 1) * sizeof *placement);

    if (!placement)
        bail_out("no memory");
    placement[n] = GUARD;
    return placement;
}

/* Place twice and look at the result.  Loads are not judged where groups may be kept on nodes, nor
 * where an earlier placement may be kept, since both are bought with balance. */
static vw_status check_place(const vw_balance_ops *ops, void *self, const vw_balance_problem *p,
                             vw_error *err)
{
    size_t n = (size_t)p->n_layers * (size_t)p->n_replicas;
    int32_t *first = guarded(n), *second = guarded(n);
    vw_status status;

    status = ops->place(self, p, first, err);
    if (status == VW_OK)
        status = ops->place(self, p, second, err);
    if (status == VW_OK && memcmp(first, second, n * sizeof *first))
        status = vw_fail(err, VW_E_INVALID, "two calls gave two placements");
    if (status == VW_OK && (first[n] != GUARD || second[n] != GUARD))
        status = vw_fail(err, VW_E_INVALID, "it wrote behind its output");
    for (size_t l = 0; l < (size_t)p->n_layers && status == VW_OK; l++) {
        const int32_t *placement = first + l * (size_t)p->n_replicas;
        status = check_slots(p, placement, err);
        if (status == VW_OK && p->n_nodes == 1 && !p->previous)
            status = check_loads(p, p->load + l * (size_t)p->n_experts, placement, err);
    }
    free(first);
    free(second);
    return status;
}

/* All shapes of load on one size, without and with an earlier placement. */
static vw_status check_size(const vw_balance_ops *ops, void *self, int size, vw_error *err)
{
    static double load[MAX_LOADS], copy[MAX_LOADS];
    static int32_t previous[MAX_LOADS];

    for (int kind = 0; kind < N_SHAPES; kind++) {
        vw_balance_problem p = problem_of(size, (shape)kind, load);
        vw_status status;

        for (int32_t i = 0; i < p.n_layers * p.n_replicas; i++)
            previous[i] = i % p.n_replicas % p.n_experts;
        memcpy(copy, load, sizeof copy);
        status = check_place(ops, self, &p, err);
        p.previous = previous;
        if (status == VW_OK)
            status = check_place(ops, self, &p, err);
        if (status == VW_OK && memcmp(copy, load, sizeof copy))
            status = vw_fail(err, VW_E_INVALID, "it changed the loads");
        if (status)
            return vw_fail_in(err, status, "%s loads", shape_names[kind]);
    }
    return VW_OK;
}

/* ---- wrong input ------------------------------------------------------------------------------ */

static void spoil(vw_balance_problem *p, int how, double *load)
{
    switch (how) {
    case 0:
        p->n_replicas = 13;
        break; /* not a multiple of the ranks */
    case 1:
        p->n_nodes = 3;
        break; /* 4 ranks do not divide */
    case 2:
        p->n_groups = 3;
        break; /* 8 experts do not divide */
    case 3:
        p->n_replicas = 4;
        break; /* fewer slots than experts */
    case 4:
        p->n_experts = 0;
        break;
    case 5:
        p->n_ranks = 0;
        break;
    case 6:
        p->n_layers = 0;
        break;
    case 7:
        load[3] = -1;
        break;
    case 8:
        load[7] = NAN;
        break;
    case 9:
        load[0] = INFINITY;
        break;
    default:
        p->n_groups = 0;
        break;
    }
}
enum { N_SPOILS = 11 };

/* Each is an error with a sentence, and leaves the output as it was. */
static vw_status check_refusals(const vw_balance_ops *ops, void *self, vw_error *err)
{
    for (int how = 0; how < N_SPOILS; how++) {
        double load[8];
        int32_t placement[16];
        vw_balance_problem p = {sizeof p, 1, 8, 12, 1, 1, 4, load, NULL};
        vw_error said = {VW_OK, ""};

        for (int i = 0; i < 16; i++)
            placement[i] = GUARD;
        for (int i = 0; i < 8; i++)
            load[i] = 1 + i;
        spoil(&p, how, load);
        if (ops->place(self, &p, placement, &said) == VW_OK || !*said.text)
            return vw_fail(err, VW_E_INVALID, "wrong input %d is taken, or refused without a word",
                           how);
        for (int i = 0; i < 16; i++)
            if (placement[i] != GUARD)
                return vw_fail(err, VW_E_INVALID, "wrong input %d: it wrote slot %d", how, i);
    }
    return VW_OK;
}

/* ---- planted errors --------------------------------------------------------------------------- */

/* An honest placement, but by the slots' numbers alone: the loads are not looked at. */
static vw_status blind(void *self, const vw_balance_problem *p, int32_t *placement, vw_error *err)
{
    (void)self, (void)err;
    for (int32_t i = 0; i < p->n_layers * p->n_replicas; i++)
        placement[i] = i % p->n_replicas % p->n_experts;
    return VW_OK;
}

static vw_status forgetful(void *self, const vw_balance_problem *p, int32_t *placement,
                           vw_error *err)
{
    blind(self, p, placement, err);
    for (int32_t i = 0; i < p->n_layers * p->n_replicas; i++)
        if (placement[i] == p->n_experts - 1)
            placement[i] = 0;
    return VW_OK;
}

static vw_status fickle(void *self, const vw_balance_problem *p, int32_t *placement, vw_error *err)
{
    int *calls = self;

    blind(self, p, placement, err);
    placement[0] = (placement[0] + ++*calls) % p->n_experts;
    return VW_OK;
}

static vw_status greedy_hand(void *self, const vw_balance_problem *p, int32_t *placement,
                             vw_error *err)
{
    blind(self, p, placement, err);
    placement[p->n_layers * p->n_replicas] = 0;
    return VW_OK;
}

static void plant(void)
{
    static const struct {
        const char *name;
        vw_status (*place)(void *, const vw_balance_problem *, int32_t *, vw_error *);
        const char *expected;
    } plants[] = {
        {"blind to loads", blind, "above the greedy bound"},
        {"an expert without a slot", forgetful, "has no slot"},
        {"another answer each time", fickle, "two placements"},
        {"a slot too many", greedy_hand, "behind its output"},
    };

    for (int i = 0; i < 4; i++) {
        vw_balance_ops ops = {sizeof ops, plants[i].place};
        vw_error err = {VW_OK, ""};
        int calls = 0;
        check_size(&ops, &calls, 4, &err);
        like(err.text, plants[i].expected, "planted: %s", plants[i].name);
    }
    ok(check_refusals(&(vw_balance_ops){sizeof(vw_balance_ops), blind}, NULL, NULL) != VW_OK,
       "planted: wrong input taken");
}

/* ---- known answers of ref --------------------------------------------------------------------- */

/* The largest load against the figures of the published greedy rule, which independent programs
 * agree on; the rules differ in how ties are broken and in the cap of one copy a rank, and with one
 * hot expert that cap makes ours optimal. */
static void test_ref(const vw_balance_ops *ops, void *self)
{
    static const double few[8] = {600, 560, 120, 120, 20, 10, 10, 10};
    static const struct {
        int32_t replicas, ranks;
        double ratio;
    } zipf[] = {{320, 64, 1.0239}, {288, 32, 1.0034}, {384, 64, 1.0030}};
    int32_t placement[384];
    double load[MAX_LOADS], total = 0;
    vw_balance_problem p = {sizeof p, 1, 8, 16, 1, 1, 8, few, NULL};

    is_int(ops->place(self, &p, placement, NULL), VW_OK, "ref: eight experts");
    near(largest(&p, few, placement), 232, 1e-9, "ref: two hot experts of eight");
    p = problem_of(4, ONE_HOT, load);
    is_int(ops->place(self, &p, placement, NULL), VW_OK, "ref: one hot expert");
    near(largest(&p, load, placement), 125, 1e-9, "ref: one hot expert on eight ranks");
    p = problem_of(7, ZIPF, load);
    for (int i = 0; i < 256; i++)
        total += load[i];
    for (int i = 0; i < 3; i++) {
        p.n_replicas = zipf[i].replicas;
        p.n_ranks = zipf[i].ranks;
        is_int(ops->place(self, &p, placement, NULL), VW_OK, "ref: %d slots", p.n_replicas);
        ok(largest(&p, load, placement) * p.n_ranks / total < zipf[i].ratio + 5e-5,
           "ref: 256 experts in %d slots of %d ranks: %.4f of the mean", p.n_replicas, p.n_ranks,
           largest(&p, load, placement) * p.n_ranks / total);
    }
}

/* Memory that runs out: an error with words, and an output as it was. */
static void test_memory(const vw_plugin *plugin, mock_host *mock, const vw_component *c)
{
    const vw_balance_ops *ops = c->ops;
    int n_bad = 0;

    for (int n = 0; n < 4; n++) {
        double load[MAX_LOADS];
        vw_balance_problem p = problem_of(3, RANDOM, load);
        int32_t *placement = guarded((size_t)p.n_layers * (size_t)p.n_replicas);
        vw_error said = {VW_OK, ""};
        vw_status status;

        placement[0] = GUARD;
        mock->fail_after = n;
        status = ops->place(c->self, &p, placement, &said);
        mock->fail_after = -1;
        n_bad += status && (status != VW_E_NOMEM || !*said.text || placement[0] != GUARD);
        free(placement);
    }
    is_int(n_bad, 0, "%s: no memory is an error with words", plugin->name);
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    const vw_balance_ops *ops;
    vw_error err = {VW_OK, ""};

    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    ops = it.component.ops;
    for (int i = 0; i < N_SIZES; i++) {
        err.text[0] = '\0';
        ok(check_size(ops, it.component.self, i, &err) == VW_OK,
           "%s: %d experts, %d slots, %d ranks, %d nodes %s", plugin->name, sizes[i].experts,
           sizes[i].replicas, sizes[i].ranks, sizes[i].nodes, err.text);
    }
    err.text[0] = '\0';
    ok(check_refusals(ops, it.component.self, &err) == VW_OK, "%s: wrong input is refused %s",
       plugin->name, err.text);
    test_memory(plugin, &mock, &it.component);
    if (!strcmp(plugin->name, "ref"))
        test_ref(ops, it.component.self);
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_BALANCE, test_one, NULL) > 0, "there are plugins");
    plant();
    return done_testing();
}
