"""mix.py: the mixture is chosen on dev, is never worse there than its parts, and fits its files."""

import re
import shutil
import zlib

import pytest
import torch
from conftest import small_disk

import bigram
import export
import mix
import mlp

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


def losses_of(line):
    """The part of the data that a line of results is about, and its four numbers."""
    part, *numbers = re.fullmatch(r"(\w+): network (\S+) \| n-grams (\S+) \| mixed (\S+) "
                                  r"\| weight (\S+)", line).groups()
    return part, list(map(float, numbers))


def chosen(folder, parts, itos):
    """What ngrams.pt holds: the KneserNey, counted again and compared, its factor, the weight."""
    saved = torch.load(folder / "ngrams.pt", weights_only=True)
    assert saved["itos"] == itos
    block_size = len(saved["orders"]) - 1
    ngrams = bigram.KneserNey(mlp.encode(parts[0], itos, block_size), len(itos), 1.0)
    for factor in mix.DISCOUNTS:
        ngrams.set_discount(factor)
        if all(torch.equal(saved_order[key], order[key])
               for saved_order, order in zip(saved["orders"], ngrams.orders)
               for key in ("context_keys", "keys", "c", "D")):
            return ngrams, block_size, factor, saved["weight"], saved["network"]
    raise AssertionError("no discount on the list gives these n-grams")


def test_all_is_chosen_on_dev_and_the_mixture_is_no_worse_than_its_parts(folder, names, capsys):
    """By construction, whatever the machine: weights of 0 and 1 are among those tried."""
    mix.main([f"--out_dir={folder}"])
    *_, test_line, dev_line = capsys.readouterr().out.splitlines()
    model, itos = mlp.load(folder / "mlp.pt")
    parts = mlp.split_words(names[:600], 0.8)
    ngrams, block_size, factor, weight, network = chosen(folder, parts, itos)
    assert weight in [i / 100 for i in range(101)]
    assert network == zlib.crc32(export.network_bytes(mlp.read_run(folder / "mlp.pt")))

    def losses(ngrams, weights, words, block_size=block_size):
        context = max(block_size, model.block_size)
        rows = mlp.encode(words, itos, context).long()
        p_network = torch.softmax(model(rows[:, -5:-1]).double(), 1).gather(1, rows[:, -1:])[:, 0]
        p_ngrams = ngrams.prob(rows[:, -1 - block_size:])
        return [-(w * p_network + (1 - w) * p_ngrams).log().mean().item() for w in weights]

    with torch.no_grad():
        for line, name, words in ((test_line, "test", parts[2]), (dev_line, "dev", parts[1])):
            part, printed = losses_of(line)
            assert part == name
            assert printed == pytest.approx([*losses(ngrams, [1, 0, weight], words), weight],
                                            abs=1e-4)
        network_alone, ngrams_alone, mixed = losses(ngrams, [1, 0, weight], parts[1])
        assert mixed <= min(network_alone, ngrams_alone) + 1e-9  # the sum in another order
        # no other weight and no other discount is better on dev; on train, which the n-grams know
        # by heart, a smaller weight of the network is
        for other in mix.DISCOUNTS:
            ngrams.set_discount(other)
            assert min(losses(ngrams, mix.WEIGHTS, parts[1])) >= mixed - 1e-9
        ngrams.set_discount(factor)
        on_train = losses(ngrams, mix.WEIGHTS, parts[0])
        assert mix.WEIGHTS[on_train.index(min(on_train))] < weight
        # the context grew until the loss no longer fell
        by_context = [min(losses(bigram.KneserNey(mlp.encode(parts[0], itos, n), len(itos), 1.0),
                                 mix.WEIGHTS, parts[1], n)) for n in mix.BLOCK_SIZES]
        i = mix.BLOCK_SIZES.index(block_size)
        assert all(a > b for a, b in zip(by_context[:i], by_context[1:i + 1]))
        assert by_context[i] <= by_context[i + 1]


@pytest.mark.parametrize("p, weight", [(1.0, 1.0), (1e-9, 0.0)])
def test_a_network_that_knows_all_gets_all_the_weight_and_one_that_knows_nothing_none(p, weight):
    words = ["ab", "abb", "abbb", "b", "ba", "bab"]
    rows = bigram.encode(words, ["\n", "a", "b"], max(mix.BLOCK_SIZES))
    p_network = torch.full((len(rows),), p, dtype=torch.double)
    assert mix.choose(rows, rows, p_network, 3)[1] == weight


