"""The scripts as processes: odd names of files, a full disk, a pipe that closes, an import."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from conftest import ROOT, Model

CITIES = "Αθήνα Θεσσαλονίκη Πάτρα Ηράκλειο Λάρισα Βόλος Ιωάννινα Τρίκαλα Χαλκίδα Σέρρες Ξάνθη Κατερίνη"
ARGV = ["--block_size=3", "--n_embd=8", "--n_hidden=16", "--max_iters=20", "--batch_size=8"]

# Each script in a fork of one process, which then ends as its own would: so torch is imported once,
# which takes seconds. The exit status of each goes to stderr.
EACH = """
import gc, os, runpy, sys
import torch._dynamo  # which the first optimizer imports, and takes as long as torch
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


ODD = "caf\udce9 äöü 名 ' $.txt"  # \udce9: a byte that is no UTF-8, as Python shows it


def test_odd_names_of_files_where_only_ascii_is_known(tmp_path):
    """Folder and file have spaces, quotes, letters that ASCII lacks; the file a byte that is no text."""
    folder = tmp_path / "äöü 名 ' $"
    folder.mkdir()
    try:
        (folder / ODD).write_text(CITIES.replace(" ", "\n"), encoding="utf-8")
    except OSError:
        pytest.skip("this system has no such names")
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env.pop("PYTHONIOENCODING", None)
    data = os.fsencode(f"--input_file={ODD}")
    out, err = run_each(
        ["bigram.py", data, "--max_iters=20"], ["kneser_ney.py", data], ["mlp.py", data, *ARGV],
        ["bigram.py", os.fsencode("--input_file=caf\udce9 名.txt")], ["mix.py"], ["export.py"],
        ["sample.py", "-s", "1", "-x", os.fsencode(ODD)], env=env, cwd=folder)
    sentence = err.split(b"\n")[3]
    assert sentence.startswith(b"bigram.py: caf")
    assert err == b"0\n0\n0\n" + sentence + b"\n1\n0\n0\n0\n"
    assert out.count("Αθήνα".encode()) >= 2 and out.count(os.fsencode(ODD) + b": 12 lines") == 3
    assert len(out.partition(b"out/mlp.bin: ")[2].splitlines()) == 21
    assert {"mlp.pt", "mlp.bin"} == set(os.listdir(folder / "out"))


def test_full_disk_and_closed_pipe_under_the_output(tmp_path, full_device):
    """With Python's buffer, which conftest leaves on: then the last print is not the last write. And
    as after `| head -n 0`, where nobody reads when they come to write: they end quietly."""
    (tmp_path / "names.txt").write_bytes((ROOT / "names.txt").read_bytes()[:3000])
    data, out_dir = f"--input_file={tmp_path / 'names.txt'}", f"--out_dir={tmp_path}"
    torch.save(Model(tmp_path, "ab").run, tmp_path / "mlp.pt")
    runs = [["bigram.py", data, "--max_iters=3"], ["export.py", out_dir],
            ["mlp.py", data, f"--out_dir={tmp_path / 'other'}", *ARGV],
            ["mlp.py", "--help"], ["sample.py", str(tmp_path / "mlp.bin"), "-s", "1"],
            [shutil.copy(ROOT / "lecture.py", tmp_path), "--steps=1"]]
    assert "PYTHONUNBUFFERED" not in os.environ
    _, err = run_each(*runs, stdout=full_device, text=True)
    statuses = [line for line in err.splitlines() if line.isdigit()]
    assert len(statuses) == len(runs) and "0" not in statuses and err.count("No space") >= len(runs)
    reading, writing = os.pipe()
    os.close(reading)
    _, err = run_each(*runs, stdout=writing)
    os.close(writing)
    assert err.split() == len(runs) * [b"%d" % -signal.SIGPIPE]


def test_import_prints_nothing_and_leaves_nothing(tmp_path):
    code = ("import sys; sys.modules['matplotlib'] = None; sys.path.insert(0, sys.argv[1]); "
            "import bigram, mlp, kneser_ney, mix, export, sample")
    done = subprocess.run([sys.executable, "-c", code, ROOT], capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"") and not os.listdir(tmp_path)
