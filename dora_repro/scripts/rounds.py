"""The round of a script's loop that follows a save: a moment at which state can be kept, and put in.

Before the first training forward pass of that round much may have happened that depends on what was lost: an agent has
acted by its network, samples were drawn from a buffer. At the beginning of the round nothing has. It is known by its
line: the first one of the loop's body; or, where the loop saves before it trains, that of the statement after the one
that saves. A script that resumes comes by there, too.
"""

import ast
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dora_repro.contracts import Value
from dora_repro.scripts.assignment import Round
from dora_repro.scripts.files import Files, may_be_checkpoint
from dora_repro.state.frames import user_frames

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_NO_LINE = (ast.Global, ast.Nonlocal, ast.Pass)  # nothing is executed there


class Rounds:
    """Meets a round in this process, once.

    Args:
        reached: called with the round and its frame, before the line is executed.
    """

    def __init__(self, reached: Callable[[Round, types.FrameType], None]):
        self._reached = reached
        self._wanted: Round | None = None
        self._met = False

    def after_save(
        self, files: Files, out: Path, wanted: Callable[[], bool], passes: Callable[[], Mapping[Any, int]]
    ) -> None:
        """Meet the round that follows a save, by whatever library it is written.

        Args:
            files: tells of the files that are opened.
            out: the folder that checkpoints are written to.
            wanted: tells whether a checkpoint that is written now is the one.
            passes: tells the frames that led to the last training forward pass, each with its line then.
        """
        prefix = f"{os.path.realpath(out)}{os.sep}"

        def opened(kind: str, path: str, frame: types.FrameType) -> None:
            if kind == "wrote" and path.startswith(prefix) and may_be_checkpoint(path) and wanted():
                self.after(frame, passes())

        files.listeners.append(opened)

    def after(self, frame: types.FrameType | None, trained: Mapping[Any, int]) -> None:
        """Meet the round that follows what a frame does now.

        Args:
            frame: that saves; or makes an update, where only a run that is sent a signal saves then.
            trained: the frames that led to the last training forward pass, each with its line then.
        """
        both = [one for one in user_frames(frame) if one in trained]
        if both and (found := round_of(both[-1], both[-1].f_lineno, trained[both[-1]])) is not None:
            self._wait(found, frame)

    def after_load(self, files: Files, wanted: Round, paths: tuple[str, ...]) -> None:
        """Meet a round that is known, once one of these files has been read."""

        def opened(kind: str, path: str, frame: types.FrameType) -> None:
            if kind == "read" and path in paths and not self._met:
                self._wait(wanted, frame)

        files.listeners.append(opened)

    def _wait(self, wanted: Round, frame: types.FrameType | None) -> None:
        self._wanted = wanted
        for one in user_frames(frame):
            if _is_of(wanted, one):
                one.f_trace = self._trace
        sys.settrace(self._trace_calls)

    def _trace_calls(self, frame: types.FrameType, event: str, arg: Value) -> Any:
        return self._trace if self._wanted is not None and _is_of(self._wanted, frame) else None

    def _trace(self, frame: types.FrameType, event: str, arg: Value) -> Any:
        wanted = self._wanted
        if wanted is None or event != "line" or frame.f_lineno != wanted.line:
            return self._trace
        self._wanted, self._met = None, True
        sys.settrace(None)
        self._reached(wanted, frame)
        return None


def round_of(frame: types.FrameType, saved: int, trained: int) -> Round | None:
    """The round that follows a save in the function of a frame.

    Args:
        frame: the innermost one that both led to the training step and to the save.
        saved: its line when the checkpoint was written.
        trained: its line at the last training forward pass.

    Returns:
        None where no loop of the function has both lines, or its source cannot be read.
    """
    try:
        tree = ast.parse(Path(_file_of(frame)).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    loops = [node for node in ast.walk(tree) if isinstance(node, _LOOPS) and _has(node, saved) and _has(node, trained)]
    if not loops:
        return None
    loop = max(loops, key=lambda node: node.lineno)
    line = _after_saving(loop.body, saved, trained) or _first_line(loop.body)
    return Round(_file_of(frame), frame.f_code.co_name, line)


def _after_saving(body: list[ast.stmt], saved: int, trained: int) -> int | None:
    """The line of the statement after the one that saves, where a block saves before it trains; None where it does
    not."""
    for block in _blocks(body):
        save = next((index for index, one in enumerate(block) if _has(one, saved)), None)
        train = next((index for index, one in enumerate(block) if _has(one, trained)), None)
        if save is not None and train is not None and save != train:
            return _first_line(block[save + 1 :]) if save < train else None
    return None


def _blocks(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """A block and those inside it."""
    yield body
    for statement in body:
        for part in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            for field in ("body", "orelse", "finalbody"):
                if inner := getattr(part, field, None):
                    yield from _blocks(inner)


def _first_line(block: list[ast.stmt]) -> int:
    """The line of the first statement that is executed."""
    executed = (one for one in block if not isinstance(one, _NO_LINE) and not _is_text(one))
    return next(executed, block[0]).lineno


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _has(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _is_of(wanted: Round, frame: types.FrameType) -> bool:
    """Whether a frame runs the function with the loop."""
    return frame.f_code.co_name == wanted.function and _file_of(frame) == wanted.file


def _file_of(frame: types.FrameType) -> str:
    return os.path.abspath(frame.f_code.co_filename)
