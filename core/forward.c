/* forward.c - a forward of inference: measured once, then run.
 */
#include "core/forward.h"

enum { ARENA_SLACK = 256 };

static vw_status run_model(forward *f)
{
    vw_engine *e = f->engine;
    vw_status st = e->mdl->forward(e->model->self, &f->cx, e->param_list, 0, e->info->n_layers);
    return f->status ? f->status : st;
}

static vw_status run_draft(forward *f)
{
    vw_engine *e = f->engine;
    vw_status st = e->mdl->draft(e->model->self, &f->cx, e->param_list);
    return f->status ? f->status : st;
}

static forward new_forward(vw_engine *e, cx_mode mode, const batch *b, vw_error *err)
{
    return (forward){.cx = {&vw_nn_table},
                     .engine = e,
                     .mode = mode,
                     .err = err,
                     .batch = b,
                     .max_tokens = e->batch_tokens,
                     .max_sequences = e->max_sequences,
                     .logit_rows = e->logit_rows,
                     .arena = &e->arena,
                     .hidden_in = e->arena.data,
                     .hidden_out = e->info->n_drafts ? e->hidden.data : e->arena.data};
}

/* Makes all plans and allocates arena and workspace. */
vw_status vw_forward_measure(vw_engine *e, vw_error *err)
{
    /* All rows wanted: the most logits; one fewer: wanted_rows takes its copy besides. */
    batch b = {.n_tokens = e->batch_tokens, .n_wanted = e->batch_tokens, .n_sequences = 1};
    forward f = new_forward(e, CX_MEASURE, &b, err);
    void *dev = e->device->self;
    vw_status st = run_model(&f);
    if (!st && e->info->n_drafts) {
        f.arena_used = 0;
        st = run_draft(&f);
    }
    if (!st && --b.n_wanted > 0) {
        f.arena_used = 0;
        st = run_model(&f);
    }
    if (!st && e->info->n_drafts && b.n_wanted > 0) {
        f.arena_used = 0;
        st = run_draft(&f);
    }
    e->memory.scratch = f.arena_peak + e->workspace_bytes + 2 * ARENA_SLACK;
    e->token_bytes = vw_params_token_bytes(e);
    if (st || e->is_plan)
        return st;
    st = e->dev->alloc(dev, f.arena_peak + ARENA_SLACK, &e->arena, err);
    return st ? st : vw_workspace_open(e, err);
}

vw_status vw_workspace_open(vw_engine *e, vw_error *err)
{
    void *dev = e->device->self;
    if (e->workspace.bytes > e->workspace_bytes)
        return VW_OK;
    e->dev->free(dev, &e->workspace);
    return e->dev->alloc(dev, e->workspace_bytes + ARENA_SLACK, &e->workspace, err);
}

vw_status vw_forward_run(vw_engine *e, const batch *b, logits_fn on_logits, void *arg,
                         vw_error *err)
{
    forward f = new_forward(e, CX_RUN, b, err);
    f.on_logits = on_logits;
    f.arg = arg;
    return run_model(&f);
}

vw_status vw_forward_draft(vw_engine *e, const batch *b, void *hidden, logits_fn on_logits, void *arg,
                           vw_error *err)
{
    forward f = new_forward(e, CX_RUN, b, err);
    f.hidden_in = hidden;
    f.hidden_out = e->draft_hidden.data;
    f.on_logits = on_logits;
    f.arg = arg;
    return run_draft(&f);
}
