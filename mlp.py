"""
A character-level neural language model, trained on a file with one item per line.

It is the neural probabilistic language model of Bengio, Ducharme, Vincent and Jauvin (2003, JMLR
3:1137-1155), with characters in place of words: each of the last block_size characters is looked
up in an embedding table, the embeddings are concatenated, and a tanh layer and a softmax turn them
into a probability for every character that may come next.

    python mlp.py                                             # names.txt: dev loss below 1.97
    python mlp.py --block_size=3 --n_embd=10 --n_hidden=200   # the network of the makemore lecture
    python mlp.py --input_file=towns.txt --out_dir=towns      # a file of your own
    python mlp.py --help                                      # every setting and its default

The best model is kept in out_dir/mlp.pt, for mix.py, export.py and plot.py. A loss is the mean
negative log-likelihood per token, in nats; a token is a character or the end of a line.
"""

import copy
import itertools
import math
import os
import random
import time
import zlib

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # threads that wait spin less: faster if it is busy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

# Settings. Each can be set on the command line, as --name=value or --name value. Where a type is in
# place of a default, recipe() chooses the value from the size of the data.
SETTINGS = [
    # name              default      range         meaning
    ("input_file",      "names.txt", None,         "text to learn from: UTF-8, one item per line"),
    ("out_dir",         "out",       None,         "folder of the checkpoint, mlp.pt"),
    ("train_frac",      0.8,         (0.01, 1),    "share to train on; the rest: dev and test"),
    ("keep_duplicates", False,       None,         "keep every copy of a repeated line"),
    ("block_size",      int,         (1, 256),     "context length, in characters"),
    ("n_embd",          64,          (1, 1024),    "size of a character's embedding"),
    ("n_hidden",        int,         (1, 65536),   "neurons in the hidden layer"),
    ("dropout",         float,       (0, 0.9),     "share of the embeddings zeroed in training"),
    ("batch_size",      int,         (1, 10**6),   "predictions in a training step"),
    ("max_iters",       int,         (1, 10**9),   "training steps"),
    ("learning_rate",   4e-3,        (0, 1000),    "AdamW's learning rate at its peak"),
    ("warmup_iters",    int,         (0, 10**9),   "steps in which the rate rises to its peak"),
    ("weight_decay",    float,       (0, 1000),    "AdamW's decay of W1 and W2"),
    ("eval_interval",   int,         (1, 10**9),   "steps between evaluations"),
    ("num_samples",     20,          (0, 10**6),   "items to sample at the end"),
    ("seed",            1337,        (0, 2**63-1), "random seed of everything but the split"),
    ("resume",          False,       None,         "continue the run in out_dir"),
    ("find_lr",         False,       None,         "try learning rates instead of training"),
]
EVAL_ROWS = 50_000   # so many predictions at most are evaluated during training
RESULT_ROWS = 10**6  # and at the end: all those of a large file would take minutes
MAX_LEN = 1024       # a sampled item is cut off here, so that sampling always ends, as in sample.c


