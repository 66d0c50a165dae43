"""Libraries that the code of a run has imported here: a new interpreter imports them once, for all of its forks."""

import pickletools
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

from dora_repro.sides.late_libraries import THERE
from dora_repro.state.attributes import is_users_module, module_of


def imported_libraries(factory: bytes) -> tuple[str, ...]:
    """Names of the libraries' modules that a run's own modules, and the modules that these use, have imported.

    Nothing is imported for that, here. What a run's code sets before its imports, such as an environment variable, is
    already set in this process; what it imports inside functions is not seen.

    Args:
        factory: as `pickled` returns it.
    """
    found: dict[str, None] = {}
    waiting = [name for name in _texts(factory) if name in sys.modules]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        if name.partition(".")[0] in THERE:
            continue
        if not is_users_module(name):
            found[name] = None
            continue
        for used in _used_by(sys.modules[name]):
            if used not in seen and used in sys.modules:
                seen.add(used)
                waiting.append(used)
    return tuple(sorted(found))


def _texts(factory: bytes) -> Iterator[str]:
    """All texts of a pickle: the names of modules are among them."""
    for _, argument, _ in pickletools.genops(factory):
        if isinstance(argument, str):
            yield argument


def _used_by(module: ModuleType) -> Iterator[str]:
    """The modules among a module's variables, and those that its functions, classes and objects come from."""
    for value in list(vars(module).values()):
        kind = type(value)  # no attribute of a lazy object is asked for: that would wake it
        if issubclass(kind, ModuleType):
            name = vars(value).get("__name__")
        elif issubclass(kind, FunctionType):
            name = value.__module__
        else:
            name = module_of(value if issubclass(kind, type) else kind)
        if isinstance(name, str):
            yield name
