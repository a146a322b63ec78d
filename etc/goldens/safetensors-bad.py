#!/usr/bin/env python3
"""safetensors-bad.py - safetensors files and model folders that a reader must refuse.

    python3 etc/goldens/safetensors-bad.py [-o t/data/safetensors-bad] [--check]

needs nothing but Python.  Every file is below 4 KB.  A case is a single file NAME.safetensors, for the
reader of weights, or a folder NAME/ with config.json, for the whole way from a folder to a model (one
layer of a Gemma with d 8).  expected.tsv has a line for each:

    path    verdict    subject    what is wrong, or why it is right

The verdict is "reject" or "accept": a reader that refuses everything is no reader, so the healthy
neighbours of the bad files are here too.  Where it is "either", the format allows what a reader may
well decline; it only has to survive.  The subject is what the message must name besides the file: a
tensor, a shard, or - for nothing.

--check asks the published library, where it is installed, about the single files (README.md).
"""

import argparse
import json
import os
import shutil
import struct

F32X4 = struct.pack("<4f", 1, 2, 3, 4)
GOOD = '{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'


def file(header, data=b"", length=None):
    """A file of header text and data; `length` lies about the size of the header."""
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype="F32", shape="[4]", offsets="[0,16]", rest=""):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{rest}}}'


def one(**fields):
    """A file with the one tensor "a" of 16 bytes, except for `fields`."""
    return file(f'{{"a":{entry(**fields)}}}', F32X4)


def two(first, second, data=F32X4 + F32X4):
    return file(f'{{"a":{entry(offsets=first)},"b":{entry(offsets=second)}}}', data)


