"""
What each change from the lecture's training to ours gains: the README's table of steps.

    python experiments/steps.py              # three seeds a row; half an hour
    python experiments/steps.py --seeds=1

It starts with the network and the loop of lecture.py, changes one thing in each row, keeps all
changes above it, and arrives at the default of mlp.py. Last it adds what is optional in the paper.

Every row trains on as many predictions as mlp.py: 8,000 batches of 512, or 128,000 of 32, where
lecture.py takes 200,000. dev is the loss after the last step, its mean over the seeds.
"""

import argparse
import sys
import time
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
import torch.nn as nn
import torch.nn.functional as F

import mlp

LECTURE = {"scaled": False, "adamw": False, "cosine": False, "epochs": False, "direct": False,
           "block_size": 3, "n_embd": 10, "n_hidden": 200, "dropout": 0.0, "weight_decay": 0.0,
           "batch_size": 32}
STEPS = [
    # the lecture's           ours                                    settings that become ours
    ("all of it",             "",                                     ()),
    ("weights from randn",    "W1, W2 scaled, biases 0",              ("scaled",)),
    ("SGD, batches of 32",    "AdamW, batches of 512",                ("adamw", "batch_size")),
    ("one drop of the rate",  "warm-up and cosine",                   ("cosine",)),
    ("random batches",        "epochs",                               ("epochs",)),
    ("context 3",             "6",                                    ("block_size",)),
    ("200 neurons, n_embd 10", "600, n_embd 64",                      ("n_hidden", "n_embd")),
    ("no dropout",            "0.2 of the embeddings",                ("dropout",)),
    ("no weight decay",       "of W1 and W2: the default of mlp.py",  ("weight_decay",)),
    ("",                      "direct connections as well",           ("direct",)),
]


class Direct(mlp.MLP):
    """With the paper's optional connections from the embeddings to the output, past tanh."""

    def __init__(self, vocab_size, block_size, n_embd, *rest):
        super().__init__(vocab_size, block_size, n_embd, *rest)
        self.W3 = nn.Parameter(torch.zeros(block_size * n_embd, vocab_size))

    def forward(self, X):
        """Contexts X (B, block_size) -> logits (B, vocab_size)."""
        emb = F.dropout(self.C[X], self.dropout, self.training)    # (B, block_size, n_embd)
        return super().forward(X) + emb.flatten(1) @ self.W3


def draws(rows, batch_size, seed):
    """Yields batches as the lecture draws them, with replacement."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        batch = rows[torch.randint(0, len(rows), (batch_size,), generator=generator)].long()
        yield batch[:, :-1], batch[:, -1]


def learning_rate_at(step, config):
    """The lecture's 0.1, or AdamW's rate, and a tenth of it in the second half."""
    if config.cosine:
        return mlp.learning_rate_at(step, config)
    rate = config.learning_rate if config.adamw else 0.1
    return rate if step < config.max_iters / 2 else rate / 10


def dev_loss(splits, itos, config):
    """Trains a network with the settings config and returns its loss on dev."""
    train, dev = (mlp.encode(split, itos, config.block_size) for split in splits)
    torch.manual_seed(config.seed)
    model = (Direct if config.direct else mlp.MLP)(
        len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if config.adamw:
        optimizer = mlp.make_optimizer(model, config.weight_decay)
    if config.direct:
        optimizer.add_param_group({"params": [model.W3], "weight_decay": config.weight_decay})
    if not config.scaled:
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    stream = (mlp.batches if config.epochs else draws)(train, config.batch_size, config.seed)
    for step in range(config.max_iters):
        mlp.train_step(model, optimizer, learning_rate_at(step, config), *next(stream))
    return mlp.evaluate(model, dev)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--seeds", type=int, default=3, choices=(1, 2, 3),
                        help="runs of each row (3)")
    seeds = [1337, 1, 2][:parser.parse_args().seeds]
    words = mlp.read_words(ROOT / "names.txt")
    itos, splits = mlp.vocabulary(words), mlp.split_words(words, 0.8)[:2]
    default = mlp.parse_args([])
    mlp.choose_settings(splits[0], itos, default)
    ours = dict.fromkeys(LECTURE, True) | vars(default)
    settings, before = ours | LECTURE, None
    print("| the lecture's | ours | dev | max - min | gained | seconds |\n" + "|---" * 6 + "|")
    for theirs, changed, names in STEPS:
        settings |= {name: ours[name] for name in names}
        config = Namespace(**settings)
        config.max_iters = ours["max_iters"] * ours["batch_size"] // config.batch_size
        started, losses = time.perf_counter(), []
        for config.seed in seeds:
            losses.append(dev_loss(splits, itos, config))
        dev = sum(losses) / len(losses)
        gained = "" if before is None else f"{before - dev:+.4f}"
        print(f"| {theirs} | {changed} | {dev:.4f} | {max(losses) - min(losses):.4f} | {gained} | "
              f"{(time.perf_counter() - started) / len(losses):.0f} |", flush=True)
        before = dev


if __name__ == "__main__":
    main()
