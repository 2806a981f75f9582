"""The README: its commands run, what it quotes stands in the files, its counted losses are right."""

import re
import shlex
import shutil
import subprocess
import textwrap

import pytest

import bigram
import export
import mix
import mlp
import plot
from conftest import ROOT
from story import rows

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PROSE = FENCE.sub("", README)
SCRIPTS = {f"{module.__name__}.py": module for module in (bigram, mlp, mix, export, plot)}

# appended to a command, so that it takes a moment: of an option given twice, the last counts
SHORTER = {"bigram.py": ["--max_iters=20", "--num_samples=5"], "lecture.py": ["--steps=20"],
           "mlp.py": ["--max_iters=20", "--n_hidden=16", "--batch_size=32", "--num_samples=5"]}
NOT_RUN = {
    "pip install torch numpy": "needs the network",
    "make": "trains for half a minute; its steps are run one by one here",
    "make NAMES=towns.txt": "the same",
    "make test": "is what runs this",
    "make bench": "takes minutes, and a machine with nothing else to do",
    "make story": "takes half an hour",
    "make crosscheck": "takes minutes, and cross compilers",
    "make fuzz": "takes a minute, and clang",
    "make figures": "takes minutes; test_plot.py draws the same pictures",
    "python tests/steps.py --seeds=2": "takes twenty minutes",
}


def commands():
    """Every command in a code block, or in the text as `python ...`, `make ...`, `./sample ...`."""
    found = []
    for language, block in FENCE.findall(README):
        if not language:
            found += [line.split("  #")[0] for line in block.replace("\\\n", " ").splitlines()]
    found += [code for code in re.findall(r"`([^`]+)`", PROSE)
              if re.match(r"(python|make|\./sample) ", code)]
    return list(dict.fromkeys(" ".join(command.split()) for command in found))


@pytest.fixture(scope="module")
def template(tmp_path_factory, program):
    """A folder like this repository after a short `make`, and one with another list of names."""
    path = tmp_path_factory.mktemp("readme")
    names = (ROOT / "names.txt").read_text(encoding="utf-8").splitlines()
    (path / "names.txt").write_text("\n".join(names[:300]))
    (path / "towns.txt").write_text("\n".join("Saint " + name for name in names[:100]))
    (path / "new.txt").write_text("Saint emma\n")
    (path / "lecture.txt").write_text("\n".join(names[:200]))
    (path / "russian.txt").write_text("\n".join(names[:100]))
    (path / "tests").mkdir()
    for name in ["tests/neighbours.py", "requirements.txt", "Makefile", "sample.c", "sample.html",
                 *(script.name for script in ROOT.glob("*.py"))]:
        shutil.copy(ROOT / name, path / name)
    shutil.copy(program.path, path / "sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for options in ([], ["--out_dir=towns", "--input_file=towns.txt"],
                        ["--out_dir=out/plane"]):
            mlp.main([*options, *SHORTER["mlp.py"], "--num_samples=0"])
            mix.main(options[:1])
            export.main(options[:1])
        (path / "out" / "five.txt").write_text("\n".join(names[:5]))
    return path


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    """A copy of it, so that no command needs another, or meets what another left."""
    shutil.copytree(template, tmp_path / "readme")
    monkeypatch.chdir(tmp_path / "readme")
    return tmp_path / "readme"


def test_there_are_commands_to_run():
    assert len(commands()) > 40
    assert set(NOT_RUN) <= set(commands()), "NOT_RUN has a command that the README has not"


