"""What the tests share: trained and random models, PyTorch's answers, two builds of sample.c."""

import collections
import contextlib
import functools
import os
import random
import runpy
import shlex
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `pytest` alone, or from another folder, does not look there

import export
import mlp

os.environ.update(COLUMNS="80", NO_COLOR="1")  # argparse asks for them
os.environ.update(OMP_NUM_THREADS="1")         # for the scripts that the tests start
os.environ.pop("PYTHONUNBUFFERED", None)       # a user's shell has none, and it hides errors
torch.set_num_threads(1)  # the models are small: a second thread costs more than it brings

COMPILE = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]


def one_sentence(program, err, *named):
    assert "Traceback" not in err
    assert err.startswith(f"{program}: ") and err.endswith("\n") and err.count("\n") == 1, err
    for name in named:
        assert str(name) in err


@pytest.fixture
def refused(capsys):
    """refused(module, argv, status, *named): the script ends with one sentence; returns it."""
    def run(module, argv, status, *named):
        with pytest.raises((SystemExit, KeyboardInterrupt)) as stop:
            getattr(module, "start", mlp.start)(module.main, [str(arg) for arg in argv])
        assert stop.type is SystemExit
        code, err = stop.value.code, capsys.readouterr().err
        if isinstance(code, str):  # what sys.exit(str) does once nobody catches it
            code, err = 1, f"{err}{code}\n"
        one_sentence(f"{module.__name__}.py", err, *named)
        assert code == status
        return err
    return run


@pytest.fixture
def run_path(monkeypatch):
    """run_path(path, *options): runs a script as Python would, but in this process, where torch is
    imported already; returns its variables. Signals that it sets are set back."""
    signals = {getattr(signal, name): signal.getsignal(getattr(signal, name))
               for name in ("SIGINT", "SIGPIPE") if hasattr(signal, name)}

    def run(path, *options):
        monkeypatch.setattr(sys, "argv", [str(path), *options])
        monkeypatch.setattr(sys, "path", sys.path[:])
        try:
            return runpy.run_path(str(path), run_name="__main__")
        finally:
            for number, handler in signals.items():
                signal.signal(number, handler)
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


@pytest.fixture
def full_device():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as f:
        yield f


# -----------------------------------------------------------------------------
# Models

def token_pairs(word, itos, block_size):
    """The (context, next token) pairs of a word, one at a time, as one would write them down."""
    context, pairs = [0] * block_size, []
    for token in [itos.index(ch) for ch in word] + [0]:
        pairs.append((context, token))
        context = context[1:] + [token]
    return pairs


class Reference:
    """The model of a folder as PyTorch sees it, in float64: what differs is the rounding of C."""

    def __init__(self, out_dir):
        self.out_dir = Path(out_dir)
        self.bin = self.out_dir / "mlp.bin"
        self.run = torch.load(self.out_dir / "mlp.pt", weights_only=True)
        self.itos, config = self.run["itos"], self.run["config"]
        self.shape = len(self.itos), config["block_size"], config["n_embd"], config["n_hidden"]
        self.block_size = config["block_size"]
        self.model = mlp.MLP(*self.shape).double().eval()
        self.model.load_state_dict(self.run["best"]["model"])
        export.main([f"--out_dir={out_dir}"])

    @torch.no_grad()
    def nll(self, words):
        """Of every word: (mean negative log-likelihood of a token, number of tokens)."""
        pairs = [token_pairs(word, self.itos, self.block_size) for word in words]
        X = torch.tensor([x for word in pairs for x, _ in word])
        Y = torch.tensor([y for word in pairs for _, y in word])
        losses = torch.nn.functional.cross_entropy(self.model(X), Y, reduction="none")
        return [(part.mean().item(), len(part)) for part in losses.split([len(p) for p in pairs])]

    @torch.no_grad()
    def probs(self, text, temperature=1.0):
        """The distribution (vocab_size) of the token after a text, as a NumPy array."""
        context = token_pairs(text, self.itos, self.block_size)[-1][0]
        return torch.softmax(self.model(torch.tensor([context]))[0] / temperature, 0).numpy()

    def likeliest(self, text):
        """The text continued by the likeliest token until the boundary, or to 40 characters."""
        while len(text) < 40 and (token := self.probs(text).argmax()):
            text += self.itos[token]
        return text


