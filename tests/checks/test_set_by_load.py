"""What a resumed run alone sets while loading is told apart; what training had changed is lost all the same."""

import copy
import sys
from pathlib import Path

import torch

import dora_repro
from dora_repro import Verdict
from dora_repro.checks.set_by_load import only_resumed
from dora_repro.state.frames import Running
from dora_repro.state.snapshot import Snapshot


class Run:
    """Resumes rightly, and marks in its configuration that it has."""

    def __init__(self):
        torch.manual_seed(0)
        self.config, self.resumed, self.first_step = {"lr": 0.1}, False, 0
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), self.config["lr"])
        self.inputs = torch.randn(4, 3)
        self.done = 0

    def step(self):
        self.optimizer.zero_grad()
        loss = ((self.model(self.inputs) - 1) ** 2).mean()
        loss.backward()
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
        self.config["resume_from"], self.resumed, self.first_step = path, True, self.done


class Counts(Run):
    """`done` is lost: load() sets it to what no run ever had."""

    def load(self, path):
        super().load(path)
        self.done = -7


class Steps(Run):
    """What marks the resume is used by a step, and has an effect."""

    def step(self):
        self.optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.first_step)
        return super().step()


class Moves(Run):
    """A value that load() sets, and that a step then changes: it is no mark."""

    def step(self):
        if self.resumed:
            self.first_step += 1
        return super().step()


class Masks(Run):
    """load() makes a buffer that no step changes: what a model has is no mark of a resume."""

    def load(self, path):
        super().load(path)
        self.model.register_buffer("mask", torch.ones(3), persistent=False)


class Recast(Run):
    """Constants that come back through a file without their types: nobody marks a resume so."""

    def __init__(self):
        super().__init__()
        self.limit, self.shift, self.table = 3, True, {1.5: 0.5, 2.0: 0.25}

    def load(self, path):
        super().load(path)
        self.limit, self.shift = 3.0, 1
        self.table = {1.5: 0.5, 2: 0.25}


