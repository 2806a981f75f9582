"""
Character-level language models from counts: of what follows what, in a file with one thing a line.

A table of counts, each row divided by its sum, is a language model. A network of a single layer,
trained by gradient descent, finds the same table. Kneser-Ney smoothing is counting at its best:
what mlp.py has to beat, as the network of Bengio et al. had to in 2003.

    python bigram.py                                # dev loss 2.463, counted and by the network
    python bigram.py --block_size=2                 # a trigram: two characters of context, 2.25
    python bigram.py --block_size=5 --kneser_ney    # 2.008
    python bigram.py --tune                         # tries many strengths of smoothing on dev
    python bigram.py --plot                         # the table as a picture, out/bigram.png
    python bigram.py --help                         # every setting and its default

Every loss is the mean negative log-likelihood of a token, in nats (the logarithm is the natural
one). A token is a character, or the end of a line.
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
# learning rate is the lecture's, weight_decay has about the effect of a smoothing of 1, discount
# is the best on dev at block_size 5.

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
    ("discount",        1.1,         (0, 10),      "factor on the discounts Kneser-Ney estimates"),
    ("tune",            False,       None,         "choose smoothing or discount, on dev"),
    ("plot",            False,       None,         "draw pictures into out_dir (needs matplotlib)"),
    ("num_samples",     10,          (0, 10**6),   "lines to make up with each model"),
    ("seed",            1337,        (0, 2**63-1), "seed of the made-up lines"),
]

SMOOTHINGS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]  # what --tune tries
DISCOUNTS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
MAX_TABLE = 50_000_000  # numbers in a table: N, P, W and its gradient are then 1 GB
MAX_CELLS = 30  # rows and columns of the picture: more could not be read
MAX_LEN = 1024  # a made-up line is cut here, so that none goes on for ever; sample.c cuts there too


def parse_args(argv):
    """The settings, overridden by argv (list of str), as a namespace. Exits with 2 on a bad one."""

    def true_or_false(text):
        return ["False", "True"].index(text) == 1  # else a ValueError, and argparse says so

    # without a usage, an error is one sentence
    parser = argparse.ArgumentParser(prog="bigram.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.strip().splitlines()[0])
    for name, default, _, meaning in SETTINGS:
        kind = type(default)
        more = dict(nargs="?", const=True) if kind is bool else {}  # --name alone is --name=True
        parser.add_argument(f"--{name}", type=true_or_false if kind is bool else kind,
                            default=default, metavar=kind.__name__,
                            help=f"{meaning} (default: {default})", **more)
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
    have it; a random split would often put one into train and one into dev, which would then judge
    memory.
    """
    try:
        # only \n ends a line, and utf-8-sig skips the mark that some editors put first
        with open(input_file, encoding="utf-8-sig", newline="\n") as f:
            words = (word for line in f if (word := line.strip()))
            # a dict has each key once, in the order in which they came
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
    before; the first of them also ends that word. Returns
        windows (positions, block_size + 1): row p is stream[p : p + block_size + 1], no copy of it
        at (predictions,): which rows are predictions, a context and then the token after it
    For the words ab and c and block_size 2, with a dot for the boundary itos[0], the stream is
    ..ab..c.. and its windows ..a .ab ab. b.. ..c .c. c.. of which b.. and c.. predict mere padding:
    at is 0 1 2 4 5.
    """
    # stoi as an array, by code point, looks up a whole text at once; in bytes, if 256 will do
    stoi = np.zeros(max(map(ord, itos)) + 1, dtype=np.uint8 if len(itos) <= 256 else np.int32)
    stoi[[ord(ch) for ch in itos]] = np.arange(len(itos))
    pad = itos[0] * block_size
    # UTF-32 has the code point of every character as a number of four bytes
    codes = np.frombuffer((pad + pad.join(words) + pad).encode("utf-32-le"), dtype="<u4")
    stream = torch.from_numpy(stoi[codes])
    del codes  # needed no more, and large
    windows = stream.unfold(0, block_size + 1, 1)
    # padding is where the last two tokens are both the boundary: there alone their bitwise or is 0
    at = (windows[:, -2] | windows[:, -1]).nonzero().flatten()
    return windows, at.int() if len(stream) < 2**31 else at  # half the memory, where it will do


# -----------------------------------------------------------------------------
# Counting

def codes_of(windows, at, vocab_size):
    """The place of each prediction in a flattened table, (predictions,).

    The lecture's N[ix1, ix2] is there at ix1 * vocab_size + ix2, and with another character of
    context at (ix1 * vocab_size + ix2) * vocab_size + ix3.
    """
    codes = torch.zeros(len(at), dtype=torch.long)
    for k in range(windows.shape[1]):  # a column at a time: the windows are never copied
        codes = codes * vocab_size + windows[at, k]
    return codes


def count(windows, at, vocab_size):
    """How often each token follows each context: N (vocab_size ** block_size, vocab_size)."""
    n = windows.shape[1]  # block_size + 1
    if vocab_size ** n > MAX_TABLE:
        die(f"a table for block_size {n - 1} has {vocab_size}^{n} numbers, more than "
            f"{MAX_TABLE:,}; use --kneser_ney, or a lower --block_size")
    # bincount says how often each code occurs, up to minlength: the last may not occur at all
    N = torch.bincount(codes_of(windows, at, vocab_size), minlength=vocab_size ** n)
    return N.view(-1, vocab_size)


def normalise(N, smoothing):
    """Counts N -> P of the same shape, each row a probability distribution.

    smoothing is added to every count. It pulls the rows towards uniform, and leaves no pair
    impossible: a single impossible pair in dev makes the loss infinite.
    """
    P = N.float() + smoothing
    # keepdim=True leaves the sums a column, (contexts, 1): each row is divided by its own sum.
    # As (contexts,) they would be broadcast as a row. Where the table is square, at block_size 1,
    # that divides each column by the sum of another row, without an error.
    P /= P.sum(1, keepdim=True)
    return P.nan_to_num_()  # 0 / 0 with smoothing 0: a context never seen allows no token


class Table:
    """A model that looks its answer up in P (vocab_size ** block_size, vocab_size). A model here is
    anything with a method prob() and a size, the number of its parameters."""

    def __init__(self, P):
        self.P, self.size = P, P.numel()

    def prob(self, windows, at):
        """The probability of each prediction's token after its context, (predictions,)."""
        return self.P.flatten()[codes_of(windows, at, self.P.shape[1])]


