"""How runs end beside the reference."""

import functools
from dataclasses import replace

import pytest
import torch

from dora_repro.explain.trials.ends import same_leaves
from dora_repro.explain.trials.trial import Trial
from dora_repro.explain.trials.worker import TrialRunner
from tests.evidence import snapshot
from tests.explain.trials.checked import Counting


def test_leaves_are_alike_where_bytes_and_forms_are():
    one = snapshot({"a": 1, "b/0": 2}, forms={"b": "list"})
    assert same_leaves(one, snapshot({"a": 1, "b/0": 3}, forms={"b": "list"}), ["a", "b", "c"])
    assert not same_leaves(one, snapshot({"a": 2, "b/0": 2}), ["a"])
    assert not same_leaves(one, snapshot({"b/0": 2}), ["a"]) and not same_leaves(snapshot({}), one, ["a"])
    assert not same_leaves(one, snapshot({"a": 1, "b/0": 3}), ["a", "b/0"])
    other = snapshot({"a": 1, "b/0": 2}, forms={"b": "tuple"})
    assert not same_leaves(one, other, ["a", "b"]) and same_leaves(one, other, ["a", "b/0"])


def test_losses_have_a_distance_where_both_runs_tell_them(lost):
    class Silent(Counting):
        def step(self):
            super().step()

    found = TrialRunner(functools.partial(Silent, "rng", "optimizer"), lost.setup).result(
        Trial(lost.lost, to_the_end=True)
    )
    assert found.loss_distance is None and found.parameter_distance == 0.0


def _after_last(change):
    """A run that counts, with something done to it after its last step."""

    class Changed(Counting):
        def step(self):
            loss = super().step()
            return (change(self) or loss) if self.count == 4 else loss

    return functools.partial(Changed, "rng", "optimizer")


def _cut(run):
    run.model[0].weight.data = run.model[0].weight.data[:1]


def _more(run):
    run.model.more = torch.nn.Linear(2, 2)
    run.optimizer.add_param_group({"params": run.model.more.parameters()})


MEASURED = {
    "nothing": (lambda run: None, 0.0),
    "another dtype": (lambda run: run.model.double() and None, None),
    "another shape": (_cut, None),
    "one besides": (_more, 0.0),
    "moved": (lambda run: run.model[0].weight.data[0, 0].copy_(run.model[0].weight.data[0, 0] + 1) and None, 1.0),
}


@pytest.mark.parametrize(("change", "expected"), MEASURED.values(), ids=MEASURED)
def test_parameters_have_a_distance_where_they_can_be_compared(lost, change, expected):
    found = TrialRunner(_after_last(change), lost.setup).result(Trial(lost.lost, to_the_end=True))
    assert found.parameter_distance == (expected if expected is None else pytest.approx(expected, rel=1e-5))
    assert found.error is None


def test_the_distance_of_losses_is_that_of_the_last_step(lost):
    class Louder(Counting):
        def step(self):
            return super().step() + self.count

    def result(**changed):
        runner = TrialRunner(functools.partial(Louder, "rng", "optimizer"), replace(lost.setup, **changed))
        return runner.result(Trial(lost.lost, to_the_end=True))

    assert result().loss_distance == pytest.approx(4) and result(steps=3).loss_distance == pytest.approx(3)


def test_options_are_told_that_were_the_references_in_the_last_of_several_steps(lost):
    def faster(run):
        run.optimizer.param_groups[0]["lr"] = 0.5

    class Faster(Counting):
        def step(self):
            if self.count == 3:
                faster(self)
            return super().step()

    options = lost.tried(lost.lost, to_the_end=True).options
    assert "optimizer/group.0/lr" in options and not any("exp_avg" in path for path in options)
    other = TrialRunner(functools.partial(Faster, "rng", "optimizer"), lost.setup)
    assert {*options} - {*other.result(Trial(lost.lost, to_the_end=True)).options} == {"optimizer/group.0/lr"}
    assert lost.tried(lost.lost, {"steps": 3}, to_the_end=True).options == ()
    assert lost.tried(lost.lost).options == ()
