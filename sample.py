"""
Samples names from a trained model, in NumPy alone. It reads the file that export.py writes.

    python sample.py                             # 20 names from out/mlp.bin, or names.bin
    python sample.py towns/mlp.bin -n 1000 -t 0.8 -i "Saint "    # all starting with "Saint "
    python sample.py -n 1000 -u -x names.txt     # 1,000 new names, no two the same
    python sample.py -e names.txt                # the loss of every line

This is the original. sample.c (fast) and sample.html (for a browser) are its ports, in the same
order and with the same names, and print the same, byte for byte, on every machine. So only + - * /
and comparisons are used: IEEE 754 defines their results to the last bit, but not those of exp, log
and tanh. And as rounding makes a sum depend on its order, every order is part of the specification:
np.add.accumulate adds from left to right; np.sum and @ add as suits the processor.

A token is a string; token 0, the boundary, stands before and after every name. Arrays are float32,
and sums of them too, unless it says float64.
"""

import argparse
import os
import re
import signal
import sys
import time
import unicodedata
import zlib
from types import SimpleNamespace

import numpy as np

MAX_LEN = 1024       # tokens in a name: longer ones are cut, so that every name ends
MAX_TRIES = 100_000  # names in a row that -x and -u may leave out
MAX_CACHE = 2**25    # thresholds kept
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / the golden ratio: its multiples are spread evenly
CONTROL = re.compile("[\0-\x08\n-\x1f\x7f-\x9f]")  # could command a terminal; the tab is harmless
F = np.float32

# -----------------------------------------------------------------------------
# File

