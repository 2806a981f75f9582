"""
Runs the commands in the README's table of models again: `make story`, a quarter of an hour.

Below each row of the README stand the lines that its command prints now, as it is and, where there
is anything random to train, with two other seeds.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = re.compile(r"untrained: .*|.* parameters \| .* s|(\w+: )?train \S+ \| dev \S+ \| test .*")


def rows():
    """The rows of the table, each as (the whole row, its command)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^(\|(?:[^|\n]+\|){5} `python (.*)` \|)$", text, re.MULTILINE)


def main():
    for row, command in rows():
        print(row)
        script, *options = shlex.split(command)
        for seed in [None] if script == "bigram.py" else [None, 1, 2]:
            argv = [sys.executable, script, *options, *([f"--seed={seed}"] if seed else [])]
            if script == "mlp.py":
                argv.append("--out_dir=out/story")  # the model of `make` stays
            out = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            for line in out.stdout.splitlines():
                if RESULT.fullmatch(line):
                    print(f"    seed {seed or 'as it is'}: {line}", flush=True)


if __name__ == "__main__":
    main()
