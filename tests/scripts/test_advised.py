"""Advised lines run in a script where they would stand in it: each script is executed here as if it were main."""

import json
import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from dora_repro.scripts import advised
from dora_repro.scripts.advised import Advised
from dora_repro.scripts.assignment import GivenLine, GivenLines
from dora_repro.scripts.files import Files
from dora_repro.state.digest import digest


class Stopped(Exception):
    """In place of the end of the process."""


def _line(given):
    return (*given, (), "")[:4] if len(given) < 4 else given


def _generators():
    return {"rng/torch.cpu": torch.get_rng_state()}


def _equal(one, other):
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Executes a script with lines in effect; returns its variables, and what became of the lines."""

    def kill(pid, signal):
        raise Stopped

    monkeypatch.setattr(advised.os, "kill", kill)
    monkeypatch.chdir(tmp_path)

    def run(text, save=(), load=(), beside="", resume=None, state="state", expected=None, read="a.pt", **named):
        path = tmp_path / "train.py"
        path.write_text(text, encoding="utf-8")
        numbered = [*enumerate(text.splitlines(), 1)]
        calls = {word: tuple((str(path), n) for n, line in numbered if word in line) for word in ("save(", "load(")}
        lines = [
            tuple(GivenLine(code, function, leaves, file) for function, code, leaves, file in map(_line, each))
            for each in (save, load)
        ]
        there = (str((tmp_path / read).resolve()),)
        told = {}
        beside = beside and str(tmp_path / beside)
        given = GivenLines(*lines, state, beside, calls["save("], calls["load("], there)
        names = {"__name__": "__main__", "__file__": str(path), "resume": resume}
        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", torch.save)
            patched.setattr(torch, "load", torch.load)
            lines_in_effect = Advised(given, told.update, named)

            def differing(paths):
                now = {**{f"train.py/{name}": value for name, value in names.items()}, **_generators()}
                return {path: digest(expected[path]) for path in paths if not _equal(now[path], expected[path])}

            def step():
                lines_in_effect.first_step(sys._getframe(1))
                if expected is not None:
                    lines_in_effect.once_more(sys._getframe(1), differing)

            names["step"] = step
            for name in ("rename", "replace"):
                patched.setattr(os, name, getattr(os, name))
            files = Files(tmp_path, lambda: (0, 0))
            lines_in_effect.install(files)
            tracing = sys.gettrace()
            try:
                exec(compile(text, str(path), "exec"), names)
            except Stopped:
                pass
            finally:
                sys.settrace(tracing)
                files.close()
        return names, told

    return run


FLAT = """
import torch
best, start = 9, 0
if resume:
    checkpoint = torch.load("a.pt")
    start = checkpoint["start"]
    print("resumed from", start)
step()
seen = best
best = 5
torch.save({"start": 1}, "a.pt")
"""


def test_a_variable_of_the_module_is_saved_and_set_after_what_is_taken_out_of_the_checkpoint(ran):
    _, told = ran(FLAT, save=[("train.py", "state['best'] = best")])
    assert told == {"saved": "train.py:11"}
    assert torch.load("a.pt") == {"start": 1, "best": 5}
    names, told = ran(FLAT, load=[("train.py", "best = state['best']")], resume=True)
    assert (names["seen"], told) == (5, {"loaded": ["train.py:7"]})


IN_FUNCTIONS = """
import torch

def save_state(path, value):
    state = {"value": value}
    torch.save(state, path)

def read(path):
    return torch.load(path)

def restored(path):
    found = read(path)
    return found["value"]

def main():
    global seen
    value, scale = 1, 10
    if resume:
        value = restored("a.pt")
        more = value
    step()
    seen = scale
    for scale in (11, 12):
        save_state("a.pt", value)

