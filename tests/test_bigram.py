"""lecture.py and bigram.py: counts by hand, slow tellings, what the options promise."""

import collections
import math
import re
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bigram
import mlp
from conftest import ROOT, predictions, random_words

NAMES = ROOT / "names.txt"


def rows_of(words, block_size):
    """Rows as of encode(), told one by one; of words of four letters, so there are five tokens."""
    return torch.tensor([[*context, token] for context, token in predictions(words, block_size)],
                        dtype=torch.uint8)


@pytest.fixture
def printed(tmp_path, run):
    """printed(*options, words=None): the lines that it prints; of names.txt, or of the words."""
    def call(*options, words=None):
        path = NAMES
        if words:
            path = tmp_path / "words.txt"
            path.write_text("\n".join(words), encoding="utf-8")
        done = run("bigram.py", f"--input_file={path}", *options)
        assert done.status == 0, done.err
        return done.out.splitlines()
    return call


def losses(lines, name):
    """The three numbers of the one line that holds the model's result."""
    pattern = re.compile(rf"{name}: train (\S+) \| dev (\S+) \| test (\S+)")
    found, = filter(None, map(pattern.fullmatch, lines))
    return list(map(float, found.groups()))


def test_counts_probabilities_and_loss_by_hand():
    itos = ["\n", "a", "b"]
    rows = bigram.encode(["ab", "b", "abb"], itos, 1)
    N = bigram.count(rows, 3)
    assert N.tolist() == [[0, 2, 1],   # .. .a .b
                          [0, 0, 2],   # a. aa ab
                          [3, 0, 1]]   # b. ba bb
    P = bigram.normalise(N, 1.0)
    torch.testing.assert_close(P, torch.tensor([[1/6, 3/6, 2/6], [1/5, 1/5, 3/5], [4/7, 1/7, 2/7]]))
    by_hand = -sum(map(math.log, [3/6, 3/5, 4/7, 2/6, 4/7, 3/6, 3/5, 2/7, 4/7])) / 9
    assert bigram.evaluate(P, rows) == pytest.approx(by_hand, abs=1e-6)
    assert math.isnan(bigram.evaluate(P, rows[:0]))
    P = bigram.normalise(bigram.count(bigram.encode(["a"], itos, 1), 3), 0.0)
    assert P.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]  # without smoothing
    assert bigram.evaluate(P, bigram.encode(["b"], itos, 1)) == math.inf


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_counts_and_probabilities_one_by_one(block_size):
    with pytest.raises(ValueError, match=r"27\^6 .*--block_size.*kneser_ney"):
        bigram.count(torch.zeros(5, 6, dtype=torch.uint8), 27)
    rows = rows_of(random_words(200), block_size)
    N, expected = bigram.count(rows, 5), np.zeros([5] * (block_size + 1))
    for row in rows.tolist():
        expected[tuple(row)] += 1
    assert N.shape == expected.shape and np.array_equal(N.numpy(), expected)
    P = bigram.normalise(N, 0.5)
    total = expected.sum(-1, keepdims=True) + 5 * 0.5
    np.testing.assert_allclose(P, (expected + 0.5) / total, rtol=1e-6)
    np.testing.assert_allclose(P.sum(-1), np.ones([5] * block_size), rtol=1e-6)


def test_the_table_of_the_lecture(printed):
    words = NAMES.read_text(encoding="utf-8").split()
    pairs = collections.Counter(pair for word in words for pair in zip("." + word, word + "."))
    contexts = collections.Counter("".join("." + word for word in words))
    nll = -sum(n * math.log(n / contexts[a]) for (a, _), n in pairs.items()) / sum(pairs.values())
    train, dev, test = losses(printed("--train_frac=1", "--keep_duplicates", "--smoothing=0",
                                      "--max_iters=1", "--num_samples=1"), "counts")
    assert train == pytest.approx(nll, abs=1e-4) and math.isnan(dev) and math.isnan(test)
    assert train == pytest.approx(2.454, abs=1e-3)


