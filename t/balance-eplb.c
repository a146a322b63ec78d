/* balance-eplb.c - balance/eplb against the published algorithm: vectors, counts, hashes.
 *
 * The expected values are those of two independent programs; phy2log of the first two vectors is
 * printed in the README of EPLB.  Vectors C, D, E and O depend on how ties are broken, which is by
 * stable index order here.
 */
#include "t/balance-case.h"

#include "t/tap/tap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const double L0[] = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
static const double L1[] = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};
static const double A[] = {50, 3, 17, 90, 41, 8, 77, 12, 66, 29, 5, 31, 9, 58, 23, 14};
static const double sevens[] = {7, 7, 7, 7, 7, 7, 7, 7};
static const double zeros[] = {0, 0, 0, 0, 0, 0, 0, 0};
static const double one_hot[] = {0, 0, 0, 1000, 0, 0, 0, 0};
static const double F[] = {600, 560, 120, 120, 20, 10, 10, 10};

static const struct {
    const char *name;
    const double *load;
    int experts, replicas, groups, nodes, devices;
    const char *phy2log, *logcnt, *log2phy, *loads;
    double max_over_mean; /* to four places */
} vectors[] = {
    {"README, layer 0", L0, 12, 16, 4, 2, 8, "5 6 5 7 8 4 3 4 10 9 10 2 0 1 11 1",
     "1 2 1 1 2 2 1 1 1 1 2 1", "(12)(15 13)(11)(6)(7 5)(0 2)(1)(3)(4)(9)(8 10)(14)",
     "121.5 86.5 125 113 147.5 131.5 156 152", 1.2081},
    {"README, layer 1", L1, 12, 16, 4, 2, 8, "7 10 6 8 6 11 8 9 2 4 5 1 5 0 3 1",
     "1 2 1 1 1 2 2 1 2 1 1 1", "(13)(15 11)(8)(14)(9)(10 12)(2 4)(0)(6 3)(7)(1)(5)",
     "173 179.5 120.5 172 123 152 118.5 117.5", 1.2422},
    {"A", A, 16, 16, 4, 2, 4, "3 14 15 1 13 0 2 12 6 11 7 5 8 4 9 10",
     "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
     "(5)(3)(6)(0)(13)(11)(8)(10)(12)(14)(15)(9)(7)(4)(1)(2)", "130 134 128 141", 1.0582},
    {"B", L0, 12, 16, 3, 2, 4, "10 8 3 7 10 1 1 4 0 5 4 2 11 5 9 6", "1 2 1 1 2 2 1 1 1 1 2 1",
     "(8)(5 6)(11)(2)(10 7)(13 9)(15)(3)(1)(14)(0 4)(12)", "229.5 275.5 264.5 263.5", 1.0668},
    {"B'", L0, 12, 16, 4, 2, 4, "5 8 4 7 5 3 4 6 10 0 1 2 10 11 1 9", "1 2 1 1 2 2 1 1 1 1 2 1",
     "(9)(14 10)(11)(5)(6 2)(0 4)(7)(3)(1)(15)(8 12)(13)", "211.5 234.5 287.5 299.5", 1.1597},
    {"C", sevens, 8, 12, 1, 1, 4, "4 0 0 5 1 1 6 2 2 7 3 3", "2 2 2 2 1 1 1 1",
     "(1 2)(4 5)(7 8)(10 11)(0)(3)(6)(9)", "14 14 14 14", 1.0},
    {"D", zeros, 8, 12, 2, 2, 4, "0 1 2 3 0 0 4 5 6 7 4 4", "3 1 1 1 3 1 1 1",
     "(0 4 5)(1)(2)(3)(6 10 11)(7)(8)(9)", "0 0 0 0", 1.0},
    {"E", one_hot, 8, 12, 1, 1, 4, "3 3 7 3 0 1 3 2 4 3 5 6", "1 1 1 5 1 1 1 1",
     "(4)(5)(7)(0 3 6 9 1)(8)(10)(11)(2)", "400 200 200 200", 1.6},
    {"F", F, 8, 16, 1, 1, 8, "0 1 2 1 3 1 0 4 0 5 0 6 0 7 1 1", "5 5 1 1 1 1 1 1",
     "(0 6 8 10 12)(14 15 1 3 5)(2)(4)(7)(9)(11)(13)", "232 232 232 140 130 130 130 224", 1.28},
    {"O", one_hot, 8, 16, 1, 1, 8, "3 3 3 0 3 1 3 2 3 4 3 5 3 6 3 7", "1 1 1 9 1 1 1 1",
     "(3)(5)(7)(0 2 4 6 8 10 12 14 1)(9)(11)(13)(15)",
     "222.222 111.111 111.111 111.111 111.111 111.111 111.111 111.111", 1.7778},
};

