"""sample.c, as it ships and under sanitizers, and the script of sample.html: the bytes of sample.py."""

import hashlib
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch

import export
import sample
from conftest import MODELS, ROOT, Model, Program, cc, one_sentence

# of the first 1,000 names of names.bin with seed 1: for C, NumPy, and the page
SHA256_OF_1000_NAMES = "0ab5024020bb86cf3cb8767f11a4dcf72400a9700b00724e57b98b25f43e11e6"

PAGE = (ROOT / "sample.html").read_text(encoding="utf-8")
SCRIPT = PAGE.split("<script>\n")[1].split("// ---- The page")[0] + """
const read = path => { // the model of a file
  const bytes = require("fs").readFileSync(path);
  return load(path, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};
const names = (m, n, seed, prefix, first, ...options) => { // n lines of text
  const start = tokenize(m, prefix), cache = new Map();
  return Array.from({length: n}, (_, i) => prefix + [...sample(m, first + i, start, BigInt(seed),
    cache, ...options)].map(token => m.itos[token]).join(""));
};
const losses = (m, lines) => lines.map(line => {
  const nll = score(m, line);
  return (nll.reduce((sum, x) => sum + x, 0) / nll.length).toFixed(6) + "\\t" + line;
});
"""
OPTIONS = ["-s 0", f"-s {2**64 - 1} -n 5", "-s 1 -n 99", "-s 1 -t 0.5 -n 9", "-s 2 -t 2 -n 5",
           "-s 1 -t 1000 -n 2", "-s 1 -t 0.01 -n 2", "-s 1 -t 1e-30 -n 2", "-s 1 -t 0 -n 2", "-s 5 -k 1 -n 2",
           "-s 5 -k 3 -n 5", "-s 5 -k 2147483647 -n 5", "-s 6 -p 0.9 -n 5", "-s 6 -p 0.5 -n 5",
           "-s 6 -p 0 -n 2", "-s 6 -p 1e-9 -n 2", "-s 7 -t 0.7 -k 10 -p 0.9 -n 9",
           "-s 7 -t 3 -k 4 -p 0.95 -n 5", "-s 8 -f 1000 -n 5", f"-s 8 -f {2**53} -n 2", "-s 9 -n 0",
           "-n7 -s9 -t.5", "-n 3 -s 1 -n 4 -s 2"]


@pytest.fixture
def same(run, program, sanitized):
    """same(*argv): sample.py and both builds of sample.c print the same, and end well; returns what."""
    def check(*argv):
        expected = run("sample.py", *argv)
        assert expected.status == 0, expected.err
        for each in (program, sanitized):
            done = each.run(*argv)
            assert (done.status, done.out) == (0, expected.out), (argv, done.err)
            assert done.err.replace("sample: ", "sample.py: ") == expected.err
        return expected.out
    return check


@pytest.mark.parametrize("name", MODELS)
def test_names_of_c_are_those_of_numpy(models, same, name):
    model = models[name]
    for options in OPTIONS:
        same(model.path, *options.split())
    prefix = model.text(model.words[3][:2])
    for more in (["-i", prefix], ["-i", prefix, "-t", "0.6", "-k", "5"], ["-i", model.text(model.words[5])],
                 ["-i", ""]):
        out = same(model.path, "-s", "4", "-n", "9", *more)
        assert all(line.startswith(more[1]) for line in out.split("\n")[:-1])


@pytest.mark.parametrize("name", ["mixture", "strings", "unigram"])
def test_new_names_of_c_are_those_of_numpy(models, same, tmp_path, name):
    model = models[name]
    some = same(model.path, "-s", "1", "-n", "12").split("\n")
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf" + "\r\n  ".join(some[:6]).encode())
    (tmp_path / "b").write_bytes("\r".join(some[6:]).encode() + b"\nzoe 12\n\n\t\n")
    for more in (["-x", "a"], ["-x", "a", "-x", "b"], ["-u"], ["-u", "-x", "b", "-t", "1.5"]):
        more = [tmp_path / word if word in "ab" else word for word in more]
        found = same(model.path, "-s", "1", "-n", "25", *more).split("\n")[:-1]
        assert len(found) == 25 and "" not in found


