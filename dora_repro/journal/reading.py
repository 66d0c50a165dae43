"""A journal read: its starts, what each went on from, and whether it went on as it was.

What a start found about itself is in its log. Updates that it did again are compared once more here, where it was
killed before it could say how far they agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dora_repro.checks.report import Verdict
from dora_repro.contracts import Json
from dora_repro.errors import BadInput
from dora_repro.journal.known import Source
from dora_repro.journal.layout import starts_of, updates_of
from dora_repro.journal.log import head_of, read_log
from dora_repro.journal.repeated import Repeated
from dora_repro.journal.state import StateDifference
from dora_repro.journal.updates import last_update, read_updates
from dora_repro.printable import named, one_line
from dora_repro.shown import Shown
from dora_repro.trace import Divergence

_WORST = (Verdict.DIFFERENT, Verdict.LATENT, Verdict.INCONCLUSIVE, Verdict.EXACT)


@dataclass(frozen=True)
class Start:
    """One start of a training.

    Attributes:
        number: counted from 1.
        began: when, in seconds since 1970; None where its log is damaged.
        ended: when it ended by itself; None where it was killed, or is not over.
        command: its arguments.
        host: where it ran.
        level: `light` or `full`.
        world: number of its ranks, of which the first is noted.
        updates: numbers of its first and last update; None where it did none that is still noted.
        source: what it went on from; None where it read no checkpoint of the journal.
        state: what was not as it was; None where that is not known.
        repeated: number of the updates that an earlier start had done, too, and that are equal; None where there was
            none to compare, or it is no longer there.
        differs: the first update that is not equal.
        moved: what differs of the software and hardware from that of the start it went on from, `torch 2.12 → 2.13`.
        reads: what it read that looks like a checkpoint, where none of the journal's was among it.
        earlier: whether a start before it had written a checkpoint, or its log is cut off before it says so.
        refused: whether it ended itself, as `--strict` says.
        problem: why its journal ends, or is damaged; empty for nothing.
    """

    number: int
    began: float | None
    ended: float | None
    command: tuple[str, ...]
    host: str
    level: str
    world: int
    updates: tuple[int, int] | None
    source: Source | None
    state: StateDifference | None
    repeated: int | None
    differs: Divergence | None
    moved: tuple[str, ...]
    reads: tuple[str, ...]
    earlier: bool
    refused: bool
    problem: str

    @property
    def verdict(self) -> Verdict | None:
        """Whether it went on as it was; None where nothing had been saved that it could go on from.

        `DIFFERENT`: an update that was done again differs. `LATENT`: the updates are equal, or there is none to
        compare, but something is not as it was when the checkpoint was written. `EXACT`: all that a training works with
        is as it was, and so are the updates that could be compared. `INCONCLUSIVE`: that is not known.
        """
        if self.source is None:
            return Verdict.INCONCLUSIVE if self.earlier else None
        if self.differs is not None:
            return Verdict.DIFFERENT
        if self.state is None:
            return Verdict.INCONCLUSIVE
        if self.state.lost:
            return Verdict.LATENT
        return Verdict.INCONCLUSIVE if self.state.unknown and not self.repeated else Verdict.EXACT

    def to_dict(self) -> dict[str, Json]:
        """As plain data."""
        source, state, differs = self.source, self.state, self.differs
        return {
            "start": self.number,
            "began": self.began,
            "ended": self.ended,
            "command": list(self.command),
            "host": self.host,
            "level": self.level,
            "updates": None if self.updates is None else list(self.updates),
            "resumed_from": None if source is None else source.to_dict(),
            "state": None if state is None else state.to_dict(),
            "repeated": self.repeated,
            "differs": None
            if differs is None
            else {"update": differs.step, "phase": differs.phase, "leaf": differs.leaf},
            "refused": self.refused,
            "problem": self.problem,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, repr=False)
class Journal(Shown):
    """All starts of a training that a journal has.

    Attributes:
        folder: where it lies.
        starts: in order.
    """

    folder: Path
    starts: Sequence[Start]

    @cached_property
    def verdict(self) -> Verdict:
        """The worst of the starts' verdicts; `INCONCLUSIVE` where none went on from another."""
        found = {start.verdict for start in self.starts}
        return next((verdict for verdict in _WORST if verdict in found), Verdict.INCONCLUSIVE)

    def to_dict(self) -> dict[str, Json]:
        """As plain data."""
        return {"journal": str(self.folder), "verdict": self.verdict, "starts": [one.to_dict() for one in self.starts]}


