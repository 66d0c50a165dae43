"""Where a training in production leaves its journal, and where it is judged as it goes on."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from dora_repro.contracts import Value
from dora_repro.journal.known import Known, Source, chosen
from dora_repro.journal.layout import FIRST, LOG, claim, saved_file, state_file, updates_of
from dora_repro.journal.ledger import Checkpoint, JournalFiles, is_checkpoint
from dora_repro.journal.lines import Appended
from dora_repro.journal.repeated import Repeated, level_of
from dora_repro.journal.setting import STRICT_EXIT, Setting
from dora_repro.journal.state import StateDigests
from dora_repro.journal.updates import Updates, read_updates
from dora_repro.journal.words import of_divergence, of_repeated, of_state, resumed_from
from dora_repro.printable import one_line
from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Anchor
from dora_repro.scripts.place import Lines, Place
from dora_repro.sides.environment import environment
from dora_repro.trace import Step

_exit = (
    os._exit
)  # before the recorder wraps it, to end what it records in good order: here it ends in the midst of that

_WASTED = 3  # times that something was serialized for no file, after which it is no longer looked at


class NotFirst(Exception):
    """A process of another rank than the first: it is not noted."""


class JournalPlace(Place):
    """One start of a journal: it takes what a process does, and says at once whether it goes on as it was.

    Args:
        setting: how the journal is kept.
    """

    whole = False

    def __init__(self, setting: Setting):
        super().__init__(setting.folder, setting.folder, 0, True)
        self._setting = setting
        self._log: Appended | None = None
        self._number = 0
        self._source: Source | None = None
        self._repeated: Repeated | None = None
        self._first: StateDigests | None = None
        self._roots: dict[str, Value] | None = None
        self._updates: Updates | None = None
        self._serialized: StateDigests | None = None  # in memory, and may be on its way into a file
        self._wasted = 0
        self._waiting = False  # a checkpoint was written, and the state at the next update is not kept yet
        self.files: JournalFiles | None = None

    # --- what is told of the process --------------------------------------------------------------------------------

    def claim(self) -> None:
        """Take the next start of the journal.

        Raises:
            NotFirst: the process is of another rank than the first.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            raise NotFirst
        self._number, self.path = claim(self._setting.folder)
        self._taken = True
        self._log = Appended(self.path / LOG)
        self._note(
            "start",
            time=time.time(),
            argv=sys.argv,
            pid=os.getpid(),
            host=socket.gethostname(),
            folder=str(Path.cwd()),
            level=self._setting.level,
            world=os.environ.get("WORLD_SIZE"),
            environment=environment(),
        )

    def wrote(self, checkpoint: Checkpoint) -> None:
        """A checkpoint was written."""
        self._waiting = True
        number, backwards = self._base + checkpoint.update, checkpoint.backwards
        self._write_serialized(number, backwards)
        about = {"digest": checkpoint.digest, "size": checkpoint.size, "backwards": backwards}
        self._note("wrote", path=checkpoint.path, update=number, **about)
        if checkpoint.now and (state := self._state_of_save(number, backwards)) is not None:
            self._write_saved(state)

    def begins(self, path: str, update: int, backwards: int) -> None:
        """A checkpoint is about to be written, or to get its name."""
        self._write_serialized(self._base + update, backwards)
        self._note("writes", path=path, update=self._base + update, backwards=backwards)

    def _write_serialized(self, update: int, backwards: int) -> None:
        state = self._serialized
        if state is not None and (state.update, state.backwards) == (update, backwards):
            self._serialized, self._wasted = None, 0
            self._write_saved(state)

    def serialized(self) -> None:
        """Something was serialized in memory: a library that writes it does so before its next update."""
        assert self.files is not None
        done, backwards = self.files.position
        moment = self._base + done, backwards
        if self._serialized is not None:
            if (self._serialized.update, self._serialized.backwards) == moment:
                return
            self._wasted += 1  # it came into no file
        self._serialized = self._state_of_save(*moment) if self._wasted < _WASTED else None

    def _state_of_save(self, update: int, backwards: int) -> StateDigests | None:
        """The state as it is, in the midst of the training's own code: it may be killed before its next update."""
        if self._updates is None or self._roots is None:
            return None
        try:
            return StateDigests.take(self._roots, update, backwards, "save")
        except Exception as error:  # it is not to be seen in the training
            self._note("unkept", problem=f"{type(error).__name__}: {error}")
            return None

    def _write_saved(self, state: StateDigests) -> None:
        try:
            path = self.path / saved_file(state.update, state.backwards)
            path.unlink(missing_ok=True)
            state.write(path)
        except Exception as error:  # it is not to be seen in the training
            self._note("unkept", problem=f"{type(error).__name__}: {error}")

    def keep(self, name: str, roots: dict[str, Value], anchor: Anchor) -> None:
        """Note the state before an update: before the first, and wherever a checkpoint was written before it."""
        self._roots = roots
        if name == assignment.FIRST:
            self._first = StateDigests.take(roots, 0)  # anew, where an evaluation was taken for the first update
            return
        assert self.files is not None
        done, backwards = self.files.position
        self._keep_state(StateDigests.take(roots, self._base + done, backwards))

    def _keep_state(self, state: StateDigests) -> None:
        self._waiting = False
        path = self.path / state_file(state.update, state.backwards)
        if path.exists():  # two writes between the same two updates
            return
        state.write(path)
        (self.path / saved_file(state.update, state.backwards)).unlink(missing_ok=True)
        if self._log is not None:
            self._log.sync()
        if self._updates is not None:
            self._updates.begin_file()

    @property
    def _base(self) -> int:
        """The number of updates that were done before this start's first."""
        return 0 if self._source is None else self._source.update

    # --- whether it goes on as it was -------------------------------------------------------------------------------

    def _go_on(self, now: StateDigests) -> None:
        """Find what the training goes on from, and hold its state against what it was then."""
        assert self.files is not None
        known = Known(self._setting.folder, but=self._number)
        reads = [path for path in self.files.reads if is_checkpoint(path)]
        found = chosen(known.sources(self.files.reads), now)
        if found is None and reads and (nearest := known.nearest(reads, now)) is not None:
            found = nearest, nearest.difference(now)
        if found is None:
            self._note("began", reads=reads)
            if known:
                unknown = f"; it read {Path(reads[-1]).name}, which is none of theirs" if reads else ""
                self._say(f"began anew: it read no checkpoint of an earlier start{unknown}")
            return
        self._source, difference = found
        self._note("resumed", **self._source.to_dict(), state=difference and difference.to_dict())
        self._say(f"resumed from {resumed_from(self._source)}: {of_state(difference)}")
        if difference is not None and difference.lost:
            self._refuse()
        reference = read_updates(self._source.folder, self._source.update)
        if reference.steps:
            self._repeated = Repeated(reference, gradients=self._setting.level == level_of(self._source.folder))

    def lines(self, start: dict[str, bytes]) -> Lines:
        """Begin to take updates: what was to be loaded has been."""
        assert self._first is not None
        self._first.write(self.path / FIRST)
        self._go_on(self._first)
        self._first = None
        self._updates = Updates(self.path, self._base, self._room, self._on_update)
        return self._updates

    def _on_update(self, step: Step) -> None:
        """An update was done: is it the one that the earlier start did?"""
        repeated = self._repeated
        if repeated is None:
            return
        differs = repeated.differs(step)
        if differs is not None:
            self._repeated = None
            self._note("differs", update=differs.step, phase=differs.phase, leaf=differs.leaf, how=differs.kind)
            before = f"{of_repeated(self._base + 1, differs.step - 1)}; " if differs.step > self._base + 1 else ""
            self._say(f"{before}{of_divergence(differs)}")
            self._refuse()
        elif step.number == repeated.last:
            self._repeated = None
            self._note("repeated", last=step.number)
            self._say(of_repeated(self._base + 1, step.number))

    def _refuse(self) -> None:
        """It did not go on as it was: where that is not to be, it ends."""
        if self._setting.strict:
            self._say(f"--strict: the job ends here, with exit code {STRICT_EXIT}")
            self._note("refused")
            self._end_job()

    @staticmethod
    def _end_job() -> NoReturn:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        _exit(STRICT_EXIT)

    # --- the end ----------------------------------------------------------------------------------------------------

    def end(self, roots: dict[str, Value] | None, about: Callable[[], dict[str, Any]]) -> None:
        """The process ends by itself. What was saved last has no further update: its state is that of the end."""
        if self._log is None:
            return
        assert self.files is not None
        self.files.look()
        done, backwards = self.files.position
        if self._waiting and roots is not None:
            self._keep_state(StateDigests.take(roots, self._base + done, backwards, "end"))
        self._note("end", time=time.time(), update=self._base + done)

    def leave(self, name: str, about: dict[str, Any]) -> None:
        """Leave word of what is not recorded: a process that trains and was made by `os.fork`."""
        with contextlib.suppress(OSError), (self._setting.folder / f"{name}-{os.getpid()}.txt").open("a") as file:
            file.write(json.dumps(about))

    def write(self, name: str, about: dict[str, Any]) -> None:
        """A process of a check leaves plain data here; nothing reads it in a journal."""

    def fail(self, error: BaseException) -> None:
        """The journal ends here, and the training goes on."""
        if isinstance(error, NotFirst):
            return
        problem = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            self._note("failed", problem=problem)
        self._say(f"the journal ends here, and the training goes on ({problem})")

    def _note(self, kind: str, **fields: Any) -> None:
        if self._log is not None:
            self._log.add({"kind": kind, **fields})

    @staticmethod
    def _say(text: str) -> None:
        """A line in the job's own log."""
        with contextlib.suppress(Exception), _beside_bars():  # closed, nobody reads it, a bar that cannot be drawn
            print(f"dora_repro: {one_line(text)}", file=sys.stderr, flush=True)

    # --- room -------------------------------------------------------------------------------------------------------

    def _room(self) -> int:
        """Make room, and tell how many bytes the next file of updates may have.

        The oldest updates and states of all starts go first; of the latest start those that a later one needs stay.
        """
        limit = self._setting.limit
        files = {path: path.stat() for path in self._setting.folder.glob("start-*/*") if path.is_file()}
        taken = sum(about.st_size for about in files.values())
        mine = {*[*updates_of(self.path).values()][-2:], *_states(self.path)[-2:]}
        source = set() if self._repeated is None or self._source is None else {*self._source.folder.iterdir()}
        for path in sorted(files, key=lambda path: files[path].st_mtime_ns):
            if taken <= limit // 2:
                break
            if path.name in (LOG, FIRST) or path in mine or path in source:
                continue
            with contextlib.suppress(OSError):
                path.unlink()
                taken -= files[path].st_size
                self._note("dropped", start=path.parent.name, file=path.name)
        return max(0, limit - taken)


def _beside_bars() -> contextlib.AbstractContextManager[None]:
    """Meanwhile no bar of tqdm is in the line: it is drawn again below. Libraries show the training by one."""
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    if bars is None or not getattr(bars, "_instances", None):
        return contextlib.nullcontext()
    return bars.external_write_mode(sys.stderr)


def _states(start: Path) -> list[Path]:
    return sorted(start.glob("state-*.json"), key=lambda path: path.stat().st_mtime_ns)
