"""
Runs the commands in the README's table of models again: `make story`, half an hour.

Below each row of the README stand the lines that its command prints now, with the seed as it is
and, where something random is trained, with two other seeds. The share of 10,000 samples that are
training lines is printed for the first.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = re.compile(r"untrained: .*|.* parameters \| .* s|.*train \S+ \| dev \S+ \| test .*|"
                    r"(dev|test): network .*|.* of them training lines:")


def rows():
    """The rows of the table, each as (the whole row, its command)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^(\|(?:[^|\n]+\|){6} `python (.*)` \|)$", text, re.MULTILINE)


def main():
    for row, command in rows():
        print(row)
        script, *options = shlex.split(command)
        for seed in [None] if script in ("bigram.py", "mix.py") else [1, 2, None]:
            argv = [sys.executable, script, *options, *([f"--seed={seed}"] if seed else [])]
            if script in ("mlp.py", "bigram.py") and not seed:
                argv.append("--num_samples=10000")
            if script in ("mlp.py", "mix.py") and "--out_dir" not in command:
                argv.append("--out_dir=out/story")  # the model of `make` stays
            out = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            for line in out.stdout.splitlines():
                if RESULT.fullmatch(line):
                    print(f"    seed {seed or 'as it is'}: {line}", flush=True)


if __name__ == "__main__":
    main()
