"""sample.c, as it ships and under sanitizers, and sample.html: the bytes of sample.py."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

import export
import sample
from conftest import (MODELS, ROOT, UNICODE, Model, Program, cc, needs_full_device,
                      one_sentence)

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
OPTIONS = ["-s 1 -n 99", "-s 0", f"-s {2**64 - 1} -n 5", "-s 1 -t 0.5 -n 9", "-s 2 -t 2 -n 5",
           "-s 1 -t 1000 -n 2", "-s 1 -t 0.01 -n 2", "-s 1 -t 1e-30 -n 2", "-s 1 -t 0 -n 2",
           "-s 5 -k 1 -n 2", "-s 5 -k 3 -n 5", "-s 5 -k 2147483647 -n 5", "-s 6 -p 0.9 -n 5",
           "-s 6 -p 0.5 -n 5", "-s 6 -p 0 -n 2", "-s 6 -p 1e-9 -n 2", "-s 8 -f 1000 -n 5",
           "-s 7 -t 0.7 -k 10 -p 0.9 -n 9", "-s 7 -t 3 -k 4 -p 0.95 -n 5", "-s 9 -n 0",
           f"-s 8 -f {2**53} -n 2", "-n7 -s9 -t.5", "-n 3 -s 1 -n 4 -s 2"]


@pytest.fixture
def same(run, program, sanitized):
    """same(*argv): what sample.py prints, and both builds of sample.c print the same."""
    def check(*argv):
        expected = run("sample.py", *argv)
        assert expected.status == 0, expected.err
        for each in (program, sanitized):
            done = each.run(*argv)
            assert (done.status, done.out) == (0, expected.out), (argv, done.err)
            assert done.err.replace("sample: ", "sample.py: ") == expected.err
        return expected.out
    return check


@pytest.mark.parametrize("i", range(len(MODELS)))
def test_names_of_c_are_those_of_numpy(models, same, i):
    model = list(models.values())[i]
    for options in OPTIONS[i % 2::2]:
        same(model.path, *options.split())
    prefix = model.text(model.words[3][:2])
    for prefix, *more in ([prefix], [prefix, "-t", "0.6", "-k", "5"], [model.text(model.words[5])]):
        out = same(model.path, "-s", "4", "-n", "9", "-i", prefix, *more)
        assert all(line.startswith(prefix) for line in out.split("\n")[:-1])


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
    lines = [*model.lines(40), *model.lines(3), f"  {model.lines(9)[-1]}\t", "", "zoë 12", "\t",
             model.itos[1] * 70, "also unknown", model.lines(2)[-1]]
    for start, end in ((b"\xef\xbb\xbf", "\r\n"), (b"", "\r")):
        path.write_bytes(start + end.join(lines).encode())
        assert "nan" not in same(model.path, "-e", path)


@pytest.mark.parametrize("options", ["", "-t 0.8 -k 250 -p 0.97"])
def test_thresholds_of_c_are_those_of_numpy(tmp_path, program, options):
    """Of the first tokens of half a million names: so thresholds off in a last bit show."""
    tokens, n = [chr(0x4E00 + i) for i in range(299)], 500_000
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


@pytest.mark.parametrize("backoff", [0.0005, 0])
def test_no_loss_is_negative_and_the_impossible_has_an_infinite_one(tmp_path, same, backoff):
    """A probability can round to above 1: its loss was printed as -0.000000."""
    path = unigram(tmp_path, [1], [1], backoff)
    (tmp_path / "lines").write_text("a\naaaa\n")
    out = same(path, "-e", tmp_path / "lines")
    assert "-" not in out and ("inf" in out) == (backoff == 0)


def test_a_number_that_is_a_threshold_stands_for_the_next_token(tmp_path, same, request):
    """The boundary gets just the probability that is the first random number of a seed."""
    drawn, seed = 1, 0
    while drawn % 64:  # so that a float holds it
        seed += 1
        drawn = sample.splitmix64(sample.splitmix64(seed + sample.GOLDEN)) >> 34
    path = unigram(tmp_path, [0, 1], [drawn / 2**30, 1 - drawn / 2**30], 0)
    assert same(path, "-s", seed, "-n", "1").startswith("a")
    shown = f"names(read({json.dumps(str(path))}), 1, {seed}, '', 0, 1, 9, 1)[0]"
    assert request.getfixturevalue("node")(SCRIPT + f"console.log({shown})").startswith("a")


@pytest.mark.parametrize("scale", [0, 1e-3, 30, 2.0**49])
def test_flat_and_steep_networks(tmp_path, same, scale):
    def change(state):  # with a scale of 0 all of 8 tokens are as likely: 4 have just a half
        for array in state.values():
            array *= np.float32(scale / max(1, abs(array).max()) if scale > 2**40 else scale)
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


def test_a_decomposed_prefix_or_list_is_named(models, sanitized, tmp_path):
    """sample.c has no tables for NFC: it says so, and does not exclude nothing; sample.py has."""
    path = models["strings"].path
    (tmp_path / "x").write_text("e\u0301a\n", encoding="utf-8")
    (tmp_path / "y").write_text("anna\r\n", encoding="utf-16")  # as PowerShell's > writes it
    for option, value, said in (("-i", "e\u0301", "decompos"), ("-x", tmp_path / "x", "decompos"),
                                ("-x", tmp_path / "y", "iconv -f utf-16")):
        one_sentence("sample", sanitized.run(path, "-s", "1", option, value).err, said)
    assert [*sample.read_lines(tmp_path / "x"), *sample.read_lines(tmp_path / "y")] == [
        (1, "\u00e9a"), (1, "anna")]


EXAMPLE = """
#define main sample_main
#include "sample.c"
#undef main
int main(int argc, char **argv) { // MODEL -e LINES MODEL -e LINES: one after the other
    return argc == 7 && !sample_main(4, argv) ? sample_main(4, argv + 3) : 1;
}
"""


def test_two_models_in_one_program_give_each_its_own_losses(models, same, tmp_path):
    """The cache of losses was not keyed by the model: the second got the first one's numbers."""
    (tmp_path / "two.c").write_text(EXAMPLE)
    done = cc("-O2", f"-I{ROOT}", tmp_path / "two.c", "-o", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    first, second = models["network"], Model(tmp_path, UNICODE, block_size=2)  # the same tokens
    (tmp_path / "lines").write_text("\n".join(first.lines(30)), encoding="utf-8")
    expected = [same(model.path, "-e", tmp_path / "lines") for model in (first, second)]
    done = Program(tmp_path / "two").run(*(word for model in (first, second) for word in (
        model.path, "-e", tmp_path / "lines")))
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


@needs_full_device
def test_output_that_cannot_be_written(models, program, tmp_path):
    """A sentence on a full disk, and no mean of -e, which would be wrong; none for head."""
    (tmp_path / "lines").write_text("ab\n")
    path = models["mixture"].path
    for argv in (["-s1", "-n1"], ["-s1", "-n1000000000"], ["-h"], ["-e", tmp_path / "lines"]):
        with open("/dev/full", "w") as full:
            done = program.run(path, *argv, stdout=full)
        assert done.status == 1
        one_sentence("sample", done.err)
    command = f"'{program.path}' '{path}' -n 1000000000 -s 1 | head -n 3"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60)
    assert done.stdout.count(b"\n") == 3 and not done.stderr


