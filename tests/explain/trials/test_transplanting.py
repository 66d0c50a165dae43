"""State of the reference, put back into runs that are built anew."""

import functools

import pytest
import torch

from dora_repro.explain.trials.setup import inputs_of
from dora_repro.explain.trials.transplanting import Progress, Transplants
from dora_repro.explain.trials.trial import CONTROL, DATA, ITERATORS, LATE, LOOP, Outcome, Trial
from dora_repro.explain.trials.worker import TrialRunner
from dora_repro.faults.functions import PatienceInALoop, PlateauInAFunction
from dora_repro.sides.late_objects import NEVER_MADE
from dora_repro.state.snapshot import Snapshot
from tests import runs
from tests.explain.trials.checked import GENERATOR, MADE, Checked, Counting, of_late_objects


def test_each_trial_begins_in_the_state_that_the_process_began_with(lost):
    runner = lost.runner()
    for _ in range(2):
        torch.rand(3)
        assert runner.result(Trial(lost.lost)).outcome is Outcome.SAME
        assert runner.result(Trial(frozenset())).outcome is Outcome.DIFFERENT


def test_a_run_is_built_with_the_generators_and_switches_that_the_process_began_with(lost):
    """What its constructor makes of them may be where no snapshot can put it."""
    seen = []

    def build():
        seen.append((torch.rand(1).item(), torch.are_deterministic_algorithms_enabled()))
        return lost.factory()

    runner = TrialRunner(build, lost.setup)
    try:
        for _ in range(2):
            assert runner.result(Trial(lost.lost)).outcome is Outcome.SAME
            torch.rand(3)
            torch.use_deterministic_algorithms(True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen[0] == seen[1] and seen[0][1] is False


def test_an_iterator_is_there_in_a_run_that_did_the_steps_before(begun_anew):
    assert begun_anew.tried({ITERATORS, *begun_anew.lost}).outcome is Outcome.SAME
    assert begun_anew.tried({ITERATORS}).outcome is Outcome.SAME  # the place in the data is all that was missing
    without = begun_anew.tried(begun_anew.lost)
    assert without.outcome is Outcome.UNRESOLVED and "batches" in without.error


def test_the_control_of_iterators_does_what_the_resumed_run_did(begun_anew):
    found = begun_anew.tried({CONTROL}, to_the_end=True)
    assert (found.outcome, found.divergence, found.steps) == (Outcome.SAME, None, 2)
    assert found.parameter_distance > 0  # measured from the reference all the same


def test_variables_of_a_function_are_put_back_once_its_loop_has_begun(tmp_path):
    kept = Checked(tmp_path / "kept", PlateauInAFunction, steps=12, save_at=8)
    names = {"train_model/best", "train_model/waited"}
    assert kept.tried({*names, LOOP, DATA}).outcome is Outcome.SAME
    found = kept.tried({LOOP, DATA})
    assert (found.outcome, found.divergence.step, found.divergence.phase) == (Outcome.DIFFERENT, 12, "schedule")


def test_variables_of_a_loop_are_put_back_after_one_step_of_it(tmp_path):
    kept = Checked(tmp_path / "kept", PatienceInALoop, steps=8, save_at=3)
    assert kept.tried({LOOP, DATA, "loop/left"}).outcome is Outcome.SAME
    found = kept.tried({LOOP, DATA})
    assert (found.outcome, found.divergence.step) == (Outcome.DIFFERENT, 6)
    saved_at_once = Checked(tmp_path / "at once", PatienceInALoop, steps=8, save_at=1)
    assert saved_at_once.tried({LOOP, DATA}).outcome is Outcome.SAME  # where the reference's loop stood as well


def test_a_run_is_not_watched_or_walked_through_for_what_nobody_asks(lost, monkeypatch):
    monkeypatch.setattr(Snapshot, "capture", lambda roots: pytest.fail("walked"))
    progress = Progress()
    Transplants(lost.factory, lost.setup, inputs_of(lost.setup)).run_with(lost.lost, progress)
    assert progress.when_made is None and progress.failed == {}


def test_objects_that_are_made_in_the_first_step_are_given_what_they_had_there(late):
    leaves = of_late_objects(late)
    found = late.tried({*leaves, LATE}, MADE)
    assert (found.outcome, found.failed, found.steps) == (Outcome.SAME, {}, 2)
    assert late.tried({LATE}, MADE).outcome is Outcome.DIFFERENT
    assert late.tried({*leaves, LATE, "steps"}, MADE).outcome is Outcome.SAME
    nowhere = late.tried({"absent/n", LATE}, {"late": ("absent",)})
    assert nowhere.failed == {"absent/n": NEVER_MADE}
    at_once = late.tried(leaves, {**MADE, "objects": None})  # nobody said that they may wait
    assert at_once.outcome is not Outcome.SAME and {*at_once.failed} <= leaves and at_once.failed


def test_an_object_that_is_missing_is_put_in_whole(late):
    assert late.tried(late.lost).outcome is Outcome.SAME
    found = late.tried(late.lost, {"objects": None})
    assert found.outcome is Outcome.UNRESOLVED and any(path.startswith("optimizer") for path in found.failed)
    assert {*found.failed} <= late.lost  # of what was asked for alone it is told


class Ordered(runs.Plain):
    """Square weights, which can be given each other's moments."""

    backwards = False

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(*(torch.nn.Linear(4, 4, bias=False) for _ in range(3)))
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(parameters[::-1] if self.backwards else parameters, lr=0.1)

    def step(self):
        self.optimizer.zero_grad()
        loss = self.model(torch.ones(2, 4)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.count += 1
        return loss.item()


class Backwards(Ordered):
    backwards = True


class OtherOrder:
    """Resumes with its parameters in another order, and their moments loaded by position."""

    def __call__(self):
        return Ordered()

    def resume(self, path):
        run = Backwards()
        run.load(path)
        return run


def test_an_order_of_parameters_is_put_back_with_what_was_loaded_by_it(tmp_path):
    kept = Checked(tmp_path / "kept", OtherOrder())
    order = "optimizer/group.0/params"
    assert kept.tried().outcome is Outcome.DIFFERENT
    found = kept.tried({order})
    assert (found.outcome, found.failed) == (Outcome.SAME, {})
    moments = {path for path in kept.lost if "exp_avg" in path}
    assert moments and kept.tried({order, *moments}).outcome is Outcome.SAME
    assert kept.tried(moments).outcome is Outcome.SAME  # in their own order, each has its own


class Unused(Ordered):
    """Has a layer without moments: nothing reaches it."""

    def __init__(self):
        super().__init__()
        self.model[2].requires_grad_(False)


class UnusedBackwards(Unused):
    backwards = True


class UnusedInOtherOrder(OtherOrder):
    def __call__(self):
        return Unused()

    def resume(self, path):
        run = UnusedBackwards()
        run.load(path)
        return run


def test_moments_that_an_order_gave_to_another_parameter_are_given_back_with_it(tmp_path):
    kept = Checked(tmp_path / "kept", UnusedInOtherOrder())
    assert kept.tried().outcome is Outcome.DIFFERENT
    found = kept.tried({"optimizer/group.0/params"})
    assert (found.outcome, found.failed) == (Outcome.SAME, {})
    assert {*kept.report.explanation.leaves} == {"optimizer/group.0/params"}  # and no moments


class TwoOptimizers(Ordered):
    """Saves nothing of the second one."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 1, bias=False)
        self.other = torch.optim.SGD(self.head.parameters(), lr=0.1, momentum=0.9)

    def step(self):
        self.other.zero_grad()
        self.head(torch.ones(1, 4)).square().mean().backward()
        self.other.step()
        return super().step()


class TwoBackwards(TwoOptimizers):
    backwards = True


class MoreLost:
    """Resumes in another order, and with a rate and moments that are others each time and in each place."""

    resumed = 0

    def __call__(self):
        return TwoOptimizers()

    def resume(self, path):
        run = TwoBackwards()
        run.load(path)
        type(self).resumed += 1
        run.optimizer.param_groups[0]["lr"] = 0.1 + self.resumed
        run.optimizer.state[run.model[1].weight]["exp_avg"].zero_()
        run.other.state[run.head.weight]["momentum_buffer"] = torch.full((1, 4), float(self.resumed))
        return run


def test_beside_an_order_all_else_is_as_it_was_resumed_or_as_it_is_put_back(tmp_path):
    kept = Checked(tmp_path / "kept", MoreLost())
    order = "optimizer/group.0/params"
    others = {"optimizer/group.0/lr", "optimizer/1.weight/exp_avg", "other/weight/momentum_buffer", "head/weight"}
    assert others < kept.lost
    assert kept.tried({order, *others}).outcome is Outcome.SAME
    assert all(kept.tried({order, *others} - {path}).outcome is Outcome.DIFFERENT for path in others)
    one, again = (kept.tried({order}, to_the_end=True) for _ in range(2))
    assert one.parameter_distance == again.parameter_distance > 0


class AtTimes(Counting):
    """Has an object that some are made without."""

    whole = True

    def __init__(self, *forgotten):
        super().__init__(*forgotten)
        if self.whole:
            self.part = torch.nn.Linear(1, 1)


def test_only_of_what_was_to_be_put_in_it_is_told_that_it_could_not_be(tmp_path, monkeypatch):
    kept = Checked(tmp_path / "kept", functools.partial(AtTimes, "rng", "optimizer"))
    monkeypatch.setattr(AtTimes, "whole", False)
    assert kept.tried(GENERATOR).failed == {}
    assert {*kept.tried({"part/weight"}).failed} == {"part/weight"}
