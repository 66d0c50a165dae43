"""What `boot/sitecustomize.py` calls inside a launched script once torch has been imported."""

import atexit
import importlib.abc
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from dora_repro.contracts import Value
from dora_repro.private_names.late_compiler import put_off_compiler
from dora_repro.scripts.assignment import DEPTH, VARIABLE, Assignment, of_rank
from dora_repro.scripts.libraries import watch_accelerate
from dora_repro.scripts.watching import Watch

_watches: list[Watch] = []  # of this process: one, or none


def install(job: str) -> None:
    """Record this process.

    Args:
        job: path of the file with its assignment.
    """
    given = Assignment.read(Path(job))
    put_off_compiler()  # a check launches a script many times
    depth = int(os.environ.get(DEPTH, "0"))
    os.environ[DEPTH] = str(depth + 1)  # of what this process starts
    begin(Watch(given, _folder_of(given.folder), depth))
    about = {"argv": sys.argv, "python": sys.version.split()[0], "rank": os.environ.get("RANK")}
    Path(f"{job}.{os.getpid()}.started").write_text(json.dumps(about), encoding="utf-8")


def begin(watch: Watch) -> None:
    """Have this process watched until it ends."""
    watch.install()
    _once_imported("safetensors.torch", watch.files.watch_safetensors)
    _once_imported("accelerate.accelerator", watch_accelerate)
    atexit.register(watch.end)
    _watches.append(watch)


def name_objects(objects: dict[str, Value]) -> bool:
    """Name objects of the script that is recorded in this process; whether it is."""
    for watch in _watches:
        watch.name(objects)
    return bool(_watches)


def install_late() -> None:
    """Record this process from now on, where Python did not run `boot/sitecustomize.py`, and dora_repro is installed.

    What goes wrong is the launcher's to be told: the script goes on.
    """
    try:
        install(os.environ[VARIABLE])
    except Exception as error:
        place = Path(f"{os.environ[VARIABLE]}.{os.getpid()}.error")
        place.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


def _folder_of(folder: Path) -> Path:
    """The folder of this rank: the first one's is the launch's own."""
    return folder.with_name(of_rank(folder.name))


def _once_imported(name: str, then: Callable[[], None]) -> None:
    """Call a function when a module has been imported: now, where it has been already."""
    if name in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _AfterImport(name, then))


class _AfterImport(importlib.abc.MetaPathFinder):
    """As in `boot/sitecustomize.py`, which must work where this package cannot be imported yet."""

    def __init__(self, name: str, then: Callable[[], None]):
        self._name, self._then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        real, then = loader.exec_module, self._then

        def exec_module(module: ModuleType) -> None:
            real(module)
            then()

        loader.exec_module = exec_module
        return spec
