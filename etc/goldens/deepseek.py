#!/usr/bin/env python3
"""deepseek.py - tiny random DeepSeek checkpoints, and what the published implementation makes of them.

    python3 etc/goldens/deepseek.py [-o t/data/goldens]

needs numpy, torch and transformers; the tests need none of them.  As gemma.py does it: each checkpoint
is written as published ones are, transformers loads it from the folder and runs it in float64, and
deepseek_reference.py has to agree.  Of an FP8 checkpoint transformers loads a copy whose weights were
multiplied by their scales, exactly.  Sizes are odd, norms and correction biases random, and the router
has twice the usual weights, so that a wrong detail moves the logits.

What a checkpoint's draft layer says comes from deepseek_reference.py alone: published code that can be
run here loads none.  One checkpoint is made so that its drafts are mostly right: its layers add little to
the embedding, so the token that follows depends on the token alone, and its draft layer passes the
embedding on.
"""

import argparse
import json
import os
import shutil
import tempfile

import numpy as np
import torch
import transformers

import tensorfile
from deepseek_reference import DeepSeek
from gemma import AGREEMENT, MIN_GAP, N_GREEDY, load, run, write_checkpoint, write_json

PROMPTS = {"short": 12, "long": 90}     # long: more than one page of the cache, and than the original context
MIN_DISTINCT = 6
BLOCK = 128

YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1,
        "mscale": 1.0, "mscale_all_dim": 1.0}
