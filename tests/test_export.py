"""export.py: a reader of the format, written from its description alone, gives back the models."""

import collections
import os
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import small_disk, token_pairs

import bigram
import export
import mlp


class Reader:
    """The file as export.py describes it, read from its first byte to its last."""

    def __init__(self, data):
        self.data, self.at = data, 0
        magic, version, block_size, vocab_size, n_embd, n_hidden = self.take("<4s5I")
        assert (magic, version) == (b"NPLM", 2)
        self.sizes = vocab_size, block_size, n_embd, n_hidden
        self.vocab = []
        for _ in range(vocab_size):
            length, = self.take("B")
            self.vocab.append(self.take(f"{length}s")[0].decode("utf-8"))
        while self.at % 4:
            assert self.take("B") == (0,)
        self.weights = {}
        for name, *shape in (("C", vocab_size, n_embd), ("W1", block_size * n_embd, n_hidden),
                             ("b1", n_hidden), ("W2", n_hidden, vocab_size), ("b2", vocab_size)):
            if block_size:
                self.weights[name] = np.frombuffer(data, "<f4", int(np.prod(shape)), self.at
                                                   ).reshape(shape)
                self.at += self.weights[name].nbytes
        self.weight, n_orders = self.take("<dI")
        self.read_ngrams([self.take("<2I3d") for _ in range(n_orders)])
        assert self.take("<I") == (zlib.crc32(data[:-4]),)
        assert self.at == len(data)

    def take(self, format):
        self.at += struct.calcsize(format)
        return struct.unpack_from(format, self.data, self.at - struct.calcsize(format))

    def numbers(self, n):
        """So many LEB128 numbers, each as short as it can be."""
        found = []
        for _ in range(n):
            number = shift = 0
            while True:
                byte = self.data[self.at]
                self.at += 1
                number |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            assert byte or shift == 7
            assert number < 2**32
            found.append(number)
        return found

    def read_ngrams(self, heads):
        """discounts: of each order (D1, D2, D3); contexts: of each order {context: {token: c}},
        a context being a tuple of tokens, the nearest one last."""
        self.discounts, self.contexts = [head[2:] for head in heads], []
        for k, (n_contexts, n_grams, *_) in enumerate(heads):
            contexts = [()]
            if k > 0:
                parents = list(self.contexts[-1])
                n_children, left = self.numbers(len(parents)), self.numbers(n_contexts)
                assert sum(n_children) == n_contexts
                contexts = [(left[i], *parent) for i, parent in enumerate(
                    parent for parent, n in zip(parents, n_children) for _ in range(n))]
                assert contexts == sorted(contexts, key=lambda c: (parents.index(c[1:]), c[0]))
            assert len(set(contexts)) == len(contexts) == n_contexts
            n_followers = self.numbers(n_contexts)
            tokens, counts = self.numbers(n_grams), self.numbers(n_grams)
            assert sum(n_followers) == n_grams
            order, at = {}, 0
            for context, n in zip(contexts, n_followers):
                order[context] = dict(zip(tokens[at:at + n], counts[at:at + n]))
                assert n > 0 and list(order[context]) == sorted(set(tokens[at:at + n]))
                at += n
            self.contexts.append(order)

    def probs(self, context):
        """Of every token after a context (tuple of tokens), in float64, as ./sample does it."""
        vocab_size = self.sizes[0]
        p = [1 / vocab_size] * vocab_size
        for k, order in enumerate(self.contexts):
            followers = order.get(context[len(context) - k:])
            if followers is None:
                break
            D = [self.discounts[k][min(c, 3) - 1] for c in followers.values()]
            total = sum(followers.values())
            taken = 0.0
            for d in D:
                taken += d
            p = [taken / total * q for q in p]
            for (token, c), d in zip(followers.items(), D):
                p[token] = (c - d) / total + p[token]
        return p


