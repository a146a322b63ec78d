/* runs.h - what a run's folder says, as `vishwamai runs` lists, compares and draws it. */
#ifndef VW_TOOLS_RUNS_H
#define VW_TOOLS_RUNS_H

#include <vishwamai/status.h>

#include <stddef.h>
#include <stdint.h>

/* A line of metrics.jsonl; what it does not tell is NaN. */
typedef struct run_point {
    double step, tokens, train_loss, val_loss, tokens_per_second, seconds;
} run_point;

typedef struct run_setting {
    char *key, *value; /* "train.batch_size" */
} run_setting;

typedef struct run {
    char *path;
    const char *name; /* the last part of the path */
    run_point *points;
    size_t n_points;
    run_setting *settings;
    size_t n_settings;
    double best_loss, best_step, last_train_loss; /* NaN where there is none */
} run;

/* Read a folder that holds metrics.jsonl; VW_E_NOTFOUND if it does not. */
vw_status run_read(const char *path, run *r, vw_error *err);
void run_free(run *r);

/* The value of a setting, or NULL. */
const char *run_setting_of(const run *r, const char *key);

/* Loss over steps of all runs: validation as lines, training as thin ones. */
vw_status runs_plot(const run *runs, size_t n, const char *path, vw_error *err);

#endif