main()
"""


def test_a_variable_of_the_function_around_is_set_in_that_function(ran):
    _, told = ran(IN_FUNCTIONS, save=[("main", "state['scale'] = scale")])
    assert told == {"saved": "train.py:6, in save_state()"}
    names, told = ran(IN_FUNCTIONS, load=[("main", "scale = state['scale']")], resume=True)
    assert (names["seen"], told) == (12, {"loaded": ["train.py:20, in main()"]})


LIBRARY = """
import torch

class Trainer:
    ema = 1.0

    def save(self):
        torch.save({"n": 1}, "a.pt")

    def resume(self):
        self.n = torch.load("a.pt")["n"]

def main():
    trainer = Trainer()
    if resume:
        trainer.resume()
    step()
    trainer.seen, trainer.ema = trainer.ema, 0.5
    trainer.save()
    return trainer

made = main()
"""


def test_lines_of_no_function_have_the_variables_of_those_around(ran):
    """What a library holds is called as a variable of main(): "trainer() is not running" was told in place of a try."""
    _, told = ran(LIBRARY, save=[("", "state['ema'] = trainer.ema")])
    assert told == {"saved": "train.py:8, in save()"} and torch.load("a.pt")["ema"] == 0.5
    names, told = ran(LIBRARY, load=[("", "trainer.ema = state['ema']")], resume=True)
    assert (names["made"].seen, told) == (0.5, {"loaded": ["train.py:11, in resume()"]})
    _, told = ran(LIBRARY, save=[("", "state['x'] = engine.x")])
    assert told == {"why": "train.py:8, in save(): no variable leads there to what `state['x'] = engine.x` names"}


OBJECT = """
import torch

class Trainer:
    def __init__(self):
        self.n, self.rate = 0, 1.0
        if resume:
            self.load("a.pt")

    def load(self, path):
        self.n = torch.load(path)["n"]

    def fit(self):
        step()
        self.seen = self.rate
        self.rate = 0.5
        torch.save({"n": 1}, "a.pt")

trainer = Trainer()
trainer.fit()
"""


def test_an_object_that_is_made_by_the_loading_is_waited_for(ran):
    ran(OBJECT, save=[("train.py", "state['rate'] = trainer.rate")])
    names, told = ran(OBJECT, load=[("train.py", "trainer.rate = state['rate']")], resume=True)
    assert (names["trainer"].seen, told) == (0.5, {"loaded": ["train.py:20"]})


LATER = """
import torch

def train():
    best = 9
    for number in range(2):
        step()
        found.append(best)
        best = 3

found = []
state = torch.load("a.pt") if resume else None
train()
torch.save({"n": 1, "best": 3}, "a.pt")
"""


def test_a_function_that_begins_later_is_met_before_its_loop(ran):
    ran(LATER)
    names, told = ran(LATER, load=[("train", "best = state['best']")], resume=True)
    assert (names["found"], told) == ([3, 3], {"loaded": ["train.py:6, in train()"]})


WEIGHTS = """
import torch
rate, weights = 1.0, {}
if resume:
    weights.update(torch.load("a.pt"))
step()
seen = rate
rate = 0.5
torch.save({"w": 1}, "a.pt")
"""


def test_lines_with_a_file_of_their_own_leave_the_checkpoint_as_it_is(ran):
    save = [("", "more = {}"), ("train.py", "more['rate'] = rate"), ("", "torch.save(more, path + '.more')")]
    ran(WEIGHTS, save=save, beside="a.pt", state="more")
    assert (torch.load("a.pt"), torch.load("a.pt.more")) == ({"w": 1}, {"rate": 0.5})
    load = [("", "more = torch.load(path + '.more')"), ("", "rate = more['rate']")]
    names, told = ran(WEIGHTS, load=load, resume=True, state="more")
    assert (names["seen"], told) == (0.5, {"loaded": ["train.py:6"]})


PARTS = """
import json, os, torch
rate, start = 1, 0
if resume:
    weights = torch.load("a.pt")
    with open("b.json") as file: start = json.load(file)  # load(
    print("from", start)
step()
seen = rate
rate = 0.5
torch.save({"w": 1}, "a.pt")
with open("b.tmp", "w") as file:  # save(
    json.dump(3, file)
