"""The control, with repeats that are handed to it: what is repeated when, and what the repeats make of a difference."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dora_repro.checks.control import controlled
from dora_repro.checks.findings import compare_sides
from dora_repro.difference import LeafDifference
from dora_repro.sides.evidence import Sides
from dora_repro.sides.job import Job
from dora_repro.state.keys import LEAST_ID
from dora_repro.state.rebuild import Kind
from dora_repro.trace import Divergence
from tests.evidence import STEPS, side, snapshot
from tests.traces import trace

FACTS = {"trainable": {"w": 2}, "gradients": True, "changed": True, "values_dropped": False}
RESUMED = trace(*STEPS[2:], first=3)
OTHERWISE = trace(STEPS[2], [*STEPS[3][:3], "update w z"], first=3)
W = {"w": (torch.ones(2), "parameter")}
APART = Divergence(4, "update", "w")
ALL, BOTH = "reference, repeated", ["reference, repeated", "resumed, repeated"]


class Session:
    """Answers repeats with evidence that was made beforehand."""

    def __init__(self, **repeats):
        self.repeats, self.done, self.expected = repeats, {}, []

    def expect(self, count):
        self.expected.append(count)

    def repeat(self, name, job):
        self.done[name] = job
        return self.repeats[name.partition(",")[0] if "not saving" not in name else "unsaved"]


class Made:
    """Both sides and their repeats, from what each held; `do` runs the control."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.held = {"reference": {}, "resumed": {}}

    def one(self, name, kind, steps=None, changed=(), **held):
        moments = {}
        for moment in ("saved", "loaded", "end"):
            leaves, about = held.get(moment, {}), held.get(f"{moment}_about", {})
            moments[moment] = None if leaves is None else snapshot({**W, **leaves}, **about)
        said = {"end": moments["end"], "facts": FACTS, "step": 4, "changed": changed}
        said["saved" if kind == "reference" else "loaded"] = moments["saved" if kind == "reference" else "loaded"]
        return side(self.folder / name, steps or (trace(*STEPS) if kind == "reference" else RESUMED), **said)

    def do(self, reference, resumed, repeat=None, again=None, unsaved=None, how="auto", **more):
        jobs = Job(self.folder / "a", 4, (2,)), Job(self.folder / "b", 4, (), self.folder / "a", 2)
        sides = Sides(self.one("reference", "reference", **reference), jobs[0],
                      self.one("resumed", "resumed", **resumed), jobs[1])  # fmt: skip
        self.session = Session(
            reference=self.one("repeat", "reference", **(reference if repeat is None else repeat)),
            resumed=self.one("again", "resumed", **(resumed if again is None else again)),
            unsaved=self.one("unsaved", "reference", **(reference if unsaved is None else unsaved)),
        )
        findings = compare_sides(sides.reference, sides.resumed, 2, 4)
        return controlled(self.session, sides, findings, how, **more)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_equal_bytes_are_their_own_control(made):
    found = made.do({}, {})
    assert found.control.runs == () and found.control.deterministic is None and not made.session.done
    assert made.session.expected == [] and found.notes == ()


def test_a_control_that_is_asked_for_repeats_the_reference_alone(made):
    found = made.do({}, {}, how="always")
    assert list(made.session.done) == [ALL] and found.control.runs == ("reference",)
    assert found.control.deterministic is True and made.session.expected == [1]
    assert found.repeat is not None and found.resumed is None


def test_without_a_control_nothing_is_repeated_whatever_differs(made):
    found = made.do({}, {"steps": OTHERWISE}, how="never")
    assert not made.session.done and found.control.runs == () and found.control.deterministic is None
    assert found.findings.divergence == APART


def test_before_an_effect_accuses_both_sides_are_repeated(made):
    found = made.do({}, {"steps": OTHERWISE})
    assert list(made.session.done) == BOTH and made.session.expected == [2]
    assert found.control.runs == ("reference", "resumed") and found.control.deterministic is True
    assert found.control.divergence is None and found.nondeterministic == "" and found.notes == ()
    assert found.repeat is not None and found.resumed is not None
    assert [made.session.done[name].keep for name in BOTH] == [(4, "update", "w")] * 2


def test_before_lost_memory_accuses_both_sides_are_repeated(made):
    found = made.do({"end": {"best": 1}}, {"end": {"best": 2}})
    assert list(made.session.done) == BOTH
    assert [made.session.done[name].keep for name in BOTH] == [None, None]
    assert found.control.noise == ()


def test_memory_that_differs_between_references_is_noise_and_accuses_nobody(made):
    found = made.do({"end": {"time": 1}}, {"end": {"time": 2}}, {"end": {"time": 3}})
    assert list(made.session.done) == [ALL] and found.control.noise == ("time",)
    found = made.do({"end": {"time": 1, "best": 1}}, {"end": {"time": 2, "best": 2}}, {"end": {"time": 3, "best": 1}})
    assert list(made.session.done) == BOTH and found.control.noise == ("time",)


