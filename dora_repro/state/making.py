"""Make a container or plain object of a type from what another one holds: types are found by name, not imported."""

import builtins
import enum
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_cloudpickle import classes_by_value
from dora_repro.state.attributes import attributes_of, name_of_type, set_attribute, type_name
from dora_repro.state.codecs import codec_of
from dora_repro.state.forms import Form
from dora_repro.state.keys import key_text, unescaped
from dora_repro.state.local_classes import youngest

_SHORT: dict[str, Any] = {
    **vars(builtins),
    **{kind.__name__: kind for kind in (OrderedDict, Counter, defaultdict, deque, types.SimpleNamespace)},
}
_ITEMS = (dict, list, tuple, deque, set, frozenset)
# The run alone knows what building these takes.
_NOT_MADE = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.Tensor)


class NotRestorable(Exception):
    """A leaf cannot be put back, for the reason that the message gives."""


def named(name: str) -> Any:
    """The class or function of a name that `forms.Form` gives: one of Python's own, of a module that is loaded, a
    class that came to this process by value, or one that a function made here.

    Raises:
        NotRestorable: there is none.
    """
    if name in _SHORT:
        return _SHORT[name]
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        for part in parts[end:]:
            found = getattr(found, part, None)
        if found is not None:
            return found
    inside = _inside_a_class(".".join(parts[:-1]), parts[-1])
    by_value = inside or next((kind for kind in classes_by_value() if name_of_type(kind) == name), None)
    made_here = by_value or youngest(name)
    if made_here is not None:
        return made_here
    raise NotRestorable(f"there is no `{name}` in this process")


def _inside_a_class(module: str, name: str) -> type | None:
    """A class that a class of a module holds, and that names itself as if the module did: a namedtuple made there."""
    for owner in list(vars(sys.modules[module]).values()) if module in sys.modules else ():
        found = owner.__dict__.get(name) if issubclass(type(owner), type) else None
        if isinstance(found, type) and name_of_type(found) == f"{module}.{name}":
            return found
    return None


def remade(form: Form, live: Value, keys: Mapping[str, Value]) -> Any:
    """What a live container or object holds, in one of another form.

    Args:
        form: what it is to be.
        live: what there is.
        keys: text in paths -> key, of a dict's keys as they are to be.

    Raises:
        NotRestorable: it cannot be made.
    """
    name, _, made_with = form.name.removesuffix(")").partition("(")
    kind: Any = named(name)
    if not isinstance(kind, type) or issubclass(kind, _NOT_MADE) or isinstance(live, _NOT_MADE):
        raise NotRestorable(f"a {form.name} cannot be made in place of a {type_name(live)}")
    if issubclass(kind, dict):
        return _filled(_empty_dict(kind, made_with), live, _rekeyed(live, form, keys))
    if issubclass(kind, _ITEMS):
        if not isinstance(live, _ITEMS) or isinstance(live, dict):
            raise NotRestorable(f"a {form.name} cannot be made of a {type_name(live)}")
        return of_items(kind, live, int(made_with.partition("=")[2]) if made_with else None)
    held = live if isinstance(live, dict) else attributes_of(live)
    if held is None:
        raise NotRestorable(f"a {form.name} cannot be made of a {type_name(live)}")
    made: Any = kind.__new__(kind)
    for attribute, value in held.items():
        if type(attribute) is str:
            set_attribute(made, attribute, value)
    return made


def _empty_dict(kind: type, factory: str) -> Any:
    if kind is defaultdict:
        if factory.startswith("partial of") or "<" in factory:
            raise NotRestorable(f"its default factory, {factory}, cannot be made")
        return defaultdict(None if factory == "None" else named(factory))
    base: Any = OrderedDict if issubclass(kind, OrderedDict) else dict
    return base.__new__(kind)


def _filled(made: Any, live: Any, items: Mapping[Value, Value]) -> Any:
    base = OrderedDict if isinstance(made, OrderedDict) else dict  # whose order is its own
    for key, value in items.items():
        base.__setitem__(made, key, value)
    if isinstance(live, dict) and hasattr(made, "__dict__"):
        made.__dict__.update(getattr(live, "__dict__", {}))
    return made


def _rekeyed(live: Any, form: Form, keys: Mapping[str, Value]) -> dict[Any, Value]:
    """The items of a dict, or the attributes of an object, under the keys that a dict of this form has."""
    if not isinstance(live, dict):
        held = attributes_of(live)
        if held is None or isinstance(live, _ITEMS):
            raise NotRestorable(f"a {form.name} cannot be made of a {type_name(live)}")
        return dict(held)
    items: dict[Any, Value] = {}
    base = OrderedDict if isinstance(live, OrderedDict) else dict
    for key, value in base.items(live):
        text = key_text(key)
        if isinstance(key, (torch.Tensor, torch.nn.Module)):
            items[key] = value
        elif text in form.keys:
            items[keys[text] if text in keys else key_of(form.keys[text], text)] = value
        else:
            items[text if type(key) is not str and text in keys else keys.get(text, key)] = value
    return items


def key_of(kind_name: str, text: str) -> Value:
    """A key that is no plain data, from its text: a member of an enum, a number of numpy's, a path.

    Raises:
        NotRestorable: it cannot be made from its text.
    """
    kind, text = named(kind_name), unescaped(text)
    try:
        if issubclass(kind, np.generic):
            return kind(text == "True" if kind is np.bool_ else text)
        codec = codec_of(kind)
        if codec is not None and codec.decode is not None:
            return codec.decode(kind, text)
    except Exception as error:
        raise NotRestorable(f"the key {text} cannot be made: {error}") from error
    raise NotRestorable(f"the key {text} cannot be made")


def of_items(kind: Any, items: Any, maxlen: int | None = None) -> Any:
    """A list, tuple, deque or set of a class, with these items; `__init__` is not called where it is not Python's."""
    base: Any = next(base for base in _ITEMS if issubclass(kind, base))
    if base is deque:
        made = deque(items, maxlen) if kind is deque else _of_subclass(kind, deque.extend, items)
    elif base in (tuple, frozenset):
        made = base.__new__(kind, items)
    else:
        fill: Callable[[Any, Any], object] = list.extend if base is list else set.update
        made = _of_subclass(kind, fill, items)
    return made


def _of_subclass(kind: Any, fill: Callable[[Any, Any], object], items: Any) -> Any:
    made: Any = kind.__new__(kind)
    fill(made, items)
    return made


def of_value(kind_name: str, plain: Any, maxlen: int | None = None) -> Any:
    """What a plain value stands for, of a type given by name.

    Raises:
        NotRestorable: it cannot be made.
    """
    kind = named(kind_name)
    if isinstance(kind, type) and issubclass(kind, _ITEMS) and not isinstance(plain, dict):
        return of_items(kind, plain, maxlen)
    codec = codec_of(kind) if isinstance(kind, type) else None
    if codec is None or codec.decode is None:
        raise NotRestorable(f"a {kind_name} cannot be made from what was stored of it")
    if issubclass(kind, enum.Enum) and plain.rpartition(".")[2] not in kind.__members__:
        raise NotRestorable(f"{kind_name} has no member {plain}")
    return codec.decode(kind, plain)
