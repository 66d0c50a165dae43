"""What a run did, step by step, as digests: recorded by `recording/`, written as lines of JSON.

Effects come in order of execution, each with its phase and leaf; memory is stored as what changed since the step
before.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dora_repro.checkpoint import replacing
from dora_repro.checkpoint.guard import file_opener
from dora_repro.contracts import Json
from dora_repro.difference import LeafDifference
from dora_repro.errors import BadInput
from dora_repro.printable import named
from dora_repro.wording import counted

FORMAT = "dora_repro/trace/2"
FINISHED = "run/finished"  # the leaf of one run being over while the other goes on
STEP_END = "step_end"  # the phase of parameters that are, at the end of a step, not as their update left them
DIGEST_BYTES = 16
T = TypeVar("T")

_NUMBER = re.compile(r"\[\d+\]$")


def numbered(name: str, number: int) -> str:
    """How a phase or leaf is called that comes for the `number`th time: `backward`, then `backward[2]`."""
    return name if number == 1 else f"{name}[{number}]"


def unnumbered(name: str) -> str:
    """A name without the number that it has where it is repeated: `outputs/scale` of `outputs/scale[2]`."""
    return _NUMBER.sub("", name)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a step did.

    Attributes:
        phase: the phase; repeated ones are numbered: `backward[2]`.
        leaf: the path of what it gave.
        digest: the digest of its bytes.
    """

    phase: str
    leaf: str
    digest: bytes


class Recorded(NamedTuple):
    """Where a step of a trace records something.

    Attributes:
        step: the number of the step.
        phase: the phase, numbered as in `Effect`.
        leaf: the path.
    """

    step: int
    phase: str
    leaf: str


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step.

    Attributes:
        number: the number of the step, counted from 1.
        loss: what `step()` returned, as a float; None where that was no number.
        learning_rates: the learning rate of each parameter group, at the end of the step.
        effects: what the step did, in order of execution.
        memory: digests of the memory that changed in this step, by path; None for what is gone.
        inputs: a digest of all that outermost modules were given, in order, but for those that prepare data; empty
            where none was called.
        prepared: leaves of what modules returned that only prepare data for those that train.
        thrown_away: where gradients are recorded, in this step or one before, that were added to what was left of
            others, and set to zero in this step before an optimizer stepped with them.
    """

    number: int
    loss: float | None
    learning_rates: tuple[float, ...]
    effects: tuple[Effect, ...]
    memory: dict[str, bytes | None]
    inputs: bytes = b""
    prepared: tuple[str, ...] = ()
    thrown_away: tuple[Recorded, ...] = ()


@dataclass(frozen=True)
class Divergence:
    """The first place where two runs differ, in order of execution.

    Attributes:
        step: the optimizer step, counted from 1; for phases `load` and `save` the step after which it happened.
        phase: `load`, `batch`, `forward`, `backward`, `update`, `schedule`, `step_end`, `epoch_end` or `save`, numbered
            where it is repeated (`backward[2]`); empty for memory, which is compared at the end of a step.
        leaf: the path of what differs.
        kind: `value`, `missing` (not in the second run), `unexpected` (only there), `raised`, or, of a leaf whose
            values were compared, `dtype`, `shape` or `type`.
        difference: how the leaf differs, where both values are known.
    """

    step: int
    phase: str
    leaf: str
    kind: str = "value"
    difference: LeafDifference | None = None

    @property
    def where(self) -> str:
        """Step and phase: `step 3, phase update`; `end of step 3` for memory."""
        return f"step {self.step}, phase {self.phase}" if self.phase else f"end of step {self.step}"

    @property
    def place(self) -> str:
        """Step, phase and leaf, without sizes: the same on any machine."""
        return f"{self.where}, {self.leaf}"

    def how(self, second: str = "the resumed run") -> str:
        """How the leaf differs, in a few words; empty where no more is known than that its bytes do.

        Args:
            second: what to call the second run.
        """
        if self.leaf == FINISHED:
            over, on = (second, "the other") if self.kind == "missing" else ("the other", second)
            return f"{over} is over, {on} goes on"
        step = "" if unnumbered(self.phase) in ("", "load", "save") else "this step of "  # an effect, no state
        if self.kind == "missing":
            return f"missing in {step}{second}"
        if self.kind == "unexpected":
            return f"only in {step}{second}"
        if self.kind == "raised":
            return "raised"
        return self.difference.brief if self.difference is not None else ""

    def __str__(self) -> str:
        how = self.how()
        return f"{self.place} ({how})" if how else self.place


@dataclass
class Trace:
    """The recorded steps of one run, and whether it came to its end.

    Attributes:
        steps: the steps in order, without gaps.
        start: digests of the memory before the first recorded step, by path.
        finished: the run said by StopIteration that it was over.
        unseen: phases that were never seen although steps were done (a hand-made batch loop has no `batch`).
    """

    steps: list[Step] = field(default_factory=list)
    start: dict[str, bytes] = field(default_factory=dict)
    finished: bool = False
    unseen: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if not self.steps:
            return "Trace(no steps)"
        effects = sum(len(step.effects) for step in self.steps)
        return f"Trace(steps {self.steps[0].number}–{self.steps[-1].number}, {counted(effects, 'effect')})"

    def step(self, number: int) -> Step | None:
        """The step with that number; None where it was not recorded."""
        index = number - self.steps[0].number if self.steps else -1
        return self.steps[index] if 0 <= index < len(self.steps) else None

    def memory(self) -> Iterator[tuple[int, dict[str, bytes]]]:
        """For every step: its number, and digests of all memory at its end, by path.

        The dictionary is one and the same, updated from step to step.
        """
        now = dict(self.start)
        for step in self.steps:
            for path, value in step.memory.items():
                if value is None:
                    now.pop(path, None)
                else:
                    now[path] = value
            yield step.number, now

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a line that describes the whole and a line for each step, atomically."""
        head = {
            "format": FORMAT,
            "steps": len(self.steps),
            "finished": self.finished,
            "unseen": list(self.unseen),
            "start": {leaf: value.hex() for leaf, value in self.start.items()},
        }
        with replacing.atomic(path) as file:
            file.write(json.dumps(head).encode() + b"\n")
            for step in self.steps:
                file.write(json.dumps(_step_to_json(step)).encode() + b"\n")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read a trace written by `write`.

        Raises:
            BadInput: no such file, not a trace, or one that was cut off.
        """
        try:
            lines = _text(Path(path)).split("\n")
            head = _json(lines[0])
            if head["format"] != FORMAT:
                raise ValueError(f"format {head['format']!r}, expected {FORMAT!r}")
            steps = [_step_from_json(_json(line)) for line in lines[1:] if line]
            if len(steps) != head["steps"]:
                raise ValueError(f"{counted(len(steps), 'step')} where {head['steps']} were written")
            if any(step.number != steps[0].number + index for index, step in enumerate(steps)):
                raise ValueError("its steps are not numbered one after the other")
            if steps and steps[0].number < 1:
                raise ValueError(f"its first step has the number {steps[0].number}")
            start = {leaf: _digest(value) for leaf, value in head["start"].items()}
            unseen = tuple(_exactly(str, name) for name in head["unseen"])
            return cls(steps, start, _exactly(bool, head["finished"]), unseen)
        except FileNotFoundError:
            raise BadInput(f"no such trace: {named(path)}") from None
        except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise BadInput(f"{named(path)} is not a whole trace of this kit ({problem}): record it again") from error


class TraceWriter:
    """A trace that is written as it grows: a line for its beginning, one for each step, one for its end.

    A process that is killed leaves every step that it had finished (`read_appended`).

    Args:
        path: a file that does not exist yet.
        start: as of `Trace`.

    Raises:
        FileExistsError: somebody else writes there.
    """

    def __init__(self, path: Path, start: dict[str, bytes]):
        self._file = path.open("xb", buffering=0)  # each line is with the system when write() returns
        self._line({"format": FORMAT, "start": {leaf: value.hex() for leaf, value in start.items()}})

    def step(self, step: Step) -> None:
        """Add a step."""
        self._line(_step_to_json(step))

    def close(self, finished: bool, unseen: Iterable[str]) -> None:
        """Add the end: as of `Trace`."""
        self._line({"finished": finished, "unseen": list(unseen)})
        self._file.close()

    def _line(self, line: Mapping[str, Json]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")


def read_appended(path: Path) -> Trace:
    """What a `TraceWriter` wrote, up to the last whole line; `finished` is False where it came to no end.

    Raises:
        BadInput: no such file, or its beginning is missing.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line break was cut off
        head, *rest = map(_json, lines)
        trace = Trace(start={leaf: _digest(value) for leaf, value in head["start"].items()})
        for line in rest:
            if "step" in line:
                trace.steps.append(_step_from_json(line))
            else:
                trace.finished, trace.unseen = _exactly(bool, line["finished"]), tuple(line["unseen"])
        return trace
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{named(path)} is not the record of a launched script ({type(error).__name__}: {error})"
        ) from error


