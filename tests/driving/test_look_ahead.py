"""What generators that look ahead hold of batches is replaced by another run's, whatever holds it."""

import sys
from collections import deque

import pytest
import torch

from dora_repro.driving.look_ahead import generators_above, hand_over


def batch(number):
    return {"x": torch.full((2,), float(number)), "y": [torch.tensor(number)]}


class Source:
    """Batches; notes the generators that the last one came through."""

    def __init__(self, met):
        self.given, self.met = [], met

    def __iter__(self):
        return self

    def __next__(self):
        if len(self.given) == 4:
            raise StopIteration
        self.met[:] = generators_above(sys._getframe(1))
        self.given.append(batch(len(self.given)))
        return self.given[-1]


def in_a_variable(source):
    waiting = next(source)
    for one in source:
        yield waiting
        waiting = one
    yield waiting


def in_a_queue(source):
    waiting = deque()
    for one in source:
        waiting.append(one)
        if len(waiting) == 2:
            yield waiting.popleft()
    yield waiting.popleft()


def in_parts(source):
    one = next(source)
    x, y = one.values()
    del one
    for one in source:
        following, (label,) = one.values()
        del one
        yield {"x": x, "y": y}
        x, y = following, [label]
    yield {"x": x, "y": y}


class Fetching:
    """A copy of the next batch, as on a device, in an attribute."""

    def __init__(self, source):
        self.source, self.waiting = source, None

    def __iter__(self):
        self.fetch()
        while self.waiting is not None:
            one = self.waiting
            self.fetch()
            yield one

    def fetch(self):
        one = next(self.source, None)
        self.waiting = None if one is None else {"x": one["x"].clone(), "y": [one["y"][0].clone()]}


def in_an_attribute(source):
    return iter(Fetching(source))


def around(source):
    yield from in_a_variable(source)


@pytest.mark.parametrize("look_ahead", [in_a_variable, in_a_queue, in_parts, in_an_attribute, around])
def test_what_waits_is_the_other_runs_and_what_comes_after_is_its_own(look_ahead):
    met, others = [], [batch(10), batch(11)]
    source = Source(met)
    batches = look_ahead(source)
    next(batches)
    assert met and batches.gi_frame in met
    hand_over(met, source.given, others)
    assert next(batches)["x"].tolist() == [11.0, 11.0]
    assert next(batches)["y"][0].item() == 2


def test_what_holds_no_batch_and_what_has_ended_is_left_alone():
    def counted(source):
        rows, taken = [torch.ones(1)], next(source)
        yield rows
        yield taken

    met = []
    source = Source(met)
    batches = counted(source)
    rows = next(batches)
    ended, others = list(met), [batch(10)]
    hand_over(met, [batch(1)], others)  # of other values than the one that it holds
    assert next(batches)["x"].tolist() == [0.0, 0.0] and rows[0].item() == 1.0
    assert list(batches) == []
    hand_over(ended, source.given, others)
    assert not [frame for frame in ended if frame.f_locals.get("taken") is others[0]]


def test_a_batch_beside_something_that_cannot_be_copied_is_left_alone():
    def guarded(source):
        held = [next(source), sys._getframe()]
        yield
        yield held[0]

    met = []
    source = Source(met)
    batches = guarded(source)
    next(batches)
    hand_over(met, source.given, [batch(10)])
    assert next(batches)["x"].tolist() == [0.0, 0.0]


def test_the_memory_of_a_batch_is_left_alone_where_it_may_be_the_data_s():
    data = [batch(0), batch(1)]

    def reading(rows):
        held = type("Held", (), {})()
        held.row = rows[0]["x"]
        yield rows
        yield held.row

    batches = reading(data)
    next(batches)
    hand_over([batches.gi_frame], data[:1], [batch(10)])
    assert data[0]["x"].tolist() == [0.0, 0.0]


def test_copies_of_two_batches_with_equal_labels_are_told_apart():
    def copying(source):
        waiting = deque()
        for one in source:
            waiting.append([one["x"].clone(), one["y"][0].clone()])
            if len(waiting) == 3:
                yield waiting.popleft()

    met = []
    source = Source(met)
    batches = copying(source)
    next(batches)
    for one in source.given:
        one["y"][0].zero_()
    held = batches.gi_frame.f_locals["waiting"]
    for one in held:
        one[1].zero_()
    hand_over(met, source.given, [batch(10), batch(11), batch(12)])
    assert [(one[0][0].item(), one[1].item()) for one in held] == [(11.0, 11), (12.0, 12)]
