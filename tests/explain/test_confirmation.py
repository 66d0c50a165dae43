"""A cause is confirmed in a fresh process; what is not confirmed is told as none, and the search goes on."""

import functools

import pytest

from dora_repro import check
from dora_repro.explain import explaining
from dora_repro.explain.confirmation import Confirmation, Refuted, confirm
from tests import runs


def refuting(monkeypatch, *refuted):
    """The first confirmations come out as given; those after them are what they are."""
    left = list(refuted)

    def confirm_or_not(*about):
        return left.pop(0) if left else confirm(*about)

    monkeypatch.setattr(explaining, "confirm", confirm_or_not)


class TwoWays(runs.Plain):
    """Its rate hangs on the smaller of two counters, neither of which is saved: either one restores it."""

    def __init__(self):
        super().__init__()
        self.one = self.other = 0

    def step(self):
        self.one, self.other = self.one + 1, self.other + 1
        self.optimizer.param_groups[0]["lr"] = 1e-2 / max(self.one, self.other)
        return super().step()


def test_the_search_goes_on_without_what_was_not_confirmed(monkeypatch):
    first = check(TwoWays, 5, 3, in_process=True).explanation
    assert first.confirmed and len(first.causes) == 1
    refuting(monkeypatch, Confirmation(False))
    found = check(TwoWays, 5, 3, in_process=True).explanation
    assert {*found.leaves, *first.leaves} == {"one", "other"} and len(found.causes) == 1
    assert found.confirmed and len(found.trials) > len(first.trials)


@pytest.mark.parametrize(
    ("refuted", "words"),
    [
        (Confirmation(False), "once, and did not when repeated"),
        (Confirmation(None), "once, and did not finish when repeated"),
        (Confirmation(False, {"one": "it is locked"}), "where `one` (it is locked) could not be put back"),
    ],
)
def test_an_unconfirmed_cause_is_never_told_as_one(monkeypatch, refuted, words):
    refuting(monkeypatch, *[refuted] * 9)
    report = check(functools.partial(runs.Forgetful, "optimizer"), 5, 3, in_process=True)
    found = report.explanation
    assert not found.causes and not found.lines.load and found.confirmed is False
    assert found.unexplained == explaining.UNCONFIRMED
    assert any(line.startswith("no cause: with optimizer/*/") and words in line for line in found.look_at)


def test_a_refuted_set_is_named_by_its_patterns():
    names = frozenset({"model/a.weight", "model/b.weight", "count"})
    assert "with count, model/*.weight put back" in Refuted(names, Confirmation(False)).in_words()


class Latch:
    """A value that cannot be set from outside."""

    def __init__(self):
        vars(self)["value"] = 1.0

    @property
    def value(self):
        return vars(self)["value"]

    @value.setter
    def value(self, new):
        raise RuntimeError("the value is locked")


class Locked(runs.Plain):
    def __init__(self):
        super().__init__()
        self.latch = Latch()

    def step(self):
        if self.count == 1:
            vars(self.latch)["value"] = 2.0
        self.optimizer.param_groups[0]["lr"] = 1e-2 * self.latch.value
        return super().step()


def test_what_could_not_be_put_back_is_named_and_not_ruled_out():
    found = check(Locked, 4, 3, in_process=True).explanation
    assert not found.causes
    assert not any("ruled out: all" in line for line in found.look_at)
    words = "could not be put back: `latch/value` (RuntimeError: the value is locked)"
    assert any(words in line for line in found.look_at)