@pytest.fixture(scope="session")
def names():
    return mlp.read_words(ROOT / "names.txt")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A small model, trained on names.txt."""
    out_dir = tmp_path_factory.mktemp("trained")
    mlp.main([f"--input_file={ROOT / 'names.txt'}", f"--out_dir={out_dir}", "--block_size=4",
              "--n_embd=8", "--n_hidden=48", "--batch_size=256", "--max_iters=400",
              "--learning_rate=0.02", "--warmup_iters=20", "--eval_interval=200",
              "--dropout=0.2", "--weight_decay=0.2", "--num_samples=0"])
    return Reference(out_dir)


@pytest.fixture(scope="session")
def random_model(trained, tmp_path_factory):
    """random_model(characters, block_size, n_embd, n_hidden): a model with random weights."""
    def make(characters, block_size=3, n_embd=4, n_hidden=16, change=lambda model: None):
        itos = ["\n"] + sorted(characters)
        torch.manual_seed(1)
        model = mlp.MLP(len(itos), block_size, n_embd, n_hidden)
        with torch.no_grad():
            model.W2.copy_(torch.randn(model.W2.shape) / n_hidden**0.5)
            model.b1.copy_(torch.randn(model.b1.shape) / 2)
            model.b2.copy_(torch.randn(model.b2.shape) / 2)
            change(model)
        config = dict(trained.run["config"], block_size=block_size, n_embd=n_embd,
                      n_hidden=n_hidden)
        best = dict(trained.run["best"], model=model.state_dict())
        folder = tmp_path_factory.mktemp("random")
        torch.save(dict(trained.run, best=best, config=config, itos=itos), folder / "mlp.pt")
        return Reference(folder)
    return make


# -----------------------------------------------------------------------------
# N-grams, and files of version 2

class NGrams:
    """Kneser-Ney by dicts: counts[k][context][token], for each context of k tokens."""

    def __init__(self, lines, vocab_size, n_orders, discounts=(0.6, 1.1, 1.4)):
        self.vocab_size, self.discounts, self.counts = vocab_size, discounts, []
        grams = collections.Counter()
        for line in lines:  # lists of tokens, without boundaries
            padded = [0] * (n_orders - 1) + list(line) + [0]
            grams.update(tuple(padded[i:i + n_orders]) for i in range(len(line) + 1))
        for _ in range(n_orders):
            order = {}
            for (*context, token), count in grams.items():
                order.setdefault(tuple(context), {})[token] = count
            self.counts.insert(0, order)
            grams = collections.Counter(gram[1:] for gram in grams)  # different tokens at the left

    def probs(self, context):
        """What follows a context, as a NumPy array (vocab_size), in float64."""
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for k, order in enumerate(self.counts):
            counts = order.get(tuple(context[len(context) - k:]))
            if counts is None:
                break
            taken = {token: self.discounts[min(3, c) - 1] for token, c in counts.items()}
            p *= sum(taken.values()) / sum(counts.values())
            for token, c in counts.items():
                p[token] += (c - taken[token]) / sum(counts.values())
        return p

    @functools.cache  # the same file is made many times
    def lists(self):
        """For each order, the lists of numbers as the file has them."""
        result, contexts = [], [()]
        for order in self.counts:
            children = {parent: [] for parent in contexts}
            for context in sorted(order):  # the token at the left decides, among siblings
                children[context[1:]].append(context)
            head = []
            if result:
                contexts = [context for parent in contexts for context in children[parent]]
                head = [[len(c) for c in children.values()], [context[0] for context in contexts]]
            followers = [sorted(order[context].items()) for context in contexts]
            result.append([*head, [len(f) for f in followers],
                           [token for f in followers for token, _ in f],
                           [count for f in followers for _, count in f]])
        return result


def leb128(number):
    return bytes([number & 127 | 128]) + leb128(number >> 7) if number > 127 else bytes([number])


def with_crc(data):
    return bytes(data) + struct.pack("<I", zlib.crc32(data))


def version_2(network, weight, lists=(), discounts=(0.6, 1.1, 1.4), itos=None):
    """The bytes of a file with n-grams. The network is another file's; None: there is none."""
    if network is None:
        data = b"NPLM" + struct.pack("<5I", 2, 0, len(itos), 0, 0)
        data += b"".join(bytes([len(ch.encode())]) + ch.encode() for ch in itos)
        data += bytes(-len(data) % 4)
    else:  # version 2 without n-grams ends with 12 bytes for them
        data = network[:4] + struct.pack("<I", 2) + network[8:-4 if network[4] == 1 else -16]
    data += struct.pack("<dI", weight, len(lists))
    for numbers in lists:
        data += struct.pack("<2I3d", len(numbers[-3]), len(numbers[-1]), *discounts)
    data += b"".join(leb128(n) for numbers in lists for part in numbers for n in part)
    return with_crc(data)


