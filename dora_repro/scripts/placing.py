"""After which lines of a script advised lines of load would stand: told by its own syntax."""

import ast
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_OTHER_CODE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TRAINING = {"backward", "step", "zero_grad"}  # methods that a loop of the training calls


@dataclass(frozen=True)
class Region:
    """Lines of a file, the first and the last included."""

    first: int
    last: int

    def has(self, line: int) -> bool:
        """Whether a line is one of them."""
        return self.first <= line <= self.last


def region_after(file: str, line: int, *, taking: bool = True) -> Region | None:
    """The statement that reads a checkpoint, with those after it in its block that take something out of it.

    Args:
        file: of the script.
        line: that is being executed.
        taking: whether its function gets the checkpoint; False for one that calls the function which does, where the
            statement alone counts.

    Returns:
        None where the function only returns what it reads: its caller takes things out of it.

    Raises:
        OSError, SyntaxError, UnicodeDecodeError: the source cannot be read.
    """
    block = _block(ast.parse(Path(file).read_text(encoding="utf-8")).body, line)
    if not block or isinstance(block[0], ast.Return):
        return None
    statement, *rest = block
    names = {ast.unparse(target) for target in _targets(statement)} if taking else set()
    last = statement
    for later in rest:
        if isinstance(later, _OTHER_CODE) or (isinstance(later, _LOOPS) and _may_train(later, names)):
            break
        if any(isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names for node in ast.walk(later)):
            last = later
    return Region(statement.lineno, last.end_lineno or last.lineno)


def statement_of(frame: types.FrameType) -> Region:
    """The statement that a function is executing.

    Raises:
        OSError, SyntaxError, UnicodeDecodeError: the source cannot be read.
    """
    found = region_after(frame.f_code.co_filename, frame.f_lineno, taking=False)
    return found or Region(frame.f_lineno, frame.f_lineno)


def getting(frames: Mapping[str, types.FrameType]) -> tuple[types.FrameType, Region]:
    """The function that gets the checkpoint, and where lines would stand in it. One that only returns it is passed
    over."""
    for frame in reversed([*frames.values()]):
        if (region := region_after(frame.f_code.co_filename, frame.f_lineno)) is not None:
            return frame, region
    outermost = next(iter(frames.values()))
    return outermost, statement_of(outermost)


def region_before_loop(file: str, line: int) -> Region:
    """The beginning of a function up to the line before its first loop.

    Args:
        file: of the script.
        line: of the function.

    Raises:
        OSError, SyntaxError, UnicodeDecodeError: the source cannot be read.
    """
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _first_line(node) == line:
            loops = [one.lineno for one in ast.walk(node) if isinstance(one, _LOOPS)]
            return Region(line, min(loops, default=(node.end_lineno or line) + 1) - 1)
    return Region(line, line)


def own_names(frame: types.FrameType) -> set[str]:
    """The variables of a function, also those that have no value yet."""
    code = frame.f_code
    if frame.f_locals is frame.f_globals:
        return {*frame.f_globals, *code.co_names}
    return {*code.co_varnames, *code.co_cellvars, *code.co_freevars}


def names_in(line: str, context: type[ast.expr_context]) -> set[str]:
    """The names that a line of code loads or stores, but for those of comprehensions and lambdas inside it."""
    nodes = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)]
    stored = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    inner = {node.arg for node in ast.walk(ast.parse(line)) if isinstance(node, ast.arg)}
    found = {node.id for node in nodes if isinstance(node.ctx, context)} - inner
    return found - stored if context is ast.Load else found


def set_for_good(line: str) -> set[str]:
    """The names that a line of code stores, but for what a loop of its own goes through."""
    loops = [node.target for node in ast.walk(ast.parse(line)) if isinstance(node, ast.For)]
    passing = {node.id for target in loops for node in ast.walk(target) if isinstance(node, ast.Name)}
    return names_in(line, ast.Store) - passing


def _may_train(loop: ast.stmt, names: Collection[str]) -> bool:
    """Whether a loop may be that of the training: it has one inside it, steps, or gives the checkpoint's names to
    something else. One that loads each part in turn does nothing of that."""
    inside = [node for node in ast.walk(loop) if node is not loop]
    stored = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    called = {node.func.attr for node in inside if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    loads = any(isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names for node in inside)
    is_for = isinstance(loop, ast.For) and not any(isinstance(node, _LOOPS) for node in inside)
    return not (is_for and loads) or bool(stored & {*names} or called & _TRAINING)


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min((node.lineno, *(decorator.lineno for decorator in node.decorator_list)))


def _block(body: list[ast.stmt], line: int) -> list[ast.stmt]:
    """The statement that a line is of, the innermost, and what follows it in its block."""
    for index, statement in enumerate(body):
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            for inner in _blocks(statement):
                if found := _block(inner, line):
                    return found
            return body[index:]
    return []


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def _targets(statement: ast.stmt) -> Iterator[ast.expr]:
    """What a statement assigns to, and each part of it."""
    given = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    for target in given:
        if isinstance(target, (ast.Tuple, ast.List)):
            yield from target.elts
        elif isinstance(target, ast.expr):
            yield target
    for node in ast.walk(statement):
        if isinstance(node, ast.NamedExpr):
            yield node.target