# -----------------------------------------------------------------------------
# The network

def train_network(N, config):
    """One linear layer W and a softmax, by gradient descent. Returns the Table it has learned.

    Predictions that share a context share their logits. So each context stands here once, and its
    target is how often each token followed it: the loss and its gradient are exactly those of the
    lecture, which has a row for every prediction.
    """
    X = N.sum(1).nonzero().flatten()  # (contexts seen,)
    Y = N[X].float()                  # (contexts seen, vocab_size)
    # all-zero logits are a uniform prediction: the first loss is log(vocab_size)
    W = torch.zeros(N.shape, requires_grad=True)
    for step in range(config.max_iters + 1):  # the last one is there for its loss only
        # a one-hot vector times W is a row of W; indexing gets that row without the product
        logits = W[X]  # (contexts seen, vocab_size)
        # cross_entropy is exp, divide by the sum, take -log, except that it subtracts the largest
        # logit first, without which exp overflows. With a target of the shape of the logits it is
        # -(Y * log_softmax(logits)).sum(): each count weighs its token.
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
            # weight decay pulls W to 0, and so every row to uniform: it is the twin of smoothing,
            # and the gradient of a penalty of weight_decay / 2 * (W**2).sum() on the loss
            W -= config.learning_rate * (W.grad + config.weight_decay * W)


# -----------------------------------------------------------------------------
# Kneser-Ney: counting at its best

