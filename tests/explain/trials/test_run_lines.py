"""Advised lines are run on runs, in the place of a transplant."""

import collections
import pickle

import pytest
import torch
from torch import nn

from dora_repro import check
from dora_repro.explain.trials.run_lines import fill, read_into
from dora_repro.explain.trials.trial import Lines, Trial
from dora_repro.sides.places import Place


class Plain:
    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(2, 2)
        self.steps = 0


SAVE = ('state["model"] = self.model.state_dict()',)
LOAD = (("", 'self.model.load_state_dict(state["model"])'),)


def trained(run):
    nn.init.ones_(run.model.weight)
    return run


def test_what_lines_of_save_fill_is_a_copy_and_lines_of_load_read_it(tmp_path):
    run, other = trained(Plain()), Plain()
    filled = fill(Lines(SAVE), run)
    nn.init.zeros_(run.model.weight)  # what was written is not what goes on
    read_into(other, Lines(SAVE, LOAD), filled, tmp_path / "none.pt")
    assert torch.equal(other.model.weight, torch.ones(2, 2))


def test_lines_of_load_read_the_checkpoint_and_the_files_beside_it(tmp_path):
    path = tmp_path / "step3.pt"
    torch.save({"weight": torch.ones(2, 2), "steps": 1}, path)
    torch.save({"steps": 7}, f"{path}.more")
    run = Plain()
    lines = Lines((), (("", 'w = state["weight"]'), ("", "self.model.weight.data.copy_(w)"), ("step3.pt.more", STEPS)))
    read_into(run, lines, {"steps": 2}, path)
    assert run.steps == 7 and torch.equal(run.model.weight, torch.ones(2, 2))
    read_into(run, Lines((), (("", STEPS),)), {"steps": 2}, path)
    assert run.steps == 2  # what was filled is later than what the file had


STEPS = 'self.steps = state["steps"]'


class Looping(Plain):
    """Two functions that are half done, each with a variable `best` of its own."""

    def __init__(self):
        super().__init__()
        self.loop = self.outer()
        next(self.loop)

    def outer(self):
        best, waited = 1.5, 2
        yield from self.inner()
        yield best, waited

    def inner(self):
        best = 9.5
        yield
        self.steps = best


def test_lines_set_variables_of_functions_and_none_that_only_has_the_name(tmp_path):
    run = Looping()
    filled = fill(Lines(('state["best"] = best', 'state["waited"] = waited')), run)
    assert filled == {"best": 9.5, "waited": 2}
    lines = Lines((), (("", 'best = state["best"]'), ("", 'waited = state["waited"]')))
    read_into(run, lines, {"best": 4.5, "waited": 7}, tmp_path / "none.pt")
    assert next(run.loop) == (1.5, 7) and run.steps == 4.5


def test_the_dict_may_have_another_name_in_the_lines(tmp_path):
    filled = fill(Lines(('checkpoint["w"] = self.model.weight + 0',), (), "checkpoint"), trained(Plain()))
    run = Plain()
    lines = Lines((), (("", 'self.model.weight.data.copy_(checkpoint["w"])'),), "checkpoint")
    read_into(run, lines, filled, tmp_path / "none.pt")
    assert torch.equal(run.model.weight, torch.ones(2, 2))
    with pytest.raises(NameError, match="checkpoint"):
        fill(Lines(('checkpoint["w"] = 1',)), run)


class Stating(Plain):
    """A function that is half done, with a variable that has the name of the lines' own dict."""

    def __init__(self):
        super().__init__()
        self.loop = self.run_on()
        next(self.loop)

    def run_on(self):
        state = {"scale": 1.5}
        yield
        self.steps = state["scale"]


def test_a_variable_that_is_called_as_the_dict_is_elsewhere_stays_what_it_is(tmp_path):
    run, places = Stating(), (Place(state="checkpoint"), Place(state="ck"))
    lines = Lines(
        ('checkpoint["state/scale"] = state["scale"]',),
        (("", 'state["scale"] = ck["state/scale"] * 2'), ("", "")),
        places=places,
    )
    filled = fill(lines, run)
    read_into(run, lines, filled, tmp_path / "none.pt")
    next(run.loop, None)
    assert run.steps == 3.0


