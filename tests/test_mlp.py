"""mlp.py: data, model, evaluating and sampling, the command line, and what users do wrong."""

import copy
import math
import os
import random
import re
import runpy
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, one_sentence, small_disk, token_pairs

import mlp

SMALL = ["--block_size=3", "--n_embd=4", "--n_hidden=16", "--batch_size=32", "--max_iters=20",
         "--dropout=0", "--weight_decay=0", "--warmup_iters=5", "--eval_interval=10",
         "--num_samples=0"]


@pytest.fixture
def write(tmp_path):
    """write(content) is the path of a file with that content, bytes or str."""
    def make(content):
        path = tmp_path / "words.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path
    return make


@pytest.fixture
def few(write, names):
    return write("\n".join(names[:60]))


@pytest.fixture
def out_dir(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def argv(few, out_dir):
    return [f"--input_file={few}", f"--out_dir={out_dir}", *SMALL]


@pytest.fixture
def train(argv, out_dir, capsys):
    """train(*options): what a small run printed, and its checkpoint."""
    def run(*options):
        mlp.main([*argv, *options])
        return capsys.readouterr().out, torch.load(out_dir / "mlp.pt", weights_only=True)
    return run


def progress(out):
    """The lines of progress: a list of (step, learning rate, train loss, dev loss), as text."""
    return re.findall(r"^step +([\d,]+) \| lr (\S+) \| train (\S+) \| dev (\S+)", out, re.M)


def weights(run):
    return torch.cat([p.flatten() for p in run["best"]["model"].values()])


# -----------------------------------------------------------------------------
# Data

def test_dataset_by_hand(write):
    path = write(b"\xef\xbb\xbfa.b\r\n\r\n  \t\r\n \xc3\xa9 \r\na.b\n\xf0\x9f\x8c\x8d 7\n")
    words = mlp.read_words(path)
    assert words == ["a.b", "é", "🌍 7"]
    assert mlp.read_words(path, keep_duplicates=True) == ["a.b", "é", "a.b", "🌍 7"]

    itos = ["\n", " ", ".", "7", "a", "b", "é", "🌍"]
    rows = mlp.encode(words, itos, 2)
    assert rows.tolist() == [
        [0, 0, 4], [0, 4, 2], [4, 2, 5], [2, 5, 0],  # a . b
        [0, 0, 6], [0, 6, 0],                        # é
        [0, 0, 7], [0, 7, 1], [7, 1, 3], [1, 3, 0],  # 🌍 7
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_as_on_any_system(write, end):
    assert mlp.read_words(write(end.join(["a", "b c", "", "d"]))) == ["a", "b c", "d"]


@pytest.mark.parametrize("content", ["a\u2028b\nc", "a\x0bb\nc", "a\x0cb\nc", "a\x1eb\nc",
                                     "a\x85b\nc"])
def test_nothing_else_ends_a_line(write, content):
    assert mlp.read_words(write(content)) == content.split("\n")


def test_vocabulary_is_sorted_and_its_boundary_no_character_of_the_data(trained, names):
    assert mlp.vocabulary(names) == trained.itos
    assert trained.itos[1:] == sorted(set("".join(names)))
    assert trained.itos[0] not in "".join(names) and len(trained.itos[0]) == 1


def test_repeated_lines_are_dropped_in_order(names):
    lines = (ROOT / "names.txt").read_text(encoding="utf-8").split()
    assert mlp.read_words(ROOT / "names.txt", keep_duplicates=True) == lines
    assert names == list(dict.fromkeys(lines)) and len(names) < len(lines)


@pytest.mark.parametrize("n", [10, 11, 99, 1234, 29494])
def test_split_is_that_of_the_lecture(n):
    words = [str(i) for i in range(n)]
    shuffled = words[:]
    random.Random(42).shuffle(shuffled)
    n1, n2 = int(0.8 * n), int(0.9 * n)
    assert mlp.split_words(words, 0.8) == (shuffled[:n1], shuffled[n1:n2], shuffled[n2:])
    assert words == [str(i) for i in range(n)]


def test_split_of_names_shares_no_name(names):
    train, dev, test = map(set, mlp.split_words(names, 0.8))
    assert not train & dev and not train & test and not dev & test
    assert train | dev | test == set(names)


@pytest.mark.parametrize("train_frac", [0.05, 0.5, 0.7, 0.9])
def test_split_halves_what_is_not_for_training(train_frac):
    words = [str(i) for i in range(1000)]
    train, dev, test = mlp.split_words(words, train_frac)
    assert len(train) == int(train_frac * 1000) and abs(len(dev) - len(test)) <= 1
    assert sorted(train + dev + test) == sorted(words)


@pytest.mark.parametrize("block_size", [1, 3, 8, 40])
@pytest.mark.parametrize("vocab_size", [28, 256, 257, 700])
def test_encode_gives_what_a_plain_loop_gives(block_size, vocab_size):
    itos = ["\n"] + [chr(0x4E00 + i) for i in range(vocab_size - 1)]
    rng = random.Random(block_size)
    words = ["".join(rng.choices(itos[1:], k=rng.randint(1, 12))) for _ in range(50)]
    words += [itos[1], itos[-1], "".join(itos[1:])]
    rows = mlp.encode(words, itos, block_size)
    expected = [[*x, y] for word in words for x, y in token_pairs(word, itos, block_size)]
    assert rows.tolist() == expected


def test_encode_of_no_words_gives_no_predictions():
    assert mlp.encode([], ["\n", "a"], 3).shape == (0, 4)


@pytest.mark.parametrize("vocab_size, size", [(256, 1), (257, 4)])
def test_a_row_takes_as_little_memory_as_it_may(vocab_size, size):
    itos = ["\n"] + [chr(0x4E00 + i) for i in range(vocab_size - 1)]
    rows = mlp.encode([itos[1], itos[-1]], itos, 8)
    assert rows.untyped_storage().nbytes() == 4 * 9 * size  # 2 words of 2 predictions


# -----------------------------------------------------------------------------
# The recipe

SIZES = [2, 20, 300, 2000, 20_000, 169_747, 10**6, 10**7, 10**9]  # predictions


@pytest.mark.parametrize("options", [[], ["--max_iters=1"], ["--max_iters=30"], ["--batch_size=1"],
                                     ["--batch_size=4096"], ["--learning_rate=0"],
                                     ["--learning_rate=10"]])
@pytest.mark.parametrize("n, length", [*((n, 7) for n in SIZES), (10**5, 1), (10**5, 10**4)])
def test_recipe_gives_what_is_left_to_it_within_range(n, length, options):
    config = mlp.parse_args(options)
    left_to_it = {name: (kind, limits) for name, kind, limits, _ in mlp.SETTINGS
                  if isinstance(kind, type)}
    for length, vocab_size in ((2, 2), (7.2, 27), (60.5, 334), (500, 8000)):
        chosen = mlp.recipe(n, length, vocab_size, config)
        assert chosen.keys() == left_to_it.keys()
        for name, (kind, (low, high)) in left_to_it.items():
            assert type(chosen[name]) is kind and low <= chosen[name] <= high, name
        max_iters = config.max_iters or chosen["max_iters"]
        assert chosen["warmup_iters"] < max_iters and chosen["eval_interval"] <= max_iters
        # a step multiplies W1 and W2 by 1 minus this: a weight may shrink to 0, but not beyond
        assert config.learning_rate * chosen["weight_decay"] <= 1


def test_more_data_never_gets_a_smaller_training_or_more_regularisation():
    chosen = [mlp.recipe(n, 7.2, 27, mlp.parse_args([])) for n in SIZES]
    for name, reverse in (("max_iters", False), ("n_hidden", False), ("batch_size", False),
                          ("dropout", True), ("weight_decay", True)):
        values = [settings[name] for settings in chosen]
        assert values == sorted(values, reverse=reverse), name


def test_what_the_recipe_chose_is_kept_and_what_is_given_stays(few, out_dir, monkeypatch, capsys):
    chosen = {"block_size": 2, "n_hidden": 3, "dropout": 0.25, "batch_size": 5, "max_iters": 2,
              "weight_decay": 0.5, "warmup_iters": 1, "eval_interval": 2}
    asked = []
    monkeypatch.setattr(mlp, "recipe", lambda *args: asked.append(args[:3]) or chosen)
    mlp.main([f"--input_file={few}", f"--out_dir={out_dir}", "--dropout=0.75"])
    config = mlp.read_run(out_dir / "mlp.pt")["config"]
    assert {name: config[name] for name in chosen} == {**chosen, "dropout": 0.75}
    out = capsys.readouterr().out
    n_train = int(re.search(r"train ([\d,]+) \|", out)[1].replace(",", ""))
    words = mlp.read_words(few)
    assert asked == [(n_train, n_train / len(mlp.split_words(words, 0.8)[0]),
                      len(mlp.vocabulary(words)))]
    assert "dropout 0.75" in out and "n_hidden 3" in out


@pytest.mark.parametrize("content", ["anna", "anna\nbob"])
def test_smallest_files_can_be_trained_on(write, out_dir, content):
    mlp.main([f"--input_file={write(content)}", f"--out_dir={out_dir}", "--train_frac=1",
              "--n_hidden=16", "--max_iters=30"])
    assert weights(mlp.read_run(out_dir / "mlp.pt")).isfinite().all()


# -----------------------------------------------------------------------------
# Model

@pytest.mark.parametrize("batch_size", [1, 11, 12, 200])
def test_forward_agrees_with_plain_numpy(batch_size):
    torch.manual_seed(0)
    model = mlp.MLP(vocab_size=11, block_size=3, n_embd=5, n_hidden=7).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p)
    C, W1, b1, W2, b2 = (getattr(model, name).detach().numpy().astype(np.float64)
                         for name in ("C", "W1", "b1", "W2", "b2"))
    X = torch.randint(11, (batch_size, 3))
    logits = [np.tanh(np.concatenate([C[t] for t in x]) @ W1 + b1) @ W2 + b2 for x in X.tolist()]
    for forward in (model, model.forward_by_table):
        np.testing.assert_allclose(forward(X).detach(), logits, atol=1e-4)


@pytest.mark.parametrize("batch_size", [5, 200])
def test_both_ways_have_the_gradient_of_the_plain_formula(batch_size):
    torch.manual_seed(0)
    model, X = mlp.MLP(11, 3, 5, 7).double(), torch.randint(11, (batch_size, 3))
    h = torch.tanh(model.C[X].flatten(1) @ model.W1 + model.b1)
    expected, *both = (torch.autograd.grad((logits**2).sum(), list(model.parameters()))
                       for logits in (h @ model.W2 + model.b2, model(X), model.forward_by_table(X)))
    for got in both:
        torch.testing.assert_close(got, expected)


def test_dropout_by_table_is_that_of_the_embeddings():
    """With W1 the identity, a small C and no tanh to speak of, the logits are the dropped C."""
    block_size, n_embd, share = 2, 500, 0.3
    model = mlp.MLP(5, block_size, n_embd, block_size * n_embd, share)
    with torch.no_grad():
        model.C.fill_(1e-3)
        model.W1.copy_(torch.eye(block_size * n_embd))
        model.W2 = torch.nn.Parameter(torch.eye(block_size * n_embd))
        model.b2 = torch.nn.Parameter(torch.zeros(block_size * n_embd))
        torch.manual_seed(0)
        dropped = model.forward_by_table(torch.tensor([[1, 2], [1, 3], [2, 1], [1, 2]])) / 1e-3
        first, second = dropped[:, :n_embd], dropped[:, n_embd:]
        # zero, or scaled up so that the expected sum stays; the share within 5 standard deviations
        zero = dropped.abs() < 1e-6
        torch.testing.assert_close(dropped[~zero], torch.tensor(1 / (1 - share)).expand(
            (~zero).sum()))
        assert abs(zero.float().mean() - share) < 5 * (share * (1 - share) / zero[:3].numel())**0.5
        # the same for the same token at the same place, and another one for any other
        assert torch.equal(dropped[0], dropped[3]) and torch.equal(first[0], first[1])
        assert not torch.equal(second[0], second[1]) and not torch.equal(first[0], first[2])
        assert not torch.equal(first[0], second[2])


def test_parameters_have_their_names_shapes_and_number():
    model = mlp.MLP(27, 3, 10, 200)
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == {
        "C": (27, 10), "W1": (30, 200), "b1": (200,), "W2": (200, 27), "b2": (27,)}
    assert sum(p.numel() for p in model.parameters()) == 11897


@pytest.mark.parametrize("vocab_size, block_size, n_hidden",
                         [(27, 8, 300), (27, 3, 200), (500, 4, 64)])
def test_first_loss_is_that_of_guessing(vocab_size, block_size, n_hidden):
    """The logits have a variance of at most v = 0.01**2 * n_hidden; the mean loss is about v / 2
    above that of guessing, give or take (v / 2000)**0.5 for 2000 predictions."""
    torch.manual_seed(0)
    model = mlp.MLP(vocab_size, block_size, 10, n_hidden)
    X, Y = torch.randint(vocab_size, (2000, block_size)), torch.randint(vocab_size, (2000,))
    v = 0.01**2 * n_hidden
    loss = torch.nn.functional.cross_entropy(model(X), Y).item()
    assert abs(loss - math.log(vocab_size)) < v / 2 + 4 * (v / 2000)**0.5


def test_hidden_layer_starts_neither_dead_nor_idle():
    """What tanh gets is normal with a spread of 5/3: tanh(5/3 z) has one of 0.76 or so, and is
    beyond 0.99 where z is beyond 1.59, a share of 0.11."""
    torch.manual_seed(0)
    model = mlp.MLP(27, 8, 24, 300)
    h = torch.tanh(model.C[torch.randint(27, (1000, 8))].flatten(1) @ model.W1 + model.b1)
    assert 0.65 < h.std() < 0.85 and 0.05 < (h.abs() > 0.99).float().mean() < 0.17


# -----------------------------------------------------------------------------
# Evaluating and sampling

def test_evaluation_is_without_dropout_and_training_with(names):
    itos = ["\n"] + sorted(set("".join(names)))
    torch.manual_seed(0)
    plain, dropping = mlp.MLP(27, 3, 4, 16), mlp.MLP(27, 3, 4, 16, dropout=0.5)
    with torch.no_grad():
        plain.W2.mul_(100)
    dropping.load_state_dict(plain.state_dict())
    for words in (names[:2], names[:500]):
        rows = mlp.encode(words, itos, 3)
        assert mlp.evaluate(dropping, rows) == mlp.evaluate(plain, rows)
        X = torch.randint(27, (len(rows), 3))
        for forward in (dropping, dropping.forward_by_table):
            assert dropping.training and not torch.equal(forward(X), forward(X))


def test_evaluation_is_the_mean_over_all_tokens(trained, names):
    words = names[:3000]  # more predictions than evaluate takes at once
    rows = mlp.encode(words, trained.itos, trained.block_size)
    model = copy.deepcopy(trained.model).float()
    for n in (3000, 100):
        nlls = trained.nll(words[:n])
        tokens = sum(n for _, n in nlls)
        mean = sum(nll * n for nll, n in nlls) / tokens
        assert mlp.evaluate(model, rows, tokens) == pytest.approx(mean, abs=1e-5)
    assert mlp.evaluate(model, rows) == mlp.evaluate(model, rows, 10**9)


def test_no_predictions_have_no_loss():
    assert math.isnan(mlp.evaluate(mlp.MLP(5, 3, 4, 16), torch.zeros(0, 4, dtype=torch.uint8), 10))


def test_samples_begin_as_the_softmax_says(random_model):
    """A thousand draws with a fixed seed: chi-square within 5 of its standard deviations."""
    reference = random_model("abcde")
    model = mlp.best_model(reference.run)
    torch.manual_seed(5)
    firsts = [mlp.sample(model, reference.itos)[:1] or "\n" for _ in range(1000)]
    chi2 = sum((firsts.count(ch) - 1000 * p)**2 / (1000 * p)
               for ch, p in zip(reference.itos, reference.probs("")))
    assert chi2 < 5 + 5 * (2 * 5)**0.5


def test_samples_see_their_context(random_model):
    """After "a" comes "b" and after "b" the end, all but surely: no sample is anything else."""
    def chain(model):
        for p in model.parameters():
            p.zero_()
        model.C.copy_(torch.eye(4))
        model.W1[8:].copy_(10 * torch.eye(4))  # only the last token counts
        for before, after in ((0, 1), (1, 2), (2, 0)):
            model.W2[before, after] = 50

    reference = random_model("abc", n_embd=4, n_hidden=4, change=chain)
    model = mlp.best_model(reference.run)
    assert {mlp.sample(model, reference.itos) for _ in range(5)} == {"ab"}


def test_a_sample_that_never_ends_is_cut(random_model):
    reference = random_model("a", change=lambda model: model.b2[1].fill_(1000))
    assert mlp.sample(mlp.best_model(reference.run), reference.itos) == "a" * mlp.MAX_LEN


def test_samples_that_stand_in_the_data_are_marked_and_those_of_train_counted(capsys):
    mlp.show_samples(["anna", "ann", "", "bob", "anna"], ["bob", "anna", "eve"], ["anna", "eve"])
    title, *lines = capsys.readouterr().out.split("\n")
    assert lines == ["anna  (in the data)", "ann", "", "bob  (in the data)", "anna  (in the data)",
                     ""]
    assert "5 samples" in title and "40.0%" in title
    mlp.show_samples([], ["bob"], ["bob"])
    assert capsys.readouterr().out == ""


def test_load_gives_the_best_model_ready_to_use(trained):
    model, itos = mlp.load(trained.out_dir / "mlp.pt")
    assert itos == trained.itos and not model.training
    X = torch.randint(27, (50, 4))
    with torch.no_grad():
        assert torch.allclose(model(X).double(), trained.model(X), atol=1e-4)
    assert mlp.sample(model, itos)




# -----------------------------------------------------------------------------
# What a run prints and leaves

def test_seed_decides_and_does_not_touch_the_split(train):
    (out, first), (_, again), (other_out, other) = (train("--dropout=0.2", f"--seed={n}")
                                                    for n in (1, 1, 2))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert out.splitlines()[0] == other_out.splitlines()[0]


def test_progress_tells_step_time_and_time_left(train):
    lines = [line for line in train()[0].splitlines() if line.startswith("step")]
    assert [int(line.split()[1]) for line in lines] == [0, 10, 20]
    assert all(re.search(r"\| [\d.]+ ms a step \| \d+ s left$", line) for line in lines[1:])


def test_train_frac_1_has_no_dev_and_no_test_and_says_so(train):
    out, run = train("--train_frac=1")
    assert "no dev data" in out
    assert math.isnan(run["best"]["dev_loss"]) and run["best"]["step"] == 20
    last = [line for line in out.splitlines() if "parameters" in line][0]
    assert re.match(r"train \d\.\d{4} \| dev nan \| test nan \| ", last)


def test_samples_come_last_and_as_many_as_asked_for(train):
    out, _ = train("--num_samples=7")
    lines = out.split("\n")
    result = [i for i, line in enumerate(lines) if "parameters |" in line]
    # the result, the verdict, the title of the samples, the samples, and what follows the last \n
    assert len(result) == 1 and len(lines) == result[0] + 3 + 7 + 1


def test_import_prints_nothing_trains_nothing_and_loads_no_matplotlib(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # makes its import fail
    for name in ("bigram", "mlp", "export", "mix"):
        runpy.run_path(str(ROOT / f"{name}.py"), run_name=name)  # as an import runs it
    assert (*capfd.readouterr(), list(tmp_path.iterdir())) == ("", "", [])


# -----------------------------------------------------------------------------
# Command line

@pytest.mark.parametrize("args, name, value", [
    (["--n_embd=10"], "n_embd", 10),
    (["--n_embd", "10"], "n_embd", 10),
    (["--learning_rate=1e-3"], "learning_rate", 1e-3),
    (["--dropout", "0"], "dropout", 0.0),
    (["--max_iters=10"], "max_iters", 10),
    (["--input_file=a=b"], "input_file", "a=b"),
    (["--keep_duplicates"], "keep_duplicates", True),
    (["--keep_duplicates=True"], "keep_duplicates", True),
    (["--keep_duplicates", "False"], "keep_duplicates", False),
    (["--keep_duplicates", "--seed=7"], "keep_duplicates", True),
    (["--train_frac=1"], "train_frac", 1),
    ([], "keep_duplicates", False),
])
def test_setting_is_overridden(args, name, value):
    got = getattr(mlp.parse_args(args), name)
    kind, = {default if isinstance(default, type) else type(default)
             for setting, default, *_ in mlp.SETTINGS if setting == name}
    assert got == value and type(got) is kind


def test_help_lists_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        mlp.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    defaults = vars(mlp.parse_args([]))
    assert set(defaults) == {name for name, *_ in mlp.SETTINGS}
    for name, default in defaults.items():
        entry = text.split(f" --{name} ")[-1].split(" --")[0]
        shown = "from the data" if default is None else str(default)
        assert f"(default: {shown})" in entry and len(entry.split()) > 4, entry


@pytest.mark.parametrize("arg, named", [
    ("--nonsense=1", "--nonsense"), ("stray", "stray"), ("--block=3", "--block"),
    ("--block_size", "block_size"), ("--block_size=", "block_size"), ("--block_size=x", "x"),
    ("--block_size=3.5", "3.5"), ("--block_size=0", "block_size"),
    ("--block_size=-1", "block_size"), ("--n_embd=99999999999999999999", "n_embd"),
    ("--n_hidden=0", "n_hidden"),
    ("--batch_size=0", "batch_size"), ("--max_iters=-5", "max_iters"), ("--seed=-1", "seed"),
    ("--eval_interval=0", "eval_interval"), ("--num_samples=-1", "num_samples"),
    ("--dropout=1.5", "1.5"), ("--dropout=nan", "dropout"), ("--dropout=-0.1", "dropout"),
    ("--learning_rate=-1", "learning_rate"), ("--learning_rate=inf", "learning_rate"),
    ("--warmup_iters=-1", "warmup_iters"), ("--weight_decay=-1", "weight_decay"),
    ("--train_frac=0", "train_frac"), ("--train_frac=1.1", "train_frac"),
    ("--keep_duplicates=maybe", "keep_duplicates"),
])
def test_wrong_command_line(refused, arg, named):
    refused(mlp, [arg], 2, named)


@pytest.mark.parametrize("arg, meant", [
    ("--n-hidden=3", "--n_hidden"), ("--max_iter=3", "--max_iters"), ("--lr=3", "--learning_rate"),
    ("--blocksize", "--block_size"), ("--resumes", "--resume"),
])
def test_close_name_is_suggested(refused, arg, meant):
    refused(mlp, [arg], 2, f"did you mean {meant}?", "--help")


def test_far_name_gets_no_suggestion(refused):
    assert "did you mean" not in refused(mlp, ["--zzz=1"], 2, "--zzz", "--help")


# -----------------------------------------------------------------------------
# Bad input

@pytest.mark.parametrize("content, named", [
    (b"", "no line with text"), (b"\n\r\n \t\n\n", "no line with text"),
    (b"\xef\xbb\xbf\n", "no line with text"),
    (b"caf\xe9\nanna\n", "line 1"), (b"anna\r\n\nb\xc3\n", "line 3"),
    (b"\xff\xfea\x00\n\x00", "line 1"),  # UTF-16
    (b"one\ntwo\n", "too few lines, 2,"), (b"same\n" * 100, "too few lines, 1,"),
])
def test_bad_input_file(refused, write, out_dir, content, named):
    argv = [f"--input_file={write(content)}", f"--out_dir={out_dir}", *SMALL]
    said = refused(mlp, argv, 1, named)
    assert ("iconv" in said) == ("UTF-8" in said) == (named[:4] == "line")
    assert not out_dir.exists()


def test_missing_input_file(refused, tmp_path):
    refused(mlp, [f"--input_file={tmp_path / 'none.txt'}", *SMALL], 1, tmp_path / "none.txt")


def test_folder_as_input_file(refused, tmp_path):
    refused(mlp, [f"--input_file={tmp_path}", *SMALL], 1, tmp_path)


def test_one_line_is_enough_with_train_frac_1(train, few):
    few.write_text("anna\n")
    assert train("--train_frac=1")[1]["itos"] == ["\n", "a", "n"]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_file_in_place_of_out_dir(refused, few, tmp_path, below):
    (tmp_path / "taken").write_text("precious")
    out_dir = tmp_path / "taken" / below
    refused(mlp, [f"--input_file={few}", f"--out_dir={out_dir}", *SMALL], 1, out_dir)
    assert (tmp_path / "taken").read_text() == "precious"


def test_empty_out_dir_is_this_folder(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlp.main([f"--input_file={few}", *SMALL, "--out_dir="])
    assert (tmp_path / "mlp.pt").exists()


def test_full_disk_leaves_the_old_checkpoint(refused, train, argv, out_dir):
    train()
    before = (out_dir / "mlp.pt").read_bytes()
    with small_disk(1000):
        refused(mlp, [*argv, "--seed=2"], 1, out_dir / "mlp.pt")
    assert (out_dir / "mlp.pt").read_bytes() == before


@pytest.mark.parametrize("error", [RuntimeError("[enforce] can't allocate memory"), MemoryError()])
def test_out_of_memory_is_a_sentence(refused, argv, monkeypatch, error):
    def allocate(*shape):  # as torch does; a real size might fit where there is much memory
        raise error
    monkeypatch.setattr(torch, "randn", allocate)
    refused(mlp, argv, 1, "out of memory")


def test_an_error_of_the_program_is_no_sentence(argv, monkeypatch):
    def wrong(*args):
        raise RuntimeError("shapes do not match")
    monkeypatch.setattr(mlp, "train_step", wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        mlp.start(mlp.main, argv)


def test_loss_that_is_not_finite_ends_training(refused, argv, out_dir):
    wild = ["--learning_rate=1000", "--weight_decay=1000", "--warmup_iters=0", "--max_iters=100"]
    refused(mlp, [*argv, *wild], 1, "learning_rate")
    assert weights(mlp.read_run(out_dir / "mlp.pt")).isfinite().all()


@pytest.fixture
def ctrl_c(monkeypatch):
    """ctrl_c(module, name, calls, counts): the function is interrupted when it is called so often;
    a call for which counts(*args) is false is not counted."""
    def interrupt(module, name, calls=1, counts=lambda *args: True):
        function, called = getattr(module, name), []

        def interrupted(*args):
            called.extend([1] if counts(*args) else [])
            if len(called) == calls:
                raise KeyboardInterrupt
            return function(*args)
        monkeypatch.setattr(module, name, interrupted)
    return interrupt


def test_ctrl_c_in_the_training_says_where_the_checkpoint_is(refused, argv, out_dir, ctrl_c):
    ctrl_c(mlp, "train_step", 15, lambda model, optimizer, rate, X, Y: rate > 0)  # not the trial
    refused(mlp, argv, 1, "stopped", "--resume", f"--out_dir={out_dir}", "step 10")
    assert weights(mlp.read_run(out_dir / "mlp.pt")).isfinite().all()


@pytest.mark.parametrize("earlier", [True, False])
def test_ctrl_c_while_the_checkpoint_is_written(refused, train, argv, out_dir, ctrl_c, earlier):
    if earlier:
        train()
    ctrl_c(mlp.os, "replace")
    refused(mlp, argv, 1, "stopped")
    if earlier:
        mlp.read_run(out_dir / "mlp.pt")


def test_ctrl_c_after_training(refused, argv, out_dir, ctrl_c):
    ctrl_c(mlp, "sample")
    refused(mlp, [*argv, "--num_samples=5"], 1, "stopped")
    mlp.read_run(out_dir / "mlp.pt")


def test_ctrl_c_as_a_signal(argv, out_dir):
    run = subprocess.Popen([sys.executable, ROOT / "mlp.py", *argv, "--max_iters=1000000",
                            "--eval_interval=10"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           # what a shell starts in the background is deaf to it, and its children
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        assert any(line.startswith("step     10") for line in run.stdout)  # that of 0 is saved
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    one_sentence("mlp.py", err, out_dir, "--resume")
    assert run.returncode == 1
    assert weights(mlp.read_run(out_dir / "mlp.pt")).isfinite().all()
