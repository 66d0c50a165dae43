"""Functions that are half done: suspended generators, coroutines and greenlets. Their variables, read and set.

A training loop's variables are state like any other. They can be set where the function has begun (`set_variable`);
where it stands in its code cannot, nor can the iterators that its `for` loops have on the frame's stack.
"""

import dis
import gc
import sys
import types
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import locals_to_fast
from dora_repro.state.assign import Setter
from dora_repro.state.attributes import is_users_module
from dora_repro.state.cells import cells_of
from dora_repro.state.keys import key_text
from dora_repro.state.rebuild import NotRestorable
from dora_repro.state.turns import turns
from dora_repro.state.waiting_call import WaitingCall, call_of
from dora_repro.state.walker import Reader, Walker

# Where a function stands, beside its variables: no variable can have such a name.
LINE, INSTRUCTION, POSITION = "(line)", "(instruction)", "(position)"
FINISHED_CALL = "finished greenlet"  # in place of the variables of a training function that has returned

# Frames of these are no part of a training loop: what calls the user's functions, and what they call.
_MACHINERY = (
    *sorted(sys.stdlib_module_names), "torch", "numpy", "greenlet", "gevent",
    "dora_repro.recording", "dora_repro.sides", "dora_repro.driving", "dora_repro.private_names",
    "dora_repro.scripts", "dora_repro.integrations",
)  # fmt: skip
_INSIDE = tuple(f"{module}." for module in _MACHINERY if module != "__main__")


def is_machinery(frame: types.FrameType) -> bool:
    """Whether a frame belongs to Python, torch or this kit, and not to a training loop."""
    return f"{frame.f_globals.get('__name__', '')}.".startswith(_INSIDE)


def set_variable(frame: types.FrameType, name: str, value: Value) -> None:
    """Set a local variable of a function that has begun and not ended.

    Raises:
        NotRestorable: the function has no such variable.
    """
    code = frame.f_code
    if frame.f_locals is frame.f_globals:  # the code of a module: its variables are the module's
        frame.f_globals[name] = value
        return
    if name not in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
        raise NotRestorable(f"{code.co_name}() has no variable {name!r}")
    variables = frame.f_locals
    variables[name] = value
    if sys.version_info < (3, 13):  # there f_locals is a copy; from 3.13 on it writes through (PEP 667)
        locals_to_fast(frame)


class Variables:
    """The variables of a function that is half done, as what holds them.

    Attributes:
        frame: of the function.
        begun: whether it has run; if not, it has its arguments alone.
        call: what it calls, where it waits before that begins.
    """

    def __init__(self, frame: types.FrameType, begun: bool = True, call: WaitingCall | None = None):
        self.frame, self.begun, self.call = frame, begun, call

    def put(self, name: str, value: Value) -> None:
        """Set one variable.

        Raises:
            NotRestorable: the function has no such variable, or will set it itself when it begins.
        """
        code = self.frame.f_code
        if not self.begun and name not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            raise NotRestorable(f"{code.co_name}() has not begun: it has no variables yet")
        set_variable(self.frame, name, value)
        if self.call is not None:
            self.call.follow(name, value)


class Running:
    """A function that is being executed, by its frame; the frame is another one each time the function is called.

    Attributes:
        frame: of the function.
        among: the frames that its variables may be shared with, its own included.
        place: the instruction that it was at, and its line, when it was looked at last.
    """

    def __init__(self, frame: types.FrameType):
        self.frame = frame
        self.among: tuple[types.FrameType, ...] = (frame,)
        self.place = frame.f_lasti, frame.f_lineno


def running_module(value: Value) -> Mapping[str, Value] | None:
    """The variables of a module that is being executed; None where the value is something else."""
    if type(value) is not Running or value.frame.f_locals is not value.frame.f_globals:
        return None
    return value.frame.f_globals


def user_frames(frame: types.FrameType | None) -> list[types.FrameType]:
    """The frames of a program's own functions that lead to a frame, the outermost first: none of a library."""
    return [function for function in _functions(frame) if not _is_of_library(function)]


class NotRunning:
    """In place of a function that is not half done: it has ended, or has not begun.

    Attributes:
        what: in words.
    """

    def __init__(self, what: str):
        self.what = what


