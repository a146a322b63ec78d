/* ref.c - balance/ref: the greedy placement that other algorithms of the kind are measured by.
 *
 * For each layer: spare slots go one by one to the expert whose copies are loaded most; then the
 * copies, heaviest first, go each to the least loaded rank that has a free slot.  Ties go to fewer
 * copies, then to the lower index, so equal input gives equal output everywhere.  Nodes, groups and
 * the previous placement are checked and otherwise ignored; a layer is placed by its loads alone.
 *
 * Letters: L layers, E experts, R slots, P ranks, S = R/P slots a rank, T a layer's whole load.
 *
 * What it guarantees (t/kind-balance.c checks it):
 *
 *     largest rank load <= T/P + (1 - 1/P) w,   w <= max(T/(R - E + 1), T/P), w <= largest load
 *
 * where w is the heaviest copy.  For w: an expert with c copies got its last one while each of its
 * c - 1 copies weighed at least w, so T >= (R - E) w, and the expert that w belongs to has one more
 * w; or it was held back by the cap of P copies, and then w <= T/P.  For the sum: let a_k and b_k be
 * the k-th copies that ranks A and B get, and D_k the sum of a_i - b_i for i <= k.  If B has k copies
 * when A gets a_k, then b_k came earlier, b_k >= a_k and D_k <= D_(k-1).  If B has fewer, it had room
 * and A was the lighter one, so D_k <= a_k - b_k.  Hence D_S <= w: two ranks differ by no more than
 * the heaviest copy, and the largest exceeds the mean by at most (P - 1)/P of that.
 */
#include <vishwamai/balance.h>

#include <math.h>

typedef struct scratch {
    double *rank_load;  /* [P] */
    int32_t *rank_used; /* [P] slots taken */
    int32_t *copies;    /* [E] */
    int32_t *left;      /* [E] copies not placed yet */
} scratch;

static vw_status check_sizes(const vw_balance_problem *p, vw_error *err)
{
    if (p->size < sizeof *p || !p->load)
        return vw_fail(err, VW_E_INVALID, "the problem is not complete");
    if (p->n_layers < 1 || p->n_experts < 1 || p->n_ranks < 1 || p->n_nodes < 1 || p->n_groups < 1)
        return vw_fail(err, VW_E_INVALID,
                       "%d layers, %d experts, %d groups, %d ranks, %d nodes: none may be below 1",
                       p->n_layers, p->n_experts, p->n_groups, p->n_ranks, p->n_nodes);
    if (p->n_replicas < p->n_experts)
        return vw_fail(err, VW_E_INVALID, "%d slots cannot hold %d experts", p->n_replicas,
                       p->n_experts);
    if (p->n_replicas % p->n_ranks)
        return vw_fail(err, VW_E_INVALID, "%d slots do not divide among %d ranks", p->n_replicas,
                       p->n_ranks);
    if (p->n_ranks % p->n_nodes)
        return vw_fail(err, VW_E_INVALID, "%d ranks do not divide among %d nodes", p->n_ranks,
                       p->n_nodes);
    if (p->n_experts % p->n_groups)
        return vw_fail(err, VW_E_INVALID, "%d experts do not divide into %d groups", p->n_experts,
                       p->n_groups);
    return VW_OK;
}

/* Loads must be numbers whose sum is one too; a previous placement must name experts. */
static vw_status check_values(const vw_balance_problem *p, vw_error *err)
{
    for (int32_t l = 0; l < p->n_layers; l++) {
        double total = 0;
        for (int32_t e = 0; e < p->n_experts; e++) {
            double x = p->load[(size_t)l * (size_t)p->n_experts + (size_t)e];
            total += x;
            if (!(x >= 0) || !isfinite(total))
                return vw_fail(err, VW_E_INVALID,
                               "layer %d, expert %d: a load of %g; it must be finite and not "
                               "negative",
                               l, e, x);
        }
        for (int32_t s = 0; p->previous && s < p->n_replicas; s++) {
            int32_t e = p->previous[(size_t)l * (size_t)p->n_replicas + (size_t)s];
            if (e < 0 || e >= p->n_experts)
                return vw_fail(err, VW_E_INVALID,
                               "layer %d, slot %d: the previous placement names expert %d of %d", l,
                               s, e, p->n_experts);
        }
    }
    return VW_OK;
}