def recipe(n, length, vocab_size, config):
    """The settings that follow from the data (dict), where config has none: n predictions in train,
    length of them per line on average, vocab_size tokens.

    Found on the dev losses of fourteen lists, from 250 lines to 350,000: a small list needs fewer
    steps and more dropout, a large one a larger network and larger batches. Weight decay makes the
    weights forget what they saw four epochs ago. Long lines want a longer context."""
    growth = min(2, max(1, n / 200_000)**0.25)
    max_iters = config.max_iters or int(max(200, min(8000, 2 * n**0.75)))
    batch_size = config.batch_size or int(512 * growth**2)
    shrink = min(0.27 * batch_size / n, 12 / max_iters, 0.1)  # per step, at the peak
    return {"block_size": min(10, max(6, round(length / 2))),
            "n_hidden": int(600 * growth) if vocab_size < 128 else 600,
            "dropout": min(0.6, 1 / (1 + (n / 27_000)**0.75)), "batch_size": batch_size,
            "max_iters": max_iters, "warmup_iters": max_iters // 40,
            "weight_decay": shrink / max(1e-4, config.learning_rate),
            "eval_interval": max(1, max_iters // 16)}


# -----------------------------------------------------------------------------
# Data

def read_words(input_file, keep_duplicates=False):
    """The lines of a UTF-8 file, stripped, as a list of str, without empty ones. Repeated lines are
    dropped, unless keep_duplicates: names.txt has a name twice if girls and boys share it, and a
    random split would put many into both train and dev. Raises ValueError if no line has text."""
    with open(input_file, encoding="utf-8-sig") as f:  # -sig: skips the mark some editors put first
        words = [word for line in f.read().split("\n") if (word := line.strip())]
    if not words:
        raise ValueError(f"{input_file} has no line with text; it should hold one item per line")
    return words if keep_duplicates else list(dict.fromkeys(words))  # a dict keeps the order


def split_words(words, train_frac):
    """The words, shuffled, as train, dev and test: 80 : 10 : 10 for train_frac 0.8. The seed is the
    lectures' 42, so that every model is judged on the same words. ValueError if a part is empty."""
    words = words[:]
    random.Random(42).shuffle(words)
    n1, n2 = int(train_frac * len(words)), int((1 + train_frac) / 2 * len(words))
    train, dev, test = words[:n1], words[n1:n2], words[n2:]
    if not train or (train_frac < 1 and not (dev and test)):
        raise ValueError(f"{len(words)} different lines are too few to split with train_frac "
                         f"{train_frac}; add lines, or train on all of them with --train_frac=1")
    return train, dev, test


def vocabulary(words):
    """itos, the character of each token. Token 0, the boundary, marks both ends of a word, like the
    lecture's "."; here it is a newline, which no line can contain."""
    return ["\n"] + sorted(set("".join(words)))


def encode(words, itos, block_size):
    """One row per prediction, (predictions, block_size + 1): the context, then the next token. With
    block_size 2 and a dot for the boundary, "ab" gives three: "..a", ".ab", "ab.". A row takes
    block_size + 1 bytes, or four times as much if there are over 256 tokens."""
    stoi = {ch: i for i, ch in enumerate(itos)}
    pad = itos[0] * block_size  # enough that no context reaches back into the previous word
    text = pad + pad.join(words) + pad
    tokens = np.fromiter(map(stoi.get, text), np.uint8 if len(itos) <= 256 else np.int32, len(text))
    rows = torch.from_numpy(tokens).unfold(0, block_size + 1, 1)  # every window of the text
    # where the last two tokens are both boundaries, the window would only predict padding
    return rows[(rows[:, -2] != 0) | (rows[:, -1] != 0)]


# -----------------------------------------------------------------------------
# Model

class MLP(nn.Module):
    """The network of Bengio et al. (2003), without the optional direct connections, with dropout
    (Srivastava et al. 2014) on the embeddings: in training, a random share of the numbers is set
    to zero, so that the network relies on none of them, and the rest scaled up to keep the sum."""

    def __init__(self, vocab_size, block_size, n_embd, n_hidden, dropout=0.0):
        super().__init__()
        self.block_size, self.dropout = block_size, dropout
        fan_in = block_size * n_embd
        self.C = nn.Parameter(torch.randn(vocab_size, n_embd))
        # a sum of fan_in products has a standard deviation of fan_in**0.5, and would saturate tanh;
        # 5/3 makes up for what tanh takes away (see torch.nn.init.calculate_gain)
        self.W1 = nn.Parameter(torch.randn(fan_in, n_hidden) * (5 / 3) / fan_in**0.5)
        self.b1 = nn.Parameter(torch.zeros(n_hidden))
        # small: the first predictions are nearly uniform, the first loss is near log(vocab_size)
        self.W2 = nn.Parameter(torch.randn(n_hidden, vocab_size) * 0.01)
        self.b2 = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, X):
        """Contexts X (B, block_size), int64 -> logits (B, vocab_size)."""
        emb = F.dropout(self.C[X], self.dropout, self.training)  # (B, block_size, n_embd)
        h = torch.tanh(emb.flatten(1) @ self.W1 + self.b1)       # (B, n_hidden)
        return h @ self.W2 + self.b2                             # (B, vocab_size)

    def forward_by_table(self, X):
        """The same for a large batch: a training step takes a third of the time (make bench).

        The token at position i only ever meets the i-th n_embd rows of W1, so it adds one of
        block_size * vocab_size vectors (6 * 27) to the hidden layer, and a batch looks up
        B * block_size of them (512 * 6): compute each once, look up, add. The one difference: all
        contexts of a batch share the dropout mask of a token at a position."""
        block_size, (vocab_size, n_embd) = self.block_size, self.C.shape
        emb = self.C.expand(block_size, -1, -1)                  # (block_size, vocab_size, n_embd)
        emb = F.dropout(emb, self.dropout, self.training)
        W1 = self.W1.view(block_size, n_embd, -1)                # (block_size, n_embd, n_hidden)
        table = (emb @ W1).flatten(0, 1)                         # (block_size*vocab_size, n_hidden)
        ix = X + vocab_size * torch.arange(block_size)           # (B, block_size)
        x = F.embedding_bag(ix, table, mode="sum")               # table[ix].sum(1): (B, n_hidden)
        return torch.tanh(x + self.b1) @ self.W2 + self.b2       # (B, vocab_size)


# -----------------------------------------------------------------------------
# Training

def batches(rows, batch_size, seed):
    """Yields X (batch_size, block_size) and Y (batch_size,), int64, without end.

    A batch only approximates the gradient, but many rough steps get further than a few exact ones.
    An epoch goes through all rows once, better on dev than the lecture's draws with replacement."""
    for epoch in itertools.count():
        generator = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(len(rows), generator=generator, dtype=torch.int32)
        for ix in order.split(batch_size)[:max(1, len(rows) // batch_size)]:  # whole batches only
            batch = rows[ix].long()  # (batch_size, block_size + 1)
            yield batch[:, :-1], batch[:, -1]


def make_optimizer(model, weight_decay):
    """AdamW (Loshchilov and Hutter 2019): divides each weight's gradient by its usual size, so that
    all weights move at a similar pace, and shrinks W1 and W2 a little at each step. Not C: the row
    of a rare character would shrink at every step and learn at few."""
    return torch.optim.AdamW([
        {"params": [model.W1, model.W2], "weight_decay": weight_decay},
        {"params": [model.C, model.b1, model.b2], "weight_decay": 0.0},
    ], betas=(0.9, 0.95), fused=True)  # on dev 0.95 is better than 0.99 and 0.999; fused is faster


def learning_rate_at(step, config):
    """A linear warm-up, because AdamW's first averages are poor, times a cosine that falls to zero
    at max_iters: the lecture's learning rate decay, without the jump."""
    warmup = min(1.0, (step + 1) / (config.warmup_iters + 1))
    return config.learning_rate * warmup * (1 + math.cos(math.pi * step / config.max_iters)) / 2


def train_step(model, optimizer, learning_rate, X, Y):
    """One step of the optimizer; returns the loss before it, a tensor ()."""
    loss = F.cross_entropy(model.forward_by_table(X), Y)
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return loss.detach()


def train(model, train_rows, dev_rows, config, run):
    """Trains for max_iters steps, or until dev has not fallen for a third of them.

    run (dict) is all that a run knows of itself: step, seconds, the losses of every step, the
    evaluations, the best model. It is saved at each evaluation, which is what --resume continues.
    """
    optimizer = make_optimizer(model, config.weight_decay)
    if run["step"] > 0:
        restore(model, optimizer, run)
    started = time.perf_counter() - run["seconds"]
    stream = batches(train_rows, config.batch_size, config.seed)
    stream = itertools.islice(stream, run["step"], None)  # skips those of a resumed run
    for step in range(run["step"], config.max_iters + 1):
        due = step % config.eval_interval == 0 or step == config.max_iters
        if due and step not in run["evaluations"]:  # a resumed run has the first one already
            train_loss = evaluate(model, train_rows, EVAL_ROWS)
            dev_loss = evaluate(model, dev_rows, EVAL_ROWS)
            run.update(step=step, seconds=time.perf_counter() - started)
            run["evaluations"][step] = train_loss, dev_loss
            if step == 0 or dev_loss is None or dev_loss < run["best"]["dev_loss"]:
                run["best"] = {"model": copy.deepcopy(model.state_dict()), "step": step,
                               "train_loss": train_loss, "dev_loss": dev_loss}
            show_and_save(model, optimizer, config, run)
            stalled = step - run["best"]["step"] >= config.max_iters / 3
            if stalled and step < config.max_iters:
                print(f"stopping early: dev was lowest at step {run['best']['step']:,}")
                return
        if step < config.max_iters:
            X, Y = next(stream)
            loss = train_step(model, optimizer, learning_rate_at(step, config), X, Y)
            run["losses"].append(loss.item())


def find_lr(model, rows, config):
    """The lecture's learning-rate finder: trains a copy while the rate grows from 1e-5 to 1.

    Returns rates (n,), losses (n,), each the mean of the 50 steps around its rate, and the rate
    with the lowest loss. Too high to train with throughout, that is a good peak for one that falls.
    """
    model = copy.deepcopy(model)
    optimizer = make_optimizer(model, config.weight_decay)
    rates = torch.logspace(-5, 0, 1000)
    stream = batches(rows, config.batch_size, config.seed)
    losses = [train_step(model, optimizer, rate, *next(stream)) for rate in rates.tolist()]
    losses = torch.stack(losses).nan_to_num(nan=math.inf).unfold(0, 50, 1).mean(dim=1)
    rates = rates[25:25 + len(losses)]
    return rates, losses, rates[losses.argmin()].item()


# -----------------------------------------------------------------------------
# Evaluating and sampling

@torch.no_grad()
def evaluate(model, rows, limit=None):
    """The mean loss over the rows, or the first limit of them: the words are shuffled, so these are
    as good as any. None if there are none."""
    model.eval()
    total = 0.0
    for batch in rows[:limit].split(8192):  # all at once would take much memory
        logits = model.forward_by_table(batch[:, :-1].long())
        total += F.cross_entropy(logits, batch[:, -1].long(), reduction="sum").item()
    model.train()
    return total / len(rows[:limit]) if len(rows) else None


@torch.no_grad()
def sample(model, itos):
    """A new item (str), drawn token by token until the boundary comes."""
    model.eval()
    context = torch.zeros(1, model.block_size, dtype=torch.long)
    word = ""
    while len(word) < MAX_LEN:
        probs = F.softmax(model(context), dim=1)         # (1, vocab_size)
        token = torch.multinomial(probs, num_samples=1)  # (1, 1)
        if token == 0:
            break
        word += itos[token]
        context = torch.cat([context[:, 1:], token], dim=1)
    return word


def verdict(best, max_iters):
    """What the losses of the best model say. A network that is too small or trained too little
    underfits: it does as badly on items it has seen as on new ones. One that memorizes its items
    overfits: train falls below dev, which does no harm as long as dev still falls."""
    if best["dev_loss"] is None:
        return "there is no dev loss, so nothing can be said about new items"
    gap = best["dev_loss"] - best["train_loss"]
    if best["step"] < 0.9 * max_iters:
        return f"it overfits: dev was lowest at step {best['step']:,}, and that model is kept"
    if gap > 0.1:
        return f"dev is {gap:.3f} above train but still fell: it overfits, harmlessly"
    return f"dev is {gap:+.3f} from train: a larger network or more steps may lower both"


def new_model(itos, config):
    """A network with random weights."""
    torch.manual_seed(config.seed)
    return MLP(len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)


def main(argv):
    config, words, run = prepare(argv)
    itos = vocabulary(words)
    splits = split_words(words, config.train_frac)
    choose_settings(splits[0], itos, config)
    parts = [encode(split, itos, config.block_size) for split in splits]
    show_data(words, itos, parts, config)
    model = new_model(itos, config)
    if config.find_lr:
        return show_rates(*find_lr(model, parts[0], config))

    run.update(itos=itos, config=vars(config))
    show_settings(model, parts[0], config, run)
    try:
        train(model, *parts[:2], config, run)
    except KeyboardInterrupt:
        hint = f"; continue from step {run['step']:,} with --resume --out_dir={config.out_dir}"
        raise KeyboardInterrupt("stopped" + (hint if run["evaluations"] else "")) from None
    model.load_state_dict(run["best"]["model"])
    losses = [nats(evaluate(model, part, RESULT_ROWS)) for part in parts]
    print(f"train {losses[0]} | dev {losses[1]} | test {losses[2]} | "
          f"{sum(p.numel() for p in model.parameters()):,} parameters | {run['seconds']:.1f} s")
    print(verdict(run["best"], config.max_iters))
    samples = [sample(model, itos) for _ in range(config.num_samples)]
    show_samples(samples, words, splits[0])


# -----------------------------------------------------------------------------
# From here on nothing is about the model: printing, files, the command line, errors.

import argparse
import difflib
import io
import signal
import sys


def choose_settings(train_words, itos, config):
    """Sets what config leaves to recipe()."""
    n = sum(len(word) + 1 for word in train_words)
    for name, value in recipe(n, n / len(train_words), len(itos), config).items():
        if getattr(config, name) is None:
            setattr(config, name, value)


def show_settings(model, rows, config, run):
    """Prints the settings that recipe() may have chosen, and how long training will take."""
    print(", ".join(f"{name} {round(getattr(config, name), 4)}" for name in (
        "block_size", "n_hidden", "dropout", "batch_size", "max_iters", "weight_decay")))
    with torch.random.fork_rng(devices=[]):  # a few steps of a copy, which leave no trace
        trial = copy.deepcopy(model)
        optimizer, stream = make_optimizer(trial, 0.0), batches(rows, config.batch_size, 0)
        train_step(trial, optimizer, 0.0, *next(stream))
        started = time.perf_counter()
        for _ in range(5):
            train_step(trial, optimizer, 0.0, *next(stream))
    seconds = (time.perf_counter() - started) / 5 * (config.max_iters - run["step"])
    print(f"training will take about {seconds:.0f} s", flush=True)


def show_rates(rates, losses, suggestion):
    """Prints what find_lr() found."""
    for i in range(0, len(rates), 50):
        print(f"learning rate {rates[i]:.1e} | loss {losses[i]:.4f}")
    flat = rates[losses < losses.min() + 0.05]
    print(f"the loss is within 0.05 of its lowest from {flat.min():.1e} to {flat.max():.1e}")
    print(f"suggested: --learning_rate={suggestion:.1e}, the one with the lowest loss")


def prepare(argv):
    """The settings, the words, and the run (dict): a new one, or with --resume the saved one."""
    config = parse_args(argv)
    run = {"step": 0, "seconds": 0.0, "losses": [], "evaluations": {}}
    if config.resume:
        run = read_run(os.path.join(config.out_dir, "mlp.pt"))
        saved = run["config"]
        config = parse_args(argv, **{**saved, "out_dir": config.out_dir})
        free = "input_file", "out_dir", "resume", "max_iters", "eval_interval", "num_samples"
        for name in saved.keys() - set(free):
            if getattr(config, name) != saved[name]:
                raise ValueError(f"--resume keeps the settings of the run: {name} is "
                                 f"{saved[name]}; leave out --{name}, or use another --out_dir")
    if run["step"] > (config.max_iters or run["step"]):
        raise ValueError(f"the run is at step {run['step']:,} already; raise --max_iters")
    words = read_words(config.input_file, config.keep_duplicates)
    checksum = zlib.crc32("\n".join(words).encode())
    if run.setdefault("checksum", checksum) != checksum:
        raise ValueError(f"cannot resume: {config.input_file} has changed since the run began")
    return config, words, run


def restore(model, optimizer, run):
    """Gives the model, the optimizer and dropout's random numbers the state of a saved run."""
    print(f"resuming at step {run['step']:,}")
    model.load_state_dict(run["model"])
    optimizer.load_state_dict(run["optimizer"])
    torch.set_rng_state(run["random_state"])


def show_and_save(model, optimizer, config, run):
    """Prints the last evaluation of a run, and saves the run with all that restore() needs."""
    step, seconds = run["step"], run["seconds"]
    train_loss, dev_loss = run["evaluations"][step]
    each = seconds / max(1, step)
    print(f"step {step:6,} | lr {learning_rate_at(step, config):.1e} | train {nats(train_loss)} | "
          f"dev {nats(dev_loss)} | {1000 * each:.2f} ms a step | "
          f"{each * (config.max_iters - step):.0f} s left", flush=True)
    if not math.isfinite(train_loss):
        raise ValueError(f"the loss is not finite at step {step:,}; lower --learning_rate")
    run.update(model=model.state_dict(), optimizer=optimizer.state_dict(),
               random_state=torch.get_rng_state())
    buffer = io.BytesIO()
    torch.save(run, buffer)
    write_file(os.path.join(config.out_dir, "mlp.pt"), buffer.getvalue())


def read_run(path):
    """The run (dict) that train() saved there. Raises OSError, or ValueError if it is none."""
    if not os.path.exists(path):
        raise ValueError(f"there is no {path}; train a network with mlp.py first")
    with open(path, "rb") as f:
        data = io.BytesIO(f.read())
    try:
        # weights_only: a file may hold tensors and plain values, and no code that would be run
        run = torch.load(data, weights_only=True)
        best_model(run)
        return run
    except Exception as e:  # what torch raises for a file of another kind depends on the file
        raise ValueError(f"{path} is not a checkpoint of mlp.py") from e


def best_model(run):
    """The model with the lowest dev loss, ready to sample from."""
    sizes = [run["config"][name] for name in ("block_size", "n_embd", "n_hidden")]
    model = MLP(len(run["itos"]), *sizes)
    model.load_state_dict(run["best"]["model"])
    return model.eval()


def load(path):
    """For other programs: model, itos = mlp.load("out/mlp.pt"); print(mlp.sample(model, itos))"""
    run = read_run(path)
    return best_model(run), run["itos"]


def nats(loss):
    """A loss as it is printed: a dash where there was nothing to evaluate."""
    return "-" if loss is None else f"{loss:.4f}"


def show_data(words, itos, parts, config):
    """Prints how much data there is, and what it looks like."""
    lengths = [len(word) for word in words]
    print(f"{config.input_file}: {len(words):,} lines, {len(itos)} tokens; predictions: "
          "train {:,} | dev {:,} | test {:,}".format(*map(len, parts)))
    print(f"it begins with {', '.join(words[:3])}; {min(lengths)} to {max(lengths)} characters")


def show_samples(samples, words, train_words):
    """Prints what a model made up, the share that copies training lines, and marks the data's."""
    known, seen = (set(samples).intersection(lines) for lines in (train_words, words))
    if samples:
        share = sum(word in known for word in samples) / len(samples)
        print(f"{len(samples):,} samples, {share:.1%} of them training lines:")
    for word in samples:
        print(word + ("  (in the data)" if word in seen else ""))


def write_file(path, data):
    """Writes bytes to path whole or not at all: to a temporary name first, then renamed."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path + ".tmp", "wb") as f:
            f.write(data)
        os.replace(path + ".tmp", path)
    except OSError as e:
        raise OSError(e.errno, e.strerror, path) from e  # a full-disk error names no file


def parse_args(argv, **defaults):
    """SETTINGS, overridden by defaults and these by argv (list of str), as a namespace."""
    parser = argparse.ArgumentParser(prog=os.path.basename(__file__), usage=argparse.SUPPRESS,
                                     allow_abbrev=False, description=__doc__.split("\n")[1])
    for name, default, _, meaning in SETTINGS:
        kind = default if isinstance(default, type) else type(default)
        value, shown = (None, "from the data") if default is kind else (default, default)
        more = {"type": kind, "metavar": kind.__name__, "default": value}
        if kind is bool:  # --name alone is --name=True
            more = {"type": lambda text: {"True": True, "False": False}.get(text, text),
                    "choices": (True, False), "nargs": "?", "const": True, "default": value}
        parser.add_argument(f"--{name}", help=f"{meaning} (default: {shown})", **more)
    parser.set_defaults(**defaults)
    config, unknown = parser.parse_known_args(argv)
    if unknown:
        wanted = unknown[0].lstrip("-").split("=")[0].replace("-", "_")
        short = {"".join(part[0] for part in name.split("_")): name for name in vars(config)}
        close = difflib.get_close_matches(wanted, vars(config), 1) or [short.get(wanted)]
        hint = f"did you mean --{close[0]}? " if close[0] else ""
        parser.error(f"there is no setting {unknown[0]}; {hint}--help lists all")
    for name, _, limits, _ in SETTINGS:
        value = getattr(config, name)
        if limits and value is not None and not limits[0] <= value <= limits[1]:  # nan never is
            parser.error(f"argument --{name}: {value} is not between {limits[0]} and {limits[1]}")
    return config


def start(main, argv=None):
    """main(argv), whose errors end the program with one sentence on stderr."""
    if argv is None:  # that of this process
        argv = sys.argv[1:]
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # head may stop reading: end quietly
        if sys.stdout:  # UTF-8 like the input; a file name that is not text is printed unchanged
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        try:
            return main(argv)
        finally:  # --help and errors too leave output that is not written yet
            sys.stdout and sys.stdout.flush()
    except UnicodeDecodeError as e:
        said = (f"the input file is not UTF-8 in line {e.object.count(10, 0, e.start) + 1:,}; "
                "convert it first, for instance with iconv -f latin1 -t utf-8 OLD > NEW")
    except OSError as e:
        said = f"{e.filename or 'cannot write the output'}: {e.strerror}"
        if e.filename is None:  # else Python tries to write the rest at exit, and fails again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (RuntimeError, MemoryError) as e:
        if "memory" not in f"{type(e)} {e}".lower():
            raise
        said = "out of memory; use a smaller model or fewer lines"
    except (ValueError, KeyboardInterrupt) as e:
        said = str(e) or "stopped"
    sys.exit(f"{os.path.basename(main.__code__.co_filename)}: {said}")

if __name__ == "__main__":
    start(main)
