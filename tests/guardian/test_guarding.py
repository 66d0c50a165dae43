"""What a process has started ends with it, however it ends; what is released, or never was guarded, does not."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from dora_repro.guardian import guarding
from dora_repro.guardian.guarding import guard, release
from tests.processes import command_line, is_alive

ENDS = 2.0  # seconds within which it has to have ended
PATIENCE = 30.0  # for what is started on a busy machine
# What is guarded: a process that starts another in a session of its own, as a kernel has.
GUARDED = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
    "start_new_session=True); time.sleep(600)"
)
PARENT = f"""
import os, subprocess, sys, time
from dora_repro.guardian.guarding import guard, release
made = [subprocess.Popen([sys.executable, "-c", {GUARDED!r}], start_new_session=True) for _ in range(3)]
guard(made[0].pid)
guard(made[1].pid)
release(made[1].pid)
{{more}}
print(*(each.pid for each in made), flush=True)
time.sleep(600)
"""


def until(holds, limit=PATIENCE):
    end = time.monotonic() + limit
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def children(pid):
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


@pytest.fixture
def parent():
    """parent(more): a process with three children, of which the first is guarded; they all go in the end."""
    left = []

    def start(more="", **options):
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT.format(more=more)], stdout=subprocess.PIPE, text=True, **options
        )
        left.append(process.pid)
        made = [int(pid) for pid in process.stdout.readline().split()]
        left.extend(made)
        assert until(lambda: all(len(children(pid)) == 1 for pid in made))
        family = {pid: [pid, *children(pid)] for pid in made}
        left.extend(pid for each in family.values() for pid in each)
        return process, list(family.values())

    yield start
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_what_is_guarded_ends_with_its_parent_and_nothing_else_does(parent, how):
    process, (guarded, released, never) = parent()
    with process:
        process.send_signal(how)
        process.wait()
    assert until(lambda: not any(map(is_alive, guarded)), 10 * ENDS)
    assert all(map(is_alive, [*released, *never]))


def test_a_fork_of_the_parent_that_lives_on_changes_nothing(parent):
    """Workers of a loader have the parent's pipes: the guardian looks at the parent itself, too."""
    process, (guarded, *_) = parent("worker = os.fork() or time.sleep(600)")
    with process:
        command = command_line(process.pid)
        worker = next(pid for pid in children(process.pid) if command_line(pid) == command)
        process.kill()
        process.wait()
        assert until(lambda: not any(map(is_alive, guarded)), 10 * ENDS) and is_alive(worker)
        os.kill(worker, signal.SIGKILL)


def test_a_stopped_guard_is_replaced(parent):
    more = (
        "import psutil\n"
        "guardian = next(child for child in psutil.Process().children() if 'guardian' in str(child.cmdline()))\n"
        "guardian.kill()\nguardian.wait()\nguard(made[2].pid)"
    )
    process, (guarded, _, also) = parent(more)
    with process:
        process.kill()
    assert until(lambda: not any(map(is_alive, [*guarded, *also])), 10 * ENDS)


def test_what_has_the_variable_ends_though_its_parent_is_gone():
    sleeper = "import time; time.sleep(600)"
    between = (
        f"import subprocess, sys; made = subprocess.Popen([sys.executable, '-c', {sleeper!r}], start_new_session=True, "
        "stdout=subprocess.DEVNULL); print(made.pid)"
    )
    script = (
        "import os, subprocess, sys, time\nfrom dora_repro.guardian.guarding import guard\n"
        f"made = subprocess.Popen([sys.executable, '-c', {between!r}], env={{**os.environ, 'OF_A_JOB': 'a b'}}, "
        "start_new_session=True, stdout=subprocess.PIPE, text=True)\nguard(made.pid, 'OF_A_JOB=a b')\n"
        "print(made.stdout.readline(), flush=True)\nmade.wait()\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        orphan = int(process.stdout.readline())
        time.sleep(0.3)
        assert is_alive(orphan)
        process.kill()
    assert until(lambda: not is_alive(orphan), 10 * ENDS)


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/true"], ids=["cannot be started", "ends at once"])
def test_without_a_guardian_the_work_goes_on(monkeypatch, python):
    monkeypatch.setattr(guarding, "_guardian", None)
    monkeypatch.setattr(sys, "executable", python)
    for pid in (10**8, 10**8 + 1):  # of no process
        guard(pid)
        time.sleep(0.1)
    for pid in (10**8, 10**8 + 1):  # of no process
        release(pid)
    assert guarding._guardian is not None and guarding._guardian._process is None


def test_there_is_a_guardian_only_while_there_is_something_to_guard():
    before = children(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as made:
        guard(made.pid)
        assert len(children(os.getpid())) == len(before) + 2
        release(made.pid)
        release(made.pid)
        assert children(os.getpid()) == {*before, made.pid} and made.poll() is None
        made.communicate(b"\n")
    assert guarding._guardian is not None and children(os.getpid()) == before
