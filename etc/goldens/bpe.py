#!/usr/bin/env python3
"""bpe.py - small tokenizer.json files of every published style, and what the reference says.

    bpe.py                       write t/data/tokenizers (styles, golden ids)
    bpe.py --check PROGRAM [N]   hold PROGRAM (`build/t/run build/t/bpe.t`, in a script) against the reference on the
                                        texts of t/data and N random Unicode strings (10 000) a style

The reference is Hugging Face tokenizers.  Each style is trained here on the texts of t/data and on a
few lines in other scripts, and then dressed with the normalizer, pre-tokenizer, added tokens and
decoder that the published families have; their patterns are quoted from the published files.
Random strings come from code points that Python's Unicode (14.0, which is PCRE2 10.42's) knows, and of
punctuation and of what decomposes those of Unicode 3.2: the reference's tables for these are older.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TOP = pathlib.Path(__file__).resolve().parents[2]
DATA = TOP / "t" / "data"
OUT = DATA / "tokenizers"
VOCABULARY = 640

DEEPSEEK = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
            "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
LLAMA3 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
          "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
QWEN = LLAMA3.replace("\\p{N}{1,3}", "\\p{N}")
OTHER_SCRIPTS = """日本語と中文の混じった文章です。你好，世界！今天天气很好。
Straße, naïve café, Đường phố, Ελληνικά, русский язык, עברית, العربية, हिन्दी ภาษาไทย 한국어 조선말
def f(x, *args):\n\treturn x ** 2 + 10_000 if x >= 0x1F else {'a': [1, 22, 333, 4444, 55555]}
😀😁🎉👩‍👩‍👧‍👦 ½ ² Ⅷ ① ٣ e\u0301 \u00e9 ﬁ ſ İ ı ß \u212b
I'm you're he'll they'd we've it's don't I'M YOU'RE
"""
USER = "<\uff5cUser\uff5c>"
ASSISTANT = "<\uff5cAssistant\uff5c>"
BOS = "<\uff5cbegin\u2581of\u2581sentence\uff5c>"
EOS = "<\uff5cend\u2581of\u2581sentence\uff5c>"


def corpus():
    texts = [(DATA / n).read_text() for n in ("shakespeare.val.txt", "frankenstein.val.txt")]
    return texts + [OTHER_SCRIPTS] * 8


def train(tok, specials=(), alphabet=(), size=VOCABULARY, **kw):
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials),
                                                          initial_alphabet=list(alphabet), show_progress=False, **kw))
    return tok


def byte_level(pre, specials=(), **model):
    tok = Tokenizer(models.BPE(**model))
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    return train(tok, specials, pre_tokenizers.ByteLevel.alphabet())


def with_bytes(tok_json, unk):
    """A vocabulary that falls back to bytes: <0x00> ... behind the specials, as SentencePiece writes."""
    old = tok_json["model"]["vocab"]
    specials = [t["content"] for t in tok_json["added_tokens"]]
    pieces = specials + [f"<0x{b:02X}>" for b in range(256)] + [p for p in old if p not in specials]
    tok_json["model"].update(vocab={p: i for i, p in enumerate(pieces)}, byte_fallback=True, unk_token=unk, fuse_unk=True)
    for t in tok_json["added_tokens"]:
        t["id"] = pieces.index(t["content"])
    return Tokenizer.from_str(json.dumps(tok_json))


def gpt2():
    tok = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def deepseek():
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("\\p{N}{1,3}"), "isolated"),
        pre_tokenizers.Split(Regex("[一-龥\u3040-ゟ゠-ヿ]+"), "isolated"),
        pre_tokenizers.Split(Regex(DEEPSEEK), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok = byte_level(pre, [BOS, EOS])
    tok.normalizer = normalizers.Sequence([])
    tok.add_tokens([AddedToken(t, normalized=False) for t in (USER, ASSISTANT, "<think>", "</think>")])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok, {"bos_token": {"__type": "AddedToken", "content": BOS}, "eos_token": EOS, "add_bos_token": True,
                 "add_eos_token": False}


def llama3():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok = byte_level(pre, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], ignore_merges=True)
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    return tok, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}


def qwen():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok = byte_level(pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.normalizer = normalizers.NFC()
    return tok, {"eos_token": "<|im_end|>", "bos_token": None,
                 "chat_template": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                                  "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
                                  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}


def falcon():
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    return byte_level(pre, [">>TITLE<<", "<|endoftext|>"]), {"eos_token": "<|endoftext|>"}


def llama2():
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    train(tok, ["<unk>", "<s>", "</s>"])
    tok = with_bytes(json.loads(tok.to_str()), "<unk>")
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.pre_tokenizer = None
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tok.token_to_id("<s>"))])
    return tok, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def gemma():
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    train(tok, ["<pad>", "<eos>", "<bos>", "<unk>"])
    tok = with_bytes(json.loads(tok.to_str()), "<unk>")
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.add_tokens([AddedToken(t, normalized=False) for t in ("<start_of_turn>", "<end_of_turn>", "<table>")]
                   + [AddedToken("\n" * n, normalized=False) for n in range(2, 6)]
                   + [AddedToken("▁" * n, normalized=False) for n in range(2, 6)])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", tok.token_to_id("<bos>"))])
    return tok, {"bos_token": "<bos>", "eos_token": "<eos>"}


def metaspace():
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tok.decoder = decoders.Metaspace(prepend_scheme="first")
    train(tok, ["<unk>", "<s>", "</s>"])
    return tok, {"bos_token": "<s>", "eos_token": "</s>"}


def words():
    """Whole words without spaces; pieces inside a word have a mark; unk is not fused."""
    tok = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
    tok.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    train(tok, ["[UNK]", "[CLS]", "[SEP]"], continuing_subword_prefix="##")
    tok.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tok, {"unk_token": "[UNK]"}


def odd():
    """Added tokens of every kind, NFD, the other three ways to cut, an inverted split."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Replace(Regex("[ \\t]+"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("[^.!?]+"), "merged_with_next", invert=True),
        pre_tokenizers.Split("  ", "removed"), pre_tokenizers.Split(Regex("\\w"), "contiguous"),
        pre_tokenizers.Split(Regex("\\s"), "merged_with_previous")])
    tok.decoder = decoders.Fuse()
    train(tok, ["<unk>", "<s>"])
    tok.add_tokens([AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken("the", single_word=True),
                    AddedToken("<caf\u00e9>", normalized=True), AddedToken("<lit\u00e9>", normalized=False),
                    AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("<lef", normalized=True)])
    return tok, {"bos_token": "<s>", "add_bos_token": True}


