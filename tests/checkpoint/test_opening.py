"""What kind of file this is, told in one place; and JSON, which is read like any other part of a checkpoint."""

import gc
import json
import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed import checkpoint as dcp

from dora_repro.checkpoint import opening
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.opening import Kind, kind_of, open_tree
from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.errors import BadInput
from dora_repro.trace import Step, Trace


def sharded(path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.distributed is not in use, which is the point here
        dcp.save({"w": torch.ones(2)}, checkpoint_id=path)


WRITERS = {
    "zip.pt": (lambda path: torch.save({"a": 1}, path), Kind.TORCH, "torch zip"),
    "stream.pt": (
        lambda path: torch.save({"a": 1}, path, _use_new_zipfile_serialization=False), Kind.TORCH, "torch legacy",
    ),
    "plain.pkl": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), Kind.TORCH, "pickle"),
    "any.safetensors": (lambda path: save_file({"a": torch.ones(1)}, path), Kind.SAFETENSORS, "safetensors"),
    "unnamed": (lambda path: save_file({"a": torch.ones(1)}, path), Kind.SAFETENSORS, "safetensors"),
    "state.json": (lambda path: path.write_text('{"a": 1}'), Kind.JSON, "json"),
    "shards": (sharded, Kind.SHARDED, "dcp"),
}  # fmt: skip  # one writer a line


@pytest.mark.parametrize("name", WRITERS)
def test_each_kind_is_told_and_opened_as_such(name, tmp_path):
    write, kind, form = WRITERS[name]
    write(tmp_path / name)
    assert kind_of(tmp_path / name) is kind
    assert open_tree(tmp_path / name).kind == form == inspect(tmp_path / name).file_format


def test_a_folder_of_files_and_a_trace_are_kinds_too_and_no_file_to_open(tmp_path):
    trace = Trace([Step(1, 0.5, (), (), {})])
    trace.write(tmp_path / "trace.jsonl")
    trace.write(tmp_path / "trace.json")  # a trace by its beginning, whatever its name
    assert kind_of(tmp_path) is Kind.FOLDER
    assert kind_of(tmp_path / "trace.jsonl") is kind_of(tmp_path / "trace.json") is Kind.TRACE
    with pytest.raises(BadInput, match="it is a folder; name a file in it"):
        open_tree(tmp_path)
    with pytest.raises(BadInput, match="it is no file of torch, pickle or safetensors"):
        open_tree(tmp_path / "trace.jsonl")


def test_what_is_not_there_has_no_kind(tmp_path):
    with pytest.raises(BadInput, match="there is no such file; check the path"):
        kind_of(tmp_path / "gone.pt")


def test_json_is_read_whole_and_leaf_by_leaf(tmp_path):
    held = {"global_step": 3, "log_history": [{"loss": 0.5}], "name": None}
    (tmp_path / "trainer_state.json").write_text(json.dumps(held))
    assert read(tmp_path / "trainer_state.json") == held
    leaves = leaves_of_file(tmp_path / "trainer_state.json")
    assert dict(leaves) == {"global_step": 3, "log_history/0/loss": 0.5, "name": None}
    assert inspect(tmp_path / "trainer_state.json").layout == "generic"


def test_json_that_is_damaged_or_too_large_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    file.write_text('{"a": 1')
    with pytest.raises(BadInput, match="it is damaged or no checkpoint"):
        read(file)
    file.write_text('{"a": 1}')
    monkeypatch.setattr("dora_repro.checkpoint.budget.FREE_MEMORY", 100)
    file.write_text(json.dumps([[]] * 1000))
    with pytest.raises(BadInput, match="reading it takes too much memory for its 4000 bytes"):
        read(file)


@pytest.mark.parametrize("name", ["stream.pt", "plain.pkl"])
def test_a_large_file_that_is_read_piece_by_piece_has_the_same_values(name, tmp_path, monkeypatch):
    values = {"w": torch.arange(5), "names": [f"layer {number}" for number in range(20_000)]}
    if name == "plain.pkl":
        (tmp_path / name).write_bytes(pickle.dumps(values["names"]))
    else:
        torch.save(values, tmp_path / name, _use_new_zipfile_serialization=False)
    at_once = read(tmp_path / name)
    monkeypatch.setattr("dora_repro.checkpoint.archive._AT_ONCE", 0)
    piece_by_piece = read(tmp_path / name)
    assert str(piece_by_piece) == str(at_once) and "layer 19999" in str(at_once)


def test_the_search_for_cycles_is_paused_while_a_file_is_read_and_goes_on_as_it_was(tmp_path, monkeypatch):
    seen = []
    real = opening.json_value
    monkeypatch.setattr(opening, "json_value", lambda *given: seen.append(gc.isenabled()) or real(*given))
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.json").write_text("[1")
    open_tree(tmp_path / "a.json")
    with pytest.raises(BadInput):
        open_tree(tmp_path / "b.json")
    assert gc.isenabled() and seen == [False, False]
    gc.disable()  # by whoever reads
    try:
        leaves_of_file(tmp_path / "a.json")
        assert not gc.isenabled()
    finally:
        gc.enable()