static vw_balance_problem problem(const double *load, int experts, int replicas, int groups,
                                  int nodes, int devices)
{
    return (vw_balance_problem){.size = sizeof(vw_balance_problem),
                                .n_layers = 1,
                                .n_experts = experts,
                                .n_replicas = replicas,
                                .n_groups = groups,
                                .n_nodes = nodes,
                                .n_devices = devices,
                                .load = load};
}

typedef struct text {
    char words[4096];
    size_t n;
} text;

TAP_PRINTF(2, 3) static void add(text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    t->n += (size_t)vsnprintf(t->words + t->n, sizeof t->words - t->n, format, args);
    va_end(args);
}

/* "(12)(15 13)...": the slots of each expert by the number of the copy. */
static text slots_of_experts(const vw_balance_problem *p, const int32_t *expert,
                             const int32_t *copy)
{
    text t = {"", 0};

    for (int e = 0; e < p->n_experts; e++) {
        int n = 0;
        for (int k = 0; k < p->n_replicas; k++)
            for (int s = 0; s < p->n_replicas; s++)
                if (expert[s] == e && copy[s] == k)
                    add(&t, "%s%d", n++ ? " " : "(", s);
        add(&t, ")");
    }
    return t;
}

static text numbers(const int32_t *values, int n, const char *between)
{
    text t = {"", 0};

    for (int i = 0; i < n; i++)
        add(&t, "%s%d", i ? between : "", values[i]);
    return t;
}

static text loads_of_devices(const vw_balance_problem *p, const int32_t *expert,
                             const int32_t *count)
{
    int of_device = p->n_replicas / p->n_devices;
    text t = {"", 0};

    for (int d = 0; d < p->n_devices; d++) {
        double sum = 0;
        for (int s = d * of_device; s < (d + 1) * of_device; s++)
            sum += p->load[expert[s]] / count[expert[s]];
        add(&t, "%s%.6g", d ? " " : "", sum);
    }
    return t;
}

static void test_vectors(balancer *b)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        vw_balance_problem p = problem(vectors[i].load, vectors[i].experts, vectors[i].replicas,
                                       vectors[i].groups, vectors[i].nodes, vectors[i].devices);
        const char *name = vectors[i].name;
        int32_t expert[16], copy[16], count[16] = {0};
        vw_balance_placement out = {sizeof out, expert, copy, NULL};
        vw_error err = {VW_OK, ""};

        is_int(b->ops->place(b->self, &p, &out, &err), VW_OK, "%s%s", name, err.text);
        for (int s = 0; s < p.n_replicas; s++)
            count[expert[s]]++;
        is_str(numbers(expert, p.n_replicas, " ").words, vectors[i].phy2log, "%s: phy2log", name);
        is_str(numbers(count, p.n_experts, " ").words, vectors[i].logcnt, "%s: logcnt", name);
        is_str(slots_of_experts(&p, expert, copy).words, vectors[i].log2phy, "%s: log2phy", name);
        is_str(loads_of_devices(&p, expert, count).words, vectors[i].loads, "%s: loads", name);
        near(case_max_over_mean(&p, expert), vectors[i].max_over_mean, 5e-5, "%s: max/mean", name);
    }
}

/* ---- 256 experts ----------------------------------------------------------------------------- */

static uint64_t fnv(const char *words)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *words; words++)
        hash = (hash ^ (unsigned char)*words) * 0x100000001b3u;
    return hash;
}

