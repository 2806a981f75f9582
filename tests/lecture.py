"""
The network of the second makemore lecture, trained by the loop of the lecture: no recipe of ours.

    python tests/lecture.py                      # judged on the words of every other model here
    python tests/lecture.py --keep_duplicates    # the lecture's own split, with its repeated names

Embeddings of 10 numbers for 3 characters, 200 neurons, weights as torch.randn has them; batches of
32 drawn with replacement, 200,000 steps of SGD at 0.1, and at 0.01 from half-way on.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

import mlp

NAMES = Path(__file__).resolve().parent.parent / "names.txt"


def load_data(block_size, keep_duplicates):
    """itos, and (windows, at) of train, dev and test, as mlp.py has them."""
    words = mlp.read_words(NAMES, keep_duplicates)
    itos = ["\n"] + sorted(set("".join(words)))
    return itos, [mlp.encode(part, itos, block_size) for part in mlp.split_words(words, 0.8)]


def lecture_loop(train, dev, steps=200_000, seed=2147483647):
    """Trains on (windows, at) of block_size 3.

    Returns loss_of, a function from (windows, at) to the mean loss, and a curve, the list of
    (seconds of training so far, dev loss).
    """
    def tensors(data):
        windows, at = data
        batch = windows[at].long()
        return batch[:, :-1], batch[:, -1]  # (predictions, 3), (predictions,)

    generator = torch.Generator().manual_seed(seed)
    C = torch.randn(27, 10, generator=generator)  # no scaling yet: that is for a later lecture
    W1 = torch.randn(30, 200, generator=generator)
    b1 = torch.randn(200, generator=generator)
    W2 = torch.randn(200, 27, generator=generator)
    b2 = torch.randn(27, generator=generator)
    parameters = [C, W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad = True

    def logits_of(X):
        return torch.tanh(C[X].view(-1, 30) @ W1 + b1) @ W2 + b2

    @torch.no_grad()
    def loss_of(data):
        X, Y = tensors(data)
        return F.cross_entropy(logits_of(X), Y).item()

    X, Y = tensors(train)
    curve, seconds = [], 0.0
    for step in range(steps + 1):
        if step % (steps // 10) == 0:
            curve.append((seconds, loss_of(dev)))
        if step == steps:
            return loss_of, curve
        start = time.perf_counter()
        i = torch.randint(0, len(X), (32,), generator=generator)
        loss = F.cross_entropy(logits_of(X[i]), Y[i])
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data += -(0.1 if step < steps // 2 else 0.01) * p.grad
        seconds += time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--keep_duplicates", action="store_true", help="keep repeated names")
    parser.add_argument("--steps", type=int, default=200_000, help="default: 200000; at least 10")
    parser.add_argument("--seed", type=int, default=2147483647, help="default: the lecture's")
    config = parser.parse_args()
    _, parts = load_data(3, config.keep_duplicates)
    loss_of, curve = lecture_loop(*parts[:2], config.steps, config.seed)
    for seconds, dev_loss in curve:
        print(f"{seconds:6.1f} s | dev {dev_loss:.4f}")
    print("train {:.4f} | dev {:.4f} | test {:.4f}".format(*map(loss_of, parts))
          + f" | 11,897 parameters | {curve[-1][0]:.1f} s")


if __name__ == "__main__":
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl-C and head end it without a traceback
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    main()
