/* sized.c - structs of the application's interface from programs of another age. */
#include <string.h>

#include "t/tap/tap.h"
#include "t/with_engine.h"

static const vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};

/* A program that was compiled when the structs were shorter: nothing behind its own is read or
 * written. */
int main(void)
{
    const size_t shorter = offsetof(vw_engine_info, n_stop);
    unsigned char untouched[sizeof(vw_engine_info)];
    with_engine w;
    vw_engine_info info;
    vw_engine *e;
    if (!engine_open(&w, NULL, "engine.ctx_size=64"))
        bail_out("%s", w.err.text);
    memset(&info, 0xA5, sizeof info);
    memset(untouched, 0xA5, sizeof untouched);
    info.size = shorter;
    vw_engine_get_info(w.engine, &info);
    is_int(info.vocab_size, w.info.vocab_size, "a shorter struct is filled");
    is_int((long long)info.size, (long long)shorter, "says how far");
    is_mem((char *)&info + shorter, untouched, sizeof info - shorter, "and nothing behind it is");
    info.size = sizeof info + 8;
    vw_engine_get_info(w.engine, &info);
    is_int((long long)info.size, sizeof info, "of a longer one, what is known");
    vw_engine_options o = {.size = offsetof(vw_engine_options, only_plan), .no_tokenizer = 1,
                           .only_plan = 1};
    if (vw_engine_open(w.core, &o, &e, &w.err))
        bail_out("%s", w.err.text);
    vw_sequence *s;
    int32_t id = 5;
    if (vw_sequence_new(e, &s, &w.err))
        bail_out("%s", w.err.text);
    vw_feed feed = {s, &id, 1, VW_WANT_NOTHING};
    is_int(vw_engine_feed(e, &feed, 1, NULL, NULL, &w.err), VW_OK, "an option that it did not know is not set");
    vw_generate_options unsized = {.prompt = &id, .n_prompt = 1, .sampling = &greedy};
    is_int(vw_generate(e, s, &unsized, NULL, 0, NULL, &w.err), VW_E_INVALID, "options without a size");
    like(w.err.text, "lack `sampling`, or their `size`, which is sizeof(vw_generate_options)", "say so");
    vw_convert_options nowhere = {0};
    is_int(vw_convert(w.core, &nowhere, &w.err), VW_E_INVALID, "of a conversion");
    like(w.err.text, "lack `to`, or their `size`", "too");
    vw_sequence_free(s);
    vw_engine_close(e);
    engine_close(&w);
    return done_testing();
}
