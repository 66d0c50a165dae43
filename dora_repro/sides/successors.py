"""What is forked for a side: an interpreter, or a fork of it that has imported more."""

import json
from pathlib import Path

from dora_repro.sides.forks import Forks, Preparation, control
from dora_repro.sides.late_libraries import LateLibraries
from dora_repro.sides.processes import close_quietly

_TRIES = 4  # to import what a run needs: each time a library is left out that is not to be forked


class Successors:
    """The forks that follow an interpreter, each a fork of the one before it that has imported more.

    Args:
        forks: what forks the interpreter.
        folder: where to write their logs; must exist.
    """

    def __init__(self, forks: Forks, folder: Path):
        self._forks, self._folder = forks, folder
        self._successors: list[Successor] = []
        self._learned = 0

    def latest(self, late: LateLibraries) -> Forks | None:
        """What forks the last of them, once that is ready; None where the interpreter must not be forked.

        Args:
            late: what is to be imported beforehand by now.

        Raises:
            SideStopped: it did not get ready in time.
        """
        if not self._forks.are_sound():
            return None
        while self._learned < len(late.learned):
            self._succeed(late)
            self._learned += 1
        return self._last()

    def _last(self) -> Forks:
        return self._successors[-1].forks if self._successors else self._forks

    def _succeed(self, late: LateLibraries) -> None:
        """Add a fork that has imported what was learned next, as far as that may be forked."""
        forks = self._last()
        for _ in range(_TRIES):
            listed = self._folder / f"late-{self._learned}.json"
            listed.write_text(json.dumps(late.modules(self._learned)), encoding="utf-8")
            successor = Successor(forks, self._folder, late=listed)
            if successor.forks.are_sound():
                self._successors.append(successor)
                return
            successor.end()
            if not successor.forks.refused:
                return
            late.leave_out(successor.forks.refused)

    def end(self) -> bool:
        """End them and let the interpreter end: whether it will do so by itself."""
        for successor in reversed(self._successors):
            successor.end()
        self._forks.close()
        return bool(self._forks.sound)

    def let_go(self) -> None:
        """In a fork of the process that asks for them: leave them to that one."""
        self._forks.close()


class Successor:
    """A fork of an interpreter that is forked in its place, since it has imported more, or prepared something.

    Args:
        forks: what forks that interpreter.
        folder: where it writes its log.
        late: file of the modules that it imports.
        prepare: what it does before it is forked.

    Attributes:
        forks: what forks it.
    """

    def __init__(self, forks: Forks, folder: Path, late: Path | None = None, prepare: Preparation | None = None):
        ours, theirs = control()
        assert ours is not None and theirs is not None  # there are forks
        self.forks = Forks(ours)
        with theirs:
            self._process = forks.fork(folder, theirs.fileno(), late, prepare)

    def end(self) -> None:
        """End it, when its forks have ended."""
        self.forks.close()
        self._process.end()
        close_quietly(self._process.stdin, self._process.stdout)
