/* command.h - what a subcommand is, and how the command ends.
 *
 * One file a subcommand; each defines one `const command`, and main.c lists them.  A subcommand
 * parses its own words, does its work and returns an exit status.  Nothing here prints an error
 * except report() and wrong_use(), so that an error is printed once, whatever failed how deep.
 */
#ifndef VW_TOOLS_COMMAND_H
#define VW_TOOLS_COMMAND_H

#include <vishwamai/status.h>

enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,         /* the words or the settings are wrong */
    STATUS_INTERRUPTED = 130  /* Ctrl-C ended the work, as shells count it */
};

typedef struct command {
    const char *name;
    const char *usage;   /* what follows the name */
    const char *summary; /* one line */
    const char *about;   /* text for --help below the options, or NULL */
    const char *example; /* lines for --help, each with its newline */
    int (*main)(int argc, char **argv); /* argv[0] is the subcommand's name */
} command;

extern const command command_run, command_chat, command_tokenize, command_logits,
    command_perplexity, command_eval, command_train, command_runs, command_bench, command_balance,
    command_schedule, command_convert, command_inspect, command_check, command_config, command_new;

/* All subcommands, in the order of the help; ends with NULL. */
extern const command *const all_commands[];

/* Print an error, each of its lines once, and return the exit status that its code calls for. */
int report(const vw_error *err);

/* Print what is wrong with the words of a command line and where the help is; STATUS_USAGE. */
VW_PRINTF(2, 3) int wrong_use(const command *c, const char *format, ...);

#endif
