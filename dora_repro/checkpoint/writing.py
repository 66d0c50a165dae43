"""Checkpoint files, written so that the last good one survives whatever happens (`replacing.py`).

What this is not: a format. `write` is `torch.save` of plain data, so that any torch can read it with
`weights_only=True`.
"""

import os
from collections.abc import Mapping

import torch

from dora_repro.checkpoint.replacing import atomic
from dora_repro.contracts import Value
from dora_repro.errors import BadInput

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype, torch.device)
MAX_DEPTH = 200


def write(path: str | os.PathLike[str], data: Value) -> None:
    """Save a plain mapping with `torch.save`, atomically.

    Plain is: tensors, numbers, strings, bytes, None, torch sizes, dtypes and devices, and lists, tuples and
    dicts of these. Everything else (numpy arrays, sets, objects) is refused before a byte is written, because
    a reader would have to run code to get it back.

    Raises:
        BadInput: naming the first value that is not plain, or why the file cannot be written.
    """
    if not isinstance(data, Mapping):
        raise BadInput(f"a checkpoint is a mapping of names to values; got {type(data).__name__}")
    refuse_unplain(data)
    save(path, data)


def save(path: str | os.PathLike[str], data: Value) -> None:
    """`torch.save(data, path)`, atomically; `data` is not checked.

    Raises:
        BadInput: the file cannot be written, as on a full disk.
    """
    with atomic(path) as file:
        torch.save(data, file)


def refuse_unplain(data: Value, also: tuple[type, ...] = ()) -> None:
    """Refuse data that holds anything but plain values (see `write`).

    Args:
        data: nested lists, tuples and dicts.
        also: further types that are allowed.

    Raises:
        BadInput: naming the first value that is not plain.
    """
    _refuse(data, "", 0, also)


def _refuse(value: Value, where: str, depth: int, also: tuple[type, ...]) -> None:
    if depth > MAX_DEPTH:
        raise BadInput(f"cannot save {where[:80]}…: nested deeper than {MAX_DEPTH} (does it contain itself?)")
    if isinstance(value, torch.Tensor):
        # Subclasses would be rebuilt by code of their own; a Parameter is the one that torch itself rebuilds.
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise BadInput(f"cannot save {where or 'the data'}: it is a {_name(value)}; save a plain tensor of it")
    elif isinstance(value, Mapping):
        if not type(value).__module__.startswith(("builtins", "collections")):
            raise BadInput(f"cannot save {where or 'the data'}: it is a {_name(value)}; save dict(...) of it")
        for key, item in value.items():
            if type(key) not in (str, int, float, bool, tuple, type(None)):
                raise BadInput(f"cannot save {where or 'the data'}: its key {key!r} is a {_name(key)}; use a string")
            _refuse(item, f"{where}/{key}" if where else str(key), depth + 1, also)
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        for index, item in enumerate(value):
            _refuse(item, f"{where}/{index}" if where else str(index), depth + 1, also)
    elif type(value) not in PLAIN and not isinstance(value, also):
        raise BadInput(
            f"cannot save {where or 'the data'}: it is a {_name(value)}; "
            "save tensors, numbers, strings, lists and dicts (state_dict(), .tolist(), torch.from_numpy)"
        )


def _name(value: Value) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