def load(path):
    """The model in a file: its sizes and arrays, with the names and shapes that export.py lists.
    Nothing in it is trusted. Raises OSError, and ValueError if it is no such file, or damaged."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:4] != b"NPLM" or len(data) < 68:
        raise ValueError(f"{path} is not a model written by export.py")
    if data[4:8] != b"\3\0\0\0":
        raise ValueError(f"{path} is of another version of the format: export it again")
    check(zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), path, "checksum")
    V, n_bytes, B, E, H, n_contexts, n_grams, depth = np.frombuffer(data, "<u4", 8, 8).tolist()
    check(1 < V < 2**22 and B <= 256 and E <= 1024 and H <= 65536 and depth <= 256
          and (B * E * H > 0 or B + E + H == 0 < n_contexts), path, "sizes")
    m = SimpleNamespace(vocab_size=V, block_size=B, n_embd=E, n_hidden=H, n_contexts=n_contexts,
                        depth=depth, context_size=max(B, depth), rows={})
    n_groups, n_inputs, large, at = -(-V // 16), -(-H // 4) * 4, 2.0**50, 64
    for name, kind, low, high, *shape in [
            ("start", "<u4", 0, n_bytes, V + 1), ("text", "u1", 0, 255, n_bytes),
            ("C", "<f4", -large, large, V, E), ("W1", "<f4", -large, large, B, E, H),
            ("b1", "<f4", -large, large, H), ("W2", "<f4", -large, large, n_groups, n_inputs, 16),
            ("b2", "<f4", -large, large, n_groups, 16), ("weight", "<f4", 0, 1, 1),
            ("left", "<u4", 0, V - 1, n_contexts),
            ("first_child", "<u4", min(1, n_contexts), n_contexts, n_contexts + 1),
            ("first_gram", "<u4", 0, n_grams, n_contexts + 1),
            ("token", "<u4", 0, V - 1, n_grams), ("kept", "<f4", 0, 1, n_grams),
            ("backoff", "<f4", 0, 1, n_contexts)]:
        n = int(np.prod(shape, dtype=object))
        check(at + n * np.dtype(kind).itemsize <= len(data) - 4, path, "length")
        array = np.frombuffer(data, kind, n, at).reshape(shape)
        check(((array >= low) & (array <= high)).all(), path, name)  # false for nan, too
        if name[:5] in ("start", "first"):  # where groups start, and where the last one ends
            check((array[:-1] <= array[1:]).all() and (array[0], array[-1]) == (low, high), path,
                  name)
        setattr(m, name, array)
        at += -(-array.nbytes // 64) * 64  # each array starts at a multiple of 64 bytes
    check(at == len(data) - 4, path, "length")
    return prepare(m, path)


def check(holds, path, what):
    if not holds:
        raise ValueError(f"{path} is damaged: its {what} is wrong")


def prepare(m, path):
    """Makes strings of the tokens, and a matrix of W2, whose columns the file has 16 by 16."""
    text = m.text.tobytes()
    m.itos = [text[a:b].decode(errors="replace") for a, b in zip(m.start, m.start[1:])]
    m.stoi = {token: i for i, token in enumerate(m.itos) if i > 0}
    m.longest, m.weight = max(map(len, m.itos)), float(m.weight[0])
    rising = all(a < b for a, b in zip(["", *m.itos[1:]], m.itos[1:]))
    check(rising and m.itos[0] == "\n" and "".join(m.itos).encode() == text
          and not CONTROL.search("".join(m.itos[1:])), path, "vocabulary")
    m.W2 = np.hstack(m.W2)[:, :m.vocab_size].copy()  # (n_inputs, vocab_size)
    m.b2 = m.b2.ravel()[:m.vocab_size]
    node = np.repeat(np.arange(m.n_contexts), np.diff(m.first_gram))  # the context of each n-gram
    parent = np.repeat(np.arange(m.n_contexts), np.diff(m.first_child))  # of each but the first
    for name, group, numbers in ("token", node, m.token), ("left", parent, m.left[1:]):
        check((np.diff(group * m.vocab_size + numbers) > 0).all(), path, name)  # sorted in groups
    total = np.bincount(node, m.kept, m.n_contexts) + m.backoff
    check((abs(total - 1) < 0.001).all(), path, "sum of probabilities")
    return m

# -----------------------------------------------------------------------------
# Network

def exponential(x):
    """exp(x) to about one unit in the last place, for x from -87 to 87; other x are clamped."""
    x = np.clip(x, F(-87), F(87))
    # x = n ln 2 + r, n whole, |r| at most about ln 2 / 2. Floats near 1.5 * 2^23 have no bits for
    # fractions: adding that to x / ln 2 rounds it to n, and leaves n in the lowest bits.
    shifted = x * F(1.44269504) + F(12582912)
    n = shifted - F(12582912)
    # ln 2 in two parts, as in Cephes: the first has so few bits that n times it is exact
    r = x - n * F(0.693359375) + n * F(2.12194440e-4)
    sum = F(1) / F(5040)  # the Taylor series of exp(r); further terms are below the rounding error
    for factor in F(1) / F(720), F(1) / F(120), F(1) / F(24), F(1) / F(6), F(0.5), F(1), F(1):
        sum = sum * r + factor
    # times 2^n: adds n to the exponent, which stands above the 23 bits of the fraction
    return (sum.view(np.uint32) + (shifted.view(np.uint32) << np.uint32(23))).view(F)


def forward(m, context):
    """The logits (vocab_size,) of the tokens after a context (block_size,)."""
    h = m.b1  # (n_hidden,)
    for position, token in enumerate(context):
        if (position, token) not in m.rows:  # C[token] @ W1[position], computed once
            products = m.C[token][:, None] * m.W1[position]             # (n_embd, n_hidden)
            m.rows[position, token] = np.add.accumulate(products)[-1]  # (n_hidden,)
        h = h + m.rows[position, token]
    h = F(1) - F(2) / (exponential(F(2) * h) + F(1))  # tanh, to about 1e-7
    # logits = b2 + h @ W2, the inputs added four at a time: C then waits for fewer additions
    products = np.pad(h, (0, -len(h) % 4))[:, None] * m.W2  # (n_inputs, vocab_size)
    fours = (products[0::4] + products[1::4]) + (products[2::4] + products[3::4])
    return np.add.accumulate(np.vstack([m.b2, fours]))[-1]

# -----------------------------------------------------------------------------
# N-grams

def ngram_probs(m, context):
    """float64 (vocab_size,): the probability of every token after a context, by Kneser-Ney.

    The contexts are a tree. Node 0 is the empty one; a child has one token more, at its left, and
    siblings are sorted by it. The walk starts with all tokens equally likely; each node adds its
    own share, kept, to the tokens seen after it, and leaves backoff to shorter contexts."""
    p, node = np.full(m.vocab_size, 1 / m.vocab_size), 0
    for k in range(m.depth + 1):  # k tokens of context
        if k > 0:
            first, end = m.first_child[node], m.first_child[node + 1]
            node = first + np.searchsorted(m.left[first:end], context[-k])
            if node == end or m.left[node] != context[-k]:
                break
        grams = slice(m.first_gram[node], m.first_gram[node + 1])
        p *= m.backoff[node]
        p[m.token[grams]] += m.kept[grams]
    return p

# -----------------------------------------------------------------------------
# Distribution

def accumulate(p):
    """float64: the sum of the first, of the first two, ... of all numbers of p."""
    return np.add.accumulate(p, dtype=np.float64)


def mix(m, context):
    """float64 (vocab_size,): the probability of every token after a context (context_size,), by the
    network, by the n-grams, or by both: weight * p_network + (1 - weight) * p_ngrams."""
    if m.n_hidden > 0:
        logits = forward(m, context[m.context_size - m.block_size:])
        e = exponential(logits - logits.max())  # softmax; less the largest, so no exp overflows
        p = e.astype(np.float64) / accumulate(e)[-1]
    if m.n_hidden > 0 and m.n_contexts > 0:
        return m.weight * p + (1 - m.weight) * ngram_probs(m, context)
    return p if m.n_hidden > 0 else ngram_probs(m, context)


def logarithm(x):
    """ln(x), float64, for x >= 1, to about 1e-15: x = 2^n y; ln y = 2 artanh((y - 1) / (y + 1))."""
    n = np.zeros(x.shape)
    while (large := x > 1.5).any():
        x, n = np.where(large, x / 2, x), n + large
    s, sum = (x - 1) / (x + 1), 0.0  # |s| is at most 1/5
    for k in range(21, 0, -2):
        sum = sum * s * s + 1.0 / k
    return n * 0.69314718055994531 + 2 * s * sum


def keep_likeliest(p, top_k, top_p):
    """p (vocab_size,) with 0 for all but the top_k likeliest tokens, then for all but the fewest of
    these that have a share top_p of their sum. Of tokens that are as likely, the first is kept."""
    ranking = np.argsort(-p, kind="stable")[:top_k]
    kept = np.zeros_like(p)
    kept[ranking] = p[ranking]
    too_few = accumulate(p[ranking]) < float(top_p) * accumulate(kept)[-1]
    kept[ranking[too_few.sum() + 1:]] = 0
    return kept


def distribution(m, context, temperature, top_k, top_p):
    """The thresholds (vocab_size,) after a context: of each token, the probability of all up to it,
    times 2^30. A number below 2^30 stands for the first token whose threshold is above it."""
    p = mix(m, context).astype(F)
    if temperature < 0.001:  # the limit: the likeliest
        temperature = top_k = 1
    if F(temperature) != 1:  # p^(1 / temperature), but for a factor: the largest becomes 1
        likely = p > 0
        ratio = float(p.max()) / p[likely].astype(np.float64)
        p[likely] = exponential(-logarithm(ratio).astype(F) / F(temperature))
    if top_k < m.vocab_size or F(top_p) < 1:
        p = keep_likeliest(p, top_k, F(top_p))
    upto = accumulate(p)
    return (upto / upto[-1] * 2.0**30).astype(np.int32)

# -----------------------------------------------------------------------------
# Names

def splitmix64(z):
    """Mixes the 64 bits of an int so that each depends on all (Steele, Lea and Flood 2014)."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def tokenize(m, text):
    """The tokens (list of int) of a text: at each place the longest that fits. If tokens 1 to 4 are
    "a", "b", "c", "ab", "abcb" is [4, 3, 2]. Raises ValueError if none fits."""
    tokens, at = [], 0
    while at < len(text):
        length = m.longest
        while length > 0 and text[at:at + length] not in m.stoi:
            length -= 1
        if length == 0:
            hint = "; try lower case" if text[at].lower() in m.stoi else ""
            raise ValueError(f"the model does not know '{CONTROL.sub('?', text[at])}'{hint}")
        tokens.append(m.stoi[text[at:at + length]])
        at += length
    return tokens


