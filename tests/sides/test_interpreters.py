"""Sides are forks of interpreters that have run nothing: as independent and as equal as new interpreters."""

import os
import signal
import sys
import time

import pytest

from dora_repro.sides.interpreters import Interpreters
from dora_repro.sides.pickling import pickled
from dora_repro.sides.processes import SideStopped
from tests import runs

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are used on Linux only")
HERE = __name__


def ask(interpreters, work, **which):
    with interpreters.acquire(**which) as process:
        process.begin(pickled(runs.Plain), f"{HERE}:{work}", {})
        return {**process.wait_for("said", 240.0), "interpreter": process.interpreter}


def ask_to_the_end(interpreters, work):
    with interpreters.acquire() as process:
        process.begin(pickled(runs.Plain), f"{HERE}:{work}", {})
        said = process.wait_for("said", 240.0)
        process.wait_for("done", 240.0)
        return said


def who_it_is(factory, about, request, emit):
    import random

    import numpy

    emit(
        {
            "event": "said",
            "pid": os.getpid(),
            "parent": os.getppid(),
            "session": os.getsid(0),
            "hash": hash("a text"),
            "random": random.random(),
            "numpy": numpy.random.random(),
            "seen": "left behind" in sys.modules,
        }
    )
    sys.modules["left behind"] = sys


def trained(factory, about, request, emit):
    emit({"event": "said", "digests": digests()})


def digests(threads: int = 2) -> list[str]:
    """Of products large enough for several threads, and of a training."""
    import numpy
    import torch

    from dora_repro.state.digest import digest

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    large = torch.randn(700, 700)
    product = large @ large + torch.nn.functional.conv1d(large[None], large[:, :, None])[0]
    run = runs.Plain()
    for _ in range(3):
        run.step()
    values = [product, large.softmax(0), large.sum(), numpy.dot(large.numpy(), large.numpy())]
    return [digest(value).hex() for value in (*values, *(p.detach() for p in run.model.parameters()))]


def reads_names(factory, about, request, emit):
    from dora_repro.state import function_names

    emit({"event": "said", "told": sorted(names for names in function_names._told if "digests" in names)})
    function_names.names_of(digests)


@pytest.fixture(scope="module")
def interpreters():
    with Interpreters() as open_ones:
        yield open_ones


@linux
def test_a_fork_has_seeds_and_a_session_of_its_own_and_sees_nothing_of_another(interpreters):
    one = ask(interpreters, "who_it_is")
    same = ask(interpreters, "who_it_is", like=one["interpreter"])
    other = ask(interpreters, "who_it_is", unlike=one["interpreter"])
    assert one["parent"] == same["parent"] != os.getpid()
    assert one["interpreter"] == same["interpreter"] != other["interpreter"]
    assert (one["hash"], one["seen"]) == (same["hash"], False) and not same["seen"] and one["hash"] != other["hash"]
    assert len({side["random"] for side in (one, same, other)}) == 3
    assert len({side["numpy"] for side in (one, same, other)}) == 3
    assert all(side["session"] == side["pid"] for side in (one, same, other))


def test_what_one_side_has_read_of_functions_the_next_one_is_told(interpreters):
    assert ask_to_the_end(interpreters, "reads_names")["told"] == []
    [name] = ask_to_the_end(interpreters, "reads_names")["told"]
    assert name.startswith(f"{__file__}:") and " digests " in name


@linux
def test_a_fork_computes_what_a_new_interpreter_computes(interpreters, tmp_path):
    import json
    import subprocess

    code = f"import json; from {HERE} import digests; print(json.dumps(digests()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ask(interpreters, "trained")["digests"] == json.loads(fresh.stdout)
    assert len(set(json.loads(fresh.stdout))) > 4


def test_an_interpreter_with_a_thread_is_not_forked_and_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Interpreters(("starts_a_thread",)) as threaded:
        sides = [ask(threaded, "who_it_is") for _ in range(2)]
    assert [side["parent"] for side in sides] == [os.getpid()] * 2
    assert sides[0]["hash"] != sides[1]["hash"] and not sides[1]["seen"]


def ends_at_once(factory, about, request, emit):
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_crash_is_told_and_the_next_side_begins_anew(interpreters):
    for _ in range(2):
        with pytest.raises(SideStopped, match="was killed by SIGSEGV"):
            ask(interpreters, "ends_at_once")
    assert not ask(interpreters, "who_it_is")["seen"]


def starts_another(factory, about, request, emit):
    import subprocess

    emit({"event": "said", "child": subprocess.Popen(["sleep", "600"]).pid})
    time.sleep(600)


def test_what_a_side_started_ends_with_it(interpreters):
    child = ask(interpreters, "starts_another")["child"]
    limit = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < limit
        time.sleep(0.05)


@linux
def test_an_interpreter_that_was_killed_is_followed_by_another():
    with Interpreters() as interpreters:
        interpreters.expect(2)
        for _ in range(2):
            os.kill(ask(interpreters, "who_it_is")["parent"], signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(SideStopped, match="was killed"):
                ask(interpreters, "who_it_is")
        assert ask(interpreters, "who_it_is")["pid"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
