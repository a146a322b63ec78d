/* streams.c - the simulated driver's streams, copies, events, captures and names of errors. */
#include "t/cuda-sim/driver.h"

#include <stdlib.h>
#include <string.h>

#include "t/cuda-sim/memory.h"

/* ---- streams -------------------------------------------------------------------------------- */

static CUresult begin_on(CUstream stream, int needs)
{
    CUresult result = sim_begin(SIM_CONTEXT | needs);
    if (!result && (!sim_is_stream(stream) || stream->device != sim_device()))
        result = CUDA_ERROR_INVALID_HANDLE;
    return result;
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    (void)flags;
    if (!result && !(*stream = sim_stream_new(sim_device())))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result)
        sim_count(SIM_LIVE_STREAM, 1);
    return sim_end(result);
}

CUresult cuStreamDestroy(CUstream stream)
{
    CUresult result = begin_on(stream, 0);
    if (!result)
        result = sim_worked(sim_run_stream(stream));
    if (!result) {
        sim_stream_free(stream);
        sim_count(SIM_LIVE_STREAM, -1);
    }
    return sim_end(result);
}

CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult result = begin_on(stream, 0);
    if (!result && stream->graph) {
        stream->is_invalid = 1;
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (!result)
        result = sim_worked(sim_run_stream(stream));
    return sim_end(result);
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    CUresult result = begin_on(stream, 0);
    if (!result)
        *status = stream->graph ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return sim_end(result);
}

/* Needs no current context: this is how one is found. */
CUresult cuStreamGetCtx(CUstream stream, CUcontext *context)
{
    CUresult result = sim_begin(0);
    if (!result && !sim_is_stream(stream))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (!result)
        *context = sim_context(stream->device);
    return sim_end(result);
}

/* ---- copies --------------------------------------------------------------------------------- */

static int is_inside(CUdeviceptr at, size_t bytes)
{
    if (sim_memory_has(sim_device(), (const void *)at, bytes))
        return 1;
    sim_explain("a copy of %zu bytes leaves its allocation", bytes);
    return 0;
}

static CUresult enqueue_copy(CUstream stream, void *to, const void *from, size_t bytes,
                             int is_to_device, int is_from_device)
{
    sim_op op = {.kind = SIM_COPY, .to = to, .from = from, .bytes = bytes};
    CUresult result = begin_on(stream, 0);
    if (!result && bytes &&
        ((is_to_device && !is_inside((CUdeviceptr)to, bytes)) ||
         (is_from_device && !is_inside((CUdeviceptr)from, bytes))))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && stream->graph &&
        ((!is_to_device && !sim_pinned_has(to)) || (!is_from_device && !sim_pinned_has(from)))) {
        sim_explain("a captured copy from or to memory that is not pinned");
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (!result)
        result = sim_enqueue(stream, &op);
    return sim_end(result);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    return enqueue_copy(stream, (void *)to, from, bytes, 1, 0);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return enqueue_copy(stream, to, (const void *)from, bytes, 0, 1);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return enqueue_copy(stream, (void *)to, (const void *)from, bytes, 1, 1);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
    sim_op op = {.kind = SIM_SET, .to = (void *)to, .value = value, .bytes = bytes};
    CUresult result = begin_on(stream, 0);
    if (!result && bytes && !is_inside(to, bytes))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = sim_enqueue(stream, &op);
    return sim_end(result);
}

/* ---- events --------------------------------------------------------------------------------- */

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    (void)flags;
    if (!result && !(*event = calloc(1, sizeof **event)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        (*event)->device = sim_device();
        sim_count(SIM_LIVE_EVENT, 1);
    }
    return sim_end(result);
}

CUresult cuEventDestroy(CUevent event)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    if (!result)
        result = sim_worked(sim_run_all());
    if (!result) {
        free(event);
        sim_count(SIM_LIVE_EVENT, -1);
    }
    return sim_end(result);
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    sim_op op = {.kind = SIM_RECORD, .event = event};
    CUresult result = begin_on(stream, 0);
    if (!result) {
        event->stream = stream;
        event->is_captured = stream->graph != NULL;
    }
    if (!result && !event->is_captured) {
        op.turn = ++event->asked;
        result = sim_enqueue(stream, &op);
    }
    return sim_end(result);
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    sim_op op = {.kind = SIM_WAIT, .event = event, .turn = event->asked};
    CUresult result = begin_on(stream, 0);
    (void)flags;
    if (!result && event->is_captured && event->stream != stream) {
        sim_explain("a capture over several streams is not simulated");
        result = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (!result && stream->graph && !event->is_captured)
        result = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    if (!result && !event->is_captured)
        result = sim_enqueue(stream, &op);
    return sim_end(result);
}

