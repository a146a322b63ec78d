/* kind-balance.c - what holds for every placement of experts, whatever the algorithm.
 *
 * Every expert has a slot, copies are numbered, groups stay on nodes, a bound is one, equal input
 * gives equal output in any order of calls, nothing else is written, wrong input is an error with
 * the header's sentence, and a split deals every token.
 *
 * A plugin that `auto` may choose (its rank is above VW_RANK_NEVER) must look at the loads as well:
 * no device may be loaded above a bound that greedy placement keeps, or it is worse than greedy.
 * Greedy: spare slots one by one to the expert whose copies are loaded most; then the heaviest copy
 * first to the least loaded device that has a slot.  Its largest load is at most
 *
 *     T/P + (1 - 1/P) w,   w <= max(T/(R - E + 1), T/P) and w <= the largest load
 *
 * with w the heaviest copy.  For w: an expert with c copies got its last one while each of its c - 1
 * copies weighed at least w, so T >= (R - E) w, and the expert that w belongs to has one more w; or
 * a cap of P copies held it back, and then w <= T/P.  For the sum: let a_k and b_k be the k-th copies
 * that devices A and B get, and D_k the sum of a_i - b_i for i <= k.  If B has k copies when A gets
 * a_k, then b_k came earlier, b_k >= a_k and D_k <= D_(k-1).  If B has fewer, it had room and A was
 * the lighter one, so D_k <= a_k - b_k.  Hence two devices differ by w at most, and the largest
 * exceeds the mean by at most (P - 1)/P of that.
 *
 * Letters: L layers, E experts, R slots, G groups, N nodes, P devices, T a layer's whole load.
 */
#include "t/balance-refusals.h"
#include "t/tap/tap.h"

#include <vishwamai/balance.h>

#include <math.h>
#include <stdlib.h>

enum { MAX_LOADS = 2048, GUARD = -77 };

typedef enum shape { EVEN, RANDOM, ZIPF, ONE_HOT, ZERO, N_SHAPES } shape;

static const char *const shape_names[N_SHAPES] = {"even", "random", "zipf", "one hot", "zero"};

static const struct {
    int32_t layers, experts, replicas, groups, nodes, devices;
} sizes[] = {
    {1, 1, 1, 1, 1, 1},      {1, 1, 4, 1, 1, 4},      {2, 8, 8, 1, 1, 4},   {3, 8, 12, 1, 1, 4},
    {1, 8, 16, 1, 1, 8},     {2, 12, 16, 4, 2, 8},    {1, 16, 20, 2, 1, 5}, {1, 256, 288, 1, 1, 32},
    {1, 256, 320, 1, 1, 64}, {1, 256, 320, 8, 8, 64}, {2, 7, 21, 1, 1, 3},
    {1, 16, 24, 4, 2, 4},    {1, 12, 24, 2, 4, 8},
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
        .n_devices = sizes[size].devices,
        .load = load,
    };

    for (int32_t i = 0; i < p.n_layers * p.n_experts; i++)
        load[i] = load_of(kind, i % p.n_experts, p.n_experts, &seed);
    return p;
}

