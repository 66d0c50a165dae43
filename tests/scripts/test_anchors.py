"""What a loader drew, put back at the moments at which it draws; and another run's batches in place of its own."""

import contextlib
import itertools
import queue
import threading

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, TensorDataset

from dora_repro.private_names.of_torch import LoaderIterator, set_loader_init, set_loader_next
from dora_repro.recording import hand_overs
from dora_repro.scripts.anchors import Anchor, Begun, Loaders, Put, key_of, read_batches
from dora_repro.state import rng


@pytest.fixture
def watched():
    """Watches loaders anew each time it is called; torch's own methods are put back at the end."""
    real = LoaderIterator.__init__, LoaderIterator.__next__
    listeners, this = [*hand_overs._listeners], threading.get_ident()

    def watch(put=None, keeps=False, careful=contextlib.nullcontext):
        set_loader_init(real[0])
        set_loader_next(real[1])
        hand_overs._listeners[:] = listeners
        loaders = Loaders(put, keeps)
        loaders.install(lambda: threading.get_ident() == this, careful=careful)
        return loaders

    yield watch
    set_loader_init(real[0])
    set_loader_next(real[1])
    hand_overs._listeners[:] = listeners


def loader(size=8):
    return DataLoader(TensorDataset(torch.arange(float(size))), batch_size=2, shuffle=True)


def order(loader, count=None):
    return [batch[0].tolist() for _, batch in zip(range(count or len(loader)), loader, strict=False)]


def test_an_order_comes_back_with_the_generator_at_the_moments_of_drawing(watched):
    loaders = watched()
    torch.manual_seed(0)
    expected = order(loader(), 2)
    anchor = loaders.anchor()
    assert (anchor.begun.fetched, anchor.batches) == (2, 2)
    put = Put(anchor, ("torch.cpu",))
    for wanted, same in ((put, True), (Put(anchor, ("python",)), False), (None, False)):
        watched(wanted)
        torch.manual_seed(1)
        torch.rand(5)
        assert (order(loader(), 2) == expected) is same


def test_an_epoch_that_began_anew_goes_on_where_it_had_been(watched):
    loaders = watched()
    torch.manual_seed(0)
    saved = loader()
    expected = order(saved, 4)
    torch.manual_seed(0)
    batches = iter(saved)
    taken = [next(batches)[0].tolist() for _ in range(3)]
    anchor = loaders.anchor()
    watched(Put(anchor, ("torch.cpu",), used=2))
    assert taken[2] == expected[2] and order(loader(), 2) == expected[2:]
    watched(Put(anchor, ("torch.cpu",)))
    assert order(loader(), 2) == expected[:2]


def begun(fetched, samplers=({}, {}), key=("8",), place=False):
    return Anchor(Begun(key, 0, {}, samplers=samplers, fetched=fetched, keeps_place=place))


def test_batches_that_were_used_are_those_that_the_resumed_loader_has_not_passed_over():
    assert begun(4).used_before(begun(1)) == 3
    assert begun(5).used_before(begun(2)) == 3  # both look ahead
    assert begun(4).used_before(begun(4)) == begun(1).used_before(begun(4)) == 0
    assert begun(4).used_before(begun(1, ({}, {}, {}))) == 0  # a sampler around its own passes over them
    assert begun(4).used_before(begun(1, place=True)) == 0
    knows = {"start": (False, 3)}
    assert begun(4, (knows, {})).used_before(begun(1, (knows, {}))) == 3  # it has so in the other run, too
    assert begun(4).used_before(begun(1, (knows, {}))) == begun(4).used_before(begun(1, ({}, {"a": (False, 3)}))) == 0
    samples = {"first": (False, 24)}
    assert begun(4, key=("9", "", "8")).used_before(begun(1, (samples, {}), key=("9", "", "8"))) == 0
    assert begun(4).used_before(begun(1, ({"seed": (False, 5), "on": (False, True)}, {}))) == 3
    assert begun(4).used_before(begun(1, key=("6",))) == 0
    assert begun(4).used_before(Anchor(None)) == Anchor(None).used_before(begun(1)) == 0


def test_a_loader_of_other_data_is_left_alone(watched):
    loaders = watched()
    torch.manual_seed(0)
    order(loader())
    torch.manual_seed(1)
    alone = order(loader(6))
    watched(Put(loaders.anchor(), ("torch.cpu",)))
    torch.manual_seed(1)
    assert order(loader(6)) == alone
    assert key_of(loader(6)) != key_of(loader(8))


