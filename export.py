"""
Writes a trained MLP to one binary file for sample.c, every weight to the last bit.

    python export.py                    # out/mlp.pt -> out/mlp.bin
    python export.py --out_dir=towns    # towns/mlp.pt -> towns/mlp.bin

The file, all numbers little-endian:

    offset   bytes    what
    0        4        magic: the letters NPLM, for "neural probabilistic language model"
    4        4        uint32  version of the format: 1
    8        4 x 4    uint32  block_size, vocab_size, n_embd, n_hidden
    24       varies   the vocabulary, vocab_size times: uint8 length, so many bytes of UTF-8: one
                      character; first the boundary, as a newline, then the others by code point
    varies   0 to 3   zero bytes, up to an offset that is a multiple of 4
    varies   varies   float32, each below 2^50 in size (which no sum in sample.c can then
                      overflow), row by row: C (vocab_size, n_embd),
                      W1 (block_size * n_embd, n_hidden), b1 (n_hidden),
                      W2 (n_hidden, vocab_size), b2 (vocab_size)
    end - 4  4        uint32  CRC-32 (zlib's) of all that comes before
"""

import argparse
import os
import struct
import sys
import zlib

import torch

MAGIC, VERSION = b"NPLM", 1


def serialize(checkpoint):
    """A checkpoint of mlp.py (dict) as the bytes of the file.

    Raises ValueError if a weight is nan or too large; KeyError, TypeError, ... on anything else.
    """
    config, itos, state = checkpoint["config"], checkpoint["itos"], checkpoint["model"]
    block_size, n_embd, n_hidden = (config[key] for key in ("block_size", "n_embd", "n_hidden"))
    vocab_size = len(itos)
    data = MAGIC + struct.pack("<5I", VERSION, block_size, vocab_size, n_embd, n_hidden)
    for character in itos:
        utf8 = character.encode("utf-8")
        data += struct.pack("B", len(utf8)) + utf8
    data += bytes(-len(data) % 4)
    for name, shape in (("C", (vocab_size, n_embd)), ("W1", (block_size * n_embd, n_hidden)),
                        ("b1", (n_hidden,)), ("W2", (n_hidden, vocab_size)), ("b2", (vocab_size,))):
        weights = state[name]
        if weights.shape != shape:
            raise KeyError(f"{name} is not {shape}")
        if not (weights.abs() < 2**50).all():  # false for nan as well
            raise ValueError(f"{name} holds a weight that is not finite, or 2^50 or more")
        data += weights.numpy().astype("<f4").tobytes()
    return data + struct.pack("<I", zlib.crc32(data))


def main(argv):
    parser = argparse.ArgumentParser(prog="export.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.strip().splitlines()[0])
    parser.add_argument("--out_dir", default="out", help="folder of both files (default: out)")
    out_dir = parser.parse_args(argv).out_dir
    source, target = os.path.join(out_dir, "mlp.pt"), os.path.join(out_dir, "mlp.bin")

    try:
        checkpoint = torch.load(source, map_location="cpu", weights_only=True)
        data, dev_loss = serialize(checkpoint), checkpoint["dev_loss"]
    except OSError as e:
        sys.exit(f"export.py: cannot read {source}: {e.strerror}; train a model with mlp.py first")
    except ValueError as e:
        sys.exit(f"export.py: {source}: {e}; train it again with a lower --learning_rate")
    except Exception:  # what torch raises on a file of another kind depends on the file
        sys.exit(f"export.py: {source} is not a checkpoint of mlp.py")

    temporary = target + ".tmp"  # renamed when it is whole: a run cut short leaves no half a model
    try:
        with open(temporary, "wb") as f:
            f.write(data)
        os.replace(temporary, target)
    except OSError as e:
        sys.exit(f"export.py: cannot write {target}: {e.strerror}")
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    num_params = sum(weights.numel() for weights in checkpoint["model"].values())
    print(f"{target}: {num_params:,} parameters, {len(checkpoint['itos'])} tokens, "
          f"dev loss {'-' if dev_loss is None else f'{dev_loss:.4f}'}, {len(data):,} bytes")


if __name__ == "__main__":
    if sys.stdout is None:
        sys.exit("export.py: cannot write the output: it is closed")
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except OSError as e:
        sys.exit(f"export.py: cannot write the output: {e.strerror}")
