"""What is said where a training function wrote no checkpoint after a step, and what it is told to ask instead."""

import pytest

from dora_repro.driving.no_checkpoint import no_checkpoint
from dora_repro.driving.written import Moment


def test_a_step_without_a_checkpoint_names_the_last_one_that_has_one():
    said = no_checkpoint("train", "update", 5, [Moment(2), Moment(4)])
    assert said == "train() wrote no checkpoint to {out} after 5 steps; it did after 4 steps: save_at=4"
    assert no_checkpoint("train", "update", 1, []) == "train() wrote no checkpoint to {out} after 1 step; nor before"
    assert "give save_at a step after which" in no_checkpoint("train", "update", 0, [])


def test_of_a_resumed_run_its_own_steps_are_counted_and_no_number_is_advised():
    said = no_checkpoint("train", "update", 2, [Moment(1)], resumed=True)
    assert said.endswith("after 2 steps of the run that was resumed; it did after 1 step")


@pytest.mark.parametrize(
    ("at", "moment", "words"),
    [
        ("update", Moment(3, 2, 10), "after 2 backward passes and before its update: it accumulates the gradients"),
        ("update", Moment(3, 2, 10), "stepwise(train, …, at='batch'), with save_at=10 (steps and save_at then"),
        ("update", Moment(3, 0, 2), "between its forward pass and its backward pass: a run that resumes from it"),
        ("update", Moment(3, 1, 3, True), "between its backward pass and its update: a run"),
        ("update", Moment(3, 1, 3, True), "Write it after the update, or before the forward pass"),
        ("update", Moment(3, 4, 12, True), "between its backward passes and its update: a run"),
        ("batch", Moment(3, 1, 3, True), "between its backward pass and its update: a run"),
        ("batch", Moment(3, 1, 3), "between two of its backward passes"),
    ],
)
def test_one_that_is_written_inside_a_step_says_where_and_what_helps(at, moment, words):
    said = no_checkpoint("train", at, 3, [Moment(1), moment])
    assert said.startswith("train() writes a checkpoint inside step 3, ") and words in said
    assert no_checkpoint("train", at, 4, [Moment(1), moment]).endswith("it did after 1 step: save_at=1")
    assert "nor after any before; train() writes a checkpoint inside step 3" in no_checkpoint("train", at, 4, [moment])


def test_one_that_is_written_after_a_call_of_no_step_says_what_that_call_needs():
    said = no_checkpoint("train", "update", 4, [Moment(5, 0, 4, again=True)])
    assert "after 4 steps, nor after any before; train() writes a checkpoint after it has called a module" in said
    assert said.endswith("Call what is no step's under torch.no_grad() or after model.eval()")
