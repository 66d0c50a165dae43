"""What hangs on a leaf besides its value is state of its own: seen where it differs, and put back."""

import enum
import pathlib
import random

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.comparison.leaves import compare
from dora_repro.state.attached import attached_to_tensor, has_attributes
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk

# How a subclass reaches torch's own functions here is what torch calls a prototype.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors:UserWarning", "ignore:torch.quantize_per_tensor:UserWarning"
)


class Plain(torch.Tensor):
    pass


class Slotted(torch.Tensor):
    __slots__ = ("scale",)


class Wrapper(torch.Tensor):
    """A tensor that consists of another one, as quantised and sharded ones do."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    def __tensor_flatten__(self):
        return ["inner"], None

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        inner = [arg.inner if isinstance(arg, Wrapper) else arg for arg in args]
        return function(*inner, **(kwargs or {}))


class Array(np.ndarray):
    pass


class Random(random.Random):
    pass


class NumpyGenerator(np.random.Generator):
    pass


class TorchGenerator(torch.Generator):
    pass


class Count(int):
    pass


class Rate(float):
    pass


class Name(str):
    pass


def module(*, parameter=None, buffer=None):
    made = nn.Module()
    if parameter is not None:
        made.w = parameter
    if buffer is not None:
        made.w = nn.Buffer(buffer, persistent=False)
    return made


def stepped():
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    return {"model": module(parameter=parameter), "optimizer": optimizer}, optimizer.state[parameter]["exp_avg"]


def one_inside(holder, leaf):
    return {"x": holder}, leaf


def of_module(leaf):
    made = module(parameter=leaf) if isinstance(leaf, nn.Parameter) else module(buffer=leaf)
    return {"model": made}, made.w


def gradient():
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return {"model": module(parameter=parameter)}, parameter.grad


def alone(leaf):
    return {"x": leaf}, leaf


def inside_wrapper():
    wrapper = Wrapper(torch.ones(2))
    return {"x": wrapper}, wrapper.inner


def second_name():
    first = torch.ones(2)
    second = first.view(2)
    return {"a": first, "b": second}, second


def nested(layout):
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)


LEAVES = {
    "tensor": lambda: alone(torch.ones(2)),
    "parameter": lambda: of_module(nn.Parameter(torch.ones(2))),
    "frozen": lambda: of_module(nn.Parameter(torch.ones(2), requires_grad=False)),
    "lazy": lambda: of_module(nn.UninitializedParameter()),
    "buffer": lambda: of_module(torch.ones(2)),
    "gradient": gradient,
    "moment": stepped,
    "second name": second_name,
    "in a list": lambda: one_inside([torch.ones(1), item := torch.ones(2)], item),
    "subclass": lambda: alone(torch.ones(2).as_subclass(Plain)),
    "slot": lambda: alone(torch.ones(2).as_subclass(Slotted)),
    "wrapper": lambda: alone(Wrapper(torch.ones(2))),
    "wrapped": inside_wrapper,
    "sparse": lambda: alone(torch.eye(2).to_sparse()),
    "quantized": lambda: alone(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
    "nested": lambda: alone(nested(torch.strided)),
    "jagged": lambda: alone(nested(torch.jagged)),
    "array": lambda: alone(np.ones(2).view(Array)),
    "python generator": lambda: alone(Random(1)),
    "numpy generator": lambda: alone(NumpyGenerator(np.random.PCG64(1))),
    "torch generator": lambda: alone(TorchGenerator()),
    "number": lambda: alone(Count(3)),
    "float": lambda: alone(Rate(0.5)),
    "text": lambda: alone(Name("a")),
}


def made(name, **attributes):
    roots, leaf = LEAVES[name]()
    for key, value in attributes.items():
        setattr(leaf, key, value)
    return roots


@pytest.mark.parametrize("name", LEAVES)
def test_an_attribute_of_a_leaf_is_seen_and_put_back(name):
    expected = Snapshot.capture(made(name, scale=1.0))
    assert compare(expected, Snapshot.capture(made(name, scale=1.0))).equal
    live = made(name, scale=2.0)
    (difference,) = compare(expected, Snapshot.capture(live)).differences
    assert difference.path.endswith("/scale")
    assert expected.restore(live) == {}
    assert compare(expected, Snapshot.capture(live)).equal


@pytest.mark.parametrize("name", [name for name in LEAVES if name not in ("number", "float", "text", "wrapped")])
def test_an_attribute_that_a_leaf_lacks_or_has_too_many_is_put_right(name):
    for before, after in (({"scale": 1.0}, {}), ({}, {"scale": 1.0})):
        expected, live = Snapshot.capture(made(name, **before)), made(name, **after)
        (difference,) = compare(expected, Snapshot.capture(live)).differences
        assert difference.kind == ("missing" if before else "unexpected")
        assert expected.restore(live) == {}
        assert compare(expected, Snapshot.capture(live)).equal


@pytest.mark.parametrize("name", ["parameter", "buffer", "jagged"])
def test_the_moving_part_of_a_walk_has_attributes_too(name):
    moving = walk(made(name, calls=3), moving_only=True)
    assert [leaf.value for path, leaf in moving.items() if path.endswith("/calls")] == [3]


def test_attributes_that_are_objects_are_taken_apart():
    def hung(seed):
        tensor = torch.ones(2)
        tensor.generator, tensor.more, tensor.me = random.Random(seed), {"scales": [torch.full((2,), seed)]}, tensor
        return {"x": tensor}

    expected, live = Snapshot.capture(hung(1.0)), hung(2.0)
    differing = {difference.path for difference in compare(expected, Snapshot.capture(live)).differences}
    assert differing == {"x/generator", "x/more/scales/0"}
    assert expected.restore(live) == {}
    assert live["x"].generator.random() == random.Random(1.0).random()


def test_what_torch_itself_notes_on_a_tensor_is_no_state():
    kept, left_out = (module(buffer=torch.ones(2)), nn.Module())
    left_out.register_buffer("w", torch.ones(2))
    assert compare(Snapshot.capture({"m": kept}), Snapshot.capture({"m": left_out})).equal
    kept.w.persistent = 3  # no note of torch's: a value of the user's
    assert [each.path for each in compare(Snapshot.capture({"m": left_out}), Snapshot.capture({"m": kept})).differences]


def test_a_chain_of_tensors_without_end_is_cut_and_said_so():
    first = last = torch.ones(1)
    for _ in range(200):
        last.next = torch.ones(1)
        last = last.next
    live = walk({"x": first})
    assert "x" in live.leaves and len(live.uncaptured) == 1
    assert "levels deep" in next(iter(live.uncaptured.values()))


def test_members_of_an_enum_and_values_of_libraries_have_no_attributes():
    assert list(walk({"x": pathlib.PurePath("a")}).leaves) == ["x"]
    assert list(walk({"x": np.ma.masked_array([1.0, 2.0], [True, False])}).leaves) == ["x"]


class Grade(enum.IntEnum):
    GOOD = 1


class Marked(int):
    pass


def test_only_a_value_of_a_users_class_that_has_some_has_attributes():
    marked = Marked(1)
    assert not has_attributes(marked)
    marked.why = "x"
    assert has_attributes(marked)
    assert not has_attributes(Grade.GOOD) and not has_attributes(pathlib.PurePath("a")) and not has_attributes(1)
    assert not has_attributes(np.ma.masked_array([1.0], [True])) and has_attributes(np.array([1.0]).view(Noted))


class Noted(np.ndarray):
    def __array_finalize__(self, other):
        self.note = "x"


class Optional(Wrapper):
    """One that may wrap a second tensor."""

    def __tensor_flatten__(self):
        return ["inner", "bias"], None


def test_what_a_users_wrapper_keeps_is_state_but_for_the_tensors_in_it():
    wrapper = Optional(torch.ones(2))
    wrapper.bias, wrapper._note = None, 3
    left_out, inside = attached_to_tensor(wrapper)
    assert left_out == {"inner"} and list(inside) == ["inner"]


def test_what_the_compiler_notes_on_a_tensor_is_no_state():
    """A resumed model has it only once it was called: lines were advised to save `_dynamo_static_input_type`."""
    weight = torch.nn.Parameter(torch.ones(2))
    weight._dynamo_static_input_type, weight.scale = "unguarded", 0.5
    torch._dynamo.mark_dynamic(weight, 0)
    assert {*vars(weight)} - attached_to_tensor(weight)[0] == {"scale"}
