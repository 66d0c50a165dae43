"""Checks whose evidence was kept, and trials on it in this process."""

import functools
from dataclasses import replace

import dora_repro
from dora_repro.checks.keeping import Kept
from dora_repro.explain.trials.setup import TrialSetup, inputs_of
from dora_repro.explain.trials.trial import Trial
from dora_repro.explain.trials.worker import TrialRunner
from dora_repro.faults.clean.files import MadeInFirstStep
from dora_repro.faults.plain import Training
from tests import runs


class Counting(runs.Forgetful):
    """Counts its steps, and saves the number nowhere."""

    def __init__(self, *forgotten):
        super().__init__(*forgotten)
        self.seen = 0

    def step(self):
        self.seen += 1
        return super().step()


LOST = functools.partial(Counting, "rng", "optimizer")
GENERATOR = frozenset({"rng/torch.cpu"})


class Checked:
    """A check's evidence, and what runs trials on it.

    Args:
        folder: where the evidence is kept.
        factory: builds the run, for the check and for the trials.
        steps: the last step.
        save_at: the step after which it is saved.
        asked: further arguments of the check.
    """

    def __init__(self, folder, factory, steps=4, save_at=2, **asked):
        self.factory = factory
        self.report = dora_repro.check(factory, steps=steps, save_at=save_at, folder=folder, in_process=True, **asked)
        self.setup = TrialSetup.below(folder, Kept.read(folder).answers[0].trial)
        self.lost = frozenset(each.path for each in self.report.lost)

    def runner(self, **changed):
        return TrialRunner(self.factory, replace(self.setup, **changed))

    def tried(self, names=frozenset(), setup=None, **more):
        return self.runner(**(setup or {})).result(Trial(frozenset(names), **more))


class BegunAnew(Training):
    """Begins an epoch anew where it goes on."""

    def load_data(self, state):
        pass


class Late(MadeInFirstStep):
    """Makes its optimizer in the first step, and does not give it what it had."""

    def give(self, state):
        pass


MADE = {"late": ("optimizer", "scheduler")}


def of_late_objects(late):
    saved = inputs_of(late.setup).saved
    return {path for path in saved if path.startswith(MADE["late"]) and not path.endswith("/params")}
