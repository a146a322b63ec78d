#!/usr/bin/env python3
"""train-race.py - `vishwamai train` beside PyTorch, one after the other, round after round.

    train-race.py small|large [--vishwamai PROGRAM] [--rounds N] [--steps N] [--threads N]
                              [--only ours,eager,compiled] [--set SECTION.KEY=VALUE ...]

The presets nanogpt-shakespeare.ini and gpt2-124m.ini on random tokens, against train-torch.py of the
same shapes.  A round runs each of the three as a process of its own: ours, eager, compiled.  Tokens a
second are of the median step, the first ones left out; peak memory is the kernel's account of each
process.  One line a process, then the medians over the rounds and their ratios to the faster rival.
Needs a Python with torch; torch.compile wants a C++ compiler.
"""
import argparse
import array
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = {  # preset, vocabulary, tokens a step, steps to warm up, steps measured
    "small": ("nanogpt-shakespeare.ini", 65, 12 * 64, 20, 200),
    "large": ("gpt2-124m.ini", 50304, 4 * 64, 2, 8),
}


def peak_mib(process):
    """Waits for the process; what it held at most."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / 1024


def write_tokens(path, vocabulary):
    draw = random.Random(1)
    array.array("H", (draw.randrange(vocabulary) for _ in range(100000))).tofile(open(path, "wb"))


def lines_of(path):
    try:
        text = open(path).read()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def ours(args, folder):
    """The run is ended, not finished: PyTorch's writes no checkpoint either."""
    preset, vocabulary, tokens, warm, steps = SIZES[args.size]
    out = os.path.join(folder, "run-%d" % len(os.listdir(folder)))
    command = [args.vishwamai, "train", "-c", os.path.join(HERE, "../presets", preset),
               "-t", str(args.threads)]
    for setting in ("data.train=%s/tokens.u16" % folder, "train.out=" + out,
                    "data.vocab_size=%d" % vocabulary, "train.max_steps=100000",
                    "train.log_every=1", "train.eval_every=0", "train.save_every=0", *args.set):
        command += ["--set", setting]
    process = subprocess.Popen(command, stderr=open(out + ".log", "w"))
    want, lines = warm + (args.steps or steps), []
    while len(lines) <= want:
        if process.poll() is not None:
            sys.exit(open(out + ".log").read())
        time.sleep(0.5)
        lines = lines_of(out + "/metrics.jsonl")
    process.send_signal(signal.SIGKILL)
    peak = peak_mib(process)
    at = [line["seconds"] for line in lines[warm:want + 1]]
    seconds = statistics.median(b - a for a, b in zip(at, at[1:]))
    return {"tokens_per_second": tokens / seconds, "peak_mib": peak, "loss": lines[want]["train_loss"],
            "mfu": statistics.median(line["mfu"] for line in lines[warm:want + 1])}


def torch(args, folder, is_compiled):
    command = [sys.executable, os.path.join(HERE, "train-torch.py"), args.size, "--threads", str(args.threads)]
    command += ["--compile"] if is_compiled else []
    command += ["--steps", str(args.steps)] if args.steps else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    answer = process.stdout.read()
    peak = peak_mib(process)
    if process.returncode:
        sys.exit("%s: exit status %d" % (" ".join(command), process.returncode))
    return dict(json.loads(answer), peak_mib=peak)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--vishwamai", default="vishwamai")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="ours,eager,compiled")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    runners = {"ours": ours, "eager": lambda a, f: torch(a, f, False), "compiled": lambda a, f: torch(a, f, True)}
    results = {name: [] for name in args.only.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(folder + "/tokens.u16", SIZES[args.size][1])
        for number in range(args.rounds):
            for name, all_of_it in results.items():
                all_of_it.append(runners[name](args, folder))
                print(json.dumps({"round": number, "name": name, **all_of_it[-1]}), flush=True)
    median = {name: statistics.median(r["tokens_per_second"] for r in all_of_it) for name, all_of_it in results.items()}
    rivals = [speed for name, speed in median.items() if name != "ours"]
    for name, all_of_it in results.items():
        print("%-9s %9.1f tokens/s  %8.0f MiB" % (name, median[name], max(r["peak_mib"] for r in all_of_it)))
    if "ours" in median and rivals:
        print("ours / the faster rival: %.2f" % (median["ours"] / max(rivals)))


main()
