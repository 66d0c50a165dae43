"""Interpreters that have imported what a run needs, and the processes that sides get from them.

Where that is sound (`forking.py`), an interpreter runs nothing itself: each side is a fork of it, and begins where a
new interpreter would. There are two, each with hash seeds and addresses of its own, so that a side and its repeat never
come from the same one. Elsewhere each side is a new interpreter; the next gets ready meanwhile. No side is ever a fork
of the process that asks. All have its paths, folder and environment, and end when it is gone.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dora_repro.scratch import ScratchFolder
from dora_repro.sides.forks import Forks, Preparation
from dora_repro.sides.interpreter import Interpreter, OwnFork, StartedInterpreter
from dora_repro.sides.late_libraries import LateLibraries
from dora_repro.sides.own_fork import Become, fork_of_this_process
from dora_repro.sides.processes import LOG, SideProcess
from dora_repro.sides.successors import Successor


@dataclass(frozen=True)
class Prepared:
    """A fork of an interpreter that has prepared something.

    Attributes:
        number: of the interpreter.
        forks: what forks it.
    """

    number: int
    forks: Forks


class Interpreters(AbstractContextManager["Interpreters"]):
    """Two interpreters that import what a run needs, and give a process to each side.

    Args:
        preload: modules to import, besides the kit's own.
        environment: environment variables besides those of this process.
        libraries: modules to import likewise, as long as that leaves an interpreter that may be forked.
        late: what sides were seen to import inside functions; forks have imported it beforehand.

    Attributes:
        preload: as given.
        libraries: as given; empty after an interpreter that had imported them could not be forked.
        late: as given; what sides tell is to be learned by it.
        later: number of sides to be run after those of the present check.
    """

    _READY = 2

    def __init__(
        self,
        preload: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        libraries: tuple[str, ...] = (),
        late: LateLibraries | None = None,
    ):
        self.preload, self.libraries, self._environment = preload, libraries, environment or {}
        self.late = late or LateLibraries()
        self._scratch = ScratchFolder()
        self._folder = self._scratch.path
        self._waiting: list[Interpreter] = []  # the one that has waited longest first
        self._expected = self._made = self._working = self._spent = self.later = 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Become:  # all is the parent's
            for interpreter in self._waiting:
                interpreter.let_go()
            self._scratch.disown()
            return
        for interpreter in self._waiting:
            interpreter.end()
        self._scratch.cleanup()

    def start_with_own_fork(self) -> None:
        """Get ready, with a fork of this process as one of the two, if that is sound.

        For a command that has run nothing of the user's. To be called before any side, inside the block.

        Raises:
            Become: in the fork.
        """
        self._start()  # imports what it needs while this process does so, too
        number, folder = self._made, self._new_folder()
        forked = fork_of_this_process(folder / LOG, self.preload)
        if forked is not None:
            self._waiting.append(OwnFork(number, folder, *forked))

    def expect(self, sides: int) -> None:
        """Say how many sides are still to be run: no interpreter is started in advance beyond that."""
        self._expected = sides
        wanted = min(self._READY, self._working + sides + self.later)
        while len(self._waiting) + self._spent < wanted:
            self._start()

    def _start(self) -> None:
        modules = (*self.preload, *self.libraries)
        self._waiting.append(StartedInterpreter(self._made, self._new_folder(), modules, self._environment))

    def _new_folder(self) -> Path:
        folder = self._folder / f"process-{self._made}"
        folder.mkdir()
        self._made += 1
        return folder

    @contextmanager
    def prepared(self, preparation: Preparation, like: int | None = None) -> Iterator[Prepared | None]:
        """A fork that has prepared what several processes need, to be forked for each; it ends with the block.

        Args:
            preparation: what it does; nothing of the user's.
            like: number of the interpreter that it is a fork of, if there are forks of it.

        Yields:
            it; None where there are no forks, or where it must not be forked any more.

        Raises:
            SideStopped: an interpreter did not get ready.
        """
        self.expect(max(self._expected, 1))
        interpreter = self._choose(like, None)
        forks = interpreter.forks(self.late)
        if forks is None:
            yield None
            return
        successor = Successor(forks, self._new_folder(), prepare=preparation)
        try:
            yield Prepared(interpreter.number, successor.forks) if successor.forks.are_sound() else None
        finally:
            successor.end()

    @contextmanager
    def acquire(
        self, *, like: int | None = None, unlike: int | None = None, prepared: Prepared | None = None
    ) -> Iterator[SideProcess]:
        """A process for a side; it ends with the block.

        Args:
            like: number of the interpreter to fork, if there are forks of it; else that which has waited longest.
            unlike: number of one that must not be forked.
            prepared: what is forked in place of the interpreter that it is a fork of.

        Raises:
            SideStopped: an interpreter did not get ready.
        """
        self.expect(max(self._expected, 1))
        process = self._begun(self._choose(like, unlike), prepared)
        spent = all(interpreter.number != process.interpreter for interpreter in self._waiting)
        self._working += 1
        self._spent += spent
        self._expected -= 1
        try:
            self.expect(self._expected)  # one more gets ready while this one works
            yield process
        finally:
            self._working -= 1
            self._spent -= spent
            process.close()
            self.expect(self._expected)

    def _begun(self, interpreter: Interpreter, prepared: Prepared | None) -> SideProcess:
        """A fork of an interpreter, which then waits for its next turn; where it may not be forked, itself."""
        self._waiting.remove(interpreter)
        try:
            of_it = prepared is not None and prepared.number == interpreter.number
            forks = prepared.forks if prepared is not None and of_it else interpreter.forks(self.late)
            if forks is None:
                self.libraries = ()  # one of them may have started a thread: the next interpreter is better forked
                return interpreter.as_side()
            folder = self._new_folder()
            process = SideProcess(forks.fork(folder), folder, interpreter.number)
        except BaseException:
            interpreter.end()
            raise
        self._waiting.append(interpreter)
        return process

    def _choose(self, like: int | None, unlike: int | None) -> Interpreter:
        """The interpreter for the next side."""
        for interpreter in self._waiting:
            if interpreter.number == like:
                return interpreter
        others = [interpreter for interpreter in self._waiting if interpreter.number != unlike]
        if not others:
            self._start()
            others = self._waiting[-1:]
        return others[0]