class Mixture:
    """A network (Reference) or None, and n-grams: their file, and probabilities in float64."""

    def __init__(self, path, reference, ngrams, weight, itos):
        self.bin, self.reference, self.ngrams, self.weight = path, reference, ngrams, weight
        self.itos, self.block_size = itos, max(1, len(ngrams.counts) - 1)  # of the context
        if reference:
            self.block_size = max(self.block_size, reference.block_size)
        path.write_bytes(version_2(reference and reference.bin.read_bytes(), weight,
                                   ngrams.lists(), ngrams.discounts, itos))

    def probs_after(self, contexts):
        """What follows contexts (N, block_size), as a NumPy array (N, vocab_size)."""
        p = np.array([self.ngrams.probs(context) for context in contexts.tolist()])
        if self.reference:
            with torch.no_grad():
                X = torch.tensor(contexts[:, self.block_size - self.reference.block_size:])
                network = torch.softmax(self.reference.model(X), 1).numpy()
            p = self.weight * network + (1 - self.weight) * p
        return p

    def probs(self, text, temperature=1.0):
        context = token_pairs(text, self.itos, self.block_size)[-1][0]
        p = self.probs_after(np.array([context]))[0]**(1 / temperature)
        return p / p.sum()

    def nll(self, words):
        result = []
        for word in words:
            X, Y = zip(*token_pairs(word, self.itos, self.block_size))
            p = self.probs_after(np.array(X))[range(len(Y)), Y]
            result.append((-np.log(p).mean(), len(Y)))
        return result


@pytest.fixture(scope="session")
def mixture(trained, names, tmp_path_factory):
    """The small network mixed with n-grams, whose context is longer than the network's."""
    lines = [[trained.itos.index(ch) for ch in name] for name in names[::8]]
    ngrams = NGrams(lines, len(trained.itos), trained.block_size + 2)
    path = tmp_path_factory.mktemp("mixture") / "mlp.bin"
    return Mixture(path, trained, ngrams, 0.7, trained.itos)


@pytest.fixture(scope="session")
def random_mixture(random_model, tmp_path_factory):
    """random_mixture(characters, n_orders, weight): random lines, counted; a random network, but
    for weight 0."""
    def make(characters, n_orders, weight, discounts=(0.6, 1.1, 1.4), n_lines=60):
        itos, rng = ["\n"] + sorted(characters), random.Random(0)
        lines = [rng.choices(range(1, len(itos)), k=rng.randint(1, 12)) for _ in range(n_lines)]
        reference = random_model(characters) if weight else None
        return Mixture(tmp_path_factory.mktemp("random") / "mixed.bin", reference,
                       NGrams(lines, len(itos), n_orders, discounts), weight, itos)
    return make


# -----------------------------------------------------------------------------
# sample.c

def cc(*args, compiler=None, **options):
    """Runs the C compiler; without one, the test is skipped."""
    compiler = compiler or os.environ.get("CC", "cc")
    try:
        return subprocess.run([*shlex.split(compiler), "-std=c11", *args], **options)
    except FileNotFoundError:
        pytest.skip(f"there is no {compiler} here")


def build(flags, program, compiler=None):
    return cc(*COMPILE, *flags, ROOT / "sample.c", "-o", program, compiler=compiler,
              capture_output=True, text=True)


class Program:
    def __init__(self, path):
        self.path = path

    def run(self, *args, **options):
        options = {"stdout": subprocess.PIPE, **options}
        done = subprocess.run([self.path, *args], stderr=subprocess.PIPE, timeout=60, **options)
        done.stdout = (done.stdout or b"").decode()  # not text=True, which turns \r into \n
        done.stderr = done.stderr.decode(errors="replace")  # a prefix may be shown as it was given
        return done

    def lines(self, *args, **options):
        """The lines on stdout of a run that ends well."""
        done = self.run(*args, **options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("\n") or not done.stdout
        return done.stdout.split("\n")[:-1]

    def refuses(self, status, *args, named=(), **options):
        done = self.run(*args, **options)
        one_sentence("sample", done.stderr, *named)
        assert done.returncode == status and not done.stdout


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """sample.c as a user has it."""
    path = tmp_path_factory.mktemp("build") / "sample"
    done = build(["-O2"], path)
    assert done.returncode == 0, done.stderr
    return Program(path)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """sample.c with AddressSanitizer and UBSan: what they find goes to stderr."""
    path = tmp_path_factory.mktemp("build") / "sanitized"
    if build(SANITIZE, path).returncode:
        pytest.skip("this compiler cannot link the sanitizers")
    if subprocess.run([path, "-h"], capture_output=True).returncode:  # under ulimit -v, for one
        pytest.skip("AddressSanitizer cannot run here")
    return Program(path)
