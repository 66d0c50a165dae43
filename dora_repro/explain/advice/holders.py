"""Lines of code for what holds state for other code: queues, text in memory, buffers, files, sets, weak references.

Each is refilled, and not replaced, since whoever else has it goes on using it.
"""

import array
import contextvars
import mmap
import queue
import weakref

import numpy as np

from dora_repro.explain.advice.lost_state import Advice, LostState, expression, saved_value, state_key
from dora_repro.explain.advice.units import class_at
from dora_repro.state.holders import BYTES, ITEMS, LEFT, POSITION, TEXT, TRAPS, WINDOW

_Lines = tuple[tuple[str, ...], tuple[str, ...]]
"""Lines of save and of load, with {code} for the holder and {key} for what is saved of it."""

_REWRITTEN: _Lines = (("{key} = {code}.getvalue()",), ("{code}.seek(0); {code}.truncate(); {code}.write({key})",))
_PLACE: _Lines = (("{key} = {code}.tell()",), ("{code}.seek({key})",))
_WHOLE: _Lines = (("{key} = {code}[:]",), ("{code}[:] = {key}",))
_LISTED: _Lines = (("{key} = list({code})",), ("{code}[:] = {key}",))
_REFILLED: _Lines = (("{key} = list({code})",), ("{code}.clear()", "{code}.update({key})"))
_OF_ARRAY: _Lines = (
    ("{key} = list({code}.flat)",),
    ("for place, item in enumerate({key}): {code}.flat[place] = item",),
)
_OF_QUEUE: _Lines = (("{key} = list({code}.queue)",), ("{code}.queue.clear()", "{code}.queue.extend({key})"))
_PUT_AGAIN = "for item in {key}: {code}.put(item)"
_OF_SIMPLE_QUEUE: _Lines = (
    ("{key} = [{code}.get() for _ in range({code}.qsize())]", _PUT_AGAIN),
    ("while not {code}.empty(): {code}.get()", _PUT_AGAIN),
)
_OF_CONTEXT: _Lines = (("{key} = copy.deepcopy({code}.get())",), ("{code}.set({key})",))
_TRAPPED: _Lines = (
    ("{key} = [signal.__name__ for signal, traps in {code}.traps.items() if traps]",),
    ("for signal in {code}.traps: {code}.traps[signal] = signal.__name__ in {key}",),
)

# Name of a leaf that only calls give and take -> the class of its holder, None for any -> lines.
_BY_NAME: dict[str, tuple[tuple[type | None, _Lines], ...]] = {
    TEXT: ((None, _REWRITTEN),),
    BYTES: ((mmap.mmap, _WHOLE), (None, _REWRITTEN)),
    LEFT: ((None, _PLACE),),
    POSITION: ((None, _PLACE),),
    ITEMS: ((queue.SimpleQueue, _OF_SIMPLE_QUEUE), (np.ndarray, _OF_ARRAY), (None, _LISTED)),
    TRAPS: ((None, _TRAPPED),),
}
# The same for all that lies in a holder of a class.
_BY_CLASS: tuple[tuple[tuple[type, ...], _Lines], ...] = (
    ((queue.Queue,), _OF_QUEUE),
    ((queue.SimpleQueue,), _OF_SIMPLE_QUEUE),
    ((contextvars.ContextVar,), _OF_CONTEXT),
)
_CLASSES = "Saved whole, its items need their classes to be there, and torch.load(path, weights_only=False)."
_WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet, weakref.ReferenceType)


def holder_at(lost: LostState, path: str, *, inside: bool = False) -> str:
    """The path of the holder that a leaf lies in, or is; empty where there is none, or where a file has the leaf.

    Args:
        lost: what was lost.
        path: one of its paths.
        inside: whether what is at the path is lost as a whole, so that a holder counts only where it is around that.
    """
    if lost.keys is not None:
        return ""
    above, _, name = path.rpartition("/")
    if name in (*_BY_NAME, WINDOW):
        return above
    if _buffer_at(lost, path):
        return path
    at = above if inside else path
    while at:
        kind = class_at(lost, at)
        if kind is not None and _is_holder(lost, kind, at):
            return at
        at = at.rpartition("/")[0]
    return ""


def _is_holder(lost: LostState, kind: type, path: str) -> bool:
    listed = (*(one for classes, _ in _BY_CLASS for one in classes), *_WEAK)
    return issubclass(kind, listed) or (issubclass(kind, (set, frozenset)) and path not in lost.saved)


def _buffer_at(lost: LostState, path: str) -> type | None:
    name = lost.kinds[path].name if path in lost.kinds else ""
    return {"bytearray": bytearray, "array.array": array.array}.get(name)


