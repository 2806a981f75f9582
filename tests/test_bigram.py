"""bigram.py against counts by hand, plain slow references, and what its options promise."""

import collections
import itertools
import math
import random
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT

import bigram

NAMES = ROOT / "names.txt"


def random_words(n, letters="abcd", seed=0):
    """Words in which a letter depends on the one before, so that context is worth something."""
    rng = random.Random(seed)
    words = []
    for _ in range(n):
        word = rng.choice(letters)
        while rng.random() < 0.75:
            word += rng.choice(letters[:1 + letters.index(word[-1])] + 4 * letters[-1])
        words.append(word)
    return words


def encoded(words, block_size):
    """The rows of the words, and how many tokens there are: what count() takes."""
    itos = bigram.vocabulary(words)
    return bigram.encode(words, itos, block_size), len(itos)


def every_prediction(words, block_size):
    """The pairs (context, token), as text with '.' for the boundary, one by one."""
    for word in words:
        text = "." * block_size + word + "."
        for i in range(block_size, len(text)):
            yield text[i - block_size:i], text[i]


def run(tmp_path, capsys, *options, words=None):
    """What main prints, as a list of lines; on the words, or else on names.txt."""
    path = NAMES
    if words:
        path = tmp_path / "words.txt"
        path.write_text("\n".join(words), encoding="utf-8")
    bigram.main([f"--input_file={path}", *options])
    return capsys.readouterr().out.splitlines()


def losses(lines, name):
    """The three numbers of the one line that holds the model's result."""
    line, = [line for line in lines if line.startswith(f"{name}: ")]
    found = re.fullmatch(rf"{name}: train (\S+) \| dev (\S+) \| test (\S+)", line)
    return list(map(float, found.groups()))


# -----------------------------------------------------------------------------
# Counting

def test_counts_by_hand():
    itos = ["\n", "a", "b"]
    N = bigram.count(bigram.encode(["ab", "b", "abb"], itos, 1), 3)
    assert N.tolist() == [[0, 2, 1],   # .. .a .b
                          [0, 0, 2],   # a. aa ab
                          [3, 0, 1]]   # b. ba bb
    N = bigram.count(bigram.encode(["ab", "b"], itos, 2), 3)
    expected = {"..a": 1, ".ab": 1, "ab.": 1, "..b": 1, ".b.": 1}
    for i, j, k in itertools.product(range(3), repeat=3):
        assert N[i, j, k] == expected.get(".ab"[i] + ".ab"[j] + ".ab"[k], 0)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_counts_one_by_one(block_size):
    words = random_words(200)
    N = bigram.count(*encoded(words, block_size))
    expected = np.zeros([5] * (block_size + 1))
    for context, token in every_prediction(words, block_size):
        expected[tuple(".abcd".index(ch) for ch in context + token)] += 1
    assert N.shape == expected.shape and np.array_equal(N.numpy(), expected)
    P = bigram.normalise(N, 0.5)
    total = expected.sum(axis=-1, keepdims=True) + 5 * 0.5
    np.testing.assert_allclose(P, (expected + 0.5) / total, rtol=1e-6)


def test_loss_by_hand():
    rows = bigram.encode(["ab", "b"], ["\n", "a", "b"], 1)
    P = bigram.normalise(bigram.count(rows, 3), 1.0)
    torch.testing.assert_close(P, torch.tensor([[1/5, 2/5, 2/5], [1/4, 1/4, 2/4], [3/5, 1/5, 1/5]]))
    by_hand = -sum(map(math.log, [2/5, 2/4, 3/5, 2/5, 3/5])) / 5  # .a ab b. .b b.
    assert bigram.evaluate(bigram.Table(P), rows) == pytest.approx(by_hand, abs=1e-6)


def test_without_smoothing_the_unseen_is_impossible():
    itos = ["\n", "a", "b", "c"]
    P = bigram.normalise(bigram.count(bigram.encode(["ab"], itos, 1), 4), 0.0)
    assert P.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert bigram.evaluate(bigram.Table(P), bigram.encode(["b"], itos, 1)) == math.inf


