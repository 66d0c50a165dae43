"""Advised lines of load wait for their place. Where that is in a script, `test_advised.py` tries."""

import sys

from dora_repro.scripts.assignment import GivenLine
from dora_repro.scripts.executing import Execution
from dora_repro.scripts.waiting import Waiting, frames_of, place_of


class Executed(Execution):
    def __init__(self):
        super().__init__("state", lambda about: None, {})
        self.ran, self.why = [], ""

    def run(self, line, frame, shared=None):
        self.ran.append((line.code, frame.f_code.co_name))

    def stop(self, **about):
        self.why = about["why"]


def waiting(*lines):
    execution, told = Executed(), {}
    return Waiting(lines, execution, told.update, {}), execution, told


def main(made, train):
    best = None
    state = {"best": 1}
    made.begin(sys._getframe())
    best = state["best"]
    if best:
        train()


def test_lines_run_after_the_statements_that_take_out_of_the_checkpoint():
    made, execution, told = waiting(GivenLine("best = state['best']", "main"))
    try:
        main(made, lambda: None)
    finally:
        sys.settrace(None)
    assert execution.ran == [("best = state['best']", "main")] and not made.left
    assert told["loaded"] == made.places and made.places[0].endswith(", in main()")


def test_lines_whose_function_begins_too_late_are_told_of():
    made, execution, told = waiting(GivenLine("x = 1", "elsewhere"))
    made.begin(sys._getframe())
    sys.settrace(None)
    made.first_step(sys._getframe())
    assert execution.why == "training began before their place was reached in elsewhere()" and not told


def test_lines_that_still_wait_when_training_begins_in_their_function_run_there():
    made, execution, told = waiting(GivenLine("x = 1", "elsewhere"))
    made.begin(sys._getframe())
    sys.settrace(None)
    made.left[0].function = next(reversed(frames_of(sys._getframe())))
    made.first_step(sys._getframe())
    assert [code for code, _ in execution.ran] == ["x = 1"] and told["loaded"] == made.places
    assert place_of(None) == "its first line"
