import random
import re
import struct
import subprocess
import zlib

import numpy as np
import pytest

import mlp
from conftest import ROOT, SANITIZE, Program, build, cc, one_sentence, version_2, with_crc


def scores(lines):
    """The output of -e: a list of NLLs, and one of lines."""
    nlls, words = zip(*(line.split("\t", 1) for line in lines))
    return [float(nll) for nll in nlls], list(words)


def agrees(program, reference, words, path):
    """-e gives every word the NLL that PyTorch gives it, and the mean over all tokens."""
    path.write_bytes("".join(word + "\n" for word in words).encode())
    done = program.run(reference.bin, "-e", path)
    assert done.returncode == 0, done.stderr
    nlls, scored = scores(done.stdout.split("\n")[:-1])
    expected = reference.nll(words)
    assert scored == words
    # float32 and the six printed digits leave 1e-6; 1e-5 would hide a wrong term in the exponential
    np.testing.assert_allclose(nlls, [nll for nll, _ in expected], rtol=0, atol=3e-6)
    n_tokens = sum(n for _, n in expected)
    shown = re.findall(r"\d+\.\d+|\d+", done.stderr.replace(",", ""))
    assert str(n_tokens) in shown
    mean = sum(nll * n for nll, n in expected) / n_tokens
    assert any("." in number and abs(float(number) - mean) < 1e-4 for number in shown)


def chi_square_fits(counts, probs):
    """Whether counts may come from probs: else chi-square is this large once in 3 million times."""
    expected = probs * counts.sum()
    assert not counts[expected == 0].any()
    # what is rare counts as one, with the rarest of what is not
    order = np.argsort(expected)
    n = max(1, (np.cumsum(expected[order]) < 5).sum() + 1)
    counts, expected = (np.append(x[order[n:]], x[order[:n]].sum()) for x in (counts, expected))
    df = len(counts) - 1
    if df == 0:
        return True  # there is one token only, and the assertion above has judged it
    # Wilson and Hilferty 1931: the cube root of chi-square / df is close to normal
    chi_square = ((counts - expected)**2 / expected).sum()
    return ((chi_square / df)**(1 / 3) - (1 - 2 / (9 * df))) / (2 / (9 * df))**0.5 < 5


def count_next(reference, lines, prefix):
    """How often each token (vocab_size) comes right after the prefix."""
    assert all(line.startswith(prefix) for line in lines)
    tokens = [reference.itos.index(line[len(prefix)]) if line != prefix else 0 for line in lines]
    return np.bincount(tokens, minlength=len(reference.itos))


def cut(probs, top_k=None, top_p=1.0):
    """The top_k likeliest, and of these the fewest with top_p of their probability, as probs."""
    order = np.argsort(-probs, kind="stable")[:top_k]
    upto = np.cumsum(probs[order]) / probs[order].sum()
    kept = order[:np.searchsorted(upto, top_p - 1e-12) + 1]
    result = np.zeros_like(probs)
    result[kept] = probs[kept] / probs[kept].sum()
    return result


# -----------------------------------------------------------------------------
# The same model

def test_scores_of_the_whole_dev_split_agree_with_pytorch(program, trained, names, tmp_path):
    agrees(program, trained, mlp.split_words(names, 0.8)[1], tmp_path / "dev.txt")


UNICODE = [" ", ".", "7", "a", "é", "ß", "中", "文", "🌍", "\U0010ffff"]


@pytest.mark.parametrize("characters, block_size, n_embd, n_hidden", [
    ("a", 1, 1, 1),
    (UNICODE, 4, 3, 33),
    ([chr(0x3B1 + i) for i in range(24)], 256, 2, 5),
    ([chr(0x4E00 + i) for i in range(31)], 2, 7, 64),
    ([chr(0x4E00 + i) for i in range(32)], 2, 7, 64),
    ([chr(0x4E00 + i) for i in range(700)], 3, 2, 2048),
], ids=["smallest", "unicode", "long context", "32 tokens", "33 tokens", "wide and many"])
def test_scores_agree_with_pytorch_whatever_the_shape(
        program, random_model, tmp_path, characters, block_size, n_embd, n_hidden):
    reference = random_model(characters, block_size, n_embd, n_hidden)
    rng = random.Random(0)
    words = ["".join(rng.choices(characters, k=k)).strip() or characters[-1]
             for k in list(range(1, 40)) + [300]]
    agrees(program, reference, words, tmp_path / "words.txt")


def test_scores_of_a_mixture(program, mixture, names, tmp_path):
    agrees(program, mixture, names[:1500], tmp_path / "words.txt")


def test_scores_of_ngrams_alone(program, random_mixture, tmp_path):
    mixture = random_mixture(UNICODE, 4, 0)
    agrees(program, mixture, ["a", "中文", "🌍a7.", "é" * 50], tmp_path / "words.txt")