def test_the_table_of_the_lecture(tmp_path, capsys):
    with open(NAMES, encoding="utf-8") as f:
        words = f.read().split()
    pairs = collections.Counter(every_prediction(words, 1))
    contexts = collections.Counter(context for context, _ in every_prediction(words, 1))
    nll = -sum(n * math.log(n / contexts[context]) for (context, _), n in pairs.items())
    lines = run(tmp_path, capsys, "--train_frac=1", "--keep_duplicates", "--smoothing=0",
                "--max_iters=1", "--num_samples=1")
    train, dev, test = losses(lines, "counts")
    assert train == pytest.approx(nll / sum(pairs.values()), abs=1e-4)
    assert train == pytest.approx(2.454, abs=1e-3)
    assert math.isnan(dev) and math.isnan(test)


def test_file_name_with_braces(tmp_path, capsys):
    path = tmp_path / "a{b}.txt"
    path.write_text("anna\nbob\n")
    bigram.main([f"--input_file={path}", "--train_frac=1", "--max_iters=1", "--num_samples=0"])
    assert capsys.readouterr().out.startswith(f"{path}: 2 lines, 5 tokens; predictions: train 9 |")


def test_no_rows_have_no_loss():
    rows = bigram.encode([], ["\n", "a"], 2)
    assert rows.shape == (0, 3)
    assert math.isnan(bigram.evaluate(bigram.Table(torch.ones(2, 2, 2)), rows))


# -----------------------------------------------------------------------------
# The network

def test_the_loss_is_the_mean_over_all_predictions():
    """Two steps from W = 0, against steps written with one row per prediction."""
    rows, vocab_size = encoded(random_words(50), 2)
    config = bigram.parse_args(["--max_iters=2", "--learning_rate=3", "--weight_decay=0.1"])
    P = bigram.train_network(bigram.count(rows, vocab_size), config).P

    rows = rows.long()
    X = F.one_hot(rows[:, 0] * 5 + rows[:, 1], 25).float()  # (predictions, 25)
    W = torch.zeros(25, 5, requires_grad=True)
    for _ in range(2):
        loss = F.cross_entropy(X @ W, rows[:, 2])
        grad, = torch.autograd.grad(loss, W)
        W = (W - 3 * (grad + 0.1 * W)).detach().requires_grad_()
    torch.testing.assert_close(P.view(25, 5), F.softmax(W.detach(), dim=1))


def test_the_network_finds_the_table(tmp_path, capsys):
    """The loss is convex in W: another machine's rounding is not amplified, as in a deep network,
    and all runs end at the same place. No table is better on train than the plain shares."""
    lines = run(tmp_path, capsys)
    counts, network = losses(lines, "counts"), losses(lines, "network")
    words = bigram.split_words(bigram.read_words(NAMES), 0.8)[0]
    rows, vocab_size = encoded(words, 1)
    shares = bigram.Table(bigram.normalise(bigram.count(rows, vocab_size), 0.0))
    lowest = bigram.evaluate(shares, rows)
    assert lowest - 1e-4 < counts[0] and lowest - 1e-4 < network[0]
    assert network == pytest.approx(counts, abs=0.005)
    assert "step      0 | train 3.2958" in lines  # log(27)


def test_a_loss_that_is_not_finite_is_said():
    config = bigram.parse_args(["--weight_decay=1000", "--learning_rate=1000"])
    with pytest.raises(ValueError, match="not finite at step .* lower --learning_rate"):
        bigram.train_network(torch.tensor([[0, 1], [1, 0]]), config)


# -----------------------------------------------------------------------------
# Kneser-Ney

