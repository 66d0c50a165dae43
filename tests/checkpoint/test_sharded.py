"""Folders of torch.distributed.checkpoint: read as full tensors, believed only as far as the bytes go."""

import io
import pickle
import warnings

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.guard import Malformed
from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.checkpoint.sharded import Chunk, Item, _check_tiling
from dora_repro.errors import BadInput


@pytest.fixture
def folder(trained, tmp_path):
    path = tmp_path / "dcp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.distributed is not in use, which is the point here
        dcp.save(data(trained), checkpoint_id=path)
    return path


def data(trained) -> dict:
    return {
        "model": dict(trained[0].state_dict()),
        "optimizer": trained[1].state_dict(),
        "epoch": 3,
        "note": "text",
    }


def test_a_folder_reads_equal_to_what_was_saved(folder, trained, same):
    found, saved = read(folder), data(trained)
    same(found["model"], saved["model"])
    same(found["epoch"], 3)
    same(found["optimizer"]["param_groups"], saved["optimizer"]["param_groups"])
    for number in range(4):  # keys of dicts become text in this format
        same(found["optimizer"]["state"][str(number)], saved["optimizer"]["state"][number])


def test_its_leaves_are_loaded_one_at_a_time(folder, trained, same):
    leaves = leaves_of_file(folder)
    same(leaves["model/0.weight"], trained[0].state_dict()["0.weight"])
    assert leaves.entry("model/0.weight").shape == (3, 4) and leaves["note"] == "text"


def test_it_is_inspected_by_component(folder):
    found = inspect(folder)
    assert (found.layout, found.file_format) == ("dcp", "dcp")
    assert {name: len(entries) for name, entries in found.components.items()}["model"] == 7
    assert "optimizer" not in [lack.part for lack in found.missing]


