"""
Writes a trained model to one binary file for sample.c, without losing a bit.

    python export.py                    # out/mlp.pt and out/ngrams.pt, or either -> out/mlp.bin
    python export.py --out_dir=towns    # the same in another folder
    python export.py --page             # and out/mlp.html, a web page with the model inside

The file, all numbers little-endian:

    bytes      what
    4          magic: the letters NPLM, for "neural probabilistic language model"
    4          uint32: version of the format, 2
    4 x 4      uint32: block_size, vocab_size, n_embd, n_hidden; all but vocab_size 0 if there is no
               network
    varies     vocabulary, for each token: uint8 length, so many bytes of UTF-8, one character. The
               boundary comes first, as a newline; the others follow by code point
    0 to 3     zeros, up to a multiple of 4 from the start of the file
    varies     network, float32, each below 2^50 in size (so that no sum in sample.c overflows), row
               by row: C (vocab_size, n_embd), W1 (block_size * n_embd, n_hidden), b1 (n_hidden), W2
               (n_hidden, vocab_size), b2 (vocab_size)
    8          float64: weight; p = weight * p_network + (1 - weight) * p_ngrams
    4          uint32: orders of n-grams, 0 if there are none; order k has k tokens of context
    32 each    of each order: uint32 contexts, uint32 n-grams, 3 x float64 discounts D
    varies     of each order, in LEB128 (7 bits per byte, lowest first, the high bit set if more
               follow): for each context of the order before, the number of its extensions by a
               token at the left, and these tokens (nothing for order 0); for each context, the
               number of tokens that follow, these tokens, and their counts c in bigram.KneserNey
    4          uint32: CRC-32 (zlib's) of everything before
"""

import argparse
import base64
import io
import os
import struct
import zlib

import numpy as np
import torch

import mlp


def leb128(numbers):
    """Whole numbers below 2^32, (n,), as bytes."""
    groups = np.asarray(numbers)[:, None] >> np.arange(0, 35, 7)  # (n, 5), of 7 bits each
    used = np.pad(groups[:, 1:] > 0, [(0, 0), (1, 0)], constant_values=True)
    more = np.pad(used[:, 1:], [(0, 0), (0, 1)])
    return (groups & 127 | more << 7)[used].astype(np.uint8).tobytes()


def network_bytes(run):
    """The weights of the best model of a run of mlp.py. Raises ValueError if one is too large."""
    weights = [run["best"]["model"][name] for name in ("C", "W1", "b1", "W2", "b2")]
    if not all((w.abs() < 2**50).all() for w in weights):  # false for nan as well
        raise ValueError("the model has a weight that is not finite, or 2^50 or more; train it "
                         "again with a lower --learning_rate")
    return b"".join(w.numpy().astype("<f4").tobytes() for w in weights)


def ngram_bytes(orders, vocab_size):
    """The orders (list of dict) of a bigram.KneserNey: all the headers, then all the numbers."""
    head, data, n_shorter = b"", b"", 0
    for order in orders:
        contexts, keys, c = (order[name].numpy() for name in ("context_keys", "keys", "c"))
        head += struct.pack("<2I3d", len(contexts), len(keys), *order["D"])
        if n_shorter:
            data += leb128(np.bincount(contexts // vocab_size, minlength=n_shorter))
            data += leb128(contexts % vocab_size)
        data += leb128(np.bincount(keys // vocab_size)) + leb128(keys % vocab_size) + leb128(c)
        n_shorter = len(contexts)
    return head + data


def serialize(run=None, ngrams=None):
    """The bytes of the file: of a run of mlp.py, of what bigram.save() wrote, or of both."""
    itos = (run or ngrams)["itos"]
    block_size, n_embd, n_hidden = (run["config"][name] if run else 0
                                    for name in ("block_size", "n_embd", "n_hidden"))
    data = b"NPLM" + struct.pack("<5I", 2, block_size, len(itos), n_embd, n_hidden)
    data += b"".join(bytes([len(ch.encode())]) + ch.encode() for ch in itos)
    data += bytes(-len(data) % 4) + (network_bytes(run) if run else b"")
    orders = ngrams["orders"] if ngrams else []
    data += struct.pack("<dI", ngrams["weight"] if ngrams else 1.0, len(orders))
    data += ngram_bytes(orders, len(itos))
    return data + struct.pack("<I", zlib.crc32(data))


def read_ngrams(path, run):
    """What bigram.save() wrote. Raises ValueError if that was not for the network of this run."""
    with open(path, "rb") as f:
        data = io.BytesIO(f.read())
    try:
        ngrams = torch.load(data, weights_only=True)
        ngrams["itos"], ngrams["orders"], ngrams["weight"], ngrams["network"]
    except Exception as e:  # what torch raises for a file of another kind depends on the file
        raise ValueError(f"{path} is not a file of mix.py or bigram.py") from e
    if ngrams["network"] != (zlib.crc32(network_bytes(run)) if run else None):
        raise ValueError(f"{path} does not belong to the network beside it; run mix.py again, or "
                         f"remove {path} to export the network alone")
    return ngrams


def write_page(path, data):
    """Writes sample.html with a model (bytes) inside."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.html"), "rb") as f:
        page = f.read()
    tag = b'<script id="model" type="text/plain">'
    mlp.write_file(path, page.replace(tag, tag + base64.b64encode(data)))


def main(argv):
    parser = argparse.ArgumentParser(prog="export.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.split("\n")[1])
    parser.add_argument("--out_dir", default="out", help="folder of the files (default: out)")
    parser.add_argument("--page", action="store_true", help="also write mlp.html, a web page")
    args = parser.parse_args(argv)
    network, ngrams, target, page = (os.path.join(args.out_dir, name) for name in (
        "mlp.pt", "ngrams.pt", "mlp.bin", "mlp.html"))
    has_ngrams = os.path.exists(ngrams)
    run = mlp.read_run(network) if os.path.exists(network) or not has_ngrams else None
    ngrams = read_ngrams(ngrams, run) if has_ngrams else None
    data = serialize(run, ngrams)
    mlp.write_file(target, data)
    if args.page:
        write_page(page, data)
    n_params = sum(p.numel() for p in run["best"]["model"].values()) if run else 0
    n_grams = sum(len(order["keys"]) for order in ngrams["orders"]) if ngrams else 0
    weight = ngrams["weight"] if ngrams else 1.0
    print(f"{target}: {n_params:,} parameters, {n_grams:,} n-grams, weight of the network "
          f"{weight:.2f}, {len((run or ngrams)['itos'])} tokens, {len(data):,} bytes")


if __name__ == "__main__":
    mlp.start(main)
