"""
Measures what the README says about speed, and what a step costs: `make bench`, or, with another
number of runs, python experiments/bench.py --runs=5.

1. The network of the makemore lecture, trained by the lecture's loop and by mlp.py: dev loss
   against seconds, and how much sooner mlp.py is at the loss where the loop ends.
2. The time of a training step of the default network, of its matrix products alone, and of the
   same step without the table.
3. Names per second: PyTorch, one name at a time as in the lecture, and 20,000 side by side;
   sample.py; and ./sample, with one process and one per core, and with a mixture if out/ has one.

What is compared is run alternately, in one go; what counts is the ratio of the medians.
"""

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

import export
import mlp
import sample

ROOT = Path(__file__).resolve().parent.parent
LECTURE = ["--block_size=3", "--n_embd=10", "--n_hidden=200"]
# chosen on dev, for the fewest seconds to 2.15
FAST = ["--batch_size=512", "--learning_rate=0.02", "--max_iters=800", "--warmup_iters=50",
        "--dropout=0", "--weight_decay=0.01"]


def lecture_curve():
    """The lecture's loop, by lecture.py: a list of (seconds, dev loss), the last one at its end."""
    out = subprocess.run([sys.executable, ROOT / "lecture.py", "--keep_duplicates"], check=True,
                         stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
    curve = [(float(s), float(loss)) for s, loss in re.findall(r"\| +(\S+) s \| dev (\S+)", out)]
    loss, seconds = re.search(r"dev (\S+) \| test .* \| (\S+) s$", out, re.MULTILINE).groups()
    return [*curve, (float(seconds), float(loss))]


def our_curve(config, itos, train, dev):
    """The same network by the functions of mlp.py."""
    torch.manual_seed(config.seed)
    model = mlp.MLP(len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)
    optimizer = mlp.make_optimizer(model, config.weight_decay)
    stream = mlp.batches(train, config.batch_size, config.seed)
    curve, seconds = [], 0.0
    for step in range(config.max_iters + 1):
        if step % (config.max_iters // 10) == 0:
            curve.append((seconds, mlp.evaluate(model, dev)))
        start = time.perf_counter()
        mlp.train_step(model, optimizer, mlp.learning_rate_at(step, config), *next(stream))
        seconds += time.perf_counter() - start
    return curve


def load_data(config):
    """itos, and the rows of train and dev, as mlp.py has them; completes config, too."""
    words = mlp.read_words(ROOT / "names.txt", config.keep_duplicates)
    itos, splits = mlp.vocabulary(words), mlp.split_words(words, config.train_frac)
    mlp.choose_settings(splits[0], itos, config)
    train, dev, _ = (mlp.encode(split, itos, config.block_size) for split in splits)
    return itos, train, dev


def compare_training(runs):
    config = mlp.parse_args([*LECTURE, *FAST, "--keep_duplicates"])
    data = load_data(config)
    theirs, ours = [], []
    for _ in range(runs):
        theirs.append(lecture_curve())
        ours.append(our_curve(config, *data))
    for name, curves in (("lecture", theirs), ("mlp.py", ours)):
        print(f"{name:>8} | seconds | dev loss")
        for points in zip(*curves):
            print(f"         | {statistics.median(p[0] for p in points):7.2f} | {points[0][1]:.4f}")
    goal = theirs[0][-1][1]
    there = [next((s for s, loss in curve if loss <= goal), math.nan) for curve in ours]
    whole, there = statistics.median(curve[-1][0] for curve in theirs), statistics.median(there)
    print(f"dev loss {goal:.4f}: lecture {whole:.1f} s, mlp.py {there:.2f} s, "
          f"ratio {whole / there:.0f}")


def compare_step(runs):
    config = mlp.parse_args([])
    itos, train, _ = load_data(config)
    torch.manual_seed(config.seed)
    model = mlp.MLP(len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)
    optimizer = mlp.make_optimizer(model, config.weight_decay)
    stream = mlp.batches(train, config.batch_size, config.seed)
    B, V, E, H, N = config.block_size, len(itos), config.n_embd, config.n_hidden, config.batch_size
    C, W1, dtable = torch.randn(B, V, E), torch.randn(B, E, H), torch.randn(B, V, H)
    h, W2, dlogits = torch.randn(N, H), torch.randn(H, V), torch.randn(N, V)
    X, Y = next(stream)

    def products():  # one forward and two backward, for the table and for the second layer
        C @ W1, dtable @ W1.mT, C.mT @ dtable
        h @ W2, dlogits @ W2.T, h.T @ dlogits

    def step():
        mlp.train_step(model, optimizer, 1e-3, *next(stream))

    def plain_step():  # the paper's forward instead of the table
        loss = F.cross_entropy(model.hidden(X) @ model.W2 + model.b2, Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    times = {products: [], step: [], plain_step: []}
    for _ in range(10 * runs):
        for run in times:
            start = time.perf_counter()
            for _ in range(20):
                run()
            times[run].append((time.perf_counter() - start) / 20)
    a, b, c = (1000 * statistics.median(times[run]) for run in (step, products, plain_step))
    print(f"a step of the default network: {a:.2f} ms; its matrix products alone: {b:.2f} ms; "
          f"ratio {a / b:.1f}; without the table: {c:.2f} ms, ratio {c / a:.1f}")


# -----------------------------------------------------------------------------
# Names per second

def weights_of(model):
    return [getattr(model, name).detach() for name in ("C", "W1", "b1", "W2", "b2")]


@torch.no_grad()
def one_at_a_time(model, itos, count):
    """Samples count names as the lecture does."""
    C, W1, b1, W2, b2 = weights_of(model)
    names = []
    for _ in range(count):
        name, context = "", [0] * (len(W1) // C.shape[1])
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


@torch.no_grad()
def side_by_side(model, itos, count):
    """Samples count names, all at once, in the fastest way that we found: the first layer is a
    look-up, a context that several names share is computed once, and who is done is left out."""
    C, W1, b1, W2, b2 = weights_of(model)
    (V, E), B = C.shape, len(W1) // C.shape[1]
    rows = torch.einsum("ve,beh->bvh", C, W1.view(B, E, -1)).reshape(B * V, -1)
    offsets, powers = torch.arange(B) * V, V ** torch.arange(B - 1, -1, -1)
    growing, X = torch.arange(count), torch.zeros(count, B, dtype=torch.long)
    text = torch.zeros(count, mlp.MAX_LEN, dtype=torch.int32)
    for at in range(mlp.MAX_LEN):
        keys, which = (X @ powers).unique(return_inverse=True)
        contexts = keys[:, None] // powers % V
        h = torch.tanh(F.embedding_bag(contexts + offsets, rows, mode="sum") + b1)
        upto = F.softmax(h @ W2 + b2, dim=1).cumsum(1)
        draw = torch.rand(len(X), 1) * upto[which, -1:]
        tokens = torch.searchsorted(upto[which], draw, right=True).clamp(max=V - 1)
        text[growing, at] = tokens.squeeze(1).int()
        going_on = tokens.squeeze(1) != 0
        growing, X = growing[going_on], torch.cat([X[going_on, 1:], tokens[going_on]], dim=1)
        if len(growing) == 0:
            break
    letters = [""] + itos[1:]
    return ["".join([letters[token] for token in row]) for row in text[:, :at + 1].tolist()]


def processes(program, path, count, n_cores):
    """Samples count names by a process per core, each its part of them; -f makes them the same."""
    part = -(-count // n_cores)
    runs = [subprocess.Popen([program, path, "-s1", f"-n{part}", f"-f{core * part}"],
                             stdout=subprocess.DEVNULL) for core in range(n_cores)]
    assert all(run.wait() == 0 for run in runs)


def names_per_second(folder, program, count, runs):
    """Prints how many names each way samples in a second: the median of alternate runs."""
    run = mlp.read_run(str(folder / "mlp.pt"))
    model, itos = mlp.best_model(run), run["itos"]
    network = folder / "network.bin"  # mlp.bin may be a mixture
    network.write_bytes(export.serialize({**run, "orders": [], "weight": 1.0}))
    in_numpy = sample.load(network)
    mixture, n_cores = folder / "mlp.bin", os.cpu_count()
    ways = {"PyTorch, one at a time": (2_000, lambda n: one_at_a_time(model, itos, n)),
            "PyTorch, 20,000 side by side": (20_000, lambda n: side_by_side(model, itos, n)),
            "sample.py": (1_000, lambda n: list(sample.names(in_numpy, n))),
            "./sample": (count, lambda n: processes(program, network, n, 1)),
            f"./sample, {n_cores} processes":
                (count, lambda n: processes(program, network, n, n_cores))}
    if "orders" in run:
        ways["./sample, mixed with n-grams"] = count, lambda n: processes(program, mixture, n, 1)
    speeds = {name: [] for name in ways}
    for _ in range(runs):
        for name, (n, run) in ways.items():
            start = time.perf_counter()
            run(n)
            speeds[name].append(n / (time.perf_counter() - start))
    medians = {name: statistics.median(speed) for name, speed in speeds.items()}
    first, second, *_ = medians.values()
    print(f"\nnames per second, {folder.name} ({runs} runs)")
    for name, speed in medians.items():
        print(f"{name:>30} | {speed:11,.0f} | {speed / first:7.1f} x | {speed / second:7.1f} x")


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
    subprocess.run([sys.executable, ROOT / "export.py", f"--out_dir={out}"],
                   stdout=subprocess.DEVNULL, check=True)  # a later run may have replaced mlp.pt
    names_per_second(out / "lecture", ROOT / "sample", 10_000_000, runs)
    names_per_second(out, ROOT / "sample", 1_000_000, runs)


if __name__ == "__main__":
    main()
