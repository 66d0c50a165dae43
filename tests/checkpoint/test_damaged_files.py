"""Cut, flipped, empty and foreign files: BadInput, or the same content where the damage does not count."""

import io
import json
import pickle
import random

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dora_repro.checkpoint import opening
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.errors import BadInput

LOOKS = {"read": read, "inspect": inspect, "leaves": lambda path: dict(leaves_of_file(path))}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A checkpoint in each format, as bytes."""
    data = {
        "model": {"w": torch.arange(40.0), "b": torch.ones(3)},
        "epoch": 3,
        "rng": numpy.random.get_state(),
    }
    found = {"zip": io.BytesIO(), "legacy": io.BytesIO(), "pickle": io.BytesIO()}
    torch.save(data, found["zip"])
    torch.save(data, found["legacy"], _use_new_zipfile_serialization=False)
    pickle.dump({**data, "model": 0}, found["pickle"])
    return {name: buffer.getvalue() for name, buffer in found.items()}


def lengths(size: int) -> list[int]:
    return sorted(
        {
            0,
            1,
            4,
            8,
            *range(0, size, max(size // 60, 1)),
            size - 1000,
            size - 23,
            size - 22,
            size - 2,
            size - 1,
        }
    )


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_file_cut_anywhere_is_bad_input(kind, files, tmp_path):
    path = tmp_path / "file.pt"
    for length in lengths(len(files[kind])):
        path.write_bytes(files[kind][:length])
        for look in LOOKS.values():
            with pytest.raises(BadInput, match=r"cannot read .*file\.pt: .*; take another copy"):
                look(path)


def test_a_flipped_bit_in_a_zip_is_bad_input_or_changes_nothing(files, tmp_path, same):
    path = tmp_path / "file.pt"
    path.write_bytes(files["zip"])
    whole = read(path)
    chosen = random.Random(0)
    seen = {"refused": 0, "equal": 0}
    for _ in range(600):
        data = bytearray(files["zip"])
        place = chosen.randrange(len(data))
        data[place] ^= 1 << chosen.randrange(8)
        path.write_bytes(data)
        try:
            found = read(path)
        except BadInput:
            seen["refused"] += 1
        else:
            seen["equal"] += 1
            same(found, whole)
    assert seen["refused"] > 200  # the equal ones hit padding, dates, and names that are stored twice


def test_every_bit_of_the_tensors_and_of_the_pickle_counts_in_a_zip(files, tmp_path):
    path = tmp_path / "file.pt"
    wanted = [files["zip"].index(torch.arange(40.0).numpy().tobytes()), files["zip"].index(b"\x80\x02}")]
    for start in wanted:
        for place in range(start, start + 150, 7):
            data = bytearray(files["zip"])
            data[place] ^= 1 << place % 8
            path.write_bytes(data)
            with pytest.raises(BadInput, match="is damaged"):
                read(path)


@pytest.mark.parametrize("kind", ["legacy", "pickle"])
def test_a_flipped_bit_in_a_format_without_checksums_ends_in_values_or_bad_input(kind, files, tmp_path):
    path = tmp_path / "file.pt"
    chosen = random.Random(0)
    for _ in range(300):
        data = bytearray(files[kind])
        data[chosen.randrange(min(len(data), 1500))] ^= 1 << chosen.randrange(8)
        path.write_bytes(data)
        try:
            inspect(path)
            read(path)
        except BadInput:
            pass


def test_a_damaged_tensor_is_seen_when_its_leaf_is_loaded(files, tmp_path):
    data = bytearray(files["zip"])
    data[data.index(torch.arange(40.0).numpy().tobytes()) + 8] ^= 4
    (tmp_path / "file.pt").write_bytes(data)
    leaves = leaves_of_file(tmp_path / "file.pt")  # lists without reading tensors
    assert leaves["model/b"].tolist() == [1, 1, 1]
    with pytest.raises(BadInput, match=r"its record '.*/data/0' is damaged \(its checksum does not fit its bytes\)"):
        leaves["model/w"]


def test_safetensors_cut_or_with_a_damaged_header_are_bad_input(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(40.0), "b": torch.ones(3)}, path)
    data = path.read_bytes()
    for length in range(0, len(data), 9):
        path.write_bytes(data[:length])
        for look in LOOKS.values():
            with pytest.raises(BadInput, match=r"cannot read .*model\.safetensors"):
                look(path)
    for claim in (0, 1, 7, 1 << 20, 1 << 62):
        path.write_bytes(claim.to_bytes(8, "little") + data[8:])
        with pytest.raises(BadInput, match=r"cannot read .*model\.safetensors"):
            read(path)
    path.write_bytes(data.replace(b'"shape":[40]', b'"shape":[99]'))
    with pytest.raises(BadInput, match="header does not fit"):
        inspect(path)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


FOREIGN = {
    "empty": (b"", "it is empty"),
    "PNG": (png(), r"no file of torch, pickle or safetensors \(it begins with b'.x89PNG"),
    "JSON": (json.dumps({"a": 1}).encode(), "no file of torch"),
    "text": (b"just some text\n", "no file of torch"),
    "pickle of protocol 0": (pickle.dumps({"a": 1}, protocol=0), "no file of torch"),
    "ELF": (b"\x7fELF" + bytes(100), "no file of torch"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_bad_input(name, tmp_path):
    data, words = FOREIGN[name]
    (tmp_path / "file.pt").write_bytes(data)
    for look in LOOKS.values():
        with pytest.raises(BadInput, match=words):
            look(tmp_path / "file.pt")


def test_zip_files_of_other_programs_are_bad_input(tmp_path):
    numpy.savez(tmp_path / "arrays.npz", a=numpy.zeros(3))
    with pytest.raises(BadInput, match=r"it is a zip file with 0 records data\.pkl"):
        read(tmp_path / "arrays.npz")


def test_a_missing_file_and_a_folder_of_nothing_are_bad_input(tmp_path):
    for look in LOOKS.values():
        with pytest.raises(BadInput, match="there is no such file; check the path"):
            look(tmp_path / "none.pt")
    with pytest.raises(BadInput, match="it is a folder; name a file in it"):
        read(tmp_path)
    for look in (inspect, leaves_of_file):
        with pytest.raises(BadInput, match="no file in it is a checkpoint"):
            look(tmp_path)


def test_something_that_is_no_ordinary_file_is_bad_input():
    with pytest.raises(BadInput, match="it is no ordinary file"):
        read("/dev/null")


def test_bytes_after_the_end_are_bad_input(files, tmp_path):
    for kind in ("legacy", "pickle"):
        (tmp_path / "file.pt").write_bytes(files[kind] + b"x")
        with pytest.raises(BadInput, match=r"followed by|follow its last storage"):
            read(tmp_path / "file.pt")


def test_words_that_quote_a_file_hold_no_control_characters(tmp_path):
    (tmp_path / "file.pt").write_bytes(b"\x80\x02c\x1b[31mred\nname\n\x1b[0m.")
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "file.pt")
    assert str(caught.value).isprintable()


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    """Somebody saves by rename: a whole file is there at every moment."""
    path, opened = tmp_path / "file.pt", []
    torch.save({"a": torch.zeros(3)}, path)
    real = opening.torch_root

    def replaced(*args):
        opened.append(path)
        if len(opened) <= times:
            torch.save({"a": torch.ones(3)}, tmp_path / "new.pt")
            (tmp_path / "new.pt").replace(path)
        return real(*args)

    monkeypatch.setattr(opening, "torch_root", replaced)
    for look in LOOKS.values():
        times = 2
        opened.clear()
        look(path)
        assert len(opened) >= 3
    assert read(path)["a"].tolist() == [1, 1, 1]
    times = 100
    opened.clear()
    with pytest.raises(BadInput, match="it was replaced or written to while it was being read"):
        read(path)