def sample(m, number, start, seed, cache, *options):
    """The name (str) with this number, which begins with the tokens start; cache is a dict.

    A name has MAX_LEN random numbers to itself, multiples of a constant, mixed: so it does not
    depend on the names before it. The seed is mixed as well, or two could share a sequence."""
    tokens = [0] * m.context_size + start
    for at in range(len(start), MAX_LEN):
        context = tuple(tokens[at:])  # context_size tokens
        if context not in cache:
            if len(cache) * m.vocab_size > MAX_CACHE:
                cache.clear()
            cache[context] = distribution(m, context, *options)
        count = (number * MAX_LEN + at) * GOLDEN
        drawn = splitmix64((splitmix64((seed + GOLDEN) % 2**64) + count) % 2**64) >> 34
        token = int(np.searchsorted(cache[context], drawn, side="right"))
        if token == 0:
            break
        tokens.append(token)
    return "".join(m.itos[token] for token in tokens[m.context_size:])


def names(m, n, seed=0, prefix="", first=0, temperature=1.0, top_k=2**31, top_p=1.0, known=(),
          unique=False):
    """Yields n names (str), from number first on, that are not in known (set of str); if unique,
    none twice. The same model, seed and options give the same names. Raises ValueError if the model
    does not know the prefix, or if no name is new any more."""
    start, seen = tokenize(m, unicodedata.normalize("NFC", prefix)), set(known)
    cache, tries = {}, 0
    while n > 0:
        name = sample(m, first, start, seed, cache, temperature, top_k, top_p)
        first, tries, line = first + 1, tries + 1, name.strip()  # as it is read from a file
        if not (unique or known) or (line and line not in seen):
            n, tries = n - 1, 0
            seen |= {line} if unique else set()
            yield name
        elif tries == MAX_TRIES:
            raise ValueError(f"{tries} names in a row were not new")

