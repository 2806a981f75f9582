"""
Character-level language models by counting: what follows what, in a file with one item per line.

This is the first makemore lecture. A table of counts, each row divided by its sum, is a language
model. A network with one linear layer, trained by gradient descent, learns the same table.

    python bigram.py                            # dev loss 2.463, by counting and by the network
    python bigram.py --block_size=2             # a trigram: 2.254 by counting, 2.249 by the network
    python bigram.py --block_size=2 --tune      # its smoothing tuned on dev: 2.241
    python bigram.py --help                     # every setting and its default

A loss is the mean negative log-likelihood per token (a character or line end), in nats. The
lecture's exercises: E01 is --block_size=2; E02, dev and test, split_words and evaluate; E03, tune;
E04 and E05 are in train_network. How far counting can go, with more context, is in kneser_ney.py.
"""

import array
import math
import os
import random
import re
import time
import unicodedata

import torch
import torch.nn.functional as F

# Settings. Each can be set on the command line, as --name=value or --name value.
SETTINGS = [
    # name              default      range         meaning
    ("input_file",      "names.txt", None,         "text to learn from, one item per line"),
    ("train_frac",      0.8,         (0.01, 1),    "share to train on; the rest: dev and test"),
    ("keep_duplicates", False,       None,         "keep every copy of a repeated line"),
    ("block_size",      1,           (1, 256),     "context length, in characters"),
    ("smoothing",       1.0,         (0, 10**6),   "fake count added to every count"),
    ("max_iters",       2000,        (1, 10**9),   "training steps of the network"),
    ("learning_rate",   50.0,        (0, 1000),    "learning rate of the network (the lecture's)"),
    ("weight_decay",    1e-6,        (0, 1000),    "weight decay of the network"),
    ("eval_interval",   500,         (1, 10**9),   "steps between printed losses"),
    ("tune",            False,       None,         "choose the smoothing on dev"),
    ("num_samples",     10,          (0, 10**6),   "items to sample from each model"),
    ("seed",            1337,        (0, 2**63-1), "random seed of the samples"),
]
SMOOTHINGS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]  # what --tune tries
MAX_TABLE = 5 * 10**7  # most entries of a count table: 1 GB, with probabilities and network
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
# Counting

def count(rows, vocab_size):
    """How often each n-gram occurs: N, with n = block_size + 1 dimensions of size vocab_size. For
    pairs this is the lecture's loop, a hundred times faster:
        for ix1, ix2 in rows.tolist(): N[ix1, ix2] += 1
    Raises ValueError if N would have over MAX_TABLE entries."""
    n = rows.shape[1]
    if vocab_size ** n > MAX_TABLE:
        raise ValueError(f"a table for block_size {n - 1} has {vocab_size}^{n} entries, more than "
                         f"{MAX_TABLE:,}; use a smaller --block_size, or kneser_ney.py")
    N = torch.zeros([vocab_size] * n, dtype=torch.long)
    # not N[...] += 1, which would count repeated rows once; rows.T has a row for each index
    return N.index_put_(tuple(rows.T.long()), torch.tensor(1), accumulate=True)


def normalise(N, smoothing):
    """Counts N -> P of the same shape, each row a probability distribution. Add-k smoothing adds
    k = smoothing to every count: it pulls each row towards uniform and leaves no pair impossible.
    With smoothing 0, a single unseen pair in dev makes the loss infinite."""
    P = N.float() + smoothing
    # keepdim=True keeps the sums a column, so that each row is divided by its own sum. Without it,
    # a square table would silently have its columns divided by the sums of its rows.
    P /= P.sum(-1, keepdim=True)
    return P.nan_to_num_()  # 0 / 0 with smoothing 0: a context never seen predicts nothing

# -----------------------------------------------------------------------------
# Evaluating, sampling, tuning

def evaluate(P, rows):
    """The mean loss over the rows: inf if a probability is 0, nan if there are no rows. The product
    of all probabilities, the likelihood, is too small for a float: so sum their logs; negate, so
    that lower is better; and average, to compare data of any size."""
    p = P[tuple(rows.T.long())]  # (predictions,): the lecture's P[ix1, ix2], for all rows at once
    return -p.log().mean().item()


def show_losses(P, word, itos):
    """Prints the first eight n-grams of a word, their probabilities and logs, and the word's loss,
    as the lecture does for "emma"."""
    rows = encode([word], itos, P.dim() - 1)
    for ngram, p in zip(rows[:8], P[tuple(rows.T.long())]):
        print(f"{show(ngram, itos)}: {p.item():.4f} {p.log().item():.4f}")
    print(f"loss of {word}: {evaluate(P, rows):.4f}")


def sample(P, itos, block_size, generator):
    """A new item (str), drawn token by token until a boundary."""
    context = [0] * block_size
    word = ""
    while len(word) < MAX_LEN:
        p = P[tuple(context)]  # (vocab_size,): a row of the table, the lecture's P[ix]
        token = torch.multinomial(p, num_samples=1, generator=generator).item()
        if token == 0:
            break
        word += itos[token]
        context = context[1:] + [token]
    return word


