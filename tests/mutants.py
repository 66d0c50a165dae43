"""Mutation testing: small changes to a module, one at a time, each of which some test of that module has to notice.

`python -m tests.mutants trace.py` makes the list of the mutants of `dora_repro/trace.py`, runs the tests that `TESTS`
names against each, and prints those that survive. `docs/mutants.md` says why some may.

Each mutant is a fork of this process, which has imported the kit: the child gives the functions of the module the code
of the changed one, which saves the time of importing all anew.
"""

import argparse
import ast
import copy
import importlib
import math
import os
import random
import signal
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TIMES = 6  # as long as the unchanged module takes, the tests of a mutant may: a loop without end is noticed, too

# The tests that are fast: they need no process of their own.
TESTS = {
    "difference.py": ["tests/test_difference.py", "tests/comparison/test_leaves.py"],
    "comparison/leaves.py": [
        "tests/comparison/test_leaves.py",
        "tests/comparison/test_unreadable.py",
        "tests/comparison/test_checkpoints.py",
    ],
    "comparison/drift.py": ["tests/comparison/test_drift.py"],
    "comparison/elements.py": ["tests/comparison/test_elements.py"],
    "comparison/files.py": ["tests/comparison/test_files.py", "tests/comparison/test_leaves.py"],
    "comparison/stepwise.py": ["tests/comparison/test_stepwise.py"],
    "comparison/unreadable.py": ["tests/comparison/test_unreadable.py"],
    "trace.py": ["tests/test_trace.py"],
    "alignment/batches.py": ["tests/alignment"],
    "alignment/divergence.py": ["tests/alignment", "tests/test_trace.py"],
    "alignment/in_step.py": ["tests/alignment"],
    "alignment/late_loading.py": ["tests/alignment"],
    "checkpoint/budget.py": ["tests/checkpoint/test_budget.py"],
    "checks/configuration.py": ["tests/checks/test_configuration.py"],
    "checks/findings.py": ["tests/checks/test_findings.py"],
    "checks/judge.py": ["tests/checks/test_judge.py"],
    "checks/control.py": ["tests/checks/test_control.py"],
    "checks/histories.py": ["tests/checks/test_histories.py"],
    "explain/trials/minimal.py": ["tests/explain/trials/test_minimal.py"],
    "explain/trials/budget.py": ["tests/explain/trials/test_budget.py"],
    "explain/trials/losses.py": ["tests/explain/trials/test_losses.py"],
    "explain/trials/search.py": ["tests/explain/trials/test_search.py"],
    "explain/trials/ends.py": ["tests/explain/trials/test_ends.py"],
    "explain/trials/setup.py": ["tests/explain/trials/test_setup.py"],
    "explain/trials/sufficient.py": ["tests/explain/trials/test_sufficient.py"],
    "explain/trials/transplanting.py": ["tests/explain/trials/test_transplanting.py"],
    "explain/trials/trying_lines.py": ["tests/explain/trials/test_trying_lines.py"],
    "explain/trials/worker.py": [
        "tests/explain/trials/test_worker.py",
        "tests/explain/trials/test_setup.py",
        "tests/explain/trials/test_trying_lines.py",
        "tests/explain/trials/test_transplanting.py",
    ],
    "printable.py": ["tests/test_printable.py"],
    "recording/untouched.py": ["tests/recording/test_untouched.py"],
    "state/attached.py": ["tests/state/test_attached.py"],
    "state/digest.py": [
        "tests/state/test_digest.py",
        "--deselect=tests/state/test_digest.py::test_digests_are_the_same_under_another_hash_seed",
    ],
    "state/draws.py": ["tests/state/test_draws.py"],
    "state/function_names.py": ["tests/state/test_function_names.py"],
}

Change = tuple[ast.AST, str, Callable[[ast.AST], ast.AST]]
"""A node, what is done to it in words, and the function that does it to a copy."""

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLED = {"any": "all", "all": "any", "min": "max", "max": "min"}


