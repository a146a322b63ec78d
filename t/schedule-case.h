/* schedule-case.h - what the tests of bundled schedules share: opening one by its name, and the forms in
 * which schedules were published.
 */
#ifndef T_SCHEDULE_CASE_H
#define T_SCHEDULE_CASE_H

#include "t/mock_host.h"

#include <vishwamai/schedule.h>

#include <stdio.h>

enum { MAX_TEXT = 1 << 16 };

/* The pipeline plugin that is open; open_schedule() ends the test when there is none of that name, and
 * mock_close(&mock, &opened) closes it. */
extern mock_host mock;
extern mock_instance opened;
void open_schedule(const char *name, const char *const *settings);

/* A schedule of the open plugin; the second form ends the test when there is none. */
vw_status get_schedule(int32_t n_ranks, int32_t n_micro, const vw_pipeline_costs *costs,
                       int32_t max_activations, vw_schedule *s, vw_error *err);
vw_schedule schedule_of(int32_t n_ranks, int32_t n_micro);

/* Its simulation with these durations and free messages. */
vw_simulation times_of(const vw_schedule *s, double f, double b, double w, double fb);
double makespan_of(const vw_schedule *s, double f, double b, double w, double fb);

/* The canonical text of a rank: compute steps, one blank between them. */
void rank_text(const vw_schedule *s, int32_t r, char *text);

/* FNV-1a, and that of all ranks' texts with a newline between them. */
#define FNV_START 0xcbf29ce484222325u
uint64_t fnv(const char *text, uint64_t hash);
uint64_t hash_of(const vw_schedule *s, size_t *n_ops);

/* A file of t/data, and its next line without its newline, comments and blank lines left out. */
FILE *data_file(const char *name);
bool next_line(FILE *file, char *line);

#endif
