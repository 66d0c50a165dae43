"""What kept evidence shows in words and tables: pure functions from it to text."""

from collections import Counter
from collections.abc import Sequence

from dora_repro.comparison.stepwise import Sides
from dora_repro.kept.opening import KeptReport
from dora_repro.kept.transplants import Transplanted, Transplants
from dora_repro.show.lost import left_out
from dora_repro.show.tables import table, trial_table
from dora_repro.widgets.differences.text import RUNS
from dora_repro.wording import counted, differ

LOST = ("component", "leaves", "how", "what the check says of it")
MADE = ("put back", "what came of it")


def lost_rows(transplants: Transplants) -> list[tuple[str, str, str, str]]:
    """A row for each component of what differs right after loading: what became of it, and whether it matters."""
    report = transplants.report.report
    kinds = {each.path: each.kind for each in report.lost}
    words = {"value": "other values", "type": "other types", "dtype": "other dtypes", "shape": "other shapes"}
    words["order"] = "keys in another order"
    rows = []
    for name, leaves in transplants.components.items():
        count = Counter(kinds[path] for path in leaves)
        how = ", ".join(
            f"{words.get(kind, kind)}{f' ({number})' if len(count) > 1 else ''}" for kind, number in count.items()
        )
        rows.append((name, str(len(leaves)), how, _said_of(transplants, leaves)))
    return rows


def _said_of(transplants: Transplants, leaves: Sequence[str]) -> str:
    """What the check found out on a component, in words; empty where it did not look."""
    report = transplants.report.report
    found, several = report.explanation, {*leaves}
    if found is not None and several <= {*found.leaves}:
        return "makes the difference" if len(several) == len(found.leaves) else "part of what makes the difference"
    if found is not None and several & {*found.leaves}:
        return "some of it makes the difference"
    reasons = [reason for reason, paths in left_out(report).items() if several <= {*paths}]
    if found is not None and found.causes and several <= {*found.harmless}:
        return "without effect, once the cause is put back"
    return reasons[0] if reasons else ""


def lost_text(transplants: Transplants) -> str:
    """The same as text."""
    rows = lost_rows(transplants)
    return table(LOST, rows) if rows else "nothing differs right after loading"


def trials_text(transplants: Transplants) -> str:
    """The trials of the explanation, and the transplants that were made since."""
    report = transplants.report.report
    made = made_text(transplants.made)
    if report.explanation is None or not report.explanation.trials:
        return "\n\n".join(filter(None, ("The check made no trials.", made)))
    return "\n\n".join(filter(None, (trial_table(report), made)))


def made_text(made: Sequence[Transplanted]) -> str:
    """The transplants that were made, in order; empty where there are none."""
    if not made:
        return ""
    return "\n".join((f"{counted(len(made), 'transplant')} made since:", *map(str, made)))


def transplant_text(transplants: Transplants, globs: str) -> str:
    """Make a transplant, and say what came of it; or why none was made.

    Args:
        transplants: makes it.
        globs: of leaves to put back, separated by spaces; empty for no transplant.

    Raises:
        BadInput: a glob matches nothing that was lost.
    """
    if transplants.possible:
        return f"No transplant can be made: {transplants.possible}."
    return str(transplants.make(*globs.split())) if globs else "No transplant was asked for."


def differences_text(report: KeptReport) -> str:
    """How both runs differ at each step of which states or parameters were stored, a line for each."""
    expected, actual = report.stored
    if not expected:
        return "no state of both runs was stored"
    sides = Sides(expected, actual, RUNS)
    return "\n".join(
        f"step {step}: {len(sides.differing(step))} of {counted(len(sides.leaves(step)), 'leaf')} "
        f"{differ(len(sides.differing(step)), len(sides.leaves(step)))}"
        for step in sides.steps
    )
