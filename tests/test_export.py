"""export.py: a reader of the format, written from its description alone, gives back the models."""

import base64
import struct
import zlib

import numpy as np
import pytest
import torch

import export
import sample
from conftest import LETTERS, MODELS, ROOT, Model, one_sentence, small_disk


def read(data):
    """The file as export.py's docstring describes it, byte after byte: header, arrays, offsets."""
    magic, version, V, n_bytes, B, E, H, n_contexts, n_grams, depth = struct.unpack_from("<4s9I", data)
    assert (magic, version) == (b"NPLM", 3) and data[40:64] == bytes(24)
    groups, inputs = (V + 15) // 16, (H + 3) // 4 * 4
    sizes = dict(V=V, B=B, E=E, H=H, n_contexts=n_contexts, n_grams=n_grams, depth=depth)
    arrays, offsets, at = {}, {}, 64
    for name, kind, *shape in [
            ("start", "u4", V + 1), ("text", "u1", n_bytes), ("C", "f4", V, E), ("W1", "f4", B, E, H),
            ("b1", "f4", H), ("W2", "f4", groups, inputs, 16), ("b2", "f4", groups, 16),
            ("weight", "f4", 1), ("left", "u4", n_contexts), ("first_child", "u4", n_contexts + 1),
            ("first_gram", "u4", n_contexts + 1), ("token", "u4", n_grams), ("kept", "f4", n_grams),
            ("backoff", "f4", n_contexts)]:
        array = np.frombuffer(data, "<" + kind, int(np.prod(shape)), at)
        arrays[name], offsets[name] = array.reshape(shape), at
        at += array.nbytes
        assert data[at:at + -at % 64] == bytes(-at % 64)
        at += -at % 64
    assert data[at:] == struct.pack("<I", zlib.crc32(data[:at]))
    return sizes, arrays, offsets


def tree(sizes, arrays):
    """The n-grams of a file as {context: ({token: kept}, backoff)}, and each context's level."""
    found, level = {(): 0}, {(): 0}
    contexts = [()]
    for node in range(sizes["n_contexts"]):
        children = range(arrays["first_child"][node], arrays["first_child"][node + 1])
        assert list(children) == list(range(len(contexts), len(contexts) + len(children)))
        left = arrays["left"][children.start:children.stop].tolist()
        assert left == sorted(set(left))
        for token in left:
            contexts.append((token, *contexts[node]))
            level[contexts[-1]] = level[contexts[node]] + 1
        grams = slice(arrays["first_gram"][node], arrays["first_gram"][node + 1])
        tokens = arrays["token"][grams].tolist()
        assert tokens == sorted(set(tokens)) and tokens
        found[contexts[node]] = (dict(zip(tokens, arrays["kept"][grams].tolist())),
                                 arrays["backoff"][node].item())
    assert len(contexts) == sizes["n_contexts"]
    return found, level


@pytest.mark.parametrize("name", MODELS)
def test_every_bit_of_the_network_and_every_token_come_back(models, name):
    model = models[name]
    sizes, arrays, _ = read(model.data)
    text = arrays["text"].tobytes()
    tokens = [text[a:b].decode() for a, b in zip(arrays["start"], arrays["start"][1:])]
    assert tokens == model.itos and tokens[0] == "\n" and arrays["start"][-1] == len(text)
    assert tokens[1:] == sorted(tokens[1:], key=str.encode)
    if model.weight == 0:
        assert sizes["B"] == sizes["E"] == sizes["H"] == 0
        return
    (V, E), H = model.state["C"].shape, len(model.state["b1"])
    assert (sizes["V"], sizes["B"], sizes["E"], sizes["H"]) == (V, model.block_size, E, H)
    W2, b2 = np.hstack(arrays["W2"]), arrays["b2"].ravel()  # (n_inputs, vocab_size, rounded up)
    assert not W2[H:].any() and not W2[:, V:].any() and not b2[V:].any()
    found = {"C": arrays["C"], "W1": arrays["W1"].reshape(-1, H), "b1": arrays["b1"],
             "W2": W2[:H, :V], "b2": b2[:V]}
    for part, array in model.state.items():
        assert found[part].astype(np.float32).tobytes() == array.tobytes(), part


