"""The checkpoints of a run as a series: what each holds, and how its low-rank layers change from one to the next.

Pure: from a folder to a frozen record. The measures need the files alone; no model is built. Two series side by side
are in `pairs.py`, words and figures in `widgets/checkpoints`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from dora_repro.checkpoint.runs import checkpoints_of
from dora_repro.printable import one_line
from dora_repro.series.files import ALPHA, Layer, read_checkpoint

MEASURES = {
    "magnitude": "‖m‖",
    "update": "‖ΔD‖",
    "to_first": "cosine to the first",
    "to_base": "cosine to the base",
    "change": "relative change since the one before",
}
DEVIATIONS = 5.0
LEAST_SPREAD = 0.01  # of the median: a smaller spread counts as this much
LEAST_CHANGES = 5


@dataclass(frozen=True)
class UnreadFile:
    """A file that was not read, and why.

    Attributes:
        number: that the file belongs to.
        file: its name.
        reason: why it was not read.
    """

    number: int
    file: str
    reason: str


@dataclass(frozen=True)
class Outlier:
    """A change of one layer that is unlike its others.

    Attributes:
        layer: by the model's name.
        number: of the checkpoint after the change.
        change: relative to the checkpoint before; infinite where a parameter is not a finite number.
        deviations: from the median of the layer's changes, in median absolute deviations.
    """

    layer: str
    number: int
    change: float
    deviations: float


@dataclass(frozen=True)
class Series:
    """The checkpoints of one folder, in order.

    Attributes:
        folder: where they lie.
        unit: what the numbers count: epoch, step or checkpoint.
        numbers: of the checkpoints, unreadable ones too.
        layers: the low-rank layers, by the model's names.
        components: for each number, how many entries each component has; empty where nothing could be read.
        layouts: for each number, the layouts of its files.
        gaps: first and last missing number of each gap, by the usual spacing of the numbers.
        spacing: the usual distance between two numbers.
        unread: files that were not read.
        ignored: names of files that have no place in the series.
        measures: by the keys of MEASURES, NaN where unknown  # (layers, numbers) each
        has_base: whether the files hold what the updates are added to, so that `to_first` compares effective weights.
        digests: for each number, by "layer LAYER" and by component.
        alpha: strength of the updates where the files do not say it.
    """

    folder: Path
    unit: str
    numbers: tuple[int, ...]
    layers: tuple[str, ...]
    components: tuple[Mapping[str, int], ...]
    layouts: tuple[tuple[str, ...], ...]
    gaps: tuple[tuple[int, int], ...]
    spacing: int
    unread: tuple[UnreadFile, ...]
    ignored: tuple[str, ...]
    measures: Mapping[str, np.ndarray] = field(repr=False)
    has_base: bool
    digests: tuple[Mapping[str, bytes], ...] = field(repr=False)
    alpha: float = ALPHA

    @classmethod
    def read(cls, folder: str | Path, alpha: float = ALPHA) -> "Series":
        """Read every checkpoint of a folder, one at a time; in memory are the layers of three: first, last and this.

        Args:
            folder: that a run saved to.
            alpha: strength of the updates (scaling is alpha / r) where the files do not say it, as the study's do not.

        Raises:
            BadInput: no such folder, or no numbered checkpoint in it.
        """
        folder = Path(folder)
        run = checkpoints_of(folder)
        numbers = tuple(run.checkpoints)
        gaps, spacing = gaps_of(numbers)
        trajectory = _Trajectory(spacing)
        checkpoints = []
        for number, paths in run.checkpoints.items():
            checkpoint = read_checkpoint(paths, folder, alpha)
            trajectory.add(number, checkpoint.layers)
            checkpoints.append(replace(checkpoint, layers={}))
        unread = (UnreadFile(n, *one) for n, at in zip(numbers, checkpoints, strict=True) for one in at.unread)
        layers, measures = trajectory.measured()
        digests = [
            checkpoint.digests | {f"layer {layer}": digest for layer, digest in of_layers.items()}
            for checkpoint, of_layers in zip(checkpoints, trajectory.digests, strict=True)
        ]
        return cls(
            folder, run.unit, numbers, layers, tuple(dict(checkpoint.components) for checkpoint in checkpoints),
            tuple(tuple(checkpoint.layouts) for checkpoint in checkpoints), gaps, spacing, tuple(unread),
            tuple(run.aside), measures, bool(np.isfinite(measures["to_base"]).any()), tuple(digests), alpha,
        )  # fmt: skip

    @classmethod
    def read_any(cls, folder: str | Path | None, alpha: float = ALPHA) -> "Series | None":
        """As `read`; None for no folder."""
        return None if folder is None else cls.read(folder, alpha)

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return one_line(self.folder.resolve().name)

    def outliers(self) -> tuple[Outlier, ...]:
        """Changes that are unlike the others of their layer, by number, the farthest first.

        A change is reported where it is more than 5 median absolute deviations away from the median of its layer's
        changes (Hampel 1974; Leys et al. 2013, J. Exp. Soc. Psychol. 49, 764: median instead of mean, since an outlier
        moves a mean; Iglewicz and Hoaglin 1993 propose 3.5 / 0.6745 = 5.2 of them). A spread below a hundredth of
        the median counts as that much, so that a layer of steady changes does not report its roundings. With fewer
        than 5 changes no finite one is reported. A change that is not finite always is.

        The rule looks for candidates, and proves nothing: of normal noise it reports one change in 28 where a layer
        has 7, one in 180 where it has 29; and it reports a start that is faster than the rest, as many trainings
        have it.
        """
        found = []
        for layer, changes in zip(self.layers, self.measures["change"], strict=True):
            for place, deviations in enumerate(deviations_of(changes)):
                if deviations > DEVIATIONS:
                    found.append(Outlier(layer, self.numbers[place], float(changes[place]), float(deviations)))
        return tuple(sorted(found, key=lambda one: (one.number, -one.deviations, one.layer)))


def deviations_of(changes: np.ndarray) -> np.ndarray:
    """The distance of each change from the median, in median absolute deviations; 0 where too few are known.

    Args:
        changes: of one layer, NaN where unknown  # (n,)

    Returns:
        deviations  # (n,)
    """
    known = changes[np.isfinite(changes)]
    found = np.where(np.isinf(changes), np.inf, 0.0)
    if len(known) >= LEAST_CHANGES:
        median = np.median(known)
        spread = max(np.median(np.abs(known - median)), LEAST_SPREAD * abs(median), np.finfo(float).tiny)
        finite = np.isfinite(changes)
        with np.errstate(over="ignore"):  # a layer that changed once and else never
            found[finite] = np.abs(changes[finite] - median) / spread
    return found


def gaps_of(numbers: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], int]:
    """((first missing, last missing) of each gap, usual spacing): the commonest distance of two, the least of these."""
    steps = Counter(after - before for before, after in pairwise(numbers))
    spacing = min(steps, key=lambda step: (-steps[step], step)) if steps else 1
    pairs = [(before, after) for before, after in pairwise(numbers) if after - before > spacing]
    missing = ((before + spacing, before + spacing * ((after - before - 1) // spacing)) for before, after in pairs)
    return tuple(missing), spacing


class _Trajectory:
    """Measures the layers of one checkpoint after the other; holds those of the first and of the last only.

    Args:
        spacing: the usual distance between two numbers.
    """

    def __init__(self, spacing: int) -> None:
        self.spacing = spacing
        self.first: dict[str, Layer] = {}
        self.before: tuple[int, Mapping[str, Layer]] = (-1, {})
        self.values: list[dict[str, dict[str, float]]] = []
        self.digests: list[dict[str, bytes]] = []

    def add(self, number: int, layers: Mapping[str, Layer]) -> None:
        last, before = self.before
        before = before if number - last <= self.spacing else {}  # a change across a gap is not that of one epoch
        self.values.append({})
        for name, layer in layers.items():
            first = self.first.setdefault(name, layer)
            self.values[-1][name] = _measure(layer, first, before.get(name))
        self.digests.append({name: layer.digest for name, layer in layers.items()})
        self.before = number, layers

    def measured(self) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        layers = tuple(sorted(self.first))
        nothing = dict.fromkeys(MEASURES, np.nan)
        return layers, {
            measure: np.array([[at.get(layer, nothing)[measure] for at in self.values] for layer in layers]).reshape(
                len(layers), len(self.values)
            )
            for measure in MEASURES
        }


def _measure(layer: Layer, first: Layer, before: Layer | None) -> dict[str, float]:
    # The base never trains: the first file's holds for all, also where later ones leave it out.
    base = first.base if layer.base is None else layer.base
    if base is not None and (layer.a.shape[1], layer.b.shape[0]) != tuple(base.shape):
        base = None
    update = layer.update
    return {
        "magnitude": float("nan") if layer.m is None else float(layer.m.norm()),
        "update": float(update.norm()),
        "to_first": _cosine(layer.weight(base), first.weight(base)),
        "to_base": float("nan") if base is None else _cosine(base + update, base),
        "change": relative_change(before, layer) if before is not None else float("nan"),
    }


def relative_change(one: Layer, other: Layer) -> float:
    """‖other − one‖ / ‖one‖ over all trained numbers of a layer (m, A, B); infinite where a number is not finite."""
    if [tensor.shape for tensor in one.trained] != [tensor.shape for tensor in other.trained]:
        return float("nan")
    if one.digest == other.digest:
        return 0.0
    square = sum(float((b - a).square().sum()) for a, b in zip(one.trained, other.trained, strict=True))
    size = sum(float(a.square().sum()) for a in one.trained)
    if not np.isfinite(square) or not np.isfinite(size):
        return float("inf")
    return float(np.sqrt(square / size)) if size else float("inf" if square else 0)


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    if one.shape != other.shape:
        return float("nan")
    size = float(one.norm() * other.norm())
    return float((one * other).sum()) / size if size > 0 else float("nan")
