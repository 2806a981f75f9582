"""
A character-level neural language model, trained on a file with one thing a line.

The model is the neural probabilistic language model of Bengio, Ducharme, Vincent and Jauvin (2003,
JMLR 3:1137-1155), with characters in place of words: each of the last block_size characters is
looked up in an embedding table, the embeddings are concatenated, and one tanh layer and a softmax
turn them into a probability for every character that may come next.

    python mlp.py                                             # names.txt: dev loss below 1.97
    python mlp.py --block_size=3 --n_embd=10 --n_hidden=200   # the network of the makemore lecture
    python mlp.py --input_file=towns.txt --out_dir=towns      # a file of your own
    python mlp.py --resume                                    # go on from the last evaluation
    python mlp.py --find_lr --plot                            # which learning rate? out/find_lr.png
    python mlp.py --help                                      # every setting and its default

The best model so far is kept in out_dir/mlp.pt; export.py turns it into a file for ./sample.
Every loss is the mean negative log-likelihood of a token, in nats (the logarithm is the natural
one), the end of each line included.
"""

import argparse
import copy
import io
import math
import os
import random
import signal
import sys
import time
import unicodedata
import warnings
import zlib

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

# -----------------------------------------------------------------------------
# Settings: each can be overridden on the command line, as --name=value or --name value. From
# block_size to weight_decay the defaults are the best on dev of those that train in half a minute.

SETTINGS = [
    # name              default      from, to      meaning
    ("input_file",      "names.txt", None,         "text to learn from: UTF-8, one thing a line"),
    ("out_dir",         "out",       None,         "folder for the checkpoint, mlp.pt"),
    ("train_frac",      0.8,         (0.01, 1),    "part to train on; dev and test halve the rest"),
    ("keep_duplicates", False,       None,         "keep every copy of a repeated line"),
    ("block_size",      6,           (1, 256),     "characters of context"),
    ("n_embd",          64,          (1, 1024),    "numbers in the embedding of a character"),
    ("n_hidden",        600,         (1, 65536),   "neurons in the hidden layer"),
    ("dropout",         0.2,         (0, 0.9),     "share of embedding entries zeroed in training"),
    ("batch_size",      512,         (1, 10**6),   "predictions in a training step"),
    ("max_iters",       8000,        (1, 10**9),   "training steps"),
    ("learning_rate",   4e-3,        (0, 1000),    "AdamW's learning rate at its highest"),
    ("warmup_iters",    200,         (0, 10**9),   "steps in which it climbs to there"),
    ("weight_decay",    0.2,         (0, 1000),    "AdamW's decay of W1 and W2"),
    ("eval_interval",   500,         (1, 10**9),   "steps between evaluations; at first fewer"),
    ("num_samples",     20,          (0, 10**6),   "lines to make up at the end"),
    ("seed",            1337,        (0, 2**63-1), "seed of all that is random but the split"),
    ("device",          "cpu",       None,         "where to train: cpu, cuda or mps"),
    ("compile",         False,       None,         "train with torch.compile"),
    ("resume",          False,       None,         "go on with the run in out_dir"),
    ("find_lr",         False,       None,         "try out learning rates instead of training"),
    ("plot",            False,       None,         "draw pictures into out_dir (needs matplotlib)"),
]

EVAL_PREDICTIONS = 50_000  # predictions, at most, behind the losses that choose the best model
RESULT_PREDICTIONS = 1_000_000  # and behind those of the result, or a large file would take minutes
# what --resume may change; with another value of anything else it would be another run
CHANGEABLE = ("input_file", "out_dir", "resume", "max_iters", "eval_interval", "num_samples",
              "compile", "plot")
MAX_SHOWN = 100  # tokens in the picture of the embedding
MAX_LEN = 1024  # a made-up line is cut here, so that none goes on for ever; sample.c cuts there too


