"""One table of damage: model files, each with the part that it damages, for C, NumPy, JavaScript.

The checksum is made right again, unless it says otherwise, so that the other checks have to see it.
All three readers name the part in the same sentence."""

import json
import struct
import zlib

import numpy as np
import pytest

import sample
from conftest import UNICODE, Model, one_sentence
from test_export import read
from test_ports import SCRIPT

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small mixture, which every file of the table is a damaged copy of."""
    return Model(tmp_path_factory.mktemp("whole"), UNICODE, n_hidden=5, n_orders=3)


def put(name, at, value):
    """The number at this place of an array, -1 for the last, is another."""
    def change(data, sizes, arrays, offsets):
        array = arrays[name]
        place = offsets[name] + at % array.size * array.itemsize
        packed = np.array(value).astype(array.dtype).tobytes()
        data[place:place + len(packed)] = packed
    return change


def size(at, value):
    """A number of the head: 0 magic, 1 version, then vocab_size, n_bytes, block_size, ..."""
    def change(data, *rest):
        data[4 * at:4 * at + 4] = value if isinstance(value, bytes) else struct.pack("<I", value)
    return change


def token(old, new):
    """The text of a token is another, as long in bytes."""
    def change(data, sizes, arrays, offsets):
        start = data.index(old.encode(), offsets["text"])
        assert len(new) == len(old.encode()) and start < offsets["C"]
        data[start:start + len(new)] = new
    return change


def cut(n):
    def change(data, *rest):
        del data[len(data) - n:]
    return change


def flip(data, sizes, arrays, offsets):
    data[offsets["W1"] + 2] ^= 4


NOT_A_MODEL, VERSION = "is not a model written by export.py", "is of another version"
DAMAGE = [  # what, the part that is named, how, and whether the checksum is made right
    ("another magic", NOT_A_MODEL, size(0, b"GGUF")), ("lower case", NOT_A_MODEL, size(0, b"nplm")),
    ("version 2", VERSION, size(1, 2)), ("version 4", VERSION, size(1, 4)),
    ("version of the other end", VERSION, size(1, b"\0\0\0\3")),
    ("a bit", "checksum", flip, False), ("cut, with the old checksum", "checksum", cut(64), False),
    ("one token", "sizes", size(2, 1)), ("no token", "sizes", size(2, 0)),
    ("too many tokens", "sizes", size(2, 2**22)), ("long contexts", "sizes", size(4, 257)),
    ("wide embedding", "sizes", size(5, 1025)), ("wide layer", "sizes", size(6, 65537)),
    ("deep tree", "sizes", size(9, 257)), ("sizes that overflow", "sizes", size(4, 2**31)),
    ("a token more", ("length", "start"), size(2, len(UNICODE) + 2)),
    ("a byte more", ("length", "start"), size(3, 2**31)), ("a context more", None, size(7, 10**9)),
    ("an n-gram more", None, size(8, 10**9)), ("no contexts", None, size(7, 0)),
    ("cut", "length", cut(64)), ("longer", "length", lambda data, *rest: data.extend(bytes(64))),
    ("a late start", "start", put("start", 0, 1)), ("a fall", "start", put("start", 2, 9)),
    ("a far start", "start", put("start", 3, 10**6)), ("an end", "start", put("start", -1, 5)),
    *((f"{value} in {name}", name, put(name, place, value)) for name, place, value in (
        ("C", 0, NAN), ("C", -1, INF), ("W1", -1, -INF), ("b1", 0, 2.0**50 * 1.01), ("W2", 7, NAN),
        ("b2", 3, INF), ("weight", 0, NAN), ("weight", 0, 1.1), ("weight", 0, -0.1),
        ("kept", 0, 1.5), ("kept", -1, NAN), ("backoff", 0, -0.5), ("backoff", -1, NAN),
        ("left", -1, len(UNICODE) + 1), ("token", 2, 2**32 - 1))),
    ("a child that is its parent", "first_child", put("first_child", 0, 0)),
    ("children that fall", "first_child", put("first_child", 3, 10**6)),
    ("children that end early", "first_child", put("first_child", -1, 2)),
    ("n-grams that fall", "first_gram", put("first_gram", 2, 0)),
    ("n-grams that start late", "first_gram", put("first_gram", 0, 1)),
    ("shares that are too small", "sum of probabilities", put("backoff", 1, 0.0)),
    ("shares that are too large", "sum of probabilities", put("kept", 1, 1.0)),
    *((f"{old!r} is {new}", "vocabulary", token(old, new)) for old, new in (
        ("\n", b"!"), ("7", b"."), ("7", b"z"),  # no boundary; twice the same; out of order
        (".", b"\x1b"), ("é", b"\xc2\x9b"), (".", b"\n"), ("é", b"\xff\xff"),
        ("中", b"\xe0\x81\xa1"), ("中", b"\xed\xa0\x80"),  # overlong; a surrogate
        ("🌍", b"\xf0\x9f\x8ca"), ("🌍", b"\xf4\x90\x80\x80"))),
    ("an empty token", ("vocabulary", "start"), put("start", 3, 2)),
]


def damaged(whole, change, mend=True):
    data = bytearray(whole.data)
    change(data, *read(whole.data))
    return bytes(data[:-4]) + struct.pack("<I", zlib.crc32(data[:-4])) if mend else bytes(data)


@pytest.fixture(scope="module")
def said_by_page(whole, node, tmp_path_factory):
    """What the page's script says to each file of the table: a list of str."""
    folder = tmp_path_factory.mktemp("damage")
    for i, (_, _, *how) in enumerate(DAMAGE):
        (folder / str(i)).write_bytes(damaged(whole, *how))
    out = node(SCRIPT + f"""
        for (let i = 0; i < {len(DAMAGE)}; i++) {{
          let said = "";
          try {{ read({json.dumps(str(folder))} + "/" + i); }} catch (e) {{ said = e.message; }}
          console.log(JSON.stringify(said));
        }}""")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("i", range(len(DAMAGE)), ids=[row[0] for row in DAMAGE])
