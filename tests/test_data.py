"""Reading, splitting and encoding, and that both lessons do it in the same words."""

import ast
import inspect
import random
import unicodedata

import pytest

import bigram
import mlp
from conftest import ROOT, predictions


@pytest.fixture
def write(tmp_path):
    """write(content) is the path of a file with that content, bytes or str."""
    path = tmp_path / "words.txt"
    return lambda content: path.write_bytes(
        content if isinstance(content, bytes) else content.encode()) * 0 or str(path)


def test_lines_by_hand(write):
    path = write(b"\xef\xbb\xbfa.b\r\n\r\n  \t\r\n \xc3\xa9 \r\na.b\n\xf0\x9f\x8c\x8d 7\n")
    assert mlp.read_words(path) == ["a.b", "é", "🌍 7"]
    assert mlp.read_words(path, keep_duplicates=True) == ["a.b", "é", "a.b", "🌍 7"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
                                      "utf-32", "utf-32-be"])
def test_text_as_people_have_it(write, capsys, encoding):
    """Lines end as on any system; a mark tells UTF-16 (as PowerShell writes it) and UTF-32."""
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    for end in ("\n", "\r\n", "\r"):
        path = write((mark + end.join(["é", "b c", "", "🌍"]) + end).encode(encoding))
        assert mlp.read_words(path) == ["é", "b c", "🌍"]
    assert capsys.readouterr() == ("", "")


def test_decomposed_characters_are_composed(write, capsys):
    """As macOS writes names of files: "Á" is "A" and a combining accent."""
    words = ["Álvarez", "Núñez", "Åkesson", "Smith", "가나"]
    path = write("\n".join(unicodedata.normalize("NFD", word) for word in words))
    assert mlp.read_words(path) == words
    said = capsys.readouterr().out
    assert path in said and "4" in said and said.count("\n") == 1
    assert "\u0301" not in mlp.vocabulary(words)
    assert mlp.read_words(write("A\u0301\nÁ\n")) == ["Á"]  # the same line, told twice


def test_control_characters_are_dropped_and_nothing_else_ends_a_line(write):
    """ESC and U+009B command a terminal: they must not get into a vocabulary."""
    for control in ("\0", "\x07", "\x1b[2J", "\x7f", "\x9b"):
        words = mlp.read_words(write(f"an{control}na\n{control}\nbo\tb\n"))
        assert words == ["an" + control[1:] + "na", *[control[1:]] * (len(control) > 1), "bo\tb"]
    for space in "\u2028\u3000\u00a0":
        assert mlp.read_words(write(f"a{space}b\nc")) == [f"a{space}b", "c"]


def test_a_file_without_text_is_refused(write):
    for content in (b"", b"\n\r\n \t\n\n", b"\xef\xbb\xbf\n", b"\xff\xfe", b"\0\n\7"):
        with pytest.raises(ValueError, match="no line with text"):
            mlp.read_words(write(content))


@pytest.mark.parametrize("n", [10, 11, 99, 1234, 29494])
def test_split_is_that_of_the_lecture_and_halves_what_is_not_for_training(n):
    words = [str(i) for i in range(n)]
    shuffled = words[:]
    random.Random(42).shuffle(shuffled)
    n1, n2 = int(0.8 * n), int(0.9 * n)
    assert list(mlp.split_words(words, 0.8)) == [shuffled[:n1], shuffled[n1:n2], shuffled[n2:]]
    assert words == [str(i) for i in range(n)]
    for train_frac in (0.5, 0.7, 1):
        train, dev, test = mlp.split_words(words, train_frac)
        assert len(train) == int(train_frac * n) and abs(len(dev) - len(test)) <= 1
        assert train + dev + test == shuffled


def test_vocabulary_and_rows_by_hand():
    assert mlp.vocabulary(["éa", "z", "🌍a"]) == ["\n", "a", "z", "é", "🌍"]
    itos = ["\n", " ", "7", "a", "b"]
    assert mlp.encode(["ab", "7 b"], itos, 2).tolist() == [
        [0, 0, 3], [0, 3, 4], [3, 4, 0],                 # ..a .ab ab.
        [0, 0, 2], [0, 2, 1], [2, 1, 4], [1, 4, 0]]      # ..7 .7_ 7_b _b.


@pytest.mark.parametrize("block_size", [1, 3, 40])
@pytest.mark.parametrize("vocab_size", [28, 256, 257, 700])
def test_rows_are_those_of_a_plain_loop_in_little_memory(block_size, vocab_size):
    itos = ["\n"] + [chr(0x4E00 + i) for i in range(vocab_size - 1)]
    rng = random.Random(block_size)
    words = [[rng.randint(1, vocab_size - 1) for _ in range(rng.randint(1, 12))] for _ in range(50)]
    words += [[1], [vocab_size - 1], list(range(1, vocab_size))]
    rows = mlp.encode(["".join(itos[token] for token in word) for word in words], itos, block_size)
    expected = [[*context, token] for context, token in predictions(words, block_size)]
    assert rows.tolist() == expected
    assert mlp.encode([], itos, block_size).shape == (0, block_size + 1)
    assert rows.untyped_storage().nbytes() == rows.numel() * (1 if vocab_size <= 256 else 4)


OWN = {"main", "evaluate", "sample"}  # of these, each does its script's own work


def test_what_has_one_name_in_both_lessons_has_one_text():
    texts = [{name: inspect.getsource(f) for name, f in vars(module).items()
              if inspect.isfunction(f) and f.__module__ == module.__name__}
             for module in (bigram, mlp)]
    both = texts[0].keys() & texts[1].keys() - OWN
    assert {"read_words", "split_words", "vocabulary", "encode"} <= both
    for name in both:
        assert texts[0][name] == texts[1][name], name
    data = [{row[0]: row[1:3] for row in module.SETTINGS if row[0] in (
        "input_file", "train_frac", "keep_duplicates")} for module in (bigram, mlp)]
    assert data[0] == data[1] and bigram.MAX_LEN == mlp.MAX_LEN


def imports(path):
    """The modules that a file imports, anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("script, needs", [
    ("lecture.py", set()), ("bigram.py", set()), ("mlp.py", set()), ("sample.py", set()),
    ("kneser_ney.py", {"bigram"}), ("mix.py", {"mlp", "kneser_ney"}), ("export.py", {"mlp"})])
def test_a_lesson_stands_alone_and_arrows_point_one_way(script, needs):
    found, ours = imports(ROOT / script), {path.stem for path in ROOT.glob("*.py")}
    assert {"mlp", "bigram", "export"} <= ours and found & ours == needs
    assert "matplotlib" not in found and (script != "sample.py" or "torch" not in found)
