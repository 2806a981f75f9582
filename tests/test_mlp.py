"""mlp.py: the network and its gradients against float64, steps, evaluating, sampling, settings."""

import copy
import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mlp
from conftest import Model, slow_logits, softmax


def network(vocab_size=11, block_size=3, n_embd=5, n_hidden=7, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    model = mlp.MLP(vocab_size, block_size, n_embd, n_hidden, dropout)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
        model.W1 /= (block_size * n_embd)**0.5
    return model


@pytest.mark.parametrize("batch_size", [1, 11, 12, 200])
def test_both_ways_are_the_network_of_the_paper_and_have_its_gradient(batch_size):
    model, X = network().double(), torch.randint(11, (batch_size, 3))
    ways = model.hidden(X), model.hidden_by_table(X)
    logits = [model(X), *(h @ model.W2 + model.b2 for h in ways)]
    state = {name: p.numpy() for name, p in model.state_dict().items()}
    for found in logits:
        np.testing.assert_allclose(found.detach(), [slow_logits(state, x) for x in X.tolist()])
    plain = torch.tanh(model.C[X].flatten(1) @ model.W1 + model.b1) @ model.W2 + model.b2
    expected, *gradients = (torch.autograd.grad((found**2).sum(), list(model.parameters()))
                            for found in (plain, *logits))
    for found in gradients:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_size", [1, 11, 12, 10**4])
def test_forward_takes_the_cheaper_way(monkeypatch, batch_size):
    """It multiplies either as many embeddings as the batch looks up, or the whole table."""
    model, taken = network(), []
    for name in ("hidden", "hidden_by_table"):
        monkeypatch.setattr(model, name, lambda X, name=name, way=getattr(model, name):
                            taken.append(name) or way(X))
    model(torch.randint(11, (batch_size, 3)))
    assert taken == ["hidden_by_table" if batch_size > 11 else "hidden"]


@pytest.mark.parametrize("way", ["hidden", "hidden_by_table"])
def test_dropout_zeroes_a_share_of_the_embeddings_and_scales_the_rest(way):
    """With W1 the identity and small numbers, the hidden layer is the embeddings after dropout."""
    n, share = 500, 0.3
    model = mlp.MLP(5, 2, n, 2 * n, share)
    with torch.no_grad():
        model.C.fill_(1e-3)
        model.W1.copy_(torch.eye(2 * n))
        torch.manual_seed(0)
        h = getattr(model, way)(torch.tensor([[1, 2], [1, 3], [2, 1], [1, 2]])) / 1e-3
        zero = h.abs() < 1e-6
        np.testing.assert_allclose(h[~zero], 1 / (1 - share), atol=1e-3)
        assert abs(zero[:3].float().mean() - share) < 5 * (share * (1 - share) / (6 * n))**0.5
        # in a table, the same token at the same place has one mask; any other has its own
        assert torch.equal(h[0], h[3]) == (way == "hidden_by_table")
        assert torch.equal(h[0, :n], h[1, :n]) == (way == "hidden_by_table")
        assert not torch.equal(h[0, n:], h[1, n:]) and not torch.equal(h[0, n:], h[2, :n])
        model.eval()
        np.testing.assert_allclose(getattr(model, way)(torch.tensor([[1, 2]])), 1e-3, rtol=1e-5)


def test_network_starts_with_the_loss_of_guessing_and_a_hidden_layer_neither_dead_nor_idle():
    """The logits have a variance of at most v = 0.01**2 * n_hidden: the mean loss is v / 2 or so
    above that of guessing, give or take (v / 2000)**0.5. tanh(5/3 z), z normal, has a spread of
    0.76, and is beyond 0.99 for z beyond 1.59, a share of 0.11."""
    for sizes, n_parameters in (((27, 8, 24, 300), 66675), ((500, 4, 24, 64), 50708)):
        torch.manual_seed(0)
        model = mlp.MLP(*sizes)
        X, Y = torch.randint(sizes[0], (2000, sizes[1])), torch.randint(sizes[0], (2000,))
        v = 0.01**2 * sizes[-1]
        loss = F.cross_entropy(model(X), Y).item()
        assert abs(loss - math.log(sizes[0])) < v / 2 + 4 * (v / 2000)**0.5
        h = model.hidden(X)
        assert 0.65 < h.std() < 0.85 and 0.05 < (h.abs() > 0.99).float().mean() < 0.17
        assert sum(p.numel() for p in model.parameters()) == n_parameters


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_an_epoch_meets_every_prediction_once_in_an_order_of_its_own(names, batch_size):
    rows = mlp.encode(names[:20], mlp.vocabulary(names), 12)  # contexts so long that all differ
    everything = Counter(map(tuple, rows.tolist()))
    per_epoch = max(1, len(rows) // batch_size)
    stream = mlp.batches(rows, batch_size, seed=1)
    epochs = []
    for _ in range(3):
        batches = [next(stream) for _ in range(per_epoch)]
        assert all(X.dtype == Y.dtype == torch.int64 for X, Y in batches)
        epochs.append([tuple(x + [y]) for X, Y in batches for x, y in zip(X.tolist(), Y.tolist())])
    for epoch in epochs:
        assert len(epoch) == min(per_epoch * batch_size, len(rows))
        assert not Counter(epoch) - everything
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert not torch.equal(next(mlp.batches(rows, 16, 1))[0], next(mlp.batches(rows, 16, 100))[0])


def test_learning_rate_follows_its_formula():
    config = mlp.parse_args(["--max_iters=100", "--warmup_iters=9", "--learning_rate=2"])
    for step in range(101):
        warmup = (step + 1) / 10 if step < 9 else 1
        assert mlp.learning_rate_at(step, config) == pytest.approx(
            2 * warmup * math.cos(math.pi * step / 200)**2, abs=1e-12)


def test_steps_are_those_of_adamw_by_hand():
    """Three steps in float64, as Loshchilov and Hutter write them; only W1 and W2 decay."""
    model, beta1, beta2 = network(5, 2).double(), 0.9, 0.95
    optimizer = mlp.make_optimizer(model, 0.5)
    p = {name: value.detach().clone() for name, value in model.named_parameters()}
    m, v = ({name: torch.zeros_like(value) for name, value in p.items()} for _ in range(2))
    for step, rate in ((1, 0.01), (2, 0.02), (3, 0.005)):
        X, Y = torch.randint(5, (40, 2)), torch.randint(5, (40,))
        free = {name: value.clone().requires_grad_() for name, value in p.items()}
        h = torch.tanh(free["C"][X].flatten(1) @ free["W1"] + free["b1"])
        loss = F.cross_entropy(h @ free["W2"] + free["b2"], Y)
        loss.backward()
        for name in p:
            g = free[name].grad
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g**2
            p[name] *= 1 - rate * 0.5 * (name in ("W1", "W2"))
            p[name] -= rate * m[name] / (1 - beta1**step) / (
                (v[name] / (1 - beta2**step)).sqrt() + 1e-8)
        found = mlp.train_step(model, optimizer, rate, X, Y)
        torch.testing.assert_close(found, loss.detach())
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), p[name])