def read_journal(folder: str | Path) -> Journal:
    """Read a journal; what was cut off by a kill is left out, and the rest is read.

    Args:
        folder: as was given to `dora-repro watch --journal`.

    Raises:
        BadInput: there is no such folder, or no start in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(
            f"no such journal: {named(folder)}; `dora-repro watch --journal {named(folder)} -- COMMAND` keeps one"
        )
    found = starts_of(folder)
    if not found:
        raise BadInput(f"{named(folder)} has no start of a training: it is no journal, or nothing has trained yet")
    starts: list[Start] = []
    earlier = False
    for number, path in found.items():
        lines, cut = read_log(path)
        starts.append(_start(number, lines, cut, found, earlier))
        earlier = earlier or any(line.get("kind") == "wrote" for line in lines)
    return Journal(folder, starts)


def _start(number: int, lines: list[dict[str, Any]], cut: bool, folders: dict[int, Path], earlier: bool) -> Start:
    folder = folders[number]
    by_kind: dict[str, dict[str, Any]] = {line["kind"]: line for line in lines}
    head = by_kind.get("start", {})
    source, state = _source(by_kind.get("resumed"), folders)
    differs = _divergence(by_kind.get("differs"))
    repeated = by_kind["repeated"]["last"] - source.update if source and "repeated" in by_kind else None
    if source is not None and repeated is None:
        repeated, differs = (differs.step - source.update - 1, differs) if differs else _compared(folder, head, source)
    problem = one_line(by_kind.get("failed", {}).get("problem", ""))
    world = head.get("world") or ""
    return Start(
        number,
        head.get("time"),
        by_kind.get("end", {}).get("time"),
        tuple(head.get("argv") or ()),
        head.get("host") or "",
        head.get("level") or "",
        int(world) if world.isdecimal() and len(world) < 10 else 1,
        _updates(folder),
        source,
        state,
        repeated,
        differs,
        _moved(source, head),
        tuple(by_kind.get("began", {}).get("reads") or ()),
        earlier or (cut and not by_kind.keys() & {"began", "resumed"}),
        "refused" in by_kind,
        problem or ("its log is damaged or was cut off" if cut or not head else ""),
    )


def _source(
    line: dict[str, Any] | None, folders: dict[int, Path]
) -> tuple[Source, StateDifference | None] | tuple[None, None]:
    if line is None:
        return None, None
    number = line["start"]
    folder = folders.get(number, Path(f"start-{number:04d}"))
    source = Source(number, folder, line["update"], line["backwards"], tuple(line["files"]))
    state = line.get("state")
    if state is None:
        return source, None
    lost = {one_line(kind): _paths(paths) for kind, paths in state["lost"].items()}
    return source, StateDifference(state["compared"], lost, _paths(state["other"]), _paths(state["unknown"]))


def _paths(paths: list[str]) -> tuple[str, ...]:
    return tuple(map(one_line, paths))


def _divergence(line: dict[str, Any] | None) -> Divergence | None:
    if line is None:
        return None
    return Divergence(line["update"], one_line(line["phase"]), one_line(line["leaf"]), line["how"])


def _compared(folder: Path, head: dict[str, Any], source: Source) -> tuple[int | None, Divergence | None]:
    """How many updates are equal to those of the earlier start, and the first that is not."""
    reference, done = read_updates(source.folder, source.update), read_updates(folder, source.update)
    if not reference.steps or not done.steps:
        return None, None
    levels = {head.get("level"), head_of(source.folder).get("level")}
    repeated = Repeated(reference, gradients=len(levels) == 1)
    for count, step in enumerate(done.steps):
        if step.number > repeated.last:
            return count, None
        if (differs := repeated.differs(step)) is not None:
            return count, differs
    return len(done.steps), None


def _moved(source: Source | None, head: dict[str, Any]) -> tuple[str, ...]:
    """What differs of the software and hardware."""
    before = None if source is None else head_of(source.folder).get("environment")
    now = head.get("environment")
    if before is None or now is None:
        return ()
    one, other = _flat(before), _flat(now)
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return tuple(one_line(f"{name} {one.get(name, 'none')} → {other.get(name, 'none')}") for name in names)


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
    flags = environment.get("flags")
    return {**environment, **(flags if isinstance(flags, dict) else {}), "flags": None}


def _updates(folder: Path) -> tuple[int, int] | None:
    files, last = updates_of(folder), last_update(folder)
    return None if last is None else (min(files) + 1, last)
