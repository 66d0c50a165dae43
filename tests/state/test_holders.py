"""Queues, text in memory, buffers and files: read without taking anything out, set in place, and by value alone."""

import array
import collections
import ctypes
import decimal
import io
import mmap
import queue
import threading

import numpy as np
import pytest
import torch

from dora_repro.state.holders import ADDRESSES, IN_USE, LARGE, MAX_BYTES
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk
from tests.state.worlds import changed, look


def filled(kind, *items):
    made = kind()
    for item in items:
        made.put(item)
    return made


def taken(source):
    return [source.get_nowait() for _ in range(source.qsize())]


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


class Line(ctypes.Structure):
    _fields_ = [("ends", Point * 2), ("name", ctypes.c_char * 4)]


class Item:
    def __init__(self, score):
        self.score = score


# --- read


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue])
def test_a_queue_is_read_in_its_order_and_nothing_is_taken_out(kind):
    source = filled(kind, 3, 1, 2)
    expected = sorted([3, 1, 2]) if kind is queue.PriorityQueue else [3, 1, 2]
    assert list(look(q=source)["q/queue"]) == expected or look(q=source)["q/queue"][0] == 1
    assert source.qsize() == 3 and "q/unfinished_tasks" not in look(q=source)


def test_a_simple_queue_is_read_in_its_order_also_after_items_were_taken():
    source = filled(queue.SimpleQueue, *range(30))
    for number in range(20):
        assert source.get() == number
        assert look(q=source)["q/(items)"] == list(range(number + 1, 30))
    assert taken(source) == list(range(20, 30))
    assert look(q=source) == {"q/(items)": []}
    assert look(q=filled(queue.SimpleQueue, None, None))["q/(items)"] == [None, None]


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
def test_what_another_thread_is_using_is_listed_and_not_read(kind):
    source, begun, over = filled(kind, 1), threading.Event(), threading.Event()

    class Producer:
        def __init__(self):
            self.target = source

        def run(self):
            begun.set()
            over.wait()

    def by_argument(target):
        begun.set()
        over.wait()

    for target, arguments in ((Producer().run, ()), (by_argument, (source,))):
        begun.clear(), over.clear()
        thread = threading.Thread(target=target, args=arguments)
        thread.start()
        begun.wait()
        found = walk({"q": source})
        over.set()
        thread.join()
        assert not found.leaves and IN_USE in found.uncaptured["q"]
    assert walk({"q": source}).leaves
    assert taken(source) == [1]


def test_a_thread_that_does_something_else_does_not_hide_a_queue():
    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (begun.set(), over.wait()))
    thread.start()
    begun.wait()
    found = walk({"q": filled(queue.Queue, 1)})
    over.set()
    thread.join()
    assert found["q/queue"].value == [1]


def test_text_in_memory_is_its_content_and_how_much_is_left_to_read():
    text, binary = io.StringIO("ab\ncd"), io.BytesIO()
    binary.write(b"xyz")
    assert look(t=text, b=binary) == {"t/(text)": "ab\ncd", "t/(left)": 5, "b/(bytes)": b"xyz", "b/(left)": 0}
    assert changed({"t": text}, text.readline) == {"t/(left)"}
    assert text.read() == "cd"
    large = io.BytesIO(bytes(MAX_BYTES + 1))
    assert LARGE in walk({"large": large}).uncaptured["large"] and large.tell() == 0


