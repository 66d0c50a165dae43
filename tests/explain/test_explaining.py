"""Causes of runs that differ: named, proved by transplant, confirmed, and nothing named that is not needed."""

import functools
import json
import os
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro import Verdict, check
from dora_repro.explain.trials import worker
from dora_repro.explain.trials.trial import Outcome
from dora_repro.faults import gallery
from dora_repro.sides.session import Session
from dora_repro.sides.worker_main import resolve
from tests import runs


def explained(factory, steps=6, save_at=3, **options):
    report = check(factory, steps, save_at, in_process=True, **options)
    assert report.explanation is not None, report
    return report


def names(report):
    return {cause.name for cause in report.causes}


MOMENTS = "optimizer/*/{step, exp_avg, exp_avg_sq}"


@pytest.mark.parametrize(
    ("forgotten", "causes"),
    [
        (("optimizer",), {MOMENTS}),
        (("rng",), {"rng/torch.cpu"}),
        (("optimizer", "rng"), {MOMENTS, "rng/torch.cpu"}),
    ],
)
def test_what_was_not_saved_is_the_cause_and_nothing_else(forgotten, causes):
    report = explained(lambda: runs.Forgetful(*forgotten))
    assert names(report) == causes
    found = report.explanation
    assert found.proved and found.confirmed
    assert all(cause.necessary for cause in report.causes)
    assert all(cause.without.parameter_distance > 0 for cause in report.causes)
    assert "count" not in found.leaves
    assert len(found.trials) <= 15


def test_what_all_trials_read_is_read_once_for_them(monkeypatch):
    real, prepared = Session.answering, []

    def answering(self, maker, about, like=None, prepare=None):
        prepared.append(prepare)
        return real(self, maker, about, like, prepare)

    monkeypatch.setattr(Session, "answering", answering)
    explained(lambda: runs.Forgetful("optimizer"))
    assert [resolve(name) for name in prepared] == [worker.prepare]


def test_a_run_that_saves_all_has_nothing_to_explain():
    report = check(runs.Plain, 6, 3, in_process=True)
    assert report.verdict is Verdict.EXACT and report.explanation is None and report.causes == ()


def test_no_explanation_where_none_is_wanted():
    report = check(lambda: runs.Forgetful("optimizer"), 6, 3, in_process=True, explain=False)
    assert report.verdict is Verdict.DIFFERENT and report.explanation is None


def test_what_is_lost_without_effect_is_named_where_it_is_latent():
    report = explained(lambda: runs.Ema(save_ema=False))
    assert report.verdict is Verdict.LATENT
    assert names(report) == {"ema/*.weight", "ema/*.bias"}
    assert report.explanation.confirmed


def test_a_wrong_checkpoint_of_the_last_step_is_explained_by_state_alone():
    class Other(runs.Plain):
        def load(self, path):
            super().load(path)
            self.optimizer.param_groups[0]["lr"] = 5.0

    report = explained(Other, steps=3, save_at=3)
    assert report.divergence.phase == "load"
    assert names(report) == {"optimizer/group.0/lr"}


def test_a_change_by_save_itself_is_the_cause():
    class Swapping(runs.Ema):
        def save(self, path):
            self.model.load_state_dict(self.ema.state_dict())
            super().save(path)

    report = explained(Swapping)
    assert report.divergence.phase == "save"
    assert all(fnmatchcase(leaf, "model/*") for leaf in report.explanation.leaves)


def test_a_load_that_raises_is_told_with_its_error():
    class Broken(runs.Plain):
        def load(self, path):
            raise KeyError("no such entry")

    report = explained(Broken)
    assert names(report) == {"run/exception"}
    assert "no such entry" in report.causes[0].how