/* The largest load of a device, when each copy of an expert gets an equal share. */
static double largest(const vw_balance_problem *p, const double *load, const int32_t *placement)
{
    int32_t slots = p->n_replicas / p->n_devices;
    double most = 0;

    for (int32_t r = 0; r < p->n_devices; r++) {
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
    mean = total / p->n_devices;
    copy = fmin(heaviest, fmax(total / (p->n_replicas - p->n_experts + 1), mean));
    *greedy = mean + (1 - 1.0 / p->n_devices) * copy;
    *single = fmax(heaviest, mean);
}

static int32_t copies_of(const vw_balance_problem *p, const int32_t *placement, int32_t expert)
{
    int32_t n = 0;

    for (int32_t s = 0; s < p->n_replicas; s++)
        n += placement[s] == expert;
    return n;
}

static vw_status check_slots(const vw_balance_problem *p, const int32_t *placement,
                             const int32_t *copy, vw_error *err)
{
    for (int32_t s = 0; s < p->n_replicas; s++)
        if (placement[s] < 0 || placement[s] >= p->n_experts)
            return vw_fail(err, VW_E_INVALID, "slot %d holds expert %d", s, placement[s]);
    for (int32_t e = 0; e < p->n_experts; e++)
        if (copies_of(p, placement, e) == 0)
            return vw_fail(err, VW_E_INVALID, "expert %d has no slot", e);
    for (int32_t s = 0; s < p->n_replicas; s++) {
        int32_t n = 0;
        for (int32_t t = 0; t < p->n_replicas; t++)
            n += placement[t] == placement[s] && copy[t] == copy[s];
        if (n != 1 || copy[s] < 0 || copy[s] >= copies_of(p, placement, placement[s]))
            return vw_fail(err, VW_E_INVALID, "%d slots are copy %d of expert %d", n, copy[s],
                           placement[s]);
    }
    return VW_OK;
}

/* All slots of a group on one node, G/N groups on each. */
static vw_status check_groups(const vw_balance_problem *p, const int32_t *placement, vw_error *err)
{
    int32_t of_node = p->n_replicas / p->n_nodes, size = p->n_experts / p->n_groups;

    for (int32_t s = 0; s < p->n_replicas; s++)
        for (int32_t t = 0; t < s; t++)
            if (placement[s] / size == placement[t] / size && s / of_node != t / of_node)
                return vw_fail(err, VW_E_INVALID, "group %d lies on nodes %d and %d",
                               placement[s] / size, t / of_node, s / of_node);
    for (int32_t node = 0; node < p->n_nodes; node++) {
        int32_t n = 0;
        for (int32_t g = 0; g < p->n_groups; g++)
            for (int32_t s = node * of_node; s < (node + 1) * of_node; s++)
                if (placement[s] == g * size) {
                    n++;
                    break;
                }
        if (n != p->n_groups / p->n_nodes)
            return vw_fail(err, VW_E_INVALID, "node %d has %d groups", node, n);
    }
    return VW_OK;
}

static vw_status check_loads(const vw_balance_problem *p, const double *load,
                             const int32_t *placement, vw_error *err)
{
    double most = largest(p, load, placement), greedy, single;

    bounds(p, load, &greedy, &single);
    if (most > greedy * (1 + 1e-6))
        return vw_fail(err, VW_E_INVALID, "a device's load of %g is above the greedy bound %g", most,
                       greedy);
    if (greedy < single && most > single)
        return vw_fail(err, VW_E_INVALID, "a load of %g; without copies it could be %g", most,
                       single);
    return VW_OK;
}

/* What place() fills, with guards behind it. */
typedef struct output {
    int32_t *expert, *copy;
    double *bound;
    vw_balance_placement placement;
} output;

static output guarded(const vw_balance_problem *p)
{
    size_t n = (size_t)p->n_layers * (size_t)p->n_replicas;
    output o = {malloc((n + 1) * sizeof *o.expert), malloc((n + 1) * sizeof *o.copy),
                malloc(((size_t)p->n_layers + 1) * sizeof *o.bound), {0}};

    if (!o.expert || !o.copy || !o.bound)
        bail_out("no memory");
    o.expert[n] = o.copy[n] = GUARD;
    o.bound[p->n_layers] = GUARD;
    o.placement = (vw_balance_placement){sizeof o.placement, o.expert, o.copy, o.bound};
    return o;
}

static bool is_guarded(const vw_balance_problem *p, const output *o)
{
    size_t n = (size_t)p->n_layers * (size_t)p->n_replicas;

    return o->expert[n] == GUARD && o->copy[n] == GUARD && o->bound[p->n_layers] == GUARD;
}

static void release(output *o)
{
    free(o->expert);
    free(o->copy);
    free(o->bound);
}

/* What one layer must keep.  Loads are not judged where groups are kept on nodes, nor where an
 * earlier placement may be kept, since both are bought with balance. */
static vw_status check_layer(const vw_plugin *plugin, const vw_balance_problem *p, const output *o,
                             size_t l, vw_error *err)
{
    const int32_t *placement = o->expert + l * (size_t)p->n_replicas;
    const double *load = p->load + l * (size_t)p->n_experts;
    double total = 0, most;
    vw_status status = check_slots(p, placement, o->copy + l * (size_t)p->n_replicas, err);

    if (status == VW_OK && vw_balance_keeps_groups(p))
        status = check_groups(p, placement, err);
    if (status != VW_OK)
        return status;
    for (int32_t e = 0; e < p->n_experts; e++)
        total += load[e];
    most = total > 0 ? largest(p, load, placement) * p->n_devices / total : 1;
    if (!(o->bound[l] >= 1) || o->bound[l] > most * (1 + 1e-9))
        return vw_fail(err, VW_E_INVALID, "a bound of %g, and max over mean is %g", o->bound[l],
                       most);
    if (p->n_nodes == 1 && !p->previous && plugin->rank > VW_RANK_NEVER)
        return check_loads(p, load, placement, err);
    return VW_OK;
}

/* Place twice, the second time each layer alone and from the last to the first, and look at it. */
static vw_status check_place(const vw_plugin *plugin, void *self, const vw_balance_problem *p,
                             vw_error *err)
{
    const vw_balance_ops *ops = plugin->ops;
    size_t n_layers = (size_t)p->n_layers, n_slots = (size_t)p->n_replicas;
    output first = guarded(p), second = guarded(p);
    vw_status status = ops->place(self, p, &first.placement, err);

    for (size_t l = n_layers; l-- > 0 && status == VW_OK;) {
        vw_balance_problem one = *p;
        vw_balance_placement out = {sizeof out, second.expert + l * n_slots, NULL, NULL};
        one.n_layers = 1;
        one.load += l * (size_t)p->n_experts;
        one.previous = p->previous ? p->previous + l * n_slots : NULL;
        status = ops->place(self, &one, &out, err);
    }
    if (status == VW_OK &&
        memcmp(first.expert, second.expert, n_layers * n_slots * sizeof *first.expert))
        status = vw_fail(err, VW_E_INVALID, "two calls gave two placements");
    if (status == VW_OK && (!is_guarded(p, &first) || !is_guarded(p, &second)))
        status = vw_fail(err, VW_E_INVALID, "it wrote behind its output");
    for (size_t l = 0; l < n_layers && status == VW_OK; l++)
        status = check_layer(plugin, p, &first, l, err);
    release(&first);
    release(&second);
    return status;
}

/* All shapes of load on one size, without and with an earlier placement. */
static vw_status check_size(const vw_plugin *plugin, void *self, int size, vw_error *err)
{
    static double load[MAX_LOADS], copy[MAX_LOADS];
    static int32_t previous[MAX_LOADS];

    for (int kind = 0; kind < N_SHAPES; kind++) {
        vw_balance_problem p = problem_of(size, (shape)kind, load);
        vw_status status;

        for (int32_t i = 0; i < p.n_layers * p.n_replicas; i++)
            previous[i] = i % p.n_replicas % p.n_experts;
        memcpy(copy, load, sizeof copy);
        status = check_place(plugin, self, &p, err);
        p.previous = previous;
        if (status == VW_OK)
            status = check_place(plugin, self, &p, err);
        if (status == VW_OK && memcmp(copy, load, sizeof copy))
            status = vw_fail(err, VW_E_INVALID, "it changed the loads");
        if (status)
            return vw_fail_in(err, status, "%s loads", shape_names[kind]);
    }
    return VW_OK;
}

/* ---- devices that differ --------------------------------------------------------------------- */

/* Speeds and slots that differ: placed by the rules, or refused with a sentence. */
static vw_status check_uneven(const vw_plugin *plugin, void *self, vw_error *err)
{
    static const double speed[4] = {1, 2, 0.5, 1};
    static const int32_t slots[4] = {2, 5, 1, 4};
    double load[MAX_LOADS];
    vw_balance_problem p = problem_of(3, RANDOM, load);
    const vw_balance_ops *ops = plugin->ops;
    vw_status status = VW_OK;

    for (int what = 1; what < 4 && status == VW_OK; what++) {
        output o = guarded(&p);
        vw_error said = {VW_OK, ""};
        p.speed = what & 1 ? speed : NULL;
        p.slots = what & 2 ? slots : NULL;
        status = ops->place(self, &p, &o.placement, &said);
        if (status == VW_E_UNSUPPORTED && *said.text)
            status = VW_OK;
        else if (status == VW_OK)
            status = check_slots(&p, o.expert, o.copy, err);
        else
            vw_fail(err, status, "refused: %s", said.text);
        release(&o);
    }
    return status;
}

/* ---- splits ---------------------------------------------------------------------------------- */

/* Every token is dealt; the largest load is no larger than with even shares (rounded up). */
static vw_status check_quota(const vw_balance_problem *p, const int32_t *expert,
                             const int64_t *tokens, const int64_t *quota, vw_error *err)
{
    int32_t of_device = p->n_replicas / p->n_devices;
    double most = 0, even = 0;

    for (int32_t e = 0; e < p->n_experts; e++) {
        int64_t sum = 0;
        for (int32_t s = 0; s < p->n_replicas; s++) {
            if (quota[s] < 0)
                return vw_fail(err, VW_E_INVALID, "slot %d gets %lld tokens", s,
                               (long long)quota[s]);
            sum += expert[s] == e ? quota[s] : 0;
        }
        if (sum != tokens[e])
            return vw_fail(err, VW_E_INVALID, "expert %d: %lld of %lld tokens are dealt", e,
                           (long long)sum, (long long)tokens[e]);
    }
    for (int32_t d = 0; d < p->n_devices; d++) {
        double has = 0, could_have = 0;
        for (int32_t s = d * of_device; s < (d + 1) * of_device; s++) {
            int32_t n = 0;
            for (int32_t t = 0; t < p->n_replicas; t++)
                n += expert[t] == expert[s];
            has += (double)quota[s];
            could_have += ceil((double)tokens[expert[s]] / n);
        }
        most = fmax(most, has);
        even = fmax(even, could_have);
    }
    if (most > even)
        return vw_fail(err, VW_E_INVALID, "a load of %g; dealt evenly it would be %g", most, even);
    return VW_OK;
}

static vw_status check_split(const vw_balance_ops *ops, void *self, vw_error *err)
{
    enum { E = 8, R = 12 };
    static const int32_t expert[R] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 0, 0};
    static const int64_t batches[4][E] = {{100, 7, 0, 3, 3, 3, 3, 1},
                                          {0},
                                          {1, 1, 1, 1, 1, 1, 1, 1},
                                          {1000001, 999, 500000, 3, 250000, 1, 2, 0}};
    const double load[E] = {0};
    vw_balance_problem p = {.size = sizeof p, .n_layers = 1, .n_experts = E, .n_replicas = R,
                            .n_groups = 1, .n_nodes = 1, .n_devices = 4, .load = load};
    int32_t wrong[R];
    int64_t quota[R + 1];

    for (int i = 0; i < 4; i++) {
        vw_status status;
        quota[R] = GUARD;
        status = ops->split(self, &p, expert, batches[i], quota, err);
        if (status == VW_OK && quota[R] != GUARD)
            status = vw_fail(err, VW_E_INVALID, "it wrote behind its quotas");
        if (status == VW_OK)
            status = check_quota(&p, expert, batches[i], quota, err);
        if (status != VW_OK)
            return vw_fail_in(err, status, "batch %d", i);
    }
    for (int how = 0; how < 3; how++) {
        int64_t tokens[E] = {1, 1, 1, how == 2 ? -1 : 1, 1, 1, 1, 1};
        vw_error said = {VW_OK, ""};
        memcpy(wrong, expert, sizeof wrong);
        wrong[3] = how == 0 ? E : how == 1 ? 0 : 3;
        quota[0] = GUARD;
        if (ops->split(self, &p, wrong, tokens, quota, &said) != VW_E_INVALID || !*said.text ||
            quota[0] != GUARD)
            return vw_fail(err, VW_E_INVALID, "a wrong split is taken (%d)", how);
    }
    return VW_OK;
}

