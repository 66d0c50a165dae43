"""The walker: meets objects breadth first, names each by its shortest path, and makes leaves of what is state.

An object reached by several ways is named by the shortest, and the others become *alias* leaves: identity is state
(whether the optimizer steps the very tensors that the model uses). The walker knows leaves, tensors and attributes; its
table says what to do with each type, and by which function it is read (`type_dispatch.py`).

Objects are distinguished by their type alone: none of their properties, `__getattr__`, `__eq__`, `__len__` or
`__bool__` is called.
"""

from collections import ChainMap, deque
from collections.abc import Callable, Container, Mapping, MutableMapping
from functools import partial
from types import CellType
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.state import rng
from dora_repro.state.assign import Setter, put_array, put_tensor
from dora_repro.state.attached import IN_DIGEST, attached_to_tensor, has_attributes
from dora_repro.state.attributes import attributes_of, class_state, set_attribute, type_name
from dora_repro.state.codecs import Codec, kind_name
from dora_repro.state.digest import digest
from dora_repro.state.hooks import hooks_of
from dora_repro.state.keys import LEAST_ID, OF_ID, key_text
from dora_repro.state.leaves import Leaf, Leaves
from dora_repro.state.module_variables import PREFIX
from dora_repro.state.parts import Parts
from dora_repro.state.places import with_names
from dora_repro.state.schedules import held_by_others
from dora_repro.state.type_dispatch import Table, Way

MAX_ITEMS = 10_000  # a longer container of objects (a data set's samples) is listed, not walked
OWNER = "the run"  # in place of a path: what aliases of the run itself stand for
MAX_DEPTH = 60  # a chain of attributes longer than this is a linked structure, not a training run
OPTIMIZER_PARTS = ("param_groups", "state")  # an optimizer may share them with one that it wraps, or is wrapped by

Reader: TypeAlias = Callable[["Walker", Any, str, Setter, str], None]
"""`reader(walker, value, path, hold, role)` visits what a value holds; `Any`: a value of the type it is listed for."""

# Looked up for every value of a walk, where an attribute of the class would be slower.
_SCALAR, _TENSOR, _GENERATOR, _ARRAY = Way.SCALAR, Way.TENSOR, Way.GENERATOR, Way.ARRAY
_ENCODED, _LISTED, _SHARED, _UNSHARED = Way.ENCODED, Way.LISTED, Way.SHARED, Way.UNSHARED


