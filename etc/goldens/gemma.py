#!/usr/bin/env python3
"""gemma.py - tiny random Gemma 1 checkpoints, and what the published implementation makes of them.

    python3 etc/goldens/gemma.py [-o t/data/goldens]

needs numpy, torch and transformers (versions that worked: README.md); the tests need none of them.
Each checkpoint is written as published ones are, loaded again by transformers from the folder, and
run there in float64: that is the golden.  A model loaded in float64 still computes its norms, angles
and softmax in float32, which is noise of up to 1e-5 in the logits; those casts are lifted
(double_throughout), so that what is left is the rounding of float64.  How far the code as published
is from that, in float32 and in float64, is measured and printed.

Sizes are odd on purpose (no multiple of a vector or a block), and the weights so large that a wrong
detail moves the logits: transformers' own initial values (norms zero, linear 0.02) would hide most
errors.  Before anything is called golden, reference.py has to agree with it, and has to disagree when
one of its errors is planted.  The tables printed are those of README.md.
"""

import argparse
import contextlib
import json
import os
import shutil
import tempfile

import numpy as np
import torch
import transformers

import tensorfile
from reference import BUGS, gemma

TOLERANCE = 2e-4        # of the logits' standard deviation: what the tests allow our f32 path
PUBLISHED = TOLERANCE / 4  # the same unit: what transformers itself may be off in float32, or the model is no fair test
AGREEMENT = 1e-11       # the same unit: reference.py against transformers, both in float64
MIN_GAP = 5e-3          # the same unit: between the best logit and the second at each greedy step
N_GREEDY = 24
MIN_DISTINCT = 8        # different ids among them: a random model likes to repeat one, which proves little
PROMPTS = {"short": 20, "long": 150}       # long: more than two KV blocks of 64 positions
AVOID = (0, 1, 2, 3, 107)   # pad, eos, bos, unk, <end_of_turn>: a program may stop at these, so no greedy id is one