def test_what_differs_between_resumed_sides_is_noise_as_well(made):
    again = {"loaded": {"id": 8}, "end": {"best": 3}}
    found = made.do({"end": {"best": 1}}, {"loaded": {"id": 7}, "end": {"best": 2}}, None, again)
    assert found.control.noise == ("best", "id")


def test_a_reference_that_does_not_come_again_is_not_deterministic(made):
    other = trace(*STEPS[:3], ["batch x z"])
    found = made.do({}, {"steps": OTHERWISE}, {"steps": other})
    assert found.control.deterministic is False and found.nondeterministic == "reference"
    assert found.control.divergence == Divergence(4, "batch", "x")


def test_a_resumed_side_that_does_not_come_again_is_not_deterministic(made):
    found = made.do({}, {"steps": OTHERWISE}, None, {"steps": RESUMED})
    assert found.control.deterministic is False and found.nondeterministic == "resumed"
    assert found.control.divergence == APART


def test_of_two_sides_that_do_not_come_again_the_reference_is_named(made):
    found = made.do({}, {"steps": OTHERWISE}, {"steps": trace(*STEPS[:3], ["forward x z"])}, {"steps": RESUMED})
    assert found.nondeterministic == "reference" and found.control.divergence.phase == "batch"
    assert found.control.divergence.kind == "missing"


def test_what_does_not_come_again_after_the_divergence_is_a_note(made):
    resumed = {"steps": trace([*STEPS[2][:3], "update w z"], STEPS[3], first=3)}
    found = made.do({}, resumed, {"steps": trace(*STEPS[:3], ["batch x z"])})
    assert found.control.deterministic is True and found.nondeterministic == ""
    (note,) = found.notes
    assert note.startswith("not deterministic later on: the reference side, repeated, first differs at step 4, ")


# --- orders and stale keys --------------------------------------------------------------------------------------------

GROUP = "optimizer/group.0/params"


def held_in(*names):
    return {"loaded": {GROUP: (list(names), "structure")}}


def test_an_order_of_parameters_of_each_process_is_the_reason_and_not_noise(made):
    reference = {"saved": {GROUP: (["a", "b", "c"], "structure")}, "end": {"m": 1}}
    resumed = {**held_in("b", "a", "c"), "steps": OTHERWISE, "end": {"m": 2}}
    found = made.do(reference, resumed, None, {**held_in("c", "b", "a"), "steps": RESUMED, "end": {"m": 3}})
    assert found.control.orders == (GROUP,) and found.control.deterministic is True
    assert found.nondeterministic == "" and found.control.noise == ()


def test_an_order_of_each_process_excuses_no_reference_that_does_not_come_again(made):
    reference = {"saved": {GROUP: (["a", "b", "c"], "structure")}}
    again = {**reference, "steps": trace(*STEPS[:3], ["batch x z"])}
    resumed = {**held_in("b", "a", "c"), "steps": OTHERWISE}
    found = made.do(reference, resumed, again, {**held_in("c", "b", "a"), "steps": RESUMED})
    assert found.control.orders == (GROUP,) and found.nondeterministic == "reference"


def test_where_no_step_differs_an_order_is_no_reason(made):
    reference = {"saved": {GROUP: (["a", "b", "c"], "structure")}, "end": {"m": 1}}
    again = {**held_in("c", "b", "a"), "end": {"m": 2}}
    assert made.do(reference, {**held_in("b", "a", "c"), "end": {"m": 2}}, None, again).control.orders == ()


@pytest.mark.parametrize(("first", "again"), [(None, None), (None, {}), ({}, None)])
def test_a_side_that_never_came_to_have_loaded_has_no_order(made, first, again):
    found = made.do({}, {"loaded": first, "steps": OTHERWISE}, None, {"loaded": again, "steps": OTHERWISE},
                    for_trials=True)  # fmt: skip
    assert (found.control.orders, found.control.stale, found.control.deterministic) == ((), (), True)
    assert made.session.done[ALL].objects == () and made.session.done["resumed, repeated"].late == ()


def test_an_order_that_the_sides_have_otherwise_is_no_noise(made):
    reference = {"saved": {GROUP: (["a", "b"], "structure")}, "end": {"time": 1}}
    repeat = {"saved": {GROUP: (["b", "a"], "structure")}, "end": {"time": 5}}
    found = made.do(reference, {**held_in("b", "a"), "steps": OTHERWISE, "end": {"time": 1}}, repeat)
    assert found.control.noise == ("time",) and found.control.orders == ()
    # Where no step differs, it is as any other difference between two runs.
    found = made.do({**reference, "end": {"n": 1}}, {**held_in("b", "a"), "end": {"n": 2}}, {**repeat, "end": {"n": 3}})
    assert found.control.noise == ("n", GROUP)


def kinds(*keys, keyed=()):
    made = snapshot({"seen/1": 1})
    return replace(made, kinds={"seen": Kind("dict", tuple((str(key), key) for key in keys), len(keys), None, keyed)})