class Walker:
    """One walk.

    Args:
        table: what to do with each type.
        moving_only: as of `walk.walk`.

    Attributes:
        result: leaves, and what was met on the way.
    """

    def __init__(self, table: Table[Reader], moving_only: bool = False):
        self.moving_only = moving_only
        self.result = Leaves()
        self._table, self.way = table, table.way
        self._queue: deque[tuple[Value, str, Setter, str, int, Reader]] = deque()
        self._last: list[Callable[[], object]] = []  # work put off until all parameters have their names
        self._names: MutableMapping[int, str] = {}  # id -> path of the first way to an object
        self._storages: dict[int, list[tuple[torch.Tensor, str]]] = {}  # address -> tensors that begin there
        self._alive: list[Value] = []  # so that no id is given twice during a walk
        self._depth = 0

    def walk(self, roots: Mapping[str, Value], owner: Value = None) -> None:
        """Visit all that is reachable from some named objects.

        Args:
            roots: name -> object.
            owner: the run whose attributes they are; where something refers to it, that is an alias.
        """
        if owner is not None:
            self._names[id(owner)] = OWNER
            self.result.others[OWNER] = owner
        inner = held_by_others(roots.values())
        for name in sorted(roots, key=lambda name: (*_rank(str(name), roots[name]), str(name))):
            value, self._depth = roots[name], 0
            visit = partial(self.visit, value, key_text(name), self.setter(_set_root, roots, name))
            if id(value) in inner:  # the one that saves its state gives it its name
                self.later(visit)
                continue
            visit()
            if issubclass(type(value), (torch.nn.Module, torch.optim.Optimizer)):
                self._drain()
        self._drain()
        # No circle through this walk may keep what it met: a loader's iterator has workers that end with it.
        while self._last:
            last, self._last = self._last, []
            for work in last:
                work()
            self._drain()

    def _drain(self) -> None:
        while self._queue:
            value, path, hold, role, self._depth, reader = self._queue.popleft()
            self.result.objects[path] = value
            if hold is not None:
                self.result.holds[path] = hold
            try:
                reader(self, value, path, hold, role)
            except Exception as error:  # whatever a class that nobody here knows may raise
                self._list(path, value, error)

    def _list(self, path: str, value: Value, error: Exception) -> None:
        self.result.uncaptured[path] = f"{type_name(value)}: {type(error).__name__}"

    def later(self, work: Callable[[], object]) -> None:
        """Do `work` when every module has been met, so that parameters have names."""
        self._last.append(work)

    def setter(self, function: Callable[..., object], *arguments: Value) -> Setter:
        """A setter, made only where leaves may be put back."""
        return None if self.moving_only else partial(function, *arguments)

    # --- meeting an object -------------------------------------------------------------------------------------

    def visit(self, value: Any, path: str, hold: Setter = None, role: str = "memory") -> None:
        """Meet an object at a path: a leaf at once, an alias, or queued to be taken apart."""
        way, codec, reader = self.way(type(value))
        if way is _SCALAR:
            self.leaf(path, value, role, hold, hold)
        elif way is _TENSOR:
            self.tensor(value, path, hold, role)
        elif codec is not None:
            self._encoded(value, codec, path, hold, role)
        elif way is _LISTED:
            self.result.uncaptured[path] = type_name(value)
        elif way is _UNSHARED:
            self._put_in_line(value, path, hold, role, reader)
        elif self.alias(value, path, hold):
            return
        elif way is _SHARED:
            if _is_optimizer(value):
                self._name_parts(value, path)
            self._put_in_line(value, path, hold, role, reader)
        elif way is _ARRAY:
            self.array(value, path, hold, role, reader)
        else:
            self.generator(value, path, hold)

    def _name_parts(self, optimizer: torch.optim.Optimizer, path: str) -> None:
        """Its groups and state go by its name, whatever a wrapper that has them too is called."""
        for name in OPTIMIZER_PARTS:
            if (part := vars(optimizer).get(name)) is not None:
                self._names.setdefault(id(part), f"{path}/{name}")

    def _put_in_line(self, value: Value, path: str, hold: Setter, role: str, reader: Reader | None) -> None:
        if self._depth >= MAX_DEPTH:
            self.result.uncaptured[path] = f"{type_name(value)} ({MAX_DEPTH} levels deep)"
        else:
            self._queue.append((value, path, hold, role, self._depth + 1, reader or Walker.read_object))

    def _encoded(self, value: Value, codec: Codec, path: str, hold: Setter, role: str) -> None:
        encode, decode = codec
        put = None if hold is None or decode is None else lambda plain: hold(decode(type(value), plain))
        try:
            self.leaf(path, encode(value), role, put, hold)
        except Exception as error:
            self._list(path, value, error)
        if has_attributes(value):
            self._put_in_line(value, path, None, role, None)
        if not self.moving_only:
            self.result.kinds[path] = kind_name(value) or type_name(value)

    def leaf(self, path: str, value: Value, role: str = "memory", put: Setter = None, hold: Setter = None) -> None:
        """Add a leaf. A path that is taken (of keys 1 and "1", which read the same) gets a number."""
        if self.moving_only and role in _AT_REST:
            return
        leaves = self.result.leaves
        if path in leaves:
            path = next(p for n in range(2, len(leaves) + 3) if (p := f"{path}#{n}") not in leaves)
        leaves[path] = Leaf(path, with_names(value), role, put, hold)

    def path_of(self, value: Value) -> str | None:
        """The name of an object that was met before."""
        return self._names.get(id(value))

    def content_of(self, value: Value) -> bytes:
        """A digest of what an object holds, the same in every process; what has a name goes by that."""
        inside = Walker(self._table)
        inside._names = ChainMap({}, self._names)
        inside.walk({"": value})
        forms = [f"{path} {type_name(held)}" for path, held in inside.result.objects.items()]
        return digest(sorted([*forms, *(f"{path} {_digest_of(leaf)}" for path, leaf in inside.result.items())]))

    def key(self, key: Value, path: str) -> str:
        """A key of the dict at a path as text: a tensor's or module's is the name that it was met by, and so is that of
        its id, which is another number in each process."""
        if type(key) is str:
            return key_text(key)
        at, prefix = None, ""
        if issubclass(type(key), (torch.Tensor, torch.nn.Module)):
            at = self.path_of(key)
        elif type(key) is int and isinstance(key, int) and key >= LEAST_ID:
            at, prefix = self._names.get(key), OF_ID
        if at is None:
            return key_text(key)
        text = at.replace("/", ".")
        self.result.keyed.setdefault(path, {})[text] = f"{prefix}{at}"
        return text

    def alias(self, value: Value, path: str, hold: Setter = None) -> bool:
        """Whether this very object was met before; if so it becomes an alias leaf."""
        first = self._names.setdefault(id(value), path)
        if first is path:
            self._alive.append(value)
            return False
        self.leaf(path, f"= {first}", "alias", hold, hold)
        return True

    def variable(self, cell: CellType, content: Value, path: str, hold: Setter = None, role: str = "memory") -> None:
        """Meet what a variable holds that several functions may share: by its second name it is an alias, even where
        it holds a number, which has no identity of its own."""
        if self._means_nothing(content) and self.alias(cell, path, hold):
            return
        self.visit(content, path, hold, role)

    def _means_nothing(self, value: Value) -> bool:
        """Whether the identity of a value means nothing, so that two names of it are no alias."""
        return self.way(type(value))[0] in (_SCALAR, _ENCODED) or issubclass(type(value), (tuple, frozenset))

    def tensor(self, value: torch.Tensor, path: str, hold: Setter = None, role: str = "memory") -> None:
        """A tensor leaf, or an alias of a tensor over the same bytes."""
        try:
            self._tensor(value, path, hold, role)
        except Exception as error:  # of a subclass that computes its own attributes
            self._list(path, value, error)

    def _tensor(self, value: torch.Tensor, path: str, hold: Setter, role: str) -> None:
        if role == "memory" and value.requires_grad and value.is_leaf:
            role = "parameter"
        first = self._names.setdefault(id(value), path)
        if first is path:
            self._alive.append(value)
            self._attached(value, path)
            if torch.nn.parameter.is_lazy(value):
                self.leaf(path, f"uninitialized {type(value).__name__}", role, partial(put_tensor, value, hold), hold)
                self.result.others[path] = value
                return
            first = self._same_storage(value, path)
            if first is not path:  # the same elements: the leaf is an alias, and the tensor has attributes of its own
                self.result.others[path] = value
        if first is not path:
            if not (self.moving_only and role in _AT_REST):
                self.leaf(path, f"= {first}", "alias", hold, hold)
            return
        if role == "parameter":
            self.hooks(value, path)
        if not (self.moving_only and role in _AT_REST):
            self.leaf(path, value, role, self.setter(put_tensor, value, hold), hold)
            if role == "parameter":
                self.leaf(f"{path}/requires_grad", value.requires_grad, "structure", value.requires_grad_)
                if value.is_leaf and value.grad is not None:
                    self.tensor(value.grad, f"{path}/grad", partial(setattr, value, "grad"), "gradient")

    def _attached(self, tensor: torch.Tensor, path: str) -> None:
        """What a tensor has besides its elements, and what the tensors that it wraps have."""
        left_out, inside = attached_to_tensor(tensor)
        if self._depth >= MAX_DEPTH:  # a tensor that hangs on a tensor that hangs on a tensor …
            self.result.uncaptured[path] = f"what hangs on it ({MAX_DEPTH} levels deep)"
            return
        self._depth += 1
        self.attributes(tensor, path, skip=left_out)
        for name, inner in inside.items():
            self._attached(inner, f"{path}/{key_text(name)}")
        self._depth -= 1

    def _same_storage(self, value: torch.Tensor, path: str) -> str:
        """The path of a tensor met before that is a view of the very same elements, else this one's own."""
        try:
            if value.layout is not torch.strided or not (address := value.data_ptr()):
                return path
        except RuntimeError:  # wrapper subclasses and meta tensors without storage
            return path
        others = self._storages.setdefault(address, [])
        for other, first in others:
            if _form(other) == _form(value):
                return first
        others.append((value, path))
        return path

    def array(self, value: np.ndarray, path: str, hold: Setter, role: str, reader: Reader | None) -> None:
        """An array: a leaf, or taken apart where its items are Python objects."""
        if value.dtype.hasobject:
            self._put_in_line(value, path, hold, role, reader)
        else:
            self.leaf(path, value, role, self.setter(put_array, value, hold), hold)
            if has_attributes(value):
                self.attributes(value, path, role, IN_DIGEST)

    def generator(self, value: rng.Generator, path: str, hold: Setter) -> None:
        """A private random number generator: its state. A global one is captured as such, whoever holds it."""
        if (name := rng.global_name(value)) is not None:
            self.leaf(path, f"the global generator rng/{name}", "structure")
            return
        try:
            state = rng.state_of(value)
        except Exception as error:  # `random.SystemRandom` has none
            self._list(path, value, error)
            return
        self.leaf(path, state, "generator", self.setter(rng.set_state, value), hold)
        self.result.others[path] = value
        self.attributes(value, path, skip=IN_DIGEST)
        if isinstance(value, np.random.Generator):  # what `spawn()` gives next is no part of a generator's state
            seeds = value.bit_generator.seed_seq
            if isinstance(seeds, np.random.SeedSequence) and (seeds.n_children_spawned or not self.moving_only):
                self.leaf(f"{path}/spawned", seeds.n_children_spawned, "memory", partial(_spawn, seeds))

    # --- taking it apart ---------------------------------------------------------------------------------------

    def attributes(self, value: Value, path: str, role: str = "memory", skip: Container[str] = ()) -> bool:
        """Visit what an object's own attributes and slots hold and its class keeps for all, in order of their names.

        Returns:
            False where it can have neither attributes nor slots.
        """
        attributes = attributes_of(value)
        if attributes is None:
            return False
        names = (name for name in attributes if type(name) is str and name not in skip)
        optimizers_first = sorted(names, key=lambda name: (not _is_optimizer(attributes[name]), name))
        for name in optimizers_first:
            self.visit(attributes[name], f"{path}/{key_text(name)}", self.setter(set_attribute, value, name), role)
        for name, (kind, item) in class_state(type(value)).items():
            if name not in attributes and name not in skip:
                self.visit(item, f"{path}/{key_text(name)}", self.setter(setattr, kind, name), role)
        return True

    def hooks(self, holder: Value, path: str) -> None:
        """Visit the hooks of a module, optimizer or tensor: last, so that an object that the run holds as well has the
        name that it has there."""
        for name, hooks, key in hooks_of(holder):
            put = self.setter(dict.__setitem__, hooks, key)
            self.later(partial(self.visit, hooks[key], f"{path}/{name}", put))

    def read_object(self, value: Value, path: str, hold: Setter, role: str) -> None:
        """An object of a class that nobody here knows."""
        if not self.attributes(value, path, role):
            self.result.uncaptured[path] = type_name(value)


