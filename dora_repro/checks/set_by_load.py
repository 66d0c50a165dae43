"""What a resumed run alone sets while it loads, and nothing changes afterwards: it marks a resume, and is no loss.

The path that it resumed from, the epoch that it begins with, the file that it read and still holds. Lost state is
otherwise: training had changed it in the reference by the time that it was saved.

Nor is a variable a loss that a function has where it resumes, and nowhere else: what it took out of the file. It may
change with a step, as a gradient that was put back does, but the function goes on by names that it always has.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from dora_repro.contracts import Value
from dora_repro.state.digest import PLAIN_SCALARS
from dora_repro.state.forms import Form
from dora_repro.state.leaves import WORKED_WITH
from dora_repro.state.paths import ancestors
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot

_CONTAINERS = (list, tuple, dict, set)
_PLAIN = (*PLAIN_SCALARS, list, tuple)  # a list of plain values is a leaf


@dataclass(frozen=True)
class Constant:
    """Tells whether a leaf never changes in either run, and differs because the resumed side set it while loading.

    Attributes:
        start: digests of the reference's memory before its first step.
        saved: the reference at the save.
        end: the reference at its end.
        loaded: the resumed run after loading.
        resumed_end: the resumed run at its end.
    """

    start: Mapping[str, bytes]
    saved: Snapshot
    end: Snapshot
    loaded: Snapshot
    resumed_end: Snapshot

    def __call__(self, path: str) -> bool:
        leaf = self.loaded.get(path)
        if leaf is None:
            return self._filled(path) or self._let_go(path) or self._equal_settings(path)
        if not _stays(leaf.digest, path, self.resumed_end) and not self._known_otherwise(path):
            return False
        if leaf.role in WORKED_WITH and not self._note_on_module(path):
            return False  # a difference of what a step works with is one, constant or not
        if path not in self.saved:
            return path not in self.start and path not in self.end and not self._renamed(path)
        if _recast(self.saved[path].value, leaf.value):
            return False
        theirs = self.saved[path].digest
        if self.start.get(path) != theirs or not _stays(theirs, path, self.end):
            return False
        return leaf.kept and type(leaf.value) in PLAIN_SCALARS

    def _filled(self, path: str) -> bool:
        """Whether there was nothing throughout, None or an empty list, where the resumed run has something that is all
        set by loading: the checkpoints that it found."""
        nothing = self.saved.get(path)
        if nothing is None or not nothing.kept or nothing.role in WORKED_WITH:
            return False
        if nothing.value is not None and not (type(nothing.value) in _CONTAINERS and not nothing.value):
            return False
        if self.start.get(path) != nothing.digest or not _stays(nothing.digest, path, self.end):
            return False
        inside = [at for at in self.loaded if at.startswith(f"{path}/")]
        return bool(inside) and all(map(self, inside))

    def _equal_settings(self, path: str) -> bool:
        """Whether it was another name of plain values that nothing changes, and is an object of its own with the same
        ones: the configuration that was in the file, beside that which the script was told."""
        name = self.saved.get(path)
        if name is None or name.role != "alias":
            return False
        target = str(name.value).removeprefix("= ")
        theirs = _plain(self.saved, target)
        digests = {} if theirs is None else theirs[0]
        if not digests or any(self.start.get(f"{target}{at}") != digest for at, digest in digests.items()):
            return False
        own = (_plain(each, path) for each in (self.loaded, self.resumed_end))
        told = (_plain(each, target) for each in (self.loaded, self.resumed_end, self.end))
        return all(each == theirs for each in (*own, *told))

    def _let_go(self, path: str) -> bool:
        """Whether it is still what was loaded, and only the resumed run's: a variable that shared it, `average` of what
        was read into `state`, has something else by now."""
        if path not in self.resumed_end or path in self.saved or path in self.start or path in self.end:
            return False
        for above in ancestors([path]):
            tied = self.loaded.get(above)
            if tied is not None and tied.role == "alias":
                whole = self.loaded.get(str(tied.value).removeprefix("= ") + path.removeprefix(above))
                return whole is not None and whole.digest == self.resumed_end[path].digest
        return False

    def _known_otherwise(self, path: str) -> bool:
        """Whether it was another name of something, and is what that was, under a name that this has now or by itself:
        what was read into `state` went into a list, whose items have moved since."""
        was, now = _stood_for(self.loaded, path), _stood_for(self.resumed_end, path)
        return self.loaded[path].role == "alias" and was is not None and was == now

    def _note_on_module(self, path: str) -> bool:
        """Whether it is a plain attribute that a module has and the reference's, which is there, never had: in a module
        with hooks for loading, as Lightning's, these note there what they read."""
        leaf, module = self.loaded[path], path.rpartition("/")[0]
        there = path not in self.saved and f"{module}/training" in self.saved
        return there and leaf.role == "structure" and leaf.kept and type(leaf.value) in PLAIN_SCALARS

    def _renamed(self, path: str) -> bool:
        """Whether it is an entry of the saved state under another key, as a file without numbers for keys gives it."""
        return "/" in path and (path.rpartition("/")[0], self.loaded[path].digest) in self._missing

    @cached_property
    def _missing(self) -> set[tuple[str, bytes]]:
        """(holder, digest) of each leaf that the resumed run lacks."""
        return {(at.rpartition("/")[0], leaf.digest) for at, leaf in self.saved.items() if at not in self.loaded}


