#!/usr/bin/env python3
"""make-gguf.py - random models as GGUF files, for measuring speed beside other programs.

    python3 etc/benchmarks/make-gguf.py small q4_0 /var/tmp/small-q4_0.gguf   # a Gemma, 114 M parameters
    python3 etc/benchmarks/make-gguf.py gemma2b q8_0 /var/tmp/2b-q8_0.gguf    # 2.51 B, 2.7 GB
    python3 etc/benchmarks/make-gguf.py small q4_k_m /var/tmp/small-k.gguf    # Q4_K; attn_v, ffn_down, token_embd Q6_K
    python3 etc/benchmarks/make-gguf.py dsmoe q8_0 /var/tmp/dsmoe-q8_0.gguf   # a DeepSeek, 493 M, 152 M active

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
    "dsmoe": dict(layers=8, d=1024, heads=16, q_lora=512, kv_lora=512, rope=64, nope=128, v=128, ffn=2816,
                  dense=1, experts=32, used=4, shared=1, expert_ffn=512, vocab=32000),
}
Q = gguf.GGMLQuantizationType
# Values and bytes of a block, where its numbers of half precision lie, and about how large they are.
TYPES = {
    "q8_0": (Q.Q8_0, 32, 34, {0: 0.035 / 127}),
    "q4_0": (Q.Q4_0, 32, 18, {0: 0.035 / 8}),
    "q4_k": (Q.Q4_K, 256, 144, {0: 0.02 / 200, 2: 0.02 / 200 * 7.5}),
    "q6_k": (Q.Q6_K, 256, 210, {208: 0.02 / 1400}),
}
POOL = 1 << 25  # values


def random_blocks(kind, rng):
    """Values of about 0.02 each: codes are spread over their range, scales are near one another."""
    _, values, size, halves = TYPES[kind]
    n = POOL // values
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at, about in halves.items():
        half = (about * (1 + 0.1 * rng.standard_normal(n))).astype("<f2")
        blocks[:, at:at + 2] = half.view(np.uint8).reshape(n, 2)
    return blocks


class Writer(gguf.GGUFWriter):
    def __init__(self, path, architecture, s, kind):
        super().__init__(path, architecture)
        self.kind, self.rng, self.pools = kind, np.random.default_rng(1), {}
        self.add_context_length(2048), self.add_vocab_size(s["vocab"]), self.add_embedding_length(s["d"])
        self.add_block_count(s["layers"]), self.add_feed_forward_length(s["ffn"]), self.add_head_count(s["heads"])
        self.add_layer_norm_rms_eps(1e-6), self.add_rope_freq_base(10000.0)
        self.add_tokenizer_model("none"), self.add_bos_token_id(2), self.add_eos_token_id(1)

    def kind_of(self, name):
        if self.kind != "q4_k_m":
            return self.kind
        return "q6_k" if name.endswith(("attn_v", "ffn_down", "token_embd")) else "q4_k"

    def matrix(self, name, *shape):
        kind = self.kind_of(name)
        dtype, values, size, _ = TYPES[kind]
        if kind not in self.pools:
            self.pools[kind] = random_blocks(kind, self.rng)
        pool, n, parts = self.pools[kind], int(np.prod(shape)) // values, []
        while n > 0:
            at = int(self.rng.integers(0, len(pool) // 2))
            parts.append(pool[at:at + min(n, len(pool) // 2)])
            n -= len(parts[-1])
        raw = np.concatenate(parts).reshape(*shape[:-1], shape[-1] // values * size)
        self.add_tensor(name + ".weight", raw, raw_dtype=dtype)

    def norm(self, name, n):
        self.add_tensor(name + ".weight", (1 + 0.1 * self.rng.standard_normal(n)).astype(np.float32))

    def mlp(self, name, d, ffn, *stack):
        name, ending = name.split("*")
        self.matrix(f"{name}gate{ending}", *stack, ffn, d), self.matrix(f"{name}up{ending}", *stack, ffn, d)
        self.matrix(f"{name}down{ending}", *stack, d, ffn)


def gemma(w, s):
    q, kv, d = s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"], s["d"]
    w.add_head_count_kv(s["kv_heads"]), w.add_key_length(s["head_dim"]), w.add_value_length(s["head_dim"])
    for i in range(s["layers"]):
        p = f"blk.{i}."
        w.norm(p + "attn_norm", d)
        w.matrix(p + "attn_q", q, d), w.matrix(p + "attn_k", kv, d), w.matrix(p + "attn_v", kv, d)
        w.matrix(p + "attn_output", d, q)
        w.norm(p + "ffn_norm", d)
        w.mlp(p + "ffn_*", d, s["ffn"])


def deepseek(w, s):
    d, H, r = s["d"], s["heads"], s["kv_lora"]
    w.add_head_count_kv(1), w.add_rope_dimension_count(s["rope"])
    w.add_q_lora_rank(s["q_lora"]), w.add_kv_lora_rank(r)
    w.add_key_length(r + s["rope"]), w.add_value_length(r)
    w.add_key_length_mla(s["nope"] + s["rope"]), w.add_value_length_mla(s["v"])
    w.add_leading_dense_block_count(s["dense"]), w.add_expert_count(s["experts"]), w.add_expert_used_count(s["used"])
    w.add_expert_shared_count(s["shared"]), w.add_expert_feed_forward_length(s["expert_ffn"])
    w.add_expert_weights_scale(2.5), w.add_expert_weights_norm(True)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.matrix("output", s["vocab"], d)
    for i in range(s["layers"]):
        p = f"blk.{i}."
        w.norm(p + "attn_norm", d)
        w.matrix(p + "attn_q_a", s["q_lora"], d), w.norm(p + "attn_q_a_norm", s["q_lora"])
        w.matrix(p + "attn_q_b", H * (s["nope"] + s["rope"]), s["q_lora"])
        w.matrix(p + "attn_kv_a_mqa", r + s["rope"], d), w.norm(p + "attn_kv_a_norm", r)
        w.matrix(p + "attn_k_b", H, r, s["nope"]), w.matrix(p + "attn_v_b", H, s["v"], r)
        w.matrix(p + "attn_output", d, H * s["v"])
        w.norm(p + "ffn_norm", d)
        if i < s["dense"]:
            w.mlp(p + "ffn_*", d, s["ffn"])
            continue
        router = w.rng.standard_normal((s["experts"], d)) * d ** -0.5
        w.add_tensor(p + "ffn_gate_inp.weight", router.astype(np.float32))
        w.add_tensor(p + "exp_probs_b.bias", (0.01 * w.rng.standard_normal(s["experts"])).astype(np.float32))
        w.mlp(p + "ffn_*_exps", d, s["expert_ffn"], s["experts"])
        w.mlp(p + "ffn_*_shexp", d, s["shared"] * s["expert_ffn"])


def main():
    shape, kind, path = sys.argv[1:]
    s = SHAPES[shape]
    w = Writer(path, "deepseek2" if "kv_lora" in s else "gemma", s, kind)
    w.matrix("token_embd", s["vocab"], s["d"]), w.norm("output_norm", s["d"])
    (deepseek if "kv_lora" in s else gemma)(w, s)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


main()
