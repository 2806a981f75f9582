"""
sample.c once more, in NumPy: the same operations in the same order, and so the same bits.

Read it as the specification. A variable is a float32 unless it says float64; NumPy rounds after
every + - * / as C does, and adds up along an axis only where `accumulate` says so, one by one.
Everything is done for N contexts at a time, (N, ...), each on its own.
"""

import itertools
import struct
import zlib

import numpy as np

MAX_LEN = 1024
F, U = np.float32, np.uint64


class Model:
    def __init__(self, path):
        data = open(path, "rb").read()
        magic, version, B, V, E, H = struct.unpack_from("<4s5I", data)
        assert magic == b"NPLM" and version in (1, 2)
        assert zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]
        self.itos, at = [], 24
        for _ in range(V):
            self.itos.append(data[at + 1:at + 1 + data[at]].decode())
            at += 1 + data[at]
        at += -at % 4
        self.weight, self.orders, self.has_network = np.float64(1), [], B > 0
        if self.has_network:
            sizes = [V * E, B * E * H, H, H * V, V]
            self.set_weights(np.frombuffer(data, "<f4", sum(sizes), at).astype(F), sizes, B, E)
            at += 4 * sum(sizes)
        if version == 2:
            self.read_ngrams(data, at)
        self.block_size = B
        self.context_size = max(1, B, len(self.orders) - 1)

    def set_weights(self, weights, sizes, B, E):
        C, W1, self.b1, W2, self.b2 = np.split(weights, np.cumsum(sizes)[:-1])
        C, W1, W2 = C.reshape(-1, E), W1.reshape(B, E, -1), W2.reshape(len(self.b1), -1)
        self.rows = np.zeros((B, len(C), len(self.b1)), F)  # first layer of a position and token
        for e in range(E):
            self.rows += C[:, e, None] * W1[:, None, e]
        self.W2 = np.pad(W2, [(0, -len(W2) % 4), (0, 0)])  # four inputs at a time: zeros at the end

    def read_ngrams(self, data, at):
        """orders[k] has, for each context of k tokens: tokens, kept, backoff (float64)."""
        self.weight, n_orders = struct.unpack_from("<dI", data, at)
        heads = [struct.unpack_from("<2I3d", data, at + 12 + 32 * k) for k in range(n_orders)]
        numbers = leb128(data[at + 12 + 32 * n_orders:-4])
        contexts = [()]
        for n_contexts, n_grams, *discounts in heads:
            if self.orders:  # a context is one of the order before with a token more at its left
                n_children = take(numbers, len(contexts))
                parents = [c for c, n in zip(contexts, n_children) for _ in range(n)]
                contexts = [(left, *c) for left, c in zip(take(numbers, n_contexts), parents)]
            ends = np.cumsum(take(numbers, n_contexts))[:-1]
            tokens, counts = take(numbers, n_grams), take(numbers, n_grams)
            self.orders.append({})
            for context, t, c in zip(contexts, np.split(tokens, ends), np.split(counts, ends)):
                taken = np.array(discounts)[np.minimum(c, 3) - 1]
                self.orders[-1][context] = (t, (c - taken) / c.sum(),
                                            np.add.accumulate(taken)[-1] / c.sum())
        assert next(numbers, None) is None

    def logits(self, X):
        """The logits (N, vocab_size) after contexts X (N, block_size), less the largest of them."""
        h = self.b1
        for position in range(self.block_size):
            h = h + self.rows[position, X[:, position]]
        h = tanh(h)
        h = np.pad(h, [(0, 0), (0, -h.shape[1] % 4)])
        sums = self.b2
        for j in range(0, len(self.W2), 4):
            a, b, c, d = (h[:, i, None] * self.W2[i] for i in range(j, j + 4))
            sums = sums + ((a + b) + (c + d))
        return sums - sums.max(axis=1, keepdims=True)

    def ngram_probs(self, X):
        """float64 (N, vocab_size), by Kneser-Ney."""
        p = np.full((len(X), len(self.itos)), 1 / len(self.itos))
        for row, context in zip(p, X.tolist()):
            for k, order in enumerate(self.orders):
                if (found := order.get(tuple(context[len(context) - k:]))) is None:
                    break
                tokens, kept, backoff = found
                row *= backoff
                row[tokens] = kept + row[tokens]
        return p

    def mixed(self, X):
        """float64 (N, vocab_size): the network's probabilities and the n-grams', weighted."""
        p = self.ngram_probs(X)
        if not self.has_network:
            return p
        e = exponential(self.logits(X[:, self.context_size - self.block_size:]))
        network = e / accumulate(e)[:, -1:]
        return self.weight * network + (1 - self.weight) * p


def leb128(data):
    """The numbers in bytes: 7 bits in each, lowest first; the last byte of a number is below 128."""
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0


def take(numbers, n):
    return np.array(list(itertools.islice(numbers, n)), np.int64)


