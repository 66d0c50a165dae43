"""Several checks side by side, as text: what each checkpoint loses, how far its run drifts, whether as expected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dora_repro.checks.expectation import expectation
from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.errors import BadInput
from dora_repro.show.groups import grouped
from dora_repro.show.why import trial_result
from dora_repro.subject.config import TrainingConfig


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces, under their heads.

    Args:
        heads: the head of each column.
        rows: the cells of each row.
    """
    # The rule of the last column is as wide as its head: longer cells may wrap at the end of a page, a rule may not.
    widths = [max(len(str(row[column])) for row in (heads, *rows)) for column in range(len(heads) - 1)]
    widths.append(len(heads[-1]))
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def trial_table(report: Report) -> str:
    """The trials of an explanation: what was restored, and what came of it."""
    trials = report.explanation.trials if report.explanation is not None else ()
    rows = [
        (str(number), trial_result(trial).partition(":")[0], str(trial.result.steps), trial.put_back)
        for number, trial in enumerate(trials, 1)
    ]
    return table(("trial", "result", "steps", "restored"), rows)


def lost_leaves(report: Report) -> str:
    """What differs right after loading, a line for each kind of leaf."""
    return "\n".join(grouped(report.lost)) or "nothing differs right after loading"


def lost_table(reports: Mapping[str, Report]) -> str:
    """For each report: the verdict, where it first differs, and how many leaves of what differ right after loading.

    Args:
        reports: by the name of what was checked.
    """
    rows = []
    for name, report in reports.items():
        set_aside = {*report.set_aside.bookkeeping, *report.set_aside.noise}
        lost = Counter(
            difference.path.partition("/")[0]
            for difference in report.lost
            if difference.role != "gradient" and difference.path not in set_aside
        )
        first = report.divergence
        where = "nowhere" if first is None else f"step {first.step}, {first.phase}"
        rows.append(
            (name, report.verdict, where, ", ".join(f"{root} {count}" for root, count in lost.items()) or "nothing")
        )
    return table(("checkpoint", "verdict", "first differs at", "leaves lost"), rows)


def drift_table(reports: Mapping[str, Report], after: Sequence[int] = (1, 5, 20)) -> str:
    """For each report: the largest difference of any parameter, some steps after loading.

    Args:
        reports: by the name of what was checked, each with its drift (a check with `values`).
        after: numbers of steps.

    Raises:
        BadInput: a run did not go that far, or was checked without `values`.
    """
    drifts = {name: _drift(name, report) for name, report in reports.items()}
    rows = [(name, *(f"{drift.after(steps):.2e}" for steps in after)) for name, drift in drifts.items()]
    return table(("checkpoint", *(f"after {steps}" for steps in after)), rows)


def _drift(name: str, report: Report) -> Drift:
    if report.drift is None:
        raise BadInput(f"{name} has no drift: ask the check for values, as in values='model/*'")
    return report.drift


def expectation_table(config: TrainingConfig, reports: Mapping[str, Report]) -> str:
    """For each checkpoint content: its verdict, and why that was to be expected.

    Args:
        config: of the training, whatever the checkpoint holds.
        reports: by what the checkpoint holds.

    Raises:
        UnexpectedVerdict: a verdict that was not to be expected.
    """
    checked = {name: expectation(replace(config, checkpoint=name)).check(report) for name, report in reports.items()}
    rows = [(name, one.verdict, one.expectation.reason) for name, one in checked.items()]
    return table(("checkpoint", "verdict", "as expected, since"), rows)
