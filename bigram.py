"""
Character-level language models by counting: what follows what, in a file with one item per line.

A table of counts, each row divided by its sum, is a language model. A network with one linear
layer, trained by gradient descent, learns the same table: this is the first makemore lecture. The
appendix, Kneser-Ney smoothing, is the best that counting can do, and what mlp.py has to beat.

    python bigram.py                                # dev loss 2.463, by counting and by the network
    python bigram.py --block_size=2 --tune          # a trigram, its smoothing tuned on dev: 2.241
    python bigram.py --block_size=5 --kneser_ney    # 2.008
    python bigram.py --help                         # every setting and its default

A loss is the mean negative log-likelihood per token (a character or line end), in nats.
"""

import math
import os
import random
import time

# before torch starts its threads: idle ones spin less, which is faster on a busy machine
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
import torch.nn.functional as F

# Settings. Each can be set on the command line, as --name=value or --name value.
SETTINGS = [
    # name              default      range         meaning
    ("input_file",      "names.txt", None,         "text to learn from: UTF-8, one item per line"),
    ("out_dir",         "",          None,         "folder to save the Kneser-Ney model in"),
    ("train_frac",      0.8,         (0.01, 1),    "share to train on; the rest: dev and test"),
    ("keep_duplicates", False,       None,         "keep every copy of a repeated line"),
    ("block_size",      1,           (1, 256),     "context length, in characters"),
    ("smoothing",       1.0,         (0, 10**6),   "fake count added to every count"),
    ("max_iters",       2000,        (1, 10**9),   "training steps of the network"),
    ("learning_rate",   50.0,        (0, 1000),    "learning rate of the network (the lecture's)"),
    ("weight_decay",    1e-6,        (0, 1000),    "weight decay of the network"),
    ("eval_interval",   500,         (1, 10**9),   "steps between printed losses"),
    ("kneser_ney",      False,       None,         "Kneser-Ney instead of counts and network"),
    ("discount",        1.1,         (0, 10),      "scales Kneser-Ney's estimated discounts"),
    ("tune",            False,       None,         "choose smoothing or discount on dev"),
    ("num_samples",     10,          (0, 10**6),   "items to sample from each model"),
    ("seed",            1337,        (0, 2**63-1), "random seed of the samples"),
]
SMOOTHINGS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]  # what --tune tries
DISCOUNTS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
MAX_TABLE = 5 * 10**7  # most entries of a count table: 1 GB, with probabilities and network
MAX_LEN = 1024       # a sample is cut off here, so that sampling always ends

# -----------------------------------------------------------------------------
# Data

def read_words(input_file, keep_duplicates=False):
    """The non-empty lines of a UTF-8 file, stripped, as a list of str. Repeats are dropped, unless
    keep_duplicates: a name of both girls and boys is in names.txt twice, and a random split would
    put many such names in both train and dev. Raises ValueError if no line has text."""
    with open(input_file, encoding="utf-8-sig") as f:  # -sig: skips a byte order mark
        text = f.read()  # whole, so that start() can name a line that is not UTF-8
    words = [line.strip() for line in text.split("\n") if line.strip()]
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
    dtype = torch.uint8 if len(itos) <= 256 else torch.int32
    tokens = torch.tensor([stoi[ch] for ch in text], dtype=dtype)
    rows = tokens.unfold(0, block_size + 1, 1)  # every window of block_size + 1
    return rows[(rows[:, -2:] != 0).any(dim=1)]  # two boundaries at the end are padding


# -----------------------------------------------------------------------------
# Counting

def count(rows, vocab_size):
    """How often each n-gram occurs: N, with n = block_size + 1 dimensions of size vocab_size. For
    pairs this is the lecture's loop, a hundred times faster:
        for ix1, ix2 in rows.tolist(): N[ix1, ix2] += 1
    One token for both ends of a word makes it 27 x 27, not 28 x 28 with an empty row and column.
    Raises ValueError if N would have over MAX_TABLE entries."""
    n = rows.shape[1]
    if vocab_size ** n > MAX_TABLE:
        raise ValueError(f"a table for block_size {n - 1} has {vocab_size}^{n} entries, more than "
                         f"{MAX_TABLE:,}; use --kneser_ney, or a smaller --block_size")
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


