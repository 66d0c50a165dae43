"""Arguments of a training function, with the places of one run filled in."""

import copy
import dataclasses
import inspect
from argparse import Namespace
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any

from dora_repro.contracts import Value
from dora_repro.errors import BadInput

OUT, NEWEST = "{out}", "{newest}"

_NAMESPACES = (Namespace, SimpleNamespace)


class Places:
    """Fills in `{out}` and `{newest}`, wherever they are in some arguments.

    Args:
        text_of: place -> what gives its text; asked when it is met.

    Attributes:
        met: the places that were met.
    """

    def __init__(self, text_of: Mapping[str, Callable[[], str]]):
        self._text_of = text_of
        self.met: set[str] = set()

    def fill(self, value: Any) -> Any:
        """A copy of its own, with every place filled in: in strings and paths, inside containers, dataclasses and
        namespaces."""
        return self._fill(copy.deepcopy(value))

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, PurePath):
            text = self._text(str(value))
            return value if text == str(value) else type(value)(text)
        if isinstance(value, MutableMapping):
            for key in list(value):
                value[key] = self._fill(value[key])
        elif isinstance(value, list):
            value[:] = map(self._fill, value)
        elif isinstance(value, tuple):
            items = [self._fill(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        elif isinstance(value, _NAMESPACES) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
            for name, item in list(vars(value).items()):
                object.__setattr__(value, name, self._fill(item))
        return value

    def _text(self, text: str) -> str:
        for place, text_of in self._text_of.items():
            if place in text:
                self.met.add(place)
                text = text.replace(place, text_of())
        return text


def changed(
    function: Callable[..., object], args: tuple[Value, ...], kwargs: Mapping[str, Value], changes: Mapping[str, Value]
) -> tuple[tuple[Value, ...], dict[str, Value]]:
    """Arguments with some of them changed: parameters of the function by name, else entries of its one configuration,
    which is written to: give a copy.

    Args:
        function: what they are for.
        args: its positional arguments.
        kwargs: its keyword arguments.
        changes: name of a parameter, or of an entry of the one argument that is a mapping, namespace or dataclass ->
            new value.

    Raises:
        BadInput: a name that is neither.
    """
    kwargs = dict(kwargs)
    signature = inspect.signature(function)
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positions = [name for name, one in signature.parameters.items() if one.kind in by_position]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    values = list(args)
    configurations = [value for value in (*values, *kwargs.values()) if _is_configuration(value)]
    for name, value in changes.items():
        if name in positions[: len(values)]:
            values[positions.index(name)] = value
        elif name in signature.parameters and name != _var_keyword(signature):
            kwargs[name] = value
        elif len(configurations) == 1:
            _set_entry(configurations[0], name, value)
        elif takes_any:
            kwargs[name] = value
        else:
            raise BadInput(
                f"resumed={{{name!r}: …}}: {_name(function)}() has no parameter {name!r}, and {len(configurations)} of "
                "its arguments are configurations (a dict, a namespace, a dataclass): name a parameter, or give a "
                "function of the folder: resumed=lambda out: train(…)"
            )
    return tuple(values), kwargs


def _is_configuration(value: Value) -> bool:
    is_data = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return isinstance(value, (MutableMapping, *_NAMESPACES)) or is_data


def _set_entry(configuration: Any, name: str, value: Value) -> None:
    if isinstance(configuration, MutableMapping):
        configuration[name] = value
    else:
        object.__setattr__(configuration, name, value)


def _var_keyword(signature: inspect.Signature) -> str | None:
    return next((name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD), None)


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", type(function).__name__)
