"""kneser_ney.py against its formula, told over dictionaries one n-gram at a time; and its command."""

import random

import numpy as np
import pytest
import torch

import bigram
import kneser_ney
from conftest import SlowKneserNey, predictions, random_words
from kneser_ney import KneserNey


def rows_of(words, block_size, dtype=torch.uint8):
    return torch.tensor([[*context, token] for context, token in predictions(words, block_size)],
                        dtype=dtype)


@pytest.mark.parametrize("block_size, n, scale", [(1, 40, 1.0), (2, 200, 1.1), (3, 200, 0.7),
                                                  (4, 2, 1.0), (4, 60, 3.0), (2, 60, 0.0)])
def test_probabilities_are_those_of_the_formula(block_size, n, scale):
    train, dev = random_words(n), random_words(30, 5, seed=1)
    model = KneserNey(rows_of(train, block_size), 6, block_size, scale)
    slow = SlowKneserNey(train, 6, block_size, scale)
    for words in (train[:20], dev):
        expected = [slow.probs(context)[token] for context, token in predictions(words, block_size)]
        np.testing.assert_allclose(model.prob(rows_of(words, block_size)), expected, rtol=1e-12,
                                   atol=1e-300)


@pytest.mark.parametrize("block_size", [1, 3, 8])
def test_probabilities_sum_to_one(block_size):
    rows = rows_of(random_words(300), block_size)
    model = KneserNey(rows, 5, block_size, 1.1)
    torch.manual_seed(0)
    contexts = torch.cat([rows[:200, :-1], torch.randint(5, (200, block_size)).to(rows)])
    every = torch.arange(5).to(rows).repeat(400)[:, None]
    p = model.prob(torch.cat([contexts.repeat_interleave(5, dim=0), every], dim=1))  # (2000,)
    assert p.min() > 0
    np.testing.assert_allclose(p.view(400, 5).sum(1), np.ones(400), atol=1e-12)


def test_the_worked_example_of_the_docstring():
    """The words "ab" and "cb": after a, b has (2 - 0.2) / 5 + 2 / 5 * 1/4 = 0.46 without context."""
    model = KneserNey(rows_of([[1, 2], [3, 2]], 1), 4, 1)
    order = model.orders[0]
    counts = dict(zip(order["keys"].tolist(), order["c"].tolist()))
    assert counts == {0: 1, 1: 1, 2: 2, 3: 1}  # different tokens before ., a, b, c
    assert order["kept"][2] + order["backoff"][0] / 4 == pytest.approx(0.46)
    p = model.prob(torch.tensor([[1, 2]], dtype=torch.uint8)).item()
    assert p == pytest.approx(1 / 3 + 2 / 3 * 0.46)


def test_a_longer_context_only_changes_the_order_below():
    """add_order() one by one is a count at once; drop_order() takes the last one back."""
    rows = rows_of(random_words(150), 6)
    model = KneserNey(rows, 5, 1, 0.9)
    for block_size in (2, 3, 4):
        model.add_order(rows)
        at_once = KneserNey(rows, 5, block_size, 0.9)
        for got, expected in zip(model.orders, at_once.orders, strict=True):
            assert all(torch.equal(got[name], expected[name])
                       for name in ("context_keys", "keys", "kept", "backoff"))
    expected = KneserNey(rows, 5, 3, 0.9).prob(rows)
    model.drop_order()
    assert len(model.orders) == 4 and torch.equal(model.prob(rows), expected)


def test_many_tokens_and_long_contexts():
    """300 tokens and 30 of context: 300^31 is far above any integer type."""
    rng = random.Random(0)
    words = [[rng.randint(1, 299) for _ in range(8)] for _ in range(300)]
    rows, new_rows = (rows_of(part, 30, torch.int32)
                      for part in (words, [word[::-1] for word in words]))
    model = KneserNey(rows, 300, 30)
    seen = -model.prob(rows).log().mean()
    new = -model.prob(new_rows).log().mean()
    assert seen < 3 < 5 < new < 7  # log(300) is 5.7


def test_five_characters_of_names(names):
    """Counting in whole numbers and float64: nothing here depends on the machine."""
    itos = bigram.vocabulary(names)
    train, dev, _ = (bigram.encode(part, itos, 5) for part in bigram.split_words(names, 0.8))
    loss = -KneserNey(train, len(itos), 5, 1.1).prob(dev).log().mean().item()
    assert loss == pytest.approx(2.0077, abs=1e-4)
