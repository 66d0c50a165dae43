"""Each verdict on runs that deserve it, and on twins that do not: in this process, for speed."""

import functools
import json
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from dora_repro import Verdict, check, every_step, twice
from dora_repro.checks.options import request_of
from dora_repro.checks.running import run_every_step
from dora_repro.errors import BadInput, Defect
from dora_repro.faults.gallery import find
from dora_repro.recording import effects
from dora_repro.recording.effects import StepEffects
from tests import runs


def ask(factory, *arguments, steps=8, save_at=5, **options):
    made = functools.partial(factory, *arguments) if arguments else factory
    return check(made, steps=steps, save_at=save_at, in_process=True, **options)


EXACT = [
    (runs.Plain,),
    (runs.Loader,),
    (runs.Loader, 0, "onecycle"),
    (runs.Ema,),
    (runs.Accumulating,),
    (runs.Lbfgs,),
    (runs.BatchNormSgd,),
    (runs.PrivateGenerators,),
    (runs.Tied,),
    (runs.Counters,),
    (runs.Generating,),
    (runs.HandMade,),
    (runs.Timed,),
    (runs.LateLoading,),
    (runs.Resuming,),
]


@pytest.mark.parametrize("case", EXACT, ids=lambda case: "-".join(str(getattr(a, "__name__", a)) for a in case))
def test_a_run_that_saves_all_it_needs_is_exact(case):
    report = ask(*case)
    assert report.verdict is Verdict.EXACT, report.reason
    assert report.divergence is None
    assert report.steps_done == {"reference": 8, "resumed": 3}
    # LateLoading is different right after loading, as it says, and heals before that matters.
    assert [c.name for c in report.comparisons if not c.equal] == (["load"] if case[0] is runs.LateLoading else [])


DIFFERENT = [
    ((runs.Forgetful, "optimizer"), (6, "update", "model/0.weight")),
    ((runs.Forgetful, "rng"), (6, "forward", "outputs/model")),
    ((runs.LoaderForgetful, "data"), (6, "batch", "batch/0")),
    ((runs.LoaderForgetful, "scheduler"), (6, "schedule", "optimizer/group.0/lr")),
    ((runs.PrivateGenerators, False), (6, "forward", "outputs/model")),
    ((runs.WronglyResuming,), (6, "forward", "outputs/model")),
    ((runs.Nothing,), (5, "load", "model/0.weight")),
    ((runs.EndsEarly,), (5, "epoch_end", "run/finished")),
    ((runs.Raising, "load"), (3, "load", "run/exception")),
    ((runs.Raising, "step", 3), (4, "batch", "run/exception")),
    ((runs.Raising, "step", 4), (5, "batch", "run/exception")),
    ((runs.DamagingSave, "mode"), (3, "save", "model/training")),
    ((runs.DamagingSave, "generator"), (3, "save", "rng/torch.cpu")),
    ((runs.DamagingSave, "parameter"), (3, "save", "model/0.weight")),
    ((runs.DamagingSave, "used counter"), (3, "save", "saved")),
    ((runs.DamagingSave, "used helper"), (3, "save", "model/helper")),
]


@pytest.mark.parametrize(("case", "where"), DIFFERENT, ids=lambda value: "-".join(map(str, value[1:])))
def test_a_run_that_loses_something_differs_where_it_is_first_used(case, where):
    step, phase, _ = where
    report = ask(*case, save_at={"load": step, "save": step}.get(phase, 5 if step == 6 else 3))
    assert report.verdict is Verdict.DIFFERENT, report.reason
    assert (report.divergence.step, report.divergence.phase, report.divergence.leaf) == where
    assert report.control.deterministic and report.control.runs == ("reference", "resumed")


LATENT = [
    ((runs.Forgetful, "count"), ("count",)),
    ((runs.Ema, False), ("ema/0.weight", "ema/0.bias", "ema/3.weight", "ema/3.bias")),
    (
        (runs.BatchNormSgd, False),
        ("model/2.running_mean", "model/2.running_var", "model/2.num_batches_tracked"),
    ),
    ((runs.Counters, False), ("stopper/best", "stopper/waited")),
]


@pytest.mark.parametrize(("case", "leaves"), LATENT, ids=lambda value: "-".join(map(str, value[1:])))
def test_memory_that_is_lost_without_effect_is_latent_until_it_is_ignored(case, leaves):
    report = ask(*case, steps=5, save_at=4)
    assert report.verdict is Verdict.LATENT, report.reason
    assert set(report.latent) == set(leaves)
    ignored = ask(*case, steps=5, save_at=4, ignore=leaves)
    assert ignored.verdict is Verdict.EXACT
    assert set(ignored.set_aside.ignored) == set(leaves)


