"""What a user can get wrong, in all scripts: one sentence names it, a status, nothing is written.

Each row is a command line in a folder that has words.txt, a trained out/mlp.pt, out/mlp.bin, and
the files below; then the status; then what the sentence has to name."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from conftest import LETTERS, ROOT, Model, needs_full_device, one_sentence

FILES = {
    "empty.txt": b"", "blank.txt": b"\n\r\n \t\n\n", "mark.txt": b"\xef\xbb\xbf\n",
    "latin.txt": b"anna\rcaf\xe9\rbo\r", "latin3.txt": b"anna\r\n\nb\xc3\n",
    "binary.bin": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xd8", "few.txt": b"one\ntwo\n",
    "same.txt": b"same\n" * 100, "half16.txt": b"\xff\xfea\0b\0\n",
    "power.txt": "anna\r\nbob\r\n".encode("utf-16")[:-1], "zoe.txt": "zoé\n12\n".encode(),
    "old.bin": b"NPLM\2\0\0\0" + bytes(100), "other.bin": b"GGUF" + bytes(100),
    "short.bin": b"NPLM\3\0\0\0", "damaged/mlp.pt": b"not a checkpoint", "none/mlp.pt": b"",
}

SETTINGS = [  # of mlp.py
    "--nonsense=1", "stray", "--block=3", "--n-hidden=3", "--block_size", "--block_size=",
    "--block_size=x", "--block_size=3.5", "--block_size=0", "--n_embd=99999999999999999999",
    "--n_hidden=0", "--batch_size=0", "--max_iters=-5", "--seed=-1", "--eval_interval=0",
    "--num_samples=-1", "--dropout=1.5", "--dropout=nan", "--dropout=-0.1", "--learning_rate=-1",
    "--learning_rate=inf", "--warmup_iters=-1", "--weight_decay=-1", "--train_frac=0",
    "--train_frac=1.1", "--keep_duplicates=maybe",
]
LESSONS = [  # of mlp.py and bigram.py: a file, what the sentence names
    ("missing.txt", ["missing.txt"]), (".", ["."]), ("empty.txt", ["empty.txt", "no line with"]),
    ("blank.txt", ["no line with text"]), ("mark.txt", ["no line with text"]),
    ("latin.txt", ["UTF-8", "line 2"]), ("latin3.txt", ["UTF-8", "line 3"]),
    ("binary.bin", ["UTF-8", "line 1"]), ("half16.txt", ["16"]),
    ("few.txt", ["too few lines, 2,", "--train_frac=1"]), ("same.txt", ["too few lines, 1,"]),
]
ROWS = [
    *(("mlp.py", [option], 2, [option.split("=")[0].lstrip("-")]) for option in SETTINGS),
    *((script, [f"--input_file={name}"], 1, named) for script in ("mlp.py", "bigram.py")
      for name, named in LESSONS),
    ("mlp.py", ["--input_file=words.txt", "--out_dir=words.txt"], 1, ["words.txt"]),
    ("mlp.py", ["--input_file=words.txt", "--out_dir=words.txt/deeper"], 1, ["words.txt/deeper"]),
    ("mlp.py", ["--resume", "--out_dir=nowhere"], 1, ["nowhere/mlp.pt"]),
    ("mlp.py", ["--resume", "--out_dir=damaged"], 1, ["damaged/mlp.pt", "not a checkpoint"]),
    ("mlp.py", ["--resume", "--out_dir=none"], 1, ["none/mlp.pt", "not a checkpoint"]),
    ("mlp.py", ["--resume", "--out_dir=half"], 1, ["half/mlp.pt", "not a checkpoint"]),
    ("mlp.py", ["--resume", "--n_hidden=17"], 1, ["n_hidden"]),
    ("bigram.py", ["--blocksize=2"], 2, ["--blocksize"]),
    ("bigram.py", ["--smoothing=-1"], 2, ["--smoothing", "-1.0 is not between 0 and"]),
    ("bigram.py", ["--block_size=two"], 2, ["--block_size", "two"]),
    ("bigram.py", ["--block_size=256", "--input_file=words.txt"], 1, ["27^257", "--block_size"]),
    ("bigram.py", ["--tune", "--train_frac=1", "--input_file=words.txt"], 1, ["--train_frac"]),
    ("kneser_ney.py", ["--nonsense"], 2, ["--nonsense"]),
    ("kneser_ney.py", ["--block_size=-1"], 2, ["--block_size"]),
    ("kneser_ney.py", ["--input_file=missing.txt"], 1, ["missing.txt"]),
    ("kneser_ney.py", ["--input_file=latin.txt"], 1, ["UTF-8", "line 2"]),
    ("kneser_ney.py", ["--tune", "--train_frac=1", "--input_file=words.txt"], 1, ["--train_frac"]),
    ("lecture.py", ["--stepz=3"], 2, ["--stepz"]), ("lecture.py", ["--steps=-5"], 2, ["--steps"]),
    ("lecture.py", ["--steps=1.5"], 2, ["--steps"]), ("lecture.py", ["--seed="], 2, ["--seed"]),
    *((script, [option], 2, [option.lstrip("-")]) for script in ("mix.py", "export.py")
      for option in ("--nonsense", "stray", "--out")),
    *((script, [f"--out_dir={folder}"], 1, [f"{folder}/mlp.pt"])
      for script in ("mix.py", "export.py") for folder in ("nowhere", "damaged", "none")),
    ("mix.py", ["--out_dir=out"], 1, ["words.txt", "changed"]),
    ("plot.py", ["nonsense"], 2, ["nonsense"]),
    ("plot.py", ["loss", "--out_dir=nowhere"], 1, ["mlp.pt"]),
    ("plot.py", ["pairs", "--input_file=missing.txt"], 1, ["missing.txt"]),
]
SAMPLE = [  # of sample.py and ./sample: a model or none, options, status, what is named
    *(("out/mlp.bin", [option, value], 2, [option]) for option in ("-n", "-s", "-f", "-k")
      for value in ("12x", "-1", "1.5", "1e3", "nan", "", "9" * 30)),
    *(("out/mlp.bin", [option, value], 2, [option]) for option in ("-t", "-p")
      for value in ("12x", "-1", "-0.001", "nan", "inf", "-inf", "", "1e999")),
    ("out/mlp.bin", ["-s", str(2**64)], 2, ["-s"]), ("out/mlp.bin", ["-k", "0"], 2, ["-k"]),
    ("out/mlp.bin", ["-p", "1.5"], 2, ["-p"]), ("out/mlp.bin", ["-t", "1001"], 2, ["-t"]),
    *(("out/mlp.bin", [option], 2, [option]) for option in ("-n", "-s", "-e", "-x", "-i", "--x")),
    ("out/mlp.bin", ["other.bin"], 2, ["other.bin"]),
    ("out/mlp.bin", ["-i", "é"], None, ["é"]), ("out/mlp.bin", ["-i", "ann1"], None, ["'1'"]),
    ("out/mlp.bin", ["-i", "Anna"], None, ["'A'", "lower case"]),
    ("out/mlp.bin", ["-i", "a\x1b[2J"], None, []), ("out/mlp.bin", ["-i", "a\x9b2J"], None, []),
    *(("out/mlp.bin", [option, name], 1, [name]) for option in ("-e", "-x")
      for name in ("missing.txt", ".", "latin3.txt", "binary.bin")),
    *(("out/mlp.bin", ["-e", name], 1, [name]) for name in ("empty.txt", "blank.txt")),
    *(("out/mlp.bin", [option, "power.txt"], 1, ["power.txt", "UTF-8"]) for option in ("-e", "-x")),
    *((name, [], 1, [name]) for name in ("missing.bin", ".", "empty.txt", "words.txt", "other.bin",
                                         "short.bin")),
    ("old.bin", [], 1, ["old.bin", "version", "export"]),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder that has it all."""
    path = tmp_path_factory.mktemp("bad")
    for name, content in FILES.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    (path / "words.txt").write_text("\n".join(a + b for a in LETTERS for b in LETTERS))
    (path / "out").mkdir(), (path / "half").mkdir()
    torch.save({"best": {}, "step": 0}, path / "half" / "mlp.pt")
    model = Model(path / "out", LETTERS)
    model.run["config"].update(input_file="words.txt", out_dir="out")
    torch.save(model.run, path / "out" / "mlp.pt")
    return path