class Table:
    """A model that looks up its probabilities in P, a table of the same shape as the counts N."""

    def __init__(self, P):
        self.P, self.size = P, P.numel()  # size: number of parameters

    def prob(self, rows):
        """The probability of each row's last token after its context, (predictions,)."""
        return self.P[tuple(rows.T.long())]  # the lecture's P[ix1, ix2], for all rows at once

# -----------------------------------------------------------------------------
# The network: the same table by gradient descent

def train_network(N, config):
    """Trains a linear layer W and a softmax on the counts N; returns the Table it has learned.
    The lecture multiplies W by a one-hot vector for each pair, which picks a row of W. All pairs
    with the same context pick the same row, so here each context appears once, with its counts Y:
    equal terms of the loss are grouped. Loss and gradient are the same."""
    seen = N.sum(-1).nonzero(as_tuple=True)  # the contexts seen, as an index of N and W
    Y = N[seen].float()                      # (contexts seen, vocab_size)
    W = torch.zeros(N.shape, requires_grad=True)  # uniform predictions: first loss log(vocab_size)
    for step in range(config.max_iters + 1):
        logits = W[seen]  # (contexts seen, vocab_size), "log-counts": exp(logits) are like counts
        # the lecture's exp, division by the sum, log and mean, in one call that cannot overflow;
        # Y weights each log by its number of pairs
        loss = F.cross_entropy(logits, Y, reduction="sum") / Y.sum()
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
    return Table(F.softmax(W.detach(), dim=-1))

# -----------------------------------------------------------------------------
# Evaluating, sampling, tuning: all that a model needs is prob and size

def evaluate(model, rows):
    """The mean loss over the rows: inf if a probability is 0, nan if there are no rows. The product
    of all probabilities, the likelihood, is too small for a float: so sum their logs; negate, so
    that lower is better; and average, to compare data of any size."""
    return -model.prob(rows).log().mean().item()


def sample(model, itos, block_size, generator):
    """A new item (str), drawn token by token until a boundary."""
    context = torch.zeros(block_size, dtype=torch.long)
    tokens = torch.arange(len(itos))[:, None]  # (vocab_size, 1): all that may come next
    word = ""
    while len(word) < MAX_LEN:
        rows = torch.cat([context.expand(len(itos), -1), tokens], dim=1)  # the context, each token
        token = torch.multinomial(model.prob(rows), num_samples=1, generator=generator)  # (1,)
        if token == 0:
            break
        word += itos[token]
        context = torch.cat([context[1:], token])
    return word


def fit(name, rows, vocab_size, config):
    """Trains a model on the rows: counts, network, or kneser_ney (the appendix)."""
    if name == "kneser_ney":
        return KneserNey(rows, vocab_size, config.discount)
    N = count(rows, vocab_size)
    if name == "network":
        return train_network(N, config)
    return Table(normalise(N, config.smoothing))


def tune(name, train, dev, vocab_size, config):
    """Sets the smoothing of counts, or the discount of kneser_ney, to the value with the lowest dev
    loss. Returns the name of that setting, and all it tried: (value, train loss, dev loss)."""
    setting, values = "discount", DISCOUNTS
    if name == "counts":
        setting, values = "smoothing", SMOOTHINGS
    if not len(dev):
        raise ValueError(f"there is no dev data to tune the {setting} on; lower --train_frac")
    tried = []
    for value in values:
        setattr(config, setting, value)  # where fit() looks for it
        model = fit(name, train, vocab_size, config)
        tried.append((value, evaluate(model, train), evaluate(model, dev)))
        print(setting, "{:5} | train {:.4f} | dev {:.4f}".format(*tried[-1]), flush=True)
    setattr(config, setting, min(tried, key=lambda row: row[2])[0])
    print(f"best on dev: --{setting}={getattr(config, setting)}")
    return setting, tried


