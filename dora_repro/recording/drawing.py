"""Which line drew random numbers: each draw with its generator, its count, and the operator or function.

Torch's draws are seen as operators. Numpy and Python's `random` have no hook, so the user's lines are traced, and the
states compared between any two. Nothing is drawn; what was patched and traced before is put back.

Not seen: draws of generators that are not watched, and of other processes (a loader's workers). On a line that draws
from one generator several times without torch, the draws are one entry; setting a generator to the state that it has is
no entry. Draws of other threads count for the line that was running. Lines of installed packages are not traced.
"""

import os
import random
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import frames_of_threads, get_frame
from dora_repro.recording import jsonl
from dora_repro.recording.user_frames import (
    Caller,
    Dispatched,
    Operation,
    caller,
    draws_random_numbers,
    innermost_user,
    is_user,
    line_text,
)
from dora_repro.state import rng
from dora_repro.state.draws import draws_between
from dora_repro.state.rng_fingerprint import LastRead
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]

FORMAT = "dora_repro/draws/1"
COUNTED = 1 << 16

# Numpy's private generators are set by compiled functions, which cannot be traced, so the text of the line decides.
_SETS = re.compile(r"seed\w*\(|set_?state\(|\.state\s*=")
_NUMPY_SETTERS = ("seed", "set_state")


@dataclass(frozen=True, slots=True)
class Draw:
    """Numbers that one generator gave at one place, or its being set.

    Attributes:
        generator: path, as `rng/torch.cpu` or `loader/generator`.
        draws: the number of outputs of the generator (see `state/draws.py`). 0 where it gave a number that it had left
            over (the second of two normal ones); None where it was set, where the number is unknown, and for a mask or
            noise of more than `COUNTED` numbers, which take longer to count than to draw.
        kind: `draw`, or `set` where it was seeded or given a state.
        operator: torch's, as `aten.bernoulli_.float`; empty for draws that are not torch's.
        function: the innermost library function of the call, or the one of Python's `random`; empty where not known.
        file: of the user's line that was running; empty where there is none.
        line: its number; 0 where there is none.
        text: the line itself; empty where there is none.
        where: the last mark set before.
    """

    generator: str
    draws: int | None
    kind: str
    operator: str
    function: str
    file: str
    line: int
    text: str
    where: str


def read(path: str | Path) -> list[Draw]:
    """Read what `DrawLog.write` wrote.

    Raises:
        BadInput: no such file, or not a whole log.
    """
    return jsonl.read(path, FORMAT, Draw)


class Generators:
    """Reads the states of all generators, global and of one run, by path: `Generators(run)()`.

    The run is walked once, and its generators remembered; `look` walks it anew.
    """

    def __init__(self, run: Value):
        self._run = run
        self.look()

    def look(self) -> None:
        """Find the run's generators, which may be others than before."""
        live = walk(run_roots(self._run), moving_only=True)
        paths = [path for path, leaf in live.items() if leaf.role == "generator" and path in live.others]
        self._readers = {path: _reader(live.others[path]) for path in paths}

    def __call__(self) -> dict[str, rng.State]:
        return _world() | {path: read() for path, read in self._readers.items()}


def _world() -> dict[str, rng.State]:
    return {f"rng/{name}": state for name, state in rng.capture_world().items()}


def _reader(generator: Value) -> Callable[[], rng.State]:
    remembered = isinstance(generator, (random.Random, np.random.RandomState))
    return partial(LastRead(rng.state_of) if remembered else rng.state_of, generator)


