/* balance.c - any bytes as the files and lists of `vishwamai balance`.
 *
 * First as loads.  Those that are read make a problem with a slot an expert, and the same bytes may
 * well be its previous placement and a batch.  Then as an answer of before, and as lists.
 */
#include "core/tools/balance_job.h"
#include "t/folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error has a sentence, and success has none. */
static int is_good(vw_status status, vw_error *err)
{
    if ((status == VW_OK) != (err->text[0] == '\0'))
        abort();
    *err = (vw_error){VW_OK, ""};
    return status == VW_OK;
}

static void check_loads(const balance_input *in)
{
    size_t n = (size_t)in->problem.n_layers * (size_t)in->problem.n_experts;
    if (n == 0)
        abort();
    for (size_t i = 0; i < n; i++)
        if (!(in->load[i] >= 0) || !isfinite(in->load[i]))
            abort();
}

/* The bytes once more, as what follows loads. */
static void read_rest(balance_input *in, const char *path)
{
    vw_balance_problem *p = &in->problem;
    size_t n = (size_t)p->n_layers * (size_t)p->n_experts;
    vw_error err = {VW_OK, ""};
    p->n_replicas = p->n_experts;
    if (is_good(balance_read_previous(in, path, &err), &err))
        for (size_t i = 0; i < n; i++)
            if (in->previous[i] < 0 || in->previous[i] >= p->n_experts)
                abort();
    if (is_good(balance_read_batch(in, path, &err), &err))
        for (size_t i = 0; i < n; i++)
            if (in->batch[i] < 0)
                abort();
}

/* A placement as --json prints it needs sizes first: those of two layers of three slots. */
static void read_answer(const char *path)
{
    balance_input in = {.problem = {.n_layers = 2, .n_experts = 3, .n_replicas = 3}};
    vw_error err = {VW_OK, ""};
    is_good(balance_read_previous(&in, path, &err), &err);
    balance_input_free(&in);
}

static void read_lists(const char *text)
{
    balance_input in = {.load = NULL};
    vw_error err = {VW_OK, ""};
    if (is_good(balance_read_slots(&in, text, &err), &err))
        for (int32_t d = 0; d < in.problem.n_devices; d++)
            if (in.slots[d] < 1)
                abort();
    is_good(balance_read_speeds(&in, text, &err), &err);
    balance_input_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *folder;
    if (!folder)
        folder = folder_make();
    char *path = strdup(folder_write("x.csv", data, size)), *text = calloc(size + 1, 1);
    const char *words[1];
    const word_list files = {words, 1};
    balance_input in = {.load = NULL};
    forecast f = {0.5, 0};
    vw_error err = {VW_OK, ""};
    if (!path || !text)
        abort();
    words[0] = path;
    memcpy(text, data, size);
    if (is_good(balance_read_loads(&in, &files, &f, &err), &err)) {
        check_loads(&in);
        read_rest(&in, path);
    }
    read_answer(path);
    read_lists(text);
    balance_input_free(&in);
    free(path);
    free(text);
    return 0;
}