def find(keys, wanted):
    """Where each wanted number stands in the sorted keys; -1 if it does not."""
    i = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)  # where it would have to be
    return torch.where(keys[i] == wanted, i, -1)


class KneserNey:
    """Interpolated, modified Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999).

    Order k has the last k tokens as its context. Where a gram, a context and its token, has count
    c, the order gives the token, after that context, the probability

        (c - D(c)) / (sum of c over the context's grams) + backoff * (what order k-1 gives it).

    The discounts D take a little from each count; backoff is the share of the context's counts
    that they took. A gram never seen has the second part only, and after a context never seen
    backoff is 1. Below order 0 lies the uniform distribution.

    Only the highest order counts how often it saw a gram. A lower one matters most where the longer
    gram is rare or new, and counts how many different tokens stood to the left of its gram:
    "Francisco" is frequent, but only after "San", and so no good guess elsewhere. Padding is a
    token like any other here.

    Only what occurs is stored, by numbers. A context of order k is one of order k-1 with a token
    more at its left; its key is (number of the shorter one) * vocab_size + token. A gram's key is
    (number of its context) * vocab_size + its token. All keys of an order are sorted, and the place
    of a context's key among them is its number.
    """

    def __init__(self, windows, at, vocab_size, discount):
        self.vocab_size, self.orders = vocab_size, []
        context = torch.zeros(len(at), dtype=torch.long)  # (predictions,): number of its context
        context_keys = torch.zeros(1, dtype=torch.long)   # order 0 has one context, the empty one
        seen = []  # of each order: its context keys, gram keys and the counts of the grams
        for k in range(windows.shape[1]):
            # unique: the different keys, sorted, and the place of each prediction's among them
            if k > 0:
                context_keys, context = (context * vocab_size + windows[at, -1 - k]).unique(
                    return_inverse=True)
            gram_keys, c = (context * vocab_size + windows[at, -1]).unique(return_counts=True)
            if k > 0:  # without its leftmost token a gram is one of the order below: count these
                shorter = context_keys[gram_keys // vocab_size] // vocab_size  # its context there
                shorter = shorter * vocab_size + gram_keys % vocab_size
                seen[-1][2] = torch.bincount(torch.searchsorted(seen[-1][1], shorter))
            seen.append([context_keys, gram_keys, c])

        for context_keys, gram_keys, c in seen:
            # Chen and Goodman's estimate of D for the counts 1, 2, and 3 or more, from the number
            # of grams with count 1, 2, 3 and 4. A small text may have none of these, or get a D
            # near 0 or above its count: the limits leave something for backoff, and so for every
            # token (but for --discount=0), and no count below 0.
            n1, n2, n3, n4 = (max(1, (c == i).sum().item()) for i in (1, 2, 3, 4))
            Y = n1 / (n1 + 2 * n2)
            D = 1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3
            D = torch.tensor([min(i, discount * max(0.1, d)) for i, d in enumerate(D, start=1)],
                             dtype=torch.double)                      # (3,)
            taken = D[c.clamp(max=3) - 1]                             # (grams,)
            context_of = gram_keys // vocab_size                      # (grams,)
            total = torch.bincount(context_of, c.double())            # (contexts,)
            kept = (c - taken) / total[context_of]                    # (grams,)
            backoff = torch.bincount(context_of, taken) / total       # (contexts,)
            # the last entry is what -1 finds, never seen: nothing kept, all backed off
            self.orders.append((context_keys, gram_keys, F.pad(kept, (0, 1), value=0.0),
                                F.pad(backoff, (0, 1), value=1.0)))
        self.size = sum(len(gram_keys) for _, gram_keys, _, _ in self.orders)  # a count for each

    def prob(self, windows, at):
        """The probability of each prediction's token after its context, (predictions,)."""
        context = torch.zeros(len(at), dtype=torch.long)
        p = torch.full((len(at),), 1 / self.vocab_size, dtype=torch.double)
        for k, (context_keys, gram_keys, kept, backoff) in enumerate(self.orders):
            # what extends a context of number -1 has a key below 0, and so is not found either
            if k > 0:
                context = find(context_keys, context * self.vocab_size + windows[at, -1 - k])
            gram = find(gram_keys, context * self.vocab_size + windows[at, -1])
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
    tokens = torch.arange(len(itos))  # (vocab_size,)
    word = ""
    while len(word) < MAX_LEN:
        # for each token that may follow, a window of the context and this token
        windows = torch.cat([context.expand(len(itos), -1), tokens[:, None]], dim=1)
        probs = model.prob(windows, tokens)  # (vocab_size,); tokens number the windows as well
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
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
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
    """Writes the picture of these axes, 80 dots an inch, and says where."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ax.figure.savefig(buffer, format="png", dpi=80)
    write_file(path, buffer.getvalue())
    # a warning for each character that the font lacks becomes one remark
    boxes = any("missing from" in str(warning.message) for warning in caught)
    print(f"wrote {path}" + "; its boxes are characters that matplotlib's font lacks" * boxes)


def show(tokens, itos):
    """Tokens as text, the boundary as a dot."""
    return "".join(itos[token] for token in tokens).replace("\n", ".")


def plot_counts(path, windows, at, itos):
    """A row for each context, a column for each token, in each cell the pair and its count.

    Of either the MAX_CELLS seen most often: for names.txt and block_size 1 that is the whole table.
    The more context, the fewer cells in a row are dark.
    """
    grams, vocab_size = windows[at], len(itos)                        # (predictions, block_size+1)
    contexts, row = grams[:, :-1].unique(dim=0, return_inverse=True)  # (contexts, block_size)
    column = grams[:, -1].long()                                      # (predictions,)
    seen, token_seen = torch.bincount(row), torch.bincount(column, minlength=vocab_size)
    rows, columns = (n.topk(min(MAX_CELLS, len(n))).indices.sort().values  # in alphabetical order
                     for n in (seen, token_seen))
    N = torch.stack([torch.bincount(column[row == r], minlength=vocab_size)[columns] for r in rows])
    shade = (N / seen[rows, None]).sqrt().numpy()  # (rows, columns); sqrt sets small shares apart

    ax = new_axes(1 + 0.5 * len(columns), 1 + 0.5 * len(rows))
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = max(1, min(9, 54 / grams.shape[1]))  # in points: a pair fits into its cell
    tokens, contexts = columns.tolist(), contexts[rows].tolist()
    for i, context in enumerate(contexts):
        for j, token in enumerate(tokens):  # parse_math=False: a $ is a character like any other
            ax.text(j, i, f"{show(context + [token], itos)}\n{N[i, j]}", size=size, ha="center",
                    va="center", parse_math=False, color="white" if shade[i, j] > 0.65 else "black")
    ax.set_xticks(range(len(tokens)), [show([t], itos) for t in tokens], parse_math=False)
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
# Putting it together

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
    train, dev, test = (encode(part, itos, config.block_size)  # (windows, at) each
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
        for s in strengths:
            model = fit(s)
            rows.append((s, evaluate(model, train), evaluate(model, dev)))
            print(f"{s:9} | {rows[-1][1]:.4f} | {rows[-1][2]:.4f}", flush=True)
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
            p, codes = model.P.flatten().topk(min(5, model.size), largest=largest)
            grams = np.unravel_index(codes.numpy(), [vocab_size] * (config.block_size + 1))
            print(f"{which} pairs given the context: " + ", ".join(
                f"{show(gram, itos)} {100 * share:.2f}%" for gram, share in zip(zip(*grams), p)))
    losses = report(name, model)
    if config.kneser_ney or config.tune:
        return  # what the network is compared with is the plain table

    # the network
    network = report("network", learn(train_network, count(*train, vocab_size), config))
    print(f"train: counts {losses[0]}, network {network[0]} | "
          f"dev: counts {losses[1]}, network {network[1]}")


if __name__ == "__main__":
    if sys.stdout is None:
        sys.exit("bigram.py: cannot write the output: it is closed")
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
