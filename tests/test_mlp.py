import copy
import math
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import mlp
from conftest import ROOT, one_sentence, small_disk, token_pairs

SMALL = ["--block_size=3", "--n_embd=4", "--n_hidden=16", "--batch_size=32", "--max_iters=20",
         "--eval_interval=10", "--num_samples=0"]


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


def weights(checkpoint):
    return torch.cat([p.flatten() for p in checkpoint["model"].values()])


# -----------------------------------------------------------------------------
# Data

def test_dataset_by_hand(write):
    path = write(b"\xef\xbb\xbfa.b\r\n\r\n  \t\r\n \xc3\xa9 \r\na.b\n\xf0\x9f\x8c\x8d 7\n")
    words = mlp.read_words(path)
    assert words == ["a.b", "é", "🌍 7"]
    assert mlp.read_words(path, keep_duplicates=True) == ["a.b", "é", "a.b", "🌍 7"]

    itos = ["\n", " ", ".", "7", "a", "b", "é", "🌍"]
    windows, at = mlp.encode(words, itos, 2)
    assert windows[at].tolist() == [
        [0, 0, 4], [0, 4, 2], [4, 2, 5], [2, 5, 0],  # a . b
        [0, 0, 6], [0, 6, 0],                        # é
        [0, 0, 7], [0, 7, 1], [7, 1, 3], [1, 3, 0],  # 🌍 7
    ]


@pytest.mark.parametrize("content", ["a\u2028b\nc", "a\x0bb\nc", "a\x85b\nc", "a\rb\nc"])
def test_only_a_line_feed_ends_a_line(write, content):
    assert mlp.read_words(write(content)) == content.split("\n")


def test_vocabulary_is_sorted_and_its_boundary_no_character_of_the_data(trained, names):
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
    windows, at = mlp.encode(words, itos, block_size)
    expected = [[*x, y] for word in words for x, y in token_pairs(word, itos, block_size)]
    assert windows[at].tolist() == expected


def test_encode_of_no_words_gives_no_predictions():
    assert len(mlp.encode([], ["\n", "a"], 3)[1]) == 0


def test_contexts_take_no_memory_of_their_own(names):
    windows, _ = mlp.encode(names, ["\n"] + sorted(set("".join(names))), 8)
    assert windows.untyped_storage().nbytes() <= sum(len(name) + 8 for name in names) + 8


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
    np.testing.assert_allclose(model(X).detach(), logits, atol=1e-4)


@pytest.mark.parametrize("batch_size", [5, 200])
def test_gradient_agrees_with_the_plain_formula(batch_size):
    torch.manual_seed(0)
    model, X = mlp.MLP(11, 3, 5, 7).double(), torch.randint(11, (batch_size, 3))
    h = torch.tanh(model.C[X].flatten(1) @ model.W1 + model.b1)
    expected, got = (torch.autograd.grad((logits**2).sum(), list(model.parameters()))
                     for logits in (h @ model.W2 + model.b2, model(X)))
    torch.testing.assert_close(got, expected)


def test_parameters_have_their_names_shapes_and_number():
    model = mlp.MLP(27, 3, 10, 200)
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == {
        "C": (27, 10), "W1": (30, 200), "b1": (200,), "W2": (200, 27), "b2": (27,)}
    assert sum(p.numel() for p in model.parameters()) == 11897


@pytest.mark.parametrize("vocab_size, block_size, n_hidden",
                         [(27, 8, 300), (27, 3, 200), (500, 4, 64)])
def test_first_loss_is_that_of_guessing(vocab_size, block_size, n_hidden):
    torch.manual_seed(0)
    model = mlp.MLP(vocab_size, block_size, 10, n_hidden)
    X, Y = torch.randint(vocab_size, (2000, block_size)), torch.randint(vocab_size, (2000,))
    assert abs(torch.nn.functional.cross_entropy(model(X), Y) - math.log(vocab_size)) < 0.03


def test_hidden_layer_starts_neither_dead_nor_idle():
    torch.manual_seed(0)
    model = mlp.MLP(27, 8, 24, 300)
    h = torch.tanh(model.C[torch.randint(27, (1000, 8))].flatten(1) @ model.W1 + model.b1)
    assert 0.3 < h.std() and (h.abs() > 0.99).float().mean() < 0.2


def test_one_batch_is_learned_by_heart():
    torch.manual_seed(0)
    model = mlp.MLP(27, 3, 10, 100)
    X = torch.cartesian_prod(*[torch.arange(1, 5)] * 3)[:32]
    Y = torch.randint(27, (32,))
    optimizer = mlp.make_optimizer(model, 0.0)
    for _ in range(200):
        loss = mlp.train_step(model, optimizer, 0.01, X, Y)
    assert loss < 0.01


def test_evaluation_is_without_dropout_and_training_with(names):
    itos = ["\n"] + sorted(set("".join(names)))
    torch.manual_seed(0)
    plain, dropping = mlp.MLP(27, 3, 4, 16), mlp.MLP(27, 3, 4, 16, dropout=0.5)
    with torch.no_grad():
        plain.W2.mul_(100)
    dropping.load_state_dict(plain.state_dict())
    for words in (names[:2], names[:500]):
        data = mlp.encode(words, itos, 3)
        assert mlp.evaluate(dropping, data) == mlp.evaluate(plain, data)
        X = torch.randint(27, data[1].shape + (3,))
        assert dropping.training and not torch.equal(dropping(X), dropping(X))


