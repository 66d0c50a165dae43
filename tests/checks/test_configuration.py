"""What a resumed run was told otherwise is no lost state: it is named as changed configuration, with its effect."""

import argparse
import dataclasses
import json
import uuid

import pytest
import torch

import dora_repro
from dora_repro import Verdict
from dora_repro.show.answer import answer
from dora_repro.show.html import as_html


class Run:
    """Resumed by being built once more, with arguments of its own."""

    def __init__(self, path=None, **told):
        torch.manual_seed(0)
        self.config = {"lr": 0.1, "clip": 1.0, "betas": [0.9, 0.99], "every": 10, **told}
        self.clip = self.config["clip"]
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), self.config["lr"], momentum=0.9)
        self.inputs, self.done = torch.randn(4, 3), 0
        if path is not None:
            self.load(path)

    @classmethod
    def resume(cls, path):
        return cls(path)

    def step(self):
        self.optimizer.zero_grad()
        loss = ((self.model(self.inputs) - 1) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.done += 1
        return loss.item()

    def save(self, path):
        torch.save({"m": self.model.state_dict(), "o": self.optimizer.state_dict(), "done": self.done}, path)

    def load(self, path):
        state = torch.load(path)
        self.model.load_state_dict(state["m"])
        self.optimizer.load_state_dict(state["o"])
        self.done = state["done"]


def check(kind, **options):
    return dora_repro.check(kind, **{"steps": 5, "save_at": 3, "in_process": True, **options})


def changes(report):
    return {setting.path: setting.change for setting in report.configuration}


def told(**values):
    class Told(Run):
        @classmethod
        def resume(cls, path):
            return cls(path, **values)

    return check(Told)


def test_an_argument_that_makes_the_difference_is_the_cause_and_called_configuration():
    report = told(clip=0.5)
    assert (report.verdict, report.divergence.phase) == (Verdict.DIFFERENT, "update")
    (cause,) = report.causes
    assert (cause.name, cause.how) == ("clip", "changed configuration: was 1.0, the resumed run was given 0.5")
    assert not cause.save and not cause.load and "resume with config/clip = 1.0" in cause.advice[0]
    assert changes(report) == {"config/clip": "1.0 → 0.5", "clip": "1.0 → 0.5"}
    text = str(report)
    assert "  clip  1.0 → 0.5: this alone makes the difference\n" in text
    assert "  config/clip  1.0 → 0.5: no effect by itself\n" in text
    assert "lost;" not in text and "clip  expected" not in text
    assert "this alone makes the difference" in as_html(report)
    data = json.loads(report.to_json())["configuration"]
    assert {"path": "clip", "expected": "1.0", "actual": "0.5", "by": "resume"} in data


def test_one_that_load_overrides_has_no_effect():
    report = told(lr=0.01)
    assert report.verdict is Verdict.EXACT and changes(report) == {"config/lr": "0.1 → 0.01"}
    assert "  Changed configuration, without effect: config/lr (0.1 → 0.01)" in answer(report)
    assert "  config/lr  0.1 → 0.01: no effect in 2 steps\n" in str(report)
    assert "Set while loading" not in str(report)


def test_lists_and_entries_that_one_side_alone_has_are_configuration_too():
    report = told(betas=[0.5, 0.5], name="again")
    assert report.verdict is Verdict.EXACT, report
    assert changes(report) == {"config/betas": "[0.9, 0.99] → [0.5, 0.5]", "config/name": "none → 'again'"}


@pytest.mark.parametrize("kind", ["dataclass", "namespace", "attributes"])
def test_the_form_of_a_configuration_does_not_matter(kind):
    class Attributes:
        pass

    def made(clip):
        if kind == "dataclass":
            return dataclasses.make_dataclass("Options", [("clip", float)])(clip)
        options = argparse.Namespace() if kind == "namespace" else Attributes()
        options.clip = clip
        return options

    class Options(Run):
        def __init__(self, path=None, clip=1.0):
            self.options = made(clip)
            super().__init__(path, clip=clip)

        @classmethod
        def resume(cls, path):
            return cls(path, 0.5)

    report = check(Options)
    assert changes(report).keys() == {"options/clip", "config/clip", "clip"} and report.causes[0].name == "clip"


def test_what_training_changes_is_lost_and_no_configuration():
    class Loses(Run):
        def load(self, path):
            super().load(path)
            self.done = 0

    report = check(Loses)
    assert (report.verdict, report.latent, report.configuration) == (Verdict.LATENT, ("done",), ())


def test_what_load_itself_changes_is_said_to_be_changed_by_load():
    class Clips(Run):
        def load(self, path):
            super().load(path)
            self.clip = 0.5

    report = check(Clips)
    assert report.causes[0].how.startswith("changed by load(): 1.0 → 0.5") and not report.configuration


def test_an_order_that_only_resume_changes_may_be_state():
    """Where resume() calls no load(), the moment before is not seen: a list that differs may be an order of samples."""

    class Orders:
        def __init__(self):
            self.inner, self.order = Run(), [3, 1, 2]
            self.model, self.optimizer = self.inner.model, self.inner.optimizer
            self.step, self.save = self.inner.step, self.inner.save

        @classmethod
        def resume(cls, path):
            run = cls()
            run.inner.load(path)
            run.order = [1, 2, 3]
            return run

    report = check(Orders)
    assert (report.verdict, report.configuration) == (Verdict.LATENT, ()) and report.latent == ("order",)


class Named(Run):
    """A name of its own for each process: not told by anybody."""

    resume = None

    def __init__(self, path=None, **told):
        super().__init__(path, **told)
        self.name = uuid.uuid4().hex


def test_what_differs_between_any_two_runs_is_no_configuration():
    assert check(Named).configuration == ()
    assert check(Named, control="always").configuration == ()


class Removed(Run):
    """Loading sets what the reference never has, and a step uses it."""

    resume = None

    def step(self):
        self.inputs = self.inputs * getattr(self, "scale", 1.0)
        return super().step()

    def load(self, path):
        super().load(path)
        self.scale = 2.0


def test_what_the_resumed_run_alone_has_is_found_as_a_cause_and_not_to_be_saved():
    report = check(Removed)
    (cause,) = report.causes
    assert (cause.name, cause.save) == ("scale", ())
    assert cause.how == "a mark of the resume, set while loading: nothing is lost, but a step depends on it"
    assert "Let load() not set it" in cause.advice[0]


def test_a_class_has_its_own_load_after_a_resume():
    own = vars(Run)["load"]
    told(clip=0.5)
    assert vars(Run)["load"] is own

    class Inherits(Run):
        pass

    check(Inherits, explain=False)
    assert "load" not in vars(Inherits)
