/* balance-case.c - the plain way to the figures of a placement, and to its optimum. */
#include "t/balance-case.h"

#include "t/tap/tap.h"

#include <math.h>
#include <string.h>

void balancer_open(balancer *b, const char *name, const char *const *settings)
{
    const vw_plugin *plugin = mock_plugin(VW_KIND_BALANCE, name);

    if (!plugin)
        skip_all("balance/%s is not built", name);
    mock_host_init(&b->mock);
    if (!mock_open(&b->mock, plugin, settings, &b->it))
        bail_out("balance/%s does not open", name);
    b->ops = b->it.component.ops;
    b->self = b->it.component.self;
}

void balancer_close(balancer *b)
{
    mock_close(&b->mock, &b->it);
}

void balancer_place(balancer *b, const vw_balance_problem *p, int32_t *expert, double *bound)
{
    vw_balance_placement out = {sizeof out, expert, NULL, bound};
    vw_error err = {VW_OK, ""};

    if (b->ops->place(b->self, p, &out, &err) != VW_OK) {
        ok(false, "balance/%s places: %s", b->it.component.plugin->name, err.text);
        memset(expert, 0, (size_t)p->n_replicas * sizeof *expert);
    }
}

/* ---- figures --------------------------------------------------------------------------------- */

double case_max_over_mean(const vw_balance_problem *p, const int32_t *expert)
{
    double total = 0, speeds = 0, most = 0;
    int slot = 0;

    for (int d = 0; d < p->n_devices; d++) {
        double sum = 0, speed = p->speed ? p->speed[d] : 1;
        for (int k = vw_balance_slots(p, d); k > 0; k--, slot++) {
            int copies = 0;
            for (int s = 0; s < p->n_replicas; s++)
                copies += expert[s] == expert[slot];
            sum += p->load[expert[slot]] / copies;
        }
        most = fmax(most, sum / speed);
        total += sum;
        speeds += speed;
    }
    return total > 0 ? most / (total / speeds) : 1;
}

/* How many slots from `first` on hold the expert. */
static int held(const int32_t *expert, int first, int n, int32_t e)
{
    int count = 0;

    for (int s = first; s < first + n; s++)
        count += expert[s] == e;
    return count;
}

int case_moves(const vw_balance_problem *p, const int32_t *before, const int32_t *after)
{
    int moves = 0;

    for (int d = 0, first = 0; d < p->n_devices; first += vw_balance_slots(p, d++))
        for (int s = first; s < first + vw_balance_slots(p, d); s++)
            moves += held(before, first, vw_balance_slots(p, d), after[s]) == 0;
    return moves;
}

int case_doubles(const vw_balance_problem *p, const int32_t *expert)
{
    int doubles = 0;

    for (int d = 0, first = 0; d < p->n_devices; first += vw_balance_slots(p, d++)) {
        int is_double = 0;
        for (int s = first; s < first + vw_balance_slots(p, d); s++)
            is_double |= held(expert, first, vw_balance_slots(p, d), expert[s]) > 1;
        doubles += is_double;
    }
    return doubles;
}

/* ---- random numbers -------------------------------------------------------------------------- */

double case_uniform(case_random *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (double)(r->state >> 11) * 0x1p-53;
}

double case_normal(case_random *r)
{
    double radius = sqrt(-2 * log(1 - case_uniform(r)));

    return radius * cos(6.283185307179586 * case_uniform(r));
}

int case_below(case_random *r, int n)
{
    return (int)(case_uniform(r) * n);
}

/* ---- all placements -------------------------------------------------------------------------- */

/* One node with its experts: counts first, then a device for every copy. */
typedef struct node {
    int n_experts, n_devices, per_device;
    double load[CASE_EXPERTS];
    int count[CASE_EXPERTS];
    int used[CASE_SLOTS];
    double sum[CASE_SLOTS];
    double limit;
    long effort;
} node;

