"""What an optimizer keeps, by the name of its parameter instead of a number.

A `state_dict` of an optimizer counts its parameters. Their names are in its groups (`param_names`, torch 2.6), or
follow from the keys of the model in the same checkpoint, where these are as many and the shapes agree. Two files get
the names that both agree on, so that equal numbers stay the pair that they are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.reading import Leaves, leaves_of_file
from dora_repro.checkpoint.runs import beside
from dora_repro.checkpoint.tensors import TensorEntry
from dora_repro.checkpoint.walking import key_text
from dora_repro.errors import BadInput

Shape: TypeAlias = tuple[int, ...]

_BUFFER = re.compile(r"(?:.*[._])?(?:running_mean|running_var|num_batches_tracked)")


@dataclass(frozen=True)
class Named:
    """The names of an optimizer's parameters.

    Attributes:
        names: number of a parameter -> its name; empty where they are not known.
        how: how they were matched with the model's, in words; empty where the optimizer has them.
    """

    names: Mapping[int, str]
    how: str = ""


@dataclass(frozen=True)
class Model:
    """The parameters of a state_dict.

    Attributes:
        shapes: name -> shape.
        in_order: whether they are in the order of the model, and not in one of the file's format.
    """

    shapes: Mapping[str, Shape]
    in_order: bool


def names_of_moments(leaves: Leaves) -> dict[str, Named]:
    """Path of the state of each optimizer that counts its parameters -> their names."""
    return {
        path: _named(value, _models(leaves, path))
        for path, value in leaves.about.optimizers.items()
        if isinstance(value, Mapping) and all(type(number) is int for number in _state(value))
    }


def renaming(leaves: Leaves, names: Mapping[str, Mapping[int, str]]) -> dict[str, str]:
    """Path -> path with the name of the parameter, for all that lies in the state of these optimizers.

    Args:
        leaves: of a checkpoint.
        names: path of an optimizer -> number -> name.
    """
    places = {
        f"{path}/state/{number}" if path else f"state/{number}": f"{path}/state/{name}" if path else f"state/{name}"
        for path, named in names.items()
        for number, name in named.items()
    }
    found = {}
    for path in dict.fromkeys((*leaves, *leaves.about.structure.kinds)):
        head = _place_in_state(path)
        if head in places:
            found[path] = places[head] + path[len(head) :]
    return found


def _place_in_state(path: str) -> str:
    """The path up to the number of a parameter in an optimizer's state; empty where it has none."""
    match = re.match(r"(?:.*/)?state/\d+(?=/|$)", path)
    return match[0] if match else ""


def _state(optimizer: Mapping[FileValue, FileValue]) -> Mapping[FileValue, FileValue]:
    state = optimizer.get("state")
    return state if isinstance(state, Mapping) else {}


def _named(optimizer: Mapping[FileValue, FileValue], models: Iterator[Model]) -> Named:
    groups = optimizer.get("param_groups")
    numbers: list[int] = []
    given: list[str] = []
    for group in groups if isinstance(groups, (list, tuple)) else ():
        numbers += [number for number in _listed(group, "params") if type(number) is int]
        given += [name for name in _listed(group, "param_names") if isinstance(name, str)]
    if numbers and len(given) == len(numbers) == len(set(given)):
        return Named(dict(zip(numbers, map(key_text, given), strict=True)))
    kept = _state(optimizer)
    shapes = {number: _shape(kept.get(number)) for number in numbers}
    one_group = isinstance(groups, (list, tuple)) and len(groups) == 1  # the order of several is not the model's
    found = [
        _by_shape(shapes, model) or (_by_order(shapes, model) if one_group and model.in_order else Named({}))
        for model in models
    ]
    fitting = [named for named in found if named.names]
    agree = all(named.names == fitting[0].names for named in fitting)  # two models of the same shapes leave a choice
    return fitting[0] if fitting and agree else Named({})


def _listed(group: FileValue, key: str) -> list[FileValue] | tuple[FileValue, ...]:
    value = group.get(key) if isinstance(group, Mapping) else None
    return value if isinstance(value, (list, tuple)) else ()


def _by_shape(shapes: Mapping[int, Shape | None], model: Model) -> Named | None:
    """Names by shapes, where no two parameters have the same one."""
    places = {shape: name for name, shape in model.shapes.items()}
    if not len(shapes) == len(places) == len(model.shapes) or {*shapes.values()} != {*places}:
        return None
    names = {number: key_text(places[shape]) for number, shape in shapes.items() if shape is not None}
    return Named(names, "by the shapes in the model, no two of which are equal")


def _by_order(shapes: Mapping[int, Shape | None], model: Model) -> Named:
    if len(model.shapes) != len(shapes) or not any(shapes.values()):
        return Named({})
    named = dict(zip(shapes, model.shapes, strict=True))
    if not all(shapes[number] in (None, model.shapes[name]) for number, name in named.items()):
        return Named({})
    names = {number: key_text(name) for number, name in named.items()}
    return Named(names, "in the order of the model's keys, whose number and shapes agree")


def _shape(kept: FileValue) -> Shape | None:
    """The shape of a parameter, as far as what is kept for it says so: moments have it, but counters and factors."""
    shapes = {
        tuple(value.shape)
        for value in (kept.values() if isinstance(kept, Mapping) else ())
        if isinstance(value, (TensorEntry, torch.Tensor)) and len(value.shape)
    }
    return shapes.pop() if len(shapes) == 1 else None


def _models(leaves: Leaves, optimizer: str) -> Iterator[Model]:
    """The parameters of each state_dict in the checkpoint that an optimizer is in, by name and in their order; at last
    those of the files beside it."""
    yield from _models_in(leaves, optimizer.partition("/")[0] + "/" if leaves.about.run else "")
    if leaves.place is not None and leaves.place.is_file():
        for file in beside(leaves.place):
            try:
                yield from _models_in(leaves_of_file(file), "")
            except BadInput:
                continue


def _models_in(leaves: Leaves, above: str) -> Iterator[Model]:
    for path, value in leaves.about.state_dicts.items():
        if isinstance(value, Mapping) and path.startswith(above):
            shapes = {
                name: tuple(inner.shape)
                for name, inner in value.items()
                if isinstance(name, str)
                and isinstance(inner, (TensorEntry, torch.Tensor))
                and inner.dtype.is_floating_point
                and not _BUFFER.fullmatch(name)
            }
            yield Model(shapes, path not in leaves.about.sorted_by_format)
