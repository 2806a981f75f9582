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

import array
import copy
import itertools
import math
import os
import random
import re
import time
import unicodedata
import zlib

# before torch starts its threads: idle ones spin less, which is faster on a busy machine
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
import torch.nn as nn
import torch.nn.functional as F

# Settings. Each can be set on the command line, as --name=value or --name value. Where the default
# is a type, recipe(), below the rule, chooses a value to suit the data and the other settings.
SETTINGS = [
    # name              default      range         meaning
    ("input_file",      "names.txt", None,         "text to learn from, one item per line"),
    ("out_dir",         "out",       None,         "folder of the checkpoint, mlp.pt"),
    ("train_frac",      0.8,         (0.01, 1),    "share to train on; the rest: dev and test"),
    ("keep_duplicates", False,       None,         "keep every copy of a repeated line"),
    ("block_size",      int,         (1, 256),     "context length, in characters"),
    ("n_embd",          64,          (1, 1024),    "size of a character's embedding"),
    ("n_hidden",        int,         (1, 65536),   "neurons in the hidden layer"),
    ("dropout",         float,       (0, 0.9),     "share of the embeddings zeroed in training"),
    ("batch_size",      int,         (1, 10**6),   "predictions per training step"),
    ("max_iters",       int,         (1, 10**9),   "training steps"),
    ("learning_rate",   float,       (0, 1000),    "AdamW's learning rate at its peak"),
    ("warmup_iters",    int,         (0, 10**9),   "steps over which the rate rises to its peak"),
    ("weight_decay",    float,       (0, 1000),    "AdamW's decay of W1 and W2"),
    ("eval_interval",   int,         (1, 10**9),   "steps between evaluations"),
    ("num_samples",     20,          (0, 10**6),   "items to sample at the end"),
    ("seed",            1337,        (0, 2**63-1), "random seed of all but the split"),
    ("resume",          False,       None,         "continue the run in out_dir"),
]
EVAL_ROWS = 50_000     # at most this many predictions are evaluated during training
RESULT_ROWS = 500_000  # and at the end: all of a large file would take minutes
MAX_LEN = 1024         # a sample is cut off here, so that sampling always ends

# -----------------------------------------------------------------------------
# Data

def read_words(input_file, keep_duplicates=False):
    """The non-empty lines of a file, stripped (list of str): UTF-8, or UTF-16 or 32 with a mark.
    Repeats are dropped, unless keep_duplicates: a name of both girls and boys is in names.txt
    twice, and a random split would put many such names in both train and dev. An "A" and an accent
    of its own become one "Á" (Unicode's NFC). Raises ValueError if no line has text."""
    with open(input_file, "rb") as f:
        data = f.read()
    encoding = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}.get(data[:2], "utf-8-sig")
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        encoding = "utf-32"
    text = data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    clean = re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f]", "", unicodedata.normalize("NFC", text))
    if clean != text:
        n = sum(a != b for a, b in zip(text.split("\n"), clean.split("\n")))
        print(f"{input_file}: in {n:,} lines, accents were joined or control characters dropped")
    words = [line.strip() for line in clean.split("\n") if line.strip()]
    if not words:
        raise ValueError(f"{input_file} has no line with text; it should hold one item per line")
    return words if keep_duplicates else list(dict.fromkeys(words))  # a dict keeps the order


def split_words(words, train_frac):
    """The words, shuffled, as train, dev and test, by default 80 : 10 : 10. The seed is fixed (the
    lectures' 42): every model is judged on the same words. Raises ValueError if a part is empty."""
    words = words[:]
    random.Random(42).shuffle(words)
    n1, n2 = int(train_frac * len(words)), int((1 + train_frac) / 2 * len(words))  # halves the rest
    train, dev, test = words[:n1], words[n1:n2], words[n2:]
    if not train or (train_frac < 1 and not (dev and test)):
        raise ValueError(f"too few lines, {len(words)}, to split with train_frac {train_frac}; add "
                         "lines, or train on all of them with --train_frac=1")
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
    kind, dtype = ("B", torch.uint8) if len(itos) <= 256 else ("i", torch.int32)
    tokens = torch.frombuffer(array.array(kind, map(stoi.get, text)), dtype=dtype)
    rows = tokens.unfold(0, block_size + 1, 1)  # every window of block_size + 1
    return rows[(rows[:, -2:] != 0).any(dim=1)]  # two boundaries at the end are padding


# -----------------------------------------------------------------------------
# Model

