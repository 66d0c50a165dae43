"""A command's own process as one of the two interpreters that sides are forked from.

A command needs torch itself, to judge what the sides leave; on two cores, a third process that imports it is a third of
the time that a small check takes. So the process imports what a side needs before it has run anything of the user's,
and is forked once: the fork becomes the interpreter (`Become`), the process goes on as the command.

That is done by `dora-repro` alone. A process that has called the kit as a library has run what its user wrote.
"""

import os
import socket
import sys
from pathlib import Path
from types import ModuleType

from dora_repro.sides.forking import fork, obstacle_to_forks
from dora_repro.sides.forks import control
from dora_repro.sides.worker_main import KIT, main, preload, redirect


class Become(BaseException):
    """Raised in the fork, for the outermost function of the command to end as the interpreter.

    What is on the stack in between is the command's: no handler may take this for an error, and nothing that the
    command still needs may be let go on the way.
    """

    def __init__(self, log: Path, connection: socket.socket):
        super().__init__()
        self._log, self._connection = log, connection

    def run(self) -> None:
        """Be the interpreter: serve forks until the command's process is gone; in each fork, do a side's work."""
        # Empty, as it is for an interpreter that was started with `-c`: processes that a run spawns look there.
        sys.modules["__main__"] = ModuleType("__main__")
        nothing_more = {"preload": (), "late": None, "prepare": None}
        main({"log": str(self._log), **nothing_more, "control": self._connection.detach()})


def fork_of_this_process(log: Path, modules: tuple[str, ...]) -> tuple[int, socket.socket] | None:
    """Import what sides need, and fork this process.

    Args:
        log: file for what the fork prints.
        modules: to import, besides the kit's own.

    Returns:
        the fork's number, and the socket over which it is asked for forks; None where this process may not be forked.

    Raises:
        Become: in the fork.
    """
    # Read when torch is loaded; what other interpreters are given, unless the user has set it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    preload((*KIT, *modules))
    if obstacle_to_forks():
        return None
    ours, theirs = control()
    assert ours is not None and theirs is not None  # forks are sound
    pid = fork()
    if pid == 0:
        os.setsid()
        ours.close()
        _leave_the_terminal(log)
        raise Become(log, theirs)
    theirs.close()
    return pid, ours


def _leave_the_terminal(log: Path) -> None:
    """Let nothing reach the command's streams from now on."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.close(redirect(str(log)))
