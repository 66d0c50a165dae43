"""Inside an interpreter that is forked from: it has imported what runs need and has run nothing of the user's.

Whoever works in a fork begins where a new interpreter would, without the seconds that importing takes: no fork knows
anything of another. That is so only where the interpreter has one thread and has not touched an accelerator; one that
may not be forked says so, and is then a side itself.
"""

import json
import os
import random
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

_ACCELERATORS = ("/dev/nvidia", "/dev/kfd", "/dev/dri")  # open where a driver was asked for devices
_LONGEST = 1 << 20  # bytes of a request
_STREAMS = 2  # descriptors that a fork gets; one that is forked in its turn gets one more
_PATIENCE = 5.0  # seconds in which forks that were forked themselves end theirs


def serve_forks(control: int, refused: Mapping[str, str] | None = None) -> Mapping[str, Any] | None:
    """Fork this process each time the parent asks for it; ends with the parent, and ends all forks then.

    Args:
        control: file descriptor of the socket to the parent.
        refused: why it must not be forked (`obstacle`), and what was imported then (`package`); None where it may be.

    Returns:
        in each fork, what the parent has to say to it; its standard streams are the parent's. In the process itself
        None, where it may not be forked.
    """
    connection = socket.socket(fileno=control)
    said = refused or {"obstacle": obstacle_to_forks()}
    connection.send(json.dumps(said).encode())
    if said["obstacle"]:
        connection.close()
        return None
    return _forked(connection)


def obstacle_to_forks() -> str:
    """Why a fork of this process would not be as a new interpreter; empty where it is one."""
    if not sys.platform.startswith("linux"):
        return "forks are used on Linux only"
    descriptors = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    if any(os.readlink(name).startswith(_ACCELERATORS) for name in descriptors if os.path.lexists(name)):
        return "an accelerator was asked for devices"
    # Libraries that fork well (OpenBLAS) end their threads before any fork: what is left after one does not.
    child = fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    threads = len(os.listdir("/proc/self/task"))
    return f"{threads} threads" if threads > 1 else ""


def fork() -> int:
    """Fork this process, with nothing printed that is not written: the fork's number, and 0 in the fork."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads: they are counted instead
        return os.fork()


def _forked(connection: socket.socket) -> Mapping[str, Any]:
    """Answer requests for forks; returns in the forks only."""
    forks: set[int] = set()
    successors: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, 3)
        if not message:
            _await(successors)
            _end_all(forks)
        request = json.loads(message)
        if "end" in request:
            pid = request["end"]
            forks.discard(pid)
            successors.discard(pid)
            answer = {"code": _end(pid, wait=request["wait"])}
        else:
            pid = fork()
            if pid == 0:
                return _begin_anew(connection, descriptors, request["fork"])
            for descriptor in descriptors:
                os.close(descriptor)
            forks.add(pid)
            if len(descriptors) > _STREAMS:
                successors.add(pid)
            answer = {"pid": pid}
        connection.send(json.dumps({**answer, "number": request["number"]}).encode())


def _begin_anew(connection: socket.socket, descriptors: list[int], boot: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make a fork what a new interpreter is: in a session of its own, with streams and seeds of its own."""
    connection.close()
    os.setsid()
    for place, descriptor in enumerate(descriptors[:_STREAMS]):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.path[:], sys.argv[:] = boot["path"], boot["argv"]
    # An interpreter draws these seeds when it starts: two sides that seed nothing must not agree by a fork.
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    return {**boot, "control": descriptors[_STREAMS] if len(descriptors) > _STREAMS else None}


def _await(forks: Iterable[int]) -> None:
    """Wait until forks have heard, as this process has, that the parent is gone, and have ended what they forked."""
    limit = time.monotonic() + _PATIENCE
    for pid in forks:
        while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) and time.monotonic() < limit:
            time.sleep(0.01)


def _end_all(forks: set[int]) -> NoReturn:
    for pid in forks:
        _end(pid, wait=False)
    os._exit(1)


def _end(pid: int, wait: bool) -> int:
    """End a fork and everything that it started; its exit code.

    Args:
        pid: of the fork.
        wait: let it come to its own end.
    """
    if wait:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its number is not given to another process yet
    for kill in (os.killpg, os.kill):  # the second for a fork that has no session of its own yet
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
