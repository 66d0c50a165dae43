"""What the opcodes of a pickle do: to a stack, a memo and the containers in them, and to nothing else.

A name of the closed table of constructors (`constructors.py`) is built by code of this kit, any other becomes an inert
`Stub` that remembers its name, arguments and state. No module of the file's choosing is imported, no attribute is
looked up or set on anything by the file's wish. What is made is taken from the file's `Budget` first.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from sys import getsizeof

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.stub import Constructor, Stub

MAX_KEY_PARTS = 1000

# Work, in about microseconds: of a call, of a name, of a value that is copied, of a part of a key that is hashed.
_OF_A_CALL = 5
_OF_A_NAME = 1.5
_OF_A_VALUE = 0.05
_OF_A_PART = 0.5
# Memory, in bytes: of a stub, a place in a list, an entry of a dict or set.
STUB_BYTES = 260
PLACE_BYTES = 8
_ENTRY = 110
_CALLED = "(…)"
_MANY = 1000  # entries of a dict or set from which on it matters that keys are told apart by more than their hash

# Python 2, and protocol 2 of Python 3; and where Python 3.13, alone, keeps the classes of pathlib.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "pathlib._local": "pathlib"}
_RENAMED_WHOLE = {"builtins.long": "builtins.int", "builtins.unicode": "builtins.str"}
_DICTS = (dict, OrderedDict, defaultdict, Counter)


@dataclass(frozen=True)
class Vocabulary:
    """What a machine knows.

    Attributes:
        constants: names that stand for values.
        constructors: names that build.
        changing: types of values in place of which `build` may return others.
        build: `build(value, state)` returns the value to go on with after a BUILD, or raises UnpicklingError.
        persistent: `persistent(id)` resolves what lies outside of the pickle (storages).
    """

    constants: Mapping[str, FileValue]
    constructors: Mapping[str, Constructor]
    changing: tuple[type, ...]
    build: Callable[[FileValue, FileValue], FileValue]
    persistent: Callable[[FileValue], FileValue]


class Machine:
    """Does what opcodes say, one after the other.

    Args:
        vocabulary: what the pickle may name.
        budget: what reading the file may take.

    Attributes:
        stack: the values since the last mark.
        marks: the stacks before each mark.
        memo: values by their numbers.
    """

    def __init__(self, vocabulary: Vocabulary, budget: Budget) -> None:
        self.know, self.budget = vocabulary, budget
        self.stack: list[FileValue] = []
        self.marks: list[list[FileValue]] = []
        self.memo: dict[int, FileValue] = {}
        self.memo_of: dict[int, int] = {}  # id of a value that BUILD may change -> the memo number it got last
        self.alike: Counter[tuple[int, int]] = Counter()  # (id of a large dict or set, hash) -> keys with that hash

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
        self.memo[place] = value = self.stack[-1]
        if isinstance(value, self.know.changing):
            self.memo_of[id(value)] = place

    # --- containers

    def tuple_of_marked(self, _: None) -> None:
        items = self.since_mark()
        self.take_values(items, PLACE_BYTES)
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
        self.take_values(items, _ENTRY)
        for item in items:
            take_key(self.budget, item)
        self.stack.append(frozenset(items))

    def append_all(self, items: list[FileValue]) -> None:
        target = self.stack[-1]
        self.take_values(items, PLACE_BYTES)
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
            self.take_values(items, PLACE_BYTES)
            target.items.extend(items)
        elif type(target) is set:
            self.take_values(items, _ENTRY)
            for item in items:
                self.take_key_of(target, item)
                target.add(item)
        else:
            raise UnpicklingError(f"values added to a {type(target).__name__}")

    def set_all(self, items: list[FileValue]) -> None:
        target = self.stack[-1]
        if len(items) % 2:
            raise UnpicklingError("a key without a value")
        self.take_values(items, _ENTRY / 2)
        pairs = list(zip(items[::2], items[1::2], strict=True))
        if type(target) is Stub:
            target.entries.extend(pairs)
        elif isinstance(target, dict) and type(target) in _DICTS:
            for key, value in pairs:
                self.take_key_of(target, key)
                target[key] = value
        else:
            raise UnpicklingError(f"entries set on a {type(target).__name__}")

    def set_item(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_all([key, value])

    # --- what values take

    def take_values(self, items: list[FileValue], each: float) -> None:
        self.budget.take(_OF_A_VALUE * len(items), each * len(items))

    def take_key_of(self, target: dict[FileValue, FileValue] | set[FileValue], key: FileValue) -> None:
        """Take what it costs to find the place of a key, though all keys of a file have the same hash."""
        if type(key) is str:  # hashed with a secret of the process
            return
        take_key(self.budget, key)
        if len(target) > _MANY and not (type(key) is int and key.bit_length() < 61):  # small numbers are their hashes
            place = id(target), hash(key)
            self.alike[place] += 1
            self.budget.take(_OF_A_VALUE * self.alike[place], _ENTRY)

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
        self.budget.take(_OF_A_NAME, STUB_BYTES + 4 * (len(module) + len(qualname)))
        full = f"{module}.{qualname}"
        full = _RENAMED_WHOLE.get(full, full)
        constants = self.know.constants
        self.stack.append(constants[full] if full in constants else Stub(full))

    def construct(self, target: FileValue, args: FileValue) -> FileValue:
        if type(target) is not Stub or not isinstance(args, tuple):
            raise UnpicklingError(f"a call of a {type(target).__name__} with a {type(args).__name__}")
        self.budget.take(_OF_A_CALL, STUB_BYTES)
        if target.args is not None:  # the result of a call that was not made, called: still nothing
            return Stub(f"{target.name.removesuffix(_CALLED)}{_CALLED}", args)
        for arg in args:
            self.take_copy(arg)
        constructor = self.know.constructors.get(target.name)
        if constructor is None:
            return Stub(target.name, args)
        made = constructor(*args)
        self.budget.take(memory=getsizeof(made))
        return made

    def take_copy(self, value: FileValue) -> None:
        """Take what it costs to copy a value of the file, once."""
        if isinstance(value, (str, bytes, bytearray)):
            self.budget.take_bytes(len(value))
            self.budget.take(memory=len(value))
        elif isinstance(value, (list, tuple, dict, set, frozenset, deque)):
            self.budget.take(
                _OF_A_VALUE * len(value), (PLACE_BYTES if isinstance(value, (list, tuple)) else _ENTRY) * len(value)
            )

    def call(self, _: None) -> None:
        args, target = self.stack.pop(), self.stack.pop()
        self.stack.append(self.construct(target, args))

    def call_with_keywords(self, _: None) -> None:
        keywords, args, target = self.stack.pop(), self.stack.pop(), self.stack.pop()
        if type(target) is not Stub or not isinstance(args, tuple):
            raise UnpicklingError(f"a call of a {type(target).__name__}")
        self.budget.take(_OF_A_CALL, STUB_BYTES)
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
        self.budget.take(_OF_A_CALL)
        for part in state if isinstance(state, (list, tuple)) else ():
            self.take_copy(part)
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


def take_key(budget: Budget, key: FileValue) -> None:
    """Take what it costs to hash a key, and refuse those that are no plain names, or so deep that it would not end.

    Args:
        budget: what reading the file may take.
        key: of a dict, or a member of a set.

    Raises:
        UnpicklingError: such a key.
        Malformed: hashing it takes more than is left.
    """
    if type(key) is str:
        return
    waiting, seen = [(key, 0)], 0
    while waiting:
        part, depth = waiting.pop()
        seen += 1
        if seen > MAX_KEY_PARTS or depth > 20:
            raise UnpicklingError("a key of a dict or set is nested beyond reason")
        if isinstance(part, (tuple, frozenset)):
            waiting.extend((inner, depth + 1) for inner in part)
    budget.take(_OF_A_PART * seen)
