/* schedule.c - fetching a schedule from its component, and the names of steps.
 *
 * A component is somebody else's code: sizes are checked before memory is asked for, and a list
 * that would be longer than any right one is refused by its length alone.
 */
#include <vishwamai/schedule.h>

#include <stdlib.h>

/* F, I, W, and four messages: what a chunk can have to do for a micro-batch. */
enum { MAX_STEPS_EACH = 7, MAX_CHUNKS = 1024 };

/* Chunks times micro-batches of all ranks: below it no size overflows. */
static const double MAX_CELLS = 1e12;

/* ---- fetching -------------------------------------------------------------------------------- */

static vw_status no_memory(vw_error *err)
{
    return vw_fail(err, VW_E_NOMEM, "no memory for the schedule");
}

static vw_status fetch_layout(const vw_component *pipeline, const vw_pipeline_problem *problem,
                              vw_schedule *s, vw_error *err)
{
    const vw_pipeline_ops *ops = pipeline->ops;
    vw_pipeline_layout layout = {.size = sizeof layout};
    vw_status status = ops->layout(pipeline->self, problem, &layout, err);

    if (status != VW_OK)
        return status;
    if (layout.n_chunks < 1 || layout.n_chunks > MAX_CHUNKS || layout.n_stages < 1 ||
        layout.n_stages > (int64_t)problem->n_ranks * layout.n_chunks)
        return vw_fail(err, VW_E_INVALID, "%d stages in %d chunks on each of %d ranks make no sense",
                       layout.n_stages, layout.n_chunks, problem->n_ranks);
    if (layout.n_directions < 1 || problem->n_micro % layout.n_directions != 0)
        return vw_fail(err, VW_E_INVALID, "%d micro-batches cannot go in %d directions equally",
                       problem->n_micro, layout.n_directions);
    if ((double)problem->n_ranks * layout.n_chunks * problem->n_micro > MAX_CELLS)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%d micro-batches through %d chunks on each of %d ranks are more than any "
                       "memory holds", problem->n_micro, layout.n_chunks, problem->n_ranks);
    s->n_ranks = problem->n_ranks;
    s->n_micro = problem->n_micro;
    s->n_chunks = layout.n_chunks;
    s->n_stages = layout.n_stages;
    s->n_directions = layout.n_directions;
    return VW_OK;
}

/* Every stage must be held by somebody, and by no rank twice. */
static vw_status check_stages(const vw_schedule *s, int32_t *holder, vw_error *err)
{
    for (int32_t i = 0; i < s->n_stages; i++)
        holder[i] = -1;
    for (int32_t r = 0; r < s->n_ranks; r++)
        for (int32_t c = 0; c < s->n_chunks; c++) {
            int32_t stage = s->stage[(size_t)r * (size_t)s->n_chunks + (size_t)c];
            if (stage < 0 || stage >= s->n_stages)
                return vw_fail(err, VW_E_INVALID, "chunk %d of rank %d is stage %d of %d", c, r,
                               stage, s->n_stages);
            if (holder[stage] == r)
                return vw_fail(err, VW_E_INVALID, "rank %d holds stage %d twice", r, stage);
            holder[stage] = r;
        }
    for (int32_t i = 0; i < s->n_stages; i++)
        if (holder[i] < 0)
            return vw_fail(err, VW_E_INVALID, "no rank holds stage %d of %d", i, s->n_stages);
    return VW_OK;
}

static vw_status fetch_stages(const vw_component *pipeline, const vw_pipeline_problem *problem,
                              vw_schedule *s, vw_error *err)
{
    const vw_pipeline_ops *ops = pipeline->ops;
    size_t n = (size_t)s->n_ranks * (size_t)s->n_chunks, i = 0;
    int32_t *holder = calloc((size_t)s->n_stages, sizeof *holder);
    vw_status status;

    s->stage = calloc(n, sizeof *s->stage);
    s->steps = calloc((size_t)s->n_ranks, sizeof *s->steps);
    s->n_steps = calloc((size_t)s->n_ranks, sizeof *s->n_steps);
    if (!holder || !s->stage || !s->steps || !s->n_steps) {
        status = no_memory(err);
    } else {
        for (int32_t r = 0; r < s->n_ranks; r++)
            for (int32_t c = 0; c < s->n_chunks; c++)
                s->stage[i++] = ops->stage(pipeline->self, problem, r, c);
        status = check_stages(s, holder, err);
    }
    free(holder);
    return status;
}

