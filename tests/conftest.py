"""What the tests share: how scripts and programs are run, models that are the same everywhere, and
the slow tellings, in float64, that the fast ones are compared with."""

import collections
import contextlib
import os
import random
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `pytest` alone, or from another folder, does not look there

import export
import kneser_ney
import mlp

os.environ.update(COLUMNS="80", NO_COLOR="1", OMP_NUM_THREADS="1")
os.environ.update(ASAN_OPTIONS="detect_leaks=0")  # sample.c frees nothing that it needs to the end
os.environ.pop("PYTHONUNBUFFERED", None)  # a user's shell has none, and it hides errors
torch.set_num_threads(1)  # the models are small: a second thread costs more than it brings

SCRIPTS = "lecture.py bigram.py kneser_ney.py mlp.py mix.py export.py sample.py plot.py".split()


def one_sentence(program, err, *named):
    assert "Traceback" not in err
    assert err.startswith(f"{program}: ") and err.endswith("\n") and err.count("\n") == 1, err
    for name in named:
        assert str(name) in err, err


@pytest.fixture
def run(monkeypatch, capfd):
    """run(script, *argv): what the script does when a user starts it, but in this process, where
    torch is imported already: its status, out, err. Signals that it sets are set back."""
    def run(script, *argv):
        handlers = {number: signal.getsignal(number) for name in ("SIGINT", "SIGPIPE")
                    if (number := getattr(signal, name, None))}
        path = script if os.path.isabs(script) else str(ROOT / script)
        monkeypatch.setattr(sys, "argv", [path, *map(str, argv)])
        capfd.readouterr()
        code = None
        try:
            variables = runpy.run_path(path, run_name="__main__")
        except SystemExit as stop:
            code, variables = stop.code, {}
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capfd.readouterr()
        if isinstance(code, str):  # what sys.exit(str) does once nobody catches it
            code, err = 1, f"{err}{code}\n"
        return SimpleNamespace(status=code or 0, out=out, err=err, variables=variables)
    return run


@contextlib.contextmanager
def small_disk(size):
    """Inside, no file grows beyond that, an error for root as well. It must end within the test:
    pytest writes its dots to a file too."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


needs_full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")


def predictions(words, block_size):
    """(context, next token) for each token of words (lists of tokens) and each end, one at a time,
    as one would write them down; the context is a tuple."""
    for word in words:
        padded = [0] * block_size + list(word) + [0]
        for i in range(block_size, len(padded)):
            yield tuple(padded[i - block_size:i]), padded[i]


def random_words(n, n_letters=4, seed=0):
    """Words (lists of tokens) in which a token depends on the one before: context counts."""
    rng, words = random.Random(seed), []
    for _ in range(n):
        words.append([rng.randint(1, n_letters)])
        while rng.random() < 0.75:
            words[-1].append(rng.choice([*range(1, words[-1][-1] + 1), *[n_letters] * 4]))
    return words


class SlowKneserNey:
    """The formula of Chen and Goodman (1999) over dictionaries, one n-gram at a time."""

    def __init__(self, words, vocab_size, block_size, scale=1.0):
        self.vocab_size, self.scale, self.orders = vocab_size, scale, []
        grams = [(*context, token) for context, token in predictions(words, block_size)]
        for k in range(block_size + 1):
            if k == block_size:
                counts = collections.Counter(grams)
            else:  # of each gram: how many different tokens stand at its left
                left = collections.defaultdict(set)
                for gram in grams:
                    left[gram[-1 - k:]].add(gram[-2 - k])
                counts = {gram: len(tokens) for gram, tokens in left.items()}
            after = collections.defaultdict(dict)
            for gram, c in counts.items():
                after[gram[:-1]][gram[-1]] = c
            self.orders.append((after, self.discounts(list(counts.values()))))

    def discounts(self, counts):
        n1, n2, n3, n4 = (max(1, counts.count(i)) for i in (1, 2, 3, 4))
        Y = n1 / (n1 + 2 * n2)
        D = [1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
        return [min(self.scale * max(d, 0.1), i + 1) for i, d in enumerate(D)]

    def probs(self, context):
        """What follows a context (tuple of at least block_size tokens): (vocab_size,), float64."""
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for k, (after, D) in enumerate(self.orders):
            counts = after.get(tuple(context[len(context) - k:]))
            if counts is None:
                break
            total = sum(counts.values())
            p *= sum(D[min(c, 3) - 1] for c in counts.values()) / total
            for token, c in counts.items():
                p[token] += (c - D[min(c, 3) - 1]) / total
        return p


def slow_logits(state, context):
    """The paper's network in float64: state (dict of arrays), context -> (vocab_size,)."""
    C, W1, b1, W2, b2 = (np.asarray(state[name], float) for name in ("C", "W1", "b1", "W2", "b2"))
    h = np.tanh(np.concatenate([C[token] for token in context]) @ W1 + b1)
    return h @ W2 + b2


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


