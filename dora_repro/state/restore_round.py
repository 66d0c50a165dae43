"""One round of restoring: each leaf that differs is overwritten, made, removed or tied again, once.

What it changes may bring another difference to light, so `restoring.py` walks the run again and begins another round.
"""

import copy
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.forms import Form, form_of
from dora_repro.state.frames import NotRunning
from dora_repro.state.hooks import names_hook
from dora_repro.state.items import Items, Roots
from dora_repro.state.key_order import reorder
from dora_repro.state.keys import unescaped
from dora_repro.state.leaves import Leaf, Leaves, SavedLeaf
from dora_repro.state.live_objects import LiveObjects
from dora_repro.state.making import NotRestorable, remade
from dora_repro.state.members import in_order_again
from dora_repro.state.objects import Objects
from dora_repro.state.places import with_folders
from dora_repro.state.rebuild import Kind, Maker, copied
from dora_repro.state.views import keep_apart
from dora_repro.state.walker import OPTIMIZER_PARTS


class Round:
    """One time through the leaves that differ.

    Args:
        wanted: the leaves of the snapshot by path.
        kinds: its containers by path.
        roots: name -> live object.
        live: a walk over these.
        now: its leaves by path, and the global generators and flags.
        chosen: paths of the leaves that are to be put back.
        forms: path -> form that what is there is to have, where it has another.
        wanted_forms: the forms of the snapshot by path.
        objects: what the other run had and this one may lack, whole.
    """

    def __init__(
        self,
        wanted: Mapping[str, SavedLeaf],
        kinds: Mapping[str, Kind],
        roots: Roots,
        live: Leaves,
        now: dict[str, Leaf],
        chosen: set[str],
        forms: Mapping[str, Form] | None = None,
        objects: Objects | None = None,
        wanted_forms: Mapping[str, Form] | None = None,
    ):
        self._forms, self._objects = forms or {}, objects or Objects()
        self.wanted, self.kinds, self.roots, self.live, self.now, self.chosen = wanted, kinds, roots, live, now, chosen
        self._there = LiveObjects(live, now)
        self._make_anew = Maker(wanted, kinds, chosen, self._there.at, self._made)
        self._items = Items(roots, live, self._there, wanted, kinds, wanted_forms or {}, self._make_anew)
        self._replaced: list[str] = []  # what lies below these waits for the next round

    def restore(self, wrong: list[str]) -> dict[str, str]:
        """Put back what differs; path -> reason, of what could not be."""
        failed: dict[str, str] = {}
        for path in sorted(wrong, key=self._rank):
            if not path.startswith(tuple(self._replaced)):
                try:
                    self._restore_leaf(path)
                except Exception as error:  # whatever a user's object raises when set
                    failed[path] = _reason(error)
        # The last item of a list goes first.
        for path in reversed([path for path in wrong if path not in self.wanted]):
            if path not in failed and not f"{path}/".startswith(tuple(self._replaced)):
                try:
                    self._remove(path)
                except Exception as error:
                    failed[path] = _reason(error)
        in_order_again(self.live.objects, wrong)
        self._generators_last(wrong, failed)
        return failed

    def _rank(self, path: str) -> int:
        """Containers and aliases before what is in them, flags after all else."""
        if path.startswith("flags/"):
            return 2
        return 0 if path in self.kinds or self.wanted.get(path) is None or self.wanted[path].role == "alias" else 1

    def _generators_last(self, wrong: list[str], failed: dict[str, str]) -> None:
        for path in wrong:
            if path.startswith("rng/") and path in self.wanted:
                try:
                    rng.restore_global(path.removeprefix("rng/"), copied(self.wanted[path].value))
                except Exception as error:
                    failed[path] = f"{type(error).__name__}: {error}"

    # --- one leaf --------------------------------------------------------------------------------------------------

    def _restore_leaf(self, path: str) -> None:
        if path.startswith("rng/"):
            return
        saved, slot = self.wanted.get(path), self.now.get(path)
        if saved is None and path in self._forms:
            self._remake(path)
        elif saved is None:
            self._make_container(path, self.now[path])
        elif not saved.kept:
            raise NotRestorable("stored by digest alone")
        elif saved.role == "alias":
            if slot is not None or not self._made_around(path):
                self._tie(path, str(saved.value)[2:], slot)
        elif slot is None:
            self._make(path)
        elif path in self._forms and isinstance(saved.value, torch.Tensor):
            self._remake_tensor(path, saved.value)
        elif path in self._forms and isinstance(self.live.objects.get(path), (set, frozenset)):
            self._remake(path)
        elif (
            slot.role == "alias"
            or (saved.role == "generator") is not (slot.role == "generator")
            or path in self._forms
            or self._there.kind_name(path) != getattr(self.kinds.get(path), "name", None)
        ):
            self._hold(path, self._make_anew(path))
        elif slot.put is None:
            raise NotRestorable("its holder does not let it be set")
        else:
            keep_apart(slot, saved.value, self.now, {at: self.wanted[at] for at in self.chosen if at in self.wanted})
            slot.put(with_folders(copied(saved.value), getattr(self.roots, "owner", None)))

    def _tie(self, path: str, target: str, slot: Leaf | None) -> None:
        """Make two names stand for one object: the one at `target`; of the groups of two optimizers, one of which has
        loaded its own, those."""
        own = self.live.others.get(path) if path.endswith("/param_groups") else None
        if own is None or self._is_as_wanted(target.rpartition("/")[0]):
            self._hold(path, self._there.at(target, slot))
        else:
            self._hold(target, own)

    def _is_as_wanted(self, optimizer: str) -> bool:
        options = [path for path in self.wanted if path.startswith(f"{optimizer}/group.")]
        return all(path in self.now and digest(self.now[path].value) == self.wanted[path].digest for path in options)

    def _remake(self, path: str) -> None:
        """What is live at a path in the form that it is to have, with what it holds; or the object itself."""
        live, form = self.live.objects.get(path), self._forms[path]
        if isinstance(live, dict) and form == form_of(live, self.live.key_types.get(path)):
            reorder(live, self.live.orders[path], form.order)
            return
        if path in self._objects:
            self._hold(path, self._make_anew(path))
            return
        kind = self.kinds.get(path)
        keys: dict[str, Value] = dict(kind.keys or ()) if kind is not None else {}
        self._hold(path, remade(self._forms[path], self.live.objects[path], keys))

    def _remake_tensor(self, path: str, value: torch.Tensor) -> None:
        name = self._forms[path].name
        if name not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
            raise NotRestorable(f"a {name} cannot be made")
        tensor = copied(value)
        trained = self.wanted.get(f"{path}/requires_grad")
        needs = trained is not None and bool(trained.value)
        self._hold(path, torch.nn.Parameter(tensor, needs) if "Parameter" in name else tensor.requires_grad_(needs))

    def _made(self, path: str) -> Any:
        return self._objects.make(path, self._there.at, getattr(self.roots, "owner", None))

    def _make_container(self, path: str, slot: Leaf) -> None:
        """Where a snapshot has a container and the run another object, a None or another name of one."""
        if isinstance(there := self.live.objects.get(path), NotRunning):
            raise NotRestorable(f"a {there.what} is there, and cannot be moved to where it was")
        if path in self._objects:
            self._hold(path, self._make_anew(path))
        elif path in self.kinds and not (slot.role != "alias" and path in self.live.objects and self._is_kind(path)):
            self._hold(path, self._make_anew(path))
        elif slot.role == "alias" and any(other.startswith(f"{path}/") for other in self.wanted):
            target = self._there.at(str(slot.value)[2:], slot)
            if not isinstance(target, torch.nn.Module):
                raise NotRestorable(f"a {type(target).__name__} of its own cannot be made")
            self._hold(path, copy.deepcopy(target))

    def _is_kind(self, path: str) -> bool:
        """Whether the live container can take the items one by one: not a list of numbers that is to hold objects."""
        return isinstance(self.live.objects[path], dict) and self.kinds[path].name in ("dict", "OrderedDict")

    def _hold(self, path: str, value: Value) -> None:
        """Make the holder of a path hold another object there."""
        slot = self.now.get(path)
        hold = slot.hold if slot is not None else self.live.holds.get(path)
        if hold is not None:
            hold(value)
        elif slot is not None:
            raise NotRestorable("its holder takes no other object")
        else:
            self._items.put(path, value)
        self._replaced += [f"{path}/", f"{path}."] if isinstance(value, torch.nn.Module) else [f"{path}/"]
        above, _, name = path.rpartition("/")
        if name in OPTIMIZER_PARTS and above in self.live.optimizers:  # its leaves do not go by that name
            self._replaced.append(f"{above}/")

    # --- what is missing -------------------------------------------------------------------------------------------

    def _make(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        tensor = self._there.holder(parent)
        if self.wanted[path].role == "generator" and self._objects.around(path) is None:
            raise NotRestorable("there is no generator to put it into")
        if self._made_around(path):
            return
        if path in self.live.holds:
            self._hold(path, self._make_anew(path))
        elif isinstance(tensor, torch.Tensor) and name == "grad":
            tensor.grad = self._make_anew(path).to(tensor.device)
        elif isinstance(tensor, torch.Tensor) and name == "requires_grad":
            tensor.requires_grad_(self.wanted[path].value)
        elif isinstance(tensor, torch.Tensor):
            setattr(tensor, unescaped(name), self._make_anew(path))
        else:
            # The highest container that is missing, with all that was in it.
            while parent and self._there.holder(parent) is None:
                path, (parent, _, _) = parent, parent.rpartition("/")
            self._items.put(path, self._make_anew(path))
            self._replaced.append(f"{path}/")

    def _made_around(self, path: str) -> bool:
        """Make the object that a path lies in, where it is missing as a whole, and say whether that was so."""
        around = self._objects.around(path)
        if around is None or around in self.live.objects:
            return False
        self._hold(around, self._make_anew(around))
        return True

    # --- what is too much ------------------------------------------------------------------------------------------

    def _remove(self, path: str) -> None:
        """Take away a leaf that was not there when the snapshot was taken, and the containers that held only such."""
        if path in self.kinds or path not in self.now:
            return
        path = self._with_its_container(path)
        self._replaced.append(f"{path}/")
        self._items.remove(path)

    def _with_its_container(self, path: str) -> str:
        """The highest container or hook around an extra leaf of which nothing is wanted, and all is chosen."""
        above, highest = path, path
        while above := above.rpartition("/")[0]:
            hook = self._is_hook(above)
            if not hook and not isinstance(self.live.objects.get(above), (dict, list, tuple, deque)):
                if not self._is_member(above):
                    continue  # what a hook's function or object holds goes with the hook
            emptied = isinstance(self.live.objects.get(above), tuple) and above not in self.wanted
            if (above in self.kinds and not emptied) or self._make_anew.is_above_wanted(above):
                break
            inside = [other for other in self.now if other.startswith(f"{above}/")]
            if not self.chosen.issuperset(inside):
                break
            if hook or above == highest.rpartition("/")[0] or self._is_member(above):
                highest = above
        return highest

    def _is_member(self, path: str) -> bool:
        """Whether an object is an item of a set or a sequence, with which all that it holds goes."""
        holder = self.live.objects.get(path.rpartition("/")[0])
        return path in self.live.objects and isinstance(holder, (set, list, deque))

    def _is_hook(self, path: str) -> bool:
        holder, _, name = path.rpartition("/")
        return names_hook(self._there.holder(holder), name)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, NotRestorable) else f"{type(error).__name__}: {error}"
