"""deepseek_reference.py - the forward pass of DeepSeek-V2 and V3 in float64, their draft layer included.

Written from the description of the architecture, not from another program, so it is a second opinion
on the goldens, and the only one on the draft layer, of which the published inference code has nothing.

Letters: T tokens, V vocabulary, d width, H heads, E experts.
"""

import math

import numpy as np

from reference import rms_norm

LOW_RANK_EPS = 1e-6     # of the norms within attention, whatever rms_norm_eps says


def silu(x):
    return x / (1 + np.exp(-x))


def get_mscale(factor, a):
    return 0.1 * a * math.log(factor) + 1 if factor > 1 else 1.0


def positions(c):
    """Frequencies [rope / 2], the multiplier of cosines and sines, and the scale of attention."""
    dim = c["qk_rope_head_dim"]
    p = c.get("rope_parameters") or c.get("rope_scaling") or {}
    theta = p.get("rope_theta", c.get("rope_theta", 10000.0))
    f = theta ** (-np.arange(0, dim, 2) / dim)
    scale = (c["qk_nope_head_dim"] + dim) ** -0.5
    if p.get("rope_type", p.get("type", "default")) == "default":
        return f, 1.0, scale
    factor, whole = p["factor"], p["original_max_position_embeddings"]

    def pair(turns):
        return dim * math.log(whole / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair(p.get("beta_fast", 32))), 0)
    high = min(math.ceil(pair(p.get("beta_slow", 1))), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 1e-3), 0, 1)
    every = get_mscale(factor, p.get("mscale_all_dim", 0))
    return f * (1 - ramp) + f / factor * ramp, get_mscale(factor, p.get("mscale", 1)) / every, scale * every ** 2


def turn(x, f, multiplier, first):
    """x [T, heads, dim] rotated in neighbouring pairs; row 0 is at position `first`."""
    angle = (first + np.arange(len(x)))[:, None, None] * f
    cos, sin = np.cos(angle) * multiplier, np.sin(angle) * multiplier
    y = np.empty_like(x)
    y[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    y[..., 1::2] = x[..., 1::2] * cos + x[..., 0::2] * sin
    return y


def choose(c, logits, bias):
    """Experts and weights of one token."""
    v2 = c["model_type"] == "deepseek_v2"
    s = np.exp(logits - logits.max())
    s = s / s.sum() if v2 else 1 / (1 + np.exp(-logits))
    b = s if v2 else s + bias
    grouped = not v2 or c.get("topk_method") == "group_limited_greedy"
    groups = c["n_group"] if grouped else 1
    kept = c["topk_group"] if grouped else 1
    b = b.reshape(groups, -1).copy()
    best = np.sort(b, -1)[:, -(1 if v2 else 2):].sum(-1)
    b[np.argsort(-best)[kept:]] = -np.inf
    e = np.argsort(-b.ravel())[:c["num_experts_per_tok"]]
    w = s[e]
    if c["norm_topk_prob"]:
        w = w / w.sum()
    if not (v2 and c["norm_topk_prob"]):
        w = w * c["routed_scaling_factor"]
    return e, w


class DeepSeek:
    """`config` is config.json, `weights` maps published names to arrays (fp8 already dequantised)."""

    def __init__(self, config, weights):
        self.c, self.weights = config, weights
        self.f, self.multiplier, self.scale = positions(config)

    def w(self, name):
        return self.weights[f"model.{name}.weight"].astype(np.float64)

    def norm(self, x, name, eps=None):
        return rms_norm(x, self.w(name), eps or self.c["rms_norm_eps"])

    def mlp(self, h, p):
        return (silu(h @ self.w(p + "gate_proj").T) * (h @ self.w(p + "up_proj").T)) @ self.w(p + "down_proj").T

    def attention(self, h, p):
        c, T = self.c, len(h)
        H, kl, dn, dr, dv = (c[k] for k in ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim",
                                            "qk_rope_head_dim", "v_head_dim"))
        q = h @ self.w(p + ("q_a_proj" if c["q_lora_rank"] else "q_proj")).T
        if c["q_lora_rank"]:
            q = self.norm(q, p + "q_a_layernorm", LOW_RANK_EPS) @ self.w(p + "q_b_proj").T
        q = q.reshape(T, H, dn + dr)
        latent = h @ self.w(p + "kv_a_proj_with_mqa").T
        kv = self.norm(latent[:, :kl], p + "kv_a_layernorm", LOW_RANK_EPS) @ self.w(p + "kv_b_proj").T
        kv = kv.reshape(T, H, dn + dv)
        shared = turn(latent[:, None, kl:], self.f, self.multiplier, 0)
        q = np.concatenate([q[..., :dn], turn(q[..., dn:], self.f, self.multiplier, 0)], -1)
        k = np.concatenate([kv[..., :dn], np.repeat(shared, H, 1)], -1)
        z = np.einsum("ihd,jhd->hij", q, k) * self.scale
        z = np.where(np.tri(T, dtype=bool), z, -np.inf)
        e = np.exp(z - z.max(-1, keepdims=True))
        o = np.einsum("hij,jhd->ihd", e / e.sum(-1, keepdims=True), kv[..., dn:])
        return o.reshape(T, -1) @ self.w(p + "o_proj").T

    def mixture(self, h, p):
        c = self.c
        bias = self.weights.get(f"model.{p}gate.e_score_correction_bias")
        y = self.mlp(h, p + "shared_experts.") if c["n_shared_experts"] else np.zeros_like(h)
        logits = h @ self.w(p + "gate").T
        for t in range(len(h)):
            for e, w in zip(*choose(c, logits[t], None if bias is None else bias.astype(np.float64))):
                y[t] += w * self.mlp(h[t:t + 1], f"{p}experts.{e}.")[0]
        return y

    def layer(self, x, n):
        p = f"layers.{n}."
        x = x + self.attention(self.norm(x, p + "input_layernorm"), p + "self_attn.")
        h = self.norm(x, p + "post_attention_layernorm")
        dense = n < self.c["first_k_dense_replace"]
        return x + (self.mlp if dense else self.mixture)(h, p + "mlp.")

    def head(self, x):
        return x @ self.weights["lm_head.weight"].astype(np.float64).T

    def run(self, tokens):
        """Logits [T, V] and the states [T, d] before and behind the last norm."""
        x = self.w("embed_tokens")[tokens]
        for n in range(self.c["num_hidden_layers"]):
            x = self.layer(x, n)
        y = self.norm(x, "norm")
        return self.head(y), x, y

    def draft(self, tokens, hidden):
        """What the draft layer says of the token behind tokens[1:], given the states of tokens[:-1]."""
        n = self.c["num_hidden_layers"]
        p = f"layers.{n}."
        e = self.norm(self.w("embed_tokens")[tokens[1:]], p + "enorm")
        x = np.concatenate([e, self.norm(hidden[:-1], p + "hnorm")], -1) @ self.w(p + "eh_proj").T
        return self.head(self.norm(self.layer(x, n), p + "shared_head.norm"))
