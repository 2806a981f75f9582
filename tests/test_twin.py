"""sample.c against twin.py, its NumPy twin: the same bits; and both against PyTorch in float64."""

import os
import random
import shlex
import subprocess

import numpy as np
import pytest
import torch

import twin
from conftest import ROOT

# Contexts come in on stdin; p and the thresholds after each, or the NLLs, go out on stdout.
DRIVER = """
#define main sample_main
#include "sample.c"
#undef main
int main(int argc, char **argv) { // MODEL scoring temperature top_k top_p
    Model m = load(argc == 6 ? argv[1] : "");
    size_t vocab_size = m.vocab_size;
    Sampler s = {.model = &m, .scoring = atoi(argv[2]), .temperature = strtof(argv[3], 0),
                 .top_k = (size_t)atoi(argv[4]), .top_p = strtof(argv[5], 0)};
    s.p = allocate(vocab_size, sizeof(float));
    s.ranking = allocate(vocab_size, sizeof(Candidate));
    Cell *cells = allocate(vocab_size, sizeof(Cell));
    int32_t context[MAX_BLOCK];
    while (fread(context, sizeof *context, m.block_size, stdin) > 0) {
        compute(&s, context, cells);
        if (!s.scoring) fwrite(s.p, 4, vocab_size, stdout);
        fwrite(cells, 4, vocab_size, stdout);
    }
}
"""


@pytest.fixture(scope="session")
def bits(tmp_path_factory):
    """bits(path, X, scoring, temperature, top_k, top_p): what the functions of sample.c compute."""
    folder = tmp_path_factory.mktemp("bits")
    (folder / "bits.c").write_text(DRIVER)
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-O2", f"-I{ROOT}",
                    folder / "bits.c", "-o", folder / "bits"], check=True)

    def run(path, X, *args):
        done = subprocess.run([folder / "bits", path, *map(str, args)], check=True,
                              input=X.astype(np.int32).tobytes(), stdout=subprocess.PIPE)
        return np.frombuffer(done.stdout, np.uint32)
    return run


LETTERS = [chr(0x4E00 + i) for i in range(40)]


@pytest.fixture(params=["trained", "33 tokens", "41 tokens", "2 tokens", "12 back"])
def reference(request, trained, random_model):
    return {"trained": lambda: trained,
            "33 tokens": lambda: random_model(LETTERS[:32], 3, 5, 37),
            "41 tokens": lambda: random_model(LETTERS, 1, 3, 7),
            "2 tokens": lambda: random_model("a", 2, 1, 1),
            "12 back": lambda: random_model("abcdefgh", 12, 6, 50)}[request.param]()


def contexts(reference, n, seed=0):
    """Random contexts (n, block_size), of which the first is the beginning of a name."""
    X = np.random.default_rng(seed).integers(len(reference.itos), size=(n, reference.block_size))
    X[0] = 0
    return X


OPTIONS = [(1, None, 1), (0.7, None, 1), (3, None, 1), (1, 5, 1), (1, 1, 1), (1, None, 0.9),
           (1, None, 0.05), (0.5, 7, 0.8), (0, None, 1), (1e-3, None, 1), (1000, 3, 0.3)]


@pytest.mark.parametrize("temperature, top_k, top_p", OPTIONS)
def test_same_bits_of_probabilities_and_thresholds(bits, reference, temperature, top_k, top_p):
    X, V = contexts(reference, 500), len(reference.itos)
    p, thresholds = twin.distribution(twin.Model(reference.bin), X, temperature, top_k, top_p)
    found = bits(reference.bin, X, 0, temperature, min(top_k or V, V), top_p).reshape(-1, 2, V)
    np.testing.assert_array_equal(found[:, 0], p.view(np.uint32))
    np.testing.assert_array_equal(found[:, 1], thresholds.view(np.uint32))
    assert (thresholds[:, -1] == 2**30).all()


def test_same_bits_of_log_likelihoods(bits, reference):
    X = contexts(reference, 2000)
    expected = twin.nlls(twin.Model(reference.bin), X)
    found = bits(reference.bin, X, 1, 1, len(reference.itos), 1).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected.view(np.uint32))


@pytest.mark.parametrize("seed, temperature, top_k, top_p", [
    (0, 1, None, 1), (2**64 - 1, 1, None, 1), (1, 1, None, 0.9), (2, 0.5, 7, 0.8), (3, 2, 4, 1)])
def test_same_names(program, reference, seed, temperature, top_k, top_p):
    prefix = reference.itos[-1] + reference.itos[1]
    options = dict(prefix=prefix, temperature=temperature, top_k=top_k, top_p=top_p)
    expected = twin.names(twin.Model(reference.bin), 50, seed, **options)
    args = ["-t", str(temperature), "-p", str(top_p), "-i", prefix]
    args += ["-k", str(top_k)] if top_k else []
    assert program.lines(reference.bin, "-n", "50", "-s", str(seed), *args) == expected


def test_same_20000_names(program, trained):
    expected = twin.names(twin.Model(trained.bin), 20_000, 7)
    assert program.lines(trained.bin, "-n", "20000", "-s", "7") == expected


def test_same_scores(program, reference, names, tmp_path):
    rng, path = random.Random(0), tmp_path / "words.txt"
    words = ["".join(rng.choices(reference.itos[1:], k=rng.randint(1, 30))) for _ in range(300)]
    if reference.itos[1:] == sorted(set("".join(names))):
        words += names[:2000]
    path.write_text("\n".join(words), encoding="utf-8")
    assert program.lines(reference.bin, "-e", path) == twin.scores(twin.Model(reference.bin), words)


def test_probabilities_are_as_near_to_float64_as_float32_can_be(reference):
    X = contexts(reference, 10_000)
    p, _ = twin.distribution(twin.Model(reference.bin), X)
    with torch.no_grad():
        exact = torch.softmax(reference.model(torch.from_numpy(X)), 1).numpy()
    error = np.abs(p / p.sum(axis=1, keepdims=True, dtype=np.float64) - exact).max()
    print(f"largest error of a probability over {len(X):,} contexts: {error:.2g}")
    assert error <= 2e-6
