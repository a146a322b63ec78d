#!/usr/bin/env python3
"""gguf_deepseek.py - small DeepSeeks in GGUF files of both forms, and what transformers makes of them.

    python3 etc/goldens/gguf_deepseek.py           writes t/data/gguf/deepseek-*
    python3 etc/goldens/gguf_deepseek.py --check FILE.gguf deepseek-f32
        llama.cpp on a file that `vishwamai convert` made of that golden: its greedy tokens

The gguf package quantises and writes; deepseek.py's models hold what the blocks are worth, transformers
runs them in float64 and deepseek_reference.py has to agree.  llama.cpp, where its Python binding is
installed, is asked too: with blocks it quantises activations, so each file is written once more in F32 for
it, and has to agree to what single precision leaves.
"""

import json
import os
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Q
from gguf import quants

import tensorfile
from deepseek import BASE, V2, YARN, double_throughout, make_weights, published
from deepseek_reference import DeepSeek
from gemma import run
from gguf_files import matrix as random_matrix

OUT = pathlib.Path(__file__).resolve().parents[2] / "t" / "data" / "gguf"
PROMPT = 90     # longer than a page of the cache, and than the original context

# name -> changes of the configuration, is it the newer form, type of each matrix but F32
MODELS = {
    "deepseek-split": (
        {"hidden_size": 256, "intermediate_size": 96, "kv_lora_rank": 64, "q_lora_rank": 32, "qk_nope_head_dim": 32,
         "v_head_dim": 20, "moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 4,
         "topk_group": 2, "vocab_size": 97, "num_hidden_layers": 3,
         "rope_scaling": YARN | {"original_max_position_embeddings": 64, "factor": 8, "mscale": 0.9,
                                 "mscale_all_dim": 0.9, "beta_fast": 16, "beta_slow": 2}}, True,
        {"token_embd": "Q8_0", "output": "Q4_0", "attn_q_a": "Q4_0", "attn_q_b": "Q8_0", "attn_kv_a_mqa": "Q8_0",
         "attn_k_b": "Q8_0", "attn_v_b": "Q4_0", "ffn_gate": "Q4_0", "ffn_up": "Q8_0", "ffn_down": "Q8_0",
         "ffn_gate_shexp": "Q8_0", "ffn_up_shexp": "Q4_0", "ffn_gate_exps": "Q4_0", "ffn_up_exps": "Q8_0",
         "ffn_down_exps": "Q4_0"}),
    # Experts in K formats, the older form, no low rank of queries, softmax, weights neither normed nor 1.
    "deepseek-whole": (
        V2 | {"hidden_size": 256, "intermediate_size": 64, "kv_lora_rank": 32, "q_lora_rank": None, "vocab_size": 61,
              "num_attention_heads": 4, "num_key_value_heads": 4, "qk_nope_head_dim": 14, "v_head_dim": 10,
              "moe_intermediate_size": 18, "n_routed_experts": 5,
              "num_experts_per_tok": 2, "num_hidden_layers": 2, "n_shared_experts": 2, "routed_scaling_factor": 1.5,
              "rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}}, False,
        {"attn_kv_b": "Q8_0", "attn_q": "Q5_K", "attn_kv_a_mqa": "F16", "ffn_gate_exps": "Q4_K", "ffn_up_exps": "Q6_K",
         "ffn_gate_shexp": "BF16"}),
}
NAMES = {"self_attn.q_a_proj": "attn_q_a", "self_attn.q_b_proj": "attn_q_b", "self_attn.q_proj": "attn_q",
         "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_b_proj": "attn_kv_b",
         "self_attn.o_proj": "attn_output", "self_attn.q_a_layernorm": "attn_q_a_norm",
         "self_attn.kv_a_layernorm": "attn_kv_a_norm", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "mlp.gate": "ffn_gate_inp"}
NAMES |= {f"mlp.{h}{p}_proj": f"ffn_{p}{g}" for p in ("gate", "up", "down")
          for h, g in (("", ""), ("shared_experts.", "_shexp"))}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def stored(values, kind, rng):
    """(what the file holds, what that is worth)."""
    if kind.endswith("_K"):   # the package quantises none: random codes of the same spread
        return random_matrix(kind, *values.shape, float(values.std() * values.shape[1] ** 0.5), rng)
    raw = quants.quantize(values.astype(np.float32), Q[kind])
    return raw, quants.dequantize(raw, Q[kind]).astype(np.float32).reshape(values.shape)


def tensors_of(c, is_split, kinds, weights, rng):
    """[(GGUF name, bytes, type)], and `weights` become what these are worth."""
    out, H, nope = [], c["num_attention_heads"], c["qk_nope_head_dim"]

    def add(name, parts):
        kind = kinds.get(name.split(".")[2 if name.startswith("blk") else 0], "F32")
        pairs = [stored(x, kind, rng) for x in parts]
        raws = [raw for raw, _ in pairs]
        out.append((name, raws[0] if len(raws) == 1 else np.stack(raws), Q[kind]))
        return [x for _, x in pairs]

    for name in list(weights):
        x, base = weights[name][0].astype(np.float32), name.removesuffix(".weight")
        if name.startswith("model.layers."):
            layer, rest = base.split(".", 3)[2:]
        if base in TOP:
            name_there = TOP[base] + ".weight"
        elif rest == "mlp.gate.e_score_correction_bias":
            name_there = f"blk.{layer}.exp_probs_b.bias"
        elif rest.startswith("mlp.experts."):
            if rest.startswith("mlp.experts.0."):
                of = [name.replace("experts.0.", f"experts.{e}.") for e in range(c["n_routed_experts"])]
                worth = add(f"blk.{layer}.ffn_{rest.split('.')[3].removesuffix('_proj')}_exps.weight",
                            [weights[n][0] for n in of])
                weights |= {n: (v, "F64") for n, v in zip(of, worth)}
            continue
        elif is_split and rest == "self_attn.kv_b_proj":
            heads = x.reshape(H, -1, x.shape[1])
            k = add(f"blk.{layer}.attn_k_b.weight", [h[:nope].T for h in heads])
            v = add(f"blk.{layer}.attn_v_b.weight", [h[nope:] for h in heads])
            weights[name] = np.concatenate([np.concatenate([a.T, b]) for a, b in zip(k, v)]), "F64"
            continue
        else:
            name_there = f"blk.{layer}.{NAMES[rest]}.weight"
        if x.ndim == 1:
            out.append((name_there, x, Q.F32))
        else:
            x = add(name_there, [x])[0]
        weights[name] = x, "F64"
    return out


def write(path, c, is_split, tensors):
    w = gguf.GGUFWriter(str(path), "deepseek2")
    kv, nope, rope, v = (c[k] for k in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    w.add_context_length(c["max_position_embeddings"]), w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"]), w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"]), w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(float(c["rope_theta"])), w.add_rope_dimension_count(rope)
    w.add_vocab_size(c["vocab_size"]), w.add_leading_dense_block_count(c["first_k_dense_replace"])
    if c["q_lora_rank"]:
        w.add_q_lora_rank(c["q_lora_rank"])
    w.add_kv_lora_rank(kv)
    if is_split:
        w.add_head_count_kv(1), w.add_key_length(kv + rope), w.add_value_length(kv)
        w.add_key_length_mla(nope + rope), w.add_value_length_mla(v)
    else:
        w.add_head_count_kv(c["num_attention_heads"]), w.add_key_length(nope + rope), w.add_value_length(v)
    w.add_expert_count(c["n_routed_experts"]), w.add_expert_used_count(c["num_experts_per_tok"])
    w.add_expert_shared_count(c["n_shared_experts"]), w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    w.add_expert_weights_scale(c["routed_scaling_factor"]), w.add_expert_weights_norm(c["norm_topk_prob"])
    if c["model_type"] == "deepseek_v3":
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        w.add_expert_group_count(c["n_group"]), w.add_expert_group_used_count(c["topk_group"])
    y = c["rope_scaling"]
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN), w.add_rope_scaling_factor(float(y["factor"]))
    w.add_rope_scaling_orig_ctx_len(y["original_max_position_embeddings"])
    w.add_rope_scaling_yarn_log_mul(0.1 * y["mscale_all_dim"])
    w.add_rope_scaling_yarn_beta_fast(float(y["beta_fast"])), w.add_rope_scaling_yarn_beta_slow(float(y["beta_slow"]))
    w.add_tokenizer_model("none"), w.add_bos_token_id(0), w.add_eos_token_id(1)
    for name, raw, kind in tensors:
        w.add_tensor(name, raw, raw_dtype=kind)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def llama_logits(path, tokens, yarn):
    """llama.cpp's, with keys in F32; None where it is not installed, or will not load it: models without
    a low rank of queries it knows by their 27 layers.  It reads no betas of this family."""
    try:
        import llama_cpp as ll
    except ImportError:
        return None
    global quiet
    ll.llama_log_set(quiet := ll.llama_log_callback(lambda level, text, data: None), None)
    m = ll.llama_model_default_params()
    model = ll.llama_model_load_from_file(str(path).encode(), m)
    if not model:
        return None
    c = ll.llama_context_default_params()
    c.n_ctx, c.n_batch, c.n_ubatch, c.n_threads, c.n_threads_batch, c.flash_attn_type = 256, 256, 256, 1, 1, 0
    c.type_k, c.type_v, c.yarn_beta_fast, c.yarn_beta_slow = 0, 0, yarn["beta_fast"], yarn["beta_slow"]
    ctx = ll.llama_init_from_model(model, c)
    batch = ll.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, t in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = t, i, 1, 0, 1
    assert ll.llama_decode(ctx, batch) == 0
    n = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    out = np.ctypeslib.as_array(ll.llama_get_logits(ctx), (len(tokens), n)).astype(np.float64)
    ll.llama_batch_free(batch), ll.llama_free(ctx), ll.llama_model_free(model)
    return out


