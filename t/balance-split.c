/* balance-split.c - dealing a batch to the copies: exact against all ways to deal it, and against the
 * published gain on noisy batches.
 */
#include "t/balance-case.h"

#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static balancer ours;

/* The largest time of a device under quotas. */
static double most_of(const vw_balance_problem *p, const int64_t *quota)
{
    double most = 0;

    for (int d = 0, slot = 0; d < p->n_devices; d++) {
        double sum = 0;
        for (int k = vw_balance_slots(p, d); k > 0; k--)
            sum += (double)quota[slot++];
        most = fmax(most, sum / (p->speed ? p->speed[d] : 1));
    }
    return most;
}

/* All ways to deal token after token of expert e and those behind it; the least largest time. */
static double try_all(const vw_balance_problem *p, const int32_t *expert, const int64_t *tokens,
                      int64_t *quota, int slot, int64_t left, int e)
{
    double best = INFINITY;
    int next = slot;

    if (e == p->n_experts)
        return most_of(p, quota);
    while (next < p->n_replicas && expert[next] != e)
        next++;
    if (next == p->n_replicas)
        return left > 0 ? INFINITY
                        : try_all(p, expert, tokens, quota, 0,
                                  e + 1 < p->n_experts ? tokens[e + 1] : 0, e + 1);
    for (int64_t n = 0; n <= left; n++) {
        quota[next] = n;
        best = fmin(best, try_all(p, expert, tokens, quota, next + 1, left - n, e));
    }
    quota[next] = 0;
    return best;
}

static void test_exact(void)
{
    static const double speed[3] = {1, 2, 1.5};
    static const double load[4] = {1, 1, 1, 1};
    case_random r = {5};
    int n_wrong = 0, n = 0;

    for (int i = 0; i < 200; i++) {
        int32_t expert[6] = {0, 1, 2, 3, case_below(&r, 4), case_below(&r, 4)};
        int64_t tokens[4], quota[6], trial[6] = {0};
        vw_balance_problem p = {.size = sizeof p, .n_layers = 1, .n_experts = 4, .n_replicas = 6,
                                .n_groups = 1, .n_nodes = 1, .n_devices = 3, .load = load};
        vw_error err = {VW_OK, ""};
        p.speed = i % 2 ? speed : NULL;
        for (int s = 5; s > 0; s--) {
            int k = case_below(&r, s + 1);
            int32_t swap = expert[s];
            expert[s] = expert[k];
            expert[k] = swap;
        }
        for (int e = 0; e < 4; e++)
            tokens[e] = case_below(&r, 9);
        if (ours.ops->split(ours.self, &p, expert, tokens, quota, &err) != VW_OK)
            n_wrong++;
        else
            n_wrong += fabs(most_of(&p, quota) -
                            try_all(&p, expert, tokens, trial, 0, tokens[0], 0)) > 1e-9;
        n++;
    }
    is_int(n_wrong, 0, "%d small batches: as good as the best of all ways to deal them", n);
}

/* Placed by the mean load (lognormal, sigma 0.5), batches with noise: the split against even shares
 * and against published figures for an even placement and a linear programme. */
static void test_noise(double noise, int slots, int devices, double at_most)
{
    static double load[256];
    static int32_t expert[384];
    case_random r = {11};
    double even = 0, dealt = 0;
    int n_lost = 0;
    enum { N = 10 };

    for (int i = 0; i < N; i++) {
        vw_balance_problem p = {.size = sizeof p, .n_layers = 1, .n_experts = 256,
                                .n_replicas = slots, .n_groups = 1, .n_nodes = 1,
                                .n_devices = devices, .load = load};
        int64_t tokens[256], quota[384], total = 0, sum = 0;
        vw_error err = {VW_OK, ""};
        for (int e = 0; e < 256; e++)
            load[e] = 1000 * exp(0.5 * case_normal(&r));
        balancer_place(&ours, &p, expert, NULL);
        for (int e = 0; e < 256; e++) {
            tokens[e] = (int64_t)(load[e] * exp(noise * case_normal(&r)));
            load[e] = (double)tokens[e];
            total += tokens[e];
        }
        is_int(ours.ops->split(ours.self, &p, expert, tokens, quota, &err), VW_OK, "a batch");
        for (int s = 0; s < slots; s++)
            sum += quota[s];
        n_lost += sum != total;
        even += case_max_over_mean(&p, expert) / N;
        dealt += most_of(&p, quota) * devices / (double)total / N;
    }
    is_int(n_lost, 0, "no token is lost or made");
    ok(dealt <= at_most && dealt < even, "noise %g, %d slots on %d devices: %.4f, evenly %.4f",
       noise, slots, devices, dealt, even);
}

static void test_errors(void)
{
    static const double load[2] = {1, 1};
    static const int64_t tokens[2] = {5, -1}, many[2] = {(int64_t)1 << 52, 1}, good[2] = {1, 1};
    static const int32_t expert[4] = {0, 1, 0, 1}, lone[4] = {0, 0, 0, 0}, high[4] = {0, 1, 2, 0};
    vw_balance_problem p = {.size = sizeof p, .n_layers = 1, .n_experts = 2, .n_replicas = 4,
                            .n_groups = 1, .n_nodes = 1, .n_devices = 2, .load = load};
    int64_t quota[4];
    vw_error err = {VW_OK, ""};

    ours.ops->split(ours.self, &p, expert, tokens, quota, &err);
    is_str(err.text,
           "layer 0: expert 1: -1 tokens; they must be 0 or more, and fewer than 2^52 in a layer",
           "a negative number of tokens");
    is_int(ours.ops->split(ours.self, &p, expert, many, quota, &err), VW_E_INVALID, "too many");
    ours.ops->split(ours.self, &p, lone, good, quota, &err);
    is_str(err.text, "layer 0: expert 1 has no slot in the placement", "an expert without a slot");
    ours.ops->split(ours.self, &p, high, good, quota, &err);
    is_str(err.text, "layer 0: slot 2 holds expert 2; experts are 0 to 1", "no such expert");
}

int main(void)
{
    balancer_open(&ours, "vishwamai", NULL);
    test_exact();
    test_noise(0.1, 320, 64, 1.06);
    test_noise(0.1, 288, 32, 1.0499);
    test_noise(0.3, 320, 64, 1.2651);
    test_noise(0.3, 288, 32, 1.1853);
    test_errors();
    balancer_close(&ours);
    return done_testing();
}
