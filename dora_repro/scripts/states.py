"""The state of a script at moments of its training: kept for who resumes there, or put in from another run."""

from collections.abc import Callable, Iterable
from pathlib import Path

from dora_repro.contracts import Value
from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Loaders
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.place import Place
from dora_repro.scripts.program import Program
from dora_repro.state.snapshot import Snapshot, run_roots


class States:
    """The states of one process that trains.

    Args:
        given: what to keep, and what to put in.
        place: where to leave it.
        program: the script.
        loaders: know what is left of the loader's batches.

    Attributes:
        wrote: whether a checkpoint was written for which no state was kept yet.
    """

    def __init__(self, given: Assignment, place: Place, program: Program, loaders: Loaders):
        self.wrote = False
        self._given, self._place, self._program, self._loaders = given, place, program, loaders

    def keep(self, name: str, args: Value = None) -> None:
        """Keep the state as it is now.

        Args:
            name: of its file.
            args: what a module is given by position that is about to be called.
        """
        self._place.keep(name, run_roots(self._program), self._loaders.anchor(args))

    def keep_before(self, number: int, args: Value) -> None:
        """Keep the state and the batches from here on, where that is wanted before the step of this number."""
        if (self.wrote and self._given.keep_saved) or number in self._given.keep_at:
            self.keep(assignment.before_step(number), args)
        if number == self._given.keep_batches:
            self._loaders.keep()

    def put_in(self) -> None:
        """Put in what another run had at this moment, where that is given for it."""
        given = self._given.given
        if given is not None and given.leaves and self._given.meet is None:
            saved = Snapshot.read(given.state)
            judged = self._place.path == self._given.folder
            leaves = given.leaves if judged else [path for path in given.leaves if path in saved]
            self._place.write(assignment.MISSING, saved.restore(run_roots(self._program), leaves))

    def unlike(self, file: Path) -> Callable[[Iterable[str]], dict[str, bytes]]:
        """What tells which leaves are not any more as they were in another run.

        Args:
            file: the other run's state.

        Returns:
            A function of paths: those that differ, with the other run's digests.
        """
        expected = Snapshot.read(file)

        def differing(paths: Iterable[str]) -> dict[str, bytes]:
            now = Snapshot.capture(run_roots(self._program))
            known = {path: expected[path] for path in paths if path in expected and expected[path].role != "alias"}
            there = {path: now[path].digest for path in known if path in now}
            return {path: leaf.digest for path, leaf in known.items() if there.get(path) != leaf.digest}

        return differing
