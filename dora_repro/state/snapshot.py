"""All leaves of a run at one moment, copied to the host: captured, written and read; put back by `restoring.py`.

Frozen parameters and datasets are stored by digest alone, since they are large and a run rebuilds them; but for what
may be the order of a dataset's samples. Capturing changes nothing: generators are read first, tensors are cloned.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dora_repro.checkpoint import reading, writing
from dora_repro.contracts import Json, Value
from dora_repro.errors import BadInput
from dora_repro.state.attributes import attributes_of, class_state, is_class_default
from dora_repro.state.codecs import from_json, to_json
from dora_repro.state.digest import PLAIN_SCALARS, digest, is_dense, is_plain
from dora_repro.state.forms import Form, forms_of
from dora_repro.state.frames import Variables, may_be_state, running_module
from dora_repro.state.held_code import held_code
from dora_repro.state.items import Roots
from dora_repro.state.leaves import Leaf, Leaves, SavedLeaf
from dora_repro.state.module_variables import Variable, named_variables, not_followed
from dora_repro.state.objects import Objects
from dora_repro.state.parts import Parts
from dora_repro.state.paths import ancestors
from dora_repro.state.rebuild import ARGUMENTS, PARTS, VARIABLES, Kind, copied
from dora_repro.state.restoring import choose, restore, world
from dora_repro.state.settling import settle
from dora_repro.state.waiting_call import WaitingCall
from dora_repro.state.walk import walk
from dora_repro.wording import counted

__all__ = ["SavedLeaf", "Snapshot", "choose", "run_roots"]

FORMAT = "dora_repro/snapshot/1"
_FEW = 10_000  # values


@dataclass(frozen=True)
class Snapshot(Mapping[str, SavedLeaf]):
    """Leaves by path at one moment.

    Attributes:
        leaves: by path, in the order of the walk.
        uncaptured: paths of what could not be captured, and its type.
        kinds: what containers were, and what plain values stand for: to make them where they are missing.
        forms: types of containers, keys and objects by path, which the leaves do not show.
        defaults: paths of the attributes whose value the class of their object gives as well: without them, the object
            is the same.

    Example:
        With the class `Run` of the example of `check`::

            run = Run()
            before = dora_repro.Snapshot.capture({"model": run.model, "optimizer": run.optimizer})
            run.step()
            after = dora_repro.Snapshot.capture({"model": run.model, "optimizer": run.optimizer})
            print([path for path in before if before[path].digest != after[path].digest])
            # ['model/weight', 'model/bias']
    """

    leaves: dict[str, SavedLeaf]
    uncaptured: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    forms: dict[str, Form] = field(default_factory=dict)
    defaults: frozenset[str] = frozenset()

    def __getitem__(self, path: str) -> SavedLeaf:
        return self.leaves[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)

    def __repr__(self) -> str:
        return f"Snapshot({counted(len(self), 'leaf')}, {len(self.uncaptured)} uncaptured)"

    @cached_property
    def _above(self) -> set[str]:
        return ancestors(self.leaves)

    def leaf(self, path: str) -> SavedLeaf | None:
        """The leaf at a path; None where there is none."""
        return self.leaves.get(path)

    def has(self, path: str) -> bool:
        """Whether anything lies at a path or below it."""
        return path in self.leaves or path in self._above

    @classmethod
    def capture(
        cls,
        roots: Mapping[str, Value],
        digests: Callable[[Any], bytes] = digest,
        *,
        keep_frozen: bool = False,
        moved: Container[str] = (),
    ) -> "Snapshot":
        """Copy all state reachable from `roots` (name -> object), the global generators and the flags.

        Args:
            roots: as for `walk.walk`; `run_roots(run)` gives those of a run.
            digests: digests one value; a caller that remembers the digests of frozen tensors passes its own.
            keep_frozen: store frozen parameters by value, too: those of a moving average of a model are such.
            moved: paths of frozen parameters that are stored by value in any case: they were seen to change.
        """
        settle()
        globals_ = world()
        live = walk(roots)
        saved, uncaptured = {}, {**live.uncaptured, **getattr(roots, "left_out", {})}
        for path, leaf in (*globals_.items(), *live.leaves.items()):
            try:
                leaf_digest = digests(leaf.value)
            except Exception as error:  # a tensor class that cannot be read
                uncaptured[path] = f"{type(leaf.value).__name__}: {type(error).__name__}"
                continue
            value, kept = _copied(leaf, keep_frozen or path in moved)
            saved[path] = SavedLeaf(path, leaf.role, leaf_digest, value, kept)
        kinds = {path: Kind(name) for path, name in live.kinds.items()}
        containers = ((path, Kind.of(value, live.keyed.get(path))) for path, value in live.objects.items())
        kinds |= {path: kind for path, kind in containers if kind is not None}
        standing_for = {Variables: VARIABLES, WaitingCall: ARGUMENTS}
        kinds |= {
            path: Kind(standing_for[type(value)]) for path, value in live.objects.items() if type(value) in standing_for
        }
        parts = ((path, value) for path, value in live.objects.items() if isinstance(value, Parts))
        kinds |= {path: Kind(PARTS, coded=value.coded) for path, value in parts}
        return cls(saved, uncaptured, kinds, forms_of(live), frozenset(_defaults(live, roots)))

    def restore(self, roots: Roots, paths: Iterable[str] = ("*",), objects: Objects | None = None) -> dict[str, str]:
        """Put leaves back into live objects: overwritten, made where they are missing, removed where they are extra.

        Args:
            roots: the live objects, named as when captured.
            paths: paths or globs; leaves that match none of them are left alone.
            objects: objects that the live ones may lack, whole; without them, none of a user's class is made.

        Returns:
            path -> reason for every chosen leaf that is not now as it was captured (stored by digest alone, inside a
            suspended frame, …).

        Raises:
            BadInput: a glob that matches no leaf of the snapshot or of the run.
        """
        return restore(self.leaves, self.kinds, roots, paths, self.forms, objects)

    def write(self, path: str | Path) -> None:
        """Write the snapshot to one file, atomically; tensor bytes are stored once per digest.

        What a file cannot hold (sparse, quantised and nested tensors) is written by digest alone.

        Raises:
            BadInput: the file cannot be written.
        """
        tensors: dict[str, torch.Tensor] = {}
        entries: list[dict[str, Json]] = []
        for leaf in self.leaves.values():
            entry: dict[str, Json] = {"path": leaf.path, "role": leaf.role, "digest": leaf.digest.hex()}
            entry["kept"] = leaf.kept
            if isinstance(leaf.value, torch.Tensor):
                if is_dense(leaf.value):
                    tensors[leaf.digest.hex()] = leaf.value
                    entry["tensor"] = True
                else:
                    entry["kept"] = False
            elif leaf.kept:
                entry["value"] = to_json(leaf.value)
            entries.append(entry)
        kinds = {at: to_json(astuple(kind)) for at, kind in self.kinds.items()}
        forms = {at: form.to_json() for at, form in self.forms.items()}
        content = {"leaves": entries, "tensors": tensors, "uncaptured": self.uncaptured, "kinds": kinds, "forms": forms}
        writing.write(path, {"format": FORMAT, **content, "defaults": sorted(self.defaults)})

    @classmethod
    def read(cls, path: str | Path) -> "Snapshot":
        """Read a snapshot written by `write`, running no code from the file.

        Raises:
            BadInput: not such a file, or a damaged one.
        """
        content = reading.read(path)
        form = content.get("format") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(form, str) or form != FORMAT:  # an array may be called so
            raise BadInput(
                f"{path} is not a snapshot of this kit (no format {FORMAT!r}): write one with Snapshot.write"
            )
        try:
            leaves = {entry["path"]: _read_leaf(entry, content["tensors"]) for entry in content["leaves"]}
            kinds = {str(at): _read_kind(from_json(entry)) for at, entry in content.get("kinds", {}).items()}
            forms = {str(at): Form.from_json(entry) for at, entry in content.get("forms", {}).items()}
            uncaptured = {str(at): str(name) for at, name in content["uncaptured"].items()}
            defaults = frozenset(map(str, content.get("defaults", ())))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise BadInput(f"{path} is not a whole snapshot of this kit ({problem}): capture it again") from error
        return cls(leaves, uncaptured, kinds, forms, defaults)


def _read_leaf(entry: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> SavedLeaf:
    path, role, kept = entry["path"], entry["role"], entry["kept"]
    if not (type(path) is str and type(role) is str and type(kept) is bool):
        raise TypeError("an entry that is no leaf")
    known = bytes.fromhex(entry["digest"])
    value: Value = None
    if kept:
        value = tensors[entry["digest"]] if entry.get("tensor") else from_json(entry["value"])
        if digest(value) != known:
            raise ValueError(f"the value of {path} is not the one that was written")
    return SavedLeaf(path, role, known, value, kept)


def _read_kind(fields: Value) -> Kind:
    if not isinstance(fields, tuple):
        raise TypeError("an entry that is no kind")
    kind = Kind(*fields)
    if type(kind.name) is not str or type(kind.size) is not int:
        raise TypeError("an entry that is no kind")
    return kind


class _Roots(dict[str, Value]):
    """The attributes of a run and the variables of its modules by name: setting or deleting one does so to them.

    Args:
        run: the run; None where `live` is what its `components()` returned.
        live: its attributes by name.
        of_class: what its class has for all runs: name -> (the class that has it, the object).
        variables: those of modules that its code changes, with those that are not there yet.
    """

    def __init__(
        self,
        run: Value,
        live: Mapping[str, Value],
        of_class: Mapping[str, tuple[type, Value]],
        variables: Mapping[str, Variable],
    ):
        shared = {name: pair for name, pair in of_class.items() if name not in live}
        every = {**live, **{name: value for name, (_, value) in shared.items()}}
        # The names of the global generators and flags are taken.
        super().__init__((f"run.{name}" if name in ("rng", "flags") else name, value) for name, value in every.items())
        super().update({n: one.namespace[one.name] for n, one in variables.items() if one.name in one.namespace})
        self.left_out: dict[str, str] = {}  # what the run's code names and is not looked into
        self._live: Any = live  # the dict that `components()` returned, where there is no run to set attributes of
        self.owner = run
        self._run, self._of_class = run, {name: kind for name, (kind, _) in shared.items()}
        self._variables = variables

    def __setitem__(self, name: str, value: Value) -> None:
        super().__setitem__(name, value)
        if name in self._variables:
            self._variables[name].namespace[self._variables[name].name] = value
            return
        name = name.removeprefix("run.")
        if name in self._of_class:
            setattr(self._of_class[name], name, value)
        elif self._run is not None:
            object.__setattr__(self._run, name, value)
        else:
            self._live[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        if name in self._variables:
            del self._variables[name].namespace[self._variables[name].name]
            return
        name = name.removeprefix("run.")
        if self._run is not None:
            object.__delattr__(self._run, name)
        else:
            del self._live[name]


def run_roots(run: Value) -> dict[str, Value]:
    """The named objects of a run: what its `components()` names, else its own attributes, those of its class, and the
    variables of modules that its code changes (`globals.NAME`).

    Raises:
        BadInput: the run has neither, so that nothing could be compared.
    """
    components = getattr(run, "components", None)
    if callable(components):
        roots = components()
        if not isinstance(roots, Mapping):
            raise BadInput(
                f"{type(run).__name__}.components() returned a {type(roots).__name__}: return a dict of name -> object"
            )
        return _Roots(None, roots, {}, {})
    roots = attributes_of(run)
    if roots is None:
        raise BadInput(f"{type(run).__name__} has no attributes: give it a components() that returns name -> object")
    held = held_code(run, roots)
    found = _Roots(run, roots, class_state(type(run)), _not_in(roots, named_variables(type(run), held)))
    found.left_out = not_followed(type(run), held)
    return found


def _not_in(roots: Mapping[str, Value], variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """The variables that do not belong to a module which is a root itself, where they are found in any case."""
    modules = [module for module in map(running_module, roots.values()) if module is not None]
    return {
        name: one
        for name, one in variables.items()
        if not any(one.namespace is module for module in modules)
        or not may_be_state(one.name, one.namespace.get(one.name))
    }


def _defaults(live: Leaves, roots: Mapping[str, Value]) -> Iterator[str]:
    """The paths of plain attributes that are as their class has them."""
    owner = getattr(roots, "owner", None)
    for path, leaf in live.items():
        if type(leaf.value) in PLAIN_SCALARS and leaf.role == "memory":
            above, _, name = path.rpartition("/")
            holder = live.objects.get(above) if above else owner
            if holder is not None and is_class_default(holder, name, leaf.value):
                yield path


def _copied(leaf: Leaf, keep_frozen: bool) -> tuple[Value, bool]:
    """(copy of a leaf's value, True), or (None, False) where the digest must do."""
    value = leaf.value
    if isinstance(value, torch.Tensor):
        frozen = leaf.role == "parameter" and not value.requires_grad and not keep_frozen
        samples = leaf.role == "data" and not _is_order(value)
        if frozen or samples or type(value) not in (torch.Tensor, torch.nn.Parameter):
            return None, False
        try:
            return value.detach().resolve_conj().resolve_neg().to("cpu", copy=True), True
        except (RuntimeError, NotImplementedError):  # a meta tensor, a dtype without copies
            return None, False
    if leaf.role == "data" and type(value) not in PLAIN_SCALARS and not _is_order(value):
        return None, False
    if isinstance(value, np.ndarray):
        return (value.copy(), True) if type(value) is np.ndarray else (None, False)
    return copied(value), True


def _is_order(value: Value) -> bool:
    """Whether what a dataset holds may say which samples it has, and in which order: few plain values, or a row of
    whole numbers. Such a thing changes while a run trains; samples do not."""
    if isinstance(value, torch.Tensor):
        whole = not (value.is_floating_point() or value.is_complex() or value.is_quantized)
        return type(value) is torch.Tensor and value.dim() == 1 and whole and value.numel() <= _FEW
    if isinstance(value, np.ndarray):
        return type(value) is np.ndarray and value.ndim == 1 and value.dtype.kind in "iub" and value.size <= _FEW
    if not isinstance(value, (list, tuple, dict, set, frozenset)) or len(value) > _FEW:
        return False
    return is_plain(value) and _size(value) <= _FEW


def _size(value: Value) -> int:
    """The number of plain values in containers of such."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, (list, tuple, set, frozenset)) else 1