@pytest.mark.parametrize("command", [c for c in commands() if c not in NOT_RUN])
def test_command(folder, run_path, capfd, command):
    if not command.startswith("python ") or "|" in command or ">" in command:
        if command.startswith("make sample"):
            (folder / "sample").unlink()  # or there is nothing to do
        command = command.replace("-n 1000000 ", "-n 1000 ")
        done = subprocess.run(["bash", "-euc", "set -o pipefail\n" + command], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout or ">" in command
        return
    script, *options = shlex.split(command)[1:]
    if script == "plot.py":
        pytest.importorskip("matplotlib")
        options += [] if set(options) & set(plot.PICTURES) else ["loss"]  # one is enough
    if script not in SCRIPTS:
        run_path(folder / script, *options, *SHORTER.get(script, []))
    elif "--help" in options:
        with pytest.raises(SystemExit) as stop:
            SCRIPTS[script].main(options)
        assert stop.value.code == 0
    elif "--resume" in options:  # with the settings of the run, which are the shorter ones
        SCRIPTS[script].main([*options, "--max_iters=20"])
    else:
        SCRIPTS[script].main([*options, *SHORTER.get(script, [])])
    assert capfd.readouterr().out


def test_make_clean_removes_the_models_in_out_and_nothing_else(folder):
    """What a user trained as well, which is why Makefile and README say so."""
    before = {path.name for path in folder.iterdir()}
    (folder / "out" / "towns").mkdir()
    subprocess.run(["make", "clean"], capture_output=True, check=True)
    assert {path.name for path in folder.iterdir()} == before - {"out", "sample"}
    for text in (README, (ROOT / "Makefile").read_text(encoding="utf-8")):
        assert re.search(r"^(# )?make clean .* out with every model in it", text, re.MULTILINE)


@pytest.mark.parametrize("options, sentence", [
    ([], "name some characters"), (["a1"], "does not know '1'"), (["a", "no_such"], "no_such/mlp.pt")])
def test_neighbours_of_what_is_not_there(folder, run_path, options, sentence):
    with pytest.raises(SystemExit, match=f"^neighbours.py: .*{sentence}"):
        run_path(folder / "tests" / "neighbours.py", *options)


@pytest.mark.parametrize("command", [c for c in NOT_RUN if c.startswith("make")])
def test_make_target_exists(folder, command):
    done = subprocess.run([*command.split(), "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -----------------------------------------------------------------------------
# Quotations, numbers, links

def test_quoted_code_stands_in_the_file():
    quoted = [textwrap.dedent(block) for language, block in FENCE.findall(README)
              if language == "python" and "def " in block]
    files = "".join(textwrap.dedent(part) for part in re.split(
        r"(?m)^(?=    def |def |class )", (ROOT / "mlp.py").read_text(encoding="utf-8")))
    assert len(quoted) >= 2
    for block in quoted:
        assert block in files, block


def test_python_for_other_programs(folder, capsys):
    block, = (block for language, block in FENCE.findall(README)
              if language == "python" and "mlp.load(" in block)
    exec(textwrap.dedent(block), {})
    assert capsys.readouterr().out


def test_every_option_exists():
    known = {name for module in (bigram, mlp) for name, *_ in module.SETTINGS}
    for script in ("lecture.py", "export.py", "tests/steps.py"):
        known |= {"help", *re.findall(r'"--(\w+)"', (ROOT / script).read_text(encoding="utf-8"))}
    assert set(re.findall(r"--(\w+)", README)) <= known
    for command in commands():
        for module in (bigram, mlp):
            if command.startswith(f"python {module.__name__}.py"):
                names = {name for name, *_ in module.SETTINGS} | {"help"}
                assert set(re.findall(r"--(\w+)", command)) <= names, command


def test_counted_rows_of_the_table_of_models(monkeypatch, capsys):
    """Counting has nothing random: on every machine it gives the README's losses, but that the
    order of a sum may change the last digit."""
    monkeypatch.chdir(ROOT)
    checked = 0
    for row, command in rows():
        cells = [cell.strip() for cell in row.split("|")]
        script, *options = shlex.split(command)
        if script != "bigram.py":
            continue
        bigram.main([*options, "--num_samples=0"])
        said = capsys.readouterr().out
        if cells[2] == "0":
            assert f"untrained: {cells[3]} = log(27)" in said and cells[3] == cells[4]
        else:
            assert f"{cells[2]} parameters" in said
            said = re.findall(r"^\w+: train .* \| dev (\S+) \| test (\S+)$", said, re.MULTILINE)
            # the network's row: gradient descent ends near the table, by way of another sum
            assert any((float(a), float(b)) == pytest.approx(
                (float(cells[3]), float(cells[4])), abs=2e-4) for a, b in said), row
        checked += 1
    assert checked >= 6


def test_links_lead_somewhere():
    targets = re.findall(r"(?:\]\(|src=\")([^)\"]+)|`((?:tests/)?\w+\.(?:py|c|txt|html))`", README)
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
               for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    targets = {link or file for link, file in targets if not link.startswith("https://")}
    assert len(targets) > 10
    for target in targets - {"towns.txt", "new.txt", "lecture.txt", "russian.txt"}:  # these stand for the reader's own files
        assert target[1:] in anchors if target.startswith("#") else (ROOT / target).exists(), target
