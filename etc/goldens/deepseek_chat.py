#!/usr/bin/env python3
"""deepseek_chat.py - a tiny DeepSeek checkpoint that talks, and its conversations by transformers.

    deepseek_chat.py                     write t/data/goldens/deepseek-chat
    deepseek_chat.py --published DIR     hold the templates below against DIR/v3.jinja, r1.jinja and v3.1.jinja,
                                         which are what the published checkpoints carry

The vocabulary is t/data/tokenizers/deepseek.  Of each turn the golden has the ids that transformers' apply_chat_template
makes of the conversation so far, and the greedy answer of its own model in float64, which the next turn then contains.
Only printable ASCII and </think> can be answered: other rows of the head are zero, so that an answer's text is valid and
its ids are not cut short.  Seeds are tried until every choice is certain and the thinking forms do end their thought.

The templates are ours, for text alone; the published ones have tools besides.
"""

import argparse
import itertools
import os
import shutil

import jinja2
import numpy as np
import torch
import transformers

import deepseek
import tensorfile
from bpe import ASSISTANT, BOS, DATA, EOS, USER
from deepseek_reference import DeepSeek
from gemma import MIN_GAP, run, write_checkpoint, write_json

OUT = DATA / "goldens" / "deepseek-chat"
CONFIG = {k: v for k, v in (deepseek.BASE | {
    "vocab_size": 644, "hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 12, "n_routed_experts": 8,
    "num_experts_per_tok": 3, "num_hidden_layers": 2, "torch_dtype": "bfloat16", "max_position_embeddings": 512,
    "rope_scaling": None}).items()}
END_OF_THOUGHT = 643
N_ANSWER = 12
FIRST_SEED = 711    # that all is right with; the search from 0 takes minutes
SYSTEM = "Be brief."
QUESTIONS = ["Who are you?", " And where is\nthe king? "]

START = "{{ bos_token }}{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}{% for m in messages %}"
TEMPLATES = {
    "v3": START + "{% if m.role == 'user' %}{{ '" + USER + "' + m.content + '" + ASSISTANT + "' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    "r1": START + "{% if m.role == 'user' %}{{ '" + USER + "' + m.content }}{% elif m.role == 'assistant' %}{{ '" + ASSISTANT +
    "' + m.content.split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "<think>\\n' }}{% endif %}",
    "v3.1": START + "{% if m.role == 'user' %}{{ '" + USER + "' + m.content }}{% elif m.role == 'assistant' %}{{ '" + ASSISTANT +
    "</think>' + m.content.split('</think>', 1)[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "' + ('<think>' if thinking else '</think>') }}{% endif %}",
}
# name -> template, thinking, is the answer's beginning a thought?
FORMS = {"v3": ("v3", False, False), "r1": ("r1", False, True), "v3.1": ("v3.1", False, False),
         "v3.1-thinking": ("v3.1", True, True)}


def hold_against(folder):
    """The same text from ours and from the published ones, for every kind of conversation that a user can have."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    answers = ["Yes.", "<think>\nhm\n</think>\n\nNo. "]
    for name, ours in TEMPLATES.items():
        with open(f"{folder}/{name}.jinja") as f:
            published = f.read()
        n = 0
        for system, first, second, thinking in itertools.product([[], [SYSTEM]], answers, answers, [False, True]):
            talk = [{"role": "system", "content": s} for s in system]
            for question, answer in zip(QUESTIONS + ["So?"], [first, second, None]):
                talk.append({"role": "user", "content": question})
                if name == "v3" and "</think>" in first + second:
                    continue        # of a model that does not think
                said = [env.from_string(t).render(messages=talk, bos_token=BOS, eos_token=EOS, thinking=thinking,
                                                  add_generation_prompt=True) for t in (published, ours)]
                assert said[0] == said[1], f"{name}: {said}"
                n += 1
                talk.append({"role": "assistant", "content": answer})
        print(f"{name}: {n} conversations are the same")


class Talker:
    """transformers' model and tokenizer of one seed."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(DATA / "tokenizers/deepseek/tokenizer.json"), bos_token=BOS, eos_token=EOS)
        self.weights = deepseek.make_weights(CONFIG, "BF16", rng, False)
        head, dtype = self.weights["lm_head.weight"]
        texts = [self.tokenizer.decode([i]) for i in range(len(head))]
        is_said = np.array([t.isascii() and (t.isprintable() or t == "\n") and t != "<think>" for t in texts])
        head = np.where(is_said[:, None], head, 0)
        head[END_OF_THOUGHT] *= 1.5
        self.weights["lm_head.weight"] = (head, dtype)
        plain = deepseek.dequantised(self.weights)
        self.reference = DeepSeek(CONFIG, {n: x for n, (x, _) in plain.items()})
        self.model = deepseek.published(CONFIG, plain)

    def ids(self, template, talk, thinking):
        return list(map(int, self.tokenizer.apply_chat_template(
            talk, chat_template=TEMPLATES[template], add_generation_prompt=True, thinking=thinking, return_dict=False)))

    def answer(self, prompt):
        ids = list(prompt)
        for _ in range(N_ANSWER):
            row = run(self.model, ids)[-1]
            second, best = np.argsort(row)[-2:]
            if row[best] - row[second] < MIN_GAP * row.std():
                return None
            ids.append(int(best))
        return ids[len(prompt):]

    def converse(self, template, thinking, thinks):
        """The turns of a conversation; None if it is no fair test."""
        talk, turns = [{"role": "system", "content": SYSTEM}], []
        for question in QUESTIONS:
            talk.append({"role": "user", "content": question})
            prompt = self.ids(template, talk, thinking)
            answer = self.answer(prompt)
            if answer is None or (END_OF_THOUGHT in answer[1:-2]) != (thinks and not turns):
                return None
            text = self.tokenizer.decode(answer)
            talk.append({"role": "assistant", "content": text})
            turns.append({"user": question, "prompt": prompt, "answer": answer, "text": text})
        return turns


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--published")
    args = parser.parse_args()
    if args.published:
        return hold_against(args.published)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for seed in itertools.count(FIRST_SEED):
        t = Talker(seed)
        with deepseek.double_throughout(t.model, t.reference):
            talks = {}
            for name, form in FORMS.items():
                talks[name] = t.converse(*form)
                if talks[name] is None:
                    break
        print(seed, list(talks), flush=True)
        if None not in talks.values():
            break
    shutil.rmtree(OUT, ignore_errors=True)
    write_checkpoint(OUT, CONFIG, t.weights, 1)
    for name, template in TEMPLATES.items():
        (OUT / f"{name}.jinja").write_text(template)
    write_json(OUT / "golden.json", {
        "made_by": "etc/goldens/deepseek_chat.py", "torch": torch.__version__, "transformers": transformers.__version__,
        "system": SYSTEM, "forms": {name: {"template": form[0], "thinking": form[1], "turns": talks[name]}
                                    for name, form in FORMS.items()}})


if __name__ == "__main__":
    main()