def test_a_lost_counter_of_early_stopping_ends_the_run_later():
    report = ask(runs.Counters, False, 3, steps=12, save_at=2)
    assert (report.verdict, report.divergence.leaf) == (Verdict.DIFFERENT, "run/finished")


def test_an_ignore_that_matches_nothing_names_the_nearest_leaf():
    with pytest.raises(BadInput, match=r"ignore='cuont' matches none of \d+ leaves: did you mean 'count'\?"):
        ask(runs.Plain, ignore=["cuont"])


def test_batches_that_are_thrown_away_are_no_difference_and_told():
    report = ask(runs.ThrowingAway, "data")
    assert report.verdict is Verdict.LATENT, report.reason
    assert set(report.latent) >= {"generator", "position"}
    assert report.notes == ("from step 6 on the loader handed out other batches; no step worked with what differs",)
    kept = ask(runs.ThrowingAway)
    assert kept.verdict is Verdict.EXACT and kept.notes == ()


def test_what_two_uninterrupted_runs_differ_in_accuses_nobody():
    report = ask(runs.Timed)
    assert set(report.set_aside.noise) >= {"started"}
    assert report.control.deterministic is True


def test_a_counter_that_save_keeps_for_itself_is_asked_of_an_experiment():
    report = ask(runs.DamagingSave, "counter", save_at=3)
    assert report.verdict is Verdict.EXACT
    assert report.notes == ("save() changed saved: the steps are the same without saving",)


def test_a_helper_that_save_makes_where_there_was_none_accuses_nobody():
    """As Lightning's Fabric makes what it writes with: in a module, whose structure save() may not change."""
    report = ask(runs.DamagingSave, "helper", save_at=3)
    assert report.verdict is Verdict.EXACT
    changed = "save() changed model/helper, model/helper/protocol"
    assert report.notes[0] == f"{changed}: the steps are the same without saving"


class ByHand:
    """Least squares in numpy or in torch, without a module, a gradient or an optimizer; `lost` is not saved."""

    def __init__(self, kind, lost=False, idle=False):
        make = {"numpy": np.linspace, "torch": torch.linspace}[kind]
        self.kind, self.lost, self.idle = kind, lost, idle
        self.inputs, self.targets = make(0, 1, 12).reshape(4, 3), make(1, 2, 4)
        self.weight, self.velocity = make(0, 0, 3), make(0, 0, 3)

    def step(self):
        wrong = self.inputs @ self.weight - self.targets
        if not self.idle:
            self.velocity = 0.9 * self.velocity + self.inputs.T @ wrong
            self.weight = self.weight - 0.1 * self.velocity
        return float((wrong**2).mean())

    def save(self, path):
        torch.save([self.weight, None if self.lost else self.velocity], path)

    def load(self, path):
        self.weight, velocity = torch.load(path, weights_only=False)
        self.velocity = self.velocity if velocity is None else velocity


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_run_that_trains_by_hand_is_judged(kind):
    assert ask(ByHand, kind).verdict is Verdict.EXACT
    lost = ask(ByHand, kind, True)
    assert lost.verdict is Verdict.DIFFERENT
    assert [cause.name for cause in lost.causes] == ["velocity"]
    assert ask(ByHand, kind, False, True).reason == "nothing was tested: the run has no trainable parameter"


def test_numbers_that_change_beside_an_optimizer_that_trains_nothing_test_nothing():
    class Idle(runs.Plain):
        def step(self):
            self.count += 1
            self.inputs = torch.full_like(self.inputs, self.count)
            return float(self.model(self.inputs).detach().square().mean())

    assert ask(Idle).reason == "nothing was tested: no trainable parameter changed in the reference"


@pytest.mark.parametrize("since", [0, 3, 5])
def test_a_run_that_is_not_deterministic_is_inconclusive(since):
    report = ask(runs.Nondeterministic, since, save_at=3)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason.startswith(f"not deterministic: a repeat of the same side first differs at step {since + 1}, ")
    assert report.verdict.exit_code == 3


def test_a_run_that_is_not_deterministic_after_the_divergence_is_accused_with_a_note():
    class Both(runs.Nondeterministic):
        def state(self):
            return {name: part for name, part in super().state().items() if name != "optimizer"}

    report = ask(Both, 7, save_at=3)
    assert (report.verdict, report.divergence.step) == (Verdict.DIFFERENT, 4)
    assert any("not deterministic later on" in note for note in report.notes)


def test_without_a_control_nobody_is_accused():
    report = ask(runs.Forgetful, "optimizer", control="never")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason.startswith("not controlled")
    assert ask(runs.Plain, control="never").verdict is Verdict.EXACT


