"""
Runs the commands in the table of all models in LECTURES.md again: `make story`, half an hour.

    python experiments/story.py            # what each command prints now, with the seed as it is
    python experiments/story.py --check    # with three seeds; and says which rows are off

A row is off if its dev loss is further than MARGIN outside of what the seeds gave. The share of
10,000 samples that are training lines is printed for the seed as it is.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARGIN = 0.003  # another processor sums in another order
ROW = re.compile(r"^(\|(?:[^|\n]+\|){3} *([0-9.]*) *\|(?:[^|\n]+\|){2} `python (.*)` \|)$", re.MULTILINE)
RESULT = re.compile(r"untrained: (\S+) .*|.*train \S+ \| dev (\S+) \| test .*|"
                    r"dev: network .* mixed (\S+) .*|.* of them training lines:")


def results(command, seed):
    """The lines of RESULT that a command of the table prints, and the dev losses in them."""
    script, *options = shlex.split(command)
    argv = [sys.executable, script, *options, *([f"--seed={seed}"] if seed else [])]
    if script in ("mlp.py", "bigram.py", "kneser_ney.py") and not seed:
        argv.append("--num_samples=10000")
    if script in ("mlp.py", "mix.py") and "--out_dir" not in command:
        argv.append("--out_dir=out/story")  # the model of `make` stays
    out = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = [match for line in out.splitlines() if (match := RESULT.fullmatch(line))]
    for match in found:
        print(f"    seed {seed or 'as it is'}: {match[0]}", flush=True)
    return [float(dev) for match in found for dev in match.groups() if dev]


def main():
    check, off = "--check" in sys.argv[1:], []
    for row, dev, command in ROW.findall((ROOT / "LECTURES.md").read_text(encoding="utf-8")):
        print(row, flush=True)
        trained = command.split()[0] in ("mlp.py", "lecture.py")
        # the seed as it is comes last: mix.py takes that network
        runs = [results(command, seed) for seed in ([1, 2, None] if trained and check else [None])]
        if check and dev:
            # a command that prints several models, as bigram.py does, stands in several rows
            near = [min(devs, key=lambda x: abs(x - float(dev))) for devs in runs]
            if not min(near) - MARGIN <= float(dev) <= max(near) + MARGIN:
                off.append(row)
    if off:
        sys.exit("off:\n" + "\n".join(off))


if __name__ == "__main__":
    main()