# -----------------------------------------------------------------------------
# Scores

def score(m, line):
    """The negative log-likelihood, in nats, of each token of a line (str) and of the boundary."""
    tokens = [0] * m.context_size + tokenize(m, line) + [0]
    p = np.array([mix(m, tokens[at - m.context_size:at])[tokens[at]]
                  for at in range(m.context_size, len(tokens))])
    return np.where(p > 1e-300, logarithm(1 / np.clip(p, 1e-300, 1)), np.inf)  # p can round above 1

# -----------------------------------------------------------------------------
# From here on nothing is about the model: files, the command line, errors.

def read_lines(path):
    """The lines (number, str) of a file that are not blank, stripped and composed (NFC): UTF-8, or
    UTF-16 with a mark. Raises OSError; ValueError if it is neither."""
    with open(path, "rb") as f:
        data = f.read()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = unicodedata.normalize("NFC", data.decode(encoding))
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is not UTF-8, at byte {e.start}; convert it first") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(i, line.strip()) for i, line in enumerate(lines, start=1) if line.strip()]


def print_losses(m, path):
    """Prints the mean loss of each line of a file, and of all of them on stderr."""
    losses, unknown = [], 0
    for number, line in read_lines(path):
        try:
            losses.append(accumulate(score(m, line)))
            print(f"{losses[-1][-1] / len(losses[-1]):.6f}\t{line}")
        except ValueError as e:
            unknown += 1
            if unknown == 1:
                print(f"sample.py: line {number} of {path} is left out: {e}", file=sys.stderr)
    if unknown:
        print(f"sample.py: left out {unknown} lines of {path}", file=sys.stderr)
    if not losses:
        raise ValueError(f"{path} has no line to score")
    total, n = sum(loss[-1] for loss in losses), sum(map(len, losses))
    print(f"mean {total / n:.6f} nats over {n} tokens", file=sys.stderr)


def main(argv):
    parser = argparse.ArgumentParser(prog="sample.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.split("\n")[1])
    parser.add_argument("model", nargs="?", help="a file of export.py (out/mlp.bin, or names.bin)")
    parser.add_argument("-n", type=int, default=20, help="how many names to print (20)")
    parser.add_argument("-s", type=int, help="seed; the same gives the same names (from the clock)")
    parser.add_argument("-f", type=int, default=0, help="number of the first name (0)")
    parser.add_argument("-t", type=float, default=1, help="temperature: lower is safer (1)")
    parser.add_argument("-k", type=int, default=2**31, help="sample the K likeliest tokens only")
    parser.add_argument("-p", type=float, default=1, help="and of these the fewest with a share P")
    parser.add_argument("-i", default="", help="start every name with I")
    parser.add_argument("-x", action="append", default=[], help="leave out lines of X; repeatable")
    parser.add_argument("-u", action="store_true", help="print no name twice")
    parser.add_argument("-e", action="append", default=[], help="print the loss of every line of E")
    args = parser.parse_args(argv)
    for name, low, high in (("n", 0, 2**53), ("s", 0, 2**64 - 1), ("f", 0, 2**53), ("t", 0, 1000),
                            ("k", 1, 2**31), ("p", 0, 1)):
        if not low <= (value := getattr(args, name) or 0) <= high:
            parser.error(f"argument -{name}: {value} is not between {low} and {high}")
    if len(args.e) > 1:
        parser.error("argument -e takes one file")
    path = args.model or "out/mlp.bin"
    if not args.model and not os.path.exists(path):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "names.bin")
        print(f"sample.py: there is no out/mlp.bin; this is {path}", file=sys.stderr)
    m = load(path)
    if args.e:
        return print_losses(m, args.e[0])
    if args.s is None:
        args.s = time.time_ns() % 2**24  # short enough to retype
        print("seed", args.s, file=sys.stderr)
    known = {line for path in args.x for _, line in read_lines(path)}
    for name in names(m, args.n, args.s, args.i, args.f, args.t, args.k, args.p, known, args.u):
        print(name)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # if head stops reading: end quietly
    try:
        main(sys.argv[1:])
    except OSError as e:
        sys.exit(f"sample.py: {e.filename or 'cannot write the output'}: {e.strerror}")
    except (ValueError, KeyboardInterrupt) as e:
        sys.exit(f"sample.py: {e or 'stopped'}")
