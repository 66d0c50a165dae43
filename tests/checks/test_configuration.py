"""What a resumed run was told otherwise is no lost state: it is named as changed configuration, with its effect."""

import argparse
import dataclasses
import json
import uuid

import pytest
import torch

import dora_repro
from dora_repro import Verdict, compare
from dora_repro.checks.configuration import Configuration
from dora_repro.show.answer import answer
from dora_repro.show.html import as_html
from dora_repro.trace import Trace
from tests.evidence import STEPS, side, snapshot
from tests.traces import trace


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


# --- one value at a time ---------------------------------------------------------------------------------------------


def settings(folder, was, now, **said):
    """The settings among leaves that are as said throughout, but for what else is said.

    Args:
        folder: for the evidence.
        was: leaves of the reference, as `snapshot` takes them.
        now: leaves of the resumed run.
        said: `start`, `end` and `resumed_end`: leaves at these moments, None for no end; `forms` of both; entries of
            the result.
    """
    start, end, resumed_end = (said.pop(name, other) for name, other in
                               (("start", was), ("end", was), ("resumed_end", now)))  # fmt: skip
    begun = Trace(trace(*STEPS).steps, {path: leaf.digest for path, leaf in snapshot(start).items()})
    forms = said.pop("forms", (None, None))
    saved, loaded = snapshot(was, forms=forms[0]), snapshot(now, forms=forms[1])
    result = {"resumes": True, **said}
    if isinstance(result.get("built"), dict):
        result["built"] = {path: leaf.digest.hex() for path, leaf in snapshot(result["built"]).items()}
    reference = side(folder / "reference", begun, saved=saved, end=snapshot(end))
    ended = None if resumed_end is None else snapshot(resumed_end)
    resumed = side(folder / "resumed", loaded=loaded, end=ended, **result)
    lost = compare(saved, loaded).differences
    return [(each.path, each.by) for each in Configuration(reference, resumed, saved, loaded).changed(lost)]


N, M = {"n": 1}, {"n": 2}


def test_a_number_that_neither_run_changes_is_a_setting(tmp_path):
    assert settings(tmp_path / "a", N, M) == [("n", "resume")]
    assert settings(tmp_path / "b", N, M, resumed_end=None) == [("n", "resume")]  # it did not come to its end
    assert settings(tmp_path / "c", N, N) == []
    assert settings(tmp_path / "d", N, M, resumes=False) == []


def test_what_either_run_changes_is_no_setting(tmp_path):
    assert settings(tmp_path / "a", N, M, start={"n": 0}) == [] == settings(tmp_path / "b", N, M, start={})
    assert settings(tmp_path / "c", N, M, end={"n": 3}) == [] == settings(tmp_path / "d", N, M, end={})
    assert settings(tmp_path / "e", N, M, resumed_end={"n": 3}) == [] == settings(tmp_path / "f", N, M, resumed_end={})


def test_what_the_reference_has_only_at_its_end_is_no_setting(tmp_path):
    assert settings(tmp_path, {}, M, end={"n": 3}, told=["n"]) == []


def test_another_form_of_the_same_values_is_no_setting(tmp_path):
    values = {"d/0": 1}
    assert settings(tmp_path, values, values, forms=({"d": "list"}, {"d": "tuple"}), built={}) == []


def test_a_variable_that_went_with_its_function_was_not_changed(tmp_path):
    was, now, over = {"f/n": 1}, {"f/n": 2}, {"f": "finished call"}
    assert settings(tmp_path / "a", was, now, end=over, resumed_end=over) == [("f/n", "resume")]
    for other in ({"f": "begun"}, {"g": "finished call"}):
        assert settings(tmp_path / f"b{other}", was, now, end=other, resumed_end=over) == []
        assert settings(tmp_path / f"c{other}", was, now, end=over, resumed_end=other) == []


def test_only_plain_values_of_a_runs_own_are_settings(tmp_path):
    for number, (role, kept) in enumerate([("option", True), ("generator", True), ("memory", False)]):
        was, now = {"n": (1, role, kept)}, {"n": (2, role, kept)}
        assert settings(tmp_path / str(number), was, now) == ([("n", "resume")] if role == "option" else [])
    assert settings(tmp_path / "tensor", {"n": torch.ones(1)}, {"n": torch.zeros(1)}) == []
    # One of them alone does not do.
    ones, unkept = torch.ones(1), (2, "memory", False)
    for name, (was, now) in {"was": (ones, 2), "now": (1, ones), "not kept": (1, unkept)}.items():
        assert settings(tmp_path / name, {"n": was}, {"n": now}) == []


def test_what_says_where_from_a_run_was_resumed_is_no_setting(tmp_path):
    assert settings(tmp_path / "none", {"path": None}, {"path": "p"}) == []
    assert settings(tmp_path / "name", {"path": "a"}, {"path": "b"}) == [("path", "resume")]
    paths = [f"{tmp_path / 'list'}/x.pt"]
    assert settings(tmp_path / "list", {"paths": paths}, {"paths": []}, told=["paths"]) == [("paths", "resume")]
    for name, text in (("folder", f"{tmp_path / 'folder'}/x.pt"), ("place", "{out}/x.pt")):
        assert settings(tmp_path / name, {"path": text}, {"path": "b"}) == []
        assert settings(tmp_path / f"{name}2", {"path": "a"}, {"path": text.replace("/folder/", "/folder2/")}) == []


def test_what_the_resume_was_told_by_name_is_a_setting_and_nothing_else(tmp_path):
    assert settings(tmp_path / "a", {"c/n": 1}, {"c/n": 2}, told=["n"]) == [("c/n", "resume")]
    assert settings(tmp_path / "b", {"c/n": 1}, {"c/n": 2}, told=["c"]) == []


def test_where_nothing_is_known_of_the_building_only_numbers_of_both_runs_are_settings(tmp_path):
    assert settings(tmp_path / "a", {"n": [1]}, {"n": [2]}) == []
    assert settings(tmp_path / "b", {}, M) == [] == settings(tmp_path / "c", N, {})


def test_what_a_run_was_built_with_is_told_from_what_loading_set(tmp_path):
    assert settings(tmp_path / "a", N, M, built=M) == [("n", "resume")]
    assert settings(tmp_path / "b", N, M, built=M, resumes=False) == [("n", "built")]
    assert settings(tmp_path / "c", N, M, built=N) == [("n", "load")] == settings(tmp_path / "d", N, M, built={})
    assert settings(tmp_path / "e", {}, M, built=M) == [("n", "resume")] == settings(tmp_path / "f", N, {}, built={})
    assert settings(tmp_path / "g", {}, M, built={}) == [] == settings(tmp_path / "h", N, {}, built=N)
