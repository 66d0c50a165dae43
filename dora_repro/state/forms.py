"""The form of what lies at a path: the types of containers, keys and objects, which the bytes in them do not show.

`{8: 0.5}` and `{"8": 0.5}` have the same paths and the same numbers in them, and so have a bounded deque and one that
has no bound, or an object and a dict of its attributes: a schedule that looks for 8 finds it in one of them alone.
Forms are no leaves of their own. They are compared where two runs have something in the same place.
"""

import functools
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn.utils.prune import BasePruningMethod

from dora_repro.contracts import Json, Value
from dora_repro.state.attributes import module_of, name_of_type, type_name
from dora_repro.state.leaves import Leaf, Leaves, SavedLeaf

_BY_SHORT_NAME = frozenset({OrderedDict, Counter, deque, types.SimpleNamespace})
_ORDINARY_TENSORS = frozenset({torch.Tensor, torch.nn.Buffer})


@dataclass(frozen=True, slots=True)
class Form:
    """What lies at a path, besides its bytes.

    Attributes:
        name: of its type, with what that was made with: `Counter`, `deque(maxlen=6)`, `defaultdict(float)`.
        keys: of a dict, text in paths -> type of every key that is no str.
        plain_keys: whether some of its keys are str.
        order: of a dict, its keys as text in paths, in their order. Forms of two orders are equal: `key_order.py`
            tells them apart.
        by_order: whether it is an OrderedDict, whose order is a part of what it is.
    """

    name: str
    keys: Mapping[str, str] = field(default_factory=dict)
    plain_keys: bool = False
    order: tuple[str, ...] = field(default=(), compare=False)
    by_order: bool = field(default=False, compare=False)

    @property
    def with_keys(self) -> str:
        """Its name with the types of its keys: `Counter with int keys`."""
        kinds = [*dict.fromkeys(("str",) if self.plain_keys else ()), *sorted(set(self.keys.values()))]
        return f"{self.name} with {' and '.join(kinds)} keys" if kinds else self.name

    def to_json(self) -> Json:
        """As JSON can hold it: mostly a name alone."""
        if not (self.keys or self.plain_keys or self.order):
            return self.name
        return [self.name, dict(self.keys), self.plain_keys, list(self.order), self.by_order]

    @classmethod
    def from_json(cls, written: Any) -> "Form":
        """Read what `to_json` wrote.

        Raises:
            TypeError: it did not write this.
        """
        fields: list[Any] = [written] if isinstance(written, str) else [*written]
        fields += ["", {}, False, [], False][len(fields) :]  # what a name alone leaves out, and older evidence
        name, keys, plain_keys, order, by_order = fields
        if type(name) is not str or not isinstance(keys, dict) or not isinstance(order, list):
            raise TypeError("an entry that is no form")
        named = {str(text): str(kind) for text, kind in keys.items()}
        return cls(name, named, bool(plain_keys), tuple(map(str, order)), bool(by_order))


class Formed(Protocol):
    """What has forms and leaves by path: a snapshot, or a run as it was walked."""

    @property
    def forms(self) -> Mapping[str, Form]:
        """By path."""

    def leaf(self, path: str) -> Leaf | SavedLeaf | None:
        """The leaf at a path; None where there is none."""

    def has(self, path: str) -> bool:
        """Whether anything lies at a path or below it."""


def forms_of(live: Leaves) -> dict[str, Form]:
    """The forms of all that a walk has met: containers, objects, values that stand for others, tensors of a class."""
    found = {path: Form(name) for path, name in live.kinds.items()}
    for path, leaf in live.items():
        kind = type(leaf.value)
        if issubclass(kind, torch.Tensor) and kind not in _ORDINARY_TENSORS and leaf.role != "buffer":
            if live.parameter_names.get(id(leaf.value)) != path:  # a module's are Parameters and nothing else
                found[path] = Form(type_name(leaf.value))
    for path, value in live.objects.items():
        if module_of(type(value)).rpartition(".")[0] != __package__:  # not what the walk itself has put in its place
            found[path] = form_of(value, live.key_types.get(path, {}), live.orders.get(path, ()))
    return found


