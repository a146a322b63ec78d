/* balance.c - `vishwamai balance`: where the experts of a mixture should live. */
#include "balance_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLUGINS = 16 };

typedef struct balance {
    choices c;
    word_list loads;
    int64_t replicas, groups, nodes, devices;
    const char *previous, *plugin, *speeds, *slots, *batch, *svg;
    forecast expects;
    int is_compared;
    opened o;
    balance_input in;
    balance_result results[MAX_PLUGINS];
    int n_results;
} balance;

/* ---- input ----------------------------------------------------------------------------------- */

static vw_status read_input(balance *b, vw_error *err)
{
    vw_balance_problem *p = &b->in.problem;
    vw_status status = balance_read_loads(&b->in, &b->loads, &b->expects, err);
    p->size = sizeof *p;
    p->n_replicas = (int32_t)b->replicas;
    p->n_groups = (int32_t)b->groups;
    p->n_nodes = (int32_t)b->nodes;
    p->n_devices = (int32_t)b->devices;
    if (status == VW_OK && b->slots)
        status = balance_read_slots(&b->in, b->slots, err);
    if (status == VW_OK && b->speeds)
        status = balance_read_speeds(&b->in, b->speeds, err);
    if (p->n_replicas == 0)
        p->n_replicas = p->n_experts;
    if (status == VW_OK)
        status = vw_balance_check(p, err);
    if (status == VW_OK && b->previous)
        status = balance_read_previous(&b->in, b->previous, err);
    if (status == VW_OK && b->batch)
        status = balance_read_batch(&b->in, b->batch, err);
    return status;
}

/* ---- plugins --------------------------------------------------------------------------------- */

typedef struct comparing {
    balance *b;
    vw_status status;
    vw_error *err;
} comparing;

/* One that cannot do it is told of, and does not end the comparison. */
static int compare_one(void *arg, const vw_plugin_entry *e)
{
    comparing *in = arg;
    balance *b = in->b;
    const vw_component *component;
    vw_error said = {VW_OK, ""};
    if (e->hidden_by || b->n_results == MAX_PLUGINS)
        return 0;
    balance_result *r = &b->results[b->n_results++];
    r->plugin = e->name;
    if (!e->plugin || e->score <= 0) {
        snprintf(r->note, sizeof r->note, "%s", e->problem ? e->problem : e->why ? e->why : "");
        return 0;
    }
    in->status = vw_core_plugin(b->o.core, VW_KIND_BALANCE, e->name, &component, in->err);
    if (in->status != VW_OK)
        return 1;
    vw_status status = balance_run(&b->in, component, r, &said);
    r->plugin = component->plugin->name;
    if (status == VW_E_NOMEM) {
        in->status = vw_fail(in->err, status, "%s", said.text);
    } else if (status != VW_OK) {
        snprintf(r->note, sizeof r->note, "%.390s", said.text);
        balance_result_free(r);
    }
    return in->status != VW_OK;
}