static vw_status fetch_rank(const vw_component *pipeline, const vw_pipeline_problem *problem,
                            vw_schedule *s, int32_t r, vw_error *err)
{
    const vw_pipeline_ops *ops = pipeline->ops;
    size_t most = (size_t)s->n_micro * (size_t)s->n_chunks * MAX_STEPS_EACH, n = 0, again = 0;
    vw_status status = ops->schedule(pipeline->self, problem, r, NULL, 0, &n, err);

    if (status != VW_OK)
        return status;
    if (n > most)
        return vw_fail(err, VW_E_INVALID,
                       "rank %d has %zu steps; %d micro-batches in %d chunks need %zu at most", r,
                       n, s->n_micro, s->n_chunks, most);
    s->steps[r] = calloc(n + 1, sizeof *s->steps[r]);
    if (!s->steps[r])
        return no_memory(err);
    status = ops->schedule(pipeline->self, problem, r, s->steps[r], n, &again, err);
    if (status == VW_OK && again != n)
        return vw_fail(err, VW_E_INVALID, "rank %d has %zu steps, and %zu when asked again", r, n,
                       again);
    s->n_steps[r] = n;
    return status;
}

vw_status vw_schedule_get(const vw_component *pipeline, const vw_pipeline_problem *problem,
                          vw_schedule *schedule, vw_error *err)
{
    vw_schedule s = {.size = sizeof s};
    vw_status status;

    if (problem->n_ranks < 1 || problem->n_micro < 1)
        return vw_fail(err, VW_E_INVALID,
                       "%d ranks and %d micro-batches: at least one of each is needed",
                       problem->n_ranks, problem->n_micro);
    status = fetch_layout(pipeline, problem, &s, err);
    if (status == VW_OK)
        status = fetch_stages(pipeline, problem, &s, err);
    for (int32_t r = 0; r < problem->n_ranks && status == VW_OK; r++)
        status = fetch_rank(pipeline, problem, &s, r, err);
    if (status != VW_OK) {
        vw_schedule_free(&s);
        return vw_fail_in(err, status, "pipeline/%s", pipeline->plugin->name);
    }
    *schedule = s;
    return VW_OK;
}

void vw_schedule_free(vw_schedule *schedule)
{
    if (!schedule)
        return;
    for (int32_t r = 0; schedule->steps && r < schedule->n_ranks; r++)
        free(schedule->steps[r]);
    free(schedule->steps);
    free(schedule->n_steps);
    free(schedule->stage);
    *schedule = (vw_schedule){.size = sizeof *schedule};
}

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct name {
    char text[32];
} name;

/* F3'': the letter, the number within the direction, a stroke for each chunk but the first.  What
 * is out of range, in a list that is wrong, stays as it is. */
static name name_of(const vw_schedule *s, char letter, int32_t chunk, int32_t micro)
{
    int32_t each = s->n_directions > 0 ? s->n_micro / s->n_directions : 0;
    int32_t number = each > 0 && micro >= 0 && micro < s->n_micro ? micro % each : micro;
    name it;

    if (chunk <= 4)
        snprintf(it.text, sizeof it.text, "%c%d%.*s", letter, number, chunk > 0 ? (int)chunk : 0,
                 "''''");
    else
        snprintf(it.text, sizeof it.text, "%c%d'%d", letter, number, chunk);
    return it;
}

void vw_step_text(const vw_schedule *s, const vw_step *step, char *text, size_t room)
{
    name one;

    switch (step->kind) {
    case VW_STEP_FORWARD:
    case VW_STEP_BACKWARD:
    case VW_STEP_INPUT_GRAD:
    case VW_STEP_WEIGHT_GRAD:
        one = name_of(s, " FBIW"[step->kind], step->chunk, step->micro);
        snprintf(text, room, "%s", one.text);
        return;
    case VW_STEP_OVERLAP:
        one = name_of(s, 'F', step->chunk, step->micro);
        snprintf(text, room, "%s+%s", one.text,
                 name_of(s, 'B', step->other_chunk, step->other_micro).text);
        return;
    case VW_STEP_SEND_FORWARD:
    case VW_STEP_SEND_BACKWARD:
        one = name_of(s, step->kind == VW_STEP_SEND_FORWARD ? 'F' : 'B', step->chunk, step->micro);
        snprintf(text, room, "send %s to %d", one.text, step->peer);
        return;
    case VW_STEP_RECEIVE_FORWARD:
    case VW_STEP_RECEIVE_BACKWARD:
        one = name_of(s, step->kind == VW_STEP_RECEIVE_FORWARD ? 'F' : 'B', step->chunk,
                      step->micro);
        snprintf(text, room, "receive %s from %d", one.text, step->peer);
        return;
    }
    snprintf(text, room, "kind %d", (int)step->kind);
}
