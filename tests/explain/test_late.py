"""Objects made in the first step after loading: the cause is what they lack by then, and lines are run there."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro import check
from dora_repro.faults import gallery
from dora_repro.faults.clean.files import MadeInFirstStep
from dora_repro.faults.plain import Training, samples


class MomentsLost(MadeInFirstStep):
    """A constant rate: the schedule is loaded, and what the optimizer had is not."""

    def give(self, state):
        self.scheduler.load_state_dict(state["scheduler"])
        for group in self.optimizer.param_groups:
            group["lr"] = state["optimizer"]["param_groups"][0]["lr"]


class BothLost(MadeInFirstStep):
    def give(self, state):
        pass


class AverageLost(Training):
    """A teacher is copied from the model in the first step, and no file has it."""

    teacher = None

    def loss(self, inputs, targets):
        if self.teacher is None:
            self.teacher = copy.deepcopy(self.model).eval()
        with torch.no_grad():
            taught = self.teacher(inputs)
        return super().loss(inputs, targets) + nn.functional.mse_loss(self.model(inputs), taught)

    def after_update(self):
        super().after_update()
        with torch.no_grad():
            for own, other in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
                own.lerp_(other, 0.1)


LOST = {
    MomentsLost: {"optimizer/*/{step, exp_avg, exp_avg_sq}"},
    BothLost: {"optimizer/*/{step, exp_avg, exp_avg_sq}", "optimizer/group.0/lr", "scheduler/last_epoch"},
    AverageLost: {"teacher/*.weight", "teacher/*.bias"},
}


@pytest.mark.parametrize(("factory", "causes"), LOST.items(), ids=[factory.__name__ for factory in LOST])
def test_the_cause_is_what_they_lack_and_lines_are_run_where_they_are_made(factory, causes):
    found = check(factory, 6, 3, in_process=True).explanation
    assert {cause.name for cause in found.causes} == causes
    assert found.proved and found.confirmed and len(found.trials) <= 4 * (1 + len(causes))
    assert found.lines.late and found.lines_tried.restores
    holders = {cause.late for cause in found.causes}
    assert holders <= {"optimizer", "scheduler", "teacher"} and "" not in holders


def test_the_answer_says_where_the_lines_belong():
    report = check(gallery.find("sched-missing-made-late").factory, 6, 3, in_process=True)
    (cause,) = report.explanation.causes
    assert cause.late == "scheduler" and any("`self.scheduler` is made in the first step" in it for it in cause.advice)
    assert "first step: self.scheduler.load_state_dict" in str(report)
    assert "  in the first step:\n" in str(report) and "in load():" not in str(report)


class LostBesideTheRun(MadeInFirstStep):
    """What is made late is right; the generator of dropout is lost."""

    def load_rng(self, state):
        pass


def test_what_is_lost_outside_of_them_is_put_back_right_after_loading():
    found = check(LostBesideTheRun, 6, 3, in_process=True).explanation
    assert [cause.name for cause in found.causes] == ["rng/torch.cpu"]
    assert found.causes[0].late == "" and not found.lines.late and found.lines_tried.restores


class Pairs(Training):
    """Two loaders, a batch of each a step. What was used is passed over in the first step: of the second loader, one
    batch too few."""

    def __init__(self):
        super().__init__()
        self.second = DataLoader(samples(), 4, shuffle=True, generator=torch.Generator().manual_seed(7))
        self.pair, self.to_pass = None, 0

    def next_batch(self):
        if self.pair is None:
            self.pair = iter(self.loader), iter(self.second)
            for number in range(self.to_pass):
                next(self.pair[0])
                if number:
                    next(self.pair[1])
        (inputs, targets), (more, others) = map(next, self.pair)
        return torch.cat((inputs, more)), torch.cat((targets, others))

    def state(self):
        return {**super().state(), "data": None}

    def load_data(self, state):
        self.to_pass = state["steps"]


def test_the_first_wrong_batch_of_a_pair_is_the_place_and_batches_alone_the_cause():
    report = check(Pairs, 4, 2, in_process=True)
    assert (report.divergence.step, report.divergence.phase) == (3, "batch[2]")
    assert [cause.name for cause in report.causes] == ["data/batches"]
    assert report.explanation.confirmed and len(report.explanation.trials) <= 8
