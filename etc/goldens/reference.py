"""reference.py - the forward pass of Gemma 1, 2 and 3 in float64, with errors to plant.

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
# What Gemma 2 and 3 add (models.md 4.4); gemma_later.py plants these besides.
LATER_BUGS = {
    "no_post": "norms behind attention and MLP forgotten",
    "no_window": "window ignored",
    "wide": "window one too wide",
    "narrow": "window one too narrow",
    "shifted": "local and global layers off by one",
    "head_scale": "attention scale D^-0.5 whatever query_pre_attn_scalar says",
    "no_attn_cap": "soft-cap of attention forgotten",
    "cap_after_mask": "soft-cap applied behind the mask",
    "no_final_cap": "soft-cap of the logits forgotten",
    "no_qk_norm": "q and k not normed",
    "qk_norm_late": "q and k normed behind the rotation",
    "one_theta": "local base in global layers too",
    "no_factor": "linear factor forgotten",
    "factor_local": "linear factor in local layers too",
}


def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def gelu_erf(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def rope(x, theta, pairs, factor=1.0):
    """x [T, heads, D] turned by its position; the frequencies are theta^(-2i/D)."""
    T, _, D = x.shape
    angle = np.arange(T)[:, None, None] / factor * theta ** (-np.arange(0, D, 2) / D)
    c, s = np.cos(angle), np.sin(angle)
    a, b = (slice(0, None, 2), slice(1, None, 2)) if pairs else (slice(0, D // 2), slice(D // 2, None))
    y = np.empty_like(x)
    y[..., a] = x[..., a] * c - x[..., b] * s
    y[..., b] = x[..., b] * c + x[..., a] * s
    return y


def attention(q, k, v, scale, kv_head, window=None, cap=None, cap_after_mask=False):
    """Causal attention: q [T, H, D], k and v [T, K, D]; kv_head[h] is the KV head that h reads."""
    T = len(q)
    z = np.einsum("ihd,jhd->hij", q, k[:, kv_head]) * scale
    back = np.arange(T)[:, None] - np.arange(T)
    seen = (back >= 0) & (back < (window or T))
    if cap and cap_after_mask:
        z = np.where(seen, z, -1e30)
    if cap:
        z = cap * np.tanh(z / cap)
    if not cap_after_mask:
        z = np.where(seen, z, -np.inf)
    p = np.exp(z - z.max(-1, keepdims=True))
    return np.einsum("hij,jhd->ihd", p / p.sum(-1, keepdims=True), v[:, kv_head]).reshape(T, -1)


def rotations(c, version):
    """(theta, factor) of global and of local layers, from either form of the configuration."""
    new = c.get("rope_parameters") or {}
    full, local = new.get("full_attention", new), new.get("sliding_attention", {})
    old = c.get("rope_scaling") or {}
    theta = full.get("rope_theta", c.get("rope_theta", 1e6 if version == 3 else 1e4))
    factor = full.get("factor", old.get("factor", 1.0))
    if version < 3:
        return (theta, factor), (theta, factor)
    return (theta, factor), (local.get("rope_theta", c.get("rope_local_base_freq", 1e4)), local.get("factor", 1.0))


def local_layers(c, version):
    if c.get("layer_types"):
        return [t == "sliding_attention" for t in c["layer_types"]]
    pattern = {1: 1, 2: 2, 3: c.get("sliding_window_pattern", 6)}[version]
    return [(i + 1) % pattern != 0 for i in range(c["num_hidden_layers"])]


def gemma(config, weights, tokens, bug=None):
    """Logits [T, V].  `config` is config.json (of a multimodal one: its text_config, completed), `weights`
    maps published names, with the prefix "model.", to arrays."""
    c = config
    version = {"gemma": 1, "gemma2": 2, "gemma3_text": 3}[c["model_type"]]
    d, H, K, D = (c[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    wide, near = rotations(c, version)
    if bug == "fixed_theta":
        wide = near = (10000.0, 1.0)
    if bug == "one_theta":
        wide = (near[0], wide[1])
    if bug == "no_factor":
        wide = (wide[0], 1.0)
    if bug == "factor_local":
        near = (near[0], wide[1])
    eps = 1e-6 if bug == "fixed_eps" else c["rms_norm_eps"]
    act = gelu_erf if bug == "erf" else gelu_tanh
    scalar = D if version == 1 or bug == "head_scale" else c.get("query_pre_attn_scalar", 256)
    scale = (d / H if bug == "scale_d" else scalar) ** -0.5
    kv_head = np.arange(H) % K if bug == "kv_modulo" else np.arange(H) // (H // K)
    gate, up = ("up", "gate") if bug == "swap" else ("gate", "up")
    default = {2: (50.0, 30.0)}.get(version, (None, None))
    attn_cap = None if bug == "no_attn_cap" else c.get("attn_logit_softcapping", default[0])
    final_cap = None if bug == "no_final_cap" else c.get("final_logit_softcapping", default[1])
    local = local_layers(c, version)
    if bug == "shifted":
        local = local[-1:] + local[:-1]
    window = c.get("sliding_window", 4096) + {"wide": 1, "narrow": -1}.get(bug, 0) if version > 1 else None

    def weight(name):
        return weights[f"model.{name}.weight"].astype(np.float64)

    def norm(x, name):
        return rms_norm(x, weight(name) + (bug != "no_plus1"), eps)

    def after(x, name):
        return x if version == 1 or bug == "no_post" else norm(x, name)

    def turn(x, layer):
        theta, factor = near if local[layer] else wide
        return rope(x, theta, bug == "pairs", factor)

    E = weight("embed_tokens")
    x = E[tokens] * (1.0 if bug == "no_embed_scale" else math.sqrt(d))
    for layer in range(c["num_hidden_layers"]):
        p = f"layers.{layer}."
        h = norm(x, p + "input_layernorm")
        q, k, v = ((h @ weight(f"{p}self_attn.{n}_proj").T).reshape(len(tokens), heads, D)
                   for n, heads in (("q", H), ("k", K), ("v", K)))
        if bug == "qk_norm_late":
            q, k = turn(q, layer), turn(k, layer)
        if version == 3 and bug != "no_qk_norm":
            q, k = norm(q, p + "self_attn.q_norm"), norm(k, p + "self_attn.k_norm")
        if bug != "qk_norm_late":
            q, k = turn(q, layer), turn(k, layer)
        seen = None if bug == "no_window" or not local[layer] else window
        a = attention(q, k, v, scale, kv_head, seen, attn_cap, bug == "cap_after_mask")
        x = x + after(a @ weight(p + "self_attn.o_proj").T, p + "post_attention_layernorm")
        h = norm(x, p + ("post_attention_layernorm" if version == 1 else "pre_feedforward_layernorm"))
        m = act(h @ weight(f"{p}mlp.{gate}_proj").T) * (h @ weight(f"{p}mlp.{up}_proj").T)
        x = x + after(m @ weight(p + "mlp.down_proj").T, p + "post_feedforward_layernorm")
    logits = norm(x, "norm") @ (np.roll(E, 1, 0) if bug == "untied_row" else E).T
    return final_cap * np.tanh(logits / final_cap) if final_cap else logits
