"""All scripts as a user starts them: other alphabets, odd names of files, a full disk, a pipe."""

import importlib.util
import os
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


def start(script, *args, **options):
    return subprocess.Popen([sys.executable, ROOT / script, *args], stderr=subprocess.PIPE,
                            **{"stdout": subprocess.PIPE, **options})


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

    def begin(script, *args):
        return start(script, *args, env=env, cwd=folder)

    def end(run):
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0 and not err, err.decode(errors="replace")
        return out

    counting = begin("bigram.py", data, "--max_iters=20")
    learning = begin("mlp.py", data, "--max_iters=20", "--n_hidden=8", "--eval_interval=10")
    missing = begin("bigram.py", os.fsencode("--input_file=caf\udce9 名.txt"))
    for run in (counting, learning):
        out = end(run)
        assert out.startswith(os.fsencode(ODD) + b": 50 lines") and "Αθήνα".encode() in out
    assert missing.wait(timeout=120) == 1
    err = missing.stderr.read()
    assert err.startswith(b"bigram.py: caf") and err.count(b"\n") == 1 and b"Traceback" not in err
    assert end(begin("mix.py")).splitlines()[-1].startswith(b"dev: network ")
    assert end(begin("export.py")).startswith(b"out/mlp.bin: ")
    assert {"mlp.pt", "ngrams.pt", "mlp.bin"} == set(os.listdir(folder / "out"))


# -----------------------------------------------------------------------------
# What becomes of the output

def test_full_disk_under_the_output(tmp_path, full_device):
    """With Python's buffer, which conftest leaves on: then the last print is not the last write."""
    path = tmp_path / "words.txt"
    path.write_bytes((WORDS / "greek.txt").read_bytes())
    data, out_dir = f"--input_file={path}", f"--out_dir={tmp_path}"
    mlp.main([data, out_dir, *SMALL, "--max_iters=3", "--num_samples=0"])
    mix.main([out_dir])
    runs = {"bigram.py": [data, "--max_iters=3"],
            "mlp.py": [data, f"--out_dir={tmp_path / 'other'}", *SMALL, "--max_iters=3"],
            "mix.py": [out_dir], "export.py": [out_dir]}
    if importlib.util.find_spec("matplotlib"):
        runs["plot.py"] = ["pairs", data, out_dir]
    assert "PYTHONUNBUFFERED" not in os.environ
    runs = {script: start(script, *argv, stdout=full_device, text=True)
            for script, argv in runs.items()}
    for script, run in runs.items():
        _, err = run.communicate(timeout=120)
        one_sentence(script, err, "output")
        assert run.returncode == 1


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
def test_head_ends_it_quietly():
    run = start("bigram.py", f"--input_file={WORDS / 'greek.txt'}", "--num_samples=2000",
                "--max_iters=1")
    assert b"50 lines" in run.stdout.readline()
    run.stdout.close()
    assert run.stderr.read() == b"" and run.wait(timeout=120) == -signal.SIGPIPE
