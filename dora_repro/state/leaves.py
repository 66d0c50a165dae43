"""Walk live objects into leaves: the smallest pieces of state, each with a readable path and a way to put it back.

`walk(roots)` visits everything reachable from some named objects, breadth first, so that an object reached by several
ways is named by the shortest and the others become *alias* leaves (identity is state: whether the optimizer steps the
very tensors that the model uses). What `state_dict()` admits plays no part. This module knows leaves, tensors and
attributes; what Python's containers and functions hold is read by `python_objects.py`, what torch's classes hold by
`torch_objects.py`.

A leaf is not a copy: `Leaf.value` is the live tensor or value. `snapshot.py` copies, `digest.py` digests. Objects are
told apart by their type alone, and no property, `__getattr__`, `__eq__`, `__len__` or `__bool__` of theirs is called.
"""

from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from dora_repro.state import rng, type_dispatch
from dora_repro.state.assign import Setter, put_array, put_tensor
from dora_repro.state.codecs import kind_name
from dora_repro.state.digest import digest, is_plain
from dora_repro.state.module_variables import PREFIX
from dora_repro.state.type_dispatch import class_state, held_by, key_text, type_name

MAX_ITEMS = 10_000  # a longer container of objects (a data set's samples) is listed, not walked
MAX_DEPTH = 60  # a chain of attributes longer than this is a linked structure, not a training run


@dataclass(slots=True)
class Leaf:
    """One smallest piece of state, where it lives.

    Attributes:
        path: readable and stable between processes, as `optimizer/visual.3.out_proj.m/exp_avg`.
        value: the live tensor, array or plain value; for a generator its state; for an alias the path it stands for.
        role: what part it plays: `parameter`, `gradient`, `buffer`, `moment` (optimizer state), `option` (of an
            optimizer's group), `generator`, `flag`, `data` (inside a dataset), `structure` (modes, constants and
            settings of modules, `requires_grad`), `alias`, or `memory` (everything else).
        put: sets a new value, in place where that can be; None where it cannot be set (inside a frame, a set).
        hold: makes the holder hold another object in this place; None where the holder takes none.
    """

    path: str
    value: object
    role: str = "memory"
    put: Setter = None
    hold: Setter = None

    @property
    def digest(self) -> bytes:
        return digest(self.value)


@dataclass
class Leaves(Mapping[str, Leaf]):
    """The result of a walk: leaves by path, and what was met on the way."""

    leaves: dict[str, Leaf] = field(default_factory=dict)
    uncaptured: dict[str, str] = field(default_factory=dict)  # path -> type of what cannot be captured
    objects: dict[str, object] = field(default_factory=dict)  # path -> container, to put missing leaves into
    holds: dict[str, Setter] = field(default_factory=dict)  # path -> setter of a container in its holder
    others: dict[str, object] = field(default_factory=dict)  # path -> what else may be tied: generators
    kinds: dict[str, str] = field(default_factory=dict)  # path -> type of what a leaf's plain value stands for
    keyed: dict[str, dict[str, str]] = field(default_factory=dict)  # path of a dict -> key's text -> path of the key
    modules: dict[str, torch.nn.Module] = field(default_factory=dict)  # root modules only
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    parameter_names: dict[int, str] = field(default_factory=dict)  # id -> `model/visual.3.out_proj.m`

    def __getitem__(self, path: str) -> Leaf:
        return self.leaves[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)


def walk(roots: Mapping[str, object], *, moving_only: bool = False) -> Leaves:
    """All state reachable from `roots` (name -> object). Whatever the objects are, it raises nothing of theirs.

    Args:
        roots: for a run without `components()`, its attributes: `vars(run)`.
        moving_only: leave out what training does not change from step to step, which is most of a walk: parameters,
            gradients, settings of modules, names of functions, and what datasets hold, and all setters. The rest is
            the *memory* of a step.
    """
    from dora_repro.state import python_objects, torch_objects  # noqa: F401  # they register readers, and need this module

    walker = Walker(moving_only)
    with torch._C.DisableTorchFunctionSubclass():  # attributes of tensors, not what a subclass makes of them
        walker.walk(roots)
    return walker.found


Reader = Callable[["Walker", object, str, Setter, str], None]


