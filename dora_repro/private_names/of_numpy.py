"""Private names of numpy."""

import numpy as np

from dora_repro.private_names.names import listed

NAMES = listed(
    "numpy 2.4",
    {
        "numpy.random.mtrand._rand": "the global generator behind `np.random.rand()`, to read and set its state",
        "numpy.random.RandomState._bit_generator": "the memory in which a legacy generator keeps its state",
    },
)

global_random: np.random.RandomState = np.random.mtrand._rand
"""The generator behind the functions of `np.random`."""


def bit_generator_of(generator: np.random.RandomState) -> np.random.BitGenerator:
    return generator._bit_generator
