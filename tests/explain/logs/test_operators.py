"""The first operator in which two logs differ; each pair of equal logs has a twin with a fault."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.explain.logs.operators import aligned, first_input, first_operator
from dora_repro.recording.operators import OperatorLog, module_names

CALLS = {"noisy": 0}


@torch.library.custom_op("dora_repro_tests::noisy", mutates_args=())
def noisy(value: torch.Tensor) -> torch.Tensor:
    """Another result each time, whatever the clock says."""
    CALLS["noisy"] += 1
    return value + 1e-3 * CALLS["noisy"]


noisy.register_autograd(lambda ctx, gradient: gradient)


@torch.library.custom_op("dora_repro_tests::noisy_", mutates_args=("value",))
def noisy_(value: torch.Tensor) -> None:
    CALLS["noisy"] += 1
    value.add_(1e-3 * CALLS["noisy"])


class NoisyBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value * 1

    @staticmethod
    def backward(ctx, gradient):
        return noisy(gradient)


class Head(nn.Module):
    """A linear layer, and what is planted after it."""

    def __init__(self, plant):
        super().__init__()
        self.linear, self.drop, self.plant = nn.Linear(4, 4), nn.Dropout(0.5), plant

    def forward(self, inputs):
        return self.plant(self.drop(self.linear(inputs)))


class Run:
    def __init__(self, plant=lambda value: value):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 4), Head(plant))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.inputs = torch.randn(3, 4)

    def step(self):
        self.optimizer.zero_grad()
        loss = self.model(self.inputs).square().mean()
        loss.backward()
        self.optimizer.step()


def log_of(run, seed=0):
    torch.manual_seed(seed)
    with OperatorLog(module_names(run)) as log:
        run.step()
    return log.operators


def first_of(plant, other=None) -> str | None:
    """The words for the first differing operator of two runs of the same seed."""
    operator = first_operator(log_of(Run(plant)), log_of(Run(other or plant)))
    return operator and str(operator)


def line_of(text: str) -> str:
    """`test_operators.py:41: text` of the first line that begins so."""
    with open(__file__, encoding="utf-8") as file:
        number = next(number for number, line in enumerate(file, 1) if line.strip().startswith(text))
    return f"test_operators.py:{number}: {text}"


# --- equal inputs, different output


def test_two_logs_of_the_same_step_differ_nowhere():
    logs = log_of(Run()), log_of(Run())
    assert first_operator(*logs) is first_input(*logs) is None
    assert len(logs[0]) > 20, "and something was compared"


def test_an_operator_that_is_not_deterministic_is_named_with_its_module_and_line():
    def plant(value):
        return noisy(value)

    assert first_of(plant) == (
        f"model/1: dora_repro_tests.noisy.default: equal inputs, different output, at {line_of('return noisy(value)')}"
    )


def test_so_is_one_that_works_in_place():
    def plant(value):
        copy = value.detach().clone()
        noisy_(copy)
        return value * copy

    operator = first_of(plant)
    assert operator == (
        f"model/1: dora_repro_tests.noisy_.default: equal inputs, different output, at {line_of('noisy_(copy)')}"
    )


def test_a_difference_that_arises_in_backward_is_named_by_the_module_of_its_forward():
    operator = first_of(NoisyBackward.apply)
    line = line_of("return noisy(gradient)")
    assert operator == f"model/1 (backward): dora_repro_tests.noisy.default: equal inputs, different output, at {line}"


def test_a_mask_of_other_random_numbers_is_said_to_be_drawn():
    logs = [log_of(Run(), seed) for seed in (1, 2)]
    found = first_operator(*logs)
    assert str(found) == (
        "model/1.drop: aten.bernoulli_.float: equal inputs, different output (it draws random numbers), at "
        + line_of("return self.plant(self.drop(self.linear(inputs)))")
    )
    assert (found.kind, found.module, found.actual.random) == ("output", "model/1.drop", True)


def test_a_different_memory_layout_is_named():
    values = torch.randn(64, 64)
    straight, turned = values, values.t().contiguous().t()

    def log(value):
        with OperatorLog() as log:
            noisy(value)
        return log.operators

    same, other = first_operator(log(straight), log(straight)), first_operator(log(straight), log(turned))
    assert "(the inputs have a different memory layout)" in str(other)
    assert "memory" not in str(same)


# --- different numbers, parameters and data


def test_a_number_of_pythons_that_differs_is_an_argument():
    numbers = iter((1.0, 2.0))

    def plant(value):
        return value + next(numbers)

    operator = first_of(plant)
    assert operator == (
        "model/1: aten.add.Tensor: equal tensors, a different argument, different output, at "
        + line_of("return value + next(numbers)")
    )


def test_another_learning_rate_is_an_argument_of_the_update():
    runs = Run(), Run()
    runs[1].optimizer.param_groups[0]["lr"] = 0.2
    found = first_operator(*map(log_of, runs))
    assert str(found) == (
        "model/0 (update): aten.add_.Tensor: equal tensors, a different argument, different output, at "
        + line_of("self.optimizer.step()")
    )


def test_different_parameters_are_no_operators_doing_but_its_inputs():
    runs = Run(), Run()
    with torch.no_grad():
        runs[1].model[1].linear.bias.add_(1)
    logs = [log_of(run) for run in runs]
    assert first_operator(*logs) is None
    assert (first_input(*logs).module, first_input(*logs).operator.name) == ("model/1.linear", "aten.addmm.default")


def test_data_from_outside_of_torch_is_no_operators_doing_either_but_where_it_came_in_is_told():
    noise = iter((np.zeros(4, np.float32), np.ones(4, np.float32)))

    def plant(value):
        return value + torch.from_numpy(next(noise))

    logs = log_of(Run(plant)), log_of(Run(plant))
    assert first_operator(*logs) is None
    came_in = first_input(*logs)
    assert str(came_in) == (
        f"model/1: aten.add.Tensor: different inputs, at {line_of('return value + torch.from_numpy(next(noise))')}"
    )


def test_a_value_that_differs_and_makes_no_difference_is_none():
    numbers = iter((1.0, 2.0))

    def plant(value):
        value.detach().clamp(-next(numbers) * 100, 100)
        return value

    assert first_of(plant) is None


# --- what only one side ran


def test_one_operator_more_or_less_is_named_and_what_follows_is_aligned():
    def plain(value):
        return value * 1

    def more(value):
        return torch.neg(value).neg() * 1

    operator = first_of(plain, more)
    line = line_of("return torch.neg(value).neg() * 1")
    assert operator == f"model/1: aten.neg.default: only in the resumed run, at {line}"
    operator = first_of(more, plain)
    assert operator == f"model/1: aten.neg.default: only in the reference, at {line}"


def test_an_operator_in_place_of_another_is_named_with_both():
    operator = first_of(torch.relu, torch.sigmoid)
    assert operator == (
        "model/1: aten.relu.default in the reference, aten.sigmoid.default in the resumed run, at "
        + line_of("return self.plant(self.drop(self.linear(inputs)))")
    )


def test_dropout_that_was_left_in_eval_mode_is_seen():
    runs = Run(), Run()
    runs[1].model[1].drop.eval()
    logs = [log_of(run) for run in runs]
    operator = first_operator(*logs)
    assert (operator.kind, operator.operator.name, operator.module) == (
        "missing",
        "aten.bernoulli_.float",
        "model/1.drop",
    )


def test_what_comes_first_in_order_of_execution_is_named_even_where_more_differs_later():
    def plain(value):
        return noisy(value) * 1

    def more(value):
        return torch.neg(noisy(value)).neg() * 1

    operator = first_of(plain, more)
    assert "dora_repro_tests.noisy.default: equal inputs, different output" in operator


@pytest.mark.parametrize("seed", range(20))
def test_an_alignment_holds_every_entry_of_both_once_and_in_order(seed):
    choice = random.Random(seed)
    one = [choice.choice("abc") for _ in range(choice.randrange(12))]
    other = [choice.choice("abc") for _ in range(choice.randrange(12))]
    pairs = list(aligned(one, other, key=str))
    assert [a for a, _ in pairs if a is not None] == one
    assert [b for _, b in pairs if b is not None] == other
    assert all(a == b for a, b in aligned(one, one, key=str))
