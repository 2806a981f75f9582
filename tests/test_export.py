"""export.py: a reader of the format, written from its description alone, gives back the models."""

import base64
import struct
import zlib

import numpy as np
import pytest
import torch

import sample
from conftest import LETTERS, MODELS, ROOT, Model, one_sentence, small_disk


def read(data):
    """The file as export.py's docstring describes it, byte after byte: header, arrays, offsets."""
    V, n_bytes, B, E, H, n_contexts, n_grams, depth = struct.unpack_from("<8I", data, 8)
    assert data[:8] == b"NPLM\3\0\0\0" and data[40:64] == bytes(24)
    groups, inputs = (V + 15) // 16, (H + 3) // 4 * 4
    sizes = dict(V=V, B=B, E=E, H=H, n_contexts=n_contexts, n_grams=n_grams, depth=depth)
    arrays, offsets, at = {}, {}, 64
    for name, kind, *shape in [
            ("start", "u4", V + 1), ("text", "u1", n_bytes), ("C", "f4", V, E),
            ("W1", "f4", B, E, H), ("b1", "f4", H),
            ("W2", "f4", groups, inputs, 16), ("b2", "f4", groups, 16), ("weight", "f4", 1),
            ("left", "u4", n_contexts), ("first_child", "u4", n_contexts + 1),
            ("first_gram", "u4", n_contexts + 1), ("token", "u4", n_grams), ("kept", "f4", n_grams),
            ("backoff", "f4", n_contexts)]:
        array = np.frombuffer(data, "<" + kind, int(np.prod(shape)), at)
        arrays[name], offsets[name] = array.reshape(shape), at
        at += array.nbytes
        assert data[at:at + -at % 64] == bytes(-at % 64)
        at += -at % 64
    assert data[at:] == struct.pack("<I", zlib.crc32(data[:at]))
    return sizes, arrays, offsets


@pytest.mark.parametrize("name", MODELS)
def test_every_bit_of_the_network_and_every_token_come_back(models, name):
    model = models[name]
    sizes, arrays, _ = read(model.data)
    text = arrays["text"].tobytes()
    tokens = [text[a:b].decode() for a, b in zip(arrays["start"], arrays["start"][1:])]
    assert tokens == model.itos and tokens[0] == "\n" and arrays["start"][-1] == len(text)
    assert tokens[1:] == sorted(tokens[1:], key=str.encode)
    orders = model.run.get("orders", [])  # test_sample reads the tree of contexts
    for part in ("kept", "backoff"):
        expected = np.concatenate([np.zeros(0), *(order[part][:-1] for order in orders)])
        assert arrays[part].tobytes() == expected.astype(np.float32).tobytes()
    assert sizes["depth"] == max(0, len(orders) - 1)
    assert arrays["weight"] == np.float32(model.weight)
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


def test_command_writes_the_file_and_a_page_and_says_what_is_in_it(tmp_path, run):
    model, path = Model(tmp_path, LETTERS[:5]), tmp_path
    torch.save(model.run, path / "mlp.pt")
    model.path.write_bytes(b"the old one")
    with small_disk(len(model.data) - 1):
        done = run("export.py", f"--out_dir={path}")
    one_sentence("export.py", done.err, model.path)
    assert done.status == 1 and model.path.read_bytes() == b"the old one"
    (path / "mlp.bin.tmp").unlink(missing_ok=True)
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