def parse_args(argv, **defaults):
    """The settings as a namespace: argv (list of str), else defaults, else the table above.

    Exits with status 2 on a setting that is unknown, of the wrong type or out of range.
    """

    def true_or_false(text):
        return ["False", "True"].index(text) == 1  # else a ValueError, and argparse says so

    # without a usage, an error is one sentence
    parser = argparse.ArgumentParser(prog="mlp.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.strip().splitlines()[0])
    for name, default, _, meaning in SETTINGS:
        kind = type(default)
        more = dict(nargs="?", const=True) if kind is bool else {}  # --name alone is --name=True
        parser.add_argument(f"--{name}", type=true_or_false if kind is bool else kind,
                            default=default, metavar=kind.__name__,
                            help=f"{meaning} (default: {default})", **more)
    parser.set_defaults(**defaults)
    config = parser.parse_args(argv)
    for name, _, limits, _ in SETTINGS:
        if limits and not limits[0] <= getattr(config, name) <= limits[1]:  # nan is never within
            parser.error(f"argument --{name}: {getattr(config, name)} is not between "
                         f"{limits[0]} and {limits[1]}")
    return config


def die(message):
    """Ends the program with one sentence on stderr and exit status 1."""
    sys.exit(f"mlp.py: {message}")


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


def encode(words, itos, block_size, device="cpu"):
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
    stream = torch.from_numpy(stoi[codes]).to(device)
    del codes  # needed no more, and large
    windows = stream.unfold(0, block_size + 1, 1)
    # padding is where the last two tokens are both the boundary: there alone their bitwise or is 0
    at = (windows[:, -2] | windows[:, -1]).nonzero().flatten()
    return windows, at.int() if len(stream) < 2**31 else at  # half the memory, where it will do


# -----------------------------------------------------------------------------
# Model

class MLP(nn.Module):
    """The network of Bengio et al. (2003), without its direct connections from input to output, and
    with dropout (Srivastava et al. 2014) on the embeddings: in training a random share of their
    numbers is 0, so that none can be relied on alone, and the others are scaled up to make good."""

    def __init__(self, vocab_size, block_size, n_embd, n_hidden, dropout=0.0):
        super().__init__()
        self.dropout = dropout
        fan_in = block_size * n_embd
        self.C = nn.Parameter(torch.randn(vocab_size, n_embd))
        # a sum of fan_in products has a spread of fan_in**0.5: undo that, or tanh saturates. 5/3
        # makes up for what tanh takes of the spread (see torch.nn.init.calculate_gain).
        self.W1 = nn.Parameter(torch.randn(fan_in, n_hidden) * (5 / 3) / fan_in**0.5)
        self.b1 = nn.Parameter(torch.zeros(n_hidden))
        # next to nothing: first predictions close to uniform, a first loss of about log(vocab_size)
        self.W2 = nn.Parameter(torch.randn(n_hidden, vocab_size) * 0.01)
        self.b2 = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, X):
        """Contexts X (B, block_size) of int64 -> logits (B, vocab_size)."""
        B, block_size = X.shape
        vocab_size, n_embd = self.C.shape
        if B <= vocab_size:  # the paper's way: look up, concatenate, multiply
            emb = F.dropout(self.C[X], self.dropout, self.training)  # (B, block_size, n_embd)
            x = emb.flatten(1) @ self.W1                             # (B, n_hidden)
        else:
            # The same sum, sooner. The token at position i only ever meets the i-th n_embd rows of
            # W1, so what it adds to x is one of block_size * vocab_size rows (6 * 27), and a batch
            # needs B * block_size of them (512 * 6): make each once, and add up. What dropout
            # zeroes is then the same for all contexts that have the token at that position.
            emb = F.dropout(self.C.expand(block_size, -1, -1), self.dropout,
                            self.training)                       # (block_size, vocab_size, n_embd)
            W1 = self.W1.view(block_size, n_embd, -1)            # (block_size, n_embd, n_hidden)
            rows = (emb @ W1).flatten(0, 1)                      # (block_size*vocab_size, n_hidden)
            i = X + vocab_size * torch.arange(block_size, device=X.device)      # (B, block_size)
            x = F.embedding_bag(i, rows, mode="sum")             # rows[i].sum(1): (B, n_hidden)
        h = torch.tanh(x + self.b1)                                  # (B, n_hidden)
        return h @ self.W2 + self.b2                                 # (B, vocab_size)


