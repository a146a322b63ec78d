/* balance-refusals.c - see balance-refusals.h. */
#include "t/balance-refusals.h"

#include "t/tap/tap.h"

#include <math.h>
#include <string.h>

enum { GUARD = -77 };

static const double slow[4] = {1, 1, 0, 1};
static const int32_t none[4] = {3, 0, 6, 3}, many[4] = {3, 3, 3, 4}, few[4] = {1, 2, 4, 5};
static const int32_t strange[12] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 8, 2};

/* Eight experts in twelve slots of four devices, with one thing wrong, and what is to be said. */
static const struct {
    int32_t replicas, nodes, groups, experts, devices, layers; /* 0: as it should be, -1: 0 */
    int at; /* this load ... */
    double load;
    const double *speed;
    const int32_t *slots, *previous;
    const char *sentence;
} refusals[] = {
    {13, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL,
     "13 replicas do not divide among 4 devices; the next number that does is 16"},
    {0, 3, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL,
     "4 devices do not divide among 3 nodes; the next number that does is 6"},
    {0, 0, 3, 0, 0, 0, 0, 0, NULL, NULL, NULL,
     "8 experts do not divide into 3 groups; the number of groups must be a divisor of the experts"},
    {4, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL,
     "4 replicas cannot hold 8 experts; at least 8 replicas are needed"},
    {0, 0, 0, -1, 0, 0, 0, 0, NULL, NULL, NULL, "0 experts, 1 groups, 1 nodes, 4 devices: each must"},
    {0, 0, 0, 0, -1, 0, 0, 0, NULL, NULL, NULL, "0 devices: each must be at least 1"},
    {0, 0, 0, 0, 0, -1, 0, 0, NULL, NULL, NULL, "0 layers, 8 experts"},
    {0, -1, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, "0 nodes"},
    {0, 0, -1, 0, 0, 0, 0, 0, NULL, NULL, NULL, "0 groups"},
    {0, 0, 0, 0, 0, 0, 3, -1, NULL, NULL, NULL,
     "layer 0, expert 3: a load of -1; loads must be finite, also in sum, and not negative"},
    {0, 0, 0, 0, 0, 0, 7, NAN, NULL, NULL, NULL, "expert 7: a load of"},
    {0, 0, 0, 0, 0, 0, 1, INFINITY, NULL, NULL, NULL, "expert 1: a load of inf"},
    {0, 0, 0, 0, 0, 0, 1, 1.7e308, NULL, NULL, NULL, "1.7e+308"},
    {0, 0, 0, 0, 0, 0, 0, 0, slow, NULL, NULL,
     "device 2: a speed of 0; speeds must be finite and above 0"},
    {0, 0, 0, 0, 0, 0, 0, 0, NULL, none, NULL, "device 1: 0 slots; a device has at least 1"},
    {0, 0, 0, 0, 0, 0, 0, 0, NULL, many, NULL,
     "the devices have 13 slots together; with these slots the replicas must be 13, not 12"},
    {0, 2, 2, 0, 0, 0, 0, 0, NULL, few, NULL,
     "node 0: 3 slots cannot hold the 4 experts of its groups; at least 4 are needed"},
    {0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, strange,
     "layer 0, slot 10: the previous placement names expert 8; experts are 0 to 7"},
};
enum { N_REFUSALS = sizeof refusals / sizeof *refusals };

static int32_t given(int32_t value, int32_t usual)
{
    return value < 0 ? 0 : value > 0 ? value : usual;
}

/* The problem with the thing that is wrong; the load of 1.7e308 is twice there. */
static vw_balance_problem wrong_problem(int how, double *load)
{
    for (int i = 0; i < 8; i++)
        load[i] = 1 + i;
    if (refusals[how].load != 0)
        load[refusals[how].at] = refusals[how].load;
    if (refusals[how].load == 1.7e308)
        load[0] = refusals[how].load;
    return (vw_balance_problem){.size = sizeof(vw_balance_problem),
                                .n_layers = given(refusals[how].layers, 1),
                                .n_experts = given(refusals[how].experts, 8),
                                .n_replicas = given(refusals[how].replicas, 12),
                                .n_groups = given(refusals[how].groups, 1),
                                .n_nodes = given(refusals[how].nodes, 1),
                                .n_devices = given(refusals[how].devices, 4),
                                .load = load,
                                .previous = refusals[how].previous,
                                .speed = refusals[how].speed,
                                .slots = refusals[how].slots};
}

vw_status balance_refusals(const vw_balance_ops *ops, void *self, vw_error *err)
{
    for (int how = 0; how < N_REFUSALS; how++) {
        double load[8];
        int32_t placement[16];
        vw_balance_problem p = wrong_problem(how, load);
        vw_balance_placement out = {sizeof out, placement, NULL, NULL};
        vw_error said = {VW_OK, ""};

        for (int i = 0; i < 16; i++)
            placement[i] = GUARD;
        if (ops->place(self, &p, &out, &said) == VW_OK || !strstr(said.text, refusals[how].sentence))
            return vw_fail(err, VW_E_INVALID, "wrong input %d is taken, or refused with '%s'", how,
                           said.text);
        for (int i = 0; i < 16; i++)
            if (placement[i] != GUARD)
                return vw_fail(err, VW_E_INVALID, "wrong input %d: it wrote slot %d", how, i);
    }
    return VW_OK;
}

void balance_check_refusals(void)
{
    for (int how = 0; how < N_REFUSALS; how++) {
        double load[8];
        vw_balance_problem p = wrong_problem(how, load);
        vw_error err = {VW_OK, ""};
        is_int(vw_balance_check(&p, &err), VW_E_INVALID, "vw_balance_check() refuses %d", how);
        like(err.text, refusals[how].sentence, "and says what would be right");
    }
}