/* How many copies each expert gets.  More than one a rank is of no use, unless there are more slots
 * than that. */
static void replicate(const vw_balance_problem *p, const double *load, int32_t *copies)
{
    int32_t even = p->n_replicas / p->n_experts + (p->n_replicas % p->n_experts != 0);
    int32_t cap = p->n_ranks > even ? p->n_ranks : even;

    for (int32_t e = 0; e < p->n_experts; e++)
        copies[e] = 1;
    for (int32_t spare = p->n_replicas - p->n_experts; spare > 0; spare--) {
        int32_t best = -1;
        for (int32_t e = 0; e < p->n_experts; e++) {
            double x, most;
            if (copies[e] >= cap)
                continue;
            x = load[e] / copies[e];
            most = best < 0 ? -1 : load[best] / copies[best];
            if (x > most || (x == most && copies[e] < copies[best]))
                best = e;
        }
        copies[best]++;
    }
}

static int32_t lightest_rank(const vw_balance_problem *p, const scratch *s)
{
    int32_t slots = p->n_replicas / p->n_ranks, best = -1;

    for (int32_t r = 0; r < p->n_ranks; r++)
        if (s->rank_used[r] < slots && (best < 0 || s->rank_load[r] < s->rank_load[best]))
            best = r;
    return best;
}

/* The expert with the heaviest copy that is not placed yet. */
static int32_t heaviest_expert(const vw_balance_problem *p, const double *load, const scratch *s)
{
    int32_t best = -1;

    for (int32_t e = 0; e < p->n_experts; e++)
        if (s->left[e] > 0 && (best < 0 || load[e] / s->copies[e] > load[best] / s->copies[best]))
            best = e;
    return best;
}

static void place_layer(const vw_balance_problem *p, const double *load, const scratch *s,
                        int32_t *placement)
{
    int32_t slots = p->n_replicas / p->n_ranks;

    replicate(p, load, s->copies);
    memcpy(s->left, s->copies, (size_t)p->n_experts * sizeof *s->left);
    for (int32_t r = 0; r < p->n_ranks; r++) {
        s->rank_load[r] = 0;
        s->rank_used[r] = 0;
    }
    for (int32_t i = 0; i < p->n_replicas; i++) {
        int32_t e = heaviest_expert(p, load, s), r = lightest_rank(p, s);
        placement[(size_t)r * (size_t)slots + (size_t)s->rank_used[r]++] = e;
        s->rank_load[r] += load[e] / s->copies[e];
        s->left[e]--;
    }
}

static vw_status place(void *self, const vw_balance_problem *p, int32_t *placement, vw_error *err)
{
    const vw_host *host = self;
    vw_status status = check_sizes(p, err);
    size_t n_experts, n_ranks;
    scratch s;

    if (status || (status = check_values(p, err)) != VW_OK)
        return status;
    n_experts = (size_t)p->n_experts;
    n_ranks = (size_t)p->n_ranks;
    s.rank_load = host->alloc(host->core, n_ranks * sizeof(double));
    s.rank_used = host->alloc(host->core, (n_ranks + 2 * n_experts) * sizeof(int32_t));
    if (!s.rank_load || !s.rank_used) {
        host->free(host->core, s.rank_load);
        host->free(host->core, s.rank_used);
        return vw_fail(err, VW_E_NOMEM, "no memory to place %d experts", p->n_experts);
    }
    s.copies = s.rank_used + n_ranks;
    s.left = s.copies + n_experts;
    for (size_t l = 0; l < (size_t)p->n_layers; l++)
        place_layer(p, p->load + l * n_experts, &s, placement + l * (size_t)p->n_replicas);
    host->free(host->core, s.rank_load);
    host->free(host->core, s.rank_used);
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "plain C");
    return 1;
}

static vw_status open_ref(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config, (void)err;
    *self = (void *)host;
    return VW_OK;
}

static void close_ref(void *self)
{
    (void)self;
}

static const vw_balance_ops ops = {.size = sizeof ops, .place = place};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_BALANCE,
    .ops_major = VW_BALANCE_OPS_MAJOR,
    .ops_minor = VW_BALANCE_OPS_MINOR,
    .name = "ref",
    .summary = "greedy: copy the most loaded expert, place the heaviest on the lightest rank",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_ref,
    .close = close_ref,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(balance, ref)
{
    return &description;
}
