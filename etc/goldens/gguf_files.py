#!/usr/bin/env python3
"""gguf_files.py - blocks of every GGUF format with their values, and small Gemmas in GGUF files.

    python3 etc/goldens/gguf_files.py           writes t/data/gguf

The oracle is the gguf package: it writes the files, and its dequantisers say what the blocks are worth.
The models' logits are those of reference.py on the dequantised weights, which gemma_later.py holds
against transformers.  Random blocks of the K formats have sane scales; the others are quantised from
random weights.
"""

import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import quants

import tensorfile
from reference import gemma

OUT = pathlib.Path(__file__).resolve().parents[2] / "t" / "data" / "gguf"
FORMATS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}     # where a block's half-precision numbers lie


def random_blocks(name, n, rng, scale=None):
    """n random blocks; with `scale` the halves are about so large, else anything finite."""
    elements, size = gguf.GGML_QUANT_SIZES[Q[name]]
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    places = SCALES.get(name, (0, 2) if name in ("Q4_1", "Q5_1") else (0,))
    for at in places:
        half = rng.standard_normal(n).astype(np.float16) * (scale or 1)
        if scale is None:
            half[:4] = np.array([0, 6e-8, -65504, 6.1e-5], np.float16)
        raw[:, at:at + 2] = half.astype(np.float16)[:, None].view(np.uint8)
    return raw


def write_blocks():
    rng, tensors = np.random.default_rng(7), {}
    for name in FORMATS:
        raw = random_blocks(name, 24, rng)
        tensors[name.lower() + ".blocks"] = (raw.reshape(-1).view(np.uint8), "U8")
        tensors[name.lower() + ".values"] = (quants.dequantize(raw, Q[name]).reshape(-1), "F32")
    tensorfile.write(str(OUT / "blocks.safetensors"), tensors)


MODELS = {
    # name -> model_type, layers, type of each matrix, extra configuration
    "gemma3-mixed": ("gemma3_text", 6, dict(attn_q="Q8_0", attn_k="Q8_0", attn_v="Q6_K", attn_output="Q4_0", ffn_gate="Q4_K",
                                            ffn_up="Q4_K", ffn_down="Q4_0", token_embd="Q6_K"),
                     dict(head_dim=16, intermediate_size=32, rope_scaling={"rope_type": "linear", "factor": 8.0}, rope_theta=1e6, rope_local_base_freq=1e4)),
    "gemma2-mixed": ("gemma2", 2, dict(attn_q="Q4_0", attn_k="F16", attn_v="Q5_1", attn_output="Q5_0", ffn_gate="Q5_K",
                                       ffn_up="Q4_1", ffn_down="Q8_0", token_embd="Q8_0"),
                     dict(attn_logit_softcapping=30.0, final_logit_softcapping=12.0, rope_theta=1e4)),
    "gemma-f": ("gemma", 1, dict(attn_q="BF16", attn_k="F32", attn_v="F16", attn_output="BF16", ffn_gate="F16", ffn_up="F32",
                                 ffn_down="BF16", token_embd="F32"), dict(rope_theta=1e4)),
}
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def matrix(kind, rows, cols, gain, rng):
    """(what the file holds, its values) of a random matrix in a format."""
    values = (gain * rng.standard_normal((rows, cols)) / cols ** 0.5).astype(np.float32)
    if kind in SCALES:      # the package quantises no K format: random codes, scales that give the spread
        spread = {"Q4_K": 180, "Q5_K": 400, "Q6_K": 800}[kind]
        raw = random_blocks(kind, rows * cols // 256, rng, gain / cols ** 0.5 / spread).reshape(rows, -1)
    else:
        raw = quants.quantize(values, Q[kind])
    return raw, quants.dequantize(raw, Q[kind]).astype(np.float32).reshape(rows, cols)


def model(name, model_type, layers, kinds, extra, seed):
    rng = np.random.default_rng(seed)
    arch = {"gemma": "gemma", "gemma2": "gemma2", "gemma3_text": "gemma3"}[model_type]
    d, H, K, V, window = 256, 2, 1, 96, 11   # 256: rows of whole blocks of the K formats
    f, D = extra.get("intermediate_size", 256), extra.get("head_dim", 32)
    c = dict(model_type=model_type, hidden_size=d, intermediate_size=f, num_attention_heads=H, num_key_value_heads=K, head_dim=D,
             num_hidden_layers=layers, rms_norm_eps=1e-6, vocab_size=V, sliding_window=window, query_pre_attn_scalar=D) | extra
    w = gguf.GGUFWriter(str(OUT / (name + ".gguf")), arch)
    w.add_context_length(512), w.add_embedding_length(d), w.add_block_count(layers), w.add_feed_forward_length(f)
    w.add_head_count(H), w.add_head_count_kv(K), w.add_key_length(D), w.add_value_length(D), w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(c["rope_theta"])
    if model_type != "gemma":
        w.add_sliding_window(window)
    if model_type == "gemma2":
        w.add_attn_logit_softcapping(30.0), w.add_final_logit_softcapping(12.0)
    if "rope_scaling" in extra:
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), w.add_rope_scaling_factor(8.0)
    w.add_bos_token_id(2), w.add_eos_token_id(1), w.add_pad_token_id(0), w.add_tokenizer_model("none")
    weights = {}

    def put(gname, hname, rows, cols, kind, gain=1.0):
        raw, values = matrix(kind, rows, cols, gain, rng)
        w.add_tensor(gname + ".weight", raw, raw_dtype=Q[kind])
        weights[f"model.{hname}.weight"] = values

    def norm(gname, hname, n=d):
        plus = (1 + 0.2 * rng.standard_normal(n)).astype(np.float32)
        w.add_tensor(gname + ".weight", plus)
        weights[f"model.{hname}.weight"] = plus.astype(np.float64) - 1

    put("token_embd", "embed_tokens", V, d, kinds["token_embd"])
    for layer in range(layers):
        g, h = f"blk.{layer}.", f"layers.{layer}."
        for key, rows, cols, gain in (("attn_q", H * D, d, 2.0), ("attn_k", K * D, d, 1), ("attn_v", K * D, d, 1),
                                      ("attn_output", d, H * D, 3.0), ("ffn_gate", f, d, 1), ("ffn_up", f, d, 1),
                                      ("ffn_down", d, f, 3.0)):
            put(g + key, h + NAMES[key], rows, cols, kinds[key], gain)
        norm(g + "attn_norm", h + "input_layernorm")
        norm(g + "ffn_norm", h + ("post_attention_layernorm" if arch == "gemma" else "pre_feedforward_layernorm"))
        if arch != "gemma":
            norm(g + "post_attention_norm", h + "post_attention_layernorm")
            norm(g + "post_ffw_norm", h + "post_feedforward_layernorm")
        if arch == "gemma3":
            norm(g + "attn_q_norm", h + "self_attn.q_norm", D)
            norm(g + "attn_k_norm", h + "self_attn.k_norm", D)
    norm("output_norm", "norm")
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    tokens = [2] + [int(t) for t in rng.integers(3, V, 39)]
    logits = gemma(c, weights, tokens)
    tensorfile.write(str(OUT / (name + ".safetensors")), {"tokens": (np.array(tokens), "I32"), "logits": (logits, "F32")})
    print(name, "std", float(logits.std()), (OUT / (name + ".gguf")).stat().st_size)