def test_evaluation_is_the_mean_over_all_tokens(trained, names):
    words = names[:3000]  # more predictions than evaluate takes at once
    data = mlp.encode(words, trained.itos, trained.block_size)
    nlls = trained.nll(words)
    mean = sum(nll * n for nll, n in nlls) / sum(n for _, n in nlls)
    assert mlp.evaluate(copy.deepcopy(trained.model).float(), data) == pytest.approx(mean, abs=1e-5)


# -----------------------------------------------------------------------------
# Training

def test_training_learns(trained):
    assert trained.checkpoint["dev_loss"] < 2.4  # guessing is log(27) = 3.30, counting pairs 2.45


def test_same_seed_same_weights_other_seed_other_weights(train):
    first, again, other = (weights(train("--dropout=0.2", f"--seed={n}")[1]) for n in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_seed_does_not_touch_the_split(train):
    shown = [train(f"--seed={seed}")[0].splitlines()[0] for seed in (1, 2)]
    assert shown[0] == shown[1]


def test_learning_rate_climbs_then_falls_to_zero(train):
    out, _ = train("--max_iters=40", "--warmup_iters=10", "--learning_rate=0.01",
                   "--eval_interval=1")
    rates = [float(lr) for _, lr, _, _ in progress(out)]
    assert len(rates) == 41 and rates[0] < 0.002 and max(rates) > 0.007 and rates[-1] < 1e-4
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak]) and 8 <= peak <= 12
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_shown_learning_rate_is_the_one_in_use(train):
    moves = {}
    for warmup_iters in (0, 10**9):
        a, b = (weights(train("--train_frac=1", f"--warmup_iters={warmup_iters}",
                              f"--max_iters={n}")[1]) for n in (1, 30))
        moves[warmup_iters] = (a - b).abs().max()
    assert moves[0] > 0.01 > 1e-5 > moves[10**9]


def test_weight_decay_shrinks_the_matrices(train):
    options = "--train_frac=1", "--warmup_iters=0"
    plain, decayed = (train(*options, f"--weight_decay={decay}")[1]["model"] for decay in (0, 20))
    assert decayed["W1"].norm() < 0.8 * plain["W1"].norm()


def test_checkpoint_is_the_best_and_the_last_line_judges_it(train):
    out, checkpoint = train("--max_iters=300", "--eval_interval=20", "--learning_rate=0.05",
                            "--dropout=0")
    shown = progress(out)
    best = min(shown, key=lambda line: float(line[3]))
    assert best != shown[-1]  # sixty names are soon known by heart
    assert checkpoint["step"] == int(best[0]) and f"{checkpoint['dev_loss']:.4f}" == best[3]
    last = [line for line in out.splitlines() if "parameters" in line]
    assert len(last) == 1
    assert re.fullmatch(r"train \d\.\d{4} \| dev \d\.\d{4} \| test \d\.\d{4} \| [\d,]+ parameters"
                        r" \| [\d.]+ s", last[0])
    assert f"train {best[2]} | dev {best[3]} | " in last[0]


def test_progress_tells_step_time_and_time_left(train):
    lines = [line for line in train()[0].splitlines() if line.startswith("step")]
    # the early ones, then every eval_interval
    assert [int(line.split()[1]) for line in lines] == [0, 1, 2, 4, 8, 10, 20]
    assert all(re.search(r"\| [\d.]+ ms a step \| \d+ s left$", line) for line in lines[-2:])


def test_train_frac_1_has_no_dev_and_no_test_and_says_so(train):
    out, checkpoint = train("--train_frac=1")
    assert re.search(r"no dev", out)
    assert checkpoint["dev_loss"] is None and checkpoint["step"] == 20
    last = [line for line in out.splitlines() if "parameters" in line][0]
    assert re.match(r"train \d\.\d{4} \| dev [^\d|]* \| test [^\d|]* \| ", last)


def test_made_up_names_are_marked_if_they_stand_in_the_data(train, names):
    out, _ = train("--num_samples=300", "--max_iters=400", "--eval_interval=400", "--train_frac=1",
                   "--warmup_iters=0", "--learning_rate=0.05", "--n_hidden=64")
    made_up = out.split("\n")[-301:-1]  # all that comes after the result
    assert "(in the data)" not in out[:out.index(" parameters | ")]
    marked = [line for line in made_up if line.endswith("  (in the data)")]
    assert 0 < len(marked) < 300
    assert {line[:-len("  (in the data)")] for line in marked} <= set(names[:60])
    assert not {line for line in made_up if line not in marked} & set(names[:60])


