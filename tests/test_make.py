"""Makefile and README: the commands run, the options and files that they name exist."""

import re
import shlex
import shutil
import subprocess
import textwrap

import pytest

import export
import mix
import mlp
from conftest import ROOT, SCRIPTS

PAGES = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

# appended to a command, so that it takes a moment: of an option given twice, the last counts
SHORTER = {"bigram.py": ["--max_iters=20", "--num_samples=5"], "lecture.py": ["--steps=20"],
           "mlp.py": ["--max_iters=20", "--n_hidden=16", "--batch_size=32", "--num_samples=5"]}
NOT_RUN = re.compile(  # what needs the network, or minutes
    r"(pip|git|cd|uv|python3|python (experiments/|makemore)|\.venv/\S+) ?|"
    r"make( NAMES=\S+| test| bench| story| crosscheck| fuzz| figures)?( |$)")


def commands():
    """Every command in a code block, or in the text as `python ...`, `make ...`, `./sample ...`."""
    found = []
    for page in PAGES:
        for language, block in FENCE.findall(page):
            if not language:
                found += [line.split("  #")[0] for line in block.replace("\\\n", " ").splitlines()]
        found += [code for code in re.findall(r"`([^`]+)`", FENCE.sub("", page))
                  if re.match(r"(python|make|\./sample) ", code)]
    return list(dict.fromkeys(" ".join(command.split()) for command in found if command.strip()))


@pytest.fixture(scope="module")
def template(tmp_path_factory, program):
    """A folder like this repository after a short `make`, and one with another list of names."""
    path = tmp_path_factory.mktemp("readme")
    names = (ROOT / "names.txt").read_text(encoding="utf-8").splitlines()
    few = [name for name in names if set(name) <= set("adeilmnry")]  # so pictures have few cells
    for name, lines in {"names.txt": names[:300], "lecture.txt": names[:200],
                        "new.txt": ["Saint anna"], "towns.txt": ["Saint " + name for name in few],
                        "out/five.txt": names[:5]}.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("\n".join(lines[:300]))
    for name in ["requirements.txt", "Makefile", "sample.c", "sample.html", *SCRIPTS]:
        shutil.copy(ROOT / name, path / name)
    shutil.copy(program.path, path / "sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for options in ([], ["--out_dir=towns", "--input_file=towns.txt"], ["--out_dir=out/plane"]):
            mlp.main([*options, *SHORTER["mlp.py"], "--num_samples=0"])
            mix.main(options[:1])
            export.main(options[:1])
        shutil.copy("out/mlp.bin", "names.bin")
    return path


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    """A copy of it, so that no command needs another, or meets what another left."""
    shutil.copytree(template, tmp_path / "readme")
    monkeypatch.chdir(tmp_path / "readme")
    return tmp_path / "readme"


@pytest.mark.parametrize("command", [c for c in commands() if not NOT_RUN.match(c)])
def test_command(folder, run, command):
    if not command.startswith("python ") or "|" in command or ">" in command:
        if command.startswith("make sample"):
            (folder / "sample").unlink()  # or there is nothing to do
        done = subprocess.run(["bash", "-euc", "set -o pipefail\n" + command], capture_output=True)
        assert done.returncode == 0 and (done.stdout or ">" in command), done.stderr.decode()
        return
    script, *options = shlex.split(command)[1:]
    if script == "plot.py":
        pytest.importorskip("matplotlib")
        options += (["--n_hidden=4", "--batch_size=4"] if "find_lr" in options else
                    ["--input_file=towns.txt"] if {"pairs", "tune"} & {*options} else ["loss"])
    if "--resume" in options:  # with the settings of the run, which are the shorter ones
        options.append("--max_iters=20")
    elif "--help" not in options:
        options += SHORTER.get(script, [])
    done = run(str(folder / script), *options)
    assert done.status == 0 and done.out, done.err


def test_make_has_its_targets_and_keeps_lists_apart(folder):
    assert sum(not NOT_RUN.match(command) for command in commands()) > 15
    targets = {command for command in commands() if re.fullmatch(r"make( \w+)?", command)}
    for command in targets | {"make NAMES=towns.txt"}:
        done = subprocess.run([*command.split(), "--dry-run"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert re.search(r"pytest .*-rs", (folder / "Makefile").read_text())  # shows what was skipped
    done = subprocess.run(["make", "NAMES=missing.txt"], capture_output=True, text=True)
    assert done.returncode and "make: cannot read missing.txt" in done.stderr
    before = {path.name for path in folder.iterdir()}
    subprocess.run(["make", "clean"], capture_output=True, check=True)
    assert {path.name for path in folder.iterdir()} == before - {"out", "sample", "__pycache__"}


def test_python_in_the_pages_runs_or_stands_in_the_files(folder, capsys):
    files = "".join(textwrap.dedent(part) for name in SCRIPTS for part in re.split(
        r"(?m)^(?=    def |def |class )", (ROOT / name).read_text(encoding="utf-8")))
    blocks = [textwrap.dedent(block) for page in PAGES for language, block in FENCE.findall(page)
              if language == "python"]
    for block in blocks:
        assert "def " not in block or block in files, block
        if "sample.load(" in block:
            exec(block, {})
    assert capsys.readouterr().out


def test_links_lead_somewhere():
    for page in PAGES:
        anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
                   for title in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
        for link, file in re.findall(
                r"(?:\]\(|src=\")([^)\"]+)|`((?:\w+/)?\w+\.(?:py|c|html|sh|mjs))`", page):
            target = link or file
            if target.startswith("#"):
                assert target[1:] in anchors, target
            elif not target.startswith("http"):
                assert (ROOT / target.split("#")[0]).exists(), target
