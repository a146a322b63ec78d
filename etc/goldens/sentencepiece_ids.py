#!/usr/bin/env python3
"""sentencepiece_ids.py - tokenizer/sentencepiece held against Google's library on random text.

    sentencepiece_ids.py PROGRAM [N]    N random Unicode strings (10 000) a model, and the texts of t/data

PROGRAM is a script that runs the built t/bpe.t.  The models: the bundled one, and four trained here on
the texts of t/data: BPE and unigram, with and without dummy prefix, normaliser and byte fallback.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import sentencepiece as spm

from bpe import DATA, FIXED, TOP, corpus, random_texts

MODELS = {
    "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
                remove_extra_whitespaces=False, user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n"]),
    "bpe-prefix": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                       remove_extra_whitespaces=False, split_digits=True, user_defined_symbols=["  ", "12"]),
    "unigram": dict(model_type="unigram"),                    # nmt_nfkc, spaces trimmed, unk
    "unigram-bytes": dict(model_type="unigram", byte_fallback=True, treat_whitespace_as_suffix=True),
}


def make(folder, options):
    (folder / "text").write_text("".join(corpus()))
    spm.SentencePieceTrainer.train(input=str(folder / "text"), model_prefix=str(folder / "tokenizer"), vocab_size=700,
                                   minloglevel=2, character_coverage=.98, num_threads=1, **options)


def check(program, name, folder, n):
    sp = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = FIXED + [(DATA / f).read_text() for f in ("shakespeare.val.txt", "frankenstein.val.txt")]
    texts += list(random_texts(n, "sentencepiece " + name))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(texts, f)
        f.flush()
        got = subprocess.run([program, "sentencepiece", str(folder), f.name], check=True, capture_output=True, text=True)
    lines = [line for line in got.stdout.split("\n") if not line.startswith(("ok", "#"))][::2]
    wrong = [t for t, line in zip(texts, lines) if " ".join(map(str, sp.encode(t))) != line]
    print(f"{name}: {len(texts)} texts, {len(wrong)} differ", *map(ascii, wrong[:3]))
    return len(wrong)


def main():
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    bad = check(sys.argv[1], "tiny-gemma", TOP / "etc" / "models" / "tiny-gemma", n)
    for name, options in MODELS.items():
        with tempfile.TemporaryDirectory() as d:
            make(pathlib.Path(d), options)
            bad += check(sys.argv[1], name, pathlib.Path(d), n)
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
