"""The whole path in other scripts than Latin, in a locale that knows only ASCII."""

import os
import subprocess
import sys

import pytest

import mlp
from conftest import ROOT

WORDS = ROOT / "tests" / "words"  # cities, one a line: public facts, written down for these tests
ENV = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
       "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("script", ["greek", "devanagari", "chinese"])
def test_from_a_text_to_new_names(program, tmp_path, script):
    def run(*args):
        done = subprocess.run(args, capture_output=True, env=ENV, cwd=tmp_path)
        assert done.returncode == 0 and b"Warning" not in done.stderr, done.stderr.decode()
        return done.stdout.decode(), done.stderr.decode()

    path = WORDS / f"{script}.txt"
    words = mlp.read_words(path)
    characters = set("".join(words))
    assert len(words) == 50 and all(ord(ch) > 127 for ch in characters - {" "})

    out, _ = run(sys.executable, ROOT / "bigram.py", f"--input_file={path}", "--max_iters=20")
    assert f"50 lines, {len(characters) + 1} tokens" in out
    out, _ = run(sys.executable, ROOT / "mlp.py", f"--input_file={path}", "--plot",
                 "--train_frac=1", "--block_size=3", "--n_embd=16", "--n_hidden=64",
                 "--max_iters=300", "--dropout=0", "--warmup_iters=20", "--learning_rate=0.01")
    made_up = out.split("\n")[-23:-3]  # before the two pictures
    assert all(set(line.removesuffix("  (in the data)")) <= characters for line in made_up)
    assert sum(line.endswith("  (in the data)") for line in made_up) > 10  # it knows them by heart
    assert sorted(os.listdir(tmp_path / "out")) == ["embedding.png", "loss.png", "mlp.pt"]

    run(sys.executable, ROOT / "export.py")
    new, _ = run(program.path, "-n", "30", "-s", "1", "-x", path, "-t", "1.5", "-i", words[0][0])
    assert len(new.splitlines()) == 30
    for name in new.splitlines():
        assert name[0] == words[0][0] and set(name) <= characters and name not in words
    scores, mean = run(program.path, "-e", path)
    assert [line.split("\t")[1] for line in scores.splitlines()] == words
    assert f"over {len(''.join(words)) + 50} tokens" in mean
    assert abs(float(mean.split()[1]) - float(out.split("train ")[-1].split()[0])) < 1e-3
