#!/usr/bin/env python3
"""corpus.py - the text that the bundled base model learns from, as one file of documents.

    apt-get install r-cran-janeaustenr
    python3 corpus.py SHAKESPEARE.txt FRANKENSTEIN.txt OUT.txt

Everything is in the public domain: two files that the caller gives, the tiny Shakespeare of nanoGPT
and Mary Shelley's Frankenstein, each of them twice; and Jane Austen's six novels (Debian's
r-cran-janeaustenr).  The last 5 % of the first two are held out, as they were for tiny-gemma: a model
that learnt from OUT.txt has not seen them.
"""
import re
import struct
import sys
import zlib

NOVELS = "/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
HELD_OUT = 0.05
CHARACTER_VECTOR, CHARACTERS = 16, 9  # SEXP types of R's serialisation


def r_strings(raw):
    """The strings of one character vector in R's XDR serialisation, version 3."""
    at = 14
    at += 4 + struct.unpack_from(">i", raw, at)[0]  # the encoding's name
    kind, count = struct.unpack_from(">ii", raw, at)
    assert kind & 0xFF == CHARACTER_VECTOR, "not a character vector"
    at += 8
    for _ in range(count):
        flags, length = struct.unpack_from(">ii", raw, at)
        assert flags & 0xFF == CHARACTERS, "not a string"
        at += 8
        yield raw[at:at + max(length, 0)].decode()
        at += max(length, 0)


def novels(path):
    """The novels of an R lazy-load data base: (length, zlib stream), end to end."""
    data = open(path, "rb").read()
    at = 0
    while at < len(data):
        stream = zlib.decompressobj()
        raw = stream.decompress(data[at + 4:])
        at = len(data) - len(stream.unused_data)
        if raw[0:2] == b"X\n" and len(raw) > 100000:
            yield "\n".join(r_strings(raw))


def plain(text):
    """ASCII where it loses nothing: curly quotes, dashes, Gutenberg's _emphasis_."""
    for fancy, simple in (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'),
                          ("\u2014", "--"), ("_", ""), ("\r", "")):
        text = text.replace(fancy, simple)
    return text


def paragraphs(text):
    """A novel in paragraphs."""
    return [p.strip("\n") for p in re.split(r"\n\s*\n", plain(text)) if p.strip()]


def learnt(path):
    """A file without its last twentieth."""
    text = open(path, encoding="utf-8").read()
    cut = int(len(text) * (1 - HELD_OUT))
    return text[:cut]


def main():
    shakespeare, frankenstein, out = sys.argv[1:]
    parts = 2 * [learnt(shakespeare), learnt(frankenstein)]
    parts += ["\n\n".join(paragraphs(n)) for n in novels(NOVELS)]
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n\n".join(p.strip("\n") for p in parts) + "\n")


if __name__ == "__main__":
    main()
