"""torch's compiler, imported when something is compiled and not when an optimizer is made.

`torch.optim` imports `torch._dynamo` for the first optimizer and again in each step, to mark what a compiler must leave
alone; libraries do the like while they are imported. That import takes as long as torch's own, `disable` and
`graph_break` do nothing where nothing is compiled, and a check starts many interpreters. Read in torch 2.4 and 2.14
(`_compile.py`, `optim/optimizer.py`, `_dynamo/decorators.py`, `_dynamo/eval_frame.py`).
"""

import functools
import importlib.util
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

_NAME = "torch._dynamo"
_ALONE = "_torchdynamo_disable"  # by this attribute a compiler knows what to leave alone
_WHAT_IT_IS = "_torchdynamo_orig_callable"
# What imports, and those who look through all modules, ask of a module.
_KNOWN = frozenset(
    {"__class__", "__dict__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"}
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
    sys.modules[_NAME] = standing_in
    torch._dynamo = standing_in  # type: ignore[attr-defined]  # as an import does


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
    """

    def __init__(self) -> None:
        self.begun = False
        self._lock = threading.RLock()

    def compiler(self) -> types.ModuleType:
        """The module itself."""
        with self._lock:
            if not self.begun:
                self.begun = True
                if isinstance(sys.modules.get(_NAME), _Compiler):
                    del sys.modules[_NAME]
                vars(sys.modules["torch"]).pop(_NAME.rpartition(".")[2], None)
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


_ANSWERED = {"graph_break": _graph_break, "disable": _disable}
