"""A run that learns is told from one that does not."""

from dora_repro.recording import Recorder
from tests import runs


def test_facts_tell_a_run_that_learns_from_one_that_does_not():
    def facts(run):
        with Recorder(run) as recorder:
            recorder.step()
        return recorder.facts()

    good = facts(runs.Plain())
    assert good["gradients"] is True and good["changed"] is True and sum(good["trainable"].values()) == 195
    assert facts(runs.Vacuous("no learning rate"))["changed"] is False
    assert facts(runs.Vacuous("zero gradients"))["gradients"] is False
    nothing = {"trainable": {}, "gradients": None, "changed": False, "values_dropped": False}
    assert facts(runs.Vacuous("no parameter")) == nothing