BASE = {
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
    "eos_token_id": 1, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 36, "intermediate_size": 50,
    "kv_lora_rank": 26, "max_position_embeddings": 163840, "model_type": "deepseek_v3", "moe_intermediate_size": 18,
    "moe_layer_freq": 1, "n_group": 4, "n_routed_experts": 16, "n_shared_experts": 1, "norm_topk_prob": True,
    "num_attention_heads": 3, "num_experts_per_tok": 4, "num_hidden_layers": 3, "num_key_value_heads": 3,
    "num_nextn_predict_layers": 0, "q_lora_rank": 20, "qk_nope_head_dim": 14, "qk_rope_head_dim": 8,
    "rms_norm_eps": 1e-06, "rope_scaling": YARN, "rope_theta": 10000, "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid", "tie_word_embeddings": False, "topk_group": 2, "topk_method": "noaux_tc",
    "torch_dtype": "float32", "use_cache": True, "v_head_dim": 10, "vocab_size": 61,
}
FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
V2 = {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "topk_method": "greedy",
      "scoring_func": "softmax", "norm_topk_prob": False, "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0}

# name -> dtype of matrices, shards, changes of the configuration
CHECKPOINTS = {
    "deepseek-f32": ("F32", 1, {}),
    # The prompt is longer than the original context; mscale and mscale_all_dim differ; another eps.
    "deepseek-bf16": ("BF16", 3, {"torch_dtype": "bfloat16", "rms_norm_eps": 0.01, "n_shared_experts": 2,
                                  "rope_scaling": YARN | {"original_max_position_embeddings": 64, "factor": 8,
                                                          "mscale": 0.707, "mscale_all_dim": 0.9}}),
    # No low rank of queries; the key of newer files; no stretched positions; all groups but one.
    "deepseek-plain": ("F32", 1, {"q_lora_rank": None, "rope_scaling": None, "rope_theta": None, "n_group": 2,
                                  "topk_group": 1, "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}),
    "deepseek-fp8": ("F8_E4M3", 3, {
        "torch_dtype": "bfloat16", "quantization_config": FP8, "hidden_size": 136, "intermediate_size": 140,
        "kv_lora_rank": 132, "q_lora_rank": 40, "qk_nope_head_dim": 40, "qk_rope_head_dim": 16, "v_head_dim": 44,
        "moe_intermediate_size": 36, "n_routed_experts": 8, "num_experts_per_tok": 3, "num_hidden_layers": 2}),
    "deepseek-v2": ("BF16", 1, V2 | {"torch_dtype": "bfloat16", "q_lora_rank": None, "n_shared_experts": 2,
                                     "rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}}),
    "deepseek-mtp": ("F32", 1, {"num_nextn_predict_layers": 1, "num_hidden_layers": 2, "n_routed_experts": 8}),
    "deepseek-mtp-right": ("F32", 1, {"num_nextn_predict_layers": 1, "num_hidden_layers": 2, "n_routed_experts": 8}),
}


def e4m3(codes):
    """The values of e4m3fn codes: bias 7, no infinities."""
    c = codes.astype(np.int64)
    exponent, mantissa = c >> 3 & 15, c & 7
    x = np.where(exponent, (1 + mantissa / 8) * 2.0 ** (exponent - 7), mantissa * 2.0 ** -9)
    return np.where(c & 128, -x, x)


VALUES = e4m3(np.arange(127))


def to_e4m3(x):
    """Codes nearest to x, |x| <= 448."""
    a = np.abs(x)
    above = np.clip(np.searchsorted(VALUES, a), 1, 126)
    code = np.where(a - VALUES[above - 1] <= VALUES[above] - a, above - 1, above)
    return (code | np.where(x < 0, 128, 0)).astype(np.uint8)


def spread(scale, shape):
    return np.repeat(np.repeat(scale, BLOCK, 0), BLOCK, 1)[:shape[0], :shape[1]]


def quantise(x):
    """Codes and scales of 128 x 128 blocks, the last ones partial."""
    rows, cols = (-(-n // BLOCK) for n in x.shape)
    scale = np.empty((rows, cols), np.float32)
    for i in range(rows):
        for j in range(cols):
            scale[i, j] = np.abs(x[i * BLOCK:(i + 1) * BLOCK, j * BLOCK:(j + 1) * BLOCK]).max() / 448
    return to_e4m3(np.clip(x / spread(scale, x.shape), -448, 448)), scale


def make_weights(c, dtype, rng, right):
    """{published name: (array, dtype)}.  Of V3 the layers' order is that of the files; scales come last."""
    t, scales = {}, {}
    d, H = c["hidden_size"], c["num_attention_heads"]
    plain = "BF16" if dtype == "F8_E4M3" else dtype

    def matrix(name, rows, cols, gain=1.0, kept=False):
        x = gain * rng.standard_normal((rows, cols)) / cols ** 0.5
        if kept or dtype != "F8_E4M3":
            t[name + ".weight"] = (x, plain)
            return
        x, scale = quantise(x)
        t[name + ".weight"] = (x, dtype)
        scales[name + ".weight_scale_inv"] = (scale, "F32")

    def norm(name, n=d):
        t[name + ".weight"] = (1 + 0.2 * rng.standard_normal(n), plain)

    def mlp(p, width, gain):
        matrix(p + "gate_proj", width, d)
        matrix(p + "up_proj", width, d)
        matrix(p + "down_proj", d, width, gain)

    def layer(n, gain):
        p, q = f"model.layers.{n}.", H * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
        a, kl = p + "self_attn.", c["kv_lora_rank"]
        if c["q_lora_rank"]:
            matrix(a + "q_a_proj", c["q_lora_rank"], d)
            norm(a + "q_a_layernorm", c["q_lora_rank"])
            matrix(a + "q_b_proj", q, c["q_lora_rank"], 2.0)
        else:
            matrix(a + "q_proj", q, d, 2.0)
        matrix(a + "kv_a_proj_with_mqa", kl + c["qk_rope_head_dim"], d)
        norm(a + "kv_a_layernorm", kl)
        matrix(a + "kv_b_proj", H * (c["qk_nope_head_dim"] + c["v_head_dim"]), kl)
        matrix(a + "o_proj", d, H * c["v_head_dim"], 2.0 * gain)
        norm(p + "input_layernorm")
        norm(p + "post_attention_layernorm")
        if n < c["first_k_dense_replace"]:
            mlp(p + "mlp.", c["intermediate_size"], gain)
            return
        matrix(p + "mlp.gate", c["n_routed_experts"], d, 2.0, kept=True)
        if c["model_type"] == "deepseek_v3":
            t[p + "mlp.gate.e_score_correction_bias"] = (0.2 * rng.standard_normal(c["n_routed_experts"]), "F32")
        mlp(p + "mlp.shared_experts.", c["n_shared_experts"] * c["moe_intermediate_size"], gain)
        for e in range(c["n_routed_experts"]):
            mlp(f"{p}mlp.experts.{e}.", c["moe_intermediate_size"], gain)

    gain = 0.002 if right else 1.0
    matrix("model.embed_tokens", c["vocab_size"], d, 1.0, kept=True)
    for n in range(c["num_hidden_layers"]):
        layer(n, gain)
    norm("model.norm")
    matrix("lm_head", c["vocab_size"], d, 1.0, kept=True)
    if c["num_nextn_predict_layers"]:
        n = c["num_hidden_layers"]
        layer(n, gain)
        p = f"model.layers.{n}."
        norm(p + "enorm")
        norm(p + "hnorm")
        matrix(p + "eh_proj", d, 2 * d, kept=True)
        norm(p + "shared_head.norm")
        t[p + "embed_tokens.weight"] = t["model.embed_tokens.weight"]
        t[p + "shared_head.head.weight"] = t["lm_head.weight"]
        if right:   # the next token depends on its embedding alone, which the draft layer passes on
            x = np.concatenate([np.eye(d), np.zeros((d, d))], 1) + 0.002 * rng.standard_normal((d, 2 * d)) / d ** 0.5
            t[p + "eh_proj.weight"] = (x, plain)
            t[p + "enorm.weight"] = (np.ones(d), plain)
            t[p + "shared_head.norm.weight"] = t["model.norm.weight"]
    return t | scales


def dequantised(weights):
    """The same model without fp8: values times scales, in float64, which is exact."""
    out = {}
    for name, (x, dtype) in weights.items():
        if dtype == "F8_E4M3":
            x = e4m3(x) * spread(weights[name + "_scale_inv"][0].astype(np.float64), x.shape)
            out[name] = (x, "F64")
        elif not name.endswith("_scale_inv"):
            out[name] = (tensorfile.decode(tensorfile.encode(x, dtype), dtype, x.shape), "F64")
    return out


def published(config, weights):
    """transformers' own model in float64 throughout."""
    with tempfile.TemporaryDirectory() as top:
        plain = {k: v for k, v in config.items() if k != "quantization_config"} | {"num_nextn_predict_layers": 0}
        further = f"model.layers.{config['num_hidden_layers']}."
        write_checkpoint(top + "/m", plain, {n: w for n, w in weights.items() if not n.startswith(further)}, 1)
        model = load(top + "/m", torch.float64).double()
        model.set_experts_implementation("eager")   # the others know no float64
        return model


class double_throughout:
    """Within, the casts to float32 that the published code spells out become casts to float64."""

    def __init__(self, model, reference):
        self.model, self.f = model, torch.tensor(reference.f)

    def __enter__(self):
        self.saved = torch.Tensor.float, torch.float, torch.float32
        torch.Tensor.float, torch.float, torch.float32 = torch.Tensor.double, torch.float64, torch.float64
        rotary = self.model.model.rotary_emb
        # computed in float32 there; far from it nothing may be
        assert torch.allclose(rotary.inv_freq.double(), self.f, rtol=1e-6), "other frequencies"
        self.frequencies, rotary.inv_freq = rotary.inv_freq, self.f

    def __exit__(self, *_):
        torch.Tensor.float, torch.float, torch.float32 = self.saved
        self.model.model.rotary_emb.inv_freq = self.frequencies


def greedy(logits_of, prompt):
    ids = list(prompt)
    for _ in range(N_GREEDY):
        row = logits_of(ids)[-1]
        second, best = np.argsort(row)[-2:]
        if best in (0, 1) or row[best] - row[second] < MIN_GAP * row.std():
            return None
        ids.append(int(best))
    return ids[len(prompt):] if len(set(ids[len(prompt):])) >= MIN_DISTINCT else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--out", default=os.path.join(os.path.dirname(__file__), "../../t/data/goldens"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {np.__version__}\n")
    print("| checkpoint | prompt | std of the logits | deepseek_reference.py |\n|---|---|---|---|")
    for seed, (name, (dtype, shards, changes)) in enumerate(CHECKPOINTS.items()):
        if args.names and name not in args.names:
            continue
        folder, rng = os.path.join(args.out, name), np.random.default_rng(100 + seed)
        shutil.rmtree(folder, ignore_errors=True)
        config = {k: v for k, v in (BASE | changes).items() if v is not None or k in ("q_lora_rank", "rope_scaling")}
        if config["rope_scaling"] is None and "rope_parameters" in config:
            del config["rope_scaling"]
        weights = make_weights(config, dtype, rng, name.endswith("right"))
        write_checkpoint(folder, config, weights, shards)
        plain = dequantised(weights)
        reference = DeepSeek(config, {n: x for n, (x, _) in plain.items()})
        model = published(config, plain)
        tensors, prompts = {}, {}
        for kind, length in PROMPTS.items():
            continuation = None
            while continuation is None:
                ids = [0] + [int(t) for t in rng.integers(2, config["vocab_size"], length - 1)]
                continuation = greedy(lambda t: reference.run(t)[0], ids)
            with double_throughout(model, reference):
                logits = run(model, ids)
            ours, raw, normed = reference.run(ids)
            std = float(logits.std())
            apart = float(np.abs(ours - logits).max() / std)
            print(f"| {name} | {kind} | {std:.3f} | {apart:.1e} |", flush=True)
            assert apart < 100 * AGREEMENT, apart
            tensors[f"{kind}.logits"] = (logits, "F32")
            prompts[kind] = {"tokens": ids, "greedy": continuation, "logits_std": std}
            if config["num_nextn_predict_layers"]:
                for state, hidden in (("normed", normed), ("raw", raw)):
                    tensors[f"{kind}.draft_{state}"] = (reference.draft(ids, hidden), "F32")
        tensorfile.write(f"{folder}/golden.safetensors", tensors)
        write_json(f"{folder}/golden.json", {
            "made_by": "etc/goldens/deepseek.py", "torch": torch.__version__,
            "transformers": transformers.__version__, "dtype": "float64", "prompts": prompts})


if __name__ == "__main__":
    main()
