/* option.h - a component's options as a table.
 *
 * A component says once what its options are; the core parses text into the component's own struct,
 * words the errors, and prints the same table as help, man page and sample INI.  Plugins never
 * parse text.
 */
#ifndef VISHWAMAI_OPTION_H
#define VISHWAMAI_OPTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a field holds, and its C type at `offset`. */
typedef enum vw_option_type {
    VW_OPTION_BOOL = 1, /* bool as int32_t: yes/no, true/false, on/off, 1/0 */
    VW_OPTION_INT,      /* int64_t */
    VW_OPTION_SIZE,     /* uint64_t bytes: 64K, 16M, 2G (powers of 1024) */
    VW_OPTION_REAL,     /* double */
    VW_OPTION_STRING,   /* const char *, borrowed, never NULL */
    VW_OPTION_ENUM,     /* int32_t: index in `choices` */
    VW_OPTION_PATH,     /* const char *, relative to the file that set it, "" when unset */
    VW_OPTION_LIST,     /* const char *const *, NULL-terminated, comma separated in the file */
    VW_OPTION_LABEL     /* const char *: that of a section [kind:label], which must be among the
                           settings; choices[0] is the kind; "" for none, that is [kind] */
} vw_option_type;

enum {
    VW_OPTION_REQUIRED = 1, /* no default: the user must give it */
    VW_OPTION_SECRET = 2,   /* never shown: printed as *** */
    VW_OPTION_ADVANCED = 4, /* left out of the short help */
    VW_OPTION_RANGE = 8     /* min and max are in force */
};

typedef struct vw_option {
    const char *key;            /* lower case, digits and '_' */
    vw_option_type type;
    const char *def;            /* the default as text, as it would stand in a file */
    double min, max;            /* inclusive, with VW_OPTION_RANGE */
    const char *const *choices; /* NULL-terminated, for ENUM; LABEL: the kind */
    size_t offset;              /* in the component's configuration struct */
    unsigned flags;
    const char *help;           /* one line: what it does, and its unit */
} vw_option;

/* The end of a table: an entry whose key is NULL. */
#define VW_OPTION_END {NULL, (vw_option_type)0, NULL, 0, 0, NULL, 0, 0, NULL}

#ifdef __cplusplus
}
#endif
#endif
