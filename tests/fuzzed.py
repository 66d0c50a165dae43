"""The kinds of files that `tests/fuzzing.py` changes: whole ones, and all that a user may do with one."""

import contextlib
import functools
import io
import json
import pickle
import shutil
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import save as save_tensors
from torch.distributed import checkpoint as dcp

import dora_repro
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput
from dora_repro.journal.known import Known
from dora_repro.journal.reading import read_journal
from dora_repro.journal.state import StateDigests, difference
from dora_repro.printable import json_text, printable
from dora_repro.show.journal_page import journal_page
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Trace, TraceWriter, read_appended
from tests import runs
from tests.evidence import snapshot
from tests.journal.journals import make, resumed, state, wrote
from tests.traces import ONE, trace

Files = dict[str, bytes]
Look = Callable[[Path], object]


class Found(Exception):
    """What is wrong though nothing was raised."""


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        seeds: makes whole ones.
        look: writes one into a folder, and does all that a user may do with it.
        text: it is JSON, or lines of JSON: values of it are changed, too.
    """

    seeds: Callable[[], list[bytes]]
    look: Callable[[bytes, Path], None]
    text: bool = False


def _each(*looks: Look) -> Look:
    """Looks of which each may refuse, in words that do not lie."""

    def look(path: Path) -> None:
        for one in looks:
            try:
                one(path)
            except BadInput as error:
                _honest(str(error))

    return look


def _honest(text: object) -> None:
    if printable(str(text)) != str(text):
        raise Found("its words hold what a terminal would obey or hide")


def _same(path: Path) -> None:
    if compare(path, path).differences:
        raise Found("it differs from itself")


def _file(name: str, look: Look) -> Callable[[bytes, Path], None]:
    """A look at one file of that name."""

    def write_and_look(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        look(folder / name)

    return write_and_look


def _one_of(files: Callable[[], Files], name: str, look: Look, text: bool = True) -> Target:
    """One file of a folder."""

    def write_and_look(data: bytes, folder: Path) -> None:
        for other, content in {**files(), name: data}.items():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(content)
        look(folder)

    return Target(lambda: [files()[name]], write_and_look, text)


def _made(function: Callable[[Path], None]) -> Callable[[], Files]:
    """What a function writes into a folder, by name."""

    @functools.cache
    def files() -> Files:
        with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.distributed is not in use
            function(Path(place))
            found = [path for path in Path(place).rglob("*") if path.is_file()]
            return {path.relative_to(place).as_posix(): path.read_bytes() for path in found}

    return files


# --- checkpoints -----------------------------------------------------------------------------------------------------


def _state() -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    more = {"half": torch.ones(2).bfloat16(), "set": {1, 2}, "key": ("a", 1.5, None, b"x"), "array": numpy.arange(3)}
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "more": more}


def _of_torch(zipped: bool) -> bytes:
    made = io.BytesIO()
    torch.save({**_state(), "rng": numpy.random.get_state()[1][:4]}, made, _use_new_zipfile_serialization=zipped)
    return made.getvalue()


def _pickles() -> list[bytes]:
    values = {"a": [1, -(2**70), 1.5, None, True], "b": {"x": (b"y", "z")}, "c": numpy.arange(4), "d": {1, 2}}
    return [pickle.dumps(values, protocol) for protocol in (0, 2, 4, 5)]


def _pickle_of_torch() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_of_torch(True))) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]


def _zipped(data: bytes, folder: Path) -> None:
    with zipfile.ZipFile(folder / "file.pt", "w") as archive:
        for name, content in {"data.pkl": data, "byteorder": b"little"}.items():
            archive.writestr(f"archive/{name}", content)
        for key in range(8):
            archive.writestr(f"archive/data/{key}", bytes(64))
    _CHECKPOINT(folder / "file.pt")


def _header() -> list[bytes]:
    whole = save_tensors(dict(_state()["model"]), {"format": "pt"})
    return [whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]]]


def _headed(data: bytes, folder: Path) -> None:
    _file("file.safetensors", _CHECKPOINT)(struct.pack("<Q", len(data)) + data + bytes(24), folder)


def _json() -> list[bytes]:
    found = {"epoch": 1.5, "log_history": [{"loss": 0.5, "step": 1}], "best": None, "global_step": 3}
    return [json.dumps(found).encode()]


_CHECKPOINT = _each(
    read,
    lambda path: _honest(inspect(path)),
    lambda path: dict(leaves_of_file(path, partial=True)),
    _same,
)
_SHARDED = _made(lambda folder: dcp.save({key: _state()[key] for key in ("model", "more")}, checkpoint_id=folder))


# --- what the kit writes ---------------------------------------------------------------------------------------------


def _record(folder: Path) -> None:
    writer = TraceWriter(folder / "record", {"w": bytes(16)})
    for step in trace(ONE, (ONE, {"m": "x"})).steps:
        writer.step(step)
    writer.close(True, ("batch",))
    Trace(trace(ONE, (ONE, {"m": "x"})).steps, {"w": bytes(16)}, True, ("batch",)).write(folder / "trace")


def _snapshot(folder: Path) -> None:
    found = snapshot({"a": 1, "b": [1, 2.5], "c": (None, "rng")}, kinds={"k": "x.Y"}, forms={"b": "list"})
    found.write(folder / "s.pt")
    (folder / "s.json").write_text(json.dumps(read(folder / "s.pt")))


def _as_snapshot(path: Path) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        torch.save(json.loads(path.read_bytes()), path.with_suffix(".pt"))
        _each(Snapshot.read, _same)(path.with_suffix(".pt"))


def _evidence(folder: Path) -> None:
    made = functools.partial(runs.Forgetful, "rng")
    dora_repro.check(made, steps=3, save_at=1, folder=folder / "kept", in_process=True)
    for repeat in (folder / "kept").glob("repeat-*"):
        shutil.rmtree(repeat)


def _opened(folder: Path) -> None:
    opened = dora_repro.evidence(folder / "kept")
    _honest(opened.result)
    for each in opened.reports:
        _honest(repr(each.states))
        assert each.stored is not None and each.saves is not None and each.killed is None


def _journal(folder: Path) -> None:
    about = {"torch": "2.13", "flags": {"a": 1}}
    differs = {"kind": "differs", "update": 4, "phase": "batch", "leaf": "batch/0", "how": "value"}
    lines = [
        resumed(1, 2, {"moment": ["m"]}, ["rng/torch.cpu"]), {"kind": "began", "reads": ["x"]}, differs,
        {"kind": "repeated", "last": 3}, {"kind": "end", "time": 1.9e9}, {"kind": "failed", "problem": "full"},
    ]  # fmt: skip
    first = wrote(Path("a.pt"), 2)
    make(folder, 1, first, updates="abcd", states=[state(2, parameter_w="a")], environment=about)
    make(folder, 2, *lines, updates="cx", base=2, environment={**about, "torch": "2.12"})


def _journal_told(folder: Path) -> None:
    journal = read_journal(folder)
    _honest(journal)
    _honest(journal_page(journal))
    json_text(journal.to_dict())


def _journal_known(folder: Path) -> None:
    """What a start does that goes on from this journal."""
    known = Known(folder)
    for source in known.sources({"a.pt": 1}):
        source.state()
    for now in filter(None, map(StateDigests.read, folder.rglob("state-*.json"))):
        difference(now, now, None)
        known.nearest([], now)


_TRACE = _each(Trace.read, read_appended, _same)
_JOURNAL = _each(_journal_told, _journal_known)

TARGETS: dict[str, Target] = {
    "pickle": Target(_pickles, _file("file.pt", _CHECKPOINT)),
    "torch": Target(lambda: [_of_torch(True)], _file("file.pt", _CHECKPOINT)),
    "pickle of torch": Target(_pickle_of_torch, _zipped),
    "legacy": Target(lambda: [_of_torch(False)], _file("file.pt", _CHECKPOINT)),
    "safetensors": Target(lambda: [save_tensors(dict(_state()["model"]))], _file("f.safetensors", _CHECKPOINT)),
    "header": Target(_header, _headed, text=True),
    "json": Target(_json, _file("file.json", _CHECKPOINT), text=True),
    "sharded": _one_of(_SHARDED, ".metadata", _CHECKPOINT, text=False),
    "shard": _one_of(_SHARDED, "__0_0.distcp", _CHECKPOINT, text=False),
    "trace": Target(lambda: [_made(_record)()["trace"]], _file("trace.jsonl", _TRACE), text=True),
    "record": Target(lambda: [_made(_record)()["record"]], _file("record.jsonl", _TRACE), text=True),
    "snapshot": Target(lambda: [_made(_snapshot)()["s.json"]], _file("s.json", _as_snapshot), text=True),
    "evidence": _one_of(_made(_evidence), "kept/evidence.json", _each(_opened)),
    "result": _one_of(_made(_evidence), "kept/resumed-1/result.json", _each(_opened)),
    "journal": _one_of(_made(_journal), "start-0002/log.jsonl", _JOURNAL),
    "earlier start": _one_of(_made(_journal), "start-0001/log.jsonl", _JOURNAL),
    "updates": _one_of(_made(_journal), "start-0002/updates-2.jsonl", _JOURNAL),
    "state": _one_of(_made(_journal), "start-0001/state-2.json", _JOURNAL),
}