class Walker:
    """One walk. How objects of a type are taken apart is registered in `type_dispatch.READERS`."""

    def __init__(self, moving_only: bool = False):
        self.moving_only = moving_only
        self.found = Leaves()
        self._queue: deque[tuple[object, str, Setter, str, int, Reader]] = deque()
        self._last: list[Callable[[], None]] = []  # work put off until all parameters have their names
        self._names: dict[int, str] = {}  # id -> path of the first way to an object
        self._storages: dict[int, list[tuple[torch.Tensor, str]]] = {}  # address -> tensors that begin there
        self._alive: list[object] = []  # so that no id is given twice during a walk
        self._depth = 0

    def walk(self, roots: Mapping[str, object]) -> None:
        for name in sorted(roots, key=lambda name: (*_rank(str(name), roots[name]), str(name))):
            value, self._depth = roots[name], 0
            self.visit(value, key_text(name), None if self.moving_only else partial(_set_root, roots, name))
            if issubclass(type(value), (torch.nn.Module, torch.optim.Optimizer)):
                self._drain()
        self._drain()
        for work in self._last:
            work()
        self._drain()
        # No circle through this walk may keep what it met: a loader's iterator has workers that end with it.
        self._last.clear()

    def _drain(self) -> None:
        while self._queue:
            value, path, hold, role, self._depth, reader = self._queue.popleft()
            self.found.objects[path] = value
            if hold is not None:
                self.found.holds[path] = hold
            try:
                reader(self, value, path, hold, role)
            except Exception as error:  # whatever a class that nobody here knows may raise
                self.found.uncaptured[path] = f"{type_name(value)}: {type(error).__name__}"

    def later(self, work: Callable[[], None]) -> None:
        """Do `work` when every module has been met, so that parameters have names."""
        self._last.append(work)

    def setter(self, function: Callable, *arguments: object) -> Setter:
        """A setter, made only where leaves may be put back."""
        return None if self.moving_only else partial(function, *arguments)

    # --- meeting an object -------------------------------------------------------------------------------------

    def visit(self, value: object, path: str, hold: Setter = None, role: str = "memory") -> None:
        """Meet an object at a path: a leaf at once, an alias, or queued to be taken apart."""
        way, reader = type_dispatch.way(type(value))
        if way == type_dispatch.SCALAR:
            self.leaf(path, value, role, hold, hold)
        elif way == type_dispatch.TENSOR:
            self.tensor(value, path, hold, role)
        elif way == type_dispatch.ENCODED:
            encode, decode = reader
            put = None if hold is None or decode is None else lambda plain: hold(decode(type(value), plain))
            try:
                self.leaf(path, encode(value), role, put, hold)
            except Exception as error:
                self.found.uncaptured[path] = f"{type_name(value)}: {type(error).__name__}"
            if not self.moving_only:
                self.found.kinds[path] = kind_name(value) or type_name(value)
        elif way == type_dispatch.LISTED:
            self.found.uncaptured[path] = type_name(value)
        elif way == type_dispatch.UNSHARED:
            self._put_in_line(value, path, hold, role, reader)
        elif self.alias(value, path, hold):
            return
        elif way == type_dispatch.SHARED:
            self._put_in_line(value, path, hold, role, reader)
        elif way == type_dispatch.ARRAY:
            self.array(value, path, hold, role)
        else:
            self.generator(value, path, hold)

    def _put_in_line(self, value: object, path: str, hold: Setter, role: str, reader: Reader) -> None:
        if self._depth >= MAX_DEPTH:
            self.found.uncaptured[path] = f"{type_name(value)} ({MAX_DEPTH} levels deep)"
        else:
            self._queue.append((value, path, hold, role, self._depth + 1, reader or Walker.read_object))

    def leaf(self, path: str, value: object, role: str = "memory", put: Setter = None, hold: Setter = None) -> None:
        """Add a leaf. A path that is taken (of keys 1 and "1", which read the same) gets a number."""
        if self.moving_only and role in _AT_REST:
            return
        leaves = self.found.leaves
        if path in leaves:
            path = next(p for n in range(2, len(leaves) + 3) if (p := f"{path}#{n}") not in leaves)
        leaves[path] = Leaf(path, value, role, put, hold)

    def path_of(self, value: object) -> str | None:
        """The name of an object that was met before."""
        return self._names.get(id(value))

    def key(self, key: object, path: str) -> str:
        """A key of the dict at a path as text: a tensor's or module's is the name that it was met by."""
        at = self.path_of(key) if issubclass(type(key), (torch.Tensor, torch.nn.Module)) else None
        if at is None:
            return key_text(key)
        text = at.replace("/", ".")
        self.found.keyed.setdefault(path, {})[text] = at
        return text

    def alias(self, value: object, path: str, hold: Setter = None) -> bool:
        """Whether this very object was met before; if so it becomes an alias leaf."""
        first = self._names.setdefault(id(value), path)
        if first is path:
            self._alive.append(value)
            return False
        self.leaf(path, f"= {first}", "alias", hold, hold)
        return True

    def tensor(self, value: torch.Tensor, path: str, hold: Setter = None, role: str = "memory") -> None:
        """A tensor leaf, or an alias of a tensor over the same bytes."""
        try:
            self._tensor(value, path, hold, role)
        except Exception as error:  # of a subclass that computes its own attributes
            self.found.uncaptured[path] = f"{type_name(value)}: {type(error).__name__}"

    def _tensor(self, value: torch.Tensor, path: str, hold: Setter, role: str) -> None:
        if role == "memory" and value.requires_grad and value.is_leaf:
            role = "parameter"
        first = self._names.setdefault(id(value), path)
        if first is path:
            self._alive.append(value)
            if torch.nn.parameter.is_lazy(value):
                self.leaf(path, f"uninitialized {type(value).__name__}", role, partial(put_tensor, value, hold), hold)
                return
            first = self._same_storage(value, path)
        if first is not path:
            if not (self.moving_only and role in _AT_REST):
                self.leaf(path, f"= {first}", "alias", hold, hold)
            return
        if not (self.moving_only and role in _AT_REST):
            self.leaf(path, value, role, self.setter(put_tensor, value, hold), hold)
            if role == "parameter":
                self.leaf(f"{path}/requires_grad", value.requires_grad, "structure", value.requires_grad_)
                if value.is_leaf and value.grad is not None:
                    self.tensor(value.grad, f"{path}/grad", partial(setattr, value, "grad"), "gradient")

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

    def array(self, value: np.ndarray, path: str, hold: Setter, role: str) -> None:
        if value.dtype.hasobject:
            self.objects_in(value, path, role)
        else:
            self.leaf(path, value, role, self.setter(put_array, value, hold), hold)

    def objects_in(self, value: np.ndarray, path: str, role: str) -> None:
        """An array of Python objects: its items as a list, where they are plain."""
        items = value.tolist() if value.size <= MAX_ITEMS else None
        if items is not None and is_plain(items):
            self.leaf(path, items, role)
        else:
            self.found.uncaptured[path] = f"numpy array of {value.size} Python objects"

    def generator(self, value: object, path: str, hold: Setter) -> None:
        """A private random number generator: its state. A global one is captured as such, whoever holds it."""
        if (name := rng.global_name(value)) is not None:
            self.leaf(path, f"the global generator rng/{name}", "structure")
            return
        try:
            state = rng.state_of(value)
        except Exception as error:  # `random.SystemRandom` has none
            self.found.uncaptured[path] = f"{type_name(value)}: {type(error).__name__}"
            return
        self.leaf(path, state, "generator", self.setter(rng.set_state, value), hold)
        self.found.others[path] = value
        if isinstance(value, np.random.Generator):  # what `spawn()` gives next is no part of a generator's state
            seeds = value.bit_generator.seed_seq
            spawned = seeds.n_children_spawned if isinstance(seeds, np.random.SeedSequence) else None
            if spawned or (spawned is not None and not self.moving_only):
                self.leaf(f"{path}/spawned", spawned, "memory", partial(_spawn, seeds))

    # --- taking it apart ---------------------------------------------------------------------------------------

    def attributes(self, value: object, path: str, role: str = "memory", skip: Container[str] = ()) -> bool:
        """Visit what an object's own attributes and slots hold and its class keeps for all, in order of their names.

        False where it can have neither attributes nor slots.
        """
        held = held_by(value)
        if held is None:
            return False
        for name in sorted(name for name in held if type(name) is str and name not in skip):
            self.visit(held[name], f"{path}/{key_text(name)}", self.setter(set_attribute, value, name), role)
        for name, (kind, item) in class_state(type(value)).items():
            if name not in held and name not in skip:
                self.visit(item, f"{path}/{key_text(name)}", self.setter(setattr, kind, name), role)
        return True

    def read_object(self, value: object, path: str, hold: Setter, role: str) -> None:
        """An object of a class that nobody here knows."""
        if not self.attributes(value, path, role):
            self.found.uncaptured[path] = type_name(value)