STYLES = {f.__name__: f for f in (gpt2, deepseek, llama3, qwen, falcon, llama2, gemma, metaspace, words, odd)}
EXACT = {"gpt2", "deepseek", "llama3", "llama2", "gemma"}   # every text comes back to the byte

FIXED = ["", " ", "  ", "   a", "a   ", "\n", "\n\n\n", " \n \n x", "\t\tx", "\r\n\r\n", "Hello world", "Hello, world!",
         "don't DON'T it'\u017f we'RE", "1 12 123 1234 12345", "٣٤٥٦ ½ Ⅷ ①②", "x=10-4; y = x*6", "日本語と text 42", "ひらがなカタカナ漢字",
         "naïve café e\u0301", "🙂👩‍👩‍👧‍👦", "a\u0085b\u00a0c\u180ed\u200be\u2028f\u3000g", "\u0000\u0001\u001c\u007f", "ﬁ ﬀ ſ İ Å \u212b",
         "a<|endoftext|>b", f"{BOS}x{USER}y{ASSISTANT}<think>z</think>{EOS}", "  <left>  <right>  x <both> y", "the theme the. then",
         "<café> <cafe\u0301> <lité> <lite\u0301>", "<lef <left>", "a  <s>  </s> <bos> <start_of_turn>u", "<0x41> <0xZZ>", "▁▁▁ ▁a", "###x ##y",
         ">>TITLE<<", "word" * 40, "!" * 30, "ab " * 30, "\u0301\u0301", "a.b!c?  d", "http://x.y/z?q=1&r=2#s"]


def alphabet():
    by = {}
    for c in range(0x110000):
        k = unicodedata.category(chr(c))
        old = unicodedata.ucd_3_2_0.category(chr(c))
        is_newer = old != k and (k[0] == "P" or unicodedata.combining(chr(c)) or unicodedata.normalize("NFKD", chr(c)) != chr(c))
        if k not in ("Cn", "Cs") and not is_newer and c != 0x111C9:   # punctuation in older tables, a mark since
            by.setdefault(k, []).append(chr(c))
    return by


BY = {}


