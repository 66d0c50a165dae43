"""Where lines of advice go: the functions of the user's that save and load, and what things are called there.

The lines of save fill the dict that reaches the file, where that is built; those of load read what was read of it, in
the outermost function that has it (`flow.py`). Where the source does not tell, they go into save() and load().
"""

import ast
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dora_repro.contracts import Factory, Json, Run, Value
from dora_repro.sides.flow import Found, Here, goes_through, read, written
from dora_repro.sides.reading import guard_of, is_conditional, last_before_loop, name_given
from dora_repro.sides.source import Source, replaced
from dora_repro.sides.visible import imported_in_file, value_of, visible_names
from dora_repro.state.attributes import attributes_of, is_users_module
from dora_repro.state.frames import Variables
from dora_repro.state.held_code import held_code
from dora_repro.state.module_variables import PREFIX, functions_of, variables_of
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

# The methods of a run; where what it writes is built, and where what it reads comes to.
SAVE, LOAD, BUILT, READ = "save", "load", "built", "read"
RUN = "."  # an attribute that is the run itself
_FREE = ("state", "checkpoint", "saved_state", "whole_state")  # for a dict that has no name yet
_LONG = 60  # characters of a statement that is named
APART = ", on lines of their own"  # where others share those of the statement: `def save(self, path): torch.save(…)`
_END = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Place:
    """A function of the user's that lines go into, and the names that it has.

    Attributes:
        function: its qualified name; empty where it is not known.
        module: the module that it is in.
        names: dotted name of a module, or of what is in one -> what it is called there (`sides/visible.py`).
        taken: names of modules that lines use, and that mean something else there.
        path: what the path of the checkpoint is called.
        roots: what the run is called (the path is empty), and objects of the run: name -> path, by attributes.
        attributes: of a run with `components()`: name of a component -> its attribute, or `RUN`; empty for none.
        modules: the user's modules that have variables which are state of the run.
        state: what the dict is called that is saved, or was read.
        where: where in the function, in words; empty where that is not known.
        instead: the line that `head` and `tail` stand in place of, as `train.py:42`; empty where the dict has a name.
        head: lines that give the dict its name; those of advice follow where they are of save.
        tail: lines that follow.
        later: variables of the function that it gives a value only after the place.
        again: variables that it gives a value where it reads the file, and another one after that.
        made: variable of a function that is half done -> the others that its values are made of.
        read: variables that its statement had read before the call in which it waits.
        every_key: whether all keys of the dict are gone through there, so that a further one would do harm.
    """

    function: str = ""
    module: str = ""
    names: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    path: str = "path"
    roots: dict[str, str] = field(default_factory=lambda: {"self": ""})
    attributes: dict[str, str] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    state: str = "state"
    where: str = ""
    instead: str = ""
    head: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    made: dict[str, list[str]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    every_key: bool = False

    @classmethod
    def of(cls, function: types.FunctionType) -> "Place":
        """The place that a function is, its first argument being the run, its second the path."""
        names, taken = visible_names(function)
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        own, path = (*arguments, *("self", "path")[len(arguments) :])[:2]
        return cls(function.__qualname__, str(function.__module__), names, taken, path, {own: ""})

    @property
    def name(self) -> str:
        """The function as it is called: `save()`."""
        return f"{self.function.rpartition('.')[2]}()"


def places_of(run: Run, factory: Factory) -> dict[str, dict[str, Any]]:
    """The places of a run that has methods to save and load, as plain data, by what they are.

    Args:
        run: the run.
        factory: what built it; by its own `resume(path)` where it has one.
    """
    found = {}
    resume = getattr(factory, "resume", None)
    for name, thing in ((SAVE, getattr(run, "save", None)), (LOAD, resume or run.load)):
        if (function := method(thing)) is not None:
            found[name] = replace(Place.of(function), attributes=_attributes(run), modules=_modules(run))
            source = Source.of(function)
            own = {} if thing is resume else dict.fromkeys(found[name].roots, ("", run))
            if source is not None and (inner := _inner(Here(source, own), name, found[name])) is not None:
                found[BUILT if name == SAVE else READ] = inner
    return {name: asdict(place) for name, place in found.items()}


def places_of_functions(run: Value, names_alone: bool = False) -> dict[str, dict[str, Any]]:
    """The places of the functions that a run is in, as plain data: `save` and `load` for each path of their
    variables.

    Args:
        run: the run.
        names_alone: say only what modules are called there, and follow no dict.
    """
    found = {}
    for path, held in walk(run_roots(run)).objects.items():
        if isinstance(held, Variables):
            function = _function_of(held.frame)
            names, taken = visible_names(function)
            place = Place(function.__code__.co_qualname, str(function.__globals__.get("__name__")), names, taken)
            source = Source.of(function) if not names_alone else None
            if source is not None:
                made_of = {name: sorted(of) for name, of in source.made_of.items()}
                place = replace(place, made=made_of, read=source.read_before(held.frame.f_lasti))
            made = {name: item for name, item in held.frame.f_locals.items() if isinstance(item, types.FunctionType)}
            for name in (SAVE, LOAD):
                inner = _inner(Here(source, made=made), name, place) if source is not None else None
                inside = inner is not None and _is_inside(inner.function, place.function, name)
                found[f"{name} {path}"] = (
                    replace(inner, made=place.made, read=place.read) if inner is not None and inside else place
                )
    return {name: asdict(place) for name, place in found.items()}


def _is_inside(inner: str, function: str, name: str) -> bool:
    """Whether lines in a function have the variables of another: it is that one; or, for lines of save, which set none,
    one that it makes."""
    return inner == function or (name == SAVE and inner.startswith(f"{function}.<locals>."))


def _function_of(frame: types.FrameType) -> types.FunctionType:
    """A function of the code that a frame runs, to be read and not to be called."""
    cells = tuple(types.CellType() for _ in frame.f_code.co_freevars)
    function = types.FunctionType(frame.f_code, frame.f_globals, None, None, cells)
    function.__qualname__ = frame.f_code.co_qualname
    return function


def _attributes(run: Run) -> dict[str, str]:
    """Name of a component -> the attribute of the run that it is, of those that have another name there."""
    components: Callable[[], object] | None = getattr(run, "components", None)
    if not callable(components) or not isinstance(named := components(), Mapping):
        return {}
    held = attributes_of(run) or {}
    found = {name: next((own for own, value in held.items() if value is part), "") for name, part in named.items()}
    found |= {name: RUN for name, part in named.items() if part is run}
    return {name: own for name, own in found.items() if held.get(name) is not named[name]}


def _modules(run: Value) -> list[str]:
    """The modules, other than its own, that have variables which are state of a run."""
    variables = variables_of(type(run), held_code(run, attributes_of(run) or {}))
    dotted = (name.removeprefix(PREFIX).rpartition(".")[0] for name in variables)
    found = {module if module in sys.modules else module.rpartition(".")[0] for module in dotted}  # or of a class
    return sorted(found & set(sys.modules))


# --- inside a function


def _inner(here: Here, name: str, outer: Place) -> Place | None:
    """Where the dict that is saved is built, or that which is read has a name or can be given one."""
    path = outer.path if outer.path in here.source.arguments else ""
    found = written(here, path) if name == SAVE else read(here, path)
    if found is None:
        return None
    source = found.here.source
    names, taken = visible_names(source.function)
    place = Place(
        source.function.__qualname__,
        str(source.function.__module__),
        names,
        taken,
        outer.path if source.node is here.source.node else "path",
        {own: at for own, (at, _) in found.here.bound.items()},
        outer.attributes,
        outer.modules,
    )
    blocks = source.blocks_to(found.expression)
    if not blocks:
        return None
    return _saving(place, found, blocks[-1][0]) if name == SAVE else _loading(place, found, blocks)


def _saving(place: Place, found: Found, statement: ast.stmt) -> Place | None:
    source, expression = found.here.source, found.expression
    at = source.span(statement)
    if isinstance(expression, ast.Name):
        text = " ".join(source.text(statement).split())
        shown = f"`{text}` " if len(text) <= _LONG else ""
        apart = "" if source.has_its_lines(statement) else APART
        return replace(place, state=expression.id, where=f"before {shown}({at}){apart}")
    name, head, rest = _named(found, statement)
    at = _replaced(source, statement)
    return replace(place, state=name, where=f"in place of {at}", head=head, tail=rest, instead=at) if name else None


def _replaced(source: Source, statement: ast.stmt) -> str:
    """What lines stand in place of, in words: the lines of a statement, or of those it shares, the statement."""
    at = source.span(statement)
    if source.has_its_lines(statement):
        return at
    text = " ".join(source.text(statement).split())
    return f"`{text if len(text) <= _LONG else f'{text[: _LONG - 1]}…'}` ({at}){APART}"


def _loading(place: Place, found: Found, blocks: list[tuple[ast.stmt, list[ast.stmt]]]) -> Place | None:
    source, expression = found.here.source, found.expression
    statement, block = blocks[-1]
    name = name_given(statement, expression)
    if (guard := guard_of(statement, block, expression, name)) is not None:
        blocks = [*blocks[:-1], (guard, block), (guard.body[0], guard.body)]
        block = guard.body
    elif found.optional or is_conditional(statement, expression):
        return None  # elsewhere than in its place it might not be evaluated at all, or at another time
    for around, outer in reversed(blocks[:-1]):
        if isinstance(around, (ast.For, ast.While, ast.AsyncFor)):
            return None
        if isinstance(around, ast.Try) and not all(isinstance(each.body[-1], _END) for each in around.handlers):
            return None
        if isinstance(around, (ast.With, ast.AsyncWith, ast.Try)):
            block = outer
        else:
            break
    last = last_before_loop(block, statement, name)
    end = f"before the last line ({source.at(last)})" if isinstance(last, _END) else "at its end"
    if last is not block[-1]:
        end = "after what reads it"
    elif block is not source.node.body:
        end = end.replace("at its end", "at the end") + " of the block that reads it"
    end += "" if isinstance(last, _END) else f" (after {source.at(last, end=True)})"
    end += APART if not source.begins_its_line(block[0]) else ""
    every = goes_through(found.here, expression)
    later, again = source.assigned_after(last), source.assigned_again(statement, last)
    place = replace(place, later=later, again=again)
    if name and not source.is_assigned_between(name, statement, last):
        return replace(place, state=name, where=end, every_key=every)
    name, head, rest = _named(found, statement)
    if not name:
        return None
    at = _replaced(source, statement)
    return replace(place, state=name, where=end, head=[*head, *rest], instead=at, every_key=every)


def _named(found: Found, statement: ast.stmt) -> tuple[str, list[str], list[str]]:
    """A name for an expression, the lines that give it that name, and those of the statement that then has it; empty
    where no lines can."""
    source = found.here.source
    if hasattr(statement, "body"):
        return "", [], []
    function = source.function
    known = {*source.assigned, *function.__code__.co_varnames, *function.__globals__}
    name = next((free for free in _FREE if free not in known), "")
    head = f"{name} = {source.text(found.expression)}"
    return name, head.split("\n"), replaced(source, statement, found.expression, name).split("\n")


def method(thing: Any) -> types.FunctionType | None:
    """The function behind a method of the user's that is called with a path; None for all else."""
    if not isinstance(thing, types.MethodType):
        return None
    function = inspect.unwrap(thing.__func__)
    return function if isinstance(function, types.FunctionType) and is_users_module(function.__module__) else None


def names_at(run: Run, place: Place) -> dict[str, Value]:
    """All global names that lines have at a place; none where its function is not found."""
    for function in _functions(run):
        if (function.__qualname__, function.__module__) == (place.function, place.module):
            imported = {name: value_of(dotted) for name, dotted in imported_in_file(function).items()}
            own = {name: value_of(dotted) for dotted, name in place.names.items() if name not in imported}
            return {**own, **imported, **function.__globals__}
    return {}


def objects_at(run: Value, place: Place) -> dict[str, Value]:
    """What the names of a place stand for, of the run and its objects."""
    found = {}
    for name, path in place.roots.items():
        value: Any = run
        for part in path.split(".") if path else ():
            value = getattr(value, part)
        found[name] = value
    return found


def _functions(run: Run) -> Iterator[types.FunctionType]:
    known: list[Callable[..., Any] | None] = [getattr(run, "save", None), getattr(run, "load", None)]
    yield from filter(None, map(method, known))
    yield from functions_of(type(run), held_code(run, attributes_of(run) or {}))


def read_place(fields: dict[str, Json] | None) -> Place | None:
    """The place that was written as plain data."""
    known: Any = fields
    return Place(**known) if fields else None
