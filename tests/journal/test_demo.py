"""The training of a notebook: checked, mended and preempted; notebook 10 runs it whole."""

import pytest

from dora_repro.checks.report import Report, Verdict
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.journal.demo import SCRIPT, Training


@pytest.fixture
def report():
    """A report that advises two lines."""
    cause = Cause("rng/torch.cpu", ("rng/torch.cpu",), "generator", save=("state['g'] = 1",), load=("state['g']",))
    return Report(Verdict.DIFFERENT, "it differs", 3, 6, explanation=Explanation((cause,)))


def test_the_advised_lines_are_put_where_the_file_is_written_and_read(report):
    training = Training()
    assert training.script == SCRIPT.rstrip()
    read, written = training.mend(report).split("…\n")[1:]
    assert [line[0] for line in (*read.splitlines(), *written.splitlines())] == [" ", "+", " ", " ", "+", " "]
    assert read.splitlines()[1:] == ["+        state['g']", '         first = state["epoch"] + 1']
    assert written.splitlines()[1].endswith("+        state['g'] = 1")
    lines = training.script.splitlines()
    assert lines[lines.index("        state['g'] = 1") + 1].lstrip().startswith("torch.save(")
    assert lines[lines.index("        state['g']") + 1].lstrip().startswith("first = ")
    compile(training.script, "train.py", "exec")


def test_a_command_of_the_users_is_left_alone(report):
    training = Training("python train.py --out {out}")
    assert training.script == "python train.py --out {out}"
    assert training.mend(report) == "put the advised lines into your script"
    assert training.preempt() == "dora-repro watch --journal DIR -- python train.py --out {out}"
    assert training.journal is None
    assert training.verdicts == ""