@pytest.mark.parametrize("name", MODELS)
def test_ngrams_are_a_tree_level_by_level(models, name):
    model = models[name]
    sizes, arrays, _ = read(model.data)
    if "orders" not in model.run:
        assert sizes["n_contexts"] == sizes["n_grams"] == sizes["depth"] == 0
        assert arrays["first_child"].tolist() == arrays["first_gram"].tolist() == [0]
        assert arrays["weight"] == 1
        return
    found, level = tree(sizes, arrays)
    assert sizes["depth"] == max(level.values()) == len(model.slow.orders) - 1
    assert list(level.values()) == sorted(level.values())
    assert arrays["weight"] == np.float32(model.weight)
    expected = {context: (counts, D) for after, D in model.slow.orders
                for context, counts in after.items()}
    assert found.keys() == expected.keys()
    for context, (counts, D) in expected.items():
        kept, backoff = found[context]
        total = sum(counts.values())
        assert kept == {token: np.float32((c - D[min(c, 3) - 1]) / total)
                        for token, c in counts.items()}
        assert backoff == pytest.approx(sum(D[min(c, 3) - 1] for c in counts.values()) / total)


@pytest.mark.parametrize("part", ["C", "W1", "b1", "W2", "b2"])
def test_numbers_that_would_overflow_are_refused_and_other_odd_ones_keep_their_bits(tmp_path, part):
    for value in (np.nan, np.inf, -np.inf, 2.0**50):
        def change(state):
            state[part].flat[-1] = value
        with pytest.raises(ValueError, match="not finite.* lower --learning_rate"):
            Model(tmp_path, "abc", change=change)
    for value in (-0.0, 1e-45, -1e-40, 1.1e15):
        model = Model(tmp_path, "abc", change=change)
        assert np.float32(value).tobytes() in model.data and sample.load(model.path)


@pytest.mark.parametrize("tokens", ["a", "aé", ". 0~\u07ff\u0800\uffff\U00010000\U0010ffff",
                                    [chr(0x4E00 + i) for i in range(700)],
                                    ["a", "word", "words", "ж", "the cat"]])
def test_any_vocabulary_is_read_back(tmp_path, tokens):
    model = Model(tmp_path, tokens)
    assert sample.load(model.path).itos == model.itos == ["\n", *sorted(tokens, key=str.encode)]


# -----------------------------------------------------------------------------
# The command

@pytest.fixture
def folder(tmp_path):
    model = Model(tmp_path, LETTERS[:5])
    model.path.unlink()
    torch.save(model.run, tmp_path / "mlp.pt")
    return tmp_path, model


def test_command_writes_the_file_and_a_page_and_says_what_is_in_it(folder, run):
    path, model = folder
    done = run("export.py", "--page", f"--out_dir={path}")
    assert done.status == 0 and (path / "mlp.bin").read_bytes() == model.data
    said = done.out.replace(",", "")
    assert str(path / "mlp.bin") in said and f"{len(model.data)} bytes" in said
    assert "6 tokens" in said and "0.60" in said
    page, whole = (path / "mlp.html").read_bytes(), (ROOT / "sample.html").read_bytes()
    encoded = base64.b64encode(model.data)
    assert page.count(encoded) == 1 and page.replace(encoded, b"") == whole
    (path / "mlp.html").unlink()
    run("export.py", f"--out_dir={path}")
    assert sorted(p.name for p in path.iterdir()) == ["mlp.bin", "mlp.pt"]


def test_a_full_disk_leaves_the_old_file(folder, run):
    path, model = folder
    (path / "mlp.bin").write_bytes(b"the old one")
    with small_disk(len(model.data) - 1):
        done = run("export.py", f"--out_dir={path}")
    one_sentence("export.py", done.err, path / "mlp.bin")
    assert done.status == 1 and (path / "mlp.bin").read_bytes() == b"the old one"
