/* lora.c - low-rank adapters beside a model's matrices (Hu et al. 2021, equation 3).
 *
 * y = W x + (alpha / rank) B A dropout(x), W frozen.  A begins normal with deviation 1 / sqrt(inputs)
 * and B zero, so a new adapter changes nothing.  Both are parameters of their own, under the names
 * that PEFT gives them; what they compute is made of the ordinary blocks (nn_product.c).
 */
#include "core/trainee.h"

#include <math.h>
#include <string.h>

bool vw_lora_is_on(const vw_trainee *t)
{
    return t->options.lora.rank > 0;
}

/* ---- which matrices --------------------------------------------------------------------------------- */

static const char weight_suffix[] = ".weight";

/* "model.layers.0.self_attn.q_proj.weight": the last word of the block's name is q_proj. */
void vw_lora_block(const char *name, char *block, size_t room, char *last, size_t last_room)
{
    size_t n = strlen(name), tail = sizeof weight_suffix - 1;
    if (n > tail && strcmp(name + n - tail, weight_suffix) == 0)
        n -= tail;
    snprintf(block, room, "%.*s", (int)n, name);
    const char *dot = strrchr(block, '.');
    snprintf(last, last_room, "%s", dot ? dot + 1 : block);
}

static bool is_of_experts(const vw_model_info *info, size_t param)
{
    for (int32_t l = 0; l < info->n_experts; l++) {
        const vw_experts_spec *s = &info->experts[l];
        if (param >= s->first_param && param < s->first_param + 3 * (size_t)s->n_experts)
            return true;
    }
    return false;
}

/* Embedding and head are looked up and multiplied elsewhere, and experts as a group. */
static bool is_adaptable(const vw_model_info *info, size_t param)
{
    const vw_param_spec *s = &info->params[param];
    return s->rows > 0 && s->split != VW_SPLIT_VOCABULARY && !s->is_exact &&
           !is_of_experts(info, param);
}

static bool is_target(const vw_lora *lora, const char *last)
{
    for (const char *const *target = lora->targets; target && *target; target++)
        if (strcmp(*target, last) == 0)
            return true;
    return !lora->targets;
}

/* A target that no block has is a mistake, not a wish to adapt less. */
static vw_status check_targets(const vw_trainee *t, vw_error *err)
{
    const vw_model_info *info = t->engine->info;
    for (const char *const *target = t->options.lora.targets; target && *target; target++) {
        const vw_lora one = {.targets = (const char *const[]){*target, NULL}};
        char block[192], last[64];
        size_t found = 0;
        for (size_t i = 0; i < info->n_params; i++) {
            vw_lora_block(info->params[i].name, block, sizeof block, last, sizeof last);
            found += is_adaptable(info, i) && is_target(&one, last);
        }
        if (!found)
            return vw_fail(err, VW_E_CONFIG, "an adapter for \"%s\": this model has no block of that "
                           "name that can have one", *target);
    }
    return VW_OK;
}

/* ---- attaching ------------------------------------------------------------------------------------------ */

static void describe(vw_trainee *t, size_t i, vw_param *w)
{
    const vw_lora *lora = &t->options.lora;
    vw_param_spec *down = &t->adapter_specs[2 * i], *up = down + 1;
    char block[160], last[64];
    vw_lora_block(w->spec->name, block, sizeof block, last, sizeof last);
    for (int j = 0; j < 2; j++)
        snprintf(t->adapter_names[2 * i + (size_t)j], sizeof *t->adapter_names,
                 "base_model.model.%s.lora_%c.weight", block, "AB"[j]);
    *down = (vw_param_spec){.name = t->adapter_names[2 * i], .rows = lora->rank,
                            .cols = w->spec->cols, .init = VW_INIT_NORMAL,
                            .init_std = 1 / sqrt((double)w->spec->cols), .decay_group = 1};
    *up = (vw_param_spec){.name = t->adapter_names[2 * i + 1], .rows = w->spec->rows,
                          .cols = lora->rank, .init = VW_INIT_ZEROS, .decay_group = 1};
    t->adapters[2 * i].spec = down;
    t->adapters[2 * i + 1].spec = up;
    t->adapter_of[i] = (vw_adapter){&t->adapters[2 * i], &t->adapters[2 * i + 1],
                                    (float)(lora->alpha / lora->rank), (float)lora->dropout};
    t->adapted[i] = w;
    w->adapter = &t->adapter_of[i];
    for (size_t j = 0; j < 2; j++) {
        t->params[t->n_params++] = &t->adapters[2 * i + j];
        t->parameters += (uint64_t)down[j].rows * (uint64_t)down[j].cols;
    }
}

