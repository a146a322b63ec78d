/* golden-config.c - see golden-config.h. */
#include "t/golden-config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

static void write_changed(const char *model, const golden_change *c)
{
    char name[4096];
    size_t bytes;
    snprintf(name, sizeof name, "t/data/goldens/%s/config.json", model);
    char *text = folder_slurp(source_file(name), &bytes), *at = strstr(text, c->from);
    size_t room = bytes + strlen(c->to) + 1;
    char *changed = malloc(room);
    if (!at || !changed)
        bail_out("%s: there is no %s", name, c->from);
    snprintf(changed, room, "%.*s%s%s", (int)(at - text), text, c->to, at + strlen(c->from));
    folder_text("config.json", changed);
    free(changed);
    free(text);
}

void golden_config_test(const char *model, const char *settings, const golden_change *changes,
                        size_t n)
{
    static const char *folder;
    char name[4096], real[8192];
    if (!folder)
        folder = folder_make();
    snprintf(name, sizeof name, "t/data/goldens/%s/model.safetensors", model);
    unlink(folder_path("model.safetensors"));
    if (!realpath(source_file(name), real) || symlink(real, folder_path("model.safetensors")))
        bail_out("%s cannot be linked", name);
    for (size_t i = 0; i < n; i++) {
        with_engine w;
        write_changed(model, &changes[i]);
        int is_open = engine_open(&w, folder, settings);
        if (changes[i].message)
            ok(!is_open && strstr(w.err.text, changes[i].message), "%s is refused: %s", changes[i].to,
               w.err.text);
        else
            ok(is_open, "%s opens: %s", changes[i].to, is_open ? "ok" : w.err.text);
        engine_close(&w);
    }
}