def test_all_three_readers_name_the_part(whole, run, sanitized, said_by_page, tmp_path, i):
    _, part, *how = DAMAGE[i]
    path = tmp_path / "damaged.bin"
    path.write_bytes(damaged(whole, *how))
    parts = part if isinstance(part, tuple) else (part or "is damaged: its ",)
    done = sanitized.run(path, "-s", "1")
    one_sentence("sample", done.err, path)
    with pytest.raises(ValueError) as refused:
        sample.load(path)
    assert done.status == 1 and not done.out
    for said in (done.err, str(refused.value), said_by_page[i]):
        assert any(each in said for each in parts), said


def test_the_whole_file_is_a_model_and_its_beginning_none(whole, sanitized, node, tmp_path):
    assert sanitized.run(whole.path, "-s", "1").status == 0 and sample.load(whole.path)
    assert node(SCRIPT + f"read({json.dumps(str(whole.path))}); console.log(1)") == "1\n"
    path = tmp_path / "cut.bin"
    for n in (0, 1, 4, 8, 63, 64, 67, 68, 200, 1000):
        for end in (b"", struct.pack("<I", zlib.crc32(whole.data[:n]))):
            path.write_bytes(whole.data[:n] + end)
            with pytest.raises(ValueError) as refused:
                sample.load(path)
            assert sanitized.run(path, "-s", "1").err == f"sample: {refused.value}\n"


def test_harmless_damage_is_harmless(whole, sanitized, tmp_path):
    """Some bytes differ, and the checksum is right: refused by both, or the same names."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole.data)
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(8, rng.choice([64, 400, len(data) - 4]))
            data[place] = rng.choice([0, 1, 2, 63, 127, 255])
        path = tmp_path / "odd.bin"
        path.write_bytes(data[:-4] + struct.pack("<I", zlib.crc32(data[:-4])))
        done = sanitized.run(path, "-n", "3", "-s", "1", "-t", "0.9")
        try:
            names = list(sample.names(sample.load(path), 3, 1, temperature=0.9))
            assert (done.status, done.out.split("\n")[:-1]) == (0, names)
        except ValueError as e:
            assert done.err == f"sample: {e}\n" and done.status == 1
