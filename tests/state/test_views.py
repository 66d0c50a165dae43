"""A tensor that is part of another one is set without spoiling that one."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dora_repro.state.snapshot import Snapshot, run_roots


class Held:
    """A batch by hand: a part of the data, which another name stands for, too."""

    def __init__(self, position):
        self.data = torch.arange(12.0).reshape(6, 2)
        self.more = SimpleNamespace(also=self.data)
        self.batch = self.data[position : position + 2]
        self.pair = (self.data[position : position + 1], position)


@pytest.mark.parametrize("globs", [("*",), ("batch",), ("batch", "pair/0")])
def test_a_part_is_set_and_the_whole_stays_as_it_is(globs):
    live = Held(0)
    given = live.batch
    assert not Snapshot.capture(run_roots(Held(2))).restore(run_roots(live), globs)
    assert torch.equal(live.batch, Held(2).batch) and torch.equal(live.data, Held(2).data)
    assert torch.equal(live.more.also, live.data)
    assert live.batch is given  # whoever has it already has its new values


def test_an_array_that_a_tensor_is_made_over_stays_as_it_is():
    def held(position):
        data = np.arange(12.0).reshape(6, 2)
        return SimpleNamespace(data=data, batch=torch.from_numpy(data[position : position + 2]), row=data[position])

    live = held(0)
    assert not Snapshot.capture(run_roots(held(2))).restore(run_roots(live), ["batch", "row"])
    assert torch.equal(live.batch, held(2).batch)
    assert (live.row == held(2).row).all() and (live.data == held(2).data).all()


def test_a_part_that_agrees_with_the_whole_stays_one():
    wanted, live = Held(2), Held(2)
    wanted.data += 1
    assert not Snapshot.capture(run_roots(wanted)).restore(run_roots(live), ["*"])
    live.batch += 1
    assert torch.equal(live.data[2:4], live.batch)


def test_a_whole_that_cannot_be_put_elsewhere_is_not_spoiled():
    live = SimpleNamespace(call=partial(print, torch.arange(6.0)))
    live.part = live.call.args[0][:2]
    wanted = SimpleNamespace(call=partial(print, torch.arange(6.0)), part=torch.tensor([7.0, 8.0]))
    failed = Snapshot.capture(run_roots(wanted)).restore(run_roots(live), ["part"])
    assert failed == {"part": "it is a part of call/args/0, which would be changed"}
    assert torch.equal(live.call.args[0], torch.arange(6.0))
