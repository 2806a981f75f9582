"""What the tests share: trained and random models, PyTorch's answers, two builds of sample.c."""

import contextlib
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

import export
import mlp

os.environ.update(COLUMNS="80", NO_COLOR="1")  # argparse asks for them
torch.set_num_threads(1)  # the models are small: a second thread costs more than it brings

ROOT = Path(__file__).resolve().parent.parent
COMPILE = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]


def one_sentence(program, err, *named):
    assert "Traceback" not in err
    assert err.startswith(f"{program}: ") and err.endswith("\n") and err.count("\n") == 1, err
    for name in named:
        assert str(name) in err


@pytest.fixture
def refused(capsys):
    """refused(module, argv, status, *named): main(argv) ends with one sentence; returns it."""
    def run(module, argv, status, *named):
        with pytest.raises((SystemExit, KeyboardInterrupt)) as stop:
            module.main([str(arg) for arg in argv])
        assert stop.type is SystemExit
        code, err = stop.value.code, capsys.readouterr().err
        if isinstance(code, str):  # what sys.exit(str) does once nobody catches it
            code, err = 1, f"{err}{code}\n"
        one_sentence(f"{module.__name__}.py", err, *named)
        assert code == status
        return err
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
        self.checkpoint = torch.load(self.out_dir / "mlp.pt", weights_only=True)
        self.itos, config = self.checkpoint["itos"], self.checkpoint["config"]
        self.shape = len(self.itos), config["block_size"], config["n_embd"], config["n_hidden"]
        self.block_size = config["block_size"]
        self.model = mlp.MLP(*self.shape).double().eval()
        self.model.load_state_dict(self.checkpoint["model"])
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
              "--num_samples=0"])
    return Reference(out_dir)


@pytest.fixture
def random_model(trained, tmp_path):
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
        config = dict(trained.checkpoint["config"], block_size=block_size, n_embd=n_embd,
                      n_hidden=n_hidden)
        torch.save(dict(trained.checkpoint, model=model.state_dict(), config=config, itos=itos),
                   tmp_path / "mlp.pt")
        return Reference(tmp_path)
    return make


# -----------------------------------------------------------------------------
# sample.c

def build(compiler, flags, program):
    try:
        return subprocess.run([*shlex.split(compiler), *COMPILE, *flags, ROOT / "sample.c", "-o",
                               program], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"there is no {compiler} here")


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
    done = build(os.environ.get("CC", "cc"), ["-O2"], path)
    assert done.returncode == 0, done.stderr
    return Program(path)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """sample.c with AddressSanitizer and UBSan: what they find goes to stderr."""
    path = tmp_path_factory.mktemp("build") / "sanitized"
    if build(os.environ.get("CC", "cc"), SANITIZE, path).returncode:
        pytest.skip("this compiler cannot link the sanitizers")
    return Program(path)
