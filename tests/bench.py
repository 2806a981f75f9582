"""
Measures what the README says about speed, and what a step costs: `make bench`, or, with another
number of runs, python tests/bench.py --runs=5.

1. The network of the makemore lecture, trained by the lecture's loop and by mlp.py: dev loss
   against seconds, and how much sooner mlp.py is at the loss where the loop ends.
2. The time of a training step of the default network, and of its matrix products alone.
3. Names per second: a PyTorch loop, one name at a time as in the lecture, and ./sample.

What is compared is run alternately, in one go; what counts is the ratio of the medians.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

import mlp
from lecture import lecture_loop, load_data

ROOT = Path(__file__).resolve().parent.parent
LECTURE = ["--block_size=3", "--n_embd=10", "--n_hidden=200"]
# chosen on dev, for the fewest seconds to 2.15
FAST = ["--batch_size=512", "--learning_rate=0.02", "--max_iters=800", "--warmup_iters=50",
        "--dropout=0", "--weight_decay=0.01"]


def our_loop(train, dev, itos, config):
    """The same network by the functions of mlp.py; returns the list of (seconds, dev loss)."""
    torch.manual_seed(config.seed)
    model = mlp.MLP(len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)
    optimizer = mlp.make_optimizer(model, config.weight_decay)
    batches = mlp.batches(train, config.batch_size, config.seed)
    curve, seconds = [], 0.0
    for step in range(config.max_iters + 1):
        if step % (config.max_iters // 10) == 0:
            curve.append((seconds, mlp.evaluate(model, dev)))
        start = time.perf_counter()
        mlp.train_step(model, optimizer, mlp.learning_rate_at(step, config), *next(batches))
        seconds += time.perf_counter() - start
    return curve


def compare_training(runs):
    config = mlp.parse_args([*LECTURE, *FAST, "--keep_duplicates"])
    itos, (train, dev, _) = load_data(config.block_size, config.keep_duplicates)
    theirs, ours = [], []
    for _ in range(runs):
        theirs.append(lecture_loop(train, dev)[1])
        ours.append(our_loop(train, dev, itos, config))
    for name, curves in (("lecture", theirs), ("mlp.py", ours)):
        print(f"{name:>8} | seconds | dev loss")
        for points in zip(*curves):
            print(f"         | {statistics.median(p[0] for p in points):7.2f} | {points[0][1]:.4f}")
    goal = theirs[0][-1][1]
    there = [next((s for s, loss in curve if loss <= goal), math.nan) for curve in ours]
    whole = [curve[-1][0] for curve in theirs]
    whole, there = statistics.median(whole), statistics.median(there)
    print(f"dev loss {goal:.4f}: lecture {whole:.1f} s, mlp.py {there:.2f} s, "
          f"ratio {whole / there:.0f}")


def compare_step(runs):
    config = mlp.parse_args([])
    itos, (train, _, _) = load_data(config.block_size, config.keep_duplicates)
    B, V, E, H = config.block_size, len(itos), config.n_embd, config.n_hidden
    model = mlp.MLP(V, B, E, H, config.dropout)
    optimizer = mlp.make_optimizer(model, config.weight_decay)
    batches = mlp.batches(train, config.batch_size, config.seed)
    C, W1, dtable = torch.randn(B, V, E), torch.randn(B, E, H), torch.randn(B, V, H)
    N = config.batch_size
    h, W2, dlogits = torch.randn(N, H), torch.randn(H, V), torch.randn(N, V)

    def products():  # one forward and two backward, for the table and for the second layer
        C @ W1, dtable @ W1.mT, C.mT @ dtable
        h @ W2, dlogits @ W2.T, h.T @ dlogits

    def step():
        mlp.train_step(model, optimizer, 1e-3, *next(batches))

    times = {products: [], step: []}
    for _ in range(20 * runs):
        for run in times:
            start = time.perf_counter()
            for _ in range(20):
                run()
            times[run].append((time.perf_counter() - start) / 20)
    a, b = (1000 * statistics.median(times[run]) for run in (step, products))
    print(f"a step of the default network: {a:.2f} ms; its matrix products alone: {b:.2f} ms; "
          f"ratio {a / b:.1f}")


@torch.no_grad()
def sampling_loop(checkpoint, count):
    """Makes up count names, one at a time, as the lecture does."""
    itos, block_size = checkpoint["itos"], checkpoint["config"]["block_size"]
    C, W1, b1, W2, b2 = (checkpoint["model"][name] for name in ("C", "W1", "b1", "W2", "b2"))
    names = []
    for _ in range(count):
        name, context = "", [0] * block_size
        while True:
            emb = C[torch.tensor([context])]
            h = torch.tanh(emb.view(1, -1) @ W1 + b1)
            token = torch.multinomial(F.softmax(h @ W2 + b2, dim=1), num_samples=1).item()
            if token == 0:
                break
            name += itos[token]
            context = context[1:] + [token]
        names.append(name)
    return names


def names_per_second(model_dir, program, count, runs):
    """Names per second by a loop in PyTorch and by program, and their ratio."""
    checkpoint = torch.load(model_dir / "mlp.pt", weights_only=True)
    slow, fast = [], []
    for _ in range(runs):
        start = time.perf_counter()
        sampling_loop(checkpoint, 2000)
        slow.append(2000 / (time.perf_counter() - start))
        start = time.perf_counter()
        subprocess.run([program, model_dir / "mlp.bin", "-n", str(count), "-s", "1"],
                       stdout=subprocess.DEVNULL, check=True)
        fast.append(count / (time.perf_counter() - start))
    slow, fast = statistics.median(slow), statistics.median(fast)
    print(f"names per second, {model_dir.name}: PyTorch {slow:,.0f}, sample {fast:,.0f}, "
          f"ratio {fast / slow:,.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="alternating runs (default: 3)")
    runs = parser.parse_args().runs
    torch.set_num_threads(1)  # one core against one core
    compare_training(runs)
    compare_step(runs)
    out = ROOT / "out"
    subprocess.run([sys.executable, ROOT / "mlp.py", *LECTURE, *FAST, "--num_samples=0",
                    f"--out_dir={out / 'lecture'}", f"--input_file={ROOT / 'names.txt'}"],
                   stdout=subprocess.DEVNULL, check=True)
    subprocess.run([sys.executable, ROOT / "export.py", f"--out_dir={out / 'lecture'}"],
                   stdout=subprocess.DEVNULL, check=True)
    subprocess.run([sys.executable, ROOT / "export.py", f"--out_dir={out}"],
                   stdout=subprocess.DEVNULL, check=True)  # a later run may have replaced mlp.pt
    names_per_second(out / "lecture", ROOT / "sample", 10_000_000, runs)
    names_per_second(out, ROOT / "sample", 1_000_000, runs)


if __name__ == "__main__":
    main()
