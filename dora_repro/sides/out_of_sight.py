"""Libraries that a run imports only inside its functions: imported once for all forks, and brought in where it has it.

The first side tells which these were. An interpreter that has imported them shows none of them: they are taken out of
`sys.modules`, and a finder hands each out when the code of a run imports it. So whatever looks at what has been
imported finds the same as in an interpreter that had to import it then; and what importing does besides (draws, torch's
switches, the environment, threads, modules of the user's) is compared, and makes that library one that is left to the
sides.
"""

import builtins
import importlib
import importlib.abc
import inspect
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dora_repro.sides.forking import obstacle_to_forks
from dora_repro.state import flags, rng
from dora_repro.state.attributes import LIBRARIES
from dora_repro.state.digest import digest

_KIT = __name__.partition(".")[0]
_WORTH = 10  # modules: fewer are imported in the time that it takes to have them out of sight


class Imports:
    """What this process imports from now on."""

    def __init__(self) -> None:
        self._there = frozenset(sys.modules)
        self._circumstances = _circumstances()

    def libraries(self) -> list[list[str]]:
        """The libraries' modules that were imported, in order, with their files; none where that was done in other
        circumstances than at the beginning: what importing does may depend on them."""
        if _circumstances() != self._circumstances:
            return []
        found = [
            [name, origin]
            for name, module in list(sys.modules.items())
            if name not in self._there and not _is_users(name) and (origin := _origin(name, module)) is not None
        ]
        return found if len(found) >= _WORTH else []


def _circumstances() -> Sequence[object]:
    """What a run may have set before it imports a library, and the library then reads."""
    return dict(os.environ), os.getcwd(), torch.get_default_dtype(), torch.get_default_device()


def _is_users(name: str) -> bool:
    """Whether the code of a module is the user's, or the kit's: what has a file that nobody installed."""
    package = name.partition(".")[0]
    if package == _KIT or package in LIBRARIES:
        return package == _KIT
    module = sys.modules.get(name)
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return isinstance(file, str) and not ("site-packages" in file or "dist-packages" in file)


def _origin(name: str, module: ModuleType | None) -> str | None:
    """Where the import system found a module; None for one that it did not make, or under another name."""
    spec = _spec(module)
    return spec.origin if spec is not None and spec.name == name and spec.has_location else None


def _spec(module: object) -> ModuleSpec | None:
    """What the import system knows of a module; nothing of a lazy one is woken."""
    spec = vars(module).get("__spec__") if isinstance(module, ModuleType) else None
    return spec if isinstance(spec, ModuleSpec) else None


@dataclass(frozen=True)
class Refused:
    """An interpreter that has imported something may not be forked.

    Attributes:
        package: what to leave to the sides.
        obstacle: why.
    """

    package: str
    obstacle: str


def import_out_of_sight(listed: Path) -> Refused | None:
    """Import libraries, and take them out of sight; what cannot be imported is left out.

    Args:
        listed: a file of JSON: names of modules, with their files.

    Returns:
        what has left this process in another state than it was in; it is then not to be forked.
    """
    there, before = frozenset(sys.modules), _world()
    with _watched_imports() as uses:
        for name, origin in json.loads(listed.read_text(encoding="utf-8")):
            if name in sys.modules or not _is_found_at(name, origin):
                continue
            with suppress(BaseException):  # whatever a library raises, a side that imports it will be told
                importlib.import_module(name)
            obstacle = _obstacle(before, there)
            if obstacle:
                return Refused(name.partition(".")[0], obstacle)
    _Finder.take([name for name in sys.modules if name not in there], uses)
    return None


