/* bench.h - fair races between components.
 *
 * Contestants do the same work in turn (A B C, then C B A ...), each round long enough to be timed,
 * and the median of the rounds counts, so that a disturbance of the machine meets all alike.  What is
 * claimed are ratios, to a rival or to a ceiling; they are taken round by round, from neighbours in
 * time, with a look at the ceilings between rounds, and told with their spread.
 */
#ifndef VW_TOOLS_BENCH_H
#define VW_TOOLS_BENCH_H

#include "answer.h"
#include "ceiling.h"

#include <vishwamai/device.h>

enum { BENCH_MAX_PLUGINS = 16, BENCH_MAX_ROUNDS = 1000 };

/* One that does the work.  `run` does it once; `i` counts up from call to call, so that it can take
 * other memory each time. */
typedef struct contestant {
    const vw_component *component;
    vw_status (*run)(void *state, int64_t i, vw_error *err);
    vw_status (*wait)(void *state, vw_error *err); /* until all of it is done; NULL: it is */
    void *state;
    int64_t i;
    double read;      /* bytes a second of its own memory; 0: as the race's ceilings say */
    double seconds;   /* median of one run; 0 when it took no part */
    double error;     /* of its result, relative to the largest term; negative: not known */
    char note[200];   /* why it took no part */
} contestant;

typedef struct race {
    contestant entries[BENCH_MAX_PLUGINS];
    int n;
    int subject;      /* the one that KIND/NAME names, or -1 */
    int n_rounds;     /* of the last race */
    double *seconds;  /* [n][n_rounds], of one run */
    ceilings *tops;   /* [n_rounds + 1], where the ceilings were before and after each */
} race;

/* A ratio over the rounds: its quartiles. */
typedef struct spread {
    double low, middle, high;
} spread;

/* What every bench takes. */
typedef struct bench_choices {
    choices c;
    const char *name;    /* of KIND/NAME, NULL: none in particular */
    int64_t repeats;
    double max_seconds;  /* of one run: who needs more takes no part */
    opened o;
    const struct bench_device *elsewhere; /* where it all lies, when that is not the host's memory */
    ceilings top;
    vw_json_writer json;
} bench_choices;

#define BENCH_OPTIONS(b)                                                                       \
    {0, "repeats", OPT_INT, &(b)->repeats, "N", "rounds of each race (default 7)", NULL, 1, \
     BENCH_MAX_ROUNDS}, \
    {0, "max-seconds", OPT_REAL, &(b)->max_seconds, "X",                                       \
     "leave out who needs longer for one run (default 2)", NULL, 0.001, 1e6},                  \
    {'t', "threads", OPT_SETTING, &(b)->c.set, "N", "threads (default: one per core)",         \
     "vishwamai.threads", 0, 0}

/* The device everything lies on, and memory of it that holds what the host has. */
typedef struct bench_device {
    const char *name;
    const vw_device_ops *ops;
    void *self;
    vw_stream *stream;
    int is_elsewhere; /* the host cannot see its memory */
} bench_device;

vw_status bench_device_open(bench_choices *b, bench_device *d, vw_error *err);
void bench_device_close(bench_device *d);
vw_status bench_alloc(const bench_device *d, size_t bytes, const void *from_host, vw_buffer *buffer,
                      vw_error *err);
void bench_free(const bench_device *d, vw_buffer *buffer); /* and zero it */
vw_status bench_download(const bench_device *d, void *to_host, const vw_buffer *from, size_t bytes,
                         vw_error *err);

vw_status bench_wait(const bench_device *d, vw_error *err);
/* Bytes a second, read plus written, of a copy within the device's memory. */
vw_status bench_copy_rate(const bench_device *d, double *rate, vw_error *err);

/* Open the core and enter every plugin of the kind that is usable here. */
vw_status bench_begin(bench_choices *b, vw_kind kind, race *r, vw_error *err);

/* Run the race, after the ceilings where they are not fresh.
 *
 * `work_seconds` is an estimate of one run for entry i, 0 when there is none.  An
 * entry with a note takes no part. */
vw_status race_run(bench_choices *b, race *r, const double *work_seconds, vw_error *err);

/* How many times as fast entry i was as the fastest other entry; zeros when there is none. */
spread race_to_best_rival(const race *r, int i);

/* The work of one run, for its share of what the machine can do: of the nearer ceiling, which is the
 * one that would need longer for it. */
typedef struct race_work {
    double ops, bytes;
    int is_int8;
} race_work;

/* What stands behind a time in every table: the contestant's name, marked when it is the subject,
 * and how it compares.  The JSON twin adds "plugin", "seconds" and the rest, or "left_out". */
void race_print_entry(const race *r, int i, const char *work);
void race_print_share(const race *r, int i, const race_work *work);
void race_print_rest(const race *r, int i);
void race_add_entry(vw_json_writer *w, const race *r, int i);
void race_add_share(vw_json_writer *w, const race *r, int i, const race_work *work);

/* Measure the ceilings once more, print them, and end the JSON document.  Ends what bench_begin()
 * opened, whatever the status; closes nothing of the subcommand's own. */
vw_status bench_end(bench_choices *b, race *r, vw_status status, vw_error *err);

/* A repeatable random stream; values in [-1, 1). */
typedef struct bench_random {
    uint64_t state;
} bench_random;
uint32_t bench_random_bits(bench_random *r);
float bench_random_real(bench_random *r);

int compare_doubles(const void *a, const void *b);
double median_of(double *values, int n); /* sorts them */

/* One file each.  argv[0] is the subject, as "gemm/cpu". */
int bench_gemm_main(int argc, char **argv);
int bench_attention_main(int argc, char **argv);
int bench_device_main(int argc, char **argv);
int bench_model_main(int argc, char **argv);

#endif
