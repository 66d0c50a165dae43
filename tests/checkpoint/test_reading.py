"""What is written comes back, byte for byte, and objects come back as stubs."""

import collections
import datetime
import functools
import io
import pathlib
import pickle
import subprocess
import sys

import numpy
import pytest
import torch
from safetensors.torch import save_file

from dora_repro.checkpoint.reading import Leaves, leaves_of_file, read
from dora_repro.checkpoint.stub import Stub
from dora_repro.errors import BadInput

FORMATS = {
    "zip": lambda data, path: torch.save(data, path),
    "zip of protocol 4": lambda data, path: torch.save(data, path, pickle_protocol=4),
    "legacy": lambda data, path: torch.save(data, path, _use_new_zipfile_serialization=False),
    "pickle": lambda data, path: path.write_bytes(pickle.dumps(data)),
    "pickle of protocol 2": lambda data, path: path.write_bytes(pickle.dumps(data, protocol=2)),
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_everything_usual_reads_equal_to_what_torch_loads(write, usual, same, tmp_path):
    write(usual, tmp_path / "file.pt")
    same(read(tmp_path / "file.pt"), usual)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_leaves_hold_the_same_bytes_as_reading_whole(write, usual, same, tmp_path):
    write(usual, tmp_path / "file.pt")
    leaves, whole = leaves_of_file(tmp_path / "file.pt"), read(tmp_path / "file.pt")
    same(leaves["optimizer/state/0/exp_avg"], whole["optimizer"]["state"][0]["exp_avg"])
    same(leaves["python_rng_state/1"], whole["python_rng_state"][1])
    same(leaves["view"], usual["view"])
    assert leaves["optimizer/param_groups/0/lr"] == usual["optimizer"]["param_groups"][0]["lr"]
    tensors = [name for name in leaves if isinstance(leaves[name], torch.Tensor)]
    assert len(tensors) == 7 + 4 * 3 + 1 + 13  # model, optimizer, generator, the single ones


def test_the_comparison_of_these_tests_sees_a_planted_byte(usual, same, tmp_path):
    torch.save(usual, tmp_path / "file.pt")
    changed = read(tmp_path / "file.pt")
    changed["minus zero and nan"][1] = -0.0
    with pytest.raises(AssertionError, match="minus zero and nan"):
        same(changed, usual)


def test_tensors_that_shared_memory_share_it_again(tmp_path):
    base = torch.arange(12.0)
    torch.save({"base": base, "view": base[3:7], "tied": base}, tmp_path / "file.pt")
    data = read(tmp_path / "file.pt")
    data["base"][3] = 99
    assert data["view"][0] == 99 and data["tied"][3] == 99


def test_legacy_views_of_one_storage_share_it_again(tmp_path):
    base = torch.arange(12.0)
    torch.save({"view": base[3:7], "base": base}, tmp_path / "file.pt", _use_new_zipfile_serialization=False)
    data = read(tmp_path / "file.pt")
    data["base"][3] = 99
    assert data["view"].tolist() == [99, 4, 5, 6]


def test_two_loads_of_one_file_do_not_share_memory(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "file.pt")
    first = read(tmp_path / "file.pt")
    first["a"] += 1
    assert read(tmp_path / "file.pt")["a"].tolist() == [0, 0, 0]


PLAIN = {
    "set": {1, 2},
    "frozenset": frozenset([3]),
    "defaultdict": collections.defaultdict(dict, {1: {"a": 2}}),
    "Counter": collections.Counter("aab"),
    "OrderedDict": collections.OrderedDict(b=1, a=2),
    "deque": collections.deque([1, 2], maxlen=3),
    "slice": slice(1, 5, 2),
    "range": range(3),
    "complex": 1 + 2j,
    "bytearray": bytearray(b"xyz"),
    "datetime": datetime.datetime(2024, 2, 29, 12, 30, 1, 5),
    "aware": datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    "timedelta": datetime.timedelta(days=1, seconds=2),
    "size": torch.Size([1, 2]),
    "dtype": torch.bfloat16,
    "device": torch.device("cuda", 1),
    "layout": torch.strided,
    "numpy dtype": numpy.dtype(">i4"),
    "numpy scalar": numpy.float32(1.5),
    "numpy bool": numpy.bool_(True),
    "fortran array": numpy.arange(6.0).reshape(2, 3).T,
    "big-endian array": numpy.arange(3, dtype=">i4"),
    "strings": numpy.array(["ab", "c"]),
    "dates": numpy.array(["2020-01-01"], dtype="M8[D]"),
    "empty array": numpy.zeros((0, 3)),
    "complex array": numpy.array([1j], dtype="complex64"),
}


@pytest.mark.parametrize("value", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("protocol", [2, 5])
def test_plain_values_of_python_and_numpy_come_back_themselves(value, protocol, same, tmp_path):
    torch.save({"value": value}, tmp_path / "file.pt", pickle_protocol=protocol)
    same(read(tmp_path / "file.pt")["value"], value)


def test_paths_come_back_as_pure_ones_that_touch_no_disk(tmp_path):
    torch.save({"path": pathlib.Path("/a/b")}, tmp_path / "file.pt")
    assert read(tmp_path / "file.pt")["path"] == pathlib.PurePosixPath("/a/b")


PATHS_OF_PYTHON_3_13 = {  # of Path("/a/b"), PurePosixPath("c"), PureWindowsPath("C:/x") and the class Path, by protocol
    2: b"\x80\x02}q\x00(X\x04\x00\x00\x00pathq\x01cpathlib._local\nPosixPath\nq\x02"
    b"X\x04\x00\x00\x00/a/bq\x03\x85q\x04Rq\x05"
    b"X\x04\x00\x00\x00pureq\x06cpathlib._local\nPurePosixPath\nq\x07X\x01\x00\x00\x00cq\x08\x85q\tRq\n"
    b"X\x05\x00\x00\x00driveq\x0bcpathlib._local\nPureWindowsPath\nq\x0cX\x04\x00\x00\x00C:/xq\r\x85q\x0eRq\x0f"
    b"X\x04\x00\x00\x00kindq\x10cpathlib._local\nPath\nq\x11u.",
    4: b"\x80\x04\x95\x94\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x04path\x94\x8c\x0epathlib._local\x94"
    b"\x8c\tPosixPath\x94\x93\x94\x8c\x04/a/b\x94\x85\x94R\x94\x8c\x04pure\x94h\x02\x8c\rPurePosixPath\x94\x93\x94\x8c\x01c\x94\x85\x94R\x94"
    b"\x8c\x05drive\x94h\x02\x8c\x0fPureWindowsPath\x94\x93\x94\x8c\x04C:/x\x94\x85\x94R\x94"
    b"\x8c\x04kind\x94h\x02\x8c\x04Path\x94\x93\x94u.",
}


@pytest.mark.parametrize("protocol", PATHS_OF_PYTHON_3_13)
def test_paths_that_python_3_13_wrote_are_those_of_any_other(protocol, tmp_path):
    (tmp_path / "file.pkl").write_bytes(PATHS_OF_PYTHON_3_13[protocol])
    found = read(tmp_path / "file.pkl")
    assert found["path"] == pathlib.PurePosixPath("/a/b") and found["pure"] == pathlib.PurePosixPath("c")
    assert found["drive"] == pathlib.PureWindowsPath("C:/x") and found["kind"].name == "pathlib.Path"


def test_no_other_private_module_is_renamed(tmp_path):
    (tmp_path / "file.pkl").write_bytes(PATHS_OF_PYTHON_3_13[2].replace(b"pathlib._local", b"pathlib._other"))
    found = read(tmp_path / "file.pkl")
    assert isinstance(found["path"], Stub) and found["path"].name == "pathlib._other.PosixPath"


def test_meta_and_sparse_tensors_come_back(tmp_path):
    sparse = torch.eye(3).to_sparse().coalesce()
    torch.save({"meta": torch.empty(3, 2, device="meta"), "sparse": sparse}, tmp_path / "file.pt")
    data = read(tmp_path / "file.pt")
    assert data["meta"].is_meta and data["meta"].shape == (3, 2)
    assert torch.equal(data["sparse"].to_dense(), torch.eye(3))


class Settings:
    """An object of the user's own, as training arguments are."""

    def __init__(self):
        self.lr, self.names = 0.1, ["a"]


def test_objects_come_back_as_stubs_with_their_state(tmp_path):
    data = {
        "args": Settings(),
        "part": functools.partial(print, 1),
        "class": Settings,
        "rng": numpy.random.default_rng(0),
    }
    torch.save(data, tmp_path / "file.pt")
    data = read(tmp_path / "file.pt")
    assert all(type(value) is Stub for value in data.values())
    assert data["args"].name.endswith("test_reading.Settings")
    assert data["args"].state == {"lr": 0.1, "names": ["a"]}
    assert data["class"].args is None
    assert repr(data["class"]) == f"Stub({__name__}.Settings)"
    leaves = leaves_of_file(tmp_path / "file.pt")
    assert leaves["args/state/lr"] == 0.1 and leaves["args/__class__"].endswith("Settings")
    assert isinstance(leaves["rng/args/0/state/0/state/state"], int)


def test_a_whole_pickled_module_gives_its_tensors_in_both_formats(same, trained, tmp_path):
    for new in (True, False):
        torch.save(trained[0], tmp_path / "file.pt", _use_new_zipfile_serialization=new)
        leaves = leaves_of_file(tmp_path / "file.pt")
        found = [leaves[name] for name in leaves if name.endswith("/weight")]
        same(found, [trained[0][0].weight, trained[0][1].weight])


def test_state_dicts_keep_their_metadata(trained, tmp_path):
    torch.save(trained[0].state_dict(), tmp_path / "file.pt")
    assert read(tmp_path / "file.pt")._metadata == trained[0].state_dict()._metadata


def test_safetensors_read_the_same(same, tmp_path):
    data = {
        "b": torch.randn(2, 3),
        "a": torch.arange(3),
        "bf": torch.ones(2).bfloat16(),
        "empty": torch.empty(0, 2),
    }
    save_file(data, tmp_path / "model.safetensors")
    save_file(data, tmp_path / "renamed.bin")
    for name in ("model.safetensors", "renamed.bin"):
        whole, leaves = read(tmp_path / name), leaves_of_file(tmp_path / name)
        assert set(whole) == set(leaves) == set(data)
        for key, value in data.items():
            same(whole[key], value)
            same(leaves[key], value)
            assert leaves.entry(key).nbytes == value.numel() * value.element_size()


def test_a_file_of_the_other_byte_order_is_swapped(monkeypatch, tmp_path):
    torch.save({"a": torch.tensor([1.0, -2.5], dtype=torch.float64)}, tmp_path / "file.pt")
    monkeypatch.setattr("dora_repro.checkpoint.archive.sys.byteorder", "big")
    assert read(tmp_path / "file.pt")["a"].view(torch.uint8).tolist() == [63, 240, *[0] * 6, 192, 4, *[0] * 6]


def test_leaves_are_a_mapping_that_loads_on_access_only(monkeypatch, tmp_path):
    torch.save({"a": torch.zeros(1000), "b": {"c": 1, "d": [1, 2], "e": {}}}, tmp_path / "file.pt")
    loaded = []
    from dora_repro.checkpoint.archive import ZipArchive

    real = ZipArchive.load
    monkeypatch.setattr(ZipArchive, "load", lambda self, key, dtype: loaded.append(key) or real(self, key, dtype))
    leaves = leaves_of_file(tmp_path / "file.pt")
    assert isinstance(leaves, Leaves) and list(leaves) == ["a", "b/c", "b/d", "b/e"] and len(leaves) == 4
    assert leaves.entry("a").shape == (1000,) and leaves["b/d"] == [1, 2] and leaves["b/e"] == {}
    assert loaded == []
    assert leaves["a"].shape == (1000,) and loaded == ["0"]


def test_keys_that_read_the_same_stay_two_leaves(tmp_path):
    torch.save({1: "a", "1": "b", "\x1b[31mred": 2}, tmp_path / "file.pt")
    leaves = leaves_of_file(tmp_path / "file.pt")
    assert dict(leaves) == {"1 (int)": "a", "1": "b", "\\x1b[31mred": 2}
    torch.save({"1": "b", 1: "a"}, tmp_path / "file.pt")
    assert dict(leaves_of_file(tmp_path / "file.pt")) == {"1 (int)": "a", "1": "b"}  # whatever their order


def test_values_that_contain_themselves_end(tmp_path):
    loop: list = [torch.ones(1)]
    loop.append({"again": loop})
    torch.save({"loop": loop}, tmp_path / "file.pt")
    leaves = leaves_of_file(tmp_path / "file.pt")
    assert leaves["loop/1/again"] == "<a value that contains itself>"


def test_a_file_that_changes_between_two_accesses_is_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "file.pt")
    leaves = leaves_of_file(tmp_path / "file.pt")
    torch.save({"a": torch.ones(300)}, tmp_path / "file.pt")
    with pytest.raises(BadInput, match=r"replaced or written to while it was being read"):
        leaves["a"]


def test_leaves_of_a_folder_lie_below_its_files(tmp_path):
    torch.save({"state": {0: {"exp_avg": torch.ones(2)}}}, tmp_path / "optimizer.pt")
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text('{"global_step": 5}')
    leaves = leaves_of_file(tmp_path)
    assert list(leaves) == [
        "model.safetensors/w",
        "optimizer.pt/state/0/exp_avg",
        "trainer_state.json/global_step",
    ]
    assert leaves["optimizer.pt/state/0/exp_avg"].tolist() == [1, 1] and leaves["trainer_state.json/global_step"] == 5


def test_leaves_of_a_large_file_take_the_memory_of_one_storage(tmp_path):
    """16 storages of 4 MiB, walked in a process that may take 32 MiB more; reading them whole there fails."""
    torch.save({str(k): torch.full((1 << 20,), float(k)) for k in range(16)}, tmp_path / "file.pt")
    script = (
        "import resource, sys, torch\n"
        "from dora_repro.checkpoint.reading import leaves_of_file, read\n"
        "from dora_repro.checkpoint.contents import inspect\n"
        "from dora_repro.errors import BadInput\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (48 << 20),) * 2)\n"
        "assert inspect(sys.argv[1]).nbytes == 64 << 20\n"
        "leaves = leaves_of_file(sys.argv[1])\n"
        "print(*(int(leaves[name][-1]) for name in leaves))\n"
        "try:\n"
        "    read(sys.argv[1])\n"
        "except BadInput as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "file.pt"], capture_output=True, text=True, check=True
    )
    walked, whole = done.stdout.splitlines()
    assert walked == "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"
    assert whole.startswith(f"cannot read {tmp_path / 'file.pt'}: ") and "memory" in whole


def test_importing_the_package_imports_no_torch():
    script = "import sys, dora_repro.checkpoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_pickle_of_a_storage_is_read_as_its_bytes(tmp_path):
    torch.save({"s": torch.tensor([1, 2], dtype=torch.uint8).untyped_storage()}, tmp_path / "file.pt")
    assert leaves_of_file(tmp_path / "file.pt")["s"].tolist() == [1, 2]


def test_a_file_from_a_stream_in_the_middle_of_another_is_not_taken_for_one(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": 1}, buffer)
    (tmp_path / "file.pt").write_bytes(b"prefix" + buffer.getvalue())
    with pytest.raises(BadInput, match="no file of torch"):
        read(tmp_path / "file.pt")