def test_a_control_that_is_always_wanted_is_run_where_all_bytes_are_equal():
    assert ask(runs.Plain).control.runs == ()
    assert ask(runs.Plain, control="always").control.runs == ("reference",)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("no parameter", "no trainable parameter"),
        ("no learning rate", "no trainable parameter changed"),
        ("zero gradients", "every gradient of the reference was zero"),
    ],
)
def test_a_check_that_tested_nothing_does_not_pass(how, why):
    report = ask(runs.Vacuous, how)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert why in report.reason


def test_a_constant_loss_is_no_test():
    class Constant(runs.Plain):
        def step(self):
            super().step()
            return 1.0

    assert "the loss of the reference never changed" in ask(Constant).reason


def test_a_save_after_the_last_step_compares_the_state_alone_and_says_so():
    report = ask(runs.Plain, save_at=8)
    assert report.verdict is Verdict.EXACT
    assert "state alone" in report.reason
    assert ask(runs.Forgetful, "optimizer", save_at=8).verdict is Verdict.LATENT


def test_a_difference_within_an_asked_tolerance_passes_and_says_that_it_is_not_exact():
    report = ask(runs.Forgetful, "optimizer", tolerance=1.0)
    assert report.verdict is Verdict.WITHIN_TOLERANCE
    assert "not exact" in report.reason
    assert ask(runs.Forgetful, "optimizer", tolerance="parameters").verdict is Verdict.DIFFERENT


@pytest.mark.parametrize("case", [(runs.EndsEarly,), (runs.Raising, "load"), (runs.DamagingSave, "parameter")])
def test_no_tolerance_excuses_an_early_end_an_exception_or_a_save_that_changes_the_run(case):
    assert ask(*case, save_at=3, tolerance=1e9).verdict is Verdict.DIFFERENT


def test_a_nan_is_within_no_tolerance():
    class Spoiled(runs.Plain):
        def load(self, path):
            super().load(path)
            self.model[3].bias.data[0] = float("nan")

    assert ask(Spoiled, tolerance=1e9).verdict is Verdict.DIFFERENT


def test_the_resumed_side_that_goes_on_too_long_differs():
    report = ask(runs.EndsEarly, False, save_at=2)
    assert (report.divergence.step, report.divergence.leaf, report.divergence.kind) == (5, "run/finished", "unexpected")


def test_a_reference_that_raises_is_bad_input():
    with pytest.raises(BadInput, match=r"raised \(step after step 2\)(.|\n)*planted in the reference"):
        ask(runs.Raising, "reference", 2)
    with pytest.raises(BadInput, match="planted in build"):
        ask(runs.Raising, "build")


def test_a_save_that_is_never_reached_is_bad_input():
    with pytest.raises(BadInput, match="save_at=5: the run was over after step 4: choose a step from 0 to 4"):
        ask(runs.EndsEarly, False, save_at=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: at least one step"),
        ({"save_at": 9}, "save_at=9: give a step from 0"),
        ({"save_at": -1}, "save_at=-1: give a step from 0"),
        ({"control": "sometimes"}, "control='sometimes': choose one of auto, always, never"),
        ({"tolerance": "paramters"}, "tolerance='paramters': give a number or one of load, parameters, outputs"),
        ({"tolerance": -1}, "tolerance=-1: give a number of 0 or more"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"timeout": 0}, "timeout=0"),
    ],
)
def test_an_impossible_question_is_refused_before_anything_runs(options, message):
    with pytest.raises(BadInput, match=message):
        ask(runs.Plain, **options)


def test_every_step_resumes_from_each_and_trains_the_reference_once():
    heard = []
    request = request_of(runs.Loader, 6, range(7), {"in_process": True}, title="every step")
    found = run_every_step(replace(request, on_event=lambda side, event: heard.append((side, event["event"]))))
    assert [report.save_at for report in found.reports] == [0, 1, 2, 3, 4, 5, 6]
    assert found.verdict is Verdict.EXACT
    assert heard.count(("reference", "built")) == 1


def test_every_step_finds_the_one_step_that_cannot_be_resumed():
    class ForgetsMidEpoch(runs.Loader):
        def load(self, path):
            super().load(path)
            if self.count == 5:
                self.batches = None

    found = every_step(ForgetsMidEpoch, steps=6, in_process=True)
    assert [report.save_at for report in found.reports if not report.passed] == [5]
    assert found.verdict is Verdict.DIFFERENT


def test_twice_resumes_a_resumed_run():
    found = twice(runs.Loader, steps=9, save_at=(2, 6), in_process=True)
    assert [report.verdict for report in found.reports] == [Verdict.EXACT, Verdict.EXACT]


