"""bigram.py against counts by hand, plain slow references, and what its options promise."""

import collections
import math
import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bigram

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMES = os.path.join(ROOT, "names.txt")


def alphabet(words):
    return ["\n"] + sorted(set("".join(words)))


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


def names(block_size):
    words = bigram.read_words(NAMES)
    itos = alphabet(words)
    return itos, [bigram.encode(part, itos, block_size) for part in bigram.split_words(words, 0.8)]


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
    bigram.main([f"--input_file={path}", f"--out_dir={tmp_path / 'out'}", *options])
    return capsys.readouterr().out.splitlines()


def losses(lines, name):
    """The three numbers of the one line that holds the model's result."""
    line, = [line for line in lines if line.startswith(f"{name}: ")]
    found = re.fullmatch(rf"{name}: train (\S+) \| dev (\S+) \| test (\S+)", line)
    return [None if loss == "-" else float(loss) for loss in found.groups()]


# -----------------------------------------------------------------------------
# Counting

def test_counts_by_hand():
    itos = ["\n", "a", "b"]
    N = bigram.count(*bigram.encode(["ab", "b", "abb"], itos, 1), 3)
    assert N.tolist() == [[0, 2, 1],   # .. .a .b
                          [0, 0, 2],   # a. aa ab
                          [3, 0, 1]]   # b. ba bb
    N = bigram.count(*bigram.encode(["ab", "b"], itos, 2), 3)
    expected = {"..a": 1, ".ab": 1, "ab.": 1, "..b": 1, ".b.": 1}
    for i in range(9):
        for j in range(3):
            assert N[i, j] == expected.get(".ab"[i // 3] + ".ab"[i % 3] + ".ab"[j], 0)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_counts_one_by_one(block_size):
    words = random_words(200)
    N = bigram.count(*bigram.encode(words, alphabet(words), block_size), 5)
    expected = np.zeros([5] * (block_size + 1))
    for context, token in every_prediction(words, block_size):
        expected[tuple(".abcd".index(ch) for ch in context + token)] += 1
    assert N.shape == (5**block_size, 5)
    assert np.array_equal(N.numpy(), expected.reshape(-1, 5))


def test_loss_by_hand():
    data = bigram.encode(["ab", "b"], ["\n", "a", "b"], 1)
    P = bigram.normalise(bigram.count(*data, 3), 1.0)
    torch.testing.assert_close(P, torch.tensor([[1/5, 2/5, 2/5], [1/4, 1/4, 2/4], [3/5, 1/5, 1/5]]))
    by_hand = -sum(map(math.log, [2/5, 2/4, 3/5, 2/5, 3/5])) / 5  # .a ab b. .b b.
    assert bigram.evaluate(bigram.Table(P), data) == pytest.approx(by_hand, abs=1e-6)


def test_without_smoothing_the_unseen_is_impossible():
    itos = ["\n", "a", "b", "c"]
    P = bigram.normalise(bigram.count(*bigram.encode(["ab"], itos, 1), 4), 0.0)
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
    assert dev is None and test is None


# -----------------------------------------------------------------------------
# The network

def test_the_loss_is_the_mean_over_all_predictions(capsys):
    """One step from W = 0, against a step written with one row a prediction."""
    words = random_words(50)
    windows, at = bigram.encode(words, alphabet(words), 2)
    config = bigram.parse_args(["--max_iters=2", "--learning_rate=3", "--weight_decay=0.1"])
    P = bigram.train_network(bigram.count(windows, at, 5), config).P

    X = F.one_hot(windows[at, 0].long() * 5 + windows[at, 1], 25).float()  # (predictions, 25)
    W = torch.zeros(25, 5, requires_grad=True)
    for _ in range(2):
        loss = F.cross_entropy(X @ W, windows[at, 2].long())
        grad, = torch.autograd.grad(loss, W)
        W = (W - 3 * (grad + 0.1 * W)).detach().requires_grad_()
    torch.testing.assert_close(P, F.softmax(W.detach(), dim=1))


def test_the_network_finds_the_table(tmp_path, capsys):
    lines = run(tmp_path, capsys)
    counts, network = losses(lines, "counts"), losses(lines, "network")
    assert network == pytest.approx(counts, abs=0.005)
    assert network[0] == pytest.approx(2.454, abs=0.002)
    assert lines[-1] == (f"train: counts {counts[0]:.4f}, network {network[0]:.4f} | "
                         f"dev: counts {counts[1]:.4f}, network {network[1]:.4f}")
    assert "step      0 | train 3.2958" in lines  # log(27)


def test_a_loss_that_is_not_finite_is_said(capsys):
    config = bigram.parse_args(["--weight_decay=1000", "--learning_rate=1000"])
    with pytest.raises(SystemExit, match="not finite at step .* lower --learning_rate"):
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
    itos = alphabet(train + dev)
    model = bigram.KneserNey(*bigram.encode(train, itos, block_size), len(itos), scale)
    slow = slow_kneser_ney(train, block_size, len(itos), scale)
    for words in (train[:20], dev):
        p = model.prob(*bigram.encode(words, itos, block_size))
        expected = [slow(token, context) for context, token in every_prediction(words, block_size)]
        assert p.numpy() == pytest.approx(np.array(expected), rel=1e-9)


@pytest.mark.parametrize("block_size", [1, 3, 8])
def test_kneser_ney_sums_to_one(block_size):
    words = random_words(300)
    windows, at = bigram.encode(words, alphabet(words), block_size)
    model = bigram.KneserNey(windows, at, 5, 1.1)
    torch.manual_seed(0)
    seen = windows[at][:200, :-1].long()
    unseen = torch.randint(5, (200, block_size))
    contexts = torch.cat([seen, unseen]).repeat_interleave(5, dim=0)  # (2000, block_size)
    tokens = torch.arange(5).repeat(400)[:, None]
    p = model.prob(torch.cat([contexts, tokens], dim=1), torch.arange(2000))
    assert p.min() > 0
    assert p.view(400, 5).sum(1).numpy() == pytest.approx(np.ones(400), abs=1e-12)


def test_kneser_ney_on_names():
    itos, (train, dev, _) = names(5)
    assert bigram.evaluate(bigram.KneserNey(*train, len(itos), 1.1), dev) <= 2.020


def test_kneser_ney_of_many_tokens_and_long_contexts():
    """300 tokens and 30 of context: 300^31 is far above any integer type."""
    letters = [chr(0x4e00 + i) for i in range(299)]
    rng = random.Random(0)
    words = ["".join(rng.choices(letters, k=8)) for _ in range(300)]
    data = bigram.encode(words, ["\n"] + letters, 30)
    model = bigram.KneserNey(*data, 300, 1.0)
    new = bigram.encode([word[::-1] for word in words], ["\n"] + letters, 30)
    assert bigram.evaluate(model, data) < 3 < 5 < bigram.evaluate(model, new) < 7  # log(300) is 5.7


# -----------------------------------------------------------------------------
# Sampling

def chi_square(model, itos, block_size, P):
    """How far samples stray from P: (chi2 - its mean) in standard deviations of chi2."""
    generator = torch.Generator().manual_seed(0)
    made_up = [bigram.sample(model, itos, block_size, generator) for _ in range(2000)]
    observed = bigram.count(*bigram.encode(made_up, itos, block_size), len(itos)).double()
    observed[0, 0] = made_up.count("")  # encode has no prediction for an empty word
    expected = observed.sum(1, keepdim=True) * P
    used = expected > 0
    assert observed[~used].sum() == 0
    chi2 = ((observed - expected)[used] ** 2 / expected[used]).sum()
    freedom = used.sum() - (expected.sum(1) > 0).sum()
    return abs(chi2 - freedom) / (2 * freedom).sqrt()


@pytest.mark.parametrize("block_size", [1, 2])
def test_samples_follow_the_table(block_size):
    torch.manual_seed(0)
    P = F.softmax(1.5 * torch.randn(4**block_size, 4), dim=1)
    assert chi_square(bigram.Table(P), ["\n", "a", "b", "c"], block_size, P) < 3


def test_samples_follow_kneser_ney():
    words = random_words(200)
    model = bigram.KneserNey(*bigram.encode(words, alphabet(words), 2), 5, 1.0)
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)  # (125, 3): all contexts and tokens
    P = model.prob(every, torch.arange(125)).view(25, 5)
    assert chi_square(model, alphabet(words), 2, P) < 3


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
    pairs, rare = (dict(re.findall(r"(\S\S) ([\d.]+)%", line)) for line in lines
                   if "pairs given the context" in line)
    assert len(pairs) == 5 and pairs.pop(".a") == pairs.pop("b.") == "100.00"
    assert pairs.pop("aa") == pairs.pop("ab") == "50.00"
    assert set(rare) == {"..", ".b", "a.", "ba", "bb"} and set(rare.values()) == {"0.00"}


@pytest.mark.parametrize("options,name,knob", [
    (["--block_size=2"], "counts", "smoothing"),
    (["--block_size=3", "--kneser_ney"], "kneser_ney", "discount"),
])
def test_tune_takes_the_best_on_dev(tmp_path, capsys, options, name, knob):
    lines = run(tmp_path, capsys, *options, "--tune", "--num_samples=0")
    table = [[float(x) for x in line.split(" | ")] for line in lines
             if re.fullmatch(r" *[\d.]+ \| [\d.]+ \| [\d.]+", line)]
    assert len(table) >= 8
    strength, train, dev = min(table, key=lambda row: row[2])
    assert table[0][0] < strength < table[-1][0]  # the range reaches beyond the best on both sides
    assert f"best on dev: --{knob}={strength}" in lines
    assert losses(lines, name)[:2] == [train, dev]
    assert sum("test" in line for line in lines[1:]) == 1
    by_option = run(tmp_path, capsys, *options, f"--{knob}={strength}", "--num_samples=0",
                    "--max_iters=1")
    assert losses(by_option, name) == losses(lines, name)


@pytest.mark.parametrize("options,status,message", [
    (["--input_file=none.txt"], 1, "cannot read none.txt"),
    (["--block_size=8"], 1, r"27\^9 numbers.*--kneser_ney"),
    (["--tune", "--train_frac=1"], 1, "--tune"),
    (["--smoothing=-1"], 2, "--smoothing: -1.0 is not between 0 and"),
    (["--block_size=two"], 2, "--block_size"),
    (["--kneser_ney=yes"], 2, "--kneser_ney"),
    (["--blocksize=2"], 2, "unrecognized arguments: --blocksize=2"),
])
def test_errors_are_sentences(tmp_path, capsys, options, status, message):
    with pytest.raises(SystemExit) as e:
        run(tmp_path, capsys, *options)
    sentence = capsys.readouterr().err
    if isinstance(e.value.code, str):  # what sys.exit prints, before it exits with 1
        assert status == 1 and not sentence
        sentence = e.value.code + "\n"
    else:
        assert status == e.value.code
    assert re.fullmatch(rf"bigram\.py: .*{message}.*\n", sentence)


def test_an_error_goes_to_stderr():
    done = subprocess.run([sys.executable, "bigram.py", "--input_file=none.txt"], cwd=ROOT,
                          text=True, capture_output=True)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"bigram\.py: cannot read none\.txt: .*--input_file\n", done.stderr)


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


