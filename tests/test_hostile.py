"""The command line of sample.c under torture; the model file is test_sample.py's and fuzz.c's."""

import os

import pytest

import mlp
from conftest import one_sentence

FORBIDDEN = "Sanitizer", "runtime error", "assert"


def behaves(done, *status):
    assert done.returncode in status, done.stderr
    assert not any(word in done.stderr for word in FORBIDDEN)
    if done.returncode:
        one_sentence("sample", done.stderr.splitlines(keepends=True)[-1])
    return done


# -----------------------------------------------------------------------------
# Options

NUMBERS = ["", " ", "-", "+", "0", "-0", "+1", "1", " 1", "1 ", "0x1p3", "1e3", "1,5", "nan",
           "-nan", "nan(1)", "inf", "-inf", "infinity", "1e-320", "1e-46", "1e39", "1e400",
           "-1e-400", "2147483647", "2147483648", "4294967296", "9007199254740992",
           "18446744073709551615", "18446744073709551616", "9" * 4000, "١", "%s%n", b"\xff\xfe"]


@pytest.mark.parametrize("option", ["-s", "-f", "-t", "-k", "-p"])
def test_any_number_is_taken_or_refused(sanitized, trained, option):
    for number in NUMBERS:
        done = behaves(sanitized.run(trained.bin, "-s", "1", "-n", "3", option, number), 0, 2)
        assert len(done.stdout.splitlines()) == (0 if done.returncode else 3)


def test_any_number_of_names_is_taken_or_refused(sanitized, trained):
    for number in NUMBERS:
        if not (isinstance(number, str) and number.isascii() and number.isdigit()
                and 10**6 < int(number) < 2**52):
            behaves(sanitized.run(trained.bin, "-s", "1", "-n", number), 0, 2)
    beyond = (2**64 - 1) // 2048 + 1  # the numbers of its characters would not fit 64 bits
    behaves(sanitized.run(trained.bin, "-n", str(beyond)), 2)


def test_of_an_option_given_twice_the_last_counts(program, trained, tmp_path):
    (tmp_path / "a").write_text("emma\n")
    (tmp_path / "b").write_text("ava\n")
    last = "-n 7 -s 3 -f 5 -t 0.7 -k 9 -p 0.9 -i an".split() + ["-u"]
    first = "-n 9 -s 4 -f 2 -t 2 -k 3 -p 0.1 -i xx".split() + ["-u"]
    assert program.lines(trained.bin, *first, *last) == program.lines(trained.bin, *last)
    last, first = ["-e", tmp_path / "b"], ["-e", tmp_path / "a"]
    assert program.lines(trained.bin, *first, *last) == program.lines(trained.bin, *last)


def test_every_file_of_names_to_leave_out_counts(program, trained, tmp_path):
    every = program.lines(trained.bin, "-s", "1", "-n", "2000")
    for name, part in (("a", every[:100]), ("b", every[100:200]), ("c", every[200:300])):
        (tmp_path / name).write_text("\n".join(part))
    args = [word for name in "abc" for word in ("-x", tmp_path / name)]
    expected = [name for name in every if name and name not in every[:300]]
    assert program.lines(trained.bin, *args, "-s1", "-n500") == expected[:500]


@pytest.mark.parametrize("args", [["-u5"], ["-uu"], ["-ux", "a"], ["--"], ["-é"], [""], ["-q"],
                                  ["-U"], ["-n", "-s", "1"], ["-u", "-n"], ["-x", "a", "-x"]])
def test_options_that_do_not_exist_or_lack_a_value(sanitized, trained, args):
    behaves(sanitized.run(trained.bin, "-s", "1", *args), 2)


def test_no_arguments_at_all_not_even_a_name(sanitized, tmp_path):
    behaves(sanitized.run(cwd=tmp_path), 1)


def test_ten_thousand_arguments(sanitized, trained):
    behaves(sanitized.run(trained.bin, "-s", "1", *["-u"] * 10_000, "-n", "1"), 0)


