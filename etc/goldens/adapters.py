#!/usr/bin/env python3
"""adapters.py - low-rank adapters as PEFT writes them, and what models with them compute.

    python3 etc/goldens/adapters.py [-o t/data/goldens]         makes peft-gemma and peft-experts
    python3 etc/goldens/adapters.py --check FOLDER              does PEFT load an adapter that we wrote?

needs peft besides what gemma.py and training.py need (versions that worked: README.md).

peft-gemma is transformers' Gemma on gemma-mha's checkpoint, wrapped, filled with random factors, run in
float64 and saved by PEFT: all linear layers, the embedding, and the head that is tied to it.

peft-experts is the base family on train-sigmoid's checkpoint, with an untied head, a shared expert and
experts that are modules of their own.  A tree of modules of the checkpoint's names is wrapped by PEFT,
whose own differences of weights are added to the weights of training.py's model; the gradients are
autograd's, of the same loss, by PEFT's factors.
"""

import argparse
import json
import os
import shutil

import numpy as np
import peft
import torch
import transformers

import gemma as gemma_goldens
import tensorfile
import training

RANK, ALPHA = 3, 5
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def read(path):
    from safetensors.torch import load_file
    return load_file(path)


def randomise(model, seed):
    """Factors of such a size that every one of them moves the logits."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if "lora_" in name:
            with torch.no_grad():
                x = torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.3
                p.copy_(x.to(torch.float32).to(p.dtype))


def config():
    return peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LINEAR + ["embed_tokens", "lm_head"])


def save(folder, model, tensors, extra):
    shutil.rmtree(folder, ignore_errors=True)
    model.float().save_pretrained(folder, save_embedding_layers=False)
    for name in os.listdir(folder):
        if name not in ("adapter_config.json", "adapter_model.safetensors"):
            os.remove(f"{folder}/{name}")
    with open(f"{folder}/adapter_config.json") as f:
        c = json.load(f)
    c["base_model_name_or_path"] = None          # a path of the machine that made it
    c["target_modules"] = sorted(c["target_modules"])
    gemma_goldens.write_json(f"{folder}/adapter_config.json", c)
    tensorfile.write(f"{folder}/golden.safetensors", tensors)
    gemma_goldens.write_json(f"{folder}/golden.json", {
        "made_by": "etc/goldens/adapters.py", "peft": peft.__version__, "torch": torch.__version__,
        "transformers": transformers.__version__, "dtype": "float64"} | extra)


def make_gemma(out):
    base = f"{out}/gemma-mha"
    with open(f"{base}/golden.json") as f:
        tokens = json.load(f)["prompts"]["short"]["tokens"]
    model = gemma_goldens.load(base, torch.float64)
    ids = torch.tensor([tokens])
    with gemma_goldens.double_throughout(model), torch.no_grad():
        plain = model(ids, use_cache=False).logits[0]
    wrapped = peft.get_peft_model(model, config())
    randomise(wrapped, 1)
    with gemma_goldens.double_throughout(model), torch.no_grad():
        logits = wrapped.double()(ids, use_cache=False).logits[0]
    moved = float((logits - plain).abs().max() / plain.std())
    assert moved > 0.5, moved
    save(f"{out}/peft-gemma", wrapped,
         {"tokens": (np.array(tokens), "I32"), "logits": (logits.numpy(), "F32")},
         {"base": "gemma-mha", "logits_std": float(logits.std()), "moved": moved})
    print(f"peft-gemma: logits moved by {moved:.2f} of their deviation")


def tree(weights):
    """Modules of the checkpoint's names; the names are all that is wanted of them."""
    root = torch.nn.Module()
    for name, x in weights.items():
        if not name.endswith(".weight") or x.ndim != 2:
            continue
        at, path = root, name[:-len(".weight")].split(".")
        for part in path[:-1]:
            if not hasattr(at, part):
                setattr(at, part, torch.nn.Module())
            at = getattr(at, part)
        rows, cols = x.shape
        leaf = torch.nn.Embedding(rows, cols) if path[-1] == "embed_tokens" else \
            torch.nn.Linear(cols, rows, bias=False)
        leaf.weight = torch.nn.Parameter(torch.tensor(x, dtype=torch.float64))
        setattr(at, path[-1], leaf)
    return root.double()


class Adapted(training.Base):
    """training.py's model with PEFT's differences added to its weights."""

    def __init__(self, config, weights, wrapped):
        super().__init__(config, weights)
        self.modules = dict(wrapped.base_model.model.named_modules())

    def p(self, name):
        w = self.w[name + ".weight"].detach()
        module = self.modules.get(name)
        return w + module.get_delta_weight("default") if hasattr(module, "get_delta_weight") else w


def make_experts(out):
    base = f"{out}/train-sigmoid"
    with open(f"{base}/config.json") as f:
        c = json.load(f)
    weights = {n: x.numpy() for n, x in read(f"{base}/model.safetensors").items()}
    wrapped = peft.get_peft_model(tree(weights), config()).double()
    randomise(wrapped, 2)
    golden = read(f"{base}/golden.safetensors")
    ids, labels = golden["ids"].numpy(), golden["labels"].numpy()
    model = Adapted(c, weights, wrapped)
    logits, routers = model.logits(training.documents_of(ids))
    assert model.smallest_gap > training.MIN_GAP, model.smallest_gap
    ce, scored = training.cross_entropy(logits, labels)
    (ce / scored + training.auxiliary(c, routers, len(ids))).backward()
    tensors = {"ids": (ids, "I32"), "labels": (labels, "I32"), "starts": (np.array(training.STARTS), "I32"),
               "logits": (logits.detach().numpy(), "F32")}
    for name, p in wrapped.named_parameters():
        if "lora_" in name:
            g = p.grad if p.grad is not None else torch.zeros_like(p)
            tensors["gradient." + name.replace(".default", "")] = (g.numpy(), "F32")
    save(f"{out}/peft-experts", wrapped, tensors,
         {"base": "train-sigmoid", "logits_std": float(logits.std()), "cross_entropy": float(ce),
          "scored": scored})
    print(f"peft-experts: {len(tensors) - 4} gradients, loss {float(ce) / scored:.4f}")


def check(folder):
    """An adapter of peft-gemma's model that vishwamai wrote, loaded by PEFT: the same numbers."""
    with open(f"{folder}/adapter_config.json") as f:
        base = json.load(f)["base_model_name_or_path"]
    tokens = json.load(open(f"{base}/golden.json"))["prompts"]["short"]["tokens"]
    inner = gemma_goldens.load(base, torch.float64)
    model = peft.PeftModel.from_pretrained(inner, folder).double()
    loaded = {n for n, _ in model.named_parameters() if "lora_" in n}
    saved = read(f"{folder}/adapter_model.safetensors")
    assert {n.replace(".default", "") for n in loaded} == set(saved), "names differ"
    with gemma_goldens.double_throughout(inner), torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    print(json.dumps({"tokens": tokens, "logits": logits.tolist()}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", default="t/data/goldens")
    parser.add_argument("--check")
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.check:
        return check(options.check)
    make_gemma(options.o)
    make_experts(options.o)


if __name__ == "__main__":
    main()
