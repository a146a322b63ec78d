/* queue.c - the work that waits, and running it. */
#include "t/cuda-sim/queue.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "t/cuda-sim/memory.h"

static CUstream streams;

/* ---- lists ---------------------------------------------------------------------------------- */

static sim_op *copy_op(const sim_op *op)
{
    sim_op *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *op;
    copy->next = NULL;
    if (op->kind == SIM_KERNEL_RUN) {
        copy->args = malloc(op->kernel->args_bytes);
        if (!copy->args) {
            free(copy);
            return NULL;
        }
        memcpy(copy->args, op->args, op->kernel->args_bytes);
    }
    return copy;
}

static void free_op(sim_op *op)
{
    free(op->args);
    free(op);
}

void sim_ops_free(sim_op *first)
{
    while (first) {
        sim_op *next = first->next;
        free_op(first);
        first = next;
    }
}

sim_op *sim_ops_copy(const sim_op *first)
{
    sim_op *copies = NULL, **last = &copies;
    for (; first; first = first->next, last = &(*last)->next)
        if (!(*last = copy_op(first)))
            abort();
    return copies;
}

CUgraph sim_graph_new(void)
{
    CUgraph graph = calloc(1, sizeof *graph);
    if (graph)
        graph->last = &graph->first;
    return graph;
}

CUresult sim_enqueue(CUstream stream, const sim_op *op)
{
    sim_op *copy = copy_op(op), ***last = stream->graph ? &stream->graph->last : &stream->last;
    if (!copy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    **last = copy;
    *last = &copy->next;
    return CUDA_SUCCESS;
}

/* ---- running -------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static CUresult run_op(const sim_op *op)
{
    switch (op->kind) {
    case SIM_COPY:
        sim_memory_open();
        memmove(op->to, op->from, op->bytes);
        return CUDA_SUCCESS;
    case SIM_SET:
        sim_memory_open();
        memset(op->to, op->value, op->bytes);
        return CUDA_SUCCESS;
    case SIM_KERNEL_RUN:
        sim_memory_open();
        return sim_launch(op->kernel, op->grid, op->block, op->bytes, op->args)
                   ? CUDA_ERROR_LAUNCH_FAILED
                   : CUDA_SUCCESS;
    case SIM_RECORD:
        op->event->done = op->turn;
        op->event->seconds = now();
        return CUDA_SUCCESS;
    case SIM_WAIT:
        return sim_run_until(op->event, op->turn);
    }
    return CUDA_ERROR_UNKNOWN;
}

static CUresult run_first(CUstream stream)
{
    sim_op *op = stream->first;
    stream->first = op->next;
    if (!stream->first)
        stream->last = &stream->first;
    CUresult result = run_op(op);
    free_op(op);
    return result;
}

static CUresult run_while(CUstream stream, CUevent event, unsigned long turn)
{
    CUresult result = CUDA_SUCCESS;
    while (result == CUDA_SUCCESS && stream->first && (!event || event->done < turn))
        result = run_first(stream);
    return result;
}

CUresult sim_run_stream(CUstream stream)
{
    CUresult result = run_while(stream, NULL, 0);
    sim_memory_close();
    return result;
}

CUresult sim_run_until(CUevent event, unsigned long turn)
{
    if (event->done >= turn || !sim_is_stream(event->stream))
        return CUDA_SUCCESS;
    CUresult result = run_while(event->stream, event, turn);
    sim_memory_close();
    return result;
}

CUresult sim_run_step(CUevent event)
{
    CUresult result = CUDA_SUCCESS;
    if (event->done < event->asked && sim_is_stream(event->stream) && event->stream->first)
        result = run_first(event->stream);
    sim_memory_close();
    return result;
}

CUresult sim_run_all(void)
{
    CUresult result = CUDA_SUCCESS;
    for (CUstream s = streams; s && result == CUDA_SUCCESS; s = s->next)
        result = run_while(s, NULL, 0);
    sim_memory_close();
    return result;
}

/* ---- streams -------------------------------------------------------------------------------- */

CUstream sim_stream_new(int device)
{
    CUstream stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->device = device;
    stream->last = &stream->first;
    stream->next = streams;
    streams = stream;
    return stream;
}

int sim_is_stream(CUstream stream)
{
    CUstream s = streams;
    while (s && s != stream)
        s = s->next;
    return s != NULL;
}

void sim_stream_free(CUstream stream)
{
    CUstream *link = &streams;
    while (*link && *link != stream)
        link = &(*link)->next;
    *link = stream->next;
    sim_ops_free(stream->first);
    free(stream);
}

void sim_streams_forget(int device)
{
    for (CUstream s = streams, next; s; s = next) {
        next = s->next;
        if (s->device == device)
            sim_stream_free(s);
    }
}
