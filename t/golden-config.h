/* golden-config.h - a golden's model with one place of its config.json changed: does it open, or what
 * does the engine say? */
#ifndef T_GOLDEN_CONFIG_H
#define T_GOLDEN_CONFIG_H

#include <stddef.h>

typedef struct golden_change {
    const char *from, *to; /* text of config.json, which must be there */
    const char *message;   /* a part of the error's sentence; NULL: it opens */
} golden_change;

/* Of t/data/goldens/MODEL, which has one model.safetensors; an assertion for each change. */
void golden_config_test(const char *model, const char *settings, const golden_change *changes,
                        size_t n);

#endif