ALL, MAX = 2**31, str(2**64 - 1)
RUNS = [("0", "", 0, 1, ALL, 1), (MAX, "", 0, 0.5, ALL, 1), ("3", "", 0, 0, ALL, 1),
        ("7", "", 0, 3, 9, 0.8), ("7", "", 5, 0.7, ALL, 0.9), ("2", "", 2**40, 1000, 3, 0),
        ("4", "prefix", 0, 1, ALL, 1), ("4", "prefix", 0, 0.001, 5, 1)]


@pytest.mark.parametrize("name", MODELS)
def test_names_and_losses_of_the_page_are_those_of_numpy(models, node, name):
    model = models[name]
    runs = [(12, seed, prefix and model.text(model.words[3][:2]), *rest)
            for seed, prefix, *rest in RUNS]
    m = sample.load(model.path)
    expected = [list(sample.names(m, n, int(seed), *rest)) for n, seed, *rest in runs]
    lines = model.lines(25)
    losses = [sample.score(m, line) for line in lines]
    contexts = [[v % m.vocab_size] * m.context_size for v in range(5)]
    thresholds = [sample.distribution(m, context, *run[4:]).tolist()
                  for context in contexts for run in runs]
    expected.append([f"{np.add.accumulate(nll)[-1] / len(nll):.6f}\t{line}"
                     for nll, line in zip(losses, lines)])
    out = node(SCRIPT + f"const m = read({json.dumps(str(model.path))});"
               f"console.log(JSON.stringify([...{json.dumps(runs)}.map(run => names(m, ...run)),"
               f" losses(m, {json.dumps(lines)}), {json.dumps(contexts)}.flatMap(context => "
               f"{json.dumps(runs)}.map(run => [...distribution(m, context, ...run.slice(4))])"
               ")]));")
    assert json.loads(out) == [*expected, thresholds]