vw_status vw_lora_attach(vw_trainee *t, vw_error *err)
{
    const vw_model_info *info = t->engine->info;
    size_t most = info->n_params;
    vw_status st;
    if (!vw_lora_is_on(t))
        return VW_OK;
    if ((st = check_targets(t, err)))
        return st;
    t->adapters = vw_core_alloc(t->core, 2 * most * sizeof *t->adapters);
    t->adapter_of = vw_core_alloc(t->core, most * sizeof *t->adapter_of);
    t->adapter_specs = vw_core_alloc(t->core, 2 * most * sizeof *t->adapter_specs);
    t->adapter_names = vw_core_alloc(t->core, 2 * most * sizeof *t->adapter_names);
    t->adapted = vw_core_alloc(t->core, most * sizeof *t->adapted);
    if (!t->adapters || !t->adapter_of || !t->adapter_specs || !t->adapter_names || !t->adapted)
        return vw_fail(err, VW_E_NOMEM, "no memory for adapters");
    memset(t->adapters, 0, 2 * most * sizeof *t->adapters);
    for (size_t i = 0; i < most; i++) {
        char block[192], last[64];
        vw_lora_block(info->params[i].name, block, sizeof block, last, sizeof last);
        if (t->engine->param_list[i] && is_adaptable(info, i) && is_target(&t->options.lora, last))
            describe(t, t->n_adapters++, t->engine->param_list[i]);
    }
    return VW_OK;
}

/* ---- merging -------------------------------------------------------------------------------------------- */

static float *fetch(vw_trainee *t, const vw_param *p, int64_t first, int64_t n, vw_error *err)
{
    vw_engine *e = t->engine;
    size_t bytes = (size_t)n * (size_t)p->spec->cols * sizeof(float);
    float *host = vw_core_alloc(t->core, bytes);
    vw_status st = host ? e->dev->download(e->device->self, e->stream, host,
                                           p->values + first * p->spec->cols, bytes, err)
                        : vw_fail(err, VW_E_NOMEM, "no memory to merge an adapter");
    if (!st)
        st = e->dev->synchronize(e->device->self, e->stream, err);
    if (!st)
        return host;
    vw_core_release(t->core, host);
    return NULL;
}

vw_status vw_lora_merge_rows(vw_trainee *t, const vw_param *w, int64_t first, int64_t n, float *rows,
                             vw_error *err)
{
    const vw_adapter *a = w->adapter;
    int64_t rank = a->down->spec->rows, cols = w->spec->cols;
    float *down = fetch(t, a->down, 0, rank, err);
    float *up = down ? fetch(t, a->up, first, n, err) : NULL;
    for (int64_t i = 0; i < n && up; i++)
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t r = 0; r < rank; r++)
                sum += (double)up[i * rank + r] * (double)down[r * cols + j];
            rows[i * cols + j] += (float)((double)a->scale * sum);
        }
    vw_status st = up ? VW_OK : VW_E_NOMEM;
    vw_core_release(t->core, up);
    vw_core_release(t->core, down);
    return st;
}

void vw_lora_free(vw_trainee *t)
{
    vw_core_release(t->core, t->adapters);
    vw_core_release(t->core, t->adapter_of);
    vw_core_release(t->core, t->adapter_specs);
    vw_core_release(t->core, t->adapter_names);
    vw_core_release(t->core, t->adapted);
}
