/* settings.h - the store behind vw_settings, for the files that read, check and print it.
 *
 * A list in the order of reading.  A value that was set again stays in it, so that its origin can
 * be shown; the last one of a section and key is the one in force.  There are dozens of settings,
 * never thousands, so lists are searched from end to end.
 */
#ifndef VW_CORE_SETTINGS_H
#define VW_CORE_SETTINGS_H

#include "core/problems.h"
#include "core/texts.h"

#include <stdbool.h>
#include <vishwamai/vishwamai.h>

/* Where something stands.  All strings are kept by the settings' texts. */
typedef struct vw_origin {
    const char *where;  /* "site.ini:12", "--set #1" */
    const char *folder; /* that relative paths are taken from; NULL: the current one */
    int file, line;     /* order: files as they were opened, then what was assigned */
} vw_origin;

typedef struct vw_setting {
    const char *section, *key, *value;
    vw_origin origin;
} vw_setting;

/* A section's line, kept because an empty section may be misspelt too. */
typedef struct vw_section_line {
    const char *section;
    vw_origin origin;
} vw_section_line;

struct vw_settings {
    vw_texts *texts;
    vw_setting *list;
    size_t n, room;
    vw_section_line *sections;
    size_t n_sections, sections_room;
    int n_files;    /* files and assignments so far: the order of origins */
    bool has_warned; /* of sections that cannot be checked: once is enough */
    void (*told)(void *arg, vw_log_level level, const char *line); /* NULL: nobody listens */
    void *told_arg;
};

/* What is in force, or NULL. */
const vw_setting *vw_settings_find(const vw_settings *settings, const char *section,
                                   const char *key);

/* Add at the end, all strings kept already or constant.  False without memory. */
bool vw_settings_add(vw_settings *settings, const vw_setting *setting);
bool vw_settings_add_section(vw_settings *settings, const vw_section_line *line);

/* Put a section's values into `config`, adding what is wrong to `problems`. */
void vw_settings_fill(const vw_settings *settings, const char *section, const vw_option *options,
                      void *config, vw_problems *problems);

/* Parse what is in force for an option into its field (NULL: only check), adding what is wrong. */
void vw_settings_take(const vw_settings *settings, const vw_setting *setting,
                      const vw_option *option, void *field, vw_problems *problems);

/* Is there a section [kind:label], or one of its plugins?  NULL and "" are none, and
 * right.  VW_E_NOTFOUND names the one that was meant, or all that there are. */
vw_status vw_settings_find_label(const vw_settings *settings, vw_kind kind, const char *label,
                                 vw_error *err);

/* All that vw_settings_check() finds, as problems; warnings are logged. */
void vw_settings_find_problems(const vw_settings *settings, vw_problems *problems);

/* vw_problems_end(), after whoever listens was told. */
vw_status vw_settings_end(const vw_settings *settings, vw_problems *problems, vw_error *err);

/* The level of [log], whatever else is wrong. */
vw_log_level vw_settings_log_level(const vw_settings *settings);

/* "site.ini:3: [gemm] plugin = cpu: " and what is wrong; a secret value is not shown. */
VW_PRINTF(3, 4)
void vw_settings_complain(vw_problems *problems, const vw_setting *setting, const char *format,
                          ...);

#endif
