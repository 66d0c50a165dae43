"""The study's two tests and their relatives, for the kit's own subject: `quick`, `full`, and a resume from every step.

Each is one of the checks of `checks.py` on a `TrainingRun`, with the study's numbers as defaults.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace

from dora_repro.checks import checks
from dora_repro.checks.report import Report, Reports
from dora_repro.errors import BadInput
from dora_repro.sides.processes import Interpreters
from dora_repro.subject.config import NEEDS, TrainingConfig


def quick(config: TrainingConfig | None = None, *, steps: int = 3, save_at: int = 2, **options: object) -> Report:
    """The study's quick test: `steps` steps on one dummy batch against `save_at` steps, save, load and the rest.

    Args:
        config: what is trained and what its checkpoints hold; data, order and number of epochs are the test's own.
        options: of `check`.
    """
    config = quick_config(config, steps)
    return _ask(checks.check, config, title="quick", **{"steps": steps, "save_at": save_at, **options})


def quick_config(config: TrainingConfig | None = None, steps: int = 3) -> TrainingConfig:
    """A configuration with what is the quick test's own: one dummy batch, in a fixed order, for so many steps."""
    own = {"data": "synthetic", "images": None, "targets": None, "shuffle": False, "steps_per_epoch": None}
    return replace(config or TrainingConfig(), epochs=max(steps, 1), **own)


def full(
    config: TrainingConfig | None = None,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = 10,
    test_epoch: int = 3,
    **options: object,
) -> Report:
    """The study's full test: train on real data, save after epoch `test_epoch` − 1, resume, and compare to the end.

    Args:
        epochs: the last epoch that is compared; by default `test_epoch`.
        steps_per_epoch: batches in each epoch; None for all.
        options: of `check`.
    """
    epochs = test_epoch if epochs is None else epochs
    if not 1 <= test_epoch <= epochs:
        raise BadInput(f"test_epoch={test_epoch}: give an epoch from 1 to epochs={epochs}")
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    per_epoch = steps_in_epoch(config)
    asked = {"steps": epochs * per_epoch, "save_at": (test_epoch - 1) * per_epoch}
    return _ask(checks.check, config, title="full", **{**asked, **options})


def every_step(
    config: TrainingConfig | None = None, *, epochs: int = 3, steps_per_epoch: int | None = 10, **options: object
) -> Reports:
    """Resume the subject from each step and each boundary between epochs, the first and the last included."""
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    return _ask(checks.every_step, config, title="every step", **{"steps": epochs * steps_in_epoch(config), **options})


def twice(
    config: TrainingConfig | None = None, *, epochs: int = 3, steps_per_epoch: int | None = 10, **options: object
) -> Reports:
    """Resume a resumed run: by default once in the middle of the first epoch and once in the middle of the last."""
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    per_epoch = steps_in_epoch(config)
    points = (max(per_epoch // 2, 1), (epochs - 1) * per_epoch + per_epoch // 2)
    return _ask(checks.twice, config, title="twice", **{"steps": epochs * per_epoch, "save_at": points, **options})


def contents_of(
    config: TrainingConfig | None = None,
    checkpoints: Sequence[str] = ("dora-only", "complete"),
    *,
    epochs: int = 4,
    steps_per_epoch: int | None = 10,
    save_at: int = 12,
    **options: object,
) -> dict[str, Report]:
    """The same training, saved after the same step with different contents: a check for each, by content."""
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    # Side by side they are compared, not explained, unless that is asked for.
    asked = {"steps": epochs * steps_in_epoch(config), "save_at": save_at, "explain": False, **options}
    reports = {}
    with Interpreters(NEEDS) as interpreters:
        for index, name in enumerate(checkpoints):
            interpreters.later = 0 if options.get("in_process") else 2 * (len(checkpoints) - index - 1)
            one = replace(config, checkpoint=name)
            reports[name] = _ask(checks.check, one, title=name, interpreters=interpreters, **asked)
    return reports


def steps_in_epoch(config: TrainingConfig) -> int:
    """Optimizer steps in one epoch of a config, without building its model."""
    from dora_repro.subject.training import batches_per_epoch

    return batches_per_epoch(config)


def _ask(question, config: TrainingConfig, **options: object):
    from dora_repro.subject.training import TrainingRun

    expected_loss = (*options.pop("expected_loss", ()), *unread(config))
    return question(functools.partial(TrainingRun, config), expected_loss=expected_loss, preload=NEEDS, **options)


def unread(config: TrainingConfig) -> tuple[str, ...]:
    """Globs of the memory that these checkpoints leave out by choice and that matters only once it is read.

    A generator that is lost shows as soon as a number is drawn that has an effect; a counter of early stopping, where
    nothing stops early, never. The report lists what of it was lost.
    """
    globs: list[str] = []
    if "rng" not in config.parts:
        globs += ["rng/*"]
    if "data" not in config.parts:
        globs += ["feed/*generator*", "feed/seed_state", "validation_generator"]
    if "progress" not in config.parts and not config.early_stopping:
        globs += ["best_validation_loss", "epochs_without_improvement"]
    return tuple(globs)
