"""Trials in one process, on evidence that a check has left: what is put in, and what came of it."""

import functools
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import dora_repro
from dora_repro.checks.keeping import Kept
from dora_repro.explain.trials import worker
from dora_repro.explain.trials.trial import (
    CONTROL,
    DATA,
    DRAWS,
    ITERATORS,
    LATE,
    LOOP,
    PASSED,
    Lines,
    Outcome,
    Trial,
    TrialResult,
)
from dora_repro.explain.trials.worker import TrialRunner, TrialSetup, answer_trials, same_leaves
from dora_repro.faults.clean.data import FetchedAhead
from dora_repro.faults.clean.files import MadeInFirstStep
from dora_repro.faults.functions import PlateauInAFunction
from dora_repro.faults.plain import Training
from dora_repro.private_names.of_torch import loader_utils
from dora_repro.sides.late_objects import NEVER_MADE
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

    def __init__(self, folder, factory, steps=4, save_at=2, **asked):
        self.factory = factory
        self.report = dora_repro.check(factory, steps=steps, save_at=save_at, folder=folder, in_process=True, **asked)
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


def test_a_trial_that_differs_in_the_last_step_alone_is_measured_unasked(lost):
    at_once = lost.runner().result(Trial(frozenset()))
    late = lost.runner(steps=lost.setup.start + 1).result(Trial(frozenset()))
    asked = lost.runner(steps=lost.setup.start + 1).result(Trial(frozenset(), to_the_end=True))
    assert not at_once.ended and at_once.parameter_distance is None
    assert late.ended and late == asked and late.parameter_distance > 0


def test_what_was_read_beforehand_is_not_read_again(lost, monkeypatch):
    read = {}
    monkeypatch.setattr(worker, "_read", read)
    about = asdict(lost.setup)
    worker.prepare(about)
    expected = lost.runner().result(Trial(lost.lost))
    monkeypatch.setattr(worker, "_read_of", lambda setup: pytest.fail("read again"))
    assert TrialResult.from_dict(answer_trials(lost.factory, about)(Trial(lost.lost).to_dict())) == expected
    assert expected.outcome is Outcome.SAME and list(read) == [lost.setup]


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
    save, load = (*save, 'torch.save(7, path / "own.pt")'), (*load, 'assert torch.load(path / "own.pt") == 7')
    assert kept.tried(kept.lost, lines=Lines(save, tuple(("", line) for line in load))).outcome is Outcome.SAME


def test_lines_that_write_a_file_find_no_folder_where_the_checkpoint_is_none(lost):
    lines = Lines(("import torch", "torch.save(7, path)"), (("", "import torch"), ("", "assert torch.load(path) == 7")))
    found = lost.tried(lost.lost, lines=lines, beside=lost.lost)
    assert (found.outcome, found.error) == (Outcome.SAME, None)


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


# --- what lines and transplants alone do not reach -------------------------------------------------------------------


class BegunAnew(Training):
    """Begins an epoch anew where it goes on."""

    def load_data(self, state):
        pass


@pytest.fixture(scope="module")
def begun_anew(tmp_path_factory):
    return Checked(tmp_path_factory.mktemp("anew") / "kept", BegunAnew)


def test_an_iterator_is_there_in_a_run_that_did_the_steps_before(begun_anew):
    assert begun_anew.tried({ITERATORS, *begun_anew.lost}).outcome is Outcome.SAME
    assert begun_anew.tried({ITERATORS}).outcome is Outcome.SAME  # the place in the data is all that was missing
    without = begun_anew.tried(begun_anew.lost)
    assert without.outcome is Outcome.UNRESOLVED and "batches" in without.error


def test_the_control_of_iterators_does_what_the_resumed_run_did(begun_anew):
    found = begun_anew.tried({CONTROL}, to_the_end=True)
    assert (found.outcome, found.divergence, found.steps) == (Outcome.SAME, None, 2)
    assert found.parameter_distance > 0  # measured from the reference all the same


def test_batches_that_are_passed_over_are_the_runs_own(begun_anew):
    assert begun_anew.tried({DATA}).outcome is Outcome.SAME
    assert begun_anew.tried({DATA}, {"passed_over": 1}).outcome is Outcome.SAME
    found = begun_anew.tried({DATA, PASSED}, {"passed_over": 1})
    assert (found.outcome, found.divergence.phase) == (Outcome.DIFFERENT, "batch")
    assert begun_anew.tried({DATA, PASSED}).outcome is Outcome.SAME


