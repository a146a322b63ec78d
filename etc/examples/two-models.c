/* two-models.c - two models in one process: each continues the same text.
 *
 *     cc two-models.c -o two-models $(pkg-config --cflags --libs vishwamai)
 *     ./two-models FILE.ini NAME NAME       sections [model:NAME] in the file
 *
 * They share the threads of the core and, with [kv] pool_bytes, the memory of their caches.
 */
#include <string.h>
#include <vishwamai/vishwamai.h>

static int on_piece(void *arg, const vw_piece *piece)
{
    (void)arg;
    fwrite(piece->text, 1, piece->text_bytes, stdout);
    return fflush(stdout) != 0; /* not 0: stop */
}

static vw_status speak(vw_engine *engine, const char *prompt, vw_error *err)
{
    static const vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};
    int32_t ids[512];
    size_t n = 0;
    vw_sequence *sequence = NULL;
    vw_status status = vw_engine_encode(engine, prompt, strlen(prompt), -1, ids, 512, &n, err);
    if (status == VW_OK && n > 512)
        status = vw_fail(err, VW_E_INVALID, "the prompt has %zu tokens, 512 are possible", n);
    if (status == VW_OK)
        status = vw_sequence_new(engine, &sequence, err);
    if (status == VW_OK) {
        vw_generate_options options = {.size = sizeof options, .prompt = ids, .n_prompt = n,
                                       .max_tokens = 24, .sampling = &greedy,
                                       .on_piece = on_piece};
        status = vw_generate(engine, sequence, &options, NULL, 0, NULL, err);
    }
    vw_sequence_free(sequence);
    return status;
}

int main(int argc, char **argv)
{
    vw_settings *settings = NULL;
    vw_core *core = NULL;
    vw_engine *engine[2] = {NULL, NULL};
    vw_error err = {VW_OK, ""};
    if (argc != 4) {
        fputs("usage: two-models FILE.ini NAME NAME\n", stderr);
        return 2;
    }
    vw_status status = vw_settings_new(&settings, &err);
    if (status == VW_OK)
        status = vw_settings_read(settings, argv[1], &err);
    if (status == VW_OK)
        status = vw_core_new(settings, &core, &err);
    for (int i = 0; i < 2 && status == VW_OK; i++) {
        vw_engine_options options = {.size = sizeof options, .label = argv[2 + i]};
        status = vw_engine_open(core, &options, &engine[i], &err);
    }
    for (int i = 0; i < 2 && status == VW_OK; i++) {
        printf("%s: ", argv[2 + i]);
        status = speak(engine[i], "ROMEO:\n", &err);
        putchar('\n');
    }
    if (status != VW_OK)
        fprintf(stderr, "two-models: %s\n", err.text);
    vw_engine_close(engine[0]);
    vw_engine_close(engine[1]);
    vw_core_free(core);
    vw_settings_free(settings);
    return status != VW_OK;
}
