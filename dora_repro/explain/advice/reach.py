"""What no line of the user's can set: private attributes of libraries' objects, variables of libraries' functions.

A line that sets one could be written, and would break with the library's next version; nor does the library expect it.
"""

import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping

from dora_repro.explain.advice.expressions import of_function
from dora_repro.explain.advice.lost_state import Advice, LostState
from dora_repro.explain.advice.units import class_at
from dora_repro.state.attributes import is_users_module, module_of
from dora_repro.state.paths import parents
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot

_PRIVATE = re.compile(r"\.(_(?!_)\w+)")


class Reach:
    """Where lines of the user's reach in the state of a run.

    Args:
        saved: the reference's state at the save.
        library_functions: path of the variables of a function that is a library's -> the library.
    """

    def __init__(self, saved: Snapshot, library_functions: Mapping[str, str]) -> None:
        self._saved, self._library_functions = saved, library_functions

    def advice(self, paths: Iterable[str], lines: Iterable[str]) -> Advice | None:
        """Advice in place of lines, where a path is out of reach; None where all are reached.

        Args:
            paths: what the lines save and load.
            lines: of code: an attribute that they do not name, as where an object is saved by its state_dict, does
                not count.
        """
        named = {name for line in lines for name in _PRIVATE.findall(line)}
        found = (self._variable(path) or self._attribute(path, named) for path in paths)
        words = tuple(dict.fromkeys(filter(None, found)))
        if not words:
            return None
        return Advice(sentence=f"{'; '.join(words)}. No line of yours should set that: let the library bring it back.")

    def reaches(self, path: str) -> bool:
        """Whether a line of the user's can name what is at a path."""
        return not self._variable(path) and not self._attribute(path, set(path.split("/")))

    def hooked(self, path: str) -> tuple[str, str]:
        """The innermost object on the way to a path whose class, the user's, is one of a library's: a callback, a
        module of Lightning's, whose methods the library calls.

        Returns:
            its path and its class's name; both empty where there is none.
        """
        for holder in reversed(parents(path)):
            kind = class_at(LostState((holder,), self._saved, self._saved.kinds), holder)
            if kind is not None and _is_users(kind):
                others = {module_of(base).partition(".")[0] for base in kind.__mro__ if not _is_users(base)}
                if others - {"torch", *sys.stdlib_module_names}:
                    return holder, kind.__name__
        return "", ""

    def _variable(self, path: str) -> str:
        """What a variable of a library's function is, in words; empty for all else."""
        for holder in reversed(parents(path)):
            if self._saved.kinds.get(holder, NO_KIND).name == VARIABLES:
                library = self._library_functions.get(holder)
                function = holder.rpartition("/")[2].partition("#")[0]
                name = path.removeprefix(f"{holder}/").partition("/")[0]
                return (library and f"`{name}` is a variable of {library}'s own function {of_function(function)}") or ""
        return ""

    def _attribute(self, path: str, named: set[str]) -> str:
        """What a private attribute of a library's object is, in words; empty for all else."""
        for holder in parents(path):
            name = path.removeprefix(f"{holder}/").partition("/")[0]
            if name in named and name.startswith("_") and not name.startswith("__"):
                if owner := self._library_of(holder, name):
                    return f"`{holder}/{name}` is private to {owner}"
        return ""

    def _library_of(self, holder: str, name: str) -> str:
        """The library's class that a private attribute of an object belongs to; empty where it is the user's own."""
        form = self._saved.forms.get(holder)
        if form is None or holder in self._saved.kinds:
            return ""
        kind = class_at(LostState((holder,), self._saved, self._saved.kinds), holder)
        if kind is None:  # of a module that this process has not imported
            written = form.name.partition("(")[0]
            return _in_words(written) if _is_installed(written.partition(".")[0]) else ""
        own = [base for base in kind.__mro__ if _is_users(base)]
        if any(_names(base, name) for base in own):
            return ""
        bases = (base for base in kind.__mro__ if base not in own and base is not object)
        found = next(bases, None)
        return _in_words(f"{module_of(found)}.{found.__name__}") if found is not None else ""


def _is_users(kind: type) -> bool:
    return is_users_module(module_of(kind))


def _names(kind: type, name: str) -> bool:
    """Whether the code of a class names an attribute: then it is its own."""
    codes = (getattr(item, "__code__", None) for item in kind.__dict__.values())
    return any(code is not None and name in code.co_names for code in codes)


def _is_installed(package: str) -> bool:
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        return False
    where = str(spec.origin) if spec is not None else ""
    return "site-packages" in where or "dist-packages" in where


def _in_words(name: str) -> str:
    """`ignite.engine.engine.Engine` as `Engine (ignite)`."""
    return f"{name.rpartition('.')[2]} ({name.partition('.')[0]})"
