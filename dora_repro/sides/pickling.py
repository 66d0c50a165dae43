"""A factory as bytes for another process; classes that a new interpreter could not import travel by value."""

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cloudpickle

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput


def pickled(factory: Factory) -> bytes:
    """A factory as bytes for a new interpreter; classes that it could not import travel by value.

    Raises:
        BadInput: it cannot be pickled.
    """
    try:
        with _by_value(_module_of(factory)):
            return cloudpickle.dumps(factory)
    except Exception as error:  # pickling runs user code
        raise BadInput(
            f"the factory {factory!r} cannot be sent to a new process ({type(error).__name__}: {error}): "
            "build everything inside it, or use in_process=True to debug"
        ) from error


def _module_of(factory: Factory) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return getattr(factory, "__module__", None) or type(factory).__module__


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
