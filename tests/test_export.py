import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch

import export
from conftest import ROOT, one_sentence, small_disk


def parse(data):
    """The file as export.py describes it: sizes, vocabulary, weights, and where they begin."""
    magic, version, block_size, vocab_size, n_embd, n_hidden = struct.unpack_from("<4s5I", data)
    assert (magic, version) == (b"NPLM", 1)
    at, vocab = 24, []
    for _ in range(vocab_size):
        length = data[at]
        vocab.append(data[at + 1:at + 1 + length].decode("utf-8"))
        at += 1 + length
    while at % 4:
        assert data[at] == 0
        at += 1
    start, weights = at, {}
    for name, *shape in (("C", vocab_size, n_embd), ("W1", block_size * n_embd, n_hidden),
                         ("b1", n_hidden), ("W2", n_hidden, vocab_size), ("b2", vocab_size)):
        weights[name] = np.frombuffer(data, "<f4", int(np.prod(shape)), at).reshape(shape)
        at += weights[name].nbytes
    assert struct.unpack_from("<I", data, at) == (zlib.crc32(data[:at]),)
    assert len(data) == at + 4
    return (vocab_size, block_size, n_embd, n_hidden), vocab, weights, start


def same_bits(reference):
    sizes, vocab, weights, start = parse(reference.bin.read_bytes())
    assert sizes == reference.shape and vocab == reference.itos and start % 4 == 0
    state = reference.checkpoint["model"]
    assert set(weights) == set(state)
    for name, p in state.items():
        assert weights[name].tobytes() == p.numpy().astype("<f4").tobytes()
    return start


def test_round_trip_of_a_trained_model(trained):
    same_bits(trained)


@pytest.mark.parametrize("characters", [
    "a", "aé", "aé中", "aé中🌍", ". 0~\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff",
    [chr(0x4E00 + i) for i in range(700)]])
def test_round_trip_whatever_the_vocabulary(random_model, characters):
    same_bits(random_model(characters))


def test_padding_is_as_long_as_needed(random_model):
    ends = {(24 + 2 + sum(1 + len(ch.encode()) for ch in chars)) % 4
            for chars in ("a", "é", "中", "aé")}
    assert ends == {0, 1, 2, 3}
    for characters in ("a", "é", "中", "aé"):
        same_bits(random_model(characters))


def test_weights_that_are_odd_but_finite_keep_their_bits(random_model):
    odd = torch.tensor([-0.0, 1e-45, -1e-40, 1.1e15])
    same_bits(random_model("abc", n_hidden=4, change=lambda model: model.b1.copy_(odd)))


def test_it_says_what_it_wrote(trained, capsys):
    export.main([f"--out_dir={trained.out_dir}"])
    out = capsys.readouterr().out.replace(",", "")
    assert str(trained.bin) in out and str(trained.bin.stat().st_size) in out


def test_out_dir_is_out_unless_given(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    export.main([])
    assert (tmp_path / "out" / "mlp.bin").read_bytes() == trained.bin.read_bytes()
    assert sorted(os.listdir(tmp_path / "out")) == ["mlp.bin", "mlp.pt"]


def test_help_names_the_option_and_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        export.main(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "--out_dir" in out and "out)" in out


@pytest.mark.parametrize("argv, named", [(["--nonsense"], "--nonsense"), (["stray"], "stray"),
                                         (["--out_dir"], "--out_dir")])
def test_wrong_command_line(refused, argv, named):
    refused(export, argv, 2, named)


# -----------------------------------------------------------------------------
# Bad input. An earlier mlp.bin lies in the folder, and has to outlive it.

@pytest.fixture
def broken(trained, tmp_path, refused):
    """broken(content, *named): a mlp.pt of that content, bytes or an object to save, is refused."""
    def run(content, *named):
        (tmp_path / "mlp.bin").write_bytes(b"the old one")
        if isinstance(content, bytes):
            (tmp_path / "mlp.pt").write_bytes(content)
        elif content is not None:
            torch.save(content, tmp_path / "mlp.pt")
        refused(export, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.pt", *named)
        assert (tmp_path / "mlp.bin").read_bytes() == b"the old one"
        assert set(os.listdir(tmp_path)) <= {"mlp.bin", "mlp.pt"}
    return run


@pytest.mark.parametrize("content", [
    None, b"", b"emma\nolivia\n", b"PK\x03\x04", b"\x80\x02K\x01.", 7, [1, 2], {}, {"model": {}},
    {"model": None, "config": None, "itos": None}, {"C": torch.zeros(27, 10)},
], ids=repr)
def test_checkpoint_of_something_else(broken, content):
    broken(content)


def test_half_a_checkpoint(broken, trained):
    content = (trained.out_dir / "mlp.pt").read_bytes()
    broken(content[:len(content) // 2])


def test_folder_as_checkpoint(broken, tmp_path):
    (tmp_path / "mlp.pt").mkdir()
    broken(None)


@pytest.mark.parametrize("change", [
    lambda c: c["model"].pop("b1"),
    lambda c: c["model"].update(W1=torch.zeros(3, 3)),
    lambda c: c["model"].update(W2=c["model"]["W2"].T.contiguous()),
    lambda c: c["model"].update(b2=[0.0]),
    lambda c: c["config"].pop("block_size"),
    lambda c: c["config"].update(n_hidden="many"),
    lambda c: c["itos"].append("ab"),
], ids=["no b1", "another W1", "W2 turned", "b2 a list", "no block_size", "n_hidden text",
        "a token more"])
def test_checkpoint_that_does_not_fit_itself(broken, trained, change):
    checkpoint = torch.load(trained.out_dir / "mlp.pt", weights_only=True)
    change(checkpoint)
    broken(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -2.0**50])
@pytest.mark.parametrize("name", ["C", "W1", "b1", "W2", "b2"])
def test_weight_that_is_not_finite(broken, trained, name, value):
    checkpoint = torch.load(trained.out_dir / "mlp.pt", weights_only=True)
    checkpoint["model"][name].view(-1)[-1] = value
    broken(checkpoint, name)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_code_in_a_checkpoint_is_not_run(broken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken(Harmful())


def test_full_disk_leaves_the_old_file(trained, tmp_path, refused):
    (tmp_path / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    (tmp_path / "mlp.bin").write_bytes(b"the old one")
    with small_disk(1000):
        refused(export, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.bin")
    assert (tmp_path / "mlp.bin").read_bytes() == b"the old one"
    assert sorted(os.listdir(tmp_path)) == ["mlp.bin", "mlp.pt"]


def test_full_disk_under_the_output(trained, full_device):
    done = subprocess.run([sys.executable, ROOT / "export.py", f"--out_dir={trained.out_dir}"],
                          stdout=full_device, stderr=subprocess.PIPE, text=True)
    one_sentence("export.py", done.stderr, "output")
    assert done.returncode == 1


def test_folder_in_place_of_the_file(trained, tmp_path, refused):
    (tmp_path / "mlp.pt").write_bytes((trained.out_dir / "mlp.pt").read_bytes())
    (tmp_path / "mlp.bin").mkdir()
    refused(export, [f"--out_dir={tmp_path}"], 1, tmp_path / "mlp.bin")
    assert sorted(os.listdir(tmp_path)) == ["mlp.bin", "mlp.pt"]


def test_exit_status_of_the_program(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "export.py", f"--out_dir={tmp_path}"],
                          capture_output=True, text=True)
    one_sentence("export.py", done.stderr, tmp_path / "mlp.pt")
    assert done.returncode == 1 and not done.stdout