static const struct {
    int replicas, groups, nodes, devices;
    uint64_t hash;
    int64_t weighted;
    double max_over_mean;
    int most_copies, doubles;
} large[] = {
    {288, 8, 8, 32, 0x0f681eed6c5e89d4, 7068172, 2.2545, 5, 6},
    {320, 8, 8, 64, 0x5595aa53fe9fb2f6, 8740699, 2.4615, 9, 3},
    {320, 1, 8, 64, 0xb7f4c61464f1494a, 6565193, 1.0239, 20, 0},
    {288, 1, 8, 32, 0xb6cb76bd478fcea7, 5250605, 1.0034, 13, 1},
    {288, 8, 4, 32, 0x8338e8188f593156, 5233658, 1.3445, 9, 6},
    {256, 8, 8, 64, 0x4965c73f8c2bac0f, 5571742, 10.581, 1, 0},
    {384, 1, 1, 64, 0x413966517ebb0549, 9542701, 1.0030, 35, 3},
    {384, 8, 8, 64, 0x3a944c3a74c95a80, 12601850, 2.0288, 16, 29},
};

static void test_large(balancer *b)
{
    double load[256];

    for (int i = 0; i < 256; i++)
        load[i] = (double)(1000000 / (1 + (97 * i + 13) % 256));
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        vw_balance_problem p = problem(load, 256, large[i].replicas, large[i].groups,
                                       large[i].nodes, large[i].devices);
        int32_t expert[384];
        int64_t weighted = 0;
        int count[256] = {0}, most = 0;

        balancer_place(b, &p, expert, NULL);
        for (int s = 0; s < p.n_replicas; s++) {
            weighted += (int64_t)(s + 1) * expert[s];
            count[expert[s]]++;
            most = count[expert[s]] > most ? count[expert[s]] : most;
        }
        ok(fnv(numbers(expert, p.n_replicas, ",").words) == large[i].hash,
           "%d slots, %d groups, %d nodes, %d devices: the hash %016" PRIx64, p.n_replicas,
           p.n_groups, p.n_nodes, p.n_devices, large[i].hash);
        is_int(weighted, large[i].weighted, "the weighted sum");
        near(case_max_over_mean(&p, expert), large[i].max_over_mean, 5e-5 * large[i].max_over_mean,
             "max/mean");
        is_int(most, large[i].most_copies, "most copies");
        is_int(case_doubles(&p, expert), large[i].doubles, "devices with a double");
    }
}

/* ---- what it refuses ------------------------------------------------------------------------- */

static void test_refusals(balancer *b)
{
    static const int32_t slots[4] = {4, 4, 5, 3};
    static const double huge[8] = {1e308, 1, 1, 1, 1, 1, 1, 1};
    int32_t expert[320];
    vw_balance_placement out = {sizeof out, expert, NULL, NULL};
    vw_balance_problem p = problem(A, 16, 16, 1, 1, 4);
    vw_error err = {VW_OK, ""};

    p.slots = slots;
    is_int(b->ops->place(b->self, &p, &out, &err), VW_E_UNSUPPORTED, "slots that differ");
    is_str(err.text,
           "balance/eplb gives every device the same number of slots, and device 2 has 5 where "
           "device 0 has 4; balance/vishwamai takes any",
           "and the sentence");
    p = problem(huge, 8, 8, 1, 1, 4);
    is_int(b->ops->place(b->self, &p, &out, &err), VW_E_INVALID, "more than float32 holds");
    like(err.text, "layer 0: balance/eplb adds in float32, and the sum of its loads must be below",
         "and the sentence");
    p = problem(A, 16, 288, 8, 8, 64);
    is_int(b->ops->place(b->self, &p, &out, &err), VW_E_INVALID, "288 replicas on 64 devices");
    is_str(err.text, "288 replicas do not divide among 64 devices; the next number that does is 320",
           "and the sentence");
}

int main(void)
{
    balancer b;

    balancer_open(&b, "eplb", NULL);
    test_vectors(&b);
    test_large(&b);
    test_refusals(&b);
    balancer_close(&b);
    return done_testing();
}
