"""Objects that one run has and another lacks: pickled in the first, and made in the second from these bytes.

A snapshot holds what objects hold, and not what building one takes. What both runs have anyway is not pickled with
them: a parameter, a module or a list that an object shares with the rest of its run is, in the other run, the one
that has its path there. The bytes run code when they are read: they go from one side of a check to another, and are
never a checkpoint.
"""

import contextlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cloudpickle
import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_cloudpickle import class_of_name, name_of_class
from dora_repro.state import rng
from dora_repro.state.attributes import name_of_type, type_name
from dora_repro.state.digest import is_dense
from dora_repro.state.forms import Formed
from dora_repro.state.leaves import Leaves, SavedLeaf
from dora_repro.state.local_classes import youngest
from dora_repro.state.making import NotRestorable
from dora_repro.state.rebuild import Kind, is_built
from dora_repro.state.walk import walk

_SMALL = 1 << 16  # bytes
_MAIN = "__main__"
_RUN = ""  # in place of a path: the run itself


@dataclass(frozen=True)
class Objects:
    """Objects of one moment.

    Attributes:
        pickles: path -> the object as bytes.
        obstacles: path -> why there are none.
        modules: paths of those that are modules: what is inside them has a dot in its name, not a slash.
    """

    pickles: Mapping[str, bytes] = field(default_factory=dict)
    obstacles: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()

    @classmethod
    def taken(cls, roots: Mapping[str, Value], paths: Iterable[str]) -> "Objects":
        """Pickle what live objects have at these paths; what draws meanwhile is undone."""
        live = walk(roots)
        known = _by_id(live, roots)
        pickles, obstacles, modules = {}, {}, set()
        classes: dict[type, bytes | None] = {}
        for path in paths:
            there = live.objects.get(path, live.others.get(path))
            if there is None:
                continue
            if isinstance(there, torch.nn.Module):
                modules.add(path)
            file = io.BytesIO()
            try:
                with rng.undisturbed():
                    _Pickler(file, path, isinstance(there, torch.nn.Module), known, classes).dump(there)
            except Exception as error:  # whatever a user's object raises when pickled
                obstacles[path] = f"{type_name(there).rpartition('.')[2]}: {type(error).__name__}: {error}"
            else:
                pickles[path] = file.getvalue()
        return cls(pickles, obstacles, frozenset(modules))

    def write(self, path: Path) -> None:
        """Write them to a file, for another side of the same check."""
        path.write_bytes(pickle.dumps((dict(self.pickles), dict(self.obstacles), self.modules)))

    @classmethod
    def read(cls, path: Path) -> "Objects":
        """Read what a side of the same check wrote."""
        return cls(*pickle.loads(path.read_bytes()))

    def __contains__(self, path: object) -> bool:
        return path in self.pickles or path in self.obstacles

    def around(self, path: str) -> str | None:
        """The path of the object that is at a path, or around it; None where there is none of these."""
        return around(path, (*self.pickles, *self.obstacles))

    def make(self, path: str, object_at: Callable[[str], Any], run: Value) -> Any:
        """An object of its own.

        Args:
            path: its path.
            object_at: gives the live object of a path.
            run: the run that gets it.

        Raises:
            NotRestorable: it was not pickled, or cannot be made here.
        """
        if path in self.obstacles:
            raise NotRestorable(self.obstacles[path])
        if path not in self.pickles:
            raise NotRestorable(f"there is no object {path!r} to hold it")
        with rng.undisturbed():
            return _Unpickler(io.BytesIO(self.pickles[path]), object_at, run).load()


def lost_objects(
    saved: Formed, leaves: Mapping[str, SavedLeaf], kinds: Mapping[str, Kind], loaded: Formed, leave: Iterable[str]
) -> tuple[str, ...]:
    """The paths of objects that a resumed run lacks, the outermost alone, whose classes the kit cannot build.

    Args:
        saved: the reference at the save.
        leaves: its leaves.
        kinds: its containers.
        loaded: the resumed run after loading.
        leave: paths in which nothing is made: iterators, suspended generators.
    """
    leave = tuple(leave)
    found: list[str] = []
    for path in (*saved.forms, *(path for path, leaf in leaves.items() if leaf.role == "generator")):
        form, there, leaf = saved.forms.get(path), loaded.forms.get(path), loaded.leaf(path)
        if leaf is not None and leaf.role == "alias":
            continue
        if form is None:  # a generator
            lost = not path.startswith("rng/") and (leaf is None or leaf.role != "generator")
        else:
            lost = path not in leaves and not is_built(kinds.get(path)) and (there is None or there.name != form.name)
        if lost and around(path, (*found, *leave)) is None:
            found = [other for other in found if around(other, (path,)) is None]
            found.append(path)
    return tuple(found)