@contextmanager
def _watched_imports() -> Iterator[Mapping[str, set[str]]]:
    """Note which module imports which, until the block ends: whether they were there already or not."""
    uses: defaultdict[str, set[str]] = defaultdict(set)
    real_import, real_module = builtins.__import__, importlib.import_module

    def note(importer: Any, name: str, level: int, items: Sequence[str]) -> None:
        package = importer.get("__package__") or ""
        whole = ".".join(filter(None, (package.rsplit(".", level - 1)[0], name))) if level else name
        uses[importer.get("__name__") or ""].update({whole, *(f"{whole}.{item}" for item in items)})

    def watched_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        module = real_import(name, globals, locals, fromlist, level)
        note(globals or {}, name, level, fromlist or ())
        return module

    def watched_module(name: str, package: str | None = None) -> ModuleType:
        module = real_module(name, package)
        frame = inspect.currentframe()
        note(frame.f_back.f_globals if frame is not None and frame.f_back is not None else {}, module.__name__, 0, ())
        return module

    builtins.__import__, importlib.import_module = watched_import, watched_module
    try:
        yield uses
    finally:
        builtins.__import__, importlib.import_module = real_import, real_module


def _is_found_at(name: str, origin: str) -> bool:
    """Whether an import would find the very file that the run had."""
    spec = None
    with suppress(BaseException):  # of the packages above it, which this imports
        spec = find_spec(name)
    return spec is not None and spec.origin == origin


def _world() -> Mapping[str, object]:
    return {
        **{f"generator {name}": digest(state) for name, state in rng.capture_world().items()},
        **flags.capture_flags(),
        "the environment": dict(os.environ),
        "the paths of modules": list(sys.path),
        "the folder": os.getcwd(),
    }


def _obstacle(before: Mapping[str, object], there: frozenset[str]) -> str:
    """What importing has done besides; empty where nothing was seen."""
    after = _world()
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    theirs = [name for name in list(sys.modules) if name not in there and _is_users(name)]
    return ", ".join([*changed, *theirs]) or obstacle_to_forks()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hands out modules that have been imported before, once each.

    Attributes of modules are read and set in their dictionaries: some modules are of classes that refuse it.
    """

    def __init__(self, order: Sequence[str], uses: Mapping[str, set[str]]) -> None:
        self._order, self._uses = dict.fromkeys(order), uses
        self._hidden: dict[str, tuple[ModuleType, ModuleSpec]] = {}
        self._attributes: dict[str, ModuleType] = {}  # name of a hidden module -> the package that had it
        self._asked: dict[int, str] = {}  # id of a module that is being handed out -> its name

    @classmethod
    def take(cls, names: Sequence[str], uses: Mapping[str, set[str]]) -> None:
        """Take modules out of `sys.modules`.

        Args:
            names: in the order in which they were imported.
            uses: names of modules -> of those that they import.
        """
        finder = cls(names, uses)
        for name in names:
            finder._hide(name)
        sys.meta_path.insert(0, finder)

    def _hide(self, name: str) -> None:
        module = sys.modules.get(name)
        spec = _spec(module)
        if not isinstance(module, ModuleType) or spec is None:  # made by hand: it is not imported by this name
            return
        del sys.modules[name]
        self._hidden[name] = module, spec
        above, _, child = name.rpartition(".")
        package = sys.modules.get(above)
        if above not in self._order and isinstance(package, ModuleType) and vars(package).get(child) is module:
            del vars(package)[child]
            self._attributes[name] = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """What importing a module begins with; None for one that is not hidden."""
        if name not in self._hidden:
            return None
        module, known = self._hidden[name]
        self._asked[id(module)] = name
        spec = ModuleSpec(name, self, origin=known.origin)
        spec.submodule_search_locations, spec.has_location = known.submodule_search_locations, known.has_location
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module as it was imported."""
        return self._hidden[spec.name][0]

    def exec_module(self, module: ModuleType) -> None:
        """Bring in the module, and what it imports itself."""
        found, waiting = set(), [self._asked[id(module)]]
        while waiting:
            name = waiting.pop()
            if name in self._hidden and name not in found:
                found.add(name)
                waiting += (name.rpartition(".")[0], *self._uses.get(name, ()))
        for name in self._order:
            if name in found:
                self._bring_back(name)
        if not self._hidden and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _bring_back(self, name: str) -> None:
        module, spec = self._hidden.pop(name)
        sys.modules.setdefault(name, module)
        vars(module)["__spec__"] = spec  # the import system has just set another
        if name in self._attributes:
            vars(self._attributes[name])[name.rpartition(".")[2]] = module
