"""The distance of a resumed run's losses from those of the uninterrupted one, epoch by epoch, in per cent."""

from collections.abc import Mapping

from dora_repro.checks.report import Report
from dora_repro.trace import Trace


def loss_distances(report: Report, per_epoch: int) -> list[tuple[int, float]]:
    """The distance of the mean training loss: (epochs after loading, per cent), epoch by epoch.

    Args:
        report: of a check of whole epochs.
        per_epoch: number of steps per epoch.
    """
    reference, resumed = _losses_by_step(report.reference), _losses_by_step(report.resumed)
    found = []
    for epoch, begin in enumerate(range(report.save_at + 1, report.steps - per_epoch + 2, per_epoch), 1):
        steps = range(begin, begin + per_epoch)
        if all(step in reference and step in resumed for step in steps):
            expected, actual = sum(reference[step] for step in steps), sum(resumed[step] for step in steps)
            found.append((epoch, 100 * abs(actual - expected) / abs(expected)))
    return found


def _losses_by_step(trace: Trace | None) -> dict[int, float]:
    return {} if trace is None else {step.number: step.loss for step in trace.steps if step.loss is not None}


def validation_distances(report: Report, per_epoch: int, history: str = "validation_losses") -> list[tuple[int, float]]:
    """The same for a loss that both sides measured once an epoch and kept in a list.

    Args:
        report: of a check of whole epochs.
        per_epoch: number of steps per epoch.
        history: the path of the list.

    Raises:
        ValueError: a side has no such list.
    """
    sides = [report.histories.get(side, {}) for side in ("reference", "resumed")]
    if any(history not in side for side in sides):
        raise ValueError(f"there is no history {history!r} on both sides")
    epochs = (report.steps - report.save_at) // per_epoch  # a resumed run may have lost what it had before
    expected, actual = (side[history][-epochs:] for side in sides)
    pairs = enumerate(zip(expected, actual, strict=True), 1)
    return [(epoch, 100 * abs(other - one) / abs(one)) for epoch, (one, other) in pairs]


def distances_by_fork(reports: Mapping[int, Report], per_epoch: int) -> dict[str, list[tuple[int, float]]]:
    """Both distances of several runs, each forked off one run after some epochs: by name, for `figures.growth`.

    Args:
        reports: epoch after which the run was forked -> its report.
        per_epoch: number of steps per epoch.
    """
    found = {}
    for epoch, report in reports.items():
        found[f"training, forked after epoch {epoch}"] = loss_distances(report, per_epoch)
        found[f"validation, forked after epoch {epoch}"] = validation_distances(report, per_epoch)
    return found
