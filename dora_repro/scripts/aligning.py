"""Which step of the uninterrupted run a resumed process went on from.

Files tell: the resumed process reads what the killed one had written, and it is known after which step that was. Where
it read none, the state before its first training step is compared with that after each step of the uninterrupted run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_repro.scripts.files import Entry, may_be_checkpoint
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import STEP_END, Trace, unnumbered

ENOUGH = 0.5  # of the leaves that move must be those after a step, to say that a run goes on from there


@dataclass(frozen=True)
class Alignment:
    """Where a resumed process goes on.

    Attributes:
        step: the number of steps that were done when what it loaded was saved.
        by: `files`, `state` or `option`: how that is known.
        files: what it read, relative to `{out}`; empty unless the files tell.
        backwards: number of backward passes that had been done since the last update: not 0 where it was saved inside
            an accumulation window.
        others: after which steps further files were written that it read.
        share: share of the leaves that move which are as after this step, and of the next best step; None unless the
            state tells.
    """

    step: int
    by: str
    files: tuple[str, ...] = ()
    backwards: int = 0
    others: frozenset[int] = frozenset()
    share: tuple[float, float] | None = None

    @property
    def words(self) -> str:
        """How the two runs were aligned, in a sentence."""
        if self.by == "files":
            more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
            return f"Resumed from {self.files[0]}{more}, written after step {self.step}."
        if self.by == "state" and self.files and self.share is not None:
            return (
                f"Resumed from {self.files[0]}, which was written later than its state was taken: it is the state "
                f"after step {self.step} (its parameters are those by bytes)."
            )
        if self.by == "state" and self.share is not None:
            best, next_best = self.share
            return (
                "It was not seen to read a file that the killed run wrote. Its state is nearest to that after step "
                f"{self.step}: {best:.0%} of what moves is equal ({next_best:.0%} after the next best step)."
            )
        return f"Compared as resumed after step {self.step}, as --at-step says."


def aligned_by_files(written: Iterable[Entry], read: Iterable[Entry], out: Path) -> Alignment | None:
    """The step after which the youngest file was written that the resumed process read before its first update.

    Args:
        written: the ledger of the killed process.
        read: that of the resumed one.
        out: the folder of both.

    Returns:
        None where it read no such file.
    """
    last = {entry["path"]: entry for entry in written if entry["kind"] == "wrote"}
    found = [
        last[entry["path"]]
        for entry in read
        if entry["kind"] == "read" and not entry["step"] and entry["path"] in last
        if entry["stamp"][:2] == last[entry["path"]]["stamp"][:2]
    ]
    found = [entry for entry in found if may_be_checkpoint(entry["path"])] or found
    if not found:
        return None
    youngest = max(found, key=lambda entry: (entry["step"], entry["backwards"]))
    others = frozenset(entry["step"] for entry in found) - {youngest["step"]}
    names = [relative(entry["path"], out) for entry in found if entry["step"] == youngest["step"]]
    return Alignment(youngest["step"], "files", tuple(dict.fromkeys(names)), youngest["backwards"], others)


def corrected_by_state(found: Alignment, reference: Trace, first: Snapshot) -> Alignment:
    """What files tell, unless the state is certainly that after another step: of a copy that a thread wrote later.

    Args:
        found: what files tell.
        reference: the uninterrupted run.
        first: the state of the resumed process before its first training forward pass.
    """
    trained = {step: parameters for step, parameters in _parameters(reference) if parameters}
    alike = [step for step, parameters in trained.items() if all(_equal(first, parameters))]
    if len(alike) != 1 or alike[0] >= found.step or alike[0] in found.others or found.step not in trained:
        return found
    if any(_equal(first, trained[found.step])):
        return found
    return Alignment(alike[0], "state", found.files, share=(1.0, 0.0))


def _parameters(trace: Trace) -> Iterable[tuple[int, Mapping[str, bytes]]]:
    """The digests of the trained parameters after each step."""
    parameters: dict[str, bytes] = {}
    for step in trace.steps:
        ends = (e for e in step.effects if unnumbered(e.phase) in ("update", STEP_END))
        parameters = {**parameters, **{effect.leaf: effect.digest for effect in ends}}
        yield step.number, parameters


def _equal(first: Snapshot, parameters: Mapping[str, bytes]) -> Iterable[bool]:
    return (path in first and first[path].digest == digest for path, digest in parameters.items())


def relative(path: str, out: Path) -> str:
    """The name of a file in `{out}`."""
    real = out.resolve()
    return Path(path).relative_to(real).as_posix() if Path(path).is_relative_to(real) else path


def aligned_by_state(reference: Trace, first: Snapshot) -> Alignment | None:
    """The step of the uninterrupted run after which most of what moves is as it is before a process's first step.

    Leaves that the process lacks count as different: a checkpoint without moments is not nearer to the beginning.

    Args:
        reference: the uninterrupted run.
        first: the state of the other before its first training forward pass.

    Returns:
        None where no step is near, or the beginning is nearest.
    """
    shares = _shares(reference, first)
    if not shares:
        return None
    order = sorted(shares, key=lambda number: (shares[number], number), reverse=True)
    best = order[0]
    next_best = shares[order[1]] if len(order) > 1 else 0.0
    if best == 0 or shares[best] < ENOUGH or shares[best] == next_best:
        return None
    return Alignment(best, "state", share=(shares[best], next_best))


def _shares(reference: Trace, first: Snapshot) -> dict[int, float]:
    """By step, the share of the leaves that move which are as after it; empty where none moves."""
    states = dict(_states(reference))
    moving = _moving(states.values())
    here = {path: leaf.digest for path, leaf in first.items()}
    return {
        number: sum(state.get(path) == here.get(path) for path in moving) / len(moving)
        for number, state in states.items()
        if moving
    }


def _states(trace: Trace) -> Iterable[tuple[int, dict[str, bytes]]]:
    """The digests of memory and trained parameters after each step; step 0 has the memory alone."""
    yield 0, dict(trace.start)
    for (number, memory), (_, parameters) in zip(trace.memory(), _parameters(trace), strict=True):
        yield number, {**memory, **parameters}


def _moving(states: Iterable[Mapping[str, bytes]]) -> Sequence[str]:
    """The leaves that are not the same after every step."""
    seen: dict[str, set[bytes | None]] = {}
    every = list(states)
    for path in {path for state in every for path in state}:
        seen[path] = {state.get(path) for state in every}
    return sorted(path for path, digests in seen.items() if len(digests) > 1)
