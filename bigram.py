"""
Character-level language models that count what follows what, in a file with one thing a line.

A table of counts, each row divided by its sum, is a language model. A network of a single layer,
trained by gradient descent, finds the same table. Kneser-Ney smoothing is counting at its best:
what mlp.py has to beat, as the network of Bengio et al. had to in 2003.

    python bigram.py                                # dev loss 2.463, counted and by the network
    python bigram.py --block_size=2                 # a trigram: two characters of context, 2.25
    python bigram.py --block_size=5 --kneser_ney    # 2.008
    python bigram.py --tune                         # tries many strengths of smoothing on dev
    python bigram.py --plot                         # the table as a picture, out/bigram.png
    python bigram.py --help                         # every setting and its default

Every loss is the mean negative log-likelihood of a token in nats, the end of each line included.
"""

import argparse
import io
import math
import os
import random
import signal
import sys
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F

# -----------------------------------------------------------------------------
# Settings: each can be overridden on the command line, as --name=value or --name value. The
# learning rate is that of the lecture.

SETTINGS = [
    # name              default      from, to      meaning
    ("input_file",      "names.txt", None,         "text to learn from: UTF-8, one thing a line"),
    ("out_dir",         "out",       None,         "folder for the pictures of --plot"),
    ("train_frac",      0.8,         (0.01, 1),    "part to train on; dev and test halve the rest"),
    ("keep_duplicates", False,       None,         "keep every copy of a repeated line"),
    ("block_size",      1,           (1, 256),     "characters of context"),
    ("smoothing",       1.0,         (0, 10**6),   "made-up sightings added to every count"),
    ("max_iters",       2000,        (1, 10**9),   "training steps of the network"),
    ("learning_rate",   50.0,        (0, 1000),    "the network's learning rate"),
    ("weight_decay",    1e-6,        (0, 1000),    "decay of the network's W"),
    ("eval_interval",   500,         (1, 10**9),   "steps from one printed loss to the next"),
    ("kneser_ney",      False,       None,         "Kneser-Ney, in place of counts and network"),
    ("discount",        1.1,         (0, 10),      "Kneser-Ney's discounts, times their estimate"),
    ("tune",            False,       None,         "choose smoothing or discount, on dev"),
    ("plot",            False,       None,         "draw pictures into out_dir (needs matplotlib)"),
    ("num_samples",     10,          (0, 10**6),   "lines to make up with each model"),
    ("seed",            1337,        (0, 2**63-1), "seed of all that is random but the split"),
]

SMOOTHINGS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]  # what --tune tries
DISCOUNTS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
MAX_TABLE = 50_000_000  # numbers in a table; N, P, W and its gradient then take about 2 GB
MAX_CELLS = 30  # rows and columns of the picture: more could not be read
MAX_LEN = 1024  # a made-up line is cut here, so that none goes on for ever; sample.c cuts there too