def test_keys_that_are_ids_of_another_process_are_the_reason_and_not_noise(made, monkeypatch):
    of_id = kinds(keyed=(("model.w", "id model/w"),))
    number = kinds(LEAST_ID + 8)
    monkeypatch.setattr("dora_repro.sides.evidence.Evidence.at_save", lambda self, step: of_id)
    monkeypatch.setattr("dora_repro.sides.evidence.Evidence.loaded_or_none", property(lambda self: number))
    found = made.do({}, {"steps": OTHERWISE}, None, {"steps": RESUMED, "end": {"m": 3}})
    assert found.control.stale == ("seen",) and found.control.deterministic is True and found.control.noise == ()
    # Where no step differs, there is nothing to give a reason for.
    assert made.do({"end": {"m": 1}}, {"end": {"m": 2}}).control.stale == ()


# --- what saving changed ---------------------------------------------------------------------------------------------

NOTED = (LeafDifference("saves", "value", "0", "1"), LeafDifference("last", "value", "0", "1"))


def test_what_save_changed_is_tried_without_saving(made):
    found = made.do({"changed": NOTED, "saved": {"saves": 0}}, {"loaded": {"saves": 0}})
    assert list(made.session.done) == ["reference, not saving"] and made.session.expected == [1]
    assert made.session.done["reference, not saving"].saves == ()
    assert found.notes == ("save() changed saves, last: the steps are the same without saving",)
    assert found.findings.divergence is None and found.control.runs == ()


def test_what_save_changed_is_a_difference_where_the_steps_are_others_without_saving(made):
    unsaved = {"steps": trace(*STEPS[:3], ["batch x z"])}
    found = made.do({"changed": NOTED}, {}, unsaved=unsaved)
    assert found.notes == ("save() changed saves, last: the steps differ without saving",)
    assert found.findings.divergence == Divergence(2, "save", "saves", "value", NOTED[0])
    assert found.control.runs == ("reference", "resumed")  # which then accuses


def test_what_save_changed_is_not_tried_where_a_step_differs_anyway_or_nothing_is_controlled(made):
    made.do({"changed": NOTED}, {"steps": OTHERWISE})
    assert list(made.session.done) == BOTH
    made.do({"changed": NOTED}, {}, how="never")
    assert not made.session.done


# --- what the repeats keep -------------------------------------------------------------------------------------------


def test_the_size_of_a_divergence_is_measured_where_both_repeats_kept_it(made):
    def kept(name, value):
        snapshot({"kept": value}).write(made.folder / name / "kept.pt")

    for name, value in (("repeat", torch.ones(2)), ("again", torch.tensor([1.0, 1.5]))):
        (made.folder / name).mkdir(parents=True)
        kept(name, value)
    found = made.do({}, {"steps": OTHERWISE})
    assert found.findings.divergence.difference.max_abs == 0.5 and found.findings.divergence.leaf == "w"
    missing = made.do({}, {"steps": trace(STEPS[2], STEPS[3][:3], first=3)})
    assert missing.findings.divergence.kind == "missing" and missing.findings.divergence.difference is None
    (made.folder / "again" / "kept.pt").unlink()
    assert made.do({}, {"steps": OTHERWISE}).findings.divergence.difference is None
    kept("again", torch.ones(2))
    (made.folder / "repeat" / "kept.pt").unlink()
    assert made.do({}, {"steps": OTHERWISE}).findings.divergence.difference is None


def test_of_a_difference_right_after_loading_the_size_is_known(made):
    wrong = trace([*STEPS[2][:3], "update w z"], STEPS[3], first=3)
    found = made.do({"saved": {"w": (torch.ones(2), "parameter")}},
                    {"loaded": {"w": (torch.zeros(2), "parameter")}, "steps": wrong})  # fmt: skip
    assert found.findings.divergence.phase == "load" and found.findings.divergence.difference.max_abs == 1.0
    assert [made.session.done[name].keep for name in BOTH] == [None, None]


def test_of_a_leaf_that_one_side_lacks_no_value_is_kept(made):
    made.do({}, {"steps": trace(STEPS[2], STEPS[3][:3], first=3)})
    assert made.session.done[ALL].keep is None


def test_the_repeat_of_a_reference_keeps_what_trials_need(made):
    lost = {"loaded": {"w": (torch.zeros(2), "parameter")}, "steps": OTHERWISE}
    made.do({}, lost, for_trials=True)
    job = made.session.done[ALL]
    assert job.streams == 2 and job.frozen is False and job.objects == ()
    made.do({}, lost)
    assert made.session.done[ALL].streams is None
    digest_alone = {"saved": {"f": (torch.ones(2), "parameter", False), "n": 1}}
    found = {"loaded": {"f": (torch.zeros(2), "parameter", False), "n": 2}, "steps": OTHERWISE}
    made.do(digest_alone, found, for_trials=True)
    assert made.session.done[ALL].frozen is True


def test_objects_that_the_resumed_run_lacks_are_kept_and_looked_for_in_its_first_step(made):
    reference = {"saved": {"tracker/n": 1}, "saved_about": {"forms": {"tracker": "user.Tracker"}}, "end": {"m": 1}}
    made.do(reference, {"end": {"m": 2}}, for_trials=True)
    assert made.session.done[ALL].objects == ("tracker",)
    assert made.session.done["resumed, repeated"].late == ("tracker",)