def test_a_file_that_is_read_has_a_position_and_one_that_is_written_has_none(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("1\n2\n3\n")
    with path.open() as text, path.open("rb") as binary, (tmp_path / "log").open("w") as log:
        text.readline(), binary.readline(), log.write("x")
        found = walk({"text": text, "binary": binary, "log": log})
        assert found["text/(position)"].value == found["binary/(position)"].value == 2
        assert found.uncaptured.keys() == {"log"}
        assert (text.readline(), binary.readline()) == ("2\n", b"2\n")
    assert walk({"text": text}).uncaptured.keys() == {"text"}


def test_a_file_that_is_iterated_over_tells_no_position(tmp_path):
    (tmp_path / "numbers").write_text("1\n2\n")
    with (tmp_path / "numbers").open() as text:
        next(text)
        assert "OSError" in walk({"text": text}).uncaptured["text"]


def test_numbers_of_c_are_read_by_value_and_addresses_are_not():
    line = Line()
    line.ends[1].y, line.name = 2.5, b"ab"
    found = look(i=ctypes.c_int(3), a=(ctypes.c_float * 2)(1, 2), s=ctypes.create_string_buffer(b"x", 2), line=line)
    assert found == {
        "i/value": 3, "a/(items)": [1.0, 2.0], "s/raw": b"x\0", "line/name": b"ab",
        "line/ends/0/x": 0, "line/ends/0/y": 0.0, "line/ends/1/x": 0, "line/ends/1/y": 2.5,
    }  # fmt: skip
    held = {"p": ctypes.pointer(ctypes.c_int(3)), "v": ctypes.c_void_p(5), "t": (ctypes.c_char_p * 1)(b"x")}
    listed = walk(held)
    assert not listed.leaves and listed.uncaptured.keys() == {"p", "v", "t"} and ADDRESSES in listed.uncaptured["v"]


def test_a_view_of_a_buffer_is_the_buffer_and_which_part_of_it_is_seen():
    buffer = bytearray(b"abcdef")
    view = memoryview(buffer)[2:4]
    found = walk({"buffer": buffer, "view": view})
    assert found["view/(window)"].value == (2, 2) and found["view/obj"].value == "= buffer"
    assert changed({"view": view}, lambda: view.__setitem__(0, 7)) == {"view/obj"}


# --- put back


def world():
    things = np.array([Item(1.0), Item(2.0)], dtype=object)
    shared = array.array("d", [0.0, 1.0])
    return {
        "fifo": filled(queue.Queue, 1, 2),
        "first": filled(queue.PriorityQueue, (2, "b"), (1, "a")),
        "simple": filled(queue.SimpleQueue, 1, 2),
        "tensors": filled(queue.SimpleQueue, torch.zeros(2), torch.ones(2)),
        "text": io.StringIO("ab"),
        "bytes": io.BytesIO(b"ab"),
        "shared": shared,
        "again": [shared],
        "raw": bytearray(4),
        "view": memoryview(bytearray(4)),
        "mapped": mmap.mmap(-1, 8),
        "items": np.array([1, "a", None], dtype=object),
        "things": things,
        "grid": np.array([[Item(0.0)], [Item(1.0)]], dtype=object),
        "numbers": (ctypes.c_float * 3)(),
        "line": Line(),
        "context": decimal.Context(prec=5),
    }


def change(held):
    held["fifo"].put(held["fifo"].get() + 5)
    held["first"].put((0, held["first"].get()[1]))
    held["simple"].put(held["simple"].get() + 5)
    held["tensors"].put(held["tensors"].get() + 5)
    held["text"].read(1)
    held["bytes"].seek(0, io.SEEK_END), held["bytes"].write(b"cd")
    held["again"][0][1] = 5.0
    held["raw"][2] = 9
    held["view"] = held["view"][1:]
    held["view"][0] = 3
    held["mapped"].write(b"xy")
    held["items"][0] = 7
    held["things"][1].score = 8.0
    held["grid"][1, 0].score = 8.0
    held["numbers"][2] = 4.0
    held["line"].ends[0].y = 3.0
    held["context"].prec, held["context"].traps[decimal.Inexact] = 7, True


def test_everything_is_put_back_in_the_very_objects():
    held = world()
    change(held)
    wanted = Snapshot.capture(held)
    for name in held:
        other = world()
        before = dict(other)
        assert wanted.restore(other, [f"{name}*"]) == {}, name
        assert name == "view" or other[name] is before[name]
        now = Snapshot.capture(other)
        inside = [path for path in wanted if path == name or path.startswith(f"{name}/")]
        assert [path for path in inside if now[path].digest != wanted[path].digest] == [] and inside
    other = world()
    assert wanted.restore(other) == {}
    assert other["shared"][1] == 5.0 and other["again"][0] is other["shared"]
    assert taken(other["fifo"]) == [2, 6] and taken(other["first"]) == [(0, "a"), (2, "b")]
    assert taken(other["simple"]) == [2, 6] and [t.sum().item() for t in taken(other["tensors"])] == [2.0, 10.0]
    assert other["text"].read() == "b" and other["bytes"].getvalue() == b"abcd"


def test_queues_that_are_empty_are_filled_and_others_emptied():
    full = {"fifo": filled(queue.Queue, torch.ones(2)), "simple": filled(queue.SimpleQueue, torch.ones(2))}
    wanted = Snapshot.capture(full)
    empty = {"fifo": queue.Queue(), "simple": queue.SimpleQueue()}
    nothing = Snapshot.capture(empty)
    assert wanted.restore(empty) == {}
    assert empty["fifo"].qsize() == empty["simple"].qsize() == 1
    assert nothing.restore(full, ["fifo*"]) == {} and full["fifo"].qsize() == 0


def test_a_deque_in_a_queue_stays_one():
    held = {"q": filled(queue.Queue, 1)}
    Snapshot.capture({"q": filled(queue.Queue, 2)}).restore(held)
    assert type(held["q"].queue) is collections.deque and held["q"].get_nowait() == 2
