"""kneser_ney.py against its formula, told over dictionaries; mix.py, which adds it to a network."""

import re
import shutil

import numpy as np
import pytest
import torch

import bigram
import mix
import mlp
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
        np.testing.assert_allclose(model.prob(rows_of(words, block_size)), expected, rtol=1e-12)
        contexts = rows_of(words, block_size)[:, :-1]
        every = [torch.cat([contexts, torch.full_like(contexts[:, :1], v)], 1) for v in range(6)]
        np.testing.assert_allclose(sum(map(model.prob, every)), np.ones(len(contexts)))


def test_the_worked_example_of_the_docstring():
    """The words "ab" and "cb": without context, b has (2 - 0.2) / 5 + 2 / 5 * 1/4 = 0.46."""
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
    words = np.random.default_rng(0).integers(1, 300, (300, 8)).tolist()
    rows = rows_of(words, 30, torch.int32)
    model, new = KneserNey(rows, 300, 30), rows_of([word[::-1] for word in words], 30, torch.int32)
    seen, new = (-model.prob(part).log().mean() for part in (rows, new))
    assert seen < 3 < 5 < new < 7  # log(300) is 5.7


def test_five_characters_of_names(names):
    """Counting in whole numbers and float64: nothing here depends on the machine."""
    itos = bigram.vocabulary(names)
    train, dev, _ = (bigram.encode(part, itos, 5) for part in bigram.split_words(names, 0.8))
    loss = -KneserNey(train, len(itos), 5, 1.1).prob(dev).log().mean().item()
    assert loss == pytest.approx(2.0077, abs=1e-4)


SMALL = ["--block_size=4", "--n_embd=8", "--n_hidden=32", "--batch_size=128", "--max_iters=150",
         "--learning_rate=0.02", "--dropout=0", "--weight_decay=0", "--warmup_iters=5",
         "--eval_interval=75", "--num_samples=0"]


def train(folder, words, *options):
    """A small network of the words, in a folder of its own."""
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    mlp.main([f"--input_file={folder / 'words.txt'}", f"--out_dir={folder}", *SMALL, *options])


@pytest.fixture(scope="module")
def network(names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    train(folder, names[:600])
    return folder


@pytest.fixture
def folder(network, tmp_path):
    """A copy of the network that a test may spoil; the text stays where it is."""
    shutil.copy(network / "mlp.pt", tmp_path)
    return tmp_path


def losses_of(out):
    """{part of the data: its four numbers} of the lines with results."""
    found = re.findall(
        r"(?m)^(\w+): network (\S+) \| n-grams (\S+) \| mixed (\S+) \| weight (\S+)$", out)
    return {part: list(map(float, numbers)) for part, *numbers in found}


def mean_loss(weight, p_network, p_ngrams):
    return -np.log(weight * p_network + (1 - weight) * p_ngrams).mean()


def test_losses_are_those_of_slow_ngrams_and_the_network(folder, names, run):
    """Printed for dev, with the n-grams of train; and what is saved is what was judged on test."""
    done = run("mix.py", f"--out_dir={folder}")
    assert done.status == 0
    printed, saved = losses_of(done.out), mlp.read_run(str(folder / "mlp.pt"))
    itos, weight, model = saved["itos"], saved["weight"], mlp.best_model(saved)
    parts = [[[itos.index(ch) for ch in word] for word in part]
             for part in mlp.split_words(names[:600], 0.8)]
    block_size = len(saved["orders"]) - 1
    discount = float(min(re.findall(r"discount (\S+) \| .*?(\d+\.\d+)", done.out),
                         key=lambda row: float(row[1]))[0])
    for name, counted, judged in (("dev", parts[0], parts[1]), ("test", None, parts[2])):
        if counted is None:  # dev may be counted, too, once it has chosen
            counted = next(words for words in (parts[0], parts[0] + parts[1])
                           if holds(saved["orders"], words, len(itos), block_size, discount))
        slow = SlowKneserNey(counted, len(itos), block_size, discount)
        rows = mlp.encode([("".join(itos[token] for token in word)) for word in judged], itos, 4)
        with torch.no_grad():
            p_network = torch.softmax(model(rows[:, :-1].long()).double(), 1).gather(
                1, rows[:, -1:].long())[:, 0].numpy()
        p_ngrams = np.array([slow.probs(context)[token]
                             for context, token in predictions(judged, block_size)])
        assert printed[name] == pytest.approx(
            [*(mean_loss(w, p_network, p_ngrams) for w in (1, 0, weight)), weight], abs=1e-4)
        assert printed[name][2] < min(printed[name][:2])
    assert 0 < weight < 1


def holds(orders, words, vocab_size, block_size, discount):
    """Whether the orders of a checkpoint are the n-grams of the words."""
    rows = rows_of(words, block_size)
    made = KneserNey(rows, vocab_size, block_size, discount).orders
    return all(a["kept"].shape == b["kept"].shape and torch.allclose(a["kept"], b["kept"])
               for a, b in zip(made, orders))


def test_mixing_adds_ngrams_and_weight_to_the_checkpoint_and_nothing_else(folder, run):
    before = mlp.read_run(str(folder / "mlp.pt"))
    for _ in range(2):  # again: the n-grams are counted anew
        assert run("mix.py", f"--out_dir={folder}").status == 0
        after = mlp.read_run(str(folder / "mlp.pt"))
        assert after.keys() == before.keys() | {"orders", "weight"}
        assert all(torch.equal(p, after["best"]["model"][name])
                   for name, p in before["best"]["model"].items())
        assert all(set(order) == {"context_keys", "keys", "kept", "backoff"}
                   for order in after["orders"])
    assert sorted(path.name for path in folder.iterdir()) == ["mlp.pt"]


@pytest.mark.parametrize("p, weights", [(1.0, [1.0]), (1e-9, [0.0])])
def test_a_network_that_knows_all_gets_the_weight_and_one_that_knows_nothing_none(p, weights):
    words = [[1, 2], [1, 2, 2], [1, 2, 2, 2], [2], [2, 1], [2, 1, 2]] * 300
    rows = rows_of(words, 12)
    p_network = torch.full((len(rows),), p, dtype=torch.double)
    assert mix.choose(rows, rows, p_network, 3)[1] in weights


@pytest.mark.parametrize("words, options", [
    ([chr(0x4E00 + i) + chr(0x4E00 + i % 7) for i in range(400)], ["--block_size=12"]),
    (["ab", "ba", "abb", "bab"], ["--train_frac=1"]),                                    # no dev
    (["ab"] * 20, ["--keep_duplicates"]), ([str(i) for i in range(10)], [])])
def test_any_list_can_be_mixed(tmp_path, run, words, options):
    train(tmp_path, words, "--max_iters=3", *options)
    done = run("mix.py", f"--out_dir={tmp_path}")
    assert done.status == 0, done.err
    saved = mlp.read_run(str(tmp_path / "mlp.pt"))
    assert 0 <= saved["weight"] <= 1 and saved["orders"]
    assert run("export.py", f"--out_dir={tmp_path}").status == 0
    new = run("sample.py", tmp_path / "mlp.bin", "-s", "1")
    assert len(new.out.splitlines()) == 20
