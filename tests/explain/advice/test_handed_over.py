"""Where a library writes the checkpoint: what the advised lines fill, and where they belong."""

import importlib
import sys

import pytest
import torch

from dora_repro import check
from dora_repro.explain.advice.handed_over import handed_over
from dora_repro.scripts.belonging import OWN_CODE


@pytest.mark.parametrize(
    ("writers", "libraries", "function"),
    [
        (["torch.save"], {}, ""),
        (["torch.save"], {"trainer": "train/trainer"}, "train"),
        (["fabric.save"], {"fabric": "fabric"}, ""),
        (["json.dump"], {"accelerate": "accelerator"}, ""),  # its save() may be what calls it
        (["json.dump"], {}, "train"),
        (["json.dump", OWN_CODE], {"accelerate": "main/accelerator"}, "main"),  # seen to write what was read
    ],
)
def test_code_that_writes_what_it_has_built_has_a_dict_of_its_own(writers, libraries, function):
    assert handed_over(writers, libraries, function) is None


@pytest.mark.parametrize(
    ("libraries", "function", "words"),
    [
        ({"trainer": "train/trainer"}, "train", "The Trainer writes the checkpoint"),
        ({"trainer": "train/trainer"}, "train", 'f"{args.output_dir}/checkpoint-{state.global_step}"'),
        ({"ignite": "train/engine"}, "train", "last_checkpoint"),
        ({"accelerate": "train/wrapped"}, "train", "after wrapped.save_state(path)"),
        ({}, "train", "In train() the lines of save belong after the checkpoint at `path` was written"),
        ({}, "", "A library writes the checkpoint"),
    ],
)
def test_lines_go_into_a_file_beside_what_a_library_writes(libraries, function, words):
    found = handed_over([], libraries, function)
    assert found.filled == "more" and found.file and words in found.sentence


def test_lightning_hands_its_dict_to_hooks():
    found = handed_over(["json.dump"], {"lightning": "train/trainer", "accelerate": "x"}, "train")
    assert found.filled == "checkpoint" and not found.file and "on_load_checkpoint" in found.sentence
    assert handed_over([], {"lightning": "trainer"}, "").filled == "more"  # there save() is the user's


LIBRARY = """
import torch

def save(path, **parts):
    torch.save({name: part.state_dict() for name, part in parts.items()}, path)

def load(path, **parts):
    read = torch.load(path)
    for name, part in parts.items():
        part.load_state_dict(read[name])

class Keeper:
    def __init__(self):
        self._seen = 0

    def see(self):
        self._seen += 1
        return self._seen
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library that is installed, as the user's code imports it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "keeping_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("keeping_library")
    del sys.modules["keeping_library"]


class Scaled:
    """Forgets a factor that grows; a library writes its checkpoint."""

    def __init__(self):
        import keeping_library

        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.scale, self.library = 1.0, keeping_library
        self.keeper = keeping_library.Keeper()

    def next_scale(self):
        self.scale *= 1.25
        return self.scale

    def step(self):
        self.optimizer.zero_grad()
        loss = self.model(torch.ones(2, 4)).sum() * self.next_scale()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        self.library.save(path, model=self.model, optimizer=self.optimizer)

    def load(self, path):
        self.library.load(path, model=self.model, optimizer=self.optimizer)


class Own(Scaled):
    def save(self, path):
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, path)


class Kept(Scaled):
    """What it forgets is private to an object of the library."""

    def next_scale(self):
        return 1.25 ** self.keeper.see()


def test_lines_for_a_checkpoint_that_a_library_writes_work_in_a_file_of_their_own(library):
    report = check(Scaled, 6, 3, in_process=True)
    found = report.explanation
    assert report.causes[0].name == "scale" and found.lines_tried.restores
    assert found.lines.save == ("more = {}", 'more["scale"] = self.scale', 'torch.save(more, f"{path}.more")')
    assert [line for _, line in found.lines.load] == [
        'more = torch.load(f"{path}.more")',
        'self.scale = more["scale"]',
    ]
    assert any(line.startswith("A library writes the checkpoint") for line in report.causes[0].advice)
    assert 'more["scale"] = self.scale' in repr(report) and "more = {}" not in repr(report)


def test_the_same_run_that_writes_it_itself_gets_lines_for_its_own_dict(library):
    found = check(Own, 6, 3, in_process=True).explanation
    assert found.lines.save == ('state["scale"] = self.scale',) and found.lines_tried.restores


def test_no_line_is_advised_for_what_is_private_to_a_library(library):
    (cause,) = check(Kept, 6, 3, in_process=True).causes
    assert cause.name == "keeper/_seen" and not cause.save and not cause.load
    assert cause.advice[0].startswith("`keeper/_seen` is private to Keeper (keeping_library). No line of yours")
