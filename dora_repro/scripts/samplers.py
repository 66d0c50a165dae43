"""What the samplers of a loader hold when an order is begun, and how that is put back there.

A `DistributedSampler` knows its epoch, a sampler may have a generator of its own: what they hold decides the order, and
is read when the loader's iterator is begun, which is before the first training forward pass. As with the global
generators, the values to put back are those of the same moment.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.scripts.assignment import Given
from dora_repro.state import rng
from dora_repro.state.attributes import attributes_of
from dora_repro.state.digest import PLAIN_SCALARS, digest
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk

Own: TypeAlias = Sequence[dict[str, tuple[bool, Value]]]
"""For each sampler, the outermost first: name -> (whether it is a generator, its value or state)."""

Chosen: TypeAlias = Callable[[Value, str, bool, Value], bool]
"""Of a sampler, the name of an attribute, whether it is a generator, and the value that the other run had: whether it
is to be put back."""

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_DEEP = 8  # samplers around samplers


def samplers_of(loader: Any) -> Iterator[Any]:
    """The samplers of a loader, the outermost first."""
    sampler = loader
    for _ in range(_DEEP):
        inner = getattr(sampler, "batch_sampler", None)
        # By identity: one over an iterable data set has no length, and so no truth.
        sampler = getattr(sampler, "sampler", None) if inner is None else inner
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
        elif isinstance(value, _GENERATORS):
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
            if name in here and chosen(sampler, name, generator, value):
                if generator:
                    _put_generator(sampler, name, here[name], value)
                else:
                    object.__setattr__(sampler, name, value)


def _put_generator(sampler: Value, name: str, held: Value, state: Any) -> None:
    """Put the state of a generator back; one of torch's is made where the sampler has none yet, as accelerate's, which
    would make one with its first order. One of another kind than it was has no such state, and is left as it is."""
    if held is None and isinstance(state, torch.Tensor):
        held = torch.Generator()
        object.__setattr__(sampler, name, held)
    with contextlib.suppress(TypeError, ValueError, KeyError, IndexError, RuntimeError):
        rng.set_state(held, state)


def chosen_of(given: Given, program: Value) -> Chosen:
    """What a trial puts back into samplers: the leaves that it is given, and with the draws all their generators.

    Where an order was begun before the save, its samplers may have moved since: only what they still held at the save
    is put back then.

    Args:
        given: what the trial puts in.
        program: the script where the iterator is about to be made.
    """
    live = walk(run_roots(program))
    paths = {id(value): path for path, value in live.objects.items()}
    # A generator that is a variable of its own, too, has that one's name.
    names = {path: leaf.value.removeprefix("= ") for path, leaf in live.items() if leaf.role == "alias"}
    saved = Snapshot.read(given.state) if given.leaves and not given.since else None

    def chosen(sampler: Value, name: str, generator: bool, value: Value) -> bool:
        path = f"{paths.get(id(sampler), '')}/{name}"
        path = names.get(path, path)
        if given.draws and generator:
            return True
        if path not in given.leaves:
            return False
        return saved is None or (not generator and path in saved and saved[path].digest == digest(value))

    return chosen
