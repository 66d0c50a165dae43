"""The number of draws between two states of one random number generator: "the resumed run is 2 draws behind".

A draw is one output of the generator itself: 32 bits of the Mersenne Twister (torch on the CPU, numpy's legacy global,
Python's `random`), so that an int64 of torch's `random_` is two; 64 bits of PCG64 (`numpy.random.default_rng`); a unit
of Philox's offset (CUDA). Between states of different seeds or streams there is no number of draws.

The Mersenne Twister (Matsumoto and Nishimura 1998) is run from one state until it meets the other, in both directions,
for some millions of draws; PCG's distance is computed, after O'Neill 2014 (https://www.pcg-random.org/).
"""

import struct
import sys
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from dora_repro.state.rng import State
from dora_repro.wording import counted

WORDS = 624  # of a Mersenne Twister's block
PART, PARTS = 1 << 17, 38  # draws that are searched at once; searched in each direction: five million draws

_KEY_BYTES = 4 * WORDS
_TORCH_BYTES = 5056  # of the CPU generator: seed, left, next, words as 64 bits each, and a spare normal number
_PCG_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_PCG_MASK = (1 << 128) - 1

Read = TypeVar("Read")


def draws_between(expected: State, actual: State) -> int | None:
    """How many draws `actual` is ahead of `expected`; negative where it is behind.

    None where they are of two kinds, of different seeds or streams, too many draws apart, or of a kind not known here.
    What a generator keeps besides (the second of two normal numbers) does not count.
    """
    if (twisters := _both(_twister, expected, actual)) is not None:
        return _twister_distance(*twisters)
    if (generators := _both(_pcg, expected, actual)) is not None:
        return _pcg_distance(*generators)
    counters = _both(_philox, expected, actual)
    return None if counters is None else _philox_distance(*counters)


def _both(read: Callable[[State], Read | None], expected: State, actual: State) -> tuple[Read, Read] | None:
    """Two states as read by one function; None where it cannot read both."""
    one, other = read(expected), read(actual)
    return None if one is None or other is None else (one, other)


def in_words(draws: int) -> str:
    """A distance that is not zero: `1 draw ahead`, `49,152 draws behind`."""
    return f"{counted(abs(draws), 'draw')} {'ahead' if draws > 0 else 'behind'}"


# --- the Mersenne Twister: (624 words, how many of them are used up) -------------------------------------------------

Twister: TypeAlias = tuple[np.ndarray, int]


def _twister(state: State) -> Twister | None:
    if isinstance(state, torch.Tensor):
        return _torch_twister(state)
    if not isinstance(state, tuple) or not state:
        return None
    if state[0] == "words" and len(state) == 4:  # Python's, as `rng.state_of` packs it
        words = state[2]
        return _checked(words[:_KEY_BYTES], int.from_bytes(words[_KEY_BYTES:], sys.byteorder))
    named = _named(state)
    if named.get("bit_generator") == "MT19937" and "state/pos" in named:
        return _checked(named.get("state/key:<u4", b""), int(named["state/pos"]))
    return None


def _checked(key: bytes, used: int) -> Twister | None:
    """A state, where it is one: of another, as a damaged file has it, numpy would read what lies behind the words."""
    if len(key) != _KEY_BYTES or not 0 <= used <= WORDS:
        return None
    return np.frombuffer(key, np.uint32), used


def _torch_twister(state: torch.Tensor) -> Twister | None:
    if state.dtype != torch.uint8 or state.numel() != _TORCH_BYTES:
        return None
    data = state.contiguous().numpy().tobytes()
    left, used = struct.unpack_from("=i4xQ", data, 8)
    key = np.frombuffer(data, np.uint64, WORDS, 24).astype(np.uint32).tobytes()
    return _checked(key, WORDS if left == 1 else used)  # one left means none: the next draw makes a new block


def _twister_distance(expected: Twister, actual: Twister) -> int | None:
    """Each is run until it gives what the other gives next: 624 outputs in a row determine a state."""
    ahead, behind = _Outputs(expected), _Outputs(actual)
    for _ in range(PARTS):
        if (draws := ahead.until(behind.first)) is not None:
            return draws
        if (draws := behind.until(ahead.first)) is not None:
            return -draws
    return None


class _Outputs:
    """The outputs of a state, part by part.

    Attributes:
        first: the first outputs, as many as determine the state.
    """

    def __init__(self, start: Twister):
        self._generator: Any = np.random.MT19937()  # numpy types its state for reading alone
        self._generator.state = {"bit_generator": "MT19937", "state": {"key": start[0], "pos": start[1]}}
        self.first = self._outputs = self._generator.random_raw(WORDS)
        self._before = 0  # number of draws before these outputs

    def until(self, wanted: np.ndarray) -> int | None:
        """The number of draws after which the wanted outputs come, where they begin in the next part."""
        outputs = np.concatenate((self._outputs, self._generator.random_raw(PART)))
        before, self._before, self._outputs = self._before, self._before + PART, outputs[PART:]
        for place in np.flatnonzero(outputs[:PART] == wanted[0]):
            if np.array_equal(outputs[place : place + WORDS], wanted):
                return before + int(place)
        return None


# --- PCG64: (state, increment), a linear congruential generator of 128 bits ------------------------------------------


def _pcg(state: State) -> tuple[int, int] | None:
    named = _named(state)
    if named.get("bit_generator") != "PCG64" or "state/inc" not in named:
        return None
    start, increment = int(named["state/state"]), int(named["state/inc"])
    # Not so in a damaged file: from such a state, no number of steps may lead to another.
    return (start, increment) if start == start & _PCG_MASK and increment & 1 else None


def _pcg_distance(expected: tuple[int, int], actual: tuple[int, int]) -> int | None:
    if expected[1] != actual[1]:
        return None  # a different stream
    ahead = _pcg_steps(expected[0], actual[0], expected[1])
    return ahead if ahead < 1 << 127 else ahead - (1 << 128)


def _pcg_steps(start: int, goal: int, increment: int) -> int:
    """The number of steps from one state to another, bit by bit from the lowest."""
    multiplier, bit, steps = _PCG_MULTIPLIER, 1, 0
    while start != goal:
        if (start ^ goal) & bit:
            start = (start * multiplier + increment) & _PCG_MASK
            steps |= bit
        bit <<= 1
        increment = (multiplier + 1) * increment & _PCG_MASK
        multiplier = multiplier * multiplier & _PCG_MASK
    return steps


# --- Philox on CUDA: (seed, offset) ----------------------------------------------------------------------------------


def _philox(state: State) -> tuple[int, int] | None:
    if not isinstance(state, torch.Tensor) or state.dtype != torch.uint8 or state.numel() != 16:
        return None
    seed, offset = np.frombuffer(state.contiguous().numpy().tobytes(), np.int64)
    return int(seed), int(offset)


def _philox_distance(expected: tuple[int, int], actual: tuple[int, int]) -> int | None:
    return actual[1] - expected[1] if expected[0] == actual[0] else None


def _named(state: State) -> dict[str, Any]:
    """A numpy generator's flat state by name; empty for anything else."""
    if not isinstance(state, tuple) or len(state) % 2 or not all(type(name) is str for name in state[::2]):
        return {}
    return dict(zip(state[::2], state[1::2], strict=True))
