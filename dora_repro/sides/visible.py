"""What a function of the user's calls modules that advised lines need: `np`, `npr`, `get_rng_state`, or nothing yet.

Read from the imports of its file and of its own body, and from what its module has by now.
"""

import ast
import functools
import importlib
import linecache
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dora_repro.state.function_source import syntax_of

# Modules that lines of advice draw on: their functions may have names of their own in a file.
MODULES = ("torch", "numpy", "numpy.random", "random", "copy", "dataclasses", "collections", "pathlib", "decimal")
# What the lines of advice call them, and the names that a new import may have.
ALIASES = {"np": "numpy", **{name: name for name in MODULES if "." not in name and name != "numpy"}}


def visible_names(function: types.FunctionType) -> tuple[dict[str, str], list[str]]:
    """What a function calls modules and what is in them, and which names that lines use mean something else there.

    Returns:
        dotted name (`numpy.random`, `torch.get_rng_state`) -> the shortest name for it; and the names that are taken.
    """
    names = imported_in_file(function)
    names |= {name: dotted for name, value in function.__globals__.items() if (dotted := _dotted(value))}
    other = {name for name in function.__globals__ if not _dotted(function.__globals__[name])}
    local = {*function.__code__.co_varnames, *function.__code__.co_cellvars, *function.__code__.co_freevars}
    node = syntax_of(function)
    own = dict(_imports(node.body)) if isinstance(node, ast.FunctionDef) else {}
    for name in (*other, *local):
        names.pop(name, None)
    names |= {name: _canonical(dotted) for name, dotted in own.items()}
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (name not in ALIASES, len(name), name)):
        found.setdefault(names[name], name)
    taken = {name for name in (*other, *local, *names) if names.get(name) != ALIASES.get(name, name)}
    return found, sorted(taken.intersection((*ALIASES, "numpy")))


def imported_in_file(function: types.FunctionType) -> dict[str, str]:
    """Name -> dotted name of what the file of a function imports at its top."""
    lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
    return {name: _canonical(dotted) for name, dotted in _of_text("".join(lines))}


@functools.lru_cache(maxsize=32)
def _of_text(text: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(_imports(ast.parse(text).body))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def value_of(dotted: str) -> Any:
    """What a dotted name stands for; None where there is nothing of that name."""
    module, _, name = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ImportError:
        return getattr(sys.modules.get(module), name, None)


def _imports(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    """(name, what it is imported from) of the imports among statements, in `try` and `if` too."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, (ast.Try, ast.If)):
            yield from _imports(node.body)


def _canonical(dotted: str) -> str:
    """A dotted name as lines of advice have it: `torch.random.get_rng_state` is `torch.get_rng_state`."""
    module, _, name = dotted.rpartition(".")
    value = sys.modules.get(dotted) or getattr(sys.modules.get(module), name, None)
    return _dotted(value) or dotted


def _dotted(value: Any) -> str:
    """The dotted name of a module, or of what one of `MODULES` has; empty for all else."""
    if issubclass(type(value), types.ModuleType):
        return str(value.__name__)
    return _known().get(id(value), "") if callable(value) else ""


@functools.lru_cache(maxsize=1)
def _known() -> Mapping[int, str]:
    found: dict[int, str] = {}
    for module in MODULES:
        for name, value in vars(importlib.import_module(module)).items():
            if not name.startswith("_") and callable(value) and not issubclass(type(value), types.ModuleType):
                found.setdefault(id(value), f"{module}.{name}")
    return found
