"""Checkpoints for a notebook to look at, where nobody names a folder: trained on the spot, at the tiny size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from dora_repro.errors import BadInput
from dora_repro.scratch import ScratchFolder
from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.training import TrainingRun

_KEPT: list[ScratchFolder] = []  # removed when the interpreter ends


def trained(config: TrainingConfig, name: str, folder: str | Path | None = None) -> Path:
    """Train, saving after each epoch.

    One thread: a small model gains nothing by more, and beside other programs loses much.

    Args:
        config: what is trained.
        name: of the folder that is made.
        folder: that it is made in; None for a temporary one, which is removed when the interpreter ends.

    Returns:
        the folder of checkpoints, `epoch1.pt` and so on.

    Raises:
        BadInput: as `TrainingRun`.
    """
    if folder is None:
        _KEPT.append(ScratchFolder("series"))
        folder = _KEPT[-1].name
    place = Path(folder) / name
    place.mkdir(parents=True, exist_ok=True)
    with _one_thread():
        run = TrainingRun(config)
        while not run.finished:
            run.step()
            if run.step_in_epoch == 0:
                run.save(place / f"epoch{run.epoch}.pt")
    return place


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def two_trained(config: TrainingConfig, folder: str = "", other: str = "") -> tuple[Path, Path | None]:
    """Two folders of checkpoints: those given, or two trained on the spot.

    Args:
        config: trained without and with its perturbation, where no folder is given.
        folder: of the first run; empty for none.
        other: of the second run; empty for none.

    Returns:
        the folders; None for the second, where only the first is given.

    Raises:
        BadInput: `other` without `folder`.
    """
    if folder:
        return Path(folder), Path(other) if other else None
    if other:
        raise BadInput(f"other={other!r} without folder: name the first folder as well")
    plain = replace(config, perturbation="none")
    return trained(plain, "plain"), trained(config, config.perturbation)
