"""What belongs to a process is made anew in another one, with what it held."""

import concurrent.futures
import contextvars
import pickle
import queue
import threading
import weakref

import pytest

from dora_repro.sides.pickling import pickled
from tests import runs


def arrived(thing):
    """What another process gets in place of a thing that a factory holds."""
    return pickle.loads(pickled(lambda: (thing, runs.Plain)))()[0]


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_lock_arrives_open(make):
    lock = make()
    with lock:
        other = arrived(lock)
    assert other is not lock and type(other) is type(lock)
    assert other.acquire(blocking=False)


def test_a_variable_of_the_thread_has_its_attributes():
    local = threading.local()
    local.calls = [1, 2]
    assert vars(arrived(local)) == {"calls": [1, 2]}


def test_a_variable_of_the_context_has_its_name_its_default_and_its_value():
    bare, default, both = (contextvars.ContextVar(name, **given) for name, given in (
        ("bare", {}), ("default", {"default": None}), ("both", {"default": 1})))  # fmt: skip
    both.set(2)
    there = arrived([bare, default, both])
    assert [variable.name for variable in there] == ["bare", "default", "both"]
    assert there[0].get("nothing") == "nothing" and there[1].get() is None and there[2].get() == 2
    assert contextvars.Context().run(there[2].get) == 1
    with pytest.raises(LookupError):
        contextvars.Context().run(there[0].get)


def test_queues_have_what_waits_in_them_and_keep_it_here():
    simple, ordered = queue.SimpleQueue(), queue.PriorityQueue()
    for item in (3, 1):
        simple.put(item)
        ordered.put(item)
    there, also = arrived((simple, ordered))
    assert [there.get(), there.get()] == [3, 1] and [also.get(), also.get()] == [1, 3]
    assert [simple.get(), simple.get()] == [3, 1]


def test_a_weak_reference_is_to_what_is_held_elsewhere():
    kept, lost = {1, 2}, {3}
    there, (to_kept, to_lost) = arrived((kept, [weakref.ref(kept), weakref.ref(lost)]))
    assert to_kept() is there == {1, 2} and to_lost() is None


def test_weak_collections_have_what_is_held_elsewhere():
    key = runs.Plain
    by_key, by_value, members = weakref.WeakKeyDictionary(), weakref.WeakValueDictionary(), weakref.WeakSet()
    by_key[key] = 5
    by_value["run"] = key
    members.add(key)
    by_key, by_value, members = arrived((by_key, by_value, members))
    assert dict(by_key) == {key: 5} and dict(by_value) == {"run": key} and set(members) == {key}


def test_an_executor_works_where_it_arrives():
    with concurrent.futures.ThreadPoolExecutor(1) as here, arrived(here) as there:
        assert there.submit(max, 3, 4).result(timeout=60) == 4