def read_generator(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """A suspended Python generator or coroutine: where it stands, its variables, and what it waits for."""
    frame, inner = _frame_of(value), _inner_of(value)
    if frame is None:
        _not_running(walker, path, f"finished {_word(value)}", role)
        return
    walker.leaf(f"{path}/{LINE}", frame.f_lineno - frame.f_code.co_firstlineno, role, _refuse_to_move)
    walker.leaf(f"{path}/{INSTRUCTION}", frame.f_lasti, role, _refuse_to_move)
    local = _read_variables(walker, frame, path, role, (value, *_functions_in(frame)), _has_begun(value, frame))
    known = set(map(id, local.values()))
    if _frame_of(inner) is not None:
        walker.visit(inner, f"{path}/{key_text(_frame_of(inner).f_code.co_name)}()", None, role)
        known.add(id(inner))
    # What a `for` loop iterates over lies on the frame's stack, where no name reaches it.
    stack = [thing for thing in gc.get_referents(value) if id(thing) not in known and _is_iterator(thing)]
    for index, thing in enumerate(stack):
        walker.visit(thing, f"{path}/loop.{index}", None, role)


def read_greenlet(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """A suspended greenlet: the functions that it is in, the outermost first, each with its variables."""
    frame = value.gr_frame
    if frame is None:
        _not_running(walker, path, FINISHED_CALL if value.dead else "greenlet that has not begun", role)
        return
    functions = _functions(frame)
    names = [function.f_code.co_name for function in functions]
    # The one that the greenlet is named after, whatever calls it; else the outermost.
    named = path.rpartition("/")[2]
    main = names.index(named) if named in names else 0
    taken, places = {path}, []
    inside = [made for function in functions for made in _functions_in(function)]
    call = call_of(value)
    for number, (name, function) in enumerate(zip(names, functions, strict=True)):
        at = path
        if number != main:
            first = f"{path}/{key_text(name)}()"
            at = next(p for n in range(1, len(names) + 2) if (p := first if n == 1 else f"{first}#{n}") not in taken)
            taken.add(at)
        places.append(f"{name}, line {function.f_lineno - function.f_code.co_firstlineno}")
        calls = call if call is not None and call.caller is function else None
        read = partial(_read_variables, walker, function, at, role, inside, call=calls)
        # What the variables of a library's functions refer to has the name that the user's own give it.
        walker.later(read) if _is_of_library(function) and number != main else read()
        if calls is not None:  # after all variables: what one of them holds has its name
            walker.later(
                partial(walker.later, partial(_read_arguments, walker, calls, f"{at}/{key_text(calls.name)}()", role))
            )
    walker.leaf(f"{path}/{POSITION}", "; ".join(places), role, _refuse_to_move)


def _read_arguments(walker: Walker, call: WaitingCall, path: str, role: str) -> None:
    own = call.own()
    if own:
        walker.result.objects[path] = call
    for name, item in own.items():
        walker.visit(item, f"{path}/{key_text(name)}", walker.setter(call.put, name), role)


def read_running(walker: Walker, value: Running, path: str, hold: Setter, role: str) -> None:
    """A function that is being executed: its variables. Where it stands is not asked: it is where it calls from."""
    _read_variables(walker, value.frame, path, role, [made for frame in value.among for made in _functions_in(frame)])


def _refuse_to_move(place: object) -> None:
    raise NotRestorable("where a function stands cannot be set")


def _not_running(walker: Walker, path: str, what: str, role: str) -> None:
    walker.result.objects[path] = NotRunning(what)
    walker.leaf(path, what, role)


def _functions(frame: types.FrameType | None) -> list[types.FrameType]:
    """The frames of a training loop that lead to a frame, the outermost first."""
    found = []
    while frame is not None:
        if not is_machinery(frame):
            found.append(frame)
        frame = frame.f_back
    return found[::-1]


def _is_of_library(frame: types.FrameType) -> bool:
    return not is_users_module(str(frame.f_globals.get("__name__", "")))


def _functions_in(frame: types.FrameType) -> list[types.FunctionType]:
    """The functions among a frame's variables: those made inside it share variables with it."""
    return [item for item in frame.f_locals.values() if isinstance(item, types.FunctionType)]


def _read_variables(
    walker: Walker,
    frame: types.FrameType,
    path: str,
    role: str,
    sharing: Iterable[Value],
    begun: bool = True,
    call: WaitingCall | None = None,
) -> dict[str, Value]:
    """Visit the variables of a frame; `sharing`: what may share some with it (see `cells_of`)."""
    walker.result.objects[path] = holder = Variables(frame, begun, call)
    local = _variables_in_order(frame)
    cells = cells_of(frame, local, sharing)
    for name, put_off in turns(frame.f_code, local):
        meet = partial(walker.variable, cells[name]) if name in cells else walker.visit
        visit = partial(meet, local[name], f"{path}/{key_text(name)}", walker.setter(holder.put, name), role)
        for _ in range(put_off):
            visit = partial(walker.later, visit)
        visit()
    return local


def _variables_in_order(frame: types.FrameType) -> dict[str, Value]:
    """The variables in the order of the code: that of `f_locals` tells when each got a value, and when one looked."""
    code, local = frame.f_code, frame.f_locals
    if local is frame.f_globals:
        return {name: item for name, item in local.items() if may_be_state(name, item)}
    known = dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars))
    return {name: local[name] for name in (*known, *(name for name in local if name not in known)) if name in local}


def may_be_state(name: str, item: Value) -> bool:
    """Whether a module's variable may be state: not what it imports and defines."""
    return not (name.startswith("__") or isinstance(item, (types.ModuleType, types.FunctionType, type)))


def _frame_of(value: Any) -> Any:
    kind = type(value)
    for attribute in ("gi_frame", "cr_frame", "ag_frame"):
        if attribute in kind.__dict__:
            return getattr(value, attribute)
    return None


def _inner_of(value: Any) -> Any:
    """The generator or coroutine that one has given its turn to."""
    kind = type(value)
    for attribute in ("gi_yieldfrom", "cr_await", "ag_await"):
        if attribute in kind.__dict__:
            return getattr(value, attribute)
    return None


def _has_begun(value: Any, frame: types.FrameType) -> bool:
    for attribute in ("gi_suspended", "cr_suspended", "ag_suspended"):  # the last since Python 3.12
        if attribute in type(value).__dict__:
            return bool(getattr(value, attribute))
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] != "RETURN_GENERATOR"


def _word(value: Value) -> str:
    return "coroutine" if isinstance(value, types.CoroutineType) else "generator"


def _is_iterator(thing: Value) -> bool:
    return any("__next__" in base.__dict__ for base in type(thing).__mro__)


READERS: tuple[tuple[type, Reader], ...] = (
    (types.GeneratorType, read_generator),
    (types.CoroutineType, read_generator),
    (types.AsyncGeneratorType, read_generator),
    (Running, read_running),
)
READERS_BY_NAME: dict[str, Reader] = {"greenlet.greenlet": read_greenlet}  # a library that need not be installed