class Reordered(runs.Plain):
    """The order of an epoch lies in a loader's iterator alone: it is seen, and cannot be put back."""

    def __init__(self):
        super().__init__()
        self._batches = None
        self._loader = DataLoader(
            runs.made_data(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(1)
        )

    def components(self):
        return {"model": self.model, "optimizer": self.optimizer}

    def step(self):
        self._batches = self._batches or iter(self._loader)
        self.inputs, self.targets = next(self._batches)
        return super().step()


def test_other_batches_are_the_cause_where_the_order_cannot_be_put_back():
    report = explained(Reordered)
    assert report.divergence.phase == "batch"
    assert names(report) == {"data/batches"}
    assert report.causes[0].necessary and report.explanation.confirmed


def test_an_iterator_that_no_file_can_hold_is_the_cause_with_what_counts_its_batches():
    fault = gallery.find("order-from-global")
    report = explained(fault.factory, fault.steps, fault.save_at)
    found = report.explanation
    assert names(report) == {"data/iterators", "position"}
    assert found.proved and found.confirmed and all(cause.necessary for cause in report.causes)
    iterators = next(cause for cause in report.causes if cause.name == "data/iterators")
    assert "`batches` (" in iterators.how and not iterators.is_state
    assert not iterators.load and "make a new iterator and take the used batches from it" in iterators.advice[0]
    assert any(trial.put_back == "all that was lost and the iterators" for trial in found.trials)
    # Nothing that stands in an iterator's place is taken away from a trial's run.
    assert not any("has no attribute" in (trial.result.error or "") for trial in found.trials)


def test_two_lost_leaves_that_only_matter_together_are_both_named():
    class Both(runs.Plain):
        """A generator, and the permutation that was drawn from it: with one of them alone the order is still wrong."""

        def __init__(self):
            super().__init__()
            self.generator = np.random.default_rng(3)
            self.order, self.place = list(range(32)), 0

        def step(self):
            if self.place % 4 == 0:
                self.order = [int(index) for index in self.generator.permutation(32)]
            chosen = self.order[8 * (self.place % 4) : 8 * (self.place % 4) + 8]
            self.place += 1
            whole = self.inputs, self.targets
            self.inputs, self.targets = self.inputs[chosen], self.targets[chosen]
            try:
                return super().step()
            finally:
                self.inputs, self.targets = whole

        def state(self):
            return {**super().state(), "place": self.place}

        def load(self, path):
            super().load(path)
            self.place = runs.load(path)["place"]

    report = explained(Both, steps=9, save_at=5)
    assert names(report) == {"generator", "order"}
    assert all(cause.necessary for cause in report.causes)


class Shared(runs.Forgetful):
    steps_of_all = [0]  # noqa: RUF012  # state that hangs on the class, as it does in scripts

    def step(self):
        self.steps_of_all[0] += 1
        self.optimizer.param_groups[0]["lr"] = 1e-2 / (1 + self.steps_of_all[0] % 7)
        return super().step()


def test_a_counter_on_the_class_that_a_trial_before_changed_does_not_spoil_the_next():
    report = check(functools.partial(Shared, "optimizer"), 5, 2)
    assert names(report) == {MOMENTS, "steps_of_all"}
    assert all(cause.necessary for cause in report.causes) and report.explanation.confirmed


def test_frozen_weights_that_differ_can_be_put_back_though_they_are_kept_by_digest_alone():
    class Base(runs.Plain):
        """The base is not saved, and drawn from a generator that nobody seeds alike."""

        loaded = False

        def __init__(self):
            super().__init__()
            self.base = nn.Linear(8, 8).requires_grad_(False)
            self.model = nn.Sequential(self.base, *self.model)

        def load(self, path):
            super().load(path)
            with torch.no_grad():
                self.base.weight.add_(0.25)

    report = explained(Base)
    assert set(report.explanation.leaves) == {"base/weight"} or names(report) == {"model/0.weight"}
    assert report.explanation.confirmed


def test_the_explanation_is_told_in_text_html_and_json():
    report = explained(lambda: runs.Forgetful("optimizer"))
    assert "Why: this made the difference" in str(report)
    assert "Restoring these alone makes the remaining 3 steps identical" in str(report)
    assert "Why:" in report._repr_html_()
    told = json.loads(report.to_json())["explanation"]
    assert told["causes"][0]["name"] == MOMENTS
    assert len(told["trials"]) == len(report.explanation.trials)


@pytest.mark.parametrize("factory", [runs.Forgetful])
def test_an_explanation_from_processes_is_that_of_one_process(factory):
    report = check(functools.partial(factory, "optimizer"), 5, 2)
    assert names(report) == {MOMENTS}
    assert report.explanation.confirmed


class Deadly(runs.Forgetful):
    """With the moments put back it kills its own interpreter."""

    def step(self):
        if self.count == 2 and self.optimizer.state and "DEADLY" in os.environ:
            os._exit(9)
        return super().step()

    def load(self, path):
        super().load(path)
        os.environ["DEADLY"] = "1"  # of the process: no state that is captured


def test_a_trial_that_takes_its_interpreter_down_is_unresolved():
    report = check(functools.partial(Deadly, "optimizer"), 4, 2)
    found = report.explanation
    assert found.causes == ()
    assert any(trial.result.outcome is Outcome.UNRESOLVED and trial.result.error for trial in found.trials)


class WithBackbone(runs.Forgetful):
    """Weights of another file are loaded while it is built, with keys too few and too many."""

    def __init__(self):
        super().__init__("rng")
        self.model.load_state_dict({"0.bias": torch.zeros(16), "head.weight": torch.zeros(1)}, strict=False)


def test_what_was_loaded_while_building_is_not_told_of_the_checkpoint():
    assert explained(WithBackbone).explanation.keys == ()


class LoadedIntoOthers(gallery.find("order-from-global").factory):
    """Iterators are lost, and besides load() puts a layer in that is none of the state."""

    def load(self, path):
        super().load(path)
        self.model[1] = nn.ELU()


def test_iterators_are_not_blamed_where_loading_made_other_objects_as_well():
    found = explained(LoadedIntoOthers, 9, 2).explanation
    assert found.causes == () and found.unexplained
    assert any("something that load() changes is no state" in line for line in found.look_at)


class Wrapping(torch.optim.Optimizer):
    """Steps by another optimizer, over the very same groups, until that one loads."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})
        self.base = torch.optim.SGD(self.param_groups, momentum=0.9)
        self.param_groups = self.base.param_groups

    def step(self):
        self.base.step()


class Beside:
    """No optimizer of torch's, with the groups and the state of one."""

    def __init__(self, parameters):
        self.wrapped = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        self.param_groups, self.state = self.wrapped.param_groups, self.wrapped.state

    def zero_grad(self):
        self.wrapped.zero_grad()

    def step(self):
        for group in self.param_groups:
            group["lr"] *= 0.9
        self.wrapped.step()


class WithWrapper(runs.Plain):
    """Loads the inner optimizer, which then has other groups than the outer one; a schedule changes those of this."""

    wrap, ties = Wrapping, False

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(8, 3))
        self.optimizer = self.wrap(self.model.parameters())
        self.inner = "base" if self.wrap is Wrapping else "wrapped"
        if self.wrap is Wrapping:
            self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)

    def step(self):
        loss = super().step()
        if self.wrap is Wrapping:
            self.schedule.step()
        return loss

    def save(self, path):
        schedule = self.schedule.state_dict() if self.wrap is Wrapping else None
        inner = getattr(self.optimizer, self.inner)
        torch.save([self.model.state_dict(), inner.state_dict(), schedule, self.count], path)

    def load(self, path):
        model, inner, schedule, self.count = torch.load(path)
        self.model.load_state_dict(model)
        getattr(self.optimizer, self.inner).load_state_dict(inner)
        if schedule is not None:
            self.schedule.load_state_dict(schedule)
        if self.ties:
            self.optimizer.param_groups = getattr(self.optimizer, self.inner).param_groups
            if self.wrap is Beside:
                self.optimizer.state = self.optimizer.wrapped.state