def holder_lines(lost: LostState, holder: str) -> Advice:
    """Advise on what lies in one holder.

    Args:
        lost: the leaves.
        holder: its path.
    """
    code, key = expression(lost, holder), state_key(lost, holder)
    kind, name = class_at(lost, holder), lost.first.rpartition("/")[2]
    if name == WINDOW:
        return Advice(
            sentence=f"`{code}` shows another part of its buffer: save where that begins and ends, and take the same "
            "part after loading."
        )
    if (buffer := _buffer_at(lost, holder)) is not None:
        if buffer is bytearray:
            return Advice((f"{key} = bytes({code})",), (f"{code}[:] = {key}",))
        return Advice((f"{key} = list({code})",), (f"{code}[:] = type({code})({code}.typecode, {key})",))
    if name in _BY_NAME:
        names = dict.fromkeys(path.rpartition("/")[2] for path in lost.paths)
        found = [(one, _of_name(one, kind)) for one in names]
        keys = {one: key if len(found) == 1 else state_key(lost, f"{holder}/{one.strip('()')}") for one in names}
        save = tuple(line.format(code=code, key=keys[one]) for one, (lines, _) in found for line in lines)
        load = tuple(line.format(code=code, key=keys[one]) for one, (_, lines) in found for line in lines)
        return Advice(save, load)
    for classes, (save, load) in _BY_CLASS:
        if kind is not None and issubclass(kind, classes):
            return _filled(lost, code, key, (save, load))
    return _of_members(lost, holder, kind)


def _of_name(name: str, kind: type | None) -> _Lines:
    return next(
        lines for of, lines in _BY_NAME[name] if of is None or (kind is not None and issubclass(kind, of))
    )


def _filled(lost: LostState, code: str, key: str, lines: _Lines) -> Advice:
    save, load = (tuple(line.format(code=code, key=key) for line in some) for some in lines)
    return Advice(save, load, _CLASSES if _has_objects(lost) else "")


def _has_objects(lost: LostState) -> bool:
    """Whether any of the leaves lies in an object of a class."""
    return any(path.rpartition("/")[0] not in lost.kinds for path in lost.paths if path in lost.saved)


def _of_members(lost: LostState, holder: str, kind: type | None) -> Advice:
    """Advice on a set of objects, or on weak references to some."""
    code, key = expression(lost, holder), state_key(lost, holder)
    inside = [path for path in lost.saved if path.startswith(f"{holder}/") or path == holder]
    keyed = dict(lost.kinds[holder].keyed) if holder in lost.kinds else {}
    targets = [str(saved_value(lost, path)).removeprefix("= ") for path in inside if lost.saved[path].role == "alias"]
    targets = list(keyed.values()) or targets
    is_set = kind is not None and issubclass(kind, (set, frozenset, weakref.WeakSet))
    if is_set and not targets:
        return _filled(lost, code, key, _REFILLED)
    owners = {target.rpartition("/")[0] for target in targets}
    listed = next(iter(owners)) if len(owners) == 1 else ""
    if listed in lost.kinds and lost.kinds[listed].name == "list":
        at = expression(lost, listed)
        return _by_place(kind, code, key, at)
    if keyed and all(_is_module(lost, target) for target in targets):
        model = expression(lost, min((target.partition("/")[0] for target in targets), default=""))
        named = f"for name, module in {model}.named_modules() if"
        return Advice(
            (f"{key} = {{name: {code}[module] {named} module in {code}}}",),
            (f"{code}.update({{module: {key}[name] {named} name in {key}}})",),
            f"The keys of {code} are modules: different objects in the next process, under the same names.",
        )
    held = ", ".join(f"`{target}`" for target in dict.fromkeys(targets)) or "objects of the run"
    return Advice(sentence=f"{code} refers to {held}: save which by a name or a position, and find them by that again.")


def _is_module(lost: LostState, path: str) -> bool:
    return f"{path}/training" in lost.saved or f"{path}.training" in lost.saved


def _is(kind: type | None, other: type) -> bool:
    return kind is not None and issubclass(kind, other)


def _by_place(kind: type | None, code: str, key: str, at: str) -> Advice:
    """Lines for what refers to items of a list: by their places in it."""
    if _is(kind, weakref.ReferenceType):
        return Advice(
            (f"{key} = next(place for place, item in enumerate({at}) if item is {code}())",),
            (f"{code} = weakref.ref({at}[{key}])",),
        )
    if _is(kind, weakref.WeakKeyDictionary):
        return Advice(
            (f"{key} = {{place: {code}[item] for place, item in enumerate({at}) if item in {code}}}",),
            (f"{code}.clear()", f"{code}.update({{{at}[place]: held for place, held in {key}.items()}})"),
        )
    if _is(kind, weakref.WeakValueDictionary):
        places = f"{{id(item): place for place, item in enumerate({at})}}"
        return Advice(
            (f"places = {places}", f"{key} = {{name: places[id(item)] for name, item in {code}.items()}}"),
            (f"{code}.clear()", f"{code}.update({{name: {at}[place] for name, place in {key}.items()}})"),
        )
    return Advice(
        (f"{key} = [place for place, item in enumerate({at}) if item in {code}]",),
        (f"{code}.clear()", f"{code}.update({at}[place] for place in {key})"),
    )
