"""What hangs on a leaf besides its value: attributes of a tensor, and of an array, a generator or a number of a user's
own class. Here is which of them are state, and which the class needs to be what it is."""

import enum
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import COMPILER_MARKS, TENSOR_MARKS
from dora_repro.state.attributes import attributes_of, is_users_module, module_of
from dora_repro.state.per_type import per_type

# What a leaf's digest tells already: the next number of a generator, the mask of an array.
IN_DIGEST = frozenset({*vars(random.Random()), *vars(np.ma.masked_array([0]))})


def attached_to_tensor(tensor: torch.Tensor) -> tuple[frozenset[str], Mapping[str, torch.Tensor]]:
    """Which attributes of a tensor are not state, and the tensors inside it.

    Returns:
        (names to leave out, name -> tensor that it wraps). The wrapped ones are a part of the tensor's digest; what
        hangs on them is not.
    """
    attributes = attributes_of(tensor) or {}
    left_out = {name for name in TENSOR_MARKS & attributes.keys() if isinstance(attributes[name], bool)}
    left_out.update(name for name in attributes if name.startswith(COMPILER_MARKS))
    if not wraps(type(tensor)):
        return frozenset(left_out), {}
    wrapper: Any = tensor  # only such a class has the method
    names, _ = wrapper.__tensor_flatten__()
    held = ((name, attributes.get(name)) for name in names)
    inside = {name: value for name, value in held if isinstance(value, torch.Tensor)}
    if not is_users_module(module_of(type(tensor))):  # sizes as symbols, meshes of devices, caches
        left_out.update(name for name in attributes if name.startswith("_"))
    return frozenset(left_out | inside.keys()), inside


def wraps(kind: type) -> bool:
    """Whether tensors of a class consist of other tensors: sharded, quantised, jagged ones."""
    return hasattr(kind, "__tensor_flatten__")


def has_attributes(value: Value) -> bool:
    """Whether an array, a number or a text is of a user's class, and has attributes that its digest does not tell."""
    return _may_have_attributes(type(value)) and bool(attributes_of(value))


@per_type
def _may_have_attributes(kind: type) -> bool:
    if issubclass(kind, enum.Enum) or not is_users_module(module_of(kind)):
        return False
    return issubclass(kind, (np.ndarray, bytes, str, int, float, complex))
