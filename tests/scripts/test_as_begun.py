"""Generators as they were when a loop began, in the state of the forward pass that follows."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from dora_repro.scripts.anchors import Begun, key_of
from dora_repro.scripts.as_begun import as_begun
from dora_repro.scripts.samplers import own_of
from dora_repro.state import rng
from dora_repro.state.snapshot import Snapshot, run_roots


class Program:
    def __init__(self):
        torch.manual_seed(1)
        self.order, self.noise = torch.Generator().manual_seed(2), torch.Generator().manual_seed(3)
        self.loader = DataLoader(TensorDataset(torch.arange(12.0)), 4, shuffle=True, generator=self.order)


def captured(program):
    return Snapshot.capture(run_roots(program))


def begun(program):
    """A loop that has begun, all generators having been drawn from, and what was known of it just before."""
    found = Begun(key_of(program.loader), 0, rng.capture_world(), samplers=own_of(program.loader))
    next(iter(program.loader))
    torch.rand(5)
    torch.rand(5, generator=program.noise)
    return found


def states(found, saved):
    return {leaf.path: leaf.digest for leaf in as_begun(saved, found, ["loader"])}


def test_what_the_order_was_drawn_from_is_as_it_was_and_nothing_else():
    program = Program()
    before, found = captured(program), begun(program)
    after = captured(program)
    told = states(found, after)
    assert {path for path in after if after[path].digest != before[path].digest} >= {"order", "noise", "rng/torch.cpu"}
    assert {path for path in told if told[path] != after[path].digest} == {"order", "rng/torch.cpu"}
    assert all(told[path] == before[path].digest for path in told)
    order = next(leaf for leaf in as_begun(after, found, ["loader"]) if leaf.path == "order")
    assert torch.equal(order.value, before["order"].value) and order.role == "generator"


def test_a_loop_that_began_before_the_save_says_nothing_of_it():
    program = Program()
    begun(program)
    assert as_begun(captured(program), None, ["loader"]) == ()


def test_a_generator_of_another_stream_or_of_a_later_moment_is_not_that_of_the_sampler():
    program = Program()
    before = captured(program)
    found = begun(program)
    assert states(found, before)["order"] == before["order"].digest
    later = Begun(found.key, 0, {}, samplers=own_of(program.loader))
    assert "order" not in states(later, before)
    program.order.manual_seed(9)
    assert "order" not in states(found, captured(program))
