"""The source of one function of the user's: its calls, the statements that they are in, its text and its lines."""

import ast
import linecache
import types
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

from dora_repro.state.function_source import FUNCTIONS, syntax_of

_SCOPES = (*FUNCTIONS, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BLOCKS = ("body", "orelse", "finalbody")


class Source:
    """The source of a function.

    Args:
        function: the function.
        node: its syntax tree.
    """

    def __init__(self, function: types.FunctionType, node: ast.FunctionDef):
        self.function, self.node = function, node
        decorated = min(node.lineno, *(part.lineno for part in node.decorator_list), node.lineno)
        self._shift = function.__code__.co_firstlineno - decorated  # the tree may be of the function's lines alone

    @classmethod
    def of(cls, function: types.FunctionType) -> "Source | None":
        """The source of a function; None where there is none, or it is no plain function."""
        node = syntax_of(function)
        return cls(function, node) if isinstance(node, ast.FunctionDef) else None

    @property
    def arguments(self) -> list[str]:
        """The names of the arguments that can be given by position."""
        return [each.arg for each in (*self.node.args.posonlyargs, *self.node.args.args)]

    @cached_property
    def assigned(self) -> set[str]:
        """The names that the function assigns anywhere."""
        return {
            node.id for node in ast.walk(self.node) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
        }

    @cached_property
    def calls(self) -> list[ast.Call]:
        """The calls of the function itself, not of functions and comprehensions in it, in the order of the text."""
        found: list[ast.Call] = []
        waiting: list[ast.AST] = [*self.node.body]
        while waiting:
            node = waiting.pop()
            if isinstance(node, _SCOPES):
                continue
            if isinstance(node, ast.Call):
                found.append(node)
            waiting += ast.iter_child_nodes(node)
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))

    def blocks_to(self, node: ast.AST) -> list[tuple[ast.stmt, list[ast.stmt]]]:
        """The statements that a node lies in, each with the block that it is a part of, the outermost first."""
        found: list[tuple[ast.stmt, list[ast.stmt]]] = []
        block: list[ast.stmt] | None = self.node.body
        while block is not None:
            statement = next((one for one in block if _spans(one, node)), None)
            if statement is None:
                break
            found.append((statement, block))
            block = next((inner for inner in _inner(statement) if any(_spans(one, node) for one in inner)), None)
        return found

    def text(self, node: ast.stmt | ast.expr, of: ast.stmt | None = None) -> str:
        """The text of a node as it is in the file, as far to the left as if its first line were not indented.

        Args:
            of: the statement whose first line counts in place of its own.
        """
        first, last = node.lineno + self._shift, (node.end_lineno or node.lineno) + self._shift
        lines = [line.encode() for line in self._lines[first - 1 : last]]
        if not lines:
            return ""
        outermost = lines[0] if of is None else self._lines[of.lineno + self._shift - 1].encode()
        without = len(outermost) - len(outermost.lstrip())
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        begin, *rest = (line.decode() for line in lines)
        return "".join((begin, *(line[without:] if not line[:without].strip() else line.lstrip() for line in rest)))

    def at(self, node: ast.stmt | ast.expr, end: bool = False) -> str:
        """The file and the line of a node, or of its end: `train.py:42`."""
        line = (node.end_lineno or node.lineno) if end else node.lineno
        return f"{Path(self.function.__code__.co_filename).name}:{line + self._shift}"

    def span(self, node: ast.stmt) -> str:
        """The file and the lines of a statement: `train.py:42-45`."""
        first, last = self.at(node), (node.end_lineno or node.lineno) + self._shift
        return first if node.lineno == node.end_lineno else f"{first}-{last}"

    def begins_its_line(self, node: ast.stmt) -> bool:
        """Whether nothing stands before a statement in its line."""
        first = node.lineno + self._shift - 1
        return not "".join(self._lines[first : first + 1]).encode()[: node.col_offset].strip()

    def has_its_lines(self, node: ast.stmt) -> bool:
        """Whether nothing but a comment stands before or after a statement in its lines."""
        lines = self._lines[node.lineno + self._shift - 1 : (node.end_lineno or node.lineno) + self._shift]
        if not lines:
            return False
        before, after = lines[0].encode()[: node.col_offset], lines[-1].encode()[node.end_col_offset :]
        return not before.strip() and after.strip()[:1] in (b"", b"#")

    def assigned_after(self, statement: ast.stmt) -> list[str]:
        """The variables that the function assigns after a statement alone."""
        last = statement.end_lineno or statement.lineno
        before = {node.id for node in self._stores if node.lineno <= last}
        return sorted({node.id for node in self._stores} - before)

    def assigned_again(self, first: ast.stmt, last: ast.stmt) -> list[str]:
        """The variables that the function assigns from one statement to another, and again after that."""
        begin, end = first.lineno, last.end_lineno or last.lineno
        there = {node.id for node in self._stores if begin <= node.lineno <= end}
        return sorted(there & {node.id for node in self._stores if node.lineno > end})

    @cached_property
    def _stores(self) -> list[ast.Name]:
        """Where the function's own variables are assigned or deleted, also by functions inside it that share them."""
        names = (node for node in _in_scope(self.node, None) if isinstance(node, ast.Name))
        return [node for node in names if not isinstance(node.ctx, ast.Load)]

    def is_assigned_between(self, name: str, first: ast.stmt, last: ast.stmt) -> bool:
        """Whether a name is given another value, or deleted, after a statement and up to another one."""
        begin, end = first.end_lineno or first.lineno, last.end_lineno or last.lineno
        names = (node for node in ast.walk(self.node) if isinstance(node, ast.Name) and node.id == name)
        return any(not isinstance(node.ctx, ast.Load) and begin < node.lineno <= end for node in names)

    @cached_property
    def made_of(self) -> dict[str, set[str]]:
        """Each variable of the function, with the others that its values are made of on all ways: by assignments, loops
        and functions inside it."""
        direct: dict[str, set[str]] = {}
        for node in ast.walk(self.node):
            for target, value in _givings(node):
                names = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
                direct.setdefault(target, set()).update(names)
        known = {*direct, *self.arguments}
        return {name: _closed(name, direct) & known - {name} for name in direct}

    def read_before(self, instruction: int) -> list[str]:
        """The variables that a statement had read before the call that it waits in: they are on the stack by then, and
        no value that a variable is given later reaches them.

        Args:
            instruction: offset of the call in the function's code.
        """
        line, _, column, _ = next(islice(self.function.__code__.co_positions(), instruction // 2, None), (None,) * 4)
        if line is None or column is None:
            return []
        around = [
            node
            for node in ast.walk(self.node)
            if isinstance(node, ast.stmt) and node is not self.node and self._reaches(node, line)
        ]
        if not around:
            return []
        names = (node for node in ast.walk(around[-1]) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
        own = {*self.assigned, *self.arguments}
        before = (node.id for node in names if (node.lineno + self._shift, node.col_offset) < (line, column))
        return sorted(own.intersection(before))

    def _reaches(self, node: ast.stmt, line: int) -> bool:
        return node.lineno + self._shift <= line <= (node.end_lineno or node.lineno) + self._shift

    @cached_property
    def _lines(self) -> list[str]:
        return linecache.getlines(self.function.__code__.co_filename, self.function.__globals__)


def _in_scope(scope: ast.AST, shared: set[str] | None) -> Iterator[ast.AST]:
    """The nodes of a scope, and those of names that functions inside it share with it.

    Args:
        scope: what has variables of its own.
        shared: the names that count; None for all.
    """
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, FUNCTIONS):
            said = {name for inner in ast.walk(node) if isinstance(inner, ast.Nonlocal) for name in inner.names}
            yield from _in_scope(node, said if shared is None else said & shared)
        elif not isinstance(node, _SCOPES):
            if shared is None or not isinstance(node, ast.Name) or node.id in shared:
                yield node
            waiting += ast.iter_child_nodes(node)


def _givings(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(name, what it is made of) of a statement that gives names a value."""
    if isinstance(node, ast.Assign):
        pairs: list[tuple[ast.expr, ast.AST]] = [(target, node.value) for target in node.targets]
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        pairs = [(node.target, node.value)]
    elif isinstance(node, (ast.For, ast.comprehension)):
        pairs = [(node.target, node.iter)]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        pairs = [(item.optional_vars, item.context_expr) for item in node.items if item.optional_vars is not None]
    else:
        if isinstance(node, FUNCTIONS) and isinstance(node, ast.FunctionDef):
            yield node.name, ast.Module(node.body, [])
        return
    for target, value in pairs:
        yield from ((each.id, value) for each in ast.walk(target) if isinstance(each, ast.Name))


def _closed(name: str, direct: dict[str, set[str]]) -> set[str]:
    """All that a name is made of, step by step."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = direct.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _spans(outer: ast.AST, inner: ast.AST) -> bool:
    """Whether a node lies in another, or is it."""
    return any(node is inner for node in ast.walk(outer))


def _inner(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in _BLOCKS:
        if block := getattr(statement, name, None):
            yield block
    for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield handler.body


def replaced(source: Source, statement: ast.stmt, expression: ast.expr, name: str) -> str:
    """The text of a statement with a name in place of one of its expressions."""
    before, after = ast.Expr(expression), ast.Expr(expression)  # of the statement: texts may be repeated in it
    before.lineno, before.col_offset = statement.lineno, statement.col_offset
    before.end_lineno, before.end_col_offset = expression.lineno, expression.col_offset
    after.lineno, after.col_offset = expression.end_lineno or 0, expression.end_col_offset or 0
    after.end_lineno, after.end_col_offset = statement.end_lineno, statement.end_col_offset
    return source.text(before, statement) + name + source.text(after, statement)
