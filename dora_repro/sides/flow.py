"""Which dict of the user's reaches the file that is saved, and what holds what is read of it: followed in the source.

From the call that writes (`torch.save`) back to where what it is given was built, through helpers of the user's and
methods of what the run holds; from the call that reads to the outermost function that has its result.
"""

import ast
import builtins
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from dora_repro.contracts import Value
from dora_repro.sides.source import Source
from dora_repro.state.attributes import attributes_of, is_users_module

_DEEPEST = 6  # functions that call each other on the way
_MOST = 150  # functions that are looked through for one file: a large library of the user's own is no place for it
_WRITTEN = {"torch.save": "obj", "pickle.dump": "obj", "dill.dump": "obj", "cloudpickle.dump": "obj"}
_WRITTEN |= {"joblib.dump": "value", "json.dump": "obj"}
_READ = {"torch.load", "pickle.load", "dill.load", "cloudpickle.load", "joblib.load", "json.load"}

Bound = Mapping[str, tuple[str, Value]]  # name in a function -> (path of an object of the run, the object)
Seen = dict[tuple[int, frozenset[tuple[str, str]]], int]  # a function, and what it was given -> how deep it was met


@dataclass(frozen=True)
class Here:
    """A function that is read, which objects of the run its names stand for, and which functions that it makes."""

    source: Source
    bound: Bound = field(default_factory=dict)
    made: Mapping[str, types.FunctionType] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """An expression that is what a file gets, or what was read of one.

    Attributes:
        here: the function that it is in.
        expression: the expression.
        returned: whether it is what the function returns, and not what it writes.
        optional: whether it may also give None: where there is no file.
    """

    here: Here
    expression: ast.expr
    returned: bool = False
    optional: bool = False


def written(here: Here, path: str = "") -> Found | None:
    """What a function gives to the one file that it writes, where that was built; None where that is not clear.

    Args:
        here: the function.
        path: what it calls the path of the file; of several files, it is that at the path.
    """
    seen: Seen = {}
    found = [(call, at) for call in here.source.calls if (at := _written_by(here, call, 0, seen)) is not None]
    chosen = _chosen(found, path)
    return _built(chosen, 0) if chosen is not None else None


def read(here: Here, path: str = "") -> Found | None:
    """The call that gives what was read of the one file that a function reads, in the outermost function that has it;
    None where that is not clear.

    Args:
        here: the function.
        path: what it calls the path of the file; of several files, it is that at the path.
    """
    seen: Seen = {}
    return _chosen(
        [(call, at) for call in here.source.calls if (at := _read_by(here, call, 0, seen)) is not None], path
    )


def _chosen(found: list[tuple[ast.Call, Found]], path: str) -> Found | None:
    at_path = [at for call, at in found if path and path in _names_in(call)]
    places = at_path or [at for _, at in found]
    alike = {(id(at.here), ast.unparse(at.expression)) for at in places}  # the same file may be read twice
    return places[0] if len(alike) == 1 else None


# --- saving


def _written_by(here: Here, call: ast.Call, depth: int, seen: Seen) -> Found | None:
    """What a call, or what it calls, gives to a file."""
    thing, owner = _callee(here, call.func)
    if (argument := _WRITTEN.get(_name_of(thing))) is not None:
        given = _argument(call, argument, 0)
        return None if given is None else Found(here, given)
    inner = _called(here, call, thing, owner, depth)
    if inner is None or _was_seen(inner, depth, seen):
        return None
    for each in inner.source.calls:
        at = _written_by(inner, each, depth + 1, seen)
        if at is None:
            continue
        seen.pop(_key(inner), None)  # a second call of it leads to the same
        name = at.expression.id if isinstance(at.expression, ast.Name) and at.here == inner else ""
        arguments = inner.source.arguments
        if name in arguments and name not in inner.source.assigned:  # whoever calls it has built it
            given = _given_to(call, inner, name, owner is not None)
            return None if given is None else Found(here, given)
        return at
    return None


def _built(found: Found, depth: int) -> Found:
    """The same, in the method of an object of the run's that builds and returns it, where there is one."""
    if not isinstance(found.expression, ast.Call):
        return found
    thing, owner = _callee(found.here, found.expression.func)
    inner = _called(found.here, found.expression, thing, owner, depth) if owner is not None else None
    if inner is None:
        return found
    returns = [node for node in ast.walk(inner.source.node) if isinstance(node, ast.Return)]
    last = inner.source.node.body[-1]
    if len(returns) != 1 or not isinstance(last, ast.Return) or last.value is None:
        return found
    return _built(Found(inner, last.value, True), depth + 1)