/* ---- planted errors -------------------------------------------------------------------------- */

/* An honest placement, but by the slots' numbers alone: the loads are not looked at. */
static vw_status blind(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                       vw_error *err)
{
    (void)self, (void)err;
    for (int32_t i = 0; i < p->n_layers * p->n_replicas; i++) {
        int32_t k = i % p->n_replicas;
        out->expert[i] = k % p->n_experts;
        if (out->copy)
            out->copy[i] = k / p->n_experts;
        if (out->bound)
            out->bound[i / p->n_replicas] = 1;
    }
    return VW_OK;
}

static vw_status forgetful(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                           vw_error *err)
{
    blind(self, p, out, err);
    for (int32_t i = 0; i < p->n_layers * p->n_replicas; i++)
        if (out->expert[i] == p->n_experts - 1)
            out->expert[i] = 0;
    return VW_OK;
}

static vw_status fickle(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                        vw_error *err)
{
    int *calls = self;

    blind(self, p, out, err);
    out->expert[0] = (out->expert[0] + ++*calls) % p->n_experts;
    return VW_OK;
}

static vw_status heavy_hand(void *self, const vw_balance_problem *p,
                            const vw_balance_placement *out, vw_error *err)
{
    blind(self, p, out, err);
    out->expert[p->n_layers * p->n_replicas] = 0;
    return VW_OK;
}