def slow_kneser_ney(words, block_size, vocab_size, scale):
    """The formula of Chen and Goodman (1999), one pair at a time. Returns p(token, context)."""
    grams = [context + token for context, token in every_prediction(words, block_size)]
    counts = [None] * block_size + [collections.Counter(grams)]
    for k in range(block_size):
        left = collections.defaultdict(set)  # of each gram of order k: the tokens to its left
        for gram in grams:
            left[gram[-1 - k:]].add(gram[-2 - k])
        counts[k] = {gram: len(tokens) for gram, tokens in left.items()}

    discounts = []
    for c in counts:
        n1, n2, n3, n4 = (max(1, sum(v == i for v in c.values())) for i in (1, 2, 3, 4))
        Y = n1 / (n1 + 2 * n2)
        D = [1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
        discounts.append([0] + [min(scale * max(d, 0.1), i + 1) for i, d in enumerate(D)])

    def p(token, context, k=block_size):
        if k < 0:
            return 1 / vocab_size
        context = context[-k:] if k else ""
        followers = [v for gram, v in counts[k].items() if gram[:-1] == context]
        if not followers:
            return p(token, context, k - 1)
        D, total = discounts[k], sum(followers)
        c = counts[k].get(context + token, 0)
        backoff = sum(D[min(v, 3)] for v in followers) / total
        return (c - D[min(c, 3)]) / total + backoff * p(token, context, k - 1)
    return p


@pytest.mark.parametrize("block_size,n,scale", [(1, 40, 1.0), (2, 200, 1.1), (3, 200, 0.7),
                                                (4, 2, 1.0), (4, 60, 3.0)])
def test_kneser_ney_is_its_formula(block_size, n, scale):
    train, dev = random_words(n), random_words(30, letters="abcde", seed=1)
    itos = bigram.vocabulary(train + dev)
    model = bigram.KneserNey(bigram.encode(train, itos, block_size), len(itos), scale)
    slow = slow_kneser_ney(train, block_size, len(itos), scale)
    for words in (train[:20], dev):
        p = model.prob(bigram.encode(words, itos, block_size))
        expected = [slow(token, context) for context, token in every_prediction(words, block_size)]
        assert p.numpy() == pytest.approx(np.array(expected), rel=1e-9)


@pytest.mark.parametrize("block_size", [1, 3, 8])
def test_kneser_ney_sums_to_one(block_size):
    rows, vocab_size = encoded(random_words(300), block_size)
    model = bigram.KneserNey(rows, vocab_size, 1.1)
    torch.manual_seed(0)
    unseen = torch.randint(5, (200, block_size))
    contexts = torch.cat([rows[:200, :-1].long(), unseen])
    tokens = torch.arange(5).repeat(400)[:, None]
    p = model.prob(torch.cat([contexts.repeat_interleave(5, dim=0), tokens], dim=1))  # (2000,)
    assert p.min() > 0
    assert p.view(400, 5).sum(1).numpy() == pytest.approx(np.ones(400), abs=1e-12)


def test_a_new_discount_is_as_good_as_a_new_count():
    rows, vocab_size = encoded(random_words(100), 3)
    model = bigram.KneserNey(rows, vocab_size, 1.0)
    model.set_discount(0.6)
    assert torch.equal(model.prob(rows), bigram.KneserNey(rows, vocab_size, 0.6).prob(rows))


def test_size_is_the_number_of_different_ngrams():
    words = random_words(100)
    model = bigram.KneserNey(*encoded(words, 2), 1.0)
    grams = [context + token for context, token in every_prediction(words, 2)]
    assert model.size == sum(len({gram[-n:] for gram in grams}) for n in (1, 2, 3))


def test_kneser_ney_on_names():
    """Counting in whole numbers and float64: nothing here depends on the machine."""
    words = bigram.read_words(NAMES)
    itos = bigram.vocabulary(words)
    train, dev, _ = (bigram.encode(part, itos, 5) for part in bigram.split_words(words, 0.8))
    assert bigram.evaluate(bigram.KneserNey(train, len(itos), 1.1), dev) <= 2.0085


def test_kneser_ney_of_many_tokens_and_long_contexts():
    """300 tokens and 30 of context: 300^31 is far above any integer type."""
    letters = [chr(0x4e00 + i) for i in range(299)]
    rng = random.Random(0)
    words = ["".join(rng.choices(letters, k=8)) for _ in range(300)]
    rows = bigram.encode(words, ["\n"] + letters, 30)
    model = bigram.KneserNey(rows, 300, 1.0)
    new = bigram.encode([word[::-1] for word in words], ["\n"] + letters, 30)
    assert bigram.evaluate(model, rows) < 3 < 5 < bigram.evaluate(model, new) < 7  # log(300) is 5.7


# -----------------------------------------------------------------------------
# Sampling

def chi_square(model, itos, block_size, P):
    """How far samples stray from P: (chi2 - its mean) in standard deviations of chi2."""
    generator = torch.Generator().manual_seed(0)
    made_up = [bigram.sample(model, itos, block_size, generator) for _ in range(500)]
    observed = bigram.count(bigram.encode(made_up, itos, block_size), len(itos)).double()
    observed.view(-1)[0] = made_up.count("")  # encode has no prediction for an empty word
    expected = observed.sum(-1, keepdim=True) * P
    used = expected > 0
    assert observed[~used].sum() == 0
    chi2 = ((observed - expected)[used] ** 2 / expected[used]).sum()
    freedom = used.sum() - (expected.sum(-1) > 0).sum()
    return abs(chi2 - freedom) / (2 * freedom).sqrt()


@pytest.mark.parametrize("block_size", [1, 2])
def test_samples_follow_the_table(block_size):
    torch.manual_seed(0)
    P = F.softmax(1.5 * torch.randn([4] * (block_size + 1)), dim=-1)
    assert chi_square(bigram.Table(P), ["\n", "a", "b", "c"], block_size, P) < 3


def test_samples_follow_kneser_ney():
    words = random_words(200)
    model = bigram.KneserNey(*encoded(words, 2), 1.0)
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)  # (125, 3): all contexts and tokens
    P = model.prob(every).view(5, 5, 5)
    assert chi_square(model, bigram.vocabulary(words), 2, P) < 3


