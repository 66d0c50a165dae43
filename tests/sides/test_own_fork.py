"""A command's own process is forked once, before anything of the user's; the fork serves sides, the command goes on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sides.test_interpreters import alive

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are used on Linux only")

COMMAND = """\
import atexit, json, os, sys, threading
from dora_repro.sides.interpreters import Interpreters
from dora_repro.sides.own_fork import Become
from dora_repro.sides.pickling import pickled
from dora_repro.sides.processes import SideStopped
from tests import runs

def asked(interpreters, **which):
    with interpreters.acquire(**which) as process:
        process.begin(pickled(runs.Plain), "tests.sides.test_own_fork:who_it_is", {})
        said = process.wait_for("said", 240.0)
        process.wait_for("done", 240.0)
        return {**said, "interpreter": process.interpreter}

def ended(interpreters):
    with interpreters.acquire() as process:
        process.begin(pickled(runs.Plain), "tests.sides.test_own_fork:comes_to_its_end", {})
        try:
            process.wait_for("done", 240.0)
        except SideStopped as stopped:
            return str(stopped).partition(" (")[0]

def command():
    BEFORE
    with Interpreters() as interpreters:
        try:
            interpreters.start_with_own_fork()
        except Become:
            print("must not be seen", flush=True)
            raise
        interpreters.expect(2)
        print("begun", os.getpid(), flush=True)
        sides = [asked(interpreters) for _ in range(4)]
        ends = [ended(interpreters) for _ in range(2)]
        scratch = interpreters._scratch.path.exists()
        AFTER
    left = interpreters._scratch.path.exists()
    return {"command": os.getpid(), "sides": sides, "ends": ends, "scratch": [scratch, left]}

become = None
try:
    print(json.dumps(command()))
except Become as interpreter:
    become = interpreter
if become is not None:
    become.run()
    sys.exit(0)
atexit.register(print, "the command has ended")
"""


def who_it_is(factory, about, request, emit):
    import inspect
    import multiprocessing
    import random

    main = sys.modules["__main__"]
    emit(
        {
            "event": "said",
            "parents": [os.getppid(), parent_of(os.getppid())],
            "hash": hash("a text"),
            "random": random.random(),
            "main": sorted(name for name in vars(main) if not name.startswith("__")),
            "process": multiprocessing.current_process().name,
            "command": [frame.function for frame in inspect.stack() if frame.function in ("command", "asked")],
            "stdin": sys.stdin.read(),
            "sockets": [name for name in map(opened, os.listdir("/proc/self/fd")) if name.startswith("socket:")],
            "leads": os.getsid(os.getppid()) == os.getppid(),
            "waits": os.environ["OMP_WAIT_POLICY"],
        }
    )
    sys.modules["left behind"] = sys


def comes_to_its_end(factory, about, request, emit):
    """As a run that ends its interpreter does: what Python does on its way out is done."""
    sys.exit(7)


def opened(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # of the listing itself
        return ""


def parent_of(number):
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def command(before="pass", after="pass", **options):
    text = COMMAND.replace("BEFORE", before).replace("AFTER", after)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, **options},
    )  # fmt: skip


def told(process):
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0 and errors == "", errors
    begun, answer, ended = output.splitlines()
    assert begun.startswith("begun") and ended == "the command has ended"  # once: the fork is no command any more
    return json.loads(answer)


@pytest.fixture(scope="module")
def answer():
    return told(command())


def test_one_of_two_interpreters_is_a_fork_of_the_command(answer):
    sides = answer["sides"]
    assert [side["interpreter"] for side in sides] == [0, 1, 0, 1]
    assert [side["parents"][1] for side in sides] == [answer["command"]] * 4
    assert sides[0]["hash"] == sides[2]["hash"] != sides[1]["hash"] == sides[3]["hash"]
    assert len({side["random"] for side in sides}) == 4


def test_a_side_of_it_is_as_one_of_a_new_interpreter(answer):
    theirs, own = answer["sides"][:2]
    for what in ("process", "command", "stdin", "waits", "sockets", "leads"):
        assert own[what] == theirs[what], what
    assert (own["process"], own["command"], own["stdin"], own["waits"]) == ("MainProcess", [], "", "passive")
    assert own["main"] == own["sockets"] == [] and own["leads"]


def test_the_folder_is_the_commands_until_its_end(answer):
    assert answer["ends"] == ["the process ended with exit code 7"] * 2
    assert answer["scratch"] == [True, False]


def test_where_threads_are_at_work_both_are_started():
    before = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    sides = told(command(before))["sides"]
    assert [side["interpreter"] for side in sides] == [0, 2, 0, 2]
    assert sides[0]["hash"] != sides[1]["hash"]


def test_what_the_user_has_set_for_waiting_threads_stays():
    assert [side["waits"] for side in told(command(OMP_WAIT_POLICY="active"))["sides"]] == ["active"] * 4


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_it_ends_with_the_command(how):
    process = command(after="import time; time.sleep(600)")
    begun = process.stdout.readline().split()
    children = Path(f"/proc/{begun[1]}/task/{begun[1]}/children").read_text().split()
    assert len(children) == 3  # a guardian, an interpreter and a fork of the command
    getattr(process, how)()
    process.communicate()
    limit = time.monotonic() + 20
    while any(alive(int(child)) for child in children):
        assert time.monotonic() < limit
        time.sleep(0.05)