def changed(folder, change) -> None:
    """Rewrite the metadata, which this test wrote itself, with a planted fault."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def index_of(metadata, name):
    return next(index for index in metadata.storage_data if index.fqn == name)


def split_in_two(folder, saved: torch.Tensor) -> None:
    """Store `model.0.weight` as two rows and one, in a file of their own, as two ranks would."""

    def change(metadata):
        chunks, start, blob = [], 0, io.BytesIO()
        place = metadata.storage_data.pop(index_of(metadata, "model.0.weight"))
        for offset, rows in ((0, 2), (2, 1)):
            torch.save(saved[offset : offset + rows].clone(), blob)
            index = MetadataIndex("model.0.weight", torch.Size((offset, 0)))
            metadata.storage_data[index] = type(place)("__1_0.distcp", start, blob.tell() - start)
            chunks.append(ChunkStorageMetadata(torch.Size((offset, 0)), torch.Size((rows, 4))))
            start = blob.tell()
        metadata.state_dict_metadata["model.0.weight"].chunks = chunks
        (folder / "__1_0.distcp").write_bytes(blob.getvalue())

    changed(folder, change)


def test_shards_of_two_ranks_are_put_together(folder, trained, same):
    split_in_two(folder, trained[0].state_dict()["0.weight"])
    same(read(folder)["model"], data(trained)["model"])


def plant_overlap(metadata):
    metadata.state_dict_metadata["model.0.weight"].chunks[1].offsets = torch.Size((1, 0))
    (index,) = (i for i in metadata.storage_data if i.fqn == "model.0.weight" and i.offset == torch.Size((2, 0)))
    metadata.storage_data[MetadataIndex("model.0.weight", torch.Size((1, 0)))] = metadata.storage_data.pop(index)


SPLIT_FAULTS = {
    "a shard left out": (
        lambda m: m.state_dict_metadata["model.0.weight"].chunks.pop(),
        "the shards of 'model.0.weight' do not cover it",
    ),
    "a shard over another": (plant_overlap, "two shards of 'model.0.weight' overlap"),
    "a shard outside": (
        lambda m: setattr(m.state_dict_metadata["model.0.weight"].chunks[1], "offsets", torch.Size((3, 0))),
        "lies outside of the tensor",
    ),
}


@pytest.mark.parametrize("change, words", SPLIT_FAULTS.values(), ids=SPLIT_FAULTS)
def test_shards_that_do_not_make_the_tensor_are_refused(change, words, folder, trained):
    split_in_two(folder, trained[0].state_dict()["0.weight"])
    changed(folder, change)
    for look in (read, inspect, leaves_of_file):
        with pytest.raises(BadInput, match=words):
            look(folder)


def place(metadata, name="model.0.weight"):
    return metadata.storage_data[index_of(metadata, name)]


FAULTS = {
    "terabytes": (
        lambda m: (
            setattr(m.state_dict_metadata["model.0.weight"], "size", torch.Size((1 << 20, 1 << 20))),
            setattr(m.state_dict_metadata["model.0.weight"].chunks[0], "sizes", torch.Size((1 << 20, 1 << 20))),
        ),
        r"claims \d+ elements in \d+ bytes",
    ),
    "a path out of the folder": (
        lambda m: setattr(place(m), "relative_path", "../secret"),
        "lies outside of the folder",
    ),
    "an absolute path": (
        lambda m: setattr(place(m), "relative_path", "/etc/passwd"),
        "lies outside of the folder",
    ),
    "a file that is missing": (
        lambda m: setattr(place(m), "relative_path", "__9_0.distcp"),
        "'__9_0.distcp' is missing",
    ),
    "an end beyond the file": (lambda m: setattr(place(m), "length", 1 << 40), "which has"),
    "a place over another": (
        lambda m: setattr(place(m), "offset", place(m, "model.0.bias").offset),
        "two shards overlap",
    ),
    "a negative place": (lambda m: setattr(place(m), "offset", -1), "not whole numbers from 0"),
    "two tensors at one path": (
        lambda m: m.planner_data.update({"model.0.weight": m.planner_data["model.0.bias"]}),
        "lies where another value does",
    ),
    "two shards of the same bytes": (
        lambda m: m.state_dict_metadata["model.0.weight"].chunks.append(
            m.state_dict_metadata["model.0.weight"].chunks[0]
        ),
        "are the same bytes of the folder",
    ),
    "a tensor that is not stored": (
        lambda m: m.storage_data.pop(index_of(m, "model.0.weight")),
        "is listed but not stored",
    ),
}


@pytest.mark.parametrize("change, words", FAULTS.values(), ids=FAULTS)
def test_metadata_that_the_files_do_not_bear_out_is_refused(change, words, folder):
    changed(folder, change)
    for look in (read, inspect, leaves_of_file):
        with pytest.raises(BadInput, match=words):
            look(folder)


def test_a_shard_of_another_shape_than_listed_is_refused_when_it_is_loaded(folder):
    def change(metadata):
        metadata.state_dict_metadata["model.0.weight"].size = torch.Size((4, 3))
        metadata.state_dict_metadata["model.0.weight"].chunks[0].sizes = torch.Size((4, 3))

    changed(folder, change)
    with pytest.raises(BadInput, match=r"a shard is torch.float32\[3, 4\], the metadata says torch.float32\[4, 3\]"):
        read(folder)


def test_a_folder_cut_short_or_without_its_shards_is_refused(folder):
    shards = folder / "__0_0.distcp"
    whole = shards.read_bytes()
    shards.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="which has"):
        inspect(folder)
    shards.unlink()
    with pytest.raises(BadInput, match="is missing; copy the whole folder"):
        inspect(folder)
    (folder / ".metadata").write_bytes((folder / ".metadata").read_bytes()[:200])
    with pytest.raises(BadInput, match="cannot read"):
        read(folder)


def test_a_flipped_bit_in_a_shard_is_seen(folder, trained):
    shards = folder / "__0_0.distcp"
    blob = bytearray(shards.read_bytes())
    blob[blob.index(trained[0].state_dict()["0.weight"].numpy().tobytes()) + 3] ^= 1
    shards.write_bytes(blob)
    with pytest.raises(BadInput, match="is damaged"):
        read(folder)


def test_a_metadata_that_names_code_runs_none(folder, tmp_path):
    canary = tmp_path / "canary"
    (folder / ".metadata").write_bytes(attack(canary))
    with pytest.raises(BadInput, match="its metadata has no 'state_dict_metadata'"):
        read(folder)
    assert not canary.exists()


def attack(canary) -> bytes:
    class Attack:
        def __reduce__(self):
            import os

            return os.system, (f"touch {canary}",)

    return pickle.dumps(Attack())


def test_what_only_reading_the_shards_would_show_is_said(folder):
    assert any("whether the shards hold this" in note for note in inspect(folder).notes)


def test_thousands_of_shards_side_by_side_are_told_apart_with_little_work():
    item = [Item(None, None, 0, 4, Budget(0)) for _ in range(5000)]
    chunks = [Chunk((0, place), (1, 1), one) for place, one in enumerate(item)]
    budget = Budget(0)
    _check_tiling("w", (1, 5000), chunks, budget)
    assert Budget(0).work - budget.work < 100
    with pytest.raises(Malformed, match="overlap"):
        _check_tiling("w", (1, 5000), [*chunks[:-1], Chunk((0, 7), (1, 1), item[0])], budget)