def test_a_line_that_never_ends_is_cut():
    P = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    word = bigram.sample(bigram.Table(P), ["\n", "a"], 1, torch.Generator())
    assert word == "a" * bigram.MAX_LEN


def test_the_seed_decides(tmp_path, capsys):
    options = ["--kneser_ney", "--block_size=3", "--num_samples=30"]
    first, again, other = (run(tmp_path, capsys, *options, f"--seed={seed}", words=random_words(99))
                           [-30:] for seed in (1, 1, 2))
    assert first == again != other


def test_lines_of_the_data_are_marked(tmp_path, capsys):
    words = ["ab"] * 50 + ["ba", "cd", "dc"]
    lines = run(tmp_path, capsys, "--num_samples=40", "--train_frac=1", "--max_iters=1",
                words=words)
    marked = [line for line in lines if line.endswith("  (in the data)")]
    assert {line.split()[0] for line in marked} <= set(words)
    assert not set(words) & set(lines) and marked


# -----------------------------------------------------------------------------
# The command

def test_likeliest_and_unlikeliest_pairs(tmp_path, capsys):
    options = ["--train_frac=1", "--smoothing=0", "--max_iters=1", "--num_samples=0"]
    lines = run(tmp_path, capsys, *options, words=["aab"])
    shown = {line.split()[0]: line for line in lines if "pairs" in line}
    pairs, rare = (dict(re.findall(r"(\S\S) ([\d.]+)%", shown[name]))
                   for name in ("likeliest", "unlikeliest"))
    assert len(pairs) == 5 and pairs.pop(".a") == pairs.pop("b.") == "100.00"
    assert pairs.pop("aa") == pairs.pop("ab") == "50.00"
    assert set(rare) == {"..", ".b", "a.", "ba", "bb"} and set(rare.values()) == {"0.00"}


def test_most_frequent_trigrams(tmp_path, capsys):
    lines = run(tmp_path, capsys, "--block_size=2", "--train_frac=1", "--max_iters=1",
                "--keep_duplicates", words=["abc"] * 1200 + ["ab"] * 34)
    shown, = [line for line in lines if line.startswith("most frequent 3-grams: ")]
    found = dict(re.findall(r"(\S{3}) ([\d,]*\d)", shown.split(": ")[1]))
    assert found == {"..a": "1,234", ".ab": "1,234", "abc": "1,200", "bc.": "1,200", "ab.": "34"}