def vocabulary(name, arch, model, tokens, types, scores=None, merges=None, pre=None, **ids):
    w = gguf.GGUFWriter(str(OUT / name), arch)
    w.add_tokenizer_model(model), w.add_token_list(tokens), w.add_token_types(types)
    if scores:
        w.add_token_scores(scores), w.add_add_space_prefix(False), w.add_add_bos_token(True)
    if merges:
        w.add_token_merges(merges), w.add_tokenizer_pre(pre)
    for key, value in ids.items():
        getattr(w, f"add_{key}_token_id")(value)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def vocabularies():
    """The bundled model's SentencePiece vocabulary, and two of t/data/tokenizers."""
    import sentencepiece as spm
    sp = spm.SentencePieceProcessor(model_file=str(OUT.parents[2] / "etc" / "models" / "tiny-gemma" / "tokenizer.model"))
    n = sp.get_piece_size()
    kind = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(n)]
    vocabulary("vocab-spm.gguf", "gemma", "llama", [sp.id_to_piece(i).encode() for i in range(n)], kind,
               [sp.get_score(i) for i in range(n)], bos=2, eos=1, pad=0, unk=3)
    for style, pre in (("gpt2", "gpt-2"), ("deepseek", "deepseek-v3")):
        j = json.load(open(OUT.parent / "tokenizers" / style / "tokenizer.json"))
        text = {i: t for t, i in j["model"]["vocab"].items()} | {t["id"]: t["content"] for t in j["added_tokens"]}
        types = {t["id"]: 3 if t["special"] else 4 for t in j["added_tokens"]}
        merges = [m if isinstance(m, str) else " ".join(m) for m in j["model"]["merges"]]
        vocabulary(f"vocab-{style}.gguf", "llama", "gpt2", [text[i].encode() for i in range(len(text))],
                   [types.get(i, 1) for i in range(len(text))], merges=merges, pre=pre, bos=0, eos=0)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write_blocks()
    for seed, (name, (model_type, layers, kinds, extra)) in enumerate(MODELS.items()):
        model(name, model_type, layers, kinds, extra, seed)
    vocabularies()
