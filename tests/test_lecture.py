"""lecture.py: the data of every other model here, the lecture's network, and steps that go down."""

import re
import shutil

import pytest
import torch
from conftest import ROOT, one_sentence

import mlp


@pytest.fixture
def lecture(run_path, capsys, tmp_path, names):
    """lecture(*options): what it printed, as lines, and its variables. It has fewer names."""
    shutil.copy(ROOT / "lecture.py", tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(names[:600] + names[:200]))

    def run(*options):
        variables = run_path(tmp_path / "lecture.py", *options)
        return capsys.readouterr().out.splitlines(), variables
    return run


@pytest.mark.parametrize("options", [[], ["--keep_duplicates"]])
def test_its_words_are_split_as_those_of_every_model(lecture, tmp_path, options):
    _, made = lecture("--steps=0", *options)
    words = mlp.read_words(tmp_path / "names.txt", keep_duplicates=bool(options))
    itos = mlp.vocabulary(words)
    assert made["itos"][1:] == itos[1:]
    for part, X, Y in zip(mlp.split_words(words, 0.8), ("Xtr", "Xdev", "Xte"),
                          ("Ytr", "Ydev", "Yte")):
        rows = mlp.encode(part, itos, 3).long()
        assert torch.equal(made[X], rows[:, :-1]) and torch.equal(made[Y], rows[:, -1])


def test_its_network_is_that_of_mlp(lecture):
    _, made = lecture("--steps=0")
    model = mlp.MLP(27, 3, 10, 200)
    with torch.no_grad():
        for name, p in model.named_parameters():
            assert p.shape == made[name].shape
            p.copy_(made[name])
        torch.testing.assert_close(made["forward"](made["Xte"][:500]), model(made["Xte"][:500]))


def test_a_few_steps(lecture):
    """50 steps halve the loss that the wild first weights cause: 20 seeds, and rounding is like
    another seed, ended at 0.42 to 0.53 of where they began."""
    lines, made = lecture("--steps=50")
    first, *_, last = [float(line.split("dev ")[1].split()[0]) for line in lines if "dev " in line]
    assert last < 0.75 * first
    result, = [i for i, line in enumerate(lines) if "parameters" in line]
    assert re.fullmatch(r"train [\d.]+ \| dev [\d.]+ \| test [\d.]+ \| 11,897 parameters \| "
                        r"[\d.]+ s", lines[result])
    assert len(lines) == result + 1 + 10
    assert all(set(name) <= set(made["itos"][1:]) for name in lines[result + 1:])


def test_the_seed_decides(lecture):
    def result(seed):
        lines, _ = lecture("--steps=5", f"--seed={seed}")
        return [line for line in lines if "| " not in line], lines[-11].split("|")[:3]
    assert result(1) == result(1) != result(2)


@pytest.mark.parametrize("option", ["--stepz=3", "--steps=-5", "--steps=1.5", "--seed="])
def test_wrong_command_line(lecture, capsys, option):
    with pytest.raises(SystemExit) as stop:
        lecture(option)
    assert stop.value.code == 2
    one_sentence("lecture.py", capsys.readouterr().err, option.split("=")[0])
