#!/usr/bin/env python3
"""make-gemma2b.py - a random model in the shape of Gemma 2B, for measuring speed.

    python3 etc/benchmarks/make-gemma2b.py /var/tmp/gemma2b             # 5.0 GB, well under a minute
    python3 etc/benchmarks/make-gemma2b.py --layers 4 --vocab 32000 /var/tmp/gemma-small

Speed does not depend on what the weights say, only on their number, layout and being ordinary
values (no zeros, infinities or subnormals).  So a block of random bf16 numbers is drawn once, and
every tensor is cut from it at random places: the folder is written at the speed of the disk and in
little memory.  Names, dtype, order and the division into shards are those of the published model;
there is no tokenizer, so programs have to be given token ids.  The same seed gives the same files.

Needs numpy; the safetensors header is written here.
"""

import argparse
import json
import math
import os
import struct
import time

import numpy as np

BLOCK = 32 << 20        # random numbers drawn: 64 MiB of bf16
PIECE = 2 << 20         # the longest run that is copied from one place


def bf16(x):
    """float32 to the bits of bfloat16, to nearest."""
    return ((x.view(np.uint32) + 0x8000) >> 16).astype("<u2")


def random_block(rng, std):
    block, step = np.empty(BLOCK, "<u2"), 1 << 20
    for i in range(0, BLOCK, step):
        block[i:i + step] = bf16(rng.standard_normal(step, np.float32) * np.float32(std))
    return block


def tensors(a):
    """(published name, shape) in the order of the published file."""
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    yield "model.embed_tokens.weight", (a.vocab, a.hidden)
    for layer in range(a.layers):
        p = f"model.layers.{layer}."
        yield p + "self_attn.q_proj.weight", (q, a.hidden)
        yield p + "self_attn.k_proj.weight", (kv, a.hidden)
        yield p + "self_attn.v_proj.weight", (kv, a.hidden)
        yield p + "self_attn.o_proj.weight", (a.hidden, q)
        yield p + "mlp.gate_proj.weight", (a.ffn, a.hidden)
        yield p + "mlp.up_proj.weight", (a.ffn, a.hidden)
        yield p + "mlp.down_proj.weight", (a.hidden, a.ffn)
        yield p + "input_layernorm.weight", (a.hidden,)
        yield p + "post_attention_layernorm.weight", (a.hidden,)
    yield "model.norm.weight", (a.hidden,)


def shards(items, limit):
    """Lists of tensors, each filled up to `limit` bytes."""
    out, used = [[]], 0
    for name, shape in items:
        size = 2 * math.prod(shape)
        if out[-1] and used + size > limit:
            out.append([])
            used = 0
        out[-1].append((name, shape))
        used += size
    return out


def write_shard(path, items, block, rng):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in items:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, shape in items:
            left = math.prod(shape)
            while left:
                n = min(left, PIECE)
                at = int(rng.integers(0, BLOCK - n + 1))
                f.write(block[at:at + n])
                left -= n
    os.replace(path + ".part", path)
    return end


def config(a):
    return {
        "architectures": ["GemmaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 2, "eos_token_id": 1, "head_dim": a.head_dim, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": a.hidden, "initializer_range": 0.02,
        "intermediate_size": a.ffn, "max_position_embeddings": 8192, "model_type": "gemma",
        "num_attention_heads": a.heads, "num_hidden_layers": a.layers, "num_key_value_heads": a.kv_heads,
        "pad_token_id": 0, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000.0,
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": a.vocab,
    }


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("folder")
    for name, value in (("layers", 18), ("hidden", 2048), ("heads", 8), ("kv-heads", 1), ("head-dim", 256),
                        ("ffn", 16384), ("vocab", 256000), ("seed", 0)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--std", type=float, default=0.02, help="standard deviation of the values")
    p.add_argument("--shard-gb", type=float, default=5.0, help="largest file, in 10^9 bytes; 0: one file")
    return p.parse_args()


def main():
    a, start = arguments(), time.monotonic()
    os.makedirs(a.folder, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    block = random_block(rng, a.std)
    parts = shards(tensors(a), a.shard_gb * 1e9 or math.inf)
    total, where = 0, {}
    for i, items in enumerate(parts, 1):
        name = "model.safetensors" if len(parts) == 1 else f"model-{i:05}-of-{len(parts):05}.safetensors"
        total += write_shard(os.path.join(a.folder, name), items, block, rng)
        where |= {tensor: name for tensor, _ in items}
    files = {"config.json": config(a)}
    if len(parts) > 1:
        files["model.safetensors.index.json"] = {"metadata": {"total_size": total},
                                                 "weight_map": dict(sorted(where.items()))}
    for name, value in files.items():
        with open(os.path.join(a.folder, name), "w") as f:
            f.write(json.dumps(value, indent=2) + "\n")
    print(f"{a.folder}: {total // 2:,} parameters, {total / 1e9:.2f} GB in {len(parts)} file(s), "
          f"{time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