def single_files():
    """name, verdict, subject, expectation, bytes"""
    a = f'{{"a":{GOOD}}}'
    yield "good", "accept", "a", "one F32 tensor of 4 values", one()
    yield "good-padded", "accept", "a", "header padded with spaces", file(a + "    ", F32X4)
    yield "good-unaligned", "accept", "a", "data does not start at a multiple of 4", \
        file(a + " " * ((1 - len(a)) % 8), F32X4)
    yield "good-order", "accept", "a", "entries in another order than the data", \
        file(f'{{"b":{entry(offsets="[16,32]")},"a":{GOOD}}}', F32X4 + F32X4)
    yield "good-metadata", "accept", "a", "__metadata__ maps strings to strings", \
        file(f'{{"__metadata__":{{"format":"pt","k":"{{\\"x\\":[1]}}"}},"a":{GOOD}}}', F32X4)
    yield "good-scalar", "accept", "a", "shape [] is one value", one(shape="[]", offsets="[0,4]")[:-12]
    yield "good-empty-tensor", "accept", "a", "shape [0,4] has no bytes", file(f'{{"a":{entry(shape="[0,4]", offsets="[0,0]")}}}')
    yield "good-escapes", "accept", "a/\u00e9", "escapes and white space in the header", \
        file('{\n\t"a\\/\\u00e9" : { "shape" : [ 4 ] , "data_offsets" : [ 0 , 16 ] , "dtype" : "F32" } }', F32X4)
    yield "good-nothing", "accept", "-", "no tensor and no data", file("{}")

    yield "length-empty-file", "reject", "-", "an empty file", b""
    yield "length-cut", "reject", "-", "shorter than the 8 bytes of the header's length", file(a)[:5]
    yield "length-zero", "reject", "-", "a header of no bytes", file("", F32X4)
    yield "length-beyond-file", "reject", "-", "header of 4096 bytes in a smaller file", file(a, F32X4, 4096)
    yield "length-max", "reject", "-", "header length 2^64 - 1", file(a, F32X4, 2**64 - 1)
    yield "length-wraps", "reject", "-", "header length 2^64 - 8: plus 8 is 0", file(a, F32X4, 2**64 - 8)
    yield "length-sign", "reject", "-", "header length 2^63: negative if signed", file(a, F32X4, 2**63)
    yield "length-100mb", "reject", "-", "header of 100,000,001 bytes", file(a, F32X4, 100_000_001)
    yield "length-one-short", "reject", "-", "header ends before its last brace", file(a, F32X4, len(a) - 1)
    yield "length-one-long", "reject", "-", "header ends in a byte of data", file(a, F32X4, len(a) + 1)

    yield "json-empty", "reject", "-", "only spaces", file("        ")
    yield "json-array", "reject", "-", "an array where an object must be", file('["a"]')
    yield "json-space-first", "reject", "-", "first byte is not {", file(" " + a, F32X4)
    yield "json-garbage", "reject", "-", "no JSON", file(bytes(range(1, 200)))
    yield "json-open-string", "reject", "-", "a string without end", file('{"aaaa')
    yield "json-comma", "reject", "-", "a comma before the closing brace", file(a[:-1] + ",}", F32X4)
    yield "json-two-values", "reject", "-", "text after the object", file(a + a, F32X4)
    yield "json-nul", "reject", "-", "a zero byte after the object", file(a + "\0", F32X4)
    yield "json-not-utf8", "reject", "-", "a name that is no UTF-8", file(b'{"\xff\xfe":' + GOOD.encode() + b"}", F32X4)
    yield "json-overlong-utf8", "reject", "-", "/ written in two bytes", file(b'{"a\xc0\xaf":' + GOOD.encode() + b"}", F32X4)
    yield "json-cut-escape", "reject", "-", "escape of three digits", file(f'{{"\\u12":{GOOD}}}', F32X4)
    yield "json-lone-surrogate", "reject", "-", "half of a surrogate pair", file(f'{{"\\ud800":{GOOD}}}', F32X4)
    yield "json-control", "reject", "-", "a bare newline in a name", file(f'{{"a\nb":{GOOD}}}', F32X4)
    yield "json-deep", "reject", "-", "3000 nested arrays", file('{"a":' + "[" * 3000)
    yield "json-deep-closed", "reject", "a", "1500 nested arrays for a shape", one(shape="[" * 1500 + "]" * 1500)
    yield "json-deep-metadata", "reject", "-", "600 nested objects in __metadata__", \
        file('{"__metadata__":' + '{"a":' * 600 + "1" + "}" * 600 + f',"a":{GOOD}}}', F32X4)

    yield "entry-no-object", "reject", "a", "a number where a tensor must be", file('{"a":4}', F32X4)
    yield "entry-no-dtype", "reject", "a", "no dtype", file('{"a":{"shape":[4],"data_offsets":[0,16]}}', F32X4)
    yield "entry-no-shape", "reject", "a", "no shape", file('{"a":{"dtype":"F32","data_offsets":[0,16]}}', F32X4)
    yield "entry-no-offsets", "reject", "a", "no data_offsets", file('{"a":{"dtype":"F32","shape":[4]}}', F32X4)
    yield "entry-old-offsets", "reject", "a", "the key is data_offsets, not offsets", \
        file('{"a":{"dtype":"F32","shape":[4],"offsets":[0,16]}}', F32X4)
    yield "entry-dtype-unknown", "reject", "a", "dtype F31", one(dtype="F31")
    yield "entry-dtype-number", "reject", "a", "dtype is a number", file('{"a":{"dtype":32,"shape":[4],"data_offsets":[0,16]}}', F32X4)
    yield "entry-twice", "reject", "a", "the same name twice", file(f'{{"a":{GOOD},"a":{GOOD}}}', F32X4)
    yield "entry-twice-escaped", "reject", "a", "the same name twice, once as an escape", \
        file(f'{{"a":{GOOD},"\\u0061":{entry(offsets="[16,32]")}}}', F32X4 + F32X4)
    yield "entry-field-twice", "reject", "a", "dtype twice", one(rest=',"dtype":"I32"')
    yield "entry-name-with-nul", "either", "-", "a name with a zero byte inside", file(f'{{"a\\u0000b":{GOOD}}}', F32X4)
    yield "entry-name-empty", "either", "-", "a name of no characters", file(f'{{"":{GOOD}}}', F32X4)
    yield "entry-rank-64", "either", "a", "64 dimensions of 1", one(shape="[4" + ",1" * 63 + "]")
    yield "entry-more-keys", "either", "a", "a key that the format does not know", one(rest=',"note":"x"')
    yield "metadata-number", "reject", "__metadata__", "a number where a string must be", \
        file(f'{{"__metadata__":{{"n":1}},"a":{GOOD}}}', F32X4)
    yield "metadata-string", "reject", "__metadata__", "a string where an object must be", \
        file(f'{{"__metadata__":"pt","a":{GOOD}}}', F32X4)

    yield "shape-negative", "reject", "a", "dimension -4", one(shape="[-4]")
    yield "shape-fraction", "reject", "a", "dimension 4.5", one(shape="[4.5]")
    yield "shape-string", "reject", "a", 'dimension "4"', one(shape='["4"]')
    yield "shape-no-array", "reject", "a", "a number where an array must be", one(shape="4")
    yield "shape-too-small", "reject", "a", "12 bytes of shape, 16 of data", one(shape="[3]")
    yield "shape-too-large", "reject", "a", "20 bytes of shape, 16 of data", one(shape="[5]")
    yield "shape-dtype-size", "reject", "a", "4 values of F64 are 32 bytes, not 16", one(dtype="F64")
    yield "shape-beyond-64-bits", "reject", "a", "dimension 2^64 + 4", one(shape="[18446744073709551620]")
    yield "shape-product-wraps", "reject", "a", "2^32 x 2^32 values are 2^64: 0 in 64 bits", \
        file(f'{{"a":{entry(shape="[4294967296,4294967296]", offsets="[0,0]")}}}')
    yield "shape-product-wraps-to-4", "reject", "a", "(2^62 + 1) x 4 values: 4 in 64 bits", \
        one(shape="[4611686018427387905,4]")
    yield "shape-bytes-wrap", "reject", "a", "2^62 values of 4 bytes are 2^64: 0 in 64 bits", \
        file(f'{{"a":{entry(shape="[4611686018427387904]", offsets="[0,0]")}}}')
    yield "shape-zero-hides-overflow", "reject", "a", "2^32 x 2^32 x 0: overflows before it is nothing", \
        file(f'{{"a":{entry(shape="[4294967296,4294967296,0]", offsets="[0,0]")}}}')

    yield "range-beyond-file", "reject", "a", "ends 16 bytes after the data", one(shape="[8]", offsets="[0,32]")
    yield "range-cut-data", "reject", "a", "the last byte of data is missing", one()[:-1]
    yield "range-backwards", "reject", "a", "begins at 16, ends at 0", one(offsets="[16,0]")
    yield "range-negative", "reject", "a", "begins at -16", one(offsets="[-16,0]")
    yield "range-fraction", "reject", "a", "ends at 16.5", one(offsets="[0,16.5]")
    yield "range-exponent", "reject", "a", "ends at 1e400", one(offsets="[0,1e400]")
    yield "range-wraps", "reject", "a", "begins at 2^64 - 16 and ends at 0", one(offsets="[18446744073709551600,0]")
    yield "range-beyond-64-bits", "reject", "a", "ends at 2^64 + 16", one(offsets="[0,18446744073709551632]")
    yield "range-three", "reject", "a", "three offsets", one(offsets="[0,16,32]")
    yield "range-one", "reject", "a", "one offset", one(offsets="[0]")
    yield "range-overlap", "reject", "b", "begins at 8, inside a", two("[0,16]", "[8,24]", F32X4 + F32X4[:8])
    yield "range-same", "reject", "b", "two tensors on the same bytes", two("[0,16]", "[0,16]", F32X4)
    yield "range-hole", "reject", "b", "8 bytes between a and b belong to nobody", two("[0,16]", "[24,40]", F32X4 + F32X4 + F32X4[:8])
    yield "range-hole-first", "reject", "a", "the first 8 bytes belong to nobody", file(f'{{"a":{entry(offsets="[8,24]")}}}', F32X4 + F32X4[:8])
    yield "range-hole-last", "reject", "-", "16 bytes after the last tensor", file(a, F32X4 + F32X4)
    yield "range-hole-empty-tensor", "reject", "a", "a tensor of no bytes behind a hole", \
        file(f'{{"a":{entry(shape="[0]", offsets="[8,8]")}}}', F32X4[:8])


