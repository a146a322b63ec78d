/* metrics.h - metrics.jsonl: what happened, a JSON object a line, appended as it happens.
 *
 * A run that goes on from step n first takes back the lines after n, so that the file always tells
 * one story.
 */
#ifndef VW_CORE_METRICS_H
#define VW_CORE_METRICS_H

#include <vishwamai/vishwamai.h>

typedef struct vw_metrics {
    FILE *file; /* NULL: closed */
    char path[4096];
} vw_metrics;

/* Open OUT/metrics.jsonl, keeping the lines of steps up to `step`; negative: none. */
vw_status vw_metrics_open(vw_metrics *metrics, const char *out, int64_t step, vw_error *err);
/* Append a line, and see that it reaches the system. */
vw_status vw_metrics_add(vw_metrics *metrics, const vw_train_event *event, vw_error *err);
void vw_metrics_close(vw_metrics *metrics);

#endif