def tune(train, dev, vocab_size, config):
    """Sets config.smoothing to the value with the lowest dev loss. Returns all it tried, a list of
    (smoothing, train loss, dev loss)."""
    if not len(dev):
        raise ValueError("there is no dev data to tune the smoothing on; lower --train_frac")
    N = count(train, vocab_size)
    tried = []
    for smoothing in SMOOTHINGS:
        P = normalise(N, smoothing)
        tried.append((smoothing, evaluate(P, train), evaluate(P, dev)))
        print("smoothing {:5} | train {:.4f} | dev {:.4f}".format(*tried[-1]), flush=True)
    config.smoothing = min(tried, key=lambda row: row[2])[0]
    print(f"best on dev: --smoothing={config.smoothing}")
    return tried

# -----------------------------------------------------------------------------
# The network: the same table by gradient descent

def train_network(N, config):
    """Trains a linear layer W and a softmax on the counts N; returns P, the table it has learned.

    The lecture goes through all pairs X, Y, and multiplies W by a one-hot vector for each X:
        xenc = F.one_hot(X, vocab_size).float()    # (B, vocab_size): 1 at the token, else 0
        logits = xenc @ W                          # (B, vocab_size), equal to W[X] (E04)
        counts = logits.exp()                      # logits are log-counts
        probs = counts / counts.sum(1, keepdim=True)
        loss = -probs[torch.arange(len(Y)), Y].log().mean()
    cross_entropy does the last three lines in one call that cannot overflow (E05). And all pairs
    with the same context read the same row of W, so here each context appears once, its counts as
    weights: equal terms of the loss are grouped. Loss and gradient are the same."""
    seen = N.sum(-1).nonzero(as_tuple=True)  # the contexts seen, as an index of N and W
    counts = N[seen].float()                 # (contexts seen, vocab_size)
    W = torch.zeros(N.shape, requires_grad=True)  # uniform predictions: first loss log(vocab_size)
    for step in range(config.max_iters + 1):
        loss = F.cross_entropy(W[seen], counts, reduction="sum") / counts.sum()  # counts: weights
        if step % config.eval_interval == 0 or step == config.max_iters:
            print(f"step {step:6,} | train {loss.item():.4f}", flush=True)
        if not loss.isfinite():
            raise ValueError(f"the loss is not finite at step {step:,}; lower --learning_rate")
        if step < config.max_iters:
            W.grad = None
            loss.backward()
            # Weight decay pulls W to 0, each row to uniform: it does what smoothing does to counts.
            # The lecture's penalty, 0.01 * (W**2).mean(), is a decay of 0.02 / W.numel().
            W.data -= config.learning_rate * (W.grad + config.weight_decay * W.data)
    return F.softmax(W.detach(), dim=-1)


def main(argv):
    config = parse_args(argv)
    words = read_words(config.input_file, config.keep_duplicates)
    itos = vocabulary(words)
    splits = split_words(words, config.train_frac)
    parts = [encode(split, itos, config.block_size) for split in splits]
    train, dev, _ = parts
    show_data(words, itos, parts, config)
    print(f"untrained: {math.log(len(itos)):.4f} = log({len(itos)}), all tokens equally likely")
    uniform = torch.full((len(itos), len(itos)), 1 / len(itos))  # whatever the last token
    show_samples(samples(uniform, itos, 1, config), words, splits[0])

    if config.tune:
        tune(train, dev, len(itos), config)
    N = count(train, len(itos))
    show_ngrams(N, config.smoothing, itos)
    for name in ["counts"] if config.tune else ["counts", "network"]:
        started = time.perf_counter()
        P = train_network(N, config) if name == "network" else normalise(N, config.smoothing)
        print(f"{P.numel():,} parameters | {time.perf_counter() - started:.2f} s")
        losses = [evaluate(P, part) for part in parts]
        print("{}: train {:.4f} | dev {:.4f} | test {:.4f}".format(name, *losses))
        show_losses(P, words[0], itos)
        show_samples(samples(P, itos, config.block_size, config), words, splits[0])

# -----------------------------------------------------------------------------
# From here on nothing is about the model: printing, files, the command line, errors.

import argparse
import signal
import sys


def samples(P, itos, block_size, config):
    """config.num_samples new items (list of str), with the same seed for every model."""
    generator = torch.Generator().manual_seed(config.seed)
    return [sample(P, itos, block_size, generator) for _ in range(config.num_samples)]


def show(tokens, itos):
    """The text of tokens, with a dot for the boundary."""
    return "".join(itos[token] for token in tokens).replace("\n", ".")


def show_ngrams(N, smoothing, itos):
    """Prints the most frequent n-grams, and the likeliest and unlikeliest given their context."""
    P = normalise(N, smoothing)
    kind = "pairs" if N.dim() == 2 else f"{N.dim()}-grams"
    for title, values in ("most frequent", N), ("likeliest", P), ("unlikeliest", -P):
        found = []
        for place in values.flatten().topk(min(5, N.numel())).indices:
            ngram = torch.unravel_index(place, N.shape)
            value = f"{N[ngram]:,}" if values is N else f"{P[ngram]:.2%}"
            found.append(f"{show(ngram, itos)} {value}")
        print(f"{title} {kind}: {', '.join(found)}")


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