BASE = {
    "architectures": ["GemmaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 2, "eos_token_id": 1, "head_dim": None,
    "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": None,
    "initializer_range": 0.02, "intermediate_size": None, "max_position_embeddings": 512,
    "model_type": "gemma", "num_attention_heads": None, "num_hidden_layers": None,
    "num_key_value_heads": None, "pad_token_id": 0, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 10000.0, "torch_dtype": None, "transformers_version": "4.38.0.dev0", "use_cache": True,
    "vocab_size": None,
}


def shape(d, heads, kv, head_dim, ffn, vocab, layers):
    return dict(hidden_size=d, num_attention_heads=heads, num_key_value_heads=kv, head_dim=head_dim,
                intermediate_size=ffn, vocab_size=vocab, num_hidden_layers=layers)


# name -> dtype of the file, shards, saved again by transformers?, configuration
CHECKPOINTS = {
    "gemma-odd-f32": ("F32", 1, False, shape(72, 6, 2, 40, 100, 173, 3)),
    "gemma-odd-bf16": ("BF16", 1, False, shape(75, 6, 3, 40, 101, 173, 3)),
    # The oldest published files: hidden_activation is absent and hidden_act says "gelu", which means tanh.
    "gemma-mqa-f16": ("F16", 2, False, shape(68, 4, 1, 24, 90, 131, 3)
                      | {"hidden_act": "gelu", "hidden_activation": None}),
    # Two constants that a reader might have built in, moved far enough to be seen.
    "gemma-mha": ("F32", 1, False, shape(60, 3, 3, 16, 77, 97, 2) | {"rope_theta": 500.0, "rms_norm_eps": 0.01}),
    # config.json as transformers 5 writes it: rope_parameters instead of rope_theta, dtype, no hidden_activation.
    "gemma-resaved": ("BF16", 1, True, shape(52, 4, 2, 20, 70, 109, 2) | {"rope_theta": 2000.0}),
}
TORCH_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def make_config(dtype, changes):
    config = BASE | {"torch_dtype": TORCH_NAMES[dtype]} | changes
    return {k: v for k, v in config.items() if v is not None or k == "rope_scaling"}


def make_weights(config, dtype, rng):
    """{published name: (array, dtype)} in the order in which transformers saves a Gemma.

    Linear weights are randn / sqrt(fan in), times 2 in q so that attention is peaked, and times 4 in o
    and down so that the layers outweigh the embedding (else the tied head just repeats the token).
    """
    c, t = config, {}
    d, f, D = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * D, c["num_key_value_heads"] * D

    def linear(name, rows, cols, gain=1.0):
        t[f"model.{name}.weight"] = (gain * rng.standard_normal((rows, cols)) / cols ** 0.5, dtype)

    def norm(name):
        t[f"model.{name}.weight"] = (0.2 * rng.standard_normal(d), dtype)

    linear("embed_tokens", c["vocab_size"], d)
    for layer in range(c["num_hidden_layers"]):
        p = f"layers.{layer}."
        linear(p + "self_attn.q_proj", q, d, 2.0)
        linear(p + "self_attn.k_proj", kv, d)
        linear(p + "self_attn.v_proj", kv, d)
        linear(p + "self_attn.o_proj", d, q, 4.0)
        linear(p + "mlp.gate_proj", f, d)
        linear(p + "mlp.up_proj", f, d)
        linear(p + "mlp.down_proj", d, f, 4.0)
        norm(p + "input_layernorm")
        norm(p + "post_attention_layernorm")
    norm("norm")
    return t


def write_json(path, value):
    with open(path, "w") as f:
        f.write(json.dumps(value, indent=2) + "\n")


def write_checkpoint(folder, config, weights, shards):
    os.makedirs(folder)
    write_json(f"{folder}/config.json", config)
    if shards == 1:
        tensorfile.write(f"{folder}/model.safetensors", weights)
        return
    names, total, where = list(weights), 0, {}
    for i in range(shards):                    # cut by count, so a layer lies in both files
        part = names[i * len(names) // shards:(i + 1) * len(names) // shards]
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        total += tensorfile.write(f"{folder}/{file}", {n: weights[n] for n in part})
        where |= {n: file for n in part}
    write_json(f"{folder}/model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))})


def load(folder, dtype):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    left = {k: v for k, v in info.items() if v}
    assert not left, f"{folder}: transformers reports {left}"
    return model.eval()


def save_again(folder):
    """Let transformers itself write the folder, whatever layout that is today."""
    with tempfile.TemporaryDirectory() as old:
        shutil.rmtree(old)
        shutil.move(folder, old)
        load(old, "auto").save_pretrained(folder)
    os.remove(f"{folder}/generation_config.json")


def run(model, tokens, hidden=False):
    """Logits [T, V] as numpy, and on demand the residual stream [layers + 1, T, d]."""
    stream = []
    hooks = [layer.register_forward_pre_hook(lambda _, args: stream.append(args[0][0].numpy()))
             for layer in model.model.layers] if hidden else []
    if hidden:
        hooks.append(model.model.norm.register_forward_pre_hook(lambda _, args: stream.append(args[0][0].numpy())))
    with torch.no_grad():
        logits = model(torch.tensor([list(map(int, tokens))]), use_cache=False).logits[0].numpy()
    for h in hooks:
        h.remove()
    return (logits, np.stack(stream)) if hidden else logits


@contextlib.contextmanager
def double_throughout(model):
    """Within, the casts to float32 that the published code spells out become casts to float64."""
    saved, rotary, embed = (torch.Tensor.float, torch.float, torch.float32), model.model.rotary_emb, model.model.embed_tokens
    embed = getattr(embed, "base_layer", embed)     # where PEFT has wrapped it
    torch.Tensor.float, torch.float, torch.float32 = torch.Tensor.double, torch.float64, torch.float64
    frequencies, scale = rotary.inv_freq, embed.embed_scale
    rotary.inv_freq, _ = rotary.compute_default_rope_parameters(model.config)
    embed.embed_scale = torch.tensor(embed.scalar_embed_scale, dtype=torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float, torch.float, torch.float32 = saved
        rotary.inv_freq, embed.embed_scale = frequencies, scale


@contextlib.contextmanager
def double_throughout_llama(model):
    """The same for models whose embedding has no multiplier."""
    saved, rotary = (torch.Tensor.float, torch.float, torch.float32), model.model.rotary_emb
    torch.Tensor.float, torch.float, torch.float32 = torch.Tensor.double, torch.float64, torch.float64
    rotary.inv_freq, _ = rotary.compute_default_rope_parameters(model.config)
    try:
        yield
    finally:
        torch.Tensor.float, torch.float, torch.float32 = saved


def greedy(model, prompt):
    """The greedy continuation and the smallest gap between best and second logit; None if it is no fair test."""
    ids, smallest = list(prompt), np.inf
    for _ in range(N_GREEDY):
        row = run(model, ids)[-1]
        second, best = np.argsort(row)[-2:]
        gap = row[best] - row[second]
        if best in AVOID or gap < MIN_GAP * row.std():
            return None
        ids.append(int(best))
        smallest = min(smallest, float(gap))
    out = ids[len(prompt):]
    return (out, smallest) if len(set(out)) >= MIN_DISTINCT else None


def choose_prompt(model, length, rng):
    """A prompt whose greedy ids no rounding can change and nothing cuts short.

    It starts with BOS, and holds the first and last id, EOS and pad, which are ordinary ids inside a
    prompt: nothing is masked.
    """
    V = model.config.vocab_size
    for _ in range(1000):
        ids = [2] + [int(t) for t in rng.integers(4, V, length - 1)]
        for at, token in ((3, V - 1), (5, 0), (8, 1)):
            ids[at] = token
        found = greedy(model, ids)
        if found:
            return ids, *found
    raise SystemExit(f"no prompt of {length} tokens has a varied and certain continuation")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--out", default=os.path.join(os.path.dirname(__file__), "../../t/data/goldens"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {np.__version__}\n")
    rows, found = [], {}
    for seed, (name, (dtype, shards, again, changes)) in enumerate(CHECKPOINTS.items()):
        folder, rng = os.path.join(out, name), np.random.default_rng(seed)
        shutil.rmtree(folder, ignore_errors=True)
        config = make_config(dtype, changes)
        write_checkpoint(folder, config, make_weights(config, dtype, rng), shards)
        if again:
            save_again(folder)
        config = json.load(open(f"{folder}/config.json"))
        weights = {}
        for file in sorted(os.listdir(folder)):
            if file.endswith(".safetensors"):
                weights |= tensorfile.read(f"{folder}/{file}")
        model, single = load(folder, torch.float64), load(folder, torch.float32)

        tensors, prompts = {}, {}
        for kind, length in PROMPTS.items():
            with double_throughout(model):
                ids, continuation, gap = choose_prompt(model, length, rng)
                logits, hidden = run(model, ids, hidden=True)
            std = float(logits.std())

            def distance(other):
                return float(np.abs(other - logits).max() / std)

            f32, f64 = distance(run(single, ids)), distance(run(model, ids))
            ours = distance(gemma(config, weights, ids))
            assert ours < AGREEMENT and f32 < PUBLISHED, f"{name}, {kind}: {ours:.1e}, {f32:.1e} deviations away"
            for bug in BUGS:
                found.setdefault(bug, {})[name, kind] = distance(gemma(config, weights, ids, bug))
            tensors[f"{kind}.tokens"] = (np.array(ids), "I32")
            tensors[f"{kind}.logits"] = (logits, "F32")
            if kind == "short":
                tensors[f"{kind}.hidden"] = (hidden, "F32")
            prompts[kind] = {
                "tokens": ids, "greedy": continuation, "greedy_min_gap": gap, "logits_std": std,
                "logits_max_abs": float(np.abs(logits).max()), "argmax": logits.argmax(-1).tolist(),
                "published_f32_max_diff": f32 * std, "published_f64_max_diff": f64 * std,
                "reference_max_diff": ours * std,
            }
            rows.append(f"| {name} | {kind} | {std:.3f} | {f32:.1e} | {f64:.1e} | {ours:.1e} | {gap / std:.3f} |"
                        f" {len(set(continuation))} |")
        tensorfile.write(f"{folder}/golden.safetensors", tensors)
        write_json(f"{folder}/golden.json", {
            "made_by": "etc/goldens/gemma.py", "torch": torch.__version__,
            "transformers": transformers.__version__, "attn_implementation": "eager", "dtype": "float64",
            "seed": seed, "prompts": prompts})

    print("| checkpoint | prompt | std of the logits | as published, f32 | as published, f64 | reference.py "
          "| smallest greedy gap | different greedy ids |\n|---|---|---|---|---|---|---|---|")
    print("\n".join(rows) + "\n\n| planted error | smallest change | largest change |\n|---|---|---|")
    blind = []
    for bug, what in BUGS.items():
        seen = [x for x in found[bug].values() if x > AGREEMENT]    # a checkpoint with H = K cannot show kv_modulo
        print(f"| {what} | {min(seen):.1e} | {max(seen):.1e} |")
        if min(seen) < TOLERANCE:
            blind.append(bug)
    assert not blind, f"not caught at {TOLERANCE}: {blind}"


if __name__ == "__main__":
    main()
