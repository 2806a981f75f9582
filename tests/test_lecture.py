"""lecture.py: the data of every other model here, the lecture's network, and steps that go down."""

import re
import shutil

import pytest
import torch

import mlp
from conftest import ROOT


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
    for part, X, Y in zip(mlp.split_words(words, 0.8), ("Xtr", "Xdev", "Xte"), ("Ytr", "Ydev", "Yte")):
        rows = mlp.encode(part, itos, 3).long()
        assert torch.equal(made[X], rows[:, :-1]) and torch.equal(made[Y], rows[:, -1])
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
    assert re.fullmatch(r"train \S+ \| dev \S+ \| test \S+ \| 11,897 parameters \| \S+ s", lines[-11])
    assert all(set(name) <= set(made["itos"][1:]) for name in lines[-10:])
    assert lecture("--steps=50")[0][-10:] == lines[-10:] != lecture("--steps=50", "--seed=1")[0][-10:]