@pytest.mark.parametrize("name", MODELS)
def test_losses_of_c_are_those_of_numpy(models, same, tmp_path, name):
    model, path = models[name], tmp_path / "lines.txt"
    lines = [*model.lines(40), *model.lines(3), "  " + model.lines(9)[-1] + "\t", "", "zoë 12", "\t",
             model.itos[1] * 70, "also unknown", model.lines(2)[-1]]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert "nan" not in same(model.path, "-e", path)
    path.write_bytes("\r".join(lines).encode())
    same(model.path, "-e", path)


@pytest.mark.parametrize("options", ["", "-t 0.8 -k 250 -p 0.97"])
def test_thresholds_of_c_are_those_of_numpy(tmp_path, program, options):
    """Of the first tokens of a million names, by which thresholds that are off in a last bit show."""
    tokens, n = [chr(0x4E00 + i) for i in range(299)], 1_000_000
    model = Model(tmp_path, tokens, block_size=1, n_hidden=65, n_orders=2, weight=0.9)
    m = sample.load(model.path)
    temperature, top_k, top_p = (0.8, 250, 0.97) if options else (1, 2**31, 1)
    thresholds = sample.distribution(m, (0,) * m.context_size, temperature, top_k, top_p)
    z = np.uint64(sample.splitmix64(1 + sample.GOLDEN)) + (
        np.arange(n, dtype=np.uint64) * np.uint64(sample.MAX_LEN) * np.uint64(sample.GOLDEN))
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    drawn = (z ^ z >> np.uint64(31)) >> np.uint64(34)
    expected = np.searchsorted(thresholds, drawn.astype(np.int64), side="right")
    out = program.run(model.path, "-s", "1", "-n", n, *options.split()).out
    code = {token: i for i, token in enumerate(model.itos)} | {"": 0}
    assert np.array_equal([code[line[:1]] for line in out.split("\n")[:-1]], expected)


def unigram(tmp_path, token, kept, backoff):
    """The file of a unigram with these numbers, of the tokens boundary and "a"."""
    model = Model(tmp_path, "a", n_orders=1, weight=0.0, words=[[1]])
    model.run["orders"][0].update(keys=torch.tensor(token), kept=torch.tensor([*kept, 0]),
                                  backoff=torch.tensor([backoff, 1]))
    model.path.write_bytes(export.serialize(model.run))
    return model.path


@pytest.mark.parametrize("backoff, infinite", [(0.0005, False), (0, True)])
def test_no_loss_is_negative_and_the_impossible_has_an_infinite_one(tmp_path, same, backoff, infinite):
    """A probability can round to above 1: its loss was printed as -0.000000."""
    path = unigram(tmp_path, [1], [1], backoff)
    (tmp_path / "lines").write_text("a\naaaa\n")
    out = same(path, "-e", tmp_path / "lines")
    assert "-" not in out and ("inf" in out) == infinite
    same(path, "-s", "1", "-n", "2")


def test_a_number_that_is_a_threshold_stands_for_the_next_token(tmp_path, same):
    """The boundary gets just the probability that is the first random number of a seed."""
    drawn, seed = 1, 0
    while drawn % 64:  # so that a float holds it
        seed += 1
        drawn = sample.splitmix64(sample.splitmix64(seed + sample.GOLDEN)) >> 34
    path = unigram(tmp_path, [0, 1], [drawn / 2**30, 1 - drawn / 2**30], 0)
    assert same(path, "-s", seed, "-n", "1").startswith("a")


@pytest.mark.parametrize("scale", [0, 1e-3, 30, 2.0**49])
def test_flat_and_steep_networks(tmp_path, same, scale):
    def change(state):
        for array in state.values():
            array *= np.float32(scale / max(1, abs(array).max()) if scale > 2**40 else scale)
    # with a scale of 0 all of 8 tokens are as likely: the share of 4 is just a half
    model = Model(tmp_path, "abcdefg", n_orders=2 * (scale > 0), change=change)
    (tmp_path / "lines").write_text("\n".join(model.lines(20)))
    assert "nan" not in same(model.path, "-e", tmp_path / "lines")
    for options in ("-s 1", "-s 1 -t 0.01", "-s 1 -t 9", "-s 1 -p 0.5", "-s 1 -k 3"):
        same(model.path, *options.split())


