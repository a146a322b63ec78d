#!/usr/bin/env python3
"""make-gguf.py - random Gemmas as GGUF files, for measuring speed beside other programs.

    python3 etc/benchmarks/make-gguf.py small q4_0 /var/tmp/small-q4_0.gguf   # 114 M parameters
    python3 etc/benchmarks/make-gguf.py gemma2b q8_0 /var/tmp/2b-q8_0.gguf    # 2.51 B, 2.7 GB

Speed does not depend on what the weights say, only on their number, layout and being ordinary values.
So one stretch of random blocks is made and every tensor is cut from it at random places.  There is no
vocabulary, so programs have to be given token ids.  Needs numpy and gguf.
"""

import sys

import gguf
import numpy as np

SHAPES = {
    "small": dict(layers=12, d=768, heads=12, kv_heads=4, head_dim=64, ffn=2560, vocab=32000),
    "gemma2b": dict(layers=18, d=2048, heads=8, kv_heads=1, head_dim=256, ffn=16384, vocab=256000),
}
TYPES = {"q8_0": (gguf.GGMLQuantizationType.Q8_0, 34), "q4_0": (gguf.GGMLQuantizationType.Q4_0, 18)}
POOL = 1 << 20  # blocks


def random_blocks(block_bytes, rng):
    """Values of about 0.02 each: codes are spread over their range, scales are near one another."""
    most = 127 if block_bytes == 34 else 8
    scale = (0.035 / most * (1 + 0.1 * rng.standard_normal(POOL))).astype("<f2")
    blocks = rng.integers(0, 256, (POOL, block_bytes), dtype=np.uint8)
    blocks[:, :2] = scale.view(np.uint8).reshape(POOL, 2)
    return blocks


def main():
    shape, kind, path = sys.argv[1:]
    s, (dtype, block_bytes), rng = SHAPES[shape], TYPES[kind], np.random.default_rng(1)
    pool = random_blocks(block_bytes, rng)
    w = gguf.GGUFWriter(path, "gemma")
    w.add_context_length(2048), w.add_vocab_size(s["vocab"]), w.add_embedding_length(s["d"])
    w.add_block_count(s["layers"]), w.add_feed_forward_length(s["ffn"])
    w.add_head_count(s["heads"]), w.add_head_count_kv(s["kv_heads"])
    w.add_key_length(s["head_dim"]), w.add_value_length(s["head_dim"])
    w.add_layer_norm_rms_eps(1e-6), w.add_rope_freq_base(10000.0)
    w.add_tokenizer_model("none"), w.add_bos_token_id(2), w.add_eos_token_id(1)

    def matrix(name, rows, cols):
        n = rows * cols // 32
        parts = []
        while n > 0:
            at = int(rng.integers(0, POOL // 2))
            parts.append(pool[at:at + min(n, POOL // 2)])
            n -= len(parts[-1])
        raw = np.concatenate(parts).reshape(rows, cols // 32 * block_bytes)
        w.add_tensor(name + ".weight", raw, raw_dtype=dtype)

    def norm(name):
        w.add_tensor(name + ".weight", (1 + 0.1 * rng.standard_normal(s["d"])).astype(np.float32))

    q, kv = s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"]
    matrix("token_embd", s["vocab"], s["d"])
    norm("output_norm")
    for i in range(s["layers"]):
        p = f"blk.{i}."
        norm(p + "attn_norm")
        matrix(p + "attn_q", q, s["d"]), matrix(p + "attn_k", kv, s["d"]), matrix(p + "attn_v", kv, s["d"])
        matrix(p + "attn_output", s["d"], q)
        norm(p + "ffn_norm")
        matrix(p + "ffn_gate", s["ffn"], s["d"]), matrix(p + "ffn_up", s["ffn"], s["d"])
        matrix(p + "ffn_down", s["d"], s["ffn"])
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


main()
