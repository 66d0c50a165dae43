"""Advised lines in a launched script, run where they would stand in it; its files stay as they are.

Lines of save run just before the checkpoint is written, on the dict that is passed. Lines of load run once the script
has taken out of the checkpoint what it takes (`placing.py`), in the function whose variables they name.
"""

import ast
import builtins
import contextlib
import copy
import functools
import json
import os
import random
import signal
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
import torch

from dora_repro.contracts import Value
from dora_repro.explain.advice.expressions import of_function
from dora_repro.explain.advice.handed_over import MORE
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.scripts.assignment import GivenLine, GivenLines
from dora_repro.scripts.beside import AfterWriting, keep_together
from dora_repro.scripts.calls import Call, call_of, place
from dora_repro.scripts.files import Files, path_of
from dora_repro.scripts.placing import Region, getting, names_in, own_names, region_before_loop, statement_of
from dora_repro.scripts.program import name_of
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.frames import set_variable, user_frames
from dora_repro.state.tree import flatten

_RNG = "rng/"
_NAMES = {"copy": copy, "np": numpy, "numpy": numpy, "random": random, "torch": torch}


@dataclass
class _Waiting:
    """Lines of load that wait for their place.

    Attributes:
        function: the name of the function whose variables they name; empty for any.
        names: the frame of that function; None until it begins.
        frame: of the function that they wait in: where the checkpoint is read, or the former.
        region: the lines of the script that they follow there.
        lines: the lines.
    """

    function: str
    names: types.FrameType | None
    frame: types.FrameType | None
    region: Region
    lines: list[GivenLine] = field(default_factory=list)


