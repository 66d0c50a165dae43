"""Trials in one process, on evidence that a check has left: what is put in, and what came of it."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dora_repro
from dora_repro.checks.keeping import Kept
from dora_repro.explain.trials.trial import DATA, DRAWS, Lines, Outcome, Trial
from dora_repro.explain.trials.worker import TrialRunner, TrialSetup, answer_trials, same_leaves
from dora_repro.trace import Divergence
from tests import runs
from tests.evidence import snapshot


class Counting(runs.Forgetful):
    """Counts its steps, and saves the number nowhere."""

    def __init__(self, *forgotten):
        super().__init__(*forgotten)
        self.seen = 0

    def step(self):
        self.seen += 1
        return super().step()


LOST = functools.partial(Counting, "rng", "optimizer")
GENERATOR = frozenset({"rng/torch.cpu"})


class Checked:
    """A check's evidence, and what runs trials on it."""

    def __init__(self, folder, factory, **asked):
        self.factory = factory
        self.report = dora_repro.check(factory, steps=4, save_at=2, folder=folder, in_process=True, **asked)
        self.setup = TrialSetup.below(folder, Kept.read(folder).answers[0].trial)
        self.lost = frozenset(each.path for each in self.report.lost)

    def runner(self, **changed):
        return TrialRunner(self.factory, replace(self.setup, **changed))

    def tried(self, names=frozenset(), setup=None, **more):
        return self.runner(**(setup or {})).result(Trial(frozenset(names), **more))


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    return Checked(tmp_path_factory.mktemp("lost") / "kept", LOST)


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


def test_each_trial_begins_in_the_state_that_the_process_began_with(lost):
    runner = lost.runner()
    for _ in range(2):
        torch.rand(3)
        assert runner.result(Trial(lost.lost)).outcome is Outcome.SAME
        assert runner.result(Trial(frozenset())).outcome is Outcome.DIFFERENT


def test_all_steps_are_done_and_measured_where_that_is_asked_for(lost):
    nothing, whole = lost.tried(to_the_end=True), lost.tried(lost.lost, to_the_end=True)
    assert nothing.steps == 2 and nothing.divergence.step == 3
    assert nothing.parameter_distance > 0 and nothing.loss_distance > 0
    assert (whole.parameter_distance, whole.loss_distance) == (0.0, 0.0)


def test_losses_have_a_distance_where_both_runs_tell_them(lost):
    class Silent(Counting):
        def step(self):
            super().step()

    found = TrialRunner(functools.partial(Silent, "rng", "optimizer"), lost.setup).result(
        Trial(lost.lost, to_the_end=True)
    )
    assert found.loss_distance is None and found.parameter_distance == 0.0


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


def test_an_answer_is_plain_data(lost):
    about = {name: getattr(lost.setup, name) for name in lost.setup.__dataclass_fields__}
    answer = answer_trials(lost.factory, {**about, "at_end": [], "late": []})
    assert answer(Trial(lost.lost).to_dict())["outcome"] == "same"


def test_the_setup_is_found_in_a_folder_that_was_moved(lost, tmp_path):
    folder = tmp_path / "elsewhere"
    moved = TrialSetup.below(
        folder, {**lost.setup.within(Path(lost.setup.reference).parent), "at_end": ["a"], "late": ["b"]}
    )
    assert moved.load == str(folder / "reference/save-2/first/step2.pt") and moved.at_end == ("a",)
    assert moved.late == ("b",) and moved.objects is None and moved.steps == 4


# --- lines -----------------------------------------------------------------------------------------------------------


def test_lines_are_run_on_a_run_that_has_all_and_on_one_as_it_was_resumed(lost):
    save = ('state["optimizer"] = self.optimizer.state_dict()', 'state["rng"] = torch.get_rng_state()')
    load = (("", 'self.optimizer.load_state_dict(state["optimizer"])'), ("", 'torch.set_rng_state(state["rng"])'))
    save, load = ("import torch", *save), (("", "import torch"), *load)
    assert lost.tried(lost.lost, lines=Lines(save, load)).outcome is Outcome.SAME
    assert lost.tried(lost.lost, lines=Lines(save, load[:2])).divergence.phase == "forward"
    wrong = lost.tried(lost.lost, lines=Lines(save, (("", "self.nowhere.x"),)))
    assert wrong.outcome is Outcome.UNRESOLVED and "nowhere" in wrong.error
    # What is put back beside the lines is put into the run that they are tried on.
    assert lost.tried(lost.lost, lines=Lines((), ()), beside=lost.lost).outcome is Outcome.SAME


class Folder(Counting):
    """Saves a folder."""

    def save(self, path):
        Path(path).mkdir()
        super().save(f"{path}/state.pt")

    def load(self, path):
        super().load(f"{path}/state.pt")


def test_lines_are_tried_on_a_checkpoint_that_is_a_folder_too(tmp_path):
    kept = Checked(tmp_path / "kept", functools.partial(Folder, "rng", "optimizer"))
    save = ("import torch", 'state["optimizer"] = self.optimizer.state_dict()', 'state["rng"] = torch.get_rng_state()')
    load = ("import torch", 'self.optimizer.load_state_dict(state["optimizer"])', 'torch.set_rng_state(state["rng"])')
    assert kept.tried(kept.lost, lines=Lines(save, tuple(("", line) for line in load))).outcome is Outcome.SAME


# --- the ends --------------------------------------------------------------------------------------------------------


def test_leaves_are_alike_where_bytes_and_forms_are():
    one = snapshot({"a": 1, "b/0": 2}, forms={"b": "list"})
    assert same_leaves(one, snapshot({"a": 1, "b/0": 3}, forms={"b": "list"}), ["a", "b", "c"])
    assert not same_leaves(one, snapshot({"a": 2, "b/0": 2}), ["a"])
    assert not same_leaves(one, snapshot({"b/0": 2}), ["a"]) and not same_leaves(snapshot({}), one, ["a"])
    assert not same_leaves(one, snapshot({"a": 1, "b/0": 3}), ["a", "b/0"])
    other = snapshot({"a": 1, "b/0": 2}, forms={"b": "tuple"})
    assert not same_leaves(one, other, ["a", "b"]) and same_leaves(one, other, ["a", "b/0"])


def test_the_divergence_of_a_trial_is_the_first(lost):
    assert lost.tried(GENERATOR).divergence == Divergence(3, "update", "model/0.weight")
