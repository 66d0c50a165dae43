"""What comes into a run, recorded and given to another: batches, ends of epochs, generators. Recording is harmless."""

import pickle
import queue
import threading

import pytest
import torch
from torch.utils.data import DataLoader

from dora_repro.recording import replay
from dora_repro.recording.replay import StreamRecorder, StreamReplay, Streams
from dora_repro.state.digest import digest
from tests import runs


class Epochs:
    """Two epochs of two batches, one batch a step, with one number drawn a step."""

    def __init__(self, seed: int, workers: int = 0):
        torch.manual_seed(seed)
        self.own = torch.Generator().manual_seed(seed)
        self.loader = DataLoader(runs.made_data(8), 4, shuffle=True, generator=self.own, num_workers=workers)
        self._given = self._all()
        self.drawn = []

    def _all(self):
        for _ in range(2):
            yield from self.loader

    def step(self):
        self.drawn.append(float(torch.rand(1)))
        return next(self._given)


def kept(seed=1, workers=0):
    run = Epochs(seed, workers)
    with StreamRecorder(run) as keeping:
        batches = []
        for step in range(1, 5):
            keeping.begin(step)
            batches.append(run.step())
    return keeping.streams, batches, run


def fed(run, given, **what):
    with StreamReplay(run, given, **what) as feeding:
        batches = []
        for step in range(1, 5):
            feeding.begin(step)
            batches.append(run.step())
    return batches


def same(one, other):
    return [[digest(t) for t in batch] for batch in one] == [[digest(t) for t in batch] for batch in other]


@pytest.mark.parametrize("workers", [0, 1])
def test_another_run_gets_the_batches_of_the_first(workers):
    given, batches, first = kept(workers=workers)
    other = Epochs(2, workers)
    assert same(fed(other, given, batches=True, draws=False), batches)
    assert other.drawn != first.drawn
    assert not same(fed(Epochs(2, workers), given, batches=False, draws=False), batches)


def test_another_run_draws_from_where_the_generators_of_the_first_stood():
    given, _, first = kept()
    other = Epochs(2)
    fed(other, given, batches=False, draws=True)
    assert other.drawn == first.drawn


def test_keeping_changes_nothing():
    _, batches, run = kept()
    bare = Epochs(1)
    assert same([bare.step() for _ in range(4)], batches)
    assert digest(bare.own.get_state()) == digest(run.own.get_state())
    assert bare.drawn == run.drawn


def test_an_epoch_ends_where_that_of_the_first_did():
    long, short = DataLoader(runs.made_data(16), 4), DataLoader(runs.made_data(8), 4)
    with StreamRecorder(object_with(short)) as keeping:
        keeping.begin(1)
        expected = list(short)
    with StreamReplay(object_with(long), keeping.streams, batches=True, draws=False) as feeding:
        feeding.begin(1)
        assert same(list(long), expected)


def object_with(loader):
    class Run:
        pass

    run = Run()
    run.loader = loader
    return run


def test_a_batch_that_is_changed_later_is_kept_as_it_was():
    given, _, _ = kept()
    run = Epochs(1)
    with StreamRecorder(run) as keeping:
        keeping.begin(1)
        for tensor in run.step():
            tensor.zero_()
    one, other = (pickle.loads(kept_in.batches[1][0]) for kept_in in (keeping.streams, given))
    assert same([one], [other]) and any(tensor.any() for tensor in one)


def test_what_is_too_much_or_cannot_be_pickled_is_not_kept(monkeypatch):
    monkeypatch.setattr(replay, "LIMIT", 10)
    given, _, _ = kept()
    assert not given.whole and given.batches == {} and len(given.generators) == 4
    monkeypatch.undo()
    loader = DataLoader(runs.made_data(8), 4, collate_fn=lambda items: lambda: items)
    with StreamRecorder(object_with(loader)) as keeping:
        keeping.begin(1)
        list(loader)
    assert not keeping.streams.whole


def test_they_are_written_and_read(tmp_path):
    given, _, _ = kept()
    given.write(tmp_path / "streams.pkl")
    assert Streams.read(tmp_path / "streams.pkl").batches == given.batches


def test_a_run_that_passes_over_batches_in_its_first_step_gets_its_own_before_the_others():
    given, batches, _ = kept()
    own = Epochs(2)
    expected = [own.step(), own.step()]
    run = Epochs(2)
    with StreamReplay(run, given, batches=True, draws=False, passed_over=2) as feeding:
        feeding.begin(3)
        assert same([run.step(), run.step()], expected)
        assert same([run.step()], [batches[2]])
        feeding.begin(4)
        assert same([run.step()], [batches[3]])


class ReadAhead:
    """Epochs whose batches a thread fetches ahead, one a step; the mark of the end is an object of the epoch's own."""

    def __init__(self, seed, size=8, epochs=3):
        self.own = torch.Generator().manual_seed(seed)
        self.loader = DataLoader(runs.made_data(size), 4, shuffle=True, generator=self.own)
        self._given = (batch for _ in range(epochs) for batch in self._epoch())

    def _epoch(self):
        ready, end = queue.Queue(1), object()

        def fetch():
            for batch in self.loader:
                ready.put(batch)
            ready.put(end)

        threading.Thread(target=fetch, daemon=True).start()
        while (batch := ready.get()) is not end:
            yield batch

    def step(self):
        return next(self._given)


def read_ahead(seed=1):
    run = ReadAhead(seed)
    with StreamRecorder(run) as keeping:
        batches = []
        for step in range(1, 5):
            keeping.begin(step)
            batches.append(run.step())
    return keeping.streams, batches


def test_batches_that_a_thread_fetches_ahead_are_recorded_by_the_step_that_takes_them():
    given, batches = read_ahead()
    assert given.whole and not given.elsewhere
    stored = [[pickle.loads(batch) for batch in given.batches[step] if batch] for step in range(1, 5)]
    assert [len(of_step) for of_step in stored] == [1, 1, 1, 1]
    assert same([of_step[0] for of_step in stored], batches)


@pytest.mark.parametrize("size", [8, 4, 12])  # epochs that end together, earlier and later: nobody waits for ever
def test_another_run_gets_batches_in_place_of_those_that_its_thread_has_fetched(size):
    given, batches = read_ahead()
    other = ReadAhead(2, size, epochs=4)
    assert same(fed(other, given, batches=True, draws=False), batches)
    assert not same(fed(ReadAhead(2), given, batches=False, draws=False), batches)


def test_batches_that_no_thread_is_seen_to_hand_over_are_elsewhere():
    class Joined(ReadAhead):
        def _epoch(self):
            made = []
            thread = threading.Thread(target=lambda: made.extend(self.loader))
            thread.start()
            thread.join()
            yield from made

    run = Joined(1)
    with StreamRecorder(run) as keeping:
        keeping.begin(1)
        run.step()
    assert keeping.streams.elsewhere and not keeping.streams.batches[1]
