"""What a lab shows, as figures: the losses of both runs, and the batches that they have just seen."""

import pickle

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dora_repro.lab.lab import Lab
from dora_repro.lab.process import Life
from dora_repro.show.figures import COLOURS, WIDTH, styled

IMAGES = 8  # of a batch


@styled
def losses(lab: Lab) -> Figure:
    """The loss of each step: of the uninterrupted run, and of each life of the interrupted one."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.8))
    told = {step: loss for step, loss in lab.reference.losses.items() if step <= lab.told} if lab.reference else {}
    axes.plot(list(told), list(told.values()), color=COLOURS[0], linewidth=4, alpha=0.5, label="uninterrupted")
    for index, life in enumerate(lab.lives):
        name = "interrupted" if index == 0 else f"resumed at step {life.begun}"
        axes.plot(
            list(life.losses), list(life.losses.values()), "o--", color=COLOURS[1 + index % 4], markersize=4, label=name
        )
    for life in lab.lives[1:]:
        axes.axvline(life.begun + 0.5, color="grey", linestyle=":", linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss before the update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not told:
        axes.text(0.5, 0.5, "no step was done yet", transform=axes.transAxes, ha="center")
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@styled
def batches(lab: Lab) -> Figure:
    """The samples that each run saw in the last step of the interrupted one; framed where a sample is another."""
    seen = [_batch(life, lab.current.done) for life in (lab.reference, lab.current)] if lab.lives else [None, None]
    count = max((len(batch) for batch in seen if batch is not None), default=0)
    if not count:
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0))
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no batch of a loader was seen yet", transform=axes.transAxes, ha="center")
        return figure
    figure, panels = plt.subplots(2, count, figsize=(WIDTH, 2.6), squeeze=False)
    for row, (name, batch) in enumerate(zip(("uninterrupted", "interrupted"), seen, strict=True)):
        for column, axes in enumerate(panels[row]):
            axes.set_xticks([])
            axes.set_yticks([])
            held = batch is not None and column < len(batch)
            if held:
                _sample(axes, batch[column])
            other = seen[1 - row]
            same = held and other is not None and column < len(other) and torch.equal(batch[column], other[column])
            for spine in axes.spines.values():
                spine.set_visible(held and other is not None and not same)
                spine.set(color=COLOURS[1], linewidth=3)
        panels[row][0].set_title(name, loc="left", fontsize=9)
    if any(each is None for each in seen):
        told = "one of them was fed nothing in this step, or was loaded after it"
    else:
        told = "the same samples" if torch.equal(*seen) else "framed samples are others"
    figure.suptitle(f"step {lab.current.done}: {told}", fontsize=9, x=0.99, ha="right")
    return figure


def _batch(life: Life, step: int) -> torch.Tensor | None:
    """The first tensor that a loader handed out in a step, up to `IMAGES` samples of it."""
    handed = life.streams.batches.get(step, ())
    if not handed or not handed[0]:
        return None
    batch = pickle.loads(handed[0])  # kept by this process itself
    while isinstance(batch, (list, tuple, dict)) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return batch[:IMAGES] if isinstance(batch, torch.Tensor) and batch.dim() else None


def _sample(axes: Axes, sample: torch.Tensor) -> None:
    """An image as such, channels first; anything else as a strip of its numbers."""
    values = sample.detach().to(torch.float64).numpy()
    if values.ndim == 3 and values.shape[0] in (1, 3):
        low, high = np.nanmin(values), np.nanmax(values)
        image = (np.moveaxis(values, 0, -1) - low) / ((high - low) or 1.0)
        axes.imshow(image if values.shape[0] == 3 else image[..., 0], cmap="gray")
    else:
        strip = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
        axes.imshow(strip, aspect="auto", cmap="viridis", interpolation="nearest")