static vw_status run_plugins(balance *b, vw_error *err)
{
    const vw_component *component;
    vw_status status = open_core(&b->c, &b->o, err);
    if (status == VW_OK && b->is_compared) {
        comparing in = {b, VW_OK, err};
        status = vw_plugins_visit(VW_KIND_BALANCE, NULL, compare_one, &in, err);
        return status == VW_OK ? in.status : status;
    }
    if (status == VW_OK)
        status = b->plugin
            ? vw_core_plugin(b->o.core, VW_KIND_BALANCE, b->plugin, &component, err)
            : vw_core_component(b->o.core, VW_KIND_BALANCE, NULL, NULL, &component, err);
    if (status == VW_OK) {
        b->n_results = 1;
        status = balance_run(&b->in, component, &b->results[0], err);
    }
    return status;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Means over the layers, the worst one, sums. */
typedef struct summary {
    double before, after, bound, even, dealt, worst_before, worst;
    int64_t moves, doubles;
} summary;

static summary summarise(const balance *b, const balance_result *r)
{
    summary s = {0};
    double n = b->in.problem.n_layers;
    for (int32_t i = 0; i < b->in.problem.n_layers; i++) {
        const balance_layer *l = &r->layers[i];
        s.before += l->before / n;
        s.after += l->after / n;
        s.bound += l->bound / n;
        s.even += l->even / n;
        s.dealt += l->dealt / n;
        s.worst_before = fmax(s.worst_before, l->before);
        s.worst = fmax(s.worst, l->after);
        s.moves += l->moves;
        s.doubles += l->doubles;
    }
    return s;
}

static void print_head(const balance *b, const char *plugin)
{
    const vw_balance_problem *p = &b->in.problem;
    printf("%s%s: %d layer%s of %d experts, %d slots on %d devices in %d node%s%s\n",
           plugin ? "balance/" : "all plugins", plugin ? plugin : "", p->n_layers,
           p->n_layers == 1 ? "" : "s", p->n_experts, p->n_replicas, p->n_devices, p->n_nodes,
           p->n_nodes == 1 ? "" : "s",
           vw_balance_keeps_groups(p) ? ", groups stay on nodes" : "");
    printf("largest load of a device over the mean, before (%s) and after;\n"
           "no placement of this kind is below the bound\n\n",
           p->previous ? "the previous placement" : "experts by number");
}

static void print_table(const balance *b, const balance_result *r)
{
    summary s = summarise(b, r);
    print_head(b, r->plugin);
    printf("%5s %9s %9s %9s %7s %7s %8s%s\n", "layer", "before", "after", "bound", "moves", "copies",
           "doubles", b->in.batch ? r->quota ? "  batch even     split" : "  batch even" : "");
    for (int32_t i = 0; i < b->in.problem.n_layers; i++) {
        const balance_layer *l = &r->layers[i];
        printf("%5d %9.4f %9.4f %9.4f %7lld %7d %8d", i, l->before, l->after, l->bound,
               (long long)l->moves, l->most_copies, l->doubles);
        if (b->in.batch)
            printf("  %10.4f", l->even);
        if (r->quota)
            printf(" %9.4f", l->dealt);
        putchar('\n');
    }
    printf("%5s %9.4f %9.4f %9.4f %7lld %7s %8lld", "mean", s.before, s.after, s.bound,
           (long long)s.moves, "", (long long)s.doubles);
    if (b->in.batch)
        printf("  %10.4f", s.even);
    if (r->quota)
        printf(" %9.4f", s.dealt);
    printf("\n%5s %9.4f %9.4f\n\nplaced in %.2f ms; moves and doubles are sums\n", "worst",
           s.worst_before, s.worst, r->seconds * 1e3);
}

static void print_comparison(const balance *b)
{
    int has_head = 0;
    print_head(b, NULL);
    printf("%-12s %9s %9s %9s %8s %8s %9s %9s%s\n", "plugin", "mean", "worst", "bound", "moves",
           "doubles", "ms", "cpu ms", b->in.batch ? "  batch even     split" : "");
    for (int i = 0; i < b->n_results; i++) {
        const balance_result *r = &b->results[i];
        if (!r->layers) {
            printf("%-12s left out: %s\n", r->plugin, r->note);
            continue;
        }
        summary s = summarise(b, r);
        if (!has_head++)
            printf("%-12s %9.4f %9.4f\n", "(before)", s.before, s.worst_before);
        printf("%-12s %9.4f %9.4f %9.4f %8lld %8lld %9.3f %9.3f", r->plugin, s.after, s.worst,
               s.bound, (long long)s.moves, (long long)s.doubles, r->seconds * 1e3,
               r->cpu_seconds * 1e3);
        if (b->in.batch)
            printf("  %10.4f", s.even);
        if (r->quota)
            printf(" %9.4f", s.dealt);
        putchar('\n');
    }
}

static vw_status print_answer(balance *b, vw_error *err)
{
    vw_json_writer w = {0};
    vw_status status = VW_OK;
    if (!b->c.is_json) {
        if (b->is_compared)
            print_comparison(b);
        else
            print_table(b, &b->results[0]);
        return VW_OK;
    }
    vw_json_begin_object(&w, NULL);
    if (!b->is_compared) {
        status = balance_add_layers(&w, &b->in, &b->results[0], err);
    } else {
        vw_json_begin_array(&w, "plugins");
        for (int i = 0; i < b->n_results && status == VW_OK; i++) {
            const balance_result *r = &b->results[i];
            vw_json_begin_object(&w, NULL);
            vw_json_add_string(&w, "plugin", r->plugin);
            if (r->layers) {
                vw_json_add_double(&w, "seconds", r->seconds);
                vw_json_add_double(&w, "cpu_seconds", r->cpu_seconds);
                status = balance_add_layers(&w, &b->in, r, err);
            } else {
                vw_json_add_string(&w, "left_out", r->note);
            }
            vw_json_end_object(&w);
        }
        vw_json_end_array(&w);
    }
    vw_json_end_object(&w);
    if (status == VW_OK)
        return print_json(&w, err);
    vw_json_writer_free(&w);
    return status;
}

static vw_status work(balance *b, vw_error *err)
{
    vw_status status = read_input(b, err);
    if (status == VW_OK)
        status = run_plugins(b, err);
    if (status == VW_OK && b->svg)
        status = balance_draw(&b->in, &b->results[0], b->svg, err);
    return status == VW_OK ? print_answer(b, err) : status;
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static int check_words(const balance *b, int *status)
{
    if (b->loads.n == 0)
        *status = wrong_use(&command_balance, "--loads FILE is needed");
    else if (b->devices == 0 && !b->slots && !b->speeds)
        *status = wrong_use(&command_balance, "--devices P is needed");
    else if (b->is_compared && (b->svg || b->plugin))
        *status = wrong_use(&command_balance, "--compare takes all plugins: leave --%s out",
                            b->svg ? "svg" : "plugin");
    else
        return 1;
    return 0;
}

static int balance_main(int argc, char **argv)
{
    balance b = {.groups = 1, .nodes = 1, .expects = {0.5, 0}};
    int status;
    vw_error err = {VW_OK, ""};
    const opt sizes[] = {
        {0, "loads", OPT_LIST, &b.loads, "FILE",
         "CSV: a row a layer, a column an expert; repeatable, the oldest step first", NULL, 0, 0},
        {0, "replicas", OPT_INT, &b.replicas, "R", "copies of experts in all (default: one each)",
         NULL, 1, INT32_MAX},
        {0, "groups", OPT_INT, &b.groups, "G", "groups of experts (default 1)", NULL, 1, INT32_MAX},
        {0, "nodes", OPT_INT, &b.nodes, "N", "nodes (default 1)", NULL, 1, INT32_MAX},
        {0, "devices", OPT_INT, &b.devices, "P", "devices in all", NULL, 1, INT32_MAX},
        {0, "slots", OPT_TEXT, &b.slots, "LIST", "experts that each device has memory for: 5,5,4,6",
         NULL, 0, 0},
        {0, "speeds", OPT_TEXT, &b.speeds, "LIST", "speed of each device, relative: 1,1,0.5,1",
         NULL, 0, 0},
        END_OPTIONS};
    const opt task[] = {
        {0, "previous", OPT_TEXT, &b.previous, "FILE",
         "placement from before: CSV, a row of slots a layer, or what --json printed", NULL, 0, 0},
        {0, "plugin", OPT_TEXT, &b.plugin, "NAME", "balance/NAME (default: as the settings say)",
         NULL, 0, 0},
        {0, "compare", OPT_FLAG, &b.is_compared, NULL, "every installed plugin side by side", NULL,
         0, 0},
        {0, "average", OPT_REAL, &b.expects.average, "X",
         "of several --loads: weight of the newest (default 0.5; 1: only the newest)", NULL, 1e-6,
         1},
        {0, "trend", OPT_REAL, &b.expects.trend, "X",
         "of several --loads: weight of the newest change (default 0: no trend)", NULL, 0, 1},
        {0, "batch", OPT_TEXT, &b.batch, "FILE",
         "CSV of tokens: split them over the copies as well as the plugin can", NULL, 0, 0},
        {0, "svg", OPT_TEXT, &b.svg, "FILE", "draw the load of each device, before and after; -: "
         "standard output", NULL, 0, 0},
        {'t', "threads", OPT_SETTING, &b.c.set, "N", "threads (default: one per core)",
         "vishwamai.threads", 0, 0},
        END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&b.c), VERBOSE_OPTION(&b.c), END_OPTIONS};
    const opt_group groups[] = {{"experts and devices", sizes}, {"what to do", task},
                                {"general", general}, {NULL, NULL}};
    if (options_parse(&command_balance, groups, argc, argv, NULL, &status) &&
        check_words(&b, &status) && work(&b, &err) != VW_OK)
        status = report(&err);
    for (int i = 0; i < b.n_results; i++)
        balance_result_free(&b.results[i]);
    balance_input_free(&b.in);
    close_opened(&b.o);
    word_list_free(&b.loads);
    assignments_free(&b.c.set);
    return status;
}

const command command_balance = {
    "balance", "--loads FILE --devices P [options]",
    "place the experts of a mixture on devices",
    "Copies go to hot experts, and every copy gets a slot, so that the most loaded device is as\n"
    "close to the mean as can be.  Where the groups divide among the nodes, experts of a group\n"
    "stay on one node.  With --previous, experts stay where they are as far as that is no loss;\n"
    "'moves' counts the copies that a device has to fetch.  --json prints, for each layer, phy2log\n"
    "(the expert in each slot), log2phy (the slots of each expert, padded with -1), logcnt (copies),\n"
    "max_over_mean, lower_bound and moves.\n",
    "  vishwamai balance --loads loads.csv --replicas 320 --groups 8 --nodes 8 --devices 64\n"
    "  vishwamai balance --loads new.csv --replicas 320 --devices 64 --previous old.json --json\n",
    balance_main};
