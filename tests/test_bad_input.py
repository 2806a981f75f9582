"""What a user can get wrong, in all scripts: one sentence that names it, the status, nothing written.

Each row is a command line in a folder that has words.txt, a trained out/mlp.pt, out/mlp.bin, and
the files below; then the status; then what the sentence has to name."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

import mlp
from conftest import LETTERS, ROOT, Model, one_sentence, small_disk

FILES = {
    "empty.txt": b"", "blank.txt": b"\n\r\n \t\n\n", "mark.txt": b"\xef\xbb\xbf\n",
    "latin.txt": b"anna\rcaf\xe9\rbo\r", "latin3.txt": b"anna\r\n\nb\xc3\n",
    "binary.bin": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xd8", "few.txt": b"one\ntwo\n",
    "same.txt": b"same\n" * 100, "half16.txt": b"\xff\xfea\0b\0\n",
    "power.txt": "anna\r\nbob\r\n".encode("utf-16"), "zoe.txt": "zoé\n12\n".encode(),
    "old.bin": b"NPLM\2\0\0\0" + bytes(100), "other.bin": b"GGUF" + bytes(100),
    "short.bin": b"NPLM\3\0\0\0", "damaged/mlp.pt": b"not a checkpoint", "none/mlp.pt": b"",
}

SETTINGS = [  # of mlp.py
    "--nonsense=1", "stray", "--block=3", "--n-hidden=3", "--block_size", "--block_size=", "--block_size=x",
    "--block_size=3.5", "--block_size=0", "--block_size=-1", "--n_embd=99999999999999999999",
    "--n_hidden=0", "--batch_size=0", "--max_iters=-5", "--seed=-1", "--eval_interval=0",
    "--num_samples=-1", "--dropout=1.5", "--dropout=nan", "--dropout=-0.1", "--learning_rate=-1",
    "--learning_rate=inf", "--warmup_iters=-1", "--weight_decay=-1", "--train_frac=0",
    "--train_frac=1.1", "--keep_duplicates=maybe",
]
LESSONS = [  # of mlp.py and bigram.py: a file, what the sentence names
    ("missing.txt", ["missing.txt"]), (".", ["."]), ("empty.txt", ["empty.txt", "no line with text"]),
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
    *((script, [f"--out_dir={folder}"], 1, [f"{folder}/mlp.pt"]) for script in ("mix.py", "export.py")
      for folder in ("nowhere", "damaged", "none")),
    ("mix.py", ["--out_dir=out"], 1, ["words.txt", "changed"]),
    ("plot.py", ["nonsense"], 2, ["nonsense"]), ("plot.py", ["loss", "--out_dir=nowhere"], 1, ["mlp.pt"]),
    ("plot.py", ["pairs", "--input_file=missing.txt"], 1, ["missing.txt"]),
]
SAMPLE = [  # of sample.py and ./sample: a model or none, options, status, what is named
    *(("out/mlp.bin", [option, value], 2, [option]) for option in ("-n", "-s", "-f", "-k")
      for value in ("12x", "-1", "1.5", "1e3", "nan", "", "9" * 30)),
    *(("out/mlp.bin", [option, value], 2, [option]) for option in ("-t", "-p")
      for value in ("12x", "-1", "-0.001", "nan", "inf", "-inf", "", "1e999")),
    ("out/mlp.bin", ["-s", str(2**64)], 2, ["-s"]), ("out/mlp.bin", ["-k", "0"], 2, ["-k"]),
    ("out/mlp.bin", ["-p", "1.5"], 2, ["-p"]), ("out/mlp.bin", ["-t", "1001"], 2, ["-t"]),
    *(("out/mlp.bin", [option], 2, [option]) for option in ("-n", "-s", "-e", "-x", "-i", "-q", "--what")),
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
    (path / "out").mkdir()
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


@pytest.mark.parametrize("what", list(dict.fromkeys(row[1][0] if row[1] else row[0] for row in SAMPLE)))
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
