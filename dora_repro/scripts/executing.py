"""Advised lines, executed with the names that they have where they would stand in a script."""

import ast
import builtins
import copy
import json
import os
import random
import signal
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy
import torch

from dora_repro.contracts import Value
from dora_repro.scripts.assignment import GivenLine
from dora_repro.scripts.placing import names_in, own_names, set_for_good
from dora_repro.state.frames import set_variable, user_frames

_NAMES = {"copy": copy, "np": numpy, "numpy": numpy, "random": random, "torch": torch}

Left = Callable[[dict[str, Any]], None]


class Execution:
    """Executes lines in this process.

    Args:
        state: the name that the checkpoint's dict has in them.
        left: leaves word of what became of them: by name, plain data.
        named: what the script named itself, by name.

    Attributes:
        busy: whether a line is being executed: what it saves and reads is its own.
        shared: what lines of load have beside the function's names: the checkpoint, its path, and what one line makes
            for the next; empty until the checkpoint was read.
        read_file: reads a file that torch wrote.
    """

    def __init__(self, state: str, left: Left, named: Mapping[str, Value]):
        self._state, self._left, self._named = state, left, named
        self.busy = False
        self.shared: dict[str, Value] = {}
        self.read_file: Callable[..., Any] = torch.load

    def run(self, line: GivenLine, frame: types.FrameType, shared: dict[str, Value] | None = None) -> None:
        """Run a line with the names of a function, and set what it assigned there.

        Args:
            line: the line.
            frame: that runs the function.
            shared: what it has beside the function's names; by default that of the lines of load.
        """
        local, shared = frame.f_locals, self.shared if shared is None else shared
        self.busy = True
        try:
            own = {self._state: self._content(line.file)} if line.file else {}
            names = {**_NAMES, **self._named, **frame.f_globals, **local, **shared, **own}
            names = {**self._around(line, frame), **names}
            before = dict(names)
            exec(compile(line.code, "<advised line>", "exec"), names)
        except Exception as error:
            self.stop(error=f"{type(error).__name__}: {error}")
            return
        finally:
            self.busy = False
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

    def _around(self, line: GivenLine, frame: types.FrameType) -> dict[str, Value]:
        """The variables of the functions around a frame, for a line that is of no function: `trainer`, by which the
        script calls the object that one of its methods saves."""
        wanted = set[str]() if line.function else names_in(line.code, ast.Load)
        frames = user_frames(frame) if wanted else []
        return {name: value for one in frames for name, value in one.f_locals.items() if name in wanted}

    def misses(
        self, lines: Iterable[GivenLine], frame: types.FrameType, shared: dict[str, Value] | None = None
    ) -> bool:
        """Whether something that lines name does not exist yet in the function of a frame; `shared` as of `run`."""
        shared = self.shared if shared is None else shared
        known = {*_NAMES, *self._named, *frame.f_globals, *frame.f_locals, *shared, *dir(builtins)}
        known.add(self._state)
        for line in lines:
            stored = names_in(line.code, ast.Store)
            known |= self._around(line, frame).keys()
            if not (names_in(line.code, ast.Load) | (set_for_good(line.code) & own_names(frame))) <= known:
                return True
            known |= stored
        return False

    def _content(self, file: str) -> Value:
        """What a file of the checkpoint holds that the script has not read."""
        if file.endswith(".json"):
            with open(file, encoding="utf-8") as opened:
                return json.load(opened)
        if file.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(file)
        return self.read_file(file)

    def stop(self, **about: str) -> None:
        """Leave word, and end the process: nothing that it could still do would tell anything."""
        self._left(dict(about))
        os.kill(os.getpid(), signal.SIGKILL)
