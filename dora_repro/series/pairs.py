"""Two series of checkpoints side by side: from which number on they differ by bytes, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dora_repro.checkpoint.runs import checkpoints_of
from dora_repro.errors import BadInput
from dora_repro.series.files import Checkpoint, read_checkpoint
from dora_repro.series.series import Series, relative_change


@dataclass(frozen=True)
class SeriesComparison:
    """Two series side by side.

    Attributes:
        numbers: that both have, with something to compare.
        equal: for each, whether all trained numbers of all layers are equal by bytes.
        first: the first number that differs; None where no number does.
        components: for each component that both hold in files of one layout, the first number that differs, or None.
        only_in: numbers that only the first series has, and those that only the second has.
        layers: of both.
        distances: of their trained numbers, ‖other − one‖ / ‖one‖  # (layers, numbers)
    """

    numbers: tuple[int, ...]
    equal: tuple[bool, ...]
    first: int | None
    components: Mapping[str, int | None]
    only_in: tuple[tuple[int, ...], tuple[int, ...]]
    layers: tuple[str, ...]
    distances: np.ndarray = field(repr=False)


def compare_series(one: Series, other: Series | None) -> SeriesComparison | None:
    """Where two series begin to differ. What differs by its digest is read again, a pair at a time.

    Args:
        one: the first series.
        other: the second series; None for no comparison.

    Returns:
        None where there is no second series.

    Raises:
        BadInput: they count different things, or have no number, or no layer and component, in common.
    """
    if other is None:
        return None
    if one.unit != other.unit:
        raise BadInput(f"{one.folder} counts in {one.unit}s and {other.folder} in {other.unit}s: give two of a kind")
    layers = tuple(layer for layer in one.layers if layer in other.layers)
    pairs: list[tuple[int, bool]] = []
    components: dict[str, int | None] = {}
    for number in sorted(set(one.numbers) & set(other.numbers)):
        places = one.numbers.index(number), other.numbers.index(number)
        mine, theirs = one.digests[places[0]], other.digests[places[1]]
        keys = _comparable(one, other, places)
        for key in keys:
            if key in one.components[places[0]]:
                if components.setdefault(key, None) is None and mine[key] != theirs[key]:
                    components[key] = number
        trained = [key for key in keys if key.startswith("layer ")] or [k for k in keys if k in ("model", "adapter")]
        if trained:
            pairs.append((number, all(mine[key] == theirs[key] for key in trained)))
    if not pairs:
        raise BadInput(
            f"{one.folder} and {other.folder} have no {one.unit} with parameters in common: give two runs of one model"
        )
    numbers, equal = zip(*pairs, strict=True)
    first = next((number for number, same in pairs if not same), None)
    rows = [_distances(one, other, number, same, layers) for number, same in pairs]
    distances = np.array(rows).reshape(len(pairs), -1).T
    only_in = _only_in(one, other), _only_in(other, one)
    return SeriesComparison(numbers, equal, first, components, only_in, layers, distances)


def _only_in(one: Series, other: Series) -> tuple[int, ...]:
    return tuple(sorted(set(one.numbers) - set(other.numbers)))


def _comparable(one: Series, other: Series, places: tuple[int, int]) -> list[str]:
    """Keys that both have; components only where the files are laid out alike, since their names are part of them."""
    keys = [key for key in one.digests[places[0]] if key in other.digests[places[1]]]
    alike = one.layouts[places[0]] == other.layouts[places[1]]
    return [key for key in keys if alike or key.startswith("layer ")]


def _distances(one: Series, other: Series, number: int, same: bool, layers: tuple[str, ...]) -> list[float]:
    if same:
        return [0.0] * len(layers)
    sides = [_read_again(series, number) for series in (one, other)]
    return [
        relative_change(sides[0].layers[layer], sides[1].layers[layer])
        if all(layer in side.layers for side in sides)
        else float("nan")
        for layer in layers
    ]


def _read_again(series: Series, number: int) -> Checkpoint:
    files = checkpoints_of(series.folder).checkpoints.get(number, [])
    return read_checkpoint(files, series.folder, series.alpha)
