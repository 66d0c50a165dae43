"""torch's compiler, imported when something is compiled and not when an optimizer is made.

`torch.optim` imports `torch._dynamo` for the first optimizer and again in each step, to mark what a compiler must leave
alone; libraries do the like while they are imported, and transformers imports a class that serves masks of some models
alone. That import takes as long as torch's own, marks do nothing where nothing is compiled, and a check starts many
interpreters. Read in torch 2.4 and 2.14 (`_compile.py`, `optim/optimizer.py`, `_dynamo/decorators.py`,
`_dynamo/eval_frame.py`, `_dynamo/_trace_wrapped_higher_order_op.py`).
"""

import functools
import importlib.abc
import importlib.util
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

_NAME = "torch._dynamo"
_SUBMODULE = f"{_NAME}._trace_wrapped_higher_order_op"  # imported for this class of it:
_LATE_CLASS = "TransformGetItemToIndex"
_ALONE = "_torchdynamo_disable"  # by this attribute a compiler knows what to leave alone
_WHAT_IT_IS = "_torchdynamo_orig_callable"
# What imports, and those who look through all modules, ask of a module.
_KNOWN = frozenset(
    {"__class__", "__dict__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__path__", "__spec__"}
)


def put_off_compiler() -> None:
    """Have `torch._dynamo` imported by the first who wants more of it than to be left alone.

    Nothing is done where it has been imported, or where torch has not.
    """
    torch = sys.modules.get("torch")
    if torch is None or _NAME in sys.modules:
        return
    spec = importlib.util.find_spec(_NAME)
    if spec is None:
        return
    standing_in = _Compiler(_NAME)
    standing_in.__spec__, standing_in.__loader__ = spec, spec.loader
    standing_in.__file__, standing_in.__package__ = spec.origin, _NAME
    standing_in.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[_NAME] = standing_in
    torch._dynamo = standing_in  # type: ignore[attr-defined]  # as an import does
    sys.modules[_SUBMODULE] = _Submodule(_SUBMODULE)
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Imports the compiler when a module of it is imported, and finds that module where it then is.

    Without, a module that the compiler itself imports would be imported a second time, and be two.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Where the module is, if it has been imported with the compiler; else the other finders are asked."""
        if not fullname.startswith(f"{_NAME}.") or _loading.begun:
            return None
        _loading.compiler()
        module = sys.modules.pop(fullname, None)  # left there, it would be run again: importlib prefers its own spec
        return importlib.util.spec_from_loader(fullname, _Imported(module)) if module is not None else None


class _Imported(importlib.abc.Loader):
    """Loads a module that has been imported: puts it in the place of a new one, and leaves it as it is."""

    def __init__(self, module: types.ModuleType):
        self._module = module

    def exec_module(self, module: types.ModuleType) -> None:
        """Put the module that has been imported in the place of this one, as a module may do with itself."""
        sys.modules[module.__name__] = self._module


class _Submodule(types.ModuleType):
    """Stands in for the submodule until more is asked of it than its class."""

    def __getattribute__(self, name: str) -> Any:
        if name in _KNOWN:  # it has no `__path__`, which `from` asks for
            return super().__getattribute__(name)
        if name == _LATE_CLASS and not _loading.begun:
            return _made_late
        _loading.compiler()
        return getattr(importlib.import_module(_SUBMODULE), name)


def _made_late(*args: Any, **kwargs: Any) -> Any:
    """An object of the class, which is imported for it."""
    _loading.compiler()
    return getattr(importlib.import_module(_SUBMODULE), _LATE_CLASS)(*args, **kwargs)


class _Compiler(types.ModuleType):
    """Stands in for the module until more is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        if name in _KNOWN:
            return super().__getattribute__(name)
        if name in _ANSWERED and not _loading.begun:
            return _ANSWERED[name]
        return getattr(_loading.compiler(), name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _KNOWN:
            super().__setattr__(name, value)
        else:
            setattr(_loading.compiler(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_loading.compiler(), name)


class _Loading:
    """Imports the compiler, once.

    Attributes:
        begun: whether it has been asked for.
        marked: the functions that are to be marked then, each with the name of its mark.
    """

    def __init__(self) -> None:
        self.begun = False
        self.marked: list[tuple[str, Any]] = []
        self._lock = threading.RLock()

    def compiler(self) -> types.ModuleType:
        """The module itself."""
        with self._lock:
            if not self.begun:
                self.begun = True
                for name in (_NAME, _SUBMODULE):
                    if isinstance(sys.modules.get(name), (_Compiler, _Submodule)):
                        del sys.modules[name]
                sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
                vars(sys.modules["torch"]).pop(_NAME.rpartition(".")[2], None)
                compiler = importlib.import_module(_NAME)
                for mark, fn in self.marked:
                    getattr(compiler, mark)(fn)
            return importlib.import_module(_NAME)


_loading = _Loading()


def _graph_break(msg: str = "") -> None:
    """What it does where nothing is compiled."""


def _disable(fn: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A function that a compiler must leave alone, once there is one; without a function, what makes it."""
    if fn is None:
        return lambda given: _disable(given, *args, **kwargs)
    if not isinstance(fn, types.FunctionType):
        return _loading.compiler().disable(fn, *args, **kwargs)
    made: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def left_alone(*values: Any, **named: Any) -> Any:
        if not _loading.begun:
            return fn(*values, **named)
        if not made:
            made.append(_loading.compiler().disable(fn, *args, **kwargs))
        return made[0](*values, **named)

    vars(left_alone).update({_ALONE: True, f"{_ALONE}_msg": kwargs.get("reason"), _WHAT_IT_IS: fn})
    return left_alone


def _mark_later(mark: str) -> Callable[[Any], Any]:
    """A decorator that returns what it is given, and marks it once there is a compiler."""

    def marked(fn: Any) -> Any:
        _loading.marked.append((mark, fn))
        return fn

    return marked


_ANSWERED = {
    "graph_break": _graph_break,
    "disable": _disable,
    "assume_constant_result": _mark_later("assume_constant_result"),
    "allow_in_graph": _mark_later("allow_in_graph"),
}
