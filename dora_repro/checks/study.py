"""The study's two tests and their relatives, for the kit's own subject: `quick`, `full`, and a resume from every step.

Each is one of the checks of `checks.py` on a `TrainingRun`, with the study's numbers as defaults. The functions whose
names end in `_request` say what is asked; the command line adds who listens.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Unpack

from dora_repro.checks.options import Options, SideOptions, lists_its_options, request_of
from dora_repro.checks.report import Report, Reports
from dora_repro.checks.request import Request
from dora_repro.checks.running import run_check, run_every_step, run_twice
from dora_repro.errors import BadInput
from dora_repro.sides.interpreters import Interpreters
from dora_repro.subject.config import NEEDS, TrainingConfig


@lists_its_options
def quick(
    config: TrainingConfig | None = None, *, steps: int = 3, save_at: int = 2, **options: Unpack[Options]
) -> Report:
    """The study's quick test: `steps` steps on one dummy batch against `save_at` steps, save, load and the rest.

    Args:
        config: what is trained and what its checkpoints hold; data, order and number of epochs are the test's own.
        steps: optimizer steps to do.
        save_at: save after this step; 0 is before any.
        options: those of `check`.

    Raises:
        BadInput: as for `check`.
        TypeError: an option that does not exist.
    """
    return run_check(quick_request(config, steps=steps, save_at=save_at, **options))


def quick_request(
    config: TrainingConfig | None = None, *, steps: int = 3, save_at: int = 2, **options: Unpack[Options]
) -> Request:
    """What `quick` asks."""
    return _request("quick", quick_config(config, steps), steps, (save_at,), options)


def quick_config(config: TrainingConfig | None = None, steps: int = 3) -> TrainingConfig:
    """A configuration with what is the quick test's own: one dummy batch, in a fixed order, for `steps` steps."""
    return replace(
        config or TrainingConfig(),
        epochs=max(steps, 1),
        data="synthetic",
        images=None,
        targets=None,
        shuffle=False,
        steps_per_epoch=None,
    )


@lists_its_options
def full(
    config: TrainingConfig | None = None,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = 10,
    test_epoch: int = 3,
    **options: Unpack[Options],
) -> Report:
    """The study's full test: train on real data, save after epoch `test_epoch` − 1, resume, and compare to the end.

    Args:
        config: what is trained and what its checkpoints hold.
        epochs: the last epoch that is compared; by default `test_epoch`.
        steps_per_epoch: batches in each epoch; None for all.
        test_epoch: the first epoch of the resumed run, counted from 1.
        options: those of `check`.

    Raises:
        BadInput: as for `check`, and where `test_epoch` is not one of the epochs.
        TypeError: an option that does not exist.
    """
    return run_check(
        full_request(config, epochs=epochs, steps_per_epoch=steps_per_epoch, test_epoch=test_epoch, **options)
    )


def full_request(
    config: TrainingConfig | None = None,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = 10,
    test_epoch: int = 3,
    **options: Unpack[Options],
) -> Request:
    """What `full` asks."""
    epochs = test_epoch if epochs is None else epochs
    if not 1 <= test_epoch <= epochs:
        raise BadInput(f"test_epoch={test_epoch}: give an epoch from 1 to epochs={epochs}")
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    per_epoch = steps_in_epoch(config)
    return _request("full", config, epochs * per_epoch, ((test_epoch - 1) * per_epoch,), options)


@lists_its_options
def every_step(
    config: TrainingConfig | None = None,
    *,
    epochs: int = 3,
    steps_per_epoch: int | None = 10,
    save_at: Iterable[int] | None = None,
    **options: Unpack[Options],
) -> Reports:
    """Resume the subject from each step and each boundary between epochs, the first and the last included.

    Args:
        config: what is trained and what its checkpoints hold.
        epochs: epochs to train.
        steps_per_epoch: batches in each epoch; None for all.
        save_at: the steps to resume from; by default all.
        options: those of `check`.

    Raises:
        BadInput: as for `check`.
        TypeError: an option that does not exist.
    """
    return run_every_step(
        every_step_request(config, epochs=epochs, steps_per_epoch=steps_per_epoch, save_at=save_at, **options)
    )


