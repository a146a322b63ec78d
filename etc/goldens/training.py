#!/usr/bin/env python3
"""training.py - losses and gradients of whole models, as PyTorch's autograd finds them.

    python3 etc/goldens/training.py [-o t/data/goldens]

needs numpy, torch and transformers (versions that worked: README.md); the tests need none of them.
Every model runs in float64.  The base family is written here in plain PyTorch, one document and one
expert at a time, with nothing in common with the C code; the dense model and the one with a softmax
router have to agree with transformers' Llama and Mixtral before anything is called golden.  Gemma is
transformers' own, on the checkpoint that gemma.py made.

A batch is three documents end to end; attention and positions begin anew in each, and some labels are
masked.  Gradients are those of the mean over the scored labels plus the routers' auxiliary loss and
z-loss.
Sizes are odd on purpose; norms, and the bias that steers a router, are far from their first values.
"""

import argparse
import json
import os
import shutil

import numpy as np
import torch
import transformers

import gemma as gemma_goldens
import tensorfile

AGREEMENT = 1e-10       # relative, float64 against float64
MIN_GAP = 1e-4          # between the last expert chosen and the first that is not: no rounding may decide
STARTS = (0, 9, 10, 41)  # three documents, one of a single token
MASKED = (0, 3, 4, 20, 40)

BASE = {
    "architectures": ["VishwamaiForCausalLM"], "model_type": "vishwamai", "hidden_act": "silu",
    "vocab_size": 97, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 44, "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "tie_word_embeddings": True,
}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 22,
           "scoring_func": "softmax", "norm_topk_prob": True, "router_aux_loss_coef": 0.05}
SIGMOID = {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 18, "n_shared_experts": 1,
           "first_k_dense_replace": 1, "scoring_func": "sigmoid", "routed_scaling_factor": 1.5,
           "router_aux_loss_coef": 0.0, "tie_word_embeddings": False, "num_hidden_layers": 3}
ZLOSS = EXPERTS | {"router_z_loss_coef": 0.02, "router_aux_loss_coef": 0.0, "num_experts": 4, "vocab_size": 41,
                   "num_hidden_layers": 1, "moe_intermediate_size": 12}
MODELS = {"train-dense": BASE, "train-softmax": BASE | EXPERTS, "train-sigmoid": BASE | SIGMOID,
          "train-zloss": BASE | ZLOSS}


def make_weights(c, rng):
    d, D, V = c["hidden_size"], c["head_dim"], c["vocab_size"]
    q, kv = c["num_attention_heads"] * D, c["num_key_value_heads"] * D
    t = {}

    def linear(name, rows, cols, gain=1.0):
        t[name + ".weight"] = (gain * rng.standard_normal((rows, cols)) / cols ** 0.5).astype(np.float32)

    def norm(name):
        t[name + ".weight"] = (1 + 0.3 * rng.standard_normal(d)).astype(np.float32)

    def mlp(p, width):
        linear(p + "gate_proj", width, d)
        linear(p + "up_proj", width, d)
        linear(p + "down_proj", d, width, 2.0)

    linear("model.embed_tokens", V, d, 3.0)
    norm("model.norm")
    if not c["tie_word_embeddings"]:
        linear("lm_head", V, d, 2.0)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        norm(p + "input_layernorm")
        linear(p + "self_attn.q_proj", q, d, 2.0)
        linear(p + "self_attn.k_proj", kv, d)
        linear(p + "self_attn.v_proj", kv, d)
        linear(p + "self_attn.o_proj", d, q, 2.0)
        norm(p + "post_attention_layernorm")
        if c.get("num_experts", 0) <= 1 or layer < c.get("first_k_dense_replace", 0):
            mlp(p + "mlp.", c["intermediate_size"])
            continue
        E, F = c["num_experts"], c["moe_intermediate_size"]
        linear(p + "mlp.gate", E, d)
        if c["scoring_func"] == "sigmoid":
            t[p + "mlp.gate.e_score_correction_bias"] = (0.3 * rng.standard_normal(E)).astype(np.float32)
        if c.get("n_shared_experts", 0):
            mlp(p + "mlp.shared_experts.", F * c["n_shared_experts"])
        for e in range(E):
            mlp(p + f"mlp.experts.{e}.", F)
    return t


