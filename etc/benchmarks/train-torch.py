#!/usr/bin/env python3
"""train-torch.py - the training of presets/nanogpt-shakespeare.ini or presets/gpt2-124m.ini in PyTorch, for
tokens a second beside `vishwamai train`.

The same architecture (pre-norm RMSNorm, RoPE, SwiGLU, tied head), shapes, batch, AdamW (fused) and
clipping; eager and compiled.  Needs torch; nothing else.

    train-torch.py small|large [--compile] [--threads N] [--steps N]

prints one JSON line: tokens_per_second (the median over the measured steps), tokens_per_cpu_second (of
processor time of all threads: what a busy machine can tell), peak_mib, loss.
"""
import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SIZES = {  # layers, width, heads, ffn, vocabulary, batch, context
    "small": (4, 128, 4, 344, 65, 12, 64),
    "large": (12, 768, 12, 2048, 50304, 4, 64),
}


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-6)


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self, width, heads, ffn):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, width, bias=False)

    def forward(self, x, cos, sin):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, d))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, layers, width, heads, ffn, vocabulary, context):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads, ffn) for _ in range(layers))
        self.norm = Norm(width)
        angles = torch.arange(context)[:, None] * 10000 ** (-torch.arange(0, width // heads, 2) / (width // heads))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids, labels):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = self.norm(x) @ self.embed.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    layers, width, heads, ffn, vocabulary, batch, context = SIZES[args.size]
    model = Model(layers, width, heads, ffn, vocabulary, context)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.99), fused=True)
    run = torch.compile(model) if args.compile else model
    data = torch.randint(vocabulary, (100000,))
    warm = 5 if args.size == "small" else 2
    steps = args.steps or (200 if args.size == "small" else 8)
    seconds, cpu = [], 0
    for step in range(warm + steps):
        began, cpu_began = time.perf_counter(), time.process_time()
        at = torch.randint(len(data) - context - 1, (batch,))
        ids = torch.stack([data[i:i + context] for i in at])
        labels = torch.stack([data[i + 1:i + context + 1] for i in at])
        loss = run(ids, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
        if step >= warm:
            seconds.append(time.perf_counter() - began)
            cpu += time.process_time() - cpu_began
    print(json.dumps({"tokens_per_cpu_second": batch * context * steps / cpu, "tokens_per_second": batch * context / statistics.median(seconds), "loss": value,
                      "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      "parameters": sum(p.numel() for p in model.parameters()), "compiled": args.compile,
                      "threads": args.threads, "torch": torch.__version__}))


main()
