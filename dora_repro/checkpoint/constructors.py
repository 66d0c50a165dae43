"""The names that a checkpoint's pickle may use, and what this kit builds for each.

The table of all builders: `torch_values.py`, `numpy_values.py`, `python_values.py`. Every builder takes plain values,
checks them, and makes a plain value. Names that are not here become stubs. Adding a name means writing its builder,
never importing what the file names.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from pickle import UnpicklingError

import numpy
import torch

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.numpy_values import NUMPY, build_array, build_dtype
from dora_repro.checkpoint.pickle_machine import Vocabulary, take_key
from dora_repro.checkpoint.python_values import PYTHON, keyed_constructors
from dora_repro.checkpoint.tensors import Finish, TensorEntry, as_entry
from dora_repro.checkpoint.torch_values import DTYPES, TORCH, tensor_constructors
from dora_repro.private_names.of_torch import METADATA


def vocabulary(
    budget: Budget,
    persistent: Callable[[FileValue], FileValue],
    nested: Callable[[bytes], FileValue],
    finish: Finish = as_entry,
) -> Vocabulary:
    """The words of a checkpoint's pickle.

    Args:
        budget: what reading the file may take.
        persistent: gives the Storage of a persistent id.
        nested: reads a torch file that a pickle holds as bytes.
        finish: makes what stands for a tensor: its entry, and nothing is loaded; or the tensor, loaded.
    """
    known = {**TORCH, **NUMPY, **PYTHON, **keyed_constructors(partial(take_key, budget))}
    known |= tensor_constructors(finish, nested)
    return Vocabulary(DTYPES, known, (numpy.ndarray, numpy.dtype), _build, persistent)


def _build(value: FileValue, state: FileValue) -> FileValue:
    """What BUILD makes of a value that is no stub. Attributes are never set, but for a state_dict's `_metadata`."""
    if isinstance(value, numpy.ndarray):
        return build_array(state)
    if isinstance(value, numpy.dtype):
        return build_dtype(value, state)
    if type(value) is OrderedDict and isinstance(state, dict) and isinstance(state.get(METADATA), dict):
        setattr(value, METADATA, state[METADATA])  # torch's own attribute of the OrderedDict that `state_dict` returns
        return value
    if isinstance(value, (dict, list, set, deque, torch.Tensor, TensorEntry)):
        return value
    raise UnpicklingError(f"a state for a {type(value).__name__}")
