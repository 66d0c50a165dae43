"""Where in a user's own code a checkpoint is written or read, or a loop over a loader begins: as file and line."""

import os
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from dora_repro.explain.advice.expressions import of_function
from dora_repro.state.frames import user_frames

_RECORDER = ("dora_repro.scripts.", "dora_repro.recording.")  # its wrappers lie between
MODULE = "<module>"
_LONG = 60  # characters of a line of code


class Call(TypedDict):
    """A line of the user's own code that called something.

    Attributes:
        file: absolute.
        line: its number.
        function: the name of the function that it is in.
    """

    file: str
    line: int
    function: str


def call_of(frame: types.FrameType | None) -> Call | None:
    """The innermost line of the user's own code that led to a frame; None where none did."""
    own = own_frame(frame)
    if own is None:
        return None
    code = own.f_code
    return {"file": os.path.abspath(code.co_filename), "line": own.f_lineno, "function": code.co_name}


def own_frame(frame: types.FrameType | None) -> types.FrameType | None:
    """The innermost function of the user's own that led to a frame; None where none did."""
    own = (one for one in reversed(user_frames(frame)) if not _is_recorder(one))
    return next(own, None)


def _is_recorder(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_RECORDER)


def function_of(call: Call) -> str:
    """The name of the function that a line is in, as `program.py` names it: of a module, that of its file."""
    return f"{Path(call['file']).stem}.py" if call["function"] == MODULE else call["function"]


def place(call: Call) -> str:
    """File, line and function: `train.py:66, in save()`."""
    file = Path(call["file"])
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else Path(file.name)
    inside = "" if call["function"] == MODULE else f", in {of_function(call['function'])}"
    return f"{shown}:{call['line']}{inside}"


def place_of_last(calls: Sequence[Call], loop: Call | None) -> str:
    """The place of the last of several calls; empty where there are none, or where that line leads to the loop over the
    loader as well: a library saves in there, and no line of the script goes in between."""
    return place(calls[-1]) if calls and calls[-1] != loop else ""


def with_code(call: Call) -> str:
    """The place, and what stands there: ``train.py:66, in save() (`torch.save(state, path)`)``."""
    code = _code_of(call)
    return f"{place(call)} (`{code}`)" if code else place(call)


def _code_of(call: Call) -> str:
    """The line as it stands in the file; empty where it cannot be read."""
    try:
        lines = Path(call["file"]).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    code = lines[call["line"] - 1].strip() if call["line"] <= len(lines) else ""
    return code if len(code) <= _LONG else f"{code[:_LONG].rstrip()}…"


def listed(calls: Iterable[Call]) -> str:
    """Several of them in words, each once, with their code."""
    *first, last = [*dict.fromkeys(map(with_code, calls))] or [""]
    return f"{', '.join(first)} and {last}" if first else last