def test_page_makes_no_request():
    assert "default-src 'none'" in PAGE and not re.search(r"https?:|fetch\(|XMLHttp|import\(| src=", PAGE)


@pytest.mark.skipif(not (ROOT / "names.bin").exists(), reason="there is no names.bin")
@pytest.mark.parametrize("reader", ["run", "program", "node"])
def test_the_first_1000_names_are_the_same_everywhere(request, reader):
    reads, path = request.getfixturevalue(reader), str(ROOT / "names.bin")
    argv = [path, "-n", "1000", "-s", "1"]
    out = (reads("sample.py", *argv).out if reader == "run" else
           reads.run(*argv).out if reader == "program" else
           reads(SCRIPT + f"const m = read({json.dumps(path)});"
                 "console.log(names(m, 1000, 1, '', 0, 1, 1e9, 1).join('\\n'))"))
    assert hashlib.sha256(out.encode()).hexdigest() == SHA256_OF_1000_NAMES


# runs on the page itself, when it has drawn its names, and leaves what it saw there
STEPS = """<script>
const seen = {}, text = id => $(id).textContent, change = (id, value) => {
  $(id).value = value; $(id).dispatchEvent(new Event("input", {bubbles: true})); };
const wait = n => new Promise(done => { const look = () =>
  document.querySelectorAll("#names li").length >= n && !frame ? done() : setTimeout(look, 5);
  look(); });
const shown = () => [...document.querySelectorAll("#names li")].map(name => name.textContent);
(async () => {
  await wait(40);
  change("seed", 5); change("top_k", 9); change("top_p", 0.9); change("temperature", 0.8);
  change("prefix", "ab"); await wait(40); seen.names = shown();
  $("more").click(); await wait(80); seen.more = shown();
  document.querySelector("#names li").onmouseover(); seen.loss = text("loss");
  seen.tokens = [...$("tokens").children].map(cell => cell.firstChild.textContent);
  change("top_k", ""); change("top_p", 1); change("temperature", 1);
  seen.bars = [...$("bars").children].map(bar => Number(bar.firstChild.textContent));
  seen.likeliest = text("likeliest"); seen.places = [...$("plane").children].length;
  $("bars").children[3].click(); seen.prefix = $("prefix").value; change("prefix", "aX");
  await new Promise(done => setTimeout(done, 50)); seen.unknown = text("message");
  try { open_model("odd.bin", new TextEncoder().encode("names".repeat(99)).buffer); }
  catch (error) { seen.odd = error.message; }
  document.body.textContent = "SEEN" + JSON.stringify(seen) + "END";
})().catch(error => document.body.textContent = `SEEN{"error": "${error.message}"}END`);
</script>"""


def test_typing_pointing_and_clicking(models, tmp_path):
    command, model = shutil.which("chromium") or shutil.which("google-chrome"), models["mixture"]
    if not command:
        pytest.skip("there is no Chromium here")
    tag, encoded = 'type="text/plain">', base64.b64encode(model.data).decode()
    (tmp_path / "page.html").write_text(PAGE.replace(tag, tag + encoded) + STEPS, encoding="utf-8")
    done = subprocess.run([command, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                           "--virtual-time-budget=60000", f"--user-data-dir={tmp_path / 'profile'}",
                           f"file://{tmp_path / 'page.html'}"], capture_output=True, timeout=100)
    if done.returncode:
        pytest.skip(f"{command} does not run here: {done.stderr.decode()[-200:]}")
    seen = json.loads(html.unescape(re.search("SEEN(.*)END", done.stdout.decode())[1]))
    m = sample.load(model.path)
    options = {"seed": 5, "prefix": "ab", "temperature": 0.8, "top_k": 9, "top_p": 0.9}
    names = list(sample.names(m, 80, **options))
    assert (seen["names"], seen["more"]) == (names[:40], names)
    loss = sample.score(m, names[0])
    assert seen["loss"].startswith(f"{loss.mean():.6f}") and seen["tokens"] == [*names[0], "↵"]
    p = np.diff(sample.distribution(m, (0, 0, 1, 2), 1, 99, 1), prepend=0) / 2**30
    assert seen["bars"] == pytest.approx(100 * p, abs=0.51) and seen["places"] == len(m.itos)
    assert seen["likeliest"] == next(sample.names(m, 1, prefix="ab", temperature=0))
    assert seen["prefix"] == "ab" + m.itos[3]
    assert "does not know 'X'" in seen["unknown"] and "odd.bin is not a model" in seen["odd"]
