"""Find the run that `dora-repro check MODULE:NAME` names."""

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.printable import named

Loaded = TypeVar("Loaded")


def found(target: str) -> Factory:
    """The factory that `package.module:name` or `path/to/file.py:name` names; modules are looked for here first.

    Raises:
        BadInput: no such file, module or name, a module that raises, or something that cannot be called.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise BadInput(f"{target!r} names no run: give package.module:NAME or path/to/file.py:NAME")
    value: Any = _file(place) if place.endswith(".py") else _module(place)
    for part in name.split("."):
        if not hasattr(value, part):
            raise BadInput(f"{named(place)} has no {name!r}{_nearest(part, value)}")
        value = getattr(value, part)
    if not callable(value):
        raise BadInput(f"{target} is a {type(value).__name__}: name a class or function that builds a run")
    return value


def _file(place: str) -> ModuleType:
    """Import a file as Python runs a script: what lies beside it can be imported."""
    path = Path(place).resolve()
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _neighbours(path.parent), n=1)
        raise BadInput(f"there is no file {named(place)}" + (f": did you mean {near[0]}?" if near else ""))
    _first_on_path(str(path.parent))
    loaded = sys.modules.get(path.stem)
    if "." not in path.stem and (loaded is None or getattr(loaded, "__file__", None) == str(path)):
        module = _imported(path.stem, place)
        if getattr(module, "__file__", None) == str(path):
            return module
    # Another module has its name: this one gets a name that nothing can have, and travels to the sides by value.
    name = f"{path.stem} of {path.parent}".replace(".", "_")
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # it has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _guarded(lambda: loader.exec_module(module), place)
    return module


def _module(place: str) -> ModuleType:
    _first_on_path(os.getcwd())
    return _imported(place, place)


def _imported(name: str, place: str) -> ModuleType:
    try:
        return _guarded(lambda: importlib.import_module(name), place)
    except ModuleNotFoundError as error:
        hint = ": for a file give path/to/file.py:NAME" if "/" in place or os.sep in place else ""
        raise BadInput(f"there is no module {error.name!r}, neither here nor among what is installed{hint}") from None


def _guarded(load: Callable[[], Loaded], place: str) -> Loaded:
    """What `load` returns.

    Raises:
        BadInput: it raised.
        ModuleNotFoundError: the module that was asked for does not exist.
    """
    try:
        return load()
    except Exception as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and (place == missing or place.startswith(f"{missing}.")):
            raise
        raised = traceback.format_exc().rstrip()
        raise BadInput(f"{named(place)} raised when it was imported; fix it first:\n{raised}") from error


def _first_on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _neighbours(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.py")] if folder.is_dir() else []


def _nearest(part: str, value: object) -> str:
    names = [name for name in dir(value) if not name.startswith("_") and callable(getattr(value, name, None))]
    near = difflib.get_close_matches(part, names, n=1, cutoff=0.4)
    return f": did you mean {near[0]!r}?" if near else f": it has {', '.join(names[:8]) or 'nothing to call'}"