_AT_REST = frozenset({"parameter", "gradient", "structure", "data"})


def set_attribute(holder: object, name: str, value: object) -> None:
    """Set an attribute past `__setattr__` of frozen dataclasses, but by a module's own (it registers parameters)."""
    if isinstance(holder, torch.nn.Module):
        setattr(holder, name, value)
    else:
        object.__setattr__(holder, name, value)


def _rank(name: str, value: object) -> tuple[int, bool, int]:
    """Modules first, the widest before those inside it, then optimizers: they give the others their names. What is a
    run's own is named as such, and not as the variable of a module that it may be as well."""
    of_module = name.startswith(PREFIX)
    if issubclass(type(value), torch.nn.Module):
        try:
            return 0, of_module, -sum(1 for _ in value.modules())
        except Exception:  # never initialised
            return 0, of_module, 0
    return (1 if issubclass(type(value), torch.optim.Optimizer) else 2), of_module, 0


def _set_root(roots: Mapping[str, object], name: str, value: object) -> None:
    roots[name] = value  # type: ignore[index]  # `vars(run)` and dictionaries allow it


def _form(tensor: torch.Tensor) -> tuple:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def _spawn(seeds: np.random.SeedSequence, count: object) -> None:
    if count < seeds.n_children_spawned:
        raise ValueError("a seed sequence cannot take back what it has spawned")
    seeds.spawn(count - seeds.n_children_spawned)
