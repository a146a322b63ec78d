/* direct.c - reasoning/direct: ask once and take what comes.
 *
 * The method that every other one is compared with, and the smallest example of the kind: it puts
 * the problem into a prompt, makes one request, and gives the text as the answer.  The event carries
 * the whole text even where the caller's room for the answer is short.  One request cannot be stopped
 * halfway, so a limit in seconds has no effect here; the budget in tokens does.
 */
#include <vishwamai/reasoning.h>

typedef struct config {
    const char *prompt;
    double temperature;
    int64_t max_tokens;
    const char *const *stop;
    int32_t trim;
} config;

typedef struct direct {
    const vw_host *host;
    const config *config;
} direct;

static const char placeholder[] = "{problem}";

/* The prompt with every placeholder replaced; from the host's memory, or NULL. */
static char *expand(const vw_host *host, const char *pattern, const char *problem)
{
    size_t n_places = 0, length = strlen(problem), step = sizeof placeholder - 1;
    char *text, *to;

    for (const char *at = pattern; (at = strstr(at, placeholder)) != NULL; at += step)
        n_places++;
    if (length > (SIZE_MAX / 2 - strlen(pattern)) / (n_places + 1))
        return NULL;
    to = text = host->alloc(host->core, strlen(pattern) + n_places * length + 1);
    if (!text)
        return NULL;
    while (*pattern) {
        if (!strncmp(pattern, placeholder, step)) {
            memcpy(to, problem, length);
            to += length;
            pattern += step;
        } else {
            *to++ = *pattern++;
        }
    }
    *to = '\0';
    return text;
}

static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(char **text)
{
    size_t n;

    while (is_blank(**text))
        ++*text;
    for (n = strlen(*text); n > 0 && is_blank((*text)[n - 1]); n--)
        (*text)[n - 1] = '\0';
}

static vw_status check(const vw_reasoning_problem *p, const char *answer, size_t room,
                       vw_error *err)
{
    if (p->size < sizeof *p || !p->text || !p->generate || !answer || room == 0)
        return vw_fail(err, VW_E_INVALID, "the problem is not complete, or there is no room");
    if (p->max_tokens < 1)
        return vw_fail(err, VW_E_INVALID, "a budget of %lld tokens leaves nothing to generate",
                       (long long)p->max_tokens);
    return VW_OK;
}

static vw_generate_request request_for(const config *c, const vw_reasoning_problem *p,
                                       const char *prompt)
{
    int64_t n = p->max_tokens;

    if (c->max_tokens > 0 && c->max_tokens < n)
        n = c->max_tokens;
    if (n > INT32_MAX)
        n = INT32_MAX;
    return (vw_generate_request){
        .prompt = prompt,
        .max_tokens = (int32_t)n,
        .temperature = c->temperature,
        .seed = p->seed,
        .stop = c->stop && c->stop[0] ? c->stop : NULL,
    };
}

/* Tell the sink and the caller.  A sink that wants to stop has nothing left to stop. */
static void deliver(const direct *it, const vw_generate_result *result, vw_reasoning_sink sink,
                    void *arg, char *answer, size_t room)
{
    const vw_host *host = it->host;
    char *text = result->text;
    vw_reasoning_event event = {.kind = VW_EVENT_ANSWER, .parent = -1};
    size_t n;

    if (it->config->trim)
        trim(&text);
    n = strlen(text);
    event.text = text;
    event.score = result->logprob;
    if (sink)
        sink(arg, &event);
    if (n >= room) {
        host->log(host->core, VW_LOG_WARN, "an answer of %zu bytes is cut to %zu", n, room - 1);
        n = room - 1;
    }
    memcpy(answer, text, n);
    answer[n] = '\0';
    if (n < strlen(text))
        vw_text_trim(answer);
}

static vw_status solve(void *self, const vw_reasoning_problem *p, vw_reasoning_sink sink, void *arg,
                       char *answer, size_t room, vw_error *err)
{
    const direct *it = self;
    const vw_host *host = it->host;
    vw_generate_request request;
    vw_generate_result result = {0};
    vw_status status = check(p, answer, room, err);
    char *prompt;

    if (status)
        return status;
    prompt = expand(host, it->config->prompt, p->text);
    if (!prompt)
        return vw_fail(err, VW_E_NOMEM, "no memory for the prompt");
    request = request_for(it->config, p, prompt);
    status = p->generate->generate(p->generator, &request, 1, &result, err);
    if (status == VW_OK) {
        deliver(it, &result, sink, arg, answer, room);
        p->generate->free_results(&result, 1);
    }
    host->free(host->core, prompt);
    return status;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "any model");
    return 1;
}

static vw_status open_direct(const vw_host *host, const void *options, void **self, vw_error *err)
{
    const config *c = options;
    direct *it;

    if (!strstr(c->prompt, placeholder))
        return vw_fail(err, VW_E_CONFIG, "prompt = %s: it must hold %s, where the problem goes",
                       c->prompt, placeholder);
    it = host->alloc(host->core, sizeof *it);
    if (!it)
        return vw_fail(err, VW_E_NOMEM, "no memory for the method");
    *it = (direct){host, c};
    *self = it;
    return VW_OK;
}

static void close_direct(void *self)
{
    direct *it = self;

    it->host->free(it->host->core, it);
}

static const vw_reasoning_ops ops = {.size = sizeof ops, .solve = solve};

static const vw_option options[] = {
    {"prompt", VW_OPTION_STRING, "{problem}", 0, 0, NULL, offsetof(config, prompt), 0,
     "what the model is given; {problem} stands for the problem"},
    {"temperature", VW_OPTION_REAL, "-1", -1, 100, NULL, offsetof(config, temperature),
     VW_OPTION_RANGE, "of the sampler; 0 is greedy, negative takes the one of [sampling]"},
    {"max_tokens", VW_OPTION_INT, "0", 0, 2147483647, NULL, offsetof(config, max_tokens),
     VW_OPTION_RANGE, "longest answer in tokens; 0: as many as the budget allows"},
    {"stop", VW_OPTION_LIST, "", 0, 0, NULL, offsetof(config, stop), 0,
     "texts that end the answer, separated by commas"},
    {"trim", VW_OPTION_BOOL, "yes", 0, 0, NULL, offsetof(config, trim), 0,
     "take blanks and line ends off both ends of the answer"},
    VW_OPTION_END,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_REASONING,
    .ops_major = VW_REASONING_OPS_MAJOR,
    .ops_minor = VW_REASONING_OPS_MINOR,
    .name = "direct",
    .summary = "one generation, and its text is the answer",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_direct,
    .close = close_direct,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(reasoning, direct)
{
    return &description;
}