# -----------------------------------------------------------------------------
# Prefixes

@pytest.mark.parametrize("prefix", [
    b"", b"\xc2", b"\xe4\xb8", b"a\xf0\x9f\x8c", b"\xed\xbf\xbf", b"\xf5", b"\xfe\xff", b"a" * 1024,
    b"a" * 1025, b"a" * 1023 + b"\xc3", b"a" * 1022 + b"\xc3\xa9", b"%s%n%d", b"\t", b"\x7f",
], ids=range(14))
def test_prefix(sanitized, trained, prefix):
    done = behaves(sanitized.run(trained.bin, "-s", "1", "-n", "3", "-i", prefix), 0, 2)
    known = len(prefix) <= 1024 and not prefix.strip(b"abcdefghijklmnopqrstuvwxyz")
    assert done.returncode == (0 if known else 2)
    if len(prefix) == 1024 and known:  # as long as a name can be: it is the name
        assert done.stdout == (prefix.decode() + "\n") * 3


# -----------------------------------------------------------------------------
# Files of lines: -e and -x

LINES = {
    "no last newline": b"emma\nava", "a long line": b"a" * 1_000_000,
    "a long blank line": b" " * 1_000_000 + b"\nemma\n", "NUL bytes": b"em\0ma\n\0\nava\n\0",
    "unknown characters": "zoé\n123\nemma\n".encode(), "a mark": b"\xef\xbb\xbfemma",
    "carriage returns": b"emma\r\nava\r\n", "many short lines": b"ab\n" * 200_000,
}
NO_LINES = {
    "empty": b"", "only newlines": b"\n\n\r\n\n", "a mark alone": b"\xef\xbb\xbf",
    "half a mark": b"\xef\xbb", "not UTF-8": b"\xff\xfe\n\xc3\n\xe4\xb8\n\xf0\x9f\x8c",
    "half a space": b"emma\xe3\x80\nava\xc2", "much that is unknown": b"\xff" * 100_000,
}


@pytest.mark.parametrize("name", LINES)
def test_known_lines_are_scored_whatever_stands_around_them(sanitized, trained, tmp_path, name):
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES[name])
    done = behaves(sanitized.run(trained.bin, "-e", path), 0)
    known = [line for line in mlp.read_words(path, keep_duplicates=True)
             if set(line) <= set(trained.itos)]
    assert [line.split("\t")[1] for line in done.stdout.split("\n")[:-1]] == known != []


@pytest.mark.parametrize("name", NO_LINES)
def test_nothing_to_score(sanitized, trained, tmp_path, name):
    (tmp_path / "lines.txt").write_bytes(NO_LINES[name])
    assert not behaves(sanitized.run(trained.bin, "-e", tmp_path / "lines.txt"), 1).stdout


@pytest.mark.parametrize("name", [*LINES, *NO_LINES])
def test_any_file_of_names_to_leave_out(sanitized, trained, tmp_path, name):
    (tmp_path / "lines.txt").write_bytes({**LINES, **NO_LINES}[name])
    done = sanitized.run(trained.bin, "-s", "1", "-n", "5", "-x", tmp_path / "lines.txt")
    assert behaves(done, 0).stdout.count("\n") == 5 and not done.stderr


