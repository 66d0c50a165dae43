"""Clicks in any order: none raises, and after each both runs are what their story made of them."""

import functools

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dora_repro.lab import Lab
from dora_repro.lab.process import digests
from dora_repro.widgets.lab.panel import LabPanel
from tests import runs as small

RUNS = {
    "plain": small.Plain,
    "no optimizer": functools.partial(small.Forgetful, "optimizer"),
    "no rng": functools.partial(small.Forgetful, "rng"),
    "loader": small.Loader,
    "ends early": small.EndsEarly,
}
CLICKS = 50  # in each example
clicked = 0


class Clicks(RuleBasedStateMachine):
    """Someone who clicks whatever button can be clicked."""

    @initialize(name=st.sampled_from(sorted(RUNS)))
    def open(self, name):
        self.factory = RUNS[name]
        self.panel = LabPanel(Lab(self.factory, 6))

    @rule(data=st.data(), count=st.integers(1, 2))
    def click(self, data, count):
        global clicked
        clicked += 1
        self.panel.count.value = count
        early = len(self.panel.lab.actions) < 9  # else most stories would be short ones
        can = [b for name, b in self.panel.buttons.items() if not b.disabled and not (name == "reset" and early)]
        rows = [row.children[0] for row in self.panel.views["State"].children if hasattr(row, "children")]
        transplants = [button for button in rows if button.layout.display != "none"]
        data.draw(st.sampled_from([*can, *transplants])).click()

    @invariant()
    def nothing_was_raised(self):
        if hasattr(self, "panel"):
            assert self.panel.error.value == "" and self.panel.summary.value

    @invariant()
    def what_can_be_clicked_can_be_done(self):
        if hasattr(self, "panel"):
            assert any(not button.disabled for button in self.panel.buttons.values())

    @invariant()
    def both_runs_are_consistent(self):
        if not hasattr(self, "panel") or not self.panel.lab.processes:
            return
        lab = self.panel.lab
        process = lab.current
        assert lab.reference.done >= lab.reference_steps >= process.done
        assert process.start <= process.done and set(range(process.start, process.done + 1)) == set(process.snapshots)
        assert lab.nondeterministic == ()
        if not process.loaded:
            assert lab.divergence is None and not any(each.differences for each in lab.components())

    def teardown(self):
        if not hasattr(self, "panel"):
            return
        lab = self.panel.lab
        again = Lab(self.factory, 6).play(lab.script)
        assert again.script == lab.script and again.reference_steps == lab.reference_steps
        if lab.processes:
            assert digests(again.current.snapshot) == digests(lab.current.snapshot)
            assert again.divergence == lab.divergence
        self.panel.close()


@pytest.fixture
def one_thread():
    """Quickest for runs so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.nightly)])
def test_clicks_in_any_order_raise_nothing_and_leave_both_runs_consistent(one_thread, count):
    before = clicked
    run_state_machine_as_test(
        Clicks,
        settings=settings(
            max_examples=count // 30,  # some end early
            stateful_step_count=CLICKS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
    assert clicked - before >= count
