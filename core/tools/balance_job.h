/* balance_job.h - what `vishwamai balance` works on: loads and placements that come from files, and
 * what a plugin made of them.
 */
#ifndef VW_TOOLS_BALANCE_JOB_H
#define VW_TOOLS_BALANCE_JOB_H

#include "answer.h"

#include <vishwamai/balance.h>

/* Arrays that a problem points to; begin with zeros. */
typedef struct balance_input {
    vw_balance_problem problem;
    double *load;      /* [L][E] what is expected */
    int32_t *previous; /* [L][R], or NULL */
    double *speed;     /* [P], or NULL */
    int32_t *slots;    /* [P], or NULL */
    int64_t *batch;    /* [L][E] tokens to split, or NULL */
} balance_input;

/* How the loads of several steps become one: balance_forecast(). */
typedef struct forecast {
    double average; /* weight of the newest step, 1: only that counts */
    double trend;   /* weight of the newest change, 0: there is no trend */
} forecast;

/* Loads from CSV files, the oldest step first: one row a layer, one column an expert, no header.
 * Sets load, n_layers and n_experts. */
vw_status balance_read_loads(balance_input *in, const word_list *files, const forecast *f,
                             vw_error *err);

/* Exponential smoothing with a trend (Holt's): history[n_steps][n] -> expected[n] of the next step,
 * never below 0. */
void balance_forecast(const double *history, size_t n_steps, size_t n, const forecast *f,
                      double *expected);

/* A placement from before: CSV, a row of slots for each layer, or what --json prints.  Needs the
 * sizes of the problem. */
vw_status balance_read_previous(balance_input *in, const char *path, vw_error *err);

/* One batch: CSV of whole numbers, a row a layer. */
vw_status balance_read_batch(balance_input *in, const char *path, vw_error *err);

/* "1,1,2": numbers for devices.  Sets speed, or slots; both give the number of
 * devices where that is 0. */
vw_status balance_read_speeds(balance_input *in, const char *list, vw_error *err);
vw_status balance_read_slots(balance_input *in, const char *list, vw_error *err);

void balance_input_free(balance_input *in);

/* What a plugin made of it; begin with zeros. */
typedef struct balance_layer {
    double before, after, bound; /* max over mean */
    double even, dealt;          /* of the batch: even shares, the plugin's split */
    int64_t moves;               /* copies that a device did not hold; 0 without a previous one */
    int32_t doubles;             /* devices that hold an expert twice */
    int32_t most_copies;
} balance_layer;

typedef struct balance_result {
    const char *plugin;
    int32_t *expert, *copy; /* [L][R] */
    double *bound;          /* [L] */
    int64_t *quota;         /* [L][R], or NULL */
    balance_layer *layers;  /* [L] */
    double seconds;         /* of the placement */
    double cpu_seconds;     /* of it, all threads: what a busy machine does not change */
    char note[400];         /* why it took no part */
} balance_result;

vw_status balance_run(const balance_input *in, const vw_component *component, balance_result *r,
                      vw_error *err);
void balance_result_free(balance_result *r);

/* The placement that a layer is compared with: the previous one, or experts by their numbers. */
void balance_before(const vw_balance_problem *p, size_t layer, int32_t *expert);

/* time[P] of one layer under a placement. */
void balance_times(const vw_balance_problem *p, const double *load, const int32_t *expert,
                   int32_t *count, double *time);

/* "layers": [...] of the answer. */
vw_status balance_add_layers(vw_json_writer *w, const balance_input *in, const balance_result *r,
                             vw_error *err);

/* The load of each device before and after, as a drawing. */
vw_status balance_draw(const balance_input *in, const balance_result *r, const char *path,
                       vw_error *err);

#endif