def form_of(value: Any, keys: Mapping[str, str] | None = None, order: tuple[str, ...] = ()) -> Form:
    """The form of one object.

    Args:
        value: a container or any other object.
        keys: of a dict, text in paths -> type of each key that is no str.
        order: of a dict, its keys as text in paths, in their order.
    """
    keys = keys or {}
    plain_keys = isinstance(value, dict) and len(keys) < dict.__len__(value)
    return Form(_name(value), keys, plain_keys, order, isinstance(value, OrderedDict))


def _name(value: Any) -> str:
    kind: Any = type(value)
    if kind is deque:
        return "deque" if value.maxlen is None else f"deque(maxlen={value.maxlen})"
    if kind is defaultdict:
        return f"defaultdict({_factory_name(value.default_factory)})"
    if issubclass(kind, torch.nn.modules.lazy.LazyModuleMixin) and getattr(kind, "cls_to_become", None):
        becomes: Any = kind.cls_to_become  # which it is after its first step
        return name_of_type(becomes)
    if kind in _BY_SHORT_NAME:
        return kind.__name__
    return name_of_type(BasePruningMethod) if issubclass(kind, BasePruningMethod) else type_name(value)


def _factory_name(factory: Callable[[], Value] | None) -> str:
    """A function or class by its name; an object that is called by its type."""
    if isinstance(factory, functools.partial):
        return f"partial of {_factory_name(factory.func)}"
    name = getattr(factory, "__qualname__", None)
    if factory is None or not isinstance(name, str):
        return type(factory).__name__ if factory is not None else "None"
    module = getattr(factory, "__module__", "builtins")
    return name if module == "builtins" else f"{module}.{name}"


def differing_forms(expected: Formed, actual: Formed) -> Iterator[tuple[str, str, str]]:
    """(path, words for the expected form, words for the actual one) where both have something, of different forms.

    A leaf on one side alone is a difference of leaves, and so is an entry that one dict lacks.
    """
    for path in dict.fromkeys((*expected.forms, *actual.forms)):
        one, other = form_at(expected, path), form_at(actual, path)
        if one is None or other is None or one == other:
            continue
        if (expected.leaf(path) is None) is (actual.leaf(path) is None):
            words = _difference(path, (expected, one), (actual, other))
            if words is not None:
                yield path, *words


def form_at(side: Formed, path: str) -> Form | None:
    """The form of what lies at a path: of a plain value its type; None where that is not known, or nothing is there."""
    leaf = side.leaf(path)
    if path in side.forms or leaf is None:
        return side.forms.get(path)
    if leaf.role in ("alias", "generator") or not getattr(leaf, "kept", True):
        return None
    return Form("torch.Tensor" if isinstance(leaf.value, torch.Tensor) else type_name(leaf.value))


def _difference(path: str, expected: tuple[Formed, Form], actual: tuple[Formed, Form]) -> tuple[str, str] | None:
    """How two forms of one path differ, in words for each; None where they do only in what one of them lacks."""
    (one_side, one), (other_side, other) = expected, actual
    texts = {**one.keys, **other.keys}
    differing = [
        text
        for text in texts
        if one.keys.get(text, "str") != other.keys.get(text, "str")
        and (text in one.keys or one_side.has(f"{path}/{text}"))
        and (text in other.keys or other_side.has(f"{path}/{text}"))
    ]
    if not differing:
        return (one.name, other.name) if one.name != other.name else None
    if one.with_keys != other.with_keys:
        return one.with_keys, other.with_keys
    first = differing[0]  # both have keys of the same types, but for other entries
    words = [f"{form.with_keys} ({first} is {form.keys.get(first, 'str')})" for form in (one, other)]
    return words[0], words[1]
