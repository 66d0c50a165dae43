"""Trials in one process, on evidence that a check has left: what came of them."""

import functools
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from dora_repro.explain.trials import worker
from dora_repro.explain.trials.setup import inputs_of
from dora_repro.explain.trials.trial import DATA, DRAWS, PASSED, Outcome, Trial
from dora_repro.explain.trials.worker import TrialRunner, answer_trials
from dora_repro.faults.clean.data import FetchedAhead
from dora_repro.faults.plain import Training, samples
from dora_repro.private_names.of_torch import loader_utils
from dora_repro.trace import Divergence
from tests import runs
from tests.explain.trials.checked import GENERATOR, Checked, Counting


def test_nothing_put_back_does_what_the_resumed_run_did_and_all_put_back_what_the_reference_did(lost):
    nothing, whole = lost.tried(), lost.tried(lost.lost)
    assert nothing.outcome is Outcome.DIFFERENT and nothing.divergence == replace(
        lost.report.divergence, difference=None
    )
    assert (nothing.steps, nothing.failed, nothing.error, nothing.parameter_distance) == (1, {}, None, None)
    assert whole.outcome is Outcome.SAME and whole.divergence is None and whole.steps == 2


def test_of_two_losses_one_put_back_leaves_the_other(lost):
    moments = lost.lost - GENERATOR
    assert lost.tried(GENERATOR).divergence.phase == "update"
    assert lost.tried(moments).divergence.phase == "forward"


def test_all_steps_are_done_and_measured_where_that_is_asked_for(lost):
    nothing, whole = lost.tried(to_the_end=True), lost.tried(lost.lost, to_the_end=True)
    assert nothing.steps == 2 and nothing.divergence.step == 3
    assert nothing.parameter_distance > 0 and nothing.loss_distance > 0
    assert (whole.parameter_distance, whole.loss_distance) == (0.0, 0.0)


def test_a_trial_that_differs_in_the_last_step_alone_is_measured_unasked(lost):
    at_once = lost.runner().result(Trial(frozenset()))
    late = lost.runner(steps=lost.setup.start + 1).result(Trial(frozenset()))
    asked = lost.runner(steps=lost.setup.start + 1).result(Trial(frozenset(), to_the_end=True))
    assert not at_once.ended and at_once.parameter_distance is None
    assert late.ended and late == asked and late.parameter_distance > 0
    same = lost.tried(lost.lost)
    assert not same.ended and same.parameter_distance is None  # a walk over all state, for nothing


def test_leaves_that_must_be_alike_at_the_end_decide_too(lost):
    but_seen = lost.lost - {"seen"}
    assert lost.tried(but_seen).outcome is Outcome.SAME
    found = lost.tried(but_seen, {"at_end": ("seen",)})
    assert found.outcome is Outcome.DIFFERENT and found.divergence is None and found.steps == 2
    assert lost.tried(lost.lost, {"at_end": ("seen",)}).outcome is Outcome.SAME


def test_a_run_that_raises_is_unresolved_unless_the_resumed_one_had_raised(lost):
    class Raising(Counting):
        def step(self):
            if self.count == 3:
                raise RuntimeError("broken")
            return super().step()

    factory = functools.partial(Raising, "rng", "optimizer")
    found = TrialRunner(factory, lost.setup).result(Trial(lost.lost))
    assert (found.outcome, found.steps, found.error) == (Outcome.UNRESOLVED, 1, "RuntimeError: broken")
    found = TrialRunner(factory, replace(lost.setup, raised=True)).result(Trial(lost.lost))
    assert found.outcome is Outcome.DIFFERENT and found.error == "RuntimeError: broken"


def test_draws_of_the_reference_stand_in_for_a_generator(lost):
    moments = lost.lost - GENERATOR
    assert lost.setup.streams is not None
    assert lost.tried({*moments, DRAWS}).outcome is Outcome.SAME
    assert lost.tried({*moments, DATA}).outcome is Outcome.DIFFERENT
    assert lost.tried({*moments, DRAWS}, {"streams": None}).outcome is Outcome.DIFFERENT