CONFIG = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "bos_token_id": 2, "eos_token_id": 1,
          "pad_token_id": 0, "head_dim": 4, "hidden_act": "gelu_pytorch_tanh",
          "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 8, "intermediate_size": 12,
          "max_position_embeddings": 64, "num_attention_heads": 2, "num_hidden_layers": 1,
          "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
          "vocab_size": 16}
L0 = "model.layers.0."
SHAPES = {
    "model.embed_tokens.weight": [16, 8],
    L0 + "self_attn.q_proj.weight": [8, 8], L0 + "self_attn.k_proj.weight": [4, 8],
    L0 + "self_attn.v_proj.weight": [4, 8], L0 + "self_attn.o_proj.weight": [8, 8],
    L0 + "mlp.gate_proj.weight": [12, 8], L0 + "mlp.up_proj.weight": [12, 8],
    L0 + "mlp.down_proj.weight": [8, 12],
    L0 + "input_layernorm.weight": [8], L0 + "post_attention_layernorm.weight": [8],
    "model.norm.weight": [8],
}
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"


def weights(shapes, dtypes=None):
    """A healthy file of tensors `shapes`: bf16 patterns of small values, or zeros of another dtype."""
    header, data = {}, b""
    for name, shape in shapes.items():
        n, dtype, begin = 1, (dtypes or {}).get(name, "BF16"), len(data)
        for d in shape:
            n *= d
        bits = (0x3D00 + (37 * (begin + i)) % 256 + 0x8000 * (i % 2) for i in range(n))
        data += b"".join(struct.pack("<H", b) for b in bits) if dtype == "BF16" else b"\0" * n * {"I32": 4, "F32": 4, "U8": 1}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":"))
    return file(text + " " * (-len(text) % 8), data)


