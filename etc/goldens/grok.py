"""grok.py - tiny random Grok-1 checkpoints with the logits of a float64 forward.

No published program of Grok-1 runs on a bare CPU in double precision, so the goldens come from the forward
below, which is written from the description of the model; --llama FOLDER holds it against llama.cpp, an
independent engine.  The same weights are written as xAI published theirs (pickles of int8 with scales, the
layers in the order of their sorted names) and, dequantised, under the names of the published conversions.

Letters: T tokens, V vocabulary, d width, H heads, K KV heads, D head size, F width of an expert, E experts.
"""

import argparse
import json
import math
import os
import pickle
import shutil
import sys

import ml_dtypes
import numpy as np

import tensorfile

TOLERANCE = 2e-4  # of the logits' standard deviation: what the tests use
BUGS = {
    "swap": "gate and up exchanged",
    "pairs": "RoPE on neighbouring pairs instead of halves",
    "std_scale": "1/sqrt(D) instead of the configured multiplier",
    "no_embed": "embedding multiplier forgotten",
    "no_out": "output multiplier forgotten",
    "no_post": "norms behind attention and experts forgotten",
    "theta": "RoPE base 1e5, the wrong class default",
    "silu": "silu, the wrong class default",
    "erf": "GELU with erf instead of its tanh form",
    "see_pad": "keys of padding seen",
    "no_cap": "soft-cap of attention forgotten",
    "late_cap": "soft-cap behind the mask",
    "router_cap": "soft-cap on the router",
    "renorm": "weights of the two experts renormalised",
    "top_softmax": "softmax over the chosen experts alone",
    "kv_modulo": "query head h reads KV head h mod K instead of h / (H / K)",
    "order": "layers in the order of their numbers",
    "eps": "rms_norm_eps 1e-6 whatever the configuration says",
}


def rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def activation(bug):
    if bug == "silu":
        return lambda x: x / (1 + np.exp(-x))
    if bug == "erf":
        return lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if bug == "half_table":   # no error: how ggml looks GELU up, by and as half precision
        return lambda x: activation(None)(x.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)
    return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def rotate(x, theta, pairs):
    T, _, D = x.shape
    angle = np.arange(T)[:, None, None] * theta ** (-np.arange(0, D, 2) / D)
    a, b = (slice(0, None, 2), slice(1, None, 2)) if pairs else (slice(0, D // 2), slice(D // 2, None))
    y = np.empty_like(x)
    y[..., a] = x[..., a] * np.cos(angle) - x[..., b] * np.sin(angle)
    y[..., b] = x[..., b] * np.cos(angle) + x[..., a] * np.sin(angle)
    return y


def attend(c, q, k, v, seen, bug):
    H, K, D = c["heads"], c["kv_heads"], c["head_dim"]
    head = np.arange(H) % K if bug == "kv_modulo" else np.arange(H) // (H // K)
    z = np.einsum("ihd,jhd->hij", q, k[:, head]) * (D ** -0.5 if bug == "std_scale" else c["attn_mult"])
    if bug == "late_cap":
        z = np.where(seen, z, -1e30)
    if bug != "no_cap":
        z = c["cap"] * np.tanh(z / c["cap"])
    if bug != "late_cap":
        z = np.where(seen, z, -1e30)
    return np.einsum("hij,jhd->ihd", softmax(z), v[:, head]).reshape(len(q), -1)


def experts(c, W, p, h, bug):
    act, E = activation(bug), c["experts"]
    logits = h @ W[p + "router.weight"].T
    if bug == "router_cap":
        logits = 30 * np.tanh(logits / 30)
    share, y = softmax(logits), np.zeros_like(h)
    gate, up = ("linear_v", "linear") if bug == "swap" else ("linear", "linear_v")
    for t in range(len(h)):
        best = np.argsort(-logits[t], kind="stable")[:c["top_k"]]
        w = softmax(logits[t, best]) if bug == "top_softmax" else share[t, best]
        w = w / w.sum() if bug == "renorm" else w
        for e, we in zip(best, w):
            m = f"{p}moe.{e}."
            inner = act(W[f"{m}{gate}.weight"] @ h[t]) * (W[f"{m}{up}.weight"] @ h[t])
            y[t] += we * (W[m + "linear_1.weight"] @ inner)
    return y


def forward(c, W, tokens, bug=None):
    """Logits [T, V]; W maps the names of keyfan's conversion to float64 arrays."""
    T, H, K, D = len(tokens), c["heads"], c["kv_heads"], c["head_dim"]
    eps = 1e-6 if bug == "eps" else c["eps"]
    theta = 1e5 if bug == "theta" else 1e4
    E = W["transformer.in_out_embed.weight"]
    x = E[tokens] * (1.0 if bug == "no_embed" else c["embed_mult"])
    back = np.arange(T)[:, None] >= np.arange(T)
    seen = back if bug == "see_pad" else back & (np.asarray(tokens) != 0)[None, :]
    order = sorted(range(c["layers"]), key=str)
    for i in range(c["layers"]):
        p = f"transformer.decoder_layer.{order[i] if bug == 'order' else i}."

        def norm(x, name):
            return rms(x, W[f"{p}{name}.weight"], eps)

        def after(x, name):
            return x if bug == "no_post" else norm(x, name)

        h = norm(x, "rms_norm")
        q, k, v = ((h @ W[f"{p}multi_head_attention.{n}.weight"].T).reshape(T, heads, D)
                   for n, heads in (("query", H), ("key", K), ("value", K)))
        q, k = rotate(q, theta, bug == "pairs"), rotate(k, theta, bug == "pairs")
        a = attend(c, q, k, v, seen, bug) @ W[p + "multi_head_attention.linear.weight"].T
        x = x + after(a, "rms_norm_1")
        x = x + after(experts(c, W, p, norm(x, "rms_norm_2"), bug), "rms_norm_3")
    return rms(x, W["transformer.rms_norm.weight"], eps) @ E.T * (1.0 if bug == "no_out" else c["out_mult"])


# ---- weights ------------------------------------------------------------------------------------------------


class QuantizedWeight8bit:
    """What xAI's program calls a matrix of int8 and its scales; a pickle of it names this class."""

    def __init__(self, weight, scales):
        self.weight, self.scales = weight, scales


def quantise(x, blocks):
    """x [..., in, out] as int8 with a bfloat16 scale for each of `blocks` parts of the rows and each column."""
    n = x.shape[-2] // blocks
    parts = x.reshape(*x.shape[:-2], blocks, n, x.shape[-1])
    scales = (np.abs(parts).max(-2) / 127).astype(ml_dtypes.bfloat16)
    wide = np.repeat(scales.astype(np.float32), n, -2)
    codes = np.clip(np.rint(x / wide), -127, 127).astype(np.int8)
    return QuantizedWeight8bit(codes, scales), codes.astype(np.float32) * wide


def random_leaves(c, rng, gain):
    """The leaves of each layer by name, [in, out], and the leaves before them; float32."""
    d, F, E, V = c["d"], c["ffn"], c["experts"], c["vocab"]
    q, kv = c["heads"] * c["head_dim"], c["kv_heads"] * c["head_dim"]

    def matrix(*shape, by=1.0):
        return (rng.standard_normal(shape) * by / shape[-2] ** 0.5).astype(np.float32)

    def norm(by=1.0):   # what a layer adds is kept small: eleven layers must not make chaos of a rounding
        return (by * (1 + 0.2 * rng.standard_normal(d))).astype(np.float32)

    own = [(rng.standard_normal((V, d)) / d ** 0.5).astype(np.float32), norm()]
    layers = [{
        "linear": matrix(E, d, F), "linear_1": matrix(E, F, d, by=gain["down"]), "linear_v": matrix(E, d, F),
        "multi_head_attention.key": matrix(d, kv, by=gain["qk"]), "multi_head_attention.linear": matrix(q, d),
        "multi_head_attention.query": matrix(d, q, by=gain["qk"]), "multi_head_attention.value": matrix(d, kv),
        "rms_norm": norm(), "rms_norm_1": norm(gain["post"]), "rms_norm_2": norm(), "rms_norm_3": norm(gain["post"]),
        "router": matrix(d, E, by=gain["router"])} for _ in range(c["layers"])]
    return own, layers


BLOCKS = {"linear_1": 8, "multi_head_attention.linear": 8}   # row parts of the eight devices


def write_original(folder, own, layers):
    """One pickle a leaf, layers in the order of their sorted names; returns the layers as they will be read."""
    os.makedirs(f"{folder}/ckpt-0")
    leaves, read = list(own), []
    for i in range(len(layers)):
        read.append({})
    for i in sorted(range(len(layers)), key=str):
        for name in sorted(layers[i], key=lambda n: ("moe/" if n.startswith("linear") else "") + n.replace(".", "/")):
            x = layers[i][name]
            if name.startswith("rms_norm") or name == "router":
                leaf, read[i][name] = x, x
            else:
                leaf, read[i][name] = quantise(x, BLOCKS.get(name, 1))
            leaves.append(leaf)
    for i, leaf in enumerate(leaves):
        with open(f"{folder}/ckpt-0/tensor{i:05d}_000", "wb") as f:
            pickle.dump(leaf, f, protocol=(4, 5, 3)[i % 3])
    return read


def by_keyfan(c, own, layers):
    """Published names to arrays [out, in]."""
    W = {"transformer.in_out_embed.weight": own[0], "transformer.rms_norm.weight": own[1]}
    for i, leaves in enumerate(layers):
        p = f"transformer.decoder_layer.{i}."
        for name, x in leaves.items():
            if x.ndim == 3:
                for e in range(c["experts"]):
                    W[f"{p}moe.{e}.{name}.weight"] = np.ascontiguousarray(x[e].T)
            else:
                W[f"{p}{name}.weight"] = np.ascontiguousarray(x.T)
    return W


RENAMED = {
    "lmzheng": [("transformer.decoder_layer.", "model.layers."), ("multi_head_attention.query", "self_attn.q_proj"),
                ("multi_head_attention.key", "self_attn.k_proj"), ("multi_head_attention.value", "self_attn.v_proj"),
                ("multi_head_attention.linear", "self_attn.o_proj"), ("moe.", "block_sparse_moe.experts."),
                ("router", "block_sparse_moe.gate"), ("linear_v", "w3"), ("linear_1", "w2"), ("linear.", "w1."),
                ("rms_norm_1", "post_attn_norm"), ("rms_norm_2", "pre_moe_norm"), ("rms_norm_3", "post_moe_norm")],
    "hpcai": [("transformer.decoder_layer.", "model.layers."), ("multi_head_attention.query", "attn.q_proj"),
              ("multi_head_attention.key", "attn.k_proj"), ("multi_head_attention.value", "attn.v_proj"),
              ("multi_head_attention.linear", "attn.o_proj"), ("router", "moe_block.gate"),
              ("moe.", "moe_block.experts."), ("rms_norm_1.weight", "post_attn_norm.scale"),
              ("rms_norm_2.weight", "pre_moe_norm.scale"), ("rms_norm_3.weight", "post_moe_norm.scale")],
}


def rename(style, W):
    out = {}
    for name, x in W.items():
        if name == "transformer.in_out_embed.weight":
            name = "model.embed_tokens.weight"
        elif name == "transformer.rms_norm.weight":
            name = "model.norm.weight" if style == "lmzheng" else "model.norm.scale"
        else:
            for old, new in RENAMED[style]:
                name = name.replace(old, new)
            name = name.replace("rms_norm.weight", "pre_attn_norm." + ("weight" if style == "lmzheng" else "scale"))
        out[name] = x
    if style == "lmzheng":
        out["lm_head.weight"] = out["model.embed_tokens.weight"]
    return out


# ---- configurations, as each writer has them -------------------------------------------------------------------


def config_of(style, c):
    numbers = {"embedding_multiplier_scale": c["embed_mult"], "output_multiplier_scale": c["out_mult"]}
    if style == "run.py":
        return {"model_type": "grok", "vocab_size": c["vocab"], "pad_token": 0, "eos_token": 2,
                "sequence_len": 512, "emb_size": c["d"], "widening_factor": c["ffn"] * 1.5 / c["d"],
                "key_size": c["head_dim"], "num_q_heads": c["heads"], "num_kv_heads": c["kv_heads"],
                "num_layers": c["layers"], "attn_output_multiplier": c["attn_mult"], "num_experts": c["experts"],
                "num_selected_experts": c["top_k"], **numbers}
    shared = {"vocab_size": c["vocab"], "hidden_size": c["d"], "intermediate_size": c["ffn"],
              "num_hidden_layers": c["layers"], "num_attention_heads": c["heads"],
              "num_key_value_heads": c["kv_heads"], "num_experts_per_tok": c["top_k"],
              "max_position_embeddings": 512, "rms_norm_eps": c["eps"], "pad_token_id": 0, "bos_token_id": 1,
              "eos_token_id": 2, "tie_word_embeddings": True, **numbers}
    if c["head_dim"] * c["heads"] != c["d"]:
        shared["head_dim"] = c["head_dim"]
    if style == "keyfan":
        return {"architectures": ["GrokForCausalLM"], "model_type": "grok", "hidden_act": "gelu",
                "attn_output_multiplier": c["attn_mult"], "num_local_experts": c["experts"], "rope_theta": 10000.0,
                **shared}
    if style == "lmzheng":   # it says nothing of the attention multiplier, which is then 1/sqrt(D)
        return {"architectures": ["Grok1ModelForCausalLM"], "model_type": "mixtral", "hidden_act": "gelu",
                "num_local_experts": c["experts"], "rope_theta": 10000.0, "sliding_window": None, **shared}
    return {"architectures": ["Grok1ModelForCausalLM"], "model_type": "grok-1",
            "attn_output_multiplier": c["attn_mult"], "max_attn_value": c["cap"], "num_experts": c["experts"], **shared}


# ---- goldens ----------------------------------------------------------------------------------------------------


def greedy(c, W, tokens, n):
    """n greedy ids, and the smallest lead of a best logit over the next."""
    ids, gap = list(tokens), math.inf
    for _ in range(n):
        last = forward(c, W, ids)[-1]
        row = np.sort(last)
        gap = min(gap, row[-1] - row[-2])
        ids.append(int(np.argmax(last)))
    return ids[len(tokens):], gap


def choose(c, W, rng, length, pads):
    """A prompt whose greedy continuation no rounding can change."""
    for _ in range(50):
        ids = [int(t) for t in rng.integers(3, c["vocab"], length)]
        for at in pads:
            ids[at] = 0
        out, gap = greedy(c, W, ids, 12)
        if gap > 0.01 * forward(c, W, ids).std() and 0 not in out:
            return ids, out, float(gap)
    sys.exit("no prompt with a safe continuation")


PROMPTS = {"short": (20, []), "long": (80, []), "pad": (26, [0, 7, 8, 25])}


def goldens(c, W, rng, name, seen):
    tensors, prompts = {}, {}
    for kind, (length, pads) in PROMPTS.items():
        ids, out, gap = choose(c, W, rng, length, pads)
        logits = forward(c, W, ids)
        rows, std = np.asarray(ids) != 0, float(logits.std())
        for bug in BUGS:
            change = float(np.abs(forward(c, W, ids, bug) - logits)[rows].max() / std)
            seen.setdefault(bug, {})[name, kind] = change
        tensors[f"{kind}.logits"] = (logits, "F32")
        prompts[kind] = {"tokens": ids, "greedy": out, "greedy_min_gap": gap, "logits_std": std,
                         "logits_max_abs": float(np.abs(logits).max())}
    return tensors, prompts


def write_golden(folder, tensors, prompts, seed):
    tensorfile.write(f"{folder}/golden.safetensors", tensors)
    with open(f"{folder}/golden.json", "w") as f:
        json.dump({"made_by": "etc/goldens/grok.py", "dtype": "float64", "numpy": np.__version__, "seed": seed,
                   "prompts": prompts}, f, indent=1)


def write_config(folder, style, c):
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config_of(style, c), f, indent=1)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


THIN = dict(layers=11, d=16, heads=4, kv_heads=2, head_dim=6, ffn=16, experts=8, top_k=2, vocab=64,
            embed_mult=4.0, attn_mult=6 ** -0.5, out_mult=0.5773502691896257, cap=30.0, eps=1e-5)
WIDE = dict(layers=3, d=36, heads=6, kv_heads=2, head_dim=6, ffn=42, experts=6, top_k=3, vocab=101,
            embed_mult=5.5, attn_mult=0.35, out_mult=0.6, cap=11.0, eps=3e-3)
GAINS = {"thin": {"qk": 2.6, "router": 2.0, "down": 0.2, "post": 0.35},
         "wide": {"qk": 4.0, "router": 3.0, "down": 0.1, "post": 1.0}}


def thin(out, seed, seen):
    """One model of eleven layers, as xAI would have published it and under two conversions' names."""
    rng = np.random.default_rng(seed)
    folder = fresh(f"{out}/grok-original")
    own, layers = random_leaves(THIN, rng, GAINS["thin"])
    W = by_keyfan(THIN, own, write_original(folder, own, layers))
    tensors, prompts = goldens(THIN, {n: x.astype(np.float64) for n, x in W.items()}, rng, "thin", seen)
    write_config(folder, "run.py", THIN)
    write_golden(folder, tensors, prompts, seed)
    for style in ("keyfan", "lmzheng"):
        folder = fresh(f"{out}/grok-{style}")
        named = W if style == "keyfan" else rename(style, W)
        tensorfile.write(f"{folder}/model.safetensors", {n: (x, "F32") for n, x in named.items()})
        write_config(folder, style, THIN)
        write_golden(folder, tensors, prompts, seed)


def wide(out, seed, seen):
    """Other sizes, bf16, hpcai-tech's names; no size of it a multiple of a vector."""
    rng = np.random.default_rng(seed)
    folder = fresh(f"{out}/grok-hpcai")
    own, layers = random_leaves(WIDE, rng, GAINS["wide"])
    W = {n: x.astype(ml_dtypes.bfloat16).astype(np.float32) for n, x in by_keyfan(WIDE, own, layers).items()}
    tensors, prompts = goldens(WIDE, {n: x.astype(np.float64) for n, x in W.items()}, rng, "wide", seen)
    tensorfile.write(f"{folder}/model.safetensors", {n: (x, "BF16") for n, x in rename("hpcai", W).items()})
    write_config(folder, "hpcai", WIDE)
    write_golden(folder, tensors, prompts, seed)


def report(seen):
    blind = []
    print("| planted error | thin: short, long, pad | wide: short, long, pad |\n|---|---|---|")
    for bug, what in BUGS.items():
        cells = [" ".join(f"{seen[bug][m, k]:.1e}" for k in PROMPTS) for m in ("thin", "wide")]
        print(f"| {what} | {cells[0]} | {cells[1]} |")
        if max(seen[bug].values()) < 5 * TOLERANCE:
            blind.append(bug)
    if blind:
        sys.exit(f"not seen: {blind}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("-o", "--out", default=os.path.join(here, "../../t/data/goldens"))
    out, seen = parser.parse_args().out, {}
    thin(out, 0, seen)
    wide(out, 1, seen)
    report(seen)


if __name__ == "__main__":
    main()