@pytest.fixture
def folder(template, monkeypatch):
    """As it was when the test began, so it has to be when it ends."""
    def files():
        return {path: path.read_bytes() for path in template.rglob("*") if path.is_file()}
    monkeypatch.chdir(template)
    before = files()
    yield template
    assert files() == before


@pytest.mark.parametrize("script, argv, status, named", ROWS,
                         ids=[f"{row[0]} {' '.join(row[1])}" for row in ROWS])
def test_scripts_say_it_in_a_sentence(folder, run, script, argv, status, named):
    if script == "plot.py":
        pytest.importorskip("matplotlib")
    done = run(script, *argv)
    assert done.status == status, done.err
    one_sentence(script, done.err, *named)


@pytest.mark.parametrize("what", sorted({row[1][0] if row[1] else row[0] for row in SAMPLE}))
def test_sample_py_says_it_in_a_sentence_and_so_does_sample_c(folder, run, sanitized, what):
    for model, options, status, named in SAMPLE:
        if what != (options[0] if options else model):
            continue
        seed = [] if "-e" in options or "-s" in options else ["-s", "1"]
        for program, done in (("sample.py", run("sample.py", model, *seed, *options)),
                              ("sample", sanitized.run(model, *seed, *options))):
            one_sentence(program, done.err, *named)
            assert done.out == "" and done.status in ([status] if status else [1, 2]), done.err
            assert not set(done.err) & {"\x1b", "\x9b"}


