"""The function that the lines for a leaf go into."""

import pytest
import torch

import dora_repro
from dora_repro.explain.advice.functions import function_of_leaf, function_of_run
from dora_repro.state.snapshot import Snapshot, run_roots
from tests.driving.trainings import configured, train_model


def turns(count):
    turn = 0
    while turn < count:
        yield turn
        turn += 1


class Run:
    def __init__(self):
        self.model = torch.nn.Linear(2, 2)
        self.loop = turns(3)
        next(self.loop)


def test_a_run_with_methods_is_no_function_and_a_generator_that_it_holds_is_one():
    saved = Snapshot.capture(run_roots(Run()))
    assert function_of_run(saved) == ""
    assert function_of_leaf("model/weight", saved) == ""
    assert function_of_leaf("loop/turn", saved) == "loop"


def test_a_run_that_is_one_function_saves_its_own_variables_and_the_global_generators():
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    run = dora_repro.stepwise(train_model, configured())()
    run.step()
    saved = Snapshot.capture(run_roots(run))
    assert function_of_run(saved) == "train_model"
    assert {function_of_leaf(path, saved) for path in ("train_model/best_loss", "rng/torch.cpu")} == {"train_model"}