@pytest.mark.parametrize("wrapper", [Wrapping, Beside])
def test_groups_that_a_wrapper_no_longer_shares_are_the_cause(wrapper):
    class Loses(WithWrapper):
        wrap = wrapper

    class Ties(Loses):
        ties = True

    report = explained(Loses)
    inner = "base" if wrapper is Wrapping else "wrapped"
    apart = "optimizer/base/param_groups" if wrapper is Wrapping else "optimizer/param_groups"
    assert names(report) == {apart}
    assert report.explanation.lines.load == (
        ("", f"self.optimizer.param_groups = self.optimizer.{inner}.param_groups"),
    )
    assert report.explanation.lines_tried.restores
    assert check(Ties, 6, 3, in_process=True).verdict is Verdict.EXACT


def test_what_is_lost_without_effect_is_not_laid_to_an_iterator():
    """A trial in which iterators are put back never loads: of it, too, nothing is lost that loading loses."""

    class Latent(runs.Plain):
        def __init__(self):
            super().__init__()
            self.table = torch.eye(3).to_sparse()  # which no trial can put back
            self.loader = DataLoader(self.inputs, batch_size=4)
            self.batches = iter(self.loader)

        def step(self):
            next(self.batches, None)
            return super().step()

        def load(self, path):
            super().load(path)
            self.table = self.table * 2
            self.batches = iter(())

    report = explained(Latent, steps=8, save_at=4)
    assert report.verdict is Verdict.LATENT
    assert report.causes == ()
    assert "table" in str(report)
