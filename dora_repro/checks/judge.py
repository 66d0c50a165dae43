"""From what differs between both sides to a verdict: no process is started here, and nothing of the run is called.

`decide` applies the order of `Verdict` to the findings (`findings.py`), with the result of the control.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from dora_repro.alignment.divergence import first_divergence, first_memory_divergence
from dora_repro.checks.findings import Findings
from dora_repro.checks.report import Control, Verdict
from dora_repro.comparison.leaves import Comparison, compare
from dora_repro.sides.evidence import Evidence
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Divergence, Trace
from dora_repro.wording import counted


def vacuous(reference: Evidence, findings: Findings, save_at: int) -> str | None:
    """Why nothing was really tested, or None; judged by the reference as a whole, and by one resumed step."""
    facts, trace = reference.result["facts"], reference.trace
    trainable = sum(facts["trainable"].values())
    by_hand = not facts["changed"] and _trains_by_hand(reference, save_at)
    if not (trainable or by_hand):
        return "the run has no trainable parameter"
    if not trace.steps:
        return "the reference did no step"
    if facts["gradients"] is False:
        return "every gradient of the reference was zero"
    if not (facts["changed"] or by_hand):
        return "no trainable parameter changed in the reference"
    losses = Counter(repr(step.loss) for step in trace.steps if step.loss is not None)
    if len(losses) == 1:
        ((loss, times),) = losses.items()
        if times > 1:
            return f"the loss of the reference never changed ({loss} at all {counted(times, 'step')})"
    if findings.steps_compared == 0 and save_at < trace.steps[-1].number:
        return "no step was done after resuming"
    return None


def _trains_by_hand(reference: Evidence, save_at: int) -> bool:
    """Whether a run without an optimizer, of which no gradient is seen, changes numbers of its own as it steps: it may
    train by `torch.func`, or by updates that it computes itself."""
    saved, end = reference.at_save(save_at), reference.end
    if reference.result["facts"]["gradients"] is not None or any(leaf.role == "option" for leaf in saved.values()):
        return False
    return any(path in end and end[path].digest != leaf.digest for path, leaf in saved.items() if _is_numbers(leaf))


def _is_numbers(leaf: SavedLeaf) -> bool:
    """Whether a leaf is several numbers, no state of a generator."""
    value = leaf.value
    if leaf.role != "memory":
        return False
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and value.numel() > 1
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 1


def repeat_divergence(first: Evidence, again: Evidence) -> Divergence | None:
    """Where a repeat of a side first differs from the first run, in effects only."""
    found = first_divergence(first.trace, again.trace)
    if found is not None:
        return found
    if (first.failure is None) != (again.failure is None):
        raising = again if again.failure else first
        return Divergence(raising.result["step"] + 1, raising.result["phase"], "run/exception", "raised")
    return None


def noise_of(first: Evidence, again: Evidence) -> tuple[str, ...]:
    """Leaves that differ between two identical runs: after loading, at a save, at the end."""
    names = ["end.pt", "load.pt", *(f"save-{step}/before.pt" for step in first.result["saves"])]
    found: dict[str, None] = {}
    for name in names:
        if (first.folder / name).exists() and (again.folder / name).exists():
            differences = compare(Snapshot.read(first.folder / name), Snapshot.read(again.folder / name)).differences
            found.update(dict.fromkeys(difference.path for difference in differences))
    return tuple(found)


def no_later(one: Divergence, other: Divergence | None, trace: Trace, save_at: int) -> bool:
    """Whether `one` comes at or before `other` in order of execution; True where there is no other."""
    return other is None or _position(one, trace, save_at) <= _position(other, trace, save_at)


def _position(divergence: Divergence, trace: Trace, save_at: int) -> tuple[int, bool, int]:
    """Where a divergence stands: its step, whether it comes after all effects of that, its place among such."""
    if divergence.phase in ("save", "load"):
        return save_at, True, divergence.phase == "load"
    step = trace.step(divergence.step)
    order = [(effect.phase, effect.leaf) for effect in step.effects] if step else []
    key = (divergence.phase, divergence.leaf)
    return divergence.step, False, order.index(key) if key in order else len(order)


def first_memory(reference: Evidence, resumed: Evidence, save_at: int, skip: Iterable[str]) -> Divergence | None:
    """The first memory that differs at the end of a step: where a loss first shows."""
    return first_memory_divergence(reference.trace, resumed.trace, save_at, frozenset(skip))


def decide(
    findings: Findings,
    empty: str | None,
    control: Control,
    latent: tuple[str, ...],
    tolerance: float | None,
    save_at: int,
    steps: int,
) -> tuple[Verdict, str]:
    """The verdict and one sentence of why.

    Args:
        findings: what differs.
        empty: what `vacuous` returned: it stops a check from passing, but does not undo a difference.
        control: the result of the control.
        latent: leaves lost at the end that are not set aside.
        tolerance: absolute; None accepts no difference.
        save_at: the step after which the run was saved.
        steps: the last step.
    """
    divergence = findings.divergence
    if control.deterministic is False:
        return (
            Verdict.INCONCLUSIVE,
            f"not deterministic: a repeat of the same side first differs at {control.divergence}",
        )
    if divergence is None and empty:
        return Verdict.INCONCLUSIVE, f"nothing was tested: {empty}"
    if (divergence or latent) and control.deterministic is None:
        return Verdict.INCONCLUSIVE, f"not controlled: it differs at {divergence or f'the end, {latent[0]}'}"
    if divergence is not None:
        if tolerance is not None and _tolerable(divergence, findings.comparisons, tolerance):
            return Verdict.WITHIN_TOLERANCE, f"within {tolerance:g}, but not exact: first differs at {divergence}"
        return Verdict.DIFFERENT, f"first differs at {divergence}"
    if latent:
        more = f" and {len(latent) - 1} more" if len(latent) > 1 else ""
        return Verdict.LATENT, f"{latent[0]}{more} lost, no effect in {counted(findings.steps_compared, 'step')}"
    if save_at >= steps or findings.steps_compared == 0:
        return Verdict.EXACT, "state alone was compared: the save was after the last step"
    effects = f"all effects of {counted(findings.steps_compared, 'step')} are equal by bytes"
    if findings.returned:
        name = findings.returned[0]
        return (
            Verdict.EXACT,
            f"{effects}; {name}() has returned, its state at the end is not compared: check fewer steps",
        )
    return Verdict.EXACT, f"{effects}, and so is the state at the end{_but_for(findings)}"


def _but_for(findings: Findings) -> str:
    """What differs at the end and was set aside, in words; empty where nothing does."""
    at_end = (difference.path for difference in findings.end)
    beside = (*findings.bookkeeping, *findings.set_by_load, *findings.reordered, *findings.overwritten)
    aside = list(dict.fromkeys((*beside, *at_end)))
    if not aside:
        return ""
    more = f" and {len(aside) - 1} more" if len(aside) > 1 else ""
    return f", but for what is set aside: {aside[0]}{more}"


def _tolerable(divergence: Divergence, comparisons: Sequence[Comparison], tolerance: float) -> bool:
    trained = [comparison for comparison in comparisons if comparison.name == "parameters"]
    return (
        divergence.kind == "value"
        and divergence.phase != "save"
        and bool(trained and trained[0].compared)
        and all(comparison.within(tolerance) for comparison in comparisons)
    )