class Model:
    """Random weights and the n-grams of random words: the checkpoint and the file of these, and
    their probabilities in float64. n_orders 0: no n-grams; weight 0: no network."""

    def __init__(self, folder, tokens, block_size=3, n_embd=4, n_hidden=16, n_orders=3, weight=0.6,
                 words=None, change=lambda state: None):
        rng = np.random.default_rng(0)  # not torch's, whose numbers depend on the processor
        self.itos, self.weight = ["\n", *sorted(tokens, key=str.encode)], weight
        self.block_size, V = block_size, len(self.itos)
        shapes = {"C": (V, n_embd), "W1": (block_size * n_embd, n_hidden), "b1": (n_hidden,),
                  "W2": (n_hidden, V), "b2": (V,)}
        scale = {"C": 1, "W1": (block_size * n_embd)**-0.5, "b1": 0.5, "W2": 2 * n_hidden**-0.5,
                 "b2": 0.5}
        self.state = {name: (rng.standard_normal(shape) * scale[name]).astype(np.float32)
                      for name, shape in shapes.items()}
        self.state["b2"][0] += 1.5  # so that names are short
        change(self.state)
        self.words = words or [rng.integers(1, V, rng.integers(1, 9)).tolist() for _ in range(80)]
        self.context_size = max(block_size * (weight > 0), n_orders - 1, 0)
        tensors = {name: torch.from_numpy(array) for name, array in self.state.items()}
        config = {"block_size": block_size, "n_embd": n_embd, "n_hidden": n_hidden,
                  "input_file": "names.txt", "train_frac": 0.8, "keep_duplicates": False}
        self.run = {"itos": self.itos, "config": config, "checksum": 0, "step": 0, "losses": [],
                    "dev_losses": {}, "best": {"model": tensors, "step": 0, "dev_loss": 3.0}}
        if n_orders > 0:
            highest = max(1, n_orders - 1)
            self.slow = SlowKneserNey(self.words, V, highest)
            rows = torch.tensor([[*context, token]
                                 for context, token in predictions(self.words, highest)])
            orders = kneser_ney.KneserNey(rows, V, highest).orders
            del self.slow.orders[n_orders:], orders[n_orders:]  # order 0 alone is a model, too
            self.run.update(orders=orders, weight=weight)
        self.data = export.serialize(self.run)
        self.path = folder / "mlp.bin"
        self.path.write_bytes(self.data)

    def probs(self, context):
        """What follows a context (context_size tokens): (vocab_size,), float64."""
        p = 0
        if "orders" in self.run:
            p = (1 - self.weight) * self.slow.probs(context)
        if self.weight > 0:
            network = softmax(slow_logits(self.state, context[len(context) - self.block_size:]))
            p = p + (self.weight if "orders" in self.run else 1) * network
        return p

    def text(self, tokens):
        return "".join(self.itos[token] for token in tokens)

    def lines(self, n):
        """Up to n lines of text that the model knows, as it reads them from a file."""
        lines = [self.text(word) for word in self.words[:n]]
        return [line for line in lines if line == line.strip()]


LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNICODE = [" ", ".", "7", "a", "é", "ß", "中", "文", "🌍", "\U0010ffff"]
STRINGS = ["a", "ab", "abc", "b", "c", "d", "house", "the ", "red ", "é", "éa", "🌍", "🌍🌍"]
MODELS = {
    "mixture": {"tokens": LETTERS, "block_size": 4, "n_embd": 8, "n_hidden": 33, "n_orders": 5},
    "network": {"tokens": UNICODE, "n_orders": 0, "weight": 1.0},
    "n-grams": {"tokens": UNICODE, "n_orders": 4, "weight": 0.0},
    "strings": {"tokens": STRINGS, "n_hidden": 10},
    "smallest": {"tokens": "a", "block_size": 1, "n_embd": 1, "n_hidden": 1, "n_orders": 0,
                 "weight": 1.0},
    "unigram": {"tokens": "ab", "n_orders": 1, "weight": 0.0},
    "block 1": {"tokens": LETTERS[:15], "block_size": 1, "n_orders": 6, "n_hidden": 8},
    "block 9": {"tokens": LETTERS[:16], "block_size": 9, "n_orders": 2, "n_hidden": 40},
    "many": {"tokens": [chr(0x4E00 + i) for i in range(299)], "n_hidden": 65, "n_orders": 3},
}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The models of MODELS, by name."""
    return {name: Model(tmp_path_factory.mktemp("model"), **MODELS[name]) for name in MODELS}


@pytest.fixture(scope="session")
def names():
    return mlp.read_words(ROOT / "names.txt")


WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZE = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]


def cc(*args):
    """Runs the C compiler, as the Makefile does; without one, the test is skipped."""
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", *WARNINGS, *map(str, args)]
    if not shutil.which(command[0]):
        pytest.skip(f"there is no C compiler {command[0]} here")
    return subprocess.run(command, capture_output=True, text=True)


class Program:
    def __init__(self, path):
        self.path = path

    def run(self, *args, **options):
        options = {"stdout": subprocess.PIPE, "timeout": 60, **options}
        done = subprocess.run([self.path, *map(str, args)], stderr=subprocess.PIPE, **options)
        out, err = (done.stdout or b"").decode(), done.stderr.decode(errors="replace")
        assert not any(word in err for word in ("Sanitizer", "runtime error", "Assertion")), err
        return SimpleNamespace(status=done.returncode, out=out, err=err)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """sample.c as it ships: with the flags of the Makefile."""
    path, native = tmp_path_factory.mktemp("build") / "sample", "-march=native"
    known = not cc(native, "-E", "-xc", os.devnull).returncode
    done = cc("-O3", *[native] * known, ROOT / "sample.c", "-o", path)
    assert done.returncode == 0, done.stderr
    return Program(path)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """sample.c with AddressSanitizer and UBSan: Program.run sees what they find."""
    path = tmp_path_factory.mktemp("build") / "sanitized"
    path.with_suffix(".c").write_text("int main(void) { return 0; }")
    if cc(*SANITIZE, path.with_suffix(".c"), "-o", path).returncode:
        pytest.skip("this compiler cannot link the sanitizers")
    if subprocess.run([path], capture_output=True).returncode:  # under ulimit -v, for one
        pytest.skip("AddressSanitizer cannot run here")
    done = cc(*SANITIZE, ROOT / "sample.c", "-o", path)
    assert done.returncode == 0, done.stderr
    return Program(path)


@pytest.fixture(scope="session")
def node():
    """node(script): what the script prints, in node; without one, the test is skipped."""
    if not shutil.which("node"):
        pytest.skip("there is no node here")

    def run(script):
        done = subprocess.run(["node", "-"], input=script, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run
