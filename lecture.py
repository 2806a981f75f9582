"""
Step 0: the network of the second makemore lecture, trained as the lecture trains it.

    python lecture.py                      # dev 2.19, judged on the words of every other model here
    python lecture.py --keep_duplicates    # the lecture's own split, repeated names and all: 2.18

One straight script, like the notebook: everything happens where you read it.
"""

import argparse
import random
import signal
import time
from pathlib import Path

import torch
import torch.nn.functional as F

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it quietly
if hasattr(signal, "SIGPIPE"):                # and so does `| head`; Windows has no SIGPIPE
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
parser = argparse.ArgumentParser(description=__doc__.split("\n")[1], usage=argparse.SUPPRESS)
parser.add_argument("--keep_duplicates", action="store_true", help="keep repeated names")
parser.add_argument("--steps", type=int, default=200_000, help="training steps (200000)")
parser.add_argument("--seed", type=int, default=2147483647, help="random seed (2147483647)")
config = parser.parse_args()
if config.steps < 0:
    parser.error(f"argument --steps: {config.steps} is below 0")

# data: without the second copy of names that girls and boys share, which could end up in dev
words = (Path(__file__).parent / "names.txt").read_text(encoding="utf-8").split()
words = words if config.keep_duplicates else list(dict.fromkeys(words))
itos = ["."] + sorted(set("".join(words)))
stoi = {ch: i for i, ch in enumerate(itos)}
random.seed(42)
random.shuffle(words)


def build_dataset(words):
    """Contexts X (predictions, 3) and the tokens that follow, Y (predictions,)."""
    X, Y = [], []
    for word in words:
        context = [0] * 3
        for ch in word + ".":
            X.append(context)
            Y.append(stoi[ch])
            context = context[1:] + [stoi[ch]]
    return torch.tensor(X), torch.tensor(Y)


n1, n2 = int(0.8 * len(words)), int(0.9 * len(words))
(Xtr, Ytr), (Xdev, Ydev), (Xte, Yte) = map(build_dataset, (words[:n1], words[n1:n2], words[n2:]))
for x, y in zip(Xtr[:5].tolist(), Ytr[:5].tolist()):
    print("".join(itos[i] for i in x), "--->", itos[y])

# model: weights as randn has them, so the first loss is far above log(27), and tanh is saturated
g = torch.Generator().manual_seed(config.seed)
C, W1, b1, W2, b2 = parameters = [torch.randn(shape, generator=g, requires_grad=True)
                                  for shape in ((27, 10), (30, 200), (200,), (200, 27), (27,))]


def forward(X):
    """Contexts X (B, 3) -> logits (B, 27)."""
    h = torch.tanh(C[X].view(-1, 30) @ W1 + b1)  # (B, 200)
    return h @ W2 + b2


# training: plain SGD, batches of 32 drawn with replacement, a lower rate for the second half
seconds = 0.0
for step in range(config.steps):
    if step % max(1, config.steps // 10) == 0:
        print(f"step {step:7,} | {seconds:6.2f} s | dev {F.cross_entropy(forward(Xdev), Ydev):.4f}")
    started = time.perf_counter()
    ix = torch.randint(0, len(Xtr), (32,), generator=g)
    loss = F.cross_entropy(forward(Xtr[ix]), Ytr[ix])
    for p in parameters:
        p.grad = None
    loss.backward()
    for p in parameters:
        p.data += -(0.1 if step < config.steps // 2 else 0.01) * p.grad
    seconds += time.perf_counter() - started

losses = [F.cross_entropy(forward(X), Y) for X, Y in ((Xtr, Ytr), (Xdev, Ydev), (Xte, Yte))]
print("train {:.4f} | dev {:.4f} | test {:.4f}".format(*losses),
      f"| {sum(p.numel() for p in parameters):,} parameters | {seconds:.1f} s")
for _ in range(10):
    context, out = [0] * 3, ""
    while not out.endswith("."):
        probs = F.softmax(forward(torch.tensor([context])), dim=1)
        context = context[1:] + [torch.multinomial(probs, num_samples=1, generator=g).item()]
        out += itos[context[-1]]
    print(out[:-1])
