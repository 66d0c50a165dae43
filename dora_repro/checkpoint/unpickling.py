"""A pickle machine that runs nothing.

A pickle is a program. This machine executes its opcodes over a closed table of constructors
(`constructors.py`): a name of the table is built by code of this kit, any other becomes an inert `Stub` that
remembers its name, arguments and state. No module of the file's choosing is imported, no attribute is looked
up or set on anything by the file's wish, so nothing that the file says can run. Why not `pickle.Unpickler`
with `find_class`: its C code still sets attributes (BUILD), calls `append`, `extend` and `__setstate__`,
allocates by lengths and memo numbers that the file claims. Opcodes and their arguments are decoded by the
standard library's `pickletools`, which claims nothing beyond the bytes present.
"""

import pickletools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import Any, Protocol, TypeAlias

from dora_repro.checkpoint.guard import FileValue

MAX_OPCODES = 20_000_000
MAX_INTEGER_BITS = 8192
MAX_DEPTH = 200
MAX_KEY_PARTS = 1000
# What constructors may copy beyond a multiple of the pickle's own length, in elements or bytes.
FREE_WORK = 1 << 26

# Python 2, and protocol 2 of Python 3; and where Python 3.13, alone, keeps the classes of pathlib.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "pathlib._local": "pathlib"}
_DICTS = (dict, OrderedDict, defaultdict, Counter)