def change(shapes, name, shape):
    return shapes | {name: shape}


def without(shapes, *names):
    return {n: s for n, s in shapes.items() if n not in names}


def index(where, **more):
    return json.dumps({"metadata": {"total_size": 1120}, "weight_map": where} | more, indent=1).encode()


def folders():
    """name, verdict, subject, expectation, {file: bytes} beside config.json"""
    def whole(shapes, dtypes=None):
        return {"model.safetensors": weights(shapes, dtypes)}

    q, up, down = L0 + "self_attn.q_proj.weight", L0 + "mlp.up_proj.weight", L0 + "mlp.down_proj.weight"
    yield "model-good", "accept", "-", "one layer, every tensor there", whole(SHAPES)
    yield "model-mixed-dtypes", "accept", "-", "norms in F32, the rest in BF16", \
        whole(SHAPES, {n: "F32" for n in SHAPES if "norm" in n})
    yield "model-no-weights", "reject", "-", "a folder with config.json and no weights", {}
    yield "model-shape", "reject", q, "[8,7] where the configuration asks for [8,8]", whole(change(SHAPES, q, [8, 7]))
    yield "model-transposed", "reject", down, "[12,8] where the configuration asks for [8,12]: as many bytes", \
        whole(change(SHAPES, down, [12, 8]))
    yield "model-rank", "reject", "model.norm.weight", "[1,8] where the configuration asks for [8]", \
        whole(change(SHAPES, "model.norm.weight", [1, 8]))
    yield "model-vocabulary", "reject", "model.embed_tokens.weight", "15 rows where vocab_size is 16", \
        whole(change(SHAPES, "model.embed_tokens.weight", [15, 8]))
    yield "model-dtype", "reject", "model.norm.weight", "I32 where a floating type must be", \
        whole(SHAPES, {"model.norm.weight": "I32"})
    yield "model-missing", "reject", up, "not in the file", whole(without(SHAPES, up))
    yield "model-missing-embedding", "reject", "model.embed_tokens.weight", "not in the file", \
        whole(without(SHAPES, "model.embed_tokens.weight"))
    yield "model-missing-norm", "reject", "model.norm.weight", "not in the file", whole(without(SHAPES, "model.norm.weight"))
    surplus = "model.layers.1.mlp.up_proj.weight"
    yield "model-surplus-layer", "reject", surplus, "num_hidden_layers is 1", whole(change(SHAPES, surplus, [12, 8]))
    surplus = L0 + "self_attn.q_norm.weight"
    yield "model-surplus", "reject", surplus, "no tensor of Gemma 1", whole(change(SHAPES, surplus, [4]))
    surplus = L0 + "self_attn.q_proj.bias"
    yield "model-surplus-bias", "reject", surplus, "Gemma 1 has no biases", whole(change(SHAPES, surplus, [8]))

    names = list(SHAPES)
    halves = [{n: SHAPES[n] for n in names[:5]}, {n: SHAPES[n] for n in names[5:]}]
    where = {n: SHARDS[i] for i in (0, 1) for n in halves[i]}
    shards = {SHARDS[i]: weights(halves[i]) for i in (0, 1)}

    def sharded(moved, files=shards):
        return files | {INDEX: index(where | moved)}

    yield "index-good", "accept", "-", "two shards and their index", sharded({})
    for name, path, what in (
            ("parent", "../model-good/model.safetensors", "leads out of the folder"),
            ("absolute", "/etc/hostname", "is an absolute path"),
            ("folder", "sub/" + SHARDS[0], "leads into another folder"),
            ("dots", "..", "is the folder above"),
            ("empty-name", "", "is no file name")):
        yield "index-" + name, "reject", path or "model.norm.weight", f"file name in the index {what}", \
            sharded({"model.norm.weight": path})
    yield "index-nul-name", "reject", "model.norm.weight", "file name in the index holds a zero byte", \
        sharded({"model.norm.weight": SHARDS[1] + "\0.bak"})
    yield "index-number-name", "reject", "model.norm.weight", "a number where a file name must be", \
        sharded({"model.norm.weight": 2})
    yield "index-missing-shard", "reject", SHARDS[1], "the index names it and it is not there", \
        {SHARDS[0]: shards[SHARDS[0]], INDEX: index(where)}
    yield "index-broken-shard", "reject", SHARDS[1], "cut after 100 bytes", \
        sharded({}, shards | {SHARDS[1]: shards[SHARDS[1]][:100]})
    yield "index-wrong-shard", "reject", up, "the index looks for it in the other shard", sharded({up: SHARDS[0]})
    yield "index-lacks-tensor", "reject", up, "in a shard, but not in the index", \
        shards | {INDEX: index(without(where, up))}
    yield "index-tensor-twice", "reject", q, "in both shards", \
        sharded({}, shards | {SHARDS[1]: weights(halves[1] | {q: SHAPES[q]})})
    yield "index-name-twice", "reject", q, "twice in the weight map", \
        shards | {INDEX: index(where).replace(b'"weight_map": {', f'"weight_map": {{"{q}":"{SHARDS[1]}",'.encode())}
    yield "index-no-map", "reject", "weight_map", "not in the index", shards | {INDEX: b'{"metadata":{"total_size":1120}}'}
    yield "index-map-array", "reject", "weight_map", "an array where an object must be", shards | {INDEX: b'{"weight_map":[]}'}
    yield "index-garbage", "reject", INDEX, "no JSON", shards | {INDEX: b"weight_map = 1\n"}
    yield "index-empty", "reject", INDEX, "an empty file", shards | {INDEX: b""}
    yield "index-deep", "reject", INDEX, "2000 nested arrays", shards | {INDEX: b'{"weight_map":' + b"[" * 2000}