def test_the_loss_is_the_mean_over_all_predictions():
    """Two steps from W = 0, against the lecture's one-hot vectors, a row for each prediction."""
    rows = rows_of(random_words(50), 2)
    config = bigram.parse_args(["--max_iters=2", "--learning_rate=3", "--weight_decay=0.1"])
    P = bigram.train_network(bigram.count(rows, 5), config)
    rows = rows.long()
    X = F.one_hot(rows[:, 0] * 5 + rows[:, 1], 25).double()  # (predictions, 25)
    W = torch.zeros(25, 5, dtype=torch.double, requires_grad=True)
    for _ in range(2):
        counts = (X @ W).exp()
        probs = counts / counts.sum(1, keepdim=True)
        loss = -probs[torch.arange(len(rows)), rows[:, 2]].log().mean()
        grad, = torch.autograd.grad(loss, W)
        W = (W - 3 * (grad + 0.1 * W)).detach().requires_grad_()
    torch.testing.assert_close(P.view(25, 5), F.softmax(W.detach(), dim=1).float())
    config = bigram.parse_args(["--weight_decay=1000", "--learning_rate=1000"])
    with pytest.raises(ValueError, match="not finite at step .* lower --learning_rate"):
        bigram.train_network(torch.tensor([[0, 1], [1, 0]]), config)


def test_the_network_finds_the_table(printed):
    """The loss is convex in W: another machine's rounding is not amplified, as in a deep network,
    and all runs end at the same place. No table is better on train than the plain shares."""
    lines = printed()
    counts, network = losses(lines, "counts"), losses(lines, "network")
    words = bigram.split_words(bigram.read_words(NAMES), 0.8)[0]
    rows = bigram.encode(words, bigram.vocabulary(words), 1)
    lowest = bigram.evaluate(bigram.normalise(bigram.count(rows, 27), 0.0), rows)
    assert lowest - 1e-4 < counts[0] and lowest - 1e-4 < network[0]
    assert network == pytest.approx(counts, abs=0.005)
    assert counts[1] == pytest.approx(2.463, abs=1e-3)
    assert "step      0 | train 3.2958" in lines  # log(27)
    assert any(line.startswith("untrained: 3.2958 = log(27)") for line in lines)


@pytest.mark.parametrize("block_size", [1, 2])
def test_samples_follow_the_table(block_size):
    """How far 500 samples stray from P, as chi-square, within 3 of its standard deviations."""
    rng = np.random.default_rng(1)
    P = torch.from_numpy(rng.dirichlet(np.ones(4), [4] * block_size).astype(np.float32))
    itos, generator = ["\n", "a", "b", "c"], torch.Generator().manual_seed(0)
    found = [bigram.sample(P, itos, block_size, generator) for _ in range(500)]
    observed = bigram.count(bigram.encode(found, itos, block_size), 4).double()
    observed.view(-1)[0] = found.count("")  # encode has no prediction for an empty word
    expected = observed.sum(-1, keepdim=True) * P
    used = expected > 0
    chi2 = ((observed - expected)[used]**2 / expected[used]).sum()
    freedom = used.sum() - (expected.sum(-1) > 0).sum()
    assert abs(chi2 - freedom) < 3 * (2 * freedom).sqrt()
    P = torch.tensor([0.0, 1.0]).repeat(*[2] * block_size, 1)
    assert bigram.sample(P, ["\n", "a"], block_size, generator) == "a" * bigram.MAX_LEN  # it is cut


def test_the_seed_decides_and_what_is_printed(printed):
    words = ["ab"] * 50 + ["ba", "cd", "dc"]
    first, again, other = (printed("--train_frac=1", "--max_iters=50", "--num_samples=40",
                                   f"--seed={seed}", words=words)[-40:] for seed in (1, 1, 2))
    assert first == again != other
    lines = printed("--block_size=2", "--train_frac=1", "--max_iters=1", "--keep_duplicates",
                    words=["abc"] * 1200 + ["ab"] * 34)
    assert "most frequent 3-grams: ..a 1,234, .ab 1,234, abc 1,200, bc. 1,200, ab. 34" in lines
    marked = [line for line in first if line.endswith("  (in the data)")]
    assert marked and {line.split()[0] for line in marked} <= set(words)
    assert not set(words) & set(first)


