"""Run advised lines of code on a run: `advice` generated them from paths and keys, and reports show them."""

import copy
import decimal
import io
import pickle
import random
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch

from dora_repro.checkpoint.reading import read
from dora_repro.checkpoint.sharded import is_sharded
from dora_repro.contracts import Run, Value
from dora_repro.explain.trials.trial import Lines
from dora_repro.private_names.of_cloudpickle import is_made_here
from dora_repro.sides.places import Place, names_at, objects_at
from dora_repro.state.attributes import attributes_of
from dora_repro.state.frames import Variables
from dora_repro.state.held_code import held_code
from dora_repro.state.module_variables import PREFIX, ClassNamespace, Variable, variables_of
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk


def fill(lines: Lines, run: Run, beside: Path | None = None) -> dict[str, Value]:
    """Run the lines of save, and return the `state` that they fill as it comes back from a file.

    Args:
        lines: the advised lines.
        run: the run to save.
        beside: `path` of the lines that write a file of their own beside it.
    """
    state: dict[str, Value] = {}
    place = lines.places[0]
    exec("\n".join(lines.save), {**_names(run, place), _path(place): beside, _state(lines, place): state})
    file = io.BytesIO()
    torch.save(state, file, pickle_module=_PICKLE)
    file.seek(0)
    return torch.load(file, weights_only=False)  # written in this very function


class _Pickler(cloudpickle.Pickler):
    """Pickles what the user's own process could: there a class that travelled here by value has its module."""

    def reducer_override(self, obj: Any) -> Any:
        """As `pickle` has it.

        Raises:
            PicklingError: a function made this class or function, so no module has it.
        """
        name = getattr(obj, "__qualname__", "") if isinstance(obj, (type, types.FunctionType)) else ""
        if "<" in name or (isinstance(obj, type) and is_made_here(obj)):
            raise pickle.PicklingError(f"Can't pickle local object {name!r}")
        return super().reducer_override(obj)


_PICKLE = types.SimpleNamespace(__name__="pickle", Pickler=_Pickler)


def read_into(run: Run, lines: Lines, filled: Mapping[str, Value], load: Path, beside: Path | None = None) -> None:
    """Run the lines of load.

    Args:
        run: the run to load into.
        lines: the advised lines.
        filled: `state` as the lines of save filled it.
        load: path of the checkpoint, as `load(path)` was given it.
        beside: `path` of the lines that read a file of their own beside it, as `fill` was given it.
    """
    states: dict[str, Value] = {}
    place = lines.places[1]
    names = {**_names(run, place), _path(place): beside}  # and those that a line makes for the next
    given = dict(names)
    for file, line in lines.load:
        if file not in states:
            state = _read(load.parent / (file or load.name))
            states[file] = {**state, **filled} if not file and isinstance(state, dict) else state
        name = "state" if file else _state(lines, place)
        names[name] = states[file]
        exec(line, names)
        if name in given and names[name] is states[file]:  # a variable of the run's own
            names[name] = given[name]
    for variable in _variables(run).values():
        variable.namespace[variable.name] = names[variable.name]  # a line that assigned one did so here
    for holder in _functions(run):
        for name, value in holder.frame.f_locals.items():
            # Of two functions with a variable of one name, the lines saw the innermost one's.
            if value is given[name] and names[name] is not value:
                holder.put(name, names[name])


def _state(lines: Lines, place: Place | None) -> str:
    """What the dict that is saved, or was read, is called in the lines."""
    return lines.state if place is None or lines.state != "state" else place.state


def _read(file: Path) -> Value:
    """What `state` is to the lines that read a file."""
    if not file.is_file() and not is_sharded(file):
        return {}  # a folder of files: each line that reads one names it
    return read(file)


def _path(place: Place | None) -> str:
    """What the path of the checkpoint is called in the lines."""
    return "path" if place is None else place.path


def _names(run: Run, place: Place | None) -> dict[str, Value]:
    """The names that the lines may use besides `state`: at a place that is known those of its function alone."""
    here = run if not callable(getattr(run, "components", None)) else _Named(run)
    of_modules = {one.name: one.namespace[one.name] for one in _variables(run).values()}
    local = {name: value for holder in _functions(run) for name, value in holder.frame.f_locals.items()}
    named = {**sys.modules, **_classes(run), **of_modules}
    own = local.get("self", run)
    of_method = {} if own is run else {"self": own}  # of one that is half done, and that another object has
    if place is not None and (there := names_at(run, place)):
        return {**_classes(run), **there, **of_modules, **local, **objects_at(here, place), **of_method}
    modules = {"copy": copy, "decimal": decimal, "np": np, "random": random, "torch": torch}
    return {**named, **modules, **local, "self": here, **of_method}


def _classes(run: Run) -> dict[str, Value]:
    """The classes that the run's own code names, and those of its module that hold variables, by name."""
    found = variables_of(type(run), held_code(run, attributes_of(run) or {}))
    kinds = [one.namespace.kind for one in found.values() if isinstance(one.namespace, ClassNamespace)]
    named: dict[str, Value] = {}
    for base in reversed(type(run).__mro__):
        for method in vars(base).values():
            named |= {name: kind for name, kind in getattr(method, "__globals__", {}).items() if _is_class(kind)}
    return named | {kind.__name__: kind for kind in kinds if kind.__module__ == type(run).__module__}


def _is_class(value: Value) -> bool:
    return issubclass(type(value), type)


def _functions(run: Run) -> list[Variables]:
    """The variables of the functions that the run is in, the innermost last."""
    return [held for held in walk(run_roots(run)).objects.values() if isinstance(held, Variables)]


def _variables(run: Run) -> dict[str, Variable]:
    """The variables of the run's own module; others are reached by the name of theirs."""
    found = variables_of(type(run), held_code(run, attributes_of(run) or {}))
    return {name: one for name, one in found.items() if name == f"{PREFIX}{one.name}" and one.name not in _TAKEN}


_TAKEN = ("copy", "decimal", "np", "random", "torch", "self", "state", "more", "path")  # names of the lines' own


class _Named:
    """A run whose objects have the names that its `components()` gives them."""

    def __init__(self, run: Run) -> None:
        object.__setattr__(self, "_run", run)

    def __getattr__(self, name: str) -> Value:
        roots = run_roots(self._run)
        return roots[name] if name in roots else getattr(self._run, name)

    def __setattr__(self, name: str, value: Value) -> None:
        getattr(self._run, name)  # raises for a name that is no attribute: no line of load could set it
        setattr(self._run, name, value)
