"""What the samplers of a loader hold when an order is begun, and how that is put back there.

A `DistributedSampler` knows its epoch, a sampler may have a generator of its own: what they hold decides the order, and
is read when the loader's iterator is begun, which is before the first training forward pass. As with the global
generators, the values to put back are those of the same moment.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from dora_repro.contracts import Value
from dora_repro.state import rng
from dora_repro.state.attributes import attributes_of
from dora_repro.state.digest import PLAIN_SCALARS

Own: TypeAlias = Sequence[dict[str, tuple[bool, Value]]]
"""For each sampler, the outermost first: name -> (whether it is a generator, its value or state)."""

Chosen: TypeAlias = Callable[[Value, str, bool], bool]
"""Of a sampler, the name of an attribute, and whether it is a generator: whether that is to be put back."""

_DEEP = 8  # samplers around samplers


def samplers_of(loader: Any) -> Iterator[Any]:
    """The samplers of a loader, the outermost first."""
    sampler = loader
    for _ in range(_DEEP):
        sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)
        if sampler is None:
            return
        yield sampler


def own_of(loader: Any) -> Own:
    """What the samplers hold now: plain values and generators."""
    return [dict(_own(sampler)) for sampler in samplers_of(loader)]


def _own(sampler: Value) -> Iterator[tuple[str, tuple[bool, Value]]]:
    for name, value in (attributes_of(sampler) or {}).items():
        if type(value) in PLAIN_SCALARS:
            yield name, (False, value)
        elif rng.is_generator(value):
            yield name, (True, rng.state_of(value))


def put_back(loader: Any, own: Own, chosen: Chosen) -> None:
    """Let the samplers hold again what they held at the same moment of another run.

    Args:
        loader: whose iterator is about to be begun.
        own: what `own_of` gave in the other run.
        chosen: which attributes.
    """
    for sampler, theirs in zip(samplers_of(loader), own, strict=False):
        here: Any = attributes_of(sampler) or {}
        for name, (generator, value) in theirs.items():
            if name in here and chosen(sampler, name, generator):
                if generator:
                    rng.set_state(here[name], value)
                else:
                    object.__setattr__(sampler, name, value)
