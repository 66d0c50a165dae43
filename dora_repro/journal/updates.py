"""The updates of a start, a line each: names are written once and referred to by number.

A new file begins wherever a checkpoint was written, so that what a later start repeats is in one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dora_repro.contracts import Json
from dora_repro.journal.layout import updates_file, updates_of
from dora_repro.journal.lines import Appended, read_lines, to_bytes, to_text
from dora_repro.trace import Effect, Recorded, Step, Trace


class Updates:
    """Writes the updates of one start.

    Args:
        folder: of the start.
        update: number of updates that were done before its first.
        room: returns how many bytes the file may have that is begun now.
        done: called with each update when it has been written.

    Attributes:
        number: number of updates that are done.
    """

    def __init__(self, folder: Path, update: int, room: Callable[[], int], done: Callable[[Step], None]):
        self._folder, self._base, self._room, self._done = folder, update, room, done
        self.number = update
        self._file: Appended | None = None
        self._names: dict[str, int] = {}
        self._left = 0
        self._passed = 0

    def step(self, step: Step) -> None:
        """Write an update."""
        step = _shifted(step, self._base)
        if self._file is None:
            self._file, self._names = Appended(self._folder / updates_file(self.number)), {}
            self._left = self._room()
        self.number = step.number
        if self._file.size < self._left:
            self._file.add(self._line(step))
        else:
            self._passed += 1
        self._done(step)

    def begin_file(self) -> None:
        """A checkpoint was written: the next update begins a new file."""
        if self._file is not None and self.number > self._base:
            self._file.close()
            self._file = None

    def close(self, finished: bool, unseen: Iterable[str]) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()

    def _line(self, step: Step) -> dict[str, Json]:
        new: list[Json] = []

        def number(name: str) -> int:
            if name not in self._names:
                self._names[name] = len(self._names)
                new.append(name)
            return self._names[name]

        effects: list[Json] = []
        for effect in step.effects:
            effects += [number(effect.phase), number(effect.leaf), to_text(effect.digest)]
        memory: list[Json] = []
        for path, value in step.memory.items():
            memory += [number(path), None if value is None else to_text(value)]
        prepared: list[Json] = [number(leaf) for leaf in step.prepared]
        line: dict[str, Json] = {"u": step.number, "loss": step.loss, "lr": list(step.learning_rates)}
        thrown_away: list[Json] = []
        for where in step.thrown_away:
            thrown_away += [where.step, number(where.phase), number(where.leaf)]
        line |= {"n": new, "e": effects, "m": memory, "i": to_text(step.inputs), "p": prepared}
        return line | ({"t": thrown_away} if thrown_away else {})


def _shifted(step: Step, base: int) -> Step:
    """A step numbered on from those of the starts before."""
    thrown_away = tuple(where._replace(step=base + where.step) for where in step.thrown_away)
    return replace(step, number=base + step.number, thrown_away=thrown_away)


def read_updates(start: Path, after: int | None = None) -> Trace:
    """The updates of a start that follow one another without a gap.

    Args:
        start: the folder.
        after: number of updates before the first that is wanted; None for the first that is there.

    Returns:
        A trace without steps where the wanted one is not there.
    """
    files = updates_of(start)
    if after is None:
        after = min(files, default=0)
    trace = Trace()
    for step in _every(files, after):
        if step.number == after + 1 + len(trace.steps):
            trace.steps.append(step)
        elif step.number > after:
            break
    return trace


def last_update(start: Path) -> int | None:
    """The number of the last update of a start; None where none is there."""
    files = updates_of(start)
    for begins in reversed(files):
        lines, _ = read_lines(files[begins])
        if lines:
            return _number(lines[-1]) or begins
    return None


def _every(files: Mapping[int, Path], after: int) -> Iterator[Step]:
    wanted = [begins for begins in files if begins <= after][-1:] + [begins for begins in files if begins > after]
    for begins in wanted:
        names: list[str] = []
        lines, cut = read_lines(files[begins])
        for line in lines:
            try:
                yield _step(line, names)
            except (LookupError, TypeError, ValueError, ArithmeticError):
                return
        if cut:
            return


def _step(line: Mapping[str, Any], names: list[str]) -> Step:
    names += [str(name) for name in line["n"]]
    fields, memory = line["e"], line["m"]
    effects = tuple(
        Effect(names[fields[at]], names[fields[at + 1]], to_bytes(fields[at + 2])) for at in range(0, len(fields), 3)
    )
    changed = {
        names[memory[at]]: None if memory[at + 1] is None else to_bytes(memory[at + 1])
        for at in range(0, len(memory), 2)
    }
    prepared: Sequence[str] = [names[at] for at in line["p"]]
    rates = tuple(float(rate) for rate in line["lr"])
    thrown = line.get("t", ())
    thrown_away = tuple(
        Recorded(int(thrown[at]), names[thrown[at + 1]], names[thrown[at + 2]]) for at in range(0, len(thrown), 3)
    )
    consumed = to_bytes(line["i"])
    return Step(int(line["u"]), line["loss"], rates, effects, changed, consumed, tuple(prepared), thrown_away)


def _number(line: Mapping[str, Any]) -> int | None:
    number = line.get("u")
    return number if isinstance(number, int) else None
