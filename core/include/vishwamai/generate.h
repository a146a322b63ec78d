/* generate.h - asking the engine for text, many requests at a time.
 *
 * The service ("generate") that ways of reasoning use: they see prompts and continuations, never
 * pages or batches.  Provisional: one way of reasoning uses it so far.  Consecutive prompts that
 * begin alike share their cache.
 *
 * Every operation is there in every core that has the service, since 0.0.  A generator is used by
 * one thread at a time.  Texts are UTF-8, 0-terminated, and are read only while the call lasts.
 */
#ifndef VISHWAMAI_GENERATE_H
#define VISHWAMAI_GENERATE_H

#include <vishwamai/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_GENERATE_MAJOR 0

typedef struct vw_generator vw_generator; /* an engine with a model and its tokenizer */

typedef struct vw_generate_request {
    const char *prompt;      /* text; the tokenizer's own rule decides about BOS */
    int32_t max_tokens;
    double temperature;      /* negative: the settings' own */
    uint64_t seed;
    const char *const *stop; /* NULL-terminated, or NULL */
} vw_generate_request;

typedef struct vw_generate_result {
    char *text;              /* freed by free_results; nothing of a stop string */
    int32_t n_prompt_tokens, n_tokens;
    double logprob;          /* sum over the new tokens, natural */
    int32_t is_stopped;      /* by EOS or a stop string, not by length */
} vw_generate_result;

/* log p(continuation | prompt) */
typedef struct vw_score_request {
    const char *prompt, *continuation;
} vw_score_request;

typedef struct vw_score_result {
    double logprob;
    int32_t n_tokens;
    int32_t is_greedy; /* every token of it was the most likely one */
} vw_score_result;

typedef struct vw_generate_service {
    size_t size;

    /* Continue each of n prompts; results is an array of n, written whole.  All of them or none: on
     * an error nothing is left to free.  VW_E_INVALID for a prompt that has no tokens, VW_E_FULL
     * for one that the context or the cache has no room for, VW_E_INTERRUPTED when the application
     * interrupts its engine, VW_E_NOMEM.  A request of at most 0 max_tokens is answered by an
     * empty text. */
    vw_status (*generate)(vw_generator *g, const vw_generate_request *requests, size_t n,
                          vw_generate_result *results, vw_error *err);
    /* Free the texts of n results of generate(), from any thread, also after the generator is gone;
     * the texts are NULL then, and results of zeros are welcome. */
    void (*free_results)(vw_generate_result *results, size_t n);
    /* How likely the model finds each of n continuations, in one forward over prompt and
     * continuation.  Errors as generate(); results is then of no use, and nothing in it needs
     * freeing. */
    vw_status (*score)(vw_generator *g, const vw_score_request *requests, size_t n,
                       vw_score_result *results, vw_error *err);
} vw_generate_service;

#ifdef __cplusplus
}
#endif
#endif
