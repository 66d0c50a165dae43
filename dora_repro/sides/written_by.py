"""Who builds what a run saves: its own code, by functions that write any object to a file, or a library that it calls.

Where no code of the user's does, there is no dict that a line could add a key to.
"""

import sys
import types
from collections.abc import Iterator
from typing import Any

from dora_repro.contracts import Value
from dora_repro.state.attributes import attributes_of, is_users_module
from dora_repro.state.frames import Variables
from dora_repro.state.function_names import names_of
from dora_repro.state.held_code import held_code
from dora_repro.state.module_variables import functions_of
from dora_repro.state.snapshot import run_roots
from dora_repro.state.source_names import IMPORTED
from dora_repro.state.walk import walk

# Functions that write what they are given, whatever it is, by the first part of their module's name.
_WRITERS = {
    "torch": {"save", "async_save", "save_state_dict"},
    "pickle": {"dump", "dumps", "Pickler"},
    "cloudpickle": {"dump", "dumps"},
    "dill": {"dump", "dumps"},
    "joblib": {"dump"},
    "json": {"dump", "dumps"},
    "numpy": {"save", "savez", "savez_compressed"},
    "safetensors": {"save", "save_file", "save_model"},
}
# Methods of libraries' objects that are given a dict of the user's: what else the run calls where they are not meant.
_METHODS = {"fabric": ("save", ""), "accelerate": ("save", "save_state")}


def writers_of(run: Value, libraries: dict[str, str]) -> list[str]:
    """Name the functions by which the run's own code writes objects that it has built itself: `torch.save`.

    Args:
        run: the run.
        libraries: the training libraries that it uses.
    """
    held = held_code(run, attributes_of(run) or {})
    functions = functions_of(type(run), held)
    found = {name for thing in (*held, *(used for one in functions for used in _used(one))) if (name := _writer(thing))}
    methods = {name for one in functions for code in _with_inner(one.__code__) for name in code.co_names}
    for library, (method, instead) in _METHODS.items():
        if library in libraries and method in methods and instead not in methods:
            found.add(f"{library}.{method}")
    return sorted(found)


def library_functions(run: Value) -> dict[str, str]:
    """Which of the functions that a run is in are a library's: path of its variables -> the package."""
    held = walk(run_roots(run)).objects.items()
    inside = {path: str(value.frame.f_globals.get("__name__")) for path, value in held if isinstance(value, Variables)}
    return {path: module.partition(".")[0] for path, module in inside.items() if not is_users_module(module)}


def _used(function: types.FunctionType) -> Iterator[Any]:
    """What the global names of a function lead to, through modules."""
    for name in names_of(function):
        root, *attributes = name.removeprefix(IMPORTED).split(".")
        value: Any = sys.modules.get(root) if name.startswith(IMPORTED) else function.__globals__.get(root)
        for attribute in attributes:
            value = vars(value).get(attribute) if issubclass(type(value), types.ModuleType) else None
        yield value


def _writer(thing: Any) -> str:
    """The name of a function that writes what it is given; empty for all else."""
    if not issubclass(type(thing), (types.FunctionType, types.BuiltinFunctionType, type)):
        return ""
    package, name = str(thing.__module__).lstrip("_").partition(".")[0], thing.__name__
    return f"{package}.{name}" if name in _WRITERS.get(package, ()) else ""


def _with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _with_inner(inner)
