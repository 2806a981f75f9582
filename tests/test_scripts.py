"""All scripts as a user starts them: other alphabets, odd names of files, a full disk, a pipe."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys

import pytest

import bigram
import export
import mix
import mlp
from conftest import ROOT, one_sentence

WORDS = ROOT / "tests" / "words"  # cities, one per line: public facts, written for these tests
SMALL = ["--train_frac=1", "--block_size=3", "--n_embd=16", "--n_hidden=64", "--max_iters=300",
         "--dropout=0", "--weight_decay=0", "--warmup_iters=20", "--learning_rate=0.01"]


# Each script in a fork of one process, which then ends as its own would: so torch is imported once,
# which takes 1.5 s. The exit status of each goes to stderr.
EACH = """
import gc, os, runpy, sys
import torch
gc.freeze()  # else each of them looks at all of torch once more when it ends
folder, *rest = sys.argv[1:]
sys.path.insert(0, folder)
while rest:
    end = rest.index("+")
    sys.argv, rest = rest[:end], rest[end + 1:]
    if not os.fork():
        runpy.run_path(os.path.join(folder, sys.argv[0]), run_name="__main__")
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr, flush=True)
"""


def run_each(*runs, **options):
    """The stdout and the stderr of `python SCRIPT ...` for each of the runs, lists of strings."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    argv = [sys.executable, "-Wignore::DeprecationWarning", "-c", EACH, ROOT]
    done = subprocess.run(argv + [arg for run in runs for arg in (*run, "+")], timeout=120,
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# -----------------------------------------------------------------------------
# From a text to new names

@pytest.mark.parametrize("alphabet", ["greek", "devanagari", "chinese"])
def test_from_a_text_to_new_names(program, tmp_path, monkeypatch, capsys, alphabet):
    path = WORDS / f"{alphabet}.txt"
    words = mlp.read_words(path)
    characters = set("".join(words))
    assert len(words) == 50 and all(ord(ch) > 127 for ch in characters - {" "})
    monkeypatch.chdir(tmp_path)
    bigram.main([f"--input_file={path}", "--max_iters=20"])
    mlp.main([f"--input_file={path}", *SMALL])
    out = capsys.readouterr().out
    assert out.count(f"50 lines, {len(characters) + 1} tokens") == 2
    samples = out.split("\n")[-21:-1]
    assert all(set(line.removesuffix("  (in the data)")) <= characters for line in samples)

    for with_ngrams in (False, True):
        if with_ngrams:
            mix.main([])
        export.main([])
        new = program.run("-n", "30", "-s", "1", "-x", path, "-t", "1.5", "-i", words[0][0])
        assert new.returncode == 0 and len(new.stdout.splitlines()) == 30, new.stderr
        for name in new.stdout.splitlines():
            assert name[0] == words[0][0] and set(name) <= characters and name not in words
        scores = program.run("-e", path)
        assert [line.split("\t")[1] for line in scores.stdout.splitlines()] == words
        assert f"over {len(''.join(words)) + 50} tokens" in scores.stderr
        if not with_ngrams:  # both judge the same network on the same words
            loss = float(out.split("train ")[-1].split()[0])
            assert abs(float(scores.stderr.split()[1]) - loss) < 1e-3


ODD = "caf\udce9 äöü 名 ' $.txt"  # \udce9: a byte that is no UTF-8, as Python shows it


def test_odd_names_of_files_where_only_ascii_is_known(tmp_path):
    """Folder and file have spaces, quotes, letters that ASCII lacks; the file a byte that is no text."""
    folder = tmp_path / "äöü 名 ' $"
    folder.mkdir()
    try:
        (folder / ODD).write_bytes((WORDS / "greek.txt").read_bytes())
    except OSError:
        pytest.skip("this system has no such names")
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env.pop("PYTHONIOENCODING", None)
    data = os.fsencode(f"--input_file={ODD}")

    out, err = run_each(
        ["bigram.py", data, "--max_iters=20"],
        ["mlp.py", data, "--max_iters=20", "--n_hidden=8", "--eval_interval=10"],
        ["bigram.py", os.fsencode("--input_file=caf\udce9 名.txt")], ["mix.py"], ["export.py"],
        env=env, cwd=folder)
    counted, learned = out.split(os.fsencode(ODD) + b": 50 lines")[1:]
    assert "Αθήνα".encode() in counted and "Αθήνα".encode() in learned
    *_, result, exported = learned.splitlines()
    assert result.startswith(b"dev: network ") and exported.startswith(b"out/mlp.bin: ")
    sentence = err.split(b"\n")[2]
    assert sentence.startswith(b"bigram.py: caf")
    assert err == b"0\n0\n" + sentence + b"\n1\n0\n0\n"
    assert {"mlp.pt", "ngrams.pt", "mlp.bin"} == set(os.listdir(folder / "out"))


# -----------------------------------------------------------------------------
# What becomes of the output

@pytest.fixture
def lecture(tmp_path):
    """A copy of lecture.py that has few names."""
    (tmp_path / "names.txt").write_bytes((ROOT / "names.txt").read_bytes()[:3000])
    return shutil.copy(ROOT / "lecture.py", tmp_path)


def test_full_disk_under_the_output(tmp_path, full_device):
    """With Python's buffer, which conftest leaves on: then the last print is not the last write."""
    path = tmp_path / "words.txt"
    path.write_bytes((WORDS / "greek.txt").read_bytes())
    data, out_dir = f"--input_file={path}", f"--out_dir={tmp_path}"
    mlp.main([data, out_dir, *SMALL, "--max_iters=3", "--num_samples=0"])
    mix.main([out_dir])
    runs = [["bigram.py", data, "--max_iters=3"],
            ["mlp.py", data, f"--out_dir={tmp_path / 'other'}", *SMALL, "--max_iters=3"],
            ["mix.py", out_dir], ["export.py", out_dir], ["mlp.py", "--help"],
            ["bigram.py", data, "--block_size=12"]]  # an error, after some output
    if importlib.util.find_spec("matplotlib"):
        runs.append(["plot.py", "loss", out_dir])
    assert "PYTHONUNBUFFERED" not in os.environ
    _, err = run_each(*runs, stdout=full_device, text=True)
    err = err.splitlines(keepends=True)
    for (script, *_), sentence, status in zip(runs, err[::2], err[1::2], strict=True):
        one_sentence(os.path.basename(script), sentence, "output")
        assert status == "1\n"


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
def test_head_ends_it_quietly(lecture):
    """As after `| head -n 0`: nobody reads when they come to write."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        _, err = run_each(["bigram.py", f"--input_file={WORDS / 'greek.txt'}", "--max_iters=1"],
                          ["mlp.py", "--help"], [lecture, "--steps=1"], stdout=writing)
    finally:
        os.close(writing)
    assert err.split() == 3 * [b"%d" % -signal.SIGPIPE]
