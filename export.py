"""
Writes a trained model to one binary file, without losing a bit, for sample.py and its ports.

    python export.py                    # out/mlp.pt -> out/mlp.bin
    python export.py --out_dir=towns    # the same in another folder
    python export.py --page             # and out/mlp.html, a web page with the model inside

The arrays stand in the order in which they are used, little-endian, each at a multiple of 64 bytes
(zeros between them), so that a program can use them where they are, after one check.

    head         uint32 (16): the letters NPLM; 3, the version of the format; vocab_size, n_bytes,
                 block_size, n_embd, n_hidden, n_contexts, n_grams, depth; zeros. Without a network
                 block_size, n_embd and n_hidden are 0, without n-grams the three after them
    start        uint32 (vocab_size + 1): where each token starts in text, and where the last ends
    text         uint8 (n_bytes): UTF-8. Token 0, the boundary, is a newline; the others are sorted
    C            float32 (vocab_size, n_embd); floats are below 2^50, so that no sum overflows
    W1           float32 (block_size, n_embd, n_hidden)
    b1           float32 (n_hidden)
    W2           float32 (vocab_size / 16, n_hidden, 16): 16 columns after the other. Both sizes
                 are rounded up, n_hidden to a multiple of 4, and filled with zeros
    b2           float32 (vocab_size / 16, 16), likewise
    weight       float32 (1): p = weight * p_network + (1 - weight) * p_ngrams
    left         uint32 (n_contexts): the contexts of the n-grams are a tree, level by level, the
                 empty one first. A child has one more token at its left, this one, and stands
                 among its siblings sorted by it
    first_child  uint32 (n_contexts + 1): where each context's children start in this order
    first_gram   uint32 (n_contexts + 1): where the tokens seen after each context start
    token        uint32 (n_grams): these tokens, sorted after each context
    kept         float32 (n_grams): the context's own share of the probability of each
    backoff      float32 (n_contexts): the share that it leaves to the context one token shorter
    crc          uint32: CRC-32 (zlib's) of everything before
"""

import argparse
import base64
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

import mlp


def network_arrays(state):
    """C, W1, b1, W2 and b2 of a network's weights (dict of tensors), as the file has them."""
    C, W1, b1, W2, b2 = (state[name].numpy() for name in ("C", "W1", "b1", "W2", "b2"))
    W2 = np.pad(W2, [(0, -len(b1) % 4), (0, -len(b2) % 16)])
    W2 = W2.reshape(len(W2), W2.shape[1] // 16, 16)  # (n_hidden, vocab_size / 16, 16)
    return C, W1, b1, W2.transpose(1, 0, 2), np.pad(b2, (0, -len(b2) % 16))


def ngram_arrays(orders, vocab_size):
    """left, first_child, first_gram, token, kept and backoff of the orders (list of dict, at least
    one) of a KneserNey, each of which numbers its own contexts; here all are numbered in a row."""
    keys = [order["keys"].numpy() for order in orders]
    context_keys = [order["context_keys"].numpy() for order in orders]
    base = np.cumsum([0, *map(len, context_keys)])  # where each order's contexts start
    parent = [k // vocab_size + base[i] for i, k in enumerate(context_keys[1:])]
    context = [k // vocab_size + base[i] for i, k in enumerate(keys)]
    n_children = np.bincount(np.concatenate([[], *parent]).astype(int), minlength=base[-1])
    n_grams = np.bincount(np.concatenate(context), minlength=base[-1])
    return (np.concatenate(context_keys) % vocab_size,
            np.append(1, n_children).cumsum(),  # context 0 is no child, so children start at 1
            np.append(0, n_grams).cumsum(),
            np.concatenate(keys) % vocab_size,
            np.concatenate([order["kept"][:-1] for order in orders]),
            np.concatenate([order["backoff"][:-1] for order in orders]))


def serialize(run):
    """The bytes of the file, of a run of mlp.py. A network of weight 0 is left out. Raises
    ValueError if a weight is not finite, or too large."""
    itos, orders, weight = run["itos"], run.get("orders", []), run.get("weight", 1.0)
    B, E, H = (run["config"][name] * (weight > 0) for name in ("block_size", "n_embd", "n_hidden"))
    V, text = len(itos), "".join(itos).encode()
    state = run["best"]["model"] if H else {name: torch.zeros(*shape) for name, shape in (
        ("C", (V, 0)), ("W1", (0, 0)), ("b1", (0,)), ("W2", (0, V)), ("b2", (V,)))}
    arrays = [np.cumsum([0, *(len(token.encode()) for token in itos)]), np.frombuffer(text, "u1"),
              *network_arrays(state), np.array([weight]),
              *(ngram_arrays(orders, V) if orders else ([], [0], [0], [], [], []))]
    kinds = "u4 u1 f4 f4 f4 f4 f4 f4 u4 u4 u4 u4 f4 f4".split()
    data = struct.pack("<4s9I24x", b"NPLM", 3, V, len(text), B, E, H, len(arrays[8]),
                       len(arrays[11]), max(0, len(orders) - 1))
    for kind, array in zip(kinds, arrays):
        array = np.asarray(array)
        if kind == "f4" and not (abs(array) < 2**50).all():  # false for nan as well
            raise ValueError("the model has a weight that is not finite, or 2^50 or more; train it "
                             "again with a lower --learning_rate")
        data += array.astype("<" + kind).tobytes()
        data += bytes(-len(data) % 64)
    return data + struct.pack("<I", zlib.crc32(data))


def main(argv):
    parser = argparse.ArgumentParser(prog="export.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.split("\n")[1])
    parser.add_argument("--out_dir", default="out", help="folder of the files (default: out)")
    parser.add_argument("--page", action="store_true", help="also write mlp.html, a web page")
    args = parser.parse_args(argv)
    run = mlp.read_run(os.path.join(args.out_dir, "mlp.pt"))
    data, path = serialize(run), os.path.join(args.out_dir, "mlp.bin")
    mlp.write_file(path, data)
    if args.page:
        page = Path(__file__).with_name("sample.html").read_bytes()
        tag = b'<script id="model" type="text/plain">'
        mlp.write_file(path[:-3] + "html", page.replace(tag, tag + base64.b64encode(data)))
    n_grams = sum(len(order["keys"]) for order in run.get("orders", []))
    print(f"{path}: {len(run['itos'])} tokens, {n_grams:,} n-grams, weight of the network "
          f"{run.get('weight', 1.0):.2f}, {len(data):,} bytes")


if __name__ == "__main__":
    mlp.start(main)