class Base:
    """The family in plain PyTorch."""

    def __init__(self, config, weights):
        self.c = config
        self.w = {n: torch.tensor(x, dtype=torch.float64, requires_grad=not n.endswith("correction_bias"))
                  for n, x in weights.items()}
        self.smallest_gap = np.inf

    def p(self, name):
        return self.w[name + ".weight"]

    def norm(self, x, name):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.c["rms_norm_eps"]) * self.p(name)

    def rotate(self, x):
        T, _, D = x.shape
        angle = torch.arange(T, dtype=torch.float64)[:, None] \
            * self.c["rope_theta"] ** (-2 * torch.arange(D // 2, dtype=torch.float64) / D)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        a, b = x[..., :D // 2], x[..., D // 2:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, h, p):
        c, T = self.c, h.shape[0]
        H, K, D = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        q = self.rotate((h @ self.p(p + "q_proj").T).view(T, H, D))
        k = self.rotate((h @ self.p(p + "k_proj").T).view(T, K, D))
        v = (h @ self.p(p + "v_proj").T).view(T, K, D)
        out = []
        for i in range(H):
            z = q[:, i] @ k[:, i // (H // K)].T / D ** 0.5
            z = z.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
            out.append(z.softmax(-1) @ v[:, i // (H // K)])
        return torch.cat(out, -1) @ self.p(p + "o_proj").T

    def mlp(self, h, p):
        return (torch.nn.functional.silu(h @ self.p(p + "gate_proj").T) * (h @ self.p(p + "up_proj").T)) \
            @ self.p(p + "down_proj").T

    def moe(self, h, p, shares, loads):
        c, E, k = self.c, self.c["num_experts"], self.c["num_experts_per_tok"]
        logits = h @ self.p(p + "gate").T
        self.z = self.z + torch.logsumexp(logits, -1).square().sum()
        is_sigmoid = c["scoring_func"] == "sigmoid"
        s = logits.sigmoid() if is_sigmoid else logits.softmax(-1)
        steer = s.detach() + (self.w[p + "gate.e_score_correction_bias"] if is_sigmoid else 0)
        rows = []
        for t in range(h.shape[0]):
            order = torch.argsort(steer[t], descending=True)
            self.smallest_gap = min(self.smallest_gap, float(steer[t][order[k - 1]] - steer[t][order[k]]))
            w = s[t][order[:k]]
            if c.get("norm_topk_prob", True):
                w = w / w.sum()
            w = w * c.get("routed_scaling_factor", 1.0)
            row = 0
            for j in range(k):
                e = int(order[j])
                loads[e] += 1
                row = row + w[j] * self.mlp(h[t:t + 1], p + f"experts.{e}.")
            rows.append(row)
        shares.append((s / s.sum(-1, keepdim=True)).sum(0))
        y = torch.cat(rows)
        return y + self.mlp(h, p + "shared_experts.") if c.get("n_shared_experts", 0) else y

    def logits(self, documents):
        """Logits of all documents, and each router's summed shares and loads."""
        x = [self.p("model.embed_tokens")[d] for d in documents]
        routers, self.z = [], 0
        for layer in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = [d + self.attention(self.norm(d, p + "input_layernorm"), p + "self_attn.") for d in x]
            h = [self.norm(d, p + "post_attention_layernorm") for d in x]
            if p + "mlp.gate.weight" in self.w:
                shares, loads = [], [0] * self.c["num_experts"]
                x = [d + self.moe(n, p + "mlp.", shares, loads) for d, n in zip(x, h)]
                routers.append((sum(shares), loads))
            else:
                x = [d + self.mlp(n, p + "mlp.") for d, n in zip(x, h)]
        table = self.p("model.embed_tokens" if self.c["tie_word_embeddings"] else "lm_head")
        return torch.cat([self.norm(d, "model.norm") @ table.T for d in x]), routers


def auxiliary(config, routers, tokens):
    """a E sum f P over the layers; f is a count and has no gradient."""
    total = torch.zeros((), dtype=torch.float64)
    for shares, loads in routers:
        f = torch.tensor(loads, dtype=torch.float64) / sum(loads)
        total = total + config["router_aux_loss_coef"] * config["num_experts"] * (f * shares / tokens).sum()
    return total


def make_batch(vocab, rng):
    ids = rng.integers(0, vocab, STARTS[-1])
    labels = rng.integers(0, vocab, STARTS[-1])
    labels[list(MASKED)] = -1
    return ids, labels


def cross_entropy(logits, labels):
    scored = torch.tensor(np.flatnonzero(labels >= 0))
    z = logits[scored].log_softmax(-1)
    return -z[torch.arange(len(scored)), torch.tensor(labels[labels >= 0])].sum(), len(scored)


def documents_of(ids):
    return [torch.tensor(ids[a:b]) for a, b in zip(STARTS, STARTS[1:])]


def save(folder, ids, labels, logits, ce, scored, aux, gradients, loads, extra):
    tensors = {"ids": (ids, "I32"), "labels": (labels, "I32"), "starts": (np.array(STARTS), "I32"),
               "logits": (logits, "F32")}
    for name, g in gradients.items():
        tensors["gradient." + name] = (g, "F32")
    tensorfile.write(f"{folder}/golden.safetensors", tensors)
    gemma_goldens.write_json(f"{folder}/golden.json", {
        "made_by": "etc/goldens/training.py", "torch": torch.__version__,
        "transformers": transformers.__version__, "dtype": "float64", "cross_entropy": ce, "scored": scored,
        "auxiliary": aux, "logits_std": float(logits.std()), "loads": loads} | extra)


def same(a, b, what):
    difference = float((a - b).abs().max() / b.std())
    assert difference < AGREEMENT, f"{what}: {difference:.1e} apart"
    return difference


def published(config, weights, documents):
    """transformers' model of the same maths, or None."""
    c = config
    common = dict(vocab_size=c["vocab_size"], hidden_size=c["hidden_size"], head_dim=c["head_dim"],
                  num_hidden_layers=c["num_hidden_layers"], num_attention_heads=c["num_attention_heads"],
                  num_key_value_heads=c["num_key_value_heads"], rms_norm_eps=c["rms_norm_eps"],
                  max_position_embeddings=128, tie_word_embeddings=True, attention_bias=False,
                  rope_theta=c["rope_theta"], attn_implementation="eager",
                  rope_parameters={"rope_type": "default", "rope_theta": c["rope_theta"]})
    state = {n: torch.tensor(x, dtype=torch.float64) for n, x in weights.items()}
    if c.get("num_experts", 0) <= 1:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            intermediate_size=c["intermediate_size"], **common))
    elif c["scoring_func"] == "softmax":
        model = transformers.MixtralForCausalLM(transformers.MixtralConfig(
            intermediate_size=c["moe_intermediate_size"], num_local_experts=c["num_experts"],
            num_experts_per_tok=c["num_experts_per_tok"], sliding_window=None,
            experts_implementation="eager", **common))
        state = mixtral_names(state, model.state_dict(), c["num_experts"])
    else:
        return None
    model = model.to(torch.float64).eval()
    missing, surplus = model.load_state_dict(state, strict=False)
    assert not surplus and set(missing) <= {"lm_head.weight"}, (missing, surplus)
    model.tie_weights()
    with gemma_goldens.double_throughout_llama(model), torch.no_grad():
        return torch.cat([model(d[None], use_cache=False).logits[0] for d in documents])


def mixtral_names(state, wanted, experts):
    """Older versions hold experts one by one (w1, w3, w2), newer ones all gates and ups in one tensor."""
    out = {n: x for n, x in state.items() if ".mlp." not in n}
    layers = sorted({n.split(".mlp.")[0] for n in state if ".mlp." in n})
    for p in layers:
        def of(e, which):
            return state[f"{p}.mlp.experts.{e}.{which}_proj.weight"]
        gate = state[f"{p}.mlp.gate.weight"]
        if f"{p}.mlp.experts.gate_up_proj" in wanted:
            out[f"{p}.mlp.gate.weight"] = gate
            out[f"{p}.mlp.experts.gate_up_proj"] = torch.stack(
                [torch.cat([of(e, "gate"), of(e, "up")]) for e in range(experts)])
            out[f"{p}.mlp.experts.down_proj"] = torch.stack([of(e, "down") for e in range(experts)])
            continue
        out[f"{p}.block_sparse_moe.gate.weight"] = gate
        for e in range(experts):
            for ours, theirs in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
                out[f"{p}.block_sparse_moe.experts.{e}.{theirs}.weight"] = of(e, ours)
    return out


def make_base(out, name, config, seed):
    folder, rng = os.path.join(out, name), np.random.default_rng(100 + seed)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    weights = make_weights(config, rng)
    gemma_goldens.write_json(f"{folder}/config.json", config)
    tensorfile.write(f"{folder}/model.safetensors", {n: (x, "F32") for n, x in weights.items()})
    ids, labels = make_batch(config["vocab_size"], rng)
    model = Base(config, weights)
    logits, routers = model.logits(documents_of(ids))
    assert model.smallest_gap > MIN_GAP, f"{name}: a choice of experts hangs on {model.smallest_gap:.1e}"
    theirs = published(config, weights, documents_of(ids))
    agreement = same(logits.detach(), theirs, name) if theirs is not None else None
    ce, scored = cross_entropy(logits, labels)
    aux = auxiliary(config, routers, STARTS[-1])
    z = config.get("router_z_loss_coef", 0) * model.z / STARTS[-1]
    (ce / scored + aux + z).backward()
    gradients = {n: (torch.zeros_like(w) if w.grad is None else w.grad).numpy()     # an expert that no token took
                 for n, w in model.w.items() if w.requires_grad}
    save(folder, ids, labels, logits.detach().numpy(), float(ce.detach()), scored, float(aux.detach()), gradients,
         [loads for _, loads in routers], {"transformers_differ": agreement, "smallest_gap": None
                                           if np.isinf(model.smallest_gap) else model.smallest_gap})
    print(f"| {name} | {float(ce.detach()) / scored:.6f} | {float(aux.detach()):.6f} | {agreement} |"
          f" {model.smallest_gap:.1e} |")


def make_gemma(out):
    folder, source = os.path.join(out, "train-gemma"), "gemma-mqa-f16"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model = gemma_goldens.load(os.path.join(out, source), torch.float64)
    model.model.embed_tokens.padding_idx = None     # else PyTorch drops what its row learns as an input
    ids, labels = make_batch(model.config.vocab_size, np.random.default_rng(200))
    with gemma_goldens.double_throughout(model):
        logits = torch.cat([model(d[None], use_cache=False).logits[0] for d in documents_of(ids)])
        ce, scored = cross_entropy(logits, labels)
        (ce / scored).backward()
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters()}
    save(folder, ids, labels, logits.detach().numpy(), float(ce.detach()), scored, 0.0, gradients, [], {"checkpoint": source})
    print(f"| train-gemma | {float(ce.detach()) / scored:.6f} | 0 | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--out", default=os.path.join(os.path.dirname(__file__), "../../t/data/goldens"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print("| model | mean cross-entropy | auxiliary | transformers differs | smallest gap of a choice |\n"
          "|---|---|---|---|---|")
    for seed, (name, config) in enumerate(MODELS.items()):
        make_base(out, name, config, seed)
    make_gemma(out)


if __name__ == "__main__":
    main()
