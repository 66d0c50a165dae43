"""The guardian, run as a script: it waits until its parent is gone, and ends what the parent had started.

It imports nothing but the standard library, so that it is there at once.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection

_LOOK = 0.5  # seconds between two looks at the parent: a fork of it may hold the pipe open for longer than it lives
_ROUNDS = 100  # what is started while its parent is being ended is met in the next one
_PAUSE = 0.02
_LINUX = sys.platform.startswith("linux")


def main(parent: int) -> None:
    """Take lines of what to guard until the parent closes the pipe or is gone; then end what is still guarded.

    Args:
        parent: number of the process that has started this one.
    """
    guarded: dict[int, tuple[str, str]] = {}  # pid -> when it was started, variable
    rest = b""
    while True:
        there = os.getppid() == parent
        if not select.select([0], [], [], _LOOK if there else 0)[0]:
            if there:
                continue
            break  # gone, and all that it had said before is read
        more = os.read(0, 1 << 16)
        if not more:
            break
        *lines, rest = (rest + more).split(b"\n")
        for line in map(json.loads, lines):
            if "guard" in line:
                guarded[line["guard"]] = started(line["guard"]), line["variable"]
            else:
                guarded.pop(line["release"], None)
    if guarded:
        left = {pid for pid, (when, _) in guarded.items() if when and started(pid) == when}
        end_all(left, {variable.encode() for _, variable in guarded.values() if variable})


def end_all(known: Collection[int], variables: Collection[bytes]) -> None:
    """End processes, those of their sessions and groups, and all that these have started.

    Args:
        known: their numbers.
        variables: `NAME=value`; what has one of them in its environment is ended, too.
    """
    known, variables = set(known), set(variables)
    for _ in range(_ROUNDS):
        there = processes()
        found = {pid for pid, (_, *leaders) in there.items() if pid in known or known.intersection(leaders)}
        found |= {pid for pid in there if variables and variables.intersection(environment(pid))}
        while more := {pid for pid, (above, *_) in there.items() if above in found and pid not in found}:
            found |= more
        found.discard(os.getpid())
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # gone, or another user's
                continue
        time.sleep(_PAUSE)


def processes() -> dict[int, tuple[int, int, int]]:
    """Number -> parent, group and session, of all processes that have not ended."""
    if not _LINUX:
        listed = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        return {int(pid): (int(above), int(group), int(group)) for pid, above, group, state in rows if state[0] != "Z"}
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        state = _state(int(name))
        if state and state[0] not in ("Z", "X"):
            found[int(name)] = int(state[1]), int(state[2]), int(state[3])
    return found


def started(pid: int) -> str:
    """When a process was started, as a text: the number may be given to another one once it has ended."""
    if not _LINUX:
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
        return asked.stdout.strip()
    state = _state(pid)
    return state[19] if state else ""


def environment(pid: int) -> Collection[bytes]:
    """The variables of a process, as `NAME=value`; none where they cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return ()


def _state(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the state on; empty where it is gone. A name may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


if __name__ == "__main__":
    main(int(sys.argv[1]))