def test_what_no_part_allows_has_an_infinite_loss(program, random_mixture, tmp_path):
    mixture = random_mixture("abcd", 2, 0, discounts=(0, 0, 0), n_lines=1)
    seen = mixture.ngrams.counts[1][0,]
    never = next(ch for v, ch in enumerate(mixture.itos) if v > 0 and v not in seen)
    (tmp_path / "words.txt").write_text(never)
    assert program.lines(mixture.bin, "-e", tmp_path / "words.txt") == [f"inf\t{never}"]
    assert {line[0] for line in program.lines(mixture.bin, "-s", "1", "-n", "200")} == {
        mixture.itos[v] for v in seen}


@pytest.mark.parametrize("scale", [0, 1e-3, 20, 1000])
def test_scores_agree_for_flat_and_for_steep_weights(program, random_model, tmp_path, scale):
    reference = random_model("abcdefgh", change=lambda m: [p.mul_(scale) for p in m.parameters()])
    path, words = tmp_path / "words.txt", ["a", "hab", "abcdefgh", "ggg"]
    path.write_text("\n".join(words))
    nlls, _ = scores(program.lines(reference.bin, "-e", path))
    np.testing.assert_allclose(nlls, [nll for nll, _ in reference.nll(words)], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("option", ["-n 5", "-n5", "-s 1", "-f 3", "-t 0.5", "-k 3", "-p 0.5", "-i a",
                                    "-x none", "-u"])
def test_scoring_takes_no_option_of_sampling(program, trained, tmp_path, option):
    args = trained.bin, *option.split()
    program.refuses(2, *args, "-e", tmp_path / "words.txt", named=["-e", option.split()[0]])
    program.refuses(2, "-e", tmp_path / "words.txt", *args, named=["-e", option.split()[0]])


def test_scored_lines_are_those_that_mlp_reads(program, random_model, tmp_path):
    spaces = [chr(i) for i in range(0x3001) if chr(i).isspace() and chr(i) != "\n"]
    reference = random_model(["a", "b", *spaces])
    path = tmp_path / "words.txt"
    lines = [f"{space}a{space}b{space}" for space in spaces] + ["", "ab", " \t ", "ab", "ab\r"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    done = program.run(reference.bin, "-e", path)
    assert scores(done.stdout.split("\n")[:-1])[1] == mlp.read_words(path, keep_duplicates=True)


def test_scoring_names_a_character_the_model_does_not_know(program, trained, tmp_path):
    (tmp_path / "words.txt").write_text("emma\nzoé\nava\n", encoding="utf-8")
    done = program.run(trained.bin, "-e", tmp_path / "words.txt")
    assert "'é'" in done.stderr and "line 2" in done.stderr and "zo" not in done.stdout


@pytest.mark.parametrize("content", [b"", b"\n \r\n\t", None])
def test_nothing_to_score(program, trained, tmp_path, content):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    program.refuses(1, trained.bin, "-e", path, named=[path])


def test_folder_to_score(program, trained, tmp_path):
    program.refuses(1, trained.bin, "-e", tmp_path, named=[tmp_path])


# -----------------------------------------------------------------------------
# The distribution

def test_first_letters_of_100000_names_follow_the_softmax(program, trained):
    lines = program.lines(trained.bin, "-n", "100000", "-s", "1")
    assert len(lines) == 100_000
    assert chi_square_fits(count_next(trained, lines, ""), trained.probs(""))


def test_later_letters_follow_the_softmax_of_what_is_before_them(program, trained):
    lines = program.lines(trained.bin, "-n", "100000", "-s", "2")
    for start in ("a", "ma", "kay", "jann"):
        begun = [line for line in lines if line.startswith(start)]
        assert len(begun) > 50
        assert chi_square_fits(count_next(trained, begun, start), trained.probs(start))


def test_names_of_a_mixture_follow_its_probabilities(program, mixture):
    lines = program.lines(mixture.bin, "-n", "60000", "-s", "2")
    for start in ("", "a", "ma", "kay"):
        begun = [line for line in lines if line.startswith(start)]
        assert chi_square_fits(count_next(mixture, begun, start), mixture.probs(start))


@pytest.mark.parametrize("prefix, temperature, top_k, top_p", [
    ("", 0.5, None, 1), ("", 2, None, 1), ("mar", 1, 3, 1), ("", 1, None, 0.6), ("an", 0.7, 9, 0.9)])
def test_cut_distribution_of_a_mixture(program, mixture, prefix, temperature, top_k, top_p):
    args = ["-n", "10000", "-s", "3", "-i", prefix, "-t", str(temperature), "-p", str(top_p)]
    args += ["-k", str(top_k)] if top_k else []
    counts = count_next(mixture, program.lines(mixture.bin, *args), prefix)
    assert chi_square_fits(counts, cut(mixture.probs(prefix, temperature), top_k, top_p))


@pytest.mark.parametrize("prefix, temperature, top_k, top_p", [
    ("", 0.5, None, 1), ("", 2, None, 1), ("", 1000, None, 1), ("an", 0.1, None, 1),
    ("", 1, 2, 1), ("", 1, 10, 1), ("mar", 1, 26, 1), ("", 1, 27, 1), ("", 1, 1000, 1),
    ("", 1, None, 0.9), ("", 1, None, 0.5), ("kat", 1, None, 0.99), ("", 1, None, 0.01),
    ("", 1, 5, 0.7), ("", 0.7, 10, 0.9), ("", 2, 8, 0.5), ("jo", 1.5, 3, 0.999),
])
def test_cut_distribution(program, trained, prefix, temperature, top_k, top_p):
    args = ["-n", "10000", "-s", "3", "-i", prefix, "-t", str(temperature), "-p", str(top_p)]
    args += ["-k", str(top_k)] if top_k else []
    counts = count_next(trained, program.lines(trained.bin, *args), prefix)
    probs = cut(trained.probs(prefix, temperature), top_k, top_p)
    assert not counts[probs == 0].any()
    assert counts[probs > 0.002].all()
    assert chi_square_fits(counts, probs)


@pytest.mark.parametrize("prefix", ["", "x", "chri", "qqqqqqqqqqjen"])
@pytest.mark.parametrize("args", [["-t", "0"], ["-k", "1"], ["-t", "1e-30"], ["-p", "1e-9"],
                                  ["-t", "5", "-k", "1"], ["-t", "0", "-k", "9", "-p", "0.9"]])
def test_likeliest_tokens_are_taken(program, trained, prefix, args):
    lines = program.lines(trained.bin, "-n", "3", "-s", "1", "-i", prefix, *args)
    assert [line[:40] for line in lines] == [trained.likeliest(prefix)] * 3


def test_top_p_of_0_takes_the_likeliest(sanitized, trained):
    lines = sanitized.lines(trained.bin, "-p", "0", "-n", "2", "-s", "1")
    assert [line[:40] for line in lines] == [trained.likeliest("")] * 2


def test_equal_tokens_are_cut_to_the_number_asked_for(program, random_model):
    reference = random_model("abcdefgh", change=lambda m: [p.zero_() for p in m.parameters()])
    for args, n in ((["-k", "3"], 3), (["-p", "0.5"], 5), (["-k", "4", "-p", "0.6"], 3)):
        lines = program.lines(reference.bin, "-n", "500", "-s", "1", *args)
        assert len({line[:1] for line in lines}) == n


# -----------------------------------------------------------------------------
# Names

@pytest.mark.parametrize("args", [["-s", "1"], ["-s", "18446744073709551615"],
                                  ["-s", "0", "-t", "0.7", "-k", "9", "-i", "a"]])
def test_few_names_are_the_beginning_of_many(program, trained, args):
    many = program.lines(trained.bin, "-n", "100", *args)
    assert len(many) == 100 and len(set(many)) > 50
    for n in (0, 1, 5, 20, 31, 32, 33, 64, 99):
        assert program.lines(trained.bin, "-n", str(n), *args) == many[:n]


@pytest.mark.parametrize("args", [[], ["-u"], ["-i", "b", "-t", "0.8"]])
def test_names_from_any_number_on(program, trained, args):
    def run(first, n):
        return program.lines(trained.bin, "-s", "1", "-f", str(first), "-n", str(n), *args)
    many = run(0, 300)
    assert many == program.lines(trained.bin, "-s", "1", "-n", "300", *args)
    if "-u" not in args:  # there, names that came before are not known
        assert many == run(0, 1) + run(1, 62) + run(63, 65) + run(128, 172)
    assert len(run(2**53 - 1, 40)) == 40


def test_default_is_20_names_of_the_default_model(program, trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlp.bin").write_bytes(trained.bin.read_bytes())
    lines = program.lines("-s", "1", cwd=tmp_path)
    defaults = "-n 20 -f 0 -t 1 -p 1 -k 27".split()
    assert len(lines) == 20
    assert lines == program.lines(trained.bin, "-s", "1", "-i", "", *defaults)


def test_other_seed_gives_other_names(program, trained):
    seeds = "0", "1", "2", str(2**32 + 1), str(2**63)
    assert len({tuple(program.lines(trained.bin, "-s", seed)) for seed in seeds}) == len(seeds)


def test_seed_of_the_clock_is_shown_and_gives_the_run_again(program, trained):
    first, second = (program.run(trained.bin, "-n", "50") for _ in range(2))
    assert first.stdout != second.stdout
    seed, = re.findall(r"\d+", first.stderr)
    again = program.run(trained.bin, "-n", "50", "-s", seed)
    assert (again.stdout, again.stderr) == (first.stdout, "")


def test_order_of_the_command_line_does_not_matter(program, trained):
    assert (program.lines("-s", "4", trained.bin, "-t", "0.5", "-n", "7")
            == program.lines("-n", "7", "-t", "0.5", "-s", "4", trained.bin))


def test_prefix_is_printed_and_only_its_end_counts(program, trained):
    long = "abcdefghijklmnopqrstuvwxyzmari"
    lines = program.lines(trained.bin, "-n", "10000", "-s", "1", "-i", long)
    assert chi_square_fits(count_next(trained, lines, long), trained.probs("mari"))


def test_prefix_of_any_character_the_model_knows(program, random_model):
    reference = random_model(UNICODE)
    lines = program.lines(reference.bin, "-n", "5000", "-s", "1", "-i", "🌍 .é中")
    assert chi_square_fits(count_next(reference, lines, "🌍 .é中"), reference.probs("🌍 .é中"))
    assert set("".join(lines)) == set(UNICODE)


@pytest.mark.parametrize("prefix, named", [
    ("é", "é"), ("ann1", "1"), ("a🌍", "🌍"), (" anna", " "), ("Anna", "A"), ("a.", "."),
    ("an\na", "U+000A"), ("\n", "U+000A"), ("a\x1b[2J", "U+001B"), ("\x7f", "U+007F"),
    (b"\xff", ""), (b"an\xc3", ""), (b"\xc0\x80", ""), (b"a\xed\xa0\x80", ""),
    (b"\xe0\x81\xa1", ""), (b"\xf4\x90\x80\x80", ""), (b"\xc1\xa1", ""), (b"\x80", ""),
    (b"\xf0\x9f\x8c", ""),
])
def test_prefix_the_model_does_not_know(sanitized, trained, prefix, named):
    done = sanitized.run(trained.bin, "-s", "1", "-i", prefix)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("sample: ") and named in done.stderr
    assert "runtime error" not in done.stderr and "Sanitizer" not in done.stderr


def test_name_without_end_is_cut(program, random_model):
    reference = random_model("é🌍", change=lambda model: model.b2[0].fill_(-1000))
    lines = program.lines(reference.bin, "-n", "40", "-s", "1")
    assert {len(line) for line in lines} == {mlp.MAX_LEN}


@pytest.mark.parametrize("length", [mlp.MAX_LEN - 1, mlp.MAX_LEN, mlp.MAX_LEN + 1, 30_000])
@pytest.mark.parametrize("character", ["a", "🌍"])
def test_prefix_as_long_as_a_name_can_be(sanitized, random_model, character, length):
    reference = random_model(["a", "🌍"])
    args = reference.bin, "-n", "2", "-s", "1", "-i", character * length
    if len(character.encode()) * length <= mlp.MAX_LEN:
        assert all(line.startswith(character * length) for line in sanitized.lines(*args))
    else:
        sanitized.refuses(2, *args, named=["more than 1024 bytes"])


# -----------------------------------------------------------------------------
# Command line

@pytest.mark.parametrize("args", [
    ["-x"], ["--n", "5"], ["-"], ["--helpme"], ["-hh"], ["-n5x"], ["-n=5"], ["other.bin"],
    ["-n"], ["-s"], ["-t"], ["-k"], ["-p"], ["-i"], ["-e"], ["-n", ""],
    *([option, value] for option in ("-n", "-s", "-f", "-k") for value in
      ("12x", "-1", "1.5", "1e3", "nan", "inf", "", " ", "abc", "0x10", "9" * 30)),
    ["-s", "18446744073709551616"], ["-k", "0"], ["-n", "18446744073709551615"],
    *([option, value] for option in ("-t", "-p") for value in
      ("12x", "-1", "-0.001", "nan", "inf", "-inf", "", " ", "abc", "1e999", "9" * 30)),
    ["-p", "1.5"], ["-t", "1e30"],
], ids=" ".join)
def test_wrong_command_line(program, trained, args):
    program.refuses(2, trained.bin, *args, named=[args[0][:2]])


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(program, option):
    done = program.run(option)
    assert done.returncode == 0 and not done.stderr
    assert all(f"  -{letter}" in done.stdout for letter in "nsftkpixueh")
    assert all(default in done.stdout for default in ("out/mlp.bin", "20", "clock"))


def test_a_value_may_follow_its_letter_at_once(program, trained):
    assert (program.lines(trained.bin, "-n7", "-s3", "-t0.5", "-iab")
            == program.lines(trained.bin, "-n", "7", "-s", "3", "-t", "0.5", "-i", "ab"))


def test_upper_case_prefix_gets_a_hint(program, trained):
    program.refuses(2, trained.bin, "-s", "1", "-i", "Anna", named=["'A'", "lower case"])
    done = program.run(trained.bin, "-s", "1", "-i", "ann1")
    assert "lower case" not in done.stderr


def test_no_names_is_no_output(program, trained):
    done = program.run(trained.bin, "-n", "0", "-s", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -----------------------------------------------------------------------------
# Output that cannot be written

def test_closed_pipe_ends_the_program_quietly(program, trained):
    run = subprocess.Popen([program.path, trained.bin, "-n", "1000000000", "-s", "1"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.readline()
    run.stdout.close()
    assert run.wait(timeout=30) != 0
    assert run.stderr.read() == b""
    run.stderr.close()


@pytest.mark.parametrize("args", [
    ["-s1", "-n1"], ["-s1", "-n1000000000"], ["-e", ROOT / "names.txt"], ["-h"],
], ids=["a name", "many names", "scores", "help"])
def test_full_disk(program, trained, full_device, args):
    done = program.run(trained.bin, *args, stdout=full_device)
    assert done.returncode == 1 and done.stderr
    one_sentence("sample", done.stderr)  # and no mean of -e, which would be wrong


# -----------------------------------------------------------------------------
# Bad model files

def sections(reference):
    """Where each part of the file begins, in the order of the file, and where the last one ends."""
    vocab_size, block_size, n_embd, n_hidden = reference.shape
    at = {"magic": 0, "version": 4, "block_size": 8, "vocab_size": 12, "n_embd": 16, "n_hidden": 20,
          "vocabulary": 24}
    vocab_end = 24 + sum(1 + len(ch.encode()) for ch in reference.itos)
    at["C"] = vocab_end + -vocab_end % 4
    for name, size, after in (("C", vocab_size * n_embd, "W1"),
                              ("W1", block_size * n_embd * n_hidden, "b1"),
                              ("b1", n_hidden, "W2"), ("W2", n_hidden * vocab_size, "b2"),
                              ("b2", vocab_size, "weight"), ("weight", 2, "n_orders"),
                              ("n_orders", 1, "checksum"), ("checksum", 1, "end")):
        at[after] = at[name] + 4 * size
    return at


SECTIONS = ["magic", "version", "block_size", "vocab_size", "n_embd", "n_hidden", "vocabulary",
            "C", "W1", "b1", "W2", "b2", "weight", "n_orders", "checksum"]


@pytest.fixture
def damaged(sanitized, trained, tmp_path):
    """damaged(change, sums): the model whose bytes change(bytearray, sections) altered is refused.

    With sums the checksum is made right again, so that the other checks have to see it.
    """
    def run(change, sums=False):
        data = bytearray(trained.bin.read_bytes())
        changed = change(data, sections(trained))
        data = data if changed is None else changed
        if sums:
            data = data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))
        path = tmp_path / "damaged.bin"
        path.write_bytes(data)
        sanitized.refuses(1, path, "-s", "1", named=[path])
    return run


def test_sections_are_where_the_tests_take_them_to_be(trained):
    at = sections(trained)
    assert list(at) == SECTIONS + ["end"] and at["end"] == trained.bin.stat().st_size


@pytest.mark.parametrize("within", [0, 1, 0.5])
@pytest.mark.parametrize("name", SECTIONS)
def test_model_cut_short(damaged, name, within):
    def change(data, at):
        start, end = at[name], at[(SECTIONS + ["end"])[SECTIONS.index(name) + 1]]
        return data[:start + (within if isinstance(within, int) else (end - start) // 2)]
    damaged(change)


@pytest.mark.parametrize("name", SECTIONS)
def test_model_with_one_bit_flipped(damaged, name):
    def change(data, at):
        end = at[(SECTIONS + ["end"])[SECTIONS.index(name) + 1]]
        data[(at[name] + end) // 2] ^= 0x04
    damaged(change)


@pytest.mark.parametrize("more", [b"\0", b"\n", bytes(4), bytes(1000)], ids=len)
@pytest.mark.parametrize("sums", [False, True])
def test_model_with_something_after_its_end(damaged, more, sums):
    damaged(lambda data, at: data + more, sums)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 255, 257, 1025, 65537, 2**24, 2**30,
                                  2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("name", ["block_size", "vocab_size", "n_embd", "n_hidden"])
def test_model_with_a_wrong_size(damaged, name, size):
    damaged(lambda data, at: struct.pack_into("<I", data, at[name], size), sums=True)


def test_model_with_every_size_2_to_the_31(damaged):
    damaged(lambda data, at: struct.pack_into("<4I", data, 8, *[2**31] * 4), sums=True)


@pytest.mark.parametrize("sizes", [(0, 2, 1, 1), (257, 2, 1, 1), (1, 0, 1, 1), (1, 1, 1, 1),
                                   (1, 2, 0, 1), (1, 2, 1025, 1), (1, 2, 1, 0), (1, 2, 1, 65537)])
def test_model_of_a_wrong_size_and_of_the_length_to_it(sanitized, tmp_path, sizes):
    block_size, vocab_size, n_embd, n_hidden = sizes
    data = b"NPLM" + struct.pack("<5I", 1, *sizes) + b"\1\n\1a"[:2 * vocab_size]
    n_params = ((vocab_size + block_size * n_hidden) * n_embd + (1 + vocab_size) * n_hidden
                + vocab_size)
    data += bytes(-len(data) % 4) + bytes(4 * n_params)
    (tmp_path / "odd.bin").write_bytes(data + struct.pack("<I", zlib.crc32(data)))
    sanitized.refuses(1, tmp_path / "odd.bin", "-s", "1", named=[tmp_path / "odd.bin"])


@pytest.mark.parametrize("name, value", [("magic", b"GGUF"), ("magic", b"nplm"), ("magic", b"MLPN"),
                                         ("version", b"\0\0\0\0"), ("version", b"\3\0\0\0"),
                                         ("version", b"\0\0\0\1"), ("version", b"\1\0\0\1")])
def test_model_of_another_magic_or_version(damaged, name, value):
    def change(data, at):
        data[at[name]:at[name] + 4] = value
    damaged(change, sums=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2.0**50])
@pytest.mark.parametrize("name", ["C", "W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_model_with_a_weight_that_is_not_finite_or_too_large(damaged, name, value, last):
    def change(data, at):
        after = at[(SECTIONS + ["end"])[SECTIONS.index(name) + 1]]
        struct.pack_into("<f", data, after - 4 if last else at[name], value)
    damaged(change, sums=True)


@pytest.mark.parametrize("where, value", [
    (0, 0), (0, 2), (0, 255), (1, 0x20), (1, 0x61),         # the boundary
    (2, 0), (2, 2), (2, 4), (2, 5), (2, 255),               # the length of the first character
    (3, 0x80), (3, 0xC3), (3, 0xFF), (3, 0x0A), (3, 0x63),  # not UTF-8; out of order; there twice
    (5, 0x61), (53, 0x79), (53, 0xC3), (52, 3),
])
def test_model_with_a_wrong_vocabulary(damaged, where, value):
    def change(data, at):
        assert data[at["vocabulary"] + where] != value
        data[at["vocabulary"] + where] = value
    damaged(change, sums=True)


@pytest.mark.parametrize("old, new", [
    ("é", b"\xc1\xa1"), ("é", b"ab"), ("中", b"\xe0\x81\xa1"), ("中", b"\xed\xa0\x80"),
    ("中", b"\xe4\xb8a"), ("🌍", b"\xf0\x8f\xbf\xbf"), ("🌍", b"\xf4\x90\x80\x80"),
    ("🌍", b"\xf5\x80\x80\x80"), ("🌍", b"\xf0\x9f\x8c\xc0"),
])
def test_model_with_a_character_that_is_not_utf8(sanitized, random_model, old, new):
    reference = random_model("é中🌍")
    data = reference.bin.read_bytes()[:-4].replace(old.encode(), new, 1)
    reference.bin.write_bytes(data + struct.pack("<I", zlib.crc32(data)))
    sanitized.refuses(1, reference.bin, "-s", "1", named=[reference.bin])


# Small lists of n-grams: of each order n_children and left (not of order 0), n_followers, tokens,
# counts. With two letters "a" and "b", after "a b", "b" and "b a".
GOOD = [[[3], [0, 1, 2], [3, 1, 4]], [[3], [0, 1, 2], [2, 2, 2], [1, 2, 0, 2, 0, 1], [1, 2, 1, 1, 2, 1]],
        [[1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 2, 0], [300, 1, 70000]]]


def two_letters(lists=GOOD, weight=0.0, **options):
    """A file of n-grams alone. Their number of orders is at byte 40."""
    return version_2(None, weight, lists, itos=["\n", "a", "b"], **options)


def test_the_lists_of_the_tests_are_a_model(sanitized, tmp_path):
    (tmp_path / "good.bin").write_bytes(two_letters())
    assert len(sanitized.lines(tmp_path / "good.bin", "-s", "1")) == 20


def changed(order, part, value):
    lists = [[list(numbers) for numbers in part] for part in GOOD]
    lists[order][part] = value
    return lists


@pytest.mark.parametrize("order, part, value", [
    (0, 0, [2]), (0, 0, [4]), (0, 0, [0]), (0, 1, [0, 2, 1]), (0, 1, [0, 1, 1]), (0, 1, [0, 1, 3]),
    (0, 2, [3, 0, 4]), (0, 2, [3, 1]), (0, 2, [3, 1, 4, 1]), (0, 0, []), (0, 0, [3, 1]),
    (1, 0, [2]), (1, 0, [4]), (1, 0, []), (1, 1, [0, 2, 1]), (1, 1, [0, 0, 2]), (1, 1, [0, 1, 3]),
    (1, 1, [0, 1, 2**32 - 1]), (1, 2, [2, 2, 3]), (1, 2, [3, 0, 3]), (1, 2, [1, 2, 2]),
    (1, 2, [2**32 - 1, 2, 5]), (1, 3, [2, 1, 0, 2, 0, 1]), (1, 3, [1, 1, 0, 2, 0, 1]),
    (1, 3, [1, 2, 0, 2, 0, 3]), (1, 4, [1, 2, 1, 0, 2, 1]), (1, 4, [1, 2, 1, 1, 2, 2**32]),
    (1, 4, [1, 2, 1, 1, 2, 2**35]), (1, 4, [1, 2, 1, 1, 2, 2**63]), (2, 0, [3, 0, 1]),
    (2, 0, [1, 1, 2]), (2, 1, [0, 0, 3]), (2, 2, [1, 0, 2]), (2, 4, [300, 1]), (2, 4, [1, 1, 0])])
def test_ngrams_that_do_not_fit_together(sanitized, tmp_path, order, part, value):
    (tmp_path / "odd.bin").write_bytes(two_letters(changed(order, part, value)))
    sanitized.refuses(1, tmp_path / "odd.bin", "-s", "1", named=[tmp_path / "odd.bin"])


@pytest.mark.parametrize("discounts", [(-0.1, 1, 1), (1.1, 1, 1), (1, 2.1, 1), (1, 1, 3.1),
                                       (float("nan"), 1, 1), (1, 1, float("inf")), (1, -1e-300, 1)])
def test_discounts_out_of_range(sanitized, tmp_path, discounts):
    (tmp_path / "odd.bin").write_bytes(two_letters(discounts=discounts))
    sanitized.refuses(1, tmp_path / "odd.bin", "-s", "1", named=[tmp_path / "odd.bin"])


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), float("inf"), -float("inf")])
def test_weights_of_a_mixture_out_of_range(sanitized, trained, mixture, tmp_path, weight):
    path, network = tmp_path / "odd.bin", trained.bin.read_bytes()
    path.write_bytes(version_2(network, weight, mixture.ngrams.lists()))
    sanitized.refuses(1, path, "-s", "1", named=[path])
    for data in (version_2(network, 0.5), version_2(network, 0.0), two_letters(weight=0.5),
                 two_letters(weight=1.0), two_letters([]), two_letters([], weight=1.0)):
        path.write_bytes(data)
        sanitized.refuses(1, path, "-s", "1", named=[path])


def test_version_2_without_ngrams_is_version_1(program, trained, tmp_path):
    path = tmp_path / "same.bin"
    path.write_bytes(version_2(trained.bin.read_bytes(), 1.0))
    assert program.lines(path, "-s", "1") == program.lines(trained.bin, "-s", "1")


def test_ngrams_cut_short_anywhere(sanitized, tmp_path):
    good, path = two_letters(), tmp_path / "short.bin"
    for size in range(28, len(good) - 4, 3):
        path.write_bytes(with_crc(good[:size]))
        sanitized.refuses(1, path, "-s", "1", named=[path])
    path.write_bytes(with_crc(good[:-4] + b"\1"))
    sanitized.refuses(1, path, "-s", "1", named=[path])


@pytest.mark.parametrize("last", [b"\x81\x00", b"\x80\x00", b"\x81\x80\x80\x80\x10",
                                  b"\x81\x80\x80\x80\x80\x00", b"\x81\x80", b"\xff" * 9 + b"\x01"])
def test_numbers_longer_than_they_need_be(sanitized, tmp_path, last):
    lists = changed(2, 4, [300, 70000, 1])
    (tmp_path / "odd.bin").write_bytes(with_crc(two_letters(lists)[:-5] + last))
    sanitized.refuses(1, tmp_path / "odd.bin", "-s", "1", named=[tmp_path / "odd.bin"])


@pytest.mark.parametrize("size", [0, 2, 2**16, 2**31, 2**32 - 1])
@pytest.mark.parametrize("what", range(7))
def test_numbers_of_contexts_and_ngrams_that_are_wrong(sanitized, tmp_path, what, size):
    data = bytearray(two_letters())
    assert struct.unpack_from("<I", data, 40) == (3,)
    at = [40, *(44 + 32 * order + 4 * i for order in range(3) for i in (0, 1))][what]
    struct.pack_into("<I", data, at, size)
    (tmp_path / "odd.bin").write_bytes(with_crc(data[:-4]))
    sanitized.refuses(1, tmp_path / "odd.bin", "-s", "1", named=[tmp_path / "odd.bin"])


def test_no_model_at_all(sanitized, tmp_path):
    for data in (version_2(None, 0.0, itos=["\n", "a"]), version_2(None, 1.0, itos=["\n", "a"]),
                 version_2(None, 0.0, GOOD, itos=["\n"])):
        (tmp_path / "odd.bin").write_bytes(data)
        sanitized.refuses(1, tmp_path / "odd.bin", "-s", "1", named=[tmp_path / "odd.bin"])


def test_bytes_that_are_no_model(sanitized, tmp_path):
    path = tmp_path / "other.bin"
    for content in (b"", b"\0", b"NPLM", b"NPLM" + bytes(20), b"NPLM" + b"\xff" * 1000,
                    bytes(100_000), (ROOT / "names.txt").read_bytes()):
        path.write_bytes(content)
        sanitized.refuses(1, path, "-s", "1", named=[path])


def test_model_that_is_not_there(program, tmp_path):
    program.refuses(1, tmp_path / "none.bin", named=[tmp_path / "none.bin"])
    program.refuses(1, tmp_path, named=[tmp_path])


def test_default_model_that_is_not_there(program, tmp_path):
    program.refuses(1, cwd=tmp_path, named=["out/mlp.bin"])


def test_damage_under_a_right_checksum_is_refused_or_harmless(sanitized, random_model, tmp_path):
    reference = random_model(UNICODE)
    good, rng = reference.bin.read_bytes(), random.Random(0)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 5])):
            data[rng.randrange(4, rng.choice([70, 70, len(good) - 4]))] = rng.randrange(256)
        (tmp_path / "odd.bin").write_bytes(data[:-4] + struct.pack("<I", zlib.crc32(data[:-4])))
        done = sanitized.run(tmp_path / "odd.bin", "-n", "3", "-s", "1")
        if (done.returncode, done.stderr) != (0, ""):
            assert done.returncode == 1
            one_sentence("sample", done.stderr)


@pytest.mark.parametrize("name", ["C", "W1", "b1", "W2", "b2"])
def test_weights_as_large_as_they_may_be(sanitized, random_model, tmp_path, name):
    def change(model):
        p = getattr(model, name)
        p.copy_(p.sign() * 2.0**49)
    reference = random_model("abc", change=change)
    (tmp_path / "words.txt").write_text("abc\nccc\n")
    for args in (["-n", "50"], ["-t", "1e-30"], ["-t", "1000"], ["-p", "0.5"],
                 ["-e", tmp_path / "words.txt"]):
        done = sanitized.run(reference.bin, *args)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
        assert done.returncode == 0
        assert "nan" not in done.stdout and "inf" not in done.stdout


# -----------------------------------------------------------------------------
# The sanitizers, leaks included, and other compilers

@pytest.mark.parametrize("args", [
    ["-n", "100"], ["-n", "0"], ["-t", "0"], ["-t", "1e-40"], ["-t", "1000"], ["-k", "3"],
    ["-p", "0.5"], ["-k", "4", "-p", "0.3", "-t", "0.6", "-i", "ma"], ["-i", "abcdefghijklmnop"],
    ["-k", "2147483647"], ["-e", ROOT / "names.txt"],
])
def test_sanitized_build_finds_nothing_and_prints_the_same(sanitized, program, trained, args):
    args = args if "-e" in args else ["-s", "1", *args]
    done, plain = (each.run(trained.bin, *args) for each in (sanitized, program))
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)


@pytest.mark.parametrize("args", [["-n", "100"], ["-t", "0.5", "-k", "9"], ["-e", "words.txt"]])
def test_sanitized_build_of_a_mixture(sanitized, program, mixture, names, tmp_path, args):
    (tmp_path / "words.txt").write_text("\n".join(names[:300]))
    args = mixture.bin, *(["-s", "1"] if "-e" not in args else []), *args
    done, plain = (each.run(*args, cwd=tmp_path) for each in (sanitized, program))
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)