def only_resumed(paths: Iterable[str], saved: Snapshot, end: Snapshot, loaded: Snapshot) -> Iterator[str]:
    """The paths among some that lie in a variable of a function that is running in both, and which only the resumed run
    has: of a name without a value, the other could make nothing.

    Args:
        paths: of leaves that differ.
        saved: the reference at the save.
        end: the same at its end.
        loaded: the resumed run after loading.
    """
    theirs = {
        _variable(path, loaded)
        for each in (saved, end)
        for path, leaf in each.items()
        if not (leaf.kept and leaf.value is None)
    }
    theirs.update(saved.kinds, end.kinds)  # what is there and has no leaves yet
    given = {_variable(path, loaded) for path in loaded}
    for path in paths:
        variable = _variable(path, loaded)
        function = variable.rpartition("/")[0]
        if variable in given and variable not in theirs and saved.kinds.get(function, NO_KIND).name == VARIABLES:
            yield path


def _variable(path: str, loaded: Snapshot) -> str:
    """The variable of a function that a leaf lies in, of the innermost one; empty where it lies in none."""
    functions = [above for above in ancestors([path]) if loaded.kinds.get(above, NO_KIND).name == VARIABLES]
    if not functions:
        return ""
    function = max(functions, key=len)
    return f"{function}/{path.removeprefix(f'{function}/').partition('/')[0]}"


def _plain(snapshot: Snapshot, path: str) -> tuple[dict[str, bytes], dict[str, Form]] | None:
    """The digests of plain values in an object, and the forms, by the paths inside it; None where it holds others."""
    inside = {at.removeprefix(path): leaf for at, leaf in snapshot.items() if at.startswith(f"{path}/")}
    if any(leaf.role != "memory" or not leaf.kept or type(leaf.value) not in _PLAIN for leaf in inside.values()):
        return None
    forms = {at.removeprefix(path): form for at, form in snapshot.forms.items() if f"{at}/".startswith(f"{path}/")}
    of_any_order = {at: form if form.by_order else replace(form, order=()) for at, form in forms.items()}
    return {at: leaf.digest for at, leaf in inside.items()}, of_any_order


def _recast(saved: Value, loaded: Value) -> bool:
    """Whether a value came back in another type, as through a file that has fewer of them: nobody marks a resume so."""
    return saved is not None and loaded is not None and type(saved) is not type(loaded)


def _stood_for(snapshot: Snapshot, path: str) -> bytes | None:
    """The digest of a leaf, or of the one that it is another name of; None where there is none, but an object."""
    while (leaf := snapshot.get(path)) is not None and leaf.role == "alias":
        path = str(leaf.value).removeprefix("= ")
    return None if leaf is None else leaf.digest


def _stays(value: bytes, path: str, end: Snapshot) -> bool:
    """Whether a leaf is at the end as it was; or gone, with a function whose variable it was, which has returned."""
    if path in end:
        return end[path].digest == value
    function = end.get(path.partition("/")[0])
    return function is not None and str(function.value).startswith("finished ")
