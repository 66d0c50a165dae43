"""Advised lines in a launched script, run where they would stand in it; its files stay as they are.

Lines of save run just before the checkpoint is written, on the dict that is passed. Lines of load run once the script
has taken out of the checkpoint what it takes (`placing.py`), in the function whose variables they name.
"""

import ast
import builtins
import contextlib
import copy
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
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.scripts.assignment import GivenLines
from dora_repro.scripts.calls import Call, call_of, place
from dora_repro.scripts.placing import Region, region_after, region_before_loop
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
        lines: the code.
    """

    function: str
    names: types.FrameType | None
    frame: types.FrameType | None
    region: Region
    lines: list[str] = field(default_factory=list)


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
        self._untouched: dict[str, Value] = {}  # the checkpoint as it was read, which the script has not got

    def install(self) -> None:
        """Listen to `torch.save` and `torch.load`."""
        real_save, real_load = torch.save, torch.load

        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            call = None if self._busy or not self._given.save else call_of(get_frame(1))
            if call is None or (call["file"], call["line"]) not in self._given.wrote:
                return real_save(obj, f, *args, **kwargs)
            if self._given.beside:
                result = real_save(obj, f, *args, **kwargs)
                self._save({"path": os.fspath(f)} if isinstance(f, (str, os.PathLike)) else None, get_frame(1), call)
                return result
            obj = copy.copy(obj)
            self._save({self._given.state: obj} if isinstance(obj, dict) else None, get_frame(1), call)
            return real_save(obj, f, *args, **kwargs)

        def load(f: Any, *args: Any, **kwargs: Any) -> Any:
            value = real_load(f, *args, **kwargs)
            if not self._busy and self._given.load and not self._shared and self._is_checkpoint(f):
                call = call_of(get_frame(1))
                if call is not None and (call["file"], call["line"]) in self._given.read:
                    if isinstance(f, (str, os.PathLike)):
                        self._untouched = {self._given.state: real_load(f, *args, **kwargs)}
                    self._wait({self._given.state: value, "path": f}, get_frame(1))
            return value

        torch.save, torch.load = save, load

    def first_step(self, frame: types.FrameType | None) -> None:
        """Training begins, in a frame: lines of load that have not run do so here; where they cannot, it is too late
        for them."""
        if self._given.load and not self._shared:
            self._stop(why="the resume command did not call torch.load where the checkpoint had been read")
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
        for line in lines:
            self._run(line.code, frames.get(line.function) or next(reversed(frames.values())), shared)
        still = differing(paths)
        drawn = {path for path in paths if path.startswith(_RNG) and path in still}
        lines = [line for line in lines if not drawn.intersection(line.leaves)]
        rng.restore_world({name: state for name, state in world.items() if f"{_RNG}{name}" in drawn})
        if lines:
            shown = ", ".join(f"`{line.code}`" for line in lines)
            self._left({"again": {"lines": shown, "at": _place_of(frame)}})

    # --- save --------------------------------------------------------------------------------------------------------

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
            self._run(line.code, holder or frame, shared)
        self._left({"saved": place(call)})

    # --- load --------------------------------------------------------------------------------------------------------

    def _is_checkpoint(self, file: Any) -> bool:
        if not isinstance(file, (str, os.PathLike)):
            return True
        return os.path.realpath(os.fspath(file)) in self._given.files

    def _wait(self, given: dict[str, Value], frame: types.FrameType) -> None:
        """The checkpoint has been read: find where the lines of load are to run."""
        self._shared = given
        frames = _frames(frame)
        groups: dict[str, list[str]] = {}
        for line in self._given.load:
            groups.setdefault(line.function, []).append(line.code)
        try:
            self._waiting = [self._place_for(function, lines, frames) for function, lines in groups.items()]
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            self._stop(why=f"the source around the call that reads the checkpoint cannot be read ({error})")
        for one in self._waiting:
            if one.frame is not None:
                one.frame.f_trace = self._trace
        sys.settrace(self._trace_calls)

    def _place_for(self, function: str, lines: list[str], frames: Mapping[str, types.FrameType]) -> _Waiting:
        """Where lines are to wait: in the function that reads the checkpoint, if they set no variable of another."""
        holder = frames.get(function)
        if holder is None and function and function not in self._named:
            return _Waiting(function, None, None, Region(0, 0), lines)
        getting, region = _getting(frames)
        if holder in (None, getting):
            return _Waiting(function, getting, getting, region, lines)
        if not any(_names_in(line, ast.Store) & _own(holder) for line in lines):
            return _Waiting(function, holder, getting, region, lines)
        return _Waiting(function, holder, holder, _statement(holder), lines)

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
                    one.frame, one.region, one.names.f_trace = one.names, _statement(one.names), self._trace
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
        for line in one.lines:
            stored = _names_in(line, ast.Store)
            if not (_names_in(line, ast.Load) | (stored & _own(frame))) <= known:
                return True
            known |= stored
        return False

    # --- a line ------------------------------------------------------------------------------------------------------

    def _run(self, line: str, frame: types.FrameType, shared: dict[str, Value]) -> None:
        """Run a line with the names of a function, and set what it assigned there."""
        local = frame.f_locals
        names = {**_NAMES, **self._named, **frame.f_globals, **local, **shared}
        before = dict(names)
        self._busy = True
        try:
            exec(compile(line, "<advised line>", "exec"), names)
        except Exception as error:
            self._stop(error=f"{type(error).__name__}: {error}")
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


def _getting(frames: Mapping[str, types.FrameType]) -> tuple[types.FrameType, Region]:
    """The function that gets the checkpoint, and where lines would stand in it. One that only returns it is passed
    over."""
    for frame in reversed([*frames.values()]):
        if (region := region_after(frame.f_code.co_filename, frame.f_lineno)) is not None:
            return frame, region
    outermost = next(iter(frames.values()))
    return outermost, _statement(outermost)


def _statement(frame: types.FrameType) -> Region:
    """The statement that a function is executing."""
    found = region_after(frame.f_code.co_filename, frame.f_lineno, taking=False)
    return found or Region(frame.f_lineno, frame.f_lineno)


def _own(frame: types.FrameType) -> set[str]:
    """The variables of a function, also those that have no value yet."""
    code = frame.f_code
    if frame.f_locals is frame.f_globals:
        return {*frame.f_globals, *code.co_names}
    return {*code.co_varnames, *code.co_cellvars, *code.co_freevars}


def _names_in(line: str, context: type[ast.expr_context]) -> set[str]:
    """The names that a line of code loads or stores, but for those of comprehensions and lambdas inside it."""
    nodes = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)]
    stored = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    inner = {node.arg for node in ast.walk(ast.parse(line)) if isinstance(node, ast.arg)}
    found = {node.id for node in nodes if isinstance(node.ctx, context)} - inner
    return found - stored if context is ast.Load else found
