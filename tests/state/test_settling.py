"""State is read when threads that read ahead have come to rest, and nobody is waited for without end."""

import os
import queue
import threading
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

from dora_repro.sides import worker_main
from dora_repro.state import settling
from dora_repro.state.settling import LIMIT, settle
from dora_repro.state.snapshot import Snapshot


def seconds():
    begun = time.perf_counter()
    settle()
    return time.perf_counter() - begun


def test_without_other_threads_nothing_is_waited_for():
    assert seconds() < 0.01


def test_the_thread_by_which_a_side_hears_of_its_parent_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(worker_main.os, "_exit", lambda code: None)
    before = settling._places()
    own, (there, here) = os.dup(0), os.pipe()
    os.dup2(there, 0)
    try:
        asked = worker_main._listen()
        os.write(here, b'"begun"\n')
        assert asked() == "begun"  # and it waits for the next line
        assert settling._places() == before
    finally:
        os.close(here)
        os.close(there)
        for thread in threading.enumerate():
            if "listen" in thread.name:
                thread.join()
        os.dup2(own, 0)
        os.close(own)


def test_a_thread_that_fills_its_queue_comes_to_rest():
    ready, drawn, over = queue.Queue(5), torch.Generator().manual_seed(1), threading.Event()

    def fetch():
        while not over.is_set():
            time.sleep(0.004)
            ready.put(torch.rand(1, generator=drawn))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        state = Snapshot.capture({"drawn": drawn})
        assert ready.qsize() == 5
        time.sleep(0.05)
        assert Snapshot.capture({"drawn": drawn})["drawn"].digest == state["drawn"].digest
    finally:  # a thread that is left in these lines is seen by other tests
        over.set()
        ready.get()
        thread.join()


def test_a_loader_that_a_thread_of_a_library_reads_comes_to_rest():
    own = torch.Generator().manual_seed(1)
    loader = DataLoader(TensorDataset(torch.arange(600.0)), 1, shuffle=True, generator=own)
    thread = threading.Thread(target=list, args=(loader,))
    thread.start()
    for _ in range(20):  # where other programs have the machine, a thread may be put aside for longer than is waited
        settle()
        if not thread.is_alive():
            break
    assert not thread.is_alive()


def test_a_thread_that_never_rests_is_waited_for_a_second():
    over = threading.Event()
    thread = threading.Thread(target=lambda: [time.sleep(0.001) for _ in iter(over.is_set, True)])
    thread.start()
    try:
        assert LIMIT <= seconds() < LIMIT + 1
    finally:
        over.set()
        thread.join()