def test_after_the_first_step_nothing_is_put_in(watched):
    loaders = watched()
    torch.manual_seed(0)
    expected = order(loader())
    later = watched(Put(loaders.anchor(), ("torch.cpu",)))
    later.step = 1
    torch.manual_seed(1)
    assert order(loader()) != expected


def test_batches_of_another_run_take_the_place_of_those_after_the_skipped_ones(watched, tmp_path):
    loaders = watched(keeps=True)
    torch.manual_seed(0)
    iterator = iter(loader())
    next(iterator)
    loaders.batches.clear()  # the step that used it is over
    in_hand = [next(iterator)]
    loaders.keep()
    expected = [batch[0].tolist() for batch in (*in_hand, *iterator)] + order(loader(), 2)
    loaders.write_kept(tmp_path / "batches.pkl")
    loaders.anchor().write(tmp_path / "anchor.pkl")
    batches = read_batches(tmp_path / "batches.pkl")
    assert len(read_batches(tmp_path / "batches.pkl", earlier=1)) == len(batches) + 1
    watched(Put(Anchor.read(tmp_path / "anchor.pkl"), (), batches, own=1))
    torch.manual_seed(1)
    given = order(loader())
    assert given[1:] + order(loader(), 2) == expected


def test_a_loader_that_skips_is_known_as_the_one_that_it_skips_batches_of():
    class Skipping(BatchSampler):
        def __init__(self, batch_sampler):
            self.batch_sampler = batch_sampler

        def __iter__(self):
            return itertools.islice(self.batch_sampler, 1, None)

        def __len__(self):
            return len(self.batch_sampler) - 1

    one = loader()
    assert key_of(one) == key_of(DataLoader(one.dataset, batch_sampler=Skipping(one.batch_sampler)))
    assert key_of(one) != key_of(DataLoader(one.dataset, batch_size=2))  # in order, as an evaluation reads


def test_what_was_fetched_for_a_step_is_known_by_its_bytes(watched):
    loaders = watched()
    batch = next(iter(loader()))
    assert len(loaders.anchor().in_hand) == 1
    loaders.batches.clear()
    assert loaders.anchor().begun is None
    assert batch[0].shape == (2,)


def test_watching_draws_nothing(watched):
    torch.manual_seed(0)
    bare = order(loader())
    world = rng.capture_world()["torch.cpu"]
    watched()
    torch.manual_seed(0)
    assert order(loader()) == bare
    assert torch.equal(rng.capture_world()["torch.cpu"], world)


def read_ahead(loader):
    ready = queue.Queue(1)

    def fetch():
        for batch in loader:
            ready.put(batch)
        ready.put(None)

    threading.Thread(target=fetch, daemon=True).start()
    while (batch := ready.get()) is not None:
        yield batch


def test_batches_that_a_thread_hands_over_are_kept_and_given_to_another_process(watched, tmp_path):
    loaders = watched(keeps=True)
    first = iter(read_ahead(loader()))
    next(first)
    anchor = loaders.anchor()
    loaders.keep()
    theirs = [batch[0].tolist() for batch in first]
    loaders.write_kept(tmp_path / "batches")
    assert anchor.begun.key[0] == "another thread" and anchor.batches == 1
    batches = read_batches(tmp_path / "batches")
    fed = watched(Put(anchor, batches=batches))
    mine = [batch[0].tolist() for batch in read_ahead(loader())]
    assert mine[1:] == theirs and len(fed.batches) == 4


def test_what_fails_in_watching_a_loader_does_not_reach_the_script(watched):
    """A data set may raise whatever it likes when it is asked for its length; its loader need not ask."""

    class Unasked(IterableDataset):
        def __iter__(self):
            return iter(torch.arange(4.0))

        def __len__(self):
            raise RuntimeError("nobody may ask")

    failed = []

    @contextlib.contextmanager
    def careful():
        try:
            yield
        except Exception as error:
            failed.append(str(error))

    watched(careful=careful)
    assert [batch.tolist() for batch in DataLoader(Unasked(), batch_size=2)] == [[0.0, 1.0], [2.0, 3.0]]
    assert failed == ["nobody may ask"]
