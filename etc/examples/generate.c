/* generate.c - the smallest program around the library: load a model, continue a text, stream it.
 *
 *     cc generate.c -o generate $(pkg-config --cflags --libs vishwamai)
 *     ./generate [FILE.ini [PROMPT]]        without words: the bundled model
 */
#include <string.h>
#include <vishwamai/vishwamai.h>

static int on_piece(void *arg, const vw_piece *piece)
{
    (void)arg;
    fwrite(piece->text, 1, piece->text_bytes, stdout);
    return fflush(stdout) != 0; /* not 0: stop */
}

static vw_status speak(vw_engine *engine, const vw_sampling *sampling, const char *prompt,
                       vw_error *err)
{
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
                                       .max_tokens = 64, .sampling = sampling,
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
    vw_engine *engine = NULL;
    vw_sampling sampling;
    vw_error err;
    vw_status status = vw_settings_new(&settings, &err);
    if (status == VW_OK && argc > 1)
        status = vw_settings_read(settings, argv[1], &err);
    if (status == VW_OK)
        status = vw_sampling_from_settings(settings, &sampling, &err);
    if (status == VW_OK)
        status = vw_core_new(settings, &core, &err);
    if (status == VW_OK)
        status = vw_engine_open(core, NULL, &engine, &err);
    if (status == VW_OK)
        status = speak(engine, &sampling, argc > 2 ? argv[2] : "ROMEO:\n", &err);
    if (status != VW_OK)
        fprintf(stderr, "generate: %s\n", err.text);
    else
        putchar('\n');
    vw_engine_close(engine);
    vw_core_free(core);
    vw_settings_free(settings);
    return status != VW_OK;
}
