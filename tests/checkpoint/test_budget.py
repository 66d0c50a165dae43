"""Small files that stand for much are refused before it is spent; ordinary ones stay far from what they may take."""

import io
import json
import os
import pickle
import struct
import tracemalloc

import numpy
import pytest
import torch
from safetensors.torch import save_file

from dora_repro.checkpoint import budget
from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.components import Role, judge
from dora_repro.checkpoint.guard import Malformed
from dora_repro.checkpoint.opening import open_tree
from dora_repro.checkpoint.reading import leaves_of_file
from dora_repro.checkpoint.walking import walk
from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput


@pytest.fixture(autouse=True)
def _a_tenth(monkeypatch):
    """Files of a tenth of the size that would take as long as a user waits, and a tenth of what is free to any file."""
    monkeypatch.setattr(budget, "FREE_WORK", budget.FREE_WORK // 10)
    monkeypatch.setattr(budget, "FREE_MEMORY", budget.FREE_MEMORY // 10)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def nested_file() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.zeros(1).untyped_storage(), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


TUPLE = b"(" + b"K\x01" * 900 + b"tq\x00"
NESTED = nested_file()
COSTLY = {
    "a name of a memoized megabyte": b"\x80\x04]"
    + text("a" * 1_000_000)
    + b"q\x000("
    + b"h\x00h\x00\x93" * 3000
    + b"e.",
    "a key of many parts": b"\x80\x02}(" + TUPLE + b"N" + b"h\x00N" * 3000 + b"u.",
    "sets of such keys": b"\x80\x04](" + (b"\x8f(" + TUPLE + b"h\x00" * 2000 + b"\x90") + b"e.",
    "a set made of a list of them": b"\x80\x02](("
    + TUPLE
    + b"h\x00" * 500
    + b"lq\x01"
    + b"cbuiltins\nset\nh\x01\x85R" * 5
    + b"e.",
    "empty sets": b"\x80\x04](" + b"\x8f" * 300_000 + b"e.",
    "marks": b"\x80\x04" + b"(" * 500_000 + b".",
    "deques": b"\x80\x04](ccollections\ndeque\nq\x00)R" + b"h\x00)R" * 60_000 + b"e.",
    "a nested file again and again": b"\x80\x04](ctorch.storage\n_load_from_bytes\nq\x00B"
    + struct.pack("<I", len(NESTED))
    + NESTED
    + b"\x85q\x01R"
    + b"h\x00h\x01R" * 1200
    + b"e.",
    "an array that is built again and again": b"\x80\x02](cnumpy.core.multiarray\n_reconstruct\nq\x00(cnumpy\nndarray\n"
    + b"K\x00\x85C\x01btq\x01R(K\x01J\x40\x42\x0f\x00\x85cnumpy\ndtype\nU\x02u1\x85R\x89B\x40\x42\x0f\x00"
    + bytes(1_000_000)
    + b"tq\x02b"
    + b"h\x00h\x01Rh\x02b" * 300
    + b"e.",
    "keys of one hash": b"\x80\x04}("
    + b"".join(b"\x8a\x0a" + (number * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for number in range(1, 9000))
    + b"u.",
}


@pytest.mark.parametrize("name", COSTLY)
def test_pickles_that_stand_for_much_are_refused_as_they_are_read(name, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(COSTLY[name])
    with pytest.raises(BadInput, match=r"file\.pt: reading it takes too much (work|memory) for its \d+ bytes"):
        open_tree(path)


SHARED = {
    "a long list under many names": b"\x80\x02("
    + b"K\x01" * 100_000
    + b"tq\x000}("
    + b"".join(text(str(number)) + b"h\x00" for number in range(100))
    + b"u.",
    "a long key of many dicts": b"\x80\x02](" + text("k" * 1_000_000) + b"q\x000" + b"}h\x00Ns" * 100 + b"e.",
    "a list that doubles": b"\x80\x02]" + b"2\x86" * 40 + b".",
}


@pytest.mark.parametrize("name", SHARED)
def test_values_that_are_shared_beyond_reason_are_refused_as_they_are_listed(name, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(SHARED[name])
    open_tree(path)
    with pytest.raises(BadInput, match=r"takes too much (work|memory) for its \d+ bytes"):
        leaves_of_file(path)


def test_views_that_repeat_their_storage_are_refused_as_they_are_compared(tmp_path):
    torch.save([torch.zeros(1).expand(10_000_000) for _ in range(4)], tmp_path / "file.pt")
    assert len(leaves_of_file(tmp_path / "file.pt")) == 4
    with pytest.raises(BadInput, match="too much work"):
        compare(tmp_path / "file.pt", tmp_path / "file.pt")


def test_json_is_weighed_before_it_is_parsed(tmp_path):
    (tmp_path / "file.json").write_text("[" + "[]," * 330_000 + "[]]")
    with pytest.raises(BadInput, match="too much memory"):
        open_tree(tmp_path / "file.json")


def ordinary(folder) -> dict[str, object]:
    weights = torch.zeros(2000)
    torch.save({f"layer.{number}.weight": one for number, one in enumerate(weights.unbind())}, folder / "views.pt")
    torch.save({f"layer.{number}": torch.zeros(2) for number in range(200)}, folder / "storages.pt")
    torch.save({f"name {number}": number for number in range(10_000)}, folder / "names.pt")
    torch.save({number: number for number in range(10_000)}, folder / "numbers.pt")
    torch.save([number / 7 for number in range(30_000)], folder / "list.pt")
    torch.save({number: {"step": number, "ratio": 0.5} for number in range(2000)}, folder / "dicts.pt")
    torch.save([numpy.float32(number) for number in range(2000)], folder / "scalars.pt")
    with open(folder / "pickled.pt", "wb") as file:
        pickle.dump({f"layer.{number}": torch.zeros(2) for number in range(100)}, file)
    save_file({f"layer.{number}": torch.zeros(0) for number in range(1000)}, folder / "weights.safetensors")
    (folder / "state.json").write_text(json.dumps({f"name {n}": [n, {"loss": 0.5}] for n in range(2000)}))
    return {file.name: file for file in folder.iterdir()}


def test_ordinary_files_take_less_than_what_they_may(tmp_path):
    for name, file in ordinary(tmp_path).items():
        tree = open_tree(file)
        for _ in walk(tree.root, Role(), judge, tree.budget):
            pass
        whole = Budget(os.stat(file).st_size)
        assert tree.budget.work > 0.4 * whole.work, name
        assert tree.budget.memory > 0.5 * whole.memory, name


def test_what_lies_inside_is_taken_for_before_it_is_listed(tmp_path, monkeypatch):
    """Small dicts in a dict, lists in a list: what lists them is several times their size."""
    monkeypatch.setattr(budget, "FREE_MEMORY", 0)
    for name, root in {"dict": {number: {} for number in range(200_000)}, "list": [{} for _ in range(200_000)]}.items():
        tracemalloc.start()
        with pytest.raises(Malformed, match="too much memory"):
            list(walk(root, Role(), judge, Budget(300_000)))
        assert tracemalloc.get_traced_memory()[1] < 15_000_000, name
        tracemalloc.stop()


def test_two_small_files_are_read_and_compared_within_five_seconds():
    """A unit of work is a microsecond or less; files of 10 MB and of nothing, as they are outside of these tests."""
    free = 10 * budget.FREE_WORK
    assert 2 * (free + budget.SMALL / budget.BYTES_PER_WORK) < 5_000_000 and free >= 1_500_000


def test_what_is_left_is_counted_from_the_size_alone():
    small, large = Budget(1000), Budget(10**9)
    assert large.work > small.work and large.memory > small.memory
    small.take(small.work, small.memory)
    with pytest.raises(Malformed, match="reading it takes too much work for its 1000 bytes"):
        small.take(1)
    with pytest.raises(Malformed, match="too much memory"):
        large.take(0, large.memory + 1)


def test_views_that_alternate_between_large_storages_read_no_more_than_they_need(tmp_path, monkeypatch):
    """Moments in flat buffers: each view reads its own bytes, once the whole was checked."""
    one, other = torch.arange(300.0), -torch.arange(300.0)
    torch.save([(one, other)[place % 2][place : place + 2] for place in range(200)], tmp_path / "file.pt")
    monkeypatch.setattr("dora_repro.checkpoint.opening.KEPT", 400)
    for keep in (0, 400, 5000):
        tree = open_tree(tmp_path / "file.pt", keep=keep)
        before = tree.budget.work
        for place, entry in enumerate(tree.root):
            sign = -1 if place % 2 else 1
            assert entry.load().tolist() == [sign * place, sign * (place + 1)]
        assert before - tree.budget.work < 0.005 * (2 * 1200 + 200 * 8) + 1


def test_a_part_of_a_damaged_storage_is_refused(tmp_path):
    torch.save(torch.arange(300.0)[:2], tmp_path / "file.pt")
    data = bytearray((tmp_path / "file.pt").read_bytes())
    place = data.find(numpy.float32(299).tobytes())
    data[place] ^= 1
    (tmp_path / "file.pt").write_bytes(data)
    with pytest.raises(Malformed, match="its checksum does not fit"):
        open_tree(tmp_path / "file.pt", keep=0).root.load()


@pytest.mark.parametrize("save", [torch.save, save_file], ids=["torch", "safetensors"])
def test_who_looks_at_the_same_leaves_again_and_again_is_no_burden_of_the_file(tmp_path, save):
    save({"a": torch.arange(200_000), "b": torch.arange(200_000)}, tmp_path / "file")
    leaves = leaves_of_file(tmp_path / "file")
    first = leaves["a"], leaves["b"]
    work = leaves._budgets[tmp_path / "file"].work
    for _ in range(100):
        again = leaves["a"], leaves["b"]
    assert all(map(torch.equal, first, again))
    assert leaves._budgets[tmp_path / "file"].work == work


def test_what_did_not_end_well_is_taken_for_again():
    left = Budget(0)
    with pytest.raises(Malformed, match="too much work"), left.once("a", left.work + 1):
        raise AssertionError("the block must not begin")
    with pytest.raises(Malformed, match="too much work"), left.once("a", 0):
        left.take(1)


@pytest.mark.parametrize(
    ("size", "work", "memory"),
    [
        (0, 1_500_000, 268_435_456),
        (12, 1_500_001, 268_435_744),
        (10_000_000, 1_500_000 + 10_000_000 / 12, 508_435_456),
        (10_000_002, 1_500_004 + 10_000_000 / 12, 508_435_504),
    ],
)
def test_what_a_file_may_take_grows_with_its_size(size, work, memory, monkeypatch):
    monkeypatch.undo()
    made = Budget(size)
    assert (made.work, made.memory) == (pytest.approx(work, abs=0.01), memory)


def test_all_that_is_left_may_be_taken_and_no_more():
    made = Budget(0)
    work, memory = made.work, made.memory
    made.take(work=work)
    assert (made.work, made.memory) == (0, memory)
    with pytest.raises(Malformed, match="too much work for its 0 bytes"):
        made.take(work=1)
    made = Budget(0)
    made.take(work=work)
    with pytest.raises(Malformed, match="too much memory for its 0 bytes"):
        made.take(memory=memory + 1)
    made = Budget(0)
    made.take(memory=memory)
    assert (made.work, made.memory) == (work, 0)
    with pytest.raises(Malformed, match="too much memory for its 0 bytes"):
        made.take(memory=1)
    made = Budget(0)
    made.take_bytes(1000)
    assert made.work == work - 5
