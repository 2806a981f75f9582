"""sample.py, the original of sampling, against float64: exact but for the rounding of float32."""

import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest

import sample
from conftest import LETTERS, MODELS, Model, one_sentence, slow_logits


def contexts_of(model, n=16):
    """Contexts that the model's words have, and others: n tuples of context_size tokens."""
    size, rng = model.context_size, np.random.default_rng(1)
    padded = [[0] * size + word for word in model.words]
    seen = [tuple(word[i:i + size]) for word in padded for i in range(3) if i + size <= len(word)]
    other = rng.integers(0, len(model.itos), (n // 2, size)).tolist()
    return [*list(dict.fromkeys(seen))[:n - n // 2], *map(tuple, other)]


@pytest.fixture
def loaded(models):
    """loaded(name): a model of MODELS, and as sample.py loads it."""
    return lambda name: (models[name], sample.load(models[name].path))


def test_exponential_and_logarithm_are_right_to_a_unit_in_the_last_place():
    x = np.concatenate([np.linspace(-87, 87, 200_001), [0, -0.0, 1e-30, -1e-30]]).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (abs(sample.exponential(x) - exact) / np.spacing(exact.astype(np.float32))).max() < 1.5
    wide, ends = np.float32([-1e30, -88, 88, 2.0**49]), np.float32([-87, -87, 87, 87])
    assert sample.exponential(wide).tolist() == sample.exponential(ends).tolist()
    x = np.append(np.geomspace(1, 1e300, 10_001), [1, 1.5, np.nextafter(1.5, 2), 1 + 2.0**-52])
    np.testing.assert_allclose(sample.logarithm(x), np.log(x), rtol=1e-15, atol=1e-15)
    assert sample.logarithm(np.array([1.0])).tolist() == [0.0]


@pytest.mark.parametrize("name", MODELS)
def test_network_ngrams_and_mixture_are_those_of_float64(loaded, name):
    model, m = loaded(name)
    for context in contexts_of(model):
        if model.weight > 0:
            last = context[len(context) - model.block_size:]
            np.testing.assert_allclose(sample.forward(m, last), slow_logits(model.state, last),
                                       rtol=0, atol=1e-5)
        if "orders" in model.run:
            np.testing.assert_allclose(sample.ngram_probs(m, context), model.slow.probs(context),
                                       rtol=1e-6, atol=0)
        p = sample.mix(m, context)
        assert p.dtype == np.float64 and p.min() > 0 and abs(p.sum() - 1) < 1e-6
        np.testing.assert_allclose(p, model.probs(context), rtol=1e-5, atol=0)


def cut(p, temperature=1.0, top_k=None, top_p=1.0):
    """A distribution (vocab_size,) with temperature, cut to the top_k likeliest, and of these to
    the fewest with a share top_p: in float64."""
    if temperature == 0:
        return np.eye(len(p))[p.argmax()]
    p = (p / p.max())**(1 / temperature)
    ranking = np.argsort(-p, kind="stable")[:top_k]
    upto = np.cumsum(p[ranking]) / p[ranking].sum()
    kept = np.zeros_like(p)
    ranking = ranking[:(upto < top_p - 1e-9).sum() + 1]
    kept[ranking] = p[ranking]
    return kept / kept.sum()


OPTIONS = [(1, None, 1), (0.5, None, 1), (2, None, 1), (1000, None, 1), (0.05, None, 1),
           (0, None, 1), (0, 5, 0.5), (1, 1, 1), (1, 3, 1), (1, None, 0.9), (1, None, 0.5),
           (1, None, 0), (1, 5, 0.7), (0.7, 10, 0.9), (3, 4, 0.95)]


@pytest.mark.parametrize("temperature, top_k, top_p", OPTIONS)
def test_distribution_is_exact(loaded, temperature, top_k, top_p):
    for name in ("mixture", "network", "n-grams", "many", "smallest", "unigram"):
        model, m = loaded(name)
        for context in contexts_of(model, 12):
            thresholds = sample.distribution(m, context, temperature, top_k or 2**31, top_p)
            assert thresholds.shape == (len(model.itos),) and thresholds[-1] == 2**30
            got = np.diff(thresholds / 2.0**30, prepend=0)
            expected = cut(model.probs(context), temperature, top_k, top_p)
            assert ((got > 1e-6) == (expected > 1e-6)).all()
            np.testing.assert_allclose(got, expected, rtol=3e-5, atol=1e-8)


def test_likeliest_are_kept_and_the_first_of_equals():
    p = np.array([1, 4, 1, 4, 6], np.float32) / 16  # so that all sums are exact
    for top_k, top_p, kept in ((9, 1, [0, 1, 2, 3, 4]), (3, 1, [1, 3, 4]), (2, 1, [1, 4]),
                               (4, 1, [0, 1, 3, 4]), (9, 0, [4]), (9, 0.375, [4]),
                               (9, 0.376, [1, 4]), (9, 0.625, [1, 4]), (9, 0.626, [1, 3, 4]),
                               (9, 0.876, [0, 1, 3, 4]), (9, 0.9375, [0, 1, 3, 4]),
                               (2, 0.59, [4]), (2, 0.61, [1, 4]), (3, 0.72, [1, 3, 4])):
        found = sample.keep_likeliest(p, top_k, np.float32(top_p))
        assert np.flatnonzero(found).tolist() == kept, (top_k, top_p)
        assert found[kept].tolist() == p[kept].tolist()


def test_mixing_gives_the_published_numbers():
    """The first outputs of splitmix64 with the seed 1234567, as Rosetta Code lists them."""
    found = [sample.splitmix64((1234567 + i * sample.GOLDEN) % 2**64) for i in range(1, 6)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423,
                     4593380528125082431, 16408922859458223821]


class Uniform(dict):
    """A cache that has every context: three tokens, of 2^10 as likely as another, then the end."""

    def __init__(self):
        self.at = 0

    def __contains__(self, context):
        return True

    def __getitem__(self, context):
        self.at += 1
        return np.full(1025, 2**30) if self.at > 3 else np.arange(1025) * 2**20


def draw(seed, number):
    """The first three random numbers of a name, but for their lower 20 bits."""
    m = SimpleNamespace(context_size=0, vocab_size=1025, itos=["", *map(chr, range(1024))])
    return [ord(ch) for ch in sample.sample(m, number, [], seed, Uniform())]


def test_random_numbers_are_even():
    """Chi-square of the first three numbers of 2,000 names; within 5 standard deviations."""
    for seed in (0, 2**64 - 1):
        found = np.array([draw(seed, number) for number in range(2000)])
        assert found.shape == (2000, 3)
        for at in range(3):
            counts = np.bincount(found[:, at] // 8, minlength=128)
            chi2 = ((counts - 2000 / 128)**2 / (2000 / 128)).sum()
            assert abs(chi2 - 127) < 5 * (2 * 127)**0.5
        assert abs(np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]) < 5 / 2000**0.5
    # seeds one golden ratio apart, and numbers far apart, share no sequence
    first = [tuple(draw(seed, n)) for seed in (0, sample.GOLDEN, 2) for n in (0, 1, 2**53)]
    assert len(set(first)) == len(first)


def test_seed_0_does_not_begin_with_an_empty_name(tmp_path):
    """It did, for every model: the mixer maps 0 to 0, and the boundary is the first token."""
    def rare_end(state):
        state["b2"][0] = -9
    m = sample.load(Model(tmp_path, LETTERS, n_orders=0, change=rare_end).path)
    assert all(sample.names(m, 1, seed=0))


@pytest.mark.parametrize("name", ["mixture", "strings", "many"])
def test_names_depend_on_model_seed_and_number_alone(loaded, name, monkeypatch):
    _, m = loaded(name)
    many = list(sample.names(m, 60, seed=5))
    assert many[:7] == list(sample.names(sample.load(loaded(name)[0].path), 7, seed=5))
    assert many[20:45] == list(sample.names(m, 25, seed=5, first=20))
    assert many != list(sample.names(m, 60, seed=6)) and len(set(many)) > 20
    monkeypatch.setattr(sample, "MAX_CACHE", 700)  # so small that it is emptied all the time
    assert list(sample.names(m, 60, seed=5)) == many


def test_names_begin_with_the_prefix_and_go_on_from_it(loaded):
    model, m = loaded("network")
    found = list(sample.names(m, 2000, seed=3, prefix=" é中"))
    assert found[:9] == list(sample.names(m, 9, seed=3, prefix=unicodedata.normalize("NFD", " é中")))
    assert all(name.startswith(" é中") for name in found)
    p = model.probs(tuple(model.itos.index(ch) for ch in " é中"))
    counts = np.bincount([model.itos.index(name[3]) if len(name) > 3 else 0 for name in found],
                         minlength=len(p))
    assert abs(counts / 2000 - p).max() < 5 * (0.25 / 2000)**0.5


def test_new_names_are_not_known_and_none_comes_twice(tmp_path, monkeypatch):
    """Compared as lines are read, without the white space around them; a blank one is never new."""
    m = sample.load(Model(tmp_path, [" ", "a", "b"], n_orders=0).path)
    every, known = list(sample.names(m, 900, seed=1)), {"a", "b a"}
    assert {" a", "a", "a ", "", " "} <= set(every)
    for options in ({"known": known}, {"unique": True}, {"unique": True, "known": known}):
        expected, seen = [], set(options.get("known", ()))
        for name in every:
            if name.strip() and name.strip() not in seen:
                expected.append(name)
                seen |= {name.strip()} if "unique" in options else set()
        assert list(sample.names(m, 25, seed=1, **options)) == expected[:25] and len(expected) > 25
    monkeypatch.setattr(sample, "MAX_TRIES", 50)
    with pytest.raises(ValueError, match="^50 names in a row were not new"):
        list(sample.names(m, 5, temperature=0, unique=True))


def test_tokens_are_the_longest_that_fit(loaded):
    _, m = loaded("strings")
    for text, tokens in {"": [], "abcab": ["abc", "ab"], "abab": ["ab", "ab"], "ééa": ["é", "éa"],
                         "🌍🌍🌍": ["🌍🌍", "🌍"], "red house": ["red ", "house"]}.items():
        assert [m.itos[token] for token in sample.tokenize(m, text)] == tokens
    for text, said in (("abx", "does not know 'x'"), ("A", "does not know 'A'; try lower case")):
        with pytest.raises(ValueError, match=said):
            sample.tokenize(m, text)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_float64(loaded, name):
    model, m = loaded(name)
    for line in model.lines(15):
        tokens = [0] * model.context_size + sample.tokenize(m, line) + [0]
        exact = [-np.log(model.probs(tuple(tokens[i - model.context_size:i]))[tokens[i]])
                 for i in range(model.context_size, len(tokens))]
        np.testing.assert_allclose(sample.score(m, line), exact, rtol=0, atol=1e-5)


def test_command_prints_what_names_yields(loaded, run, tmp_path):
    model, m = loaded("mixture")
    (tmp_path / "x.txt").write_text("ab\na\n b \n")
    (tmp_path / "y.txt").write_text("q\n")
    for argv, n, options in [
            ("-s 1", 20, {"seed": 1}), ("-s0 -n7", 7, {"seed": 0}), ("-s 1 -n 0", 0, {}),
            ("-s 3 -n 9 -t 0.7 -k 9 -p 0.9 -i ab -f 12", 9,
             dict(seed=3, temperature=0.7, top_k=9, top_p=0.9, prefix="ab", first=12)),
            (f"-s 1 -u -x {tmp_path}/x.txt -x {tmp_path}/y.txt -n 40", 40,
             {"seed": 1, "unique": True, "known": {"ab", "a", "b", "q"}}),
            (f"-n 3 -s {2**64 - 1} -t 0", 3, {"seed": 2**64 - 1, "temperature": 0})]:
        done = run("sample.py", model.path, *argv.split())
        expected = "".join(name + "\n" for name in sample.names(m, n, **options))
        assert (done.status, done.err, done.out) == (0, "", expected)
    first = run("sample.py", model.path)  # the seed of the clock is shown
    word, seed = first.err.split()
    assert word == "seed" and run("sample.py", model.path, "-s", seed).out == first.out


def test_command_scores(loaded, run, tmp_path):
    model, m = loaded("network")
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufeffa7.\r\n\r\n \té \r\nxyz\r\na\tb\r\n中文\r中文\ne\u0301".encode())
    done = run("sample.py", model.path, "-e", path)
    scored = ["a7.", "é", "中文", "中文", "é"]
    losses = [sample.score(m, line) for line in scored]
    assert done.out == "".join(f"{loss.mean():.6f}\t{line}\n" for loss, line in zip(losses, scored))
    total, n = sum(loss.sum() for loss in losses), sum(map(len, losses))
    said = done.err.splitlines()
    assert done.status == 0 and said[-1].startswith(f"mean {total / n:.6f}") and str(n) in said[-1]
    assert "line 4" in said[0] and "'x'" in said[0] and " 2 " in said[1]
    done = run("sample.py", model.path, "-e", path, "-e", path)  # it dropped the first in silence
    one_sentence("sample.py", done.err, "-e")
