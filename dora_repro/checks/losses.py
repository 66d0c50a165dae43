"""How far the losses of a resumed run are from those of the uninterrupted one, epoch by epoch."""

from collections.abc import Mapping

from dora_repro.checks.report import Report


def losses_apart(report: Report, per_epoch: int) -> list[tuple[int, float]]:
    """(epochs after loading, how far the resumed run's mean loss is from the other's, in per cent), epoch by epoch."""
    sides = [{step.number: step.loss for step in trace.steps} for trace in (report.reference, report.resumed)]
    found = []
    for epoch, begin in enumerate(range(report.save_at + 1, report.steps - per_epoch + 2, per_epoch), 1):
        steps = range(begin, begin + per_epoch)
        if all(step in side for side in sides for step in steps):
            expected, actual = (sum(side[step] for step in steps) for side in sides)
            found.append((epoch, 100 * abs(actual - expected) / abs(expected)))
    return found


def validation_apart(report: Report, per_epoch: int, history: str = "validation_losses") -> list[tuple[int, float]]:
    """The same of a loss that both sides measured once an epoch and kept in a list.

    Raises:
        ValueError: they kept none of that name.
    """
    kept = [report.histories.get(side, {}).get(history) for side in ("reference", "resumed")]
    if None in kept:
        raise ValueError(f"there is no history {history!r} on both sides")
    epochs = (report.steps - report.save_at) // per_epoch  # a resumed run may have lost what it had before
    expected, actual = (values[-epochs:] for values in kept)
    pairs = enumerate(zip(expected, actual, strict=True), 1)
    return [(epoch, 100 * abs(other - one) / abs(one)) for epoch, (one, other) in pairs]


def drifts(reports: Mapping[int, Report], per_epoch: int) -> dict[str, list[tuple[int, float]]]:
    """How far both losses of runs are off, forked off one after the given epochs: by name, for `figures.growth`."""
    found = {}
    for epoch, report in reports.items():
        found[f"training, forked after epoch {epoch}"] = losses_apart(report, per_epoch)
        found[f"validation, forked after epoch {epoch}"] = validation_apart(report, per_epoch)
    return found