def test_twice_finds_what_only_a_second_resume_loses():
    class Once(runs.Loader):
        """Does not note where its epoch began when it was loaded: right once."""

        def load(self, path):
            super().load(path)
            self.before_epoch = self.generator.get_state()

    found = twice(Once, steps=9, save_at=(2, 3), in_process=True, ignore=["before_epoch"])
    assert [report.verdict for report in found.reports] == [Verdict.EXACT, Verdict.DIFFERENT]


def test_a_report_is_valid_json_with_the_answer_in_it():
    found = json.loads(ask(runs.Forgetful, "optimizer").to_json())
    assert found["verdict"] == "DIFFERENT"
    assert found["divergence"]["leaf"] == "model/0.weight"
    assert found["divergence"]["difference"]["differing"] == 128
    groups = {"ignored", "expected_loss", "noise", "bookkeeping", "healed", "set_by_load", "logs"}
    assert found["set_aside"].keys() == groups | {"reordered", "put_aside", "overwritten"}
    assert len(found["losses"]["reference"]) == 8 and len(found["losses"]["resumed"]) == 3


def test_what_load_puts_aside_for_the_first_step_is_not_counted_as_lost():
    report = check(find("sched-missing-put-aside").factory, steps=6, save_at=3, in_process=True)
    held = [each.path for each in report.lost if each.path.startswith("put_aside/")]
    assert set(held) == set(report.set_aside.put_aside) and len(held) > 20
    assert "put_aside" not in str(report).partition("What was lost")[2].partition("Why:")[0]
    assert f"put aside while loading, and gone by the end ({len(held)})" in str(report)


def test_values_that_are_asked_for_tell_how_far_apart_both_sides_are():
    report = ask(runs.Forgetful, "optimizer", values="model/*.weight")
    drift = report.drift
    assert drift.steps == (5, 6, 7, 8) and drift.leaves == ("model/0.weight", "model/3.weight")
    assert drift.first == (6, "model/0.weight") and drift.after(0) == 0.0 < drift.after(1)
    assert report.to_dict().keys() >= {"histories", "losses"} and "drift" not in report.to_dict()
    assert ask(runs.Forgetful, "optimizer").drift is None
    assert ask(runs.Plain, values="*").drift.first is None


def test_values_that_match_nothing_are_bad_input_and_none_at_all_is_no_drift():
    with pytest.raises(BadInput, match=r"values='modle/\*' matches none of 4 trainable parameters: did you mean"):
        ask(runs.Plain, values="modle/*")
    assert ask(runs.Vacuous, "no parameter", values="*").drift is None
    raised = ask(runs.Raising, "load", save_at=3, values="*")
    assert (raised.verdict, raised.drift) == (Verdict.DIFFERENT, None)


def test_histories_of_both_sides_are_in_the_report():
    report = ask(runs.Counters, False)
    assert set(report.histories) == {"reference", "resumed"}
    assert all(type(value) is list for side in report.histories.values() for value in side.values())


def test_values_that_are_too_many_are_told_of_and_no_drift(monkeypatch):
    monkeypatch.setattr("dora_repro.recording.values.VALUES_LIMIT", 1000)
    report = ask(runs.Forgetful, "optimizer", values="*")
    assert report.drift is None and report.verdict is Verdict.DIFFERENT
    assert any(note.startswith("the values of all steps take more than") for note in report.notes)


@pytest.mark.parametrize("side", range(4), ids=["reference", "resumed", "reference again", "resumed again"])
@pytest.mark.parametrize("at", ["_on_update", "finish", "begin"])
def test_what_fails_in_the_kit_is_not_laid_to_the_run(side, at, monkeypatch):
    """On the resumed side alone, it would be a difference; on a repeat alone, chance."""
    real = getattr(StepEffects, at)
    of_the_kit = types.FunctionType((lambda: 1 / 0).__code__, vars(effects))
    seen = []

    def failing(recorded, *given, **named):
        if recorded not in seen:
            seen.append(recorded)
        if seen.index(recorded) == side:
            of_the_kit()
        return real(recorded, *given, **named)

    monkeypatch.setattr(StepEffects, at, failing)
    with pytest.raises(Defect, match=r"no fault of the run(.|\n)*ZeroDivisionError: division by zero"):
        ask(runs.Forgetful, "optimizer", save_at=3)


def test_what_a_users_own_code_raises_while_it_is_recorded_is_not_laid_to_the_kit():
    class Naming(runs.Plain):
        def components(self):
            return {"model": self.model, "optimizer": self.optimiser}

    with pytest.raises(BadInput, match=r"the uninterrupted run raised(.|\n)*optimiser"):
        ask(Naming)