os.replace("b.tmp", "b.json")
"""


def test_of_several_files_lines_follow_the_last_in_whatever_way_it_is_written_and_read(ran):
    save = [("", "more = {}"), ("train.py", "more['rate'] = rate"), ("", "torch.save(more, path + '.more')")]
    written = {"beside": "b.json", "read": "b.json"}
    _, told = ran(PARTS.replace('torch.save({"w"', 'torch.save ({"w"'), save=save, **written)
    assert told == {"saved": "train.py:12"}
    assert (torch.load("a.pt"), torch.load("b.json.more")) == ({"w": 1}, {"rate": 0.5})
    assert not os.path.exists("b.tmp.more")
    load = [("train.py", "more = torch.load(f'{path}.more')"), ("train.py", "rate = more['rate']")]
    names, told = ran(PARTS, load=load, resume=True, **written)
    assert (names["seen"], told) == (0.5, {"loaded": ["train.py:7"]})


def test_lines_follow_the_file_that_is_opened_where_torch_writes_into_a_stream(ran):
    """As DCP has it write each tensor: the lines would never have been tried."""
    streamed = PARTS.replace("    json.dump(3, file)", "    torch.save({}, io.BytesIO()); json.dump(3, file)  # save(")
    save = [("", "more = {}"), ("train.py", "more['rate'] = rate"), ("", "torch.save(more, path + '.more')")]
    _, told = ran(
        streamed.replace("import json", "import io, json").replace('torch.save({"w"', 'torch.save ({"w"'),
        save=save,
        beside="b.json",
        read="b.json",
    )
    assert told == {"saved": "train.py:12"} and torch.load("b.json.more") == {"rate": 0.5}


def test_lines_with_a_loop_of_their_own_come_before_the_one_that_loads_each_part(ran):
    """Inside that one their loop would change its variable, and the next part would be taken from another key."""
    text = """
import torch
rates = {"a": 1, "b": 2}
if resume:
    checkpoint = torch.load("a.pt")
    for name in ("start", "end"):
        rates[name] = checkpoint[name]
    print("resumed")
step()
torch.save({"start": 1, "end": 2}, "a.pt")
"""
    ran(text)
    names, told = ran(text, load=[("train.py", "for name in ('a', 'b'): rates[name] += 1")], resume=True)
    assert (names["rates"], told) == ({"a": 2, "b": 3, "start": 1, "end": 2}, {"loaded": ["train.py:8"]})


def test_a_line_reads_the_file_that_the_script_has_not_read(ran):
    torch.save({"start": 1}, "a.pt")
    torch.save(7, "other.pt")
    load = [("train.py", "best = state", ("train.py/best",), os.path.abspath("other.pt"))]
    names, told = ran(FLAT, load=load, resume=True)
    assert (names["seen"], told) == (7, {"loaded": ["train.py:7"]})
    with open("other.json", "w") as file:
        json.dump({"best": 8}, file)
    save_file({"best": torch.tensor([9])}, "other.safetensors")
    for name, value in (("other.json", 8), ("other.safetensors", 9)):
        line = ("train.py", "best = int(state['best'])", (), os.path.abspath(name))
        names, told = ran(FLAT, load=[line], resume=True)
        assert (names["seen"], told) == (value, {"loaded": ["train.py:7"]})
    names, told = ran(FLAT, load=[(*load[0][:3], "/no/such.pt")], resume=True)
    assert "No such file" in told["error"]


OVERWRITTEN = """
import torch
if resume:
    state = torch.load("a.pt")
    start = state["start"]
best = 9
print("resumed")
best = 9
if resume:
    del state["best"]
    torch.save({"start": 1}, "a.pt")
