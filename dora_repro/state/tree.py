"""Tensors and plain values inside nested batches and outputs, each with its path."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import behind_transform, is_transformed
from dora_repro.state.attributes import attributes_of
from dora_repro.state.digest import is_plain
from dora_repro.state.keys import key_text

_MAX_DEPTH = 20


def flatten(value: Value, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, tensor | array | plain value) of a nested structure: dicts, sequences, dataclasses, other objects.

    Paths begin with `/` and are empty for a bare tensor. Anything else (a lazy object, a callable) is left out,
    and so is what contains itself. Inside a transform of `torch.func` (`vmap`, `grad`), a tensor is the one that it
    stands for there: of a batch, all samples.
    """
    return _flatten(value, path, ())


def _flatten(value: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if issubclass(type(value), torch.Tensor) and is_transformed(value):
        yield path, _outside(value)
    elif issubclass(type(value), (torch.Tensor, np.ndarray)) or is_plain(value):
        yield path, value
    elif len(above) < _MAX_DEPTH and id(value) not in above:
        for name, item in _inside(value):
            yield from _flatten(item, f"{path}/{name}", (*above, id(value)))


def _outside(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that one stands for inside transforms of `torch.func`."""
    while is_transformed(tensor):
        tensor = behind_transform(tensor)
    return tensor


def _inside(value: Any) -> list[tuple[str, Value]]:
    kind = type(value)
    if issubclass(kind, Mapping):
        return [(key_text(key), item) for key, item in value.items()]
    if issubclass(kind, (list, tuple)):
        return [(str(index), item) for index, item in enumerate(value)]
    attributes = {} if issubclass(kind, type) or callable(value) else attributes_of(value) or {}
    if dataclasses.is_dataclass(kind):
        names = [entry.name for entry in dataclasses.fields(kind) if entry.name in attributes]
        return [(name, attributes[name]) for name in names]
    return [(name, item) for name, item in attributes.items() if type(name) is str]