def every_step_request(
    config: TrainingConfig | None = None,
    *,
    epochs: int = 3,
    steps_per_epoch: int | None = 10,
    save_at: Iterable[int] | None = None,
    **options: Unpack[Options],
) -> Request:
    """What `every_step` asks."""
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    steps = epochs * steps_in_epoch(config)
    points = range(steps + 1) if save_at is None else save_at
    return _request("every step", config, steps, points, options)


@lists_its_options
def twice(
    config: TrainingConfig | None = None,
    *,
    epochs: int = 3,
    steps_per_epoch: int | None = 10,
    save_at: Iterable[int] | None = None,
    **options: Unpack[Options],
) -> Reports:
    """Resume a resumed run.

    Args:
        config: what is trained and what its checkpoints hold.
        epochs: epochs to train.
        steps_per_epoch: batches in each epoch; None for all.
        save_at: two or more steps, in order; by default the middle of the first epoch and the middle of the last.
        options: those of `check`.

    Raises:
        BadInput: as for `check`.
        TypeError: an option that does not exist.
    """
    return run_twice(twice_request(config, epochs=epochs, steps_per_epoch=steps_per_epoch, save_at=save_at, **options))


def twice_request(
    config: TrainingConfig | None = None,
    *,
    epochs: int = 3,
    steps_per_epoch: int | None = 10,
    save_at: Iterable[int] | None = None,
    **options: Unpack[Options],
) -> Request:
    """What `twice` asks."""
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    per_epoch = steps_in_epoch(config)
    middles = (max(per_epoch // 2, 1), (epochs - 1) * per_epoch + per_epoch // 2)
    return _request("twice", config, epochs * per_epoch, middles if save_at is None else save_at, options)


@lists_its_options
def contents_of(
    config: TrainingConfig | None = None,
    checkpoints: Sequence[str] = ("dora-only", "complete"),
    *,
    epochs: int = 4,
    steps_per_epoch: int | None = 10,
    save_at: int = 12,
    explain: bool = False,
    **options: Unpack[SideOptions],
) -> dict[str, Report]:
    """The same training, saved after the same step with different contents: a check for each, by content.

    Args:
        config: what is trained.
        checkpoints: what the checkpoints hold, as `TrainingConfig.checkpoint`: a check for each.
        epochs: epochs to train.
        steps_per_epoch: batches in each epoch; None for all.
        save_at: save after this step.
        explain: find the cause of each difference; by default the contents are only compared, side by side.
        options: the other options of `check`.

    Raises:
        BadInput: as for `check`.
        TypeError: an option that does not exist.
    """
    config = replace(config or TrainingConfig(), epochs=epochs, steps_per_epoch=steps_per_epoch)
    steps = epochs * steps_in_epoch(config)
    asked: Options = {**options, "explain": explain}
    reports = {}
    with Interpreters(NEEDS) as interpreters:
        for index, name in enumerate(checkpoints):
            request = _request(name, replace(config, checkpoint=name), steps, (save_at,), asked)
            interpreters.later = 0 if request.in_process else 2 * (len(checkpoints) - index - 1)
            reports[name] = run_check(replace(request, interpreters=interpreters))
    return reports


def steps_in_epoch(config: TrainingConfig) -> int:
    """Optimizer steps in one epoch of a config, without building its model."""
    from dora_repro.subject.ingredients import batches_per_epoch

    return batches_per_epoch(config)


def _request(title: str, config: TrainingConfig, steps: int, points: Iterable[int], options: Options) -> Request:
    from dora_repro.subject.training import TrainingRun

    factory = functools.partial(TrainingRun, config)
    request = request_of(factory, steps, points, options, title=title, expected_loss=unread(config))
    return replace(request, preload=NEEDS)


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