class Advised:
    """Runs advised lines in this process.

    Args:
        given: the lines, and the calls that they belong to.
        left: leaves word of what became of them: by name, plain data.
        named: what the script named itself, by name.
    """

    def __init__(self, given: GivenLines, left: Callable[[dict[str, Any]], None], named: Mapping[str, Value]):
        self._given, self._left, self._named = given, left, named
        self._busy = False
        self._waiting: list[_Waiting] = []
        self._shared: dict[str, Value] = {}  # `state`, `path`, and what one line makes for the next
        self._places: list[str] = []
        self._saving = False
        self._read_file: Callable[..., Any] = torch.load
        self._after_writing = AfterWriting(given.wrote, self._save_beside)
        self._untouched: dict[str, Value] = {}  # the checkpoint as it was read, which the script has not got

    def install(self, files: Files) -> None:
        """Listen to `torch.save` and `torch.load`, and to what else opens files."""
        real_save, real_load = torch.save, torch.load
        self._read_file = real_load
        files.listener = self._on_file
        if self._given.beside and self._given.save:
            keep_together()

        @functools.wraps(real_save)
        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            call = None if self._busy or not self._given.save else call_of(get_frame(1))
            if call is None or (call["file"], call["line"]) not in self._given.wrote:
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
                self._wait({self._given.state: value, "path": self._given.beside or f}, get_frame(1))
            return value

        torch.save, torch.load = save, load

    def _on_file(self, kind: str, path: str, frame: types.FrameType) -> None:
        """A file is opened, by a frame."""
        if kind == "read" and not self._given.needs_value and self._is_awaited(path, frame):
            self._wait({"path": self._given.beside}, frame)
        elif kind == "wrote" and self._given.beside and self._given.save and not (self._busy or self._saving):
            self._after_writing.opened(path, frame)

    def first_step(self, frame: types.FrameType | None) -> None:
        """Training begins, in a frame: lines of load that have not run do so here; where they cannot, it is too late
        for them."""
        if self._given.load and not self._shared:
            how = "call torch.load" if self._given.needs_value else "read it"
            self._stop(why=f"the resume command did not {how} where the checkpoint had been read")
        frames = _frames(frame) if self._waiting and frame is not None else {}
        for one in [*self._waiting]:
            holder = frames.get(one.function) or one.names
            if holder is None or self._misses(replace(one, names=holder)):
                continue
            self._waiting.remove(one)
            for line in one.lines:
                self._run(line, holder, self._shared)
            self._places.append(_place_of(frame))
            self._left({"loaded": self._places})
        if self._waiting:
            names = ", ".join(of_function(one.function) if one.function else "the script" for one in self._waiting)
            self._stop(why=f"training began before their place was reached in {names}")

    def once_more(self, frame: types.FrameType | None, differing: Callable[[Iterable[str]], dict[str, bytes]]) -> None:
        """Run those lines of load again whose state has changed since, just before the first training forward pass.

        That is done for values that the checkpoint holds as they have to be here, and for generators. Where one of
        these is then not as wanted either, it is left as it was: what lies between has to draw.

        Args:
            frame: that makes the pass.
            differing: tells which leaves are not now as in the uninterrupted run, with their digests there.
        """
        paths = [path for line in self._given.load for path in line.leaves]
        if self._waiting or not self._places or not (wanted := differing(paths)):
            return
        there = _digests(self._untouched)
        apart = {path for path, found in wanted.items() if path.startswith(_RNG) or found in there}
        frames, world = _frames(frame) if frame is not None else {}, rng.capture_world()
        lines = [line for line in self._given.load if any(path in apart for path in line.leaves)]
        shared = {**self._shared, **self._untouched}
        lines = [line for line in lines if not line.function or line.function in frames]
        anew = [line for line in self._given.load if lines and line.code.startswith(f"{MORE} = ")]
        for line in (*anew, *lines):
            self._run(line, frames.get(line.function) or next(reversed(frames.values())), shared)
        still = differing(paths)
        drawn = {path for path in paths if path.startswith(_RNG) and path in still}
        lines = [line for line in lines if not drawn.intersection(line.leaves)]
        rng.restore_world({name: state for name, state in world.items() if f"{_RNG}{name}" in drawn})
        if lines:
            shown = ", ".join(f"`{line.code}`" for line in lines)
            self._left({"again": {"lines": shown, "at": _place_of(frame)}})

    # --- save --------------------------------------------------------------------------------------------------------

    def _save_beside(self, path: str | None, frame: types.FrameType, call: Call) -> None:
        """A file of the checkpoint was written: lines write one of their own beside it, or beside its folder."""
        at = path and (os.path.dirname(path) if self._given.folder else path)
        self._save({"path": at} if at else None, frame, call)

    def _save(self, given: dict[str, Value] | None, frame: types.FrameType, call: Call) -> None:
        if given is None:
            what = "it is not written to a path" if self._given.beside else "what is written there is no dict"
            self._stop(why=f"{place(call)}: {what}")
            return
        frames = _frames(frame)
        shared = dict(given)
        for line in self._given.save:
            holder = frames.get(line.function) if line.function else next(reversed(frames.values()), None)
            if holder is None and line.function not in self._named:
                self._stop(why=f"{of_function(line.function)} is not running where the checkpoint is written")
                return
            self._run(line, holder or frame, shared)
        self._left({"saved": place(call)})

    # --- load --------------------------------------------------------------------------------------------------------

    def _is_awaited(self, file: Any, frame: types.FrameType) -> bool:
        """Whether a frame reads what lines of load wait for."""
        if self._busy or not self._given.load or self._shared:
            return False
        if isinstance(file, (str, os.PathLike)) and os.path.realpath(os.fspath(file)) not in self._given.files:
            return False
        call = call_of(frame)
        return call is not None and (call["file"], call["line"]) in self._given.read

    def _wait(self, given: dict[str, Value], frame: types.FrameType) -> None:
        """The checkpoint has been read: find where the lines of load are to run."""
        self._shared = given
        frames = _frames(frame)
        groups: dict[str, list[GivenLine]] = {}
        for line in self._given.load:
            groups.setdefault(line.function, []).append(line)
        try:
            self._waiting = [self._place_for(function, lines, frames) for function, lines in groups.items()]
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            self._stop(why=f"the source around the call that reads the checkpoint cannot be read ({error})")
        for one in self._waiting:
            if one.frame is not None:
                one.frame.f_trace = self._trace
        sys.settrace(self._trace_calls)

    def _place_for(self, function: str, lines: list[GivenLine], frames: Mapping[str, types.FrameType]) -> _Waiting:
        """Where lines are to wait: in the function that reads the checkpoint, if they set no variable of another."""
        holder = frames.get(function)
        if holder is None and function and function not in self._named:
            return _Waiting(function, None, None, Region(0, 0), lines)
        reader, region = getting(frames)
        if holder in (None, reader):
            return _Waiting(function, reader, reader, region, lines)
        if not any(names_in(line.code, ast.Store) & own_names(holder) for line in lines):
            return _Waiting(function, holder, reader, region, lines)
        return _Waiting(function, holder, holder, statement_of(holder), lines)

    def _trace_calls(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """A function begins: one that lines wait for has its place before its first loop."""
        for one in self._waiting:
            if one.names is None and one.function == name_of(frame) and user_frames(frame)[-1:] == [frame]:
                one.names = one.frame = frame
                one.region = region_before_loop(frame.f_code.co_filename, frame.f_code.co_firstlineno)
                return self._trace
        return None

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """A line of a function is about to be executed, or the function returns."""
        for one in [*self._waiting]:
            if one.frame is not frame or event not in ("line", "return"):
                continue
            if event == "line" and one.region.has(frame.f_lineno):
                continue
            if self._misses(one):
                if event == "return" and one.names is not None and one.names is not frame:
                    one.frame, one.region, one.names.f_trace = one.names, statement_of(one.names), self._trace
                continue
            self._waiting.remove(one)
            for line in one.lines:
                self._run(line, one.names or frame, self._shared)
            code = frame.f_code
            at: Call = {"file": os.path.abspath(code.co_filename), "line": frame.f_lineno, "function": code.co_name}
            self._places.append(place(at))
            self._left({"loaded": self._places})
        if not self._waiting:
            sys.settrace(None)
            return None
        return self._trace

    def _misses(self, one: _Waiting) -> bool:
        """Whether something that the lines name does not exist yet."""
        frame = one.names or one.frame
        assert frame is not None
        known = {*_NAMES, *self._named, *frame.f_globals, *frame.f_locals, *self._shared, *dir(builtins)}
        known.add(self._given.state)
        for line in one.lines:
            stored = names_in(line.code, ast.Store)
            if not (names_in(line.code, ast.Load) | (stored & own_names(frame))) <= known:
                return True
            known |= stored
        return False

    # --- a line ------------------------------------------------------------------------------------------------------

    def _run(self, line: GivenLine, frame: types.FrameType, shared: dict[str, Value]) -> None:
        """Run a line with the names of a function, and set what it assigned there."""
        local = frame.f_locals
        self._busy = True
        try:
            own = {self._given.state: self._content(line.file)} if line.file else {}
            names = {**_NAMES, **self._named, **frame.f_globals, **local, **shared, **own}
            before = dict(names)
            exec(compile(line.code, "<advised line>", "exec"), names)
        except Exception as error:
            self._stop(error=f"{type(error).__name__}: {error}")
            return
        finally:
            self._busy = False
        names.pop("__builtins__", None)
        for name, value in names.items():
            if name in before and before[name] is value:
                continue
            if name in shared or (name not in local and name not in frame.f_globals):
                shared[name] = value
            elif name in local:
                set_variable(frame, name, value)
            else:
                frame.f_globals[name] = value

    def _content(self, file: str) -> Value:
        """What a file of the checkpoint holds that the script has not read."""
        if file.endswith(".json"):
            with open(file, encoding="utf-8") as opened:
                return json.load(opened)
        if file.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(file)
        return self._read_file(file)

    def _stop(self, **about: str) -> None:
        """Leave word, and end the process: nothing that it could still do would tell anything."""
        self._left(dict(about))
        os.kill(os.getpid(), signal.SIGKILL)


def _digests(value: Value) -> set[bytes]:
    """The digests of all that a checkpoint holds."""
    found = set()
    for _, item in flatten(value):
        with contextlib.suppress(TypeError):  # an array of Python objects
            found.add(digest(item))
    return found


def _place_of(frame: types.FrameType | None) -> str:
    """The line of the script that leads to a frame."""
    call = call_of(frame)
    return place(call) if call is not None else "its first line"


def _frames(frame: types.FrameType) -> dict[str, types.FrameType]:
    """The script's own functions that lead to a frame by name, the innermost last; of one name, the outermost."""
    frames: dict[str, types.FrameType] = {}
    for one in user_frames(frame):
        frames.setdefault(name_of(one), one)
    return frames