def main(argv):
    config = parse_args(argv)
    words = read_words(config.input_file, config.keep_duplicates)
    itos = vocabulary(words)
    splits = split_words(words, config.train_frac)
    parts = [encode(split, itos, config.block_size) for split in splits]
    train, dev, _ = parts
    show_data(words, itos, parts, config)
    print(f"untrained: {math.log(len(itos)):.4f} = log({len(itos)}), all tokens equally likely")
    uniform = Table(torch.full((len(itos), len(itos)), 1 / len(itos)))  # whatever the last token
    show_samples(samples(uniform, itos, 1, config), words, splits[0])

    names = ["kneser_ney"] if config.kneser_ney else ["counts", "network"]
    if config.tune:
        tune(names[0], train, dev, len(itos), config)
        names = names[:1]  # not the network, which has no such setting
    if not config.kneser_ney:
        show_ngrams(count(train, len(itos)), config.smoothing, itos)
    for name in names:
        started = time.perf_counter()
        model = fit(name, train, len(itos), config)
        print(f"{model.size:,} parameters | {time.perf_counter() - started:.2f} s")
        losses = [evaluate(model, part) for part in parts]
        print("{}: train {:.4f} | dev {:.4f} | test {:.4f}".format(name, *losses))
        show_samples(samples(model, itos, config.block_size, config), words, splits[0])
    if config.kneser_ney and config.out_dir:
        save(model, itos, config.out_dir)


# -----------------------------------------------------------------------------
# Appendix: Kneser-Ney

class KneserNey:
    """Interpolated modified Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999).

    Order k has the last k tokens as its context. Each count c loses a discount D, and what is lost
    goes to the prediction of order k - 1; below order 0, all tokens are equally likely:
        p_k(token) = (c - D) / total + backoff * p_(k-1)(token)
        total = sum of the context's c;  backoff = (sum of its D) / total, 1 for an unseen context
    In the highest order c is a plain count. In the others it is the number of different tokens that
    precede the n-gram: "Francisco" is frequent, but only after "San".

    Each order numbers its contexts and its n-grams by their places in sorted lists of keys:
        key of an n-gram = number of its context * vocab_size + last token
        key of a context = number of the context one shorter * vocab_size + leftmost token"""

    def __init__(self, rows, vocab_size, discount):
        self.vocab_size, self.orders = vocab_size, []
        context = torch.zeros(len(rows), dtype=torch.long)  # (predictions,): its context's number
        context_keys = torch.zeros(1, dtype=torch.long)     # order 0 has the empty context only
        for k in range(rows.shape[1]):
            if k > 0:
                context_keys, context = (context * vocab_size + rows[:, -1 - k]).unique(
                    return_inverse=True)
            keys, ngram, c = (context * vocab_size + rows[:, -1]).unique(
                return_inverse=True, return_counts=True)
            if k > 0:  # c in the order below: how many n-grams of this order end in each of its own
                ends_in = torch.empty_like(keys)
                ends_in[ngram] = ngram_below
                self.orders[-1]["c"] = ends_in.bincount()
            ngram_below = ngram
            self.orders.append({"context_keys": context_keys, "keys": keys, "c": c})
        self.size = sum(len(order["keys"]) for order in self.orders)
        self.set_discount(discount)

    def set_discount(self, factor):
        """Computes each order's D, (c - D) / total and backoff. Chen and Goodman estimate D for the
        counts 1, 2, and 3 or more; factor scales these. In a small text an estimate may be below 0
        or above the count, so it is clamped; and so are counts of 0."""
        for order in self.orders:
            c, context = order["c"], order["keys"] // self.vocab_size  # both (n-grams,)
            n1, n2, n3, n4 = (max(1, (c == i).sum().item()) for i in (1, 2, 3, 4))
            y = n1 / (n1 + 2 * n2)
            estimates = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
            D = [min(i, factor * max(0.1, d)) for i, d in enumerate(estimates, start=1)]
            order["D"] = torch.tensor(D, dtype=torch.double)
            taken = order["D"][c.clamp(max=3) - 1]       # (n-grams,)
            total = torch.bincount(context, weights=c.double())  # (contexts,)
            # a last entry for index -1: n-grams never seen keep 0, contexts never seen pass on all
            order["kept"] = F.pad((c - taken) / total[context], (0, 1))
            backoff = torch.bincount(context, weights=taken) / total
            order["backoff"] = F.pad(backoff, (0, 1), value=1.0)

    def prob(self, rows):
        """The probability of each row's last token after its context, (predictions,), float64."""
        p = torch.full((len(rows),), 1 / self.vocab_size, dtype=torch.double)
        context = torch.zeros(len(rows), dtype=torch.long)
        for k, order in enumerate(self.orders):
            if k > 0:  # after an unseen context, -1, all keys are below 0: none is found
                context = find(order["context_keys"], context * self.vocab_size + rows[:, -1 - k])
            ngram = find(order["keys"], context * self.vocab_size + rows[:, -1])
            p = order["kept"][ngram] + order["backoff"][context] * p
        return p


