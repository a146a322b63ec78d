#!/usr/bin/env python3
"""llama-cpp.py - how fast llama.cpp is on a GGUF file, through its Python binding's C interface.

    python3 etc/benchmarks/llama-cpp.py model.gguf --prompt 512 --decode 64 [--no-mmap] [--flash 0|1]

Prefill of random ids in one batch, then decoding one id at a time, logits of the last position only;
each after a warm-up, the best of --repeats.  Weights are repacked for the CPU when the file is not
mapped (--no-mmap) or the library does so by itself.  Prints one line of JSON.
"""

import argparse
import json
import time

import llama_cpp as ll
import numpy as np


def feed(ctx, ids, at):
    batch = ll.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, t in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(t), at + i, 1
        batch.seq_id[i][0], batch.logits[i] = 0, i + 1 == len(ids)
    began = time.perf_counter()
    if ll.llama_decode(ctx, batch):
        raise SystemExit("llama_decode failed")
    ll.llama_synchronize(ctx)
    took = time.perf_counter() - began
    ll.llama_batch_free(batch)
    return took


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--decode", type=int, default=64)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=1)
    p.add_argument("--no-mmap", action="store_true")
    p.add_argument("--flash", type=int, default=-1, help="-1: as the library likes")
    a = p.parse_args()
    ll.llama_backend_init()
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, None)
    m = ll.llama_model_default_params()
    m.use_mmap, m.n_gpu_layers = not a.no_mmap, 0
    model = ll.llama_model_load_from_file(a.model.encode(), m)
    c = ll.llama_context_default_params()
    c.n_ctx, c.n_batch, c.n_ubatch = 2048, a.prompt, a.prompt
    c.n_threads = c.n_threads_batch = a.threads
    c.flash_attn_type = a.flash
    ctx = ll.llama_init_from_model(model, c)
    if not model or not ctx:
        raise SystemExit(f"cannot run {a.model}")
    ids = np.random.default_rng(5).integers(3, ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model)), 2048)
    memory = ll.llama_get_memory(ctx)
    feed(ctx, ids[:8], 0)
    prefill, decode = [], []
    for _ in range(a.repeats):
        ll.llama_memory_clear(memory, True)
        prefill.append(feed(ctx, ids[:a.prompt], 0))
        ll.llama_memory_clear(memory, True)
        decode.append(sum(feed(ctx, ids[i:i + 1], i) for i in range(a.decode)))
    print(json.dumps({"prefill_tokens_s": a.prompt / min(prefill), "decode_tokens_s": a.decode / min(decode),
                      "mapped": not a.no_mmap, "flash": a.flash,
                      "system": ll.llama_print_system_info().decode()}))


main()