@dataclass(eq=False, slots=True, repr=False)
class Stub:
    """What a name of the file would have been: never imported, never called.

    Attributes:
        name: module and qualified name.
        args: that it was called with; None for the bare name (a class or function as a value).
        state: that was set on it.
        items: that were appended to it.
        entries: (key, value) pairs that were set in it.
    """

    name: str
    args: tuple[FileValue, ...] | None = None
    state: FileValue = None
    items: list[FileValue] = field(default_factory=list)
    entries: list[tuple[FileValue, FileValue]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Stub({self.name})" if self.args is None else f"Stub({self.name}, {len(self.args)} arguments)"


Constructor: TypeAlias = Callable[..., FileValue]
"""Builds a value from the arguments that a file gives: any number of any values, so each checks its own."""


class Stream(Protocol):
    """What a pickle is read from."""

    def read(self, size: int = ..., /) -> bytes:
        """The next `size` bytes, or as many as there are."""

    def readline(self, size: int | None = ..., /) -> bytes:
        """The bytes up to the end of the line."""


@dataclass(frozen=True)
class Vocabulary:
    """What a machine knows.

    Attributes:
        constants: names that stand for values.
        constructors: names that build.
        build: `build(value, state)` returns the value to go on with after a BUILD, or raises UnpicklingError.
        persistent: `persistent(id)` resolves what lies outside of the pickle (storages).
    """

    constants: Mapping[str, FileValue]
    constructors: Mapping[str, Constructor]
    build: Callable[[FileValue, FileValue], FileValue]
    persistent: Callable[[FileValue], FileValue]


def unpickle(stream: Stream, vocabulary: Vocabulary, size: int) -> FileValue:
    """Execute one pickle.

    Args:
        stream: read from where it stands, and left behind the pickle's STOP.
        vocabulary: what the pickle may name.
        size: bytes of the stream; what may be built is limited by it.

    Raises:
        Exception: The pickle is damaged, hostile or beyond the limits. It may be of any type: `UnpicklingError`,
            `ValueError`, `KeyError`, `IndexError`, `TypeError`, …
    """
    return _Machine(vocabulary, size).run(stream)


class _Machine:
    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        self.know = vocabulary
        self.stack: list[FileValue] = []
        self.marks: list[list[FileValue]] = []
        self.memo: dict[int, FileValue] = {}
        self.memo_of: dict[int, int] = {}  # id of a value -> the memo number it got last
        self.work = FREE_WORK + 8 * size

    def run(self, stream: Stream) -> FileValue:
        operations = pickletools.genops(stream)  # type: ignore[arg-type]  # it asks for read() and readline() alone
        for count, (opcode, arg, _) in enumerate(operations):
            if count > MAX_OPCODES:
                raise UnpicklingError(f"more than {MAX_OPCODES} operations")
            name = opcode.name
            if name == "STOP":
                break
            if name in _PUSHES:
                if type(arg) is int and arg.bit_length() > MAX_INTEGER_BITS:
                    raise UnpicklingError(f"an integer of {arg.bit_length()} bits")
                self.stack.append(arg)
            else:
                _OPERATIONS[name](self, arg)
        if self.marks or len(self.stack) != 1:
            raise UnpicklingError("it ends in the middle of a value")
        return self.stack[0]

    # --- the stack and the memo

    def mark(self, _: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[FileValue]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def duplicate(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def get(self, number: int | str) -> None:
        self.stack.append(self.memo[int(number)])

    def put(self, number: int | str | None) -> None:
        place = len(self.memo) if number is None else int(number)
        self.memo[place] = self.stack[-1]
        self.memo_of[id(self.stack[-1])] = place

    # --- containers

    def tuple_of_marked(self, _: None) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise UnpicklingError("a tuple of more values than there are")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def list_of_marked(self, _: None) -> None:
        items = self.since_mark()
        self.stack.append(items)

    def dict_of_marked(self, _: None) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_all(items)

    def frozenset_of_marked(self, _: None) -> None:
        items = self.since_mark()
        for item in items:
            check_key(item)
        self.stack.append(frozenset(items))

    def append_all(self, items: list[FileValue]) -> None:
        target = self.stack[-1]
        if isinstance(target, (list, deque)) and type(target) in (list, deque):
            target.extend(items)
        elif type(target) is Stub:
            target.items.extend(items)
        else:
            raise UnpicklingError(f"values appended to a {type(target).__name__}")

    def append(self, _: None) -> None:
        self.append_all([self.stack.pop()])

    def add_all(self, items: list[FileValue]) -> None:
        target = self.stack[-1]
        if type(target) is Stub:
            target.items.extend(items)
        elif type(target) is set:
            for item in items:
                check_key(item)
            target.update(items)
        else:
            raise UnpicklingError(f"values added to a {type(target).__name__}")

    def set_all(self, items: list[FileValue]) -> None:
        target = self.stack[-1]
        if len(items) % 2:
            raise UnpicklingError("a key without a value")
        pairs = list(zip(items[::2], items[1::2], strict=True))
        if type(target) is Stub:
            target.entries.extend(pairs)
        elif isinstance(target, dict) and type(target) in _DICTS:
            for key, value in pairs:
                check_key(key)
                target[key] = value
        else:
            raise UnpicklingError(f"entries set on a {type(target).__name__}")

    def set_item(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_all([key, value])

    # --- names and what they build

    def name(self, arg: str) -> None:
        module, _, qualname = arg.partition(" ")
        self.find(module, qualname)

    def name_on_stack(self, _: None) -> None:
        qualname, module = self.stack.pop(), self.stack.pop()
        if type(module) is not str or type(qualname) is not str:
            raise UnpicklingError("a name that is no text")
        self.find(module, qualname)

    def find(self, module: str, qualname: str) -> None:
        module = _RENAMED.get(module, module)
        if module.startswith("numpy.core."):  # numpy before 2.0
            module = module.replace("numpy.core.", "numpy._core.", 1)
        full = f"{module}.{qualname}"
        constants = self.know.constants
        self.stack.append(constants[full] if full in constants else Stub(full))

    def construct(self, target: FileValue, args: FileValue) -> FileValue:
        if type(target) is not Stub or not isinstance(args, tuple):
            raise UnpicklingError(f"a call of a {type(target).__name__} with a {type(args).__name__}")
        if target.args is not None:  # the result of a call that was not made, called: still nothing
            return Stub(f"{target.name}(…)", args)
        self.work -= sum(
            len(arg) for arg in args if isinstance(arg, (str, bytes, bytearray, list, tuple, dict, set))
        )
        if self.work < 0:
            raise UnpicklingError("it copies the same data over and over")
        constructor = self.know.constructors.get(target.name)
        return constructor(*args) if constructor else Stub(target.name, args)

    def call(self, _: None) -> None:
        args, target = self.stack.pop(), self.stack.pop()
        self.stack.append(self.construct(target, args))

    def call_with_keywords(self, _: None) -> None:
        keywords, args, target = self.stack.pop(), self.stack.pop(), self.stack.pop()
        if type(target) is not Stub or not isinstance(args, tuple):
            raise UnpicklingError(f"a call of a {type(target).__name__}")
        self.stack.append(Stub(target.name, (*args, keywords) if keywords else args))

    def call_marked(self, name: str | None) -> None:
        args = self.since_mark()
        if name is None:
            target = args.pop(0)
        else:
            self.name(name)
            target = self.stack.pop()
        self.stack.append(self.construct(target, tuple(args)))

    def build(self, _: None) -> None:
        state = self.stack.pop()
        value = self.stack[-1]
        if type(value) is Stub:
            value.state = state
            return
        changed = self.know.build(value, state)
        if changed is not value:
            self.stack[-1] = changed
            number = self.memo_of.get(id(value))
            if number is not None and self.memo.get(number) is value:
                self.memo[number] = changed

    def persistent(self, arg: str | None) -> None:
        self.stack.append(self.know.persistent(self.stack.pop() if arg is None else arg))

    def refuse(self, _: None) -> None:
        raise UnpicklingError("it uses extension codes or buffers from outside of the file")


_PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)


# What an opcode does, with the argument that pickletools decodes for it: a number, a text or None, so Any.
_Operation: TypeAlias = Callable[[_Machine, Any], None]


def _constant(make: Callable[[], FileValue]) -> _Operation:
    return lambda machine, _: machine.stack.append(make())


def _on_marked(method: Callable[[_Machine, list[FileValue]], None]) -> _Operation:
    return lambda machine, _: method(machine, machine.since_mark())


_OPERATIONS: dict[str, _Operation] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_SET": _constant(set),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _on_marked(lambda machine, items: None),
    "DUP": _Machine.duplicate,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": _Machine.list_of_marked,
    "DICT": _Machine.dict_of_marked,
    "FROZENSET": _Machine.frozenset_of_marked,
    "APPEND": _Machine.append,
    "APPENDS": _on_marked(_Machine.append_all),
    "ADDITEMS": _on_marked(_Machine.add_all),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _on_marked(_Machine.set_all),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "INST": _Machine.call_marked,
    "OBJ": _Machine.call_marked,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persistent,
    "BINPERSID": _Machine.persistent,
    "EXT1": _Machine.refuse,
    "EXT2": _Machine.refuse,
    "EXT4": _Machine.refuse,
    "NEXT_BUFFER": _Machine.refuse,
    "READONLY_BUFFER": _Machine.refuse,
}


def check_key(key: FileValue) -> None:
    """Refuse keys that are no plain names, and tuples so deep or entangled that hashing one would not end.

    Raises:
        UnpicklingError: such a key.
    """
    waiting, seen = [(key, 0)], 0
    while waiting:
        part, depth = waiting.pop()
        seen += 1
        if seen > MAX_KEY_PARTS or depth > 20:
            raise UnpicklingError("a key of a dict or set is nested beyond reason")
        if isinstance(part, (tuple, frozenset)):
            waiting.extend((inner, depth + 1) for inner in part)