def find(keys, wanted):
    """The index of each wanted number in the sorted keys; -1 if it is not there."""
    i = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[i] == wanted, i, -1)

# -----------------------------------------------------------------------------
# From here on nothing is about the model: printing, files, the command line, errors.

import argparse
import difflib
import io
import signal
import sys


def samples(model, itos, block_size, config):
    """config.num_samples new items (list of str), with the same seed for every model."""
    generator = torch.Generator().manual_seed(config.seed)
    return [sample(model, itos, block_size, generator) for _ in range(config.num_samples)]


def show_ngrams(N, smoothing, itos):
    """Prints the most frequent n-grams, and the likeliest and unlikeliest given their context."""
    P = normalise(N, smoothing)
    kind = "pairs" if N.dim() == 2 else f"{N.dim()}-grams"
    for title, values in ("most frequent", N), ("likeliest", P), ("unlikeliest", -P):
        found = []
        for entry in values.flatten().topk(min(5, N.numel())).indices:
            ngram = torch.unravel_index(entry, N.shape)
            value = f"{N[ngram]:,}" if values is N else f"{P[ngram]:.2%}"
            found.append("".join(itos[token] for token in ngram).replace("\n", ".") + " " + value)
        print(f"{title} {kind}: {', '.join(found)}")


def save(model, itos, out_dir, weight=0.0, network=None):
    """Writes a KneserNey to out_dir/ngrams.pt, for export.py; mix.py sets the last two."""
    buffer = io.BytesIO()
    torch.save({"itos": itos, "orders": model.orders, "weight": weight, "network": network}, buffer)
    write_file(os.path.join(out_dir, "ngrams.pt"), buffer.getvalue())


def show_data(words, itos, parts, config):
    """Prints how much data there is, and what it looks like."""
    lengths = [len(word) for word in words]
    train, dev, test = map(len, parts)
    print(f"{config.input_file}: {len(words):,} lines, {len(itos)} tokens; predictions: "
          f"train {train:,} | dev {dev:,} | test {test:,}")
    print(f"first lines: {', '.join(words[:3])}; length {min(lengths)} to {max(lengths)}")


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


def parse_args(argv, **defaults):
    """SETTINGS, overridden by defaults, then by argv (list of str), as a namespace."""
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
        if limits and value is not None and not limits[0] <= value <= limits[1]:  # nan fails, too
            parser.error(f"argument --{name}: {value} is not between {limits[0]} and {limits[1]}")
    return config


def start(main, argv=None):
    """Runs main(argv); an error ends the program with one sentence on stderr."""
    if argv is None:
        argv = sys.argv[1:]
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # if head stops reading: end quietly
        if sys.stdout:  # UTF-8 like the input; a file name that is not text is printed unchanged
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        try:
            return main(argv)
        finally:  # --help and errors, too, leave output that is not written yet
            if sys.stdout:
                sys.stdout.flush()
    except UnicodeDecodeError as e:
        line = e.object[:e.start].count(b"\n") + 1
        said = (f"the input file is not UTF-8 at line {line:,}; "
                "convert it first, for instance with iconv -f latin1 -t utf-8 OLD > NEW")
    except OSError as e:
        said = f"{e.filename or 'cannot write the output'}: {e.strerror}"
        if e.filename is None:  # it was stdout: or Python would write again at exit, and fail again
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
