#!/usr/bin/env python3
"""Streamed experts beside the disk: same tokens, peak memory, read bandwidth.

    stream-moe.py VISHWAMAI MODEL [--memory 1G] [--tokens 24] [--rounds 3]

In turns: the file read from end to end with O_DIRECT (the best of one reader of 16 MiB, eight of 1 MiB
and four of 4 MiB, a third of it each), then a generation with [model] expert_memory, by io_uring and by threads.  At the end the same
generation with everything in memory.  Prints a table in Markdown.
"""
import argparse
import json
import mmap
import os
import subprocess
import threading
import time

p = argparse.ArgumentParser()
p.add_argument("vishwamai")
p.add_argument("model")
p.add_argument("--memory", default="1G")
p.add_argument("--tokens", type=int, default=24)
p.add_argument("--rounds", type=int, default=3)
a = p.parse_args()
path = os.path.join(a.model, "model.safetensors")
size = os.path.getsize(path)


def sequential(piece, readers, first, last):
    fd, at, lock = os.open(path, os.O_RDONLY | os.O_DIRECT), [first], threading.Lock()

    def work():
        memory = mmap.mmap(-1, piece)
        while True:
            with lock:
                offset = at[0]
                at[0] += piece
            if offset >= last:
                return
            os.preadv(fd, [memory], offset)

    begun = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(readers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    os.close(fd)
    return (last - first) / (time.monotonic() - begun)


def disk():  # a third of the file each
    third = size // 3 >> 24 << 24
    return max(sequential(16 << 20, 1, 0, third), sequential(1 << 20, 8, third, 2 * third),
               sequential(4 << 20, 4, 2 * third, 3 * third))


def generate(*settings):
    words = [a.vishwamai, "run", "-m", a.model, "--tokens", "2 7 9 100 55 1000 2000 3000 77 12 5",
             "-n", str(a.tokens), "--temp", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0",
             "--seed", "1", "--json", "--set", "sampling.ignore_eos=yes", "--ctx-size", "256"]
    for s in settings:
        words += ["--set", s]
    child = subprocess.Popen(words, stdout=subprocess.PIPE)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit("vishwamai failed")
    r = json.loads(out)
    r["peak"] = usage.ru_maxrss / 1e6
    return r


print("| disk alone, GB/s | way | read, GB | GB/s while reading | share | GB/s of all the time | share "
      "| hits | s a token | peak memory, GB |\n" + "|---" * 10 + "|")
answers = []
for i in range(a.rounds):
    for way in "auto", "pread":
        alone = disk()
        r = generate(f"model.expert_memory={a.memory}", f"model.expert_io={way}")
        answers.append(r["tokens"])
        e, s = r["experts"], r["seconds"]
        read, total = e["bytes_read"], s["prompt"] + s["decode"]
        print(f"| {alone / 1e9:.2f} | {e['method']}{'' if e['direct'] else ', cached'} | {read / 1e9:.1f} | "
              f"{e['bytes_per_second'] / 1e9:.2f} | {e['bytes_per_second'] / alone:.0%} | "
              f"{read / total / 1e9:.2f} | {read / total / alone:.0%} | "
              f"{e['hits'] / (e['hits'] + e['misses']):.0%} | {s['decode'] / a.tokens:.2f} | "
              f"{r['peak']:.2f} |", flush=True)
r = generate()
print(f"\nIn memory: {r['seconds']['decode'] / a.tokens:.2f} s a token, peak {r['peak']:.2f} GB.  "
      f"Tokens: {'equal in all runs' if all(t == r['tokens'] for t in answers) else 'THEY DIFFER'}.")