def published_verdicts(out, cases):
    import safetensors
    odd = 0
    for name, verdict, what in cases:
        try:
            with safetensors.safe_open(os.path.join(out, name), framework="np") as f:
                f.keys()
            said = "accept"
        except Exception as e:      # the library raises its own kinds and Python's
            said = f"reject ({e})"
        if verdict != said.split()[0]:
            odd += 1
            print(f"{name}: {verdict} here ({what}), safetensors {safetensors.__version__} says {said}")
    print(f"{len(cases)} files, {odd} verdicts differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--out", default=os.path.join(os.path.dirname(__file__), "../../t/data/safetensors-bad"))
    parser.add_argument("--check", action="store_true", help="compare with the published library's verdicts")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    os.makedirs(args.out)
    lines, singles = ["path\tverdict\tsubject\texpectation"], []

    def put(path, data):
        assert len(data) < 4096, f"{path}: {len(data)} bytes"
        with open(os.path.join(args.out, path), "wb") as f:
            f.write(data)

    for name, verdict, subject, expectation, data in single_files():
        put(f"{name}.safetensors", data)
        lines.append(f"{name}.safetensors\t{verdict}\t{subject}\t{expectation}")
        singles.append((f"{name}.safetensors", verdict, expectation))
    for name, verdict, subject, expectation, files in folders():
        os.mkdir(os.path.join(args.out, name))
        for path, data in ({"config.json": json.dumps(CONFIG, indent=1).encode() + b"\n"} | files).items():
            put(f"{name}/{path}", data)
        lines.append(f"{name}/\t{verdict}\t{subject}\t{expectation}")
    with open(os.path.join(args.out, "expected.tsv"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    if args.check:
        published_verdicts(args.out, singles)


if __name__ == "__main__":
    main()