def changes_of(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], ast.AST]]]:
    """What can be done to one node: words, and a function of a copy of it."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            if type(operator) in _COMPARED:
                other = _COMPARED[type(operator)]
                yield f"{type(operator).__name__} -> {other.__name__}", _setting_item("ops", index, other())
    elif isinstance(node, ast.BoolOp):
        other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"-> {type(other_op).__name__}", _setting("op", other_op)
        for index, value in enumerate(node.values):
            yield f"without `{ast.unparse(value)}`", _without(index)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "without not", lambda copied: copied.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
        yield f"-> {_COMPUTED[type(node.op)].__name__}", _setting("op", _COMPUTED[type(node.op)]())
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "condition -> True", _setting("test", ast.Constant(True))
        yield "condition -> False", _setting("test", ast.Constant(False))
    elif isinstance(node, ast.comprehension):
        for index, condition in enumerate(node.ifs):
            yield f"without `if {ast.unparse(condition)}`", _setting_item("ifs", index, ast.Constant(True))
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int)) and node.value is not Ellipsis:
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield f"-> {value}", _setting("value", value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLED:
        yield f"-> {_CALLED[node.func.id]}", _setting("func", ast.Name(_CALLED[node.func.id], ast.Load()))
    elif isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Yield)):
        yield "left out", lambda copied: ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield "left out", lambda copied: ast.Pass()
    elif isinstance(node, (ast.Continue, ast.Break)):
        yield "left out", lambda copied: ast.Pass()


def _setting(field: str, value: object) -> Callable[[ast.AST], ast.AST]:
    def change(copied: ast.AST) -> ast.AST:
        setattr(copied, field, value)
        return copied

    return change


def _setting_item(field: str, index: int, value: ast.AST) -> Callable[[ast.AST], ast.AST]:
    def change(copied: ast.AST) -> ast.AST:
        getattr(copied, field)[index] = value
        return copied

    return change


def _without(index: int) -> Callable[[ast.AST], ast.AST]:
    def change(copied: ast.AST) -> ast.AST:
        del copied.values[index]
        return copied.values[0] if len(copied.values) == 1 else copied

    return change


def mutants_of(tree: ast.Module) -> list[tuple[ast.AST, str, Callable[[ast.AST], ast.AST]]]:
    """All mutants of a module, in the order of its lines: annotations and what only documents are left as they are."""
    left_out = {id(inner) for node in ast.walk(tree) for outer in _annotations(node) for inner in ast.walk(outer)}
    nodes = [node for node in ast.walk(tree) if id(node) not in left_out]
    found = [(node, words, change) for node in nodes for words, change in changes_of(node)]
    return sorted(found, key=lambda mutant: (_line(mutant[0], tree), getattr(mutant[0], "col_offset", 0)))


def _annotations(node: ast.AST) -> list[ast.AST]:
    found = [getattr(node, name, None) for name in ("annotation", "returns")]
    decorators = getattr(node, "decorator_list", [])
    return [each for each in (*found, *decorators) if isinstance(each, ast.AST)]


def _line(node: ast.AST, tree: ast.Module) -> int:
    line: int | None = getattr(node, "lineno", None)  # a comprehension has none of its own
    return line if line is not None else getattr(next(ast.iter_child_nodes(node)), "lineno", 0)


class _Replaced(ast.NodeTransformer):
    def __init__(self, node: ast.AST, change: Callable[[ast.AST], ast.AST]):
        self._node, self._change = node, change

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._node:
            return self._change(copy.deepcopy(node))
        visited: ast.AST = self.generic_visit(node)
        return visited


def mutated(source: str, index: int) -> ast.Module:
    """The syntax tree of a source with its mutant of this number."""
    tree = ast.parse(source)
    node, _, change = mutants_of(tree)[index]
    return ast.fix_missing_locations(_Replaced(node, change).visit(tree))


def graft(module: types.ModuleType, tree: ast.Module) -> None:
    """Give the functions and constants of an imported module what they are in a changed syntax tree of it."""
    changed = types.ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(tree, str(module.__file__), "exec"), changed.__dict__)
    _graft_all(module, changed)


def _graft_all(old: Any, new: Any) -> None:
    for name, value in vars(new).items():
        there = vars(old).get(name)
        if type(value) in (bool, int, float, tuple, frozenset) and value != there:
            setattr(old, name, value)
        elif isinstance(value, type) and value.__module__ == new.__name__ and isinstance(there, type):
            _graft_class(there, value)
        else:
            _graft_function(there, value)


def _graft_class(old: type, new: type) -> None:
    for name, value in vars(new).items():
        _graft_function(vars(old).get(name), value)


def _graft_function(old: Any, new: Any) -> None:
    for inside in ("fget", "func", "__func__", "__wrapped__"):  # of a property, a cached one, a class method, a cache
        if hasattr(new, inside) and hasattr(old, inside) and type(old) is type(new):
            return _graft_function(getattr(old, inside), getattr(new, inside))
    if isinstance(new, types.FunctionType) and isinstance(old, types.FunctionType) and old is not new:
        if old.__module__ in (None, new.__module__):  # and not one that is imported
            old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def survives(module: types.ModuleType, tree: ast.Module | None, tests: Sequence[str], seconds: float) -> bool:
    """Whether all tests pass, in a process of its own and in time, with a module as a tree has it, or as it is."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            if tree is not None:
                graft(module, tree)
            status = int(pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(status)
    waited, last = 0.0, time.monotonic()
    while waited < seconds:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.02)
        now = time.monotonic()
        waited, last = waited + min(now - last, 0.1), now  # where both were stopped, the child has not taken longer
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Mutants of one module that its tests do not notice.")
    parser.add_argument("module", choices=sorted(TESTS))
    parser.add_argument("--sample", type=int, help="so many of the mutants, drawn with seed 0; all without it")
    parser.add_argument("--only", type=int, nargs="+", help="these mutants, by their numbers in the list")
    parser.add_argument("--list", action="store_true", help="list the mutants, and run nothing")
    given = parser.parse_args()
    path = ROOT / "dora_repro" / given.module
    source = path.read_text()
    tree = ast.parse(source)
    every = mutants_of(tree)
    numbers = list(range(len(every)))
    if given.only:
        numbers = given.only
    elif given.sample is not None and given.sample < len(numbers):
        numbers = sorted(random.Random(0).sample(numbers, given.sample))
    # For hypothesis: the same examples each time. For pytest: no plugins, which take longer to start than most tests.
    os.environ.update(CI="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    os.chdir(ROOT)
    module = importlib.import_module("dora_repro." + given.module.removesuffix(".py").replace("/", "."))
    begun = time.monotonic()
    if not given.list and not survives(module, None, TESTS[given.module], math.inf):
        raise SystemExit("the tests fail without any mutant")
    seconds = 10 + TIMES * (time.monotonic() - begun)
    alive = 0
    for number in numbers:
        node, words, _ = every[number]
        told = f"{number:4} line {_line(node, tree)}: `{ast.unparse(node).splitlines()[0][:70]}` {words}"
        if given.list:
            print(told)
        elif survives(module, mutated(source, number), TESTS[given.module], seconds):
            alive += 1
            print(f"survives {told}", flush=True)
    if not given.list:
        print(f"{given.module}: {len(numbers) - alive} of {len(numbers)} killed, of {len(every)} mutants in all")


if __name__ == "__main__":
    main()
