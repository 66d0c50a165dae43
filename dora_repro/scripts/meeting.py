"""The beginning of a round of the script's loop: the state is kept there, and that of another run put in."""

import types
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from dora_repro.contracts import Value
from dora_repro.scripts import assignment
from dora_repro.scripts.assignment import Assignment, Round
from dora_repro.scripts.files import Files
from dora_repro.scripts.place import Place
from dora_repro.scripts.program import program_of
from dora_repro.scripts.rounds import Rounds
from dora_repro.state.frames import user_frames
from dora_repro.state.objects import Objects
from dora_repro.state.snapshot import Snapshot, run_roots


class Meeting:
    """Meets one round in this process.

    Args:
        given: what to do; it has a round to meet.
        place: where to leave the evidence.
        named: what the script named itself, by name.
        careful: makes a context in which exceptions end the record and not the script.
    """

    def __init__(
        self,
        given: Assignment,
        place: Place,
        named: Mapping[str, Value],
        careful: Callable[[], AbstractContextManager[None]],
    ):
        self._given, self._place, self._named, self._careful = given, place, named, careful
        self._passes: dict[types.FrameType, int] = {}
        self._state: Snapshot | None = None
        self._objects: Objects | None = None
        self._files: dict[str, dict[str, Any]] = {}
        self._claimed = False
        self._rounds = Rounds(self._reached)

    def install(self, files: Files, position: Callable[[], int]) -> None:
        """Listen to files that are opened.

        Args:
            files: tells of them.
            position: tells the number of steps that are done.
        """
        meet, rounds = self._given.meet, self._rounds
        if meet is not None and meet.round is not None:
            rounds.after_load(files, meet.round, meet.files)
        elif meet is not None and not meet.at_update:
            rounds.after_save(files, self._given.out, lambda: position() == meet.after, lambda: self._passes)

    def passes(self, frame: types.FrameType | None) -> None:
        """A training forward pass begins."""
        self._passes = {one: one.f_lineno for one in user_frames(frame)}

    def updated(self, frame: types.FrameType | None, done: int) -> None:
        """A step has made its update, in a frame; so many are done with it."""
        meet = self._given.meet
        if meet is not None and meet.at_update and meet.after == done:
            self._rounds.after(frame, self._passes)

    def claimed(self) -> None:
        """The place has its folder: leave what was kept before."""
        self._claimed = True
        self._leave()

    def _reached(self, found: Round, frame: types.FrameType) -> None:
        with self._careful():
            self._keep(found, frame)

    def _keep(self, found: Round, frame: types.FrameType) -> None:
        roots = run_roots(program_of(dict(self._named), frame))
        self._state = Snapshot.capture(roots)
        self._files[assignment.ROUND] = asdict(found)
        if self._given.meet is not None and self._given.meet.objects:
            self._objects = Objects.taken(roots, _named(self._state, self._given.meet.objects))
        given = self._given.given
        if given is not None:
            objects = None if given.objects is None else Objects.read(given.objects)
            self._files[assignment.MISSING] = Snapshot.read(given.state).restore(roots, given.leaves, objects)
        if self._claimed:
            self._leave()

    def _leave(self) -> None:
        for name, about in self._files.items():
            self._place.write(name, about)
        if self._state is not None:
            self._state.write(self._place.path / assignment.AT_ROUND)
            self._state = None
        if self._objects is not None:
            self._objects.write(self._place.path / assignment.OBJECTS)
            self._objects = None


def _named(state: Snapshot, wanted: Collection[str]) -> list[str]:
    """The paths of objects that are named, or are entries of what is."""
    return [path for path in state.forms if path in wanted or f"{path.rpartition('/')[0]}/*" in wanted]
