"""A script as what is recorded: the variables of its own functions on the way to the training step."""

import sys
import types
from pathlib import Path
from typing import Any

from dora_repro.contracts import Value
from dora_repro.state.frames import Running, user_frames
from dora_repro.state.keys import key_text
from dora_repro.state.liveness import MODULE, overwritten_at


class Program:
    """Has one attribute for each function that is being executed, by its name: `main`, `train_epoch`.

    The script's own module is among them, by the name of its file, and so is what `record` named. A function that has
    returned keeps the variables that it ended with until a step ends without it on the way.
    """

    def __init__(self, named: dict[str, Value]):
        vars(self).update(named)

    def step(self) -> None:
        """Not called: a script does its steps by itself."""
        raise NotImplementedError("a script does its steps by itself")

    def look(self, frame: types.FrameType | None) -> None:
        """Take over the functions that lead to a frame, in place of those that led to the last one."""
        frames = user_frames(frame)
        running = [self._running(one, frames) for one in frames]
        for one in running:
            one.among = tuple(frames)
            one.place = one.frame.f_lasti, one.frame.f_lineno
        for name, known in [*vars(self).items()]:
            if isinstance(known, Running) and known not in running:
                del vars(self)[name]

    def _running(self, frame: types.FrameType, among: list[types.FrameType]) -> Running:
        """The attribute of a function: the same object each time, so that nothing looks changed when it is called."""
        attributes = vars(self)
        number, name = 1, name_of(frame)
        while True:
            free = name if number == 1 else f"{name}#{number}"
            known = attributes.get(free)
            if known is None:
                known = attributes[free] = Running(frame)
                return known
            if isinstance(known, Running) and known.frame.f_code is frame.f_code:
                if known.frame is frame or known.frame not in among:
                    known.frame = frame
                    return known
            number += 1


def program_of(named: dict[str, Value], frame: types.FrameType | None) -> Program:
    """A program whose class has the functions, so that variables of modules which their code uses are found by it."""
    frames = [one for one in user_frames(frame) if one.f_code.co_name != MODULE]
    functions = {f"function_{index}": staticmethod(_function(one)) for index, one in enumerate(frames)}
    made: Any = type("Program", (Program,), {**functions, "__module__": "__main__"})
    program: Program = made(named)
    program.look(frame)
    return program


def overwritten_in(program: Program) -> list[str]:
    """The variables that the functions give another value before they read them, as from the last step's beginning."""
    running = ((name, one) for name, one in vars(program).items() if isinstance(one, Running))
    return [
        f"{name}/{key_text(variable)}"
        for name, one in running
        for variable in sorted(overwritten_at(one.frame.f_code, *one.place))
    ]


def _function(frame: types.FrameType) -> types.FunctionType:
    """A function of the code that a frame runs, to be read and not to be called."""
    code = frame.f_code
    cells = tuple(types.CellType() for _ in code.co_freevars)
    return types.FunctionType(code, frame.f_globals, code.co_name, None, cells)


def name_of(frame: types.FrameType) -> str:
    """The name of the function that a frame runs; of a module, that of its file."""
    name = frame.f_code.co_name
    if name == MODULE:
        file = frame.f_globals.get("__file__") or sys.argv[0]
        name = f"{Path(file).stem or 'script'}.py"
    return key_text(name)
