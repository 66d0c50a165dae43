"""The study's three comparisons as text: a line for each parameter and for the outputs, then what the bytes say."""

from collections.abc import Callable
from dataclasses import dataclass

from dora_repro.checks.report import Report, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.difference import LeafDifference

SHOWN = 40  # lines, before the rest is counted only


@dataclass(frozen=True)
class Wording:
    """How a report is worded.

    Attributes:
        names: gives the name that is shown for a leaf's path.
        verbose: whether every parameter, leaf and trial is listed.
        parameters: what the trained parameters are called.
        timed: whether the seconds are given.
    """

    names: Callable[[str], str] = str
    verbose: bool = False
    parameters: str = "Parameters"
    timed: bool = True


@dataclass(frozen=True)
class Block:
    """A paragraph of a report.

    Attributes:
        title: what it is about, in a line.
        lines: what it says, a line each.
        outcome: what a comparison came to; empty for other paragraphs.
    """

    title: str
    lines: tuple[str, ...] = ()
    outcome: str = ""

    @property
    def text(self) -> str:
        """The paragraph as lines of text, the outcome last."""
        return "\n".join([self.title, *self.lines, *([f"  {self.outcome}"] if self.outcome else [])])


def section(report: Report, comparison: Comparison, wording: Wording) -> Block:
    """One of the three comparisons: a line for each parameter, or for the outputs."""
    last = report.save_at + resumed_steps(report)
    headings = {
        "load": f"{wording.parameters} right after loading (step {report.save_at})",
        "parameters": f"{wording.parameters} after training on (step {last})",
        "outputs": "Outputs on the same input in eval mode",
    }
    accepted = report.tolerance if report.verdict is Verdict.WITHIN_TOLERANCE else None
    lines = _output_lines if comparison.name == "outputs" else _parameter_lines
    heading = headings.get(comparison.name, comparison.name)
    return Block(heading, tuple(lines(comparison, accepted, wording)), byte_verdict(comparison, report.tolerance))


def byte_verdict(comparison: Comparison, asked: float | None = None) -> str:
    """What the bytes say of a comparison, and what the tolerances say beside.

    Args:
        comparison: one of the three.
        asked: the tolerance that the user asked for, if any.
    """
    if not comparison.compared:
        return "nothing to compare"
    if comparison.equal:
        return "exact by bytes"
    words = ["not exact"]
    if comparison.tolerance is not None:
        place = "within" if comparison.within_tolerance else "beyond"
        words.append(f"{place} the study's tolerance {comparison.tolerance:g}")
    if asked is not None:
        words.append(f"{'within' if comparison.within(asked) else 'beyond'} the tolerance asked for, {asked:g}")
    equal = len(comparison.compared) - len(comparison.differences)
    return f"{'; '.join(words)} ({equal} of {len(comparison.compared)} equal by bytes)"


def _parameter_lines(comparison: Comparison, accepted: float | None, wording: Wording) -> list[str]:
    differing = {difference.path: difference for difference in comparison.differences}
    if wording.verbose or len(comparison.compared) <= SHOWN:
        shown = list(comparison.compared)
    else:
        shown = [path for path in comparison.compared if path in differing][:SHOWN]
    lines = [_parameter_line(path, differing.get(path), accepted, wording) for path in shown]
    left = len(differing) - sum(path in differing for path in shown)
    if left:
        lines.append(f"… and {left} more that differ")
    equal = len(comparison.compared) - len(differing)
    if equal and equal != sum(path not in differing for path in shown):
        lines.append(f"✓ {equal} {'more' if differing else 'parameters'}: max diff = 0.00e+00")
    return lines


def _parameter_line(path: str, found: LeafDifference | None, accepted: float | None, wording: Wording) -> str:
    if found is None:
        return f"✓ {wording.names(path)}: max diff = 0.00e+00"
    fine = accepted is not None and found.within(accepted)
    return f"{'✓' if fine else '✗'} {wording.names(path)}: {_size(found)}"


def _size(found: LeafDifference) -> str:
    if found.kind != "value" or found.max_abs is None or not found.total:
        return found.how
    largest, *others = found.sizes
    return f"{largest}  ({', '.join((found.elements, *others))})"


def _output_lines(comparison: Comparison, accepted: float | None, wording: Wording) -> list[str]:
    size = f"(max diff: {comparison.max_abs:.2e})"
    if comparison.equal or (accepted is not None and comparison.compared and comparison.within(accepted)):
        return [f"✓ Outputs match {size}"]
    lines = [f"✗ Outputs differ {size}"] if comparison.compared else ["✗ No outputs"]
    if len(comparison.compared) > 1:
        lines += _parameter_lines(comparison, accepted, wording)
    return lines


def resumed_steps(report: Report) -> int:
    """How many steps the resumed run did, as far as the report knows."""
    return report.steps_done.get("resumed", report.steps - report.save_at)
