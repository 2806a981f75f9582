"""
How far counting can go: Kneser-Ney smoothing, which mlp.py has to beat and mix.py adds to it.

    python kneser_ney.py                     # 5 characters of context: dev loss 2.008
    python kneser_ney.py --block_size=8      # more context no longer helps: 2.013
    python kneser_ney.py --tune              # chooses context length and discount on dev

Interpolated, modified Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999).
"""

import numpy as np
import torch
import torch.nn.functional as F

import bigram

SETTINGS = [row for row in bigram.SETTINGS if row[0] in (
    "input_file", "train_frac", "keep_duplicates", "num_samples", "seed")] + [
    ("block_size",      5,           (1, 256),     "context length, in characters"),
    ("discount",        1.1,         (0, 10),      "scales the estimated discounts"),
    ("tune",            False,       None,         "choose context length and discount on dev"),
]
MAX_BLOCK_SIZE = 12  # the longest context that tune() tries
DISCOUNTS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]


class KneserNey:
    """N-grams of order 0, 1, 2, ...: order k has the last k tokens as its context.

    Fake counts treat all unseen tokens alike; here a shorter context tells them apart. Each count c
    loses a discount D, and what is lost goes to order k - 1, below 0 to all tokens alike:
        p_k(token) = kept + backoff * p_(k-1)(token)
        kept = (c - D) / total, 0 if the n-gram was not seen
        backoff = (sum of the context's D) / total, 1 if the context was not seen
    In the highest order c is a plain count. In the others it is the number of different tokens that
    precede the n-gram: "Francisco" is frequent, but only after "San".

    Take the words "ab" and "cb", a dot for the boundary, and order 1 as the highest. Its n-grams
    are .a ab b. .c cb, with a c of 1, but 2 for "b.". In order 0, b has 2, for a and c precede it;
    the dot has 1, for only b does. How likely is b after a? Without any order 1/4. In order 0 D is
    0.6 for a c of 1 and 0.2 for 2, and the total 5: (2 - 0.2) / 5 + (3 * 0.6 + 0.2) / 5 * 1/4 is
    0.46. In order 1 D is 2/3 for a c of 1, and the total after a is 1: 1/3 + 2/3 * 0.46 is 0.64.

    Each order numbers its contexts and its n-grams by their places in sorted lists of keys:
        key of an n-gram = number of its context * vocab_size + last token
        key of a context = number of the context one shorter * vocab_size + leftmost token"""

    def __init__(self, rows, vocab_size, block_size, discount=1.0):
        self.vocab_size, self.discount, self.orders = vocab_size, discount, []
        # Sorted by the last token of the context, then by the one before it, and so on, the rows of
        # a context stand together in every order; first marks where one begins, in the highest.
        self.ix = torch.from_numpy(np.lexsort(rows[:, :-1].T.numpy()).astype(np.int32))
        self.token = rows[:, -1][self.ix]          # (predictions,), like ix and first
        self.first = torch.arange(len(rows)) == 0  # order 0 has one context, the empty one
        for _ in range(block_size + 1):
            self.add_order(rows)

    def add_order(self, rows):
        """Counts the n-grams with one token more of context. The rows are those of __init__; only
        the order that was the highest changes: its c."""
        k, V = len(self.orders), self.vocab_size
        context_keys = torch.zeros(1, dtype=torch.long)
        if k > 0:
            left = rows[:, -1 - k][self.ix]  # the leftmost token of each context
            shorter = self.first.cumsum(0, dtype=torch.int32).sub_(1)  # the context without it
            self.first[1:] |= left[1:] != left[:-1]
            context_keys = shorter[self.first].long() * V + left[self.first]
            del left, shorter  # as large as the data
        context = self.first.cumsum(0).sub_(1)
        keys, count = group(context.mul_(V).add_(self.token))  # in place, to save memory
        if k > 0:  # how many of these n-grams are each of those below, without the leftmost token?
            below = self.orders[-1]
            _, below["c"] = group(context_keys[keys // V] // V * V + keys % V)
            self.set_discount(below)
        self.orders.append({"context_keys": context_keys, "keys": keys, "count": count, "c": count})
        self.set_discount(self.orders[-1])

    def drop_order(self):
        """Takes back the last add_order(), after which no other may follow."""
        self.orders.pop()
        self.orders[-1]["c"] = self.orders[-1]["count"]
        self.set_discount(self.orders[-1])

    def set_discount(self, order):
        """Computes kept (n-grams + 1,) and backoff (contexts + 1,) of an order. D is Chen and
        Goodman's estimate for a c of 1, of 2, and of 3 or more, clamped, times self.discount."""
        c, context = order["c"], order["keys"] // self.vocab_size  # both (n-grams,)
        n1, n2, n3, n4 = (max(1, (c == i).sum().item()) for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        estimates = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        D = [min(i, self.discount * max(0.1, d)) for i, d in enumerate(estimates, start=1)]
        taken = torch.tensor(D, dtype=torch.double)[c.clamp(max=3) - 1]  # (n-grams,)
        total = torch.bincount(context, weights=c.double())              # (contexts,)
        # a last entry for index -1: n-grams never seen keep 0, contexts never seen pass on all
        order["kept"] = F.pad((c - taken) / total[context], (0, 1))
        order["backoff"] = F.pad(torch.bincount(context, weights=taken) / total, (0, 1), value=1.0)

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

    def __getitem__(self, context):
        """The row model[context], (vocab_size,): bigram.sample reads it as in a table."""
        rows = [[*context, token] for token in range(self.vocab_size)]
        return self.prob(torch.tensor(rows))


def group(numbers):
    """The different numbers, sorted, and how often each occurs: [5, 2, 5] -> [2, 5], [1, 2]. Sorts
    numbers in place, by NumPy, which is faster than torch here."""
    numbers.numpy().sort()
    start = torch.cat([torch.tensor([True]), numbers[1:] != numbers[:-1]]).nonzero().flatten()
    return numbers[start], start.diff(append=torch.tensor([len(numbers)])).int()


def find(keys, wanted):
    """The index of each wanted number in the sorted keys; -1 if it is not there."""
    i = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[i] == wanted, i, -1)


def evaluate(model, rows):
    """The mean loss over the rows, a million at a time; nan if there are none."""
    return -torch.cat([model.prob(part) for part in rows.split(10**6)]).log().mean().item()


def rescale(model, discount):
    """Gives all orders another discount, which takes no new counts."""
    model.discount = discount
    for order in model.orders:
        model.set_discount(order)


def tune(model, train, loss):
    """Gives a model of order 0 more context while loss(model) falls, then the best discount."""
    losses = [loss(model)]
    while len(losses) == len(model.orders) <= MAX_BLOCK_SIZE:
        model.add_order(train)
        losses.append(loss(model))
        print(f"block_size {len(losses) - 1} | dev {losses[-1]:.4f}", flush=True)
        if losses[-1] >= losses[-2]:
            model.drop_order()
    tried = []
    for discount in DISCOUNTS:
        rescale(model, discount)
        tried.append((loss(model), discount))
        print("discount {1} | dev {0:.4f}".format(*tried[-1]), flush=True)
    rescale(model, min(tried)[1])


def main(argv):
    config = bigram.parse_args(argv, SETTINGS)
    words = bigram.read_words(config.input_file, config.keep_duplicates)
    itos, splits = bigram.vocabulary(words), bigram.split_words(words, config.train_frac)
    width = MAX_BLOCK_SIZE if config.tune else config.block_size
    parts = [bigram.encode(split, itos, width) for split in splits]
    bigram.show_data(words, itos, parts, config)
    model = KneserNey(parts[0], len(itos), 0 if config.tune else width, config.discount)
    if config.tune and not len(parts[1]):
        raise ValueError("there is no dev data to tune on; lower --train_frac")
    if config.tune:
        tune(model, parts[0], lambda model: evaluate(model, parts[1]))
        print(f"best on dev: --block_size={len(model.orders) - 1} --discount={model.discount}")
    losses = [evaluate(model, part) for part in parts]
    print("kneser_ney: train {:.4f} | dev {:.4f} | test {:.4f}".format(*losses),
          f"| {sum(len(order['keys']) for order in model.orders):,} n-grams")
    samples = bigram.samples(model, itos, len(model.orders) - 1, config)
    bigram.show_samples(samples, words, splits[0])


if __name__ == "__main__":
    bigram.start(main)
