"""Files of safetensors read by this kit: what the library reads, and refused what it refuses; never mapped."""

import json
import random
import struct

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dora_repro.checkpoint.opening import open_tree
from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.errors import BadInput


def written(path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(shape, begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_random_files_read_as_the_library_reads_them(tmp_path):
    dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.uint16, torch.complex64]
    for seed in range(20):
        draw = random.Random(seed)
        tensors = {
            f"name {number}": torch.zeros([draw.randrange(4) for _ in range(draw.randrange(4))])
            .uniform_(0, 9)
            .to(draw.choice(dtypes))
            for number in range(draw.randrange(6))
        }
        save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
        found, expected = read(tmp_path / "a.safetensors"), load_file(tmp_path / "a.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


BAD = {
    "a shape that does not fit": ({"w": entry([3], 0, 8)}, bytes(8)),
    "an overlap": ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "a gap": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
    "bytes behind": ({"a": entry([1], 0, 4)}, bytes(8)),
    "too few bytes": ({"a": entry([2], 0, 8)}, bytes(4)),
    "a negative place": ({"a": entry([1], -4, 0)}, b""),
    "a fraction": ({"a": entry([1.5], 0, 4)}, bytes(4)),
    "a place too many": ({"a": {**entry([1], 0, 4), "data_offsets": [0, 4, 4]}}, bytes(4)),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)),
    "an unknown dtype": ({"a": entry([1], 0, 4, "F33")}, bytes(4)),
    "a list": ([1, 2], b""),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b""),
    "no JSON": (b"{nonsense", b""),
    "a name twice": (b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},' * 2 + b"}", b""),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_library_refuses_is_refused(name, tmp_path):
    path = tmp_path / "a.safetensors"
    written(path, *BAD[name])
    with pytest.raises(SafetensorError):
        load_file(path)
    with pytest.raises(BadInput, match=r"cannot read .*a\.safetensors: "):
        open_tree(path)


@pytest.mark.parametrize("shape", [[0, 1 << 62], [1] * 65, [0] * 2000])
def test_shapes_that_nothing_can_count_with_are_refused(shape, tmp_path):
    path = tmp_path / "a.safetensors"
    written(path, {"w": entry(shape, 0, 0 if 0 in shape else 4)}, b"" if 0 in shape else bytes(4))
    with pytest.raises(BadInput, match="sizes"):
        leaves_of_file(path)


def test_a_tensor_does_not_change_with_its_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.arange(100.0)}, path)
    whole = read(path)["w"]
    with open(path, "r+b") as file:
        file.truncate(200)
    assert whole.tolist() == list(range(100))


def test_a_file_that_was_replaced_is_not_taken_for_the_one_that_was_listed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    leaves = leaves_of_file(path)
    save_file({"w": torch.ones(2)}, tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").replace(path)
    with pytest.raises(BadInput, match="it was replaced"):
        leaves["w"]
