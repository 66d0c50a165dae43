"""What the first step of a loaded run works with, after all that its loading has put off until then."""

import torch

from dora_repro.recording import Recorder
from dora_repro.state.digest import digest, digest_tensor
from tests import runs


class Late(runs.Plain):
    """Sets its weights in the first step, before it works on anything, and makes its optimizer at the end of that."""

    def __init__(self):
        super().__init__()
        self.optimizer = None

    def step(self):
        if self.optimizer is None:
            with torch.no_grad():
                self.model[0].weight.fill_(0.5)
        loss = self.model(self.inputs).pow(2).mean()
        if self.optimizer is None:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.25)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def at_work(run, done, steps=2):
    with Recorder(run, done) as recorder:
        for _ in range(steps):
            recorder.step()
    return recorder.effects.at_work.digests


def test_parameters_are_as_loading_left_them_that_waits_for_the_first_step():
    found = at_work(Late(), done=1)
    assert found["model/0.weight"] == digest_tensor(torch.full((16, 8), 0.5))


def test_options_of_an_optimizer_made_within_the_step_are_those_it_first_steps_with():
    class Decaying(Late):
        def step(self):
            loss = super().step()
            self.optimizer.param_groups[0]["lr"] /= 2
            return loss

    assert at_work(Decaying(), done=1)["optimizer/group.0/lr"] == digest(0.25)


def test_an_optimizer_that_a_later_step_makes_is_not_what_the_first_one_worked_with():
    class Anew(runs.Plain):
        def step(self):
            if self.count:
                self.second = torch.optim.SGD(self.model.parameters(), lr=0.1)
            return super().step()

    found = at_work(Anew(), done=1)
    assert "optimizer/group.0/lr" in found
    assert not any(path.startswith("second") for path in found)


def test_of_a_run_that_was_not_loaded_nothing_is_noted():
    assert at_work(Late(), done=0) == {}