@pytest.mark.parametrize("options,name,setting", [
    (["--block_size=2"], "counts", "smoothing"),
    (["--block_size=2", "--kneser_ney"], "kneser_ney", "discount"),
])
def test_tune_takes_the_best_on_dev(tmp_path, capsys, options, name, setting):
    lines = run(tmp_path, capsys, *options, "--tune", "--num_samples=0")
    pattern = re.compile(rf"{setting} +([\d.]+) \| train ([\d.]+) \| dev ([\d.]+)")
    table = [[float(x) for x in found.groups()] for line in lines
             if (found := pattern.fullmatch(line))]
    assert len(table) >= 8
    best, train, dev = min(table, key=lambda row: row[2])
    assert table[0][0] < best < table[-1][0]  # the range reaches beyond the best on both sides
    assert min(table, key=lambda row: row[1])[0] != best  # so this test knows dev from train
    assert f"best on dev: --{setting}={best}" in lines
    assert losses(lines, name)[:2] == [train, dev]
    assert sum("test" in line for line in lines[1:]) == 1
    by_option = run(tmp_path, capsys, *options, f"--{setting}={best}", "--num_samples=0",
                    "--max_iters=1")
    assert losses(by_option, name) == losses(lines, name)


def test_tune_gives_back_all_that_it_tried(capsys):
    rows, vocab_size = encoded(random_words(60), 1)
    for name, setting, values in (("counts", "smoothing", bigram.SMOOTHINGS),
                                  ("kneser_ney", "discount", bigram.DISCOUNTS)):
        config = bigram.parse_args([])
        chosen, tried = bigram.tune(name, rows[:100], rows[100:], vocab_size, config)
        assert chosen == setting and [value for value, _, _ in tried] == values
        for value, train, dev in tried:
            model = bigram.fit(name, rows[:100], vocab_size,
                               bigram.parse_args([f"--{setting}={value}"]))
            assert train == bigram.evaluate(model, rows[:100])
            assert dev == bigram.evaluate(model, rows[100:])
        assert getattr(config, setting) == min(tried, key=lambda row: row[2])[0]


@pytest.mark.parametrize("options,status,named", [
    (["--input_file=none.txt"], 1, ["none.txt"]),
    (["--block_size=8"], 1, ["27^9", "--kneser_ney"]),
    (["--tune", "--train_frac=1"], 1, ["no dev", "--train_frac"]),
    (["--smoothing=-1"], 2, ["--smoothing", "-1.0 is not between 0 and"]),
    (["--block_size=two"], 2, ["--block_size", "two"]),
    (["--kneser_ney=yes"], 2, ["--kneser_ney"]),
    (["--blocksize=2"], 2, ["--blocksize=2", "did you mean --block_size?"]),
])
def test_errors_are_sentences(refused, options, status, named):
    refused(bigram, [f"--input_file={NAMES}", *options], status, *named)


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as e:
        bigram.main(["--help"])
    assert e.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name} " in text for name, *_ in bigram.SETTINGS)


def test_smallest_file(tmp_path, capsys):
    """A vocabulary of two; and pairs in dev that train never saw make an infinite loss, printed."""
    lines = run(tmp_path, capsys, "--train_frac=1", words=["a"])
    assert losses(lines, "counts")[0] == pytest.approx(math.log(3 / 2), abs=1e-4)
    words = [a + b for a in "abcde" for b in "abcdefgh"]
    lines = run(tmp_path, capsys, "--smoothing=0", "--block_size=3", "--max_iters=1", words=words)
    assert losses(lines, "counts")[1:] == [math.inf, math.inf]


def test_out_dir_gets_a_kneser_ney_model_and_nothing_else(tmp_path, capsys):
    words, out_dir = random_words(30), tmp_path / "deep" / "out"
    for options in ([], ["--kneser_ney"]):
        run(tmp_path, capsys, *options, "--max_iters=1", words=words)
    run(tmp_path, capsys, "--max_iters=1", f"--out_dir={out_dir}", words=words)
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]
    run(tmp_path, capsys, "--kneser_ney", f"--out_dir={out_dir}", words=words)
    assert [path.name for path in out_dir.iterdir()] == ["ngrams.pt"]
