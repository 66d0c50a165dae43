"""Samplers that draw once more when a loop over their loader ends."""

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset

from dora_repro.scripts.last_draws import LastDraws

DATA = TensorDataset(torch.arange(8.0))
ORDER = torch.Generator()


def ended(loader, wrote=True):
    """Whether a loop over a loader ended with a draw that came too late, at step 3."""
    draws = LastDraws()
    draws.wrote = lambda: wrote
    iterator = iter(loader)
    draws.begun(iterator, loader)
    for fetched in range(len(loader)):
        assert draws.before(iterator, fetched) is None
        next(iterator)
    before = draws.before(iterator, len(loader))
    with pytest.raises(StopIteration):
        next(iterator)
    draws.over(iterator, "key", 3, before)
    assert not draws.is_late("key", 4) and not draws.is_late("other", 3)
    return draws.is_late("key", 3)


def test_a_random_sampler_with_a_generator_of_its_own_draws_when_its_loop_ends():
    assert ended(DataLoader(DATA, batch_size=2, shuffle=True, generator=ORDER))
    assert ended(DataLoader(DATA, batch_size=2, sampler=RandomSampler(DATA, generator=ORDER)))
    assert not ended(DataLoader(DATA, batch_size=2, shuffle=True, generator=ORDER), wrote=False)
    assert not ended(DataLoader(DATA, batch_size=2, sampler=SequentialSampler(DATA)))
    assert not ended(DataLoader(DATA, batch_size=2, shuffle=True))  # by a generator that it seeds and lets go
