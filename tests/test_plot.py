"""plot.py: the pictures show the numbers, and as much of them as a picture can hold."""

import math
import os
import random
import sys

import numpy as np
import pytest
import torch

import bigram
import mlp

pytest.importorskip("matplotlib")
import plot  # noqa: E402: it needs what the line before may miss


@pytest.fixture
def words_file(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "words.txt"
    path.write_text("\n".join("".join(rng.choices("abcde", k=rng.randint(1, 6)))
                              for _ in range(300)))
    return path


def is_a_picture(path):
    from matplotlib.image import imread
    image = imread(path)
    return min(image.shape[:2]) > 100 and image[..., :3].std() > 0.02


def run_of(losses, evaluations, C=None, itos="\nab"):
    """A run of mlp.py, as far as its pictures need it."""
    return {"losses": losses, "evaluations": evaluations, "itos": list(itos),
            "best": {"model": {"C": torch.zeros(3, 2) if C is None else C}}}


def lines_of(ax):
    """Label: (x values, y values), of every curve."""
    return {line.get_label(): (np.asarray(line.get_xdata(), float).tolist(),
                               np.asarray(line.get_ydata(), float).tolist())
            for line in ax.get_lines()}


# -----------------------------------------------------------------------------
# The pictures

@pytest.mark.parametrize("words", [["ab", "b", "$b$"], ["a"]])
def test_pairs_show_text_count_and_share(words):
    itos = bigram.vocabulary(words)
    ax = plot.plot_pairs(bigram.encode(words, itos, 1), itos)
    pairs = [pair for word in words for pair in zip("." + word, word + ".")]
    letters = ["."] + itos[1:]
    assert {text.get_text() for text in ax.texts} == {
        f"{a}{b}\n{pairs.count((a, b))}" for a in letters for b in letters}
    shade = ax.images[0].get_array()
    for i, a in enumerate(letters):
        total = sum(first == a for first, _ in pairs)
        assert shade[i].tolist() == pytest.approx([(pairs.count((a, b)) / total)**0.5
                                                   for b in letters])
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):  # they may stand on two sides
        assert [label.get_text() for label in labels][:len(letters)] == letters


def test_pairs_show_the_most_frequent_if_there_are_too_many():
    letters = [chr(0x100 + i) for i in range(400)]
    often = letters[:plot.MAX_CELLS - 1]
    words = letters + often * 3
    itos = bigram.vocabulary(words)
    ax = plot.plot_pairs(bigram.encode(words, itos, 1), itos)
    assert len(ax.texts) == plot.MAX_CELLS**2
    assert [label.get_text() for label in ax.get_yticklabels()] == [".", *often]
    assert len(plot.plot_pairs(bigram.encode(words, itos, 3), itos).texts) == plot.MAX_CELLS**2


def test_tune_shows_what_was_tried_and_marks_the_best():
    tried = [(0.1, 2.0, 2.5), (1.0, 2.1, 2.3), (10.0, 2.2, 2.4)]
    for name, scale in (("smoothing", "log"), ("discount", "linear")):
        ax = plot.plot_tune(name, tried)
        lines = lines_of(ax)
        assert lines.pop("train") == ([0.1, 1, 10], [2.0, 2.1, 2.2])
        assert lines.pop("dev") == ([0.1, 1, 10], [2.5, 2.3, 2.4])
        (label, best), = lines.items()
        assert best == ([1.0], [2.3]) and "2.3" in label
        assert ax.get_xscale() == scale and ax.get_xlabel() == name


def test_find_lr_shows_the_valley_and_the_suggestion():
    rates = torch.logspace(-5, 0, 100)
    losses = (rates.log10() + 2)**2 + 1
    ax = plot.plot_find_lr(rates, losses)
    curve, mark = ax.get_lines()
    assert np.allclose(curve.get_ydata(), losses)
    assert np.allclose(mark.get_xdata(), rates[losses.argmin()])
    low, high = ax.get_ylim()
    assert low < 1 and losses[0] < high and ax.get_xscale() == "log"