def around(path: str, others: Iterable[str]) -> str | None:
    """The first of these paths that is at a path or around it; None where there is none."""
    for other in others:
        if path == other or path.startswith((f"{other}/", f"{other}.")):
            return other
    return None


def _by_id(live: Leaves, roots: Mapping[str, Value]) -> dict[int, str]:
    """id -> path of what an object may share with the rest of its run."""
    shared: dict[int, str] = {}
    for path, leaf in live.items():
        if leaf.role != "alias" and isinstance(leaf.value, (torch.Tensor, np.ndarray)):
            shared[id(leaf.value)] = path
    for of_kind in (live.others, live.objects):
        for path, value in of_kind.items():
            if not isinstance(value, _WITHOUT_IDENTITY):
                shared[id(value)] = path
    owner = getattr(roots, "owner", None)
    if owner is not None:
        shared[id(owner)] = _RUN
    return shared


_WITHOUT_IDENTITY = (tuple, frozenset, types.FunctionType, types.MethodType, types.BuiltinFunctionType)


class _Pickler(cloudpickle.Pickler):
    """Pickles one object; what it shares with the rest of its run goes by its path.

    Args:
        file: what is written to.
        path: of the object.
        is_module: whether it is one.
        known: id -> path, of what the run has.
        classes: those that were pickled so far, as bytes; None stands for one that cannot be. It is added to.
    """

    def __init__(
        self, file: IO[bytes], path: str, is_module: bool, known: Mapping[int, str], classes: dict[type, bytes | None]
    ):
        super().__init__(file)
        self._path, self._known, self._classes = path, known, classes
        self._inside = (f"{path}/", f"{path}.") if is_module else (f"{path}/",)

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        """What stands for a value that is not pickled."""
        if isinstance(value, type):
            name = name_of_class(value)
            return None if name is None else ("class", name, _in_script(value), name_of_type(value), *self._made(value))
        name = rng.global_name(value)
        if name is not None:
            return "generator", name
        at = self._known.get(id(value))
        if at is None or at == self._path or at.startswith(self._inside):
            return None
        return ("object", at, pickle.dumps(value)) if _is_small(value) else ("object", at)

    def _made(self, kind: type) -> tuple[type, bytes | None]:
        """What a class is found or made by where no module has it: what it derives from, and itself as bytes."""
        if kind not in self._classes:
            self._classes[kind] = None  # what it is made of may lead to it again
            file = io.BytesIO()
            with contextlib.suppress(Exception):  # a class can hold anything
                _ClassPickler(file, self._path, False, self._known, self._classes).dump(kind)
                self._classes[kind] = file.getvalue()
        return kind.__base__ or object, self._classes[kind]


class _ClassPickler(_Pickler):
    """Pickles a class by what it is made of."""

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        """As above, but for classes: those that cannot be imported go with it."""
        return None if isinstance(value, type) else super().persistent_id(value)


def _in_script(kind: type) -> str | None:
    """The name of a class in the script that this process runs: another process that runs it has one of its own."""
    there = getattr(sys.modules[_MAIN], kind.__name__, None) is kind
    return kind.__name__ if kind.__module__ == _MAIN and there else None


def _is_small(value: Any) -> bool:
    """Whether a value is pickled as well as named: the run that gets the object may lack what it shares."""
    if type(value) is torch.Tensor:
        return not value.requires_grad and is_dense(value) and value.nbytes <= _SMALL
    return type(value) is np.ndarray and not value.dtype.hasobject and value.nbytes <= _SMALL


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], object_at: Callable[[str], Any], run: Value):
        super().__init__(file)
        self._object_at, self._run = object_at, run

    def persistent_load(self, pid: Any) -> Any:
        """What stands here for what was not pickled; where it is not there, what was pickled beside its name."""
        kind, name, *by_value = pid
        if kind == "generator":
            return rng.global_of(name)
        if kind == "class":
            return self._class(name, *by_value)
        if name == _RUN:
            return self._run
        try:
            return self._object_at(name)
        except NotRestorable:
            if not by_value:
                raise
            return pickle.loads(by_value[0])

    def _class(self, name: str, in_script: str | None, full_name: str, base: type, as_bytes: bytes | None) -> type:
        """The class of this process that stands for one of the other: it came here, or was made here by the same code;
        where it is not there, it is made of what it was."""
        with contextlib.suppress(KeyError):
            return class_of_name(name)
        there = getattr(sys.modules[_MAIN], in_script, None) if in_script else None
        there = there or youngest(full_name, base, below=False)
        if isinstance(there, type):
            return there
        if as_bytes is None:
            raise NotRestorable(f"its class, {full_name}, is not known in this process")
        made: type = _Unpickler(io.BytesIO(as_bytes), self._object_at, self._run).load()
        return made
