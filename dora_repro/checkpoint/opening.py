"""What kind of file this is, and its values, with nothing in it run or loaded unasked.

The dispatcher over the formats: what `torch.save` writes and plain pickles (`torch_files.py`), safetensors
(`safetensors_files.py`), folders of torch.distributed.checkpoint (`sharded.py`), and JSON beside these. What this is
not: `torch.load`. Objects come back as inert stubs, sizes are checked against the bytes present before memory is taken,
checksums are checked where the format has any (the zip format alone does), and whatever is wrong is a BadInput that
says what and what to do next. Callers want `reading.py`.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue, Malformed, file_opener, guarded, reread, uncollected
from dora_repro.checkpoint.json_files import json_value
from dora_repro.checkpoint.safetensors_files import looks_like_safetensors, safetensors_root
from dora_repro.checkpoint.sharded import is_sharded, sharded_root
from dora_repro.checkpoint.tensors import KEPT, Finish, as_entry
from dora_repro.checkpoint.torch_files import HEAD, torch_root

TRACE_HEAD = b'{"format": "dora_repro/trace/'


class Kind(StrEnum):
    """What a path leads to, by its name and its first bytes."""

    FOLDER = "folder"  # of files, each of a kind of its own
    SHARDED = "dcp"
    SAFETENSORS = "safetensors"
    JSON = "json"
    TRACE = "trace"  # written by this kit: no checkpoint
    TORCH = "torch"  # of both its formats, and plain pickles: which one, `Tree.kind` says


@dataclass(frozen=True)
class Tree:
    """A file's values.

    Attributes:
        path: of the file.
        kind: "torch zip", "torch legacy", "pickle", "safetensors", "dcp" or "json".
        root: its values: tensors as `TensorEntry` (or loaded, as asked), the rest plain or stubs.
        budget: what is left of what reading it may take.
    """

    path: Path
    kind: str
    root: FileValue
    budget: Budget


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """What kind of file or folder this is; whether it is whole shows when it is opened.

    Raises:
        BadInput: there is no such file, or it cannot be opened.
    """
    return reread(lambda: _kind_of(Path(path)))


def _kind_of(path: Path) -> Kind:
    with guarded(path):
        if path.is_dir():
            return Kind.SHARDED if is_sharded(path) else Kind.FOLDER
        with file_opener(path)() as file:
            head, size = file.read(HEAD), os.fstat(file.fileno()).st_size
        if head.startswith(TRACE_HEAD):
            return Kind.TRACE
        if path.suffix == ".json":
            return Kind.JSON
        if path.suffix == ".safetensors" or looks_like_safetensors(head, size):
            return Kind.SAFETENSORS
        return Kind.TORCH


def open_tree(path: str | os.PathLike[str], finish: Finish = as_entry, keep: int | None = KEPT) -> Tree:
    """The values of a checkpoint file or of a sharded folder.

    Args:
        path: the file or folder.
        finish: makes what stands for a tensor; by default its entry, and nothing is loaded.
        keep: bytes of storages that are held in memory between loads; None for all.

    Raises:
        BadInput: missing, empty, truncated, damaged, hostile or of a different kind.
    """
    return reread(lambda: _open_tree(Path(path), finish, keep))


def _open_tree(path: Path, finish: Finish, keep: int | None) -> Tree:
    with guarded(path), uncollected():
        kind = kind_of(path)
        if kind is Kind.FOLDER:
            raise Malformed("it is a folder; name a file in it")
        if kind is Kind.SHARDED:
            budget = Budget(sum(file.stat().st_size for file in path.iterdir() if file.is_file()))
            return Tree(path, kind.value, sharded_root(path, finish, budget), budget)
        opener = file_opener(path)
        with opener() as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(HEAD)
        budget = Budget(size)
        if kind is Kind.JSON:
            with opener() as file:
                return Tree(path, kind.value, json_value(file.read(), budget), budget)
        if kind is Kind.SAFETENSORS:
            return Tree(path, kind.value, safetensors_root(opener, size, finish, budget), budget)
        form, root = torch_root(opener, 0, size, head, finish, keep, budget)
        return Tree(path, form, root, budget)
