"""mix.py: what is added to a network is chosen on dev, and no worse there than the parts."""

import re
import shutil
import types

import numpy as np
import pytest
import torch

import kneser_ney
import mix
import mlp
from conftest import LETTERS, Model, SlowKneserNey, one_sentence, predictions, small_disk

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
    found = re.findall(r"^(\w+): network (\S+) \| n-grams (\S+) \| mixed (\S+) \| weight (\S+)$", out,
                       re.MULTILINE)
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
    rows = torch.tensor([[*context, token] for context, token in predictions(words, block_size)])
    made = kneser_ney.KneserNey(rows, vocab_size, block_size, discount).orders
    return all(a["kept"].shape == b["kept"].shape and torch.allclose(a["kept"], b["kept"])
               for a, b in zip(made, orders))


def test_mixing_adds_ngrams_and_weight_to_the_checkpoint_and_nothing_else(folder, run):
    before, data = mlp.read_run(str(folder / "mlp.pt")), (folder / "mlp.pt").read_bytes()
    with small_disk(len(data) + 100):
        done = run("mix.py", f"--out_dir={folder}")
    one_sentence("mix.py", done.err, folder / "mlp.pt")
    assert done.status == 1 and (folder / "mlp.pt").read_bytes() == data
    (folder / "mlp.pt.tmp").unlink(missing_ok=True)
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
    rows = torch.tensor([[*context, token] for context, token in predictions(words, 12)],
                        dtype=torch.uint8)
    p_network = torch.full((len(rows),), p, dtype=torch.double)
    assert mix.choose(rows, rows, p_network, 3)[1] in weights


@pytest.mark.parametrize("block_size", [1, 4, 11])
def test_probability_of_the_network(tmp_path, names, block_size):
    """Whatever the context of the rows, of which the n-grams may need more than the network."""
    made = Model(tmp_path, LETTERS, block_size, n_orders=0)
    rows = mlp.encode(names[:50], made.itos, 11)
    p = mix.network_prob(mlp.best_model(made.run), rows)
    expected = [made.probs(row[:-1])[row[-1]] for row in map(tuple, rows.tolist())]
    np.testing.assert_allclose(p, expected, rtol=1e-5)
    assert mix.network_prob(mlp.best_model(made.run), rows[:0]).shape == (0,)


@pytest.mark.parametrize("words, options", [
    ([chr(0x4E00 + i) + chr(0x4E00 + i % 7) for i in range(400)], ["--block_size=12"]),  # many tokens
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


