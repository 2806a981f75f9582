"""sample.c against twin.py, its NumPy twin: the same bits; and both against PyTorch in float64."""

import random
import subprocess

import numpy as np
import pytest
import torch

import twin
from conftest import ROOT, cc

# Contexts come in on stdin. What follows each goes out on stdout: p and the thresholds, or the NLLs.
DRIVER = """
#define main sample_main
#include "sample.c"
#undef main
int main(int argc, char **argv) { // MODEL scoring temperature top_k top_p
    static Sampler s;
    int32_t context[MAX_CONTEXT];
    if (argc != 6) return 1;
    s.temperature = strtof(argv[3], 0), s.top_k = (size_t)atoi(argv[4]), s.top_p = strtof(argv[5], 0);
    read_model(&s.model, argv[1]);
    set_up(&s);
    while (fread(context, sizeof *context, s.context_size, stdin) > 0) {
        if (atoi(argv[2])) {
            for (int32_t v = 0; v < (int32_t)s.model.vocab_size; v++) {
                float nll = nll_of(&s, context, v);
                fwrite(&nll, 4, 1, stdout);
            }
        } else {
            compute_thresholds(&s, context);
            fwrite(s.p, 4, s.model.vocab_size, stdout);
            fwrite(s.threshold, 4, s.model.vocab_size, stdout);
        }
    }
}
"""


@pytest.fixture(scope="session")
def bits(tmp_path_factory):
    """bits(path, X, scoring, temperature, top_k, top_p): what the functions of sample.c compute."""
    folder = tmp_path_factory.mktemp("bits")
    (folder / "bits.c").write_text(DRIVER)
    cc("-O2", f"-I{ROOT}", folder / "bits.c", "-o", folder / "bits", check=True)

    def run(path, X, *args):
        done = subprocess.run([folder / "bits", path, *map(str, args)], check=True,
                              input=X.astype(np.int32).tobytes(), stdout=subprocess.PIPE)
        return np.frombuffer(done.stdout, np.uint32)
    return run


LETTERS = [chr(0x4E00 + i) for i in range(40)]


@pytest.fixture(scope="module", params=[
    "trained", "33 tokens", "41 tokens", "2 tokens", "12 back", "mixture", "n-grams",
    "5 of 2 tokens", "no discount", "no context", "14 back"])
def reference(request, trained, mixture, random_model, random_mixture):
    return {"trained": lambda: trained,
            "33 tokens": lambda: random_model(LETTERS[:32], 3, 5, 37),
            "41 tokens": lambda: random_model(LETTERS, 1, 3, 7),
            "2 tokens": lambda: random_model("a", 2, 1, 1),
            "12 back": lambda: random_model("abcdefgh", 12, 6, 50),
            "mixture": lambda: mixture,
            "n-grams": lambda: random_mixture(LETTERS, 4, 0),
            "5 of 2 tokens": lambda: random_mixture("a", 5, 0.3),
            "no discount": lambda: random_mixture("abcd", 3, 0, (0, 0, 0), n_lines=3),
            "no context": lambda: random_mixture("abc", 1, 0),
            "14 back": lambda: random_mixture("abcdefgh", 15, 0.5)}[request.param]()


@pytest.fixture(scope="module")
def model(reference):
    return twin.Model(reference.bin)


def contexts(reference, n, seed=0):
    """Contexts (n, block_size): the beginning of a name, some as names have them, and random ones."""
    B, rng = reference.block_size, np.random.default_rng(seed)
    X = rng.integers(len(reference.itos), size=(n, B))
    X[0] = 0
    if hasattr(reference, "ngrams"):
        known = sorted(reference.ngrams.counts[-1])
        if known[0]:
            chosen = rng.integers(len(known), size=n // 2 - 1)
            X[1:n // 2, B - len(known[0]):] = [known[i] for i in chosen]
    return X


OPTIONS = [(1, None, 1), (0.7, None, 1), (3, None, 1), (1, 5, 1), (1, 1, 1), (1, None, 0.9),
           (1, None, 0.05), (0.5, 7, 0.8), (0, None, 1), (1e-3, None, 1), (1000, 3, 0.3)]


@pytest.mark.parametrize("temperature, top_k, top_p", OPTIONS)
def test_same_bits_of_probabilities_and_thresholds(bits, reference, model, temperature, top_k,
                                                   top_p):
    X, V = contexts(reference, 300), len(reference.itos)
    p, thresholds = twin.distribution(model, X, temperature, top_k, top_p)
    found = bits(reference.bin, X, 0, temperature, min(top_k or V, V), top_p).reshape(-1, 2, V)
    np.testing.assert_array_equal(found[:, 0], p.view(np.uint32))
    np.testing.assert_array_equal(found[:, 1], thresholds.view(np.uint32))
    assert (thresholds[:, -1] == 2**30).all()


def test_same_bits_of_log_likelihoods(bits, reference, model):
    X = contexts(reference, 500)
    expected = twin.nlls(model, X)
    found = bits(reference.bin, X, 1, 1, len(reference.itos), 1).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected.view(np.uint32))


@pytest.mark.parametrize("seed, temperature, top_k, top_p", [
    (0, 1, None, 1), (2**64 - 1, 1, None, 1), (1, 1, None, 0.9), (2, 0.5, 7, 0.8), (3, 2, 4, 1)])
def test_same_names(program, reference, model, seed, temperature, top_k, top_p):
    prefix = reference.itos[-1] + reference.itos[1]
    options = dict(prefix=prefix, temperature=temperature, top_k=top_k, top_p=top_p)
    expected = twin.names(model, 50, seed, **options)
    args = ["-t", str(temperature), "-p", str(top_p), "-i", prefix]
    args += ["-k", str(top_k)] if top_k else []
    assert program.lines(reference.bin, "-n", "50", "-s", str(seed), *args) == expected


def test_same_20000_names(program, trained):
    expected = twin.names(twin.Model(trained.bin), 20_000, 7)
    assert program.lines(trained.bin, "-n", "20000", "-s", "7") == expected


def test_same_scores(program, reference, model, names, tmp_path):
    rng, path = random.Random(0), tmp_path / "words.txt"
    words = ["".join(rng.choices(reference.itos[1:], k=rng.randint(1, 30))) for _ in range(150)]
    if reference.itos[1:] == sorted(set("".join(names))):
        words += names[:500]
    path.write_text("\n".join(words), encoding="utf-8")
    assert program.lines(reference.bin, "-e", path) == twin.scores(model, words)


def test_probabilities_are_as_near_to_float64_as_float32_can_be(reference, model):
    X = contexts(reference, 2_000)
    p, _ = twin.distribution(model, X)
    if hasattr(reference, "ngrams"):
        exact = reference.probs_after(X)
    else:
        with torch.no_grad():
            exact = torch.softmax(reference.model(torch.from_numpy(X)), 1).numpy()
    error = np.abs(p / p.sum(axis=1, keepdims=True, dtype=np.float64) - exact).max()
    print(f"largest error of a probability over {len(X):,} contexts: {error:.2g}")
    assert error <= 2e-6


def test_ngrams_add_up_to_1(random_mixture):
    mixture = random_mixture("abcdef", 4, 0)
    p = twin.Model(mixture.bin).mixed(contexts(mixture, 1000))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-14)
    assert (p > 0).all()


def test_without_a_compiler_a_test_is_skipped(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(pytest.skip.Exception, match="no-such-compiler"):
        cc("-c", "nothing.c")