torch.rand(3)
step()
seen, drawn = best, torch.rand(1)
"""


def test_what_is_set_anew_before_training_begins_is_brought_back_there(ran):
    torch.manual_seed(3)
    wanted = torch.get_rng_state()
    torch.save({"start": 1, "best": 5, "rng": wanted}, "a.pt")
    load = [
        ("train.py", "best = state['best']", ("train.py/best",)),
        ("train.py", "torch.set_rng_state(state['rng'])", ("rng/torch.cpu",)),
    ]
    expected = {"train.py/best": 5, "rng/torch.cpu": wanted}
    names, told = ran(OVERWRITTEN, load=load, resume=True, expected=expected)
    assert names["seen"] == 5 and torch.equal(names["drawn"], torch.rand(1, generator=torch.manual_seed(3)))
    assert told["loaded"] == ["train.py:7"]
    assert told["again"] == {
        "lines": "`best = state['best']`, `torch.set_rng_state(state['rng'])`",
        "at": "train.py:13",
    }


def test_a_generator_that_has_to_draw_before_training_is_left_as_it_is_then(ran):
    torch.manual_seed(3)
    torch.save({"start": 1, "rng": torch.get_rng_state(), "best": 5}, "a.pt")
    load = [("", "torch.set_rng_state(state['rng'])", ("rng/torch.cpu",))]
    wanted = torch.manual_seed(4).get_state()  # neither as saved nor as it is then
    names, told = ran(OVERWRITTEN, load=load, resume=True, expected={"rng/torch.cpu": wanted})
    generator = torch.manual_seed(3)
    torch.rand(3, generator=generator)
    assert torch.equal(names["drawn"], torch.rand(1, generator=generator)) and "again" not in told


def test_what_the_script_has_changed_since_it_was_set_is_left_as_it_is_if_the_checkpoint_has_it_otherwise(ran):
    torch.save({"start": 1, "best": 5}, "a.pt")
    load = [("train.py", "best = state['best']", ("train.py/best",))]
    names, told = ran(OVERWRITTEN, load=load, resume=True, expected={"train.py/best": 6})
    assert names["seen"] == 9 and "again" not in told


LATE = """
import torch
if resume:
    print(torch.load("a.pt")["start"])
for number in range(2):
    scale = 1; step()
    seen = scale
    break
torch.save({"start": 1, "scale": 3}, "a.pt")
"""


def test_a_variable_that_the_loop_sets_is_set_when_training_begins(ran):
    ran(LATE)
    lines = [("train.py", "kept.append(scale)"), ("train.py", "scale = state['scale']")]
    kept = []
    names, told = ran(LATE, load=lines, resume=True, kept=kept)
    assert (names["seen"], kept, told) == (3, [1], {"loaded": ["train.py:6"]})


@pytest.mark.parametrize(
    ("text", "lines", "told"),
    [
        (FLAT, {"save": [("main", "state['a'] = a")]}, "why: main() is not running where the checkpoint is written"),
        (FLAT, {"save": [("train.py", "state['a'] = absent")]}, "error: NameError: name 'absent' is not defined"),
        (FLAT, {"load": [("train.py", "best = absent")]},
         "why: training began before their place was reached in train.py"),
        (FLAT, {"load": [("train.py", "best = state['no']")]}, "error: KeyError: 'no'"),
        (FLAT, {"load": [("other", "best = 1")]}, "why: training began before their place was reached in other()"),
        (FLAT.replace("torch.load(", "dict(start=1) or (").replace("load(", "("),
         {"load": [("train.py", "best = state['a']")]},
         "why: the resume command did not call torch.load where the checkpoint had been read"),
        (FLAT.replace('{"start": 1}', "[1]"), {"save": [("train.py", "state['a'] = 1")]},
         "why: train.py:11: what is written there is no dict"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_told(ran, text, lines, told):
    if "load" in lines:
        torch.save({"start": 1}, "a.pt")
    _, found = ran(text, resume="load" in lines, **lines)
    assert [f"{name}: {words}" for name, words in found.items()] == [told]


def test_what_the_script_named_itself_can_be_used(ran):
    average = {"a": 1}
    ran(FLAT, save=[("average", "state['average'] = average")], average=average)
    assert torch.load("a.pt")["average"] == average
