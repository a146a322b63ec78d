/* gpipe.c - pipeline/gpipe: all forwards, then all backwards (Huang et al. 2019).
 *
 * The simplest schedule that is right: rank r computes stage r, and each micro-batch passes down the
 * ranks and its gradient up again.  It keeps all n micro-batches' activations until the backwards,
 * which is why others exist, and idles for (P - 1)(F + B) of its time.
 *
 * Backwards go in ascending order too, though any order is allowed: weight gradients are then added
 * in the order in which one process would add them, and come out with the same bits.
 *
 * Letters: P ranks, n micro-batches.
 */
#include <vishwamai/pipeline.h>

/* The list under construction; what does not fit is counted only. */
typedef struct list {
    vw_step *steps;
    size_t room, n;
} list;

static void add(list *l, vw_step_kind kind, int32_t micro, int32_t peer)
{
    if (l->n < l->room)
        l->steps[l->n] = (vw_step){
            .kind = kind, .micro = micro, .other_chunk = -1, .other_micro = -1, .peer = peer};
    l->n++;
}

static int32_t n_chunks(void *self)
{
    (void)self;
    return 1;
}

static int32_t stage(void *self, int32_t n_ranks, int32_t rank, int32_t chunk)
{
    (void)self, (void)n_ranks, (void)chunk;
    return rank;
}

static vw_status schedule(void *self, int32_t n_ranks, int32_t n_micro, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    list l = {steps, steps ? room : 0, 0};

    (void)self;
    if (n_ranks < 1 || n_micro < 1 || rank < 0 || rank >= n_ranks)
        return vw_fail(err, VW_E_INVALID, "a schedule for rank %d of %d with %d micro-batches",
                       rank, n_ranks, n_micro);
    for (int32_t m = 0; m < n_micro; m++) {
        if (rank > 0)
            add(&l, VW_STEP_RECEIVE_FORWARD, m, rank - 1);
        add(&l, VW_STEP_FORWARD, m, -1);
        if (rank < n_ranks - 1)
            add(&l, VW_STEP_SEND_FORWARD, m, rank + 1);
    }
    for (int32_t m = 0; m < n_micro; m++) {
        if (rank < n_ranks - 1)
            add(&l, VW_STEP_RECEIVE_BACKWARD, m, rank + 1);
        add(&l, VW_STEP_BACKWARD, m, -1);
        if (rank > 0)
            add(&l, VW_STEP_SEND_BACKWARD, m, rank - 1);
    }
    *n = l.n;
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "any number of ranks and micro-batches");
    return 1;
}

static vw_status open_gpipe(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)host, (void)config, (void)err;
    *self = NULL;
    return VW_OK;
}

static void close_gpipe(void *self)
{
    (void)self;
}

static const vw_pipeline_ops ops = {
    .size = sizeof ops,
    .n_chunks = n_chunks,
    .stage = stage,
    .schedule = schedule,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_PIPELINE,
    .ops_major = VW_PIPELINE_OPS_MAJOR,
    .ops_minor = VW_PIPELINE_OPS_MINOR,
    .name = "gpipe",
    .summary = "all forwards, then all backwards: simple, and the most activations kept",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_gpipe,
    .close = close_gpipe,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(pipeline, gpipe)
{
    return &description;
}