def random_texts(n, seed):
    rng = random.Random(seed)
    by = BY or BY.update(alphabet()) or BY
    kinds = sorted(by)
    pieces = [" ", "  ", "\n", "\n\n", "\t", "'s", "'ll", "'RE", "the", "The", "12", "345", "é", "e\u0301", "日", "の", "ア", "🙂", "!", "?!",
              "<s>", "<left>", "<right>", "<both>", "<think>", USER, BOS, "<|im_end|>", "<start_of_turn>", "▁", "▁▁", "Ġ", "<0x0A>", "##"]
    words = " ".join(corpus()).split(" ")[::7]
    for _ in range(n):
        out = []
        for _ in range(rng.randrange(0, 24)):
            r = rng.random()
            if r < .35:
                out.append(rng.choice(pieces))
            elif r < .6:
                out.append(rng.choice(words) + rng.choice(["", " ", "  "]))
            elif r < .9:
                out.append(rng.choice(by[rng.choice(kinds)]) * rng.choice([1, 1, 1, 2, 3]))
            else:
                letters = by[rng.choice(["Lo", "Ll"])]
                out.append("".join(rng.choice(letters) for _ in range(rng.randrange(1, 6))))
        yield "".join(out)


def both(tok, text):
    """ids as text, ids with special tokens parsed"""
    tok.encode_special_tokens = True
    plain = tok.encode(text, add_special_tokens=False).ids
    tok.encode_special_tokens = False
    return plain, tok.encode(text, add_special_tokens=False).ids


def write():
    assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
    for name, make in STYLES.items():
        tok, config = make()
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        j = json.loads(tok.to_str())
        (folder / "tokenizer.json").write_text(json.dumps(j, ensure_ascii=False, separators=(",", ":")) + "\n")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
        tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        cases = []
        for text in FIXED + list(random_texts(60, name)):
            plain, special = both(tok, text)
            cases.append({"text": text, "ids": plain, "special": special})
            if name in EXACT:
                assert tok.decode(plain, skip_special_tokens=False) == text or "<" in text or "▁" in text, (name, text)
        golden = {"exact": name in EXACT, "cases": cases, "vocab_size": tok.get_vocab_size()}
        (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, tok.get_vocab_size(), sum(f.stat().st_size for f in folder.iterdir()))


def bundled():
    """The tokenizer.json of the bundled model: its tokenizer.model said in the other format.

    SentencePiece merges the pair whose piece scores highest; so every pair that makes a piece is a
    merge, ranked by that piece's score.
    """
    import sentencepiece as spm
    folder = TOP / "etc" / "models" / "tiny-gemma"
    sp = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocab = {sp.id_to_piece(i): i for i in range(sp.get_piece_size())}
    normal = [p for p, i in vocab.items() if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i))]
    merges = [(a, b) for p in sorted(normal, key=lambda p: -sp.get_score(vocab[p]))
              for a, b in ((p[:k], p[k:]) for k in range(1, len(p))) if a in vocab and b in vocab]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<pad>", "<eos>", "<bos>")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    tok.encode_special_tokens = True
    texts = FIXED + list(random_texts(2000, "bundled"))
    wrong = [t for t in texts if tok.encode(t, add_special_tokens=False).ids != sp.encode(t)]
    print("bundled:", len(texts), "texts,", len(wrong), "differ from sentencepiece", *map(ascii, wrong[:3]))


def check(program, n):
    """PROGRAM bpe FOLDER TEXTS prints a line of ids for each text of a JSON array, plain then special."""
    bad = 0
    for name in STYLES:
        tok = Tokenizer.from_file(str(OUT / name / "tokenizer.json"))
        whole = [(DATA / f).read_text() for f in ("shakespeare.val.txt", "frankenstein.val.txt")]
        texts = FIXED + whole + [line for t in whole for line in t.splitlines(True)] + list(random_texts(n, "check " + name))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump(texts, f)
            f.flush()
            got = subprocess.run([program, "bpe", str(OUT / name), f.name], check=True, capture_output=True, text=True).stdout.split("\n")
            got = [line for line in got if not line.startswith(("ok", "#"))]
        wants = [ids for t in texts for ids in both(tok, t)]
        wrong = [(texts[i // 2], want, got[i]) for i, want in enumerate(wants) if got[i] != " ".join(map(str, want))]
        print(f"{name}: {len(texts)} texts, {len(wrong)} differ", flush=True)
        for t, w, g in wrong[:3]:
            print("  ", ascii(t), w, g)
        bad += len(wrong)
    return bad != 0


if __name__ == "__main__":
    print("tokenizers", tokenizers.__version__)
    if len(sys.argv) > 2 and sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10000))
    write()
    bundled()
