"""The README: its commands run, its options exist, its tables say what --help says."""

import re
import shlex
import shutil
import subprocess

import pytest

import bigram
import export
import mlp
from conftest import ROOT
from story import rows

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^ *```\n.*?^ *```$", "", README, flags=re.MULTILINE | re.DOTALL)

# what is appended to a command, so that it takes a moment: the last value of an option counts
SHORTER = {
    "bigram.py": ["--max_iters=20"],
    "mlp.py": ["--max_iters=20", "--n_hidden=16", "--batch_size=32"],
    "export.py": [],
}
NOT_RUN = {
    ". .venv/bin/activate": "this runs in that environment",
    "make": "trains for half a minute; its steps are run one by one here",
    "make test": "is what runs this",
    "make bench": "takes minutes, and a machine with nothing else to do",
    "make story": "takes a quarter of an hour",
    "make crosscheck": "takes minutes, and cross compilers",
    "make fuzz": "takes a minute, and clang",
    "make figures": "takes minutes; the scripts' tests draw the same pictures",
    "make clean": "would remove what the tests use",
    "python tests/lecture.py": "trains for half a minute; a test below takes it for a few steps",
    "python tests/lecture.py --keep_duplicates": "the same",
}


def commands():
    """Every command in a code block, or in the text as `python ...`, `make ...`, `./sample ...`."""
    found = []
    for block in BLOCKS:
        lines = block.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):  # then the others are what it prints
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        found += [line.split("  #")[0] for line in lines]
    found += [code for code in re.findall(r"`([^`]+)`", PROSE)
              if re.match(r"(python|make|\./sample|cc) ", code)]
    # in the order of the README, as one may need another's file
    return list(dict.fromkeys(" ".join(command.split()) for command in found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, program):
    """A folder like this repository, with short files of names, after a short `make`."""
    path = tmp_path_factory.mktemp("readme")
    names = (ROOT / "names.txt").read_text().splitlines()
    (path / "names.txt").write_text("\n".join(names[:300]))
    (path / "towns.txt").write_text("\n".join(["Saint " + name for name in names[:100]]))
    for name in ("sample.c", "Makefile"):
        shutil.copy(ROOT / name, path)
    shutil.copy(program.path, path / "sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        mlp.main([*SHORTER["mlp.py"], "--num_samples=0"])
        export.main([])
    return path


def test_there_are_commands_to_run():
    assert len(commands()) > 30
    assert set(NOT_RUN) <= set(commands()), "NOT_RUN has a command that the README has not"


@pytest.mark.parametrize("command", [c for c in commands() if c not in NOT_RUN])
def test_command(folder, monkeypatch, capfd, command):
    monkeypatch.chdir(folder)
    if not command.startswith("python "):
        if command.startswith("make sample"):
            (folder / "sample").unlink()  # or there is nothing to do
        command = re.sub("^cc ", "${CC:-cc} ", command.replace("-n 1000000 ", "-n 1000 "))
        done = subprocess.run(["bash", "-euc", "set -o pipefail\n" + command], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout or "./sample" not in command
        return
    script, *options = shlex.split(command)[1:]
    main = {"bigram.py": bigram, "mlp.py": mlp, "export.py": export}[script].main
    if "--help" in options:
        with pytest.raises(SystemExit) as stop:
            main(options)
        assert stop.value.code == 0
    elif "--resume" in options:  # whose run had the shorter settings already
        main([*options, "--max_iters=20"])
    else:
        main([*options, *SHORTER[script]])
    said = capfd.readouterr().out
    assert "wrote out/" in said if "--plot" in options else said


@pytest.mark.parametrize("command", [c for c in NOT_RUN if c.startswith("make")])
def test_make_target_exists(command):
    subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_the_lecture_for_a_few_steps():
    from lecture import lecture_loop, load_data
    _, (train, dev, _) = load_data(3, keep_duplicates=False)
    loss_of, curve = lecture_loop(train, dev, steps=100)
    assert curve[0][1] > 20  # the weights are not scaled, and the README says what comes of it
    assert loss_of(dev) == curve[-1][1] < 10


# -----------------------------------------------------------------------------
# Options, tables, numbers, links

def test_every_option_exists():
    known = {name for module in (bigram, mlp) for name, *_ in module.SETTINGS}
    lecture = (ROOT / "tests" / "lecture.py").read_text()
    known |= {"help", *re.findall(r'add_argument\("--(\w+)"', lecture)}
    assert set(re.findall(r"--(\w+)", README)) <= known
    for command in commands():
        for module in (bigram, mlp):
            if command.startswith(f"python {module.__name__}.py"):
                names = {name for name, *_ in module.SETTINGS} | {"help"}
                assert set(re.findall(r"--(\w+)", command)) <= names, command


@pytest.mark.parametrize("module", [bigram, mlp])
def test_table_of_settings_is_that_of_help(module, capsys):
    with pytest.raises(SystemExit):
        module.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    table = README.split(f"`python {module.__name__}.py --help`\n\n")[1].split("\n\n")[0]
    table = re.findall(r"^\| `--(\w+)` \| (.+) \| (.+) \|$", table, re.MULTILINE)
    assert [name for name, *_ in table] == [name for name, *_ in module.SETTINGS]
    for name, meaning, default in table:
        assert re.search(rf"--{name} \S+ {re.escape(f'{meaning} (default: {default})')}", said)


def test_table_of_sample_is_that_of_its_help(program):
    helped = [(option, meaning, default or "") for option, meaning, default in re.findall(
        r"^  (-\w(?: [A-Z_]+)?) +(.+?)(?: \(([^()]+)\))?$", program.run("-h").stdout, re.MULTILINE)]
    assert helped == re.findall(r"^\| `(-\w.*?)` \| (.+?) \| (.*?) ?\|$", README, re.MULTILINE)
    assert len(helped) == 10


def test_counted_rows_of_the_story(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    checked = 0
    for row, command in rows():
        _, _, parameters, dev, test, *_ = (cell.strip() for cell in row.split("|"))
        script, *options = shlex.split(command)
        if script != "bigram.py":
            continue
        bigram.main([*options, "--num_samples=0"])
        said = capsys.readouterr().out
        if parameters == "0":
            assert f"untrained: {dev}," in said and dev == test
        else:
            assert f"{parameters} parameters" in said
            said = re.findall(r"^\w+: train .* \| dev (\S+) \| test (\S+)$", said, re.MULTILINE)
            # which of the two models of a command it is, the last digit alone may tell
            assert any((float(a), float(b)) == pytest.approx((float(dev), float(test)), abs=2e-4)
                       for a, b in said)
        checked += 1
    assert checked == 6


def test_links_lead_somewhere():
    targets = re.findall(r"(?:\]\(|src=\")([^)\"]+)|`((?:tests/)?\w+\.(?:py|c|txt))`", README)
    targets = {link or file for link, file in targets if not link.startswith("https://")}
    assert len(targets) > 10
    for target in targets:
        assert (ROOT / target).exists(), target
