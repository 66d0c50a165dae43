"""How two files are put together differently where their leaves are equal: types, keys, attributes, shared memory.

Two files of two formats, of which one can say less, are compared in what both can say.
"""

from collections.abc import Iterable, Mapping

from dora_repro.checkpoint.reading import About
from dora_repro.checkpoint.structure import Structure
from dora_repro.difference import LeafDifference
from dora_repro.wording import counted

TENSORS_ALONE = {"safetensors", "dcp"}  # formats without types of containers, or attributes of tensors
TORCH = {"torch zip", "torch legacy", "pickle"}  # formats in which two tensors can share memory
TOP = "(the whole file)"
LISTED = 5


def structural_differences(first: About, second: About, differing: Iterable[str]) -> list[LeafDifference]:
    """What differs beside the leaves, in the order of the first file.

    Args:
        first: what the walk through the expected side saw.
        second: that of the actual side.
        differing: paths of leaves that differ.
    """
    if bool(first.formats & TENSORS_ALONE) != bool(second.formats & TENSORS_ALONE):
        return []
    one, other = first.structure, second.structure
    leaves = set(differing)
    found = _kinds(one, other, leaves, _with_ancestors(leaves)) + _key_types(one, other)
    if first.formats | second.formats <= TORCH:
        found += _sharing(one, other, leaves)
    return found


def order_notes(first: About, second: About) -> list[str]:
    """Sentences on what is no difference of value: the order of keys, the devices that tensors were saved from."""
    one, other = first.structure, second.structure
    moved = [path for path in one.keys if path in other.keys and _reordered(one.keys[path], other.keys[path])]
    notes = [f"the keys of {listed(moved)} are in a different order"] if moved else []
    devices = [path for path, device in one.devices.items() if path in other.devices and device != other.devices[path]]
    if devices:
        pair = f"{one.devices[devices[0]]} in the first and from {other.devices[devices[0]]} in the second"
        notes.append(f"{counted(len(devices), 'tensor')} saved from {pair}: {listed(devices)}")
    if bool(first.formats & TENSORS_ALONE) != bool(second.formats & TENSORS_ALONE):
        notes.append("the files are of two formats: only names and bytes of their leaves are compared")
    return notes


def _reordered(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return [key for key in one if key in other] != [key for key in other if key in one]


def listed(paths: list[str]) -> str:
    """Some of several paths, and how many more there are."""
    shown = ", ".join(path or TOP for path in paths[:LISTED])
    return shown if len(paths) <= LISTED else f"{shown} and {len(paths) - LISTED} more"


def _with_ancestors(paths: Iterable[str]) -> set[str]:
    """The paths, and all that lead to them."""
    found = {""}
    for path in paths:
        while path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return found


def _kinds(one: Structure, other: Structure, differing: set[str], around: set[str]) -> list[LeafDifference]:
    """Containers, tensors and arrays of other kinds, where no difference of a leaf says so already."""
    found = []
    for path in dict.fromkeys((*one.kinds, *other.kinds)):
        expected, actual = one.kinds.get(path), other.kinds.get(path)
        if expected == actual or path in differing or (None in (expected, actual) and path in around):
            continue
        nothing = "no container of this name"
        found.append(LeafDifference(path or TOP, "structure", expected or nothing, actual or nothing))
    return found


def _key_types(one: Structure, other: Structure) -> list[LeafDifference]:
    """Keys that read alike and are not: 8 and "8"."""
    found = []
    for path, keys in one.keys.items():
        wrong: dict[tuple[str, str], list[str]] = {}
        for text, kind in keys.items():
            actual = other.keys.get(path, {}).get(text, kind)
            if kind != actual:
                wrong.setdefault((kind or "str", actual or "str"), []).append(text)
        for (kind, actual), texts in wrong.items():
            shown = f"the {'key' if len(texts) == 1 else 'keys'} {listed(texts)}"
            found.append(LeafDifference(path or TOP, "structure", f"{shown} as {kind}", actual))
    return found


def _sharing(one: Structure, other: Structure, differing: set[str]) -> list[LeafDifference]:
    """What shares memory, or is one object, in one file and not in the other; what lies inside is not told again, nor
    what differs in value."""
    both = [path for path in one.shared if path in other.shared]
    heads = [_heads(side, both) for side in (one, other)]
    found: list[LeafDifference] = []
    told: set[str] = set()
    for path in both:
        expected, actual = heads[0][path], heads[1][path]
        if expected == actual:
            continue
        told.add(path)
        if path.rpartition("/")[0] not in told and path not in differing:
            found.append(LeafDifference(path, "structure", _shared(path, expected), _shared(path, actual)))
    return found


def _heads(side: Structure, paths: list[str]) -> dict[str, tuple[str, int]]:
    """Each path's first companion, which is the first of all paths with the same mark, and how many bytes behind it."""
    firsts: dict[int, str] = {}
    heads = {path: firsts.setdefault(side.shared[path], path) for path in paths}
    return {path: (head, side.offsets.get(path, 0) - side.offsets.get(head, 0)) for path, head in heads.items()}


def _shared(path: str, head: tuple[str, int]) -> str:
    if head[0] == path:
        return "memory of its own"
    return f"that of {head[0] or TOP}" + (f", {head[1]:+} bytes" if head[1] else "")
