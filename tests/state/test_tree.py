"""Tensors and plain values inside batches and outputs."""

import dataclasses
from collections import OrderedDict, namedtuple

import numpy as np
import torch
from torch import nn

from dora_repro.state.tree import flatten

Batch = namedtuple("Batch", "image label")


@dataclasses.dataclass
class Output:
    loss: torch.Tensor
    hidden: tuple = ()


class Cache:
    def __init__(self):
        self.keys = [torch.zeros(1)]
        self.length = 3


def paths(value) -> list[str]:
    return [path for path, _ in flatten(value)]


def test_a_bare_tensor_has_an_empty_path():
    tensor = torch.zeros(1)
    assert list(flatten(tensor)) == [("", tensor)]
    assert paths(3.5) == [""] and paths([1, 2]) == [""] and paths(np.zeros(1)) == [""]


def test_structures_are_followed_in_order():
    tensor = torch.zeros(1)
    assert paths([tensor, {"b": tensor, "a/c": [tensor, 1]}]) == ["/0", "/1/b", "/1/a~1c/0", "/1/a~1c/1"]
    assert paths(Batch(tensor, [1, 2])) == ["/0", "/1"]
    assert paths(Output(tensor, (tensor,))) == ["/loss", "/hidden/0"]
    assert paths(OrderedDict(x=tensor, y={1: tensor})) == ["/x", "/y/1"]
    assert paths(Cache()) == ["/keys/0", "/length"]


def test_what_has_no_value_is_left_out():
    assert paths([torch.zeros(1), nn.Linear(1, 1), len, print, nn.Linear, object(), (i for i in "ab")]) == ["/0"]


def test_rings_and_deep_structures_come_to_an_end():
    ring: list = [torch.zeros(1)]
    ring += [ring, ring]
    assert paths(ring) == ["/0"]
    deep: object = torch.zeros(1)
    for _ in range(100):
        deep = [deep, None]
    assert len(paths(deep)) == 20


def test_a_shared_item_is_given_under_every_name():
    tensor = torch.zeros(1)
    shared = [tensor]
    assert paths({"a": shared, "b": shared}) == ["/a/0", "/b/0"]


def test_properties_are_not_touched():
    class Lazy:
        def __init__(self):
            self.value = torch.zeros(1)

        @property
        def more(self):
            raise RuntimeError

        def __getattr__(self, name):
            raise RuntimeError(name)

    assert paths(Lazy()) == ["/value"]
