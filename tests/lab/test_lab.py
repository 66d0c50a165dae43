"""Two runs side by side: each click does what it says, can be taken back, and leaves both consistent."""

import functools
import random

import numpy as np
import pytest
import torch

from dora_repro import check
from dora_repro.errors import BadInput
from dora_repro.faults import gallery
from dora_repro.lab import Lab
from dora_repro.lab.choices import Choices, runs
from dora_repro.lab.global_state import GlobalState
from dora_repro.lab.process import digests
from dora_repro.lab.script import Action, parse
from dora_repro.state import rng
from tests import runs as small

STORY = "build,step*3,save,step,kill,load,step*2"


def forgetful(*lost):
    return functools.partial(small.Forgetful, *lost)


def lab_of(factory, script="", steps=8):
    return Lab(factory, steps).play(script)


def differing(lab):
    return {each.name: (each.different, each.lost) for each in lab.components() if each.differences}


# --- two runs


def test_a_run_that_saves_all_it_needs_never_differs_from_the_other():
    lab = lab_of(small.Plain, STORY)
    assert (lab.current.start, lab.current.done, lab.reference_steps) == (3, 5, 5)
    assert lab.divergence is None and differing(lab) == {}
    assert set(lab.generators().values()) == {0}


@pytest.mark.parametrize(("lost", "phase"), [("optimizer", "update"), ("rng", "forward")])
def test_what_is_lost_shows_where_a_check_finds_it_and_a_transplant_restores_it(lost, phase):
    lab = lab_of(forgetful(lost), STORY)
    found = check(forgetful(lost), 5, 3, in_process=True, explain=False).divergence
    assert (lab.divergence.step, lab.divergence.phase, lab.divergence.leaf) == (found.step, found.phase, found.leaf)
    assert lab.divergence.phase == phase
    before = lab.script
    lab.play(f"transplant {lost}")
    assert lab.divergence is None and lab.current.done == 5 and lost not in differing(lab)
    assert lab.script == before.removesuffix(",step*2") + f",transplant {lost},step*2"
    assert lab.play("undo").script == before
    assert lab.divergence.leaf == found.leaf
    assert lab.play("undo").current.done == 4


def test_the_lines_that_fix_it_are_of_what_the_load_did_not_bring_back():
    lab = lab_of(forgetful("optimizer"), STORY)
    assert "load_state_dict" in "".join(lab.fixes()["optimizer"].load)
    cleared = lab_of(small.Plain, STORY).fixes()
    assert list(cleared) == ["gradients"] and "zero_grad" in cleared["gradients"].sentence
    assert lab_of(small.Plain, "build").fixes() == {}


class Order:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)
        self.drawn = torch.empty(0, dtype=torch.int64)


class KeepsItsOrder(small.Plain):
    """Its checkpoint has neither the order that it drew nor the generator that drew it."""

    def __init__(self):
        super().__init__()
        self.order = Order()

    def step(self):
        self.order.drawn = torch.randperm(5, generator=self.order.generator)
        return super().step()


def test_each_leaf_of_a_component_is_brought_back_as_what_it_is():
    advice = lab_of(KeepsItsOrder, "build,step*2,save,kill,load").fixes()["order"]
    run, resumed, state = KeepsItsOrder(), KeepsItsOrder(), {}
    run.step()
    for lines, self in ((advice.save, run), (advice.load, resumed)):
        for line in lines:
            exec(line, {"torch": torch}, {"self": self, "state": state})
    assert len(advice.save) == len(advice.load) == 2
    assert torch.equal(resumed.order.drawn, run.order.drawn)
    assert torch.equal(resumed.order.generator.get_state(), run.order.generator.get_state())


def test_batches_can_be_given_where_a_loader_cannot_be_put_back():
    lab = lab_of(functools.partial(small.LoaderForgetful, "data"), "build,step*3,save,kill,load,step*2")
    assert lab.divergence.phase == "batch"
    assert lab.play("transplant data/batches").divergence is None


def test_the_uninterrupted_run_keeps_up_and_may_go_ahead():
    lab = lab_of(small.Plain, "build,step*2,both,save,step*2,kill,load")
    assert (lab.reference_steps, lab.current.done) == (5, 3)
    assert (lab.play("both").reference_steps, lab.current.done) == (6, 4)
    assert (lab.play("step").reference_steps, lab.current.done) == (6, 5)


def test_to_the_end_is_as_many_steps_as_are_left():
    lab = lab_of(small.Plain, "build,step*3,save,kill,load,end", steps=7)
    assert lab.current.done == lab.reference_steps == 7
    assert lab.script == "build,step*3,save,kill,load,step*4"
    over = lab_of(small.EndsEarly, "build,step,save,kill,load,end", steps=30)
    assert over.current.finished and "over after" in said(over, "step")


