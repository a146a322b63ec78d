"""tensorfile.py - safetensors files, read and written with numpy alone.

The golden generators write their checkpoints with this instead of the published library for two
reasons: numpy has no bfloat16, and a checkpoint's order of tensors and its division into shards are
part of what a golden must hold still.  transformers then loads what was written here, so the
published reader is a check on this writer.
"""

import json
import struct

import numpy as np

SIZES = {"F64": 8, "F8_E4M3": 1, "U8": 1, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}


def bf16_bits(x):
    """float32 to the bits of bfloat16, to nearest and ties to even (no NaN comes here)."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def encode(x, dtype):
    """The bytes of array x stored as `dtype`, little endian and in C order."""
    if dtype == "BF16":
        return bf16_bits(x).astype("<u2").tobytes()
    kind = {"F64": "<f8", "F8_E4M3": "u1", "U8": "u1", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}[dtype]
    return np.ascontiguousarray(x, kind).tobytes()


def decode(raw, dtype, shape):
    """The array in `raw`; bfloat16 comes back as float32, which holds it exactly."""
    if dtype == "BF16":
        x = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        x = np.frombuffer(raw, {"F64": "<f8", "U8": "u1", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}[dtype])
    return x.reshape(shape)


def write(path, tensors):
    """Write {name: (array, dtype)} in the order of the dictionary; returns the bytes of data."""
    header, end, parts = {"__metadata__": {"format": "pt"}}, 0, []
    for name, (x, dtype) in tensors.items():
        parts.append(encode(x, dtype))
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return end


def read(path):
    """{name: array} of a file that we wrote ourselves: nothing is checked here."""
    raw = open(path, "rb").read()
    n = struct.unpack_from("<Q", raw)[0]
    header, out = json.loads(raw[8:8 + n]), {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            out[name] = decode(raw[8 + n + begin:8 + n + end], t["dtype"], t["shape"])
    return out
