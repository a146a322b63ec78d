/* bench.c - `vishwamai bench`: which race. */
#include "bench.h"

#include <ctype.h>
#include <string.h>

/* ---- the subcommand -------------------------------------------------------------------------- */

static const struct {
    const char *name, *help;
    int (*main)(int argc, char **argv);
} subjects[] = {
    {"gemm", "products of activations with stored weights", bench_gemm_main},
    {"attention", "scores, softmax and values over a paged cache", bench_attention_main},
    {"device", "copies and the pointwise set", bench_device_main},
    {"model", "a whole model: prefill, decode, load, memory", bench_model_main},
};

enum { N_SUBJECTS = sizeof subjects / sizeof *subjects };

static void print_help(void)
{
    printf("usage: vishwamai bench %s\n\n%c%s.\n\n", command_bench.usage,
           toupper((unsigned char)command_bench.summary[0]), command_bench.summary + 1);
    for (int i = 0; i < N_SUBJECTS; i++)
        printf("  %-11s %s\n", subjects[i].name, subjects[i].help);
    printf("\n%s\nexample:\n%s", command_bench.about, command_bench.example);
}

static int bench_main(int argc, char **argv)
{
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help();
        return STATUS_OK;
    }
    if (argc < 2 || argv[1][0] == '-')
        return wrong_use(&command_bench, "first say what: gemm, attention, device or model");
    for (int i = 0; i < N_SUBJECTS; i++) {
        size_t n = strlen(subjects[i].name);
        if (strncmp(argv[1], subjects[i].name, n) == 0 && (!argv[1][n] || argv[1][n] == '/'))
            return subjects[i].main(argc - 1, argv + 1);
    }
    return wrong_use(&command_bench, "there is no bench for '%s': gemm, attention, device and "
                     "model have one", argv[1]);
}

const command command_bench = {
    "bench", "KIND[/NAME] | model [options]",
    "measure speed against rivals and the machine's limits",
    "Every plugin of the kind that is usable here takes part, in turns, and the median of several\n"
    "rounds counts; with a NAME, that one is compared with the best of the others.  The limits of\n"
    "the machine are measured in the same run.  'vishwamai bench gemm --help' lists the options\n"
    "of one.\n",
    "  vishwamai bench gemm/cpu --shape 1,4096,4096 --dtype bf16\n"
    "  vishwamai bench model -m /models/gemma-2b -p 512 -n 64 --vs gemm.plugin=blas\n", bench_main};
