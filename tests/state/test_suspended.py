"""Iterators and suspended generators: found, and kept while all around them is made another run's."""

import torch
from torch.utils.data import DataLoader

from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.suspended import restore_around, stand_alike, suspended


def endless(loader):
    while True:
        yield from loader


class Run:
    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(2, 2)
        self.loader = DataLoader(torch.arange(12.0), batch_size=2)
        self.batches = iter(self.loader)
        self.forever = endless(self.loader)
        self.count = 0

    def step(self):
        self.count += 1
        with torch.no_grad():
            self.model.weight += self.count
        return next(self.batches).sum() + next(self.forever).sum()


def test_iterators_and_generators_are_found_the_outermost_alone():
    run = Run()
    run.step()
    snapshot = Snapshot.capture(run_roots(run))
    assert suspended(snapshot, snapshot.uncaptured) == {
        "batches": "loader iterator after 1 batches",
        "forever": "suspended generator",
    }
    run.batches = run.forever = None
    snapshot = Snapshot.capture(run_roots(run))
    assert suspended(snapshot, snapshot.uncaptured) == {}


def test_runs_stand_alike_where_their_iterators_are_as_far():
    def after(steps, **gone):
        run = Run()
        for _ in range(steps):
            run.step()
        vars(run).update(gone)
        return Snapshot.capture(run_roots(run))

    assert stand_alike(after(2), after(2))
    assert not stand_alike(after(1), after(2))
    assert not stand_alike(after(2), after(2, batches=None))
    assert not stand_alike(after(2), after(2, forever=None))
    assert not stand_alike(after(0, batches=None), after(1, batches=None))  # one that has not begun
    assert stand_alike(after(0, batches=None, forever=None), after(0, batches=None, forever=None))


def test_all_around_an_iterator_is_made_anothers_and_the_iterator_goes_on_where_it_stood():
    run, other = Run(), Run()
    for _ in range(2):
        run.step()
    other.batches = other.forever = None
    other.count, other.extra = 7, [1.5]
    other.model.weight.data.fill_(3.0)
    torch.rand(5)
    world = torch.get_rng_state()
    snapshot = Snapshot.capture(run_roots(other))
    torch.manual_seed(9)
    assert restore_around(snapshot, run_roots(run)) == {}
    assert (run.count, run.extra) == (7, [1.5])
    assert run.model.weight.eq(3.0).all() and torch.equal(torch.get_rng_state(), world)
    assert next(run.batches).tolist() == [4.0, 5.0] and next(run.forever).tolist() == [4.0, 5.0]