def test_what_no_file_can_hold_is_not_said_to_be_saved():
    class Local:
        pass

    entry = collections.namedtuple("Entry", "n")  # whose name tells nothing of the function
    for held in (Local(), entry(1), lambda: 1, Local):
        run = Plain()
        run.held = [held]
        with pytest.raises(pickle.PicklingError, match="local object"):
            fill(Lines(('state["held"] = self.held',)), run)
    run.held = [Plain(), Plain, torch.relu]
    assert type(fill(Lines(('state["held"] = self.held',)), run)["held"][0]) is Plain


class Components(Plain):
    def components(self):
        return {"net": self.model}


def test_objects_have_the_names_that_components_gives_them(tmp_path):
    run = Components()
    filled = fill(Lines(('state["net"] = self.net.state_dict()',)), trained(Components()))
    loaded = ("", 'self.net.load_state_dict(state["net"])'), ("", "self.steps = 5")
    read_into(run, Lines((), loaded), filled, tmp_path)
    assert torch.equal(run.model.weight, torch.ones(2, 2)) and run.steps == 5
    with pytest.raises(AttributeError, match="nothing_like_it"):
        read_into(run, Lines((), (("", "self.nothing_like_it = 1"),)), {}, tmp_path)


count, state, seen = 0, [1], [2]


class OfTheModule(Plain):
    def step(self):
        global count
        count += 1
        state.append(count)
        seen.append(count)


def test_variables_of_the_module_are_read_and_assigned_there_and_no_name_of_the_lines_is(tmp_path, monkeypatch):
    for name, value in (("count", 3), ("state", [1]), ("seen", [2])):
        monkeypatch.setitem(globals(), name, value)
    run = OfTheModule()
    filled = fill(Lines(('state["n"] = count', 'state["s"] = list(seen)')), run)
    assert filled == {"n": 3, "s": [2]}
    loaded = ("", 'global count; count = state["n"] + 1'), ("", 'seen[:] = state["s"] * 2')
    read_into(run, Lines((), loaded), filled, tmp_path / "none.pt")
    assert (count, seen, state) == (4, [2, 2], [1])


def test_a_trial_with_lines_is_asked_as_plain_data():
    trial = Trial(frozenset({"b", "a"}), lines=Lines(SAVE, LOAD))
    assert Trial.from_dict(trial.to_dict()) == trial
    assert Trial.from_dict(Trial(frozenset()).to_dict()) == Trial(frozenset())


class Training:
    """Adam without its moments in the checkpoint; the model in it is as it should be."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(3, 2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.steps = 0

    def step(self):
        self.steps += 1
        self.optimizer.zero_grad()
        inputs = torch.full((4, 3), float(self.steps), dtype=self.model.weight.dtype)
        loss = (self.model(inputs) - 1).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        torch.save({"model": self.model.state_dict(), "steps": self.steps}, path)

    def load(self, path):
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]


class Widened(Training):
    """Goes on in another dtype, to which load_state_dict casts what it is given."""

    def save(self, path):
        super().save(path)
        torch.save(torch.load(path) | {"optimizer": self.optimizer.state_dict()}, path)

    def load(self, path):
        super().load(path)
        self.optimizer.load_state_dict(torch.load(path)["optimizer"])
        self.model.double()


def test_the_answer_says_that_the_lines_were_run_and_mend():
    report = check(Training, 5, 3, in_process=True)
    tried = report.explanation.lines_tried
    assert tried.restores and tried.steps == 2
    assert report.explanation.lines.load == (("", 'self.optimizer.load_state_dict(state["optimizer"])'),)
    assert "Tried: the resumed run then repeats the reference." in str(report)


def test_and_that_they_do_not_where_they_do_not():
    report = check(Widened, 5, 3, in_process=True)
    assert report.explanation.lines.load and not report.explanation.lines_tried.restores
    assert "Tried: not enough, " in str(report)
