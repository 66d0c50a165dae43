"""Which variables of a function that waits are given another value before they are read: what they hold is no state.

A loop leaves its last batch, loss and group in variables, and a run that was resumed has not come by there yet. Told
from the bytecode (as of Python 3.11 to 3.14), with every doubt counting for the variable: what a closure shares, what
an `except` may read, what is on the stack of the statement that waits, and all of a function that looks its variables
up by itself.
"""

import ast
import dis
import linecache
import types
from collections.abc import Iterator
from functools import lru_cache

_LOOKS_UP = {"locals", "vars", "dir", "eval", "exec"}  # called as such: a method of that name is another one
_FRAMES = {"_getframe", "currentframe"}
_ENDS = {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"}  # nothing of the function follows
_WITH = "WITH_EXCEPT_START"  # of a `with` that an exception leaves: few managers swallow it
_GOES = {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_ABSOLUTE"}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_HEADS = ("test", "iter", "target", "items", "subject")  # of a statement that others are inside


def overwritten(frame: types.FrameType) -> frozenset[str]:
    """The variables of a function half done whose present values nothing will read.

    Args:
        frame: of the function, where it waits.
    """
    code = frame.f_code
    if frame.f_locals is frame.f_globals or _looks_up(code):
        return frozenset()
    at_work = _names_at(code.co_filename, frame.f_lineno)
    if at_work is None:
        return frozenset()
    live = _live_after(code, frame.f_lasti)
    shared = {*code.co_cellvars, *code.co_freevars}
    return frozenset(name for name in code.co_varnames if name not in live | shared | at_work)


@lru_cache(maxsize=64)
def _looks_up(code: types.CodeType) -> bool:
    """Whether a function may read its variables by other means than their names."""
    loaded = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return bool(_LOOKS_UP & loaded or _FRAMES & {*code.co_names})


@lru_cache(maxsize=64)
def _live_after(code: types.CodeType, instruction: int) -> frozenset[str]:
    """The variables that may be read after an instruction, before they are given a value.

    Args:
        code: of a function.
        instruction: its offset; -1 before the first.
    """
    done = list(dis.get_instructions(code))
    place = {each.offset: index for index, each in enumerate(done)}
    ends = _ENDS if "suppress" in code.co_names else {*_ENDS, _WITH}
    followers = [list(_followers(each, index, place, ends)) for index, each in enumerate(done)]
    live: list[frozenset[str]] = [frozenset() for _ in done]
    changed = True
    while changed:
        changed = False
        for index in range(len(done) - 1, -1, -1):
            after = frozenset().union(*(live[follower] for follower in followers[index]))
            before = _before(done[index], after)
            if before != live[index]:
                live[index], changed = before, True
    handlers = (live[index] for index, each in enumerate(done) if each.opname == "PUSH_EXC_INFO")  # from anywhere
    now = max((index for index, each in enumerate(done) if each.offset <= instruction), default=-1)
    return frozenset().union(*handlers, *(live[index] for index in (followers[now] if now >= 0 else [0])))


def _followers(instruction: dis.Instruction, index: int, place: dict[int, int], ends: set[str]) -> Iterator[int]:
    if instruction.opcode in _JUMPS and instruction.argval in place:
        yield place[instruction.argval]
    if instruction.opname not in ends | _GOES and index + 1 < len(place):
        yield index + 1


def _before(instruction: dis.Instruction, after: frozenset[str]) -> frozenset[str]:
    """The variables that may be read before they are given a value, from an instruction on."""
    operation, given = instruction.opname, instruction.argval
    if "_FAST" not in operation:
        return after
    names = given if isinstance(given, tuple) else (given,)
    if operation.startswith("STORE_FAST_LOAD_FAST"):
        return (after | {names[1]}) - {names[0]}
    if operation in ("STORE_FAST", "STORE_FAST_STORE_FAST"):
        return after - {*names}
    return after | {*names}


def _names_at(file: str, line: int) -> frozenset[str] | None:
    """The names in the statements of a line: their values may be on the stack already. None without source."""
    linecache.checkcache(file)
    lines = linecache.getlines(file)
    found = _names_by_lines("".join(lines)) if lines else None
    return (
        None if found is None else frozenset().union(*(names for first, last, names in found if first <= line <= last))
    )


@lru_cache(maxsize=32)
def _names_by_lines(text: str) -> tuple[tuple[int, int, frozenset[str]], ...] | None:
    """First line, last line and names of each simple statement, and of each part of one that others are inside."""
    try:
        statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    except (SyntaxError, ValueError):
        return None
    parts: list[ast.AST] = []
    for statement in statements:
        inside = any(isinstance(getattr(statement, name, None), list) for name in ("body", "cases"))
        heads = (getattr(statement, name, None) for name in _HEADS) if inside else (statement,)
        parts += [node for head in heads if head for node in (head if isinstance(head, list) else [head])]
    return tuple((*_lines_of(part), frozenset(_names_in(part))) for part in parts)


def _lines_of(part: ast.AST) -> tuple[int, int]:
    lines = [at for node in ast.walk(part) for at in (getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)) if at]
    return (min(lines), max(lines)) if lines else (0, -1)


def _names_in(part: ast.AST) -> Iterator[str]:
    """The names that are read in it: also that of `total += …`."""
    for node in ast.walk(part):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id
