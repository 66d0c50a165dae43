"""What one cause has lost, in the terms that lines of code need; and what to add, as it is told."""

from collections.abc import Mapping
from dataclasses import dataclass

from dora_repro.explain.advice.checkpoint_keys import Rereading
from dora_repro.explain.advice.expressions import Addresses, quoted
from dora_repro.state.snapshot import SavedLeaf


@dataclass(frozen=True)
class Advice:
    """What to add.

    Attributes:
        save, load: lines of code; sentence: what they cannot say.
        further: sentences on what lines alone do not mend.
        file: of a checkpoint of several files, the one that the lines of load read; empty for that at `path`.
    """

    save: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    sentence: str = ""
    further: tuple[str, ...] = ()
    file: str = ""


class Lost:
    """The leaves of one cause.

    Args:
        paths: of the leaves.
        saved, kinds: the reference's leaves at the save, and what its containers were.
        reread: how the checkpoint is read, where it has the leaves' values; None where it has not.
        without_any: whether the resumed run has nothing of their kind in their place.

    Attributes:
        first, value: the first path, and its saved value; root: the name of the run's object that it lies in.
        code, inside: an expression for a path; the same of a tensor or module by its name in a module.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        saved: Mapping[str, SavedLeaf],
        kinds: Mapping[str, object],
        reread: Rereading | None,
        without_any: bool,
    ):
        self.paths, self.first, self.saved, self.kinds = paths, paths[0], saved, kinds
        self.value = self.value_of(self.first)
        self.reread, self.without_any = reread, without_any
        self.root = self.first.partition("/")[0]
        addresses = Addresses(kinds)
        self.code, self.inside = addresses.code, addresses.inside

    def value_of(self, path: str) -> object:
        leaf = self.saved.get(path)
        return None if leaf is None else leaf.value

    def key(self, path: str) -> str:
        """Where a leaf's value is: in the file, or under its own path in what the lines of save fill."""
        return self.reread.value(path) if self.reread else f"state[{quoted(path)}]"

    def key_of_all(self, owner: str) -> str:
        """The same of what the first leaf lies in, as a whole."""
        if self.reread is None:
            return f"state[{quoted(owner)}]"
        return self.reread.value(owner) if owner == self.first else self.reread.whole(self.first, owner)

    def optimizer(self) -> str:
        """The path of the optimizer that the first leaf belongs to."""
        before, group, _ = self.first.partition("/group.")
        if group:
            return before
        state = self.first.rpartition("/")[0]  # of one parameter: a dict, which may hold others
        while state.rpartition("/")[0] in self.kinds:
            state = state.rpartition("/")[0]
        return state.rpartition("/")[0] if state in self.kinds else self.root

    def holder(self) -> str:
        """The list or dict that holds all leaves, where there is one; else the first leaf."""
        above = self.first
        while above := above.rpartition("/")[0]:
            if above in self.kinds and all(path.startswith(f"{above}/") for path in self.paths):
                return above
        return self.first

    def keyed(self, path: str) -> dict[str, str]:
        """Text -> path of the object, for a dict whose keys are objects."""
        return dict(getattr(self.kinds.get(path), "keyed", ()))

    def outermost_module(self, path: str) -> str:
        """The path of the outermost module that a module lies in; its own where it lies in none."""
        parts = path.split("/")
        above = ("/".join(parts[:index]) for index in range(1, len(parts)))
        return next((module for module in above if f"{module}/training" in self.saved), path)