# Each script in a fork of one process, so that torch is imported once. The exit status of each goes
# to stderr. Output may go to a full disk, or where nobody reads: as after `| head -n 0`.
EACH = """
import gc, os, runpy, sys
import torch._dynamo  # which the first optimizer imports, and takes as long as torch
gc.freeze()  # else each of them looks at all of torch once more when it ends
folder, *rest = sys.argv[1:]
sys.path.insert(0, folder)
while rest:
    end = rest.index("+")
    (to, *sys.argv), rest = rest[:end], rest[end + 1:]
    if not os.fork():
        if to:
            reading, writing = os.pipe()
            os.dup2(os.open(to, os.O_WRONLY) if to != "|" else writing, 1)
            os.close(reading), os.close(writing)
        runpy.run_path(os.path.join(folder, sys.argv[0]), run_name="__main__")
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr, flush=True)
"""
ODD = "caf\udce9 äöü 名 ' $.txt"  # \udce9: a byte that is no UTF-8, as Python shows it


@needs_full_device
def test_scripts_as_processes(tmp_path):
    """Where only ASCII is known; folder and file have spaces, quotes, letters that ASCII lacks, the
    file a byte that is no text. And on a full disk, and with a pipe that nobody reads; with
    Python's buffer, which conftest leaves on: then the last print is not the last write."""
    folder = tmp_path / "äöü 名 ' $"
    folder.mkdir()
    cities = "Αθήνα Πάτρα Ρόδος Λάρισα Βόλος Κως Τρίκαλα Σέρρες Ξάνθη Κιλκίς"
    (folder / ODD).write_bytes(cities.replace(" ", "\n").encode())
    (tmp_path / "names.txt").write_bytes((ROOT / "names.txt").read_bytes()[:3000])
    lecture, data = shutil.copy(ROOT / "lecture.py", tmp_path), os.fsencode(f"--input_file={ODD}")
    full, *small = "/dev/full", "--n_hidden=16", "--max_iters=20", "--batch_size=8"
    runs = [["", "bigram.py", data, "--max_iters=20"], ["", "mlp.py", data, *small], ["", "mix.py"],
            ["", "bigram.py", os.fsencode("--input_file=caf\udce9 名.txt")], ["", "export.py"],
            ["", "sample.py", "-s", "1", "-x", os.fsencode(ODD)], [full, "mlp.py", "--help"],
            [full, "bigram.py", data, "--max_iters=3"], [full, "sample.py", "-s", "1"],
            ["|", "mlp.py", "--help"], ["|", "sample.py", "-s", "1"], ["|", lecture, "--steps=1"]]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env.pop("PYTHONIOENCODING", None)
    done = subprocess.run([sys.executable, "-Wignore::DeprecationWarning", "-c", EACH, ROOT]
                          + [arg for run in runs for arg in (*run, "+")], timeout=120,
                          capture_output=True, env=env, cwd=folder)
    assert done.returncode == 0 and done.stderr.startswith(b"0\n0\n0\nbigram.py: caf")
    out, statuses = done.stdout, [int(n) for n in re.findall(rb"(?m)^-?\d+$", done.stderr)]
    assert statuses[:6] == [0, 0, 0, 1, 0, 0] and 0 not in statuses[6:9]
    assert statuses[9:] == 3 * [-signal.SIGPIPE] and done.stderr.count(b"No space") >= 3
    assert out.count("Αθήνα".encode()) >= 2 and out.count(os.fsencode(ODD) + b": 10 lines") == 2
    assert len(out.partition(b"out/mlp.bin: ")[2].splitlines()) == 21
    assert {"mlp.pt", "mlp.bin"} == set(os.listdir(folder / "out"))
