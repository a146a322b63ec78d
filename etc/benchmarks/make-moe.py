#!/usr/bin/env python3
"""Write a random mixture-of-experts checkpoint of any size, for measurements of streaming.

    make-moe.py DIR [--gigabytes 8] [--layers 8] [--experts 128] [--together]

The weights are bf16, their values drawn once for each shape and rolled by another amount for each
tensor, so that writing is as fast as the disk.  Every router is drawn anew, so tokens differ in what
they need.  --together writes each expert's gate, up and down side by side, in blocks of 4096 bytes.
Needs numpy.
"""
import argparse
import json
import os

import numpy as np

p = argparse.ArgumentParser()
p.add_argument("folder")
p.add_argument("--gigabytes", type=float, default=8)
p.add_argument("--layers", type=int, default=8)
p.add_argument("--experts", type=int, default=64)
p.add_argument("--width", type=int, default=2048)
p.add_argument("--top", type=int, default=8)
p.add_argument("--vocabulary", type=int, default=4096)
p.add_argument("--together", action="store_true")
a = p.parse_args()

ffn = int(a.gigabytes * 1e9 / (a.layers * a.experts * 3 * a.width * 2)) // 64 * 64
heads = a.width // 128
rng = np.random.default_rng(1)


def bf16(x):
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


tensors = [("model.embed_tokens.weight", (a.vocabulary, a.width)), ("model.norm.weight", (a.width,))]
for layer in range(a.layers):
    name = f"model.layers.{layer}."
    tensors += [(name + "input_layernorm.weight", (a.width,)),
                (name + "self_attn.q_proj.weight", (a.width, a.width)),
                (name + "self_attn.k_proj.weight", (a.width // 4, a.width)),
                (name + "self_attn.v_proj.weight", (a.width // 4, a.width)),
                (name + "self_attn.o_proj.weight", (a.width, a.width)),
                (name + "post_attention_layernorm.weight", (a.width,)),
                (name + "mlp.gate.weight", (a.experts, a.width))]
for layer in range(a.layers):
    for expert in range(a.experts):
        name = f"model.layers.{layer}.mlp.experts.{expert}."
        tensors += [(name + "gate_proj.weight", (ffn, a.width)),
                    (name + "up_proj.weight", (ffn, a.width)),
                    (name + "down_proj.weight", (a.width, ffn))]
if not a.together:  # as published files are: by name, so gate and down of an expert lie apart
    tensors.sort(key=lambda t: (t[0].rsplit(".", 2)[-2], t[0]) if "experts" in t[0] else ("", t[0]))

config = {
    "architectures": ["VishwamaiForCausalLM"], "model_type": "vishwamai", "hidden_act": "silu",
    "vocab_size": a.vocabulary, "hidden_size": a.width, "num_hidden_layers": a.layers,
    "num_attention_heads": heads, "num_key_value_heads": heads // 4, "head_dim": 128,
    "intermediate_size": ffn, "max_position_embeddings": 1024, "num_experts": a.experts,
    "num_experts_per_tok": a.top, "moe_intermediate_size": ffn, "n_shared_experts": 0,
    "first_k_dense_replace": 0, "scoring_func": "softmax", "norm_topk_prob": True,
    "router_aux_loss_coef": 0, "capacity_factor": 0, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "dropout": 0, "initializer_range": 0.02, "tie_word_embeddings": True}
os.makedirs(a.folder, exist_ok=True)
json.dump(config, open(f"{a.folder}/config.json", "w"), indent=1)

header, at = {}, 0
for name, shape in tensors:
    size = 2 * int(np.prod(shape))
    header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
    at += size
text = json.dumps(header).encode()
text += b" " * (-(len(text) + 8) % 4096)
pool = bf16(rng.standard_normal(8 << 20) * 0.02)
with open(f"{a.folder}/model.safetensors", "wb") as out:
    out.write(len(text).to_bytes(8, "little") + text)
    for name, shape in tensors:
        n = int(np.prod(shape))
        if len(shape) == 1:
            values = bf16(np.ones(n))
        elif name.endswith("mlp.gate.weight"):
            values = bf16(rng.standard_normal(n) * 0.1)
        else:
            values = np.resize(np.roll(pool, -int(rng.integers(pool.size))), n)
        out.write(values.tobytes())
print(f"{a.folder}: {at / 1e9:.2f} GB, {a.layers} layers of {a.experts} experts of "
      f"{6 * a.width * ffn / 1e6:.1f} MB, top {a.top}")