def exponential(x):
    x = np.clip(x, F(-87), F(87))
    shifted = x * F(1.44269504) + F(12582912)
    n = shifted - F(12582912)
    r = x - n * F(0.693359375) + n * F(2.12194440e-4)
    result = F(1) / F(5040)
    for factor in (F(1) / F(720), F(1) / F(120), F(1) / F(24), F(1) / F(6), F(0.5), F(1), F(1)):
        result = result * r + factor
    return (result.view(np.uint32) + (shifted.view(np.uint32) << np.uint32(23))).view(F)


def tanh(x):
    return F(1) - F(2) / (exponential(F(2) * x) + F(1))


def logarithm(x):  # float64
    n = np.zeros(x.shape)
    while (large := x > 1.5).any():
        x, n = np.where(large, x / 2, x), n + large
    s, result = (x - 1) / (x + 1), 0.0
    for k in range(21, 0, -2):
        result = result * s * s + 1.0 / k
    return n * 0.69314718055994531 + 2 * s * result


def accumulate(p):
    """The float64 sum of the first, of the first two, ... of p (N, ...), in each row."""
    return np.add.accumulate(p, axis=1, dtype=np.float64)


def keep_likeliest(p, top_k, top_p):
    """p, 0 for all but the top_k likeliest, and for all but the fewest of these with a share top_p
    of their sum."""
    ranking = np.argsort(-p, axis=1, kind="stable")[:, :top_k]  # equals in order of token
    upto = accumulate(np.take_along_axis(p, ranking, axis=1))
    before = np.pad(upto[:, :-1], [(0, 0), (1, 0)])
    kept = before < np.float64(F(top_p)) * upto[:, -1:]
    kept[:, 0] = True
    mask = np.zeros(p.shape, bool)
    np.put_along_axis(mask, ranking, kept, axis=1)
    return np.where(mask, p, F(0))


def distribution(model, X, temperature=1, top_k=None, top_p=1):
    """After each context: p (N, vocab_size), but for a common factor, and the thresholds."""
    if temperature == 0:  # the likeliest
        temperature = top_k = 1
    T = F(temperature)
    if model.orders:
        p = model.mixed(X).astype(F)
        x = np.full(p.shape, -np.inf, F)
        highest = p.max(axis=1, keepdims=True).astype(np.float64)
        x[p > 0] = -logarithm((highest / np.where(p > 0, p, 1))[p > 0]).astype(F)
    else:
        x = model.logits(X)
        p = exponential(x)
    if T != 1:
        p = np.where(p > 0, exponential(x / T), F(0))
    if (top_k or p.shape[1]) < p.shape[1] or F(top_p) < 1:
        p = keep_likeliest(p, top_k or None, top_p)
    upto = accumulate(p)
    return p, (upto / upto[:, -1:] * 2.0**30).astype(np.int32)


def nlls(model, X):
    """After each context the negative log-likelihood of every token, (N, vocab_size)."""
    if model.orders:
        p = model.mixed(X)
        likely = p > 1e-300
        return np.where(likely, logarithm(1 / np.where(likely, p, 1)).astype(F), F(np.inf))
    x = model.logits(X)
    return -x + logarithm(accumulate(exponential(x))[:, -1:]).astype(F)


def mix(z):
    z = (z ^ z >> U(30)) * U(0xBF58476D1CE4E5B9)
    z = (z ^ z >> U(27)) * U(0x94D049BB133111EB)
    return z ^ z >> U(31)


def names(model, n, seed, prefix="", **options):
    """Names number 0 to n - 1."""
    number, seed = np.arange(n, dtype=U), mix(np.array([seed], U))
    tokens = np.zeros((n, model.context_size + MAX_LEN), np.int64)  # boundaries, then the name
    start = [model.itos.index(character) for character in prefix]
    tokens[:, model.context_size:model.context_size + len(start)] = start
    growing = np.arange(n)
    for at in range(len(start), MAX_LEN):
        X, same = np.unique(tokens[growing, at:at + model.context_size], axis=0, return_inverse=True)
        thresholds = distribution(model, X, **options)[1]
        draw = mix(seed + (number[growing] * U(MAX_LEN) + U(at)) * U(0x9E3779B97F4A7C15)) >> U(34)
        next_token = (thresholds[same.ravel()] <= draw.astype(np.int64)[:, None]).sum(axis=1)
        tokens[growing, model.context_size + at] = next_token
        growing = growing[next_token != 0]
        if not len(growing):
            break
    letters = np.array([""] + model.itos[1:])
    return ["".join(letters[row]) for row in tokens[:, model.context_size:model.context_size + at + 1]]


def scores(model, lines):
    """What -e prints: the mean negative log-likelihood of a token (float64), for each line."""
    result = []
    for line in lines:
        tokens = [model.itos.index(character) for character in line] + [0]
        padded = np.array([0] * model.context_size + tokens)
        X = np.lib.stride_tricks.sliding_window_view(padded, model.context_size)[:-1]
        nll = nlls(model, X)[None, np.arange(len(tokens)), tokens]
        result.append(f"{accumulate(nll)[0, -1] / len(tokens):.6f}\t{line}")
    return result