def same_bits(reference):
    file = Reader(reference.bin.read_bytes())
    assert file.sizes == reference.shape and file.vocab == reference.itos
    state = reference.run["best"]["model"]
    assert set(file.weights) == set(state)
    for name, p in state.items():
        assert file.weights[name].tobytes() == p.numpy().astype("<f4").tobytes()
    return file


def test_round_trip_of_a_trained_model(trained):
    file = same_bits(trained)
    assert file.weight == 1 and file.contexts == []


@pytest.mark.parametrize("characters", [
    "a", "aé", "aé中", "aé中🌍", ". 0~\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff",
    [chr(0x4E00 + i) for i in range(700)]])
def test_round_trip_whatever_the_vocabulary(random_model, characters):
    same_bits(random_model(characters))


def test_padding_is_as_long_as_needed(random_model):
    ends = {(24 + 2 + sum(1 + len(ch.encode()) for ch in chars)) % 4
            for chars in ("a", "é", "中", "aé")}
    assert ends == {0, 1, 2, 3}
    for characters in ("a", "é", "中", "aé"):
        same_bits(random_model(characters))


def test_weights_that_are_odd_but_finite_keep_their_bits(random_model):
    odd = torch.tensor([-0.0, 1e-45, -1e-40, 1.1e15])
    same_bits(random_model("abc", n_hidden=4, change=lambda model: model.b1.copy_(odd)))


def test_it_says_what_it_wrote(trained, capsys):
    export.main([f"--out_dir={trained.out_dir}"])
    out = capsys.readouterr().out.replace(",", "")
    assert str(trained.bin) in out and str(trained.bin.stat().st_size) in out


