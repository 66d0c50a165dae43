"""First on PYTHONPATH of a script that is checked or keeps a journal: Python runs it before the script begins.

The recorder is installed once `torch` has been imported, so that a program which never does pays nothing. A
sitecustomize that this one hides is run as it would have been.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_TOP = os.path.dirname(os.path.dirname(_HERE))  # the folder that has the package dora_repro


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function after a module has been imported for the first time."""

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


def _install() -> None:
    """Record this process; where that cannot be done, the script goes on and the launcher is told why."""
    job = os.environ["DORA_REPRO_JOB"]
    try:
        _find_package()
        from dora_repro.scripts.installing import install

        install(job)
    except BaseException as error:
        with open(f"{job}.{os.getpid()}.error", "w", encoding="utf-8") as file:
            file.write(f"{type(error).__name__}: {error}")


def _keep_journal() -> None:
    """Keep a journal of this process; where that cannot be done, the training goes on, and its log says so."""
    try:
        _find_package()
        from dora_repro.journal.installing import install

        install()
    except BaseException as error:
        print(f"dora_repro: no journal is kept ({type(error).__name__}: {error})", file=sys.stderr, flush=True)


def _find_package() -> None:
    """Let this process import the package, though it may be of another environment."""
    if importlib.util.find_spec("dora_repro") is None:
        sys.path.append(_TOP)


def _run_hidden() -> None:
    """Run the sitecustomize that Python would have found without this one."""
    rest = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("DORA_REPRO_JOB"):
    sys.meta_path.insert(0, _AfterImport("torch", _install))
elif os.environ.get("DORA_REPRO_JOURNAL"):
    sys.meta_path.insert(0, _AfterImport("torch", _keep_journal))
_run_hidden()
