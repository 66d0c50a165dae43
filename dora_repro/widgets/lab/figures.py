"""Figures of a lab: the losses of both runs, and the batches that they have last seen."""

import pickle
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dora_repro.lab.lab import Lab
from dora_repro.lab.process import Process
from dora_repro.show.style import COLOURS, INK, WIDTH, styled

IMAGES = 8  # of a batch


@styled
def losses(lab: Lab) -> Figure:
    """Draw the loss of each step: of the uninterrupted run, and of each process of the interrupted one.

    Args:
        lab: with both runs.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    reference = {} if lab.reference is None else lab.reference.losses
    shown = {step: loss for step, loss in reference.items() if step <= lab.reference_steps}
    axes.plot(list(shown), list(shown.values()), color=COLOURS[0], linewidth=4, alpha=0.7, label="uninterrupted")
    for index, process in enumerate(lab.processes):
        name = "interrupted" if index == 0 else f"resumed at step {process.start}"
        axes.plot(
            list(process.losses),
            list(process.losses.values()),
            "o--",
            color=COLOURS[1 + index % 4],
            markersize=4,
            label=name,
        )
    for process in lab.processes[1:]:
        axes.axvline(process.start + 0.5, color=INK, linestyle=":", linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss before the update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not shown:
        axes.text(0.5, 0.5, "no step has been done yet", transform=axes.transAxes, ha="center")
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@styled
def batches(lab: Lab) -> Figure:
    """Draw the samples that each run saw in the last step of the interrupted one; those that differ are framed.

    Args:
        lab: with both runs.
    """
    processes = (lab.reference, lab.current) if lab.reference is not None and lab.processes else (None, None)
    step = lab.current.done if lab.processes else 0
    one, other = (_batch(process, step) for process in processes)
    count = max(0 if batch is None else len(batch) for batch in (one, other))
    if not count:
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0))
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no loader has handed out a batch yet", transform=axes.transAxes, ha="center")
        return figure
    figure, panels = plt.subplots(2, count, figsize=(WIDTH, 2.5), squeeze=False)
    _draw_batch(panels[0], one, other)
    _draw_batch(panels[1], other, one)
    for row, name in zip(panels, ("uninterrupted", "interrupted"), strict=True):
        row[0].set_title(name, loc="left", fontsize=9)
    if one is None or other is None:
        compared = "one of the runs got no batch in this step, or was loaded after it"
    else:
        compared = "the same samples" if torch.equal(one, other) else "framed samples differ"
    figure.suptitle(f"step {step}: {compared}", fontsize=9, x=0.99, ha="right")
    return figure


def _draw_batch(panels: Sequence[Axes], batch: Tensor | None, other: Tensor | None) -> None:
    """Draw samples in a row; framed where the other run's differ."""
    for column, axes in enumerate(panels):
        axes.set_xticks([])
        axes.set_yticks([])
        framed = False
        if batch is not None and column < len(batch):
            _draw_sample(axes, batch[column])
            framed = other is not None and not (column < len(other) and torch.equal(batch[column], other[column]))
        for spine in axes.spines.values():
            spine.set_visible(framed)
            spine.set(color=COLOURS[1], linewidth=3)


def _batch(process: Process | None, step: int) -> Tensor | None:
    """Return the first tensor that a loader handed out in a step, up to `IMAGES` samples of it."""
    handed = () if process is None else process.streams.batches.get(step, ())
    if not handed or not handed[0]:
        return None
    batch = pickle.loads(handed[0])  # pickled by this process itself
    while isinstance(batch, (list, tuple, dict)) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return batch[:IMAGES] if isinstance(batch, Tensor) and batch.dim() else None


def _draw_sample(axes: Axes, sample: Tensor) -> None:
    """Draw an image as such, channels first; anything else as a strip of its numbers."""
    values = sample.detach().to(torch.float64).resolve_neg().numpy()
    if values.ndim == 3 and values.shape[0] in (1, 3):
        low, high = np.nanmin(values), np.nanmax(values)
        image = (np.moveaxis(values, 0, -1) - low) / ((high - low) or 1.0)
        axes.imshow(image if values.shape[0] == 3 else image[..., 0], cmap="gray")
    else:
        strip = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
        axes.imshow(strip, aspect="auto", cmap="viridis", interpolation="nearest")