class MLP(nn.Module):
    """The network of Bengio et al. (2003), without the optional direct connections, with dropout
    (Srivastava et al. 2014) on the embeddings: in training, a random share of the numbers is set to
    zero, so that the network relies on none of them, and the rest are scaled up to compensate."""

    def __init__(self, vocab_size, block_size, n_embd, n_hidden, dropout=0.0):
        super().__init__()
        self.block_size, self.dropout = block_size, dropout
        fan_in = block_size * n_embd
        self.C = nn.Parameter(torch.randn(vocab_size, n_embd))
        # a sum of fan_in products has a standard deviation of fan_in**0.5, and would saturate tanh;
        # 5/3 makes up for tanh's squashing (see torch.nn.init.calculate_gain)
        self.W1 = nn.Parameter(torch.randn(fan_in, n_hidden) * (5 / 3) / fan_in**0.5)
        self.b1 = nn.Parameter(torch.zeros(n_hidden))
        # small: the first predictions are nearly uniform, the first loss is near log(vocab_size)
        self.W2 = nn.Parameter(torch.randn(n_hidden, vocab_size) * 0.01)
        self.b2 = nn.Parameter(torch.zeros(vocab_size))

    def hidden(self, X):
        """Contexts X (B, block_size), int64 -> the hidden layer (B, n_hidden)."""
        emb = F.dropout(self.C[X], self.dropout, self.training)  # (B, block_size, n_embd)
        return torch.tanh(emb.flatten(1) @ self.W1 + self.b1)

    def hidden_by_table(self, X):
        """The same for a large batch: a training step takes a third of the time (make bench).

        The token at position i meets only the i-th n_embd rows of W1, so it adds one of
        block_size * vocab_size vectors (6 * 27) to the hidden layer, and a batch looks up
        B * block_size of them (512 * 6): compute each once, look up, add. The one difference: in a
        batch, the same token at the same position gets the same dropout mask."""
        block_size, (vocab_size, n_embd) = self.block_size, self.C.shape
        emb = self.C.expand(block_size, -1, -1)                # (block_size, vocab_size, n_embd)
        emb = F.dropout(emb, self.dropout, self.training)
        W1 = self.W1.view(block_size, n_embd, -1)              # (block_size, n_embd, n_hidden)
        table = (emb @ W1).flatten(0, 1)                       # (block_size*vocab_size, n_hidden)
        ix = X + vocab_size * torch.arange(block_size)         # (B, block_size)
        return torch.tanh(F.embedding_bag(ix, table, mode="sum") + self.b1)  # table[ix].sum(1)

    def forward(self, X):
        """Contexts X (B, block_size), int64 -> logits (B, vocab_size)."""
        by_table = len(self.C) < len(X)  # the table has fewer rows than the batch looks up
        h = self.hidden_by_table(X) if by_table else self.hidden(X)  # (B, n_hidden)
        return h @ self.W2 + self.b2                                 # (B, vocab_size)


# -----------------------------------------------------------------------------
# Training

