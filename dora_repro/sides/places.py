"""Where lines of advice go: the functions of the user's that save and load, and what things are called there."""

import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dora_repro.contracts import Factory, Json, Run, Value
from dora_repro.sides.visible import imported_in_file, value_of, visible_names
from dora_repro.state.attributes import attributes_of, is_users_module
from dora_repro.state.frames import Variables
from dora_repro.state.held_code import held_code
from dora_repro.state.module_variables import functions_of
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

SAVE, LOAD = "save", "load"


@dataclass(frozen=True)
class Place:
    """A function of the user's that lines go into, and the names that it has.

    Attributes:
        function: its qualified name; empty where it is not known.
        module: the module that it is in.
        names: dotted name of a module, or of what is in one -> what it is called there (`sides/visible.py`).
        taken: names of modules that lines use, and that mean something else there.
        path: what the path of the checkpoint is called.
        own: what the run is called.
    """

    function: str = ""
    module: str = ""
    names: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    path: str = "path"
    own: str = "self"

    @classmethod
    def of(cls, function: types.FunctionType) -> "Place":
        """The place that a function is, its first argument being the run, its second the path."""
        names, taken = visible_names(function)
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        own, path = (*arguments, *("self", "path")[len(arguments) :])[:2]
        return cls(function.__qualname__, str(function.__module__), names, taken, path, own)


def places_of(run: Run, factory: Factory) -> dict[str, dict[str, Any]]:
    """The places of a run that has methods to save and load, as plain data, by `SAVE` and `LOAD`.

    Args:
        run: the run.
        factory: what built it; by its own `resume(path)` where it has one.
    """
    found = {}
    for name, thing in ((SAVE, getattr(run, "save", None)), (LOAD, getattr(factory, "resume", None) or run.load)):
        function = method(thing)
        if function is not None:
            found[name] = vars(Place.of(function))
    return found


def places_of_functions(run: Value) -> dict[str, dict[str, Any]]:
    """The places of the functions that a run is in, as plain data, by the path of their variables."""
    held = walk(run_roots(run)).objects.items()
    return {path: vars(_of_frame(value.frame)) for path, value in held if isinstance(value, Variables)}


def _of_frame(frame: types.FrameType) -> Place:
    """The place that a running function is; its variables go by their own names."""
    code = frame.f_code
    cells = tuple(types.CellType() for _ in code.co_freevars)
    function = types.FunctionType(code, frame.f_globals, None, None, cells)
    names, taken = visible_names(function)
    return Place(code.co_qualname, str(frame.f_globals.get("__name__")), names, taken)


def method(thing: Any) -> types.FunctionType | None:
    """The function behind a method of the user's that is called with a path; None for all else."""
    if not isinstance(thing, types.MethodType):
        return None
    function = inspect.unwrap(thing.__func__)
    return function if isinstance(function, types.FunctionType) and is_users_module(function.__module__) else None


def names_at(run: Run, place: Place) -> dict[str, Value]:
    """All global names that lines have at a place; none where its function is not found."""
    for function in _functions(run):
        if (function.__qualname__, function.__module__) == (place.function, place.module):
            imported = {name: value_of(dotted) for name, dotted in imported_in_file(function).items()}
            own = {name: value_of(dotted) for dotted, name in place.names.items() if name not in imported}
            return {**own, **imported, **function.__globals__}
    return {}


def _functions(run: Run) -> Iterator[types.FunctionType]:
    known: list[Callable[..., Any] | None] = [getattr(run, "save", None), getattr(run, "load", None)]
    yield from filter(None, map(method, known))
    yield from functions_of(type(run), held_code(run, attributes_of(run) or {}))


def read_place(fields: dict[str, Json] | None) -> Place | None:
    """The place that was written as plain data."""
    known: Any = fields
    return Place(**known) if fields else None