def test_finder_trains_a_copy_at_rising_rates(names):
    """Nothing moves at first; the lowest loss is below that of token frequencies, 2.82."""
    config, itos = mlp.parse_args(["--batch_size=32", "--weight_decay=0"]), mlp.vocabulary(names)
    rows = mlp.encode(names[:3000], itos, 3)
    torch.manual_seed(1)
    model = mlp.MLP(27, 3, 4, 16)
    before = copy.deepcopy(model.state_dict())
    rates, losses = mlp.find_lr(model, rows, config)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert rates[0] < 2e-5 and rates[-1] > 0.7 and (rates[1:] / rates[:-1]).std() < 1e-5
    assert losses[0] == pytest.approx(math.log(len(itos)), abs=0.1)
    assert losses.min() < 2.75 and losses.min() < losses[-1] - 0.1


def test_evaluation_is_the_mean_over_all_predictions_without_dropout(names):
    model = network(27, 3, dropout=0.5)
    state = {name: p.numpy() for name, p in model.state_dict().items()}
    itos = mlp.vocabulary(names)
    rows = mlp.encode(names[:150], itos, 3)
    losses = [-np.log(softmax(slow_logits(state, row[:-1]))[row[-1]]) for row in rows.tolist()]
    assert mlp.evaluate(model, rows) == pytest.approx(np.mean(losses), abs=1e-5)
    assert mlp.evaluate(model, rows, 100) == pytest.approx(np.mean(losses[:100]), abs=1e-5)
    assert mlp.evaluate(model, rows, 10**9) == mlp.evaluate(model, rows)
    many = rows.repeat(30, 1)  # more than it takes at once, and no multiple of it
    assert mlp.evaluate(model, many) == pytest.approx(np.mean(losses), abs=1e-5)
    X = rows[:, :-1].long()
    assert model.training and not torch.equal(model(X), model(X))  # training goes on with dropout
    assert math.isnan(mlp.evaluate(model, rows[:0]))


