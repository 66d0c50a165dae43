"""What other threads hand over is told from what is the thread's own, and nothing else changes."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dora_repro.recording import hand_overs
from dora_repro.recording.hand_overs import Kind, Taken, listening


@pytest.fixture(autouse=True)
def no_places_are_known():
    hand_overs._SITES.clear()


def batches(count=3):
    return [torch.full((2,), float(number)) for number in range(count)]


def filled_by_a_thread(items):
    source = queue.Queue()
    thread = threading.Thread(target=lambda: [source.put(item) for item in items])
    thread.start()
    thread.join()
    return source


def by_a_queue(items):
    source = filled_by_a_thread([*items, None])
    while (item := source.get()) is not None:
        yield item


def by_futures(items):
    waiting = iter(items)
    with ThreadPoolExecutor(1) as pool:
        while (item := pool.submit(next, waiting, None).result()) is not None:
            yield item


def by_a_pool(items):
    with ThreadPool(1) as pool:
        yield from pool.imap(lambda item: item, items)


def by_results(items):
    with ThreadPool(1) as pool:
        for item in [*items, None]:
            yield pool.apply_async(lambda item=item: item).get()


def heard_while(take):
    """The kinds of what was taken, and what came of it."""
    kinds = []

    def hear(hand_over, take):
        taken = Taken.of(hand_over, take)
        kinds.append(taken.kind)
        return taken.given()

    with listening(hear):
        result = take()
    return kinds, result


@pytest.mark.parametrize("given", [by_a_queue, by_futures, by_a_pool, by_results])
def test_batches_of_another_thread_and_their_end_are_heard(given):
    items = batches()
    kinds, got = heard_while(lambda: [item for item in given(items) if item is not None])
    assert kinds == [Kind.BATCH] * 3 + [Kind.END]
    assert all(one is other for one, other in zip(got, items, strict=True))


def test_what_a_thread_puts_aside_for_itself_is_its_own():
    source = queue.Queue()
    source.put(torch.ones(2))
    assert heard_while(source.get)[0] == [Kind.OTHER]
    assert heard_while(filled_by_a_thread([torch.ones(2)]).get)[0] == [Kind.BATCH]


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"x": np.ones(2), "n": 1}, Kind.BATCH),
        (torch.tensor(0.5), Kind.OTHER),  # a result, as of an evaluation
        ({"loss": 0.5}, Kind.OTHER),
        (torch.ones(2, requires_grad=True) * 2, Kind.OTHER),  # a part of the step's own work
    ],
)
def test_data_alone_is_a_batch(item, kind):
    assert heard_while(filled_by_a_thread([item]).get)[0] == [kind]


def test_who_does_not_wait_takes_what_happens_to_be_there():
    assert heard_while(filled_by_a_thread(batches()).get_nowait)[0] == []
    with pytest.raises(queue.Empty):
        heard_while(lambda: queue.Queue().get(timeout=0.01))


def test_what_other_threads_take_and_what_a_loader_takes_is_not_heard():
    source, got = filled_by_a_thread(batches()), []

    def take_elsewhere():
        thread = threading.Thread(target=lambda: got.append(source.get()))
        thread.start()
        thread.join()

    class Asking(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return source.get()

    assert heard_while(take_elsewhere)[0] == [] and len(got) == 1
    kinds, made = heard_while(lambda: next(iter(DataLoader(Asking(), 2))))
    assert kinds == [] and made.shape == (2, 2)


def test_what_is_given_in_place_is_given_again_by_the_same_future():
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(torch.ones, 2)
        with listening(lambda hand_over, take: take() * 7):
            assert future.result().tolist() == future.result().tolist() == [7.0, 7.0]


def test_what_comes_later_is_around_what_came_before():
    source = filled_by_a_thread([torch.ones(1)])
    with listening(lambda hand_over, take: take() + 1), listening(lambda hand_over, take: take() * 10):
        assert source.get().item() == 20.0