def check(path, name):
    """The golden's own continuation has to be llama.cpp's first choice all along."""
    prompts = json.load(open(OUT.parent / "goldens" / name / "golden.json"))["prompts"]
    for kind, p in prompts.items():
        logits = llama_logits(path, p["tokens"] + p["greedy"][:-1], YARN)
        best = logits[len(p["tokens"]) - 1:].argmax(1)
        print(kind, "greedy tokens as transformers:", int((best == p["greedy"]).sum()), "of", len(best))
        assert (best == p["greedy"]).all()


def main():
    if sys.argv[1:2] == ["--check"]:
        return check(*sys.argv[2:])
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for seed, (name, (changes, is_split, kinds)) in enumerate(MODELS.items()):
        rng, c = np.random.default_rng(300 + seed), BASE | changes
        weights = {n: (x, "F64") for n, (x, _) in make_weights(c, "F32", rng, False).items()}
        write(OUT / (name + ".gguf"), c, is_split, tensors_of(c, is_split, kinds, weights, rng))
        reference = DeepSeek(c, {n: x.astype(np.float64) for n, (x, _) in weights.items()})
        model = published(c, weights)
        ids = [0] + [int(t) for t in rng.integers(2, c["vocab_size"], PROMPT - 1)]
        with double_throughout(model, reference):
            logits = run(model, ids)
        std = float(logits.std())
        apart = float(np.abs(reference.run(ids)[0] - logits).max() / std)
        print(name, f"std {std:.3f}, deepseek_reference.py {apart:.1e}", os.path.getsize(OUT / (name + ".gguf")))
        assert apart < 1e-11, apart
        with tempfile.TemporaryDirectory() as top:
            write(top + "/f32.gguf", c, is_split, tensors_of(c, is_split, {}, weights, rng))
            theirs, blocks = (llama_logits(path, ids, c["rope_scaling"])
                              for path in (top + "/f32.gguf", OUT / (name + ".gguf")))
        if theirs is not None:
            apart = [float(np.abs(x - logits).max() / std) for x in (theirs, blocks)]
            print(name, "llama.cpp", *(f"{x:.1e}" for x in apart))
            assert apart[0] < 2e-3, apart
        tensorfile.write(str(OUT / (name + ".safetensors")), {"tokens": (np.array(ids), "I32"), "logits": (logits, "F32")})


if __name__ == "__main__":
    main()
