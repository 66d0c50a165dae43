"""Folders of torch.distributed.checkpoint (DCP): one `.metadata` and the files with the shards of all ranks.

A tensor is given as the full tensor that its shards stand for, so that folders written by different numbers
of ranks can be compared. The metadata is read as a pickle of stubs, and believed only where the shards bear
it out: paths must stay in the folder, items must lie in their files without overlap, chunks must tile the
tensor. Source of the format: `torch.distributed.checkpoint.metadata` and `.filesystem` of torch 2.13. Not
read: shards that were compressed by an extension.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue, Malformed, Opener, file_opener, guarded
from dora_repro.checkpoint.stub import Stub
from dora_repro.checkpoint.tensors import Finish, TensorEntry, checked_sizes, loaded
from dora_repro.checkpoint.torch_files import HEAD, torch_root


@dataclass(frozen=True, eq=False)
class Item:
    """Bytes of one shard: a whole torch file inside of a longer one.

    Attributes:
        path: the longer file.
        opener: opens it.
        start: where in it the shard begins, in bytes.
        length: bytes of the shard.
        budget: what reading the folder may take.
    """

    path: Path
    opener: Opener
    start: int
    length: int
    budget: Budget

    def load(self) -> FileValue:
        """What the shard holds.

        Raises:
            BadInput: it is damaged.
        """
        with guarded(self.path):
            self.budget.take(_OF_A_SHARD)
            with self.opener() as file:
                file.seek(self.start)
                head = file.read(min(HEAD, self.length))
            return torch_root(self.opener, self.start, self.length, head, loaded, None, self.budget)[1]


class Chunk(NamedTuple):
    """The part of a tensor that one shard holds: where it lies in the full tensor, its sizes, its bytes."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    item: Item


_OF_A_SHARD = 150  # work
_OF_A_CHUNK = 5
_OF_A_PAIR = 1

_Items: TypeAlias = dict[tuple[str, tuple[int, ...] | None], Item]  # by (name, offsets)


@dataclass(frozen=True, eq=False)
class ShardedTensor(TensorEntry):
    """A tensor in chunks, which tile it."""

    chunks: tuple[Chunk, ...]

    def _load(self) -> torch.Tensor:
        full = torch.empty(self.shape, dtype=self.dtype)
        for offsets, sizes, item in self.chunks:
            part = item.load()
            if not isinstance(part, torch.Tensor) or part.dtype != self.dtype or tuple(part.shape) != sizes:
                raise Malformed(f"a shard is {_described(part)}, the metadata says {self.dtype}{list(sizes)}")
            full[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))] = part.detach()
        return full


def is_sharded(folder: Path) -> bool:
    """Whether a folder is one checkpoint of torch.distributed.checkpoint, rather than a folder of files."""
    return (folder / ".metadata").is_file()


def sharded_root(folder: Path, finish: Finish, budget: Budget) -> FileValue:
    """The values of a DCP folder, nested as they were saved; what is no tensor is small, and is loaded at once.

    Args:
        folder: that holds `.metadata`.
        finish: makes what stands for a tensor, out of its entry.
        budget: what reading the folder may take.

    Raises:
        Malformed: the files do not bear the metadata out; or one of `guard.PARSER_ERRORS`, where it is damaged.
        BadInput: a file of values is damaged.
    """
    path = folder / ".metadata"
    opener = file_opener(path)
    with opener() as file:
        head = file.read(HEAD)
    metadata = torch_root(opener, 0, path.stat().st_size, head, finish, 0, budget)[1]
    kinds = _mapping(_field(metadata, "state_dict_metadata"))
    items = _items(folder, _mapping(_field(metadata, "storage_data")), budget)
    flat: dict[str, FileValue] = {}
    for key, kind in kinds.items():
        name = _text(key)
        if isinstance(kind, Stub) and kind.name.endswith(".BytesStorageMetadata"):
            flat[name] = _item(items, name, None).load()
        else:
            flat[name] = finish(_tensor(name, kind, items, budget))
    state = metadata.state if isinstance(metadata, Stub) else None
    planner = state.get("planner_data") if isinstance(state, dict) else None
    return _nested(flat, planner if isinstance(planner, dict) else {})


def _tensor(name: str, kind: FileValue, items: _Items, budget: Budget) -> ShardedTensor:
    dtype = _dtype(_field(kind, "properties"))
    if dtype is None:
        raise Malformed(f"its tensor {name!r} has no dtype")
    shape = checked_sizes(_field(kind, "size"))
    chunks: list[Chunk] = []
    told = _list(_field(kind, "chunks"))
    budget.take(_OF_A_CHUNK * len(told))
    for chunk in told:
        offsets, sizes = checked_sizes(_field(chunk, "offsets")), checked_sizes(_field(chunk, "sizes"))
        if len(offsets) != len(shape) or len(sizes) != len(shape):
            raise Malformed(f"a shard of {name!r} has a different number of dimensions than the tensor")
        if any(o + n > full for o, n, full in zip(offsets, sizes, shape, strict=True)):
            raise Malformed(f"a shard of {name!r} lies outside of the tensor")
        item = _item(items, name, offsets)
        if math.prod(sizes) * dtype.itemsize > item.length:
            raise Malformed(f"a shard of {name!r} claims {math.prod(sizes)} elements in {item.length} bytes")
        chunks.append(Chunk(offsets, sizes, item))
    if len({id(chunk.item) for chunk in chunks}) != len(chunks):
        raise Malformed(f"two shards of {name!r} are the same bytes of the folder")
    _check_tiling(name, shape, chunks, budget)
    return ShardedTensor(dtype, shape, tuple(chunks))


