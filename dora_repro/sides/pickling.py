"""A factory as bytes for another process; classes that a new interpreter could not import travel by value."""

import dis
import functools
import io
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import cloudpickle

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.sides.anew import MADE_ANEW
from dora_repro.state.module_variables import CACHED_FUNCTION

_Names: TypeAlias = dict[str, dict[str, Any]]  # module -> what it has by name


def pickled(factory: Factory) -> bytes:
    """A factory as bytes for a new interpreter; classes that it could not import travel by value.

    Raises:
        BadInput: it cannot be pickled.
    """
    try:
        name = _module_of(factory)
        with _by_value(name):
            sent, pickler = _sent(factory, name, {})
            if pickler.looks_up:
                names = {module: _defined_in(module) for module in pickler.by_value}
                sent, _ = _sent(factory, name, names)
            return sent
    except Exception as error:  # pickling runs user code
        raise BadInput(
            f"the factory {factory!r} cannot be sent to a new process ({type(error).__name__}: {error}): "
            "build everything inside it, or use in_process=True to debug"
        ) from error


def _sent(item: Any, module: str, names: "_Names") -> tuple[bytes, "_Pickler"]:
    """Something as bytes, with names that it is to find where it arrives, and what made them."""
    with io.BytesIO() as file:
        pickler = _Pickler(file, module)
        pickler.met.update({name: dict(named) for name, named in names.items()})
        pickler.dump(_Sent(item, pickler.met))
        return file.getvalue(), pickler


def _defined_in(module: str) -> dict[str, Any]:
    """The functions and classes that a module defines and that can be sent: one that looks names up by strings, as
    `globals()[name]` does, may ask for any."""
    there = vars(sys.modules.get(module, types.ModuleType(module)))
    return {name: item for name, item in there.items() if _is_its_own(item, module) and _can_be_sent(item, module)}


def _is_its_own(item: Any, module: str) -> bool:
    return isinstance(item, (type, types.FunctionType)) and item.__module__ == module


def _can_be_sent(item: Any, module: str) -> bool:
    try:
        _sent(item, module, {})
    except Exception:  # pickling runs user code
        return False
    return True


def _module_of(factory: Factory) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return getattr(factory, "__module__", None) or type(factory).__module__


class _Sent:
    """A factory with the functions and classes that travel by value: they are known by their names where they arrive.

    A run that pickles an object of such a class, as `torch.save` does, has it looked up by that name.
    """

    def __init__(self, factory: Factory, met: "_Names"):
        self._factory, self._met = factory, met

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._factory, self._met)  # in this order: those of the factory are met before they are sent


def _arrived(factory: Factory, names: "_Names") -> Factory:
    """The factory, when its functions and classes have their names."""
    for module, named in names.items():
        there = vars(sys.modules.setdefault(module, types.ModuleType(module)))
        found = (inside for item in named.values() for inside in (item, *vars(item).values()))
        # What was sent together has globals of its own.
        own = next((inside.__globals__ for inside in found if isinstance(inside, types.FunctionType)), there)
        for name, item in named.items():
            there.setdefault(name, item)
            own.setdefault(name, item)
    return factory


class _Pickler(cloudpickle.Pickler):
    """Sends by value what cloudpickle sends by its name, where a new interpreter has no such name.

    Args:
        file: what is written to.
        module: the module whose functions and classes travel by value where no interpreter could import it.

    Attributes:
        by_value: the modules whose functions and classes travel by value.
        met: those of them that have been sent.
        looks_up: whether code of theirs looks names up by strings.
    """

    def __init__(self, file: typing.IO[bytes], module: str):
        super().__init__(file)
        self.by_value = {"__main__"} if module == "__main__" or _importable(module) else {"__main__", module}
        self.met: _Names = {}
        self.looks_up = False

    def reducer_override(self, obj: Any) -> Any:
        """As `pickle` has it."""
        if type(obj) is types.CodeType and obj.co_filename != _NOWHERE:
            self.looks_up = self.looks_up or _looks_up(obj)
            return _found_in, (obj.replace(co_filename=_NOWHERE), obj.co_filename)
        anew = MADE_ANEW.get(type(obj))
        if anew is not None:
            return anew(obj)
        module = getattr(obj, "__module__", None)
        if module not in self.by_value:
            return super().reducer_override(obj)
        if isinstance(obj, (type, types.FunctionType)) and _has(module, obj):
            self.met.setdefault(module, {})[obj.__name__] = obj
        made_again = _MADE_AGAIN.get(type(obj))
        return super().reducer_override(obj) if made_again is None else made_again(obj)


_BY_STRINGS = frozenset({"eval", "exec", "globals"})
_NOWHERE = "<dynamic-code>"  # what cloudpickle 3.1.3 says in place of the file that code is in


def _looks_up(code: types.CodeType) -> bool:
    """Whether code has names found by strings, as `sys.modules[__name__]` does; `model.eval()` does not."""
    if _BY_STRINGS.isdisjoint(code.co_names) and "modules" not in code.co_names:
        return False
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return not _BY_STRINGS.isdisjoint(names) or ("sys" in names and "modules" in code.co_names)


def _found_in(code: types.CodeType, file: str) -> types.CodeType:
    """Code that says which file it is in: reports quote its lines, and lines of advice have their place there."""
    return code.replace(co_filename=file)


def _has(module: str, item: Any) -> bool:
    """Whether a module knows a function or class by its name."""
    there = sys.modules.get(module)
    return there is not None and vars(there).get(item.__name__) is item


def _cached(function: Any, maxsize: int | None, typed: bool, attributes: dict[str, Any]) -> Any:
    """A function that remembers what it returned, and has returned nothing yet."""
    made: Any = functools.lru_cache(maxsize, typed)(function)
    made.__dict__.update(attributes)
    return made


def _reduce_cached(function: Any) -> tuple[Any, ...]:
    attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    options = function.cache_parameters()
    return _cached, (function.__wrapped__, options["maxsize"], options["typed"], attributes)


# What is pickled by its name alone, whoever pickles it -> how it is made again of what it holds.
_MADE_AGAIN: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    CACHED_FUNCTION: _reduce_cached,
    typing.NewType: lambda kind: (typing.NewType, (kind.__name__, kind.__supertype__)),
}


@contextmanager
def _by_value(name: str) -> Iterator[None]:
    """Meanwhile, what a module defines is pickled by value, where a new interpreter could not import the module."""
    module = sys.modules.get(name)
    if module is None or name == "__main__" or _importable(name):
        yield  # cloudpickle sends what is defined in __main__ by value as it is
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _importable(name: str) -> bool:
    """Whether a new interpreter with this `sys.path` would find the module, and the same file for it."""
    path: Sequence[str] | None = None
    origin: str | None = None
    parts = name.split(".")
    for index in range(len(parts)):
        whole = ".".join(parts[: index + 1])
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((found for finder in finders if (found := finder.find_spec(whole, path))), None)
        if spec is None:
            return False
        path, origin = spec.submodule_search_locations, spec.origin
    loaded = getattr(sys.modules[name], "__file__", None)
    return loaded is None or origin is None or os.path.realpath(loaded) == os.path.realpath(origin)