def test_a_name_without_end_and_a_long_prefix(tmp_path, run, program, sanitized):
    def no_end(state):
        state["b2"][0] = -1000
    model = Model(tmp_path, "a🌍", n_orders=0, change=no_end)
    for n in (1022, 1024, 1025, 3000):
        argv = [model.path, "-s", "1", "-n", "2", "-i", "🌍" * n]
        expected = run("sample.py", *argv)
        for each in (program, sanitized):
            done = each.run(*argv)
            assert (done.status, done.out) == (expected.status, expected.out)
        assert expected.status or all(line.startswith("🌍" * n) and len(line) == max(n, 1024)
                                      for line in expected.out.split())


def test_a_decomposed_prefix_or_list_is_composed_or_named(models, sanitized, tmp_path):
    """sample.c has no tables for NFC: it has to say so, not to exclude nothing in silence."""
    path = models["strings"].path
    done = sanitized.run(path, "-s", "1", "-i", "e\u0301")
    if done.status == 0:
        assert all(line.startswith("é") for line in done.out.splitlines())
    else:
        one_sentence("sample", done.err, "ompos")
    (tmp_path / "x").write_text("e\u0301a\n", encoding="utf-8")
    done = sanitized.run(path, "-s", "1", "-n", "400", "-x", tmp_path / "x")
    assert "éa" not in done.out.splitlines() or "ompos" in done.err
    (tmp_path / "x").write_text("anna\r\n", encoding="utf-16")  # as PowerShell's > writes it
    done = sanitized.run(path, "-s", "1", "-x", tmp_path / "x")
    one_sentence("sample", done.err, "iconv -f utf-16")


# -----------------------------------------------------------------------------
# The program as a program

EXAMPLE = """
#define main sample_main
#include "sample.c"
#undef main
int main(int argc, char **argv) { // MODEL A, LINES, MODEL B: one after the other, in one program
    (void)argc;
    for (int i = 1; i <= 3; i += 2) {
        char *args[] = {argv[0], argv[i], (char *)"-e", argv[2]};
        if (sample_main(4, args)) return 1;
    }
    return 0;
}
"""


