/* models.c - opening models by name and going from one to another. */
#include "models.h"

#include "progress.h"

#include <stdlib.h>
#include <string.h>

static vw_status add(loaded_models *all, const char *name, vw_engine *engine, vw_error *err)
{
    loaded_model *grown = realloc(all->list, (all->n + 1) * sizeof *grown);
    if (!grown)
        return vw_fail(err, VW_E_NOMEM, "no memory for another model");
    all->list = grown;
    loaded_model *m = &grown[all->n];
    *m = (loaded_model){.engine = engine, .info = {.size = sizeof m->info}};
    snprintf(m->name, sizeof m->name, "%s", name);
    vw_engine_get_info(engine, &m->info);
    vw_status status = vw_sequence_new(engine, &m->sequence, err);
    if (status == VW_OK)
        all->n++;
    return status;
}

vw_status models_begin(loaded_models *all, const choices *c, const opened *o, vw_error *err)
{
    return add(all, c->name ? c->name : "", o->engine, err);
}

static vw_status load(loaded_models *all, const char *name, opened *o, vw_error *err)
{
    vw_engine_options options = {.size = sizeof options, .label = name, .progress = progress_show};
    vw_engine *engine;
    vw_status status = vw_engine_open(o->core, &options, &engine, err);
    progress_end();
    if (status != VW_OK)
        return status;
    status = add(all, name, engine, err);
    if (status != VW_OK)
        vw_engine_close(engine);
    return status;
}

vw_status models_use(loaded_models *all, const char *name, opened *o, vw_error *err)
{
    size_t i = 0;
    if (strcmp(name, "-") == 0)
        name = all->list[0].name;
    while (i < all->n && strcmp(all->list[i].name, name) != 0)
        i++;
    vw_status status = i < all->n ? VW_OK : load(all, name, o, err);
    if (status != VW_OK)
        return status;
    all->current = i;
    o->engine = all->list[i].engine;
    o->info = all->list[i].info;
    return VW_OK;
}

void models_list(const loaded_models *all, const vw_settings *settings, char *text, size_t room)
{
    const char *current = all->list[all->current].name;
    char name[64];
    size_t n = (size_t)snprintf(text, room, "%s", *current ? "" : "(the first)");
    for (size_t i = 0; n < room && vw_settings_label(settings, VW_KIND_MODEL, i, name, sizeof name);
         i++) {
        int is_current = strcmp(name, current) == 0;
        n += (size_t)snprintf(text + n, room - n, "%s%s%s%s", n ? ", " : "", is_current ? "(" : "",
                              name, is_current ? ")" : "");
    }
}

void models_free(loaded_models *all, opened *o)
{
    for (size_t i = 0; i < all->n; i++) {
        vw_sequence_free(all->list[i].sequence);
        id_list_free(&all->list[i].cached);
        if (all->list[i].engine != o->engine)
            vw_engine_close(all->list[i].engine);
    }
    free(all->list);
    *all = (loaded_models){NULL, 0, 0};
}
