"""grok_llama.py - the float64 forward of grok.py against llama.cpp, an independent engine.

Needs gguf and llama-cpp-python.  llama.cpp knows Grok-1 with two habits of its own, which the checkpoint here
is made to hide: it renormalises the weights of the chosen experts (the norm behind them takes a common factor
away), and it caps the router's logits (the cap is set too high to matter).  Its GELU is a table by and of
half precision.  The forward is held against it twice: as it is, and with GELU rounded in the same way.  The
largest difference must stay below a thousandth of the largest logit.
"""

import ctypes
import os
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

import grok

SIZES = dict(layers=4, d=48, heads=6, kv_heads=2, head_dim=8, ffn=64, experts=8, top_k=2, vocab=96,
             embed_mult=5.0, attn_mult=0.3, out_mult=0.5773502691896257, cap=30.0, eps=1e-5)
GAIN = {"qk": 2.5, "router": 2.0, "down": 1.0, "post": 0.35}
NAMES = {"query": "attn_q", "key": "attn_k", "value": "attn_v", "linear": "attn_output"}
NORMS = {"rms_norm": "attn_norm", "rms_norm_1": "attn_output_norm", "rms_norm_2": "ffn_norm",
         "rms_norm_3": "layer_output_norm", "router": "ffn_gate_inp"}
EXPERTS = {"linear": "ffn_gate_exps", "linear_v": "ffn_up_exps", "linear_1": "ffn_down_exps"}


def write(path, c, own, layers):
    w = gguf.GGUFWriter(path, "grok")
    w.add_block_count(c["layers"])
    w.add_context_length(512)
    w.add_embedding_length(c["d"])
    w.add_feed_forward_length(c["ffn"])
    w.add_head_count(c["heads"])
    w.add_head_count_kv(c["kv_heads"])
    w.add_layer_norm_rms_eps(c["eps"])
    w.add_rope_freq_base(1e4)
    w.add_rope_dimension_count(c["head_dim"])
    w.add_expert_count(c["experts"])
    w.add_expert_used_count(c["top_k"])
    w.add_vocab_size(c["vocab"])
    w.add_tokenizer_model("none")
    for key, value in (("logit_scale", c["out_mult"]), ("embedding_scale", c["embed_mult"]),
                       ("attention.output_scale", c["attn_mult"]), ("attn_logit_softcapping", c["cap"]),
                       ("router_logit_softcapping", 1e6)):
        w.add_float32("grok." + key, value)
    w.add_tensor("token_embd.weight", own[0])
    w.add_tensor("output_norm.weight", own[1])
    for i, leaves in enumerate(layers):
        for name, x in leaves.items():
            to = NORMS.get(name) or NAMES.get(name.split(".")[-1] if "." in name else "") or EXPERTS[name]
            w.add_tensor(f"blk.{i}.{to}.weight", np.ascontiguousarray(np.swapaxes(x, -1, -2) if x.ndim > 1 else x))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def run(path, tokens, vocab):
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    p = llama_cpp.llama_context_default_params()
    p.n_ctx = p.n_batch = p.n_ubatch = 256
    p.type_k = p.type_v = llama_cpp.GGML_TYPE_F32
    p.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, p)
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, t in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = t, i, 1, 1
        batch.seq_id[i][0] = 0
    if llama_cpp.llama_decode(context, batch):
        sys.exit("llama_decode failed")
    rows = [np.ctypeslib.as_array(ctypes.cast(llama_cpp.llama_get_logits_ith(context, i),
                                              ctypes.POINTER(ctypes.c_float)), (vocab,)).copy()
            for i in range(len(tokens))]
    return np.array(rows, np.float64)


def main():
    rng = np.random.default_rng(3)
    own, layers = grok.random_leaves(SIZES, rng, GAIN)
    tokens = [int(t) for t in rng.integers(1, SIZES["vocab"], 40)]
    W = {n: x.astype(np.float64) for n, x in grok.by_keyfan(SIZES, own, layers).items()}
    want = grok.forward(SIZES, W, tokens)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tiny.gguf")
        write(path, SIZES, own, layers)
        got = run(path, tokens, SIZES["vocab"])
    half = grok.forward(SIZES, W, tokens, "half_table")
    largest, off = np.abs(want).max(), np.abs(got - want).max()
    print(f"llama.cpp {llama_cpp.__version__}: largest logit {largest:.3f}; largest difference {off / largest:.1e} of it, "
          f"{np.abs(got - half).max() / largest:.1e} with GELU in half precision; best token the same at "
          f"{(got.argmax(-1) == want.argmax(-1)).mean():.0%}")
    for bug in ("pairs", "swap", "no_cap", "no_post", "std_scale", "no_embed", "no_out"):
        change = np.abs(grok.forward(SIZES, W, tokens, bug) - got).max()
        print(f"  with {grok.BUGS[bug]}: {change / largest:.1e}")
    if off > 1e-3 * largest:
        sys.exit("they disagree")


if __name__ == "__main__":
    main()
