"""Two states, component by component: what is the same, what differs, what was lost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dora_repro.comparison.leaves import compare
from dora_repro.difference import LeafDifference
from dora_repro.explain.advice.advice import Advice, advise
from dora_repro.state.snapshot import SavedLeaf, Snapshot

GRADIENTS = "gradients"  # a component of their own: mostly the next step clears them, and nothing is lost
_CLEARED = (
    "The next zero_grad() clears them. They are lost only where a step adds up those of several batches: then save "
    "where such a window has ended."
)


@dataclass(frozen=True)
class Component:
    """One named part of a run (`model`, `optimizer`, `rng`, …) in two states.

    Attributes:
        name: the first part of the paths of its leaves; `gradients` for those.
        leaves: how many both have, or one of them.
        differences: of those that are not equal by bytes; `missing` ones were lost.
    """

    name: str
    leaves: int
    differences: tuple[LeafDifference, ...]

    @property
    def lost(self) -> int:
        return sum(difference.kind == "missing" for difference in self.differences)

    @property
    def different(self) -> int:
        return len(self.differences) - self.lost

    @property
    def same(self) -> int:
        return self.leaves - len(self.differences)


def components(expected: Snapshot, actual: Snapshot) -> tuple[Component, ...]:
    """All components of two states, in the order of the first."""
    compared = compare(expected, actual)
    leaves: dict[str, int] = {}
    names = {path: component_of(expected[path] if path in expected else actual[path]) for path in compared.compared}
    for name in names.values():
        leaves[name] = leaves.get(name, 0) + 1
    apart: dict[str, list[LeafDifference]] = {name: [] for name in leaves}
    for difference in compared.differences:
        apart[names[difference.path]].append(difference)
    return tuple(Component(name, count, tuple(apart[name])) for name, count in leaves.items())


def generators(expected: Snapshot, actual: Snapshot, found: Iterable[Component]) -> dict[str, int | None]:
    """By path, how many draws the second state's generators are ahead (negative: behind); None where no number is."""
    apart = {each.path: each for component in found for each in component.differences}
    return {
        path: apart[path].draws if path in apart else 0
        for path, leaf in expected.items()
        if leaf.role == "generator" and path in actual
    }


def mending(expected: Snapshot, found: Component) -> Advice:
    """Lines for save and load that would have kept a component."""
    if found.name == GRADIENTS:
        return Advice(sentence=_CLEARED)
    paths = tuple(each.path for each in found.differences if each.path in expected)
    if not paths:
        return Advice(sentence="It was not there when the run was saved.")
    how = "lost" if any(each.kind != "value" for each in found.differences) else ""
    return advise(paths[0], paths, expected[paths[0]].role, expected, how=how)


def parameters(moments: Mapping[int, Snapshot]) -> dict[int, dict[str, object]]:
    """Step -> path -> tensor, of the trained parameters that are kept by value."""
    return {
        step: {path: leaf.value for path, leaf in state.items() if leaf.role == "parameter" and leaf.kept}
        for step, state in moments.items()
    }


def component_of(leaf: SavedLeaf) -> str:
    """The name of the component that a leaf belongs to."""
    return GRADIENTS if leaf.role == "gradient" else leaf.path.partition("/")[0]
