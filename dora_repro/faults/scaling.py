"""A module of helpers, as scripts have one beside them: it counts its calls, and belongs to no run."""

import torch

calls = 0


def begun() -> None:
    """Count anew, for another run in the same process."""
    global calls
    calls = 0


def scaled(inputs: torch.Tensor) -> torch.Tensor:
    """Scale inputs by the number of calls so far."""
    global calls
    calls += 1
    return inputs * (1 + 0.1 * calls)