# --- loading


def _read_by(here: Here, call: ast.Call, depth: int, seen: Seen) -> Found | None:
    """The call that gives what was read: this one where it reads or returns that, else one in what it calls."""
    thing, owner = _callee(here, call.func)
    if _name_of(thing) in _READ:
        return Found(here, call)
    inner = _called(here, call, thing, owner, depth)
    if inner is None or _was_seen(inner, depth, seen):
        return None
    for each in inner.source.calls:
        at = _read_by(inner, each, depth + 1, seen)
        if at is not None:
            seen.pop(_key(inner), None)  # a second call of it leads to the same
            if at.here != inner or not (returned := _returned(at)):
                return at
            return Found(here, call, optional=at.optional or None in returned)
    return None


def _returned(found: Found) -> tuple[str | None, ...]:
    """What a function returns, where that is what it has read, or None: the text of each, and None; empty where it also
    returns anything else."""
    node = found.here.source.node
    returns = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
    names = {
        target.id
        for each in ast.walk(node)
        if isinstance(each, ast.Assign) and each.value is found.expression
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    parts = [part for value in returns for part in ((value.body, value.orelse) if _is_choice(value) else (value,))]
    read = [part for part in parts if part is not None and _is(part, found.expression, names)]
    rest = [part for part in parts if part not in read]
    if not read or not all(part is None or (isinstance(part, ast.Constant) and part.value is None) for part in rest):
        return ()
    return (*map(ast.unparse, read), *(None for _ in rest))


def _is_choice(value: ast.expr | None) -> TypeGuard[ast.IfExp]:
    return isinstance(value, ast.IfExp)


def goes_through(here: Here, expression: ast.expr, depth: int = 0) -> bool:
    """Whether a function goes through all keys of what it has read: `Checkpoint(**state)`, `for name in state`,
    `vars(self).update(state)`. A key more would do harm, or an attribute of its name be made.

    Args:
        here: the function.
        expression: what was read, or the name of it.
    """
    node = here.source.node
    names = {expression.id} if isinstance(expression, ast.Name) else set()
    names |= {
        target.id
        for each in ast.walk(node)
        if isinstance(each, ast.Assign) and _is(each.value, expression, names)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    return any(_all_of(here, each, expression, names, depth) for each in ast.walk(node))


def _all_of(here: Here, node: ast.AST, expression: ast.expr, names: set[str], depth: int) -> bool:
    if isinstance(node, (ast.For, ast.comprehension)):
        return _is(node.iter, expression, names)
    if isinstance(node, ast.Attribute) and node.attr in ("items", "keys", "values"):
        return _is(node.value, expression, names)
    if not isinstance(node, ast.Call):
        return False
    if any(each.arg is None and _is(each.value, expression, names) for each in node.keywords):
        return True
    given = [each for each in (*node.args, *(one.value for one in node.keywords)) if _is(each, expression, names)]
    if given and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
        return True
    thing, owner = _callee(here, node.func) if given else (None, None)
    inner = _called(here, node, thing, owner, depth)
    if inner is None:
        return False
    found = (name for name in inner.source.arguments if _given_to(node, inner, name, owner is not None) in given)
    return any(goes_through(inner, ast.Name(name), depth + 1) for name in found)


def _given_to(call: ast.Call, inner: Here, name: str, is_method: bool) -> ast.expr | None:
    return _argument(call, name, inner.source.arguments.index(name) - is_method)


def _is(node: ast.expr, expression: ast.expr, names: set[str]) -> bool:
    return node is expression or (isinstance(node, ast.Name) and node.id in names)


# --- what calls lead to


def _callee(here: Here, node: ast.expr) -> tuple[Any, tuple[str, Value] | None]:
    """What a call calls, and the object of the run's that it is a method of; None, None where that is not known."""
    if isinstance(node, ast.Attribute):
        owner = _object(here, node.value)
        if _is_super(node.value):
            own = here.bound.get((here.source.arguments or [""])[0])
            return (None, None) if own is None else (_static(own[1], node.attr, _after(here)), own)
        if owner is not None and (found := _static(owner[1], node.attr)) is not None:
            return found, owner
    return _value(here, node), None


def _called(here: Here, call: ast.Call, thing: Any, owner: tuple[str, Value] | None, depth: int) -> Here | None:
    """The function of the user's that a call leads into, with what its arguments stand for."""
    if not isinstance(thing, types.FunctionType) or depth > _DEEPEST or not is_users_module(str(thing.__module__)):
        return None
    function: Callable[..., Any] = inspect.unwrap(thing)
    source = Source.of(function) if isinstance(function, types.FunctionType) else None
    if source is None or source.function is here.source.function:
        return None
    bound: dict[str, tuple[str, Value]] = {}
    names = list(source.arguments)
    if owner is not None and names:
        bound[names[0]] = owner
        names = names[1:]
    given = [*zip(names, call.args, strict=False), *((each.arg or "", each.value) for each in call.keywords)]
    for name, value in given:
        found = _object(here, value)
        if found is not None and name and name not in source.assigned:
            bound[name] = found
    return Here(source, bound)


def _was_seen(here: Here, depth: int, seen: Seen) -> bool:
    """Whether a function was looked through before, as deep at least, and led to no file; or too many were. Without
    this, code in which many functions call one another is gone through on all of the ways that lead into each."""
    before = seen.get(_key(here))
    if before is None and len(seen) >= _MOST:
        return True
    if before is None or depth < before:
        seen[_key(here)] = depth
        return False
    return True


def _key(here: Here) -> tuple[int, frozenset[tuple[str, str]]]:
    return id(here.source.function.__code__), frozenset((name, path) for name, (path, _) in here.bound.items())


def _object(here: Here, node: ast.expr) -> tuple[str, Value] | None:
    """The object of the run's that an expression of names and attributes stands for, with its path."""
    if isinstance(node, ast.Name):
        return here.bound.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = _object(here, node.value)
    attributes = attributes_of(owner[1]) if owner is not None else None
    if owner is None or attributes is None or node.attr not in attributes:
        return None
    return (f"{owner[0]}.{node.attr}" if owner[0] else node.attr), attributes[node.attr]


def _value(here: Here, node: ast.expr) -> Any:
    """What an expression of global names stands for; None for all else."""
    function = here.source.function
    if isinstance(node, ast.Name):
        if node.id in here.made and node.id not in here.source.assigned:
            return here.made[node.id]
        if node.id in here.source.assigned or node.id in function.__code__.co_varnames:
            return _imported(here, node.id)
        return function.__globals__.get(node.id, vars(builtins).get(node.id))
    if isinstance(node, ast.Attribute):
        held = _object(here, node)
        if held is not None:
            return held[1]
        module = _value(here, node.value)
        return vars(module).get(node.attr) if isinstance(module, types.ModuleType) else None
    return None


def _imported(here: Here, name: str) -> Any:
    """What a function imports for itself under a name."""
    from dora_repro.sides.visible import value_of, visible_names

    dotted = {own: dotted for dotted, own in visible_names(here.source.function)[0].items()}.get(name)
    return value_of(dotted) if dotted else None


def _static(owner: Value, name: str, after: type | None = None) -> types.FunctionType | None:
    """A method of the user's that an object's class has under a name."""
    kinds = type(owner).__mro__
    if after in kinds:
        kinds = kinds[kinds.index(after) + 1 :]
    found = next((vars(kind)[name] for kind in kinds if name in vars(kind)), None)
    return found if isinstance(found, types.FunctionType) else None


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _after(here: Here) -> type | None:
    """The class that a method with `super()` in it is defined in."""
    function = here.source.function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    cell = cells.get("__class__")
    return cell.cell_contents if cell is not None else None


def _argument(call: ast.Call, name: str, index: int) -> ast.expr | None:
    """What a call gives to a parameter."""
    if named := next((each.value for each in call.keywords if each.arg == name), None):
        return named
    plain = not any(isinstance(each, ast.Starred) for each in call.args)
    return call.args[index] if plain and 0 <= index < len(call.args) else None


def _name_of(thing: Any) -> str:
    """`torch.save`, by the module that a function is in."""
    if not isinstance(thing, (types.FunctionType, types.BuiltinFunctionType)):
        return ""
    return f"{str(thing.__module__).lstrip('_').partition('.')[0]}.{thing.__name__}"


def _names_in(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