def _dtype(properties: FileValue) -> torch.dtype | None:
    """The dtype in the state of a `TensorProperties`, which is a tuple or a dict by torch's version."""
    state = properties.state if isinstance(properties, Stub) else None
    found: FileValue = None
    if isinstance(state, tuple) and state:
        found = state[0]
    elif isinstance(state, dict):
        found = state.get("dtype")
    return found if isinstance(found, torch.dtype) else None


def _check_tiling(name: str, shape: tuple[int, ...], chunks: list[Chunk], budget: Budget) -> None:
    """As many elements as the tensor has, and no two chunks over each other: then they cover it."""
    if sum(math.prod(sizes) for _, sizes, _ in chunks) != math.prod(shape):
        raise Malformed(f"the shards of {name!r} do not cover it; is the folder complete?")
    boxes = [(offsets, sizes) for offsets, sizes, _ in chunks if math.prod(sizes)]
    begins = [{offsets[axis] for offsets, _ in boxes} for axis in range(len(shape))]
    axis = max(range(len(shape)), key=lambda one: len(begins[one]), default=0)  # that they are cut along most often
    boxes.sort(key=lambda box: box[0][axis : axis + 1])
    for number, (offsets, sizes) in enumerate(boxes):
        for place in range(number + 1, len(boxes)):
            other, extent = boxes[place]
            if other and other[axis] >= offsets[axis] + sizes[axis]:
                break  # sorted along this axis: nothing further on can touch this one
            budget.take(_OF_A_PAIR)
            sides = zip(offsets, sizes, other, extent, strict=True)
            if all(o < p + m and p < o + n for o, n, p, m in sides):
                raise Malformed(f"two shards of {name!r} overlap")


def _items(folder: Path, storage: Mapping[FileValue, FileValue], budget: Budget) -> _Items:
    """The shards by (name, offsets), each checked to lie in its file and over no other."""
    openers: dict[str, tuple[Opener, int]] = {}
    spans: dict[str, list[tuple[int, int]]] = {}
    items: _Items = {}
    budget.take(_OF_A_CHUNK * len(storage))
    for index, info in storage.items():
        name, file = _text(_field(index, "fqn")), _field(info, "relative_path")
        start, length = checked_sizes((_field(info, "offset"), _field(info, "length")))
        if not isinstance(file, str) or file != Path(file).name or file in ("", ".", ".."):
            raise Malformed(f"a shard of {name!r} lies outside of the folder: {str(file)[:80]!r}")
        if _optional(info, "transform_descriptors"):
            raise Malformed(f"the shards of {name!r} were transformed by an extension; save the folder without it")
        path = folder / file
        if file not in openers:
            if not path.is_file():
                raise Malformed(f"its file {file!r} is missing; copy the whole folder")
            openers[file] = file_opener(path), path.stat().st_size
        opener, size = openers[file]
        if start + length > size:
            raise Malformed(f"a shard of {name!r} ends at byte {start + length} of {file!r}, which has {size}")
        spans.setdefault(file, []).append((start, start + length))
        offset = _optional(index, "offset")
        items[name, None if offset is None else checked_sizes(offset)] = Item(path, opener, start, length, budget)
    for file, places in spans.items():
        places.sort()
        if any(stop > start for (_, stop), (start, _) in pairwise(places)):
            raise Malformed(f"two shards overlap in {file!r}")
    return items


def _item(items: _Items, name: str, offset: tuple[int, ...] | None) -> Item:
    try:
        # A tensor saved whole has no offset in its index.
        return items[name, offset] if (name, offset) in items else items[name, None]
    except KeyError:
        raise Malformed(f"a shard of {name!r} is listed but not stored") from None


def _field(stub: FileValue, name: str) -> FileValue:
    if not isinstance(stub, Stub) or not isinstance(stub.state, dict) or name not in stub.state:
        raise Malformed(f"its metadata has no {name!r} where one belongs")
    found: FileValue = stub.state[name]
    return found


def _optional(stub: FileValue, name: str) -> FileValue:
    return stub.state.get(name) if isinstance(stub, Stub) and isinstance(stub.state, dict) else None


def _mapping(value: FileValue) -> Mapping[FileValue, FileValue]:
    if not isinstance(value, dict):
        raise Malformed("its metadata is not a mapping")
    return value


def _list(value: FileValue) -> list[FileValue] | tuple[FileValue, ...]:
    if not isinstance(value, (list, tuple)):
        raise Malformed("its metadata has no list where one belongs")
    return value


def _text(value: FileValue) -> str:
    if not isinstance(value, str):
        raise Malformed("its metadata has a name that is no text")
    return value


def _nested(flat: dict[str, FileValue], paths: Mapping[FileValue, FileValue]) -> FileValue:
    """Undo DCP's flattening where it noted how: text parts are keys, whole numbers places in lists."""
    root: dict[FileValue, FileValue] = {}
    for name, value in flat.items():
        noted = paths.get(name)
        known = isinstance(noted, tuple) and noted and all(type(part) in (str, int) for part in noted)
        path = noted if isinstance(noted, tuple) and known else (name,)
        if len(path) > 100:
            raise Malformed(f"{name[:80]!r} is nested beyond reason")
        place = root
        for part in path[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Malformed(f"{name!r} lies inside of a value")
            place = inner
        if path[-1] in place:
            raise Malformed(f"{name!r} lies where another value does")
        place[path[-1]] = value
    return _listed(root)


def _listed(value: FileValue) -> FileValue:
    if type(value) is not dict:
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if inner and all(type(key) is int for key in inner) and set(inner) == set(range(len(inner))):
        return [inner[place] for place in range(len(inner))]
    return inner


def _described(value: FileValue) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