def test_the_number_of_threads_is_torchs_own_where_none_is_given(lost):
    assert lost.tried((), {"threads": None}).outcome is Outcome.DIFFERENT
    before = torch.get_num_threads()
    try:
        lost.runner(threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_workers_of_loaders_are_waited_for_briefly_as_long_as_trials_are_done(lost, monkeypatch):
    monkeypatch.setattr(loader_utils, "MP_STATUS_CHECK_INTERVAL", 5.0)
    runner = lost.runner()
    assert loader_utils.MP_STATUS_CHECK_INTERVAL == 0.5
    del runner
    assert loader_utils.MP_STATUS_CHECK_INTERVAL == 5.0


def test_an_answer_is_plain_data(lost):
    about = {name: getattr(lost.setup, name) for name in lost.setup.__dataclass_fields__}
    answer = answer_trials(lost.factory, {**about, "at_end": [], "late": []})
    assert answer(Trial(lost.lost).to_dict())["outcome"] == "same"


def test_the_divergence_of_a_trial_is_the_first(lost):
    assert lost.tried(GENERATOR).divergence == Divergence(3, "update", "model/0.weight")


def test_batches_that_are_passed_over_are_the_runs_own(begun_anew):
    assert begun_anew.tried({DATA}).outcome is Outcome.SAME
    assert begun_anew.tried({DATA}, {"passed_over": 1}).outcome is Outcome.SAME
    found = begun_anew.tried({DATA, PASSED}, {"passed_over": 1})
    assert (found.outcome, found.divergence.phase) == (Outcome.DIFFERENT, "batch")
    assert begun_anew.tried({DATA, PASSED}).outcome is Outcome.SAME


def test_no_loader_is_patched_where_no_stream_is_put_in(lost, monkeypatch):
    monkeypatch.setattr(worker, "StreamReplay", lambda *_: pytest.fail("replayed"))
    assert lost.tried(lost.lost).outcome is Outcome.SAME


class WarmedUp(Training):
    """Throws a batch away in its second step where it goes on, which the reference never had; loses a generator."""

    resumed = False

    def load(self, path):
        super().load(path)
        self.resumed = True

    def load_rng(self, state):
        pass

    def next_batch(self):
        if self.resumed and self.steps == 3:
            next(iter(DataLoader(torch.zeros(1, 1), generator=torch.Generator())))
        return super().next_batch()


def test_what_a_run_was_not_handed_yet_may_still_come(tmp_path):
    kept = Checked(tmp_path / "kept", WarmedUp, steps=5)
    assert kept.tried().divergence.phase == "forward"
    assert kept.tried(GENERATOR).outcome is Outcome.SAME

    class ByHand(WarmedUp):
        def next_batch(self):
            return samples().tensors if self.steps == 4 else super().next_batch()

    runner = TrialRunner(ByHand, kept.setup)
    found, measured = (runner.result(Trial(GENERATOR, to_the_end=asked)) for asked in (False, True))
    assert found.divergence.step == measured.divergence.step == 5  # and not the batch that the fourth threw away


class Poked(runs.Forgetful):
    """Writes into a large parameter after its update, where the recorder looks at the last step alone."""

    def __init__(self, *forgotten):
        super().__init__(*forgotten)
        self.model = torch.nn.Linear(512, 512, bias=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def step(self):
        self.optimizer.zero_grad()
        loss = self.model(torch.rand(1, 512)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.model.weight.data.view(-1)[200] += 1
        self.count += 1
        return loss.item()


def test_the_last_step_of_a_trial_is_recorded_as_the_references_was(tmp_path):
    kept = Checked(tmp_path / "kept", functools.partial(Poked, "rng"))
    ends = [
        [effect.phase for effect in step.effects].count("step_end")
        for step in inputs_of(kept.setup).reference.trace.steps
    ]
    assert ends == [0, 0, 0, 1]
    assert kept.tried(GENERATOR).outcome is Outcome.SAME


class Fetched(FetchedAhead):
    """Fetches its batches in other steps where it goes on, and loses a generator."""

    def load_rng(self, state):
        pass


def test_batches_that_come_in_another_step_are_no_difference_as_long_as_the_run_goes_on(tmp_path):
    kept = Checked(tmp_path / "kept", Fetched, steps=9, save_at=2)
    assert kept.tried().divergence.phase == "forward"
    assert kept.tried(kept.lost & {"rng/torch.cpu"}).outcome is Outcome.SAME


@pytest.mark.parametrize("last", [2, 3])
def test_a_run_that_ends_early_is_another_one(lost, last):
    class Ending(Counting):
        def step(self):
            if self.count == last:
                raise StopIteration
            return super().step()

    runner = TrialRunner(functools.partial(Ending, "rng", "optimizer"), lost.setup)
    found = runner.result(Trial(lost.lost, to_the_end=True))
    assert (found.outcome, found.steps, found.divergence.step) == (Outcome.DIFFERENT, last - 2, last + 1)
    assert (found.loss_distance is None) is (last == 2) and found.error is None


def test_losses_have_a_distance_where_both_runs_tell_them(lost):
    class Silent(Counting):
        def step(self):
            super().step()

    found = TrialRunner(functools.partial(Silent, "rng", "optimizer"), lost.setup).result(
        Trial(lost.lost, to_the_end=True)
    )
    assert found.loss_distance is None and found.parameter_distance == 0.0


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