def test_tune_takes_the_best_on_dev(printed):
    lines = printed("--block_size=2", "--tune", "--num_samples=0")
    table = [tuple(map(float, found.groups())) for line in lines if (found := re.fullmatch(
        r"smoothing +([\d.]+) \| train ([\d.]+) \| dev ([\d.]+)", line))]
    best, train, dev = min(table, key=lambda row: row[2])
    assert len(table) >= 8 and table[0][0] < best < table[-1][0]  # it reaches beyond the best
    assert min(table, key=lambda row: row[1])[0] != best  # so this test knows dev from train
    assert f"best on dev: --smoothing={best}" in lines
    assert losses(lines, "counts")[:2] == [train, dev]
    by_option = printed("--block_size=2", f"--smoothing={best}", "--num_samples=0", "--max_iters=1")
    assert losses(by_option, "counts") == losses(lines, "counts")
    assert dev == pytest.approx(2.241, abs=1e-3)  # the README's


@pytest.mark.parametrize("script", ["bigram.py", "mlp.py"])
def test_a_table_with_a_header_is_told_from_a_list(tmp_path, run, script):
    """It is learned as text, but not without a word, and the command that cuts a column."""
    path = tmp_path / "table.txt"
    for mark, name in ((",", "commas"), ("\t", "tabs"), (";", "semicolons")):
        rows = [["name", "sex", "count"], *(["emma" + ch, "F", "7"] for ch in "abcdefghijkl")]
        path.write_text("\n".join(mark.join(row) for row in rows))
        argv = [f"--input_file={path}", "--max_iters=1", "--num_samples=0"]
        done = run(script, *argv, *[f"--out_dir={tmp_path}", "--n_hidden=4"] * (script == "mlp.py"))
        said, = [line for line in done.out.splitlines() if name in line]
        assert done.status == 0 and "cut -d" in said and str(path) in said


@pytest.fixture
def lecture(run, tmp_path, names):
    """lecture(*options): what it printed, as lines, and its variables. It has fewer names."""
    script = shutil.copy(ROOT / "lecture.py", tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(names[:600] + names[:200]))

    def call(*options):
        done = run(script, *options)
        assert done.status == 0, done.err
        return done.out.splitlines(), done.variables
    return call


@pytest.mark.parametrize("options", [[], ["--keep_duplicates"]])
def test_words_split_and_network_are_those_of_every_model(lecture, tmp_path, options):
    _, made = lecture("--steps=0", *options)
    words = mlp.read_words(tmp_path / "names.txt", keep_duplicates=bool(options))
    itos = mlp.vocabulary(words)
    assert made["itos"][1:] == itos[1:]
    for part, name in zip(mlp.split_words(words, 0.8), ("tr", "dev", "te")):
        rows = mlp.encode(part, itos, 3).long()
        assert torch.equal(torch.cat([made["X" + name], made["Y" + name][:, None]], 1), rows)
    model = mlp.MLP(27, 3, 10, 200)
    with torch.no_grad():
        for name, p in model.named_parameters():
            assert p.shape == made[name].shape
            p.copy_(made[name])
        torch.testing.assert_close(made["forward"](made["Xte"][:500]), model(made["Xte"][:500]))


def test_a_few_steps_as_the_seed_decides(lecture):
    """50 steps halve the loss that the wild first weights cause: 20 seeds, and rounding is like
    another seed, ended at 0.42 to 0.53 of where they began."""
    lines, made = lecture("--steps=50")
    first, *_, last = [float(line.split("dev ")[1].split()[0]) for line in lines if "dev " in line]
    assert last < 0.75 * first
    assert re.fullmatch(r"train .* \| dev .* \| test .* \| 11,897 parameters \| \S+ s", lines[-11])
    assert all(set(name) <= set(made["itos"][1:]) for name in lines[-10:])
    again, other = (lecture("--steps=50", *seed)[0][-10:] for seed in ([], ["--seed=1"]))
    assert lines[-10:] == again != other
