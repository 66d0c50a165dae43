"""Parameters of optimizers that a step leaves alone are no effect of it; what anybody sets by hand is."""

import torch

from dora_repro.recording import Recorder
from dora_repro.recording.events import Event
from dora_repro.recording.untouched import Untouched
from dora_repro.trace import unnumbered


class Clients:
    """Two models that take turns, each set to the first one's start before its turn; `touch` is done in each step."""

    def __init__(self, stale=0.0, touch=lambda run: None):
        torch.manual_seed(0)
        self.models = [torch.nn.Linear(2, 1) for _ in range(2)]
        self.start = {name: value.clone() for name, value in self.models[0].state_dict().items()}
        self.optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in self.models]
        self.turn, self.touch = 0, touch
        with torch.no_grad():
            self.models[1].weight.add_(stale)

    def step(self):
        model, optimizer = self.models[self.turn], self.optimizers[self.turn]
        model.load_state_dict(self.start)
        loss = model(torch.ones(1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        self.touch(self)
        self.turn = 1 - self.turn
        return loss


def effects(run, steps):
    with Recorder(run) as recorder:
        for _ in range(steps):
            recorder.step()
    return [
        {effect.leaf: effect.digest for effect in step.effects if unnumbered(effect.phase) == "update"}
        for step in recorder.trace.steps
    ]


def test_what_lies_in_a_model_until_its_turn_is_no_effect():
    right, stale = effects(Clients(), 4), effects(Clients(stale=1.0), 4)
    assert right == stale
    assert [sorted(step) for step in right[:2]] == [
        ["models/0/bias", "models/0/weight"], ["models/1/bias", "models/1/weight"]
    ]  # fmt: skip


def test_what_is_set_by_hand_is_an_effect_from_the_first_step_on():
    def touch(run):
        with torch.no_grad():
            run.models[1 - run.turn].bias.add_(1.0)

    for step, other in zip(effects(Clients(touch=touch), 3), (1, 0, 1), strict=True):
        assert f"models/{other}/bias" in step
        assert f"models/{other}/weight" not in step


def test_what_got_a_gradient_and_no_update_is_one_too():
    def touch(run):
        run.models[1 - run.turn](torch.ones(1, 2)).sum().backward()

    assert all(len(step) == 4 for step in effects(Clients(touch=touch), 2))


def test_parameters_that_no_optimizer_has_are_told_each_time():
    class ByHand:
        def __init__(self):
            self.model, self.other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)

        def step(self):
            loss = self.model(torch.ones(1, 2)).sum()
            loss.backward()
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
            return loss

    assert all("model/weight" in step for step in effects(ByHand(), 2))


class Read:
    """What a run is made of, of which the parameters 1 and 2 are read, and 2 and 3 are an optimizer's."""

    held = frozenset({2, 3})

    def __init__(self):
        self.value = b"at first"
        self.read = {key: lambda: self.value for key in (1, 2)}


def test_only_what_an_optimizer_has_and_is_read_lies_still():
    untouched, made_of = Untouched(), Read()
    untouched.begin(made_of)
    assert untouched.lies_still(2, made_of) and not untouched.lies_still(1, made_of)


def test_what_changes_between_two_steps_does_not_lie_still():
    untouched, made_of = Untouched(), Read()
    untouched.begin(made_of)
    made_of.value = b"by hand"
    untouched.begin(made_of)
    assert not untouched.lies_still(2, made_of) and untouched.lies_still(2, made_of)


def test_a_parameter_is_known_as_its_update_left_it_whatever_else_has_its_name():
    untouched, made_of, parameter = Untouched(), Read(), object()
    made_of.read[id(parameter)] = lambda: b"updated"
    untouched.begin(made_of)
    events = [Event("update[2]", {"w": b"updated"}), Event("forward", {"w": b"an output"})]
    untouched.step_is_over(events, {"w": parameter})
    assert untouched.lies_still(id(parameter), made_of)
