"""A cause is confirmed in a fresh process, with the leaves that could not be put back there."""

from dora_repro import check
from tests import runs


class Latch:
    """A value that cannot be set from outside in a process that has loaded one run only."""

    loads = 0

    def __init__(self):
        vars(self)["value"] = 1.0

    @property
    def value(self):
        return vars(self)["value"]

    @value.setter
    def value(self, new):
        if Latch.loads == 1:
            raise RuntimeError("the value is locked")
        vars(self)["value"] = new


class Locked(runs.Plain):
    """The value of its latch is lost. All trials but the first, which puts nothing back, can set it; a fresh process
    cannot."""

    def __init__(self):
        super().__init__()
        self.latch = Latch()

    def step(self):
        if self.count == 1:
            vars(self.latch)["value"] = 2.0
        self.optimizer.param_groups[0]["lr"] = 1e-2 * self.latch.value
        return super().step()

    def load(self, path):
        super().load(path)
        Latch.loads += 1  # a plain value on the class is no state that is captured


def test_leaves_that_could_not_be_put_back_in_the_fresh_process_are_named_beside_the_confirmation():
    report = check(Locked, 4, 3)
    found = report.explanation
    assert found.confirmation_missing == {"latch/value": "RuntimeError: the value is locked"}
    assert found.confirmed is False
    assert found.proof.endswith(
        " (but not in a fresh process, where `latch/value` could not be put back: RuntimeError: the value is locked)."
    )
    assert "`latch/value` could not be put back" in str(report)
