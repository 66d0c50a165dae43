"""The call in which a suspended function waits. Its arguments have been evaluated: they are state beside the variables.

In `out, hidden = net(x, hidden)` that waits before `net` begins, setting the variable `hidden` has no effect any more.
So an argument that a variable gives follows the variable; one that an expression gives, as in `net(torch.stack(rows))`,
is state of its own. Which is which, the source says: where the call stands in it is known from the bytecode.
"""

import ast
import inspect
import itertools
import linecache
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeAlias

from dora_repro.contracts import Value
from dora_repro.state.making import NotRestorable

Place: TypeAlias = int | str
"""Of an argument: its number, or its keyword."""


class WaitingCall:
    """A call whose arguments have been evaluated, and that has not begun.

    Args:
        function: what will be called with the arguments; its parameters name them.
        args: the arguments.
        kwargs: the keyword arguments.
        caller: the frame that calls; None where that is not the user's own code.

    Attributes:
        args: as given, or as they were put since.
        kwargs: likewise.
        caller: as given.
        name: how the source calls what is called.
    """

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[Value, ...],
        kwargs: Mapping[str, Value],
        caller: types.FrameType | None,
    ):
        self.args, self.kwargs, self.caller = list(args), dict(kwargs), caller
        self._parameters = _parameters(function)
        call = _call_of(caller) if caller is not None else None
        self.name = ast.unparse(call.func) if call is not None else getattr(function, "__qualname__", "call")
        local = caller.f_locals if caller is not None else {}
        self._variables = dict(_variables_given(call, local, self._given())) if call is not None else {}

    def own(self) -> dict[str, Value]:
        """The arguments that no variable gives, by name."""
        return {self._name(place): value for place, value in self._given().items() if place not in self._variables}

    def put(self, name: str, value: Value) -> None:
        """Call with another value for an argument.

        Raises:
            NotRestorable: the call has no such argument.
        """
        place = next((place for place in self._given() if self._name(place) == name), None)
        if place is None:
            raise NotRestorable(f"{self.name}() is called without {name!r}")
        self._put(place, value)

    def follow(self, variable: str, value: Value) -> None:
        """Call with the new value of a variable of the caller, wherever the variable gives an argument."""
        for place, name in self._variables.items():
            if name == variable:
                self._put(place, value)

    def _given(self) -> dict[Place, Value]:
        given: dict[Place, Value] = dict(enumerate(self.args))
        given.update(self.kwargs)
        return given

    def _put(self, place: Place, value: Value) -> None:
        if isinstance(place, int):
            self.args[place] = value
        else:
            self.kwargs[place] = value

    def _name(self, place: Place) -> str:
        if isinstance(place, str):
            return place
        return self._parameters[place] if place < len(self._parameters) else str(place)


_CALLS: "weakref.WeakKeyDictionary[Any, WaitingCall]" = weakref.WeakKeyDictionary()


@contextmanager
def waits_in(suspended: object, call: WaitingCall) -> Iterator[None]:
    """Meanwhile, a suspended function is known to wait in a call."""
    _CALLS[suspended] = call
    try:
        yield
    finally:
        del _CALLS[suspended]


def call_of(suspended: object) -> WaitingCall | None:
    """The call that a suspended function waits in; None where it is not known to wait in one."""
    return _CALLS.get(suspended)


def _parameters(function: Callable[..., object]) -> list[str]:
    """The names of what may be given by position."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in given if parameter.kind in by_position]


def _variables_given(
    call: ast.Call, local: Mapping[str, Value], given: Mapping[Place, Value]
) -> Iterator[tuple[Place, str]]:
    """The arguments that are nothing but a variable of the caller, and hold what it holds: place and variable."""
    plain = itertools.takewhile(lambda argument: not isinstance(argument, ast.Starred), call.args)
    written = dict[Place, ast.expr](enumerate(plain))
    written |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    for place, argument in written.items():
        if place in given and isinstance(argument, ast.Name) and argument.id in local:
            if local[argument.id] is given[place]:
                yield place, argument.id


def _call_of(frame: types.FrameType) -> ast.Call | None:
    """The call that a frame is in, as the source has it."""
    spans = list(frame.f_code.co_positions())
    span = spans[frame.f_lasti // 2] if 0 <= frame.f_lasti // 2 < len(spans) else None
    file = frame.f_code.co_filename
    linecache.checkcache(file)
    return _calls_by_span("".join(linecache.getlines(file))).get(span) if span is not None else None


@lru_cache(maxsize=32)
def _calls_by_span(text: str) -> Mapping[Any, ast.Call]:
    try:
        nodes = ast.walk(ast.parse(text))
    except (SyntaxError, ValueError):
        return {}
    return {
        (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset): node
        for node in nodes
        if isinstance(node, ast.Call)
    }