def parse_args(argv):
    """The settings, overridden by argv (list of str), as a namespace. Exits with 2 on a bad one."""

    def boolean(text):
        return ["False", "True"].index(text) == 1  # argparse makes a sentence of the ValueError

    # without a usage, an error is one sentence
    parser = argparse.ArgumentParser(prog="bigram.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.strip().splitlines()[0])
    for name, default, limits, meaning in SETTINGS:
        kind = type(default)
        more = dict(nargs="?", const=True) if kind is bool else {}  # --name alone is --name=True
        parser.add_argument(f"--{name}", type=boolean if kind is bool else kind, default=default,
                            metavar=kind.__name__, help=f"{meaning} (default: {default})", **more)
    config = parser.parse_args(argv)
    for name, _, limits, _ in SETTINGS:
        if limits and not limits[0] <= getattr(config, name) <= limits[1]:  # nan is never within
            parser.error(f"argument --{name}: {getattr(config, name)} is not between "
                         f"{limits[0]} and {limits[1]}")
    return config


def die(message):
    """Ends the program with one sentence on stderr and exit status 1."""
    sys.exit(f"bigram.py: {message}")


# -----------------------------------------------------------------------------
# Data

def read_words(input_file, keep_duplicates=False):
    """The lines of a UTF-8 file, stripped, as a list of str, without those that are empty.

    Repeated lines go too, unless keep_duplicates: names.txt holds a name twice if girls and boys
    have it, a random split would put it into train and dev, and dev would judge memory.
    """
    try:
        with open(input_file, encoding="utf-8-sig", newline="\n") as f:  # -sig: skip a BOM
            words = (word for line in f if (word := line.strip()))
            words = list(words) if keep_duplicates else list(dict.fromkeys(words))
    except OSError as e:
        die(f"cannot read {input_file}: {e.strerror}; name a text file with --input_file")
    except UnicodeDecodeError as e:
        die(f"{input_file} is not UTF-8 text ({e.reason}); convert it to UTF-8 first")
    if not words:
        die(f"{input_file} has no line with text in it; it should hold one thing a line")
    return words


def split_words(words, train_frac):
    """Shuffles the words and cuts them into train, dev and test (80 : 10 : 10 for train_frac 0.8).

    As in the makemore lecture, always with seed 42: every model is judged on the same words.
    """
    words = words[:]
    random.Random(42).shuffle(words)
    n1, n2 = int(train_frac * len(words)), int((1 + train_frac) / 2 * len(words))
    train, dev, test = words[:n1], words[n1:n2], words[n2:]
    if not train or (train_frac < 1 and not (dev and test)):
        die(f"{len(words)} lines are too few to split with train_frac {train_frac}: train, dev and "
            "test need one each; give more lines, or train on all of them with --train_frac=1")
    return train, dev, test


def encode(words, itos, block_size):
    """The words as one stream of tokens, and where in it the predictions are.

    A word has block_size boundary tokens before it, so that no context ever reaches into the word
    before. Returns windows (positions, block_size + 1), a view of the stream that takes no memory
    of its own, and at (predictions,): windows[at[i]] is the i-th context, then the token after it.
    For the words ab and c and block_size 2 the stream is ..ab..c.. and its windows are
    ..a .ab ab. b.. ..c .c. c.. of which at leaves out b.. and c.. that predict mere padding.
    """
    stoi = np.zeros(max(map(ord, itos)) + 1, dtype=np.uint8 if len(itos) <= 256 else np.int32)
    stoi[[ord(ch) for ch in itos]] = np.arange(len(itos))
    # in UTF-32 every character is a number of four bytes: one look-up encodes the whole text
    pad = itos[0] * block_size
    text = (pad + pad.join(words) + pad).encode("utf-32-le")
    stream = stoi[np.frombuffer(text, dtype="<u4")]
    del text  # in a large file the largest thing here
    # padding is where a token and the one before it are both the boundary: a | b is 0 there only
    at = np.flatnonzero(stream[block_size:] | stream[block_size - 1:-1])
    if len(stream) < 2**31:
        at = at.astype(np.int32)  # half the memory
    return torch.from_numpy(stream).unfold(0, block_size + 1, 1), torch.from_numpy(at)


# -----------------------------------------------------------------------------
# Counting

def pair_codes(windows, at, vocab_size):
    """The place of each prediction's context and token in a flattened table, (predictions,).

    It is the number whose digits they are, in base vocab_size. Read a column at a time, so that
    the windows are never copied.
    """
    codes = torch.zeros(len(at), dtype=torch.long)
    for k in range(windows.shape[1]):
        codes = codes * vocab_size + windows[at, k]
    return codes


def count(windows, at, vocab_size):
    """How often each token follows each context: N (vocab_size ** block_size, vocab_size)."""
    size = vocab_size ** windows.shape[1]
    if size > MAX_TABLE:
        die(f"a table for block_size {windows.shape[1] - 1} has {vocab_size}^{windows.shape[1]} = "
            f"{size:,} numbers, more than {MAX_TABLE:,}; use --kneser_ney, or a lower --block_size")
    codes = pair_codes(windows, at, vocab_size)
    return torch.bincount(codes, minlength=size).view(-1, vocab_size)


def normalise(N, smoothing):
    """Counts N -> P of the same shape, each row a probability distribution.

    smoothing is added to every count. It pulls the rows towards uniform, and leaves no pair
    impossible: a single one of those in dev makes the loss infinite.
    """
    P = N.float() + smoothing
    # keepdim=True leaves the sums a column, (contexts, 1): each row is divided by its own sum.
    # As (contexts,) they would be broadcast as a row, and divide the columns, without an error.
    P /= P.sum(1, keepdim=True)
    return P.nan_to_num_()  # 0 / 0 with smoothing 0: a context never seen allows no token


class Table:
    """A model that looks its answer up in P (vocab_size ** block_size, vocab_size)."""

    def __init__(self, P):
        self.P, self.size = P, P.numel()

    def prob(self, windows, at):
        """The probability of each prediction's token after its context, (predictions,)."""
        return self.P.flatten()[pair_codes(windows, at, self.P.shape[1])]


# -----------------------------------------------------------------------------
# The network

def train_network(N, config):
    """One linear layer W and a softmax, by gradient descent. Returns the Table it has learned."""
    X = N.sum(1).nonzero().flatten()  # (contexts seen,)
    Y = N[X].float()                  # (contexts seen, vocab_size)
    # all-zero logits are a uniform prediction: the first loss is log(vocab_size)
    W = torch.zeros(N.shape, requires_grad=True)
    for step in range(config.max_iters + 1):
        # a one-hot vector times W is a row of W; indexing gets that row without the product
        logits = W[X]  # (contexts seen, vocab_size)
        # cross_entropy is exp, divide by the sum, take -log, except that it subtracts the largest
        # logit first, without which exp overflows. Predictions that share a context share their
        # logits: each context stands here once, and its target is the counts of what followed.
        # That is the mean over all predictions, exactly, and so is its gradient: with a target of
        # numbers cross_entropy is -(Y * log_softmax(logits)).sum(), each count weighs its token.
        loss = F.cross_entropy(logits, Y, reduction="sum") / Y.sum()
        if step % config.eval_interval == 0 or step == config.max_iters:
            print(f"step {step:6,} | train {loss.item():.4f}", flush=True)
            if not loss.isfinite():
                die(f"the loss is not finite at step {step:,}; try a lower --learning_rate")
        if step == config.max_iters:
            return Table(F.softmax(W.detach(), dim=1))

        W.grad = None
        loss.backward()
        with torch.no_grad():
            # weight decay pulls W to 0, and so every row to uniform: it is the twin of smoothing
            W -= config.learning_rate * (W.grad + config.weight_decay * W)


# -----------------------------------------------------------------------------
# Counting, at its best

def find(keys, wanted):
    """Where each wanted number stands in the sorted keys; -1 if it does not.

    What extends a gram of number -1 has a key below 0, and so is not found either.
    """
    i = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[i] == wanted, i, -1)


