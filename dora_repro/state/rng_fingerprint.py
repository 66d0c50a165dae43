"""Whether one of Python's or numpy's global generators was used since it was last read, decided by its memory.

Reading these two takes ten times as long as digesting what was read, at every step of a run that may never use them.
Their state lies in the generator object itself and, for numpy, in the struct that numpy names for use through
`ctypes`: where all of these bytes are what they were, so is the state. Nothing is written, and no byte is interpreted.

That the bytes do hold the whole state is not taken for granted: `_memory_tells` tries it once, on generators of its
own, and where that fails (with a different Python or numpy) generators are read each time.
"""

import ctypes
import random
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from dora_repro.contracts import Value
from dora_repro.private_names.of_numpy import bit_generator_of

_MT19937_BYTES = 4 * 624 + 4  # numpy's `struct s_mt19937_state { uint32_t key[624]; int pos; }`


class LastRead:
    """A generator's state as last read, read again only where its memory has changed."""

    def __init__(self, read: Callable[[Value], Any]):
        self._read = read
        self._generator: Value = None
        self._memory: tuple[Value, ...] | None = None
        self._state: Any = None

    def __call__(self, generator: Value) -> Any:
        """The state of `generator`, by `read`. Not copied: it must be immutable."""
        memory = memory_of(generator) if _memory_tells() else None
        if memory is None or generator is not self._generator or memory != self._memory:
            self._state, self._generator, self._memory = self._read(generator), generator, memory
        return self._state


def memory_of(generator: Any) -> tuple[Value, ...] | None:
    """All bytes that a `random.Random` or a `RandomState` over MT19937 keeps its state in; None for any other."""
    kind = type(generator)
    if kind is random.Random:
        # Not in the struct: the second of two normal numbers. By identity: an equal float may be a different one.
        spare = generator.gauss_next
        return _own_bytes(generator), spare, id(spare)
    if kind is np.random.RandomState and type(bits := bit_generator_of(generator)) is np.random.MT19937:
        address = bits.ctypes.state_address
        return _own_bytes(generator), ctypes.string_at(address, _MT19937_BYTES)
    return None


def _own_bytes(thing: Value) -> bytes:
    header = object.__basicsize__  # reference count and type
    return ctypes.string_at(id(thing) + header, type(thing).__basicsize__ - header)


@lru_cache(maxsize=1)
def _memory_tells() -> bool:
    """Whether every kind of change of state shows in `memory_of`, tried on generators of our own."""
    if sys.implementation.name != "cpython":
        return False
    python, legacy = random.Random(1), np.random.RandomState(1)

    def keep(spare: float) -> None:
        """Set the same words, and a different second of two normal numbers."""
        state: Any = legacy.get_state()
        legacy.set_state((*state[:3], 1, spare))

    uses: tuple[tuple[Value, Callable[[], Value]], ...] = (
        (python, python.random),
        (python, lambda: python.gauss(0, 1)),  # draws two and keeps one
        (python, lambda: python.gauss(0, 1)),  # takes the one left over
        (python, lambda: python.setstate(random.Random(2).getstate())),
        (legacy, legacy.rand),
        (legacy, legacy.randn),
        (legacy, legacy.randn),
        (legacy, lambda: keep(0.25)),
        (legacy, lambda: keep(-0.25)),
        (legacy, lambda: legacy.seed(2)),
    )
    for generator, use in uses:
        before = memory_of(generator)
        if before is None or before != memory_of(generator):
            return False
        use()
        if before == memory_of(generator):
            return False
    return True
