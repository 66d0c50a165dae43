"""The global generators and switches of one run, swapped in while it works: several runs in one process, each alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dora_repro.state import flags, rng

_TORCH_BEGINS_WITH = torch.Generator().initial_seed()  # in every interpreter


class World:
    """What an interpreter has of its own, as a run finds it: as in a new one, and later as the run left it.

    Args:
        number: of the interpreter. Python and numpy begin each in another state, as they do where nobody seeds them;
            torch begins in the same.
    """

    def __init__(self, number: int):
        with rng.undisturbed():
            random.seed(number)
            np.random.seed(number)
            torch.manual_seed(_TORCH_BEGINS_WITH)
            self._generators = rng.capture_world()
        self._flags = flags.capture_flags()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within, this world's generators and switches are the global ones; afterwards those that were before."""
        generators, switches = rng.capture_world(), flags.capture_flags()
        _put(self._generators, self._flags)
        try:
            yield
        finally:
            self._generators, self._flags = rng.capture_world(), flags.capture_flags()
            _put(generators, switches)


def _put(generators: dict, switches: dict) -> None:
    rng.restore_world(generators)
    flags.restore_flags(switches)
