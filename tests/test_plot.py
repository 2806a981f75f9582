"""plot.py: the pictures show the numbers, and as much of them as a picture can hold."""

import math
import os
import sys

import numpy as np
import pytest
import torch

import bigram
import mlp
from conftest import one_sentence

pytest.importorskip("matplotlib")
import plot  # noqa: E402: it needs what the line before may miss


def lines_of(ax):
    """Label: (x values, y values), of every curve."""
    return {line.get_label(): (np.asarray(line.get_xdata(), float).tolist(),
                               np.asarray(line.get_ydata(), float).tolist())
            for line in ax.get_lines()}


@pytest.mark.parametrize("words", [["ab", "b", "$b$"], ["a"]])
def test_pairs_show_text_count_and_share(words):
    itos = bigram.vocabulary(words)
    ax = plot.plot_pairs(bigram.encode(words, itos, 1), itos)
    pairs = [pair for word in words for pair in zip("." + word, word + ".")]
    letters, shade = ["."] + itos[1:], ax.images[0].get_array()
    assert {text.get_text() for text in ax.texts} == {
        f"{a}{b}\n{pairs.count((a, b))}" for a in letters for b in letters}
    for i, a in enumerate(letters):
        total = sum(first == a for first, _ in pairs)
        shares = [pairs.count((a, b)) / total for b in letters]
        assert shade[i].tolist() == pytest.approx(np.sqrt(shares))
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):  # they may stand on two sides
        assert [label.get_text() for label in labels][:len(letters)] == letters


@pytest.mark.parametrize("losses, dev", [
    ([3.0 - i / 200 for i in range(300)], [3.3, 2.5, 4.0, 9.0]), ([3.0], [3.1, math.nan]),
    ([3.0] * 5, [3.1]), ([], [3.1])])  # it overfits; no dev; stopped early; at once
def test_loss_shows_every_step_and_dev(losses, dev):
    run = {"losses": losses, "dev_losses": {100 * i: loss for i, loss in enumerate(dev)}}
    ax = plot.plot_loss(run)
    lines = lines_of(ax)
    np.testing.assert_array_equal(lines["dev"], (list(run["dev_losses"]), dev))
    assert lines["train, each step"][1][1:] == pytest.approx(losses)  # the first is that of step 1
    low, high = ax.get_ylim()
    assert math.isfinite(low) and low < high and (not losses or low < min(losses) < high)


def test_embedding_is_seen_from_its_widest_side():
    """In the plane as it is; a flat cloud in 5 dimensions with all its distances."""
    def places(C, itos):
        ax = plot.plot_embedding(C, itos)
        assert [text.get_text() for text in ax.texts] == [".", *itos[1:100]]
        return torch.tensor([list(text.get_position()) for text in ax.texts])
    itos, C = ["\n", *(chr(0xC0 + i) for i in range(299))], torch.randn(300, 2)
    assert torch.equal(places(C[:20], itos[:20]), C[:20])
    seen = places(torch.cat([C, C @ torch.ones(2, 3)], dim=1)[:20], itos[:20])
    flat, x = C[:20], C[:20].sum(1, True)
    plane = torch.cdist(flat, flat)**2 + 3 * torch.cdist(x, x)**2
    torch.testing.assert_close(torch.cdist(seen, seen), plane.sqrt(), atol=1e-3, rtol=0)
    assert (places(C[:, :1], itos)[:, 1] == 0).all()


@pytest.fixture
def argv(tmp_path):
    words = [a + b + c for a in "abcd" for b in "abcd" for c in "abcd"]
    (tmp_path / "words.txt").write_text("\n".join([*words, "北京"]), encoding="utf-8")
    return [f"--input_file={tmp_path / 'words.txt'}", f"--out_dir={tmp_path / 'out'}"]


def test_all_that_can_be_drawn_with_its_settings(argv, tmp_path, monkeypatch, run):
    drawn, used = [], []
    with monkeypatch.context() as patch:
        patch.setattr(mlp, "find_lr", lambda *args: (torch.logspace(-5, 0, 9), torch.rand(9)))
        patch.setattr(plot, "save_png", lambda ax, path: drawn.append(os.path.basename(path)[:-4]))
        for module in (bigram, mlp):
            patch.setattr(module, "parse_args", lambda *args, parse=module.parse_args, **defaults:
                          used.append(parse(*args, **defaults)) or used[-1])
        for what, option, value in (("pairs", "block_size", 2), ("tune", "block_size", 2),
                                    ("find_lr", "n_hidden", 3)):
            plot.main([what, f"--{option}={value}", *argv])
            assert drawn.pop() == what and getattr(used[-1], option) == value
        plot.main(argv)
        assert drawn == [name for name in plot.PICTURES if name not in ("loss", "embedding")]
        mlp.main([*argv, "--max_iters=4", "--n_hidden=4", "--num_samples=0", "--batch_size=8"])
        drawn.clear()
        plot.main(argv[1:])  # of the same text
        assert drawn == list(plot.PICTURES)
    done = run("plot.py", "loss", "pairs", *argv)  # two for real; matplotlib's font lacks 北京
    from matplotlib.image import imread
    for path in (tmp_path / "out" / "loss.png", tmp_path / "out" / "pairs.png"):
        assert imread(path)[..., :3].std() > 0.02 and f"wrote {path}" in done.out
    assert (done.status, done.err) == (0, "")


def test_without_matplotlib(argv, tmp_path, monkeypatch, run):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # makes its import fail
    done = run("plot.py", "pairs", *argv)
    one_sentence("plot.py", done.err, "pip install matplotlib")
    assert done.status == 1 and not (tmp_path / "out").exists()
