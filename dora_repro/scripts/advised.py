"""Advised lines in a launched script, run where they would stand in it; its files stay as they are.

Lines of save run just before the checkpoint is written, on the dict that is passed. Lines of load run once the script
has taken out of the checkpoint what it takes (`waiting.py`), in the function whose variables they name.
"""

import contextlib
import copy
import functools
import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.explain.advice.expressions import of_function
from dora_repro.explain.advice.handed_over import MORE
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.scripts.assignment import GivenLines
from dora_repro.scripts.beside import AfterWriting, keep_together
from dora_repro.scripts.calls import Call, call_of, place
from dora_repro.scripts.executing import Execution, Left
from dora_repro.scripts.files import Files, path_of
from dora_repro.scripts.waiting import Waiting, frames_of, place_of
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.tree import flatten

_RNG = "rng/"


class Advised:
    """Runs advised lines in this process.

    Args:
        given: the lines, and the calls that they belong to.
        left: leaves word of what became of them: by name, plain data.
        named: what the script named itself, by name.
    """

    def __init__(self, given: GivenLines, left: Left, named: Mapping[str, Value]):
        self._given, self._left, self._named = given, left, named
        self._execution = Execution(given.state, left, named)
        self._waiting = Waiting(given.load, self._execution, left, named)
        self._saving = False
        self._after_writing = AfterWriting(given.wrote, self._save_beside)
        self._untouched: dict[str, Value] = {}  # the checkpoint as it was read, which the script has not got

    def install(self, files: Files) -> None:
        """Listen to `torch.save` and `torch.load`, and to what else opens files."""
        real_save, real_load = torch.save, torch.load
        self._execution.read_file = real_load
        files.listeners.append(self._on_file)
        if self._given.beside and self._given.save:
            keep_together(self._after_writing.renamed)

        @functools.wraps(real_save)
        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            call = None if self._execution.busy or not self._given.save else call_of(get_frame(1))
            if call is None or (call["file"], call["line"]) not in self._given.wrote:
                return real_save(obj, f, *args, **kwargs)
            if self._given.beside and path_of(f) is None:  # into a stream: whose file it is, opening that tells
                return real_save(obj, f, *args, **kwargs)
            if self._given.beside:
                self._saving = True
                try:
                    result = real_save(obj, f, *args, **kwargs)
                finally:
                    self._saving = False
                self._save_beside(path_of(f), get_frame(1), call)
                return result
            obj = copy.copy(obj)
            self._save({self._given.state: obj} if isinstance(obj, dict) else None, get_frame(1), call)
            return real_save(obj, f, *args, **kwargs)

        @functools.wraps(real_load)
        def load(f: Any, *args: Any, **kwargs: Any) -> Any:
            value = real_load(f, *args, **kwargs)
            if self._given.needs_value and self._is_awaited(f, get_frame(1)):
                if isinstance(f, (str, os.PathLike)):
                    self._untouched = {self._given.state: real_load(f, *args, **kwargs)}
                self._begin({self._given.state: value, "path": self._given.beside or f}, get_frame(1))
            return value

        torch.save, torch.load = save, load

    def _on_file(self, kind: str, path: str, frame: types.FrameType) -> None:
        """A file is opened, by a frame."""
        if kind == "read" and not self._given.needs_value and self._is_awaited(path, frame):
            self._begin({"path": self._given.beside}, frame)
        elif kind == "wrote" and self._given.beside and self._given.save and not (self._execution.busy or self._saving):
            self._after_writing.opened(path, frame)

    def first_step(self, frame: types.FrameType | None) -> None:
        """Training begins, in a frame: lines of load that have not run do so here; where they cannot, it is too late
        for them."""
        if self._given.load and not self._execution.shared:
            how = "call torch.load" if self._given.needs_value else "read it"
            self._execution.stop(why=f"the resume command did not {how} where the checkpoint had been read")
        self._waiting.first_step(frame)

    def once_more(self, frame: types.FrameType | None, differing: Callable[[Iterable[str]], dict[str, bytes]]) -> None:
        """Run those lines of load again whose state has changed since, just before the first training forward pass.

        That is done for values that the checkpoint holds as they have to be here, and for generators. Where one of
        these is then not as wanted either, it is left as it was: what lies between has to draw.

        Args:
            frame: that makes the pass.
            differing: tells which leaves are not now as in the uninterrupted run, with their digests there.
        """
        paths = [path for line in self._given.load for path in line.leaves]
        if self._waiting.left or not self._waiting.places or not (wanted := differing(paths)):
            return
        there = _digests(self._untouched)
        apart = {path for path, found in wanted.items() if path.startswith(_RNG) or found in there}
        frames, world = frames_of(frame) if frame is not None else {}, rng.capture_world()
        lines = [line for line in self._given.load if any(path in apart for path in line.leaves)]
        shared = {**self._execution.shared, **self._untouched}
        lines = [line for line in lines if not line.function or line.function in frames]
        anew = [line for line in self._given.load if lines and line.code.startswith(f"{MORE} = ")]
        for line in (*anew, *lines):
            self._execution.run(line, frames.get(line.function) or next(reversed(frames.values())), shared)
        still = differing(paths)
        drawn = {path for path in paths if path.startswith(_RNG) and path in still}
        lines = [line for line in lines if not drawn.intersection(line.leaves)]
        rng.restore_world({name: state for name, state in world.items() if f"{_RNG}{name}" in drawn})
        if lines:
            shown = ", ".join(f"`{line.code}`" for line in lines)
            self._left({"again": {"lines": shown, "at": place_of(frame)}})

    # --- save --------------------------------------------------------------------------------------------------------

    def _save_beside(self, path: str | None, frame: types.FrameType, call: Call) -> None:
        """A file of the checkpoint was written: lines write one of their own beside it, or beside its folder."""
        at = path and (os.path.dirname(path) if self._given.folder else path)
        self._save({"path": at} if at else None, frame, call)

    def _save(self, given: dict[str, Value] | None, frame: types.FrameType, call: Call) -> None:
        if given is None:
            what = "it is not written to a path" if self._given.beside else "what is written there is no dict"
            self._execution.stop(why=f"{place(call)}: {what}")
            return
        frames = frames_of(frame)
        shared = dict(given)
        for line in self._given.save:
            holder = frames.get(line.function) if line.function else next(reversed(frames.values()), None)
            if holder is None and line.function not in self._named:
                self._execution.stop(why=f"{of_function(line.function)} is not running where the checkpoint is written")
                return
            if not line.function and self._execution.misses([line], frame, shared):
                self._execution.stop(why=f"{place(call)}: no variable leads there to what `{line.code}` names")
                return
            self._execution.run(line, holder or frame, shared)
        self._left({"saved": place(call)})

    # --- load --------------------------------------------------------------------------------------------------------

    def _is_awaited(self, file: Any, frame: types.FrameType) -> bool:
        """Whether a frame reads what lines of load wait for."""
        if self._execution.busy or not self._given.load or self._execution.shared:
            return False
        if isinstance(file, (str, os.PathLike)) and os.path.realpath(os.fspath(file)) not in self._given.files:
            return False
        call = call_of(frame)
        return call is not None and (call["file"], call["line"]) in self._given.read

    def _begin(self, given: dict[str, Value], frame: types.FrameType) -> None:
        """The checkpoint has been read, by a frame: from now on lines of load wait for their place."""
        self._execution.shared = given
        self._waiting.begin(frame)


def _digests(value: Value) -> set[bytes]:
    """The digests of all that a checkpoint holds."""
    found = set()
    for _, item in flatten(value):
        with contextlib.suppress(TypeError):  # an array of Python objects
            found.add(digest(item))
    return found