def test_a_step_is_shown_phase_by_phase():
    lab = lab_of(forgetful("optimizer"), "build,step*2,save,kill,load,phase")
    assert [phase for phase, _ in lab.phases()] == ["forward"]
    lab.play("phase*2")
    assert [phase for phase, leaves in lab.phases()] == ["forward", "backward", "update"]
    assert lab.phases()[1][1] == () and "model/0.weight" in lab.phases()[2][1]
    assert lab.current.done == 3
    while lab.current.done == 3:
        lab.play("phase")
    assert lab.current.done == 4 and len(lab.phases()) == 1


def test_the_same_actions_with_another_run():
    lab = lab_of(forgetful("optimizer"), STORY)
    lab.replay(small.Plain)
    assert lab.divergence is None and lab.script == STORY
    with pytest.raises(RuntimeError, match="load"):
        lab.replay(functools.partial(small.Raising, "load"), 3)
    assert lab.steps == 8 and lab.divergence is None and lab.script == STORY and lab.play("step").current.done == 6


# --- what cannot be done


def said(lab, script):
    with pytest.raises(BadInput) as raised:
        lab.play(script)
    return str(raised.value)


def test_what_cannot_be_done_is_refused_with_what_to_do_first():
    lab = Lab(small.Plain)
    assert "build first" in said(lab, "step") and "build first" in said(lab, "load")
    assert "nothing was done yet" in said(lab, "undo")
    lab.play("build")
    assert "built already" in said(lab, "build")
    assert "save, before you load" in said(lab, "load")
    assert "after a load" in said(lab, "transplant optimizer")
    lab.play("save,kill")
    for action in ("step", "both", "save", "kill", "phase"):
        assert "killed" in said(lab, action), action
    lab.play("load")
    assert "choose from" in said(lab, "transplant optimiser")
    assert lab.script == "build,save,kill,load"
    with pytest.raises(BadInput, match="steps=0"):
        Lab(small.Plain, 0)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("buidl", "did you mean 'build'"),
        ("step*0", "times='0'"),
        ("step*x", "times='x'"),
        ("transplant", "say what"),
        ("save it", "takes nothing"),
        ("step*9999,step*9999", "more than"),
    ],
)
def test_a_wrong_script_is_refused(script, words):
    with pytest.raises(BadInput, match="script") as raised:
        parse(script)
    assert words in str(raised.value)


def test_a_script_is_read_with_its_counts():
    assert parse(" build , step*2,, transplant optimizer ") == [
        Action("build"), Action("step"), Action("step"), Action("transplant", "optimizer"),
    ]  # fmt: skip


def test_actions_that_can_be_done_are_those_that_are_not_refused():
    lab = Lab(small.Plain, 2)
    assert lab.possible() == {"build"}
    assert lab.play("build").possible() == {"step", "both", "phase", "save", "kill", "end", "undo", "reset"}
    assert lab.play("step*2,save,kill").possible() == {"load", "undo", "reset"}
    assert {"transplant", "step"} <= lab.play("load").possible() and "end" not in lab.possible()


@pytest.mark.parametrize(("where", "script", "left"), [
    ("step", "build,step*9", "build,step*3"),
    ("load", "build,step,save,kill,load", "build,step,save,kill"),
    ("save", "build,step,save", "build,step"),
])  # fmt: skip
def test_what_a_run_raises_is_raised_and_leaves_all_as_it_was(where, script, left):
    class RaisesWhere(small.Plain):
        def step(self):
            if where == "step" and self.count == 3:
                torch.rand(5)
                raise RuntimeError("in step")
            return super().step()

        def save(self, path):
            super().save(path)
            if where == "save":
                raise RuntimeError("in save")

        def load(self, path):
            raise RuntimeError("in load")

    lab = Lab(RaisesWhere)
    with pytest.raises(RuntimeError, match=f"in {where}"):
        lab.play(script)
    assert lab.script == left and lab.nondeterministic == ()
    assert digests(lab.current.snapshot) == digests(lab_of(RaisesWhere, left).current.snapshot)
    before = {"step": "build,step*2", "load": "build,step,save", "save": "build"}
    assert lab.play("undo").script == before[where]


# --- undoing