def test_two_models_in_one_program_give_each_its_own_losses(models, same, tmp_path):
    """The cache of losses was not keyed by the model: the second got the first one's numbers."""
    (tmp_path / "two.c").write_text(EXAMPLE)
    done = cc("-O2", f"-I{ROOT}", tmp_path / "two.c", "-o", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    first, second = models["network"], models["n-grams"]  # the same tokens
    (tmp_path / "lines").write_text("\n".join(first.lines(30)), encoding="utf-8")
    expected = [same(model.path, "-e", tmp_path / "lines") for model in (first, second)]
    done = Program(tmp_path / "two").run(first.path, tmp_path / "lines", second.path)
    assert done.out == "".join(expected) and expected[0] != expected[1]


def test_the_rest_of_the_command_line(models, run, program, tmp_path, monkeypatch):
    path = models["mixture"].path
    first = program.run(path, "-n", "50")  # the seed of the clock is shown
    word, seed = first.err.split()
    again = program.run(path, "-n", "50", "-s", seed)
    assert (word, again.out, again.err) == ("seed", first.out, "")
    for done in (program.run("-h"), run("sample.py", "-h")):
        assert (done.status, done.err) == (0, "") and "names.bin" in done.out
        assert all(f"  -{letter}" in done.out for letter in "nsftkpixueh")
    done = program.run(path, "-s", "1", "-t", "0", "-u", "-n", "5")
    assert done.status == 1 and done.out.count("\n") == 1
    one_sentence("sample", done.err, "100000 names in a row were not new")
    script, ours = shutil.copy(ROOT / "sample.py", tmp_path), shutil.copy(program.path, tmp_path)
    (tmp_path / "folder" / "out").mkdir(parents=True)  # the model, if none is given
    monkeypatch.chdir(tmp_path / "folder")
    for start in (Program(ours).run, lambda *argv: run(script, *argv)):
        assert start("-s", "1").status == 1
        shutil.copy(path, tmp_path / "names.bin")
        done = start("-s", "1")
        assert done.out == program.run(path, "-s", "1").out and "names.bin" in done.err
        shutil.copy(models["unigram"].path, "out/mlp.bin")
        done = start("-s", "1")
        assert (done.out, done.err) == (program.run(models["unigram"].path, "-s", "1").out, "")
        os.unlink("out/mlp.bin"), os.unlink(tmp_path / "names.bin")


def test_output_that_cannot_be_written(models, program, full_device, tmp_path):
    """A sentence on a full disk, and no mean of -e, which would be wrong; none if head has enough."""
    (tmp_path / "lines").write_text("ab\n")
    path = models["mixture"].path
    for argv in (["-s1", "-n1"], ["-s1", "-n1000000000"], ["-h"], ["-e", tmp_path / "lines"]):
        done = program.run(path, *argv, stdout=full_device)
        assert done.status == 1
        one_sentence("sample", done.err)
    done = subprocess.Popen([program.path, path, "-n", "1000000000", "-s", "1"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout.readline()
    done.stdout.close()
    assert done.wait(timeout=30) != 0 and done.stderr.read() == b""
    done.stderr.close()


def test_clang_compiles_it_without_a_warning_and_prints_the_same(models, program, tmp_path):
    done = cc("-O3", ROOT / "sample.c", "-o", tmp_path / "sample", compiler="clang")
    assert done.returncode == 0, done.stderr
    argv = models["mixture"].path, "-n", "1000", "-s", "1"
    assert Program(tmp_path / "sample").run(*argv).out == program.run(*argv).out


# -----------------------------------------------------------------------------
# The page

RUNS = [("0", "", 0, 1, None, 1), (str(2**64 - 1), "", 0, 0.5, None, 1), ("3", "", 0, 0, None, 1),
        ("7", "", 0, 3, 9, 0.8), ("7", "", 5, 0.7, None, 0.9), ("2", "", 2**40, 1000, 3, 0),
        ("4", "prefix", 0, 1, None, 1), ("4", "prefix", 0, 0.001, 5, 1)]


@pytest.mark.parametrize("name", MODELS)
def test_names_and_losses_of_the_page_are_those_of_numpy(models, node, name):
    model = models[name]
    runs = [(12, seed, prefix and model.text(model.words[3][:2]), *rest)
            for seed, prefix, *rest in RUNS]
    m = sample.load(model.path)
    expected = [list(sample.names(m, n, int(seed), prefix, first, temperature, top_k or 2**31, top_p))
                for n, seed, prefix, first, temperature, top_k, top_p in runs]
    lines = model.lines(25)
    losses = [sample.score(m, line) for line in lines]
    contexts = [[v % m.vocab_size] * m.context_size for v in range(5)]
    thresholds = [sample.distribution(m, context, temperature, top_k or 2**31, top_p).tolist()
                  for context in contexts for *_, temperature, top_k, top_p in runs]
    expected.append([f"{np.add.accumulate(nll)[-1] / len(nll):.6f}\t{line}"
                     for nll, line in zip(losses, lines)])
    runs = [[*run[:5], 2**31 if run[5] is None else run[5], run[6]] for run in runs]
    out = node(SCRIPT + f"const m = read({json.dumps(str(model.path))});"
               f"console.log(JSON.stringify([...{json.dumps(runs)}.map(run => names(m, ...run)),"
               f" losses(m, {json.dumps(lines)}), {json.dumps(contexts)}.flatMap(context => "
               f"{json.dumps(runs)}.map(run => [...distribution(m, context, ...run.slice(4))]))]));")
    assert json.loads(out) == [*expected, thresholds]


def test_page_makes_no_request():
    """Its policy forbids them all; and there is nothing in it to request."""
    assert "default-src 'none'" in PAGE
    assert not any(word in PAGE for word in ("http:", "https:", "fetch(", "XMLHttp", "import(", " src="))


# -----------------------------------------------------------------------------
# The model that ships

@pytest.mark.parametrize("reader", ["sample.py", "sample.c", "sample.html"])
def test_the_first_1000_names_are_the_same_everywhere(run, request, reader):
    path = ROOT / "names.bin"
    if not path.exists() or SHA256_OF_1000_NAMES is None:
        pytest.skip("there is no names.bin, or no hash is pinned")
    if reader == "sample.py":
        out = run("sample.py", path, "-n", "1000", "-s", "1").out
    elif reader == "sample.c":
        out = request.getfixturevalue("program").run(path, "-n", "1000", "-s", "1").out
    else:
        out = request.getfixturevalue("node")(
            SCRIPT + f"console.log(names(read({json.dumps(str(path))}), 1000, 1, '', 0, 1, 2 ** 31, 1)"
            ".join('\\n'))")
    assert hashlib.sha256(out.encode()).hexdigest() == SHA256_OF_1000_NAMES