def test_variables_of_a_function_are_put_back_once_its_loop_has_begun(tmp_path):
    kept = Checked(tmp_path / "kept", PlateauInAFunction, steps=12, save_at=8)
    names = {"train_model/best", "train_model/waited"}
    assert kept.tried({*names, LOOP, DATA}).outcome is Outcome.SAME
    found = kept.tried({LOOP, DATA})
    assert (found.outcome, found.divergence.step, found.divergence.phase) == (Outcome.DIFFERENT, 12, "schedule")


class Late(MadeInFirstStep):
    """Makes its optimizer in the first step, and does not give it what it had."""

    def give(self, state):
        pass


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    return Checked(tmp_path_factory.mktemp("late") / "kept", Late)


MADE = {"late": ("optimizer", "scheduler")}


def _of_late_objects(late):
    saved = late.runner()._saved
    return {path for path in saved if path.startswith(MADE["late"]) and not path.endswith("/params")}


def test_objects_that_are_made_in_the_first_step_are_given_what_they_had_there(late):
    leaves = _of_late_objects(late)
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


def test_lines_for_objects_that_are_made_late_wait_for_them(late):
    save = tuple(f'state["{name}"] = self.{name}.state_dict()' for name in MADE["late"])
    load = tuple(f'self.{name}.load_state_dict(state["{name}"])' for name in reversed(MADE["late"]))
    early = ('state["n"] = 1', 'assert state["n"] == 1 and self.optimizer is None')
    lines = Lines((early[0], *save), tuple(("", line) for line in (early[1], *load)), late=(*save, *load))
    names = {*_of_late_objects(late), LATE}
    assert late.tried(names, MADE, lines=lines).outcome is Outcome.SAME
    at_once = late.tried(names, MADE, lines=replace(lines, late=save))
    assert at_once.outcome is Outcome.UNRESOLVED and at_once.steps == 0
    moments = ('state["m"] = len(self.optimizer.state)', 'assert state["m"] == 4')  # what it had, is there by then
    told = Lines((moments[0],), (("", moments[1]),), late=moments)
    assert late.tried(names, MADE, lines=told).outcome is Outcome.DIFFERENT
    broken = Lines((), (("", "raise RuntimeError(path)"),), late=("raise RuntimeError(path)",))
    assert late.tried(names, MADE, lines=broken).error.startswith("RuntimeError")
    assert late.tried(names - {LATE}, MADE, lines=broken).error is None  # nobody waits for the objects
    # What is put back beside lines is put into these objects as well, before the lines are run.
    beside = frozenset(_of_late_objects(late))
    assert late.tried(names, MADE, lines=Lines((), ()), beside=beside).outcome is Outcome.SAME


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


class Fetched(FetchedAhead):
    """Fetches its batches in other steps where it goes on, and loses a generator."""

    def load_rng(self, state):
        pass


def test_batches_that_come_in_another_step_are_no_difference_as_long_as_the_run_goes_on(tmp_path):
    kept = Checked(tmp_path / "kept", Fetched, steps=9, save_at=2)
    assert kept.tried().divergence.phase == "forward"
    assert kept.tried(kept.lost & {"rng/torch.cpu"}).outcome is Outcome.SAME


# --- measured to the end ---------------------------------------------------------------------------------------------


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


def test_switches_of_torch_are_what_they_were_for_each_trial(lost):
    runner = lost.runner()
    torch.use_deterministic_algorithms(True)
    try:
        assert runner.result(Trial(lost.lost)).outcome is Outcome.SAME
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_paths_of_a_setup_are_told_relative_to_its_folder(lost):
    fields = lost.setup.within(Path(lost.setup.reference).parent)
    assert fields["reference"] == "reference" and fields["objects"] is None and fields["start"] == 2


def test_nothing_is_passed_over_or_late_unless_that_is_said():
    setup = TrialSetup("load", 1, 2, "reference", "resumed", "saved")
    assert (setup.passed_over, setup.late, setup.at_end, setup.raised) == (0, (), (), False)