def batches(rows, batch_size, seed):
    """Yields X (batch_size, block_size) and Y (batch_size,), int64, without end.

    A batch only approximates the gradient, but many rough steps get further than a few exact ones.
    An epoch visits each row once: better on dev than the lecture's draws with replacement. Leftover
    rows, too few for a batch, are skipped in this epoch."""
    for epoch in itertools.count():
        generator = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(len(rows), generator=generator, dtype=torch.int32)
        for ix in order.split(batch_size)[:max(1, len(rows) // batch_size)]:
            batch = rows[ix].long()  # (batch_size, block_size + 1)
            yield batch[:, :-1], batch[:, -1]


def make_optimizer(model, weight_decay):
    """AdamW (Loshchilov and Hutter 2019) averages each weight's gradient over recent steps, divides
    by its usual size, so that all weights move at a similar pace, and shrinks W1 and W2 a little.
    Not C: the row of a rare character would shrink at every step and learn at few."""
    return torch.optim.AdamW([
        {"params": [model.W1, model.W2], "weight_decay": weight_decay},
        {"params": [model.C, model.b1, model.b2], "weight_decay": 0.0},
    ], betas=(0.9, 0.95), fused=True)  # on dev, a beta2 of 0.95 beats 0.99 and 0.999; fused: faster


def learning_rate_at(step, config):
    """A linear warm-up, because AdamW's first averages are poor, times a cosine that falls to zero
    at max_iters: the lecture's learning rate decay, without the jump."""
    warmup = min(1.0, (step + 1) / (config.warmup_iters + 1))
    return config.learning_rate * warmup * (1 + math.cos(math.pi * step / config.max_iters)) / 2


def train_step(model, optimizer, learning_rate, X, Y):
    """One step of the optimizer; returns the loss before it, a scalar tensor."""
    # the lecture's softmax, log and mean in one: fewer passes, a simpler backward, no overflow
    loss = F.cross_entropy(model(X), Y)
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return loss.detach()


def train(model, train_rows, dev_rows, config, run):
    """Trains for max_iters steps, or until dev has not improved for a third of them.

    run (dict) is the state of the run: step, seconds, the losses of all steps, the dev losses, the
    best model, and what --resume needs. Each evaluation saves it."""
    optimizer = make_optimizer(model, config.weight_decay)
    if run["step"] > 0:  # a resumed run: weights, optimizer and dropout's random numbers go on
        model.load_state_dict(run["model"])
        optimizer.load_state_dict(run["optimizer"])
        torch.set_rng_state(run["random_state"])
    started = time.perf_counter() - run["seconds"]
    stream = batches(train_rows, config.batch_size, config.seed)
    stream = itertools.islice(stream, run["step"], None)  # skips those already used
    for step in range(run["step"], config.max_iters + 1):  # the last round only evaluates
        due = step % config.eval_interval == 0 or step == config.max_iters
        if due and step not in run["dev_losses"]:  # a resumed run has the first one already
            dev_loss = evaluate(model, dev_rows, EVAL_ROWS)
            run.update(step=step, seconds=time.perf_counter() - started)
            run["dev_losses"][step] = dev_loss
            # untrained, it may be lowest on a few lines by accident; nan, without dev, counts
            if step == 0 or not run["best"]["step"] or not dev_loss >= run["best"]["dev_loss"]:
                run["best"] = {"model": copy.deepcopy(model.state_dict()), "step": step,
                               "dev_loss": dev_loss}
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

    Returns rates (n,) and losses (n,), each the mean of the 50 steps around its rate. The rate with
    the lowest loss is too high for a constant rate, but a good peak for a falling one."""
    model = copy.deepcopy(model)
    optimizer = make_optimizer(model, config.weight_decay)
    rates = torch.logspace(-5, 0, 1000)
    stream = batches(rows, config.batch_size, config.seed)
    losses = [train_step(model, optimizer, rate, *next(stream)) for rate in rates.tolist()]
    losses = torch.stack(losses).nan_to_num(nan=math.inf).unfold(0, 50, 1).mean(dim=1)
    return rates[25:25 + len(losses)], losses


# -----------------------------------------------------------------------------
# Evaluating and sampling

@torch.no_grad()
def evaluate(model, rows, limit=None):
    """The mean loss over rows[:limit]; nan if there are none. The words are shuffled, so the first
    rows are as good as any."""
    model.eval()
    rows = rows[:limit]
    total = 0.0
    for batch in rows.split(8192):  # all at once would take a lot of memory
        logits = model(batch[:, :-1].long())
        total += F.cross_entropy(logits, batch[:, -1].long(), reduction="sum").item()
    model.train()
    return total / len(rows) if len(rows) else math.nan


@torch.no_grad()
def sample(model, itos):
    """A new item (str), drawn token by token until a boundary."""
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


def main(argv):
    config, words, run = prepare(argv)
    itos = vocabulary(words)
    splits = split_words(words, config.train_frac)
    chosen = choose_settings(splits[0], itos, config)
    parts = [encode(split, itos, config.block_size) for split in splits]
    show_data(words, itos, parts, config)
    print("chosen:", ", ".join(f"{name} {value:.4g}" for name, value in chosen.items()), flush=True)
    torch.manual_seed(config.seed)
    model = MLP(len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)
    run.update(itos=itos, config=vars(config))
    status = 0
    try:
        train(model, *parts[:2], config, run)
    except KeyboardInterrupt:  # Ctrl-C: the best model so far is shown
        if not run["dev_losses"]:
            raise
        print(f"stopped; to go on from step {run['step']:,}: python mlp.py --resume "
              f"--out_dir={config.out_dir}", flush=True)
        status = 130  # as of any program that Ctrl-C ends, so that make does not go on
    model.load_state_dict(run["best"]["model"])
    losses = [evaluate(model, part, RESULT_ROWS) for part in parts]
    print("train {:.4f} | dev {:.4f} | test {:.4f}".format(*losses),
          f"| {sum(p.numel() for p in model.parameters()):,} parameters | {run['seconds']:.1f} s")
    samples = [sample(model, itos) for _ in range(config.num_samples)]
    show_samples(samples, words, splits[0])
    return status


# -----------------------------------------------------------------------------
# From here on nothing is about the model: printing, files, the command line, errors.

import argparse
import io
import signal
import sys


def recipe(n, length, vocab_size, config):
    """The settings (dict) that suit data with n predictions in train, length per line on average,
    and vocab_size tokens. Settings already in config are kept.

    Tuned on the dev losses of fourteen lists of 250 to 350,000 lines. Small data needs fewer steps
    and more dropout; large data larger batches and, with few tokens, a larger network; long lines a
    longer context. A smaller network memorizes less, and where a character has few numbers, each
    matters more: so less dropout and decay. Fewer neurons share each correction: so a higher rate.
    `shrink` is what a step takes off the weights at its peak: 0.27 per epoch if n_embd is 64."""
    growth = min(2, max(1, n / 200_000)**0.25)
    max_iters = config.max_iters or int(max(200, min(8000, 2 * n**0.75)))
    batch_size = config.batch_size or int(512 * growth**2)
    n_hidden = config.n_hidden or (int(600 * growth) if vocab_size < 128 else 600)
    wide, embd = n_hidden / 600, config.n_embd / 64  # relative to the network that was tuned
    rate = config.learning_rate
    if rate is None:
        rate = 4e-3 * (batch_size / 512)**0.25 / wide**0.5 / embd**0.125
    shrink = min(0.27 * embd**0.5 * batch_size / n, 12 / max_iters, 0.1)
    return {"block_size": min(10, max(6, round(length / 2))), "n_hidden": n_hidden,
            "dropout": min(0.6, 0.235 * math.log(1 + 230_000 * wide * embd**1.25 / n)),
            "batch_size": batch_size, "max_iters": max_iters, "warmup_iters": max_iters // 40,
            "learning_rate": rate,
            "weight_decay": shrink / max(1e-4, rate),  # AdamW multiplies the two
            "eval_interval": max(1, max_iters // 16)}


def choose_settings(train_words, itos, config):
    """Sets what config leaves to recipe(); returns it (dict)."""
    n = sum(len(word) + 1 for word in train_words)
    chosen = recipe(n, n / len(train_words), len(itos), config)
    chosen = {name: value for name, value in chosen.items() if getattr(config, name) is None}
    vars(config).update(chosen)
    return chosen


def prepare(argv):
    """The settings, the words, and the run (dict): a new one, or with --resume the saved one."""
    config = parse_args(argv)
    run = {"step": 0, "seconds": 0.0, "losses": [], "dev_losses": {}}
    if config.resume:
        run = read_run(os.path.join(config.out_dir, "mlp.pt"))
        for name in "orders", "weight":  # what mix.py has added belongs to the old network
            run.pop(name, None)
        saved = run["config"]
        config = parse_args(argv, **{**saved, "out_dir": config.out_dir})
        for name in saved.keys() - {"input_file", "out_dir", "resume", "max_iters", "eval_interval",
                                    "num_samples"}:
            if getattr(config, name) != saved[name]:
                raise ValueError(f"--resume keeps the settings of the run: {name} is "
                                 f"{saved[name]}; leave out --{name}, or use another --out_dir")
        if run["step"] > config.max_iters:
            raise ValueError(f"the run is at step {run['step']:,} already; raise --max_iters")
    words = read_words(config.input_file, config.keep_duplicates)
    checksum = zlib.crc32("\n".join(words).encode())
    if config.resume and run["checksum"] != checksum:
        raise ValueError(f"cannot resume: {config.input_file} differs from the run's data")
    run["checksum"] = checksum
    return config, words, run


def show_and_save(model, optimizer, config, run):
    """Prints the last evaluation of a run, and saves it with all that train() needs to go on."""
    step, seconds, recent = run["step"], run["seconds"], run["losses"][-config.eval_interval:]
    print(f"step {step:6,} | dev {run['dev_losses'][step]:.4f}", end="")
    if step > 0:  # with dropout, the loss of the batches is often above dev
        print(f" | batches {sum(recent) / len(recent):.4f} | lr "
              f"{learning_rate_at(step, config):.1e} | {1000 * seconds / step:.2f} ms a step | "
              f"{(config.max_iters - step) * seconds / step:.0f} s left", end="")
    print(flush=True)
    if not math.isfinite(sum(recent)):
        raise ValueError(f"the loss is not finite at step {step:,}; lower --learning_rate")
    run.update(model=model.state_dict(), optimizer=optimizer.state_dict(),
               random_state=torch.get_rng_state())
    save_run(run, os.path.join(config.out_dir, "mlp.pt"))


def save_run(run, path):
    """Writes a run, with the n-grams that mix.py adds, to a checkpoint."""
    buffer = io.BytesIO()
    torch.save(run, buffer)
    write_file(path, buffer.getvalue())


def read_run(path):
    """The run (dict) that train() saved at path. Raises OSError; ValueError if it is no run."""
    if not os.path.exists(path):
        raise ValueError(f"there is no {path}; train a network with mlp.py first")
    with open(path, "rb") as f:
        data = io.BytesIO(f.read())
    try:
        # weights_only: loads tensors and plain values, and refuses code that would be run
        run = torch.load(data, weights_only=True)
        best_model(run)  # fails if a key or a shape is wrong
        return run
    except Exception as e:  # a bad file can make torch raise almost anything
        raise ValueError(f"{path} is not a checkpoint of mlp.py") from e


def best_model(run):
    """The model with the lowest dev loss, ready to sample from."""
    sizes = [run["config"][name] for name in ("block_size", "n_embd", "n_hidden")]
    model = MLP(len(run["itos"]), *sizes)
    model.load_state_dict(run["best"]["model"])
    return model.eval()


def show_data(words, itos, parts, config):
    """Prints how much data there is, and what it looks like."""
    lengths = [len(word) for word in words]
    train, dev, test = map(len, parts)
    print(f"{config.input_file}: {len(words):,} lines, {len(itos)} tokens; predictions: "
          f"train {train:,} | dev {dev:,} | test {test:,}")
    print(f"first lines: {', '.join(words[:3])}; length {min(lengths)} to {max(lengths)}")
    for mark, name in ("\t", "tabs"), (",", "commas"), (";", "semicolons"):
        if len(words) > 2 and len({word.count(mark) for word in words}) == 1 and mark in words[0]:
            print(f"all lines have as many {name}: is this a table? To take its first column: "
                  f"cut -d '{mark}' -f 1 {config.input_file} > column.txt")


def show_samples(samples, words, train_words):
    """Prints samples and how many are training lines; marks those in the data, of any split."""
    known, seen = set(train_words), set(words)
    if samples:
        share = sum(word in known for word in samples) / len(samples)
        print(f"{len(samples):,} samples, {share:.1%} of them training lines:")
    for word in samples:
        print(word + ("  (in the data)" if word in seen else ""))


def write_file(path, data):
    """Writes bytes to path whole or not at all: to a temporary file, which is then renamed."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path + ".tmp", "wb") as f:
            f.write(data)
        os.replace(path + ".tmp", path)
    except OSError as e:
        raise OSError(e.errno, e.strerror, path) from e  # a full-disk error names no file


def parse_args(argv, settings=SETTINGS, **defaults):
    """The settings, overridden by defaults, then by argv (list of str), as a namespace."""
    parser = argparse.ArgumentParser(prog=os.path.basename(sys.argv[0]), usage=argparse.SUPPRESS,
                                     allow_abbrev=False)
    for name, default, _, meaning in settings:
        kind, shown = type(default), default
        if isinstance(default, type):
            kind, default, shown = default, None, "from the data"
        more = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": "VALUE"}
        parser.add_argument(f"--{name}", default=default, help=f"{meaning} ({shown})", **more)
    parser.set_defaults(**defaults)
    config = parser.parse_args(argv)
    for name, _, limits, _ in settings:
        value = getattr(config, name)
        if limits and value is not None and not limits[0] <= value <= limits[1]:  # nan fails, too
            parser.error(f"argument --{name}: {value} is not between {limits[0]} and {limits[1]}")
    return config


def start(main):
    """Runs main on the command line; what goes wrong ends the program with a sentence on stderr."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # if head stops reading: end quietly
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # whatever the system's is
    try:
        sys.exit(main(sys.argv[1:]))
    except UnicodeDecodeError as e:
        line = len(re.split(b"\r\n|\r|\n", e.object[:e.start]))
        said = f"the input file is not {e.encoding.upper()} at line {line:,}; iconv can convert it"
    except OSError as e:
        said = f"{e.filename or 'cannot write the output'}: {e.strerror}"
    except (ValueError, KeyboardInterrupt) as e:
        said = e or "stopped"
    except (MemoryError, RuntimeError) as e:  # torch's is a RuntimeError
        if "memory" not in f"{type(e)} {e}".lower():
            raise
        said = "out of memory; use a smaller model or fewer lines"
    sys.exit(f"{os.path.basename(sys.argv[0])}: {said}")


if __name__ == "__main__":
    start(main)
