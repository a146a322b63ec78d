/* main.c - the vishwamai command: finds the subcommand, prints errors, sees that output arrived. */
#include "command.h"

#include "core/nearest.h"

#include <vishwamai/vishwamai.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const command *const all_commands[] = {
    &command_run,        &command_chat,     &command_tokenize, &command_logits,
    &command_perplexity, &command_eval,     &command_train,    &command_runs,
    &command_bench,      &command_balance,  &command_schedule, &command_convert,
    &command_inspect,    &command_check,    &command_config,   &command_new,
    NULL,
};

int report(const vw_error *err)
{
    const char *line = err->text;
    while (*line) {
        size_t n = strcspn(line, "\n");
        if (n)
            fprintf(stderr, "vishwamai: %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    if (err->code == VW_E_CONFIG)
        return STATUS_USAGE;
    return err->code == VW_E_INTERRUPTED ? STATUS_INTERRUPTED : STATUS_FAILED;
}

int wrong_use(const command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("vishwamai: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (see 'vishwamai %s%s--help')\n", c ? c->name : "", c ? " " : "");
    return STATUS_USAGE;
}

static void print_help(FILE *to)
{
    fputs("usage: vishwamai SUBCOMMAND [options]\n\n"
          "A language-model framework made of plugins, chosen by an INI file.\n\n", to);
    for (const command *const *c = all_commands; *c; c++)
        fprintf(to, "  %-11s %s\n", (*c)->name, (*c)->summary);
    fputs("\n'vishwamai SUBCOMMAND --help' lists its options.  Every subcommand takes -c FILE (an\n"
          "INI file), --set SECTION.KEY=VALUE (repeatable) and --json.\n"
          "Exit status: 0 done, 1 failed, 2 wrong words or settings, 130 ended by Ctrl-C.\n\n"
          "example:\n  vishwamai run -p \"ROMEO:\" -n 64\n", to);
}

static const command *find(const char *name)
{
    for (const command *const *c = all_commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

static int unknown(const char *name)
{
    vw_nearest nearest = vw_nearest_to(name);
    for (const command *const *c = all_commands; *c; c++)
        vw_nearest_offer(&nearest, (*c)->name);
    if (nearest.best)
        return wrong_use(NULL, "there is no subcommand '%s'; did you mean '%s'?", name,
                         nearest.best);
    return wrong_use(NULL, "there is no subcommand '%s'", name);
}

static int dispatch(int argc, char **argv)
{
    static char help[] = "--help";
    if (argc < 2) {
        print_help(stderr);
        return STATUS_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0) {
        printf("vishwamai %s\n", vw_version());
        return STATUS_OK;
    }
    if (strcmp(word, "help") == 0 && argc == 3) {
        const command *c = find(argv[2]);
        char *words[] = {argv[2], help, NULL};
        return c ? c->main(2, words) : unknown(argv[2]);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout);
        return STATUS_OK;
    }
    const command *c = find(word);
    return c ? c->main(argc - 1, argv + 1) : unknown(word);
}

int main(int argc, char **argv)
{
    int status = dispatch(argc, argv);
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == STATUS_OK) {
        fprintf(stderr, "vishwamai: cannot write the answer: %s\n",
                errno ? strerror(errno) : "output error");
        status = STATUS_FAILED;
    }
    return status;
}
