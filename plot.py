"""
Draws the pictures of this project into out_dir. Needs matplotlib.

    python plot.py                          # everything that can be drawn
    python plot.py loss --out_dir=towns     # one picture, towns/loss.png
    python plot.py pairs tune --block_size=2 --input_file=towns.txt    # with settings of bigram.py

    pairs        the count table of bigram.py: a cell for each pair, or n-gram
    tune         the loss against the smoothing of the counts
    tanh         the hidden layer before training, as lecture.py and as mlp.py initializes it
    find_lr      the loss against the learning rate, by find_lr() of mlp.py
    loss         train and dev loss against training steps, of the run in out_dir/mlp.pt
    embedding    its embedding C, each token at its place in the plane
"""

import argparse
import io
import math
import os
import unicodedata
import warnings

import torch
import torch.nn.functional as F

import bigram
import mlp

PICTURES = "pairs", "tune", "tanh", "find_lr", "loss", "embedding"
MAX_CELLS = 30  # rows and columns of the count table: more could not be read
warnings.filterwarnings("ignore", "Glyph")  # what matplotlib's font lacks is drawn as a box


def new_axes(width, height):
    """The axes of an empty picture, width by height inches."""
    try:
        from matplotlib.figure import Figure  # not pyplot: no window, no state
    except ImportError:
        raise ValueError("the pictures need matplotlib: pip install matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def save_png(ax, path):
    """Writes the picture, 80 dots per inch, and says where."""
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png", dpi=80)
    mlp.write_file(path, buffer.getvalue())
    print(f"wrote {path}")


def show(tokens, itos):
    """Tokens as text, the boundary as a dot."""
    return "".join(itos[token] for token in tokens).replace("\n", ".")


# -----------------------------------------------------------------------------
# bigram.py

def plot_pairs(rows, itos):
    """The count table of rows (predictions, block_size + 1): a row for each context, a column for
    each token that follows; of either the MAX_CELLS most frequent. The more context, the fewer
    cells of a row are dark."""
    contexts, row = rows[:, :-1].unique(dim=0, return_inverse=True)  # (contexts, block_size)
    column = rows[:, -1].long()                                      # (predictions,)
    n_row, n_column = torch.bincount(row), torch.bincount(column, minlength=len(itos))
    top_rows, top_columns = (n.topk(min(MAX_CELLS, len(n))).indices.sort().values
                             for n in (n_row, n_column))
    N = torch.stack([torch.bincount(column[row == r], minlength=len(itos))[top_columns]
                     for r in top_rows])
    shade = (N / n_row[top_rows, None]).sqrt().numpy()  # sqrt: small shares can be told apart

    ax = new_axes(1 + 0.5 * len(top_columns), 1 + 0.5 * len(top_rows))
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = max(1, min(9, 54 / rows.shape[1]))  # in points: a pair fits into its cell
    tokens, contexts = top_columns.tolist(), contexts[top_rows].tolist()
    for i, context in enumerate(contexts):
        for j, token in enumerate(tokens):  # parse_math=False: a $ is a character like any other
            ax.text(j, i, f"{show(context + [token], itos)}\n{N[i, j]}", size=size, ha="center",
                    va="center", parse_math=False, color="white" if shade[i, j] > 0.65 else "black")
    ax.set_xticks(range(len(tokens)), [show([t], itos) for t in tokens], parse_math=False)
    ax.set_yticks(range(len(contexts)), [show(c, itos) for c in contexts], parse_math=False)
    ax.tick_params(top=True, labeltop=True, length=0, labelsize=11)
    ax.set(xlabel="next token", ylabel="context", title="count of each pair; the darker, the "
           "likelier after its context")
    return ax


def plot_tune(tried):
    """Train and dev loss against the smoothing: what bigram.tune() returns."""
    ax = new_axes(8, 5)
    values, train, dev = zip(*tried)
    value, _, loss = min(tried, key=lambda row: row[2])
    ax.plot(values, train, "o-", label="train")
    ax.plot(values, dev, "o-", label="dev")
    ax.plot(value, loss, "k*", markersize=15, label=f"best on dev: {loss:.4f} at {value}")
    ax.set(xlabel="smoothing", xscale="log", ylabel="loss, nats")
    ax.legend()
    return ax


# -----------------------------------------------------------------------------
# mlp.py

def plot_tanh(rows, itos):
    """How often the neurons of the lecture's network have each value before training. Near -1 and 1
    tanh is flat: its slope, which the gradient is multiplied by, is near 0, and learning slow."""
    X, ax = rows[:2000, -4:-1].long(), new_axes(8, 5)
    torch.manual_seed(1337)
    theirs, ours = (mlp.MLP(len(itos), block_size=3, n_embd=10, n_hidden=200) for _ in range(2))
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    for name, model in ("lecture.py", theirs), ("mlp.py", ours):
        h = model.hidden(X).detach().flatten()  # (2000 * 200,)
        flat = (h.abs() > 0.99).float().mean()
        ax.hist(h.numpy(), bins=100, alpha=0.6, label=f"{name}: {flat:.0%} beyond 0.99 or -0.99")
    ax.set(xlabel="value of a neuron of the hidden layer", ylabel="how often")
    ax.legend(loc="upper center")
    return ax


def plot_find_lr(rates, losses):
    """The loss against the learning rate, on a logarithmic axis, and the rate with the lowest."""
    for rate, loss in zip(rates[::50], losses[::50]):
        print(f"learning rate {rate:.1e} | loss {loss:.4f}")
    ax, best = new_axes(8, 5), rates[losses.argmin()].item()
    ax.plot(rates, losses)
    ax.axvline(best, color="tab:red", linestyle="--", label=f"lowest: --learning_rate={best:.1e}")
    ax.set(xlabel="learning rate", xscale="log", ylabel="loss, mean of 50 steps",
           ylim=(losses.min().item() - 0.1, losses[0].item() + 0.3))
    ax.legend()
    return ax


def plot_loss(run):
    """The loss of every step of a run, its running mean, and the dev loss."""
    ax, losses, dev = new_axes(8, 5), torch.tensor([math.nan, *run["losses"]]), run["dev_losses"]
    width = 1 + len(losses) // 100
    smooth = losses.unfold(0, width, 1).mean(dim=1)
    ax.plot(losses, color="tab:blue", alpha=0.2, linewidth=0.5, label="train, each step")
    ax.plot(torch.arange(len(smooth)) + width // 2, smooth, color="tab:blue",
            label=f"train, mean of {width} steps")
    ax.plot(list(dev), list(dev.values()), "o-", markersize=3, color="tab:orange", label="dev")
    if len(losses) > 1:  # the first losses are off the picture
        ax.set_ylim(top=losses.nanmedian().item() + 0.5)
    ax.set(xlabel="step", ylabel="loss, nats")
    ax.legend()
    return ax


def plot_embedding(C, itos):
    """Each row of C (vocab_size, n_embd) in the plane; unless n_embd is 2, by its first two
    principal components, the directions in which the rows differ most."""
    ax, places = new_axes(8, 6), C
    if C.shape[1] != 2:  # U * S (vocab_size, components): the rows in new axes, the widest first
        U, S, _ = torch.linalg.svd(C - C.mean(dim=0), full_matrices=False)
        places = F.pad(U * S, (0, 1))[:, :2]  # with n_embd 1 there is no second component
        share = (S**2)[:2].sum() / (S**2).sum()
        ax.set_title(f"two principal components, {share:.0%} of the variance")
    colours = {"boundary": "tab:red", "vowel": "tab:orange", "consonant": "tab:blue",
               "other": "tab:gray"}
    dots = {}
    for token, (x, y) in enumerate(places[:100].tolist()):  # more could not be read
        letter = unicodedata.normalize("NFD", itos[token].lower())[0]  # without its accent
        kind = ("boundary" if token == 0 else "vowel" if letter in "aeiouy"
                else "consonant" if "a" <= letter <= "z" else "other")
        dots[kind] = ax.scatter(x, y, s=220, color=colours[kind], alpha=0.3)
        ax.text(x, y, show([token], itos), ha="center", va="center", parse_math=False)
    ax.legend(dots.values(), dots, markerscale=0.5)
    ax.set_aspect("equal", adjustable="datalim")
    return ax


def draw(what, argv, run):
    """The axes of one of PICTURES: with the settings argv of its script, or of a run of mlp.py."""
    if what == "loss":
        return plot_loss(run)
    if what == "embedding":
        return plot_embedding(run["best"]["model"]["C"], run["itos"])
    script = bigram if what in ("pairs", "tune") else mlp
    same = {key: run["config"][key] for key in ("input_file", "train_frac", "keep_duplicates")
            if run}  # the data of the run, unless argv names another
    config = script.parse_args(argv, **same)
    words = script.read_words(config.input_file, config.keep_duplicates)
    itos = script.vocabulary(words)
    splits = script.split_words(words, config.train_frac)
    if script is mlp:
        mlp.choose_settings(splits[0], itos, config)
    train, dev, _ = (script.encode(split, itos, config.block_size) for split in splits)
    if what == "tanh":
        return plot_tanh(train, itos)
    if what == "find_lr":
        torch.manual_seed(config.seed)
        sizes = config.block_size, config.n_embd, config.n_hidden
        model = mlp.MLP(len(itos), *sizes, config.dropout)
        return plot_find_lr(*mlp.find_lr(model, train, config))
    if what == "pairs":
        return plot_pairs(train, itos)
    return plot_tune(bigram.tune(train, dev, len(itos), config))


def main(argv):
    parser = argparse.ArgumentParser(prog="plot.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=f"Draws {', '.join(PICTURES)}, or those named.",
                                     epilog="Other options are settings of bigram.py or mlp.py.")
    parser.add_argument("--out_dir", default="out", help="folder of the pictures (default: out)")
    pictures = [arg for arg in argv if arg in PICTURES]
    config, settings = parser.parse_known_args([arg for arg in argv if arg not in PICTURES])
    if settings and not settings[0].startswith("-"):
        parser.error(f"there is no picture '{settings[0]}'; there are {', '.join(PICTURES)}")
    path = os.path.join(config.out_dir, "mlp.pt")
    needed = os.path.exists(path) or {"loss", "embedding"} & set(pictures)
    run = mlp.read_run(path) if needed else None
    for what in pictures or (PICTURES if run else PICTURES[:4]):
        save_png(draw(what, settings, run), os.path.join(config.out_dir, f"{what}.png"))


if __name__ == "__main__":
    mlp.start(main)