static vw_status miscounting(void *self, const vw_balance_problem *p,
                             const vw_balance_placement *out, vw_error *err)
{
    blind(self, p, out, err);
    if (out->copy)
        out->copy[p->n_replicas - 1] = 0;
    return VW_OK;
}

static vw_status boastful(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                          vw_error *err)
{
    blind(self, p, out, err);
    if (out->bound)
        out->bound[0] = 1000;
    return VW_OK;
}

/* Deals the first copy of each expert everything that there is, and one token more. */
static vw_status generous(void *self, const vw_balance_problem *p, const int32_t *expert,
                          const int64_t *tokens, int64_t *quota, vw_error *err)
{
    (void)self, (void)err;
    for (int32_t s = 0; s < p->n_replicas; s++) {
        int32_t t = 0;
        while (expert[t] != expert[s])
            t++;
        quota[s] = t == s ? tokens[expert[s]] + (s == 0) : 0;
    }
    return VW_OK;
}

static void plant(void)
{
    static const struct {
        const char *name;
        vw_status (*place)(void *, const vw_balance_problem *, const vw_balance_placement *,
                           vw_error *);
        const char *expected;
        int size;
    } plants[] = {
        {"blind to loads", blind, "above the greedy bound", 4},
        {"an expert without a slot", forgetful, "has no slot", 4},
        {"another answer each time", fickle, "two placements", 4},
        {"a slot too many", heavy_hand, "behind its output", 4},
        {"copies with one number", miscounting, "slots are copy", 4},
        {"a bound that is none", boastful, "a bound of 1000", 4},
        {"groups torn apart", blind, "group 2 lies on nodes 0 and 1", 5},
    };

    for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) {
        vw_balance_ops ops = {.size = sizeof ops, .place = plants[i].place};
        vw_plugin plugin = {.rank = VW_RANK_NORMAL, .ops = &ops};
        vw_error err = {VW_OK, ""};
        int calls = 0;
        check_size(&plugin, &calls, plants[i].size, &err);
        like(err.text, plants[i].expected, "planted: %s", plants[i].name);
    }
    vw_balance_ops ops = {.size = sizeof ops, .place = blind, .split = generous};
    vw_error err = {VW_OK, ""};
    ok(balance_refusals(&ops, NULL, NULL) != VW_OK, "planted: wrong input taken");
    check_split(&ops, NULL, &err);
    like(err.text, "expert 0: 101 of 100 tokens", "planted: a token too many");
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Memory that runs out: an error with words, and an output as it was. */
static void test_memory(const vw_plugin *plugin, mock_host *mock, const vw_component *c)
{
    const vw_balance_ops *ops = c->ops;
    int n_bad = 0;

    for (int n = 0; n < 4; n++) {
        double load[MAX_LOADS];
        vw_balance_problem p = problem_of(3, RANDOM, load);
        output o = guarded(&p);
        vw_error said = {VW_OK, ""};
        vw_status status;

        o.expert[0] = GUARD;
        mock->fail_after = n;
        status = ops->place(c->self, &p, &o.placement, &said);
        mock->fail_after = -1;
        n_bad += status && (status != VW_E_NOMEM || !*said.text || o.expert[0] != GUARD);
        release(&o);
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
    mock.n_threads = 3;
    mock.is_backwards = true;
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    ops = it.component.ops;
    for (int i = 0; i < N_SIZES; i++) {
        err.text[0] = '\0';
        ok(check_size(plugin, it.component.self, i, &err) == VW_OK,
           "%s: %d experts, %d slots, %d devices, %d nodes %s", plugin->name, sizes[i].experts,
           sizes[i].replicas, sizes[i].devices, sizes[i].nodes, err.text);
    }
    err.text[0] = '\0';
    ok(check_uneven(plugin, it.component.self, &err) == VW_OK, "%s: devices that differ %s",
       plugin->name, err.text);
    ok(balance_refusals(ops, it.component.self, &err) == VW_OK, "%s: wrong input is refused %s",
       plugin->name, err.text);
    if (ops->size > offsetof(vw_balance_ops, split) && ops->split)
        ok(check_split(ops, it.component.self, &err) == VW_OK, "%s: splits %s", plugin->name,
           err.text);
    test_memory(plugin, &mock, &it.component);
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_BALANCE, test_one, NULL) > 0, "there are plugins");
    balance_check_refusals();
    plant();
    return done_testing();
}