/* Copy `copy` of expert e on some device behind `after`, and all copies after it. */
static int can_lay(node *n, int e, int copy, int after)
{
    if (e == n->n_experts)
        return 1;
    if (copy == n->count[e])
        return can_lay(n, e + 1, 0, -1);
    for (int d = after + 1; d < n->n_devices; d++) {
        double share = n->load[e] / n->count[e];
        int is_known = 0; /* a device like one that was tried */
        if (n->used[d] == n->per_device || n->sum[d] + share >= n->limit)
            continue;
        for (int k = after + 1; k < d && n->count[e] == 1; k++)
            is_known |= n->used[k] == n->used[d] && n->sum[k] == n->sum[d];
        if (is_known)
            continue;
        if (--n->effort < 0)
            return -1;
        double before = n->sum[d];
        n->used[d]++;
        n->sum[d] += share;
        int result = can_lay(n, e, copy + 1, d);
        n->used[d]--;
        n->sum[d] = before;
        if (result != 0)
            return result;
    }
    return 0;
}

/* Counts for expert e on, `slots` left for them. */
static int can_count(node *n, int e, int slots)
{
    int rest = n->n_experts - e - 1;

    if (e == n->n_experts)
        return slots == 0 ? can_lay(n, 0, 0, -1) : 0;
    for (int c = 1; c <= n->n_devices && c <= slots - rest; c++) {
        int result;
        if (slots - c > rest * n->n_devices || n->load[e] / c >= n->limit)
            continue;
        if (--n->effort < 0)
            return -1;
        n->count[e] = c;
        result = can_count(n, e + 1, slots - c);
        if (result != 0)
            return result;
    }
    return 0;
}

static int node_is_possible(const vw_balance_problem *p, const int *groups, int n_groups,
                            double limit, long *effort)
{
    static node n;
    int size = p->n_experts / p->n_groups, n_nodes = vw_balance_keeps_groups(p) ? p->n_nodes : 1;
    int result;

    memset(&n, 0, sizeof n);
    n.n_devices = p->n_devices / n_nodes;
    n.per_device = p->n_replicas / p->n_devices;
    n.limit = limit;
    n.effort = *effort;
    for (int g = 0; g < n_groups; g++)
        for (int i = 0; i < size; i++)
            n.load[n.n_experts++] = p->load[groups[g] * size + i];
    for (int i = 1; i < n.n_experts; i++) /* the heaviest first: dead ends show early */
        for (int k = i; k > 0 && n.load[k] > n.load[k - 1]; k--) {
            double swap = n.load[k];
            n.load[k] = n.load[k - 1];
            n.load[k - 1] = swap;
        }
    result = can_count(&n, 0, n.per_device * n.n_devices);
    *effort = n.effort;
    return result;
}

/* Fill nodes with groups, each node beginning with the lowest group that is left. */
static int can_part(const vw_balance_problem *p, int *groups, int n_placed, unsigned left,
                    double limit, long *effort)
{
    int per_node = p->n_groups / p->n_nodes, in_node = n_placed % per_node, unknown = 0;

    if (n_placed > 0 && in_node == 0) {
        int result = node_is_possible(p, groups + n_placed - per_node, per_node, limit, effort);
        if (result <= 0)
            return result;
    }
    if (n_placed == p->n_groups)
        return 1;
    for (int g = in_node ? groups[n_placed - 1] + 1 : 0; g < p->n_groups; g++) {
        int result;
        if (!(left >> g & 1))
            continue;
        groups[n_placed] = g;
        result = can_part(p, groups, n_placed + 1, left & ~(1u << g), limit, effort);
        if (result > 0)
            return 1;
        unknown |= result < 0;
        if (in_node == 0)
            break;
    }
    return unknown ? -1 : 0;
}

int case_is_possible(const vw_balance_problem *p, double load, long effort)
{
    int groups[32];

    if (!vw_balance_keeps_groups(p)) {
        for (int g = 0; g < 32; g++)
            groups[g] = g;
        if (p->n_groups > 32)
            return -1;
        return node_is_possible(p, groups, p->n_groups, load, &effort);
    }
    if (p->n_groups > 16)
        return -1;
    return can_part(p, groups, 0, (1u << p->n_groups) - 1, load, &effort);
}
