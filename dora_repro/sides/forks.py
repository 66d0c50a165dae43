"""Forks of an interpreter, from outside: what asks for them, and what each of them is (`forking.py`: from inside)."""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

from dora_repro.sides.processes import LOG, SideStopped, paths

GET_READY = 600.0  # seconds that an interpreter may take to import what a run needs
Preparation: TypeAlias = tuple[str, Mapping[str, object]]
MAY_FORK = sys.platform.startswith("linux")


def control() -> tuple[socket.socket | None, socket.socket | None]:
    """The two ends over which forks are asked for; None where there are none."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if MAY_FORK else (None, None)


class Forks:
    """Asks an interpreter for forks of itself.

    Args:
        connection: the socket to it.

    Attributes:
        sound: whether it may be forked; None as long as it has not said so.
        refused: the package that it must not be forked for; empty where there is none.
    """

    def __init__(self, connection: socket.socket):
        self._connection, self._asked = connection, 0
        self.sound: bool | None = None
        self.refused = ""

    def are_sound(self) -> bool:
        """Whether its forks are as new interpreters; waits until it is ready.

        Raises:
            SideStopped: it did not get ready in time.
        """
        if self.sound is None:
            self._connection.settimeout(GET_READY)
            try:
                said = self._connection.recv(1 << 16)
            except TimeoutError:
                raise SideStopped(f"an interpreter did not get ready in {GET_READY:g} s") from None
            except OSError:
                said = b""
            self._connection.settimeout(None)
            answer = json.loads(said) if said else {"obstacle": "it is gone"}
            self.sound, self.refused = not answer["obstacle"], answer.get("package", "")
        return self.sound

    def fork(
        self, folder: Path, control: int | None = None, late: Path | None = None, prepare: Preparation | None = None
    ) -> "Fork":
        """A new fork.

        Args:
            folder: where it writes its log.
            control: its end of the socket over which it is asked for forks; None for one that does a side's work.
            late: a file of modules that it imports out of sight.
            prepare: a function that it calls before it is forked, as `module:name`, and what that is called with.

        Raises:
            SideStopped: the interpreter is gone.
        """
        its_stdin, stdin = os.pipe()
        stdout, its_stdout = os.pipe()
        try:
            begun = {"preload": (), "late": str(late) if late is not None else None, "prepare": prepare}
            boot = {**paths(), "log": str(folder / LOG), **begun}
            passed = [its_stdin, its_stdout, *([control] if control is not None else [])]
            answer = self._request({"fork": boot}, passed)
        except BaseException:
            os.close(stdin)
            os.close(stdout)
            raise
        finally:
            os.close(its_stdin)
            os.close(its_stdout)
        return Fork(self, answer["pid"], stdin, stdout)

    def end(self, pid: int, *, wait: bool) -> int:
        """End a fork and everything that it started, and return its exit code; `wait`: once it has ended by itself."""
        try:
            code: int = self._request({"end": pid, "wait": wait})["code"]
        except SideStopped:  # the interpreter is gone
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            return -signal.SIGKILL
        return code

    def _request(self, asked: Mapping[str, object], descriptors: list[int] | None = None) -> Mapping[str, Any]:
        self._asked += 1
        message = json.dumps({**asked, "number": self._asked}).encode()
        try:
            socket.send_fds(self._connection, [message], descriptors or [])
            while said := self._connection.recv(1 << 16):
                answer: Mapping[str, Any] = json.loads(said)
                if answer["number"] == self._asked:  # others answer what was interrupted
                    return answer
        except OSError:
            pass
        raise SideStopped("the interpreter that sides are forked from was killed")

    def close(self) -> None:
        """Let the interpreter know that no more is asked: it ends, and its forks with it."""
        self._connection.close()


class Fork:
    """A fork of an interpreter, as `processes.Started` describes it."""

    def __init__(self, forks: Forks, pid: int, stdin: int, stdout: int):
        self._forks, self._pid = forks, pid
        self.stdin: IO[str] = open(stdin, "w", encoding="utf-8")
        self.stdout: IO[str] = open(stdout, encoding="utf-8", errors="replace")
        self._code: int | None = None

    def wait(self) -> int:
        """Wait until it has ended by itself."""
        if self._code is None:
            self._code = self._forks.end(self._pid, wait=True)
        return self._code

    def end(self) -> None:
        """End it and everything that it started."""
        if self._code is None:
            self._code = self._forks.end(self._pid, wait=False)