@pytest.mark.parametrize("block_size", [1, 4, 11])
def test_probability_of_the_network(random_model, names, block_size):
    """Whatever the context of the rows, of which the n-grams may need more than the network."""
    reference = random_model("abcdefghijklmnopqrstuvwxyz", block_size)
    rows = mlp.encode(names[:50], reference.itos, 11)
    p = mix.network_prob(mlp.best_model(reference.run), rows)
    expected = torch.cat([torch.tensor([
        reference.probs(name[:i])[reference.itos.index(ch)] for i, ch in enumerate(name + "\n")])
        for name in names[:50]])
    torch.testing.assert_close(p, expected, rtol=1e-5, atol=0)


def test_no_rows_have_no_probabilities(random_model):
    model = mlp.best_model(random_model("ab").run)
    assert mix.network_prob(model, torch.zeros(0, 9, dtype=torch.uint8)).shape == (0,)


def test_without_dev_it_says_what_it_takes(tmp_path, names, capsys):
    train(tmp_path, names[:30], "--train_frac=1", "--max_iters=3")
    capsys.readouterr()
    mix.main([f"--out_dir={tmp_path}"])
    out = capsys.readouterr().out
    saved = torch.load(tmp_path / "ngrams.pt", weights_only=True)
    said = re.search(r"no dev.*", out)[0]
    assert all(str(value) in said for value in (len(saved["orders"]) - 1, saved["weight"]))
    assert 0 < saved["weight"] < 1 and "network nan" not in out
    export.main([f"--out_dir={tmp_path}"])
    assert (tmp_path / "mlp.bin").exists()


def test_many_tokens_and_a_context_longer_than_any_of_the_ngrams(tmp_path, capsys):
    words = [chr(0x4E00 + i) + chr(0x4E00 + i % 7) for i in range(400)]
    train(tmp_path, words, "--block_size=12", "--max_iters=3", "--keep_duplicates")
    mix.main([f"--out_dir={tmp_path}"])
    part, (network, ngrams, mixed, _) = losses_of(capsys.readouterr().out.splitlines()[-1])
    assert part == "dev" and mixed <= min(network, ngrams)


def test_another_network_needs_another_mixture(folder, names, refused):
    mix.main([f"--out_dir={folder}"])
    export.main([f"--out_dir={folder}"])
    before = (folder / "mlp.bin").read_bytes()
    train(folder, names[:600], "--seed=2")
    refused(export, [f"--out_dir={folder}"], 1, folder / "ngrams.pt", "mix.py")
    assert (folder / "mlp.bin").read_bytes() == before
    mix.main([f"--out_dir={folder}"])
    export.main([f"--out_dir={folder}"])
    assert (folder / "mlp.bin").read_bytes() != before


# -----------------------------------------------------------------------------
# Bad input. Earlier n-grams lie in the folder, and have to outlive it.

@pytest.fixture
def fails(folder, refused):
    def run(status=1, *named, argv=()):
        (folder / "ngrams.pt").write_bytes(b"the old ones")
        refused(mix, [f"--out_dir={folder}", *argv], status, *named)
        assert (folder / "ngrams.pt").read_bytes() == b"the old ones"
    return run


def test_folder_without_a_network(refused, tmp_path):
    refused(mix, [f"--out_dir={tmp_path / 'none'}"], 1, tmp_path / "none" / "mlp.pt")
    (tmp_path / "words.txt").write_text("ab\nba\n")
    bigram.main(["--kneser_ney", "--train_frac=1", f"--input_file={tmp_path / 'words.txt'}",
                 f"--out_dir={tmp_path}"])
    refused(mix, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.pt")


@pytest.mark.parametrize("content", [b"", b"not a network"])
def test_network_of_something_else(folder, fails, content):
    (folder / "mlp.pt").write_bytes(content)
    fails(1, folder / "mlp.pt")


@pytest.mark.parametrize("change", [
    lambda words: [*words, "annaanna"],            # the same characters
    lambda words: words[::-1],                     # the same lines, in another order: another split
    lambda words: [word.upper() for word in words],  # another vocabulary
    lambda words: ["α", "β", "γ", "δ"] * 20,
], ids=["one more", "another order", "upper case", "Greek"])
def test_text_that_has_changed_since(names, folder, fails, change):
    path = folder / "words.txt"
    run = mlp.read_run(folder / "mlp.pt")
    run["config"]["input_file"] = str(path)
    torch.save(run, folder / "mlp.pt")
    path.write_text("\n".join(change(names[:600])), encoding="utf-8")
    fails(1, path, "changed")


def test_text_that_is_gone(folder, fails):
    run = mlp.read_run(folder / "mlp.pt")
    run["config"]["input_file"] = str(folder / "gone.txt")
    torch.save(run, folder / "mlp.pt")
    fails(1, folder / "gone.txt")


@pytest.mark.parametrize("arg", ["--nonsense", "stray", "--out"])
def test_wrong_command_line(fails, arg):
    fails(2, arg, argv=[arg])


def test_full_disk_leaves_the_old_ngrams(folder, fails):
    with small_disk(5000):
        fails(1, folder / "ngrams.pt")
