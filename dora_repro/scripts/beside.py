"""Lines of save that write a file of their own: when they run, and that what they wrote follows what it lies beside."""

import functools
import os
import sys
import types
from collections.abc import Callable, Collection
from typing import Any

from dora_repro.scripts.calls import Call, call_of, own_frame
from dora_repro.scripts.placing import Region, statement_of

_MORE = ".more"  # what the name of the file beside ends with

Then = Callable[[str, types.FrameType, Call], None]


class AfterWriting:
    """Tells when a statement of the script is over that opened a file for writing, other than by `torch.save`.

    Args:
        wrote: (file, line) of the statements that are meant.
        then: is told the path of the file, the frame of the function and the line.
    """

    def __init__(self, wrote: Collection[tuple[str, int]], then: Then):
        self._wrote, self._then = wrote, then
        self._written: dict[types.FrameType, tuple[str, Call, Region]] = {}

    def opened(self, path: str, frame: types.FrameType) -> None:
        """A file is opened for writing, by a frame."""
        call, own = call_of(frame), own_frame(frame)
        if call is None or own is None or (call["file"], call["line"]) not in self._wrote:
            return
        self._written[own] = path, call, statement_of(own)
        own.f_trace = self._trace
        if sys.gettrace() is None:
            sys.settrace(_follow_none)

    def renamed(self, old: str, new: str) -> None:
        """A file was renamed, or a folder: before the statement is over that opened it, as DCP does."""
        for frame, (path, call, region) in self._written.items():
            if path == old or path.startswith(f"{old}{os.sep}"):
                self._written[frame] = new + path.removeprefix(old), call, region

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """A line of the function is about to be executed, or it returns."""
        if frame not in self._written:  # done, while another function is still traced: Python asks this one, too
            return None
        path, call, region = self._written[frame]
        if event != "return" and not (event == "line" and not region.has(frame.f_lineno)):
            return self._trace
        del self._written[frame]
        if not self._written and sys.gettrace() is _follow_none:
            sys.settrace(None)
        self._then(path, frame, call)
        return None


def _follow_none(frame: types.FrameType, event: str, arg: Any) -> None:
    """A function is called: its lines are of no interest."""


def keep_together(renamed: Callable[[str, str], None]) -> None:
    """Let what lies beside a file be renamed with it: lines that follow the renaming would write it there.

    Args:
        renamed: is told the real path of what was renamed, and its new one.
    """
    for name in ("rename", "replace"):
        setattr(os, name, _with_more(getattr(os, name), renamed))


def _with_more(real: Callable[..., None], renamed: Callable[[str, str], None]) -> Callable[..., None]:
    @functools.wraps(real)
    def renaming(src: Any, dst: Any, **options: Any) -> None:
        named = not options and isinstance(src, (str, os.PathLike))
        was = os.path.realpath(src) if named else ""
        real(src, dst, **options)
        if named:
            renamed(was, os.path.realpath(dst))
            if os.path.exists(more := f"{os.fspath(src)}{_MORE}"):
                real(more, f"{os.fspath(dst)}{_MORE}")

    return renaming
