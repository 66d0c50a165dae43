"""Which variables of a function that waits are given another value before they are read: what they hold is no state.

A loop leaves its last batch, loss and group in variables, and a run that was resumed has not come by there yet. Told
from the bytecode (as of Python 3.11 to 3.14), with every doubt counting for the variable: what a closure shares, what
an `except` may read, what is on the stack of the statement that waits, and all of a function that looks its variables
up by itself. A script's own code is such a function, too, with variables that each function of its file may read.
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
MODULE = "<module>"  # as code of a module is called
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")  # done at once, where they are; until Python 3.12
_HEADS = ("test", "iter", "target", "items", "subject")  # of a statement that others are inside


def overwritten(frame: types.FrameType) -> frozenset[str]:
    """The variables of a function half done whose present values nothing will read.

    Args:
        frame: of the function, where it waits.
    """
    return overwritten_at(frame.f_code, frame.f_lasti, frame.f_lineno)


def overwritten_at(code: types.CodeType, instruction: int, line: int) -> frozenset[str]:
    """The variables whose values nothing will read once a function has come to a place.

    Args:
        code: of the function, or of a module.
        instruction: the offset of the one that it is at; -1 before the first.
        line: its line.
    """
    if code.co_name != MODULE:
        names, shared = frozenset(code.co_varnames), frozenset((*code.co_cellvars, *code.co_freevars))
        hidden = _looks_up(code)
    else:
        names, shared = _set_by_module(code), _named_inside(code)
        hidden = _looks_up_after(code, instruction)
    at_work = None if hidden else _names_at(code.co_filename, line)
    if at_work is None:
        return frozenset()
    return names - _live_after(code, instruction) - shared - at_work


def _set_by_module(code: types.CodeType) -> frozenset[str]:
    return frozenset(str(each.argval) for each in dis.get_instructions(code) if each.opname == "STORE_NAME")


def _inside(code: types.CodeType) -> Iterator[types.CodeType]:
    """The functions and classes that code makes, and those inside them."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _inside(constant)


@lru_cache(maxsize=64)
def _named_inside(code: types.CodeType) -> frozenset[str]:
    """All names in functions that code makes: any of these may be a variable of its own, and be read at any time."""
    return frozenset(name for inner in _inside(code) for name in (*inner.co_names, *inner.co_freevars))


@lru_cache(maxsize=64)
def _looks_up_after(code: types.CodeType, instruction: int) -> bool:
    """Whether a module may read its variables by other means than their names, from an instruction on: a script that
    reads its arguments into them has done so by then. What a comprehension looks up, it does where it stands."""
    done, followers, now = _flow(code, instruction)
    place = {each.offset: index for index, each in enumerate(done)}
    handled = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]  # typeshed lacks it
    reached, waiting = set[int](), [max(now, 0)]
    while waiting:
        index = waiting.pop()
        if index not in reached:
            reached.add(index)
            at = done[index].offset
            waiting += followers[index]
            waiting += (place[entry.target] for entry in handled if entry.start <= at < entry.end)
    here = [done[index] for index in reached]
    made = [each.argval for each in here if isinstance(each.argval, types.CodeType)]
    others = [inner for inner in _inside(code) if inner.co_name not in _COMPREHENSIONS]
    loaded = {str(each.argval) for each in here if each.opname == "LOAD_NAME"}
    return bool((_LOOKS_UP | {"globals"}) & loaded) or any(map(_reads_globals, (*made, *others)))


def _reads_globals(code: types.CodeType) -> bool:
    loaded = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    return bool((_LOOKS_UP | {"globals"}) & loaded or _FRAMES & {*code.co_names})


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
    done, followers, now = _flow(code, instruction)
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
    return frozenset().union(*handlers, *(live[index] for index in (followers[now] if now >= 0 else [0])))


def _flow(code: types.CodeType, instruction: int) -> tuple[list[dis.Instruction], list[list[int]], int]:
    """The instructions, for each those that may follow it, and which one is at an offset; -1 for none yet."""
    done = list(dis.get_instructions(code))
    place = {each.offset: index for index, each in enumerate(done)}
    ends = _ENDS if "suppress" in code.co_names else {*_ENDS, _WITH}
    followers = [list(_followers(each, index, place, ends)) for index, each in enumerate(done)]
    return done, followers, max((index for index, each in enumerate(done) if each.offset <= instruction), default=-1)


def _followers(instruction: dis.Instruction, index: int, place: dict[int, int], ends: set[str]) -> Iterator[int]:
    if instruction.opcode in _JUMPS and instruction.argval in place:
        yield place[instruction.argval]
    if instruction.opname not in ends | _GOES and index + 1 < len(place):
        yield index + 1


def _before(instruction: dis.Instruction, after: frozenset[str]) -> frozenset[str]:
    """The variables that may be read before they are given a value, from an instruction on."""
    operation, given = instruction.opname, instruction.argval
    if operation == "STORE_NAME":
        return after - {str(given)}
    if "_FAST" not in operation:
        return after | {str(given)} if operation in ("LOAD_NAME", "DELETE_NAME") else after
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