def test_lines_left_out_are_counted_not_fatal(program, trained, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("zoé\nemma\nAva\n\xffx\nmia\n".encode("latin-1"))
    done = program.run(trained.bin, "-e", path)
    assert done.returncode == 0 and done.stdout.count("\n") == 2
    assert "3 lines" in done.stderr and "line 1" in done.stderr
    path.write_bytes(b"em\x07ma\nava\n")
    done = program.run(trained.bin, "-e", path)
    assert "'U+0007'" in done.stderr and "1 line " in done.stderr


@pytest.mark.parametrize("option", ["-e", "-x"])
def test_a_line_without_end(program, trained, option):
    if not os.path.exists("/dev/zero"):
        pytest.skip("this system has no /dev/zero")
    seed = ["-s", "1"] if option == "-x" else []
    program.refuses(1, trained.bin, *seed, option, "/dev/zero",
                    named=["/dev/zero", "536870912"])


@pytest.mark.parametrize("option", ["-e", "-x"])
def test_a_file_that_cannot_be_read(sanitized, trained, tmp_path, option):
    for path in (tmp_path / "none", tmp_path, "", "a" * 5000):
        behaves(sanitized.run(trained.bin, option, path), 1)


@pytest.mark.parametrize("model", ["/dev/zero", "/dev/null", "", "a" * 5000])
def test_a_model_that_is_none(sanitized, model):
    behaves(sanitized.run(model, "-s", "1"), 1)


@pytest.mark.parametrize("args", [["-n", "1"], ["-n", "100000"], ["-h"], ["-e", "names"],
                                  ["-n", "0"]])
def test_closed_output(sanitized, trained, tmp_path, args):
    (tmp_path / "names").write_text("emma\n")
    done = sanitized.run(trained.bin, *args, cwd=tmp_path, stdout=None,
                         preexec_fn=lambda: os.close(1))
    behaves(done, *([0, 1] if args == ["-n", "0"] else [1]))


# -----------------------------------------------------------------------------
# -x and -u

def sampled(program, trained, n, *args):
    return program.lines(trained.bin, "-s", "1", "-n", str(n), *args)


def test_excluded_names_are_absent_and_the_others_in_order(program, trained, names, tmp_path):
    path, excluded = tmp_path / "names.txt", set(names)
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n ".join(names).encode())
    new = sampled(program, trained, 20_000, "-x", path)
    assert len(new) == 20_000 and not set(new) & excluded
    every = sampled(program, trained, 60_000)
    expected = [name for name in every if name and name not in excluded]
    assert len(expected) > 20_000 and new == expected[:20_000]


def test_unique_names_are_the_first_of_each(program, trained):
    every = sampled(program, trained, 100_000)
    expected = list(dict.fromkeys(name for name in every if name))
    assert sampled(program, trained, 20_000, "-u") == expected[:20_000]


def test_unique_and_excluded_with_a_prefix(program, trained, names, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names))
    lines = sampled(program, trained, 500, "-u", "-x", path, "-i", "an", "-t", "0.9", "-k", "15")
    assert len(set(lines)) == 500 and not set(lines) & set(names)
    assert all(line.startswith("an") for line in lines)


def test_names_are_compared_without_the_space_around_them(program, random_model, tmp_path):
    reference = random_model(" ab", change=lambda model: model.b2[0].fill_(1))
    args = reference.bin, "-s", "1", "-n", "300"
    (tmp_path / "first.txt").write_text("\n".join(program.lines(*args, "-u")))
    known = {line.strip() for line in program.lines(*args, "-u")}
    new = program.lines(*args, "-x", tmp_path / "first.txt")
    assert len(known) == 300 and "" not in known and len(new) == 300
    assert not known & {line.strip() for line in new}


def test_an_empty_name_is_not_new(program, random_model):
    reference = random_model("ab", change=lambda model: model.b2[0].fill_(3))
    assert "" in program.lines(reference.bin, "-s", "1", "-n", "1000")
    assert "" not in program.lines(reference.bin, "-s", "1", "-n", "20", "-u")


def test_it_gives_up_when_nothing_new_comes(program, trained, tmp_path):
    done = program.run(trained.bin, "-s", "1", "-t", "0", "-u", "-n", "5")
    assert done.returncode == 1 and done.stdout == trained.likeliest("") + "\n"
    one_sentence("sample", done.stderr, "found 1 ", "1000000")
    (tmp_path / "names.txt").write_text(done.stdout)
    program.refuses(1, trained.bin, "-s", "1", "-t", "0", "-x", tmp_path / "names.txt",
                    named=["found 0 ", "1000000"])