EXAMPLE = """
#define main sample_main
#include "sample.c"
#undef main

int main(int argc, char **argv) { // MODEL PREFIX: a program that has names in it
    static Sampler s = {.temperature = 1, .top_p = 1};
    char name[4 * (MAX_LEN + 1)];
    read_model(&s.model, argv[argc - 2]); // an error ends the program, as it ends ./sample
    set_up(&s);
    start_with(&s, argv[argc - 1]);
    s.seed = splitmix64(7);
    for (uint64_t i = 0; i < 50; i++) {
        sample_batch(&s, i, 1);
        printf("%.*s\\n", (int)write_name(&s, 0, name), name);
    }
    return 0;
}
"""


def test_names_in_another_program(program, sanitized, trained, mixture, tmp_path):
    (tmp_path / "game.c").write_text(EXAMPLE)
    cc("-O2", f"-I{ROOT}", tmp_path / "game.c", "-o", tmp_path / "game", check=True)
    for model in (trained, mixture):
        assert (Program(tmp_path / "game").lines(model.bin, "jo")
                == program.lines(model.bin, "-n", "50", "-s", "7", "-i", "jo"))


def test_clang_compiles_it_without_a_warning_and_prints_the_same(program, trained, tmp_path):
    done = build(["-O3"], tmp_path / "sample", "clang")
    assert done.returncode == 0, done.stderr
    args = trained.bin, "-n", "1000", "-s", "1"
    assert Program(tmp_path / "sample").lines(*args) == program.lines(*args)