@torch.no_grad()
def evaluate(model, data, limit=None):
    """The mean loss over data (windows, at); None if it is empty.

    With a limit, over the first so many only: as the words are shuffled, these are as good as any.
    """
    windows, at = data
    if not len(at):
        return None
    model.eval()
    total = 0.0
    for i in at[:limit].split(8192):  # all at once would take much memory
        batch = windows[i].long()
        total += F.cross_entropy(model(batch[:, :-1]), batch[:, -1], reduction="sum").item()
    model.train()
    return total / len(at[:limit])


@torch.no_grad()
def sample(model, itos, block_size):
    """One made-up line (str), drawn a token at a time until the boundary comes."""
    model.eval()
    context = torch.zeros(1, block_size, dtype=torch.long, device=model.C.device)
    word = ""
    while len(word) < MAX_LEN:
        probs = F.softmax(model(context), dim=1)           # (1, vocab_size)
        token = torch.multinomial(probs, num_samples=1)    # (1, 1)
        if token == 0:
            break
        word += itos[token]
        context = torch.cat([context[:, 1:], token], dim=1)
    return word


# -----------------------------------------------------------------------------
# Training

def batches(data, batch_size, seed, step=0):
    """Yields the batch of a step, of the next step, and so on without end.

    That is contexts X (batch_size, block_size) and the tokens after them Y (batch_size,), int64. An
    epoch goes once through the predictions, but for an incomplete last batch, which is better on
    dev than the lecture's random draws. Its order depends on the seed and the number of the epoch
    alone, so that a resumed run meets the batches that it would have met.
    """
    windows, at = data
    per_epoch = max(1, len(at) // batch_size)  # an incomplete batch is dropped, unless it is all
    epoch, done = divmod(step, per_epoch)
    while True:
        generator = torch.Generator().manual_seed(seed + epoch)  # the same on every device
        order = torch.randperm(len(at), generator=generator, dtype=at.dtype)
        for i in order.to(at.device).split(batch_size)[done:per_epoch]:  # (batch_size,)
            batch = windows[at[i]].long()  # (batch_size, block_size + 1)
            yield batch[:, :-1], batch[:, -1]
        epoch, done = epoch + 1, 0


def make_optimizer(model, weight_decay):
    """AdamW (Loshchilov and Hutter 2019) divides each weight's gradient, averaged over the last
    steps, by its usual size, so that all weights move at a like pace, and shrinks them a little.

    Only W1 and W2 shrink. In C the row of a rare character would at every step, and seldom has a
    gradient that restores it; and nothing speaks for pulling a bias to 0.
    """
    return torch.optim.AdamW([
        {"params": [model.W1, model.W2], "weight_decay": weight_decay},
        {"params": [model.C, model.b1, model.b2], "weight_decay": 0.0},
    # betas: the weight of the past in the two averages; on dev 0.95 is better than 0.99 and 0.999
    ], betas=(0.9, 0.95), fused=True)  # fused: all weights in one call, which is faster


def train_step(model, optimizer, learning_rate, X, Y):
    """One step of the optimizer; returns the loss before it, a tensor ()."""
    loss = F.cross_entropy(model(X), Y)
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return loss.detach()


def learning_rate_at(step, config):
    """A linear warm-up, times half a cosine that falls to zero at max_iters.

    AdamW's averages mean little in the first steps, so these are small. The fall is what the
    lecture does by hand when it lowers the rate for the last steps, without a jump.
    """
    warmup = min(1.0, (step + 1) / (config.warmup_iters + 1))  # + 1: step 0 moves as well
    return config.learning_rate * warmup * (1 + math.cos(math.pi * step / config.max_iters)) / 2


def find_lr(model, data, config):
    """The learning-rate finder of the makemore lecture: the rate grows with every step, here from
    1e-5 to 1.

    Works on a copy of the model. Returns rates (n,), losses (n,), where losses[i] is the mean of
    the 50 steps around rates[i], and the rate with the lowest loss. That is high for a constant
    rate, but will do for the peak of one that rises to it slowly and then falls.
    """
    model = copy.deepcopy(model)
    optimizer = make_optimizer(model, config.weight_decay)
    rates = torch.logspace(-5, 0, 1000)
    losses = []
    for rate, (X, Y) in zip(rates.tolist(), batches(data, config.batch_size, config.seed)):
        losses.append(train_step(model, optimizer, rate, X, Y))
    losses = torch.stack(losses).cpu().nan_to_num(nan=math.inf)  # argmin would choose a nan
    losses = losses.unfold(0, 50, 1).mean(dim=1)  # of every 50 neighbours
    rates = rates[25:25 + len(losses)]  # the one in the middle of the 50
    return rates, losses, rates[losses.argmin()].item()


def nats(loss):
    """A loss as it is printed: a dash where there was nothing to judge on."""
    return "-" if loss is None else f"{loss:.4f}"


def verdict(train_loss, dev_loss, step, max_iters):
    """What train against dev loss says, in a sentence.

    A network too small or too briefly trained is as bad on names it has seen as on others: train
    and dev agree. It underfits, and more of either will help. One that learns its names by heart
    gets ahead on train: it overfits. That does harm once dev rises, and not before.
    """
    if dev_loss is None:
        return "no dev loss, so nothing can be said about lines that are not in the data"
    gap = round(dev_loss - train_loss, 3) + 0.0  # and -0.0 becomes 0.0
    if step == 0:
        return "dev rose at once, and the untrained model was kept; try a lower --learning_rate"
    if step < 0.9 * max_iters:  # this and the 0.1 below are rules of thumb
        return (f"dev was lowest at step {step:,} of {max_iters:,}, {gap:.3f} above train: "
                f"overfitting, if train fell on; try --max_iters={step}, a smaller network, more "
                "dropout or weight_decay")
    if gap > 0.1:
        return (f"dev is {gap:.3f} above train, but still fell: overfitting, but harmless so far; "
                "more data would help most, more dropout or weight_decay may")
    return (f"dev is {gap:+.3f} from train: room to grow; a larger network or more steps should "
            "lower both")


# -----------------------------------------------------------------------------
# Files

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


def read_checkpoint(path):
    """The checkpoint (dict) that main() wrote there. Exits with a sentence if there is none."""
    try:
        # weights_only: a file may hold tensors and plain values, and no code that would be run
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["last"]["checksum"]  # a KeyError, if it is a checkpoint of something else
        return checkpoint
    except OSError as e:
        die(f"cannot resume from {path}: {e.strerror}; leave out --resume to start a run")
    except Exception:  # what torch raises on a file of another kind depends on the file
        die(f"cannot resume from {path}: it is not a checkpoint of mlp.py")


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


def plot_lr(path, rates, losses, suggestion):
    """The loss against log10 of the learning rate, and the suggested rate."""
    ax = new_axes(8, 5)
    ax.plot(rates.log10(), losses)
    ax.axvline(math.log10(suggestion), color="tab:red", linestyle="--",
               label=f"suggested: {suggestion:.1e}")
    ax.set(xlabel="log10 of the learning rate", ylabel="loss, mean of 50 steps",
           ylim=(losses.min().item() - 0.1, losses[0].item() + 0.3))
    ax.legend()
    save_png(ax, path)


def plot_loss(path, losses, evaluations):
    """The loss of every step (n,), its running mean, and the evaluations (step, train, dev)."""
    ax = new_axes(8, 5)
    width = max(1, len(losses) // 100)
    smooth = losses.unfold(0, width, 1).mean(dim=1)
    ax.plot(losses, color="tab:blue", alpha=0.2, linewidth=0.5, label="train, each step")
    ax.plot(torch.arange(len(smooth)) + width // 2, smooth, color="tab:blue",
            label=f"train, mean of {width} steps")
    if evaluations[0][2] is not None:
        ax.plot([e[0] for e in evaluations], [e[2] for e in evaluations], "o-", markersize=3,
                color="tab:orange", label="dev")
    lowest = smooth.min().item()
    ax.set(xlabel="step", ylabel="loss, nats", ylim=(lowest - 0.1, lowest + 0.8))
    ax.legend()
    save_png(ax, path)


def plot_embedding(path, C, itos):
    """Each row of C (vocab_size, n_embd) at its place in the plane; where n_embd is not 2, that of
    the first two principal components, the directions in which the rows differ most."""
    ax = new_axes(8, 6)
    if C.shape[1] == 2:
        places = C
    else:
        # U * S (vocab_size, components): the rows in new axes, that of the largest spread first
        U, S, _ = torch.linalg.svd(C - C.mean(dim=0), full_matrices=False)
        places = F.pad(U * S, (0, 1))[:, :2]  # with n_embd 1 there is no second component
        share = (S**2 / (S**2).sum())[:2].sum().item()
        ax.set_title(f"two principal components, {100 * share:.0f} % of the variance")
    colours = {"boundary": "tab:red", "vowel": "tab:orange", "consonant": "tab:blue",
               "other": "tab:gray"}
    handles = {}  # one dot of each kind that occurs
    for token, (x, y) in enumerate(places[:MAX_SHOWN].tolist()):
        letter = unicodedata.normalize("NFD", itos[token].lower())[0]  # without its accent
        kind = ("boundary" if token == 0 else "vowel" if letter in "aeiouy"
                else "consonant" if "a" <= letter <= "z" else "other")
        handles[kind] = ax.scatter(x, y, s=220, color=colours[kind], alpha=0.3)
        ax.text(x, y, "." if token == 0 else itos[token], ha="center", va="center")
    ax.legend(handles.values(), handles, markerscale=0.5)
    ax.set_aspect("equal", adjustable="datalim")
    save_png(ax, path)


# -----------------------------------------------------------------------------
# Putting it together

def main(argv):
    config = parse_args(argv)
    checkpoint_file = os.path.join(config.out_dir, "mlp.pt")
    last = None
    if config.resume:
        checkpoint = read_checkpoint(checkpoint_file)
        last, run = checkpoint["last"], checkpoint["config"]
        # once more, now with the settings of the run as the defaults
        config = parse_args(argv, **{**run, "out_dir": config.out_dir})
        for name in run:
            if getattr(config, name) != run[name] and name not in CHANGEABLE:
                die(f"--resume keeps the settings of the run: {name} is {run[name]}; "
                    f"leave out --{name}, or train anew in another --out_dir")
    if config.plot:
        new_axes(1, 1)  # if matplotlib is missing, better said now than after the training
    try:
        device = torch.device(config.device)
        torch.zeros(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # of cuda:1, say, rng is then the one meant
        # the module that keeps the state of dropout's random numbers on this device
        rng = torch if device.type == "cpu" else torch.get_device_module(device)
    except (RuntimeError, AssertionError):  # which of the two depends on the device
        die(f"device '{config.device}' is not available here; cpu is")

    # data
    words = read_words(config.input_file, config.keep_duplicates)
    checksum = zlib.crc32("\n".join(words).encode())  # by which --resume knows the data again
    # token 0 is the boundary, the lecture's "."; but a line may hold a ".", and never a newline
    itos = ["\n"] + sorted(set("".join(words)))
    train, dev, test = (encode(part, itos, config.block_size, device)  # (windows, at) each
                        for part in split_words(words, config.train_frac))
    print(f"{config.input_file}: {len(words):,} lines, {len(itos)} tokens; predictions: "
          f"train {len(train[1]):,} | dev {len(dev[1]):,} | test {len(test[1]):,}")
    if config.train_frac == 1:
        print("all lines are for training: there is no dev and no test loss, "
              "and the last model is kept, not the best")

    # model
    torch.manual_seed(config.seed)
    try:
        model = MLP(len(itos), config.block_size, config.n_embd, config.n_hidden, config.dropout)
        model.to(device)
    except RuntimeError:  # torch's word for memory that is not to be had
        die("no memory for a network of this size; lower --block_size, --n_embd or --n_hidden")
    optimizer = make_optimizer(model, config.weight_decay)
    if config.find_lr:
        rates, losses, suggestion = find_lr(model, train, config)
        for i in range(0, len(rates), 50):
            print(f"learning rate {rates[i]:.1e} | loss {losses[i]:.4f}")
        print(f"suggested: --learning_rate={suggestion:.1e}, the one with the lowest loss")
        if config.plot:
            plot_lr(os.path.join(config.out_dir, "find_lr.png"), rates, losses, suggestion)
        return

    # training
    best = None                                            # the model with the lowest dev loss
    losses = torch.empty(config.max_iters, device=device)  # of every step
    evaluations = []                                       # (step, train loss, dev loss)
    first_step, seconds, hint = 0, 0.0, ""
    if last:
        if last["checksum"] != checksum:
            die(f"cannot resume: {config.input_file} is not what the run was started with")
        if last["step"] > config.max_iters:
            die(f"cannot resume: the run is at step {last['step']:,}; raise --max_iters")
        best = {key: value for key, value in checkpoint.items() if key != "last"}
        model.load_state_dict(last["model"])
        optimizer.load_state_dict(last["optimizer"])
        rng.set_rng_state(last["random_state"])
        first_step, seconds, evaluations = last["step"], last["seconds"], last["evaluations"]
        losses[:first_step] = last["losses"]
        print(f"going on at step {first_step:,}")

    def save():
        """Writes the best model so far, and all that --resume needs to go on from this step."""
        buffer = io.BytesIO()
        torch.save({**best, "config": vars(config), "last": {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
            "random_state": rng.get_rng_state(), "seconds": seconds, "evaluations": evaluations,
            "losses": losses[:step].clone(),  # a view would be saved with all it views
            "checksum": checksum,
        }}, buffer)
        write_file(checkpoint_file, buffer.getvalue())

    step_model = torch.compile(model) if config.compile else model  # the parameters are shared
    train_batches = batches(train, config.batch_size, config.seed, first_step)
    started = time.perf_counter() - seconds
    try:
        for step in range(first_step, config.max_iters + 1):
            # Now and then: how good is the model? At first at steps 1, 2, 4, 8 ..., as a small file
            # may be known by heart before eval_interval; at the last step this alone is left.
            # Of all numbers, only a power of two shares no bit with the one below it.
            early = step < config.eval_interval and step & (step - 1) == 0
            if early or step % config.eval_interval == 0 or step in (first_step, config.max_iters):
                train_loss = evaluate(model, train, EVAL_PREDICTIONS)
                dev_loss = evaluate(model, dev, EVAL_PREDICTIONS)
                seconds = time.perf_counter() - started
                line = (f"step {step:6,} | lr {learning_rate_at(step, config):.1e} | "
                        f"train {nats(train_loss)} | dev {nats(dev_loss)}")
                if step > 0 and not early:
                    line += (f" | {1000 * seconds / step:.2f} ms a step"
                             f" | {seconds / step * (config.max_iters - step):.0f} s left")
                print(line, flush=True)
                if not math.isfinite(train_loss):
                    die(f"the loss is not finite at step {step:,}; try a lower --learning_rate")
                if not best or dev_loss is None or dev_loss < best["dev_loss"]:
                    best = {
                        "model": copy.deepcopy(model.state_dict()), "itos": itos, "step": step,
                        "train_loss": train_loss, "dev_loss": dev_loss,
                    }
                save()
                hint = f"; {checkpoint_file} has the best model, --resume goes on from {step:,}"
                evaluations.append((step, train_loss, dev_loss))  # a resumed run does this again

            # every step: one batch, one move of the weights
            if step < config.max_iters:
                X, Y = next(train_batches)
                lr = learning_rate_at(step, config)
                losses[step] = train_step(step_model, optimizer, lr, X, Y)

        # result
        model.load_state_dict(best["model"])
        results = [evaluate(model, part, RESULT_PREDICTIONS) for part in (train, dev, test)]
        num_params = sum(p.numel() for p in model.parameters())
        print("train {} | dev {} | test {}".format(*map(nats, results))
              + f" | {num_params:,} parameters | {seconds:.1f} s")
        print(verdict(results[0], results[1], best["step"], config.max_iters))
        made_up = [sample(model, itos, config.block_size) for _ in range(config.num_samples)]
        seen = set(made_up).intersection(words)
        for word in made_up:
            print(word + ("  (in the data)" if word in seen else ""))
        if config.plot:
            plot_loss(os.path.join(config.out_dir, "loss.png"), losses.cpu(), evaluations)
            plot_embedding(os.path.join(config.out_dir, "embedding.png"), model.C.detach().cpu(),
                           itos)
    except KeyboardInterrupt:
        die(f"stopped at step {step:,}{hint}")
    except RuntimeError as e:  # torch's word for what it has no memory for, or cannot compile
        reason = str(e).strip().partition("\n")[0]
        die(f"torch failed at step {step:,} ({reason}); try a smaller network or --batch_size, and "
            "no --compile")


if __name__ == "__main__":
    if sys.stdout is None:
        sys.exit("mlp.py: cannot write the output: it is closed")
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