@pytest.mark.parametrize("dev", [
    [3.3, 2.5, 2.3, 2.2],    # falls
    [3.3, 2.5, 4.0, 9.0],    # overfits: far above train
    [3.3, 1.0, 0.9, 0.8],    # far below it
])
def test_loss_shows_dev_whatever_it_does(dev):
    losses = [3.0 - i / 200 for i in range(300)]
    evaluations = {100 * i: (2.0, loss) for i, loss in enumerate(dev)}
    ax = plot.plot_loss(run_of(losses, evaluations))
    lines = lines_of(ax)
    assert lines["dev"] == ([0, 100, 200, 300], dev)
    assert lines["train, each step"][1] == pytest.approx(losses)
    assert lines["train, mean of 3 steps"][0] == list(range(1, 299))
    assert lines["train, mean of 3 steps"][1] == pytest.approx(losses[1:-1], abs=1e-5)
    low, high = ax.get_ylim()
    assert all(low < loss < high for loss in dev[1:]) and low < min(losses)


@pytest.mark.parametrize("losses, evaluations", [
    ([3.0], {0: (3.1, math.nan), 1: (2.9, math.nan)}),  # no dev
    ([3.0], {0: (3.1, 3.1), 1: (2.9, 2.9)}),
    ([3.0] * 5, {0: (3.1, 3.1)}),                   # stopped before the second evaluation
    ([], {0: (3.1, 3.1)}),                          # stopped at once
])
def test_loss_of_a_short_run(losses, evaluations):
    low, high = plot.plot_loss(run_of(losses, evaluations)).get_ylim()
    assert math.isfinite(low) and low < 3.05 < high


def places(ax):
    return torch.tensor([list(text.get_position()) for text in ax.texts])


def test_embedding_of_two_numbers_is_shown_as_it_is():
    C = torch.tensor([[0.0, 1], [2, 3], [-1, 5]])
    ax = plot.plot_embedding(C, ["\n", "a", "$"])
    assert [text.get_text() for text in ax.texts] == [".", "a", "$"]
    assert torch.equal(places(ax), C)
    assert torch.equal(torch.cat([torch.tensor(dot.get_offsets().data) for dot in ax.collections]),
                       C.double())


def test_embedding_of_more_numbers_is_seen_from_its_widest_side():
    """A flat cloud, turned into 5 dimensions: the picture shows it with all its distances."""
    torch.manual_seed(0)
    flat = torch.randn(20, 2) * torch.tensor([3.0, 1.0])
    turn, _ = torch.linalg.qr(torch.randn(5, 5))
    itos = ["\n"] + [chr(ord("a") + i) for i in range(19)]
    ax = plot.plot_embedding(flat @ turn[:2] + torch.randn(5), itos)
    torch.testing.assert_close(torch.cdist(places(ax), places(ax)), torch.cdist(flat, flat),
                               atol=1e-3, rtol=0)
    assert places(ax).std(dim=0)[0] > places(ax).std(dim=0)[1]
    assert "100% of the variance" in ax.get_title()


def test_embedding_of_one_number_and_of_many_tokens():
    itos = ["\n"] + [chr(0x4E00 + i) for i in range(299)]
    ax = plot.plot_embedding(torch.randn(300, 1), itos)
    assert len(ax.texts) == 100 and (places(ax)[:, 1] == 0).all()


def test_embedding_knows_vowels_and_consonants():
    ax = plot.plot_embedding(torch.zeros(6, 2), ["\n", "a", "É", "b", "ç", "7"])
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["boundary", "vowel", "consonant", "other"]
    colours = [tuple(dot.get_facecolor()[0][:3]) for dot in ax.collections]
    assert colours[1] == colours[2] and colours[3] == colours[4] and len(set(colours)) == 4


# -----------------------------------------------------------------------------
# The command

