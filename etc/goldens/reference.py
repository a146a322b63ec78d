"""reference.py - the forward pass of Gemma 1 in float64, with errors to plant.

Written from the description of the architecture, not from another program, so it is a second opinion
on the goldens: gemma.py demands that transformers and this file agree.  `bug` plants one known error
by name, by which gemma.py shows that the tolerance the tests use would notice it.

Letters: T tokens, V vocabulary, d width, H heads, K KV heads, D head size.
"""

import math

import numpy as np

BUGS = {
    "erf": "GELU with erf instead of its tanh form",
    "no_plus1": "norm weight w instead of 1 + w",
    "no_embed_scale": "embedding not multiplied by sqrt(d)",
    "pairs": "RoPE on neighbouring pairs instead of halves",
    "swap": "gate and up projections exchanged",
    "kv_modulo": "query head h reads KV head h mod K instead of h / (H / K)",
    "scale_d": "attention scale (d / H)^-0.5 instead of D^-0.5",
    "untied_row": "head sees the embedding shifted by one row",
    "fixed_eps": "rms_norm_eps 1e-6 whatever the configuration says",
    "fixed_theta": "RoPE base 10000 whatever the configuration says",
}


def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def gelu_erf(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def rope(x, theta, pairs):
    """x [T, heads, D] turned by its position; the frequencies are theta^(-2i/D)."""
    T, _, D = x.shape
    angle = np.arange(T)[:, None, None] * theta ** (-np.arange(0, D, 2) / D)
    c, s = np.cos(angle), np.sin(angle)
    a, b = (slice(0, None, 2), slice(1, None, 2)) if pairs else (slice(0, D // 2), slice(D // 2, None))
    y = np.empty_like(x)
    y[..., a] = x[..., a] * c - x[..., b] * s
    y[..., b] = x[..., b] * c + x[..., a] * s
    return y


def attention(q, k, v, scale, kv_head):
    """Causal attention: q [T, H, D], k and v [T, K, D]; kv_head[h] is the KV head that h reads."""
    T = len(q)
    z = np.einsum("ihd,jhd->hij", q, k[:, kv_head]) * scale
    z = np.where(np.tri(T, dtype=bool), z, -np.inf)
    p = np.exp(z - z.max(-1, keepdims=True))
    return np.einsum("hij,jhd->ihd", p / p.sum(-1, keepdims=True), v[:, kv_head]).reshape(T, -1)


def gemma(config, weights, tokens, bug=None):
    """Logits [T, V].  `config` is config.json, `weights` maps published names to arrays."""
    c = config
    d, H, K, D = (c[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    theta = c["rope_theta"] if "rope_theta" in c else c["rope_parameters"]["rope_theta"]
    theta = 10000.0 if bug == "fixed_theta" else theta
    eps = 1e-6 if bug == "fixed_eps" else c["rms_norm_eps"]
    act = gelu_erf if bug == "erf" else gelu_tanh
    scale = (d / H if bug == "scale_d" else D) ** -0.5
    kv_head = np.arange(H) % K if bug == "kv_modulo" else np.arange(H) // (H // K)
    gate, up = ("up", "gate") if bug == "swap" else ("gate", "up")

    def weight(name):
        return weights[f"model.{name}.weight"].astype(np.float64)

    def norm(x, name):
        return rms_norm(x, weight(name) + (bug != "no_plus1"), eps)

    E = weight("embed_tokens")
    x = E[tokens] * (1.0 if bug == "no_embed_scale" else math.sqrt(d))
    for layer in range(c["num_hidden_layers"]):
        p = f"layers.{layer}."
        h = norm(x, p + "input_layernorm")
        q, k, v = ((h @ weight(f"{p}self_attn.{n}_proj").T).reshape(len(tokens), heads, D)
                   for n, heads in (("q", H), ("k", K), ("v", K)))
        q, k = rope(q, theta, bug == "pairs"), rope(k, theta, bug == "pairs")
        x = x + attention(q, k, v, scale, kv_head) @ weight(p + "self_attn.o_proj").T
        h = norm(x, p + "post_attention_layernorm")
        m = act(h @ weight(f"{p}mlp.{gate}_proj").T) * (h @ weight(f"{p}mlp.{up}_proj").T)
        x = x + m @ weight(p + "mlp.down_proj").T
    return norm(x, "norm") @ (np.roll(E, 1, 0) if bug == "untied_row" else E).T
