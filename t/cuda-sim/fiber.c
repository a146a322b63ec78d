/* fiber.c - switching stacks.
 *
 * ucontext is portable but asks the system about signals at each switch, which a block of 1024
 * threads feels; so x86-64 has a few instructions of its own.  AddressSanitizer must be told, since
 * it keeps a picture of the stack that runs.
 */
#include "t/cuda-sim/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__
#define WITH_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 256 << 10 };

struct sim_fiber {
    void *sp; /* x86-64: where its registers were pushed */
    ucontext_t context;
    char *stack; /* NULL for the main one */
    size_t stack_bytes;
    void (*fn)(void *arg);
    void *arg;
    void *fake_stack;
};

#if defined __x86_64__
void sim_fiber_jump(void **from_sp, void *to_sp);
__asm__(".text\n"
        ".hidden sim_fiber_jump\n"
        ".globl sim_fiber_jump\n"
        ".type sim_fiber_jump, @function\n"
        "sim_fiber_jump:\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sim_fiber_jump, . - sim_fiber_jump\n");
#endif

static sim_fiber *entering; /* handed to a fiber's first instruction */

static void enter(void)
{
    sim_fiber *fiber = entering;
#ifdef WITH_ASAN
    sim_fiber *whole = sim_fiber_main();
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(NULL, &bottom, &bytes);
    if (!whole->stack_bytes) { /* the first fiber is entered from the main stack */
        whole->stack = (char *)(uintptr_t)bottom;
        whole->stack_bytes = bytes;
    }
#endif
    fiber->fn(fiber->arg);
    abort();
}

sim_fiber *sim_fiber_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    sim_fiber *fiber = calloc(1, sizeof *fiber);
    if (!fiber)
        return NULL;
    char *memory = mmap(NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        free(fiber);
        return NULL;
    }
    mprotect(memory, page, PROT_NONE);
    fiber->stack = memory + page;
    fiber->stack_bytes = STACK_BYTES;
    return fiber;
}

void sim_fiber_reset(sim_fiber *fiber, void (*fn)(void *arg), void *arg)
{
    fiber->fn = fn;
    fiber->arg = arg;
    fiber->fake_stack = NULL;
#ifdef WITH_ASAN
    /* The frames of its last use were left, not returned from: their red zones still stand. */
    __asan_unpoison_memory_region(fiber->stack, fiber->stack_bytes);
#endif
#if defined __x86_64__
    uintptr_t *top = (uintptr_t *)(void *)(fiber->stack + fiber->stack_bytes - 64);
    top[0] = (uintptr_t)enter; /* where `ret' goes; six registers are popped before it */
    top[1] = 0;                /* enter() believes that it was called from nowhere */
    fiber->sp = top - 6;
    for (int i = 1; i <= 6; i++)
        top[-i] = 0;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = fiber->stack_bytes;
    makecontext(&fiber->context, enter, 0);
#endif
}

sim_fiber *sim_fiber_main(void)
{
    static sim_fiber main_fiber;
    return &main_fiber;
}

/* fake_stack: where the sanitizer is to keep the frames that it holds for `from`; NULL drops them. */
static void jump(sim_fiber *from, sim_fiber *to, void **fake_stack)
{
    entering = to;
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(fake_stack, to->stack, to->stack_bytes);
#else
    (void)fake_stack;
#endif
#if defined __x86_64__
    sim_fiber_jump(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
}

void sim_fiber_switch(sim_fiber *from, sim_fiber *to)
{
    jump(from, to, &from->fake_stack);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

void sim_fiber_leave(sim_fiber *from, sim_fiber *to)
{
    jump(from, to, NULL);
    abort(); /* it was resumed without a reset */
}