def test_samples_follow_the_softmax(tmp_path):
    """A thousand draws with a fixed seed: each share within 5 of its standard deviations."""
    made = Model(tmp_path, "abcde", n_orders=0)
    model = mlp.best_model(made.run)
    torch.manual_seed(5)
    found = [mlp.sample(model, made.itos) for _ in range(1000)]
    assert not model.training
    for start in ("", "a"):
        begun = [word for word in found if word.startswith(start)]
        context = (0,) * (3 - len(start)) + tuple(made.itos.index(ch) for ch in start)
        counts = Counter(word[len(start)] if word != start else "\n" for word in begun)
        for ch, p in zip(made.itos, made.probs(context)):
            assert abs(counts[ch] / len(begun) - p) < 5 * (p * (1 - p) / len(begun))**0.5
    model.b2.data[0] = -1000  # a sample that never ends is cut
    assert len(mlp.sample(model, made.itos)) == mlp.MAX_LEN


def chosen(n_words, length=6, n_letters=26, options=()):
    """The settings for n_words random words of that length, completed by the recipe."""
    rng = random.Random(0)
    letters = [chr(0x61 + i) for i in range(n_letters)]
    words = ["".join(rng.choices(letters, k=length)) for _ in range(n_words)]
    config = mlp.parse_args(list(options))
    mlp.choose_settings(words, mlp.vocabulary(words), config)
    return config


@pytest.mark.parametrize("options", [[], ["--max_iters=1"], ["--batch_size=1"], ["--n_embd=2"],
                                     ["--batch_size=4096", "--max_iters=30"], ["--learning_rate=0"],
                                     ["--learning_rate=10"], ["--block_size=1", "--n_hidden=1"],
                                     ["--n_hidden=5000", "--dropout=0"]])
def test_recipe_fills_in_what_is_left_within_range(options):
    for n_words, length, n_letters in ((1, 1, 1), (2, 3, 3), (40, 6, 26), (3000, 6, 26),
                                       (300, 60, 300), (3, 5000, 99)):
        config = chosen(n_words, length, n_letters, options)
        for name, kind, limits, _ in mlp.SETTINGS:
            value = getattr(config, name)
            if isinstance(kind, type) and limits:
                assert type(value) is kind and limits[0] <= value <= limits[1], (name, value)
        for option in options:  # what the user has set stays
            name, value = option[2:].split("=")
            assert getattr(config, name) == float(value)
        assert config.warmup_iters <= config.max_iters and config.eval_interval <= config.max_iters
        # a step multiplies W1 and W2 by 1 minus this: a weight may shrink to 0, but not beyond
        assert config.learning_rate * config.weight_decay <= 1
        if not options:  # so little data is seen many times, with dropout
            assert config.max_iters * config.batch_size > 30 * n_words * length
            assert config.dropout > 0.1
