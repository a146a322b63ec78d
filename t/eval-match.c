/* eval-match.c - what eval hands to the verifier, by the verdicts of exact. */
#include "core/tools/eval_task.h"
#include "t/tap/tap.h"

static const struct {
    const char *text, *answer;
    int is_right;
} cases[] = {
    {"It is 18.", "18", 1},
    {"It is 18 of 20.", "18", 0},
    {"#### 18 of 20", "18", 1},
    {"That makes $1,234.50 in all", "1234.5", 1},
    {"-$5", "-5", 1},
    {"1,2345", "2345", 1},
    {"nothing", "0", 0},
    /* Further digits than a double or 63 of them have. */
    {"It is 123456789012345678901.", "123456789012345678901", 1},
    {"It is 123456789012345678902.", "123456789012345678901", 0},
    {"0000000000000000000000000000000000000000000000000000000000000000000000017", "17", 1},
    {"7000000000000000000000000000000000000000000000000000000000000000000000017", "17", 0},
    {" \n Paris. \nand more", "paris", 1},
    {"Paris it is", "Paris", 0},
    {"", "Paris", 0},
};

int main(void)
{
    vw_settings *settings;
    vw_core *core;
    const vw_component *verifier;
    vw_error err = {VW_OK, ""};
    if (vw_settings_new(&settings, &err) || vw_core_new(settings, &core, &err) ||
        vw_core_component(core, VW_KIND_VERIFIER, NULL, NULL, &verifier, &err))
        bail_out("%s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eval_item item = {.prompt = (char *)"?", .answer = (char *)cases[i].answer};
        int is_right = -1;
        vw_status status = eval_match(verifier, &item, cases[i].text, &is_right, &err);
        ok(status == VW_OK && is_right == cases[i].is_right, "\"%s\" is %s for \"%s\"%s",
           cases[i].text, cases[i].is_right ? "right" : "wrong", cases[i].answer,
           status ? err.text : "");
    }
    vw_core_free(core);
    vw_settings_free(settings);
    return done_testing();
}