@pytest.mark.parametrize("factory", [small.Plain, small.Loader, small.PrivateGenerators, forgetful("rng")])
def test_undo_of_each_action_leads_to_the_very_state_before_it(factory):
    lab, states = Lab(factory), []
    for action in parse("build,step*2,save,step,both,kill,load,step*2,load,step"):
        states.append((lab.script, lab.reference_steps, digests(lab.current.snapshot) if lab.processes else None))
        lab.do(action)
    while lab.actions:
        lab.undo()
        now = (lab.script, lab.reference_steps, digests(lab.current.snapshot) if lab.processes else None)
        assert now == states.pop()
        assert lab.nondeterministic == ()
    assert not states


def test_a_run_that_is_not_deterministic_says_so_when_it_is_replayed():
    class Nondeterministic(small.Plain):
        def step(self):
            self.seen = random.SystemRandom().random()
            return super().step()

    lab = Lab(Nondeterministic).play("build,step*2,kill,undo")
    assert lab.nondeterministic == ("seen",)


def test_what_was_seen_before_a_kill_stays_to_be_seen():
    lab = lab_of(small.Plain, STORY)
    first, second = lab.processes
    assert not first.alive and second.alive
    assert sorted(first.losses) == [1, 2, 3, 4] and sorted(second.losses) == [4, 5]
    assert second.losses[4] == first.losses[4] == lab.reference.losses[4]


def test_snapshots_beyond_the_limit_keep_their_digests_and_undo_replays_the_process(monkeypatch):
    monkeypatch.setattr("dora_repro.lab.process.LIMIT", 1)
    lab = Lab(small.Plain).play("build,step*4")
    assert not any(leaf.kept for leaf in lab.current.snapshots[2].values())
    before = digests(lab.current.snapshots[3])
    lab.play("undo")
    assert lab.current.done == 3 and digests(lab.current.snapshot) == before and lab.nondeterministic == ()


def test_a_run_may_hold_a_sparse_tensor():
    class Graph(small.Plain):
        def __init__(self):
            super().__init__()
            self.edges = torch.eye(3).to_sparse()

    lab = Lab(Graph, 4).play("build,step*2,save,kill,load,step*1")
    assert lab.divergence is None and differing(lab) == {}


def test_undo_removes_the_last_transplant_though_steps_came_after_its_place():
    lab = lab_of(functools.partial(small.Forgetful, "optimizer"), STORY)
    first = digests(lab.current.snapshot)
    lab.play("transplant rng")
    second = digests(lab.current.snapshot)
    lab.play("transplant optimizer")
    assert lab.script.endswith("load,transplant rng,transplant optimizer,step*2")
    lab.undo()
    assert lab.script.endswith("load,transplant rng,step*2") and digests(lab.current.snapshot) == second
    lab.undo()
    assert lab.script.endswith("load,step*2") and digests(lab.current.snapshot) == first
    assert lab.nondeterministic == ()


# --- global state


def test_a_lab_leaves_this_process_as_it_was():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = rng.capture_world()
    threads = torch.get_num_threads()
    lab_of(small.Plain, STORY).play("undo*2,transplant rng")
    after = rng.capture_world()
    assert torch.equal(before["torch.cpu"], after["torch.cpu"])
    assert random.random() == random.Random(1).random() and torch.get_num_threads() == threads
    assert before["python"] == after["python"]


def test_global_states_begin_as_those_of_interpreters_do():
    def drawn(state):
        with state.active():
            return random.random(), float(np.random.rand()), float(torch.rand(()))

    one, same, other = GlobalState(0), GlobalState(0), GlobalState(1)
    first = drawn(one)
    assert first == drawn(same) and drawn(one) != first
    assert drawn(other)[:2] != first[:2] and drawn(GlobalState(2))[2] == first[2]


# --- choices


def test_choices_are_of_the_study_or_of_the_gallery():
    assert Choices.of("complete").config.checkpoint == "complete"
    assert Choices.of("dora+optimizer", dropout=False).config.dropout_mode == "study"
    assert Choices().steps == 12 and Choices(run="opt-missing").steps == gallery.find("opt-missing").steps
    assert {"study", "opt-missing", "clean-ema"} <= set(runs()) and "cuda-atomics" not in runs()
    for wrong, words in (({"run": "opt-mising"}, "opt-missing"), ({"parts": ()}, "at least one")):
        with pytest.raises(BadInput, match=words):
            Choices(**wrong)


@pytest.mark.parametrize("name", ["opt-missing", "sched-needs-opt-lr", "ema-missing", "clean-ema"])
def test_a_fault_of_the_gallery_shows_in_the_lab_as_it_is_declared(name):
    choices = Choices(run=name)
    fault = gallery.find(name)
    lab = Lab(choices.factory, choices.steps).play(f"build,step*{fault.save_at},save,kill,load,end")
    found = lab.divergence and (lab.divergence.step, lab.divergence.phase)
    assert found == ((fault.step, fault.phase) if fault.step else None)