def test_out_dir_is_out_unless_given(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    export.main([])
    assert (tmp_path / "out" / "mlp.bin").read_bytes() == trained.bin.read_bytes()
    assert sorted(os.listdir(tmp_path / "out")) == ["mlp.bin", "mlp.pt"]


def test_help_names_the_option_and_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        export.main(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "--out_dir" in out and "out)" in out


@pytest.mark.parametrize("argv, named", [(["--nonsense"], "--nonsense"), (["stray"], "stray"),
                                         (["--out_dir"], "--out_dir")])
def test_wrong_command_line(refused, argv, named):
    refused(export, argv, 2, named)


# -----------------------------------------------------------------------------
# n-grams

@pytest.mark.parametrize("number, encoded", [
    (0, "00"), (1, "01"), (127, "7f"), (128, "80 01"), (300, "ac 02"), (16383, "ff 7f"),
    (16384, "80 80 01"), (624485, "e5 8e 26"), (2**32 - 1, "ff ff ff ff 0f")])
def test_leb128_by_hand(number, encoded):
    assert export.leb128([number]) == bytes.fromhex(encoded)


def test_leb128_round_trip():
    rng = random.Random(0)
    numbers = [rng.randrange(2**rng.randint(1, 32)) for _ in range(1000)]
    for dtype in (np.int64, np.uint32):
        reader = Reader.__new__(Reader)
        reader.data, reader.at = export.leb128(np.array(numbers, dtype)), 0
        assert reader.numbers(1000) == numbers and reader.at == len(reader.data)
    assert export.leb128(np.zeros(0, np.int64)) == b""


def write_words(folder, words):
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    return f"--input_file={folder / 'words.txt'}"


def count_by_hand(words, itos, block_size):
    """Of each order {context: {token: c}}, as Kneser and Ney count, one prediction at a time."""
    grams = [(*context, token) for word in words
             for context, token in token_pairs(word, itos, block_size)]
    orders = [collections.defaultdict(dict) for _ in range(block_size + 1)]
    for gram, c in collections.Counter(grams).items():
        orders[block_size][gram[:-1]][gram[-1]] = c
    for k in range(block_size):
        for gram in {gram[-k - 2:] for gram in grams}:  # how many different ones to the left?
            followers = orders[k][gram[1:-1]]
            followers[gram[-1]] = followers.get(gram[-1], 0) + 1
    return orders


@pytest.mark.parametrize("block_size, n, letters", [
    (1, 1, "a"), (2, 300, "abc"), (5, 200, "abcdé"), (12, 20, "ab"),
    (2, 40, [chr(0x4E00 + i) for i in range(400)])])
def test_ngrams_alone(tmp_path, block_size, n, letters):
    rng = random.Random(0)
    words = ["".join(rng.choices(letters, k=rng.randint(1, 6))) for _ in range(n)]
    bigram.main([write_words(tmp_path, words), f"--out_dir={tmp_path}", "--kneser_ney",
                 "--keep_duplicates", f"--block_size={block_size}", "--train_frac=1",
                 "--num_samples=0"])
    export.main([f"--out_dir={tmp_path}"])
    file, itos = Reader((tmp_path / "mlp.bin").read_bytes()), bigram.vocabulary(words)
    assert file.sizes == (len(itos), 0, 0, 0) and file.vocab == itos and file.weight == 0
    expected = count_by_hand(words, itos, block_size)
    assert [order.keys() for order in file.contexts] == [order.keys() for order in expected]
    assert file.contexts == expected

    model = bigram.KneserNey(bigram.encode(words, itos, block_size), len(itos),
                             bigram.parse_args([]).discount)
    assert file.discounts == [tuple(order["D"].tolist()) for order in model.orders]
    assert all(0 <= D <= i for order in file.discounts for i, D in enumerate(order, start=1))
    contexts = [tuple(context) for context, _ in token_pairs(words[0], itos, block_size)]
    contexts += [tuple(rng.choices(range(len(itos)), k=block_size)) for _ in range(20)]
    for context in contexts:
        rows = torch.tensor([[*context, token] for token in range(len(itos))])
        assert model.prob(rows).tolist() == file.probs(context)  # to the last bit
        assert sum(file.probs(context)) == pytest.approx(1, abs=1e-12)


@pytest.fixture
def mixed(trained, tmp_path, names):
    """A folder with the trained network and n-grams of its own weight beside it."""
    (tmp_path / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    model = bigram.KneserNey(bigram.encode(names[:300], trained.itos, 3), len(trained.itos), 0.9)
    bigram.save(model, trained.itos, tmp_path, 0.7, zlib.crc32(export.network_bytes(trained.run)))
    return tmp_path


def test_network_and_ngrams_in_one_file(mixed, trained, names, capsys):
    export.main([f"--out_dir={mixed}"])
    assert "0.70" in capsys.readouterr().out
    file, alone = (Reader((folder / "mlp.bin").read_bytes()) for folder in (mixed, trained.out_dir))
    assert file.sizes == trained.shape and file.vocab == trained.itos and file.weight == 0.7
    assert {name: w.tobytes() for name, w in file.weights.items()} == {
        name: w.tobytes() for name, w in alone.weights.items()}
    assert file.contexts == count_by_hand(names[:300], trained.itos, 3)


def test_a_gram_takes_few_bytes(mixed, trained):
    export.main([f"--out_dir={mixed}"])
    file = Reader((mixed / "mlp.bin").read_bytes())
    grams = sum(len(followers) for order in file.contexts for followers in order.values())
    assert len(file.data) - trained.bin.stat().st_size < 10 * grams


@pytest.mark.parametrize("beside", ["another network", "no network", "a network it never saw"])
def test_stale_ngrams_are_refused(mixed, trained, refused, beside):
    (mixed / "mlp.bin").write_bytes(b"the old one")
    if beside == "another network":
        run = torch.load(mixed / "mlp.pt", weights_only=True)
        run["best"]["model"]["b2"][0] += 1
        torch.save(run, mixed / "mlp.pt")
    elif beside == "no network":
        (mixed / "mlp.pt").unlink()
    else:
        bigram.main([write_words(mixed, ["ab", "ba"]), "--kneser_ney", "--train_frac=1",
                     f"--out_dir={mixed}"])
    refused(export, [f"--out_dir={mixed}"], 1, mixed / "ngrams.pt")
    assert (mixed / "mlp.bin").read_bytes() == b"the old one"


@pytest.mark.parametrize("content", [b"", b"emma\nolivia\n", b"PK\x03\x04", 7, {}, "half"],
                         ids=repr)
def test_ngrams_of_something_else(mixed, refused, content):
    path = mixed / "ngrams.pt"
    if content == "half":
        content = path.read_bytes()[:path.stat().st_size // 2]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    refused(export, [f"--out_dir={mixed}"], 1, path)
    assert not (mixed / "mlp.bin").exists()


# -----------------------------------------------------------------------------
# Bad input. An earlier mlp.bin lies in the folder, and has to outlive it.

@pytest.fixture
def broken(trained, tmp_path, refused):
    """broken(content, *named): a mlp.pt of that content, bytes or an object to save, is refused."""
    def run(content, *named):
        (tmp_path / "mlp.bin").write_bytes(b"the old one")
        if isinstance(content, bytes):
            (tmp_path / "mlp.pt").write_bytes(content)
        elif content is not None:
            torch.save(content, tmp_path / "mlp.pt")
        refused(export, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.pt", *named)
        assert (tmp_path / "mlp.bin").read_bytes() == b"the old one"
        assert set(os.listdir(tmp_path)) <= {"mlp.bin", "mlp.pt"}
    return run


@pytest.mark.parametrize("content", [
    None, b"", b"emma\nolivia\n", b"PK\x03\x04", b"\x80\x02K\x01.", 7, [1, 2], {}, {"best": {}},
    {"best": None, "config": None, "itos": None}, {"C": torch.zeros(27, 10)},
], ids=repr)
def test_checkpoint_of_something_else(broken, content):
    broken(content)


def test_half_a_checkpoint(broken, trained):
    content = (trained.out_dir / "mlp.pt").read_bytes()
    broken(content[:len(content) // 2])


def test_folder_as_checkpoint(broken, tmp_path):
    (tmp_path / "mlp.pt").mkdir()
    broken(None)


@pytest.mark.parametrize("change", [
    lambda run: run["best"]["model"].pop("b1"),
    lambda run: run["best"]["model"].update(W1=torch.zeros(3, 3)),
    lambda run: run["best"]["model"].update(W2=run["best"]["model"]["W2"].T.contiguous()),
    lambda run: run["best"]["model"].update(b2=[0.0]),
    lambda run: run["config"].pop("block_size"),
    lambda run: run["config"].update(n_hidden="many"),
    lambda run: run["itos"].append("ab"),
], ids=["no b1", "another W1", "W2 turned", "b2 a list", "no block_size", "n_hidden text",
        "a token more"])
def test_checkpoint_that_does_not_fit_itself(broken, trained, change):
    run = torch.load(trained.out_dir / "mlp.pt", weights_only=True)
    change(run)
    broken(run)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -2.0**50])
@pytest.mark.parametrize("name", ["C", "W1", "b1", "W2", "b2"])
def test_weight_that_is_not_finite(trained, tmp_path, refused, name, value):
    run = torch.load(trained.out_dir / "mlp.pt", weights_only=True)
    run["best"]["model"][name].view(-1)[-1] = value
    torch.save(run, tmp_path / "mlp.pt")
    (tmp_path / "mlp.bin").write_bytes(b"the old one")
    refused(export, [f"--out_dir={tmp_path}"], 1, "weight", "--learning_rate")
    assert (tmp_path / "mlp.bin").read_bytes() == b"the old one"


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_code_in_a_checkpoint_is_not_run(broken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken(Harmful())


def test_full_disk_leaves_the_old_file(trained, tmp_path, refused):
    (tmp_path / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    (tmp_path / "mlp.bin").write_bytes(b"the old one")
    with small_disk(1000):
        refused(export, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.bin")
    assert (tmp_path / "mlp.bin").read_bytes() == b"the old one"


def test_folder_in_place_of_the_file(trained, tmp_path, refused):
    (tmp_path / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    (tmp_path / "mlp.bin").mkdir()
    refused(export, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.bin")
