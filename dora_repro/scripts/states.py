"""The state of a script at moments of its training: kept for who resumes there, or put in from another run."""

import types
from collections.abc import Iterable

from dora_repro.contracts import Value
from dora_repro.scripts import assignment
from dora_repro.scripts.advised import Advised
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
        advised: runs advised lines; None where there are none.

    Attributes:
        wrote: whether a checkpoint was written for which no state was kept yet.
    """

    def __init__(self, given: Assignment, place: Place, program: Program, loaders: Loaders, advised: Advised | None):
        self.wrote = False
        self._given, self._place, self._program, self._loaders = given, place, program, loaders
        self._advised = advised

    # --- kept --------------------------------------------------------------------------------------------------------

    def keep(self, name: str, args: Value = None) -> None:
        """Keep the state as it is now.

        Args:
            name: of its file.
            args: what a module is given by position that is about to be called.
        """
        self._place.keep(name, run_roots(self._program), self._loaders.anchor(args))

    @property
    def is_wanted_since_write(self) -> bool:
        """Whether a checkpoint was written, and the state is wanted that follows each."""
        return self.wrote and self._given.keep_saved

    def keep_before(self, number: int, args: Value) -> None:
        """Keep the state and the batches from here on, where that is wanted before the step of this number."""
        if self.is_wanted_since_write or number in self._given.keep_at:
            self.keep(assignment.before_step(number), args)
        if number == self._given.keep_batches:
            self._loaders.keep()

    def keep_end(self) -> None:
        """Keep the last state, and the batches that were stored."""
        self.keep(assignment.END)
        self._loaders.write_kept(self._place.path / assignment.BATCHES)

    # --- put in ------------------------------------------------------------------------------------------------------

    def put_in(self, args: Value, frame: types.FrameType | None) -> None:
        """Before the first step: put in what another run had, and what advised lines make of it. Keep it then, where
        that is wanted.

        Args:
            args: as for `keep`.
            frame: that the step begins in.
        """
        given = self._given.given
        if given is not None and given.leaves and self._given.meet is None:
            saved = Snapshot.read(given.state)
            judged = self._place.path == self._given.folder
            leaves = given.leaves if judged else [path for path in given.leaves if path in saved]
            self._place.write(assignment.MISSING, saved.restore(run_roots(self._program), leaves))
        self._run_lines_once_more(frame)
        if self._given.keep_first:
            self.keep(assignment.FIRST, args)

    def _run_lines_once_more(self, frame: types.FrameType | None) -> None:
        """Run advised lines of load here, too, whose state is not any more as the uninterrupted run had it now."""
        lines = self._given.lines
        if self._advised is None or lines is None or lines.saved is None:
            return
        expected = Snapshot.read(lines.saved)

        def differing(paths: Iterable[str]) -> dict[str, bytes]:
            now = Snapshot.capture(run_roots(self._program))
            known = {path: expected[path] for path in paths if path in expected and expected[path].role != "alias"}
            there = {path: now[path].digest for path in known if path in now}
            return {path: leaf.digest for path, leaf in known.items() if there.get(path) != leaf.digest}

        self._advised.once_more(frame, differing)