class DrawLog(AbstractContextManager["DrawLog"]):
    """Logs the draws on this thread while the context is open.

    Args:
        generators: returns the states to watch by path, as `Generators(run)` does. It is called between any two lines
            of the user's code, so it must be quick, and return states that do not change. By default, global ones
            alone.

    Attributes:
        draws: what was logged, in order.
    """

    def __init__(self, generators: Callable[[], Mapping[str, rng.State]] = _world):
        self.draws: list[Draw] = []
        self._generators = generators
        self._mode = Dispatched(self._run)
        self._where = ""
        self._states: dict[str, tuple[Value, rng.State]] = {}
        self._lines: dict[FrameType, int] = {}  # the line that each frame of the user's code is at
        self._set: set[str] = set()  # kinds of generators that were set since the last reading
        self._function = ""  # of Python's `random`, called since the last reading
        self._open = self._looking = False
        self._outer: list[tuple[FrameType, TraceFunction | None]] = []  # frames that ran before, and their traces
        self._previous = sys.gettrace()  # as it is when the context opens
        self._many = False  # whether an operator has just drawn more than are counted

    def __enter__(self) -> "DrawLog":
        self._states = self._read()
        self._open, self._process = True, os.getpid()
        self._mode.__enter__()
        self._patch_numpy()
        frame: FrameType | None = get_frame(1)
        while frame is not None:
            if is_user(frame):
                self._outer.append((frame, frame.f_trace))
                self._lines[frame] = frame.f_lineno
                frame.f_trace = self._line
            frame = frame.f_back
        self._previous = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._previous)
        self._open = False
        for outer, trace in self._outer:
            outer.f_trace = trace
        for module, name, real in self._patched:
            setattr(module, name, real)
        self._mode.__exit__(*error)
        frame = innermost_user(get_frame(1))
        self._look(_at(frame, None if frame is None else self._lines.get(frame)))
        self._lines.clear()
        self._outer.clear()
        # The log and what it patched refer to each other: that circle must not keep a run alive.
        self._states, self._generators = {}, _world

    def mark(self, where: str) -> None:
        """Begin another part, as `load` or `step 21`: the draws from now on are logged under it."""
        self._looking = True
        here = _at(innermost_user(get_frame(1)))
        self._look(here)
        look = getattr(self._generators, "look", None)
        if callable(look):
            look()
            self._set = {"python", "numpy", "torch"}  # a different generator in its place is no draw
            self._look(here)
        self._where, self._looking = where, False

    def write(self, path: str | Path) -> None:
        """Write the log as lines of JSON, atomically."""
        jsonl.write(path, FORMAT, self.draws)

    # --- looking -------------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, tuple[Value, rng.State]]:
        """Each state beside a value that is quickly compared."""
        try:
            states = self._generators()
        except Exception:  # of objects that are being built or loaded; the next reading will do
            return self._states
        return {name: (_bytes(state), state) for name, state in states.items()}

    def _look(self, here: Caller, operator: str = "") -> None:
        """Log what changed since the last reading."""
        before, self._states = self._states, self._read()
        for name, (now, state) in self._states.items():
            if name in before and before[name][0] is not now and before[name][0] != now:
                self._note(name, before[name][1], state, here, operator)
        self._set.clear()
        self._function = ""

    def _note(self, name: str, before: rng.State, now: rng.State, here: Caller, operator: str) -> None:
        kind = _kind(now)
        if kind == "torch" and not operator and _others_run():
            return
        draws = None
        # Torch draws by operators alone. Counting draws is slow between states that are no number of draws apart.
        was_set = not operator and (
            kind == "torch" or kind in self._set or (kind == "numpy" and _SETS.search(here.text) is not None)
        )
        if not was_set and not self._many:
            draws = draws_between(before, now)
            if draws is None or draws < 0:
                draws, was_set = None, not operator
        kind_of_entry = "set" if was_set else "draw"
        function = here.function or (self._function if kind == "python" else "")
        place = (function, here.file, here.line, here.text, self._where)
        self.draws.append(Draw(name, draws, kind_of_entry, operator, *place))

    # --- torch ---------------------------------------------------------------------------------------------------

    def _run(self, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here = caller(get_frame(0)) if draws_random_numbers(func) else None
        if here is None:
            return func(*args, **kwargs)
        self._quietly(Caller(here.file, here.line, here.text))
        result = None
        try:
            result = func(*args, **kwargs)
            return result
        finally:
            self._many = _many(result)
            self._quietly(here, str(func))
            self._many = False

    def _quietly(self, here: Caller, operator: str = "") -> None:
        """Look without being traced, in case `generators` is the user's code."""
        self._looking = True
        self._look(here, operator)
        self._looking = False

    # --- the user's lines ----------------------------------------------------------------------------------------

    def _call(self, frame: FrameType, event: str, arg: Value) -> TraceFunction | None:
        if os.getpid() != self._process:  # a worker that was forked meanwhile
            sys.settrace(None)
            return None
        if self._looking or event != "call":
            return None
        if is_user(frame):
            self._look(_at(innermost_user(frame.f_back)))
            self._lines[frame] = frame.f_lineno
            return self._line
        code, above = frame.f_code, frame.f_back
        if code.co_filename == random.__file__ and above and above.f_code.co_filename != random.__file__:
            self._function = f"random.{code.co_qualname}"
            if code.co_name in ("seed", "setstate"):
                self._set.add("python")
        return None

    def _line(self, frame: FrameType, event: str, arg: Value) -> TraceFunction | None:
        """What changed since the last event happened while the line before was running."""
        if not self._open or event not in ("line", "return"):
            return self._line if self._open else None
        self._look(_at(frame, self._lines.get(frame)))
        if event == "line":
            self._lines[frame] = frame.f_lineno
        else:
            self._lines.pop(frame, None)
        return self._line

    def _patch_numpy(self) -> None:
        """numpy's global generator is set by compiled functions, which no trace sees."""
        self._patched = [(module, name, getattr(module, name)) for module in _NUMPY for name in _NUMPY_SETTERS]
        for module, name, real in self._patched:
            setattr(module, name, partial(self._setting_numpy, real))

    def _setting_numpy(self, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._set.add("numpy")
        return real(*args, **kwargs)


_NUMPY = (np.random, np.random.mtrand)


def _at(frame: FrameType | None, line: int | None = None) -> Caller:
    """The place that a frame of the user's code is at."""
    if frame is None:
        return Caller()
    return Caller(frame.f_code.co_filename, line or frame.f_lineno, line_text(frame, line))


def _others_run() -> bool:
    """Whether another thread is in the user's code."""
    frames = frames_of_threads()
    frames.pop(threading.get_ident())  # it would refer to itself
    return any(map(innermost_user, frames.values()))


def _bytes(state: rng.State) -> Value:
    return state.numpy().tobytes() if isinstance(state, torch.Tensor) else state


def _many(result: Value) -> bool:
    """Whether it is noise or a mask too large to be counted; integers are a seed or a permutation, and matter."""
    return isinstance(result, torch.Tensor) and result.is_floating_point() and result.numel() > COUNTED


def _kind(state: rng.State) -> str:
    if isinstance(state, torch.Tensor):
        return "torch"
    return "numpy" if type(state) is tuple and state[:1] == ("bit_generator",) else "python"
