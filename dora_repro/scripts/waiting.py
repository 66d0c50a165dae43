"""Advised lines of load that wait for their place: until the script has taken out of a checkpoint what it takes."""

import os
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dora_repro.contracts import Value
from dora_repro.explain.advice.expressions import of_function
from dora_repro.scripts.assignment import GivenLine
from dora_repro.scripts.calls import Call, call_of, place
from dora_repro.scripts.executing import Execution, Left
from dora_repro.scripts.placing import Region, getting, own_names, region_before_loop, set_for_good, statement_of
from dora_repro.scripts.program import name_of
from dora_repro.state.frames import user_frames


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


class Waiting:
    """Waits for the places of lines in this process, and has them executed there.

    Args:
        lines: the lines of load.
        execution: executes them.
        left: leaves word of where they ran.
        named: what the script named itself, by name.

    Attributes:
        left: lines that have not run.
        places: where the others have.
    """

    def __init__(self, lines: Sequence[GivenLine], execution: Execution, left: Left, named: Mapping[str, Value]):
        self._lines, self._execution, self._leave_word, self._named = lines, execution, left, named
        self.left: list[_Waiting] = []
        self.places: list[str] = []

    def first_step(self, frame: types.FrameType | None) -> None:
        """Training begins, in a frame: lines that have not run do so here; where they cannot, it is too late."""
        frames = frames_of(frame) if self.left and frame is not None else {}
        for one in [*self.left]:
            holder = frames.get(one.function) or one.names
            if holder is None or self._misses(one, holder):
                continue
            self.left.remove(one)
            for line in one.lines:
                self._execution.run(line, holder)
            self.places.append(place_of(frame))
            self._leave_word({"loaded": self.places})
        if self.left:
            names = ", ".join(of_function(one.function) if one.function else "the script" for one in self.left)
            self._execution.stop(why=f"training began before their place was reached in {names}")

    def _misses(self, one: _Waiting, frame: types.FrameType) -> bool:
        return self._execution.misses(one.lines, frame)

    def begin(self, frame: types.FrameType) -> None:
        """The checkpoint has been read, by a frame: find where the lines are to run."""
        frames = frames_of(frame)
        groups: dict[str, list[GivenLine]] = {}
        for line in self._lines:
            groups.setdefault(line.function, []).append(line)
        try:
            self.left = [self._place_for(function, lines, frames) for function, lines in groups.items()]
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            self._execution.stop(why=f"the source around the call that reads the checkpoint cannot be read ({error})")
        for one in self.left:
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
        if not any(set_for_good(line.code) & own_names(holder) for line in lines):
            return _Waiting(function, holder, reader, region, lines)
        return _Waiting(function, holder, holder, statement_of(holder), lines)

    def _trace_calls(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """A function begins: one that lines wait for has its place before its first loop."""
        for one in self.left:
            if one.names is None and one.function == name_of(frame) and user_frames(frame)[-1:] == [frame]:
                one.names = one.frame = frame
                one.region = region_before_loop(frame.f_code.co_filename, frame.f_code.co_firstlineno)
                return self._trace
        return None

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """A line of a function is about to be executed, or the function returns."""
        for one in [*self.left]:
            if one.frame is not frame or event not in ("line", "return"):
                continue
            if event == "line" and one.region.has(frame.f_lineno):
                continue
            if self._misses(one, one.names or frame):
                if event == "return" and one.names is not None and one.names is not frame:
                    one.frame, one.region, one.names.f_trace = one.names, statement_of(one.names), self._trace
                continue
            self.left.remove(one)
            for line in one.lines:
                self._execution.run(line, one.names or frame)
            code = frame.f_code
            at: Call = {"file": os.path.abspath(code.co_filename), "line": frame.f_lineno, "function": code.co_name}
            self.places.append(place(at))
            self._leave_word({"loaded": self.places})
        if not self.left:
            sys.settrace(None)
            return None
        return self._trace


def place_of(frame: types.FrameType | None) -> str:
    """The line of the script that leads to a frame."""
    call = call_of(frame)
    return place(call) if call is not None else "its first line"


def frames_of(frame: types.FrameType) -> dict[str, types.FrameType]:
    """The script's own functions that lead to a frame by name, the innermost last; of one name, the outermost."""
    frames: dict[str, types.FrameType] = {}
    for one in user_frames(frame):
        frames.setdefault(name_of(one), one)
    return frames
