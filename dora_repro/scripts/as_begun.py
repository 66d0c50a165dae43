"""What generators had when the loop over a loader began, as a checkpoint that was written before it may have them.

The state that a resumed script is held against is that of its first training forward pass, by which an order was drawn.
Of a checkpoint that was written before that draw, it would say that the generator's state in it is an earlier one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dora_repro.scripts.anchors import Begun
from dora_repro.scripts.belonging import order_drawn_from
from dora_repro.scripts.trials import RNG
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.draws import draws_between
from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.snapshot import Snapshot


def as_begun(saved: Snapshot, begun: Begun | None, loaders: Iterable[str]) -> tuple[SavedLeaf, ...]:
    """The generators as they were when an iterator of a loader was made.

    That is what a checkpoint has of them which was written shortly before. It need not be: a library may draw an order
    from a generator that it sets for the time being.

    Args:
        saved: the state at the first training forward pass that follows.
        begun: the iterator; None for no generators.
        loaders: paths of the run's loaders.
    """
    if begun is None:
        return ()
    states = {f"{RNG}{name}": state for name, state in begun.made.items()} | dict(_own(saved, begun, loaders))
    kept = {path: saved[path] for path in states if path in saved and saved[path].kept}
    return tuple(replace(leaf, value=states[path], digest=digest(states[path])) for path, leaf in kept.items())


def _own(saved: Snapshot, begun: Begun, loaders: Iterable[str]) -> Iterator[tuple[str, rng.State]]:
    """The generators of samplers, with their states at that moment: of the same stream, and not of a later one."""
    states = [value for own in begun.samplers for generator, value in own.values() if generator]
    for path in order_drawn_from(loaders, saved):
        if path in saved and saved[path].role == "generator":
            apart = ((state, draws_between(saved[path].value, state)) for state in states)
            found = next((state for state, draws in apart if draws is not None and draws <= 0), None)
            if found is not None:
                yield path, found