def test_import_prints_nothing_and_loads_no_matplotlib():
    code = "import sys, bigram; assert 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -----------------------------------------------------------------------------
# Pictures

@pytest.mark.parametrize("options", [["--tune"], ["--block_size=2", "--tune"],
                                     ["--block_size=9", "--kneser_ney", "--tune"]])
def test_plot_draws(tmp_path, capsys, options):
    Image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    run(tmp_path, capsys, *options, "--plot", words=random_words(300))
    assert sorted(os.listdir(tmp_path / "out")) == ["bigram.png", "tune.png"]
    for name in ("bigram.png", "tune.png"):
        pixels = np.asarray(Image.open(tmp_path / "out" / name).convert("L"))
        dark = (pixels < 128).mean()
        assert 0.002 < dark < 0.5 and len(np.unique(pixels)) > 20


def test_plot_shows_pairs_and_counts(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(bigram, "save_png", lambda ax, path: drawn.append(ax))
    words = ["ab", "b", "$b$"]
    itos = alphabet(words)
    bigram.plot_counts("", *bigram.encode(words, itos, 1), itos)
    cells = {text.get_text() for text in drawn[0].texts}
    pairs = collections.Counter(context + token for context, token in every_prediction(words, 1))
    assert cells == {f"{a}{b}\n{pairs[a + b]}" for a in ".ab$" for b in ".ab$"}
    shade = drawn[0].images[0].get_array()  # the rows and columns are . $ a b
    assert shade[0].tolist() == pytest.approx([0, (1/3)**0.5, (1/3)**0.5, (1/3)**0.5])
    assert shade[2].tolist() == pytest.approx([0, 0, 0, 1])

    letters = [chr(0x100 + i) for i in range(400)]  # only what is seen most often has room
    words = letters + letters[:60] * 3
    bigram.plot_counts("", *bigram.encode(words, ["\n"] + letters, 1), ["\n"] + letters)
    assert len(drawn[1].texts) == bigram.MAX_CELLS ** 2


def test_plot_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # makes its import fail
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        run(tmp_path, capsys, "--plot", words=random_words(30))
    assert not (tmp_path / "out").exists()
