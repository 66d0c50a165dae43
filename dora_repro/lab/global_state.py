"""The global generators and switches of one run, swapped in while it works: several runs in one process, each alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dora_repro.state import flags, rng

_TORCH_SEED = torch.Generator().initial_seed()  # of a new interpreter


class GlobalState:
    """Generators and switches of an interpreter, as a run finds them: as in a new one, and later as the run left them.

    Args:
        number: number of the interpreter. Python and numpy begin each in a different state, as they do where nobody
            seeds them; torch begins in the same.
    """

    def __init__(self, number: int) -> None:
        with rng.undisturbed():
            random.seed(number)
            np.random.seed(number)
            torch.manual_seed(_TORCH_SEED)
            self._generators = rng.capture_world()
        self._flags = flags.capture_flags()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within, these generators and switches are the global ones; afterwards those that were before."""
        generators, switches = rng.capture_world(), flags.capture_flags()
        rng.restore_world(self._generators)
        flags.restore_flags(self._flags)
        try:
            yield
        finally:
            self._generators, self._flags = rng.capture_world(), flags.capture_flags()
            rng.restore_world(generators)
            flags.restore_flags(switches)