class Loop(torch.nn.Module):
    """A module that is its own loop, and notes on itself what it has loaded."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)

    def forward(self, inputs):
        return self.model(inputs)


class Notes(Run):
    """What is loaded is noted on a module, and a dict stands where there is None in a run that goes on."""

    def __init__(self):
        super().__init__()
        self.loop, self.read = Loop(), None

    def load(self, path):
        super().load(path)
        self.loop.resumed, self.read = None, {"path": path, "words": torch.ones(2)}


class NotesMore(Notes):
    """A part of what is loaded in place of None is changed by a step."""

    def step(self):
        if self.read is not None:
            self.read["words"] += 1
        return super().step()


class Replaces(Notes):
    """The reference makes something in place of None itself, and load() makes something else."""

    def step(self):
        self.read = self.read or {"path": "none"}
        return super().step()


class Finds(Run):
    """Lists the checkpoints that it found: none in a run that goes on, and paths, no plain values, in another."""

    def __init__(self):
        super().__init__()
        self.found = []

    def load(self, path):
        super().load(path)
        self.found = [Path(path), Path(path).parent]


class LetsGo(Run):
    """An average that shares what was read with a variable of its own, until a step makes another one."""

    def __init__(self):
        super().__init__()
        self.average = {"w": torch.zeros(3)}

    def step(self):
        loss = super().step()
        self.average = {"w": (self.average["w"] + self.model.weight.detach()[0]) / 2}
        return loss

    def save(self, path):
        super().save(path)
        torch.save(self.average, f"{path}.average")

    def load(self, path):
        super().load(path)
        self.read = {"average": torch.load(f"{path}.average")}
        self.average = self.read["average"]


class Wrong(LetsGo):
    """What is kept of what was read changes in a step: it is no mark."""

    def step(self):
        if "read" in vars(self):
            self.read["average"] = {"w": self.average["w"] + 1}
        return super().step()


class Reads(Run):
    """Goes on with the settings of the file: equal to those that it was built with, and another object."""

    def __init__(self):
        super().__init__()
        self.config |= {"sizes": [8, 16], "name": "plain"}
        self.settings = self.config

    def load(self, path):
        super().load(path)
        del self.config["resume_from"]
        self.settings = copy.deepcopy(self.config)


class Lowers(Reads):
    """A step changes them by one name: what is read by the other is no longer that."""

    def step(self):
        self.config["lr"] *= 0.5
        return super().step()


class ReadsOthers(Reads):
    """What was read is otherwise."""

    def load(self, path):
        super().load(path)
        self.settings["sizes"] = [8, 32]


def check(kind):
    return dora_repro.check(kind, steps=4, save_at=2, in_process=True)


def test_what_marks_a_resume_is_no_loss():
    report = check(Run)
    assert report.verdict is Verdict.EXACT
    assert {*report.set_aside.set_by_load} == {"config/resume_from", "resumed", "first_step"}
    assert "Set while loading, and no loss; not counted: " in str(report)


def test_a_list_that_only_load_fills_is_no_loss():
    report = check(Finds)
    assert report.verdict is Verdict.EXACT
    assert {"found", "found/0", "found/1"} <= {*report.set_aside.set_by_load}


def test_what_is_kept_of_what_was_read_is_no_loss_when_it_is_no_longer_shared():
    report = check(LetsGo)
    assert report.verdict is Verdict.EXACT, report
    assert "read/average/w" in report.set_aside.set_by_load
    assert check(Wrong).verdict is Verdict.LATENT


def test_an_equal_copy_of_settings_is_no_loss_unless_they_change():
    """A correct script that keeps its configuration in the checkpoint would be called LATENT, "no longer shared"."""
    report = check(Reads)
    assert report.verdict is Verdict.EXACT, report
    assert "settings" in report.set_aside.set_by_load
    assert check(Lowers).verdict is Verdict.LATENT
    assert check(ReadsOthers).verdict is Verdict.LATENT


def test_a_counter_that_training_changes_is_lost():
    report = check(Counts)
    assert report.verdict is Verdict.LATENT and report.latent == ("done",)


def test_what_has_an_effect_is_different_whoever_set_it():
    report = check(Steps)
    assert report.verdict is Verdict.DIFFERENT
    assert "first_step" in {cause.name for cause in report.explanation.causes}, report


def test_what_a_step_changes_is_no_mark():
    report = check(Moves)
    assert report.verdict is Verdict.LATENT and report.latent == ("first_step",)


def test_a_constant_of_another_type_and_a_key_of_another_are_no_marks():
    report = check(Recast)
    assert report.verdict is Verdict.LATENT
    assert {"limit", "shift", "table/2.0", "table/2"} <= set(report.latent)
    assert {leaf for cause in report.causes for leaf in cause.leaves} >= {"limit", "shift", "table/2.0"}


def test_a_buffer_that_only_the_resumed_model_has_is_no_mark():
    report = check(Masks)
    assert report.verdict is Verdict.LATENT and report.latent == ("model/mask",)


def test_what_is_noted_on_a_module_or_in_place_of_none_is_no_loss():
    report = check(Notes)
    assert report.verdict is Verdict.EXACT, report
    assert {"loop/resumed", "read", "read/path", "read/words"} <= {*report.set_aside.set_by_load}


def test_what_a_step_changes_of_it_or_the_reference_had_is_one():
    assert check(NotesMore).verdict is Verdict.LATENT
    assert check(Replaces).verdict is Verdict.LATENT


def running(given=None, *, more=False):
    """The state of a function that is running, and that may have read something."""

    def train():
        model, spare = [1.0], None
        if given is not None:
            state = given
            spare = given if more else None
        return sys._getframe(), model, spare, locals().get("state")

    return Snapshot.capture({"train": Running(train()[0]), "other": given})


def test_variables_of_a_function_that_only_the_resumed_run_has_are_no_loss():
    read = {"gradient": torch.ones(2), "done": 3}
    alone, loaded = running(), running(read, more=True)
    paths = ["train/state", "train/state/done", "train/spare/done", "train/model", "other/done"]
    assert [*only_resumed(paths, alone, alone, loaded)] == ["train/state", "train/state/done", "train/spare/done"]
    assert not [*only_resumed(paths, loaded, alone, loaded)] and not [*only_resumed(paths, alone, loaded, loaded)]
    assert not [*only_resumed(paths, Snapshot({}), Snapshot({}), loaded)], "no such function is running there"


class Queue(Run):
    """The items of a list are saved; what was read of them is kept, and moves through the list, or is changed there."""

    change = 0.0

    def __init__(self):
        super().__init__()
        self.items, self.read = [torch.randn(3) for _ in range(6)], None

    def step(self):
        self.items.append(self.items[0] * 0.5)
        self.items.pop(0)
        self.items[2] += self.change
        self.inputs = torch.stack(self.items)
        return super().step()

    def save(self, path):
        super().save(path)
        torch.save([*self.items], f"{path}.items")

    def load(self, path):
        super().load(path)
        self.read = torch.load(f"{path}.items")
        self.items[:] = self.read


class Changed(Queue):
    change = 0.25


def test_what_was_read_is_the_same_when_it_has_another_name_and_not_when_it_was_changed():
    report = dora_repro.check(Queue, 6, 3, in_process=True)
    assert report.verdict is Verdict.EXACT and any(path.startswith("read/") for path in report.set_aside.set_by_load)
    report = dora_repro.check(Changed, 6, 3, in_process=True)
    assert report.verdict is Verdict.LATENT and {path.partition("/")[0] for path in report.latent} == {"read"}