class KneserNey:
    """Interpolated, modified Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999).

    Order k has the last k tokens as its context. Where a gram, a context and its token, has count
    c, the order gives the token, after that context, the probability

        (c - D(c)) / (sum of c over the context's grams) + backoff * (what order k-1 gives it).

    The discounts D take a little from each count; backoff is the share of the context's counts
    that they took. Below order 0 lies the uniform distribution. Only the highest order counts how
    often it saw a gram. A lower one matters where the longer context is new, and counts how many
    different tokens stood to the left of the gram: "Francisco" is frequent, but only after "San",
    and so no good guess elsewhere. Padding counts as a token like any other. A context that begins
    with it has nothing else to its left, so that below the highest order all its grams have
    count 1.

    Only what occurs is stored. A context of order k is one of order k-1 with a token more at its
    left: its key is (number of the shorter one) * vocab_size + token, and its own number is the
    place of this key among the sorted keys. Grams are numbered likewise.
    """

    def __init__(self, windows, at, vocab_size, discount):
        self.vocab_size, self.orders = vocab_size, []
        # the numbers of each prediction's context and gram, both (predictions,)
        context = gram = torch.zeros(len(at), dtype=torch.long)
        context_keys = torch.zeros(1, dtype=torch.long)  # order 0 has one context, the empty one
        grown = []
        for k in range(windows.shape[1]):
            token = windows[at, -1 - k]  # at order 0 the predicted one, then ever further left
            if k > 0:
                context_keys, context = (context * vocab_size + token).unique(return_inverse=True)
            gram_keys, gram, c = (gram * vocab_size + token).unique(
                return_inverse=True, return_counts=True)                       # c (grams,)
            if k > 0:  # the order below counts the different grams that its own have grown into
                grown[-1][-1] = torch.bincount(gram_keys // vocab_size)
            # each gram's context: all predictions of one gram share it, any of them may write it
            context_of = torch.empty_like(gram_keys).scatter_(0, gram, context)  # (grams,)
            grown.append([context_keys, gram_keys, context_of, c])

        for context_keys, gram_keys, context_of, c in grown:
            # Chen and Goodman's D for the counts 1, 2, and 3 or more, from n[i], the number of
            # grams with count i (n[5]: 5 or more): with Y = n1 / (n1 + 2 n2), D(1) = 1 - 2Y n2/n1,
            # D(2) = 2 - 3Y n3/n2, D(3) = 3 - 4Y n4/n3. A small text may have none with some i, or
            # get a D below 0: the clamps keep backoff above 0, and so every token possible. Where
            # no line stands twice the estimate is a little low, hence the default discount of 1.1.
            n = torch.bincount(c.clamp(max=5), minlength=6).clamp(min=1).double()
            i = torch.arange(4)
            D = i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[1:5] / n[:4]
            D = (discount * D.clamp(min=0.1)).minimum(i)[c.clamp(max=3)]  # (grams,)
            total = torch.bincount(context_of, c.double())                # (contexts,)
            kept = (c - D) / total[context_of]                            # (grams,)
            backoff = torch.bincount(context_of, D) / total               # (contexts,)
            # the last entries are for the number -1, never seen: nothing kept, all backed off
            self.orders.append((context_keys, gram_keys, F.pad(kept, (0, 1), value=0.0),
                                F.pad(backoff, (0, 1), value=1.0)))
        self.size = sum(len(gram_keys) for _, gram_keys, _, _ in self.orders)  # a count for each

    def prob(self, windows, at):
        """The probability of each prediction's token after its context, (predictions,)."""
        context = gram = torch.zeros(len(at), dtype=torch.long)
        p = torch.full((len(at),), 1 / self.vocab_size, dtype=torch.double)
        for k, (context_keys, gram_keys, kept, backoff) in enumerate(self.orders):
            token = windows[at, -1 - k]
            if k > 0:
                context = find(context_keys, context * self.vocab_size + token)
            gram = find(gram_keys, gram * self.vocab_size + token)
            p = kept[gram] + backoff[context] * p
        return p


# -----------------------------------------------------------------------------
# Judging and sampling, of any model with a method prob(windows, at)

def evaluate(model, data):
    """The mean loss over data (windows, at); None if it is empty, inf if p is 0 somewhere."""
    windows, at = data
    return -model.prob(windows, at).log().mean().item() if len(at) else None


def sample(model, itos, block_size, generator):
    """One made-up line (str), drawn a token at a time until the boundary comes."""
    context = torch.zeros(block_size, dtype=torch.long)
    tokens = torch.arange(len(itos))  # and the numbers of the windows below
    word = ""
    while len(word) < MAX_LEN:
        # one window for each token that may follow: number i is the context, then token i
        windows = torch.cat([context.expand(len(itos), -1), tokens[:, None]], dim=1)
        probs = model.prob(windows, tokens)                                    # (vocab_size,)
        token = torch.multinomial(probs, num_samples=1, generator=generator)   # (1,)
        if token == 0:
            break
        word += itos[token]
        context = torch.cat([context[1:], token])
    return word


# -----------------------------------------------------------------------------
# Pictures

def write_file(path, data):
    """Writes bytes to path whole or not at all: to a temporary name first, then renamed."""
    temporary = path + ".tmp"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as f:
            f.write(data)
        os.replace(temporary, path)
    except OSError as e:
        die(f"cannot write {path}: {e.strerror}")
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def new_axes(width, height):
    """The axes of an empty picture of that many inches."""
    try:
        from matplotlib.figure import Figure  # here, as only --plot needs it
    except ImportError:
        die("--plot needs matplotlib: pip install matplotlib")
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def save_png(ax, path):
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as missing:  # one for each character without a glyph
        warnings.simplefilter("always")
        ax.figure.savefig(buffer, format="png", dpi=80)
    write_file(path, buffer.getvalue())
    print(f"wrote {path}" + ("; its boxes are characters that matplotlib's font lacks" if missing
                             else ""))


def show(tokens, itos):
    """Tokens as text, the boundary as a dot."""
    return "".join(itos[token] for token in tokens).replace("\n", ".")


def plot_counts(path, windows, at, itos):
    """A row for each context, a column for each token, in each cell the pair and its count.

    For block_size 1 this is the whole table. Of a longer context's table most rows are empty: the
    contexts seen most often are shown. The more context, the fewer cells in a row are dark.
    """
    windows, vocab_size = windows[at], len(itos)
    contexts, row = windows[:, :-1].unique(dim=0, return_inverse=True)  # (contexts, block_size)
    column = windows[:, -1].long()
    seen = torch.bincount(row)                                         # (contexts,)
    rows = seen.topk(min(MAX_CELLS, len(seen))).indices.sort().values  # in alphabetical order
    columns = torch.bincount(column, minlength=vocab_size)
    columns = columns.topk(min(MAX_CELLS, vocab_size)).indices.sort().values
    N = torch.stack([torch.bincount(column[row == r], minlength=vocab_size)[columns] for r in rows])
    shade = (N / seen[rows, None]).sqrt().numpy()  # (rows, columns); sqrt sets small shares apart

    ax = new_axes(1 + 0.5 * len(columns), 1 + 0.5 * len(rows))
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = max(1, min(9, 54 / windows.shape[1]))  # in points: a pair fits into its cell
    contexts, columns = contexts[rows].tolist(), columns.tolist()
    for i, context in enumerate(contexts):
        for j, token in enumerate(columns):
            ax.text(j, i, f"{show(context + [token], itos)}\n{N[i, j]}", size=size, ha="center",
                    va="center", parse_math=False, color="white" if shade[i, j] > 0.65 else "black")
    ax.set_xticks(range(len(columns)), [show([t], itos) for t in columns], parse_math=False)
    ax.set_yticks(range(len(contexts)), [show(c, itos) for c in contexts], parse_math=False)
    ax.tick_params(top=True, labeltop=True, length=0, labelsize=11)
    ax.set(xlabel="token that follows", ylabel="context",
           title="a pair and its count; the darker, the likelier after its context")
    save_png(ax, path)


def plot_tune(path, knob, rows, best):
    """The curves of --tune: rows of (strength, train loss, dev loss), and the best of them."""
    ax = new_axes(8, 5)
    strengths, train, dev = zip(*rows)
    ax.plot(strengths, train, "o-", label="train")
    ax.plot(strengths, dev, "o-", label="dev")
    ax.plot(best[0], best[2], "k*", markersize=15, label=f"best on dev: {best[2]:.4f} at {best[0]}")
    ax.set(xlabel=knob, xscale="log" if knob == "smoothing" else "linear", ylabel="loss, nats")
    ax.legend()
    save_png(ax, path)


# -----------------------------------------------------------------------------
# All of it

def nats(loss):
    """A loss as it is printed: a dash where there was nothing to judge on."""
    return "-" if loss is None else f"{loss:.4f}"


def main(argv):
    config = parse_args(argv)
    if config.plot:
        new_axes(1, 1)  # if matplotlib is missing, better said now than after the work
    if config.tune and config.train_frac == 1:
        die("--tune chooses on dev, and --train_frac=1 leaves no dev; lower it")

    # data
    words = read_words(config.input_file, config.keep_duplicates)
    # token 0 is the boundary, the lecture's "."; but a line may hold a ".", and never a newline
    itos = ["\n"] + sorted(set("".join(words)))
    vocab_size = len(itos)
    train, dev, test = (encode(part, itos, config.block_size)
                        for part in split_words(words, config.train_frac))
    print(f"{config.input_file}: {len(words):,} lines, {vocab_size} tokens; predictions: "
          f"train {len(train[1]):,} | dev {len(dev[1]):,} | test {len(test[1]):,}")
    print(f"untrained: {math.log(vocab_size):.4f}, the log of {vocab_size} equally likely tokens")

    def learn(fit, *args):
        """The model fit(*args). Prints its size, and the seconds that fit took."""
        started = time.perf_counter()
        model = fit(*args)
        print(f"{model.size:,} parameters | {time.perf_counter() - started:.2f} s")
        return model

    def report(name, model):
        """Prints a model's losses and the lines it makes up; returns the losses, as text."""
        losses = [nats(evaluate(model, part)) for part in (train, dev, test)]
        print(f"{name}: train {losses[0]} | dev {losses[1]} | test {losses[2]}")
        generator = torch.Generator().manual_seed(config.seed)  # the same luck for every model
        made_up = [sample(model, itos, config.block_size, generator)
                   for _ in range(config.num_samples)]
        seen = set(made_up).intersection(words)
        for word in made_up:
            print(word + ("  (in the data)" if word in seen else ""))
        return losses

    # counting, plain or at its best; either has one knob that says how much to smooth
    if config.kneser_ney:
        name, knob, strengths = "kneser_ney", "discount", DISCOUNTS

        def fit(strength):
            return KneserNey(*train, vocab_size, strength)
    else:
        name, knob, strengths = "counts", "smoothing", SMOOTHINGS

        def fit(strength):
            return Table(normalise(count(*train, vocab_size), strength))

    strength = getattr(config, knob)
    if config.tune:
        rows = []
        print(f"{knob:>9} |  train |    dev")
        for strength in strengths:
            model = fit(strength)
            rows.append((strength, evaluate(model, train), evaluate(model, dev)))
            print(f"{strength:9} | {rows[-1][1]:.4f} | {rows[-1][2]:.4f}", flush=True)
        best = min(rows, key=lambda row: row[2])
        strength = best[0]
        print(f"best on dev: --{knob}={strength}")
        if config.plot:
            plot_tune(os.path.join(config.out_dir, "tune.png"), knob, rows, best)
    if config.plot:
        plot_counts(os.path.join(config.out_dir, "bigram.png"), *train, itos)

    model = learn(fit, strength)
    if not config.kneser_ney:
        for which, largest in (("likeliest", True), ("unlikeliest", False)):
            p, codes = model.P.flatten().topk(min(5, model.P.numel()), largest=largest)
            pairs = np.unravel_index(codes.numpy(), [vocab_size] * (config.block_size + 1))
            print(f"{which} pairs given the context: " + ", ".join(
                f"{show(pair, itos)} {100 * share:.2f}%" for *pair, share in zip(*pairs, p)))
    losses = report(name, model)
    if config.kneser_ney or config.tune:
        return

    # the network
    network = report("network", learn(train_network, count(*train, vocab_size), config))
    print(f"train: counts {losses[0]}, network {network[0]} | "
          f"dev: counts {losses[1]}, network {network[1]}")


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # head may stop reading: no traceback
    sys.stdout.reconfigure(encoding="utf-8")  # like the input, whatever the locale
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        die("stopped")
    except OSError as e:
        die(f"cannot write the output: {e.strerror}")