def _digest_of(leaf: Leaf) -> str:
    try:
        return leaf.digest.hex()
    except Exception:  # a tensor class that cannot be read
        return ""


_AT_REST = frozenset({"parameter", "gradient", "structure", "data"})


def _rank(name: str, value: Value) -> tuple[int, bool, int]:
    """Modules first, the widest before those inside it, then optimizers: they give the others their names. What is a
    run's own is named as such, and not as the variable of a module that it may be as well; what a library calls its
    parts comes last."""
    of_module = name.startswith(PREFIX)
    if issubclass(type(value), torch.nn.Module) and isinstance(value, torch.nn.Module):
        try:
            return 0, of_module, -sum(1 for _ in value.modules())
        except Exception:  # never initialised
            return 0, of_module, 0
    if type(value) is Parts:
        return 3, of_module, 0
    return (1 if issubclass(type(value), torch.optim.Optimizer) else 2), of_module, 0


def _set_root(roots: MutableMapping[str, Value], name: str, value: Value) -> None:
    roots[name] = value  # `vars(run)` and dictionaries allow it


def _form(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def _spawn(seeds: np.random.SeedSequence, count: int) -> None:
    if count < seeds.n_children_spawned:
        raise ValueError("a seed sequence cannot take back what it has spawned")
    seeds.spawn(count - seeds.n_children_spawned)


def _is_optimizer(value: Value) -> bool:
    return issubclass(type(value), torch.optim.Optimizer)