def test_made_up_names_begin_as_the_softmax_says(train):
    out, checkpoint = train("--num_samples=1000", "--max_iters=1",
                            "--train_frac=1", "--seed=5")
    model = mlp.MLP(len(checkpoint["itos"]), 3, 4, 16).eval()
    model.load_state_dict(checkpoint["model"])
    probs = torch.softmax(model(torch.zeros(1, 3, dtype=torch.long)), 1)[0].tolist()
    made_up = [line.split("  (")[0] for line in out.split("\n")[-1001:-1]]
    firsts = [name[:1] or "\n" for name in made_up]
    expected = {ch: 1000 * p for ch, p in zip(checkpoint["itos"], probs)}
    chi2 = sum((firsts.count(ch) - n)**2 / n for ch, n in expected.items())
    df = len(probs) - 1
    assert chi2 < df + 5 * (2 * df)**0.5


def test_import_trains_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", "import mlp, export"], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr, list(tmp_path.iterdir())) == (0, "", "", [])


# -----------------------------------------------------------------------------
# Command line

@pytest.mark.parametrize("args, name, value", [
    (["--n_embd=10"], "n_embd", 10),
    (["--n_embd", "10"], "n_embd", 10),
    (["--learning_rate=1e-3"], "learning_rate", 1e-3),
    (["--dropout", "0"], "dropout", 0.0),
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
    assert got == value and type(got) is type(getattr(mlp.parse_args([]), name))


def test_help_lists_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        mlp.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    defaults = vars(mlp.parse_args([]))
    assert set(defaults) == {name for name, *_ in mlp.SETTINGS}
    for name, default in defaults.items():
        entry = text.split(f" --{name} ")[-1].split(" --")[0]
        assert str(default) in entry and len(entry.split()) > 3, entry


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


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", "cpu:7x"])
def test_device_that_is_not_there(refused, argv, device):
    refused(mlp, [*argv, f"--device={device}"], 1, device)


# -----------------------------------------------------------------------------
# Bad input

@pytest.mark.parametrize("content", [b"", b"\n\r\n \t\n\n", b"\xef\xbb\xbf\n", b"caf\xe9\nanna\n",
                                     b"\xff\xfea\x00\n\x00", b"one\ntwo\n", b"same\n" * 100])
def test_bad_input_file(refused, write, out_dir, content):
    path = write(content)
    said = refused(mlp, [f"--input_file={path}", f"--out_dir={out_dir}", *SMALL], 1)
    assert str(path) in said or "2 lines" in said or "1 line" in said
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
    assert os.listdir(out_dir) == ["mlp.pt"]


@pytest.mark.parametrize("script", ["mlp.py", "bigram.py", "export.py"])
def test_closed_output(tmp_path, script):
    done = subprocess.run([sys.executable, ROOT / script], stderr=subprocess.PIPE, text=True,
                          cwd=tmp_path, preexec_fn=lambda: os.close(1))
    one_sentence(script, done.stderr, "output")
    assert done.returncode == 1


def test_full_disk_under_the_output(argv, full_device):
    done = subprocess.run([sys.executable, ROOT / "mlp.py", *argv], stdout=full_device,
                          stderr=subprocess.PIPE, text=True)
    one_sentence("mlp.py", done.stderr)
    assert done.returncode == 1


def test_loss_that_is_not_finite_ends_training(refused, argv, out_dir):
    wild = ["--learning_rate=1000", "--weight_decay=1000", "--warmup_iters=0", "--max_iters=100"]
    refused(mlp, [*argv, *wild], 1, "learning_rate")
    checkpoint = torch.load(out_dir / "mlp.pt", weights_only=True)
    assert weights(checkpoint).isfinite().all()


def test_ctrl_c_keeps_the_best_checkpoint_and_says_where(argv, out_dir):
    run = subprocess.Popen([sys.executable, ROOT / "mlp.py", *argv, "--max_iters=1000000",
                            "--eval_interval=1000000"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           # what a shell starts in the background is deaf to it, and its children
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        assert any(line.startswith("step      1") for line in run.stdout)  # that of step 0 is saved
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    one_sentence("mlp.py", err, out_dir / "mlp.pt")
    assert run.returncode == 1
    assert os.listdir(out_dir) == ["mlp.pt"]
    assert weights(torch.load(out_dir / "mlp.pt", weights_only=True)).isfinite().all()


@pytest.fixture
def ctrl_c(monkeypatch):
    """ctrl_c(module, name): the function is interrupted as soon as it is called."""
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt
    return lambda module, name: monkeypatch.setattr(module, name, interrupt)


@pytest.mark.parametrize("earlier", [True, False])
def test_ctrl_c_while_the_checkpoint_is_written(refused, train, argv, out_dir, ctrl_c, earlier):
    if earlier:
        train()
    ctrl_c(mlp.os, "replace")
    said = refused(mlp, argv, 1)
    if earlier:
        torch.load(out_dir / "mlp.pt", weights_only=True)
    else:
        assert "mlp.pt" not in said  # for there is none
    assert os.listdir(out_dir) == ["mlp.pt"] * earlier


def test_ctrl_c_after_training_says_where_the_checkpoint_is(refused, argv, out_dir, ctrl_c):
    ctrl_c(mlp, "sample")
    refused(mlp, [*argv, "--num_samples=5"], 1, out_dir / "mlp.pt")
