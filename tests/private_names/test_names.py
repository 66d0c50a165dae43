"""Every private name that the kit uses is still there, in the versions that are installed."""

import ctypes
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from dora_repro.private_names import of_cloudpickle, of_cpython, of_numpy, of_torch
from dora_repro.private_names.names import PrivateName, listed

LISTS = (of_cloudpickle, of_cpython, of_numpy, of_torch)
NAMES = [name for module in LISTS for name in module.NAMES]


def optimizer(**options):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, **options)


def scheduled():
    stepped = optimizer(fused=True)
    torch.optim.lr_scheduler.StepLR(stepped, 1)
    stepped.step()
    return stepped


def pruning():
    pruned = torch.nn.utils.prune.random_unstructured(nn.Linear(2, 2), "weight", 1)
    return next(iter(pruned._forward_pre_hooks.values()))


def node():
    return (torch.zeros(1, requires_grad=True) * 2.0).grad_fn


# What has the attributes that its class does not show.
EXAMPLES = {
    "ctypes.Array": lambda: (ctypes.c_int * 1)(),
    "ctypes.Structure": lambda: type("Point", (ctypes.Structure,), {"_fields_": [("x", ctypes.c_int)]}),
    "numpy.random.RandomState": np.random.RandomState,
    "torch.autograd.graph.Node": node,
    "torch._ops.OpOverload": lambda: torch.ops.aten.add_.Tensor,
    "torch.Tensor": lambda: torch.zeros(1),
    "torch.UntypedStorage": lambda: torch.zeros(1).untyped_storage(),
    "torch.nn.Module": nn.Module,
    "torch.nn.Module.state_dict": lambda: nn.ReLU().state_dict(),
    "torch.nn.RNNBase": lambda: nn.LSTM(1, 1),
    "torch.fx.GraphModule": lambda: torch.fx.symbolic_trace(nn.ReLU()),
    "torch.optim.Optimizer": optimizer,
    "torch.optim.SGD": scheduled,
    "torch.optim.lr_scheduler.LRScheduler": lambda: torch.optim.lr_scheduler.StepLR(optimizer(), 1),
    "torch.nn.utils.prune.BasePruningMethod": pruning,
    "torch.amp.GradScaler": lambda: torch.amp.GradScaler("cpu"),
    "torch.utils.data.DataLoader": lambda: torch.utils.data.DataLoader([0]),
    "torch.utils.data.dataloader._BaseDataLoaderIter": lambda: iter(torch.utils.data.DataLoader([0])),
    "torch.compile": lambda: torch.compile(lambda: 0, backend="eager"),
}


def find(name: str) -> object:
    """What a dotted name stands for.

    Raises:
        AttributeError: nothing has that name.
    """
    owner, _, last = name.rpartition(".")
    if owner in EXAMPLES:
        return getattr(EXAMPLES[owner](), last)
    try:
        return importlib.import_module(name)
    except ImportError:
        return getattr(find(owner) if owner else None, last)


@pytest.mark.parametrize("name", [one.name for one in NAMES])
def test_it_is_there(name):
    find(name)


@pytest.mark.parametrize("name", ["torch._C._no_such", "torch.nn.Module._no_such", "torch._no_such", "no_such._x"])
def test_one_that_is_gone_is_noticed(name):
    with pytest.raises(AttributeError):
        find(name)


def test_each_has_one_entry_that_says_what_it_is_for():
    names = [one.name for one in NAMES]
    assert len(names) == len(set(names)) and all(one.used_for and one.read_in for one in NAMES)
    assert listed("x 1", {"x._y": "z"}) == (PrivateName("x._y", "x 1", "z"),)


def unlisted(source: str, names: list[str]) -> set[str]:
    """Private names in a source that no listed name has among its parts."""
    parts = {part for name in names for part in name.split(".")}
    return set(re.findall(r"(?<!\w)_[a-z]\w*", source, re.I)) - parts


@pytest.mark.parametrize("module", LISTS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_one_in_these_modules_is_listed(module):
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert unlisted(source, [name.name for name in module.NAMES]) == OPERATORS[module]


# The beginning of names, and no name: `_empty_affine_quantized` is listed. Marks that libraries set on tensors.
MARKS = {"_is_buffer", "_is_hf_initialized", "_dynamo_", "_specialize_on", "_has_dynamo_dim_marking"}
OPERATORS = {of_cloudpickle: set(), of_cpython: set(), of_numpy: set(), of_torch: {"_empty", *MARKS}}


def test_one_that_is_not_listed_is_noticed():
    assert unlisted('x = torch._C._y\nz = "_w"\nself.a_b\n', ["torch._C"]) == {"_y", "_w"}
