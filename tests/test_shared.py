"""What stands in several scripts is the same there, and each lesson needs no other file of ours."""

import ast
import inspect

import pytest
from conftest import ROOT

import bigram
import mlp

OWN = "main", "evaluate", "sample"  # each of these does its script's own work
SHARED = ("read_words", "split_words", "vocabulary", "encode", "show_data", "show_samples",
          "write_file", "parse_args", "start")


def functions(module):
    return {name for name, function in vars(module).items()
            if inspect.isfunction(function) and function.__module__ == module.__name__}


def test_what_has_one_name_in_both_has_one_text():
    both = functions(bigram) & functions(mlp)
    assert both - set(OWN) == set(SHARED)
    for name in SHARED:
        assert inspect.getsource(getattr(bigram, name)) == inspect.getsource(getattr(mlp, name))


def test_settings_and_constants_of_both_agree():
    """Those on the data, in particular, without which their losses could not be compared."""
    a, b = ({row[0]: row[1:] for row in module.SETTINGS} for module in (bigram, mlp))
    for name in ("input_file", "train_frac", "keep_duplicates"):
        assert a[name] == b[name]
    assert bigram.MAX_LEN == mlp.MAX_LEN
    for rows in (bigram.SETTINGS, mlp.SETTINGS):
        assert len({name for name, *_ in rows}) == len(rows)


def imports(path):
    """The modules that a file imports, anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("script", ["bigram.py", "mlp.py", "lecture.py"])
def test_a_lesson_stands_alone(script):
    ours = {path.stem for path in ROOT.glob("*.py")}
    assert {"mlp", "bigram", "export"} <= ours
    assert not imports(ROOT / script) & (ours | {"matplotlib"})