def _step_to_json(step: Step) -> dict[str, Json]:
    return {
        "step": step.number,
        "loss": step.loss,
        "learning_rates": list(step.learning_rates),
        "effects": [[effect.phase, effect.leaf, effect.digest.hex()] for effect in step.effects],
        "memory": {path: None if value is None else value.hex() for path, value in step.memory.items()},
        "inputs": step.inputs.hex(),
        "prepared": list(step.prepared),
        "thrown_away": [list(where) for where in step.thrown_away],
    }


def _step_from_json(line: dict[str, Any]) -> Step:
    return Step(
        number=_exactly(int, line["step"]),
        loss=None if line["loss"] is None else _number(line["loss"]),
        learning_rates=tuple(map(_number, line["learning_rates"])),
        effects=tuple(_effect(*fields) for fields in line["effects"]),
        memory={path: None if value is None else _digest(value) for path, value in line["memory"].items()},
        inputs=_digest(line["inputs"]) if line["inputs"] != "" else b"",
        prepared=tuple(_exactly(str, leaf) for leaf in line.get("prepared", ())),
        thrown_away=tuple(_recorded(*fields) for fields in line.get("thrown_away", ())),
    )


def _effect(phase: object, leaf: object, digest: object) -> Effect:
    return Effect(_exactly(str, phase), _exactly(str, leaf), _digest(digest))


def _recorded(step: object, phase: object, leaf: object) -> Recorded:
    return Recorded(_exactly(int, step), _exactly(str, phase), _exactly(str, leaf))


def _digest(text: object) -> bytes:
    """The digest that a text of hexadecimal digits stands for, as `write` wrote it."""
    digest = bytes.fromhex(_exactly(str, text))
    if len(digest) != DIGEST_BYTES or digest.hex() != text:
        raise ValueError(f"{str(text)[:40]!r} is no digest")
    return digest


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return float(value)  # type: ignore[arg-type]  # its type was just looked at


def _json(line: str | bytes) -> Any:
    """The values of a line, in which no name stands twice."""
    return json.loads(line, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in a line of it")
    return found


def _text(path: Path) -> str:
    """The text of an ordinary file: no device or pipe, which may have no end."""
    opener = file_opener(path)
    with opener() as file:
        return file.read().decode("utf-8")


def _exactly(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or type(value) is not kind:  # True is an int, and no number of a step
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
