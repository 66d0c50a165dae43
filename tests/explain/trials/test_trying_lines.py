"""Advised lines, tried in the place of a transplant."""

import functools
from dataclasses import replace
from pathlib import Path

from dora_repro.explain.trials.trial import LATE, Lines, Outcome, Trial
from dora_repro.explain.trials.worker import TrialRunner
from tests.explain.trials.checked import MADE, Checked, Counting, of_late_objects


def test_lines_are_run_on_a_run_that_has_all_and_on_one_as_it_was_resumed(lost):
    save = ('state["optimizer"] = self.optimizer.state_dict()', 'state["rng"] = torch.get_rng_state()')
    load = (("", 'self.optimizer.load_state_dict(state["optimizer"])'), ("", 'torch.set_rng_state(state["rng"])'))
    save, load = ("import torch", *save), (("", "import torch"), *load)
    assert lost.tried(lost.lost, lines=Lines(save, load)).outcome is Outcome.SAME
    assert lost.tried(lost.lost, lines=Lines(save, load[:2])).divergence.phase == "forward"
    wrong = lost.tried(lost.lost, lines=Lines(save, (("", "self.nowhere.x"),)))
    assert wrong.outcome is Outcome.UNRESOLVED and "nowhere" in wrong.error
    # What is put back beside the lines is put into the run that they are tried on.
    assert lost.tried(lost.lost, lines=Lines((), ()), beside=lost.lost).outcome is Outcome.SAME


def test_lines_that_raise_are_unresolved_and_name_what_they_raise(lost):
    found = lost.tried(lines=Lines((), (("", 'state["absent"]'),)))
    assert (found.outcome, found.error) == (Outcome.UNRESOLVED, "KeyError: 'absent'")


def test_lines_that_save_nothing_need_no_run_to_save(lost):
    built = []
    runner = TrialRunner(lambda: built.append(1) or lost.factory(), lost.setup)
    assert runner.result(Trial(lost.lost, lines=Lines((), ()), beside=lost.lost)).outcome is Outcome.SAME
    assert len(built) == 1


class Folder(Counting):
    """Saves a folder."""

    def save(self, path):
        Path(path).mkdir()
        super().save(f"{path}/state.pt")

    def load(self, path):
        super().load(f"{path}/state.pt")


def test_lines_are_tried_on_a_checkpoint_that_is_a_folder_too(tmp_path):
    kept = Checked(tmp_path / "kept", functools.partial(Folder, "rng", "optimizer"))
    save = ("import torch", 'state["optimizer"] = self.optimizer.state_dict()', 'state["rng"] = torch.get_rng_state()')
    load = ("import torch", 'self.optimizer.load_state_dict(state["optimizer"])', 'torch.set_rng_state(state["rng"])')
    assert kept.tried(kept.lost, lines=Lines(save, tuple(("", line) for line in load))).outcome is Outcome.SAME
    save, load = (*save, 'torch.save(7, path / "own.pt")'), (*load, 'assert torch.load(path / "own.pt") == 7')
    assert kept.tried(kept.lost, lines=Lines(save, tuple(("", line) for line in load))).outcome is Outcome.SAME


def test_lines_that_write_a_file_find_no_folder_where_the_checkpoint_is_none(lost):
    lines = Lines(("import torch", "torch.save(7, path)"), (("", "import torch"), ("", "assert torch.load(path) == 7")))
    found = lost.tried(lost.lost, lines=lines, beside=lost.lost)
    assert (found.outcome, found.error) == (Outcome.SAME, None)


def test_lines_for_objects_that_are_made_late_wait_for_them(late):
    save = tuple(f'state["{name}"] = self.{name}.state_dict()' for name in MADE["late"])
    load = tuple(f'self.{name}.load_state_dict(state["{name}"])' for name in reversed(MADE["late"]))
    early = ('state["n"] = 1', 'assert state["n"] == 1 and self.optimizer is None')
    lines = Lines((early[0], *save), tuple(("", line) for line in (early[1], *load)), late=(*save, *load))
    names = {*of_late_objects(late), LATE}
    assert late.tried(names, MADE, lines=lines).outcome is Outcome.SAME
    at_once = late.tried(names, MADE, lines=replace(lines, late=save))
    assert at_once.outcome is Outcome.UNRESOLVED and at_once.steps == 0
    moments = ('state["m"] = len(self.optimizer.state)', 'assert state["m"] == 4')  # what it had, is there by then
    told = Lines((moments[0],), (("", moments[1]),), late=moments)
    assert late.tried(names, MADE, lines=told).outcome is Outcome.DIFFERENT
    broken = Lines((), (("", "raise RuntimeError(path)"),), late=("raise RuntimeError(path)",))
    assert late.tried(names, MADE, lines=broken).error.startswith("RuntimeError")
    assert late.tried(names - {LATE}, MADE, lines=broken).error is None  # nobody waits for the objects
    assert late.tried((), MADE, lines=replace(broken, save=broken.late)).error is None
    assert late.tried({LATE}, MADE, lines=lines).error is None  # waits, though nothing is put into them
    # What is put back beside lines is put into these objects as well, before the lines are run.
    beside = frozenset(of_late_objects(late))
    assert late.tried(names, MADE, lines=Lines((), ()), beside=beside).outcome is Outcome.SAME
