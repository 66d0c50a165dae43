"""What a run is made of: its optimizers, its parameters and its modules, by name.

A walk finds them, at first and whenever the run is made up otherwise than before. An optimizer or a module that is met
while a step runs and was not known (it was made in that step, deep inside the run) calls for a walk as well; one that
no walk finds (a local variable of `step()`) goes by the name of its class, for that step.
"""

from collections.abc import Callable, Iterator, Set
from weakref import WeakSet

import torch
from torch.nn.parameter import is_lazy

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import parameters_of
from dora_repro.state.digest import PLAIN_SCALARS, reader
from dora_repro.state.leaves import Leaves
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk


class MakeUp:
    """The objects of one run by name.

    Attributes:
        optimizers: by path.
        parameters: those that ask for gradients or belong to an optimizer, by path, in the order of the optimizers.
        paths: id of such a parameter -> its path.
        by_id: id of such a parameter -> the parameter.
        held: ids of the parameters that an optimizer has.
        read: id of such a parameter -> what gives its digest.
    """

    def __init__(self, run: Value):
        self._run = run
        self._outside: WeakSet[torch.optim.Optimizer] = WeakSet()  # no walk finds them
        self._local: list[torch.optim.Optimizer] = []  # those of them that have stepped in this step
        self._strays: list[str] = []  # paths of the parameters that only those have
        self._looked_for: set[int] = set()  # ids of unknown modules of this step
        self.look()

    def let_go(self) -> None:
        """Keep the run no longer; what was found of its parameters stays."""
        self._run = None

    def look(self) -> None:
        """Walk the run."""
        live = walk(run_roots(self._run))
        self._strays = []
        self.optimizers = dict(live.optimizers)
        self.parameters = trainable(live)
        self._below: dict[int, frozenset[int]] = {}  # id of a module -> ids of its parameters
        self._module_names = {
            id(inner): f"{path}.{name}" if name else path
            for path, root in live.modules.items()
            for name, inner in root.named_modules()
        }
        self._all_parameters = [p for module in live.modules.values() for p in module.parameters()]
        self._shapeless = [p for p in (*self._all_parameters, *self._of_optimizers()) if is_lazy(p)]
        self._tables = [parameters_of(inner) for root in live.modules.values() for inner in root.modules()]
        self.read: dict[int, Callable[[], bytes]] = {id(p): reader(p) for p in self.parameters.values()}
        self._index()
        self._local = [optimizer for optimizer in self._local if not self._knows(optimizer)]
        for optimizer in self._local:
            self._add_local(optimizer)
        self._trained, self._in_modules, self._shape = self._asking(), self._module_parameters(), self._objects()

    def _index(self) -> None:
        self.paths = {id(parameter): path for path, parameter in self.parameters.items()}
        self.by_id = {id(parameter): parameter for parameter in self.parameters.values()}
        self.held = {id(parameter) for parameter in self._of_optimizers()}

    def _of_optimizers(self) -> Iterator[torch.Tensor]:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                yield from group["params"]

    def _objects(self) -> list[int]:
        """Identities of the run's objects and of its optimizers' parameters; cheap enough for every step."""
        objects = [id(value) for value in run_roots(self._run).values() if type(value) not in PLAIN_SCALARS]
        objects += map(id, self._of_optimizers())
        return objects

    def _asking(self) -> int:
        return sum([parameter.requires_grad for parameter in self._all_parameters])

    def _module_parameters(self) -> list[int]:
        return [id(parameter) for table in self._tables for parameter in table.values()]

    def has_other_objects(self) -> bool:
        """Whether the run, or one of its optimizers, has other objects than when it was last walked."""
        return self._objects() != self._shape

    def has_changed(self) -> bool:
        """Whether it has other objects, other parameters in its modules, or trains others of them."""
        return (
            self._has_new_shapes()
            or self._asking() != self._trained
            or self._module_parameters() != self._in_modules
            or self.has_other_objects()
        )

    def _has_new_shapes(self) -> bool:
        """Whether a lazy parameter, which is none to anybody before, has got its shape."""
        return not all(map(is_lazy, self._shapeless))

    def as_of_now(self) -> "MakeUp":
        """What the run is made of at this moment, which is left as it is: itself where the run has no other objects."""
        return MakeUp(self._run) if self.has_other_objects() else self

    def begin_step(self) -> None:
        """Forget what belonged to one step alone."""
        self._looked_for.clear()
        if self._local:
            self.optimizers = {path: one for path, one in self.optimizers.items() if one not in self._local}
            for path in self._strays:
                self.read.pop(id(self.parameters.pop(path)))
            self._local, self._strays = [], []
            self._index()

    def adopt(self, optimizer: torch.optim.Optimizer) -> bool:
        """Make sure that an optimizer that has stepped is among the known ones; whether it was not."""
        if self._knows(optimizer):
            return False
        if optimizer not in self._outside:
            self.look()
        if not self._knows(optimizer):
            self._outside.add(optimizer)
            self._local.append(optimizer)
            self._add_local(optimizer)
        return True

    def _add_local(self, optimizer: torch.optim.Optimizer) -> None:
        name = _free(type(optimizer).__name__, self.optimizers)
        self.optimizers[name] = optimizer
        for index, group in enumerate(optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                if id(parameter) not in self.by_id:
                    path = f"{name}/group.{index}.params.{position}"
                    self.parameters[path], self.read[id(parameter)] = parameter, reader(parameter)
                    self._strays.append(path)
        self._index()

    def _knows(self, optimizer: torch.optim.Optimizer) -> bool:
        return any(known is optimizer for known in self.optimizers.values())

    def is_unknown(self, module: torch.nn.Module) -> bool:
        """Whether a module has parameters that no walk has met, or could take for any: to be asked once a step."""
        if self._has_new_shapes():
            return True
        if id(module) in self._module_names or id(module) in self._looked_for:
            return False
        self._looked_for.add(id(module))
        return next(module.parameters(), None) is not None

    def trains(self, trained: Set[int], module: torch.nn.Module) -> bool:
        """Whether a module has parameters, itself or inside, that are among the trained ones.

        Args:
            trained: ids of parameters.
            module: any module. What a walk has met is asked once until the next walk: of a large model, all of its
                parameters by name are the work of milliseconds.
        """
        below = self._below.get(id(module))
        if below is None:
            below = frozenset(map(id, module.parameters()))
            if id(module) in self._module_names:  # the run holds it, so that its id stays its own
                self._below[id(module)] = below
        return not below.isdisjoint(trained)

    def name_of(self, module: torch.nn.Module) -> str:
        """The path of a module; the name of its class where no walk has met it."""
        return self._module_names.get(id(module), type(module).__name__)


def trainable(live: Leaves) -> dict[str, torch.Tensor]:
    """Trainable parameters by path, in the order of the optimizers, then those of no optimizer. A lazy one that has no
    shape yet has no bytes to compare and takes no hooks: it is none before its module has seen a batch."""
    by_id = {id(leaf.value): path for path, leaf in live.items() if leaf.role == "parameter"}
    in_order: dict[str, torch.Tensor] = {}
    for path, optimizer in live.optimizers.items():
        for index, group in enumerate(optimizer.param_groups):
            for position, parameter in enumerate(group["params"]):
                if not is_lazy(parameter):
                    in_order.setdefault(by_id.get(id(parameter), f"{path}/group.{index}.params.{position}"), parameter)
    for path, leaf in live.items():
        if leaf.role == "parameter" and isinstance(leaf.value, torch.Tensor) and leaf.value.requires_grad:
            in_order.setdefault(path, leaf.value)
    return in_order


def _free(name: str, taken: dict[str, torch.optim.Optimizer]) -> str:
    """A name, numbered where it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}[{number}]"
    return free