def test_all_that_can_be_drawn(words_file, tmp_path, monkeypatch, capsys):
    found = torch.logspace(-5, 0, 9), torch.rand(9)
    monkeypatch.setattr(mlp, "find_lr", lambda *args: found)
    out_dir = tmp_path / "out"
    argv = [f"--input_file={words_file}", f"--out_dir={out_dir}"]
    with monkeypatch.context() as m:
        drawn = []
        m.setattr(plot, "save_png", lambda ax, path: drawn.append(os.path.basename(path)))
        plot.main(argv)
        assert drawn == ["pairs.png", "tune.png", "find_lr.png"]  # there is no network to show
    mlp.main([*argv, "--max_iters=4", "--n_hidden=4", "--num_samples=0", "--batch_size=8"])
    capsys.readouterr()
    plot.main([f"--out_dir={out_dir}"])  # of the same text
    assert sorted(os.listdir(out_dir)) == ["embedding.png", "find_lr.png", "loss.png", "mlp.pt",
                                           "pairs.png", "tune.png"]
    out = capsys.readouterr().out
    for name in os.listdir(out_dir):
        if name.endswith(".png"):
            assert is_a_picture(out_dir / name) and f"wrote {out_dir / name}" in out


@pytest.mark.parametrize("argv, settings", [
    (["pairs", "--block_size=2"], {"block_size": 2, "kneser_ney": False}),
    (["pairs", "--block_size", "2"], {"block_size": 2}),
    (["--block_size=2", "pairs"], {"block_size": 2}),
    (["tune", "--kneser_ney", "--block_size=3"], {"block_size": 3, "kneser_ney": True}),
    (["find_lr", "--n_hidden=3", "--seed=5"], {"n_hidden": 3, "seed": 5}),
])
def test_settings_reach_what_is_drawn(words_file, tmp_path, monkeypatch, argv, settings):
    used = []

    def take(parse):
        return lambda *args, **defaults: used.append(parse(*args, **defaults)) or used[-1]
    found = torch.logspace(-5, 0, 9), torch.rand(9)
    monkeypatch.setattr(mlp, "find_lr", lambda *args: found)
    for module in (bigram, mlp):
        monkeypatch.setattr(module, "parse_args", take(module.parse_args))
    plot.main([*argv, f"--input_file={words_file}", f"--out_dir={tmp_path / 'out'}"])
    picture, = {"pairs", "tune", "find_lr"} & set(argv)
    assert os.listdir(tmp_path / "out") == [f"{picture}.png"]
    config, = used
    assert {name: getattr(config, name) for name in settings} == settings
    assert config.input_file == str(words_file)


def test_characters_that_the_font_lacks_are_one_remark(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("北京\n上海\n", encoding="utf-8")
    plot.main(["pairs", f"--input_file={tmp_path / 'words.txt'}", "--train_frac=1",
               f"--out_dir={tmp_path}"])
    captured = capsys.readouterr()
    assert captured.out.count("wrote") == 1 and captured.err == ""


@pytest.mark.parametrize("argv, status, named", [
    (["nonsense"], 2, "nonsense"), (["pairs", "--block_size"], 2, "block_size"),
    (["pairs", "--nonsense=1"], 2, "--nonsense"), (["pairs", "--block_size=0"], 2, "block_size"),
    (["pairs", "--input_file=none.txt"], 1, "none.txt"), (["loss"], 1, "mlp.pt"),
    (["tune", "--train_frac=1"], 1, "dev"),
])
def test_errors_are_sentences(words_file, tmp_path, capsys, argv, status, named):
    with pytest.raises(SystemExit) as stop:
        bigram.start(plot.main, [argv[0], f"--input_file={words_file}", *argv[1:],
                                 f"--out_dir={tmp_path / 'out'}"])
    err = capsys.readouterr().err
    if isinstance(stop.value.code, str):  # what sys.exit(str) prints, and ends with 1
        assert status == 1 and stop.value.code.startswith("plot.py: ")
        err += stop.value.code + "\n"
    else:
        assert stop.value.code == status
    assert named in err and err.count("\n") == 1 and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_without_matplotlib(words_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # makes its import fail
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        bigram.start(plot.main, ["pairs", f"--input_file={words_file}",
                                 f"--out_dir={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
