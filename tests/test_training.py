"""What goes on around the training loop: resuming, learning-rate finder, pictures, verdict."""

import math
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
import torch
from conftest import ROOT

import mlp

SMALL = [f"--input_file={ROOT / 'names.txt'}", "--block_size=3", "--n_embd=4", "--n_hidden=16",
         "--batch_size=64", "--num_samples=0", "--warmup_iters=5"]


@pytest.fixture
def out_dir(tmp_path):
    return tmp_path / "run"


def load(out_dir):
    return torch.load(out_dir / "mlp.pt", weights_only=True)


def same(a, b):
    """Whether two checkpoints, nested as they are, are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


# -----------------------------------------------------------------------------
# Resume

def test_run_killed_at_any_moment_ends_as_one_that_was_not(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    argv = [*SMALL, "--max_iters=3000", "--eval_interval=100", "--dropout=0.2"]
    for step, args in ((200, argv), (900, ["--resume"])):
        run = subprocess.Popen([sys.executable, ROOT / "mlp.py", *args, f"--out_dir={killed}"],
                               stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
        for line in run.stdout:
            if line.startswith(f"step {step:6,}"):
                break
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert step - 100 <= load(killed)["last"]["step"] < 3000
    mlp.main(["--resume", f"--out_dir={killed}"])
    mlp.main([*argv, f"--out_dir={whole}"])
    a, b = load(whole), load(killed)
    for checkpoint in (a, b):
        del checkpoint["config"], checkpoint["last"]["seconds"]
    assert a["last"]["step"] == 3000
    assert same(a, b)


def test_resume_of_a_finished_run_says_the_same_again(out_dir, capsys):
    mlp.main([*SMALL, "--max_iters=20", f"--out_dir={out_dir}"])
    first = capsys.readouterr().out.splitlines()
    mlp.main(["--resume", f"--out_dir={out_dir}"])
    second = capsys.readouterr().out.splitlines()
    assert second[1] == "going on at step 20"
    assert second[-2].split("|")[:4] == first[-2].split("|")[:4]


@pytest.fixture
def stopped(out_dir):
    mlp.main([*SMALL, "--max_iters=20", f"--out_dir={out_dir}"])
    return out_dir


def test_file_of_a_run_may_move(stopped, tmp_path, capsys):
    (tmp_path / "moved.txt").write_bytes((ROOT / "names.txt").read_bytes())
    mlp.main(["--resume", f"--out_dir={stopped}", f"--input_file={tmp_path / 'moved.txt'}"])
    assert "going on at step 20" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["--n_hidden=17", "--dropout=0.5", "--seed=3", "--batch_size=8"])
def test_resume_refuses_other_settings(refused, stopped, change):
    refused(mlp, ["--resume", f"--out_dir={stopped}", change], 1, change[2:].split("=")[0])


def test_resume_refuses_other_characters(refused, stopped, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("αβγ\n" * 20)
    checkpoint = load(stopped)
    checkpoint["config"].update(input_file=str(other), keep_duplicates=True)
    torch.save(checkpoint, stopped / "mlp.pt")
    refused(mlp, ["--resume", f"--out_dir={stopped}"], 1, other)


def test_resume_refuses_another_file_of_the_same_characters(refused, out_dir, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(f"{a}{b}" for a in "abcdef" for b in "abcdef"))
    mlp.main([*SMALL, f"--input_file={path}", "--max_iters=5", f"--out_dir={out_dir}"])
    path.write_text(path.read_text() + "\nabc")
    refused(mlp, ["--resume", f"--out_dir={out_dir}"], 1, path)


def test_what_torch_cannot_do_is_a_sentence(refused, out_dir, monkeypatch):
    def fails(*args):
        raise RuntimeError("no C++ compiler\nand a long story")
    monkeypatch.setattr(mlp, "train_step", fails)
    said = refused(mlp, [*SMALL, f"--out_dir={out_dir}"], 1, "no C++ compiler", "--compile")
    assert "long story" not in said


def test_small_file_is_judged_before_it_is_known_by_heart(tmp_path, out_dir):
    words = mlp.read_words(ROOT / "names.txt")[:200]
    (tmp_path / "words.txt").write_text("\n".join(words))
    mlp.main([f"--input_file={tmp_path / 'words.txt'}", f"--out_dir={out_dir}", "--n_hidden=200",
              "--num_samples=0", "--max_iters=1000"])
    best = load(out_dir)
    assert 0 < best["step"] < 500 and best["dev_loss"] < 3


def test_resume_goes_no_step_back(refused, stopped):
    refused(mlp, ["--resume", f"--out_dir={stopped}", "--max_iters=10"], 1, "20", "max_iters")


def test_run_made_longer_stays_longer(stopped, capsys):
    mlp.main(["--resume", f"--out_dir={stopped}", "--max_iters=30", "--eval_interval=5"])
    capsys.readouterr()
    mlp.main(["--resume", f"--out_dir={stopped}"])
    assert "going on at step 30" in capsys.readouterr().out


def test_resume_with_another_interval_keeps_every_evaluation(stopped):
    mlp.main(["--resume", f"--out_dir={stopped}", "--max_iters=35", "--eval_interval=15"])
    # the last one is drawn, but comes after the last state is saved
    steps = [step for step, *_ in load(stopped)["last"]["evaluations"]]
    assert steps == [0, 1, 2, 4, 8, 16, 20, 30]


def test_resume_without_a_run(refused, out_dir):
    refused(mlp, ["--resume", f"--out_dir={out_dir}"], 1, out_dir / "mlp.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_resume_from_something_else(refused, tmp_path, content):
    if content is None:
        torch.save({"model": {}}, tmp_path / "mlp.pt")
    else:
        (tmp_path / "mlp.pt").write_bytes(content)
    refused(mlp, ["--resume", f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.pt")


# -----------------------------------------------------------------------------
# Training

@pytest.mark.parametrize("batch_size", [7, 1000])
def test_an_epoch_meets_every_prediction_once_in_an_order_of_its_own(names, batch_size):
    words = names[:20]
    itos = ["\n"] + sorted(set("".join(words)))
    windows, at = data = mlp.encode(words, itos, 12)  # contexts long enough to be all different
    everything = Counter(map(tuple, windows[at].tolist()))
    per_epoch = max(1, len(at) // batch_size)
    stream = mlp.batches(data, batch_size, seed=1)
    epochs = []
    for _ in range(3):
        batches = [next(stream) for _ in range(per_epoch)]
        epochs.append([tuple(x + [y]) for X, Y in batches for x, y in zip(X.tolist(), Y.tolist())])
    for epoch in epochs:
        assert len(epoch) == min(per_epoch * batch_size, len(at))
        assert not Counter(epoch) - everything
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("step", [1, 3, 4, 11])
def test_batches_go_on_at_a_step_as_if_never_stopped(names, step):
    data = mlp.encode(names[:10], ["\n"] + sorted(set("".join(names))), 3)
    through, resumed = mlp.batches(data, 16, seed=5), mlp.batches(data, 16, seed=5, step=step)
    for _ in range(step):
        next(through)
    for _ in range(10):
        (X1, Y1), (X2, Y2) = next(through), next(resumed)
        assert torch.equal(X1, X2) and torch.equal(Y1, Y2)


def test_learning_rate_follows_its_formula():
    config = mlp.parse_args(["--max_iters=100", "--warmup_iters=9", "--learning_rate=2"])
    rates = [mlp.learning_rate_at(step, config) for step in range(101)]
    for step, rate in enumerate(rates):
        warmup = (step + 1) / 10 if step < 9 else 1
        assert rate == pytest.approx(2 * warmup * math.cos(math.pi * step / 200) ** 2)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_two_epochs_on_200_names_beat_letter_frequencies_and_not_by_cheating(names):
    words = names[:200]
    itos = ["\n"] + sorted(set("".join(words)))
    data = mlp.encode(words, itos, 3)
    torch.manual_seed(1)
    model = mlp.MLP(len(itos), 3, 10, 100)
    optimizer = mlp.make_optimizer(model, 0.0)
    for _, batch in zip(range(2 * len(data[1]) // 16), mlp.batches(data, 16, seed=1)):
        mlp.train_step(model, optimizer, 0.01, *batch)
    tokens = Counter("".join(word + "\n" for word in words))
    total = sum(tokens.values())
    entropy = -sum(n / total * math.log(n / total) for n in tokens.values())
    # without the context no model is better than the entropy; one that sees its target is near 0
    assert 1.2 < mlp.evaluate(model, data) < entropy - 0.3


def test_network_that_fits_into_no_memory(refused, out_dir, monkeypatch):
    def allocate(*shape):  # as torch does; a real one might fit where there is much memory
        raise RuntimeError("can't allocate memory")
    monkeypatch.setattr(torch, "randn", allocate)
    refused(mlp, [*SMALL, f"--out_dir={out_dir}"], 1, "memory", "--n_hidden")


# -----------------------------------------------------------------------------
# Learning-rate finder

def test_finder_suggests_the_rate_with_the_lowest_loss(names):
    config = mlp.parse_args(SMALL)
    itos = ["\n"] + sorted(set("".join(names)))
    data = mlp.encode(names, itos, 3)
    torch.manual_seed(1)
    model = mlp.MLP(len(itos), 3, 4, 16)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    rates, losses, suggestion = mlp.find_lr(model, data, config)
    assert same(before, dict(model.state_dict()))
    assert rates.shape == losses.shape
    assert rates[0] < 2e-5 and rates[-1] > 0.7
    assert (rates[1:] / rates[:-1]).std() < 1e-5  # exponential
    assert suggestion == pytest.approx(rates[losses.argmin()].item())
    assert losses[0] == pytest.approx(math.log(len(itos)), abs=0.1)
    assert losses.min() < 2.7 < losses[-1]


def test_finder_prints_a_table_and_trains_nothing(out_dir, capsys):
    mlp.main([*SMALL, "--find_lr", f"--out_dir={out_dir}"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("learning rate ") for line in lines) == 20
    assert lines[-1].startswith("suggested: --learning_rate=")
    assert not out_dir.exists()


# -----------------------------------------------------------------------------
# Pictures

def is_a_picture(path):
    image = pytest.importorskip("matplotlib.image").imread(path)
    return min(image.shape[:2]) > 300 and image[..., :3].std() > 0.02


def test_finder_draws_its_curve(out_dir):
    mlp.main([*SMALL, "--find_lr", "--plot", f"--out_dir={out_dir}"])
    assert is_a_picture(out_dir / "find_lr.png")


@pytest.mark.parametrize("n_embd", [1, 2, 5])
def test_training_draws_losses_and_embedding(out_dir, n_embd):
    mlp.main([*SMALL, f"--n_embd={n_embd}", "--max_iters=30", "--plot", f"--out_dir={out_dir}"])
    assert is_a_picture(out_dir / "loss.png")
    assert is_a_picture(out_dir / "embedding.png")


def test_pictures_without_dev_and_of_another_script(out_dir, tmp_path):
    (tmp_path / "greek.txt").write_text("αλφα\nβητα\nγαμμα\n", encoding="utf-8")
    mlp.main([*SMALL, f"--input_file={tmp_path / 'greek.txt'}", "--train_frac=1", "--max_iters=3",
              "--plot", f"--out_dir={out_dir}"])
    assert is_a_picture(out_dir / "loss.png") and is_a_picture(out_dir / "embedding.png")


def test_plot_without_matplotlib_is_refused_before_the_training(refused, out_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # makes its import fail
    refused(mlp, [*SMALL, "--plot", f"--out_dir={out_dir}"], 1, "pip install matplotlib")
    assert not out_dir.exists()


# -----------------------------------------------------------------------------
# Verdict

@pytest.mark.parametrize("train, dev, step, words", [
    (2.10, 2.12, 1000, ["room to grow", "+0.020"]),
    (2.11, 2.10, 1000, ["room to grow", "-0.010"]),
    (1.70, 1.95, 1000, ["harmless", "0.250"]),
    (1.50, 2.05, 400, ["overfitting", "--max_iters=400", "1,000", "0.550"]),
    (3.29, 3.29, 0, ["untrained", "--learning_rate"]),
    (1.50, None, 1000, ["no dev loss"]),
])
def test_verdict_rests_on_train_and_dev(train, dev, step, words):
    sentence = mlp.verdict(train, dev, step, 1000)
    assert all(word in sentence for word in words)
    assert "\n" not in sentence
