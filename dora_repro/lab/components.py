"""Two states, component by component: what is the same, what differs, what was lost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from dora_repro.comparison.leaves import compare
from dora_repro.difference import LeafDifference
from dora_repro.explain.advice.advice import Advice, advise
from dora_repro.state.snapshot import SavedLeaf, Snapshot

GRADIENTS = "gradients"  # a component of their own: mostly the next step clears them, and nothing is lost
_CLEARED = (
    "The next zero_grad() clears them. They are lost only where a step accumulates those of several batches: then save "
    "where such a window has ended."
)


@dataclass(frozen=True)
class Component:
    """One named part of a run (`model`, `optimizer`, `rng`, …) in two states.

    Attributes:
        name: the first part of the paths of its leaves; `gradients` for those.
        leaves: number of leaves that both states, or one of them, have.
        differences: differences of the leaves that are not equal by bytes; `missing` ones were lost.
    """

    name: str
    leaves: int
    differences: tuple[LeafDifference, ...]

    @property
    def lost(self) -> int:
        """Number of leaves that the second state lacks."""
        return sum(difference.kind == "missing" for difference in self.differences)

    @property
    def different(self) -> int:
        """Number of leaves that differ otherwise."""
        return len(self.differences) - self.lost

    @property
    def same(self) -> int:
        """Number of leaves that are equal."""
        return self.leaves - len(self.differences)


def components(expected: Snapshot, actual: Snapshot) -> tuple[Component, ...]:
    """All components of two states, in the order of the first."""
    comparison = compare(expected, actual)
    leaves: dict[str, int] = {}
    names = {path: component_of(expected[path] if path in expected else actual[path]) for path in comparison.compared}
    for name in names.values():
        leaves[name] = leaves.get(name, 0) + 1
    differences: dict[str, list[LeafDifference]] = {name: [] for name in leaves}
    for difference in comparison.differences:
        differences[names[difference.path]].append(difference)
    return tuple(Component(name, count, tuple(differences[name])) for name, count in leaves.items())


def generator_draws(expected: Snapshot, actual: Snapshot, found: Iterable[Component]) -> dict[str, int | None]:
    """Say how many draws the second state's generators are ahead of the first's (negative: behind).

    Args:
        expected: the first state.
        actual: the second state.
        found: the components of both.

    Returns:
        path of a generator -> draws; None where no number of draws leads from one state to the other.
    """
    differences = {each.path: each for component in found for each in component.differences}
    return {
        path: differences[path].draws if path in differences else 0
        for path, leaf in expected.items()
        if leaf.role == "generator" and path in actual
    }


def fix(expected: Snapshot, found: Component) -> Advice:
    """Lines for save and load that would have brought a component back.

    Args:
        expected: the state that was lost.
        found: a component with differences.
    """
    if found.name == GRADIENTS:
        return Advice(sentence=_CLEARED)
    paths = tuple(each.path for each in found.differences if each.path in expected)
    if not paths:
        return Advice(sentence="It did not exist when the run was saved.")
    how = "lost" if any(each.kind != "value" for each in found.differences) else ""
    by_role: dict[str, list[str]] = {}
    for path in paths:
        by_role.setdefault(expected[path].role, []).append(path)
    advice = [advise(each[0], tuple(each), role, expected, how=how) for role, each in by_role.items()]
    return Advice(
        tuple(line for each in advice for line in each.save),
        tuple(line for each in advice for line in each.load),
        " ".join(dict.fromkeys(each.sentence for each in advice if each.sentence)),
        further=tuple(dict.fromkeys(line for each in advice for line in each.further)),
    )


def parameters(snapshots: Mapping[int, Snapshot]) -> dict[int, dict[str, torch.Tensor]]:
    """Step -> path -> tensor, for the trained parameters that snapshots have by value."""
    return {
        step: {
            path: leaf.value
            for path, leaf in state.items()
            if leaf.role == "parameter" and leaf.kept and isinstance(leaf.value, torch.Tensor)
        }
        for step, state in snapshots.items()
    }


def component_of(leaf: SavedLeaf) -> str:
    """The name of the component that a leaf belongs to."""
    return GRADIENTS if leaf.role == "gradient" else leaf.path.partition("/")[0]