/* `needs` more of sim_begin, and an event that stands outside of any capture. */
static CUresult begin_with(CUevent event, int needs)
{
    CUresult result = sim_begin(SIM_CONTEXT | needs);
    return !result && event->is_captured ? CUDA_ERROR_CAPTURED_EVENT : result;
}

CUresult cuEventQuery(CUevent event)
{
    CUresult result = begin_with(event, SIM_NO_CAPTURE);
    if (!result && event->done < event->asked) {
        result = sim_worked(sim_run_step(event));
        result = result ? result : CUDA_ERROR_NOT_READY;
    }
    return sim_end(result);
}

CUresult cuEventSynchronize(CUevent event)
{
    CUresult result = begin_with(event, SIM_NO_CAPTURE);
    if (!result)
        result = sim_worked(sim_run_until(event, event->asked));
    return sim_end(result);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to)
{
    CUresult result = begin_with(from, 0);
    if (!result && (!from->asked || !to->asked))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (!result && (from->done < from->asked || to->done < to->asked))
        result = CUDA_ERROR_NOT_READY;
    if (!result)
        *milliseconds = (float)(1e3 * (to->seconds - from->seconds));
    return sim_end(result);
}

/* ---- graphs --------------------------------------------------------------------------------- */

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode)
{
    CUresult result = begin_on(stream, 0);
    (void)mode;
    if (!result && stream->graph)
        result = CUDA_ERROR_ILLEGAL_STATE;
    if (!result && !(stream->graph = sim_graph_new()))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        stream->is_invalid = 0;
        sim_captures(1);
        sim_count(SIM_LIVE_GRAPH, 1);
    }
    return sim_end(result);
}

CUresult cuGraphDestroy(CUgraph graph)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    if (!result) {
        sim_ops_free(graph->first);
        free(graph);
        sim_count(SIM_LIVE_GRAPH, -1);
    }
    return sim_end(result);
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    CUresult result = begin_on(stream, 0);
    if (!result && !stream->graph)
        result = CUDA_ERROR_ILLEGAL_STATE;
    if (!result) {
        *graph = stream->graph;
        stream->graph = NULL;
        sim_captures(-1);
        if (stream->is_invalid) {
            sim_ops_free((*graph)->first);
            free(*graph);
            sim_count(SIM_LIVE_GRAPH, -1);
            *graph = NULL;
            result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        }
    }
    return sim_end(result);
}

CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    (void)flags;
    if (!result && !(*exec = calloc(1, sizeof **exec)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        (*exec)->first = sim_ops_copy(graph->first);
        sim_count(SIM_LIVE_GRAPH, 1);
    }
    return sim_end(result);
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    CUresult result = begin_on(stream, 0);
    for (const sim_op *op = result ? NULL : exec->first; op && !result; op = op->next)
        result = sim_enqueue(stream, op);
    return sim_end(result);
}

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    if (!result) {
        sim_ops_free(exec->first);
        free(exec);
        sim_count(SIM_LIVE_GRAPH, -1);
    }
    return sim_end(result);
}

/* ---- errors --------------------------------------------------------------------------------- */

static const struct {
    CUresult code;
    const char *name, *sentence;
} errors[] = {
#define ERROR(code, sentence) \
    {                         \
        code, #code, sentence \
    }
    ERROR(CUDA_SUCCESS, "no error"),
    ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR(CUDA_ERROR_NOT_READY, "device not ready"),
    ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
          "operation not permitted when stream is capturing"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during "
                                                 "capture"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another "
                                               "stream"),
    ERROR(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a "
                                     "capturing stream"),
#undef ERROR
};

static size_t find_error(CUresult code)
{
    size_t i = 0, n = sizeof errors / sizeof *errors;
    while (i < n && errors[i].code != code)
        i++;
    return i;
}

CUresult cuGetErrorName(CUresult code, const char **name)
{
    size_t i = find_error(code);
    if (i == sizeof errors / sizeof *errors)
        return CUDA_ERROR_INVALID_VALUE;
    *name = errors[i].name;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult code, const char **sentence)
{
    size_t i = find_error(code);
    if (i == sizeof errors / sizeof *errors)
        return CUDA_ERROR_INVALID_VALUE;
    *sentence = errors[i].sentence;
    return CUDA_SUCCESS;
}
